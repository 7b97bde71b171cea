/* SPDX-License-Identifier: MIT */
/*
 * Pages of a heap that fail when the marker reads them. By userfaultfd's UFFDIO_POISON, in a heap of this process: the kernel says
 * SIGBUS at this mapping, though the file has the page; nothing is lost. And by a file that is cut short: the page is gone for everybody.
 */
#include "naivemarker.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* Of Linux 6.6; older headers do not have it. */
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON       _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#define UFFD_FEATURE_POISON (1u << 14)
#endif

#define CHAIN 64u /* objects of half a page of the machine's */
#define PAGE  4096ul

static uint64_t *chain[CHAIN];

/* Each leads to the next by its last word. */
static void chain_make(void)
{
	static struct sort sort;

	sort = sort_builtin(HEAPD_TYPE_ANY, PAGE / 2);
	for (unsigned i = 0; i < CHAIN; i++) {
		struct object *o = make(&sort);

		chain[i] = o->words;
		memset(o->words, 0, o->n * 8);
		if (i)
			chain[i - 1][PAGE / 16 - 1] = word_of(chain[i]);
	}
}

/* The page that object i lies in. */
static char *page_of(unsigned i)
{
	return (char *)((uintptr_t)chain[i] & ~(PAGE - 1));
}

/* False where the kernel has no such thing, or will not. */
static bool poison(char *page)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_POISON };
	struct uffdio_range range = { (uintptr_t)page, PAGE };
	struct uffdio_register registered = { .range = range, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_poison poisoned = { .range = range };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0) {
		printf("SKIP poison: userfaultfd has no UFFDIO_POISON here: %m\n");
		return false;
	}
	/* Out of this mapping; the file keeps it. Poison stands only where nothing is. */
	ck_assert_int_eq(ioctl(fd, UFFDIO_REGISTER, &registered), 0);
	ck_assert_int_eq(madvise(page, PAGE, MADV_DONTNEED), 0);
	ck_assert_int_eq(ioctl(fd, UFFDIO_POISON, &poisoned), 0);
	return true;
}

static unsigned chain_marked(void)
{
	unsigned n = 0;

	while (n < CHAIN && is_marked(chain[n]))
		n++;
	return n;
}

static void setup_bus(void)
{
	ck_assert_int_eq(bus_init(), 0);
	setup();
	chain_make();
}

START_TEST(a_page_that_only_this_mapping_cannot_read_is_mapped_anew)
{
	if (!poison(page_of(10)) || !poison(page_of(40)))
		return;
	mark_from(chain[0]);
	ck_assert_uint_eq(chain_marked(), CHAIN);
	ck_assert_uint_eq(t.heap->bus.repaired, 2);
	ck_assert_uint_eq(t.heap->bus.nlost, 0);
	/* It is the file's page again: what is written comes to it. */
	chain[10][0] = 4711;
	uint64_t word = 0;
	ck_assert_int_eq(pread(t.heap->heap_fd, &word, 8, (off_t)((uintptr_t)chain[10] - t.heap->t.base)), 8);
	ck_assert_uint_eq(word, 4711);
}
END_TEST

/* In place of the heap's file, one without seals. */
static int unsealed(void)
{
	int fd = memfd_create("unsealed", MFD_CLOEXEC);
	uint64_t size = t.heap->geometry.size;
	char *page = page_of(0);
	static char copy[CHAIN / 2 * PAGE];

	memcpy(copy, page, sizeof(copy));
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	ck_assert_ptr_ne(mmap(at_offset(0), size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0),
			 MAP_FAILED);
	memcpy(page, copy, sizeof(copy));
	t.heap->bus.fd = fd;
	return fd;
}

START_TEST(what_is_lost_for_all_reads_as_zero_and_is_noted)
{
	int fd = unsealed();
	uint64_t cut = (uint64_t)(uintptr_t)page_of(50) - t.heap->t.base;

	ck_assert_int_eq(ftruncate(fd, (off_t)cut), 0);
	mark_from(chain[0]);
	/* The first object there was still led to, and leads nowhere. */
	ck_assert_uint_eq(chain_marked(), 51);
	ck_assert_uint_eq(t.heap->bus.nlost, 1);
	ck_assert_uint_eq(t.heap->bus.lost[cut / PAGE / 64], 1ull << (cut / PAGE % 64));
	ck_assert_uint_eq(t.heap->bus.repaired, 0);
	/* Once is enough. */
	mark_from(chain[0]);
	ck_assert_uint_eq(t.heap->bus.nlost, 1);
	close(fd);
}
END_TEST

static void *other_memory(void)
{
	int fd = memfd_create("other", MFD_CLOEXEC);
	volatile char *p;

	ck_assert_int_eq(ftruncate(fd, (off_t)PAGE), 0);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	return (void *)(uintptr_t)*p;
}

/* ... and ends the process. */
START_TEST(sigbus_of_other_memory_is_what_it_was)
{
	other_memory();
}
END_TEST

START_TEST(sigbus_that_was_sent_is_what_it_was)
{
	raise(SIGBUS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bus");
	TCase *tcase = tcase_create("bus");

	tcase_add_checked_fixture(tcase, setup_bus, teardown);
	tcase_add_test(tcase, a_page_that_only_this_mapping_cannot_read_is_mapped_anew);
	tcase_add_test(tcase, what_is_lost_for_all_reads_as_zero_and_is_noted);
	tcase_add_test_raise_signal(tcase, sigbus_of_other_memory_is_what_it_was, SIGBUS);
	tcase_add_test_raise_signal(tcase, sigbus_that_was_sent_is_what_it_was, SIGBUS);
	suite_add_tcase(suite, tcase);
	return testheap_run(suite);
}
