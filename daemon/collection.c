/* SPDX-License-Identifier: MIT */
/*
 * Owns the requests for cycles and the shades of the daemon's own roots.
 *
 * A root's store and its shades are one step under the mutex, and so is the switch of `shading`: either the store
 * is over before handshake 1 begins, or both of its values are shaded. That is what a client's gate does for a
 * client's store. The daemon's threads have no stacks that are scanned: whatever address they hold on the way
 * from a message to a root is shaded here as it is stored, and is held by its sender until the reply.
 */
#include "collection.h"

#include <errno.h>
#include <stdlib.h>

const char *trigger_word(enum trigger trigger)
{
	static const char *const words[TRIGGERS] = {
		[TRIGGER_HEAP] = "heap",       [TRIGGER_LIMIT] = "limit", [TRIGGER_INTERVAL] = "interval",
		[TRIGGER_REQUEST] = "request", [TRIGGER_DEATH] = "death", [TRIGGER_VOID] = "void",
		[TRIGGER_STRESS] = "stress",
	};

	return words[trigger];
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
	c->trigger_bytes = UINT64_MAX;
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

uint64_t collection_request(struct heap *heap, enum trigger trigger)
{
	struct collection *c = heap->collection;
	uint64_t finished;

	pthread_mutex_lock(&c->mutex);
	c->wanted |= 1u << trigger;
	/* One that is under way has begun before this. */
	finished = c->finished + (c->begun > c->finished ? 2 : 1);
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->mutex);
	return finished;
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
