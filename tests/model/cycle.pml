/* SPDX-License-Identifier: MIT */
/*
 * A cycle of the collector, with two threads of two processes, the supplier, and the collector, step by step.
 *
 * What is claimed: a slot that goes back to the ledger is nobody's. Nothing that a live thread can reach leads to it
 * (I5), and it lies in no ring, current slab or hands of a live thread (I1). give() asserts both each time, whoever
 * returns the slot: the sweep, the harvest, a hand-back, a visit; and a pop asserts that its slot is no object.
 * And: what is queued for marking was there at note P2, so marking ends (ending.pml shows a run that does not).
 *
 * How large. Three slots in two slabs, one field an object, a named root, a pin for each process, one CPU and class,
 * a ring of one entry. Threads hold any set of objects; they do any operation of their menu in any order, at most as
 * many as their budget says. So small an instance is searched whole; which one is, its caller says in the
 * environment (the runner beside this file has them all). Every statement, d_step or atomic is one step of
 * one process, between which all others may run, stop for ever, or die (`killer`). A step holds one access to what
 * others write; where it holds more, the others are to what only this process looks at, or come earlier or
 * later than they may without showing less: `inside` is left in the step of the last store, since leaving it later only
 * makes the collector wait.
 *
 * The order of stores (x86: TSO). Stores are seen in their order, but later than the loads that follow them. Of
 * that, two are modelled, those on which a fence's claim rests: entering the gate (inside_late: `inside` is odd for
 * this thread and even for all others) and coming online (online_late). Both become visible with the thread's next
 * store that others see, a locked instruction, a fence, or the collector's membarrier.
 *
 *   this file                       the code
 *   mutator: shade, write           client/barrier.c, heapd.h; load, drop: plain C of the program
 *            take .. done           client/refill.c
 *            release                client/free.c
 *            newborn                client/newborn.h
 *            opening, closing       client/edit.c
 *            asked                  client/root.c
 *            come                   client/thread.c (attaching), client/offline.c (coming back)
 *            detach                 client/thread.c (thread_release)
 *   scan()                          client/answer.c, by handler, safepoint or agent
 *   collector                       daemon/cycle.c, with handshake.c, holds.c, shades.c, sweeper.c
 *            look                   daemon/clients.c (clients_look)
 *   supplier                        daemon/supplier.c, harvest.c, visit.c
 *            answer                 daemon/roots.c, collection.c
 *
 * Who there is. The collector knows of a process what it saw when it last looked: it switches on, waits for, reads the words of
 * and the rings of those alone. A process connects (the daemon's main thread makes its session) before its thread shows itself,
 * at any moment; its thread may detach and another take its record, in the same cycle, too. A process that
 * leaves in good order is one whose threads have detached, and which then is no more, as `killer` has it.
 *
 * Not in here: ranges, forked children, the marker's own threads, batches of several slabs, the filter of a barrier ring,
 * numbers that go round; that a stack word stands for the byte before it, too.
 */

/* Mutants, one for each rule: the runner reads these lines. */
#define NONE              0
#define NO_DELETION       1  /* a store does not shade what it removes */
#define NO_INSERTION      2  /* ... nor, before the thread's scan, what it adds */
#define NO_ROUND          3  /* handshake 1 does not wait */
#define ONE_ROUND         4  /* ... or only once */
#define NOT_INSIDE        5  /* check and store are no unit: `inside` stays even */
#define NO_MEMBARRIER     6  /* the collector's membarriers are left out */
#define SCAN_EARLY        7  /* a thread is scanned before all have their barrier on */
#define MARK_EARLY        8  /* marking begins before all were scanned */
#define ADDRESS_LATE      9  /* a pop has the address after its commit */
#define NO_HOLD           10 /* nothing is held */
#define CURRENTS_FIRST    11 /* current slabs are read before spares */
#define TAKEN_NOT_HELD    12 /* what is taken from a ring after note P is not held */
#define REFILL_NOT_INSIDE 13 /* a slab goes from ring to spare outside the gate */
#define SPARE_RESTORED    14 /* a spare is cleared before the install, and set again if that fails */
#define HANDBACK_TWICE    15 /* hand-backs are looked at before all were scanned: some are still under way */
#define RING_SWEPT        16 /* the mark bits of what lies in a ring are not set */
#define RETURN_UNHELD     17 /* what comes back in the cycle is not held */
#define VISIT_UNLOCKED    18 /* a visit takes the slab first and the lock afterwards */
#define DEAD_PINS         19 /* a dead thread's pins go with it */
#define DEAD_PUBLISHED    20 /* ... what it published */
#define DEAD_RING         21 /* ... its barrier ring */
#define DEAD_SPARE        22 /* ... its spare is returned */
#define NO_FENCE          23 /* coming up, no fence between showing oneself and reading the phase */
#define NO_REREAD         24 /* ... the phase is not read then */
#define OFF_PLAIN         25 /* the barrier is switched off by a plain store */
#define EMPTY_LATE        26 /* barrier rings are emptied after handshake 1 */
#define FREE_TO_CURRENT   27 /* with the barrier on, free sets a bit in a current slab */
#define HARVEST_EARLY     28 /* what was freed is harvested in the cycle */
#define FREED_KEPT        29 /* the sweep leaves the freed bits of what it takes back */
#define NO_BORN_BLACK     30 /* no mark bits are set at note P2 */
#define PLAIN_OVERWRITE   31 /* a private object's field is overwritten plainly */
#define RINGS_EARLY       32 /* the last pass over the rings begins with grey objects left */
#define NEWCOMERS_UNSEEN  33 /* handshake 1's second round does not look who has come since the first */
#define PASS_UNSEEN       34 /* a pass over the rings does not look who has come since all were scanned */
#define DETACHED_RING     35 /* a detached thread's barrier ring goes with it */
#define DETACHED_EARLY    36 /* a detached thread's record is free before its spare is shown as handed back */
#define NEWBORN_EARLY     37 /* slots are newborn that were taken from a ring before note P2, in the cycle */
#define NEWBORN_BY_SLAB   38 /* ... or whose slab was taken since, whatever it was supplied with */
#define SPARES_UNHELD     39 /* spares are not held */
#define CURRENTS_UNHELD   40 /* current slabs are not held */
#define HANDBACK_UNREAD   41 /* what was handed back is not looked at in the cycle */
#define HANDBACK_KEPT     42 /* a hand-back stands after it was looked at */
#define HELD_BLACK        43 /* what lies in a held slab is not marked, nor followed */
#define NO_SCAN           44 /* nobody publishes what it holds */
#define SCAN_INSIDE       45 /* a thread is scanned in the midst of an operation, too */
#define COMES_SCANNED     46 /* who comes up before handshake 2 counts as scanned */
#define RETURNS_UNSCANNED 47 /* who comes back in handshake 2 says that it was scanned, and was not */
#define NOTE_EARLY        48 /* note P2 is taken before all were scanned */
#define NO_PASS           49 /* no pass over the barrier rings */
#define ONE_PASS          60 /* ... or one, which is not repeated, whatever it found */
#define PIN_PLAIN         61 /* a pin is written plainly */
#define ROOT_OLD          62 /* the daemon sets a named root, and does not shade what was there */
#define ROOT_NEW          63 /* ... nor what comes there */
#define DEAD_SOCKET       64 /* the dead have answered before their last message was read */
#define EDIT_UNSCANNED    65 /* an open edit is no stack at handshake 2 */
#define EDIT_OPENED       66 /* an edit shades nothing as it begins */
#define OVERFLOW_IGNORED  67 /* a ring that ran full does not void the cycle */
#define OVERFLOW_EARLY    68 /* ... or only if it did before the last pass */

