/* SPDX-License-Identifier: MIT */
/*
 * For tests of collections with a real daemon: a heap that is collected only when that is asked for or needed, and nodes in it.
 *
 * What is still there is told by weak means: objects carry a value that no other has, and slots that were taken
 * back are zeroed or carry another's. Bytes allocated come from the daemon's verification.
 */
#ifndef HEAPD_TESTS_COLLECTEDNODES_H
#define HEAPD_TESTS_COLLECTEDNODES_H

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collected.h"

#define MIB (1ul << 20)

struct node {
	heapd_ptr(struct node) next;
	uint64_t value;
	uint64_t pad[6];
};

static heapd_type *nodes;

/* Whoever waits for the daemon does so for as long as it takes here: the test's own limit ends what hangs. */
static inline struct heapd_options patient(void)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.supply_timeout_ms = options.request_timeout_ms = 3600000;
	return options;
}

static inline void collected_start(const char *const *more)
{
	const char *settings[16] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off" };
	struct heapd_options options = patient();
	unsigned n = 2;

	while (more && *more)
		settings[n++] = *more++;
	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	nodes = heapd_type_define(heap, "node", struct node, next);
	ck_assert_ptr_nonnull(nodes);
}

static inline void setup(void)
{
	collected_start(NULL);
}

/* Cycles back to back, and three markers. */
static inline void setup_stressed(void)
{
	static const char *const more[] = { "heap.test.Debug=stress", "heap.test.MarkerThreads=3", NULL };

	collected_start(more);
}

static inline struct node *node_new(uint64_t value, struct node *next)
{
	struct node *n = heapd_new(nodes, struct node);

	ck_holds(n);
	n->value = value;
	heapd_init(&n->next, next);
	return n;
}

static inline uint64_t allocated(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	int r = heapd_verify(heap, &v);
	ck_assert_msg(r == 0, "%d: %s", r, r < 0 ? heapd_error() : v.first);
	return v.allocated;
}

static inline int *shared_int(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

/* Until the client that is to set it has done so: it must not end before. */
static inline void await(const int *word, pid_t pid)
{
	int status;

	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		ck_assert_msg(waitpid(pid, &status, WNOHANG) == 0, "it ended with status %#x", status);
		usleep(1000);
	}
}

/* Many slots are used anew: whatever was taken back by mistake is overwritten. */
static inline void churn(void)
{
	for (unsigned i = 0; i < 20000; i++)
		node_new(0xbad, NULL);
	collect();
	for (unsigned i = 0; i < 20000; i++)
		node_new(0xbad, NULL);
}

static __attribute__((noinline, unused)) void list_drop(unsigned n)
{
	struct node *list = NULL;

	for (unsigned i = 0; i < n; i++)
		list = node_new(i, list);
	heapd_keep(list);
}

#endif
