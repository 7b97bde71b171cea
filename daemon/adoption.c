/* SPDX-License-Identifier: MIT */
/*
 * adoption.c - owns what a reload means to a heap in use.
 *
 * Right because an option takes effect only if its configured value has changed: what was set by request since then
 * stays. The main thread alone reloads and answers requests, so nothing comes between looking and changing.
 */
#include "adoption.h"

#include "collection.h"

static bool changed(const struct config_heap *old, uint64_t before, uint64_t now)
{
	return !old || before != now;
}
#define CHANGED(field) changed(old, old ? (uint64_t)old->field : 0, (uint64_t) new->field)

static void adopt_percent(struct heap *heap, unsigned percent)
{
	if (collection_set_percent(heap, percent) < 0)
		log_warning(
			heap->log,
			"heap '%s': GCPercent=off has to wait for a restart, since Free=checked is in force",
			heap->name);
}

static void adopt_settings(struct heap *heap, const struct config_heap *old, const struct config_heap *new)
{
	struct collection_settings settings = collection_settings(heap);

	if (CHANGED(memory_limit))
		settings.memory_limit = new->memory_limit;
	if (CHANGED(gc_interval))
		settings.interval = new->gc_interval;
	if (CHANGED(stall_timeout))
		settings.stall_timeout = new->stall_timeout;
	if (CHANGED(stall_action))
		settings.stall_action = new->stall_action;
	collection_change(heap, &settings);
	if (CHANGED(gc_percent))
		adopt_percent(heap, new->gc_percent);
}

/* The heap's own properties are compared with what it is, whatever the old configuration said. */
static void tell_what_waits(const struct heap *heap, const struct config_heap *old,
			    const struct config_heap *new)
{
	const struct heapd_cycle_words *cycle = &heap->t.directory->cycle;

	if (new->size != heap->geometry.size || (new->base &&new->base != heap->t.base) ||
	    (old && old->huge != new->huge))
		log_warning(heap->log,
			    "heap '%s': Size=, Base= and HugePages= change when heapd is restarted",
			    heap->name);
	if ((new->free_mode == CONFIG_FREE_CHECKED) != (cycle->free_mode == HEAPD_FREE_CHECKED) ||
	    new->marker_threads != heap->collection->threads || config_heap_debug(new) != cycle->debug)
		log_warning(
			heap->log,
			"heap '%s': Free=, MarkerThreads=, Debug= and Hardened= change when heapd is restarted",
			heap->name);
}

void adoption_run(struct heap *heap, const struct config_heap *new)
{
	const struct config_heap *old = heap->config;

	heap->config = new;
	if (!new) {
		if (old)
			log_warning(
				heap->log,
				"heap '%s' is not configured any more: it takes nobody in, and ends when heapd "
				"does",
				heap->name);
		return;
	}
	if (CHANGED(limit)) {
		heap_set_limit(heap, new->limit);
		collection_wake(heap);
	}
	heap_set_share(heap, new);
	adopt_settings(heap, old, new);
	tell_what_waits(heap, old, new);
}
