/* SPDX-License-Identifier: MIT */
/*
 * types.c - owns the type and class records of a heap's directory.
 *
 * Right because a definition is checked as a whole before anything is written, records are filled before the
 * word that publishes them is stored (release), and no record is ever taken back: a client that learned an
 * index, from us or out of the directory, may use it for ever. Two definitions under one name are compared
 * field by field, so that the one who comes second learns what differs.
 */
#include "types.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hardened.h"
#include "heapd/atomic.h"
#include "typedefinition.h"

struct types {
	uint32_t map_words; /* of the pool, in use */
};

/* Every span of the class wastes at most 1/SPAN_WASTE of its bytes at its end, if any span up to the largest does. */
#define SPAN_PAGES_MAX 32u
#define SPAN_SLABS_MAX 256u
#define SPAN_WASTE     16u
#define SPAN_SLOTS_MIN 4u /* of slots that are no larger than a page */

uint64_t types_slot_size(uint32_t size, uint32_t align)
{
	uint64_t slot = heapd_align_up(size, align < 8 ? 8 : align);

	return slot < 16 ? 16 : slot;
}

/* Bytes at the end that hold no slot; all of them if such a span is out of the question. */
static uint64_t span_waste(uint64_t slot_size, uint32_t pages)
{
	uint64_t bytes = pages * HEAPD_PAGE_SIZE, slots = bytes / slot_size;
	uint64_t slabs = (slots + heapd_slab_slots(slot_size) - 1) / heapd_slab_slots(slot_size);

	if (slots < (slot_size <= HEAPD_PAGE_SIZE ? SPAN_SLOTS_MIN : 1) || slabs > SPAN_SLABS_MAX)
		return bytes;
	return bytes - slots * slot_size;
}

uint32_t types_span_pages(uint32_t slot_size)
{
	uint32_t best = 1;

	for (uint32_t pages = 1; pages <= SPAN_PAGES_MAX; pages++) {
		uint64_t waste = span_waste(slot_size, pages);

		if (waste * SPAN_WASTE <= pages * HEAPD_PAGE_SIZE)
			return pages;
		if (waste * best < span_waste(slot_size, best) * pages)
			best = pages;
	}
	return best;
}

const struct heapd_type_record *types_record(const struct heap *heap, uint32_t type)
{
	if (type >= HEAPD_LOAD_ACQUIRE(&heap->t.directory->ntypes))
		return NULL;
	return &heap->t.types[type];
}

const struct heapd_class *types_class_record(const struct heap *heap, uint32_t class)
{
	if (class >= HEAPD_CLASS_MAX || !HEAPD_LOAD_ACQUIRE(&heap->t.classes[class].kind))
		return NULL;
	return &heap->t.classes[class];
}

/* slot_size 0: of large objects. */
static void class_write(struct heap *heap, uint32_t class, uint32_t type, enum heapd_kind kind,
			uint32_t sizeclass, uint32_t slot_size)
{
	struct heapd_class *c = &heap->t.classes[class];

	*c = (struct heapd_class){
		.slot_size = slot_size,
		.slab_slots = slot_size ? (uint16_t)heapd_slab_slots(slot_size) : 1,
		.type = (uint16_t)type,
		.sizeclass = (uint16_t)(slot_size ? sizeclass : HEAPD_SIZECLASS_LARGE),
		.span_pages = slot_size ? types_span_pages(slot_size) : 0,
		.magic = slot_size ? heapd_span_magic(slot_size) : 0,
	};
	HEAPD_STORE_RELEASE(&c->kind, (uint16_t)kind);
}

static int class_make(struct heap *heap, uint32_t type, enum heapd_kind kind, uint32_t sizeclass,
		      uint32_t slot_size, uint32_t *class, struct refusal *why)
{
	uint32_t n = heap->t.directory->nclasses;

	if (n == HEAPD_CLASS_MAX)
		return refuse(why, -ENOSPC, "heap '%s' has all of its %u classes; use fewer types",
			      heap->name, HEAPD_CLASS_MAX);
	class_write(heap, n, type, kind, sizeclass, slot_size);
	HEAPD_STORE_RELEASE(&heap->t.directory->nclasses, n + 1);
	*class = n;
	return 0;
}

/* Sizes of the size classes are multiples of 16; a type may want more of a slot's address. */
static uint32_t sizeclass_slot_size(uint32_t sizeclass, uint32_t align)
{
	if (sizeclass >= HEAPD_SIZECLASS_LARGE)
		return 0;
	return (uint32_t)types_slot_size(heapd_sizeclass_size(sizeclass), align);
}

