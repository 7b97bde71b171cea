/* SPDX-License-Identifier: MIT */
/*
 * heapd_wait_fd(): words that the agent looks at from time to time, for programs that wait for
 * descriptors.
 *
 * Each is a pipe: the caller has its reading end and may close it at any time; the agent has the
 * writing end, writes one byte when the word has changed, and sees by POLLERR when the caller is gone.
 * A watch's object is pinned. A pin is dropped through the barrier by an attached thread, which the
 * agent is not: so it marks a watch as ended, and the next caller drops the pin.
 */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "thread.h"

struct watch {
	const uint32_t *word;
	uint32_t expected;
	int fd;    /* the writing end; -1: ended */
	void *pin; /* NULL: free */
};

struct watches {
	pthread_mutex_t lock;
	struct watch all[WATCH_MAX];
};

int watches_init(struct heapd_heap *heap)
{
	heap->watches = (struct watches *)calloc(1, sizeof(*heap->watches));
	if (!heap->watches)
		return error_set(ENOMEM,
				 "heap '%s': no memory for its attachment: free some of this process's own",
				 heap->name);
	pthread_mutex_init(&heap->watches->lock, NULL);
	for (unsigned i = 0; i < WATCH_MAX; i++)
		heap->watches->all[i].fd = -1;
	return 0;
}

static void watch_end(struct watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

void watches_forget(struct heapd_heap *heap)
{
	for (unsigned i = 0; i < WATCH_MAX; i++)
		watch_end(&heap->watches->all[i]);
}

void watches_free(struct heapd_heap *heap)
{
	if (!heap->watches)
		return;
	watches_forget(heap);
	pthread_mutex_destroy(&heap->watches->lock);
	free(heap->watches);
	heap->watches = NULL;
}

void watches_lock(struct heapd_heap *heap)
{
	pthread_mutex_lock(&heap->watches->lock);
}

void watches_unlock(struct heapd_heap *heap)
{
	pthread_mutex_unlock(&heap->watches->lock);
}

nfds_t watches_poll(struct heapd_heap *heap, struct pollfd p[WATCH_MAX])
{
	nfds_t n = 0;

	watches_lock(heap);
	for (unsigned i = 0; i < WATCH_MAX; i++)
		if (heap->watches->all[i].fd >= 0)
			p[n++] = (struct pollfd){ .fd = heap->watches->all[i].fd };
	watches_unlock(heap);
	return n;
}

static bool reader_gone(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLNVAL);
}

void watches_look(struct heapd_heap *heap)
{
	watches_lock(heap);
	for (unsigned i = 0; i < WATCH_MAX; i++) {
		struct watch *w = &heap->watches->all[i];
		if (w->fd < 0)
			continue;
		if (__atomic_load_n(w->word, __ATOMIC_ACQUIRE) != w->expected) {
			/* An empty pipe takes a byte; that nobody is left to read it is all that can go wrong. */
			ssize_t written = write(w->fd, "", 1);
			(void)written;
			watch_end(w);
		} else if (reader_gone(w->fd)) {
			watch_end(w);
		}
	}
	watches_unlock(heap);
}

/* Drops the pins of watches that ended. A pin is nobody's but this watch's, so the order of two callers is all one. */
static void watches_reap(struct heapd_heap *heap)
{
	void *pins[WATCH_MAX];
	unsigned n = 0;

	watches_lock(heap);
	for (unsigned i = 0; i < WATCH_MAX; i++) {
		struct watch *w = &heap->watches->all[i];
		if (w->pin && w->fd < 0) {
			pins[n++] = w->pin;
			w->pin = NULL;
		}
	}
	watches_unlock(heap);
	for (unsigned i = 0; i < n; i++)
		heapd_unpin(pins[i]);
}

static int watch_add(struct heapd_heap *heap, const uint32_t *word, uint32_t expected, int fd, void *pin)
{
	struct watch *place = NULL;

	watches_lock(heap);
	for (unsigned i = 0; i < WATCH_MAX && !place; i++)
		if (!heap->watches->all[i].pin)
			place = &heap->watches->all[i];
	if (place)
		*place = (struct watch){ .word = word, .expected = expected, .fd = fd, .pin = pin };
	watches_unlock(heap);
	if (place)
		return 0;
	return error_set(ENOSPC, "heapd_wait_fd: this process has %u descriptors waiting already: close some",
			 WATCH_MAX);
}

int heapd_wait_fd(heapd_heap *heap, uint32_t *word, uint32_t expected)
{
	int ends[2], r;
	void *pin;

	if (!thread_self(heap))
		return -errno;
	if (!heap_contains(heap, word) || (uintptr_t)word % 4)
		return error_set(
			EINVAL,
			"heapd_wait_fd(%p): no 4-byte aligned word of heap '%s': give one that lies in an object",
			(void *)word, heap->name);
	watches_reap(heap);
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(
			errno,
			"heapd_wait_fd: cannot make a pipe: %s: close some files, or raise RLIMIT_NOFILE",
			strerror(errno));
	pin = heapd_pin_sym(heap, word);
	r = pin ? watch_add(heap, word, expected, ends[1], pin) : -errno;
	if (r >= 0) {
		agent_kick(heap);
		return ends[0];
	}
	close(ends[0]);
	close(ends[1]);
	if (pin) {
		heapd_unpin(pin);
		errno = -r;
	}
	return r;
}
