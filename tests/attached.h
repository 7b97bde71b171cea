/* SPDX-License-Identifier: MIT */
/* For tests of the client library: a daemon of the test's own, and this process attached to its heap. */
#ifndef HEAPD_TESTS_ATTACHED_H
#define HEAPD_TESTS_ATTACHED_H

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "client/agent.h"
#include "client/range.h"
#include "client/thread.h"
#include "fixture.h"
#include "suite.h"

static struct fixture fixture;
static heapd_heap *heap;

/* A call that must succeed, with the library's sentence if it does not. */
#define ck_call(call)                                                                        \
	do {                                                                                 \
		int ck_result_ = (call);                                                     \
		ck_assert_msg(ck_result_ >= 0, #call ": %d: %s", ck_result_, heapd_error()); \
	} while (0)

/* For loops: of each ck_assert() the test's parent is told, whatever comes of it, which takes longer than most calls here. */
#define ck_holds(condition)                                                                \
	do {                                                                               \
		if (!(condition))                                                          \
			ck_abort_msg("'%s' does not hold: %s", #condition, heapd_error()); \
	} while (0)

/* A call that must return -error, with a sentence that holds the text. */
#define ck_refused(call, error, text)                                                                 \
	do {                                                                                          \
		int ck_result_ = (call);                                                              \
		ck_assert_msg(ck_result_ == -(error), #call ": %d, not %d: %s", ck_result_, -(error), \
			      heapd_error());                                                         \
		ck_assert_msg(strstr(heapd_error(), (text)), "'%s' does not say '%s'", heapd_error(), \
			      (text));                                                                \
	} while (0)

/* As above, of a call that returns a pointer. */
#define ck_null(call, error)                                                                            \
	do {                                                                                            \
		void *ck_result_ = (call);                                                              \
		int ck_errno_ = errno;                                                                  \
		ck_assert_ptr_null(ck_result_);                                                         \
		ck_assert_msg(ck_errno_ == (error), #call ": errno %d, not %d: %s", ck_errno_, (error), \
			      heapd_error());                                                           \
	} while (0)

static inline void attached_start(void)
{
	fixture_start(&fixture, NULL);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}

static inline void attached_stop(void)
{
	ck_call(heapd_detach(heap));
	fixture_stop(&fixture);
}

/*
 * From now on this process sees the phase that the test says, in a directory's head of its own; with 0, the
 * daemon's again. There is no agent any more from the first time on: it would go by it, too.
 */
static inline void attached_phase(uint32_t cycle, enum heapd_phase phase)
{
	static struct heapd_directory own;
	char *real = (char *)(uintptr_t)(heap->t.base + heap->geometry.directory_at);

	agent_end(heap);
	memcpy(&own, real, sizeof(own));
	own.cycle.now = heapd_now_make(cycle, phase);
	heap->t.directory = cycle ? &own : (struct heapd_directory *)(void *)real;
}

/* Until SIGCONT: it answers nobody from when this returns. */
static inline void attached_daemon_stop(void)
{
	siginfo_t info;

	kill(fixture.daemon, SIGSTOP);
	ck_assert_int_eq(waitid(P_PID, (id_t)fixture.daemon, &info, WSTOPPED), 0);
}

static inline int attached_run(TCase *tcase, Suite *suite)
{
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}

#endif
