/* SPDX-License-Identifier: MIT */
/*
 * corners.c - owns the operations whose beginning nobody can bring about from outside in time, or on this machine: the library's own words are
 * set for them as a daemon, a processor or another thread would have left them, and are true again when the operation is over.
 */
#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "calls.h"
#include "client/client.h"
#include "client/zero.h"
#include "conditions.h"
#include "heapd/session.h"
#include "heapd/supply.h"
#include "weather.h"

/* The cycle that a thread's barrier was on for is over; the thread turns it off when it finds that. */
void corner_barrier(const struct scene *s)
{
	uint32_t cycle = heapd_now_cycle(HEAPD_LOAD_ACQUIRE(&s->heap->t.directory->cycle.now));

	HEAPD_STORE_RELEASE(&record_here()->gate.on, cycle ? cycle : 1);
}

static void stale_barrier(struct scene *s)
{
	struct node *n = s->object;
	void *seen = NULL;

	corner_barrier(s);
	heapd_store_sym(&n->next, s->others[0]);
	corner_barrier(s);
	use(heapd_exchange_sym(&n->next, s->others[1]));
	corner_barrier(s);
	sink += heapd_cas_sym(&n->next, &seen, s->others[0]);
	corner_barrier(s);
	heapd_zero_sym(&n->next, 2);
	corner_barrier(s);
	heapd_free(s->others[2]);
	corner_barrier(s);
	use(heapd_weak_get(s->weak, struct node));
	corner_barrier(s);
	sink += (uint64_t)heapd_edit_begin(n, sizeof(*n)) + (uint64_t)heapd_edit_end(n);
}

static void prepare_stale(struct scene *s)
{
	prepare_fields(s);
	s->weak = heapd_weak_new(s->heap, s->object);
	s->others[2] = heapd_alloc(s->heap, 1024);
}

/* What has a thread's barrier on, and its ring full: entries are dropped, and the cycle is void. */
static struct heapd_session *session_of(const struct scene *s)
{
	return s->heap->session;
}

void corner_ring(const struct scene *s)
{
	struct heapd_thread *t = record_here();

	if (t->gate.on)
		HEAPD_STORE_RELEASE(&t->barrier_tail, t->barrier_head + session_of(s)->barrier_ring);
	for (unsigned i = 0; i < 4; i++)
		t->barrier_filter[i] = 0;
}

static void prepare_overflow(struct scene *s)
{
	prepare_stale(s);
	corner_ring(s);
}

static void overflow(struct scene *s)
{
	struct node *n = s->others[0];
	void *seen = n->next;

	corner_ring(s);
	heapd_store_sym(&n->next, s->others[1]);
	corner_ring(s);
	use(heapd_exchange_sym(&n->next, s->object));
	corner_ring(s);
	seen = s->object;
	sink += heapd_cas_sym(&n->next, &seen, s->others[1]);
	corner_ring(s);
	heapd_zero_sym(&n->next, 2);
	corner_ring(s);
	use(heapd_weak_get(s->weak, struct node));
	corner_ring(s);
	use(heapd_exchange_sym(&((struct node *)s->others[1])->next, s->object));
}

/* Whatever was logged a moment ago was so in an earlier cycle; then there is no room, either. */
void corner_filter(void)
{
	for (unsigned i = 0; i < 4; i++)
		record_here()->barrier_filter[i] = 0;
}

/* Into fields that are empty: only what is added is to be logged. */
static void first_values(struct scene *s, void (*before)(const struct scene *s))
{
	struct node *n = s->others[1];
	void *seen = NULL;

	before(s);
	heapd_store_sym(&n->other, s->object);
	heapd_store_sym(&n->other, NULL);
	before(s);
	use(heapd_exchange_sym(&n->other, s->object));
	heapd_store_sym(&n->other, NULL);
	before(s);
	sink += heapd_cas_sym(&n->other, &seen, s->object);
	heapd_store_sym(&n->other, NULL);
	before(s);
	heapd_move_sym(&n->other, &((struct node *)s->others[0])->next, 1);
	heapd_store_sym(&n->other, NULL);
}

static void before_forgets(const struct scene *s)
{
	(void)s;
	corner_filter();
}

static void first_logged(struct scene *s)
{
	first_values(s, before_forgets);
}

static void first_dropped(struct scene *s)
{
	first_values(s, corner_ring);
}

/* Slabs that come have belonged to another processor, or to several; some slots of theirs were freed twice on the way. */
static void corner_spares(struct scene *s, uint32_t owner)
{
	struct heapd_thread *t = record_here();

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		uint64_t entry = t->spares[i].entry;
		uint32_t k = entry ? (uint32_t)__builtin_ctz(heapd_entry_present(entry)) : 0,
			 slab = s->heap->t.spans[heapd_entry_page(entry)].slab0 + heapd_entry_slab(entry) + k;

		if (!entry)
			continue;
		__atomic_fetch_or(&s->heap->t.freed[slab], t->spares[i].masks[k] & 6, __ATOMIC_RELAXED);
		HEAPD_WRITE_ONCE(s->heap->t.owner[slab], (uint16_t)owner);
	}
}

static void prepare_tainted(struct scene *s)
{
	spares_fill(s, HEAPD_SPARE_COUNT / 2);
}

/* Until the spare is installed. */
static void spare_use(struct scene *s, const struct heapd_batch *spare)
{
	const struct heapd_class *class = &s->heap->t.classes[spare->class];
	uint64_t before = spare->entry;
	bool leaf = spare->class / HEAPD_SIZECLASS_TOTAL == HEAPD_TYPE_LEAF;

	for (unsigned i = 0; spare->entry == before && i < 70; i++)
		use(leaf ? heapd_alloc_leaf(s->heap, class->slot_size)
			 : heapd_alloc(s->heap, class->slot_size));
}

