/* SPDX-License-Identifier: MIT */
/*
 * Hardened heaps: what is overwritten is told of, wherever its slot has been in between; what is not is never told of, whoever
 * dies in whatever; and programs have all that heapd_size() says. (That it is so for each kind of misuse, by a process of its own,
 * check_misuse.c shows; and for each instruction at which a client may die, build/crash/kill --hardened.)
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "objects.h"

#include "collected.h"

struct pair {
	heapd_ptr(struct pair) left;
	heapd_ptr(struct pair) right;
};

struct flex {
	uint64_t n;
	heapd_ptr(struct pair) pairs[];
};

static heapd_type *pairs, *flexes;
static char heard[400];
static unsigned reports;

static void on_report(void *arg, int kind, const char *text)
{
	(void)arg;
	if (kind != HEAPD_REPORT_OVERWRITTEN)
		return;
	snprintf(heard, sizeof(heard), "%s", text);
	reports++;
}

static void attach(uint32_t flags)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.flags = flags;
	options.report = on_report;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	cpu_pin(sched_getcpu());
	pairs = heapd_type_define(heap, "pair", struct pair, left, right);
	flexes = heapd_type_define_flex(heap, "flex", struct flex, pairs);
	ck_assert(pairs && flexes);
	reports = 0;
}

static const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off",
					"heap.test.Hardened=yes", NULL };

static void setup(void)
{
	fixture_start(&fixture, settings);
	attach(0);
}

static uint64_t overwrites(void)
{
	struct heapd_info info = HEAPD_SIZED(info);

	ck_call(heapd_get_info(heap, &info));
	return info.overwrites;
}

/* All of it is zero, and the program's. */
static void *whole(void *object, size_t bytes)
{
	size_t size;

	ck_assert_msg(object != NULL, "%s", heapd_error());
	size = heapd_size(object);
	ck_assert_uint_ge(size, bytes);
	ck_assert(bytes_zero(object, size));
	ck_assert_uint_eq(heapd_size((char *)object + size - 1), 1);
	ck_assert_uint_eq(heapd_size((char *)object + size), 0);
	memset(object, 0xff, size);
	return object;
}

static void kinds_use(void)
{
	static const size_t aligns[] = { 16, 64, 1024, 4096 };

	for (size_t bytes = 1; bytes < 70000; bytes += 1 + bytes / 7) {
		void *object = whole(heapd_alloc(heap, bytes), bytes);

		object = heapd_realloc(heap, object, bytes * 3);
		ck_assert_msg(object && heapd_size(object) >= bytes * 3, "%s", heapd_error());
		memset(object, 0xff, heapd_size(object));
		ck_call(heapd_free(object));
		ck_call(heapd_free(whole(heapd_alloc_leaf(heap, bytes), bytes)));
		for (unsigned i = 0; i < 4; i++) {
			object = whole(heapd_alloc_aligned(heap, bytes, aligns[i]), bytes);
			ck_assert_uint_eq((uintptr_t)object % aligns[i], 0);
			ck_call(heapd_free(object));
		}
		ck_call(heapd_free(whole(heapd_new_array(pairs, struct pair, bytes), bytes * 16)));
		ck_call(heapd_free(whole(heapd_new_flex(flexes, struct flex, pairs, bytes), 8 + bytes * 8)));
		ck_call(heapd_free(whole(heapd_new(pairs, struct pair), 16)));
	}
}

/* _i: by sequence, by compare-and-swap. */
START_TEST(all_of_an_object_is_the_programs)
{
	ck_call(heapd_detach(heap));
	attach(path_flags(_i));
	for (unsigned round = 0; round < 3; round++) {
		kinds_use();
		collect();
	}
	ck_assert_uint_eq(reports, 0);
	ck_assert_uint_eq(overwrites(), 0);
	heap_verify(heap, NULL);
}
END_TEST

