/* SPDX-License-Identifier: MIT */
/*
 * images_clients.h - clients that keep all rules, as words that they write: each store is on the tape.
 */
#ifndef HEAPD_CRASH_IMAGES_CLIENTS_H
#define HEAPD_CRASH_IMAGES_CLIENTS_H

#include "images_daemon.h"
#include "images_world.h"

#define CLIENTS_THREADS 2u

struct clients_of {
	struct images_daemon *d;
	struct world *w;
	struct session *sessions[WORLD_CLIENTS];
};

/* A session is new: its threads come up. */
void client_begin(struct clients_of *c, unsigned i);
/* Its process is gone, with all that it had. */
void client_end(struct clients_of *c, unsigned i);

/* A thread takes what lies first in a ring, for a spare. False: it lies empty, or there is no room. */
bool client_take(struct clients_of *c, unsigned i, unsigned thread, uint32_t class);
/* A new object of its spares, in the pin's list: the first of it. 0: the spare is empty. */
uint64_t client_make(struct clients_of *c, unsigned i, unsigned thread, unsigned spare);
/* A spare is handed back. */
void client_hand_back(struct clients_of *c, unsigned i, unsigned thread, unsigned spare);

/* An object of its own: the first in the list of that pin; is there one; taken from it; forgotten, or freed. */
void client_link(struct clients_of *c, unsigned i, unsigned pin, uint64_t object);
bool client_has(const struct clients_of *c, unsigned i, unsigned pin);
uint64_t client_unlink(struct clients_of *c, unsigned i, unsigned pin);
void client_forget(struct clients_of *c, uint64_t object);
void client_free(struct clients_of *c, unsigned i, uint64_t object);
/* An object is clients' from now on. */
void client_own(struct clients_of *c, uint64_t object);

/* A weak cell on one of its pins for those, made of what its spares have, that leads to an object: false: they have nothing. Is there one? Dropped. */
bool client_cell(struct clients_of *c, unsigned i, unsigned k, uint64_t object);
bool client_has_cell(const struct clients_of *c, unsigned i, unsigned k);
void client_cell_drop(struct clients_of *c, unsigned i, unsigned k, bool is_freed);
/* What lies first in the list of that pin; 0: nothing. */
uint64_t client_first(const struct clients_of *c, unsigned i, unsigned pin);

/* What the collector asks of all is answered. A thread that has been scanned reads weak cells, too, and drops what it got. */
void clients_answer(struct clients_of *c);

#endif
