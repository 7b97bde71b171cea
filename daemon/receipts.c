/* SPDX-License-Identifier: MIT */
/*
 * Owns the receipts, and a marker of its own to count with. The main thread adds receipts and reads them, the collector's thread counts: the
 * places and the greatest number are under heap->lock, whatever else there is, is the collector's alone.
 *
 * Which objects only the dead kept. When a cycle has marked, what has no mark is what nobody alive can reach. So a second
 * marker takes a copy of the mark words, begins with the words that the dead held, and goes on along the pointers: what it
 * marks besides was white, is reached from the dead one's roots, and from nobody else's. It is garbage, so nobody writes to
 * it meanwhile, and the sweep has not begun. The cycle's own mark words stay as they are: the sweep, weak cells and
 * early frees go by those. A span that is cut meanwhile has all its hold bits set, so is left out, as is all that came
 * back into the daemon's hands.
 *
 * What several of the dead kept together counts for the first of them. A dead client's pins are what they were when it
 * died; its stacks and ranges what the last collection found there: what hung on its stack alone and was made since is not
 * seen, and is only among what the cycle freed in all.
 *
 * What it costs is to follow the pointers of what is counted, and that in words of its own costs no more than in the cycle's: a
 * copy is 16 bytes for 64 objects, and the cycle's would have to be put back.
 *
 * The sweep waits for it, and so does whoever wants the memory: there is a budget, and what is not counted when it is used
 * up is said to be more. It is one of this thread's processor time: where others have the machine, the sweep takes longer by as much, and
 * by the clock nothing at all would be counted there. A dead client's words are read once, from its file, and are only ever candidates for pointers;
 * how many there are, it says itself, and the budget bounds that, too.
 */
#include "receipts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clients.h"
#include "clock.h"
#include "collection.h"
#include "marker.h"
#include "marks.h"
#include "supply.h"

#define PIECE_WORDS 1024u  /* of a session, read at once */
#define PIECE_SLABS 16384u /* looked at without letting go of the lock */
#define LINES       100u
#define NAMED       3u /* classes in the log's line */

struct place {
	struct heapd_receipt receipt;
	uint64_t died; /* CLOCK_MONOTONIC, ns */
	uint64_t in_flight, charged;
	uint32_t threads, pins; /* at most what it was given */
	int fd;                 /* of its session's memory, while it waits; -1 */
	bool during;            /* it died while a cycle was under way, which keeps what it held */
	bool counted;
};

struct receipts {
	struct place places[HEAPD_RECEIPTS_KEPT]; /* number n stands at n % HEAPD_RECEIPTS_KEPT */
	uint64_t last;                            /* the greatest number so far */
	struct log_limit lines;

	/* The collector's thread's. */
	struct marker *marker;
	uint64_t *mark;    /* by slab: the marker's words */
	uint64_t *before;  /* ... as they were before the one that is being counted */
	uint64_t bytes;    /* of each */
	unsigned ncounted; /* places of which that is said */
	struct heapd_receipt_class classes[HEAPD_CLASS_MAX];
};

/* One that is being counted. */
struct count {
	struct heap *heap;
	struct receipts *receipts;
	struct heapd_receipt *receipt;
	struct client client; /* for its descriptor */
	uint64_t until;       /* clock_cpu_ns() */
	bool cut;
};

int receipts_init(struct heap *heap)
{
	struct receipts *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	for (unsigned i = 0; i < HEAPD_RECEIPTS_KEPT; i++)
		r->places[i].fd = -1;
	r->lines = (struct log_limit){ .what = "receipts", .burst = LINES };
	heap->receipts = r;
	return 0;
}

/* Its memory is not needed any more. */
static void place_close(struct heap *heap, struct place *place)
{
	if (place->fd < 0)
		return;
	close(place->fd);
	place->fd = -1;
	heap_refund(heap, place->charged);
}

void receipts_deinit(struct heap *heap)
{
	struct receipts *r = heap->receipts;

	if (!r)
		return;
	for (unsigned i = 0; i < HEAPD_RECEIPTS_KEPT; i++)
		place_close(heap, &r->places[i]);
	log_limit_flush(heap->log, &r->lines, LOG_INFO);
	marker_deinit(r->marker);
	if (r->mark)
		munmap(r->mark, r->bytes);
	if (r->before)
		munmap(r->before, r->bytes);
	free(r);
	heap->receipts = NULL;
}

/* The beginning ---------------------------------------------------------------------------------------------------- */