/* A canary is no pointer, nor a foreign word: in arrays it stands where a field would. */
START_TEST(the_collector_takes_a_canary_for_nothing)
{
	static const size_t counts[] = { 1, 3, 7, 1000, 3000 };
	char value[128];

	for (unsigned i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "array%u", i);
		ck_call(heapd_root_set(heap, name, heapd_new_array(pairs, struct pair, counts[i])));
		snprintf(name, sizeof(name), "flex%u", i);
		ck_call(heapd_root_set(heap, name, heapd_new_flex(flexes, struct flex, pairs, counts[i])));
	}
	collect();
	collect();
	ck_call(heapd_get(heap, "foreign", value, sizeof(value)));
	ck_assert_str_eq(value, "");
	ck_assert_uint_eq(overwrites(), 0);
	heap_verify(heap, NULL);
}
END_TEST

enum { SIZE = 3000, SLAB = 8 };

static __attribute__((noinline)) uint64_t freed(void)
{
	void *object = heapd_alloc_leaf(heap, SIZE);

	ck_assert_ptr_nonnull(object);
	ck_call(heapd_free(object));
	return ~(uint64_t)(uintptr_t)object;
}

static __attribute__((noinline)) void overwrite(uint64_t hidden_address, size_t at, char with)
{
	((volatile char *)(uintptr_t)~hidden_address)[at] = with;
}

static __attribute__((noinline)) bool comes_again(uint64_t hidden_address, unsigned n)
{
	bool found = false;

	while (n--)
		found |= (uint64_t)(uintptr_t)whole(heapd_alloc_leaf(heap, SIZE), SIZE) == ~hidden_address;
	return found;
}

/* In the current slab: it is not what is given out next, but what a collection has found unreachable is given out again. */
START_TEST(a_write_to_what_was_freed_is_told_when_it_comes_again)
{
	uint64_t at = freed();

	overwrite(at, 8, 1);
	ck_assert(!comes_again(at, 2 * SLAB));
	ck_assert_uint_eq(reports, 1);
	ck_assert_msg(strstr(heard, "was overwritten at offset 8, which holds 0xdeadbeefdeadbe01"), "%s",
		      heard);
	ck_assert_msg(strstr(heard, "of type '(leaf)'"), "%s", heard);
	ck_assert_uint_eq(overwrites(), 1);
	for (unsigned i = 0; i < 200 && !comes_again(at, 64); i++)
		collect();
	ck_assert_uint_eq(reports, 1);
	ck_assert_uint_eq(overwrites(), 1);
}
END_TEST

/* The end of the slot, too; and a 0, which poison would be after it was zeroed. */
START_TEST(any_byte_of_what_was_freed_counts)
{
	static const size_t places[] = { 0, 1, SIZE / 2, SIZE - 1 };

	for (unsigned i = 0; i < 4; i++) {
		uint64_t at = freed();

		overwrite(at, places[i], 0);
		comes_again(at, SLAB);
		ck_assert_uint_eq(reports, i + 1);
	}
}
END_TEST

/* The slab has others that live, or its pages would go back, and nobody looks at those. */
START_TEST(a_write_is_found_when_the_daemon_has_the_slot)
{
	static void *objects[64];
	uint64_t at;

	ck_call(heapd_local_add(heap, objects, sizeof(objects)));
	for (unsigned i = 0; i < 64; i++)
		objects[i] = whole(heapd_alloc_leaf(heap, SIZE), SIZE);
	at = ~(uint64_t)(uintptr_t)objects[10];
	for (unsigned i = 0; i < 64; i += 2) {
		ck_call(heapd_free(objects[i]));
		objects[i] = NULL;
	}
	ck_call(heapd_thread_detach(heap));
	ck_call(heapd_sync(heap));
	overwrite(at, 16, 7);
	for (unsigned i = 0; i < 50 && !overwrites(); i++) {
		comes_again(at, 64);
		collect();
	}
	ck_assert_uint_eq(overwrites(), 1);
}
END_TEST