/* Other ways to keep a rule: each of these has to hold. */
#define PUT_FIRST         50 /* a hand-back is shown before the spare is cleared, and looked at with the spares */
#define THIRD_ROUND       51 /* hand-backs are looked at after one more round of handshake 1 */
#define NOTE_RETRIED      52 /* a spare is cleared before the install; if that fails, the note is installed next time */
#define NOTES_UNREAD      53 /* notes of installing are not held */
#define FENCE_ONLY        54 /* the threads' fence without the membarrier between `now` and the look at them */
#define MEMBARRIER_ONLY   55 /* that membarrier without the fence */
#define FIRST_UNSEEN      56 /* handshake 1's first round waits for those whose barriers were switched on, and no others */
#define NEWBORN_READ_LATE 57 /* the phase is read when a slab was taken from the ring, before it is installed */
#define COMES_OUTSIDE     58 /* coming up is no operation: `inside` stays even */
#define EDIT_CLOSED       59 /* an edit shades nothing as it ends */
#define RINGS_KEPT        70 /* what barrier rings hold when a cycle begins is marked in it */

#define NEVER             99 /* no mutant */

#define M(x) c_expr { mutant == x }

c_decl {
\#include <stdlib.h>
static int mutant, menu[2], cycles, start, mortal, supply, visits;
static int setting(const char *name) { const char *v = getenv(name); return v ? atoi(v) : 0; }
}

/* What a thread may do: bits of MENU0 and MENU1. The runner reads these lines. */
#define LOAD   1    /* read a pointer, from the root, its pin, or an object that it holds */
#define STORE  2    /* store one there, through the barrier */
#define DROP   4    /* forget a pointer that it holds */
#define NEW    8    /* allocate */
#define INIT   16   /* the first, plain store to an object that nobody else can see */
#define PINNED 32   /* load from and store to its pin */
#define FREES  64   /* free an object explicitly */
#define BACK   128  /* hand a spare back */
#define LEAVE  256  /* go offline */
#define COME   512  /* come back, or attach */
#define LAZY   1024 /* switch its barrier off after a cycle */
#define REFILL 2048 /* get a slab when the current one is used up */
#define DETACH 4096 /* end, as a thread of this heap */
#define EDIT   8192 /* open an edit of an object's field, write there plainly, close it */
#define ASK    16384 /* have the daemon set the named root, to what it holds or NULL */
#define MAY(op) c_expr { menu[Pmutator->me] & op }

/* How it begins: bits of START. The runner reads these lines. */
#define S_LIST    1  /* root -> 1 -> 2 */
#define S_OFFLINE 2  /* thread 1 is offline */
#define S_NEW     4  /* thread 1 is not attached yet, its process not connected */
#define S_PIN     8  /* 3 is in thread 1's pin */
#define S_CURRENT 16 /* slot 3 is free in the current slab */
#define S_SHARED  32 /* root -> 1 -> 3, and slot 2 is free in the current slab */
#define S_HELD    64 /* 3 is in a register of thread 1 */
#define S_SKIPPED 128 /* and handshake 1 leaves `on` of offline threads as it is: they see to it as they come back */
#define S_MINE    256 /* 3 is in a register of thread 0 */
#define S_NARROW  1024 /* a barrier ring has room for one entry, until a cycle was void */
#define S_PART    512 /* root -> 1 -> 3, and slot 2 is free in the ledger */
#define BEGINS(x) c_expr { start & x }