static void tainted(struct scene *s)
{
	const uint32_t owners[] = { 1, 2, UINT16_MAX - 1, UINT16_MAX };
	struct heapd_thread *t = record_here();

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		corner_spares(s, owners[i % 4]);
		if (t->spares[i].entry)
			spare_use(s, &t->spares[i]);
	}
}

/* The daemon has not looked at what was handed back. */
static void prepare_handback(struct scene *s)
{
	spares_fill(s, HEAPD_SPARE_COUNT);
}

static void corner_handback(void)
{
	struct heapd_thread *t = record_here();

	HEAPD_STORE_RELEASE(&t->handback_head, t->handback_tail - HEAPD_HANDBACK_COUNT);
}

static void handback(struct scene *s)
{
	corner_handback();
	heapd_thread_detach(s->heap);
}

static void handback_one(struct scene *s)
{
	corner_handback();
	for (unsigned i = 0; i < 20; i++) {
		use(heapd_alloc_leaf(s->heap, 2000));
		use(heapd_alloc_leaf(s->heap, 5000));
		use(heapd_alloc_leaf(s->heap, 7000));
	}
}

/* A processor that cannot clear by 32 bytes. */
void corner_narrow(struct scene *s)
{
	s->heap->zero_narrow = zero_narrow(false);
}

static void prepare_narrow(struct scene *s)
{
	one_of_each(s);
	corner_narrow(s);
}

static void narrow(struct scene *s)
{
	static const size_t sizes[] = { 16, 32, 48, 64, 80, 96, 112, 128, 200 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		use(heapd_alloc(s->heap, sizes[i]));
		use(heapd_alloc_leaf(s->heap, sizes[i]));
		use(heapd_type_alloc_array(s->nodes, 64, i + 1));
	}
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 1));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 3));
}

static void narrow_refill(struct scene *s)
{
	for (unsigned i = 0; i < 140; i++) {
		use(heapd_alloc(s->heap, 16));
		use(heapd_alloc(s->heap, 48));
		use(heapd_alloc(s->heap, 96));
	}
}

/* What collects frees is turned to, in such a process. */
static void prepare_narrow_turn(struct scene *s)
{
	static const size_t sizes[] = { 16, 48, 64, 96, 128 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void *kept[8];

		drain(s, sizes[i]);
		for (unsigned j = 0; j < 8; j++)
			kept[j] = heapd_alloc(s->heap, sizes[i]);
		drain(s, sizes[i]);
		for (unsigned j = 0; j < 8; j++)
			heapd_free(kept[j]);
	}
	corner_narrow(s);
}

/* No room for the descriptors that come with an answer. */
static void no_files(struct scene *s)
{
	struct rlimit limit;
	heapd_heap *heap;
	int least = dup(0);

	close(least);
	getrlimit(RLIMIT_NOFILE, &limit);
	for (int more = 1; more < 12; more++) {
		limit.rlim_cur = (rlim_t)(least + more);
		setrlimit(RLIMIT_NOFILE, &limit);
		if (heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0)
			s->heap = heap;
	}
}

static void prepare_fork_no_files(struct scene *s)
{
	struct rlimit limit;
	int least = dup(0);

	prepare_fields(s);
	close(least);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = (rlim_t)(least + 1);
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* In a heap that is not collected, objects that nobody heard of are freed. */
static void prepare_uncollected(struct scene *s)
{
	attach_other(s, "plain", 0);
}

static void unheard_of(struct scene *s)
{
	calls_fail(CALL_RECEIVE, 1, 1, EIO);
	use(heapd_alloc(s->heap, 100000));
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	sink += (uint64_t)heapd_collect(s->heap);
}

/* Frees in a heap that poisons. */
static void prepare_poisoned(struct scene *s)
{
	attach_other(s, "poisoned", 0);
	for (unsigned i = 0; i < 40; i++)
		s->others[i] = heapd_alloc(s->heap, i < 20 ? 64 : 1024);
}

static void poisoned(struct scene *s)
{
	for (unsigned i = 0; i < 40; i += 3) {
		heapd_free(s->others[i]);
		heapd_free(s->others[i]);
	}
}

const struct operation corners[] = {
	OPERATION("stale-barrier", prepare_stale, stale_barrier, IN_MAIN, ONCE),
	OPERATION("overflow", prepare_overflow, overflow, IN_MAIN, ALL),
	OPERATION("first-logged", prepare_fields, first_logged, IN_MAIN, ALL),
	OPERATION("first-dropped", prepare_fields, first_dropped, IN_MAIN, ALL),
	OPERATION("tainted", prepare_tainted, tainted, IN_MAIN, ONCE),
	OPERATION("handback-full", prepare_handback, handback, IN_MAIN, ONCE),
	OPERATION("handback-one", prepare_handback, handback_one, IN_MAIN, ONCE),
	OPERATION("alloc-narrow", prepare_narrow, narrow, IN_MAIN, ONCE),
	OPERATION("refill-narrow", prepare_narrow, narrow_refill, IN_MAIN, ONCE),
	OPERATION("turn-narrow", prepare_narrow_turn, narrow, IN_MAIN, ONCE),
	OPERATION("attach-no-files", prepare_detached, no_files, IN_MAIN, ONCE),
	OPERATION("fork-no-files", prepare_fork_no_files, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("unheard-of", prepare_uncollected, unheard_of, IN_MAIN, ONCE),
	OPERATION("free-poisoned", prepare_poisoned, poisoned, IN_MAIN, ONCE),
	{ 0 },
};
