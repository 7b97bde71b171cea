/* SPDX-License-Identifier: MIT */
/*
 * Owns the grey objects, and the mark bits while it marks.
 *
 * A worker's step: some objects are taken from its queue, their words gathered into a batch; the batch is resolved to
 * slots, then the slots' mark bits are tested and set, and what was white is put into the queue. Each of these
 * passes has asked for the memory of the next one (page record, mark word, object) long before it is needed, and none has a
 * branch that depends on what is found.
 *
 * The queue is small. What it has no room for goes to the work pool, by slab (workpool.h), which always has
 * room; it comes back when the queue runs low, all objects of the slab together: the wider the graph, the
 * more of them there are, and the nearer they lie. So there is no recursion, no overflow that has to be made good, and
 * no object is scanned twice. Large objects are always in the pool, and scanned piece by piece.
 *
 * Mark words. Bits are only ever set while a cycle marks. With several workers they are set by an atomic OR, and
 * who finds the bit clear owns the object. With one worker, its plain load and store of a word lose nothing, since
 * nobody else writes that word meanwhile: whoever cuts a span sets its mark words before the page records lead
 * to them (release in spans.c, acquire in slots.h), and finding them all set, the worker stores what is there; and
 * what else is taken out of the sweep's way meanwhile is noted in the hold words (marks.h).
 *
 * What is read of objects is read once, and used as an offset that is compared with the heap's size, so any
 * content is harmless. An object is scanned once, and there are at most as many as mark bits: marking ends.
 */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

#include "hardened.h"
#include "heapd/atomic.h"
#include "heapd/count.h"
#include "slots.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define INLINE      static inline __attribute__((always_inline))

#define STEP        16u   /* objects that are taken from the queue at once */
#define AHEAD       32u   /* an object is asked for when it is that near to the queue's head */
#define QUEUE_LOW   64u   /* below this, the queue is filled from the pool */
#define COST_WORDS  16u   /* an object of many words counts for one more with each so many */
#define PIECE_WORDS 4096u /* of a large object, scanned at once */
#define PIECE_COST  (PIECE_WORDS / COST_WORDS)
#define SHARE_ABOVE 128u /* a queue longer than this is shared with those who wait */

INLINE uint64_t entry_make(const struct shape *shapes, const struct slot *s)
{
	return s->at | shapes[s->class].entry;
}

