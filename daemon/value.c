/* SPDX-License-Identifier: MIT */
/*
 * value.c - owns what a size, a number, a time, a mode, an address, a word and a path look like in a file.
 *
 * Right because every number goes through one reader of digits that refuses signs, white space, trailing text
 * and overflow (strtoull() lets all of them through in one way or another).
 */
#include "value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int value_fail(struct value_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return -EINVAL;
}

/* Reads the digits at the text's start. NULL if there are none or too many for 64 bits, else what follows. */
static const char *read_digits(const char *text, unsigned base, uint64_t *out)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = text, *digit;
	uint64_t value = 0;

	for (; *at && (digit = strchr(digits, tolower((unsigned char)*at))); at++) {
		uint64_t n = (uint64_t)(digit - digits);

		if (n >= base)
			break;
		if (value > (UINT64_MAX - n) / base)
			return NULL;
		value = value * base + n;
	}
	if (at == text)
		return NULL;
	*out = value;
	return at;
}

static int suffix_shift(const char *suffix)
{
	static const char suffixes[] = "KMGT";
	const char *found;

	if (suffix[0] == '\0')
		return 0;
	found = strchr(suffixes, suffix[0]);
	return found && suffix[1] == '\0' ? (int)(found - suffixes + 1) * 10 : -1;
}

struct value_text value_size_text(uint64_t bytes)
{
	static const char suffixes[] = "KMGT";
	struct value_text out;
	int i = -1;

	while (bytes && bytes % 1024 == 0 && i < 3) {
		bytes /= 1024;
		i++;
	}
	if (i < 0)
		snprintf(out.text, sizeof(out.text), "%" PRIu64, bytes);
	else
		snprintf(out.text, sizeof(out.text), "%" PRIu64 "%c", bytes, suffixes[i]);
	return out;
}

int value_size(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct value_error *err)
{
	const char *rest;
	uint64_t value;
	int shift;

	rest = read_digits(text, 10, &value);
	shift = rest ? suffix_shift(rest) : -1;
	if (shift < 0)
		return value_fail(err, "not a size; write bytes or a number with K, M, G or T");
	if (value > max >> shift)
		return value_fail(err, "too large; at most %s", value_size_text(max).text);
	if (value << shift < min)
		return value_fail(err, "too small; at least %s", value_size_text(min).text);
	*out = value << shift;
	return 0;
}

int value_count(const char *text, uint64_t min, uint64_t max, unsigned *out, struct value_error *err)
{
	const char *rest;
	uint64_t value;

	rest = read_digits(text, 10, &value);
	if (!rest || *rest)
		return value_fail(err, "not a number; write digits only");
	if (value < min || value > max)
		return value_fail(err, "out of range; write a number from %" PRIu64 " to %" PRIu64, min, max);
	*out = (unsigned)value;
	return 0;
}

static const struct value_word units[] = { { "h", 3600 }, { "min", 60 }, { "s", 1 }, { NULL, 0 } };

/* 0 if there is no such unit. */
static uint64_t unit_seconds(const char *unit)
{
	if (!*unit)
		return 1;
	for (const struct value_word *u = units; u->word; u++) {
		if (strcmp(unit, u->word) == 0)
			return (uint64_t)u->value;
	}
	return 0;
}

struct value_text value_seconds_text(unsigned seconds)
{
	const struct value_word *u = units;
	struct value_text out;

	while (u->value > 1 && (!seconds || seconds % (unsigned)u->value))
		u++;
	snprintf(out.text, sizeof(out.text), "%u%s", seconds / (unsigned)u->value, u->word);
	return out;
}

int value_seconds(const char *text, uint64_t min, uint64_t max, unsigned *out, struct value_error *err)
{
	uint64_t value = 0, unit;
	const char *rest;

	rest = read_digits(text, 10, &value);
	unit = rest ? unit_seconds(rest) : 0;
	if (!unit)
		return value_fail(err, "not a time; write seconds or a number with s, min or h");
	if (value > max / unit || value * unit < min)
		return value_fail(err, "out of range; write a time from %s to %s",
				  value_seconds_text((unsigned)min).text,
				  value_seconds_text((unsigned)max).text);
	*out = (unsigned)(value * unit);
	return 0;
}

int value_seconds_or_off(const char *text, uint64_t min, uint64_t max, unsigned *out, struct value_error *err)
{
	struct value_error why;

	if (strcmp(text, "off") == 0) {
		*out = 0;
		return 0;
	}
	if (value_seconds(text, min, max, out, &why) == 0)
		return 0;
	return value_fail(err, "%.200s; or off", why.text);
}

int value_percent(const char *text, unsigned *out, struct value_error *err)
{
	const char *rest;
	uint64_t value;

	rest = read_digits(text, 10, &value);
	if (!rest || strcmp(rest, "%") != 0 || value < 1 || value > 100)
		return value_fail(err, "not a percentage; write 1%% to 100%%");
	*out = (unsigned)value;
	return 0;
}

