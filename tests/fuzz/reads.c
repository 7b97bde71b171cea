/* SPDX-License-Identifier: MIT */
/*
 * What the daemon loads twice: reads [--swap [--most N]] FILE|FOLDER...
 *
 * The daemon of this program is built with -fsanitize=thread, and what that calls at each load is here: so each load of memory
 * that a client can write is seen, before it happens, with its place. The target is memory.c.
 *
 * Without --swap: each pair of places in the code that loaded the same word within one command, and how often; a word that is
 * loaded again at the same place is polled. With --swap: as each input comes to its kth load of a word that the same command
 * had loaded, the word changes just before; for all k, and for each of some values (--most: for so many, as the seed says).
 * The daemon lives, and is sound.
 */
#include <dlfcn.h>
#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "../fixture.h"
#include "daemon/clients.h"
#include "inputs.h"
#include "machine.h"

#define BOUND_S    60 /* of a processor, for one input: others may have it meanwhile */
#define PAIRS      4096u
#define GRANULE    4u
#define DEPTH      64u
#define REST_BEGIN (UINT64_C(1) << 60)

/* Who loaded a granule last. */
struct seen {
	uint32_t turn;
	uint32_t place; /* from the program's begin */
	uint32_t caller;
};

/* REST: of a session, behind what the daemon maps. */
enum region { CONTROL, OBJECTS, SESSION, REST, REGIONS };

struct pair {
	uint32_t first, second;
	uint64_t n;
};

/* Nothing of it is looked at by what is watched: one program, one thread. */
static struct watch {
	struct {
		uint64_t begin, end;
		struct seen *seen; /* by granule */
	} regions[REGIONS];
	const char *program;
	int session_fd;
	uint32_t turn;
	uint32_t callers[DEPTH];
	unsigned depth;
	struct pair pairs[PAIRS];
	unsigned npairs;
	uint64_t again; /* loads of a word that the command had loaded, elsewhere */
	uint64_t loads;
	uint64_t swap_at; /* 0: none */
	unsigned value;
	bool swapped;
} watch;

static char now[256];

