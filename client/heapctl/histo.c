/* SPDX-License-Identifier: MIT */
/*
 * histo.c - owns the verb histo: objects by class, type and age.
 *
 * An age is what the daemon counts in the directory for each slot (slab.h): the collections since it was given out that
 * have found its object reachable. Its three words change one after the other while a sweep goes on, so they are read
 * until they stand still; a slab that never does so is given as it was read last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"
#include "tree.h"
#include "verbs.h"

#define AGES  (HEAPD_AGE_MAX + 1u)
#define TRIES 100u

struct count {
	uint64_t objects, bytes;
};

struct histo {
	const struct ctl *ctl;
	struct count (*counts)[AGES]; /* by class */
	uint64_t bytes[HEAPD_CLASS_MAX];
};

static struct heapd_slab_past past_once(const struct heapd_slab_past *p)
{
	struct heapd_slab_past copy = { .sampled = 0 };

	for (unsigned i = 0; i < 3; i++)
		copy.age[i] = HEAPD_LOAD_ACQUIRE(&p->age[i]);
	return copy;
}

static struct heapd_slab_past past_read(const struct ctl *ctl, uint32_t slab)
{
	const struct heapd_slab_past *p = &ctl->heap->t.past[slab];
	struct heapd_slab_past copy = past_once(p), again;

	for (unsigned i = 0; i < TRIES; i++) {
		again = past_once(p);
		if (memcmp(&copy, &again, sizeof(copy)) == 0)
			break;
		copy = again;
	}
	return copy;
}

static void count_slots(struct histo *h, const struct span_copy *s, uint32_t k, uint64_t slots)
{
	struct heapd_slab_past past = past_read(h->ctl, s->span.slab0 + k);
	struct count *counts = h->counts[s->span.class];

	for (unsigned age = 0; slots && age < AGES; age++) {
		uint64_t n = (uint64_t)__builtin_popcountll(slots & heapd_past_aged(&past, age));

		counts[age].objects += n;
		counts[age].bytes += n * s->span.elemsize;
		h->bytes[s->span.class] += n * s->span.elemsize;
	}
}

static int count_given(struct histo *h)
{
	struct spans spans;
	int status = spans_load(h->ctl, &spans);

	for (size_t i = 0; status == CTL_OK && i < spans.n; i++)
		for (uint32_t k = 0; k < spans.list[i].slabs; k++)
			count_slots(h, &spans.list[i], k, span_out(h->ctl, &spans.list[i], k));
	spans_free(&spans);
	return status;
}

static void count_node(struct histo *h, const struct graph_node *node)
{
	const struct span_copy *s = node->span;
	uint64_t slot = (node->address - span_address(h->ctl, s)) / s->span.elemsize;

	count_slots(h, s, (uint32_t)(slot / s->span.slab_slots), 1ull << slot % s->span.slab_slots);
}

static int count_live(struct histo *h)
{
	struct graph g;
	struct tree t;
	int status = graph_load(&g, h->ctl);

	if (status != CTL_OK)
		return status;
	status = tree_walk(&t, &g);
	for (uint32_t v = 1; status == CTL_OK && v <= t.n; v++) {
		struct graph_node node = graph_node(&g, t.node[v]);

		if (node.size)
			count_node(h, &node);
	}
	tree_free(&t);
	graph_free(&g);
	return status;
}

static int compare_bytes(const void *a, const void *b, void *bytes)
{
	const uint64_t *list = bytes, x = list[*(const uint32_t *)a], y = list[*(const uint32_t *)b];

	return x < y ? 1 : x > y ? -1 : 0;
}

static struct count count_all(const struct count counts[AGES])
{
	struct count all = { 0 };

	for (unsigned age = 0; age < AGES; age++) {
		all.objects += counts[age].objects;
		all.bytes += counts[age].bytes;
	}
	return all;
}

/* Large objects have a class for all their sizes: 0 for programs. */
static void size_cell(struct table *t, uint64_t size)
{
	if (size || t->ctl->json != CTL_JSON_OFF)
		table_number(t, size);
	else
		table_text(t, "large");
}

static void row(struct table *t, const struct ctl *ctl, uint32_t class, unsigned age, struct count count)
{
	if (!count.objects)
		return;
	table_row(t);
	table_number(t, class);
	table_text(t, class_name(ctl, class).text);
	size_cell(t, HEAPD_READ_ONCE(ctl->heap->t.classes[class].slot_size));
	table_number(t, count.objects);
	table_number(t, count.bytes);
	if (ctl->age)
		table_number(t, age);
}

static int histo_print(struct histo *h)
{
	/* The last column is for who asked for it. */
	static const struct table_column columns[] = {
		{ "CLASS", TABLE_COUNT },   { "TYPE", TABLE_TEXT },   { "SIZE", TABLE_COUNT },
		{ "OBJECTS", TABLE_COUNT }, { "BYTES", TABLE_BYTES }, { "AGE", TABLE_COUNT },
	};
	uint32_t order[HEAPD_CLASS_MAX];
	struct table t;
	int status = table_begin(&t, h->ctl, "histo", columns, h->ctl->age ? 6 : 5);

	if (status != CTL_OK)
		return status;
	for (uint32_t i = 0; i < HEAPD_CLASS_MAX; i++)
		order[i] = i;
	qsort_r(order, HEAPD_CLASS_MAX, sizeof(*order), compare_bytes, h->bytes);
	for (uint32_t i = 0; i < HEAPD_CLASS_MAX; i++) {
		const struct count *counts = h->counts[order[i]];

		if (!h->ctl->age)
			row(&t, h->ctl, order[i], 0, count_all(counts));
		for (unsigned age = 0; h->ctl->age && age < AGES; age++)
			row(&t, h->ctl, order[i], age, counts[age]);
	}
	return table_print(&t);
}

int verb_histo(struct ctl *ctl)
{
	struct histo *h = calloc(1, sizeof(*h));
	int status;

	if (h)
		h->counts = calloc(HEAPD_CLASS_MAX, sizeof(*h->counts));
	if (!h || !h->counts) {
		free(h);
		return ctl_say(CTL_TROUBLE, "out of memory");
	}
	h->ctl = ctl;
	status = ctl->live ? count_live(h) : count_given(h);
	if (status == CTL_OK)
		status = histo_print(h);
	free(h->counts);
	free(h);
	return status;
}
