/* SPDX-License-Identifier: MIT */
/*
 * Each thread's sentence for its last failure.
 *
 * The room for it is had at the thread's first failure and belongs to a pthread key, which frees it:
 * initial-exec thread-local memory is scarce, so none is spent on text. Where there is no memory for
 * the room, the sentence is one that says so. The text is put together apart, since an argument may
 * be the sentence before.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

#define SENTENCE_MAX 640u

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): each thread's sentence, freed with it */
static pthread_once_t sentence_once = PTHREAD_ONCE_INIT;
static pthread_key_t sentence_key;
static bool sentence_key_made;

/* What a thread's value of the key is when there was no memory for its room. */
static char sentence_lost[] = "a call failed, and there was no memory to keep its sentence: see errno";
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

static void sentence_free(void *sentence)
{
	if (sentence != sentence_lost)
		free(sentence);
}

static void sentence_key_make(void)
{
	sentence_key_made = pthread_key_create(&sentence_key, sentence_free) == 0;
}

/* This thread's room, or NULL. */
static char *sentence_room(void)
{
	char *room = (char *)pthread_getspecific(sentence_key);

	if (room && room != sentence_lost)
		return room;
	room = (char *)malloc(SENTENCE_MAX);
	if (room && pthread_setspecific(sentence_key, room)) {
		free(room);
		room = NULL;
	}
	if (!room)
		pthread_setspecific(sentence_key, sentence_lost);
	return room;
}

int error_set(int error, const char *fmt, ...)
{
	char text[SENTENCE_MAX];
	char *room = NULL;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pthread_once(&sentence_once, sentence_key_make);
	if (sentence_key_made)
		room = sentence_room();
	if (room)
		strcpy(room, text);
	errno = error;
	return -error;
}

const char *heapd_error(void)
{
	const char *sentence = NULL;

	pthread_once(&sentence_once, sentence_key_make);
	if (!sentence_key_made)
		return "this process has no thread key left to keep sentences: see errno";
	sentence = (const char *)pthread_getspecific(sentence_key);
	return sentence ? sentence : "no error";
}
