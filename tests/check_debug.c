/* SPDX-License-Identifier: MIT */
/* HEAPD_DEBUG: programs that break a rule are told so, with object, type and place; those that break none hear nothing. */
#include "collected.h"
#include "numbers.h"
#include "slowness.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define MANY 20000u

struct node {
	heapd_ptr(struct node) next;
	uint64_t number;
};

#ifdef HEAPD_TSAN
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

static heapd_type *nodes;
static char heard[64][400];
static unsigned nheard;

static void hear(void *arg, int kind, const char *text)
{
	(void)arg;
	ck_assert_int_eq(kind, HEAPD_REPORT_RULE);
	if (nheard < 64)
		snprintf(heard[nheard++], sizeof(heard[0]), "%s", text);
}

static unsigned heard_times(const char *text)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nheard; i++)
		n += strstr(heard[i], text) != NULL;
	return n;
}

static void debug_start(const char *debug, const char *setting)
{
	const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", setting,
					 NULL };
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.report = hear;
	fixture_start(&fixture, settings);
	setenv("HEAPD_DEBUG", debug, 1);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	nodes = heapd_type_define(heap, "node", struct node, next);
	ck_assert_ptr_nonnull(nodes);
}

static void setup_types(void)
{
	debug_start("types", NULL);
}

static void setup_barrier(void)
{
	debug_start("barrier", "heap.test.Debug=stress,poison");
}

static void setup_dangling(void)
{
	debug_start("dangling", NULL);
}

static struct node *node_new(uint64_t number, struct node *next)
{
	struct node *n = heapd_new(nodes, struct node);

	ck_assert_msg(n != NULL, "%s", heapd_error());
	n->number = number;
	heapd_init(&n->next, next);
	return n;
}

/* Reports arrive a moment after the cycle, and are handed on by a call of the program's. */
static bool heard_within(const char *text, uint64_t ns)
{
	uint64_t end = fixture_now_ns() + ns;

	while (!heard_times(text) && fixture_now_ns() < end) {
		usleep(1000);
		heapd_thread_offline(heap);
		heapd_thread_online(heap);
	}
	return heard_times(text);
}

/* However busy the machine is. */
static bool comes_to_be_heard(const char *text)
{
	return heard_within(text, 30000000000ull);
}

static bool is_not_heard(const char *text)
{
	return !heard_within(text, 2000000000ull);
}

START_TEST(a_field_that_is_not_listed_is_told_of)
{
	struct node *a = node_new(1, NULL), *b = node_new(2, NULL), *c = node_new(3, NULL);
	char wanted[200];

	a->number = (uint64_t)(uintptr_t)b;
	c->number = (uint64_t)(uintptr_t)b;
	heapd_init(&a->next, c);
	ck_call(heapd_root_set(heap, "a", a));
	collect();
	snprintf(
		wanted, sizeof(wanted),
		"type 'node' does not list offset 8 as a pointer, and 0x%lx has the address of node 0x%lx there",
		(unsigned long)(uintptr_t)a, (unsigned long)(uintptr_t)b);
	ck_assert(comes_to_be_heard(wanted));
	ck_assert(fixture_logged(&fixture, wanted));
	collect();
	collect();
	ck_assert_uint_eq(heard_times("type 'node'"), 1);
	ck_assert_uint_eq(nheard, 1);
	heapd_keep(b);
}
END_TEST

START_TEST(numbers_are_no_pointers)
{
	struct node *a = node_new(17, NULL);

	a->number = (uint64_t)(uintptr_t)&fixture;
	heapd_init(&a->next, node_new((uint64_t)(uintptr_t)a + 3, a));
	ck_call(heapd_root_set(heap, "a", a));
	collect();
	collect();
	ck_assert(is_not_heard("node"));
}
END_TEST

static uint64_t seed;

static __attribute__((noinline)) void swap_plainly(struct node *a, struct node *b)
{
	struct node *next = a->next;

	a->next = b->next;
	b->next = next;
}

static __attribute__((noinline)) void swap(struct node *a, struct node *b)
{
	struct node *next = a->next;

	heapd_store(&a->next, b->next);
	heapd_store(&b->next, next);
}

/* With new objects, which are held, or black from birth. */
static __attribute__((noinline)) void swap_and_renew(struct node *a, struct node *b)
{
	swap(a, b);
	heapd_store(&a->next, node_new(b->next->number, b->next));
	heapd_store(&a->next->next, NULL);
}

static struct node *many_make(void)
{
	struct node *many = heapd_new_array(nodes, struct node, MANY);

	ck_assert_ptr_nonnull(many);
	ck_call(heapd_root_set(heap, "many", many));
	for (unsigned i = 0; i < MANY; i++)
		heapd_store(&many[i].next, node_new(i, NULL));
	return many;
}

/*
 * Swaps until enough cycles have passed, or something is heard; what is pointed to stays whole. At a pace: an object that is
 * moved plainly once by the marker's back, and once more by the audit's, is lost. As
 * many swaps to a cycle where all is slow.
 */
