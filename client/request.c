/* SPDX-License-Identifier: MIT */
/*
 * Requests to the daemon: one at a time, each with its reply.
 *
 * The socket belongs to who holds request_lock. A request whose reply did not come in time is given
 * up, and its late reply is recognised by its seq and dropped, so replies never get out of step. The
 * socket does not block: waiting is poll's, up to one deadline for the whole exchange, and a signal
 * handler that interrupts it costs nothing but the call. Cancellation is held off meanwhile: a
 * cancelled thread must not leave the lock behind.
 */
#include "request.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "clock.h"
#include "fork.h"
#include "freed.h"
#include "place.h"
#include "reconnect.h"
#include "report.h"

struct received {
	int fds[REQUEST_FDS_MAX];
	size_t count;
	bool truncated; /* the process has no room for more descriptors */
};

static void received_close(struct received *r)
{
	for (size_t i = 0; i < r->count; i++)
		close(r->fds[i]);
	r->count = 0;
}

static int socket_wait(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = clock_now();
		if (now >= deadline)
			return -ETIMEDOUT;
		struct timespec left = clock_timespec(deadline - now);
		int n = ppoll(&p, 1, &left, NULL);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* The first message of a forked child names it: the socket was made by its parent. */
static void credentials_add(struct msghdr *h, void *room, size_t size)
{
	struct ucred who = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };

	h->msg_control = room;
	h->msg_controllen = size;
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(who));
	memcpy(CMSG_DATA(c), &who, sizeof(who));
}

