/* SPDX-License-Identifier: MIT */
/*
 * changes.c - owns the changes to what a client can write: each bit flipped, and evil values put into whole words, one at a time where
 * the word lies in a session, holds something, or is loaded by the daemon. Of the others, which it was not seen to load while they were
 * changed, either, the same bit is flipped in CHANGES_GROUP at a time, and each value put into as many.
 *
 * Each change stands while the daemon does all that it does (demands.h), and is taken back; after so many a round ends, with none.
 * Nothing here keeps a pointer into a session: who is sent away has another one.
 */
#include "changes.h"

#include <stdbool.h>

#include "heapd/geometry.h"
#include "heapd/session.h"

#define ROUND 64u /* changes of a word by itself; a group is one */
#define EVILS 8u  /* values that take a word's place */
#define STEPS (64u + EVILS)

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void changes_begin(struct changes_count *count, uint64_t place)
{
	count->place = place;
	count->step = STEPS;
}

/* A word at offset `at` of control or session. */
struct word {
	bool session;
	uint64_t at;
};

/* Where it lies, which may change with each request: who is sent away comes again, with another session. */
static uint64_t *word_of(const struct hostile *h, struct word w)
{
	char *memory = w.session ? (char *)h->session : (char *)h->control;

	return (uint64_t *)(void *)(memory + w.at);
}

/* False: what was changed was a session's that is no more. */
static bool seen_at_work(struct changes *c, struct hostile *h, struct word w, uint64_t n)
{
	uint64_t dropped = c->demands->count->dropped;

	demands_work(c->demands, h, n);
	return !w.session || dropped == c->demands->count->dropped;
}

static void flip(struct changes *c, struct hostile *h, struct word w, unsigned bit)
{
	__atomic_fetch_xor(word_of(h, w), 1ull << bit, __ATOMIC_SEQ_CST);
	if (seen_at_work(c, h, w, c->count->bits++))
		__atomic_fetch_xor(word_of(h, w), 1ull << bit, __ATOMIC_SEQ_CST);
	demands_go_on(c->demands, h);
	if (c->count->bits % ROUND == 0)
		demands_round_end(c->demands, h);
}

static void flip_bits(struct changes *c, struct hostile *h, struct word w)
{
	for (unsigned bit = (unsigned)c->count->step; bit < 64; bit++) {
		c->count->step = bit + 1;
		if (!c->most || draw(&c->seed) % 64 < c->most)
			flip(c, h, w, bit);
	}
}

static uint64_t evil(const struct hostile *h, uint64_t before, unsigned which)
{
	const uint64_t values[EVILS] = { 0,
					 UINT64_MAX,
					 before + 1,
					 before - 1,
					 h->tables.base + 8192,
					 h->geometry.total,
					 h->tables.base + h->geometry.size,
					 (uint64_t)INT64_MAX + 1 };

	return values[which];
}