#define ALL     14 /* the bits of slots 1 to 3; 0 is NULL */
#define ROOT    0  /* field[ROOT] is the named root; in `grey`, bit 0 stands for it */
#define PIN(m)  (4 + (m))
#define BIT(s)  (1 << (s))
#define OBJ(w)  (BIT(w) & ALL) /* what a word points to */
#define SLAB_A  6              /* slots 1 and 2 */
#define SLAB_B  8              /* slot 3 */
#define SLAB(s) ((s) == 3 -> SLAB_B : SLAB_A)
#define LOWEST(set) ((set) & 2 -> 1 : ((set) & 4 -> 2 : 3))

/* phase.h */
#define IDLE    0
#define BARRIER 1
#define SCAN    2
#define MARK    3
#define SWEEP   4
#define HAS_BARRIER(p) ((p) >= BARRIER && (p) <= MARK)

/* session.h */
#define FREE    0
#define OFFLINE 1
#define ONLINE  2
#define CLAIMED 3 /* on its way down */
#define UNSURE  255

/* The directory: `now`, and the ring's entry as the set of slots in it. */
byte phase, cycle, ring;
/* Objects: their fields, then the pins. */
byte field[6];
/* Sessions, a thread each. `log` is its barrier ring; `waited`: was inside when the collector looked, and still is. */
byte on[2], scanned[2], log[2], published[2], state[2], spare[2], note[2], back[2];
bool inside[2], waited[2], dead[2];
/* Processes that are connected, and those of them that the collector saw when it last looked: bits 0 and 1. */
byte sessions, view;
/* The object whose field each is editing; a message that the daemon has not read yet: 8, and what the root is to be. */
byte edit[2], ask[2];
/* Control, and what is shared of newborn slots: with what each slab was supplied last; by cycle, which slabs were taken in its marking. */
byte cur, freed;
byte supplied, born[3];
/* The threads' own: what they hold; what they alone can see; stores that are not visible yet; operations left. */
byte held[2], secret, left[2];
bool inside_late[2], online_late[2];
/* The daemon's own. `taken`: from a ring since note P. */
byte out, mark, grey, hold, taken, visited, own; /* `own`: shades of the roots that it sets itself */
bool under_way, holding, over, shading, longer; /* `longer`: rings have room for all by now */
byte lost; /* sessions' overflow words: whose ring had no room for an entry, bits 0 and 1 */
/*
 * To judge by. `objects`: allocated and not free again; `mine`: free slots in a thread's hands; `late`: popped, its
 * address not in a register yet; `known`: those that may be queued in this cycle.
 */
byte objects, mine[2], late[2], known;
/* Fields that are being stored to: nobody opens an edit there, by the rules for users. Noted only where anybody edits. */
byte storing[2];

hidden byte r, h, i; /* never used beyond the step that sets them */

#define THROUGH(s) (r & BIT(s) -> OBJ(field[s]) : 0)

/* r: all that a live thread can reach. */
inline reach()
{
	r = held[0] | held[1] | late[0] | late[1] | OBJ(field[ROOT]) |
	    (dead[0] -> 0 : OBJ(field[PIN(0)])) | (dead[1] -> 0 : OBJ(field[PIN(1)]));
	r = r | THROUGH(1) | THROUGH(2) | THROUGH(3);
	r = r | THROUGH(1) | THROUGH(2) | THROUGH(3)
}

/* These slots are free in the ledger now. */
inline give(set)
{
	reach();
	assert(!((set) & r));
	assert(!((set) & (ring | cur | mine[0] | mine[1] | visited)));
	out = out & ~(set);
	objects = objects & ~(set);
	hold = (under_way && !M(RETURN_UNHELD) -> hold | (set) : hold);
	field[1] = ((set) & BIT(1) -> 0 : field[1]);
	field[2] = ((set) & BIT(2) -> 0 : field[2]);
	field[3] = ((set) & BIT(3) -> 0 : field[3])
}

/* All stores of thread m are visible. */
inline flush(m)
{
	inside[m] = inside[m] || inside_late[m];
	inside_late[m] = false;
	if
	:: online_late[m] -> state[m] = ONLINE; online_late[m] = false
	:: else
	fi
}

/* To the barrier ring of thread m, or, where there is no room, to nowhere. */
inline append(m, set)
{
	h = (BEGINS(S_NARROW) && !longer && log[m] -> (set) & ~log[m] : 0);
	lost = (h -> lost | BIT(m) : lost);
	log[m] = log[m] | ((set) & ~h)
}

/* Threads --------------------------------------------------------------------------------------------------------- */

/* x: any of the set. c is part of the state: the choices not taken yet are found in it on the way back. */
inline pick(x, set)
{
	c = set;
	if
	:: c & 1 -> x = 0
	:: c & 2 -> x = 1
	:: c & 4 -> x = 2
	:: c & 8 -> x = 3
	:: c & 16 -> x = PIN(me)
	fi;
	c = 0
}

