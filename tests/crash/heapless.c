/* SPDX-License-Identifier: MIT */
/*
 * heapless.c - owns the operations of processes that have no heap: they have detached, or are children whom no daemon took in.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "calls.h"
#include "conditions.h"

/* Every call of a process that has no heap. The handle is what it was. */
void call_objects(struct scene *s)
{
	struct node *n = (struct node *)(void *)s->text;
	void *many[2];

	use(heapd_alloc(s->heap, 64));
	use(heapd_alloc_leaf(s->heap, 64));
	use(heapd_alloc_aligned(s->heap, 64, 64));
	use((void *)heapd_alloc_many(s->heap, 64, 2, many));
	use(heapd_realloc(s->heap, n, 64));
	use(heapd_memdup(s->heap, n, 64));
	use(heapd_arena_create(s->heap, 0));
	use(heapd_type_find(s->heap, "node"));
	use(heapd_type_any(s->heap));
	use(heapd_type_leaf(s->heap));
	use(heapd_type_define_desc(s->heap, NULL));
	use(heapd_weak_new(s->heap, n));
	use(heapd_weak_get_sym((heapd_weak *)(void *)n));
	use(heapd_pin_sym(s->heap, n));
	use(heapd_pin_field_sym(s->heap, n));
	use(heapd_take_sym(n));
	use(heapd_root_sym(s->heap, "stage", 64, NULL));
	use(heapd_root_get(s->heap, "stage", NULL));
	use(heapd_heap_of(n));
	sink += heapd_size(n);
	sink += (uint64_t)heapd_free(n) + (uint64_t)heapd_unpin(n);
	sink += (uint64_t)heapd_edit_begin(n, 8) + (uint64_t)heapd_edit_end(n);
	sink += (uint64_t)heapd_collect(s->heap) + (uint64_t)heapd_sync(s->heap);
	sink += (uint64_t)heapd_event_fd(s->heap) + (uint64_t)heapd_thread_detach(s->heap);
	sink += (uint64_t)heapd_thread_attach(s->heap) + (uint64_t)heapd_thread_offline(s->heap);
	heapd_store_sym(&n->next, NULL);
	heapd_zero_sym(&n->next, 1);
	use(heapd_exchange_sym(&n->next, NULL));
	use(heapd_error());
}

void call_others(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_root_info root = HEAPD_SIZED(root);
	struct heapd_event event = HEAPD_SIZED(event);
	struct heapd_verify_result result = HEAPD_SIZED(result);
	char text[64];
	pthread_t thread;

	sink += (uint64_t)heapd_get_info(s->heap, &info) + (uint64_t)heapd_root_next(s->heap, &root);
	sink += (uint64_t)heapd_event_next(s->heap, &event) + (uint64_t)heapd_verify(s->heap, &result);
	sink += (uint64_t)heapd_get(s->heap, "gc.percent", text, sizeof(text));
	sink += (uint64_t)heapd_set(s->heap, "gc.percent", "100");
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	sink += (uint64_t)heapd_root_cas(s->heap, "crash 0", NULL, NULL);
	use(heapd_root_offer(s->heap, "crash 0", s->text));
	sink += (uint64_t)heapd_range_add(s->heap, s->text, 64) +
		(uint64_t)heapd_range_remove(s->heap, s->text);
	sink += (uint64_t)heapd_local_add(s->heap, s->text, 64) +
		(uint64_t)heapd_local_remove(s->heap, s->text);
	sink += (uint64_t)heapd_ticket_issue(s->heap, s->text, text, sizeof(text), 1);
	use(heapd_ticket_take(s->heap, text));
	sink += (uint64_t)heapd_wait(s->heap, (uint32_t *)(void *)s->text, 0, 1);
	sink += (uint64_t)heapd_wake(s->heap, (uint32_t *)(void *)s->text, 1);
	sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)(void *)s->text, 1);
	sink += (uint64_t)heapd_path_to(s->heap, s->text, text, sizeof(text));
	sink += (uint64_t)heapd_collect_start(s->heap) + (uint64_t)heapd_thread_online(s->heap);
	sink += (uint64_t)heapd_thread_create(s->heap, &thread, NULL, NULL, NULL);
}

/* In the child, where nothing is attached, and heapd_process is NULL. */
static bool is_orphan(void)
{
	pid_t pid = fork();

	if (pid == 0)
		return true;
	waitpid(pid, NULL, 0);
	_exit(0);
}

static void orphan(struct scene *s)
{
	if (is_orphan()) {
		call_objects(s);
		sink += (uint64_t)heapd_detach(s->heap);
	}
}

static void orphan_others(struct scene *s)
{
	if (is_orphan())
		call_others(s);
}

/* Not even the directory could be mapped: handles of types are all that it has. */
static void prepare_bare(struct scene *s)
{
	prepare_absent(s);
	calls_fail(CALL_MMAP, 1, UINT_MAX, ENOMEM);
}

static void bare(struct scene *s)
{
	if (!is_orphan())
		return;
	use(heapd_new(s->nodes, struct node));
	use(heapd_new_array(s->nodes, struct node, 2));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 2));
	use(heapd_type_name(s->nodes));
	call_objects(s);
	call_others(s);
}

/* It attaches, which is the end of what it inherited. */
static void orphan_attach(struct scene *s)
{
	if (is_orphan() && heapd_attach(&s->heap, FIXTURE_HEAP, NULL) == 0)
		use(heapd_alloc(s->heap, 64));
}

static void detached(struct scene *s)
{
	struct node *n = (struct node *)(void *)s->text;

	use(heapd_weak_get_sym((heapd_weak *)(void *)n));
	use(heapd_type_find(s->heap, "node"));
	sink += (uint64_t)heapd_free(n) + (uint64_t)heapd_unpin(n) + (uint64_t)heapd_thread_attach(s->heap);
	sink += (uint64_t)heapd_thread_offline(s->heap);
	heapd_store_sym(&n->next, NULL);
	heapd_zero_sym(&n->next, 1);
	use(heapd_exchange_sym(&n->next, NULL));
	use(heapd_error());
}

const struct operation heapless[] = {
	OPERATION("detached", prepare_detached, detached, IN_MAIN, ONCE),
	OPERATION("orphan", prepare_absent, orphan, IN_CHILD, ONCE),
	OPERATION("orphan-others", prepare_absent, orphan_others, IN_CHILD, ONCE),
	OPERATION("orphan-bare", prepare_bare, bare, IN_CHILD, ONCE),
	OPERATION("orphan-attach", prepare_absent, orphan_attach, IN_CHILD, ONCE),
	{ 0 },
};
