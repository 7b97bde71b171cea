/* SPDX-License-Identifier: MIT */
/*
 * Weak references: a cell's word leads to an object and does not keep it.
 *
 * A reader takes a pointer that no scan saw and no store removed, perhaps as marking ends. Two things make that right.
 * A thread that has been scanned, its barrier on, first touches the word (compare-and-swap p to p with its lowest
 * bit set), then returns p. And when marking has ended the daemon clears each cell whose object is white by a
 * compare-and-swap from the untouched p. So of the two exactly one comes first: the cell is cleared and the reader
 * gets NULL, or the clearing fails and the object is revived: it is marked, with all it leads to, and the cells are
 * looked at anew. What a thread that is not scanned yet has read is on its stack when it is.
 *    After a whole look at the cells that revived nothing, each word that is not NULL leads to a black object, so
 * whoever reads it later gets nothing white.
 *
 * Claimed: what a thread can reach, or a cell shows, is not swept. Not claimed, and not so (ALL_OR_NONE asks for it): that
 * a cleared cell's object goes with this cycle. It may be revived after that, as what another cell's object leads to.
 *
 * The cycle around it is short: handshakes that no operation straddles (cycle.pml has them), marking and passes as there.
 * Two objects, at first each in a cell of its own, with or without a pointer between them, or to one of them.
 */
#define ALL    6 /* the bits of slots 1 and 2 */
#define ROOT   0
#define BIT(s) (1 << (s))
#define OBJ(w) (BIT(w) & ALL)

/* Mutants: the runner reads these lines. */
#define NONE            0
#define NO_TOUCH        1 /* a scanned thread shades what it read, and does not touch the word */
#define REVIVED_IGNORED 2 /* a touched cell is not looked at again: what was revived is not marked */
#define CLEARED_PLAINLY 3 /* a cell is cleared by a plain store */
#define NO_REPEAT       4 /* what was revived is marked; what it leads to is not, nor are the cells looked at again */
#define ALL_OR_NONE     5 /* no mutant: asks for more than is claimed */

/* Other ways: each of these has to hold. */
#define NOT_LOOKED_AT   10 /* touched cells are found by clearings that fail, not looked for before */
#define TOUCH_ALONE     11 /* the word is touched, and what was read is not shaded */

#define M(x) c_expr { mutant == x }

c_decl {
\#include <stdlib.h>
static int mutant;
static int setting(const char *name) { const char *v = getenv(name); return v ? atoi(v) : 0; }
}

byte field[3];  /* field[ROOT], and one of each object */
byte cell[2];    /* the weak cells' words, ... */
bool touched[2]; /* ... and their lowest bit */
byte lost;       /* objects whose cell was cleared */
byte regs[2], log[2], left[2];
bool on, scanned[2], inside[2];
byte mark, grey, alive;
bool over;

hidden byte r, h, i;

inline reach()
{
	r = regs[0] | regs[1] | OBJ(field[ROOT]);
	r = r | (r & 2 -> OBJ(field[1]) : 0) | (r & 4 -> OBJ(field[2]) : 0);
	r = r | (r & 2 -> OBJ(field[1]) : 0) | (r & 4 -> OBJ(field[2]) : 0)
}

#define READY (!over && left[me])

