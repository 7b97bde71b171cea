/* SPDX-License-Identifier: MIT */
/*
 * lives.h - the daemons that one heapd --keep starts one after the other, each traced from its birth.
 */
#ifndef HEAPD_CRASH_LIVES_H
#define HEAPD_CRASH_LIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct lives {
	pid_t keeper;
	pid_t daemon;  /* of now; 0: none */
	uint64_t bias; /* of its addresses */
	const uint64_t *
		breaks; /* addresses in the file, ascending: the daemon is killed before it executes one of them */
	size_t nbreaks;
	uint64_t hit;  /* the one that it was killed at; 0: none */
	uint64_t born; /* lives so far */
	/* Where this is set a break is told and taken away, and the daemon goes on. */
	void (*pass)(void *arg, uint64_t at);
	void *arg;
	unsigned char *were; /* what stood at the breaks; room for them all */
};

/* The keeper must be a child of this process. Its present daemon ends. */
void lives_begin(struct lives *l, pid_t keeper);
/* Lets go of keeper and daemon: both go on. */
void lives_end(struct lives *l);

/*
 * Until the daemon was killed at a break, or the word is not 0 (NULL: none is looked at), or the time is over: then the
 * daemon is killed where it is, if it is to be. Breaks are those of daemons that are born from now on.
 */
void lives_run(struct lives *l, const _Atomic uint32_t *word, uint64_t ns, bool kill_then);
/* The daemon is asked to end, and does: or is killed at a break, or when the time is over. */
void lives_ask(struct lives *l, uint64_t ns);
/* The present daemon has these breaks from now on, whatever it was born with. */
void lives_arm(struct lives *l);

#endif