/* One byte of 0 past the end, as of a string: of an object that is freed, and of one that is collected. */
START_TEST(a_write_past_the_end_is_told_of)
{
	char *object = heapd_alloc(heap, 100), wanted[200];

	object[heapd_size(object)] = 0;
	ck_call(heapd_free(object));
	ck_assert_uint_eq(reports, 1);
	snprintf(wanted, sizeof(wanted), "heapd_free(%p): the end of this object (%d bytes, of type '(any)')",
		 (void *)object, 120);
	ck_assert_msg(strstr(heard, wanted), "%s", heard);
	ck_assert_int_eq(heapd_free(object), -EALREADY);
	object = heapd_alloc(heap, 1 << 20);
	object[heapd_size(object)] = 0;
	ck_call(heapd_free(object));
	ck_assert_uint_eq(reports, 2);
	ck_call(heapd_sync(heap));
	ck_assert_uint_eq(overwrites(), 2);
}
END_TEST

static __attribute__((noinline)) void many_overflow(void)
{
	for (unsigned i = 0; i < 64; i++) {
		struct pair *array = heapd_new_array(pairs, struct pair, 4);

		((char *)array)[heapd_size(array)] = 0;
	}
}

START_TEST(a_write_past_the_end_of_what_is_collected_is_logged)
{
	many_overflow();
	for (unsigned i = 0; i < 200; i++)
		ck_assert_ptr_nonnull(heapd_new_array(pairs, struct pair, 4));
	collect();
	collect();
	ck_assert_uint_eq(reports, 0);
	ck_assert_uint_ge(overwrites(), 32);
	ck_assert(fixture_logged(&fixture, "the end of the object at 0x"));
	ck_assert(fixture_logged(&fixture, "of type 'pair') was overwritten at offset"));
}
END_TEST

#define RACES 20000u

static void *raced[RACES];
static _Atomic unsigned started, given;

static void *race(void *arg)
{
	(void)arg;
	started++;
	while (started < 2)
		;
	for (unsigned i = 0; i < RACES; i++)
		given += heapd_free(raced[i]) == 0;
	heapd_thread_detach(heap);
	return NULL;
}

/* Two free the same: one of them is told, each time, and nothing else is harmed. */
START_TEST(one_of_two_who_free_at_once_is_told)
{
	pthread_t threads[2];
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	ck_call(heapd_local_add(heap, raced, sizeof(raced)));
	ck_assert_uint_eq(heapd_alloc_many(heap, 40, RACES, raced), RACES);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, NULL), 0);
	ck_call(heapd_thread_offline(heap));
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	heapd_thread_online(heap);
	ck_assert_uint_eq(given, RACES);
	ck_assert_uint_eq(overwrites(), 0);
	heap_verify(heap, NULL);
}
END_TEST

#define LIVE 300u

/* Allocates and frees by all ways, until it is killed. */
static int churn(void *arg)
{
	static void *objects[LIVE];
	heapd_heap *own = NULL;

	(void)arg;
	srand48(getpid());
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0 || heapd_local_add(own, objects, sizeof(objects)) < 0)
		return 1;
	for (;;) {
		unsigned i = (unsigned)(drand48() * LIVE);

		if (objects[i] && drand48() < 0.9)
			heapd_free(objects[i]);
		objects[i] = heapd_alloc(own, 16 + (size_t)(drand48() * drand48() * 5000));
		if (objects[i])
			memset(objects[i], getpid() & 0xff, heapd_size(objects[i]));
		if (i == 0)
			heapd_collect_start(own);
	}
}

