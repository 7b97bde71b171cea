/* SPDX-License-Identifier: MIT */
/*
 * The address space of an attachment: heap, directory and control where the daemon says, session
 * wherever there is room.
 *
 * Nothing that is there already is ever covered: MAP_FIXED_NOREPLACE refuses, and the sentence names
 * what is in the way. Everything is MADV_DONTFORK, so a child that fork()'s handlers did not see
 * faults at its first touch and never shares a session; and MADV_DONTDUMP, or each core dump would
 * hold the whole heap. Of the session's 9 GiB only what is in use may be touched: reading a hole would
 * make it memory, and some tools read all that a process can. The table of what is mapped is derived from the geometry on every use, so
 * mapping, mapping again in a child and unmapping cannot disagree.
 */
#include "map.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heapd/session.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct region {
	const char *what;
	uint64_t at; /* 0: anywhere */
	uint64_t bytes;
	int fd;
	int prot;
};

enum { REGION_DIRECTORY, REGION_HEAP, REGION_CONTROL, REGION_SESSION, REGION_COUNT };

static void regions_list(const struct heapd_heap *heap, int session, struct region r[REGION_COUNT])
{
	const struct heapd_geometry *g = &heap->geometry;
	int rw = PROT_READ | PROT_WRITE;

	r[REGION_DIRECTORY] = (struct region){ "directory", heap->t.base + g->directory_at, g->directory_size,
					       heap->directory_fd, PROT_READ };
	r[REGION_HEAP] = (struct region){ "objects", heap->t.base, g->size, heap->heap_fd,
					  heap->read_only ? PROT_READ : rw };
	r[REGION_CONTROL] = (struct region){ "control", heap->t.base + g->control_at, g->control_size,
					     heap->control_fd, rw };
	r[REGION_SESSION] = (struct region){ "session", (uint64_t)(uintptr_t)heap->session,
					     HEAPD_SESSION_SIZE, session, PROT_NONE };
}

static bool region_wanted(const struct heapd_heap *heap, unsigned i)
{
	return i != REGION_CONTROL || !heap->read_only;
}

/* The line of /proc/self/maps for the first mapping that overlaps the region; false: there is none. */
static bool occupant_find(const struct region *r, char *line, size_t size)
{
	unsigned long long low, high;
	bool found = false;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && !found && fgets(line, (int)size, f)) {
		line[strcspn(line, "\n")] = 0;
		found = sscanf(line, "%llx-%llx", &low, &high) == 2 && low < r->at + r->bytes && high > r->at;
	}
	if (f)
		fclose(f);
	return found;
}

static int region_occupied(const struct heapd_heap *heap, const struct region *r)
{
	char line[256];

	if (!occupant_find(r, line, sizeof(line)))
		strcpy(line, "?");
	return error_set(
		EADDRINUSE,
		"heap '%s' cannot be mapped: its %s must lie at %#llx to %#llx, where this is: %s: %s",
		heap->name, r->what, (unsigned long long)r->at, (unsigned long long)r->at + r->bytes, line,
		r->at == (uint64_t)(uintptr_t)heap->session
			? "have no handler of fork() that runs before heapd's map memory"
			: "choose another Base= in heapd.conf, with room in all of its clients");
}

static int region_failed(const struct heapd_heap *heap, const struct region *r, int error)
{
	if (error == EEXIST)
		return region_occupied(heap, r);
	if (error == ENOMEM)
		return error_set(
			ENOMEM,
			"heap '%s': no address space for %llu MiB (%s): raise RLIMIT_AS (ulimit -v), or have fewer mappings",
			heap->name, (unsigned long long)(r->bytes >> 20), r->what);
	return error_set(
		error,
		"heap '%s': cannot map its %s: %s: have fewer mappings (vm.max_map_count), or raise this process's limits",
		heap->name, r->what, strerror(error));
}

/* The mapping, or MAP_FAILED. */
static void *region_place(const struct region *r)
{
	int flags = MAP_SHARED | MAP_NORESERVE | (r->at ? MAP_FIXED_NOREPLACE : 0);
	void *p = mmap((void *)(uintptr_t)r->at, r->bytes, r->prot, flags, r->fd, 0);

	/* A kernel that does not know the flag takes the address for a wish. */
	if (p != MAP_FAILED && r->at && (uint64_t)(uintptr_t)p != r->at) {
		munmap(p, r->bytes);
		errno = EEXIST;
		return MAP_FAILED;
	}
	return p;
}

