/* SPDX-License-Identifier: MIT */
/*
 * varieties.c - owns the operations that are others' varieties: by an offline thread, asked wrongly, with the last place taken, in a
 * process that has no heap.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "conditions.h"
#include "heapd/session.h"
#include "heapd/sizeclass.h"

/* By a thread that is offline: each comes online for as long as it takes. ---------------------------------------------- */

static void prepare_offline(struct scene *s)
{
	prepare_fields(s);
	s->pin = heapd_pin(s->heap, (struct node *)s->object);
	s->weak = heapd_weak_new(s->heap, s->object);
	s->arena = heapd_arena_create(s->heap, 0);
	s->others[8] = heapd_alloc(s->heap, 100);
	s->others[9] = heapd_alloc_leaf(s->heap, 100);
	for (unsigned i = 10; i < 16; i++)
		s->others[i] = heapd_alloc(s->heap, 1024);
	heapd_thread_offline(s->heap);
}

static void offline_fields(struct scene *s)
{
	struct node *n = s->object, *o = s->others[0];
	void *seen = s->stage->node[4];

	heapd_store_sym(&o->next, n);
	heapd_store_relaxed_sym(&o->other, n);
	use(heapd_exchange_sym(&o->other, n));
	use(heapd_exchange_relaxed_sym(&o->other, n));
	sink += heapd_cas_sym(&o->next, &seen, n);
	sink += heapd_cas_relaxed_sym(&o->next, &seen, n);
	heapd_move_sym(&o->next, &n->next, 2);
	heapd_zero_sym(&o->next, 2);
	sink += (uint64_t)heapd_edit_begin(o, sizeof(*o));
	sink += (uint64_t)heapd_edit_end(o);
	use(heapd_weak_get(s->weak, struct node));
	use(heapd_weak_new(s->heap, n));
	use(heapd_pin_field_sym(s->heap, &o->next));
	use(heapd_take(s->pin));
}

static void offline_objects(struct scene *s)
{
	static void *many[4];
	struct node *n = s->object;

	use(heapd_realloc(s->heap, s->others[8], 2000));
	use(heapd_strdup(s->heap, "some text"));
	use(heapd_alloc_leaf(s->heap, 30));
	use(heapd_alloc_aligned(s->heap, 100, 64));
	use((void *)heapd_alloc_many(s->heap, 64, 4, many));
	use(heapd_arena_alloc(s->arena, 100));
	heapd_arena_reset(s->arena);
	heapd_arena_destroy(s->arena);
	use(heapd_root(s->heap, "crash 1", struct node, s->nodes));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 5));
	use(heapd_alloc(s->heap, 100000));
	for (unsigned i = 10; i < 16; i++)
		heapd_free(s->others[i]);
	sink += (uint64_t)heapd_range_add(s->heap, s->text, 64) +
		(uint64_t)heapd_range_remove(s->heap, s->text);
	sink += (uint64_t)heapd_local_add(s->heap, s->text, 64) +
		(uint64_t)heapd_local_remove(s->heap, s->text);
	sink += (uint64_t)heapd_wait(s->heap, (uint32_t *)&n->word[0], 0, 1);
	sink += heapd_size(n);
	use(heapd_type_of(n));
}

static void offline_requests(struct scene *s)
{
	heapd_collect_start(s->heap);
	sink += (uint64_t)heapd_collect(s->heap);
	sink += (uint64_t)heapd_sync(s->heap);
	heapd_thread_detach(s->heap);
}

/* Of a thread that is not attached. */
static void unattached(struct scene *s)
{
	struct node *o = s->others[0];

	heapd_thread_detach(s->heap);
	heapd_store_sym(&o->next, s->object);
	heapd_thread_detach(s->heap);
	use(heapd_weak_get(s->weak, struct node));
	heapd_thread_detach(s->heap);
	heapd_free(s->others[1]);
	heapd_thread_detach(s->heap);
	use(heapd_error());
	heapd_thread_detach(s->heap);
	heapd_thread_offline(s->heap);
	heapd_thread_detach(s->heap);
	heapd_thread_online(s->heap);
}

/* Asked wrongly ------------------------------------------------------------------------------------------------------ */