static int message_send(int fd, const struct heapd_message *m, uint64_t deadline)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (m->op == HEAPD_OP_HELLO_CHILD)
		credentials_add(&h, room, sizeof(room));
	for (;;) {
		if (sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EAGAIN) {
			int r = socket_wait(fd, POLLOUT, deadline);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

static void received_collect(struct received *r, struct msghdr *h)
{
	r->truncated = h->msg_flags & MSG_CTRUNC;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n && r->count < REQUEST_FDS_MAX; i++)
			memcpy(&r->fds[r->count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

/* One message, whole; -ECONNRESET when the daemon has closed the socket. */
static int message_receive(int fd, struct heapd_message *m, struct received *r, uint64_t deadline)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(REQUEST_FDS_MAX * sizeof(int))];
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	ssize_t n;

	*r = (struct received){ 0 };
	for (;;) {
		struct msghdr h = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
		};
		n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n >= 0) {
			received_collect(r, &h);
			break;
		}
		if (errno == EAGAIN) {
			int w = socket_wait(fd, POLLIN, deadline);
			if (w < 0)
				return w;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	if (n == 0)
		return -ECONNRESET;
	if ((size_t)n == sizeof(*m))
		return 0;
	received_close(r);
	return -EPROTO;
}

/*
 * By its freed bit, which needs neither an attached thread nor a message; nobody ever had the object. Where there is
 * collection a cycle takes it back, and may have done so: then another object may have its address by now.
 */
static void late_object_free(struct heapd_heap *heap, const void *object)
{
	struct place place;

	if (!heap->read_only && !HEAPD_READ_ONCE(heap->t.directory->cycle.collecting) &&
	    place_find(heap, object, &place) && place.start == (uint64_t)(uintptr_t)object)
		freed_set(heap, place.slab, place.bit);
}

/* A late reply, whose caller gave up: what came with it is given back. */
static void reply_drop(struct heapd_heap *heap, struct received *r, const struct heapd_message *m)
{
	received_close(r);
	if (m->op == HEAPD_OP_LARGE && m->status == 0)
		late_object_free(heap, (const void *)(uintptr_t)m->large.address);
}

/* The reply to request m->seq, into the same m; older ones are dropped. */
static int reply_receive(struct heapd_heap *heap, struct heapd_message *m, struct received *r,
			 uint64_t deadline)
{
	uint32_t seq = m->seq;

	for (;;) {
		int n = message_receive(heap->socket, m, r, deadline);
		if (n < 0 || m->seq == seq)
			return n;
		reply_drop(heap, r, m);
	}
}

static bool is_lost(int r)
{
	return r == -ECONNRESET || r == -EPIPE || r == -ENOTCONN;
}

static int failure_away(struct heapd_heap *heap)
{
	if (heap == heapd_process)
		report_away(heap);
	if (atomic_load(&heap->away) == AWAY_LOST)
		return error_set(EAGAIN, "the daemon of heap '%s' is another one: %s", heap->name,
				 heap->lost_reason);
	return error_set(
		EAGAIN, "the daemon of heap '%s' is away, and has not come back in time: see that heapd runs",
		heap->name);
}

static int failure(struct heapd_heap *heap, int r)
{
	switch (r) {
	case -ETIMEDOUT:
		return error_set(
			ETIMEDOUT,
			"the daemon of heap '%s' did not answer within %llu ms: look at its log, or allow a longer request timeout",
			heap->name, (unsigned long long)(heap->request_timeout_ns / CLOCK_MS));
	case -ECONNRESET:
	case -EPIPE:
	case -ENOTCONN:
		return failure_away(heap);
	case -EPROTO:
		return error_set(
			EPROTO,
			"the daemon of heap '%s' sent a message of another size: use client library and daemon of one version",
			heap->name);
	default:
		return error_set(
			-r, "talking to the daemon of heap '%s' failed: %s: look at its log, and try again",
			heap->name, strerror(-r));
	}
}

/* Hands over what came with a reply; whatever the caller has no room for is closed. */
static int reply_accept(struct heapd_heap *heap, struct heapd_message *m, struct received *r, int *fds,
			size_t *nfds)
{
	size_t room = nfds ? *nfds : 0;

	m->text[sizeof(m->text) - 1] = 0;
	if (nfds)
		*nfds = 0;
	if (m->status < 0) {
		received_close(r);
		return error_set(-m->status, "%s",
				 m->text[0] ? m->text
					    : "the daemon refused, and did not say why: look at its log");
	}
	if (r->truncated) {
		received_close(r);
		return error_set(
			EMFILE,
			"heap '%s': too many open files here to take the daemon's descriptors: close some, or raise RLIMIT_NOFILE",
			heap->name);
	}
	if (r->count > room) {
		received_close(r);
		return error_set(
			EPROTO,
			"the daemon of heap '%s' sent descriptors that were not asked for: use client library and daemon of one version",
			heap->name);
	}
	if (r->count) {
		memcpy(fds, r->fds, r->count * sizeof(int));
		*nfds = r->count;
	}
	return 0;
}

/* With request_lock held. is_lost(): the daemon is not there. */
static int exchange(struct heapd_heap *heap, struct heapd_message *m, struct received *got, uint64_t deadline)
{
	int r;

	if (atomic_load(&heap->away))
		return -ENOTCONN;
	if (!m->repeated)
		m->seq = ++heap->seq;
	m->status = 0;
	r = message_send(heap->socket, m, deadline);
	if (r >= 0)
		r = reply_receive(heap, m, got, deadline);
	if (is_lost(r))
		reconnect_lost(heap);
	return r;
}

int request_exchange(struct heapd_heap *heap, struct heapd_message *m, int *fds, size_t *nfds)
{
	struct received got = { 0 };
	uint64_t deadline = clock_deadline(heap->request_timeout_ns);
	int cancel, r;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	r = exchange(heap, m, &got, deadline);
	r = r < 0 ? failure(heap, r) : reply_accept(heap, m, &got, fds, nfds);
	pthread_setcancelstate(cancel, NULL);
	return r;
}

/*
 * Whether it may be sent once more when no answer came: whether it was obeyed, nobody can say. It is obeyed twice then, or an
 * object is made that nobody has, which the next collection finds. What ends a session is not said twice.
 */
static bool may_repeat(const struct heapd_heap *heap, uint32_t op)
{
	return op != HEAPD_OP_BYE && reconnect_may_wait(heap);
}

/* A compare-and-swap that was obeyed before its answer was lost finds its own value there. */
static void repeated_settle(struct heapd_message *m, const struct heapd_message *asked)
{
	if (m->op == HEAPD_OP_ROOT_CAS && m->status == -EAGAIN && m->root.object == asked->root.object)
		m->status = 0;
}

/* Once, or as often as the daemon dies of it. Waits for its return without the lock, which the agent needs for that. */
static int request_insist(struct heapd_heap *heap, struct heapd_message *m, int *fds, size_t *nfds)
{
	uint64_t deadline = clock_deadline(heap->request_timeout_ns);
	struct heapd_message asked = *m;
	struct received got = { 0 };
	uint32_t before;
	int r;

	m->repeated = asked.repeated = 0;
	for (;;) {
		pthread_mutex_lock(&heap->request_lock);
		before = heap->seq;
		r = exchange(heap, m, &got, deadline);
		if (r >= 0 && asked.repeated)
			repeated_settle(m, &asked);
		if (!is_lost(r) || !may_repeat(heap, asked.op))
			break;
		if (heap->seq != before) { /* it went out, or some of it */
			asked.seq = heap->seq;
			asked.repeated = 1;
		}
		pthread_mutex_unlock(&heap->request_lock);
		if (!reconnect_wait(heap, deadline))
			return failure(heap, r);
		*m = asked;
	}
	r = r < 0 ? failure(heap, r) : reply_accept(heap, m, &got, fds, nfds);
	pthread_mutex_unlock(&heap->request_lock);
	return r;
}

int request_call(struct heapd_heap *heap, struct heapd_message *m, int *fds, size_t *nfds)
{
	int cancel;

	if (!heap || heap != heapd_process)
		return fork_heap_missing(heap);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	int r = request_insist(heap, m, fds, nfds);
	pthread_setcancelstate(cancel, NULL);
	answer_poll(heap);
	return r;
}
