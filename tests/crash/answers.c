/* SPDX-License-Identifier: MIT */
/*
 * answers.c - owns the operations in which a process answers the collector, but for the plainest: late, from another stack, with the
 * signal blocked or its handler gone, in the agent's eyes and in the thread's.
 *
 * A process whose thread has yet to answer holds up the scan, so each of these finds it where it was left.
 */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "../fixture.h"
#include "calls.h"
#include "conditions.h"
#include "heapd/session.h"

#define STACK (256ul << 10)

static void spin(struct scene *s)
{
	while (!s->board->spin)
		__asm__ volatile("pause");
}

static void signals_block(void)
{
	sigset_t all;

	sigemptyset(&all);
	for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
		sigaddset(&all, n);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static void signals_unblock(void)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
}

/* Until a scan waits for this thread; one that does not was under way before it came. */
static void wait_scan(const struct scene *s)
{
	uint64_t now;

	do {
		heapd_collect_start(s->heap);
		usleep(500);
		now = HEAPD_LOAD_ACQUIRE(&s->tables.directory->cycle.now);
	} while (heapd_now_phase(now) != HEAPD_PHASE_SCAN || record_here()->scanned == heapd_now_cycle(now));
}

/* The scan waits for this thread, which cannot be asked by signal: it answers at a safepoint. */
static void prepare_late(struct scene *s)
{
	prepare_fields(s);
	s->pin = heapd_pin(s->heap, (struct node *)s->object);
	s->weak = heapd_weak_new(s->heap, s->object);
	for (unsigned i = 2; i < 8; i++)
		s->others[i] = heapd_alloc(s->heap, 1024);
	drain(s, 3072);
	signals_block();
	wait_scan(s);
}

static void late_store(struct scene *s)
{
	heapd_store_sym(&((struct node *)s->others[0])->next, s->object);
}

static void late_exchange(struct scene *s)
{
	use(heapd_exchange_sym(&((struct node *)s->others[0])->next, s->object));
}

static void late_compare(struct scene *s)
{
	void *seen = NULL;

	sink += heapd_cas_sym(&((struct node *)s->others[0])->next, &seen, s->object);
}

static void late_zero(struct scene *s)
{
	heapd_zero_sym(&((struct node *)s->others[0])->next, 2);
}

static void late_move(struct scene *s)
{
	heapd_move_sym(&((struct node *)s->others[1])->next, &((struct node *)s->others[0])->next, 2);
}

static void late_weak(struct scene *s)
{
	use(heapd_weak_get(s->weak, struct node));
}

static void late_free(struct scene *s)
{
	heapd_free(s->others[2]);
}

static void late_refill(struct scene *s)
{
	for (unsigned i = 0; i < 12; i++)
		use(heapd_alloc(s->heap, 3072));
}

