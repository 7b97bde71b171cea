/* SPDX-License-Identifier: MIT */
/*
 * recover.h - heaps that an earlier daemon made, as the file descriptor store has them.
 */
#ifndef HEAPD_DAEMON_RECOVER_H
#define HEAPD_DAEMON_RECOVER_H

#include "heap.h"
#include "store.h"

/*
 * Looks for the heap in the store. 1: it is there, and files and the rest of the plan say what it is; 0: it is not, and what
 * was left of one that nobody can have attached to is dropped. < 0, logged: it is there, and this daemon cannot serve it; it
 * stays stored.
 */
int recover_find(struct store *store, const char *name, struct heap_plan *plan, struct heap_files *files);

/*
 * The store has it, and nobody has taken it yet. One that was being made when its daemon died is none: it is made anew, and finds
 * its place with those that are new.
 */
bool recover_is_kept(const struct store *store, const char *name);

/* Where a kept heap lies that nobody has taken yet, if this item of the store is its directory. */
bool recover_place(const struct store *store, size_t item, uint64_t *base, uint64_t *bytes);

/* The heap is made: from now on its files are stored. -ENOSPC, logged: they cannot be. */
int recover_store(struct store *store, struct heap *heap);

/* Locks the ledger against every other daemon, as long as this process lives; sees who of the last one punches still. -EBUSY, logged. */
int recover_lock(struct heap *heap);

/* Of an adopted heap, before anybody looks at it: what the daemon derives. */
int recover_run(struct heap *heap);

/* It has been adopted, with so many sessions, which took so long: to the log, the journal, the counts and who probes. */
void recover_tell(struct heap *heap, unsigned sessions, uint64_t ns);

#endif
