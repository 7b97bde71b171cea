/* SPDX-License-Identifier: MIT */
/*
 * HEAPD_DEBUG: which broken rules are looked for while this process is attached. Words, separated by commas or spaces.
 */
#include "debug.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/message.h"
#include "report.h"

static uint32_t word_flag(const char *word, size_t n)
{
	static const struct {
		const char *word;
		uint32_t flag;
	} words[] = {
		{ "types", HEAPD_HELLO_TYPES },
		{ "barrier", HEAPD_HELLO_BARRIER },
		{ "dangling", HEAPD_HELLO_DANGLING },
	};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].word) == n && strncmp(words[i].word, word, n) == 0)
			return words[i].flag;
	return 0;
}

static void unknown_report(struct heapd_heap *heap, const char *word, size_t n)
{
	char text[160];

	snprintf(text, sizeof(text), "HEAPD_DEBUG: '%.*s' is not known; there are: types, barrier, dangling",
		 n < 64 ? (int)n : 64, word);
	report_send(heap, HEAPD_REPORT_RULE, text);
}

uint32_t debug_wanted(struct heapd_heap *heap)
{
	const char *at = secure_getenv("HEAPD_DEBUG");
	uint32_t flags = 0;

	while (at && *at) {
		size_t n = strcspn(at, ", ");
		uint32_t flag = word_flag(at, n);
		if (n && !flag)
			unknown_report(heap, at, n);
		flags |= flag;
		at += n + (at[n] != 0);
	}
	return flags;
}
