/* SPDX-License-Identifier: MIT */
/*
 * Large objects: more than HEAPD_SMALL_MAX bytes. Each has a span of its own, made by the daemon on
 * request and freed as any object is, by its one bit. A request is a message: the daemon's answer and
 * the object's existence are one step on its side, so a client that dies while waiting leaves an
 * object that nobody reaches, like one that died just after an allocation. At the limit the daemon refuses
 * at once, and here a whole collection is run before it is asked once more. That one is waited for no longer than supply is:
 * a process that is stopped, or a daemon that has no memory of its own, keeps it from its end.
 */
#include <errno.h>

#include "clear.h"
#include "clock.h"
#include "control.h"
#include "hardened.h"
#include "heapd/probes.h"
#include "sample.h"
#include "stack.h"
#include "thread.h"

static void *large_alloc_online(struct heapd_heap *heap, uint32_t class, uint64_t bytes, uint64_t align)
{
	struct heapd_message m = { .op = HEAPD_OP_LARGE };

	if (heap->read_only)
		return error_null(EROFS, "heap '%s' is attached read-only: attach it for writing",
				  heap->name);
	bytes += hardened_reserve(heap);
	m.large = (struct heapd_large_request){ .bytes = bytes, .align = align, .class = class };
	if (request_call(heap, &m, NULL, NULL) < 0) {
		HEAPD_PROBE(alloc__refused, heap->name, class, bytes, (uint64_t)errno);
		return NULL;
	}
	if (HEAPD_PROBED(sample))
		sample_take(heap, class, bytes, m.large.address, bytes);
	void *object = (void *)(uintptr_t)m.large.address;
	/* All that heapd_size() will say it has; behind that, in a hardened heap, stands the canary, by the daemon. */
	if (!m.large.zeroed)
		clear_large(&heap->cleared, object,
			    heapd_align_up(bytes, HEAPD_PAGE_SIZE) - hardened_reserve(heap));
	return object;
}

static void *large_alloc_once(struct heapd_heap *heap, uint32_t class, uint64_t bytes, uint64_t align)
{
	bool away;
	void *object = NULL;

	if (thread_enter(heap, &away))
		object = large_alloc_online(heap, class, bytes, align);
	thread_leave(away);
	return object;
}

void *large_alloc(struct heapd_heap *heap, uint32_t class, uint64_t bytes, uint64_t align)
{
	void *object = large_alloc_once(heap, class, bytes, align);
	bool late;

	if (object || errno != ENOMEM || heap != heapd_process ||
	    !HEAPD_READ_ONCE(heap->t.directory->cycle.collecting))
		return object;
	stack_clear();
	/* If it fails otherwise, the second refusal says what there is to say. */
	late = collect_within(heap, clock_deadline(heap->supply_timeout_ns)) == -ETIMEDOUT;
	object = large_alloc_once(heap, class, bytes, align);
	if (!object && errno == ENOMEM && late)
		return error_null(
			EAGAIN,
			"heap '%s': no room for an object of %llu bytes, and no collection came to its end within the time allowed "
			"(%llu ms): see what holds it up (WAITS FOR of heapctl status), and try again",
			heap->name, (unsigned long long)bytes,
			(unsigned long long)(heap->supply_timeout_ns / CLOCK_MS));
	return object;
}
