/* SPDX-License-Identifier: MIT */
/* Waiting between clients, by futex and by descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attached.h"
#include "client/client.h"

static uint32_t *word;

static void start(void)
{
	attached_start();
	word = (uint32_t *)heapd_alloc_leaf(heap, 64);
	ck_assert_ptr_nonnull(word);
}

static void on_alarm(int number)
{
	(void)number;
}

START_TEST(how_a_wait_ends)
{
	struct sigaction action = { .sa_handler = on_alarm };
	uint32_t outside = 0;
	uint64_t begin = fixture_now_ns();

	ck_refused(heapd_wait(heap, word, 0, 30), ETIMEDOUT, "time");
	ck_assert_uint_ge(fixture_now_ns() - begin, 30000000);
	ck_refused(heapd_wait(heap, word, 0, 0), ETIMEDOUT, "time");
	ck_assert_int_eq(heapd_wait(heap, word, 1, -1), 0);
	ck_refused(heapd_wait(heap, &outside, 0, 0), EINVAL, "word");
	ck_refused(heapd_wait(heap, (uint32_t *)(void *)((char *)word + 2), 0, 0), EINVAL, "word");
	ck_refused(heapd_wake(heap, &outside, 1), EINVAL, "word");
	sigaction(SIGALRM, &action, NULL);
	ualarm(20000, 0);
	ck_refused(heapd_wait(heap, word, 0, -1), EINTR, "nterrupted");
	ck_assert_uint_eq(heapd_self->state, HEAPD_THREAD_ONLINE);
	ck_assert_int_eq(heapd_wake(heap, word, 1), 0);
}
END_TEST

/* word[0]: whose turn it is; word[1]: turns taken. */
static int take_turns(void *arg)
{
	uint32_t me = *(uint32_t *)arg;

	for (int i = 0; i < 500; i++) {
		uint32_t turn;
		while ((turn = __atomic_load_n(&word[0], __ATOMIC_ACQUIRE)) % 2 != me)
			if (heapd_wait(heap, &word[0], turn, 5000) < 0)
				return 1;
		word[1]++;
		__atomic_store_n(&word[0], turn + 1, __ATOMIC_RELEASE);
		if (heapd_wake(heap, &word[0], 1) < 0)
			return 1;
	}
	return 0;
}

START_TEST(two_processes_take_turns)
{
	uint32_t mine = 0, others = 1;
	pid_t pid = fixture_client_fork(take_turns, &others);

	ck_assert_int_eq(take_turns(&mine), 0);
	fixture_wait(pid, 0);
	ck_assert_uint_eq(word[1], 1000);
}
END_TEST

static void *wait_here(void *arg)
{
	*(int *)arg = heapd_wait(heap, word, 0, 10000);
	return NULL;
}

START_TEST(offline_while_it_waits)
{
	pthread_t thread;
	int result = 1;
	uint64_t end = fixture_now_ns() + 5000000000u;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_here, &result), 0);
	while (HEAPD_LOAD_ACQUIRE(&heap->session->nthreads) < 2 ||
	       HEAPD_LOAD_ACQUIRE(&heap->threads[1].state) != HEAPD_THREAD_OFFLINE)
		ck_assert_uint_lt(fixture_now_ns(), end);
	/* What is saved of it lies in its stack. */
	ck_assert_uint_gt(heap->threads[1].saved_sp, heap->threads[1].stack_low);
	ck_assert_uint_lt(heap->threads[1].saved_sp, heap->threads[1].stack_high);
	while (heapd_wake(heap, word, 1) == 0)
		ck_assert_uint_lt(fixture_now_ns(), end);
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, 0);
}
END_TEST

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1 && p.revents & POLLIN;
}

static int change_word(void *arg)
{
	__atomic_store_n(word, *(uint32_t *)arg, __ATOMIC_RELEASE);
	return 0;
}

START_TEST(descriptor_becomes_readable)
{
	uint32_t value = 7;
	int fd = heapd_wait_fd(heap, word, 0);

	ck_call(fd);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert(!readable(fd, 50));
	fixture_wait(fixture_client_fork(change_word, &value), 0);
	ck_assert(readable(fd, 1000));
	close(fd);
	/* It differs already. */
	fd = heapd_wait_fd(heap, word, 0);
	ck_assert(readable(fd, 1000));
	close(fd);
	ck_refused(heapd_wait_fd(heap, &value, 0), EINVAL, "word");
}
END_TEST

/* 64 at a time; those that are closed, before or after, and those that are told, make place for others. */
START_TEST(many_descriptors)
{
	int fds[64], one;
	unsigned pins;

	for (int i = 0; i < 64; i++) {
		fds[i] = heapd_wait_fd(heap, &word[i % 8], 0);
		ck_call(fds[i]);
	}
	pins = heap->session->npins;
	ck_refused(heapd_wait_fd(heap, word, 0), ENOSPC, "64");
	for (int i = 0; i < 64; i += 2)
		close(fds[i]);
	__atomic_store_n(&word[1], 1, __ATOMIC_RELEASE);
	for (int i = 1; i < 64; i += 8)
		ck_assert(readable(fds[i], 1000));
	for (int i = 3; i < 64; i += 8)
		ck_assert(!readable(fds[i], 0));
	for (int round = 0; round < 200; round++) {
		uint64_t end = fixture_now_ns() + 2000000000u;
		do
			one = heapd_wait_fd(heap, word, 0);
		while (one < 0 && fixture_now_ns() < end);
		ck_call(one);
		close(one);
	}
	/* Their pins ended with them. */
	ck_assert_uint_le(heap->session->npins, pins + 1);
	for (int i = 1; i < 64; i += 2)
		close(fds[i]);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("wait");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, start, attached_stop);
	tcase_add_test(tcase, how_a_wait_ends);
	tcase_add_test(tcase, two_processes_take_turns);
	tcase_add_test(tcase, offline_while_it_waits);
	tcase_add_test(tcase, descriptor_becomes_readable);
	tcase_add_test(tcase, many_descriptors);
	return attached_run(tcase, suite_create("wait"));
}
