/* SPDX-License-Identifier: MIT */
/* Named roots, pins and tickets. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attached.h"
#include "client/client.h"

struct thing {
	struct thing *next;
	long number;
};

struct other {
	void *a, *b, *c;
};

static heapd_type *things, *others;

static void start(void)
{
	attached_start();
	things = heapd_type_define(heap, "thing", struct thing, next);
	others = heapd_type_define(heap, "other", struct other, a, b, c);
	ck_assert(things && others);
}

START_TEST(found_or_made)
{
	struct thing *t = heapd_root(heap, "one", struct thing, things);

	ck_assert_ptr_nonnull(t);
	ck_assert_ptr_eq(heapd_root(heap, "one", struct thing, things), t);
	ck_null(heapd_root(heap, "one", struct other, others), EPROTOTYPE);
	ck_assert_ptr_nonnull(strstr(heapd_error(), "'thing'"));
	ck_null(heapd_root(heap, "two", struct other, things), EINVAL);
	ck_null(heapd_root(heap, "two", struct other, NULL), EINVAL);
	ck_null(heapd_root(heap, "", struct thing, things), EINVAL);
	ck_null(heapd_root(heap, "a name of forty-eight bytes is one byte too long", struct thing, things),
		EINVAL);
	ck_assert_ptr_nonnull(
		heapd_root(heap, "a name of forty-seven bytes is as long as can be", struct thing, things)
			? heapd_root(heap, "one", struct thing, things)
			: (void *)t);
}
END_TEST

START_TEST(get_and_set)
{
	struct thing *t = heapd_new(things, struct thing);
	int outside = 0;

	ck_null(heapd_root_get(heap, "r", NULL), ENOENT);
	ck_call(heapd_root_set(heap, "r", t));
	ck_assert_ptr_eq(heapd_root_get(heap, "r", NULL), t);
	ck_assert_ptr_eq(heapd_root_get(heap, "r", things), t);
	ck_null(heapd_root_get(heap, "r", others), EPROTOTYPE);
	ck_refused(heapd_root_set(heap, "r", heapd_new(others, struct other)), EPROTOTYPE, "thing");
	ck_refused(heapd_root_set(heap, "r", &t->number), EINVAL, "begins");
	ck_refused(heapd_root_set(heap, "r", &outside), EINVAL, "begins");
	ck_call(heapd_root_set(heap, "r", NULL));
	errno = 77;
	ck_assert_ptr_null(heapd_root_get(heap, "r", things));
	ck_assert_int_eq(errno, 0);
	/* A root that holds NULL is made anew with an object of its type. */
	struct thing *again = heapd_root(heap, "r", struct thing, things);
	ck_assert_ptr_nonnull(again);
	ck_assert_ptr_eq(heapd_root_get(heap, "r", things), again);
}
END_TEST

START_TEST(compare_and_swap)
{
	struct thing *a = heapd_new(things, struct thing), *b = heapd_new(things, struct thing),
		     *expected = NULL;

	ck_assert_int_eq(heapd_root_cas(heap, "r", &expected, a), 1);
	ck_assert_int_eq(heapd_root_cas(heap, "r", &expected, b), 0);
	ck_assert_ptr_eq(expected, a);
	ck_assert_int_eq(heapd_root_cas(heap, "r", &expected, b), 1);
	ck_assert_ptr_eq(heapd_root_get(heap, "r", things), b);
	expected = a;
	ck_assert_int_eq(heapd_root_cas(heap, "absent", &expected, b), 0);
	ck_assert_ptr_null(expected);
	ck_refused(heapd_root_cas(heap, "r", NULL, b), EINVAL, "expected");
	fixture_kill(&fixture, SIGKILL);
	expected = b;
	ck_refused(heapd_root_cas(heap, "r", &expected, a), EAGAIN, "away");
	ck_assert_ptr_eq(expected, b);
	ck_call(heapd_detach(heap));
	fixture_restart(&fixture);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

/* An object given for the address of a pointer: its first word would be overwritten with what the root holds. */
START_TEST(expected_in_the_heap)
{
	struct thing *a = heapd_new(things, struct thing), *b = heapd_new(things, struct thing);

	ck_call(heapd_root_set(heap, "r", a));
	ck_refused(heapd_root_cas(heap, "r", b, NULL), EINVAL, "in the heap");
	ck_assert_ptr_eq(heapd_root_get(heap, "r", things), a);
	for (unsigned i = 0; i < sizeof(*b); i++)
		ck_assert_uint_eq(((const unsigned char *)b)[i], 0);
}
END_TEST

/* The first wins, where the name is free or holds nothing; whoever comes later is told what it holds. */
START_TEST(offered)
{
	struct thing *a = heapd_new(things, struct thing), *b = heapd_new(things, struct thing);
	void *other = heapd_alloc(heap, sizeof(struct thing));

	ck_assert_ptr_eq(heapd_root_offer(heap, "o", a), a);
	ck_assert_ptr_eq(heapd_root_offer(heap, "o", b), a);
	ck_assert_ptr_eq(heapd_root_offer(heap, "o", a), a);
	ck_assert_ptr_eq(heapd_root_get(heap, "o", things), a);
	ck_null(heapd_root_offer(heap, "o", other), EPROTOTYPE);
	ck_null(heapd_root_offer(heap, "o", NULL), EINVAL);
	ck_null(heapd_root_offer(heap, "p", &a->number), EINVAL);
	ck_null(heapd_root_get(heap, "p", NULL), ENOENT);
	ck_call(heapd_root_set(heap, "o", NULL));
	ck_assert_ptr_eq(heapd_root_offer(heap, "o", b), b);
	ck_assert_ptr_eq(heapd_root_get(heap, "o", things), b);
}
END_TEST

static int offer_one(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		char name[24];
		snprintf(name, sizeof(name), "root %d", i);
		struct thing *t = heapd_root(heap, name, struct thing, things);
		if (!t)
			return 1;
		__atomic_fetch_add(&t->number, 1, __ATOMIC_RELAXED);
	}
	/* What lies in a thread's spares when it ends without that is for the next collection. */
	return heapd_detach(heap) < 0;
}

