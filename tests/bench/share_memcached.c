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
	static struct server server = { .name = "memcached",
					.stored = "STORED",
					.value_put = value_put,
					.used = used,
					.values_get = values_get };

	return server_main(&server, argc, argv);
}
