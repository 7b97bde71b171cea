/* SPDX-License-Identifier: MIT */
/*
 * Refilling: from a thread's spare batch or the supply ring to this CPU's current slab.
 *
 * A slab is always in one place (I1): in the ring until the head's compare-and-swap; then in this
 * thread's hands, noted in its spare batch; then noted as being installed; then current. The masks are
 * copied before the swap (supply.h says why). Each note is made before the one before it is cleared: the
 * daemon, which reads spares, then what is being installed, then current slabs, sees a slab in one of the
 * three at any time. Killed in between, a slab can be in two: that is why what a dead thread had in its
 * hands is forgotten, never returned.
 *
 * The other way, spare_keep(): slots that this CPU collected of a slab, and this thread took out of the current
 * slab, are noted in a spare. Nobody else has them in between, so a death there loses them to the next cycle; but
 * the daemon, reading in the order above, can miss them while they move. The collector cannot: they move only
 * while the thread's barrier is off, and it looks after that of every thread is on. The harvester can take a
 * double free of such a slot in that moment for a free, as it can of one between ring and spare.
 *
 * All of it stands inside an operation of the thread's gate (inside is odd), so that the collector's
 * first handshake waits for a slab on its way from the ring to the spare. Only while it waits for the
 * daemon has it left the gate, with nothing on its way: what it has taken lies in its spares. When it is
 * done is a safepoint.
 *
 * It is offline meanwhile: its agent answers a scan for it, and nobody has to wake a hundred threads that wait for supply in
 * order to hear that they do. A thread may have come here in the midst of being offline (offline.c); what it saved
 * then is put back before it can go offline by that again. On a stack that is not its own it stays online: where that begins
 * and ends only the signal's frame says.
 */
#include "refill.h"

#include <errno.h>

#include "answer.h"
#include "bell.h"
#include "clock.h"
#include "current.h"
#include "freed.h"
#include "gate.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "heapd/probes.h"
#include "heapd/step.h"
#include "newborn.h"
#include "reconnect.h"
#include "report.h"
#include "sample.h"
#include "share.h"
#include "thread.h"

#define WAIT_STEP_NS (50 * CLOCK_MS)
#define SPARES_LEFT  2u /* places for spares that freed slots do not take */
#define SPARES_BYTES \
	(1ul << 20) /* and with so much, freed slots make no other spare: about a processor's cache */

/* Whose memory it is may write it now: what is read means nothing. */
static __attribute__((noinline, no_sanitize("thread"))) void touch(uint64_t address)
{
	(void)*(volatile char *)(uintptr_t)address;
}

/*
 * The first time that this process meets 64 KiB of heap, one read maps all of it (fault-around), where
 * each 4 KiB touched would be a fault of its own. The daemon has committed what it supplies.
 */
static void prefault(struct heapd_heap *heap, uint64_t start, uint64_t bytes)
{
	if (!heap->prefaulted)
		return;
	uint64_t first = (start - heap->t.base) >> HEAPD_PREFAULT_SHIFT;
	uint64_t last = (start + bytes - 1 - heap->t.base) >> HEAPD_PREFAULT_SHIFT;

	for (uint64_t block = first; block <= last; block++) {
		_Atomic uint64_t *word = &heap->prefaulted[block / 64];
		uint64_t bit = 1ull << (block % 64);

		if (atomic_load_explicit(word, memory_order_relaxed) & bit)
			continue;
		touch(heap->t.base + (block << HEAPD_PREFAULT_SHIFT));
		atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
	}
}

static struct heapd_batch *spare_find(struct heapd_thread *self, uint32_t class)
{
	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		if (self->spares[i].entry && self->spares[i].class == class)
			return &self->spares[i];
	return NULL;
}

static void batch_copy(struct heapd_batch *to, const struct heapd_batch *from)
{
	to->class = from->class;
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		to->masks[i] = from->masks[i];
	HEAPD_STORE_RELEASE(&to->entry, from->entry);
}

