/* SPDX-License-Identifier: MIT */
/*
 * Owns the withdrawal of current slabs.
 *
 * A current slab belongs to whoever runs on its CPU. So the daemon goes there: it moves the supplier
 * thread onto the CPU and takes the word in a restartable sequence of its own. Every sequence that was
 * under way there was preempted, hence aborted, before this thread could run; and ours is aborted if
 * another one gets to run in between. Words of the cas rows are taken by a 16-byte compare-and-swap, from
 * anywhere.
 *
 * Back: the word is taken first, the ledger says free afterwards; a death in between leaves the slab to
 * the next cycle. Both under one holding of heap->lock: the collector's step 3 (holds.c), which looks at current slabs
 * under it, sees the slab here or in the ledger, never on its way. Were it on its way while a cycle runs, that would take its slots
 * back, and the visit once more: from a span that is gone by then, or is another's, so that a client's fault is reported where
 * there is none (tests/stress/movingslabs.c), and with a second supplier a slot is given to two (tests/model).
 * A CPU that this process may not run on (cpuset, offline) is left alone.
 */
#include "visit.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "clock.h"
#include "events.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "heapd/rseq.h"
#include "heapd/step.h"

struct visit {
	struct heapd_current *rseq_seen; /* by row, class and way: what was there at the last look */
	struct heapd_current *cas_seen;
	size_t set_bytes; /* of these two: all possible CPUs */
	cpu_set_t *home, *one;
	uint64_t last;
	bool over; /* more than the bound, when last looked */
};

static uint64_t row_words(const struct heap *heap)
{
	return heap->geometry.cpus << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT);
}

int visit_init(struct supply *supply)
{
	struct visit *visit = calloc(1, sizeof(*visit));
	uint64_t n = row_words(supply->heap), cpus = supply->heap->geometry.cpus;

	if (cpus < CPU_SETSIZE)
		cpus = CPU_SETSIZE;
	if (!visit)
		return -ENOMEM;
	supply->visit = visit;
	visit->rseq_seen = calloc(n, 2 * sizeof(*visit->rseq_seen));
	visit->cas_seen = calloc(n, sizeof(*visit->cas_seen));
	visit->set_bytes = CPU_ALLOC_SIZE(cpus);
	visit->home = CPU_ALLOC(cpus);
	visit->one = CPU_ALLOC(cpus);
	if (!visit->rseq_seen || !visit->cas_seen || !visit->home || !visit->one) {
		visit_deinit(supply);
		return -ENOMEM;
	}
	return 0;
}

void visit_deinit(struct supply *supply)
{
	if (!supply->visit)
		return;
	free(supply->visit->rseq_seen);
	free(supply->visit->cas_seen);
	CPU_FREE(supply->visit->home);
	CPU_FREE(supply->visit->one);
	free(supply->visit);
	supply->visit = NULL;
}

/* With heap->lock held since before it was taken. */
static void give_back(struct supply *supply, uint32_t class, const struct heapd_current *taken)
{
	uint32_t first, k;

	if (!taken->bits)
		return;
	if (MUTANT(withdrawn_unlocked)) {
		pthread_mutex_unlock(&supply->heap->lock);
		DELAY(1);
	}
	STEP(withdrawn);
	if (MUTANT(withdrawn_unlocked))
		pthread_mutex_lock(&supply->heap->lock);
	ring_note_taken(supply, class, clock_ns()); /* it left the ring before it became current */
	if (held_resolve(supply->heap, class, taken->base, &first, &k)) {
		harvest_release(supply, first, k, taken->bits & ~harvest_ringed(supply, first, k));
		HEAPD_COUNT(supply->heap->t.directory->stats.withdrawals, 1u);
	} else {
		HEAPD_COUNT(supply->heap->t.directory->stats.corrupt, 1u);
		events_fault(supply->heap);
	}
}

static bool unchanged(const struct heapd_current *word, struct heapd_current *seen)
{
	struct heapd_current now = { HEAPD_READ_ONCE(word->base), HEAPD_READ_ONCE(word->bits) };
	bool same = now.bits && now.base == seen->base && now.bits == seen->bits;

	*seen = now;
	return same;
}

static void take_cas(struct supply *supply, uint32_t class, struct heapd_pair *pair)
{
	struct heapd_pair seen;

	pthread_mutex_lock(&supply->heap->lock);
	seen = heapd_pair_load(pair);
	if (seen.second && heapd_pair_cas(pair, &seen, (struct heapd_pair){ 0, 0 }))
		give_back(supply, class, &(struct heapd_current){ .base = seen.first, .bits = seen.second });
	pthread_mutex_unlock(&supply->heap->lock);
}

