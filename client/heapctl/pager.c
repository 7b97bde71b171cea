/* SPDX-License-Identifier: MIT */
/*
 * pager.c - owns the pager's process: standard output is a pipe to it until pager_close().
 *
 * LESS=FRSX, where the user set none: what fits on the screen is printed and that is all.
 */
#include "pager.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *pager_command(void)
{
	const char *command = secure_getenv("HEAPCTL_PAGER");

	if (!command)
		command = secure_getenv("PAGER");
	return command ? command : "less";
}

static void pager_run(const char *command, int input)
{
	dup2(input, STDIN_FILENO);
	setenv("LESS", "FRSX", 0);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

pid_t pager_open(void)
{
	const char *command = pager_command();
	pid_t pager;
	int ends[2];

	if (!isatty(STDOUT_FILENO) || !*command || pipe(ends) < 0)
		return 0;
	fflush(stdout);
	pager = fork();
	if (pager == 0) {
		close(ends[1]);
		pager_run(command, ends[0]);
	}
	if (pager > 0)
		dup2(ends[1], STDOUT_FILENO);
	close(ends[0]);
	close(ends[1]);
	return pager > 0 ? pager : 0;
}

void pager_close(pid_t pager)
{
	if (pager <= 0)
		return;
	fflush(stdout);
	close(STDOUT_FILENO);
	waitpid(pager, NULL, 0);
}
