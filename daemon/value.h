/* SPDX-License-Identifier: MIT */
/*
 * value.h - reads single values of configuration files and of settings.
 *
 * Each function returns 0 and sets *out, or returns -EINVAL, leaves *out alone and says in err what is wrong
 * and what would be right, as a sentence that follows "Key=value: ".
 */
#ifndef HEAPD_DAEMON_VALUE_H
#define HEAPD_DAEMON_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct value_error {
	char text[512];
};

/* A list of these ends with a NULL word. */
struct value_word {
	const char *word;
	int value;
};

int value_fail(struct value_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes, or a number with K, M, G or T, powers of 1024. */
int value_size(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct value_error *err);
int value_count(const char *text, uint64_t min, uint64_t max, unsigned *out, struct value_error *err);
/* The same, or one of these words, which is its value. */
int value_count_or_word(const char *text, uint64_t min, uint64_t max, const struct value_word *words,
			unsigned *out, struct value_error *err);
/* Seconds, or a number with s, min or h. */
int value_seconds(const char *text, uint64_t min, uint64_t max, unsigned *out, struct value_error *err);
int value_seconds_or_off(const char *text, uint64_t min, uint64_t max, unsigned *out,
			 struct value_error *err);
/* 1% to 100%. */
int value_percent(const char *text, unsigned *out, struct value_error *err);
/* Hexadecimal, with 0x. */
int value_address(const char *text, uint64_t *out, struct value_error *err);
/* Octal permission bits. */
int value_mode(const char *text, mode_t *out, struct value_error *err);
int value_bool(const char *text, bool *out, struct value_error *err);
int value_word(const char *text, const struct value_word *words, int *out, struct value_error *err);
/* Any of the words, separated by spaces or commas: the values' bits together. */
int value_words(const char *text, const struct value_word *words, unsigned *out, struct value_error *err);
/* An absolute path of less than size bytes, copied to out. */
int value_path(const char *text, char *out, size_t size, struct value_error *err);

/* The shortest exact form: "64M", "1536K", "1000"; "90s", "2min", "1h"; "stress poison". */
struct value_text {
	char text[24];
};
struct value_text value_size_text(uint64_t bytes);
struct value_text value_seconds_text(unsigned seconds);
struct value_text value_words_text(const struct value_word *words, unsigned bits);
const char *value_word_text(const struct value_word *words, int value);

/* How many letters must be added, dropped or changed to make b of a, capital or not. */
size_t value_distance(const char *a, const char *b);

#endif
