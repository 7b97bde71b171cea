/* SPDX-License-Identifier: MIT */
/*
 * Running out: faults [--operation NAME] [--most N]
 *
 * Each operation is run again and again, its nth system call failing, for every n until it does not come to an nth one;
 * once with each of some errors, and with all that follow failing, too. However that goes, the process lives and ends by
 * itself, in time, and afterwards the heap is clean, the witness goes on, and two collections find alive what was alive
 * before.
 *
 * Calls that cannot fail are left alone: the ends of thread and process, the return from a signal; and futex, of which
 * glibc's own locks expect no failure.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "../slowness.h"
#include "course.h"

#define PATIENCE_MS 500
#define BOUND_NS    (15 * slowness() * UINT64_C(1000000000))

struct run {
	struct fixture fixture;
	struct scene scene;
	struct text library;
	pid_t witness;
	uint64_t live, faults, evicted;
	unsigned most;
	const char *only;
};

static const int errors[] = { ENOMEM, EMFILE, EAGAIN, EINTR };

/* For good: writes are the library's to its agent's eventfd, without which it could not be ended. */
static bool is_spared(long number, bool for_good)
{
	switch (number) {
	case SYS_write:
		return for_good;
	case SYS_futex:
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_restart_syscall:
	case SYS_gettid:
	case SYS_getpid:
	case SYS_sched_yield:
	case SYS_membarrier:
	case SYS_wait4:
		return true;
	default:
		return false;
	}
}

static long peek(pid_t tid, size_t at)
{
	return ptrace(PTRACE_PEEKUSER, tid, at, 0);
}

/* At a call's entry: it becomes none. */
static void call_drop(pid_t tid)
{
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.orig_rax), -1L);
}

static void call_fail(pid_t tid, int error)
{
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.rax), (long)-error);
}

static int wait_status(pid_t tid, uint64_t end, int *status)
{
	pid_t r;

	while ((r = waitpid(tid, status, __WALL | WNOHANG)) == 0) {
		if (fixture_now_ns() > end)
			return -ETIMEDOUT;
		usleep(20);
	}
	return r < 0 ? -errno : 0;
}

/* One run whose nth call fails. Its status in the end; *came: it came to an nth call. -ETIMEDOUT. */
static int run_failing(struct tracee *t, unsigned n, int error, bool for_good, bool *came)
{
	uint64_t end = fixture_now_ns() + BOUND_NS;
	bool inside = false, dropped = false;
	unsigned calls = 0;
	int status, signal = 0, r;

	*came = false;
	ptrace(PTRACE_SETOPTIONS, t->tid, 0, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		ptrace(PTRACE_SYSCALL, t->tid, 0L, (long)signal);
		r = wait_status(t->tid, end, &status);
		if (r < 0)
			return r;
		if (!WIFSTOPPED(status))
			return status;
		signal = WSTOPSIG(status);
		if (signal == SIGTRAP) { /* the mark behind the operation */
			signal = 0;
			continue;
		}
		if (signal != (SIGTRAP | 0x80)) {
			t->at = (uint64_t)peek(t->tid, offsetof(struct user, regs.rip));
			continue;
		}
		signal = 0;
		inside = !inside;
		if (inside && !is_spared(peek(t->tid, offsetof(struct user, regs.orig_rax)), for_good)) {
			calls++;
			dropped = calls == n || (for_good && calls > n);
			if (dropped)
				call_drop(t->tid);
		} else if (!inside && dropped) {
			call_fail(t->tid, error);
			dropped = false;
			*came = true;
		}
	}
}

/* Looking ---------------------------------------------------------------------------------------------------------- */

