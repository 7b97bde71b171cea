/* SPDX-License-Identifier: MIT */
/*
 * Where everything lies: the geometry of one heap in address space, and the layout of its shared
 * memory. Every process maps a heap at the same addresses:
 *
 *   base                base + size   + HEAPD_APART         + directory_size    + control_size
 *   | heap (objects) ... | nothing     | directory (r/o) ... | control (r/w) ... |
 *
 * so plain pointers work between processes. Each of the three is one memfd, made at full size and
 * sparse: nothing is ever remapped. Offsets are computed by heapd_geometry_compute() on both sides
 * from (size, cpus), see geometry.h; the fingerprint covers the structures.
 */
#ifndef HEAPD_LAYOUT_H
#define HEAPD_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAPD_PAGE_SHIFT     13
#define HEAPD_PAGE_SIZE      (1ul << HEAPD_PAGE_SHIFT)
#define HEAPD_EXTENT_SHIFT   26 /* address space grows in extents of 64 MiB */
#define HEAPD_EXTENT_SIZE    (1ul << HEAPD_EXTENT_SHIFT)
#define HEAPD_EXTENT_PAGES   (HEAPD_EXTENT_SIZE / HEAPD_PAGE_SIZE)
#define HEAPD_CHUNK_SHIFT    21 /* memory is committed in chunks of 2 MiB */
#define HEAPD_CHUNK_SIZE     (1ul << HEAPD_CHUNK_SHIFT)
#define HEAPD_CHUNK_PAGES    (HEAPD_CHUNK_SIZE / HEAPD_PAGE_SIZE)
#define HEAPD_PREFAULT_SHIFT 16 /* a fault maps 64 KiB around it */

/*
 * Nothing lies at the heap's end: that address is one past the last object, and a pointer to a table there, on the stack of
 * a thread that waits in a call of the library, would keep that object.
 */
#define HEAPD_APART HEAPD_CHUNK_SIZE

#define HEAPD_SIZE_MIN (64ul << 20)
#define HEAPD_SIZE_MAX (2ul << 40)
#define HEAPD_BASE_DEFAULT \
	0x110000000000ul /* accepted natively, by ASan and by valgrind; its bytes are not text */
#define HEAPD_BASE_MIN 0x100000000ul
#define HEAPD_BASE_MAX 0x7f0000000000ul

#define HEAPD_NAME_MAX   48      /* heap, type and root names, with the final NUL */
#define HEAPD_CLASS_MAX  2048u   /* classes of one heap */
#define HEAPD_TYPE_MAX   1024u   /* types of one heap, the three built-in ones included */
#define HEAPD_ROOT_MAX   1024u   /* named roots of one heap */
#define HEAPD_MAP_WORDS  131072u /* 64-bit words of all pointer maps together */
#define HEAPD_RING_SLOTS 256u    /* entries of one supply ring */
#define HEAPD_BATCH_MAX  16u     /* slabs in one entry */

struct heapd_geometry {
	uint64_t size;  /* bytes of heap, a multiple of HEAPD_EXTENT_SIZE */
	uint64_t pages; /* HEAPD_PAGE_SIZE each */
	uint64_t slabs; /* slab numbers there are: ten for each page, used densely */
	uint64_t cpus;  /* rows of the per-CPU tables */

	uint64_t directory_at; /* offset from the heap's base */
	uint64_t directory_size;
	uint64_t class_at; /* these: offsets inside the directory */
	uint64_t type_at;
	uint64_t map_at;
	uint64_t root_at;
	uint64_t ring_at;
	uint64_t page_span_at;
	uint64_t span_at;
	uint64_t page_at;
	uint64_t supplied_at;
	uint64_t out_at;
	uint64_t past_at;
	uint64_t class_stats_at;

	uint64_t control_at; /* offset from the heap's base */
	uint64_t control_size;
	uint64_t head_at; /* these: offsets inside control */
	uint64_t rseq_row_at;
	uint64_t cas_row_at;
	uint64_t counter_at;
	uint64_t freed_dirty_at;
	uint64_t freed_at;
	uint64_t owner_at;
	uint64_t lent_at;
	uint64_t taker_at;
	uint64_t born_at;

	uint64_t total; /* bytes of address space from the heap's base on */
};

#endif
