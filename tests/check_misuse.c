/* SPDX-License-Identifier: MIT */
/*
 * What programs do wrong with an allocator, and who notices: each misuse, done by a process of its own, in each mode that
 * is to help with it. What comes of it is compared with the table in heapd-guide(7), cell by cell: so that says what is so, and
 * where it says "no", nobody has noticed, not even in the daemon's log. Whatever was done, the heap verifies. (That what is refused
 * harms nothing, wherever its bit stands by then, check_double.c shows.)
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd.h"
#include "heapd/atomic.h"
#include "heapd/phase.h"
#include "suite.h"
#include "wipe.h"

#define GUIDE   "man/heapd-guide.7"
#define SECTION ".SH \"MISUSE, AND WHO NOTICES\""
#define SIZE    3000u /* few to a slab: what is freed comes again soon */
#define HIDDEN  8u
#define TRIES   100000u
#define LEAST   UINT64_C(100000000)   /* as long as a report is waited for, where none is to come, ... */
#define MOST    UINT64_C(10000000000) /* ... and where one is, in ns */

/* How the modes come about; in the order of the table's columns. */
static const struct mode {
	const char *setting, *env;
} modes[] = {
	{ NULL, NULL },       { "heap.test.Free=checked", NULL }, { "heap.test.Debug=stress,poison", NULL },
	{ NULL, "dangling" }, { "heap.test.Hardened=yes", NULL },
};
enum { MODES = sizeof(modes) / sizeof(modes[0]), COLUMNS = MODES + 1 };

/* What a client made out, as its exit status. */
enum outcome { NO, REFUSED, TOLD, POISON, ZERO, ALLOWED, OUTCOMES, BROKEN = 99 };
static const char *const outcome_words[OUTCOMES] = { "no", "refused", "told", "poison", "zero", "allowed" };

struct node {
	heapd_ptr(struct node) next;
	uint64_t value;
};

static struct fixture fixture;
static heapd_heap *heap;
static unsigned heard; /* reports, but for those of calls that were refused */

/* In a client, where there is no check to fail. */
#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: " #condition ": %s\n", __LINE__, heapd_error()); \
			_exit(BROKEN);                                                             \
		}                                                                                  \
	} while (0)

static void on_report(void *arg, int kind, const char *text)
{
	(void)arg;
	fprintf(stderr, "report %d: %s\n", kind, text);
	heard += kind != HEAPD_REPORT_DOUBLE_FREE && kind != HEAPD_REPORT_BAD_FREE;
}

static void *new_bytes(size_t bytes)
{
	void *object = heapd_alloc_leaf(heap, bytes);

	must(object);
	return object;
}

/* Everything on one CPU: what was freed comes again there. */
static void stay(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	must(sched_setaffinity(0, sizeof(set), &set) == 0);
}

/* The address, where nothing takes it for one. */
static uint64_t hide(const void *object)
{
	return ~(uint64_t)(uintptr_t)object;
}

static __attribute__((noinline)) void *unhide(uint64_t hidden_address)
{
	__asm__ volatile("" : "+r"(hidden_address)); /* each time anew, and kept nowhere in between */
	return (void *)(uintptr_t)~hidden_address;   /* NOLINT(performance-no-int-to-ptr) */
}

static __attribute__((noinline)) uint64_t new_hidden(void)
{
	void *object = new_bytes(SIZE);

	memset(object, 0x11, SIZE);
	return hide(object);
}

static void settle(void)
{
	stack_wipe();
	must(heapd_collect(heap) >= 0);
	heapd_sync(heap); /* with cycles back to back it cannot be waited for */
}

static __attribute__((noinline)) bool is_whole_of(const void *object, uint64_t word)
{
	const uint64_t *words = (const uint64_t *)object;

	for (size_t i = 0; i < SIZE / 8; i++)
		if (HEAPD_READ_ONCE(words[i]) != word)
			return false;
	return true;
}

/* What a reader meets there: waited for a little, since what is freed during a cycle is taken back behind it. */
static enum outcome read_there(uint64_t hidden_address)
{
	for (unsigned i = 0; i < 50; i++) {
		if (is_whole_of(unhide(hidden_address), HEAPD_POISON_WORD))
			return POISON;
		settle();
		usleep(2000);
	}
	return NO;
}

