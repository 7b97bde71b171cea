/* SPDX-License-Identifier: MIT */
/*
 * live.c - owns the verbs that go on: stat, top, events. They read the directory and ask the daemon nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "client/event.h"
#include "cycles.h"
#include "memory.h"
#include "table.h"
#include "verbs.h"

#define HEADER_EVERY 20u
#define CLEAR        "\033[H\033[2J"
#define TOP_HEAD     5u /* lines of top that are not classes, the one that the cursor is left on included */
#define KEY_CTRL_C   3
#define KEY_CTRL_D   4

#define GET(word) HEAPD_READ_ONCE(ctl_directory(ctl)->stats.word)

struct sample {
	uint64_t supplied, harvested, freed, cycles, gc_ns, gc_cpu, at;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct sample sample_take(const struct ctl *ctl)
{
	return (struct sample){ .supplied = GET(supplied_slots),
				.harvested = GET(harvested_slots),
				.freed = GET(gc_freed_objects),
				.cycles = HEAPD_READ_ONCE(ctl_directory(ctl)->cycle.finished),
				.gc_ns = GET(gc_ns),
				.gc_cpu = GET(gc_cpu_ns),
				.at = now_ns() };
}

/* 79 columns: a line is one on any terminal. */
static void stat_header(void)
{
	puts("COMMIT   OUT RINGS  LIVE  GOAL NEW/S FREE/S GCFREE/S CYCLES   GC%  CPU% CLIENTS");
}

/* How many in a second, in at most five characters. */
static struct text rate(uint64_t before, uint64_t now, double seconds)
{
	static const char units[] = " KMGTP";
	double n = (double)(now - before) / seconds;
	struct text t;
	size_t unit = 0;

