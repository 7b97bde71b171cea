/* SPDX-License-Identifier: MIT */
/*
 * trader.c - owns the client that takes slabs and gives them back.
 *
 * Who takes an entry of a ring, or pops a slot, late, and by a store that does not see what has come between, gives out twice what others
 * have got meanwhile. So that it is seen somebody has to have got it, and to hold it still. In each round the trader frees what it got in the
 * last but one and takes anew, in each class until two more entries of its ring are gone; it finds what it is given empty, and what it
 * got in this round and the last one as it has left it. One round is while somebody is stopped, the next one when that one has gone on.
 */
#include "trader.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../fixture.h"

#define MOST    2048u /* objects of a class, in a round */
#define ENTRIES 2u

/* Of the others' operations; 0: nodes. */
static const size_t kinds[] = { 0, 64, 256, 3072, 4096, 9000 };

#define KINDS     (sizeof(kinds) / sizeof(kinds[0]))
#define KINDS_FEW 2u

struct hand {
	uint64_t *object[MOST];
	unsigned n;
	uint64_t round;
};

struct trader {
	struct scene *scene;
	uint64_t round;
	bool begun;                  /* this thread's stack reaches to its hands */
	struct hand hands[KINDS][2]; /* of this round, and the last one */
};

static _Noreturn void wrong(const struct trader *t, size_t kind, const char *what)
{
	snprintf(t->scene->board->wrong, sizeof(t->scene->board->wrong),
		 "the trader: %s, of %zu bytes, in round %llu", what, kinds[kind],
		 (unsigned long long)t->round);
	_exit(1);
}

static size_t words_of(size_t kind)
{
	return (kinds[kind] ? kinds[kind] : sizeof(struct node)) / 8;
}

/* No address of the heap's; the first two words of a node are fields. */
static uint64_t mark(const struct hand *hand, unsigned i, size_t word)
{
	return word < 2 ? 0 : (hand->round * MOST + i) * 2048 + word;
}

static void hand_check(const struct trader *t, size_t kind, const struct hand *hand)
{
	for (unsigned i = 0; i < hand->n; i++)
		for (size_t word = 0; word < words_of(kind); word++)
			if (hand->object[i][word] != mark(hand, i, word))
				wrong(t, kind, "an object is not as it was left");
}

static void hand_free(struct trader *t, size_t kind, struct hand *hand)
{
	hand_check(t, kind, hand);
	for (unsigned i = 0; i < hand->n; i++) {
		if (heapd_free(hand->object[i]) < 0)
			wrong(t, kind, heapd_error());
		hand->object[i] = NULL;
	}
	hand->n = 0;
}

static const uint64_t *head_of(const struct scene *s, const void *object)
{
	uint64_t page = ((uint64_t)(uintptr_t)object - s->tables.base) >> HEAPD_PAGE_SHIFT;

	return &s->tables.heads[s->tables.spans[s->tables.page_span[page] - 1].class].head;
}

/* False: it was refused, as it may be. */
static bool take_one(struct trader *t, size_t kind, struct hand *hand)
{
	struct scene *s = t->scene;
	uint32_t scarce = s->board->scarce;
	uint64_t *p = kinds[kind] ? heapd_alloc(s->heap, kinds[kind])
				  : (uint64_t *)(void *)heapd_new(s->nodes, struct node);

	if (!p && (errno == EAGAIN || scarce % 2 || s->board->scarce != scarce))
		return false;
	if (!p)
		wrong(t, kind, heapd_error());
	for (size_t word = 0; word < words_of(kind); word++)
		if (p[word])
			wrong(t, kind, "a new object is not empty");
	for (size_t word = 0; word < words_of(kind); word++)
		p[word] = mark(hand, hand->n, word);
	hand->object[hand->n++] = p;
	return true;
}

static void hand_fill(struct trader *t, size_t kind, struct hand *hand)
{
	const uint64_t *head = NULL;
	uint64_t before = 0;

	hand->round = t->round;
	while (hand->n < MOST && take_one(t, kind, hand)) {
		if (!head) {
			head = head_of(t->scene, hand->object[0]);
			before = HEAPD_LOAD_ACQUIRE(head);
		} else if (HEAPD_LOAD_ACQUIRE(head) - before >= ENTRIES) {
			return;
		}
	}
}

static void round_do(struct trader *t, size_t n)
{
	t->round++;
	if (!t->begun && heapd_local_add(t->scene->heap, t->hands, sizeof(t->hands)) < 0)
		wrong(t, 0, heapd_error());
	t->begun = true;
	for (size_t kind = 0; kind < n; kind++) {
		hand_free(t, kind, &t->hands[kind][t->round % 2]);
		hand_fill(t, kind, &t->hands[kind][t->round % 2]);
	}
	for (size_t kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < 2; i++)
			hand_check(t, kind, &t->hands[kind][i]);
}

/* Detached, its stack holds nothing, old words neither, and what counted as stack does so no more. */
static void drop(struct trader *t)
{
	for (size_t kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < 2; i++)
			hand_free(t, kind, &t->hands[kind][i]);
	if (heapd_thread_detach(t->scene->heap) < 0)
		wrong(t, 0, heapd_error());
	t->begun = false;
}

static int trade(void *scene)
{
	struct scene *s = scene;
	struct board *board = s->board;
	struct trader *t = calloc(1, sizeof(*t));

	if (!t)
		err(1, "the trader");
	t->scene = s;
	for (; !board->stop; usleep(50)) {
		enum trade what = (enum trade)board->trade;

		if (what == TRADE_NONE)
			continue;
		if (what == TRADE_DROP)
			drop(t);
		else
			round_do(t, what == TRADE_FEW ? KINDS_FEW : KINDS);
		board->trade = TRADE_NONE;
	}
	free(t);
	return heapd_detach(s->heap) < 0;
}

pid_t trader_start(struct scene *s)
{
	return fixture_client_fork(trade, s);
}

static void tell(struct scene *s, enum trade what)
{
	uint64_t end = fixture_now_ns() + SCENE_PATIENCE_NS;

	s->board->trade = what;
	while (s->board->trade != TRADE_NONE) {
		if (*s->board->wrong)
			errx(1, "%s", s->board->wrong);
		if (fixture_now_ns() > end)
			errx(1, "the trader does not go on");
		usleep(50);
	}
}

void trader_round(struct scene *s, bool few)
{
	tell(s, few ? TRADE_FEW : TRADE_ROUND);
}

void trader_drop(struct scene *s)
{
	tell(s, TRADE_DROP);
}
