/* SPDX-License-Identifier: MIT */
/*
 * Who holds up a collection, with a real daemon and real processes: one that is stopped, one that holds more than it can publish,
 * one that only reads, and one that says so of itself.
 */
#include <alloca.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "asleep.h"
#include "collectednodes.h"

#define CROWD_WORDS ((9ul << 20) / 8) /* on one thread's stack, which can publish 8 MiB */
#define STACK_BYTES (32ul << 20)
#define VOIDS       5u                  /* cycles in a row that come to nothing */
#define REST_NS     UINT64_C(100000000) /* between two of them at least */

struct crowd {
	heapd_heap *heap;
	void *object;
	int *words; /* it holds them; it is to drop them; it has */
};

static void set(int *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
}

static bool is_set(const int *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void hold(const struct crowd *crowd)
{
	void **words = alloca(CROWD_WORDS * sizeof(*words));

	for (unsigned long i = 0; i < CROWD_WORDS; i++)
		HEAPD_WRITE_ONCE(words[i],
				 (char *)crowd->object + i % 2 * 8); /* one equal to the last says nothing */
	set(&crowd->words[0]);
	while (!is_set(&crowd->words[1]))
		asleep(crowd->heap, 1);
	memset(words, 0, CROWD_WORDS * sizeof(*words));
	__asm__ volatile("" : : "r"(words) : "memory");
}

static void *crowd_thread(void *arg)
{
	const struct crowd *crowd = (struct crowd *)arg;

	hold(crowd);
	set(&crowd->words[2]);
	while (is_set(&crowd->words[2]))
		asleep(crowd->heap, 1);
	return NULL;
}

static int crowd_run(void *arg)
{
	struct crowd crowd = { .words = (int *)arg };
	pthread_attr_t attr;
	pthread_t thread;

	if (heapd_attach(&crowd.heap, FIXTURE_HEAP, NULL) < 0)
		return 1;
	crowd.object = heapd_alloc(crowd.heap, 64);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (!crowd.object || heapd_thread_create(crowd.heap, &thread, &attr, crowd_thread, &crowd) != 0)
		return 2;
	while (!is_set(&crowd.words[2]))
		asleep(crowd.heap, 1);
	while (is_set(&crowd.words[2]))
		asleep(crowd.heap, 1);
	pthread_join(thread, NULL);
	return heapd_detach(crowd.heap) < 0 ? 3 : 0;
}

static unsigned times_logged(const char *wanted)
{
	char *text = fixture_log(&fixture);
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, wanted)); at++)
		n++;
	free(text);
	return n;
}

static uint64_t waits_for(void)
{
	return HEAPD_READ_ONCE(heap->t.directory->cycle.waits_for);
}

/* That cycles wait for it has been said so often. */
static void await_told(pid_t pid, uint64_t stalls)
{
	const uint64_t *told = &heap->t.directory->stats.gc_stalls;

	for (unsigned i = 0; waits_for() != (uint64_t)pid || HEAPD_READ_ONCE(*told) != stalls; i++) {
		ck_assert_msg(i < 20000, "cycles wait for %" PRIu64, waits_for());
		usleep(1000);
	}
}

/* Until it holds less no cycle comes to its end, which is said once, and counted; others allocate meanwhile, and are asked seldom. */
START_TEST(who_cannot_publish_all_is_named)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	int *words = shared_int();
	pid_t pid = fixture_client_fork(crowd_run, words);
	uint64_t finished, voids, began, stalls = HEAPD_READ_ONCE(stats->gc_stalls);

	await(&words[0], pid);
	finished = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished);
	ck_call(heapd_collect_start(heap));
	ck_assert(fixture_logged(&fixture, "has held more than it can publish"));
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats->gc_stalls), stalls + 1);
	voids = HEAPD_READ_ONCE(stats->gc_voids);
	began = fixture_now_ns();
	while (HEAPD_READ_ONCE(stats->gc_voids) < voids + VOIDS) {
		ck_holds(heapd_alloc(heap, 64));
		usleep(100);
	}
	ck_assert_uint_ge(fixture_now_ns() - began, (VOIDS - 1) * REST_NS);
	ck_assert_uint_eq(times_logged("has held more than it can publish"), 1);
	ck_assert_uint_eq(waits_for(), (uint64_t)pid);
	ck_assert_uint_eq(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished), finished);
	set(&words[1]);
	await(&words[2], pid);
	ck_call(heapd_collect(heap));
	ck_assert_uint_gt(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished), finished);
	ck_assert_uint_eq(waits_for(), 0);
	__atomic_store_n(&words[2], 0, __ATOMIC_RELEASE);
	fixture_wait(pid, 0);
	munmap(words, 4096);
}
END_TEST

