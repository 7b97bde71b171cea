/* SPDX-License-Identifier: MIT */
/*
 * The least that heapd's way of allocating can cost, and then more of it, step by step: 64 bytes, one process, private
 * memory, no daemon. The first step is the restartable sequences and zeroing alone, with a mask for the way from
 * an address to its slab; what BARE_STEP adds is what the library does there, on tables of the same shape. What heapd takes
 * more than the last step is what stays: calls into a shared library, and a heap that others have, too.
 *
 * Right because no slot is lost or given twice: slabs that are neither allocated from nor collecting wait in a
 * queue, by the same rules as a thread's spares in the library.
 *
 * A file for each step: it defines BARE_STEP, includes this and has a main().
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../client/zero.h"
#include "heapd/atomic.h"
#include "heapd/rseq.h"
#include "heapd/sizeclass.h"
#include "heapd/span.h"
#include "ring.h"
#include "serve.h"

/* Each step does what those before it do. */
#define BARE_SEQUENCES 0
#define BARE_CLASS     1 /* class and slot size from the size; zeroing of any small size */
#define BARE_PAGE      2 /* slab and slot from the page's record; does a slot begin there? */
#define BARE_TWICE     3 /* a slot that is free elsewhere is not freed again: two words of the slab */
#define BARE_OWNER     4 /* only a slab's own processor collects: one more */
#define BARE_GATE      5 /* the collector's gate: in, is its barrier on?, out */

#define SLOT  64ul
#define SLAB  (64 * SLOT)
#define SLABS 1024u /* cut one by one, as they are needed */
#define CLASS ((uint32_t)(SLOT - 1) >> 4)

struct bare_thread {
	uint32_t on;
	uint64_t inside;
	uint32_t freed;
};

struct bare {
	struct heapd_rseq_entry *rows;
	char *memory;
	uint64_t bytes;
	struct heapd_page *pages;
	uint64_t *lent, *freed; /* by slab */
	uint16_t *owner;
	ptrdiff_t area; /* __rseq_offset */
	uint8_t narrow; /* zero.h */
	uint32_t cpus;
	uint32_t cut; /* slabs in use */
	uint32_t head, tail;
	struct heapd_current waiting[SLABS];
};

static struct bare bare;
static struct bare_thread bare_thread;
static __thread struct bare_thread *bare_self __attribute__((tls_model("initial-exec")));

static inline struct heapd_rseq_entry *column(void)
{
	return bare.rows + CLASS;
}

static void wait_push(struct heapd_current slab)
{
	bare.waiting[bare.tail++ % SLABS] = slab;
}

/* The slab to go on with. */
static bool slab_next(struct heapd_current *slab)
{
	if (bare.head < bare.tail) {
		*slab = bare.waiting[bare.head++ % SLABS];
		return true;
	}
	*slab = (struct heapd_current){ .base = (uint64_t)(uintptr_t)bare.memory + bare.cut * SLAB,
					.bits = UINT64_MAX };
	return bare.cut++ < SLABS;
}

static __attribute__((noinline)) uint64_t refill(void)
{
	struct heapd_current slab;
	uint64_t object = 0;

	while (!object) {
		if (!heapd_rseq_turn(column(), bare.cpus)) {
			if (!slab_next(&slab))
				return 0;
			if (!heapd_rseq_install(column(), bare.cpus, slab.base, slab.bits,
						HEAPD_WAY_ALLOCATING))
				wait_push(slab);
		}
		object = heapd_rseq_pop(column(), bare.area, bare.cpus, SLOT);
	}
	return object;
}

/* What was collected of another slab waits its turn. */
static void collected_put_aside(uint64_t base)
{
	const struct heapd_rseq_entry *entry = column() + (uint64_t)(heapd_rseq_cpu() - 1) * HEAPD_CLASS_MAX;
	uint64_t at = entry->way ^ HEAPD_WAY_COLLECTING;
	struct heapd_current slab;

	if (entry->slabs[at / sizeof(slab)].base != base && heapd_rseq_take(column(), bare.cpus, at, &slab))
		wait_push(slab);
}

static __attribute__((noinline)) void collect_other(uint64_t base, uint64_t index)
{
	uint64_t slab = (base - (uint64_t)(uintptr_t)bare.memory) / SLAB;

	do {
		collected_put_aside(base);
		bare.owner[slab] = (uint16_t)heapd_rseq_cpu();
		if (heapd_rseq_push(column(), bare.cpus, base, index, heapd_rseq_cpu()) == HEAPD_PUSH_DONE)
			return;
	} while (!heapd_rseq_install(column(), bare.cpus, base, 1ull << index, HEAPD_WAY_COLLECTING));
}

/* Calls, as a library's are. */
static __attribute__((noinline)) void *bare_get(size_t size)
{
	const struct heapd_rseq_entry *at = column();
	uint64_t elemsize = SLOT, object;

	if (BARE_STEP >= BARE_CLASS) {
		if (__builtin_expect(size - 1 >= 128, 0))
			return NULL;
		at = bare.rows + ((size - 1) >> 4);
		elemsize = ((size - 1) | 15) + 1;
	}
	object = heapd_rseq_pop(at, bare.area, bare.cpus, elemsize);
	if (__builtin_expect(!object, 0))
		object = refill();
	if (BARE_STEP >= BARE_CLASS && object)
		return slot_zero_small((void *)(uintptr_t)object, elemsize, bare.narrow);
	return object ? slot_zero_small((void *)(uintptr_t)object, SLOT, bare.narrow) : NULL;
}

struct bare_slot {
	uint64_t base;
	uint32_t index, slab, class;
};

