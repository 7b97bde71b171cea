/* SPDX-License-Identifier: MIT */
/*
 * meeting.c - owns the places where a thread waits until another has come between.
 *
 * Right because a place is a trap in the process's own copy of the library, which comes before the instruction, as traps.c has it; and because
 * each is taken away for good before the one that was stopped there goes on. Whoever else comes there is stepped over it alone.
 * A wait has an end: what the helper does may have to wait for who stands there.
 */
#include "meeting.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"

#define TRAP    0xcc
#define WAIT_NS UINT64_C(60000000)

/* The compiler's parts of a function are it. */
static bool is_of(const struct text *text, const struct instruction *in, const char *function)
{
	const char *name = text->symbols[in->symbol].name;
	size_t n = strcspn(function, "(");

	return strncmp(name, function, n) == 0 && (name[n] == 0 || name[n] == '.');
}

/* Those parts stand elsewhere, and may stand before it. */
static bool is_entry(const struct text *text, const struct instruction *in, const char *function)
{
	const struct symbol *s = &text->symbols[in->symbol];

	return in->at == s->at && strlen(s->name) == strcspn(function, "(");
}

static void add(struct meeting *m, uint64_t at)
{
	if (m->n == MEETING_PLACES)
		errx(1, "more than %u places to meet at", MEETING_PLACES);
	m->at[m->n++] = at;
}

void meeting_begin(struct meeting *m, const struct text *library, const char *function, struct board *board)
{
	uint64_t first = 0;

	*m = (struct meeting){ .board = board };
	board->meeting = MEETING_NONE;
	board->helper = 0;
	for (size_t i = 0; function && i < library->ninstructions; i++) {
		const struct instruction *in = &library->instructions[i];

		if (!is_of(library, in, function))
			continue;
		if (!first || is_entry(library, in, function))
			first = in->at;
		if (in->swaps && !strchr(function, '('))
			add(m, in->at);
	}
	if (function && !first)
		errx(1, "the library has no function %s", function);
	if (first && !m->n)
		add(m, first);
}

/* Of a process that stands still. */
static void put(pid_t tid, uint64_t at, unsigned char byte)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, tid, at, 0);
	if (errno == 0)
		ptrace(PTRACE_POKETEXT, tid, at, (word & ~0xffl) | byte);
}

static unsigned char byte_here(uint64_t at)
{
	return *(const volatile unsigned char *)(uintptr_t)at;
}

/* Before a process begins none of its threads has to stop for that. */
void meeting_plant(struct meeting *m, pid_t pid)
{
	char path[64];
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	memory = m->n ? open(path, O_RDWR | O_CLOEXEC) : -1;
	for (size_t i = 0; i < m->n; i++)
		if (pwrite(memory, &(const unsigned char){ TRAP }, 1, (off_t)m->at[i]) != 1)
			err(1, "%s", path);
	if (m->n)
		close(memory);
}

/* The thread stands before the instruction, which is whole. */
static void back(pid_t tid, uint64_t at)
{
	put(tid, at, byte_here(at));
	ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.rip), at);
}

/* A signal that comes first is taken first; then it comes there again. */
static void step_over(pid_t tid, uint64_t at)
{
	int status, signal;

	back(tid, at);
	ptrace(PTRACE_SINGLESTEP, tid, 0, 0);
	while (waitpid(tid, &status, __WALL) < 0 && errno == EINTR)
		;
	if (!WIFSTOPPED(status))
		return;
	signal = status >> 16 || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
	put(tid, at, TRAP);
	ptrace(PTRACE_CONT, tid, 0L, (long)signal);
}

static void wait_there(struct meeting *m, pid_t tid, uint64_t at)
{
	back(tid, at);
	m->waits = tid;
	m->end = fixture_now_ns() + WAIT_NS;
	m->board->meeting = MEETING_ASKED;
}

bool meeting_stop(struct meeting *m, pid_t tid)
{
	uint64_t at = (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, regs.rip), 0) - 1;
	bool here = false;

	for (size_t i = 0; i < m->n; i++)
		here |= m->at[i] == at;
	if (!here)
		return false;
	if (m->board->meeting != MEETING_READY || m->board->helper == (uint32_t)tid)
		step_over(tid, at);
	else
		wait_there(m, tid, at);
	return true;
}

void meeting_turn(struct meeting *m)
{
	if (!m->waits || (m->board->meeting == MEETING_ASKED && fixture_now_ns() < m->end))
		return;
	ptrace(PTRACE_CONT, m->waits, 0L, 0L);
	m->waits = 0;
}
