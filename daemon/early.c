/* SPDX-License-Identifier: MIT */
/*
 * Owns the reports of objects freed too early, and takes their freed bits back.
 *
 * Marking also reaches what only a word on a stack leads to, perhaps one left over, or what was unlinked in this very cycle: no
 * proof of a mistake. So what was freed and marked is looked for once more by the exact trace. What that finds is a
 * mistake and is told once: its freed bit goes, and the program may use it, or free it again. What it does not
 * find keeps its bit: the sweep leaves it, since it is marked, and the next cycle looks again.
 *
 * The trace is made only in a cycle that has such objects: a heap whose programs make no mistakes pays for few.
 */
#include "early.h"

#include <inttypes.h>

#include "clients.h"
#include "heapd/atomic.h"
#include "heapd/probes.h"
#include "marks.h"
#include "path.h"
#include "spans.h"

#define PATH_MAX_TEXT 400u

void early_init(struct early *early)
{
	*early = (struct early){ .lines.what = "objects freed too early" };
}

void early_deinit(struct early *early, struct heap *heap)
{
	log_limit_flush(heap->log, &early->lines, LOG_WARNING);
}

static uint64_t suspects(const struct heap *heap, uint32_t slab)
{
	return heap->marks->doomed[slab] & heap->marks->mark[slab] & heap->t.out[slab] &
	       HEAPD_LOAD_ACQUIRE(&heap->t.freed[slab]);
}

static bool any_suspect(struct heap *heap)
{
	uint64_t n = heap->spans->numbers.high * HEAPD_SLAB_UNIT;

	for (uint32_t slab = 0; slab < n; slab++) {
		beat_step(&heap->walk_beat, slab);
		if (suspects(heap, slab))
			return true;
	}
	return false;
}

static void report(struct early *early, const struct reach *reach, const struct reach_step *step,
		   const struct reach_slot *slot)
{
	struct heap *heap = reach->heap;
	char path[PATH_MAX_TEXT];
	struct journal_event event = { .id = EVENT_FREED_EARLY,
				       .heap = heap->name,
				       .address = heap->t.base + step->start,
				       .has_count = true,
				       .count = 1 };

	HEAPD_PROBE(early__free, heap->name, heap->t.base + step->start, 1);
	path_write(reach, step, path, sizeof(path));
	log_event(heap->log, &early->lines, LOG_WARNING, &event,
		  "heap '%s': %s 0x%" PRIx64 " (%" PRIu64
		  " bytes) was freed while still reachable, and is kept: %s",
		  heap->name, reach_type(heap, slot)->name, heap->t.base + step->start,
		  reach_words(heap, slot) * 8, path);
}

static uint64_t take_back(struct early *early, struct reach *reach)
{
	struct heap *heap = reach->heap;
	uint64_t n = 0;

	for (uint64_t i = 0; i < reach->n; i++) {
		struct reach_slot slot = reach_slot_at(heap, reach->steps[i].start);

		beat_step(&heap->walk_beat, i);
		if (!(suspects(heap, slot.slab) >> slot.bit & 1))
			continue;
		report(early, reach, &reach->steps[i], &slot);
		__atomic_fetch_and(&heap->t.freed[slot.slab], ~(1ull << slot.bit), __ATOMIC_RELAXED);
		n++;
	}
	return n;
}

/* Without memory for the trace nothing is reported in this cycle. */
uint64_t early_look(struct early *early, struct heap *heap)
{
	struct reach reach;
	uint64_t n = 0;

	if (heap->t.directory->cycle.free_mode != HEAPD_FREE_CHECKED)
		return 0;
	heap_lock(heap);
	if (any_suspect(heap) && reach_init(&reach, heap, NULL) == 0) {
		reach_add_exact(&reach);
		reach_run(&reach, REACH_EVERYTHING);
		n = take_back(early, &reach);
		reach_deinit(&reach);
	}
	heap_unlock(heap);
	return n;
}
