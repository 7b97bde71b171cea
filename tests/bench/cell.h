/* SPDX-License-Identifier: MIT */
/*
 * What is measured: a loop over objects of one size, and the request and answer that go between
 * the program that compares (compare.c) and those that allocate (heapd.c, malloc.c, boost.cc).
 */
#ifndef BENCH_CELL_H
#define BENCH_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_INLINE static inline __attribute__((always_inline))

enum bench_loop {
	BENCH_PAIR,   /* allocate one object, free it at once */
	BENCH_ALLOC,  /* allocate BENCH_CHUNK objects; freeing them is outside the timed part */
	BENCH_BURST,  /* allocate BENCH_CHUNK objects, then free them, oldest first */
	BENCH_PASS,   /* one allocates and passes on through a ring, another frees */
	BENCH_LARSON, /* the patterns: patterns.h */
	BENCH_XMALLOC,
	BENCH_SCRATCH,
	BENCH_LOOPS
};

#define BENCH_CHUNK 10000
#define BENCH_PROCS 8
#define BENCH_RINGS (BENCH_PROCS / 2 + 2 * BENCH_PROCS + 1) /* of BENCH_PASS, and of the patterns */
#define BENCH_SIZES 6
#define BENCH_MIX   0u   /* the size that stands for the mix */
#define BENCH_MIXED 4096 /* sizes in the mix, before it repeats; a power of two */

struct bench_request {
	uint32_t loop;
	uint32_t size;
	uint32_t procs;
	uint32_t zero; /* the contender does not zero by itself: memset() after each allocation */
	uint64_t warm_ns, run_ns;
};

/* All per operation: an object allocated and, but for BENCH_ALLOC, freed. */
struct bench_answer {
	double ns;        /* wall time, times the processors that the processes could use */
	double cpu_ns;    /* processor time of the processes; loops without an untimed part only, else 0 */
	double daemon_ns; /* processor time of the daemon meanwhile */
	double faults;    /* page faults */
	double waits;     /* how often a process slept */
	double ops;       /* not per operation: how many there were */
	uint64_t failed;  /* an errno value */
};

struct bench_hello {
	char version[64];
	char library[192]; /* the file that malloc() and free() come from */
	uint64_t failed;
};

extern const uint32_t bench_sizes[BENCH_SIZES];

const char *bench_loop_name(uint32_t loop);
const char *bench_loop_text(uint32_t loop); /* what it is, for people */
const char *bench_size_name(uint32_t size);

/* The same sizes on every machine and for every contender: 16 to 4096 bytes, each doubling half as frequent. */
void bench_mix_fill(uint32_t sizes[BENCH_MIXED]);

static inline uint64_t bench_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t bench_now(void); /* nanoseconds; the same clock in every process */

/* All of it or false: pipes between parent and child, so a short read is the other's end. */
bool bench_read(int fd, void *data, size_t bytes);
bool bench_write(int fd, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
