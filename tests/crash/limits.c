/* SPDX-License-Identifier: MIT */
/*
 * limits.c - owns the operations of processes that get no more: the heap is at its limit, or its user at its share of it; and of such as
 * are looked at while they allocate.
 *
 * They have heaps of their own, since what they take counts as alive until it is collected. What a process has filled a heap with it holds
 * by one pin; when it was killed the next one's allocations find it.
 */
#include <errno.h>
#include <unistd.h>

#include "conditions.h"
#include "heapd/session.h"

static void *hold(struct scene *s, void *first, uint64_t bytes)
{
	struct node *n = heapd_alloc(s->heap, bytes);

	if (n)
		heapd_init(&n->next, first);
	return n;
}

/* The same; who does not wait for supply comes back a few times. */
static void *hold_patiently(struct scene *s, void *first, uint64_t bytes)
{
	void *p = hold(s, first, bytes);

	for (unsigned i = 0; !p && errno == EAGAIN && i < 20; i++) {
		usleep(1000);
		p = hold(s, first, bytes);
	}
	return p;
}

/* With large objects, then with ever smaller ones, until there is no room for a slab. */
static void fill(struct scene *s)
{
	void *first = hold_patiently(s, NULL, 4096);

	for (uint64_t bytes = 1 << 20; bytes >= 4096; bytes /= 4)
		for (void *next = first; next; next = hold_patiently(s, first, bytes))
			first = next;
	s->pin = heapd_pin(s->heap, (struct node *)first);
}

static void prepare_limit(struct scene *s)
{
	attach_other(s, "tight", 0);
	fill(s);
}

static void prepare_limit_at_once(struct scene *s)
{
	attach_other(s, "tight", HEAPD_ATTACH_NO_WAIT);
	fill(s);
}

static void prepare_limit_probed(struct scene *s)
{
	prepare_limit(s);
	probes_on();
}

static void prepare_share(struct scene *s)
{
	attach_other(s, "shared", 0);
	fill(s);
}

static void prepare_share_at_once(struct scene *s)
{
	attach_other(s, "shared", HEAPD_ATTACH_NO_WAIT);
	fill(s);
}

/* Until it is refused. */
static void take(struct scene *s, uint64_t bytes, unsigned most)
{
	void *p = NULL;

	for (unsigned i = 0; i < most; i++) {
		p = hold(s, p, bytes);
		if (!p)
			return;
	}
}

static void refused(struct scene *s)
{
	take(s, 100000, 2);
	take(s, 12000, 40);
	take(s, 3072, 80);
	take(s, 1024, 200);
	use(heapd_weak_new(s->heap, s->pin ? *s->pin : NULL));
	use(heapd_arena_create(s->heap, 0));
}

/* What was held is let go of meanwhile: the same is given after all. */
static void relieved(struct scene *s)
{
	take(s, 12000, 40);
	if (s->pin)
		heapd_unpin(s->pin);
	take(s, 12000, 4);
	take(s, 200000, 2);
}

/* Looked at ------------------------------------------------------------------------------------------------------------ */

/* As many slow allocations that the next one's time is taken, and shown. */
static uint32_t before_timed(void)
{
	uint32_t n = 1;

	while (n * 0x9e3779b9u >= 1u << 20)
		n++;
	return n - 1;
}

static uint32_t timed_after;

static void prepare_timed(struct scene *s)
{
	timed_after = before_timed();
	probes_on();
	drain(s, 3072);
}

static void take_timed(struct scene *s)
{
	for (unsigned i = 0; i < 12; i++) {
		record_here()->slow = timed_after;
		use(heapd_alloc(s->heap, 3072));
	}
}

/* The next one's is to be taken, and then nobody looks any more. */
static void timed(struct scene *s)
{
	take_timed(s);
	probes_set(0);
	take_timed(s);
}

/* Its mean is changed while samples are drawn. */
static void prepare_means(struct scene *s)
{
	attach_other(s, "plain", 0);
	heapd_set(s->heap, "sample.bytes", "off");
	probes_on();
}

static void means(struct scene *s)
{
	static const char *const bytes[] = { "off", "4K", "512K", "off", "512K" };

	for (unsigned i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		heapd_set(s->heap, "sample.bytes", bytes[i]);
		if (i % 2)
			use(heapd_alloc(s->heap, 1000000));
		for (unsigned j = 0; j < 8; j++)
			use(heapd_alloc(s->heap, 30000));
		use(heapd_alloc(s->heap, 1000000));
	}
}

const struct operation limits[] = {
	OPERATION("limit", prepare_limit, refused, IN_MAIN, ONCE),
	OPERATION("limit-at-once", prepare_limit_at_once, refused, IN_MAIN, ONCE),
	OPERATION("limit-probed", prepare_limit_probed, refused, IN_MAIN, ONCE),
	OPERATION("limit-relieved", prepare_limit, relieved, IN_MAIN, ONCE),
	OPERATION("share", prepare_share, refused, IN_MAIN, ONCE),
	OPERATION("share-at-once", prepare_share_at_once, refused, IN_MAIN, ONCE),
	OPERATION("share-relieved", prepare_share, relieved, IN_MAIN, ONCE),
	OPERATION("timed", prepare_timed, timed, IN_MAIN, ONCE),
	OPERATION("means", prepare_means, means, IN_MAIN, ONCE),
	{ 0 },
};
