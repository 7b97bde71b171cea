/* SPDX-License-Identifier: MIT */
/*
 * The process that makes huge pages: it has nothing of the daemon's but the heap and one socket, it may die, and whoever needs
 * memory does not wait for it. Where the kernel gives no huge pages, that is said, and the rest is looked at.
 */
#include <dirent.h>
#include <signal.h>

#include "daemon/ahead.h"
#include "daemon/collapser.h"
#include "daemon/scavenger.h"
#include "testheap.h"

#define NEVER_NS UINT64_C(3600000000000)
#define SLOTS    4u

static struct testheap t;
static struct collapser c;

static void setup(void)
{
	testheap_init_with(&t, 64 * MIB, 64 * MIB, CONFIG_HUGE_AUTO, 0);
	collapser_init(&c, t.heap->t.base, t.heap->geometry.size);
}

static void teardown(void)
{
	collapser_stop(&c);
	testheap_deinit(&t);
}

static uint64_t huge(void)
{
	return HEAPD_READ_ONCE(testheap_stats(&t)->committed_huge);
}

static unsigned lines_of(const char *file)
{
	char path[64], line[512];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", c.pid, file);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n++;
	fclose(f);
	return n;
}

static unsigned files_of(void)
{
	char path[64];
	unsigned n = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", c.pid);
	folder = opendir(path);
	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n - 2; /* . and .. */
}

/* The heap, a stack, code, and what the kernel puts anywhere. */
START_TEST(it_has_left_what_is_the_daemon_s)
{
	char *chunk = (char *)(uintptr_t)t.heap->t.base;
	int r;

	r = collapser_ask(&c, t.heap->t.base);
	if (r < 0)
		printf("SKIP it_has_left_what_is_the_daemon_s: the kernel gives no huge pages: %d\n", r);
	ck_assert_int_ne(r, -ECHILD);
	ck_assert(r < 0 || *chunk == 0);
	ck_assert_uint_le(lines_of("maps"), 6);
	ck_assert_uint_eq(files_of(), 1);
}
END_TEST

/* What lies there is left as it is. */
START_TEST(it_may_die)
{
	uint64_t at = t.heap->t.base + HEAPD_CHUNK_SIZE;
	char *chunk = (char *)(uintptr_t)at;
	int r;

	memset(chunk, 1, HEAPD_CHUNK_SIZE);
	ck_assert_int_eq(collapser_start(&c), 0);
	ck_assert_int_eq(kill(c.pid, SIGKILL), 0);
	ck_assert_int_eq(collapser_ask(&c, at), -ECHILD);
	r = collapser_ask(&c, at);
	ck_assert_int_ne(r, -ECHILD);
	ck_assert(chunk[0] == 1 && memcmp(chunk, chunk + 1, HEAPD_CHUNK_SIZE - 1) == 0);
}
END_TEST

static void large_free(uint64_t address)
{
	uint32_t first = t.heap->t.page_span[(address - t.heap->t.base) >> HEAPD_PAGE_SHIFT] - 1;
	uint32_t slab = t.heap->t.spans[first].slab0;

	__atomic_fetch_or(&t.heap->t.freed[slab], 1, __ATOMIC_RELEASE);
	__atomic_fetch_or(&t.heap->t.freed_dirty[slab / 64], 1ull << (slab % 64), __ATOMIC_RELEASE);
}

static void await_huge(uint64_t bytes)
{
	uint64_t until = clock_ns() + TESTHEAP_PATIENCE_NS;

	while (huge() < bytes && clock_ns() < until)
		usleep(1000);
	ck_assert_uint_ge(huge(), bytes);
}