/* Allocates until that slot comes again: it is somebody else's object then. */
static __attribute__((noinline)) bool comes_again(uint64_t hidden_address)
{
	for (unsigned i = 0; i < TRIES; i++) {
		void *object = new_bytes(SIZE);

		if (hide(object) == hidden_address)
			return true;
		must(heapd_free(object) == 0);
		if (i % 64 == 63)
			settle();
	}
	return false;
}

static enum outcome refused(void *object, int error)
{
	int r = heapd_free(object);

	must(r == 0 || r == error);
	return r ? REFUSED : NO;
}

static enum outcome double_free(void)
{
	void *object = new_bytes(SIZE);

	must(heapd_free(object) == 0);
	return refused(object, -EALREADY);
}

/* The slot is another object's by then, which a root leads to. */
static enum outcome double_free_of_another(void)
{
	uint64_t at = new_hidden();

	must(heapd_free(unhide(at)) == 0);
	stack_wipe();
	settle();
	must(comes_again(at));
	must(heapd_root_set(heap, "another", unhide(at)) >= 0);
	if (refused(unhide(at), -EALREADY) == REFUSED)
		return REFUSED;
	return read_there(at);
}

static enum outcome free_inside(void)
{
	return refused((char *)new_bytes(SIZE) + 8, -EINVAL);
}

static enum outcome free_outside(void)
{
	void *mallocs = malloc(SIZE);
	int local = 0;
	enum outcome outcome = refused(mallocs, -EINVAL);

	free(mallocs);
	must(refused(&local, -EINVAL) == outcome);
	return outcome;
}

static enum outcome free_of_nothing(void)
{
	struct heapd_info info = HEAPD_SIZED(info);

	must(heapd_get_info(heap, &info) == 0);
	return refused((void *)(uintptr_t)(info.base + info.heap_size - 4096), -EINVAL);
}

static void attach(const char *name)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.report = on_report;
	must(heapd_attach(&heap, name, &options) == 0);
}

/* An object of heap "other" that is alive there. */
static enum outcome free_of_another_heap(void)
{
	void *object;

	must(heapd_detach(heap) == 0);
	attach("other");
	object = new_bytes(SIZE);
	must(heapd_root_set(heap, "it", object) >= 0);
	must(heapd_detach(heap) == 0);
	attach(FIXTURE_HEAP);
	return refused(object, -EINVAL);
}

/* A root holds an object until whoever is to free it has it. */
static __attribute__((noinline)) uint64_t new_for_another(void)
{
	void *object = new_bytes(SIZE);

	must(heapd_root_set(heap, "passed", object) >= 0);
	return hide(object);
}

static __attribute__((noinline)) int free_of_another(uint64_t hidden_address)
{
	void *object = unhide(hidden_address);

	must(heapd_thread_attach(heap) >= 0);
	must(heapd_root_set(heap, "passed", NULL) >= 0);
	return heapd_free(object);
}

/* A stack that has ended is memory as any: HEAPD_DEBUG=dangling finds there what was left. */
static void *free_in_thread(void *hidden_address)
{
	int r = free_of_another(*(uint64_t *)hidden_address);

	stack_wipe();
	return r == 0 ? hidden_address : NULL;
}

static int free_in_child(void *hidden_address)
{
	return free_of_another(*(uint64_t *)hidden_address) == 0 ? 0 : 1;
}

/* Of what is no misuse here: it is freed, and nobody says a word. */
static enum outcome free_by_another(void)
{
	uint64_t at = new_for_another();
	void *freed = NULL;
	pthread_t thread;

	must(pthread_create(&thread, NULL, free_in_thread, &at) == 0);
	must(pthread_join(thread, &freed) == 0);
	if (!freed)
		return REFUSED;
	at = new_for_another();
	fixture_wait(fixture_client_fork(free_in_child, &at), 0);
	must(heapd_free(unhide(at)) == -EALREADY);
	return ALLOWED;
}

static enum outcome free_of_reachable(void)
{
	heapd_type *type = heapd_type_define(heap, "node", struct node, next);
	struct node *head = heapd_new(type, struct node);
	uint64_t at = new_hidden();

	must(head);
	heapd_init(&head->next, (struct node *)unhide(at));
	must(heapd_root_set(heap, "head", head) >= 0);
	must(heapd_free(unhide(at)) == 0);
	stack_wipe();
	return read_there(at);
}

