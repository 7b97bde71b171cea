/* SPDX-License-Identifier: MIT */
/*
 * The client's half of the scan: who answers when, what is found where, and what stands afterwards. The
 * test plays the daemon, which sets the phase, and the agent, which serves it.
 */
#include "client/handshake.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/gate.h"
#include "client/range.h"
#include "handshakes.h"
#include "holders.h"
#include "suite.h"

/* Wherever a thread holds it, online: it is found, once for each cycle, and the thread notices nothing. */
START_TEST(found_wherever_it_is)
{
	const struct holder_place *place = &holder_places[_i];
	struct holder h;

	if (!holder_place_exists(place))
		return;
	holder_begin(&h, heap, place, address(1));
	for (uint32_t cycle = 1; cycle <= 3; cycle++) {
		phase_set(cycle, HEAPD_PHASE_SCAN);
		ck_assert_msg(served(SOON_MS), "%s: not answered", place->name);
		ck_assert_uint_eq(h.record->scanned, cycle);
		ck_assert_uint_eq(h.record->published_cycle, cycle);
		ck_assert_msg(published(h.record, address(1)), "%s: not found", place->name);
		ck_assert(!published(h.record, ~address(1)));
	}
	ck_assert_uint_eq(h.record->pauses, 3);
	ck_assert_uint_gt(h.record->pause_ns, 0);
	ck_assert_uint_le(h.record->pause_max_ns, h.record->pause_ns);
	ck_assert_uint_ge(3 * h.record->pause_max_ns, h.record->pause_ns);
	phase_set(4, HEAPD_PHASE_IDLE);
	holder_end(&h);
	if (place->hold != hold_in_system_call && place->hold != hold_in_edit)
		ck_assert_int_eq(h.error, HOLDER_ERRNO);
	ck_assert_uint_eq(reports, 0);
}
END_TEST

/* What lies just outside the heap is not published; one past its end is, for the object that ends there. */
START_TEST(where_the_heap_ends)
{
	const struct {
		uint64_t word;
		bool counts;
	} cases[] = {
		{ heap->t.base - 1, false },
		{ heap->t.base, true },
		{ heap->t.base + heap->t.size - 1, true },
		{ heap->t.base + heap->t.size, true },
		{ heap->t.base + heap->t.size + 1, false },
	};
	struct holder h;

	holder_begin(&h, heap, &holder_places[0], cases[_i].word);
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert(served(SOON_MS));
	ck_assert_int_eq(published(h.record, cases[_i].word), cases[_i].counts);
	holder_end(&h);
}
END_TEST

/* On a stack that it did not tell of: it does not answer, and the program hears why, once. */
START_TEST(unknown_stack)
{
	static const struct holder_place unknown = { "unknown coroutine", hold_in_unknown_coroutine };
	struct holder h;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	holder_begin(&h, heap, &unknown, address(1));
	for (uint32_t cycle = 1; cycle <= 2; cycle++) {
		phase_set(cycle, HEAPD_PHASE_SCAN);
		ck_assert(!served(20));
		ck_assert_uint_ne(h.record->scanned, cycle);
	}
	for (unsigned i = 0; i < SOON_MS / 20 && !heap->stray_reported; i++)
		ck_assert(!served(20));
	ck_assert_uint_eq(reports, 0);
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_uint_eq(reports, 1);
	ck_assert_ptr_nonnull(strstr(report_text, "heapd_local_add"));
	/* Back on its own stack, it answers. */
	h.stop = 1;
	ck_assert(served(SOON_MS));
	holder_end(&h);
}
END_TEST

static UNSEEN void hold_inside(struct holder *h)
{
	volatile uint64_t word = ~h->inverted;

	gate_enter(heapd_self);
	holder_spin(h);
	gate_leave(heapd_self);
	word = 0;
	(void)word;
	while (__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE) != 2)
		;
}

/* Inside an operation it does not answer; it is asked again. */
START_TEST(inside_an_operation)
{
	static const struct holder_place inside = { "inside", hold_inside };
	struct holder h;

	holder_begin(&h, heap, &inside, address(1));
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert(!served(20));
	ck_assert_uint_eq(h.record->scanned, 0);
	ck_assert_uint_eq(h.record->pauses, 0);
	h.stop = 1;
	ck_assert(served(SOON_MS));
	h.stop = 2;
	pthread_join(h.thread, NULL);
}
END_TEST

