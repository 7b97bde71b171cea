/* SPDX-License-Identifier: MIT */
/* For tests of what a broken heap does to who reads it: copies of its files with errors in them. */
#ifndef HEAPD_TESTS_SPOIL_H
#define HEAPD_TESTS_SPOIL_H

#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd/geometry.h"

#define WORDS_MOST   200000u
#define HOLLOW_PAGE  60000u
#define HOLLOW_PAGES 8000u

enum what { IN_DIRECTORY, IN_HEAP, IN_REPLIES };

struct kind {
	const char *name;
	enum what what;
	bool said;         /* scribbled over as a whole it is seen, whatever the verb */
	uint64_t from, to; /* in the file */
};

enum {
	HEAD,
	CYCLE,
	STATS,
	RECORDS,
	CLASSES,
	TYPES,
	MAPS,
	ROOTS,
	RINGS,
	CLASS_STATS,
	PAGE_SPAN,
	SPANS,
	PAGES,
	SUPPLIED,
	OUT,
	PAST,
	OBJECTS,
	REPLIES,
	KINDS
};

enum way {
	RANDOM,
	ONES,
	ZEROES,
	BIT,
	NEAR,
	OTHER,
	WAYS,
	FROZEN = WAYS, /* it never changes again */
	ENDLESS,       /* lists of the daemon's begin anew */
	HOLLOW,        /* the object of a root lies where no memory is */
};

static const char *const ways[] = {
	"random words",       "ones",   "zeroes",  "flipped bits", "one more or less",
	"each other's words", "frozen", "endless", "hollow"
};

/* What the proxy is to do, and what it has seen; in memory that it shares with the test. */
struct order {
	struct kind kind;
	enum way way;
	uint64_t seed;
	bool whole;  /* all words, not some */
	long blocks; /* that files had, more at the end than at the beginning */
};

static struct order *order;
static struct kind kinds[KINDS];

static inline uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* A memory file with the same contents and the same holes. */
static inline int copy_make(int from)
{
	static char piece[65536];
	int to = memfd_create("copy", MFD_CLOEXEC);
	struct stat st;

	if (to < 0 || fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return -1;
	for (off_t at = lseek(from, 0, SEEK_DATA); at >= 0; at = lseek(from, at, SEEK_DATA)) {
		off_t end = lseek(from, at, SEEK_HOLE);

		while (at < end) {
			size_t n = (size_t)(end - at) < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);
			ssize_t r = pread(from, piece, n, at);

			if (r <= 0 || pwrite(to, piece, (size_t)r, at) != r)
				return -1;
			at += r;
		}
	}
	return to;
}

/* Where words are that hold something. */
static inline size_t words_find(int fd, uint64_t from, uint64_t end, uint64_t *places)
{
	static uint64_t piece[8192];
	size_t n = 0;

	for (off_t at = lseek(fd, (off_t)from, SEEK_DATA); at >= 0 && (uint64_t)at < end;
	     at = lseek(fd, at, SEEK_DATA)) {
		ssize_t r = pread(fd, piece, sizeof(piece), at);

		for (ssize_t i = 0; i < r / 8 && (uint64_t)at + (uint64_t)i * 8 < end; i++)
			if (piece[i] && n < WORDS_MOST)
				places[n++] = (uint64_t)at + (uint64_t)i * 8;
		if (r <= 0)
			break;
		at += r;
	}
	return n;
}

static inline uint64_t word_spoil(enum way way, uint64_t *seed, uint64_t before, uint64_t other)
{
	switch (way) {
	case RANDOM:
		/* Small numbers pass for indices. */
		return draw(seed) >> draw(seed) % 64;
	case ONES:
		return UINT64_MAX;
	case ZEROES:
		return 0;
	case BIT:
		return before ^ UINT64_C(1) << draw(seed) % 64;
	case NEAR:
		return before + (draw(seed) % 2 ? 1 : UINT64_MAX) * (draw(seed) % 2 ? 1 : UINT64_C(1) << 32);
	default:
		return other;
	}
}

static inline void file_write(int fd, const void *bytes, size_t n, uint64_t at)
{
	if (pwrite(fd, bytes, n, (off_t)at) != (ssize_t)n)
		err(1, "pwrite");
}

static inline void file_read(int fd, void *bytes, size_t n, uint64_t at)
{
	if (pread(fd, bytes, n, (off_t)at) != (ssize_t)n)
		err(1, "pread");
}