static void types_wrong(struct scene *s)
{
	static const struct heapd_type_field odd = { 4, 8 }, far = { 4096, 8 };
	struct heapd_type_desc d = { .size = sizeof(d), .name = "wrong", .object_size = 64, .align = 8 };

	use(heapd_type_define_desc(s->heap, NULL));
	d.nfields = 1;
	use(heapd_type_define_desc(s->heap, &d));
	d.fields = &odd;
	use(heapd_type_define_desc(s->heap, &d));
	d.fields = &far;
	use(heapd_type_define_desc(s->heap, &d));
	d.object_size = 1 << 20;
	d.fields = &(const struct heapd_type_field){ 512 << 10, 8 };
	use(heapd_type_define_desc(s->heap, &d));
	d.flags = HEAPD_TYPE_NOSCAN;
	use(heapd_type_define_desc(s->heap, &d));
	d.object_size = 1ul << 40;
	use(heapd_type_define_desc(s->heap, &d));
	d.name = "";
	use(heapd_type_define_desc(s->heap, &d));
	use(heapd_type_find(s->heap, NULL));
	sink += (uint64_t)heapd_type_watch_dead(NULL);
	use(heapd_type_next_dead(NULL));
	use(heapd_new_array(s->flexibles, struct flexible, 2));
	use(heapd_new_flex(s->nodes, struct flexible, tail, 2));
}

static void sizes_wrong(struct scene *s)
{
	struct heapd_info info = { .size = 1 };
	struct heapd_root_info root = HEAPD_SIZED(root);
	char text[2], key[300];

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = 0;
	sink += (uint64_t)heapd_get_info(s->heap, NULL);
	sink += (uint64_t)heapd_get_info(s->heap, &info);
	sink += (uint64_t)heapd_get(s->heap, "gc.percent", text, sizeof(text));
	sink += (uint64_t)heapd_get(s->heap, "gc.percent", NULL, 0);
	sink += (uint64_t)heapd_get(s->heap, NULL, NULL, 0);
	sink += (uint64_t)heapd_get(s->heap, key, text, sizeof(text));
	sink += (uint64_t)heapd_set(s->heap, "gc.percent", key);
	sink += (uint64_t)heapd_set(s->heap, key, "1");
	sink += (uint64_t)heapd_root_next(s->heap, NULL);
	sink += (uint64_t)heapd_edit_begin(NULL, 8);
	sink += (uint64_t)heapd_edit_begin(s->object, 1 << 20);
	sink += (uint64_t)heapd_edit_end(NULL);
	use(heapd_root_get(s->heap, NULL, NULL));
	use(heapd_root_get(s->heap, "stage", s->leaves));
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->text);
	use(heapd_root(s->heap, "crash 0", struct node, NULL));
	use(heapd_weak_new(s->heap, s->text));
	use(heapd_weak_get_sym((heapd_weak *)s->object));
	use(heapd_take_sym(NULL));
	use(heapd_take_sym(s->text));
	use(heapd_arena_create(s->heap, 1));
	sink += (uint64_t)heapd_free((char *)s->stage->node[1] + 3);
}

static void ranges_wrong(struct scene *s)
{
	static void *a[4], *b[4], *c[4];

	sink += (uint64_t)heapd_range_add(s->heap, NULL, 8);
	sink += (uint64_t)heapd_range_add(s->heap, a, 0);
	sink += (uint64_t)heapd_range_add(s->heap, a, sizeof(a));
	sink += (uint64_t)heapd_range_add(s->heap, a, sizeof(a));
	sink += (uint64_t)heapd_range_add(s->heap, b, sizeof(b));
	sink += (uint64_t)heapd_local_add(s->heap, c, sizeof(c));
	sink += (uint64_t)heapd_range_remove(s->heap, a);
	sink += (uint64_t)heapd_range_add(s->heap, c, sizeof(c));
	/* With the thread its own ranges end. */
	heapd_thread_detach(s->heap);
}

/* Objects that heapd_realloc() treats differently. */
static void prepare_reallocs(struct scene *s)
{
	prepare_fields(s);
	s->others[2] = heapd_new_flex(s->flexibles, struct flexible, tail, 5);
	s->others[3] = heapd_new_array(s->nodes, struct node, 3);
	s->others[4] = heapd_alloc_leaf(s->heap, 103);
	s->others[5] = heapd_alloc_leaf(s->heap, 2000);
	s->weak = heapd_weak_new(s->heap, s->object);
}

static void reallocs(struct scene *s)
{
	use(heapd_realloc(s->heap, s->object, 1000));
	use(heapd_realloc(s->heap, s->weak, 1000));
	use(heapd_realloc(s->heap, s->others[2], 4));
	use(heapd_realloc(s->heap, s->others[2], 1000));
	use(heapd_realloc(s->heap, s->others[3], 1000));
	use(heapd_realloc(s->heap, s->others[4], 1003));
	use(heapd_realloc(s->heap, s->others[5], 100000));
	use(heapd_realloc(s->heap, (char *)s->others[1] + 8, 100));
}

/* The last place ------------------------------------------------------------------------------------------------------ */

