/* SPDX-License-Identifier: MIT */
/* Memory that stays free goes back to the system, while a client keeps the memory file's lock busy, too. */
#include "testheap.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "daemon/scavenger.h"
#include "stuck.h"
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

/* With nothing in spans the supplier begins no more; a chunk may be on its way. */
static void wait_for_ahead(void)
{
	bool is_ahead = true;

	while (is_ahead) {
		usleep(100);
		heap_lock(t.heap);
		is_ahead = t.heap->pages->ahead[PAGES_SUPPLIER].is_on;
		heap_unlock(t.heap);
	}
}

#define LARGE (4 * MIB)

/* Large objects that come and go, in the lowest pages of the heap. */
static void come_and_go_of(unsigned n, uint64_t bytes)
{
	uint64_t address[512];
	bool zeroed;

	ck_assert_uint_le(n, sizeof(address) / sizeof(address[0]));
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(
			supply_large(t.heap, HEAPD_SIZECLASS_LARGE, bytes, 16, 0, &address[i], &zeroed), 0);
	for (unsigned i = 0; i < n; i++) {
		uint32_t first = t.heap->t.page_span[(address[i] - t.heap->t.base) >> HEAPD_PAGE_SHIFT] - 1;
		uint32_t slab = t.heap->t.spans[first].slab0;

		__atomic_fetch_or(&t.heap->t.freed[slab], 1, __ATOMIC_RELEASE);
		__atomic_fetch_or(&t.heap->t.freed_dirty[slab / 64], 1ull << (slab % 64), __ATOMIC_RELEASE);
	}
	ck_assert_int_eq(supply_sync(t.heap), 0);
	wait_for_ahead();
}

static void come_and_go(unsigned n)
{
	come_and_go_of(n, LARGE);
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
	/*
	 * More than before, even where each large object had to go past a chunk that the supplier had in hand, so that none of what it
	 * committed ahead stays as it was; and small enough for a chunk beside one that it has in hand now.
	 */
	come_and_go_of(512, 256 * 1024);
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

#define FAR ((off_t)(200 * MIB)) /* where nothing lies */

/* A client that holds the lock for good: supply goes on, the look comes to its end, and the next one after that makes it good. */
START_TEST(beside_a_held_inode)
{
	pid_t holder = stuck_start("beside_a_held_inode", t.heap->heap_fd, FAR);
	uint64_t most, begin;

	if (!holder)
		return;
	come_and_go(16);
	most = committed();
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
	begin = clock_ns();
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
	ck_assert_uint_lt(clock_ns() - begin, 3 * PUNCH_PATIENCE_NS);
	ck_assert(testheap_logged(&t, "keeps the kernel busy"));
	/* It is not waited for again. */
	begin = clock_ns();
	for (unsigned i = 0; i < 20; i++) {
		ck_assert_uint_eq(scavenger_look(t.heap), 0);
		come_and_go(16);
		verify();
	}
	ck_assert_uint_lt(clock_ns() - begin, 20 * PUNCH_PATIENCE_NS);
	ck_assert_uint_ge(committed(), most);
	most = committed();
	stuck_end(holder);
	for (begin = clock_ns(); !scavenger_look(t.heap); usleep(1000))
		ck_assert_uint_lt(clock_ns() - begin, 10000000000u);
	ck_assert_uint_lt(committed(), most);
	verify();
}
END_TEST

static _Noreturn void look_and_say(int tell)
{
	scavenger_look(t.heap);
	if (write(tell, "s", 1) == 1)
		pause();
	_exit(1);
}

static bool ends_within(pid_t pid, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	while (clock_ns() < end)
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return true;
		else
			usleep(1000);
	return false;
}

/*
 * Whoever looks, as the daemon does, can be killed while a client holds the lock; and the next one knows that the chunk may still
 * be emptied, until it cannot any more.
 */
START_TEST(death_beside_a_held_inode)
{
	pid_t holder = stuck_start("death_beside_a_held_inode", t.heap->heap_fd, FAR), daemon;
	struct punch next;
	int pair[2];
	char word;

	if (!holder)
		return;
	ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
	come_and_go(16);
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
	heap_lock(t.heap);
	daemon = fork();
	heap_unlock(t.heap);
	if (daemon == 0) {
		punch_open(&t.heap->punch, t.heap->ledger_fd);
		look_and_say(pair[1]);
	}
	close(pair[1]);
	ck_assert_int_eq(read(pair[0], &word, 1), 1);
	kill(daemon, SIGKILL);
	ck_assert_msg(ends_within(daemon, 1000000000u), "a client keeps the daemon from dying");
	/* Nothing of it is left open but what says that it punches. */
	ck_assert_int_eq(read(pair[0], &word, 1), 0);
	punch_init(&next);
	punch_open(&next, t.heap->ledger_fd);
	ck_assert(punch_is_late(&next));
	stuck_end(holder);
	for (uint64_t begin = clock_ns(); punch_is_late(&next); usleep(1000))
		ck_assert_uint_lt(clock_ns() - begin, 10000000000u);
	punch_deinit(&next);
	close(pair[0]);
}
END_TEST

/* What the kernel counts for the heap's memory file. */
static uint64_t in_memory(void)
{
	struct stat s;

	ck_assert_int_eq(fstat(t.heap->heap_fd, &s), 0);
	return (uint64_t)s.st_blocks * 512;
}

static uint64_t returned(void)
{
	return HEAPD_READ_ONCE(testheap_stats(&t)->returned);
}

#define PERIOD_NS  UINT64_C(50000000)
#define PATIENT_NS UINT64_C(30000000000)

/*
 * However much is free, in no stretch of time more chunks go than one for each SCAVENGER_CHUNK_NS, and one. Looked at from outside, the
 * stretch can only seem longer than it was: so a slow machine never fails this, and a scavenger that knows no rest does, since
 * all goes in a small part of the time that is allowed.
 */
START_TEST(memory_goes_at_a_bounded_rate)
{
	uint64_t begin, now, n = 0, most, free = 0, file;

	come_and_go(24);
	most = committed();
	file = in_memory();
	begin = clock_ns();
	ck_assert_int_eq(scavenger_start_every(t.heap, PERIOD_NS), 0);
	do {
		usleep(1000);
		n = returned();
		now = clock_ns();
		ck_assert_msg(n <= (1 + (now - begin) / SCAVENGER_CHUNK_NS) * HEAPD_CHUNK_SIZE,
			      "%llu bytes were given back in %llu ms", (unsigned long long)n,
			      (unsigned long long)(now - begin) / 1000000);
		free += n == most - committed();
	} while (n < 32 * MIB && now - begin < PATIENT_NS);
	scavenger_stop(t.heap);
	/* And it is the system's: the file has so much less. */
	n = returned();
	ck_assert_uint_ge(n, 32 * MIB);
	ck_assert_uint_gt(free, 0);
	ck_assert_uint_ge(file - in_memory(), n - HEAPD_CHUNK_SIZE);
	verify();
}
END_TEST

START_TEST(starts_and_stops)
{
	ck_assert_int_eq(scavenger_start(t.heap), 0);
	ck_assert_ptr_nonnull(t.heap->scavenger);
	scavenger_stop(t.heap);
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
	tcase_add_test(tests, beside_a_held_inode);
	tcase_add_test(tests, death_beside_a_held_inode);
	tcase_add_test(tests, memory_goes_at_a_bounded_rate);
	tcase_add_test(tests, starts_and_stops);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
