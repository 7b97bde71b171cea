/* SPDX-License-Identifier: MIT */
/*
 * Owns the ways to hide a pointer from all but one way of finding it.
 */
#include "hide.h"

#include <sys/syscall.h>
#include <time.h>

#define UNSEEN __attribute__((noinline, no_sanitize("address", "undefined")))

#if defined(__x86_64__)
/* rdi: the complement; rsi: turns, or a timespec. The address is in rbx meanwhile, alone. */
__attribute__((naked)) static uintptr_t in_register(uintptr_t inverted __attribute__((unused)),
						    uint64_t turns __attribute__((unused)))
{
	__asm__("pushq %rbx\n\t"
		"movq %rdi, %rbx\n\t"
		"notq %rbx\n\t"
		"xorl %edi, %edi\n"
		"1:\tpause\n\t"
		"subq $1, %rsi\n\t"
		"jnz 1b\n\t"
		"movq %rbx, %rax\n\t"
		"notq %rax\n\t"
		"popq %rbx\n\t"
		"ret");
}

__attribute__((naked)) static uintptr_t in_system_call(uintptr_t inverted __attribute__((unused)),
						       const struct timespec *time __attribute__((unused)))
{
	__asm__("pushq %rbx\n\t"
		"movq %rdi, %rbx\n\t"
		"notq %rbx\n\t"
		"movq %rsi, %rdi\n\t"
		"xorl %esi, %esi\n\t"
		"movl $35, %eax\n\t" /* nanosleep */
		"syscall\n\t"
		"movq %rbx, %rax\n\t"
		"notq %rax\n\t"
		"popq %rbx\n\t"
		"ret");
}
#else
static UNSEEN uintptr_t in_register(uintptr_t inverted, uint64_t turns)
{
	for (volatile uint64_t i = 0; i < turns; i++)
		;
	return inverted;
}
static UNSEEN uintptr_t in_system_call(uintptr_t inverted, const struct timespec *time)
{
	volatile uintptr_t word = ~inverted;

	nanosleep(time, NULL);
	inverted = ~word;
	word = 0;
	return inverted;
}
#endif

static UNSEEN void spin(uint64_t turns)
{
	while (turns--)
		__asm__ volatile("");
}

/* The word is the address plus so many bytes. */
static UNSEEN uintptr_t on_stack(uintptr_t inverted, size_t plus, uint64_t turns)
{
	volatile uintptr_t word = ~inverted + plus;

	spin(turns);
	inverted = ~(word - plus);
	word = 0;
	return inverted;
}

static UNSEEN uintptr_t offline(struct actor *a, uintptr_t inverted, size_t plus, const struct timespec *time)
{
	volatile uintptr_t word = ~inverted + plus;

	if (heapd_thread_offline(a->heap) < 0)
		stress_fail(a->stress, heapd_error(), NULL, 0, 0);
	nanosleep(time, NULL);
	if (heapd_thread_online(a->heap) < 0)
		stress_fail(a->stress, heapd_error(), NULL, 0, 0);
	inverted = ~(word - plus);
	word = 0;
	return inverted;
}

uintptr_t hide(struct actor *a, uintptr_t inverted, size_t bytes)
{
	uint64_t turns = 1 + (1ull << node_random(a) % 20);
	struct timespec time = { .tv_nsec = (long)(node_random(a) % 3000000) };

	/* Now and then until the cycle is over, and others have what it took back. */
	if (node_random(a) % 12 == 0)
		time.tv_nsec = (long)(node_random(a) % 100000000);

	switch (node_random(a) % 8) {
	case 0:
		return in_register(inverted, 1 + turns / 32);
	case 1:
		return in_system_call(inverted, &time);
	case 2:
		return on_stack(inverted, 0, turns);
	case 3:
		return on_stack(inverted, 8 + node_random(a) % 40, turns);
	case 4:
		return on_stack(inverted, bytes, turns);
	case 5:
		return offline(a, inverted, 0, &time);
	case 6:
		return offline(a, inverted, bytes, &time);
	default:
		return inverted ^ (turns & 0);
	}
}
