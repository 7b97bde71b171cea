/* SPDX-License-Identifier: MIT */
/*
 * operations.c - owns the table of the operations that a client is killed in, and those that neither allocate nor free, each with
 * what has to be there before.
 */
#include <err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conditions.h"
#include "heapd/session.h"

/* Fields ----------------------------------------------------------------------------------------------------------- */

static void store(struct scene *s)
{
	struct node *n = s->object, *o = s->others[0];

	heapd_init(&n->next, s->stage->node[5]);
	heapd_store(&s->stage->field[0], n);
	heapd_store(&o->next, s->stage->node[4]);
	heapd_store(&o->next, NULL);
	heapd_store_relaxed(&o->other, n);
	use(heapd_load(&o->other));
}

static void exchange(struct scene *s)
{
	struct node *n = s->object, *o = s->others[0];

	use(heapd_exchange(&o->next, n));
	use(heapd_exchange_relaxed(&o->other, n));
}

static void compare(struct scene *s)
{
	struct node *n = s->object, *o = s->others[0], *seen = s->stage->node[1];

	sink += heapd_cas(&o->next, &seen, n);
	sink += heapd_cas(&o->next, &seen, s->stage->node[7]);
	sink += heapd_cas_relaxed(&o->other, &seen, n);
}

static void by_symbol(struct scene *s)
{
	struct node *n = s->object, *o = s->others[0];
	void *seen = s->stage->node[4];

	heapd_store_sym((void *)(uintptr_t)&o->next, s->stage->node[4]);
	heapd_store_relaxed_sym((void *)(uintptr_t)&o->other, n);
	use(heapd_exchange_sym((void *)(uintptr_t)&o->other, n));
	use(heapd_exchange_relaxed_sym((void *)(uintptr_t)&o->other, s->others[1]));
	sink += heapd_cas_sym((void *)(uintptr_t)&o->next, &seen, n);
	sink += heapd_cas_relaxed_sym((void *)(uintptr_t)&o->next, &seen, n);
	use(heapd_load_sym(&o->next));
	use(heapd_load_relaxed_sym(&o->next));
	heapd_init_sym((void *)(uintptr_t) & ((struct node *)s->others[1])->other, n);
	use(heapd_untag_sym(heapd_tag_sym(n, 3)));
	sink += heapd_tag_of_sym(n);
	heapd_keep_sym(n);
}

static void move_zero(struct scene *s)
{
	struct node *n = s->others[0], *o = s->others[1];

	heapd_move((void **)(uintptr_t)&o->next, (void **)(uintptr_t)&n->next, 2);
	heapd_move((void **)(uintptr_t)&o->other, (void **)(uintptr_t)&o->next, 2);
	heapd_zero((void **)(uintptr_t)&n->next, 2);
}

static void edit(struct scene *s)
{
	struct node *n = s->others[0];

	if (heapd_edit_begin(n, sizeof(*n)) < 0)
		return;
	n->word[0] = 1;
	heapd_edit_end(n);
}

/* Roots ------------------------------------------------------------------------------------------------------------ */

static void pin(struct scene *s)
{
	struct node **p = heapd_pin(s->heap, (struct node *)s->object), **q;

	if (!p)
		return;
	q = heapd_pin_field(s->heap, &s->stage->node[2]);
	if (q)
		heapd_store_pinned(&s->stage->field[1], q);
	use(heapd_take(p));
	if (q)
		heapd_unpin(q);
}

static void named_root(struct scene *s)
{
	static char name[32];
	void *seen = s->object;

	snprintf(name, sizeof(name), "crash %d", getpid() % 4);
	use(heapd_root(s->heap, name, struct node, s->nodes));
	heapd_root_set(s->heap, name, s->object);
	use(heapd_root_get(s->heap, name, s->nodes));
	sink += (uint64_t)heapd_root_cas(s->heap, name, &seen, s->others[0]);
	sink += (uint64_t)heapd_root_cas(s->heap, name, &seen, NULL);
	sink += (uint64_t)heapd_root_cas(s->heap, name, &seen, NULL);
	use(heapd_root_offer(s->heap, name, s->object));
	heapd_root_set(s->heap, name, NULL);
}

