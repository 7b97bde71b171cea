/* SPDX-License-Identifier: MIT */
/*
 * listing.h - who is attached to a heap, and what they hold, for those who look after it.
 */
#ifndef HEAPD_DAEMON_LISTING_H
#define HEAPD_DAEMON_LISTING_H

#include "heapd/message.h"
#include "refusal.h"
#include "sessions.h"

/* The session with the least id after info->id that `asking` may know of; id 0: there is none. */
void listing_session(const struct session *asking, struct heapd_session_info *info);

/* The user with the least number, from user->next on, that `asking` may know of; next 0: there is none. The first one has all counted. */
void listing_user(const struct session *asking, struct heapd_user *user);

/* Some of the words that session held->session holds as roots, from held->next of held->part on. */
int listing_held(const struct session *asking, struct heapd_held *held, struct refusal *why);

/* The receipt with the least number after receipt->number that `asking` may know of; number 0: there is none. */
void listing_receipt(const struct session *asking, struct heapd_receipt *receipt);

#endif
