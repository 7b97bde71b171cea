/* SPDX-License-Identifier: MIT */
/*
 * Events: what a program asked to be told of. The daemon counts in the directory what happens, and sends a note; the agent
 * compares the counts with what it has seen, whatever woke it, and puts what is new into the process's queue:
 * one bit for each kind, and for each type whose objects have died. So the queue is as long as there are kinds, and an event
 * that nobody took is one with the next of its kind.
 *
 * The queue's bits are set by the agent and taken by any thread, by atomic operations alone: no lock is held that a fork would
 * copy. The descriptor is an eventfd. The agent sets bits, then writes it; a thread reads it, then takes a bit, and writes
 * it again if it leaves any. So where a bit is left, the descriptor is readable, or will be at once.
 *
 * Nothing is sent to a process that has not asked. It asks by a word of its session, executes a full fence, and
 * has its agent look; the daemon counts, executes a full fence, and reads the word: it sees the wish, or the
 * agent sees the count.
 */
#include "event.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent.h"
#include "fork.h"
#include "heapd/session.h"
#include "reconnect.h"

#define TYPE_WORDS (HEAPD_TYPE_MAX / 64)

struct events {
	_Atomic bool asked;
	_Atomic bool every; /* the descriptor is written whatever woke the agent */
	_Atomic int fd;
	_Atomic uint32_t kinds; /* bit: HEAPD_EVENT_*, but for DEAD */
	_Atomic uint64_t dead[TYPE_WORDS];
	_Atomic uint64_t cycle;

	/* What has been told: the agent's, from when it was asked for. */
	uint32_t low_seen;
	uint64_t finished_seen;
	uint64_t dead_seen[HEAPD_TYPE_MAX];
	bool away_seen;
};

int events_init(struct heapd_heap *heap)
{
	heap->events = (struct events *)calloc(1, sizeof(*heap->events));
	if (!heap->events)
		return error_set(ENOMEM,
				 "heap '%s': no memory for its attachment: free some of this process's own",
				 heap->name);
	atomic_store(&heap->events->fd, -1);
	return 0;
}

void events_free(struct heapd_heap *heap)
{
	if (!heap->events)
		return;
	if (atomic_load(&heap->events->fd) >= 0)
		close(atomic_load(&heap->events->fd));
	free(heap->events);
	heap->events = NULL;
}

static bool kind_look(struct events *events, bool news, int kind)
{
	if (news)
		atomic_fetch_or(&events->kinds, 1u << kind);
	return news;
}

static bool dead_look(struct events *events, const struct heapd_heap *heap)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->t.directory->ntypes);
	bool news = false;

	for (uint32_t type = HEAPD_TYPE_BUILTIN; type < n && type < HEAPD_TYPE_MAX; type++) {
		uint64_t dead = HEAPD_READ_ONCE(heap->t.types[type].dead);

		if (dead == events->dead_seen[type])
			continue;
		events->dead_seen[type] = dead;
		atomic_fetch_or(&events->dead[type / 64], 1ull << (type % 64));
		news = true;
	}
	return news;
}

void events_look(struct heapd_heap *heap)
{
	const struct heapd_cycle_words *words = &heap->t.directory->cycle;
	struct events *events = heap->events;
	uint64_t finished;
	uint32_t low;
	bool away = reconnect_is_overdue(heap), news;

	if (!atomic_load(&events->asked))
		return;
	/* Acquire: a cycle's other counts stand before its end does. */
	finished = HEAPD_LOAD_ACQUIRE(&words->finished);
	low = HEAPD_READ_ONCE(words->low);
	news = dead_look(events, heap);
	atomic_store(&events->cycle, finished);
	news |= kind_look(events, finished != events->finished_seen, HEAPD_EVENT_CYCLE);
	news |= kind_look(events, low != events->low_seen, HEAPD_EVENT_LOW);
	news |= kind_look(events, away && !events->away_seen, HEAPD_EVENT_DAEMON_AWAY);
	news |= kind_look(events, !away && events->away_seen, HEAPD_EVENT_DAEMON_BACK);
	events->finished_seen = finished;
	events->low_seen = low;
	events->away_seen = away;
	if (news || atomic_load(&events->every))
		eventfd_write(atomic_load(&events->fd), 1);
}

/* What has happened before is not told, but for objects that may be waiting. */
static void events_begin(struct heapd_heap *heap)
{
	struct events *events = heap->events;

	events->low_seen = HEAPD_READ_ONCE(heap->t.directory->cycle.low);
	events->finished_seen = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished);
	events->away_seen = false;
	memset(events->dead_seen, 0, sizeof(events->dead_seen));
	HEAPD_WRITE_ONCE(heap->session->events, 1);
	HEAPD_FENCE();
}