static void region_set(enum region region, const void *begin, uint64_t bytes)
{
	struct seen *seen = watch.regions[region].seen;

	if (!seen)
		seen = mmap(NULL, bytes / GRANULE * sizeof(*seen), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (seen == MAP_FAILED)
		err(1, "mmap");
	watch.regions[region].seen = seen;
	watch.regions[region].begin = (uint64_t)(uintptr_t)begin;
	watch.regions[region].end = begin ? (uint64_t)(uintptr_t)begin + bytes : 0;
}

static void forget(void)
{
	for (unsigned i = 0; i < REGIONS; i++)
		watch.regions[i].end = 0;
	watch.session_fd = -1;
}

void machine_turn(const struct machine *m)
{
	const struct session *session = m ? LIST_FIRST(&m->sessions.all) : NULL;
	const struct heap *heap = m ? m->heaps[0] : NULL;

	watch.turn++;
	forget();
	if (!m)
		return;
	region_set(CONTROL, heap->t.control, heap->geometry.control_size);
	region_set(OBJECTS, (const void *)(uintptr_t)heap->t.base, heap->geometry.size);
	if (!session)
		return;
	region_set(SESSION, session->memory.core, HEAPD_SESSION_CORE);
	/* Where no address is: it is read by calls. */
	region_set(REST, (const void *)(uintptr_t)REST_BEGIN, HEAPD_SESSION_SIZE);
	watch.session_fd = session->memory.fd;
}

static struct seen *seen_find(uint64_t at)
{
	for (unsigned i = 0; i < REGIONS; i++)
		if (at >= watch.regions[i].begin && at < watch.regions[i].end)
			return &watch.regions[i].seen[(at - watch.regions[i].begin) / GRANULE];
	return NULL;
}

static void pair_count(uint32_t first, uint32_t second)
{
	for (unsigned i = 0; i < watch.npairs; i++) {
		struct pair *p = &watch.pairs[i];

		if (p->first == first && p->second == second) {
			p->n++;
			return;
		}
	}
	if (watch.npairs == PAIRS)
		errx(1, "more than %u pairs", PAIRS);
	watch.pairs[watch.npairs++] = (struct pair){ first, second, 1 };
}

static uint64_t value_of(uint64_t before)
{
	const uint64_t values[] = { 0,       UINT64_MAX, before + 1,          before - 1,
				    ~before, 1,          before ^ 1ull << 32, before << 1 };

	return values[watch.value % 8];
}

#define VALUES 8u

/* The word is somebody else's, and has just changed. */
static void swap(uint64_t at, size_t n)
{
	uint64_t word = 0;

	memcpy(&word, (void *)(uintptr_t)at, n < 8 ? n : 8);
	word = value_of(word);
	memcpy((void *)(uintptr_t)at, &word, n < 8 ? n : 8);
	watch.swapped = true;
}

/* Whence the function that loads was called: what a helper loads for two callers is loaded at two places. */
static uint32_t caller(void)
{
	return watch.depth && watch.depth <= DEPTH ? watch.callers[watch.depth - 1] : 0;
}

/* Whether another place had loaded it before. */
static bool note_granule(uint64_t at, const char *place)
{
	struct seen *seen = seen_find(at);
	struct seen before, mine = { watch.turn, (uint32_t)(place - watch.program), caller() };

	if (!seen)
		return false;
	before = *seen;
	*seen = mine;
	if (before.turn != watch.turn || (before.place == mine.place && before.caller == mine.caller))
		return false;
	pair_count(before.place, mine.place);
	return true;
}

static void load(const volatile void *address, size_t n, const void *place)
{
	uint64_t at = (uint64_t)(uintptr_t)address;
	bool again = false;

	if (!seen_find(at))
		return;
	watch.loads++;
	for (uint64_t g = at / GRANULE * GRANULE; g < at + n; g += GRANULE)
		again |= note_granule(g, place);
	if (again && ++watch.again == watch.swap_at)
		swap(at, n);
}

static void enter(const void *pc)
{
	if (watch.depth++ < DEPTH)
		watch.callers[watch.depth - 1] = (uint32_t)((const char *)pc - watch.program);
}

#define ACCESS_LOAD(at, n, place)  load(at, n, place)
#define ACCESS_STORE(at, n, place) ((void)(at), (void)(n))
#define ACCESS_ENTER(pc)           enter(pc)
#define ACCESS_LEAVE()             ((void)watch.depth--)
#include "../accesses.h"

/* A clock that says the same each time, so that all else does. */
int clock_gettime(clockid_t id, struct timespec *t)
{
	static uint64_t ns = 1000000000;

	(void)id;
	ns += 1000;
	*t = (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	return 0;
}

/* The rest of a session is read so (client_read()). */
ssize_t pread(int fd, void *to, size_t n, off_t at)
{
	static ssize_t (*real)(int, void *, size_t, off_t);
	bool again = false;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pread");
	for (size_t i = 0; fd == watch.session_fd && i < n; i += GRANULE)
		again |= note_granule(REST_BEGIN + (uint64_t)at + i, ACCESS_PLACE);
	if (again && ++watch.again == watch.swap_at) {
		uint64_t word = 0;

		if (real(fd, &word, sizeof(word), at) < 0 ||
		    (word = value_of(word), pwrite(fd, &word, sizeof(word), at)) < 0)
			err(1, "session");
		watch.swapped = true;
	}
	return real(fd, to, n, at);
}

/* The inputs -------------------------------------------------------------------------------------------------------------- */

struct run {
	unsigned most;
	bool swap;
	uint64_t seed, inputs, swaps;
};

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Which input it was, and what was changed: for who has to look for the reason. */
static void on_end(int number)
{
	(void)!write(2, now, strlen(now));
	signal(number, SIG_DFL);
	raise(number);
}

/* Whoever sleeps for ever is ended by the test's limit. */
static void bound(time_t seconds)
{
	setitimer(ITIMER_PROF, &(struct itimerval){ .it_value.tv_sec = seconds }, NULL);
}

static void run_once(const char *path, const uint8_t *bytes, size_t n, uint64_t k, unsigned value)
{
	snprintf(now, sizeof(now), "%s: load %" PRIu64 " of a word that was loaded before, value %u\n", path,
		 k, value);
	watch.again = 0;
	watch.swap_at = k;
	watch.value = value;
	watch.swapped = false;
	bound(BOUND_S);
	LLVMFuzzerTestOneInput(bytes, n);
	bound(0);
}

static void swap_all(struct run *run, const char *path, const uint8_t *bytes, size_t n)
{
	uint64_t all;

	run_once(path, bytes, n, 0, 0);
	all = watch.again;
	for (uint64_t i = 0; i < (run->most ? run->most : all * VALUES) && all; i++) {
		uint64_t k = run->most ? draw(&run->seed) % all : i / VALUES;

		run_once(path, bytes, n, k + 1, (unsigned)(run->most ? draw(&run->seed) : i) % VALUES);
		if (!watch.swapped)
			errx(1,
			     "%s: comes to no load %" PRIu64 " of %" PRIu64 ": it is not the same each time",
			     path, k + 1, all);
		run->swaps++;
	}
}

static void run_input(void *arg, const char *path, const uint8_t *bytes, size_t n)
{
	struct run *run = arg;

	run->inputs++;
	if (run->swap)
		swap_all(run, path, bytes, n);
	else
		run_once(path, bytes, n, 0, 0);
}

/* Offsets in the program, as addr2line takes them: of the calls, not of what follows them. */
static void print_pairs(void)
{
	for (unsigned i = 0; i < watch.npairs; i++)
		printf("0x%x 0x%x %" PRIu64 "\n", watch.pairs[i].first - 1, watch.pairs[i].second - 1,
		       watch.pairs[i].n);
}

int main(int argc, char **argv)
{
	struct run run = { 0 };
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)&machine_turn, &info))
		errx(1, "dladdr");
	watch.program = info.dli_fbase;
	forget();
	signal(SIGPROF, on_end);
	signal(SIGABRT, on_end);
	signal(SIGSEGV, on_end);
	signal(SIGBUS, on_end);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--swap") == 0) {
			run.swap = true;
			run.seed = fixture_seed() | 1;
		} else if (strcmp(argv[i], "--most") == 0 && i + 1 < argc) {
			run.most = (unsigned)atoi(argv[++i]);
		} else {
			inputs_each(argv[i], run_input, &run);
		}
	}
	if (run.swap)
		printf("%" PRIu64 " inputs, %" PRIu64 " words changed between two loads\n", run.inputs,
		       run.swaps);
	else
		print_pairs();
	fprintf(stderr, "%" PRIu64 " loads of what clients can write\n", watch.loads);
	return 0;
}
