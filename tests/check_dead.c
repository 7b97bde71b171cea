/* SPDX-License-Identifier: MIT */
/*
 * Queues of dead objects: what has died is given once, to one process, whole with all that it led to, and is
 * collected when it dies again.
 */
#include "client/current.h"
#include "collected.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heapd/message.h"

#define MANY 2000u

struct thing {
	heapd_ptr(struct thing) next;
	heapd_ptr(char) note;
	uint64_t value;
	uint64_t pad[5];
};

struct table {
	heapd_ptr(struct thing) things[MANY];
	heapd_ptr(heapd_weak) cells[MANY];
};

static heapd_type *things, *tables;
static struct table **table;

static void start(const char *debug)
{
	const char *settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", debug, NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	things = heapd_type_define(heap, "thing", struct thing, next, note);
	tables = heapd_type_define(heap, "table", struct table, things, cells);
	ck_assert(things && tables);
	table = heapd_pin(heap, heapd_root(heap, "table", struct table, tables));
	ck_assert_ptr_nonnull(table);
}

static void setup(void)
{
	start(NULL);
}

static void teardown(void)
{
	heapd_unpin(table);
	attached_stop();
}

/* Slots are used anew: whatever was taken back by mistake is overwritten. */
static __attribute__((noinline)) void churn(void)
{
	for (unsigned i = 0; i < 20000; i++)
		ck_assert_ptr_nonnull(
			heapd_memdup(heap, "overwritten, 56 bytes of it............................", 56));
}

static __attribute__((noinline)) struct thing *thing_new(uint64_t value)
{
	struct thing *t = heapd_new(things, struct thing);
	char note[32];

	ck_assert_msg(t != NULL, "%s", heapd_error());
	snprintf(note, sizeof(note), "note %lu", (unsigned long)value);
	t->value = value;
	heapd_init(&t->note, heapd_strdup(heap, note));
	return t;
}

static bool thing_is_whole(const struct thing *t)
{
	char note[32];

	snprintf(note, sizeof(note), "note %lu", (unsigned long)t->value);
	return t->note && strcmp(t->note, note) == 0;
}

static __attribute__((noinline)) void table_fill(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct thing *t = thing_new(i);
		heapd_store(&(*table)->things[i], t);
		heapd_store(&(*table)->cells[i], heapd_weak_new(heap, t));
	}
}

static __attribute__((noinline)) void table_clear(unsigned n)
{
	heapd_zero((*table)->things, n);
}

/* Takes all there are, each no more than once; how many. */
static __attribute__((noinline)) unsigned take_all(bool *seen, unsigned n)
{
	struct thing *t;
	unsigned count = 0;

	while (errno = -1, (t = heapd_type_next_dead(things))) {
		ck_assert(thing_is_whole(t));
		ck_assert_uint_lt(t->value, n);
		ck_assert(!seen[t->value]);
		seen[t->value] = true;
		count++;
	}
	ck_assert_int_eq(errno, 0);
	return count;
}

/* Some are held by what lies on stacks; a cycle later they have died, too. */
static unsigned collect_and_take(bool *seen, unsigned n)
{
	unsigned count = 0;

	for (unsigned round = 0; round < 3; round++) {
		collect();
		churn();
		count += take_all(seen, n);
	}
	return count;
}

START_TEST(what_died_is_given_once)
{
	bool seen[MANY] = { false };

	ck_call(heapd_type_watch_dead(things));
	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	collect();
	ck_assert_ptr_null(heapd_type_next_dead(things));
	ck_assert_int_eq(errno, 0);
	table_clear(MANY);
	ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
	ck_assert_uint_eq(collect_and_take(seen, MANY), 0);
	ck_assert_uint_ge(heap->t.directory->stats.gc_dead_queued, MANY - 2);
}
END_TEST

/* Also of objects that were made before the call, and of slots that were supplied before. */
START_TEST(watched_later)
{
	bool seen[MANY] = { false };

	table_fill(MANY / 2);
	collect();
	ck_call(heapd_type_watch_dead(things));
	for (unsigned i = MANY / 2; i < MANY; i++)
		heapd_store(&(*table)->things[i], thing_new(i));
	table_clear(MANY);
	ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
}
END_TEST

/* They wait, whole, through any number of collections; nobody finds them by a weak reference. */
START_TEST(the_queue_holds)
{
	bool seen[MANY] = { false };
	unsigned alive = 0;

	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	table_clear(MANY);
	for (unsigned i = 0; i < 4; i++) {
		collect();
		churn();
	}
	for (unsigned i = 0; i < MANY; i++)
		alive += heapd_weak_get((*table)->cells[i], struct thing) != NULL;
	ck_assert_uint_le(alive, 2);
	ck_assert_uint_ge(take_all(seen, MANY), MANY - 2);
	ck_assert_uint_le(heap->t.directory->stats.gc_dead_queued, MANY);
}
END_TEST

static uint64_t allocated(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_assert_msg(heapd_verify(heap, &v) == 0, "%s", v.first);
	return v.allocated;
}

