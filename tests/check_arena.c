/* SPDX-License-Identifier: MIT */
/* Arenas: zeroed, aligned, apart; what they take and give back. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "attached.h"
#include "client/client.h"

static uint64_t allocated(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_call(heapd_sync(heap));
	ck_assert_int_eq(heapd_verify(heap, &v), 0);
	return v.allocated;
}

/* Sizes that end a chunk at every possible place. */
static size_t size_of(unsigned i)
{
	return i % 501 == 0 ? 70000 : i % 97;
}

static void fill(heapd_arena *arena, unsigned n)
{
	static const char zeros[70000];

	for (unsigned i = 0; i < n; i++) {
		char *p = (char *)heapd_arena_alloc(arena, size_of(i));
		ck_assert_msg(p, "%s", heapd_error());
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		ck_assert_int_eq(memcmp(p, zeros, size_of(i)), 0);
		memset(p, 0x5a, size_of(i));
	}
}

START_TEST(filled_reset_destroyed)
{
	static const size_t chunks[] = { 0, 1, 4096, 100000 };
	uint64_t before = allocated();
	heapd_arena *arena = heapd_arena_create(heap, chunks[_i]);

	ck_assert_ptr_nonnull(arena);
	ck_call(heapd_arena_reset(arena));
	for (unsigned round = 0; round < 4; round++) {
		fill(arena, 3000);
		ck_assert_uint_gt(allocated(), before + 3000 * 40);
		ck_call(heapd_arena_reset(arena));
		ck_assert_uint_le(allocated(), before + (200 << 10));
	}
	ck_call(heapd_arena_destroy(arena));
	ck_assert_uint_eq(allocated(), before);
	ck_call(heapd_arena_destroy(NULL));
}
END_TEST

/* What was allocated is apart from all else: each keeps its own pattern. */
START_TEST(nothing_overlaps)
{
	heapd_arena *arena = heapd_arena_create(heap, 0);
	static uint64_t *places[20000];

	for (uint64_t i = 0; i < 20000; i++) {
		places[i] = (uint64_t *)heapd_arena_alloc(arena, 8 + 8 * (i % 5));
		ck_assert_ptr_nonnull(places[i]);
		for (uint64_t k = 0; k <= i % 5; k++)
			places[i][k] = i;
	}
	for (uint64_t i = 0; i < 20000; i++)
		for (uint64_t k = 0; k <= i % 5; k++)
			ck_assert_uint_eq(places[i][k], i);
	ck_call(heapd_arena_destroy(arena));
}
END_TEST

/* One pin, and a ring: from any chunk all others are reached. */
START_TEST(chunks_are_a_ring)
{
	heapd_arena *arena = heapd_arena_create(heap, 1024);
	void *first = heapd_start_of(heapd_arena_alloc(arena, 16)), *at = first;
	unsigned n = 0;

	for (int i = 0; i < 500; i++)
		ck_assert_ptr_nonnull(heapd_arena_alloc(arena, 16));
	ck_assert_uint_eq(heap->session->npins, 1);
	do {
		ck_assert_ptr_eq(heapd_start_of(at), at);
		at = *(void **)at;
		n++;
	} while (at != first && n < 1000);
	ck_assert_uint_eq(n, (501 * 16 + 1007) / 1008);
	ck_call(heapd_arena_destroy(arena));
}
END_TEST

START_TEST(refusals)
{
	heapd_arena *arena = heapd_arena_create(heap, 0);

	ck_null(heapd_arena_alloc(NULL, 16), EINVAL);
	ck_refused(heapd_arena_reset(NULL), EINVAL, "no arena");
	ck_null(heapd_arena_create(NULL, 0), ENODEV);
	ck_null(heapd_arena_create(heap, SIZE_MAX), EINVAL);
	ck_null(heapd_arena_alloc(arena, SIZE_MAX), ENOMEM);
	ck_null(heapd_arena_alloc(arena, 512ul << 20), ENOMEM);
	/* It is none the worse for it. */
	fill(arena, 100);
	ck_call(heapd_arena_destroy(arena));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("arena");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, attached_start, attached_stop);
	tcase_add_loop_test(tcase, filled_reset_destroyed, 0, 4);
	tcase_add_test(tcase, nothing_overlaps);
	tcase_add_test(tcase, chunks_are_a_ring);
	tcase_add_test(tcase, refusals);
	return attached_run(tcase, suite_create("arena"));
}
