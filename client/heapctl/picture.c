/* SPDX-License-Identifier: MIT */
/*
 * picture.c - owns the verb map: the heap's pages as a picture, on the terminal or as SVG (drawing.c).
 *
 * A cell is a page, or, of a large heap, as many neighbouring ones as make the picture fit. It is a glass: how high it is
 * filled says how much of its spans is used, so a fragmented heap is one of half-empty glasses, whatever the colours. The
 * colour is that of the type that has most of the cell: seven and grey, which people with any kind of colour vision
 * tell apart (Okabe and Ito, 2008).
 */
#include "picture.h"

#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>

#include "spans.h"
#include "table.h"
#include "verbs.h"

#define BAR 40u

/* The nearest of the terminal's 256, in the order of drawing.c. */
static const unsigned terminal_colors[PICTURE_COLORS + 1] = { 25, 172, 36, 169, 74, 166, 185, 245 };

unsigned cell_color(const struct cell *c)
{
	unsigned most = 0;

	for (unsigned i = 1; i <= PICTURE_COLORS; i++)
		if (c->pages[i] > c->pages[most])
			most = i;
	return most;
}

static uint32_t type_of(const struct ctl *ctl, const struct span_copy *s)
{
	uint32_t type = HEAPD_READ_ONCE(ctl->heap->t.classes[s->span.class].type);

	return type < HEAPD_TYPE_MAX ? type : 0;
}

static uint64_t used_of(const struct ctl *ctl, const struct span_copy *s)
{
	return span_out_slots(ctl, s) * s->span.elemsize;
}

static void span_count(struct picture *p, const struct span_copy *s)
{
	uint64_t used = used_of(p->ctl, s), bytes = (uint64_t)s->span.npages << HEAPD_PAGE_SHIFT;
	uint32_t type = type_of(p->ctl, s);
	uint64_t part = used ? (used * PICTURE_PARTS - 1) / bytes : 0;

	p->types[type].bytes += bytes;
	p->types[type].used += used;
	p->parts[part < PICTURE_PARTS ? part : PICTURE_PARTS - 1] += bytes;
	p->spans++;
	p->bytes += bytes;
	p->used += used;
}

static void span_draw(struct picture *p, const struct span_copy *s, const uint8_t colors[HEAPD_TYPE_MAX])
{
	uint64_t used = used_of(p->ctl, s);
	unsigned color = colors[type_of(p->ctl, s)];

	for (uint64_t page = s->page; page < s->page + (uint64_t)s->span.npages; page++) {
		struct cell *c = &p->cells[page / p->pages_each];

		c->bytes += HEAPD_PAGE_SIZE;
		c->used += used / s->span.npages;
		c->pages[color]++;
	}
}

static int compare_types(const void *a, const void *b, void *picture)
{
	const struct picture *p = picture;
	uint64_t x = p->types[*(const uint32_t *)a].bytes, y = p->types[*(const uint32_t *)b].bytes;

	return x < y ? 1 : x > y ? -1 : 0;
}

static void colors_give(struct picture *p, uint8_t colors[HEAPD_TYPE_MAX])
{
	for (uint32_t i = 0; i < HEAPD_TYPE_MAX; i++)
		if (p->types[i].bytes)
			p->order[p->ntypes++] = i;
	qsort_r(p->order, p->ntypes, sizeof(*p->order), compare_types, p);
	memset(colors, PICTURE_COLORS, HEAPD_TYPE_MAX);
	for (uint32_t i = 0; i < p->ntypes && i < PICTURE_COLORS; i++)
		colors[p->order[i]] = (uint8_t)i;
}

static int cells_make(struct picture *p, const struct spans *spans)
{
	uint8_t colors[HEAPD_TYPE_MAX];

	if (spans->n)
		p->end = spans->list[spans->n - 1].page + (uint64_t)spans->list[spans->n - 1].span.npages;
	/* At most ROWS of them: rounded up. */
	p->pages_each = p->end ? (p->end - 1) / (PICTURE_COLUMNS * PICTURE_ROWS) + 1 : 1;
	p->n = (p->end + p->pages_each - 1) / p->pages_each;
	p->cells = calloc(p->n + 1, sizeof(*p->cells));
	if (!p->cells)
		return ctl_say(CTL_TROUBLE, "out of memory");
	for (size_t i = 0; i < spans->n; i++)
		span_count(p, &spans->list[i]);
	colors_give(p, colors);
	for (size_t i = 0; i < spans->n; i++)
		span_draw(p, &spans->list[i], colors);
	return CTL_OK;
}

static int picture_make(struct picture *p, const struct ctl *ctl)
{
	struct spans spans;
	int status = spans_load(ctl, &spans);

	*p = (struct picture){ .ctl = ctl };
	if (status == CTL_OK)
		status = cells_make(p, &spans);
	spans_free(&spans);
	return status;
}

struct picture_name picture_clean(const char from[HEAPD_NAME_MAX])
{
	struct picture_name name;

