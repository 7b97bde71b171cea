/* SPDX-License-Identifier: MIT */
/*
 * session.c - owns sessions from their first byte of memory to their last.
 *
 * Right because a session's memory enters the heap's table complete, and leaves it, under the heap's lock,
 * before it is unmapped: who goes through the table never meets a half-made or a dead one. Ending a session
 * needs nothing from its client: a process that was killed leaves exactly what is forgotten here, and slots
 * that were its own, which are the collector's.
 */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "collection.h"
#include "heapd/atomic.h"
#include "heapd/probes.h"
#include "heapd/session.h"
#include "memory.h"
#include "supply.h"

#define DEATH_MIN      (UINT64_C(8) << 20)  /* bytes in use of which a death may have left much */
#define SESSION_CHARGE (UINT64_C(64) << 10) /* what one touches of its memory, about: head, threads, pins */

static void memory_release(struct session_memory *memory)
{
	if (memory->core)
		munmap(memory->core, HEAPD_SESSION_CORE);
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct session_memory){ .fd = -1 };
}

static int memory_make(struct session_memory *memory)
{
	struct session_memory new = { .fd = memory_create("session", HEAPD_SESSION_SIZE, 0) };
	void *core;
	int r;

	if (new.fd < 0)
		return new.fd;
	core = mmap(NULL, HEAPD_SESSION_CORE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, new.fd, 0);
	if (core == MAP_FAILED) {
		r = -errno;
		memory_release(&new);
		return r;
	}
	new.core = core;
	*memory = new;
	return 0;
}

static int memory_take(struct sessions *sessions, struct session_memory *memory)
{
	if (!sessions->nready)
		return memory_make(memory);
	*memory = sessions->ready[--sessions->nready];
	return 0;
}

void sessions_init(struct sessions *sessions, struct log *log, const struct config *config)
{
	*sessions = (struct sessions){
		.log = log,
		.config = config,
		.next_id = 1,
		.begun = { .what = "processes that attached", .burst = SESSIONS_LINES },
		.ended = { .what = "processes that detached", .burst = SESSIONS_LINES },
		.died = { .what = "processes that ended without a detach", .burst = SESSIONS_LINES },
	};
	LIST_INIT(&sessions->all);
}

void sessions_deinit(struct sessions *sessions)
{
	while (sessions->nready)
		memory_release(&sessions->ready[--sessions->nready]);
	log_limit_flush(sessions->log, &sessions->begun, LOG_INFO);
	log_limit_flush(sessions->log, &sessions->ended, LOG_INFO);
	log_limit_flush(sessions->log, &sessions->died, LOG_NOTICE);
}

void sessions_refill(struct sessions *sessions)
{
	while (sessions->nready < SESSIONS_READY && memory_make(&sessions->ready[sessions->nready]) == 0)
		sessions->nready++;
}

struct heap *sessions_find_heap(const struct sessions *sessions, const char *name)
{
	for (size_t i = 0; i < sessions->nheaps; i++) {
		if (strcmp(sessions->heaps[i]->name, name) == 0)
			return sessions->heaps[i];
	}
	return NULL;
}

static int open_resources(struct session *session, struct refusal *why)
{
	int pair[2], r;

	r = heap_charge(session->heap, SESSION_CHARGE);
	if (r < 0)
		return refuse(why, r,
			      "the daemon has committed all the memory that it may; no room for a session");
	r = memory_take(session->sessions, &session->memory);
	if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	if (r == 0) {
		session->notify = pair[0];
		session->notify_client = pair[1];
		return 0;
	}
	memory_release(&session->memory);
	heap_refund(session->heap, SESSION_CHARGE);
	return refuse(why, r, "the daemon cannot make a session: %s%s", strerror(-r),
		      r == -EMFILE || r == -ENFILE ? "; raise its limit of open files" : "");
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_resources(struct session *session)
{
	close_fd(&session->notify);
	close_fd(&session->notify_client);
	memory_release(&session->memory);
	heap_refund(session->heap, SESSION_CHARGE);
}

/* The head is complete before anybody, client or supplier, can look at it. */
static int join_heap(struct session *session)
{
	struct heapd_session *memory = session->memory.core;
	struct heap *heap = session->heap;
	struct client client = {
		.memory = memory,
		.fd = session->memory.fd,
		.notify = session->notify,
		.pidfd = -1,
		.id = session->id,
		.debug = session->debug,
	};
	int r;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): mapped by memory_make(), or the session was refused */
	memory->magic = HEAPD_SESSION_MAGIC;
	memory->id = session->id;
	memory->read_only = session->read_only;
	heap_lock(heap);
	r = clients_add(heap, &client, &session->index);
	heap_unlock(heap);
	if (r == 0)
		memory->index = session->index;
	return r;
}

/* Its memory goes to the table if a cycle is under way, which still needs it. */
static void leave_heap(struct session *session)
{
	bool ours;

	heap_lock(session->heap);
	supply_collect_handback(session->heap, session->memory.core);
	ours = clients_remove(session->heap, session->index);
	heap_unlock(session->heap);
	if (!ours)
		session->memory = (struct session_memory){ .fd = -1 };
}

