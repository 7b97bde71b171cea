/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS in a heap's objects: a page that the daemon reads, or writes, has failed (bad memory, an empty pool of huge pages). It goes on.
 */
#ifndef HEAPD_DAEMON_BUS_H
#define HEAPD_DAEMON_BUS_H

#include <stdbool.h>
#include <stdint.h>

/* Where one heap's objects are mapped. Made by bus_add(); the counts grow only. */
struct bus {
	uint64_t base, size;
	uint64_t step; /* bytes of a page of the file's */
	int fd;
	uint64_t *lost;    /* a bit for each page that cannot be read any more; written in the handler */
	uint64_t nlost;    /* how many of them are set */
	uint64_t repaired; /* pages that only this mapping could not read */

	/* What quarantine.c has seen of them, under heap->lock. */
	uint64_t *told, nlost_told, repaired_told;
};

/* Once in a process, before there are threads: from here on the handler is there. Threads must not block SIGBUS. */
int bus_init(void);

/* The objects of a heap, mapped shared at base from the file's beginning on; hugetlb: of pages of 2 MiB. -ENOMEM, -E2BIG. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, int fd, bool hugetlb);
/* Before they are unmapped. Harmless where there was no bus_add(). */
void bus_remove(struct bus *bus);

#endif
