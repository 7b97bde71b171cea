/* SPDX-License-Identifier: MIT */
/*
 * picture.c - owns the verb map: the heap's pages as a picture, on the terminal or as SVG.
 *
 * A cell is a page, or, of a large heap, as many neighbouring ones as make the picture fit. Its colour is the type's,
 * its strength how many of the slots are used.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spans.h"
#include "table.h"
#include "verbs.h"

#define COLUMNS 64u
#define ROWS    64u
#define CELL    12u
#define LEGEND  240u
#define LEGENDS 24u

struct cell {
	uint64_t pages, used, bytes; /* of spans */
	uint32_t type;               /* of the last span in it */
};

struct picture {
	const struct ctl *ctl;
	struct cell *cells;
	uint64_t n, pages_each, end;
	uint64_t by_type[HEAPD_TYPE_MAX]; /* bytes */
	uint64_t spans, committed;
};

static uint32_t type_of(const struct ctl *ctl, const struct span_copy *s)
{
	uint32_t type = HEAPD_READ_ONCE(ctl->heap->t.classes[s->span.class].type);

	return type < HEAPD_TYPE_MAX ? type : 0;
}

static void span_draw(struct picture *p, const struct span_copy *s)
{
	uint64_t used = span_out_slots(p->ctl, s) * s->span.elemsize;
	uint32_t type = type_of(p->ctl, s);

	p->by_type[type] += (uint64_t)s->span.npages << HEAPD_PAGE_SHIFT;
	p->spans++;
	for (uint64_t page = s->page; page < s->page + (uint64_t)s->span.npages; page++) {
		struct cell *c = &p->cells[page / p->pages_each];

		c->pages++;
		c->bytes += HEAPD_PAGE_SIZE;
		c->used += used / s->span.npages;
		c->type = type;
	}
}

static int picture_make(struct picture *p, const struct ctl *ctl)
{
	struct spans spans;
	int status = spans_load(ctl, &spans);

	*p = (struct picture){ .ctl = ctl };
	if (status != CTL_OK)
		return status;
	if (spans.n)
		p->end = spans.list[spans.n - 1].page + (uint64_t)spans.list[spans.n - 1].span.npages;
	p->pages_each = p->end / (COLUMNS * ROWS) + 1;
	p->n = p->end / p->pages_each + 1;
	p->cells = calloc(p->n, sizeof(*p->cells));
	if (!p->cells)
		status = ctl_say(CTL_TROUBLE, "out of memory");
	for (size_t i = 0; status == CTL_OK && i < spans.n; i++)
		span_draw(p, &spans.list[i]);
	spans_free(&spans);
	return status;
}

static double fill_of(const struct cell *c)
{
	return c->bytes ? (double)c->used / (double)c->bytes : 0;
}

/* Neighbouring numbers far apart on the wheel. */
static unsigned hue_of(uint32_t type)
{
	return type * 137u % 360u;
}

static void cell_svg(FILE *f, const struct picture *p, uint64_t i)
{
	const struct cell *c = &p->cells[i];

	if (!c->pages)
		return;
	fprintf(f,
		"<rect x='%" PRIu64 "' y='%" PRIu64
		"' width='%u' height='%u' fill='hsl(%u,70%%,45%%)' fill-opacity='%.2f'/>\n",
		10 + i % COLUMNS * CELL, 40 + i / COLUMNS * CELL, CELL - 1, CELL - 1, hue_of(c->type),
		0.15 + 0.85 * fill_of(c));
}

static const char *type_text(const struct ctl *ctl, uint32_t type, char name[HEAPD_NAME_MAX])
{
	memcpy(name, ctl->heap->t.types[type].name, HEAPD_NAME_MAX);
	name[HEAPD_NAME_MAX - 1] = 0;
	for (char *c = name; *c; c++)
		if (*c < ' ' || *c > '~' || strchr("<>&'\"", *c))
			*c = '?';
	return name;
}

static int compare_types(const void *a, const void *b, void *bytes)
{
	const uint64_t *list = bytes;
	uint64_t x = list[*(const uint32_t *)a], y = list[*(const uint32_t *)b];

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The largest types first; how many there are, LEGENDS at most. */
static uint32_t legend_order(struct picture *p, uint32_t order[HEAPD_TYPE_MAX])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < HEAPD_TYPE_MAX; i++)
		if (p->by_type[i])
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), compare_types, p->by_type);
	return n < LEGENDS ? n : LEGENDS;
}

