/* SPDX-License-Identifier: MIT */
/*
 * attachments.c - owns the operations that attach, by ways that are not everyday's: twice, refused, read-only, with a call that fails in
 * the midst of it.
 */
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "calls.h"
#include "conditions.h"

static void quiet(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

static struct heapd_options at_once(void)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	o.flags = HEAPD_ATTACH_NO_WAIT;
	o.report = quiet;
	return o;
}

/* Attached it is not to be. */
static void refused(struct scene *s, const char *name, const struct heapd_options *o)
{
	heapd_heap *heap;

	if (heapd_attach(&heap, name, o) == 0)
		s->heap = heap;
}

static void again(struct scene *s)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	refused(s, FIXTURE_HEAP, NULL);
	refused(s, "another", &o);
	heapd_detach(s->heap);
	heapd_detach(NULL);
	heapd_detach((heapd_heap *)(void *)s->text);
}

static void wrongly(struct scene *s)
{
	struct heapd_options o = at_once();
	char path[200];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	sink += (uint64_t)heapd_attach(NULL, FIXTURE_HEAP, NULL);
	refused(s, "", NULL);
	o.size = 1;
	refused(s, FIXTURE_HEAP, &o);
	o = at_once();
	o.flags = 1u << 30;
	refused(s, FIXTURE_HEAP, &o);
	o = at_once();
	o.signal = SIGUSR1;
	refused(s, FIXTURE_HEAP, &o);
	o = at_once();
	o.socket = path;
	refused(s, FIXTURE_HEAP, &o);
	o.socket = "/nowhere";
	refused(s, FIXTURE_HEAP, &o);
	o.flags = 0;
	o.attach_timeout_ms = 60;
	refused(s, FIXTURE_HEAP, &o);
	setenv("HEAPD_SOCKET", "/nowhere", 1);
	o = at_once();
	refused(s, FIXTURE_HEAP, &o);
	unsetenv("HEAPD_SOCKET");
	refused(s, FIXTURE_HEAP, &o);
}

static void prepare_strangers(struct scene *s)
{
	heapd_detach(s->heap);
	signal(SIGRTMAX - 1, SIG_IGN);
}

static void no_such_heap(struct scene *s)
{
	struct heapd_options o = at_once();

	refused(s, "none of that name", &o);
	calls_fail(CALL_CONNECT, 1, 1, EACCES);
	refused(s, FIXTURE_HEAP, &o);
	calls_fail(CALL_SOCKET, 1, 1, EMFILE);
	refused(s, FIXTURE_HEAP, &o);
	o.signal = SIGRTMAX - 1;
	refused(s, FIXTURE_HEAP, &o);
}

static struct heapd_info where;

static void prepare_occupied(struct scene *s)
{
	where = (struct heapd_info)HEAPD_SIZED(where);
	heapd_get_info(s->heap, &where);
	heapd_detach(s->heap);
	use(mmap((void *)(uintptr_t)where.base, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0));
}

static void occupied(struct scene *s)
{
	struct heapd_options o = at_once();

	refused(s, FIXTURE_HEAP, &o);
}

/* Each place in turn where a call of this kind is needed, until it is one too many. */
static void attach_failing(struct scene *s, enum call call, int error, unsigned from, unsigned upto)
{
	struct heapd_options o = at_once();

	for (unsigned nth = from; nth < upto; nth++) {
		calls_fail(call, nth, 1, error);
		refused(s, FIXTURE_HEAP, &o);
		calls_fail(call, 0, 0, 0);
	}
}

static void no_maps(struct scene *s)
{
	attach_failing(s, CALL_MMAP, EEXIST, 2, 4);
	attach_failing(s, CALL_MMAP, ENOMEM, 1, 5);
}

static void no_memory(struct scene *s)
{
	attach_failing(s, CALL_MEMORY, ENOMEM, 1, 16);
}

