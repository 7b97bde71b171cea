/* SPDX-License-Identifier: MIT */
/*
 * frag.c - how much memory a long mix of objects takes, against what was asked for.
 *
 * frag malloc OPERATIONS [of whatever library is preloaded], or frag heapd OPERATIONS SOCKET HEAP DAEMON-PID.
 * Objects of random size and age: most are small, a few have some KiB; each operation replaces one of them. Every phase has
 * a quarter of the operations and another mix of sizes; the last one frees three quarters of all and goes on with the rest.
 * Prints for each phase "frag NAME PHASE live-MiB used-MiB ns": what is asked for at its end; what is in
 * use for it more than at the beginning, metadata and all; time of an operation.
 *
 * In use of a malloc: resident memory of the process. Of heapd: the same, and what the daemon has: its own, and
 * what lies in its memory files.
 */
#include <dirent.h>
#include <fcntl.h>
#include <heapd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cell.h"

#define OBJECTS 400000u
#define PHASES  4u

struct frag {
	heapd_heap *heap; /* NULL: malloc() */
	const char *daemon;
	void **objects;
	uint32_t *sizes;
	uint64_t live; /* bytes asked for */
	uint64_t random;
};

static uint64_t random_next(struct frag *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return f->random;
}

/* Between 16 bytes and 8 KiB, larger ones rarer; each phase doubles or halves the usual size. */
static uint32_t size_draw(struct frag *f, unsigned phase)
{
	static const uint32_t usual[PHASES] = { 32, 96, 48, 160 };
	uint64_t r = random_next(f);
	uint32_t doubling = (uint32_t)__builtin_ctzll((r >> 32) | 1u << 6), base = usual[phase] << doubling;

	return 16 + (uint32_t)(r % base);
}

static void put(struct frag *f, size_t i)
{
	if (!f->objects[i])
		return;
	if (f->heap)
		heapd_free(f->objects[i]);
	else
		free(f->objects[i]);
	f->objects[i] = NULL;
	f->live -= f->sizes[i];
}

static void get(struct frag *f, size_t i, uint32_t size)
{
	void *object = f->heap ? heapd_alloc(f->heap, size) : malloc(size);

	if (!object) {
		fprintf(stderr, "bench: frag: no memory\n");
		exit(1);
	}
	memset(object, 1, size);
	f->objects[i] = object;
	f->sizes[i] = size;
	f->live += size;
}

static double anonymous(const char *pid)
{
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return (double)kib * 1024;
}

/* What lies in the memory files that the daemon has open, each counted once. */
static double files_of(const char *pid)
{
	ino_t seen[256];
	size_t n = 0;
	double bytes = 0;
	char path[300];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		char link[128] = "";
		struct stat st;
		bool known = false;

		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, entry->d_name);
		if (readlink(path, link, sizeof(link) - 1) < 0 || strncmp(link, "/memfd:", 7) != 0 ||
		    stat(path, &st))
			continue;
		for (size_t i = 0; i < n; i++)
			known |= seen[i] == st.st_ino;
		if (!known && n < sizeof(seen) / sizeof(seen[0])) {
			seen[n++] = st.st_ino;
			bytes += (double)st.st_blocks * 512;
		}
	}
	if (folder)
		closedir(folder);
	return bytes;
}

static double used(const struct frag *f)
{
	double bytes = anonymous("self");

	return f->daemon ? bytes + anonymous(f->daemon) + files_of(f->daemon) : bytes;
}

static void phase_run(struct frag *f, unsigned phase, uint64_t operations)
{
	size_t objects = phase == PHASES - 1 ? OBJECTS / 4 : OBJECTS;

	for (size_t i = objects; i < OBJECTS; i++)
		put(f, i);
	for (uint64_t n = 0; n < operations; n++) {
		size_t i = (random_next(f) >> 16) % objects;

		put(f, i);
		get(f, i, size_draw(f, phase));
	}
}

static void room_make(struct frag *f)
{
	size_t bytes = OBJECTS * sizeof(*f->objects);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;

	f->objects = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	f->sizes = mmap(NULL, OBJECTS * sizeof(*f->sizes), PROT_READ | PROT_WRITE, flags, -1, 0);
	if (f->objects == MAP_FAILED || f->sizes == MAP_FAILED)
		exit(1);
	if (f->heap && heapd_local_add(f->heap, f->objects, bytes) < 0)
		exit(1);
}

static int heap_attach(struct frag *f, char **argv)
{
	struct heapd_options options = heapd_options_default();

	options.socket = argv[3];
	f->daemon = argv[5];
	if (heapd_attach(&f->heap, argv[4], &options) >= 0)
		return 0;
	fprintf(stderr, "bench: frag: %s\n", heapd_error());
	return 1;
}

int main(int argc, char **argv)
{
	struct frag f = { .random = 0x9e3779b97f4a7c15ull };
	const char *name = getenv("BENCH_NAME");
	bool with_heapd = argc == 6 && !strcmp(argv[1], "heapd");
	uint64_t operations;
	double before;

	if (!with_heapd && (argc != 3 || strcmp(argv[1], "malloc") != 0)) {
		fprintf(stderr, "usage: frag malloc OPERATIONS | heapd OPERATIONS SOCKET HEAP DAEMON-PID\n");
		return 2;
	}
	operations = strtoull(argv[2], NULL, 10) / PHASES;
	if (with_heapd && heap_attach(&f, argv))
		return 1;
	room_make(&f);
	before = used(&f);
	for (unsigned phase = 0; phase < PHASES; phase++) {
		uint64_t begin = bench_now();

		phase_run(&f, phase, operations);
		begin = bench_now() - begin;
		printf("frag %s %u %.2f %.2f %.2f\n", name ? name : argv[1], phase + 1,
		       (double)f.live / (1 << 20), (used(&f) - before) / (1 << 20),
		       (double)begin / (double)operations);
	}
	return 0;
}
