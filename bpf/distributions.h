/* SPDX-License-Identifier: MIT */
/*
 * What the BPF programs count, and the exporter reads: shared by kernel and user side, so of plain types alone.
 */
#ifndef HEAPD_BPF_DISTRIBUTIONS_H
#define HEAPD_BPF_DISTRIBUTIONS_H

#define DISTRIBUTION_HEAP    48 /* bytes of a heap's name */
#define DISTRIBUTION_BUCKETS 40 /* i: longer than 2^(i-1) ns, 2^i at most; the last also those beyond */

enum distribution_kind {
	DISTRIBUTION_PAUSE,     /* part 0 */
	DISTRIBUTION_HANDSHAKE, /* part 1 and 2 */
	DISTRIBUTION_PHASE,     /* part 0 to 5 */
	DISTRIBUTION_SLOW,      /* part 0 */
	DISTRIBUTION_WAIT,      /* part 0 */
	DISTRIBUTION_SAMPLES,   /* part: bytes of the object; buckets: none; count and sum of weights */
};

struct distribution_key {
	char heap[DISTRIBUTION_HEAP];
	unsigned kind, part;
};

struct distribution {
	unsigned long long count, sum;
	unsigned long long buckets[DISTRIBUTION_BUCKETS];
};

/* Where samples come from: a heap and a stack, by its number in the map of stacks; < 0: no stack could be had. */
#define SITES_MAX   4096
#define SITE_FRAMES 24

struct site_key {
	char heap[DISTRIBUTION_HEAP];
	int stack;
};

struct site {
	unsigned long long samples, bytes; /* bytes: the sum of weights */
};

/* The place in the map of lost samples. */
enum site_lost { SITE_LOST_SAMPLES, SITE_LOST_BYTES, SITE_LOST };

#endif
