/* SPDX-License-Identifier: MIT */
/*
 * Owns the count of bytes that wait for scrapers to read them. Who asks and does not read has a page of memory for some
 * seconds; many who do so would have all there is. So there is a bound for all together, and beyond it the oldest gives way:
 * one that reads is done long before it is the oldest. What the kernel holds of an answer does not count, and so is bounded
 * for each: left to itself it takes megabytes, a whole page, for somebody who does not read.
 */
#include "answers.h"

#include <event2/bufferevent.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BYTES_MAX    (32u << 20)
#define SOCKET_BYTES (128 << 10)

struct answer_under_way {
	TAILQ_ENTRY(answer_under_way) link;
	struct answers *answers;
	struct evhttp_connection *connection;
	size_t bytes;
};

void answers_init(struct answers *answers)
{
	TAILQ_INIT(&answers->all);
	answers->bytes = 0;
}

static void forget(struct answer_under_way *a)
{
	TAILQ_REMOVE(&a->answers->all, a, link);
	a->answers->bytes -= a->bytes;
	free(a);
}

static void on_read(struct evhttp_request *request, void *arg)
{
	struct answer_under_way *a = arg;

	(void)request;
	evhttp_connection_set_closecb(a->connection, NULL, NULL);
	forget(a);
}

static void on_close(struct evhttp_connection *connection, void *arg)
{
	(void)connection;
	forget(arg);
}

static void bound_keep(struct answers *answers, const struct answer_under_way *newest)
{
	struct answer_under_way *oldest;

	while (answers->bytes > BYTES_MAX && (oldest = TAILQ_FIRST(&answers->all)) != newest)
		evhttp_connection_free(oldest->connection);
}

/* A failure leaves what the kernel thinks right: nothing that a scraper could not do without. */
static void socket_bound(struct evhttp_connection *connection)
{
	int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(connection));

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SOCKET_BYTES }, sizeof(int));
}

void answers_send(struct answers *answers, struct evhttp_request *request, const char *type,
		  struct evbuffer *page)
{
	struct answer_under_way *a = malloc(sizeof(*a));

	if (!a) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	*a = (struct answer_under_way){
		.answers = answers,
		.connection = evhttp_request_get_connection(request),
		.bytes = evbuffer_get_length(page),
	};
	socket_bound(a->connection);
	TAILQ_INSERT_TAIL(&answers->all, a, link);
	answers->bytes += a->bytes;
	evhttp_request_set_on_complete_cb(request, on_read, a);
	evhttp_connection_set_closecb(a->connection, on_close, a);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type);
	if (answers->are_last)
		evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
	evhttp_send_reply(request, HTTP_OK, "OK", page);
	bound_keep(answers, a);
}
