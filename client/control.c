/* SPDX-License-Identifier: MIT */
/*
 * What a program can ask of its heap: figures, which stand in shared memory and trouble nobody, and
 * settings, collection, verification and paths, which are messages.
 *
 * A collection is waited for without a message: the daemon's answer names the count of finished cycles that
 * is to be reached, and the directory has that count, and a futex that changes after it. The thread is
 * offline meanwhile, so it does not hold up what it waits for.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "heapd/message.h"
#include "heapd/session.h"
#include "reconnect.h"
#include "report.h"
#include "stack.h"
#include "thread.h"

#define SYNC_TRIES 16u

#define COLLECT_STEP_NS (50 * CLOCK_MS) /* between two looks whether the daemon is still there */

/* What stands in the caller's structure, cut to the size that it says it has. */
static int sized_copy(void *to, const void *from, size_t known, const char *call)
{
	size_t size;

	if (!to)
		return error_set(EINVAL, "%s: no place for the result: give the address of a structure",
				 call);
	memcpy(&size, to, sizeof(size));
	if (size < sizeof(size))
		return error_set(EINVAL, "%s: the structure's size is not set: use HEAPD_SIZED()", call);
	memcpy((char *)to + sizeof(size), (const char *)from + sizeof(size),
	       (size < known ? size : known) - sizeof(size));
	return 0;
}

/* Counted by the clients, on their slow paths; the daemon adds what it found itself. */
static void info_counters(const struct heapd_heap *heap, struct heapd_info *info)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;

	info->double_frees = HEAPD_READ_ONCE(stats->double_frees);
	info->overwrites = HEAPD_READ_ONCE(stats->overwrites);
	/* Who only reads has not what they count in: the daemon has added it up. */
	if (heap->read_only) {
		info->double_frees += HEAPD_READ_ONCE(stats->client_double_frees);
		info->bad_frees = HEAPD_READ_ONCE(stats->client_bad_frees);
		info->overwrites += HEAPD_READ_ONCE(stats->client_overwrites);
		return;
	}
	for (uint64_t i = 0; i < heap->t.cpus; i++) {
		info->double_frees += HEAPD_READ_ONCE(heap->t.counters[i].double_frees);
		info->bad_frees += HEAPD_READ_ONCE(heap->t.counters[i].bad_frees);
		info->overwrites += HEAPD_READ_ONCE(heap->t.counters[i].overwrites);
	}
}

static void info_collections(const struct heapd_directory *d, struct heapd_info *info)
{
	info->gc_cycles = HEAPD_LOAD_ACQUIRE(&d->cycle.finished);
	info->gc_live = HEAPD_READ_ONCE(d->stats.gc_live);
	info->gc_live_objects = HEAPD_READ_ONCE(d->stats.gc_live_objects);
	info->gc_goal = HEAPD_READ_ONCE(d->stats.gc_goal);
	info->gc_freed = HEAPD_READ_ONCE(d->stats.gc_freed);
	info->gc_freed_objects = HEAPD_READ_ONCE(d->stats.gc_freed_objects);
	info->gc_ns = HEAPD_READ_ONCE(d->stats.gc_ns);
	info->gc_pause_max_ns = HEAPD_READ_ONCE(d->stats.gc_pause_max);
}

static void info_own(const struct heapd_heap *heap, struct heapd_info *info)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->session->nthreads);

	for (uint32_t i = 0; i < n && i < HEAPD_THREAD_MAX; i++) {
		const struct heapd_thread *thread = &heap->threads[i];
		uint64_t longest = HEAPD_READ_ONCE(thread->pause_max_ns);

		info->pauses += HEAPD_READ_ONCE(thread->pauses);
		info->pause_ns += HEAPD_READ_ONCE(thread->pause_ns);
		info->barrier_slow += HEAPD_READ_ONCE(thread->barrier_slow);
		info->wait_ns += HEAPD_READ_ONCE(thread->wait_ns);
		if (longest > info->pause_max_ns)
			info->pause_max_ns = longest;
	}
}

