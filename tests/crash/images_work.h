/* SPDX-License-Identifier: MIT */
/*
 * images_work.h - what a daemon does for its clients, drawn by a seed.
 */
#ifndef HEAPD_CRASH_IMAGES_WORK_H
#define HEAPD_CRASH_IMAGES_WORK_H

#include "images_clients.h"

struct work {
	struct clients_of clients;
	uint64_t random;
	uint32_t classes[6];     /* that it allocates from */
	bool collected, is_weak; /* much of it is about weak cells */
};

static inline struct heap *work_heap_of(const struct work *work)
{
	return work->clients.d->heap;
}

uint64_t work_draw(struct work *work);
/* Somebody who is there and can speak, and writes; WORLD_CLIENTS: nobody. */
unsigned work_somebody(struct work *work);
/* The answer with an object has arrived, which hangs on that pin from now on; the next request says so. */
void work_received(struct work *work, unsigned i, unsigned pin, uint64_t object);
/* An object that nobody but the daemon will hold; 0: there is none. */
uint64_t work_make_alone(struct work *work, unsigned i);

/* images_requests.c: what clients ask the daemon for. */
void request_attach(struct work *work);
void request_fork(struct work *work);
/* A forked child speaks, or who is there detaches, or dies. */
void request_leave_or_speak(struct work *work);
void request_room(struct work *work);
void request_refill(struct work *work);
void request_root(struct work *work);
void request_ticket(struct work *work);
void request_type(struct work *work);
void request_dead(struct work *work);
void request_setting(struct work *work);

/* Settings of the heap, as this seed has them: NULL at the end. */
const char *const *work_settings(uint64_t seed);

void work_begin(struct work *work, uint64_t seed, struct images_daemon *d, struct world *w);
/* One thing more. */
void work_step(struct work *work);
/* Ends the program unless the heap is as clients know it. */
void work_check(struct work *work);

#endif