/* The same signal from elsewhere, and in another phase, is no question. */
START_TEST(not_asked)
{
	struct holder h;

	holder_begin(&h, heap, &holder_places[0], address(1));
	phase_set(1, HEAPD_PHASE_SCAN);
	union sigval value = { 0 };
	ck_assert_int_eq(pthread_sigqueue(h.thread, heap->signal, value), 0);
	ck_assert_int_eq(pthread_kill(h.thread, heap->signal), 0);
	usleep(5000);
	ck_assert_uint_eq(h.record->scanned, 0);
	phase_set(1, HEAPD_PHASE_BARRIER);
	ck_assert_int_eq(handshake_signal_send(heap, h.record->tid), 0);
	usleep(5000);
	ck_assert_uint_eq(h.record->scanned, 0);
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert_int_eq(handshake_signal_send(heap, h.record->tid), 0);
	for (unsigned i = 0; i < 1000 && !HEAPD_LOAD_ACQUIRE(&h.record->scanned); i++)
		usleep(1000);
	ck_assert_uint_eq(h.record->scanned, 1);
	holder_end(&h);
}
END_TEST

static UNSEEN void hold_and_block(struct holder *h)
{
	volatile uint64_t word = ~h->inverted;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	holder_spin(h);
	HOLDER_HEARS(h);
	if (h->stop == 1)
		ck_assert_int_eq(heapd_thread_attach(heap), 0);
	HOLDER_TELLS(h);
	__atomic_store_n(&h->ready, 2, __ATOMIC_RELEASE);
	while (__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE) != 2)
		usleep(100);
	word = 0;
	(void)word;
}

/* It answers at its next call, and the program hears of it, once for the thread. */
START_TEST(signal_blocked)
{
	static const struct holder_place blocking = { "blocked", hold_and_block };
	struct holder h;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	holder_begin(&h, heap, &blocking, address(1));
	for (uint32_t cycle = 1; cycle <= 2; cycle++) {
		unsigned tries = 0;

		phase_set(cycle, HEAPD_PHASE_SCAN);
		do
			ck_assert(!served(900));
		while (heap->session->blocked_tid == 0 && ++tries < 10);
		ck_assert_uint_eq(heap->session->blocked_tid, h.record->tid);
		ck_assert_uint_eq(h.record->scanned, 0);
	}
	ck_assert_uint_eq(reports, 0);
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_uint_eq(reports, 1);
	ck_assert_ptr_nonnull(strstr(report_text, "blocks signal"));
	holder_tell(&h, 1);
	holder_await(&h, 2);
	ck_assert_uint_eq(h.record->scanned, 2);
	ck_assert(published(h.record, address(1)));
	ck_assert(served(SOON_MS));
	ck_assert_uint_eq(heap->session->blocked_tid, 0);
	holder_tell(&h, 2);
	pthread_join(h.thread, NULL);
	ck_assert_uint_eq(reports, 1);
}
END_TEST

/* Signals that are not taken do not pile up. */
START_TEST(one_signal_at_a_time)
{
	static const struct holder_place blocking = { "blocked", hold_and_block };
	struct timespec none = { 0 };
	struct holder h;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, heap->signal);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	holder_begin(&h, heap, &blocking, address(1));
	h.record->tid = (uint32_t)gettid(); /* this thread gets them, and can count them */
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert(!served(350));
	unsigned n = 0;
	while (sigtimedwait(&set, NULL, &none) > 0)
		n++;
	ck_assert_uint_eq(n, 1);
	holder_tell(&h, 2);
	pthread_join(h.thread, NULL);
}
END_TEST

/* Somebody else's handler is neither called nor put away. */
START_TEST(handler_replaced)
{
	struct sigaction other = { .sa_handler = SIG_IGN }, found;
	static const struct holder_place blocking = { "blocked", hold_and_block };
	struct holder h;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	holder_begin(&h, heap, &blocking, address(1));
	ck_assert_int_eq(sigaction(heap->signal, &other, NULL), 0);
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert(!served(20));
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_uint_eq(heapd_self->scanned, 1);
	ck_assert_uint_eq(reports, 1);
	ck_assert_ptr_nonnull(strstr(report_text, "was replaced"));
	holder_tell(&h, 1);
	holder_await(&h, 2);
	ck_assert(served(SOON_MS));
	ck_assert_int_eq(sigaction(heap->signal, NULL, &found), 0);
	ck_assert_ptr_eq(found.sa_handler, SIG_IGN);
	holder_tell(&h, 2);
	pthread_join(h.thread, NULL);
}
END_TEST

/* What is where one thread of the program passes anyway. */
START_TEST(safepoints)
{
	void *object = NULL;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	for (uint32_t cycle = 1; cycle <= 4; cycle++) {
		phase_set(cycle, HEAPD_PHASE_SCAN);
		heapd_self->gate.on = cycle;
		if (cycle == 1)
			heapd_store(&object, NULL);
		else if (cycle == 2)
			ck_assert_int_eq(heapd_thread_online(heap), 0);
		else if (cycle == 3)
			ck_assert_ptr_null(heapd_alloc(heap, 64));
		else
			ck_assert_int_eq(heapd_thread_attach(heap), 0);
		ck_assert_uint_eq(heapd_self->scanned, cycle);
		ck_assert_uint_eq(heapd_self->pauses, cycle);
		ck_assert_uint_eq(heapd_self->gate.inside % 2, 0);
	}
}
END_TEST

