/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - owns the .heapsnapshot format of Chrome's DevTools: written node by node and edge by edge, never held.
 *
 * Only what the roots lead to is in it, in the order of the walk. Node ids are odd, as V8's are, and follow from the
 * address, so that two snapshots of one heap can be compared; those of objects that went meanwhile lie beyond all others. Strings: one for each class, one for each root.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "table.h"
#include "tree.h"
#include "verbs.h"

#define NODE_FIELDS  7u
#define STRING_ROOT  0u
#define STRING_EMPTY 1u
#define STRING_CLASS 2u    /* the first of classes, then those of roots */
#define FIRST_OBJECT 4096u /* of ids: objects are 8 bytes apart at the least, and roots are few */

enum { NODE_OBJECT = 3, NODE_SYNTHETIC = 9, EDGE_ELEMENT = 1 };

static void head_write(FILE *f, const struct tree *t, uint64_t edges)
{
	fprintf(f,
		"{\"snapshot\":{\"meta\":{\"node_fields\":[\"type\",\"name\",\"id\",\"self_size\",\"edge_count\","
		"\"trace_node_id\",\"detachedness\"],"
		"\"node_types\":[[\"hidden\",\"array\",\"string\",\"object\",\"code\",\"closure\",\"regexp\",\"number\","
		"\"native\",\"synthetic\",\"concatenated string\",\"sliced string\",\"symbol\",\"bigint\"],"
		"\"string\",\"number\",\"number\",\"number\",\"number\",\"number\"],"
		"\"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],"
		"\"edge_types\":[[\"context\",\"element\",\"property\",\"internal\",\"hidden\",\"shortcut\",\"weak\"],"
		"\"string_or_number\",\"node\"],"
		"\"trace_function_info_fields\":[],\"trace_node_fields\":[],\"sample_fields\":[],\"location_fields\":[]},"
		"\"node_count\":%u,\"edge_count\":%" PRIu64 ",\"trace_function_count\":0},\n",
		t->n, edges);
}

static void node_write(FILE *f, const struct graph *g, const struct tree *t, uint32_t v)
{
	uint32_t node = t->node[v];
	struct graph_node n = graph_node(g, node);
	uint64_t edges = g->offsets[node + 1] - g->offsets[node];
	uint32_t name = node == 0 ? STRING_ROOT : STRING_CLASS + HEAPD_CLASS_MAX + node - 1;
	uint64_t id = node * UINT64_C(2) + 1;

	if (n.span) {
		name = STRING_CLASS + n.span->span.class;
		id = n.size ? ((n.address - g->ctl->heap->t.base) / 8 + FIRST_OBJECT) * 2 + 1
			    : (g->ctl->heap->t.size / 8 + FIRST_OBJECT + node) * 2 + 1;
	}
	fprintf(f, "%s%u,%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",0,0", v > 1 ? ",\n" : "",
		n.span ? NODE_OBJECT : NODE_SYNTHETIC, name, id, n.size, edges);
}

static void nodes_write(FILE *f, const struct graph *g, const struct tree *t, struct progress *progress)
{
	fputs("\"nodes\":[", f);
	for (uint32_t v = 1; v <= t->n; v++) {
		node_write(f, g, t, v);
		if (v % PROGRESS_EVERY == 0)
			progress_step(progress, v, t->n * UINT64_C(2));
	}
}

static void edges_write(FILE *f, const struct graph *g, const struct tree *t, struct progress *progress)
{
	bool first = true;

	fputs("],\n\"edges\":[", f);
	for (uint32_t v = 1; v <= t->n; v++) {
		uint32_t node = t->node[v];

		for (uint64_t e = g->offsets[node]; e < g->offsets[node + 1]; e++, first = false)
			fprintf(f, "%s%u,%u,%" PRIu64, first ? "" : ",\n", EDGE_ELEMENT,
				node < g->base ? g->words[e] & ~GRAPH_PAST : g->words[e],
				(t->number[g->edges[e]] - UINT64_C(1)) * NODE_FIELDS);
		if (v % PROGRESS_EVERY == 0)
			progress_step(progress, t->n + (uint64_t)v, t->n * UINT64_C(2));
	}
}

static void string_write(FILE *f, const char *text)
{
	fputs(",\n\"", f);
	for (; *text; text++)
		fputc(*text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '?' : *text, f);
	fputc('"', f);
}

static void strings_write(FILE *f, const struct graph *g)
{
	uint32_t known = HEAPD_LOAD_ACQUIRE(&ctl_directory(g->ctl)->nclasses);

	fputs("],\n\"trace_function_infos\":[],\"trace_tree\":[],\"samples\":[],\"locations\":[],\n\"strings\":[\"\",\n\"\"",
	      f);
	for (uint32_t i = 0; i < HEAPD_CLASS_MAX; i++)
		string_write(f, i < known ? class_name(g->ctl, i).text : "");
	for (uint32_t i = 0; i < g->nroots; i++)
		string_write(f, g->roots[i].name);
	fputs("]}\n", f);
}

static void snapshot_write(FILE *f, const struct graph *g, const struct tree *t)
{
	struct progress progress;
	uint64_t edges = 0;

	progress_begin(&progress, "writing objects and pointers");
	/* A bar amid what is written would be of no use to anybody. */
	progress.tell = progress.tell && (f != stdout || !isatty(STDOUT_FILENO));
	for (uint32_t v = 1; v <= t->n; v++)
		edges += g->offsets[t->node[v] + 1] - g->offsets[t->node[v]];
	head_write(f, t, edges);
	nodes_write(f, g, t, &progress);
	edges_write(f, g, t, &progress);
	progress_end(&progress);
	strings_write(f, g);
}

static int snapshot_save(const struct ctl *ctl, const struct graph *g, const struct tree *t)
{
	FILE *f = ctl->output ? fopen(ctl->output, "we") : stdout;
	bool failed;

	if (!f)
		return ctl_say(CTL_TROUBLE, "%s: %s", ctl->output, strerror(errno));
	snapshot_write(f, g, t);
	failed = ferror(f);
	if ((f == stdout ? fflush(f) : fclose(f)) != 0 || failed)
		return ctl_say(CTL_TROUBLE, "cannot write the snapshot: %s", strerror(errno));
	if (ctl->output && !ctl->no_legend)
		fprintf(stderr, "%u nodes in %s\n", t->n, ctl->output);
	return CTL_OK;
}

int verb_snapshot(struct ctl *ctl)
{
	struct graph g;
	struct tree t;
	int status = graph_load(&g, ctl);

	if (status != CTL_OK)
		return status;
	status = tree_walk(&t, &g);
	if (status == CTL_OK)
		status = snapshot_save(ctl, &g, &t);
	tree_free(&t);
	graph_free(&g);
	return status;
}