static void batch_free(struct heapd_heap *heap, const struct heapd_batch *batch)
{
	uint64_t slab = (uint64_t)heap->t.spans[heapd_entry_page(batch->entry)].slab0 +
			heapd_entry_slab(batch->entry);

	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present);

		freed_set(heap, (uint32_t)slab + i, batch->masks[i]);
	}
}

/* Gives a spare back to the daemon. */
static void spare_return(struct heapd_heap *heap, struct heapd_thread *self, struct heapd_batch *spare)
{
	uint64_t tail = self->handback_tail;
	struct heapd_batch copy = *spare;

	HEAPD_STORE_RELEASE(&spare->entry, 0);
	DELAY(4);
	STEP(spare_cleared);
	if (tail - HEAPD_LOAD_ACQUIRE(&self->handback_head) >= HEAPD_HANDBACK_COUNT) {
		batch_free(heap, &copy);
		return;
	}
	batch_copy(&self->handback[tail % HEAPD_HANDBACK_COUNT], &copy);
	HEAPD_STORE_RELEASE(&self->handback_tail, tail + 1);
	HEAPD_STORE_RELEASE(&heap->session->handback, 1);
}

/* An empty place for a batch. If all are taken, one goes back to the daemon. */
static struct heapd_batch *spare_place(struct heapd_heap *heap, struct heapd_thread *self, uint32_t class)
{
	struct heapd_batch *victim = &self->spares[class % HEAPD_SPARE_COUNT];

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		if (!self->spares[i].entry)
			return &self->spares[i];
	spare_return(heap, self, victim);
	return victim;
}

/* What the spares of a thread can hold, were all of their slabs there. */
static uint64_t spares_bytes(const struct heapd_heap *heap, const struct heapd_thread *self)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		const struct heapd_class *class = &heap->t.classes[self->spares[i].class];

		if (self->spares[i].entry)
			bytes += HEAPD_BATCH_MAX * (uint64_t) class->slab_slots * class->slot_size;
	}
	return bytes;
}

/* The spare that slab k of the span at page `first` fits into; else an empty place, while there are enough. */
static struct heapd_batch *spare_beside(const struct heapd_heap *heap, struct heapd_thread *self,
					uint32_t class, uint32_t first, uint32_t k)
{
	struct heapd_batch *place = NULL;
	unsigned empty = 0;

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		struct heapd_batch *spare = &self->spares[i];

		if (!spare->entry) {
			place = spare;
			empty++;
		} else if (spare->class == class && heapd_entry_page(spare->entry) == first &&
			   k - heapd_entry_slab(spare->entry) < HEAPD_BATCH_MAX) {
			return spare;
		}
	}
	return empty > SPARES_LEFT && spares_bytes(heap, self) < SPARES_BYTES ? place : NULL;
}

bool spare_keep(struct heapd_heap *heap, struct heapd_thread *self, const struct place *place, uint64_t mask)
{
	uint32_t first = (uint32_t)(place->span - heap->t.spans), k = place->slab - place->span->slab0, i;
	struct heapd_batch *spare = spare_beside(heap, self, place->span->class, first, k);
	uint64_t entry;

	if (!spare)
		return false;
	entry = spare->entry ? spare->entry
			     : heapd_entry_make(first, k / HEAPD_BATCH_MAX * HEAPD_BATCH_MAX, 0, 0);
	i = k - heapd_entry_slab(entry);
	if (heapd_entry_present(entry) >> i & 1 || entry & HEAPD_ENTRY_ZEROED)
		return false;
	__atomic_fetch_or(&heap->t.lent[place->slab], mask, __ATOMIC_RELAXED);
	spare->class = place->span->class;
	spare->masks[i] = mask;
	HEAPD_STORE_RELEASE(&spare->entry, heapd_entry_with(entry, i));
	return true;
}

