/* SPDX-License-Identifier: MIT */
/*
 * The marker: from grey words to black objects. It knows nothing of cycles, clients or locks.
 *
 * All calls come from one thread, the collector's; the workers that share the work are the marker's own. It reads
 * objects while clients write them: each word is read once. It reads the directory's page, span, class and type
 * tables, whose records stand while a cycle is under way (no span is freed then; one that is cut meanwhile comes
 * with its mark words set, see marks.h).
 */
#ifndef HEAPD_DAEMON_MARKER_H
#define HEAPD_DAEMON_MARKER_H

#include "heap.h"
#include "worker.h"

struct marker;

#define MARKER_QUEUE     4096u /* objects in a worker's queue; a power of two, as each of these */
#define MARKER_QUEUE_MIN 128u
#define MARKER_NICE      (-5) /* where it may: ahead of clients, and behind the supplier, for which they wait */

/* threads: 1 or more, the caller's own included. -ENOMEM, or why no thread could be made. */
int marker_init(struct marker **marker, struct heap *heap, unsigned threads);
int marker_init_queue(struct marker **marker, struct heap *heap, unsigned threads, unsigned queue);
/* One of one thread, that marks in these words instead of the cycle's, by slab, and counts no foreign words for anybody. */
int marker_init_over(struct marker **marker, struct heap *heap, uint64_t *mark);
void marker_deinit(struct marker *marker);

/* A new cycle: nothing is grey, counts are 0. The mark words are the caller's to set. */
void marker_begin(struct marker *marker);

/*
 * Makes what the word points into grey, if it points into a slot, at its start or inside it, whose mark bit is
 * clear; any word may be given. True if it was white. The second form reads n words, each once, from memory that
 * a client may write; `past`: a word stands for itself and for the byte before it (stack words). The number of
 * objects made grey.
 */
bool marker_shade(struct marker *marker, uint64_t word);
uint64_t marker_shade_all(struct marker *marker, const uint64_t *words, uint64_t n, bool past);

/* Marks for a while, some thousands of objects: true if nothing is grey any more. */
bool marker_drain(struct marker *marker);

/* The cycle is void: nobody touches the mark words any more when this returns. */
void marker_give_up(struct marker *marker);

/* As of the last marker_drain() that ended with nothing grey. */
/* Portions of work that all threads together have done, ever: it grows as long as marking gets on. */
uint64_t marker_portions(const struct marker *m);

const struct marker_counts *marker_counts(const struct marker *marker);
/* ... of which the foreign ones in this word of objects of this type; all elements of a flexible array are one. */
uint64_t marker_foreign(const struct marker *marker, uint32_t type, uint64_t word);
const struct foreign *marker_foreign_all(const struct marker *marker);

#endif