static void *come_up(void *arg)
{
	struct heapd_thread **record = (struct heapd_thread **)arg;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	*record = heapd_record;
	return NULL;
}

/* What a thread published stands for its cycle, whoever has its record then; _i: how that one comes up. */
START_TEST(publication_outlives_its_thread)
{
	struct heapd_thread *next = NULL;
	struct holder h;
	pthread_t thread;
	uint64_t count;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	holder_begin(&h, heap, &holder_places[0], address(1));
	phase_set(5, HEAPD_PHASE_SCAN);
	ck_assert(served(SOON_MS));
	holder_end(&h);
	count = h.record->published_count;
	if (_i == 1)
		phase_set(5, HEAPD_PHASE_MARK);
	heap->options = _i == 2 ? HEAPD_ATTACH_THREADS_AWAY : 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, come_up, &next), 0);
	pthread_join(thread, NULL);
	ck_assert(served(SOON_MS));
	ck_assert_ptr_eq(next, h.record);
	ck_assert_uint_eq(next->scanned, 5);
	ck_assert_uint_eq(next->published_cycle, 5);
	ck_assert_uint_eq(next->published_count, count);
	ck_assert(published(next, address(1)));
}
END_TEST

/* A new owner that is still unscanned is no reason to publish twice. */
START_TEST(published_once)
{
	struct holder h;

	holder_begin(&h, heap, &holder_places[0], address(1));
	h.record->published_cycle = 7;
	h.record->published_count = 0;
	phase_set(7, HEAPD_PHASE_SCAN);
	ck_assert(served(SOON_MS));
	ck_assert_uint_eq(h.record->scanned, 7);
	ck_assert_uint_eq(h.record->published_count, 0);
	holder_end(&h);
}
END_TEST

/* In a forked child; _i: the phase. From the scan on they are its answer, before it they end. */
START_TEST(parents_words_stand)
{
	enum heapd_phase phase = (enum heapd_phase)_i;
	bool stand = phase == HEAPD_PHASE_SCAN || phase == HEAPD_PHASE_MARK;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	heapd_self->published_cycle = HEAPD_PUBLISHED_STANDING;
	heapd_self->published_count = 3;
	phase_set(9, phase);
	pthread_mutex_lock(&heap->lock);
	ck_assert_int_eq(threads_forked(heap, HEAPD_THREAD_ONLINE), 0);
	pthread_mutex_unlock(&heap->lock);
	ck_assert(served(SOON_MS));
	ck_assert_uint_eq(heapd_self->published_cycle, stand ? HEAPD_PUBLISHED_STANDING : 0);
	ck_assert_uint_eq(heapd_self->published_count, 3);
	ck_assert_uint_eq(heapd_self->scanned, stand ? 9 : 0);
}
END_TEST

/* Those of the process; not under their lock. */
START_TEST(ranges_are_published)
{
	static uint64_t words[8], local[8];

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	words[3] = address(1);
	words[4] = 77;
	words[5] = heap->t.base + heap->t.size;
	local[3] = address(2);
	ck_assert_int_eq(heapd_local_add(heap, local, sizeof(local)), 0);
	ck_assert_int_eq(heapd_range_add(heap, words, sizeof(words)), 0);
	phase_set(2, HEAPD_PHASE_SCAN);
	pthread_mutex_lock(&heap->lock);
	ck_assert(!served(5));
	pthread_mutex_unlock(&heap->lock);
	ck_assert_uint_eq(heap->session->ranges_cycle, 0);
	ck_assert(served(SOON_MS));
	ck_assert_uint_eq(heap->session->ranges_cycle, 2);
	ck_assert_uint_eq(heap->session->ranges_count, 2);
	ck_assert_uint_eq(range_words()[0], address(1));
	ck_assert_uint_eq(range_words()[1], heap->t.base + heap->t.size);
	ck_assert(published(heapd_self, address(2)));
}
END_TEST

START_TEST(too_much_is_said)
{
	uint64_t bytes = HEAPD_PUBLISHED_BYTES + 16;
	uint64_t *words = (uint64_t *)alone_memory(bytes);

	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = address(i % 2);
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_int_eq(heapd_local_add(heap, words, bytes), 0);
	phase_set(2, HEAPD_PHASE_SCAN);
	ck_assert(served(SOON_MS));
	ck_assert_uint_eq(heapd_self->scanned, 2);
	ck_assert_uint_eq(heapd_self->published_count, HEAPD_PUBLISHED_OVERFLOW);
}
END_TEST

