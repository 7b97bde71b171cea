/* SPDX-License-Identifier: MIT */
/*
 * Owns what is shown of foreign words. The marker counts them while it marks and begins anew with each cycle; what is
 * shown is a copy, made when a cycle has ended, so that nobody reads half of one.
 */
#include "fields.h"

#include <inttypes.h>
#include <stdio.h>

void fields_init(struct fields *fields)
{
	*fields = (struct fields){ .lines.what = "fields that hold what is not in the heap" };
}

static bool is_told(const struct fields *fields, const struct foreign_row *row)
{
	for (unsigned i = 0; i < fields->ntold; i++)
		if (fields->told[i].type == row->type && fields->told[i].word == row->word)
			return true;
	return false;
}

static void tell(struct fields *fields, struct heap *heap, const struct foreign_row *row)
{
	if (is_told(fields, row) || fields->ntold == FIELDS_MAX)
		return;
	fields->told[fields->ntold++] = *row;
	log_limited(heap->log, &fields->lines, LOG_NOTICE,
		    "heap '%s': type '%s', offset %" PRIu64 ": %" PRIu64
		    " fields hold what is neither NULL nor in the heap; such words are not followed",
		    heap->name, heap->t.types[row->type].name, (uint64_t)row->word * 8, row->count);
}

void fields_copy(struct fields *fields, const struct foreign *foreign)
{
	fields->n = foreign_list(foreign, fields->rows, FIELDS_MAX);
}

void fields_tell(struct fields *fields, struct heap *heap)
{
	for (unsigned i = 0; i < fields->n; i++)
		tell(fields, heap, &fields->rows[i]);
}

void fields_write_type(const struct fields *fields, uint32_t type, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < fields->n && used < size; i++)
		if (fields->rows[i].type == type)
			used += (size_t)snprintf(text + used, size - used, "%soffset %" PRIu64 ": %" PRIu64,
						 used ? ", " : "", (uint64_t)fields->rows[i].word * 8,
						 fields->rows[i].count);
}

/* The rows are in the order of types. */
void fields_write_all(const struct fields *fields, const struct heap *heap, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0, next; i < fields->n && used < size; i = next) {
		uint64_t count = 0;

		for (next = i; next < fields->n && fields->rows[next].type == fields->rows[i].type; next++)
			count += fields->rows[next].count;
		used += (size_t)snprintf(text + used, size - used, "%s%s: %" PRIu64, used ? ", " : "",
					 heap->t.types[fields->rows[i].type].name, count);
	}
}
