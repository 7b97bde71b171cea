/* SPDX-License-Identifier: MIT */
/*
 * Owns the names. Base units, "_total" for what only grows, one family together, a series for each heap and each value
 * of a label from the start: so a rate is right from the first event on. No label's values are a client's to choose.
 */
#include "metrics.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

_Static_assert(DISTRIBUTION_HEAP == HEAPD_NAME_MAX, "what BPF programs know a heap by is its whole name");

struct row {
	const char *name, *help;
	enum exposition_type type;
	size_t at;      /* in the statistics */
	double divisor; /* of what is there to the unit; 0: 1 */
};

#define COUNTER(member, ...)                                                             \
	{                                                                                \
		__VA_ARGS__, EXPOSITION_COUNTER, offsetof(struct heapd_stats, member), 0 \
	}
#define SECONDS(member, ...)                                                               \
	{                                                                                  \
		__VA_ARGS__, EXPOSITION_COUNTER, offsetof(struct heapd_stats, member), 1e9 \
	}
#define GAUGE(member, ...)                                                             \
	{                                                                              \
		__VA_ARGS__, EXPOSITION_GAUGE, offsetof(struct heapd_stats, member), 0 \
	}

static const struct row rows[] = {
	GAUGE(limit, "heapd_heap_limit_bytes", "Memory that the heap may have at most."),
	GAUGE(committed, "heapd_heap_committed_bytes", "Memory that the heap has from the system."),
	GAUGE(committed_huge, "heapd_heap_committed_huge_bytes", "Of that, in huge pages."),
	GAUGE(overhead, "heapd_heap_overhead_bytes", "Memory of the heap's tables and sessions, estimated."),
	GAUGE(in_spans, "heapd_heap_spans_bytes", "Memory cut into slots or large objects."),
	GAUGE(in_rings, "heapd_heap_supply_bytes", "Free slots that lie ready for clients."),
	GAUGE(stranded, "heapd_heap_current_bytes", "Free slots that processors allocate from now."),
	GAUGE(large, "heapd_heap_large_bytes", "Objects of more than 32 KiB."),
	GAUGE(gc_live, "heapd_heap_live_bytes", "What the last collection found reachable."),
	GAUGE(gc_live_objects, "heapd_heap_live_objects",
	      "Objects that the last collection found reachable."),
	GAUGE(gc_goal, "heapd_gc_heap_goal_bytes",
	      "Allocated bytes that the next collection is to end before."),
	GAUGE(gc_trigger, "heapd_gc_heap_trigger_bytes",
	      "Allocated bytes at which the next collection begins."),
	GAUGE(gc_percent, "heapd_gc_percent",
	      "By which the heap may grow until then: GCPercent=, or what auto chose."),
	GAUGE(sessions, "heapd_clients", "Processes that are attached."),
	COUNTER(sessions_ever, "heapd_clients_attached", "Processes that have attached."),
	COUNTER(deaths, "heapd_client_deaths", "Processes that ended without a detach."),
	COUNTER(adoptions, "heapd_heap_adoptions", "Restarts of the daemon that the heap has outlived."),
	COUNTER(receipts, "heapd_receipts", "Collections that were the first after a death."),
	COUNTER(receipt_deaths, "heapd_receipt_deaths", "Deaths that a collection has come after."),
	COUNTER(receipt_bytes, "heapd_receipt_freed_bytes", "Freed by the first collection after a death."),
	COUNTER(receipt_objects, "heapd_receipt_freed_objects",
		"Objects freed by the first collection after a death."),
	COUNTER(gc_voids, "heapd_gc_void_cycles", "Collections that came to nothing and were begun again."),
	COUNTER(gc_stalls, "heapd_gc_stalls", "Processes that held up a collection for more than a second."),
	COUNTER(gc_freed, "heapd_gc_freed_bytes", "Freed by collections."),
	COUNTER(gc_freed_objects, "heapd_gc_freed_objects", "Objects freed by collections."),
	COUNTER(gc_early_frees, "heapd_gc_early_frees",
		"Objects freed while still reachable (Free=checked)."),
	SECONDS(gc_ns, "heapd_gc_duration_seconds",
		"Time from begin to end of all collections but void ones."),
	SECONDS(gc_cpu_ns, "heapd_gc_cpu_seconds", "Processor time of the collector."),
	COUNTER(given, "heapd_allocated_bytes",
		"Bytes of slots and large objects handed out to be allocated, those that still lie ready "
		"(heapd_heap_supply_bytes, heapd_heap_current_bytes) included. What a processor frees and allocates "
		"again without the daemon counts once."),
	COUNTER(taken, "heapd_freed_bytes",
		"Of heapd_allocated_bytes_total, what came back: freed, collected, or handed back unused."),
	COUNTER(supplied_slots, "heapd_heap_supplied_slots", "Slots handed out to clients."),
	COUNTER(harvested_slots, "heapd_heap_harvested_slots", "Slots that came back by being freed."),
	COUNTER(spans_cut, "heapd_spans_cut", "Spans that were cut."),
	COUNTER(spans_freed, "heapd_spans_freed", "Spans that were given back."),
	COUNTER(returned, "heapd_heap_returned_bytes", "Memory given back to the system."),
	COUNTER(refusals, "heapd_alloc_refusals", "Allocations refused at the limit."),
	COUNTER(rings_found_empty, "heapd_supply_empty", "Times that the supply of a class was found empty."),
	COUNTER(double_frees, "heapd_double_frees", "Double frees that the daemon found."),
	COUNTER(overwrites, "heapd_overwrites",
		"Of hardened heaps: slots that were written to while free, or past their end, as the daemon found."),
	COUNTER(client_double_frees, "heapd_client_double_frees",
		"Double frees that clients' libraries refused by themselves."),
	COUNTER(client_bad_frees, "heapd_client_bad_frees",
		"Frees of what is no object, refused by clients' libraries."),
	COUNTER(lost, "heapd_lost_bytes", "Memory that cannot be read any more."),
	COUNTER(corrupt, "heapd_corrupt_words", "Words of clients that made no sense."),
	SECONDS(commit_ns, "heapd_commit_seconds", "Time spent on having memory from the system."),
	SECONDS(supply_ns, "heapd_supply_cpu_seconds", "Processor time of the supplier."),
};

