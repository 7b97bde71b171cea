/* SPDX-License-Identifier: MIT */
/*
 * fixture_raw.c - owns clients that speak the protocol without the library.
 *
 * Right because it is written from the contract alone: a mistake that library and daemon share would show here.
 */
#include "fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "heapd/geometry.h"

int fixture_connect(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	memcpy(address.sun_path, f->socket, sizeof(f->socket));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static void collect_fds(struct msghdr *h, struct fixture_fds *fds)
{
	fds->n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		fds->n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds->fd, CMSG_DATA(c), fds->n * sizeof(int));
	}
}

int fixture_receive(int fd, struct heapd_message *m, struct fixture_fds *fds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(fds->fd))];
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	struct fixture_fds ignored;
	ssize_t n;

	do
		n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ECONNRESET;
	collect_fds(&h, fds ? fds : &ignored);
	if (!fds)
		fixture_close(&ignored);
	return n == (ssize_t)sizeof(*m) ? 0 : -EPROTO;
}

int fixture_call(int fd, struct heapd_message *m, struct fixture_fds *fds)
{
	uint32_t op = m->op, seq = m->seq;
	int r;

	if (send(fd, m, sizeof(*m), MSG_NOSIGNAL) < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	r = fixture_receive(fd, m, fds);
	if (r == 0 && (m->op != op || m->seq != seq))
		return -EPROTO;
	return r;
}

void fixture_close(struct fixture_fds *fds)
{
	while (fds->n)
		close(fds->fd[--fds->n]);
}

void fixture_hello(struct heapd_message *m, const char *heap, uint32_t flags)
{
	memset(m, 0, sizeof(*m));
	m->op = HEAPD_OP_HELLO;
	m->seq = 7;
	m->hello.fingerprint = heapd_layout_fingerprint();
	m->hello.flags = flags;
	snprintf(m->hello.heap, sizeof(m->hello.heap), "%s", heap);
	snprintf(m->hello.client, sizeof(m->hello.client), "test");
}

int fixture_attach(const struct fixture *f, const char *heap, uint32_t flags, struct heapd_message *m,
		   struct fixture_fds *fds)
{
	int fd = fixture_connect(f), r;

	if (fd < 0)
		return fd;
	fixture_hello(m, heap, flags);
	r = fixture_call(fd, m, fds);
	if (r == 0)
		r = m->status;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

/* Sessions that ended a moment ago may still count. */
static int attach_in_turn(const struct fixture *f, const char *heap, struct heapd_message *m)
{
	uint64_t end = fixture_now_ns() + 2000000000u;
	struct fixture_fds fds = { .n = 0 };
	int fd;

	do
		fd = fixture_attach(f, heap, HEAPD_HELLO_READ_ONLY, m, &fds);
	while (fd == -EUSERS && fixture_now_ns() < end && usleep(1000) == 0);
	fixture_close(&fds);
	return fd;
}

typedef bool excuse(const char *fault);

static int64_t verify(const struct fixture *f, const char *heap, excuse *is_excused, uint64_t *dangling)
{
	struct heapd_message m;
	int64_t r;
	int fd;

	fd = attach_in_turn(f, heap, &m);
	if (fd < 0) {
		fprintf(stderr, "heap '%s' cannot be verified: %s %s\n", heap, strerror(-fd), m.text);
		return fd;
	}
	m = (struct heapd_message){ .op = HEAPD_OP_VERIFY };
	r = fixture_call(fd, &m, NULL);
	if (r == 0)
		r = m.status < 0 ? m.status : (int64_t)m.verify.faults;
	if (r > 0 && is_excused && is_excused(m.verify.first))
		r = 0;
	if (r > 0)
		fprintf(stderr, "heap '%s': %" PRId64 " faults; the first: %.256s\n", heap, r,
			m.verify.first);
	if (r == 0 && !is_excused && m.verify.dangling)
		printf("heap '%s': %" PRIu64 " bytes reachable; %" PRIu64
		       " pointers dangle, the first: %.256s\n",
		       heap, m.verify.reachable, m.verify.dangling, m.verify.dangling_first);
	*dangling = r == 0 ? m.verify.dangling : 0;
	m = (struct heapd_message){ .op = HEAPD_OP_BYE };
	fixture_call(fd, &m, NULL);
	close(fd);
	return r;
}

int64_t fixture_verify(const struct fixture *f, const char *heap)
{
	uint64_t dangling;

	return verify(f, heap, NULL, &dangling);
}

int64_t fixture_verify_but(const struct fixture *f, const char *heap, bool (*is_excused)(const char *fault))
{
	uint64_t dangling;

	return verify(f, heap, is_excused, &dangling);
}

int64_t fixture_verify_strictly(const struct fixture *f, const char *heap)
{
	uint64_t dangling = 0;
	int64_t r = verify(f, heap, NULL, &dangling);

	return r ? r : (int64_t)dangling;
}
