/* SPDX-License-Identifier: MIT */
/*
 * Which way this process allocates. Restartable sequences need a kernel and a C library that
 * registered this thread for them, and a CPU that the heap has a row for; where glibc did so for this
 * thread, it does for all. Under valgrind and other emulators registering fails, so they need no case
 * of their own.
 */
#include "path.h"

#include <stdlib.h>

#include "heapd/rseq.h"

#if HEAPD_HAVE_RSEQ
#define RSEQ_LEAST 20u /* bytes of the area that the sequences rely on */

static bool rseq_works(const struct heapd_heap *heap)
{
	uint32_t cpu;

	if (__rseq_size < RSEQ_LEAST)
		return false;
	/* cpu_id is at offset 4; -1 or -2 while this thread is not registered. */
	__asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(__rseq_offset));
	return cpu < heap->t.cpus;
}
#else
static bool rseq_works(const struct heapd_heap *heap)
{
	(void)heap;
	return false;
}
#endif

uint32_t path_choose(const struct heapd_heap *heap, uint32_t flags)
{
	const char *no = secure_getenv("HEAPD_NO_RSEQ");

	/* Read-only clients have no control mapped; the path of compare-and-swap knows that. */
	if (heap->read_only || flags & HEAPD_ATTACH_NO_RSEQ || (no && *no) || !rseq_works(heap))
		return HEAPD_PATH_CAS;
	return HEAPD_PATH_RSEQ;
}
