/* SPDX-License-Identifier: MIT */
/* A program that allocates, started and asked by the one that compares. */
#ifndef BENCH_CONTENDER_H
#define BENCH_CONTENDER_H

#include <sys/types.h>

#include "cell.h"

struct contender {
	pid_t pid;
	int to, from;
	struct bench_hello hello;
};

/*
 * Starts argv[0] with preload (or NULL) and waits for its hello. -errno: it could not be started or could not
 * begin. On success the contender must be ended.
 */
int contender_start(struct contender *c, char *const argv[], const char *preload);
/* An errno value; EPIPE: it ended, ETIME: it did not answer (and was killed). */
int contender_ask(struct contender *c, const struct bench_request *request, struct bench_answer *answer);
void contender_end(struct contender *c);

/* Runs a program that prints numbers: how many of up to n there were; -1 if it failed. */
int contender_numbers(char *const argv[], double *numbers, int n);

#endif
