/* SPDX-License-Identifier: MIT */
/*
 * session.c - owns a session from its making to its end.
 *
 * Right because a session's memory enters the heap's table complete, and leaves it, under the heap's lock,
 * before it is unmapped: who goes through the table never meets a half-made or a dead one. Ending a session
 * needs nothing from its client: a process that was killed leaves exactly what is forgotten here, and slots
 * that were its own, which are the collector's.
 */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "collection.h"
#include "deads.h"
#include "events.h"
#include "heapd/atomic.h"
#include "heapd/probes.h"
#include "heapd/session.h"
#include "ledger.h"
#include "peer.h"
#include "receipts.h"
#include "supply.h"

#define DEATH_MIN  (UINT64_C(8) << 20) /* bytes in use of which a death may have left much */
#define HEAD_BYTES 4096u
#define SESSION_CHARGE \
	(UINT64_C(64) << 10) /* what one touches of its memory at first, about: head, threads, pins */

static int open_notify(struct session *session)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	session->notify = pair[0];
	session->notify_client = pair[1];
	return 0;
}

uint64_t session_room_bytes(const uint32_t room[2])
{
	return HEAD_BYTES + room[HEAPD_ROOM_THREADS] * sizeof(struct heapd_thread) +
	       room[HEAPD_ROOM_PINS] * sizeof(uint64_t);
}

static uint64_t charge_of(const uint32_t room[2])
{
	uint64_t bytes = session_room_bytes(room);

	return bytes > SESSION_CHARGE ? bytes : SESSION_CHARGE;
}

static int refuse_stored(const struct store *store, int r, struct refusal *why)
{
	if (r == -ENAMETOOLONG)
		return refuse(
			why, -EUSERS,
			"the file descriptor store is full with %u names, and no daemon that is started can be "
			"told more of them; end some clients",
			store->count);
	return refuse(
		why, -EUSERS,
		"the file descriptor store is full with %u, so one more session would not survive a restart of the "
		"daemon; raise FileDescriptorStoreMax= and HEAPD_FDSTORE= of its unit, or with --keep its limit of "
		"open files",
		store->count);
}

/* There are so few of the spare ones that there is room for them in any case. */
static int charge(struct session *session)
{
	if (!session->spare)
		return heap_charge_minor(session->heap, charge_of(session->room));
	heap_force(session->heap, charge_of(session->room));
	return 0;
}

static int memory_take(struct session *session)
{
	return session->spare ? sessionmemories_take_spare(&session->memory)
			      : sessionmemories_take(&session->sessions->memories, &session->memory);
}

static int open_resources(struct session *session, struct refusal *why)
{
	int r;

	r = charge(session);
	if (r < 0)
		return refuse(
			why, r,
			"the daemon has committed all the memory that it may, and has no room for a session; free some of it, or end some clients");
	session->charged = charge_of(session->room);
	r = memory_take(session);
	if (r == 0)
		r = open_notify(session);
	if (r == 0)
		return 0;
	sessionmemories_unstore(&session->sessions->memories, &session->memory);
	sessionmemory_release(&session->memory);
	heap_refund(session->heap, session->charged);
	if (r == -ENOSPC || r == -ENAMETOOLONG)
		return refuse_stored(session->sessions->memories.store, r, why);
	if (r == -EAGAIN)
		return refuse(
			why, r,
			"the service manager does not read what heapd tells it, and one more session would not survive a restart of "
			"the daemon; try again");
	return refuse(why, r, "the daemon cannot make a session: %s%s", strerror(-r),
		      r == -EMFILE || r == -ENFILE ? "; raise its limit of open files" : "; look at its log");
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
	sessionmemories_unstore(&session->sessions->memories, &session->memory);
	sessionmemory_release(&session->memory);
	heap_refund(session->heap, session->charged);
}

static struct ledger_session *record_of(const struct session *session)
{
	return &session->heap->clients->records[session->index];
}

