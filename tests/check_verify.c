/* SPDX-License-Identifier: MIT */
/* Each kind of corruption that verify reports is planted, and found, in the right words; a clean heap is clean. */
#include "testheap.h"

#define CLASS 4u /* 80 bytes */
#define LARGE HEAPD_SIZECLASS_LARGE

static struct testheap t;
static struct supply *s;
static struct heapd_tables *tables;
static struct heapd_batch mine; /* taken from the ring */
static uint32_t span, slab, large;
static uint32_t ringed_span, ringed_slab; /* of the first entry that is left in the ring */
static uint64_t ringed_at;

/* Supply without its thread: nothing moves but what the test moves. */
static void setup(void)
{
	bool zeroed;

	testheap_init(&t, 64 * MIB, 64 * MIB);
	s = t.heap->supply = calloc(1, sizeof(*s));
	ck_assert_ptr_nonnull(s);
	tables = &t.heap->t;
	s->heap = t.heap;
	ck_assert_int_eq(ledger_init(&s->ledger, t.heap), 0);
	ck_assert_int_eq(pages_init(&s->pages, t.heap), 0);
	ck_assert_int_eq(spans_init(&s->spans, t.heap, &s->ledger, &s->pages), 0);
	ck_assert_int_eq(spans_cut_large(&s->spans, LARGE, 100000, 16, &large, &zeroed), 0);
	s->classes[CLASS].target = 256 * 1024;
	ck_assert_int_eq(ring_fill(s, CLASS), 0);
	ck_assert(testheap_take(&t, CLASS, &mine));
	ring_note_taken(s, CLASS, clock_ns());
	span = heapd_entry_page(mine.entry);
	slab = testheap_slab(&t, &mine, 0);
	ringed_at = s->ledger.rings[CLASS].head % HEAPD_RING_SLOTS;
	ringed_span = heapd_entry_page(s->ledger.rings[CLASS].entries[ringed_at]);
	ringed_slab = tables->spans[ringed_span].slab0 +
		      heapd_entry_slab(s->ledger.rings[CLASS].entries[ringed_at]);
	testheap_is_clean(&t);
}

static void teardown(void)
{
	held_deinit(&s->held);
	free(s->freed);
	spans_deinit(&s->spans);
	pages_deinit(&s->pages);
	free(s);
	t.heap->supply = NULL;
	testheap_deinit(&t);
}

static void finds(const char *words)
{
	struct heapd_verify_reply reply = testheap_verify(&t);

	ck_assert_uint_gt(reply.faults, 0);
	ck_assert_msg(strstr(reply.first, words), "said: %s; not: %s", reply.first, words);
}

static struct heapd_pair *cas_word(uint64_t cpu, uint32_t class)
{
	return &tables->cas_rows[cpu * HEAPD_CLASS_MAX + class];
}

static uint64_t base_of(uint32_t first, uint32_t k)
{
	return (uint64_t)(uintptr_t)testheap_slot(&t, first, k, 0);
}

START_TEST(a_clean_heap_adds_up)
{
	uint32_t k = heapd_entry_slab(mine.entry);
	struct heapd_verify_reply r;

	*cas_word(0, CLASS) = (struct heapd_pair){ base_of(span, k), mine.masks[0] & ~7ull };
	testheap_free_bits(&t, slab, 1);
	for (unsigned i = 1; i < HEAPD_BATCH_MAX; i++)
		mine.masks[i] = 0;
	mine.entry = heapd_entry_make(span, k, 1, 0);
	mine.masks[0] = 8 |
			2; /* 8 is in the current slab as well: it was installed, and not yet cleared here */
	t.threads[0].spares[0] = mine;
	r = testheap_verify(&t);
	ck_assert_msg(!r.faults, "%s", r.first);
	ck_assert_uint_eq(r.out, HEAPD_READ_ONCE(testheap_stats(&t)->out));
	ck_assert_uint_eq(r.in_rings, s->ring_bytes);
	ck_assert_uint_eq(r.in_currents, 61 * 80);
	ck_assert_uint_eq(r.in_spares, 80);
	ck_assert_uint_eq(r.freed_pending, 80);
	ck_assert_uint_eq(r.allocated, r.out - r.in_rings - 63 * 80);
	ck_assert_uint_eq(r.pages, s->pages.in_spans);
}
END_TEST