/* Takes the ring's next entry into a spare: false if the ring is empty. */
static bool ring_take(struct heapd_heap *heap, struct heapd_thread *self, uint32_t class)
{
	struct heapd_ring *ring = &heap->t.rings[class];
	uint64_t *head = &heap->t.heads[class].head, at = HEAPD_LOAD_ACQUIRE(head), tail;
	struct heapd_batch *place = NULL, batch;
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);

	do {
		tail = HEAPD_LOAD_ACQUIRE(&ring->tail);
		if (at >= tail)
			return false;
		batch.entry = HEAPD_READ_ONCE(ring->slots[at % HEAPD_RING_SLOTS]);
		batch.class = class;
		uint64_t slab = (uint64_t)heap->t.spans[heapd_entry_page(batch.entry)].slab0 +
				heapd_entry_slab(batch.entry);
		for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
			batch.masks[i] = HEAPD_READ_ONCE(heap->t.supplied[slab + i]);
		if (!place)
			place = spare_place(heap, self, class);
	} while (!__atomic_compare_exchange_n(head, &at, at + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));

	DELAY(16);
	batch_copy(place, &batch);
	share_note(heap, &batch);
	newborn_note(heap, &batch, now);
	counter_add(&current_counters(heap)->taken_slabs,
		    (uint64_t)__builtin_popcount(heapd_entry_present(batch.entry)));
	if (tail - at - 1 < HEAPD_READ_ONCE(ring->low))
		bell_ring(heap, class, false);
	return true;
}

/* The last slab of a span may be short, and what lies behind the span not committed. */
static uint64_t slab_bytes(const struct heapd_span *span, uint32_t k)
{
	uint64_t slots = span->nslots - (uint64_t)k * span->slab_slots;

	return (slots < span->slab_slots ? slots : span->slab_slots) * span->elemsize;
}

/* By sequence or by compare-and-swap, as this thread can at this moment. */
static uint64_t pop_here(struct heapd_heap *heap, uint32_t class, uint64_t elemsize)
{
	return current_is_cas(heap) ? current_pop_cas(heap, class, elemsize)
				    : current_pop(heap, class, elemsize);
}

/* The slab's new owner, or 0. */
static uint32_t install_here(struct heapd_heap *heap, uint32_t class, uint64_t base, uint64_t bits)
{
	if (!current_is_cas(heap))
		return current_install(heap, class, base, bits);
	return current_install_cas(heap, class, base, bits) ? CURRENT_OWNER_CAS : 0;
}

/*
 * Slots in a spare are free: a freed bit of theirs can only be a double free that came while they lay in a
 * ring or here. It is taken back before they are given out, or it would free their next owner's object.
 */
static void late_frees_drop(struct heapd_heap *heap, uint32_t slab, uint64_t mask)
{
	uint64_t late = HEAPD_READ_ONCE(heap->t.freed[slab]) & mask;

	if (likely(!late))
		return;
	late &= __atomic_fetch_and(&heap->t.freed[slab], ~late, __ATOMIC_RELAXED);
	counter_add(&current_counters(heap)->double_frees, (uint64_t)__builtin_popcountll(late));
}

/* The batch's next slab is on its way: no spare any more, and perhaps current already (session.h). */
static void installing_begin(struct heapd_thread *self, struct heapd_batch *spare, uint32_t i)
{
	uint64_t entry = spare->entry, rest = heapd_entry_without(entry, i);

	HEAPD_WRITE_ONCE(self->installing_mask, spare->masks[i]);
	HEAPD_STORE_RELEASE(&self->installing,
			    heapd_entry_make(heapd_entry_page(entry), heapd_entry_slab(entry) + i, 1, 0));
	HEAPD_STORE_RELEASE(&spare->entry, heapd_entry_present(rest) ? rest : 0);
}

/*
 * Who owns the slab now that `owner` has it: many, if the one before still has free slots of it. (Its other
 * slots, harvested and supplied again, have just come here.)
 */
static uint32_t owner_next(const struct heapd_heap *heap, const struct heapd_batch *spare, uint32_t slab,
			   uint64_t base, uint32_t owner)
{
	uint32_t before = HEAPD_READ_ONCE(heap->t.owner[slab]);
	const struct heapd_rseq_entry *entry;

	if (!before || before == owner)
		return owner;
	if (before > heap->t.cpus)
		return CURRENT_OWNER_MANY;
	entry = &heap->t.rseq_rows[(uint64_t)(before - 1) * HEAPD_CLASS_MAX + spare->class];
	for (unsigned i = 0; i < 2; i++)
		if (!((HEAPD_READ_ONCE(entry->slabs[i].base) ^ base) & ~HEAPD_CURRENT_ZEROED) &&
		    HEAPD_READ_ONCE(entry->slabs[i].bits))
			return CURRENT_OWNER_MANY;
	return owner;
}

