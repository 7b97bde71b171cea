/* SPDX-License-Identifier: MIT */
/*
 * HEAPD_DEBUG=dangling: pointers into the heap that stand where no scan sees them, in malloc's memory or a plain global,
 * found when what they point to has been taken back.
 *
 * Looked through is what this process alone can write: data, malloc's heap, anonymous mappings. Left out are the stacks of
 * attached threads, which are scanned, their alternate stacks for signals, where a scan's own handler leaves the registers of what it
 * interrupted, the agent's own stack, and the library's record of the attachment; and whole pieces of which no page was ever touched,
 * since a program may have reserved very many. Memory may be unmapped
 * while it is read: so the kernel copies it (process_vm_readv) to a buffer, which is a shared mapping, and
 * therefore not looked through itself.
 *
 * It is the agent that looks, and a scan waits for the agent: a look is broken off when one begins, and goes on after the
 * next cycle where it was. Who detaches waits for the agent, too, and its threads have no records by then that say which stacks are
 * theirs: so a look ends there, and what it came to in between is not told.
 *
 * It is noisy: malloc leaves old words in what was freed. A report says where to look, no more.
 */
#include "dangling.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "handshake.h"
#include "heapd/session.h"
#include "place.h"
#include "report.h"
#include "touched.h"

#define PIECE_BYTES (256ul << 10)
#define TOLD_MAX    64u          /* words that are not told of again */
#define LARGE_BYTES (64ul << 30) /* address space that somebody has reserved, such as a sanitizer's shadow */

struct dangling {
	uint64_t from; /* where the last look was broken off; 0: it was not */
	uint64_t told[TOLD_MAX], ntold;
};

struct mapping {
	uint64_t low, high;
	char name[64];
};

/* One time that all is looked through. */
struct look {
	struct heapd_heap *heap;
	struct mapping own; /* the agent's stack */
	uint64_t *buffer;   /* PIECE_BYTES */
	struct touched touched;
};

/* Where this thread runs. */
static struct mapping own_stack(void)
{
	struct mapping own = { 0 };
	pthread_attr_t attr;
	void *low = NULL;
	size_t bytes = 0;

	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		pthread_attr_getstack(&attr, &low, &bytes);
		pthread_attr_destroy(&attr);
	}
	own.low = (uint64_t)(uintptr_t)low;
	own.high = own.low + bytes;
	return own;
}

static bool is_left_out(const struct heapd_heap *heap, const struct mapping *own, uint64_t at)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->session->nthreads);

	if (at - own->low < own->high - own->low || at - (uint64_t)(uintptr_t)heap < sizeof(*heap))
		return true;
	for (uint32_t i = 0; i < n && i < HEAPD_THREAD_MAX; i++) {
		const struct heapd_thread *thread = &heap->threads[i];
		uint64_t low = HEAPD_READ_ONCE(thread->stack_low), high = HEAPD_READ_ONCE(thread->stack_high);
		/* Acquire pairs with the release in threads_leave(): who finds a record free because of a detach sees that next. */
		if (HEAPD_LOAD_ACQUIRE(&thread->state) != HEAPD_THREAD_FREE &&
		    ((at >= low && at < high) || handshake_on_alternate(heap, i, at)))
			return true;
	}
	return atomic_load(&heap->leaving);
}

static bool in_current(const struct heapd_current *current, const struct place *place)
{
	return (HEAPD_READ_ONCE(current->base) & ~HEAPD_CURRENT_ZEROED) == place->base &&
	       HEAPD_READ_ONCE(current->bits) & place->bit;
}

/* In the current slab of any CPU. */
static bool is_current(const struct heapd_heap *heap, const struct place *place)
{
	uint64_t at = place->span->class;

	for (uint64_t cpu = 0; cpu < heap->t.cpus; cpu++, at += HEAPD_CLASS_MAX)
		if (in_current(&heap->t.rseq_rows[at].slabs[0], place) ||
		    in_current(&heap->t.rseq_rows[at].slabs[1], place) ||
		    in_current((const struct heapd_current *)(const void *)&heap->t.cas_rows[at], place))
			return true;
	return false;
}

static bool is_dangling(const struct heapd_heap *heap, uint64_t word)
{
	struct place place;

	if (word - heap->t.base >= heap->t.size)
		return false;
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	if (!place_find(heap, (const void *)(uintptr_t)word, &place))
		return true;
	if (!(HEAPD_READ_ONCE(heap->t.out[place.slab]) & place.bit))
		return true;
	return !heap->read_only &&
	       (HEAPD_READ_ONCE(heap->t.lent[place.slab]) & place.bit || is_current(heap, &place));
}

