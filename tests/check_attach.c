/* SPDX-License-Identifier: MIT */
/* Attaching and detaching: handles, refusals, what is left behind, and the agent. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attached.h"
#include "client/client.h"
#include "daemon/heap.h"

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Mappings of memfds. */
static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:") != NULL;
	fclose(f);
	return n;
}

START_TEST(one_handle_counted)
{
	heapd_heap *again, *other;
	struct heapd_info info = HEAPD_SIZED(info);

	ck_call(heapd_get_info(heap, &info));
	ck_assert_str_eq(info.name, FIXTURE_HEAP);
	ck_assert_uint_eq(info.base, heap_first_base());
	ck_assert_uint_eq(info.path, HEAPD_PATH_RSEQ);
	ck_assert_uint_eq(info.sessions, 1);
	ck_call(heapd_attach(&again, FIXTURE_HEAP, NULL));
	ck_assert_ptr_eq(again, heap);
	ck_refused(heapd_attach(&other, "another", NULL), EBUSY, FIXTURE_HEAP);
	ck_call(heapd_detach(again));
	ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
}
END_TEST

START_TEST(detach_leaves_nothing)
{
	unsigned fds, maps, threads;

	ck_call(heapd_detach(heap));
	fds = entries("/proc/self/fd");
	maps = mappings();
	threads = entries("/proc/self/task");
	for (int i = 0; i < 20; i++) {
		ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
		ck_assert_uint_gt(mappings(), maps);
		ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
		ck_call(heapd_detach(heap));
	}
	ck_assert_uint_eq(entries("/proc/self/fd"), fds);
	ck_assert_uint_eq(mappings(), maps);
	ck_assert_uint_eq(entries("/proc/self/task"), threads);
	ck_refused(heapd_detach(heap), ENODEV, "not attached");
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

START_TEST(refusal_leaves_nothing)
{
	struct heapd_options options = heapd_options_default();
	unsigned fds, maps;

	ck_call(heapd_detach(heap));
	fds = entries("/proc/self/fd");
	maps = mappings();
	ck_refused(heapd_attach(&heap, "nosuch", NULL), ENOENT, "nosuch");
	ck_refused(heapd_attach(&heap, "", NULL), EINVAL, "name");
	ck_refused(heapd_attach(&heap, NULL, NULL), EINVAL, "name");
	ck_refused(heapd_attach(NULL, FIXTURE_HEAP, NULL), EINVAL, "place");
	options.flags = 1u << 30;
	ck_refused(heapd_attach(&heap, FIXTURE_HEAP, &options), EINVAL, "flags");
	options = (struct heapd_options){ 0 };
	ck_refused(heapd_attach(&heap, FIXTURE_HEAP, &options), EINVAL, "size");
	options = heapd_options_default();
	options.signal = SIGUSR1;
	ck_refused(heapd_attach(&heap, FIXTURE_HEAP, &options), EINVAL, "signal");
	ck_assert_uint_eq(entries("/proc/self/fd"), fds);
	ck_assert_uint_eq(mappings(), maps);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

/* Whatever of the heap's addresses is taken: named, not covered, and nothing stays mapped. */
START_TEST(occupied_addresses)
{
	uint64_t places[3] = { heap->t.base + (5ul << 20), (uint64_t)(uintptr_t)heap->t.directory,
			       (uint64_t)(uintptr_t)heap->t.control };
	uint64_t place = places[_i];
	unsigned maps;
	char text[40];

	ck_call(heapd_detach(heap));
	maps = mappings();
	char *p = (char *)mmap((void *)(uintptr_t)place, 4096, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ck_assert_ptr_eq(p, (void *)(uintptr_t)place);
	*p = 77;
	snprintf(text, sizeof(text), "%llx", (unsigned long long)place);
	ck_refused(heapd_attach(&heap, FIXTURE_HEAP, NULL), EADDRINUSE, text);
	ck_assert_ptr_nonnull(strstr(heapd_error(), "Base="));
	ck_assert_int_eq(*p, 77);
	ck_assert_uint_eq(mappings(), maps);
	munmap(p, 4096);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

START_TEST(absent_daemon)
{
	struct heapd_options options = heapd_options_default();
	uint64_t begin;

	ck_call(heapd_detach(heap));
	options.socket = "/nonexistent/socket";
	options.flags = HEAPD_ATTACH_NO_WAIT;
	begin = fixture_now_ns();
	ck_refused(heapd_attach(&heap, FIXTURE_HEAP, &options), EAGAIN, "/nonexistent/socket");
	ck_assert_uint_lt(fixture_now_ns() - begin, 100000000);
	options.flags = 0;
	options.attach_timeout_ms = 80;
	begin = fixture_now_ns();
	ck_refused(heapd_attach(&heap, FIXTURE_HEAP, &options), EAGAIN, "start heapd");
	ck_assert_uint_ge(fixture_now_ns() - begin, 80000000);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

static void *attach_waiting(void *result)
{
	*(int *)result = heapd_attach(&heap, FIXTURE_HEAP, NULL);
	return NULL;
}

START_TEST(waits_for_the_daemon)
{
	pthread_t thread;
	int result = 1;

	ck_call(heapd_detach(heap));
	fixture_kill(&fixture, SIGTERM);
	ck_assert_int_eq(pthread_create(&thread, NULL, attach_waiting, &result), 0);
	usleep(50000);
	fixture_restart(&fixture);
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, 0);
}
END_TEST

/* The signals that the agent blocks; 0 while there is no thread of that name. */
static unsigned long long agent_blocks(void)
{
	char path[64], line[256];
	unsigned long long blocked = 0;
	DIR *dir = opendir("/proc/self/task");

	for (struct dirent *e; (e = readdir(dir));) {
		snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", e->d_name);
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		bool agent = false;
		while (f && fgets(line, sizeof(line), f)) {
			agent |= !strcmp(line, "Name:\theapd-agent\n");
			if (agent)
				sscanf(line, "SigBlk: %llx", &blocked);
		}
		if (f)
			fclose(f);
	}
	closedir(dir);
	return blocked;
}

START_TEST(agent_is_apart)
{
	/* All but SIGKILL, SIGSTOP and the two that the C library keeps for itself. */
	unsigned long long all = ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1) | 3ull << 31);
	uint64_t end = fixture_now_ns() + 2000000000u;

	while (!agent_blocks() && fixture_now_ns() < end)
		usleep(1000);
	ck_assert_uint_eq(agent_blocks() & all, all);
}
END_TEST

static int write_to_heap(void *word)
{
	signal(SIGSEGV, SIG_DFL); /* a sanitizer has one of its own */
	*(volatile int *)word = 1;
	return 0;
}

/* A core dump does not hold the heap, nor does a child that fork()'s handlers did not see. */
START_TEST(left_out_of_dumps_and_raw_children)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool ours = false;
	unsigned n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "/memfd:heapd:"))
			ours = true;
		if (strncmp(line, "VmFlags:", 8) != 0)
			continue;
		if (ours) {
			ck_assert_msg(strstr(line, " dd") && strstr(line, " dc"), "mapping %u: %s", n, line);
			n++;
		}
		ours = false;
	}
	fclose(f);
	ck_assert_uint_ge(n, 4); /* heap, directory, control, session */
}
END_TEST