#define LONG_BYTES (512ul << 20)

/* So much to look at that its answer takes some time. */
static UNSEEN void hold_much(struct holder *h)
{
	uint64_t *words = (uint64_t *)alone_memory(LONG_BYTES);

	words[0] = ~h->inverted;
	ck_assert_int_eq(heapd_local_add(heap, words, LONG_BYTES), 0);
	holder_spin(h);
}

/* The word is among the first that are found. */
static bool begun(const struct heapd_thread *t)
{
	for (unsigned i = 0; i < 32; i++)
		if (HEAPD_READ_ONCE(published_words(t)[i]) == address(1))
			return true;
	return false;
}

/* Before the attachment's memory goes, who is answering has answered. */
START_TEST(detach_waits_for_handlers)
{
	static const struct holder_place much = { "much", hold_much };
	struct holder h;

	holder_begin(&h, heap, &much, address(1));
	phase_set(1, HEAPD_PHASE_SCAN);
	ck_assert_uint_ne(handshake_serve(heap, &agent), 0);
	while (!begun(h.record))
		usleep(100);
	ck_assert_uint_eq(h.record->scanned, 0);
	threads_leave(heap);
	ck_assert_uint_eq(h.record->scanned, 1);
	ck_assert_uint_eq(h.record->state, HEAPD_THREAD_FREE);
	holder_end(&h);
}
END_TEST

static void other_handler(int number)
{
	(void)number;
}

/* The highest that is free; ours again when there is an attachment once more; none that is another's. */
START_TEST(signal_is_chosen)
{
	struct sigaction other = { .sa_handler = other_handler }, found;
	int first = heap->signal;

	ck_assert_int_eq(first, SIGRTMAX - 1);
	ck_assert_int_eq(answer_init(heap, 0), 0);
	ck_assert_int_eq(heap->signal, first);
	ck_assert_int_eq(answer_init(heap, SIGRTMIN + 3), 0);
	ck_assert_int_eq(heap->signal, SIGRTMIN + 3);
	ck_assert_int_eq(sigaction(first, &other, NULL), 0);
	ck_assert_int_eq(answer_init(heap, first), -EBUSY);
	ck_assert_ptr_nonnull(strstr(heapd_error(), "options.signal"));
	ck_assert_int_eq(sigaction(first, NULL, &found), 0);
	ck_assert_ptr_eq(found.sa_handler, other_handler);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		ck_assert_int_eq(sigaction(number, &other, NULL), 0);
	ck_assert_int_eq(answer_init(heap, 0), -EBUSY);
}
END_TEST

/* Nothing is asked outside the scan, and of who has no thread. */
START_TEST(nothing_to_serve)
{
	for (uint32_t phase = HEAPD_PHASE_IDLE; phase <= HEAPD_PHASE_SWEEP; phase++) {
		phase_set(1, (enum heapd_phase)phase);
		ck_assert_uint_eq(handshake_serve(heap, &agent), 0);
		ck_assert_uint_eq(heap->session->ranges_cycle, phase >= HEAPD_PHASE_SCAN);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handshake");
	TCase *tcase = tcase_create("scan"), *computing = tcase_create("computing");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, found_wherever_it_is, HOLDER_IN_SYSTEM_CALL, HOLDER_IN_SYSTEM_CALL + 1);
	tcase_add_test(tcase, handler_replaced);
	tcase_add_test(tcase, safepoints);
	tcase_add_loop_test(tcase, parents_words_stand, 0, 5);
	tcase_add_test(tcase, ranges_are_published);
	tcase_add_test(tcase, too_much_is_said);
	tcase_add_test(tcase, nothing_to_serve);
	tcase_add_test(tcase, signal_is_chosen);
	suite_add_tcase(suite, tcase);

	tcase_set_tags(computing, HOLDER_COMPUTES);
	tcase_set_timeout(computing, 30);
	tcase_add_checked_fixture(computing, setup, NULL);
	tcase_add_loop_test(computing, found_wherever_it_is, 0, HOLDER_IN_SYSTEM_CALL);
	tcase_add_loop_test(computing, found_wherever_it_is, HOLDER_IN_SYSTEM_CALL + 1, HOLDER_PLACES);
	tcase_add_loop_test(computing, where_the_heap_ends, 0, 5);
	tcase_add_test(computing, unknown_stack);
	tcase_add_test(computing, inside_an_operation);
	tcase_add_test(computing, not_asked);
	tcase_add_test(computing, signal_blocked);
	tcase_add_test(computing, one_signal_at_a_time);
	tcase_add_loop_test(computing, publication_outlives_its_thread, 0, 3);
	tcase_add_test(computing, published_once);
	tcase_add_test(computing, detach_waits_for_handlers);
	suite_add_tcase(suite, computing);

	return suite_run(suite);
}