int heapd_get_info(heapd_heap *heap, struct heapd_info *info)
{
	if (!thread_self(heap))
		return -errno;
	const struct heapd_directory *d = heap->t.directory;
	struct heapd_info now = {
		.base = heap->t.base,
		.heap_size = heap->t.size,
		.limit = HEAPD_READ_ONCE(d->stats.limit),
		.committed = HEAPD_READ_ONCE(d->stats.committed),
		.in_spans = HEAPD_READ_ONCE(d->stats.in_spans),
		.out = HEAPD_READ_ONCE(d->stats.out),
		.in_rings = HEAPD_READ_ONCE(d->stats.in_rings),
		.session = heap->session_id,
		.sessions = HEAPD_READ_ONCE(d->stats.sessions),
		.deaths = HEAPD_READ_ONCE(d->stats.deaths),
		.path = heap->path,
		.huge = d->huge,
		.cpus = (uint32_t)heap->t.cpus,
		.collecting = HEAPD_READ_ONCE(d->cycle.collecting),
		.read_only = heap->read_only,
		.daemon_away = atomic_load(&heap->away),
	};

	memcpy(now.name, heap->name, sizeof(now.name));
	info_counters(heap, &now);
	info_own(heap, &now);
	info_collections(d, &now);
	return sized_copy(info, &now, sizeof(now), "heapd_get_info");
}

static int setting_key(struct heapd_message *m, const char *key)
{
	if (!key || strnlen(key, sizeof(m->setting.key)) >= sizeof(m->setting.key))
		return error_set(ENOENT, "there is no setting '%.64s': see heapd_get(3) for their names",
				 key ? key : "");
	strncpy(m->setting.key, key, sizeof(m->setting.key) - 1);
	return 0;
}

int heapd_get(heapd_heap *heap, const char *key, char *value, size_t size)
{
	struct heapd_message m = { .op = HEAPD_OP_GET };
	int r = thread_self(heap) ? setting_key(&m, key) : -errno;

	if (r >= 0)
		r = request_call(heap, &m, NULL, NULL);
	if (r < 0)
		return r;
	m.setting.value[sizeof(m.setting.value) - 1] = 0;
	if (!value || size <= strlen(m.setting.value))
		return error_set(ERANGE, "setting '%s' does not fit: give room for %zu bytes", key,
				 strlen(m.setting.value) + 1);
	strcpy(value, m.setting.value);
	return 0;
}

int heapd_set(heapd_heap *heap, const char *key, const char *value)
{
	struct heapd_message m = { .op = HEAPD_OP_SET };
	int r = thread_self(heap) ? setting_key(&m, key) : -errno;

	if (r < 0)
		return r;
	if (!value || strnlen(value, sizeof(m.setting.value)) >= sizeof(m.setting.value))
		return error_set(EINVAL, "setting '%s': the value is too long: give at most %zu bytes", key,
				 sizeof(m.setting.value) - 1);
	strncpy(m.setting.value, value, sizeof(m.setting.value) - 1);
	return request_call(heap, &m, NULL, NULL);
}

/* What is waited for: the count that says it is over, the daemon that said so, and how long. */
struct awaited {
	uint64_t finished, deadline;
	uint32_t epoch;
};

static int collect_ask(struct heapd_heap *heap, struct awaited *awaited)
{
	struct heapd_message m = { .op = HEAPD_OP_COLLECT };
	int r;

	/* First: of no heap nothing can be read. */
	if (!thread_self(heap))
		return -errno;
	awaited->epoch = atomic_load(&heap->epoch);
	r = request_call(heap, &m, NULL, NULL);
	awaited->finished = m.collect.finished;
	return r;
}

static void event_wait(const uint32_t *event, uint32_t seen, uint64_t left)
{
	struct timespec t = clock_timespec(left < COLLECT_STEP_NS ? left : COLLECT_STEP_NS);

	syscall(SYS_futex, event, FUTEX_WAIT, seen, &t, NULL, 0);
}

/* The daemon is away for longer than may be waited for. */
static bool is_given_up(const struct heapd_heap *heap)
{
	if (!atomic_load(&heap->away))
		return false;
	return !reconnect_may_wait(heap) ||
	       clock_now() - atomic_load(&heap->away_since) > heap->request_timeout_ns;
}

/*
 * The event is read before the count: if it has not changed since, neither has the count. 1: another daemon is there, which
 * knows nothing of the wish.
 */
