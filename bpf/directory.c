/* SPDX-License-Identifier: MIT */
/*
 * Owns the mapping of a heap's directory.
 *
 * The exporter attaches for reading, as any client that is let in may, takes the directory's descriptor, and detaches
 * at once: it stays no client, has nothing to answer in a collection, and can hold up none. What it has mapped is memory
 * that the daemon goes on writing. That a daemon has ended, which then writes no more, says a pidfd: its process is
 * who holds the socket's other end (SO_PEERCRED).
 */
#include "directory.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS          8u
#define DIRECTORY_FD 1u /* heap, directory, session, notify */

void directory_init(struct directory *directory, const char *socket, const char *name)
{
	*directory = (struct directory){ .socket = socket, .name = name, .pidfd = -1 };
}

static void forget(struct directory *d)
{
	if (d->t.directory)
		munmap(d->t.directory, d->bytes);
	if (d->pidfd >= 0)
		close(d->pidfd);
	directory_init(d, d->socket, d->name);
}

void directory_deinit(struct directory *directory)
{
	forget(directory);
}

/* A daemon that is stopped may not stop us: each call ends after a second. */
static int daemon_connect(const struct directory *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval second = { .tv_sec = 1 };
	int fd;

	if (strlen(d->socket) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, d->socket);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -ECONNREFUSED;
}

static unsigned fds_of(struct msghdr *h, int fds[FDS])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	size_t bytes;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	bytes = c->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(c), bytes);
	return (unsigned)(bytes / sizeof(int));
}

static int call(int socket, struct heapd_message *m, int fds[FDS], unsigned *n)
{
	char control[CMSG_SPACE(FDS * sizeof(int))];
	struct iovec io = { m, sizeof(*m) };
	struct msghdr h = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	*n = 0;
	if (send(socket, m, sizeof(*m), MSG_NOSIGNAL) < 0)
		return -errno;
	if (recvmsg(socket, &h, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*m))
		return -EPROTO;
	*n = fds_of(&h, fds);
	return m->status;
}

/* Only what was computed for the same geometry is looked at: no offset leads out of the mapping. */
static int map(struct directory *d, int fd)
{
	struct heapd_geometry g, said;
	struct heapd_directory *directory;
	struct stat st;
	void *at;

	if (fstat(fd, &st) < 0)
		return -errno;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	directory = at;
	said = directory->geometry;
	if (directory->magic != HEAPD_DIRECTORY_MAGIC ||
	    directory->fingerprint != heapd_layout_fingerprint() ||
	    !heapd_geometry_compute(&g, said.size, said.cpus) || (uint64_t)st.st_size < g.directory_size) {
		munmap(at, (size_t)st.st_size);
		return -EPROTO;
	}
	forget(d);
	heapd_tables_init(&d->t, &g, directory->base, at, NULL);
	d->bytes = (uint64_t)st.st_size;
	return 0;
}

static void daemon_know(struct directory *d, int socket)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	d->daemon = peer.pid;
	d->pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

static void attach(struct directory *d, int socket)
{
	struct heapd_message m = {
		.op = HEAPD_OP_HELLO,
		.hello = { .fingerprint = heapd_layout_fingerprint(),
			   .client = "heapd-exporter",
			   .flags = HEAPD_HELLO_READ_ONLY },
	};
	int fds[FDS];
	unsigned n, none;

	strncpy(m.hello.heap, d->name, sizeof(m.hello.heap) - 1);
	if (call(socket, &m, fds, &n) == 0 && n > DIRECTORY_FD && map(d, fds[DIRECTORY_FD]) == 0)
		daemon_know(d, socket);
	while (n)
		close(fds[--n]);
	m = (struct heapd_message){ .op = HEAPD_OP_BYE };
	call(socket, &m, fds, &none);
}

static bool is_alive(const struct directory *d)
{
	struct pollfd p = { .fd = d->pidfd, .events = POLLIN };

	return d->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

bool directory_look(struct directory *d)
{
	int fd;

	if (is_alive(d))
		return true;
	fd = daemon_connect(d);
	if (fd >= 0) {
		attach(d, fd);
		close(fd);
	}
	return is_alive(d);
}
