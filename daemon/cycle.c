/* SPDX-License-Identifier: MIT */
/*
 * Owns the order of a cycle's steps, and with it the claim that what is reachable is never given out again (I5),
 * and what is not comes back (I6).
 *
 *   1  note P (holds_begin); the barrier rings are emptied; the daemon's own roots report
 *   2  now = BARRIER; handshake 1: every thread's barrier is on, no operation is under way that began before
 *   3  what clients hold free is gathered (holds_gather)
 *   4  now = SCAN; handshake 2: every thread has published what it holds
 *   5  note P2 (holds_end): the mark words are set; what the threads published, pins, ranges, named roots,
 *      tickets, addresses on their way to clients and early shades become grey; now = MARK
 *   6  marking, and passes over the barrier rings, until a pass with nothing grey before it finds nothing white
 *      then weak cells are settled, and what has died is queued; each with marking to the end as often as it finds more
 *   7  what is to go is said to be free (sweeper_announce); now = SWEEP; barriers go off; the sweep
 *   8  now = IDLE; finished
 *
 * I5. Let o be reachable when the sweep looks at its slot; then its mark or hold bit is set. If o was made after
 * step 3's look, holds.c says so. Else o existed when the threads were scanned. Consider the chain of pointers from
 * a root that leads to o at the end of step 6, and its first white object. What leads to it is a root, or a black
 * object's field. Snapshot: all that was reachable when the last thread was scanned becomes marked, since a pointer
 * that is taken out of the heap or a root is logged by whoever takes it out (all barriers are on before step 4),
 * and a pointer on a stack is published. A pointer that a thread stored before its scan was logged as it was
 * stored (Dijkstra's half of the barrier), so it cannot have been moved from an unscanned stack to where nobody
 * looks again. A pointer that a thread holds after its scan it had then, or read from a field later: in both cases
 * its object was reachable at the snapshot, or was made since. So no first white object exists, once everything
 * grey is black and every entry was read: shades.c says why a pass that finds nothing shows that.
 *    Marking begins only when all have answered. Before that a thread may still hold a slot that it has not
 * zeroed, or fill a new object plainly (heapd_init): the marker would read stale words, or miss what comes after.
 *    Roots of a client that dies in the midst of it stay roots until step 8 (clients.h): to forget them would be a
 * deletion that nobody logged.
 *
 * I6. What is unreachable when step 4 ends, not held, and not logged in this cycle is not marked: the rings were
 * emptied in step 1, the mark words set in step 5. So it goes with this sweep, and what this cycle kept for
 * its entries goes with the next.
 *
 * Termination. An object that was made after note P2 has its mark bit set: it is never queued. The others are
 * finite, and each pass that is not the last marks one.
 *
 * A void cycle has changed nothing: no slot was taken back. What its rings hold means nothing to the next one.
 */
#include "cycle.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

#include "clock.h"
#include "deads.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "heapd/probes.h"
#include "heapd/step.h"
#include "holds.h"
#include "marks.h"
#include "quarantine.h"
#include "receipts.h"
#include "roots.h"
#include "shades.h"
#include "supply.h"
#include "weaks.h"

#define PAUSE_MOST_NS (UINT64_C(1) << 40) /* that a client can make us count of one */
#define PIECE_WORDS   1024u               /* read at once */
#define RECEIPTS_NS \
	UINT64_C(10000000) /* and half of what marking took: what the sweep waits for receipts at most */

int cycle_init(struct cycle *cycle, struct heap *heap, unsigned marker_threads)
{
	*cycle = (struct cycle){ .heap = heap };
	cycle->handshake = (struct handshake){
		.heap = heap,
		.view = &cycle->view,
		.counts = &cycle->result.handshakes,
	};
	early_init(&cycle->early);
	audit_init(&cycle->audit);
	return marker_init(&cycle->marker, heap, marker_threads);
}

void cycle_deinit(struct cycle *cycle)
{
	marker_deinit(cycle->marker);
	early_deinit(&cycle->early, cycle->heap);
	audit_deinit(&cycle->audit, cycle->heap);
	handshake_deinit(&cycle->handshake);
	clients_view_deinit(&cycle->view);
}

