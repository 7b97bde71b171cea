/* SPDX-License-Identifier: MIT */
/*
 * options.c - owns the table of kill's options.
 *
 * Right because each has one line here, which says what kind of word follows it and where that is kept.
 */
#include "options.h"

#include <err.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>

enum kind {
	FLAG,
	NUMBER,
	SEED,
	WORD,
	STATE,   /* of the barrier: that one alone */
	SETTING, /* one more */
};

struct known {
	const char *name;
	enum kind kind;
	size_t at; /* in struct trial_options */
};

#define AT(member) offsetof(struct trial_options, member)

static const struct known known[] = {
	{ "every", NUMBER, AT(every) },     { "most", NUMBER, AT(most) },
	{ "operation", WORD, AT(only) },    { "barrier", STATE, AT(barriers) },
	{ "batch", NUMBER, AT(batch) },     { "cas", FLAG, AT(by_cas) },
	{ "hardened", FLAG, AT(hardened) }, { "all", FLAG, AT(all) },
	{ "fresh", FLAG, AT(fresh) },       { "wander", NUMBER, AT(wander) },
	{ "wanderer", SEED, AT(wanderer) }, { "stop", FLAG, AT(stop) },
	{ "cover", WORD, AT(cover) },       { "more", FLAG, AT(more) },
	{ "stores", FLAG, AT(stores) },     { "sites", WORD, AT(sites) },
	{ "set", SETTING, AT(sets) },
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

static void add_setting(struct trial_options *o, const char *text)
{
	if (o->nsets == TRIAL_SETS)
		errx(2, "more than %u settings", TRIAL_SETS);
	o->sets[o->nsets++] = text;
}

static void take(struct trial_options *o, const struct known *k, const char *text)
{
	void *place = (char *)o + k->at;

	switch (k->kind) {
	case FLAG:
		*(bool *)place = true;
		break;
	case NUMBER:
		*(unsigned *)place = (unsigned)atoi(text);
		break;
	case SEED:
		*(uint64_t *)place = strtoull(text, NULL, 0);
		break;
	case WORD:
		*(const char **)place = text;
		break;
	case STATE:
		*(unsigned *)place = 1u << (unsigned)atoi(text);
		break;
	case SETTING:
		add_setting(o, text);
	}
}

static void read_all(struct trial_options *o, int argc, char **argv)
{
	struct option options[KNOWN + 1] = { 0 };
	int which;

	for (size_t i = 0; i < KNOWN; i++)
		options[i] =
			(struct option){ .name = known[i].name,
					 .has_arg = known[i].kind == FLAG ? no_argument : required_argument };
	for (int c; (c = getopt_long(argc, argv, "", options, &which)) >= 0;) {
		if (c != 0)
			exit(2);
		take(o, &known[which], optarg);
	}
}

void options_read(struct trial_options *o, int argc, char **argv)
{
	*o = (struct trial_options){ .every = 1, .batch = 64, .barriers = ~0u };
	read_all(o, argc, argv);
	if (!o->every || !o->batch)
		errx(2, "--every and --batch are 1 or more");
	/* Who wanders does all of the operations. */
	o->more |= o->wander != 0;
}
