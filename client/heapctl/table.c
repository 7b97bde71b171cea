/* SPDX-License-Identifier: MIT */
/*
 * table.c - owns how figures are shown; libsmartcols lays them out.
 *
 * A cell is made for its reader: rounded and with a unit for people, exact and without in JSON, so no program has to
 * take "1.5M" apart. Text comes from the daemon and from other processes: what is not printable ASCII is replaced, so
 * that it neither moves the terminal's cursor nor makes the JSON invalid.
 *
 * Long tables, of all spans or of a path through a list of millions, are printed in lots and never held as a whole: the
 * columns of one are at least as wide as those of the lot before.
 */
#include "table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CELL_MAX 512
#define LOT_ROWS 2048u /* that are held at a time */

struct text text_bytes(uint64_t bytes)
{
	static const char units[] = "BKMGTP";
	double n = (double)bytes;
	struct text t;
	size_t unit = 0;

	while (n >= 1024 && unit < sizeof(units) - 2) {
		n /= 1024;
		unit++;
	}
	snprintf(t.text, sizeof(t.text), unit && n < 100 ? "%.1f%c" : "%.0f%c", n, units[unit]);
	return t;
}

struct text text_ns(uint64_t ns)
{
	struct text t;

	if (ns < 1000)
		snprintf(t.text, sizeof(t.text), "%uns", (unsigned)ns);
	else if (ns < 1000000)
		snprintf(t.text, sizeof(t.text), "%.1fus", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(t.text, sizeof(t.text), "%.1fms", (double)ns / 1e6);
	else
		snprintf(t.text, sizeof(t.text), "%.2fs", (double)ns / 1e9);
	return t;
}

struct text text_time(uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000u);
	struct tm tm;
	struct text t;
	size_t n = localtime_r(&seconds, &tm) ? strftime(t.text, sizeof(t.text), "%F %T", &tm) : 0;

	snprintf(t.text + n, sizeof(t.text) - n, ".%03u", (unsigned)(ns / 1000000u % 1000u));
	return t;
}

static int json_type(enum table_kind kind)
{
	switch (kind) {
	case TABLE_TEXT:
		return SCOLS_JSON_STRING;
	case TABLE_BOOL:
		return SCOLS_JSON_BOOLEAN;
	default:
		return SCOLS_JSON_NUMBER;
	}
}

/* JSON names are lower case, with '_' where a column's name has a blank. */
static void column_name(const struct table *table, const struct table_column *c, char name[64])
{
	size_t i;

	for (i = 0; c->name[i] && i < 63; i++) {
		name[i] = c->name[i];
		if (table->ctl->json != CTL_JSON_OFF)
			name[i] = name[i] == ' ' ? '_' : name[i] == '%' ? 'p' : (char)tolower(name[i]);
	}
	name[i] = 0;
}

static int column_add(struct table *table, const struct table_column *c)
{
	int flags = c->kind == TABLE_TEXT || c->kind == TABLE_BOOL ? 0 : SCOLS_FL_RIGHT;
	struct libscols_column *column;
	char name[64];

	column_name(table, c, name);
	column = scols_table_new_column(table->scols, name, 0, flags);
	if (!column)
		return -1;
	return scols_column_set_json_type(column, json_type(c->kind));
}

int table_begin(struct table *table, const struct ctl *ctl, const char *name,
		const struct table_column *columns, size_t ncolumns)
{
	*table = (struct table){ .ctl = ctl, .columns = columns, .ncolumns = ncolumns, .name = name };
	table->scols = scols_new_table();
	if (!table->scols)
		return ctl_say(CTL_TROUBLE, "out of memory");
	scols_table_set_name(table->scols, name);
	scols_table_enable_json(table->scols, ctl->json != CTL_JSON_OFF);
	scols_table_enable_noheadings(table->scols, ctl->no_legend);
	scols_table_enable_colors(table->scols, ctl->color);
	scols_table_enable_noencoding(table->scols, 1); /* table_text() leaves nothing to encode */
	for (size_t i = 0; i < ncolumns; i++) {
		if (column_add(table, &columns[i]) == 0)
			continue;
		scols_unref_table(table->scols);
		table->scols = NULL;
		return ctl_say(CTL_TROUBLE, "out of memory");
	}
	return CTL_OK;
}

/* The same without the blanks and newlines between its tokens. */
static void json_short(char *json)
{
	char *to = json;
	bool quoted = false;

	for (const char *from = json; *from; from++) {
		if (*from == '"')
			quoted = !quoted;
		if (!quoted && (*from == ' ' || *from == '\n'))
			continue;
		*to++ = *from;
		if (quoted && *from == '\\' && from[1])
			*to++ = *++from;
	}
	*to = 0;
}

