/* SPDX-License-Identifier: MIT */
/*
 * Owns the tape.
 *
 * Right because each entry says what stood there before, and what stands there after: going back puts the former, once it has found the
 * latter, so a store between the two that nobody noted is found. And the sum of all files at the beginning is that at the end, when all
 * has been undone.
 *
 * The daemon's objects are compiled by gcc's -fsanitize=thread, whose calls before each store are in images_hooks.c, and so
 * are the functions of libc that store for it. More than a word is so many words, in ascending order: a process can be killed between
 * any two. What a store leaves is known when the next one is noted. One process, one thread: what two threads of a daemon's store to
 * the ledger at the same time (sessions and tickets are the main thread's, all else is under the heap's lock) are words that
 * have nothing to do with each other, and the real daemon is killed there by build/crash/stores.
 */
#include "images_tape.h"

#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images_maps.h"

#define FILES    256u
#define MAPS     512u
#define ENTRIES  (UINT64_C(1) << 24)
#define FD_FIRST 512 /* of descriptors that are this program's own */
#define EVENT    UINT16_MAX

/* Addresses of the daemon's that are a file's. */
struct map {
	uintptr_t begin, end;
	unsigned file;
};

struct file {
	ino_t inode; /* 0: none */
	int fd;
	char *memory; /* a mapping of our own */
	uint64_t bytes;
	uint64_t from; /* the tape goes back below this: it is gone; of the first one, which stays, 0 */
};

struct entry {
	uint64_t before, after;
	uint64_t offset;
	uint32_t place; /* from the program's begin */
	uint16_t file;
	uint8_t bytes;
	bool half; /* of two words that are stored in one instruction: the first */
};

static struct tape {
	struct file files[FILES];
	struct map maps[MAPS];
	unsigned nmaps, last; /* last: the map that was found last */
	struct entry *entries;
	uint64_t n, settled; /* entries; those whose `after` is known */
	const char *program;
} tape;

const char *tape_program(void)
{
	Dl_info info;

	if (!tape.program && !dladdr((void *)(uintptr_t)&tape_program, &info))
		errx(1, "dladdr");
	if (!tape.program)
		tape.program = info.dli_fbase;
	return tape.program;
}

/* Files and where they lie ----------------------------------------------------------------------------------------- */

static int find_file(int fd)
{
	struct stat s;

	if (fd < 0 || fstat(fd, &s) < 0)
		return -1;
	for (unsigned i = 0; i < FILES; i++)
		if (tape.files[i].inode == s.st_ino)
			return (int)i;
	return -1;
}

static struct file *free_file(void)
{
	for (unsigned i = 0; i < FILES; i++)
		if (!tape.files[i].inode)
			return &tape.files[i];
	errx(1, "more than %u memory files", FILES);
}

void tape_file(int fd, uint64_t bytes)
{
	struct file *file = free_file();
	struct stat s;

	if (find_file(fd) >= 0)
		return;
	*file = (struct file){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST),
			       .bytes = bytes,
			       .from = file == tape.files ? 0 : tape.n + 1 };
	if (file->fd < 0 || fstat(fd, &s) < 0)
		err(1, "a memory file");
	file->memory =
		__real_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file->fd, 0);
	if (file->memory == MAP_FAILED)
		err(1, "a memory file's mapping");
	file->inode = s.st_ino;
}

/* All stores to it are gone. */
static void file_end(struct file *file)
{
	maps_forget(file->inode);
	__real_munmap(file->memory, file->bytes);
	close(file->fd);
	*file = (struct file){ 0 };
}

void tape_map(void *at, uint64_t bytes, int fd)
{
	int file = find_file(fd);

	if (file < 0)
		return;
	if (tape.nmaps == MAPS)
		errx(1, "more than %u mappings", MAPS);
	tape.maps[tape.nmaps++] = (struct map){ (uintptr_t)at, (uintptr_t)at + bytes, (unsigned)file };
}

void tape_unmap(void *at, uint64_t bytes)
{
	uintptr_t begin = (uintptr_t)at, end = begin + bytes;

	for (unsigned i = tape.nmaps; i-- > 0;)
		if (tape.maps[i].begin >= begin && tape.maps[i].end <= end)
			tape.maps[i] = tape.maps[--tape.nmaps];
	tape.last = 0;
}

