/* SPDX-License-Identifier: MIT */
/*
 * heapctl's walks through a heap that others change. What stood still all the while, roots and the way from them included,
 * is in the snapshot with the edges that it had, whatever went on around it; and all else in it is of one piece.
 *
 * Fixed objects lie among those that come and go, in the same slabs, and have a field each that is never the same for long.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collected.h"
#include "numbers.h"
#include "tool.h"

#define FIXED    20000u
#define FRESH    200u
#define CHANGERS 3u
#define ROUNDS   8
#define LARGEST  100000u

struct node {
	uint64_t number; /* no address */
	heapd_ptr(struct node) left;
	heapd_ptr(struct node) other; /* of a fixed one: what changes */
	heapd_ptr(struct node) right;
	uint64_t more;
};

static heapd_type *nodes;
static struct node **fixed; /* their addresses; this memory is no root */
static pid_t changers[CHANGERS];

/* Half of them have a type, half share their slabs with whatever has that size. */
static struct node *node_make(uint64_t kind)
{
	struct node *new = kind % 2 ? heapd_new(nodes, struct node)
				    : (struct node *)heapd_alloc(heap, sizeof(*new));

	if (!new)
		errx(1, "%s", heapd_error());
	return new;
}

/* What changes ------------------------------------------------------------------------------------------------------ */

static struct node *any_fixed(uint64_t *seed)
{
	return fixed[random_next(seed) % FIXED];
}

static void change_hang(uint64_t *seed)
{
	struct node *new = node_make(random_next(seed));

	heapd_init(&new->left, any_fixed(seed));
	heapd_init(&new->right, heapd_load(&any_fixed(seed)->other));
	if (random_next(seed) % 4 == 0)
		heapd_store(&new->right, NULL);
	heapd_store(&any_fixed(seed)->other, new);
}

static void change_swap(uint64_t *seed)
{
	struct node *a = any_fixed(seed), *b = any_fixed(seed);
	struct node *was = heapd_exchange(&a->other, heapd_load(&b->other));

	heapd_store(&b->other, was);
}

/* Pages become spans of one kind after the other. */
static void change_litter(uint64_t *seed)
{
	size_t bytes = 8 + random_next(seed) % (random_next(seed) % 64 ? 400 : LARGEST);
	void **o = random_next(seed) % 3 ? (void **)heapd_alloc(heap, bytes)
					 : (void **)(void *)heapd_new_array(nodes, struct node,
									    1 + bytes / sizeof(struct node));

	if (o && random_next(seed) % 4 == 0)
		heapd_store(&any_fixed(seed)->other, (struct node *)(void *)o);
}

static void change_roots(uint64_t *seed)
{
	char name[16];
	void *pin = heapd_pin(heap, heapd_load(&any_fixed(seed)->other));

	snprintf(name, sizeof(name), "root%" PRIu64, random_next(seed) % 8);
	(void)heapd_root_set(heap, name, random_next(seed) % 3 ? heapd_load(&any_fixed(seed)->other) : NULL);
	if (pin)
		heapd_unpin(pin);
}

static void change(uint64_t *seed)
{
	switch (random_next(seed) % 8) {
	case 0:
	case 1:
	case 2:
		change_hang(seed);
		break;
	case 3:
		change_swap(seed);
		break;
	case 4:
		heapd_store(&any_fixed(seed)->other, any_fixed(seed));
		break;
	case 5:
		heapd_store(&any_fixed(seed)->other, NULL);
		break;
	case 6:
		change_litter(seed);
		break;
	default:
		heapd_free(node_make(random_next(seed)));
	}
	if (random_next(seed) % 512 == 0)
		change_roots(seed);
}

/* Until it is killed. */
static int changer(void *arg)
{
	uint64_t seed = *(uint64_t *)arg ^ (uint64_t)getpid() << 32;

	while (getpid() > 1)
		change(&seed);
	return 1;
}

static void changers_start(uint64_t *seed)
{
	for (unsigned i = 0; i < CHANGERS; i++) {
		random_next(seed);
		changers[i] = fixture_client_fork(changer, seed);
	}
}

static void changer_end(unsigned i)
{
	kill(changers[i], SIGKILL);
	fixture_wait(changers[i], -SIGKILL);
}

/* What does not ----------------------------------------------------------------------------------------------------- */

static uint64_t id_of(const void *object)
{
	return (((uint64_t)(uintptr_t)object - heap->t.base) / 8 + 4096) * 2 + 1;
}

static void edge_tell(FILE *f, uint64_t word, const void *to)
{
	if (to)
		fprintf(f, " %" PRIu64 ":%" PRIu64, word, id_of(to));
}

/* A line: the id, the type if it is known, the word that is not looked at, and each other word that leads to something. */
static void node_tell(FILE *f, const struct node *n, bool changes)
{
	fprintf(f, "%" PRIu64 " %s %d", id_of(n), heapd_type_of(n) == nodes ? "node" : "-", changes ? 2 : -1);
	edge_tell(f, 1, n->left);
	if (!changes)
		edge_tell(f, 2, n->other);
	edge_tell(f, 3, n->right);
	fputc('\n', f);
}

