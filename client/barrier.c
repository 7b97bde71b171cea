/* SPDX-License-Identifier: MIT */
/*
 * The store barrier with all its cases, and the exported function behind each macro of a field.
 *
 * The barrier is the hybrid of Yuasa's (the value that a store removes is shaded) and Dijkstra's (the
 * value stored is shaded, too, until the thread has scanned its stack). Each word's check and store
 * are one operation of the thread's gate: heapd.h does them inline while the barrier is off, and comes
 * here, with the gate left, when it is on, to begin anew. What is removed is shaded before it is
 * removed: whoever is killed in between has shaded too much and never too little.
 *
 * On is the number of the cycle that it is on for, and "has scanned" means: in that cycle, the one that
 * this operation read from its gate, whatever the directory says meanwhile. Nobody goes round to switch
 * barriers off: who finds its own on while no cycle is under way does so, by a swap from the number that
 * it read, so that it never takes back what handshake 1 wrote in the meantime. The gate is read before the
 * phase (acquire), and the daemon writes the phase first: a number of a cycle to come is never met
 * together with the phase before it.
 *
 * To shade is to append to the thread's barrier ring in its session: the thread writes the tail, the
 * daemon the head. The filter spares the ring what this cycle has been told already. A full ring never
 * holds up a store: the entry is dropped, and the session's overflow word voids the cycle.
 *
 * What the filter knows lies in the ring, or was marked: it is of the value that `now` had when it was
 * logged, and the daemon empties all rings before it publishes a cycle in `now` (release, pairs with the
 * acquire here), never after. An entry logged before that, and emptied, is of another cycle and forgotten.
 *
 * A thread looks at its ring once while `now` stays what it is, and when it is at the end of what it then saw free:
 * the length changes only before a cycle is published, and entries that are read only make more room. A store
 * that finds `now` as its view has it, and room for both words, goes straight on: the view is never of a phase in
 * which the barrier is off. A thread that its view says has answered does not ask its gate again: it found it on for this
 * cycle, and its answer given, and neither is taken back while `now` stays, which comes once; what handshake 1 writes there
 * for the next cycle comes after that one's `now`, and its membarrier, which pairs with the fence of gate_enter(), has either this
 * thread read that `now`, or the daemon wait for it, inside with the old one. Every other store takes the way of all operations,
 * from begin() to end().
 *
 * A store of a thread that has answered is no safepoint: there is nothing to answer, and it hears reports elsewhere.
 */
#include "client/barrier.h"

#include <errno.h>
#include <string.h>

#include "client/answer.h"
#include "client/gate.h"
#include "client/thread.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "heapd/session.h"
#include "heapd/step.h"

#define FILTER_WORDS (sizeof(((struct heapd_thread *)0)->barrier_filter) / sizeof(uint64_t))
#define MOVE_WORDS   64u        /* done in one operation, so that a long move does not hold up a handshake */
#define VIEW_OF_NONE UINT64_MAX /* no `now` is that */

/*
 * The view, in the thread's record, which nobody else reads. Thread-local memory is scarce in a library that is loaded late.
 *   barrier_now               while `now` is that, the barrier is on, and the rest is right; with VIEW_UNANSWERED
 *                             unless the thread was seen to have answered in that cycle
 *   barrier_entries, _mask    where the ring lies, and its length less one
 *   barrier_last              with a lower tail there is room for two entries, with this one for one; then it is looked at again
 */

#define VIEW_UNANSWERED (1ull << 63)

#define inlined static inline __attribute__((always_inline))

void barrier_forget(struct heapd_thread *self)
{
	memset(self->barrier_filter, 0, sizeof(self->barrier_filter));
	self->barrier_now = VIEW_OF_NONE;
	self->barrier_last = 0;
}

/* Begins anew, with a filter that knows nothing. A `now` whose barrier is off is not kept: a thread may come here just as that changes. */
static __attribute__((noinline, cold)) void view_renew(const struct heapd_heap *heap,
						       struct heapd_thread *self, uint64_t now)
{
	uint64_t index = (uint64_t)(self - heap->threads);
	char *rings = (char *)heap->session + HEAPD_SESSION_BARRIER_AT;

