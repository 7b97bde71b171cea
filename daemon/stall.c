/* SPDX-License-Identifier: MIT */
/*
 * Owns what is done about a client that holds up a cycle. Evicting means SIGKILL: an evicted process must never write again. A
 * reader can harm nobody but itself: it is not waited for any longer. Who reads only, our own record says: its session's
 * memory, which it can write to, is not asked.
 */
#include "stall.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "collection.h"
#include "heapd/probes.h"

#define SECOND_NS     UINT64_C(1000000000)
#define STALL_NS      SECOND_NS        /* after which a stall is spoken of */
#define STALL_LINE_NS (60 * SECOND_NS) /* and how often it is said again */

void stall_begin(struct stall *stall)
{
	*stall = (struct stall){ .begin = clock_ns() };
}

void stall_end(struct stall *stall, struct heap *heap)
{
	if (stall->told)
		HEAPD_WRITE_ONCE(heap->t.directory->cycle.waits_for, 0);
	*stall = (struct stall){ 0 };
}

static void evict(struct heap *heap, const struct client *stalled)
{
	const struct clients *c = heap->clients;
	int error = ESRCH;

	heap_lock(heap);
	for (unsigned i = 0; i < c->n; i++)
		if (c->slots[i].live && c->slots[i].id == stalled->id && c->slots[i].pidfd >= 0)
			error = syscall(SYS_pidfd_send_signal, c->slots[i].pidfd, SIGKILL, NULL, 0) < 0
					? errno
					: 0;
	heap_unlock(heap);
	if (error)
		log_err(heap->log, "heap '%s': process %d holds up collection and cannot be evicted: %s",
			heap->name, stalled->pid, strerror(error));
	else
		log_warning(heap->log, "heap '%s': process %d evicted (SIGKILL): it held up collection",
			    heap->name, stalled->pid);
}

static void drop_reader(struct heap *heap, const struct client *stalled)
{
	struct clients *c = heap->clients;

	heap_lock(heap);
	for (unsigned i = 0; i < c->n; i++)
		if (c->slots[i].live && c->slots[i].id == stalled->id)
			c->slots[i].dropped = true;
	clients_changed(c);
	heap_unlock(heap);
	log_warning(
		heap->log,
		"heap '%s': process %d reads the heap and holds up collection: it is not waited for any more, and "
		"may read objects that are gone",
		heap->name, stalled->pid);
}

static void answer(struct heap *heap, const struct client *client, enum config_stall action)
{
	if (!client->taker)
		drop_reader(heap, client);
	else if (action == CONFIG_STALL_EVICT)
		evict(heap, client);
}

static void tell(struct heap *heap, uint32_t cycle, const struct client *client, uint64_t waited,
		 const char *what, const char *hint)
{
	const struct journal_event event = {
		.id = EVENT_CLIENT_STALLED, .heap = heap->name, .pid = client->pid, .session = client->id
	};

	log_event(heap->log, NULL, LOG_WARNING, &event,
		  "heap '%s': cycle %u waits for process %d, which %s for %llu ms: %s", heap->name, cycle,
		  client->pid, what, (unsigned long long)(waited / 1000000), hint);
}

bool stall_look(struct stall *stall, struct heap *heap, uint32_t cycle, const struct client *client,
		const char *what, const char *hint)
{
	uint64_t now = clock_ns(), waited = now - stall->begin;
	struct collection_settings settings;
	bool first = !stall->told;

	if (waited < STALL_NS)
		return false;
	HEAPD_WRITE_ONCE(heap->t.directory->cycle.waits_for, (uint32_t)client->pid);
	if (first) {
		HEAPD_COUNT(heap->t.directory->stats.gc_stalls, 1u);
		HEAPD_PROBE(stall, heap->name, cycle, (uint64_t)client->pid, waited);
	}
	if (first || now - stall->told > STALL_LINE_NS) {
		stall->told = now;
		tell(heap, cycle, client, waited, what, hint);
	}
	settings = collection_settings(heap);
	if (waited > settings.stall_timeout * SECOND_NS && now - stall->acted > SECOND_NS) {
		stall->acted = now;
		answer(heap, client, settings.stall_action);
	}
	return first;
}
