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
	static struct server server = { .name = "redis",
					.stored = "+OK",
					.value_put = value_put,
					.used = used,
					.values_get = values_get };

	return server_main(&server, argc, argv);
}
