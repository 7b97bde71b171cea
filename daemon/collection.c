/* SPDX-License-Identifier: MIT */
/*
 * Owns the requests for cycles, the settings, and the shades of the daemon's own roots.
 *
 * A root's store and its shades are one step under the mutex, and so is the switch of `shading`: either the store
 * is over before handshake 1 begins, or both of its values are shaded. That is what a client's gate does for a
 * client's store. The daemon's threads have no stacks that are scanned: whatever address they hold on the way
 * from a message to a root is shaded here as it is stored, and is held by its sender until the reply.
 */
#include "collection.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"

const char *trigger_word(enum trigger trigger)
{
	static const char *const words[TRIGGERS] = {
		[TRIGGER_HEAP] = "heap",       [TRIGGER_LIMIT] = "limit", [TRIGGER_INTERVAL] = "interval",
		[TRIGGER_REQUEST] = "request", [TRIGGER_DEATH] = "death", [TRIGGER_VOID] = "void",
		[TRIGGER_STRESS] = "stress",
	};

	return words[trigger];
}

static void settings_init(struct collection *c, const struct config_heap *config)
{
	c->settings = (struct collection_settings){
		.percent = config->gc_percent,
		.memory_limit = config->memory_limit,
		.interval = config->gc_interval,
		.stall_timeout = config->stall_timeout,
		.stall_action = config->stall_action,
	};
	c->threads = config->marker_threads;
	c->trigger_bytes = UINT64_MAX;
}

/*
 * Free=, Debug= and Hardened= stay what they are as long as the heap lives: its clients go by them. Where collection was off, they are
 * asked to take part from now on.
 */
static void directory_adopt(struct collection *c, struct heap *heap)
{
	struct heapd_cycle_words *cycle = &heap->t.directory->cycle;

	c->begun = c->finished = cycle->finished;
	if (!c->settings.percent && cycle->free_mode == HEAPD_FREE_CHECKED) {
		c->settings.percent = 100;
		log_warning(heap->log,
			    "heap '%s': was made with Free=checked, so GCPercent=off cannot be: it is 100",
			    heap->name);
	}
	if (c->settings.percent && !cycle->collecting)
		c->switched_on = clock_ns();
	HEAPD_STORE_RELEASE(&cycle->collecting, c->settings.percent != 0);
	/* Whoever waits for a cycle that is void now is to ask again: so one passes at once. */
	c->wanted = 1u << TRIGGER_VOID;
}

/* Nobody has attached yet: plain stores do. */
static void directory_init(struct heapd_directory *directory, const struct config_heap *config)
{
	directory->sample_bytes = HEAPD_SAMPLE_BYTES;
	directory->cycle.free_mode = config->free_mode == CONFIG_FREE_CHECKED ? HEAPD_FREE_CHECKED
									      : HEAPD_FREE_PROMPT;
	directory->cycle.debug = config_heap_debug(config);
	directory->cycle.collecting = config->gc_percent != 0;
	directory->cycle.waits_for = 0; /* the last daemon's */
}

int collection_init(struct heap *heap)
{
	struct collection *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	fields_init(&c->fields);
	settings_init(c, heap->config);
	if (heap->adopted)
		directory_adopt(c, heap);
	else
		directory_init(heap->t.directory, heap->config);
	heap->collection = c;
	return 0;
}

void collection_deinit(struct heap *heap)
{
	struct collection *c = heap->collection;

	if (!c)
		return;
	free(c->shades);
	pthread_cond_destroy(&c->cond);
	pthread_mutex_destroy(&c->mutex);
	free(c);
	heap->collection = NULL;
}

struct collection_settings collection_settings(const struct heap *heap)
{
	struct collection *c = heap->collection;
	struct collection_settings settings;

	pthread_mutex_lock(&c->mutex);
	settings = c->settings;
	pthread_mutex_unlock(&c->mutex);
	return settings;
}

/* With the mutex held. The collector plans anew: at once, or as soon as it has nothing else to do. */
static void plan_again(struct collection *c)
{
	c->changed = true;
	pthread_cond_signal(&c->cond);
}

void collection_change(struct heap *heap, const struct collection_settings *settings)
{
	struct collection *c = heap->collection;
	unsigned percent;

	pthread_mutex_lock(&c->mutex);
	percent = c->settings.percent;
	c->settings = *settings;
	c->settings.percent = percent;
	plan_again(c);
	pthread_mutex_unlock(&c->mutex);
}

/* `switched_on` stands before the release of `collecting`: the collector never takes an older one for it. */
int collection_set_percent(struct heap *heap, unsigned percent)
{
	struct heapd_cycle_words *cycle = &heap->t.directory->cycle;
	struct collection *c = heap->collection;

	if (!percent && cycle->free_mode == HEAPD_FREE_CHECKED)
		return -EINVAL;
	pthread_mutex_lock(&c->mutex);
	if (percent && !c->settings.percent)
		c->switched_on = clock_ns();
	c->settings.percent = percent;
	HEAPD_STORE_RELEASE(&cycle->collecting, percent != 0);
	plan_again(c);
	pthread_mutex_unlock(&c->mutex);
	return 0;
}

void collection_wake(struct heap *heap)
{
	pthread_mutex_lock(&heap->collection->mutex);
	plan_again(heap->collection);
	pthread_mutex_unlock(&heap->collection->mutex);
}

uint64_t collection_request(struct heap *heap, enum trigger trigger)
{
	struct collection *c = heap->collection;
	uint64_t finished;

	pthread_mutex_lock(&c->mutex);
	c->wanted |= 1u << trigger;
	/* One that is under way has begun before this. */
	finished = c->begun + 1;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->mutex);
	return finished;
}

uint32_t collection_whole(const struct heap *heap)
{
	return heap->collection && collection_is_on(heap) ? HEAPD_LOAD_ACQUIRE(&heap->collection->whole) : 0;
}

bool collection_is_wanted(struct heap *heap, enum trigger trigger)
{
	bool wanted;

	pthread_mutex_lock(&heap->collection->mutex);
	wanted = heap->collection->wanted & 1u << trigger;
	pthread_mutex_unlock(&heap->collection->mutex);
	return wanted;
}

static void shade(struct collection *c, uint64_t word)
{
	uint64_t room = c->shades_room ? 2 * c->shades_room : 256, *grown;

	if (!word || !c->shading)
		return;
	if (c->nshades == c->shades_room) {
		grown = reallocarray(c->shades, room, sizeof(*grown));
		if (!grown) {
			c->shades_lost = true;
			return;
		}
		c->shades = grown;
		c->shades_room = room;
	}
	c->shades[c->nshades++] = word;
}

void collection_root_store(struct heap *heap, uint64_t *root, uint64_t value)
{
	struct collection *c = heap->collection;

	pthread_mutex_lock(&c->mutex);
	shade(c, *root);
	shade(c, value);
	HEAPD_STORE_RELEASE(root, value);
	pthread_mutex_unlock(&c->mutex);
}

void collection_shade(struct heap *heap, uint64_t word)
{
	struct collection *c = heap->collection;

	pthread_mutex_lock(&c->mutex);
	shade(c, word);
	pthread_mutex_unlock(&c->mutex);
}
