/* SPDX-License-Identifier: MIT */
/*
 * lives.c - owns the tracing of keeper and daemons.
 *
 * A daemon is known from the keeper's fork, is given its breaks when it has executed its program, before its first
 * instruction, and each of its threads when it begins: a debug register is a thread's own. So no instruction of it is
 * missed, those of recovery no more than others.
 */
#include "lives.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"

#define FOLLOWED (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

static void breaks_set(const struct lives *l, pid_t tid)
{
	uint64_t enabled = 0;

	for (size_t i = 0; i < l->nbreaks; i++) {
		ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, u_debugreg) + 8ul * i,
		       l->breaks[i] + l->bias);
		enabled |= 1ull << (2 * i);
	}
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, u_debugreg) + 56ul, enabled);
}

static uint64_t bias_of(pid_t pid)
{
	unsigned long long start = 0;
	char path[64];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps || fscanf(maps, "%llx", &start) != 1)
		start = 0;
	if (maps)
		fclose(maps);
	return start;
}

static uint64_t ip_of(pid_t tid)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, regs.rip), 0);
}

static pid_t group_of(pid_t tid)
{
	char path[64], line[128];
	pid_t group = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	while (file && !group && fgets(line, sizeof(line), file))
		sscanf(line, "Tgid: %d", &group);
	if (file)
		fclose(file);
	return group;
}

static bool is_break(const struct lives *l, uint64_t at)
{
	for (size_t i = 0; i < l->nbreaks; i++)
		if (l->breaks[i] + l->bias == at)
			return true;
	return false;
}

/* A stop of the keeper's, the daemon's or one of its threads': goes on, but at a break. */
static void stopped(struct lives *l, pid_t tid, int status)
{
	int event = status >> 16, number = WSTOPSIG(status);
	uint64_t at = tid == l->keeper ? 0 : ip_of(tid);

	if (event == PTRACE_EVENT_EXEC) {
		l->daemon = tid;
		l->bias = bias_of(tid);
		l->born++;
		breaks_set(l, tid);
	} else if (event == PTRACE_EVENT_STOP && tid != l->keeper && group_of(tid) == l->daemon &&
		   tid != l->daemon) {
		breaks_set(l, tid);
	} else if (!event && number == SIGTRAP && l->daemon && is_break(l, at)) {
		l->hit = at - l->bias;
		kill(l->daemon, SIGKILL);
		return;
	}
	ptrace(PTRACE_CONT, tid, 0L, event || number == SIGTRAP ? 0L : (long)number);
}

static void on_event(struct lives *l, pid_t tid, int status)
{
	if (WIFSTOPPED(status)) {
		stopped(l, tid, status);
		return;
	}
	if (tid == l->keeper)
		errx(1, "the keeper ended with status 0x%x", (unsigned)status);
	if (tid == l->daemon)
		l->daemon = 0;
}

void lives_begin(struct lives *l, pid_t keeper)
{
	*l = (struct lives){ .keeper = keeper };
	if (ptrace(PTRACE_SEIZE, keeper, 0, FOLLOWED) < 0)
		err(1, "ptrace");
}

/*
 * The death of one that is traced is told here before the keeper hears of it. That of the first, which was born before
 * the tracing, is not: its successor's birth is what shows it.
 */
void lives_run(struct lives *l, const _Atomic uint32_t *word, uint64_t ns, bool kill_then)
{
	uint64_t end = fixture_now_ns() + ns;
	pid_t victim = 0;
	bool over = false;
	int status;

	l->hit = 0;
	while (!over || (victim && l->daemon == victim)) {
		pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

		if (tid > 0)
			on_event(l, tid, status);
		else
			usleep(50);
		if (!over && (l->hit || (word && *word) || fixture_now_ns() > end)) {
			over = true;
			if (kill_then && l->daemon)
				kill(victim = l->daemon, SIGKILL);
		}
	}
}

/* One thread after the other is stopped, and left alone. */
static void leave(pid_t tid)
{
	int status;

	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
		return;
	while (waitpid(tid, &status, __WALL) < 0 && errno == EINTR)
		;
	ptrace(PTRACE_DETACH, tid, 0, 0);
}

void lives_end(struct lives *l)
{
	char path[64];

	if (l->daemon) {
		snprintf(path, sizeof(path), "/proc/%d/task", l->daemon);
		for (pid_t tid = l->daemon; tid < l->daemon + 4096; tid++)
			if (group_of(tid) == l->daemon)
				leave(tid);
	}
	leave(l->keeper);
}
