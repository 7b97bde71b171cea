/* SPDX-License-Identifier: MIT */
/*
 * rarities.c - owns the operations that meet what happens now and then only: a call that fails where none ever did, two that come at once, a
 * daemon that answers as another version would.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "calls.h"
#include "conditions.h"
#include "heapd/message.h"
#include "heapd/session.h"

/* Attaching ------------------------------------------------------------------------------------------------------------ */

static void attach_oddly(struct scene *s)
{
	calls_fail(CALL_STACK, 1, 1, EINVAL);
	try_attach(s, 0);
	calls_fail(CALL_STACK, 1, 1, ENOMEM);
	try_attach(s, HEAPD_ATTACH_NO_WAIT);
	calls_fail(CALL_ATTRIBUTES, 1, 1, ENOMEM);
	try_attach(s, HEAPD_ATTACH_NO_WAIT);
	calls_fail(CALL_CONNECT, 1, 2, ECONNREFUSED);
	try_attach(s, 0);
	calls_fail(CALL_CONNECT, 1, 1, EACCES);
	try_attach(s, 0);
	calls_fail(CALL_KICK, 1, 1, EAGAIN);
	try_attach(s, 0);
	calls_fail(CALL_SHORT, 1, 1, 0);
	try_attach(s, HEAPD_ATTACH_NO_WAIT);
	calls_fail(CALL_SHORT, 1, 1, 0);
	try_attach(s, 0);
}

static struct scene *here;

static void attach_meanwhile(void)
{
	heapd_heap *heap;

	sink += (uint64_t)heapd_attach(&heap, FIXTURE_HEAP, NULL);
}

/* Another thread of this process has attached while this one connected; to this heap, or another one's limits. */
static void attach_at_once(struct scene *s)
{
	for (unsigned i = 0; i < 3; i++) {
		calls_meet(CALL_SOCKET, 1, attach_meanwhile);
		try_attach(s, i ? HEAPD_ATTACH_READ_ONLY : 0);
		calls_meet(CALL_CONNECT, 1, attach_meanwhile);
		try_attach(s, i == 1 ? HEAPD_ATTACH_NO_RSEQ : 0);
		heapd_detach(s->heap);
	}
}

static void answer_read_only(void *message)
{
	((struct heapd_message *)message)->welcome.flags |= HEAPD_HELLO_READ_ONLY;
}

static void answer_writing(void *message)
{
	((struct heapd_message *)message)->welcome.flags &= ~(uint32_t)HEAPD_HELLO_READ_ONLY;
}

static void answer_elsewhere(void *message)
{
	((struct heapd_message *)message)->welcome.base ^= 0x40;
}

static void attach_to_another(struct scene *s)
{
	void (*const changes[])(void *) = { answer_read_only, answer_writing, answer_elsewhere };

	for (unsigned i = 0; i < 6; i++) {
		calls_answer(1, changes[i % 3]);
		try_attach(s, HEAPD_ATTACH_NO_WAIT | (i % 2 ? HEAPD_ATTACH_READ_ONLY : 0));
		calls_answer(0, NULL);
	}
}

/* Requests ----------------------------------------------------------------------------------------------------------------- */

static void answer_no_class(void *message)
{
	struct heapd_message *m = message;

	if (m->op == HEAPD_OP_CLASS)
		m->class.class = HEAPD_CLASS_MAX;
}

static void answered_short(struct scene *s)
{
	calls_fail(CALL_SHORT, 1, 1, 0);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	calls_fail(CALL_SHORT, 1, 1, 0);
	use(heapd_alloc(s->heap, 100000));
	for (unsigned i = 1; i < 40; i++) {
		calls_answer(1, answer_no_class);
		use(heapd_type_alloc_array(s->nodes, 64, i * 7));
		use(heapd_new_flex(s->flexibles, struct flexible, tail, i * 13));
	}
	calls_answer(0, NULL);
}

static void answer_refused(void *message)
{
	((struct heapd_message *)message)->status = -EPERM;
}

static void answer_stale(void *message)
{
	((struct heapd_message *)message)->status = -ESTALE;
}

