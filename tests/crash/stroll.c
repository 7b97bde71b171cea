/* SPDX-License-Identifier: MIT */
/*
 * stroll.c - owns what a wandering client calls: whatever there is, with what it has, or what it has not.
 *
 * It holds by its stack what it works on. What it frees nobody else has; what it stores goes into nodes of its own, or into memory beside
 * the heap where it got none.
 */
#include "stroll.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conditions.h"
#include "weather.h"

#define NODES      6u
#define SLOTS      48u
#define MANY       8u
#define PINS       6u
#define CALLS_MOST 160u

struct stroll {
	struct scene *scene;
	heapd_heap *heap;
	heapd_type *nodes, *flexibles, *leaves;
	uint64_t seed;
	bool held_up; /* no collection comes to its end */
	unsigned depth;
	struct node *node[NODES];
	void *many[MANY]; /* its own: what another thread had put there would be freed twice */
	void *slot[SLOTS];
	void *pin[PINS];
	heapd_weak *weak;
	heapd_arena *arena;
	struct node beside[2];
};

static unsigned draw(struct stroll *w, unsigned n)
{
	return (unsigned)(stroll_draw(&w->seed) % n);
}

static size_t size(struct stroll *w)
{
	static const size_t sizes[] = { 8,    16,   32,    48,    64,    80,    96,    128,
					200,  352,  600,   1000,  1024,  2000,  3072,  4096,
					5000, 9000, 12000, 30000, 32768, 33000, 100000 };

	return draw(w, 8) ? sizes[draw(w, sizeof(sizes) / sizeof(sizes[0]))] : draw(w, 400);
}

static struct node *node(struct stroll *w)
{
	struct node *n = w->node[draw(w, NODES)];

	return n ? n : &w->beside[draw(w, 2)];
}

/* NULL now and then: a node, whatever it leads to. */
static struct node *value(struct stroll *w)
{
	return draw(w, 4) ? w->node[draw(w, NODES)] : NULL;
}

static void *field(struct stroll *w)
{
	struct node *n = node(w);

	return draw(w, 2) ? (void *)(uintptr_t)&n->next : (void *)(uintptr_t)&n->other;
}

/* Objects ------------------------------------------------------------------------------------------------------------ */

static void *allocated(struct stroll *w)
{
	size_t got;

	switch (draw(w, 11)) {
	case 0:
		return heapd_alloc_leaf(w->heap, size(w));
	case 1:
		return heapd_alloc_aligned(w->heap, size(w), (size_t)16 << draw(w, 10));
	case 2:
		got = heapd_alloc_many(w->heap, size(w), 1 + draw(w, MANY), w->many);
		return got ? w->many[0] : NULL;
	case 3:
		return heapd_strdup(w->heap, "some text or other");
	case 4:
		return heapd_memdup(w->heap, w, size(w) % sizeof(*w));
	case 5:
		return heapd_type_alloc(w->nodes, sizeof(struct node));
	case 6:
		return heapd_type_alloc_array(w->nodes, sizeof(struct node), draw(w, 40));
	case 7:
		return heapd_new_flex(w->flexibles, struct flexible, tail, draw(w, 200));
	case 8:
		return heapd_type_alloc_array(draw(w, 2) ? heapd_type_any(w->heap) : w->leaves, 64,
					      draw(w, 20));
	default:
		return heapd_alloc(w->heap, size(w));
	}
}

static void allocate(struct stroll *w)
{
	w->slot[draw(w, SLOTS)] = allocated(w);
}

/* Many of one kind: slabs are used up, spares taken, rings asked. */
static void allocate_much(struct stroll *w)
{
	size_t bytes = size(w);
	bool leaf = draw(w, 2);

	for (unsigned n = 8 + draw(w, 120); n; n--)
		use(leaf ? heapd_alloc_leaf(w->heap, bytes) : heapd_alloc(w->heap, bytes));
}

