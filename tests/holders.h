/* SPDX-License-Identifier: MIT */
/*
 * Threads that hold one heap pointer in one place and nowhere else, for tests of the scan. They are handed
 * its complement, so that no other place has it by accident.
 */
#ifndef HEAPD_TESTS_HOLDERS_H
#define HEAPD_TESTS_HOLDERS_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "alone.h"
#include "heapd/atomic.h"

struct holder;

struct holder_place {
	const char *name;
	void (*hold)(struct holder *h);
};

struct holder {
	uint32_t stop, ready; /* first: the assembly knows them */
	uint64_t inverted;
	const struct holder_place *place;
	struct heapd_heap *heap;
	struct heapd_thread *record;
	pthread_t thread;
	int error; /* errno in the end */
};

#define HOLDER_ERRNO 4711
#define UNSEEN       __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
/* What ThreadSanitizer does not see in those either: `ready` tells of what came before it, and `stop`. */
#define HOLDER_TELLS(h) HEAPD_TSAN_RELEASE(h, 1)
#define HOLDER_HEARS(h) HEAPD_TSAN_ACQUIRE(h, 1)

static UNSEEN void holder_spin(struct holder *h)
{
	__atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE))
		__asm__ volatile("" ::: "memory");
}

static UNSEEN void hold_on_stack(struct holder *h)
{
	volatile uint64_t word = ~h->inverted;

	holder_spin(h);
	word = 0;
	(void)word;
}

static UNSEEN void hold_in_system_call(struct holder *h)
{
	volatile uint64_t word = ~h->inverted;

	__atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE))
		usleep(20000);
	word = 0;
	(void)word;
}

#if defined(__x86_64__)
/* h in rdi; puts the word into rax, then where `put` says, and spins. */
#define HOLD_IN(name, put, undo)                                                          \
	__attribute__((naked)) static void name(struct holder *h __attribute__((unused))) \
	{                                                                                 \
		__asm__("movq 8(%rdi), %rax\n\t"                                          \
			"notq %rax\n\t" put "\n\t"                                        \
			"movl $1, 4(%rdi)\n"                                              \
			"1:\tpause\n\t"                                                   \
			"cmpl $0, (%rdi)\n\t"                                             \
			"je 1b\n\t" undo "\n\t"                                           \
			"ret");                                                           \
	}
HOLD_IN(hold_in_rax, "", "xorl %eax, %eax")
HOLD_IN(hold_in_rbx, "pushq %rbx\n\tmovq %rax, %rbx\n\txorl %eax, %eax", "popq %rbx")
HOLD_IN(hold_in_xmm, "movq %rax, %xmm7\n\txorl %eax, %eax", "pxor %xmm7, %xmm7")
HOLD_IN(hold_in_xmm_high, "movq %rax, %xmm15\n\tpslldq $8, %xmm15\n\txorl %eax, %eax", "pxor %xmm15, %xmm15")
HOLD_IN(hold_in_ymm_high, "vmovq %rax, %xmm9\n\tvperm2i128 $8, %ymm9, %ymm9, %ymm9\n\txorl %eax, %eax",
	"vzeroupper")
HOLD_IN(hold_in_red_zone, "movq %rax, -128(%rsp)\n\txorl %eax, %eax", "movq $0, -128(%rsp)")
#endif

/* The program's own handler, on the alternate stack. */
/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): a signal handler's argument */
static __thread struct holder *holder_of_handler;

static void spin_in_handler(int number)
{
	(void)number;
	holder_spin(holder_of_handler);
}

static void hold_in_handler(int number)
{
	(void)number;
	hold_on_stack(holder_of_handler);
}

static UNSEEN void raise_on(struct holder *h, void *stack, size_t bytes, void (*handler)(int))
{
	stack_t alternate = { .ss_sp = stack, .ss_size = bytes }, before;
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

	holder_of_handler = h;
	ck_assert_int_eq(sigaltstack(&alternate, &before), 0);
	ck_assert_int_eq(sigaction(SIGUSR1, &sa, NULL), 0);
	raise(SIGUSR1);
	alternate.ss_flags = SS_DISABLE;
	ck_assert_int_eq(sigaltstack(&alternate, NULL), 0);
}

static UNSEEN void hold_on_alternate(struct holder *h)
{
	void *stack = alone_memory(65536);

	raise_on(h, stack, 65536, hold_in_handler);
	munmap(stack, 65536);
}

static UNSEEN void hold_below_alternate(struct holder *h)
{
	void *stack = alone_memory(65536);
	volatile uint64_t word = ~h->inverted;

	raise_on(h, stack, 65536, spin_in_handler);
	word = 0;
	(void)word;
	munmap(stack, 65536);
}

static UNSEEN void deeper(struct holder *h, void *stack)
{
	volatile uint64_t word = ~h->inverted;

	raise_on(h, stack, 65536, spin_in_handler);
	word = 0;
	(void)word;
}