static void answer_busy(void *message)
{
	((struct heapd_message *)message)->status = -EBUSY;
}

static void ask(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

/* It is back, but says something else than that it knows this process; then that, for good. */
static void back_oddly(struct scene *s)
{
	sockets_end();
	calls_fail(CALL_CONNECT, 1, 1, EAGAIN);
	ask(s);
	sockets_end();
	calls_fail(CALL_SHORT, 1, 1, 0);
	ask(s);
	sockets_end();
	calls_fail(CALL_RECEIVE, 1, 1, EIO);
	ask(s);
	sockets_end();
	calls_answer(1, answer_busy);
	ask(s);
}

static void back_refused(struct scene *s)
{
	sockets_end();
	calls_answer(1, answer_refused);
	ask(s);
}

static void back_stale(struct scene *s)
{
	sockets_end();
	calls_answer(1, answer_stale);
	ask(s);
}

/* What an answer brought is given back. */
static void fork_refused(struct scene *s)
{
	calls_answer(1, answer_refused);
	fork_and_wait(s);
	calls_fail(CALL_SHORT, 1, 1, 0);
	fork_and_wait(s);
	calls_answer(0, NULL);
}

static void prepare_most_pins(struct scene *s)
{
	prepare_fields(s);
	while (heapd_pin(s->heap, (struct node *)s->object))
		;
}

/* More pins than a process may have. */
static void one_pin_more(struct scene *s)
{
	use(heapd_pin(s->heap, (struct node *)s->object));
	s->arena = heapd_arena_create(s->heap, 0);
	use(s->arena ? heapd_arena_alloc(s->arena, 100) : NULL);
}

/* Each of its waits has another collection under way when it is over. */
static void collect_again(void)
{
	sink += (uint64_t)heapd_collect_start(here->heap);
	calls_meet(CALL_SYSCALL, 1, collect_again);
}

static void sync_in_vain(struct scene *s)
{
	here = s;
	calls_meet(CALL_SYSCALL, 1, collect_again);
	sink += (uint64_t)heapd_sync(s->heap);
	calls_meet(CALL_SYSCALL, 0, NULL);
}

/* Notes are interrupted on their way. */
static void noted(struct scene *s)
{
	for (unsigned i = 0; i < 8; i++) {
		calls_fail(CALL_NOTE, 1, 1, EINTR);
		sink += (uint64_t)heapd_collect_start(s->heap);
		usleep(3000);
	}
}

/* A root that there is not is made, with another one at it who sets it and clears it; scene_clear() empties it. */
static const char *root_name(void)
{
	static char name[16];

	snprintf(name, sizeof(name), "made %d", getpid() % SCENE_MADE);
	return name;
}

static void *set_and_clear(void *scene)
{
	struct scene *s = scene;

	for (;;) {
		sink += (uint64_t)heapd_root_set(s->heap, root_name(), s->object);
		sink += (uint64_t)heapd_root_set(s->heap, root_name(), NULL);
		usleep(2000);
	}
	return NULL;
}

static void root_made(struct scene *s)
{
	pthread_t thread;

	for (unsigned i = 0; i < 4; i++) {
		use(heapd_root(s->heap, root_name(), struct node, s->nodes));
		sink += (uint64_t)heapd_root_set(s->heap, root_name(), NULL);
		if (i == 1 && pthread_create(&thread, NULL, set_and_clear, s) != 0)
			_exit(2);
	}
}

/* Allocating and freeing ------------------------------------------------------------------------------------------------------ */

static void unlook(void)
{
	probes_set(0);
}

static void prepare_looked_at(struct scene *s)
{
	attach_other(s, "tight", 0);
	probes_on();
}

/* Until nothing is there; who looked does so no more while it is waited for. */
static void looked_away(struct scene *s)
{
	void *first = NULL;

	for (unsigned i = 0; i < 4000; i++) {
		void **n;

		calls_meet(CALL_SYSCALL, 1, unlook);
		n = heapd_alloc(s->heap, 12000);
		if (!n)
			break;
		heapd_init(n, first);
		first = n;
		if (i % 16 == 0)
			probes_on();
	}
	use(first);
}

static void sizes(struct scene *s)
{
	for (size_t bytes = 16; bytes <= 160; bytes += 16)
		for (unsigned i = 0; i < 200; i++) {
			use(heapd_alloc(s->heap, bytes));
			use(heapd_alloc_leaf(s->heap, bytes));
			if (bytes % 64 == 0)
				use(heapd_new_array(s->nodes, struct node, bytes / 64));
		}
}

/* Of many slabs, with all places for spares taken. */
static void prepare_scattered(struct scene *s)
{
	static void *kept[1200];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (unsigned i = 0; i < 1200; i++)
		kept[i] = heapd_alloc(s->heap, i % 2 ? 80 : 208);
	s->arena = (heapd_arena *)(void *)kept;
	spares_fill(s, HEAPD_SPARE_COUNT);
}

static void scattered(struct scene *s)
{
	void **kept = (void **)(void *)s->arena;

	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = round; i < 1200; i += 4)
			heapd_free(kept[(i * 263ul) % 1200]);
}

