/* SPDX-License-Identifier: MIT */
/*
 * The way back to a daemon that died, or was replaced: the memory of the attachment is as it was, only the sockets are gone.
 *
 * The agent connects, says which session of which heap this is (HELLO_AGAIN) and takes the new notify socket. The daemon
 * knows the process by what the kernel says of it. It does not wait: with a listening socket that is kept, a connection stands
 * in the queue until a daemon takes it, and scans are to be answered meanwhile.
 *
 * The sockets change under request_lock, which is only tried for: who holds it talks on the old socket, and finds that it has
 * ended. `away` goes to 0 there, too, so who holds the lock and finds 0 has the new one. An answer that the old daemon
 * sent and that was not read yet is read from the old socket by who waits for it; what it names is held for this session until
 * its next request, which the lock puts after that.
 */
#include "reconnect.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "attach.h"
#include "clock.h"
#include "heapd/message.h"

#define PAUSE_FIRST_NS   (1 * CLOCK_MS)
#define PAUSE_LONGEST_NS (50 * CLOCK_MS)
#define BUSY_NS          (CLOCK_MS / 2) /* until the request lock is tried for again */
#define OVERDUE_NS       (2000 * CLOCK_MS)

static void wake_all(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void reconnect_lost(struct heapd_heap *heap)
{
	uint32_t not_away = AWAY_NOT;

	if (atomic_load(&heap->away) != AWAY_NOT)
		return;
	atomic_store(&heap->away_since, clock_now());
	atomic_compare_exchange_strong(&heap->away, &not_away, AWAY);
}

bool reconnect_is_overdue(const struct heapd_heap *heap)
{
	uint64_t grace = heap->request_timeout_ns < OVERDUE_NS ? heap->request_timeout_ns : OVERDUE_NS;
	uint32_t away = atomic_load(&heap->away);

	return away == AWAY_LOST || (away && clock_now() - atomic_load(&heap->away_since) >= grace);
}

void reconnect_end(struct reconnect *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* Another attempt, later. */
static uint64_t again(struct reconnect *r)
{
	reconnect_end(r);
	r->pause_ns = r->pause_ns ? r->pause_ns * 2 : PAUSE_FIRST_NS;
	if (r->pause_ns > PAUSE_LONGEST_NS)
		r->pause_ns = PAUSE_LONGEST_NS;
	r->next_ns = clock_now() + r->pause_ns;
	return r->pause_ns;
}

static int hello_again(const struct heapd_heap *heap, int fd)
{
	struct heapd_message m = { .op = HEAPD_OP_HELLO_AGAIN };

	m.again.fingerprint = heapd_layout_fingerprint();
	m.again.heap_id = heap->t.directory->id;
	m.again.session = heap->session_id;
	return send(fd, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(m) ? 0 : -errno;
}

static uint64_t attempt_begin(const struct heapd_heap *heap, struct reconnect *r)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, heap->socket_path);
	r->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->fd < 0 || connect(r->fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    hello_again(heap, r->fd) < 0)
		return again(r);
	return RECONNECT_LOOK_NS;
}

static int notify_of(struct msghdr *h)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len >= CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* The answer, and the notify socket that came with it: 0, -EAGAIN: not there yet; or what went wrong. */
static int answer_receive(int fd, struct heapd_message *m, int *notify)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	ssize_t n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	*notify = notify_of(&h);
	return n == (ssize_t)sizeof(*m) ? 0 : -ECONNRESET;
}

/* With request_lock held. */
static void sockets_take(struct heapd_heap *heap, struct reconnect *r, int notify)
{
	attach_hang_up(heap);
	heap->socket = r->fd;
	heap->notify = notify;
	r->fd = -1;
	r->pause_ns = 0;
	atomic_store(&heap->away_reported, 0);
	atomic_fetch_add(&heap->epoch, 1);
	atomic_store(&heap->away, AWAY_NOT);
	wake_all(&heap->away);
}

static uint64_t refused(struct heapd_heap *heap, struct reconnect *r, const struct heapd_message *m)
{
	/* What may be better another time. */
	if (m->status != -ESTALE && m->status != -EPROTO && m->status != -EPERM)
		return again(r);
	memcpy(heap->lost_reason, m->text, sizeof(heap->lost_reason) - 1);
	reconnect_end(r);
	atomic_store(&heap->away, AWAY_LOST);
	wake_all(&heap->away);
	return 0;
}

static uint64_t attempt_go_on(struct heapd_heap *heap, struct reconnect *r)
{
	struct heapd_message m;
	int notify = -1, n;

	/* First, so that an answer that has been read can be acted on. */
	if (!r->locked && pthread_mutex_trylock(&heap->request_lock))
		return BUSY_NS;
	n = answer_receive(r->fd, &m, &notify);
	if (n == 0 && m.status == 0 && notify >= 0)
		sockets_take(heap, r, notify);
	else if (notify >= 0)
		close(notify);
	if (!r->locked)
		pthread_mutex_unlock(&heap->request_lock);
	if (n == -EAGAIN)
		return RECONNECT_LOOK_NS;
	if (r->fd < 0)
		return 0;
	return n == 0 && m.status < 0 ? refused(heap, r, &m) : again(r);
}

uint64_t reconnect_step(struct heapd_heap *heap, struct reconnect *r)
{
	uint64_t now = clock_now();

	if (atomic_load(&heap->away) != AWAY ||
	    HEAPD_LOAD_ACQUIRE(&heap->session->attached) == HEAPD_SESSION_LEFT)
		return 0;
	if (r->fd >= 0)
		return attempt_go_on(heap, r);
	return now < r->next_ns ? r->next_ns - now : attempt_begin(heap, r);
}

bool reconnect_wait(struct heapd_heap *heap, uint64_t deadline)
{
	uint32_t away;

	while ((away = atomic_load(&heap->away)) == AWAY) {
		uint64_t now = clock_now();
		if (now >= deadline)
			return false;
		struct timespec left = clock_timespec(deadline - now);
		syscall(SYS_futex, &heap->away, FUTEX_WAIT_PRIVATE, AWAY, &left, NULL, 0);
	}
	return away == AWAY_NOT;
}

bool reconnect_here(struct heapd_heap *heap, uint64_t deadline)
{
	struct reconnect r = { .fd = -1, .locked = true };

	while (atomic_load(&heap->away) == AWAY && clock_now() < deadline) {
		uint64_t ns = reconnect_step(heap, &r);
		struct pollfd p = { .fd = r.fd, .events = POLLIN };
		struct timespec t = clock_timespec(ns);

		if (ns)
			ppoll(&p, 1, &t, NULL);
	}
	reconnect_end(&r);
	return atomic_load(&heap->away) == AWAY_NOT;
}
