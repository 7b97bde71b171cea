/* SPDX-License-Identifier: MIT */
/*
 * contender.c - owns the programs that compare has started and the pipes to them.
 *
 * Right because a contender's standard input ends when compare does, and it dies with compare: none is left.
 */
#include "contender.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MS 60000

static void child_exec(char *const argv[], const char *preload, int in, int out)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if ((in >= 0 && dup2(in, STDIN_FILENO) < 0) || dup2(out, STDOUT_FILENO) < 0)
		_exit(127);
	if (preload)
		setenv("LD_PRELOAD", preload, 1);
	execv(argv[0], argv);
	fprintf(stderr, "bench: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static bool answer_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ANSWER_MS) == 1;
}

int contender_start(struct contender *c, char *const argv[], const char *preload)
{
	int to[2] = { -1, -1 }, from[2] = { -1, -1 }, r = -EPIPE;

	*c = (struct contender){ 0 };
	if (pipe2(to, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(from, O_CLOEXEC) < 0) {
		r = -errno;
		close(to[0]);
		close(to[1]);
		return r;
	}
	c->pid = fork();
	if (c->pid == 0)
		child_exec(argv, preload, to[0], from[1]);
	r = c->pid < 0 ? -errno : -EPIPE;
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
	if (c->pid > 0 && answer_wait(c->from) && bench_read(c->from, &c->hello, sizeof(c->hello)))
		r = -(int)c->hello.failed;
	if (r)
		contender_end(c);
	return r;
}

int contender_ask(struct contender *c, const struct bench_request *request, struct bench_answer *answer)
{
	if (!bench_write(c->to, request, sizeof(*request)))
		return EPIPE;
	if (!answer_wait(c->from)) {
		kill(c->pid, SIGKILL);
		return ETIME;
	}
	return bench_read(c->from, answer, sizeof(*answer)) ? (int)answer->failed : EPIPE;
}

void contender_end(struct contender *c)
{
	close(c->to);
	close(c->from);
	if (c->pid > 0)
		waitpid(c->pid, NULL, 0);
	c->pid = 0;
}

int contender_numbers(char *const argv[], double *numbers, int n)
{
	int from[2], status = 0, found = 0;
	FILE *f;

	if (pipe2(from, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0)
		child_exec(argv, NULL, -1, from[1]);
	close(from[1]);
	f = fdopen(from[0], "r");
	while (pid > 0 && f && found < n && fscanf(f, "%lf", &numbers[found]) == 1)
		found++;
	if (f)
		fclose(f);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		return -1;
	return found;
}