/* What is planted, and the words that it is found by. */
enum plant {
	OUT_WHAT_IS_IN_A_RING_IS_FREE,
	OUT_BEYOND_THE_SLAB,
	OUT_OF_NO_SPAN,
	OUT_NOT_COUNTED,
	ENTRY_SHARED,
	ENTRY_PRIVATE_PAGE,
	ENTRY_PRIVATE_SLAB,
	ENTRY_TWICE,
	ENTRY_GARBAGE,
	TAIL_SHARED,
	TAIL_PRIVATE,
	TAIL_FAR,
	RING_BYTES,
	RING_BYTES_OF_ALL,
	STATE_NOT_RINGED,
	STATE_RINGED,
	STATE_READY,
	STATE_NOT_READY,
	STATE_BUSY,
	STATE_OUT,
	STATE_QUARTER,
	STATE_NOT_LISTED,
	STATE_GONE,
	LIST_CUT,
	LIST_LOOP,
	OWNER_GONE,
	OWNER_WILD,
	PAGE_OF_NONE,
	PAGE_OF_ANOTHER,
	PAGE_IN_THE_MIDDLE,
	PAGE_FREE_IN_MAP,
	PAGE_TAKEN_IN_MAP,
	SPAN_CLASS,
	SPAN_CLASS_WILD,
	SPAN_SIZE,
	SPAN_SLOTS_ZERO,
	SPAN_SLOTS_MANY,
	SPAN_SLAB_SLOTS_ZERO,
	SPAN_PAGES_MANY,
	SPAN_SLAB0_WILD,
	SPAN_MAGIC,
	SPAN_LARGE_SLOTS,
	SLAB_NUMBERS_LOST,
	PAGES_COUNT,
	PAGES_GONE,
	GONE_COUNT,
	COMMITTED_COUNT,
	CURRENT_FREE_IN_LEDGER,
	CURRENT_IN_RING,
	CURRENT_TWICE,
	CURRENT_WILD,
	SPARE_IN_RING,
	SPARE_TWICE,
	SPARE_WILD,
	COUNT_OUT,
	COUNT_GIVEN,
	COUNT_TAKEN,
	COUNT_LARGE,
	COUNT_CLASS_SPANS,
	COUNT_CLASS_OUT,
	PLANTS
};

static void plant_in_ring(enum plant what)
{
	struct ledger_ring *ring = &s->ledger.rings[CLASS];

	switch (what) {
	case ENTRY_SHARED:
		tables->rings[CLASS].slots[ringed_at] ^= 1ull << 41;
		break;
	case ENTRY_PRIVATE_PAGE:
		ring->entries[ringed_at] = heapd_entry_make(large, 0, 1, 0);
		break;
	case ENTRY_PRIVATE_SLAB:
		ring->entries[ringed_at] = heapd_entry_make(ringed_span, 255, 0xffff, 0);
		break;
	case ENTRY_TWICE:
		ring->entries[(ringed_at + 1) % HEAPD_RING_SLOTS] = ring->entries[ringed_at];
		break;
	case ENTRY_GARBAGE:
		ring->entries[ringed_at] = UINT64_MAX;
		break;
	case TAIL_SHARED:
		tables->rings[CLASS].tail++;
		break;
	case TAIL_PRIVATE:
		s->ledger.rings[CLASS + 1].tail++;
		break;
	case TAIL_FAR:
		ring->tail = tables->rings[CLASS].tail = ring->head + HEAPD_RING_SLOTS + 1;
		break;
	case RING_BYTES:
		s->classes[CLASS].bytes += 80;
		break;
	default:
		s->ring_bytes -= 80;
		break;
	}
	/* The shared slots follow where only the private copy's sense is tested. */
	if (what > ENTRY_SHARED && what <= ENTRY_GARBAGE)
		memcpy(tables->rings[CLASS].slots, ring->entries, sizeof(ring->entries));
}

