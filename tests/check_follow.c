/* SPDX-License-Identifier: MIT */
/*
 * heapctl events: each kind of event is told, without being asked for again and again: between two it sleeps.
 */
#include "client/client.h"
#include "collected.h"
#include "tool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define GUARD_MS 30000

static pid_t tool;
static FILE *told;

static void tool_start(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	tool = fork();
	if (tool == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		execl(tool_path(), "heapctl", "-H", FIXTURE_HEAP, "--json=short", "events", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	told = fdopen(ends[0], "re");
	ck_assert(tool > 0 && told);
	setvbuf(told, NULL, _IONBF, 0);
}

/* The next line of that event; others before it are passed over. The number that it says. */
static uint64_t expect(const char *event)
{
	struct pollfd p = { .fd = fileno(told), .events = POLLIN };
	char line[512];

	for (;;) {
		ck_assert_msg(poll(&p, 1, GUARD_MS) == 1, "no '%s' is told", event);
		ck_assert_msg(fgets(line, sizeof(line), told) != NULL, "it ended before '%s'", event);
		if (tool_is(line, "event", event))
			return tool_number(line, "number");
	}
}

/* Until it tells of cycles; then what was told of so far is over. */
static void wait_following(void)
{
	struct pollfd p = { .fd = fileno(told), .events = POLLIN };
	uint64_t last;

	for (unsigned i = 0; poll(&p, 1, 50) == 0; i++) {
		ck_assert_uint_lt(i, GUARD_MS / 50);
		collect();
	}
	collect();
	last = heapd_now_cycle(HEAPD_READ_ONCE(heap->t.directory->cycle.now));
	while (expect("cycle") != last)
		;
}

static void start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						NULL };

	fixture_start(&fixture, settings);
	/* Before: its process is not to be a client by being forked. */
	tool_start();
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	wait_following();
}

static void stop(void)
{
	if (tool > 0) {
		kill(tool, SIGKILL);
		fixture_wait(tool, -SIGKILL);
	}
	attached_stop();
}

static int raw_attach(void)
{
	struct fixture_fds fds;
	struct heapd_message m;
	int fd = fixture_attach(&fixture, FIXTURE_HEAP, 0, &m, &fds);

	ck_assert_int_ge(fd, 0);
	fixture_close(&fds);
	return fd;
}

START_TEST(each_kind_is_told)
{
	struct heapd_message m = { .op = HEAPD_OP_BYE };
	int fd = raw_attach(), other;

	ck_assert_uint_eq(expect("attached"), 1);
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_uint_eq(expect("detached"), 1);
	close(fd);

	other = raw_attach();
	ck_assert_uint_eq(expect("attached"), 1);
	close(other);
	ck_assert_uint_eq(expect("died"), 1);

	/* No batch was handed back so often. */
	HEAPD_STORE_RELEASE(&heapd_self->handback_tail, heapd_self->handback_tail + 1000);
	HEAPD_STORE_RELEASE(&heap->session->handback, 1);
	ck_call(heapd_sync(heap));
	ck_assert_uint_ge(expect("corrupt"), 1);

	ck_assert_ptr_null(heapd_alloc(heap, 512ul << 20)); /* twice the limit */
	ck_assert_uint_ge(expect("refused"), 1);

	collect();
	expect("cycle");
}
END_TEST

/* Of its first thread: times that it slept, or was woken. */
static uint64_t switches(void)
{
	char path[64], line[128];
	uint64_t n = UINT64_MAX;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", tool, tool);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
			n = strtoull(line + 24, NULL, 10);
	fclose(f);
	ck_assert_uint_ne(n, UINT64_MAX);
	return n;
}

/* When nothing happens it does not wake. A machine that is slow wakes nobody more often. */
START_TEST(it_sleeps_meanwhile)
{
	uint64_t before = 0;

	/* What the last cycle left to tell. */
	for (unsigned i = 0; i < 25 && switches() != before; i++) {
		before = switches();
		poll(NULL, 0, 200);
	}
	poll(NULL, 0, 1000);
	ck_assert_uint_eq(switches(), before);
	collect();
	expect("cycle");
}
END_TEST

START_TEST(the_daemons_end_is_told)
{
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_kill(&fixture, SIGKILL);
	expect("daemon-away");
	fixture_wait(tool, 3);
	tool = 0;
	fixture_restart(&fixture);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("follow");

	tcase_set_timeout(tcase, 90);
	tcase_add_checked_fixture(tcase, start, stop);
	tcase_add_test(tcase, each_kind_is_told);
	tcase_add_test(tcase, it_sleeps_meanwhile);
	tcase_add_test(tcase, the_daemons_end_is_told);
	return attached_run(tcase, suite_create("follow"));
}
