/* SPDX-License-Identifier: MIT */
/*
 * remains.c - owns the operations that come to what all the others leave: a type of large objects, nothing asked for, everything taken, a
 * process that has gone on to be another one's parent.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "calls.h"
#include "conditions.h"
#include "heapd/message.h"
#include "heapd/session.h"

static void quiet(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

/* Allocating ---------------------------------------------------------------------------------------------------------- */

static void prepare_big(struct scene *s)
{
	const struct heapd_type_desc d = {
		.size = sizeof(d), .name = "big", .object_size = 40000, .align = 8, .flags = HEAPD_TYPE_NOSCAN
	};

	s->fresh = heapd_type_define_desc(s->heap, &d);
}

static void big(struct scene *s)
{
	use(heapd_type_alloc(s->fresh, 40000));
}

static void nothing(struct scene *s)
{
	static void *many[2];

	use(heapd_alloc(s->heap, 0));
	use(heapd_alloc_leaf(s->heap, 0));
	use((void *)heapd_alloc_many(s->heap, 64, 0, many));
	use(heapd_type_alloc_flex(s->flexibles, sizeof(struct flexible), offsetof(struct flexible, tail), 8,
				  UINT64_MAX / 2));
	heapd_thread_offline(s->heap);
	use((void *)heapd_alloc_many(s->heap, 64, 0, many));
	use(heapd_alloc(s->heap, 0));
	heapd_thread_online(s->heap);
}

/* With every place for a spare taken, of classes that none of them is of. */
static void prepare_full(struct scene *s)
{
	spares_fill(s, HEAPD_SPARE_COUNT);
}

static void one_more_class(struct scene *s)
{
	for (unsigned i = 0; i < 40; i++) {
		use(heapd_alloc(s->heap, 5000));
		use(heapd_alloc_leaf(s->heap, 7000));
		use(heapd_alloc(s->heap, 3072));
	}
}

/* Out of slabs that were never used, beside others of the same span that lie in a spare. */
static void prepare_clean(struct scene *s)
{
	cpu_set_t set;

	attach_other(s, "plain", 0);
	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* What was freed here is turned to; in a hardened heap, by a way of its own. */
static void prepare_freed(struct scene *s)
{
	static void *kept[200];

	for (unsigned i = 0; i < 200; i++)
		kept[i] = heapd_alloc(s->heap, 200);
	for (unsigned i = 0; i < 200; i++)
		sink += (uint64_t)heapd_free(kept[i]);
}

static void alloc_freed(struct scene *s)
{
	for (unsigned i = 0; i < 250; i++)
		use(heapd_alloc(s->heap, 200));
}

/* With two slabs that were never used, and that came with one that is in use now. */
static bool has_clean_spare(void)
{
	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		uint64_t entry = record_here()->spares[i].entry;

		if (entry & HEAPD_ENTRY_ZEROED && __builtin_popcount(heapd_entry_present(entry)) > 1)
			return true;
	}
	return false;
}

/* Until some of those that came lie there, and a bit more; then what was taken of the one before is freed, and some of another slab. */
static void free_clean(struct scene *s)
{
	static void *kept[4000];
	unsigned n = 0;

	while (n < 3900 && !has_clean_spare())
		kept[n++] = heapd_alloc(s->heap, 1024);
	for (unsigned i = 0; i < 24; i++)
		kept[n++] = heapd_alloc(s->heap, 1024);
	for (unsigned i = n - 25; i < n; i++)
		sink += (uint64_t)heapd_free(kept[i]);
	for (unsigned i = 0; i < 4; i++)
		sink += (uint64_t)heapd_free(kept[i]);
}

/* New in this cycle. */
static void newborn(struct scene *s)
{
	static void *kept[600];

	for (unsigned i = 0; i < 600; i++)
		kept[i] = heapd_alloc(s->heap, i % 2 ? 112 : 96);
	for (unsigned i = 0; i < 600; i++)
		sink += (uint64_t)heapd_free(kept[i]);
}

/* In a heap that has no collections an answer that nobody waits for any more names an object: here one of the smallest. */
static uint64_t small_address;

static void answer_small(void *message)
{
	struct heapd_message *m = message;

	if (m->op == HEAPD_OP_LARGE)
		m->large.address = small_address;
}

static void prepare_late_small(struct scene *s)
{
	attach_other(s, "plain", 0);
	s->object = heapd_alloc(s->heap, 48);
	small_address = (uint64_t)(uintptr_t)s->object;
}

static void late_small(struct scene *s)
{
	calls_fail(CALL_RECEIVE, 1, 1, EIO);
	use(heapd_alloc(s->heap, 100000));
	calls_answer(1, answer_small);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	calls_answer(0, NULL);
}

/* Attaching ----------------------------------------------------------------------------------------------------------- */

