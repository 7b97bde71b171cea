/* SPDX-License-Identifier: MIT */
/*
 * picture.h - what the picture of a heap shows: its pages as cells, each with what is used of it, and whose most of it is.
 */
#ifndef HEAPCTL_PICTURE_H
#define HEAPCTL_PICTURE_H

#include <stdio.h>

#include "ctl.h"

#define PICTURE_COLUMNS 64u
#define PICTURE_ROWS    64u
#define PICTURE_COLORS  7u /* types that have one of their own: people tell no more apart */
#define PICTURE_PARTS   10u

struct cell {
	uint64_t bytes, used;               /* of spans */
	uint32_t pages[PICTURE_COLORS + 1]; /* by colour, the last for all other types */
};

struct picture {
	const struct ctl *ctl;
	struct cell *cells;
	uint64_t n, pages_each, end; /* pages up to the end of the last span */
	struct {
		uint64_t bytes, used;
	} types[HEAPD_TYPE_MAX];
	uint32_t order[HEAPD_TYPE_MAX]; /* types that have spans, the largest first */
	uint32_t ntypes;
	uint64_t spans, bytes, used;
	uint64_t parts[PICTURE_PARTS]; /* bytes of spans by how much of each is used: up to a tenth, ... */
};

/* Whether it has spans. */
static inline bool cell_filled(const struct cell *c)
{
	return c->bytes;
}

/* Of 1. */
static inline double cell_fill(const struct cell *c)
{
	return c->bytes ? (double)c->used / (double)c->bytes : 0;
}

/* The colour that has most of it. */
unsigned cell_color(const struct cell *c);

static inline double picture_percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* A name as text that needs no quoting anywhere; and that of a type. */
struct picture_name {
	char text[HEAPD_NAME_MAX];
};
struct picture_name picture_clean(const char from[HEAPD_NAME_MAX]);
struct picture_name picture_name(const struct picture *p, uint32_t type);

/* Those of the legend that have no colour of their own, together: bytes, used. */
void picture_others(const struct picture *p, uint64_t *bytes, uint64_t *used);

void picture_svg(FILE *f, const struct picture *p);

#endif
