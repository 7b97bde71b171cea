/* SPDX-License-Identifier: MIT */
/*
 * Owns the making and the checking of nodes.
 */
#include "node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET 0x5ca1ab1e0ddba11ull

uint64_t node_random(struct actor *a)
{
	a->random ^= a->random << 13;
	a->random ^= a->random >> 7;
	a->random ^= a->random << 17;
	return a->random >> 7;
}

static uint64_t sum_of(uint64_t id, uint64_t info)
{
	return (id ^ SECRET) * 0x9e3779b97f4a7c15ull ^ info;
}

void stress_fail(struct stress *stress, const char *where, const void *object, uint64_t is, uint64_t expected)
{
	if (!atomic_exchange(&stress->failed, true)) {
		snprintf(stress->what, sizeof(stress->what),
			 "%s: object %p is %llx, not %llx (process %d, thread %d)", where, object,
			 (unsigned long long)is, (unsigned long long)expected, getpid(), gettid());
		fprintf(stderr, "stress: HEAPD_TEST_SEED=%llu: %s\n", (unsigned long long)stress->seed,
			stress->what);
	}
	_exit(1);
}

void node_check(struct actor *a, const struct node *n, unsigned home, uint64_t id, const char *where)
{
	uint64_t is = n->id;

	a->checks++;
	if (!is || n->sum != sum_of(is, n->info) || (is & 0xff) != home || (id && is != id))
		stress_fail(a->stress, where, n, is, id ? id : home);
}

static void *object_flex(struct actor *a, size_t links)
{
	return heapd_new_flex(a->flex, struct node, links, links);
}

/* Sizes of all kinds; most are small. */
static void *object_new(struct actor *a)
{
	uint64_t r = node_random(a);

	switch (r % 32) {
	case 0:
		return object_flex(a, NODE_LINKS + r / 32 % 1000);
	case 1:
	case 2:
		return heapd_alloc(a->heap, 64 + r / 32 % 400 * 8);
	case 3:
		return heapd_new_array(a->fixed, struct node_fixed, 1 + r / 32 % 20);
	case 4:
		return r / 32 % 8 ? object_flex(a, NODE_LINKS) : object_flex(a, 5000 + r / 256 % 3000);
	case 5:
	case 6:
	case 7:
		return object_flex(a, NODE_LINKS + r / 32 % 30);
	default:
		return heapd_new(a->fixed, struct node_fixed);
	}
}

static struct node *born(struct actor *a, void *object, enum home home, uint64_t info)
{
	struct node *n = (struct node *)object;

	if (!n) {
		if (errno == ENOMEM || errno == EAGAIN)
			return NULL;
		stress_fail(a->stress, heapd_error(), NULL, (uint64_t)errno, 0);
	}
	if (n->id || n->sum || n->info || n->links[0] || n->links[NODE_LINKS - 1])
		stress_fail(a->stress, "a new object is not zero", n, n->id, 0);
	n->id = node_random(a) << 8 | (uint64_t)home;
	n->info = info;
	n->sum = sum_of(n->id, info);
	return n;
}

struct node *node_new(struct actor *a, enum home home, uint64_t info)
{
	return born(a, object_new(a), home, info);
}

struct node *node_new_fixed(struct actor *a, enum home home, uint64_t info)
{
	return born(a, heapd_new(a->fixed, struct node_fixed), home, info);
}

struct node *node_new_flex(struct actor *a, enum home home, unsigned links)
{
	return born(a, object_flex(a, links), home, 0);
}

void node_garbage(struct actor *a, unsigned n)
{
	while (n--) {
		struct node *garbage = (struct node *)object_new(a);

		if (!garbage)
			return;
		garbage->id = 0xbad;
		garbage->sum = 0xbad;
	}
}

__attribute__((noinline)) void stack_wipe(void)
{
	uint64_t words[512] = { 0 };

	__asm__ volatile("" : : "r"(words) : "memory");
	__asm__ volatile(
		"xorl %%eax, %%eax\n\txorl %%ecx, %%ecx\n\txorl %%edx, %%edx\n\txorl %%esi, %%esi\n\t"
		"xorl %%edi, %%edi\n\txorl %%r8d, %%r8d\n\txorl %%r9d, %%r9d\n\txorl %%r10d, %%r10d\n\t"
		"xorl %%r11d, %%r11d\n\tpxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2"
		:
		:
		: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2",
		  "memory");
}
