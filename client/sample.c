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
 * What each thread has is how many bytes it is from its next mark, so that a piece without one costs a subtraction and two
 * comparisons (sample.h): while somebody looks, that is paid for each slab, where each nanosecond is half a percent of the
 * time that 64 small objects take. A piece with a mark ends the distance, and another is drawn from the piece's end on: the
 * process has no memory. So one is drawn anew, too, when the mean is changed.
 *
 * A hit costs microseconds, and at full speed there would be one after each thirty. So, while nobody has asked for a mean
 * of his own, a thread whose samples follow each other within SAMPLE_GAP_NS has its mean stretched, twofold each time, and
 * shrunk back when they are far apart: which comes to a few hundred samples in a second and about one thousandth of its time. A
 * piece is weighed by the mean that held before it was looked at, so the sums stay right.
 *
 * The time of slow allocations is taken of one in SAMPLE_SLOW of those that wait for nobody, for the same reason: at full
 * speed there are millions in a second, and a hit costs as much as some hundred objects. All that wait are shown.
 */
#include "sample.h"

#include "clock.h"
#include "heapd/probes.h"

#define SAMPLE_GAP_NS  2000000u
#define SAMPLE_STRETCH 1024u
#define TICK_NS        65536u

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): each thread's own */
__thread struct sampling heapd_sampling;

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

/* A random word: a finaliser (splitmix64) over what differs from call to call. */
static uint64_t draw(uint64_t seed)
{
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9ull;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111ebull;
	return seed ^ seed >> 31;
}

/*
 * -ln(word / 2^64), to 1e-6: the power of two by the leading zeros, the rest m, from [1, 2), by the series of
 * ln m = 2 artanh((m - 1) / (m + 1)).
 */
static double minus_log(uint64_t word)
{
	int zeros = __builtin_clzll(word | 1);
	double m = (double)((word | 1) << zeros) * 0x1p-63, z = (m - 1) / (m + 1), q = z * z;
	double ln = 2 * z * (1 + q * (1. / 3 + q * (1. / 5 + q * (1. / 7 + q * (1. / 9 + q / 11)))));

	return (zeros + 1) * 0.69314718055994531 - ln;
}

/* The mean as it is now: the one that is set, stretched. */
static double mean(const struct sampling *s)
{
	return (double)s->mean * (double)s->stretch;
}

/* A piece that ends just where the mark is has it. */
static void left_draw(struct sampling *s, uint64_t address, uint64_t now)
{
	double far = minus_log(draw(now * 0x9e3779b97f4a7c15ull ^ address ^ (uintptr_t)s)) * mean(s);

	s->left = far < SAMPLE_NEVER ? (int64_t)far + 1 : SAMPLE_NEVER;
}

void sample_mean_set(uint64_t wanted, uint64_t address)
{
	struct sampling *s = &heapd_sampling;

	if (!s->stretch || wanted != HEAPD_SAMPLE_BYTES)
		s->stretch = 1;
	s->mean = wanted;
	if (wanted)
		left_draw(s, address, clock_now());
	else
		s->left = SAMPLE_NEVER;
}

/* Only the mean that nobody has asked for. */
static void stretch_adapt(struct sampling *s, uint32_t now)
{
	uint64_t since = (uint64_t)(now - s->last) * TICK_NS;

	s->last = now;
	if (s->mean != HEAPD_SAMPLE_BYTES)
		return;
	if (since < SAMPLE_GAP_NS && s->stretch < SAMPLE_STRETCH)
		s->stretch *= 2;
	else if (since > 4 * SAMPLE_GAP_NS && s->stretch > 1)
		s->stretch /= 2;
}

void sample_show(struct heapd_heap *heap, uint32_t class, uint64_t size, uint64_t address, uint64_t bytes)
{
	struct sampling *s = &heapd_sampling;
	uint64_t now = clock_now();

	if (!s->mean) {
		s->left = SAMPLE_NEVER;
		return;
	}
	SAMPLE_FRAME();
	HEAPD_PROBE(sample, heap->name, class, size, address,
		    (uint64_t)((double)bytes / (1 - exp_minus((double)bytes / mean(s)))));
	stretch_adapt(s, (uint32_t)(now / TICK_NS));
	left_draw(s, address, now);
}