	barrier_forget(self);
	self->barrier_entries = (uint64_t *)(void *)(rings + index * HEAPD_BARRIER_RING_MAX * 8);
	self->barrier_mask = HEAPD_READ_ONCE(heap->session->barrier_ring) - 1u; /* after `now` */
	if (heapd_now_barrier(now))
		self->barrier_now = now | VIEW_UNANSWERED;
}

/* Whether there is room. Pairs with the daemon's release of the head: an entry is read before its place is used again. */
static __attribute__((noinline, cold)) bool view_extend(struct heapd_thread *self)
{
	self->barrier_last = HEAPD_LOAD_ACQUIRE(&self->barrier_head) + self->barrier_mask;
	return self->barrier_tail <= self->barrier_last;
}

/* Whether the view is of that `now`. */
inlined bool view_is_of(const struct heapd_thread *self, uint64_t now)
{
	return (self->barrier_now & ~VIEW_UNANSWERED) == now;
}

inlined bool view_has_room(const struct heapd_thread *self)
{
	return self->barrier_tail < self->barrier_last;
}

inlined uint64_t *filter_place(struct heapd_thread *self, uint64_t word)
{
	return &self->barrier_filter[word / 64 % FILTER_WORDS];
}

/* There is room. The tail after it. */
inlined uint64_t log_word(struct heapd_thread *self, uint64_t tail, uint64_t word)
{
	self->barrier_entries[tail & self->barrier_mask] = word;
	HEAPD_STORE_RELEASE(&self->barrier_tail, tail + 1);
	*filter_place(self, word) = word;
	return tail + 1;
}

/* now: read in this operation (acquire). */
static __attribute__((noinline)) void shade(struct heapd_heap *heap, struct heapd_thread *self, uint64_t now,
					    const void *value)
{
	uint64_t word = (uint64_t)(uintptr_t)value;

	if (!heap_contains(heap, value))
		return;
	if (unlikely(!view_is_of(self, now)))
		view_renew(heap, self, now);
	if (*filter_place(self, word) == word)
		return;
	if (likely(view_has_room(self)) || view_extend(self))
		log_word(self, self->barrier_tail, word);
	else
		HEAPD_WRITE_ONCE(heap->session->overflow, 1);
}

void barrier_shade(struct heapd_thread *self, const void *value)
{
	struct heapd_heap *heap = heapd_process;

	shade(heap, self, HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now), value);
}

/* What a store removes, and, until this thread has scanned, what it adds. */
inlined void shade_both(const struct barrier *b, const void *old, const void *new)
{
	struct heapd_heap *heap = heapd_process;

	if (!MUTANT(no_deletion_shade))
		shade(heap, b->self, b->now, old);
	if (HEAPD_READ_ONCE(b->self->scanned) != b->on && !MUTANT(no_insertion_shade))
		shade(heap, b->self, b->now, new);
	DELAY(128);
	STEP(store);
}

