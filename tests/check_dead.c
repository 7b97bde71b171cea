/* SPDX-License-Identifier: MIT */
/*
 * Dead objects: what has died is given once, whole with all that it led to, and is collected when it dies again.
 */
#include <errno.h>

#include "things.h"

START_TEST(what_died_is_given_once)
{
	bool seen[MANY] = { false };

	ck_call(heapd_type_watch_dead(things));
	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	collect();
	ck_assert_ptr_null(heapd_type_next_dead(things));
	ck_assert_int_eq(errno, 0);
	table_clear(MANY);
	ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
	ck_assert_uint_eq(collect_and_take(seen, MANY), 0);
	ck_assert_uint_ge(heap->t.directory->stats.gc_dead_queued, MANY - 2);
}
END_TEST

/* Also of objects that were made before the call, and of slots that were supplied before. */
START_TEST(watched_later)
{
	bool seen[MANY] = { false };

	table_fill(MANY / 2);
	collect();
	ck_call(heapd_type_watch_dead(things));
	for (unsigned i = MANY / 2; i < MANY; i++)
		heapd_store(&(*table)->things[i], thing_new(i));
	table_clear(MANY);
	ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
}
END_TEST

/* They wait, whole, through any number of collections; nobody finds them by a weak reference. */
START_TEST(the_queue_holds)
{
	bool seen[MANY] = { false };
	unsigned alive = 0;

	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	table_clear(MANY);
	for (unsigned i = 0; i < 4; i++) {
		collect();
		churn();
	}
	for (unsigned i = 0; i < MANY; i++)
		alive += heapd_weak_get((*table)->cells[i], struct thing) != NULL;
	ck_assert_uint_le(alive, 2);
	ck_assert_uint_ge(take_all(seen, MANY), MANY - 2);
	ck_assert_uint_le(heap->t.directory->stats.gc_dead_queued, MANY);
}
END_TEST

static uint64_t allocated(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_assert_msg(heapd_verify(heap, &v) == 0, "%s", v.first);
	return v.allocated;
}

/* What was taken and dropped is collected; its slot's next object is queued as the first was. */
START_TEST(dies_again)
{
	uint64_t before;

	ck_call(heapd_type_watch_dead(things));
	collect();
	before = allocated();
	for (unsigned round = 0; round < 3; round++) {
		bool seen[MANY] = { false };

		all_die(seen);
		ck_assert_uint_le(allocated(), before + MANY * sizeof(struct thing) / 4);
	}
}
END_TEST

/* What was taken lives on as anything does. */
START_TEST(lives_on)
{
	bool seen[2] = { false };

	ck_call(heapd_type_watch_dead(things));
	table_fill(1);
	table_clear(1);
	collect();
	collect();
	heapd_store(&(*table)->things[0], heapd_type_next_dead(things));
	for (unsigned i = 0; i < 3; i++) {
		collect();
		churn();
	}
	ck_assert_ptr_nonnull((*table)->things[0]);
	ck_assert(thing_is_whole((*table)->things[0]));
	ck_assert_uint_eq(take_all(seen, 2), 0);
}
END_TEST

/* A ring of dead ones: all are queued, and each leads to the next. */
static __attribute__((noinline)) void ring_make(unsigned n)
{
	struct thing *first = thing_new(0), *last = first;

	for (unsigned i = 1; i < n; i++) {
		struct thing *t = thing_new(i);
		heapd_init(&last->next, t);
		last = t;
	}
	heapd_init(&last->next, first);
}

START_TEST(dead_ones_lead_to_each_other)
{
	struct thing *t;
	unsigned n = 0;

	ck_call(heapd_type_watch_dead(things));
	ring_make(100);
	collect();
	collect();
	churn();
	while ((t = heapd_type_next_dead(things))) {
		ck_assert(thing_is_whole(t) && thing_is_whole(t->next));
		ck_assert_uint_eq(t->next->value, (t->value + 1) % 100);
		n++;
	}
	ck_assert_uint_eq(n, 100);
}
END_TEST

START_TEST(freed_ones_are_not_queued)
{
	bool seen[MANY] = { false };

	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	for (unsigned i = 0; i < MANY; i++) {
		struct thing *t = (*table)->things[i];
		heapd_store(&(*table)->things[i], NULL);
		if (i % 2)
			ck_call(heapd_free(t));
	}
	collect_and_take(seen, MANY);
	for (unsigned i = 1; i < MANY; i += 2)
		ck_assert(!seen[i]);
}
END_TEST

START_TEST(what_is_refused)
{
	ck_refused(heapd_type_watch_dead(NULL), EINVAL, "no type");
	ck_refused(heapd_type_watch_dead(heapd_type_any(heap)), EINVAL, "built-in");
	ck_null(heapd_type_next_dead(heapd_type_leaf(heap)), EINVAL);
	ck_null(heapd_type_next_dead(NULL), EINVAL);
	ck_assert_ptr_null(heapd_type_next_dead(things));
	ck_assert_int_eq(errno, 0);
}
END_TEST

/* Objects of any form, also large ones, of their type. */
START_TEST(arrays_and_large_ones)
{
	struct thing *t;
	unsigned n = 0;

	ck_call(heapd_type_watch_dead(things));
	for (unsigned i = 1; i <= 2000; i *= 2) {
		t = heapd_new_array(things, struct thing, i);
		ck_assert_ptr_nonnull(t);
		t[i - 1].value = i;
	}
	t = NULL;
	collect();
	collect();
	churn();
	while ((t = heapd_type_next_dead(things))) {
		uint64_t last = heapd_size(t) / sizeof(*t);
		bool found = false;

		while (last && !found)
			found = t[--last].value;
		ck_assert(found);
		n++;
	}
	ck_assert_uint_ge(n, 9);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dead");
	TCase *plain = tcase_create("dead objects");

	tcase_add_checked_fixture(plain, setup, teardown);
	tcase_set_timeout(plain, 60);
	tcase_add_test(plain, what_died_is_given_once);
	tcase_add_test(plain, watched_later);
	tcase_add_test(plain, the_queue_holds);
	tcase_add_test(plain, dies_again);
	tcase_add_test(plain, lives_on);
	tcase_add_test(plain, dead_ones_lead_to_each_other);
	tcase_add_test(plain, freed_ones_are_not_queued);
	tcase_add_test(plain, what_is_refused);
	tcase_add_test(plain, arrays_and_large_ones);
	return attached_run(plain, suite);
}