proctype mutator(byte me)
{
	byte t, v;
	bool b;

next:	if
	:: atomic { !over && regs[me] -> /* drop */
		if
		:: regs[me] & 2 -> regs[me] = regs[me] & ~2
		:: regs[me] & 4 -> regs[me] = regs[me] & ~4
		fi;
		goto next
	   }
	:: atomic { READY -> left[me]--; /* load */
		if
		:: regs[me] = regs[me] | OBJ(field[ROOT])
		:: regs[me] & 2 -> regs[me] = regs[me] | OBJ(field[1])
		:: regs[me] & 4 -> regs[me] = regs[me] | OBJ(field[2])
		fi;
		goto next
	   }
	:: atomic { READY -> left[me]--; /* store, to the root or a field */
		if
		:: t = ROOT
		:: regs[me] & 2 -> t = 1
		:: regs[me] & 4 -> t = 2
		fi;
		if
		:: v = 0
		:: regs[me] & 2 -> v = 1
		:: regs[me] & 4 -> v = 2
		fi;
		inside[me] = true; b = on;
		goto store
	   }
	:: atomic { READY -> left[me]--; /* read a weak cell */
		if :: t = 0 :: t = 1 fi;
		inside[me] = true; b = on && scanned[me];
		v = cell[t];
		if
		:: v && b -> goto touch
		:: else -> regs[me] = regs[me] | OBJ(v); inside[me] = false; t = 0; v = 0; b = false; goto next
		fi
	   }
	fi;

store:	atomic {
		if
		:: b -> log[me] = log[me] | OBJ(field[t]) | (scanned[me] -> 0 : OBJ(v)); goto write
		:: else -> goto write
		fi
	};
write:	atomic { field[t] = v; inside[me] = false; t = 0; v = 0; b = false; goto next };

touch:	atomic {
		if
		:: M(NO_TOUCH) -> goto shade
		:: !M(NO_TOUCH) && cell[t] == v -> touched[t] = true; regs[me] = regs[me] | OBJ(v); goto shade
		:: else -> inside[me] = false; t = 0; v = 0; b = false; goto next /* cleared meanwhile */
		fi
	};
shade:	atomic {
		if :: !M(TOUCH_ALONE) -> log[me] = log[me] | OBJ(v) :: else fi;
		regs[me] = regs[me] | OBJ(v);
		inside[me] = false; t = 0; v = 0; b = false; goto next
	}
}

inline grey_add(set)
{
	h = (set) & ~mark; mark = mark | h; grey = grey | h
}
inline mark_one()
{
	if
	:: grey & 1 -> i = 0
	:: grey & 2 -> i = 1
	:: grey & 4 -> i = 2
	fi;
	grey = grey & ~BIT(i); grey_add(OBJ(field[i]))
}
inline pass(m)
{
	d_step { grey_add(log[m]); news = news | h; log[m] = 0 }
}
inline look_at_touched(k)
{
	d_step { if :: touched[k] && !M(NOT_LOOKED_AT) && !M(REVIVED_IGNORED) -> grey_add(OBJ(cell[k])); news = news | h :: else fi }
}
inline clear(k)
{
	d_step {
		if
		:: cell[k] && !(mark & BIT(cell[k])) ->
			if
			:: !touched[k] || M(CLEARED_PLAINLY) -> lost = lost | BIT(cell[k]); cell[k] = 0
			:: touched[k] && !M(CLEARED_PLAINLY) && !M(REVIVED_IGNORED) -> grey_add(OBJ(cell[k])); news = news | h
			:: else
			fi
		:: else
		fi
	}
}

proctype daemon()
{
	byte news;

	/* the handshakes, as cycle.pml has them: no operation straddles either */
	d_step { !inside[0] && !inside[1] -> on = true };
	if
	:: d_step { !inside[0] -> scanned[0] = true; alive = alive | regs[0] }; d_step { !inside[1] -> scanned[1] = true; alive = alive | regs[1] }
	:: d_step { !inside[1] -> scanned[1] = true; alive = alive | regs[1] }; d_step { !inside[0] -> scanned[0] = true; alive = alive | regs[0] }
	fi;
	atomic { grey = BIT(ROOT); grey_add(alive); alive = 0 };

marking: do
	:: atomic { grey -> mark_one() }
	:: !grey -> break
	od;
	pass(0);
	pass(1);
	if
	:: atomic { news -> news = 0; goto marking }
	:: else
	fi;
	look_at_touched(0);
	look_at_touched(1);
	if
	:: atomic { news -> news = 0; goto marking }
	:: else
	fi;
	clear(0);
	clear(1);
	if
	:: atomic { news && !M(NO_REPEAT) -> news = 0; goto marking }
	:: else
	fi;
	atomic {
		reach();
		assert(!(r & ~mark));             /* what can be reached is not swept */
		assert(!((OBJ(cell[0]) | OBJ(cell[1])) & ~mark)); /* nor is what a cell shows */
		assert(!M(ALL_OR_NONE) || !(lost & r));
	};
	over = true
}

init
{
	c_code {
		mutant = setting("MUTANT"); now.left[0] = setting("OPS0"); now.left[1] = setting("OPS1");
	}
	atomic {
		cell[0] = 1; cell[1] = 2;
		if :: field[1] = 2 :: field[2] = 1 :: true fi;
		if :: field[ROOT] = 1 :: regs[0] = 2 :: true fi;
		run daemon(); run mutator(0); run mutator(1)
	}
}
