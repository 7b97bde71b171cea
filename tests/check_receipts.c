/* SPDX-License-Identifier: MIT */
/*
 * Receipts: of a client that was killed, what only its roots kept, to the object; not what others hold too, nor what was
 * garbage before. Told by heapctl and in the log.
 */
#include "client/client.h"
#include "collected.h"
#include "tool.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define OWN    1000u
#define LEAVES 300u
#define SHARED 200u
#define MANY   1500000u
#ifdef HEAPD_TSAN
#define SLICE_NS 2000000u /* ThreadSanitizer takes so much longer, and has a thread of its own */
#else
#define SLICE_NS 100000u
#endif

struct node {
	heapd_ptr(struct node) next;
	uint64_t rest[15];
};
struct leaf {
	heapd_ptr(struct leaf) next;
	uint64_t rest[3];
};

/* A process that attaches when it is told to, does something, says so, and stays. */
struct victim {
	pid_t pid;
	int to, from;
};
static struct victim victims[3];

static heapd_type *nodes, *leaves;

static void types_define(void)
{
	nodes = heapd_type_define(heap, "node", struct node, next);
	leaves = heapd_type_define(heap, "leaf", struct leaf, next);
}

static __attribute__((noinline)) struct node *list_make(unsigned n)
{
	struct node *head = NULL;

	while (n--) {
		struct node *new = heapd_new(nodes, struct node);

		if (!new)
			return NULL;
		heapd_init(&new->next, head);
		head = new;
	}
	return head;
}

static __attribute__((noinline)) struct leaf *leaves_make(unsigned n)
{
	struct leaf *head = NULL;

	while (n--) {
		struct leaf *new = heapd_new(leaves, struct leaf);

		if (!new)
			return NULL;
		heapd_init(&new->next, head);
		head = new;
	}
	return head;
}

static struct node *registered[4];

/* 'o': lists of its own; 's': those, and what the root "shared" holds; 'm': one that is long; 'r': one by a range; else nothing. */
static __attribute__((noinline)) bool hold(char what)
{
	bool held = true;

	if (what == 'o' || what == 's')
		held = heapd_pin(heap, list_make(OWN)) && heapd_pin(heap, leaves_make(LEAVES));
	if (what == 's')
		held = held && heapd_pin(heap, heapd_root_get(heap, "shared", NULL));
	if (what == 'r')
		held = heapd_range_add(heap, registered, sizeof(registered)) == 0;
	if (what == 'r')
		heapd_store(&registered[2], list_make(OWN));
	if (what == 'm')
		held = heapd_pin(heap, leaves_make(MANY));
	return held;
}

static int victim_main(void *arg)
{
	struct node *volatile local = NULL;
	const int *ends = arg;
	char what;

	if (read(ends[0], &what, 1) != 1 || heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0)
		return 1;
	types_define();
	if (!hold(what))
		return 1;
	if (what == 'k')
		local = list_make(OWN);
	stack_wipe();
	if (write(ends[1], "", 1) != 1)
		return 1;
	for (;;) {
		pause();
		heapd_keep(local);
	}
}

static void start_with(const char *percent)
{
	static const char *settings[] = { NULL, "heap.test.GCInterval=off", NULL };

	settings[0] = percent;
	fixture_start(&fixture, settings);
	for (unsigned i = 0; i < 3; i++) {
		int there[2], back[2];

		ck_assert_int_eq(pipe(there) | pipe(back), 0);
		victims[i] = (struct victim){ fixture_client_fork(victim_main, (int[]){ there[0], back[1] }),
					      there[1], back[0] };
	}
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	types_define();
}

static void start(void)
{
	start_with("heap.test.GCPercent=1000");
}

static void start_off(void)
{
	start_with("heap.test.GCPercent=off");
}

static void victim_holds(const struct victim *v, char what)
{
	char byte;

	ck_assert_int_eq(write(v->to, &what, 1), 1);
	ck_assert_int_eq(read(v->from, &byte, 1), 1);
}

/* The process's row of `heapctl receipts` in json; NULL: there is none. */
static const char *row_of(const char *json, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return tool_next(json, "pid", text);
}

static char *receipts(const char *arguments, pid_t pid, const char **row)
{
	char *json = tool_run(0, arguments);

	*row = row_of(json, pid);
	return json;
}

static unsigned rows_of(const char *json)
{
	unsigned n = 0;

	for (const char *at = json; (at = strstr(at, "\"session\":")); at++)
		n++;
	return n;
}

