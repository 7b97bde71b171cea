/* SPDX-License-Identifier: MIT */
/*
 * ctl.c - owns how heapctl comes to its heap, and what it says when it cannot.
 *
 * The attachment is for reading only and its thread stays offline: heapctl can change nothing in the heap, and no
 * collection waits for it.
 */
#include "ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "heapd/message.h"
#include "progress.h"
#include "sanity.h"

#define SOCKET_DEFAULT  "/run/heapd/heapd.sock"
#define ANSWER_SECONDS  10
#define COLLECT_STEP_MS 5
#define COLLECT_ASK     100u /* steps between two questions */

int ctl_say(enum ctl_exit status, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("heapctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return (int)status;
}

void ctl_broken(const struct ctl *ctl, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "heapctl: heap '%s': ", ctl->heap->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(": its directory is broken, see heapctl verify\n", stderr);
	*ctl->broken = true;
}

static enum ctl_exit status_of(int r)
{
	switch (r) {
	case -EAGAIN:
	case -ECONNREFUSED:
	case -ENOENT:
		return r == -ENOENT ? CTL_NO_HEAP : CTL_NO_DAEMON;
	case -EACCES:
	case -EPERM:
		return CTL_NO_HEAP;
	default:
		return CTL_TROUBLE;
	}
}

int ctl_failed(int r)
{
	return ctl_say(status_of(r), "%s", heapd_error());
}

int ctl_attach(struct ctl *ctl)
{
	struct heapd_options options = heapd_options_default();
	int r;

	/* The pager is a child: attached, it would be a client that dies as it becomes the pager. */
	options.flags = HEAPD_ATTACH_READ_ONLY | HEAPD_ATTACH_THREADS_AWAY | HEAPD_ATTACH_NO_WAIT |
			HEAPD_ATTACH_FORK_DETACHED;
	options.socket = ctl->socket;
	options.client = "heapctl";
	options.request_timeout_ms = 60000; /* a heap is verified as a whole */
	r = heapd_attach(&ctl->heap, ctl->heap_name, &options);
	/* What can be no heap's name is none. */
	if (r == -EINVAL)
		return ctl_say(CTL_NO_HEAP, "%s", heapd_error());
	if (r < 0)
		return ctl_failed(r);
	sanity_check(ctl);
	return CTL_OK;
}

static const char *socket_path(const struct ctl *ctl)
{
	const char *path = ctl->socket ? ctl->socket : secure_getenv("HEAPD_SOCKET");

	return path ? path : SOCKET_DEFAULT;
}

static int connect_daemon(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = ANSWER_SECONDS };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int ctl_ask(const struct ctl *ctl, struct heapd_message *m)
{
	const char *path = socket_path(ctl);
	int fd = connect_daemon(path);
	ssize_t n = -1;

	if (fd < 0)
		return ctl_say(fd == -EACCES ? CTL_NO_HEAP : CTL_NO_DAEMON, "no daemon answers at %s: %s",
			       path, strerror(-fd));
	if (send(fd, m, sizeof(*m), MSG_NOSIGNAL) == (ssize_t)sizeof(*m))
		n = recv(fd, m, sizeof(*m), 0);
	close(fd);
	if (n != (ssize_t)sizeof(*m))
		return ctl_say(CTL_TROUBLE, "the daemon at %s did not answer", path);
	m->text[sizeof(m->text) - 1] = 0;
	return m->status < 0 ? ctl_say(status_of(m->status), "%s", m->text) : CTL_OK;
}

int ctl_session(const struct ctl *ctl, struct heapd_message *m)
{
	uint64_t after = m->session.id;
	int r;

	m->op = HEAPD_OP_SESSION;
	r = request_call(ctl->heap, m, NULL, NULL);
	if (r < 0)
		return ctl_failed(r);
	if (m->session.id && m->session.id <= after)
		return ctl_say(CTL_TROUBLE, "the daemon's list of sessions goes backwards");
	m->session.client[sizeof(m->session.client) - 1] = 0;
	return CTL_OK;
}

static int collect_ask(const struct ctl *ctl, uint64_t *finished)
{
	struct heapd_message m = { .op = HEAPD_OP_COLLECT };
	int r = request_call(ctl->heap, &m, NULL, NULL);

	*finished = m.collect.finished;
	return r < 0 ? ctl_failed(r) : CTL_OK;
}

static int collect_ended(const struct ctl *ctl, struct progress *progress)
{
	progress_end(progress);
	return atomic_load(&ctl->heap->away)
		       ? ctl_say(CTL_NO_DAEMON, "the daemon has gone")
		       : ctl_say(CTL_TROUBLE, "heap '%s': collection is off: set gc.percent",
				 ctl->heap->name);
}

/*
 * As heapd_collect(), but for that the directory is not believed for ever: when the daemon names a later cycle to wait for,
 * the one before it is over, and the directory has to show it.
 */
static int collect_wait(const struct ctl *ctl, uint64_t wanted, struct progress *progress)
{
	const struct heapd_cycle_words *cycle = &ctl_directory(ctl)->cycle;
	uint64_t later;
	int status = CTL_OK;

	for (unsigned i = 1; status == CTL_OK; i++) {
		progress_step(progress, heapd_now_phase(HEAPD_READ_ONCE(cycle->now)), HEAPD_PHASE_SWEEP);
		if (HEAPD_LOAD_ACQUIRE(&cycle->finished) >= wanted)
			break;
		if (atomic_load(&ctl->heap->away) || !HEAPD_READ_ONCE(cycle->collecting))
			return collect_ended(ctl, progress);
		ctl_sleep(COLLECT_STEP_MS);
		if (i % COLLECT_ASK)
			continue;
		progress_end(progress); /* it may have something to say */
		status = collect_ask(ctl, &later);
		if (status == CTL_OK && later > wanted + 1 && HEAPD_LOAD_ACQUIRE(&cycle->finished) < wanted) {
			ctl_broken(ctl,
				   "it does not show that collections end, which the daemon says they do");
			return CTL_TROUBLE;
		}
	}
	return status;
}

int ctl_collect(const struct ctl *ctl)
{
	struct progress progress;
	uint64_t wanted;
	int status = collect_ask(ctl, &wanted);

	if (status != CTL_OK)
		return status;
	progress_begin(&progress, "phases of the collection");
	status = collect_wait(ctl, wanted, &progress);
	progress_end(&progress);
	return status;
}

void ctl_sleep(uint64_t ms)
{
	const struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

bool ctl_seconds(const char *text, double most, uint64_t *ms)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end || !(s >= 0 && s <= most))
		return false;
	*ms = (uint64_t)(s * 1000);
	return true;
}

bool ctl_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	return !errno && end != text && !*end && *text != '-';
}