#define LIVE      (!dead[me])
#define STACK(m)  (held[m] | (edit[m] && !M(EDIT_UNSCANNED) -> OBJ(field[edit[m]]) : 0))
#define CONNECTED(m) (sessions & BIT(m))
#define DOWN(m)   (state[m] == FREE || state[m] == OFFLINE)
#define EDITS     c_expr { (menu[0] | menu[1]) & EDIT }
#define EDITED    ((edit[0] -> BIT(edit[0]) : 0) | (edit[1] -> BIT(edit[1]) : 0)) /* nobody else touches these */
#define UP        (LIVE && !over && (state[me] == ONLINE || online_late[me]))
#define READY     (UP && left[me])
#define enter     inside_late[me] = !M(NOT_INSIDE)
#define leave     inside[me] = false; inside_late[me] = false; waited[me] = false

/* From where a load brings something that the thread does not hold. */
#define GIVES(s)  (((s) == ROOT || (held[me] & BIT(s) && edit[1 - me] != s)) && OBJ(field[s]) & ~held[me] -> BIT(s) : 0)
#define GIVES_PIN (MAY(PINNED) && OBJ(field[PIN(me)]) & ~held[me] -> 16 : 0)
#define GIVING    (GIVES(0) | GIVES(1) | GIVES(2) | GIVES(3) | GIVES_PIN)

/* Objects that nobody else can see, with a field that is still NULL, or not. */
#define EMPTY(s)  (held[me] & secret & BIT(s) & ~EDITED && !field[s] -> BIT(s) : 0)
#define FILLED(s) (held[me] & secret & BIT(s) & ~EDITED && field[s] -> BIT(s) : 0)
#define EMPTIES   (EMPTY(1) | EMPTY(2) | EMPTY(3))
#define FILLEDS   (FILLED(1) | FILLED(2) | FILLED(3))

/* The cycle that is marking, where anybody frees by hand. */
#define NEWBORN_NOW (c_expr { (menu[0] | menu[1]) & FREES } && \
		     (phase == MARK || (M(NEWBORN_EARLY) && HAS_BARRIER(phase))) -> cycle : 0)
#define NEWBORN(s)  (born[b] & BIT(s) && (supplied & BIT(s) || M(NEWBORN_BY_SLAB)))

/* What may be freed: held by this thread, and nowhere else. */
#define NOWHERE(s) (field[0] != s && field[1] != s && field[2] != s && field[3] != s && field[4] != s && field[5] != s)
#define ALONE(s)  (held[me] & BIT(s) & ~EDITED && !((freed | held[1 - me]) & BIT(s)) && NOWHERE(s) -> BIT(s) : 0)
#define ALONES    (ALONE(1) | ALONE(2) | ALONE(3))

