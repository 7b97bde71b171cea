/* SPDX-License-Identifier: MIT */
/*
 * share_copy.c - the tree written out node by node into a pipe or a socket, and built again behind it.
 *
 * share_copy pipe|socket NODES. A node is its key, its payload and which children it has, parents first: there is
 * nothing to parse but that. Both sides have malloc().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "share.h"

struct node {
	struct node *left, *right;
	uint64_t key, payload[SHARE_PAYLOAD];
};

struct record {
	uint64_t children; /* 1: left, 2: right */
	uint64_t key, payload[SHARE_PAYLOAD];
};

#define BUFFERED 1024u

struct copy {
	int fds[2];
	struct node *tree;
	struct record buffer[BUFFERED];
	size_t at, filled;
};

static void begin(struct share *s, bool reader)
{
	struct copy *c = s->arg;

	close(c->fds[reader]);
}

static struct node *node_make(uint64_t key)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		share_fail("allocate");
	node->key = key;
	return node;
}

static struct node *node_build(uint64_t i, uint64_t n)
{
	struct node *node = node_make(share_key(i));

	if (2 * i + 1 < n)
		node->left = node_build(2 * i + 1, n);
	if (2 * i + 2 < n)
		node->right = node_build(2 * i + 2, n);
	return node;
}

static void build(struct share *s)
{
	struct copy *c = s->arg;

	c->tree = node_build(0, s->nodes);
}

static void buffer_flush(struct copy *c)
{
	if (!bench_write(c->fds[1], c->buffer, c->at * sizeof(*c->buffer)))
		share_fail("write");
	c->at = 0;
}

static void node_write(struct copy *c, const struct node *node)
{
	struct record *r = &c->buffer[c->at++];

	r->children = (node->left ? 1u : 0u) | (node->right ? 2u : 0u);
	r->key = node->key;
	memcpy(r->payload, node->payload, sizeof(r->payload));
	if (c->at == BUFFERED)
		buffer_flush(c);
	if (node->left)
		node_write(c, node->left);
	if (node->right)
		node_write(c, node->right);
}

static void hand_over(struct share *s)
{
	struct copy *c = s->arg;

	node_write(c, c->tree);
	buffer_flush(c);
}

/* What there is, up to a whole buffer: the end of a record may come with the next read. */
static void buffer_fill(struct copy *c)
{
	char *to = (char *)c->buffer;
	size_t got = 0;

	do {
		ssize_t n = read(c->fds[0], to + got, sizeof(c->buffer) - got);

		if (n <= 0)
			share_fail("read");
		got += (size_t)n;
	} while (got % sizeof(*c->buffer));
	c->filled = got / sizeof(*c->buffer);
	c->at = 0;
}

static struct node *node_read(struct copy *c)
{
	struct record r;
	struct node *node;

	if (c->at == c->filled)
		buffer_fill(c);
	r = c->buffer[c->at++];
	node = node_make(r.key);
	memcpy(node->payload, r.payload, sizeof(r.payload));
	if (r.children & 1)
		node->left = node_read(c);
	if (r.children & 2)
		node->right = node_read(c);
	return node;
}

static uint64_t take(struct share *s)
{
	struct copy *c = s->arg;

	c->tree = node_read(c);
	return c->tree->key;
}

static uint64_t node_walk(const struct node *node)
{
	return node ? node->key + node_walk(node->left) + node_walk(node->right) : 0;
}

static uint64_t walk(struct share *s)
{
	const struct copy *c = s->arg;

	return node_walk(c->tree);
}

int main(int argc, char **argv)
{
	static struct copy c;
	struct share_way way = { argc == 3 ? argv[1] : "", begin, build, hand_over, take, walk };
	bool by_socket = !strcmp(way.name, "socket");

	if (argc != 3 || (!by_socket && strcmp(way.name, "pipe") != 0)) {
		fprintf(stderr, "usage: share_copy pipe|socket NODES (share-run starts it)\n");
		return 2;
	}
	if (by_socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, c.fds) : pipe(c.fds))
		share_fail("begin");
	return share_run(&way, strtoull(argv[2], NULL, 10), &c);
}
