/* SPDX-License-Identifier: MIT */
/*
 * cell.c - owns the names of loops and sizes, and the mix.
 *
 * Right because nothing here depends on the contender: all of them get the same sizes in the same order.
 */
#include "cell.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

const uint32_t bench_sizes[BENCH_SIZES] = { 16, 64, 256, 1024, 4096, BENCH_MIX };

const char *bench_loop_name(uint32_t loop)
{
	static const char *const names[BENCH_LOOPS] = { "pair",   "alloc",   "burst",  "pass",
							"larson", "xmalloc", "scratch" };

	return names[loop];
}

const char *bench_loop_text(uint32_t loop)
{
	static const char *const texts[BENCH_LOOPS] = {
		"allocate an object and free it at once",
		"allocate 10,000 objects; freeing them is not timed",
		"allocate 10,000 objects, then free them, oldest first",
		"one allocates and passes the pointer through a ring, another frees",
		"objects replaced at random, in blocks that go from worker to worker",
		"each frees what its neighbour allocates",
		"one worker's object freed by another, which then writes 200 times to its own, of 16 bytes",
	};

	return texts[loop];
}

const char *bench_size_name(uint32_t size)
{
	static const char *const names[BENCH_SIZES] = { "16", "64", "256", "1024", "4096", "mix" };
	size_t i = 0;

	while (bench_sizes[i] != size)
		i++;
	return names[i];
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void bench_mix_fill(uint32_t sizes[BENCH_MIXED])
{
	uint64_t state = 0x9e3779b97f4a7c15ull;

	for (size_t i = 0; i < BENCH_MIXED; i++) {
		uint64_t r = random_next(&state);
		uint32_t doubling = (uint32_t)__builtin_ctzll((r >> 32) | 1u << 7);

		sizes[i] = (16u << doubling) + (uint32_t)(r % (16u << doubling));
	}
}

uint64_t bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool bench_read(int fd, void *data, size_t bytes)
{
	char *to = data;

	while (bytes) {
		ssize_t n = read(fd, to, bytes);

		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0) {
			to += n;
			bytes -= (size_t)n;
		}
	}
	return true;
}

bool bench_write(int fd, const void *data, size_t bytes)
{
	const char *from = data;

	while (bytes) {
		ssize_t n = write(fd, from, bytes);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			from += n;
			bytes -= (size_t)n;
		}
	}
	return true;
}