proctype mutator(byte me)
{
	byte t, v, b, c; /* where to, what, the barrier as it was read */

next:	if
	:: atomic { READY && MAY(LOAD) && GIVING ->
		h = GIVING; pick(t, h);
		held[me] = held[me] | OBJ(field[t]);
		left[me]--; t = 0; goto next
	   }
	:: atomic { LIVE && !over && MAY(DROP) && held[me] & ~(edit[me] -> BIT(edit[me]) : 0) ->
		h = held[me] & ~(edit[me] -> BIT(edit[me]) : 0); pick(t, h);
		held[me] = held[me] & ~BIT(t);
		t = 0; goto next
	   }
	:: atomic { READY && MAY(STORE) ->
		h = (held[me] & ~EDITED) | BIT(ROOT) | (MAY(PINNED) -> 16 : 0); pick(t, h);
		h = held[me] | 1; pick(v, h);
		left[me]--; enter; b = on[me];
		storing[me] = (EDITS -> BIT(t) : 0);
		if
		:: t == PIN(me) && M(PIN_PLAIN) -> goto write
		:: b && !(t == PIN(me) && M(PIN_PLAIN)) -> goto shade
		:: else -> goto write
		fi
	   }
	:: atomic { READY && MAY(INIT) && EMPTIES ->
		h = EMPTIES; pick(t, h);
		h = held[me]; pick(v, h);
		field[t] = v; secret = secret & ~OBJ(v);
		left[me]--; t = 0; v = 0; goto next
	   }
	:: atomic { READY && M(PLAIN_OVERWRITE) && MAY(INIT) && FILLEDS ->
		h = FILLEDS; pick(t, h);
		field[t] = 0;
		left[me]--; t = 0; goto next
	   }
	:: atomic { READY && MAY(NEW) && cur -> /* a restartable sequence; zeroing only writes what nobody reads yet */
		t = LOWEST(cur);
		cur = cur & ~BIT(t);
		assert(!(objects & BIT(t)));
		objects = objects | BIT(t); secret = secret | BIT(t);
		field[t] = 0;
		left[me]--;
		if
		:: !M(ADDRESS_LATE) -> held[me] = held[me] | BIT(t); t = 0; goto next
		:: else -> late[me] = BIT(t); goto address
		fi
	   }
	:: atomic { UP && MAY(REFILL) && !cur && (spare[me] || note[me] || ring) ->
		if
		:: !M(REFILL_NOT_INSIDE) -> enter
		:: else
		fi;
		if
		:: note[me] -> goto swap
		:: !note[me] && spare[me] -> goto install
		:: else -> c = NEWBORN_NOW; goto take
		fi
	   }
	:: atomic { READY && MAY(BACK) && spare[me] && !back[me] -> left[me]--; enter; goto handback }
	:: atomic { READY && MAY(FREES) && ALONES ->
		h = ALONES; pick(t, h);
		left[me]--; enter; b = on[me]; goto release
	   }
	:: atomic { READY && MAY(EDIT) && !edit[me] && held[me] & ~(EDITED | storing[1 - me]) ->
		h = held[me] & ~(EDITED | storing[1 - me]); pick(t, h);
		left[me]--; enter; b = on[me]; edit[me] = t; goto opening
	   }
	:: atomic { READY && MAY(EDIT) && edit[me] ->
		h = held[me] | 1; pick(v, h);
		field[edit[me]] = v; secret = secret & ~OBJ(v);
		left[me]--; v = 0; goto next
	   }
	:: atomic { UP && MAY(EDIT) && edit[me] -> enter; b = on[me]; goto closing }
	:: atomic { READY && MAY(ASK) ->
		h = held[me] | 1; pick(v, h);
		flush(me); left[me]--; ask[me] = 8 | v; secret = secret & ~OBJ(v); v = 0;
		goto asked
	   }
	:: atomic { READY && MAY(LEAVE) -> flush(me); left[me]--; state[me] = OFFLINE; goto next }
	:: atomic { LIVE && !over && MAY(COME) && !CONNECTED(me) -> sessions = sessions | BIT(me); goto next }
	:: atomic { LIVE && !over && MAY(COME) && CONNECTED(me) && DOWN(me) && !online_late[me] ->
		if
		:: !M(COMES_OUTSIDE) -> enter
		:: else
		fi;
		online_late[me] = true; c = (state[me] == FREE);
		on[me] = (c -> UNSURE : on[me]); b = on[me];
		scanned[me] = (c -> 0 : scanned[me]);
		if
		:: !M(NO_FENCE) && !M(MEMBARRIER_ONLY) -> flush(me)
		:: else
		fi;
		goto come
	   }
	:: atomic { READY && MAY(DETACH) && !edit[me] ->
		flush(me); left[me]--; held[me] = 0; state[me] = CLAIMED;
		if
		:: M(DETACHED_RING) -> log[me] = 0
		:: else
		fi;
		goto detach
	   }
	:: atomic { READY && MAY(LAZY) && on[me] && !HAS_BARRIER(phase) -> b = on[me]; goto off }
	fi;

	/* A store. The old value is read and logged, then the new one is stored: others may store in between. */
shade:	atomic { LIVE ->
		flush(me);
		if
		:: !M(NO_DELETION) -> append(me, OBJ(field[t]))
		:: else
		fi;
		if
		:: scanned[me] != b && !M(NO_INSERTION) -> append(me, OBJ(v))
		:: else
		fi
	};
write:	atomic { LIVE ->
		flush(me);
		field[t] = v; secret = secret & ~OBJ(v); storing[me] = 0;
		leave; t = 0; v = 0; b = 0; goto next
	};

	/* An edit. A thread that is within one does all else as ever, but leaves that field to plain stores. */
opening: atomic { LIVE ->
		flush(me);
		edit[me] = t;
		if
		:: b && !M(EDIT_OPENED) -> append(me, OBJ(field[t]))
		:: else
		fi;
		leave; t = 0; b = 0; goto next
	};
closing: atomic { LIVE ->
		flush(me);
		if
		:: b && !M(EDIT_CLOSED) -> append(me, OBJ(field[edit[me]]))
		:: else
		fi;
		edit[me] = 0;
		leave; b = 0; goto next
	};

address: atomic { LIVE -> held[me] = held[me] | BIT(t); late[me] = 0; t = 0; goto next };

asked:	atomic { LIVE && !ask[me] -> goto next };

	/* A refill: ring, spare, note, current slab. A note is of what is perhaps installed by now. */
take:	atomic { LIVE ->
		flush(me);
		if
		:: ring -> v = ring; mine[me] = ring; taken = (holding -> taken | ring : taken); ring = 0
		:: else -> c = 0; leave; goto next
		fi
	};
	d_step { LIVE ->
		spare[me] = v;
		c = (M(NEWBORN_READ_LATE) -> NEWBORN_NOW : c);
		born[c] = (c -> born[c] | SLAB(LOWEST(v)) : 0);
		v = 0; c = 0
	};
install: atomic { LIVE ->
		flush(me); note[me] = spare[me];
		if
		:: M(SPARE_RESTORED) || M(NOTE_RETRIED)
		:: else -> goto swap
		fi
	};
	d_step { LIVE -> spare[me] = 0 };
swap:	atomic { LIVE ->
		flush(me);
		if
		:: !cur -> cur = note[me]; mine[me] = 0; goto clear
		:: else
		fi;
		if
		:: M(SPARE_RESTORED) -> goto restore
		:: M(NOTE_RETRIED) -> leave; goto next
		:: else -> goto done
		fi
	};
restore: atomic { LIVE -> spare[me] = note[me]; goto done };
clear:	atomic { LIVE -> spare[me] = 0; goto done };
done:	atomic { LIVE -> note[me] = 0; leave; goto next };

	/* A hand-back: no spare any more, then shown. */
handback: atomic { LIVE ->
		flush(me);
		if
		:: M(PUT_FIRST) -> back[me] = spare[me]; mine[me] = 0
		:: else -> v = spare[me]; spare[me] = 0
		fi
	};
	atomic { LIVE ->
		if
		:: M(PUT_FIRST) -> spare[me] = 0
		:: else -> back[me] = v; v = 0; mine[me] = 0
		fi;
		leave; goto next
	};

	/* An explicit free. */
release: atomic { LIVE ->
		flush(me);
		if
		:: (!b || NEWBORN(t) || M(FREE_TO_CURRENT)) && cur & SLAB(t) ->
			cur = cur | BIT(t); objects = objects & ~BIT(t)
		:: else -> freed = freed | BIT(t)
		fi;
		held[me] = held[me] & ~BIT(t);
		leave; t = 0; b = 0; goto next
	};

	/* Going down: the spare is handed back, or freed where there is no place; the record is free last. */
detach:	atomic { LIVE ->
		v = spare[me]; spare[me] = 0;
		if
		:: M(DETACHED_EARLY) -> state[me] = FREE
		:: else
		fi
	};
	atomic { LIVE ->
		freed = (back[me] -> freed | v : freed);
		back[me] = (back[me] -> back[me] : v);
		v = 0; mine[me] = 0
	};
	atomic { LIVE -> state[me] = FREE; goto next };

	/* Coming up; c: as a new thread, which holds nothing. t and v: the phase and the cycle of one read of `now`. */
come:	atomic { LIVE ->
		if
		:: M(NO_REREAD) -> t = IDLE
		:: else -> t = phase; v = cycle
		fi
	};
	atomic { LIVE -> /* a compare-and-swap */
		flush(me);
		if
		:: on[me] == b && HAS_BARRIER(t) -> on[me] = v
		:: c && !HAS_BARRIER(t) && (on[me] == b || M(OFF_PLAIN)) -> on[me] = 0
		:: else
		fi
	};
	atomic { LIVE ->
		if
		:: c && (t == SCAN || t == MARK || (t == BARRIER && M(COMES_SCANNED))) -> scanned[me] = v
		:: !c && phase == SCAN && scanned[me] != cycle && !M(NO_REREAD) ->
			published[me] = published[me] | (M(RETURNS_UNSCANNED) -> 0 : STACK(me)); scanned[me] = cycle
		:: else
		fi;
		leave; t = 0; v = 0; b = 0; c = 0; goto next
	};

	/* Whoever finds a barrier still on after its cycle; not inside. */
off:	atomic { LIVE ->
		if
		:: on[me] == b || M(OFF_PLAIN) -> on[me] = 0
		:: else
		fi;
		b = 0; goto next
	}
}

