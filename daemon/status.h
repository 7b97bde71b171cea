/* SPDX-License-Identifier: MIT */
/*
 * status.h - the line that "systemctl status" shows.
 */
#ifndef HEAPD_DAEMON_STATUS_H
#define HEAPD_DAEMON_STATUS_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "sessions.h"

#define STATUS_MAX 512

struct status {
	const struct sessions *sessions;
	struct event *timer; /* NULL: there is no service manager */
	bool owes;           /* that we are ready, which was not heard */
	char last[STATUS_MAX];
};

/* Kept up to date from then on, once a second at most. */
int status_start(struct status *status, struct event_base *base, const struct sessions *sessions);
/* Says that we are ready; again and again, where that is not heard. */
void status_ready(struct status *status);
void status_stop(struct status *status);

/* What is to be shown now. */
void status_write(const struct sessions *sessions, char text[STATUS_MAX]);

#endif