static void release(struct stroll *w)
{
	unsigned i = draw(w, SLOTS);
	void *p = w->slot[i];

	w->slot[i] = NULL;
	sink += (uint64_t)heapd_free(p);
}

static void release_all(struct stroll *w)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		sink += (uint64_t)heapd_free(w->slot[i]);
		w->slot[i] = NULL;
	}
}

static void release_wrongly(struct stroll *w)
{
	sink += (uint64_t)heapd_free((char *)node(w) + 3);
	sink += (uint64_t)heapd_free(w->beside);
}

/* A new one, whatever it comes to. */
static void reallocate(struct stroll *w)
{
	unsigned i = draw(w, SLOTS);
	void *p = heapd_realloc(w->heap, w->slot[i], size(w));

	w->slot[i] = p;
}

static void look_at(struct stroll *w)
{
	void *p = draw(w, 3) ? w->slot[draw(w, SLOTS)] : (void *)node(w);

	sink += heapd_size(p);
	use(heapd_type_of(p));
	use(heapd_heap_of(p));
	use(heapd_start_of((char *)p + draw(w, 32)));
}

/* Fields --------------------------------------------------------------------------------------------------------------- */

static void store(struct stroll *w)
{
	void *seen = value(w);

	switch (draw(w, 10)) {
	case 0:
		heapd_store_relaxed_sym(field(w), value(w));
		break;
	case 1:
		use(heapd_exchange_sym(field(w), value(w)));
		break;
	case 2:
		use(heapd_exchange_relaxed_sym(field(w), value(w)));
		break;
	case 3:
	case 4:
		sink += heapd_cas_sym(field(w), &seen, value(w));
		break;
	case 5:
		sink += heapd_cas_relaxed_sym(field(w), &seen, value(w));
		break;
	case 6:
		heapd_move_sym(&node(w)->next, &node(w)->next, draw(w, 3));
		break;
	case 7:
		heapd_zero_sym(&node(w)->next, draw(w, 3));
		break;
	default:
		heapd_store_sym(field(w), value(w));
	}
}

static void edit(struct stroll *w)
{
	struct node *n = node(w);

	if (heapd_edit_begin(n, sizeof(*n)) < 0)
		return;
	n->word[draw(w, 6)] = draw(w, 8);
	if (draw(w, 6))
		sink += (uint64_t)heapd_edit_end(n);
}

/* Roots ------------------------------------------------------------------------------------------------------------------ */

static void pin(struct stroll *w)
{
	void **p = &w->pin[draw(w, PINS)];

	switch (*p ? draw(w, 3) : 3) {
	case 0:
		use(heapd_take_sym(*p));
		*p = NULL;
		break;
	case 1:
		sink += (uint64_t)heapd_unpin(*p);
		*p = NULL;
		break;
	case 2:
		heapd_store_pinned_sym(field(w), *p);
		break;
	default:
		*p = draw(w, 2) ? heapd_pin_sym(w->heap, value(w)) : heapd_pin_field_sym(w->heap, field(w));
	}
}

static void weak(struct stroll *w)
{
	if (w->weak && draw(w, 3))
		use(heapd_weak_get_sym(w->weak));
	else
		w->weak = heapd_weak_new(w->heap, node(w));
}

static void root(struct stroll *w)
{
	struct heapd_root_info info = HEAPD_SIZED(info);
	void *seen = value(w);
	char name[16];

	snprintf(name, sizeof(name), "crash %u", draw(w, 4));
	switch (draw(w, 7)) {
	case 0:
		use(heapd_root_sym(w->heap, name, sizeof(struct node), w->nodes));
		break;
	case 1:
		use(heapd_root_get(w->heap, name, draw(w, 2) ? w->nodes : NULL));
		break;
	case 2:
		sink += (uint64_t)heapd_root_set(w->heap, name, value(w));
		break;
	case 3:
		sink += (uint64_t)heapd_root_cas(w->heap, name, &seen, value(w));
		break;
	case 4:
		use(heapd_root_offer(w->heap, name, value(w)));
		break;
	case 5:
		sink += (uint64_t)heapd_root_next(w->heap, &info);
		break;
	default:
		sink += (uint64_t)heapd_root_set(w->heap, name, NULL);
	}
}

