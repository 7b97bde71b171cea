/* SPDX-License-Identifier: MIT */
/*
 * heapd_free() of objects that are free already, wherever their bit stands by then. Each is refused with its error and a
 * sentence, is reported, and harms nothing: what is alive stays as it was, and the heap verifies.
 */
#include <stdlib.h>

#include "frees.h"
#include "suite.h"

/* The slot lies free in this CPU's current slab; whether that slab is known to be zero or not. */
START_TEST(double_in_current)
{
	begin(_i);
	for (unsigned round = 0; round < 3; round++)
		for (size_t bytes = 16; bytes <= 4096; bytes *= 2) {
			void *p = alloc_in_current(bytes), *q = heapd_alloc(heap, bytes);

			memset(p, 0xff, bytes);
			ck_assert_int_eq(heapd_free(p), 0);
			ck_double(p);
			ck_double(p);
			ck_assert_int_eq(heapd_free(q), 0);
			ck_double(q);
			ck_double(p);
		}
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* More slabs than one: what lies in those before is freed by way of the daemon. */
START_TEST(double_in_freed_word)
{
	void *p[300];

	begin(_i);
	ck_assert_uint_eq(heapd_alloc_many(heap, 96, 300, p), 300);
	nap_ms(30);
	ck_assert_int_eq(heapd_free(p[0]), 0);
	ck_double(p[0]);
	ck_double(p[0]);
	/* Taken back: the ledger has it. The others of its slab stay. */
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_double(p[0]);
	for (unsigned i = 1; i < 300; i++)
		ck_assert_int_eq(heapd_free(p[i]), 0);
	end();
}
END_TEST

START_TEST(double_large)
{
	begin(_i);
	void *p = heapd_alloc(heap, 200000);
	ck_assert_int_eq(heapd_free(p), 0);
	/* Its bit waits for the daemon, or its span is gone by now. */
	int r = heapd_free(p);
	ck_assert_msg(r == -EALREADY || r == -EINVAL, "%d", r);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_bad(p, "no object lies there");
	end();
}
END_TEST

#define CROWD 2000u

/* Freed slots go around, from ledger to ring to current slab: a second free is noticed wherever one is. */
START_TEST(double_anywhere)
{
	static void *p[CROWD];
	static bool freed[CROWD];
	struct heapd_info info = HEAPD_SIZED(info);
	unsigned doubles = 0;
	uint64_t seed = fixture_seed();

	begin(_i);
	srand48((long)seed);
	ck_assert_uint_eq(heapd_alloc_many(heap, 64, CROWD, p), CROWD);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)(drand48() * CROWD);

		if (!p[i])
			continue;
		if (!freed[i]) {
			pattern_fill(p[i], 64, i + 1);
			ck_assert_int_eq(heapd_free(p[i]), 0);
			freed[i] = true;
		} else if (step % 4 == 0) {
			int r = heapd_free(p[i]);

			/* EINVAL: the whole span had been given back. */
			ck_assert_msg(r == 0 || r == -EALREADY || r == -EINVAL, "%d: %s", r, heapd_error());
			doubles += r != -EINVAL;
			if (r == 0)
				ck_assert_int_eq(heapd_sync(heap), 0);
		} else {
			void *again = heapd_alloc(heap, 64);

			ck_assert(bytes_zero(again, 64));
			p[i] = again;
			freed[i] = false;
			/* Whoever had that address before has none now. */
			for (unsigned j = 0; j < CROWD; j++)
				if (j != i && p[j] == again)
					p[j] = NULL;
		}
	}
	/* One that lies in a spare of this thread is judged when the spare has gone back. */
	ck_assert_int_eq(heapd_thread_detach(heap), 0);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	/* A few may have gone unsaid with a span that was given back whole; none is told of that was not. */
	ck_assert_uint_le(info.double_frees, doubles);
	ck_assert_uint_ge(info.double_frees + doubles / 50, doubles);
	ck_assert_uint_gt(doubles, 100);
	for (unsigned i = 0; i < CROWD; i++)
		if (p[i] && !freed[i])
			ck_assert_int_eq(heapd_free(p[i]), 0);
	end();
}
END_TEST

/* The first CPU that this process may run on and that is not `cpu`; -1: there is none. */
static int another_cpu(int cpu)
{
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	for (unsigned i = 0; i < CPU_SETSIZE; i++)
		if ((int)i != cpu && CPU_ISSET(i, &set))
			return (int)i;
	return -1;
}

/* Attached by sequences, where there are any: or the test has nothing to show. */
static bool begin_rseq(void)
{
	begin(0);
	if (heap->path == HEAPD_PATH_RSEQ)
		return true;
	end();
	return false;
}

/* A slot of a slab that is current here, in the ledger's or a ring's hands: freed from elsewhere before. */
START_TEST(double_in_lent)
{
	int here = sched_getcpu(), there = another_cpu(here);
	struct place place;

	if (there < 0 || !begin_rseq())
		return;
	cpu_pin(here);
	void *p = heapd_alloc(heap, 64), *q = heapd_alloc(heap, 64);
	ck_assert(place_find(heap, p, &place));
	cpu_pin(there);
	daemon_stop();
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert(marked_freed(p));
	kill(fixture.daemon, SIGCONT);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert(!marked_freed(p));
	cpu_pin(here);
	ck_double(p);
	/* The other way to current slabs is not taken either. */
	cpu_pin(there);
	ck_double(p);
	cpu_pin(here);
	ck_assert_int_eq(heapd_free(q), 0);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* Slabs that collected here, one after the other, and were put aside as spares of this thread. */
START_TEST(double_in_spare)
{
	void *p[64 * 5];

	if (!begin_rseq())
		return;
	ck_assert_uint_eq(heapd_alloc_many(heap, 64, 64 * 5, p), 64 * 5);
	for (unsigned i = 0; i < 64 * 5; i++)
		ck_assert_int_eq(heapd_free(p[i]), 0);
	for (unsigned i = 0; i < 64 * 5; i++)
		ck_double(p[i]);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* A slot is free in the current slab of its owner; another CPU had the slab, too, and has kept its base. */
START_TEST(double_on_another_cpu)
{
	int here = sched_getcpu(), there = another_cpu(here);
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_rseq_entry *entry;
	struct place place;

	if (there < 0 || !begin_rseq())
		return;
	cpu_pin(here);
	void *p = heapd_alloc(heap, 64);
	ck_assert(place_find(heap, p, &place));
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert_uint_eq(heap->t.owner[place.slab], (unsigned)here + 1);
	entry = heap->t.rseq_rows + (unsigned)there * HEAPD_CLASS_MAX + place.span->class;
	ck_assert_uint_eq(entry->slabs[0].bits | entry->slabs[1].bits, 0);
	entry->slabs[0].base = entry->slabs[1].base = place.base;
	cpu_pin(there);
	ck_assert_int_eq(heapd_free(p), 0); /* seen by nobody yet */
	ck_assert_uint_eq(entry->slabs[0].bits | entry->slabs[1].bits, 0);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert_uint_eq(info.double_frees, 1);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { double_in_current, double_in_freed_word, double_large,
				       double_anywhere };
	Suite *suite = suite_create("double");
	TCase *tc = tcase_create("double");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], 0, OBJECTS_PATHS);
	/* What only the sequences' current slabs have. */
	tcase_add_test(tc, double_in_lent);
	tcase_add_test(tc, double_in_spare);
	tcase_add_test(tc, double_on_another_cpu);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
