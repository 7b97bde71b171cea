/* SPDX-License-Identifier: MIT */
/*
 * Collections with a real daemon and several clients: what one that dies, is stopped, computes, forks or goes its own ways can
 * and cannot do to the others.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "asleep.h"
#include "collectednodes.h"

static int hold_much_and_wait(void *arg)
{
	struct heapd_options options = patient();
	int *ready = (int *)arg;

	heapd_heap *own;
	if (heapd_attach(&own, FIXTURE_HEAP, &options) < 0)
		return 1;
	void **pin = (void **)heapd_pin(own, (void *)NULL);
	for (unsigned i = 0; i < 1500000; i++) {
		void **o = heapd_alloc(own, 64);
		if (!o)
			return 2;
		heapd_store(&o[0], *pin);
		heapd_store(pin, (void *)o);
	}
	__atomic_store_n(ready, 1, __ATOMIC_RELEASE);
	for (;;)
		asleep(own, -1);
}

/* What a killed client held comes back without anybody asking. */
START_TEST(the_dead_leave_nothing)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);

	await(ready, pid);
	ck_assert_uint_ge(allocated(), 90 * MIB);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	while (allocated() > 2 * MIB) /* or the test's time is over */
		usleep(10000);
	munmap(ready, 4096);
}
END_TEST

/*
 * What happens, however fast: the death alone has one cycle begin, two at most if it was noticed in the midst of one, and
 * nothing else would have done so: nobody allocates, and nobody asks.
 */
START_TEST(a_death_is_answered_by_a_cycle_of_its_own)
{
	const struct heapd_cycle_words *cycle = &heap->t.directory->cycle;
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t before;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	ck_assert_uint_ge(allocated(), 90 * MIB);
	before = HEAPD_LOAD_ACQUIRE(&cycle->finished);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	while (allocated() > 2 * MIB) /* or the test's time is over */
		usleep(1000);
	while (heapd_now_phase(HEAPD_LOAD_ACQUIRE(&cycle->now)) != HEAPD_PHASE_IDLE)
		usleep(1000);
	ck_assert(fixture_logged(&fixture, "(death)"));
	ck_assert_uint_ge(HEAPD_LOAD_ACQUIRE(&cycle->finished) - before, 1);
	ck_assert_uint_le(HEAPD_LOAD_ACQUIRE(&cycle->finished) - before, 2);
	munmap(ready, 4096);
}
END_TEST

/*
 * It does not matter how long the last cycle took, if it was none for the dead: a rest that went by that one would be four times as long,
 * however slow the machine is.
 */
START_TEST(the_dead_do_not_wait_for_the_living)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t begin, now, took;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	begin = fixture_now_ns();
	ck_call(heapd_collect_start(heap));
	while (fixture_now_ns() - begin < 1500000000)
		usleep(10000); /* which the scan's signal ends early */
	kill(pid, SIGCONT);
	while (heapd_now_phase(heap->t.directory->cycle.now) != HEAPD_PHASE_IDLE)
		usleep(1000);
	took = fixture_now_ns() - begin;
	begin = fixture_now_ns();
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	while ((now = allocated()) > 2 * MIB && fixture_now_ns() - begin < 10 * took)
		usleep(10000);
	ck_assert_uint_le(now, 2 * MIB);
	ck_assert_uint_lt(fixture_now_ns() - begin, 2 * took);
	munmap(ready, 4096);
}
END_TEST

/* A stopped client holds up the cycle, and nobody's allocation; when it goes on, so does the cycle. */
START_TEST(a_stopped_client_holds_up_the_cycle_only)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t finished;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	finished = heap->t.directory->cycle.finished;
	ck_call(heapd_collect_start(heap));
	ck_assert(fixture_logged(&fixture, "waits for process"));
	list_drop(100000);
	ck_assert_uint_eq(heap->t.directory->cycle.finished, finished);
	kill(pid, SIGCONT);
	ck_call(heapd_collect(heap));
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
	ck_assert_uint_ge(allocated(), 90 * MIB);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

/* Where a large object needs a collection that does not come to its end, its allocation does, and says so. */
START_TEST(a_large_object_waits_no_longer_than_may_be)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t begin;
	void *p;

	await(ready, pid);
	ck_call(heapd_detach(heap));
	options.supply_timeout_ms = 300;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	begin = fixture_now_ns();
	while ((p = heapd_alloc(heap, 8 * MIB)))
		begin = fixture_now_ns();
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_msg(strstr(heapd_error(), "no collection came to its end"), "%s", heapd_error());
	ck_assert_uint_ge(fixture_now_ns() - begin, 300000000u);
	ck_assert_uint_lt(fixture_now_ns() - begin, 3000000000u);
	kill(pid, SIGCONT);
	ck_call(heapd_collect(heap));
	ck_assert_msg(heapd_alloc(heap, 8 * MIB), "%s", heapd_error());
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

