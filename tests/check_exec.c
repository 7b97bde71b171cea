/* SPDX-License-Identifier: MIT */
/* execve() in an attached process: the attachment ends with the program, and the next one hears nothing of it. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "alone.h"
#include "client/clock.h"
#include "client/handshake.h"
#include "fixture.h"
#include "suite.h"

#define NEXT       "HEAPD_TEST_NEXT"
#define NEXT_ENDS  7
#define PENDING_MS 5000u
#define EXECUTIONS 300u

/* The next program, before its main(): it takes whatever signal waits for it. */
static __attribute__((constructor)) void next(void)
{
	sigset_t none;

	if (!getenv(NEXT))
		return;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	_exit(NEXT_ENDS);
}

static int next_execute(void)
{
	setenv(NEXT, "1", 1);
	execl("/proc/self/exe", "next", (char *)NULL);
	return 126;
}

static bool is_pending(int number)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && sigismember(&pending, number) == 1;
}

/* It is asked, and executes the next program before it has answered. */
static int asked_then_executes(void *arg)
{
	struct heapd_heap *heap = alone_attach();
	uint64_t end = clock_deadline(PENDING_MS * CLOCK_MS);
	struct handshake agent = { 0 };
	sigset_t set;

	(void)arg;
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	sigemptyset(&set);
	sigaddset(&set, heap->signal);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	heap->t.directory->cycle.collecting = 1;
	HEAPD_STORE_RELEASE(&heap->t.directory->cycle.now, heapd_now_make(1, HEAPD_PHASE_SCAN));
	while (!is_pending(heap->signal) && clock_now() < end)
		handshake_serve(heap, &agent);
	return is_pending(heap->signal) ? next_execute() : 1;
}

START_TEST(asked_just_before)
{
	fixture_wait(fixture_client_fork(asked_then_executes, NULL), NEXT_ENDS);
}
END_TEST

static int attaches_then_executes(void *arg)
{
	heapd_heap *heap;

	(void)arg;
	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0 || !heapd_alloc(heap, 64))
		return 1;
	return next_execute();
}

/* Forked by an attached process, as who starts another program does. */
static int forked_then_executes(void *arg)
{
	(void)arg;
	return next_execute();
}

/* While collections run back to back. */
START_TEST(collected_meanwhile)
{
	static const char *settings[] = { "heap.test.GCPercent=100", "heap.test.Debug=stress", NULL };
	struct fixture f;
	heapd_heap *heap;

	fixture_start(&f, settings);
	for (unsigned i = 0; i < EXECUTIONS; i++)
		fixture_wait(fixture_client_fork(attaches_then_executes, NULL), NEXT_ENDS);
	ck_assert_int_eq(heapd_attach(&heap, FIXTURE_HEAP, NULL), 0);
	for (unsigned i = 0; i < EXECUTIONS; i++)
		fixture_wait(fixture_client_fork(forked_then_executes, NULL), NEXT_ENDS);
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("exec");
	TCase *tcase = tcase_create("exec");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, asked_just_before);
	tcase_add_test(tcase, collected_meanwhile);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