static int memory_keep(struct heap *heap, int fd, uint64_t bytes)
{
	int copy;

	if (!collection_is_on(heap) || heap_charge_minor(heap, bytes) < 0)
		return -1;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		heap_refund(heap, bytes);
	return copy;
}

static uint64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void receipts_add(struct heap *heap, const struct receipt_of *of)
{
	struct receipts *r = heap->receipts;
	struct place *place;

	if (!r)
		return;
	place = &r->places[++r->last % HEAPD_RECEIPTS_KEPT];
	place_close(heap, place);
	*place = (struct place){
		.receipt = { .number = r->last,
			     .session = of->session,
			     .died = realtime(),
			     .pid = (uint32_t)of->pid,
			     .uid = of->uid },
		.died = clock_ns(),
		.in_flight = of->in_flight,
		.charged = of->charged,
		.threads = of->threads,
		.pins = of->pins,
		.fd = memory_keep(heap, of->fd, of->charged),
		.during = collection_is_active(heap),
	};
	place->receipt.state = place->fd >= 0 ? HEAPD_RECEIPT_WAITING : HEAPD_RECEIPT_UNCOUNTED;
	memcpy(place->receipt.client, of->client, strnlen(of->client, sizeof(place->receipt.client) - 1));
}

void receipts_cycle_ended(struct heap *heap)
{
	for (unsigned i = 0; heap->receipts && i < HEAPD_RECEIPTS_KEPT; i++)
		heap->receipts->places[i].during = false;
}

/* What the dead held ----------------------------------------------------------------------------------------------- */

static bool is_late(struct count *c)
{
	c->cut = c->cut || clock_cpu_ns() >= c->until;
	return c->cut;
}

/* As much of it as there is time for. `past`: words of a stack. */
static void shade(struct count *c, uint64_t at, uint64_t n, uint64_t room, bool past)
{
	uint64_t words[PIECE_WORDS], piece;

	for (n = n <= room ? n : 0; n && !is_late(c); n -= piece, at += piece * 8) {
		piece = n < PIECE_WORDS ? n : PIECE_WORDS;
		if (client_read(&c->client, at, words, piece) < 0)
			return;
		marker_shade_all(c->receipts->marker, words, piece, past);
	}
}

static void shade_thread(struct count *c, uint32_t index)
{
	struct heapd_thread thread;

	if (client_read(&c->client, HEAPD_SESSION_THREAD_AT + index * sizeof(thread),
			(uint64_t *)(void *)&thread, offsetof(struct heapd_thread, edits) / 8) < 0 ||
	    thread.state < HEAPD_THREAD_ONLINE || thread.state > HEAPD_THREAD_SCANNING ||
	    !thread.published_cycle)
		return;
	shade(c, HEAPD_SESSION_PUBLISHED_AT + index * HEAPD_PUBLISHED_BYTES, thread.published_count,
	      HEAPD_PUBLISHED_BYTES / 8, true);
}

static void shade_roots(struct count *c, const struct place *place)
{
	struct heapd_session head;

	marker_shade(c->receipts->marker, place->in_flight);
	if (client_read(&c->client, 0, (uint64_t *)(void *)&head, sizeof(head) / 8) < 0)
		return;
	shade(c, HEAPD_SESSION_PIN_AT, head.npins < place->pins ? head.npins : place->pins, HEAPD_PIN_MAX,
	      false);
	if (head.ranges_cycle)
		shade(c, HEAPD_SESSION_RANGES_AT, head.ranges_count, HEAPD_RANGES_BYTES / 8, false);
	for (uint32_t i = 0; i < head.nthreads && i < place->threads && !is_late(c); i++)
		shade_thread(c, i);
}

/* What hangs on it ------------------------------------------------------------------------------------------------- */

static void mark(struct count *c)
{
	while (!marker_drain(c->receipts->marker)) {
		beat_count(&c->heap->collection_beat);
		if (!is_late(c))
			continue;
		marker_give_up(c->receipts->marker);
		return;
	}
}

static void count_slab(struct count *c, const struct heapd_span *span, uint32_t slab)
{
	struct receipts *r = c->receipts;
	uint64_t slots = r->mark[slab] & ~r->before[slab] & ~c->heap->marks->hold[slab] &
			 c->heap->t.out[slab],
		 n = (uint64_t)__builtin_popcountll(slots);

	r->before[slab] = r->mark[slab];
	c->receipt->objects += n;
	c->receipt->bytes += n * span->elemsize;
	r->classes[span->class].objects += n;
	r->classes[span->class].bytes += n * span->elemsize;
}