/* Of the row that the slab went to, where that is a sequence's; without asking for the CPU again. */
static struct heapd_cpu_counters *counters_of(struct heapd_heap *heap, uint32_t owner)
{
	return owner - 1 < heap->rseq_cpus ? &heap->t.counters[owner - 1] : current_counters(heap);
}

/* Installs the batch's next slab here, unless somebody else was faster; then it is a spare again. How many slots. */
static uint64_t spare_install(struct heapd_heap *heap, struct heapd_thread *self, struct heapd_batch *spare)
{
	uint64_t entry = spare->entry, mask;
	uint32_t i = (uint32_t)__builtin_ctz(heapd_entry_present(entry)), owner;
	const struct heapd_span *span = &heap->t.spans[heapd_entry_page(entry)];
	uint32_t slab = span->slab0 + heapd_entry_slab(entry) + i;
	uint64_t base = heap->t.base + ((uint64_t)heapd_entry_page(entry) << HEAPD_PAGE_SHIFT) +
			heapd_slab_offset(span, heapd_entry_slab(entry) + i);

	mask = spare->masks[i];
	prefault(heap, base, slab_bytes(span, heapd_entry_slab(entry) + i));
	base |= entry & HEAPD_ENTRY_ZEROED ? HEAPD_CURRENT_ZEROED : 0;
	late_frees_drop(heap, slab, spare->masks[i]);
	__atomic_fetch_and(&heap->t.lent[slab], ~spare->masks[i], __ATOMIC_RELAXED);
	installing_begin(self, spare, i);
	DELAY(8);
	STEP(installing);
	owner = install_here(heap, (uint32_t)spare->class, base, spare->masks[i]);
	if (owner) {
		HEAPD_WRITE_ONCE(heap->t.owner[slab], (uint16_t)owner_next(heap, spare, slab, base, owner));
		counter_add(&counters_of(heap, owner)->installs, 1);
	} else {
		__atomic_fetch_or(&heap->t.lent[slab], spare->masks[i], __ATOMIC_RELAXED);
		HEAPD_STORE_RELEASE(&spare->entry, entry);
		HEAPD_STORE_RELEASE(&self->put_back, self->put_back + 1);
		counter_add(&current_counters(heap)->install_lost, 1);
	}
	DELAY(16);
	HEAPD_STORE_RELEASE(&self->installing, 0);
	return owner ? (uint64_t)__builtin_popcountll(mask) : 0;
}

/* One refill. */
struct refill {
	uint32_t class;
	uint64_t elemsize;
	uint64_t popped;    /* what it is for */
	uint64_t installed; /* slots that became current here */
	uint64_t begin;     /* if its time is taken; else 0 */
	uint64_t waited;    /* since when it waits for supply, or did; 0: it does not */
	uint64_t deadline;  /* of that */
	uint32_t since;     /* the cycle that was the last to have begun then */
	bool patient;       /* it may wait */
};

/* The daemon commits by whole chunks; if there is room for one below the heap's own limit, it is all heaps together that have all. */
static int failed_at_limit(struct heapd_heap *heap)
{
	const struct heapd_directory *d = heap->t.directory;
	uint64_t committed = HEAPD_READ_ONCE(d->stats.committed);
	bool own = committed + HEAPD_CHUNK_SIZE > HEAPD_READ_ONCE(d->stats.limit);

	return error_set(ENOMEM,
			 "heap '%s' is at its limit (%llu bytes committed)%s: free something, or raise %s",
			 heap->name, (unsigned long long)committed,
			 HEAPD_READ_ONCE(d->cycle.collecting) ? ", and a whole collection did not help" : "",
			 own ? "Limit=" : "MemoryMax= of the service");
}

