/* SPDX-License-Identifier: MIT */
/*
 * Types, as this process knows them: a handle for each, made from its record in the directory.
 *
 * A record never changes once it is published, so a handle, and the definition that a program comes
 * with, are checked against shared memory alone; the daemon is asked when there is something to make,
 * or when it has to say what differs. Handles stand in a table by number, put there by
 * compare-and-swap: no lock, and the same handle for every thread. They end with the attachment.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/fork.h"
#include "heapd/message.h"

#define MAP_BITS_MAX  (64u * (uint32_t)(sizeof(((struct heapd_type_request *)0)->map) / 8))
#define FLAGS_MAPLESS (HEAPD_TYPE_SCAN | HEAPD_TYPE_NOSCAN)

/* The record with this number; NULL if there is none. */
static const struct heapd_type_record *record_at(const struct heapd_heap *heap, uint32_t index)
{
	/* Pairs with the daemon's release: the records below are complete. */
	return index < HEAPD_LOAD_ACQUIRE(&heap->t.directory->ntypes) ? &heap->t.types[index] : NULL;
}

static const struct heapd_type_record *record_find(const struct heapd_heap *heap, const char *name,
						   uint32_t *index)
{
	const struct heapd_type_record *r;

	for (*index = 0; (r = record_at(heap, *index)); ++*index)
		if (strncmp(r->name, name, sizeof(r->name)) == 0)
			return r;
	return NULL;
}

static struct heapd_type *type_make(struct heapd_heap *heap, uint32_t index,
				    const struct heapd_type_record *r)
{
	struct heapd_type *type = (struct heapd_type *)malloc(sizeof(*type));

	if (!type)
		return error_null(
			ENOMEM,
			"heap '%s': this process has no memory for a type's handle: free some of its own",
			heap->name);
	*type = (struct heapd_type){
		.heap = heap,
		.index = index,
		.size = r->size,
		.align = r->align,
		.flags = r->flags,
		.flex_at = r->flex_at,
		.flex_elem = r->flex_elem,
		.fixed_class = r->fixed_class,
	};
	return type;
}

struct heapd_type *type_by_index(struct heapd_heap *heap, uint32_t index)
{
	const struct heapd_type_record *r = record_at(heap, index);
	struct heapd_type *known = NULL, *type;

	if (!r || index >= HEAPD_TYPE_MAX)
		return error_null(
			EINVAL,
			"heap '%s' has no type with the number %u: use client library and daemon of one version",
			heap->name, index);
	known = atomic_load_explicit(&heap->types[index], memory_order_acquire);
	if (known)
		return known;
	type = type_make(heap, index, r);
	if (!type)
		return NULL;
	if (atomic_compare_exchange_strong(&heap->types[index], &known, type))
		return type;
	free(type);
	return known;
}

void types_free(struct heapd_heap *heap)
{
	for (uint32_t i = 0; i < HEAPD_TYPE_MAX; i++)
		free(atomic_exchange(&heap->types[i], NULL));
}

/* A process that has no heap, nor its directory: its handles lead to what is as nothing in a directory, and each use of them is refused. */
void types_bereave(struct heapd_heap *heap)
{
	static const struct heapd_class none[HEAPD_CLASS_BUILTIN];
	static const struct heapd_type_record nameless;

	heap->t.classes = (struct heapd_class *)(uintptr_t)none;
	heap->t.types = (struct heapd_type_record *)(uintptr_t)&nameless;
	for (uint32_t i = 0; i < HEAPD_TYPE_MAX; i++) {
		struct heapd_type *type = atomic_load(&heap->types[i]);

		if (!type)
			continue;
		type->index = type->fixed_class = 0;
		memset(type->array_class, 0, sizeof(type->array_class));
		memset(type->flex_class, 0, sizeof(type->flex_class));
	}
}

