/* SPDX-License-Identifier: MIT */
/*
 * takers.c - owns the shares of the users of one heap: what each has, what is kept for it, and who gets no more.
 *
 * Small objects come out of rings that all clients take from without the daemon, so whose an object is nobody knows. Known is who
 * took each slab (percpu.h): what is out of it then, but for what was supplied of it since to fill it up, is counted as its
 * taker's. What a process allocates out of another's slab, on one processor, evens out: who allocates more runs dry, and takes, as
 * much more. All that is nobody's is kept from those who are beyond their shares. What is free in between does not count, so a heap
 * in pieces may have less for others than their shares.
 *
 * A share (UserShare= of Limit=, at most an even part) is kept for each user with a process that writes, and for one more
 * where the heap lets others in. So a user may have what there is, less what the others have, and at least what is kept for
 * them. Whoever has that is full: its library takes nothing from rings then (client/share.c), and who asks for more all the same is
 * refused when a collection, and a count after it, have not helped. Who has less than its own share is never full. So a user who
 * allocates without end comes to an end of its own, before the others', and at the limit it is the one who waits.
 *
 * Right because what is counted is only ever used to say that somebody is full, and a count is never older than it may be: it
 * begins again when half of a MARGIN-th of a share was supplied since. Else it costs a sixteenth of the supplier's time, in
 * pieces, and nothing while there is room for all shares (is_short()). Words that clients write are read once, and
 * only compared: what a client writes there misleads this heap's shares, whose clients could take everything in any case.
 */
#include "takers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "clock.h"
#include "collection.h"
#include "events.h"

#define PLACES_SHIFT 10u
#define PLACES       (1u << PLACES_SHIFT)
#define USERS_MAX    (PLACES / 2) /* more are not told apart, and have no share */
#define PIECE        65536u       /* slabs that are counted in a round */
#define PAUSE        15u          /* times as long as a count took, until the next */
#define MARGIN       8u           /* part of a share by which who has no right to it stays away from it */
#define GATHER_NS    10000000u    /* between two looks at who is there */

/* A user with a process that writes. */
struct taker {
	uint32_t key; /* heapd_taker() of it; 0: an empty place */
	uint64_t counting, bytes;
	uint64_t most; /* with so much it is full; 0: not known yet */
	bool full;
	bool waits;      /* one of its threads has asked for more; */
	uint64_t await;  /* it is refused when as many cycles, ... */
	uint64_t counts; /* ... and then as many counts, have ended; 0: the cycles have not */
	uint32_t whole;  /* collection_whole() when they had */
};

struct takers {
	struct taker tables[2][PLACES], *now; /* by hash of key */
	unsigned n;
	bool full;                        /* any is */
	uint64_t others_counting, others; /* what those have who have no process here, and what is nobody's */
	uint64_t version, gathered;       /* heap->clients as they were; when */
	bool counting, again;             /* a count is under way; one is to begin at once */
	bool asked;                       /* by people: it is for them, and goes on while there is room */
	uint64_t page;                    /* where it goes on */
	uint64_t counts;                  /* ended */
	uint64_t took, ended;             /* by the last one; when */
	uint64_t state, given;            /* as it began: of supply */
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t greatest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Its place, or the empty one where it would be. There are always empty ones. */
static struct taker *find(struct taker *table, uint32_t key)
{
	uint32_t at = key * 0x9e3779b1u >> (32 - PLACES_SHIFT);

	while (table[at].key && table[at].key != key)
		at = (at + 1) % PLACES;
	return &table[at];
}

static void add(struct takers *takers, struct taker *table, uint32_t key)
{
	struct taker *taker = find(table, key);

	if (taker->key || takers->n == USERS_MAX)
		return;
	*taker = *find(takers->now, key);
	taker->key = key;
	takers->n++;
}

/* From place *at on, which goes on behind it; NULL after the last. */
static struct client *next_writer(const struct supply *supply, unsigned *at)
{
	const struct clients *clients = supply->heap->clients;

