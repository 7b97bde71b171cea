/* SPDX-License-Identifier: MIT */
/*
 * Sampled allocation: which allocations the probe `sample` shows, and for how many bytes each stands.
 *
 * Think of marks strewn over all bytes that are allocated, one in `sample_bytes` on average, independent of each other
 * (a Poisson process). A piece of n bytes has at least one with probability p = 1 - exp(-n / sample_bytes). The piece
 * here is what a thread takes from the supply at once, a slab's free slots or a large object: so it is looked at on
 * slow paths only, and the fast path knows nothing of it. Of a piece with a mark the first object is shown, with the
 * weight n / p: the sum of the weights is then, on average, what was taken, whatever the sizes are.
 *
 * Nothing is remembered from one piece to the next (the process has no memory), so there is no state but the draws'.
 */
#include "sample.h"

#include "clock.h"
#include "heapd/probes.h"

/* exp(-x) for x >= 0, to 1e-6: the series of x / 1024, multiplied ten times by itself. */
static double exp_minus(double x)
{
	double y = x / 1024, e = 1 - y * (1 - y / 2 * (1 - y / 3 * (1 - y / 4)));

	if (x > 700)
		return 0;
	for (int i = 0; i < 10; i++)
		e *= e;
	return e;
}

/* From [0, 1): a finaliser (splitmix64) over what differs from call to call. */
static double draw(uint64_t seed)
{
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9ull;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111ebull;
	return (double)((seed ^ seed >> 31) >> 11) * 0x1p-53;
}

void sample_take(struct heapd_heap *heap, uint32_t class, uint64_t size, uint64_t address, uint64_t bytes)
{
	uint64_t mean = HEAPD_READ_ONCE(heap->t.directory->sample_bytes);
	double p;

	if (!mean || !bytes)
		return;
	p = 1 - exp_minus((double)bytes / (double)mean);
	if (draw(clock_now() * 0x9e3779b97f4a7c15ull ^ address) < p)
		HEAPD_PROBE(sample, heap->name, class, size, address, (uint64_t)((double)bytes / p));
}
