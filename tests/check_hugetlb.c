/* SPDX-License-Identifier: MIT */
/*
 * HugePages=hugetlb with real pages of the kernel's pool: a heap in them is filled, collected, filled again, and verified.
 * The pool is made larger for the test, and what it was afterwards.
 */
#include "attached.h"

#include <errno.h>
#include <stdio.h>

#define MIB   (1ul << 20)
#define PAGES 32ul /* of 2 MiB: the whole of a heap is set aside */

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static const char pool[] = POOL "nr_hugepages";
static long before = -1;

static long pool_read(const char *name)
{
	FILE *f = fopen(name, "re");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

static void pool_write(long n)
{
	FILE *f = fopen(pool, "we");

	if (f) {
		fprintf(f, "%ld\n", n);
		fclose(f);
	}
}

static bool pool_grow(void)
{
	before = pool_read(pool);
	if (before < 0)
		return false;
	pool_write(before + (long)PAGES);
	return pool_read(pool) >= before + (long)PAGES;
}

/* In use, or set aside for who will. */
static long pages_taken(void)
{
	return pool_read(pool) - pool_read(POOL "free_hugepages") + pool_read(POOL "resv_hugepages");
}

static const char *const settings[] = { "heap.test.Size=64M", "heap.test.Limit=64M",
					"heap.test.HugePages=hugetlb", "heap.test.GCPercent=100", NULL };

/* How many objects of 64 KiB there was room for; each is a root's, by the one made after it. */
static unsigned fill(void **pin)
{
	unsigned n = 0;
	void **o;

	while (n < 2048 && (o = (void **)heapd_alloc(heap, 64 * 1024)) != NULL) {
		memset(o + 1, (int)n, 64 * 1024 - sizeof(*o));
		heapd_init(o, *pin);
		heapd_store(pin, (void *)o);
		n++;
	}
	return n;
}

static void verify(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_assert_msg(heapd_verify(heap, &v) == 0, "%s", v.first);
}

START_TEST(a_heap_of_huge_pages)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_options options = heapd_options_default();
	unsigned first, again;
	void **pin;

	fixture_start(&fixture, settings);
	ck_assert_int_ge(pages_taken(), (long)PAGES);
	/* A verification takes what it takes, and large objects wait for three times as long after it (connections.c). */
	options.request_timeout_ms = 3600000;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	pin = (void **)heapd_pin(heap, (void *)NULL);
	first = fill(pin);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_ge(first, 48 * MIB / (64 * 1024));
	verify();
	heapd_store(pin, (void *)NULL);
	ck_call(heapd_collect(heap));
	again = fill(pin);
	ck_assert_msg(again >= first / 10 * 9, "%u, before it were %u: %s", again, first, heapd_error());
	for (void **o = *pin; o; o = *o)
		again--;
	ck_assert_uint_eq(again, 0);
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_gt(info.committed, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(heap->t.directory->stats.committed_huge),
			  HEAPD_READ_ONCE(heap->t.directory->stats.committed));
	verify();
	ck_call(heapd_unpin(pin));
	attached_stop();
	ck_assert_int_lt(pages_taken(), (long)PAGES);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("hugetlb");
	int r;

	tcase_set_timeout(tcase, 60);
	if (!pool_grow()) {
		pool_write(before);
		printf("SKIP a_heap_of_huge_pages: the kernel gives no %lu huge pages of 2 MiB\n", PAGES);
		return 77;
	}
	tcase_add_test(tcase, a_heap_of_huge_pages);
	r = attached_run(tcase, suite_create("hugetlb"));
	pool_write(before);
	return r;
}
