/* SPDX-License-Identifier: MIT */
/*
 * Stashes: the places of one thread in which it keeps nodes that nobody else has, each in one place at a time.
 */
#ifndef HEAPD_STRESS_STASH_H
#define HEAPD_STRESS_STASH_H

#include "node.h"

#define STASH_PLACES         4u /* of each kind */
#define STASH_TICKET_SECONDS 3u /* the daemon keeps one that nobody takes for so long */

enum stash_kind {
	STASH_FIELD,  /* of an object that a pin holds */
	STASH_PIN,    /* a pin of its own */
	STASH_RANGE,  /* a registered range */
	STASH_LOCAL,  /* a local range */
	STASH_STACK,  /* the thread's stack */
	STASH_INSIDE, /* the stack, an address inside the node */
	STASH_PAST,   /* the stack, an address one past its end */
	STASH_TICKET, /* the daemon */
	STASH_KINDS,
};

struct stash_place {
	uint64_t id;    /* 0: empty */
	uint32_t size;  /* of the node */
	uint64_t forks; /* of the process, begun when the node was made */
	void **pin;
	char ticket[HEAPD_TICKET_SIZE];
	uint64_t issued; /* when */
};

/* Of no interest to a scan, but for the words below; so it lies in malloc'd memory. */
struct stash {
	struct actor *actor;
	struct stash_place places[STASH_KINDS][STASH_PLACES];
	void ***words; /* on the stack: STASH_STACK, STASH_INSIDE, STASH_PAST, in this order */
	struct node **range, **local;
	struct node **chain;       /* a pin */
	bool shared;               /* the chain may be that of another process, too */
	uintptr_t inverted_fields; /* the chain's end */
};

/* words: of the caller's frame, STASH_WORDS zeroes, which stay there until stash_close(). NULL: no memory. */
#define STASH_WORDS (3u * STASH_PLACES)
struct stash *stash_open(struct actor *a, void *volatile words[STASH_WORDS]);
void stash_close(struct stash *s);

/* Makes, moves, hides, looks at, drops or frees one. */
void stash_step(struct stash *s);
/* Looks at all of them. */
void stash_check(struct stash *s);
/* Before a detach of the thread: what its stack held is dropped. */
void stash_drop_stack(struct stash *s);
/* Before a fork, in the parent: from now on another process has its chain, too. */
void stash_share(struct stash *s);
/* After it, in the child: what is not its own it forgets. */
void stash_inherit(struct stash *s);

#endif
