/* SPDX-License-Identifier: MIT */
/*
 * Messages between client and daemon: fixed size, one SEQPACKET datagram each.
 *
 * Two sockets a session: on the first the client sends requests and each gets exactly one reply,
 * with the request's seq, in order; the second (the notify socket, handed over with the reply to
 * HELLO) carries notes from the daemon, read by the client's agent thread, and ends when the daemon
 * does. Who the client is, the kernel says (SO_PEERCRED, SCM_CREDENTIALS, pidfd), never a message.
 * Descriptors go from the daemon to the client only.
 */
#ifndef HEAPD_MESSAGE_H
#define HEAPD_MESSAGE_H

#include "heapd/layout.h"

enum heapd_op {
	HEAPD_OP_NONE = 0,
	HEAPD_OP_HELLO, /* hello -> welcome; fds: heap, directory, control (-1 omitted when read-only), session, notify */
	HEAPD_OP_HELLO_CHILD, /* first message of a forked child on its own socket, with SCM_CREDENTIALS -> status */
	HEAPD_OP_FORK, /* before fork(); room: the child needs so many thread records -> welcome; fds: the child's socket, its session, its notify socket */
	HEAPD_OP_BYE,  /* detach -> status; what was handed back is collected first */
	HEAPD_OP_TYPE, /* type: define or find -> type_reply */
	HEAPD_OP_CLASS,      /* class of (type, kind, size class) -> class_reply; made if it is not there */
	HEAPD_OP_LARGE,      /* large: an object with a span of its own -> address */
	HEAPD_OP_ROOT_OFFER, /* root: if the name is free or holds NULL of the same type -> root (whoever won) */
	HEAPD_OP_ROOT_SET, /* root -> root */
	HEAPD_OP_ROOT_CAS, /* root with expected -> root; status -EAGAIN and the present value if it differs */
	HEAPD_OP_TICKET_ISSUE, /* address -> ticket (text) */
	HEAPD_OP_TICKET_TAKE,  /* ticket -> address; the ticket ends */
	HEAPD_OP_GET,          /* setting -> setting */
	HEAPD_OP_SET,          /* setting -> status */
	HEAPD_OP_VERIFY,       /* -> verify */
	HEAPD_OP_SYNC, /* harvest everything freed and handed back up to now, then -> collect: 0, or not until then */
	HEAPD_OP_COLLECT,    /* collect: a cycle is to begin -> what to wait for */
	HEAPD_OP_PATH,       /* address -> text */
	HEAPD_OP_WATCH_DEAD, /* dead: objects of the type that die are queued from now on -> status */
	HEAPD_OP_NEXT_DEAD,  /* dead: the type -> dead: one of them, which leaves the queue, or 0 */
	HEAPD_OP_HEAPS,      /* heaps: before HELLO too; the names of those that the peer may use */
	HEAPD_OP_SESSION, /* session: the next one of this heap; of all users for an operator, else of the peer's own */
	HEAPD_OP_HELD, /* held: words that a session holds as roots; for the same */
	HEAPD_OP_SAMPLED, /* sampled: somebody keeps a sample of these objects -> sampled; for those who administer the heap */
	HEAPD_OP_WATCH_CLIENTS, /* send HEAPD_NOTE_EVENT, too, when clients come or go, and when something is wrong -> status */
	HEAPD_OP_RECEIPT,     /* receipt: the next one of this heap's; for the same as SESSION */
	HEAPD_OP_HELLO_AGAIN, /* again: after the daemon's own death -> welcome; fds: notify */
	HEAPD_OP_ROOM,        /* room: for more thread records or pins -> room */
	HEAPD_OP_USER,        /* user: the next one with processes of this heap; for the same as SESSION */
	HEAPD_OP_COUNT,
	HEAPD_NOTE_EVENT = 100, /* on the notify socket: look at the directory's counts (event.c) */
	HEAPD_NOTE_HANDSHAKE,   /* look at the directory's `now`: threads and ranges are to be scanned */
	HEAPD_NOTE_REPORT, /* what was found out about a program that breaks a rule, to those that asked for it */
	HEAPD_NOTE_CYCLE, /* a cycle has ended, to those that asked for it */
};

