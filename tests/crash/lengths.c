/* SPDX-License-Identifier: MIT */
/*
 * lengths.c - owns the operations in which the same is done with every length that there may be: the compiler copies each in another way.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../fixture.h"
#include "conditions.h"

static void settings(struct scene *s)
{
	static const char *const keys[] = {
		"heap.name",  "heap.size",   "heap.base",        "memory.limit",    "memory.soft_limit",
		"gc.percent", "gc.interval", "gc.stall_timeout", "gc.stall_action", "gc.threads",
		"free.mode",  "debug",       "sample.bytes",     "sessions.count",  "build.fingerprint",
	};
	char value[128];

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		sink += (uint64_t)heapd_get(s->heap, keys[i], value, sizeof(value));
}

static void structures(struct scene *s)
{
	for (size_t size = sizeof(size_t); size <= sizeof(struct heapd_info); size++) {
		struct heapd_info info = { .size = size };

		sink += (uint64_t)heapd_get_info(s->heap, &info);
	}
	for (size_t size = offsetof(struct heapd_root_info, name); size <= sizeof(struct heapd_root_info);
	     size++) {
		struct heapd_root_info info = { .size = size };

		sink += (uint64_t)heapd_root_next(s->heap, &info);
	}
}

/* The process has the heap already: options are read, and that is all. */
static void options(struct scene *s)
{
	for (size_t size = offsetof(struct heapd_options, socket); size <= sizeof(struct heapd_options);
	     size++) {
		struct heapd_options o = HEAPD_OPTIONS_DEFAULT;
		heapd_heap *again;

		o.size = size;
		if (heapd_attach(&again, FIXTURE_HEAP, &o) == 0)
			heapd_detach(again);
	}
	(void)s;
}

static void paths(struct scene *s)
{
	char path[48] = "/";

	for (size_t n = 1; n < sizeof(path); n++) {
		struct heapd_options o = HEAPD_OPTIONS_DEFAULT;
		heapd_heap *heap;

		o.flags = HEAPD_ATTACH_NO_WAIT;
		o.socket = path;
		sink += (uint64_t)heapd_attach(&heap, FIXTURE_HEAP, &o);
		path[n] = 'x';
	}
	(void)s;
}

/* The same few types each time. */
static void names(struct scene *s)
{
	char name[40] = "";

	for (size_t n = 0; n < 36; n++) {
		struct heapd_type_desc d = { .size = sizeof(d), .name = name, .object_size = 64, .align = 8 };

		name[n] = 'n';
		use(heapd_type_define_desc(s->heap, &d));
	}
}

static void prepare_shrink(struct scene *s)
{
	for (unsigned i = 0; i < 16; i++)
		s->others[i] = heapd_alloc_leaf(s->heap, 1000);
}

/* To a few bytes more than whole words; and of an object that was freed. */
static void shrink(struct scene *s)
{
	for (unsigned i = 0; i < 15; i++)
		use(heapd_realloc(s->heap, s->others[i], 20 + i));
	heapd_free(s->others[15]);
	use(heapd_realloc(s->heap, s->others[15], 20));
	use(heapd_realloc(s->heap, s->others[15], 4000));
}

/*
 * Large ones in memory that others had before, where this process has cleared nothing for long, or has a moment ago, or much else
 * since: see client/clear.c.
 */
#define COLD (256ul << 10)
#define HUGE (9ul << 20)

static void used_and_freed(struct scene *s, uint64_t bytes)
{
	void *p = heapd_alloc_leaf(s->heap, bytes);

	if (p)
		memset(p, 1, bytes);
	heapd_free(p);
	heapd_sync(s->heap);
}

static void prepare_cold(struct scene *s)
{
	used_and_freed(s, HUGE);
}

/* What others have left is taken back by then, and the place is the same each time. */
static void prepare_warm(struct scene *s)
{
	prepare_cold(s);
	for (unsigned i = 0; i < 4; i++)
		used_and_freed(s, COLD);
}

static void prepare_much(struct scene *s)
{
	prepare_cold(s);
	for (unsigned i = 0; i < 3; i++)
		s->others[i] = heapd_alloc_leaf(s->heap, HUGE / 4);
}

static void alloc_cold(struct scene *s)
{
	use(heapd_alloc_leaf(s->heap, COLD));
}

/* Too small to be cleared otherwise than all are. */
static void alloc_less(struct scene *s)
{
	use(heapd_alloc_leaf(s->heap, COLD - HEAPD_PAGE_SIZE));
}

const struct operation lengths[] = {
	OPERATION("cold", prepare_cold, alloc_cold, IN_MAIN, ONCE),
	OPERATION("cold-warm", prepare_warm, alloc_cold, IN_MAIN, ONCE),
	OPERATION("cold-much", prepare_much, alloc_cold, IN_MAIN, ONCE),
	OPERATION("cold-less", prepare_cold, alloc_less, IN_MAIN, ONCE),
	OPERATION("settings", NULL, settings, IN_MAIN, ONCE),
	OPERATION("structures", NULL, structures, IN_MAIN, ONCE),
	OPERATION("options", NULL, options, IN_MAIN, ONCE),
	OPERATION("paths", prepare_detached, paths, IN_MAIN, ONCE),
	OPERATION("names", NULL, names, IN_MAIN, ONCE),
	OPERATION("shrink", prepare_shrink, shrink, IN_MAIN, ONCE),
	{ 0 },
};