static struct heapd_session *session_here(void)
{
	struct heapd_session *s = (struct heapd_session *)(void *)((uintptr_t)record_here() & -4096ul);

	while (s->magic != HEAPD_SESSION_MAGIC)
		s = (struct heapd_session *)(void *)((char *)s - 4096);
	return s;
}

void prepare_pins(struct scene *s)
{
	prepare_fields(s);
	while (session_here()->npins < session_here()->room[HEAPD_ROOM_PINS])
		use(heapd_pin(s->heap, (struct node *)s->object));
}

static void pins(struct scene *s)
{
	use(heapd_pin(s->heap, (struct node *)s->object));
}

void *wait_here(void *arg)
{
	struct scene *s = arg;

	heapd_thread_attach(s->heap);
	for (;;)
		pause();
	return NULL;
}

void prepare_threads(struct scene *s)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	while (session_here()->nthreads < session_here()->room[HEAPD_ROOM_THREADS]) {
		uint32_t n = session_here()->nthreads;

		pthread_create(&thread, &attr, wait_here, s);
		while (session_here()->nthreads == n)
			usleep(100);
	}
}

static void created_none(struct scene *s)
{
	pthread_attr_t attr;
	pthread_t thread;

	calls_fail(CALL_MEMORY, 1, 1, ENOMEM);
	sink += (uint64_t)heapd_thread_create(s->heap, &thread, NULL, ended_at_once, s->object);
	calls_fail(CALL_MEMORY, 0, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1ul << 46);
	sink += (uint64_t)heapd_thread_create(s->heap, &thread, &attr, ended_at_once, s->object);
}

/* A class that nobody has used: another one each time. */
static void prepare_class(struct scene *s)
{
	prepare_fields(s);
	s->others[2] = (void *)(uintptr_t)atomic_fetch_add(&s->board->classes, 1);
}

static void new_class(struct scene *s)
{
	uint64_t n = (uint64_t)(uintptr_t)s->others[2];
	heapd_type *of[] = { s->nodes, s->watched, s->leaves };
	uint64_t bytes = heapd_sizeclass_size((uint32_t)(n % HEAPD_SIZECLASS_COUNT));

	use(heapd_type_alloc_array(of[n / HEAPD_SIZECLASS_COUNT % 3], 64, (bytes + 63) / 64));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, bytes / 8));
}

/* Waiting ------------------------------------------------------------------------------------------------------------- */

static void wait_wrong(struct scene *s)
{
	struct node *n = s->object;
	uint32_t *word = (uint32_t *)&n->word[0];

	sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)(void *)s->text, 0);
	calls_fail(CALL_PIPE, 1, 1, EMFILE);
	sink += (uint64_t)heapd_wait_fd(s->heap, word, 0);
	calls_fail(CALL_SYSCALL, 1, 1, EINTR);
	sink += (uint64_t)heapd_wait(s->heap, word, 0, 1);
	calls_fail(CALL_SYSCALL, 1, 1, EFAULT);
	sink += (uint64_t)heapd_wait(s->heap, word, 0, 1);
	calls_fail(CALL_SYSCALL, 1, 1, 0);
	sink += (uint64_t)heapd_wait(s->heap, word, 0, -1);
	calls_fail(CALL_SYSCALL, 1, 1, EFAULT);
	sink += (uint64_t)heapd_wake(s->heap, word, -1);
}

static void prepare_waits(struct scene *s)
{
	struct node *n;

	prepare_fields(s);
	n = s->object;
	for (unsigned i = 0; i < 1024; i++)
		if (heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0) < 0)
			break;
	sink += (uint64_t)heapd_unpin(s->pin);
}

static void one_wait_more(struct scene *s)
{
	struct node *n = s->object;

	sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0);
}

/* Those that have ended are put away by the next. */
static void prepare_waited(struct scene *s)
{
	struct node *n;

	prepare_fields(s);
	n = s->object;
	for (unsigned i = 0; i < 3; i++)
		sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0);
	n->word[0] = 1;
	heapd_wake(s->heap, (uint32_t *)&n->word[0], 1);
	usleep(60000);
}

/* The daemon's answer is not there at once, or comes too late --------------------------------------------------------- */

