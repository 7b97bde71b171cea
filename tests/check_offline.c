/* SPDX-License-Identifier: MIT */
/* Threads that are offline: what is saved of them, and the calls that they make all the same. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "objects.h"

#include "attached.h" /* its heap is a global, which names in objects.h would hide */
#include "client/client.h"

#if defined(__x86_64__)
/* Goes offline with known values in the callee-saved registers; *sp is what the stack pointer was at the call. */
__attribute__((noinline)) static int offline_with_values(heapd_heap *h, uint64_t *sp)
{
	int result;

	__asm__ volatile(
		"movq %[sp], %%r10\n\t"
		"pushq %%rbx\n\tpushq %%rbp\n\tpushq %%r12\n\tpushq %%r13\n\tpushq %%r14\n\tpushq %%r15\n\t"
		"movq %%rsp, %%r11\n\t"
		"andq $-16, %%rsp\n\t"
		"pushq %%r11\n\tpushq %%r11\n\t"
		"movq %%rsp, (%%r10)\n\t"
		"movl $101, %%ebx\n\tmovl $102, %%ebp\n\tmovl $103, %%r12d\n\t"
		"movl $104, %%r13d\n\tmovl $105, %%r14d\n\tmovl $106, %%r15d\n\t"
		"call heapd_thread_offline\n\t"
		"popq %%rsp\n\t"
		"popq %%r15\n\tpopq %%r14\n\tpopq %%r13\n\tpopq %%r12\n\tpopq %%rbp\n\tpopq %%rbx\n\t"
		: "=a"(result), "+D"(h)
		: [sp] "r"(sp)
		: "rsi", "rdx", "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

START_TEST(offline_saves_registers)
{
	uint64_t sp = 0;

	ck_call(offline_with_values(heap, &sp));
	ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE);
	ck_assert_uint_eq(heapd_record->saved_sp, sp);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(heapd_record->saved_regs[i], 101 + i);
	/* Offline twice is offline: what was saved first counts. */
	ck_call(heapd_thread_offline(heap));
	ck_assert_uint_eq(heapd_record->saved_sp, sp);
	ck_assert_uint_eq(heapd_record->saved_regs[0], 101);
	ck_call(heapd_thread_online(heap));
	ck_assert_uint_eq(heapd_self->state, HEAPD_THREAD_ONLINE);
	ck_call(heapd_thread_online(heap));
}
END_TEST
#endif

/* A pin of what a field holds, by a thread that is offline and stays so. */
START_TEST(pinned_while_offline)
{
	void **object = (void **)heapd_alloc(heap, 16), **pin;
	uint64_t sp;

	heapd_store(object, (void *)object);
	ck_call(heapd_thread_offline(heap));
	sp = heapd_record->saved_sp;
	pin = heapd_pin_field(heap, object);
	ck_assert_ptr_nonnull(pin);
	ck_assert_ptr_eq(*pin, object);
	ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE);
	ck_assert_uint_eq(heapd_record->saved_sp, sp);
	ck_call(heapd_thread_online(heap));
	ck_assert_ptr_eq(heapd_take(pin), object);
}
END_TEST

/* Offline, as it was: what it saved stands, and the fast paths and the inline barrier find no record. */
#define ck_away(sp)                                                           \
	do {                                                                  \
		ck_assert_ptr_null(heapd_self);                               \
		ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE); \
		ck_assert_uint_eq(heapd_record->saved_sp, (sp));              \
		ck_assert_uint_eq(heapd_record->gate.inside % 2, 0);          \
		ck_assert_ptr_ne(heapd_gate_, (void *)&heapd_record->gate);   \
	} while (0)

static void away_attach(void)
{
	struct heapd_options options = heapd_options_default();

	ck_call(heapd_detach(heap));
	options.flags = HEAPD_ATTACH_THREADS_AWAY;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
}

