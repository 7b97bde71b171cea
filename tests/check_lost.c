/* SPDX-License-Identifier: MIT */
/*
 * A heap of which pages fail under the daemon: it lives, says so, takes nothing back in that cycle, and goes on; the other clients go on;
 * what is whole is whole; the rest is never given out. The heap's file has no seals here (interpose/unsealed.c) and is cut
 * short by a client: what lay behind is gone for everybody, as with bad memory. (check_bus.c has the kernel's own poison.)
 */
#include "objects.h"

#include "client/place.h"

#include "collected.h"

#include <stdio.h>
#include <unistd.h>

#define PAGE  4096ul
#define SIZE  1024u
#define FIRST 200u /* objects that are made before the one that is lost */

struct node {
	heapd_ptr(struct node) next;
	uint64_t value;
	char pad[SIZE - 16];
};

static heapd_type *nodes;

static void setup(void)
{
	const char *const settings[] = { "heap.test.GCPercent=100",   "heap.test.GCInterval=off",
					 "heap.test.MarkerThreads=2", "heap.other.Limit=64M",
					 "heap.other.GCPercent=100",  NULL };
	const char *build = getenv("HEAPD_TEST_BUILD");
	char preload[4096];

	snprintf(preload, sizeof(preload), "%s/tests/unsealed.so", build ? build : "build");
	setenv("LD_PRELOAD", preload, 1);
	/* What is in front of it here is no allocator. */
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
	fixture_start(&fixture, settings);
	unsetenv("ASAN_OPTIONS");
	unsetenv("LD_PRELOAD");
	cpu_pin(sched_getcpu());
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, next);
	ck_assert_ptr_nonnull(nodes);
}

static struct node *node_new(uint64_t value)
{
	struct node *n = heapd_new(nodes, struct node);

	ck_assert_msg(n != NULL, "%s", heapd_error());
	n->value = value;
	return n;
}

/*
 * root "kept" -> FIRST nodes, one after the other; root "lost" -> the last node that is made, on the page that is lost, and a
 * node of an early slab, to which that page alone leads. The early one's address, hidden; and where the file is to end.
 */
static __attribute__((noinline)) uint64_t nodes_make(uint64_t *end)
{
	struct node *early = node_new(4711), *kept = NULL, *last = NULL;
	uint64_t page = 0;

	for (unsigned i = 0; i < FIRST; i++) {
		struct node *n = node_new(i);

		heapd_init(&n->next, kept);
		kept = n;
	}
	/* The first of a page that nobody else has an object of, behind all others. */
	while (!page) {
		last = node_new(4712);
		if ((uintptr_t)last % PAGE == 0 && last > kept)
			page = (uint64_t)(uintptr_t)last;
	}
	heapd_init(&last->next, early);
	ck_call(heapd_root_set(heap, "kept", kept));
	ck_call(heapd_root_set(heap, "lost", last));
	*end = page - heap->t.base;
	return ~(uint64_t)(uintptr_t)early;
}

/* Given out, to somebody: what is supplied anew and lies in a ring is out, too, and lent. */
static __attribute__((noinline)) bool is_out(uint64_t hidden_address)
{
	struct place place;
	uint64_t address;

	__asm__ volatile("" : "+r"(hidden_address));
	address = ~hidden_address;
	ck_assert(place_find(heap, (void *)(uintptr_t)address, &place));
	return HEAPD_READ_ONCE(heap->t.out[place.slab]) & ~HEAPD_READ_ONCE(heap->t.lent[place.slab]) &
	       place.bit;
}

static const struct heapd_stats *stats(void)
{
	return &heap->t.directory->stats;
}

static void kept_is_whole(void)
{
	const struct node *n = heapd_root_get(heap, "kept", nodes);

	for (unsigned i = FIRST; i--; n = n->next)
		ck_assert_uint_eq(n->value, i);
	ck_assert_ptr_null(n);
}

static int other_heap(void *arg)
{
	heapd_heap *own = NULL;

	(void)arg;
	heapd_detach(heap);
	if (heapd_attach(&own, "other", NULL) < 0)
		return 1;
	for (unsigned i = 0; i < 10000; i++)
		if (!heapd_alloc(own, 100))
			return 2;
	return heapd_collect(own) == 0 && heapd_detach(own) == 0 ? 0 : 3;
}

static int touch_lost(void *arg)
{
	const struct node *lost = heapd_root_get(heap, "lost", nodes);

	(void)arg;
	signal(SIGBUS, SIG_DFL); /* a sanitizer has a handler that makes it an exit */
	return lost->value == 4712;
}

START_TEST(the_daemon_outlives_what_it_cannot_read)
{
	uint64_t end = 0, early = nodes_make(&end), voids;
	pid_t daemon = fixture.daemon;
	char wanted[100];

	stack_wipe();
	collect();
	ck_assert(is_out(early));
	voids = HEAPD_READ_ONCE(stats()->gc_voids);
	ck_assert_int_eq(ftruncate(heap->heap_fd, (off_t)end), 0);
	collect();
	/* The cycle that met it was void, and said so; the one that was begun after it came to its end. */
	ck_assert_uint_gt(HEAPD_READ_ONCE(stats()->gc_voids), voids);
	ck_assert_uint_ge(HEAPD_READ_ONCE(stats()->lost), PAGE);
	snprintf(wanted, sizeof(wanted), "%lu bytes at 0x%lx cannot be read any more", PAGE,
		 (unsigned long)(heap->t.base + end));
	ck_assert(fixture_logged(&fixture, wanted));
	kept_is_whole();
	/* Nothing leads there that anybody can read. */
	collect();
	ck_assert(!is_out(early));
	ck_assert(is_out(~(heap->t.base + end)));
	heap_verify(heap, NULL);
	/* It goes on, for all others. */
	fixture_wait(fixture_client_fork(other_heap, NULL), 0);
	fixture_wait(fixture_client_fork(touch_lost, NULL), -SIGBUS);
	ck_assert_int_eq(kill(daemon, 0), 0);
	/* What is free there is not given out again, and what is let go of comes to nothing. */
	ck_call(heapd_root_set(heap, "lost", NULL));
	collect();
	collect();
	ck_assert(!is_out(~(heap->t.base + end)));
	heap_verify(heap, NULL);
	kept_is_whole();
}
END_TEST

/* Where nothing failed, nothing is said of it. */
START_TEST(nothing_is_lost_without_need)
{
	uint64_t end = 0;

	nodes_make(&end);
	collect();
	heap_verify(heap, NULL);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats()->lost), 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats()->repaired), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lost");
	TCase *tcase = tcase_create("lost");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, attached_stop);
	tcase_add_test(tcase, the_daemon_outlives_what_it_cannot_read);
	tcase_add_test(tcase, nothing_is_lost_without_need);
	return attached_run(tcase, suite);
}
