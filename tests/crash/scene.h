/* SPDX-License-Identifier: MIT */
/*
 * scene.h - what is killed, and beside whom: the operations, the objects that they work on, the witness.
 */
#ifndef HEAPD_CRASH_SCENE_H
#define HEAPD_CRASH_SCENE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../slowness.h"
#include "heapd.h"
#include "heapd/geometry.h"

struct node {
	heapd_ptr(struct node) next;
	heapd_ptr(struct node) other;
	uint64_t word[6];
};

struct flexible {
	heapd_ptr(struct node) first;
	uint64_t count;
	heapd_ptr(struct node) tail[];
};

#define SCENE_NODES  16u
#define SCENE_GUARDS 64u
#define SCENE_MADE   4   /* named roots "made 0" and so on, which an operation makes */
#define SCENE_RING   64u /* nodes of the witness's */

/* The named root: everything that lives on between the kills hangs on it. */
struct stage {
	heapd_ptr(struct node) node[SCENE_NODES]; /* constant */
	heapd_ptr(struct node) field[8];          /* what operations store to; cleared by scene_clear() */
	heapd_ptr(struct node) witness;           /* a ring of the witness's */
	/* Objects of those that died, out of the slabs that they had in their hands: whoever gets one of them again spoils it. */
	heapd_ptr(struct node) guard[SCENE_GUARDS];
};

enum trade { TRADE_NONE, TRADE_ROUND, TRADE_FEW, TRADE_DROP };

/* How long whoever has to go on is waited for. */
#define SCENE_PATIENCE_NS (20 * slowness() * UINT64_C(1000000000))

/* In memory shared by the processes of this harness, beside the heap. */
struct board {
	_Atomic uint64_t progress; /* of the witness */
	_Atomic uint32_t guards;   /* ever set */
	_Atomic uint32_t types;    /* ever defined for prepare_fresh() and for a chore */
	_Atomic uint32_t roots;    /* ever named by a chore */
	_Atomic uint32_t tools;    /* ever run by a chore */
	_Atomic uint32_t lies;     /* ever told by a chore */
	_Atomic int32_t keeper;    /* the process that starts the daemons; 0: none does */
	_Atomic uint32_t deaf;     /* ... and that a chore has stopped */
	_Atomic uint32_t lates;    /* types ever watched by a chore while a collection was under way */
	_Atomic uint32_t scarce;   /* odd: memory is, on purpose; the witness may be refused */
	_Atomic uint32_t pause, paused, stop;
	_Atomic uint32_t slow;    /* not 0: the witness leaves the rings, or the memory, to others */
	_Atomic uint32_t classes; /* asked for so far */
	_Atomic uint32_t go;      /* what a process waits for before it begins */
	_Atomic uint32_t spin;    /* what an operation turns round until it is told */
	_Atomic uint32_t collect; /* the witness is asked for a collection */
	_Atomic uint32_t meeting; /* enum meeting_state */
	_Atomic uint32_t helper;  /* the thread that does what comes between */
	_Atomic uint32_t trade;   /* enum trade: what the trader is told to do (trader.h) */
	char wrong[256];          /* what the witness found */
};

struct scene {
	heapd_heap *heap;
	heapd_type *nodes, *flexibles, *leaves, *watched;
	heapd_type *fresh; /* an operation's own */
	struct stage *stage;
	struct board *board;
	struct heapd_tables tables;
	unsigned cpu;
	uint32_t patience_ms; /* of requests and supply; 0: the library's own */
	bool sequences;       /* this process allocates by restartable sequences */
	/* An operation's own, in its process. */
	void *object, *others[64];
	struct node **pin;
	heapd_weak *weak;
	heapd_arena *arena;
	char text[128];
};

enum where {
	IN_MAIN,    /* the thread that was forked */
	IN_THREAD,  /* a thread from its first instruction to its last */
	IN_CHILD,   /* the child of a fork, from its first instruction */
	IN_SIGNAL,  /* the handler of the collector's signal */
	IN_CREATED, /* a thread that the operation creates, from its first instruction to its last */
	IN_AGENT,   /* the agent thread, from one note of the daemon's to the next */
};

enum barrier {
	BARRIER_OFF,
	BARRIER_ON,       /* a scan is under way that a stopped client holds up; this thread has answered */
	BARRIER_ON_FIRST, /* before the scan: a client stopped inside an operation holds up the first handshake */
	BARRIERS,
};

struct operation {
	const char *name;
	void (*prepare)(struct scene *s); /* in the process, before it is traced; may be NULL */
	void (*run)(struct scene *s);
	enum where where;
	unsigned barriers; /* with which it is run: bits of enum barrier */
	unsigned seconds;  /* that what it made lives on after it */
	bool spoils;       /* what is not its own; only in a hardened heap, which has it to itself */
	unsigned rounds;   /* of the agent's, until it is over */
	bool cut_off; /* its daemon ends who has no connection and is stopped: only who wanders is stopped in it */
	bool long_way; /* under single steps it would not come to its end: only processes that wander do it */
	/* Where one of its threads waits, in a process that has traps (meeting.h), until another has done that. */
	const char *met;
	void (*meanwhile)(struct scene *s);
};

extern const struct operation scene_operations[];
extern const unsigned scene_noperations;

/* The others; each table ends with one that has no name. */
extern const struct operation varieties[], answers[], supplies[], attachments[], absences[], heapless[],
	events[], overwrites[], corners[], limits[], strangers[], lengths[], refusals_more[], rarities[],
	encounters[], remains[], stances[];
extern const struct operation *const more_operations[];

struct board *board_make(void);

/* Attaches, and makes the stage, and a board if there is none. flags: HEAPD_ATTACH_*. */
void scene_init(struct scene *s, uint32_t flags);
/* What operations left in fields and roots is dropped. */
void scene_clear(struct scene *s);

/* The object, of 64 bytes or more and nobody's yet, lives on, and is marked. */
void guard_set(struct scene *s, void *object);
/* Ends the program if one of them is not as it was marked. */
void guards_check(struct scene *s);
/* ... if a node of the stage is not empty, as they all are. */
void stage_check(struct scene *s);

/* So many nanoseconds, whatever signals come. */
void scene_pass(uint64_t ns);

pid_t witness_start(struct scene *s);
/* The witness itself, until the board says stop; in a process that has attached. */
int witness_run(void *scene);
/* It holds its ring, and nothing else, until it is resumed. */
void witness_pause(struct scene *s);
void witness_resume(struct scene *s);

/* A client that is stopped, so that a cycle stays where it is. */
pid_t staller_start(struct scene *s, enum barrier barrier);
void staller_end(struct scene *s, pid_t staller); /* 0: there is none */

#endif
