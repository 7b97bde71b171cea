/* SPDX-License-Identifier: MIT */
/*
 * quota.h - what one user may cost the daemon.
 */
#ifndef HEAPD_DAEMON_QUOTA_H
#define HEAPD_DAEMON_QUOTA_H

#include <sys/types.h>

#include "refusal.h"
#include "session.h"

/* Measures what all sessions take: now and then, since it costs a system call for each. */
void quota_look(struct sessions *sessions);

/* May this user have one more session? -EUSERS, and which option says no. */
int quota_check(const struct sessions *sessions, uid_t uid, struct refusal *why);

#endif
