/* SPDX-License-Identifier: MIT */
/*
 * Explicit free: one bit. In the one of this CPU's two current slabs that collects, if the slot belongs to it
 * (a restartable sequence), else by an atomic OR into the slab's freed word, which the daemon harvests. A slab
 * that this CPU had last (owner[], percpu.h) becomes the one that collects, with its first free where the one
 * before has collected much or nothing, else with the second in a row; so a run of frees costs nothing but one
 * change a slab. The one before is put aside as a spare of this thread (refill.h), or goes to the daemon.
 *
 * One store matters to others, the bit. The dirty bit that leads the daemon to the word is a hint: who
 * dies between the two leaves a word that the next whole harvest finds.
 *
 * A bit that was set already is a double free, and so is a slot that the ledger has or that is on its way from
 * there to a current slab (both in lent[]): refused and reported, nothing harmed. (As with every allocator, an
 * address that was freed and given out again belongs to its new owner, and freeing it frees that.)
 *
 * So is what the collector has found dead: of a program that keeps its pointers where nobody looks. The sweep says so in lent[]
 * before it lets any barrier go off, and takes the slots afterwards. So that is looked at inside the gate, after `on`: who has
 * its barrier off, and sees no bit, is through before the next cycle's handshake 1 ends.
 *
 * While this thread's barrier is on, no bit is set in a current slab: the slot could be given out again
 * in the cycle that still has to see what it pointed to. But for newborn slots (newborn.h), in which that cycle
 * has nothing to see. Check and store are one unit against the
 * thread's handshake: both stand inside the gate. Where the heap gives out again only what a cycle has
 * checked (HEAPD_FREE_CHECKED), none ever is.
 */
#include <errno.h>
#include <string.h>

#include "answer.h"
#include "barrier.h"
#include "bell.h"
#include "current.h"
#include "fork.h"
#include "freed.h"
#include "gate.h"
#include "hardened.h"
#include "heapd/count.h"
#include "heapd/mutant.h"
#include "heapd/probes.h"
#include "heapd/step.h"
#include "newborn.h"
#include "place.h"
#include "refill.h"
#include "report.h"
#include "thread.h"

/* What there is to do for an object that begins at a slot's start. */
struct target {
	uint64_t base; /* address of slot 0 of the slab */
	uint32_t index;
	uint32_t slab;
	uint32_t class;
};

/*
 * The short way from an address to its slot, by the page's record alone (place.h has the long one). False
 * if no slot begins there, or a large object; or the page lies in a gap of a span's end, where no slot is ever out.
 */
static inline __attribute__((always_inline)) bool page_find(const struct heapd_heap *heap, const void *object,
							    const struct heapd_page **page, uint32_t *in_span)
{
	uint64_t offset = (uint64_t)(uintptr_t)object - heap->t.base;
	uint32_t first;

	*page = &heap->t.pages[offset >> HEAPD_PAGE_SHIFT];
	if (unlikely(offset >= heap->t.size))
		return false;
	first = HEAPD_LOAD_ACQUIRE(&(*page)->first);
	return likely(first) &&
	       likely(heapd_page_begins(*page, (uint32_t)offset - ((first - 1) << HEAPD_PAGE_SHIFT),
					in_span));
}

static bool target_find(const struct heapd_heap *heap, const void *object, struct target *to)
{
	const struct heapd_page *page;
	uint32_t in_span, slots;

	if (!page_find(heap, object, &page, &in_span))
		return false;
	/* Small slots are 64 to a slab: a division that is none. 0: a wild address, and its page is being cut. */
	slots = likely(page->words <= HEAPD_SLAB_BYTES / 64 / 8) ? 64
								 : heap->t.classes[page->class].slab_slots;
	slots |= !slots;
	to->index = likely(slots == 64) ? in_span % 64 : in_span % slots;
	to->base = (uint64_t)(uintptr_t)object - (uint64_t)to->index * page->words * 8;
	to->slab = page->slab0 + (likely(slots == 64) ? in_span / 64 : in_span / slots);
	to->class = page->class;
	return true;
}

static inline uint64_t target_bit(const struct target *to)
{
	return 1ull << to->index;
}

