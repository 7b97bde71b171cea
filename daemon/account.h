/* SPDX-License-Identifier: MIT */
/*
 * account.h - how much memory the daemon may commit in all, and how much it has.
 *
 * A memory cgroup at its limit kills rather than refuses, so whoever commits asks here first. Any thread may
 * take and give at any time. Each heap keeps below its own limit besides (see heap.h); heaps promise more
 * together than the machine has only until they use it.
 */
#ifndef HEAPD_DAEMON_ACCOUNT_H
#define HEAPD_DAEMON_ACCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct account {
	uint64_t maximum;       /* never changes after account_init() */
	uint64_t reserve;       /* what is kept back of what there is */
	uint64_t minor;         /* up to which what is small may be taken; the main thread's */
	_Atomic uint64_t taken; /* relaxed: a count, it orders nothing */
};

/* What this machine and this cgroup have, less a reserve for everything that is not accounted. */
void account_init(struct account *account);

/* -ENOMEM if it would exceed the maximum; nothing is taken then. */
int account_take(struct account *account, uint64_t bytes);
/*
 * The same for what is small, and is to be had also when heaps have taken all: sessions, of those who come to look, or to free. It
 * comes out of a part of the reserve. The main thread's.
 */
int account_take_minor(struct account *account, uint64_t bytes);
/* What was found, and forced, is all there: from now on what is small has its part beyond that. True: it is more than there may be. */
bool account_settle(struct account *account);
/* What is committed already, whatever the maximum is by now. */
void account_force(struct account *account, uint64_t bytes);
void account_give(struct account *account, uint64_t bytes);
uint64_t account_taken(struct account *account);

/*
 * The least maximum of the cgroup that the file (of the form of /proc/self/cgroup) names and of those above
 * it; UINT64_MAX if there is none. root: where cgroup file systems are mounted.
 */
uint64_t account_cgroup_maximum(const char *file, const char *root);

/* The maximum less the reserve: 64 MiB or 2 %, whichever is more, but never more than half. */
uint64_t account_less_reserve(uint64_t bytes);

#endif
