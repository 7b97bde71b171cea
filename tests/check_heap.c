/* SPDX-License-Identifier: MIT */
/* Where heaps are placed, what their memory files are, and the account of what may be committed. */
#include "daemon/heap.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/clients.h"
#include "daemon/memory.h"
#include "suite.h"

static struct log lines;
static int said = -1; /* what was logged */
static struct config config;
static struct account account;

static void report(void *arg, int priority, const char *file, unsigned line, const char *text)
{
	(void)arg, (void)priority;
	fprintf(stderr, "%s:%u: %s\n", file ? file : "-", line, text);
}

static void setup(void)
{
	struct config_error error;

	said = memfd_create("log", MFD_CLOEXEC);
	log_init(&lines, said, LOG_TARGET_CONSOLE, LOG_DEBUG);
	account_init(&account);
	ck_assert_int_eq(config_init(&config), 0);
	ck_assert_int_eq(config_override(&config, "heap.test.Size=64M", &error), 0);
	ck_assert_int_eq(config_override(&config, "heap.test.Limit=32M", &error), 0);
	ck_assert_int_eq(config_check(&config, report, NULL), 0);
}

static void teardown(void)
{
	config_free(&config);
	close(said);
}

static int create(uint64_t base, struct heap **heap)
{
	struct heap_plan plan = {
		.config = &config.heaps[0],
		.ledger_bytes = 5000,
		.base = heap_first_base(),
		.account = &account,
		.log = &lines,
	};

	config.heaps[0].base = base;
	ck_assert_int_eq(heap_geometry(plan.config, &lines, &plan.geometry), 0);
	return heap_create(&plan, heap);
}

