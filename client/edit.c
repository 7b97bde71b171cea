/* SPDX-License-Identifier: MIT */
/*
 * Edits: ranges of pointer words that a thread writes plainly for a while.
 *
 * While it is open a range counts as stack: it stands in the thread's record, where the scan finds it.
 * What it holds when it is opened is shaded, since plain stores will remove it unlogged; what it holds when
 * it is closed is shaded, since plain stores put it there. Recording and shading are one operation, so no
 * handshake falls in between.
 *
 * Handshake 1, the barrier going on, need not look at open ranges, though one opened before it was not
 * shaded. What such a range held then, and plain stores have removed since, the thread took out before its
 * own scan, or the scan would have found it in the range. Either it still has it on its stack or in a
 * register at that scan, which publishes it; or it stored it somewhere through the barrier, which shades
 * what is stored until the thread has scanned; or it put it back into an open range; or it dropped it, and
 * nobody reached it by way of this range any more. After its scan the thread can take out only what the
 * scan found there, or what it put in since from places that the barrier, or that scan, covers.
 */
#include <errno.h>

#include "client/barrier.h"

struct edit {
	uint64_t start, bytes;
};

/* Widened to whole words. */
static struct edit edit_of(const void *start, size_t bytes)
{
	uint64_t low = (uint64_t)(uintptr_t)start & ~7ull;

	return (struct edit){ low, heapd_align_up((uint64_t)(uintptr_t)start + bytes, 8) - low };
}

static void edit_shade(struct heapd_thread *self, const struct edit *e)
{
	const heapd_word_ *words = (const heapd_word_ *)(uintptr_t)e->start;

	for (uint64_t i = 0; i < e->bytes / 8; i++)
		barrier_shade(self, __atomic_load_n(&words[i], __ATOMIC_RELAXED));
}

/* Which of the thread's places holds start (0: a free one); HEAPD_EDIT_COUNT if none does. */
static unsigned edit_find(const struct heapd_thread *self, uint64_t start)
{
	unsigned i = 0;

	while (i < HEAPD_EDIT_COUNT && self->edits[i].start != start)
		i++;
	return i;
}

/* Whoever reads a start that is not 0 finds its length there. */
static void edit_record(struct heapd_thread *self, unsigned i, const struct edit *e)
{
	HEAPD_WRITE_ONCE(self->edits[i].bytes, e->bytes);
	HEAPD_STORE_RELEASE(&self->edits[i].start, e->start);
}

static void edit_forget(struct heapd_thread *self, unsigned i)
{
	HEAPD_STORE_RELEASE(&self->edits[i].start, 0);
	HEAPD_WRITE_ONCE(self->edits[i].bytes, 0);
}

int heapd_edit_begin(void *start, size_t bytes)
{
	struct heapd_thread *self = thread_self(heapd_process);
	unsigned i;

	if (!self)
		return -errno;
	if (!start || !bytes)
		return error_set(EINVAL, "heapd_edit_begin: an empty range: give at least one byte");
	if (bytes > HEAPD_EDIT_MAX)
		return error_set(
			E2BIG,
			"heapd_edit_begin: %zu bytes, at most %u can be edited at a time: edit in parts",
			bytes, HEAPD_EDIT_MAX);
	i = edit_find(self, 0);
	if (i == HEAPD_EDIT_COUNT)
		return error_set(ENOSPC, "heapd_edit_begin: this thread has %u edits open: end one first",
				 HEAPD_EDIT_COUNT);

	struct edit e = edit_of(start, bytes);
	struct barrier b;
	bool on = barrier_begin(&b);
	edit_record(self, i, &e);
	if (on)
		edit_shade(self, &e);
	/* What was shaded is in the ring before any plain store of the caller's. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	barrier_end(&b);
	return 0;
}

int heapd_edit_end(void *start)
{
	struct heapd_thread *self = thread_self(heapd_process);
	uint64_t low = edit_of(start, 0).start;
	unsigned i;

	if (!self)
		return -errno;
	i = low ? edit_find(self, low) : HEAPD_EDIT_COUNT;
	if (i == HEAPD_EDIT_COUNT)
		return error_set(
			EINVAL,
			"heapd_edit_end: this thread has no edit open at %p: give what heapd_edit_begin() got",
			start);

	struct edit e = { self->edits[i].start, self->edits[i].bytes };
	struct barrier b;
	if (barrier_begin(&b))
		edit_shade(self, &e);
	edit_forget(self, i);
	barrier_end(&b);
	return 0;
}
