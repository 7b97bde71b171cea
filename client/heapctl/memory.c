/* SPDX-License-Identifier: MIT */
/*
 * memory.c - owns the verbs classes, types and spans: where the heap's memory is, as slabtop and /proc/slabinfo say it
 * of the kernel's.
 *
 * "Used" slots are those that are given out: allocated, or supplied to clients and not allocated yet.
 */
#include "memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spans.h"
#include "table.h"
#include "verbs.h"

static void usage_add(const struct ctl *ctl, struct usage *u, const struct span_copy *s)
{
	uint64_t out = span_out_slots(ctl, s), bytes = (uint64_t)s->span.npages << HEAPD_PAGE_SHIFT;

	u->spans++;
	u->slabs += s->slabs;
	u->slots += s->span.nslots;
	u->used += out;
	u->bytes += bytes;
	u->used_bytes += out * s->span.elemsize;
	u->waste += bytes - out * s->span.elemsize;
	u->slot_size = s->span.elemsize;
}

int usage_load(const struct ctl *ctl, bool by_type, struct usage usages[HEAPD_CLASS_MAX])
{
	struct spans spans;
	int status = spans_load(ctl, &spans);

	memset(usages, 0, HEAPD_CLASS_MAX * sizeof(*usages));
	for (size_t i = 0; status == CTL_OK && i < spans.n; i++) {
		uint32_t class = spans.list[i].span.class;
		uint32_t type = HEAPD_READ_ONCE(ctl->heap->t.classes[class].type);

		usage_add(ctl, &usages[by_type && type < HEAPD_TYPE_MAX ? type : class], &spans.list[i]);
	}
	spans_free(&spans);
	return status;
}

static int compare(const void *a, const void *b, void *usages)
{
	const struct usage *list = usages;
	const struct usage *x = &list[*(const uint32_t *)a], *y = &list[*(const uint32_t *)b];

	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

uint32_t usage_order(struct usage usages[HEAPD_CLASS_MAX], uint32_t order[HEAPD_CLASS_MAX])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < HEAPD_CLASS_MAX; i++)
		if (usages[i].spans)
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), compare, usages);
	return n;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void usage_row(struct table *t, const struct usage *u)
{
	table_number(t, u->slots);
	table_number(t, u->used);
	table_real(t, percent(u->used, u->slots));
	table_number(t, u->slabs);
	table_number(t, u->spans);
	table_number(t, u->bytes);
	table_number(t, u->waste);
}

static const char *size_text(const struct ctl *ctl, uint32_t class, char text[24])
{
	snprintf(text, 24, "%u", HEAPD_READ_ONCE(ctl->heap->t.classes[class].slot_size));
	return strcmp(text, "0") == 0 ? "large" : text;
}

int classes_print(const struct ctl *ctl, unsigned most)
{
	static const struct table_column columns[] = {
		{ "CLASS", TABLE_COUNT }, { "TYPE", TABLE_TEXT },   { "SIZE", TABLE_TEXT },
		{ "SLOTS", TABLE_COUNT }, { "USED", TABLE_COUNT },  { "USE%", TABLE_PERCENT },
		{ "SLABS", TABLE_COUNT }, { "SPANS", TABLE_COUNT }, { "BYTES", TABLE_BYTES },
		{ "WASTE", TABLE_BYTES },
	};
	struct usage *usages = malloc(HEAPD_CLASS_MAX * sizeof(*usages));
	uint32_t order[HEAPD_CLASS_MAX], n;
	char size[24];
	struct table t;
	int status = usages ? usage_load(ctl, false, usages) : ctl_say(CTL_TROUBLE, "out of memory");

	if (status == CTL_OK)
		status = TABLE_BEGIN(&t, ctl, "classes", columns);
	if (status != CTL_OK) {
		free(usages);
		return status;
	}
	n = usage_order(usages, order);
	for (uint32_t i = 0; i < n && i < most; i++) {
		table_row(&t);
		table_number(&t, order[i]);
		table_text(&t, class_name(ctl, order[i]).text);
		table_text(&t, size_text(ctl, order[i], size));
		usage_row(&t, &usages[order[i]]);
	}
	free(usages);
	return table_print(&t);
}