/* All who find or make a root at once get the same object. */
START_TEST(everybody_gets_the_same)
{
	pid_t pids[4];
	struct heapd_root_info info = HEAPD_SIZED(info);
	unsigned n = 0;

	for (int i = 0; i < 4; i++)
		pids[i] = fixture_client_fork(offer_one, NULL);
	for (int i = 0; i < 4; i++)
		fixture_wait(pids[i], 0);
	while (heapd_root_next(heap, &info) == 1) {
		ck_assert_int_eq(strncmp(info.name, "root ", 5), 0);
		ck_assert_ptr_eq(info.type, things);
		ck_assert_int_eq(((struct thing *)info.object)->number, 4);
		ck_assert_uint_eq(info.version, 1);
		n++;
	}
	ck_assert_uint_eq(n, 50);
	/* What the losers had allocated for it is free again. */
	ck_call(heapd_sync(heap));
	struct heapd_verify_result v = HEAPD_SIZED(v);
	ck_assert_int_eq(heapd_verify(heap, &v), 0);
	ck_assert_uint_eq(v.allocated, 50 * sizeof(struct thing));
}
END_TEST

START_TEST(listed)
{
	struct heapd_root_info info = { 0 };
	char name[24];

	ck_refused(heapd_root_next(heap, &info), EINVAL, "size");
	info.size = sizeof(info);
	ck_assert_int_eq(heapd_root_next(heap, &info), 0);
	for (unsigned i = 0; i < HEAPD_ROOT_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		ck_call(heapd_root_set(heap, name, NULL));
	}
	ck_refused(heapd_root_set(heap, "one more", NULL), ENOSPC, "1024");
	for (unsigned i = 0; i < HEAPD_ROOT_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(heapd_root_next(heap, &info), 1);
		ck_assert_str_eq(info.name, name);
		ck_assert_ptr_null(info.object);
	}
	ck_assert_int_eq(heapd_root_next(heap, &info), 0);
}
END_TEST

START_TEST(pins_hold_and_end)
{
	struct thing *t = heapd_new(things, struct thing);
	struct thing **a = heapd_pin(heap, t), **b = heapd_pin(heap, t), *none = NULL;
	uint64_t *word = (uint64_t *)(void *)a;

	ck_assert(a && b && a != b && *a == t && *b == t);
	ck_call(heapd_unpin(a));
	ck_assert_uint_eq(*word, 0);
	ck_refused(heapd_unpin(a), EINVAL, "ended");
	ck_null(heapd_take(a), EINVAL);
	ck_refused(heapd_unpin((char *)b + 4), EINVAL, "no pin");
	ck_refused(heapd_unpin(b + 1), EINVAL, "no pin");
	ck_refused(heapd_unpin(&t), EINVAL, "no pin");
	ck_call(heapd_unpin(NULL));
	ck_null(heapd_take((struct thing **)NULL), EINVAL);
	/* The last that ended is the first that is used again. */
	struct thing **c = heapd_pin(heap, none);
	ck_assert_ptr_eq(c, a);
	ck_assert_ptr_null(*c);
	heapd_store(c, t);
	ck_assert_ptr_eq(heapd_take(c), t);
	ck_assert_ptr_eq(heapd_take(b), t);
}
END_TEST

