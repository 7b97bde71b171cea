/* SPDX-License-Identifier: MIT */
/*
 * table.h - rows and columns, for people or as JSON.
 */
#ifndef HEAPCTL_TABLE_H
#define HEAPCTL_TABLE_H

#include <libsmartcols/libsmartcols.h>

#include "ctl.h"

enum table_kind {
	TABLE_TEXT,
	TABLE_COUNT,
	TABLE_BYTES,   /* "1.5M" for people, bytes in JSON */
	TABLE_SIGNED,  /* bytes more or less: "+1.5M", "-20K" */
	TABLE_NS,      /* "1.5ms" for people, nanoseconds in JSON */
	TABLE_PERCENT, /* of 100; a float in JSON */
	TABLE_BOOL,
};

struct table_column {
	const char *name; /* upper case for people; lower case in JSON */
	enum table_kind kind;
};

struct table {
	const struct ctl *ctl;
	struct libscols_table *scols;
	struct libscols_line *line;
	const struct table_column *columns;
	size_t ncolumns, at;
	const char *name;
	unsigned lots; /* printed already: a table is not held as a whole */
	bool failed;
};

int table_begin(struct table *table, const struct ctl *ctl, const char *name,
		const struct table_column *columns, size_t ncolumns);
void table_row(struct table *table);
/* The next cell of the row: by the kind of its column. */
void table_text(struct table *table, const char *text);
void table_number(struct table *table, uint64_t number);
void table_signed(struct table *table, int64_t bytes);
void table_real(struct table *table, double number);
/* Colours the row, where colours are wanted: "red", "green", "yellow". */
void table_color(struct table *table, const char *color);

/* Prints and frees: as a table; or each row as lines "name: value". An exit status. */
int table_print(struct table *table);
int table_print_record(struct table *table);
/* Frees what is not to be printed. */
void table_free(struct table *table);
/* Prints it, or frees it if what fills it did not end with CTL_OK: that status then. */
int table_end(struct table *table, int status);

/* Sizes and times for people. */
struct text {
	char text[32];
};
struct text text_bytes(uint64_t bytes);
struct text text_ns(uint64_t ns);
struct text text_time(uint64_t ns); /* of the day, since 1970 */

#define TABLE_BEGIN(table, ctl, name, columns) \
	table_begin(table, ctl, name, columns, sizeof(columns) / sizeof((columns)[0]))

#endif