static int free_bad(struct heapd_heap *heap, const void *object, const char *what)
{
	int r = error_set(EINVAL, "heapd_free(%p): %s; nothing was freed: give what an allocation returned",
			  object, what);

	if (!heap->read_only) {
		counter_add(&current_counters(heap)->bad_frees, 1);
		bell_wake(heap, false); /* so that who looks at the heap sees it soon */
	}
	report_send(heap, HEAPD_REPORT_BAD_FREE, heapd_error());
	return r;
}

static __attribute__((noinline, cold)) int free_double(struct heapd_heap *heap, const void *object)
{
	int r = error_set(
		EALREADY,
		"heapd_free(%p): this object is free already (double free); nothing was harmed: free each object once",
		object);

	counter_add(&current_counters(heap)->double_frees, 1);
	bell_wake(heap, false);
	HEAPD_PROBE(double__free, heap->name, (uint64_t)(uintptr_t)object);
	report_send(heap, HEAPD_REPORT_DOUBLE_FREE, heapd_error());
	return r;
}

/*
 * In the ledger, in a ring or spare, or on its way to the ledger. Without this, a second free could put the slot
 * into a current slab as well. What is on its way is looked at first: the harvester sets the slot's bit in lent[] before
 * it clears the one in freed[] (judge() in harvest.c; a release, with which this acquire pairs). The other way around,
 * a slot that arrives between the two looks is seen in neither.
 */
static inline bool is_free_already(const struct heapd_heap *heap, uint32_t slab, uint32_t index)
{
	const uint64_t *first = MUTANT(lent_first) ? heap->t.lent : heap->t.freed;
	const uint64_t *then = MUTANT(lent_first) ? heap->t.freed : heap->t.lent;
	uint64_t elsewhere = HEAPD_LOAD_ACQUIRE(&first[slab]);

	STEP(elsewhere);
	return (elsewhere | HEAPD_READ_ONCE(then[slab])) >> index & 1;
}

static int free_remote(struct heapd_heap *heap, const struct target *to, void *object)
{
	return freed_set_one(heap, to->slab, target_bit(to)) ? free_double(heap, object) : 0;
}

static bool is_checked(const struct heapd_heap *heap)
{
	return HEAPD_READ_ONCE(heap->t.directory->cycle.free_mode) == HEAPD_FREE_CHECKED;
}

static bool is_poisoning(const struct heapd_heap *heap)
{
	return HEAPD_READ_ONCE(heap->t.directory->cycle.debug) & HEAPD_DEBUG_POISON;
}

/* So that whoever still uses it crashes, and does not follow what stood there. */
static void slot_poison(void *object, uint64_t bytes)
{
	uint64_t *words = (uint64_t *)object;

	for (uint64_t i = 0; i < bytes / 8; i++)
		HEAPD_WRITE_ONCE(words[i], HEAPD_POISON_WORD);
}

/* Into this CPU's current slab, inside the gate; of a slot that turns out to be free already, poison is taken back. */
static enum current_push free_local(struct heapd_heap *heap, const struct target *to, void *object)
{
	uint64_t bytes = heap->t.classes[to->class].slot_size;
	enum current_push pushed;
	bool poison = is_poisoning(heap);

	if (unlikely(poison))
		slot_poison(object, bytes);
	pushed = current_push(heap, to->class, to->slab, to->base, to->index);
	if (unlikely(poison && pushed == CURRENT_DOUBLE))
		memset(object, 0, bytes);
	return pushed;
}

#if HEAPD_HAVE_RSEQ
#define CROWDED 32 /* slots collected: as many are worth being put aside for */

static inline bool is_crowded(uint64_t bits)
{
	return heapd_count_bits(bits) >= CROWDED;
}

/*
 * The slab that collected frees here until now becomes a spare of this thread, or goes to the daemon. What
 * dies on the way, the next cycle finds.
 */
static void collecting_flush(struct heapd_heap *heap, struct heapd_thread *self, uint32_t class, uint32_t cpu)
{
	struct heapd_rseq_entry *column = current_column(heap, class);
	uint64_t way = HEAPD_READ_ONCE(column[(uint64_t)cpu * HEAPD_CLASS_MAX].way) & 16;
	struct heapd_current taken;
	struct place place;

	if (!heapd_rseq_take(column, (uint32_t)heap->t.cpus, way ^ HEAPD_WAY_COLLECTING, &taken))
		return;
	if (place_find(heap, (void *)(uintptr_t)(taken.base & ~HEAPD_CURRENT_ZEROED), &place) &&
	    !spare_keep(heap, self, &place, taken.bits))
		freed_set(heap, place.slab, taken.bits);
}

