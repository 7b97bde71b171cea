/* SPDX-License-Identifier: MIT */
/*
 * Owns the thread that gives memory back, and that makes ready what comes next: cleared (clean.c), and as huge pages (ahead.c).
 *
 * To punch a memfd takes its inode's lock, which a client can keep busy with calls of its own on the same file, or hold. So
 * it is done by a process of its own (punch.c), of one chunk at a time; no lock of ours is held meanwhile, and nobody waits for
 * it, this thread but for a moment: what goes is taken out of the page map before and put back after (idle.c). Should the
 * process never come back from the kernel, the heap is smaller by a chunk at most, and no more memory is given back until it does.
 *
 * What is committed ahead of need stays; and so does a huge page, unless half of it has been idle (idle.c).
 *
 * The same thread makes huge pages, ahead of need and of chunks that are free, since the kernel can take its time with those, too, and this is
 * the thread that nobody waits for. It is woken for that by a bell of the page heap's, and looks by itself at ever longer intervals: what is in
 * use then may be free later, and a heap that nobody uses is to wake nobody. Chunks in use come last, and take a part of the time only: whoever
 * touches one while the kernel takes it together waits.
 */
#include "scavenger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "ahead.h"
#include "clean.h"
#include "clock.h"
#include "idle.h"
#include "pages.h"
#include "spans.h"

#define USED_REST 9u /* times as long as a chunk in use took is it until the next one */
#define LOOK_HUGE_NS \
	UINT64_C(100000000) /* between two looks for chunks that can become huge pages, at first */

struct scavenger {
	struct heap *heap;
	struct collapser collapser;
	pthread_t thread;
	uint64_t period;  /* ns between two looks */
	uint64_t look;    /* ... for chunks that can become huge pages */
	uint64_t used_at; /* no chunk in use becomes one before this */
	bool stop;
};

static void give_back(struct heap *heap, bool punched)
{
	heap_lock(heap);
	pages_idle_give(heap->pages, punched);
	heap_unlock(heap);
}

/* What was begun by us, or by the daemon before us. False: it is not over. */
static bool is_settled(struct heap *heap, uint64_t ns)
{
	bool was_late = heap->punch.late;
	int r = punch_is_late(&heap->punch) ? -ETIMEDOUT : punch_wait(&heap->punch, ns);

	if (r == -ETIMEDOUT)
		return false;
	if (r >= 0)
		give_back(heap, r);
	else if (was_late && heap->ledger->head->hole.chunk)
		give_back(heap, true);
	return true;
}

static void tell_held(struct heap *heap)
{
	log_limited(
		heap->log, &heap->held, LOG_WARNING,
		"heap '%s': a client keeps the kernel busy with the heap's memory file, so that nothing can be given "
		"back to the system: see which of them waits in a system call on it (heapctl clients), and end it",
		heap->name);
}

/* Run by run of the pages that go. */
static int punch_hole(struct heap *heap)
{
	const struct ledger_hole *hole = &heap->ledger->head->hole;
	char *at = (char *)(uintptr_t)heap->t.base + ((hole->chunk - 1) << HEAPD_CHUNK_SHIFT);

	punch_clear(&heap->punch);
	for (uint64_t page = 0, n; page < HEAPD_CHUNK_PAGES; page += n + 1) {
		for (n = 0;
		     page + n < HEAPD_CHUNK_PAGES && hole->pages[(page + n) / 64] >> ((page + n) % 64) & 1;
		     n++)
			;
		if (n)
			punch_add(&heap->punch, at + (page << HEAPD_PAGE_SHIFT), n << HEAPD_PAGE_SHIFT);
	}
	return punch_begin(&heap->punch);
}

/* False: there is nothing to give back, or it cannot be. */
static bool give_one(struct heap *heap, uint64_t *from)
{
	bool found;

	heap_lock(heap);
	found = pages_idle_take(heap->pages, from);
	heap_unlock(heap);
	if (!found)
		return false;
	if (punch_hole(heap) < 0) {
		give_back(heap, false);
		return false;
	}
	if (is_settled(heap, PUNCH_PATIENCE_NS))
		return true;
	tell_held(heap);
	return false;
}

static void note_idle(struct heap *heap)
{
	heap_lock(heap);
	pages_idle_note(heap->pages);
	heap_unlock(heap);
}

static bool begin_ahead(struct pages *pages)
{
	return pages_ahead_begin(pages, PAGES_SCAVENGER) || pages_huge_begin(pages);
}

/* One chunk more as a huge page, without the lock while the kernel is at it. */
static bool make_huge(struct heap *heap, bool (*begin)(struct pages *pages))
{
	struct pages *pages = heap->pages;
	bool more;

	if (!pages->collapser)
		return false;
	heap_lock(heap);
	more = begin(pages);
	heap_unlock(heap);
	if (!more)
		return false;
	pages_ahead_commit(pages, PAGES_SCAVENGER);
	heap_lock(heap);
	more = pages_ahead_end(pages, PAGES_SCAVENGER);
	heap_unlock(heap);
	return more;
}