/* Until the daemon has noticed. */
static void victim_kill(const struct victim *v)
{
	const char *row = NULL;

	ck_assert_int_eq(kill(v->pid, SIGKILL), 0);
	fixture_wait(v->pid, -SIGKILL);
	for (unsigned i = 0; !row; i++) {
		ck_assert_uint_lt(i, 2000);
		poll(NULL, 0, 5);
		free(receipts("receipts", v->pid, &row));
	}
}

static void expect(pid_t pid, const char *state, uint64_t objects, uint64_t bytes)
{
	const char *row;
	char *json = receipts("receipts", pid, &row);

	ck_assert_msg(row && tool_is(row, "state", state), "not '%s': %s", state, json);
	ck_assert_uint_eq(tool_number(row, "objects"), objects);
	ck_assert_uint_eq(tool_number(row, "bytes"), bytes);
	free(json);
}

static uint64_t own_bytes(void)
{
	return OWN * sizeof(struct node) + LEAVES * sizeof(struct leaf);
}

START_TEST(what_only_it_kept_is_counted)
{
	const char *row;
	char *json, line[64];

	ck_call(heapd_root_set(heap, "shared", list_make(SHARED)));
	list_make(SHARED); /* what was garbage before is nobody's */
	victim_holds(&victims[0], 's');
	victim_kill(&victims[0]);
	expect(victims[0].pid, "waiting", 0, 0);
	collect();
	expect(victims[0].pid, "counted", OWN + LEAVES, own_bytes());

	json = receipts("receipts", victims[0].pid, &row);
	ck_assert_uint_eq(tool_number(row, "uid"), getuid());
	ck_assert_uint_gt(tool_number(row, "cycle"), 0);
	ck_assert_uint_gt(tool_number(row, "took"), 0);
	ck_assert_uint_ge(tool_number(row, "freed"), OWN + LEAVES);
	/* One for it, and none for those that detached, as each heapctl does. */
	ck_assert_uint_eq(rows_of(json), 1);
	free(json);
	snprintf(line, sizeof(line), "dead process %d of user %u left %u bytes in %u", victims[0].pid,
		 getuid(), (unsigned)own_bytes(), OWN + LEAVES);
	ck_assert(fixture_logged(&fixture, line));

	/* What others hold is still there. */
	ck_assert_ptr_nonnull(heapd_root_get(heap, "shared", NULL));
	collect();
	expect(victims[0].pid, "counted", OWN + LEAVES, own_bytes());
}
END_TEST

/* Of one process, by type. */
START_TEST(types_are_told)
{
	const char *row;
	char *json, arguments[64];

	victim_holds(&victims[0], 'o');
	victim_holds(&victims[1], 'n');
	victim_kill(&victims[0]);
	victim_kill(&victims[1]);
	collect();
	snprintf(arguments, sizeof(arguments), "receipts %d", victims[0].pid);
	json = receipts(arguments, victims[0].pid, &row);
	row = tool_next(json, "type", "node");
	ck_assert_msg(row != NULL, "%s", json);
	ck_assert_uint_eq(tool_number(row, "objects"), OWN);
	ck_assert_uint_eq(tool_number(row, "bytes"), OWN * sizeof(struct node));
	row = tool_next(json, "type", "leaf");
	ck_assert_msg(row != NULL, "%s", json);
	ck_assert_uint_eq(tool_number(row, "objects"), LEAVES);
	free(json);
	/* Who held nothing left nothing. */
	snprintf(arguments, sizeof(arguments), "receipts %d", victims[1].pid);
	json = receipts(arguments, victims[1].pid, &row);
	ck_assert_ptr_null(row);
	free(json);
	expect(victims[1].pid, "counted", 0, 0);
}
END_TEST

/* As the last collection found them. */
START_TEST(stacks_and_ranges_count)
{
	victim_holds(&victims[0], 'k');
	victim_holds(&victims[1], 'r');
	collect();
	victim_kill(&victims[0]);
	victim_kill(&victims[1]);
	collect();
	expect(victims[0].pid, "counted", OWN, OWN * sizeof(struct node));
	expect(victims[1].pid, "counted", OWN, OWN * sizeof(struct node));
}
END_TEST

/* Together: for the first of them. */
START_TEST(what_two_of_the_dead_kept)
{
	ck_call(heapd_root_set(heap, "shared", list_make(SHARED)));
	victim_holds(&victims[0], 's');
	victim_holds(&victims[1], 's');
	ck_call(heapd_root_set(heap, "shared", NULL));
	victim_kill(&victims[0]);
	victim_kill(&victims[1]);
	stack_wipe();
	collect();
	expect(victims[0].pid, "counted", OWN + LEAVES + SHARED, own_bytes() + SHARED * sizeof(struct node));
	expect(victims[1].pid, "counted", OWN + LEAVES, own_bytes());
}
END_TEST

