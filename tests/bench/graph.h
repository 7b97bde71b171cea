/* SPDX-License-Identifier: MIT */
/*
 * The graph that markers are compared on: GRAPH_OBJECTS objects of 64 bytes, each with GRAPH_LINKS pointers in its first
 * words. The first pointers make one ring through all objects in random order, so that each is reached; the
 * others go anywhere. The same on every contender; go/mark.go has it again.
 */
#ifndef BENCH_GRAPH_H
#define BENCH_GRAPH_H

#include <stdint.h>
#include <stdlib.h>

#define GRAPH_OBJECTS 8000000u
#define GRAPH_LINKS   2u
#define GRAPH_WORDS   8u
#define GRAPH_SEED    12345u

/* xorshift64* */
static inline uint64_t graph_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* Sattolo's shuffle: next[] is one ring of all n. */
static inline uint32_t *graph_ring(uint32_t n, uint64_t *seed)
{
	uint32_t *next = (uint32_t *)malloc(n * sizeof(*next));

	for (uint32_t i = 0; next && i < n; i++)
		next[i] = i;
	for (uint32_t i = n - 1; next && i > 0; i--) {
		uint32_t j = (uint32_t)(graph_random(seed) % i), other = next[i];

		next[i] = next[j];
		next[j] = other;
	}
	return next;
}

static inline void graph_link(uint64_t **objects, const uint32_t *next, uint64_t *seed)
{
	for (uint32_t i = 0; i < GRAPH_OBJECTS; i++) {
		objects[i][0] = (uint64_t)(uintptr_t)objects[next[i]];
		for (unsigned k = 1; k < GRAPH_LINKS; k++)
			objects[i][k] = (uint64_t)(uintptr_t)objects[graph_random(seed) % GRAPH_OBJECTS];
	}
}

#endif
