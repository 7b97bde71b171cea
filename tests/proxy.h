/* SPDX-License-Identifier: MIT */
/* A proxy between a client and the daemon: it hands on copies of the heap's files, or answers, with the errors that are ordered. */
#ifndef HEAPD_TESTS_PROXY_H
#define HEAPD_TESTS_PROXY_H

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "attached.h"
#include "spoil.h"

static char proxy_path[120];

struct wire {
	int client, daemon;
	struct fixture_fds shown; /* what heapctl maps */
	long blocks;
	uint64_t seed;
};

/* One message with these descriptors. */
static inline bool message_pass(int to, const struct heapd_message *m, const struct fixture_fds *fds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(fds->fd))] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds->n) {
		h.msg_control = room;
		h.msg_controllen = CMSG_SPACE(fds->n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds->n * sizeof(int));
		memcpy(CMSG_DATA(c), fds->fd, fds->n * sizeof(int));
	}
	return sendmsg(to, &h, MSG_NOSIGNAL) == (ssize_t)sizeof(*m);
}

/* Heap and directory of a welcome become copies, one of them with errors. */
static inline void welcome_spoil(struct wire *w, struct fixture_fds *fds)
{
	for (unsigned i = 0; i < 2; i++) {
		enum what what = i ? IN_DIRECTORY : IN_HEAP;
		int copy = copy_make(fds->fd[i]);

		if (copy < 0)
			err(1, "copy");
		close(fds->fd[i]);
		fds->fd[i] = copy;
		if (order->kind.what == what)
			scribble(copy, order, &w->seed);
		w->shown.fd[i] = dup(copy);
	}
	w->shown.n = 2;
	w->blocks = blocks_of(&w->shown);
}

static inline void reply_spoil(struct wire *w, struct heapd_message *m)
{
	uint64_t *words = (uint64_t *)(void *)m;
	size_t from = offsetof(struct heapd_message, bytes) / 8, n = sizeof(*m) / 8 - from;

	if (order->way == ENDLESS) {
		m->status = 0;
		if (m->op == HEAPD_OP_SESSION)
			m->session.id = 7;
		else if (m->op == HEAPD_OP_RECEIPT)
			m->receipt.number = 9;
		else if (m->op == HEAPD_OP_HEAPS)
			m->heaps.next = 3;
		else if (m->op == HEAPD_OP_HELD)
			m->held.next = 5;
		return;
	}
	/* Of its head the seq is left, or it would be none to this question. */
	for (size_t i = 0; i < (order->whole ? n : 1 + draw(&w->seed) % 20); i++) {
		size_t at = from + (order->whole ? i : draw(&w->seed) % n);

		words[at] = word_spoil(order->way, &w->seed, words[at], words[from + draw(&w->seed) % n]);
	}
}

/* Two files that do not change would have collections wait for what they have seen long ago. */
static inline void cycle_show(const struct wire *w, const char *directory)
{
	if (order->kind.from != kinds[CYCLE].from && order->kind.from != kinds[HEAD].from && w->shown.n &&
	    directory)
		(void)!pwrite(w->shown.fd[1], directory + kinds[CYCLE].from,
			      kinds[CYCLE].to - kinds[CYCLE].from, (off_t)kinds[CYCLE].from);
}

static inline bool pass_on(struct wire *w, int from, int to, char **directory)
{
	struct fixture_fds fds;
	struct heapd_message m;

	if (fixture_receive(from, &m, &fds) < 0)
		return false;
	if (from == w->daemon && m.op == HEAPD_OP_HELLO && m.status == 0 && fds.n >= 2) {
		*directory = mmap(NULL, kinds[CLASSES].to, PROT_READ, MAP_SHARED, fds.fd[1], 0);
		welcome_spoil(w, &fds);
	} else if (from == w->daemon && order->kind.what == IN_REPLIES) {
		reply_spoil(w, &m);
	}
	bool sent = message_pass(to, &m, &fds);
	fixture_close(&fds);
	return sent;
}

static inline void wire_serve(struct wire *w)
{
	struct pollfd p[2] = { { .fd = w->client, .events = POLLIN }, { .fd = w->daemon, .events = POLLIN } };
	char *directory = NULL;
	bool open = true;

	while (open && poll(p, 2, 1) >= 0) {
		cycle_show(w, directory == MAP_FAILED ? NULL : directory);
		if (p[0].revents)
			open = pass_on(w, w->client, w->daemon, &directory);
		if (open && p[1].revents)
			open = pass_on(w, w->daemon, w->client, &directory);
	}
	order->blocks = w->shown.n ? blocks_of(&w->shown) - w->blocks : 0;
	fixture_close(&w->shown);
}

/* One connection after the other, until it is ended. */
static inline int proxy(void *listener)
{
	for (;;) {
		struct wire w = { .client = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC),
				  .seed = order->seed };

		w.daemon = fixture_connect(&fixture);
		if (w.client < 0 || w.daemon < 0)
			return 1;
		wire_serve(&w);
		close(w.daemon);
		close(w.client);
	}
}

static inline pid_t proxy_start(void)
{
	static int listener;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(proxy_path, sizeof(proxy_path), "%s/proxy", fixture.dir);
	memcpy(address.sun_path, proxy_path, strlen(proxy_path) + 1);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
	return fixture_client_fork(proxy, &listener);
}

#endif
