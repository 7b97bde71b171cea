/* SPDX-License-Identifier: MIT */
/*
 * drawing.c - owns how the picture of a heap is drawn as SVG: cells on the left; at the right what the colours and the
 * filling mean, and how much of the heap lies in spans that are used by so much.
 *
 * Text is 13 and 16 pixels high, and black on white. What a colour says, a word says, too: each cell has a title, which
 * browsers show under the pointer.
 */
#include <inttypes.h>

#include "picture.h"
#include "table.h"

#define CELL     12u
#define GLASS    11u /* of it; the rest parts it from the next */
#define LEFT     90u
#define TOP      66u
#define SIDE     (LEFT + PICTURE_COLUMNS * CELL + 30)
#define LINE     22u
#define WIDTH    (SIDE + 330)
#define BAR_FULL 150.0

/* Okabe and Ito's, and grey for what has none of its own. */
static const char *const colors[PICTURE_COLORS + 1] = {
	"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8c8c8c",
};

static uint64_t rows_of(const struct picture *p)
{
	uint64_t rows = (p->n + PICTURE_COLUMNS - 1) / PICTURE_COLUMNS;

	return rows ? rows : 1;
}

/* Its spans' share of a cell is the glass; what of them is used is its filling. */
static void glass_draw(FILE *f, uint64_t x, uint64_t y, const char *color, double fill)
{
	double height = fill * GLASS;

	fprintf(f,
		"<rect x='%" PRIu64 "' y='%" PRIu64
		"' width='%u' height='%u' fill='%s' fill-opacity='0.18'/>",
		x, y, GLASS, GLASS, color);
	fprintf(f, "<rect x='%" PRIu64 "' y='%.1f' width='%u' height='%.1f' fill='%s'/>", x,
		(double)y + GLASS - height, GLASS, height, color);
}

static void cell_draw(FILE *f, const struct picture *p, uint64_t i)
{
	const struct cell *c = &p->cells[i];
	unsigned color = cell_color(c);

	if (!cell_filled(c))
		return;
	fprintf(f, "<g><title>0x%" PRIx64 ": %s, %.0f %% used</title>",
		p->ctl->heap->t.base + (i * p->pages_each << HEAPD_PAGE_SHIFT),
		color < PICTURE_COLORS ? picture_name(p, p->order[color]).text : "others",
		100 * cell_fill(c));
	glass_draw(f, LEFT + i % PICTURE_COLUMNS * CELL, TOP + i / PICTURE_COLUMNS * CELL, colors[color],
		   cell_fill(c));
	fputs("</g>\n", f);
}

static void cells_draw(FILE *f, const struct picture *p)
{
	uint64_t rows = rows_of(p);

	fprintf(f, "<rect x='%u' y='%u' width='%u' height='%" PRIu64 "' fill='#fff' stroke='#999'/>\n",
		LEFT - 2, TOP - 2, PICTURE_COLUMNS * CELL + 3, rows * CELL + 3);
	for (uint64_t row = 0; row < rows; row += 4)
		fprintf(f, "<text x='%u' y='%" PRIu64 "' text-anchor='end' fill='#555'>+%s</text>\n",
			LEFT - 8, TOP + row * CELL + 10,
			text_bytes(row * PICTURE_COLUMNS * p->pages_each << HEAPD_PAGE_SHIFT).text);
	for (uint64_t i = 0; i < p->n; i++)
		cell_draw(f, p, i);
	if (!p->spans)
		fprintf(f,
			"<text x='%u' y='%u'>nothing was allocated yet, or all has been given back</text>\n",
			LEFT + 4, TOP + 10);
}

static unsigned key_draw(FILE *f, const struct picture *p, unsigned y)
{
	static const char *const words[] = { "all of it is used", "half of it",
					     "next to none: kept by few objects" };
	static const double fills[] = { 1, 0.5, 0.06 };

	fprintf(f, "<text x='%u' y='%u' font-weight='bold'>A cell is %s</text>\n", SIDE, y + 10,
		text_bytes(p->pages_each << HEAPD_PAGE_SHIFT).text);
	for (unsigned i = 0; i < 3; i++) {
		y += LINE;
		glass_draw(f, SIDE, y, "#444", fills[i]);
		fprintf(f, "<text x='%u' y='%u'>%s</text>\n", SIDE + 20, y + 10, words[i]);
	}
	y += LINE;
	fprintf(f, "<rect x='%u' y='%u' width='%u' height='%u' fill='#fff' stroke='#999'/>", SIDE, y, GLASS,
		GLASS);
	fprintf(f, "<text x='%u' y='%u'>no span: free</text>\n", SIDE + 20, y + 10);
	return y + 2 * LINE;
}