/* Before the client hears of its session: the next daemon knows all that there are. */
static void record_write(const struct session *session)
{
	struct ledger_session *record = record_of(session);
	struct ledger_head *head = session->heap->ledger->head;

	*record = (struct ledger_session){
		.memory = session->spare ? LEDGER_NOT_STORED : session->memory.number,
		.pid = session->pid,
		.parent = session->parent,
		.mark = session->mark,
		.uid = session->uid,
		.read_only = session->read_only,
		.administers = session->administers,
		.debug = session->debug,
		.maker = session->maker,
		.maker_seq = session->maker_seq,
		.room = { session->room[0], session->room[1] },
	};
	memcpy(record->client, session->client, sizeof(record->client));
	HEAPD_STORE_RELEASE(&head->last_session, session->id);
	if (session->index >= head->sessions_high)
		HEAPD_STORE_RELEASE(&head->sessions_high, session->index + 1u);
	HEAPD_STORE_RELEASE(&record->id, session->id);
}

/* Its client, who reads the last word, hears of it when the daemon knows it. */
static void room_write(struct session *session, const uint32_t room[2])
{
	clients_set_room(session->heap, session->index, room);
	for (unsigned kind = 0; kind < 2; kind++) {
		session->room[kind] = room[kind];
		HEAPD_STORE_RELEASE(&session->memory.core->room[kind], room[kind]);
	}
}

static uint32_t taker_of(const struct session *session)
{
	return session->read_only ? 0 : heapd_taker(session->uid);
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
		.taker = taker_of(session),
		.debug = session->debug,
	};
	int r;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): mapped by sessionmemories_take(), or the session was refused */
	memory->magic = HEAPD_SESSION_MAGIC;
	memory->id = session->id;
	memory->read_only = session->read_only;
	heap_lock(heap);
	r = clients_add(heap, &client, &session->index);
	heap_unlock(heap);
	if (r < 0)
		return r;
	memory->index = session->index;
	record_write(session);
	room_write(session, session->room);
	return 0;
}

/* With heap->lock held. */
static void receipt_begin(const struct session *session)
{
	const struct client *client = &session->heap->clients->slots[session->index];
	const struct receipt_of of = {
		.pid = session->pid,
		.uid = session->uid,
		.session = session->id,
		.in_flight = client->in_flight,
		.charged = session->charged,
		.threads = client_room(client, HEAPD_ROOM_THREADS, HEAPD_THREAD_MAX),
		.pins = client_room(client, HEAPD_ROOM_PINS, HEAPD_PIN_MAX),
		.client = session->client,
		.fd = session->memory.fd,
	};

	if (session->pid)
		receipts_add(session->heap, &of);
}

/* Its memory goes to the table if a cycle is under way, which still needs it. */
static void leave_heap(struct session *session, bool died)
{
	bool ours;

	heap_lock(session->heap);
	deads_orphan(session->heap, &session->heap->clients->slots[session->index]);
	/* Before the rest, for which whoever finds no record does not look; not before what nobody could say without it. */
	HEAPD_STORE_RELEASE(&record_of(session)->id, 0);
	supply_collect_handback(session->heap, &session->heap->clients->slots[session->index]);
	if (died)
		receipt_begin(session);
	ours = clients_remove(session->heap, session->index);
	heap_unlock(session->heap);
	if (!ours)
		session->memory = (struct sessionmemory){ .fd = -1, .number = session->memory.number };
}

static void count_in(struct session *session)
{
	sessions_add(session);
	HEAPD_COUNT(session->heap->t.directory->stats.sessions_ever, 1);
	events_clients(session->heap);
}

static void count_out(struct session *session, bool died)
{
	HEAPD_PROBE(client__end, session->heap->name, (uint64_t)session->pid, session->id, died);
	sessions_remove(session);
	if (died)
		HEAPD_COUNT(session->heap->t.directory->stats.deaths, 1);
	events_clients(session->heap);
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
	int r = heap_open_readonly(heap);

	if (r < 0)
		return refuse(
			why, r,
			"the memory of heap '%s' cannot be opened for reading: %s; try again, or end who of the "
			"daemon's user has a lease on it",
			heap->name, strerror(-r));
	new = sessions_make(sessions, heap, owner);
	if (!new)
		return refuse(why, -ENOMEM, "the daemon is out of memory; give it more, or end some clients");
	r = open_resources(new, why);
	if (r < 0) {
		sessions_free(new);
		return r;
	}
	r = join_heap(new);
	if (r < 0) {
		close_resources(new);
		sessions_free(new);
		return refuse(why, r, "the daemon is out of memory; give it more, or end some clients");
	}
	count_in(new);
	if (new->pid)
		session_claim(new, new->pid, owner->pidfd, owner->socket);
	*session = new;
	return 0;
}

