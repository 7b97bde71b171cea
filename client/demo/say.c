/* SPDX-License-Identifier: MIT */
/*
 * say.c - owns standard error.
 *
 * There is no state: on a terminal every line first erases the bar that may stand there.
 */
#include "say.h"

#include <errno.h>
#include <heapd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 20
#define ERASE     "\r\033[K"

static const char *erase(void)
{
	return isatty(STDERR_FILENO) ? ERASE : "";
}

int say_error(int r, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (r < 0)
		fprintf(stderr, "%sheapd-demo: %s: %s\n", erase(), text, strerror(-r));
	else
		fprintf(stderr, "%sheapd-demo: %s\n", erase(), text);
	return r;
}

int say_heapd_error(int r, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%sheapd-demo: %s: %s\n", erase(), text, heapd_error());
	return r ? r : -EIO;
}

void say_printable(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
	}
}

void say_done(bool quiet, const char *format, ...)
{
	char text[1024];
	va_list args;

	if (quiet)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%s%s\n", erase(), text);
}

void say_progress(bool quiet, const char *what, uint64_t done, uint64_t of, const char *more)
{
	static const char full[] = "####################";
	int width = of ? (int)(done * BAR_WIDTH / of) : 0;

	if (quiet || !isatty(STDERR_FILENO))
		return;
	fprintf(stderr, ERASE "%s [%-*.*s] %3u %%%s", what, BAR_WIDTH, width, full,
		of ? (unsigned)(done * 100 / of) : 0, more);
}

uint64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double clock_seconds_since(uint64_t start)
{
	return (double)(clock_now() - start) / 1e9;
}
