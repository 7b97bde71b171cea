/* SPDX-License-Identifier: MIT */
/*
 * share_redis.c - the tree in a Redis server: share_redis SOCKET NODES. The protocol is RESP2, pipelined; a walk asks by MGET.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "share_server.h"

static void value_put(struct server *r, uint64_t i, uint64_t n)
{
	struct server_value value = server_value(i, n);
	char number[24];
	int digits = snprintf(number, sizeof(number), "%lu", (unsigned long)i);

	server_put(r, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", digits, number, sizeof(value));
	server_put_bytes(r, &value, sizeof(value));
	server_put(r, "\r\n");
}

static double used(struct server *r)
{
	char line[256];
	double bytes = 0;
	long length;

	server_put(r, "*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n");
	server_send(r);
	server_line(r, line, sizeof(line));
	for (length = atol(line + 1) + 2; length > 0; length -= (long)strlen(line) + 2) {
		server_line(r, line, sizeof(line));
		sscanf(line, "used_memory:%lf", &bytes);
	}
	return bytes;
}

/* The nodes are made where they are to stay: what others build first, and then hand over, is in here. */
static void build(struct share *s)
{
	struct server *r = s->arg;
	char line[64];

	s->shared[0] = used(r);
	for (uint64_t i = 0; i < s->nodes; i += SERVER_BATCH) {
		uint64_t end = bench_min(i + SERVER_BATCH, s->nodes);

		for (uint64_t k = i; k < end; k++)
			value_put(r, k, s->nodes);
		server_send(r);
		for (uint64_t k = i; k < end; k++) {
			server_line(r, line, sizeof(line));
			if (strcmp(line, "+OK") != 0)
				share_fail(line);
		}
	}
}

static void hand_over(struct share *s)
{
	share_tell(s);
	s->shared[1] = used(s->arg);
}

/* Asks for n nodes at once; what they are goes to values. */
static void values_get(struct server *r, const uint64_t *numbers, size_t n, struct server_value *values)
{
	char number[24], line[64];

	server_put(r, "*%zu\r\n$4\r\nMGET\r\n", n + 1);
	for (size_t i = 0; i < n; i++) {
		int digits = snprintf(number, sizeof(number), "%lu", (unsigned long)numbers[i]);

		server_put(r, "$%d\r\n%s\r\n", digits, number);
	}
	server_send(r);
	server_line(r, line, sizeof(line));
	for (size_t i = 0; i < n; i++) {
		server_line(r, line, sizeof(line));
		if (strcmp(line, "$64") != 0)
			share_fail(line);
		server_bytes(r, &values[i], sizeof(*values));
		server_line(r, line, sizeof(line));
	}
}

int main(int argc, char **argv)
{
	static const struct share_way way = { "redis",   server_begin, build,
					      hand_over, server_take,  server_walk };
	static struct server server = { .values_get = values_get };

	if (argc != 3) {
		fprintf(stderr, "usage: share_redis SOCKET NODES (share-run starts it)\n");
		return 2;
	}
	server.path = argv[1];
	return share_run(&way, strtoull(argv[2], NULL, 10), &server);
}