/* The definition's fixed part; what the daemon checks too is left to it. */
static int request_start(struct heapd_type_request *request, const struct heapd_type_desc *desc)
{
	size_t length = desc->name ? strnlen(desc->name, HEAPD_NAME_MAX) : 0;

	if (!length || length == HEAPD_NAME_MAX)
		return error_set(EINVAL, "that is no type's name: give one of 1 to %u bytes",
				 HEAPD_NAME_MAX - 1);
	if (desc->object_size > UINT32_MAX || desc->align > UINT32_MAX || desc->flex_at > UINT32_MAX)
		return error_set(EINVAL,
				 "type '%s': its objects are too large: define one of less than 4 GiB",
				 desc->name);
	*request = (struct heapd_type_request){
		.size = (uint32_t)desc->object_size,
		.align = desc->align < 8 ? 8 : (uint32_t)desc->align,
		.flags = desc->flags,
		.flex_at = (uint32_t)desc->flex_at,
		.flex_elem = desc->flex_elem,
	};
	memcpy(request->name, desc->name, length);
	return 0;
}

static int field_add(struct heapd_type_request *request, const struct heapd_type_field *field)
{
	if (!field->bytes || field->offset % 8 || field->bytes % 8)
		return error_set(
			EINVAL,
			"type '%s': the field at offset %u is no row of pointers: give an offset and a size that are multiples of 8",
			request->name, field->offset);
	if ((uint64_t)field->offset + field->bytes > request->size)
		return error_set(
			EINVAL,
			"type '%s': the field at offset %u does not end inside the object's %u bytes: name fields of that structure",
			request->name, field->offset, request->size);
	if ((field->offset + field->bytes) / 8 > MAP_BITS_MAX)
		return error_set(
			EINVAL,
			"type '%s': the field at offset %u is not in the first %u bytes: define the type without naming fields",
			request->name, field->offset, MAP_BITS_MAX * 8);
	for (uint32_t i = field->offset / 8; i < (field->offset + field->bytes) / 8; i++)
		request->map[i / 64] |= 1ull << (i % 64);
	return 0;
}

/* Fields are checked even where every word is looked at anyway; there is no map then. */
static int request_map(struct heapd_type_request *request, const struct heapd_type_desc *desc)
{
	int r = 0;

	if (desc->nfields && !desc->fields)
		return error_set(EINVAL, "type '%s': %zu fields, but no table of them: give the table",
				 request->name, desc->nfields);
	if (desc->nfields && desc->flags & HEAPD_TYPE_NOSCAN)
		return error_set(
			EINVAL,
			"type '%s': has no pointers, yet lists fields: drop HEAPD_TYPE_NOSCAN or the fields",
			request->name);
	for (size_t i = 0; r >= 0 && i < desc->nfields; i++)
		r = field_add(request, &desc->fields[i]);
	if (request->flags & FLAGS_MAPLESS)
		memset(request->map, 0, sizeof(request->map));
	else
		request->map_bits = request->size / 8 < MAP_BITS_MAX ? request->size / 8 : MAP_BITS_MAX;
	return r;
}

static bool map_same(const struct heapd_type_request *request, const struct heapd_type_record *r,
		     const uint64_t *map)
{
	for (uint32_t i = 0; i < r->map_bits; i++)
		if ((request->map[i / 64] ^ map[i / 64]) >> (i % 64) & 1)
			return false;
	return true;
}

/* Whether a record says what the request does. */
static bool record_same(const struct heapd_heap *heap, const struct heapd_type_record *r,
			const struct heapd_type_request *request)
{
	return r->size == request->size && r->align == request->align && r->flags == request->flags &&
	       r->flex_at == request->flex_at && r->flex_elem == request->flex_elem &&
	       r->map_bits == request->map_bits && r->map_bits <= MAP_BITS_MAX &&
	       map_same(request, r, &heap->t.maps[r->map_word]);
}

heapd_type *heapd_type_define_desc(heapd_heap *heap, const struct heapd_type_desc *desc)
{
	struct heapd_message m = { .op = HEAPD_OP_TYPE };
	const struct heapd_type_record *r;
	uint32_t index;

	if (!heap || heap != heapd_process)
		return fork_heap_missing(heap), NULL;
	if (!desc || desc->size < sizeof(*desc))
		return error_null(
			EINVAL,
			"heapd_type_define_desc: the description's size is not set: use sizeof(struct heapd_type_desc)");
	if (request_start(&m.type, desc) < 0 || request_map(&m.type, desc) < 0)
		return NULL;
	r = record_find(heap, m.type.name, &index);
	if (r && index >= HEAPD_TYPE_BUILTIN && record_same(heap, r, &m.type))
		return type_by_index(heap, index);
	if (request_call(heap, &m, NULL, NULL) < 0)
		return NULL;
	return type_by_index(heap, m.type_reply.type);
}