static void after_detaching(struct scene *s)
{
	static void *word;
	void *seen = &word;

	heapd_detach(s->heap);
	sink += heapd_cas_sym(&word, &seen, &word);
	use(heapd_exchange_sym(&word, NULL));
	heapd_zero_sym(&word, 1);
}

static void attach_flags(struct scene *s)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;
	heapd_heap *heap;

	(void)s;
	o.flags = 1u << 20;
	sink += (uint64_t)heapd_attach(&heap, FIXTURE_HEAP, &o);
	for (unsigned more = 0; more < 9; more++) {
		o.size = offsetof(struct heapd_options, socket) + more;
		sink += (uint64_t)heapd_attach(&heap, FIXTURE_HEAP, &o);
	}
}

static void attach_as_told(struct scene *s)
{
	setenv("HEAPD_NO_RSEQ", "", 1);
	try_attach(s, 0);
	setenv("HEAPD_NO_RSEQ", "1", 1);
	try_attach(s, 0);
	unsetenv("HEAPD_NO_RSEQ");
}

/* A call that fails and does not say why. */
static void attach_unsaid(struct scene *s)
{
	calls_fail(CALL_CONNECT, 1, 1, 0);
	try_attach(s, HEAPD_ATTACH_NO_WAIT);
	calls_fail(CALL_SOCKET, 1, 1, EMFILE);
	try_attach(s, HEAPD_ATTACH_NO_WAIT);
	calls_fail(CALL_SOCKET, 1, 1, EMFILE);
	try_attach(s, 0);
}

static void attach_read_only_in_vain(struct scene *s)
{
	for (unsigned nth = 1; nth < 20; nth++) {
		calls_fail(CALL_MMAP, nth, 1, ENOMEM);
		try_attach(s, HEAPD_ATTACH_READ_ONLY);
	}
	for (unsigned nth = 1; nth < 8; nth++) {
		calls_fail(CALL_MADVISE, nth, 1, ENOMEM);
		try_attach(s, nth % 2 ? HEAPD_ATTACH_READ_ONLY : 0);
	}
	calls_fail(CALL_MMAP, 0, 0, 0);
	calls_fail(CALL_MADVISE, 0, 0, 0);
}

/* Something lies there; what it is cannot be looked up; then nothing does. */
static void attach_occupied(struct scene *s)
{
	for (unsigned nth = 1; nth < 12; nth++) {
		calls_fail(CALL_MMAP, nth, 2, EEXIST);
		calls_fail(CALL_FOPEN, 1, 2, EMFILE);
		try_attach(s, 0);
		calls_fail(CALL_FOPEN, 0, 0, 0);
		calls_fail(CALL_MMAP, nth, 2, EEXIST);
		try_attach(s, 0);
		calls_fail(CALL_MMAP, nth, 1, EEXIST);
		try_attach(s, 0);
	}
	calls_fail(CALL_MMAP, 0, 0, 0);
}

/* Forks ---------------------------------------------------------------------------------------------------------------- */

static void prepare_arena(struct scene *s)
{
	prepare_fields(s);
	s->arena = heapd_arena_create(s->heap, 0);
	use(heapd_arena_alloc(s->arena, 100));
}

static void arena_alloc_much(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++)
		use(heapd_arena_alloc(s->arena, 9000));
	use(heapd_arena_alloc(s->arena, 100));
}

static void arena_grandchild(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		arena_alloc_much(s);
		pid = fork();
		if (pid == 0)
			arena_alloc_much(s);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void prepare_told(struct scene *s)
{
	prepare_fields(s);
	sink += (uint64_t)heapd_event_fd(s->heap);
}

static void fork_untold(struct scene *s)
{
	calls_fail(CALL_EVENTFD, 1, 1, EMFILE);
	fork_and_wait(s);
	calls_fail(CALL_EVENTFD, 0, 0, 0);
	calls_fail(CALL_DUP, 1, 1, EBUSY);
	fork_and_wait(s);
}

/* Roots, events ---------------------------------------------------------------------------------------------------------- */

static void prepare_hasty(struct scene *s)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	o.report = quiet;
	o.request_timeout_ms = 500;
	attach_anew(s, &o);
	prepare_fields(s);
}

static void roots_between(struct scene *s)
{
	struct heapd_root_info info = HEAPD_SIZED(info);

	sink += (uint64_t)heapd_root_set(s->heap, "made 1", s->object);
	sink += (uint64_t)heapd_root_set(s->heap, "made 1", NULL);
	while (heapd_root_next(s->heap, &info) > 0)
		sink++;
}

static void lose(void)
{
	scene_pass(UINT64_C(20000000));
	sockets_end();
}

