/* SPDX-License-Identifier: MIT */
/*
 * What can be asked of an object, and the allocations that copy: size, start, type, heap; realloc,
 * strdup, memdup. An object's properties are its span's, read from the directory.
 */
#include <errno.h>
#include <string.h>

#include "client.h"
#include "fork.h"
#include "hardened.h"
#include "thread.h"

/* Bytes of the object there; in a hardened heap its slot has a canary behind them. */
static uint64_t place_usable(const struct heapd_heap *heap, const struct place *place)
{
	return place->span->elemsize - hardened_reserve(heap);
}

size_t heapd_size(const void *object)
{
	uint64_t usable = 0, before = 0;
	struct place place;

	if (heapd_process && place_find(heapd_process, object, &place)) {
		usable = place_usable(heapd_process, &place);
		before = (uint64_t)(uintptr_t)object - place.start;
	}
	if (before >= usable)
		return error_set(
			       EINVAL,
			       "heapd_size(%p): no object of the heap lies there: give the address of one, or one inside it",
			       object),
		       0;
	return usable - before;
}

void *heapd_start_of(const void *inside)
{
	struct place place;

	if (!heapd_process || !place_find(heapd_process, inside, &place))
		return error_null(
			EINVAL,
			"heapd_start_of(%p): no object of the heap lies there: give the address of one, or one inside it",
			inside);
	return (void *)(uintptr_t)place.start;
}

heapd_heap *heapd_heap_of(const void *object)
{
	return heapd_process && heap_contains(heapd_process, object) ? heapd_process : NULL;
}

heapd_type *heapd_type_of(const void *object)
{
	struct place place;

	if (!heapd_process || !place_find(heapd_process, object, &place))
		return error_null(
			EINVAL,
			"heapd_type_of(%p): no object of the heap lies there: give the address of one, or one inside it",
			object);
	return type_by_index(heapd_process, heapd_process->t.classes[place.span->class].type);
}

/* The class for a new object of the same kind as the old one, of `bytes`; -errno. *large: it has spans of its own. */
static int class_alike(struct heapd_heap *heap, const struct place *place, size_t bytes, bool *large)
{
	const struct heapd_class *class = &heap->t.classes[place->span->class];
	uint32_t sizeclass = bytes > HEAPD_SMALL_MAX ? HEAPD_SIZECLASS_LARGE : heapd_sizeclass_of(bytes);
	heapd_type *type = type_by_index(heap, class->type);

	if (!type)
		return -errno;
	if (class->type == HEAPD_TYPE_WEAK ||
	    (class->type >= HEAPD_TYPE_BUILTIN && class->kind == HEAPD_KIND_FIXED))
		return error_set(
			EINVAL,
			"heapd_realloc: objects of type '%s' have one size: use an array or a flexible type",
			heapd_type_name(type));
	if (class->kind == HEAPD_KIND_FLEX && bytes < type->size)
		return error_set(EINVAL,
				 "heapd_realloc: an object of type '%s' has at least %u bytes: give as many",
				 heapd_type_name(type), type->size);
	*large = sizeclass == HEAPD_SIZECLASS_LARGE;
	return type_class(type, (enum heapd_kind) class->kind, sizeclass);
}

static void *alloc_alike(struct heapd_heap *heap, const struct place *place, size_t bytes)
{
	bool large = false;
	int class = class_alike(heap, place, bytes, &large);

	if (class < 0)
		return NULL;
	return large ? large_alloc(heap, (uint32_t) class, bytes, HEAPD_PAGE_SIZE)
		     : class_alloc(heap, (uint32_t) class);
}

/* Whether `bytes` still fit the slot, and fill enough of it that moving would gain nothing. */
static bool fits_in_place(size_t usable, size_t bytes)
{
	return bytes <= usable && (bytes > usable / 2 || usable <= 16);
}

/* What is cut off may come back by the next heapd_realloc(): it is zero then. Its pointers are taken out as any are. */
static void tail_zero(const struct place *place, size_t usable, size_t bytes)
{
	char *tail = (char *)(uintptr_t)place->start + bytes,
	     *word = (char *)(uintptr_t)place->start + heapd_align_up(bytes, 8);

	memset(tail, 0, (size_t)(word - tail));
	heapd_zero_sym(word, (usable - heapd_align_up(bytes, 8)) / 8);
}

/* Into an object that nobody has seen yet. */
static void content_move(void *to, const struct place *from, size_t usable, size_t bytes)
{
	uint64_t n = bytes < usable ? bytes : usable;

	heapd_move_sym(to, (const void *)(uintptr_t)from->start, n / 8);
	memcpy((char *)to + (n & ~7ul), (const char *)(uintptr_t)from->start + (n & ~7ul), n & 7);
}

static void *realloc_online(struct heapd_heap *heap, void *object, size_t bytes)
{
	struct place place;
	size_t usable;
	void *new;

	if (!place_find(heap, object, &place) || place.start != (uint64_t)(uintptr_t)object)
		return error_null(
			EINVAL,
			"heapd_realloc(%p): no object of this heap begins there: give what an allocation returned",
			object);
	if (heap->read_only)
		return error_null(EROFS, "heap '%s' is attached read-only: attach it for writing",
				  heap->name);
	usable = place_usable(heap, &place);
	if (fits_in_place(usable, bytes)) {
		tail_zero(&place, usable, bytes);
		return object;
	}
	new = alloc_alike(heap, &place, bytes);
	if (!new)
		return NULL;
	content_move(new, &place, usable, bytes);
	if (heapd_free(object) == 0)
		return new;
	/* It was free already: said by heapd_free(). */
	heapd_free(new);
	return NULL;
}

void *heapd_realloc(heapd_heap *heap, void *object, size_t bytes)
{
	bool away;
	void *new = NULL;

	if (!object)
		return heapd_alloc(heap, bytes);
	if (thread_enter(heap, &away))
		new = realloc_online(heap, object, bytes);
	thread_leave(away);
	return new;
}

void *heapd_memdup(heapd_heap *heap, const void *from, size_t bytes)
{
	bool away;
	void *copy = NULL;

	if (thread_enter(heap, &away))
		copy = heapd_alloc_leaf(heap, bytes);
	if (copy)
		memcpy(copy, from, bytes);
	thread_leave(away);
	return copy;
}

char *heapd_strdup(heapd_heap *heap, const char *from)
{
	return heapd_memdup(heap, from, strlen(from) + 1);
}
