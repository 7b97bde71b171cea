/* SPDX-License-Identifier: MIT */
/*
 * Attaching this process to a heap, and detaching it.
 *
 * heapd_process changes under attach_lock alone. A heap is either attached whole or not at all: every
 * step's failure leads to one place that undoes whatever was done. Waiting for a daemon that is not
 * there yet happens before the lock is taken, so that a fork() in another thread does not wait for it.
 */
#include "attach.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.h"
#include "answer.h"
#include "clock.h"
#include "copies.h"
#include "current.h"
#include "dangling.h"
#include "debug.h"
#include "event.h"
#include "fork.h"
#include "heapd/probes.h"
#include "map.h"
#include "path.h"
#include "pin.h"
#include "request.h"
#include "thread.h"
#include "watch.h"
#include "zero.h"

#define SOCKET_DEFAULT "/run/heapd/heapd.sock"
/* With a sanitizer in it all is slower, the daemon too: as many times as the limits of tests are longer then (scripts/run-san). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TIMEOUT_DEFAULT_MS 100000u
#else
#define TIMEOUT_DEFAULT_MS 10000u
#endif
#define RETRY_FIRST_NS   (1 * CLOCK_MS)
#define RETRY_LONGEST_NS (50 * CLOCK_MS)

#define FLAGS_KNOWN                                                                        \
	(HEAPD_ATTACH_READ_ONLY | HEAPD_ATTACH_THREADS_AWAY | HEAPD_ATTACH_FORK_DETACHED | \
	 HEAPD_ATTACH_NO_WAIT | HEAPD_ATTACH_NO_RSEQ)

enum { WELCOME_HEAP, WELCOME_DIRECTORY, WELCOME_CONTROL, WELCOME_SESSION, WELCOME_NOTIFY, WELCOME_FDS };

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): the one attachment */
struct heapd_heap *heapd_process;
ptrdiff_t heapd_rseq_area;
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static int process_cancel; /* of the lock's holder: a cancelled thread must not leave it behind */
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

void attach_lock(void)
{
	int cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&process_lock);
	process_cancel = cancel;
}

void attach_unlock(void)
{
	int cancel = process_cancel;

	pthread_mutex_unlock(&process_lock);
	pthread_setcancelstate(cancel, NULL);
}

/* What the caller gave, with every default in its place. */
static int options_read(const struct heapd_options *from, struct heapd_options *options)
{
	*options = heapd_options_default();
	if (from) {
		if (from->size < offsetof(struct heapd_options, socket))
			return error_set(
				EINVAL,
				"heapd_attach: the options' size is not set: use heapd_options_default()");
		memcpy(options, from, from->size < sizeof(*options) ? from->size : sizeof(*options));
	}
	if (options->flags & ~FLAGS_KNOWN)
		return error_set(
			EINVAL,
			"heapd_attach: flags %#x are not known: use HEAPD_ATTACH_* of this library's heapd.h",
			options->flags & ~FLAGS_KNOWN);
	if (options->signal && (options->signal < SIGRTMIN || options->signal > SIGRTMAX))
		return error_set(EINVAL,
				 "heapd_attach: signal %d is no real-time signal: use one of %d to %d, or 0",
				 options->signal, SIGRTMIN, SIGRTMAX);
	if (!options->socket)
		options->socket = secure_getenv("HEAPD_SOCKET");
	if (!options->socket)
		options->socket = SOCKET_DEFAULT;
	if (!options->client)
		options->client = program_invocation_short_name;
	if (!options->attach_timeout_ms)
		options->attach_timeout_ms = TIMEOUT_DEFAULT_MS;
	if (!options->supply_timeout_ms)
		options->supply_timeout_ms = TIMEOUT_DEFAULT_MS;
	if (!options->request_timeout_ms)
		options->request_timeout_ms = TIMEOUT_DEFAULT_MS;
	return 0;
}

/* The connected socket, or -errno; -EAGAIN: nobody answers there now. */
static int connect_once(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), cancel, r;

	if (fd < 0)
		return -errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : fd;
	if (r < 0)
		close(fd);
	pthread_setcancelstate(cancel, NULL);
	return r == -ENOENT || r == -ECONNREFUSED ? -EAGAIN : r;
}

