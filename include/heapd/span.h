/* SPDX-License-Identifier: MIT */
/*
 * Spans, classes and types, as the directory shows them. Only the daemon writes here; a client has
 * the directory mapped read-only.
 *
 * A span is a run of pages cut into equal slots, all of one class. It is identified by its first
 * page. Publication: the daemon fills the span record, then stores `page_span` of each page
 * (release); whoever holds a pointer into the span got it through a chain that began after that.
 * A reader with a wild address may see any state: it must treat what it reads as a hint.
 */
#ifndef HEAPD_SPAN_H
#define HEAPD_SPAN_H

#include <stdbool.h>

#include "heapd/layout.h"
#include "heapd/sizeclass.h"

/* page_span[page] holds 1 + the number of the span's first page, or 0 where there is no span. */

struct heapd_span {
	uint64_t elemsize; /* bytes of a slot; of a large span: all of its bytes */
	uint64_t magic;    /* ceil(2^64 / elemsize), see heapd_span_index(); 0 for a large span */
	uint32_t npages;
	uint32_t nslots;
	uint32_t slab0;      /* number of its first slab; the others follow */
	uint16_t class;      /* index into the class table */
	uint16_t slab_slots; /* slots of each slab but perhaps the last */
};
_Static_assert(sizeof(struct heapd_span) == 32, "a span is half a cache line");

/* Which of the slots of a span a byte offset into it falls in. Exact for offset * elemsize < 2^64. */
static inline uint32_t heapd_span_index(const struct heapd_span *s, uint64_t offset)
{
	return (uint32_t)(((unsigned __int128)offset * s->magic) >> 64);
}

static inline uint64_t heapd_span_magic(uint64_t elemsize)
{
	return UINT64_MAX / elemsize +
	       1; /* elemsize is no power of two or divides 2^64: both give the ceiling */
}

/*
 * What heapd_free() needs of a page, in one load: kept beside page_span for every page of a span, written
 * before it and cleared with it. The 32-bit magic (ceil(2^32 / elemsize), 0 for a large span) is exact for
 * offsets below heapd_span_bytes_max(elemsize); no span of small slots is larger.
 */
struct heapd_page {
	uint32_t first; /* 1 + the span's first page; 0: no span */
	uint32_t magic;
	uint32_t slab0;
	uint16_t class;
	uint16_t words; /* elemsize / 8; 0: large */
};
_Static_assert(sizeof(struct heapd_page) == 16, "four pages to a cache line");

static inline uint32_t heapd_page_magic(uint64_t elemsize)
{
	return (uint32_t)((1ull << 32) / elemsize + ((1ull << 32) % elemsize != 0));
}

static inline uint32_t heapd_page_index(const struct heapd_page *page, uint64_t offset)
{
	return (uint32_t)(offset * page->magic >> 32);
}

/*
 * The same for any offset, with whether a slot begins there. The magic is too large by e / elemsize, e < elemsize; so
 * the product is q * 2^32 + r * 2^32 / elemsize + within * e / elemsize for the quotient q and the remainder r. While
 * within is below 2^32 / elemsize, the last term is less than the magic and less than a step of r. So the lower half
 * is below the magic only for r = 0 (Lemire's test). Never of a large span, whose magic is 0.
 */
static inline bool heapd_page_begins(const struct heapd_page *page, uint32_t within, uint32_t *index)
{
	uint32_t magic = page->magic;
	uint64_t product = (uint64_t)within * magic;

	*index = (uint32_t)(product >> 32);
	return (uint32_t)product < magic;
}

/* The magic is too large by less than elemsize / 2^32: the error stays below one for offsets up to 2^32 / elemsize. */
static inline uint64_t heapd_span_bytes_max(uint64_t elemsize)
{
	return (1ull << 32) / elemsize;
}

static inline uint32_t heapd_span_slabs(const struct heapd_span *s)
{
	return (s->nslots + s->slab_slots - 1u) / s->slab_slots;
}

/* What an object of a class is made of. */
enum heapd_kind {
	HEAPD_KIND_NONE = 0,
	HEAPD_KIND_FIXED, /* one object of the type */
	HEAPD_KIND_ARRAY, /* objects of the type, one after the other */
	HEAPD_KIND_FLEX,  /* one object, then its flexible array */
};

struct heapd_class {
	uint32_t slot_size;  /* 0: large, each object has a span of its own */
	uint16_t slab_slots; /* heapd_slab_slots(); 1 of a large object */
	uint16_t type;
	uint16_t kind; /* enum heapd_kind; written last (release): 0 means that the record is not in use */
	uint16_t sizeclass;  /* HEAPD_SIZECLASS_LARGE when large; of KIND_FIXED: of no meaning */
	uint32_t span_pages; /* pages of the smallest span of this class */
	uint64_t magic;
	uint64_t unused[5];
};
_Static_assert(sizeof(struct heapd_class) == 64, "a class is a cache line");