static enum outcome read_after_free(void)
{
	uint64_t at = new_hidden();

	must(heapd_free(unhide(at)) == 0);
	stack_wipe();
	return read_there(at);
}

/* Until it is somebody else's object: nothing of it is seen there. */
static enum outcome write_after_free(void)
{
	uint64_t at = new_hidden();

	must(heapd_free(unhide(at)) == 0);
	stack_wipe();
	settle();
	((volatile uint64_t *)unhide(at))[5] = 1;
	if (comes_again(at))
		must(is_whole_of(unhide(at), 0));
	return NO;
}

/* Two neighbours, as soon as there are. */
static void neighbours(char *objects[2])
{
	size_t slot = SIZE_MAX;

	objects[1] = new_bytes(SIZE);
	for (unsigned i = 0; i < TRIES && slot >= 2 * (size_t)SIZE; i++) {
		objects[0] = objects[1];
		objects[1] = new_bytes(SIZE);
		slot = (size_t)((uintptr_t)objects[1] - (uintptr_t)objects[0]);
	}
	must(slot < 2 * (size_t)SIZE);
}

static enum outcome overflow(void)
{
	char *objects[2];

	neighbours(objects);
	memset(objects[0], 0x11, (size_t)(objects[1] - objects[0]) + 8);
	must(heapd_free(objects[0]) == 0);
	must(heapd_free(objects[1]) == 0);
	return NO;
}

static enum outcome read_unwritten(void)
{
	for (unsigned i = 0; i < 200; i++) {
		void *object = new_bytes(SIZE);

		if (!is_whole_of(object, 0))
			return NO;
		memset(object, 0x11, SIZE);
		must(heapd_free(object) == 0);
	}
	return ZERO;
}

/* Several: of one, some word of a stack or register may keep it. */
static __attribute__((noinline)) void **hide_in_malloc(void)
{
	void **where = malloc(HIDDEN * sizeof(*where));

	must(where);
	for (unsigned i = 0; i < HIDDEN; i++)
		where[i] = new_bytes(SIZE);
	return where;
}

static __attribute__((noinline)) bool any_is_poison(void *const *where)
{
	bool any = false;

	for (unsigned i = 0; i < HIDDEN; i++)
		any |= is_whole_of(where[i], HEAPD_POISON_WORD);
	return any;
}

static enum outcome pointer_in_malloc(void)
{
	void **where = hide_in_malloc();

	stack_wipe();
	/* What lies in the slab that is allocated from is left alone for now. */
	for (unsigned i = 0; i < 16; i++)
		new_bytes(SIZE);
	for (unsigned i = 0; i < 50; i++) {
		if (any_is_poison(where))
			return POISON;
		settle();
		usleep(2000);
	}
	return NO;
}

/* In the order of the table's rows. */
static const struct misuse {
	const char *name;
	enum outcome (*run)(void);
} misuses[] = {
	{ "free of what is free", double_free },
	{ "free of another's object, by an old address", double_free_of_another },
	{ "free of what is still reachable", free_of_reachable },
	{ "free of an address inside an object", free_inside },
	{ "free of an address outside of the heap", free_outside },
	{ "free of an address where no object is", free_of_nothing },
	{ "free of another heap's object", free_of_another_heap },
	{ "free by another thread or process", free_by_another },
	{ "read of what was freed", read_after_free },
	{ "write to what was freed", write_after_free },
	{ "write past the end, into the next object", overflow },
	{ "read of what was never written", read_unwritten },
	{ "pointer where the collector does not look", pointer_in_malloc },
};
enum { MISUSES = sizeof(misuses) / sizeof(misuses[0]) };

struct job {
	const struct mode *mode;
	const struct misuse *misuse;
	uint64_t patience;
};

/* Reports arrive a moment after their cycle, and are handed on by a call of the program's. */
static void hear(uint64_t patience)
{
	uint64_t end = fixture_now_ns() + patience;

	settle();
	while (!heard && fixture_now_ns() < end) {
		usleep(1000);
		heapd_thread_offline(heap);
		heapd_thread_online(heap);
	}
}

