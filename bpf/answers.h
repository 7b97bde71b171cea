/* SPDX-License-Identifier: MIT */
/*
 * Answers on their way to scrapers.
 */
#ifndef HEAPD_BPF_ANSWERS_H
#define HEAPD_BPF_ANSWERS_H

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct answer_under_way;

struct answers {
	TAILQ_HEAD(, answer_under_way) all; /* oldest first */
	size_t bytes;
	bool are_last; /* each ends its connection */
};

void answers_init(struct answers *answers);

/* Takes what is in the page. The connections of those that have not read theirs for longest end if all becomes too much. */
void answers_send(struct answers *answers, struct evhttp_request *request, const char *type,
		  struct evbuffer *page);

#endif
