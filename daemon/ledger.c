/* SPDX-License-Identifier: MIT */
/*
 * Owns the layout of the ledger's memory. The order of commits that makes it the truth stands where
 * the commits are: ring.c (giving and taking back), harvest.c (taking back) and spans.c (cutting and freeing).
 */
#include "ledger.h"

#include <errno.h>

static uint64_t rings_at(void)
{
	return 4096;
}

static uint64_t owner_at(void)
{
	return heapd_align_up(rings_at() + HEAPD_CLASS_MAX * sizeof(struct ledger_ring), 4096);
}

uint64_t ledger_size(const struct heapd_geometry *g)
{
	return heapd_align_up(owner_at() + g->slabs / HEAPD_SLAB_UNIT * 4 + 4096, HEAPD_CHUNK_SIZE);
}

int ledger_init(struct ledger *ledger, struct heap *heap)
{
	char *memory = heap->ledger_memory;
	const struct heapd_directory *directory = heap->t.directory;

	ledger->head = (struct ledger_head *)(void *)memory;
	ledger->rings = (struct ledger_ring *)(void *)(memory + rings_at());
	ledger->out = heap->t.out;
	ledger->owner = (uint32_t *)(void *)(memory + owner_at());
	if (!ledger->head->magic)
		*ledger->head = (struct ledger_head){
			.magic = LEDGER_MAGIC,
			.fingerprint = directory->fingerprint,
			.heap_id = directory->id,
			.slabs = heap->geometry.slabs,
		};
	if (ledger->head->magic != LEDGER_MAGIC || ledger->head->fingerprint != directory->fingerprint ||
	    ledger->head->heap_id != directory->id)
		return -EPROTO;
	return 0;
}
