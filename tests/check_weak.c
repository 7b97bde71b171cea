/* SPDX-License-Identifier: MIT */
/*
 * Weak references with a real daemon and real collections: they lead to what lives, say NULL of what has died, and what
 * they gave lives, also when it was read by a thread that had been scanned already. That moment is made to last by
 * a client that is stopped: it holds up the scan after everybody else has answered.
 */
#include "collected.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include <unistd.h>

#include "client/thread.h"
#include "numbers.h"

#define MANY  2000u
#define CELLS 256u /* of the stress */
#define HANDS 16u
#define STAYS 50u

struct thing {
	heapd_ptr(struct thing) child;
	uint64_t value, check;
	uint64_t pad[5];
};

struct table {
	heapd_ptr(heapd_weak) cells[MANY];
	heapd_ptr(struct thing) things[MANY];
};

static heapd_type *things, *tables;
static struct table **table; /* a pin */

static void types_define(void)
{
	things = heapd_type_define(heap, "thing", struct thing, child);
	tables = heapd_type_define(heap, "table", struct table, cells, things);
	ck_assert(things && tables);
}

static void start(const char *debug)
{
	const char *settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", debug, NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	types_define();
	table = heapd_pin(heap, heapd_root(heap, "table", struct table, tables));
	ck_assert_ptr_nonnull(table);
}

static void setup(void)
{
	start(NULL);
}

static uint64_t check_of(uint64_t value)
{
	return value * 0x9e3779b97f4a7c15ull ^ 0x5bd1e995u;
}

static struct thing *thing_new(uint64_t value)
{
	struct thing *t = heapd_new(things, struct thing), *child = heapd_new(things, struct thing);

	ck_assert_msg(t && child, "%s", heapd_error());
	child->value = value + 1;
	child->check = check_of(value + 1);
	t->value = value;
	t->check = check_of(value);
	heapd_init(&t->child, child);
	return t;
}

/* What a weak reference gave is whole, and so is what it leads to. */
static bool thing_is_whole(const struct thing *t)
{
	const struct thing *child = t->child;

	return t->check == check_of(t->value) && child && child->value == t->value + 1 &&
	       child->check == check_of(child->value);
}

/* Slots are used anew: whatever was taken back by mistake is overwritten. */
static __attribute__((noinline)) void churn(void)
{
	for (unsigned i = 0; i < 20000; i++)
		ck_assert_ptr_nonnull(heapd_new(things, struct thing));
}

/* Cell i leads to a new thing; `held`: which the table holds. */
static __attribute__((noinline)) void cell_make(unsigned i, bool held)
{
	struct thing *t = thing_new(i * 10);
	heapd_weak *w = heapd_weak_new(heap, t);

	ck_assert_msg(w != NULL, "%s", heapd_error());
	heapd_store(&(*table)->cells[i], w);
	heapd_store(&(*table)->things[i], held ? t : NULL);
}

/* Whose words hold as the stack does, while they are registered. */
static struct thing *local_words[MANY];

static __attribute__((noinline)) void hold_in_local(void)
{
	ck_call(heapd_local_add(heap, local_words, sizeof(local_words)));
	for (unsigned i = 0; i < MANY; i++) {
		cell_make(i, false);
		local_words[i] = heapd_weak_get((*table)->cells[i], struct thing);
		ck_assert_ptr_nonnull(local_words[i]);
	}
}

static __attribute__((noinline)) bool cell_lives(unsigned i)
{
	errno = -1;
	struct thing *t = heapd_weak_get((*table)->cells[i], struct thing);

	ck_assert(t || errno == 0);
	ck_assert(!t || (thing_is_whole(t) && t->value == i * 10));
	return t;
}

START_TEST(what_lives_is_given)
{
	for (unsigned i = 0; i < MANY; i++)
		cell_make(i, true);
	for (unsigned round = 0; round < 3; round++) {
		collect();
		churn();
		for (unsigned i = 0; i < MANY; i++)
			ck_assert_ptr_eq(heapd_weak_get((*table)->cells[i], struct thing),
					 (*table)->things[i]);
	}
	ck_assert_str_eq(heapd_type_name(heapd_type_of((*table)->cells[0])), "(weak)");
	ck_assert_uint_eq(heapd_size((*table)->cells[0]), 16);
}
END_TEST

START_TEST(what_died_is_not)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < MANY; i++)
		cell_make(i, i % 3 == 0);
	collect();
	collect();
	churn();
	for (unsigned i = 0; i < MANY; i++)
		if (i % 3 == 0)
			ck_assert(cell_lives(i));
		else
			alive += cell_lives(i);
	ck_assert_uint_le(alive, 2); /* what stale stack words hold */
}
END_TEST

