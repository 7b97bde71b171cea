/* SPDX-License-Identifier: MIT */
/* A contender's answering: requests come in on standard input, answers go out on standard output. */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include "crew.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Says hello, answers until standard input ends; an exit status. nworkers is a decimal number, daemon a pid or
 * "0", as the command line has them. opened() is called once all workers have begun; it may be NULL.
 */
int bench_serve(const char *nworkers, const char *daemon, const struct bench_trade *trade,
		struct bench_hello *hello, void (*opened)(void));

#ifdef __cplusplus
}
#endif

#endif
