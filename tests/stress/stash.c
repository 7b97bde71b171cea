/* SPDX-License-Identifier: MIT */
/*
 * Owns the stashes. What is known of a node beside its one pointer is its id and its size, and these lie in memory
 * that no scan looks at. So if the collector overlooks the place where the pointer is, the node is lost, and the next
 * look at it says so.
 *
 * A forked child has copies of all of the process's pins and ranges, those of other threads' stashes, too, and never
 * looks at these. So a node is freed by hand, or changed, only if no fork has begun since it was made: whoever copied its
 * pin had counted the fork before.
 */
#include "stash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture.h"

#include "graph.h"
#include "hide.h"

#define RANGE_BYTES (STASH_PLACES * sizeof(void *))

static void must(struct actor *a, int r)
{
	if (r < 0)
		stress_fail(a->stress, heapd_error(), NULL, (uint64_t)-r, 0);
}

/* The fields are those of a chain's end. */
static void fields_make(struct stash *s)
{
	struct actor *a = s->actor;
	struct node *chain =
		graph_chain(a, (unsigned)(node_random(a) % GRAPH_DEEP), NODE_LINKS, &s->inverted_fields);

	s->shared = false;
	s->chain = chain ? heapd_pin(a->heap, chain) : NULL;
	if (!s->chain)
		must(a, -ENOMEM);
}

struct stash *stash_open(struct actor *a, void *volatile words[STASH_WORDS])
{
	struct stash *s = (struct stash *)calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->actor = a;
	s->words = (void ***)(uintptr_t)words;
	s->range = (struct node **)calloc(1, RANGE_BYTES);
	s->local = (struct node **)calloc(1, RANGE_BYTES);
	if (!s->range || !s->local)
		return NULL;
	must(a, heapd_range_add(a->heap, s->range, RANGE_BYTES));
	must(a, heapd_local_add(a->heap, s->local, RANGE_BYTES));
	fields_make(s);
	return s;
}

static void *volatile *word_of(struct stash *s, unsigned kind, unsigned i)
{
	return (void *volatile *)s->words + (kind - STASH_STACK) * STASH_PLACES + i;
}

static struct node **field_of(struct stash *s, unsigned i)
{
	struct node *end = (struct node *)~s->inverted_fields;

	return &end->links[1 + i];
}

static struct node **burst_of(struct stash *s)
{
	struct node *end = (struct node *)~s->inverted_fields;

	return &end->links[0];
}

/* What stands on the stack for it. */
static size_t offset_of(const struct stash_place *p, unsigned kind)
{
	return kind == STASH_INSIDE ? 16 + p->id / 256 % (p->size - 16) : kind == STASH_PAST ? p->size : 0;
}

static void put(struct stash *s, unsigned kind, unsigned i, struct node *n, uint64_t forks)
{
	struct stash_place *p = &s->places[kind][i];
	struct actor *a = s->actor;

	p->id = n->id;
	p->forks = forks;
	p->size = (uint32_t)heapd_size(n);
	switch (kind) {
	case STASH_FIELD:
		heapd_store(field_of(s, i), n);
		break;
	case STASH_PIN:
		p->pin = (void **)heapd_pin(a->heap, n);
		if (!p->pin)
			must(a, -ENOMEM);
		break;
	case STASH_RANGE:
		heapd_store(&s->range[i], n);
		break;
	case STASH_LOCAL:
		s->local[i] = n;
		break;
	case STASH_TICKET:
		p->issued =
			fixture_now_ns(); /* before: the daemon's time runs while we wait for its answer */
		must(a, heapd_ticket_issue(a->heap, n, p->ticket, sizeof(p->ticket), STASH_TICKET_SECONDS));
		break;
	default:
		*word_of(s, kind, i) = (char *)n + offset_of(p, kind);
	}
}

static bool is_old(const struct stash_place *p)
{
	return fixture_now_ns() - p->issued > STASH_TICKET_SECONDS * UINT64_C(999000000);
}

/* A forked process may have it, too. It is in no place any more, or in none that a fork to come would copy. */
static bool is_shared(const struct stash *s, const struct stash_place *p)
{
	atomic_thread_fence(memory_order_seq_cst); /* its pin was cleared before */
	return atomic_load(s->actor->forks) != p->forks;
}

/* Out of its place, which is empty then. NULL: a ticket whose time had passed. */
static struct node *take(struct stash *s, unsigned kind, unsigned i)
{
	struct stash_place *p = &s->places[kind][i];
	struct node *n;

	switch (kind) {
	case STASH_FIELD:
		n = heapd_exchange(field_of(s, i), NULL);
		break;
	case STASH_PIN:
		n = (struct node *)heapd_take(p->pin);
		break;
	case STASH_RANGE:
		n = heapd_exchange(&s->range[i], NULL);
		break;
	case STASH_LOCAL:
		n = s->local[i];
		s->local[i] = NULL;
		break;
	case STASH_TICKET:
		n = (struct node *)heapd_ticket_take(s->actor->heap, p->ticket);
		break;
	default:
		n = (struct node *)(void *)((char *)*word_of(s, kind, i) - offset_of(p, kind));
		*word_of(s, kind, i) = NULL;
	}
	if (!n && !(kind == STASH_TICKET && errno == ENOENT && is_old(p)))
		stress_fail(s->actor->stress, heapd_error(), NULL, kind, p->id);
	return n;
}