static void plant_in_state(enum plant what)
{
	struct span_state *state = span_state_of(&s->spans, span),
			  *ringed = span_state_of(&s->spans, ringed_span);
	uint32_t k = slab - tables->spans[span].slab0,
		 ringed_k = ringed_slab - tables->spans[ringed_span].slab0;

	switch (what) {
	case STATE_NOT_RINGED:
		bits_clear(ringed->ringed, ringed_k);
		break;
	case STATE_RINGED:
		bits_set(state->ringed, k);
		break;
	case STATE_READY:
		bits_set(state->ready, k);
		break;
	case STATE_NOT_READY:
		spans_slots_free(&s->spans, span, k, 1);
		bits_clear(state->ready, k);
		break;
	case STATE_BUSY:
		state->busy++;
		break;
	case STATE_OUT:
		state->out++;
		break;
	case STATE_QUARTER:
		spans_slots_free(&s->spans, span, k, 1);
		state->quarter ^= 1;
		break;
	case STATE_NOT_LISTED:
		spans_slots_free(&s->spans, span, k, 1);
		spans_unlist(&s->spans, span);
		break;
	case STATE_GONE:
		free(s->spans.states[large]);
		s->spans.states[large] = NULL;
		break;
	case LIST_CUT:
		spans_slots_free(&s->spans, span, k, 1);
		s->spans.ready[state->quarter][CLASS] = SPAN_NONE;
		break;
	case LIST_LOOP:
		spans_slots_free(&s->spans, span, k, 1);
		s->spans.ready[state->quarter][CLASS] = span;
		state->next = span;
		break;
	case OWNER_GONE:
		s->ledger.owner[slab / HEAPD_SLAB_UNIT] = 0;
		break;
	default:
		s->ledger.owner[slab / HEAPD_SLAB_UNIT] = UINT32_MAX - 8;
		break;
	}
}

static void plant_in_pages(enum plant what)
{
	uint64_t at;

	switch (what) {
	case PAGE_OF_NONE:
		tables->page_span[span] = 0;
		break;
	case PAGE_OF_ANOTHER:
		tables->page_span[large] = large + 2;
		break;
	case PAGE_IN_THE_MIDDLE:
		tables->page_span[large + 3] = 0;
		break;
	case PAGE_FREE_IN_MAP:
		runmap_give(&s->pages.free, large + 1, 1);
		break;
	case PAGE_TAKEN_IN_MAP:
		ck_assert_int_eq(runmap_take(&s->pages.free, 1, 1, &at), 0);
		break;
	case SLAB_NUMBERS_LOST:
		ck_assert_int_eq(runmap_take(&s->spans.numbers, 1, 1, &at), 0);
		break;
	case PAGES_COUNT:
		s->pages.in_spans++;
		break;
	case PAGES_GONE:
		s->pages.gone[span / 64] |= 1ull << (span % 64);
		break;
	case GONE_COUNT:
		for (at = 0; !runmap_is_free(&s->pages.free, at);)
			at++;
		s->pages.gone[at / 64] |= 1ull << (at % 64);
		break;
	default:
		s->pages.committed_chunks++;
		break;
	}
}

static void plant_in_span(enum plant what)
{
	struct heapd_span *record = &tables->spans[span];

	switch (what) {
	case SPAN_CLASS:
		tables->spans[large].class = 7;
		break;
	case SPAN_CLASS_WILD:
		record->class = UINT16_MAX;
		break;
	case SPAN_SIZE:
		record->elemsize = 96;
		break;
	case SPAN_SLOTS_ZERO:
		record->nslots = 0;
		break;
	case SPAN_SLOTS_MANY:
		record->nslots = UINT32_MAX / 64;
		break;
	case SPAN_SLAB_SLOTS_ZERO:
		record->slab_slots = 0;
		break;
	case SPAN_PAGES_MANY:
		record->npages = UINT32_MAX;
		break;
	case SPAN_SLAB0_WILD:
		record->slab0 = UINT32_MAX - 4;
		break;
	case SPAN_MAGIC:
		record->magic++;
		break;
	default:
		tables->spans[large].nslots = 2;
		break;
	}
}