START_TEST(what_local_words_hold_lives_until_they_are_removed)
{
	unsigned alive = 0;

	hold_in_local();
	collect();
	collect();
	churn();
	for (unsigned i = 0; i < MANY; i++)
		ck_assert(cell_lives(i));
	ck_call(heapd_local_remove(heap, local_words));
	ck_refused(heapd_local_remove(heap, local_words), EINVAL, "no range of this thread begins at");
	collect();
	collect();
	churn();
	for (unsigned i = 0; i < MANY; i++)
		alive += cell_lives(i);
	ck_assert_uint_le(alive, 2); /* what stale stack words hold */
}
END_TEST

/* Cells lead to the middle of an object, and to one of pages of its own. */
START_TEST(any_place_in_any_object)
{
	struct thing *t = thing_new(1);
	char *large = heapd_alloc_leaf(heap, 100000);
	heapd_weak *middle = heapd_weak_new(heap, &t->pad[2]), *wide = heapd_weak_new(heap, large + 50000);

	ck_assert(middle && wide);
	collect();
	ck_assert_ptr_eq(heapd_weak_get(middle, uint64_t), &t->pad[2]);
	ck_assert_ptr_eq(heapd_weak_get(wide, char), large + 50000);
	heapd_keep(t);
	heapd_keep(large);
	ck_call(heapd_free(middle));
}
END_TEST

START_TEST(what_is_refused)
{
	struct thing *t = thing_new(1);
	static char foreign[16];

	ck_null(heapd_weak_new(heap, NULL), EINVAL);
	ck_null(heapd_weak_new(heap, foreign), EINVAL);
	ck_null(heapd_weak_new(heap, heapd_tag(t, 1)), EINVAL);
	ck_null(heapd_weak_new(NULL, t), ENODEV);
	ck_null(heapd_weak_get((heapd_weak *)(void *)t, void), EINVAL);
	ck_null(heapd_weak_get(NULL, void), EINVAL);
	ck_null(heapd_weak_get((heapd_weak *)(void *)foreign, void), EINVAL);
	heapd_weak *w = heapd_weak_new(heap, t);
	ck_null(heapd_weak_get((heapd_weak *)(void *)((char *)w + 8), void), EINVAL);
	ck_null(heapd_realloc(heap, w, 64), EINVAL);
}
END_TEST

/* What was freed explicitly, and given back, is gone for weak references, too, when a collection has looked at them. */
START_TEST(freed_objects_are_gone)
{
	char *large = heapd_alloc_leaf(heap, 100000);
	heapd_weak *w = heapd_weak_new(heap, large);

	ck_assert_ptr_eq(heapd_weak_get(w, char), large);
	ck_call(heapd_free(large));
	ck_call(heapd_sync(heap));
	collect();
	ck_assert_ptr_null(heapd_weak_get(w, char));
	ck_assert_int_eq(errno, 0);
}
END_TEST

/* The scan that does not end ----------------------------------------------------------------------- */

/* In a forked child, whose attachment is its parent's in all but name: one of its own. */
static bool child_attach(uint32_t flags)
{
	struct heapd_options options = heapd_options_default();

	options.flags = flags;
	return heapd_detach(heap) == 0 && heapd_attach(&heap, FIXTURE_HEAP, &options) == 0;
}

static int stopped_main(void *arg)
{
	(void)arg;
	if (!child_attach(0))
		return 1;
	raise(SIGSTOP);
	return heapd_detach(heap) < 0;
}

static pid_t stopped_start(void)
{
	pid_t pid = fixture_client_fork(stopped_main, NULL);
	siginfo_t info;

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(info.si_code, CLD_STOPPED);
	return pid;
}

static uint32_t phase_now(void)
{
	return heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now));
}

/* Until this thread, but not the stopped process, has answered the scan of a new cycle. */
static void scan_begin(void)
{
	stack_wipe();
	ck_call(heapd_collect_start(heap));
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);

		if (heapd_now_phase(now) == HEAPD_PHASE_SCAN && heapd_self->scanned == heapd_now_cycle(now))
			return;
		usleep(1000);
	}
	ck_abort_msg("the scan did not come");
}

static void scan_end(pid_t stopped)
{
	uint64_t finished = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished);

	ck_assert_uint_eq(phase_now(), HEAPD_PHASE_SCAN);
	kill(stopped, SIGCONT);
	fixture_wait(stopped, 0);
	for (unsigned i = 0; i < 10000; i++) {
		if (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished) != finished)
			return;
		usleep(1000);
	}
	ck_abort_msg("the collection did not end");
}

