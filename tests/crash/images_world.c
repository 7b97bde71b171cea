/* SPDX-License-Identifier: MIT */
/*
 * Owns the judgement of an image: that what clients have, and what they were told, is so.
 *
 *   slots     what is a client's is out, and in no ring; what is out is somebody's: a client's, a ring's, or was let go of    (I1)
 *   words     of sessions, named roots, tickets and types: what the daemon has said is there                                  (I9)
 *   cells     a weak cell leads to an object in use; to one that was let go of, or nowhere
 *   zeroes    what a ring says is all zero is
 *   tables    what heapctl verify looks at                                                                                    (I1 to I8)
 *
 * A client that is between two steps of its own has slots in its hands that are nowhere yet: `hands` says so.
 */
#include "images_world.h"

#include <err.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/ledger.h"
#include "daemon/roots.h"
#include "daemon/supply.h"
#include "daemon/types.h"
#include "daemon/verify.h"
#include "images_daemon.h"
#include "images_tape.h"

struct world *world_make(void)
{
	int fd = memfd_create("world", MFD_CLOEXEC);
	struct world *w;

	if (fd < 0 || ftruncate(fd, sizeof(*w)) < 0)
		err(1, "the world");
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (w == MAP_FAILED)
		err(1, "the world");
	tape_file(fd, sizeof(*w));
	tape_map(w, sizeof(*w), fd);
	close(fd);
	return w;
}

void world_own(struct world *w, uint32_t slab, uint64_t mask)
{
	if (w->mine[slab] & mask)
		errx(1, "slab %u: slots 0x%" PRIx64 " are given twice", slab, w->mine[slab] & mask);
	if (slab >= w->high)
		TAPE_SET(w->high, slab + 1);
	TAPE_SET(w->mine[slab], w->mine[slab] | mask);
	if (w->left[slab] & mask)
		TAPE_SET(w->left[slab], w->left[slab] & ~mask);
}

void world_leave(struct world *w, uint32_t slab, uint64_t mask)
{
	TAPE_SET(w->left[slab], w->left[slab] | mask);
	TAPE_SET(w->mine[slab], w->mine[slab] & ~mask);
}

void world_tidy(struct world *w, const struct heap *heap)
{
	uint64_t n = heap->ledger->head->numbers_high * HEAPD_SLAB_UNIT;

	for (uint64_t slab = 0; slab < n; slab++)
		if (w->left[slab] & ~heap->t.out[slab])
			TAPE_SET(w->left[slab], w->left[slab] & heap->t.out[slab]);
}

bool world_has_cell_of(const struct world *w, uint64_t object)
{
	for (unsigned i = 0; i < WORLD_CLIENTS * WORLD_CELLS; i++)
		if (w->cells[i / WORLD_CELLS][i % WORLD_CELLS].cell &&
		    w->cells[i / WORLD_CELLS][i % WORLD_CELLS].object == object)
			return true;
	return false;
}

void world_let_go(struct world *w, uint64_t object, bool is_freed)
{
	for (unsigned i = 0; i < WORLD_CLIENTS * WORLD_CELLS; i++) {
		struct world_cell *c = &w->cells[i / WORLD_CELLS][i % WORLD_CELLS];

		if (!c->cell || c->object != object)
			continue;
		if (is_freed)
			TAPE_SET(c->object, 0);
		else
			TAPE_SET(c->is_let_go, 1);
	}
}

/* Judging ------------------------------------------------------------------------------------------------------------ */

struct judge {
	const struct world *w;
	struct images_daemon *d;
	struct heap *heap;
	uint64_t *ringed; /* by slab: slots that lie in rings */
	char *text;       /* what is wrong; empty: nothing */
};

static uint64_t ringed[WORLD_SLABS];
static char text[512];

__attribute__((format(printf, 2, 3))) static void wrong(struct judge *j, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!*j->text)
		vsnprintf(j->text, sizeof(text), format, args);
	va_end(args);
}