static int client(void *arg)
{
	const struct job *job = (const struct job *)arg;
	enum outcome outcome;

	if (job->mode->env)
		setenv("HEAPD_DEBUG", job->mode->env, 1);
	stay();
	attach(FIXTURE_HEAP);
	outcome = job->misuse->run();
	hear(job->patience);
	must(heapd_detach(heap) == 0);
	return (int)(heard ? TOLD : outcome);
}

/* What the daemon may say of it, from `from` on. */
static bool is_logged(size_t from)
{
	static const char *const words[] = { "double free", "freed while still reachable",
					     "was overwritten" };
	char *log = fixture_log(&fixture);
	bool found = false;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		found |= strlen(log) > from && strstr(log + from, words[i]);
	free(log);
	return found;
}

static size_t log_length(void)
{
	char *log = fixture_log(&fixture);
	size_t n = strlen(log);

	free(log);
	return n;
}

/* The table's words, from the guide. */
struct table {
	char *text;
	char *cells[MISUSES][COLUMNS];
};

static void row_split(char *line, char *cells[COLUMNS])
{
	for (unsigned i = 0; i < COLUMNS; i++) {
		cells[i] = strsep(&line, "\t");
		ck_assert_msg(cells[i] != NULL, "%s: a row has %u of %u columns", GUIDE, i, COLUMNS);
	}
	ck_assert_msg(line == NULL, "%s: row '%s' has more than %u columns", GUIDE, cells[0], COLUMNS);
}

/* The rows stand between the line below the head, "_", and the table's end. */
static void table_read(struct table *table)
{
	FILE *f = fopen(GUIDE, "re");
	size_t size = 0;
	char *at, *line;

	ck_assert_msg(f != NULL, "%s: run this in the source's folder", GUIDE);
	table->text = NULL;
	ck_assert_int_gt(getdelim(&table->text, &size, '\0', f), 0);
	fclose(f);
	at = strstr(table->text, SECTION);
	ck_assert_msg(at && (at = strstr(at, "\n_\n")), "%s: there is no table behind %s", GUIDE, SECTION);
	at += 3;
	for (unsigned i = 0; i < MISUSES; i++) {
		line = strsep(&at, "\n");
		row_split(line, table->cells[i]);
		ck_assert_str_eq(table->cells[i][0], misuses[i].name);
	}
	ck_assert_msg(at && strncmp(at, ".TE\n", 4) == 0, "%s: the table has more than %u rows", GUIDE,
		      MISUSES);
}

static const char *outcome_of(const struct job *job)
{
	size_t from = log_length();
	pid_t pid = fixture_client_fork(client, (void *)(uintptr_t)job);
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) < OUTCOMES, "'%s': status %#x",
		      job->misuse->name, status);
	if (WEXITSTATUS(status) == NO && is_logged(from))
		return "logged";
	return outcome_words[WEXITSTATUS(status)];
}

/* ThreadSanitizer notes in memory of its own what was accessed, and HEAPD_DEBUG=dangling tells of that. */
static bool is_out_of_reach(const struct mode *mode)
{
#ifdef HEAPD_TSAN
	return mode->env != NULL;
#else
	(void)mode;
	return false;
#endif
}

/* One column. */
START_TEST(the_guide_says_who_notices)
{
	const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off",
					 "heap.other.Limit=64M", modes[_i].setting, NULL };
	struct table table;
	unsigned wrong = 0;

	if (is_out_of_reach(&modes[_i])) {
		puts("SKIP the_guide_says_who_notices: ThreadSanitizer notes what was accessed");
		return;
	}
	table_read(&table);
	fixture_start(&fixture, settings);
	for (unsigned i = 0; i < MISUSES; i++) {
		const char *said = table.cells[i][_i + 1], *found;
		struct job job = { &modes[_i], &misuses[i], strcmp(said, "told") == 0 ? MOST : LEAST };

		found = outcome_of(&job);
		if (strcmp(found, said) != 0) {
			printf("%s, column %d: '%s', and the guide says '%s'\n", misuses[i].name, _i + 1,
			       found, said);
			wrong++;
		}
		ck_assert_int_eq(fixture_verify(&fixture, FIXTURE_HEAP), 0);
	}
	fflush(stdout);
	ck_assert_uint_eq(wrong, 0);
	fixture_stop(&fixture);
	free(table.text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("misuse");
	TCase *tcase = tcase_create("misuse");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, the_guide_says_who_notices, 0, MODES);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