START_TEST(away_unless_told)
{
	away_attach();
	ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE);
	ck_assert_uint_eq(heapd_record->saved_sp, heapd_record->stack_high);
	ck_call(heapd_thread_online(heap));
	ck_assert_uint_eq(heapd_self->state, HEAPD_THREAD_ONLINE);
}
END_TEST

/* Every kind of call by a thread that is away: it works, and the thread is away again. */
START_TEST(calls_while_away)
{
	uint64_t before, sp;
	void *many[5];

	away_attach();
	before = heap_allocated(heap);
	sp = heapd_record->stack_high;
	for (int i = 0; i < 300; i++) {
		void *p = heapd_alloc(heap, 64);
		ck_assert(p && bytes_zero(p, 64));
		ck_away(sp);
		memset(p, 1, 64);
		ck_call(heapd_free(p));
		ck_away(sp);
	}
	char *text = heapd_strdup(heap, "text");
	text = (char *)heapd_realloc(heap, text, 1000);
	ck_away(sp);
	ck_assert_str_eq(text, "text");
	ck_call(heapd_free(text));
	ck_call(heapd_free(heapd_alloc(heap, 100000)));
	ck_assert_uint_eq(heapd_alloc_many(heap, 48, 5, many), 5);
	ck_away(sp);
	heapd_arena *arena = heapd_arena_create(heap, 0);
	ck_assert_ptr_nonnull(heapd_arena_alloc(arena, 100));
	ck_away(sp);
	ck_call(heapd_arena_reset(arena));
	ck_away(sp);
	ck_call(heapd_arena_destroy(arena));
	for (int i = 0; i < 5; i++)
		ck_call(heapd_free(many[i]));
	ck_refused(heapd_alloc_aligned(heap, 8, 3) ? 0 : -errno, EINVAL, "power of two");
	ck_away(sp);
	ck_assert_uint_eq(heap_allocated(heap), before);
}
END_TEST

/* With the barrier on, what a thread that is away stores is logged as any other's. */
START_TEST(barrier_while_away)
{
	void **object = (void **)heapd_alloc(heap, 64), *seen = NULL;
	uint64_t sp, tail;

	heapd_store(&object[0], (void *)object);
	ck_call(heapd_thread_offline(heap));
	sp = heapd_record->saved_sp;
	attached_phase(1, HEAPD_PHASE_MARK);
	heapd_record->scanned = 1;
	heapd_record->gate.on = 1;
	tail = heapd_record->barrier_tail;
	heapd_store(&object[0], (void *)NULL);
	ck_assert_uint_eq(heapd_record->barrier_tail, tail + 1);
	ck_away(sp);
	ck_assert(heapd_cas(&object[0], &seen, (void *)&object[1]));
	ck_assert_ptr_eq(heapd_exchange(&object[0], (void *)NULL), &object[1]);
	ck_assert_uint_eq(heapd_record->barrier_tail, tail + 2);
	ck_away(sp);
	ck_call(heapd_edit_begin(object, 64));
	ck_call(heapd_edit_end(object));
	ck_away(sp);
	attached_phase(0, HEAPD_PHASE_IDLE);
	heapd_record->gate.on = 0;
	ck_call(heapd_thread_online(heap));
	ck_assert_ptr_eq(heapd_gate_, (struct heapd_gate_ *)(void *)&heapd_record->gate);
}
END_TEST

static pthread_barrier_t all_there;

struct pair {
	void *a, *b;
};

struct awaited {
	void *(*call)(void);
	struct heapd_thread *record;
	volatile bool away_before, away_after;
	void *result;
};

static void *small_of_a_size_never_used(void)
{
	return heapd_alloc(heap, 7000);
}

static void *large(void)
{
	return heapd_alloc(heap, 200000);
}

static void *new_root(void)
{
	return heapd_root(heap, "awaited", struct pair, heapd_type_find(heap, "pair"));
}

