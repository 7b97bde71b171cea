/* SPDX-License-Identifier: MIT */
/*
 * The session: the memory that one client process and the daemon share, and nobody else sees.
 * The client writes it; the daemon takes what stands in it for hints, and reads each word once.
 *
 *   head | threads | ranges | pins | barrier rings | published stacks | published ranges
 *
 * The file is as long as the worst case and sparse. The daemon maps the first part, up to
 * HEAPD_SESSION_CORE, and the rest with the first collection that the session lives to see.
 *
 * Handshake 1 (the barrier goes on) is the daemon's work alone: it writes `on` of every thread's gate and waits
 * until `inside` of each was seen even, or changed. Handshake 2 (the scan) is answered once by each thread that
 * is not offline, in its signal handler or at a safepoint of its own, and once by the agent: for the threads
 * that are offline, and for the registered ranges. An answer is what was published, then the cycle's number
 * (release): `scanned` of a thread, `ranges_cycle` of the session. What was published counts for the cycle that
 * published_cycle names, whatever has become of its thread: the next owner of a record leaves it as it is.
 */
#ifndef HEAPD_SESSION_H
#define HEAPD_SESSION_H

#include "heapd/layout.h"
#include "heapd/supply.h"

#define HEAPD_SESSION_MAGIC    0x3170616568643a73ull
#define HEAPD_SESSION_OFFERED  0u /* in attached: nobody has mapped it yet */
#define HEAPD_SESSION_ATTACHED 1u
#define HEAPD_SESSION_LEFT     2u
#define HEAPD_THREAD_MAX       1024u        /* attached threads of one process */
#define HEAPD_PIN_MAX          (1u << 20)   /* pins of one process */
#define HEAPD_ROOM_THREADS     0u           /* in room: thread records, ... */
#define HEAPD_ROOM_PINS        1u           /* ... and pins */
#define HEAPD_RANGE_MAX        1024u        /* registered ranges of one process */
#define HEAPD_SPARE_COUNT      16u          /* spare batches of one thread */
#define HEAPD_HANDBACK_COUNT   8u           /* batches handed back by one thread, not yet collected */
#define HEAPD_EDIT_COUNT       4u           /* open edits of one thread */
#define HEAPD_BARRIER_RING     (1u << 17)   /* entries of one thread's barrier ring: 1 MiB, and ... */
#define HEAPD_BARRIER_RING_MAX (1u << 21)   /* ... at most, when it ran full: see barrier_ring below */
#define HEAPD_PUBLISHED_BYTES  (8ul << 20)  /* published stack words of one thread */
#define HEAPD_RANGES_BYTES     (64ul << 20) /* published words of the registered ranges of one process */

/* In published_cycle: counts for every cycle, until the thread's own answer. Of a forked child, by its parent. */
#define HEAPD_PUBLISHED_STANDING UINT32_MAX
/* In published_count and ranges_count: there was more than there is room for; the cycle cannot go on. */
#define HEAPD_PUBLISHED_OVERFLOW UINT64_MAX

/*
 * What the inline store barrier touches: part of the ABI (heapd.h has the same structure).
 * `inside` is written by the thread alone, odd while it is inside an operation.
 *
 * `on`: 0 off, else the number of the cycle for which it is on. The daemon stores the number in handshake 1.
 * Everybody else, the daemon at the cycle's end included, changes it by compare-and-swap from the value that
 * was seen, so that nobody switches off what was switched on for a later cycle.
 */
struct heapd_thread_gate {
	uint32_t on;
	uint32_t attached;
	uint64_t inside;
};

enum heapd_thread_state {
	HEAPD_THREAD_FREE = 0,
	HEAPD_THREAD_CLAIMED, /* being set up or taken down by its process */
	HEAPD_THREAD_ONLINE,
	HEAPD_THREAD_OFFLINE, /* registers and stack pointer are saved; the agent scans for it */
	HEAPD_THREAD_SCANNING, /* offline, and the agent reads its stack just now: who comes back waits that long */
};

