/* SPDX-License-Identifier: MIT */
/*
 * refusals.c - owns the operations of threads and children that cannot have what the library needs for itself: a record, a pin, a mapping, and
 * so come to where each call gives up.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "calls.h"
#include "conditions.h"

/* The daemon does not hear of the wish for more room. */
static void refuse_room(void)
{
	calls_fail(CALL_SEND, 1, UINT_MAX, EIO);
}

/* This thread's record is another one's by now, and there is no other. */
static void prepare_recordless(struct scene *s)
{
	pthread_t thread;

	prepare_fields(s);
	s->arena = heapd_arena_create(s->heap, 0);
	s->weak = heapd_weak_new(s->heap, s->object);
	s->pin = heapd_pin(s->heap, (struct node *)s->object);
	prepare_threads(s);
	heapd_thread_detach(s->heap);
	if (pthread_create(&thread, NULL, wait_here, s) != 0)
		_exit(2);
	usleep(20000);
	refuse_room();
}

static void recordless_objects(struct scene *s)
{
	struct node *n = s->object;
	void *seen = NULL;

	call_objects(s);
	use(heapd_arena_alloc(s->arena, 100));
	heapd_arena_reset(s->arena);
	heapd_arena_destroy(s->arena);
	use(heapd_weak_get(s->weak, struct node));
	use(heapd_new(s->nodes, struct node));
	use(heapd_new_array(s->nodes, struct node, 2));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 2));
	use(heapd_alloc(s->heap, 100000));
	use(heapd_realloc(s->heap, s->others[0], 1000));
	use(heapd_root(s->heap, "crash 1", struct node, s->nodes));
	use(heapd_take(s->pin));
	sink += heapd_cas_sym(&n->next, &seen, NULL);
	heapd_move_sym(&n->next, &n->other, 1);
	sink += (uint64_t)heapd_free(n);
	sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0);
	sink += (uint64_t)heapd_wait(s->heap, (uint32_t *)&n->word[0], 0, 1);
}

static void recordless_others(struct scene *s)
{
	heapd_heap *again;

	call_others(s);
	sink += (uint64_t)heapd_type_watch_dead(s->watched);
	use(heapd_type_next_dead(s->watched));
	sink += (uint64_t)heapd_attach(&again, "test", NULL);
	use(heapd_type_define(s->heap, "node", struct node, next, other));
}

static void prepare_pinless(struct scene *s)
{
	s->arena = heapd_arena_create(s->heap, 0);
	prepare_pins(s);
	refuse_room();
}

static void pinless(struct scene *s)
{
	struct node *n = s->object;
	pthread_t thread;

	use(heapd_pin(s->heap, n));
	use(heapd_pin_field(s->heap, &s->stage->node[2]));
	use(heapd_arena_alloc(s->arena, 100));
	sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0);
	sink += (uint64_t)heapd_thread_create(s->heap, &thread, NULL, ended_at_once, n);
}

/* Requests that the daemon does not hear. */
static void unheard(struct scene *s)
{
	void *seen = s->object;
	char text[64];

	refuse_room();
	use(heapd_root(s->heap, "crash 2", struct node, s->nodes));
	use(heapd_root_offer(s->heap, "crash 2", s->object));
	sink += (uint64_t)heapd_root_cas(s->heap, "crash 2", &seen, s->object);
	sink += (uint64_t)heapd_path_to(s->heap, s->object, text, sizeof(text));
	sink += (uint64_t)heapd_path_to(s->heap, s->object, NULL, 0);
	sink += (uint64_t)heapd_sync(s->heap);
	sink += (uint64_t)heapd_type_watch_dead(s->watched);
	use(heapd_type_next_dead(s->watched));
	sink += (uint64_t)heapd_ticket_issue(s->heap, s->object, text, sizeof(text), 1);
	use(heapd_alloc(s->heap, 100000));
}

/* Threads that are to be, and are not. */
static void *attach_and_end(void *arg)
{
	struct scene *s = arg;

	calls_fail(CALL_SPECIFIC, 1, 2, ENOMEM);
	sink += (uint64_t)heapd_thread_attach(s->heap);
	calls_fail(CALL_SPECIFIC, 0, 0, 0);
	return NULL;
}

