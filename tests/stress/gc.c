/* SPDX-License-Identifier: MIT */
/*
 * The collector under stress: processes with threads mutate a shared graph and hide nodes of their own, while cycles
 * run back to back, and processes are killed, stopped and continued. Whatever is reached and was taken back is seen by
 * the sums that nodes carry (node.h). In the end, when all processes are gone, two collections leave what the roots lead to and
 * nothing else; then all is dropped, and nothing may be left.
 *
 * HEAPD_STRESS_SECONDS (20), HEAPD_STRESS_PROCESSES (4), HEAPD_STRESS_THREADS (3), HEAPD_STRESS_SETTING (one more
 * setting of the daemon's), HEAPD_TEST_SEED. Exit status: 0; 1: something is wrong, and was said.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bound.h"
#include "tests/fixture.h"
#include "worker.h"

#define PROCESSES_MAX 16u
#define STUCK_NS      UINT64_C(30000000000)

struct arena {
	struct fixture fixture;
	struct stress *stress;
	struct {
		pid_t pid;
		bool killed;
	} workers[PROCESSES_MAX];
	unsigned processes, threads, started;
	uint64_t kills, stops, moved; /* when steps last grew */
	uint64_t steps_seen;
};

static unsigned number(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text && *text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void nap_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l }, NULL);
}

static bool failed(struct arena *g, const char *what)
{
	if (!atomic_exchange(&g->stress->failed, true))
		snprintf(g->stress->what, sizeof(g->stress->what), "%s", what);
	return true;
}

static void start(struct arena *g, unsigned i)
{
	g->workers[i].pid = stress_worker_start(g->stress, g->threads, g->started++);
	g->workers[i].killed = false;
}

/* False: it was neither told to end nor killed by us. */
static bool ended_well(const struct arena *g, unsigned i, int status)
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status) == 0;
	return g->workers[i].killed && WTERMSIG(status) == SIGKILL;
}

static void reap(struct arena *g, bool again)
{
	char what[128];
	int status;

	for (unsigned i = 0; i < g->processes; i++) {
		if (!g->workers[i].pid || waitpid(g->workers[i].pid, &status, again ? WNOHANG : 0) <= 0)
			continue;
		g->workers[i].pid = 0;
		if (!ended_well(g, i, status)) {
			snprintf(what, sizeof(what), "a process ended with status 0x%x (signal %d)",
				 (unsigned)status, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
			failed(g, what);
		} else if (again) {
			start(g, i);
		}
	}
}

static void disturb(struct arena *g)
{
	unsigned i = (unsigned)(drand48() * g->processes);
	pid_t pid = g->workers[i].pid;

	if (!pid)
		return;
	if (drand48() < 0.15) {
		g->workers[i].killed = true;
		kill(pid, SIGKILL);
		g->kills++;
	} else if (drand48() < 0.2) {
		kill(pid, SIGSTOP);
		nap_ms((unsigned)(drand48() * 30));
		kill(pid, SIGCONT);
		g->stops++;
	}
}

static bool is_stuck(struct arena *g)
{
	uint64_t steps = atomic_load(&g->stress->steps), now = fixture_now_ns();

	if (steps != g->steps_seen || !g->moved) {
		g->steps_seen = steps;
		g->moved = now;
	}
	return now - g->moved > STUCK_NS && failed(g, "nobody has done anything for 30 s");
}

static void run(struct arena *g, unsigned seconds)
{
	uint64_t end = fixture_now_ns() + seconds * UINT64_C(1000000000), verified = fixture_now_ns();

	for (unsigned i = 0; i < g->processes; i++)
		start(g, i);
	while (fixture_now_ns() < end && !atomic_load(&g->stress->failed) && !is_stuck(g)) {
		nap_ms(10);
		reap(g, true);
		disturb(g);
		if (fixture_now_ns() - verified < 300000000u)
			continue;
		if (fixture_verify_strictly(&g->fixture, FIXTURE_HEAP) != 0)
			failed(g, "the heap is not clean");
		verified = fixture_now_ns();
	}
}

static void thread_print(const char *task, const char *thread)
{
	static const char *const said[] = { "comm", "wchan", "syscall" };
	char path[400], line[200];

	printf("  thread %s:", thread);
	for (unsigned i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", task, thread, said[i]);
		FILE *file = fopen(path, "r");
		if (file && fgets(line, sizeof(line), file))
			printf(" %.*s", (int)strcspn(line, "\n"), line);
		if (file)
			fclose(file);
	}
	printf("\n");
}

/* Who waits for something that does not come wants to know what the daemon was at. */
static void daemon_print(const struct arena *g)
{
	char task[64];
	struct dirent *entry;

	snprintf(task, sizeof(task), "/proc/%d/task", g->fixture.daemon);
	DIR *d = opendir(task);
	while (d && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			thread_print(task, entry->d_name);
	if (d)
		closedir(d);
}

static void stop(struct arena *g)
{
	if (atomic_load(&g->stress->failed)) {
		daemon_print(g);
		for (unsigned i = 0; i < g->processes; i++)
			if (g->workers[i].pid) {
				g->workers[i].killed = true;
				kill(g->workers[i].pid, SIGKILL);
			}
	}
	atomic_store(&g->stress->stop, true);
	reap(g, false);
}

/* In a process of its own, which ends well. */
static bool is_so(int (*holds)(void *), void *arg)
{
	int status;
	pid_t pid = fixture_client_fork(holds, arg);

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void settle(struct arena *g)
{
	if (!is_so(stress_bound, NULL))
		failed(g, "garbage was left after two collections");
	else if (!is_so(stress_settle, g->stress))
		failed(g, "not all came back in the end");
}

static void begin(struct arena *g)
{
	static const char *settings[] = { "heap.test.GCPercent=100", "heap.test.Debug=stress", NULL, NULL };

	settings[2] = getenv("HEAPD_STRESS_SETTING");
	g->stress = (struct stress *)mmap(NULL, sizeof(*g->stress), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (g->stress == MAP_FAILED)
		abort();
	g->stress->seed = fixture_seed();
	srand48((long)g->stress->seed);
	g->processes = number("HEAPD_STRESS_PROCESSES", 4);
	g->threads = number("HEAPD_STRESS_THREADS", 3);
	if (g->processes > PROCESSES_MAX)
		g->processes = PROCESSES_MAX;
	fixture_start(&g->fixture, settings);
}

int main(void)
{
	static struct arena g;
	uint64_t began = fixture_now_ns();

	setvbuf(stdout, NULL, _IOLBF, 0);
	begin(&g);
	run(&g, number("HEAPD_STRESS_SECONDS", 20));
	stop(&g);
	if (!atomic_load(&g.stress->failed))
		settle(&g);
	printf("%.1f s: %" PRIu64 " steps, %" PRIu64 " checks; %u processes, %" PRIu64 " killed, %" PRIu64
	       " stopped\n",
	       (double)(fixture_now_ns() - began) / 1e9, atomic_load(&g.stress->steps),
	       atomic_load(&g.stress->checks), g.started, g.kills, g.stops);
	if (atomic_load(&g.stress->failed)) {
		printf("FAILED: %s\n", g.stress->what);
		exit(1);
	}
	fixture_stop(&g.fixture);
	return 0;
}
