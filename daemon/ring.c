/* SPDX-License-Identifier: MIT */
/*
 * The producer's side of the supply rings (I1: a slot is in one place).
 *
 * Giving:  noted in the ledger -> ledger says out -> supplied[] -> private copy of the entry, ring slot -> private tail
 *          -> tail (release). A death before the private tail leaves slots that are out and nowhere, and the note of
 *          which they are; after it, only the tail is missing.
 * Back:    noted in the ledger -> head moved by compare-and-swap -> ledger says free. In the reverse order a client could
 *          take slots that are given to somebody else. A death in between leaves slots that are out and nowhere, and the
 *          note of which they are. Whose swap moved the head on from the noted place, that of a client or ours, says the
 *          second word, which moves with ours in one instruction of 16 bytes and with nobody else's. Both swaps are
 *          locked operations on one line, so one of them fails whatever their sizes are.
 *
 * supplied[] of a slab is written only while the slab lies in no ring (a slab in a ring is not ready,
 * see spans.c), and the slot of the ring only when the head has passed it: the acquire load of the head
 * in ring_note_taken() pairs with the release half of the client's swap, after which the client reads
 * neither of them for that entry.
 *
 * The head is client-writable. It counts only if it lies between what was seen before and the tail;
 * else it is put back to what it was.
 */
#include <errno.h>

#include "clock.h"
#include "collection.h"
#include "events.h"
#include "heapd/mutant.h"
#include "marks.h"
#include "poison.h"
#include "supply.h"

static void set_active(struct supply *supply, uint32_t class)
{
	supply->active[class / 64] |= 1ull << (class % 64);
}

/* What was taken since note P: its slots may become objects before any scan (cycle.c, step 3). */
static void entry_hold(struct supply *supply, uint64_t entry)
{
	const struct heapd_span *span = &supply->heap->t.spans[heapd_entry_page(entry)];
	uint32_t present = heapd_entry_present(entry);

	for (; present; present &= present - 1) {
		uint32_t slab = span->slab0 + heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present);

		supply->heap->marks->hold[slab] |= supply->heap->t.supplied[slab];
	}
}

/* The entry is out of the ring: its slabs can be ready again. Returns the free bytes that it carried. */
static uint64_t entry_leave(struct supply *supply, uint64_t entry)
{
	uint32_t first = heapd_entry_page(entry), present = heapd_entry_present(entry);
	const struct heapd_span *span = &supply->heap->t.spans[first];
	uint64_t slots = 0;

	for (; present; present &= present - 1) {
		uint32_t k = heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present);

		slots += (uint64_t)__builtin_popcountll(supply->heap->t.supplied[span->slab0 + k]);
		spans_slab_ringed(&supply->spans, first, k, false);
	}
	return slots * span->elemsize;
}

static void ring_bytes_sub(struct supply *supply, uint32_t class, uint64_t bytes)
{
	supply->classes[class].bytes -= bytes;
	supply->ring_bytes -= bytes;
	HEAPD_WRITE_ONCE(supply->heap->t.directory->stats.in_rings, supply->ring_bytes);
}

static void count_taken(struct supply_class *class, uint64_t bytes, uint64_t now)
{
	class->last_taken = now;
	class->taken_ever += bytes;
}

void ring_note_taken(struct supply *supply, uint32_t class, uint64_t now)
{
	struct ledger_ring *ring = &supply->ledger.rings[class];
	uint64_t *shared = &supply->heap->t.heads[class].head, head = HEAPD_LOAD_ACQUIRE(shared), bytes = 0;

	if (head == ring->head)
		return;
	if (head < ring->head || head > ring->tail) {
		HEAPD_COUNT(supply->heap->t.directory->stats.corrupt, 1u);
		events_fault(supply->heap);
		HEAPD_STORE_RELEASE(shared, ring->head);
		return;
	}
	for (; ring->head < head; ring->head++) {
		uint64_t entry = ring->entries[ring->head % HEAPD_RING_SLOTS];

		if (supply->heap->collection && supply->heap->collection->holding && !MUTANT(taken_unheld))
			entry_hold(supply, entry);
		bytes += entry_leave(supply, entry);
	}
	ring_bytes_sub(supply, class, bytes);
	count_taken(&supply->classes[class], bytes, now);
	supply->last_taken = now;
}

void ring_note_all(struct supply *supply, uint64_t now)
{
	for (uint32_t w = 0; w < HEAPD_CLASS_MAX / 64; w++)
		for (uint64_t set = supply->active[w]; set; set &= set - 1)
			ring_note_taken(supply, w * 64 + (uint32_t)__builtin_ctzll(set), now);
}

/* Which of the 16 slabs from k on go into one entry: ready, at most `most`, all clean or all not. */
static uint32_t entry_choose(const struct span_state *state, uint32_t k, uint32_t most, bool *zeroed)
{
	uint32_t present = 0, n = 0;

	*zeroed = state->zeroed && !bits_get(state->used, k);
	for (uint32_t i = 0; i < HEAPD_BATCH_MAX && k + i < SPAN_SLABS_MAX && n < most; i++) {
		bool clean = state->zeroed && !bits_get(state->used, k + i);

		if (!bits_get(state->ready, k + i) || clean != *zeroed)
			continue;
		present |= 1u << i;
		n++;
	}
	return present;
}