static void next_root(struct scene *s)
{
	struct heapd_root_info info = HEAPD_SIZED(info);

	while (heapd_root_next(s->heap, &info) > 0)
		sink++;
}

static void range(struct scene *s)
{
	static void *table[8];

	sink += (uint64_t)heapd_range_add(s->heap, table, sizeof(table));
	sink += (uint64_t)heapd_local_add(s->heap, s->text, sizeof(s->text));
	sink += (uint64_t)heapd_local_remove(s->heap, s->text);
	sink += (uint64_t)heapd_range_remove(s->heap, table);
}

static void ticket(struct scene *s)
{
	char text[64];

	if (heapd_ticket_issue(s->heap, s->object, text, sizeof(text), 1) >= 0)
		use(heapd_ticket_take(s->heap, text));
}

static void prepare_weak(struct scene *s)
{
	prepare_fields(s);
	s->weak = heapd_weak_new(s->heap, s->object);
}

static void weak(struct scene *s)
{
	use(heapd_weak_new(s->heap, s->stage->node[2]));
	use(heapd_weak_get(s->weak, struct node));
}

static void prepare_dead(struct scene *s)
{
	heapd_type_watch_dead(s->watched);
	use(heapd_type_alloc(s->watched, 32));
}

static void next_dead(struct scene *s)
{
	heapd_type_watch_dead(s->watched);
	use(heapd_type_next_dead(s->watched));
}

/* The rest --------------------------------------------------------------------------------------------------------- */

static void look(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	char value[64];

	sink += heapd_size(s->object);
	use(heapd_type_of(s->object));
	use(heapd_heap_of(s->object));
	use(heapd_start_of((char *)s->object + 9));
	use(heapd_type_name(s->nodes));
	sink += (uint64_t)heapd_get_info(s->heap, &info);
	sink += (uint64_t)heapd_get(s->heap, "gc.percent", value, sizeof(value));
	sink += heapd_version();
}

static void types(struct scene *s)
{
	use(heapd_type_find(s->heap, "node"));
	use(heapd_type_define(s->heap, "node", struct node, next, other));
	use(heapd_type_define_leaf(s->heap, "leaf", struct node));
}

static void prepare_arena(struct scene *s)
{
	s->arena = heapd_arena_create(s->heap, 0);
	use(heapd_arena_alloc(s->arena, 100));
}

static void arena(struct scene *s)
{
	heapd_arena *mine = heapd_arena_create(s->heap, 4096);

	use(heapd_arena_alloc(s->arena, 100));
	use(heapd_arena_alloc(mine, 3000));
	use(heapd_arena_alloc(mine, 3000));
	heapd_arena_reset(s->arena);
	heapd_arena_destroy(mine);
}

static void offline(struct scene *s)
{
	heapd_thread_offline(s->heap);
	use(heapd_start_of(s->object));
	use(heapd_alloc(s->heap, 64));
	heapd_thread_online(s->heap);
}

static void wait_wake(struct scene *s)
{
	struct node *n = s->object;

	heapd_wake(s->heap, (uint32_t *)&n->word[0], 1);
	sink += (uint64_t)heapd_wait(s->heap, (uint32_t *)&n->word[0], 1, 1);
	sink += (uint64_t)heapd_wait(s->heap, (uint32_t *)&n->word[0], 0, 1);
}

static void wait_fd(struct scene *s)
{
	struct node *n = s->object;
	int fd = heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0);

	if (fd >= 0)
		close(fd);
}

static void ask_events(struct scene *s)
{
	struct heapd_event event = HEAPD_SIZED(event);

	sink += (uint64_t)heapd_event_fd(s->heap);
	sink += (uint64_t)heapd_event_next(s->heap, &event);
}