static const struct heapd_directory *directory_of(const struct directory *heap)
{
	return heap->t.directory;
}

/* The statistics of a heap that was never seen are all 0. */
static uint64_t stat_read(const struct directory *heap, size_t at)
{
	const struct heapd_directory *d = directory_of(heap);

	return d ? HEAPD_READ_ONCE(*(const uint64_t *)(const void *)((const char *)&d->stats + at)) : 0;
}

#define STAT(heap, member) stat_read(heap, offsetof(struct heapd_stats, member))

static void rows_write(const struct metrics *m, struct exposition *e)
{
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		double divisor = rows[r].divisor > 0 ? rows[r].divisor : 1;

		exposition_family(e, rows[r].name, rows[r].type, rows[r].help);
		for (unsigned i = 0; i < m->heaps->n; i++) {
			struct exposition_labels labels = { .heap = m->heaps->all[i]->name };
			double value = (double)stat_read(m->heaps->all[i], rows[r].at) / divisor;

			if (rows[r].type == EXPOSITION_COUNTER)
				exposition_counter(e, rows[r].name, &labels, value);
			else
				exposition_gauge(e, rows[r].name, &labels, value);
		}
	}
}

static double allocated(const struct directory *heap)
{
	uint64_t out = STAT(heap, out), free = STAT(heap, in_rings) + STAT(heap, stranded);

	return out > free ? (double)(out - free) : 0;
}

static double fragmentation(const struct directory *heap)
{
	double spans = (double)STAT(heap, in_spans);

	return spans > 0 ? 1 - (double)STAT(heap, out) / spans : 0;
}

static double phase(const struct directory *heap)
{
	const struct heapd_directory *d = directory_of(heap);

	return d ? heapd_now_phase(HEAPD_READ_ONCE(d->cycle.now)) : 0;
}

static double pause_max(const struct directory *heap)
{
	return (double)STAT(heap, gc_pause_max) / 1e9;
}

static void computed_write(const struct metrics *m, struct exposition *e)
{
	static const struct {
		const char *name, *help;
		double (*value)(const struct directory *heap);
	} all[] = {
		{ "heapd_heap_allocated_bytes", "Memory that objects have, reachable or not.", allocated },
		{ "heapd_heap_fragmentation_ratio", "Share of the cut memory that is free.", fragmentation },
		{ "heapd_gc_phase", "0 idle, 1 barrier, 2 scan, 3 mark, 4 sweep.", phase },
		{ "heapd_gc_pause_max_seconds", "The longest pause of a thread.", pause_max },
	};

	for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
		exposition_family(e, all[k].name, EXPOSITION_GAUGE, all[k].help);
		for (unsigned i = 0; i < m->heaps->n; i++)
			exposition_gauge(e, all[k].name,
					 &(struct exposition_labels){ .heap = m->heaps->all[i]->name },
					 all[k].value(m->heaps->all[i]));
	}
}

static void cycles_write(const struct metrics *m, struct exposition *e)
{
	static const char *const triggers[] = { "heap",  "limit", "interval", "request",
						"death", "void",  "stress" };

	exposition_family(e, "heapd_gc_cycles", EXPOSITION_COUNTER, "Collections, by what began them.");
	for (unsigned i = 0; i < m->heaps->n; i++)
		for (size_t k = 0; k < sizeof(triggers) / sizeof(triggers[0]); k++)
			exposition_counter(
				e, "heapd_gc_cycles",
				&(struct exposition_labels){ m->heaps->all[i]->name, "trigger", triggers[k],
							     NULL, NULL },
				(double)stat_read(m->heaps->all[i],
						  offsetof(struct heapd_stats, gc_cycles) + 8 * k));
}

