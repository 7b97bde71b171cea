/* SPDX-License-Identifier: MIT */
/*
 * clients.c - owns the table of session memories of a heap.
 *
 * Right because a place is reused only after its memory was taken out under the lock: whoever holds the lock
 * sees live entries whose memory is mapped, and nothing is unmapped under a reader's feet.
 */
#include "clients.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int clients_init(struct heap *heap)
{
	heap->clients = calloc(1, sizeof(*heap->clients));
	return heap->clients ? 0 : -ENOMEM;
}

void clients_deinit(struct heap *heap)
{
	if (!heap->clients)
		return;
	free(heap->clients->slots);
	free(heap->clients);
	heap->clients = NULL;
}

static int grow(struct clients *c)
{
	unsigned allocated = c->allocated ? 2 * c->allocated : 16;
	struct client *slots = reallocarray(c->slots, allocated, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	c->slots = slots;
	c->allocated = allocated;
	return 0;
}

static unsigned free_place(const struct clients *c)
{
	unsigned i = 0;

	if (c->live == c->n)
		return c->n;
	while (c->slots[i].live)
		i++;
	return i;
}

int clients_add(struct heap *heap, struct heapd_session *memory, uint64_t id, unsigned *index)
{
	struct clients *c = heap->clients;
	unsigned i = free_place(c);

	if (i == c->allocated && grow(c) < 0)
		return -ENOMEM;
	c->slots[i] = (struct client){ .memory = memory, .id = id, .live = true };
	c->live++;
	if (i == c->n)
		c->n++;
	*index = i;
	return 0;
}

void clients_remove(struct heap *heap, unsigned index)
{
	struct clients *c = heap->clients;

	assert(index < c->n && c->slots[index].live);
	c->slots[index] = (struct client){ 0 };
	c->live--;
}
