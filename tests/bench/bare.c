/* SPDX-License-Identifier: MIT */
/*
 * bare.c - the least that heapd's way of allocating can cost: its restartable sequences and zeroing, 64 bytes, on
 * private memory. No class, no look from an address to its slab but a mask, no check of what is freed, no gate of a
 * collector, no other process, no daemon. What heapd takes more than this is what these cost.
 *
 * Right because no slot is lost or given twice: slabs that are neither allocated from nor collecting wait in a
 * queue, by the same rules as a thread's spares in the library.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heapd/rseq.h"
#include "ring.h"
#include "serve.h"

#define SLOT  64ul
#define SLAB  (64 * SLOT)
#define SLABS 1024u /* cut one by one, as they are needed */

struct bare {
	struct heapd_rseq_entry *rows;
	char *memory;
	ptrdiff_t area; /* __rseq_offset */
	uint32_t cpus;
	uint32_t cut; /* slabs in use */
	uint32_t head, tail;
	struct heapd_current waiting[SLABS];
};

static struct bare bare;

static void wait_push(struct heapd_current slab)
{
	bare.waiting[bare.tail++ % SLABS] = slab;
}

/* The slab to go on with. */
static bool slab_next(struct heapd_current *slab)
{
	if (bare.head < bare.tail) {
		*slab = bare.waiting[bare.head++ % SLABS];
		return true;
	}
	*slab = (struct heapd_current){ .base = (uint64_t)(uintptr_t)bare.memory + bare.cut * SLAB,
					.bits = UINT64_MAX };
	return bare.cut++ < SLABS;
}

static __attribute__((noinline)) uint64_t refill(void)
{
	struct heapd_current slab;
	uint64_t object = 0;

	while (!object) {
		if (!heapd_rseq_turn(bare.rows, bare.cpus)) {
			if (!slab_next(&slab))
				return 0;
			if (!heapd_rseq_install(bare.rows, bare.cpus, slab.base, slab.bits,
						HEAPD_WAY_ALLOCATING))
				wait_push(slab);
		}
		object = heapd_rseq_pop(bare.rows, bare.area, bare.cpus, SLOT);
	}
	return object;
}

/* What was collected of another slab waits its turn. */
static void collected_put_aside(uint64_t base)
{
	const struct heapd_rseq_entry *entry = bare.rows + (uint64_t)(heapd_rseq_cpu() - 1) * HEAPD_CLASS_MAX;
	uint64_t at = entry->way ^ HEAPD_WAY_COLLECTING;
	struct heapd_current slab;

	if (entry->slabs[at / sizeof(slab)].base != base && heapd_rseq_take(bare.rows, bare.cpus, at, &slab))
		wait_push(slab);
}

static __attribute__((noinline)) void collect_other(uint64_t base, uint64_t index)
{
	do {
		collected_put_aside(base);
		if (heapd_rseq_push(bare.rows, bare.cpus, base, index, heapd_rseq_cpu()) == HEAPD_PUSH_DONE)
			return;
	} while (!heapd_rseq_install(bare.rows, bare.cpus, base, 1ull << index, HEAPD_WAY_COLLECTING));
}

/* Calls, as a library's are. */
static __attribute__((noinline)) void *bare_get(void)
{
	uint64_t object = heapd_rseq_pop(bare.rows, bare.area, bare.cpus, SLOT);

	if (__builtin_expect(!object, 0))
		object = refill();
	return object ? memset((void *)(uintptr_t)object, 0, SLOT) : NULL;
}

static __attribute__((noinline)) void bare_put(void *object)
{
	uint64_t base = (uint64_t)(uintptr_t)object & ~(SLAB - 1),
		 index = (uint64_t)(uintptr_t)object % SLAB / SLOT;

	if (!heapd_rseq_collect(bare.rows, bare.area, bare.cpus, base, index, heapd_rseq_cpu()))
		collect_other(base, index);
}

BENCH_INLINE void *bench_get(struct bench_worker *w, size_t size)
{
	(void)w, (void)size;
	return bare_get();
}

BENCH_INLINE void bench_put(struct bench_worker *w, void *object)
{
	(void)w;
	bare_put(object);
}

/* Never asked for: there is one worker. */
BENCH_INLINE void bench_pass(struct bench_worker *w, void **slot, void *object)
{
	(void)w;
	*slot = object;
}

BENCH_INLINE void *bench_take(struct bench_worker *w, void **slot)
{
	(void)w;
	return *slot;
}

static struct bench_ring *bench_ring_of(struct bench_worker *w, unsigned pair)
{
	(void)w, (void)pair;
	abort();
}

#include "loops.h"

static int begin(struct bench_worker *w, void *arg)
{
	size_t rows = (size_t)bare.cpus << HEAPD_RSEQ_ROW_SHIFT;

	(void)w, (void)arg;
	bare.rows =
		mmap(NULL, rows, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	bare.memory = aligned_alloc(1 << 21, SLABS * SLAB);
	if (bare.rows == MAP_FAILED || !bare.memory)
		return ENOMEM;
	memset(bare.memory, 0, SLABS * SLAB);
	return heapd_rseq_usable(bare.cpus) ? 0 : ENOTSUP;
}

int main(int argc, char **argv)
{
	struct bench_trade trade = { .begin = begin, .run = bench_loops_run };
	struct bench_hello hello = { .library = "none", .version = "-" };

	if (argc != 2) {
		fprintf(stderr, "usage: bare 1 (compare starts it)\n");
		return 2;
	}
	bare.area = __rseq_offset;
	bare.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	return bench_serve(argv[1], "0", &trade, &hello, NULL);
}
