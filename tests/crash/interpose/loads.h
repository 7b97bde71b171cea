/* SPDX-License-Identifier: MIT */
/*
 * loads.h - what a daemon notes that is built to note what it loads: in a file that both have mapped, by page.
 */
#ifndef HEAPD_CRASH_LOADS_H
#define HEAPD_CRASH_LOADS_H

#include <stdint.h>

#define LOADS_PAGES (1u << 18) /* more than the heaps of bits.c have together */
#define LOADS_WORDS 512u       /* of 8 bytes: a page */
#define LOADS_BYTES (LOADS_PAGES * sizeof(struct loads_page))

struct loads_page {
	uint64_t page;  /* its address / 4096; 0: of none */
	uint64_t inode; /* of the file that was mapped there when it was first loaded from; 0: of none */
	uint64_t offset;
	uint64_t words[LOADS_WORDS / 64]; /* bits: loaded */
};

#endif