	while (*at < clients->n) {
		struct client *client = &clients->slots[(*at)++];

		if (client->live && client->taker)
			return client;
	}
	return NULL;
}

/* Who is there now: what is known of those who were stays. */
static void gather(struct supply *supply)
{
	struct client *client;
	unsigned at = 0;
	struct takers *takers = supply->takers;
	struct taker *table = takers->tables[takers->now == takers->tables[0]];

	memset(table, 0, sizeof(takers->tables[0]));
	takers->n = 0;
	while ((client = next_writer(supply, &at)))
		add(takers, table, client->taker);
	takers->now = table;
}

/* What objects can have of the heap, and of what all heaps may have together. */
static uint64_t room(const struct supply *supply)
{
	struct heap *heap = supply->heap;
	const struct heapd_stats *stats = &heap->t.directory->stats;
	uint64_t all = HEAPD_READ_ONCE(stats->committed) + account_left(&heap->part);

	return minus(least(heap_limit(heap), all), HEAPD_READ_ONCE(stats->overhead));
}

static uint64_t in_spans(const struct supply *supply)
{
	return supply->pages.in_spans << HEAPD_PAGE_SHIFT;
}

static unsigned shares(const struct supply *supply)
{
	return supply->takers->n + HEAPD_READ_ONCE(supply->heap->newcomers);
}

static uint64_t share_of(const struct supply *supply, uint64_t all)
{
	unsigned n = shares(supply);

	return n ? least(all / 100 * HEAPD_READ_ONCE(supply->heap->user_share), all / n) : 0;
}

/* There is so little left, when so much more is taken, that somebody may be full. */
static bool is_short(const struct supply *supply, uint64_t more)
{
	uint64_t all, share;

	if (shares(supply) < 2 || !HEAPD_READ_ONCE(supply->heap->user_share))
		return false;
	all = room(supply);
	share = share_of(supply, all);
	return in_spans(supply) + more + share * (shares(supply) - 1) + share / MARGIN >= all;
}

/* The client looks again. */
static void client_answer(struct client *client)
{
	struct heapd_share *share = &client->memory->share;

	client->share_waits = false;
	HEAPD_STORE_RELEASE(&share->event, ++client->share_event);
	futex_wake_all(&share->event);
}

static void client_refuse(struct client *client, uint32_t whole)
{
	struct heapd_share *share = &client->memory->share;

	HEAPD_WRITE_ONCE(share->whole, whole);
	HEAPD_STORE_RELEASE(&share->refused, ++client->share_refused);
	client_answer(client);
}

static void client_tell(struct client *client, const struct taker *taker)
{
	struct heapd_share *share = &client->memory->share;

	HEAPD_WRITE_ONCE(share->bytes, taker->bytes);
	HEAPD_WRITE_ONCE(share->most, taker->most);
	if (taker->full == client->share_full)
		return;
	client->share_full = taker->full;
	HEAPD_STORE_RELEASE(&share->full, taker->full);
	client_answer(client);
}

/* A place that is empty is full of nothing. */
static void tell(struct supply *supply)
{
	struct client *client;
	unsigned at = 0;

	while ((client = next_writer(supply, &at)))
		client_tell(client, find(supply->takers->now, client->taker));
}

/* Of what there is when everybody else has what it has, or what is kept for it. */
static uint64_t most_of(const struct taker *taker, uint64_t all, uint64_t promised, uint64_t share)
{
	uint64_t most = minus(all, promised - greatest(taker->bytes, share));

	most = greatest(share, minus(most, taker->full ? share / MARGIN * 2 : share / MARGIN));
	return heapd_align_up(most, HEAPD_PAGE_SIZE);
}

static void decide(struct supply *supply)
{
	struct takers *takers = supply->takers;
	uint64_t all = room(supply), share = share_of(supply, all);
	uint64_t promised = takers->others + HEAPD_READ_ONCE(supply->heap->newcomers) * share;
	bool tight = is_short(supply, 0);

	takers->full = false;
	for (struct taker *taker = takers->now; taker < takers->now + PLACES; taker++)
		if (taker->key)
			promised += greatest(taker->bytes, share);
	for (struct taker *taker = takers->now; taker < takers->now + PLACES; taker++) {
		if (!taker->key)
			continue;
		taker->most = most_of(taker, all, promised, share);
		taker->full = tight && taker->bytes >= taker->most;
		/* Who is full anew asks anew: what was waited for then, has been since long. */
		taker->waits &= taker->full;
		takers->full |= taker->full;
	}
}

static void nobody_is_full(struct supply *supply)
{
	struct takers *takers = supply->takers;

	for (struct taker *taker = takers->now; taker < takers->now + PLACES; taker++)
		taker->full = taker->waits = false;
	takers->full = takers->counting = takers->again = false;
	tell(supply);
}

/* What of the slab its taker took: all that it was supplied with last, if that was half of it or more, or all but that. */
static uint64_t taken_of(const struct supply *supply, const struct heapd_span *span, uint32_t k)
{
	uint64_t supplied = supply->heap->t.supplied[span->slab0 + k];

	return supply_is_most(span, k, supplied) ? supplied : ~supplied;
}

static void count_slab(struct supply *supply, uint32_t first, uint32_t k, struct taker **taker)
{
	const struct heapd_span *span = &supply->heap->t.spans[first];
	uint64_t out = supply->ledger.out[span->slab0 + k], taken = taken_of(supply, span, k);
	uint32_t key = HEAPD_READ_ONCE(supply->heap->t.taker[span->slab0 + k]);

	if (key && (*taker)->key != key)
		*taker = find(supply->takers->now, key);
	if (!key || !(*taker)->key)
		taken = 0;
	(*taker)->counting += (uint64_t)__builtin_popcountll(out & taken) * span->elemsize;
	out &= ~taken & ~harvest_ringed(supply, first, k);
	supply->takers->others_counting += (uint64_t)__builtin_popcountll(out) * span->elemsize;
}

/* Returns the span's slabs. */
static uint32_t count_span(struct supply *supply, uint32_t first, struct taker **taker)
{
	uint32_t slabs = heapd_span_slabs(&supply->heap->t.spans[first]);

	for (uint32_t k = 0; k < slabs; k++)
		if (supply->ledger.out[supply->heap->t.spans[first].slab0 + k])
			count_slab(supply, first, k, taker);
	return slabs;
}

/* True: that was the last piece. */
static bool count_piece(struct supply *supply)
{
	struct takers *takers = supply->takers;
	uint64_t high = supply->pages.free.high;
	struct taker *taker = takers->now; /* of the slab before */
	uint32_t work = 0;

	while (takers->page < high && work < PIECE) {
		uint32_t first = supply->heap->t.page_span[takers->page];

		work++;
		if (!first) {
			takers->page++;
			continue;
		}
		work += count_span(supply, first - 1, &taker);
		takers->page = first - 1u + supply->heap->t.spans[first - 1].npages;
	}
	return takers->page >= high;
}

/* Changes with all that a count can see. */
static uint64_t state_of(const struct supply *supply)
{
	const struct heapd_stats *stats = &supply->heap->t.directory->stats;

	return stats->supplied_slots + stats->out + stats->spans_cut;
}

static void count_begin(struct supply *supply)
{
	struct takers *takers = supply->takers;

	for (struct taker *taker = takers->now; taker < takers->now + PLACES; taker++)
		taker->counting = 0;
	takers->others_counting = 0;
	takers->counting = true;
	takers->again = false;
	takers->page = takers->took = 0;
	takers->state = state_of(supply);
	takers->given = supply->given;
}

static void count_end(struct supply *supply)
{
	struct takers *takers = supply->takers;

	for (struct taker *taker = takers->now; taker < takers->now + PLACES; taker++)
		taker->bytes = taker->counting;
	takers->others = takers->others_counting;
	takers->counting = false;
	takers->counts++;
	decide(supply);
	tell(supply);
}

static void count(struct supply *supply)
{
	struct takers *takers = supply->takers;
	uint64_t begin = clock_ns();
	bool last = count_piece(supply);

	takers->ended = clock_ns();
	takers->took += takers->ended - begin;
	if (last)
		count_end(supply);
}

/* Also at once, when much was supplied: how long a count took says little where the supplier had to wait for a processor. */
static bool is_due(const struct supply *supply, uint64_t now)
{
	const struct takers *takers = supply->takers;
	uint64_t given = supply->given - takers->given;

	return takers->again || given >= share_of(supply, room(supply)) / MARGIN / 2 ||
	       (state_of(supply) != takers->state && now - takers->ended >= PAUSE * takers->took);
}

static void log_refused(struct supply *supply, const struct taker *taker)
{
	struct heap *heap = supply->heap;
	struct journal_event event = { .id = EVENT_LIMIT_REACHED, .heap = heap->name };

	HEAPD_COUNT(heap->t.directory->stats.refusals, 1u);
	log_event(
		heap->log, &heap->refused, LOG_WARNING, &event,
		"heap '%s': user %u has %s of it, and memory is refused: the others leave it no more than %s; see "
		"Limit= and UserShare=",
		heap->name, taker->key - 1, value_size_text(taker->bytes).text,
		value_size_text(taker->most).text);
	events_low(heap, clock_ns());
}

static void refuse_taker(struct supply *supply, struct taker *taker)
{
	struct client *client;
	unsigned at = 0;

	taker->waits = false;
	log_refused(supply, taker);
	while ((client = next_writer(supply, &at)))
		if (client->share_waits && client->taker == taker->key)
			client_refuse(client, taker->whole);
}

/* What was freed up to now is to count. Where nothing is collected, that is all that can help. */
static void harvest_all(struct supply *supply)
{
	supply->scraped = true;
	harvest_handback(supply, true);
	harvest_freed(supply, true);
}

static void taker_serve(struct supply *supply, struct taker *taker)
{
	struct takers *takers = supply->takers;

	if (taker->counts) {
		if (takers->counts >= taker->counts)
			refuse_taker(supply, taker);
	} else if (HEAPD_LOAD_ACQUIRE(&supply->heap->t.directory->cycle.finished) < taker->await) {
		supply->awaiting = true;
	} else {
		taker->whole = collection_whole(supply->heap);
		harvest_all(supply);
		taker->counts = takers->counts + takers->counting + 1;
		takers->again = true;
	}
}

static void taker_ask(struct supply *supply, struct taker *taker)
{
	struct heap *heap = supply->heap;

	if (taker->waits)
		return;
	taker->waits = true;
	taker->counts = 0;
	taker->await = heap->collection && collection_is_on(heap) ? collection_request(heap, TRIGGER_LIMIT)
								  : 0;
}

static void look_who_asks(struct supply *supply)
{
	struct client *client;
	unsigned at = 0;

	while ((client = next_writer(supply, &at))) {
		if (!client->share_full || !HEAPD_READ_ONCE(client->memory->share.asked))
			continue;
		HEAPD_WRITE_ONCE(client->memory->share.asked, 0);
		client->share_waits = true;
		taker_ask(supply, find(supply->takers->now, client->taker));
	}
}

static void answer(struct supply *supply)
{
	struct takers *takers = supply->takers;

	look_who_asks(supply);
	for (struct taker *taker = takers->now; taker < takers->now + PLACES; taker++)
		if (taker->waits)
			taker_serve(supply, taker);
}

static void look_who_is_there(struct supply *supply, uint64_t now)
{
	struct takers *takers = supply->takers;
	uint64_t version = supply->heap->clients ? supply->heap->clients->version + 1 : 0;

	if (takers->version == version || now - takers->gathered < GATHER_NS)
		return;
	takers->version = version;
	takers->gathered = now;
	gather(supply);
	if (takers->full)
		tell(supply);
}

void takers_round(struct supply *supply, uint64_t now)
{
	struct takers *takers = supply->takers;

	look_who_is_there(supply, now);
	if (!is_short(supply, 0)) {
		if (takers->full)
			nobody_is_full(supply);
		takers->counting &= takers->asked;
		return;
	}
	if (takers->full)
		answer(supply);
	if (!takers->counting && is_due(supply, now))
		count_begin(supply);
	if (takers->counting)
		count(supply);
}

bool takers_busy(const struct supply *supply)
{
	return supply->takers->counting || supply->takers->again;
}

static void count_anew(struct heap *heap, uint64_t more)
{
	struct supply *supply = heap->supply;
	struct takers *takers = supply->takers;
	uint64_t until;

	heap_lock(heap);
	look_who_is_there(supply, clock_ns());
	until = takers->counts + takers->counting + 1;
	while ((takers->asked || is_short(supply, more)) && takers->counts < until) {
		if (!takers->counting)
			count_begin(supply);
		count(supply);
		heap_unlock(heap);
		heap_give_way(heap);
		heap_lock(heap);
	}
	heap_unlock(heap);
}

void takers_settle(struct heap *heap, uint64_t more)
{
	count_anew(heap, more);
}

static void set_asked(struct heap *heap, bool asked)
{
	heap_lock(heap);
	heap->supply->takers->asked = asked;
	/* Who has come a moment ago counts, too. */
	heap->supply->takers->gathered = 0;
	heap_unlock(heap);
}

void takers_count(struct heap *heap)
{
	set_asked(heap, true);
	count_anew(heap, 0);
	set_asked(heap, false);
}

static const struct taker *taker_at(const struct supply *supply, unsigned client)
{
	return find(supply->takers->now, supply->heap->clients->slots[client].taker);
}

int takers_allow(struct supply *supply, unsigned client, uint64_t bytes)
{
	const struct taker *taker = taker_at(supply, client);

	if (!is_short(supply, bytes) || !taker->most || taker->bytes + bytes <= taker->most)
		return 0;
	log_refused(supply, taker);
	return -EDQUOT;
}

struct taken takers_taken(struct heap *heap, uid_t uid)
{
	const struct taker *taker;
	struct taken taken = { 0 };

	heap_lock(heap);
	taker = find(heap->supply->takers->now, heapd_taker(uid));
	if (taker->key)
		taken = (struct taken){
			.bytes = taker->bytes,
			.most = taker->most,
			.share = share_of(heap->supply, room(heap->supply)),
			.full = taker->full,
			.waits = taker->waits,
		};
	heap_unlock(heap);
	return taken;
}

void takers_note(const struct supply *supply, unsigned client, uint32_t first)
{
	HEAPD_WRITE_ONCE(supply->heap->t.taker[supply->heap->t.spans[first].slab0],
			 supply->heap->clients->slots[client].taker);
}

int takers_init(struct supply *supply)
{
	supply->takers = calloc(1, sizeof(*supply->takers));
	if (!supply->takers)
		return -ENOMEM;
	supply->takers->now = supply->takers->tables[0];
	return 0;
}

void takers_deinit(struct supply *supply)
{
	free(supply->takers);
}
