/* SPDX-License-Identifier: MIT */
/*
 * What tests do with objects: attach by either path, fill objects with a pattern that names them, and
 * find it whole again.
 */
#ifndef HEAPD_TESTS_OBJECTS_H
#define HEAPD_TESTS_OBJECTS_H

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "heapd.h"

#include "fixture.h"
#include "processor.h"

#define OBJECTS_PATHS 2 /* a loop test's _i as flags: by sequence, by compare-and-swap */

static inline uint32_t path_flags(int i)
{
	return i ? HEAPD_ATTACH_NO_RSEQ : 0;
}

/* Attaches to the fixture's heap; allocation waits at most supply_ms (0: the default). */
static inline heapd_heap *heap_attach(uint32_t flags, uint32_t supply_ms)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	heapd_heap *heap = NULL;

	options.flags = flags;
	options.supply_timeout_ms = supply_ms;
	ck_assert_msg(heapd_attach(&heap, FIXTURE_HEAP, &options) == 0, "%s", heapd_error());
	return heap;
}

/* The daemon's word on the whole heap; and, if asked, what it counted. */
static inline void heap_verify(heapd_heap *heap, struct heapd_verify_result *result)
{
	struct heapd_verify_result mine = HEAPD_SIZED(mine);

	if (!result)
		result = &mine;
	result->size = sizeof(*result);
	int r = heapd_verify(heap, result);
	ck_assert_msg(r >= 0, "%s", heapd_error());
	ck_assert_msg(r == 0, "%llu faults; the first: %s", (unsigned long long)result->faults,
		      result->first);
}

/* Bytes that are allocated, with everything taken back that was freed. */
static inline uint64_t heap_allocated(heapd_heap *heap)
{
	struct heapd_verify_result result;

	ck_assert_int_eq(heapd_sync(heap), 0);
	heap_verify(heap, &result);
	return result.allocated;
}

static inline bool bytes_zero(const void *p, size_t n)
{
	const char *c = (const char *)p;

	return n == 0 || (c[0] == 0 && memcmp(c, c + 1, n - 1) == 0);
}

static inline uint64_t pattern_word(uint64_t tag, size_t i)
{
	uint64_t z = (tag << 32 | (i + 1)) * 0x9e3779b97f4a7c15ull;

	return (z ^ z >> 29) | 1;
}

/* Fills n bytes, a multiple of 8, with words that no other tag and no other place has. */
static inline void pattern_fill(void *p, size_t n, uint64_t tag)
{
	for (size_t i = 0; i < n / 8; i++)
		((uint64_t *)p)[i] = pattern_word(tag, i);
}

static inline bool pattern_whole(const void *p, size_t n, uint64_t tag)
{
	for (size_t i = 0; i < n / 8; i++)
		if (((const uint64_t *)p)[i] != pattern_word(tag, i))
			return false;
	return true;
}

/* ck_assert_msg() for loops that run often: check takes note of each assertion, by a system call. */
#define ck_must(condition, ...)                        \
	do {                                           \
		if (__builtin_expect(!(condition), 0)) \
			ck_abort_msg(__VA_ARGS__);     \
	} while (0)

/* The call that was made failed so, and said why in a sentence with that word. */
#define ck_said(error, word)                                                                            \
	do {                                                                                            \
		ck_assert_msg(errno == (error), "errno %d, not %d: %s", errno, (error), heapd_error()); \
		ck_assert_msg(strstr(heapd_error(), (word)) != NULL, "no '%s' in: %s", (word),          \
			      heapd_error());                                                           \
	} while (0)

#endif