static void range(struct stroll *w)
{
	static void *tables[4][4];
	void *table = tables[draw(w, 4)];

	switch (draw(w, 4)) {
	case 0:
		sink += (uint64_t)heapd_range_add(w->heap, table, sizeof(tables[0]));
		break;
	case 1:
		sink += (uint64_t)heapd_range_remove(w->heap, table);
		break;
	case 2:
		sink += (uint64_t)heapd_local_add(w->heap, table, sizeof(tables[0]));
		break;
	default:
		sink += (uint64_t)heapd_local_remove(w->heap, table);
	}
}

static void arena(struct stroll *w)
{
	switch (w->arena ? draw(w, 8) : 0) {
	case 0:
		if (!w->arena)
			w->arena = heapd_arena_create(w->heap, draw(w, 2) ? 0 : 4096);
		break;
	case 1:
		sink += (uint64_t)heapd_arena_reset(w->arena);
		break;
	case 2:
		sink += (uint64_t)heapd_arena_destroy(w->arena);
		w->arena = NULL;
		break;
	default:
		use(heapd_arena_alloc(w->arena, size(w)));
	}
}

/* Threads, waits, the daemon ----------------------------------------------------------------------------------------------- */

static void thread(struct stroll *w)
{
	switch (draw(w, 7)) {
	case 0:
		sink += (uint64_t)heapd_thread_attach(w->heap);
		break;
	case 1:
		sink += (uint64_t)heapd_thread_detach(w->heap);
		break;
	case 2:
	case 3:
	case 4:
		sink += (uint64_t)heapd_thread_offline(w->heap);
		break;
	default:
		sink += (uint64_t)heapd_thread_online(w->heap);
	}
}

static void wait_or_wake(struct stroll *w)
{
	uint32_t *word = (uint32_t *)(void *)&node(w)->word[0];
	int fd;

	switch (draw(w, 3)) {
	case 0:
		sink += (uint64_t)heapd_wait(w->heap, word, draw(w, 2), 1);
		break;
	case 1:
		sink += (uint64_t)heapd_wake(w->heap, word, (int)draw(w, 3) - 1);
		break;
	default:
		fd = heapd_wait_fd(w->heap, word, draw(w, 2));
		if (fd >= 0 && draw(w, 2))
			close(fd);
	}
}

static void ask(struct stroll *w)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_event event = HEAPD_SIZED(event);
	struct heapd_verify_result result = HEAPD_SIZED(result);
	char text[64];

	switch (draw(w, 9)) {
	case 0:
		sink += (uint64_t)heapd_event_fd(w->heap);
		break;
	case 1:
		sink += (uint64_t)heapd_event_next(w->heap, &event);
		break;
	case 2:
		sink += (uint64_t)heapd_get(w->heap, "gc.percent", text, sizeof(text));
		break;
	case 3:
		use(heapd_type_find(w->heap, draw(w, 2) ? "node" : "none"));
		break;
	case 4:
		use(heapd_type_define(w->heap, "node", struct node, next, other));
		break;
	case 5:
		if (draw(w, 8) == 0)
			sink += (uint64_t)heapd_verify(w->heap, &result);
		break;
	case 6:
		if (draw(w, 4) == 0)
			sink += (uint64_t)heapd_path_to(w->heap, node(w), text, sizeof(text));
		break;
	case 7:
		use(heapd_ticket_take(w->heap, "none"));
		break;
	default:
		sink += (uint64_t)heapd_get_info(w->heap, &info);
	}
	use(heapd_error());
}

static void collect(struct stroll *w)
{
	if (w->held_up || draw(w, 3))
		sink += (uint64_t)heapd_collect_start(w->heap);
	else
		sink += (uint64_t)(draw(w, 2) ? heapd_collect(w->heap) : heapd_sync(w->heap));
}

