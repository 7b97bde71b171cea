/* SPDX-License-Identifier: MIT */
/* The tests of check_header.c in C++, and what C++ alone can do: derived classes, traits. */
#include "check_header.c"

struct express : order {
	int hours;
};

static_assert(heapd_kind_<void *const>::pointer, "a const pointer is a pointer");
static_assert(heapd_kind_<char *[2][3]>::pointer, "an array of arrays of pointers");
static_assert(!heapd_kind_<char[8]>::pointer, "characters are none");
static_assert(!heapd_kind_<uintptr_t>::pointer, "numbers are none");

START_TEST(derived_classes)
{
	struct order a = {};
	struct express e = {};

	setup_gate(0);
	heapd_store(&a.next, &e);
	ck_assert_ptr_eq(a.next, &e);
	heapd_store(&a.grid[0][0], &e);
	ck_assert_ptr_eq(a.grid[0][0], &e);
	heapd_store(&a.next, nullptr);
	ck_assert_ptr_null(a.next);
}
END_TEST

static void add_cxx_tests(TCase *tests)
{
	tcase_add_test(tests, derived_classes);
}