#define HEAPD_HELLO_READ_ONLY 1u
#define HEAPD_HELLO_TYPES     2u /* look, in each cycle, for words that types do not list and that are pointers */
#define HEAPD_HELLO_BARRIER   4u /* ... and for objects that were hidden by plain stores */
#define HEAPD_HELLO_DANGLING  8u /* say when a cycle has ended */
#define HEAPD_HELLO_DEBUG     (HEAPD_HELLO_TYPES | HEAPD_HELLO_BARRIER | HEAPD_HELLO_DANGLING)
#define HEAPD_HELLO_KNOWN     (HEAPD_HELLO_READ_ONLY | HEAPD_HELLO_DEBUG)

struct heapd_hello {
	uint64_t fingerprint;
	char heap[HEAPD_NAME_MAX];
	char client[HEAPD_NAME_MAX]; /* what the client calls itself; for people only */
	uint32_t flags;
	uint32_t signal;
};

struct heapd_welcome {
	uint64_t fingerprint;
	uint64_t base;
	uint64_t size;
	uint64_t cpus;
	uint64_t session; /* id */
	uint64_t session_size;
	uint32_t index;
	uint32_t flags; /* HEAPD_HELLO_READ_ONLY as granted */
};

/* On a new connection of the session's process, or of a forked child that has not spoken yet. */
struct heapd_again {
	uint64_t fingerprint;
	uint64_t heap_id; /* of the directory that it has */
	uint64_t session; /* id */
};

struct heapd_type_request {
	char name[HEAPD_NAME_MAX];
	uint32_t size, align, flags, flex_at, flex_elem, map_bits;
	uint64_t map[64]; /* pointer words of the first 32 KiB; beyond, a type has none */
};

struct heapd_type_reply {
	uint32_t type;
	uint32_t made; /* 1: new */
};

struct heapd_class_request {
	uint32_t type, kind, sizeclass, class; /* class: in the reply */
};

struct heapd_large_request {
	uint64_t bytes;
	uint64_t align;   /* up to 2 MiB */
	uint64_t address; /* in the reply */
	uint32_t class;
	uint32_t zeroed; /* in the reply: its memory is known to be all zero */
};

struct heapd_root_request {
	char name[HEAPD_NAME_MAX];
	uint64_t object, expected;
	uint32_t type, index;
};

struct heapd_ticket {
	char text[64];
	uint64_t object;
	uint32_t seconds, unused;
};

struct heapd_setting {
	char key[64];
	char value[128];
};

struct heapd_dead_request {
	uint32_t type, unused;
	uint64_t object; /* in the reply */
};

/* Reply: when heapd_cycle_words.finished has reached `finished`, a whole cycle has passed since the request. */
struct heapd_collect {
	uint64_t finished;
};

struct heapd_verify_reply {
	uint64_t faults; /* 0: clean */
	uint64_t pages, spans, slabs, out, in_rings, in_currents, in_spares, freed_pending,
		allocated; /* bytes from out on */
	char first[256];   /* what failed first, where */
	uint64_t reachable,
		reachable_objects; /* bytes and objects that roots lead to, stacks and ranges aside */
	uint64_t dangling;         /* exact pointers in them that lead to no object */
	char dangling_first[256];
};

struct heapd_room_request {
	uint32_t kind;   /* HEAPD_ROOM_* */
	uint32_t least;  /* so many in all, or none more; ... */
	uint32_t wanted; /* ... and this many, if the user may have them */
	uint32_t room;   /* in the reply: what there is now, as in the session's memory */
};

#define HEAPD_HEAPS_PAGE 15u
struct heapd_heaps {
	uint32_t next; /* ask on from there; in a reply 0: these were the last */
	uint32_t count;
	char names[HEAPD_HEAPS_PAGE][HEAPD_NAME_MAX];
};

/* Of threads: sums, and the longest, of those that are attached now. */
struct heapd_session_info {
	uint64_t id; /* asked: the next one after it; in a reply 0: there is none */
	uint32_t pid, uid;
	uint32_t read_only;
	uint32_t threads, offline;
	uint32_t pins, ranges; /* places for them that have ever been used */
	uint32_t unused;
	uint64_t pauses, pause_ns, pause_max_ns, wait_ns, barrier_slow;
	char client[HEAPD_NAME_MAX]; /* what it calls itself */
};

