/* SPDX-License-Identifier: MIT */
/*
 * refusal.c - owns the form of refusals and the check of names that all requests share.
 *
 * Right because a name is accepted only when its end lies inside its field, so that it may be used as a string
 * from then on, and when no byte of it can mean anything to a terminal or a log.
 */
#include "refusal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int refuse(struct refusal *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return error;
}

int refuse_name(struct refusal *why, const char *what, const char *name, size_t size)
{
	size_t length = strnlen(name, size);

	if (length == 0)
		return refuse(why, -EINVAL, "the %s has no name; give it one", what);
	if (length == size)
		return refuse(why, -EINVAL, "the name of the %s is too long; use at most %zu bytes", what,
			      size - 1);
	for (size_t i = 0; i < length; i++) {
		if (name[i] < 0x20 || name[i] > 0x7e)
			return refuse(
				why, -EINVAL,
				"byte %zu of the %s's name is not printable ASCII; use letters and digits", i,
				what);
	}
	return 0;
}
