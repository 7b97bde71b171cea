/* SPDX-License-Identifier: MIT */
/*
 * heap.c - owns a heap's memory files and their place in the daemon's address space.
 *
 * Right because the whole range, heap and directory and control, is reserved by one mmap() that replaces
 * nothing, and only then are the files mapped over the reservation: either the heap lies where its clients
 * will map it, or there is no heap. The directory's head is complete before any descriptor leaves the daemon.
 */
#include "heap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "heapd/atomic.h"
#include "memory.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* ThreadSanitizer keeps most addresses for itself. */
#ifdef HEAPD_TSAN
#define HEAP_BASE_FIRST 0x7e8000000000ul
#else
#define HEAP_BASE_FIRST HEAPD_BASE_DEFAULT
#endif

#define HEAP_BASE_STEP   (UINT64_C(1) << 30) /* automatic bases are multiples of this */
#define GIVE_WAY_MOMENTS 50
#define HEAP_HEAD_CHARGE (UINT64_C(1) << 20) /* touched heads, records and rings of an ordinary heap, about */

uint64_t heap_first_base(void)
{
	return HEAP_BASE_FIRST;
}

uint64_t heap_next_base(const struct heap *heap)
{
	return heapd_align_up(heap->t.base + heap->geometry.total, HEAP_BASE_STEP);
}

int heap_geometry(const struct config_heap *config, struct log *log, struct heapd_geometry *geometry)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);

	if (strlen(config->name) >= HEAPD_NAME_MAX) {
		log_err(log, "[Heap %s]: the name is too long; at most %d bytes", config->name,
			HEAPD_NAME_MAX - 1);
		return -EINVAL;
	}
	if (cpus > 0 && heapd_geometry_compute(geometry, config->size, (uint64_t)cpus))
		return 0;
	log_err(log, "[Heap %s]: cannot be laid out with Size=%s on %ld processors; Size= goes from %s to %s",
		config->name, value_size_text(config->size).text, cpus, value_size_text(HEAPD_SIZE_MIN).text,
		value_size_text(HEAPD_SIZE_MAX).text);
	return -EINVAL;
}

static void *heap_at(uint64_t address)
{
	return (void *)(uintptr_t)
		address; /* NOLINT(performance-no-int-to-ptr): the heap's place is a number */
}

