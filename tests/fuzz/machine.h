/* SPDX-License-Identifier: MIT */
/*
 * machine.h - the daemon's insides without its threads: heaps, sessions and connections that do what they are told, when
 * they are told it, so that an input does the same each time.
 *
 * Whatever does not go as it must ends the program (abort): that is what a fuzzer looks for.
 */
#ifndef HEAPD_FUZZ_MACHINE_H
#define HEAPD_FUZZ_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/connections.h"
#include "daemon/heap.h"
#include "daemon/session.h"
#include "daemon/store.h"

#define MACHINE_HEAPS 2u

struct machine {
	struct log log;
	int log_fd;
	struct account account;
	struct store store;
	struct config config;
	struct sessions sessions;
	struct heap *heaps[MACHINE_HEAPS];
};

/* Heaps "one", which is collected, and "two", which is not: 64 MiB each. n of them. */
void machine_start(struct machine *m, unsigned n);
void machine_stop(struct machine *m);

/*
 * The daemon's death and its successor's birth, as far as heap i goes: nothing but the memory files is left, of which one may
 * be a session's. Where there are connections, this is not for them.
 */
void machine_heap_reborn(struct machine *m, unsigned i);

/* No fault is left once what clients seem to hold is cleared: the daemon's truth was never theirs. */
void machine_is_sound(const struct machine *m);

/*
 * Called before each command that makes the daemon work, and when its memory has moved; NULL: what follows is the end, and the
 * client is gone. Does nothing, unless a program has its own.
 */
void machine_turn(const struct machine *m);

_Noreturn void machine_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a target reads its commands from: 0 beyond the end. */
struct input {
	const uint8_t *at, *end;
};

static inline uint8_t input_byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint64_t input_bytes(struct input *in, unsigned n)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < n; i++)
		value |= (uint64_t)input_byte(in) << (8 * i);
	return value;
}

/* The target: of libFuzzer's, or of replay.c. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
