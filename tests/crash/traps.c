/* SPDX-License-Identifier: MIT */
/*
 * traps.c - owns the processes that run into a trap.
 *
 * A trap is a one-byte int3 in place of an instruction's first byte, in the process's own copy of the library's pages. The trap comes
 * before the instruction: all before it was done, nothing of it. So it is inside a restartable sequence, too: who is killed where it stands
 * goes to no abort handler. Of a trap nothing is left when its process is gone; others never saw it.
 *
 * Who is stopped goes on with the instruction put back in its process. What it has forked before still has the trap, and whoever comes
 * to it there goes on in the same way. From inside a restartable sequence the kernel sends it to the abort handler then.
 *
 * All threads of the process are traced before it is told to go on, and what it creates and forks is traced from its first instruction.
 */
#include "traps.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"

#define TRAP     0xcc
#define KIN_MOST 2048u
#define FOLLOWED (PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL)

/* Threads that are traced, of all its processes. */
struct kin {
	pid_t tid[KIN_MOST];
	size_t n;
};

struct chase {
	const struct traps *traps;
	struct meeting *meeting;
	struct kin kin, others; /* others: children of this process that are none of them */
	struct capture capture;
	pid_t first;
	int status;   /* of that one */
	uint64_t end; /* whoever is there by then is late */
	bool killed;
};

/* The image -------------------------------------------------------------------------------------------------------- */

/* What stands before an abort handler is its signature, which the kernel reads. */
static bool is_signature(const struct text *text, uint64_t at)
{
	for (size_t i = 0; i < text->nsequences; i++)
		if (at < text->sequences[i].abort && at + 8 > text->sequences[i].abort)
			return true;
	return false;
}

static unsigned char byte_here(uint64_t at)
{
	return *(const volatile unsigned char *)(uintptr_t)at;
}

void traps_load(struct traps *traps, const struct text *text, bool stores)
{
	const struct instruction *last = &text->instructions[text->ninstructions - 1];

	/* What a killed process leaves behind comes to this one. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		err(1, "prctl");
	*traps = (struct traps){ .text = text, .low = text->instructions[0].at, .high = last->at + 1 };
	traps->image = malloc(traps->high - traps->low);
	if (!traps->image)
		err(1, "malloc");
	for (uint64_t at = traps->low; at < traps->high; at++)
		traps->image[at - traps->low] = byte_here(at);
	for (size_t i = 0; i < text->ninstructions; i++) {
		const struct instruction *in = &text->instructions[i];

		if (!in->covered && !in->padding && (in->writes || !stores) && !is_signature(text, in->at))
			traps->image[in->at - traps->low] = TRAP;
	}
}

void traps_free(struct traps *traps)
{
	free(traps->image);
	*traps = (struct traps){ 0 };
}

void traps_lift(struct traps *traps, uint64_t at)
{
	traps->image[at - traps->low] = byte_here(at);
}

static bool is_trap(const struct traps *traps, uint64_t at)
{
	return at >= traps->low && at < traps->high && traps->image[at - traps->low] == TRAP &&
	       text_find(traps->text, at);
}

static void plant(const struct traps *traps, pid_t pid)
{
	size_t size = traps->high - traps->low;
	char path[64];
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	memory = open(path, O_RDWR | O_CLOEXEC);
	if (memory < 0 || pwrite(memory, traps->image, size, (off_t)traps->low) != (ssize_t)size)
		err(1, "%s", path);
	close(memory);
}

/* Who is traced ------------------------------------------------------------------------------------------------------ */

static bool kin_has(const struct kin *k, pid_t tid)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->tid[i] == tid)
			return true;
	return false;
}

static void kin_add(struct kin *k, pid_t tid)
{
	if (kin_has(k, tid))
		return;
	if (k->n == KIN_MOST)
		errx(1, "more than %u threads", KIN_MOST);
	k->tid[k->n++] = tid;
}

static void kin_remove(struct kin *k, pid_t tid)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->tid[i] == tid) {
			k->tid[i] = k->tid[--k->n];
			return;
		}
}

/* Those that ended before their birth was told. */
static void kin_purge(struct kin *k)
{
	for (size_t i = k->n; i-- > 0;)
		if (kill(k->tid[i], 0) < 0 && errno == ESRCH)
			kin_remove(k, k->tid[i]);
}

/* Of this process, whose each of them has one thread that is its parent, and those whose parents died: see traps_load(). */
static void children_add(struct kin *k)
{
	FILE *file = fopen("/proc/thread-self/children", "re");
	int pid;

	if (!file)
		err(1, "children");
	while (fscanf(file, "%d", &pid) == 1)
		kin_add(k, pid);
	fclose(file);
}

/* Children that were not there before, killed: their parents were killed in forking them, and have told nobody. */
static bool has_orphans(struct chase *c)
{
	struct kin all = { .n = 0 };

	children_add(&all);
	for (size_t i = 0; i < all.n; i++)
		if (!kin_has(&c->others, all.tid[i])) {
			kin_add(&c->kin, all.tid[i]);
			kill(all.tid[i], SIGKILL);
		}
	return c->kin.n;
}

static void seize(struct kin *k, pid_t pid)
{
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		err(1, "%s", path);
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		pid_t tid = atoi(e->d_name);

		if (tid && ptrace(PTRACE_SEIZE, tid, 0, FOLLOWED) == 0)
			kin_add(k, tid);
	}
	closedir(dir);
}

