/* SPDX-License-Identifier: MIT */
/*
 * heapd_free() of addresses that are no object's start, each of which it must refuse, with an error and a sentence, and report,
 * while what is alive stays as it was; and what becomes of an object that it takes.
 */
#include <stdlib.h>

#include "client/agent.h"
#include "client/attach.h"
#include "frees.h"
#include "heapd/geometry.h"
#include "suite.h"

START_TEST(null_and_foreign)
{
	int on_stack;
	void *on_heap = malloc(100);

	ck_assert_int_eq(heapd_free(NULL), 0);
	ck_assert_int_eq(heapd_free(&on_stack), -ENODEV);
	ck_said(ENODEV, "heapd_attach");
	begin(_i);
	ck_assert_int_eq(heapd_free(NULL), 0);
	ck_bad(&on_stack, "not in the heap");
	ck_bad(on_heap, "not in the heap");
	ck_bad(&fixture, "not in the heap");
	ck_bad((void *)(uintptr_t)1, "not in the heap");
	ck_bad((void *)(uintptr_t)UINT64_MAX, "not in the heap");
	ck_assert_uint_eq(heapd_size(&on_stack), 0);
	ck_said(EINVAL, "no object");
	ck_assert_ptr_null(heapd_type_of(on_heap));
	ck_assert_ptr_null(heapd_start_of(on_heap));
	ck_assert_ptr_null(heapd_heap_of(on_heap));
	ck_assert_ptr_null(heapd_realloc(heap, on_heap, 10));
	ck_said(EINVAL, "no object of this heap begins there");
	free(on_heap);
	end();
}
END_TEST

START_TEST(interior)
{
	begin(_i);
	for (unsigned i = 0; i < KEPT; i++) {
		char *p = (char *)kept[i];

		ck_bad(p + 1, "into an object");
		ck_bad(p + 8, "heapd_start_of");
		ck_bad(p + heapd_size(p) - 1, "into an object");
		ck_assert_ptr_null(heapd_realloc(heap, p + 8, 100));
	}
	struct heapd_info info = HEAPD_SIZED(info);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert_uint_eq(info.bad_frees, 3 * KEPT);
	end();
}
END_TEST

/* Addresses of the heap's own memory where no object is: each kind of page. */
START_TEST(wild)
{
	struct heapd_geometry g;
	struct heapd_info info = HEAPD_SIZED(info);

	begin(_i);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert(heapd_geometry_compute(&g, info.heap_size, info.cpus));
	char *base = (char *)(uintptr_t)info.base;
	ck_bad(base + g.size - 16, "no object lies there");
	ck_bad(base + info.committed + (64u << 20), "no object lies there");
	ck_bad(base + g.size, "not in the heap");
	ck_bad(base + g.directory_at + g.span_at, "not in the heap");
	ck_bad(base + g.control_at + g.freed_at, "not in the heap");
	ck_bad(base + g.total, "not in the heap");
	ck_bad(base - 16, "not in the heap");
	/* A span that is gone. */
	char *gone = (char *)heapd_alloc(heap, 1 << 20);
	ck_assert_int_eq(heapd_free(gone), 0);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_bad(gone, "no object lies there");
	ck_bad(gone + 4096, "no object lies there");
	end();
}
END_TEST

/* The end of a span that no slot covers. */
/* Refused; or a span was cut there between our look and the free, and its slot was free already. */
static void ck_beyond(void *q)
{
	if (heapd_free(q) == -EINVAL)
		ck_assert_msg(strstr(heapd_error(), "no object lies there") ||
				      (strstr(heapd_error(), "into an object") && heapd_start_of(q)),
			      "%s", heapd_error());
	else
		ck_assert_ptr_nonnull(heapd_start_of(q));
}

START_TEST(beyond_the_last_slot)
{
	begin(_i);
	for (size_t bytes = 16; bytes <= 32768; bytes += bytes < 4096 ? 16 : 2048) {
		char *p = (char *)heapd_alloc(heap, bytes), *q;
		size_t size = heapd_size(p);

		for (q = p; heapd_start_of(q); q += size)
			;
		ck_beyond(q);
		ck_assert_int_eq(heapd_free(p), 0);
	}
	end();
}
END_TEST

/* A span whose slabs are full ones, as many as numbers are given for: its end looks like the next span's first slot. */
static unsigned spans_freed_beyond(uint32_t class, uint64_t size)
{
	unsigned found = 0;

	for (uint64_t page = 0; page < heap->geometry.pages; page++) {
		const struct heapd_span *span = &heap->t.spans[page];
		uint64_t end = heap->t.base + (page << HEAPD_PAGE_SHIFT) + span->nslots * size;

		if (heap->t.page_span[page] != page + 1 || span->class != class ||
		    span->nslots % (span->slab_slots * HEAPD_SLAB_UNIT) || end % HEAPD_PAGE_SIZE == 0)
			continue;
		ck_bad((void *)(uintptr_t)end, "no object lies there");
		found++;
	}
	return found;
}

