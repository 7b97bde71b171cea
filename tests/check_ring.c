/* SPDX-License-Identifier: MIT */
/*
 * The supply rings, with a client that is nothing but the protocol: they wrap and are never overfilled, what is taken back was
 * not taken, who waits at one is woken, and what was put in for somebody is still there when he comes.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "testheap.h"

#define SIZE    (64 * MIB)
#define WAITERS 8

static struct testheap t;

static void setup(void)
{
	testheap_init(&t, SIZE, SIZE);
	testheap_start(&t);
}

static void teardown(void)
{
	testheap_is_clean(&t);
	testheap_deinit(&t);
}

struct taker {
	pthread_t thread;
	uint64_t random;
	uint64_t entries;
	uint32_t class;
};

/* Takes, keeps some, frees in another order; ends with nothing. */
static void *take_and_free(void *arg)
{
	struct taker *me = arg;
	struct heapd_batch kept[32] = { 0 };

	for (uint64_t i = 0; i < me->entries; i++) {
		struct heapd_batch *b = &kept[testheap_random(&me->random) % 32];

		if (b->entry)
			testheap_free(&t, b, UINT64_MAX);
		ck_assert_int_eq(testheap_get(&t, me->class, b), 0);
	}
	for (int i = 0; i < 32; i++)
		if (kept[i].entry)
			testheap_free(&t, &kept[i], UINT64_MAX);
	return NULL;
}

struct watcher {
	pthread_t thread;
	bool stop;
	uint64_t most;
};

/* Tail first: what is seen is never more than what there was. */
static void *watch_rings(void *arg)
{
	struct watcher *w = arg;

	while (!HEAPD_READ_ONCE(w->stop))
		for (uint32_t class = 0; class < 8; ++class) {
			uint64_t tail = HEAPD_LOAD_ACQUIRE(&t.heap->t.rings[class].tail);
			uint64_t head = HEAPD_LOAD_ACQUIRE(&t.heap->t.heads[class].head);

			if (tail > head && tail - head > w->most)
				w->most = tail - head;
		}
	return NULL;
}

START_TEST(rings_wrap_and_never_overfill)
{
	struct taker takers[4];
	struct watcher w = { 0 };
	uint64_t seed = testheap_seed();

	pthread_create(&w.thread, NULL, watch_rings, &w);
	for (uint32_t i = 0; i < 4; i++) {
		takers[i] = (struct taker){ .random = seed + i, .entries = 4000, .class = i / 2 * 3 };
		ck_assert_int_eq(pthread_create(&takers[i].thread, NULL, take_and_free, &takers[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(takers[i].thread, NULL);
	HEAPD_WRITE_ONCE(w.stop, true);
	pthread_join(w.thread, NULL);
	ck_assert_uint_gt(t.heap->t.rings[0].tail, 8 * HEAPD_RING_SLOTS);
	ck_assert_uint_le(w.most, HEAPD_RING_SLOTS);
	ck_assert_uint_eq(t.mine_bytes, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 0);
	testheap_balances(&t);
}
END_TEST

/* Entries are kept to their number: a ring of the smallest slabs with a large target is full at 256. */
START_TEST(a_full_ring_is_not_filled_further)
{
	struct supply *s = t.heap->supply;
	uint64_t tail;

	pthread_mutex_lock(&t.heap->lock);
	s->classes[0].target = 64 * MIB;
	ck_assert_int_eq(ring_fill(s, 0), 0);
	tail = t.heap->t.rings[0].tail;
	ck_assert_uint_eq(tail, HEAPD_RING_SLOTS);
	ck_assert_int_eq(ring_fill(s, 0), 0);
	ck_assert_uint_eq(t.heap->t.rings[0].tail, tail);
	ck_assert_uint_eq(s->ring_bytes, HEAPD_READ_ONCE(testheap_stats(&t)->in_rings));
	s->classes[0].target = MIB;
	ring_withdraw(s, 0, MIB);
	ck_assert_uint_le(HEAPD_READ_ONCE(testheap_stats(&t)->in_rings), MIB);
	pthread_mutex_unlock(&t.heap->lock);
}
END_TEST

/* A head that moved since it was last looked at must not keep a ring from being withdrawn. */
START_TEST(withdrawing_knows_of_what_was_just_taken)
{
	struct supply *s = t.heap->supply;
	struct heapd_batch b;

	pthread_mutex_lock(&t.heap->lock);
	s->classes[5].target = MIB;
	ck_assert_int_eq(ring_fill(s, 5), 0);
	ck_assert(testheap_take(&t, 5, &b));
	ring_withdraw(s, 5, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->in_rings), 0);
	s->classes[5].target = 0;
	pthread_mutex_unlock(&t.heap->lock);
	testheap_balances(&t);
}
END_TEST

/* One that sleeps at a ring, and looks only when it is woken: a client does the same, but looks by itself after 50 ms. */
struct waiter {
	pthread_t thread;
	struct heapd_batch batch;
	uint32_t class;
	uint32_t event; /* to begin with */
	pid_t tid;
	bool content; /* asks for nothing more once it has something */
	bool slept_on;
	bool refused;
};

static void sleep_at(struct waiter *me, uint32_t event)
{
	uint64_t begin = clock_ns();

	futex_wait(&t.heap->t.rings[me->class].event, event, TESTHEAP_PATIENCE_NS);
	me->slept_on |= clock_ns() - begin >= TESTHEAP_PATIENCE_NS;
}

static void *wait_for_an_entry(void *arg)
{
	struct waiter *me = arg;
	struct heapd_ring *ring = &t.heap->t.rings[me->class];
	uint32_t event = me->event, refused = HEAPD_LOAD_ACQUIRE(&ring->refused);

	HEAPD_STORE_RELEASE(&me->tid, (pid_t)syscall(SYS_gettid));
	while (!me->slept_on && !me->refused) {
		bool got;

		sleep_at(me, event);
		event = HEAPD_LOAD_ACQUIRE(&ring->event);
		got = testheap_take(&t, me->class, &me->batch);
		me->refused = !got && HEAPD_LOAD_ACQUIRE(&ring->refused) != refused;
		if (!me->refused && !me->content)
			testheap_demand(&t, me->class); /* so does one who leaves a ring low */
		if (got)
			break;
	}
	return NULL;
}

static bool is_asleep(pid_t tid)
{
	char path[64], line[256] = { 0 };
	const char *state;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, line, sizeof(line) - 1);

	close(fd);
	state = strrchr(line, ')');
	return n > 0 && state && state[2] == 'S';
}

static void waiters_start(struct waiter *w, uint32_t class, bool content)
{
	for (int i = 0; i < WAITERS; i++) {
		w[i] = (struct waiter){ .class = class,
					.content = content,
					.event = HEAPD_LOAD_ACQUIRE(&t.heap->t.rings[class].event) };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, wait_for_an_entry, &w[i]), 0);
		while (!HEAPD_LOAD_ACQUIRE(&w[i].tid) || !is_asleep(w[i].tid))
			usleep(1000);
	}
}