/* The slots of another slab than this one that the CPU's entry has collected. */
static uint64_t collecting_others(const struct heapd_heap *heap, const struct target *to, uint32_t cpu)
{
	const struct heapd_rseq_entry *entry = current_column(heap, to->class) +
					       (uint64_t)cpu * HEAPD_CLASS_MAX;
	const struct heapd_current *slab = &entry->slabs[!(HEAPD_READ_ONCE(entry->way) & 16)];

	if ((HEAPD_READ_ONCE(slab->base) ^ to->base) <= HEAPD_CURRENT_ZEROED)
		return 0;
	return HEAPD_READ_ONCE(slab->bits);
}

/* Makes the slab the one that collects frees here, with this first one in it: false if it is not this CPU's. */
static bool collecting_begin(struct heapd_heap *heap, struct heapd_thread *self, const struct target *to)
{
	uint32_t here = heapd_rseq_cpu(), owner = HEAPD_READ_ONCE(heap->t.owner[to->slab]);

	if (here - 1 >= heap->rseq_cpus || (owner && owner != here) || !heap->t.classes[to->class].slot_size)
		return false;
	if (self->missed_slab != to->slab && collecting_others(heap, to, here - 1)) {
		self->missed_slab = to->slab;
		return false;
	}
	collecting_flush(heap, self, to->class, here - 1);
	owner = heapd_rseq_install(current_column(heap, to->class), (uint32_t)heap->t.cpus, to->base,
				   target_bit(to), HEAPD_WAY_COLLECTING);
	if (owner)
		HEAPD_WRITE_ONCE(heap->t.owner[to->slab], (uint16_t)owner);
	return owner;
}

/* Before a slot is given to a slab that does not collect here yet: what was collected of another is put aside. */
static void collecting_make_room(struct heapd_heap *heap, struct heapd_thread *self, const struct target *to)
{
	uint32_t here = heapd_rseq_cpu();

	if (here - 1 < heap->rseq_cpus && HEAPD_READ_ONCE(heap->t.owner[to->slab]) == here &&
	    is_crowded(collecting_others(heap, to, here - 1)))
		collecting_flush(heap, self, to->class, here - 1);
}
#else
static bool collecting_begin(struct heapd_heap *heap, struct heapd_thread *self, const struct target *to)
{
	(void)heap, (void)self, (void)to;
	return false;
}

static void collecting_make_room(struct heapd_heap *heap, struct heapd_thread *self, const struct target *to)
{
	(void)heap, (void)self, (void)to;
}
#endif

/* The gap at a span's end has slots of no slab: none of them is ever out. */
static int free_end(struct heapd_heap *heap, const struct target *to, void *object, enum current_push pushed)
{
	struct place place;

	if (pushed == CURRENT_PUSHED)
		return 0;
	if (pushed != CURRENT_DOUBLE)
		return free_remote(heap, to, object);
	return place_find(heap, object, &place) ? free_double(heap, object)
						: free_bad(heap, object, "no object lies there");
}

/* In a hardened heap: of what has been found to be an object that is not free. */
static int free_hardened(struct heapd_heap *heap, struct heapd_thread *self, const struct target *to,
			 void *object)
{
	enum current_push pushed = CURRENT_ELSEWHERE;
	struct place place;
	uint64_t seen;

	if (!place_find(heap, object, &place))
		return free_bad(heap, object, "no object lies there");
	if (is_free_already(heap, to->slab, to->index) || !hardened_check(heap, &place, &seen))
		return free_double(heap, object);
	STEP(freeing);
	gate_enter(self);
	uint32_t on = barrier_on(heap, self);
	if (!on && is_free_already(heap, to->slab, to->index) && !MUTANT(lent_before_gate)) {
		pushed = CURRENT_DOUBLE;
	} else if (!is_checked(heap) && !(on && MUTANT(unclaimed_in_cycle))) {
		STEP(claiming);
		pushed = CURRENT_DOUBLE;
		if (hardened_claim(heap, &place, seen, !on))
			pushed = on ? CURRENT_ELSEWHERE
				    : current_push(heap, to->class, to->slab, to->base, to->index);
		if (pushed == CURRENT_ELSEWHERE && !on && collecting_begin(heap, self, to))
			pushed = CURRENT_PUSHED;
	}
	gate_leave(self);
	if (on)
		answer_poll(heap);
	return free_end(heap, to, object, pushed);
}

