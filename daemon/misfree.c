/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; adds up what each processor's row in control says.
 *
 * Clients write there whatever they like. Each word is read once, and one that no honest client could have counted to is
 * left out; a sum is shown when it has grown, so what is shown never goes back. A lie harms nobody: it is a wrong count, of
 * a heap whose writers trust each other. The rows outlive the daemon, as the statistics do: nothing is counted twice.
 */
#include "misfree.h"

#include "events.h"
#include "heapd/atomic.h"

#define COUNT_MOST (UINT64_C(1) << 48) /* of one row: centuries */

static uint64_t sane(uint64_t count)
{
	return count < COUNT_MOST ? count : 0;
}

/* How many more there are. */
static uint64_t grow(uint64_t *shown, uint64_t sum)
{
	uint64_t before = HEAPD_READ_ONCE(*shown);

	if (sum <= before)
		return 0;
	HEAPD_WRITE_ONCE(*shown, sum);
	return sum - before;
}

static void refused_tell(struct supply *supply, uint64_t twice, uint64_t bad)
{
	const struct heap *heap = supply->heap;

	log_limited(
		heap->log, &supply->misfree_limit, LOG_WARNING,
		"heap %s: clients refused to free %llu object(s) that were free already and %llu address(es) of none; nothing was harmed: look for what they were told on their standard error",
		heap->name, (unsigned long long)twice, (unsigned long long)bad);
}

void misfree_count(struct supply *supply)
{
	struct heap *heap = supply->heap;
	struct heapd_stats *stats = &heap->t.directory->stats;
	uint64_t twice = 0, bad = 0, overwrites = 0;

	for (uint64_t i = 0; i < heap->t.cpus; i++) {
		twice += sane(HEAPD_READ_ONCE(heap->t.counters[i].double_frees));
		bad += sane(HEAPD_READ_ONCE(heap->t.counters[i].bad_frees));
		overwrites += sane(HEAPD_READ_ONCE(heap->t.counters[i].overwrites));
	}
	twice = grow(&stats->client_double_frees, twice);
	bad = grow(&stats->client_bad_frees, bad);
	overwrites = grow(&stats->client_overwrites, overwrites);
	if (twice || bad)
		refused_tell(supply, twice, bad);
	if (twice || bad || overwrites)
		events_fault(heap);
}