/* The alternate stack is an array of an outer frame, the pointer in an inner one. */
static UNSEEN void hold_below_alternate_in_stack(struct holder *h)
{
	_Alignas(64) char stack[65536];

	deeper(h, stack);
	__asm__ volatile("" ::"r"(stack) : "memory");
}

struct coroutine {
	ucontext_t main, own;
	struct holder *h;
	void *stack;
	bool holds, told;
};

static void coroutine_main(unsigned low, unsigned high)
{
	struct coroutine *c = (struct coroutine *)(uintptr_t)((uint64_t)high << 32 | low);

	(c->holds ? hold_on_stack : holder_spin)(c->h);
	swapcontext(&c->own, &c->main);
}

static UNSEEN void coroutine_run(struct coroutine *c)
{
	uint64_t at = (uint64_t)(uintptr_t)c;

	c->stack = alone_memory(65536);
	if (c->told)
		ck_assert_int_eq(heapd_local_add(c->h->heap, c->stack, 65536), 0);
	ck_assert_int_eq(getcontext(&c->own), 0);
	c->own.uc_stack = (stack_t){ .ss_sp = c->stack, .ss_size = 65536 };
	c->own.uc_link = NULL;
	makecontext(&c->own, (void (*)(void))coroutine_main, 2, (unsigned)at, (unsigned)(at >> 32));
	swapcontext(&c->main, &c->own);
	if (c->told)
		ck_assert_int_eq(heapd_local_remove(c->h->heap, c->stack), 0);
	munmap(c->stack, 65536);
}

static UNSEEN void hold_in_coroutine(struct holder *h)
{
	struct coroutine c = { .h = h, .holds = true, .told = true };

	coroutine_run(&c);
}

static UNSEEN void hold_beside_coroutine(struct holder *h)
{
	struct coroutine c = { .h = h, .told = true };
	volatile uint64_t word = ~h->inverted;

	coroutine_run(&c);
	word = 0;
	(void)word;
}

__attribute__((unused)) static UNSEEN void hold_in_unknown_coroutine(struct holder *h)
{
	struct coroutine c = { .h = h, .holds = true };

	coroutine_run(&c);
}

static UNSEEN void hold_in_edit(struct holder *h)
{
	uint64_t *words = (uint64_t *)alone_memory(4096);

	ck_assert_int_eq(heapd_edit_begin(words, 64), 0);
	words[3] = ~h->inverted;
	holder_spin(h);
	words[3] = 0;
	ck_assert_int_eq(heapd_edit_end(words), 0);
	munmap(words, 4096);
}

static const struct holder_place holder_places[] = {
	{ "stack", hold_on_stack },
	{ "stack, in a system call", hold_in_system_call },
	{ "alternate stack", hold_on_alternate },
	{ "stack, below an alternate one", hold_below_alternate },
	{ "stack, below an alternate one in it", hold_below_alternate_in_stack },
	{ "coroutine", hold_in_coroutine },
	{ "stack, beside a coroutine", hold_beside_coroutine },
	{ "edit", hold_in_edit },
#if defined(__x86_64__)
	{ "caller-saved register", hold_in_rax },
	{ "callee-saved register", hold_in_rbx },
	{ "vector register", hold_in_xmm },
	{ "vector register, high half", hold_in_xmm_high },
	{ "red zone", hold_in_red_zone },
	{ "wide vector register", hold_in_ymm_high },
#endif
};
#define HOLDER_PLACES         ((int)(sizeof(holder_places) / sizeof(holder_places[0])))
#define HOLDER_IN_SYSTEM_CALL 1 /* of them; all others compute meanwhile, and call nothing */
/* The tag of cases with threads that compute, or that were forked: ThreadSanitizer keeps signals back until a call that it sees. */
#define HOLDER_COMPUTES "computes"

/* Whether this processor has that register. */
static inline bool holder_place_exists(const struct holder_place *place)
{
#if defined(__x86_64__)
	return place->hold != hold_in_ymm_high || __builtin_cpu_supports("avx2");
#else
	return place;
#endif
}

static void *holder_main(void *arg)
{
	struct holder *h = (struct holder *)arg;

	ck_assert_int_eq(heapd_thread_attach(h->heap), 0);
	h->record = heapd_record;
	HOLDER_TELLS(h);
	errno = HOLDER_ERRNO;
	h->place->hold(h);
	h->error = errno;
	return NULL;
}

/* Until holder_end() it holds that word. */
static inline void holder_begin(struct holder *h, struct heapd_heap *heap, const struct holder_place *place,
				uint64_t word)
{
	*h = (struct holder){ .inverted = ~word, .place = place, .heap = heap };
	ck_assert_int_eq(pthread_create(&h->thread, NULL, holder_main, h), 0);
	while (!__atomic_load_n(&h->ready, __ATOMIC_ACQUIRE))
		usleep(100);
	HOLDER_HEARS(h);
}

static inline void holder_end(struct holder *h)
{
	__atomic_store_n(&h->stop, 1, __ATOMIC_RELEASE);
	pthread_join(h->thread, NULL);
}

#endif
