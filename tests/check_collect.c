/* SPDX-License-Identifier: MIT */
/*
 * Collections with a real daemon and one client: what each kind of root holds, what comes back, when a collection begins, and
 * what it says of itself.
 */
#include <errno.h>

#include "collectednodes.h"

START_TEST(unreachable_comes_back)
{
	uint64_t before = allocated();

	/* Less than a cycle begins for by itself. */
	list_drop(50000);
	ck_assert_uint_ge(allocated(), before + 3 * MIB);
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 64 * 1024);
}
END_TEST

static bool is_zero(const char *at, size_t bytes)
{
	return !at[0] && memcmp(at, at + 1, bytes - 1) == 0;
}

/* Large objects in the place of others that a collection found, cleared by whoever it was. */
START_TEST(large_objects_are_zero)
{
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 12; i++) {
			size_t bytes = 200000 + 150000 * ((i + round) % 5);
			char *large = heapd_alloc_leaf(heap, bytes);

			ck_assert_msg(large != NULL, "%s", heapd_error());
			ck_assert_msg(is_zero(large, bytes), "round %u, object %u", round, i);
			memset(large, 0xff, bytes);
		}
		collect();
		usleep(round * 1000);
	}
}
END_TEST

static __attribute__((noinline)) heapd_weak *weak_of_the_first(void)
{
	heapd_weak *weak = heapd_weak_new(heap, node_new(1, NULL));

	ck_assert_msg(weak != NULL, "%s", heapd_error());
	return weak;
}

/* What a program is told of the heap, and has on its stack, is no pointer to the object that it made first. */
START_TEST(the_heap_s_base_holds_nothing)
{
	struct heapd_info info = HEAPD_SIZED(info);
	volatile uint64_t base;
	heapd_weak *weak;

	ck_call(heapd_get_info(heap, &info));
	base = info.base;
	weak = weak_of_the_first();
	ck_assert_ptr_nonnull(heapd_weak_get(weak, struct node));
	for (unsigned i = 0; i < 20000; i++) /* no slab that is in somebody's hands */
		node_new(2, NULL);
	collect();
	collect();
	ck_assert_uint_eq(base, heap->t.base);
	ck_assert_ptr_null(heapd_weak_get(weak, struct node));
}
END_TEST

/* Each way to hold an object; what it gives back is what holds it, if that is not a local variable of the test. */
static void *holder;

static __attribute__((noinline)) void hold_in_pin(uint64_t value)
{
	holder = heapd_pin(heap, node_new(value, NULL));
	ck_assert_ptr_nonnull(holder);
}

static struct node *registered[4];

static __attribute__((noinline)) void hold_in_range(uint64_t value)
{
	ck_call(heapd_range_add(heap, registered, sizeof(registered)));
	heapd_store(&registered[2], node_new(value, NULL));
}

static __attribute__((noinline)) void hold_in_local(uint64_t value)
{
	static struct node *words[8];

	ck_call(heapd_local_add(heap, words, sizeof(words)));
	words[5] = node_new(value, NULL);
	holder = &words[5];
}

static __attribute__((noinline)) void hold_in_root(uint64_t value)
{
	ck_call(heapd_root_set(heap, "root", node_new(value, NULL)));
}

static char ticket[HEAPD_TICKET_SIZE];

static __attribute__((noinline)) void hold_in_ticket(uint64_t value)
{
	ck_call(heapd_ticket_issue(heap, node_new(value, NULL), ticket, sizeof(ticket), 60));
}

static __attribute__((noinline)) void hold_inside(uint64_t value)
{
	struct node *n = node_new(value, NULL);

	holder = heapd_pin(heap, &n->pad[2]);
}

static __attribute__((noinline)) void hold_in_large(uint64_t value)
{
	struct node **table = heapd_alloc(heap, MIB);

	ck_assert_ptr_nonnull(table);
	heapd_store(&table[MIB / 8 - 1], node_new(value, NULL));
	holder = heapd_pin(heap, table);
}

