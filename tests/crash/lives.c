/* SPDX-License-Identifier: MIT */
/*
 * lives.c - owns the tracing of keeper and daemons.
 *
 * A daemon is known from the keeper's fork, and is given its breaks when it has executed its program, before its first
 * instruction. So no instruction of it is missed, those of recovery no more than others. A break is an int3 in its text: all
 * its threads have it, and there may be any number. What stood there is not put back, since who comes there is killed; or,
 * where places are only to be learnt, as the first thread comes there: others may stand behind the same break by then.
 */
#include "lives.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"

#define FOLLOWED (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC)

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

/* The one that a thread stands behind; NULL: none. */
static const uint64_t *break_find(const struct lives *l, uint64_t ip)
{
	size_t low = 0, high = l->nbreaks;
	uint64_t at = ip - 1 - l->bias;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (l->breaks[middle] == at)
			return &l->breaks[middle];
		if (l->breaks[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* -1: the daemon has just been killed, and by somebody else. */
static int memory_open(const struct lives *l)
{
	char path[64];
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", l->daemon);
	memory = open(path, O_RDWR | O_CLOEXEC);
	if (memory < 0 && errno != ESRCH && errno != ENOENT)
		err(1, "%s", path);
	return memory;
}

void lives_arm(struct lives *l)
{
	const unsigned char int3 = 0xcc;
	int memory;

	if (!l->daemon || !l->nbreaks)
		return;
	memory = memory_open(l);
	if (memory < 0)
		return;
	/* Nothing can be written to one that has just ended. */
	for (size_t i = 0; i < l->nbreaks; i++) {
		off_t at = (off_t)(l->breaks[i] + l->bias);

		if ((l->pass && pread(memory, &l->were[i], 1, at) < 0) || pwrite(memory, &int3, 1, at) < 0)
			err(1, "a break at 0x%llx", (unsigned long long)l->breaks[i]);
	}
	close(memory);
}

static void pass(const struct lives *l, pid_t tid, const uint64_t *at)
{
	int memory = memory_open(l);
	uint64_t ip = *at + l->bias;

	/* The thread may be being killed. */
	if (memory >= 0 && pwrite(memory, &l->were[at - l->breaks], 1, (off_t)ip) == 1)
		ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.rip), ip);
	if (memory >= 0)
		close(memory);
	l->pass(l->arg, *at);
}

/* By a signal that stops it: nothing of it goes on until it is told to. */
static bool is_stopped(int status)
{
	int number = WSTOPSIG(status);

	return status >> 16 == PTRACE_EVENT_STOP && (number == SIGSTOP || number == SIGTSTP);
}

/* A stop of the keeper's, the daemon's or one of its threads': goes on, but at a break. */
static void stopped(struct lives *l, pid_t tid, int status)
{
	int event = status >> 16, number = WSTOPSIG(status);
	const uint64_t *at = NULL;

	if (!event && l->daemon &&
	    (number == SIGSEGV || number == SIGABRT || number == SIGILL || number == SIGFPE))
		errx(1, "the daemon crashes by signal %d", number);
	if (event == PTRACE_EVENT_EXEC) {
		l->daemon = tid;
		l->bias = bias_of(tid);
		l->born++;
		lives_arm(l);
	} else if (!event && number == SIGTRAP && l->daemon && tid != l->keeper) {
		at = break_find(l, ip_of(tid));
	}
	if (at && !l->pass) {
		l->hit = *at;
		kill(l->daemon, SIGKILL);
		return;
	}
	if (at)
		pass(l, tid, at);
	if (is_stopped(status))
		ptrace(PTRACE_LISTEN, tid, 0L, 0L);
	else
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
	l->keeper = keeper;
	if (ptrace(PTRACE_SEIZE, keeper, 0, FOLLOWED) < 0)
		err(1, "ptrace");
}

/* What has happened, or a moment in which nothing does. */
static void turn(struct lives *l)
{
	int status;
	pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

	if (tid > 0)
		on_event(l, tid, status);
	else
		usleep(50);
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

	l->hit = 0;
	while (!over || (victim && l->daemon == victim)) {
		turn(l);
		if (!over && (l->hit || (word && *word) || fixture_now_ns() > end)) {
			over = true;
			if (kill_then && l->daemon)
				kill(victim = l->daemon, SIGKILL);
		}
	}
}

void lives_ask(struct lives *l, uint64_t ns)
{
	uint64_t end = fixture_now_ns() + ns;
	pid_t daemon = l->daemon;

	l->hit = 0;
	if (!daemon)
		return;
	kill(daemon, SIGTERM);
	while (l->daemon == daemon) {
		turn(l);
		if (fixture_now_ns() > end)
			kill(daemon, SIGKILL);
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

/* All of them, however late one began: one that is left traced would keep its process from ending. */
static void leave_threads(pid_t pid)
{
	char path[64];
	const struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (*entry->d_name != '.')
			leave((pid_t)atoi(entry->d_name));
	if (tasks)
		closedir(tasks);
}

static bool is_traced_by_us(const char *pid)
{
	char path[320], line[128];
	int tracer = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	if (status)
		fclose(status);
	return tracer == getpid();
}

/*
 * Processes that the daemon forked: one that was born as its threads were left stands before its first instruction still, and shares
 * the daemon's files, whose locks would keep the next one out.
 */
static void leave_children(void)
{
	const struct dirent *entry;
	DIR *processes = opendir("/proc");

	while (processes && (entry = readdir(processes)))
		if (*entry->d_name >= '1' && *entry->d_name <= '9' && is_traced_by_us(entry->d_name))
			leave((pid_t)atoi(entry->d_name));
	if (processes)
		closedir(processes);
}

void lives_end(struct lives *l)
{
	if (l->daemon)
		leave_threads(l->daemon);
	leave(l->keeper);
	leave_children();
}