/* The span of the second root's object, moved to where nothing was ever committed, and made much larger. */
static inline void hollow_make(int fd)
{
	uint64_t root_at = kinds[ROOTS].from + sizeof(struct heapd_root_record);
	struct heapd_root_record root;
	struct heapd_span span;
	uint64_t base; /* not the default one where a sanitizer has that for itself */
	uint32_t page;

	file_read(fd, &base, sizeof(base), offsetof(struct heapd_directory, base));
	file_read(fd, &root, sizeof(root), root_at);
	page = (uint32_t)((root.object - base) >> HEAPD_PAGE_SHIFT);
	file_read(fd, &span, sizeof(span), kinds[SPANS].from + page * sizeof(span));
	root.object += HOLLOW_PAGE * HEAPD_PAGE_SIZE;
	page += HOLLOW_PAGE;
	span.npages = HOLLOW_PAGES;
	span.elemsize = HOLLOW_PAGES * HEAPD_PAGE_SIZE;
	file_write(fd, &root, sizeof(root), root_at);
	file_write(fd, &span, sizeof(span), kinds[SPANS].from + page * sizeof(span));
	for (uint32_t i = 0, entry = page + 1; i < HOLLOW_PAGES; i++)
		file_write(fd, &entry, 4, kinds[PAGE_SPAN].from + (page + i) * 4ul);
}

static inline void scribble(int fd, const struct order *o, uint64_t *seed)
{
	if (o->way == HOLLOW)
		hollow_make(fd);
	if (o->way >= WAYS)
		return;

	static uint64_t places[WORDS_MOST];
	size_t n = words_find(fd, o->kind.from, o->kind.to, places);
	size_t many = o->whole ? n : 1 + draw(seed) % 40;

	for (size_t i = 0; n && i < many; i++) {
		/* Now and then what is still unused. */
		uint64_t at = o->whole ? places[i]
			      : draw(seed) % 8
				      ? places[draw(seed) % n]
				      : o->kind.from + draw(seed) % ((o->kind.to - o->kind.from) / 8) * 8;
		uint64_t word = 0, other = 0;

		if (pread(fd, &word, 8, (off_t)at) != 8 ||
		    pread(fd, &other, 8, (off_t)places[draw(seed) % n]) != 8)
			break;
		word = word_spoil(o->way, seed, word, other);
		if (pwrite(fd, &word, 8, (off_t)at) != 8)
			break;
	}
}

static inline long blocks_of(const struct fixture_fds *fds)
{
	long n = 0;

	for (size_t i = 0; i < 2 && i < fds->n; i++) {
		struct stat st;

		if (fstat(fds->fd[i], &st) == 0)
			n += (long)st.st_blocks;
	}
	return n;
}

static inline void kinds_make(void)
{
	struct heapd_geometry g;

	ck_assert(heapd_geometry_compute(&g, 1ul << 30, (uint64_t)sysconf(_SC_NPROCESSORS_CONF)));
	const struct kind all[KINDS] = {
		[HEAD] = { "head", IN_DIRECTORY, false, 0, offsetof(struct heapd_directory, cycle) },
		[CYCLE] = { "cycle words", IN_DIRECTORY, true, offsetof(struct heapd_directory, cycle),
			    offsetof(struct heapd_directory, stats) },
		[STATS] = { "statistics", IN_DIRECTORY, true, offsetof(struct heapd_directory, stats),
			    offsetof(struct heapd_directory, cycles) },
		[RECORDS] = { "cycle records", IN_DIRECTORY, false, offsetof(struct heapd_directory, cycles),
			      sizeof(struct heapd_directory) },
		[CLASSES] = { "classes", IN_DIRECTORY, true, g.class_at, g.type_at },
		[TYPES] = { "types", IN_DIRECTORY, true, g.type_at, g.map_at },
		[MAPS] = { "maps", IN_DIRECTORY, false, g.map_at, g.root_at },
		[ROOTS] = { "roots", IN_DIRECTORY, true, g.root_at, g.ring_at },
		[RINGS] = { "rings", IN_DIRECTORY, false, g.ring_at, g.class_stats_at },
		[CLASS_STATS] = { "class statistics", IN_DIRECTORY, false, g.class_stats_at, g.page_span_at },
		[PAGE_SPAN] = { "page table", IN_DIRECTORY, false, g.page_span_at, g.span_at },
		[SPANS] = { "spans", IN_DIRECTORY, false, g.span_at, g.page_at },
		[PAGES] = { "pages", IN_DIRECTORY, false, g.page_at, g.supplied_at },
		[SUPPLIED] = { "supplied", IN_DIRECTORY, false, g.supplied_at, g.out_at },
		[OUT] = { "out", IN_DIRECTORY, false, g.out_at, g.past_at },
		[PAST] = { "past", IN_DIRECTORY, false, g.past_at, g.directory_size },
		[OBJECTS] = { "objects", IN_HEAP, false, 0, g.size },
		[REPLIES] = { "replies", IN_REPLIES, false, 0, 0 },
	};
	memcpy(kinds, all, sizeof(all));
}

#endif