/* The process of thread m is killed, at any moment or never. Its spare and note are forgotten; the rest stays. */
proctype killer(byte m)
{
	d_step {
		!over -> dead[m] = true;
		held[m] = 0; late[m] = 0; mine[m] = 0; left[m] = 0;
		inside[m] = false; inside_late[m] = false; waited[m] = false; online_late[m] = false;
		edit[m] = 0; storing[m] = 0;
		if
		:: !M(DEAD_SPARE) -> spare[m] = 0; note[m] = 0
		:: else
		fi;
		if
		:: M(DEAD_PINS) -> field[PIN(m)] = 0
		:: M(DEAD_RING) -> log[m] = 0
		:: else
		fi
	}
}

/* The daemon ------------------------------------------------------------------------------------------------------ */

inline collect(m)
{
	h = back[m] & out & ~ring; back[m] = (M(HANDBACK_KEPT) -> back[m] : 0); give(h)
}

/* The main thread reads a message. A root and its shades change in one step. */
inline answer(m)
{
	own = (shading && !M(ROOT_OLD) -> own | OBJ(field[ROOT]) : own);
	own = (shading && !M(ROOT_NEW) -> own | OBJ(ask[m] & 7) : own);
	field[ROOT] = ask[m] & 7; ask[m] = 0
}

/* Each step with the heap's lock held. */
proctype supplier()
{
end:	do
	:: d_step { c_expr { supply } && !ring && ALL & ~out && !over ->
		ring = (SLAB_A & ~out -> SLAB_A & ~out : SLAB_B & ~out);
		out = out | ring;
		supplied = (c_expr { (menu[0] | menu[1]) & FREES } -> (supplied & ~SLAB(LOWEST(ring))) | ring : 0)
	   }
	:: d_step { back[0] -> collect(0) }
	:: d_step { back[1] -> collect(1) }
	:: d_step { ask[0] -> answer(0) }
	:: d_step { ask[1] -> answer(1) }
	:: d_step { freed && (!under_way || M(HARVEST_EARLY)) -> h = freed & out; freed = 0; give(h) }
	:: d_step { c_expr { visits } && cur && !over ->
		visited = cur; cur = 0;
		if
		:: !M(VISIT_UNLOCKED) -> h = visited; visited = 0; give(h)
		:: else
		fi
	   }
	:: d_step { visited -> h = visited & ~ring; visited = 0; give(h) }
	:: d_step { M(DEAD_SPARE) && dead[1] && spare[1] | note[1] ->
		h = (spare[1] | note[1]) & ~ring; spare[1] = 0; note[1] = 0; give(h)
	   }
	od
}

/* The dead have answered when what they sent was read. */
#define MUST_ANSWER(m)  (SEEN(m) && (!dead[m] || (ask[m] && !M(DEAD_SOCKET))) && state[m] != FREE && scanned[m] != cycle)
#define CAN_ANSWER(m)   (MUST_ANSWER(m) && !dead[m] && \
			 (state[m] == OFFLINE || \
			  (state[m] == ONLINE && (M(SCAN_INSIDE) || !(inside[m] || inside_late[m])))))
