/* SPDX-License-Identifier: MIT */
/*
 * configfile.c - owns reading the file and its drop-ins: which, in what order, and where each option was set.
 *
 * Right because reading never stops at a mistake, and a mistake changes nothing but the loader's result. The
 * object of the current section is looked up anew at each section line, since making a heap moves the others.
 */
#include "configset.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "inifile.h"

struct loader {
	struct config *cfg;
	const char *file; /* owned by cfg */
	config_report report;
	void *arg;
	int result;

	bool in_section; /* false before the first section and after one that was refused */
	bool any_section;
	enum config_section section;
	void *object;
	struct config_place *set;
};

void config_report_log(void *log, int priority, const char *file, unsigned line, const char *text)
{
	if (line)
		log_write(log, priority, "%s:%u: %s", file, line, text);
	else
		log_write(log, priority, "%s: %s", file, text);
}

static void complain(struct loader *l, int priority, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void complain(struct loader *l, int priority, unsigned line, const char *format, ...)
{
	struct config_error err;
	va_list args;

	va_start(args, format);
	vsnprintf(err.text, sizeof(err.text), format, args);
	va_end(args);
	l->report(l->arg, priority, l->file, line, err.text);
	if (priority <= LOG_ERR && l->result == 0)
		l->result = -EINVAL;
}

static void enter_heap(struct loader *l, unsigned line, const char *name)
{
	int i;

	if (!config_is_heap_name(name)) {
		complain(l, LOG_ERR, line, "[Heap %.60s]: " CONFIG_HEAP_NAME_RULE " (e.g. [Heap demo])",
			 name);
		return;
	}
	i = config_make_heap(l->cfg, name);
	if (i == -E2BIG) {
		complain(l, LOG_ERR, line, "[Heap %s]: more than %d heaps", name, CONFIG_HEAPS_MAX);
		return;
	}
	if (i < 0) {
		l->result = i;
		return;
	}
	l->in_section = true;
	l->section = CONFIG_HEAP;
	l->object = &l->cfg->heaps[i];
	l->set = l->cfg->heaps[i].set;
}

static void enter_daemon(struct loader *l)
{
	l->in_section = true;
	l->section = CONFIG_DAEMON;
	l->object = l->cfg;
	l->set = l->cfg->set;
}

static void refuse_section(struct loader *l, unsigned line, const char *name)
{
	const char *guess = value_distance(name, "Daemon") <= 2 ? "; did you mean [Daemon]?" : "";

	if (strncasecmp(name, "heap", 4) == 0)
		guess = "; did you mean [Heap NAME]?";
	complain(l, LOG_ERR, line, "[%.60s]: unknown section%s%s", name, guess,
		 *guess ? "" : "; there are [Daemon] and [Heap NAME]");
}

static void load_section(void *arg, unsigned line, const char *name)
{
	struct loader *l = arg;

	l->any_section = true;
	l->in_section = false;
	if (strcmp(name, "Daemon") == 0)
		enter_daemon(l);
	else if (strcmp(name, "Heap") == 0)
		complain(l, LOG_ERR, line,
			 "[Heap]: the heap has no name; write [Heap NAME] (e.g. [Heap demo])");
	else if (strncmp(name, "Heap ", 5) == 0 || strncmp(name, "Heap\t", 5) == 0)
		enter_heap(l, line, name + 5 + strspn(name + 5, " \t"));
	else
		refuse_section(l, line, name);
}

/* Lists may be given in parts; else the second of two in one file is more likely a slip than a wish. */
static void note_place(struct loader *l, const struct config_option *o, unsigned line)
{
	struct config_place *place = &l->set[config_option_index(o)];

	if (place->file == l->file && !o->is_list)
		complain(l, LOG_WARNING, line, "%s= was given in line %u already; this one counts", o->key,
			 place->line);
	*place = (struct config_place){ .file = l->file, .line = line };
}

static void load_assignment(void *arg, unsigned line, const char *key, const char *value)
{
	const struct config_option *o;
	struct loader *l = arg;
	struct config_error err;
	char what[320];
	int r;

	if (!l->in_section) {
		if (!l->any_section)
			complain(l, LOG_ERR, line,
				 "%.60s= stands before any section; begin with [Daemon] or [Heap NAME]", key);
		return;
	}
	o = config_find_option(l->section, key, strcmp);
	if (!o) {
		config_describe_unknown(l->section, key, what, sizeof(what));
		complain(l, LOG_ERR, line, "%.60s=: %s", key, what);
		return;
	}
	r = config_assign(o, o->key, value, l->object, &err);
	if (r == -EINVAL)
		complain(l, LOG_ERR, line, "%s", err.text);
	else if (r < 0)
		l->result = r;
	note_place(l, o, line);
}

static void load_problem(void *arg, unsigned line, const char *text)
{
	complain(arg, LOG_ERR, line, "%s", text);
}

static void load_file(struct loader *l, const char *path, bool required)
{
	const struct inifile_reader reader = {
		.arg = l,
		.section = load_section,
		.assignment = load_assignment,
		.problem = load_problem,
	};
	int r;

	r = config_keep_name(l->cfg, path, &l->file);
	if (r < 0) {
		l->result = r;
		return;
	}
	l->in_section = l->any_section = false;
	r = inifile_read(path, &reader);
	if (r == -EFBIG)
		complain(l, LOG_ERR, 0, "the file is larger than %zu bytes", INIFILE_SIZE_MAX);
	else if (r < 0 && (required || r != -ENOENT))
		complain(l, LOG_ERR, 0, "cannot read the file: %s", strerrordesc_np(-r));
}

static int is_drop_in(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

/* Not alphasort(), whose order depends on the locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_drop_in(struct loader *l, const char *directory, const char *name)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path))
		load_file(l, path, true);
	else
		complain(l, LOG_ERR, 0, "the path of the drop-in %s is too long", name);
}

static void load_drop_ins(struct loader *l, const char *directory)
{
	struct dirent **entries;
	int n = scandir(directory, &entries, is_drop_in, compare_names), error = errno;

	if (n < 0) {
		l->file = directory;
		if (error != ENOENT)
			complain(l, LOG_ERR, 0, "cannot read the directory: %s", strerrordesc_np(error));
		return;
	}
	for (int i = 0; i < n; i++) {
		load_drop_in(l, directory, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

int config_load(struct config *cfg, const char *path, bool required, config_report report, void *arg)
{
	struct loader l = { .cfg = cfg, .report = report, .arg = arg };
	char directory[PATH_MAX];

	load_file(&l, path, required);
	if (snprintf(directory, sizeof(directory), "%s.d", path) < (int)sizeof(directory))
		load_drop_ins(&l, directory);
	return l.result;
}