	for (; n >= 1000 && unit < sizeof(units) - 2; unit++)
		n /= 1000;
	if (unit)
		snprintf(t.text, sizeof(t.text), "%.*f%c", n < 100 ? 1 : 0, n, units[unit]);
	else
		snprintf(t.text, sizeof(t.text), "%.0f", n);
	return t;
}

static void stat_line(const struct ctl *ctl, const struct sample *a, const struct sample *b)
{
	double s = (double)(b->at - a->at) / 1e9;

	if (s <= 0)
		s = 1;
	printf("%6s%6s%6s%6s%6s", text_bytes(GET(committed)).text, text_bytes(GET(out)).text,
	       text_bytes(GET(in_rings)).text, text_bytes(GET(gc_live)).text, text_bytes(GET(gc_goal)).text);
	printf("%6s%7s%9s%7" PRIu64, rate(a->supplied, b->supplied, s).text,
	       rate(a->harvested, b->harvested, s).text, rate(a->freed, b->freed, s).text,
	       b->cycles - a->cycles);
	printf("%6.1f%6.1f%8" PRIu64 "\n", (double)(b->gc_ns - a->gc_ns) / s / 1e7,
	       (double)(b->gc_cpu - a->gc_cpu) / s / 1e7, GET(sessions) ? GET(sessions) - 1 : 0);
	fflush(stdout);
}

/* One object a line: what follows can be read while it comes. */
static void stat_json(const struct ctl *ctl, const struct sample *a, const struct sample *b)
{
	printf("{\"committed\":%" PRIu64 ",\"out\":%" PRIu64 ",\"rings\":%" PRIu64 ",\"live\":%" PRIu64
	       ",\"goal\":%" PRIu64 ",\"new\":%" PRIu64 ",\"freed\":%" PRIu64 ",\"gc_freed\":%" PRIu64
	       ",\"cycles\":%" PRIu64 ",\"gc_ns\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n",
	       GET(committed), GET(out), GET(in_rings), GET(gc_live), GET(gc_goal), b->supplied - a->supplied,
	       b->harvested - a->harvested, b->freed - a->freed, b->cycles - a->cycles, b->gc_ns - a->gc_ns,
	       b->gc_cpu - a->gc_cpu, b->at - a->at);
	fflush(stdout);
}

static bool seconds_read(const char *text, uint64_t *ms)
{
	return ctl_seconds(text, 86400, ms) && *ms >= 10;
}

static bool is_away(const struct ctl *ctl)
{
	return atomic_load(&ctl->heap->away);
}

/* The first line has no rates: there is nothing before it. */
int verb_stat(struct ctl *ctl)
{
	uint64_t ms = 0, count = UINT64_MAX;
	struct sample last = { .at = now_ns() }, now;

	if ((ctl->nargs > 0 && !seconds_read(ctl->args[0], &ms)) ||
	    (ctl->nargs > 1 && (!ctl_number(ctl->args[1], &count) || !count)))
		return ctl_say(CTL_USAGE, "usage: heapctl stat [SECONDS [COUNT]]");
	if (!ctl->nargs)
		count = 1;
	last.at -= 1;
	for (uint64_t i = 0; i < count && !is_away(ctl); i++) {
		if (i)
			ctl_sleep(ms);
		now = sample_take(ctl);
		if (ctl->json == CTL_JSON_OFF && !ctl->no_legend && i % HEADER_EVERY == 0)
			stat_header();
		if (ctl->json != CTL_JSON_OFF)
			stat_json(ctl, i ? &last : &now, &now);
		else
			stat_line(ctl, i ? &last : &now, &now);
		last = now;
	}
	return is_away(ctl) ? ctl_say(CTL_NO_DAEMON, "the daemon has gone") : CTL_OK;
}

/* As many classes as were asked for, and fit: what scrolled away could not be read. */
static unsigned top_lines(const struct ctl *ctl, bool terminal)
{
	struct winsize size;

	if (!terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row <= TOP_HEAD)
		return ctl->top;
	return size.ws_row - TOP_HEAD < ctl->top ? size.ws_row - TOP_HEAD : ctl->top;
}

static void top_frame(struct ctl *ctl, bool terminal)
{
	if (terminal)
		fputs(CLEAR, stdout);
	printf("heap %s: %s of %s committed, %s out, %s live, goal %s\n%" PRIu64 " cycles, %" PRIu64
	       " clients%s\n\n",
	       ctl->heap->name, text_bytes(GET(committed)).text, text_bytes(GET(limit)).text,
	       text_bytes(GET(out)).text, text_bytes(GET(gc_live)).text, text_bytes(GET(gc_goal)).text,
	       HEAPD_READ_ONCE(ctl_directory(ctl)->cycle.finished), GET(sessions) ? GET(sessions) - 1 : 0,
	       terminal ? "; q quits" : "");
	classes_print(ctl, top_lines(ctl, terminal));
	fflush(stdout);
}

/* A key within that time: true if it says to end. */
static bool key_quits(uint64_t ms)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (poll(&p, 1, (int)ms) <= 0)
		return false;
	return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == KEY_CTRL_C ||
	       key == KEY_CTRL_D;
}

static void keys_raw(struct termios *saved)
{
	struct termios raw;

	tcgetattr(STDIN_FILENO, saved);
	raw = *saved;
	/* Ctrl-C is a key as well: whoever it killed would leave the terminal as it is. */
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

int verb_top(struct ctl *ctl)
{
	struct termios saved;
	uint64_t ms = 2000;

	if (ctl->nargs && !seconds_read(ctl->args[0], &ms))
		return ctl_say(CTL_USAGE, "usage: heapctl top [SECONDS]");
	if (ctl->json != CTL_JSON_OFF)
		return classes_print(ctl, ctl->top);
	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
		top_frame(ctl, false); /* once, as top -b -n 1 */
		return CTL_OK;
	}
	keys_raw(&saved);
	do
		top_frame(ctl, true);
	while (!is_away(ctl) && !key_quits(ms));
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	return is_away(ctl) ? ctl_say(CTL_NO_DAEMON, "the daemon has gone") : CTL_OK;
}