uint64_t cycle_allocated(const struct heap *heap)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	uint64_t out = HEAPD_READ_ONCE(stats->out),
		 free = HEAPD_READ_ONCE(stats->in_rings) + HEAPD_READ_ONCE(stats->stranded);

	return out > free ? out - free : 0;
}

static void publish(struct cycle *cycle, enum heapd_phase phase)
{
	HEAPD_STORE_RELEASE(&cycle->heap->t.directory->cycle.now,
			    heapd_now_make(cycle->result.number, phase));
}

/* What a probe calls the parts of a cycle, in their order. */
enum part { PART_BARRIER, PART_GATHER, PART_SCAN, PART_ROOTS, PART_MARK, PART_SWEEP };

static uint64_t part_begin(const struct cycle *cycle, enum part part)
{
	HEAPD_PROBE(phase__begin, cycle->heap->name, cycle->result.number, part);
	return clock_ns();
}

/* Adds the time since `begin` to *sum. */
static void part_end(const struct cycle *cycle, enum part part, uint64_t begin, uint64_t *sum)
{
	uint64_t ns = clock_ns() - begin;

	*sum += ns;
	HEAPD_PROBE(phase__end, cycle->heap->name, cycle->result.number, part, ns);
}

/* Steps 1 and 2. */
static int raise_barriers(struct cycle *cycle)
{
	struct heap *heap = cycle->heap;
	int r;

	clients_arrived(heap);
	holds_begin(heap);
	shades_own_begin(heap);
	DELAY(4);
	r = clients_look(heap, &cycle->view);
	if (r == 0 && !MUTANT(rings_emptied_late))
		r = shades_empty(heap, &cycle->view);
	if (r < 0)
		return r;
	publish(cycle, HEAPD_PHASE_BARRIER);
	DELAY(4);
	r = handshake_barrier(&cycle->handshake);
	if (MUTANT(rings_emptied_late))
		shades_empty(heap, &cycle->view);
	return r;
}

/* Step 3. */
static int gather(struct cycle *cycle)
{
	int r = holds_gather(cycle->heap);

	DELAY(4);
	STEP(gathered);
	return r;
}

/* Step 4. */
static int scan_threads(struct cycle *cycle)
{
	int r;

	publish(cycle, HEAPD_PHASE_SCAN);
	DELAY(4);
	r = handshake_scan(&cycle->handshake);
	STEP(scanned);
	return r;
}

/* Words from an offset of the session; count is what a client wrote. -EOVERFLOW: there are more than fit; -EAGAIN. */
static int shade_words(struct cycle *cycle, const struct client *client, uint64_t at, uint64_t count,
		       uint64_t room, bool past)
{
	uint64_t words[PIECE_WORDS];
	int r = 0;

	if (count > room)
		return -EOVERFLOW;
	while (r == 0 && count) {
		uint64_t piece = count < PIECE_WORDS ? count : PIECE_WORDS;

		r = client_read(client, at, words, piece) < 0 ? -EAGAIN : 0;
		if (r == 0)
			marker_shade_all(cycle->marker, words, piece, past);
		at += piece * 8;
		count -= piece;
	}
	return r;
}

/* A thread's publication, of whatever state the thread is by now. */
static int shade_thread(struct cycle *cycle, const struct client *client, uint32_t index,
			const struct heapd_thread *thread)
{
	uint32_t of = HEAPD_LOAD_ACQUIRE(&thread->published_cycle);

	if (of != cycle->result.number && (of != HEAPD_PUBLISHED_STANDING || MUTANT(standing_ignored)))
		return 0;
	return shade_words(cycle, client, HEAPD_SESSION_PUBLISHED_AT + index * HEAPD_PUBLISHED_BYTES,
			   HEAPD_READ_ONCE(thread->published_count), HEAPD_PUBLISHED_BYTES / 8, true);
}

