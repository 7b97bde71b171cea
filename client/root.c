/* SPDX-License-Identifier: MIT */
/*
 * Named roots: read from the directory, changed by message.
 *
 * The daemon alone writes the records, and writes a record's state last when it makes one, so reading
 * asks nobody and works while the daemon is away. Changes are the daemon's to order: of two that
 * offer under one name, its reply says to both who won.
 */
#include <errno.h>
#include <string.h>

#include "fork.h"
#include "heapd/message.h"
#include "place.h"
#include "thread.h"

static const struct heapd_root_record *root_record(const struct heapd_heap *heap, uint32_t i)
{
	const struct heapd_root_record *r = &heap->t.roots[i];

	return HEAPD_LOAD_ACQUIRE(&r->state) ? r : NULL;
}

static uint32_t root_count(const struct heapd_heap *heap)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->t.directory->nroots);

	return n < HEAPD_ROOT_MAX ? n : HEAPD_ROOT_MAX;
}

static const struct heapd_root_record *root_find(const struct heapd_heap *heap, const char *name)
{
	uint32_t n = root_count(heap);

	for (uint32_t i = 0; i < n; i++) {
		const struct heapd_root_record *r = root_record(heap, i);
		if (r && !strncmp(r->name, name, HEAPD_NAME_MAX))
			return r;
	}
	return NULL;
}

static int name_check(const char *name)
{
	if (name && *name && strnlen(name, HEAPD_NAME_MAX) < HEAPD_NAME_MAX)
		return 0;
	return error_set(EINVAL, "that is no root's name: give one of 1 to %u bytes", HEAPD_NAME_MAX - 1);
}

/* What the call says it is about; the thread is attached, since it will hold what the root holds. */
static int root_begin(struct heapd_heap *heap, const char *name)
{
	return thread_self(heap) ? name_check(name) : -errno;
}

static const char *type_name_at(const struct heapd_heap *heap, uint32_t type)
{
	return type < HEAPD_TYPE_MAX ? heap->t.types[type].name : "?";
}

static int type_check(const struct heapd_heap *heap, const struct heapd_root_record *r,
		      const heapd_type *type)
{
	if (!type || r->type == type->index)
		return 0;
	return error_set(
		EPROTOTYPE,
		"root '%s' holds objects of type '%s', not '%s': ask with its own type, or use another name",
		r->name, type_name_at(heap, r->type), type_name_at(heap, type->index));
}

void *heapd_root_get(heapd_heap *heap, const char *name, heapd_type *type)
{
	const struct heapd_root_record *r;

	if (root_begin(heap, name) < 0)
		return NULL;
	r = root_find(heap, name);
	if (!r)
		return error_null(ENOENT,
				  "heap '%s' has no root '%s': heapd_root() or heapd_root_set() makes one",
				  heap->name, name);
	if (type_check(heap, r, type) < 0)
		return NULL;
	errno = 0;
	return (void *)(uintptr_t)HEAPD_LOAD_ACQUIRE(&r->object);
}

/* The type of what is to be stored: the object's; of NULL the root's own, as it is the same to all. */
static int object_type(const struct heapd_heap *heap, const char *name, const void *object, uint32_t *type)
{
	struct place place;

	if (!object) {
		const struct heapd_root_record *r = root_find(heap, name);
		*type = r ? r->type : HEAPD_TYPE_ANY;
		return 0;
	}
	if (!place_find(heap, object, &place) || place.start != (uint64_t)(uintptr_t)object)
		return error_set(EINVAL, "root '%s': no object of heap '%s' begins at %p: give one, or NULL",
				 name, heap->name, object);
	*type = heap->t.classes[place.span->class].type;
	return 0;
}

/* One change; m->root.object is what the root holds afterwards, also when it was refused with -EAGAIN. */
static int root_change(struct heapd_heap *heap, struct heapd_message *m, const char *name, const void *object)
{
	int r = root_begin(heap, name);

	if (r >= 0)
		r = object_type(heap, name, object, &m->root.type);
	if (r < 0)
		return r;
	if (heap->read_only)
		return error_set(
			EROFS,
			"heap '%s' is attached read-only: its roots cannot be set here: attach it for writing",
			heap->name);
	strncpy(m->root.name, name, sizeof(m->root.name) - 1);
	m->root.object = (uint64_t)(uintptr_t)object;
	r = request_call(heap, m, NULL, NULL);
	heapd_keep(object);
	return r;
}

