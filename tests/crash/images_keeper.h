/* SPDX-License-Identifier: MIT */
/*
 * images_keeper.h - who keeps descriptors for the daemon: as systemd does, or heapd --keep, in the daemon's own process.
 */
#ifndef HEAPD_CRASH_IMAGES_KEEPER_H
#define HEAPD_CRASH_IMAGES_KEEPER_H

#include <stdint.h>

/* Sets the environment by which a daemon knows that it is kept. */
void keeper_begin(void);
/* Gives a daemon that is about to start all that is kept: descriptors and environment, as sd_listen_fds(3) says. */
void keeper_pass(void);
/* What was put in after that place on the tape is not there any more, and what was taken out is again. */
void keeper_back(uint64_t at);

#endif
