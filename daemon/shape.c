/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; reads class and type records. Right because a record in use never changes (types.h), so a shape
 * that was made once is right for ever; and because what cannot be told exactly is told too largely: a type
 * whose size is no multiple of a word, repeated in an array, has its words anywhere, so every word is looked at.
 */
#include "shape.h"

#include "hardened.h"
#include "heapd/count.h"
#include "types.h"

#define CACHE_LINE 64u

static uint64_t low_bits(uint64_t n)
{
	return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

/* 64 bits of the type's map, from bit `at` on. */
static uint64_t map_bits(const struct shape *shape, uint64_t at)
{
	uint64_t last = (shape->nbits - 1u) / 64, i = at / 64, bits;

	if (at >= shape->nbits)
		return 0;
	bits = shape->bits[i] >> (at % 64);
	if (at % 64 && i < last)
		bits |= shape->bits[i + 1] << (64 - at % 64);
	return bits & low_bits(shape->nbits - at);
}

static bool map_empty(const struct shape *shape)
{
	for (uint64_t at = 0; at < shape->nbits; at += 64)
		if (map_bits(shape, at))
			return false;
	return true;
}

/* Of a period that a window holds several times: a step is as many of them as fit. */
static void repeat_make(struct shape *shape)
{
	shape->repeat_words = SHAPE_WINDOW / shape->period * shape->period;
	for (uint32_t at = 0; at < shape->repeat_words; at += shape->period)
		shape->repeat |= (map_bits(shape, 0) & low_bits(shape->period)) << at;
}

static void array_make(struct shape *shape, const struct heapd_type_record *type)
{
	if (map_empty(shape))
		return;
	if (type->size % 8) {
		shape->every = true;
		return;
	}
	shape->period = type->size / 8;
	if (shape->period <= SHAPE_WINDOW)
		repeat_make(shape);
}

static void map_make(struct shape *shape, const struct heap *heap, const struct heapd_type_record *type,
		     enum heapd_kind kind)
{
	shape->bits = &heap->t.maps[type->map_word];
	shape->nbits = type->map_bits;
	if (kind == HEAPD_KIND_ARRAY)
		array_make(shape, type);
	if (kind == HEAPD_KIND_FLEX && type->flags & HEAPD_TYPE_FLEX_PTRS)
		shape->flex = type->flex_at / 8;
	shape->exact = !shape->every;
	shape->leaf = !shape->every && shape->flex == SHAPE_NO_WORD && map_empty(shape);
}

/* Slots of a size that is a multiple of a cache line's begin with one. */
static uint64_t far_of(uint64_t map, uint64_t slot_size)
{
	uint64_t last = map ? 63 - (uint64_t)__builtin_clzll(map) : 0;

	return slot_size % CACHE_LINE || last * 8 >= CACHE_LINE ? last : 0;
}

bool shape_make(struct shape *shape, const struct heap *heap, uint32_t class)
{
	const struct heapd_class *c = types_class_record(heap, class);
	const struct heapd_type_record *type;

	if (!c)
		return false;
	type = &heap->t.types[c->type];
	*shape = (struct shape){
		.words = c->slot_size ? c->slot_size / 8 - (uint32_t)hardened_words(heap) : 0,
		.type = c->type,
		.flex = SHAPE_NO_WORD,
		.one = c->slot_size && c->slot_size / 8 <= SHAPE_WINDOW,
	};
	if (type->flags & HEAPD_TYPE_NOSCAN)
		shape->leaf = true;
	else if (type->flags & HEAPD_TYPE_SCAN)
		shape->every = true;
	else
		map_make(shape, heap, type, (enum heapd_kind)c->kind);
	shape->map = shape_window(shape, 0, shape->words);
	shape->listed = (uint8_t)heapd_count_bits(shape->map);
	shape->entry = (uint64_t) class << SHAPE_ENTRY_CLASS | (uint64_t)!shape->leaf << SHAPE_ENTRY_GREY |
		       far_of(shape->map, c->slot_size) << SHAPE_ENTRY_FAR;
	return true;
}

static uint64_t array_window(const struct shape *shape, uint64_t at)
{
	uint64_t bits = 0;

	for (uint64_t done = 0; done < SHAPE_WINDOW;) {
		uint64_t from = (at + done) % shape->period, step = shape->period - from;

		if (shape->repeat_words) {
			bits |= shape->repeat >> from << done;
			step = shape->repeat_words - from;
		} else {
			bits |= map_bits(shape, from) << done;
		}
		done += step;
	}
	return bits;
}

uint64_t shape_window(const struct shape *shape, uint64_t at, uint64_t n)
{
	uint64_t bits;

	/* What is left at the end of an array, and is no whole object, holds none. */
	if (shape->period)
		n -= n % shape->period;
	if (shape->leaf || at >= n)
		return 0;
	if (shape->every)
		return low_bits(n - at);
	bits = shape->period ? array_window(shape, at) : map_bits(shape, at);
	if (at + SHAPE_WINDOW > shape->flex)
		bits |= at >= shape->flex ? UINT64_MAX : ~low_bits(shape->flex - at);
	return bits & low_bits(n - at);
}

uint64_t shape_type_word(const struct shape *shape, uint64_t at)
{
	if (shape->period)
		at %= shape->period;
	return at < shape->flex ? at : shape->flex;
}