/* Of four in a row the first is in the table, each leads to the next; all lead to any. What lies between them goes. */
static void __attribute__((noinline)) fixed_make(uint64_t *seed)
{
	struct node **table = (struct node **)heapd_alloc(heap, FIXED / 4 * 8ul);

	ck_call(heapd_root_set(heap, "table", table));
	for (unsigned i = 0; i < FIXED; i++) {
		fixed[i] = node_make(random_next(seed));
		fixed[i]->number = i + 1;
		if (i % 4)
			heapd_store(&fixed[i - 1]->left, fixed[i]);
		else
			heapd_store(&table[i / 4], fixed[i]);
		for (uint64_t k = random_next(seed) % 4; k; k--)
			node_make(random_next(seed));
	}
	for (unsigned i = 0; i < FIXED; i++)
		heapd_store(&fixed[i]->right, any_fixed(seed));
}

static void fixed_tell(FILE *f)
{
	struct node **table = (struct node **)heapd_root_get(heap, "table", NULL);

	fprintf(f, "%" PRIu64 " - -1", id_of(table));
	for (unsigned i = 0; i < FIXED / 4; i++)
		edge_tell(f, i, table[i]);
	fputc('\n', f);
	for (unsigned i = 0; i < FIXED; i++)
		node_tell(f, fixed[i], true);
}

/* A tree in places that were something else a moment ago; those of the last round go. */
static void __attribute__((noinline)) fresh_make(FILE *f, uint64_t *seed)
{
	struct node *tree[FRESH];

	for (unsigned i = 0; i < FRESH; i++) {
		tree[i] = node_make(i ? random_next(seed) : 1); /* a root keeps its type */
		if (i == 0)
			ck_call(heapd_root_set(heap, "fresh", tree[0]));
		else
			heapd_store(i % 2 ? &tree[(i - 1) / 2]->left : &tree[(i - 1) / 2]->right, tree[i]);
		heapd_init(&tree[i]->other, any_fixed(seed));
	}
	for (unsigned i = 0; i < FRESH; i++)
		node_tell(f, tree[i], false);
}

/* Walks ------------------------------------------------------------------------------------------------------------- */

static void snapshot_check(int round, uint64_t *seed)
{
	char path[128], arguments[256], command[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/expected", fixture.dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fixed_tell(f);
	fresh_make(f, seed);
	ck_assert_int_eq(fclose(f), 0);
	stack_wipe();
	ck_call(heapd_thread_offline(heap));
	snprintf(arguments, sizeof(arguments), "%s -o %s/snapshot snapshot", round % 2 ? "--no-gc" : "",
		 fixture.dir);
	free(tool_run(0, arguments));
	ck_call(heapd_thread_online(heap));
	snprintf(command, sizeof(command), "python3 tests/snapshot.py %s/snapshot %s", fixture.dir, path);
	ck_assert_msg(system(command) == 0, "round %d: the snapshot is not as it says above", round);
}

static void others_check(uint64_t *seed)
{
	const struct node *object = any_fixed(seed);
	char arguments[80], last[64];
	const char *record = NULL;
	char *text;

	ck_call(heapd_thread_offline(heap));
	snprintf(arguments, sizeof(arguments), "--no-gc why %#" PRIxPTR, (uintptr_t)object);
	text = tool_run(0, arguments);
	for (const char *at = strchr(text, '['); at && (at = strchr(at + 1, '{'));)
		record = at;
	snprintf(last, sizeof(last), " %#" PRIxPTR "\"", (uintptr_t)object);
	ck_assert_msg(record && strstr(record, last), "not the way to %s: %s", last, text);
	free(text);
	snprintf(arguments, sizeof(arguments), "--no-gc who %#" PRIxPTR, (uintptr_t)object);
	text = tool_run(0, arguments);
	ck_assert_msg(strstr(text, "\"root table\""), "the table does not reach it: %s", text);
	free(text);
	free(tool_run(0, "--no-gc retained"));
	free(tool_run(0, "--no-gc clients --bytes"));
	free(tool_run(0, "--no-gc --live --age histo"));
	snprintf(arguments, sizeof(arguments), "--json=off --no-gc dot %#" PRIxPTR, (uintptr_t)object);
	free(tool_run(0, arguments));
	ck_call(heapd_thread_online(heap));
}

START_TEST(what_stands_still_is_shown_as_it_is)
{
	uint64_t seed = fixture_seed() | 1;
	const uint64_t *passed = &heap->t.directory->stats.given;
	uint64_t given;

	fixed_make(&seed);
	collect();
	given = HEAPD_READ_ONCE(*passed);
	changers_start(&seed);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned one = (unsigned)round % CHANGERS;

		snapshot_check(round, &seed);
		if (round % 3 == 0)
			others_check(&seed);
		changer_end(one);
		random_next(&seed);
		changers[one] = fixture_client_fork(changer, &seed);
	}
	printf("%" PRIu64 " MiB were given out meanwhile\n", (HEAPD_READ_ONCE(*passed) - given) >> 20);
	for (unsigned i = 0; i < CHANGERS; i++)
		changer_end(i);
}
END_TEST

static void start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, left, other, right);
	ck_assert_ptr_nonnull(nodes);
	fixed = mmap(NULL, FIXED * sizeof(*fixed), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	ck_assert(fixed != MAP_FAILED);
}

static void stop(void)
{
	munmap(fixed, FIXED * sizeof(*fixed));
	attached_stop();
}

int main(void)
{
	TCase *tcase = tcase_create("changing");

	tcase_set_timeout(tcase, 200);
	tcase_add_checked_fixture(tcase, start, stop);
	tcase_add_test(tcase, what_stands_still_is_shown_as_it_is);
	return attached_run(tcase, suite_create("changing"));
}
