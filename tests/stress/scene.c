/* SPDX-License-Identifier: MIT */
/*
 * Owns what scene.h says. A step that somebody is to stop at is wanted first, then awaited: who comes by in between stops, so no
 * moment is lost between the two. All waits are bounded; one that ends without its moment is a miss, never a failure.
 */
#include "scene.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("FAILED: ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

void miss(const char *what)
{
	printf("MISSED: %s\n", what);
	fflush(stdout);
	_exit(2);
}

void must(int r)
{
	if (r < 0)
		fail("%s", heapd_error());
}

void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

void await_flag(_Atomic uint32_t *flag, const char *what)
{
	uint64_t end = fixture_now_ns() + SCENE_GUARD_NS;

	while (!atomic_load(flag)) {
		if (fixture_now_ns() > end)
			miss(what);
		nap();
	}
}

/* Steps ----------------------------------------------------------------------------------------------------------- */

void steps_make(struct scene *s)
{
	int fd = memfd_create("steps", 0);
	char path[64];

	if (fd < 0 || ftruncate(fd, sizeof(*s->steps)) < 0)
		miss("no memory for the steps");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	setenv("HEAPD_STEPS", path, 1);
	s->steps = heapd_steps_map(path);
	s->other = mmap(NULL, sizeof(*s->other), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!s->steps || s->other == MAP_FAILED)
		miss("no memory for the steps");
}

void want(struct scene *s, enum heapd_step step, uint32_t who)
{
	__atomic_store_n(&s->steps->words[step].wanted, who, __ATOMIC_SEQ_CST);
}

uint32_t standing(const struct scene *s, enum heapd_step step)
{
	return __atomic_load_n(&s->steps->words[step].stopped, __ATOMIC_SEQ_CST);
}

uint32_t await(struct scene *s, enum heapd_step step)
{
	static const char *const names[] = {
#define STEP_NAME(name) #name,
		HEAPD_STEPS(STEP_NAME)
	};
	uint64_t end = fixture_now_ns() + SCENE_GUARD_NS;
	uint32_t who;

	while (!(who = standing(s, step))) {
		if (fixture_now_ns() > end)
			miss(names[step]);
		nap();
	}
	return who;
}

void release(struct scene *s, enum heapd_step step)
{
	__atomic_store_n(&s->steps->words[step].stopped, 0, __ATOMIC_SEQ_CST);
}

uint32_t passed(const struct scene *s, enum heapd_step step)
{
	return __atomic_load_n(&s->steps->words[step].passed, __ATOMIC_SEQ_CST);
}

uint64_t now_of(const struct scene *s)
{
	return HEAPD_LOAD_ACQUIRE(&s->heap->t.directory->cycle.now);
}

/* Heap ------------------------------------------------------------------------------------------------------------ */

static void *collect_main(void *arg)
{
	struct scene *s = (struct scene *)arg;

	must(heapd_collect(s->heap));
	return NULL;
}

void collect_begin(struct scene *s)
{
	if (pthread_create(&s->collector, NULL, collect_main, s))
		miss("no thread");
}

void collect_end(struct scene *s)
{
	pthread_join(s->collector, NULL);
}

void shapes_define(struct scene *s)
{
	s->cells = heapd_type_define(s->heap, "cell", struct cell, next);
	s->root = s->cells ? heapd_root(s->heap, "root", struct cell, s->cells) : NULL;
	if (!s->root)
		fail("%s", heapd_error());
}

__attribute__((noinline)) struct cell *cell_new(struct scene *s, uint64_t id)
{
	struct cell *c = heapd_new(s->cells, struct cell);

	if (!c)
		fail("%s", heapd_error());
	c->id = id;
	return c;
}

__attribute__((noinline)) uintptr_t cell_hidden(struct scene *s, bool in_root)
{
	struct cell *c;

	cell_new(s, 0);
	c = cell_new(s, SCENE_ID);
	cell_new(s, 0);
	if (in_root)
		heapd_store(&s->root->next, c);
	return ~(uintptr_t)c;
}

__attribute__((noinline)) void current_change(struct scene *s)
{
	for (unsigned i = 0; i < SCENE_MANY; i++)
		cell_new(s, 0);
}

static bool is_out(const struct scene *s, const void *p)
{
	const struct heapd_tables *t = &s->heap->t;
	uint64_t offset = (uint64_t)(uintptr_t)p - t->base;
	uint32_t first = t->page_span[offset >> HEAPD_PAGE_SHIFT];
	const struct heapd_span *span = &t->spans[first - 1];

	if (!first)
		return false;
	offset = (offset - ((uint64_t)(first - 1) << HEAPD_PAGE_SHIFT)) / span->elemsize;
	return t->out[span->slab0 + offset / span->slab_slots] >> offset % span->slab_slots & 1;
}

void check_alive(struct scene *s, const struct cell *c)
{
	if (!is_out(s, c))
		fail("an object that is held was taken back");
	for (unsigned i = 0; i < SCENE_MANY; i++)
		cell_new(s, 0);
	if (c->id != SCENE_ID)
		fail("an object that is held was taken back");
}

void check_clean(struct scene *s)
{
	if (fixture_verify_strictly(&s->fixture, FIXTURE_HEAP) != 0)
		fail("the heap is not clean");
	if (s->heap->t.directory->stats.corrupt)
		fail("the daemon met what makes no sense, and all clients kept the rules");
}

void allocate_many(struct scene *s, size_t bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!heapd_alloc(s->heap, bytes))
			fail("%s", heapd_error());
}

void pin_to_first(void)
{
	cpu_set_t set;
	size_t cpu = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		fail("sched_getaffinity: %s", strerror(errno));
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("sched_setaffinity: %s", strerror(errno));
}