static uint32_t phase(void)
{
	return heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now));
}

/* The cycle in whose midst it died keeps what it held, so it is the next one's to count. */
START_TEST(who_dies_in_a_cycle_is_counted_by_the_next)
{
	struct heapd_message m = { .op = HEAPD_OP_COLLECT };
	uint64_t finished = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished);

	victim_holds(&victims[0], 'o');
	victim_holds(&victims[1], 'n');
	/* A stopped client holds the cycle up. */
	ck_assert_int_eq(kill(victims[1].pid, SIGSTOP), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)victims[1].pid, &(siginfo_t){ 0 }, WSTOPPED), 0);
	ck_call(request_call(heap, &m, NULL, NULL));
	while (phase() != HEAPD_PHASE_SCAN)
		poll(NULL, 0, 1);
	victim_kill(&victims[0]);
	ck_assert_uint_eq(phase(), HEAPD_PHASE_SCAN);
	ck_assert_int_eq(kill(victims[1].pid, SIGCONT), 0);
	while (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished) == finished)
		poll(NULL, 0, 1);
	expect(victims[0].pid, "waiting", 0, 0);
	collect();
	expect(victims[0].pid, "counted", OWN + LEAVES, own_bytes());
	victim_kill(&victims[1]);
}
END_TEST

/* The sweep does not wait for ever: then less is counted, and that is said. */
START_TEST(much_is_counted_for_a_while)
{
	const char *row = NULL;
	char *json;

	/* At the heap's beginning, whose address a stack may have. */
	ck_call(heapd_root_set(heap, "shared", list_make(SHARED)));
	victim_holds(&victims[0], 'm');
	victim_kill(&victims[0]);
	collect();
	json = receipts("receipts", victims[0].pid, &row);
	ck_assert_ptr_nonnull(row);
	printf("of %u objects %lu were counted\n", MANY, (unsigned long)tool_number(row, "objects"));
	ck_assert_uint_ge(tool_number(row, "freed"), MANY);
	if (tool_is(row, "state", "at least")) {
		ck_assert_uint_lt(tool_number(row, "objects"), MANY);
		ck_assert_uint_gt(tool_number(row, "objects"), 0);
	} else {
		ck_assert(tool_is(row, "state", "counted"));
		ck_assert_uint_eq(tool_number(row, "objects"), MANY);
	}
	free(json);
}
END_TEST

/* No more are remembered than there is room for: the last ones are. */
START_TEST(the_last_are_kept)
{
	struct fixture_fds fds;
	struct heapd_message m;
	const char *at;
	char *json;

	for (unsigned i = 0; i < 70; i++) {
		int fd = fixture_attach(&fixture, FIXTURE_HEAP, 0, &m, &fds);

		ck_assert_int_ge(fd, 0);
		fixture_close(&fds);
		close(fd);
	}
	/* Or the sweep has no time left for one that comes behind so many, where all is slow. */
	collect();
	victim_holds(&victims[0], 'o');
	victim_kill(&victims[0]);
	collect();
	json = receipts("receipts", victims[0].pid, &at);
	ck_assert(at && tool_is(at, "state", "counted"));
	ck_assert_uint_eq(rows_of(json), 64);
	free(json);
}
END_TEST

static uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* What a client says of itself may be anything: counts beyond all bounds, words that lead anywhere. */
static void scribble(int fd, uint64_t *seed)
{
	uint64_t n = HEAPD_SESSION_CORE / 8, pins = HEAPD_SESSION_PIN_AT / 8,
		 *words = mmap(NULL, HEAPD_SESSION_CORE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct heapd_session *head = (struct heapd_session *)(void *)words;

	ck_assert_ptr_ne(words, MAP_FAILED);
	for (unsigned i = 0; i < 4000; i++)
		words[pins + draw(seed) % (n - pins)] = heap->t.base + draw(seed) % heap->t.size;
	for (unsigned i = 0; i < 8; i++) {
		struct heapd_thread *t =
			(struct heapd_thread *)(void *)(words + HEAPD_SESSION_THREAD_AT / 8) + i;

		t->published_count = draw(seed) % 2 ? draw(seed) : draw(seed) % 100000;
		t->published_cycle = (uint32_t)draw(seed);
	}
	head->npins = (uint32_t)draw(seed) | 1u << 19;
	head->ranges_count = draw(seed) % 2 ? draw(seed) : draw(seed) % 100000;
	head->ranges_cycle = 1;
	head->nthreads = (uint32_t)draw(seed);
	munmap(words, HEAPD_SESSION_CORE);
}

START_TEST(whatever_it_says_of_itself)
{
	uint64_t seed = fixture_seed() | 1;
	struct fixture_fds fds;
	struct heapd_message m;
	const char *row;
	char *json;

	ck_call(heapd_root_set(heap, "shared", list_make(SHARED)));
	for (unsigned i = 0; i < 6; i++) {
		int fd = fixture_attach(&fixture, FIXTURE_HEAP, 0, &m, &fds);

		ck_assert_int_ge(fd, 0);
		list_make(OWN); /* garbage, into which its words may lead */
		scribble(fds.fd[3], &seed);
		fixture_close(&fds);
		close(fd);
	}
	/* It goes by the roots that are left, and every death is accounted for. */
	do {
		collect();
		json = receipts("receipts", getpid(), &row);
		ck_assert_uint_le(rows_of(json), 6);
		if (rows_of(json) == 6 && !tool_next(json, "state", "waiting"))
			break;
		free(json);
	} while (true);
	for (row = json; (row = tool_next(row, "state", "counted")) != NULL;)
		ck_assert_uint_le(tool_number(row, "objects"), 6 * OWN);
	free(json);
	ck_assert_ptr_nonnull(heapd_root_get(heap, "shared", NULL));
}
END_TEST

static uint64_t used_by(clockid_t clock)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* As a busy machine does: of each 100 ms the daemon has SLICE_NS of a processor, if it wants it. */
static int hinder(void *arg)
{
	pid_t daemon = *(const pid_t *)arg;
	clockid_t clock;

	/* Its agent answers for it: here ThreadSanitizer, too, keeps signals back (asleep.h). */
	if (heapd_thread_offline(heap) < 0 || clock_getcpuclockid(daemon, &clock))
		return 1;
	for (;;) {
		uint64_t begin = used_by(clock);

		while (used_by(clock) - begin < SLICE_NS)
			usleep(20);
		kill(daemon, SIGSTOP);
		usleep(100000);
		kill(daemon, SIGCONT);
	}
}

/* By the clock there would be no time for it, in about half of the runs. */
START_TEST(a_daemon_that_waits_for_a_processor_counts)
{
	pid_t pid;

	/* At the heap's beginning, whose address a stack may have. */
	ck_call(heapd_root_set(heap, "shared", list_make(SHARED)));
	for (unsigned i = 0; i < 3; i++) {
		victim_holds(&victims[i], 'o');
		victim_kill(&victims[i]);
	}
	pid = fixture_client_fork(hinder, &fixture.daemon);
	collect();
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	kill(fixture.daemon, SIGCONT);
	for (unsigned i = 0; i < 3; i++)
		expect(victims[i].pid, "counted", OWN + LEAVES, own_bytes());
}
END_TEST

START_TEST(without_collection_nothing_is_counted)
{
	victim_holds(&victims[0], 'o');
	victim_kill(&victims[0]);
	expect(victims[0].pid, "not counted", 0, 0);
}
END_TEST

static void stop(void)
{
	for (unsigned i = 0; i < 3; i++)
		kill(victims[i].pid, SIGKILL);
	attached_stop();
}

int main(void)
{
	TCase *tcase = tcase_create("receipts"), *off = tcase_create("without collection");
	Suite *suite = suite_create("receipts");

	tcase_set_timeout(tcase, 60);
	tcase_set_timeout(off, 60);
	tcase_add_checked_fixture(tcase, start, stop);
	tcase_add_checked_fixture(off, start_off, stop);
	tcase_add_test(tcase, what_only_it_kept_is_counted);
	tcase_add_test(tcase, types_are_told);
	tcase_add_test(tcase, stacks_and_ranges_count);
	tcase_add_test(tcase, what_two_of_the_dead_kept);
	tcase_add_test(tcase, who_dies_in_a_cycle_is_counted_by_the_next);
	tcase_add_test(tcase, much_is_counted_for_a_while);
	tcase_add_test(tcase, the_last_are_kept);
	tcase_add_test(tcase, whatever_it_says_of_itself);
	tcase_add_loop_test(tcase, a_daemon_that_waits_for_a_processor_counts, 0, 3);
	tcase_add_test(off, without_collection_nothing_is_counted);
	suite_add_tcase(suite, off);
	return attached_run(tcase, suite);
}