	memcpy(name.text, from, HEAPD_NAME_MAX);
	name.text[HEAPD_NAME_MAX - 1] = 0;
	for (char *c = name.text; *c; c++)
		if (*c < ' ' || *c > '~' || strchr("<>&'\"", *c))
			*c = '?';
	return name;
}

struct picture_name picture_name(const struct picture *p, uint32_t type)
{
	return picture_clean(p->ctl->heap->t.types[type].name);
}

void picture_others(const struct picture *p, uint64_t *bytes, uint64_t *used)
{
	*bytes = *used = 0;
	for (uint32_t i = PICTURE_COLORS; i < p->ntypes; i++) {
		*bytes += p->types[p->order[i]].bytes;
		*used += p->types[p->order[i]].used;
	}
}

/* As text ----------------------------------------------------------------------------------------------------------- */

static bool is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* An eighth or less to all of it. */
static const char *glass_text(double fill, bool utf8)
{
	static const char *const bars[] = { "\u2581", "\u2582", "\u2583", "\u2584",
					    "\u2585", "\u2586", "\u2587", "\u2588" };
	static const char *const signs[] = { ".", ":", "-", "=", "+", "*", "#", "@" };
	unsigned at = fill < 1 ? (unsigned)(fill * 8) : 7;

	return utf8 ? bars[at] : signs[at];
}

static void color_begin(const struct picture *p, unsigned color)
{
	if (p->ctl->color)
		printf("\033[38;5;%um", terminal_colors[color]);
}

static void color_end(const struct picture *p)
{
	if (p->ctl->color)
		fputs("\033[0m", stdout);
}

static void row_text(const struct picture *p, uint64_t first, bool utf8)
{
	unsigned last = UINT32_MAX;

	printf("0x%012" PRIx64 " |", p->ctl->heap->t.base + (first * p->pages_each << HEAPD_PAGE_SHIFT));
	for (uint64_t i = first; i < first + PICTURE_COLUMNS; i++) {
		const struct cell *c = &p->cells[i];

		if (i >= p->n || !cell_filled(c)) {
			putchar(' ');
			continue;
		}
		if (cell_color(c) != last)
			color_begin(p, cell_color(c));
		last = cell_color(c);
		fputs(glass_text(cell_fill(c), utf8), stdout);
	}
	color_end(p);
	puts("|");
}

static void type_text(const struct picture *p, unsigned color, const char *name, uint64_t bytes,
		      uint64_t used)
{
	color_begin(p, color);
	fputs(is_utf8() ? "\u2588\u2588" : "##", stdout);
	color_end(p);
	printf(" %-30s %8s, %3.0f %% used\n", name, text_bytes(bytes).text, picture_percent(used, bytes));
}

static void types_text(const struct picture *p)
{
	uint64_t bytes, used;

	for (uint32_t i = 0; i < p->ntypes && i < PICTURE_COLORS; i++)
		type_text(p, i, picture_name(p, p->order[i]).text, p->types[p->order[i]].bytes,
			  p->types[p->order[i]].used);
	picture_others(p, &bytes, &used);
	if (bytes)
		type_text(p, PICTURE_COLORS, "all others", bytes, used);
}

static void parts_text(const struct picture *p)
{
	for (unsigned i = 0; i < PICTURE_PARTS; i++) {
		double share = picture_percent(p->parts[i], p->bytes);

		printf("%3u to %3u %% used: %3.0f %% of the spans' bytes %.*s\n", i * 10, i * 10 + 10, share,
		       (int)(share * BAR / 100 + 0.5), "########################################");
	}
}

static void legend_text(const struct picture *p, bool utf8)
{
	printf("\n%s in %" PRIu64 " spans, of which %.0f %% (%s) is used; %s in gaps between them\n",
	       text_bytes(p->bytes).text, p->spans, picture_percent(p->used, p->bytes),
	       text_bytes(p->used).text, text_bytes((p->end << HEAPD_PAGE_SHIFT) - p->bytes).text);
	printf("a character is %s; of its spans is used: %s an eighth or less ... %s all; blank: no span\n\n",
	       text_bytes(p->pages_each << HEAPD_PAGE_SHIFT).text, glass_text(0, utf8), glass_text(1, utf8));
	types_text(p);
	putchar('\n');
	parts_text(p);
}

static void picture_text(const struct picture *p)
{
	bool utf8 = is_utf8();

	if (!p->spans) {
		puts("no spans: nothing was allocated yet, or all has been given back");
		return;
	}
	for (uint64_t i = 0; i < p->n; i += PICTURE_COLUMNS)
		row_text(p, i, utf8);
	if (!p->ctl->no_legend)
		legend_text(p, utf8);
}

static int picture_save(const struct picture *p, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return ctl_say(CTL_TROUBLE, "%s: %s", path, strerror(errno));
	picture_svg(f, p);
	return fclose(f) == 0 ? CTL_OK : ctl_say(CTL_TROUBLE, "%s: %s", path, strerror(errno));
}

int verb_map(struct ctl *ctl)
{
	struct picture *p = calloc(1, sizeof(*p));
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