START_TEST(read_only)
{
	struct heapd_options options = heapd_options_default();
	int *object = (int *)heapd_alloc_leaf(heap, 64);
	heapd_heap *writer = heap;

	*object = 42;
	ck_call(heapd_root_set(heap, "number", object));
	ck_call(heapd_detach(heap));
	options.flags = HEAPD_ATTACH_READ_ONLY;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_assert_ptr_eq(heapd_root_get(heap, "number", NULL), object);
	ck_assert_int_eq(*object, 42);
	ck_null(heapd_alloc(heap, 64), EROFS);
	ck_null(heapd_alloc(heap, 100000), EROFS);
	ck_null(heapd_arena_create(heap, 0), EROFS);
	ck_refused(heapd_root_set(heap, "number", NULL), EROFS, "read-only");
	ck_refused(heapd_free(object), EROFS, "read-only");
	for (unsigned i = 1; i < 4096; i++) /* slots that are free, too */
		ck_refused(heapd_free((char *)object + i * 64ul), EROFS, "read-only");
	ck_refused(heapd_attach(&writer, FIXTURE_HEAP, NULL), EBUSY, "reading");
	struct heapd_info info = HEAPD_SIZED(info);
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_eq(info.read_only, 1);
	void **pin = heapd_pin(heap, (void *)object);
	ck_assert_ptr_nonnull(pin);
	ck_call(heapd_unpin(pin));
	fixture_wait(fixture_client_fork(write_to_heap, object), -SIGSEGV);
}
END_TEST

START_TEST(compare_and_swap_on_request)
{
	struct heapd_options options = heapd_options_default();
	struct heapd_info info = HEAPD_SIZED(info);

	ck_call(heapd_detach(heap));
	options.flags = HEAPD_ATTACH_NO_RSEQ;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_eq(info.path, HEAPD_PATH_CAS);
	ck_call(heapd_detach(heap));
	setenv("HEAPD_NO_RSEQ", "1", 1);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_eq(info.path, HEAPD_PATH_CAS);
}
END_TEST