static int shade_ranges(struct cycle *cycle, const struct client *client)
{
	if (HEAPD_READ_ONCE(client->memory->ranges_cycle) != cycle->result.number)
		return 0;
	return shade_words(cycle, client, HEAPD_SESSION_RANGES_AT,
			   HEAPD_READ_ONCE(client->memory->ranges_count), HEAPD_RANGES_BYTES / 8, false);
}

static int shade_pins(struct cycle *cycle, const struct client *client)
{
	if (MUTANT(pins_unshaded))
		return 0;
	return shade_words(cycle, client, HEAPD_SESSION_PIN_AT, client_pins(client), HEAPD_PIN_MAX, false);
}

/* ns is what a client wrote: whatever it says, one bucket grows by one. Of void cycles, too: threads were asked. */
static void pause_note(struct heapd_stats *stats, uint64_t ns)
{
	unsigned bucket = ns > 1 ? 64u - (unsigned)__builtin_clzll(ns - 1) : 0;

	if (bucket >= HEAPD_PAUSE_BUCKETS)
		bucket = HEAPD_PAUSE_BUCKETS - 1;
	HEAPD_COUNT(stats->gc_pause_buckets[bucket], 1u);
	HEAPD_COUNT(stats->gc_pause_ns, ns < PAUSE_MOST_NS ? ns : PAUSE_MOST_NS);
	HEAPD_COUNT(stats->gc_pauses, 1u);
	if (ns > stats->gc_pause_max)
		HEAPD_WRITE_ONCE(stats->gc_pause_max, ns);
}

static void count_pause(struct heapd_stats *stats, struct cycle_result *result,
			const struct heapd_thread *thread)
{
	uint64_t ns = HEAPD_READ_ONCE(thread->pause_last_ns);

	if (HEAPD_READ_ONCE(thread->pause_cycle) != result->number)
		return;
	pause_note(stats, ns);
	result->pause_sum += ns;
	if (ns > result->pause_max)
		result->pause_max = ns;
}

/* Somebody else may be the next that is found so: then that one's time begins. */
static void crowded_look(struct cycle *cycle, const struct client *client)
{
	if (!cycle->crowded.begin || cycle->crowded_id != client->id)
		stall_begin(&cycle->crowded);
	cycle->crowded_id = client->id;
	cycle->result.handshakes.stalls +=
		stall_look(&cycle->crowded, cycle->heap, cycle->result.number, client,
			   "has held more than it can publish",
			   "too many heap pointers on a stack, or in registered ranges?");
}

static int shade_published(struct cycle *cycle, const struct client *client)
{
	uint32_t n;
	struct heapd_thread *threads = client_threads(client, &n);
	int r = shade_ranges(cycle, client);

	for (uint32_t t = 0; r == 0 && t < n; t++) {
		r = shade_thread(cycle, client, t, &threads[t]);
		count_pause(&cycle->heap->t.directory->stats, &cycle->result, &threads[t]);
	}
	return r;
}

/* -EOVERFLOW: it holds more than we were told. Of a reader that is not waited for any more that is its own affair. */
static int shade_client(struct cycle *cycle, const struct client *client)
{
	int r = shade_published(cycle, client);

	if (r == -EOVERFLOW && client->dropped)
		r = 0;
	else if (r == -EOVERFLOW)
		crowded_look(cycle, client);
	if (r == 0)
		r = shade_pins(cycle, client);
	marker_shade(cycle->marker, client->in_flight);
	return r;
}

static void shade_root(void *arg, uint64_t object)
{
	marker_shade(arg, object);
}

/* Step 5. */
static int shade_roots(struct cycle *cycle)
{
	int r = 0;

	DELAY(4);
	holds_end(cycle->heap);
	DELAY(4);
	marker_begin(cycle->marker);
	shades_flush(cycle->heap, cycle->marker);
	for (unsigned i = 0; r == 0 && i < cycle->view.n; i++)
		r = shade_client(cycle, &cycle->view.list[i]);
	roots_look(cycle->heap, shade_root, cycle->marker);
	deads_shade(cycle->heap, cycle->marker);
	cycle->result.sessions = cycle->view.n;
	DELAY(4);
	publish(cycle, HEAPD_PHASE_MARK);
	STEP(marking);
	return r;
}

