/* SPDX-License-Identifier: MIT */
/* inputs.h - the files of a corpus. */
#ifndef HEAPD_FUZZ_INPUTS_H
#define HEAPD_FUZZ_INPUTS_H

#include <stddef.h>
#include <stdint.h>

#define INPUT_ROOM 4096u /* of a longer one that much is taken */

/* Each file, or each of a folder in the order of their names but for hidden ones; ends the program if one cannot be read. */
void inputs_each(const char *path, void (*fn)(void *arg, const char *path, const uint8_t *bytes, size_t n),
		 void *arg);

#endif