/* False if no slot begins there. */
BENCH_INLINE bool slot_of(const void *object, struct bare_slot *slot)
{
	uint64_t at = (uint64_t)(uintptr_t)object, offset = at - (uint64_t)(uintptr_t)bare.memory;
	const struct heapd_page *page;
	uint32_t first;

	if (BARE_STEP < BARE_PAGE) {
		*slot = (struct bare_slot){ .base = at & ~(SLAB - 1),
					    .index = (uint32_t)(at % SLAB / SLOT),
					    .class = CLASS };
		return true;
	}
	page = &bare.pages[offset >> HEAPD_PAGE_SHIFT];
	if (offset >= bare.bytes)
		return false;
	first = HEAPD_LOAD_ACQUIRE(&page->first);
	if (!first ||
	    !heapd_page_begins(page, (uint32_t)offset - ((first - 1) << HEAPD_PAGE_SHIFT), &slot->index) ||
	    page->words > HEAPD_SLAB_BYTES / 64 / 8)
		return false;
	slot->slab = page->slab0 + slot->index / 64;
	slot->class = page->class;
	slot->base = at - (uint64_t)(slot->index % 64) * page->words * 8;
	return true;
}

BENCH_INLINE bool is_free_already(const struct bare_slot *slot)
{
	return (HEAPD_READ_ONCE(bare.lent[slot->slab]) | HEAPD_READ_ONCE(bare.freed[slot->slab])) >>
		       (slot->index % 64) &
	       1;
}

BENCH_INLINE bool collect(const struct bare_slot *slot)
{
	uint32_t owner = BARE_STEP >= BARE_OWNER ? HEAPD_READ_ONCE(bare.owner[slot->slab]) : heapd_rseq_cpu();

	return heapd_rseq_collect(bare.rows + slot->class, bare.area, bare.cpus, slot->base, slot->index,
				  owner);
}

BENCH_INLINE void gate_count(struct bare_thread *self)
{
	__asm__ volatile("incq %0" : "+m"(self->inside) : : "cc");
}

BENCH_INLINE bool collect_in_gate(const struct bare_slot *slot)
{
	struct bare_thread *self = bare_self;
	bool done = false;

	if (!self)
		return false;
	HEAPD_WRITE_ONCE(self->freed, 1);
	gate_count(self);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!HEAPD_READ_ONCE(self->on))
		done = collect(slot);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	gate_count(self);
	return done;
}

static __attribute__((noinline)) void bare_put(void *object)
{
	struct bare_slot slot;

	if (__builtin_expect(!slot_of(object, &slot), 0))
		abort();
	if (BARE_STEP >= BARE_TWICE && __builtin_expect(is_free_already(&slot), 0))
		abort();
	if (!(BARE_STEP >= BARE_GATE ? collect_in_gate(&slot) : collect(&slot)))
		collect_other(slot.base, slot.index % 64);
}

BENCH_INLINE void *bench_get(struct bench_worker *w, size_t size)
{
	(void)w;
	return bare_get(size);
}

BENCH_INLINE void bench_put(struct bench_worker *w, void *object)
{
	(void)w;
	bare_put(object);
}

/* Never asked for: there is one worker. */
BENCH_INLINE void bench_pass(struct bench_worker *w, void **slot, void *object)
{
	(void)w;
	*slot = object;
}

BENCH_INLINE void *bench_take(struct bench_worker *w, void **slot)
{
	(void)w;
	return *slot;
}

static struct bench_ring *bench_ring_of(struct bench_worker *w, unsigned pair)
{
	(void)w, (void)pair;
	abort();
}

#include "loops.h"

/* A page's record is what the daemon would have written: all of the memory is one span. */
static bool tables_make(void)
{
	uint64_t pages = bare.bytes >> HEAPD_PAGE_SHIFT;

	bare.pages = calloc(pages, sizeof(*bare.pages));
	bare.lent = calloc(SLABS, sizeof(*bare.lent));
	bare.freed = calloc(SLABS, sizeof(*bare.freed));
	bare.owner = calloc(SLABS, sizeof(*bare.owner));
	if (!bare.pages || !bare.lent || !bare.freed || !bare.owner)
		return false;
	for (uint64_t p = 0; p < pages; p++)
		bare.pages[p] = (struct heapd_page){
			.first = 1, .magic = heapd_page_magic(SLOT), .class = CLASS, .words = SLOT / 8
		};
	return true;
}

static int begin(struct bench_worker *w, void *arg)
{
	size_t rows = (size_t)bare.cpus << HEAPD_RSEQ_ROW_SHIFT;

	(void)w, (void)arg;
	bare_self = &bare_thread;
	bare.bytes = SLABS * SLAB;
	bare.rows =
		mmap(NULL, rows, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	bare.memory = aligned_alloc(1 << 21, bare.bytes);
	if (bare.rows == MAP_FAILED || !bare.memory || !tables_make())
		return ENOMEM;
	memset(bare.memory, 0, bare.bytes);
	return heapd_rseq_usable(bare.cpus) ? 0 : ENOTSUP;
}

static int bare_main(int argc, char **argv)
{
	struct bench_trade trade = { .begin = begin, .run = bench_loops_run };
	struct bench_hello hello = { .library = "none", .version = "-" };

	if (argc != 2) {
		fprintf(stderr, "usage: bare 1 (compare starts it)\n");
		return 2;
	}
	bare.area = __rseq_offset;
	bare.narrow = zero_narrow(zero_is_wide());
	bare.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	return bench_serve(argv[1], "0", &trade, &hello, NULL);
}

#endif