/* On demand there are small pages. Ahead of need, and of chunks that are free by then, huge ones come about. */
START_TEST(huge_pages_come_about)
{
	bool expected = collapser_ask(&c, t.heap->t.base + 63 * MIB / HEAPD_CHUNK_SIZE * HEAPD_CHUNK_SIZE) ==
			0,
	     zeroed;
	uint64_t address[SLOTS];

	ck_assert_int_eq(supply_init(t.heap), 0);
	ck_assert_int_eq(scavenger_start_every(t.heap, NEVER_NS), 0);
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, HEAPD_CHUNK_SIZE, 16, 0,
					      &address[i], &zeroed),
				 0);
	if (expected)
		await_huge(HEAPD_CHUNK_SIZE);
	else
		printf("SKIP huge_pages_come_about: the kernel gives none\n");
	for (unsigned i = 1; i < SLOTS; i++)
		large_free(address[i]);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	if (expected)
		await_huge(HEAPD_READ_ONCE(testheap_stats(&t)->committed) - HEAPD_CHUNK_SIZE);
	scavenger_stop(t.heap);
	testheap_is_clean(&t);
}
END_TEST

struct writer {
	uint64_t address[SLOTS];
	bool stop;
};

static uint64_t *word_of(const struct writer *w, uint64_t i)
{
	uint64_t *words = (uint64_t *)(uintptr_t)w->address[i % SLOTS];

	return &words[i / SLOTS % (HEAPD_CHUNK_SIZE / sizeof(uint64_t))];
}

/* Each word of all slots in turn, one more in each round. */
static void *write_on(void *arg)
{
	struct writer *w = arg;
	uint64_t i = 0;

	for (; !HEAPD_LOAD_ACQUIRE(&w->stop); i++)
		++*word_of(w, i);
	return (void *)(uintptr_t)i; /* NOLINT(performance-no-int-to-ptr) */
}

/* How often it was written in n writes: no write is lost, none comes twice. */
static void was_written(const struct writer *w, uint64_t n)
{
	const uint64_t words = SLOTS * HEAPD_CHUNK_SIZE / sizeof(uint64_t);

	for (uint64_t i = 0; i < words; i++)
		ck_assert_uint_eq(*word_of(w, i), n / words + (i < n % words));
}

/* Chunks that never are free become huge pages as others do, while somebody writes to them. */
START_TEST(what_is_in_use_becomes_huge)
{
	bool expected = collapser_ask(&c, t.heap->t.base + 31 * HEAPD_CHUNK_SIZE) == 0, zeroed;
	struct writer w = { .stop = false };
	pthread_t thread;
	void *n;

	ck_assert_int_eq(supply_init(t.heap), 0);
	t.heap->pages->collapse_fails = true; /* small pages first, ahead of need, too */
	t.heap->pages->until_collapse = UINT32_MAX;
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, HEAPD_CHUNK_SIZE, 16, 0,
					      &w.address[i], &zeroed),
				 0);
	ck_assert_uint_eq(huge(), 0);
	t.heap->pages->collapse_fails = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, write_on, &w), 0);
	ck_assert_int_eq(scavenger_start_every(t.heap, NEVER_NS), 0);
	if (expected)
		await_huge(SLOTS * HEAPD_CHUNK_SIZE);
	else
		printf("SKIP what_is_in_use_becomes_huge: the kernel gives none\n");
	HEAPD_STORE_RELEASE(&w.stop, true);
	pthread_join(thread, &n);
	was_written(&w, (uintptr_t)n);
	scavenger_stop(t.heap);
	testheap_is_clean(&t);
}
END_TEST

/* The process is stopped: nobody waits for it. */
START_TEST(demand_does_not_wait)
{
	uint64_t address;
	bool zeroed;

	ck_assert_int_eq(supply_init(t.heap), 0);
	ck_assert_int_eq(collapser_start(&c), 0);
	ck_assert_int_eq(kill(c.pid, SIGSTOP), 0);
	pages_scavenged(t.heap->pages, &c);
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, HEAPD_CHUNK_SIZE, 16, 0,
					      &address, &zeroed),
				 0);
	supply_round(t.heap);
	ck_assert_uint_gt(HEAPD_READ_ONCE(testheap_stats(&t)->committed), SLOTS * HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(huge(), 0);
	pages_scavenged(t.heap->pages, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("collapser");
	TCase *tests = tcase_create("collapser");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, it_has_left_what_is_the_daemon_s);
	tcase_add_test(tests, it_may_die);
	tcase_add_test(tests, huge_pages_come_about);
	tcase_add_test(tests, what_is_in_use_becomes_huge);
	tcase_add_test(tests, demand_does_not_wait);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