/* A scanned thread reads a weak reference: what it got lives, and is whole, and so do references made from it. */
static __attribute__((noinline)) void read_and_move(unsigned i)
{
	struct thing *t = heapd_weak_get((*table)->cells[i], struct thing);

	ck_assert(t && thing_is_whole(t));
	heapd_store(&(*table)->cells[i + 1], heapd_weak_new(heap, t));
	heapd_store(&(*table)->things[i], t);
}

START_TEST(read_after_the_scan)
{
	unsigned alive = 0;
	pid_t stopped;

	for (unsigned i = 0; i < MANY; i += 2)
		cell_make(i, false);
	stopped = stopped_start();
	scan_begin();
	for (unsigned i = 0; i < MANY / 2; i += 2)
		read_and_move(i);
	scan_end(stopped);
	churn();
	for (unsigned i = 0; i < MANY / 2; i += 2) {
		ck_assert(cell_lives(i));
		ck_assert_ptr_eq(heapd_weak_get((*table)->cells[i + 1], struct thing), (*table)->things[i]);
	}
	for (unsigned i = MANY / 2; i < MANY; i += 2)
		alive += cell_lives(i);
	ck_assert_uint_le(alive, 2);
	ck_assert_uint_ge(heap->t.directory->stats.gc_weak_cleared, MANY / 4 - 2);
}
END_TEST

/* It dies all the same, in a later cycle: being touched holds nothing for ever. */
START_TEST(touched_once_is_not_held)
{
	pid_t stopped;
	unsigned alive = 0;

	for (unsigned i = 0; i < 200; i++)
		cell_make(i, false);
	stopped = stopped_start();
	scan_begin();
	for (unsigned i = 0; i < 200; i++)
		ck_assert(cell_lives(i));
	scan_end(stopped);
	for (unsigned i = 0; i < 200; i++)
		ck_assert(cell_lives(i));
	collect();
	collect();
	for (unsigned i = 0; i < 200; i++)
		alive += cell_lives(i);
	ck_assert_uint_le(alive, 2);
}
END_TEST

/* A reader, which cannot touch a cell, holds what it read by telling the collector. */
static struct {
	uint32_t state;
	uint64_t value;
} * shared;

static void state_wait(uint32_t state)
{
	for (unsigned i = 0; i < 10000 && HEAPD_LOAD_ACQUIRE(&shared->state) < state; i++)
		usleep(1000);
	ck_assert_uint_ge(HEAPD_LOAD_ACQUIRE(&shared->state), state);
}

static int reader_main(void *arg)
{
	struct table *t;

	(void)arg;
	if (!child_attach(HEAPD_ATTACH_READ_ONLY))
		return 1;
	t = heapd_root_get(heap, "table", NULL);
	if (!t || heapd_weak_new(heap, t) || errno != EROFS)
		return 2;
	HEAPD_STORE_RELEASE(&shared->state, 1);
	state_wait(2);
	/* A call in between: in the child of a process with threads ThreadSanitizer takes signals, and passes none on. */
	for (unsigned i = 0; heapd_self->scanned != heapd_now_cycle(heap->t.directory->cycle.now); i++) {
		if (i > 5000 || heapd_root_get(heap, "table", NULL) != t)
			return 3;
		usleep(1000);
	}
	struct thing *thing = heapd_weak_get(t->cells[0], struct thing);
	if (!thing || !thing_is_whole(thing))
		return 4;
	HEAPD_STORE_RELEASE(&shared->state, 3);
	state_wait(4);
	return thing_is_whole(thing) && thing->value == 0 ? 0 : 5;
}

START_TEST(read_by_a_reader)
{
	pid_t reader, stopped;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cell_make(0, false);
	reader = fixture_client_fork(reader_main, NULL);
	state_wait(1);
	stopped = stopped_start();
	scan_begin();
	HEAPD_STORE_RELEASE(&shared->state, 2);
	state_wait(3);
	scan_end(stopped);
	churn();
	HEAPD_STORE_RELEASE(&shared->state, 4);
	fixture_wait(reader, 0);
	munmap(shared, 4096);
}
END_TEST

/* Stress ------------------------------------------------------------------------------------------- */

/* Puts things into its hands by weak references, and new things behind those; drops them as fast. */
static void stress_step(struct table *t, struct thing **hands, uint64_t *seed)
{
	unsigned i = (unsigned)random_next(seed) % CELLS, hand = (unsigned)random_next(seed) % HANDS;
	heapd_weak *w = heapd_load(&t->cells[i]);
	struct thing *thing = w ? heapd_weak_get(w, struct thing) : NULL;

	if (thing && !thing_is_whole(thing)) {
		fprintf(stderr, "cell %u: %p: value %lu check %lx child %p\n", i, (void *)thing,
			(unsigned long)thing->value, (unsigned long)thing->check, (void *)thing->child);
		_exit(9);
	}
	hands[hand] = thing;
	if (!thing || random_next(seed) % 16 == 0) {
		hands[hand] = thing_new(random_next(seed));
		heapd_store(&t->cells[i], heapd_weak_new(heap, hands[hand]));
	} else if (random_next(seed) % 16 == 0) {
		heapd_store(&t->cells[(i + 1) % CELLS], heapd_weak_new(heap, thing));
	}
}

