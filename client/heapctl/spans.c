/* SPDX-License-Identifier: MIT */
/*
 * spans.c - owns how heapctl reads the span table.
 *
 * Spans come and go meanwhile, and a heap that is looked at may be broken: so each record is copied once, checked
 * against the geometry and what came before it, and the copy is used. What heapctl does with it then stays inside its
 * maps whatever the record says. The tables of pages and spans are read from their file, not by the mapping, and spans
 * that lie in holes are refused: to read a hole of a mapped memory file makes it memory (holes.h), and most of these are.
 */
#include "spans.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_PAGES 16384u
#define SPAN_TRIES  3u

static bool slots_fit(const struct heapd_span *s)
{
	uint64_t bytes = (uint64_t)s->npages << HEAPD_PAGE_SHIFT;

	if (s->elemsize < 8 || s->elemsize % 8 || s->elemsize > bytes || !s->nslots)
		return false;
	if (s->nslots > bytes / s->elemsize || !s->slab_slots || s->slab_slots > 64)
		return false;
	return s->nslots == 1 ||
	       (s->magic == heapd_span_magic(s->elemsize) && s->slab_slots == heapd_slab_slots(s->elemsize));
}

static bool span_valid(const struct ctl *ctl, const struct heapd_span *s, uint32_t page)
{
	const struct heapd_geometry *g = &ctl->heap->geometry;

	return s->npages && s->npages <= g->pages - page && slots_fit(s) &&
	       s->class < HEAPD_LOAD_ACQUIRE(&ctl_directory(ctl)->nclasses) && s->class < HEAPD_CLASS_MAX &&
	       s->slab0 < g->slabs && heapd_span_slabs(s) <= g->slabs - s->slab0;
}

/* The words that say what of it is given out are memory: not before one of their neighbours has been written. */
static bool slabs_known(const struct ctl *ctl, const struct heapd_span *s, struct holes *directory)
{
	return holes_none(directory, ctl->heap->geometry.out_at + s->slab0 * UINT64_C(8),
			  heapd_span_slabs(s) * UINT64_C(8));
}

/*
 * The span that begins at the page, if the record can be one and all of it is memory. By the file, not the mapping. Tried
 * more than once: it may change while it is read.
 */
static bool span_read(const struct ctl *ctl, struct spans *spans, uint32_t page, struct heapd_span *s)
{
	off_t at = (off_t)(ctl->heap->geometry.span_at + page * sizeof(*s));

	for (unsigned i = 0; i < SPAN_TRIES; i++)
		if (pread(ctl->heap->directory_fd, s, sizeof(*s), at) == (ssize_t)sizeof(*s) &&
		    span_valid(ctl, s, page) &&
		    holes_none(&spans->heap, (uint64_t)page << HEAPD_PAGE_SHIFT,
			       (uint64_t)s->npages << HEAPD_PAGE_SHIFT))
			return true;
	return false;
}

static bool spans_add(const struct ctl *ctl, struct spans *spans, const struct heapd_span *s, uint32_t page)
{
	struct span_copy *list = spans->list;

	if (spans->n == spans->room) {
		uint64_t bytes = (spans->room ? spans->room * 2 : 1024) * sizeof(*list);

		list = spans->room ? store_grow(&spans->store, bytes) : store_make(&spans->store, bytes);
		if (!list)
			return false;
		spans->list = list;
		spans->room = bytes / sizeof(*list);
	}
	list[spans->n++] = (struct span_copy){
		.span = *s,
		.page = page,
		.slabs = slabs_known(ctl, s, &spans->directory) ? heapd_span_slabs(s) : 0,
		.first = spans->slots,
	};
	spans->slots += s->nslots;
	return true;
}

/* Where the last one found ends. */
static uint64_t spans_end(const struct spans *spans)
{
	const struct span_copy *last = spans->n ? &spans->list[spans->n - 1] : NULL;

	return last ? last->page + (uint64_t)last->span.npages : 0;
}

static bool chunk_read(const struct ctl *ctl, uint64_t page, uint32_t n, uint32_t *table)
{
	off_t at = (off_t)(ctl->heap->geometry.page_span_at + page * sizeof(*table));

	return pread(ctl->heap->directory_fd, table, n * sizeof(*table), at) == (ssize_t)(n * sizeof(*table));
}

