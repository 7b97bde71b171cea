/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of the bound on floating garbage (I6), while the graph is there: in the end, when all is dropped, too much that
 * is marked would not show.
 *
 * Exact, because nobody is there to hold anything: the daemon's own trace, which knows neither marks nor holds, says what
 * roots lead to, and all else that is allocated had two whole collections to go in. The first may keep what somebody held or
 * logged as it began, and what lies in slabs that were held; the second has no excuse.
 */
#include "bound.h"

#include <stdio.h>

#include "node.h"
#include "tests/fixture.h"

static int collect_twice(heapd_heap *heap)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 2; i++) {
		stack_wipe();
		r = heapd_collect(heap);
	}
	return r;
}

int stress_bound(void *unused)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);
	heapd_heap *heap;

	(void)unused;
	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0 || collect_twice(heap) < 0 ||
	    heapd_verify(heap, &v) < 0)
		return fprintf(stderr, "stress: %s\n", heapd_error()), 1;
	if (v.faults)
		return fprintf(stderr, "stress: verify: %s\n", v.first), 1;
	if (v.allocated != v.reachable)
		return fprintf(stderr,
			       "stress: %llu bytes are left after two collections, and roots lead to %llu\n",
			       (unsigned long long)v.allocated, (unsigned long long)v.reachable),
		       1;
	return heapd_detach(heap) < 0;
}
