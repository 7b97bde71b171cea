/* SPDX-License-Identifier: MIT */
/*
 * A process that makes huge pages of a heap's memory: it waits for the kernel in the daemon's place.
 *
 * Used by one thread at a time.
 */
#ifndef HEAPD_DAEMON_COLLAPSER_H
#define HEAPD_DAEMON_COLLAPSER_H

#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

/* What older headers do not have. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct collapser {
	uint64_t base, size; /* of the heap */
	int fd;              /* to the process, or -1: none runs */
	pid_t pid;
};

/* None runs yet. */
void collapser_init(struct collapser *collapser, uint64_t base, uint64_t size);
/* Starts the process, ahead of the first question; another one if the last has ended. 0 or -errno. */
int collapser_start(struct collapser *collapser);
void collapser_stop(struct collapser *collapser);
/* The chunk at this address becomes a huge page, whatever is there of it; waits for it. 0; -errno: it is as it was, or small pages are there. */
int collapser_ask(struct collapser *collapser, uint64_t at);

#endif
