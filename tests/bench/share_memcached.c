/* SPDX-License-Identifier: MIT */
/*
 * share_memcached.c - the tree in memcached: share_memcached SOCKET NODES. The protocol is the one of text lines, pipelined.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "share_server.h"

static void value_put(struct server *r, uint64_t i, uint64_t n)
{
	struct server_value value = server_value(i, n);

	server_put(r, "set %lu 0 0 %zu\r\n", (unsigned long)i, sizeof(value));
	server_put_bytes(r, &value, sizeof(value));
	server_put(r, "\r\n");
}

/* With what it keeps beside each value. */
static double used(struct server *r)
{
	char line[256];
	double bytes = 0;

	server_put(r, "stats\r\n");
	server_send(r);
	do {
		server_line(r, line, sizeof(line));
		sscanf(line, "STAT bytes %lf", &bytes);
	} while (strcmp(line, "END") != 0);
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
			if (strcmp(line, "STORED") != 0)
				share_fail(line);
		}
	}
}

static void hand_over(struct share *s)
{
	share_tell(s);
	s->shared[1] = used(s->arg);
}

/* Those that it has, each with its name, and then END. */
static void values_get(struct server *r, const uint64_t *numbers, size_t n, struct server_value *values)
{
	char line[64];

	server_put(r, "get");
	for (size_t i = 0; i < n; i++)
		server_put(r, " %lu", (unsigned long)numbers[i]);
	server_put(r, "\r\n");
	server_send(r);
	for (size_t i = 0; i < n; i++) {
		server_line(r, line, sizeof(line));
		if (strncmp(line, "VALUE ", 6) != 0 || strtoull(line + 6, NULL, 10) != numbers[i])
			share_fail(line);
		server_bytes(r, &values[i], sizeof(*values));
		server_line(r, line, sizeof(line));
	}
	server_line(r, line, sizeof(line));
}

int main(int argc, char **argv)
{
	static const struct share_way way = { "memcached", server_begin, build,
					      hand_over,   server_take,  server_walk };
	static struct server server = { .values_get = values_get };

	if (argc != 3) {
		fprintf(stderr, "usage: share_memcached SOCKET NODES (share-run starts it)\n");
		return 2;
	}
	server.path = argv[1];
	return share_run(&way, strtoull(argv[2], NULL, 10), &server);
}
