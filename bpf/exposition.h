/* SPDX-License-Identifier: MIT */
/*
 * Writing metrics: Prometheus's text format, or OpenMetrics.
 */
#ifndef HEAPD_BPF_EXPOSITION_H
#define HEAPD_BPF_EXPOSITION_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stdint.h>

enum exposition_type { EXPOSITION_COUNTER, EXPOSITION_GAUGE, EXPOSITION_HISTOGRAM };

struct exposition {
	struct evbuffer *out;
	bool open_metrics;
};

/* A family's head; counters' names are without "_total". */
void exposition_family(struct exposition *e, const char *name, enum exposition_type type, const char *help);

/*
 * A sample. label and value may be NULL; heap NULL: a sample of the exporter itself. Values of labels are printable ASCII.
 */
struct exposition_labels {
	const char *heap;
	const char *name, *value;
	const char *name2, *value2;
};
void exposition_counter(struct exposition *e, const char *name, const struct exposition_labels *labels,
			double value);
void exposition_gauge(struct exposition *e, const char *name, const struct exposition_labels *labels,
		      double value);

/* buckets[i]: 2^i ns at most and more than the one before; the last: all beyond. */
void exposition_histogram(struct exposition *e, const char *name, const struct exposition_labels *labels,
			  const uint64_t *buckets, unsigned n, double sum_seconds);
void exposition_end(struct exposition *e);

#endif
