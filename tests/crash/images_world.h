/* SPDX-License-Identifier: MIT */
/*
 * images_world.h - what clients know: which slots are theirs, and what the daemon has told them. It lies on the tape, too, so
 * that it is known of each image.
 */
#ifndef HEAPD_CRASH_IMAGES_WORLD_H
#define HEAPD_CRASH_IMAGES_WORLD_H

#include "daemon/heap.h"
#include "heapd/session.h"

#define WORLD_CLIENTS 6u
#define WORLD_ROOTS   4u
#define WORLD_TICKETS 4u
#define WORLD_TYPES   6u
#define WORLD_PINS    8u /* of each client: ... */
#define WORLD_LISTS \
	4u /* ... on the first ones hang lists, on each of the others an object at most, that has no pointers */
#define WORLD_CELLS 2u /* and so many pins more, with a weak cell at most on each */
#define WORLD_SLABS (8192u * 10u)

/* A weak cell that somebody has on a pin, and its object: that is in use; or let go of, and is to be there if the cell says so. */
struct world_cell {
	uint64_t cell;      /* 0: there is none */
	uint64_t object;    /* 0: it was freed, and the cell may say anything */
	uint64_t slab, bit; /* the object's */
	uint64_t is_let_go;
};

struct world {
	uint64_t clients[WORLD_CLIENTS];  /* session ids; 0: there is none */
	uint64_t unspoken[WORLD_CLIENTS]; /* it is a forked child that has not spoken yet; 2: it is about to */
	uint64_t roots[WORLD_ROOTS];      /* objects that they hold */
	struct {
		char text[64];
		uint64_t object;
	} tickets[WORLD_TICKETS];
	uint64_t types[WORLD_TYPES]; /* numbers; 0: not defined */
	uint64_t classes[WORLD_TYPES];
	struct world_cell cells[WORLD_CLIENTS][WORLD_CELLS];
	uint64_t hands; /* a client, or a request of it, is between two steps: slots that are out may be nowhere yet, ... */
	uint64_t asked;             /* ... and a root may hold this */
	uint64_t high;              /* slabs that were ever clients' are below this */
	uint64_t mine[WORLD_SLABS]; /* by slab: slots that clients have, as objects or to make some of */
	uint64_t left[WORLD_SLABS]; /* slots that they have let go of, and that may not be free yet */
};

struct world *world_make(void);

/* Slots of a slab are clients' from now on; are so no more. */
void world_own(struct world *w, uint32_t slab, uint64_t mask);
void world_leave(struct world *w, uint32_t slab, uint64_t mask);
/* Does somebody have a weak cell that leads there? */
bool world_has_cell_of(const struct world *w, uint64_t object);
/* Nobody has the object any more: what that means to weak cells. */
void world_let_go(struct world *w, uint64_t object, bool is_freed);
/* What has been taken back is left no more. */
void world_tidy(struct world *w, const struct heap *heap);

void world_root_name(unsigned i, char name[HEAPD_NAME_MAX]);

/* What is not as it must be in a heap that a daemon has recovered, in words, or NULL. */
struct images_daemon;
const char *world_judge(const struct world *w, struct images_daemon *d);

#endif
