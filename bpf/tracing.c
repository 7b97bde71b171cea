/* SPDX-License-Identifier: MIT */
/*
 * Owns the clock that looks for new cycles, and what is on its way. A cycle is sent once; if the receiver is away or
 * slow, it is lost, and never more than ON_WAY are on their way: traces are for people, and nothing may pile up for them. What
 * waits for its turn stays where it is, in the heap's directory, as long as that remembers it. What is lost is counted, and
 * said once, until something is received again.
 */
#include "tracing.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cycletrace.h"

#define PERIOD_MS 500
#define ON_WAY    64u
#define TIMEOUT   5

struct tracing {
	struct event_base *base;
	struct event *timer;
	struct evhttp_uri *uri;
	struct evhttp_connection *connection;
	const struct heaps *heaps;
	const char *url;
	struct tracing_counts counts;
	bool is_losing; /* and has said so */
};

static void lose(struct tracing *t, unsigned long long n)
{
	t->counts.lost += n;
	if (!n || t->is_losing)
		return;
	t->is_losing = true;
	printf("heapd-exporter: traces of collections are lost: %s does not take them\n", t->url);
	fflush(stdout);
}

static void received(struct tracing *t)
{
	t->counts.sent++;
	if (!t->is_losing)
		return;
	t->is_losing = false;
	printf("heapd-exporter: %s takes traces again, after %llu were lost\n", t->url, t->counts.lost);
	fflush(stdout);
}

/* There is no request, or one without a code, where the receiver was not to be had, or too slow. */
static void answered(struct evhttp_request *request, void *arg)
{
	int code = request ? evhttp_request_get_response_code(request) : 0;
	struct tracing *t = arg;

	t->counts.on_way--;
	if (code / 100 == 2)
		received(t);
	else
		lose(t, 1);
}

static void send_body(struct tracing *t, const char *body, size_t size)
{
	struct evhttp_request *request = evhttp_request_new(answered, t);
	struct evkeyvalq *headers;
	const char *path = evhttp_uri_get_path(t->uri);

	if (!request) {
		lose(t, 1);
		return;
	}
	headers = evhttp_request_get_output_headers(request);
	evhttp_add_header(headers, "Host", evhttp_uri_get_host(t->uri));
	evhttp_add_header(headers, "Content-Type", "application/json");
	/* One that the receiver has closed meanwhile would be found out by losing what is sent on it. */
	evhttp_add_header(headers, "Connection", "close");
	evbuffer_add(evhttp_request_get_output_buffer(request), body, size);
	t->counts.on_way++;
	if (evhttp_make_request(t->connection, request, EVHTTP_REQ_POST, path && *path ? path : "/") < 0) {
		t->counts.on_way--;
		lose(t, 1);
	}
}

static void send_cycle(struct tracing *t, const struct directory *heap,
		       const struct heapd_cycle_record *record)
{
	char *body = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&body, &size);

	if (!f) {
		lose(t, 1);
		return;
	}
	cycletrace_write_otlp(heap->t.directory, heap->name, record, f);
	fclose(f);
	send_body(t, body, size);
	free(body);
}

/* What has left the directory meanwhile cannot be sent; of a heap that was not seen before it was never to be. */
static void forgotten_skip(struct tracing *t, struct directory *heap, uint64_t last)
{
	if (last < heap->traced)
		heap->traced = 0; /* the heap was made anew */
	if (last <= heap->traced + HEAPD_CYCLES_KEPT)
		return;
	if (heap->traced)
		lose(t, last - HEAPD_CYCLES_KEPT - heap->traced);
	heap->traced = last - HEAPD_CYCLES_KEPT;
}

static void heap_look(struct tracing *t, struct directory *heap)
{
	const struct heapd_directory *d = heap->t.directory;
	uint64_t now = d ? HEAPD_READ_ONCE(d->cycle.now) : 0, last = heapd_now_cycle(now);
	struct heapd_cycle_record record;

	forgotten_skip(t, heap, last);
	for (uint64_t c = heap->traced + 1; c <= last && t->counts.on_way < ON_WAY; c++)
		if (cycletrace_read(d, c, &record)) {
			if (heap->traced && c > heap->traced + 1)
				lose(t, c - heap->traced - 1); /* it has none of these any more */
			send_cycle(t, heap, &record);
			heap->traced = c;
		}
}

static void look(evutil_socket_t fd, short what, void *arg)
{
	struct tracing *t = arg;

	(void)fd, (void)what;
	for (unsigned i = 0; i < t->heaps->n; i++)
		heap_look(t, t->heaps->all[i]);
}

static bool receiver_know(struct tracing *t, const char *url)
{
	int port;

	t->uri = evhttp_uri_parse(url);
	if (!t->uri || !evhttp_uri_get_scheme(t->uri) || strcmp(evhttp_uri_get_scheme(t->uri), "http") != 0 ||
	    !evhttp_uri_get_host(t->uri))
		return false;
	port = evhttp_uri_get_port(t->uri);
	t->connection = evhttp_connection_base_new(t->base, NULL, evhttp_uri_get_host(t->uri),
						   (unsigned short)(port < 0 ? 4318 : port));
	if (t->connection)
		evhttp_connection_set_timeout(t->connection, TIMEOUT);
	return t->connection;
}

struct tracing *tracing_start(struct event_base *base, const char *url, const struct heaps *heaps)
{
	static const struct timeval period = { .tv_usec = PERIOD_MS * 1000 };
	struct tracing *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct tracing){ .base = base, .heaps = heaps, .url = url };
	if (!receiver_know(t, url)) {
		fprintf(stderr, "heapd-exporter: %s is not of the form http://HOST:PORT/PATH\n", url);
		tracing_stop(t);
		return NULL;
	}
	t->timer = event_new(base, -1, EV_PERSIST, look, t);
	event_add(t->timer, &period);
	return t;
}

void tracing_stop(struct tracing *t)
{
	if (!t)
		return;
	if (t->timer)
		event_free(t->timer);
	if (t->connection)
		evhttp_connection_free(t->connection);
	if (t->uri)
		evhttp_uri_free(t->uri);
	free(t);
}

struct tracing_counts tracing_counts(const struct tracing *t)
{
	return t ? t->counts : (struct tracing_counts){ 0 };
}