/* True the first time; the oldest is forgotten for it. */
static bool is_news(struct dangling *d, uint64_t at)
{
	for (unsigned i = 0; i < TOLD_MAX; i++)
		if (d->told[i] == at)
			return false;
	d->told[d->ntold++ % TOLD_MAX] = at;
	return true;
}

static void word_look(const struct look *look, const struct mapping *mapping, uint64_t at, uint64_t word)
{
	struct heapd_heap *heap = look->heap;

	if (!is_dangling(heap, word) || is_left_out(heap, &look->own, at) || !is_news(heap->dangling, at))
		return;
	report_leave(
		heap, HEAPD_REPORT_RULE,
		"heap '%s': the word at %#llx (%s) holds %#llx, where no object is any more: keep pointers where heapd finds them (a pin, a registered range), or it may be an old word that nobody reads",
		heap->name, (unsigned long long)at, mapping->name, (unsigned long long)word);
}

/* Where the kernel does not tell, all is. */
static bool is_touched(struct look *look, uint64_t at, uint64_t bytes)
{
	uint64_t page = (uint64_t)getpagesize(), n = touched_look(&look->touched, at);
	bool touched = n * page < bytes;

	for (uint64_t i = 0; i < n && i * page < bytes; i++)
		touched |= touched_once(&look->touched, i);
	return touched;
}

static void piece_look(struct look *look, const struct mapping *mapping, uint64_t at)
{
	uint64_t bytes = mapping->high - at < PIECE_BYTES ? mapping->high - at : PIECE_BYTES;
	struct iovec to = { look->buffer, bytes };
	struct iovec from = { (void *)(uintptr_t)at, bytes }; /* NOLINT(performance-no-int-to-ptr) */
	ssize_t n = is_touched(look, at, bytes) ? process_vm_readv(getpid(), &to, 1, &from, 1, 0) : 0;

	for (ssize_t i = 0; i < n / 8; i++)
		word_look(look, mapping, at + (uint64_t)i * 8, look->buffer[i]);
}

static bool is_over(const struct heapd_heap *heap)
{
	return atomic_load(&heap->leaving) ||
	       heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now)) == HEAPD_PHASE_SCAN;
}

/* False when it was broken off. */
static bool mapping_look(struct look *look, const struct mapping *mapping)
{
	uint64_t from = look->heap->dangling->from;

	for (uint64_t at = from > mapping->low ? from : mapping->low; at < mapping->high; at += PIECE_BYTES) {
		if (is_over(look->heap)) {
			look->heap->dangling->from = at;
			return false;
		}
		piece_look(look, mapping, at);
	}
	return true;
}

/* A line of /proc/self/maps: true for memory that is writable, private, and no stack of the first thread's. */
static bool mapping_read(const char *line, struct mapping *mapping)
{
	unsigned long long low, high;
	char mode[8] = "", name[64] = "";

	if (sscanf(line, "%llx-%llx %7s %*s %*s %*s %63s", &low, &high, mode, name) < 3)
		return false;
	mapping->low = low;
	mapping->high = high;
	strcpy(mapping->name, name[0] ? name : "anonymous memory");
	return high - low < LARGE_BYTES && strncmp(mode, "rw", 2) == 0 && mode[3] == 'p' &&
	       strcmp(name, "[stack]") != 0;
}

static void mappings_look(struct look *look, FILE *maps)
{
	struct mapping mapping;
	char line[512];

	while (fgets(line, sizeof(line), maps))
		if (mapping_read(line, &mapping) && !mapping_look(look, &mapping))
			return;
	look->heap->dangling->from = 0;
}

void dangling_look(struct heapd_heap *heap)
{
	struct look look = { .heap = heap, .own = own_stack() };
	void *buffer = mmap(NULL, PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FILE *maps = fopen("/proc/self/maps", "re");

	touched_begin(&look.touched);
	look.buffer = (uint64_t *)buffer;
	if (!heap->dangling)
		heap->dangling = (struct dangling *)calloc(1, sizeof(*heap->dangling));
	if (buffer != MAP_FAILED && maps && heap->dangling)
		mappings_look(&look, maps);
	touched_end(&look.touched);
	if (maps)
		fclose(maps);
	if (buffer != MAP_FAILED)
		munmap(buffer, PIECE_BYTES);
}

void dangling_free(struct heapd_heap *heap)
{
	free(heap->dangling);
	heap->dangling = NULL;
}
