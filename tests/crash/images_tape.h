/* SPDX-License-Identifier: MIT */
/*
 * images_tape.h - the memory that outlives a daemon, and every store to it, in order: so that each moment of it can be had again.
 *
 * A place on the tape is a moment: after so many stores. Going back to one undoes what came later, and forgets it. Stores that
 * change nothing are on it, too: they are no moments of their own.
 */
#ifndef HEAPD_CRASH_IMAGES_TAPE_H
#define HEAPD_CRASH_IMAGES_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A memory file is on the tape from now on, whatever address it has in the daemon, until the tape goes back; the first one stays. The descriptor stays the caller's. */
void tape_file(int fd, uint64_t bytes);

/* So many bytes at that address are the file's, from its beginning on; they are not any more. What is no file of the tape's is ignored. */
void tape_map(void *at, uint64_t bytes, int fd);
void tape_unmap(void *at, uint64_t bytes);

/* Before a store: whoever makes it, makes it next. place: whence. */
void tape_note(const volatile void *at, uint64_t bytes, const void *place);
/* The same of two words that one instruction stores: there is no moment between them. */
void tape_note_pair(const volatile void *at, const void *place);
/* A moment that is none of memory: what outlives a daemon has changed otherwise. */
void tape_event(const void *place);

/* What a client stores: a word of one, two, four or eight bytes. */
void tape_store(volatile void *at, uint64_t value, unsigned bytes);
#define TAPE_SET(word, value) tape_store(&(word), (uint64_t)(value), sizeof(word))

uint64_t tape_at(void);
/* Ends the program if it finds that somebody has stored without a note. */
void tape_back(uint64_t at);
/* Whether that moment differs from the one before it. */
bool tape_is_image(uint64_t at);
/* Whence the store came that leads from the moment to the next: 0: no more is known. */
uint64_t tape_place(uint64_t at);

/* Of everything that is in the files: equal sums, equal contents. */
uint64_t tape_sum(void);

/* Where addresses of code count from, as addr2line has them. */
const char *tape_program(void);

#endif