/* One slab after the other. */
static void freed_in_turn(struct scene *s)
{
	void **kept = (void **)(void *)s->arena;

	for (unsigned way = 0; way < 2; way++)
		for (unsigned i = way; i < 1200; i += 2)
			heapd_free(kept[i]);
}

/* Behind the last slot of a span, in what is left of its pages. */
static void free_gaps(struct scene *s)
{
	static const size_t kinds[] = { 48, 80, 96, 112, 352, 3072, 1000, 5000, 9000, 12000, 14000, 30000 };

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char *p = heapd_alloc(s->heap, kinds[i]);
		uint64_t page = p ? ((uint64_t)(uintptr_t)p - s->tables.base) >> HEAPD_PAGE_SHIFT : 0;
		uint32_t first = p ? s->tables.page_span[page] : 0;
		const struct heapd_span *span = first ? &s->tables.spans[first - 1] : NULL;

		if (!span || heapd_heap_of(p) != s->heap)
			continue;
		for (uint64_t at = (uint64_t)span->nslots * span->elemsize, n = 0;
		     at < (uint64_t)span->npages << HEAPD_PAGE_SHIFT && n < 4; at += span->elemsize, n++)
			sink += (uint64_t)heapd_free(
				(char *)(uintptr_t)(s->tables.base +
						    ((uint64_t)(first - 1) << HEAPD_PAGE_SHIFT)) +
				at);
	}
}

/* An object of a type that this process has not met, and has no memory to know. */
static void prepare_unmet(struct scene *s)
{
	attach_other(s, FIXTURE_HEAP, 0);
	s->object = s->stage->node[5];
}

static void unmet(struct scene *s)
{
	calls_fail(CALL_MEMORY, 1, 1, ENOMEM);
	use(heapd_type_of(s->object));
	calls_fail(CALL_MEMORY, 1, 1, ENOMEM);
	use(heapd_realloc(s->heap, s->object, 1000));
	calls_fail(CALL_MEMORY, 0, 0, 0);
}

/* Events, and threads that come and go ----------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void mourned(struct scene *s)
{
	for (unsigned i = 0; i < 300; i++)
		use(heapd_type_alloc(s->watched, sizeof(struct node)));
}

/* In another heap, where what is watched is not counted. */
static void prepare_mourning(struct scene *s)
{
	attach_other(s, "small", 0);
	s->watched = heapd_type_define(s->heap, "watched", struct node, next);
	if (!s->watched || heapd_type_watch_dead(s->watched) < 0)
		_exit(1);
	sink += (uint64_t)heapd_event_fd(s->heap);
	mourned(s);
	for (unsigned i = 0; i < 3; i++)
		sink += (uint64_t)heapd_collect(s->heap);
	usleep(20000);
}

static void mourning(struct scene *s)
{
	struct heapd_event event = HEAPD_SIZED(event);

	for (unsigned i = 0; i < 6; i++) {
		sink += (uint64_t)heapd_event_next(s->heap, &event);
		use(heapd_type_next_dead(s->watched));
	}
}