static bool is_stopped(struct scavenger *s)
{
	return HEAPD_LOAD_ACQUIRE(&s->stop);
}

/* What large objects are to find zero, a few pages at a time: a collection that has just ended is what it is done after. */
static void clear_free(struct scavenger *s)
{
	struct pages *pages = s->heap->pages;
	bool more = true;

	while (more && !is_stopped(s)) {
		heap_lock(s->heap);
		more = pages_clean_begin(pages);
		heap_unlock(s->heap);
		if (!more)
			break;
		pages_clean_clear(pages);
		heap_lock(s->heap);
		pages_clean_end(pages);
		heap_unlock(s->heap);
	}
}

/* False: there is none, now. */
static bool make_used_huge(struct scavenger *s)
{
	uint64_t begin = clock_ns();

	if (begin < s->used_at)
		return true;
	if (!make_huge(s->heap, pages_used_begin))
		return false;
	s->used_at = clock_ns() + (clock_ns() - begin) * USED_REST;
	return true;
}

/* Until the bell rings, and to that moment at most. */
static void await_bell(struct scavenger *s, uint64_t until)
{
	uint32_t *bell = &s->heap->pages->bell;
	uint64_t now = clock_ns(), ns = until > now ? until - now : 0;

	futex_wait(bell, 0, ns < s->look ? ns : s->look);
	if (__atomic_exchange_n(bell, 0, __ATOMIC_SEQ_CST))
		s->look = LOOK_HUGE_NS;
	else if (s->look < s->period && s->look <= ns)
		s->look *= 2;
}

/* Asleep, but for huge pages; true if it is to go on. */
static bool rest(struct scavenger *s, uint64_t ns)
{
	uint64_t until = clock_ns() + ns;

	while (!is_stopped(s) && clock_ns() < until) {
		clear_free(s);
		while (!is_stopped(s) && make_huge(s->heap, begin_ahead))
			clear_free(s);
		if (make_used_huge(s) && s->used_at < until)
			await_bell(s, s->used_at);
		else
			await_bell(s, until);
	}
	return !is_stopped(s);
}

uint64_t scavenger_look(struct heap *heap)
{
	uint64_t from = 0, n = 0;

	while (is_settled(heap, 0) && give_one(heap, &from))
		n++;
	note_idle(heap);
	return n;
}

static void *scavenge(void *arg)
{
	struct scavenger *s = arg;

	while (rest(s, s->period)) {
		uint64_t from = 0;

		while (is_settled(s->heap, 0) && give_one(s->heap, &from) && rest(s, SCAVENGER_CHUNK_NS))
			;
		note_idle(s->heap);
	}
	return NULL;
}

static int thread_start(struct scavenger *s)
{
	sigset_t all, before;
	char name[16];
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* bus.h */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&s->thread, NULL, scavenge, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	snprintf(name, sizeof(name), "free:%.9s", s->heap->name);
	pthread_setname_np(s->thread, name);
	return 0;
}

static void scavenged(struct heap *heap, struct collapser *collapser)
{
	heap_lock(heap);
	pages_scavenged(heap->pages, collapser);
	heap_unlock(heap);
}

int scavenger_start_every(struct heap *heap, uint64_t period_ns)
{
	struct scavenger *s;
	int r;

	/* Huge pages of the pool were set aside for the whole heap. */
	if (heap->t.directory->huge == HEAPD_HUGE_HUGETLB)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->heap = heap;
	s->period = period_ns;
	s->look = LOOK_HUGE_NS;
	collapser_init(&s->collapser, heap->t.base, heap->geometry.size);
	if (heap->t.directory->huge == HEAPD_HUGE_AUTO) {
		collapser_start(&s->collapser); /* or when there is a question */
		scavenged(heap, &s->collapser);
	}
	r = thread_start(s);
	if (r == 0) {
		heap->scavenger = s;
		return 0;
	}
	scavenged(heap, NULL);
	collapser_stop(&s->collapser);
	free(s);
	return r;
}

int scavenger_start(struct heap *heap)
{
	return scavenger_start_every(heap, SCAVENGER_PERIOD_NS);
}

void scavenger_stop(struct heap *heap)
{
	struct scavenger *s = heap->scavenger;

	if (!s)
		return;
	HEAPD_STORE_RELEASE(&s->stop, true);
	__atomic_exchange_n(&heap->pages->bell, 1, __ATOMIC_SEQ_CST);
	futex_wake_all(&heap->pages->bell);
	heap->scavenger = NULL;
	pthread_join(s->thread, NULL);
	scavenged(heap, NULL);
	collapser_stop(&s->collapser);
	free(s);
}
