/* SPDX-License-Identifier: MIT */
/*
 * sites.h - where memory was allocated: the samples of one profile, or of two, by stack and type.
 */
#ifndef HEAPCTL_SITES_H
#define HEAPCTL_SITES_H

#include "pprof.h"

struct site {
	char *folded; /* "main;serve;order_new": the outermost caller first */
	char *type;   /* "" if the profile does not say */
	char *source; /* "shop.c:31" of the innermost, or "" */
	int64_t before[PPROF_VALUES], now[PPROF_VALUES];
};

struct sites {
	void *tree;
	struct site **list;
	size_t n;
};

/* Adds the profile's samples to what stands in `now`, or in `before`. An exit status. */
int sites_add(struct sites *sites, const Pprof__Profile *profile, bool before);
void sites_free(struct sites *sites);

/* Those with the most of it first; by growth: those with the most more than before. */
void sites_sort(struct sites *sites, enum pprof_value value, bool growth);

/* One sample's stack for people, the innermost first: "order_new < serve < main". To be freed; NULL: no memory. */
char *site_stack(const Pprof__Profile *profile, const Pprof__Sample *sample);
/* The same of a folded one. */
char *site_unfolded(const char *folded);

#endif