static __attribute__((noinline)) void hold_in_array(uint64_t value)
{
	struct node *many = heapd_new_array(nodes, struct node, 30);

	ck_assert_ptr_nonnull(many);
	heapd_store(&many[29].next, node_new(value, NULL));
	holder = heapd_pin(heap, many);
}

static __attribute__((noinline)) void hold_at_the_end_of_a_list(uint64_t value)
{
	struct node *list = node_new(value, NULL);

	for (unsigned i = 0; i < 1000; i++)
		list = node_new(i, list);
	holder = heapd_pin(heap, list);
}

static struct node *held_by_pin(void)
{
	return *(struct node **)holder;
}

static struct node *held_in_range(void)
{
	return registered[2];
}

static struct node *held_in_root(void)
{
	return heapd_root_get(heap, "root", nodes);
}

static struct node *held_by_ticket(void)
{
	return heapd_ticket_take(heap, ticket);
}

static struct node *held_inside(void)
{
	return heapd_start_of(*(void **)holder);
}

static struct node *held_in_large(void)
{
	return (*(struct node ***)holder)[MIB / 8 - 1];
}

static struct node *held_in_array(void)
{
	return (*(struct node **)holder)[29].next;
}

static struct node *held_at_the_end(void)
{
	struct node *n = *(struct node **)holder;

	while (n->next)
		n = n->next;
	return n;
}

static const struct {
	void (*hold)(uint64_t value);
	struct node *(*held)(void);
} ways[] = {
	{ hold_in_pin, held_by_pin },
	{ hold_in_range, held_in_range },
	{ hold_in_local, held_by_pin },
	{ hold_in_root, held_in_root },
	{ hold_in_ticket, held_by_ticket },
	{ hold_inside, held_inside },
	{ hold_in_large, held_in_large },
	{ hold_in_array, held_in_array },
	{ hold_at_the_end_of_a_list, held_at_the_end },
};
#define WAYS (int)(sizeof(ways) / sizeof(ways[0]))

START_TEST(each_root_holds)
{
	ways[_i].hold(4711 + (uint64_t)_i);
	for (unsigned i = 0; i < 3; i++)
		churn();
	struct node *n = ways[_i].held();
	ck_assert_ptr_nonnull(n);
	ck_assert_uint_eq(n->value, 4711 + (uint64_t)_i);
	ck_assert_ptr_null(n->next);
}
END_TEST

START_TEST(a_stack_holds)
{
	struct node *list = NULL;

	for (unsigned i = 0; i < 1000; i++)
		list = node_new(i, list);
	for (unsigned i = 0; i < 3; i++)
		churn();
	for (uint64_t i = 1000; list; list = list->next)
		ck_assert_uint_eq(list->value, --i);
}
END_TEST

START_TEST(pins_and_roots_let_go)
{
	uint64_t before;

	list_drop(10);
	collect();
	collect();
	before = allocated();
	hold_at_the_end_of_a_list(1);
	hold_in_root(2);
	ck_call(heapd_root_set(heap, "root", NULL));
	ck_call(heapd_unpin(holder));
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 4096);
}
END_TEST

START_TEST(cycles_of_pointers_come_back)
{
	uint64_t before = allocated();

	for (unsigned i = 0; i < 10000; i++) {
		struct node *a = node_new(1, NULL), *b = node_new(2, a);
		heapd_store(&a->next, b);
	}
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 64 * 1024);
}
END_TEST

START_TEST(large_objects_come_back)
{
	uint64_t before = allocated();

	for (unsigned i = 0; i < 500; i++)
		ck_assert_msg(heapd_alloc_leaf(heap, 4 * MIB), "%u: %s", i, heapd_error());
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 8 * MIB);
}
END_TEST

/* 2 GiB through a heap of 256 MiB, by several sizes: nobody frees, nothing is refused. */
START_TEST(the_limit_holds)
{
	struct heapd_info info = HEAPD_SIZED(info);

	for (unsigned i = 0; i < 400000; i++)
		ck_holds(heapd_alloc(heap, 16u << (i % 10)));
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_le(info.committed, 256 * MIB);
}
END_TEST

