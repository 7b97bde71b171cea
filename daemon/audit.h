/* SPDX-License-Identifier: MIT */
/*
 * Audits: where programs broke the rules for pointers, looked for by clients that asked for it (HEAPD_DEBUG).
 */
#ifndef HEAPD_DAEMON_AUDIT_H
#define HEAPD_DAEMON_AUDIT_H

#include "heap.h"
#include "marker.h"

#define AUDIT_FIELDS 256u /* more are not told apart */

struct audit_field {
	uint32_t flag; /* HEAPD_HELLO_*: what was found */
	uint32_t type, word;
};

struct audit {
	struct audit_field told[AUDIT_FIELDS]; /* each field is told of once */
	unsigned ntold;
	struct log_limit lines;
};

void audit_init(struct audit *audit);
void audit_deinit(struct audit *audit, struct heap *heap);

/*
 * With nothing grey any more, before barriers go off; takes heap->lock. Where a client asked for
 *   types    words that are not listed as pointers and are the address of an object are reported;
 *   barrier  objects that a root leads to and that are not marked are reported, with the field that leads to them,
 *            and become grey: how many there were.
 */
uint64_t audit_run(struct audit *audit, struct heap *heap, struct marker *marker);

/* A cycle has ended: clients that look for dangling words in their own memory are to look. Takes heap->lock. */
void audit_cycle_ended(struct heap *heap);

#endif