static int region_map(const struct heapd_heap *heap, const struct region *r, void **at)
{
	char line[256];
	void *p = region_place(r);

	/* valgrind keeps books of its own and does not know MADV_DONTFORK: in a child it believes in the parent's. */
	if (p == MAP_FAILED && errno == EEXIST && !occupant_find(r, line, sizeof(line))) {
		munmap((void *)(uintptr_t)r->at, r->bytes);
		p = region_place(r);
	}
	if (p == MAP_FAILED)
		return region_failed(heap, r, errno);
	if (madvise(p, r->bytes, MADV_DONTFORK) < 0) {
		int error = errno;
		munmap(p, r->bytes);
		return region_failed(heap, r, error);
	}
	madvise(p, r->bytes, MADV_DONTDUMP);
	*at = p;
	return 0;
}

static void regions_unmap(struct heapd_heap *heap, unsigned upto)
{
	struct region r[REGION_COUNT];

	regions_list(heap, -1, r);
	for (unsigned i = 0; i < upto; i++)
		if (region_wanted(heap, i))
			munmap((void *)(uintptr_t)r[i].at, r[i].bytes);
}

static int regions_map(struct heapd_heap *heap, int session)
{
	struct region r[REGION_COUNT];

	regions_list(heap, session, r);
	for (unsigned i = 0; i < REGION_COUNT; i++) {
		void *at = NULL;
		int n = region_wanted(heap, i) ? region_map(heap, &r[i], &at) : 0;
		if (n < 0) {
			regions_unmap(heap, i);
			return n;
		}
		if (i == REGION_SESSION)
			heap->session = (struct heapd_session *)at;
	}
	return 0;
}

/*
 * Where the tables lie. A read-only client has no control. What the fast path of heapd_free() reads of it lies in
 * `out`: every object looks freed already, and of a slot that is not out no row is found (collect_cpus is 0); so it
 * finds the reason on its slow path.
 */
static void tables_set(struct heapd_heap *heap)
{
	char *base = (char *)(uintptr_t)heap->t.base;

	heapd_tables_init(&heap->t, &heap->geometry, heap->t.base, base + heap->geometry.directory_at,
			  base + heap->geometry.control_at);
	if (heap->read_only) {
		heap->t.freed = heap->t.lent = heap->t.out;
		heap->t.owner = (uint16_t *)(void *)heap->t.out;
		heap->t.taker = heap->t.born = (uint32_t *)(void *)heap->t.out;
	}
	heap->threads = (struct heapd_thread *)(void *)((char *)heap->session + HEAPD_SESSION_THREAD_AT);
	if (heap->t.directory->huge == 1)
		madvise(base, heap->geometry.size, MADV_HUGEPAGE);
}

static int welcome_check(struct heapd_heap *heap, const struct heapd_welcome *w)
{
	if (w->fingerprint != heapd_layout_fingerprint())
		return error_set(
			EPROTO,
			"heap '%s': this client library and the daemon have different layouts: use those of one version",
			heap->name);
	if (!heapd_geometry_compute(&heap->geometry, w->size, w->cpus) ||
	    w->session_size != HEAPD_SESSION_SIZE || w->base < HEAPD_BASE_MIN || w->base > HEAPD_BASE_MAX ||
	    w->base % HEAPD_CHUNK_SIZE)
		return error_set(
			EPROTO,
			"heap '%s': the daemon named a size or base that cannot be: use client library and daemon of one version",
			heap->name);
	return 0;
}

static int directory_check(const struct heapd_heap *heap)
{
	const struct heapd_directory *d = heap->t.directory;

	if (d->magic == HEAPD_DIRECTORY_MAGIC && d->fingerprint == heapd_layout_fingerprint() &&
	    d->base == heap->t.base && !memcmp(&d->geometry, &heap->geometry, sizeof(heap->geometry)))
		return 0;
	return error_set(
		EPROTO,
		"heap '%s': its directory is not laid out as this client library knows it: use client library and daemon of one version",
		heap->name);
}

/*
 * One bit for each 64 KiB of heap: read once here already. Page tables are the process's own, so a
 * forked child begins with none: the kernel wipes it there.
 */
