/* SPDX-License-Identifier: MIT */
/*
 * claims.h - which worker reads which file, and whose result counts.
 */
#pragma once

#include <stdbool.h>

#include "schema.h"

/* Who works: a slot keeps its number, each new process in it has a life of its own, counted from 1. */
struct claimant {
	uint32_t slot, life;
};

/* The table of these files, for the coordinator to make; NULL and errno. */
struct table *claims_new(const struct schema *schema, heapd_heap *heap, const struct corpus *corpus);

/* How often each file is to be read; workers that have found nothing more to do do not come back. */
void claims_set_rounds(struct table *table, uint64_t rounds);

/* How far the work is: rounds times files, and one for each file begun in this round. */
uint64_t claims_turn(const struct table *table);

/*
 * The next file that nobody has claimed in its round: 1, and an attempt that is now under way; 0: there is none; -errno.
 * `attempt` is on the caller's stack.
 */
int claims_next(struct table *table, const struct schema *schema, struct claimant who,
		struct attempt **attempt);

/*
 * A file that an earlier life in this slot left unfinished: as claims_next(). Looks from *from on, which
 * begins at 0 and is set to where to go on.
 */
int claims_inherit(struct table *table, const struct schema *schema, struct claimant who, uint64_t *from,
		   struct attempt **attempt);

/* The attempt has done its whole work: from here on what it published counts. */
void claims_finish(struct attempt *attempt, const struct corpus_finding *finding);

/* Whether it is the attempt that finished its file last. */
bool claims_won(const struct attempt *attempt);

/* Whether it will never count again, whatever happens. Once true, always true. */
bool claims_obsolete(const struct attempt *attempt);

/* Whether what it found is an answer: it won, and the file has not changed since. */
bool claims_counts(const struct attempt *attempt);

/* Marks the text files that have changed since they were read; how many were not marked before. */
uint64_t claims_mark_changed(struct table *table);

struct claims_census {
	uint64_t text, binary, too_large, unreadable, unfinished; /* files */
	uint64_t changed;                                         /* text files, included in `text` */
	uint64_t bytes;                                           /* of text */
	uint64_t objects, bytes_held;                             /* of the table itself */
	uint64_t left_files, left_postings, left_bytes;           /* half done by workers that were killed */
};
void claims_count(const struct table *table, struct claims_census *census);