/* What was taken and dropped is collected; its slot's next object is queued as the first was. */
START_TEST(dies_again)
{
	uint64_t before;

	ck_call(heapd_type_watch_dead(things));
	collect();
	before = allocated();
	for (unsigned round = 0; round < 3; round++) {
		bool seen[MANY] = { false };

		table_fill(MANY);
		heapd_zero((*table)->cells, MANY);
		table_clear(MANY);
		ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
		collect();
		collect();
		ck_assert_uint_le(allocated(), before + MANY * sizeof(struct thing) / 4);
	}
}
END_TEST

/* What was taken lives on as anything does. */
START_TEST(lives_on)
{
	bool seen[2] = { false };

	ck_call(heapd_type_watch_dead(things));
	table_fill(1);
	table_clear(1);
	collect();
	collect();
	heapd_store(&(*table)->things[0], heapd_type_next_dead(things));
	for (unsigned i = 0; i < 3; i++) {
		collect();
		churn();
	}
	ck_assert_ptr_nonnull((*table)->things[0]);
	ck_assert(thing_is_whole((*table)->things[0]));
	ck_assert_uint_eq(take_all(seen, 2), 0);
}
END_TEST

/* A ring of dead ones: all are queued, and each leads to the next. */
static __attribute__((noinline)) void ring_make(unsigned n)
{
	struct thing *first = thing_new(0), *last = first;

	for (unsigned i = 1; i < n; i++) {
		struct thing *t = thing_new(i);
		heapd_init(&last->next, t);
		last = t;
	}
	heapd_init(&last->next, first);
}

START_TEST(dead_ones_lead_to_each_other)
{
	struct thing *t;
	unsigned n = 0;

	ck_call(heapd_type_watch_dead(things));
	ring_make(100);
	collect();
	collect();
	churn();
	while ((t = heapd_type_next_dead(things))) {
		ck_assert(thing_is_whole(t) && thing_is_whole(t->next));
		ck_assert_uint_eq(t->next->value, (t->value + 1) % 100);
		n++;
	}
	ck_assert_uint_eq(n, 100);
}
END_TEST

START_TEST(freed_ones_are_not_queued)
{
	bool seen[MANY] = { false };

	ck_call(heapd_type_watch_dead(things));
	table_fill(MANY);
	for (unsigned i = 0; i < MANY; i++) {
		struct thing *t = (*table)->things[i];
		heapd_store(&(*table)->things[i], NULL);
		if (i % 2)
			ck_call(heapd_free(t));
	}
	collect_and_take(seen, MANY);
	for (unsigned i = 1; i < MANY; i += 2)
		ck_assert(!seen[i]);
}
END_TEST

START_TEST(what_is_refused)
{
	ck_refused(heapd_type_watch_dead(NULL), EINVAL, "no type");
	ck_refused(heapd_type_watch_dead(heapd_type_any(heap)), EINVAL, "built-in");
	ck_null(heapd_type_next_dead(heapd_type_leaf(heap)), EINVAL);
	ck_null(heapd_type_next_dead(NULL), EINVAL);
	ck_assert_ptr_null(heapd_type_next_dead(things));
	ck_assert_int_eq(errno, 0);
}
END_TEST

/* Objects of any form, also large ones, of their type. */
START_TEST(arrays_and_large_ones)
{
	struct thing *t;
	unsigned n = 0;

	ck_call(heapd_type_watch_dead(things));
	for (unsigned i = 1; i <= 2000; i *= 2) {
		t = heapd_new_array(things, struct thing, i);
		ck_assert_ptr_nonnull(t);
		t[i - 1].value = i;
	}
	t = NULL;
	collect();
	collect();
	churn();
	while ((t = heapd_type_next_dead(things))) {
		uint64_t last = heapd_size(t) / sizeof(*t);
		bool found = false;

		while (last && !found)
			found = t[--last].value;
		ck_assert(found);
		n++;
	}
	ck_assert_uint_ge(n, 9);
}
END_TEST

/* Processes ------------------------------------------------------------------------------------------------------ */

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
	table_fill(MANY);
	heapd_zero((*table)->cells, MANY);
	table_clear(MANY);
	ck_assert_uint_ge(collect_and_take(seen, MANY), MANY - 2);
	collect();
	collect();
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
	Suite *suite = suite_create("dead");
	TCase *plain = tcase_create("dead objects"), *hard = tcase_create("stress"),
	      *killed = tcase_create("a sweep that did not end");

	tcase_add_checked_fixture(plain, setup, teardown);
	tcase_set_timeout(plain, 60);
	tcase_add_test(plain, what_died_is_given_once);
	tcase_add_test(plain, watched_later);
	tcase_add_test(plain, the_queue_holds);
	tcase_add_test(plain, dies_again);
	tcase_add_test(plain, lives_on);
	tcase_add_test(plain, dead_ones_lead_to_each_other);
	tcase_add_test(plain, freed_ones_are_not_queued);
	tcase_add_test(plain, what_is_refused);
	tcase_add_test(plain, arrays_and_large_ones);
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