#define HEAPD_GATE_UNSURE UINT32_MAX /* in `on`: a thread is coming up and has not read the phase yet */

struct heapd_thread {
	struct heapd_thread_gate gate;
	uint32_t state;           /* enum heapd_thread_state */
	uint32_t tid;             /* in the client's pid namespace */
	uint32_t scanned;         /* the last cycle in which it answered; release */
	uint32_t published_cycle; /* the cycle that published_count belongs to, or HEAPD_PUBLISHED_STANDING */
	uint64_t stack_low, stack_high;
	uint64_t saved_sp;      /* while offline */
	uint64_t saved_regs[8]; /* while offline: the callee-saved ones */
	uint32_t missed_slab;   /* of the last free that found its slab not current here */
	uint32_t put_back;      /* counts slabs that were being installed and became spares again */
	uint64_t pause_ns;      /* its own processor time in handshakes; with wait_ns, what a pause is here */
	uint64_t pause_max_ns;
	uint64_t pauses;
	uint64_t pause_last_ns; /* the last one: written before `scanned`, */
	uint32_t pause_cycle;   /* and of this cycle */
	uint32_t slow;          /* the thread's: allocations that took the slow way */
	uint64_t barrier_slow;  /* operations that found the barrier on */
	uint64_t wait_ns;       /* for supply */
	uint32_t freed;         /* 1: it has freed by hand, as others that had the record before may have */
	uint32_t barrier_mask; /* with the three that follow the filter: its own view of its ring (barrier.c of the client) */

	uint64_t barrier_tail __attribute__((aligned(64))); /* the thread's: entries ever logged */
	uint64_t barrier_filter[4];                         /* logged a moment ago */
	uint64_t barrier_now, barrier_last, *barrier_entries;
	uint64_t barrier_head __attribute__((aligned(64))); /* the daemon's: entries ever drained */

	uint64_t published_count __attribute__((aligned(64))); /* words in the thread's published area */
	struct {
		uint64_t start, bytes;
	} edits[HEAPD_EDIT_COUNT];

	/*
	 * Installing a slab of a spare: mask and entry (of this one slab) are noted here, then its bit in the
	 * spare's entry is cleared, then it is installed, then the note is cleared. So what stands in a
	 * spare has surely not been installed, and what is noted here may have been. If somebody else was faster,
	 * the bit is set again, then put_back is raised (release), then the note is cleared: who reads spares
	 * and note, and finds put_back as it was before, has seen the slab in one of the two.
	 */
	uint64_t installing; /* an entry of one slab, or 0 */
	uint64_t installing_mask;
	struct heapd_batch spares[HEAPD_SPARE_COUNT];

	/*
	 * Handed back: the thread fills handback[tail % COUNT], then tail + 1 (release); the daemon
	 * reads up to tail, then stores head (release). A batch in here is nobody's spare any more:
	 * the thread cleared the spare before it stored the tail, so a death in between loses the
	 * batch to the next cycle and never returns it twice.
	 */
	uint64_t handback_tail __attribute__((aligned(64)));
	uint64_t handback_head;
	struct heapd_batch handback[HEAPD_HANDBACK_COUNT];
} __attribute__((aligned(4096)));
_Static_assert(sizeof(struct heapd_thread) == 4096, "a thread record is a page");
_Static_assert(offsetof(struct heapd_thread, gate) == 0, "the gate's place is ABI");

struct heapd_range {
	uint64_t start; /* address in the client; 0: free */
	uint64_t bytes;
	uint32_t thread; /* 1 + index of the thread whose stack it counts as; 0: a registered range of the process */
	uint32_t unused;
};

/*
 * Of the session's user in the heap. While it has all that others leave to it, nothing is to be taken from supply rings: a thread
 * that would sets `asked`, wakes the supplier, and waits for `event` to change: then the user has less than that, or it has not,
 * also after a collection that began later than its wait, and `refused` has changed.
 */
