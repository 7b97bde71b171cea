/* SPDX-License-Identifier: MIT */
/*
 * tracee.h - a thread under this one's ptrace: stepped, or run to an instruction by a debug register.
 *
 * Single-stepping never gets through a restartable sequence: each trap sends it to its abort handler. So a sequence is
 * run through with debug registers on its exits, and entered with one on the instruction that is meant: that trap comes
 * before the instruction, and where the thread is killed there it has not been aborted.
 */
#ifndef HEAPD_CRASH_TRACEE_H
#define HEAPD_CRASH_TRACEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tracee {
	pid_t pid; /* the process */
	pid_t tid;
	uint64_t at;       /* where it stands */
	uint64_t debug[4]; /* as the registers are set; 0: off */
	bool ended;        /* it is gone */
	int status;        /* then: as waitpid() has it; -1 where another one heard of it */
	int signal;        /* stopped before this one is delivered; 0: none */
	int event;         /* PTRACE_EVENT_*, if it stopped for one */
	unsigned patience; /* seconds of each wait; 0: TRACEE_PATIENCE_S, with a sanitizer more (slowness.h) */
};

#define TRACEE_PATIENCE_S 20

/* Waits for the next stop, and sets what is known of it. -ETIMEDOUT; 0 otherwise, also when it ended. */
int tracee_wait(struct tracee *t);
/* One instruction, or the delivery of the signal that it stands before. A repeated one as a whole. */
int tracee_step(struct tracee *t);
int tracee_continue(struct tracee *t);
/* Sets the debug registers to break at up to four addresses (0: none), for what follows. */
void tracee_break(struct tracee *t, const uint64_t *addresses, size_t n);
/* The next instruction counts as any other, also where it is another one than the one that it stands at. */
void tracee_break_anew(struct tracee *t);
/* SIGKILL to the process, and waits for its end. */
void tracee_kill(struct tracee *t);

#endif
