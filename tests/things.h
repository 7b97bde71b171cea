/* SPDX-License-Identifier: MIT */
/* For tests of dead objects: things, each whole with its note, in a table that is a root. */
#ifndef HEAPD_TESTS_THINGS_H
#define HEAPD_TESTS_THINGS_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collected.h"

#define MANY 2000u

struct thing {
	heapd_ptr(struct thing) next;
	heapd_ptr(char) note;
	uint64_t value;
	uint64_t pad[5];
};

struct table {
	heapd_ptr(struct thing) things[MANY];
	heapd_ptr(heapd_weak) cells[MANY];
};

static heapd_type *things, *tables;
static struct table **table;

static inline void start(const char *debug)
{
	const char *settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", debug, NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	things = heapd_type_define(heap, "thing", struct thing, next, note);
	tables = heapd_type_define(heap, "table", struct table, things, cells);
	ck_assert(things && tables);
	table = heapd_pin(heap, heapd_root(heap, "table", struct table, tables));
	ck_assert_ptr_nonnull(table);
}

static inline void setup(void)
{
	start(NULL);
}

static inline void teardown(void)
{
	heapd_unpin(table);
	attached_stop();
}

/* Slots are used anew: whatever was taken back by mistake is overwritten. */
static __attribute__((noinline, unused)) void churn(void)
{
	for (unsigned i = 0; i < 20000; i++)
		ck_assert_ptr_nonnull(
			heapd_memdup(heap, "overwritten, 56 bytes of it............................", 56));
}

static __attribute__((noinline, unused)) struct thing *thing_new(uint64_t value)
{
	struct thing *t = heapd_new(things, struct thing);
	char note[32];

	ck_assert_msg(t != NULL, "%s", heapd_error());
	snprintf(note, sizeof(note), "note %lu", (unsigned long)value);
	t->value = value;
	heapd_init(&t->note, heapd_strdup(heap, note));
	return t;
}

static inline bool thing_is_whole(const struct thing *t)
{
	char note[32];

	snprintf(note, sizeof(note), "note %lu", (unsigned long)t->value);
	return t->note && strcmp(t->note, note) == 0;
}

static __attribute__((noinline, unused)) void table_fill(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct thing *t = thing_new(i);
		heapd_store(&(*table)->things[i], t);
		heapd_store(&(*table)->cells[i], heapd_weak_new(heap, t));
	}
}

static __attribute__((noinline, unused)) void table_clear(unsigned n)
{
	heapd_zero((*table)->things, n);
}

/* Takes all there are, each no more than once; how many. */
static __attribute__((noinline, unused)) unsigned take_all(bool *seen, unsigned n)
{
	struct thing *t;
	unsigned count = 0;

	while (errno = -1, (t = heapd_type_next_dead(things))) {
		ck_assert(thing_is_whole(t));
		ck_assert_uint_lt(t->value, n);
		ck_assert(!seen[t->value]);
		seen[t->value] = true;
		count++;
	}
	ck_assert_int_eq(errno, 0);
	return count;
}

/* Some are held by what lies on stacks; a cycle later they have died, too. */
static inline unsigned collect_and_take(bool *seen, unsigned n)
{
	unsigned count = 0;

	for (unsigned round = 0; round < 3; round++) {
		collect();
		churn();
		count += take_all(seen, n);
	}
	return count;
}

/* Of a full table, nearly all are taken; two cycles later none of them is left. */
static __attribute__((noinline, unused)) void all_die(bool *seen)
{
	table_fill(MANY);
	heapd_zero((*table)->cells, MANY);
	table_clear(MANY);
	ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
	collect();
	collect();
}

#endif