static void *call_away(void *arg)
{
	struct awaited *a = (struct awaited *)arg;

	ck_call(heapd_thread_attach(heap));
	a->away_before = heapd_record->state == HEAPD_THREAD_OFFLINE;
	__atomic_store_n(&a->record, heapd_record, __ATOMIC_RELEASE);
	pthread_barrier_wait(&all_there);
	a->result = a->call();
	a->away_after = heapd_record->state == HEAPD_THREAD_OFFLINE;
	return NULL;
}

/* While a call waits for the daemon's answer, with what it holds on its stack, the thread is online. */
START_TEST(online_within_a_call)
{
	static void *(*const calls[])(void) = { large, new_root };
	struct awaited a = { .call = calls[_i] };
	uint64_t end = fixture_now_ns() + 2000000000u;
	uint32_t state;
	pthread_t thread;

	cpu_pin(sched_getcpu());
	away_attach();
	ck_assert_ptr_nonnull(heapd_new(heapd_type_define(heap, "pair", struct pair, a, b), struct pair));
	pthread_barrier_init(&all_there, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, call_away, &a), 0);
	while (!__atomic_load_n(&a.record, __ATOMIC_ACQUIRE))
		usleep(100);
	attached_daemon_stop();
	pthread_barrier_wait(&all_there);
	while (HEAPD_LOAD_ACQUIRE(&a.record->state) == HEAPD_THREAD_OFFLINE && fixture_now_ns() < end)
		usleep(100);
	/* Not for a moment, but while it waits. */
	usleep(20000);
	state = HEAPD_LOAD_ACQUIRE(&a.record->state);
	kill(fixture.daemon, SIGCONT);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(state, HEAPD_THREAD_ONLINE);
	ck_assert(a.away_before && a.away_after);
	ck_assert_ptr_nonnull(a.result);
}
END_TEST

/* How a thread waits for supply. */
enum waiting { WAITS_ONLINE, WAITS_AWAY, WAITS_ELSEWHERE };

struct waiter {
	enum waiting how;
	struct heapd_thread *record;
	uint64_t sp_before, sp_after;
	uint32_t state_after;
	void *result;
};

static struct waiter *waiter_of_handler;

static void wait_for_supply(struct waiter *w)
{
	w->sp_before = heapd_record->saved_sp;
	__atomic_store_n(&w->record, heapd_record, __ATOMIC_RELEASE);
	pthread_barrier_wait(&all_there);
	w->result = small_of_a_size_never_used();
	w->sp_after = heapd_record->saved_sp;
	w->state_after = heapd_record->state;
}

static void wait_in_handler(int number)
{
	(void)number;
	wait_for_supply(waiter_of_handler);
}

/* On a stack of which nobody knows but the kernel. */
static void wait_elsewhere(struct waiter *w)
{
	stack_t stack = { .ss_size = 1 << 18, .ss_sp = malloc(1 << 18) }, none = { .ss_flags = SS_DISABLE };
	struct sigaction sa = { .sa_handler = wait_in_handler, .sa_flags = SA_ONSTACK };

	waiter_of_handler = w;
	ck_assert_int_eq(sigaltstack(&stack, NULL), 0);
	ck_assert_int_eq(sigaction(SIGUSR1, &sa, NULL), 0);
	ck_assert_int_eq(pthread_kill(pthread_self(), SIGUSR1), 0);
	ck_assert_int_eq(sigaltstack(&none, NULL), 0);
	free(stack.ss_sp);
}

static void *waiter_run(void *arg)
{
	struct waiter *w = (struct waiter *)arg;

	ck_call(heapd_thread_attach(heap));
	if (w->how == WAITS_AWAY)
		ck_call(heapd_thread_offline(heap));
	if (w->how == WAITS_ELSEWHERE)
		wait_elsewhere(w);
	else
		wait_for_supply(w);
	return NULL;
}

/*
 * Who waits for supply holds nothing that its stack above does not show: it is offline, the agent answers for it, and what it
 * saved before, if it was so before, stands again.
 */
