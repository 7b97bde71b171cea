/* SPDX-License-Identifier: MIT */
/*
 * Arenas: allocation by bumping a pointer through chunks, which are objects of the heap.
 *
 * The chunks link each other to a ring, so any pointer into one keeps all of them; a pin keeps the
 * ring while the arena stands. The handle is this process's own and holds heap addresses outside the
 * heap, which is right only because of that pin. Zeroing and linking go through the barrier.
 *
 * After fork() parent and child have one handle each for the same chunks, and must not bump through
 * the same memory: the child begins a ring of its own at its first allocation. The old one stays
 * pinned for it, and is never freed by it.
 */
#include <errno.h>
#include <stdlib.h>

#include "thread.h"

#define CHUNK_FIRST   (64ul << 10)
#define CHUNK_LARGEST (1ul << 20)
#define CHUNK_LEAST   256ul

struct chunk {
	struct chunk *next;
	uint64_t bytes; /* with this head */
};
_Static_assert(sizeof(struct chunk) == 16, "what follows the head is aligned to 16 bytes");

struct heapd_arena {
	struct heapd_heap *heap;
	uint64_t session;   /* whose chunks these are */
	void **pin;         /* of the first chunk; NULL: there are none */
	void **inherited;   /* in a forked child: the pin of its parent's chunks */
	struct chunk *last; /* the one that is being filled */
	uint64_t used;      /* of that, its head included */
	uint64_t first_used;
	uint64_t next_bytes; /* of the next chunk */
	uint64_t step;       /* of all chunks; 0: they double */
};

static struct chunk *arena_first(const struct heapd_arena *arena)
{
	return arena->pin ? (struct chunk *)heapd_load_sym(arena->pin) : NULL;
}

static struct chunk *chunk_new(struct heapd_arena *arena, uint64_t need)
{
	uint64_t bytes = arena->next_bytes;

	if (bytes < need)
		bytes = need > HEAPD_SMALL_MAX ? heapd_align_up(need, HEAPD_PAGE_SIZE) : need;
	struct chunk *c = (struct chunk *)heapd_alloc(arena->heap, bytes);
	if (c)
		c->bytes = bytes;
	return c;
}

static void ring_add(struct chunk *first, struct chunk *c)
{
	heapd_init_sym(&c->next, heapd_load_sym(&first->next));
	heapd_store_sym(&first->next, c);
}

static int ring_begin(struct heapd_arena *arena, struct chunk *c)
{
	heapd_init_sym(&c->next, c);
	arena->pin = (void **)heapd_pin_sym(arena->heap, c);
	return arena->pin ? 0 : -errno;
}

/* Makes room for `need` bytes, the head of a chunk included. */
static int arena_grow(struct heapd_arena *arena, uint64_t need)
{
	struct chunk *c = chunk_new(arena, need), *first = arena_first(arena);

	if (!c)
		return -errno;
	if (first) {
		if (arena->last == first)
			arena->first_used = arena->used;
		ring_add(first, c);
	} else if (ring_begin(arena, c) < 0) {
		int error = errno;
		heapd_free(c);
		errno = error;
		return -error;
	}
	arena->last = c;
	arena->used = sizeof(struct chunk);
	if (!arena->step && arena->next_bytes < CHUNK_LARGEST)
		arena->next_bytes *= 2;
	return 0;
}

/* In a forked child, the first time: what is there is the parent's. */
static void arena_adopt(struct heapd_arena *arena)
{
	if (arena->inherited)
		heapd_unpin(arena->inherited);
	arena->inherited = arena->pin;
	arena->pin = NULL;
	arena->last = NULL;
	arena->used = 0;
	arena->next_bytes = arena->step ? arena->step : CHUNK_FIRST;
	arena->session = arena->heap->session_id;
}

