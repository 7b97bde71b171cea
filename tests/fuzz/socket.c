/* SPDX-License-Identifier: MIT */
/*
 * What a client can send.
 *
 * An input is a list of commands: connect, hang up, read or not, send a message of some kind that is right but for what the
 * input lays over it, or anything of any length, with descriptors or without. The daemon's own loop answers, over real
 * sockets, whose other end is another process: a helper makes them, and has nothing else to do. In the end the heaps have to
 * be sound, and no descriptor may be left open.
 */
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/quota.h"
#include "daemon/roots.h"
#include "daemon/supply.h"
#include "machine.h"

#define SOCKETS  8u
#define COMMANDS 200u

/* Of replies, so that the next message can have it. */
struct known {
	uint64_t object, session, heap_id;
	uint32_t type, class, seq;
	char ticket[64];
};

struct target {
	struct machine machine;
	struct event_base *base;
	struct connections connections;
	int socket[SOCKETS];
	bool deaf[SOCKETS];
	struct known known;
};

/* The other process ---------------------------------------------------------------------------------------------------- */

static void send_pair(int to)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		_exit(1);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(pair));
	memcpy(CMSG_DATA(c), pair, sizeof(pair));
	if (sendmsg(to, &h, 0) < 0)
		_exit(1);
	close(pair[0]);
	close(pair[1]);
}

/* The helper's socket; it ends with us. */
static int helper(void)
{
	static int ours = -1;
	pid_t parent = getpid();
	int pair[2];
	char byte;

	if (ours >= 0)
		return ours;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		machine_fail("socketpair");
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		while (getppid() == parent && read(pair[1], &byte, 1) == 1)
			send_pair(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	ours = pair[0];
	return ours;
}

static void pair_make(int pair[2])
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(2 * sizeof(int))];
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};

	if (write(helper(), &byte, 1) != 1 || recvmsg(helper(), &h, MSG_CMSG_CLOEXEC) != 1 ||
	    !CMSG_FIRSTHDR(&h))
		machine_fail("the helper has ended");
	memcpy(pair, CMSG_DATA(CMSG_FIRSTHDR(&h)), 2 * sizeof(int));
}

/* The client ----------------------------------------------------------------------------------------------------------- */

static void hang_up(struct target *t, unsigned i)
{
	if (t->socket[i] >= 0)
		close(t->socket[i]);
	t->socket[i] = -1;
}

static void connect_anew(struct target *t, unsigned i)
{
	int pair[2];

	hang_up(t, i);
	pair_make(pair);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	t->socket[i] = pair[1];
	t->deaf[i] = false;
	connections_accept(&t->connections, pair[0]);
}

static void learn(struct known *known, const struct heapd_message *m)
{
	if (m->status < 0)
		return;
	switch (m->op) {
	case HEAPD_OP_HELLO:
		known->session = m->welcome.session;
		break;
	case HEAPD_OP_LARGE:
		known->object = m->large.address;
		break;
	case HEAPD_OP_TYPE:
		known->type = m->type_reply.type;
		break;
	case HEAPD_OP_CLASS:
		known->class = m->class.class;
		break;
	case HEAPD_OP_TICKET_ISSUE:
		memcpy(known->ticket, m->ticket.text, sizeof(known->ticket));
		break;
	default:
		break;
	}
}

static void close_all(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[16];

		if (c->cmsg_type != SCM_RIGHTS || n > 16)
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
	}
}

static void read_replies(struct target *t, unsigned i)
{
	_Alignas(struct cmsghdr) char room[256];
	struct heapd_message m;
	struct iovec iov = { &m, sizeof(m) };
	ssize_t n;

	do {
		struct msghdr h = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
		};

		n = recvmsg(t->socket[i], &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n > 0)
			close_all(&h);
		if (n == (ssize_t)sizeof(m))
			learn(&t->known, &m);
	} while (n > 0);
	if (n == 0)
		hang_up(t, i);
}