/* The built-in types. Their classes stand at type * HEAPD_SIZECLASS_TOTAL + size class, in every heap. */
#define HEAPD_TYPE_ANY      0u /* every aligned word may be a pointer ("scan") */
#define HEAPD_TYPE_LEAF     1u /* no pointers ("noscan") */
#define HEAPD_TYPE_WEAK     2u /* weak cells (struct heapd_weak_cell): no pointers for the marker */
#define HEAPD_TYPE_BUILTIN  3u
#define HEAPD_CLASS_BUILTIN (HEAPD_TYPE_BUILTIN * HEAPD_SIZECLASS_TOTAL)

/* The one class of the weak type that cells are made of. */
#define HEAPD_CLASS_WEAK (HEAPD_TYPE_WEAK * HEAPD_SIZECLASS_TOTAL)

/*
 * A weak cell. `word` is the address of its object, or 0 when that has died; bit 0 set: a thread that had been
 * scanned has read it in this cycle ("touched"), so the object lives.
 */
struct heapd_weak_cell {
	uint64_t word;
	uint64_t unused;
};
_Static_assert(sizeof(struct heapd_weak_cell) == 16, "a cell is a slot of the smallest size class");
#define HEAPD_WEAK_TOUCHED 1u

#define HEAPD_TYPE_SCAN      1u /* flags: every aligned word may be a pointer; there is no map */
#define HEAPD_TYPE_NOSCAN    2u /* no word is; there is no map */
#define HEAPD_TYPE_FLEX      4u /* ends in a flexible array */
#define HEAPD_TYPE_FLEX_PTRS 8u /* of pointers; without it: of bytes without pointers */

struct heapd_type_record {
	char name[HEAPD_NAME_MAX];
	uint32_t size;  /* bytes of one object, without its flexible array */
	uint32_t align; /* a power of two, 8 to 4096 */
	uint32_t flags;
	uint32_t flex_at;   /* offset of the flexible array */
	uint32_t flex_elem; /* bytes of one of its elements */
	uint32_t map_word; /* first word of the pointer map; bit i of it: word i of the object is a pointer */
	uint32_t map_bits; /* size / 8 */
	uint32_t state;    /* written last (release): 1 in use */
	uint64_t hash;     /* of the definition, to compare */
	uint16_t fixed_class;
	uint16_t unused;
	/* Classes for arrays of the type and for its flexible form, by size class; 0: not made yet. */
	uint16_t array_class[HEAPD_SIZECLASS_TOTAL];
	uint16_t flex_class[HEAPD_SIZECLASS_TOTAL];
	uint64_t dead; /* objects that were ever queued for heapd_type_next_dead(): the collector counts on */
	uint64_t pad[15];
};
_Static_assert(sizeof(struct heapd_type_record) == 512, "type records keep their size");

/* A named root. The daemon alone writes it; `state` is written last when it is made, never taken back. */
struct heapd_root_record {
	char name[HEAPD_NAME_MAX];
	uint64_t object; /* address, or 0 */
	uint32_t type;
	uint32_t state;   /* 1 in use */
	uint64_t version; /* counts the changes */
	uint64_t unused[7];
};
_Static_assert(sizeof(struct heapd_root_record) == 128, "two cache lines");

#define HEAPD_CLEAN_SLOT_MIN 512u /* below this, zeroing a slot costs less than keeping it known to be zero */
#define HEAPD_SLAB_BYTES     16384u /* of a slab, where that is fewer than 64 slots and at least ... */
#define HEAPD_SLAB_FEW       8u     /* so many; else it has these, ... */
#define HEAPD_SLAB_BYTES_MAX 65536u /* ... or as many as this holds, or one */

/*
 * A slab is what an allocation that is not fast, the supplier and the sweep are paid for: with few slots each is dear. And it is what
 * every processor has of every class that it uses: with many bytes that is much memory.
 */
static inline uint32_t heapd_slab_slots(uint64_t slot_size)
{
	uint64_t n = HEAPD_SLAB_BYTES / slot_size;

	if (n < HEAPD_SLAB_FEW) {
		n = HEAPD_SLAB_BYTES_MAX / slot_size;
		n = n < HEAPD_SLAB_FEW ? n : HEAPD_SLAB_FEW;
	}
	return n < 1 ? 1 : n > 64 ? 64 : (uint32_t)n;
}

#endif