static void judge_zeroes(struct judge *j, uint32_t first, uint32_t k, uint64_t slots)
{
	const struct heapd_span *span = &j->heap->t.spans[first];
	const char *at = (const char *)(uintptr_t)(j->heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) +
						   heapd_slab_offset(span, k));

	for (; slots; slots &= slots - 1) {
		const uint64_t *words =
			(const uint64_t *)(const void *)(at +
							 (uint64_t)__builtin_ctzll(slots) * span->elemsize);

		for (uint64_t i = 0; i < span->elemsize / 8; i++)
			if (words[i])
				wrong(j, "slab %u of the span at page %u is said to be zero, and is not", k,
				      first);
	}
}

static void judge_entry(struct judge *j, uint64_t entry)
{
	uint32_t first = heapd_entry_page(entry), slab0 = j->heap->t.spans[first].slab0;

	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t k = heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present);
		uint64_t slots = j->heap->t.supplied[slab0 + k];

		j->ringed[slab0 + k] |= slots;
		if (slots & j->w->mine[slab0 + k])
			wrong(j, "slab %u: slots 0x%" PRIx64 " are a client's, and in a ring", slab0 + k,
			      slots & j->w->mine[slab0 + k]);
		if (entry & HEAPD_ENTRY_ZEROED)
			judge_zeroes(j, first, k, slots);
	}
}

static void judge_rings(struct judge *j)
{
	for (uint32_t class = 0; class < j->heap->t.directory->nclasses; class ++)
		for (uint64_t at = j->heap->t.heads[class].head; at < j->heap->t.rings[class].tail; at++)
			judge_entry(j, j->heap->t.rings[class].slots[at % HEAPD_RING_SLOTS]);
}

static void judge_slots(struct judge *j)
{
	uint64_t n = j->heap->ledger->head->numbers_high * HEAPD_SLAB_UNIT;

	for (uint32_t slab = 0; slab < n || slab < j->w->high; slab++) {
		uint64_t out = slab < n ? j->heap->t.out[slab] : 0, mine = j->w->mine[slab],
			 lost = out & ~(mine | j->w->left[slab] | j->ringed[slab]);

		if (mine & ~out)
			wrong(j, "slab %u: slots 0x%" PRIx64 " are a client's, and free", slab, mine & ~out);
		if (lost && !j->w->hands)
			wrong(j, "slab %u: slots 0x%" PRIx64 " are out, and nobody's", slab, lost);
	}
}

/* After a recovery: it may have been taken back already, and would be once more, from whoever has it by then. */
static bool has_handed_back(const struct session *session)
{
	const struct client *client = &session->heap->clients->slots[session->index];
	uint32_t n;
	const struct heapd_thread *threads = client_threads(client, &n);

	for (uint32_t t = 0; t < n; t++)
		if (threads[t].handback_head != threads[t].handback_tail)
			return true;
	return false;
}

static void judge_sessions(struct judge *j)
{
	for (unsigned i = 0; i < WORLD_CLIENTS; i++) {
		uint64_t id = j->w->clients[i];
		const struct session *session = id ? sessions_find(&j->d->sessions, id) : NULL;

		if (id && (!session || session->memory.core->id != id))
			wrong(j, "session %" PRIu64 " is not there", id);
		if (session && j->w->unspoken[i] < 2 && !session->pid != !!j->w->unspoken[i])
			wrong(j, "session %" PRIu64 ": has it spoken?", id);
		if (session && j->heap->adopted && has_handed_back(session))
			wrong(j, "session %" PRIu64 ": what it handed back was not taken back", id);
	}
}

void world_root_name(unsigned i, char name[HEAPD_NAME_MAX])
{
	snprintf(name, HEAPD_NAME_MAX, "root%u", i);
}

