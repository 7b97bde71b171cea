/* SPDX-License-Identifier: MIT */
/* For tests of the client's half of the scan: who plays the daemon, which sets the phase, and the agent, which serves it. */
#ifndef HEAPD_TESTS_HANDSHAKES_H
#define HEAPD_TESTS_HANDSHAKES_H

#include <check.h>
#include <string.h>
#include <unistd.h>

#include "alone.h"
#include "client/clock.h"
#include "client/handshake.h"
#include "holders.h"

#define SOON_MS 5000u /* by when what is to come has come */

static struct heapd_heap *heap;
static struct handshake agent;
static unsigned reports;
static char report_text[400];

static inline uint64_t address(unsigned i)
{
	return heap->t.base + (1ul << 20) + i * 64ul;
}

static inline void report_note(void *arg, int kind, const char *text)
{
	(void)arg;
	ck_assert_int_eq(kind, HEAPD_REPORT_SIGNAL);
	reports++;
	strncpy(report_text, text, sizeof(report_text) - 1);
}

static inline void setup(void)
{
	heap = alone_attach();
	heap->report = report_note;
	heap->t.directory->cycle.collecting = 1;
	agent = (struct handshake){ 0 };
	reports = 0;
}

static inline void phase_set(uint32_t cycle, enum heapd_phase phase)
{
	HEAPD_STORE_RELEASE(&heap->t.directory->cycle.now, heapd_now_make(cycle, phase));
}

/* As the agent does, until all have answered, or for that long. */
static inline bool served(uint64_t ms)
{
	uint64_t end = clock_deadline(ms * CLOCK_MS), again;

	while ((again = handshake_serve(heap, &agent)) && clock_now() < end)
		usleep((useconds_t)(again / 1000));
	return !again;
}

static inline const uint64_t *published_words(const struct heapd_thread *t)
{
	char *areas = (char *)heap->session + HEAPD_SESSION_PUBLISHED_AT;

	return (const uint64_t *)(const void *)(areas + thread_index(heap, t) * HEAPD_PUBLISHED_BYTES);
}

static inline const uint64_t *range_words(void)
{
	return (const uint64_t *)(const void *)((char *)heap->session + HEAPD_SESSION_RANGES_AT);
}

static inline bool published(const struct heapd_thread *t, uint64_t word)
{
	for (uint64_t i = 0; i < t->published_count && i < HEAPD_PUBLISHED_BYTES / 8; i++)
		if (published_words(t)[i] == word)
			return true;
	return false;
}

static inline void holder_await(struct holder *h, uint32_t ready)
{
	uint64_t end = clock_deadline(SOON_MS * CLOCK_MS);

	while (__atomic_load_n(&h->ready, __ATOMIC_ACQUIRE) != ready && clock_now() < end)
		usleep(100);
	HOLDER_HEARS(h);
	ck_assert_uint_eq(h->ready, ready);
}

static inline void holder_tell(struct holder *h, uint32_t stop)
{
	HOLDER_TELLS(h);
	__atomic_store_n(&h->stop, stop, __ATOMIC_RELEASE);
}

#endif