static int prefaulted_map(struct heapd_heap *heap)
{
	uint64_t bytes = heapd_align_up((heap->geometry.size >> HEAPD_PREFAULT_SHIFT) / 8, 4096);

	if (heap->t.directory->huge == 2)
		return 0;
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return error_set(ENOMEM,
				 "heap '%s': no memory for %llu bytes: %s: raise this process's limits",
				 heap->name, (unsigned long long)bytes, strerror(errno));
	madvise(p, bytes, MADV_WIPEONFORK);
	heap->prefaulted = (_Atomic uint64_t *)p;
	heap->prefaulted_size = bytes;
	return 0;
}

static void heap_unmap(struct heapd_heap *heap)
{
	if (heap->prefaulted)
		munmap((void *)heap->prefaulted, heap->prefaulted_size);
	heap->prefaulted = NULL;
	if (heap->session)
		regions_unmap(heap, REGION_COUNT);
	heap->session = NULL;
	heap->threads = NULL;
}

static int session_open(struct heapd_heap *heap, uint64_t at, uint64_t bytes)
{
	if (mprotect((char *)heap->session + at, bytes, PROT_READ | PROT_WRITE) == 0)
		return 0;
	return error_set(
		errno,
		"heap '%s': cannot open its session's memory: %s: have fewer mappings (vm.max_map_count)",
		heap->name, strerror(errno));
}

/* What is no single thread's. */
static int session_begin(struct heapd_heap *heap)
{
	int r = session_open(heap, 0, HEAPD_SESSION_CORE);

	if (r >= 0)
		r = session_open(heap, HEAPD_SESSION_RANGES_AT, HEAPD_RANGES_BYTES);
	if (r >= 0)
		HEAPD_STORE_RELEASE(&heap->session->attached, HEAPD_SESSION_ATTACHED);
	return r;
}

int map_thread(struct heapd_heap *heap, uint32_t index)
{
	uint64_t ring = HEAPD_BARRIER_RING_MAX * 8ul;
	int r = session_open(heap, HEAPD_SESSION_BARRIER_AT + index * ring, ring);

	if (r < 0)
		return r;
	return session_open(heap, HEAPD_SESSION_PUBLISHED_AT + index * HEAPD_PUBLISHED_BYTES,
			    HEAPD_PUBLISHED_BYTES);
}

int map_heap(struct heapd_heap *heap, const struct heapd_welcome *w, const int fds[4])
{
	int r = welcome_check(heap, w);

	if (r < 0)
		return r;
	heap->t.base = w->base;
	heap->heap_fd = fds[0];
	heap->directory_fd = fds[1];
	heap->control_fd = fds[2];
	r = regions_map(heap, fds[3]);
	if (r >= 0) {
		tables_set(heap);
		r = directory_check(heap);
	}
	if (r >= 0)
		r = session_begin(heap);
	if (r >= 0)
		r = prefaulted_map(heap);
	if (r < 0) {
		heap_unmap(heap);
		heap->heap_fd = heap->directory_fd = heap->control_fd = -1;
	}
	return r;
}

int map_again(struct heapd_heap *heap, int session)
{
	int r = regions_map(heap, session);

	if (r < 0) {
		/* What lies at these addresses now is somebody else's. */
		heap->session = NULL;
		heap->threads = NULL;
		return r;
	}
	tables_set(heap);
	return session_begin(heap);
}

void map_orphan(struct heapd_heap *heap)
{
	struct region r[REGION_COUNT];
	void *at;

	heap_unmap(heap);
	regions_list(heap, -1, r);
	heap->orphan = region_map(heap, &r[REGION_DIRECTORY], &at) >= 0;
	/* Its own children have it from it: nobody maps it for them. */
	if (!heap->orphan || madvise(at, r[REGION_DIRECTORY].bytes, MADV_DOFORK) < 0)
		types_bereave(heap);
	heap->t.cpus = 0;
	heap->path = HEAPD_PATH_RSEQ;
	heap->rseq_cpus = heap->collect_cpus = heap->alloc_cpus = 0;
}

void map_drop(struct heapd_heap *heap)
{
	int *fds[] = { &heap->heap_fd, &heap->directory_fd, &heap->control_fd };

	heap_unmap(heap);
	if (heap->orphan)
		munmap(heap->t.directory, heap->geometry.directory_size);
	for (unsigned i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

void *map_window(int session, uint64_t at, uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, session, (off_t)at);

	if (p == MAP_FAILED)
		return error_null(errno,
				  "cannot map a child's session: %s: have fewer mappings (vm.max_map_count)",
				  strerror(errno));
	madvise(p, bytes, MADV_DONTFORK);
	return p;
}