heapd_type *heapd_type_find(heapd_heap *heap, const char *name)
{
	uint32_t index;

	if (!heap || heap != heapd_process)
		return fork_heap_missing(heap), NULL;
	if (!name || !record_find(heap, name, &index))
		return error_null(ENOENT, "heap '%s' has no type '%s': define it with heapd_type_define()",
				  heap->name, name ? name : "(null)");
	return type_by_index(heap, index);
}

const char *heapd_type_name(const heapd_type *type)
{
	return type->heap->t.types[type->index].name;
}

static heapd_type *type_builtin(heapd_heap *heap, uint32_t index)
{
	if (!heap || heap != heapd_process)
		return fork_heap_missing(heap), NULL;
	return type_by_index(heap, index);
}

heapd_type *heapd_type_any(heapd_heap *heap)
{
	return type_builtin(heap, HEAPD_TYPE_ANY);
}

heapd_type *heapd_type_leaf(heapd_heap *heap)
{
	return type_builtin(heap, HEAPD_TYPE_LEAF);
}

/* Arrays of a type that ends in a flexible array cannot be: where the next would begin, nobody knows. */
static int kind_check(const struct heapd_type *type, enum heapd_kind kind)
{
	bool flex = type->flags & HEAPD_TYPE_FLEX;

	if (kind == HEAPD_KIND_FIXED || flex == (kind == HEAPD_KIND_FLEX))
		return 0;
	return error_set(EINVAL, "type '%s' %s a flexible array: allocate it with %s", heapd_type_name(type),
			 flex ? "ends in" : "has not",
			 flex ? "heapd_new_flex()" : "heapd_new() or heapd_new_array()");
}

static int class_ask(struct heapd_type *type, enum heapd_kind kind, uint32_t sizeclass)
{
	struct heapd_message m = {
		.op = HEAPD_OP_CLASS,
		.class = { .type = type->index, .kind = kind, .sizeclass = sizeclass },
	};
	int r = request_call(type->heap, &m, NULL, NULL);

	if (r < 0)
		return r;
	if (m.class.class >= HEAPD_LOAD_ACQUIRE(&type->heap->t.directory->nclasses))
		return error_set(
			EPROTO,
			"heap '%s': the daemon named a class that there is not: use client library and daemon of one version",
			type->heap->name);
	return (int)m.class.class;
}

/*
 * From the handle, else from the record, which other processes' requests fill, else from the daemon. In a hardened heap it
 * is the next larger size class's, with room for a canary, that the handle keeps for this one.
 */
int type_class(struct heapd_type *type, enum heapd_kind kind, uint32_t sizeclass)
{
	const struct heapd_type_record *r = &type->heap->t.types[type->index];
	uint32_t room = sizeclass + (type->heap->hardened && sizeclass < HEAPD_SIZECLASS_LARGE);
	const uint16_t *shown = kind == HEAPD_KIND_FLEX ? &r->flex_class[room] : &r->array_class[room];
	uint16_t *known = kind == HEAPD_KIND_FLEX ? &type->flex_class[sizeclass]
						  : &type->array_class[sizeclass];
	int class;

	if (type->index < HEAPD_TYPE_BUILTIN)
		return (int)(type->index * HEAPD_SIZECLASS_TOTAL + sizeclass);
	if (kind == HEAPD_KIND_FIXED)
		return (int)type->fixed_class;
	class = HEAPD_LOAD_ACQUIRE(known);
	if (likely(class))
		return class;
	if (kind_check(type, kind) < 0)
		return -EINVAL;
	class = HEAPD_LOAD_ACQUIRE(shown);
	if (!class)
		class = class_ask(type, kind, room);
	if (class > 0)
		HEAPD_STORE_RELEASE(known, (uint16_t) class);
	return class;
}