static void builtin_make(struct heap *heap, uint32_t type, const char *name, uint32_t flags)
{
	struct heapd_type_record *t = &heap->t.types[type];

	*t = (struct heapd_type_record){ .size = 8, .align = 8, .flags = flags };
	memcpy(t->name, name, strlen(name));
	for (uint32_t sizeclass = 0; sizeclass < HEAPD_SIZECLASS_TOTAL; sizeclass++) {
		uint32_t class = type * HEAPD_SIZECLASS_TOTAL + sizeclass;

		class_write(heap, class, type, HEAPD_KIND_ARRAY, sizeclass,
			    sizeclass_slot_size(sizeclass, 16));
		t->array_class[sizeclass] = (uint16_t) class;
	}
	t->fixed_class = t->array_class[0];
	HEAPD_STORE_RELEASE(&t->state, 1);
}

/* Whether its type says that this is one of its classes. */
static bool class_is_known(const struct heap *heap, uint32_t class)
{
	const struct heapd_class *c = &heap->t.classes[class];
	const struct heapd_type_record *t = types_record(heap, c->type);

	if (!t)
		return false;
	if (c->kind == HEAPD_KIND_FIXED)
		return t->fixed_class == class;
	return (c->kind == HEAPD_KIND_ARRAY ? t->array_class : t->flex_class)[c->sizeclass] == class;
}

/*
 * The last daemon may have died between making a class and telling its type: nobody has heard of it then. There is one such
 * at most, the last one, which may not have been counted yet.
 */
static void class_forget_last(struct heap *heap)
{
	uint32_t *n = &heap->t.directory->nclasses;

	if (*n < HEAPD_CLASS_MAX)
		HEAPD_STORE_RELEASE(&heap->t.classes[*n].kind, HEAPD_KIND_NONE);
	if (*n <= HEAPD_CLASS_BUILTIN || class_is_known(heap, *n - 1))
		return;
	HEAPD_STORE_RELEASE(&heap->t.classes[*n - 1].kind, HEAPD_KIND_NONE);
	HEAPD_STORE_RELEASE(n, *n - 1);
}

/* What stands in the directory is what there is; clients are reading it. */
static void types_adopt(struct heap *heap)
{
	uint32_t used = 0;

	for (uint32_t i = HEAPD_TYPE_BUILTIN; i < heap->t.directory->ntypes; i++) {
		const struct heapd_type_record *t = &heap->t.types[i];
		uint32_t words = (t->map_bits + 63) / 64;

		if (t->map_word + words > used)
			used = t->map_word + words;
	}
	heap->types->map_words = used;
	class_forget_last(heap);
}

/* No definition that a client sends can have a name in parentheses. */
int types_init(struct heap *heap)
{
	heap->types = calloc(1, sizeof(*heap->types));
	if (!heap->types)
		return -ENOMEM;
	if (heap->adopted) {
		types_adopt(heap);
		return 0;
	}
	builtin_make(heap, HEAPD_TYPE_ANY, "(any)", HEAPD_TYPE_SCAN);
	builtin_make(heap, HEAPD_TYPE_LEAF, "(leaf)", HEAPD_TYPE_NOSCAN);
	builtin_make(heap, HEAPD_TYPE_WEAK, "(weak)", HEAPD_TYPE_NOSCAN);
	HEAPD_STORE_RELEASE(&heap->t.directory->nclasses, HEAPD_CLASS_BUILTIN);
	HEAPD_STORE_RELEASE(&heap->t.directory->ntypes, HEAPD_TYPE_BUILTIN);
	return 0;
}

void types_deinit(struct heap *heap)
{
	free(heap->types);
	heap->types = NULL;
}

static int type_find(const struct heap *heap, const char *name)
{
	uint32_t n = heap->t.directory->ntypes;

	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(heap->t.types[i].name, name) == 0)
			return (int)i;
	}
	return -ENOENT;
}

/* Whether everything that the type needs is there: after this, making it cannot fail half way. */
static int type_room(const struct heap *heap, const struct typedefinition *def, struct refusal *why)
{
	const struct heapd_directory *d = heap->t.directory;

	if (d->ntypes == HEAPD_TYPE_MAX)
		return refuse(why, -ENOSPC,
			      "heap '%s' has all of its %u types; use one of these, or an untyped object",
			      heap->name, HEAPD_TYPE_MAX);
	if (d->nclasses == HEAPD_CLASS_MAX)
		return refuse(why, -ENOSPC, "heap '%s' has all of its %u classes; use fewer types",
			      heap->name, HEAPD_CLASS_MAX);
	if (def->map_words > HEAPD_MAP_WORDS - heap->types->map_words)
		return refuse(
			why, -ENOSPC,
			"heap '%s' has no room for the %u words of the pointer map of '%s'; define it without fields",
			heap->name, def->map_words, def->name);
	return 0;
}

