/* SPDX-License-Identifier: MIT */
/*
 * Fields: in which fields of which types the last cycle met words that are neither NULL nor in the heap. Written by the
 * collector's thread after a cycle, read by any, under the collection's mutex.
 */
#ifndef HEAPD_DAEMON_FIELDS_H
#define HEAPD_DAEMON_FIELDS_H

#include "foreign.h"

#define FIELDS_MAX 256u /* more are not told apart */

struct fields {
	struct foreign_row rows[FIELDS_MAX]; /* of the last cycle */
	unsigned n;
	struct foreign_row told[FIELDS_MAX]; /* those that the log has told of */
	unsigned ntold;
	struct log_limit lines;
};

void fields_init(struct fields *fields);

/* What the cycle that has just ended met. With the mutex held. */
void fields_copy(struct fields *fields, const struct foreign *foreign);
/* Logs each field that is met for the first time. The collector's thread. */
void fields_tell(struct fields *fields, struct heap *heap);

/* "offset 16: 5, offset 24: 1" of a type; "order: 6, shop: 1" of all. With the mutex held. */
void fields_write_type(const struct fields *fields, uint32_t type, char *text, size_t size);
void fields_write_all(const struct fields *fields, const struct heap *heap, char *text, size_t size);

#endif