static void late_request(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

static void late_sync(struct scene *s)
{
	sink += (uint64_t)heapd_sync(s->heap);
}

static void late_collect(struct scene *s)
{
	sink += (uint64_t)heapd_collect(s->heap);
}

static void late_online(struct scene *s)
{
	heapd_thread_offline(s->heap);
	heapd_thread_online(s->heap);
}

static void late_online_again(struct scene *s)
{
	heapd_thread_online(s->heap);
}

/* As if who had the record before had answered. */
static void late_published(struct scene *s)
{
	record_here()->published_cycle = heapd_now_cycle(HEAPD_LOAD_ACQUIRE(&s->tables.directory->cycle.now));
	late_store(s);
}

static void late_detach(struct scene *s)
{
	heapd_thread_detach(s->heap);
}

/* Somebody took the signal: the agent leaves word of it, which the next call passes on. */
static void prepare_handler_lost(struct scene *s)
{
	prepare_fields(s);
	for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
		signal(n, SIG_IGN);
}

static void prepare_report(struct scene *s)
{
	prepare_handler_lost(s);
	wait_scan(s);
	usleep(30000);
}

static void prepare_blocked(struct scene *s)
{
	prepare_fields(s);
	signals_block();
}

static void *end_silently(void *heap)
{
	heapd_thread_attach(heap);
	syscall(SYS_exit, 0);
	return NULL;
}

/* A thread that ended without the library's hearing of it. */
static void prepare_silent(struct scene *s)
{
	pthread_t thread;

	prepare_fields(s);
	if (pthread_create(&thread, NULL, end_silently, s->heap) != 0)
		errx(1, "pthread_create");
	usleep(20000);
}

/* Ranges, local ranges and an open edit, of a thread that is offline. */
static void prepare_much(struct scene *s)
{
	static void *table[8];

	prepare_fields(s);
	table[0] = s->others[0];
	sink += (uint64_t)heapd_range_add(s->heap, table, sizeof(table));
	sink += (uint64_t)heapd_local_add(s->heap, s->text, sizeof(s->text));
	sink += (uint64_t)heapd_edit_begin(s->others[0], sizeof(struct node));
}

static void prepare_much_offline(struct scene *s)
{
	prepare_much(s);
	heapd_thread_offline(s->heap);
}

static void prepare_probed(struct scene *s)
{
	prepare_much(s);
	probes_on();
}

/* Other stacks ------------------------------------------------------------------------------------------------------- */

static struct scene *spinning;
static ucontext_t here, there;

/* The signal is kept back until here. */
static void spin_there(void)
{
	signals_unblock();
	spin(spinning);
}

static void stack_make(struct scene *s)
{
	spinning = s;
	getcontext(&there);
	there.uc_stack.ss_size = STACK;
	there.uc_stack.ss_sp = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	there.uc_link = &here;
	if (there.uc_stack.ss_sp == MAP_FAILED)
		err(1, "mmap");
	makecontext(&there, spin_there, 0);
	signals_block();
}

/* On a stack that heapd does not know of. */
static void prepare_stray(struct scene *s)
{
	prepare_fields(s);
	stack_make(s);
}

static void prepare_fibre(struct scene *s)
{
	prepare_stray(s);
	sink += (uint64_t)heapd_local_add(s->heap, there.uc_stack.ss_sp, STACK);
}

/* Where the kernel does not say which pages there are. */
static void prepare_fibre_blind(struct scene *s)
{
	prepare_fibre(s);
	calls_fail(CALL_OPEN, 1, UINT_MAX, EACCES);
}

static void fibre(struct scene *s)
{
	(void)s;
	swapcontext(&here, &there);
}

static void spin_in_handler(int number)
{
	(void)number;
	signals_unblock();
	spin(spinning);
}

static void prepare_alternate(struct scene *s)
{
	struct sigaction action = { .sa_handler = spin_in_handler, .sa_flags = SA_ONSTACK };
	stack_t stack;

	prepare_stray(s);
	stack = there.uc_stack;
	stack.ss_flags = 0;
	if (sigaltstack(&stack, NULL) < 0 || sigaction(SIGUSR1, &action, NULL) < 0)
		err(1, "sigaltstack");
}

static void alternate(struct scene *s)
{
	(void)s;
	raise(SIGUSR1);
}

/* A fibre's thread answers at its own call. */
static void late_there(void)
{
	late_request(spinning);
}

/* Nor by a store, on a stack that heapd does not know of: the second one finds all as the first has left it. */
static void late_stores_there(void)
{
	late_store(spinning);
	late_store(spinning);
}

static void late_fibre_make(struct scene *s, void (*run)(void))
{
	prepare_fields(s);
	stack_make(s);
	makecontext(&there, run, 0);
	signals_block();
	wait_scan(s);
}

static void prepare_late_fibre(struct scene *s)
{
	late_fibre_make(s, late_there);
}

/* There, too, signals are kept back. */
static void prepare_late_stores(struct scene *s)
{
	late_fibre_make(s, late_stores_there);
	pthread_sigmask(SIG_SETMASK, NULL, &there.uc_sigmask);
}

static void answered(struct scene *s)
{
	late_request(s);
	signals_unblock();
}

/* What the agent sees besides ---------------------------------------------------------------------------------------- */

static int watched_ends[2];

static void prepare_watches(struct scene *s)
{
	prepare_fields(s);
	for (unsigned i = 0; i < 2; i++)
		watched_ends[i] =
			heapd_wait_fd(s->heap, (uint32_t *)&((struct node *)s->others[i])->word[0], 0);
}

static void watches(struct scene *s)
{
	struct node *n = s->others[0];

	n->word[0] = 1;
	close(watched_ends[1]);
	spin(s);
}

/* The agent's first instructions, and its last. */
static void attach(struct scene *s)
{
	if (heapd_attach(&s->heap, FIXTURE_HEAP, NULL) == 0)
		spin(s);
}

static void detach(struct scene *s)
{
	heapd_detach(s->heap);
	spin(s);
}

#define LATE(name_, run_) OPERATION("late-" name_, prepare_late, run_, IN_MAIN, ONCE)
#define AGENT(name_, prepare_, run_, rounds_)                                                    \
	{                                                                                        \
		.name = "agent-" name_, .prepare = (prepare_), .run = (run_), .where = IN_AGENT, \
		.barriers = ONCE, .rounds = (rounds_)                                            \
	}

const struct operation answers[] = {
	LATE("store", late_store),
	LATE("exchange", late_exchange),
	LATE("cas", late_compare),
	LATE("zero", late_zero),
	LATE("move", late_move),
	LATE("weak", late_weak),
	LATE("free", late_free),
	LATE("refill", late_refill),
	LATE("request", answered),
	LATE("sync", late_sync),
	LATE("collect", late_collect),
	LATE("online", late_online),
	LATE("online-again", late_online_again),
	LATE("published", late_published),
	LATE("detach", late_detach),
	OPERATION("late-fibre", prepare_late_fibre, fibre, IN_MAIN, ONCE),
	OPERATION("late-fibre-stores", prepare_late_stores, fibre, IN_MAIN, ONCE),
	OPERATION("report", prepare_report, late_request, IN_MAIN, ONCE),
	OPERATION("answer-much", prepare_much, spin, IN_SIGNAL, ONCE),
	OPERATION("answer-probed", prepare_probed, spin, IN_SIGNAL, ONCE),
	OPERATION("answer-stray", prepare_stray, fibre, IN_SIGNAL, ONCE),
	OPERATION("answer-fibre", prepare_fibre, fibre, IN_SIGNAL, ONCE),
	OPERATION("answer-fibre-blind", prepare_fibre_blind, fibre, IN_SIGNAL, ONCE),
	OPERATION("answer-alternate", prepare_alternate, alternate, IN_SIGNAL, ONCE),
	AGENT("much", prepare_much_offline, spin, 3),
	AGENT("handler", prepare_handler_lost, spin, 8),
	AGENT("silent", prepare_silent, spin, 8),
	AGENT("stray", prepare_stray, fibre, 30),
	AGENT("blocked", prepare_blocked, spin, 120),
	AGENT("watches", prepare_watches, watches, 12),
	AGENT("end", prepare_fields, detach, 100),
	OPERATION("agent-begin", prepare_detached, attach, IN_CREATED, ONCE),
	{ 0 },
};
