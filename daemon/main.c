/* SPDX-License-Identifier: MIT */
/*
 * main.c - owns the command line.
 *
 * Right because an option that stands for a setting becomes an override, nothing else: what the command line
 * says goes through the same table as what a file says. heapd(8) is its description.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "daemon.h"
#include "keep.h"
#include "log.h"
#include "version.h"

enum { EXIT_CONFIG = 2 };
enum { KEY_SET = 256, KEY_SOCKET, KEY_LOG_LEVEL, KEY_CHECK, KEY_DUMP, KEY_FOREGROUND, KEY_KEEP, KEY_DISCARD };
enum action { ACTION_RUN, ACTION_CHECK, ACTION_DUMP, ACTION_KEEP };

struct arguments {
	struct daemon_source source;
	enum action action;
	bool verbose;
	char **argv; /* of the daemon that ACTION_KEEP starts */
};

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): argp looks for it under this name */
const char *argp_program_version = VERSION_TEXT;

static const struct argp_option options[] = {
	{ "config", 'c', "FILE", 0, "Read FILE, and FILE.d/*.conf, instead of " CONFIG_FILE, 0 },
	{ "set", KEY_SET, "KEY=VALUE", 0,
	  "Override a setting, e.g. daemon.LogLevel=debug or heap.NAME.Size=1G; may be given many times", 0 },
	{ "socket", KEY_SOCKET, "PATH", 0, "Listen there; the same as --set daemon.Socket=PATH", 0 },
	{ "log-level", KEY_LOG_LEVEL, "LEVEL", 0, "The same as --set daemon.LogLevel=LEVEL", 0 },
	{ "check-config", KEY_CHECK, NULL, 0, "Say what is wrong with the configuration, and exit", 1 },
	{ "dump-config", KEY_DUMP, NULL, 0, "Print the configuration that would be in force, and exit", 1 },
	{ "verbose", 'v', NULL, 0, "With --check-config: print the configuration as well", 1 },
	{ "foreground", KEY_FOREGROUND, NULL, 0, "Stay in the foreground, as heapd always does", 1 },
	{ "keep", KEY_KEEP, NULL, 0,
	  "Run the daemon as a child, hold its memory for it, and start it again when it ends", 0 },
	{ "discard-heaps", KEY_DISCARD, NULL, 0,
	  "Give up the heaps that an earlier daemon left with the service manager", 0 },
	{ 0 },
};

static void add_override(struct argp_state *state, const char *key, const char *value)
{
	struct arguments *arguments = state->input;
	struct daemon_source *source = &arguments->source;
	char **overrides = reallocarray(source->overrides, source->noverrides + 1, sizeof(*overrides));

	if (!overrides)
		argp_failure(state, EXIT_FAILURE, ENOMEM, "%s", key);
	source->overrides = overrides;
	if (asprintf(&overrides[source->noverrides], "%s%s", key, value) < 0)
		argp_failure(state, EXIT_FAILURE, ENOMEM, "%s", key);
	source->noverrides++;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'c':
		arguments->source.file = text;
		arguments->source.file_required = true;
		return 0;
	case KEY_SET:
		add_override(state, "", text);
		return 0;
	case KEY_SOCKET:
		add_override(state, "daemon.Socket=", text);
		return 0;
	case KEY_LOG_LEVEL:
		add_override(state, "daemon.LogLevel=", text);
		return 0;
	case KEY_CHECK:
		arguments->action = ACTION_CHECK;
		return 0;
	case KEY_DUMP:
		arguments->action = ACTION_DUMP;
		return 0;
	case 'v':
		arguments->verbose = true;
		return 0;
	case KEY_FOREGROUND:
		return 0;
	case KEY_KEEP:
		arguments->action = ACTION_KEEP;
		return 0;
	case KEY_DISCARD:
		arguments->source.discard_heaps = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Serve shared heaps to the processes of this machine.\v"
	       "Exit status: 0 after SIGTERM or SIGINT, 1 if heapd failed, 2 if the command line or the "
	       "configuration is wrong.",
};

static int act(const struct arguments *arguments, struct config *config, struct log *log)
{
	int r = 0;

	switch (arguments->action) {
	case ACTION_CHECK:
		if (arguments->verbose)
			r = config_dump(config, stdout);
		else
			printf("The configuration is good: %zu heaps.\n", config->nheaps);
		break;
	case ACTION_DUMP:
		r = config_dump(config, stdout);
		break;
	case ACTION_KEEP:
		log_init(log, STDERR_FILENO, config->log_target, config->log_level);
		r = keep_run(arguments->argv, config, log);
		break;
	case ACTION_RUN:
		log_init(log, STDERR_FILENO, config->log_target, config->log_level);
		return daemon_run(&arguments->source, config, log);
	}
	config_free(config);
	if (arguments->action == ACTION_KEEP)
		return r;
	return r == 0 && fflush(stdout) == 0 ? 0 : -EIO;
}

/* A service manager starts us again at once, which helps after a crash and not after a mistake. */
static void rest_after_failure(int status)
{
	if (status != EXIT_SUCCESS && getenv("NOTIFY_SOCKET"))
		sleep(1);
}

/* The same command line without --keep. Nothing is kept yet, so there is nothing to discard, either. */
static char **daemon_arguments(int argc, char **argv)
{
	char **list = calloc((size_t)argc + 1, sizeof(*list));
	int n = 0;

	for (int i = 0; list && i < argc; i++)
		if (i == 0 || (strcmp(argv[i], "--keep") != 0 && strcmp(argv[i], "--discard-heaps") != 0))
			list[n++] = argv[i];
	return list;
}

/* What act() returned: a child's status is positive. */
static int exit_status(int r)
{
	return r < 0 ? EXIT_FAILURE : r;
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .source.file = CONFIG_FILE, .argv = daemon_arguments(argc, argv) };
	struct daemon_source *source = &arguments.source;
	int status = EXIT_CONFIG, r;
	struct config config;
	struct log log;

	argp_err_exit_status = EXIT_CONFIG;
	log_init(&log, STDERR_FILENO, LOG_TARGET_AUTO, LOG_INFO);
	if (!arguments.argv) {
		log_err(&log, "out of memory");
		return EXIT_FAILURE;
	}
	/* Mistakes it has told and ended for: what is left is memory, without which nothing of the line would hold. */
	r = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (r)
		log_err(&log, "cannot read the command line: %s", strerror(r));
	else if (daemon_configure(source, &config, &log) == 0)
		status = exit_status(act(&arguments, &config, &log));
	for (size_t i = 0; i < source->noverrides; i++)
		free(source->overrides[i]);
	free(source->overrides);
	rest_after_failure(status);
	free(arguments.argv);
	return status;
}