/* 0, with the calling thread online, for thread_leave(), and the arena this process's own. */
static int arena_enter(struct heapd_arena *arena, bool *away)
{
	*away = false;
	if (!arena)
		return error_set(EINVAL, "no arena: look at what heapd_arena_create() returned");
	if (!thread_enter(arena->heap, away))
		return -errno;
	if (arena->session != arena->heap->session_id)
		arena_adopt(arena);
	return 0;
}

heapd_arena *heapd_arena_create(heapd_heap *heap, size_t chunk)
{
	struct heapd_arena *arena;

	if (!thread_self(heap))
		return NULL;
	if (heap->read_only)
		return error_null(EROFS, "heap '%s' is attached read-only: attach it for writing",
				  heap->name);
	if (chunk > heap->t.size)
		return error_null(
			EINVAL,
			"heapd_arena_create: chunks of %zu bytes are larger than heap '%s': use smaller ones",
			chunk, heap->name);
	arena = (struct heapd_arena *)calloc(1, sizeof(*arena));
	if (!arena)
		return error_null(
			ENOMEM,
			"heapd_arena_create: no memory for the handle: free some of this process's own");
	arena->heap = heap;
	arena->session = heap->session_id;
	arena->step = chunk && chunk < CHUNK_LEAST ? CHUNK_LEAST : chunk;
	arena->next_bytes = chunk ? arena->step : CHUNK_FIRST;
	return arena;
}

static void *arena_take(struct heapd_arena *arena, size_t bytes)
{
	if (bytes > arena->heap->t.size)
		return error_null(ENOMEM,
				  "heapd_arena_alloc: %zu bytes are more than heap '%s' has: allocate less",
				  bytes, arena->heap->name);
	uint64_t room = heapd_align_up(bytes ? bytes : 1, 16);
	if ((!arena->last || arena->last->bytes - arena->used < room) &&
	    arena_grow(arena, room + sizeof(struct chunk)) < 0)
		return NULL;
	void *p = (char *)arena->last + arena->used;
	arena->used += room;
	return p;
}

void *heapd_arena_alloc(heapd_arena *arena, size_t bytes)
{
	bool away;
	void *p = arena_enter(arena, &away) < 0 ? NULL : arena_take(arena, bytes);

	thread_leave(away);
	return p;
}

/* Frees the ring from `c` on, up to and without `end`. */
static void chunks_free(struct chunk *c, const struct chunk *end)
{
	while (c != end) {
		struct chunk *next = (struct chunk *)heapd_load_sym(&c->next);
		heapd_free(c);
		c = next;
	}
}

static void arena_empty(struct heapd_arena *arena)
{
	struct chunk *first = arena_first(arena);

	if (!first)
		return;
	uint64_t used = arena->last == first ? arena->used : arena->first_used;
	struct chunk *others = (struct chunk *)heapd_load_sym(&first->next);
	heapd_store_sym(&first->next, first);
	chunks_free(others, first);
	heapd_zero_sym(first + 1, (used - sizeof(*first)) / 8);
	arena->last = first;
	arena->used = sizeof(*first);
	arena->next_bytes = arena->step ? arena->step : CHUNK_FIRST;
}

int heapd_arena_reset(heapd_arena *arena)
{
	bool away;
	int r = arena_enter(arena, &away);

	if (r >= 0)
		arena_empty(arena);
	thread_leave(away);
	return r;
}

static void arena_end(struct heapd_arena *arena)
{
	struct chunk *first = arena_first(arena);

	if (first) {
		chunks_free((struct chunk *)heapd_load_sym(&first->next), first);
		heapd_unpin(arena->pin);
		heapd_free(first);
	}
	heapd_unpin(arena->inherited);
	free(arena);
}

int heapd_arena_destroy(heapd_arena *arena)
{
	bool away;
	int r;

	if (!arena)
		return 0;
	r = arena_enter(arena, &away);
	if (r >= 0)
		arena_end(arena);
	thread_leave(away);
	return r;
}
