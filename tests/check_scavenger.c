/* SPDX-License-Identifier: MIT */
/* Memory that stays free goes back to the system, while a client keeps the memory file's lock busy, too. */
#include "testheap.h"

#include <signal.h>
#include <sys/wait.h>

#include "daemon/scavenger.h"
#include "suite.h"

static struct testheap t;

static void setup(void)
{
	testheap_init(&t, 256 * MIB, 256 * MIB);
	testheap_start(&t);
}

static void teardown(void)
{
	testheap_deinit(&t);
}

static uint64_t committed(void)
{
	return HEAPD_READ_ONCE(testheap_stats(&t)->committed);
}

/* Large objects of 4 MiB that come and go, in the lowest pages of the heap. */
static void come_and_go(unsigned n)
{
	uint64_t address[24];
	bool zeroed;

	ck_assert_uint_le(n, sizeof(address) / sizeof(address[0]));
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(
			supply_large(t.heap, HEAPD_SIZECLASS_LARGE, 4 * MIB, 16, 0, &address[i], &zeroed), 0);
	for (unsigned i = 0; i < n; i++) {
		uint32_t first = t.heap->t.page_span[(address[i] - t.heap->t.base) >> HEAPD_PAGE_SHIFT] - 1;
		uint32_t slab = t.heap->t.spans[first].slab0;

		__atomic_fetch_or(&t.heap->t.freed[slab], 1, __ATOMIC_RELEASE);
		__atomic_fetch_or(&t.heap->t.freed_dirty[slab / 64], 1ull << (slab % 64), __ATOMIC_RELEASE);
	}
	ck_assert_int_eq(supply_sync(t.heap), 0);
}

static void verify(void)
{
	struct heapd_verify_reply reply;

	ck_assert_int_eq(verify_heap(t.heap, &reply), 0);
	ck_assert_msg(reply.faults == 0, "%s", reply.first);
}

START_TEST(what_two_looks_find_free_goes)
{
	uint64_t most;

	come_and_go(16);
	most = committed();
	ck_assert_uint_ge(most, 64 * MIB);
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
	ck_assert_uint_ge(scavenger_look(t.heap), 16);
	ck_assert_uint_le(committed(), most / 2);
	ck_assert_uint_gt(committed(), 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->returned), most - committed());
	verify();
	/* More than before, so that none of the chunks that the supplier had committed ahead stays as it was. */
	come_and_go(24);
	verify();
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
}
END_TEST

static bool looking;

static void *look_again_and_again(void *n)
{
	uint64_t *gone = n;

	while (HEAPD_READ_ONCE(looking))
		HEAPD_WRITE_ONCE(*gone, *gone + scavenger_look(t.heap));
	return NULL;
}

/* Chunks go and come back while another process keeps the inode's lock busy: no page is given out meanwhile. */
START_TEST(beside_supply_and_a_busy_inode)
{
	pthread_t thread;
	uint64_t gone = 0;
	pid_t pid = fork();

	if (pid == 0)
		for (;;) {
			fallocate(t.heap->heap_fd, FALLOC_FL_KEEP_SIZE, 200 * MIB, 8 * MIB);
			fallocate(t.heap->heap_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 200 * MIB,
				  8 * MIB);
		}
	ck_assert_int_gt(pid, 0);
	HEAPD_WRITE_ONCE(looking, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, look_again_and_again, &gone), 0);
	/* On a slow machine two looks may not find time between two rounds. */
	for (unsigned i = 0; i < 40 || (!HEAPD_READ_ONCE(gone) && i < 400); i++) {
		come_and_go(16);
		verify();
	}
	HEAPD_WRITE_ONCE(looking, false);
	pthread_join(thread, NULL);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_gt(gone, 0);
	verify();
}
END_TEST

START_TEST(starts_and_stops)
{
	ck_assert_int_eq(scavenger_start(t.heap), 0);
	ck_assert_ptr_nonnull(t.heap->scavenger);
	ck_assert(scavenger_stop(t.heap));
	ck_assert_ptr_null(t.heap->scavenger);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scavenger");
	TCase *tests = tcase_create("scavenger");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, what_two_looks_find_free_goes);
	tcase_add_test(tests, beside_supply_and_a_busy_inode);
	tcase_add_test(tests, starts_and_stops);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