/* Somebody died since it began: it would mark all that only the dead one's roots hold, and the next cycle the rest once more. */
static bool is_outdated(struct cycle *cycle)
{
	return collection_is_wanted(cycle->heap, TRIGGER_DEATH) && clock_ns() >= cycle->death_from;
}

/* Memory that was read in this cycle, perhaps, cannot be any more: the next one knows that from its begin on. */
static bool any_lost(const struct cycle *cycle)
{
	return HEAPD_LOAD_ACQUIRE(&cycle->heap->bus.nlost) != cycle->lost;
}

/* -EAGAIN when an entry was dropped: what it stood for is nowhere. */
static int check_void(struct cycle *cycle)
{
	if (HEAPD_READ_ONCE(cycle->heap->collection->stop))
		return -ECANCELED;
	if (shades_are_lost(cycle->heap, &cycle->view))
		return -EAGAIN;
	if (any_lost(cycle))
		return -EAGAIN;
	return is_outdated(cycle) ? -EINTR : 0;
}

/* Step 6. Rings are read often, so that they do not run full: between portions of marking, too. */
static int mark(struct cycle *cycle)
{
	uint64_t grey, portions = 0;
	bool done;
	int r;

	do {
		DELAY(2);
		done = marker_drain(cycle->marker);
		if (marker_portions(cycle->marker) != portions)
			beat_count(&cycle->heap->collection_beat);
		portions = marker_portions(cycle->marker);
		DELAY(4);
		if (done && MUTANT(no_last_pass))
			break;
		r = clients_look(cycle->heap, &cycle->view);
		if (r == 0)
			r = check_void(cycle);
		if (r < 0)
			return r;
		grey = shades_pass(cycle->heap, &cycle->view, cycle->marker);
		cycle->result.passes++;
	} while (!done || grey);
	/* A thread may have dropped an entry since: as it did, its store was still to come. */
	return check_void(cycle);
}

/*
 * What a program hid by a plain store is found where one asked for that (HEAPD_DEBUG), and marked after all: before cells that
 * refer to it are cleared, and before it is queued as dead.
 */
static int mark_audited(struct cycle *cycle)
{
	int r = mark(cycle);

	if (r == 0 && audit_run(&cycle->audit, cycle->heap, cycle->marker))
		r = mark(cycle);
	return r;
}

/* The rings are looked at once more after the cells, for readers that cannot touch them (weaks.c). */
static int settle(struct cycle *cycle, uint64_t *grey)
{
	int r;

	*grey = weaks_settle(cycle->heap, cycle->marker, &cycle->result.weak_cleared);
	if (*grey)
		return 0;
	r = clients_look(cycle->heap, &cycle->view);
	if (r == 0)
		*grey = shades_pass(cycle->heap, &cycle->view, cycle->marker);
	return r;
}

/*
 * Step 6 as a whole. What is queued dead leads to white objects, which no thread can get at: no cell needs to be looked at for them.
 */
static int mark_and_bury(struct cycle *cycle)
{
	struct cycle_result *result = &cycle->result;
	uint64_t grey = 0;
	int r;

	do {
		r = mark_audited(cycle);
		if (r == 0 && !MUTANT(no_last_pass))
			r = settle(cycle, &grey);
		if (r < 0)
			return r;
	} while (grey);
	r = check_void(cycle);
	if (r < 0)
		return r;
	result->dead_queued = deads_queue(cycle->heap, cycle->marker);
	return mark(cycle);
}

/* Steps 7 and 8, or the end of a void cycle: nothing of it is left in anybody's way. */
static void lower_barriers(struct cycle *cycle, enum heapd_phase phase)
{
	publish(cycle, phase);
	shades_own_end(cycle->heap);
	clients_look(cycle->heap, &cycle->view);
	handshake_off(&cycle->handshake);
}

static void end(struct cycle *cycle)
{
	struct heap *heap = cycle->heap;

	holds_drop(heap);
	heap_lock(heap);
	deads_swept(heap);
	receipts_cycle_ended(heap);
	clients_reap(heap);
	heap_unlock(heap);
	publish(cycle, HEAPD_PHASE_IDLE);
}

