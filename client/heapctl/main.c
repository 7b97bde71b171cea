/* SPDX-License-Identifier: MIT */
/*
 * main.c - owns the command line: options, then a verb, which the table below leads to.
 */
#include <argp.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pager.h"
#include "verbs.h"

struct verb {
	const char *name, *arguments, *what;
	int (*run)(struct ctl *ctl);
	int min, max;    /* arguments */
	bool unattached; /* asks the daemon, not a heap */
	bool follows;    /* goes on until told to end: no pager */
	bool draws;      /* a picture, of which there is no JSON */
};

static const struct verb verbs[] = {
	{ "status", "", "The heap at a glance", verb_status, 0, 0, false, false, false },
	{ "list", "", "The heaps of this daemon", verb_list, 0, 0, true, false, false },
	{ "clients", "", "Attached processes", verb_clients, 0, 0, false, false, false },
	{ "users", "", "What each user has of the heap, and may have", verb_users, 0, 0, false, false,
	  false },
	{ "classes", "", "Slots, slabs and spans by class", verb_classes, 0, 0, false, false, false },
	{ "types", "", "The same by type", verb_types, 0, 0, false, false, false },
	{ "spans", "", "Each run of pages", verb_spans, 0, 0, false, false, false },
	{ "roots", "", "Named roots", verb_roots, 0, 0, false, false, false },
	{ "config", "[NAME[=VALUE]]...", "Show or change settings", verb_config, 0, 64, false, false, false },
	{ "gc", "", "Run a collection and show it", verb_gc, 0, 0, false, false, false },
	{ "log", "", "Past collections", verb_log, 0, 0, false, false, false },
	{ "trace", "", "Past collections as a Chrome trace", verb_trace, 0, 0, false, false, false },
	{ "verify", "", "Check the heap's invariants", verb_verify, 0, 0, false, false, false },
	{ "receipts", "[PID]", "What the dead left", verb_receipts, 0, 1, false, false, false },
	{ "stat", "[SECONDS [COUNT]]", "Figures line by line, as vmstat", verb_stat, 0, 2, false, true,
	  false },
	{ "top", "[SECONDS]", "Classes, live, as slabtop", verb_top, 0, 1, false, true, false },
	{ "events", "", "Follow what happens", verb_events, 0, 0, false, true, false },
	{ "profile", "[SECONDS]", "Where memory is allocated, by samples", verb_profile, 0, 1, true, true,
	  false },
	{ "diff", "BEFORE AFTER", "What has changed between two profiles", verb_diff, 2, 2, true, false,
	  false },
	{ "histo", "", "Objects by class, type and age", verb_histo, 0, 0, false, false, false },
	{ "retained", "", "What keeps most memory alive", verb_retained, 0, 0, false, false, false },
	{ "snapshot", "", "All objects, for Chrome's DevTools", verb_snapshot, 0, 0, false, true, false },
	{ "why", "ADDRESS", "The path from a root that keeps an object", verb_why, 1, 1, false, false,
	  false },
	{ "who", "ADDRESS", "The roots and processes that reach an object", verb_who, 1, 1, false, false,
	  false },
	{ "dot", "ADDRESS [STEPS]", "What is around an object, for graphviz", verb_dot, 1, 2, false, false,
	  true },
	{ "map", "", "A picture of the heap", verb_map, 0, 0, false, false, true },
	{ "leaks", "[CYCLES [SECONDS]]", "What grows from cycle to cycle", verb_leaks, 0, 2, false, true,
	  false },
};
#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))

enum key {
	KEY_JSON = 256,
	KEY_NO_LEGEND,
	KEY_NO_PAGER,
	KEY_SOCKET,
	KEY_LIVE,
	KEY_AGE,
	KEY_BYTES,
	KEY_BY,
	KEY_NO_GC,
	KEY_TOP,
	KEY_FOLDED,
	KEY_ALLOCATED,
	KEY_PROFILE,
};

static const struct argp_option argp_options[] = {
	{ "heap", 'H', "NAME", 0, "The heap to look at (default)", 1 },
	{ "socket", KEY_SOCKET, "PATH", 0, "Where the daemon listens ($HEAPD_SOCKET)", 1 },
	{ "json", KEY_JSON, "short|pretty|off", 0, "Print JSON", 2 },
	{ "no-legend", KEY_NO_LEGEND, NULL, 0, "Print no column headers", 2 },
	{ "no-pager", KEY_NO_PAGER, NULL, 0, "Do not pipe the output into a pager", 2 },
	{ "live", KEY_LIVE, NULL, 0, "Count only what roots lead to (histo)", 3 },
	{ "age", KEY_AGE, NULL, 0, "By age in collections, too (histo)", 3 },
	{ "bytes", KEY_BYTES, NULL, 0, "What each keeps alive: walks through the heap (clients)", 3 },
	{ "by", KEY_BY, "type|root|site", 0, "What to go by (leaks)", 3 },
	{ "no-gc", KEY_NO_GC, NULL, 0, "Run no collection before a walk", 3 },
	{ "folded", KEY_FOLDED, NULL, 0, "Print stacks for flame graphs (profile, diff)", 3 },
	{ "allocated", KEY_ALLOCATED, NULL, 0,
	  "Go by what was allocated, not by what of it lives (profile, diff)", 3 },
	{ "profile", KEY_PROFILE, "FILE", 0,
	  "Samples that were written there: show them (profile), or say who allocated (why)", 3 },
	{ "top", KEY_TOP, "N", 0, "Lines of lists that are cut (20)", 3 },
	{ "output", 'o', "FILE", 0,
	  "Write there instead of standard output (profile, snapshot, map, dot, trace)", 3 },
	{ 0 },
};