/*
 * Until nothing more is given; how many. A call of its own: what it leaves in registers and on the stack lies below its caller's
 * frame, where stack_wipe() comes to it, and is no root of the list.
 */
static __attribute__((noinline)) uint64_t fill(void **pin)
{
	uint64_t kept = 0;
	void **block;

	for (; (block = heapd_alloc(heap, 32768)); kept++) {
		heapd_store(&block[0], *pin);
		heapd_store(pin, (void *)block);
	}
	return kept;
}

/* Live data at the limit: ENOMEM after a whole cycle; and when something is dropped, there is room again. */
START_TEST(full_of_live_objects)
{
	void **pin = (void **)heapd_pin(heap, (void *)NULL);
	uint64_t finished = heap->t.directory->cycle.finished, kept = fill(pin);

	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_msg(strstr(heapd_error(), "collection"), "%s", heapd_error());
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
	ck_assert_uint_ge(kept * 32768, 200 * MIB);
	ck_assert_ptr_null(heapd_alloc(heap, 8 * MIB));
	ck_assert_int_eq(errno, ENOMEM);
	heapd_store(pin, NULL);
	stack_wipe();
	ck_assert_msg(heapd_alloc(heap, 32768), "%s", heapd_error());
	ck_assert_msg(heapd_alloc(heap, 8 * MIB), "%s", heapd_error());
}
END_TEST

static void list_grow(void **pin, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 64; i++) {
		void **o = heapd_alloc(heap, 64);

		ck_holds(o);
		heapd_store(&o[0], *pin);
		heapd_store(pin, (void *)o);
	}
}

enum { FOR_ROOM = 0, AFTER_VOID = 5 }; /* of gc_cycles[] (stats.h) */

/* For want of room; one that became void is followed by another in its stead. */
static uint64_t cycles_for_room(void)
{
	const uint64_t *cycles = heap->t.directory->stats.gc_cycles;

	return HEAPD_READ_ONCE(cycles[FOR_ROOM]) + HEAPD_READ_ONCE(cycles[AFTER_VOID]);
}

/*
 * What is allocated while a cycle runs is no reason for the next. The goal is 80 MiB at first, of which no cycle begins in the lower
 * half (pacer.c); so the first has 60 MiB or more to leave, and the next begins at 90 or later, of a goal of 120. The list ends between.
 */
START_TEST(a_heap_that_grows_asks_once)
{
	void **pin = (void **)heapd_pin(heap, (void *)NULL);
	uint64_t cycles;

	ck_call(heapd_set(heap, "gc.percent", "10000"));
	list_grow(pin, 40 * MIB);
	ck_call(heapd_collect(heap));
	cycles = cycles_for_room();
	ck_call(heapd_set(heap, "gc.percent", "100"));
	list_grow(pin, 44 * MIB);
	for (unsigned i = 0; i < 500 && cycles_for_room() == cycles; i++)
		usleep(10000);
	usleep(500000);
	ck_assert_uint_eq(cycles_for_room(), cycles + 1);
	ck_call(heapd_unpin(pin));
}
END_TEST

static void setup_auto(void)
{
	static const char *const more[] = { "heap.test.GCPercent=auto", "heap.test.GCInterval=1s", NULL };

	collected_start(more);
}

static uint64_t growth(void)
{
	return HEAPD_READ_ONCE(heap->t.directory->stats.gc_percent);
}

/* Much, in little time: beside a list, which is slow to mark. */
static void blocks_drop(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ck_holds(heapd_alloc_leaf(heap, 4096));
}

/* Leaves the list's first n nodes. */
static void list_cut(struct node *list, uint64_t n)
{
	while (--n)
		list = list->next;
	heapd_store(&list->next, NULL);
}

/*
 * Where cycles follow each other closely the heap may grow by more; and by less again when little is allocated, and there is
 * little to mark: where others keep the machine busy, marking all of the list takes more than a quarter of each second.
 */