/* What this program becomes when it is begun again with ROLE set: its exit status is the path. */
#define ROLE "CHECK_ATTACH_ROLE"

static int path_of_new_process(void)
{
	struct heapd_info info = HEAPD_SIZED(info);
	void *objects[1000];

	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0 || heapd_get_info(heap, &info) < 0)
		return 100;
	for (size_t i = 0; i < 1000; i++)
		objects[i] = heapd_alloc(heap, 64);
	for (size_t i = 0; i < 1000; i++)
		if (!objects[i] || heapd_free(objects[i]) != 0)
			return 101;
	return (int)info.path;
}

static int begin_again(void *tunables)
{
	setenv("GLIBC_TUNABLES", (const char *)tunables, 1);
	setenv(ROLE, "path", 1);
	execl("/proc/self/exe", "check_attach", (char *)NULL);
	return 102;
}

/* The C library registers restartable sequences, or it does not, before main(). */
START_TEST(sequences_switched_off)
{
	fixture_wait(fixture_client_fork(begin_again, (void *)"glibc.pthread.rseq=1"), HEAPD_PATH_RSEQ);
	fixture_wait(fixture_client_fork(begin_again, (void *)"glibc.pthread.rseq=0"), HEAPD_PATH_CAS);
}
END_TEST

static int reports;

static void report_count(void *arg, int kind, const char *text)
{
	ck_assert_ptr_eq(arg, &reports);
	ck_assert_int_eq(kind, HEAPD_REPORT_DAEMON_AWAY);
	ck_assert_ptr_nonnull(strstr(text, FIXTURE_HEAP));
	reports++;
}

static void wait_until_away(void)
{
	struct heapd_info info = HEAPD_SIZED(info);
	uint64_t end = fixture_now_ns() + 2000000000u;

	do {
		usleep(1000);
		ck_call(heapd_get_info(heap, &info));
		ck_assert_uint_lt(fixture_now_ns(), end);
	} while (!info.daemon_away);
}