/* Whether the page table says, now, that a span begins there. */
static bool span_begins(const struct ctl *ctl, uint32_t page)
{
	uint32_t first;

	return chunk_read(ctl, page, 1, &first) && first == page + 1;
}

static bool spans_meet(const struct ctl *ctl, struct spans *spans, uint32_t page)
{
	struct heapd_span s;

	if (page < spans_end(spans)) {
		/* Unless the one before has gone, and this was cut from its pages. */
		spans->broken += span_begins(ctl, page) && span_begins(ctl, spans->list[spans->n - 1].page);
		return true;
	}
	if (span_read(ctl, spans, page, &s))
		return spans_add(ctl, spans, &s, page);
	/* It may just be going. */
	if (span_begins(ctl, page)) {
		spans->broken++;
		spans->wrong = page + 1;
	}
	return true;
}

/* The first page of the span that the page is one of, and its record. */
static bool span_find(const struct ctl *ctl, struct spans *spans, uint64_t page, struct heapd_span *s,
		      uint32_t *first)
{
	if (page >= ctl->heap->geometry.pages || !chunk_read(ctl, page, 1, first) || !*first ||
	    --*first > page)
		return false;
	return span_read(ctl, spans, *first, s) && page - *first < s->npages;
}

/* What the page table says of a page where no span begins: of the one met last up to its end, else of none. */
static bool entry_fits(const struct spans *spans, uint32_t page, uint32_t entry)
{
	return entry == (page < spans_end(spans) ? spans->list[spans->n - 1].page + 1 : 0);
}

/* Spans come and go: wrong is an entry that goes on leading nowhere. */
static bool entry_wrong(const struct ctl *ctl, struct spans *spans, uint32_t page)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct heapd_span s;
	uint32_t entry, first;

	for (unsigned i = 0; i < SPAN_TRIES; i++) {
		if (!chunk_read(ctl, page, 1, &entry) || entry_fits(spans, page, entry) ||
		    span_find(ctl, spans, page, &s, &first))
			return false;
		if (!spans->broken)
			nanosleep(&pause, NULL);
	}
	/* One of a record that is left out is told of by that. */
	return entry != spans->wrong;
}

/* False: no memory. */
static bool entry_take(const struct ctl *ctl, struct spans *spans, uint32_t page, uint32_t entry)
{
	if (entry == page + 1)
		return spans_meet(ctl, spans, page);
	if (!entry_fits(spans, page, entry) && entry_wrong(ctl, spans, page))
		spans->broken++;
	return true;
}

static int spans_read(const struct ctl *ctl, struct spans *spans, uint32_t *table)
{
	for (uint64_t page = 0; page < spans->pages; page += CHUNK_PAGES) {
		uint32_t n = spans->pages - page < CHUNK_PAGES ? (uint32_t)(spans->pages - page)
							       : CHUNK_PAGES;

		if (!chunk_read(ctl, page, n, table))
			return ctl_say(CTL_TROUBLE, "the directory of heap '%s' cannot be read",
				       ctl->heap->name);
		for (uint32_t i = 0; i < n; i++)
			if (!entry_take(ctl, spans, (uint32_t)page + i, table[i]))
				return ctl_say(CTL_TROUBLE,
					       "no room for the spans: %s (TMPDIR says where it goes)",
					       strerror(errno));
	}
	return CTL_OK;
}

int spans_load(const struct ctl *ctl, struct spans *spans)
{
	uint32_t *table = malloc(CHUNK_PAGES * sizeof(*table));
	int status;

	*spans = (struct spans){ .pages = ctl->heap->geometry.pages,
				 .heap.fd = ctl->heap->heap_fd,
				 .directory.fd = ctl->heap->directory_fd };
	if (!table)
		return ctl_say(CTL_TROUBLE, "out of memory");
	status = spans_read(ctl, spans, table);
	free(table);
	if (status != CTL_OK)
		spans_free(spans);
	else if (spans->broken)
		ctl_broken(ctl, "%llu spans and pages make no sense and are left out",
			   (unsigned long long)spans->broken);
	return status;
}

