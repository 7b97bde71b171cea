/* SPDX-License-Identifier: MIT */
/*
 * share.c - owns what this process knows of its user's share of the heap (session.h says how it is asked for).
 *
 * Right because the daemon only says whether the share is full, and this library keeps to it: the writers of one heap could take
 * all of it from each other in any case. A note of whose a slab is may be lost with whoever was killed before it: then the slab
 * is nobody's.
 */
#include "share.h"

#include <errno.h>
#include <unistd.h>

#include "bell.h"

void share_note(const struct heapd_heap *heap, const struct heapd_batch *batch)
{
	uint32_t taker = heap->session->share.taker;
	uint32_t *of = &heap->t.taker[heap->t.spans[heapd_entry_page(batch->entry)].slab0 +
				      heapd_entry_slab(batch->entry)];

	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present);

		if (!HEAPD_READ_ONCE(of[i]))
			HEAPD_WRITE_ONCE(of[i], taker);
	}
}

/* The daemon looks at what was asked after it has written `event`: who is not answered asks again. */
int share_wait(struct heapd_heap *heap, uint64_t ns, uint32_t since)
{
	struct heapd_share *share = &heap->session->share;
	uint32_t event = HEAPD_LOAD_ACQUIRE(&share->event), refused = HEAPD_READ_ONCE(share->refused);

	if (!share_is_full(heap))
		return 0;
	HEAPD_STORE_RELEASE(&share->asked, 1);
	bell_wake(heap, true);
	if (!ns)
		return EAGAIN;
	bell_wait(&share->event, event, ns);
	return bell_refused(&share->refused, &share->whole, refused, since);
}

int share_failed(const struct heapd_heap *heap)
{
	const struct heapd_share *share = &heap->session->share;

	return error_set(
		ENOMEM,
		"heap '%s': user %u has %llu bytes of it, and others leave it no more than %llu: free something, or raise "
		"Limit=, or lower UserShare=",
		heap->name, share->taker - 1, (unsigned long long)HEAPD_READ_ONCE(share->bytes),
		(unsigned long long)HEAPD_READ_ONCE(share->most));
}
