/* SPDX-License-Identifier: MIT */
/*
 * share_heapd.c - the tree in a heap of heapd: plain pointers, found by a named root. The heap is collected.
 *
 * share_heapd SOCKET HEAP NODES
 */
#include <heapd.h>
#include <stdio.h>
#include <stdlib.h>

#include "share.h"

struct node {
	heapd_ptr(struct node) left;
	heapd_ptr(struct node) right;
	uint64_t key, payload[SHARE_PAYLOAD];
};

struct top {
	heapd_ptr(struct node) tree;
};

struct place {
	char **argv;
	heapd_heap *heap;
	heapd_type *nodes;
	struct top *top;
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench: share: %s: %s\n", what, heapd_error());
	exit(1);
}

static double committed(struct place *p)
{
	struct heapd_info info = HEAPD_SIZED(info);

	check(heapd_get_info(p->heap, &info) >= 0, "info");
	return (double)info.committed;
}

static void begin(struct share *s, bool reader)
{
	struct heapd_options options = heapd_options_default();
	struct place *p = s->arg;
	heapd_type *tops;

	options.socket = p->argv[1];
	options.client = "heapd-bench";
	check(heapd_attach(&p->heap, p->argv[2], &options) >= 0, "attach");
	p->nodes = heapd_type_define(p->heap, "share-node", struct node, left, right);
	tops = heapd_type_define(p->heap, "share-top", struct top, tree);
	check(p->nodes && tops, "types");
	p->top = heapd_root(p->heap, "share-top", struct top, tops);
	check(p->top, "root");
	if (!reader)
		s->shared[0] = committed(p);
}

static struct node *node_build(struct place *p, uint64_t i, uint64_t n)
{
	struct node *node = heapd_new(p->nodes, struct node);

	check(node, "allocate");
	node->key = share_key(i);
	if (2 * i + 1 < n)
		heapd_init(&node->left, node_build(p, 2 * i + 1, n));
	if (2 * i + 2 < n)
		heapd_init(&node->right, node_build(p, 2 * i + 2, n));
	return node;
}

static void build(struct share *s)
{
	struct place *p = s->arg;

	heapd_store(&p->top->tree, node_build(p, 0, s->nodes));
}

static void hand_over(struct share *s)
{
	share_tell(s);
	s->shared[1] = committed(s->arg);
}

static uint64_t take(struct share *s)
{
	struct place *p = s->arg;

	share_await(s);
	return heapd_load(&p->top->tree)->key;
}

static uint64_t node_walk(const struct node *node)
{
	return node ? node->key + node_walk(node->left) + node_walk(node->right) : 0;
}

static uint64_t walk(struct share *s)
{
	struct place *p = s->arg;

	return node_walk(heapd_load(&p->top->tree));
}

int main(int argc, char **argv)
{
	static const struct share_way way = { "heapd", begin, build, hand_over, take, walk };
	struct place p = { .argv = argv };

	if (argc != 4) {
		fprintf(stderr, "usage: share_heapd SOCKET HEAP NODES (share-run starts it)\n");
		return 2;
	}
	return share_run(&way, strtoull(argv[3], NULL, 10), &p);
}
