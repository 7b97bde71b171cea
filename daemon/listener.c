/* SPDX-License-Identifier: MIT */
/*
 * listener.c - owns the socket that clients connect to.
 *
 * Right because two daemons cannot both take a path: the directory is locked from the question whether somebody
 * listens there until we do, and a socket is removed only if nobody does. When descriptors run out, the
 * listener rests for a moment instead of spinning on a connection that it cannot take.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENER_BURST 16 /* connections taken before others have their turn */

static void address_of(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
}

static int fail(struct listener *listener, int error, const char *what)
{
	bool forbidden = error == -EACCES || error == -EPERM || error == -EROFS;

	log_err(listener->log, "socket %s: %s: %s%s", listener->path, what, strerror(-error),
		forbidden ? "; run heapd as root or as a service, or choose another place (Socket=, --socket)"
			  : "");
	return error;
}

/* The directory, made if it is missing, and locked until the descriptor is closed. */
static int lock_directory(struct listener *listener, int *lock)
{
	char copy[sizeof(listener->path)];
	const char *directory;
	int fd;

	memcpy(copy, listener->path, sizeof(copy));
	directory = dirname(copy);
	if (mkdir(directory, 0755) == 0)
		chmod(directory, 0755); /* whatever the umask */
	else if (errno != EEXIST)
		return fail(listener, -errno, "cannot make its directory");
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(listener, -errno, "cannot open its directory");
	if (flock(fd, LOCK_EX) < 0) {
		int r = fail(listener, -errno, "cannot lock its directory");

		close(fd);
		return r;
	}
	*lock = fd;
	return 0;
}

/* 0: nobody listens there; -EADDRINUSE: somebody does. */
static int try_connect(const char *path)
{
	struct sockaddr_un address;
	int fd, r = 0;

	address_of(path, &address);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Every other failure, such as a full queue or another kind of socket, means that it is in use. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno != ECONNREFUSED)
		r = -EADDRINUSE;
	close(fd);
	return r;
}

static int remove_stale(struct listener *listener)
{
	struct stat st;
	int r;

	if (lstat(listener->path, &st) < 0)
		return errno == ENOENT ? 0 : fail(listener, -errno, "cannot look at it");
	if (!S_ISSOCK(st.st_mode))
		return fail(listener, -EEXIST, "is not a socket; remove it, or choose another Socket=");
	r = try_connect(listener->path);
	if (r < 0)
		return fail(listener, r, "somebody listens there; another heapd?");
	if (unlink(listener->path) < 0 && errno != ENOENT)
		return fail(listener, -errno, "nobody listens there, but it cannot be removed");
	log_info(listener->log, "socket %s: nobody listened there any more, made anew", listener->path);
	return 0;
}

static int bind_path(struct listener *listener, mode_t mode)
{
	struct sockaddr_un address;

	address_of(listener->path, &address);
	if (bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(listener, -errno, "cannot be made");
	if (lstat(listener->path, &listener->made) < 0 || chmod(listener->path, mode) < 0)
		return fail(listener, -errno, "cannot set its mode");
	if (listen(listener->fd, SOMAXCONN) < 0)
		return fail(listener, -errno, "cannot listen");
	return 0;
}

static int make_socket(struct listener *listener, const struct config *config)
{
	int lock = -1, r;

	memcpy(listener->path, config->socket, sizeof(listener->path));
	listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return fail(listener, -errno, "cannot be made");
	r = lock_directory(listener, &lock);
	if (r == 0)
		r = remove_stale(listener);
	if (r == 0)
		r = bind_path(listener, config->socket_mode);
	if (lock >= 0)
		close(lock);
	return r;
}

static int take_passed(struct listener *listener, int fd)
{
	listener->fd = fd;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return fail(listener, -errno, "cannot be used without waiting");
	return 0;
}

int listener_open(struct listener *listener, const struct config *config, struct log *log)
{
	int r;

	*listener = (struct listener){ .log = log, .fd = -1 };
	r = make_socket(listener, config);
	if (r < 0)
		listener_stop(listener);
	return r;
}

static void rest(struct listener *listener, int r)
{
	static const struct timeval moment = { .tv_usec = 100000 };

	log_limited(listener->log, &listener->full, LOG_WARNING,
		    "a connection cannot be taken: %s; raise the limit of open files", strerror(-r));
	event_del(listener->ready);
	event_add(listener->resume, &moment);
}

static bool is_short(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS;
}

/* One connection, or an error. */
static int take(struct listener *listener)
{
	int client = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

	if (client < 0)
		return errno == ECONNABORTED || errno == EINTR ? 0 : -errno;
	r = connections_accept(listener->connections, client);
	return is_short(r) ? r : 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;

	(void)fd, (void)what;
	for (int i = 0; i < LISTENER_BURST; i++) {
		int r = take(listener);

		if (is_short(r))
			rest(listener, r);
		if (r < 0)
			return;
	}
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;

	(void)fd, (void)what;
	event_add(listener->ready, NULL);
}

static int watch(struct listener *listener, struct event_base *base)
{
	listener->ready = event_new(base, listener->fd, EV_READ | EV_PERSIST, on_ready, listener);
	listener->resume = evtimer_new(base, on_resume, listener);
	if (listener->ready && listener->resume && event_add(listener->ready, NULL) == 0)
		return 0;
	return fail(listener, -ENOMEM, "cannot be watched");
}

int listener_start(struct listener *listener, struct event_base *base, const struct config *config,
		   struct connections *connections, int passed, struct log *log)
{
	int r;

	*listener = (struct listener){
		.log = log,
		.connections = connections,
		.fd = -1,
		.full.what = "connections that could not be taken",
	};
	r = passed >= 0 ? take_passed(listener, passed) : make_socket(listener, config);
	if (r == 0)
		r = watch(listener, base);
	if (r < 0)
		listener_stop(listener);
	return r;
}

/* Removed only if it is still the one that was made here. */
static void remove_made(struct listener *listener)
{
	struct stat st;

	if (!listener->made.st_ino || lstat(listener->path, &st) < 0)
		return;
	if (st.st_ino == listener->made.st_ino && st.st_dev == listener->made.st_dev)
		unlink(listener->path);
}

void listener_stop(struct listener *listener)
{
	if (listener->ready)
		event_free(listener->ready);
	if (listener->resume)
		event_free(listener->resume);
	if (listener->fd < 0)
		return;
	remove_made(listener);
	close(listener->fd);
	listener->fd = -1;
}