static int connect_failed(const char *path, int error)
{
	if (error == EAGAIN)
		return error_set(
			EAGAIN,
			"no daemon answers at %s: start heapd, or name its socket (HEAPD_SOCKET, options.socket)",
			path);
	if (error == EACCES)
		return error_set(EACCES, "this process may not open %s: its user or group must be allowed to",
				 path);
	return error_set(error, "cannot connect to %s: %s: see that heapd listens there", path,
			 strerror(error));
}

static int daemon_connect(const struct heapd_options *options)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint64_t deadline = clock_deadline(options->attach_timeout_ms * CLOCK_MS), pause = RETRY_FIRST_NS;
	int fd;

	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): options_read() sets it */
	if (strlen(options->socket) >= sizeof(address.sun_path))
		return error_set(ENAMETOOLONG,
				 "the socket's path %s has more than %zu bytes: use a shorter one",
				 options->socket, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, options->socket);
	while ((fd = connect_once(&address)) == -EAGAIN) {
		if (options->flags & HEAPD_ATTACH_NO_WAIT || clock_now() >= deadline)
			break;
		struct timespec t = clock_timespec(pause);
		nanosleep(&t, NULL);
		pause = pause * 2 > RETRY_LONGEST_NS ? RETRY_LONGEST_NS : pause * 2;
	}
	return fd < 0 ? connect_failed(options->socket, -fd) : fd;
}

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

void attach_barriers_register(void)
{
	membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

int attach_barriers(struct heapd_heap *heap)
{
	long known = membarrier(MEMBARRIER_CMD_QUERY);

	if (known < 0 || !(known & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED))
		return error_set(
			ENOSYS,
			"heap '%s': this process cannot take part in memory barriers (membarrier): use Linux 4.16 or newer, and have a seccomp filter allow it",
			heap->name);
	heap->barriers_late = !__libc_single_threaded &&
			      !HEAPD_READ_ONCE(heap->t.directory->cycle.collecting);
	if (!heap->barriers_late)
		attach_barriers_register();
	return 0;
}

void attach_hang_up(struct heapd_heap *heap)
{
	if (heap->socket >= 0)
		close(heap->socket);
	if (heap->notify >= 0)
		close(heap->notify);
	heap->socket = heap->notify = -1;
}

static struct heapd_heap *heap_make(const char *name, const struct heapd_options *options)
{
	struct heapd_heap *heap = (struct heapd_heap *)calloc(1, sizeof(*heap));

	if (!heap)
		return error_null(ENOMEM,
				  "heap '%s': no memory for its attachment: free some of this process's own",
				  name);
	strcpy(heap->name, name);
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): options_read() sets it, daemon_connect() has checked it */
	strcpy(heap->socket_path, options->socket);
	heap->options = options->flags;
	heap->request_timeout_ns = options->request_timeout_ms * CLOCK_MS;
	heap->supply_timeout_ns =
		options->flags & HEAPD_ATTACH_NO_WAIT ? 0 : options->supply_timeout_ms * CLOCK_MS;
	heap->report = options->report;
	heap->report_arg = options->report_arg;
	heap->debug = debug_wanted(heap);
	heap->socket = heap->notify = heap->agent_stop = -1;
	heap->heap_fd = heap->directory_fd = heap->control_fd = -1;
	heap->references = 1;
	pthread_mutex_init(&heap->lock, NULL);
	pthread_mutex_init(&heap->request_lock, NULL);
	return heap;
}

/* Unmapped first: the daemon ends who hangs up and can still write. */
static void heap_drop(struct heapd_heap *heap)
{
	agent_end(heap);
	map_drop(heap);
	attach_hang_up(heap);
	types_free(heap);
	events_free(heap);
	watches_free(heap);
	dangling_free(heap);
	pins_free(heap);
	threads_free(heap);
	fork_free(heap);
	pthread_mutex_destroy(&heap->request_lock);
	pthread_mutex_destroy(&heap->lock);
	free(heap);
}