static int stress_main(void *arg)
{
	struct thing *hands[HANDS] = { NULL };
	uint64_t seed = *(uint64_t *)arg ^ (uint64_t)getpid() << 17, end = fixture_now_ns() + 4000000000u;
	struct table *t;

	if (!child_attach(0))
		return 1;
	types_define();
	t = heapd_root_get(heap, "table", tables);
	for (unsigned n = 0; n % 256 || fixture_now_ns() < end; n++)
		stress_step(t, hands, &seed);
	heapd_keep(hands);
	return heapd_detach(heap) < 0;
}

START_TEST(stress)
{
	uint64_t seed = fixture_seed() | 1;
	pid_t pids[3];
	unsigned alive = 0;

	for (unsigned i = 0; i < 3; i++)
		pids[i] = fixture_client_fork(stress_main, &seed);
	for (unsigned i = 0; i < 3; i++)
		fixture_wait(pids[i], 0);
	collect();
	collect();
	for (unsigned i = 0; i < CELLS; i++)
		if ((*table)->cells[i])
			alive += heapd_weak_get((*table)->cells[i], struct thing) != NULL;
	ck_assert_uint_eq(alive, 0);
	printf("%lu cells cleared in %lu cycles\n", (unsigned long)heap->t.directory->stats.gc_weak_cleared,
	       (unsigned long)heap->t.directory->cycle.finished);
	ck_assert_uint_ge(heap->t.directory->stats.gc_weak_cleared, 1000);
}
END_TEST

static void collect_alone(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		ck_call(heapd_thread_detach(heap));
		collect();
	}
}

static uint64_t objects_alive(void)
{
	struct heapd_info info = HEAPD_SIZED(info);

	collect_alone(3);
	ck_call(heapd_get_info(heap, &info));
	return info.gc_live_objects;
}

/* But each so many-th, so that no span is empty. */
static void drop(bool cells, bool held)
{
	for (unsigned i = 0; i < MANY; i++) {
		if (i % STAYS == 0)
			continue;
		if (cells)
			heapd_store(&(*table)->cells[i], NULL);
		if (held)
			heapd_store(&(*table)->things[i], NULL);
	}
}

/*
 * Cells die, and later what they led to: their slots' words lead to slots that are free. Slabs of both come into use again, one by one;
 * what the free slots of those say keeps nothing, in no cycle.
 */
START_TEST(slots_of_dead_cells_hold_nothing)
{
	uint64_t before = objects_alive(), made = 0;

	for (unsigned i = 0; i < MANY; i++)
		cell_make(i, true);
	drop(true, false);
	collect_alone(2);
	drop(false, true);
	collect_alone(2);
	for (unsigned i = 1; i < MANY; i++)
		if (i % STAYS) {
			cell_make(i, true);
			made++;
			if (made % 100 == 0)
				ck_assert_uint_eq(objects_alive(), before + 3 * (MANY / STAYS + made));
		}
}
END_TEST

static void setup_stress(void)
{
	start("heap.test.Debug=stress,poison");
}

static void teardown(void)
{
	heapd_unpin(table);
	attached_stop();
}

int main(void)
{
	Suite *suite = suite_create("weak");
	TCase *plain = tcase_create("weak references"), *hard = tcase_create("stress");

	tcase_add_checked_fixture(plain, setup, teardown);
	tcase_set_timeout(plain, 60);
	tcase_add_test(plain, what_lives_is_given);
	tcase_add_test(plain, what_died_is_not);
	tcase_add_test(plain, what_local_words_hold_lives_until_they_are_removed);
	tcase_add_test(plain, any_place_in_any_object);
	tcase_add_test(plain, what_is_refused);
	tcase_add_test(plain, freed_objects_are_gone);
	tcase_add_test(plain, read_after_the_scan);
	tcase_add_test(plain, touched_once_is_not_held);
	tcase_add_test(plain, read_by_a_reader);
	tcase_add_test(plain, slots_of_dead_cells_hold_nothing);
	suite_add_tcase(suite, plain);
	tcase_add_checked_fixture(hard, setup_stress, teardown);
	tcase_set_timeout(hard, 120);
	tcase_add_test(hard, stress);
	return attached_run(hard, suite);
}
