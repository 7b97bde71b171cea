/* SPDX-License-Identifier: MIT */
/*
 * roots.c - owns the named roots and tickets of a heap.
 *
 * Right because what a root is given must be the start of a slot of a span in use, so no request can make the
 * collector look anywhere else, and because all requests run in one thread, one after the other: whoever
 * offers first wins, and the others learn who did. Readers go to the directory: a record is complete before
 * its state is stored (release), and its object is one word.
 *
 * The collector reads named roots and tickets while requests change them. A root's change is one step with its shades
 * (collection.c). Tickets change, and are read by the collector, under the collection's mutex; the object of one
 * that ends is shaded first, and held for the client that took it (clients_hold()) before the ticket lets go of it.
 * Tickets stand in the ledger: one is in use when it has an end, which is one store.
 */
#include "roots.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clients.h"
#include "collection.h"
#include "heapd/atomic.h"
#include "ledger.h"
#include "slots.h"
#include "types.h"

#define TICKET_DIGITS 32u

_Static_assert(ROOTS_TICKETS_MAX == LEDGER_TICKETS, "the ledger has room for all");
_Static_assert(sizeof(((struct ledger_ticket *)NULL)->text) > TICKET_DIGITS, "a ticket's text has room");

struct roots {
	struct ledger_ticket *tickets; /* the ledger's */
	size_t high;                   /* those ever in use are below this */
	size_t n;
};

/* Of an adopted heap there may be some. */
int roots_init(struct heap *heap)
{
	struct ledger ledger;
	int r = ledger_init(&ledger, heap);

	if (r < 0)
		return r;
	heap->roots = calloc(1, sizeof(*heap->roots));
	if (!heap->roots)
		return -ENOMEM;
	heap->roots->tickets = ledger.tickets;
	for (size_t i = 0; ledger.head->complete && i < ROOTS_TICKETS_MAX; i++) {
		if (!ledger.tickets[i].end)
			continue;
		heap->roots->high = i + 1;
		heap->roots->n++;
	}
	return 0;
}

void roots_deinit(struct heap *heap)
{
	free(heap->roots);
	heap->roots = NULL;
}

/* With heap->lock held: spans come and go. A slot that is not out holds no object, whoever says so. */
static bool is_object(const struct heap *heap, uint64_t object)
{
	struct slot slot;

	return slot_find(&heap->t, object, &slot) && heap->t.base + slot.at * 8 == object &&
	       heap->t.out[slot.slab] >> slot.bit & 1;
}

static int check_object(struct heap *heap, uint64_t object, struct refusal *why)
{
	bool good;

	if (!object)
		return 0;
	heap_lock(heap);
	good = is_object(heap, object);
	heap_unlock(heap);
	if (good)
		return 0;
	return refuse(why, -EINVAL,
		      "0x%" PRIx64 " is not the start of an object of heap '%s'; give one, or NULL", object,
		      heap->name);
}

static struct heapd_root_record *root_find(const struct heap *heap, const char *name)
{
	uint32_t n = heap->t.directory->nroots;

	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(heap->t.roots[i].name, name) == 0)
			return &heap->t.roots[i];
	}
	return NULL;
}

static int root_make(struct heap *heap, const struct heapd_root_request *request,
		     struct heapd_root_record **root, struct refusal *why)
{
	uint32_t n = heap->t.directory->nroots;
	struct heapd_root_record *new = &heap->t.roots[n];

	if (n == HEAPD_ROOT_MAX)
		return refuse(why, -ENOSPC,
			      "heap '%s' has all of its %u named roots; put a table of your own under one",
			      heap->name, HEAPD_ROOT_MAX);
	*new = (struct heapd_root_record){ .type = request->type };
	memcpy(new->name, request->name, strlen(request->name));
	HEAPD_STORE_RELEASE(&new->state, 1);
	HEAPD_STORE_RELEASE(&heap->t.directory->nroots, n + 1);
	*root = new;
	return 0;
}

static void root_store(struct heap *heap, struct heapd_root_record *root, uint64_t object)
{
	collection_root_store(heap, &root->object, object);
	HEAPD_STORE_RELEASE(&root->version, root->version + 1);
}

static int check_request(struct heap *heap, const struct heapd_root_request *request,
			 const struct heapd_root_record *root, struct refusal *why)
{
	const struct heapd_type_record *type = types_record(heap, request->type);

	if (!type)
		return refuse(
			why, -EINVAL,
			"root '%s': heap '%s' has no type number %u; use the libheapd of the daemon's build",
			request->name, heap->name, request->type);
	if (root && root->type != request->type)
		return refuse(
			why, -EPROTOTYPE,
			"root '%s' holds objects of type '%s', not '%s'; give one of these, or use another name",
			request->name, heap->t.types[root->type].name, type->name);
	return check_object(heap, request->object, why);
}

/* Whether the request's object is to be stored; held: what the root holds. */
static bool is_won(enum heapd_op op, const struct heapd_root_request *request, uint64_t held)
{
	switch (op) {
	case HEAPD_OP_ROOT_OFFER:
		return !held;
	case HEAPD_OP_ROOT_CAS:
		return held == request->expected;
	default:
		return true;
	}
}

/* root: NULL if the name is free, which counts as holding NULL. */
static int change(struct heap *heap, enum heapd_op op, struct heapd_root_request *request,
		  struct heapd_root_record *root, struct refusal *why)
{
	bool won = is_won(op, request, root ? root->object : 0);
	int r = 0;

