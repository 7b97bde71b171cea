/* SPDX-License-Identifier: MIT */
/*
 * Tables of one bit each, looked through by words.
 */
#ifndef HEAPD_DAEMON_BITS_H
#define HEAPD_DAEMON_BITS_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
