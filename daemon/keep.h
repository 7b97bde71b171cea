/* SPDX-License-Identifier: MIT */
/*
 * keep.h - heapd --keep: a parent that holds the daemon's descriptors, and starts it again when it dies.
 */
#ifndef HEAPD_DAEMON_KEEP_H
#define HEAPD_DAEMON_KEEP_H

#include "config.h"
#include "log.h"

/* Runs until SIGTERM or SIGINT. argv: what the daemon is started with, its name first. Its exit status, or -errno. */
int keep_run(char **argv, const struct config *config, struct log *log);

#endif