static void legend_svg(FILE *f, struct picture *p)
{
	uint32_t order[HEAPD_TYPE_MAX], n = legend_order(p, order), x = 30 + COLUMNS * CELL;
	char name[HEAPD_NAME_MAX];

	for (uint32_t i = 0; i < n; i++) {
		fprintf(f, "<rect x='%u' y='%u' width='11' height='11' fill='hsl(%u,70%%,45%%)'/>", x,
			40 + i * 18, hue_of(order[i]));
		fprintf(f, "<text x='%u' y='%u'>%s, %s</text>\n", x + 18, 50 + i * 18,
			type_text(p->ctl, order[i], name), text_bytes(p->by_type[order[i]]).text);
	}
}

static uint64_t used_bytes(const struct picture *p)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < p->n; i++)
		used += p->cells[i].used;
	return used;
}

static void picture_svg(FILE *f, struct picture *p)
{
	uint64_t rows = (p->n + COLUMNS - 1) / COLUMNS;
	uint64_t least = 50 + LEGENDS * 18, height = 50 + rows * CELL;

	fprintf(f,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%u' height='%" PRIu64
		"' font-family='sans-serif' font-size='11'>\n<rect width='100%%' height='100%%' fill='white'/>\n",
		30 + COLUMNS * CELL + LEGEND, height > least ? height : least);
	fprintf(f,
		"<text x='10' y='24' font-size='14'>heap %s: %" PRIu64
		" spans, %s used of %s; a cell is %s</text>\n",
		p->ctl->heap->name, p->spans, text_bytes(used_bytes(p)).text,
		text_bytes(p->end << HEAPD_PAGE_SHIFT).text,
		text_bytes(p->pages_each << HEAPD_PAGE_SHIFT).text);
	fprintf(f, "<rect x='9' y='39' width='%u' height='%" PRIu64 "' fill='#eee'/>\n", COLUMNS * CELL + 1,
		rows * CELL + 1);
	for (uint64_t i = 0; i < p->n; i++)
		cell_svg(f, p, i);
	legend_svg(f, p);
	fputs("</svg>\n", f);
}

static void cell_text(const struct picture *p, const struct cell *c)
{
	static const char *const shades = ".:-=+*#%@";
	unsigned shade = (unsigned)(fill_of(c) * 8.99);

	if (!c->pages)
		putchar(' ');
	else if (p->ctl->color)
		printf("\033[38;5;%um%c\033[0m", 17 + c->type * 37 % 214, shades[shade > 8 ? 8 : shade]);
	else
		putchar(shades[shade > 8 ? 8 : shade]);
}

static void picture_text(const struct picture *p)
{
	for (uint64_t i = 0; i < p->n; i++) {
		if (i % COLUMNS == 0)
			printf("%s0x%" PRIx64 " |", i ? "|\n" : "",
			       p->ctl->heap->t.base + (i * p->pages_each << HEAPD_PAGE_SHIFT));
		cell_text(p, &p->cells[i]);
	}
	printf("|\n");
	if (!p->ctl->no_legend)
		printf("a character is %s; of its slots are used: '.' few ... '@' all; ' ' is no span\n",
		       text_bytes(p->pages_each << HEAPD_PAGE_SHIFT).text);
}

static int picture_save(struct picture *p, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return ctl_say(CTL_TROUBLE, "%s: %s", path, strerror(errno));
	picture_svg(f, p);
	return fclose(f) == 0 ? CTL_OK : ctl_say(CTL_TROUBLE, "%s: %s", path, strerror(errno));
}

int verb_map(struct ctl *ctl)
{
	struct picture *p = malloc(sizeof(*p));
	int status = p ? picture_make(p, ctl) : ctl_say(CTL_TROUBLE, "out of memory");

	if (status == CTL_OK && ctl->output)
		status = picture_save(p, ctl->output);
	else if (status == CTL_OK)
		picture_text(p);
	if (p)
		free(p->cells);
	free(p);
	return status;
}
