/* SPDX-License-Identifier: MIT */
/*
 * recover.c - owns the decision whether what was stored is a heap that this daemon can serve.
 *
 * Right because a heap is stored before its ledger says `complete`, which is said before anybody can attach: what is
 * incomplete was nobody's, and may be dropped. Everything else is kept, whatever is wrong with it, until somebody who knows
 * says otherwise (--discard-heaps). The ledger and the directory are written by daemons alone, so what their heads say
 * is believed when they are of this layout.
 *
 * Two daemons are kept apart by a POSIX lock on the ledger. It is the process's, not the descriptor's (which lies in the
 * store, too): so it ends with the process, and is not handed over.
 */
#include "recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "deads.h"
#include "heapd/probes.h"
#include "ledger.h"
#include "rebuild.h"

#define LOCK_PATIENCE_NS UINT64_C(3000000000) /* for another daemon's end */

enum { PART_HEAP, PART_DIRECTORY, PART_CONTROL, PART_LEDGER, PARTS };

static const char *const parts[PARTS] = { "heap", "directory", "control", "ledger" };

static void part_name(const char *heap, unsigned part, char name[STORE_NAME_MAX])
{
	snprintf(name, STORE_NAME_MAX, "heap.%s.%s", heap, parts[part]);
}

/* What else the head says is to be believed only if it is of our version. */
static bool head_is_ours(const struct ledger_head *head)
{
	return head->magic == LEDGER_MAGIC && head->fingerprint == heapd_layout_fingerprint() &&
	       head->version == LEDGER_VERSION;
}

static bool head_read(int fd, struct ledger_head *head)
{
	*head = (struct ledger_head){ 0 };
	return fd >= 0 && pread(fd, head, sizeof(*head), 0) == (ssize_t)sizeof(*head) && head->magic;
}

bool recover_is_kept(const struct store *store, const char *name)
{
	char wanted[STORE_NAME_MAX];
	struct ledger_head head;

	part_name(name, PART_LEDGER, wanted);
	for (size_t i = 0; i < store->nitems; i++)
		if (strcmp(store->items[i].name, wanted) == 0)
			return head_read(store->items[i].fd, &head) &&
			       (!head_is_ours(&head) || head.complete);
	return false;
}

static unsigned parts_take(struct store *store, const char *heap, int fds[PARTS])
{
	char name[STORE_NAME_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < PARTS; i++) {
		part_name(heap, i, name);
		fds[i] = store_take(store, name);
		n += fds[i] >= 0;
	}
	return n;
}

static void parts_close(const int fds[PARTS])
{
	for (unsigned i = 0; i < PARTS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void parts_drop(struct store *store, const char *heap, const int fds[PARTS])
{
	char name[STORE_NAME_MAX];

	parts_close(fds);
	for (unsigned i = 0; i < PARTS; i++) {
		part_name(heap, i, name);
		if (fds[i] >= 0)
			store_remove(store, name);
	}
}

/* 0: incomplete. */
static int check_ledger(int fd, const char *name, struct log *log)
{
	struct ledger_head head;

	if (!head_read(fd, &head))
		return 0;
	if (!head_is_ours(&head)) {
		log_err(log,
			"heap '%s' is kept, but its memory was laid out by another build (%016" PRIx64
			", this one has %016" PRIx64
			"): start that build again, or give the heap up with --discard-heaps",
			name, head.fingerprint, heapd_layout_fingerprint());
		return -EPROTO;
	}
	return head.complete ? 1 : 0;
}

static bool directory_read(int fd, const char *name, struct heapd_directory *d)
{
	struct heapd_geometry expected;

	return pread(fd, d, sizeof(*d), 0) == (ssize_t)sizeof(*d) && d->magic == HEAPD_DIRECTORY_MAGIC &&
	       strncmp(d->name, name, sizeof(d->name)) == 0 &&
	       heapd_geometry_compute(&expected, d->geometry.size, d->geometry.cpus) &&
	       memcmp(&expected, &d->geometry, sizeof(expected)) == 0;
}

bool recover_place(const struct store *store, size_t item, uint64_t *base, uint64_t *bytes)
{
	static const char head[] = "heap.", tail[] = ".directory";
	const char *stored = store->items[item].name;
	size_t length = strlen(stored), around = strlen(head) + strlen(tail);
	char name[STORE_NAME_MAX];
	struct heapd_directory d;

	if (length <= around || strncmp(stored, head, strlen(head)) != 0 ||
	    strcmp(stored + length - strlen(tail), tail) != 0)
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)(length - around), stored + strlen(head));
	if (!recover_is_kept(store, name) || !directory_read(store->items[item].fd, name, &d))
		return false;
	*base = d.base;
	*bytes = d.geometry.total;
	return true;
}