/* What scols made of a lot: {"name": [ROWS]}, of which the beginning is printed once and the end by table_print(). */
static void print_lot_json(struct table *table, char *json)
{
	char *rows = strchr(json, '['), *end = strrchr(json, ']');
	bool is_short = table->ctl->json == CTL_JSON_SHORT;

	if (!rows || !end)
		return;
	while (end > rows && (end[-1] == ' ' || end[-1] == '\n'))
		end--;
	*end = 0;
	if (is_short)
		json_short(json);
	/* In the short form the brackets have moved. */
	rows = strchr(json, '[');
	printf("%s", table->lots ? "," : json);
	if (table->lots)
		printf("%s", rows + 1);
}

static int print_lot(struct table *table)
{
	char *text = NULL;

	if (table->ctl->json == CTL_JSON_OFF)
		return scols_print_table(table->scols);
	if (scols_print_table_to_string(table->scols, &text) < 0 || !text)
		return -1;
	print_lot_json(table, text);
	free(text);
	return 0;
}

static void columns_keep(struct table *table)
{
	for (size_t i = 0; i < table->ncolumns; i++) {
		struct libscols_column *c = scols_table_get_column(table->scols, i);

		scols_column_set_whint(c, (double)scols_column_get_width(c));
	}
}

static void lot_print(struct table *table)
{
	table->failed |= print_lot(table) < 0;
	table->lots++;
	columns_keep(table);
	scols_table_remove_lines(table->scols);
	scols_table_enable_noheadings(table->scols, 1);
}

void table_row(struct table *table)
{
	if (scols_table_get_nlines(table->scols) == LOT_ROWS)
		lot_print(table);
	table->line = scols_table_new_line(table->scols, NULL);
	table->failed |= !table->line;
	table->at = 0;
}

void table_color(struct table *table, const char *color)
{
	if (table->ctl->color && table->line)
		scols_line_set_color(table->line, color);
}

static void cell(struct table *table, const char *text)
{
	if (table->line && table->at < table->ncolumns)
		table->failed |= scols_line_set_data(table->line, table->at, text) < 0;
	table->at++;
}

void table_text(struct table *table, const char *text)
{
	char clean[CELL_MAX];
	size_t i;

	for (i = 0; text[i] && i < sizeof(clean) - 1; i++)
		clean[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	clean[i] = 0;
	cell(table, clean);
}

void table_number(struct table *table, uint64_t number)
{
	enum table_kind kind = table->at < table->ncolumns ? table->columns[table->at].kind : TABLE_COUNT;
	char plain[32];

	snprintf(plain, sizeof(plain), "%llu", (unsigned long long)number);
	if (kind == TABLE_BOOL)
		cell(table, table->ctl->json ? (number ? "1" : "0") : (number ? "yes" : "no"));
	else if (table->ctl->json != CTL_JSON_OFF || kind == TABLE_COUNT)
		cell(table, plain);
	else
		cell(table, kind == TABLE_NS ? text_ns(number).text : text_bytes(number).text);
}

void table_signed(struct table *table, int64_t bytes)
{
	uint64_t size = bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes;
	char text[40];

	if (table->ctl->json != CTL_JSON_OFF)
		snprintf(text, sizeof(text), "%lld", (long long)bytes);
	else
		snprintf(text, sizeof(text), "%c%s", bytes < 0 ? '-' : '+', text_bytes(size).text);
	cell(table, text);
}

void table_real(struct table *table, double number)
{
	char text[32];

	snprintf(text, sizeof(text), "%.1f", number);
	cell(table, text);
}

static int print_json(struct table *table)
{
	if (!table->lots && scols_table_is_empty(table->scols)) {
		printf("{\"%s\":[]}\n", table->name);
		return CTL_OK;
	}
	if (!scols_table_is_empty(table->scols))
		lot_print(table);
	printf(table->ctl->json == CTL_JSON_SHORT ? "]}\n" : "\n   ]\n}\n");
	return CTL_OK;
}

static void print_none(const struct table *table)
{
	if (!table->ctl->no_legend)
		printf("no %s\n", table->name);
}

int table_print(struct table *table)
{
	int status = CTL_OK;

	if (table->ctl->json != CTL_JSON_OFF)
		status = print_json(table);
	else if (!scols_table_is_empty(table->scols))
		lot_print(table);
	else if (!table->lots)
		print_none(table);
	if (table->failed)
		status = ctl_say(CTL_TROUBLE, "out of memory");
	scols_unref_table(table->scols);
	return status;
}

static void print_line(struct table *table, struct libscols_line *line)
{
	for (size_t i = 0; i < table->ncolumns; i++) {
		const char *data = scols_cell_get_data(scols_line_get_cell(line, i));

		printf("%22s: %s\n", table->columns[i].name, data ? data : "");
	}
}

void table_free(struct table *table)
{
	scols_unref_table(table->scols);
}

int table_end(struct table *table, int status)
{
	if (status == CTL_OK)
		return table_print(table);
	table_free(table);
	return status;
}

int table_print_record(struct table *table)
{
	if (table->ctl->json != CTL_JSON_OFF)
		return table_print(table);
	for (size_t i = 0; i < scols_table_get_nlines(table->scols); i++)
		print_line(table, scols_table_get_line(table->scols, i));
	scols_unref_table(table->scols);
	return CTL_OK;
}
