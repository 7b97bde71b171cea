/* SPDX-License-Identifier: MIT */
/*
 * heapd_free() of everything that it must refuse: addresses that are no object's start, and objects
 * that are free already, wherever their bit stands by then. Each is refused with its error and a
 * sentence, is reported, and harms nothing: what is alive stays as it was, and the heap verifies.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "heapd/geometry.h"

#include "objects.h"

#include "client/agent.h"
#include "client/attach.h"
#include "client/place.h"
#include "client/thread.h"
#include "suite.h"

#define KEPT 100u

static struct fixture fixture;
static heapd_heap *heap;
static void *kept[KEPT]; /* alive throughout */
static unsigned reports[8];

static void on_report(void *arg, int kind, const char *text)
{
	ck_assert_ptr_eq(arg, reports);
	ck_assert_int_lt(kind, 8);
	ck_assert_msg(strlen(text) > 10, "%s", text);
	reports[kind]++;
}

static void setup(void)
{
	fixture_start(&fixture, NULL);
	memset(reports, 0, sizeof(reports));
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

static void nap_ms(unsigned ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* Attached, on one CPU, with objects of several sizes alive. */
static void begin(int path)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	cpu_pin(sched_getcpu());
	options.flags = path_flags(path);
	options.report = on_report;
	options.report_arg = reports;
	ck_assert_msg(heapd_attach(&heap, FIXTURE_HEAP, &options) == 0, "%s", heapd_error());
	for (unsigned i = 0; i < KEPT; i++) {
		kept[i] = heapd_alloc(heap, 16u << (i % 13));
		ck_assert_ptr_nonnull(kept[i]);
		pattern_fill(kept[i], heapd_size(kept[i]), i + 1);
	}
	/* The rings are filled by then, and pages stay what they are. */
	nap_ms(30);
}

static void
	*aside; /* objects that alloc_in_current() had no use for: the first word of each leads to the next */

/*
 * An object that is free in a current slab once it is freed: what comes again at once is. Any other may be the last slot of its
 * slab, which is nobody's current then; slabs of one free slot come whenever the daemon harvests in the midst of frees.
 */
static void *alloc_in_current(size_t bytes)
{
	for (;;) {
		void *p = heapd_alloc(heap, bytes), *again;

		ck_assert_ptr_nonnull(p);
		ck_assert_int_eq(heapd_free(p), 0);
		again = heapd_alloc(heap, bytes);
		if (again == p)
			return p;
		ck_assert_ptr_nonnull(again);
		*(void **)again = aside;
		aside = again;
	}
}

static void aside_free(void)
{
	while (aside) {
		void *p = aside;

		aside = *(void **)p;
		ck_assert_int_eq(heapd_free(p), 0);
	}
}

/* Nothing was harmed: all of it is whole, is free now, and there was no more. */
static void end(void)
{
	for (unsigned i = 0; i < KEPT; i++)
		ck_assert(pattern_whole(kept[i], heapd_size(kept[i]), i + 1));
	heap_verify(heap, NULL);
	aside_free();
	for (unsigned i = 0; i < KEPT; i++)
		ck_assert_int_eq(heapd_free(kept[i]), 0);
	ck_assert_uint_eq(heap_allocated(heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}

static void ck_bad(void *p, const char *word)
{
	unsigned before = reports[HEAPD_REPORT_BAD_FREE];

	ck_assert_int_eq(heapd_free(p), -EINVAL);
	ck_said(EINVAL, word);
	ck_said(EINVAL, "nothing was freed");
	ck_assert_uint_eq(reports[HEAPD_REPORT_BAD_FREE], before + 1);
}

static void ck_double(void *p)
{
	unsigned before = reports[HEAPD_REPORT_DOUBLE_FREE];

	ck_assert_int_eq(heapd_free(p), -EALREADY);
	ck_said(EALREADY, "double free");
	ck_assert_uint_eq(reports[HEAPD_REPORT_DOUBLE_FREE], before + 1);
}

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

/* The slot lies free in this CPU's current slab; whether that slab is known to be zero or not. */
START_TEST(double_in_current)
{
	begin(_i);
	for (unsigned round = 0; round < 3; round++)
		for (size_t bytes = 16; bytes <= 4096; bytes *= 2) {
			void *p = alloc_in_current(bytes), *q = heapd_alloc(heap, bytes);

			memset(p, 0xff, bytes);
			ck_assert_int_eq(heapd_free(p), 0);
			ck_double(p);
			ck_double(p);
			ck_assert_int_eq(heapd_free(q), 0);
			ck_double(q);
			ck_double(p);
		}
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* More slabs than one: what lies in those before is freed by way of the daemon. */
START_TEST(double_in_freed_word)
{
	void *p[300];

	begin(_i);
	ck_assert_uint_eq(heapd_alloc_many(heap, 96, 300, p), 300);
	nap_ms(30);
	ck_assert_int_eq(heapd_free(p[0]), 0);
	ck_double(p[0]);
	ck_double(p[0]);
	/* Taken back: the ledger has it. The others of its slab stay. */
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_double(p[0]);
	for (unsigned i = 1; i < 300; i++)
		ck_assert_int_eq(heapd_free(p[i]), 0);
	end();
}
END_TEST

START_TEST(double_large)
{
	begin(_i);
	void *p = heapd_alloc(heap, 200000);
	ck_assert_int_eq(heapd_free(p), 0);
	/* Its bit waits for the daemon, or its span is gone by now. */
	int r = heapd_free(p);
	ck_assert_msg(r == -EALREADY || r == -EINVAL, "%d", r);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_bad(p, "no object lies there");
	end();
}
END_TEST

#define CROWD 2000u

/* Freed slots go around, from ledger to ring to current slab: a second free is noticed wherever one is. */
START_TEST(double_anywhere)
{
	static void *p[CROWD];
	static bool freed[CROWD];
	struct heapd_info info = HEAPD_SIZED(info);
	unsigned doubles = 0;
	uint64_t seed = fixture_seed();

	begin(_i);
	srand48((long)seed);
	ck_assert_uint_eq(heapd_alloc_many(heap, 64, CROWD, p), CROWD);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)(drand48() * CROWD);

		if (!p[i])
			continue;
		if (!freed[i]) {
			pattern_fill(p[i], 64, i + 1);
			ck_assert_int_eq(heapd_free(p[i]), 0);
			freed[i] = true;
		} else if (step % 4 == 0) {
			int r = heapd_free(p[i]);

			/* EINVAL: the whole span had been given back. */
			ck_assert_msg(r == 0 || r == -EALREADY || r == -EINVAL, "%d: %s", r, heapd_error());
			doubles += r != -EINVAL;
			if (r == 0)
				ck_assert_int_eq(heapd_sync(heap), 0);
		} else {
			void *again = heapd_alloc(heap, 64);

			ck_assert(bytes_zero(again, 64));
			p[i] = again;
			freed[i] = false;
			/* Whoever had that address before has none now. */
			for (unsigned j = 0; j < CROWD; j++)
				if (j != i && p[j] == again)
					p[j] = NULL;
		}
	}
	/* One that lies in a spare of this thread is judged when the spare has gone back. */
	ck_assert_int_eq(heapd_thread_detach(heap), 0);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	/* A few may have gone unsaid with a span that was given back whole; none is told of that was not. */
	ck_assert_uint_le(info.double_frees, doubles);
	ck_assert_uint_ge(info.double_frees + doubles / 50, doubles);
	ck_assert_uint_gt(doubles, 100);
	for (unsigned i = 0; i < CROWD; i++)
		if (p[i] && !freed[i])
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

/* Until SIGCONT nothing that was freed is taken back. */
static void daemon_stop(void)
{
	siginfo_t info;

	kill(fixture.daemon, SIGSTOP);
	ck_assert_int_eq(waitid(P_PID, (id_t)fixture.daemon, &info, WSTOPPED), 0);
}

static bool marked_freed(const void *p)
{
	struct place place;

	ck_assert(place_find(heap, p, &place));
	return HEAPD_READ_ONCE(heap->t.freed[place.slab]) & place.bit;
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

/* The first CPU that this process may run on and that is not `cpu`; -1: there is none. */
static int another_cpu(int cpu)
{
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	for (unsigned i = 0; i < CPU_SETSIZE; i++)
		if ((int)i != cpu && CPU_ISSET(i, &set))
			return (int)i;
	return -1;
}

/* Attached by sequences, where there are any: or the test has nothing to show. */
static bool begin_rseq(void)
{
	begin(0);
	if (heap->path == HEAPD_PATH_RSEQ)
		return true;
	end();
	return false;
}

/* A slot of a slab that is current here, in the ledger's or a ring's hands: freed from elsewhere before. */
START_TEST(double_in_lent)
{
	int here = sched_getcpu(), there = another_cpu(here);
	struct place place;

	if (there < 0 || !begin_rseq())
		return;
	cpu_pin(here);
	void *p = heapd_alloc(heap, 64), *q = heapd_alloc(heap, 64);
	ck_assert(place_find(heap, p, &place));
	cpu_pin(there);
	daemon_stop();
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert(marked_freed(p));
	kill(fixture.daemon, SIGCONT);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert(!marked_freed(p));
	cpu_pin(here);
	ck_double(p);
	/* The other way to current slabs is not taken either. */
	cpu_pin(there);
	ck_double(p);
	cpu_pin(here);
	ck_assert_int_eq(heapd_free(q), 0);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* Slabs that collected here, one after the other, and were put aside as spares of this thread. */
START_TEST(double_in_spare)
{
	void *p[64 * 5];

	if (!begin_rseq())
		return;
	ck_assert_uint_eq(heapd_alloc_many(heap, 64, 64 * 5, p), 64 * 5);
	for (unsigned i = 0; i < 64 * 5; i++)
		ck_assert_int_eq(heapd_free(p[i]), 0);
	for (unsigned i = 0; i < 64 * 5; i++)
		ck_double(p[i]);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* A slot is free in the current slab of its owner; another CPU had the slab, too, and has kept its base. */
START_TEST(double_on_another_cpu)
{
	int here = sched_getcpu(), there = another_cpu(here);
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_rseq_entry *entry;
	struct place place;

	if (there < 0 || !begin_rseq())
		return;
	cpu_pin(here);
	void *p = heapd_alloc(heap, 64);
	ck_assert(place_find(heap, p, &place));
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert_uint_eq(heap->t.owner[place.slab], (unsigned)here + 1);
	entry = heap->t.rseq_rows + (unsigned)there * HEAPD_CLASS_MAX + place.span->class;
	ck_assert_uint_eq(entry->slabs[0].bits | entry->slabs[1].bits, 0);
	entry->slabs[0].base = entry->slabs[1].base = place.base;
	cpu_pin(there);
	ck_assert_int_eq(heapd_free(p), 0); /* seen by nobody yet */
	ck_assert_uint_eq(entry->slabs[0].bits | entry->slabs[1].bits, 0);
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert_uint_eq(info.double_frees, 1);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { null_and_foreign,
				       interior,
				       wild,
				       beyond_the_last_slot,
				       beyond_the_last_slab,
				       double_in_current,
				       double_in_freed_word,
				       double_large,
				       double_anywhere,
				       by_another_process,
				       not_given_out_at_once,
				       poison };
	Suite *suite = suite_create("free");
	TCase *tc = tcase_create("free");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], 0, OBJECTS_PATHS);
	/* What only the sequences' current slabs have. */
	tcase_add_test(tc, double_in_lent);
	tcase_add_test(tc, double_in_spare);
	tcase_add_test(tc, double_on_another_cpu);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
