/* SPDX-License-Identifier: MIT */
/*
 * crew.c - owns the workers of a contender and the memory that they share with their leader.
 *
 * Right because each word has one writer at a time: order is the leader's, ready and done are counted up by
 * the workers and reset by the leader while none is under way, reports belong to their worker until it counts
 * itself done (release), to the leader afterwards (acquire).
 */
#include "crew.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ORDER_NONE, ORDER_RUN, ORDER_STOP };

struct desk {
	uint32_t order; /* futex: ORDER_ in the low bits, counted up above them */
	struct bench_report report;
} __attribute__((aligned(128)));

struct board {
	struct bench_request request;
	uint32_t begun __attribute__((aligned(128))); /* futexes, from here on */
	uint32_t ready __attribute__((aligned(128)));
	uint32_t go __attribute__((aligned(128)));
	uint32_t done __attribute__((aligned(128)));
	uint32_t refused; /* an errno value of a worker that could not begin */
	uint32_t mix[BENCH_MIXED];
	struct desk desks[BENCH_PROCS];
};

struct crew {
	struct board *board;
	struct bench_trade trade;
	unsigned nworkers;
	unsigned next; /* the worker that is being started */
	pid_t pids[BENCH_PROCS];
	pthread_t threads[BENCH_PROCS];
	uint32_t rounds;
	unsigned processors;
};

static void futex_wait(uint32_t *word, uint32_t seen)
{
	const struct timespec second = { .tv_sec = 1 };

	syscall(SYS_futex, word, FUTEX_WAIT, seen, &second, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void count_up(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_RELEASE);
	futex_wake(word);
}

static uint64_t clock_read(clockid_t clock)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_delay(const struct bench_worker *w)
{
	char text[96];
	ssize_t n = pread(w->schedstat, text, sizeof(text) - 1, 0);
	char *second;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) : 0;
}

/* Threads and processes alike: each worker is one thread of interest. */
static void usage_read(struct bench_report *usage)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	usage->cpu = clock_read(CLOCK_THREAD_CPUTIME_ID);
	usage->faults = (uint64_t)(ru.ru_minflt + ru.ru_majflt);
	usage->waits = (uint64_t)ru.ru_nvcsw;
}

static void worker_run(struct crew *crew, struct bench_worker *w)
{
	struct board *board = crew->board;
	struct bench_report before, after, report = { 0 };
	uint32_t go = __atomic_load_n(&board->go, __ATOMIC_ACQUIRE);

	crew->trade.run(w, &board->request, board->request.warm_ns, &report);
	count_up(&board->ready);
	while (__atomic_load_n(&board->go, __ATOMIC_ACQUIRE) == go)
		futex_wait(&board->go, go);
	if (!report.failed) {
		report = (struct bench_report){ 0 };
		usage_read(&before);
		crew->trade.run(w, &board->request, board->request.run_ns, &report);
		usage_read(&after);
		report.cpu = after.cpu - before.cpu;
		report.faults = after.faults - before.faults;
		report.waits = after.waits - before.waits;
	}
	board->desks[w->index].report = report;
	count_up(&board->done);
}

