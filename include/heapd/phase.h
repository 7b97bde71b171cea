/* SPDX-License-Identifier: MIT */
/*
 * The collector's phases, as the directory shows them.
 *
 * `now` holds cycle and phase in one word, so that a reader never takes the one of this cycle for the other's
 * of the last. Only the daemon writes it. Cycles are counted from 1 on, and skip 0 when 32 bits have run out: a
 * cycle's number stands in a thread's gate for "the barrier is on", and 0 for "off".
 *
 * Who attaches, or comes back online, registers first, then executes a full fence, then reads `now`: that fence
 * pairs with the daemon's membarrier between writing `now` and looking at the registered threads. One of the two
 * sees the other.
 *
 *   IDLE     no cycle under way; barriers are off, or are switched off by who meets one that is still on
 *   BARRIER  handshake 1: a thread that comes up starts with its barrier on, and will be scanned
 *   SCAN     handshake 2: each thread publishes what it holds, once; who comes back does so at once
 *   MARK     all have been scanned
 *   SWEEP    all that was not marked is taken back; barriers are off, as in IDLE
 *
 * A heap whose collection is off stays in IDLE.
 */
#ifndef HEAPD_PHASE_H
#define HEAPD_PHASE_H

#include <stdbool.h>
#include <stdint.h>

enum heapd_phase {
	HEAPD_PHASE_IDLE = 0,
	HEAPD_PHASE_BARRIER,
	HEAPD_PHASE_SCAN,
	HEAPD_PHASE_MARK,
	HEAPD_PHASE_SWEEP,
};

struct heapd_cycle_words {
	uint64_t now;      /* heapd_now_make(cycle, phase) */
	uint64_t finished; /* cycles that came to their end, and void ones during which another was asked for */
	uint32_t event;    /* futex: changes after `finished` did, and when a cycle is void */
	uint32_t collecting; /* 0: collection is off for this heap */
	union {
		struct {
			uint32_t free_mode; /* HEAPD_FREE_* */
			uint32_t debug;     /* HEAPD_DEBUG_* */
		};
		uint64_t special; /* both: 0 where frees are prompt and nothing is debugged; as the heap was made */
	};
	uint32_t low;       /* counts the times that memory was found to be short */
	uint32_t waits_for; /* the process that the cycle has waited for longer than a second, or 0; for people */
	uint32_t unused[6];
};
_Static_assert(sizeof(struct heapd_cycle_words) == 64, "a cache line");

#define HEAPD_FREE_PROMPT  0u /* what is freed is given out again at once, outside cycles */
#define HEAPD_FREE_CHECKED 1u /* ... when a cycle has found that nothing reaches it */

#define HEAPD_DEBUG_STRESS 1u /* cycles back to back */
#define HEAPD_DEBUG_POISON 2u /* free slots are filled with words that are no addresses */
/* ... and looked at again before they are given out; slots end in a canary (canary.h). Hardened= of the configuration. */
#define HEAPD_DEBUG_HARDENED 4u

#define HEAPD_POISON_WORD 0xdeadbeefdeadbeefull /* no machine with 48 or 57 address bits can use it for one */

static inline uint64_t heapd_now_make(uint32_t cycle, enum heapd_phase phase)
{
	return (uint64_t)cycle << 8 | (uint64_t)phase;
}
static inline uint32_t heapd_now_cycle(uint64_t now)
{
	return (uint32_t)(now >> 8);
}
static inline enum heapd_phase heapd_now_phase(uint64_t now)
{
	return (enum heapd_phase)(now & 0xff);
}
/*
 * Memory was refused because a whole cycle did not help: `whole` says which one. Whoever began to wait when `now` had cycle `since` is
 * refused by that only if it began later, for the one that was under way then may have kept what he had just let go of. 0: there was
 * no cycle to wait for.
 */
static inline bool heapd_refusal_counts(uint32_t whole, uint32_t since)
{
	return !whole || (int32_t)(whole - since) > 0;
}
/* Whether a thread that comes up at this moment starts with its barrier on. */
static inline bool heapd_now_barrier(uint64_t now)
{
	return heapd_now_phase(now) >= HEAPD_PHASE_BARRIER && heapd_now_phase(now) <= HEAPD_PHASE_MARK;
}

#endif
