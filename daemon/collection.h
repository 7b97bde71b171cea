/* SPDX-License-Identifier: MIT */
/*
 * What the rest of the daemon tells the collector of a heap, and asks of it.
 *
 * Requests: anybody asks for a cycle and learns what `finished` of the directory's cycle words will be when a
 * whole one has passed. Shades: the daemon holds roots of its own (named roots, tickets); what it puts into one
 * or takes out of one while a cycle is under way goes to the marker as clients' values do. Settings: changed by
 * the main thread while the heap is in use.
 *
 * Under `mutex`: all of it, but for the flags below. No client can hold it; whoever holds it waits for nothing.
 * Under heap->lock: `active` and `holding`, which the supply side looks at.
 */
#ifndef HEAPD_DAEMON_COLLECTION_H
#define HEAPD_DAEMON_COLLECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fields.h"
#include "heap.h"

/* Why a cycle begins; the words of logs and metrics. */
enum trigger {
	TRIGGER_HEAP,     /* the heap has grown to its goal */
	TRIGGER_LIMIT,    /* memory is short */
	TRIGGER_INTERVAL, /* none for a while */
	TRIGGER_REQUEST,
	TRIGGER_DEATH, /* a client died and may have left much */
	TRIGGER_VOID,  /* the one before came to nothing */
	TRIGGER_STRESS,
	TRIGGERS,
};
const char *trigger_word(enum trigger trigger);

struct collection_settings {
	unsigned percent; /* the next cycle begins when the heap has grown by that; or CONFIG_PERCENT_AUTO; 0: collection is off */
	uint64_t memory_limit;  /* or comes near this; 0: the heap's limit */
	unsigned interval;      /* or after as many seconds; 0: never */
	unsigned stall_timeout; /* seconds after which a client that holds up a cycle is ... */
	enum config_stall stall_action;
};

struct collection {
	pthread_mutex_t mutex;
	pthread_cond_t cond; /* wanted, settings or stop have changed */
	struct collection_settings settings;
	unsigned threads;     /* of the marker; constant */
	uint64_t switched_on; /* CLOCK_MONOTONIC, ns; 0: collection has been on since before anybody attached */
	uint32_t wanted;      /* bit: enum trigger */
	bool changed;         /* settings or limit, since the collector last planned with them */
	bool stop;            /* atomic */
	uint64_t begun, finished; /* cycles */
	uint32_t whole; /* atomic: the number (phase.h) of the last one that was not void; 0: none yet */

	bool shading; /* from handshake 1 until nothing is grey any more */
	uint64_t *shades;
	uint64_t nshades, shades_room;
	bool shades_lost; /* no memory for one: the cycle is void */

	struct fields fields; /* its rows; else the collector's thread's */

	bool active; /* heap->lock: from note P to the sweep's end; nothing freed is harvested, no span is freed */
	bool holding; /* heap->lock: from note P to note P2; what is taken from rings is held */
	_Atomic uint64_t
		trigger_bytes; /* the supplier asks for a cycle when as much is out; UINT64_MAX: never */
};

/* As heap->config says; also what the directory shows of that, so before anybody attaches. */
int collection_init(struct heap *heap);
void collection_deinit(struct heap *heap);

/* What is in force. The main thread alone changes it: all but the percentage as a whole, and in force at once. */
struct collection_settings collection_settings(const struct heap *heap);
void collection_change(struct heap *heap, const struct collection_settings *settings);

/*
 * 0 switches collection off, which is -EINVAL where frees are checked. Where it was off, clients are attached
 * that came when nobody asked them to take part: `switched_on` says since when they are asked to.
 */
int collection_set_percent(struct heap *heap, unsigned percent);

/* What `finished` will be when a whole cycle has passed that began after this call. Any thread. */
uint64_t collection_request(struct heap *heap, enum trigger trigger);

/* The number, as clients see it, of the last whole cycle. 0: none, or nothing is collected. Any thread. */
uint32_t collection_whole(const struct heap *heap);

/* Whether that was asked for since the last cycle began. Any thread. */
bool collection_is_wanted(struct heap *heap, enum trigger trigger);

/* What the collector plans with has changed: the limit, or a setting. */
void collection_wake(struct heap *heap);

/* Writes one of the daemon's own roots: both values are shaded if a cycle is under way. */
void collection_root_store(struct heap *heap, uint64_t *root, uint64_t value);

/* An object leaves the daemon's hands, or was named by a client: it is shaded if a cycle is under way. */
void collection_shade(struct heap *heap, uint64_t word);

/* With heap->lock held: nothing that was freed may be taken back, and no span be freed (see `active`). */
static inline bool collection_is_active(const struct heap *heap)
{
	return heap->collection && heap->collection->active;
}

static inline bool collection_is_on(const struct heap *heap)
{
	return HEAPD_READ_ONCE(heap->t.directory->cycle.collecting);
}

#endif