/* Returns how many were refused. */
static int waiters_end(struct waiter *w)
{
	int refused = 0;

	for (int i = 0; i < WAITERS; i++) {
		ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
		ck_assert_msg(!w[i].slept_on, "waiter %d was not woken", i);
		refused += w[i].refused;
		if (w[i].batch.entry)
			testheap_free(&t, &w[i].batch, UINT64_MAX);
	}
	return refused;
}

/* As many are woken as there is something for; the others, by what these ask for. */
START_TEST(all_who_wait_are_woken)
{
	struct waiter w[WAITERS];

	waiters_start(w, heapd_sizeclass_of(1024), false);
	testheap_demand(&t, w[0].class);
	ck_assert_int_eq(waiters_end(w), 0);
	testheap_balances(&t);
}
END_TEST

/* There is something for all, and a processor for one of them at a time: those who take nothing more ask for nobody else. */
START_TEST(who_was_not_woken_at_once_is_later)
{
	struct supply *supply = t.heap->supply;
	uint32_t class = heapd_sizeclass_of(1024);
	struct waiter w[WAITERS];

	heap_lock(t.heap);
	supply->portion = 1;
	supply->classes[class].target = UINT64_C(16384) * WAITERS;
	heap_unlock(t.heap);
	waiters_start(w, class, true);
	testheap_demand(&t, class);
	ck_assert_int_eq(waiters_end(w), 0);
	testheap_balances(&t);
}
END_TEST

/* There is nothing: all hear of it. */
START_TEST(all_who_wait_are_refused)
{
	struct waiter w[WAITERS];
	uint32_t large = heapd_sizeclass_of(16384);
	struct heapd_batch b;

	while (testheap_get(&t, large, &b) == 0)
		;
	waiters_start(w, heapd_sizeclass_of(1024), false);
	testheap_demand(&t, w[0].class);
	ck_assert_int_eq(waiters_end(w), WAITERS);
}
END_TEST

/* Once a second rings shrink to what the last second says: of one that is filled now, it says nothing. */
START_TEST(a_ring_does_not_shrink_in_the_round_that_fills_it)
{
	uint32_t class = heapd_sizeclass_of(1024);
	struct heapd_ring *ring = &t.heap->t.rings[class];

	for (int i = 0; i < 2; i++) {
		uint32_t event = HEAPD_LOAD_ACQUIRE(&ring->event);
		struct heapd_batch b;

		usleep(SUPPLY_SECOND_NS / 1000 * 6 / 5);
		testheap_demand(&t, class);
		while (HEAPD_LOAD_ACQUIRE(&ring->event) == event)
			futex_wait(&ring->event, event, TESTHEAP_PATIENCE_NS);
		/* To the end of the round, and no further. */
		pthread_mutex_lock(&t.heap->lock);
		ck_assert(testheap_take(&t, class, &b));
		pthread_mutex_unlock(&t.heap->lock);
		testheap_free(&t, &b, UINT64_MAX);
		ck_assert(testheap_falls(&testheap_stats(&t)->in_rings, 0));
	}
	testheap_balances(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ring");
	TCase *tests = tcase_create("ring");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, rings_wrap_and_never_overfill);
	tcase_add_test(tests, a_full_ring_is_not_filled_further);
	tcase_add_test(tests, withdrawing_knows_of_what_was_just_taken);
	tcase_add_test(tests, all_who_wait_are_woken);
	tcase_add_test(tests, who_was_not_woken_at_once_is_later);
	tcase_add_test(tests, all_who_wait_are_refused);
	tcase_add_test(tests, a_ring_does_not_shrink_in_the_round_that_fills_it);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