inlined uint32_t gate_on(const struct heapd_heap *heap, struct heapd_thread *self, uint64_t *now)
{
	uint32_t on = HEAPD_LOAD_ACQUIRE(&self->gate.on);

	if (!on)
		return 0;
	count_one(&self->barrier_slow);
	*now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);
	if (likely(heapd_now_barrier(*now)))
		return on;
	/* On failure `on` is what the daemon has written since. */
	if (__atomic_compare_exchange_n(&self->gate.on, &on, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return 0;
	return on;
}

uint32_t barrier_on(const struct heapd_heap *heap, struct heapd_thread *self)
{
	uint64_t now;

	return gate_on(heap, self, &now);
}

/*
 * Of a thread that is not online, or not attached. NULL: there is nothing to log to. A process without an attachment has no heap memory to
 * store into. A thread that cannot be attached may have: what it removes unlogged is made good by beginning the cycle again.
 */
static __attribute__((noinline, cold)) struct heapd_thread *begin_away(bool *away)
{
	struct heapd_thread *self;
	int error = errno;

	if (!heapd_process)
		return NULL;
	self = thread_enter(heapd_process, away);
	if (!self)
		HEAPD_WRITE_ONCE(heapd_process->session->overflow, 1);
	else
		errno = error;
	return self;
}

/* No address of *b leaves the function that these are inlined in: it stays in registers. attached: this thread is. */
inlined bool begin(struct barrier *b, bool attached)
{
	bool away = false;

	*b = (struct barrier){ .self = heapd_self };
	if (unlikely(!b->self))
		b->self = begin_away(&away);
	b->away = away;
	if (!attached && unlikely(!b->self))
		return false;
	gate_enter(b->self);
	uint64_t now = 0;
	b->on = gate_on(heapd_process, b->self, &now);
	b->now = now;
	return b->on;
}

inlined void end(const struct barrier *b, bool attached)
{
	if (!attached && !b->self)
		return;
	gate_leave(b->self);
	if (b->on && !b->away)
		answer_poll(heapd_process);
	thread_leave(b->away);
}

bool barrier_begin(struct barrier *b)
{
	return begin(b, true);
}

void barrier_end(const struct barrier *b)
{
	end(b, true);
}

void heapd_init_sym(void *field, void *value)
{
	heapd_init_word_(field, value);
}

void *heapd_load_sym(const void *field)
{
	return heapd_load_word_(field);
}

void *heapd_load_relaxed_sym(const void *field)
{
	return heapd_load_relaxed_word_(field);
}

static __attribute__((noinline)) void store_any(void *field, void *value)
{
	struct barrier b;

	if (begin(&b, false))
		shade_both(&b, heapd_load_relaxed_word_(field), value);
	__atomic_store_n(HEAPD_WORD_(field), value, __ATOMIC_RELEASE);
	end(&b, false);
}

/* With room for it. The tail after it. */
inlined uint64_t shade_straight(const struct heapd_heap *heap, struct heapd_thread *self, uint64_t tail,
				const void *value)
{
	uint64_t word = (uint64_t)(uintptr_t)value;

	if (likely(heap_contains(heap, value)) && likely(*filter_place(self, word) != word))
		return log_word(self, tail, word);
	return tail;
}

/* In the gate, with a view that stands, as the next: shade_both() and the store. This one for who has answered. */
inlined void store_answered(struct heapd_heap *heap, struct heapd_thread *self, void *field, void *value)
{
	count_one(&self->barrier_slow);
	if (!MUTANT(no_deletion_shade))
		shade_straight(heap, self, self->barrier_tail, heapd_load_relaxed_word_(field));
	DELAY(128);
	STEP(store);
	__atomic_store_n(HEAPD_WORD_(field), value, __ATOMIC_RELEASE);
	gate_leave(self);
}

inlined void store_unanswered(struct heapd_heap *heap, struct heapd_thread *self, void *field, void *value)
{
	uint64_t tail = self->barrier_tail;

	count_one(&self->barrier_slow);
	if (!MUTANT(no_deletion_shade))
		tail = shade_straight(heap, self, tail, heapd_load_relaxed_word_(field));
	if (!MUTANT(no_insertion_shade))
		shade_straight(heap, self, tail, value);
	DELAY(128);
	STEP(store);
	__atomic_store_n(HEAPD_WORD_(field), value, __ATOMIC_RELEASE);
	gate_leave(self);
	answer_poll(heap);
}

/* In the gate: the view is not of a thread that has answered, not of this `now`, or has no room. */
static __attribute__((noinline)) void store_looking(struct heapd_heap *heap, struct heapd_thread *self,
						    void *field, void *value)
{
	uint32_t on = HEAPD_LOAD_ACQUIRE(&self->gate.on);
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);

	if (!view_is_of(self, now) || on != heapd_now_cycle(now) || !view_has_room(self)) {
		gate_leave(self);
		store_any(field, value);
	} else if (HEAPD_READ_ONCE(self->scanned) == on) {
		self->barrier_now = now;
		store_answered(heap, self, field, value);
	} else {
		store_unanswered(heap, self, field, value);
	}
}

