/* SPDX-License-Identifier: MIT */
/*
 * What is freed twice, and what was never allocated, is counted, by whomever it is found: heapctl, who only reads, shows it,
 * at once and as an event. What clients write there in place of counts harms nobody.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "collected.h"
#include "tool.h"

static void ignore(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

/* On one processor: what another has in hand is seen to be free by the daemon alone. */
static void cpu_pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

static void start(void)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.report = ignore;
	fixture_start(&fixture, NULL);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	cpu_pin();
}

/* What heapctl shows, once it is no less than wanted: the daemon looks a moment later. */
static void shown_is(const char *key, uint64_t wanted)
{
	uint64_t shown = 0;

	for (unsigned i = 0; i < 300 && shown < wanted; i++) {
		char *text = tool_run(0, "status");

		shown = tool_number(strchr(text, '{') + 1, key);
		free(text);
		usleep(10000);
	}
	ck_assert_msg(shown == wanted, "%s: %" PRIu64 ", not %" PRIu64, key, shown, wanted);
}

static void *object(size_t bytes)
{
	void *p = heapd_alloc_leaf(heap, bytes);

	ck_assert_ptr_nonnull(p);
	return p;
}

/* In a current slab; in the freed word, of a slab that another processor's is; and when all has been taken back. */
START_TEST(double_frees_are_shown)
{
	char *p = object(64), *large = object(100000);

	ck_call(heapd_free(p));
	ck_refused(heapd_free(p), EALREADY, "double free");
	shown_is("double_frees", 1);
	ck_refused(heapd_free(p), EALREADY, "double free");
	ck_call(heapd_sync(heap));
	ck_refused(heapd_free(p), EALREADY, "double free");
	shown_is("double_frees", 3);
	ck_call(heapd_free(large));
	int r = heapd_free(large);
	ck_assert(r == -EALREADY || r == -EINVAL);
	shown_is(r == -EALREADY ? "double_frees" : "bad_frees", r == -EALREADY ? 4 : 1);
}
END_TEST

START_TEST(bad_frees_are_shown)
{
	char *p = object(64);
	int outside;

	ck_refused(heapd_free(p + 8), EINVAL, "points into");
	shown_is("bad_frees", 1);
	ck_refused(heapd_free(&outside), EINVAL, "not in the heap");
	ck_refused(heapd_free((char *)(uintptr_t)heap->t.base + heap->t.size - 8), EINVAL, "no object");
	shown_is("bad_frees", 3);
	shown_is("double_frees", 0);
	ck_call(heapd_free(p));
}
END_TEST

/* One that the daemon finds: the bit is there, and the slot free. */
START_TEST(what_the_daemon_finds_is_shown_with_it)
{
	char *p = object(64);
	uint32_t slab = UINT32_MAX;
	uint64_t bit = 0;

	ck_call(heapd_free(p));
	ck_call(heapd_sync(heap));
	ck_refused(heapd_free(p), EALREADY, "double free");
	for (uint32_t i = 0; i < heap->geometry.slabs && !bit; i++)
		if (HEAPD_READ_ONCE(heap->t.lent[i])) {
			slab = i;
			bit = HEAPD_READ_ONCE(heap->t.lent[i]) & -HEAPD_READ_ONCE(heap->t.lent[i]);
		}
	ck_assert(bit);
	__atomic_fetch_or(&heap->t.freed[slab], bit, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 100 && !HEAPD_READ_ONCE(heap->t.directory->stats.double_frees); i++)
		ck_call(heapd_sync(heap));
	ck_assert_uint_eq(HEAPD_READ_ONCE(heap->t.directory->stats.double_frees), 1);
	shown_is("double_frees", 2);
}
END_TEST

/* From a process that may only read, by the library. */
static int reader(void *arg)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	struct heapd_info info = HEAPD_SIZED(info);
	heapd_heap *own;

	(void)arg;
	options.flags = HEAPD_ATTACH_READ_ONLY;
	ck_call(heapd_attach(&own, FIXTURE_HEAP, &options));
	ck_call(heapd_get_info(own, &info));
	ck_assert_uint_eq(info.double_frees, 1);
	ck_assert_uint_eq(info.bad_frees, 1);
	ck_call(heapd_detach(own));
	return 0;
}

