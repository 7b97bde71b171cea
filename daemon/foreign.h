/* SPDX-License-Identifier: MIT */
/*
 * Foreign words: what stood in a listed field and was neither NULL nor in the heap, by type and word. Any thread
 * may count; a type's table is made with its first.
 */
#ifndef HEAPD_DAEMON_FOREIGN_H
#define HEAPD_DAEMON_FOREIGN_H

#include "heap.h"

struct foreign {
	uint64_t *words[HEAPD_TYPE_MAX]; /* the first is their number */
};

/* One field of which there is any. */
struct foreign_row {
	uint32_t type, word;
	uint64_t count;
};

void foreign_deinit(struct foreign *foreign);
void foreign_clear(struct foreign *foreign);
/* n: words that the type has, should this be its first. */
void foreign_count(struct foreign *foreign, uint32_t type, uint64_t word, uint64_t n);
uint64_t foreign_read(const struct foreign *foreign, uint32_t type, uint64_t word);

/* Those of which there is any, by type and word: their number, at most room. */
unsigned foreign_list(const struct foreign *foreign, struct foreign_row *rows, unsigned room);

#endif