/* Steps 1 to 6. A part that fails ends what follows. */
static int trace(struct cycle *cycle, struct cycle_result *result)
{
	static const struct {
		int (*run)(struct cycle *cycle);
		size_t sum; /* the member of the result that its time is added to */
	} parts[] = {
		[PART_BARRIER] = { raise_barriers, offsetof(struct cycle_result, barrier) },
		[PART_GATHER] = { gather, offsetof(struct cycle_result, gather) },
		[PART_SCAN] = { scan_threads, offsetof(struct cycle_result, scan) },
		[PART_ROOTS] = { shade_roots, offsetof(struct cycle_result, roots) },
		[PART_MARK] = { mark_and_bury, offsetof(struct cycle_result, mark) },
	};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t begin = part_begin(cycle, (enum part)i);

		r = parts[i].run(cycle);
		part_end(cycle, (enum part)i, begin, (uint64_t *)(void *)((char *)result + parts[i].sum));
	}
	return r;
}

/* Step 7, or the end of a void cycle. */
static void sweep(struct cycle *cycle, bool whole)
{
	uint64_t begin = part_begin(cycle, PART_SWEEP);

	DELAY(4);
	if (whole && !MUTANT(dead_unlent))
		sweeper_announce(cycle->heap);
	lower_barriers(cycle, whole ? HEAPD_PHASE_SWEEP : HEAPD_PHASE_IDLE);
	DELAY(4);
	STEP(barriers_down);
	if (whole) {
		receipts_count(cycle->heap, cycle->result.mark / 2 + RECEIPTS_NS);
		cycle->result.early = early_look(&cycle->early, cycle->heap);
		sweeper_run(cycle->heap, &cycle->result.swept);
		receipts_complete(cycle->heap, cycle->result.number, &cycle->result.swept);
	}
	part_end(cycle, PART_SWEEP, begin, &cycle->result.sweep);
}

/* Whoever found it, the cycle or a verification beside it. */
static void look_at_lost(struct heap *heap)
{
	heap_lock(heap);
	quarantine_look(heap);
	heap_unlock(heap);
}

static int collect(struct cycle *cycle)
{
	struct cycle_result *result = &cycle->result;
	int r;

	r = trace(cycle, result);
	look_at_lost(cycle->heap);
	if (r == 0 && any_lost(cycle))
		r = -EAGAIN;
	if (r == 0) {
		stall_end(&cycle->crowded, cycle->heap);
		result->marked = *marker_counts(cycle->marker);
	} else {
		marker_give_up(cycle->marker);
	}
	sweep(cycle, r == 0);
	end(cycle);
	return r == -ENOMEM ? -EAGAIN : r;
}

static uint64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Numbers go round after 32 bits, and leave out 0 (barrier off) and the two highest, which mean something else. */
static uint32_t number_next(const struct heap *heap)
{
	uint32_t last = heapd_now_cycle(heap->t.directory->cycle.now);

	return last >= UINT32_MAX - 2 ? 1 : last + 1;
}

int cycle_run(struct cycle *cycle, enum trigger trigger)
{
	uint64_t begin = clock_ns();
	int r;

	cycle->result = (struct cycle_result){
		.number = number_next(cycle->heap),
		.trigger = trigger,
		.began = realtime(),
		.before = cycle_allocated(cycle->heap),
	};
	cycle->handshake.cycle = cycle->result.number;
	cycle->lost = HEAPD_LOAD_ACQUIRE(&cycle->heap->bus.nlost);
	HEAPD_PROBE(cycle__begin, cycle->heap->name, cycle->result.number, trigger, cycle->result.before);
	r = collect(cycle);
	cycle->result.total = clock_ns() - begin;
	HEAPD_PROBE(cycle__end, cycle->heap->name, cycle->result.number, cycle->result.total,
		    cycle->result.swept.freed_bytes, cycle->result.marked.bytes, r < 0);
	return r;
}