static int collect_wait(struct heapd_heap *heap, const struct awaited *awaited)
{
	const struct heapd_cycle_words *cycle = &heap->t.directory->cycle;

	while (!is_given_up(heap)) {
		uint64_t now = clock_now();
		uint32_t event = HEAPD_LOAD_ACQUIRE(&cycle->event);
		if (HEAPD_LOAD_ACQUIRE(&cycle->finished) >= awaited->finished)
			return 0;
		if (atomic_load(&heap->epoch) != awaited->epoch)
			return 1;
		if (!HEAPD_READ_ONCE(cycle->collecting))
			return error_set(EOPNOTSUPP,
					 "heap '%s': collection was switched off meanwhile: set gc.percent",
					 heap->name);
		if (now >= awaited->deadline)
			return -ETIMEDOUT;
		event_wait(&cycle->event, event, awaited->deadline - now);
	}
	if (HEAPD_LOAD_ACQUIRE(&cycle->finished) >= awaited->finished)
		return 0;
	report_away(heap);
	return error_set(
		EAGAIN,
		"the daemon of heap '%s' went away before the collection was over: ask again when it is back",
		heap->name);
}

/* Offline meanwhile, so that this thread does not hold up what it waits for. */
static int collect_wait_offline(struct heapd_heap *heap, const struct awaited *awaited)
{
	bool was_offline = !heapd_self;
	int r;

	if (!was_offline)
		heapd_thread_offline(heap);
	r = collect_wait(heap, awaited);
	if (!was_offline)
		heapd_thread_online(heap);
	return r;
}

int collect_within(struct heapd_heap *heap, uint64_t deadline)
{
	struct awaited awaited = { .deadline = deadline };
	int r;

	do {
		r = collect_ask(heap, &awaited);
		if (r >= 0)
			r = collect_wait_offline(heap, &awaited);
	} while (r > 0);
	return r;
}

int heapd_collect(heapd_heap *heap)
{
	stack_clear();
	return collect_within(heap, CLOCK_NEVER);
}

int heapd_collect_start(heapd_heap *heap)
{
	struct awaited awaited;

	return collect_ask(heap, &awaited);
}

/* While a cycle is under way nothing is taken back: then once more after it. */
int heapd_sync(heapd_heap *heap)
{
	if (!thread_self(heap))
		return -errno;
	for (unsigned i = 0; i < SYNC_TRIES; i++) {
		struct heapd_message m = { .op = HEAPD_OP_SYNC };
		struct awaited awaited = { .deadline = CLOCK_NEVER, .epoch = atomic_load(&heap->epoch) };
		int r = request_call(heap, &m, NULL, NULL);

		if (r < 0 || !m.collect.finished)
			return r;
		awaited.finished = m.collect.finished;
		r = collect_wait_offline(heap, &awaited);
		if (r < 0)
			return r;
	}
	return error_set(EAGAIN, "heap '%s': one collection follows another: try again", heap->name);
}

int heapd_verify(heapd_heap *heap, struct heapd_verify_result *result)
{
	struct heapd_message m = { .op = HEAPD_OP_VERIFY };
	int r = thread_self(heap) ? request_call(heap, &m, NULL, NULL) : -errno;

	if (r < 0)
		return r;
	struct heapd_verify_result found = {
		.faults = m.verify.faults,
		.pages = m.verify.pages,
		.spans = m.verify.spans,
		.slabs = m.verify.slabs,
		.out = m.verify.out,
		.in_rings = m.verify.in_rings,
		.in_currents = m.verify.in_currents,
		.in_spares = m.verify.in_spares,
		.freed_pending = m.verify.freed_pending,
		.allocated = m.verify.allocated,
		.reachable = m.verify.reachable,
		.reachable_objects = m.verify.reachable_objects,
		.dangling = m.verify.dangling,
	};
	memcpy(found.first, m.verify.first, sizeof(found.first));
	found.first[sizeof(found.first) - 1] = 0;
	memcpy(found.dangling_first, m.verify.dangling_first, sizeof(found.dangling_first));
	found.dangling_first[sizeof(found.dangling_first) - 1] = 0;
	r = result ? sized_copy(result, &found, sizeof(found), "heapd_verify") : 0;
	return r < 0 ? r : found.faults != 0;
}

int heapd_path_to(heapd_heap *heap, const void *object, char *text, size_t size)
{
	struct heapd_message m = { .op = HEAPD_OP_PATH };

	if (!thread_self(heap))
		return -errno;
	if (!text || !size)
		return error_set(EINVAL, "heapd_path_to: no room for the path: give some bytes");
	m.address = (uint64_t)(uintptr_t)object;
	int r = request_call(heap, &m, NULL, NULL);
	if (r < 0)
		return r;
	int n = snprintf(text, size, "%.*s", (int)sizeof(m.path) - 1, m.path);
	return (size_t)n < size ? n : (int)size - 1;
}
