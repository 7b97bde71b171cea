/* SPDX-License-Identifier: MIT */
/*
 * The queue of dead objects between processes: each is given to one of them, whole; and what a killed process had in its hands, or a
 * killed daemon's sweep had not come to, is none.
 */
#include "client/current.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heapd/message.h"
#include "things.h"

static uint32_t *taken; /* by value: how often */

static bool child_attach(uint32_t flags)
{
	struct heapd_options options = heapd_options_default();

	options.flags = flags;
	if (heapd_detach(heap) < 0 || heapd_attach(&heap, FIXTURE_HEAP, &options) < 0)
		return false;
	things = heapd_type_define(heap, "thing", struct thing, next, note);
	return things;
}

static int taker_main(void *arg)
{
	struct thing *t;

	(void)arg;
	if (!child_attach(0))
		return 1;
	while ((t = heapd_type_next_dead(things))) {
		if (!thing_is_whole(t))
			return 2;
		__atomic_fetch_add(&taken[t->value], 1, __ATOMIC_RELAXED);
	}
	return errno;
}

START_TEST(several_take)
{
	unsigned n = 0;

	taken = mmap(NULL, MANY * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	table_clear(MANY);
	collect();
	collect();
	for (unsigned i = 0; i < 3; i++)
		fixture_client_fork(taker_main, NULL);
	for (unsigned i = 0; i < 3; i++)
		fixture_wait(-1, 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_uint_le(taken[i], 1);
		n += taken[i];
	}
	ck_assert_uint_ge(n, MANY - 2);
	munmap(taken, MANY * 4);
}
END_TEST

static int reader_main(void *arg)
{
	(void)arg;
	if (!child_attach(HEAPD_ATTACH_READ_ONLY))
		return 1;
	if (heapd_type_watch_dead(things) != -EROFS)
		return 2;
	return heapd_type_next_dead(things) || errno != EROFS ? 3 : 0;
}

START_TEST(readers_may_not)
{
	fixture_wait(fixture_client_fork(reader_main, NULL), 0);
}
END_TEST

/* Whether a thread of this process has slots of the class of things aside. */
static bool has_spare(heapd_heap *own, const struct thing *t)
{
	const struct heapd_tables *tables_of = &own->t;
	uint64_t page = ((uint64_t)(uintptr_t)t - tables_of->base) >> HEAPD_PAGE_SHIFT;
	uint32_t class = tables_of->spans[tables_of->page_span[page] - 1].class;
	const char *session = (const char *)own->session;
	const struct heapd_thread *thread = (const void *)(session + HEAPD_SESSION_THREAD_AT);

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		if (HEAPD_READ_ONCE(thread->spares[i].entry) && thread->spares[i].class == class)
			return true;
	return false;
}

/* Ends with such slots, by a signal that leaves no time to give them back. */
static int spare_main(void *arg)
{
	struct thing *t;

	(void)arg;
	if (!child_attach(0))
		return 1;
	for (uint32_t i = 0; i < 1000000; i++) {
		t = thing_new(i);
		if (has_spare(heap, t))
			kill(getpid(), SIGKILL);
	}
	return 2;
}

/* What it had aside is no object: nobody is given it as a dead one. */
START_TEST(spares_of_the_dead_are_no_objects)
{
	unsigned n = 0;

	ck_call(heapd_type_watch_dead(things));
	fixture_wait(fixture_client_fork(spare_main, NULL), -SIGKILL);
	collect();
	collect();
	for (struct thing *t; (t = heapd_type_next_dead(things)); n++)
		ck_assert(thing_is_whole(t));
	ck_assert_uint_ge(n, 1);
}
END_TEST

/* Takes slots as an allocation does, and is killed before it has zeroed one of them. */
static int popper_main(void *arg)
{
	struct thing *t;
	unsigned popped = 0;

	(void)arg;
	if (!child_attach(0))
		return 1;
	t = thing_new(MANY);
	uint64_t page = ((uint64_t)(uintptr_t)t - heap->t.base) >> HEAPD_PAGE_SHIFT;
	uint32_t class = heap->t.spans[heap->t.page_span[page] - 1].class;
	while (popped < MANY)
		if (current_pop(heap, class, sizeof(*t)))
			popped++;
		else
			thing_new(MANY + 1);
	kill(getpid(), SIGKILL);
	return 2;
}

/* What stands in such a slot is an object that was taken long ago. */
START_TEST(slots_that_nobody_zeroed_are_no_objects)
{
	bool seen[MANY] = { false };
	struct thing *t;
	unsigned n = 0;

	ck_call(heapd_type_watch_dead(things));
	all_die(seen);
	fixture_wait(fixture_client_fork(popper_main, NULL), -SIGKILL);
	collect();
	collect();
	for (; (t = heapd_type_next_dead(things)); n++) {
		ck_assert(thing_is_whole(t));
		ck_assert_msg(t->value >= MANY || !seen[t->value], "%lu was taken before",
			      (unsigned long)t->value);
	}
	ck_assert_uint_ge(n, 1);
}
END_TEST

/* Cycles back to back, while processes make, drop and take: every object is given once, and whole. */
static int maker_main(void *arg)
{
	uint32_t base = *(uint32_t *)arg;
	struct thing *t;

	if (!child_attach(0) || heapd_type_watch_dead(things) < 0)
		return 1;
	for (uint32_t i = 0; i < MANY; i++) {
		t = thing_new(base + i);
		heapd_init(&t->next, thing_new(base + i + MANY));
		if (i % 8)
			continue;
		while ((t = heapd_type_next_dead(things))) {
			if (!thing_is_whole(t) || (t->next && !thing_is_whole(t->next)))
				return 2;
			if (__atomic_fetch_add(&taken[t->value], 1, __ATOMIC_RELAXED))
				return 3;
		}
	}
	return 0;
}

START_TEST(stress)
{
	uint32_t bases[3] = { 0, 2 * MANY, 4 * MANY };
	unsigned n = 0;

	taken = mmap(NULL, 6 * MANY * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_call(heapd_type_watch_dead(things));
	for (unsigned i = 0; i < 3; i++)
		fixture_client_fork(maker_main, &bases[i]);
	for (unsigned i = 0; i < 3; i++)
		fixture_wait(-1, 0);
	collect();
	collect();
	for (struct thing *t; (t = heapd_type_next_dead(things));) {
		ck_assert(thing_is_whole(t) && (!t->next || thing_is_whole(t->next)));
		taken[t->value]++;
	}
	for (unsigned i = 0; i < 6 * MANY; i++) {
		ck_assert_uint_le(taken[i], 1);
		n += taken[i];
	}
	ck_assert_uint_ge(n, 6 * MANY - 100);
	printf("%u of %u in %lu cycles\n", n, 6 * MANY, (unsigned long)heap->t.directory->cycle.finished);
	munmap(taken, 6 * MANY * 4);
}
END_TEST

/* A daemon's death in a sweep ---------------------------------------------------------------------------------------- */

#define HALVES 300000u /* things, and as many notes that lie before them: a sweep comes to them first */

static uint64_t out_now(void)
{
	return HEAPD_READ_ONCE(heap->t.directory->stats.out);
}

/* Nobody leads to any of them. */
static __attribute__((noinline)) void halves_make(void)
{
	char **notes = calloc(HALVES, sizeof(*notes)), note[32];

	ck_assert_ptr_nonnull(notes);
	for (unsigned i = 0; i < HALVES; i++) {
		snprintf(note, sizeof(note), "note %u", i);
		notes[i] = heapd_strdup(heap, note);
		ck_assert_ptr_nonnull(notes[i]);
	}
	for (unsigned i = 0; i < HALVES; i++) {
		struct thing *t = heapd_new(things, struct thing);

		ck_assert_ptr_nonnull(t);
		t->value = i;
		heapd_init(&t->note, notes[i]);
	}
	free(notes);
}

/* Whether a part is swept, of the notes, and the sweep goes on. False: it has ended before anybody saw it. */
static bool sweep_await(uint64_t out)
{
	const struct heapd_cycle_words *cycle = &heap->t.directory->cycle;
	uint64_t finished = cycle->finished, end = fixture_now_ns() + UINT64_C(30000000000);

	ck_call(heapd_collect_start(heap));
	while (heapd_now_phase(HEAPD_LOAD_ACQUIRE(&cycle->now)) != HEAPD_PHASE_SWEEP || out_now() > out) {
		if (HEAPD_LOAD_ACQUIRE(&cycle->finished) != finished)
			return false;
		ck_assert_uint_lt(fixture_now_ns(), end);
	}
	return true;
}

/* Whether the daemon was killed in a sweep; the next one has come. */
static bool kill_in_sweep(void)
{
	const struct heapd_cycle_words *cycle = &heap->t.directory->cycle;
	uint64_t begin = out_now(), end;
	pid_t daemon = fixture_kept_daemon(&fixture);
	bool there = sweep_await(begin - begin / 16);

	if (!there)
		return false;
	kill(fixture.daemon, SIGSTOP);
	kill(daemon, SIGKILL);
	usleep(20000);
	there = heapd_now_phase(HEAPD_LOAD_ACQUIRE(&cycle->now)) == HEAPD_PHASE_SWEEP;
	kill(fixture.daemon, SIGCONT);
	end = fixture_now_ns() + UINT64_C(30000000000);
	while (fixture_kept_daemon(&fixture) == daemon)
		ck_assert_uint_lt(fixture_now_ns(), end);
	return there;
}

/*
 * What had died, and was not taken back yet, leads to what was: were its type watched from now on, it would be queued as it is. What dies
 * later is.
 */
START_TEST(killed_in_a_sweep)
{
	static const char *const settings[] = { "heap.test.Size=512M", "heap.test.GCPercent=10000",
						"heap.test.Debug=poison", NULL };
	bool *seen = calloc(HALVES, 1), left = false;

	fixture_start_kept(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	things = heapd_type_define(heap, "thing", struct thing, next, note);
	for (unsigned try = 0; !left && try < 8; try++) {
		halves_make();
		stack_wipe();
		ck_call(heapd_thread_detach(heap));
		left = kill_in_sweep();
	}
	printf("a part was left: %s\n", left ? "yes" : "no");
	ck_call(heapd_type_watch_dead(things));
	collect();
	churn();
	take_all(seen, HALVES);
	memset(seen, 0, HALVES);
	for (unsigned i = 0; i < MANY; i++)
		thing_new(i);
	ck_assert_uint_gt(collect_and_take(seen, HALVES), MANY - 100);
	free(seen);
	attached_stop();
}
END_TEST

static void setup_stress(void)
{
	start("heap.test.Debug=stress,poison");
}

int main(void)
{
	Suite *suite = suite_create("queue");
	TCase *plain = tcase_create("processes"), *hard = tcase_create("stress"),
	      *killed = tcase_create("a sweep that did not end");

	tcase_add_checked_fixture(plain, setup, teardown);
	tcase_set_timeout(plain, 60);
	tcase_add_test(plain, several_take);
	tcase_add_test(plain, readers_may_not);
	tcase_add_test(plain, spares_of_the_dead_are_no_objects);
	tcase_add_test(plain, slots_that_nobody_zeroed_are_no_objects);
	suite_add_tcase(suite, plain);
	tcase_add_checked_fixture(hard, setup_stress, teardown);
	tcase_set_timeout(hard, 120);
	tcase_add_test(hard, stress);
	tcase_set_timeout(killed, 120);
	tcase_add_test(killed, killed_in_a_sweep);
	suite_add_tcase(suite, killed);
	return attached_run(hard, suite);
}