static unsigned type_draw(FILE *f, unsigned y, unsigned color, const char *name, uint64_t bytes,
			  uint64_t used)
{
	fprintf(f, "<rect x='%u' y='%u' width='%u' height='%u' fill='%s'/>", SIDE, y, GLASS, GLASS,
		colors[color]);
	fprintf(f, "<text x='%u' y='%u'>%.24s: %s, %.0f %% used</text>\n", SIDE + 20, y + 10, name,
		text_bytes(bytes).text, picture_percent(used, bytes));
	return y + LINE;
}

static unsigned types_draw(FILE *f, const struct picture *p, unsigned y)
{
	uint64_t bytes, used;

	fprintf(f, "<text x='%u' y='%u' font-weight='bold'>Types, by the size of their spans</text>\n", SIDE,
		y + 10);
	y += LINE;
	for (uint32_t i = 0; i < p->ntypes && i < PICTURE_COLORS; i++)
		y = type_draw(f, y, i, picture_name(p, p->order[i]).text, p->types[p->order[i]].bytes,
			      p->types[p->order[i]].used);
	picture_others(p, &bytes, &used);
	if (bytes)
		y = type_draw(f, y, PICTURE_COLORS, "all others", bytes, used);
	return y + LINE;
}

static unsigned parts_draw(FILE *f, const struct picture *p, unsigned y)
{
	fprintf(f, "<text x='%u' y='%u' font-weight='bold'>Spans' bytes, by how much is used</text>\n", SIDE,
		y + 10);
	for (unsigned i = 0; i < PICTURE_PARTS; i++) {
		double share = picture_percent(p->parts[i], p->bytes);

		y += LINE;
		fprintf(f, "<text x='%u' y='%u' text-anchor='end'>%u to %u %%</text>", SIDE + 80, y + 10,
			i * 10, i * 10 + 10);
		fprintf(f, "<rect x='%u' y='%u' width='%.1f' height='%u' fill='#444'/>", SIDE + 90, y,
			share * BAR_FULL / 100, GLASS);
		fprintf(f, "<text x='%.1f' y='%u'>%.0f %%</text>\n", SIDE + 96 + share * BAR_FULL / 100,
			y + 10, share);
	}
	return y + LINE;
}

static unsigned side_height(const struct picture *p)
{
	return (5 + 1 + p->ntypes + 3 + PICTURE_PARTS + 3) * LINE;
}

static void title_draw(FILE *f, const struct picture *p)
{
	fprintf(f,
		"<text x='%u' y='26' font-size='16' font-weight='bold'>heap %s: %.0f %% of its spans is used</text>\n",
		LEFT - 2, picture_clean(p->ctl->heap->name).text, picture_percent(p->used, p->bytes));
	fprintf(f,
		"<text x='%u' y='48'>%s in %" PRIu64
		" spans, of which %s is used; %s in gaps between them; from 0x%" PRIx64 "</text>\n",
		LEFT - 2, text_bytes(p->bytes).text, p->spans, text_bytes(p->used).text,
		text_bytes((p->end << HEAPD_PAGE_SHIFT) - p->bytes).text, p->ctl->heap->t.base);
}

void picture_svg(FILE *f, const struct picture *p)
{
	uint64_t height = TOP + rows_of(p) * CELL + 20, least = TOP + side_height(p);

	fprintf(f,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%u' height='%" PRIu64
		"' font-family='sans-serif' font-size='13'>\n<rect width='100%%' height='100%%' fill='#fff'/>\n",
		WIDTH, height > least ? height : least);
	title_draw(f, p);
	cells_draw(f, p);
	if (p->spans)
		parts_draw(f, p, types_draw(f, p, key_draw(f, p, TOP)));
	fputs("</svg>\n", f);
}
