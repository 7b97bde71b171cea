/* SPDX-License-Identifier: MIT */
/*
 * schema.h - the shapes of all objects that the demo keeps in the heap.
 *
 *   root "heapd-demo" -> index -> table   -> file -> path
 *                              |             |  ^
 *                              |       winner|  |file
 *                              |             v  |
 *                              |           attempt <----+
 *                              |                        |attempt
 *                              -> buckets -> term -> posting -> posting -> ...
 *
 * What an update replaces becomes garbage by being taken out of these chains; nothing in here is freed by hand.
 * All processes agree on these structures and follow the pointers in them as they are. Pointer fields are
 * written by heapd_init(), heapd_store() and heapd_cas() only.
 */
#pragma once

#include <heapd.h>
#include <stdint.h>

#include "corpus.h"

#define INDEX_ROOT "heapd-demo"

struct index {
	heapd_ptr(struct table) table;
	heapd_ptr(struct buckets) buckets;
	uint64_t pruned; /* buckets that somebody has pruned, or is just pruning; over and over. See postings.c */
};

/* The map from words to terms: a hash table with chains. See index.c. */
struct buckets {
	uint64_t mask; /* their number, a power of two, less one */
	heapd_ptr(struct term) heads[];
};

/* One word. Its next, hash and text never change once it is in a chain. */
struct term {
	heapd_ptr(struct term) next;
	heapd_ptr(struct posting) postings;
	uint32_t hash, length;
	char text[];
};

/* All places of one word in one file, as one attempt found them. Once in a chain, only its next changes. */
struct posting {
	heapd_ptr(struct posting) next;
	heapd_ptr(struct attempt) attempt;
	uint32_t count;
	uint32_t offsets[];
};

/* The files, and who works at which. See claims.c. */
struct table {
	uint64_t nfiles;
	uint64_t bytes; /* of all files together */
	uint64_t hint; /* all turns below it are claimed: file i has turn i in the first round, i + nfiles in the second */
	uint64_t rounds; /* how often each file is to be read */
	uint64_t left_files, left_postings,
		left_bytes; /* half done by the dead, before their files were done again */
	heapd_ptr(struct file) files[];
};

struct file {
	heapd_ptr(char) path;
	heapd_ptr(struct attempt) claim;  /* the last that began */
	heapd_ptr(struct attempt) winner; /* the last that finished */
	uint64_t size;                    /* when it was found */
	uint32_t number;                  /* in the table */
};

/* One worker's try at one file. */
struct attempt {
	heapd_ptr(struct file) file;
	uint64_t round;            /* counted from 1 */
	uint32_t slot, life;       /* the worker */
	struct corpus_stamp stamp; /* of the file, when it was read; like kind, set before it wins */
	uint32_t kind;             /* enum corpus_kind */
	uint32_t changed;          /* since it was read: leave the file out of every answer */
	uint64_t postings, bytes;  /* what it has published so far */
};

/* This process's handles of the types. */
struct schema {
	heapd_type *index, *buckets, *term, *posting, *table, *file, *attempt;
};

/* Finds or creates the types; -errno after having said why not. */
int schema_define(struct schema *schema, heapd_heap *heap);