START_TEST(auto_follows_the_load)
{
	struct node *list = NULL;
	void *pin;

	ck_assert_uint_eq(growth(), 100);
	for (unsigned i = 0; i < 8 * MIB / sizeof(*list); i++)
		list = node_new(i, list);
	pin = heapd_pin(heap, list);
	collect(); /* so that it is known what lives */
	for (unsigned i = 0; i < 3000 && growth() < 150; i++)
		blocks_drop(1000);
	ck_assert_uint_ge(growth(), 150);
	ck_assert_uint_le(growth(), 400);
	list_cut(list, MIB / 4 / sizeof(*list));
	for (unsigned i = 0; i < 3000 && growth() > 100; i++) {
		list_drop(100);
		usleep(10000);
	}
	ck_assert_uint_eq(growth(), 100);
	ck_call(heapd_unpin(pin));
}
END_TEST

static void setup_paced(void)
{
	static const char *const more[] = { "heap.test.MemoryLimit=48M", "heap.test.GCPercent=10000", NULL };

	collected_start(more);
}

/* With a percentage that would never be reached, the memory limit keeps the heap small, and the interval is kept. */
START_TEST(memory_limit_and_interval)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	struct heapd_info info = HEAPD_SIZED(info);
	uint64_t cycles;

	for (unsigned i = 0; i < 40; i++)
		list_drop(100000);
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_le(info.committed, 96 * MIB);
	ck_assert_uint_ge(stats->gc_cycles[0], 2);
	ck_call(heapd_set(heap, "gc.interval", "1"));
	cycles = stats->gc_cycles[2];
	/* What comes out of rings that are full is no change: looked for again when the interval has passed once more. */
	for (unsigned i = 0; i < 1000 && stats->gc_cycles[2] < cycles + 2; i++) {
		list_drop(100);
		usleep(10000);
	}
	ck_assert_uint_ge(stats->gc_cycles[2], cycles + 2);
}
END_TEST

/* What this process lost to collections and to waiting for supply, it is told. */
START_TEST(a_process_knows_what_it_lost)
{
	struct heapd_info info = HEAPD_SIZED(info);
	uint64_t finished;

	list_drop(100000);
	collect();
	/* None runs now. A thread that waits for supply is asked nothing; one that computes answers. */
	finished = heap->t.directory->cycle.finished;
	ck_call(heapd_collect_start(heap));
	while (__atomic_load_n(&heap->t.directory->cycle.finished, __ATOMIC_ACQUIRE) == finished)
		;
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_ge(info.pauses, 1);
	ck_assert_uint_gt(info.pause_ns, 0);
	ck_assert_uint_ge(info.pause_ns, info.pause_max_ns);
	ck_assert_uint_gt(info.wait_ns, 0);
}
END_TEST

/* Freed by hand beside the collector: nothing is taken back twice, nothing that lives is taken back. */
START_TEST(explicit_free_beside_collection)
{
	struct node *kept[1000] = { 0 };
	uint64_t stamp = 0;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 1000; i++) {
			if (kept[i] && i % 3 == round % 3) {
				ck_holds(kept[i]->value >> 32 == i);
				ck_holds(heapd_free(kept[i]) == 0);
				kept[i] = NULL;
			}
			if (!kept[i])
				kept[i] = node_new((uint64_t)i << 32 | ++stamp % 0xffffffff, NULL);
		}
		if (round % 10 == 0)
			ck_call(heapd_collect_start(heap));
	}
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(kept[i]->value >> 32, i);
	ck_assert_uint_eq(heap->t.directory->stats.double_frees, 0);
}
END_TEST

START_TEST(off_is_off)
{
	ck_call(heapd_set(heap, "gc.percent", "off"));
	ck_refused(heapd_collect(heap), EOPNOTSUPP, "GCPercent");
	list_drop(200000);
	ck_assert_uint_ge(allocated(), 12 * MIB);
	ck_call(heapd_set(heap, "gc.percent", "100"));
	collect();
	collect();
	ck_assert_uint_le(allocated(), 128 * 1024);
}
END_TEST