START_TEST(all_the_pins_there_are)
{
	struct thing *t = heapd_new(things, struct thing);
	struct thing ***pins = (struct thing ***)calloc(HEAPD_PIN_MAX, sizeof(*pins));

	for (unsigned i = 0; i < HEAPD_PIN_MAX; i++)
		ck_assert_ptr_nonnull(pins[i] = heapd_pin(heap, t));
	ck_null(heapd_pin(heap, t), ENOSPC);
	for (unsigned i = 0; i < HEAPD_PIN_MAX; i += 3)
		ck_call(heapd_unpin(pins[i]));
	for (unsigned i = 0; i < HEAPD_PIN_MAX; i += 3)
		ck_assert_ptr_nonnull(pins[i] = heapd_pin(heap, t));
	ck_null(heapd_pin(heap, t), ENOSPC);
	for (unsigned i = 0; i < HEAPD_PIN_MAX; i++)
		ck_assert_ptr_eq(heapd_take(pins[i]), t);
	free(pins);
}
END_TEST

static void *pin_and_take(void *arg)
{
	struct thing *base = (struct thing *)arg;
	struct thing **held[64] = { 0 };
	unsigned seed = (unsigned)gettid();

	/* Two threads with one word would see the other's value. */
	for (int i = 0; i < 200000; i++) {
		unsigned k = (unsigned)rand_r(&seed) % 64;
		if (held[k] && heapd_take(held[k]) != base + k)
			return arg;
		held[k] = heapd_pin(heap, base + k);
		if (!held[k])
			return arg;
	}
	for (unsigned k = 0; k < 64; k++)
		if (held[k] && heapd_take(held[k]) != base + k)
			return arg;
	return NULL;
}

START_TEST(pins_from_many_threads)
{
	pthread_t threads[4];
	void *failed;

	for (int i = 0; i < 4; i++) {
		void *object = heapd_new_array(things, struct thing, 64);
		ck_call(heapd_thread_create(heap, &threads[i], NULL, pin_and_take, object));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_uint_le(heap->session->npins, 4 * 65 + 4);
}
END_TEST

static int take_ticket(void *text)
{
	struct thing *t = (struct thing *)heapd_ticket_take(heap, (const char *)text);

	return t ? (int)t->number : 99;
}

START_TEST(tickets)
{
	struct thing *t = heapd_new(things, struct thing);
	char text[HEAPD_TICKET_SIZE], small[HEAPD_TICKET_SIZE - 1];

	t->number = 42;
	ck_call(heapd_ticket_issue(heap, t, text, sizeof(text), 0));
	fixture_wait(fixture_client_fork(take_ticket, text), 42);
	ck_null(heapd_ticket_take(heap, text), ENOENT);
	ck_null(heapd_ticket_take(heap, ""), ENOENT);
	ck_null(heapd_ticket_take(heap, NULL), ENOENT);
	ck_refused(heapd_ticket_issue(heap, t, small, sizeof(small), 0), ENOSPC, "64");
	ck_refused(heapd_ticket_issue(heap, &t->number, text, sizeof(text), 0), EINVAL, "start");
	ck_refused(heapd_ticket_issue(heap, t, text, sizeof(text), 86401), EINVAL, "86400");
	ck_call(heapd_ticket_issue(heap, t, text, sizeof(text), 1));
	sleep(1);
	usleep(100000);
	ck_null(heapd_ticket_take(heap, text), ENOENT);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("root");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, start, attached_stop);
	tcase_add_test(tcase, found_or_made);
	tcase_add_test(tcase, get_and_set);
	tcase_add_test(tcase, compare_and_swap);
	tcase_add_test(tcase, expected_in_the_heap);
	tcase_add_test(tcase, offered);
	tcase_add_test(tcase, everybody_gets_the_same);
	tcase_add_test(tcase, listed);
	tcase_add_test(tcase, pins_hold_and_end);
	tcase_add_test(tcase, all_the_pins_there_are);
	tcase_add_test(tcase, pins_from_many_threads);
	tcase_add_test(tcase, tickets);
	return attached_run(tcase, suite_create("root"));
}
