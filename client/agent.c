/* SPDX-License-Identifier: MIT */
/*
 * The agent: one thread of the library's own in each attached process.
 *
 * It reads the daemon's notes, sees the daemon go, has the process answer a scan (handshake.c), queues
 * events (event.c), and looks at the words that heapd_wait_fd() was asked for. What a note says stands in the directory: it looks there
 * after whatever woke it. It blocks every signal, so that it never runs a handler of the program's, and it calls
 * nothing of the program's either: what the program is to hear is left for a thread of its own. It
 * holds no heap pointer but those whose objects others hold, so it has no thread record. Its eventfd
 * wakes it, and ends it when its count says so: only detach does that.
 */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"
#include "clock.h"
#include "dangling.h"
#include "event.h"
#include "handshake.h"
#include "heapd/message.h"
#include "reconnect.h"
#include "report.h"
#include "watch.h"

#define AGENT_STACK (128ul << 10)
#define AGENT_END   (1ull << 32) /* added to the eventfd's count; a kick adds 1 */

enum { POLL_STOP, POLL_NOTIFY, POLL_AGAIN, POLL_WATCHES };

/* The others say what stands in the directory. */
static void note_take(struct heapd_heap *heap, struct heapd_message *m)
{
	m->report[sizeof(m->report) - 1] = 0;
	if (m->op == HEAPD_NOTE_REPORT)
		report_leave(heap, HEAPD_REPORT_RULE, "%s", m->report);
	if (m->op == HEAPD_NOTE_CYCLE && heap->debug & HEAPD_HELLO_DANGLING)
		dangling_look(heap);
}

/* False when the daemon has closed the notify socket. */
static bool notes_read(struct heapd_heap *heap)
{
	struct heapd_message m;

	for (;;) {
		ssize_t n = recv(heap->notify, &m, sizeof(m), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n == (ssize_t)sizeof(m))
			note_take(heap, &m);
	}
}

/* True when it is to end. */
static bool kicks_read(int fd)
{
	eventfd_t count = 0;

	return eventfd_read(fd, &count) == 0 && count >= AGENT_END;
}

/* Until something comes, or it is time to look again; 0: no time is set. */
static int agent_poll(struct pollfd *p, nfds_t n, bool watches, uint64_t handshake_ns, uint64_t again_ns)
{
	uint64_t ns = watches ? WATCH_MS * CLOCK_MS : CLOCK_NEVER;
	struct timespec t;

	if (handshake_ns && handshake_ns < ns)
		ns = handshake_ns;
	if (again_ns && again_ns < ns)
		ns = again_ns;
	if (ns == CLOCK_NEVER)
		return ppoll(p, n, NULL, NULL);
	t = clock_timespec(ns);
	return ppoll(p, n, &t, NULL);
}

/*
 * While the daemon is away: a step of the way back. No note can come meanwhile, so the directory is looked at now and then, also
 * when nobody will ever come back.
 */
static uint64_t away_step(struct heapd_heap *heap, struct reconnect *again, struct pollfd *p)
{
	uint64_t ns;

	if (atomic_load(&heap->away) == AWAY_NOT)
		return 0;
	ns = reconnect_step(heap, again);
	p[POLL_AGAIN].fd = again->fd;
	if (atomic_load(&heap->away) == AWAY_NOT)
		p[POLL_NOTIFY].fd = heap->notify;
	return ns && ns < RECONNECT_LOOK_NS ? ns : RECONNECT_LOOK_NS;
}

static void *agent_main(void *arg)
{
	struct heapd_heap *heap = (struct heapd_heap *)arg;
	struct handshake handshake = { 0 };
	struct reconnect way = RECONNECT_INIT;
	struct pollfd p[POLL_WATCHES + WATCH_MAX] = {
		[POLL_STOP] = { .fd = heap->agent_stop, .events = POLLIN },
		[POLL_NOTIFY] = { .fd = heap->notify, .events = POLLIN },
		[POLL_AGAIN] = { .fd = -1, .events = POLLIN },
	};

	prctl(PR_SET_NAME, "heapd-agent");
	if (heap->barriers_late)
		attach_barriers_register();
	for (;;) {
		uint64_t back = away_step(heap, &way, p), again = handshake_serve(heap, &handshake);
		nfds_t watches = watches_poll(heap, &p[POLL_WATCHES]);
		if (agent_poll(p, POLL_WATCHES + watches, watches, again, back) < 0)
			continue;
		if (p[POLL_STOP].revents && kicks_read(heap->agent_stop))
			break;
		if (p[POLL_NOTIFY].revents && !notes_read(heap)) {
			reconnect_lost(heap);
			p[POLL_NOTIFY].fd = -1;
		}
		watches_look(heap);
		events_look(heap);
	}
	reconnect_end(&way);
	return NULL;
}

/*
 * In a forked child glibc gives its first thread the stack of one of the parent's, and ThreadSanitizer, which has not forgotten
 * that one, ends the process ("dup thread with used id"). No earlier stack, of an agent or of the usual 8 MiB, is large
 * enough for the next agent.
 */
static size_t agent_stack(void)
{
#ifdef HEAPD_TSAN
	static size_t bytes = 9ul << 20; /* attach_lock guards it */

	return bytes += 64ul << 10;
#else
	return AGENT_STACK;
#endif
}

/* A program with much static TLS needs more than the small stack: pthread_create says so, and gets the default. */
static int agent_create(struct heapd_heap *heap)
{
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r)
		return r;
	r = pthread_attr_setstacksize(&attr, agent_stack());
	if (!r)
		r = pthread_create(&heap->agent, &attr, agent_main, heap);
	pthread_attr_destroy(&attr);
	return r == EINVAL ? pthread_create(&heap->agent, NULL, agent_main, heap) : r;
}

int agent_start(struct heapd_heap *heap)
{
	sigset_t all, before;

	heap->agent_stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (heap->agent_stop < 0)
		return error_set(
			errno,
			"heap '%s': cannot make an eventfd: %s: close some files, or raise RLIMIT_NOFILE",
			heap->name, strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = agent_create(heap);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r)
		return 0;
	agent_forget(heap);
	return error_set(
		r,
		"heap '%s': cannot start the agent thread: %s: allow one more thread (RLIMIT_NPROC, pids.max)",
		heap->name, strerror(r));
}

void agent_end(struct heapd_heap *heap)
{
	if (heap->agent_stop < 0)
		return;
	/* It is waited for without end, so it has to hear of it, also where something came between the write and its descriptor. */
	while (eventfd_write(heap->agent_stop, AGENT_END) < 0)
		sched_yield();
	pthread_join(heap->agent, NULL);
	agent_forget(heap);
}

void agent_kick(struct heapd_heap *heap)
{
	eventfd_write(heap->agent_stop, 1);
}

void agent_forget(struct heapd_heap *heap)
{
	if (heap->agent_stop >= 0)
		close(heap->agent_stop);
	heap->agent_stop = -1;
}
