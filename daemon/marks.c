/* SPDX-License-Identifier: MIT */
/*
 * Owns the memory of the collector's words; what they mean stands in marks.h, why they are right in cycle.c.
 */
#include "marks.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static uint64_t *table_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int marks_init(struct heap *heap)
{
	struct marks *marks = calloc(1, sizeof(*marks));

	if (!marks)
		return -ENOMEM;
	heap->marks = marks;
	marks->bytes = heapd_align_up(heap->geometry.slabs * 8, 4096);
	marks->mark = table_map(marks->bytes);
	marks->hold = table_map(marks->bytes);
	marks->early = table_map(marks->bytes);
	marks->doomed = table_map(marks->bytes);
	if (marks->mark && marks->hold && marks->early && marks->doomed)
		return 0;
	marks_deinit(heap);
	return -ENOMEM;
}

void marks_deinit(struct heap *heap)
{
	struct marks *marks = heap->marks;

	if (!marks)
		return;
	if (marks->mark)
		munmap(marks->mark, marks->bytes);
	if (marks->hold)
		munmap(marks->hold, marks->bytes);
	if (marks->early)
		munmap(marks->early, marks->bytes);
	if (marks->doomed)
		munmap(marks->doomed, marks->bytes);
	free(marks);
	heap->marks = NULL;
}
