/* SPDX-License-Identifier: MIT */
/*
 * The ledger: the daemon's truth about a heap, in a memfd that never leaves it (and that is kept over
 * its own death). What stands in here is enough, with the directory's span table and its out words, to
 * rebuild everything else. Those two lie in the directory because clients look at them (a free of a slot
 * that is not out is a double free, told at once); only the daemon can write them.
 *
 * Guarded by heap->lock, but for the session records, the tickets and what is watched, which are the main thread's
 * (roots.c and deads.c say who reads those), and `doomed` and its like, which marks.h explains.
 */
#ifndef HEAPD_LEDGER_H
#define HEAPD_LEDGER_H

#include "heap.h"

#define LEDGER_MAGIC      0x3170616568643a6cull
#define LEDGER_VERSION    3u /* of what stands in this header; it is compared as the layout's fingerprint is */
#define LEDGER_SESSIONS   65536u /* records */
#define LEDGER_TICKETS    4096u
#define LEDGER_HOLE_WORDS (HEAPD_CHUNK_PAGES / 64)

/* A private copy of a supply ring: what the daemon put in and saw taken. */
struct ledger_ring {
	uint64_t head; /* entries known to be taken */
	uint64_t tail;
	uint64_t entries[HEAPD_RING_SLOTS];
};

/* An entry that is about to be put into a ring: its slots are out, and nowhere until the tail has moved (ring.c). */
struct ledger_giving {
	uint64_t class; /* 1 + number, or 0: nothing is under way; written last, and cleared first */
	uint64_t tail;  /* the place in the ring */
	uint64_t entry;
	uint64_t masks[HEAPD_BATCH_MAX]; /* what becomes out, by slab of the entry */
};

/* Pages of a chunk whose memory is on its way back to the system: all of them, or some, and in no span. */
struct ledger_hole {
	uint64_t chunk; /* 1 + number, or 0: nothing is under way; written last, and cleared first */
	uint64_t pages[LEDGER_HOLE_WORDS]; /* one bit each */
};

/* An entry that is about to be taken back: its slots are out, and nowhere once the ring's `withdrawn` has moved (ring.c). */
struct ledger_taking {
	uint64_t class;     /* 1 + number, or 0: nothing is under way; written last, and cleared first */
	uint64_t head;      /* the place in the ring */
	uint64_t withdrawn; /* before that */
	uint64_t entry;
	uint64_t masks[HEAPD_BATCH_MAX]; /* what comes back, by slab of the entry */
};

struct ledger_head {
	uint64_t magic;
	uint64_t fingerprint;
	uint64_t heap_id;
	uint64_t slabs;
	uint64_t version;
	uint64_t complete;      /* the heap has been made to its end: somebody may have attached */
	uint64_t pages_high;    /* pages ever taken are below this, ... */
	uint64_t numbers_high;  /* ... and units of slab numbers below this */
	uint64_t sessions_high; /* records ever used are below this */
	uint64_t last_session;  /* the greatest id that a session of this heap has had */
	struct ledger_giving giving;
	struct ledger_taking taking;
	struct ledger_hole hole;
};
_Static_assert(sizeof(struct ledger_head) <= 4096, "the ledger's head has one page");

#define LEDGER_NOT_STORED UINT64_MAX /* of a session's memory: it ends with the daemon */

/* A session; at its place in heap->clients. */
struct ledger_session {
	uint64_t id;        /* 0: none; written last, and cleared first */
	uint64_t memory;    /* the number of its memory file, see store.h */
	uint64_t mark;      /* of the process, see peer.h: a number that was given to another is noticed */
	uint64_t in_flight; /* an object whose address may be on its way to the client */
	int32_t pid;        /* of a forked child that has not spoken: 0, ... */
	int32_t parent;     /* ... and its parent */
	uint32_t uid;
	uint32_t read_only;
	char client[HEAPD_NAME_MAX];
	uint32_t in_flight_seq; /* of the request that is being answered */
	uint32_t maker_seq;     /* of a forked child's: the number of the request for it, ... */
	uint64_t maker;         /* ... and the session that made it */
	uint32_t administers, debug;
	uint32_t room[2]; /* HEAPD_ROOM_*: what it may use; read without a lock (clients.h) */
};
_Static_assert(sizeof(struct ledger_session) == 128, "two cache lines");

struct ledger_ticket {
	char text[40];
	uint64_t object;
	uint64_t end; /* CLOCK_MONOTONIC, ns; 0: not in use; written last, and cleared first */
	uint64_t unused;
};
_Static_assert(sizeof(struct ledger_ticket) == 64, "a cache line");

struct ledger {
	struct ledger_head *head;
	struct ledger_ring *rings; /* by class */
	uint64_t *out; /* by slab: 1 = given out: in a ring, a current slab, a spare, or allocated (the directory's table) */
	uint32_t *owner; /* by unit of HEAPD_SLAB_UNIT slab numbers: 1 + first page of the span, or 0 */
	uint64_t *committed, *huge;    /* pages.h: by chunk, ... */
	uint64_t *dirty, *gone;        /* ... and by page */
	uint64_t *dying, *done, *torn; /* marks.h: by slab */
	uint8_t *watched;              /* by type: objects of it that die are queued */
	struct ledger_session *sessions;
	struct ledger_ticket *tickets;
};

uint64_t ledger_size(const struct heapd_geometry *g);

/*
 * Lays the tables over heap->ledger_memory; who needs some of them before there is supply does so for itself. A new
 * (all-zero) ledger gets its head; -EPROTO: it is another heap's, or another version's.
 */
int ledger_init(struct ledger *ledger, struct heap *heap);

/* The first page of the span that slab number `slab` belongs to: false if it belongs to none. */
static inline bool ledger_span_of(const struct ledger *ledger, uint32_t slab, uint32_t *first)
{
	uint32_t owner = ledger->owner[slab / HEAPD_SLAB_UNIT];

	*first = owner - 1;
	return owner != 0;
}

#endif