static void put(struct changes *c, struct hostile *h, struct word w, uint64_t before, unsigned which)
{
	uint64_t mine = evil(h, before, which);

	HEAPD_WRITE_ONCE(*word_of(h, w), mine);
	if (seen_at_work(c, h, w, c->count->words++))
		__atomic_compare_exchange_n(word_of(h, w), &mine, before, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	demands_go_on(c->demands, h);
	if (c->count->words % ROUND == 0)
		demands_round_end(c->demands, h);
}

static void put_values(struct changes *c, struct hostile *h, struct word w)
{
	uint64_t before = HEAPD_READ_ONCE(*word_of(h, w));

	for (unsigned i = (unsigned)c->count->step - 64; i < EVILS; i++) {
		c->count->step = 64 + i + 1;
		if (!c->most || draw(&c->seed) % 64 < 8ul * c->most)
			put(c, h, w, before, i);
	}
}

static void group_xor(const struct hostile *h, const struct changes_group *g, uint64_t mask)
{
	for (unsigned i = 0; i < g->n; i++)
		__atomic_fetch_xor(word_of(h, (struct word){ .at = g->at[i] }), mask, __ATOMIC_SEQ_CST);
}

static void group_flip(struct changes *c, struct hostile *h, const struct changes_group *g, unsigned bit)
{
	group_xor(h, g, 1ull << bit);
	demands_work(c->demands, h, bit);
	group_xor(h, g, 1ull << bit);
	demands_go_on(c->demands, h);
	c->count->bits += g->n;
}

static void group_put(struct changes *c, struct hostile *h, struct changes_group *g, unsigned which)
{
	for (unsigned i = 0; i < g->n; i++) {
		uint64_t *word = word_of(h, (struct word){ .at = g->at[i] });

		g->before[i] = HEAPD_READ_ONCE(*word);
		HEAPD_WRITE_ONCE(*word, evil(h, g->before[i], which));
	}
	demands_work(c->demands, h, which);
	for (unsigned i = 0; i < g->n; i++) {
		uint64_t mine = evil(h, g->before[i], which);

		__atomic_compare_exchange_n(word_of(h, (struct word){ .at = g->at[i] }), &mine, g->before[i],
					    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	demands_go_on(c->demands, h);
	c->count->words += g->n;
}

/* How many words it had. */
static unsigned group_change(struct changes *c, struct hostile *h, struct changes_group *g)
{
	unsigned n = g->n;

	if (!n)
		return 0;
	for (unsigned bit = 0; bit < 64; bit++)
		group_flip(c, h, g, bit);
	for (unsigned i = 0; i < EVILS; i++)
		group_put(c, h, g, i);
	g->n = 0;
	demands_round_end(c->demands, h);
	return n;
}

static void idle_add(struct changes *c, struct hostile *h, uint64_t at)
{
	c->group.at[c->group.n++] = at;
	if (c->group.n == c->grouped)
		c->count->together += group_change(c, h, &c->group);
}

/* Holds nothing, is none of a session's, and nobody loads it. */
static bool is_idle(const struct changes *c, const struct hostile *h, struct word w)
{
	return !c->most && !w.session && !HEAPD_READ_ONCE(*word_of(h, w)) && !loaded_has(c->loaded, w.at / 8);
}

static void change_word(struct changes *c, struct hostile *h, struct word w)
{
	if (c->count->step == 0 && is_idle(c, h, w)) {
		c->count->step = STEPS;
		idle_add(c, h, w.at);
	} else if (!c->idle && (!c->most || draw(&c->seed) % 64 < c->most)) {
		flip_bits(c, h, w);
		put_values(c, h, w);
		c->count->step = STEPS;
		c->count->alone++;
	}
}

/* n words from offset `at` on. */
static void change(struct changes *c, struct hostile *h, bool session, uint64_t at, uint64_t n)
{
	for (struct word w = { session, at }; w.at < at + n * 8; w.at += 8) {
		if (++c->place > c->count->place) {
			c->count->place = c->place;
			c->count->step = 0;
		}
		/* Or done by one before, at least in part. */
		if (c->place == c->count->place && c->count->step < STEPS)
			change_word(c, h, w);
	}
	c->count->together += group_change(c, h, &c->group);
}

void changes_make(struct changes *c, struct hostile *h)
{
	const struct heapd_geometry *g = &h->geometry;

	change(c, h, true, 0, sizeof(struct heapd_session) / 8);
	change(c, h, true, HEAPD_SESSION_THREAD_AT, HOSTILE_THREADS * sizeof(struct heapd_thread) / 8);
	change(c, h, true, HEAPD_SESSION_RANGE_AT, 3 * 4);
	change(c, h, true, HEAPD_SESSION_PIN_AT, 18);
	change(c, h, true, HEAPD_SESSION_BARRIER_AT, 10);
	change(c, h, true, HEAPD_SESSION_PUBLISHED_AT, 10);
	change(c, h, false, 0, sizeof(struct heapd_control) / 8);
	change(c, h, false, g->head_at, g->control_size / 8 - g->head_at / 8);
}