void events_forked(struct heapd_heap *heap)
{
	struct events *events = heap->events;
	int fd = atomic_load(&events->fd), own;

	if (fd < 0)
		return;
	own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (own < 0 || dup3(own, fd, O_CLOEXEC) < 0) {
		atomic_store(&events->asked, false);
		atomic_store(&events->fd, -1);
	}
	if (own >= 0)
		close(own);
	atomic_store(&events->kinds, 0);
	for (unsigned i = 0; i < TYPE_WORDS; i++)
		atomic_store(&events->dead[i], 0);
	if (atomic_load(&events->asked))
		events_begin(heap);
}

/* With heap->lock held. */
static int events_open(struct heapd_heap *heap)
{
	struct events *events = heap->events;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return error_set(
			errno,
			"heap '%s': cannot make an eventfd: %s: close some files, or raise RLIMIT_NOFILE",
			heap->name, strerror(errno));
	atomic_store(&events->fd, fd);
	events_begin(heap);
	atomic_store(&events->asked, true);
	agent_kick(heap);
	return 0;
}

/* From the first call on, the process is told. */
static int events_ask(struct heapd_heap *heap)
{
	int r = 0;

	if (!heap || heap != heapd_process)
		return fork_heap_missing(heap);
	if (likely(atomic_load(&heap->events->asked)))
		return 0;
	pthread_mutex_lock(&heap->lock);
	if (!atomic_load(&heap->events->asked))
		r = events_open(heap);
	pthread_mutex_unlock(&heap->lock);
	return r;
}

int heapd_event_fd(heapd_heap *heap)
{
	int r = events_ask(heap);

	return r < 0 ? r : atomic_load(&heap->events->fd);
}

int events_watch(struct heapd_heap *heap)
{
	struct heapd_message m = { .op = HEAPD_OP_WATCH_CLIENTS };
	int fd = heapd_event_fd(heap), r;

	if (fd < 0)
		return fd;
	atomic_store(&heap->events->every, true);
	r = request_call(heap, &m, NULL, NULL);
	return r < 0 ? r : fd;
}

static bool kind_take(struct events *events, int kind)
{
	uint32_t bit = 1u << kind;

	return atomic_load(&events->kinds) & bit && atomic_fetch_and(&events->kinds, ~bit) & bit;
}

/* The number of a type of which objects have died; 0: there is none. */
static uint32_t dead_take(struct events *events)
{
	for (uint32_t i = 0; i < TYPE_WORDS; i++) {
		uint64_t bits = atomic_load(&events->dead[i]), bit = bits & -bits;

		if (bits && atomic_fetch_and(&events->dead[i], ~bit) & bit)
			return i * 64 + (uint32_t)__builtin_ctzll(bit);
	}
	return 0;
}

static bool event_take(struct heapd_heap *heap, struct heapd_event *e)
{
	static const int kinds[] = { HEAPD_EVENT_DAEMON_AWAY, HEAPD_EVENT_DAEMON_BACK, HEAPD_EVENT_LOW,
				     HEAPD_EVENT_CYCLE };
	struct events *events = heap->events;
	uint32_t type = dead_take(events);

	if (type) {
		e->kind = HEAPD_EVENT_DEAD;
		e->type = type_by_index(heap, type);
		return true;
	}
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !e->kind; i++)
		if (kind_take(events, kinds[i]))
			e->kind = kinds[i];
	if (e->kind == HEAPD_EVENT_CYCLE)
		e->number = atomic_load(&events->cycle);
	return e->kind;
}

static bool events_left(struct events *events)
{
	uint64_t left = atomic_load(&events->kinds);

	for (unsigned i = 0; i < TYPE_WORDS; i++)
		left |= atomic_load(&events->dead[i]);
	return left;
}

int heapd_event_next(heapd_heap *heap, struct heapd_event *event)
{
	struct heapd_event e = { .size = 0 };
	eventfd_t count;
	int r = events_ask(heap);

	if (r < 0)
		return r;
	if (!event || event->size < sizeof(e))
		return error_set(EINVAL, "heapd_event_next: event->size is not set: use HEAPD_SIZED(event)");
	eventfd_read(atomic_load(&heap->events->fd), &count);
	if (!event_take(heap, &e))
		return 0;
	if (events_left(heap->events))
		eventfd_write(atomic_load(&heap->events->fd), 1);
	e.size = event->size;
	memcpy(event, &e, sizeof(e));
	return 1;
}