START_TEST(offline_while_waiting_for_supply)
{
	struct waiter w = { .how = (enum waiting)_i };
	uint64_t end = fixture_now_ns() + 10000000000u;
	pthread_t thread;
	uint32_t state;
	uint64_t sp;

	cpu_pin(sched_getcpu());
	pthread_barrier_init(&all_there, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, waiter_run, &w), 0);
	while (!__atomic_load_n(&w.record, __ATOMIC_ACQUIRE))
		usleep(100);
	attached_daemon_stop();
	pthread_barrier_wait(&all_there);
	do {
		usleep(1000);
		state = HEAPD_LOAD_ACQUIRE(&w.record->state);
		sp = HEAPD_READ_ONCE(w.record->saved_sp);
	} while ((state != HEAPD_THREAD_OFFLINE || sp == w.sp_before) && w.how != WAITS_ELSEWHERE &&
		 fixture_now_ns() < end);
	/* Not for a moment, but while it waits. */
	usleep(w.how == WAITS_ELSEWHERE ? 100000 : 0);
	state = HEAPD_LOAD_ACQUIRE(&w.record->state);
	kill(fixture.daemon, SIGCONT);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(state, w.how == WAITS_ELSEWHERE ? HEAPD_THREAD_ONLINE : HEAPD_THREAD_OFFLINE);
	ck_assert_ptr_nonnull(w.result);
	ck_assert_uint_eq(w.state_after, w.how == WAITS_AWAY ? HEAPD_THREAD_OFFLINE : HEAPD_THREAD_ONLINE);
	ck_assert_uint_eq(w.sp_after, w.sp_before);
}
END_TEST

static uint32_t state_at_report;

static void note_state(void *arg, int kind, const char *text)
{
	(void)arg, (void)text;
	ck_assert_int_eq(kind, HEAPD_REPORT_DOUBLE_FREE);
	state_at_report = heapd_record->state;
}

START_TEST(online_within_free)
{
	void *p = heapd_alloc(heap, 64);

	heap->report = note_state;
	ck_call(heapd_thread_offline(heap));
	ck_call(heapd_free(p));
	ck_refused(heapd_free(p), EALREADY, "double free");
	ck_assert_uint_eq(state_at_report, HEAPD_THREAD_ONLINE);
	ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE);
}
END_TEST

static void *argument_is_held(void *arg)
{
	ck_assert_uint_eq(heapd_self->state, HEAPD_THREAD_ONLINE);
	return arg;
}

static void *starts_away(void *arg)
{
	ck_call(heapd_thread_attach(heap));
	ck_away(heapd_record->stack_high);
	ck_call(heapd_thread_detach(heap));
	ck_assert_ptr_null(heapd_record);
	return arg;
}

START_TEST(threads_of_the_away)
{
	pthread_t thread;

	away_attach();
	ck_call(heapd_thread_create(heap, &thread, NULL, argument_is_held, heapd_alloc(heap, 16)));
	pthread_join(thread, NULL);
	ck_assert_int_eq(pthread_create(&thread, NULL, starts_away, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(heap->threads[1].state, HEAPD_THREAD_FREE);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("offline");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, attached_start, attached_stop);
#if defined(__x86_64__)
	tcase_add_test(tcase, offline_saves_registers);
#endif
	tcase_add_test(tcase, pinned_while_offline);
	tcase_add_test(tcase, away_unless_told);
	tcase_add_test(tcase, calls_while_away);
	tcase_add_test(tcase, barrier_while_away);
	tcase_add_loop_test(tcase, online_within_a_call, 0, 2);
	tcase_add_loop_test(tcase, offline_while_waiting_for_supply, 0, 3);
	tcase_add_test(tcase, online_within_free);
	tcase_add_test(tcase, threads_of_the_away);
	return attached_run(tcase, suite_create("offline"));
}
