/* SPDX-License-Identifier: MIT */
/*
 * What the directed scenarios (directed.c) have in common: a heap of its own for each, cells in it, a collection that goes on
 * beside, and the steps at which threads are stopped.
 */
#ifndef STRESS_SCENE_H
#define STRESS_SCENE_H

/* The stress's own build has the steps; who reads a source alone finds them, too. */
#ifndef HEAPD_INJECT
#define HEAPD_INJECT
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/client.h"
#include "heapd/step.h"
#include "tests/fixture.h"

#define SCENE_ID   UINT64_C(0x1dea) /* of the cell that has to live */
#define SCENE_MANY 20000u

#define SCENE_GUARD_NS UINT64_C(30000000000) /* after which a moment is missed */

struct cell {
	uint64_t id;
	heapd_ptr(struct cell) next;
	uint64_t pad[6];
};

struct scene {
	struct fixture fixture;
	struct heapd_steps *steps;
	heapd_heap *heap;
	heapd_type *cells;
	struct cell *root;
	pthread_t collector, conductor;
	pid_t other_pid; /* of another process, which is waited for in the end; 0: there is none */
	uint32_t main_tid;
	uintptr_t disguised; /* an object's address */
	struct cell *others[2];
	int late; /* what it was told who came late */
	/* What another thread or process is told. */
	struct {
		_Atomic uint32_t go, tid, done;
	} * other;
	_Atomic bool ready, enough, passed;
};

/* Something is wrong: said, and the process ends with 1. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...);
/* The moment was not met, whoever is to blame: 2. */
__attribute__((noreturn)) void miss(const char *what);
/* What the library returned; it fails with the library's own words. */
void must(int r);

void nap(void);
void await_flag(_Atomic uint32_t *flag, const char *what);

/* Memory for the steps, which processes that are started from now on share. */
void steps_make(struct scene *s);
/* The next one to come by is to stop there: a thread's number, or STEP_ANYBODY. */
void want(struct scene *s, enum heapd_step step, uint32_t who);
/* Who stands there, or 0. */
uint32_t standing(const struct scene *s, enum heapd_step step);
/* Waits until somebody does: who. */
uint32_t await(struct scene *s, enum heapd_step step);
void release(struct scene *s, enum heapd_step step);
/* How many came by. */
uint32_t passed(const struct scene *s, enum heapd_step step);

uint64_t now_of(const struct scene *s);
/* A collection, waited for by a thread of its own. */
void collect_begin(struct scene *s);
void collect_end(struct scene *s);

void shapes_define(struct scene *s);
struct cell *cell_new(struct scene *s, uint64_t id);
/*
 * Of one that nobody but the caller's word knows, which no scan takes for a pointer. Its neighbours are nobody's: the
 * address of the next one is one past its end.
 */
uintptr_t cell_hidden(struct scene *s, bool in_root);
/* Then the current slab is another. */
void current_change(struct scene *s);
void allocate_many(struct scene *s, size_t bytes, unsigned n);
void pin_to_first(void);

/* What was taken back is the ledger's, or another's by now. */
void check_alive(struct scene *s, const struct cell *c);
void check_clean(struct scene *s);

/* The scenarios, each named after the mutant that leaves its rule out, but for one. latestores.c: */
void one_round(struct scene *s);
void newcomers_unseen(struct scene *s);
int newcomers_unseen_other(void *scene); /* the process that comes: forked before this one attaches */
void rings_emptied_late(struct scene *s);
void no_insertion_shade(struct scene *s);
void no_last_pass(struct scene *s);
void harvest_in_cycle(struct scene *s);
void push_in_cycle(struct scene *s);
void newborn_by_slab(struct scene *s);
void newborn_early(struct scene *s);
void newborns_reused(struct scene *s); /* none: it has to be so */
/* frees.c, in a hardened heap: */
void unclaimed(struct scene *s);
void unclaimed_in_cycle(struct scene *s);
/* deadfrees.c; the second one in a hardened heap: */
void dead_unlent(struct scene *s);
void lent_before_gate(struct scene *s);
/* deaths.c: */
void dead_forgotten(struct scene *s);
int dead_forgotten_other(void *scene); /* as newcomers_unseen_other */
void standing_ignored(struct scene *s);
void standing_ignored_before(struct scene *s); /* before the heap is attached */
/* movingslabs.c: */
void handed_back_unnoted(struct scene *s);
void lost_install_unseen(struct scene *s);
void withdrawn_unlocked(struct scene *s);
void lent_first(struct scene *s);

#endif
