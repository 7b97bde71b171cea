/* SPDX-License-Identifier: MIT */
/* For tests of heapd_free(): a heap with objects of several sizes, which are whole at the end, and nothing else is left. */
#ifndef HEAPD_TESTS_FREES_H
#define HEAPD_TESTS_FREES_H

#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "client/place.h"
#include "client/thread.h"
#include "objects.h"

#define KEPT 100u

static struct fixture fixture;
static heapd_heap *heap;
static void *kept[KEPT]; /* alive throughout */
static unsigned reports[8];

static inline void on_report(void *arg, int kind, const char *text)
{
	ck_assert_ptr_eq(arg, reports);
	ck_assert_int_lt(kind, 8);
	ck_assert_msg(strlen(text) > 10, "%s", text);
	reports[kind]++;
}

static inline void setup(void)
{
	fixture_start(&fixture, NULL);
	memset(reports, 0, sizeof(reports));
}

static inline void teardown(void)
{
	fixture_stop(&fixture);
}

static inline void nap_ms(unsigned ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* Attached, on one CPU, with objects of several sizes alive. */
static inline void begin(int path)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	cpu_pin(sched_getcpu());
	options.flags = path_flags(path);
	options.report = on_report;
	options.report_arg = reports;
	ck_assert_msg(heapd_attach(&heap, FIXTURE_HEAP, &options) == 0, "%s", heapd_error());
	for (unsigned i = 0; i < KEPT; i++) {
		kept[i] = heapd_alloc(heap, 16u << (i % 13));
		ck_assert_ptr_nonnull(kept[i]);
		pattern_fill(kept[i], heapd_size(kept[i]), i + 1);
	}
	/* The rings are filled by then, and pages stay what they are. */
	nap_ms(30);
}

/* Objects that alloc_in_current() had no use for: the first word of each leads to the next. */
static void *aside;

/*
 * An object that is free in a current slab once it is freed: what comes again at once is. Any other may be the last slot of its
 * slab, which is nobody's current then; slabs of one free slot come whenever the daemon harvests in the midst of frees.
 */
static inline void *alloc_in_current(size_t bytes)
{
	for (;;) {
		void *p = heapd_alloc(heap, bytes), *again;

		ck_assert_ptr_nonnull(p);
		ck_assert_int_eq(heapd_free(p), 0);
		again = heapd_alloc(heap, bytes);
		if (again == p)
			return p;
		ck_assert_ptr_nonnull(again);
		*(void **)again = aside;
		aside = again;
	}
}

static inline void aside_free(void)
{
	while (aside) {
		void *p = aside;

		aside = *(void **)p;
		ck_assert_int_eq(heapd_free(p), 0);
	}
}

/* Nothing was harmed: all of it is whole, is free now, and there was no more. */
static inline void end(void)
{
	for (unsigned i = 0; i < KEPT; i++)
		ck_assert(pattern_whole(kept[i], heapd_size(kept[i]), i + 1));
	heap_verify(heap, NULL);
	aside_free();
	for (unsigned i = 0; i < KEPT; i++)
		ck_assert_int_eq(heapd_free(kept[i]), 0);
	ck_assert_uint_eq(heap_allocated(heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}

static inline void ck_bad(void *p, const char *word)
{
	unsigned before = reports[HEAPD_REPORT_BAD_FREE];

	ck_assert_int_eq(heapd_free(p), -EINVAL);
	ck_said(EINVAL, word);
	ck_said(EINVAL, "nothing was freed");
	ck_assert_uint_eq(reports[HEAPD_REPORT_BAD_FREE], before + 1);
}

static inline void ck_double(void *p)
{
	unsigned before = reports[HEAPD_REPORT_DOUBLE_FREE];

	ck_assert_int_eq(heapd_free(p), -EALREADY);
	ck_said(EALREADY, "double free");
	ck_assert_uint_eq(reports[HEAPD_REPORT_DOUBLE_FREE], before + 1);
}

/* Until SIGCONT nothing that was freed is taken back. */
static inline void daemon_stop(void)
{
	siginfo_t info;

	kill(fixture.daemon, SIGSTOP);
	ck_assert_int_eq(waitid(P_PID, (id_t)fixture.daemon, &info, WSTOPPED), 0);
}

static inline bool marked_freed(const void *p)
{
	struct place place;

	ck_assert(place_find(heap, p, &place));
	return HEAPD_READ_ONCE(heap->t.freed[place.slab]) & place.bit;
}

#endif
