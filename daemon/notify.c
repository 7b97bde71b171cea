/* SPDX-License-Identifier: MIT */
/*
 * notify.c - owns the way to the service manager's socket.
 *
 * Right because what the socket has taken is the manager's, whatever becomes of us, and what it has not taken was not said: the caller
 * knows, and says it again. sd_notify(3) waits instead until there is room, and a manager that reads nothing, as one that is stopped
 * or overloaded, would stop us with it. What is said needs no memory of ours: each word has a socket of its own.
 */
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* An abstract name begins with a zero byte, for which the variable has an @. 0: there is none. */
static int address_of(struct sockaddr_un *address, socklen_t *length)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t n = name ? strlen(name) : 0;

	if (!n)
		return 0;
	if ((name[0] != '/' && name[0] != '@') || n >= sizeof(address->sun_path))
		return -EINVAL;
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(address->sun_path, name, n);
	if (name[0] == '@')
		address->sun_path[0] = '\0';
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return 1;
}

static void attach(struct msghdr *h, char *room, size_t size, int fd)
{
	struct cmsghdr *c;

	h->msg_control = room;
	h->msg_controllen = size;
	c = CMSG_FIRSTHDR(h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

static int say(int to, struct msghdr *h, unsigned ms)
{
	const struct timeval patience = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
	ssize_t n;

	if (ms && setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	do
		n = sendmsg(to, h, MSG_NOSIGNAL | (ms ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 1;
}

int notify_send(const char *text, int fd, unsigned ms)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct sockaddr_un address;
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr h = { .msg_name = &address, .msg_iov = &iov, .msg_iovlen = 1 };
	int to, r = address_of(&address, &h.msg_namelen);

	if (r <= 0)
		return r;
	if (fd >= 0)
		attach(&h, room, sizeof(room), fd);
	to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (to < 0)
		return -errno;
	r = say(to, &h, ms);
	close(to);
	return r;
}
