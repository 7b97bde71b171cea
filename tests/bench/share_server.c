/* SPDX-License-Identifier: MIT */
/*
 * share_server.c - owns the connection to a server, what is on its way in and out, and the walk.
 *
 * Right because what is read is exactly what the protocol says comes next: a line, or as many bytes as that line said.
 */
#include "share_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void begin(struct share *s, bool reader)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct server *r = s->arg;

	(void)reader;
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", r->path);
	r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r->wave = calloc(s->nodes, sizeof(*r->wave));
	r->next = calloc(s->nodes, sizeof(*r->next));
	if (!r->wave || !r->next || connect(r->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		share_fail("connect to the server");
}

void server_send(struct server *r)
{
	if (!bench_write(r->fd, r->out, r->outgoing))
		share_fail("write to the server");
	r->outgoing = 0;
}

void server_put(struct server *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	r->outgoing += (size_t)vsnprintf(r->out + r->outgoing, sizeof(r->out) - r->outgoing, format, args);
	va_end(args);
}

static char byte_get(struct server *r)
{
	if (r->at == r->filled) {
		ssize_t n = read(r->fd, r->in, sizeof(r->in));

		if (n <= 0)
			share_fail("read from the server");
		r->filled = (size_t)n;
		r->at = 0;
	}
	return r->in[r->at++];
}

/* A line of the answer, without its end. */
void server_line(struct server *r, char *line, size_t room)
{
	size_t n = 0;
	char c;

	while ((c = byte_get(r)) != '\n')
		if (c != '\r' && n + 1 < room)
			line[n++] = c;
	line[n] = '\0';
}

void server_bytes(struct server *r, void *to, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((char *)to)[i] = byte_get(r);
}

struct server_value server_value(uint64_t i, uint64_t n)
{
	struct server_value value = { .key = share_key(i) };

	value.left = 2 * i + 1 < n ? 2 * i + 2 : 0;
	value.right = 2 * i + 2 < n ? 2 * i + 3 : 0;
	return value;
}

void server_put_bytes(struct server *r, const void *data, size_t bytes)
{
	memcpy(r->out + r->outgoing, data, bytes);
	r->outgoing += bytes;
}

static uint64_t take(struct share *s)
{
	static const uint64_t root;
	struct server *r = s->arg;
	struct server_value value;

	share_await(s);
	r->values_get(r, &root, 1, &value);
	return value.key;
}

/* One depth of the tree: the children's numbers go to next; how many there are. */
static size_t wave_walk(struct server *r, size_t n, uint64_t *sum)
{
	struct server_value values[SERVER_BATCH];
	size_t below = 0;

	for (size_t i = 0; i < n; i += SERVER_BATCH) {
		size_t some = bench_min(n - i, SERVER_BATCH);

		r->values_get(r, r->wave + i, some, values);
		for (size_t k = 0; k < some; k++) {
			*sum += values[k].key;
			if (values[k].left)
				r->next[below++] = values[k].left - 1;
			if (values[k].right)
				r->next[below++] = values[k].right - 1;
		}
	}
	return below;
}

static uint64_t walk(struct share *s)
{
	struct server *r = s->arg;
	uint64_t sum = 0, *last;
	size_t n = 1;

	r->wave[0] = 0;
	while (n) {
		n = wave_walk(r, n, &sum);
		last = r->wave;
		r->wave = r->next;
		r->next = last;
	}
	return sum;
}

/* The nodes are made where they are to stay: what others build first, and then hand over, is in here. */
static void build(struct share *s)
{
	struct server *r = s->arg;
	char line[64];

	s->shared[0] = r->used(r);
	for (uint64_t i = 0; i < s->nodes; i += SERVER_BATCH) {
		uint64_t end = bench_min(i + SERVER_BATCH, s->nodes);

		for (uint64_t k = i; k < end; k++)
			r->value_put(r, k, s->nodes);
		server_send(r);
		for (uint64_t k = i; k < end; k++) {
			server_line(r, line, sizeof(line));
			if (strcmp(line, r->stored) != 0)
				share_fail(line);
		}
	}
}

static void hand_over(struct share *s)
{
	struct server *r = s->arg;

	share_tell(s);
	s->shared[1] = r->used(r);
}

int server_main(struct server *server, int argc, char **argv)
{
	const struct share_way way = { server->name, begin, build, hand_over, take, walk };

	if (argc != 3) {
		fprintf(stderr, "usage: share_%s SOCKET NODES (share-run starts it)\n", server->name);
		return 2;
	}
	server->path = argv[1];
	return share_run(&way, strtoull(argv[2], NULL, 10), server);
}