static void plant_in_client(enum plant what)
{
	uint32_t k = slab - tables->spans[span].slab0,
		 ringed_k = ringed_slab - tables->spans[ringed_span].slab0;
	uint64_t at = base_of(span, k), ringed = base_of(ringed_span, ringed_k);
	struct heapd_batch b = { .entry = heapd_entry_make(ringed_span, ringed_k, 1, 0),
				 .class = CLASS,
				 .masks = { 1 } };

	switch (what) {
	case CURRENT_FREE_IN_LEDGER:
		spans_slots_free(&s->spans, span, k, 4);
		*cas_word(0, CLASS) = (struct heapd_pair){ at, 12 };
		break;
	case CURRENT_IN_RING:
		*cas_word(0, CLASS) = (struct heapd_pair){ ringed, 1 };
		break;
	case CURRENT_TWICE:
		*cas_word(0, CLASS) = (struct heapd_pair){ at, 3 };
		tables->rseq_rows[CLASS].slabs[0] = (struct heapd_current){ at, 6 };
		break;
	case CURRENT_WILD:
		*cas_word(0, CLASS) = (struct heapd_pair){ at + 8, 1 };
		break;
	case SPARE_IN_RING:
		t.threads[0].spares[0] = b;
		break;
	case SPARE_TWICE:
		t.threads[0].spares[0] = t.threads[1].spares[1] = mine;
		break;
	default:
		b.class += 1;
		t.threads[0].spares[0] = b;
		break;
	}
}

static void plant_in_counts(enum plant what)
{
	struct heapd_stats *stats = &tables->directory->stats;

	switch (what) {
	case COUNT_OUT:
		stats->out -= 80;
		break;
	case COUNT_GIVEN:
		stats->given += 80;
		break;
	case COUNT_TAKEN:
		stats->taken += 80;
		break;
	case COUNT_LARGE:
		stats->large += 8192;
		break;
	case COUNT_CLASS_SPANS:
		tables->class_stats[CLASS].spans++;
		break;
	default:
		tables->class_stats[CLASS].out_slots--;
		break;
	}
}

static void plant_in_out(enum plant what)
{
	const struct heapd_span *record = &tables->spans[large];

	switch (what) {
	case OUT_WHAT_IS_IN_A_RING_IS_FREE:
		s->ledger.out[ringed_slab] &= ~1ull;
		break;
	case OUT_BEYOND_THE_SLAB:
		s->ledger.out[record->slab0] |= 2;
		break;
	case OUT_OF_NO_SPAN:
		s->ledger.out[s->spans.numbers.high * HEAPD_SLAB_UNIT] = 0;
		ck_assert_int_eq(runmap_take(&s->spans.numbers, 1, 1, &(uint64_t){ 0 }), 0);
		runmap_give(&s->spans.numbers, s->spans.numbers.high - 1, 1);
		s->ledger.out[(s->spans.numbers.high - 1) * HEAPD_SLAB_UNIT] = 1;
		break;
	default:
		s->ledger.out[slab] &= ~1ull;
		break;
	}
}

static void plant(enum plant what)
{
	if (what <= OUT_NOT_COUNTED)
		plant_in_out(what);
	else if (what <= RING_BYTES_OF_ALL)
		plant_in_ring(what);
	else if (what <= OWNER_WILD)
		plant_in_state(what);
	else if (what <= PAGE_TAKEN_IN_MAP || (what >= SLAB_NUMBERS_LOST && what <= COMMITTED_COUNT))
		plant_in_pages(what);
	else if (what <= SPAN_LARGE_SLOTS)
		plant_in_span(what);
	else if (what <= SPARE_WILD)
		plant_in_client(what);
	else
		plant_in_counts(what);
}

