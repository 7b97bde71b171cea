/* SPDX-License-Identifier: MIT */
/*
 * The computed layout: offsets of every table, and the fingerprint by which client and daemon know
 * that they were built for the same one (after LMDB's lock descriptor).
 */
#ifndef HEAPD_GEOMETRY_H
#define HEAPD_GEOMETRY_H

#include "heapd/atomic.h"
#include "heapd/directory.h"
#include "heapd/message.h"
#include "heapd/percpu.h"
#include "heapd/session.h"
#include "heapd/slab.h"

static inline uint64_t heapd_align_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Reserves `bytes` at *end, on a 4 KiB boundary. */
static inline uint64_t heapd_geometry_place(uint64_t *end, uint64_t bytes)
{
	uint64_t at = *end;

	*end = heapd_align_up(at + bytes, 4096);
	return at;
}

/* Fills g for a heap of `size` bytes on a machine of `cpus` possible CPUs; false if either is out of range. */
static inline bool heapd_geometry_compute(struct heapd_geometry *g, uint64_t size, uint64_t cpus)
{
	uint64_t end = 65536;

	if (size < HEAPD_SIZE_MIN || size > HEAPD_SIZE_MAX || size % HEAPD_EXTENT_SIZE || !cpus ||
	    cpus > 8192)
		return false;
	*g = (struct heapd_geometry){ .size = size, .pages = size >> HEAPD_PAGE_SHIFT, .cpus = cpus };
	g->slabs = g->pages * 10;

	g->class_at = heapd_geometry_place(&end, HEAPD_CLASS_MAX * sizeof(struct heapd_class));
	g->type_at = heapd_geometry_place(&end, HEAPD_TYPE_MAX * sizeof(struct heapd_type_record));
	g->map_at = heapd_geometry_place(&end, HEAPD_MAP_WORDS * 8ul);
	g->root_at = heapd_geometry_place(&end, HEAPD_ROOT_MAX * sizeof(struct heapd_root_record));
	g->ring_at = heapd_geometry_place(&end, HEAPD_CLASS_MAX * sizeof(struct heapd_ring));
	g->class_stats_at = heapd_geometry_place(&end, HEAPD_CLASS_MAX * sizeof(struct heapd_class_stats));
	g->page_span_at = heapd_geometry_place(&end, g->pages * 4);
	g->span_at = heapd_geometry_place(&end, g->pages * sizeof(struct heapd_span));
	g->page_at = heapd_geometry_place(&end, g->pages * sizeof(struct heapd_page));
	g->supplied_at = heapd_geometry_place(&end, g->slabs * 8);
	g->out_at = heapd_geometry_place(&end, g->slabs * 8);
	g->past_at = heapd_geometry_place(&end, g->slabs * sizeof(struct heapd_slab_past));
	g->directory_at = size + HEAPD_APART;
	g->directory_size = heapd_align_up(end, HEAPD_CHUNK_SIZE);

	end = 4096;
	g->head_at = heapd_geometry_place(&end, HEAPD_CLASS_MAX * sizeof(struct heapd_ring_head));
	g->rseq_row_at = heapd_geometry_place(&end, cpus << HEAPD_RSEQ_ROW_SHIFT);
	g->cas_row_at = heapd_geometry_place(&end, cpus << HEAPD_ROW_SHIFT);
	g->counter_at = heapd_geometry_place(&end, cpus * sizeof(struct heapd_cpu_counters));
	g->freed_dirty_at = heapd_geometry_place(&end, heapd_align_up(g->slabs, 64) / 8);
	g->freed_at = heapd_geometry_place(&end, g->slabs * 8);
	g->owner_at = heapd_geometry_place(&end, g->slabs * 2);
	g->lent_at = heapd_geometry_place(&end, g->slabs * 8);
	g->taker_at = heapd_geometry_place(&end, g->slabs * 4);
	g->born_at = heapd_geometry_place(&end, g->slabs * 4);
	g->control_at = g->directory_at + g->directory_size;
	g->control_size = heapd_align_up(end, HEAPD_CHUNK_SIZE);
	g->total = g->control_at + g->control_size;
	return true;
}