static const char *const kind_names[STASH_KINDS] = {
	[STASH_FIELD] = "in a field",      [STASH_PIN] = "in a pin",
	[STASH_RANGE] = "in a range",      [STASH_LOCAL] = "in a local range",
	[STASH_STACK] = "on the stack",    [STASH_INSIDE] = "by an inner address",
	[STASH_PAST] = "one past its end", [STASH_TICKET] = "in a ticket",
};

/* The node and its children, which nothing else leads to. */
static void look(struct actor *a, const struct node *n, uint64_t id, const char *where)
{
	node_check(a, n, HOME_OWN, id, where);
	for (unsigned k = 0; k < NODE_LINKS; k++) {
		const struct node *child = n->links[k];

		if (!child)
			continue;
		node_check(a, child, HOME_CHILD, 0, where);
		if (child->info != id)
			stress_fail(a->stress, where, child, child->info, id);
	}
}

static struct node *own_new(struct actor *a)
{
	struct node *n = node_random(a) % 2 ? node_new(a, HOME_OWN, 0) : node_new_fixed(a, HOME_OWN, 0);

	for (unsigned k = 0; n && k < NODE_LINKS; k++)
		if (node_random(a) % 2)
			heapd_init(&n->links[k], node_new(a, HOME_CHILD, n->id));
	return n;
}

/* Children change places: one of them is in a register meanwhile, or nowhere but in the edit. */
static void children_turn(struct actor *a, struct node *n)
{
	struct node *last = heapd_load(&n->links[NODE_LINKS - 1]);

	if (node_random(a) % 2) {
		heapd_move(&n->links[1], &n->links[0], NODE_LINKS - 1);
		heapd_store(&n->links[0], last);
		return;
	}
	must(a, heapd_edit_begin(n->links, NODE_LINKS * sizeof(n->links[0])));
	last = n->links[NODE_LINKS - 1];
	memmove((void *)&n->links[1], (const void *)&n->links[0], (NODE_LINKS - 1) * sizeof(n->links[0]));
	n->links[0] = last;
	must(a, heapd_edit_end(n->links));
}

static struct node *hidden(struct actor *a, struct node *n, size_t bytes)
{
	uintptr_t inverted = ~(uintptr_t)n;

	__asm__ volatile("" : "+r"(inverted)); /* nobody remembers what it is the complement of */
	n = NULL;
	stack_wipe();
	inverted = hide(a, inverted, bytes);
	__asm__ volatile("" : "+r"(inverted));
	return (struct node *)~inverted;
}

/* Freed while its first child is in a register only. */
static void own_free(struct actor *a, struct node *n)
{
	uint64_t id = n->id;
	struct node *child = heapd_load(&n->links[0]);

	must(a, heapd_free(n));
	if (!child)
		return;
	node_garbage(a, 4);
	child = hidden(a, child, heapd_size(child));
	if (child->info != id)
		stress_fail(a->stress, "a freed node's child", child, child->info, id);
	node_check(a, child, HOME_CHILD, 0, "a freed node's child");
}

/* Into any place that is empty; out of sight if there is none. */
static void put_anywhere(struct stash *s, struct node *n, uint64_t forks)
{
	unsigned kind = (unsigned)(node_random(s->actor) % STASH_KINDS);

	/* A ticket is a message. */
	if (kind == STASH_TICKET && node_random(s->actor) % 8)
		kind = STASH_PAST;
	for (unsigned i = 0; i < STASH_PLACES; i++)
		if (!s->places[kind][i].id) {
			put(s, kind, i, n, forks);
			return;
		}
}

/* In a field while the thread sleeps, so that it logs nothing else; then out of it, and in a register alone. */
static struct node *lingered(struct stash *s, struct node *n, const struct stash_place *p)
{
	unsigned i = (unsigned)(node_random(s->actor) % STASH_PLACES);
	uint64_t id = n->id;
	size_t bytes = p->size;

	n = hidden(s->actor, n, bytes);
	if (i >= NODE_LINKS - 1 || s->places[STASH_FIELD][i].id)
		return n;
	heapd_store(field_of(s, i), n);
	usleep((useconds_t)(node_random(s->actor) % 3000));
	n = hidden(s->actor, heapd_exchange(field_of(s, i), NULL), bytes);
	look(s->actor, n, id, "lingered");
	return n;
}