static void swap_much(struct node *many, void (*how)(struct node *a, struct node *b), uint64_t cycles)
{
	uint64_t *finished = &heap->t.directory->cycle.finished, end = HEAPD_READ_ONCE(*finished) + cycles,
		 deadline = fixture_now_ns() + 40000000000ull;

	while (!nheard && HEAPD_READ_ONCE(*finished) < end && fixture_now_ns() < deadline) {
		for (unsigned i = 0; i < 10; i++) {
			struct node *a = &many[random_next(&seed) % MANY],
				    *b = &many[random_next(&seed) % MANY];
			how(a, b);
			ck_assert_uint_lt(a->next->number, MANY);
		}
		usleep((useconds_t)(20 * slowness()));
		heapd_thread_offline(heap);
		heapd_thread_online(heap);
	}
}

START_TEST(a_plain_store_is_told_of_and_does_no_harm)
{
	struct node *many;
	uint64_t sum = 0;

	if (UNDER_TSAN) {
		puts("SKIP a_plain_store_is_told_of_and_does_no_harm: so slow, one comes amid the audit, too");
		return;
	}
	seed = fixture_seed() | 1;
	many = many_make();
	swap_much(many, swap_plainly, 100000);
	ck_assert_msg(heard_times("was hidden from the collector: the field at offset "), "%s", heard[0]);
	ck_assert_uint_eq(heard_times(" of node 0x"), nheard);
	ck_assert(fixture_logged(&fixture, "was hidden from the collector"));
	collect();
	collect();
	for (unsigned i = 0; i < MANY; i++)
		sum += many[i].next->number;
	ck_assert_uint_eq(sum, (uint64_t)MANY * (MANY - 1) / 2);
}
END_TEST

START_TEST(the_barrier_hides_nothing)
{
	struct node *many;

	seed = fixture_seed() | 1;
	many = many_make();
	swap_much(many, _i ? swap_and_renew : swap, 100);
	ck_assert_msg(nheard == 0, "%s", heard[0]);
}
END_TEST

static __attribute__((noinline)) void hide_in(uint64_t *word)
{
	*word = (uint64_t)(uintptr_t)node_new(1, NULL);
	/* One in sight, so that the slab stays. */
	ck_call(heapd_root_set(heap, "seen", node_new(2, NULL)));
}

static void hide_in_malloc(uint64_t **words)
{
	*words = calloc(8, sizeof(**words));
	ck_assert_ptr_nonnull(*words);
	hide_in(&(*words)[3]);
}

START_TEST(a_pointer_in_malloc_is_told_of)
{
	uint64_t *words;
	char wanted[100];

	hide_in_malloc(&words);
	collect();
	collect();
	snprintf(wanted, sizeof(wanted), "the word at 0x%lx (", (unsigned long)(uintptr_t)&words[3]);
	ck_assert(comes_to_be_heard(wanted));
	collect();
	ck_assert_uint_eq(heard_times(wanted), 1);
	snprintf(wanted, sizeof(wanted), " holds 0x%lx, where no object is", (unsigned long)words[3]);
	ck_assert_uint_ge(heard_times(wanted), 1);
	free(words);
}
END_TEST

START_TEST(a_pointer_that_is_held_elsewhere_does_not_dangle)
{
	uint64_t *words;
	struct node **pin;

	hide_in_malloc(&words);
	pin = (struct node **)heapd_pin(heap, (struct node *)(uintptr_t)words[3]);
	ck_assert_ptr_nonnull(pin);
	collect();
	collect();
	ck_assert(is_not_heard("holds 0x"));
	free(words);
}
END_TEST

static void *collection_start(void *none)
{
	(void)none;
	return (void *)(intptr_t)heapd_collect_start(heap);
}

/* Online and in no call, at whose end it would answer: so this thread is asked by a signal. */
static void collect_asked(void)
{
	uint64_t finished = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished);
	pthread_t other;
	void *r;

	stack_wipe();
	ck_assert_int_eq(pthread_create(&other, NULL, collection_start, NULL), 0);
	ck_assert_int_eq(pthread_join(other, &r), 0);
	ck_assert_ptr_null(r);
	while (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished) == finished)
		usleep(1000);
}

