/* SPDX-License-Identifier: MIT */
/*
 * say.h - what goes to standard error: mistakes, and how far the work is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Prints "heapd-demo: TEXT: what r means" and returns r; r is a negative errno, or 0 if TEXT says it all. */
int say_error(int r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same after a heapd function that failed: heapd_error() says what it means. Never returns 0. */
int say_heapd_error(int r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Control characters, which a file's name may hold, become blanks. */
void say_printable(char *text);

/* A line about what was done; nothing if quiet. */
void say_done(bool quiet, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A bar on a terminal, else nothing; the next line replaces it. */
void say_progress(bool quiet, const char *what, uint64_t done, uint64_t of, const char *more);

uint64_t clock_now(void); /* ns */
double clock_seconds_since(uint64_t start);