static void sync_heap(struct scene *s)
{
	heapd_sync(s->heap);
}

static void collect(struct scene *s)
{
	heapd_collect_start(s->heap);
}

static void judge(struct scene *s)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	char text[256];

	sink += (uint64_t)heapd_verify(s->heap, &result);
	sink += (uint64_t)heapd_path_to(s->heap, s->stage->node[3], text, sizeof(text));
	sink += (uint64_t)heapd_set(s->heap, "gc.percent", "10000");
	sink += (uint64_t)heapd_get(s->heap, "no.such.thing", text, sizeof(text));
}

static void collect_whole(struct scene *s)
{
	sink += (uint64_t)heapd_collect(s->heap);
}

/* What is asked for wrongly, one way or another. */
static void refusals(struct scene *s)
{
	struct heapd_root_info info = { .size = 4 };
	struct heapd_event event = { .size = 1 };
	struct node **p = (struct node **)s->text;

	use(heapd_alloc(s->heap, UINT64_MAX / 2));
	use(heapd_alloc_aligned(s->heap, 100, 3));
	use(heapd_type_alloc(s->nodes, 7));
	use(heapd_type_alloc(NULL, 7));
	use(heapd_type_alloc_array(s->nodes, sizeof(struct node), UINT64_MAX / 8));
	use(heapd_type_alloc_flex(s->nodes, 1, 2, 3, 4));
	use(heapd_type_find(s->heap, "no such type"));
	use(heapd_type_define_leaf(s->heap, "node", struct flexible));
	use(heapd_root(s->heap, "stage", struct node, s->nodes));
	use(heapd_root_get(s->heap, "no such root", s->nodes));
	sink += (uint64_t)heapd_root_set(s->heap, "", s->object);
	sink += (uint64_t)heapd_root_cas(s->heap, "stage", s->object, s->object);
	sink += (uint64_t)heapd_root_next(s->heap, &info);
	sink += (uint64_t)heapd_event_next(s->heap, &event);
	sink += (uint64_t)heapd_unpin(p);
	use(heapd_ticket_take(s->heap, "none"));
	sink += (uint64_t)heapd_range_remove(s->heap, s->text);
	sink += (uint64_t)heapd_local_remove(s->heap, s->text);
	sink += (uint64_t)heapd_edit_end(s->object);
	sink += (uint64_t)heapd_wait(s->heap, (uint32_t *)(void *)s->text, 0, 1);
	sink += (uint64_t)heapd_wake(s->heap, (uint32_t *)(void *)s->text, 1);
	sink += (uint64_t)heapd_path_to(s->heap, s->text, s->text, sizeof(s->text));
	sink += (uint64_t)heapd_set(s->heap, "gc.percent", "none at all");
	use(heapd_realloc(s->heap, s->text, 10));
	use(heapd_start_of(s->text));
	use(heapd_type_of(s->text));
	use(heapd_error());
}

/* As many as a thread can have open, and one more. */
static void edits(struct scene *s)
{
	for (unsigned i = 0; i < 5; i++)
		sink += (uint64_t)heapd_edit_begin(s->stage->node[i], sizeof(struct node));
	sink += (uint64_t)heapd_thread_detach(s->heap);
	for (unsigned i = 0; i < 4; i++)
		sink += (uint64_t)heapd_edit_end(s->stage->node[i]);
}

/* With the thread offline each of these comes online for as long as it takes. */
static void prepare_offline(struct scene *s)
{
	prepare_fields(s);
	s->pin = heapd_pin(s->heap, (struct node *)s->object);
	s->weak = heapd_weak_new(s->heap, s->object);
	heapd_thread_offline(s->heap);
}

static void from_offline(struct scene *s)
{
	struct node **p = heapd_pin_field(s->heap, &s->stage->node[1]);

	use(heapd_alloc(s->heap, 64));
	use(heapd_alloc(s->heap, 100000));
	heapd_free(s->others[0]);
	heapd_store_pinned(&s->stage->field[2], s->pin);
	heapd_store(&s->stage->field[3], NULL);
	use(heapd_weak_get(s->weak, struct node));
	use(heapd_new_array(s->nodes, struct node, 2));
	sink += (uint64_t)heapd_unpin(p);
	heapd_thread_online(s->heap);
}