/* The child has an agent, but no descriptor of its own for events. */
static void prepare_told_later(struct scene *s)
{
	prepare_fields(s);
	sink += (uint64_t)heapd_event_fd(s->heap);
	calls_fail(CALL_EVENTFD, 1 + (unsigned)getpid() % 3, 1, EMFILE);
}

/* Much to read on a stack, in a handler that takes its time. */
static _Noreturn __attribute__((noinline)) void deep(struct scene *s)
{
	void *words[500000];

	for (unsigned i = 0; i < 500000; i++)
		words[i] = (char *)s->object + i % 8;
	__asm__ volatile("" : : "r"(words) : "memory");
	for (;;)
		usleep(100);
}

static void *deep_thread(void *scene)
{
	struct scene *s = scene;

	sink += (uint64_t)heapd_thread_attach(s->heap);
	deep(s);
}

static void prepare_deep(struct scene *s)
{
	pthread_t thread;

	prepare_fields(s);
	for (unsigned i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, deep_thread, s) != 0)
			_exit(2);
	usleep(10000);
}

/* A child that answers nobody holds up the scan, for which the agent has read this thread's stack. */
static void offline_scanned(struct scene *s)
{
	pid_t pid = fork();
	sigset_t all;

	if (pid == 0) {
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, NULL);
		usleep(200000);
		_exit(0);
	}
	heapd_thread_offline(s->heap);
	usleep(5000);
	sink += (uint64_t)heapd_collect_start(s->heap);
	usleep(40000);
	heapd_thread_online(s->heap);
	use(heapd_alloc(s->heap, 64));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* It is detached while others of its threads answer. */
static void detach_amid(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	usleep((unsigned)getpid() % 16 * 200);
	heapd_detach(s->heap);
}

const struct operation rarities[] = {
	OPERATION("attach-oddly", prepare_detached, attach_oddly, IN_MAIN, ONCE),
	OPERATION("attach-at-once", prepare_detached, attach_at_once, IN_MAIN, ONCE),
	OPERATION("attach-to-another", prepare_detached, attach_to_another, IN_MAIN, ONCE),
	OPERATION("answered-short", prepare_impatient, answered_short, IN_MAIN, ONCE),
	CUT_OFF("back-oddly", prepare_impatient, back_oddly),
	CUT_OFF("back-refused", prepare_impatient, back_refused),
	CUT_OFF("back-stale", prepare_impatient, back_stale),
	OPERATION("sync-vain", prepare_fields, sync_in_vain, IN_MAIN, ONCE),
	OPERATION("fork-refused", prepare_fields, fork_refused, IN_MAIN, ONCE),
	OPERATION("pins-most", prepare_most_pins, one_pin_more, IN_MAIN, ONCE),
	OPERATION("noted", prepare_fields, noted, IN_MAIN, ONCE),
	{ .name = "looked-away",
	  .prepare = prepare_looked_at,
	  .run = looked_away,
	  .barriers = ONCE,
	  .long_way = true },
	OPERATION("sizes", NULL, sizes, IN_MAIN, ONCE),
	OPERATION("scattered", prepare_scattered, scattered, IN_MAIN, ONCE),
	OPERATION("in-turn", prepare_scattered, freed_in_turn, IN_MAIN, ONCE),
	OPERATION("root-made", prepare_fields, root_made, IN_MAIN, ONCE),
	OPERATION("offline-scanned", prepare_fields, offline_scanned, IN_MAIN, ONCE),
	OPERATION("free-gaps", NULL, free_gaps, IN_MAIN, ONCE),
	OPERATION("unmet", prepare_unmet, unmet, IN_MAIN, ONCE),
	OPERATION("mourning", prepare_mourning, mourning, IN_MAIN, ONCE),
	OPERATION("told-child-later", prepare_told_later, child_allocates, IN_CHILD, ONCE),
	OPERATION("detach-amid", prepare_deep, detach_amid, IN_MAIN, ONCE),
	{ 0 },
};
