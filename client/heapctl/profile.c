/* SPDX-License-Identifier: MIT */
/*
 * profile.c - owns the verbs profile and diff: where memory was allocated.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sampler.h"
#include "sites.h"
#include "table.h"
#include "verbs.h"

#define SECONDS_DEFAULT 10u
#define SECONDS_MOST    (7u * 86400u)

static uint64_t clock_read(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t positive(int64_t number)
{
	return number > 0 ? (uint64_t)number : 0;
}

static void stack_cell(struct table *t, const char *folded)
{
	char *stack = site_unfolded(folded);

	table_text(t, stack ? stack : "?");
	free(stack);
}

static int sites_print(const struct ctl *ctl, const struct sites *sites)
{
	static const struct table_column columns[] = {
		{ "LIVE", TABLE_BYTES },    { "LIVE OBJECTS", TABLE_COUNT }, { "ALLOCATED", TABLE_BYTES },
		{ "OBJECTS", TABLE_COUNT }, { "TYPE", TABLE_TEXT },          { "SOURCE", TABLE_TEXT },
		{ "STACK", TABLE_TEXT },
	};
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "sites", columns);

	for (size_t i = 0; status == CTL_OK && i < sites->n && i < ctl->top; i++) {
		const struct site *s = sites->list[i];

		table_row(&t);
		table_number(&t, positive(s->now[PPROF_INUSE_SPACE]));
		table_number(&t, positive(s->now[PPROF_INUSE_OBJECTS]));
		table_number(&t, positive(s->now[PPROF_ALLOC_SPACE]));
		table_number(&t, positive(s->now[PPROF_ALLOC_OBJECTS]));
		table_text(&t, s->type);
		table_text(&t, s->source);
		stack_cell(&t, s->folded);
	}
	return status == CTL_OK ? table_print(&t) : status;
}

static enum pprof_value folded_value(const struct ctl *ctl)
{
	return ctl->allocated ? PPROF_ALLOC_SPACE : PPROF_INUSE_SPACE;
}

static void folded_print(const struct ctl *ctl, const struct sites *sites)
{
	for (size_t i = 0; i < sites->n; i++) {
		int64_t n = sites->list[i]->now[folded_value(ctl)];

		if (n > 0)
			printf("%s %" PRId64 "\n", sites->list[i]->folded, n);
	}
}

static int profile_show(const struct ctl *ctl, const Pprof__Profile *profile)
{
	struct sites sites = { 0 };
	int status = sites_add(&sites, profile, false);

	sites_sort(&sites, folded_value(ctl), false);
	if (status == CTL_OK && ctl->folded)
		folded_print(ctl, &sites);
	else if (status == CTL_OK)
		status = sites_print(ctl, &sites);
	sites_free(&sites);
	return status;
}

static void samples_tell(const struct ctl *ctl, struct sampler *sampler)
{
	const struct samples *s = sampler_samples(sampler);
	uint64_t lost = sampler_lost(sampler);

	if (!ctl->no_legend)
		fprintf(stderr,
			"%" PRIu64 " samples, one each %s on average; %zu of their objects live%s%s\n",
			s->seen, text_bytes(HEAPD_READ_ONCE(ctl_directory(ctl)->sample_bytes)).text, s->n,
			ctl->output ? "; in " : "", ctl->output ? ctl->output : "");
	if (lost)
		ctl_say(CTL_OK,
			"%" PRIu64
			" samples are missing: they came too fast, or their process had gone by then",
			lost);
}

static int profile_end(const struct ctl *ctl, struct sampler *sampler, struct pprof_time time)
{
	Pprof__Profile *profile = pprof_make(sampler_samples(sampler), sampler_processes(sampler), time);
	int status;

	if (!profile)
		return ctl_say(CTL_TROUBLE, "out of memory");
	samples_tell(ctl, sampler);
	status = ctl->output ? pprof_write(profile, ctl->output) : profile_show(ctl, profile);
	pprof_free(profile);
	return status;
}

/* They end the profile, not the tool. */
static void signals_block(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* In pieces, so that a terminal sees that it goes on. */
static int profile_take(struct sampler *sampler, uint64_t seconds)
{
	bool ended = false, tell = isatty(STDERR_FILENO);
	int status = CTL_OK;

	for (uint64_t i = 0; i < seconds && !ended && status == CTL_OK; i++) {
		status = sampler_run(sampler, 1000, &ended);
		if (tell)
			fprintf(stderr,
				"\r\033[K%" PRIu64 " of %" PRIu64 " s: %" PRIu64 " samples (Ctrl-C ends)",
				i + 1, seconds, sampler_samples(sampler)->seen);
	}
	if (tell)
		fputs("\r\033[K", stderr);
	return status;
}

/* One that was taken before: nobody has to be attached for it. */
static int profile_saved(const struct ctl *ctl)
{
	Pprof__Profile *profile;
	int status = pprof_read(&profile, ctl->profile);

	if (status != CTL_OK)
		return status;
	status = profile_show(ctl, profile);
	pprof_free(profile);
	return status;
}

static int profile_new(const struct ctl *ctl, uint64_t seconds)
{
	struct pprof_time time = { .began = clock_read(CLOCK_REALTIME) };
	uint64_t began = clock_read(CLOCK_MONOTONIC);
	struct sampler *sampler;
	int status;

	signals_block();
	status = sampler_start(&sampler, ctl);
	if (status != CTL_OK)
		return status;
	if (!ctl->no_legend)
		fprintf(stderr, "taking samples for %" PRIu64 " seconds; Ctrl-C ends it\n", seconds);
	status = profile_take(sampler, seconds);
	time.took = clock_read(CLOCK_MONOTONIC) - began;
	if (status == CTL_OK)
		status = profile_end(ctl, sampler, time);
	sampler_stop(sampler);
	return status;
}

int verb_profile(struct ctl *ctl)
{
	uint64_t seconds = SECONDS_DEFAULT;
	int status;

	if (ctl->nargs && (!ctl_number(ctl->args[0], &seconds) || !seconds || seconds > SECONDS_MOST))
		return ctl_say(CTL_USAGE, "usage: heapctl profile [SECONDS], with 1 to %u", SECONDS_MOST);
	if (ctl->profile)
		return profile_saved(ctl);
	status = ctl_attach(ctl);
	return status == CTL_OK ? profile_new(ctl, seconds) : status;
}

static int diff_print(const struct ctl *ctl, const struct sites *sites)
{
	static const struct table_column columns[] = {
		{ "BEFORE", TABLE_BYTES }, { "AFTER", TABLE_BYTES }, { "CHANGE", TABLE_SIGNED },
		{ "TYPE", TABLE_TEXT },    { "SOURCE", TABLE_TEXT }, { "STACK", TABLE_TEXT },
	};
	enum pprof_value v = folded_value(ctl);
	unsigned shown = 0;
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "diff", columns);

	for (size_t i = 0; status == CTL_OK && i < sites->n && shown < ctl->top; i++) {
		const struct site *s = sites->list[i];

		if (s->before[v] == s->now[v])
			continue;
		shown++;
		table_row(&t);
		table_number(&t, positive(s->before[v]));
		table_number(&t, positive(s->now[v]));
		table_signed(&t, s->now[v] - s->before[v]);
		table_text(&t, s->type);
		table_text(&t, s->source);
		stack_cell(&t, s->folded);
	}
	return status == CTL_OK ? table_print(&t) : status;
}

/* As difffolded.pl writes it. */
static void diff_folded(const struct ctl *ctl, const struct sites *sites)
{
	enum pprof_value v = folded_value(ctl);

	for (size_t i = 0; i < sites->n; i++)
		if (sites->list[i]->before[v] || sites->list[i]->now[v])
			printf("%s %" PRId64 " %" PRId64 "\n", sites->list[i]->folded,
			       sites->list[i]->before[v], sites->list[i]->now[v]);
}

static int side_load(struct sites *sites, const char *path, bool before)
{
	Pprof__Profile *profile;
	int status = pprof_read(&profile, path);

	if (status != CTL_OK)
		return status;
	status = sites_add(sites, profile, before);
	pprof_free(profile);
	return status;
}

int verb_diff(struct ctl *ctl)
{
	struct sites sites = { 0 };
	int status = side_load(&sites, ctl->args[0], true);

	if (status == CTL_OK)
		status = side_load(&sites, ctl->args[1], false);
	sites_sort(&sites, folded_value(ctl), true);
	if (status == CTL_OK && ctl->folded)
		diff_folded(ctl, &sites);
	else if (status == CTL_OK)
		status = diff_print(ctl, &sites);
	sites_free(&sites);
	return status;
}