int value_address(const char *text, uint64_t *out, struct value_error *err)
{
	const char *rest = NULL;
	uint64_t value;

	if (strncasecmp(text, "0x", 2) == 0)
		rest = read_digits(text + 2, 16, &value);
	if (!rest || *rest)
		return value_fail(err, "not an address; write it in hexadecimal with 0x");
	*out = value;
	return 0;
}

int value_mode(const char *text, mode_t *out, struct value_error *err)
{
	const char *rest;
	uint64_t value;

	rest = read_digits(text, 8, &value);
	if (!rest || *rest || value > 0777)
		return value_fail(err, "not a file mode; write octal digits from 0000 to 0777");
	*out = (mode_t)value;
	return 0;
}

static void list_words(const struct value_word *words, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (const struct value_word *w = words; w->word && n < size; w++) {
		const char *joint = w == words ? "" : w[1].word ? ", " : " or ";

		n += (size_t)snprintf(out + n, size - n, "%s%s", joint, w->word);
	}
}

static const struct value_word *find_word(const struct value_word *words, const char *text, size_t length)
{
	for (; words->word; words++) {
		if (strncmp(words->word, text, length) == 0 && !words->word[length])
			return words;
	}
	return NULL;
}

int value_word(const char *text, const struct value_word *words, int *out, struct value_error *err)
{
	const struct value_word *found = find_word(words, text, strlen(text));
	char list[128];

	if (found) {
		*out = found->value;
		return 0;
	}
	list_words(words, list, sizeof(list));
	return value_fail(err, "not known here; write %s", list);
}

int value_words(const char *text, const struct value_word *words, unsigned *out, struct value_error *err)
{
	static const char separators[] = " \t,";
	unsigned bits = 0;
	char list[128];

	for (text += strspn(text, separators); *text; text += strspn(text, separators)) {
		size_t length = strcspn(text, separators);
		const struct value_word *w = find_word(words, text, length);

		if (!w) {
			list_words(words, list, sizeof(list));
			return value_fail(err, "'%.*s' is not known here; write any of %s",
					  (int)(length < 40 ? length : 40), text, list);
		}
		bits |= (unsigned)w->value;
		text += length;
	}
	*out = bits;
	return 0;
}

struct value_text value_words_text(const struct value_word *words, unsigned bits)
{
	struct value_text out = { "" };
	size_t n = 0;

	for (; words->word && n < sizeof(out.text); words++) {
		if (bits & (unsigned)words->value)
			n += (size_t)snprintf(out.text + n, sizeof(out.text) - n, "%s%s", n ? " " : "",
					      words->word);
	}
	return out;
}

int value_count_or_word(const char *text, uint64_t min, uint64_t max, const struct value_word *words,
			unsigned *out, struct value_error *err)
{
	const struct value_word *found = find_word(words, text, strlen(text));
	char list[64];

	if (found) {
		*out = (unsigned)found->value;
		return 0;
	}
	if (value_count(text, min, max, out, err) == 0)
		return 0;
	list_words(words, list, sizeof(list));
	return value_fail(err, "neither a number from %" PRIu64 " to %" PRIu64 " nor %s", min, max, list);
}

const char *value_word_text(const struct value_word *words, int value)
{
	while (words->word && words->value != value)
		words++;
	return words->word;
}

int value_bool(const char *text, bool *out, struct value_error *err)
{
	static const struct value_word words[] = {
		{ "yes", 1 }, { "no", 0 }, { "true", 1 }, { "false", 0 }, { "on", 1 },
		{ "off", 0 }, { "1", 1 },  { "0", 0 },    { NULL, 0 },
	};
	int value = 0;

	if (value_word(text, words, &value, err) < 0)
		return value_fail(err,
				  "neither yes nor no; write yes, true, on or 1, or no, false, off or 0");
	*out = value;
	return 0;
}

int value_path(const char *text, char *out, size_t size, struct value_error *err)
{
	size_t n = strlen(text);

	if (text[0] != '/')
		return value_fail(err, "not an absolute path; it must begin with /");
	if (text[n - 1] == '/')
		return value_fail(err, "a directory; write the path of a file");
	if (n >= size)
		return value_fail(err, "too long by %zu bytes; at most %zu", n - size + 1, size - 1);
	memcpy(out, text, n + 1);
	return 0;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

#define DISTANCE_MAX 64

/* Levenshtein's, with one row of the table; words too long to be a slip of a key are infinitely far. */
size_t value_distance(const char *a, const char *b)
{
	size_t row[DISTANCE_MAX + 1], na = strlen(a), nb = strlen(b);

	if (na > DISTANCE_MAX || nb > DISTANCE_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			bool differ = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
			size_t here = min3(row[j] + 1, row[j - 1] + 1, diagonal + differ);

			diagonal = row[j];
			row[j] = here;
		}
	}
	return row[nb];
}