void spans_free(struct spans *spans)
{
	store_free(&spans->store);
	*spans = (struct spans){ 0 };
}

const struct span_copy *spans_look(const struct ctl *ctl, struct spans *spans, uint64_t page)
{
	struct heapd_span s;
	uint32_t first;

	if (!span_find(ctl, spans, page, &s, &first) || !spans_add(ctl, spans, &s, first))
		return NULL;
	return &spans->list[spans->n - 1];
}

bool span_stands(const struct ctl *ctl, const struct span_copy *s)
{
	const struct heapd_span *now = &ctl->heap->t.spans[s->page];

	return HEAPD_LOAD_ACQUIRE(&ctl->heap->t.page_span[s->page]) == s->page + 1 &&
	       HEAPD_READ_ONCE(now->elemsize) == s->span.elemsize &&
	       HEAPD_READ_ONCE(now->npages) == s->span.npages &&
	       HEAPD_READ_ONCE(now->nslots) == s->span.nslots &&
	       HEAPD_READ_ONCE(now->slab0) == s->span.slab0 && HEAPD_READ_ONCE(now->class) == s->span.class;
}

bool spans_awake(const struct ctl *ctl, struct spans *spans, uint32_t place)
{
	struct span_copy *s = &spans->list[place];

	if (slabs_known(ctl, &s->span, &spans->directory))
		s->slabs = heapd_span_slabs(&s->span);
	return s->slabs;
}

bool slot_look(const struct ctl *ctl, uint64_t address, struct slot_state *state)
{
	uint64_t offset = address - ctl->heap->t.base, slot;
	const struct heapd_slab_past *past;
	struct spans spans = { .heap.fd = ctl->heap->heap_fd, .directory.fd = ctl->heap->directory_fd };
	struct heapd_span s;
	uint32_t first, slab;

	if (offset >= ctl->heap->t.size || !span_find(ctl, &spans, offset >> HEAPD_PAGE_SHIFT, &s, &first) ||
	    !slabs_known(ctl, &s, &spans.directory))
		return false;
	slot = s.nslots == 1 ? 0 : (offset - ((uint64_t)first << HEAPD_PAGE_SHIFT)) / s.elemsize;
	if (slot >= s.nslots)
		return false;
	slab = s.slab0 + (uint32_t)(slot / s.slab_slots);
	past = &ctl->heap->t.past[slab];
	if (!holes_none(&spans.directory, ctl->heap->geometry.past_at + slab * sizeof(*past), sizeof(*past)))
		return false;
	/* In this order: the bit is cleared before the slot is given out anew, so both were set when the first was read. */
	*state = (struct slot_state){
		.out = HEAPD_LOAD_ACQUIRE(&ctl->heap->t.out[slab]) >> slot % s.slab_slots & 1,
		.start = ctl->heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) + slot * s.elemsize,
		.class = s.class,
	};
	state->sampled = HEAPD_READ_ONCE(past->sampled) >> slot % s.slab_slots & 1;
	return true;
}

uint64_t span_out_slots(const struct ctl *ctl, const struct span_copy *s)
{
	uint64_t n = 0;

	for (uint32_t k = 0; k < s->slabs; k++)
		n += (uint64_t)__builtin_popcountll(span_out(ctl, s, k));
	return n;
}

struct class_name class_name(const struct ctl *ctl, uint32_t class)
{
	const struct heapd_class *c = &ctl->heap->t.classes[class < HEAPD_CLASS_MAX ? class : 0];
	static const char *const kinds[] = { "?", "", "[]", "+" };
	char name[HEAPD_NAME_MAX] = "?";
	uint32_t type = HEAPD_READ_ONCE(c->type), kind = HEAPD_READ_ONCE(c->kind);
	struct class_name result;

	if (type < HEAPD_TYPE_MAX)
		memcpy(name, ctl->heap->t.types[type].name, sizeof(name));
	name[sizeof(name) - 1] = 0;
	/* A built-in type's classes are all of one kind. */
	snprintf(result.text, sizeof(result.text), "%s%s", name[0] ? name : "?",
		 type < HEAPD_TYPE_BUILTIN ? ""
		 : kind < 4                ? kinds[kind]
					   : "?");
	return result;
}