START_TEST(beyond_the_last_slab)
{
	const struct heapd_type_desc desc = { .size = sizeof(desc),
					      .name = "gap",
					      .object_size = 264,
					      .align = 8,
					      .flags = HEAPD_TYPE_NOSCAN };
	enum { MANY = 64000 };
	static void *p[MANY];

	begin(_i);
	heapd_type *type = heapd_type_define_desc(heap, &desc);
	ck_assert_ptr_nonnull(type);
	for (unsigned i = 0; i < MANY; i++) {
		p[i] = heapd_type_alloc(type, 264);
		ck_assert_ptr_nonnull(p[i]);
	}
	ck_assert_uint_gt(spans_freed_beyond(type->fixed_class, 264), 0);
	heap_verify(heap, NULL);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(heapd_free(p[i]), 0);
	end();
}
END_TEST

static int free_it(void *p)
{
	return heapd_free(p) == 0 && heapd_free(p) == -EALREADY ? 0 : 1;
}

/* Freed by another process: a child of fork() is a client of its own. */
START_TEST(by_another_process)
{
	begin(_i);
	void *p = heapd_alloc(heap, 500);
	memset(p, 1, 500);
	fixture_wait(fixture_client_fork(free_it, p), 0);
	ck_assert_int_eq(heapd_free(p), -EALREADY);
	end();
}
END_TEST

/* This process sees the cycle's words as the test has them; its agent, which reads them, too, ends. */
static struct heapd_cycle_words *own_words(void)
{
	static struct heapd_directory own;

	agent_end(heap);
	memcpy(&own, heap->t.directory, sizeof(own));
	heap->t.directory = &own;
	return &own.cycle;
}

static void own_words_end(void)
{
	heap->t.directory = (struct heapd_directory *)(uintptr_t)(heap->t.base + heap->geometry.directory_at);
}

enum { COMING = 256 /* objects: more than a current slab has */ };

/* Whether p is among the next objects of its size, zeroed: it lies in a current slab, then. They are freed again. */
static bool comes_again(const void *p, size_t size)
{
	static void *objects[COMING];
	bool found = false;

	for (unsigned i = 0; i < COMING; i++) {
		objects[i] = heapd_alloc(heap, size);
		ck_assert(objects[i] && bytes_zero(objects[i], size));
		found |= objects[i] == p;
		if (objects[i] == p)
			memset(objects[i], 1, size);
	}
	for (unsigned i = 0; i < COMING; i++)
		ck_assert_int_eq(heapd_free(objects[i]), 0);
	return found;
}

/* What a cycle has to look at first is in no current slab, with the barrier on or in a heap that is so always. */
START_TEST(not_given_out_at_once)
{
	begin(_i);
	struct heapd_cycle_words *words = own_words();
	for (unsigned k = 0; k < 3; k++) {
		void *p = heapd_alloc(heap, 64);
		words->free_mode = k == 1 ? HEAPD_FREE_CHECKED : HEAPD_FREE_PROMPT;
		attach_sequences(heap);
		words->now = heapd_now_make(1, k == 2 ? HEAPD_PHASE_MARK : HEAPD_PHASE_SWEEP);
		heapd_self->gate.on = k != 1; /* the first of them switches it off */
		daemon_stop();                /* it sees no cycle, and would take p back */
		ck_assert_int_eq(heapd_free(p), 0);
		ck_assert_int_eq(marked_freed(p), k != 0);
		ck_assert_uint_eq(heapd_self->gate.on, k == 2);
		heapd_self->gate.on = 0;
		void *q = k ? heapd_alloc(heap, 64) : NULL;
		kill(fixture.daemon, SIGCONT);
		if (k == 0) {
			ck_assert(comes_again(p, 64));
			continue;
		}
		ck_assert_ptr_ne(q, p);
		ck_assert_int_eq(heapd_free(q), 0);
	}
	own_words_end();
	end();
}
END_TEST

enum { POISONED = 600, SLOT_CLEAN = 2048 /* of slots of that size the free ones may be known to be zero */ };

static bool is_filled(const void *p, size_t n, uint64_t word)
{
	for (size_t i = 0; i < n / 8; i++)
		if (((const uint64_t *)p)[i] != word)
			return false;
	return true;
}

static void poison_size(size_t size)
{
	void *objects[POISONED];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < POISONED; i++) {
			objects[i] = heapd_alloc(heap, size);
			ck_assert(objects[i] && bytes_zero(objects[i], size));
			pattern_fill(objects[i], size, i + 1);
		}
		for (unsigned i = 0; i < POISONED; i++) {
			ck_assert_int_eq(heapd_free(objects[i]), 0);
			ck_assert(is_filled(objects[i], size, HEAPD_POISON_WORD));
		}
	}
}

/* Nothing of what is freed is left, and nothing of the poison in what is given out. */
START_TEST(poison)
{
	begin(_i);
	own_words()->debug = HEAPD_DEBUG_POISON;
	attach_sequences(heap);
	/* Freed twice, while it is in a current slab; of a size whose free slots may be known to be zero, too. */
	for (unsigned i = 0; i < 5; i++) {
		void *p = alloc_in_current(SLOT_CLEAN);
		ck_assert_int_eq(heapd_free(p), 0);
		ck_double(p);
		ck_assert(comes_again(p, SLOT_CLEAN));
	}
	poison_size(48);
	poison_size(SLOT_CLEAN);
	own_words_end();
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { null_and_foreign,
				       interior,
				       wild,
				       beyond_the_last_slot,
				       beyond_the_last_slab,
				       by_another_process,
				       not_given_out_at_once,
				       poison };
	Suite *suite = suite_create("free");
	TCase *tc = tcase_create("free");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], 0, OBJECTS_PATHS);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
