/* SPDX-License-Identifier: MIT */
/*
 * What a thread loses to a collection, as it is measured: its own processor time in the answer, not that of whoever ran
 * meanwhile. The test plays the daemon and the agent.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/handshake.h"
#include "handshakes.h"
#include "holders.h"
#include "processor.h"
#include "suite.h"

#define LONG_BYTES (512ul << 20)

struct sleeper {
	sem_t ready, end;
	uint32_t tid;
	clockid_t clock;
};

static void *sleep_after_work(void *arg)
{
	struct sleeper *s = (struct sleeper *)arg;
	uint64_t end = clock_deadline(2 * CLOCK_MS);

	while (clock_now() < end)
		;
	s->tid = (uint32_t)syscall(SYS_gettid);
	ck_assert_int_eq(pthread_getcpuclockid(pthread_self(), &s->clock), 0);
	sem_post(&s->ready);
	sem_wait(&s->end);
	return NULL;
}

/* Another thread's processor time is what the C library says of it; of one that has ended, none. */
START_TEST(clock_of_another)
{
	struct sleeper s = { 0 };
	pthread_t thread;
	uint64_t used;

	sem_init(&s.ready, 0, 0);
	sem_init(&s.end, 0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, sleep_after_work, &s), 0);
	sem_wait(&s.ready);
	while (used = clock_read(s.clock), usleep(1000), used != clock_read(s.clock)) /* it falls asleep */
		;
	ck_assert_uint_eq(clock_thread(s.tid), used);
	ck_assert_uint_gt(used, 0);
	sem_post(&s.end);
	pthread_join(thread, NULL);
	while (syscall(SYS_tgkill, getpid(), s.tid, 0) == 0)
		usleep(1000);
	ck_assert_uint_eq(clock_thread(s.tid), 0);
}
END_TEST

/* ... and the caller's own is its own. */
START_TEST(clock_of_ones_own)
{
	uint64_t before = clock_thread(0), middle = clock_thread((uint32_t)syscall(SYS_gettid)),
		 after = clock_thread(0);

	ck_assert_uint_gt(before, 0);
	ck_assert_uint_le(before, middle);
	ck_assert_uint_le(middle, after);
}
END_TEST

struct contest {
	int cpu;
	uint32_t over;
	uint64_t used; /* by the holder, from before it was asked until after it had answered */
};

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): a holder has no argument of its own */
static struct contest contest;

static void *run_against(void *arg)
{
	(void)arg;
	cpu_pin(contest.cpu);
	while (!__atomic_load_n(&contest.over, __ATOMIC_ACQUIRE))
		;
	return NULL;
}

static UNSEEN void hold_much_in_a_contest(struct holder *h)
{
	uint64_t *words = (uint64_t *)alone_memory(LONG_BYTES), before;

	cpu_pin(contest.cpu);
	words[0] = ~h->inverted;
	ck_assert_int_eq(heapd_local_add(heap, words, LONG_BYTES), 0);
	before = clock_thread(0);
	holder_spin(h);
	contest.used = clock_thread(0) - before;
}

/* An answer as long as many turns of two threads on one processor, with another one running there. */
START_TEST(no_more_than_it_ran)
{
	static const struct holder_place much = { "much", hold_much_in_a_contest };
	struct holder h;
	pthread_t other;
	uint64_t pause;

	contest = (struct contest){ .cpu = sched_getcpu() };
	ck_assert_int_eq(pthread_create(&other, NULL, run_against, NULL), 0);
	holder_begin(&h, heap, &much, address(1));
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert(served(SOON_MS));
	pause = h.record->pause_last_ns;
	holder_end(&h);
	__atomic_store_n(&contest.over, 1, __ATOMIC_RELEASE);
	pthread_join(other, NULL);
	ck_assert_uint_eq(h.record->pauses, 1);
	ck_assert_uint_gt(pause, 0);
	ck_assert_uint_le(pause, contest.used);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pause");
	TCase *tcase = tcase_create("clocks"), *computing = tcase_create("computing");

	tcase_add_test(tcase, clock_of_another);
	tcase_add_test(tcase, clock_of_ones_own);
	suite_add_tcase(suite, tcase);

	tcase_set_tags(computing, HOLDER_COMPUTES);
	tcase_set_timeout(computing, 30);
	tcase_add_checked_fixture(computing, setup, NULL);
	tcase_add_test(computing, no_more_than_it_ran);
	suite_add_tcase(suite, computing);

	return suite_run(suite);
}
