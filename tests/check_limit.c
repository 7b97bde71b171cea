/* SPDX-License-Identifier: MIT */
/*
 * Allocation where there is nothing to allocate: the heap at its limit, a read-only attachment, a
 * daemon that is stopped or dead. Each has its error and its sentence, none waits longer than it may,
 * and what can go on goes on.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "client/client.h"
#include "objects.h"
#include "suite.h"

#define SUPPLY_MS 300u
#define MS        1000000ull

static struct fixture fixture;
static heapd_heap *heap;

/* What was allocated, linked through the objects' first words. */
struct chain {
	struct chain *next;
};

static void setup(void)
{
	static const char *const settings[] = { "heap.test.Limit=32M", NULL };

	fixture_start(&fixture, settings);
}

static void teardown(void)
{
	if (fixture.daemon)
		fixture_stop(&fixture);
}

static size_t fill(struct chain **chain, size_t bytes)
{
	size_t n = 0;
	struct chain *c;

	while ((c = (struct chain *)heapd_alloc(heap, bytes))) {
		ck_must(bytes_zero(c, bytes), "an object at %p is not zero", (void *)c);
		c->next = *chain;
		*chain = c;
		n++;
	}
	return n;
}

static void drain(struct chain **chain)
{
	while (*chain) {
		struct chain *next = (*chain)->next;

		ck_must(heapd_free(*chain) == 0, "%s", heapd_error());
		*chain = next;
	}
}

