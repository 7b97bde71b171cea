/* SPDX-License-Identifier: MIT */
/*
 * The commitment of memory: charged, there, counted. For the page heap's own files; guarded by heap->lock.
 */
#ifndef HEAPD_COMMIT_H
#define HEAPD_COMMIT_H

#include "pageheap.h"

/* All that is committed of these pages when it returns 0; -ENOMEM: the heap's limit, the account, or the system. */
int commit_run(struct pages *pages, uint64_t first, uint64_t n);
/* The same of what is gone of them, in committed chunks. */
int commit_gone(struct pages *pages, uint64_t first, uint64_t n);

/* One chunk, in three steps. begin charges it; populate needs no lock; end counts it, or takes the charge back. 0 or -ENOMEM. */
int commit_begin(struct pages *pages, uint64_t chunk, enum pages_who who, struct pages_commit *c);
void commit_populate(struct pages *pages, struct pages_commit *c);
int commit_end(struct pages *pages, const struct pages_commit *c);

/* It is there, and charged. */
void commit_is_there(struct pages *pages, const struct pages_commit *c);
/* A committed chunk is a huge page from now on. */
void commit_as_huge(struct pages *pages, uint64_t chunk);
/* Whether one could be had: if not, none are asked for in a while. */
void commit_note_huge(struct pages *pages, bool had);
/* What clients and operators read of it. */
void commit_publish(struct pages *pages);

#endif