/* From page `page` on, with heap->lock held: the page to go on with. */
static uint64_t count_piece(struct count *c, uint64_t page)
{
	const struct heapd_tables *t = &c->heap->t;
	uint64_t high = c->heap->pages->free.high;
	uint32_t slabs = 0;

	while (page < high && slabs < PIECE_SLABS) {
		uint32_t first = t->page_span[page], n;

		if (!first) {
			page++;
			continue;
		}
		n = heapd_span_slabs(&t->spans[first - 1]);
		page = first - 1u + t->spans[first - 1].npages;
		for (uint32_t k = 0; k < n; k++)
			count_slab(c, &t->spans[first - 1], t->spans[first - 1].slab0 + k);
		slabs += n;
	}
	return page < high ? page : UINT64_MAX;
}

static int compare_classes(const void *a, const void *b)
{
	const struct heapd_receipt_class *x = a, *y = b;

	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

/* The largest of them. */
static void classes_note(struct count *c)
{
	struct heapd_receipt_class *classes = c->receipts->classes;
	struct heapd_receipt *r = c->receipt;

	for (uint32_t i = 0; i < HEAPD_CLASS_MAX; i++)
		classes[i].class = i;
	qsort(classes, HEAPD_CLASS_MAX, sizeof(*classes), compare_classes);
	for (uint32_t i = 0; i < HEAPD_RECEIPT_CLASSES && classes[i].objects; i++)
		r->classes[r->nclasses++] = classes[i];
}

static void count_one(struct count *c, const struct place *place)
{
	memset(c->receipts->classes, 0, sizeof(c->receipts->classes));
	shade_roots(c, place);
	mark(c);
	for (uint64_t page = 0; page != UINT64_MAX;) {
		heap_lock(c->heap);
		page = count_piece(c, page);
		heap_unlock(c->heap);
		heap_give_way(c->heap);
		beat_count(&c->heap->collection_beat);
	}
	classes_note(c);
	c->receipt->state = c->cut ? HEAPD_RECEIPT_PARTLY : HEAPD_RECEIPT_COUNTED;
}

/* All that are to be counted, one by one --------------------------------------------------------------------------- */

static uint64_t *table_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* With the first that there is to count. */
static bool marker_ready(struct heap *heap, struct receipts *r)
{
	r->bytes = heapd_align_up(heap->geometry.slabs * 8, 4096);
	if (!r->mark)
		r->mark = table_map(r->bytes);
	if (!r->before)
		r->before = table_map(r->bytes);
	return r->mark && r->before && (r->marker || marker_init_over(&r->marker, heap, r->mark) == 0);
}

/* Of the slabs that there are now: what is in later ones is held, and not counted (count_slab()). */
static void marks_copy(struct heap *heap, struct receipts *r)
{
	uint64_t n, piece;

	heap_lock(heap);
	n = heap->supply->spans.numbers.high * HEAPD_SLAB_UNIT;
	heap_unlock(heap);
	for (uint64_t at = 0; at < n; at += piece) {
		piece = n - at < PIECE_SLABS ? n - at : PIECE_SLABS;
		heap_lock(heap);
		memcpy(r->mark + at, heap->marks->mark + at, piece * 8);
		heap_unlock(heap);
		memcpy(r->before + at, r->mark + at, piece * 8);
		heap_give_way(heap);
	}
}

/* Takes the next one that waits and died before this cycle began; its descriptor is the caller's. False: there is none. */
static bool place_take(struct heap *heap, struct place *taken)
{
	struct receipts *r = heap->receipts;
	bool found = false;
	uint64_t number;

	heap_lock(heap);
	number = r->last > HEAPD_RECEIPTS_KEPT ? r->last - HEAPD_RECEIPTS_KEPT + 1 : 1;
	for (; number <= r->last && !found; number++) {
		struct place *place = &r->places[number % HEAPD_RECEIPTS_KEPT];

		found = place->fd >= 0 && !place->during;
		if (!found)
			continue;
		*taken = *place;
		place->fd = -1;
	}
	heap_unlock(heap);
	return found;
}

/* Unless so many have died meanwhile that its place is another's. */
static void place_put(struct heap *heap, const struct heapd_receipt *receipt)
{
	struct place *place = &heap->receipts->places[receipt->number % HEAPD_RECEIPTS_KEPT];

	heap_lock(heap);
	if (place->receipt.number == receipt->number) {
		place->receipt = *receipt;
		place->counted = true;
		heap->receipts->ncounted++;
	}
	heap_unlock(heap);
}

static void count_all(struct count *c, struct place *place)
{
	bool ready = marker_ready(c->heap, c->receipts);

	if (ready) {
		marks_copy(c->heap, c->receipts);
		marker_begin(c->receipts->marker);
	}
	do {
		c->receipt = &place->receipt;
		c->client.fd = place->fd;
		if (ready && !is_late(c))
			count_one(c, place);
		else
			place->receipt.state = HEAPD_RECEIPT_UNCOUNTED;
		place_close(c->heap, place);
		place_put(c->heap, &place->receipt);
	} while (place_take(c->heap, place));
	if (ready) {
		madvise(c->receipts->mark, c->receipts->bytes, MADV_DONTNEED);
		madvise(c->receipts->before, c->receipts->bytes, MADV_DONTNEED);
	}
}

void receipts_count(struct heap *heap, uint64_t budget_ns)
{
	struct count c = { .heap = heap, .receipts = heap->receipts, .until = clock_cpu_ns() + budget_ns };
	struct place place;

	if (!heap->receipts)
		return;
	heap->receipts->ncounted = 0;
	if (place_take(heap, &place))
		count_all(&c, &place);
}

/* The end ---------------------------------------------------------------------------------------------------------- */

static void classes_text(const struct heap *heap, const struct heapd_receipt *r, char text[256])
{
	size_t at = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < r->nclasses && i < NAMED && at < 256; i++) {
		uint16_t type = heap->t.classes[r->classes[i].class].type;

		at += (size_t)snprintf(text + at, 256 - at, "%s%.47s: %" PRIu64 " bytes in %" PRIu64,
				       i ? ", " : "; ", heap->t.types[type].name, r->classes[i].bytes,
				       r->classes[i].objects);
	}
}