int heap_reserve(uint64_t base, uint64_t bytes)
{
	void *p = mmap(heap_at(base), bytes, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (p == heap_at(base))
		return 0;
	munmap(p, bytes);
	return -EEXIST;
}

void heap_unreserve(uint64_t base, uint64_t bytes)
{
	munmap(heap_at(base), bytes);
}

static int reserve_automatic(const struct heap_plan *plan, uint64_t *base)
{
	uint64_t total = heapd_align_up(plan->geometry.total, HEAP_BASE_STEP);
	int r = -EEXIST;

	for (uint64_t at = plan->base; at + total <= HEAPD_BASE_MAX; at += total) {
		r = heap_reserve(at, plan->geometry.total);
		if (r == 0)
			*base = at;
		if (r != -EEXIST)
			return r;
	}
	return r;
}

static int place(struct heap *heap, const struct heap_plan *plan, uint64_t *base)
{
	uint64_t asked = plan->files ? plan->base : plan->config->base;
	int r;

	r = asked ? heap_reserve(asked, plan->geometry.total) : reserve_automatic(plan, base);
	if (r == 0 && asked)
		*base = asked;
	if (r == -EEXIST && asked)
		log_err(heap->log,
			"heap '%s': 0x%" PRIx64 " to 0x%" PRIx64 " is not free; choose another Base= or auto",
			heap->name, asked, asked + plan->geometry.total);
	else if (r < 0)
		log_err(heap->log, "heap '%s': cannot reserve %s of addresses: %s", heap->name,
			value_size_text(plan->geometry.total).text, strerror(-r));
	return r;
}

static int open_file(struct heap *heap, const char *what, uint64_t bytes, unsigned flags, int *fd)
{
	char label[HEAPD_NAME_MAX + 16];

	snprintf(label, sizeof(label), "%s:%s", heap->name, what);
	*fd = memory_create(label, bytes, flags);
	if (*fd < 0)
		log_err(heap->log, "heap '%s': cannot make its memory file '%s' of %s: %s%s", heap->name,
			what, value_size_text(bytes).text, strerror(-*fd),
			flags ? "; does the kernel have huge pages? (HugePages=hugetlb)" : "");
	return *fd < 0 ? *fd : 0;
}

static int open_readonly(int from, int *fd)
{
	int r = *fd < 0 ? memory_open_readonly(from) : *fd;

	if (r >= 0)
		*fd = r;
	return r < 0 ? r : 0;
}

int heap_open_readonly(struct heap *heap)
{
	int r = open_readonly(heap->heap_fd, &heap->heap_ro_fd);

	return r < 0 ? r : open_readonly(heap->directory_fd, &heap->directory_ro_fd);
}

static int tell_readonly(struct heap *heap, int r)
{
	if (r == -EAGAIN)
		log_warning(
			heap->log,
			"heap '%s': a process of the daemon's user has a lease on its memory: until that ends, "
			"nobody more is let in",
			heap->name);
	else if (r < 0)
		log_err(heap->log, "heap '%s': cannot open its memory for reading (is /proc mounted?): %s",
			heap->name, strerror(-r));
	return r == -EAGAIN ? 0 : r;
}

static int take_files(struct heap *heap, const struct heap_files *files)
{
	heap->heap_fd = files->heap;
	heap->directory_fd = files->directory;
	heap->control_fd = files->control;
	heap->ledger_fd = files->ledger;
	return tell_readonly(heap, heap_open_readonly(heap));
}

static int open_files(struct heap *heap)
{
	unsigned huge = heap->config->huge == CONFIG_HUGE_HUGETLB ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
	const struct heapd_geometry *g = &heap->geometry;
	int r;

	r = open_file(heap, "heap", g->size, huge, &heap->heap_fd);
	if (r == 0)
		r = open_file(heap, "directory", g->directory_size, 0, &heap->directory_fd);
	if (r == 0)
		r = open_file(heap, "control", g->control_size, 0, &heap->control_fd);
	if (r == 0)
		r = open_file(heap, "ledger", heap->ledger_bytes, 0, &heap->ledger_fd);
	return r < 0 ? r : tell_readonly(heap, heap_open_readonly(heap));
}

static int map_at(int fd, uint64_t at, uint64_t bytes, int flags)
{
	void *p = mmap(heap_at(at), bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | flags, fd, 0);

	return p == MAP_FAILED ? -errno : 0;
}

static int map_file(struct heap *heap, int fd, uint64_t at, uint64_t bytes)
{
	int r = map_at(fd, at, bytes, MAP_NORESERVE);

	if (r < 0)
		log_err(heap->log, "heap '%s': cannot map %s: %s", heap->name, value_size_text(bytes).text,
			strerror(-r));
	return r;
}

/*
 * Without MAP_NORESERVE huge pages are set aside for the whole heap here, or it fails here: later no client
 * can be killed because the pool ran dry.
 */
static int map_objects(struct heap *heap, bool hugetlb)
{
	uint64_t size = heap->geometry.size;
	int r;

	if (!hugetlb)
		return map_file(heap, heap->heap_fd, heap->t.base, size);
	r = map_at(heap->heap_fd, heap->t.base, size, 0);
	if (r < 0)
		log_err(heap->log,
			"heap '%s': HugePages=hugetlb needs %" PRIu64
			" free huge pages of 2 MiB for Size=%s (%s); "
			"raise vm.nr_hugepages, or lower Size=",
			heap->name, size >> HEAPD_CHUNK_SHIFT, value_size_text(size).text, strerror(-r));
	return r;
}

static int map_files(struct heap *heap, bool hugetlb)
{
	const struct heapd_geometry *g = &heap->geometry;
	uint64_t base = heap->t.base;
	int r;

	r = map_objects(heap, hugetlb);
	if (r == 0)
		r = map_file(heap, heap->directory_fd, base + g->directory_at, g->directory_size);
	if (r == 0)
		r = map_file(heap, heap->control_fd, base + g->control_at, g->control_size);
	if (r < 0)
		return r;
	heap->ledger_memory = mmap(NULL, heap->ledger_bytes, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_NORESERVE, heap->ledger_fd, 0);
	if (heap->ledger_memory != MAP_FAILED)
		return 0;
	heap->ledger_memory = NULL;
	log_err(heap->log, "heap '%s': cannot map its ledger of %s: %m", heap->name,
		value_size_text(heap->ledger_bytes).text);
	return -errno;
}

static int write_head(struct heap *heap)
{
	struct heapd_directory *d = heap->t.directory;
	static const uint32_t huge[] = {
		[CONFIG_HUGE_NEVER] = 0,
		[CONFIG_HUGE_AUTO] = 1,
		[CONFIG_HUGE_HUGETLB] = 2,
	};

	if (getrandom(&d->id, sizeof(d->id), 0) != (ssize_t)sizeof(d->id)) {
		log_err(heap->log, "heap '%s': no random numbers are to be had: %m", heap->name);
		return -EIO;
	}
	d->magic = HEAPD_DIRECTORY_MAGIC;
	d->fingerprint = heapd_layout_fingerprint();
	d->base = heap->t.base;
	memcpy(d->name, heap->name, sizeof(d->name));
	d->geometry = heap->geometry;
	d->huge = huge[heap->config->huge];
	heap_set_limit(heap, heap->config->limit);
	heap_set_share(heap, heap->config);
	return 0;
}

/* What is charged is charged again. */
static void adopt_head(struct heap *heap)
{
	HEAPD_WRITE_ONCE(heap->t.directory->stats.overhead, 0);
	heap_set_limit(heap, heap->config->limit);
	heap_set_share(heap, heap->config);
}

static int charged(struct heap *heap, uint64_t bytes, int r)
{
	if (r == 0)
		__atomic_fetch_add(&heap->t.directory->stats.overhead, bytes, __ATOMIC_RELAXED);
	return r;
}

/* Control's rows, which every processor that runs a client touches, and an estimate of the rest. */
static int charge_tables(struct heap *heap)
{
	uint64_t bytes = HEAP_HEAD_CHARGE + (heap->geometry.cpus << HEAPD_ROW_SHIFT) +
			 (heap->geometry.cpus << HEAPD_RSEQ_ROW_SHIFT);
	int r = 0;

	/* Those of a heap that was kept are there. */
	if (heap->adopted)
		heap_force(heap, bytes);
	else
		r = charged(heap, bytes, account_take(&heap->part, bytes));
	if (r < 0)
		log_err(heap->log, "heap '%s': no memory left for its tables of %s", heap->name,
			value_size_text(bytes).text);
	else
		heap->charged = bytes;
	return r;
}

/* What becomes of pages that cannot be read: bus.h. */
static int watch_pages(struct heap *heap, bool hugetlb)
{
	int r = bus_add(&heap->bus, heap->t.base, heap->geometry.size, heap->heap_fd, hugetlb);

	if (r < 0)
		log_err(heap->log, "heap '%s': no memory left for the table of its lost pages: %s",
			heap->name, strerror(-r));
	return r;
}

static bool is_hugetlb(const struct heap_plan *plan)
{
	return plan->files ? plan->hugetlb : plan->config->huge == CONFIG_HUGE_HUGETLB;
}

static int build(struct heap *heap, const struct heap_plan *plan)
{
	const struct heapd_geometry *g = &heap->geometry;
	uint64_t base = 0;
	int r;

	r = place(heap, plan, &base);
	if (r < 0)
		return r;
	heapd_tables_init(&heap->t, g, base, heap_at(base + g->directory_at), heap_at(base + g->control_at));
	r = plan->files ? take_files(heap, plan->files) : open_files(heap);
	if (r == 0)
		r = map_files(heap, is_hugetlb(plan));
	if (r == 0)
		r = watch_pages(heap, is_hugetlb(plan));
	if (r == 0 && plan->files)
		adopt_head(heap);
	else if (r == 0)
		r = write_head(heap);
	if (r == 0)
		r = charge_tables(heap);
	return r;
}

static struct heap *heap_new(const struct heap_plan *plan)
{
	struct heap *heap = calloc(1, sizeof(*heap));

	if (!heap)
		return NULL;
	memcpy(heap->name, plan->config->name, strlen(plan->config->name));
	heap->config = plan->config;
	heap->log = plan->log;
	heap->refused = (struct log_limit){ .what = "refusals of memory", .burst = 1 };
	heap->failed = (struct log_limit){ .what = "memory that cannot be read" };
	heap->overwritten = (struct log_limit){ .what = "overwritten slots" };
	heap->faults.what = "verifications that found faults";
	heap->settings_set.what = "settings changed";
	heap->held.what = "memory files that clients hold";
	heap->account = plan->account;
	account_join(heap->account, &heap->part);
	heap->geometry = plan->geometry;
	heap->adopted = plan->files;
	heap->ledger_bytes = heapd_align_up(plan->ledger_bytes, 4096);
	heap->heap_fd = heap->heap_ro_fd = heap->directory_fd = heap->directory_ro_fd = -1;
	heap->control_fd = heap->ledger_fd = -1;
	punch_init(&heap->punch);
	pthread_mutex_init(&heap->lock, NULL);
	return heap;
}

int heap_create(const struct heap_plan *plan, struct heap **heap)
{
	struct heap *new = heap_new(plan);
	int r;

	if (!new) {
		log_err(plan->log, "heap '%s' cannot be made: out of memory", plan->config->name);
		return -ENOMEM;
	}
	r = build(new, plan);
	if (r < 0) {
		heap_destroy(new);
		return r;
	}
	*heap = new;
	return 0;
}

static void close_file(int fd)
{
	if (fd >= 0)
		close(fd);
}

void heap_destroy(struct heap *heap)
{
	if (!heap)
		return;
	log_limit_flush(heap->log, &heap->faults, LOG_ERR);
	log_limit_flush(heap->log, &heap->refused, LOG_WARNING);
	log_limit_flush(heap->log, &heap->overwritten, LOG_WARNING);
	log_limit_flush(heap->log, &heap->failed, LOG_ERR);
	bus_remove(&heap->bus);
	log_limit_flush(heap->log, &heap->settings_set, LOG_NOTICE);
	if (heap->charged)
		heap_refund(heap, heap->charged);
	if (heap->ledger_memory)
		munmap(heap->ledger_memory, heap->ledger_bytes);
	if (heap->t.base)
		munmap(heap_at(heap->t.base), heap->geometry.total);
	close_file(heap->heap_fd);
	close_file(heap->heap_ro_fd);
	close_file(heap->directory_fd);
	close_file(heap->directory_ro_fd);
	close_file(heap->control_fd);
	close_file(heap->ledger_fd);
	punch_deinit(&heap->punch);
	account_leave(&heap->part);
	pthread_mutex_destroy(&heap->lock);
	free(heap);
}

void heap_set_limit(struct heap *heap, uint64_t limit)
{
	HEAPD_WRITE_ONCE(heap->t.directory->stats.limit, limit);
	account_set_most(&heap->part, limit);
}

void heap_set_share(struct heap *heap, const struct config_heap *config)
{
	HEAPD_WRITE_ONCE(heap->user_share, config->user_share);
	HEAPD_WRITE_ONCE(heap->newcomers, config_others_may_write(config));
}

uint64_t heap_limit(const struct heap *heap)
{
	return HEAPD_READ_ONCE(heap->t.directory->stats.limit);
}

const char *heap_bound(struct heap *heap, uint64_t more, uint64_t *bytes)
{
	uint64_t committed = HEAPD_READ_ONCE(heap->t.directory->stats.committed);
	bool own = heapd_align_up(committed + more, HEAPD_CHUNK_SIZE) > heap_limit(heap);

	if (own) {
		*bytes = heap_limit(heap);
		return "Limit=";
	}
	if (account_taken(heap->account) + more > heap->account->maximum) {
		*bytes = heap->account->maximum;
		return "MemoryMax= of the service";
	}
	*bytes = committed + account_left(&heap->part);
	return "MemoryMax= of the service, of which HeapShare= keeps some for other heaps,";
}

void heap_lock(struct heap *heap)
{
	__atomic_fetch_add(&heap->waiting, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&heap->lock);
	__atomic_fetch_sub(&heap->waiting, 1, __ATOMIC_RELAXED);
}

void heap_unlock(struct heap *heap)
{
	pthread_mutex_unlock(&heap->lock);
}

void heap_give_way(struct heap *heap)
{
	static const struct timespec moment = { .tv_nsec = 20000 };

	for (int i = 0; i < GIVE_WAY_MOMENTS && HEAPD_READ_ONCE(heap->waiting); i++)
		nanosleep(&moment, NULL);
}

int heap_charge_minor(struct heap *heap, uint64_t bytes)
{
	return charged(heap, bytes, account_take_minor(&heap->part, bytes));
}

void heap_force(struct heap *heap, uint64_t bytes)
{
	account_force(&heap->part, bytes);
	charged(heap, bytes, 0);
}

void heap_refund(struct heap *heap, uint64_t bytes)
{
	__atomic_fetch_sub(&heap->t.directory->stats.overhead, bytes, __ATOMIC_RELAXED);
	account_give(&heap->part, bytes);
}