/* Others ---------------------------------------------------------------------------------------------------------------------- */

static void go(struct stroll *w, unsigned calls);

static void *go_in_thread(void *arg)
{
	struct stroll *w = arg;
	struct stroll mine = { .scene = w->scene,
			       .heap = w->heap,
			       .nodes = w->nodes,
			       .flexibles = w->flexibles,
			       .leaves = w->leaves,
			       .held_up = w->held_up,
			       .seed = w->seed ^ UINT64_C(0x9e3779b97f4a7c15),
			       .depth = w->depth + 1 };

	go(&mine, CALLS_MOST / 4);
	return NULL;
}

static void thread_beside(struct stroll *w)
{
	pthread_t thread;

	if (w->depth > 1 || (draw(w, 2) ? heapd_thread_create_sym(w->heap, &thread, NULL, go_in_thread, w)
					: pthread_create(&thread, NULL, go_in_thread, w)) != 0)
		return;
	if (draw(w, 2))
		go(w, CALLS_MOST / 8);
	pthread_join(thread, NULL);
}

/* What it would free is its parent's, which goes on with it: that one's second free would be of whatever lies there by then. */
static void part(struct stroll *w)
{
	memset(w->slot, 0, sizeof(w->slot));
	w->arena = NULL;
}

/* No daemon took it in: nothing of its parent's heap is there. */
static void bereave(struct stroll *w)
{
	memset(w->node, 0, sizeof(w->node));
	memset(w->pin, 0, sizeof(w->pin));
	w->weak = NULL;
}

static void child(struct stroll *w)
{
	struct heapd_info info = HEAPD_SIZED(info);
	pid_t pid;

	if (w->depth > 1)
		return;
	pid = fork();
	if (pid == 0) {
		part(w);
		if (heapd_get_info(w->heap, &info) < 0)
			bereave(w);
		w->depth++;
		w->seed ^= UINT64_C(0x2545f4914f6cdd1d);
		go(w, CALLS_MOST / 4);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void (*const calls[])(struct stroll *w) = {
	allocate,   allocate, allocate,      allocate_much, release, release, release_all,  release_wrongly,
	reallocate, look_at,  store,         store,         store,   edit,    pin,          pin,
	weak,       root,     range,         arena,         arena,   thread,  wait_or_wake, ask,
	ask,        collect,  thread_beside, child,
};

static void go(struct stroll *w, unsigned n)
{
	struct heapd_info info = HEAPD_SIZED(info);

	for (; n; n--) {
		if (draw(w, 3) == 0 && heapd_get_info(w->heap, &info) >= 0)
			weather(w->scene, &w->seed);
		calls[draw(w, sizeof(calls) / sizeof(calls[0]))](w);
		if (draw(w, 8) == 0)
			w->node[draw(w, NODES)] = heapd_type_alloc(w->nodes, sizeof(struct node));
	}
}

static void begin(struct stroll *w)
{
	struct heapd_info info = HEAPD_SIZED(info);

	/* A handle that is none any more is nothing to give to anybody. */
	w->heap = heapd_get_info(w->scene->heap, &info) < 0 ? NULL : w->scene->heap;
	w->nodes = heapd_type_define(w->heap, "node", struct node, next, other);
	w->flexibles = heapd_type_define_flex(w->heap, "flexible", struct flexible, tail, first);
	w->leaves = heapd_type_define_leaf(w->heap, "leaf", struct node);
	for (unsigned i = 0; i < NODES; i++)
		w->node[i] = heapd_type_alloc(w->nodes, sizeof(struct node));
}

void stroll(struct scene *s, uint64_t seed, enum barrier barrier)
{
	struct stroll w = { .scene = s, .seed = seed, .held_up = barrier != BARRIER_OFF };

	begin(&w);
	go(&w, CALLS_MOST);
	if (draw(&w, 4))
		return;
	weather_clear();
	heapd_detach(s->heap);
	s->heap = NULL;
	call_objects(s);
	call_others(s);
}