/* What was asked has been done, but its answer is lost. */
static void root_swapped_unheard(struct scene *s)
{
	void *const objects[] = { s->object, heapd_alloc(s->heap, 64) };

	for (unsigned i = 0; i < 2; i++) {
		void *seen = NULL;

		/* The root is of the one's type or the other's: whoever made it has said so. */
		sink += (uint64_t)heapd_root_set(s->heap, "made 2", NULL);
		calls_meet(CALL_RECEIVE, 1, lose);
		sink += (uint64_t)heapd_root_cas(s->heap, "made 2", &seen, objects[i]);
		calls_meet(CALL_RECEIVE, 0, NULL);
	}
	sink += (uint64_t)heapd_root_set(s->heap, "made 2", NULL);
}

static void hello_fails(struct scene *s)
{
	sockets_end();
	calls_fail(CALL_HELLO, 1, 1, EPIPE);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	sockets_end();
	calls_fail(CALL_HELLO, 1, 1, 0);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

static void prepare_typeless(struct scene *s)
{
	attach_other(s, "poisoned", 0);
	sink += (uint64_t)heapd_event_fd(s->heap);
}

static void collect_told(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(50000000));
}

static void answer_refused(void *message)
{
	((struct heapd_message *)message)->status = -EPERM;
}

static void answer_busy(void *message)
{
	((struct heapd_message *)message)->status = -EBUSY;
}

static void attach_refused(struct scene *s)
{
	calls_answer(1, answer_refused);
	try_attach(s, HEAPD_ATTACH_NO_WAIT);
	calls_answer(0, NULL);
}

static void ask(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

/* An answer brings what was not asked for. */
static void brought(struct scene *s)
{
	calls_bring(1);
	ask(s);
}

/* It takes the connection and says nothing; then this process goes. */
static void back_silent(struct scene *s)
{
	sockets_end();
	calls_fail(CALL_RECEIVE, 1, 100000, EAGAIN);
	ask(s);
	heapd_detach(s->heap);
}

/* The child's hello finds nobody, and then somebody who says nothing. */
static void fall_silent(void)
{
	sockets_end();
	calls_fail(CALL_RECEIVE, 1, 100000, EAGAIN);
}

static void fork_silent(struct scene *s)
{
	calls_meet(CALL_SEND, 2, fall_silent);
	fork_and_wait(s);
}

/* Refused, it closes the connection, which the daemon took it back by: that ends it, unless it has come to its end by then. */
static void back_busy(struct scene *s)
{
	sockets_end();
	calls_fail(CALL_RECEIVE, 1, 3, EINTR);
	ask(s);
	sockets_end();
	calls_answer(1, answer_busy);
	ask(s);
	sockets_end();
	calls_answer(1, answer_refused);
	ask(s);
}

const struct operation remains[] = {
	OPERATION("type-big", prepare_big, big, IN_MAIN, ONCE),
	OPERATION("nothing", NULL, nothing, IN_MAIN, ONCE),
	OPERATION("spares-full", prepare_full, one_more_class, IN_MAIN, ONCE),
	{ .name = "free-clean",
	  .prepare = prepare_clean,
	  .run = free_clean,
	  .barriers = ONCE,
	  .long_way = true },
	OPERATION("alloc-freed", prepare_freed, alloc_freed, IN_MAIN, ONCE),
	{ .name = "newborn", .prepare = NULL, .run = newborn, .barriers = ALL, .long_way = true },
	OPERATION("late-small", prepare_late_small, late_small, IN_MAIN, ONCE),
	OPERATION("detached", prepare_fields, after_detaching, IN_MAIN, ONCE),
	OPERATION("attach-flags", prepare_detached, attach_flags, IN_MAIN, ONCE),
	OPERATION("attach-told", prepare_detached, attach_as_told, IN_MAIN, ONCE),
	OPERATION("attach-unsaid", prepare_detached, attach_unsaid, IN_MAIN, ONCE),
	OPERATION("attach-reader-vain", prepare_detached, attach_read_only_in_vain, IN_MAIN, ONCE),
	OPERATION("attach-occupied", prepare_detached, attach_occupied, IN_MAIN, ONCE),
	OPERATION("arena-grandchild", prepare_arena, arena_grandchild, IN_MAIN, ONCE),
	OPERATION("fork-untold", prepare_told, fork_untold, IN_MAIN, ONCE),
	OPERATION("roots-between", prepare_fields, roots_between, IN_MAIN, ONCE),
	CUT_OFF("root-unheard", prepare_fields, root_swapped_unheard),
	CUT_OFF("hello-fails", prepare_hasty, hello_fails),
	OPERATION("attach-refused", prepare_detached, attach_refused, IN_MAIN, ONCE),
	OPERATION("brought", prepare_fields, brought, IN_MAIN, ONCE),
	CUT_OFF("back-silent", prepare_hasty, back_silent),
	CUT_OFF("fork-silent", prepare_hasty, fork_silent),
	{ .name = "back-busy",
	  .prepare = prepare_fields,
	  .run = back_busy,
	  .barriers = ONCE,
	  .cut_off = true,
	  .long_way = true },
	OPERATION("typeless", prepare_typeless, collect_told, IN_MAIN, ONCE),
	{ 0 },
};
