/* SPDX-License-Identifier: MIT */
/*
 * What memory costs that a process has never touched: one fault for 64 KiB, not one for each page of 4 KiB. The daemon has
 * committed what it supplies, so nothing is missing but the process's own mapping.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "objects.h"
#include "suite.h"

#define OBJECTS 4096u
#define BYTES   4096u /* each a page of its own */

static struct fixture fixture;

static void setup(void)
{
	static const char *const settings[] = { "heap.test.HugePages=never", "heap.test.GCPercent=off",
						NULL };

	fixture_start(&fixture, settings);
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

static long faults_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* Only what each allocation itself takes: the first ones set up what is the process's. */
static int fill(void *faults)
{
	heapd_heap *heap = NULL;
	long begin = 0;

	ck_must(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (i == OBJECTS / 16)
			begin = faults_now();
		char *object = (char *)heapd_alloc_leaf(heap, BYTES);

		ck_must(object, "object %u: %s", i, heapd_error());
		object[i % BYTES] = 1; /* what is new is known to be zero: nobody else has touched it */
	}
	*(long *)faults = faults_now() - begin;
	return 0;
}

/* How many bytes around a fault the kernel maps, if they are there: what it does with memory of ours, without heapd. */
static unsigned long fault_around(void)
{
	const size_t bytes = 1u << 20;
	int fd = memfd_create("around", MFD_CLOEXEC);
	volatile char *first = (char *)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *second;
	unsigned long n;

	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	for (size_t i = 0; i < bytes; i += 4096)
		first[i] = 1;
	second = (char *)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	long begin = faults_now();
	for (size_t i = 0; i < bytes; i += 4096)
		(void)second[i];
	n = (unsigned long)(faults_now() - begin);
	close(fd);
	return n ? bytes / n : bytes;
}

START_TEST(one_fault_for_64_kib)
{
	long *faults = (long *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long around = fault_around(), pages = OBJECTS - OBJECTS / 16;

	ck_assert_ptr_ne(faults, MAP_FAILED);
	fixture_wait(fixture_client_fork(fill, faults), 0);
	printf("%ld faults for %lu pages of 4 KiB; the kernel maps %lu KiB at a fault\n", *faults, pages,
	       around / 1024);
	if (around < 32768) {
		printf("SKIP one_fault_for_64_kib: this kernel does not map so much at once\n");
		return;
	}
	ck_assert_int_lt(*faults, (long)pages / 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("prefault");
	TCase *tc = tcase_create("prefault");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_fault_for_64_kib);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