/* As many classes as there are places for spares; the next one's sends one of them back. */
static void prepare_spares(struct scene *s)
{
	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		drain(s, 1100 + 300 * i);
}

static void spares(struct scene *s)
{
	for (unsigned i = 0; i < 12; i++) {
		use(heapd_alloc(s->heap, 9000));
		use(heapd_alloc(s->heap, 12000));
		use(heapd_alloc(s->heap, 14000));
	}
}

/* Spares of this thread's go back when it ends. */
static void prepare_leave(struct scene *s)
{
	drain(s, 1500);
	drain(s, 2500);
}

static void leave(struct scene *s)
{
	heapd_thread_detach(s->heap);
}

static void detach(struct scene *s)
{
	heapd_detach(s->heap);
}

static void attach(struct scene *s)
{
	heapd_heap *again;

	if (heapd_attach(&again, s->text, NULL) == 0)
		s->heap = again;
}

static void prepare_attach(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);

	heapd_get_info(s->heap, &info);
	snprintf(s->text, sizeof(s->text), "%s", info.name);
	heapd_detach(s->heap);
}

static void thread_of_ours(struct scene *s)
{
	heapd_thread_attach(s->heap);
	use(heapd_alloc(s->heap, 64));
}

static void thread_explicit(struct scene *s)
{
	heapd_thread_attach(s->heap);
	use(heapd_alloc(s->heap, 64));
	heapd_thread_detach(s->heap);
	heapd_thread_attach(s->heap);
}

static void spin(struct scene *s)
{
	while (!s->board->spin)
		__asm__ volatile("pause");
}

static void prepare_away(struct scene *s)
{
	static void *table[8];

	prepare_fields(s);
	s->pin = heapd_pin(s->heap, (struct node *)s->object);
	table[0] = s->others[0];
	sink += (uint64_t)heapd_range_add(s->heap, table, sizeof(table));
	heapd_thread_offline(s->heap);
}