#define ALL_ANSWERED    (!MUST_ANSWER(0) && !MUST_ANSWER(1))
#define ONE_ANSWERED    (!MUST_ANSWER(0) || !MUST_ANSWER(1))
#define HAS_LEFT(m)     (!waited[m] || dead[m])
#define SEEN(m)         (view & BIT(m))

inline scan(m)
{
	published[m] = published[m] | (M(NO_SCAN) -> 0 : STACK(m)); scanned[m] = cycle
}
/* The code writes to free records, too; a thread that comes up in one writes over it, later, then reads the phase. */
inline switch_on(m)
{
	on[m] = (SEEN(m) && !dead[m] && state[m] != FREE && !(state[m] == OFFLINE && BEGINS(S_SKIPPED)) -> cycle : on[m])
}
inline switch_off(m)
{
	on[m] = (SEEN(m) && on[m] == cycle -> 0 : on[m])
}
inline rings_empty()
{
	log[0] = (SEEN(0) && !M(RINGS_KEPT) -> 0 : log[0]);
	log[1] = (SEEN(1) && !M(RINGS_KEPT) -> 0 : log[1]);
	longer = longer || lost & view;
	lost = lost & ~view
}
inline membarrier()
{
	if
	:: !M(NO_MEMBARRIER) -> flush(0); flush(1)
	:: else
	fi
}
inline look()
{
	view = sessions
}
inline all_leave()
{
	d_step { waited[0] = inside[0] && SEEN(0) };
	d_step { waited[1] = inside[1] && SEEN(1) };
	(HAS_LEFT(0) && HAS_LEFT(1))
}
inline note_p2()
{
	mark = (ALL & ~out) | (M(RING_SWEPT) -> 0 : ring);
	known = out & ~ring;
	mark = (M(NO_BORN_BLACK) -> 0 : mark);
	holding = false
}
/* A macro: its argument is a mutant, which an inline cannot have. */
#define round(unseen) d_step { membarrier() }; d_step { view = (M(unseen) -> view : sessions) }; all_leave()
inline gather(m)
{
	d_step { hold = (M(SPARES_UNHELD) -> hold : hold | spare[m]) };
	d_step { hold = (M(NOTES_UNREAD) -> hold : hold | note[m]) }
}
inline shade_all(set)
{
	h = (set) & ~mark & ~(M(HELD_BLACK) -> hold | taken : 0);
	assert(!(h & ~known));
	mark = mark | h; grey = grey | h
}
inline shade_published(m)
{
	h = (!SEEN(m) || (M(DEAD_PUBLISHED) && dead[m]) -> 0 : published[m]);
	shade_all(h)
}
inline mark_one()
{
	if
	:: grey & 1 -> i = 0
	:: grey & 2 -> i = 1
	:: grey & 4 -> i = 2
	:: grey & 8 -> i = 3
	fi;
	grey = grey & ~BIT(i);
	shade_all(OBJ(field[i]))
}
inline shade_pin(m)
{
	h = (SEEN(m) -> OBJ(field[PIN(m)]) : 0);
	shade_all(h)
}
inline pass(m)
{
	d_step {
		h = (SEEN(m) -> log[m] : 0);
		shade_all(h); news = news | h; log[m] = (SEEN(m) -> 0 : log[m])
	}
}
inline pass_own()
{
	d_step { shade_all(own); news = news | h; own = 0 }
}
inline sweep(slab)
{
	d_step {
		h = out & slab & ~mark & ~hold;
		h = (M(TAKEN_NOT_HELD) -> h : h & ~taken);
		give(h);
		freed = (M(FREED_KEPT) -> freed : freed & ~h)
	}
}

