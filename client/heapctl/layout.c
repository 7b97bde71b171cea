/* SPDX-License-Identifier: MIT */
/*
 * layout.c - owns what heapctl takes from type records. Those of a broken heap may say anything: an index out of range
 * makes every word a pointer, which is checked like any other.
 */
#include "layout.h"

static struct layout layout_listed(const struct ctl *ctl, const struct heapd_type_record *type, uint32_t kind)
{
	uint32_t word = HEAPD_READ_ONCE(type->map_word), bits = HEAPD_READ_ONCE(type->map_bits);
	uint32_t size = HEAPD_READ_ONCE(type->size);
	struct layout l = { .bits = bits, .flex = UINT32_MAX };

	if (word > HEAPD_MAP_WORDS || bits > (HEAPD_MAP_WORDS - word) * 64u ||
	    (kind == HEAPD_KIND_ARRAY && size % 8)) {
		l.every = true;
		return l;
	}
	l.map = &ctl->heap->t.maps[word];
	if (kind == HEAPD_KIND_ARRAY)
		l.period = size / 8;
	if (kind == HEAPD_KIND_FLEX && HEAPD_READ_ONCE(type->flags) & HEAPD_TYPE_FLEX_PTRS)
		l.flex = HEAPD_READ_ONCE(type->flex_at) / 8;
	return l;
}

struct layout layout_of(const struct ctl *ctl, uint32_t class)
{
	const struct heapd_class *c = &ctl->heap->t.classes[class];
	uint32_t index = HEAPD_READ_ONCE(c->type), flags;
	struct layout l = { .every = true };

	if (index >= HEAPD_TYPE_MAX)
		return l;
	flags = HEAPD_READ_ONCE(ctl->heap->t.types[index].flags);
	if (flags & HEAPD_TYPE_NOSCAN)
		l = (struct layout){ .none = true };
	else if (!(flags & HEAPD_TYPE_SCAN))
		l = layout_listed(ctl, &ctl->heap->t.types[index], HEAPD_READ_ONCE(c->kind));
	l.type = index;
	return l;
}