/* Where the library's own handler runs, and leaves what it saw, while the thread has it; then memory as any. */
START_TEST(an_alternate_stack_is_a_stack)
{
	enum { BYTES = 1 << 20 };
	uint64_t *low =
		(uint64_t *)mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const stack_t alternate = { .ss_sp = low, .ss_size = BYTES };
	stack_t before;
	char wanted[100];

	ck_assert_ptr_ne(low, MAP_FAILED);
	ck_assert_int_eq(sigaltstack(&alternate, &before), 0);
	hide_in(&low[1]);
	snprintf(wanted, sizeof(wanted), "the word at 0x%lx (", (unsigned long)(uintptr_t)&low[1]);
	for (unsigned i = 0; i < 3; i++)
		collect_asked();
	ck_assert(is_not_heard(wanted));
	ck_assert_int_eq(sigaltstack(&before, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		collect_asked();
	ck_assert(comes_to_be_heard(wanted));
	munmap(low, BYTES);
}
END_TEST

struct holder {
	pthread_barrier_t both;
	uint64_t word;
	const volatile void *at; /* where it has it */
};

/* What it has on its stack, nobody has to tell of. */
static void *hold(void *arg)
{
	struct holder *holder = arg;
	volatile uint64_t word = holder->word;

	holder->at = &word;
	ck_call(heapd_thread_attach(heap));
	pthread_barrier_wait(&holder->both);
	pthread_barrier_wait(&holder->both);
	holder->word = word;
	return NULL;
}

/* The agent has begun to look through much that lies before that stack, and comes to it when the process is leaving. */
START_TEST(who_detaches_is_told_of_no_stack)
{
	enum { BYTES = 1 << 28 };
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	struct holder holder = { .word = heap->t.base };
	char unwanted[40];
	pthread_t other;
	void *much;

	if (UNDER_TSAN) {
		puts("SKIP who_detaches_is_told_of_no_stack: ThreadSanitizer keeps signals back from a thread that waits for another");
		return;
	}
	pthread_barrier_init(&holder.both, NULL, 2);
	ck_assert_int_eq(pthread_create(&other, NULL, hold, &holder), 0);
	pthread_barrier_wait(&holder.both);
	much = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ck_assert_ptr_ne(much, MAP_FAILED);
	ck_assert((uintptr_t)much < (uintptr_t)holder.at);
	collect_asked();
	usleep(20000);
	ck_call(heapd_detach(heap));
	pthread_barrier_wait(&holder.both);
	pthread_join(other, NULL);
	munmap(much, BYTES);
	snprintf(unwanted, sizeof(unwanted), " holds 0x%lx,", (unsigned long)holder.word);
	ck_assert_msg(heard_times(unwanted) == 0, "%s", heard[0]);
	options.report = hear;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
}
END_TEST

/* Of this process, in KiB: to read a page that was never touched takes an entry in them. */
static unsigned long page_tables(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[200];

	ck_assert_ptr_nonnull(f);
	while (!kib && fgets(line, sizeof(line), f))
		sscanf(line, "VmPTE: %lu", &kib);
	fclose(f);
	return kib;
}

START_TEST(what_is_only_reserved_is_not_read)
{
	const size_t bytes = 8ul << 30; /* 16 MiB of page tables */
	uint64_t *reserved = (uint64_t *)mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned long before;
	char wanted[100];

	ck_assert_ptr_ne(reserved, MAP_FAILED);
	ck_assert_int_eq(madvise(reserved, bytes, MADV_NOHUGEPAGE), 0);
	hide_in(&reserved[bytes / 8 - 1]);
	before = page_tables();
	collect();
	collect();
	snprintf(wanted, sizeof(wanted), "the word at 0x%lx (",
		 (unsigned long)(uintptr_t)&reserved[bytes / 8 - 1]);
	ck_assert(comes_to_be_heard(wanted));
	ck_assert_uint_lt(page_tables(), before + 4096);
	munmap(reserved, bytes);
}
END_TEST

START_TEST(words_that_are_not_known_are_told_of)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	ck_call(heapd_detach(heap));
	options.report = hear;
	setenv("HEAPD_DEBUG", "types, bariers,dangling", 1);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_assert_uint_eq(nheard, 1);
	ck_assert_msg(strstr(heard[0], "'bariers' is not known"), "%s", heard[0]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("debug");
	TCase *types = tcase_create("types"), *barrier = tcase_create("barrier"),
	      *dangling = tcase_create("dangling");

	tcase_add_checked_fixture(types, setup_types, attached_stop);
	tcase_add_test(types, a_field_that_is_not_listed_is_told_of);
	tcase_add_test(types, numbers_are_no_pointers);
	tcase_add_test(types, words_that_are_not_known_are_told_of);
	suite_add_tcase(suite, types);
	tcase_set_timeout(barrier, 100);
	tcase_add_checked_fixture(barrier, setup_barrier, attached_stop);
	tcase_add_test(barrier, a_plain_store_is_told_of_and_does_no_harm);
	tcase_add_loop_test(barrier, the_barrier_hides_nothing, 0, 2);
	suite_add_tcase(suite, barrier);
	tcase_add_checked_fixture(dangling, setup_dangling, attached_stop);
	tcase_add_test(dangling, a_pointer_in_malloc_is_told_of);
	tcase_add_test(dangling, a_pointer_that_is_held_elsewhere_does_not_dangle);
	tcase_add_test(dangling, an_alternate_stack_is_a_stack);
	tcase_add_test(dangling, who_detaches_is_told_of_no_stack);
	tcase_add_test(dangling, what_is_only_reserved_is_not_read);
	return attached_run(dangling, suite);
}
