/* SPDX-License-Identifier: MIT */
/*
 * Delays inside the restartable sequences, for tests: a build of its own has them (HEAPD_RSEQ_INJECT).
 *
 * Long enough a delay makes it likely that a sequence is preempted, signalled, migrated or killed at
 * that point. HEAPD_INJECT=n0,n1,... sets them as the library is loaded, in turns of an empty loop;
 * heapd_inject_points may be written at any time. heapd_inject_aborts counts how often a sequence of
 * this process was begun again.
 */
#include "heapd/rseq.h"

#ifdef HEAPD_RSEQ_INJECT
#include <stdlib.h>

#include "client.h"

uint32_t heapd_inject[HEAPD_INJECT_POINTS];
uint64_t heapd_inject_aborted;

/* The sequences reach their words directly; these are the same under names that programs see. */
extern HEAPD_API uint32_t heapd_inject_points[HEAPD_INJECT_POINTS] __attribute__((alias("heapd_inject")));
extern HEAPD_API uint64_t heapd_inject_aborts __attribute__((alias("heapd_inject_aborted")));

__attribute__((constructor)) static void inject_read(void)
{
	const char *at = secure_getenv("HEAPD_INJECT");

	for (unsigned i = 0; at && *at && i < HEAPD_INJECT_POINTS; i++) {
		char *end;

		heapd_inject[i] = (uint32_t)strtoul(at, &end, 10);
		at = *end == ',' ? end + 1 : NULL;
	}
}
#endif
