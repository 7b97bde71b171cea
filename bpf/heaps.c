/* SPDX-License-Identifier: MIT */
/*
 * Owns the list of heaps, and the conversation by which it is kept: every second the daemon is asked which heaps there
 * are, and of each that is not mapped yet for its directory. One that it has no more leaves the list, unless the user
 * named it.
 *
 * The exporter attaches for reading, as any client that is let in may, takes the directory's descriptor, and detaches
 * at once: it stays no client, has nothing to answer in a collection, and can hold up none. That a daemon has ended,
 * which then writes no more, says a pidfd. Whose, say the credentials that the kernel puts on each of its messages: the
 * socket may be one that systemd, which is not the daemon, has made (SO_PEERCRED).
 *
 * Nothing here waits, but once at the start: one message is under way at a time, and its answer is an event. A daemon that is
 * stopped is asked again a second later.
 */
#include "heaps.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "heapd/message.h"

#define FDS          8u
#define DIRECTORY_FD 1u /* heap, directory, session, notify */
#define HEAPS_MAX    1024u

static const struct timeval second = { .tv_sec = 1 };

/* The conversation. */
struct look {
	struct heaps *heaps;
	struct event *timer, *answer;
	int fd;      /* -1: there is none now */
	uint32_t op; /* what was asked last */
	unsigned at; /* the heap that is asked for */
};

/* What was answered. */
struct answer {
	struct heapd_message m;
	struct ucred from;
	int fds[FDS];
	unsigned n;
};

/* The list -------------------------------------------------------------------------------------------------------- */

void heaps_init(struct heaps *heaps, const char *socket)
{
	*heaps = (struct heaps){ .socket = socket, .pidfd = -1 };
}

static struct directory *heap_find(const struct heaps *heaps, const char *name)
{
	for (unsigned i = 0; i < heaps->n; i++)
		if (!strcmp(heaps->all[i]->name, name))
			return heaps->all[i];
	return NULL;
}

static struct directory *heap_add(struct heaps *heaps, const char *name)
{
	struct directory *heap = heap_find(heaps, name), **all;

	if (heap || heaps->n == HEAPS_MAX)
		return heap;
	all = realloc(heaps->all, (heaps->n + 1) * sizeof(*all));
	if (!all)
		return NULL;
	heaps->all = all;
	heap = directory_new(name);
	if (heap)
		all[heaps->n++] = heap;
	return heap;
}

static void unlisted_drop(struct heaps *heaps)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < heaps->n; i++)
		if (heaps->all[i]->wanted || heaps->all[i]->listed)
			heaps->all[kept++] = heaps->all[i];
		else
			directory_free(heaps->all[i]);
	heaps->n = kept;
}

int heaps_want(struct heaps *heaps, const char *name)
{
	struct directory *heap = heap_add(heaps, name);

	if (!heap)
		return -ENOMEM;
	heap->wanted = true;
	heaps->named = true;
	return 0;
}

/* The daemon ------------------------------------------------------------------------------------------------------ */

static void daemon_forget(struct heaps *heaps)
{
	if (heaps->pidfd >= 0)
		close(heaps->pidfd);
	heaps->pidfd = -1;
	heaps->daemon = 0;
	for (unsigned i = 0; i < heaps->n; i++)
		heaps->all[i]->up = false;
}

bool heaps_daemon_lives(struct heaps *heaps)
{
	struct pollfd p = { .fd = heaps->pidfd, .events = POLLIN };

	if (heaps->pidfd >= 0 && poll(&p, 1, 0) != 0)
		daemon_forget(heaps);
	return heaps->pidfd >= 0;
}

static void daemon_know(struct heaps *heaps, pid_t pid)
{
	if (!pid || (heaps_daemon_lives(heaps) && heaps->daemon == pid))
		return;
	daemon_forget(heaps);
	heaps->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (heaps->pidfd >= 0)
		heaps->daemon = pid;
}

/* Messages -------------------------------------------------------------------------------------------------------- */

static void control_read(struct msghdr *h, struct answer *a)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS && bytes == sizeof(a->from)) {
			memcpy(&a->from, CMSG_DATA(c), bytes);
		} else if (c->cmsg_type == SCM_RIGHTS && bytes <= sizeof(a->fds)) {
			memcpy(a->fds, CMSG_DATA(c), bytes);
			a->n = (unsigned)(bytes / sizeof(int));
		}
	}
}

static bool receive(int fd, struct answer *a)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(a->from)) + CMSG_SPACE(sizeof(a->fds))];
	struct iovec io = { &a->m, sizeof(a->m) };
	struct msghdr h = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	ssize_t n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n >= 0)
		control_read(&h, a);
	return n == (ssize_t)sizeof(a->m);
}

static void look_end(struct look *look)
{
	event_del(look->answer);
	if (look->fd >= 0)
		close(look->fd);
	look->fd = -1;
}

static void on_answer(evutil_socket_t fd, short what, void *arg);

