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
 * What each thread has is how far it is from its next mark, so that a piece without one costs a subtraction. The distance
 * is counted in means, not bytes: when the mean is changed, the marks that are still to come move with it. A piece with a
 * mark ends the distance, and another is drawn from the piece's end on: the process has no memory.
 *
 * A hit costs microseconds, and at full speed there would be one after each thirty. So, while nobody has asked for a mean
 * of his own, a thread whose samples follow each other within SAMPLE_GAP_NS has its mean stretched, twofold each time, and shrunk back when they are far apart: which
 * comes to some hundred samples in a second and less than one hundredth of its time. A piece is weighed by the mean that held
 * before it was looked at, so the sums stay right.
 *
 * The time of slow allocations is taken of one in SAMPLE_SLOW of those that wait for nobody, for the same reason: at full
 * speed there are millions in a second, and a hit costs as much as some hundred objects. All that wait are shown.
 */
#include "sample.h"

#include "clock.h"
#include "heapd/probes.h"

#define SAMPLE_GAP_NS  1000000u
#define SAMPLE_STRETCH 1024u
#define TICK_NS        65536u

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): each thread's own */
static __thread float left;       /* means until the next mark; 0: none was drawn yet */
static __thread float per_byte;   /* means in a byte, for this mean and stretch: */
static __thread uint32_t mean;    /* as it was when somebody looked last */
static __thread uint32_t stretch; /* a power of two */
static __thread uint32_t last;    /* when the last sample was, in TICK_NS: only small differences matter */
static __thread uint32_t slow;    /* slow allocations that somebody looked at */
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

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

static double distance(uint64_t address, uint64_t now)
{
	return minus_log(draw(now * 0x9e3779b97f4a7c15ull ^ address ^ (uintptr_t)&left));
}

static void mean_set(uint32_t bytes)
{
	if (!stretch || bytes != HEAPD_SAMPLE_BYTES)
		stretch = 1;
	mean = bytes;
	per_byte = 1 / ((float)bytes * (float)stretch);
}

static void stretch_adapt(uint32_t now)
{
	uint64_t since = (uint64_t)(now - last) * TICK_NS;

	last = now;
	if (since < SAMPLE_GAP_NS && stretch < SAMPLE_STRETCH)
		stretch *= 2;
	else if (since > 4 * SAMPLE_GAP_NS && stretch > 1)
		stretch /= 2;
	mean_set(mean);
}

static __attribute__((noinline)) void sample_show(struct heapd_heap *heap, uint32_t class, uint64_t size,
						  uint64_t address, uint64_t bytes)
{
	uint64_t now = clock_now();

	SAMPLE_FRAME();
	HEAPD_PROBE(sample, heap->name, class, size, address,
		    (uint64_t)((double)bytes / (1 - exp_minus((double)bytes * (double)per_byte))));
	stretch_adapt((uint32_t)(now / TICK_NS));
	left = (float)distance(address, now);
}

void sample_take(struct heapd_heap *heap, uint32_t class, uint64_t size, uint64_t address, uint64_t bytes)
{
	uint64_t wanted = HEAPD_READ_ONCE(heap->t.directory->sample_bytes);

	if (!wanted || !bytes)
		return;
	if (wanted > UINT32_MAX)
		wanted = UINT32_MAX;
	if (wanted != mean)
		mean_set((uint32_t)wanted);
	if (left <= 0)
		left = (float)distance(address, clock_now());
	left -= (float)bytes * per_byte;
	if (left <= 0)
		sample_show(heap, class, size, address, bytes);
}

bool sample_slow(void)
{
	return ++slow % SAMPLE_SLOW == 0;
}