struct heapd_share {
	uint32_t taker; /* heapd_taker() of the user */
	uint32_t full;  /* the daemon's, as all that follows but for `asked` */
	uint32_t asked; /* the daemon clears it before it looks */
	uint32_t event; /* futex */
	uint32_t refused;
	uint32_t whole;       /* the cycle that this rests on: heapd_refusal_counts() */
	uint64_t bytes, most; /* what the user has, and may have; for people */
};

struct heapd_session {
	uint64_t magic;
	uint64_t id;       /* the daemon's number for it, never reused */
	uint32_t index;    /* its place in the daemon's table */
	uint32_t nthreads; /* thread records ever used are below this; grows only (release) */
	uint32_t npins;    /* pins ever used are below this; grows only (release) */
	uint32_t nranges;
	uint32_t overflow; /* barrier entries were dropped: void the cycle */
	uint32_t handback; /* set by a thread that handed something back, cleared by the daemon before it looks */
	uint32_t read_only;
	uint32_t ranges_cycle; /* the last cycle for which the agent published the registered ranges; release */
	uint64_t ranges_count; /* words of that */
	uint32_t signal;       /* with which the agent asks threads to answer; for people */
	uint32_t blocked_tid;  /* a thread that blocks that signal, or 0; for people */
	/*
	 * Entries that each barrier ring has now, a power of two up to HEAPD_BARRIER_RING_MAX. The daemon changes it
	 * while all rings are empty and before it publishes a new cycle in `now`; a thread reads it after `now`, so
	 * what it logs for that cycle it logs to a ring of that length.
	 */
	uint32_t barrier_ring;
	uint32_t events; /* the client wants HEAPD_NOTE_EVENT */
	/*
	 * HEAPD_SESSION_*: written by the client. A daemon that was started anew goes by it until the client has connected
	 * again: who has not come yet, or has left, answers no scan.
	 */
	uint32_t attached;
	/*
	 * Thread records and pins below these may be used: HEAPD_ROOM_*. Written by the daemon, which knows the figures itself and
	 * looks at nothing beyond them; more is had by HEAPD_OP_ROOM.
	 */
	uint32_t room[2];
	struct heapd_share share;
};
_Static_assert(sizeof(struct heapd_session) <= 4096, "the session's head has one page");

#define HEAPD_SESSION_THREAD_AT  4096ul
#define HEAPD_SESSION_RANGE_AT   (HEAPD_SESSION_THREAD_AT + HEAPD_THREAD_MAX * sizeof(struct heapd_thread))
#define HEAPD_SESSION_PIN_AT     (HEAPD_SESSION_RANGE_AT + HEAPD_RANGE_MAX * 24ul + 8192ul)
#define HEAPD_SESSION_CORE       (16ul << 20) /* head, threads, ranges, pins */
#define HEAPD_SESSION_BARRIER_AT HEAPD_SESSION_CORE
#define HEAPD_SESSION_PUBLISHED_AT \
	(HEAPD_SESSION_BARRIER_AT + 8ul * HEAPD_THREAD_MAX * HEAPD_BARRIER_RING_MAX)
#define HEAPD_SESSION_RANGES_AT (HEAPD_SESSION_PUBLISHED_AT + HEAPD_THREAD_MAX * HEAPD_PUBLISHED_BYTES)
#define HEAPD_SESSION_SIZE      (HEAPD_SESSION_RANGES_AT + HEAPD_RANGES_BYTES)
_Static_assert(sizeof(struct heapd_range) == 24, "ranges keep their size");
_Static_assert(HEAPD_SESSION_PIN_AT % 4096 == 0, "pins begin on a page");
_Static_assert(HEAPD_SESSION_PIN_AT + HEAPD_PIN_MAX * 8ul <= HEAPD_SESSION_CORE, "the core holds all pins");

#endif