static const char *const words[PLANTS] = {
	[OUT_WHAT_IS_IN_A_RING_IS_FREE] = "lies in a ring with slots that the ledger has as free",
	[OUT_BEYOND_THE_SLAB] = "slots are out that it does not have",
	[OUT_OF_NO_SPAN] = "is out and belongs to no span",
	[OUT_NOT_COUNTED] = "has free slots to supply, listed otherwise",
	[ENTRY_SHARED] = "of the ring is not what was put in",
	[ENTRY_PRIVATE_PAGE] = "names no slabs of the class",
	[ENTRY_PRIVATE_SLAB] = "names no slabs of the class",
	[ENTRY_TWICE] = "lies in two ring entries",
	[ENTRY_GARBAGE] = "names no slabs of the class",
	[TAIL_SHARED] = "is not what the ledger says",
	[TAIL_PRIVATE] = "is not what the ledger says",
	[TAIL_FAR] = "is not what the ledger says",
	[RING_BYTES] = "bytes in its ring, counted as",
	[RING_BYTES_OF_ALL] = "bytes in rings, counted as",
	[STATE_NOT_RINGED] = "lies in a ring and its span does not know",
	[STATE_RINGED] = "its span has it in a ring, the rings do not",
	[STATE_READY] = "has no free slots to supply, listed otherwise",
	[STATE_NOT_READY] = "has free slots to supply, listed otherwise",
	[STATE_BUSY] = "slabs in use, counted as",
	[STATE_OUT] = "slots are out, counted as",
	[STATE_QUARTER] = "in quarter",
	[STATE_NOT_LISTED] = "has slabs to supply, listed otherwise",
	[STATE_GONE] = "has a record that makes no sense",
	[LIST_CUT] = "its list of spans with slabs to supply is broken",
	[LIST_LOOP] = "its list of spans with slabs to supply is broken",
	[OWNER_GONE] = "belongs to another",
	[OWNER_WILD] = "belongs to another",
	[PAGE_OF_NONE] = "is outside a span and taken in the page map",
	[PAGE_OF_ANOTHER] = "belongs to a span that does not cover it",
	[PAGE_IN_THE_MIDDLE] = "is not wholly in its span",
	[PAGE_FREE_IN_MAP] = "is not wholly in its span",
	[PAGE_TAKEN_IN_MAP] = "is outside a span and taken in the page map",
	[SPAN_CLASS] = "is not cut as its class 7 says",
	[SPAN_CLASS_WILD] = "has a record that makes no sense",
	[SPAN_SIZE] = "is not cut as its class 4 says",
	[SPAN_SLOTS_ZERO] = "has a record that makes no sense",
	[SPAN_SLOTS_MANY] = "has a record that makes no sense",
	[SPAN_SLAB_SLOTS_ZERO] = "has a record that makes no sense",
	[SPAN_PAGES_MANY] = "has a record that makes no sense",
	[SPAN_SLAB0_WILD] = "has a record that makes no sense",
	[SPAN_MAGIC] = "is not cut as its class 4 says",
	[SPAN_LARGE_SLOTS] = "is not cut as its class 72 says",
	[SLAB_NUMBERS_LOST] = "units of slab numbers",
	[PAGES_COUNT] = "pages in spans, counted as",
	[PAGES_GONE] = "is in a span and given back",
	[GONE_COUNT] = "pages are given back, counted as",
	[COMMITTED_COUNT] = "chunks are committed, counted as",
	[CURRENT_FREE_IN_LEDGER] = "a client holds free what the ledger has as free (0x4)",
	[CURRENT_IN_RING] = "a client holds what lies in a ring",
	[CURRENT_TWICE] = "slots 0x2 are free in two places",
	[CURRENT_WILD] = "1 words of clients name no slab",
	[SPARE_IN_RING] = "a client holds what lies in a ring",
	[SPARE_TWICE] = "are free in two places",
	[SPARE_WILD] = "1 words of clients name no slab",
	[COUNT_OUT] = "bytes are out, counted as",
	[COUNT_GIVEN] = "bytes are out; of those ever given, ",
	[COUNT_TAKEN] = "bytes are out; of those ever given, ",
	[COUNT_LARGE] = "bytes in large objects, counted as",
	[COUNT_CLASS_SPANS] = "class 4: ",
	[COUNT_CLASS_OUT] = "slots out; counted otherwise",
};