static bool move_to(struct visit *visit, uint32_t cpu)
{
	CPU_ZERO_S(visit->set_bytes, visit->one);
	CPU_SET_S(cpu, visit->set_bytes, visit->one);
	return sched_setaffinity(0, visit->set_bytes, visit->one) == 0;
}

/* Taken from anywhere. */
static void visit_cas_row(struct supply *supply, uint32_t cpu)
{
	uint64_t row = (uint64_t)cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT);
	struct heapd_pair *pairs = &supply->heap->t.cas_rows[row];

	for (uint32_t class = 0; class < HEAPD_LOAD_ACQUIRE(&supply->heap->t.directory->nclasses); ++class)
		if (unchanged((const struct heapd_current *)(const void *)&pairs[class],
			      &supply->visit->cas_seen[row + class]))
			take_cas(supply, class, &pairs[class]);
}

/* Taken on the CPU itself: moves there if there is something. */
static bool visit_rseq_slab(struct supply *supply, uint32_t cpu, uint32_t class, unsigned i, bool there)
{
	uint64_t at = ((uint64_t)cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;
	struct heapd_rseq_entry *rows = supply->heap->t.rseq_rows;

	if (!unchanged(&rows[at].slabs[i], &supply->visit->rseq_seen[at * 2 + i]))
		return there;
	if (!there && !move_to(supply->visit, cpu))
		return false;
#if HEAPD_HAVE_RSEQ
	struct heapd_current taken;

	pthread_mutex_lock(&supply->heap->lock);
	if (heapd_rseq_take(rows + class, (uint32_t)supply->heap->geometry.cpus, i * sizeof(taken), &taken))
		give_back(supply, class, &taken);
	pthread_mutex_unlock(&supply->heap->lock);
#endif
	return true;
}

static void visit_rseq_row(struct supply *supply, uint32_t cpu)
{
	uint32_t classes = HEAPD_LOAD_ACQUIRE(&supply->heap->t.directory->nclasses);
	bool there = false;

	for (uint32_t class = 0; class < classes; ++class)
		for (unsigned i = 0; i < 2; i++)
			there = visit_rseq_slab(supply, cpu, class, i, there);
}

static uint64_t slots_of(uint64_t bits)
{
	return (uint64_t)__builtin_popcountll(bits);
}

static uint64_t current_bytes(struct supply *supply)
{
	struct heap *heap = supply->heap;
	uint64_t bytes = 0;

	for (uint64_t cpu = 0; cpu < heap->geometry.cpus; cpu++)
		for (uint32_t class = 0; class < HEAPD_LOAD_ACQUIRE(&heap->t.directory->nclasses); ++class) {
			uint64_t at = (cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;
			const struct heapd_rseq_entry *entry = &heap->t.rseq_rows[at];
			uint64_t slots = slots_of(HEAPD_READ_ONCE(entry->slabs[0].bits)) +
					 slots_of(HEAPD_READ_ONCE(entry->slabs[1].bits)) +
					 slots_of(HEAPD_READ_ONCE(heap->t.cas_rows[at].second));

			bytes += slots * heap->t.classes[class].slot_size;
		}
	return bytes;
}

bool visit_stranded(struct supply *supply, uint64_t now)
{
	struct heapd_stats *stats = &supply->heap->t.directory->stats;
	struct visit *visit = supply->visit;
	uint64_t bound, stranded;

	if (now - visit->last < SUPPLY_SECOND_NS)
		return visit->over;
	visit->last = now;
	stranded = current_bytes(supply);
	HEAPD_WRITE_ONCE(stats->stranded, stranded);
	bound = HEAPD_READ_ONCE(stats->committed) / 50;
	if (bound < SUPPLY_STRANDED_MIN)
		bound = SUPPLY_STRANDED_MIN;
	visit->over = stranded + HEAPD_READ_ONCE(stats->in_rings) > bound;
	if (!visit->over)
		return false;
	for (uint32_t cpu = 0; cpu < supply->heap->geometry.cpus; cpu++)
		visit_cas_row(supply, cpu);
	if (sched_getaffinity(0, visit->set_bytes, visit->home) < 0)
		return true;
	for (uint32_t cpu = 0; cpu < supply->heap->geometry.cpus; cpu++)
		visit_rseq_row(supply, cpu);
	sched_setaffinity(0, visit->set_bytes, visit->home);
	return true;
}