static uint64_t settle(struct run *run)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	struct heapd_info info = HEAPD_SIZED(info);
	uint64_t end = fixture_now_ns() + SCENE_PATIENCE_NS;

	guards_check(&run->scene);
	scene_clear(&run->scene);
	witness_pause(&run->scene);
	do {
		if (heapd_get_info(run->scene.heap, &info) < 0 || fixture_now_ns() > end)
			errx(1, "%" PRIu64 " sessions, not 2", info.sessions);
	} while (info.sessions != 2);
	for (unsigned i = 0; i < 2; i++)
		if (heapd_collect(run->scene.heap) < 0)
			errx(1, "collect: %s", heapd_error());
	if (heapd_verify(run->scene.heap, &result) != 0)
		errx(1, "verify: %s", *result.first ? result.first : heapd_error());
	witness_resume(&run->scene);
	if (*run->scene.board->wrong)
		errx(1, "%s", run->scene.board->wrong);
	return heapd_get_info(run->scene.heap, &info) < 0 ? 0 : info.gc_live_objects;
}

/* at: where the last signal found it. */
static void judge(struct run *run, const struct operation *o, unsigned n, int error, int status, uint64_t at)
{
	const char *what = strerrorname_np(error);
	char name[128];

	if (status == -ETIMEDOUT)
		errx(1, "%s: does not end with call %u failing (%s)", o->name, n, what);
	if (status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		run->evicted++;
	else if (status >= 0 && WIFSIGNALED(status))
		errx(1, "%s: ended by signal %d at %s with call %u failing (%s)", o->name, WTERMSIG(status),
		     text_name(&run->library, at, name, sizeof(name)), n, what);
}

/* False: the operation has no nth call. */
static bool fail_at(struct run *run, const struct stand *stand, unsigned n, int error, bool for_good)
{
	struct tracee t;
	bool came = false;
	pid_t parent;
	int status;

	if (!course_begin(stand, &t, &parent))
		errx(1, "%s did not begin", stand->operation->name);
	status = run_failing(&t, n, error, for_good, &came);
	judge(run, stand->operation, n, error, status, t.at);
	run->faults += came;
	return came;
}

static void fail_operation(struct run *run, const struct operation *o)
{
	const struct stand stand = { &run->scene, &run->library, &run->library, o };
	uint64_t before = run->faults, live;
	unsigned n;
	bool came = true;

	for (n = 1; came && (!run->most || n <= run->most); n++) {
		came = fail_at(run, &stand, n, errors[n % 4], false);
		for (unsigned e = 0; came && !run->most && e < 4; e++)
			came = fail_at(run, &stand, n, errors[e], false);
		if (came)
			fail_at(run, &stand, n, ENOMEM, true);
	}
	scene_pass(o->seconds * UINT64_C(1100000000));
	live = settle(run);
	if (live != run->live)
		errx(1, "%s: %" PRIu64 " objects are alive after two collections, not %" PRIu64, o->name,
		     live, run->live);
	printf("  %-18s %4u calls %5" PRIu64 " faults\n", o->name, n - 1, run->faults - before);
	fflush(stdout);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = { { "most", required_argument, NULL, 'm' },
						 { "operation", required_argument, NULL, 'o' },
						 { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			run->most = (unsigned)atoi(optarg);
		else if (c == 'o')
			run->only = optarg;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	static const char *const settings[] = { "heap.test.GCPercent=10000", "daemon.LogLevel=warning",
						NULL };
	static struct run run;

	read_options(&run, argc, argv);
	fixture_start(&run.fixture, settings);
	text_load(&run.library, (const void *)(uintptr_t)&heapd_version);
	run.scene.patience_ms = PATIENCE_MS;
	scene_init(&run.scene, 0);
	run.witness = witness_start(&run.scene);
	while (!run.scene.board->progress)
		usleep(1000);
	run.live = settle(&run);
	for (unsigned i = 0; i < scene_noperations; i++)
		if (scene_operations[i].where == IN_MAIN &&
		    (!run.only || strcmp(run.only, scene_operations[i].name) == 0))
			fail_operation(&run, &scene_operations[i]);
	printf("%" PRIu64 " calls failed; %" PRIu64 " processes ended by the daemon\n", run.faults,
	       run.evicted);
	run.scene.board->stop = 1;
	fixture_wait(run.witness, 0);
	if (heapd_detach(run.scene.heap) < 0)
		errx(1, "%s", heapd_error());
	fixture_stop(&run.fixture);
	return 0;
}