const struct operation scene_operations[] = {
	OPERATION("alloc", one_of_each, alloc_small, IN_MAIN, ONCE),
	OPERATION("alloc-medium", one_of_each, alloc_medium, IN_MAIN, ONCE),
	OPERATION("alloc-typed", one_of_each, alloc_typed, IN_MAIN, ALL),
	OPERATION("alloc-typed-large", one_of_each, alloc_typed_large, IN_MAIN, ONCE),
	OPERATION("alloc-aligned", one_of_each, alloc_aligned, IN_MAIN, ONCE),
	OPERATION("alloc-many", one64, alloc_many, IN_MAIN, ONCE),
	OPERATION("alloc-copies", one_of_each, alloc_copies, IN_MAIN, ONCE),
	OPERATION("alloc-large", NULL, alloc_large, IN_MAIN, ALL),
	OPERATION("alloc-fresh", prepare_fresh, alloc_fresh, IN_MAIN, ONCE),
	OPERATION("turn", prepare_turn, alloc256, IN_MAIN, ONCE),
	OPERATION("refill", drain64, alloc64, IN_MAIN, ALL),
	OPERATION("install", drain3072, alloc3072, IN_MAIN, ONCE),
	OPERATION("ring", drain_spares, alloc4096, IN_MAIN, ONCE),
	OPERATION("burst", prepare_burst, burst, IN_MAIN, ONCE),
	OPERATION("realloc", prepare_realloc, do_realloc, IN_MAIN, ALL),
	OPERATION("realloc-large", prepare_realloc_large, realloc_large, IN_MAIN, ONCE),
	OPERATION("free", prepare_free, free_some, IN_MAIN, ALL),
	OPERATION("free-push", prepare_free_push, free_push, IN_MAIN, ONCE),
	OPERATION("free-remote", prepare_free_remote, free_remote, IN_MAIN, ALL),
	OPERATION("free-large", prepare_free_large, free_one, IN_MAIN, ALL),
	OPERATION("free-wrong", prepare_free_wrong, free_wrong, IN_MAIN, ONCE),
	OPERATION("store", prepare_fields, store, IN_MAIN, ALL),
	OPERATION("exchange", prepare_fields, exchange, IN_MAIN, ALL),
	OPERATION("cas", prepare_fields, compare, IN_MAIN, ALL),
	OPERATION("by-symbol", prepare_fields, by_symbol, IN_MAIN, ALL),
	OPERATION("move-zero", prepare_fields, move_zero, IN_MAIN, ALL),
	OPERATION("edit", prepare_fields, edit, IN_MAIN, ALL),
	OPERATION("pin", prepare_fields, pin, IN_MAIN, ALL),
	OPERATION("root", prepare_fields, named_root, IN_MAIN, ONCE),
	OPERATION("root-next", prepare_fields, next_root, IN_MAIN, ONCE),
	OPERATION("range", prepare_fields, range, IN_MAIN, ALL),
	{ .name = "ticket", .prepare = prepare_fields, .run = ticket, .barriers = ONCE, .seconds = 1 },
	OPERATION("weak", prepare_weak, weak, IN_MAIN, ALL),
	OPERATION("dead", prepare_dead, next_dead, IN_MAIN, ONCE),
	OPERATION("look", prepare_fields, look, IN_MAIN, ONCE),
	OPERATION("types", NULL, types, IN_MAIN, ONCE),
	OPERATION("arena", prepare_arena, arena, IN_MAIN, ALL),
	OPERATION("offline", prepare_fields, offline, IN_MAIN, ALL),
	OPERATION("wait", prepare_fields, wait_wake, IN_MAIN, ONCE),
	OPERATION("wait-fd", prepare_fields, wait_fd, IN_MAIN, ONCE),
	OPERATION("events", NULL, ask_events, IN_MAIN, ONCE),
	OPERATION("sync", NULL, sync_heap, IN_MAIN, ONCE),
	OPERATION("collect", NULL, collect, IN_MAIN, ONCE),
	OPERATION("judge", prepare_fields, judge, IN_MAIN, ONCE),
	OPERATION("collect-whole", prepare_fields, collect_whole, IN_MAIN, ONCE),
	OPERATION("refusals", prepare_fields, refusals, IN_MAIN, ONCE),
	OPERATION("edits", prepare_fields, edits, IN_MAIN, ALL),
	OPERATION("from-offline", prepare_offline, from_offline, IN_MAIN, ALL),
	OPERATION("spares", prepare_spares, spares, IN_MAIN, ONCE),
	OPERATION("leave", prepare_leave, leave, IN_MAIN, ONCE),
	OPERATION("thread-explicit", prepare_fields, thread_explicit, IN_THREAD, ALL),
	OPERATION("thread-create", prepare_fields, thread_come_and_go, IN_MAIN, ONCE),
	OPERATION("thread", prepare_fields, thread_of_ours, IN_THREAD, ALL),
	OPERATION("detach", drain64, detach, IN_MAIN, ALL),
	OPERATION("attach", prepare_attach, attach, IN_MAIN, ONCE),
	OPERATION("fork", prepare_fields, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("fork-child", prepare_fields, child_allocates, IN_CHILD, ALL),
	OPERATION("answer", prepare_fields, spin, IN_SIGNAL, ONCE),
	OPERATION("agent", prepare_away, spin, IN_AGENT, ONCE),
};
const unsigned scene_noperations = sizeof(scene_operations) / sizeof(scene_operations[0]);

const struct operation *const more_operations[] = {
	varieties, answers,   supplies, attachments,   absences, heapless,   events,  overwrites, corners,
	limits,    strangers, lengths,  refusals_more, rarities, encounters, remains, stances,    NULL
};
