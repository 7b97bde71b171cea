/* SPDX-License-Identifier: MIT */
/*
 * wire.c - owns how messages leave and enter sockets.
 *
 * Right because room for control data is given only where the kernel fills it with credentials: it finds no
 * place for a descriptor and closes it, so a client cannot fill our table. A message is taken whole or not at all.
 */
#include "wire.h"

#include <errno.h>
#include <string.h>

static void read_credentials(struct msghdr *h, struct ucred *credentials)
{
	*credentials = (struct ucred){ 0 };
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS &&
		    c->cmsg_len == CMSG_LEN(sizeof(*credentials)))
			memcpy(credentials, CMSG_DATA(c), sizeof(*credentials));
	}
}

int wire_receive(int fd, struct heapd_message *m, struct ucred *credentials)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(*credentials))];
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	/* Descriptors would fit where credentials do not come. */
	if (credentials) {
		h.msg_control = room;
		h.msg_controllen = sizeof(room);
	}
	do
		n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? 0 : -errno;
	if (n != (ssize_t)sizeof(*m) || h.msg_flags & MSG_TRUNC)
		return -EPROTO;
	if (credentials)
		read_credentials(&h, credentials);
	return 1;
}

uint32_t wire_peek_op(int fd)
{
	uint32_t op;

	_Static_assert(offsetof(struct heapd_message, op) == 0, "what is peeked at is the operation");
	return recv(fd, &op, sizeof(op), MSG_DONTWAIT | MSG_PEEK) == (ssize_t)sizeof(op) ? op : HEAPD_OP_NONE;
}

static void add_fds(struct msghdr *h, void *room, size_t size, const int *fds, size_t nfds)
{
	struct cmsghdr *c;

	h->msg_control = room;
	h->msg_controllen = size;
	c = CMSG_FIRSTHDR(h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nfds * sizeof(*fds));
	memcpy(CMSG_DATA(c), fds, nfds * sizeof(*fds));
}

int wire_send(int fd, struct heapd_message *m, const int *fds, size_t nfds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(WIRE_FDS_MAX * sizeof(*fds))] = { 0 };
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > WIRE_FDS_MAX)
		return -E2BIG;
	if (nfds)
		add_fds(&h, room, CMSG_SPACE(nfds * sizeof(*fds)), fds, nfds);
	m->nfds = (uint32_t)nfds;
	do
		n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
