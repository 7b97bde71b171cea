/* SPDX-License-Identifier: MIT */
/*
 * account.h - how much memory the daemon may commit in all, how much it has, and what each heap may have of that.
 *
 * A memory cgroup at its limit kills rather than refuses, so whoever commits asks here first. Any thread may
 * take and give at any time. Each heap keeps below its own limit besides (see heap.h). Limits may promise more together than
 * there is, so for each heap a share is kept (HeapShare=): a heap may have what the others have left, less what is kept for them.
 */
#ifndef HEAPD_DAEMON_ACCOUNT_H
#define HEAPD_DAEMON_ACCOUNT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct account {
	uint64_t maximum;       /* never changes after account_init() */
	uint64_t reserve;       /* what is kept back of what there is */
	uint64_t minor;         /* up to which what is small may be taken; the main thread's */
	_Atomic uint64_t taken; /* relaxed: a count, it orders nothing; changed with the lock held */
	pthread_mutex_t lock;   /* of what follows, for some instructions; and of parts */
	uint64_t owed;          /* that is kept, and that those whom it is kept for do not have yet */
	unsigned share, nparts; /* percent of the maximum that is kept for each, and how many they are */
	LIST_HEAD(, account_part) parts;
};

/* A heap's. */
struct account_part {
	struct account *account;
	uint64_t most, kept, taken; /* that it can ever have; that is kept for it; that it has */
	LIST_ENTRY(account_part) link;
};

/* What this machine and this cgroup have, less a reserve for everything that is not accounted. */
void account_init(struct account *account);

/* So many percent, 0: nothing, are kept for each heap: at most even parts, and never more than it can have. */
void account_set_share(struct account *account, unsigned percent);

/* A heap comes, with nothing yet; says what it can ever have; and goes, when it has given back all. */
void account_join(struct account *account, struct account_part *part);
void account_set_most(struct account_part *part, uint64_t bytes);
void account_leave(struct account_part *part);

/* -ENOMEM if it would exceed the maximum, or be taken from what is kept for others; nothing is taken then. */
int account_take(struct account_part *part, uint64_t bytes);
/* The most that could be taken now. */
uint64_t account_left(struct account_part *part);
/*
 * The same for what is small, and is to be had also when heaps have taken all: sessions, of those who come to look, or to free. It
 * comes out of a part of the reserve. The main thread's.
 */
int account_take_minor(struct account_part *part, uint64_t bytes);
/* What was found, and forced, is all there: from now on what is small has its part beyond that. True: it is more than there may be. */
bool account_settle(struct account *account);
/* What is committed already, whatever the maximum is by now. */
void account_force(struct account_part *part, uint64_t bytes);
void account_give(struct account_part *part, uint64_t bytes);
uint64_t account_taken(struct account *account);

/*
 * The least maximum of the cgroup that the file (of the form of /proc/self/cgroup) names and of those above
 * it; UINT64_MAX if there is none. root: where cgroup file systems are mounted.
 */
uint64_t account_cgroup_maximum(const char *file, const char *root);

/* The maximum less the reserve: 64 MiB or 2 %, whichever is more, but never more than half. */
uint64_t account_less_reserve(uint64_t bytes);

#endif