START_TEST(what_is_planted_is_found)
{
	plant((enum plant)_i);
	finds(words[_i]);
}
END_TEST

/* A named root whose object is the slot of that number, of the slab whose slots mine[0] names. */
static void root_plant(uint64_t address)
{
	tables->roots[0] = (struct heapd_root_record){ .name = "planted", .object = address, .state = 1 };
	tables->directory->nroots = 1;
}

START_TEST(what_roots_lead_to_is_counted)
{
	uint32_t k = heapd_entry_slab(mine.entry);
	uint64_t *object = (uint64_t *)(void *)testheap_slot(&t, span, k, 1);
	struct heapd_verify_reply r;

	root_plant((uint64_t)(uintptr_t)object);
	object[3] = t.heap->t.base + ((uint64_t)large << HEAPD_PAGE_SHIFT) + 50000;
	object[4] = base_of(ringed_span, 0); /* may be no pointer: no finding */
	r = testheap_verify(&t);
	ck_assert_msg(!r.faults, "%s", r.first);
	ck_assert_uint_eq(r.reachable_objects, 2);
	ck_assert_uint_eq(r.reachable, 80 + tables->spans[large].elemsize);
	ck_assert_uint_eq(r.dangling, 0);
}
END_TEST

/* In a ring, in a current slab, in a spare, in the ledger, and where no span is. */
static void dangle(int where)
{
	uint32_t k = heapd_entry_slab(mine.entry);
	uint64_t slot = (uint64_t)(uintptr_t)testheap_slot(&t, span, k, 5);

	root_plant(slot);
	if (where == 0)
		root_plant(base_of(ringed_span, ringed_slab - tables->spans[ringed_span].slab0));
	if (where == 1)
		*cas_word(0, CLASS) = (struct heapd_pair){ base_of(span, k), 1ull << 5 };
	if (where == 2)
		t.threads[0].spares[0] = mine;
	if (where == 3)
		spans_slots_free(&s->spans, span, k, 1ull << 5);
	if (where == 4)
		root_plant(t.heap->t.base + t.heap->t.size - 64);
}

START_TEST(a_root_to_a_free_slot_is_found)
{
	struct heapd_verify_reply r;

	dangle(_i);
	finds("I5: root \"planted\" points to 0x");
	t.threads[1].freed = 1;
	r = testheap_verify(&t);
	ck_assert_msg(!r.faults, "%s", r.first);
	ck_assert_uint_eq(r.dangling, 1);
	ck_assert(strstr(r.dangling_first, "which is free"));
}
END_TEST

START_TEST(waiting_demand_and_moved_heads_are_no_faults)
{
	struct heapd_batch b;

	testheap_demand(&t, CLASS);
	testheap_demand(&t, HEAPD_CLASS_MAX - 1);
	ck_assert(testheap_take(&t, CLASS, &b));
	testheap_is_clean(&t);
	ck_assert_uint_eq(testheap_verify(&t).in_rings, s->ring_bytes);
	tables->heads[CLASS].head = UINT64_MAX;
	testheap_is_clean(&t);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("verify");
	TCase *clean = tcase_create("clean"), *planted = tcase_create("planted");

	tcase_add_checked_fixture(clean, setup, teardown);
	tcase_add_test(clean, a_clean_heap_adds_up);
	tcase_add_test(clean, waiting_demand_and_moved_heads_are_no_faults);
	tcase_add_test(clean, what_roots_lead_to_is_counted);
	tcase_add_loop_test(clean, a_root_to_a_free_slot_is_found, 0, 5);
	tcase_add_checked_fixture(planted, setup, teardown);
	tcase_add_loop_test(planted, what_is_planted_is_found, 0, PLANTS);
	suite_add_tcase(suite, clean);
	suite_add_tcase(suite, planted);
	return testheap_run(suite);
}
