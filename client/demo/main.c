/* SPDX-License-Identifier: MIT */
/*
 * main.c - owns the command line. What the program does begins in coordinator.c.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "coordinator.h"
#include "host.h"
#include "reader.h"
#include "say.h"
#include "worker.h"

#define EXIT_DIFFERS 1
#define EXIT_TROUBLE 2

#define WORKERS_MAX 200
#define QUERIES_MAX 900

enum key {
	KEY_WORKERS = 'w',
	KEY_KILL_EVERY = 'k',
	KEY_SEED = 's',
	KEY_QUERIES = 'n',
	KEY_ROUNDS = 'u',
	KEY_SECONDS = 't',
	KEY_REPEAT = 'r',
	KEY_QUIET = 'q',
	KEY_NULL = '0',
	KEY_HEAP_SIZE = 256,
	KEY_FOREVER,
	KEY_KEEP,
	KEY_SOCKET,
	KEY_HEAP,
	KEY_ASK,
	KEY_ROLE,
	KEY_SLOT,
	KEY_LIFE,
};

static const struct argp_option argp_options[] = {
	{ "workers", KEY_WORKERS, "N", 0, "Worker processes (4)", 1 },
	{ "kill-every", KEY_KILL_EVERY, "MS", 0, "Kill a worker every MS milliseconds or so; 0: never (150)",
	  1 },
	{ "rounds", KEY_ROUNDS, "N", 0,
	  "Then read all files again, N times, and replace what they were found to hold (2)", 1 },
	{ "seconds", KEY_SECONDS, "S", 0, "Read them again until S seconds are over", 1 },
	{ "forever", KEY_FOREVER, NULL, 0, "Read them again until told to end", 1 },
	{ "seed", KEY_SEED, "N", 0, "Repeat what was drawn by lot: who is killed and when, what is asked for",
	  1 },
	{ "queries", KEY_QUERIES, "N", 0, "Words to compare with grep place by place (30)", 1 },
	{ "repeat", KEY_REPEAT, "N", 0,
	  "Do all of it N times, each with the next seed; stop when something is wrong", 1 },
	{ "quiet", KEY_QUIET, NULL, 0, "Print mistakes only", 1 },
	{ "heap-size", KEY_HEAP_SIZE, "BYTES", 0,
	  "Limit of the private heap; K, M or G behind it (chosen by the text)", 2 },
	{ "keep", KEY_KEEP, NULL, 0, "Leave the private daemon and the index in it running", 2 },
	{ "socket", KEY_SOCKET, "PATH", 0, "Use the daemon that listens there, instead of a private one", 3 },
	{ "heap", KEY_HEAP, "NAME", 0, "Use this heap of a running daemon, instead of a private one", 3 },
	{ "ask", KEY_ASK, NULL, 0, "Ask the index that is in that heap: the arguments are a question", 4 },
	{ "null", KEY_NULL, NULL, 0, "End a path in the answer with a NUL", 4 },
	{ "role", KEY_ROLE, "ROLE", OPTION_HIDDEN, NULL, 5 },
	{ "slot", KEY_SLOT, "N", OPTION_HIDDEN, NULL, 5 },
	{ "life", KEY_LIFE, "N", OPTION_HIDDEN, NULL, 5 },
	{ 0 },
};

static uint64_t parse_number(struct argp_state *state, const char *what, const char *text, uint64_t min,
			     uint64_t max)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n < min || n > max)
		argp_error(state, "--%s=%s: write a number from %llu to %llu", what, text,
			   (unsigned long long)min, (unsigned long long)max);
	return n;
}

static uint64_t parse_size(struct argp_state *state, const char *text)
{
	static const char units[] = "KMG";
	unsigned long long n;
	const char *unit;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (errno || end == text || *text == '-' || (*end && (!unit || end[1])) || n > 1ull << 30)
		argp_error(state, "--heap-size=%s: write a number of bytes, or one with K, M or G behind it",
			   text);
	if (unit)
		n <<= 10 * (unit - units + 1);
	if (n < 64 << 20 || n > 1ull << 40)
		argp_error(state, "--heap-size=%s: write a size from 64M to 1024G", text);
	return n;
}

static enum role parse_role(struct argp_state *state, const char *text)
{
	if (strcmp(text, "worker") != 0 && strcmp(text, "daemon") != 0)
		argp_error(state, "--role=%s: no such role", text);
	return strcmp(text, "worker") == 0 ? ROLE_WORKER : ROLE_DAEMON;
}

static void check_options(struct argp_state *state, const struct options *o)
{
	bool shared = o->socket || o->heap;

	if (o->role == ROLE_READER && !o->narguments)
		argp_error(state, "--ask: no question; the questions are at the end of --help");
	if (o->role == ROLE_READER && !shared)
		argp_error(state, "--ask: which heap? Give --socket or --heap");
	if (o->role == ROLE_COORDINATOR && shared && (o->keep || o->heap_size))
		argp_error(
			state,
			"--keep and --heap-size are for a private heap, not for one named by --socket or --heap");
}

/* False if the option is none of those with a number. */
static bool parse_numeric(int key, const char *arg, struct argp_state *state, struct options *o)
{
	switch (key) {
	case KEY_WORKERS:
		o->workers = (unsigned)parse_number(state, "workers", arg, 1, WORKERS_MAX);
		return true;
	case KEY_KILL_EVERY:
		o->kill_every = (unsigned)parse_number(state, "kill-every", arg, 0, 3600000);
		return true;
	case KEY_SEED:
		o->seed = parse_number(state, "seed", arg, 0, UINT64_MAX);
		return true;
	case KEY_QUERIES:
		o->queries = (unsigned)parse_number(state, "queries", arg, 1, QUERIES_MAX);
		return true;
	case KEY_REPEAT:
		o->repeat = (unsigned)parse_number(state, "repeat", arg, 1, 1000000);
		return true;
	case KEY_ROUNDS:
		o->rounds = (unsigned)parse_number(state, "rounds", arg, 0, 1000000);
		return true;
	case KEY_SECONDS:
		o->seconds = (unsigned)parse_number(state, "seconds", arg, 1, 100000000);
		return true;
	case KEY_HEAP_SIZE:
		o->heap_size = parse_size(state, arg);
		return true;
	case KEY_SLOT:
		o->slot = (unsigned)parse_number(state, "slot", arg, 0, WORKERS_MAX);
		return true;
	case KEY_LIFE:
		o->life = (unsigned)parse_number(state, "life", arg, 1, UINT32_MAX);
		return true;
	default:
		return false;
	}
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case KEY_QUIET:
		o->quiet = true;
		return 0;
	case KEY_NULL:
		o->null = true;
		return 0;
	case KEY_FOREVER:
		o->forever = true;
		return 0;
	case KEY_KEEP:
		o->keep = true;
		return 0;
	case KEY_SOCKET:
		o->socket = arg;
		return 0;
	case KEY_HEAP:
		o->heap = arg;
		return 0;
	case KEY_ASK:
		o->role = ROLE_READER;
		return 0;
	case KEY_ROLE:
		o->role = parse_role(state, arg);
		return 0;
	case ARGP_KEY_ARGS:
		o->arguments = state->argv + state->next;
		o->narguments = (size_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_SUCCESS:
		check_options(state, o);
		return 0;
	default:
		return parse_numeric(key, arg, state, o) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static void print_version(FILE *stream, struct argp_state *state)
{
	unsigned version = heapd_version();

	(void)state;
	fprintf(stream, "heapd-demo %u.%u.%u\n", version >> 16, version >> 8 & 0xff, version & 0xff);
}

static const char doc[] =
	"Builds one index of the words in all text files of the DIRECTORIES (/usr/share/doc and /usr/include), in one "
	"shared heap, by several processes that share it by plain pointers and are killed at random moments; reads the "
	"files again and replaces their part of the index, whose garbage is collected; compares its answers with grep's.\v"
	"Questions for --ask:\n"
	"  top [N]           the N words that stand there most often, and how often\n"
	"  count WORD...     how often each of the words stands there\n"
	"  places WORD...    where: file and offset\n"
	"  files WORD...     the files that contain all of the words\n"
	"  words PREFIX...   the words that begin with one of these, and how often they stand there\n"
	"  rare N SEED       N words, drawn by lot, that hardly ever stand there\n"
	"  sound             whether all that the index leads to is what it should be\n"
	"\n"
	"Exit status: 0 if all answers were right, 1 if one was not or the heap has faults, 2 if something else went "
	"wrong. Ended by a signal, it ends what it started, then itself.";

static int play(const struct options *options)
{
	switch (options->role) {
	case ROLE_WORKER:
		return worker_run(options);
	case ROLE_READER:
		return reader_run(options);
	case ROLE_DAEMON:
		return host_become_daemon(options->narguments ? options->arguments[0] : "", options->keep);
	default:
		return coordinator_run(options);
	}
}

int main(int argc, char **argv)
{
	const struct argp argp = { argp_options, parse_option, "[DIRECTORY...]\n--ask QUESTION...", doc, NULL,
				   NULL,         NULL };
	struct options options = {
		.workers = 4,
		.kill_every = 150,
		.queries = 30,
		.repeat = 1,
		.rounds = 2,
		.seed = clock_now() % 1000000,
	};
	int r;

	/* Children run /proc/self/exe, of which the kernel makes their name. */
	prctl(PR_SET_NAME, program_invocation_short_name);
	argp_err_exit_status = EXIT_TROUBLE;
	argp_program_version_hook = print_version;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	r = play(&options);
	if (r == -EINTR)
		signals_release();
	if (fflush(stdout) != 0 && r >= 0)
		r = say_error(-errno, "standard output");
	return r < 0 ? EXIT_TROUBLE : r > 0 ? EXIT_DIFFERS : EXIT_SUCCESS;
}