int session_set_room(struct session *session, const uint32_t room[2], struct refusal *why)
{
	uint64_t bytes = charge_of(room);

	if (bytes > session->charged) {
		if (heap_charge_minor(session->heap, bytes - session->charged) < 0)
			return refuse(
				why, -ENOMEM,
				"the daemon has committed all the memory that it may, and has no room for more "
				"threads or pins; free some objects, or end some clients");
		session->charged = bytes;
	}
	room_write(session, room);
	return 0;
}

/* The pid is written last: as long as it is 0, nobody looks at the mark. */
void session_claim(struct session *session, pid_t pid, int pidfd, int socket)
{
	struct ledger_session *record = record_of(session);

	if (!session->pid) {
		HEAPD_STORE_RELEASE(&record->mark, peer_mark(pid, pidfd));
		HEAPD_STORE_RELEASE(&record->pid, pid);
	}
	session->pid = pid;
	clients_name(session->heap, session->index, pid, pidfd, socket);
	HEAPD_PROBE(client__attach, session->heap->name, (uint64_t)pid, session->id, session->read_only);
	log_begin(session);
}

static int drop_spare(struct sessions *sessions, struct heap *heap, struct ledger_session *record)
{
	log_info(sessions->log,
		 "heap '%s': session %" PRIu64
		 " of process %d ends with the daemon that made it: there was no room "
		 "to store it",
		 heap->name, record->id, record->pid);
	HEAPD_STORE_RELEASE(&record->id, 0);
	return -ENOENT;
}

/* What the ledger says of it, as a session without any sockets. */
static struct session *session_of_record(struct sessions *sessions, struct heap *heap, unsigned index)
{
	const struct ledger_session *record = &heap->clients->records[index];
	struct session_owner owner = {
		.pid = record->pid,
		.parent = record->parent,
		.maker = record->maker,
		.maker_seq = record->maker_seq,
		.uid = record->uid,
		.read_only = record->read_only,
		.administers = record->administers,
		.debug = record->debug,
		.client = record->client,
		.room = { record->room[0], record->room[1] },
	};
	struct session *session = sessions_make(sessions, heap, &owner);

	if (!session)
		return NULL;
	session->id = record->id;
	session->index = index;
	session->in_flight = record->in_flight;
	return session;
}

static int rejoin_heap(struct session *session)
{
	struct client client = {
		.memory = session->memory.core,
		.fd = session->memory.fd,
		.notify = -1,
		.socket = -1,
		.pidfd = -1,
		.pid = session->pid,
		.id = session->id,
		.taker = taker_of(session),
		.debug = session->debug,
	};

	/* It is there, whether there is room for it or not. */
	session->charged = charge_of(session->room);
	heap_force(session->heap, session->charged);
	return clients_restore(session->heap, &client, session->index);
}

int session_restore(struct sessions *sessions, struct heap *heap, unsigned index, struct session **session)
{
	struct ledger_session *record = &heap->clients->records[index];
	struct session *new;
	int r = -ENOMEM;

	if (record->memory == LEDGER_NOT_STORED)
		return drop_spare(sessions, heap, record);
	new = session_of_record(sessions, heap, index);
	if (new)
		r = sessionmemories_restore(&sessions->memories, record->memory, &new->memory);
	if (r == 0)
		r = rejoin_heap(new);
	if (r < 0) {
		log_err(sessions->log,
			"heap '%s': session %" PRIu64 " of process %d cannot be taken up again: %s",
			heap->name, record->id, record->pid, strerror(-r));
		HEAPD_STORE_RELEASE(&record->id, 0);
		if (new)
			sessions_let_go(new);
		return r;
	}
	sessions_add(new);
	*session = new;
	return 0;
}

int session_reconnect(struct session *session, int socket, struct refusal *why)
{
	int before = session->notify, r;

	close_fd(&session->notify_client);
	r = open_notify(session);
	if (r < 0)
		return refuse(why, r, "the daemon cannot make a socket: %s; raise its limit of open files",
			      strerror(-r));
	/* Nobody sends to the former one any more when it is closed. */
	clients_reconnect(session->heap, session->index, session->notify, socket);
	close_fd(&before);
	return 0;
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
	leave_heap(session, end != SESSION_DETACHED);
	if (end != SESSION_DETACHED)
		ask_for_collection(session->heap);
	count_out(session, end != SESSION_DETACHED);
	if (session->pid)
		log_end(session, end, why);
	close_resources(session);
	sessions_free(session);
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
