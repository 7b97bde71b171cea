/* SPDX-License-Identifier: MIT */
/* Which words of its heaps' control a daemon loads, by a build of it that notes that (interpose/loads.c). */
#ifndef HEAPD_CRASH_LOADED_H
#define HEAPD_CRASH_LOADED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "interpose/loads.h"

#define LOADED_MOST (1u << 20) /* words of control, which is shorter */

/* Of one heap. */
struct loaded {
	uint64_t words[LOADED_MOST / 64];
};

struct loads {
	int fd;
	const struct loads_page *pages;
};

/* There is such a build; of a sanitizer there is none. */
bool loads_can(void);
/* Daemons that are started in between are of it, and note. What fails ends the process. */
void loads_begin(struct loads *loads);
void loads_end(struct loads *loads);
/* What was noted of the control with this inode, beside what is there. */
void loads_take(const struct loads *loads, ino_t control, struct loaded *to);
bool loaded_has(const struct loaded *loaded, uint64_t word);
unsigned loaded_count(const struct loaded *loaded);

#endif