static void pauses_write(const struct metrics *m, struct exposition *e)
{
	uint64_t buckets[HEAPD_PAUSE_BUCKETS];

	exposition_family(e, "heapd_gc_pause_seconds", EXPOSITION_HISTOGRAM,
			  "Processor time that a thread spent on its answer to a scan.");
	for (unsigned i = 0; i < m->heaps->n; i++) {
		for (unsigned k = 0; k < HEAPD_PAUSE_BUCKETS; k++)
			buckets[k] = stat_read(m->heaps->all[i],
					       offsetof(struct heapd_stats, gc_pause_buckets) + 8 * k);
		exposition_histogram(e, "heapd_gc_pause_seconds",
				     &(struct exposition_labels){ .heap = m->heaps->all[i]->name }, buckets,
				     HEAPD_PAUSE_BUCKETS, (double)STAT(m->heaps->all[i], gc_pause_ns) / 1e9);
	}
}

/* Types are the users': together under one label, or their number would be the users' to choose. */
enum layout { LAYOUT_SCAN, LAYOUT_NOSCAN, LAYOUT_TYPED, LAYOUTS };

static void classes_add(const struct directory *heap, double bytes[LAYOUTS][HEAPD_SIZECLASS_TOTAL])
{
	const struct heapd_tables *t = &heap->t;
	uint32_t n = t->directory ? HEAPD_LOAD_ACQUIRE(&t->directory->nclasses) : 0;

	for (uint32_t c = 0; c < n && c < HEAPD_CLASS_MAX; c++) {
		uint32_t size = HEAPD_READ_ONCE(t->classes[c].slot_size), type = t->classes[c].type;

		if (size && size <= HEAPD_SMALL_MAX)
			bytes[type < LAYOUT_TYPED ? type : LAYOUT_TYPED][heapd_sizeclass_of(size)] +=
				(double)size * (double)HEAPD_READ_ONCE(t->class_stats[c].supplied_slots);
	}
}

static void classes_write_one(const struct directory *heap, struct exposition *e)
{
	static const char *const layouts[LAYOUTS] = { "scan", "noscan", "typed" };
	double bytes[LAYOUTS][HEAPD_SIZECLASS_TOTAL] = { 0 };
	char size[16];

	classes_add(heap, bytes);
	for (unsigned l = 0; l < LAYOUTS; l++)
		for (uint32_t c = 0; c < HEAPD_SIZECLASS_COUNT; c++) {
			snprintf(size, sizeof(size), "%u", heapd_sizeclass_size(c));
			exposition_counter(
				e, "heapd_class_supplied_bytes",
				&(struct exposition_labels){ heap->name, "layout", layouts[l], "size", size },
				bytes[l][c]);
		}
}

static void classes_write(const struct metrics *m, struct exposition *e)
{
	exposition_family(e, "heapd_class_supplied_bytes", EXPOSITION_COUNTER,
			  "Slots handed out to clients, by size class and what they are made of.");
	for (unsigned i = 0; i < m->heaps->n; i++)
		classes_write_one(m->heaps->all[i], e);
}

/* What BPF programs counted --------------------------------------------------------------------------------------- */

static void distribution_write(const struct metrics *m, struct exposition *e, const char *name,
			       enum distribution_kind kind, unsigned part, const char *label,
			       const char *value)
{
	for (unsigned i = 0; i < m->heaps->n; i++) {
		struct distribution_key key = { .kind = kind, .part = part };
		struct distribution d;
		uint64_t buckets[DISTRIBUTION_BUCKETS];

		memcpy(key.heap, m->heaps->all[i]->name, sizeof(key.heap));
		loader_read(m->loader, &key, &d);
		for (unsigned k = 0; k < DISTRIBUTION_BUCKETS; k++)
			buckets[k] = d.buckets[k];
		exposition_histogram(
			e, name,
			&(struct exposition_labels){ m->heaps->all[i]->name, label, value, NULL, NULL },
			buckets, DISTRIBUTION_BUCKETS, (double)d.sum / 1e9);
	}
}