static int failed_in_time(struct heapd_heap *heap)
{
	uint32_t pid = HEAPD_READ_ONCE(heap->t.directory->cycle.waits_for);
	unsigned long long ms = heap->supply_timeout_ns / CLOCK_MS;

	if (!pid)
		return error_set(
			EAGAIN,
			"heap '%s': no supply within the time allowed (%llu ms): the daemon is stopped or overloaded; try again",
			heap->name, ms);
	return error_set(
		EAGAIN,
		"heap '%s': no supply within the time allowed (%llu ms), since process %u holds up collection: have it go on or end it, or see StallAction= in heapd.conf(5)",
		heap->name, ms, (unsigned)pid);
}

static int supply_failed(struct heapd_heap *heap, int error)
{
	if (error == ENOMEM)
		return failed_at_limit(heap);
	if (error == EDQUOT)
		return share_failed(heap);
	if (atomic_load(&heap->away)) {
		report_away(heap);
		return error_set(
			EAGAIN,
			"the daemon of heap '%s' is away, and what it had supplied of this size is used up here: see that heapd runs",
			heap->name);
	}
	return failed_in_time(heap);
}

static void wait_count(struct heapd_heap *heap, struct heapd_thread *self, uint64_t ns)
{
	struct heapd_cpu_counters *counters = current_counters(heap);

	counter_add(&counters->waits, 1);
	counter_add(&counters->wait_ns, ns);
	self->wait_ns += ns;
}

static bool ring_is_empty(const struct heapd_heap *heap, uint32_t class)
{
	return HEAPD_LOAD_ACQUIRE(&heap->t.heads[class].head) >=
	       HEAPD_LOAD_ACQUIRE(&heap->t.rings[class].tail);
}

/* 0: look again. ENOMEM: the heap is at its limit, also after a cycle that began later than `since`. */
static int ring_wait(struct heapd_heap *heap, uint32_t class, uint64_t ns, uint32_t since)
{
	struct heapd_ring *ring = &heap->t.rings[class];
	uint32_t event = HEAPD_LOAD_ACQUIRE(&ring->event), refused = HEAPD_READ_ONCE(ring->refused);

	if (!ring_is_empty(heap, class))
		return 0;
	bell_ring(heap, class, true);
	if (!ns)
		return EAGAIN;
	bell_wait(&ring->event, event, ns);
	return bell_refused(&ring->refused, &ring->whole, refused, since);
}

/* With the gate left. */
static int supply_sleep(struct heapd_heap *heap, struct heapd_thread *self, const struct refill *refill,
			uint64_t ns, bool full)
{
	struct thread_saved saved = thread_saved(self);
	int error;

	if (thread_is_at_home(self))
		heapd_thread_offline(heap);
	error = full ? share_wait(heap, ns, refill->since)
		     : ring_wait(heap, refill->class, ns, refill->since);
	heapd_thread_online(heap);
	thread_saved_restore(self, &saved);
	return error;
}

/*
 * Asks for supply and waits a while for there being some. 0: look again (and ask again: a bell can be
 * lost with whoever rang it). EDQUOT: this user may have no more. ENOMEM and EAGAIN as supply_failed() has them.
 */
static int supply_wait(struct heapd_heap *heap, struct heapd_thread *self, const struct refill *refill)
{
	uint64_t begin = clock_now(), left = begin < refill->deadline ? refill->deadline - begin : 0;
	bool full = share_is_full(heap);
	int error;

	left = left < WAIT_STEP_NS ? left : WAIT_STEP_NS;
	if (!full && !ring_is_empty(heap, refill->class))
		return 0;
	if (atomic_load(&heap->away) == AWAY_LOST)
		return EAGAIN;
	gate_leave(self);
	error = supply_sleep(heap, self, refill, left, full);
	gate_enter(self);
	if (left)
		wait_count(heap, self, clock_now() - begin);
	return full && error == ENOMEM ? EDQUOT : error;
}

/* A batch of the class, in a spare of this thread: NULL if the ring is empty, or not to be taken from. */
static struct heapd_batch *spare_get(struct heapd_heap *heap, struct heapd_thread *self, uint32_t class)
{
	struct heapd_batch *spare = spare_find(self, class);

	if (!spare && !share_is_full(heap) && ring_take(heap, self, class))
		spare = spare_find(self, class);
	return spare;
}

