/* SPDX-License-Identifier: MIT */
/*
 * testheap.h - a heap in the test's own process, and a client of it that is nothing but the protocol.
 *
 * testheap_init() makes the memory, with the built-in classes and one session, and with collection off;
 * testheap_start() adds supply. The
 * client functions do with shared words what include/heapd/supply.h and percpu.h allow a client, and know by
 * a model of one word for each slab which slots they hold: none is ever given twice.
 */
#ifndef HEAPD_TESTS_TESTHEAP_H
#define HEAPD_TESTS_TESTHEAP_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/collection.h"
#include "daemon/marks.h"
#include "daemon/supply.h"
#include "daemon/types.h"
#include "daemon/verify.h"
#include "suite.h"

#define MIB                  (UINT64_C(1) << 20)
#define TESTHEAP_PATIENCE_NS 20000000000u

struct testheap {
	struct log log;
	int log_fd; /* a file that can be read back */
	struct account account;
	struct config_heap config;
	struct heap *heap;
	struct heapd_session *session;
	struct heapd_thread *threads;
	uint64_t *mine; /* by slab: slots that the client has taken and not freed */
	uint64_t mine_bytes;
};

static inline uint64_t testheap_seed(void)
{
	const char *set = getenv("HEAPD_TEST_SEED");
	uint64_t seed = set ? strtoull(set, NULL, 0) : clock_ns() ^ (uint64_t)getpid() << 32;

	printf("HEAPD_TEST_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed | 1;
}

/* xorshift64* */
static inline uint64_t testheap_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static inline void *testheap_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static inline void testheap_init_with(struct testheap *t, uint64_t size, uint64_t limit,
				      enum config_huge huge, uint64_t cpus)
{
	struct heap_plan plan = { .config = &t->config, .base = heap_first_base() };
	unsigned index;

	*t = (struct testheap){ .config = { .name = "test", .size = size, .limit = limit, .huge = huge } };
	t->account.maximum = 4ul << 30;
	t->log_fd = memfd_create("log", MFD_CLOEXEC);
	log_init(&t->log, t->log_fd, LOG_TARGET_CONSOLE, LOG_DEBUG);
	plan.account = &t->account;
	plan.log = &t->log;
	if (cpus)
		ck_assert(heapd_geometry_compute(&plan.geometry, size, cpus));
	else
		ck_assert_int_eq(heap_geometry(&t->config, &t->log, &plan.geometry), 0);
	plan.ledger_bytes = ledger_size(&plan.geometry);
	ck_assert_int_eq(heap_create(&plan, &t->heap), 0);
	ck_assert_int_eq(types_init(t->heap), 0);
	ck_assert_int_eq(collection_init(t->heap), 0);
	ck_assert_int_eq(marks_init(t->heap), 0);
	ck_assert_int_eq(clients_init(t->heap), 0);
	t->session = testheap_map(HEAPD_SESSION_CORE);
	t->session->nthreads = 4;
	t->threads = (struct heapd_thread *)(void *)((char *)t->session + HEAPD_SESSION_THREAD_AT);
	ck_assert_int_eq(
		clients_add(t->heap, &(struct client){ .memory = t->session, .fd = -1, .id = 1 }, &index), 0);
	t->mine = testheap_map(t->heap->geometry.slabs * 8);
}

static inline void testheap_init(struct testheap *t, uint64_t size, uint64_t limit)
{
	testheap_init_with(t, size, limit, CONFIG_HUGE_NEVER, 0);
}

static inline void testheap_start(struct testheap *t)
{
	ck_assert_int_eq(supply_start(t->heap), 0);
}

/* Also when the supplier was never started. */
static inline void testheap_deinit(struct testheap *t)
{
	uint64_t committed;

	supply_stop(t->heap);
	committed = HEAPD_READ_ONCE(t->heap->t.directory->stats.committed);
	munmap(t->mine, t->heap->geometry.slabs * 8);
	clients_deinit(t->heap);
	marks_deinit(t->heap);
	collection_deinit(t->heap);
	types_deinit(t->heap);
	heap_destroy(t->heap);
	ck_assert_uint_eq((account_taken(&t->account) - committed) % HEAPD_CHUNK_SIZE, 0);
	munmap(t->session, HEAPD_SESSION_CORE);
	close(t->log_fd);
}

static inline bool testheap_logged(const struct testheap *t, const char *text)
{
	static char all[65536];
	ssize_t n = pread(t->log_fd, all, sizeof(all) - 1, 0);

	all[n < 0 ? 0 : n] = '\0';
	return strstr(all, text);
}

static inline const struct heapd_stats *testheap_stats(const struct testheap *t)
{
	return &t->heap->t.directory->stats;
}

static inline struct heapd_verify_reply testheap_verify(struct testheap *t)
{
	struct heapd_verify_reply reply;

	ck_assert_int_eq(verify_heap(t->heap, &reply), 0);
	return reply;
}

static inline void testheap_is_clean(struct testheap *t)
{
	struct heapd_verify_reply reply = testheap_verify(t);

	ck_assert_msg(!reply.faults, "%llu faults: %s", (unsigned long long)reply.faults, reply.first);
}

/* Everything freed is harvested, and the rings' contents are the rest: nothing is lost, nothing twice. */
static inline void testheap_balances(struct testheap *t)
{
	struct heapd_verify_reply reply;

	supply_sync(t->heap);
	reply = testheap_verify(t);
	ck_assert_msg(!reply.faults, "%s", reply.first);
	ck_assert_uint_eq(reply.freed_pending, 0);
	ck_assert_uint_eq(reply.allocated, t->mine_bytes);
}

/* The address of a slot. */
static inline char *testheap_slot(const struct testheap *t, uint32_t first, uint32_t k, unsigned slot)
{
	const struct heapd_span *s = &t->heap->t.spans[first];
	uint64_t at = ((uint64_t)first << HEAPD_PAGE_SHIFT) + heapd_slab_offset(s, k) + slot * s->elemsize;

	return (char *)(uintptr_t)(t->heap->t.base + at); /* NOLINT(performance-no-int-to-ptr) */
}

/* The model: these slots are the client's from now on, and were not before. */
static inline void testheap_own(struct testheap *t, uint32_t slab, uint64_t mask, uint64_t elemsize)
{
	uint64_t before = __atomic_fetch_or(&t->mine[slab], mask, __ATOMIC_ACQ_REL);

	ck_assert_msg(!(before & mask), "slab %u: slots 0x%llx given twice", slab,
		      (unsigned long long)(before & mask));
	__atomic_fetch_add(&t->mine_bytes, (uint64_t)__builtin_popcountll(mask) * elemsize, __ATOMIC_RELAXED);
}

static inline void testheap_disown(struct testheap *t, uint32_t slab, uint64_t mask, uint64_t elemsize)
{
	uint64_t before = __atomic_fetch_and(&t->mine[slab], ~mask, __ATOMIC_ACQ_REL);

	ck_assert_uint_eq(before & mask, mask);
	__atomic_fetch_sub(&t->mine_bytes, (uint64_t)__builtin_popcountll(mask) * elemsize, __ATOMIC_RELAXED);
}

/* Takes one entry off the class's ring, as supply.h says; false if it is empty. */
static inline bool testheap_take(struct testheap *t, uint32_t class, struct heapd_batch *batch)
{
	struct heapd_ring *ring = &t->heap->t.rings[class];
	uint64_t *shared = &t->heap->t.heads[class].head, head = HEAPD_LOAD_ACQUIRE(shared);

	for (;;) {
		uint64_t tail = HEAPD_LOAD_ACQUIRE(&ring->tail);

		if (head >= tail)
			return false;
		*batch = (struct heapd_batch){ .entry = HEAPD_READ_ONCE(ring->slots[head % HEAPD_RING_SLOTS]),
					       .class = class };
		uint32_t first = heapd_entry_page(batch->entry), k = heapd_entry_slab(batch->entry);

		for (uint32_t i = 0; i < HEAPD_BATCH_MAX && first < t->heap->geometry.pages; i++)
			batch->masks[i] =
				HEAPD_READ_ONCE(t->heap->t.supplied[t->heap->t.spans[first].slab0 + k + i]);
		if (__atomic_compare_exchange_n(shared, &head, head + 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			break;
	}
	const struct heapd_span *s = &t->heap->t.spans[heapd_entry_page(batch->entry)];

	ck_assert_uint_eq(s->class, class);
	for (uint32_t i = 0; i < HEAPD_BATCH_MAX; i++) {
		if (!(heapd_entry_present(batch->entry) >> i & 1))
			batch->masks[i] = 0;
		else
			testheap_own(t, s->slab0 + heapd_entry_slab(batch->entry) + i, batch->masks[i],
				     s->elemsize);
	}
	return true;
}

static inline void testheap_demand(struct testheap *t, uint32_t class)
{
	struct heapd_control *control = t->heap->t.control;

	__atomic_fetch_or(&control->demand[class / 64], 1ull << (class % 64), __ATOMIC_RELEASE);
	HEAPD_FENCE();
	if (HEAPD_READ_ONCE(control->bell) != HEAPD_BELL_AWAKE &&
	    __atomic_exchange_n(&control->bell, HEAPD_BELL_AWAKE, __ATOMIC_ACQ_REL) != HEAPD_BELL_AWAKE)
		futex_wake_all(&control->bell);
}

/* One entry, waited for; -ENOMEM if the daemon refused. */
static inline int testheap_get(struct testheap *t, uint32_t class, struct heapd_batch *batch)
{
	struct heapd_ring *ring = &t->heap->t.rings[class];
	uint64_t until = clock_ns() + TESTHEAP_PATIENCE_NS;

	while (clock_ns() < until) {
		uint32_t event = HEAPD_LOAD_ACQUIRE(&ring->event),
			 refused = HEAPD_LOAD_ACQUIRE(&ring->refused);

		if (testheap_take(t, class, batch))
			return 0;
		testheap_demand(t, class);
		futex_wait(&ring->event, event, 1000000000u);
		if (HEAPD_LOAD_ACQUIRE(&ring->refused) != refused && !testheap_take(t, class, batch))
			return -ENOMEM;
		if (HEAPD_LOAD_ACQUIRE(&ring->refused) != refused)
			return 0;
	}
	ck_abort_msg("class %u: neither supplied nor refused", class);
}

/* Sets freed bits, as heapd_free() does where the slab is not current. */
static inline void testheap_free_bits(struct testheap *t, uint32_t slab, uint64_t mask)
{
	__atomic_fetch_or(&t->heap->t.freed[slab], mask, __ATOMIC_RELEASE);
	__atomic_fetch_or(&t->heap->t.freed_dirty[slab / 64], 1ull << (slab % 64), __ATOMIC_RELEASE);
}

static inline uint32_t testheap_slab(const struct testheap *t, const struct heapd_batch *batch, unsigned i)
{
	return t->heap->t.spans[heapd_entry_page(batch->entry)].slab0 + heapd_entry_slab(batch->entry) + i;
}

/* Frees what the mask leaves of each of the batch's slabs. */
static inline void testheap_free(struct testheap *t, const struct heapd_batch *batch, uint64_t mask)
{
	uint64_t elemsize = t->heap->t.spans[heapd_entry_page(batch->entry)].elemsize;

	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++) {
		if (!(batch->masks[i] & mask))
			continue;
		uint32_t slab = testheap_slab(t, batch, i);

		testheap_disown(t, slab, batch->masks[i] & mask, elemsize);
		testheap_free_bits(t, slab, batch->masks[i] & mask);
	}
}

/* Waits until the word is what is wanted, or less; false if it never comes. */
static inline bool testheap_falls(const uint64_t *word, uint64_t to)
{
	for (uint64_t until = clock_ns() + TESTHEAP_PATIENCE_NS; clock_ns() < until; usleep(10000))
		if (HEAPD_READ_ONCE(*word) <= to)
			return true;
	return false;
}

static inline int testheap_run(Suite *suite)
{
	return suite_run(suite);
}

#endif
