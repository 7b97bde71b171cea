/* SPDX-License-Identifier: MIT */
/*
 * Owns the life of the stress's processes and threads.
 */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixture.h"

#include "graph.h"
#include "stash.h"

#define THREADS_MAX 16u

struct process {
	struct stress *stress;
	heapd_heap *heap;
	uint64_t random;
	_Atomic uint64_t forks;
	unsigned threads, index;
};

static bool is_over(const struct stress *stress)
{
	return atomic_load_explicit(&stress->stop, memory_order_relaxed) ||
	       atomic_load_explicit(&stress->failed, memory_order_relaxed);
}

static void must(struct stress *stress, int r)
{
	if (r < 0)
		stress_fail(stress, heapd_error(), NULL, (uint64_t)-r, 0);
}

static void actor_init(struct actor *a, struct process *p)
{
	*a = (struct actor){
		.heap = p->heap,
		.stress = p->stress,
		.forks = &p->forks,
		.random = p->random ^ atomic_fetch_add(&p->stress->ids, 1) * 0x9e3779b97f4a7c15ull,
	};
	if (!a->random)
		a->random = 1;
	for (unsigned i = 0; i < 8; i++)
		node_random(a);
	must(p->stress, graph_open(a));
}

static void actor_account(struct actor *a)
{
	atomic_fetch_add_explicit(&a->stress->checks, a->checks, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->stress->steps, a->steps, memory_order_relaxed);
	a->checks = a->steps = 0;
}

static void steps(struct actor *a, struct stash *s, unsigned n)
{
	for (unsigned i = 0; i < n && !is_over(a->stress); i++) {
		uint64_t r = node_random(a);

		if (r % 4 == 0)
			stash_step(s);
		else
			graph_step(a);
		if (r % 16 == 5)
			node_garbage(a, 8);
		if (r % 256 == 7)
			stash_check(s);
		if (++a->steps % 256 == 0)
			actor_account(a);
	}
}

/* The child inherits this thread's stack and all of the process's roots. */
static void fork_one(struct actor *a, struct stash *s)
{
	pid_t parent = getpid(), pid;

	stash_share(s);
	atomic_fetch_add(a->forks, 1); /* before the first pin is copied: see stash.c */
	pid = fork();
	if (pid < 0)
		return;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		a->random ^= (uint64_t)getpid() << 32;
		/* NOLINTNEXTLINE: whoever cannot have a heap says why */
		if (!heapd_heap_of(a->table))
			stress_fail(a->stress, heapd_error(), NULL, 0, 0);
		stash_inherit(s);
		stash_check(s);
		steps(a, s, 300);
		stash_check(s);
		_exit(0);
	}
	steps(a, s, 100);
	if (node_random(a) % 4 == 0)
		kill(pid, SIGKILL);
	int status, r;
	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r == pid && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
	    !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		stress_fail(a->stress, "a forked child ended", NULL, (uint64_t)status, 0);
}

static __attribute__((noinline)) void live(struct process *p)
{
	void *volatile words[STASH_WORDS] = { NULL };
	struct actor a;
	struct stash *s;

	actor_init(&a, p);
	s = stash_open(&a, words);
	if (!s)
		return;
	for (unsigned round = 0; round < 40 && !is_over(p->stress); round++) {
		steps(&a, s, 256);
		if (node_random(&a) % 16 == 0)
			fork_one(&a, s);
	}
	if (node_random(&a) % 8)
		stash_close(s);
	else /* its roots stay, as they do of careless programs */
		stash_drop_stack(s);
	actor_account(&a);
}

static void *thread_main(void *arg)
{
	struct process *p = (struct process *)arg;

	live(p);
	if (atomic_fetch_add(&p->stress->ids, 1) % 2 == 0) {
		heapd_thread_detach(p->heap);
		live(p);
	}
	return NULL;
}

/* Ranges of a process end with it, or with its attachment, so the careless ones above do no harm. */
static void attachment(struct process *p)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;

	options.flags = p->index % 4 == 3 ? HEAPD_ATTACH_NO_RSEQ : 0;
	must(p->stress, heapd_attach(&p->heap, FIXTURE_HEAP, &options));
	while (started < p->threads && !pthread_create(&threads[started], NULL, thread_main, p))
		started++;
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	must(p->stress, heapd_detach(p->heap));
}

/* Ends in one of several ways. */
static int process_main(void *arg)
{
	struct process *p = (struct process *)arg;

	for (unsigned i = 0; i < 4 && !is_over(p->stress); i++)
		attachment(p);
	if (p->random % 4 == 0) {
		must(p->stress, heapd_attach(&p->heap, FIXTURE_HEAP, NULL));
		if (!heapd_pin(p->heap, heapd_alloc(p->heap, 64)))
			return 1;
		execl("/bin/sleep", "sleep", "0.3", (char *)NULL);
	}
	return atomic_load(&p->stress->failed);
}

pid_t stress_worker_start(struct stress *stress, unsigned threads, unsigned index)
{
	struct process p = { .stress = stress, .threads = threads, .index = index };

	p.random = (stress->seed + index + 1) * 0x9e3779b97f4a7c15ull;
	p.random ^= p.random >> 29;
	return fixture_client_fork(process_main, &p);
}

static __attribute__((noinline)) void drop_all(heapd_heap *heap)
{
	if (heapd_root_set(heap, "table", NULL) < 0) {
		fprintf(stderr, "stress: %s\n", heapd_error());
		_exit(1);
	}
}

int stress_settle(void *arg)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);
	heapd_heap *heap;

	(void)arg;
	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0)
		return fprintf(stderr, "stress: %s\n", heapd_error()), 1;
	drop_all(heap);
	/* Each cycle's signal wakes it. */
	for (uint64_t end = fixture_now_ns() + STASH_TICKET_SECONDS * UINT64_C(1000000000);
	     fixture_now_ns() < end;)
		usleep(100000);
	if (heapd_ticket_take(heap, "")) /* the daemon looks for those whose time has passed */
		return 1;
	for (unsigned i = 0; i < 2; i++) {
		stack_wipe();
		if (heapd_collect(heap) < 0)
			return fprintf(stderr, "stress: %s\n", heapd_error()), 1;
	}
	if (heapd_verify(heap, &v) != 0)
		return fprintf(stderr, "stress: verify: %s%s\n", heapd_error(), v.first), 1;
	if (v.allocated) {
		fprintf(stderr, "stress: %llu bytes are left when nothing leads to them\n",
			(unsigned long long)v.allocated);
		return 1;
	}
	return heapd_detach(heap) < 0;
}