static void worker_serve(struct crew *crew, unsigned index)
{
	struct board *board = crew->board;
	struct bench_worker w = { .index = index, .mix = board->mix };
	uint32_t seen = 0, *order = &board->desks[index].order;
	int r;

	w.schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	w.objects = mmap(NULL, BENCH_CHUNK * sizeof(void *), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	r = w.objects == MAP_FAILED ? errno : crew->trade.begin(&w, crew->trade.arg);
	if (r)
		__atomic_store_n(&board->refused, (uint32_t)r, __ATOMIC_RELAXED);
	count_up(&board->begun);
	while (!r) {
		uint32_t now = __atomic_load_n(order, __ATOMIC_ACQUIRE);

		if (now == seen)
			futex_wait(order, seen);
		else if ((now & 3) == ORDER_STOP)
			return;
		else
			worker_run(crew, &w);
		seen = now;
	}
}

static void *thread_main(void *arg)
{
	struct crew *crew = arg;

	worker_serve(crew, __atomic_fetch_add(&crew->next, 1, __ATOMIC_RELAXED));
	return NULL;
}

static int worker_start(struct crew *crew, unsigned index)
{
	if (crew->trade.threads)
		return pthread_create(&crew->threads[index], NULL, thread_main, crew);
	crew->pids[index] = fork();
	if (crew->pids[index] < 0)
		return errno;
	if (crew->pids[index] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		worker_serve(crew, index);
		_exit(0);
	}
	return 0;
}

/* A worker that died would be waited for without end. */
static void workers_alive(const struct crew *crew)
{
	siginfo_t info = { 0 };

	if (crew->trade.threads || waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
		return;
	fprintf(stderr, "bench: a worker (pid %d) ended with %s %d\n", info.si_pid,
		info.si_code == CLD_EXITED ? "exit status" : "signal", info.si_status);
	exit(1);
}

static void wait_for(struct crew *crew, uint32_t *word, uint32_t count)
{
	for (;;) {
		uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);

		if (now >= count)
			return;
		futex_wait(word, now);
		if (__atomic_load_n(word, __ATOMIC_RELAXED) == now)
			workers_alive(crew);
	}
}

struct crew *crew_start(unsigned nworkers, const struct bench_trade *trade)
{
	struct crew *crew =
		mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r = 0;

	if (crew == MAP_FAILED)
		return NULL;
	crew->trade = *trade;
	crew->nworkers = nworkers;
	crew->processors = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	crew->board =
		mmap(NULL, sizeof(*crew->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crew->board == MAP_FAILED)
		return NULL;
	bench_mix_fill(crew->board->mix);
	for (unsigned i = 0; i < nworkers && !r; i++)
		r = worker_start(crew, i);
	if (!r) {
		wait_for(crew, &crew->board->begun, nworkers);
		r = (int)crew->board->refused;
	}
	errno = r;
	return r ? NULL : crew;
}

static void order_give(struct crew *crew, unsigned index, uint32_t order)
{
	uint32_t *word = &crew->board->desks[index].order;

	__atomic_store_n(word, crew->rounds << 2 | order, __ATOMIC_RELEASE);
	futex_wake(word);
}

/*
 * Time per operation. With fewer processes than processors: each one's wall time, less what it waited for a
 * processor, which is the doing of others on the machine. Else that cannot be told from waiting for each other,
 * or for the daemon: wall time, as if each process had a processor of its own. In BENCH_PASS one operation takes
 * two. Where a part is not timed (BENCH_ALLOC), each worker's own timed part counts instead.
 */
static double answer_ns(const struct crew *crew, const struct bench_request *request, double wall,
			double timed, double delay, double ops)
{
	double share = (double)bench_min(request->procs, crew->processors);

	if (request->procs < crew->processors && request->loop != BENCH_PASS)
		return (timed - delay) / ops;
	return (request->loop == BENCH_ALLOC ? timed / request->procs : wall) * share / ops;
}

static void answer_fill(const struct crew *crew, const struct bench_request *request, uint64_t daemon,
			struct bench_answer *answer)
{
	uint64_t start = UINT64_MAX, end = 0;
	double ops = 0, timed = 0, delay = 0, cpu = 0, faults = 0, waits = 0;

	for (unsigned i = 0; i < request->procs; i++) {
		const struct bench_report *r = &crew->board->desks[i].report;

		start = r->start < start ? r->start : start;
		end = r->end > end ? r->end : end;
		ops += (double)r->ops;
		timed += (double)r->timed;
		delay += (double)r->delay;
		cpu += (double)r->cpu;
		faults += (double)r->faults;
		waits += (double)r->waits;
	}
	if (ops <= 0)
		ops = 1;
	answer->ns = answer_ns(crew, request, (double)(end - start), timed, delay, ops);
	answer->cpu_ns = request->loop == BENCH_ALLOC ? 0 : cpu / ops;
	answer->daemon_ns = (double)daemon / ops;
	answer->faults = faults / ops;
	answer->waits = waits / ops;
	answer->ops = ops;
}

int crew_run(struct crew *crew, const struct bench_request *request, int daemon, struct bench_answer *answer)
{
	struct board *board = crew->board;
	uint64_t daemon_before;
	clockid_t clock = 0;

	board->request = *request;
	board->ready = board->done = 0;
	crew->rounds++;
	for (unsigned i = 0; i < request->procs; i++)
		order_give(crew, i, ORDER_RUN);
	wait_for(crew, &board->ready, request->procs);

	bool counted = daemon && clock_getcpuclockid(daemon, &clock) == 0;
	daemon_before = counted ? clock_read(clock) : 0;
	count_up(&board->go);
	wait_for(crew, &board->done, request->procs);
	answer_fill(crew, request, counted ? clock_read(clock) - daemon_before : 0, answer);

	for (unsigned i = 0; i < request->procs; i++)
		if (board->desks[i].report.failed)
			return (int)board->desks[i].report.failed;
	return 0;
}

void crew_stop(struct crew *crew)
{
	crew->rounds++;
	for (unsigned i = 0; i < crew->nworkers; i++)
		order_give(crew, i, ORDER_STOP);
	for (unsigned i = 0; i < crew->nworkers; i++) {
		if (crew->trade.threads)
			pthread_join(crew->threads[i], NULL);
		else
			waitpid(crew->pids[i], NULL, 0);
	}
}
