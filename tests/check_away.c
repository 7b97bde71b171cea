/* SPDX-License-Identifier: MIT */
/*
 * Threads that are offline when the scan asks: the agent answers for them, with what they saved, and is waited for by who comes back
 * meanwhile, calls, or ends. The test plays the daemon and the agent.
 */
#include <check.h>
#include <pthread.h>
#include <unistd.h>

#include "client/handshake.h"
#include "handshakes.h"
#include "holders.h"
#include "suite.h"

enum { OFFLINE_BACK = 1, OFFLINE_END };

#if defined(__x86_64__)
/* In rbx alone, and offline with that. */
__attribute__((naked)) static void offline_with_rbx(heapd_heap *h __attribute__((unused)),
						    uint64_t inverted __attribute__((unused)))
{
	__asm__("pushq %rbx\n\t"
		"movq %rsi, %rbx\n\t"
		"notq %rbx\n\t"
		"call heapd_thread_offline\n\t"
		"popq %rbx\n\t"
		"ret");
}
#endif

/* What calls that have returned left below the stack pointer is nobody's. */
static UNSEEN void stack_wipe(void)
{
	volatile char below[1024];

	for (unsigned i = 0; i < sizeof(below); i++)
		below[i] = 0;
}

static UNSEEN void hold_offline(struct holder *h)
{
	volatile uint64_t word = ~h->inverted + 64;

#if defined(__x86_64__)
	offline_with_rbx(heap, h->inverted);
#else
	ck_assert_int_eq(heapd_thread_offline(heap), 0);
#endif
	stack_wipe();
	__atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE) < OFFLINE_BACK)
		usleep(100);
	HOLDER_HEARS(h);
	ck_assert_int_eq(heapd_thread_online(heap), 0);
	HOLDER_TELLS(h);
	__atomic_store_n(&h->ready, 2, __ATOMIC_RELEASE);
	while (__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE) < OFFLINE_END)
		usleep(100);
	word = 0;
	(void)word;
}

static const struct holder_place offline = { "offline", hold_offline };

/* The agent answers for it, and it is not disturbed. */
START_TEST(offline_is_answered_for)
{
	struct holder h;

	holder_begin(&h, heap, &offline, address(1));
	for (uint32_t cycle = 1; cycle <= 2; cycle++) {
		phase_set(cycle, HEAPD_PHASE_SCAN);
		ck_assert_uint_eq(handshake_serve(heap, &agent), 0);
		ck_assert_uint_eq(h.record->scanned, cycle);
		ck_assert(published(h.record, address(1)));
		ck_assert(published(h.record, address(2)));
		ck_assert_uint_eq(h.record->state, HEAPD_THREAD_OFFLINE);
	}
	ck_assert_uint_eq(h.record->pauses, 0);
	holder_tell(&h, OFFLINE_BACK);
	holder_await(&h, 2);
	/* It has been answered for. */
	ck_assert_uint_eq(h.record->pauses, 0);
	ck_assert_uint_eq(h.record->gate.on, 2);
	holder_tell(&h, OFFLINE_END);
	pthread_join(h.thread, NULL);
}
END_TEST

/* What calls hold that it makes meanwhile, right below what it saved, is not held by it. */
static UNSEEN void hold_below(struct holder *h)
{
	volatile uint64_t words[8];

	for (unsigned i = 0; i < 8; i++)
		words[i] = ~h->inverted;
	__atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE) < OFFLINE_BACK)
		usleep(100);
	HOLDER_HEARS(h);
	for (unsigned i = 0; i < 8; i++)
		words[i] = 0;
	(void)words;
}

static UNSEEN void hold_nothing(struct holder *h)
{
	ck_assert_int_eq(heapd_thread_offline(heap), 0);
	hold_below(h);
	ck_assert_int_eq(heapd_thread_online(heap), 0);
}

static const struct holder_place below = { "below", hold_nothing };

START_TEST(offline_holds_nothing_below)
{
	struct holder h;

	holder_begin(&h, heap, &below, address(1));
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert_uint_eq(handshake_serve(heap, &agent), 0);
	ck_assert_uint_eq(h.record->scanned, 1);
	ck_assert(!published(h.record, address(1)));
	holder_tell(&h, OFFLINE_BACK);
	pthread_join(h.thread, NULL);
}
END_TEST

