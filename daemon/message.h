/* SPDX-License-Identifier: MIT */
/*
 * message.h - answers to the requests of an attached process.
 */
#ifndef HEAPD_DAEMON_MESSAGE_H
#define HEAPD_DAEMON_MESSAGE_H

#include "heapd/message.h"
#include "refusal.h"
#include "sessions.h"

/*
 * Answers one request, which may hold anything, in its place; the status, and the sentence in why if it was
 * refused. HELLO, HELLO_CHILD, FORK and BYE are not answered here: they make and end sessions.
 */
int message_answer(struct session *session, struct heapd_message *m, struct refusal *why);

/* Whether answering it can take as long as the heap is large. */
bool message_is_heavy(uint32_t op);

#endif