static void occupy(uint64_t base)
{
	void *p = mmap((void *)(uintptr_t)base, 4096, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	ck_assert_uint_eq((uint64_t)(uintptr_t)p, base);
}

START_TEST(automatic_base_goes_around_neighbours)
{
	uint64_t first = heap_first_base();
	struct heap *a, *b;

	occupy(first + (64ul << 20)); /* where the directory would lie */
	ck_assert_int_eq(create(0, &a), 0);
	ck_assert_uint_gt(a->t.base, first);
	ck_assert_uint_eq(a->t.base % (1ul << 30), 0);
	ck_assert_int_eq(create(0, &b), 0);
	ck_assert_uint_ge(b->t.base, a->t.base + a->geometry.total);
	ck_assert_uint_ge(heap_next_base(b), b->t.base + b->geometry.total);
	heap_destroy(a);
	heap_destroy(b);
	munmap((void *)(uintptr_t)(first + (64ul << 20)), 4096);
	ck_assert_uint_eq(account_taken(&account), 0);
}
END_TEST

START_TEST(occupied_base_is_refused)
{
	uint64_t base = heap_first_base() + (1ul << 33);
	struct heap *heap;
	char text[1024] = "";

	occupy(base + (64ul << 20));
	ck_assert_int_eq(create(base, &heap), -EEXIST);
	ck_assert_int_gt(pread(said, text, sizeof(text) - 1, 0), 0);
	ck_assert_msg(strstr(text, "choose another Base="), "%s", text);
	ck_assert_ptr_eq(strchr(strchr(text, '\n') + 1, '\n'), NULL);
	munmap((void *)(uintptr_t)(base + (64ul << 20)), 4096);
	ck_assert_int_eq(create(base, &heap), 0);
	ck_assert_uint_eq(heap->t.base, base);
	heap_destroy(heap);
}
END_TEST

/* Directory and control lie behind, a little apart, as in every client; nothing stays when the heap ends. */
START_TEST(tables_lie_behind_the_objects)
{
	const struct heapd_geometry *g;
	struct heap *heap;
	uint64_t base;

	ck_assert_int_eq(create(0, &heap), 0);
	g = &heap->geometry;
	base = heap->t.base;
	ck_assert_uint_eq((uint64_t)(uintptr_t)heap->t.directory, base + g->size + HEAPD_APART);
	ck_assert_uint_eq((uint64_t)(uintptr_t)heap->t.control,
			  base + g->size + HEAPD_APART + g->directory_size);
	ck_assert_uint_eq(heap->t.directory->base, base);
	ck_assert_uint_eq(heap_limit(heap), 32ul << 20);
	memset(heap->ledger_memory, 1, 5000);
	*(volatile char *)(uintptr_t)(base + g->size - 1) = 1;
	heap_set_limit(heap, 5);
	ck_assert_uint_eq(heap->t.directory->stats.limit, 5);
	heap_destroy(heap);
	occupy(base);
	munmap((void *)(uintptr_t)base, 4096);
}
END_TEST

START_TEST(memory_files_keep_their_size_and_seals)
{
	int fd = memory_create("label", 1ul << 40, 0), reader;
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq((uint64_t)st.st_size, 1ul << 40);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	reader = memory_open_readonly(fd);
	ck_assert_int_ge(reader, 0);
	ck_assert_int_eq(fcntl(reader, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(fcntl(reader, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(reader);
}
END_TEST

START_TEST(account_gives_no_more_than_there_is)
{
	struct account a = { .maximum = 1000 };
	struct account_part part;

	account_join(&a, &part);
	ck_assert_int_eq(account_take(&part, 600), 0);
	ck_assert_int_eq(account_take(&part, 401), -ENOMEM);
	ck_assert_int_eq(account_take(&part, UINT64_MAX), -ENOMEM);
	ck_assert_int_eq(account_take(&part, 400), 0);
	ck_assert_int_eq(account_take(&part, 1), -ENOMEM);
	account_give(&part, 1000);
	ck_assert_uint_eq(account_taken(&a), 0);
	ck_assert_uint_eq(account_less_reserve(100ul << 30), (100ul << 30) - (2ul << 30));
	ck_assert_uint_eq(account_less_reserve(1ul << 30), (1ul << 30) - (64ul << 20));
	ck_assert_uint_eq(account_less_reserve(64ul << 20), 32ul << 20);
	ck_assert_uint_gt(account.maximum, 0);
}
END_TEST

/* Of 1000, three heaps of which two have 200 each kept for them, and one that can never have more than 50 has these. */
START_TEST(a_share_is_kept_for_each_heap)
{
	struct account a = { .maximum = 1000, .minor = 1100 };
	struct account_part first, second, small;

	account_set_share(&a, 20);
	account_join(&a, &first);
	account_join(&a, &second);
	account_join(&a, &small);
	account_set_most(&first, 2000);
	account_set_most(&second, 2000);
	account_set_most(&small, 50);
	ck_assert_uint_eq(account_left(&first), 750);
	ck_assert_int_eq(account_take(&first, 751), -ENOMEM);
	ck_assert_int_eq(account_take(&first, 750), 0);
	ck_assert_int_eq(account_take(&first, 1), -ENOMEM);
	/* What is the others' own they find, in any order, and no more than that. */
	ck_assert_int_eq(account_take(&small, 30), 0);
	ck_assert_int_eq(account_take(&second, 200), 0);
	ck_assert_int_eq(account_take(&second, 1), -ENOMEM);
	ck_assert_int_eq(account_take(&small, 20), 0);
	ck_assert_uint_eq(account_taken(&a), 1000);
	/* Sessions are not refused for it. */
	ck_assert_int_eq(account_take_minor(&first, 100), 0);
	account_give(&first, 100);
	/* Given back by who has more than its share, it is anybody's; by who has less, its own again. */
	account_give(&first, 100);
	account_give(&second, 50);
	ck_assert_uint_eq(account_left(&first), 100);
	ck_assert_uint_eq(account_left(&second), 150);
	/* A heap that goes leaves what was kept for it; one that comes when all is taken has what is left of its share. */
	account_give(&second, 150);
	account_leave(&second);
	ck_assert_int_eq(account_take(&first, 300), 0);
	account_join(&a, &second);
	account_set_most(&second, 2000);
	ck_assert_uint_eq(account_left(&second), 0);
	account_give(&first, 100);
	ck_assert_uint_eq(account_left(&first), 0);
	ck_assert_uint_eq(account_left(&second), 100);
	account_set_share(&a, 0);
	ck_assert_uint_eq(account_left(&first), 100);
	ck_assert_uint_eq(a.owed, 0);
}
END_TEST

static void put(const char *directory, const char *file, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	f = fopen(path, "w");
	ck_assert_ptr_ne(f, NULL);
	fputs(text, f);
	fclose(f);
}

/* The least maximum of all groups above counts, in both versions of the hierarchy. */
START_TEST(groups_above_count)
{
	char dir[] = "/tmp/heapd-test-XXXXXX", path[128], command[160];

	ck_assert_ptr_ne(mkdtemp(dir), NULL);
	snprintf(path, sizeof(path), "%s/cgroup", dir);
	snprintf(command, sizeof(command), "mkdir -p %s/a/b/c %s/memory/x/y", dir, dir);
	ck_assert_int_eq(system(command), 0);
	put(dir, "cgroup", "9:name=systemd:/\n4:memory:/x/y\n0::/a/b/c\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), UINT64_MAX);
	put(dir, "a/b/c/memory.max", "max\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), UINT64_MAX);
	put(dir, "a/memory.max", "700\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), 700);
	put(dir, "a/b/memory.max", "900\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), 700);
	put(dir, "memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), 700);
	put(dir, "memory/memory.limit_in_bytes", "300\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), 300);
	put(dir, "cgroup", "0::/\n");
	put(dir, "memory.max", "200\n");
	ck_assert_uint_eq(account_cgroup_maximum(path, dir), 200);
	ck_assert_uint_eq(account_cgroup_maximum("/nowhere", dir), UINT64_MAX);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(places_of_clients_are_used_again)
{
	static struct heapd_session memory[40];
	struct heap *heap;
	unsigned index;

	ck_assert_int_eq(create(0, &heap), 0);
	ck_assert_int_eq(clients_init(heap), 0);
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_int_eq(clients_add(heap,
					     &(struct client){ .memory = &memory[i], .fd = -1, .id = i + 1 },
					     &index),
				 0);
		ck_assert_uint_eq(index, i);
	}
	clients_remove(heap, 3);
	clients_remove(heap, 17);
	ck_assert(!heap->clients->slots[17].live);
	ck_assert_ptr_eq(heap->clients->slots[17].memory, NULL);
	ck_assert_int_eq(
		clients_add(heap, &(struct client){ .memory = &memory[0], .fd = -1, .id = 50 }, &index), 0);
	ck_assert_uint_eq(index, 3);
	ck_assert_int_eq(
		clients_add(heap, &(struct client){ .memory = &memory[1], .fd = -1, .id = 51 }, &index), 0);
	ck_assert_uint_eq(index, 17);
	ck_assert_uint_eq(heap->clients->slots[17].id, 51);
	ck_assert_uint_eq(heap->clients->n, 40);
	clients_deinit(heap);
	heap_destroy(heap);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap");
	TCase *tcase = tcase_create("heap");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, automatic_base_goes_around_neighbours);
	tcase_add_test(tcase, occupied_base_is_refused);
	tcase_add_test(tcase, tables_lie_behind_the_objects);
	tcase_add_test(tcase, memory_files_keep_their_size_and_seals);
	tcase_add_test(tcase, account_gives_no_more_than_there_is);
	tcase_add_test(tcase, a_share_is_kept_for_each_heap);
	tcase_add_test(tcase, groups_above_count);
	tcase_add_test(tcase, places_of_clients_are_used_again);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
