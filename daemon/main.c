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
#include <unistd.h>

#include "config.h"
#include "daemon.h"
#include "log.h"

#ifndef HEAPD_VERSION
#define HEAPD_VERSION "0.1.0"
#endif

enum { EXIT_CONFIG = 2 };
enum { KEY_SET = 256, KEY_SOCKET, KEY_LOG_LEVEL, KEY_CHECK, KEY_DUMP, KEY_FOREGROUND };
enum action { ACTION_RUN, ACTION_CHECK, ACTION_DUMP };

struct arguments {
	struct daemon_source source;
	enum action action;
	bool verbose;
};

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): argp looks for it under this name */
const char *argp_program_version = "heapd " HEAPD_VERSION;

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
	case ACTION_RUN:
		log_init(log, STDERR_FILENO, config->log_target, config->log_level);
		return daemon_run(&arguments->source, config, log);
	}
	config_free(config);
	return r == 0 && fflush(stdout) == 0 ? 0 : -EIO;
}

/* A service manager starts us again at once, which helps after a crash and not after a mistake. */
static void rest_after_failure(int status)
{
	if (status != EXIT_SUCCESS && getenv("NOTIFY_SOCKET"))
		sleep(1);
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .source.file = CONFIG_FILE };
	struct daemon_source *source = &arguments.source;
	int status = EXIT_CONFIG;
	struct config config;
	struct log log;

	argp_err_exit_status = EXIT_CONFIG;
	log_init(&log, STDERR_FILENO, LOG_TARGET_AUTO, LOG_INFO);
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (daemon_configure(source, &config, &log) == 0)
		status = act(&arguments, &config, &log) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	for (size_t i = 0; i < source->noverrides; i++)
		free(source->overrides[i]);
	free(source->overrides);
	rest_after_failure(status);
	return status;
}
