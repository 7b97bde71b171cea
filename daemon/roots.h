/* SPDX-License-Identifier: MIT */
/*
 * roots.h - named roots and tickets: the objects of a heap that the daemon itself holds.
 *
 * The main thread alone changes them. Named roots stand in the directory, where anybody reads them; tickets
 * are private to the daemon.
 */
#ifndef HEAPD_DAEMON_ROOTS_H
#define HEAPD_DAEMON_ROOTS_H

#include <stdint.h>

#include "heap.h"
#include "heapd/message.h"
#include "refusal.h"

#define ROOTS_TICKETS_MAX        4096u
#define ROOTS_TICKET_SECONDS     60u /* where none were asked for */
#define ROOTS_TICKET_SECONDS_MAX 86400u

int roots_init(struct heap *heap);
void roots_deinit(struct heap *heap);

/*
 * HEAPD_OP_ROOT_OFFER, _SET and _CAS. The reply, written over the request, says what the root holds now;
 * also with -EAGAIN (CAS: it held something else), but with no other error.
 */
int roots_change(struct heap *heap, enum heapd_op op, struct heapd_root_request *request,
		 struct refusal *why);

/* The object is held until the ticket is taken or its time has passed. now: CLOCK_MONOTONIC, ns. */
int roots_ticket_issue(struct heap *heap, struct heapd_ticket *ticket, uint64_t now, struct refusal *why);
/* client: who takes it, by its place in heap->clients; the object is held for it until the reply has arrived. */
int roots_ticket_take(struct heap *heap, unsigned client, struct heapd_ticket *ticket, uint64_t now,
		      struct refusal *why);
void roots_tickets_expire(struct heap *heap, uint64_t now);
size_t roots_tickets(const struct heap *heap);

/* Calls look with each object that a named root or a ticket holds; any thread. It must not change roots. */
void roots_look(struct heap *heap, void (*look)(void *arg, uint64_t object), void *arg);

#endif