/* _i: the phase in which it comes back, unasked. */
START_TEST(comes_back_online)
{
	enum heapd_phase phase = (enum heapd_phase)_i;
	uint32_t on = heapd_now_barrier(heapd_now_make(3, phase)) ? 3 : 0;
	struct holder h;

	holder_begin(&h, heap, &offline, address(1));
	phase_set(3, phase);
	holder_tell(&h, OFFLINE_BACK);
	holder_await(&h, 2);
	ck_assert_uint_eq(h.record->gate.on, on);
	ck_assert_uint_eq(h.record->gate.inside % 2, 0);
	ck_assert_uint_eq(h.record->scanned, phase == HEAPD_PHASE_SCAN ? 3 : 0);
	ck_assert_int_eq(published(h.record, address(2)), phase == HEAPD_PHASE_SCAN);
	holder_tell(&h, OFFLINE_END);
	pthread_join(h.thread, NULL);
}
END_TEST

/* For one call it comes back, too, and answers before that does anything. */
START_TEST(calls_while_offline)
{
	void *object = (void *)(uintptr_t)address(1);

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_int_eq(heapd_thread_offline(heap), 0);
	phase_set(3, HEAPD_PHASE_SCAN);
	uint64_t tail = heapd_record->barrier_tail;
	heapd_store(&object, (void *)(uintptr_t)address(2));
	ck_assert_uint_eq(heapd_record->barrier_tail, tail + 1);
	ck_assert_uint_eq(heapd_record->scanned, 3);
	ck_assert_uint_eq(heapd_record->gate.on, 3);
	ck_assert_uint_eq(heapd_record->pauses, 1);
	ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE);
	ck_assert(served(SOON_MS));
	ck_assert_uint_eq(heapd_record->pauses, 1);
}
END_TEST

/* While the agent reads its stack it waits. */
START_TEST(waits_for_the_agent)
{
	struct holder h;

	holder_begin(&h, heap, &offline, address(1));
	HEAPD_STORE_RELEASE(&h.record->state, HEAPD_THREAD_SCANNING);
	holder_tell(&h, OFFLINE_BACK);
	for (unsigned i = 0; i < SOON_MS && HEAPD_LOAD_ACQUIRE(&h.record->gate.inside) % 2 == 0; i++)
		usleep(1000);
	ck_assert_uint_eq(h.record->gate.inside % 2, 1);
	usleep(20000);
	ck_assert_uint_eq(h.record->gate.inside % 2, 1);
	ck_assert_uint_eq(h.ready, 1);
	HEAPD_STORE_RELEASE(&h.record->state, HEAPD_THREAD_OFFLINE);
	holder_await(&h, 2);
	holder_tell(&h, OFFLINE_END);
	pthread_join(h.thread, NULL);
}
END_TEST

static void *end_offline(void *arg)
{
	struct holder *h = (struct holder *)arg;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_int_eq(heapd_thread_offline(heap), 0);
	HEAPD_STORE_RELEASE(&heapd_record->state, HEAPD_THREAD_SCANNING);
	HEAPD_STORE_RELEASE(&h->record, heapd_record);
	ck_assert_int_eq(heapd_thread_detach(heap), 0);
	__atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
	return NULL;
}

START_TEST(ends_when_the_agent_is_done)
{
	struct holder h = { 0 };

	ck_assert_int_eq(pthread_create(&h.thread, NULL, end_offline, &h), 0);
	while (!HEAPD_LOAD_ACQUIRE(&h.record))
		usleep(1000);
	usleep(20000);
	ck_assert_uint_eq(h.ready, 0);
	ck_assert_uint_eq(h.record->state, HEAPD_THREAD_SCANNING);
	HEAPD_STORE_RELEASE(&h.record->state, HEAPD_THREAD_OFFLINE);
	pthread_join(h.thread, NULL);
	ck_assert_uint_eq(h.ready, 1);
	ck_assert_uint_eq(h.record->state, HEAPD_THREAD_FREE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("away");
	TCase *tcase = tcase_create("away");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, offline_is_answered_for);
	tcase_add_test(tcase, offline_holds_nothing_below);
	tcase_add_loop_test(tcase, comes_back_online, 0, 5);
	tcase_add_test(tcase, calls_while_offline);
	tcase_add_test(tcase, waits_for_the_agent);
	tcase_add_test(tcase, ends_when_the_agent_is_done);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
