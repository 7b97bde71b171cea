/* SPDX-License-Identifier: MIT */
/* chores.h - what leads a daemon to places that the operations of a client do not lead it to. */
#ifndef HEAPD_CRASH_CHORES_H
#define HEAPD_CRASH_CHORES_H

#include "scene.h"

#define CHORES_HEAP   "other"  /* that the daemon has to have beside the scene's */
#define CHORES_SPOILT "spoilt" /* in which clients keep no rules */

struct chore {
	const char *name;
	void (*run)(struct scene *s); /* in a process of its own, a fork of an attached one */
};

extern const struct chore scene_chores[];
extern const unsigned scene_nchores;

/* One that nobody allocates in: not even a span is there, and its supplier rests. */
#define CHORES_UNUSED "unused"

/* In place of the attachment that the process began with; of another user's, if uid is not 0. */
bool chore_attach(struct scene *s, const char *heap, uint32_t flags, uid_t uid);
/* This process becomes heapctl with these arguments, at most six; returns if it cannot. */
void chore_tool(const char *heap, const char *const arguments[]);

/* burdens.c, and the heaps that they need. */
extern const char *const burdens_settings[];
void burden_shares(struct scene *s);
void burden_hardened(struct scene *s);
void burden_checked(struct scene *s);
void burden_dangling(struct scene *s);
void burden_scatter(struct scene *s);
void burden_loose(struct scene *s);
void burden_by_swap(struct scene *s);
void burden_audited(struct scene *s);
void burden_hidden(struct scene *s);
void burden_silent(struct scene *s);
void burden_crowded(struct scene *s);
void burden_hoard(struct scene *s);

/* Objects of several sizes, as many bytes as are wanted, or as it can get in ten more tries. */
void burdens_take_all(struct scene *s, uint64_t most);

/* spoils.c */
void burden_spoil(struct scene *s);
void burden_lie(struct scene *s);
struct fixture;
/* What the daemon has to itself of the heaps in which clients lie is as it should be. */
bool spoils_verify(const struct fixture *f);

/* raws.c */
void raw_lists(struct scene *s);
void raw_again(struct scene *s);
void raw_again_dead(struct scene *s);

/* straits.c, and what has to be put right after each of them, wherever it was killed. */
void strait_memory(struct scene *s);
void strait_stores(struct scene *s);
void strait_weak(struct scene *s);
void strait_deaf(struct scene *s);
void strait_full(struct scene *s);
void strait_zombie(struct scene *s);
void strait_small_pages(struct scene *s);
void strait_whole(struct scene *s);
void strait_deaths(struct scene *s);
void strait_late(struct scene *s);
void straits_end(struct scene *s);

/* What chores left that lives on is dropped; also where one was killed in its midst. */
void chores_clear(struct scene *s);

#endif