INLINE const uint64_t *entry_words(uint64_t base, uint64_t entry)
{
	uint64_t address = base + shape_entry_at(entry) * 8;

	return (const uint64_t *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
}

/* Sets the bit; true if it was clear. */
INLINE bool mark_set(uint64_t *word, uint32_t bit, bool shared)
{
	uint64_t mask = UINT64_C(1) << bit, old = HEAPD_READ_ONCE(*word);

	if (!shared) {
		bool was;

		/* No compiler makes it of shifts, which take twice as many instructions. */
		__asm__("btsq %2, %0" : "+r"(old), "=@ccc"(was) : "r"((uint64_t)bit));
		HEAPD_WRITE_ONCE(*word, old);
		return !was;
	}
	return !(old & mask) && !(__atomic_fetch_or(word, mask, __ATOMIC_RELAXED) & mask);
}

static void out_flush(struct worker *w)
{
	workpool_put(w->pool, w->out, w->nout);
	w->nout = 0;
}

/* Sets an object's bit in its slab's word, if `push`: true if it is the word's first. */
INLINE bool grey_set(uint64_t *grey, uint32_t bit, bool push, bool shared)
{
	uint64_t mask = (uint64_t)push << bit, old;

	if (shared) {
		old = push ? __atomic_fetch_or(grey, mask, __ATOMIC_RELEASE) : 1;
	} else {
		old = HEAPD_READ_ONCE(*grey);
		HEAPD_WRITE_ONCE(*grey, old | mask);
	}
	return push & !old;
}

/* Takes all bits of a slab's word. */
INLINE uint64_t grey_take(uint64_t *grey, bool shared)
{
	uint64_t bits;

	if (shared)
		return __atomic_exchange_n(grey, 0, __ATOMIC_ACQUIRE);
	bits = HEAPD_READ_ONCE(*grey);
	HEAPD_WRITE_ONCE(*grey, 0);
	return bits;
}

/* A word of a large object. Its slab has one slot, so the pool's word says where its scan stands. */
static void large_found(struct worker *w, uint64_t at)
{
	struct slot s;

	if (!slot_find_at(&w->heap->t, at, &s) || !mark_set(&w->mark[s.slab], s.bit, w->pool->shared))
		return;
	w->counts.objects++;
	w->counts.bytes += w->heap->t.spans[s.first].elemsize;
	if (!shape_entry_grey(entry_make(w->shapes, &s)))
		return;
	__atomic_store_n(&w->pool->grey[s.slab], 1, __ATOMIC_RELEASE);
	w->out[w->nout++] = entry_make(w->shapes, &s);
}

/* The batch's words of the heap become slots, and their mark words are asked for. */
INLINE unsigned batch_resolve(struct worker *w, bool pooled)
{
	const struct heapd_tables *const t = &w->heap->t;
	const struct shape *const shapes = w->shapes;
	uint64_t *const mark = w->mark, *const grey = w->pool->grey;
	struct candidate *c = w->candidates;

	for (const uint64_t *at = w->batch, *end = at + w->nbatch; at < end; at++) {
		struct slot s;

		if (unlikely(!slot_find_at(t, *at, &s)))
			continue;
		if (unlikely(!s.words)) {
			large_found(w, *at);
			continue;
		}
		*c++ = (struct candidate){
			.entry = entry_make(shapes, &s),
			.slab = s.slab,
			.words = s.words,
			.bit = (uint16_t)s.bit,
		};
		__builtin_prefetch(&mark[s.slab], 1);
		if (pooled)
			__builtin_prefetch(&grey[s.slab], 1);
	}
	return (unsigned)(c - w->candidates);
}

/* What does not change in between is read once: no compiler can know that a mark word is none of it. */
INLINE void batch_mark(struct worker *w, unsigned n, bool pooled, bool shared)
{
	uint64_t *const mark = w->mark, *const grey = w->pool->grey, *const queue = w->queue;
	const uint64_t last = w->room - 1;
	uint64_t tail = w->tail, objects = 0, words = 0, pushed = 0;

	for (const struct candidate *c = w->candidates, *end = c + n; c < end; c++) {
		uint64_t new = mark_set(&mark[c->slab], c->bit, shared),
			 push = new &shape_entry_grey(c->entry);

		objects += new;
		words += c->words * new;
		if (pooled) {
			pushed += push;
			w->out[w->nout] = c->entry;
			w->nout += grey_set(&grey[c->slab], c->bit, push, shared);
		} else {
			queue[tail & last] = c->entry;
			tail += push;
		}
	}
	w->tail = tail;
	w->counts.objects += objects;
	w->counts.bytes += words * 8;
	w->counts.overflows += pushed;
}

/* The step under way has taken its objects, but reads them where they are: their places are not free yet. */
INLINE void batch_pass(struct worker *w, bool shared)
{
	if (likely(w->room - (w->tail - w->head) >= w->nbatch + STEP))
		batch_mark(w, batch_resolve(w, false), false, shared);
	else
		batch_mark(w, batch_resolve(w, true), true, shared);
	w->nbatch = 0;
	if (w->nout >= WORKER_OUT)
		out_flush(w);
}

static void batch_alone(struct worker *w)
{
	batch_pass(w, false);
}

static void batch_shared(struct worker *w)
{
	batch_pass(w, true);
}

void worker_settle(struct worker *w)
{
	if (w->pool->shared)
		batch_shared(w);
	else
		batch_alone(w);
}

/* Some of these words were neither NULL nor in the heap: which, for the counts by field. They may have changed since. */
static void foreign_found(struct worker *w, const struct shape *shape, const uint64_t *words, uint64_t map,
			  uint64_t at)
{
	uint64_t size = w->heap->t.types[shape->type].size / 8;

	for (; map; map &= map - 1) {
		uint64_t i = (uint64_t)__builtin_ctzll(map), word = HEAPD_READ_ONCE(words[i]);

		if (!word || word - w->heap->t.base < w->heap->t.size)
			continue;
		w->counts.foreign++;
		foreign_count(w->foreign, shape->type, shape_type_word(shape, at + i), size + 1);
	}
}

/* What words are compared with, read once for many of them. */
struct bounds {
	uint64_t base, words;
	const struct heapd_page *pages;
};

INLINE struct bounds bounds_of(const struct worker *w)
{
	const struct heapd_tables *t = &w->heap->t;

	return (struct bounds){ .base = t->base, .words = t->size / 8, .pages = t->pages };
}

/*
 * Gathers the words that the map names, n of them. at: which word of the object the first is. Of a word outside the heap a
 * page record is asked for that is anyway.
 */
INLINE void gather(struct worker *w, const struct bounds *b, const struct shape *shape, const uint64_t *words,
		   uint64_t map, uint64_t n, uint64_t at)
{
	uint64_t *const batch = w->batch, all = map;
	uint64_t end = w->nbatch, others = end + n;

	for (; map; map &= map - 1) {
		uint64_t word = HEAPD_READ_ONCE(words[(unsigned)__builtin_ctzll(map)]),
			 place = (word - b->base) / 8;
		uint64_t inside = -(uint64_t)(place < b->words); /* all bits, or none */

		others -= !word;
		batch[end] = place;
		end -= inside;
		__builtin_prefetch(&b->pages[(place & inside) >> SLOT_PAGE_SHIFT]);
	}
	w->nbatch = (unsigned)end;
	w->counts.words += n;
	if (unlikely(others != end && shape->exact))
		foreign_found(w, shape, words, all, at);
	if (end >= WORKER_BATCH)
		worker_settle(w);
}

/* Words from..to of an object of n. */
static void scan_range(struct worker *w, const struct shape *shape, const uint64_t *words, uint64_t from,
		       uint64_t to, uint64_t n)
{
	const struct bounds b = bounds_of(w);

	for (uint64_t at = from; at < to; at += SHAPE_WINDOW) {
		uint64_t map = shape_window(shape, at, n);

		gather(w, &b, shape, words + at, map, heapd_count_bits(map), at);
	}
}

/* Asks for the lines in which the slot's first and last pointers of the map lie. */
INLINE void ask(uint64_t base, uint64_t entry)
{
	const uint64_t *words = entry_words(base, entry);

	__builtin_prefetch(words);
	if (shape_entry_far(entry))
		__builtin_prefetch(words + shape_entry_far(entry));
}

static void scan_long(struct worker *w, const struct shape *shape, const uint64_t *words)
{
	w->left -= shape->words / COST_WORDS;
	scan_range(w, shape, words, 0, shape->words, shape->words);
}

/* Some objects; for each, one that comes AHEAD of it is asked for. */
INLINE void scan_some(struct worker *w)
{
	const struct bounds b = bounds_of(w);
	const uint64_t last = w->room - 1, *const queue = w->queue;
	const uint64_t there = w->tail - w->head, n = there < STEP ? there : STEP;
	const struct shape *const shapes = w->shapes;
	uint64_t i = w->head, end = i + n, near = end + AHEAD, k = w->asked,
		 asked = near < w->tail ? near : w->tail;

	w->left -= (int64_t)n;
	w->head = end;
	w->asked = asked > k ? asked : k;
	for (; i < end; i++) {
		uint64_t entry = queue[i & last];
		const struct shape *shape = &shapes[shape_entry_class(entry)];

		if (likely(k < asked))
			ask(b.base, queue[k++ & last]);
		if (likely(shape->one))
			gather(w, &b, shape, entry_words(b.base, entry), shape->map, shape->listed, 0);
		else
			scan_long(w, shape, entry_words(b.base, entry));
	}
	while (k < asked)
		ask(b.base, queue[k++ & last]);
}

/* One piece; the next is put into the pool before this one is scanned, so that another worker can take it. */
static void scan_piece(struct worker *w, uint64_t entry, uint64_t *grey)
{
	uint64_t piece = __atomic_exchange_n(grey, 0, __ATOMIC_ACQUIRE);
	uint64_t n = w->heap->t.spans[shape_entry_at(entry) >> SLOT_PAGE_SHIFT].elemsize / 8 -
		     hardened_words(w->heap);
	uint64_t to = piece * PIECE_WORDS;

	if (!piece)
		return;
	w->left -= (int64_t)PIECE_COST;
	if (to < n) {
		__atomic_store_n(grey, piece + 1, __ATOMIC_RELEASE);
		w->out[w->nout++] = entry;
		if (HEAPD_READ_ONCE(w->pool->waiting))
			out_flush(w);
	}
	scan_range(w, &w->shapes[shape_entry_class(entry)], entry_words(w->heap->t.base, entry),
		   to - PIECE_WORDS, to < n ? to : n, n);
}

/* Of all entries together: their page records are asked for, then the words that those lead to. */
static void in_ask(const struct worker *w)
{
	const struct heapd_tables *const t = &w->heap->t;
	struct slot s;

	for (unsigned i = 0; i < w->nin; i++)
		__builtin_prefetch(&t->pages[shape_entry_at(w->in[i]) >> SLOT_PAGE_SHIFT]);
	for (unsigned i = 0; i < w->nin; i++)
		if (slot_find_at(t, shape_entry_at(w->in[i]), &s))
			__builtin_prefetch(&w->pool->grey[s.slab], 1);
}

/* The next entry from the pool. */
static bool in_next(struct worker *w, uint64_t *entry)
{
	if (w->in_at == w->nin) {
		out_flush(w);
		w->in_at = 0;
		w->nin = workpool_take(w->pool, w->in, WORKER_IN);
		in_ask(w);
	}
	if (!w->nin)
		return false;
	*entry = w->in[w->in_at++];
	return true;
}

/* All grey objects of the slab that the entry leads to. */
static void slab_queue(struct worker *w, uint64_t entry)
{
	struct slot s;

	if (!slot_find_at(&w->heap->t, shape_entry_at(entry), &s))
		return;
	uint64_t *grey = &w->pool->grey[s.slab], bits;

	if (!s.words) {
		scan_piece(w, entry, grey);
		return;
	}
	bits = grey_take(grey, w->pool->shared);
	entry -= (uint64_t)s.bit * s.words;
	for (; bits; bits &= bits - 1)
		w->queue[w->tail++ & (w->room - 1)] = entry + (uint64_t)__builtin_ctzll(bits) * s.words;
}

/* False if there is nothing grey in the pool. */
static bool refill(struct worker *w)
{
	uint64_t entry;
	bool any = false;

	while (w->tail - w->head < QUEUE_LOW && w->left > 0 && in_next(w, &entry)) {
		slab_queue(w, entry);
		any = true;
	}
	return any;
}

/* Others have nothing to do: half of the queue is put into the pool. */
static void share(struct worker *w)
{
	for (uint64_t n = (w->tail - w->head) / 2; n; n--) {
		uint64_t entry = w->queue[w->head++ & (w->room - 1)];
		struct slot s;

		if (!slot_find_at(&w->heap->t, shape_entry_at(entry), &s))
			continue;
		w->out[w->nout] = entry;
		w->nout += grey_set(&w->pool->grey[s.slab], s.bit, true, true);
		if (w->nout >= WORKER_OUT)
			out_flush(w);
	}
	if (w->asked < w->head)
		w->asked = w->head;
	out_flush(w);
}

bool worker_run(struct worker *w, int64_t objects)
{
	w->left = objects;
	do {
		while (w->head != w->tail && w->left > 0) {
			scan_some(w);
			if (unlikely(w->tail - w->head < QUEUE_LOW))
				refill(w);
			else if (unlikely(HEAPD_READ_ONCE(w->pool->waiting)) &&
				 w->tail - w->head > SHARE_ABOVE)
				share(w);
		}
		worker_settle(w);
	} while (w->left > 0 && (w->head != w->tail || refill(w)));
	/* Whoever found nothing to do has not got on. */
	if (w->left != objects)
		beat_count(&w->pool->done);
	return w->left > 0;
}

void worker_candidate(struct worker *w, uint64_t word)
{
	uint64_t offset = word - w->heap->t.base;

	w->batch[w->nbatch] = offset / 8;
	w->nbatch += offset < w->heap->t.size;
	if (w->nbatch >= WORKER_BATCH)
		worker_settle(w);
}

void worker_clear(struct worker *w)
{
	out_flush(w);
	workpool_put(w->pool, w->in + w->in_at, w->nin - w->in_at);
	w->head = w->asked = w->tail;
	w->nbatch = w->nin = w->in_at = 0;
	w->counts = (struct marker_counts){ 0 };
}

int worker_init(struct worker *w, uint64_t room)
{
	w->room = room;
	w->queue = malloc(room * sizeof(*w->queue));
	return w->queue ? 0 : -ENOMEM;
}

void worker_deinit(struct worker *w)
{
	free(w->queue);
}