/* The same for one that a debugger holds. */
START_TEST(a_traced_client_holds_up_the_cycle_only)
{
	int *ready = shared_int(), status;
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t finished;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	ck_assert_int_eq(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSTOPPED(status));
	finished = heap->t.directory->cycle.finished;
	ck_call(heapd_collect_start(heap));
	list_drop(10000);
	usleep(200000);
	ck_assert_uint_eq(heap->t.directory->cycle.finished, finished);
	ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	ck_call(heapd_collect(heap));
	ck_assert_uint_ge(allocated(), 90 * MIB);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

static void *go_on_soon(void *pid)
{
	usleep(200000);
	kill(*(pid_t *)pid, SIGCONT);
	return NULL;
}

/* Who asks for a cycle while one runs that becomes void waits for the one in its stead, not for ever. */
START_TEST(a_void_cycle_loses_no_request)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t voids = HEAPD_READ_ONCE(heap->t.directory->stats.gc_voids);
	pthread_t thread;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	ck_call(heapd_collect_start(heap));
	while (heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now)) == HEAPD_PHASE_IDLE)
		usleep(1000);
	usleep(10000);
	HEAPD_WRITE_ONCE(heap->session->overflow, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, go_on_soon, &pid), 0);
	ck_call(heapd_collect(heap));
	pthread_join(thread, NULL);
	ck_assert_uint_gt(HEAPD_READ_ONCE(heap->t.directory->stats.gc_voids), voids);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

static int attach_and_wait(void *arg)
{
	heapd_heap *own;

	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	__atomic_store_n((int *)arg, 1, __ATOMIC_RELEASE);
	for (;;)
		asleep(own, -1);
}

/* Who dies while a cycle is under way, here one that waits for somebody else, is forgotten by the very next: this one is void. */
START_TEST(a_death_makes_a_cycle_void)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	int *ready = shared_int(), *stopped = shared_int();
	pid_t much = fixture_client_fork(hold_much_and_wait, ready),
	      other = fixture_client_fork(attach_and_wait, stopped);
	uint64_t finished, voids, deaths;

	await(ready, much);
	await(stopped, other);
	ck_call(heapd_collect(heap));
	finished = heap->t.directory->cycle.finished;
	voids = stats->gc_voids;
	deaths = stats->deaths;
	kill(other, SIGSTOP);
	ck_call(heapd_collect_start(heap));
	while (heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now)) != HEAPD_PHASE_SCAN)
		usleep(1000);
	kill(much, SIGKILL);
	fixture_wait(much, -SIGKILL);
	while (HEAPD_READ_ONCE(stats->deaths) == deaths)
		usleep(1000);
	kill(other, SIGCONT);
	while (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished) == finished)
		usleep(1000);
	ck_assert_uint_le(allocated(), 2 * MIB);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats->gc_voids), voids + 1);
	ck_assert(fixture_logged(&fixture, "a client died"));
	kill(other, SIGKILL);
	fixture_wait(other, -SIGKILL);
	munmap(ready, 4096);
	munmap(stopped, 4096);
}
END_TEST

/*
 * It goes on with what it has mapped, but nobody can ask it what it holds. Its agent would connect again, and may be faster than the
 * daemon in seeing what has happened: it finds no descriptor for that.
 */
static int close_everything(void *arg)
{
	const struct rlimit none = { .rlim_cur = 3, .rlim_max = 3 };
	heapd_heap *own;

	(void)arg;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	if (setrlimit(RLIMIT_NOFILE, &none) < 0)
		return 2;
	closefrom(3);
	for (;;)
		pause();
}

START_TEST(who_hangs_up_and_goes_on_is_ended)
{
	fixture_wait(fixture_client_fork(close_everything, NULL), -SIGKILL);
	ck_assert(fixture_logged(&fixture, "still has the heap mapped"));
}
END_TEST

/* It still has the heap, too: that its connection was lost by its own fault makes no difference. */
static int read_nothing(void *arg)
{
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "heap.name" };
	heapd_heap *own;

	(void)arg;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	while (send(own->socket, &m, sizeof(m), MSG_NOSIGNAL) > 0)
		continue;
	for (;;)
		pause();
}

START_TEST(who_reads_nothing_and_goes_on_is_ended)
{
	fixture_wait(fixture_client_fork(read_nothing, NULL), -SIGKILL);
	ck_assert(fixture_logged(&fixture, "it does not read"));
	ck_assert(fixture_logged(&fixture, "has lost its connection and still has the heap mapped"));
}
END_TEST