static enum ctl_json parse_json(struct argp_state *state, const char *text)
{
	if (strcmp(text, "short") == 0)
		return CTL_JSON_SHORT;
	if (strcmp(text, "pretty") == 0)
		return CTL_JSON_PRETTY;
	if (strcmp(text, "off") != 0)
		argp_error(state, "--json=%s: write short, pretty or off", text);
	return CTL_JSON_OFF;
}

static unsigned parse_top(struct argp_state *state, const char *text)
{
	uint64_t n;

	if (!ctl_number(text, &n) || !n || n > 1000000)
		argp_error(state, "--top=%s: write a number from 1 to 1000000", text);
	return (unsigned)n;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct ctl *ctl = state->input;

	switch (key) {
	case 'H':
		ctl->heap_name = arg;
		return 0;
	case 'o':
		ctl->output = arg;
		return 0;
	case KEY_SOCKET:
		ctl->socket = arg;
		return 0;
	case KEY_JSON:
		ctl->json = parse_json(state, arg);
		return 0;
	case KEY_NO_LEGEND:
		ctl->no_legend = true;
		return 0;
	case KEY_NO_PAGER:
		ctl->no_pager = true;
		return 0;
	case KEY_LIVE:
		ctl->live = true;
		return 0;
	case KEY_AGE:
		ctl->age = true;
		return 0;
	case KEY_BYTES:
		ctl->bytes = true;
		return 0;
	case KEY_BY:
		ctl->by = arg;
		return 0;
	case KEY_NO_GC:
		ctl->no_gc = true;
		return 0;
	case KEY_FOLDED:
		ctl->folded = true;
		return 0;
	case KEY_ALLOCATED:
		ctl->allocated = true;
		return 0;
	case KEY_PROFILE:
		ctl->profile = arg;
		return 0;
	case KEY_TOP:
		ctl->top = parse_top(state, arg);
		return 0;
	case ARGP_KEY_ARGS:
		ctl->args = state->argv + state->next;
		ctl->nargs = state->argc - state->next;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_version(FILE *stream, struct argp_state *state)
{
	unsigned version = heapd_version();

	(void)state;
	fprintf(stream, "heapctl %u.%u.%u\n", version >> 16, version >> 8 & 0xff, version & 0xff);
}

/* The list of verbs, at the end of --help; argp frees it. */
static char *help_filter(int key, const char *text, void *input)
{
	char *list = NULL;
	size_t size;
	FILE *f;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)(uintptr_t)text;
	f = open_memstream(&list, &size);
	if (!f)
		return (char *)(uintptr_t)text;
	fputs("Verbs:\n", f);
	for (size_t i = 0; i < NVERBS; i++)
		fprintf(f, "  %-10s %-20s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].what);
	fputs("\nExit status: 0 all is well; 1 what was looked for was found wanting (faults, growth, no path, no receipt); 2 wrong "
	      "usage; 3 no daemon answers; 4 no such heap, or not for this user; 5 other trouble.",
	      f);
	fclose(f);
	return list;
}

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < NVERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static int verb_run(const struct verb *verb, struct ctl *ctl)
{
	pid_t pager = 0;
	int status;

	status = verb->unattached ? CTL_OK : ctl_attach(ctl);
	if (status != CTL_OK)
		return status;
	if (!verb->follows && !ctl->no_pager && !ctl->output)
		pager = pager_open();
	status = verb->run(ctl);
	if (ctl->heap)
		heapd_detach(ctl->heap);
	if (status == CTL_OK && *ctl->broken)
		status = CTL_FOUND;
	if (fflush(stdout) != 0)
		status = CTL_TROUBLE;
	pager_close(pager);
	return status;
}

static bool color_wanted(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

int main(int argc, char **argv)
{
	static const char doc[] = "Shows and controls the shared heaps of heapd.\v ";
	const struct argp argp = { argp_options, parse_option, "VERB [ARGUMENT...]", doc, NULL,
				   help_filter,  NULL };
	struct ctl ctl = { .heap_name = "default", .top = 20 };
	bool broken = false;
	static char status_verb[] = "status";
	const struct verb *verb;

	setlocale(LC_ALL, "");
	setlocale(LC_NUMERIC, "C");
	signal(SIGPIPE, SIG_DFL);
	argp_err_exit_status = CTL_USAGE;
	argp_program_version_hook = print_version;
	argp_parse(&argp, argc, argv, 0, NULL, &ctl);
	ctl.color = color_wanted();
	ctl.broken = &broken;
	verb = verb_find(ctl.nargs ? ctl.args[0] : status_verb);
	if (!verb)
		return ctl_say(CTL_USAGE, "there is no verb '%s': see heapctl --help", ctl.args[0]);
	if (ctl.nargs) {
		ctl.args++;
		ctl.nargs--;
	}
	if (ctl.nargs < verb->min || ctl.nargs > verb->max)
		return ctl_say(CTL_USAGE, "usage: heapctl %s%s%s", verb->name, *verb->arguments ? " " : "",
			       verb->arguments);
	if (verb->draws && ctl.json != CTL_JSON_OFF)
		return ctl_say(CTL_USAGE,
			       "%s draws, and has no JSON: spans, types and snapshot have its figures",
			       verb->name);
	return verb_run(verb, &ctl);
}
