/* SPDX-License-Identifier: MIT */
/*
 * schema.c - owns the description of the demo's objects to the heap: which of their words are pointers.
 */
#include "schema.h"

#include <errno.h>

#include "say.h"

int schema_define(struct schema *schema, heapd_heap *heap)
{
	struct schema s = {
		.index = heapd_type_define(heap, "demo.index", struct index, table, buckets),
		.buckets = heapd_type_define_flex(heap, "demo.buckets", struct buckets, heads),
		.term = heapd_type_define_flex(heap, "demo.term", struct term, text, next, postings),
		.posting =
			heapd_type_define_flex(heap, "demo.posting", struct posting, offsets, next, attempt),
		.table = heapd_type_define_flex(heap, "demo.table", struct table, files),
		.file = heapd_type_define(heap, "demo.file", struct file, path, claim, winner),
		.attempt = heapd_type_define(heap, "demo.attempt", struct attempt, file),
	};

	if (!s.index || !s.buckets || !s.term || !s.posting || !s.table || !s.file || !s.attempt)
		return say_heapd_error(-errno, "cannot define the index's types");
	*schema = s;
	return 0;
}
