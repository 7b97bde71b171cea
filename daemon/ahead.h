/* SPDX-License-Identifier: MIT */
/*
 * What is committed ahead of need, and huge pages. Guarded by heap->lock, but for what says otherwise.
 */
#ifndef HEAPD_AHEAD_H
#define HEAPD_AHEAD_H

#include "pageheap.h"

/*
 * Commits at most one chunk, or what is gone of one, ahead of need. The second step needs no lock; nobody takes pages of that chunk meanwhile, unless
 * there are no others: then it is committed at once. begin: false: there is nothing to do. end: true: there may be more.
 */
bool pages_ahead_begin(struct pages *pages, enum pages_who who);
void pages_ahead_commit(struct pages *pages, enum pages_who who);
bool pages_ahead_end(struct pages *pages, enum pages_who who);
/* As above, of a chunk that is free, and committed as small pages. What is left to look at is looked at next time. */
bool pages_huge_begin(struct pages *pages);
/* As above, of one that is in use almost whole. Who touches it while it is made waits for that: not too often. */
bool pages_used_begin(struct pages *pages);

/* From now on the scavenger's thread makes huge pages, by this, and nobody else does; NULL: no more. */
void pages_scavenged(struct pages *pages, struct collapser *collapser);
/* Wakes it if there is something to do ahead of need. */
void pages_ring(struct pages *pages);
/* Less lies ahead than is to; for the supplier beside a scavenger: so little that it does not wait for that one. */
bool pages_are_short(const struct pages *pages, enum pages_who who);
/* Once a second: what lies ahead is halved unless it was short meanwhile. */
void pages_calm(struct pages *pages);

/* For the page heap's own files: free pages that are there; how many of those are to lie ahead; not enough did; ... */
uint64_t ahead_pages(const struct pages *pages);
uint64_t ahead_reserve(const struct pages *pages);
void ahead_raise(struct pages *pages);
/* ... somebody has this chunk in hand; one that somebody has is committed here and now: false: there is none. */
bool ahead_has(const struct pages *pages, uint64_t chunk);
bool ahead_take_over(struct pages *pages);
/* Wakes the scavenger, if there is one. */
void ahead_ring(struct pages *pages);

#endif