int heapd_root_set(heapd_heap *heap, const char *name, void *object)
{
	struct heapd_message m = { .op = HEAPD_OP_ROOT_SET };

	return root_change(heap, &m, name, object);
}

/* What the root holds is written to it by a plain store: a field of an object would be overwritten, past the barrier. */
static int expected_check(const struct heapd_heap *heap, const void *expected)
{
	if (!expected)
		return error_set(
			EINVAL,
			"heapd_root_cas: no place that says what is expected: give the address of a pointer");
	if (heap && heap_contains(heap, expected))
		return error_set(
			EINVAL,
			"heapd_root_cas: what is expected stands at %p, in the heap: give the address of a local variable",
			expected);
	return 0;
}

int heapd_root_cas(heapd_heap *heap, const char *name, void *expected, void *object)
{
	struct heapd_message m = { .op = HEAPD_OP_ROOT_CAS };
	void **seen = (void **)expected;
	int r = expected_check(heap, expected);

	if (r < 0)
		return r;
	m.root.expected = (uint64_t)(uintptr_t)*seen;
	r = root_change(heap, &m, name, object);
	if (r >= 0)
		return 1;
	/* The daemon's own answer, not its absence. */
	if (r == -EAGAIN && m.status == -EAGAIN) {
		*seen = (void *)(uintptr_t)m.root.object;
		return 0;
	}
	return r;
}

void *heapd_root_offer(heapd_heap *heap, const char *name, void *object)
{
	struct heapd_message m = { .op = HEAPD_OP_ROOT_OFFER };

	if (!object)
		return error_null(EINVAL, "heapd_root_offer: NULL is nothing to offer: give an object");
	return root_change(heap, &m, name, object) < 0 ? NULL : (void *)(uintptr_t)m.root.object;
}

static void *root_make(struct heapd_heap *heap, const char *name, size_t size, heapd_type *type)
{
	void *held, *own;

	held = heapd_root_get(heap, name, type);
	if (held || (errno && errno != ENOENT))
		return held;
	own = heapd_type_alloc(type, size);
	if (!own)
		return NULL;
	held = heapd_root_offer(heap, name, own);
	if (held != own) {
		int error = errno;
		heapd_free(own);
		errno = error;
	}
	return held;
}

void *heapd_root_sym(heapd_heap *heap, const char *name, size_t size, heapd_type *type)
{
	bool away;
	void *held = NULL;

	if (!type)
		return error_null(EINVAL, "heapd_root: no type: look at what heapd_type_define() returned");
	if (thread_enter(heap, &away))
		held = root_make(heap, name, size, type);
	thread_leave(away);
	return held;
}

int heapd_root_next(heapd_heap *heap, struct heapd_root_info *info)
{
	struct heapd_root_info found = { 0 };

	if (!thread_self(heap))
		return -errno;
	if (!info || info->size < offsetof(struct heapd_root_info, name))
		return error_set(EINVAL, "heapd_root_next: info->size is not set: use HEAPD_SIZED(info)");
	for (uint32_t i = info->next, n = root_count(heap); i < n; i++) {
		const struct heapd_root_record *r = root_record(heap, i);
		if (!r)
			continue;
		found.size = info->size;
		found.next = i + 1;
		memcpy(found.name, r->name, sizeof(found.name));
		found.name[sizeof(found.name) - 1] = 0;
		found.version = HEAPD_LOAD_ACQUIRE(&r->version);
		found.object = (void *)(uintptr_t)HEAPD_LOAD_ACQUIRE(&r->object);
		found.type = type_by_index(heap, r->type);
		if (!found.type)
			return -errno;
		memcpy(info, &found, info->size < sizeof(found) ? info->size : sizeof(found));
		return 1;
	}
	return 0;
}
