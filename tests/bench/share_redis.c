/* SPDX-License-Identifier: MIT */
/*
 * share_redis.c - the tree in a Redis server, a value for each node under its number, on a local socket.
 *
 * share_redis SOCKET NODES. Commands go in batches of BATCH before the answers are read (pipelining), the walk by breadth,
 * so that it can ask for many nodes at once. The protocol is RESP2, written here: no client library is measured.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "share.h"

#define BATCH 512u

struct value {
	uint64_t left, right; /* 1 + the child's number, or 0 */
	uint64_t key, payload[SHARE_PAYLOAD];
};

struct server {
	const char *path;
	int fd;
	char out[BATCH * 160], in[1 << 16];
	size_t outgoing, at, filled;
	uint64_t *wave, *next; /* numbers of the nodes to ask for: of this depth, of the one below */
};

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
		share_fail("connect to redis");
}

static void send_all(struct server *r)
{
	if (!bench_write(r->fd, r->out, r->outgoing))
		share_fail("write to redis");
	r->outgoing = 0;
}

static void put(struct server *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct server *r, const char *format, ...)
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
			share_fail("read from redis");
		r->filled = (size_t)n;
		r->at = 0;
	}
	return r->in[r->at++];
}

/* A line of the answer, without its end. */
static void line_get(struct server *r, char *line, size_t room)
{
	size_t n = 0;
	char c;

	while ((c = byte_get(r)) != '\n')
		if (c != '\r' && n + 1 < room)
			line[n++] = c;
	line[n] = '\0';
}

static void bytes_get(struct server *r, void *to, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((char *)to)[i] = byte_get(r);
}

static void value_put(struct server *r, uint64_t i, uint64_t n)
{
	struct value value = { .key = share_key(i) };
	char number[24];
	int digits = snprintf(number, sizeof(number), "%lu", (unsigned long)i);

	value.left = 2 * i + 1 < n ? 2 * i + 2 : 0;
	value.right = 2 * i + 2 < n ? 2 * i + 3 : 0;
	put(r, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", digits, number, sizeof(value));
	memcpy(r->out + r->outgoing, &value, sizeof(value));
	r->outgoing += sizeof(value);
	put(r, "\r\n");
}

static double used(struct server *r)
{
	char line[256];
	double bytes = 0;
	long length;

	put(r, "*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n");
	send_all(r);
	line_get(r, line, sizeof(line));
	for (length = atol(line + 1) + 2; length > 0; length -= (long)strlen(line) + 2) {
		line_get(r, line, sizeof(line));
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
	for (uint64_t i = 0; i < s->nodes; i += BATCH) {
		uint64_t end = bench_min(i + BATCH, s->nodes);

		for (uint64_t k = i; k < end; k++)
			value_put(r, k, s->nodes);
		send_all(r);
		for (uint64_t k = i; k < end; k++) {
			line_get(r, line, sizeof(line));
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
static void values_get(struct server *r, const uint64_t *numbers, size_t n, struct value *values)
{
	char number[24], line[64];

	put(r, "*%zu\r\n$4\r\nMGET\r\n", n + 1);
	for (size_t i = 0; i < n; i++) {
		int digits = snprintf(number, sizeof(number), "%lu", (unsigned long)numbers[i]);

		put(r, "$%d\r\n%s\r\n", digits, number);
	}
	send_all(r);
	line_get(r, line, sizeof(line));
	for (size_t i = 0; i < n; i++) {
		line_get(r, line, sizeof(line));
		if (strcmp(line, "$64") != 0)
			share_fail(line);
		bytes_get(r, &values[i], sizeof(*values));
		line_get(r, line, sizeof(line));
	}
}

static uint64_t take(struct share *s)
{
	static const uint64_t root;
	struct value value;

	share_await(s);
	values_get(s->arg, &root, 1, &value);
	return value.key;
}

/* One depth of the tree: the children's numbers go to next; how many there are. */
static size_t wave_walk(struct server *r, size_t n, uint64_t *sum)
{
	struct value values[BATCH];
	size_t below = 0;

	for (size_t i = 0; i < n; i += BATCH) {
		size_t some = bench_min(n - i, BATCH);

		values_get(r, r->wave + i, some, values);
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

int main(int argc, char **argv)
{
	static const struct share_way way = { "redis", begin, build, hand_over, take, walk };
	static struct server server;

	if (argc != 3) {
		fprintf(stderr, "usage: share_redis SOCKET NODES (share-run starts it)\n");
		return 2;
	}
	_Static_assert(sizeof(struct value) == 64, "as large as the others' nodes");
	server.path = argv[1];
	return share_run(&way, strtoull(argv[2], NULL, 10), &server);
}