static int type_make(struct heap *heap, const struct typedefinition *def, struct heapd_type_reply *reply,
		     struct refusal *why)
{
	/* In a hardened heap with room for the canary. */
	uint64_t slot = types_slot_size(def->size + 8 * (uint32_t)hardened_words(heap), def->align);
	uint32_t type = heap->t.directory->ntypes, class = 0;
	struct heapd_type_record *t = &heap->t.types[type];
	int r;

	r = type_room(heap, def, why);
	if (r < 0)
		return r;
	/* All of it before its class can be seen: the marker keeps what it makes of the two. */
	typedefinition_write(def, t);
	t->map_word = heap->types->map_words;
	memcpy(&heap->t.maps[t->map_word], def->map, def->map_words * sizeof(def->map[0]));
	r = class_make(heap, type, HEAPD_KIND_FIXED, 0, slot > HEAPD_SMALL_MAX ? 0 : (uint32_t)slot, &class,
		       why);
	if (r < 0)
		return r;
	t->fixed_class = (uint16_t) class;
	heap->types->map_words += def->map_words;
	HEAPD_STORE_RELEASE(&t->state, 1);
	HEAPD_STORE_RELEASE(&heap->t.directory->ntypes, type + 1);
	*reply = (struct heapd_type_reply){ .type = type, .made = 1 };
	return 0;
}

int types_define(struct heap *heap, const struct heapd_type_request *request, bool may_make,
		 struct heapd_type_reply *reply, struct refusal *why)
{
	struct typedefinition def;
	int r, known;

	r = typedefinition_read(&def, request, heap->geometry.size, why);
	if (r < 0)
		return r;
	known = type_find(heap, def.name);
	if (known < 0 && may_make)
		return type_make(heap, &def, reply, why);
	if (known < 0)
		return refuse(
			why, -EROFS,
			"there is no type '%s', and a read-only attachment cannot make one; have a writer define it first",
			def.name);
	r = typedefinition_compare(&def, &heap->t.types[known], &heap->t.maps[heap->t.types[known].map_word],
				   why);
	if (r == 0)
		*reply = (struct heapd_type_reply){ .type = (uint32_t)known };
	return r;
}

static int class_check(const struct heap *heap, const struct heapd_class_request *request,
		       struct refusal *why)
{
	const struct heapd_type_record *t = types_record(heap, request->type);

	if (!t)
		return refuse(why, -EINVAL,
			      "heap '%s' has no type number %u; use the libheapd of the daemon's build",
			      heap->name, request->type);
	if (request->sizeclass > HEAPD_SIZECLASS_LARGE)
		return refuse(why, -EINVAL,
			      "there is no size class %u; use the libheapd of the daemon's build",
			      request->sizeclass);
	if (request->kind == HEAPD_KIND_ARRAY && !(t->flags & HEAPD_TYPE_FLEX))
		return 0;
	if (request->kind == HEAPD_KIND_FLEX && t->flags & HEAPD_TYPE_FLEX)
		return 0;
	if (request->kind == HEAPD_KIND_FIXED)
		return 0;
	return refuse(
		why, -EINVAL,
		"type '%s' %s a flexible array: it has no class of kind %u; use the libheapd of the daemon's build",
		t->name, t->flags & HEAPD_TYPE_FLEX ? "ends in" : "has not", request->kind);
}

int types_class(struct heap *heap, const struct heapd_class_request *request, bool may_make, uint32_t *class,
		struct refusal *why)
{
	struct heapd_type_record *t;
	uint16_t *known;
	int r;

	r = class_check(heap, request, why);
	if (r < 0)
		return r;
	t = &heap->t.types[request->type];
	if (request->kind == HEAPD_KIND_FIXED) {
		*class = t->fixed_class;
		return 0;
	}
	known = request->kind == HEAPD_KIND_ARRAY ? &t->array_class[request->sizeclass]
						  : &t->flex_class[request->sizeclass];
	if (!*known && request->type >= HEAPD_TYPE_BUILTIN) {
		if (!may_make)
			return refuse(
				why, -EROFS,
				"a read-only attachment cannot make a class of type '%s'; attach for writing",
				t->name);
		r = class_make(heap, request->type, request->kind, request->sizeclass,
			       sizeclass_slot_size(request->sizeclass, t->align), class, why);
		if (r < 0)
			return r;
		HEAPD_STORE_RELEASE(known, (uint16_t) * class);
	}
	*class = *known;
	return 0;
}