static void wait_begin(const struct heapd_heap *heap, struct refill *refill)
{
	refill->deadline = clock_deadline(heap->supply_timeout_ns);
	refill->since = heapd_now_cycle(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now));
	refill->waited = clock_now();
	HEAPD_PROBE(supply__wait__begin, heap->name, refill->class);
}

/* Inside the gate. 0, or the error; EINPROGRESS: there is something to wait for. */
static int refill_loop(struct heapd_heap *heap, struct heapd_thread *self, struct refill *refill)
{
	int error = 0;

	while (!error && !(refill->popped = pop_here(heap, refill->class, refill->elemsize))) {
		struct heapd_batch *spare;

		if (current_turn(heap, refill->class))
			continue;
		spare = spare_get(heap, self, refill->class);
		if (spare) {
			refill->installed += spare_install(heap, self, spare);
			continue;
		}
		if (!refill->patient)
			return EINPROGRESS;
		if (!refill->waited)
			wait_begin(heap, refill);
		error = supply_wait(heap, self, refill);
	}
	/* One wait, of however many steps. */
	if (unlikely(refill->waited))
		HEAPD_PROBE(supply__wait__end, heap->name, refill->class, clock_now() - refill->waited);
	return error;
}

/* The time of few is taken; see sample.c. Nobody may look any more. */
static __attribute__((noinline, cold)) void slow_begin(const struct heapd_heap *heap, struct refill *refill)
{
	heapd_sampling.timed = false;
	if (!HEAPD_PROBED(alloc__slow__end))
		return;
	HEAPD_PROBE(alloc__slow__begin, heap->name, refill->class, refill->elemsize);
	refill->begin = clock_now();
}

static __attribute__((noinline, cold)) void slow_end(const struct heapd_heap *heap,
						     const struct refill *refill, int error)
{
	uint64_t begin = refill->begin ? refill->begin : refill->waited;

	HEAPD_PROBE(alloc__slow__end, heap->name, refill->class, refill->elemsize, clock_now() - begin,
		    (uint64_t)error, refill->waited ? 1 : SAMPLE_SLOW);
}

/* Somebody looks: this is paid for each slab (sample.c). Only what has waited can have failed. */
static void looked_at(struct heapd_heap *heap, const struct heapd_thread *self, const struct refill *refill,
		      int error)
{
	if (unlikely(refill->begin | refill->waited))
		slow_end(heap, refill, error);
	if (error)
		return;
	sample_slow(self->slow);
	sample_take(heap, refill->class, refill->elemsize, refill->popped & ~HEAPD_CURRENT_ZEROED,
		    refill->installed * refill->elemsize);
}

static __attribute__((noinline, cold)) void refill_failed(struct heapd_heap *heap,
							  const struct refill *refill, int error)
{
	HEAPD_PROBE(alloc__refused, heap->name, refill->class, refill->elemsize, (uint64_t)error);
	supply_failed(heap, error);
}

uint64_t refill_pop(struct heapd_heap *heap, uint32_t class, uint64_t elemsize, bool patient)
{
	struct heapd_thread *self = thread_self(heap);
	struct refill refill = { .class = class, .elemsize = elemsize, .patient = patient };
	int error;

	if (!self)
		return 0;
	if (heap->read_only)
		return error_set(EROFS, "heap '%s' is attached read-only: attach it for writing", heap->name),
		       0;
	if (unlikely(heapd_sampling.timed))
		slow_begin(heap, &refill);
	gate_enter(self);
	error = refill_loop(heap, self, &refill);
	gate_leave(self);
	if (error == EINPROGRESS)
		return REFILL_WAITS;
	answer_poll(heap);
	if (unlikely(HEAPD_PROBED(sample) | HEAPD_PROBED(alloc__slow__end)))
		looked_at(heap, self, &refill, error);
	if (unlikely(error))
		refill_failed(heap, &refill, error);
	return refill.popped;
}

void thread_spares_return(struct heapd_heap *heap, struct heapd_thread *self)
{
	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		if (self->spares[i].entry)
			spare_return(heap, self, &self->spares[i]);
}