/* FNV-1a over the numbers that make up the layout. */
static inline uint64_t heapd_layout_fingerprint(void)
{
	struct heapd_geometry g;
	uint64_t hash = 0xcbf29ce484222325ull;

	heapd_geometry_compute(&g, HEAPD_EXTENT_SIZE, 3);
	const uint64_t words[] = {
		13, /* version: raise it when meaning changes and no number does */
		sizeof(struct heapd_directory),
		sizeof(struct heapd_control),
		sizeof(struct heapd_span),
		sizeof(struct heapd_class),
		sizeof(struct heapd_page),
		sizeof(struct heapd_type_record),
		sizeof(struct heapd_root_record),
		sizeof(struct heapd_ring),
		sizeof(struct heapd_thread),
		sizeof(struct heapd_message),
		offsetof(struct heapd_thread, spares),
		offsetof(struct heapd_thread, handback),
		offsetof(struct heapd_thread, barrier_tail),
		offsetof(struct heapd_directory, cycle),
		offsetof(struct heapd_directory, stats),
		offsetof(struct heapd_session, share),
		HEAPD_PAGE_SHIFT,
		HEAPD_SIZECLASS_TOTAL,
		HEAPD_CLASS_MAX,
		HEAPD_RING_SLOTS,
		HEAPD_BATCH_MAX,
		HEAPD_SESSION_RANGE_AT,
		HEAPD_SESSION_PIN_AT,
		HEAPD_SESSION_BARRIER_AT,
		HEAPD_SESSION_PUBLISHED_AT,
		HEAPD_SESSION_RANGES_AT,
		HEAPD_SESSION_SIZE,
		HEAPD_OP_COUNT,
		g.directory_at,
		g.class_at,
		g.type_at,
		g.map_at,
		g.root_at,
		g.ring_at,
		g.class_stats_at,
		g.page_span_at,
		g.page_at,
		g.span_at,
		g.supplied_at,
		g.out_at,
		g.past_at,
		g.directory_size,
		g.head_at,
		g.rseq_row_at,
		g.cas_row_at,
		g.counter_at,
		g.freed_dirty_at,
		g.freed_at,
		g.owner_at,
		g.lent_at,
		g.taker_at,
		g.born_at,
		g.control_size,
	};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (unsigned byte = 0; byte < 8; byte++)
			hash = (hash ^ (words[i] >> (8 * byte) & 0xff)) * 0x100000001b3ull;
	return hash;
}

/* The tables of a mapped heap: the same view on both sides. The client's directory is read-only. */
struct heapd_tables {
	uint64_t base;
	uint64_t size;
	uint64_t cpus;
	struct heapd_directory *directory;
	struct heapd_class *classes;
	struct heapd_type_record *types;
	uint64_t *maps;
	struct heapd_root_record *roots;
	struct heapd_ring *rings;
	struct heapd_class_stats *class_stats;
	uint32_t *page_span;
	struct heapd_page *pages;
	struct heapd_span *spans;
	uint64_t *supplied;           /* by slab: the free mask with which it was supplied last */
	uint64_t *out;                /* by slab: 1 = given out by the ledger */
	struct heapd_slab_past *past; /* by slab; for tools */
	struct heapd_control *control;
	struct heapd_ring_head *heads;
	struct heapd_rseq_entry *rseq_rows;
	struct heapd_pair *cas_rows;
	struct heapd_cpu_counters *counters;
	uint64_t *freed_dirty;
	uint64_t *freed;
	uint16_t *owner;
	uint64_t *lent;  /* by slab: slots free in the ledger, in rings and in spares; a hint */
	uint32_t *taker; /* by slab: whose it is; a hint */
	uint32_t *born;  /* by slab: the cycle in whose marking it was taken last; a hint */
};

/* directory and control are where the two are mapped: the daemon may have them anywhere. */
static inline void heapd_tables_init(struct heapd_tables *t, const struct heapd_geometry *g, uint64_t base,
				     void *directory, void *control)
{
	char *d = (char *)directory, *c = (char *)control;

	*t = (struct heapd_tables){
		.base = base,
		.size = g->size,
		.cpus = g->cpus,
		.directory = (struct heapd_directory *)directory,
		.classes = (struct heapd_class *)(void *)(d + g->class_at),
		.types = (struct heapd_type_record *)(void *)(d + g->type_at),
		.maps = (uint64_t *)(void *)(d + g->map_at),
		.roots = (struct heapd_root_record *)(void *)(d + g->root_at),
		.rings = (struct heapd_ring *)(void *)(d + g->ring_at),
		.class_stats = (struct heapd_class_stats *)(void *)(d + g->class_stats_at),
		.page_span = (uint32_t *)(void *)(d + g->page_span_at),
		.pages = (struct heapd_page *)(void *)(d + g->page_at),
		.spans = (struct heapd_span *)(void *)(d + g->span_at),
		.supplied = (uint64_t *)(void *)(d + g->supplied_at),
		.out = (uint64_t *)(void *)(d + g->out_at),
		.past = (struct heapd_slab_past *)(void *)(d + g->past_at),
		.control = (struct heapd_control *)control,
		.heads = (struct heapd_ring_head *)(void *)(c + g->head_at),
		.rseq_rows = (struct heapd_rseq_entry *)(void *)(c + g->rseq_row_at),
		.cas_rows = (struct heapd_pair *)(void *)(c + g->cas_row_at),
		.counters = (struct heapd_cpu_counters *)(void *)(c + g->counter_at),
		.freed_dirty = (uint64_t *)(void *)(c + g->freed_dirty_at),
		.freed = (uint64_t *)(void *)(c + g->freed_at),
		.owner = (uint16_t *)(void *)(c + g->owner_at),
		.lent = (uint64_t *)(void *)(c + g->lent_at),
		.taker = (uint32_t *)(void *)(c + g->taker_at),
		.born = (uint32_t *)(void *)(c + g->born_at),
	};
}

#endif