struct seen {
	uint64_t cycle, sessions_ever, sessions, deaths, refusals, double_frees, bad_frees, corrupt,
		overwrites;
};

static struct seen seen_now(const struct ctl *ctl)
{
	uint64_t last;

	cycles_first(ctl, &last);
	return (struct seen){ last,
			      GET(sessions_ever),
			      GET(sessions),
			      GET(deaths),
			      GET(refusals),
			      GET(double_frees) + GET(client_double_frees),
			      GET(client_bad_frees),
			      GET(corrupt),
			      GET(overwrites) + GET(client_overwrites) };
}

static void event_say(const struct ctl *ctl, const char *event, uint64_t number, const char *more)
{
	struct timespec t;
	uint64_t now;

	clock_gettime(CLOCK_REALTIME, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (ctl->json != CTL_JSON_OFF)
		printf("{\"time\":%lld.%03ld,\"event\":\"%s\",\"number\":%" PRIu64 "}\n", (long long)t.tv_sec,
		       t.tv_nsec / 1000000, event, number);
	else
		printf("%s %-12s %" PRIu64 "%s\n", text_time(now).text, event, number, more);
	fflush(stdout);
}

static void event_cycle(const struct ctl *ctl, uint64_t n)
{
	struct heapd_cycle_record r;
	char more[192];

	if (!cycle_read(ctl, n, &r))
		return;
	snprintf(more, sizeof(more), " (%s)%s: %s live, %s freed, longest pause %s", cycle_trigger(r.trigger),
		 r.is_void ? " void" : "", text_bytes(r.marked).text, text_bytes(r.freed).text,
		 text_ns(r.pause_max).text);
	event_say(ctl, "cycle", n, more);
}

static void event_grown(const struct ctl *ctl, const char *event, uint64_t then, uint64_t now)
{
	if (now > then)
		event_say(ctl, event, now - then, "");
}

static void events_tell(const struct ctl *ctl, struct seen *s, const struct seen *now)
{
	struct heapd_cycle_record r;

	/* Records come at a cycle's end: one that is under way is told of later. */
	while (s->cycle <= now->cycle && cycle_read(ctl, s->cycle, &r))
		event_cycle(ctl, s->cycle++);
	event_grown(ctl, "attached", s->sessions_ever, now->sessions_ever);
	if (s->sessions + now->sessions_ever - s->sessions_ever > now->sessions)
		event_say(ctl, "detached",
			  s->sessions + now->sessions_ever - s->sessions_ever - now->sessions, "");
	event_grown(ctl, "died", s->deaths, now->deaths);
	event_grown(ctl, "refused", s->refusals, now->refusals);
	event_grown(ctl, "double-free", s->double_frees, now->double_frees);
	event_grown(ctl, "bad-free", s->bad_frees, now->bad_frees);
	event_grown(ctl, "corrupt", s->corrupt, now->corrupt);
	event_grown(ctl, "overwritten", s->overwrites, now->overwrites);
}

/* What happened before the descriptor was read is told after it. */
static void events_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	eventfd_t count;

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	eventfd_read(fd, &count);
}

int verb_events(struct ctl *ctl)
{
	struct seen seen = seen_now(ctl), now;
	struct heapd_cycle_record r;
	int fd = events_watch(ctl->heap);

	if (fd < 0)
		return ctl_failed(fd);
	/* The next one: the last is told only if it is not over. */
	if (cycle_read(ctl, seen.cycle, &r) || !seen.cycle)
		seen.cycle++;
	while (!is_away(ctl)) {
		now = seen_now(ctl);
		events_tell(ctl, &seen, &now);
		now.cycle = seen.cycle;
		seen = now;
		events_wait(fd);
	}
	event_say(ctl, "daemon-away", 0, "");
	return CTL_NO_DAEMON;
}