static int send_nonsense(void *arg)
{
	heapd_heap *own;

	(void)arg;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	if (send(own->socket, "abc", 3, MSG_NOSIGNAL) != 3)
		return 2;
	for (;;)
		pause();
}

START_TEST(who_sends_nonsense_and_goes_on_is_ended)
{
	fixture_wait(fixture_client_fork(send_nonsense, NULL), -SIGKILL);
	ck_assert(fixture_logged(&fixture, "not a message"));
	ck_assert(fixture_logged(&fixture, "has lost its connection and still has the heap mapped"));
}
END_TEST

static int become_another(void *arg)
{
	heapd_heap *own;

	(void)arg;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	execl("/bin/sh", "sh", "-c", "sleep 0.3; exit 7", (char *)NULL);
	return 2;
}

START_TEST(who_becomes_another_program_lives)
{
	fixture_wait(fixture_client_fork(become_another, NULL), 7);
}
END_TEST

/* A thread that computes for long without a call is scanned all the same, and holds what it holds. */
static int compute(void *arg)
{
	int *words = (int *)arg;
	heapd_heap *own;

	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	heapd_type *type = heapd_type_find(own, "node");
	struct node *n = heapd_new(type, struct node);
	n->value = 77;
	__atomic_store_n(&words[0], 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&words[1], __ATOMIC_RELAXED)) {
		__asm__ volatile("pause" : "+r"(n));
#ifdef HEAPD_TSAN
		asleep(own, 1); /* it keeps the signal back from one who computes */
#endif
	}
	return n->value == 77 ? 0 : 2;
}

START_TEST(a_computing_thread_is_scanned)
{
	int *words = shared_int();
	pid_t pid = fixture_client_fork(compute, words);

	await(&words[0], pid);
	for (unsigned i = 0; i < 5; i++)
		churn();
	__atomic_store_n(&words[1], 1, __ATOMIC_RELEASE);
	fixture_wait(pid, 0);
	munmap(words, 4096);
}
END_TEST

/* The child of a fork holds what its parent's stack held, and its pins, whatever the parent does then. */
START_TEST(a_forked_child_holds_its_own)
{
	struct node *n = node_new(99, NULL);
	int *words = shared_int();
	struct node **pin = heapd_pin(heap, node_new(98, NULL));
	pid_t pid = fork();

	if (!pid) {
		__atomic_store_n(&words[0], 1, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&words[1], __ATOMIC_ACQUIRE))
			asleep(heap, 1);
		_exit(n->value == 99 && (*pin)->value == 98 ? 0 : 1);
	}
	ck_assert_int_gt(pid, 0);
	n = NULL;
	ck_call(heapd_unpin(pin));
	await(&words[0], pid);
	for (unsigned i = 0; i < 3; i++)
		churn();
	__atomic_store_n(&words[1], 1, __ATOMIC_RELEASE);
	fixture_wait(pid, 0);
	munmap(words, 4096);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("neighbours");
	TCase *roots = tcase_create("roots"), *stressed = tcase_create("stressed");

	tcase_set_timeout(roots, 60);
	tcase_add_checked_fixture(roots, setup, attached_stop);
	tcase_add_test(roots, the_dead_leave_nothing);
	tcase_add_test(roots, a_death_is_answered_by_a_cycle_of_its_own);
	tcase_add_test(roots, the_dead_do_not_wait_for_the_living);
	tcase_add_test(roots, a_stopped_client_holds_up_the_cycle_only);
	tcase_add_test(roots, a_large_object_waits_no_longer_than_may_be);
	tcase_add_test(roots, a_traced_client_holds_up_the_cycle_only);
	tcase_add_test(roots, a_void_cycle_loses_no_request);
	tcase_add_test(roots, a_death_makes_a_cycle_void);
	tcase_add_test(roots, who_hangs_up_and_goes_on_is_ended);
	tcase_add_test(roots, who_reads_nothing_and_goes_on_is_ended);
	tcase_add_test(roots, who_sends_nonsense_and_goes_on_is_ended);
	tcase_add_test(roots, who_becomes_another_program_lives);
	tcase_add_test(roots, a_computing_thread_is_scanned);
	tcase_add_test(roots, a_forked_child_holds_its_own);
	suite_add_tcase(suite, roots);
	tcase_set_timeout(stressed, 60);
	tcase_add_checked_fixture(stressed, setup_stressed, attached_stop);
	tcase_add_test(stressed, the_dead_leave_nothing);
	tcase_add_test(stressed, a_computing_thread_is_scanned);
	tcase_add_test(stressed, a_forked_child_holds_its_own);
	return attached_run(stressed, suite);
}
