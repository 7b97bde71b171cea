/* SPDX-License-Identifier: MIT */
/*
 * The current slab of this CPU, by whichever of the two paths this process uses: restartable
 * sequences on the rseq rows (rseq.h) or a 16-byte compare-and-swap on the cas rows, as SLUB does.
 * Both have one commit; the cas path's row index is only a way to spread contention: any row is right.
 */
#ifndef HEAPD_CLIENT_CURRENT_H
#define HEAPD_CLIENT_CURRENT_H

#include <sched.h>

#include "client.h"
#include "heapd/rseq.h"

/* The same answers, whichever path gives them. */
enum current_push {
	CURRENT_PUSHED = 0,
	CURRENT_ELSEWHERE,
	CURRENT_DOUBLE,
};

static inline struct heapd_rseq_entry *current_column(const struct heapd_heap *heap, uint32_t class)
{
	return heap->t.rseq_rows + class;
}

hidden uint64_t current_pop_cas(struct heapd_heap *heap, uint32_t class, uint64_t elemsize);
hidden enum current_push current_push_cas(struct heapd_heap *heap, uint32_t class, uint64_t base,
					  uint64_t index);
hidden bool current_install_cas(struct heapd_heap *heap, uint32_t class, uint64_t base, uint64_t bits);

/*
 * A free slot's address, plus HEAPD_CURRENT_ZEROED; 0 if this CPU has no slab of the class to allocate from, and where all
 * take the slow way (alloc_cpus).
 */
static inline uint64_t current_pop_rseq(struct heapd_heap *heap, uint32_t class, uint64_t elemsize)
{
#if HEAPD_HAVE_RSEQ
	return heapd_rseq_pop(current_column(heap, class), heapd_rseq_area, heap->alloc_cpus, elemsize);
#else
	return heap->hardened ? 0 : current_pop_cas(heap, class, elemsize);
#endif
}

/* The same, by the path that this process uses, in any heap. */
static inline uint64_t current_pop(struct heapd_heap *heap, uint32_t class, uint64_t elemsize)
{
#if HEAPD_HAVE_RSEQ
	if (likely(heap->path == HEAPD_PATH_RSEQ))
		return heapd_rseq_pop(current_column(heap, class), heapd_rseq_area, heap->rseq_cpus,
				      elemsize);
#endif
	return current_pop_cas(heap, class, elemsize);
}

/* Sets a slot's bit, if its slab is current here: heapd_rseq_push() says when. */
static inline enum current_push current_push(struct heapd_heap *heap, uint32_t class, uint32_t slab,
					     uint64_t base, uint64_t index)
{
#if HEAPD_HAVE_RSEQ
	if (likely(heap->path == HEAPD_PATH_RSEQ))
		return (enum current_push)heapd_rseq_push(current_column(heap, class), heap->rseq_cpus, base,
							  index, HEAPD_READ_ONCE(heap->t.owner[slab]));
#endif
	return current_push_cas(heap, class, base, index);
}

/* The usual case of that by sequence: true if it was this case, and done. Never where frees are not prompt. */
static inline bool current_collect(struct heapd_heap *heap, uint32_t class, uint32_t slab, uint64_t base,
				   uint64_t index)
{
#if HEAPD_HAVE_RSEQ
	return heapd_rseq_collect(current_column(heap, class), heapd_rseq_area, heap->collect_cpus, base,
				  index, HEAPD_READ_ONCE(heap->t.owner[slab]));
#else
	(void)heap, (void)class, (void)slab, (void)base, (void)index;
	return false;
#endif
}

/* In owner[]: on a cas row. */
#define CURRENT_OWNER_CAS UINT16_MAX
/* In owner[]: with more than one CPU. Nobody collects its frees in a current slab then. */
#define CURRENT_OWNER_MANY (UINT16_MAX - 1)

/* Makes {base, bits} the slab that is allocated from here, if there is none: its owner then, else 0. */
static inline uint32_t current_install(struct heapd_heap *heap, uint32_t class, uint64_t base, uint64_t bits)
{
#if HEAPD_HAVE_RSEQ
	if (likely(heap->path == HEAPD_PATH_RSEQ))
		return heapd_rseq_install(current_column(heap, class), (uint32_t)heap->t.cpus, base, bits,
					  HEAPD_WAY_ALLOCATING);
#endif
	return current_install_cas(heap, class, base, bits) ? CURRENT_OWNER_CAS : 0;
}

/* When the slab that is allocated from is used up: goes on with the one that collected frees, if there is one. */
static inline bool current_turn(struct heapd_heap *heap, uint32_t class)
{
#if HEAPD_HAVE_RSEQ
	if (likely(heap->path == HEAPD_PATH_RSEQ))
		return heapd_rseq_turn(current_column(heap, class), (uint32_t)heap->t.cpus);
#endif
	return false;
}

/*
 * Whether this thread, where it runs, has to work on the cas rows: always by that path; else while the
 * kernel has no registration of it, or the heap no row for its CPU. Slow paths ask; a fast path by
 * sequence just finds nothing then.
 */
static inline bool current_is_cas(const struct heapd_heap *heap)
{
#if HEAPD_HAVE_RSEQ
	return heap->path != HEAPD_PATH_RSEQ || unlikely(!heapd_rseq_usable((uint32_t)heap->t.cpus));
#else
	(void)heap;
	return true;
#endif
}

/* Which row's counters to add to: relaxed, approximate. */
static inline struct heapd_cpu_counters *current_counters(struct heapd_heap *heap)
{
	int cpu = sched_getcpu();

	return &heap->t.counters[cpu < 0 ? 0 : (uint32_t)cpu % heap->t.cpus];
}

/* NOLINTNEXTLINE(readability-non-const-parameter): an atomic store goes through it */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	HEAPD_WRITE_ONCE(*counter, HEAPD_READ_ONCE(*counter) + n);
}

#endif