/* Honest programs, killed anywhere; with `restart`, the daemon, too. */
static void deaths(unsigned n, bool restart)
{
	pid_t pids[3] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		pid_t *pid = &pids[i % 3];

		if (*pid) {
			kill(*pid, SIGKILL);
			fixture_wait(*pid, -SIGKILL);
		}
		if (restart && i % 5 == 4) {
			kill(fixture_kept_daemon(&fixture), SIGKILL);
			usleep(100000);
		}
		*pid = fixture_client_fork(churn, NULL);
		usleep(20000);
	}
	for (unsigned i = 0; i < 3; i++) {
		kill(pids[i], SIGKILL);
		fixture_wait(pids[i], -SIGKILL);
	}
}

START_TEST(no_death_is_taken_for_a_mistake)
{
	ck_call(heapd_detach(heap));
	deaths(60, false);
	attach(0);
	collect();
	collect();
	ck_assert_uint_eq(overwrites(), 0);
	heap_verify(heap, NULL);
}
END_TEST

START_TEST(no_restart_is_taken_for_a_mistake)
{
	fixture_start_kept(&fixture, settings);
	/* A daemon that dies before it was ready once is not started again. */
	attach(0);
	ck_call(heapd_detach(heap));
	deaths(25, true);
	attach(0);
	collect();
	collect();
	ck_assert_uint_eq(overwrites(), 0);
	heap_verify(heap, NULL);
	uint64_t at = freed();
	overwrite(at, 8, 1);
	comes_again(at, SLAB);
	ck_assert_uint_eq(overwrites(), 1);
	attached_stop();
}
END_TEST

#define CELLS 3000u

/* Cells are slots, too, which the daemon writes to; free ones it leaves alone. */
START_TEST(cells_of_weak_references_are_not_overwritten)
{
	static heapd_weak *cells[CELLS];

	ck_call(heapd_local_add(heap, cells, sizeof(cells)));
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = round % 2; i < CELLS; i += 2)
			cells[i] = heapd_weak_new(heap, heapd_new(pairs, struct pair));
		collect();
		ck_assert_uint_eq(reports, 0);
	}
	ck_assert_ptr_null(heapd_weak_get(cells[0], struct pair));
	ck_assert_uint_eq(overwrites(), 0);
}
END_TEST

/* A child of fork() goes on as its parent does. */
static int child(void *arg)
{
	uint64_t at = freed();

	(void)arg;
	overwrite(at, 8, 1);
	comes_again(at, SLAB);
	return reports == 1 && overwrites() == 1 ? 0 : 1;
}

START_TEST(the_child_of_a_fork_is_told_as_well)
{
	void *object = heapd_alloc(heap, 100);

	fixture_wait(fixture_client_fork(child, NULL), 0);
	ck_call(heapd_free(object));
	ck_assert_uint_eq(reports, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hardened");
	TCase *tcase = tcase_create("hardened"), *kept = tcase_create("kept");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, attached_stop);
	tcase_add_loop_test(tcase, all_of_an_object_is_the_programs, 0, OBJECTS_PATHS);
	tcase_add_test(tcase, the_collector_takes_a_canary_for_nothing);
	tcase_add_test(tcase, a_write_to_what_was_freed_is_told_when_it_comes_again);
	tcase_add_test(tcase, any_byte_of_what_was_freed_counts);
	tcase_add_test(tcase, a_write_is_found_when_the_daemon_has_the_slot);
	tcase_add_test(tcase, a_write_past_the_end_is_told_of);
	tcase_add_test(tcase, a_write_past_the_end_of_what_is_collected_is_logged);
	tcase_add_test(tcase, one_of_two_who_free_at_once_is_told);
	tcase_add_test(tcase, cells_of_weak_references_are_not_overwritten);
	tcase_add_test(tcase, no_death_is_taken_for_a_mistake);
	tcase_add_test(tcase, the_child_of_a_fork_is_told_as_well);
	tcase_set_timeout(kept, 60);
	tcase_add_test(kept, no_restart_is_taken_for_a_mistake);
	suite_add_tcase(suite, kept);
	return attached_run(tcase, suite);
}