static void kill_all(struct chase *c)
{
	for (size_t i = 0; i < c->kin.n; i++)
		kill(c->kin.tid[i], SIGKILL);
	c->killed = true;
}

/* What happens to them ------------------------------------------------------------------------------------------------ */

static bool is_fault(int signal)
{
	return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE ||
	       signal == SIGABRT || signal == SIGTRAP;
}

/* Its innermost words, for who wants to know how it came there. */
static void stack_read(pid_t tid, uint64_t words[CAPTURE_WORDS])
{
	uint64_t sp = (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, regs.rsp), 0);

	for (unsigned i = 0; i < CAPTURE_WORDS; i++)
		words[i] = (uint64_t)ptrace(PTRACE_PEEKDATA, tid, sp + 8ul * i, 0);
}

static uint64_t ip_of(pid_t tid)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, regs.rip), 0);
}

static void captured(struct chase *c, pid_t tid, int signal)
{
	siginfo_t info = { 0 };

	ptrace(PTRACE_GETSIGINFO, tid, 0, &info);
	c->capture = (struct capture){ .how = TRAPPED_FAULT,
				       .at = ip_of(tid),
				       .signal = signal,
				       .address = (uint64_t)(uintptr_t)info.si_addr };
	stack_read(tid, c->capture.stack);
	kill_all(c);
}

/* Before the instruction, which is whole in its process from now on. */
static void back(pid_t tid, uint64_t at)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, tid, at, 0);
	if (errno == 0)
		ptrace(PTRACE_POKETEXT, tid, at, (word & ~0xffl) | byte_here(at));
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.rip), at);
}

/* A thread that stops here otherwise is not gone on with meanwhile either. */
static void stand_still(struct chase *c, pid_t tid, uint64_t at)
{
	uint64_t begin = fixture_now_ns();

	back(tid, at);
	for (size_t i = 0; i < c->kin.n; i++)
		if (c->kin.tid[i] != tid)
			ptrace(PTRACE_INTERRUPT, c->kin.tid[i], 0, 0);
	c->traps->meanwhile(c->traps->arg, at);
	c->capture = (struct capture){ .how = TRAPPED, .at = at };
	c->end += fixture_now_ns() - begin;
}

/* Whether it was a trap: of this run's, or one that was lifted since it was planted; or of one that is gone, its process having ended. */
static bool is_trapped(struct chase *c, pid_t tid)
{
	uint64_t at;
	bool is;

	errno = 0;
	at = ip_of(tid) - 1;
	if (errno == ESRCH)
		return true;
	is = is_trap(c->traps, at);
	if (c->traps->meanwhile && is) {
		stand_still(c, tid, at);
	} else if (is) {
		c->capture = (struct capture){ .how = TRAPPED, .at = at };
		kill_all(c);
	} else if (c->traps->meanwhile && text_find(c->traps->text, at)) {
		back(tid, at);
		is = true;
	}
	return is;
}

/* A place to meet at that nobody was killed at yet is a trap first. */
static bool is_met(struct chase *c, pid_t tid)
{
	return !is_trap(c->traps, ip_of(tid) - 1) && meeting_stop(c->meeting, tid);
}

static void stopped(struct chase *c, pid_t tid, int status)
{
	int event = status >> 16, signal = WSTOPSIG(status);
	unsigned long born = 0;

	kin_add(&c->kin, tid);
	if (!c->killed && !event && signal == SIGTRAP && is_met(c, tid))
		return;
	if (c->killed)
		kill(tid, SIGKILL);
	else if (!event && signal == SIGTRAP && is_trapped(c, tid))
		signal = 0;
	else if (!event && is_fault(signal))
		captured(c, tid, signal);
	if ((event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) &&
	    ptrace(PTRACE_GETEVENTMSG, tid, 0, &born) == 0 && born)
		kin_add(&c->kin, (pid_t)born);
	ptrace(PTRACE_CONT, tid, 0L, event || c->killed ? 0L : (long)signal);
}

/* What has happened, or a moment in which nothing does. */
static void turn(struct chase *c)
{
	int status;
	pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

	meeting_turn(c->meeting);
	if (tid > 0 && WIFSTOPPED(status))
		stopped(c, tid, status);
	else if (tid > 0)
		kin_remove(&c->kin, tid);
	if (tid == c->first && !WIFSTOPPED(status) && !c->killed)
		c->status = status;
	if (tid > 0)
		return;
	kin_purge(&c->kin);
	usleep(100);
}

struct capture traps_run(const struct traps *traps, struct meeting *meeting, pid_t pid, _Atomic uint32_t *go,
			 uint64_t ns)
{
	struct chase c = { .traps = traps,
			   .meeting = meeting,
			   .capture.how = TRAPPED_ENDED,
			   .first = pid,
			   .end = fixture_now_ns() + ns };

	children_add(&c.others);
	kin_remove(&c.others, pid);
	seize(&c.kin, pid);
	plant(traps, pid);
	meeting_plant(meeting, pid);
	*go = 1;
	while (c.kin.n || has_orphans(&c)) {
		turn(&c);
		if (!c.killed && fixture_now_ns() > c.end) {
			if (c.capture.how != TRAPPED)
				c.capture.how = TRAPPED_LATE;
			kill_all(&c);
		}
	}
	c.capture.status = c.status;
	return c.capture;
}