proctype collector()
{
	byte news;
	bool is_void; /* the cycle is void */

	/* 1: note P, with the lock held; barrier rings are emptied. */
begin:	atomic {
		h = (back[0] | back[1] | freed) & out & ~ring; back[0] = 0; back[1] = 0; freed = 0; give(h);
		taken = 0; hold = 0; under_way = true; holding = true
	};
	d_step { look(); own = 0; shading = true };
	d_step {
		if
		:: !M(EMPTY_LATE) -> rings_empty()
		:: else
		fi
	};

	/* 2: handshake 1. */
	d_step { cycle++; phase = BARRIER };
	if
	:: !M(NO_FENCE) && !M(FENCE_ONLY) -> d_step { membarrier() }
	:: else
	fi;
	d_step { look() };
	d_step { switch_on(0) };
	if
	:: M(SCAN_EARLY) -> round(NEVER);
		if
		:: d_step { CAN_ANSWER(0) -> scan(0) }
		:: !MUST_ANSWER(0)
		fi
	:: else
	fi;
	d_step { switch_on(1) };
	if
	:: !M(NO_ROUND) -> round(FIRST_UNSEEN)
	:: else -> d_step { membarrier() }
	fi;
	if
	:: !M(NO_ROUND) && !M(ONE_ROUND) -> round(NEWCOMERS_UNSEEN)
	:: else
	fi;
	d_step {
		if
		:: M(EMPTY_LATE) -> rings_empty()
		:: else
		fi
	};

	/* 3: what threads hold free, in the direction in which it moves. */
	if
	:: M(NO_HOLD)
	:: M(CURRENTS_FIRST) -> d_step { hold = hold | cur }; gather(0); gather(1)
	:: else -> gather(0); gather(1); d_step { hold = (M(CURRENTS_UNHELD) -> hold : hold | cur) }
	fi;
	if
	:: M(THIRD_ROUND) -> round(NEVER)
	:: else
	fi;
	if
	:: M(HANDBACK_TWICE) || M(THIRD_ROUND) || M(PUT_FIRST) -> d_step { collect(0) }; d_step { collect(1) }
	:: else
	fi;

	/* 4: handshake 2. Who is not seen now will read SCAN or later as its thread comes up, and is not waited for. */
	d_step {
		if
		:: M(NOTE_EARLY) -> note_p2()
		:: else
		fi;
		phase = SCAN
	};
	d_step { look() };
	do
	:: d_step { CAN_ANSWER(0) -> scan(0) }
	:: d_step { CAN_ANSWER(1) -> scan(1) }
	:: ALL_ANSWERED || (M(MARK_EARLY) && ONE_ANSWERED) -> break
	od;

	/* Who has answered was not inside: whatever it had cleared as a spare before step 3 is shown by now. */
	if
	:: !M(HANDBACK_TWICE) && !M(THIRD_ROUND) && !M(PUT_FIRST) && !M(HANDBACK_UNREAD) -> d_step { collect(0) }; d_step { collect(1) }
	:: else
	fi;

	/* 5: note P2, with the lock held; then what the threads published, pins, the named root. */
	atomic {
		if
		:: M(NOTE_EARLY)
		:: else -> note_p2()
		fi
	};
	d_step { look(); shade_published(0); shade_published(1) };
	d_step { shade_pin(0) };
	d_step { shade_pin(1) };
	d_step { grey = grey | BIT(ROOT) };
	d_step { phase = (M(MARK_EARLY) -> SCAN : MARK) };

	/* 6: marking, then a pass over the barrier rings, until it finds nothing. */
marking: do
	:: atomic { grey -> mark_one() }
	:: d_step { M(MARK_EARLY) && CAN_ANSWER(0) -> scan(0); shade_published(0) }
	:: d_step { M(MARK_EARLY) && CAN_ANSWER(1) -> scan(1); shade_published(1) }
	:: (!grey || M(RINGS_EARLY)) && (!M(MARK_EARLY) || ALL_ANSWERED) -> break
	od;
	atomic { view = (M(PASS_UNSEEN) -> view : sessions); is_void = lost & view && !M(OVERFLOW_IGNORED) };
	if
	:: M(NO_PASS)
	:: else -> pass(0); pass(1); pass_own()
	fi;
	if
	:: atomic { news && !M(ONE_PASS) -> news = 0; goto marking }
	:: else
	fi;
	do
	:: atomic { grey -> mark_one() }
	:: else -> break
	od;

	/* 7: barriers go off, the sweep; but after an entry that found no room nothing is swept. */
	atomic {
		is_void = is_void || (lost & view && !M(OVERFLOW_IGNORED) && !M(OVERFLOW_EARLY));
		phase = (is_void -> IDLE : SWEEP); look(); shading = false
	};
	d_step { switch_off(0) };
	d_step { switch_off(1) };
	if
	:: is_void
	:: else -> sweep(SLAB_A); sweep(SLAB_B)
	fi;

	/* 8: the dead are forgotten. */
	d_step {
		under_way = false; mark = 0; hold = 0; taken = 0; known = 0;
		published[0] = 0; published[1] = 0;
		field[PIN(0)] = (dead[0] -> 0 : field[PIN(0)]);
		field[PIN(1)] = (dead[1] -> 0 : field[PIN(1)])
	};
	d_step { phase = IDLE };
	if
	:: atomic { c_expr { now.cycle < cycles } || is_void -> is_void = false; goto begin }
	:: else
	fi;
	over = true
}

init
{
	c_code {
		mutant = setting("MUTANT"); cycles = setting("CYCLES"); start = setting("START");
		menu[0] = setting("MENU0"); menu[1] = setting("MENU1");
		mortal = setting("MORTAL"); supply = setting("SUPPLY"); visits = setting("VISITS");
		now.left[0] = setting("OPS0"); now.left[1] = setting("OPS1");
	}
	atomic {
		state[0] = ONLINE;
		sessions = (BEGINS(S_NEW) -> BIT(0) : BIT(0) | BIT(1));
		state[1] = (BEGINS(S_OFFLINE) -> OFFLINE : (BEGINS(S_NEW) -> FREE : ONLINE));
		if
		:: BEGINS(S_LIST) -> out = SLAB_A; objects = SLAB_A; field[ROOT] = 1; field[1] = 2
		:: BEGINS(S_PART) -> out = 10; objects = 10; field[ROOT] = 1; field[1] = 3
		:: BEGINS(S_SHARED) -> out = ALL; objects = 10; cur = 4; field[ROOT] = 1; field[1] = 3
		:: else
		fi;
		if
		:: BEGINS(S_PIN) -> out = out | SLAB_B; objects = objects | SLAB_B; field[PIN(1)] = 3
		:: BEGINS(S_CURRENT) -> out = out | SLAB_B; cur = cur | SLAB_B
		:: BEGINS(S_HELD) -> out = out | SLAB_B; objects = objects | SLAB_B; held[1] = SLAB_B
		:: BEGINS(S_MINE) -> out = out | SLAB_B; objects = objects | SLAB_B; held[0] = SLAB_B
		:: else
		fi;
		run collector(); run supplier(); run mutator(0); run mutator(1);
		if
		:: c_expr { mortal } -> run killer(1)
		:: else
		fi
	}
}
