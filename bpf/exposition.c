/* SPDX-License-Identifier: MIT */
/*
 * Owns the two text forms. They differ in what the head of a counter is called, in the content's type, and in the line at
 * the end. A histogram's buckets add up in both, and its count is the last bucket's: so a scrape that meets counters which
 * grow meanwhile is still consistent in itself.
 */
#include "exposition.h"

#include <stdio.h>
#include <string.h>

#define FIRST_SHOWN 8u /* 256 ns: what is below is in this bucket, too */

void exposition_family(struct exposition *e, const char *name, enum exposition_type type, const char *help)
{
	static const char *const words[] = { "counter", "gauge", "histogram" };
	const char *end = type == EXPOSITION_COUNTER && !e->open_metrics ? "_total" : "";

	evbuffer_add_printf(e->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, end, help, name, end,
			    words[type]);
}

static void add_value(char *text, size_t size, const char *value)
{
	size_t n = strlen(text);

	for (; *value && n + 3 < size; value++) {
		if (*value == '"' || *value == '\\')
			text[n++] = '\\';
		text[n++] = *value;
	}
	text[n] = 0;
}

static void add_label(char *text, size_t size, const char *name, const char *value)
{
	size_t n = strlen(text);

	if (!name || !value)
		return;
	snprintf(text + n, size - n, "%s%s=\"", n ? "," : "", name);
	add_value(text, size - 1, value);
	strcat(text, "\"");
}

/* last: one more, of a histogram. */
static void sample(struct exposition *e, const char *name, const char *end,
		   const struct exposition_labels *labels, const char *last, double value)
{
	char text[320] = "";

	add_label(text, sizeof(text), "heap", labels->heap);
	add_label(text, sizeof(text), labels->name, labels->value);
	add_label(text, sizeof(text), labels->name2, labels->value2);
	add_label(text, sizeof(text), "le", last);
	evbuffer_add_printf(e->out, "%s%s%s%s%s %.17g\n", name, end, *text ? "{" : "", text, *text ? "}" : "",
			    value);
}

void exposition_counter(struct exposition *e, const char *name, const struct exposition_labels *labels,
			double value)
{
	sample(e, name, "_total", labels, NULL, value);
}

void exposition_gauge(struct exposition *e, const char *name, const struct exposition_labels *labels,
		      double value)
{
	sample(e, name, "", labels, NULL, value);
}

void exposition_histogram(struct exposition *e, const char *name, const struct exposition_labels *labels,
			  const uint64_t *buckets, unsigned n, double sum_seconds)
{
	uint64_t total = 0;
	char le[32];

	for (unsigned i = 0; i + 1 < n; i++) {
		total += buckets[i];
		snprintf(le, sizeof(le), "%.10g", (double)(UINT64_C(1) << i) / 1e9);
		if (i >= FIRST_SHOWN)
			sample(e, name, "_bucket", labels, le, (double)total);
	}
	total += buckets[n - 1];
	sample(e, name, "_bucket", labels, "+Inf", (double)total);
	sample(e, name, "_sum", labels, NULL, sum_seconds);
	sample(e, name, "_count", labels, NULL, (double)total);
}

void exposition_end(struct exposition *e)
{
	if (e->open_metrics)
		evbuffer_add_printf(e->out, "# EOF\n");
}