static void count_in(struct session *session)
{
	struct heapd_stats *stats = &session->heap->t.directory->stats;

	LIST_INSERT_HEAD(&session->sessions->all, session, link);
	session->sessions->count++;
	HEAPD_COUNT(stats->sessions, 1);
	HEAPD_COUNT(stats->sessions_ever, 1);
}

static void count_out(struct session *session, bool died)
{
	struct heapd_stats *stats = &session->heap->t.directory->stats;

	HEAPD_PROBE(client__end, session->heap->name, (uint64_t)session->pid, session->id, died);
	LIST_REMOVE(session, link);
	session->sessions->count--;
	HEAPD_WRITE_ONCE(stats->sessions, stats->sessions - 1);
	if (died)
		HEAPD_COUNT(stats->deaths, 1);
}

static struct session *session_new(struct sessions *sessions, struct heap *heap,
				   const struct session_owner *owner)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	*session = (struct session){
		.sessions = sessions,
		.heap = heap,
		.memory.fd = -1,
		.notify = -1,
		.notify_client = -1,
		.id = sessions->next_id++,
		.pid = owner->pid,
		.uid = owner->uid,
		.read_only = owner->read_only,
		.administers = owner->administers,
		.debug = owner->debug,
	};
	memcpy(session->client, owner->client, strnlen(owner->client, sizeof(session->client) - 1));
	return session;
}

static void log_begin(const struct session *session)
{
	log_limited(session->sessions->log, &session->sessions->begun, LOG_INFO,
		    "heap '%s': process %d of user %u attached%s, session %" PRIu64 "%s%s",
		    session->heap->name, session->pid, session->uid, session->read_only ? " for reading" : "",
		    session->id, session->client[0] ? ", " : "", session->client);
}

int session_open(struct sessions *sessions, struct heap *heap, const struct session_owner *owner,
		 struct session **session, struct refusal *why)
{
	struct session *new;
	int r;

	new = session_new(sessions, heap, owner);
	if (!new)
		return refuse(why, -ENOMEM, "the daemon is out of memory");
	r = open_resources(new, why);
	if (r < 0) {
		free(new);
		return r;
	}
	r = join_heap(new);
	if (r < 0) {
		close_resources(new);
		free(new);
		return refuse(why, r, "the daemon is out of memory");
	}
	count_in(new);
	if (new->pid)
		session_claim(new, new->pid, owner->pidfd, owner->socket);
	*session = new;
	return 0;
}

void session_claim(struct session *session, pid_t pid, int pidfd, int socket)
{
	session->pid = pid;
	clients_name(session->heap, session->index, pid, pidfd, socket);
	HEAPD_PROBE(client__attach, session->heap->name, (uint64_t)pid, session->id, session->read_only);
	log_begin(session);
}

static void log_end(const struct session *session, enum session_end end, const char *why)
{
	struct sessions *sessions = session->sessions;
	struct log *log = sessions->log;
	struct journal_event event = {
		.id = EVENT_CLIENT_DIED,
		.heap = session->heap->name,
		.pid = session->pid,
		.has_uid = true,
		.uid = session->uid,
		.session = session->id,
	};

	if (end == SESSION_DIED)
		log_event(log, &sessions->died, LOG_NOTICE, &event,
			  "heap '%s': process %d of user %u ended without a detach, session %" PRIu64 " (%s)",
			  session->heap->name, session->pid, session->uid, session->id, why);
	else
		log_limited(log, &sessions->ended, LOG_INFO,
			    "heap '%s': process %d of user %u %s, session %" PRIu64 " (%s)",
			    session->heap->name, session->pid, session->uid,
			    end == SESSION_DETACHED ? "detached" : "dropped", session->id, why);
}

/* Nobody knows what the dead alone could reach but the marker. In a small heap it is not worth a cycle. */
static void ask_for_collection(struct heap *heap)
{
	if (collection_is_on(heap) && HEAPD_READ_ONCE(heap->t.directory->stats.out) >= DEATH_MIN)
		collection_request(heap, TRIGGER_DEATH);
}

void session_close(struct session *session, enum session_end end, const char *why)
{
	leave_heap(session);
	if (end != SESSION_DETACHED)
		ask_for_collection(session->heap);
	count_out(session, end != SESSION_DETACHED);
	if (session->pid)
		log_end(session, end, why);
	close_resources(session);
	free(session);
}

size_t session_welcome(const struct session *session, struct heapd_welcome *welcome, int fds[5])
{
	const struct heap *heap = session->heap;
	size_t n = 0;

	*welcome = (struct heapd_welcome){
		.fingerprint = heapd_layout_fingerprint(),
		.base = heap->t.base,
		.size = heap->geometry.size,
		.cpus = heap->geometry.cpus,
		.session = session->id,
		.session_size = HEAPD_SESSION_SIZE,
		.index = session->index,
		.flags = session->read_only ? HEAPD_HELLO_READ_ONLY : 0,
	};
	fds[n++] = session->read_only ? heap->heap_ro_fd : heap->heap_fd;
	fds[n++] = heap->directory_ro_fd;
	if (!session->read_only)
		fds[n++] = heap->control_fd;
	fds[n++] = session->memory.fd;
	fds[n++] = session->notify_client;
	return n;
}

void session_welcomed(struct session *session)
{
	close_fd(&session->notify_client);
}