static uint64_t root_of(const struct heap *heap, const char *name)
{
	for (unsigned i = 0; i < HEAPD_ROOT_MAX && heap->t.roots[i].state; i++)
		if (strcmp(heap->t.roots[i].name, name) == 0)
			return heap->t.roots[i].object;
	return 0;
}

static void judge_roots(struct judge *j)
{
	char name[HEAPD_NAME_MAX];

	for (unsigned i = 0; i < WORLD_ROOTS; i++) {
		uint64_t object;

		world_root_name(i, name);
		object = root_of(j->heap, name);
		if (object != j->w->roots[i] && (object != j->w->asked || !j->w->hands))
			wrong(j, "root '%s' holds 0x%" PRIx64 ", and is to hold 0x%" PRIx64, name, object,
			      j->w->roots[i]);
	}
}

static void judge_tickets(struct judge *j)
{
	struct ledger *ledger = j->heap->ledger;

	for (unsigned i = 0; i < WORLD_TICKETS; i++) {
		bool found = !j->w->tickets[i].object;

		for (unsigned t = 0; t < 64 && !found; t++)
			found = ledger->tickets[t].end &&
				ledger->tickets[t].object == j->w->tickets[i].object &&
				strncmp(ledger->tickets[t].text, j->w->tickets[i].text,
					sizeof(ledger->tickets[t].text)) == 0;
		if (!found)
			wrong(j, "ticket %.63s is not there", j->w->tickets[i].text);
	}
}

static void judge_types(struct judge *j)
{
	for (unsigned i = 0; i < WORLD_TYPES; i++)
		if (j->w->types[i] && (!types_record(j->heap, (uint32_t)j->w->types[i]) ||
				       !types_class_record(j->heap, (uint32_t)j->w->classes[i])))
			wrong(j, "type %" PRIu64 " is not there", j->w->types[i]);
}

static void judge_cell(struct judge *j, const struct world_cell *c)
{
	uint64_t word = *(const uint64_t *)(uintptr_t)c->cell & ~(uint64_t)HEAPD_WEAK_TOUCHED;

	if (!c->object)
		return;
	if (word != c->object && (word || !c->is_let_go))
		wrong(j, "the weak cell at 0x%" PRIx64 " holds 0x%" PRIx64 ", and is to hold 0x%" PRIx64,
		      c->cell, word, c->object);
	if (word && !(j->heap->t.out[c->slab] & c->bit))
		wrong(j, "the weak cell at 0x%" PRIx64 " holds 0x%" PRIx64 ", which is free", c->cell, word);
}

static void judge_cells(struct judge *j)
{
	for (unsigned i = 0; i < WORLD_CLIENTS * WORLD_CELLS; i++)
		if (j->w->cells[i / WORLD_CELLS][i % WORLD_CELLS].cell)
			judge_cell(j, &j->w->cells[i / WORLD_CELLS][i % WORLD_CELLS]);
}

static void judge_tables(struct judge *j)
{
	struct heapd_verify_reply reply = { 0 };

	if (verify_heap(j->heap, &reply) < 0)
		wrong(j, "it cannot be verified");
	if (reply.faults)
		wrong(j, "%" PRIu64 " faults: %s", reply.faults, reply.first);
	if (reply.dangling)
		wrong(j, "%s", reply.dangling_first);
}

const char *world_judge(const struct world *w, struct images_daemon *d)
{
	struct judge j = { .w = w, .d = d, .heap = d->heap, .ringed = ringed, .text = text };
	uint64_t n = d->heap->ledger->head->numbers_high * HEAPD_SLAB_UNIT;

	*text = '\0';
	memset(ringed, 0, n * sizeof(*ringed));
	judge_rings(&j);
	judge_slots(&j);
	judge_sessions(&j);
	judge_roots(&j);
	judge_tickets(&j);
	judge_types(&j);
	judge_cells(&j);
	judge_tables(&j);
	return *text ? text : NULL;
}
