/* SPDX-License-Identifier: MIT */
/*
 * One process builds a tree of many nodes, another, which runs already, comes to it and walks through it, twice.
 *
 * A way to share gives three functions; share_run() runs them in two processes and prints one line:
 *   share NAME NODES build-ms first-ms walk-ns again-ns MiB
 * built; from then until the other process has read its first node of a structure that it can use; its first walk and
 * its second, a node; and what memory both, and whoever serves them, hold more than before.
 */
#ifndef BENCH_SHARE_H
#define BENCH_SHARE_H

#include "cell.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SHARE_PAYLOAD 5 /* words: a node has 64 bytes where its links are two pointers */

struct share {
	uint64_t nodes;
	void *arg;    /* the way's own */
	int ready[2]; /* a pipe from the builder to the reader, for whoever has nothing better to wait for */
	double *shared; /* bytes that are neither process's own, as the way finds them: [0] before, [1] after */
};

struct share_way {
	const char *name;
	void (*begin)(struct share *s, bool reader); /* in each of the two processes */
	void (*build)(
		struct share *s); /* the builder: nodes 0 to nodes - 1, node i's children 2i + 1 and 2i + 2 */
	void (*hand_over)(struct share *s); /* the builder: until the reader can have all */
	uint64_t (*take)(struct share *s);  /* the reader: waits; the key of the root */
	uint64_t (*walk)(struct share *s);  /* the reader: the sum of all keys, following the links */
};

/* An exit status. */
int share_run(const struct share_way *way, uint64_t nodes, void *arg);

/* The same for all. */
uint64_t share_key(uint64_t node);
void share_fail(const char *what) __attribute__((noreturn));
/* By the pipe in struct share. */
void share_tell(struct share *s);
void share_await(struct share *s);

#ifdef __cplusplus
}
#endif

#endif