static void ask(struct look *look, const struct heapd_message *m)
{
	look->op = m->op;
	if (send(look->fd, m, sizeof(*m), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(*m) ||
	    event_add(look->answer, &second) < 0)
		look_end(look);
}

static int daemon_connect(const char *socket_path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int on = 1, fd;

	if (strlen(socket_path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, socket_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0 &&
		       connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0))
		return fd;
	close(fd);
	return -1;
}

/* The daemon ends a connection with each detach. */
static bool look_connect(struct look *look)
{
	look_end(look);
	look->fd = daemon_connect(look->heaps->socket);
	return look->fd >= 0 && event_assign(look->answer, event_get_base(look->timer), look->fd, EV_READ,
					     on_answer, look) == 0;
}

static void ask_list(struct look *look, uint32_t from)
{
	ask(look, &(struct heapd_message){ .op = HEAPD_OP_HEAPS, .heaps = { .next = from } });
}

static void ask_directory(struct look *look)
{
	const struct heaps *heaps = look->heaps;
	struct heapd_message m = {
		.op = HEAPD_OP_HELLO,
		.hello = { .fingerprint = heapd_layout_fingerprint(),
			   .client = "heapd-exporter",
			   .flags = HEAPD_HELLO_READ_ONLY },
	};

	while (look->at < heaps->n && heaps->all[look->at]->up)
		look->at++;
	if (look->at == heaps->n || !look_connect(look)) {
		look_end(look);
		return;
	}
	memcpy(m.hello.heap, heaps->all[look->at]->name, sizeof(m.hello.heap));
	ask(look, &m);
}

static void list_begin(struct heaps *heaps)
{
	for (unsigned i = 0; i < heaps->n; i++)
		heaps->all[i]->listed = false;
}

/* "heapd 0.1.0": whatever else it may be, it becomes a label of one line and of no great length. */
static void version_take(struct heaps *heaps, const char *text)
{
	static const char allowed[] = "0123456789.+~-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t n;

	if (strncmp(text, "heapd ", 6) != 0)
		return;
	n = strspn(text + 6, allowed);
	snprintf(heaps->version, sizeof(heaps->version), "%.*s", n > 31 ? 31 : (int)n, text + 6);
}

static void list_take(struct look *look, struct heapd_message *m)
{
	struct heaps *heaps = look->heaps;
	struct heapd_heaps *list = &m->heaps;

	m->text[sizeof(m->text) - 1] = 0;
	version_take(heaps, m->text);
	for (uint32_t i = 0; i < list->count && i < HEAPD_HEAPS_PAGE; i++) {
		struct directory *heap;

		list->names[i][HEAPD_NAME_MAX - 1] = 0;
		heap = heaps->named ? heap_find(heaps, list->names[i]) : heap_add(heaps, list->names[i]);
		if (heap)
			heap->listed = true;
	}
	if (list->next) {
		ask_list(look, list->next);
		return;
	}
	unlisted_drop(heaps);
	look->at = 0;
	ask_directory(look);
}

static void directory_take(struct look *look, const struct answer *a)
{
	struct directory *heap = look->heaps->all[look->at++];

	if (a->m.status < 0) {
		ask_directory(look);
		return;
	}
	heap->up = a->n > DIRECTORY_FD && directory_map(heap, a->fds[DIRECTORY_FD]) == 0;
	ask(look, &(struct heapd_message){ .op = HEAPD_OP_BYE });
}

static void take(struct look *look, struct answer *a)
{
	daemon_know(look->heaps, a->from.pid);
	if (a->m.op != look->op || (a->m.status < 0 && a->m.op != HEAPD_OP_HELLO))
		look_end(look);
	else if (a->m.op == HEAPD_OP_HEAPS)
		list_take(look, &a->m);
	else if (a->m.op == HEAPD_OP_HELLO)
		directory_take(look, a);
	else
		ask_directory(look);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct look *look = arg;
	struct answer a = { 0 };

	(void)fd;
	if (what & EV_READ && receive(look->fd, &a))
		take(look, &a);
	else
		look_end(look);
	while (a.n)
		close(a.fds[--a.n]);
}

/* Looking --------------------------------------------------------------------------------------------------------- */

static void look_begin(evutil_socket_t unused, short what, void *arg)
{
	struct look *look = arg;

	(void)unused, (void)what;
	heaps_daemon_lives(look->heaps);
	if (look->fd >= 0 || !look_connect(look))
		return;
	list_begin(look->heaps);
	ask_list(look, 0);
}

int heaps_start(struct heaps *heaps, struct event_base *base)
{
	struct look *look = calloc(1, sizeof(*look));

	if (!look)
		return -ENOMEM;
	*look = (struct look){ .heaps = heaps, .fd = -1 };
	heaps->look = look;
	look->timer = event_new(base, -1, EV_PERSIST, look_begin, look);
	look->answer = event_new(base, -1, EV_READ, on_answer, look);
	if (!look->timer || !look->answer || event_add(look->timer, &second) < 0)
		return -ENOMEM;
	look_begin(-1, 0, look);
	while (look->fd >= 0)
		event_base_loop(base, EVLOOP_ONCE);
	return 0;
}

void heaps_deinit(struct heaps *heaps)
{
	struct look *look = heaps->look;

	if (look) {
		if (look->answer)
			look_end(look);
		if (look->answer)
			event_free(look->answer);
		if (look->timer)
			event_free(look->timer);
		free(look);
	}
	daemon_forget(heaps);
	for (unsigned i = 0; i < heaps->n; i++)
		directory_free(heaps->all[i]);
	free(heaps->all);
}