static void threadless(struct scene *s)
{
	pthread_t thread;

	calls_fail(CALL_THREAD, 1, 1, EAGAIN);
	thread_come_and_go(s);
	calls_fail(CALL_MPROTECT, 1, 1, ENOMEM);
	thread_come_and_go(s);
	calls_fail(CALL_MPROTECT, 0, 0, 0);
	heapd_thread_detach(s->heap);
	attach_and_end(s);
	if (pthread_create(&thread, NULL, attach_and_end, s) == 0)
		pthread_join(thread, NULL);
}

/* Its first failures, with nowhere to keep their sentences. */
static void *fail_speechless(void *arg)
{
	struct scene *s = arg;

	calls_fail(CALL_SPECIFIC, 1, 1, ENOMEM);
	sink += (uint64_t)heapd_root_next(s->heap, NULL);
	calls_fail(CALL_MEMORY, 1, 1, ENOMEM);
	sink += (uint64_t)heapd_root_next(s->heap, NULL);
	use(heapd_error());
	sink += (uint64_t)heapd_root_next(s->heap, NULL);
	return NULL;
}

static void speechless(struct scene *s)
{
	pthread_t thread;

	calls_fail(CALL_SPECIFIC, 0, 0, 0);
	if (pthread_create(&thread, NULL, fail_speechless, s) == 0)
		pthread_join(thread, NULL);
}

static void prepare_unnoted(struct scene *s)
{
	prepare_fields(s);
	calls_fail(CALL_SPECIFIC, 1, 2, ENOMEM);
}

/* Children ------------------------------------------------------------------------------------------------------------- */

/* Of the windows into the child's session, in its parent; then in the child itself. */
static void fork_no_maps(struct scene *s)
{
	for (unsigned nth = 1; nth < 5; nth++) {
		calls_fail(CALL_MMAP, nth, 1, ENOMEM);
		fork_and_wait(s);
		calls_fail(CALL_MMAP, 0, 0, 0);
	}
}

static void prepare_child_no_map(struct scene *s)
{
	prepare_fields(s);
	calls_fail(CALL_MMAP, 3, 1, ENOMEM);
}

static void prepare_child_no_map_later(struct scene *s)
{
	prepare_fields(s);
	calls_fail(CALL_MMAP, 6, 1, EEXIST);
}

static void prepare_child_closed(struct scene *s)
{
	prepare_fields(s);
	calls_fail(CALL_MPROTECT, 1, 1, ENOMEM);
}

static void prepare_child_closed_later(struct scene *s)
{
	prepare_fields(s);
	calls_fail(CALL_MPROTECT, 3, 1, ENOMEM);
}

static void prepare_child_agentless(struct scene *s)
{
	prepare_fields(s);
	calls_fail(CALL_THREAD, 1, 1, EAGAIN);
}

/* The answer to a fork comes when nobody waits for it any more, with what it brings. */
static void fork_late(struct scene *s)
{
	calls_fail(CALL_RECEIVE, 1, 1, EIO);
	fork_and_wait(s);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

const struct operation refusals_more[] = {
	OPERATION("recordless", prepare_recordless, recordless_objects, IN_MAIN, ONCE),
	OPERATION("recordless-others", prepare_recordless, recordless_others, IN_MAIN, ONCE),
	OPERATION("pinless", prepare_pinless, pinless, IN_MAIN, ONCE),
	OPERATION("unheard", prepare_fields, unheard, IN_MAIN, ONCE),
	OPERATION("threadless", prepare_fields, threadless, IN_MAIN, ONCE),
	OPERATION("created-speechless", prepare_fields, speechless, IN_CREATED, ONCE),
	OPERATION("created-unnoted", prepare_unnoted, thread_come_and_go, IN_CREATED, ONCE),
	OPERATION("fork-no-maps", prepare_fields, fork_no_maps, IN_MAIN, ONCE),
	OPERATION("fork-late", prepare_fields, fork_late, IN_MAIN, ONCE),
	OPERATION("child-no-map", prepare_child_no_map, child_allocates, IN_CHILD, ONCE),
	OPERATION("child-no-map-later", prepare_child_no_map_later, child_allocates, IN_CHILD, ONCE),
	OPERATION("child-closed", prepare_child_closed, child_allocates, IN_CHILD, ONCE),
	OPERATION("child-closed-later", prepare_child_closed_later, child_allocates, IN_CHILD, ONCE),
	OPERATION("child-agentless", prepare_child_agentless, child_allocates, IN_CHILD, ONCE),
	{ 0 },
};
