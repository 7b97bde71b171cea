/* SPDX-License-Identifier: MIT */
/*
 * child.h - other processes: starting them, waiting for them, ending them; and files between them and us.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_ARGS_MAX 80

/* A command line in the making. The strings are not copied but those of child_arg_number(). */
struct child_args {
	const char *program; /* NULL: the first argument says it */
	char *argv[CHILD_ARGS_MAX + 1];
	unsigned n;
	char numbers[8][24];
	unsigned nnumbers;
};

void child_arg(struct child_args *args, const char *arg);
/* This program, by its own name: the first argument. Also when there is another one in its place by now. */
void child_self(struct child_args *args);
void child_arg_number(struct child_args *args, uint64_t number);

/* What the process gets as standard input, output and error; -1: ours. */
struct child_files {
	int input, output, errors;
};
#define CHILD_FILES_OURS ((struct child_files){ -1, -1, -1 })

/* Blocks the signals that signals_wait() takes; our children begin with none blocked. */
int signals_init(void);

/*
 * Waits until a child ends or the time is over. -EINTR: this process was told to end (SIGINT, SIGTERM,
 * SIGHUP); the signal stays pending, so from then on the answer is always that.
 */
int signals_wait(uint64_t ns);

/* Lets a pending signal do to us what it does by default. */
void signals_release(void);

/* A process group of its own: the terminal's ^C is for us alone, and we end all of the group. */
int child_start(const struct child_args *args, const struct child_files *files, pid_t *pid);

/* True, and its status, if it has ended. */
bool child_ended(pid_t pid, int *status);

/* Waits for its end; -EINTR as above, and it goes on running. */
int child_wait(pid_t pid, int *status);

/* Ends its whole group with this signal and waits. */
void child_stop(pid_t pid, int sig);

/* Runs it to its end: 0, or a negative errno; -EINTR as above, and it is stopped. */
int child_run(const struct child_args *args, const struct child_files *files, int *status);

/* "exit status 3" or "signal 9 (Killed)". */
struct child_fate {
	char text[64];
};
struct child_fate child_fate(int status);

/* A file without a name. */
int scratch_open(void);