int verb_classes(struct ctl *ctl)
{
	return classes_print(ctl, HEAPD_CLASS_MAX);
}

static void type_row(const struct ctl *ctl, struct table *t, uint32_t type, const struct usage *u)
{
	const struct heapd_type_record *record = &ctl->heap->t.types[type];
	uint32_t flags = HEAPD_READ_ONCE(record->flags);
	char name[HEAPD_NAME_MAX];

	memcpy(name, record->name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	table_row(t);
	table_number(t, type);
	table_text(t, name);
	table_number(t, HEAPD_READ_ONCE(record->size));
	table_text(t, flags & HEAPD_TYPE_NOSCAN ? "none" : flags & HEAPD_TYPE_SCAN ? "any word" : "listed");
	usage_row(t, u);
}

int verb_types(struct ctl *ctl)
{
	static const struct table_column columns[] = {
		{ "TYPE", TABLE_COUNT },    { "NAME", TABLE_TEXT },   { "SIZE", TABLE_COUNT },
		{ "POINTERS", TABLE_TEXT }, { "SLOTS", TABLE_COUNT }, { "USED", TABLE_COUNT },
		{ "USE%", TABLE_PERCENT },  { "SLABS", TABLE_COUNT }, { "SPANS", TABLE_COUNT },
		{ "BYTES", TABLE_BYTES },   { "WASTE", TABLE_BYTES },
	};
	struct usage *usages = malloc(HEAPD_CLASS_MAX * sizeof(*usages));
	uint32_t n = HEAPD_LOAD_ACQUIRE(&ctl_directory(ctl)->ntypes);
	struct table t;
	int status = usages ? usage_load(ctl, true, usages) : ctl_say(CTL_TROUBLE, "out of memory");

	if (status == CTL_OK)
		status = TABLE_BEGIN(&t, ctl, "types", columns);
	for (uint32_t i = 0; status == CTL_OK && i < n && i < HEAPD_TYPE_MAX; i++)
		if (HEAPD_LOAD_ACQUIRE(&ctl->heap->t.types[i].state) == 1)
			type_row(ctl, &t, i, &usages[i]);
	free(usages);
	return status == CTL_OK ? table_print(&t) : status;
}

static void span_row(const struct ctl *ctl, struct table *t, const struct span_copy *s)
{
	uint64_t out = span_out_slots(ctl, s);
	char address[32];

	snprintf(address, sizeof(address), "0x%" PRIx64, span_address(ctl, s));
	table_row(t);
	table_text(t, address);
	table_number(t, s->span.npages);
	table_number(t, s->span.class);
	table_text(t, class_name(ctl, s->span.class).text);
	table_number(t, s->span.elemsize);
	table_number(t, s->span.nslots);
	table_number(t, out);
	table_real(t, percent(out, s->span.nslots));
}

int verb_spans(struct ctl *ctl)
{
	static const struct table_column columns[] = {
		{ "ADDRESS", TABLE_TEXT }, { "PAGES", TABLE_COUNT },  { "CLASS", TABLE_COUNT },
		{ "TYPE", TABLE_TEXT },    { "SIZE", TABLE_COUNT },   { "SLOTS", TABLE_COUNT },
		{ "USED", TABLE_COUNT },   { "USE%", TABLE_PERCENT },
	};
	struct spans spans;
	struct table t;
	int status = spans_load(ctl, &spans);

	if (status == CTL_OK)
		status = TABLE_BEGIN(&t, ctl, "spans", columns);
	for (size_t i = 0; status == CTL_OK && i < spans.n; i++)
		span_row(ctl, &t, &spans.list[i]);
	spans_free(&spans);
	return status == CTL_OK ? table_print(&t) : status;
}