/* Where nothing is collected nobody is waited for; when it is again, its time begins anew. */
START_TEST(who_cannot_publish_all_is_not_waited_for_without_collection)
{
	int *words = shared_int();
	pid_t pid = fixture_client_fork(crowd_run, words);
	uint64_t stalls = HEAPD_READ_ONCE(heap->t.directory->stats.gc_stalls);

	await(&words[0], pid);
	ck_call(heapd_collect_start(heap));
	await_told(pid, stalls + 1);
	ck_call(heapd_set(heap, "gc.percent", "off"));
	await_told(0, stalls + 1);
	ck_call(heapd_set(heap, "gc.percent", "100"));
	await_told(pid, stalls + 2);
	set(&words[1]);
	await(&words[2], pid);
	ck_call(heapd_collect(heap));
	ck_assert_uint_eq(waits_for(), 0);
	__atomic_store_n(&words[2], 0, __ATOMIC_RELEASE);
	fixture_wait(pid, 0);
	munmap(words, 4096);
}
END_TEST

struct attachment {
	uint32_t flags;
	bool pretends; /* to read only */
	int *ready;
};

static int attach_and_sleep(void *arg)
{
	const struct attachment *attachment = (struct attachment *)arg;
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	heapd_heap *own;

	options.flags = attachment->flags;
	/* It has its parent's attachment, which may write. */
	if (heapd_detach(heap) < 0 || heapd_attach(&own, FIXTURE_HEAP, &options) < 0)
		return 1;
	if (attachment->pretends)
		HEAPD_WRITE_ONCE(own->session->read_only, 1);
	set(attachment->ready);
	for (;;)
		asleep(own, -1);
}

static pid_t stopped(uint32_t flags, bool pretends)
{
	struct attachment attachment = { .flags = flags, .pretends = pretends, .ready = shared_int() };
	pid_t pid = fixture_client_fork(attach_and_sleep, &attachment);

	await(attachment.ready, pid);
	kill(pid, SIGSTOP);
	munmap(attachment.ready, 4096);
	return pid;
}

/* At the limit, where only a collection would help: an allocation ends in the time allowed, and tells whose fault that is. */
START_TEST(who_allocates_meanwhile_is_told_who_it_is)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	pid_t pid = stopped(0, false);
	char wanted[64];
	void *p;

	ck_call(heapd_detach(heap));
	options.supply_timeout_ms = 1500;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_assert_uint_eq(waits_for(), 0);
	ck_call(heapd_collect_start(heap));
	while ((p = heapd_alloc_leaf(heap, 4096)))
		continue;
	ck_assert_int_eq(errno, EAGAIN);
	snprintf(wanted, sizeof(wanted), "process %d holds up collection", pid);
	ck_assert_msg(strstr(heapd_error(), wanted), "%s", heapd_error());
	ck_assert_uint_eq(waits_for(), (uint64_t)pid);
	kill(pid, SIGCONT);
	ck_call(heapd_collect(heap));
	ck_assert_uint_eq(waits_for(), 0);
	ck_holds(heapd_alloc_leaf(heap, 4096));
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}
END_TEST

static void setup_evicting(void)
{
	static const char *const more[] = { "heap.test.StallTimeout=1", "heap.test.StallAction=evict", NULL };

	collected_start(more);
}

START_TEST(who_cannot_publish_all_is_evicted)
{
	int *words = shared_int();
	pid_t pid = fixture_client_fork(crowd_run, words);

	await(&words[0], pid);
	ck_call(heapd_collect(heap));
	fixture_wait(pid, -SIGKILL);
	ck_assert(fixture_logged(&fixture, "evicted"));
	munmap(words, 4096);
}
END_TEST

/* The second says of itself that it only reads, in memory that it can write to: nobody goes by that. */
START_TEST(a_stopped_client_is_evicted)
{
	pid_t pid = stopped(0, _i == 1);

	ck_call(heapd_collect(heap));
	fixture_wait(pid, -SIGKILL);
	ck_assert(fixture_logged(&fixture, "evicted"));
}
END_TEST

/* It can harm nobody: it lives, and is not waited for, by this cycle and the next. */
START_TEST(a_stopped_reader_is_not_waited_for)
{
	pid_t pid = stopped(HEAPD_ATTACH_READ_ONLY, false);

	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	ck_assert(fixture_logged(&fixture, "it is not waited for any more"));
	ck_assert_uint_eq(times_logged("waits for process"), 1);
	ck_assert_int_eq(kill(pid, 0), 0);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stall");
	TCase *waiting = tcase_create("waiting"), *evicting = tcase_create("evicting");

	tcase_set_timeout(waiting, 60);
	tcase_add_checked_fixture(waiting, setup, attached_stop);
	tcase_add_test(waiting, who_cannot_publish_all_is_named);
	tcase_add_test(waiting, who_cannot_publish_all_is_not_waited_for_without_collection);
	tcase_add_test(waiting, who_allocates_meanwhile_is_told_who_it_is);
	suite_add_tcase(suite, waiting);
	tcase_set_timeout(evicting, 60);
	tcase_add_checked_fixture(evicting, setup_evicting, attached_stop);
	tcase_add_test(evicting, who_cannot_publish_all_is_evicted);
	tcase_add_loop_test(evicting, a_stopped_client_is_evicted, 0, 2);
	tcase_add_test(evicting, a_stopped_reader_is_not_waited_for);
	return attached_run(evicting, suite);
}
