/* SPDX-License-Identifier: MIT */
/*
 * Directed scenarios of a program that keeps pointers where nobody looks for them, and frees what a collection has found dead, in the
 * time between the end of the barriers and the sweep. It has to be told that the objects are free: else each of them is in
 * two places, the current slab that it was put into and the ledger, and comes to two owners, or its span to another class.
 */
#include <errno.h>
#include <unistd.h>

#include "scene.h"

#define LOOSE   16u  /* the last ones may be found on this stack, left over */
#define BETWEEN 200u /* a few slabs */

static void hide(struct scene *s, uintptr_t *loose)
{
	pin_to_first();
	for (unsigned i = 0; i < LOOSE; i++) {
		loose[i] = cell_hidden(s, false);
		for (unsigned n = 0; n < BETWEEN; n++)
			cell_new(s, 0);
	}
	current_change(s);
}

/* Of the objects the first ones: how many are said to be free already. */
static unsigned free_loose(const uintptr_t *loose, unsigned n)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < n; i++)
		refused += heapd_free((void *)~loose[i]) == -EALREADY;
	return refused;
}

/* What was freed all the same was alive, or there is something wrong with the heap by now. */
static void check_refused(struct scene *s, unsigned refused)
{
	collect_end(s);
	check_clean(s);
	if (!refused)
		miss("nothing was dead");
	for (unsigned i = 0; i < SCENE_MANY; i++)
		cell_new(s, 0);
}

void dead_unlent(struct scene *s)
{
	uintptr_t loose[LOOSE];
	unsigned refused;

	hide(s, loose);
	want(s, STEP_barriers_down, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_barriers_down);
	refused = free_loose(loose, LOOSE);
	release(s, STEP_barriers_down);
	check_refused(s, refused);
}

/* The barriers go off while somebody stands between having seen that an object lives and its gate. */
static void *barriers_conduct(void *arg)
{
	struct scene *s = (struct scene *)arg;

	await(s, STEP_freeing);
	want(s, STEP_barriers_down, STEP_ANYBODY);
	release(s, STEP_marking);
	await(s, STEP_barriers_down);
	release(s, STEP_freeing);
	return NULL;
}

void lent_before_gate(struct scene *s)
{
	uintptr_t loose[LOOSE];
	unsigned refused;

	s->main_tid = (uint32_t)gettid();
	hide(s, loose);
	want(s, STEP_marking, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_marking);
	want(s, STEP_freeing, s->main_tid);
	if (pthread_create(&s->conductor, NULL, barriers_conduct, s))
		miss("no thread");
	refused = free_loose(loose, 1);
	pthread_join(s->conductor, NULL);
	release(s, STEP_barriers_down);
	check_refused(s, refused);
}
