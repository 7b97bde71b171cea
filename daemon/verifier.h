/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a verification share: the heap, the reply, and what was found so far. heap->lock is held.
 */
#ifndef HEAPD_DAEMON_VERIFIER_H
#define HEAPD_DAEMON_VERIFIER_H

#include "heapd/message.h"
#include "supply.h"

struct verifier {
	struct heap *heap;
	struct supply *supply;
	struct heapd_verify_reply *reply;
	uint64_t *in_ring; /* by slab, bits: its number was seen in an entry */
	uint64_t pages_in_spans;
	uint64_t taken,
		taken_first; /* pages that are in no span and taken: on their way back to the system */
	uint64_t slabs_high;
	uint64_t slab_units; /* of the spans found */
	uint64_t large;
	struct {
		uint64_t spans, pages, out, listed;
	} classes[HEAPD_CLASS_MAX];
};

/* Counts a fault; the first one's words stand in the reply. */
void verifier_fault(struct verifier *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Whether the slab's number was seen in a ring's entry. */
bool verifier_in_ring(const struct verifier *v, uint32_t slab);

/* Whether a span's record can be followed: shape, numbers and pages lie inside the tables. */
bool verifier_span_is_sound(const struct verifier *v, uint32_t first);

#endif
