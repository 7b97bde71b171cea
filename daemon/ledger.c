/* SPDX-License-Identifier: MIT */
/*
 * Owns the layout of the ledger's memory. The order of commits that makes it the truth stands where
 * the commits are: ring.c (giving and taking back), harvest.c (taking back) and spans.c (cutting and freeing); recover.c
 * says what each death between two of them leaves, and mends it.
 */
#include "ledger.h"

#include <errno.h>

/* Where each table begins; the end of all of them. NULL: only the end is wanted. */
static uint64_t lay_out(const struct heapd_geometry *g, struct ledger *l, char *memory)
{
	uint64_t end = 4096, chunks = g->size >> HEAPD_CHUNK_SHIFT;
	struct {
		void **table;
		uint64_t bytes;
	} parts[] = {
		{ (void **)&l->rings, HEAPD_CLASS_MAX * sizeof(struct ledger_ring) },
		{ (void **)&l->owner, g->slabs / HEAPD_SLAB_UNIT * 4 },
		{ (void **)&l->committed, heapd_align_up(chunks, 64) / 8 },
		{ (void **)&l->huge, heapd_align_up(chunks, 64) / 8 },
		{ (void **)&l->dirty, heapd_align_up(g->pages, 64) / 8 },
		{ (void **)&l->gone, heapd_align_up(g->pages, 64) / 8 },
		{ (void **)&l->dying, g->slabs * 8 },
		{ (void **)&l->done, g->slabs * 8 },
		{ (void **)&l->torn, g->slabs * 8 },
		{ (void **)&l->watched, HEAPD_TYPE_MAX },
		{ (void **)&l->sessions, LEDGER_SESSIONS * sizeof(struct ledger_session) },
		{ (void **)&l->tickets, LEDGER_TICKETS * sizeof(struct ledger_ticket) },
	};

	l->head = (struct ledger_head *)(void *)memory;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t at = heapd_geometry_place(&end, parts[i].bytes);

		if (memory)
			*parts[i].table = memory + at;
	}
	return end;
}

uint64_t ledger_size(const struct heapd_geometry *g)
{
	struct ledger none;

	return heapd_align_up(lay_out(g, &none, NULL), HEAPD_CHUNK_SIZE);
}

static int head_check(const struct ledger_head *head, const struct heapd_directory *directory)
{
	return head->magic == LEDGER_MAGIC && head->fingerprint == directory->fingerprint &&
			       head->heap_id == directory->id && head->version == LEDGER_VERSION
		       ? 0
		       : -EPROTO;
}

int ledger_init(struct ledger *ledger, struct heap *heap)
{
	const struct heapd_directory *directory = heap->t.directory;

	lay_out(&heap->geometry, ledger, heap->ledger_memory);
	ledger->out = heap->t.out;
	if (!ledger->head->magic)
		*ledger->head = (struct ledger_head){
			.magic = LEDGER_MAGIC,
			.fingerprint = directory->fingerprint,
			.heap_id = directory->id,
			.slabs = heap->geometry.slabs,
			.version = LEDGER_VERSION,
		};
	return head_check(ledger->head, directory);
}
