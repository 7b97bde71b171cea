/* SPDX-License-Identifier: MIT */
/*
 * Owns the shared structures. Right because every pointer goes through the heap's own stores, and because no
 * node is freed by hand: what a thread has in its hands cannot be another node by the time that it swaps.
 * Who meets a structure that has grown long cuts it, so all of it stays small.
 */
#include "graph.h"
#include "hide.h"

#include <errno.h>
#include <string.h>

#define LIST_LONG   200u
#define BUCKET_LONG 40u
#define DEEP        10u
#define TREE_DEEP   8u

struct node *graph_chain(struct actor *a, unsigned length, unsigned links, uintptr_t *inverted_end)
{
	struct node *head = node_new_flex(a, HOME_CHAIN, links), *n;

	*inverted_end = ~(uintptr_t)head;
	while (head && length--) {
		n = node_new_fixed(a, HOME_CHAIN, 0);
		if (!n)
			return NULL;
		heapd_init(&n->links[0], head);
		head = n;
	}
	return head;
}

/* The complement, so that no scan finds it: a root that led to the end would have it marked at once. */
static int deep_open(struct actor *a)
{
	struct node *n = heapd_load(&a->table->deep), *next, *none = NULL;

	if (!n) {
		n = graph_chain(a, GRAPH_DEEP, GRAPH_AGES, &a->inverted_deep);
		if (!n)
			return -ENOMEM;
		heapd_cas(&a->table->deep, &none, n);
		n = heapd_load(&a->table->deep);
	}
	for (; (next = heapd_load(&n->links[0])); n = next)
		node_check(a, n, HOME_CHAIN, 0, "chain");
	a->inverted_deep = ~(uintptr_t)n;
	return 0;
}

int graph_open(struct actor *a)
{
	heapd_type *type;

	a->fixed = heapd_type_define(a->heap, "node_fixed", struct node_fixed, links);
	a->flex = heapd_type_define_flex(a->heap, "node", struct node, links);
	type = heapd_type_define(a->heap, "table", struct table, lists, buckets, soup, head, tail, deep, hot,
				 cool, trees);
	if (!a->fixed || !a->flex || !type)
		return -errno;
	a->table = heapd_root(a->heap, "table", struct table, type);
	return a->table ? deep_open(a) : -errno;
}

static struct node **random_of(struct actor *a, struct node **places, unsigned n)
{
	return &places[node_random(a) % n];
}

/* Lists: links[0] leads on */

static void list_push(struct actor *a)
{
	struct node **head = random_of(a, a->table->lists, GRAPH_LISTS), *n = node_new(a, HOME_LIST, 0),
		    *first;

	if (!n)
		return;
	first = heapd_load(head);
	do
		heapd_store(&n->links[0], first);
	while (!heapd_cas(head, &first, n));
}

static void list_pop(struct actor *a)
{
	struct node **head = random_of(a, a->table->lists, GRAPH_LISTS), *n = heapd_load(head);

	while (n) {
		node_check(a, n, HOME_LIST, 0, "list, popped");
		if (heapd_cas(head, &n, heapd_load(&n->links[0])))
			break;
	}
	if (n)
		node_check(a, n, HOME_LIST, 0, "list, after the pop");
}

static void list_walk(struct actor *a)
{
	struct node **head = random_of(a, a->table->lists, GRAPH_LISTS), *n = heapd_load(head);
	unsigned length = 0;

	for (; n && length < LIST_LONG; n = heapd_load(&n->links[0]), length++)
		node_check(a, n, HOME_LIST, 0, "list, walked");
	if (length == LIST_LONG)
		heapd_store(head, NULL);
}

/* The map: ids end in their bucket's number */

static void map_insert(struct actor *a)
{
	unsigned b = (unsigned)(node_random(a) % GRAPH_BUCKETS);
	struct node **head = &a->table->buckets[b], *n = node_new(a, HOME_BUCKET + b, 0), *first;

	if (!n)
		return;
	first = heapd_load(head);
	do
		heapd_store_relaxed(&n->links[1], first);
	while (!heapd_cas(head, &first, n));
}