static uint32_t first_ready(const struct span_state *state)
{
	for (uint32_t w = 0; w < SPAN_SLABS_MAX / 64; w++)
		if (state->ready[w])
			return w * 64 + (uint32_t)__builtin_ctzll(state->ready[w]);
	return SPAN_SLABS_MAX;
}

/*
 * Free slots of a watched type are filled with what no object has: who pops one and is killed before it has zeroed it leaves
 * a slot that shows it (deads.c). What is clean shows nothing that was.
 */
static void slab_unborn(const struct supply *supply, uint32_t first, uint32_t k)
{
	const struct heapd_span *span = &supply->heap->t.spans[first];
	const struct span_state *state = span_state_of(&supply->spans, first);
	uint32_t type = supply->heap->t.classes[span->class].type;

	if (!HEAPD_READ_ONCE(supply->ledger.watched[type]) || (state->zeroed && !bits_get(state->used, k)))
		return;
	poison_slots(&supply->spans, first, k,
		     heapd_slab_valid(span, k) & ~supply->ledger.out[span->slab0 + k]);
}

/* Half of it or more is anybody's: it is nobody's until somebody takes it. */
static void taker_forget(struct supply *supply, const struct heapd_span *span, uint32_t k, uint64_t given)
{
	if (supply_is_most(span, k, given))
		HEAPD_WRITE_ONCE(supply->heap->t.taker[span->slab0 + k], 0);
}

/* The chosen slabs' free slots become out, and are what their supplied[] says. Returns their number. */
static uint64_t entry_give(struct supply *supply, uint32_t first, uint32_t k, uint32_t present)
{
	const struct heapd_span *span = &supply->heap->t.spans[first];
	struct span_state *state = span_state_of(&supply->spans, first);
	uint64_t slots = 0;

	for (; present; present &= present - 1) {
		uint32_t slab = k + (uint32_t)__builtin_ctz(present);
		uint64_t given;

		slab_unborn(supply, first, slab);
		given = spans_slots_out(&supply->spans, first, slab, UINT64_MAX);

		bits_set(state->used, slab);
		spans_slab_ringed(&supply->spans, first, slab, true);
		HEAPD_WRITE_ONCE(supply->heap->t.supplied[span->slab0 + slab], given);
		taker_forget(supply, span, slab, given);
		slots += (uint64_t)__builtin_popcountll(given);
	}
	return slots;
}

/* Noted before anything of it is out: if we die on the way, the next daemon takes it back (recover.c). */
static void giving_begin(struct supply *supply, uint32_t class, uint64_t entry)
{
	struct ledger_giving *giving = &supply->ledger.head->giving;
	const struct heapd_span *span = &supply->heap->t.spans[heapd_entry_page(entry)];

	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present), k = heapd_entry_slab(entry) + i;

		giving->masks[i] = heapd_slab_valid(span, k) & ~supply->ledger.out[span->slab0 + k];
	}
	giving->entry = entry;
	giving->tail = supply->ledger.rings[class].tail;
	HEAPD_STORE_RELEASE(&giving->class, class + 1);
}

/*
 * Many rings that were drained at once would together ask for more memory than the heap has in use. So what
 * lies in rings grows by new spans only up to a share of what is committed; beyond that, rings that are not
 * empty are filled with what comes back.
 */
static bool may_cut(const struct supply *supply, uint32_t class)
{
	uint64_t share = (supply->pages.committed_chunks << HEAPD_CHUNK_SHIFT) / SUPPLY_BURST_SHARE;

	return !supply->classes[class].bytes || supply->ring_bytes < SUPPLY_BURST_MIN ||
	       supply->ring_bytes < share;
}

/* A span of the class with ready slabs; a new one if there is none. -EAGAIN: not now, the ring has something. */
static int span_ready(struct supply *supply, uint32_t class, uint32_t *first)
{
	*first = spans_ready(&supply->spans, class);
	if (*first != SPAN_NONE)
		return 0;
	return may_cut(supply, class) ? spans_cut(&supply->spans, class, first) : -EAGAIN;
}

