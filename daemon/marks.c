/* SPDX-License-Identifier: MIT */
/*
 * Owns the memory of the collector's words; what they mean stands in marks.h, why they are right in cycle.c.
 */
#include "marks.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "beat.h"
#include "ledger.h"

static uint64_t *table_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The tables that mean nothing to another daemon; the others stand in the ledger. */
#define TABLES 4u
static void tables_of(struct marks *marks, uint64_t **tables[TABLES])
{
	uint64_t **all[TABLES] = { &marks->mark, &marks->hold, &marks->early, &marks->doomed };

	for (unsigned i = 0; i < TABLES; i++)
		tables[i] = all[i];
}

int marks_init(struct heap *heap)
{
	struct marks *marks = calloc(1, sizeof(*marks));
	uint64_t **tables[TABLES];
	struct ledger ledger;
	int r;

	if (!marks)
		return -ENOMEM;
	r = ledger_init(&ledger, heap);
	if (r < 0) {
		free(marks);
		return r;
	}
	heap->marks = marks;
	marks->dying = ledger.dying;
	marks->done = ledger.done;
	marks->torn = ledger.torn;
	marks->bytes = heapd_align_up(heap->geometry.slabs * 8, 4096);
	tables_of(marks, tables);
	for (unsigned i = 0; i < TABLES; i++) {
		*tables[i] = table_map(marks->bytes);
		if (*tables[i])
			continue;
		marks_deinit(heap);
		return -ENOMEM;
	}
	return 0;
}

void marks_deinit(struct heap *heap)
{
	struct marks *marks = heap->marks;
	uint64_t **tables[TABLES];

	if (!marks)
		return;
	tables_of(marks, tables);
	for (unsigned i = 0; i < TABLES; i++)
		if (*tables[i])
			munmap(*tables[i], marks->bytes);
	free(marks);
	heap->marks = NULL;
}

void marks_restore(struct heap *heap, const struct ledger *ledger)
{
	uint64_t n = ledger->head->numbers_high * HEAPD_SLAB_UNIT;

	for (uint64_t slab = 0; slab < n; slab++) {
		uint64_t out = ledger->owner[slab / HEAPD_SLAB_UNIT] ? ledger->out[slab] : 0;

		beat_step(&heap->walk_beat, slab);
		marks_forget(heap->marks, slab, ~out);
	}
}
