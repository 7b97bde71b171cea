/* SPDX-License-Identifier: MIT */
/*
 * The one attachment of this process, and this thread's part of it: what the files of the client
 * library share. A process is attached to one heap at a time; attaching again to the same heap
 * counts references.
 */
#ifndef HEAPD_CLIENT_H
#define HEAPD_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clear.h"
#include "heapd.h"
#include "heapd/atomic.h"
#include "heapd/geometry.h"

#define hidden      __attribute__((visibility("hidden")))
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A type as this process knows it. Allocated once, never freed while attached. */
struct heapd_type {
	struct heapd_heap *heap;
	uint32_t index; /* of its record in the directory */
	uint32_t size;  /* bytes of one object, without a flexible array */
	uint32_t align;
	uint32_t flags; /* HEAPD_TYPE_* */
	uint32_t flex_at, flex_elem;
	uint32_t fixed_class; /* for one object */
	/* classes by size class for arrays and for the flexible form; 0: not asked for yet */
	uint16_t array_class[HEAPD_SIZECLASS_TOTAL];
	uint16_t flex_class[HEAPD_SIZECLASS_TOTAL];
};

/* report.c: what the agent has to say, until a thread of the program's says it. */
#define REPORT_BOXES 4u
struct report_box {
	_Atomic uint32_t state;
	int kind;
	char text[320];
};

struct heapd_heap {
	struct heapd_tables t; /* first: the fast path reads it. Valid while attached */
	struct heapd_session *session;
	struct heapd_thread *threads; /* the session's thread records */
	uint32_t path;                /* HEAPD_PATH_RSEQ or HEAPD_PATH_CAS; set once at attach */
	uint32_t rseq_cpus;           /* rows for the fast paths: as many as CPUs; by the other path none */
	uint32_t collect_cpus; /* the same for frees: none, too, where they are not prompt, or debugged */
	uint32_t alloc_cpus;   /* ... and for the fast path of allocations: none, too, in a hardened heap */
	bool hardened;         /* see hardened.h */
	uint8_t zero_narrow;   /* smaller slots than this are cleared by 16 bytes at a time (zero.h) */
	uint32_t read_only;
	_Atomic uint32_t away; /* reconnect.h: AWAY_*; the daemon's sockets have ended */
	uint32_t index;        /* the daemon's place for the session */
	uint64_t session_id;
	_Atomic uint64_t *
		prefaulted; /* one bit for each 64 KiB of heap: this process has it mapped; NULL: huge pages */
	uint64_t supply_timeout_ns; /* how long an allocation waits for the daemon */
	uint64_t request_timeout_ns;
	char name[HEAPD_NAME_MAX];

	pthread_mutex_t request_lock; /* one request at a time on the socket */
	int socket, notify;
	uint32_t seq;
	uint32_t references;
	pthread_mutex_t lock; /* of this process alone: thread records, pins, ranges, types */
	struct heapd_geometry geometry;
	uint32_t options; /* HEAPD_ATTACH_* */
	pthread_t agent;
	int agent_stop; /* an eventfd that ends the agent */

	/* map.c: open for the child of a fork, which maps them again; control is -1 when read-only */
	int heap_fd, directory_fd, control_fd;
	uint64_t prefaulted_size; /* bytes of the bitmap */
	bool barriers_late;       /* attach.c: the agent is to register for membarriers */
	bool orphan;              /* in a forked child without a heap: only the directory is mapped */

	/* thread.c, under lock: which records this process has claimed, and each one's thread-local words */
	uint64_t threads_claimed[HEAPD_THREAD_MAX / 64];
	uint64_t threads_mapped[HEAPD_THREAD_MAX / 64]; /* those whose parts of the session are open */
	struct thread_words *thread_words;

	/* pin.c: free pins as a stack without a lock; {count of changes, 1 + pin} and each pin's next */
	_Atomic uint64_t pin_free;
	uint32_t *pin_next;
	uint32_t pins; /* under lock: ever used; the session's npins is a copy */

	/* answer.c and handshake.c */
	int signal;             /* the handshake's; 0: none */
	struct asked *asked;    /* by record: what the agent asked of its thread */
	_Atomic uint32_t stray; /* a thread that was met on a stack that it did not tell of, or 0 */
	bool stray_reported, handler_reported; /* once in an attachment */

