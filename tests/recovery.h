/* SPDX-License-Identifier: MIT */
/* For tests of what a daemon leaves when it dies, and what the next one makes of it: a heap whose daemon ends, and another that adopts it. */
#ifndef HEAPD_TESTS_RECOVERY_H
#define HEAPD_TESTS_RECOVERY_H

#include "daemon/deads.h"
#include "daemon/recover.h"
#include "testheap.h"

#define SIZE  (256 * MIB)
#define LIMIT (128 * MIB)
#define CLASS 5u /* of the built-in ones: some tens of bytes */

static struct testheap t;
static struct heap_files files;

static inline void setup(void)
{
	testheap_init(&t, SIZE, LIMIT);
}

static inline void teardown(void)
{
	deads_deinit(t.heap);
	testheap_deinit(&t);
}

static inline int copy(int fd)
{
	int new = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	ck_assert_int_ge(new, 0);
	return new;
}

/* The daemon's end as far as its memory goes: nothing that it derived is left. */
static inline void forget(void)
{
	struct heap *heap = t.heap;

	supply_stop(heap);
	files = (struct heap_files){ copy(heap->heap_fd), copy(heap->directory_fd), copy(heap->control_fd),
				     copy(heap->ledger_fd) };
	clients_deinit(heap);
	deads_deinit(heap);
	marks_deinit(heap);
	collection_deinit(heap);
	types_deinit(heap);
}

static inline void adopt_memory(void)
{
	struct heap_plan plan = {
		.config = &t.config,
		.geometry = t.heap->geometry,
		.ledger_bytes = t.heap->ledger_bytes,
		.base = t.heap->t.base,
		.account = &t.account,
		.log = &t.log,
		.files = &files,
	};

	heap_destroy(t.heap);
	t.account.taken = 0;
	ck_assert_int_eq(heap_create(&plan, &t.heap), 0);
}

static inline void adopt_tables(void)
{
	unsigned index;

	ck_assert_int_eq(types_init(t.heap), 0);
	ck_assert_int_eq(collection_init(t.heap), 0);
	ck_assert_int_eq(marks_init(t.heap), 0);
	ck_assert_int_eq(clients_init(t.heap), 0);
	ck_assert_int_eq(
		clients_add(t.heap, &(struct client){ .memory = t.session, .fd = -1, .id = 1 }, &index), 0);
	ck_assert_int_eq(deads_init(t.heap), 0);
	ck_assert_int_eq(supply_init(t.heap), 0);
	ck_assert_int_eq(recover_run(t.heap), 0);
	testheap_is_clean(&t);
}

static inline void adopt(void)
{
	adopt_memory();
	adopt_tables();
}

/* Word by word: the daemon's threads count meanwhile. */
static inline struct heapd_stats stats_now(void)
{
	const uint64_t *from = (const uint64_t *)&t.heap->t.directory->stats;
	struct heapd_stats stats;

	for (size_t i = 0; i < sizeof(stats) / 8; i++)
		((uint64_t *)&stats)[i] = HEAPD_READ_ONCE(from[i]);
	return stats;
}

/* Nothing that a client has is anything but out. */
static inline void ck_nothing_lost(void)
{
	for (uint64_t slab = 0; slab < t.heap->ledger->head->numbers_high * HEAPD_SLAB_UNIT; slab++)
		ck_assert_msg(!(t.mine[slab] & ~t.heap->t.out[slab]), "slab %llu: slots 0x%llx were lost",
			      (unsigned long long)slab,
			      (unsigned long long)(t.mine[slab] & ~t.heap->t.out[slab]));
}

#endif
