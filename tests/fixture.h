/* SPDX-License-Identifier: MIT */
/*
 * fixture.h - real daemons and client processes for tests, each in a private runtime directory.
 *
 * Whatever happens, nothing is left: daemon and clients die with the process that started them, and a keeper
 * process removes the directory, after showing the daemon's log if the test did not end well. A fixture that
 * meets something wrong says so and ends the process with status 1.
 */
#ifndef HEAPD_TESTS_FIXTURE_H
#define HEAPD_TESTS_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "heapd/message.h"

#define FIXTURE_HEAP     "test" /* the heap that every fixture has: 1 GiB of addresses, limit 256 MiB */
#define FIXTURE_SETTINGS 32

struct fixture {
	char dir[80];
	char socket[104];
	char config[104];
	char log[104];
	pid_t daemon;
	pid_t keeper_pid;
	int keeper; /* closed while the keeper lives: the test went wrong */
	bool kept;  /* the daemon runs under heapd --keep */
	size_t nsettings;
	const char *settings[FIXTURE_SETTINGS];
};

/*
 * Starts a daemon and waits until it answers; settings, NULL or ended by NULL, are given to it as --set, and
 * must live as long as the fixture: "heap.NAME.Size=64M", "daemon.MaxSessions=3". Collection is off in each heap
 * whose GCPercent is not among them. Sets HEAPD_SOCKET. HEAPD_TEST_DAEMON of the environment: another program of the build's.
 */
void fixture_start(struct fixture *f, const char *const settings[]);

/* The same with heapd --keep, whose child is the daemon; f->daemon is the keeper's. */
void fixture_start_kept(struct fixture *f, const char *const settings[]);
/* The process that is the daemon just now; waits for there being one. */
pid_t fixture_kept_daemon(const struct fixture *f);

/* Verifies every heap, ends the daemon with SIGTERM and removes everything. */
void fixture_stop(struct fixture *f);

/* Only the daemon, with that signal; waits for its end, and returns its status as waitpid() has it. */
int fixture_kill(struct fixture *f, int signal);
/* Starts it again, in the same place. */
void fixture_restart(struct fixture *f);

/* What the daemon has written so far; to be freed. And whether that comes to hold a text within ten seconds. */
char *fixture_log(const struct fixture *f);
bool fixture_logged(const struct fixture *f, const char *text);

/* How many entries the daemon's table of files has. */
unsigned fixture_daemon_files(const struct fixture *f);

/* Runs fn in a child process, whose exit status is what it returns. The child dies with its parent. */
pid_t fixture_client_fork(int (*fn)(void *arg), void *arg);

/* Waits for a child (-1: whichever ends first); expected: its exit status, or minus the signal that ended it. */
void fixture_wait(pid_t pid, int expected);

/* The seed of HEAPD_TEST_SEED, or a new one; printed, so that a failure can be had again. */
uint64_t fixture_seed(void);

/* Monotonic time. */
uint64_t fixture_now_ns(void);

/* Raw clients: the protocol without the library. */

struct fixture_fds {
	int fd[8];
	size_t n;
};

/* A connected socket, or -errno. */
int fixture_connect(const struct fixture *f);

/* Sends a request and waits for its reply in the same place. 0, or -errno: -ECONNRESET if the socket ended. */
int fixture_call(int fd, struct heapd_message *m, struct fixture_fds *fds);
int fixture_receive(int fd, struct heapd_message *m, struct fixture_fds *fds);
void fixture_close(struct fixture_fds *fds);

/* Fills a correct HELLO; and says it on a new connection: the socket, or -errno from the reply's status. */
void fixture_hello(struct heapd_message *m, const char *heap, uint32_t flags);
int fixture_attach(const struct fixture *f, const char *heap, uint32_t flags, struct heapd_message *m,
		   struct fixture_fds *fds);

/* A heap's faults; says the first one, if there are any. -errno if it could not be asked. */
int64_t fixture_verify(const struct fixture *f, const char *heap);
/* ... where clients have lied: there are none if the first one is theirs. */
int64_t fixture_verify_but(const struct fixture *f, const char *heap, bool (*is_excused)(const char *fault));
/* ... where nobody frees by hand what something leads to: pointers that dangle are faults, too. */
int64_t fixture_verify_strictly(const struct fixture *f, const char *heap);

#endif