static void send_bytes(struct target *t, unsigned i, const void *bytes, size_t n, unsigned nfds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, n };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[4] = { t->machine.log_fd, t->machine.log_fd, t->machine.log_fd, t->machine.log_fd };

	if (nfds) {
		h.msg_control = room;
		h.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		*CMSG_FIRSTHDR(&h) = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						       .cmsg_type = SCM_RIGHTS,
						       .cmsg_len = CMSG_LEN(nfds * sizeof(int)) };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), fds, nfds * sizeof(int));
	}
	if (t->socket[i] >= 0)
		sendmsg(t->socket[i], &h, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Right, as far as what is known makes it so. */
static void message_fill(const struct target *t, struct heapd_message *m, uint8_t which)
{
	const struct known *known = &t->known;
	char name[2] = { (char)('a' + which % 4), '\0' };

	switch (m->op) {
	case HEAPD_OP_HELLO:
		m->hello = (struct heapd_hello){ .fingerprint = heapd_layout_fingerprint(),
						 .flags = which / 2 % 2 };
		strcpy(m->hello.heap, which % 2 ? "two" : "one");
		break;
	case HEAPD_OP_HELLO_AGAIN:
		m->again = (struct heapd_again){ heapd_layout_fingerprint(),
						 t->machine.heaps[which % 2]->t.directory->id,
						 known->session };
		break;
	case HEAPD_OP_TYPE:
		m->type.size = 64;
		m->type.align = 8;
		m->type.map_bits = which % 9;
		m->type.map[0] = which;
		memcpy(m->type.name, name, sizeof(name));
		break;
	case HEAPD_OP_CLASS:
		m->class.type = known->type;
		m->class.kind = which % 4;
		m->class.sizeclass = which / 4;
		break;
	case HEAPD_OP_LARGE:
		m->large =
			(struct heapd_large_request){ 40000ul << which % 8, 8, 0, HEAPD_SIZECLASS_LARGE, 0 };
		break;
	case HEAPD_OP_ROOT_OFFER:
	case HEAPD_OP_ROOT_SET:
	case HEAPD_OP_ROOT_CAS:
		m->root.object = known->object;
		memcpy(m->root.name, name, sizeof(name));
		break;
	case HEAPD_OP_TICKET_ISSUE:
		m->ticket.object = known->object;
		m->ticket.seconds = which;
		break;
	case HEAPD_OP_TICKET_TAKE:
		memcpy(m->ticket.text, known->ticket, sizeof(known->ticket));
		break;
	case HEAPD_OP_GET:
	case HEAPD_OP_SET:
		strcpy(m->setting.key, which % 2 ? "GCPercent" : "Limit");
		strcpy(m->setting.value, which % 2 ? "50" : "12M");
		break;
	case HEAPD_OP_WATCH_DEAD:
	case HEAPD_OP_NEXT_DEAD:
		m->dead.type = known->type;
		break;
	case HEAPD_OP_HELD:
		m->held.session = known->session;
		m->held.part = which;
		break;
	default:
		m->address = known->object;
	}
}

static void send_message(struct target *t, unsigned i, struct input *in)
{
	struct heapd_message m = { .op = input_byte(in) % (HEAPD_OP_COUNT + 3) };
	uint8_t which = input_byte(in), how = input_byte(in);
	unsigned n = how % 32;

	message_fill(t, &m, which);
	m.seq = how & 64 ? t->known.seq : ++t->known.seq;
	m.repeated = how >> 7;
	if (n) {
		size_t at = offsetof(struct heapd_message, bytes) + input_bytes(in, 2) % sizeof(m.bytes);

		for (unsigned j = 0; j < n && at + j < sizeof(m); j++)
			((uint8_t *)&m)[at + j] = input_byte(in);
	}
	send_bytes(t, i, &m, sizeof(m), how & 32 ? 1u + which % 4 : 0);
}

static void send_anything(struct target *t, unsigned i, struct input *in)
{
	size_t n = input_bytes(in, 2) % 1280, given = (size_t)(in->end - in->at);
	char bytes[1280] = { 0 };

	memcpy(bytes, in->at, n < given ? n : given);
	in->at += n < given ? n : given;
	send_bytes(t, i, bytes, n, 0);
}

/* The daemon ----------------------------------------------------------------------------------------------------------- */

/* The loop, as often as there may be something to do; nobody has to wait for what cost much. */
static void serve(struct target *t)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < MACHINE_HEAPS; i++)
			t->machine.heaps[i]->heavy_until = 0;
		event_base_loop(t->base, EVLOOP_NONBLOCK);
		for (unsigned i = 0; i < SOCKETS; i++)
			if (t->socket[i] >= 0 && !t->deaf[i])
				read_replies(t, i);
	}
}

static void time_passes(struct target *t, uint8_t which)
{
	struct heap *heap = t->machine.heaps[which % MACHINE_HEAPS];

	supply_round(heap);
	roots_tickets_expire(heap, clock_ns() + which * UINT64_C(1000000000));
	connections_look(&t->connections);
	quota_look(&t->machine.sessions);
}

static bool command(struct target *t, struct input *in)
{
	uint8_t what = input_byte(in);
	unsigned i = what / 16 % SOCKETS;

	switch (what % 16) {
	case 0:
		connect_anew(t, i);
		break;
	case 1:
		hang_up(t, i);
		break;
	case 2:
		t->deaf[i] = !t->deaf[i];
		break;
	case 3:
		send_anything(t, i, in);
		break;
	case 4:
		time_passes(t, what / 16);
		break;
	default:
		send_message(t, i, in);
	}
	serve(t);
	return in->at < in->end;
}

static unsigned files_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void begin(struct target *t)
{
	machine_start(&t->machine, MACHINE_HEAPS);
	t->base = event_base_new();
	if (!t->base || connections_init(&t->connections, t->base, &t->machine.sessions, &t->machine.log) < 0)
		machine_fail("the loop cannot be made");
	for (unsigned i = 0; i < SOCKETS; i++)
		t->socket[i] = -1;
}

static void end(struct target *t)
{
	for (unsigned i = 0; i < SOCKETS; i++)
		hang_up(t, i);
	serve(t);
	machine_is_sound(&t->machine);
	connections_deinit(&t->connections);
	event_base_free(t->base);
	machine_stop(&t->machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct target *t = calloc(1, sizeof(*t));
	unsigned files;

	if (!t)
		machine_fail("out of memory");
	signal(SIGPIPE, SIG_IGN);
	helper();
	files = files_open();
	begin(t);
	for (unsigned i = 0; i < COMMANDS && size && command(t, &in); i++)
		;
	end(t);
	free(t);
	if (files_open() != files)
		machine_fail("%u files are open, not %u", files_open(), files);
	return 0;
}
