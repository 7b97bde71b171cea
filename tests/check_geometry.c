/* SPDX-License-Identifier: MIT */
/* The computed layout: tables lie one after the other, each with its room, for every size and number of CPUs. */
#include "heapd/geometry.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/slab.h"
#include "suite.h"

struct table {
	uint64_t at, bytes;
};

static int by_place(const void *a, const void *b)
{
	const struct table *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static void tables_are_apart(struct table *tables, size_t n, uint64_t head, uint64_t end)
{
	qsort(tables, n, sizeof(*tables), by_place);
	ck_assert_uint_ge(tables[0].at, head);
	for (size_t i = 0; i < n; i++) {
		ck_assert_uint_eq(tables[i].at % 4096, 0);
		ck_assert_uint_ge((i + 1 < n ? tables[i + 1].at : end) - tables[i].at, tables[i].bytes);
		ck_assert_uint_le(tables[i].at + tables[i].bytes, end);
	}
}

static void directory_is_sound(const struct heapd_geometry *g)
{
	struct table tables[] = {
		{ g->class_at, HEAPD_CLASS_MAX * sizeof(struct heapd_class) },
		{ g->type_at, HEAPD_TYPE_MAX * sizeof(struct heapd_type_record) },
		{ g->map_at, HEAPD_MAP_WORDS * 8ul },
		{ g->root_at, HEAPD_ROOT_MAX * sizeof(struct heapd_root_record) },
		{ g->ring_at, HEAPD_CLASS_MAX * sizeof(struct heapd_ring) },
		{ g->class_stats_at, HEAPD_CLASS_MAX * sizeof(struct heapd_class_stats) },
		{ g->page_span_at, g->pages * 4 },
		{ g->span_at, g->pages * sizeof(struct heapd_span) },
		{ g->supplied_at, g->slabs * 8 },
		{ g->out_at, g->slabs * 8 },
		{ g->past_at, g->slabs * sizeof(struct heapd_slab_past) },
	};

	tables_are_apart(tables, sizeof(tables) / sizeof(tables[0]), sizeof(struct heapd_directory),
			 g->directory_size);
}

static void control_is_sound(const struct heapd_geometry *g)
{
	struct table tables[] = {
		{ g->head_at, HEAPD_CLASS_MAX * sizeof(struct heapd_ring_head) },
		{ g->rseq_row_at, g->cpus * HEAPD_CLASS_MAX * sizeof(struct heapd_current) },
		{ g->cas_row_at, g->cpus * HEAPD_CLASS_MAX * sizeof(struct heapd_pair) },
		{ g->counter_at, g->cpus * sizeof(struct heapd_cpu_counters) },
		{ g->freed_dirty_at, (g->slabs + 63) / 64 * 8 },
		{ g->freed_at, g->slabs * 8 },
	};

	tables_are_apart(tables, sizeof(tables) / sizeof(tables[0]), sizeof(struct heapd_control),
			 g->control_size);
}

static const uint64_t sizes[] = { HEAPD_SIZE_MIN, 3 * HEAPD_EXTENT_SIZE, 1ul << 30,
				  (1ul << 36) + HEAPD_EXTENT_SIZE, HEAPD_SIZE_MAX };
static const uint64_t cpu_counts[] = { 1, 2, 3, 64, 511, 8192 };

START_TEST(tables_do_not_overlap)
{
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (size_t c = 0; c < sizeof(cpu_counts) / sizeof(cpu_counts[0]); c++) {
			struct heapd_geometry g = { 0 };

			ck_assert(heapd_geometry_compute(&g, sizes[s], cpu_counts[c]));
			directory_is_sound(&g);
			control_is_sound(&g);
			/* Not at the end of the heap, which stands for its last object. */
			ck_assert_uint_gt(g.directory_at, g.size);
			ck_assert_uint_eq(g.directory_at % HEAPD_CHUNK_SIZE, 0);
			ck_assert_uint_eq(g.control_at, g.directory_at + g.directory_size);
			ck_assert_uint_eq(g.total, g.control_at + g.control_size);
			ck_assert_uint_eq(g.directory_size % HEAPD_CHUNK_SIZE, 0);
			ck_assert_uint_eq(g.control_size % HEAPD_CHUNK_SIZE, 0);
			ck_assert_uint_eq(g.pages * HEAPD_PAGE_SIZE, g.size);
			/* Slab and page numbers, and 1 + a page, have 32 bits. */
			ck_assert_uint_lt(g.slabs, UINT32_MAX);
		}
}
END_TEST

START_TEST(what_is_out_of_range_is_refused)
{
	struct heapd_geometry g = { 0 };

	ck_assert(!heapd_geometry_compute(&g, 0, 1));
	ck_assert(!heapd_geometry_compute(&g, HEAPD_SIZE_MIN - HEAPD_EXTENT_SIZE, 1));
	ck_assert(!heapd_geometry_compute(&g, HEAPD_SIZE_MIN + 4096, 1));
	ck_assert(!heapd_geometry_compute(&g, HEAPD_SIZE_MAX + HEAPD_EXTENT_SIZE, 1));
	ck_assert(!heapd_geometry_compute(&g, HEAPD_SIZE_MIN, 0));
	ck_assert(!heapd_geometry_compute(&g, HEAPD_SIZE_MIN, 8193));
	ck_assert(!heapd_geometry_compute(&g, UINT64_MAX & ~(HEAPD_EXTENT_SIZE - 1), 1));
}
END_TEST

START_TEST(the_largest_heap_fits_the_address_space)
{
	struct heapd_geometry g = { 0 };

	ck_assert(heapd_geometry_compute(&g, HEAPD_SIZE_MAX, 8192));
	ck_assert_uint_le(HEAPD_BASE_DEFAULT + g.total, HEAPD_BASE_MAX);
}
END_TEST

START_TEST(fingerprint_is_always_the_same)
{
	ck_assert_uint_eq(heapd_layout_fingerprint(), heapd_layout_fingerprint());
	ck_assert_uint_ne(heapd_layout_fingerprint(), 0);
}
END_TEST

START_TEST(tables_lie_where_the_geometry_says)
{
	struct heapd_geometry g = { 0 };
	struct heapd_tables t;
	char *directory, *control;

	ck_assert(heapd_geometry_compute(&g, HEAPD_SIZE_MIN, 2));
	directory = malloc(g.directory_size);
	control = malloc(g.control_size);
	ck_assert(directory && control);
	heapd_tables_init(&t, &g, 0x110000000000, directory, control);
	ck_assert_uint_eq((uintptr_t)t.out - (uintptr_t)directory, g.out_at);
	ck_assert_uint_eq((uintptr_t)t.supplied - (uintptr_t)directory, g.supplied_at);
	ck_assert_uint_eq((uintptr_t)t.freed - (uintptr_t)control, g.freed_at);
	ck_assert_uint_eq((uintptr_t)t.rseq_rows - (uintptr_t)control, g.rseq_row_at);
	ck_assert_uint_eq((uintptr_t)t.cas_rows % 16, (uintptr_t)control % 16);
	ck_assert_uint_eq(t.cpus, 2);
	free(directory);
	free(control);
}
END_TEST

/* Of an offset in a span, the slot: compared with division, at every border of a slot. */
START_TEST(span_index_is_division)
{
	for (uint64_t size = 16; size <= HEAPD_SMALL_MAX; size += 8) {
		struct heapd_span s = { .elemsize = size, .magic = heapd_span_magic(size) };

		for (uint64_t offset = 0; offset < 256 * 1024; offset += size) {
			ck_assert_uint_eq(heapd_span_index(&s, offset), offset / size);
			ck_assert_uint_eq(heapd_span_index(&s, offset + size - 1), offset / size);
		}
	}
}
END_TEST

START_TEST(slabs_hold_every_slot_once)
{
	for (uint32_t slots = 1; slots < 300; slots++)
		for (uint16_t each = 1; each <= 64; each++) {
			struct heapd_span s = { .nslots = slots, .slab_slots = each, .elemsize = 16 };
			uint64_t n = 0;

			for (uint32_t k = 0; k < heapd_span_slabs(&s); k++) {
				ck_assert_uint_ne(heapd_slab_valid(&s, k), 0);
				ck_assert_uint_eq(heapd_slab_offset(&s, k), n * 16);
				n += (uint64_t)__builtin_popcountll(heapd_slab_valid(&s, k));
			}
			ck_assert_uint_eq(n, slots);
			ck_assert_uint_eq(heapd_slab_valid(&s, heapd_span_slabs(&s)), 0);
		}
}
END_TEST

START_TEST(entries_keep_their_parts)
{
	uint64_t e = heapd_entry_make(UINT32_MAX - 1, 255, 0xa5a5, HEAPD_ENTRY_ZEROED);

	ck_assert_uint_eq(heapd_entry_page(e), UINT32_MAX - 1);
	ck_assert_uint_eq(heapd_entry_slab(e), 255);
	ck_assert_uint_eq(heapd_entry_present(e), 0xa5a5);
	ck_assert(e & HEAPD_ENTRY_ZEROED);
	e = heapd_entry_without(e, 0);
	ck_assert_uint_eq(heapd_entry_present(e), 0xa5a4);
	ck_assert_uint_eq(heapd_entry_slab(e), 255);
	ck_assert(!(heapd_entry_make(1, 2, 3, 0) & HEAPD_ENTRY_ZEROED));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("geometry");
	TCase *tests = tcase_create("geometry");

	tcase_set_timeout(tests, 30);
	tcase_add_test(tests, tables_do_not_overlap);
	tcase_add_test(tests, what_is_out_of_range_is_refused);
	tcase_add_test(tests, the_largest_heap_fits_the_address_space);
	tcase_add_test(tests, fingerprint_is_always_the_same);
	tcase_add_test(tests, tables_lie_where_the_geometry_says);
	tcase_add_test(tests, span_index_is_division);
	tcase_add_test(tests, slabs_hold_every_slot_once);
	tcase_add_test(tests, entries_keep_their_parts);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