static int free_target(struct heapd_heap *heap, struct heapd_thread *self, const struct target *to,
		       void *object)
{
	enum current_push pushed = CURRENT_ELSEWHERE;
	struct place place;

	/* The gap at a span's end may look like the first slot of a slab that is another span's. */
	if (unlikely(to->index == 0) && !place_find(heap, object, &place))
		return free_bad(heap, object, "no object lies there");
	HEAPD_TSAN_RELEASE(object, heap->t.classes[to->class].slot_size);
	HEAPD_WRITE_ONCE(self->freed, 1);
	if (heap->hardened)
		return free_hardened(heap, self, to, object);
	gate_enter(self);
	uint32_t on = barrier_on(heap, self);
	if (is_free_already(heap, to->slab, to->index)) {
		pushed = CURRENT_DOUBLE;
	} else if ((!on || newborn_is(heap, to->slab, to->index, on) || MUTANT(push_in_cycle)) &&
		   !is_checked(heap)) {
		collecting_make_room(heap, self, to);
		pushed = free_local(heap, to, object);
		if (pushed == CURRENT_ELSEWHERE && collecting_begin(heap, self, to))
			pushed = CURRENT_PUSHED;
	}
	gate_leave(self);
	if (on)
		answer_poll(heap);
	return free_end(heap, to, object, pushed);
}

/* Where the short way does not lead: a large object, or what is none. */
static bool target_of_place(const struct place *place, const void *object, struct target *to)
{
	*to = (struct target){ .base = place->base,
			       .index = (uint32_t)__builtin_ctzll(place->bit),
			       .slab = place->slab,
			       .class = place->span->class };
	return place->start == (uint64_t)(uintptr_t)object;
}

/* Whatever the fast path did not like: says why, or attaches the thread and frees. */
static __attribute__((noinline)) int free_slow(void *object)
{
	struct heapd_heap *heap = heapd_process;
	struct heapd_thread *self = heapd_self;
	struct target to;
	struct place place;
	bool away;
	int r;

	if (!object)
		return 0;
	if (!heap)
		return fork_heap_missing(NULL);
	if (heap->read_only)
		return error_set(EROFS, "heap '%s' is attached read-only: attach it for writing", heap->name);
	if (self && target_find(heap, object, &to))
		return free_target(heap, self, &to, object);
	if (!place_find(heap, object, &place))
		return free_bad(heap, object,
				heap_contains(heap, object) ? "no object lies there"
							    : "it is not in the heap");
	if (!target_of_place(&place, object, &to))
		return free_bad(heap, object,
				"it points into an object, not to its start (heapd_start_of finds it)");
	self = thread_enter(heap, &away);
	if (!self)
		return -errno;
	r = free_target(heap, self, &to, object);
	thread_leave(away);
	return r;
}

/*
 * What most frees are: prompt, and of a slot of the slab that collects here, one of 64 slots; in a cycle, if it is
 * newborn. Nothing has to be asked of the ledger: a slot that is elsewhere stands in lent[] or freed[].
 */
int heapd_free(void *object)
{
	struct heapd_heap *heap = heapd_process;
	struct heapd_thread *self = heapd_self;
	const struct heapd_page *page;
	uint32_t in_span = 0, slab, on;
	bool done = false;
	uint64_t base;

	if (unlikely(!self || !page_find(heap, object, &page, &in_span) ||
		     page->words > HEAPD_SLAB_BYTES / 64 / 8))
		return free_slow(object);
	slab = page->slab0 + in_span / 64;
	base = (uint64_t)(uintptr_t)object - (uint64_t)(in_span % 64) * page->words * 8;
	HEAPD_TSAN_RELEASE(object, (uint64_t)page->words * 8);
	HEAPD_WRITE_ONCE(self->freed, 1);
	gate_enter(self);
	on = HEAPD_LOAD_ACQUIRE(&self->gate.on);
	if (likely(!is_free_already(heap, slab, in_span % 64)) &&
	    (likely(!on) || newborn_is(heap, slab, in_span % 64, on)))
		done = current_collect(heap, page->class, slab, base, in_span);
	gate_leave(self);
	return likely(done) ? 0 : free_slow(object);
}