/* The agent's eventfd, then the kernel's barriers: all is mapped by then. */
static void no_agent(struct scene *s)
{
	attach_failing(s, CALL_EVENTFD, EMFILE, 1, 2);
	attach_failing(s, CALL_SYSCALL, ENOSYS, 1, 3);
}

static void no_signal(struct scene *s)
{
	attach_failing(s, CALL_SIGACTION, EINVAL, 1, 40);
}

/* What is mapped cannot be opened, or not be kept from children. */
static void no_protection(struct scene *s)
{
	attach_failing(s, CALL_MPROTECT, ENOMEM, 1, 6);
	attach_failing(s, CALL_MADVISE, EINVAL, 1, 3);
}

/* No agent, or not by the small stack; nowhere to note the thread. */
static void no_threads(struct scene *s)
{
	attach_failing(s, CALL_THREAD, EAGAIN, 1, 2);
	attach_failing(s, CALL_SPECIFIC, ENOMEM, 1, 2);
	attach_failing(s, CALL_THREAD, EINVAL, 1, 2);
}

static void prepare_taken(struct scene *s)
{
	heapd_detach(s->heap);
	for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
		signal(n, SIG_IGN);
}

/* The library once more, of another file of the same name. */
static void prepare_copied(struct scene *s)
{
	int copy = memfd_create("copy", 0), library;
	char path[64], bytes[65536];
	Dl_info info;
	ssize_t n;

	heapd_detach(s->heap);
	library = dladdr((const void *)(uintptr_t)&heapd_version, &info) ? open(info.dli_fname, O_RDONLY)
									 : -1;
	while ((n = read(library, bytes, sizeof(bytes))) > 0)
		if (write(copy, bytes, (size_t)n) != n)
			err(1, "write");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
	if (!dlopen(path, RTLD_NOW | RTLD_LOCAL))
		errx(1, "%s", dlerror());
}

static void prepare_watched(struct scene *s)
{
	heapd_detach(s->heap);
	probes_on();
}

static void no_answer(struct scene *s)
{
	attach_failing(s, CALL_SEND, EPIPE, 1, 2);
	attach_failing(s, CALL_SEND, EIO, 1, 2);
	attach_failing(s, CALL_RECEIVE, ECONNRESET, 1, 2);
	attach_failing(s, CALL_RECEIVE, EINTR, 1, 2);
}

/* The daemon goes in the midst of it, and is asked again. */
static void gone_once(struct scene *s)
{
	static const enum call calls[] = { CALL_SEND, CALL_RECEIVE };
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	o.socket = getenv("HEAPD_SOCKET");
	for (unsigned i = 0; i < 4; i++) {
		o.report = i < 2 ? quiet : NULL;
		calls_fail(calls[i % 2], 1, 1, i % 2 ? ECONNRESET : EPIPE);
		refused(s, FIXTURE_HEAP, &o);
		heapd_detach(s->heap);
	}
}

/* Read-only ---------------------------------------------------------------------------------------------------------- */

static void attach_reader(struct scene *s)
{
	struct heapd_options o = at_once();

	o.flags |= HEAPD_ATTACH_READ_ONLY;
	refused(s, FIXTURE_HEAP, &o);
	refused(s, FIXTURE_HEAP, NULL);
}

static void read_only(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct node *n = s->object, **p;
	char text[64];

	use(heapd_alloc(s->heap, 64));
	use(heapd_alloc(s->heap, 100000));
	use(heapd_root_get(s->heap, "stage", NULL));
	use(heapd_start_of((char *)s->object + 9));
	sink += (uint64_t)heapd_free(n);
	sink += (uint64_t)heapd_edit_begin(n, sizeof(*n));
	sink += (uint64_t)heapd_get_info(s->heap, &info);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", n);
	sink += (uint64_t)heapd_ticket_issue(s->heap, n, text, sizeof(text), 1);
	use(heapd_weak_new(s->heap, n));
	use(heapd_realloc(s->heap, n, 1000));
	use(heapd_arena_create(s->heap, 0));
	p = heapd_pin(s->heap, n);
	if (p)
		heapd_unpin(p);
	sink += (uint64_t)heapd_wake(s->heap, (uint32_t *)&n->word[0], 1);
	heapd_thread_offline(s->heap);
	heapd_thread_online(s->heap);
}