static void distributions_write(const struct metrics *m, struct exposition *e)
{
	static const char *const phases[] = { "barrier", "gather", "scan", "roots", "mark", "sweep" };
	static const char *const handshakes[] = { "barrier", "scan" };

	exposition_family(e, "heapd_client_pause_seconds", EXPOSITION_HISTOGRAM,
			  "As heapd_gc_pause_seconds, seen by the probe.");
	distribution_write(m, e, "heapd_client_pause_seconds", DISTRIBUTION_PAUSE, 0, NULL, NULL);
	exposition_family(e, "heapd_gc_handshake_seconds", EXPOSITION_HISTOGRAM,
			  "Wait for all threads of all clients.");
	for (unsigned i = 0; i < 2; i++)
		distribution_write(m, e, "heapd_gc_handshake_seconds", DISTRIBUTION_HANDSHAKE, i + 1,
				   "handshake", handshakes[i]);
	exposition_family(e, "heapd_gc_phase_seconds", EXPOSITION_HISTOGRAM, "Parts of collections.");
	for (unsigned i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		distribution_write(m, e, "heapd_gc_phase_seconds", DISTRIBUTION_PHASE, i, "phase", phases[i]);
	exposition_family(e, "heapd_alloc_slow_seconds", EXPOSITION_HISTOGRAM,
			  "Allocations that had to take a slab.");
	distribution_write(m, e, "heapd_alloc_slow_seconds", DISTRIBUTION_SLOW, 0, NULL, NULL);
	exposition_family(e, "heapd_supply_wait_seconds", EXPOSITION_HISTOGRAM,
			  "Waits of clients for supply.");
	distribution_write(m, e, "heapd_supply_wait_seconds", DISTRIBUTION_WAIT, 0, NULL, NULL);
}

static void samples_write_one(const struct metrics *m, struct exposition *e, const struct directory *heap)
{
	for (uint32_t c = 0; c < HEAPD_SIZECLASS_COUNT; c++) {
		struct distribution_key key = { .kind = DISTRIBUTION_SAMPLES,
						.part = heapd_sizeclass_size(c) };
		struct distribution d;
		char size[16];

		memcpy(key.heap, heap->name, sizeof(key.heap));
		snprintf(size, sizeof(size), "%u", key.part);
		loader_read(m->loader, &key, &d);
		exposition_counter(e, "heapd_sampled_alloc_bytes",
				   &(struct exposition_labels){ heap->name, "size", size, NULL, NULL },
				   (double)d.sum);
	}
}

static void samples_write(const struct metrics *m, struct exposition *e)
{
	exposition_family(e, "heapd_sampled_alloc_bytes", EXPOSITION_COUNTER,
			  "Bytes allocated, by size class, estimated from samples.");
	for (unsigned i = 0; i < m->heaps->n; i++)
		samples_write_one(m, e, m->heaps->all[i]);
}

static void lost_write(const struct metrics *m, struct exposition *e)
{
	struct loader_lost lost = loader_lost(m->loader);

	exposition_family(
		e, "heapd_sampled_lost_bytes", EXPOSITION_COUNTER,
		"Of the bytes allocated, estimated from samples, those whose call sites had no room.");
	exposition_counter(e, "heapd_sampled_lost_bytes", &(struct exposition_labels){ 0 },
			   (double)lost.room);
	exposition_family(
		e, "heapd_sampled_unknown_bytes", EXPOSITION_COUNTER,
		"Of the bytes allocated, estimated from samples, those whose stack could not be had.");
	exposition_counter(e, "heapd_sampled_unknown_bytes", &(struct exposition_labels){ 0 },
			   (double)lost.stack);
}

/* ----------------------------------------------------------------------------------------------------------------- */

static void up_write(const struct metrics *m, struct exposition *e)
{
	bool lives = heaps_daemon_lives(m->heaps);

	exposition_family(e, "heapd_daemon_up", EXPOSITION_GAUGE, "Whether a daemon lives.");
	exposition_gauge(e, "heapd_daemon_up", &(struct exposition_labels){ 0 }, lives);
	exposition_family(e, "heapd_up", EXPOSITION_GAUGE, "Whether the heap is served.");
	for (unsigned i = 0; i < m->heaps->n; i++)
		exposition_gauge(e, "heapd_up", &(struct exposition_labels){ .heap = m->heaps->all[i]->name },
				 lives && m->heaps->all[i]->up);
}

static void build_write(const struct metrics *m, struct exposition *e)
{
	const char *version = m->heaps->version;

	exposition_family(e, "heapd_build_info", EXPOSITION_GAUGE,
			  "Version of the daemon that was asked last; 0: none was yet.");
	exposition_gauge(
		e, "heapd_build_info",
		&(struct exposition_labels){ NULL, "version", *version ? version : "unknown", NULL, NULL },
		*version != 0);
}

void metrics_write(struct metrics *m, struct exposition *e)
{
	up_write(m, e);
	rows_write(m, e);
	computed_write(m, e);
	cycles_write(m, e);
	pauses_write(m, e);
	classes_write(m, e);
	distributions_write(m, e);
	samples_write(m, e);
	lost_write(m, e);
	build_write(m, e);
	self_write(m, e);
	process_write(e, m->heaps->daemon);
	exposition_end(e);
}
