/* SPDX-License-Identifier: MIT */
/*
 * frag.c - how much memory a long mix of objects takes, against what was asked for, and where the rest of it is.
 *
 * frag malloc OPERATIONS SECONDS [of whatever library is preloaded], or
 * frag heapd|gc OPERATIONS SECONDS SOCKET HEAP DAEMON-PID: with frees, or with the heap's collector and none.
 * Objects of random size and age: most are small, a few have some KiB; each operation replaces one of them. Every phase has
 * a quarter of the operations and another mix of sizes; the fourth frees three quarters of all and goes on with the rest. In a
 * fifth, so many seconds long, there is one operation in a millisecond: what is given back to the system, is by then.
 * Prints for each phase "frag NAME PHASE live-MiB used-MiB ns": what is asked for at its end; what is in
 * use for it more than at the beginning, metadata and all; time of an operation. Of a heap also "fragpart NAME PHASE PART MiB",
 * which together are what is used.
 *
 * In use of a malloc: resident memory of the process. Of heapd: the same, and what the daemon has: its own, and
 * what lies in its memory files.
 */
#include <heapd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cell.h"
#include "footprint.h"
#include "heapd/sizeclass.h"

#define OBJECTS 400000u
#define PHASES  4u
#define PARTS   13u

struct part {
	const char *name;
	double bytes;
};

struct frag {
	heapd_heap *heap; /* NULL: malloc() */
	bool collects;    /* nothing is freed */
	const char *name, *daemon;
	void **objects;
	uint32_t *sizes;
	uint64_t live;  /* bytes asked for */
	uint64_t slots; /* heapd: what they have with rounding */
	uint64_t random;
	struct part before[PARTS];
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

static uint64_t slot_size(uint32_t size)
{
	return heapd_sizeclass_size(heapd_sizeclass_of(size));
}

static void put(struct frag *f, size_t i)
{
	if (!f->objects[i])
		return;
	if (f->heap && !f->collects)
		heapd_free(f->objects[i]);
	else if (!f->heap)
		free(f->objects[i]);
	f->objects[i] = NULL;
	f->live -= f->sizes[i];
	f->slots -= slot_size(f->sizes[i]);
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
	f->slots += slot_size(size);
}

static void parts(const struct frag *f, struct part *part)
{
	struct footprint_heap h = footprint_heap(f->heap);
	const char *d = f->daemon;
	double tables = footprint_files(d, "directory") + footprint_files(d, "ledger") +
			footprint_files(d, "control");
	struct part all[PARTS] = {
		{ "asked-for", (double)f->live },
		{ "rounding", (double)f->slots - (double)f->live },
		{ f->collects ? "garbage" : "freed", h.given - (double)f->slots },
		{ "current-slabs", h.current },
		{ "rings", h.rings },
		{ "free-slots", h.slots },
		{ "free-pages", h.pages },
		{ "directory", footprint_files(d, "directory") },
		{ "ledger", footprint_files(d, "ledger") },
		{ "control", footprint_files(d, "control") },
		{ "sessions", footprint_files(d, "") - footprint_files(d, "heap") - tables },
		{ "daemon", footprint_own(d) },
		{ "process", footprint_own("self") },
	};

	memcpy(part, all, sizeof(all));
}

static double used(const struct frag *f)
{
	double bytes = footprint_own("self");

	return f->daemon ? bytes + footprint_own(f->daemon) + footprint_files(f->daemon, "") : bytes;
}

static void replace(struct frag *f, unsigned phase)
{
	size_t objects = phase == PHASES - 1 ? OBJECTS / 4 : OBJECTS, i = (random_next(f) >> 16) % objects;

	put(f, i);
	get(f, i, size_draw(f, phase));
}

static void phase_run(struct frag *f, unsigned phase, uint64_t operations)
{
	if (phase == PHASES - 1)
		for (size_t i = OBJECTS / 4; i < OBJECTS; i++)
			put(f, i);
	for (uint64_t n = 0; n < operations; n++)
		replace(f, phase);
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

	options.socket = argv[4];
	f->daemon = argv[6];
	f->collects = strcmp(argv[1], "gc") == 0;
	if (heapd_attach(&f->heap, argv[5], &options) >= 0)
		return 0;
	fprintf(stderr, "bench: frag: %s\n", heapd_error());
	return 1;
}

/* At a phase's end. */
static void print(const struct frag *f, unsigned phase, double before, double ns)
{
	struct part part[PARTS];

	printf("frag %s %u %.2f %.2f %.2f\n", f->name, phase, (double)f->live / (1 << 20),
	       (used(f) - before) / (1 << 20), ns);
	if (!f->heap)
		return;
	parts(f, part);
	for (unsigned i = 0; i < PARTS; i++)
		printf("fragpart %s %u %s %.2f\n", f->name, phase, part[i].name,
		       (part[i].bytes - f->before[i].bytes) / (1 << 20));
}

static void phases_run(struct frag *f, uint64_t operations, unsigned seconds)
{
	double before = used(f);

	if (f->heap)
		parts(f, f->before);
	for (unsigned phase = 0; phase < PHASES; phase++) {
		uint64_t begin = bench_now();

		phase_run(f, phase, operations);
		print(f, phase + 1, before, (double)(bench_now() - begin) / (double)operations);
	}
	for (unsigned i = 0; i < seconds * 1000; i++) {
		usleep(1000);
		replace(f, PHASES - 1);
	}
	print(f, PHASES + 1, before, 0);
}

int main(int argc, char **argv)
{
	struct frag f = { .random = 0x9e3779b97f4a7c15ull };
	const char *name = getenv("BENCH_NAME");
	bool with_heapd = argc == 7 && (!strcmp(argv[1], "heapd") || !strcmp(argv[1], "gc"));

	if (!with_heapd && (argc != 4 || strcmp(argv[1], "malloc") != 0)) {
		fprintf(stderr,
			"usage: frag malloc OPERATIONS SECONDS | heapd|gc OPERATIONS SECONDS SOCKET HEAP DAEMON-PID\n");
		return 2;
	}
	f.name = name ? name : argv[1];
	if (with_heapd && heap_attach(&f, argv))
		return 1;
	room_make(&f);
	phases_run(&f, strtoull(argv[2], NULL, 10) / PHASES, (unsigned)strtoul(argv[3], NULL, 10));
	return 0;
}