static const struct map *find_map(uintptr_t at)
{
	for (unsigned n = 0, i = tape.last; n < tape.nmaps; n++, i++) {
		i = i < tape.nmaps ? i : 0;
		if (at >= tape.maps[i].begin && at < tape.maps[i].end) {
			tape.last = i;
			return &tape.maps[i];
		}
	}
	return NULL;
}

/* Stores ------------------------------------------------------------------------------------------------------------- */

static uint64_t word_of(const struct entry *e)
{
	uint64_t word = 0;

	if (e->file != EVENT)
		memcpy(&word, tape.files[e->file].memory + e->offset, e->bytes);
	return word;
}

static void settle(void)
{
	for (; tape.settled < tape.n; tape.settled++)
		tape.entries[tape.settled].after = word_of(&tape.entries[tape.settled]);
}

static void push(struct entry e)
{
	if (!tape.entries)
		tape.entries = __real_mmap(NULL, ENTRIES * sizeof(e), PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (tape.entries == MAP_FAILED || tape.n == ENTRIES)
		errx(1, "the tape is full");
	e.before = word_of(&e);
	tape.entries[tape.n++] = e;
}

void tape_note(const volatile void *at, uint64_t bytes, const void *place)
{
	const struct map *map = find_map((uintptr_t)at);
	uint64_t offset, n;

	if (!map)
		return;
	settle();
	offset = (uintptr_t)at - map->begin;
	for (; bytes; bytes -= n, offset += n) {
		n = 8 - offset % 8 < bytes ? 8 - offset % 8 : bytes;
		push((struct entry){ .offset = offset,
				     .place = (uint32_t)((const char *)place - tape_program()),
				     .file = (uint16_t)map->file,
				     .bytes = (uint8_t)n });
	}
}

void tape_note_pair(const volatile void *at, const void *place)
{
	uint64_t n = tape.n;

	tape_note(at, 16, place);
	if (tape.n != n)
		tape.entries[n].half = true;
}

void tape_event(const void *place)
{
	settle();
	push((struct entry){ .place = (uint32_t)((const char *)place - tape_program()), .file = EVENT });
}

void tape_store(volatile void *at, uint64_t value, unsigned bytes)
{
	tape_note(at, bytes, tape_program());
	switch (bytes) {
	case 1:
		*(volatile uint8_t *)at = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)at = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)at = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)at = value;
	}
}

uint64_t tape_at(void)
{
	return tape.n;
}

void tape_back(uint64_t at)
{
	settle();
	while (tape.n > at) {
		const struct entry *e = &tape.entries[--tape.n];

		if (word_of(e) != e->after)
			errx(1,
			     "somebody stored to file %u, offset 0x%lx, without a note, after the store at 0x%x",
			     e->file, (unsigned long)e->offset, e->place);
		if (e->file != EVENT)
			memcpy(tape.files[e->file].memory + e->offset, &e->before, e->bytes);
	}
	tape.settled = tape.n;
	for (unsigned i = 0; i < FILES; i++)
		if (tape.files[i].inode && tape.files[i].from > at)
			file_end(&tape.files[i]);
}

static bool has_changed(const struct entry *e)
{
	return e->file == EVENT || e->before != e->after;
}

bool tape_is_image(uint64_t at)
{
	settle();
	if (!at)
		return true;
	if (tape.entries[at - 1].half)
		return false;
	return has_changed(&tape.entries[at - 1]) ||
	       (at > 1 && tape.entries[at - 2].half && has_changed(&tape.entries[at - 2]));
}

uint64_t tape_place(uint64_t at)
{
	return at < tape.n ? tape.entries[at].place : 0;
}

/* Sums ----------------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

static uint64_t sum_words(const struct file *file, uint64_t at, uint64_t end)
{
	const uint64_t *words = (const uint64_t *)(const void *)file->memory;
	uint64_t sum = 0;

	for (uint64_t i = at / 8; i < end / 8; i++)
		if (words[i])
			sum += mix(mix(i + file->inode) + words[i]);
	return sum;
}

static uint64_t sum_file(const struct file *file)
{
	off_t at = 0, end;
	uint64_t sum = 0;

	while ((at = lseek(file->fd, at, SEEK_DATA)) >= 0) {
		end = lseek(file->fd, at, SEEK_HOLE);
		sum += sum_words(file, (uint64_t)at, (uint64_t)end);
		at = end;
	}
	return sum;
}

uint64_t tape_sum(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < FILES; i++)
		if (tape.files[i].inode)
			sum += sum_file(&tape.files[i]);
	return sum;
}
