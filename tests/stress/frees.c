/* SPDX-License-Identifier: MIT */
/*
 * Directed scenarios of two who free the same object of a hardened heap: one stands where it has seen that the object lives, and has
 * not begun to free it, or not done so; the other frees all of it. When the first goes on it has to be told that the object is free.
 */
#include <errno.h>
#include <unistd.h>

#include "node.h"
#include "scene.h"

static void *free_main(void *arg)
{
	struct scene *s = (struct scene *)arg;
	struct cell *volatile shared = s->root; /* a use of the heap, which attaches this thread */

	(void)shared->id;
	must(heapd_thread_attach(s->heap));
	atomic_store(&s->other->tid, (uint32_t)gettid());
	await_flag(&s->other->go, "another thread is to free");
	s->late = heapd_free((void *)~s->disguised);
	atomic_store(&s->other->done, 1);
	return NULL;
}

/* The other one stands at the step, with the object in its hands. */
static pthread_t free_begin(struct scene *s, enum heapd_step step)
{
	pthread_t thread;

	pin_to_first();
	s->disguised = cell_hidden(s, false);
	current_change(s);
	s->others[0] = cell_new(s, 0);
	s->others[1] = cell_new(s, 0);
	current_change(s);
	if (pthread_create(&thread, NULL, free_main, s))
		miss("no thread");
	await_flag(&s->other->tid, "a thread attaches");
	want(s, step, atomic_load(&s->other->tid));
	atomic_store(&s->other->go, 1);
	await(s, step);
	return thread;
}

/* All of it; and then the slab that collects what is freed here is another, so its word does not tell any more. */
static void free_whole(struct scene *s)
{
	must(heapd_free((void *)~s->disguised));
	must(heapd_free(s->others[0]));
	must(heapd_free(s->others[1]));
}

static void free_end(struct scene *s, pthread_t thread)
{
	await_flag(&s->other->done, "the other one's free ends");
	pthread_join(thread, NULL);
	if (s->late == 0)
		fail("two were told that they freed the same object");
	if (s->late != -EALREADY)
		fail("who comes second is told %d", s->late);
}

/* Each slot is given out once, and none is taken for overwritten. */
static void check_slots(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);

	allocate_many(s, sizeof(struct cell), SCENE_MANY);
	for (unsigned i = 0; i < SCENE_MANY; i++)
		cell_new(s, 0);
	must(heapd_get_info(s->heap, &info));
	if (info.overwrites)
		fail("%lu slots are said to have been overwritten", (unsigned long)info.overwrites);
}

/* Both have seen it alive, and no collection is under way. */
void unclaimed(struct scene *s)
{
	pthread_t thread = free_begin(s, STEP_claiming);

	free_whole(s);
	release(s, STEP_claiming);
	free_end(s, thread);
	check_slots(s);
}

/* The same, but a collection has begun when the second goes on: so it would have the daemon take the slot, which is given out by then. */
void unclaimed_in_cycle(struct scene *s)
{
	pthread_t thread = free_begin(s, STEP_freeing);

	free_whole(s);
	want(s, STEP_marking, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_marking);
	release(s, STEP_freeing);
	await_flag(&s->other->done, "the other one's free ends");
	release(s, STEP_marking);
	collect_end(s);
	free_end(s, thread);
	check_slots(s);
}
