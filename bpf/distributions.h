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

/*
 * Where samples come from: a heap and a stack. What tells stacks from each other is a hash of their frames, of 128 bits: none of
 * them are ever taken for another, and one that many processes have, each with the program elsewhere, is the same. (The
 * kernel's own table of stacks goes by addresses, and has room for one in each place.)
 */
#define SITES_MAX   4096
#define SITE_FRAMES 24

struct site_key {
	char heap[DISTRIBUTION_HEAP];
	unsigned long long hash[2]; /* 0: no stack could be had */
};

/* As the kernel's struct bpf_stack_build_id. */
struct site_frame {
	int status;
	unsigned char id[20];  /* of a file, if status says so */
	unsigned long long at; /* offset in the file; without an id an address */
};

struct site {
	unsigned long long samples, bytes; /* bytes: the sum of weights */
	unsigned long long n;              /* frames, innermost first */
	struct site_frame frames[SITE_FRAMES];
};

/* The place in the map of lost bytes: of samples whose site has no room, and of those whose stack could not be had. */
enum site_lost { SITE_LOST_ROOM, SITE_LOST_STACK, SITE_LOST };

#endif