static __attribute__((noinline)) void step_at(struct stash *s, unsigned kind, unsigned i)
{
	struct stash_place *p = &s->places[kind][i];
	struct actor *a = s->actor;
	uint64_t id = p->id, what = node_random(a) % 16, forks = atomic_load(a->forks);
	struct node *n;

	if (!id) {
		n = own_new(a);
		if (n)
			put(s, kind, i, n, forks);
		return;
	}
	n = take(s, kind, i);
	p->id = 0;
	if (!n)
		return;
	look(a, n, id, kind_names[kind]);
	if (what < 3)
		return;
	if (what < 5 && !is_shared(s, p)) {
		own_free(a, n);
		return;
	}
	if (what < 7 && !is_shared(s, p))
		children_turn(a, n);
	if (what < 11)
		n = hidden(a, n, p->size);
	look(a, n, id, "hidden");
	if (what == 11)
		n = lingered(s, n, p);
	put_anywhere(s, n, p->forks);
}

/* At the chain's very end, one node with many, so that neighbours are freed one after the other */

#define BURST 64u

static void burst_make(struct stash *s)
{
	struct actor *a = s->actor;
	struct node *all = heapd_new_flex(a->flex, struct node, links, BURST), *n;

	for (unsigned i = 0; all && i < BURST; i++) {
		n = node_new_fixed(a, HOME_OWN, 0);
		if (!n)
			return;
		heapd_init(&n->links[0], node_new_fixed(a, HOME_CHILD, n->id));
		heapd_init(&all->links[i], n);
	}
	if (all)
		heapd_store(burst_of(s), all);
}

/* All are freed but the child of one, which is in a register only when others get the memory. */
static void burst_free(struct stash *s, struct node *all)
{
	struct actor *a = s->actor;
	unsigned which = (unsigned)(node_random(a) % BURST);
	struct node *kept = NULL;
	uint64_t id = 0;

	for (unsigned i = 0; i < BURST; i++) {
		struct node *n = heapd_load(&all->links[i]);

		node_check(a, n, HOME_OWN, 0, "burst");
		if (i == which) {
			id = n->id;
			kept = heapd_load(&n->links[0]);
		}
		must(a, heapd_free(n));
	}
	if (!kept)
		return;
	while (which++ < 8 * BURST)
		heapd_keep(node_new_fixed(a, HOME_HOT, 0));
	kept = hidden(a, kept, sizeof(struct node_fixed));
	node_check(a, kept, HOME_CHILD, 0, "burst, a child");
	if (kept->info != id)
		stress_fail(a->stress, "burst, a child", kept, kept->info, id);
}

static __attribute__((noinline)) void burst_step(struct stash *s)
{
	struct node *all;

	if (s->shared)
		return;
	all = heapd_exchange(burst_of(s), NULL);
	if (all)
		burst_free(s, all);
	else
		burst_make(s);
}

void stash_step(struct stash *s)
{
	if (node_random(s->actor) % 32 == 0)
		burst_step(s);
	unsigned kind = (unsigned)(node_random(s->actor) % STASH_KINDS);

	if (kind == STASH_TICKET && node_random(s->actor) % 8)
		return;
	step_at(s, kind, (unsigned)(node_random(s->actor) % STASH_PLACES));
	stack_wipe();
}

static __attribute__((noinline)) void check_at(struct stash *s, unsigned kind, unsigned i)
{
	struct stash_place *p = &s->places[kind][i];
	struct node *n;

	if (!p->id || kind == STASH_TICKET)
		return;
	n = take(s, kind, i);
	look(s->actor, n, p->id, kind_names[kind]);
	put(s, kind, i, n, p->forks);
}

void stash_check(struct stash *s)
{
	for (unsigned kind = 0; kind < STASH_KINDS; kind++)
		for (unsigned i = 0; i < STASH_PLACES; i++)
			check_at(s, kind, i);
}

void stash_drop_stack(struct stash *s)
{
	for (unsigned kind = STASH_LOCAL; kind <= STASH_PAST; kind++)
		for (unsigned i = 0; i < STASH_PLACES; i++)
			if (s->places[kind][i].id) {
				take(s, kind, i);
				s->places[kind][i].id = 0;
			}
	must(s->actor, heapd_local_remove(s->actor->heap, s->local));
}

void stash_share(struct stash *s)
{
	s->shared = true;
}

/* The object with the fields is one in both processes, and a ticket is taken once. */
void stash_inherit(struct stash *s)
{
	for (unsigned i = 0; i < STASH_PLACES; i++)
		s->places[STASH_FIELD][i].id = s->places[STASH_TICKET][i].id = 0;
	must(s->actor, heapd_unpin(s->chain));
	fields_make(s);
}

void stash_close(struct stash *s)
{
	for (unsigned kind = 0; kind < STASH_KINDS; kind++)
		for (unsigned i = 0; i < STASH_PLACES; i++)
			if (s->places[kind][i].id)
				take(s, kind, i);
	must(s->actor, heapd_unpin(s->chain));
	must(s->actor, heapd_range_remove(s->actor->heap, s->range));
	heapd_local_remove(s->actor->heap, s->local);
	free(s->range);
	free(s->local);
	free(s);
}