static void map_look(struct actor *a)
{
	unsigned b = (unsigned)(node_random(a) % GRAPH_BUCKETS), length = 0;
	struct node **head = &a->table->buckets[b], *n = heapd_load(head);

	for (; n && length < BUCKET_LONG; n = heapd_load(&n->links[1]), length++)
		node_check(a, n, HOME_BUCKET + b, 0, "map");
	if (length < BUCKET_LONG)
		return;
	/* What was cut off is looked at once more, when nobody else has it. */
	for (n = heapd_exchange(head, NULL); n; n = heapd_load(&n->links[1]))
		node_check(a, n, HOME_BUCKET + b, 0, "map, cut off");
}

/* Michael and Scott's queue; links[2] leads on */

static void queue_begin(struct actor *a)
{
	struct node *n = node_new(a, HOME_QUEUE, 0), *none = NULL;

	/* Tail follows head, so whoever sees a head without one waits. */
	if (n && heapd_cas(&a->table->head, &none, n))
		heapd_store(&a->table->tail, n);
}

static void queue_put(struct actor *a)
{
	struct node *n = node_new(a, HOME_QUEUE, 0), *tail, *none;

	while (n && (tail = heapd_load(&a->table->tail))) {
		node_check(a, tail, HOME_QUEUE, 0, "queue, tail");
		none = NULL;
		if (heapd_cas(&tail->links[2], &none, n)) {
			heapd_cas(&a->table->tail, &tail, n);
			return;
		}
		heapd_cas(&a->table->tail, &tail, none);
	}
}

static void queue_take(struct actor *a)
{
	struct node *head = heapd_load(&a->table->head), *tail = heapd_load(&a->table->tail), *next;

	if (!head) {
		queue_begin(a);
		return;
	}
	node_check(a, head, HOME_QUEUE, 0, "queue, head");
	next = heapd_load(&head->links[2]);
	/* Whoever began the queue may have been killed before it had a tail. */
	if (!tail)
		heapd_cas(&a->table->tail, &tail, head);
	if (!next || !tail)
		return;
	node_check(a, next, HOME_QUEUE, 0, "queue, next");
	if (head == tail)
		heapd_cas(&a->table->tail, &tail, next);
	else
		heapd_cas(&a->table->head, &head, next);
}

/* The soup */

static struct node *soup_any(struct actor *a)
{
	struct node *n = heapd_load(random_of(a, a->table->soup, GRAPH_SOUP)), *next;

	for (unsigned depth = 0; n; n = next, depth++) {
		struct node **link = random_of(a, n->links, NODE_LINKS);

		node_check(a, n, HOME_SOUP, 0, "soup");
		if (depth > DEEP)
			heapd_store(link, NULL);
		next = heapd_load(link);
		if (!next || node_random(a) % 4 == 0)
			break;
	}
	return n;
}

static void soup_add(struct actor *a)
{
	struct node *x = soup_any(a), *y = soup_any(a), *n = node_new(a, HOME_SOUP, 0);

	if (!n)
		return;
	heapd_init(&n->links[node_random(a) % 2], x);
	heapd_init(&n->links[2], y);
	heapd_store(random_of(a, a->table->soup, GRAPH_SOUP), n);
}

static void soup_rewire(struct actor *a)
{
	struct node *x = soup_any(a), *y = soup_any(a), *z;

	if (!x || !y)
		return;
	z = heapd_exchange(random_of(a, x->links, NODE_LINKS), y);
	node_check(a, x, HOME_SOUP, 0, "soup, rewired");
	if (z) {
		node_check(a, z, HOME_SOUP, 0, "soup, taken out");
		heapd_store(random_of(a, a->table->soup, GRAPH_SOUP), z);
	}
}

static void soup_cut(struct actor *a)
{
	struct node *x = soup_any(a);

	if (!x)
		return;
	if (node_random(a) % 2)
		heapd_zero(&x->links[1], 3);
	else
		heapd_move(&x->links[0], &x->links[2], 3);
}

static void soup_pour_away(struct actor *a)
{
	for (unsigned i = 0; i < GRAPH_SOUP; i++)
		heapd_store(&a->table->soup[i], NULL);
}

/* Trees: links[0] and links[1] lead down */

/* An empty place, by chance. What has grown deep is cut off there. */
static struct node **tree_bottom(struct actor *a)
{
	struct node **link = random_of(a, a->table->trees, GRAPH_TREES), *n;

