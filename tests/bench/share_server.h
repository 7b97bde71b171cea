/* SPDX-License-Identifier: MIT */
/*
 * share_server.h - the tree in a server that keeps values under names: what is common to those who ask by lines and bytes.
 *
 * A value for each node under its number, on a local socket, with commands in batches of SERVER_BATCH; the walk goes by
 * breadth, so that it can ask for many nodes at once. No client library is measured.
 */
#ifndef BENCH_SHARE_SERVER_H
#define BENCH_SHARE_SERVER_H

#include "share.h"

#define SERVER_BATCH 512u

struct server_value {
	uint64_t left, right; /* 1 + the child's number, or 0 */
	uint64_t key, payload[SHARE_PAYLOAD];
};
_Static_assert(sizeof(struct server_value) == 64, "as large as the others' nodes");

struct server {
	const char *path;
	const char *name, *stored; /* the way's; the answer to a value that was put */
	void (*value_put)(struct server *r, uint64_t i, uint64_t n);
	double (*used)(struct server *r); /* bytes, with what it keeps beside each value */
	/* Asks for n nodes at once; what they are goes to values. */
	void (*values_get)(struct server *r, const uint64_t *numbers, size_t n, struct server_value *values);
	int fd;
	char out[SERVER_BATCH * 160], in[1 << 16];
	size_t outgoing, at, filled;
	uint64_t *wave, *next; /* numbers of the nodes to ask for: of this depth, of the one below */
};

/* The whole of a program SOCKET NODES that asks this server; returns its exit status. */
int server_main(struct server *server, int argc, char **argv);

/* What goes out is kept until it is sent. */
void server_put(struct server *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void server_put_bytes(struct server *r, const void *data, size_t bytes);
void server_send(struct server *r);

/* A line of the answer, without its end; so many bytes. */
void server_line(struct server *r, char *line, size_t room);
void server_bytes(struct server *r, void *to, size_t bytes);

/* Node i of n. */
struct server_value server_value(uint64_t i, uint64_t n);

#endif
