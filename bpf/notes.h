/* SPDX-License-Identifier: MIT */
/*
 * The System-tap notes of an ELF file: where in the file a probe of heapd's has its site and its semaphore.
 */
#ifndef HEAPD_BPF_NOTES_H
#define HEAPD_BPF_NOTES_H

#include <stdint.h>

struct note {
	uint64_t site, semaphore; /* offsets in the file */
};

/* 0; -ENOENT: there is no such probe; or what opening the file said. */
int note_find(const char *path, const char *probe, struct note *note);

#endif