	for (unsigned depth = 0; (n = heapd_load(link)); depth++) {
		node_check(a, n, HOME_TREE, 0, "tree");
		if (depth == TREE_DEEP) {
			heapd_store(link, NULL);
			break;
		}
		link = random_of(a, n->links, 2);
	}
	return link;
}

static void tree_grow(struct actor *a)
{
	struct node *n = node_new(a, HOME_TREE, 0), *none = NULL;

	if (n)
		heapd_cas(tree_bottom(a), &none, n);
}

/* Held by this thread alone now, and hidden for a while. */
static struct node *hold_hidden(struct actor *a, struct node *n, unsigned home, const char *where)
{
	uint64_t id = n->id;
	uintptr_t inverted = ~(uintptr_t)n;
	size_t bytes = heapd_size(n);

	__asm__ volatile("" : "+r"(inverted));
	n = NULL;
	inverted = hide(a, inverted, bytes);
	n = (struct node *)~inverted;
	node_check(a, n, home, id, where);
	return n;
}

/* From one place to another, or to none: all that hangs on it is this thread's meanwhile. */
static void tree_move(struct actor *a)
{
	struct node **link = random_of(a, a->table->trees, GRAPH_TREES), *n, *below, *none = NULL;

	while (node_random(a) % 4 && (n = heapd_load(link))) {
		node_check(a, n, HOME_TREE, 0, "tree, on the way");
		link = random_of(a, n->links, 2);
	}
	n = heapd_exchange(link, NULL);
	if (!n)
		return;
	node_check(a, n, HOME_TREE, 0, "tree, cut off");
	if (node_random(a) % 16 == 0)
		n = hold_hidden(a, n, HOME_TREE, "tree, hidden");
	below = heapd_load(random_of(a, n->links, 2));
	if (below)
		node_check(a, below, HOME_TREE, 0, "tree, below");
	heapd_cas(tree_bottom(a), &none, n);
}

/* From the end of the chain, which is white for long, to the table, which is soon black */

static struct node **deep_link(struct actor *a)
{
	struct node *end = (struct node *)~a->inverted_deep;

	return &end->links[1 + node_random(a) % (GRAPH_AGES - 1)];
}

static void deep_put(struct actor *a)
{
	struct node *n = node_new(a, HOME_HOT, 0), *none = NULL;

	if (n)
		heapd_cas(deep_link(a), &none, n);
}

static void deep_take(struct actor *a)
{
	struct node *n = heapd_exchange(deep_link(a), NULL);

	if (!n)
		return;
	node_check(a, n, HOME_HOT, 0, "deep");
	heapd_store(random_of(a, a->table->cool, GRAPH_COOL), n);
}

static void cool_look(struct actor *a)
{
	struct node *n = heapd_load(random_of(a, a->table->cool, GRAPH_COOL));

	if (n)
		node_check(a, n, HOME_HOT, 0, "cool");
}

/* Many store there, none of them looks at what was there before; and some hold on to what they saw. */
static void hot_put(struct actor *a)
{
	struct node *n = node_new_fixed(a, HOME_HOT, 0);

	if (n)
		heapd_store(random_of(a, a->table->hot, GRAPH_HOT), n);
}

static void hot_look(struct actor *a)
{
	struct node *n = heapd_load(random_of(a, a->table->hot, GRAPH_HOT));

	if (!n)
		return;
	node_check(a, n, HOME_HOT, 0, "hot");
	if (node_random(a) % 32 == 0)
		hold_hidden(a, n, HOME_HOT, "hot, hidden");
}

void graph_step(struct actor *a)
{
	static void (*const steps[])(struct actor *) = {
		list_push,   list_push, list_pop,   list_walk,  map_insert, map_insert, map_look,
		queue_put,   queue_put, queue_take, queue_take, queue_take, soup_add,   soup_add,
		soup_rewire, soup_cut,  deep_put,   deep_take,  deep_put,   deep_take,  hot_put,
		hot_put,     hot_look,  cool_look,  tree_grow,  tree_grow,  tree_move,
	};

	if (node_random(a) % 1024 == 0)
		soup_pour_away(a);
	steps[node_random(a) % (sizeof(steps) / sizeof(steps[0]))](a);
}