static void prepare_weak_reader(struct scene *s)
{
	heapd_weak *weak = heapd_weak_new(s->heap, s->stage->node[2]);

	heapd_store(&s->stage->field[3], (struct node *)(void *)weak);
	prepare_reader(s);
	s->weak = weak;
}

static void weak_reader(struct scene *s)
{
	use(heapd_weak_get(s->weak, struct node));
}

static void reader_child(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		use(heapd_root_get(s->heap, "stage", NULL));
		return;
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

static void reader_no_maps(struct scene *s)
{
	struct heapd_options o = at_once();

	o.flags |= HEAPD_ATTACH_READ_ONLY;
	for (unsigned nth = 1; nth < 5; nth++) {
		calls_fail(CALL_MMAP, nth, 1, nth % 2 ? ENOMEM : EEXIST);
		refused(s, FIXTURE_HEAP, &o);
		calls_fail(CALL_MMAP, 0, 0, 0);
	}
}

/* What HEAPD_DEBUG asks for is asked for when attaching. */
static void debugging(struct scene *s)
{
	struct heapd_options o = at_once();

	setenv("HEAPD_DEBUG", "types, barrier,dangling nonsense", 1);
	refused(s, FIXTURE_HEAP, &o);
}

const struct operation attachments[] = {
	OPERATION("attach-again", NULL, again, IN_MAIN, ONCE),
	OPERATION("attach-wrongly", prepare_detached, wrongly, IN_MAIN, ONCE),
	OPERATION("attach-none", prepare_strangers, no_such_heap, IN_MAIN, ONCE),
	OPERATION("attach-occupied", prepare_occupied, occupied, IN_MAIN, ONCE),
	OPERATION("attach-no-maps", prepare_detached, no_maps, IN_MAIN, ONCE),
	OPERATION("attach-no-memory", prepare_detached, no_memory, IN_MAIN, ONCE),
	OPERATION("attach-no-agent", prepare_detached, no_agent, IN_MAIN, ONCE),
	OPERATION("attach-no-signal", prepare_detached, no_signal, IN_MAIN, ONCE),
	OPERATION("attach-no-protection", prepare_detached, no_protection, IN_MAIN, ONCE),
	OPERATION("attach-no-threads", prepare_detached, no_threads, IN_MAIN, ONCE),
	OPERATION("attach-signals-taken", prepare_taken, occupied, IN_MAIN, ONCE),
	OPERATION("attach-copied", prepare_copied, occupied, IN_MAIN, ONCE),
	OPERATION("attach-probed", prepare_watched, attach_reader, IN_MAIN, ONCE),
	OPERATION("reader-no-maps", prepare_detached, reader_no_maps, IN_MAIN, ONCE),
	OPERATION("attach-no-answer", prepare_detached, no_answer, IN_MAIN, ONCE),
	OPERATION("attach-gone", prepare_detached, gone_once, IN_MAIN, ONCE),
	OPERATION("attach-reader", prepare_detached, attach_reader, IN_MAIN, ONCE),
	OPERATION("attach-debugging", prepare_detached, debugging, IN_MAIN, ONCE),
	OPERATION("reader", prepare_reader, read_only, IN_MAIN, ONCE),
	OPERATION("reader-weak", prepare_weak_reader, weak_reader, IN_MAIN, ALL),
	OPERATION("reader-fork", prepare_reader, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("reader-child", prepare_reader, reader_child, IN_CHILD, ONCE),
	{ 0 },
};