/* Puts one entry of up to `most` slabs in; adds its free bytes to *bytes. */
static int ring_put(struct supply *supply, uint32_t class, uint32_t most, uint64_t *bytes)
{
	struct ledger_ring *ring = &supply->ledger.rings[class];
	struct heapd_ring *shared = &supply->heap->t.rings[class];
	struct heapd_stats *stats = &supply->heap->t.directory->stats;
	uint32_t first, k, present;
	uint64_t entry, slots;
	bool zeroed;
	int r;

	r = span_ready(supply, class, &first);
	if (r < 0)
		return r;
	k = first_ready(span_state_of(&supply->spans, first));
	present = entry_choose(span_state_of(&supply->spans, first), k, most, &zeroed);
	entry = heapd_entry_make(first, k, present, zeroed ? HEAPD_ENTRY_ZEROED : 0);
	giving_begin(supply, class, entry);
	slots = entry_give(supply, first, k, present);
	ring->entries[ring->tail % HEAPD_RING_SLOTS] = entry;
	HEAPD_WRITE_ONCE(shared->slots[ring->tail % HEAPD_RING_SLOTS], entry);
	HEAPD_STORE_RELEASE(&ring->tail, ring->tail + 1);
	HEAPD_STORE_RELEASE(&shared->tail, ring->tail);
	HEAPD_STORE_RELEASE(&supply->ledger.head->giving.class, 0);
	HEAPD_COUNT(stats->supplied_slots, slots);
	HEAPD_COUNT(supply->heap->t.class_stats[class].supplied_slots, slots);
	*bytes += slots * supply->heap->t.spans[first].elemsize;
	return 0;
}

/* A ring that is to hold much carries much in each entry: a sixteenth of the target, one to sixteen slabs. */
static uint32_t slabs_per_entry(const struct supply *supply, uint32_t class)
{
	const struct heapd_class *c = &supply->heap->t.classes[class];
	uint64_t slab = (uint64_t)c->slot_size * c->slab_slots, n = supply->classes[class].target / slab / 16;

	return n < 1 ? 1 : n > HEAPD_BATCH_MAX ? HEAPD_BATCH_MAX : (uint32_t)n;
}

int ring_fill(struct supply *supply, uint32_t class)
{
	struct supply_class *state = &supply->classes[class];
	struct ledger_ring *ring = &supply->ledger.rings[class];
	struct heapd_ring *shared = &supply->heap->t.rings[class];
	uint32_t most = slabs_per_entry(supply, class);
	int r = 0;

	set_active(supply, class);
	while (r == 0 && state->bytes < state->target && ring->tail - ring->head < HEAPD_RING_SLOTS) {
		uint64_t bytes = 0;

		r = ring_put(supply, class, most, &bytes);
		state->bytes += bytes;
		supply->ring_bytes += bytes;
		supply->given += bytes;
	}
	HEAPD_WRITE_ONCE(supply->heap->t.directory->stats.in_rings, supply->ring_bytes);
	uint64_t entries = ring->tail - ring->head;
	HEAPD_WRITE_ONCE(shared->low, entries < 2 ? 1u : (uint32_t)entries / 2);
	return entries ? 0 : r;
}

/* Noted before it is known whether it will be ours: if we die on the way, the next daemon finds out (rebuild.c). */
static void taking_begin(struct supply *supply, uint32_t class, uint64_t entry)
{
	struct ledger_taking *taking = &supply->ledger.head->taking;
	uint32_t slab = supply->heap->t.spans[heapd_entry_page(entry)].slab0 + heapd_entry_slab(entry);

	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present);

		taking->masks[i] = supply->heap->t.supplied[slab + i];
	}
	taking->entry = entry;
	taking->head = supply->ledger.rings[class].head;
	taking->withdrawn = HEAPD_READ_ONCE(supply->heap->t.heads[class].withdrawn);
	HEAPD_STORE_RELEASE(&taking->class, class + 1);
}

static void entry_release(struct supply *supply, uint64_t entry)
{
	const struct ledger_taking *taking = &supply->ledger.head->taking;

	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present);

		harvest_release(supply, heapd_entry_page(entry), heapd_entry_slab(entry) + i,
				taking->masks[i]);
	}
}

/* False: somebody takes from it just now. */
static bool entry_withdraw(struct supply *supply, uint32_t class)
{
	struct ledger_taking *taking = &supply->ledger.head->taking;
	struct ledger_ring *ring = &supply->ledger.rings[class];
	uint64_t entry = ring->entries[ring->head % HEAPD_RING_SLOTS];
	struct heapd_pair seen, wanted;
	bool ours;

	taking_begin(supply, class, entry);
	seen = (struct heapd_pair){ taking->head, taking->withdrawn };
	wanted = (struct heapd_pair){ seen.first + 1, seen.second + 1 };
	ours = heapd_pair_cas((struct heapd_pair *)(void *)&supply->heap->t.heads[class], &seen, wanted);
	if (ours) {
		ring->head++;
		ring_bytes_sub(supply, class, entry_leave(supply, entry));
		entry_release(supply, entry);
		HEAPD_COUNT(supply->heap->t.directory->stats.withdrawals, 1u);
	}
	HEAPD_STORE_RELEASE(&taking->class, 0);
	return ours;
}

void ring_withdraw(struct supply *supply, uint32_t class, uint64_t keep)
{
	const struct ledger_ring *ring = &supply->ledger.rings[class];

	ring_note_taken(supply, class, clock_ns());
	while (supply->classes[class].bytes > keep && ring->head < ring->tail)
		if (!entry_withdraw(supply, class))
			return;
}