/* Full to the brim with one size, then the same with another: all of it comes back. */
START_TEST(full_and_again)
{
	static const size_t sizes[] = { 64, 16, 5000, 1000, 32768, 64 };
	struct chain *chain = NULL;
	struct heapd_info info = HEAPD_SIZED(info);

	heap = heap_attach(path_flags(_i), 2000);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t bytes = fill(&chain, sizes[i]) * sizes[i];

		ck_said(ENOMEM, "at its limit");
		ck_assert_msg(bytes > 27u << 20, "only %llu bytes of %zu each before the limit",
			      (unsigned long long)bytes, sizes[i]);
		ck_assert_int_eq(heapd_get_info(heap, &info), 0);
		ck_assert_uint_le(info.committed, 32u << 20);
		ck_assert_ptr_null(heapd_alloc(heap, 1 << 20));
		ck_said(ENOMEM, "Limit=");
		/* It is the daemon that takes back; an allocation that comes before waits for it. */
		drain(&chain);
		void *p = heapd_alloc(heap, sizes[i]);
		ck_assert_msg(p != NULL, "%s", heapd_error());
		ck_assert_int_eq(heapd_free(p), 0);
	}
	ck_assert_uint_eq(heap_allocated(heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(many_at_the_limit)
{
	static void *out[700];
	struct chain *chain = NULL;

	heap = heap_attach(path_flags(_i), 2000);
	fill(&chain, 100000);
	size_t n = heapd_alloc_many(heap, 4096, 700, out);
	while (n == 700)
		n = heapd_alloc_many(heap, 4096, 700, out);
	ck_said(ENOMEM, "at its limit");
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(heapd_free(out[i]), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

static void some_of_each(size_t n)
{
	static void *p[4000];

	for (size_t bytes = 16; bytes <= 640; bytes += bytes < 128 ? 16 : bytes / 8) {
		size_t got = heapd_alloc_many(heap, bytes, n, p);

		for (size_t i = 0; i < got; i++)
			ck_must(heapd_free(p[i]) == 0, "%s", heapd_error());
	}
}

/* A batch that a thread has no place for comes back, also when more do than the daemon fetches. */
START_TEST(spares_come_back)
{
	heap = heap_attach(path_flags(_i), 50);
	/* Much at once, so that each entry of the rings carries more than one slab. */
	for (unsigned round = 0; round < 4; round++)
		some_of_each(4000);
	ck_assert_int_eq(kill(fixture.daemon, SIGSTOP), 0);
	some_of_each(200);
	ck_assert_int_eq(kill(fixture.daemon, SIGCONT), 0);
	ck_assert_int_eq(heapd_thread_detach(heap), 0);
	ck_assert_uint_eq(heap_allocated(heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

struct word {
	heapd_ptr(struct word) next;
	char text[24];
};

static int make_root(void *unused)
{
	(void)unused;
	heap = heap_attach(0, 0);
	heapd_type *words = heapd_type_define(heap, "word", struct word, next);
	struct word *w = heapd_root(heap, "words", struct word, words);
	if (!w)
		return 1;
	strcpy(w->text, "index");
	return 0;
}

START_TEST(read_only)
{
	void *out[2];

	fixture_wait(fixture_client_fork(make_root, NULL), 0);
	heap = heap_attach(HEAPD_ATTACH_READ_ONLY | path_flags(_i), 0);
	heapd_type *words = heapd_type_find(heap, "word");
	struct word *w = (struct word *)heapd_root_get(heap, "words", words);
	ck_assert_msg(w != NULL, "%s", heapd_error());
	ck_assert_str_eq(w->text, "index");
	ck_assert_uint_ge(heapd_size(w), sizeof(*w));
	ck_assert_ptr_eq(heapd_type_of(w), words);

#define ck_read_only(call)                   \
	do {                                 \
		errno = 0;                   \
		ck_assert(!(call));          \
		ck_said(EROFS, "read-only"); \
	} while (0)
	ck_read_only(heapd_alloc(heap, 64));
	ck_read_only(heapd_alloc_leaf(heap, 1));
	ck_read_only(heapd_alloc(heap, 1 << 20));
	ck_read_only(heapd_alloc_aligned(heap, 10, 256));
	ck_read_only(heapd_alloc_many(heap, 64, 2, out));
	ck_read_only(heapd_new(words, struct word));
	ck_read_only(heapd_realloc(heap, w, sizeof(*w)));
	ck_read_only(heapd_realloc(heap, NULL, 8));
	ck_read_only(heapd_strdup(heap, "x"));
	ck_read_only(heapd_memdup(heap, "x", 1));
	ck_assert_int_eq(heapd_free(w), -EROFS);
	ck_said(EROFS, "read-only");
	ck_assert_int_eq(heapd_free(&w), -EROFS);
	ck_assert_int_eq(heapd_free(NULL), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(no_heap)
{
	void *out[2];

#define ck_no_heap(call)                         \
	do {                                     \
		errno = 0;                       \
		ck_assert(!(call));              \
		ck_said(ENODEV, "heapd_attach"); \
	} while (0)
	ck_no_heap(heapd_alloc(NULL, 64));
	ck_no_heap(heapd_alloc_leaf(NULL, 64));
	ck_no_heap(heapd_alloc(NULL, 1 << 20));
	ck_no_heap(heapd_alloc_aligned(NULL, 64, 64));
	ck_no_heap(heapd_alloc_many(NULL, 64, 2, out));
	ck_no_heap(heapd_strdup(NULL, "x"));
	ck_no_heap(heapd_realloc(NULL, NULL, 10));
	ck_no_heap(heapd_alloc(NULL, 100));
}
END_TEST

static _Atomic unsigned away_reports;

static void on_report(void *arg, int kind, const char *text)
{
	(void)arg;
	away_reports += kind == HEAPD_REPORT_DAEMON_AWAY && strstr(text, "gone");
}

/*
 * What tells is a call that fails because of it, once the daemon has been away for as long as it may be; and that counts from when the
 * agent saw it go, which on a busy machine may be so late that the first call that fails is not it.
 */
static void ck_reported_once(void)
{
	for (uint64_t end = fixture_now_ns() + 10000 * MS; !away_reports && fixture_now_ns() < end;)
		ck_assert_ptr_null(heapd_alloc(heap, 64));
	ck_assert_uint_eq(away_reports, 1);
}

static uint64_t ck_bounded(uint64_t begin, uint64_t most_ms)
{
	uint64_t took = fixture_now_ns() - begin;

	ck_assert_msg(took < most_ms * MS, "%llu ms", (unsigned long long)(took / MS));
	return took;
}

/* A whole slab at least lies in the ring, however fast this thread was. */
static void wait_for_supply(uint64_t bytes)
{
	uint32_t class = HEAPD_TYPE_ANY * HEAPD_SIZECLASS_TOTAL + heapd_sizeclass_of(bytes);
	uint64_t begin = fixture_now_ns();

	while (HEAPD_LOAD_ACQUIRE(&heap->t.heads[class].head) >=
	       HEAPD_LOAD_ACQUIRE(&heap->t.rings[class].tail))
		ck_bounded(begin, 10000);
}

/* The daemon is killed: what it had supplied can be had still, then EAGAIN; nothing waits for ever. */
START_TEST(daemon_killed)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	struct chain *chain = NULL;

	options.flags = path_flags(_i);
	options.supply_timeout_ms = options.request_timeout_ms = SUPPLY_MS;
	options.report = on_report;
	ck_assert_int_eq(heapd_attach(&heap, FIXTURE_HEAP, &options), 0);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
	wait_for_supply(64);
	fixture_kill(&fixture, SIGKILL);

	uint64_t begin = fixture_now_ns();
	ck_assert_uint_gt(fill(&chain, 64), 20);
	ck_said(EAGAIN, "daemon");
	ck_bounded(begin, 3 * SUPPLY_MS);
	ck_reported_once();
	/* What was freed into a current slab can be had again. */
	struct chain *last = chain;
	chain = chain->next;
	ck_assert_int_eq(heapd_free(last), 0);
	drain(&chain);
	begin = fixture_now_ns();
	ck_assert_ptr_null(heapd_alloc(heap, 3000));
	ck_said(EAGAIN, "away");
	ck_assert_ptr_null(heapd_alloc(heap, 1 << 20));
	ck_said(EAGAIN, "away");
	ck_assert_int_eq(heapd_sync(heap), -EAGAIN);
	/* Each of the three has waited for the daemon's return. */
	ck_assert_uint_gt(ck_bounded(begin, 5 * SUPPLY_MS), 2 * SUPPLY_MS * MS);
	ck_assert_uint_eq(away_reports, 1);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* The daemon is stopped: the same after the time allowed; and when it goes on, so does everything. */
START_TEST(daemon_stopped)
{
	struct chain *chain = NULL;

	heap = heap_attach(path_flags(_i), SUPPLY_MS);
	ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
	/* The first slab is of no use to a thread that goes on on another processor. */
	wait_for_supply(64);
	ck_assert_int_eq(kill(fixture.daemon, SIGSTOP), 0);
	uint64_t begin = fixture_now_ns();
	ck_assert_uint_gt(fill(&chain, 64), 20);
	ck_said(EAGAIN, "time allowed");
	ck_assert_uint_ge(ck_bounded(begin, 4 * SUPPLY_MS), SUPPLY_MS * MS);
	ck_assert_int_eq(kill(fixture.daemon, SIGCONT), 0);
	ck_assert_msg(heapd_alloc(heap, 64) != NULL, "%s", heapd_error());
	drain(&chain);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* How often this thread has gone to sleep: whatever else the machine does, who does not wait does not. */
static long naps_taken(void)
{
	struct rusage usage;

	ck_assert_int_eq(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_nvcsw;
}

START_TEST(no_wait)
{
	long naps;

	heap = heap_attach(path_flags(_i) | HEAPD_ATTACH_NO_WAIT, 0);
	uint64_t begin = fixture_now_ns();
	/* Of a class never used nothing is supplied yet; asking is enough for the next. */
	naps = naps_taken();
	ck_assert_ptr_null(heapd_alloc(heap, 720));
	ck_said(EAGAIN, "supply");
	ck_assert_int_eq(naps_taken(), naps);
	while (!heapd_alloc(heap, 720))
		ck_bounded(begin, 5000);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { full_and_again, many_at_the_limit, spares_come_back, read_only,
				       no_heap,        daemon_killed,     daemon_stopped,   no_wait };
	Suite *suite = suite_create("limit");
	TCase *tc = tcase_create("limit");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], 0, OBJECTS_PATHS);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