static void receipt_log(struct heap *heap, const struct heapd_receipt *r)
{
	struct journal_event event = {
		.id = EVENT_CLIENT_RECEIPT,
		.heap = heap->name,
		.pid = (pid_t)r->pid,
		.has_uid = true,
		.uid = r->uid,
		.session = r->session,
		.has_count = true,
		.count = r->objects,
	};
	char classes[256];

	classes_text(heap, r, classes);
	if (r->state == HEAPD_RECEIPT_UNCOUNTED)
		return;
	log_event(heap->log, &heap->receipts->lines, LOG_INFO, &event,
		  "heap '%s': dead process %u of user %u left %s%" PRIu64 " bytes in %" PRIu64
		  " objects that nothing else kept%s; they came back %.1f ms after its death, by gc %u",
		  heap->name, r->pid, r->uid, r->state == HEAPD_RECEIPT_PARTLY ? "at least " : "", r->bytes,
		  r->objects, classes, (double)r->took / 1e6, r->cycle);
}

/* True: it was one of this cycle's; *receipt is as it stands now. */
static bool place_complete(struct heap *heap, struct place *place, uint32_t cycle,
			   const struct sweep_counts *swept, struct heapd_receipt *receipt)
{
	bool counted;

	heap_lock(heap);
	counted = place->counted;
	if (counted) {
		place->counted = false;
		place->receipt.cycle = cycle;
		place->receipt.took = clock_ns() - place->died;
		place->receipt.freed_objects = swept->freed_objects;
		place->receipt.freed_bytes = swept->freed_bytes;
		*receipt = place->receipt;
	}
	heap_unlock(heap);
	return counted;
}

void receipts_complete(struct heap *heap, uint32_t cycle, const struct sweep_counts *swept)
{
	struct heapd_receipt receipt;

	if (!heap->receipts || !heap->receipts->ncounted)
		return;
	for (unsigned i = 0; i < HEAPD_RECEIPTS_KEPT; i++)
		if (place_complete(heap, &heap->receipts->places[i], cycle, swept, &receipt))
			receipt_log(heap, &receipt);
}

void receipts_next(struct heap *heap, struct heapd_receipt *receipt,
		   bool (*wanted)(const void *arg, uint32_t uid), const void *arg)
{
	const struct receipts *r = heap->receipts;
	uint64_t number = receipt->number;

	*receipt = (struct heapd_receipt){ 0 };
	if (!r)
		return;
	heap_lock(heap);
	if (r->last > HEAPD_RECEIPTS_KEPT && number < r->last - HEAPD_RECEIPTS_KEPT)
		number = r->last - HEAPD_RECEIPTS_KEPT;
	while (number < r->last && !receipt->number) {
		const struct place *place = &r->places[++number % HEAPD_RECEIPTS_KEPT];

		if (wanted(arg, place->receipt.uid))
			*receipt = place->receipt;
	}
	heap_unlock(heap);
}