void heapd_store_sym(void *field, void *value)
{
	struct heapd_thread *self = heapd_self;
	struct heapd_heap *heap = heapd_process;

	if (unlikely(!self)) {
		store_any(field, value);
		return;
	}
	gate_enter(self);
	if (likely(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now) == self->barrier_now &&
		   view_has_room(self)))
		store_answered(heap, self, field, value);
	else
		store_looking(heap, self, field, value);
}

void heapd_store_relaxed_sym(void *field, void *value)
{
	heapd_store_sym(field, value);
}

/* The pin holds its value all the while, so it does not matter that this thread's stack may not. */
void heapd_store_pinned_sym(void *field, void *pin)
{
	heapd_store_sym(field, heapd_load_word_(pin));
}

/* With the barrier on, the value that goes must be known, and shaded, before it goes. */
static void *exchange_shaded(const struct barrier *b, heapd_word_ *field, void *value)
{
	void *old = __atomic_load_n(field, __ATOMIC_RELAXED);

	do
		shade_both(b, old, value);
	while (!__atomic_compare_exchange_n(field, &old, value, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	return old;
}

void *heapd_exchange_sym(void *field, void *value)
{
	struct barrier b;
	void *old;

	if (begin(&b, false))
		old = exchange_shaded(&b, HEAPD_WORD_(field), value);
	else
		old = __atomic_exchange_n(HEAPD_WORD_(field), value, __ATOMIC_ACQ_REL);
	end(&b, false);
	return old;
}

void *heapd_exchange_relaxed_sym(void *field, void *value)
{
	return heapd_exchange_sym(field, value);
}

/* If the swap succeeds, what it removes is what was expected. */
bool heapd_cas_sym(void *field, void *expected, void *value)
{
	struct barrier b;

	if (begin(&b, false))
		shade_both(&b, *HEAPD_WORD_(expected), value);
	bool done = __atomic_compare_exchange_n(HEAPD_WORD_(field), HEAPD_WORD_(expected), value, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	end(&b, false);
	return done;
}

bool heapd_cas_relaxed_sym(void *field, void *expected, void *value)
{
	return heapd_cas_sym(field, expected, value);
}

/* One operation's share of a move (from NULL: of a zeroing), upwards or downwards. */
static void words_write(heapd_word_ *to, const heapd_word_ *from, size_t n, bool down)
{
	struct barrier b;
	bool on = begin(&b, false);

	for (size_t k = 0; k < n; k++) {
		size_t i = down ? n - 1 - k : k;
		void *value = from ? __atomic_load_n(&from[i], __ATOMIC_RELAXED) : NULL;
		if (on)
			shade_both(&b, __atomic_load_n(&to[i], __ATOMIC_RELAXED), value);
		__atomic_store_n(&to[i], value, __ATOMIC_RELEASE);
	}
	end(&b, false);
}

void heapd_move_sym(void *to, const void *from, size_t n)
{
	heapd_word_ *t = HEAPD_WORD_(to);
	const heapd_word_ *f = HEAPD_CONST_WORD_(from);
	bool down = (uintptr_t)to - (uintptr_t)from <
		    n * sizeof(void *); /* to lies in what is moved, above its start */

	for (size_t done = 0; done < n;) {
		size_t share = n - done < MOVE_WORDS ? n - done : MOVE_WORDS;
		size_t at = down ? n - done - share : done;
		words_write(t + at, f + at, share, down);
		done += share;
	}
}

void heapd_zero_sym(void *from, size_t n)
{
	heapd_word_ *words = HEAPD_WORD_(from);

	for (size_t at = 0; at < n; at += MOVE_WORDS)
		words_write(words + at, NULL, n - at < MOVE_WORDS ? n - at : MOVE_WORDS, false);
}

void *heapd_tag_sym(void *p, uintptr_t tag)
{
	return heapd_tag_word_(p, tag);
}

void *heapd_untag_sym(void *p)
{
	return heapd_untag_word_(p);
}

uintptr_t heapd_tag_of_sym(const void *p)
{
	return heapd_tag_of_word_(p);
}

void heapd_keep_sym(const void *p)
{
	heapd_keep(p);
}