static void hello_write(struct heapd_message *m, const struct heapd_heap *heap,
			const struct heapd_options *options)
{
	*m = (struct heapd_message){ .op = HEAPD_OP_HELLO };
	m->hello.fingerprint = heapd_layout_fingerprint();
	m->hello.flags = options->flags & HEAPD_ATTACH_READ_ONLY ? HEAPD_HELLO_READ_ONLY : 0;
	m->hello.flags |= heap->debug;
	m->hello.signal = (uint32_t)heap->signal;
	strcpy(m->hello.heap, heap->name);
	strncpy(m->hello.client, options->client, sizeof(m->hello.client) - 1);
}

static int welcome_read(struct heapd_heap *heap, const struct heapd_welcome *w, size_t nfds)
{
	bool asked = heap->options & HEAPD_ATTACH_READ_ONLY;

	heap->read_only = w->flags & HEAPD_HELLO_READ_ONLY ? 1 : 0;
	heap->session_id = w->session;
	HEAPD_PROBE(attached, heap->name, heap->session_id);
	heap->index = w->index;
	if (heap->read_only && !asked)
		return error_set(
			EACCES,
			"heap '%s' may only be read by this process: attach it with HEAPD_ATTACH_READ_ONLY",
			heap->name);
	if (nfds == (heap->read_only ? WELCOME_FDS - 1u : WELCOME_FDS + 0u))
		return 0;
	return error_set(
		EPROTO,
		"heap '%s': the daemon sent %zu descriptors; use client library and daemon of one version",
		heap->name, nfds);
}