static void stay_on_this_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* The agent sees it; calls that need the daemon wait and fail, the others go on; the program hears of it once. */
START_TEST(daemon_killed)
{
	struct heapd_options options = heapd_options_default();
	int *object;

	/* What a CPU was supplied with is that CPU's. */
	stay_on_this_cpu();
	ck_call(heapd_detach(heap));
	options.report = report_count;
	options.report_arg = &reports;
	options.request_timeout_ms = options.supply_timeout_ms = 200;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	object = (int *)heapd_alloc(heap, 64);
	ck_call(heapd_root_set(heap, "object", object));
	fixture_kill(&fixture, SIGKILL);
	wait_until_away();
	ck_assert_int_eq(reports, 0);
	ck_refused(heapd_sync(heap), EAGAIN, "away");
	ck_refused(heapd_root_set(heap, "object", NULL), EAGAIN, "away");
	ck_null(heapd_alloc(heap, 100000), EAGAIN);
	ck_assert_int_eq(reports, 1);
	ck_assert_ptr_eq(heapd_root_get(heap, "object", NULL), object);
	ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
	ck_call(heapd_free(object));
	ck_call(heapd_detach(heap));
	fixture_restart(&fixture);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

static void on_alarm(int number)
{
	(void)number;
}

/* Requests in a storm of signals, without SA_RESTART: none is lost, and replies stay in step. */
START_TEST(signals_during_requests)
{
	struct sigaction action = { .sa_handler = on_alarm };
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct itimerspec often = { { 0, 100000 }, { 0, 100000 } };

	sigaction(SIGALRM, &action, NULL);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	timer_settime(timer, 0, &often, NULL);
	for (int i = 0; i < 1000; i++) {
		void *object = heapd_alloc(heap, 16);
		ck_assert_ptr_nonnull(object);
		ck_call(heapd_root_set(heap, "turn", object));
		ck_assert_ptr_eq(heapd_root_get(heap, "turn", NULL), object);
	}
	timer_delete(timer);
}
END_TEST

static void *request_for_ever(void *arg)
{
	for (;;) {
		heapd_sync(heap);
		pthread_testcancel();
	}
	return arg;
}

/* A thread cancelled at any point of a request leaves no lock behind. */
START_TEST(cancelled_requests)
{
	for (int i = 0; i < 30; i++) {
		pthread_t thread;
		ck_assert_int_eq(pthread_create(&thread, NULL, request_for_ever, NULL), 0);
		usleep((useconds_t)(i * 100));
		pthread_cancel(thread);
		pthread_join(thread, NULL);
		ck_call(heapd_sync(heap));
	}
	ck_call(heapd_sync(heap));
}
END_TEST

START_TEST(info_and_settings)
{
	struct {
		struct heapd_info info;
		uint64_t behind;
	} small = { .info.size = offsetof(struct heapd_info, base), .info.base = 77, .behind = 78 };
	struct heapd_verify_result verified = HEAPD_SIZED(verified);
	char value[128];

	ck_call(heapd_get_info(heap, &small.info));
	ck_assert_str_eq(small.info.name, FIXTURE_HEAP);
	ck_assert_uint_eq(small.info.base, 77);
	ck_assert_uint_eq(small.behind, 78);
	small.info.size = 0;
	ck_refused(heapd_get_info(heap, &small.info), EINVAL, "size");
	ck_refused(heapd_get_info(NULL, &small.info), ENODEV, "heapd_attach");
	ck_refused(heapd_get(heap, "no.such", value, sizeof(value)), ENOENT, "no.such");
	ck_refused(heapd_set(heap, "no.such", "1"), ENOENT, "no.such");
	ck_assert_int_eq(heapd_verify(heap, &verified), 0);
	ck_assert_uint_eq(verified.faults, 0);
	ck_assert_int_eq(heapd_verify(heap, NULL), 0);
	ck_refused(heapd_collect(heap), ENOTSUP, "collect");
}
END_TEST

/* What nobody holds any more is counted as freed, what the last cycle found as live. */
START_TEST(info_of_collections)
{
	struct heapd_info before = HEAPD_SIZED(before), after = HEAPD_SIZED(after);
	void *volatile kept = NULL;

	ck_call(heapd_set(heap, "gc.percent", "100"));
	ck_call(heapd_get_info(heap, &before));
	for (int i = 0; i < 100000; i++) {
		void *object = heapd_alloc(heap, 64);

		ck_assert_ptr_nonnull(object);
		kept = object;
	}
	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	ck_call(heapd_get_info(heap, &after));
	ck_assert_uint_ge(after.gc_cycles, before.gc_cycles + 2);
	ck_assert_uint_ge(after.gc_freed_objects, before.gc_freed_objects + 90000);
	ck_assert_uint_ge(after.gc_freed, before.gc_freed + 90000 * 64);
	ck_assert_uint_gt(after.gc_live_objects, 0);
	ck_assert_uint_ge(after.gc_live, 64);
	ck_assert_uint_gt(after.gc_goal, after.gc_live);
	ck_assert_uint_gt(after.gc_ns, before.gc_ns);
	ck_assert_ptr_nonnull(kept);
}
END_TEST

START_TEST(two_copies)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	heapd_heap *again;
	char path[4096];

	snprintf(path, sizeof(path), "%s/libheapd.so", build ? build : "build");
	/* This program has the library's objects in it: with the shared one there are two. */
	ck_assert_msg(dlopen(path, RTLD_NOW | RTLD_LOCAL) != NULL, "%s", dlerror());
	ck_call(heapd_attach(&again, FIXTURE_HEAP, NULL)); /* this one's attachment stands */
	ck_call(heapd_detach(again));
	ck_call(heapd_detach(heap));
	ck_refused(heapd_attach(&again, FIXTURE_HEAP, NULL), EBUSY, path);
	ck_refused(heapd_detach(heap), ENODEV, "not attached");
	fixture_stop(&fixture);
	_exit(0); /* what the fixture's end would detach is detached */
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("attach");

	if (getenv(ROLE))
		return path_of_new_process();
	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, attached_start, attached_stop);
	tcase_add_test(tcase, one_handle_counted);
	tcase_add_test(tcase, detach_leaves_nothing);
	tcase_add_test(tcase, refusal_leaves_nothing);
	tcase_add_loop_test(tcase, occupied_addresses, 0, 3);
	tcase_add_test(tcase, absent_daemon);
	tcase_add_test(tcase, waits_for_the_daemon);
	tcase_add_test(tcase, agent_is_apart);
	tcase_add_test(tcase, left_out_of_dumps_and_raw_children);
	tcase_add_test(tcase, read_only);
	tcase_add_test(tcase, compare_and_swap_on_request);
	tcase_add_test(tcase, sequences_switched_off);
	tcase_add_test(tcase, daemon_killed);
	tcase_add_test(tcase, signals_during_requests);
	tcase_add_test(tcase, cancelled_requests);
	tcase_add_test(tcase, info_and_settings);
	tcase_add_test(tcase, info_of_collections);
	tcase_add_test(tcase, two_copies);
	return attached_run(tcase, suite_create("attach"));
}