START_TEST(who_only_reads_is_told)
{
	char *p = object(64);

	ck_call(heapd_free(p));
	ck_refused(heapd_free(p), EALREADY, "double free");
	ck_refused(heapd_free(p + 8), EINVAL, "points into");
	shown_is("bad_frees", 1);
	shown_is("double_frees", 1);
	ck_call(heapd_detach(heap));
	fixture_wait(fixture_client_fork(reader, NULL), 0);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

/* Reads what `heapctl events` says until it has that. */
static void events_say(FILE *f, const char *wanted)
{
	struct pollfd p = { .fd = fileno(f), .events = POLLIN };
	char line[256] = "";

	while (!strstr(line, wanted)) {
		ck_assert_msg(poll(&p, 1, 10000) == 1, "no '%s' among the events; the last: %s", wanted,
			      line);
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	}
}

/* Told of soon, though the daemon has nothing else to do. */
START_TEST(they_are_events)
{
	char command[1024], *p;
	uint64_t begin;
	FILE *f;

	snprintf(command, sizeof(command), "exec timeout 60 %s -H %s --json=short events", tool_path(),
		 FIXTURE_HEAP);
	f = popen(command, "re");
	ck_assert_ptr_nonnull(f);
	setvbuf(f, NULL, _IONBF, 0);
	/* It is there when it tells of somebody who comes. */
	for (unsigned i = 0; i < 100; i++) {
		struct pollfd fd = { .fd = fileno(f), .events = POLLIN };

		free(tool_run(0, "list"));
		free(tool_run(0, "status"));
		if (poll(&fd, 1, 50) == 1)
			break;
	}
	/* Long enough for the supplier to sleep its longest, of 10 s. */
	sleep(5);
	begin = fixture_now_ns();
	ck_refused(heapd_free(&begin), EINVAL, "not in the heap");
	events_say(f, "\"bad-free\",\"number\":1");
	printf("told of after %.0f ms\n", (double)(fixture_now_ns() - begin) / 1e6);
	ck_assert_uint_lt(fixture_now_ns() - begin, 3000000000u);
	p = object(64);
	ck_call(heapd_free(p));
	ck_refused(heapd_free(p), EALREADY, "double free");
	events_say(f, "\"double-free\",\"number\":1");
	/* It ends with the daemon, or by its time limit. */
	ck_call(heapd_detach(heap));
	fixture_kill(&fixture, SIGKILL);
	pclose(f);
	fixture_restart(&fixture);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

/* Sums of clients' words never go back, and those that nobody can have counted to are left out. */
START_TEST(nonsense_is_left_out)
{
	char *p = object(64);

	ck_call(heapd_free(p));
	ck_refused(heapd_free(p), EALREADY, "double free");
	shown_is("double_frees", 1);
	HEAPD_WRITE_ONCE(heap->t.counters[0].bad_frees, UINT64_MAX);
	HEAPD_WRITE_ONCE(heap->t.counters[0].double_frees, UINT64_MAX - 7);
	ck_refused(heapd_free(p + 8), EINVAL, "points into");
	shown_is("double_frees", 1);
	for (uint64_t i = 0; i < heap->t.cpus; i++) {
		HEAPD_WRITE_ONCE(heap->t.counters[i].bad_frees, 0);
		HEAPD_WRITE_ONCE(heap->t.counters[i].double_frees, 0);
	}
	ck_refused(heapd_free(p + 8), EINVAL, "points into");
	shown_is("bad_frees", 1);
	shown_is("double_frees", 1);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("misfree");

	tcase_set_timeout(tcase, 100);
	tcase_add_checked_fixture(tcase, start, attached_stop);
	tcase_add_test(tcase, double_frees_are_shown);
	tcase_add_test(tcase, bad_frees_are_shown);
	tcase_add_test(tcase, what_the_daemon_finds_is_shown_with_it);
	tcase_add_test(tcase, who_only_reads_is_told);
	tcase_add_test(tcase, they_are_events);
	tcase_add_test(tcase, nonsense_is_left_out);
	return attached_run(tcase, suite_create("misfree"));
}
