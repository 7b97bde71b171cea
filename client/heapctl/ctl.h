/* SPDX-License-Identifier: MIT */
/*
 * ctl.h - what every verb of heapctl is given, and the exit statuses.
 */
#ifndef HEAPCTL_CTL_H
#define HEAPCTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/client.h"

/* As systemctl has them where it has such a case. */
enum ctl_exit {
	CTL_OK = 0,
	CTL_FOUND = 1, /* what was asked about is not as it should be: faults, no path, growth */
	CTL_USAGE = 2,
	CTL_NO_DAEMON = 3,
	CTL_NO_HEAP = 4, /* no such heap, or not for this user */
	CTL_TROUBLE = 5,
};

enum ctl_json {
	CTL_JSON_OFF,
	CTL_JSON_SHORT,
	CTL_JSON_PRETTY,
};

struct ctl {
	const char *heap_name;
	const char *socket; /* NULL: the library's default */
	enum ctl_json json;
	bool no_legend, no_pager, color;
	bool live;           /* --live: only what roots lead to */
	bool age;            /* --age: by age, too */
	bool bytes;          /* --bytes: what each keeps alive */
	const char *by;      /* --by: what to go by */
	bool no_gc;          /* --no-gc: no collection before a walk */
	bool folded;         /* --folded: stacks for flame graphs */
	bool allocated;      /* --allocated: what was allocated, not what of it lives */
	const char *profile; /* --profile: a file that profile wrote */
	const char *output;  /* --output */
	unsigned top;        /* --top: lines of lists that are cut */
	char **args;         /* behind the verb */
	int nargs;
	heapd_heap *heap;
	bool *broken; /* something of the heap made no sense, which was said */
};

/* Attaches for reading only, its thread offline; CTL_OK, or the exit status after saying why. */
int ctl_attach(struct ctl *ctl);

/* Says what heapd_error() has, and which exit status that is. */
int ctl_failed(int r);

/* One message before any attachment: the daemon's answer in the same place. The exit status. */
struct heapd_message;
int ctl_ask(const struct ctl *ctl, struct heapd_message *m);

/* Says a sentence on standard error and returns the status. */
int ctl_say(enum ctl_exit status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what of the heap makes no sense, on standard error; the exit status will be CTL_FOUND at least. */
void ctl_broken(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * The next session after m->session.id that this user may know of, or id 0. An exit status: a daemon that goes back in
 * its list is not asked for ever.
 */
int ctl_session(const struct ctl *ctl, struct heapd_message *m);

/* Runs a collection and waits for its end. An exit status. */
int ctl_collect(const struct ctl *ctl);

/* A number or an address from the command line: false if it is none. */
bool ctl_number(const char *text, uint64_t *number);
/* A time in seconds, with a fraction or without: false if it is none, or longer. */
bool ctl_seconds(const char *text, double most, uint64_t *ms);

void ctl_sleep(uint64_t ms);

static inline const struct heapd_directory *ctl_directory(const struct ctl *ctl)
{
	return ctl->heap->t.directory;
}

#endif
