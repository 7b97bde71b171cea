/* SPDX-License-Identifier: MIT */
/*
 * status.c - owns what an operator sees at the first look.
 *
 * Right because it reads the directory's figures alone, each in one load, as any client does: they may be of
 * different moments, and nobody is stopped for them. It is said when it has changed, and never more than once a second; what a
 * manager did not hear, because it had not read what came before, is said again the next second.
 */
#include "status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/atomic.h"
#include "notify.h"

struct line {
	char *text;
	size_t used;
};

static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct line *line, const char *format, ...)
{
	size_t room = STATUS_MAX - line->used;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line->text + line->used, room, format, args);
	va_end(args);
	if (n > 0)
		line->used += (size_t)n < room ? (size_t)n : room - 1;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* A copy, word by word, since the collector's thread may be writing there (record_write()). False: it was, or there is none. */
static bool record_read(const struct heapd_cycle_record *from, struct heapd_cycle_record *record)
{
	uint64_t cycle = HEAPD_LOAD_ACQUIRE(&from->cycle), words[sizeof(*record) / 8];
	const uint64_t *place = (const uint64_t *)(const void *)from;

	for (unsigned i = 0; i < sizeof(words) / 8; i++)
		words[i] = HEAPD_READ_ONCE(place[i]);
	HEAPD_FENCE();
	memcpy(record, words, sizeof(words));
	return cycle && HEAPD_READ_ONCE(from->cycle) == cycle;
}

/* The last whole cycle; false if there was none. */
static bool last_cycle(const struct heapd_directory *directory, struct heapd_cycle_record *last)
{
	struct heapd_cycle_record r;

	last->cycle = last->began = 0;
	for (unsigned i = 0; i < HEAPD_CYCLES_KEPT; i++)
		if (record_read(&directory->cycles[i], &r) && !r.is_void && r.began > last->began)
			*last = r;
	return last->cycle;
}

static uint64_t took(const struct heapd_cycle_record *r)
{
	return r->barrier + r->gather + r->scan + r->roots + r->mark + r->sweep;
}

static void put_heap(struct line *line, const struct heap *heap)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	struct heapd_cycle_record cycle;

	put(line, "; %s: %.1f of %.1f MiB", heap->name, mib(HEAPD_READ_ONCE(stats->committed)),
	    mib(heap_limit(heap)));
	if (last_cycle(heap->t.directory, &cycle))
		put(line, ", %.1f live, gc %" PRIu64 " took %.1f ms", mib(HEAPD_READ_ONCE(stats->gc_live)),
		    cycle.cycle, (double)took(&cycle) / 1e6);
}

void status_write(const struct sessions *sessions, char text[STATUS_MAX])
{
	struct line line = { .text = text };

	put(&line, "%zu heap%s, %u client%s", sessions->nheaps, sessions->nheaps == 1 ? "" : "s",
	    sessions->count, sessions->count == 1 ? "" : "s");
	for (size_t i = 0; i < sessions->nheaps; i++)
		put_heap(&line, sessions->heaps[i]);
	if (sessions->memories.store && sessions->memories.store->kept &&
	    !store_room(sessions->memories.store))
		put(&line, "; descriptor store full: nobody more is let in but administrators, to look");
}

static void tell(struct status *status)
{
	char text[STATUS_MAX], word[STATUS_MAX + 16];

	status_write(status->sessions, text);
	if (strcmp(text, status->last) == 0)
		return;
	snprintf(word, sizeof(word), "STATUS=%s", text);
	if (notify_send(word, -1, 0) != -EAGAIN)
		memcpy(status->last, text, sizeof(text));
}

void status_ready(struct status *status)
{
	status->owes = notify_send("READY=1", -1, 0) == -EAGAIN;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct status *status = arg;

	(void)fd, (void)what;
	if (status->owes)
		status_ready(status);
	tell(status);
	if (status->sessions->memories.store)
		store_flush(status->sessions->memories.store);
}

int status_start(struct status *status, struct event_base *base, const struct sessions *sessions)
{
	static const struct timeval period = { .tv_sec = 1 };

	*status = (struct status){ .sessions = sessions };
	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	status->timer = event_new(base, -1, EV_PERSIST, on_timer, status);
	if (!status->timer || event_add(status->timer, &period) < 0)
		return -ENOMEM;
	tell(status);
	return 0;
}

void status_stop(struct status *status)
{
	if (status->timer)
		event_free(status->timer);
	status->timer = NULL;
}