	struct fork_child *child;  /* fork.c: what its handlers leave each other */
	struct events *events;     /* event.c */
	uint32_t debug;            /* HEAPD_HELLO_DEBUG: what HEAPD_DEBUG asks for */
	struct dangling *dangling; /* dangling.c */
	_Atomic bool leaving;      /* attach.c: its threads are about to have no records */
	struct watches *watches;   /* watch.c: what heapd_wait_fd() was asked for */
	struct clear_past cleared; /* clear.c */

	/* reconnect.c */
	char socket_path[108];
	_Atomic uint64_t away_since;
	_Atomic uint32_t epoch; /* counts the daemon's returns */
	char lost_reason[256];

	void (*report)(void *arg, int kind, const char *text); /* report.c; NULL: a line on stderr */
	void *report_arg;
	_Atomic uint32_t away_reported;
	_Atomic uint32_t reports_waiting; /* boxes that are full */
	struct report_box reports[REPORT_BOXES];

	_Atomic(struct heapd_type *)
		types[HEAPD_TYPE_MAX]; /* type.c: by number, made when first met, freed with the heap */
};

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): one attachment, and what each thread finds by one load */
/* The attachment of this process, or NULL. Written by attach, detach and the fork handlers alone. */
extern hidden struct heapd_heap *heapd_process;
/* The C library's __rseq_offset, one load nearer: the fast paths begin with it. Set by the first attach, for good. */
extern hidden ptrdiff_t heapd_rseq_area;

/*
 * This thread's record in the session; NULL until the thread is attached. heapd_self is the same while the
 * thread is online, and NULL while it is offline. Two more go with heapd_self: heapd_here, the heap in which the
 * thread is online, else nothing that is a heap or NULL, so that one comparison tells a fast path that it has a heap,
 * and is online there; and the public gate pointer (heapd_gate_, see heapd.h), at the record's gate, or at one of nobody's.
 */
extern hidden __thread struct heapd_thread *heapd_record __attribute__((tls_model("initial-exec")));
extern hidden __thread struct heapd_thread *heapd_self __attribute__((tls_model("initial-exec")));
extern hidden __thread const void *heapd_here __attribute__((tls_model("initial-exec")));
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

/*
 * thread.c: the calling thread's record, online or offline, attaching it if need be; NULL and errno (with a
 * sentence) if it cannot. What touches objects or the record's gate brackets itself with thread_enter().
 */
hidden struct heapd_thread *thread_self(struct heapd_heap *heap);

/* error.c: sets errno and this thread's sentence; returns -error. */
hidden int error_set(int error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, returning NULL. */
#define error_null(...) (error_set(__VA_ARGS__), (void *)0)

/*
 * request.c: sends m, waits for its reply into the same m. 0, or -errno with the sentence set:
 * what the daemon said (its text is taken over), or -EAGAIN when the daemon is away. fds/nfds: room
 * for descriptors (close-on-exec), *nfds set to how many came; NULL if none are expected.
 */
hidden int request_call(struct heapd_heap *heap, struct heapd_message *m, int *fds, size_t *nfds);

/* alloc.c, refill.c, free.c, large.c: */
hidden void *class_alloc(struct heapd_heap *heap, uint32_t class); /* one zeroed slot of a small class */
hidden void *large_alloc(struct heapd_heap *heap, uint32_t class, uint64_t bytes, uint64_t align);
hidden void thread_spares_return(struct heapd_heap *heap,
				 struct heapd_thread *self); /* at thread exit and detach */
/* type.c: the class for (type, kind, size class), made by the daemon when new; -errno if it cannot be had. */
hidden int type_class(struct heapd_type *type, enum heapd_kind kind, uint32_t sizeclass);

/* type.c: the type with this number, from the process cache or the directory; NULL and errno. */
hidden struct heapd_type *type_by_index(struct heapd_heap *heap, uint32_t index);
/* type.c: with the attachment's end: all handles of types end. */
hidden void types_free(struct heapd_heap *heap);
/* type.c: in a forked child that has no heap and cannot map the directory, either. */
hidden void types_bereave(struct heapd_heap *heap);

static inline bool heap_contains(const struct heapd_heap *heap, const void *p)
{
	return (uint64_t)(uintptr_t)p - heap->t.base < heap->t.size;
}

#endif
