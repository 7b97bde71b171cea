/* SPDX-License-Identifier: MIT */
/*
 * keep.c - owns the life of a daemon that runs without systemd: starts it, hears it, starts the next.
 *
 * It speaks systemd's protocol, so the daemon does not know the difference: a datagram socket named by NOTIFY_SOCKET takes
 * FDSTORE=1 and FDSTOREREMOVE=1, and the next daemon gets what is stored by LISTEN_FDS. The listening socket is
 * this process's: who connects while there is no daemon waits in its queue.
 *
 * Right because it is small: it reads datagrams (notice.c), keeps what they bring (kept.c), and waits for its child.
 * A datagram that the dead daemon sent lies in the socket still: it is read to the end before the next daemon is
 * started. Messages count only if they come from the child. The abstract socket's name can be had by anybody in the
 * network namespace, but not the child's credentials.
 *
 * A daemon that dies again and again is started after a pause that grows; what is stored stays stored.
 */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "kept.h"
#include "listener.h"
#include "notice.h"

#define FILES_OTHER   64u
#define DEATHS_FREE   20u                 /* daemons that are started again at once, ... */
#define DEATH_COST_NS UINT64_C(200000000) /* ... and for how long each of them counts */
#define PAUSE_FIRST   UINT64_C(20000000)  /* after one that never came up, doubled each time */
#define PAUSE_LONGEST UINT64_C(5000000000)

struct keep {
	struct log *log;
	char **argv;
	char program[PATH_MAX];
	struct listener listener;
	struct sockaddr_un address; /* of notify */
	socklen_t address_length;
	int notify, signals;
	struct kept kept;
	pid_t child;
	int status;     /* of the last child, as waitpid() has it */
	bool ready;     /* the child said so */
	bool stopping;  /* we were told to end */
	unsigned early; /* daemons in a row that ended before they were ready */
	uint64_t spent; /* clock_ns() at which all deaths that count are forgotten */
	uint64_t start; /* when the next one is started; 0: it runs */
};

/* What the daemon says ---------------------------------------------------------------------------------------- */

static void notice_obey(struct keep *k, struct notice *notice)
{
	char name[NOTICE_VALUE];

	if (!notice_value(notice, "FDNAME", name) || strchr(name, ':'))
		strcpy(name, "stored");
	if (notice_says(notice, "FDSTOREREMOVE"))
		kept_remove(&k->kept, name);
	if (notice_says(notice, "READY"))
		k->ready = true;
	if (!notice_says(notice, "FDSTORE"))
		return;
	for (size_t i = 0; i < notice->nfds; i++)
		kept_add(&k->kept, name, notice->fds[i]);
	notice->nfds = 0;
}

static void notices_read(struct keep *k)
{
	struct notice notice;

	while (notice_receive(k->notify, &notice)) {
		if (notice.pid == k->child)
			notice_obey(k, &notice);
		for (size_t i = 0; i < notice.nfds; i++)
			close(notice.fds[i]);
	}
}

/* The daemon's life ------------------------------------------------------------------------------------------- */

static void number_set(const char *name, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	setenv(name, text, 1);
}

static int environment_set(const struct keep *k)
{
	char address[sizeof(k->address.sun_path) + 1];
	char *names = kept_names(&k->kept, "listen");

	if (!names)
		return -ENOMEM;
	/* An abstract name begins with a zero byte, for which the variable has an @. */
	snprintf(address, sizeof(address), "@%.*s",
		 (int)(k->address_length - offsetof(struct sockaddr_un, sun_path) - 1),
		 k->address.sun_path + 1);
	setenv("NOTIFY_SOCKET", address, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	number_set("LISTEN_FDS", k->kept.n + 1);
	number_set("LISTEN_PID", (uint64_t)getpid());
	number_set("FDSTORE", k->kept.most);
	free(names);
	return 0;
}

static void child_run(struct keep *k) __attribute__((noreturn));
static void child_run(struct keep *k)
{
	sigset_t none;
	int r;

	/* What is kept ends with us: a daemon that nobody would start again is not left behind. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	r = environment_set(k);
	if (r == 0)
		r = kept_pass(&k->kept, k->listener.fd);
	if (r == 0) {
		execv(k->program, k->argv);
		r = -errno;
	}
	log_err(k->log, "cannot start %s: %s", k->program, strerror(-r));
	_exit(127);
}

static int child_start(struct keep *k)
{
	pid_t pid = fork();

	if (pid < 0) {
		log_err(k->log, "cannot start a process: %m");
		return -errno;
	}
	if (pid == 0)
		child_run(k);
	k->child = pid;
	k->ready = false;
	k->start = 0;
	return 0;
}

/* How long until the next one: at once, unless many died lately, or they do not come up. */
static uint64_t pause_before(struct keep *k, uint64_t now)
{
	uint64_t pause = PAUSE_FIRST << (k->early < 8 ? k->early : 8);

	if (k->spent < now)
		k->spent = now;
	k->spent += DEATH_COST_NS;
	if (!k->early)
		return k->spent - now > DEATHS_FREE * DEATH_COST_NS ? DEATH_COST_NS : 0;
	return pause < PAUSE_LONGEST ? pause : PAUSE_LONGEST;
}

static void tell_end(const struct keep *k, uint64_t pause)
{
	int status = k->status;

	log_warning(k->log, "the daemon (process %d) %s %d; %zu descriptors are kept; it is started again%s",
		    k->child, WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), k->kept.n,
		    pause ? " after a pause" : "");
}

/* A first daemon that does not come up, such as one with a wrong configuration, leaves nothing to keep. */
static bool is_over(const struct keep *k)
{
	return k->stopping || (!k->ready && !k->kept.n && k->early == 0);
}

/* False: this was the last one. */
static bool child_ended(struct keep *k)
{
	uint64_t now = clock_ns(), pause;

	notices_read(k);
	if (is_over(k)) {
		k->child = 0;
		return false;
	}
	k->early = k->ready ? 0 : k->early + 1;
	pause = pause_before(k, now);
	tell_end(k, pause);
	k->child = 0;
	k->start = now + pause;
	return true;
}

/* Whoever was left to us is waited for, too: in a container this may be process 1. */
static bool children_reap(struct keep *k)
{
	bool go_on = true;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != k->child)
			continue;
		k->status = status;
		go_on = child_ended(k);
	}
	return go_on;
}

