/* SPDX-License-Identifier: MIT */
/*
 * Tables of one bit each, looked through by words.
 */
#ifndef HEAPD_DAEMON_BITS_H
#define HEAPD_DAEMON_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool bits_get(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static inline void bits_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= 1ull << (i % 64);
}

static inline void bits_clear(uint64_t *bits, uint64_t i)
{
	bits[i / 64] &= ~(1ull << (i % 64));
}

/* The first bit at or after `at` that is `value`; `end` if there is none before it. */
static inline uint64_t bits_next(const uint64_t *bits, uint64_t at, uint64_t end, bool value)
{
	while (at < end) {
		uint64_t word = value ? bits[at / 64] : ~bits[at / 64];

		word >>= at % 64;
		if (word) {
			at += (uint64_t)__builtin_ctzll(word);
			return at < end ? at : end;
		}
		at = (at / 64 + 1) * 64;
	}
	return end;
}

/* How many neighbouring bits from `at` on, before `end`, have this value. */
static inline uint64_t bits_run(const uint64_t *bits, uint64_t at, uint64_t end, bool value)
{
	return bits_next(bits, at, end, !value) - at;
}

#endif
