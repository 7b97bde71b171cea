/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing. No record of a span is believed before it was compared with the tables' sizes.
 */
#include "verifier.h"

#include <stdarg.h>
#include <stdio.h>

void verifier_fault(struct verifier *v, const char *fmt, ...)
{
	va_list args;

	if (v->reply->faults++)
		return;
	va_start(args, fmt);
	vsnprintf(v->reply->first, sizeof(v->reply->first), fmt, args);
	va_end(args);
}

bool verifier_in_ring(const struct verifier *v, uint32_t slab)
{
	return slab < v->slabs_high && v->in_ring[slab / 64] >> (slab % 64) & 1;
}

bool verifier_span_is_sound(const struct verifier *v, uint32_t first)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	uint32_t slabs;

	if (!span->slab_slots || !span->nslots || span->class >= HEAPD_CLASS_MAX || !span->npages ||
	    span->npages > v->heap->geometry.pages - first)
		return false;
	slabs = heapd_span_slabs(span);
	return slabs <= SPAN_SLABS_MAX && span->slab0 <= v->slabs_high &&
	       slabs <= v->slabs_high - span->slab0 && span_state_of(&v->supply->spans, first);
}
