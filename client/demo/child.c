/* SPDX-License-Identifier: MIT */
/*
 * child.c - owns every process that the coordinator starts, and the signals that it takes.
 *
 * Nothing happens in a signal handler: the signals are blocked and taken by signals_wait(), so what the
 * coordinator does is never cut in two, and all that it started is ended in one place. Processes are made by
 * posix_spawn, not by fork: fork would make each child a client of the heap before it becomes another program.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void child_arg(struct child_args *args, const char *arg)
{
	if (args->n < CHILD_ARGS_MAX)
		args->argv[args->n++] = (char *)arg;
	args->argv[args->n] = NULL;
}

void child_self(struct child_args *args)
{
	args->program = "/proc/self/exe";
	child_arg(args, program_invocation_short_name);
}

void child_arg_number(struct child_args *args, uint64_t number)
{
	char *text = args->numbers[args->nnumbers++];

	snprintf(text, sizeof(args->numbers[0]), "%llu", (unsigned long long)number);
	child_arg(args, text);
}

/* What our parent has us ignore (nohup), we ignore. */
static void add_unless_ignored(sigset_t *set, int sig)
{
	struct sigaction action;

	if (sigaction(sig, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
		sigaddset(set, sig);
}

static sigset_t waited_for(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	add_unless_ignored(&set, SIGINT);
	add_unless_ignored(&set, SIGTERM);
	add_unless_ignored(&set, SIGHUP);
	return set;
}

/* SIGPIPE is blocked for good: who no longer reads what we print must not keep us from tidying up. */
int signals_init(void)
{
	sigset_t set = waited_for();

	sigaddset(&set, SIGPIPE);
	return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

int signals_wait(uint64_t ns)
{
	struct timespec time = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	sigset_t set = waited_for();
	int sig = sigtimedwait(&set, NULL, &time);

	if (sig < 0 || sig == SIGCHLD)
		return 0;
	raise(sig);
	return -EINTR;
}

void signals_release(void)
{
	sigset_t set = waited_for();

	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int redirect(posix_spawn_file_actions_t *actions, const struct child_files *files)
{
	const int from[] = { files->input, files->output, files->errors };
	int r = 0;

	for (int to = 0; to < 3 && r == 0; to++) {
		if (from[to] >= 0)
			r = posix_spawn_file_actions_adddup2(actions, from[to], to);
	}
	return r;
}

int child_start(const struct child_args *args, const struct child_files *files, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	if (files->input >= 0)
		lseek(files->input, 0, SEEK_SET);
	r = redirect(&actions, files);
	if (r == 0)
		r = posix_spawnp(pid, args->program ? args->program : args->argv[0], &actions, &attributes,
				 args->argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

bool child_ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

int child_wait(pid_t pid, int *status)
{
	while (!child_ended(pid, status)) {
		int r = signals_wait(1000000000);

		if (r < 0)
			return r;
	}
	return 0;
}

void child_stop(pid_t pid, int sig)
{
	kill(-pid, sig);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int child_run(const struct child_args *args, const struct child_files *files, int *status)
{
	pid_t pid;
	int r = child_start(args, files, &pid);

	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): child_start() sets it, or failed */
	r = child_wait(pid, status);
	if (r < 0)
		child_stop(pid, SIGKILL);
	return r;
}

struct child_fate child_fate(int status)
{
	struct child_fate fate;

	if (WIFSIGNALED(status))
		snprintf(fate.text, sizeof(fate.text), "signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(fate.text, sizeof(fate.text), "exit status %d", WEXITSTATUS(status));
	return fate;
}

int scratch_open(void)
{
	FILE *file = tmpfile();
	int fd;

	if (!file)
		return -errno;
	fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
	fd = fd < 0 ? -errno : fd;
	fclose(file);
	return fd;
}