/* Says hello and maps what comes back. */
static int heap_enter(struct heapd_heap *heap, const struct heapd_options *options)
{
	struct heapd_message m;
	int fds[WELCOME_FDS];
	size_t n = WELCOME_FDS;

	hello_write(&m, heap, options);
	int r = request_exchange(heap, &m, fds, &n);
	if (r < 0)
		return r;
	r = welcome_read(heap, &m.welcome, n);
	if (r >= 0 && heap->read_only) {
		/* There is no control: the others move up. */
		fds[WELCOME_NOTIFY] = fds[WELCOME_SESSION];
		fds[WELCOME_SESSION] = fds[WELCOME_CONTROL];
		fds[WELCOME_CONTROL] = -1;
		n = WELCOME_FDS;
	}
	if (r >= 0)
		r = map_heap(heap, &m.welcome, fds);
	if (r >= 0) {
		close(fds[WELCOME_SESSION]);
		heap->notify = fds[WELCOME_NOTIFY];
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return r;
}

/* Neither of the two words of `special` changes while the heap lives. */
void attach_sequences(struct heapd_heap *heap)
{
#if HEAPD_HAVE_RSEQ
	heapd_rseq_area = __rseq_offset;
#endif
	heap->zero_narrow = zero_narrow(zero_is_wide());
	heap->rseq_cpus = heap->path == HEAPD_PATH_RSEQ ? (uint32_t)heap->t.cpus : 0;
	heap->collect_cpus = heap->t.directory->cycle.special ? 0 : heap->rseq_cpus;
	heap->hardened = heap->t.directory->cycle.debug & HEAPD_DEBUG_HARDENED;
	heap->alloc_cpus = heap->hardened ? 0 : heap->rseq_cpus;
}

/* With attach_lock held: attaches by way of the connected socket, which is the heap's from now on. */
static int process_attach(struct heapd_heap *heap, const struct heapd_options *options, int socket)
{
	int r;

	heap->socket = socket;
	fork_orphan_drop();
	r = fork_init(heap);
	if (r >= 0)
		r = threads_init(heap);
	if (r >= 0)
		r = pins_init(heap);
	if (r >= 0)
		r = watches_init(heap);
	if (r >= 0)
		r = events_init(heap);
	if (r >= 0)
		r = answer_init(heap, options->signal);
	if (r >= 0)
		r = heap_enter(heap, options);
	/* Before the agent is there: in a process of one thread the kernel need not wait for the others. */
	if (r >= 0)
		r = attach_barriers(heap);
	if (r >= 0)
		r = agent_start(heap);
	if (r < 0)
		return r;
	heap->path = path_choose(heap, options->flags);
	heap->session->signal = (uint32_t)heap->signal;
	attach_sequences(heap);
	heapd_process = heap;
	if (thread_self(heap))
		return 0;
	heapd_process = NULL;
	return -errno;
}

/* With attach_lock held: 1 if the process is attached to that heap already, and once more now. */
static int process_attached(const char *name, const struct heapd_options *options)
{
	struct heapd_heap *heap = heapd_process;

	if (!heap)
		return 0;
	if (strcmp(heap->name, name) != 0)
		return error_set(EBUSY,
				 "this process is attached to heap '%s', and can have one: detach that first",
				 heap->name);
	if (heap->read_only && !(options->flags & HEAPD_ATTACH_READ_ONLY))
		return error_set(EBUSY,
				 "this process is attached to heap '%s' for reading only: detach it first",
				 heap->name);
	if (!thread_self(heap))
		return -errno;
	heap->references++;
	return 1;
}

static int name_check(const char *name)
{
	if (name && *name && strnlen(name, HEAPD_NAME_MAX) < HEAPD_NAME_MAX)
		return 0;
	return error_set(EINVAL, "heapd_attach: that is no heap's name: give one of 1 to %u bytes",
			 HEAPD_NAME_MAX - 1);
}

/* Not attached a moment ago: connects, then looks again. *lost: the daemon died in the midst of it. */
static int attach_try(const char *name, const struct heapd_options *options, bool *lost)
{
	int socket = daemon_connect(options), r;
	struct heapd_heap *heap;

	*lost = false;
	if (socket < 0)
		return socket;
	attach_lock();
	r = process_attached(name, options);
	heap = r ? NULL : heap_make(name, options);
	if (!heap) {
		close(socket);
		r = r ? r : -ENOMEM;
	} else {
		r = process_attach(heap, options, socket);
		if (r < 0) {
			*lost = r == -EAGAIN && atomic_load(&heap->away);
			heap_drop(heap);
			errno = -r;
		}
	}
	attach_unlock();
	return r;
}

static int attach_new(const char *name, const struct heapd_options *options)
{
	uint64_t deadline = clock_deadline(options->attach_timeout_ms * CLOCK_MS);
	int r = copies_check();
	bool lost;

	if (r < 0)
		return r;
	do
		r = attach_try(name, options, &lost);
	while (lost && !(options->flags & HEAPD_ATTACH_NO_WAIT) && clock_now() < deadline);
	return r;
}

int heapd_attach(heapd_heap **heap, const char *name, const struct heapd_options *from)
{
	struct heapd_options options;
	int r = heap ? name_check(name)
		     : error_set(EINVAL,
				 "heapd_attach: no place for the heap: give the address of a heapd_heap *");

	if (r >= 0)
		r = options_read(from, &options);
	if (r < 0)
		return r;
	attach_lock();
	r = process_attached(name, &options);
	attach_unlock();
	if (r == 0)
		r = attach_new(name, &options);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): checked not to be NULL; error_set() never returns 0 */
	*heap = heapd_process;
	return 0;
}

/*
 * With attach_lock held. What all threads had taken and not used is handed back before the daemon
 * hears of the end; threads that live on become unattached ones.
 */
static void process_detach(struct heapd_heap *heap)
{
	struct heapd_message m = { .op = HEAPD_OP_BYE };

	atomic_store(&heap->leaving, true);
	threads_leave(heap);
	HEAPD_STORE_RELEASE(&heap->session->attached, HEAPD_SESSION_LEFT);
	/* First, so that it does not connect again, to a daemon that would not be told. */
	agent_end(heap);
	if (!atomic_load(&heap->away))
		request_call(heap, &m, NULL, NULL);
	heapd_process = NULL;
	heap_drop(heap);
}

int heapd_detach(heapd_heap *heap)
{
	int r = 0;

	attach_lock();
	if (!heap || heap != heapd_process)
		r = fork_heap_missing(heap);
	else if (--heap->references == 0)
		process_detach(heap);
	attach_unlock();
	return r;
}