/* The loop ---------------------------------------------------------------------------------------------------- */

static void signal_forward(struct keep *k, int number)
{
	if (number == SIGTERM || number == SIGINT)
		k->stopping = true;
	if (k->child && number != SIGCHLD)
		kill(k->child, number);
}

/* False: it is time to end. */
static bool signals_read(struct keep *k)
{
	struct signalfd_siginfo info;

	while (read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		signal_forward(k, (int)info.ssi_signo);
	return children_reap(k) && (k->child || !k->stopping);
}

/* Milliseconds until something is to be done without being asked; -1: for ever. */
static int time_left(const struct keep *k)
{
	uint64_t now = clock_ns();

	if (!k->start)
		return -1;
	return k->start > now ? (int)((k->start - now) / 1000000 + 1) : 0;
}

static int loop(struct keep *k)
{
	struct pollfd p[] = { { .fd = k->notify, .events = POLLIN }, { .fd = k->signals, .events = POLLIN } };

	for (;;) {
		if (k->start && !time_left(k) && child_start(k) < 0)
			k->start = clock_ns() + PAUSE_LONGEST;
		if (poll(p, 2, time_left(k)) < 0 && errno != EINTR)
			return -errno;
		notices_read(k);
		if (!signals_read(k))
			return WIFEXITED(k->status) ? WEXITSTATUS(k->status) : 1;
	}
}

static int notify_open(struct keep *k)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	int on = 1;

	k->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	k->address_length = sizeof(k->address);
	/* With no name at all, the kernel finds an abstract one. */
	if (k->notify < 0 || setsockopt(k->notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(k->notify, (struct sockaddr *)&any, sizeof(any.sun_family)) < 0 ||
	    getsockname(k->notify, (struct sockaddr *)&k->address, &k->address_length) < 0)
		return -errno;
	return 0;
}

static int signals_open(struct keep *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signals < 0 ? -errno : 0;
}

/* By its name, not as the file that runs now: a new build is found when it is started again. */
static int program_find(struct keep *k)
{
	ssize_t n = readlink("/proc/self/exe", k->program, sizeof(k->program) - 1);

	if (n < 0)
		return -errno;
	k->program[n] = '\0';
	return 0;
}

static void raise_file_limit(struct keep *k)
{
	struct rlimit limit = { .rlim_cur = 1024 };

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	k->kept.most = limit.rlim_cur > 2 * FILES_OTHER ? (size_t)limit.rlim_cur / 2 - FILES_OTHER
							: FILES_OTHER;
}

static int prepare(struct keep *k, const struct config *config)
{
	int r;

	raise_file_limit(k);
	r = program_find(k);
	if (r == 0)
		r = notify_open(k);
	if (r == 0)
		r = signals_open(k);
	if (r < 0)
		log_err(k->log, "cannot keep descriptors: %s", strerror(-r));
	if (r == 0)
		r = listener_open(&k->listener, config, k->log);
	return r;
}

int keep_run(char **argv, const struct config *config, struct log *log)
{
	struct keep k = { .log = log,
			  .argv = argv,
			  .notify = -1,
			  .signals = -1,
			  .start = 1,
			  .listener.fd = -1,
			  .kept.log = log };
	int r;

	r = prepare(&k, config);
	if (r == 0)
		r = loop(&k);
	listener_stop(&k.listener);
	kept_free(&k.kept);
	if (k.notify >= 0)
		close(k.notify);
	if (k.signals >= 0)
		close(k.signals);
	return r;
}