static void slowly(struct scene *s)
{
	calls_fail(CALL_SEND, 1, 1, EAGAIN);
	calls_fail(CALL_RECEIVE, 1, 1, EAGAIN);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	calls_fail(CALL_SEND, 1, 1, EINTR);
	calls_fail(CALL_RECEIVE, 1, 2, EINTR);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	calls_fail(CALL_RECEIVE, 1, 1, EAGAIN);
	calls_fail(CALL_POLL, 1, 1, EINTR);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	calls_fail(CALL_RECEIVE, 1, 1, EAGAIN);
	calls_fail(CALL_POLL, 1, 1, ENOMEM);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

static void too_late(struct scene *s)
{
	calls_fail(CALL_RECEIVE, 1, 1, EIO);
	use(heapd_alloc(s->heap, 100000));
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

/* Until its patience is at an end: nothing is ever there. */
static void in_vain(struct scene *s)
{
	calls_fail(CALL_RECEIVE, 1, 100000, EAGAIN);
	calls_fail(CALL_POLL, 1, 100000, EINTR);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	calls_fail(CALL_RECEIVE, 0, 0, 0);
	calls_fail(CALL_POLL, 0, 0, 0);
}

/* Arenas -------------------------------------------------------------------------------------------------------------- */

static void prepare_arenas(struct scene *s)
{
	prepare_fields(s);
	s->arena = heapd_arena_create(s->heap, 0);
	use(heapd_arena_alloc(s->arena, 100));
}

static void arenas(struct scene *s)
{
	for (unsigned i = 0; i < 6; i++)
		use(heapd_arena_alloc(s->arena, 20000));
	use(heapd_arena_alloc(s->arena, 200000));
	use(heapd_arena_alloc(s->arena, UINT64_MAX / 2));
	heapd_arena_reset(s->arena);
	heapd_arena_reset(s->arena);
	heapd_arena_destroy(s->arena);
	calls_fail(CALL_MEMORY, 1, 1, ENOMEM);
	use(heapd_arena_create(s->heap, 0));
}

static void arena_child(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		use(heapd_arena_alloc(s->arena, 100));
		heapd_arena_reset(s->arena);
		heapd_arena_destroy(s->arena);
		return;
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

/* Much to inherit ----------------------------------------------------------------------------------------------------- */

static void prepare_heir(struct scene *s)
{
	static void *table[8];

	prepare_fields(s);
	table[0] = s->others[0];
	sink += (uint64_t)heapd_range_add(s->heap, table, sizeof(table));
	sink += (uint64_t)heapd_local_add(s->heap, s->text, sizeof(s->text));
	for (unsigned i = 0; i < 3; i++)
		s->pin = heapd_pin(s->heap, (struct node *)s->object);
	sink += (uint64_t)heapd_unpin(s->pin);
}

static void prepare_heir_offline(struct scene *s)
{
	prepare_heir(s);
	heapd_thread_offline(s->heap);
}

const struct operation varieties[] = {
	OPERATION("offline-fields", prepare_offline, offline_fields, IN_MAIN, ALL),
	OPERATION("offline-objects", prepare_offline, offline_objects, IN_MAIN, ALL),
	OPERATION("offline-requests", prepare_offline, offline_requests, IN_MAIN, ONCE),
	OPERATION("unattached", prepare_reallocs, unattached, IN_MAIN, ONCE),
	OPERATION("types-wrong", NULL, types_wrong, IN_MAIN, ONCE),
	OPERATION("sizes-wrong", prepare_fields, sizes_wrong, IN_MAIN, ONCE),
	OPERATION("ranges-wrong", prepare_fields, ranges_wrong, IN_MAIN, ONCE),
	OPERATION("reallocs", prepare_reallocs, reallocs, IN_MAIN, ALL),
	OPERATION("pins", prepare_pins, pins, IN_MAIN, ONCE),
	OPERATION("threads", prepare_threads, thread_come_and_go, IN_MAIN, ONCE),
	OPERATION("created", prepare_fields, thread_come_and_go, IN_CREATED, ONCE),
	OPERATION("created-none", prepare_fields, created_none, IN_MAIN, ONCE),
	OPERATION("class", prepare_class, new_class, IN_MAIN, ONCE),
	OPERATION("wait-wrong", prepare_fields, wait_wrong, IN_MAIN, ONCE),
	OPERATION("wait-last", prepare_waits, one_wait_more, IN_MAIN, ONCE),
	OPERATION("wait-ended", prepare_waited, one_wait_more, IN_MAIN, ONCE),
	OPERATION("request-slow", prepare_impatient, slowly, IN_MAIN, ONCE),
	OPERATION("request-late", prepare_impatient, too_late, IN_MAIN, ONCE),
	OPERATION("request-vain", prepare_impatient, in_vain, IN_MAIN, ONCE),
	OPERATION("arenas", prepare_arenas, arenas, IN_MAIN, ONCE),
	OPERATION("arena-child", prepare_arenas, arena_child, IN_CHILD, ONCE),
	OPERATION("fork-heir", prepare_heir, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("fork-heir-offline", prepare_heir_offline, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("child-heir", prepare_heir_offline, child_allocates, IN_CHILD, ONCE),
	{ 0 },
};
