/* SPDX-License-Identifier: MIT */
/*
 * Which allocations are sampled: marks strewn over the bytes independently of each other, as in a Poisson process, and
 * weights that add up to the bytes. The probe's site is replaced by the test's own (--wrap), which takes down what it says.
 *
 * What is random differs from run to run. The bounds are so wide that one run in some ten millions fails by chance, and each
 * is far from what a sampler gives that is even, or remembers.
 */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/sample.h"
#include "heapd/probes.h"
#include "suite.h"

#define SAMPLES 20000u
#define MEAN    500000u

static struct heapd_directory directory;
static struct heapd_heap heap;
static struct {
	unsigned n;
	double weights;
	uint64_t at, total;      /* bytes until the last sample, and in all */
	double gaps[SAMPLES];    /* in means */
	uint64_t bytes, address; /* as the last one said */
} seen;

void __wrap_heapd_probe_sample(const char *name, uint64_t class, uint64_t bytes, uint64_t address,
			       uint64_t weight);

void __wrap_heapd_probe_sample(const char *name, uint64_t class, uint64_t bytes, uint64_t address,
			       uint64_t weight)
{
	(void)name, (void)class;
	if (seen.n < SAMPLES)
		seen.gaps[seen.n] = (double)(seen.total - seen.at) / MEAN;
	seen.n++;
	seen.at = seen.total;
	seen.weights += (double)weight;
	seen.bytes = bytes;
	seen.address = address;
}

static void setup(void)
{
	directory.sample_bytes = MEAN;
	heap.t.directory = &directory;
	strcpy(heap.name, "test");
	heapd_sample_semaphore = 1;
	seen.n = 0;
	seen.weights = 0;
	seen.at = seen.total = 0;
}

static void piece(uint64_t bytes)
{
	seen.total += bytes;
	sample_take(&heap, 3, 64, seen.total, bytes);
}

static double mean_of(const double *v, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += v[i];
	return sum / n;
}

/* Of successive gaps: 0 where there is no memory. Where shift is 0, the variance. */
static double covariance(const double *v, unsigned n, unsigned shift)
{
	double mean = mean_of(v, n), sum = 0;

	for (unsigned i = shift; i < n; i++)
		sum += (v[i] - mean) * (v[i - shift] - mean);
	return sum / (n - shift);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: how far from 1 - exp(-x) the distribution is at most. */
static double distance(double *v, unsigned n)
{
	double most = 0;

	qsort(v, n, sizeof(*v), by_size);
	for (unsigned i = 0; i < n; i++) {
		double expected = 1 - exp(-v[i]);

		most = fmax(most, fmax(fabs(expected - (double)i / n), fabs(expected - (double)(i + 1) / n)));
	}
	return most;
}

START_TEST(gaps_are_those_of_a_poisson_process)
{
	double variance;

	while (seen.n < SAMPLES)
		piece(2048);
	ck_assert_double_eq_tol(mean_of(seen.gaps, SAMPLES), 1, 0.04);
	variance = covariance(seen.gaps, SAMPLES, 0);
	ck_assert_double_eq_tol(variance, 1, 0.12);
	for (unsigned shift = 1; shift < 6; shift++)
		ck_assert_double_eq_tol(covariance(seen.gaps, SAMPLES, shift) / variance, 0, 0.04);
	/* 0.0205, and the half of a piece by which all gaps are too long. */
	ck_assert_double_lt(distance(seen.gaps, SAMPLES), 2.9 / sqrt(SAMPLES) + 2048. / MEAN);
}
END_TEST

/* Whatever the pieces' sizes are: from much smaller than the mean to much larger. */
START_TEST(weights_add_up_to_the_bytes)
{
	static const uint64_t sizes[] = { 512, 16384, 65536, 300000, 1 << 20, 8 << 20 };
	double expected;

	for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		unsigned n = 0;

		setup();
		for (; seen.n < SAMPLES / 2; n++)
			piece(sizes[k]);
		expected = (double)seen.total;
		ck_assert_double_eq_tol(seen.weights / expected, 1, 0.06);
		/* The share of pieces that have a mark. */
		ck_assert_double_eq_tol((double)seen.n / n / (1 - exp(-(double)sizes[k] / MEAN)), 1, 0.06);
	}
}
END_TEST

START_TEST(weights_add_up_where_sizes_are_mixed)
{
	for (unsigned i = 0; seen.n < SAMPLES; i++)
		piece(i % 7 ? 4096 : 400000);
	ck_assert_double_eq_tol(seen.weights / (double)seen.total, 1, 0.05);
}
END_TEST

START_TEST(the_mean_can_be_changed)
{
	uint64_t began;
	unsigned n;

	while (seen.n < 2000)
		piece(2048);
	directory.sample_bytes = MEAN / 10;
	for (began = seen.total, n = seen.n; seen.n < n + SAMPLES / 2;)
		piece(2048);
	ck_assert_double_eq_tol((double)(seen.total - began) / (SAMPLES / 2) / (MEAN / 10), 1, 0.08);
	directory.sample_bytes = 0;
	n = seen.n;
	for (unsigned i = 0; i < 100000; i++)
		piece(1 << 20);
	ck_assert_uint_eq(seen.n, n);
}
END_TEST

START_TEST(a_sample_says_what_was_allocated)
{
	while (!seen.n)
		piece(2048);
	ck_assert_uint_eq(seen.bytes, 64);
	ck_assert_uint_eq(seen.address, seen.total);
}
END_TEST

/* Of all slow allocations, and of each second, third and so on, too: those in between may be of another kind. */
START_TEST(one_of_many_slow_ones_is_timed)
{
	for (uint32_t step = 1; step <= 16; step++) {
		uint32_t timed = 0, all = 1 << 24;

		for (uint32_t i = 0; i < all; i++) {
			sample_slow(7 + i * step);
			timed += heapd_sampling.timed;
			heapd_sampling.timed = false;
		}
		ck_assert_uint_ge(timed, all / SAMPLE_SLOW - 16);
		ck_assert_uint_le(timed, all / SAMPLE_SLOW + 16);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sample");
	TCase *t = tcase_create("sample");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, gaps_are_those_of_a_poisson_process);
	tcase_add_test(t, weights_add_up_to_the_bytes);
	tcase_add_test(t, weights_add_up_where_sizes_are_mixed);
	tcase_add_test(t, the_mean_can_be_changed);
	tcase_add_test(t, a_sample_says_what_was_allocated);
	tcase_add_test(t, one_of_many_slow_ones_is_timed);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return suite_run(s);
}
