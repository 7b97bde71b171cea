/* SPDX-License-Identifier: MIT */
/*
 * That marking ends, though a thread allocates and publishes in a loop, faster than any marker marks.
 *
 * The heap has no end here: a slot whose object nothing leads to any more stands from then on for another slot, one
 * that was in a ring or in the ledger at note P2 and was never used before. So two numbers are an endless supply, and
 * what runs for ever runs in a circle that the search for cycles finds. Such a slot is born black (holds.c of the
 * daemon): its mark bit is set before it is handed out. Then every value that the thread's barrier logs is black,
 * a pass over the ring finds nothing, and marking ends. Born white, each new object is logged by the store
 * that replaces it, marked, and the pass has to be repeated: for ever, if the thread is quick.
 *
 * Searched for: a run in which every process takes a step again and again (weak fairness), and marking does not end.
 */

/* Mutants: the runner reads these lines. */
#define NONE          0
#define NO_BORN_BLACK 1 /* new slots are white */

#define M(x)   c_expr { mutant == x }
#define BIT(s) (1 << (s))
#define ALL    6 /* the bits of slots 1 and 2 */

c_decl {
\#include <stdlib.h>
static int mutant;
}

byte root;          /* the named root, or 0 */
byte held;          /* what the thread has in a register */
byte log;           /* its barrier ring, as a set */
byte mark, grey;
bool ended;

#define IS_UNUSED(s) (root != (s) && held != (s) && !((log | grey) & BIT(s)))

inline born()
{
	mark = (M(NO_BORN_BLACK) -> mark & ~BIT(held) : mark | BIT(held))
}

/* Handshakes are over: the barrier is on, the thread was scanned. */
proctype mutator()
{
	do
	:: d_step { !ended && !held && IS_UNUSED(1) -> held = 1; born() }
	:: d_step { !ended && !held && IS_UNUSED(2) -> held = 2; born() }
	:: d_step { !ended && held && root && !(log & BIT(root)) -> log = log | BIT(root) }
	:: d_step { !ended && held && (!root || log & BIT(root)) -> root = held; held = 0 }
	od
}

proctype marker()
{
	byte news;

	do
	:: d_step { grey -> grey = 0 } /* the objects here point to nothing */
	:: d_step { !grey -> news = log & ~mark; mark = mark | news; grey = news; log = 0 };
		if
		:: news -> news = 0
		:: else -> break
		fi
	od;
progress: ended = true
}

init
{
	c_code { mutant = getenv("MUTANT") ? atoi(getenv("MUTANT")) : 0; }
	atomic { mark = ALL; run marker(); run mutator() }
}