/* What a user has of the heap, as it was counted when the first one was asked for. */
struct heapd_user {
	uint64_t next; /* asked: the first one from this number on; in a reply: for the next one, 0: there is none */
	uint32_t uid;
	uint32_t sessions, readers; /* of this heap, but for the asking one; of those, that only read */
	uint32_t full, waits;       /* it gets no more now; and one of its threads has asked for it */
	uint32_t unused;
	uint64_t bytes, share, most; /* that it has, that are kept for it, that it may have now */
	uint64_t session_bytes;      /* that its sessions take of the daemon, those of other heaps, too */
};

#define HEAPD_HELD_PAGE 88u
struct heapd_held {
	uint64_t session;
	uint32_t part;  /* 0: pins; 1: ranges; 2 + i: thread record i, of the last cycle that scanned it */
	uint32_t count; /* in a reply: words that follow; those that are 0 are left out */
	uint64_t next;  /* ask on from there; in a reply 0: the part is over */
	uint64_t parts; /* in a reply: parts that there are */
	uint64_t words[HEAPD_HELD_PAGE];
};

/* What a client left that died. Objects and bytes: those that only its roots kept. */
#define HEAPD_RECEIPT_WAITING 0u /* for a collection that begins after its death */
#define HEAPD_RECEIPT_COUNTED 1u
#define HEAPD_RECEIPT_PARTLY  2u /* at least so many: to count them all would have taken too long */
#define HEAPD_RECEIPT_UNCOUNTED \
	3u /* collection was off, too many died at once, or there was no memory for it */
#define HEAPD_RECEIPT_CLASSES 12u
struct heapd_receipt_class {
	uint32_t class, unused;
	uint64_t objects, bytes;
};
struct heapd_receipt {
	uint64_t number; /* asked: the next one after it; in a reply 0: there is none */
	uint64_t session;
	uint64_t died; /* CLOCK_REALTIME, ns */
	uint32_t pid, uid;
	uint32_t state; /* HEAPD_RECEIPT_* */
	uint32_t cycle; /* the collection that gave them back; 0: none has yet */
	uint64_t took;  /* ns from its death to the end of that */
	uint64_t objects, bytes;
	uint64_t freed_objects, freed_bytes; /* by that collection, whosever they were */
	uint32_t nclasses, unused;
	struct heapd_receipt_class classes[HEAPD_RECEIPT_CLASSES]; /* the largest */
	char client[HEAPD_NAME_MAX];                               /* what it called itself */
};

#define HEAPD_SAMPLED_PAGE 93u
struct heapd_sampled {
	uint32_t count, unused;
	uint64_t objects[HEAPD_SAMPLED_PAGE]; /* in a reply 0: that is no object, or is one no more */
};

struct heapd_message {
	uint32_t op; /* enum heapd_op; in a reply the same */
	uint32_t seq;
	int32_t status; /* in a reply: 0 or -errno */
	union {
		uint32_t nfds;     /* in a reply: descriptors that go with it */
		uint32_t repeated; /* in a request: it was sent before, with this seq, and no answer came */
	};
	union {
		struct heapd_hello hello;
		struct heapd_welcome welcome;
		struct heapd_again again;
		struct heapd_type_request type;
		struct heapd_type_reply type_reply;
		struct heapd_class_request class;
		struct heapd_large_request large;
		struct heapd_root_request root;
		struct heapd_ticket ticket;
		struct heapd_setting setting;
		struct heapd_collect collect;
		struct heapd_dead_request dead;
		struct heapd_verify_reply verify;
		struct heapd_room_request room;
		struct heapd_heaps heaps;
		struct heapd_session_info session;
		struct heapd_held held;
		struct heapd_user user;
		struct heapd_sampled sampled;
		struct heapd_receipt receipt;
		uint64_t address;
		char path[752];   /* reply to PATH */
		char report[300]; /* of NOTE_REPORT */
		char bytes[752];
	};
	char text[256]; /* in a reply: status < 0: a sentence that says what to do; HEAPS: "heapd" and its version */
};
_Static_assert(sizeof(struct heapd_message) == 1024, "messages keep their size");

#endif