START_TEST(statistics_of_a_cycle)
{
	struct heapd_cycle_record record = { 0 };
	const struct heapd_directory *d = heap->t.directory;
	uint64_t cycles = d->stats.gc_cycles[3], finished;

	ck_call(heapd_set(heap, "gc.percent", "10000"));
	hold_at_the_end_of_a_list(5);
	for (unsigned i = 0; i < 100; i++)
		list_drop(500); /* a word that is left on the stack holds one of them, not all */
	stack_wipe();
	finished = __atomic_load_n(&d->cycle.finished, __ATOMIC_ACQUIRE);
	ck_call(heapd_collect_start(heap));
	while (__atomic_load_n(&d->cycle.finished, __ATOMIC_ACQUIRE) == finished)
		; /* online, so that this thread is asked */
	for (unsigned i = 0; i < HEAPD_CYCLES_KEPT; i++)
		if (d->cycles[i].cycle > record.cycle)
			record = d->cycles[i];
	ck_assert_uint_eq(d->stats.gc_cycles[3], cycles + 1);
	ck_assert_uint_eq(record.trigger, 3);
	ck_assert_uint_ge(record.marked_objects, 1001);
	ck_assert_uint_eq(record.marked, d->stats.gc_live);
	ck_assert_uint_ge(record.freed_objects, 40000);
	ck_assert_uint_eq(record.threads, 1);
	ck_assert_uint_gt(record.barrier, 0);
	ck_assert_uint_gt(record.scan, 0);
	ck_assert_uint_gt(record.pause_max, 0);
	ck_assert(fixture_logged(&fixture, "(request)"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("collect");
	TCase *roots = tcase_create("roots"), *stressed = tcase_create("stressed"),
	      *paced = tcase_create("paced"), *automatic = tcase_create("automatic");

	tcase_set_timeout(roots, 60);
	tcase_add_checked_fixture(roots, setup, attached_stop);
	tcase_add_test(roots, unreachable_comes_back);
	tcase_add_test(roots, large_objects_are_zero);
	tcase_add_test(roots, the_heap_s_base_holds_nothing);
	tcase_add_loop_test(roots, each_root_holds, 0, WAYS);
	tcase_add_test(roots, a_stack_holds);
	tcase_add_test(roots, pins_and_roots_let_go);
	tcase_add_test(roots, cycles_of_pointers_come_back);
	tcase_add_test(roots, large_objects_come_back);
	tcase_add_test(roots, the_limit_holds);
	tcase_add_test(roots, full_of_live_objects);
	tcase_add_test(roots, a_heap_that_grows_asks_once);
	tcase_add_test(roots, a_process_knows_what_it_lost);
	tcase_add_test(roots, explicit_free_beside_collection);
	tcase_add_test(roots, off_is_off);
	tcase_add_test(roots, statistics_of_a_cycle);
	suite_add_tcase(suite, roots);
	tcase_set_timeout(paced, 60);
	tcase_add_checked_fixture(paced, setup_paced, attached_stop);
	tcase_add_test(paced, memory_limit_and_interval);
	suite_add_tcase(suite, paced);
	tcase_set_timeout(automatic, 60);
	tcase_add_checked_fixture(automatic, setup_auto, attached_stop);
	tcase_add_test(automatic, auto_follows_the_load);
	suite_add_tcase(suite, automatic);
	tcase_set_timeout(stressed, 60);
	tcase_add_checked_fixture(stressed, setup_stressed, attached_stop);
	tcase_add_loop_test(stressed, each_root_holds, 0, WAYS);
	tcase_add_test(stressed, a_stack_holds);
	tcase_add_test(stressed, cycles_of_pointers_come_back);
	tcase_add_test(stressed, the_limit_holds);
	tcase_add_test(stressed, full_of_live_objects);
	tcase_add_test(stressed, explicit_free_beside_collection);
	return attached_run(stressed, suite);
}
