/* SPDX-License-Identifier: MIT */
/* sites.h - the daemon's stores that count, and at which of them the next daemon is to be killed. */
#ifndef HEAPD_CRASH_SITES_H
#define HEAPD_CRASH_SITES_H

#include "text.h"

struct sites {
	struct text text; /* the daemon's */
	struct instruction *
		*all; /* by address; covered: a daemon died there; come_to: an orderly end came there */
	size_t n;
	struct instruction **ends; /* by the order in which ends came to them first */
	size_t nends;
	uint64_t *breaks; /* those chosen, ascending */
	size_t nbreaks;
	uint64_t seed; /* not 0 */
};

/* Of the program, whose seed is set; of one of its files, if that is not NULL. */
void sites_load(struct sites *s, const char *program, const char *file);
void sites_free(struct sites *s);
/* Writes to a file which there are. */
void sites_list(const struct sites *s, const char *path);
/* How many a daemon died at. */
size_t sites_covered(const struct sites *s);

/*
 * Of those that had no death yet all, or by chance one in 4, or in 16: not always the same that come first. With twice, for the sake of
 * what comes after a death, every other time also some of those that had one. True: none that had no death is missing.
 */
bool sites_choose(struct sites *s, bool all, bool twice);
/* An orderly end has come to the one there, for the first time. */
void sites_note_end(struct sites *s, uint64_t at);
/* Of those that had no death yet the ones that ends came to, from that place in their order on; or all to which none came. How many. */
size_t sites_choose_ends(struct sites *s, size_t from);
size_t sites_choose_others(struct sites *s);

#endif
