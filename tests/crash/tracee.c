/* SPDX-License-Identifier: MIT */
/*
 * tracee.c - owns the ptrace calls.
 *
 * Right because each stop is read anew from the kernel, and because a wait has an end: whoever is traced and does not
 * stop is reported, and never waited for for good.
 */
#include "tracee.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "../fixture.h"
#include "../slowness.h"

static void nothing(int signal)
{
	(void)signal;
}

/* Once a second, so that no wait is for good. */
static void tick(void)
{
	static bool ticks;
	const struct itimerval second = { .it_interval.tv_sec = 1, .it_value.tv_sec = 1 };
	const struct sigaction action = { .sa_handler = nothing };

	if (ticks)
		return;
	ticks = true;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &second, NULL);
}

static int wait_bounded(pid_t tid, unsigned seconds, int *status)
{
	uint64_t end = fixture_now_ns() +
		       (seconds ? seconds : TRACEE_PATIENCE_S * slowness()) * UINT64_C(1000000000);

	tick();
	while (waitpid(tid, status, __WALL) < 0) {
		if (errno != EINTR)
			return -errno;
		if (fixture_now_ns() > end)
			return -ETIMEDOUT;
	}
	return 0;
}

static uint64_t read_ip(pid_t tid)
{
	errno = 0;
	long ip = ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, regs.rip), 0);
	return errno ? 0 : (uint64_t)ip;
}

int tracee_wait(struct tracee *t)
{
	int status, r = wait_bounded(t->tid, t->patience, &status);

	t->signal = t->event = 0;
	if (r < 0 && r != -ECHILD)
		return r;
	if (r == -ECHILD || WIFEXITED(status) || WIFSIGNALED(status)) {
		t->ended = true;
		t->status = r == -ECHILD ? -1 : status;
		return 0;
	}
	t->event = status >> 16;
	if (WSTOPSIG(status) != SIGTRAP && !t->event)
		t->signal = WSTOPSIG(status);
	t->at = read_ip(t->tid);
	return 0;
}

static int resume(struct tracee *t, enum __ptrace_request how)
{
	long signal = t->signal;

	if (ptrace(how, t->tid, 0L, signal) < 0 && errno != ESRCH)
		return -errno;
	return tracee_wait(t);
}

/* Bytes of the repeated string instruction that it stands at; 0: it is another one. */
static unsigned repeated(const struct tracee *t)
{
	uint64_t word = (uint64_t)ptrace(PTRACE_PEEKTEXT, t->tid, t->at, 0);
	unsigned wide = (word >> 8 & 0xff) == 0x48, what = (unsigned)(word >> (8 + 8 * wide)) & 0xff;

	if ((word & 0xfe) != 0xf2)
		return 0;
	return what == 0xa4 || what == 0xa5 || what == 0xaa || what == 0xab ? 2 + wide : 0;
}

int tracee_step(struct tracee *t)
{
	uint64_t before = t->at, behind;
	int r = resume(t, PTRACE_SINGLESTEP);

	/* It would stop at every byte of it. */
	while (r == 0 && !t->ended && t->at == before && !t->signal && repeated(t)) {
		behind = before + repeated(t);
		tracee_break(t, &behind, 1);
		r = tracee_continue(t);
		tracee_break(t, NULL, 0);
	}
	return r;
}

int tracee_continue(struct tracee *t)
{
	return resume(t, PTRACE_CONT);
}

static void poke(struct tracee *t, unsigned i, uint64_t value)
{
	if (ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, u_debugreg) + 8ul * i, value) < 0 &&
	    errno != ESRCH)
		err(1, "debug register %u (0x%llx)", i, (unsigned long long)value);
}

void tracee_break(struct tracee *t, const uint64_t *addresses, size_t n)
{
	uint64_t enabled = 0;
	bool same = true;

	for (unsigned i = 0; i < 4; i++)
		same &= t->debug[i] == (i < n ? addresses[i] : 0);
	if (same)
		return;
	poke(t, 7, 0);
	for (unsigned i = 0; i < 4; i++) {
		t->debug[i] = i < n ? addresses[i] : 0;
		if (!t->debug[i])
			continue;
		poke(t, i, t->debug[i]);
		enabled |= 1ull << (2 * i);
	}
	if (enabled)
		poke(t, 7, enabled);
}

/*
 * The flag that lets a thread go on from a breakpoint holds for one instruction, whichever that is: that of an abort handler,
 * which the kernel sends it to on its way out.
 */
#define RESUME_FLAG 0x10000l

void tracee_break_anew(struct tracee *t)
{
	long at = offsetof(struct user, regs.eflags), flags = ptrace(PTRACE_PEEKUSER, t->tid, at, 0);

	if (ptrace(PTRACE_POKEUSER, t->tid, at, flags & ~RESUME_FLAG) < 0 && errno != ESRCH)
		err(1, "flags");
}

/* To its end: a stop may have been on its way. */
static void reap(pid_t tid)
{
	int status = 0;
	pid_t r;

	do
		r = waitpid(tid, &status, __WALL);
	while ((r < 0 && errno == EINTR) || (r > 0 && WIFSTOPPED(status)));
}

void tracee_kill(struct tracee *t)
{
	kill(t->pid, SIGKILL);
	if (t->tid != t->pid)
		reap(t->tid);
	reap(t->pid);
	t->ended = true;
}