	if (!root && !won) {
		request->object = 0;
		return refuse(why, -EAGAIN, "there is no root '%s' by now; look again", request->name);
	}
	if (!root)
		r = root_make(heap, request, &root, why);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): refuse() returns what it is given, never 0 */
	if (won && request->object != root->object)
		root_store(heap, root, request->object);
	request->object = root->object;
	request->index = (uint32_t)(root - heap->t.roots);
	if (won || op == HEAPD_OP_ROOT_OFFER)
		return 0;
	return refuse(why, -EAGAIN, "root '%s' holds another object by now; look again", request->name);
}

int roots_change(struct heap *heap, enum heapd_op op, struct heapd_root_request *request, struct refusal *why)
{
	struct heapd_root_record *root;
	int r;

	r = refuse_name(why, "root", request->name, sizeof(request->name));
	if (r < 0)
		return r;
	root = root_find(heap, request->name);
	r = check_request(heap, request, root, why);
	if (r < 0)
		return r;
	return change(heap, op, request, root, why);
}

static int draw_text(char text[TICKET_DIGITS + 1])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[TICKET_DIGITS / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[TICKET_DIGITS] = '\0';
	return 0;
}

static int check_ticket(struct heap *heap, const struct heapd_ticket *ticket, struct refusal *why)
{
	if (ticket->seconds > ROOTS_TICKET_SECONDS_MAX)
		return refuse(why, -EINVAL, "a ticket for %u s; ask for at most %u", ticket->seconds,
			      ROOTS_TICKET_SECONDS_MAX);
	if (!ticket->object)
		return refuse(why, -EINVAL, "NULL gets no ticket; give an object");
	if (heap->roots->n == ROOTS_TICKETS_MAX)
		return refuse(why, -ENOSPC,
			      "heap '%s' has all of its %u tickets issued; take some, or issue them for "
			      "a shorter time",
			      heap->name, ROOTS_TICKETS_MAX);
	return check_object(heap, ticket->object, why);
}

static struct ledger_ticket *ticket_free(struct roots *roots)
{
	size_t i = 0;

	while (i < roots->high && roots->tickets[i].end)
		i++;
	return &roots->tickets[i];
}

/*
 * Nobody looks at what the ticket holds until its end is there: so it is shaded by itself. How many places there are is raised
 * with the mutex held, since the collector's thread goes by it (roots_look()).
 */
static void ticket_begin(struct heap *heap, struct ledger_ticket *t, uint64_t object, uint64_t end)
{
	struct roots *roots = heap->roots;

	collection_shade(heap, object);
	pthread_mutex_lock(&heap->collection->mutex);
	if (t == &roots->tickets[roots->high])
		roots->high++;
	t->object = object;
	HEAPD_STORE_RELEASE(&t->end, end);
	roots->n++;
	pthread_mutex_unlock(&heap->collection->mutex);
	/* A cycle may have begun in between. */
	collection_shade(heap, object);
}

int roots_ticket_issue(struct heap *heap, struct heapd_ticket *ticket, uint64_t now, struct refusal *why)
{
	struct ledger_ticket *t;
	int r;

	roots_tickets_expire(heap, now);
	r = check_ticket(heap, ticket, why);
	if (r < 0)
		return r;
	if (!ticket->seconds)
		ticket->seconds = ROOTS_TICKET_SECONDS;
	t = ticket_free(heap->roots);
	r = draw_text(t->text);
	if (r < 0)
		return refuse(why, r, "no random numbers are to be had; try again");
	ticket_begin(heap, t, ticket->object, now + ticket->seconds * UINT64_C(1000000000));
	memset(ticket->text, 0, sizeof(ticket->text));
	memcpy(ticket->text, t->text, TICKET_DIGITS);
	return 0;
}

static void ticket_end(struct heap *heap, size_t i)
{
	struct roots *roots = heap->roots;

	collection_shade(heap, roots->tickets[i].object);
	pthread_mutex_lock(&heap->collection->mutex);
	HEAPD_STORE_RELEASE(&roots->tickets[i].end, 0);
	roots->n--;
	pthread_mutex_unlock(&heap->collection->mutex);
}

int roots_ticket_take(struct heap *heap, unsigned client, struct heapd_ticket *ticket, uint64_t now,
		      struct refusal *why)
{
	struct roots *roots = heap->roots;

	roots_tickets_expire(heap, now);
	for (size_t i = 0; i < roots->high; i++) {
		if (!roots->tickets[i].end ||
		    strncmp(roots->tickets[i].text, ticket->text, sizeof(ticket->text)) != 0)
			continue;
		ticket->object = roots->tickets[i].object;
		clients_hold(heap, client, ticket->object);
		ticket_end(heap, i);
		return 0;
	}
	return refuse(why, -ENOENT,
		      "heap '%s' has no such ticket: it was taken, its time has passed, or it belongs to "
		      "another heap; issue a new one",
		      heap->name);
}

void roots_tickets_expire(struct heap *heap, uint64_t now)
{
	struct roots *roots = heap->roots;

	for (size_t i = roots->high; i-- > 0;) {
		if (roots->tickets[i].end && roots->tickets[i].end <= now)
			ticket_end(heap, i);
	}
}

void roots_look(struct heap *heap, void (*look)(void *arg, uint64_t object), void *arg)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->t.directory->nroots);

	pthread_mutex_lock(&heap->collection->mutex);
	for (uint32_t i = 0; i < n; i++)
		look(arg, heap->t.roots[i].object);
	for (size_t i = 0; i < heap->roots->high; i++)
		if (heap->roots->tickets[i].end)
			look(arg, heap->roots->tickets[i].object);
	pthread_mutex_unlock(&heap->collection->mutex);
}

size_t roots_tickets(const struct heap *heap)
{
	return heap->roots->n;
}
