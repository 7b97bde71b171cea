/* SPDX-License-Identifier: MIT */
/*
 * stances.c - owns the operations about what threads are found in: too many of them, deaf, on a stack that nobody knows, with more than can be
 * published; woken, or asked by somebody else; before weak cells whose objects have died.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "client/client.h"
#include "conditions.h"
#include "heapd/session.h"

/* Threads ------------------------------------------------------------------------------------------------------------- */

static void threads_make(struct scene *s, uint32_t wanted)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 32 << 10);
	for (uint32_t i = 0; i < wanted; i++)
		if (pthread_create(&thread, &attr, wait_here, s) != 0)
			_exit(2);
	scene_pass(wanted * UINT64_C(200000));
}

static void prepare_many_threads(struct scene *s)
{
	prepare_fields(s);
	threads_make(s, 70);
}

static void prepare_most_threads(struct scene *s)
{
	prepare_fields(s);
	threads_make(s, HEAPD_THREAD_MAX);
}

static void *wait_deaf(void *scene)
{
	struct scene *s = scene;
	sigset_t all;

	heapd_thread_attach(s->heap);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (;;)
		pause();
	return NULL;
}

/* More than there are boxes for what is to be said of them. */
static void prepare_deaf(struct scene *s)
{
	pthread_t thread;

	prepare_fields(s);
	for (unsigned i = 0; i < 6; i++)
		if (pthread_create(&thread, NULL, wait_deaf, s) != 0)
			_exit(2);
	scene_pass(UINT64_C(10000000));
}

static void deaf(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(900000000));
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

/* Of a thread that has answered, while its barrier is still on. */
static void deaf_free(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(900000000));
	sink += (uint64_t)heapd_free(s->others[0]);
}

/*
 * Offline on a stack that heapd does not know of: it is asked again each 10 ms at most until it is back, and an answer takes more than
 * that under single steps.
 */
static struct scene *here;
static ucontext_t home, away;

static void wait_offline(void)
{
	heapd_thread_offline(here->heap);
	sink += (uint64_t)heapd_collect_start(here->heap);
	scene_pass(UINT64_C(100000000));
	heapd_thread_online(here->heap);
}

static void offline_astray(struct scene *s)
{
	here = s;
	getcontext(&away);
	away.uc_stack.ss_size = 256 << 10;
	away.uc_stack.ss_sp =
		mmap(NULL, 256 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	away.uc_link = &home;
	makecontext(&away, wait_offline, 0);
	swapcontext(&home, &away);
}

/* What is published --------------------------------------------------------------------------------------------------------------- */

/* All of a stack is below where it begins. */
static void prepare_away_from_start(struct scene *s)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	o.flags = HEAPD_ATTACH_THREADS_AWAY;
	attach_anew(s, &o);
	sink += (uint64_t)heapd_thread_attach(s->heap);
}

static void scanned_empty(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(60000000));
}

/* More than a thread can publish. */
static void prepare_wide(struct scene *s)
{
	size_t n = HEAPD_PUBLISHED_BYTES / 8 + 1000;
	void **words = mmap(NULL, n * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	prepare_fields(s);
	for (size_t i = 0; i < n; i++)
		words[i] = (char *)s->object + i % 2 * 8;
	sink += (uint64_t)heapd_local_add(s->heap, words, n * 8);
}

static void wide(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(100000000));
}

/* Waiting, signals -------------------- */

/* A word that another thread wakes whoever waits at. */
static void *wake(void *scene)
{
	struct scene *s = scene;

	for (;;) {
		scene_pass(UINT64_C(3000000));
		heapd_wake(s->heap, (uint32_t *)(void *)&((struct node *)s->object)->word[0], 1);
	}
	return NULL;
}

static void prepare_waker(struct scene *s)
{
	pthread_t thread;

	prepare_fields(s);
	if (pthread_create(&thread, NULL, wake, s) != 0)
		_exit(2);
}

static void woken(struct scene *s)
{
	uint32_t *word = (uint32_t *)(void *)&((struct node *)s->object)->word[0];

	sink += (uint64_t)heapd_wait(s->heap, word, 0, 1000);
	heapd_thread_offline(s->heap);
	sink += (uint64_t)heapd_wait(s->heap, word, 0, 1000);
	heapd_thread_online(s->heap);
}

/* heapd's signal, by somebody else. */
static void signal_alien(struct scene *s)
{
	pthread_kill(pthread_self(), s->heap->signal);
}

/* Weak cells ------------------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void weaks_make(struct scene *s)
{
	for (unsigned i = 8; i < 24; i++)
		s->others[i] = heapd_weak_new(s->heap, heapd_alloc(s->heap, 64));
}

static void prepare_weak_dead(struct scene *s)
{
	prepare_fields(s);
	s->weak = heapd_weak_new(s->heap, s->object);
	weaks_make(s);
	for (unsigned i = 0; i < 2; i++)
		sink += (uint64_t)heapd_collect(s->heap);
}

static void weak_dead(struct scene *s)
{
	for (unsigned i = 8; i < 24; i++)
		use(heapd_weak_get_sym(s->others[i]));
	heapd_thread_offline(s->heap);
	for (unsigned i = 8; i < 24; i++)
		use(heapd_weak_get_sym(s->others[i]));
	use(heapd_weak_get_sym(s->object));
	heapd_thread_online(s->heap);
}

/* This thread has answered the scan; a child of its process, which does not, holds the cycle where it is. */
void prepare_weak_scanned(struct scene *s)
{
	const struct heapd_thread *t = record_here();
	sigset_t all;
	uint64_t now;

	prepare_weak_dead(s);
	if (fork() == 0) {
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, NULL);
		scene_pass(UINT64_C(500000000));
		_exit(0);
	}
	for (unsigned i = 0; i < 400; i++) {
		now = HEAPD_LOAD_ACQUIRE(&s->tables.directory->cycle.now);
		if (heapd_now_phase(now) == HEAPD_PHASE_SCAN && t->scanned == heapd_now_cycle(now))
			break;
		sink += (uint64_t)heapd_collect_start(s->heap);
		usleep(500);
	}
}

static void weak_scanned(struct scene *s)
{
	use(heapd_weak_get(s->weak, struct node));
	for (unsigned i = 8; i < 24; i++)
		use(heapd_weak_get_sym(s->others[i]));
}

const struct operation stances[] = {
	OPERATION("threads-many", prepare_many_threads, thread_come_and_go, IN_MAIN, ONCE),
	OPERATION("threads-most", prepare_most_threads, thread_come_and_go, IN_MAIN, ONCE),
	OPERATION("deaf", prepare_deaf, deaf, IN_MAIN, ONCE),
	OPERATION("deaf-free", prepare_deaf, deaf_free, IN_MAIN, ONCE),
	{ .name = "offline-astray",
	  .prepare = prepare_fields,
	  .run = offline_astray,
	  .barriers = ONCE,
	  .long_way = true },
	OPERATION("away-empty", prepare_away_from_start, scanned_empty, IN_MAIN, ONCE),
	{ .name = "wide", .prepare = prepare_wide, .run = wide, .barriers = ONCE, .long_way = true },
	OPERATION("woken", prepare_waker, woken, IN_MAIN, ONCE),
	OPERATION("signal-alien", prepare_fields, signal_alien, IN_MAIN, ONCE),
	OPERATION("weak-dead", prepare_weak_dead, weak_dead, IN_MAIN, ONCE),
	OPERATION("weak-scanned", prepare_weak_scanned, weak_scanned, IN_MAIN, ONCE),
	{ 0 },
};