static int read_directory(int fd, const char *name, struct heap_plan *plan)
{
	struct heapd_directory d;

	if (directory_read(fd, name, &d)) {
		plan->geometry = d.geometry;
		plan->base = d.base;
		plan->hugetlb = d.huge == HEAPD_HUGE_HUGETLB;
		plan->ledger_bytes = ledger_size(&d.geometry);
		return 1;
	}
	log_err(plan->log,
		"heap '%s' is kept, but its directory makes no sense; give the heap up with --discard-heaps",
		name);
	return -EUCLEAN;
}

int recover_find(struct store *store, const char *name, struct heap_plan *plan, struct heap_files *files)
{
	int fds[PARTS], r;
	unsigned n = parts_take(store, name, fds);

	r = check_ledger(fds[PART_LEDGER], name, plan->log);
	if (r > 0 && n < PARTS) {
		log_err(plan->log,
			"heap '%s': only %u of its %u memory files were kept; is the file descriptor store too "
			"small? Give the heap up with --discard-heaps",
			name, n, (unsigned)PARTS);
		r = -ENODATA;
	}
	if (r > 0)
		r = read_directory(fds[PART_DIRECTORY], name, plan);
	if (r == 0)
		parts_drop(store, name, fds);
	if (r < 0)
		parts_close(fds);
	if (r <= 0)
		return r;
	*files = (struct heap_files){ fds[PART_HEAP], fds[PART_DIRECTORY], fds[PART_CONTROL],
				      fds[PART_LEDGER] };
	plan->files = files;
	return 1;
}

static int put_parts(struct store *store, struct heap *heap)
{
	const int fds[PARTS] = { heap->heap_fd, heap->directory_fd, heap->control_fd, heap->ledger_fd };
	char name[STORE_NAME_MAX];
	int r = 0;

	for (unsigned i = 0; r == 0 && i < PARTS; i++) {
		part_name(heap->name, i, name);
		r = store_put(store, name, fds[i]);
	}
	return r;
}

int recover_store(struct store *store, struct heap *heap)
{
	int r = put_parts(store, heap);

	if (r == 0) {
		HEAPD_STORE_RELEASE(&heap->ledger->head->complete, 1);
		return 0;
	}
	log_err(heap->log, "heap '%s' cannot be stored: %s%s", heap->name, strerror(-r),
		r == -ENOSPC ? "; raise FileDescriptorStoreMax= and HEAPD_FDSTORE= of the unit" : "");
	return r;
}

int recover_lock(struct heap *heap)
{
	static const struct timespec moment = { .tv_nsec = 5000000 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	uint64_t end = clock_ns() + LOCK_PATIENCE_NS;

	while (fcntl(heap->ledger_fd, F_SETLK, &lock) < 0) {
		if (clock_ns() > end) {
			log_err(heap->log, "heap '%s' is served by another daemon: %s", heap->name,
				strerror(errno));
			return -EBUSY;
		}
		nanosleep(&moment, NULL);
	}
	punch_open(&heap->punch, heap->ledger_fd);
	return 0;
}

/*
 * One that was under way is void: the directory says IDLE, and barriers that are still on go off as their threads meet them. Last:
 * should we die before, the next one has to know how far it had come.
 */
static void cycle_end(struct heap *heap)
{
	struct heapd_cycle_words *cycle = &heap->t.directory->cycle;

	HEAPD_STORE_RELEASE(&cycle->now, heapd_now_make(heapd_now_cycle(cycle->now), HEAPD_PHASE_IDLE));
	HEAPD_STORE_RELEASE(&cycle->event, cycle->event + 1);
	futex_wake_all(&cycle->event);
}

int recover_run(struct heap *heap)
{
	int r = rebuild_run(heap);

	if (r == 0) {
		deads_restore(heap);
		cycle_end(heap);
	}
	if (r < 0)
		log_err(heap->log, "heap '%s' cannot be adopted: %s; it stays stored", heap->name,
			strerror(-r));
	return r;
}

void recover_tell(struct heap *heap, unsigned sessions, uint64_t ns)
{
	const struct journal_event event = {
		.id = EVENT_HEAP_ADOPTED, .heap = heap->name, .has_count = true, .count = sessions
	};
	struct log_limit limit = { .what = "heaps adopted" };

	HEAPD_COUNT(heap->t.directory->stats.adoptions, 1u);
	HEAPD_PROBE(adopted, heap->name, sessions, ns);
	log_event(heap->log, &limit, LOG_NOTICE, &event,
		  "heap '%s' adopted after restart: %u sessions, %" PRIu64 " MiB in spans, in %.1f ms",
		  heap->name, sessions, HEAPD_READ_ONCE(heap->t.directory->stats.in_spans) >> 20,
		  (double)ns / 1e6);
}
