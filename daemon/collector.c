/* SPDX-License-Identifier: MIT */
/*
 * Owns the collector's thread, and what the directory and the log say of cycles.
 *
 * A request is counted before its cycle begins and answered by `finished` after it has ended (collection.c), so who
 * waits for that number has seen a whole cycle pass. A void cycle finishes nothing: it is followed by another. A
 * heap at rest is not collected: the interval counts only if something was allocated, or somebody left, since.
 *
 * A death makes the cycle under way void: that would keep whatever only the dead one's roots hold, and with much of it
 * would take long. The cycle in its stead is not made void so, nor is one while cycles for deaths rest: who starts
 * processes that die all the time does not keep cycles from coming to their end.
 */
#include "collector.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "clock.h"
#include "cycle.h"
#include "events.h"
#include "heapd/probes.h"
#include "pacer.h"

#define SECOND_NS    UINT64_C(1000000000)
#define VOIDS_IN_ROW 8u                 /* then a rest, as long as the last one took, is between them, ... */
#define VOID_REST_NS UINT64_C(10000000) /* ... and no shorter than that */
/* Who held more than it could publish will hardly hold less at once, and each cycle interrupts every thread. */
#define CROWDED_REST_NS UINT64_C(100000000)
#define LINES           100u
#define LOW_PERCENT     90u /* of the limit, in live objects: programs are told */

struct collector {
	struct heap *heap;
	struct cycle cycle;
	pthread_t thread;
	uint64_t ended, took;             /* when the last cycle did, and after how long */
	uint64_t death_ended, death_took; /* of the last one that a death asked for */
	uint64_t live, left;              /* bytes that it marked, and that were allocated then */
	uint64_t rate;                    /* bytes that the heap grew by in a second before it */
	unsigned percent;                 /* of GCPercent=auto, now */
	uint64_t seen_slots; /* supplied, and sessions that had ended, as of the last cycle's begin */
	uint64_t seen_ends;
	bool for_death;  /* the cycle under way was asked for by a death, too */
	uint64_t cpu;    /* processor time of this thread in the last cycle */
	uint64_t deaths; /* that a cycle has come after */
	uint32_t voids;  /* in a row */
	struct log_limit lines, void_lines;
};

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* What is said of a cycle ----------------------------------------------------------------------------------------- */

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* heapd(8) explains the line. */
static void log_cycle(struct collector *c, const struct cycle_result *r, uint64_t goal)
{
	log_limited(
		c->heap->log, &c->lines, LOG_INFO,
		"heap '%s': gc %u (%s): %.1f ms: barrier %.2f + scan %.2f + roots %.2f + mark %.1f + sweep %.1f; "
		"%.1f -> %.1f MiB, %.1f live, %.1f held, goal %.1f; %" PRIu64
		" objects freed; %u clients, %" PRIu64
		" threads; longest pause %.0f us; %.1f ms of processor",
		c->heap->name, r->number, trigger_word(r->trigger), ms(r->total),
		ms(r->handshakes.barrier_ns + r->gather), ms(r->handshakes.scan_ns), ms(r->roots),
		ms(r->mark), ms(r->sweep), mib(r->before), mib(c->left), mib(r->marked.bytes),
		mib(r->swept.held_bytes), mib(goal), r->swept.freed_objects, r->sessions,
		r->handshakes.threads, (double)r->pause_max / 1e3, ms(c->cpu));
}

static const char *void_reason(int error)
{
	if (error == -EINTR)
		return "a client died";
	if (error == -EOVERFLOW)
		return "a client holds more than it can publish";
	return "a barrier ring ran full, memory was short, or could not be read";
}

static void log_void(struct collector *c, const struct cycle_result *r, int error)
{
	log_limited(c->heap->log, &c->void_lines, LOG_NOTICE,
		    "heap '%s': gc %u (%s) is void after %.1f ms: %s; it begins again", c->heap->name,
		    r->number, trigger_word(r->trigger), ms(r->total), void_reason(error));
}

/* Word by word: others may read it meanwhile, which are a thread of this process (status.c) and processes (cycletrace_read()). */
static void record_write(struct heapd_cycle_record *to, const struct heapd_cycle_record *record)
{
	uint64_t words[sizeof(*record) / 8], *place = (uint64_t *)(void *)to;

	memcpy(words, record, sizeof(words));
	HEAPD_STORE_RELEASE(&to->cycle, 0);
	HEAPD_FENCE(); /* whoever reads what follows sees the 0, too: pairs with those readers' fences */
	for (unsigned i = 1; i < sizeof(words) / 8; i++)
		HEAPD_WRITE_ONCE(place[i], words[i]);
	HEAPD_STORE_RELEASE(&to->cycle, record->cycle);
}

static void record(const struct collector *c, const struct cycle_result *r, bool is_void)
{
	const struct heapd_cycle_record record = {
		.cycle = r->number,
		.began = r->began,
		.trigger = (uint32_t)r->trigger,
		.is_void = is_void,
		.barrier = r->handshakes.barrier_ns,
		.gather = r->gather,
		.scan = r->handshakes.scan_ns,
		.roots = r->roots,
		.mark = r->mark,
		.sweep = r->sweep,
		.cpu = c->cpu,
		.before = r->before,
		.marked = r->marked.bytes,
		.marked_objects = r->marked.objects,
		.freed = r->swept.freed_bytes,
		.freed_objects = r->swept.freed_objects,
		.held = r->swept.held_bytes,
		.pause_max = r->pause_max,
		.pause_sum = r->pause_sum,
		.threads = (uint32_t)r->handshakes.threads,
		.sessions = r->sessions,
		.passes = r->passes,
		.stalls = (uint32_t)r->handshakes.stalls,
		.barrier_phase = r->barrier,
		.scan_phase = r->scan,
	};

	record_write(&c->heap->t.directory->cycles[r->number % HEAPD_CYCLES_KEPT], &record);
}

static void count(struct heap *heap, const struct cycle_result *r, uint64_t cpu)
{
	struct heapd_stats *stats = &heap->t.directory->stats;

	HEAPD_WRITE_ONCE(stats->gc_live, r->marked.bytes);
	HEAPD_WRITE_ONCE(stats->gc_live_objects, r->marked.objects);
	HEAPD_WRITE_ONCE(stats->gc_foreign, r->marked.foreign);
	HEAPD_COUNT(stats->gc_cycles[r->trigger], 1u);
	HEAPD_COUNT(stats->gc_freed, r->swept.freed_bytes);
	HEAPD_COUNT(stats->gc_freed_objects, r->swept.freed_objects);
	HEAPD_COUNT(stats->gc_early_frees, r->early);
	HEAPD_COUNT(stats->gc_weak_cleared, r->weak_cleared);
	HEAPD_COUNT(stats->gc_dead_queued, r->dead_queued);
	HEAPD_COUNT(stats->gc_ns, r->total);
	HEAPD_COUNT(stats->gc_cpu_ns, cpu);
}

/* What follows from a cycle --------------------------------------------------------------------------------------- */

static uint64_t growth_rate(const struct collector *c, const struct cycle_result *r, uint64_t begin)
{
	uint64_t grown = r->before > c->left ? r->before - c->left : 0, ns = begin - c->ended;

	return ns ? (uint64_t)((double)grown * 1e9 / (double)ns) : 0;
}

static uint64_t limit_in_force(const struct collector *c, const struct collection_settings *settings)
{
	uint64_t limit = heap_limit(c->heap);

	return settings->memory_limit && settings->memory_limit < limit ? settings->memory_limit : limit;
}

static unsigned percent_in_force(const struct collector *c, const struct collection_settings *settings)
{
	return settings->percent == CONFIG_PERCENT_AUTO ? c->percent : settings->percent;
}

static struct pace plan(const struct collector *c, const struct collection_settings *settings)
{
	struct pace_input input = {
		.live = c->live,
		.left = c->left,
		.limit = limit_in_force(c, settings),
		.percent = percent_in_force(c, settings),
		.rate = c->rate,
		.cycle_ns = c->took,
	};

	return pacer_plan(&input);
}

/*
 * After a cycle, before `ended` is that of this one. One that somebody asked for says nothing of how often the heap makes one
 * necessary.
 */
static void adapt_percent(struct collector *c, enum trigger trigger, uint64_t ended)
{
	struct collection_settings settings = collection_settings(c->heap);
	const struct pace_load load = {
		.percent = c->percent,
		.live = c->live,
		.limit = limit_in_force(c, &settings),
		.cycle_ns = c->took,
		.period_ns = ended - c->ended,
	};

	if (settings.percent != CONFIG_PERCENT_AUTO)
		c->percent = PACER_AUTO_LEAST;
	else if (trigger == TRIGGER_HEAP || trigger == TRIGGER_LIMIT || trigger == TRIGGER_INTERVAL)
		c->percent = pacer_auto(&load);
}

static bool room_is_low(const struct collector *c)
{
	struct collection_settings settings = collection_settings(c->heap);

	return c->live > limit_in_force(c, &settings) / 100 * LOW_PERCENT;
}

/* After a cycle, and when settings or limit may have changed. */
static void set_pace(const struct collector *c)
{
	struct heapd_stats *stats = &c->heap->t.directory->stats;
	struct collection_settings settings = collection_settings(c->heap);
	struct pace pace = plan(c, &settings);

	HEAPD_WRITE_ONCE(stats->gc_percent, percent_in_force(c, &settings));
	HEAPD_WRITE_ONCE(stats->gc_goal, pace.goal);
	HEAPD_WRITE_ONCE(stats->gc_trigger, pace.trigger);
	atomic_store_explicit(&c->heap->collection->trigger_bytes, pace.trigger, memory_order_relaxed);
}

/* Whoever waits for the number finds it, then is woken. */
static void finish(struct heap *heap, uint32_t number)
{
	struct heapd_cycle_words *words = &heap->t.directory->cycle;
	struct collection *collection = heap->collection;

	HEAPD_STORE_RELEASE(&collection->whole, number);
	pthread_mutex_lock(&collection->mutex);
	collection->finished = collection->begun;
	HEAPD_STORE_RELEASE(&words->finished, collection->finished);
	pthread_mutex_unlock(&collection->mutex);
	HEAPD_STORE_RELEASE(&words->event, words->event + 1);
	futex_wake_all(&words->event);
}

static void note_foreign(struct collector *c)
{
	struct collection *collection = c->heap->collection;

	pthread_mutex_lock(&collection->mutex);
	fields_copy(&collection->fields, marker_foreign_all(c->cycle.marker));
	pthread_mutex_unlock(&collection->mutex);
	fields_tell(&collection->fields, c->heap);
}

/* Which of the freed objects were the dead's alone nobody can tell: these are all that the first cycle since freed. */
static void receipt(struct collector *c, const struct cycle_result *r, uint64_t deaths)
{
	struct heapd_stats *stats = &c->heap->t.directory->stats;
	uint64_t n = deaths - c->deaths;

	c->deaths = deaths;
	if (!n)
		return;
	HEAPD_COUNT(stats->receipts, 1u);
	HEAPD_COUNT(stats->receipt_deaths, n);
	HEAPD_COUNT(stats->receipt_bytes, r->swept.freed_bytes);
	HEAPD_COUNT(stats->receipt_objects, r->swept.freed_objects);
	HEAPD_PROBE(receipt, c->heap->name, n, r->swept.freed_bytes, r->swept.freed_objects, r->total);
}

/*
 * While a cycle runs its heap is beyond the trigger that it began by, or beyond one that a request outran. That is
 * no reason for another: what was asked for meanwhile is forgotten, and the next trigger is set by what is left.
 */
static void forget_pace(struct heap *heap)
{
	struct collection *collection = heap->collection;

	atomic_store_explicit(&collection->trigger_bytes, UINT64_MAX, memory_order_relaxed);
	pthread_mutex_lock(&collection->mutex);
	collection->wanted &= ~(1u << TRIGGER_HEAP);
	pthread_mutex_unlock(&collection->mutex);
}

static void run(struct collector *c, enum trigger trigger)
{
	struct heap *heap = c->heap;
	const struct cycle_result *result = &c->cycle.result;
	uint64_t begin = clock_ns(), cpu = cpu_ns(),
		 deaths = HEAPD_READ_ONCE(heap->t.directory->stats.deaths);
	int r;

	c->seen_slots = HEAPD_READ_ONCE(heap->t.directory->stats.supplied_slots);
	c->seen_ends = HEAPD_READ_ONCE(heap->t.directory->stats.sessions_ever) -
		       HEAPD_READ_ONCE(heap->t.directory->stats.sessions);
	forget_pace(heap);
	c->cycle.death_from = c->voids ? UINT64_MAX : c->death_ended + pacer_death_rest_ns(c->death_took);
	r = cycle_run(&c->cycle, trigger);
	c->cpu = cpu_ns() - cpu;
	if (r < 0) {
		c->voids++;
		HEAPD_COUNT(heap->t.directory->stats.gc_voids, 1u);
		record(c, result, true);
		if (r != -ECANCELED)
			log_void(c, result, r);
		c->ended = clock_ns();
		return;
	}
	c->voids = 0;
	c->rate = growth_rate(c, result, begin);
	c->live = result->marked.bytes;
	c->took = result->total;
	c->left = cycle_allocated(heap);
	adapt_percent(c, trigger, clock_ns());
	c->ended = clock_ns();
	if (c->for_death) {
		c->death_ended = c->ended;
		c->death_took = c->took;
	}
	forget_pace(heap); /* the supplier may have read the trigger just before */
	set_pace(c);
	count(heap, result, c->cpu);
	record(c, result, false);
	note_foreign(c);
	log_cycle(c, result, heap->t.directory->stats.gc_goal);
	receipt(c, result, deaths);
	finish(heap, result->number);
	events_cycle(heap, room_is_low(c));
	audit_cycle_ended(heap);
}

/* Waiting for a reason -------------------------------------------------------------------------------------------- */

static bool has_changed(const struct collector *c)
{
	const struct heapd_stats *stats = &c->heap->t.directory->stats;

	return HEAPD_READ_ONCE(stats->supplied_slots) != c->seen_slots ||
	       HEAPD_READ_ONCE(stats->sessions_ever) - HEAPD_READ_ONCE(stats->sessions) != c->seen_ends;
}

/* With the mutex held. The reason to begin now, or TRIGGERS; *until: when to look again. */
static enum trigger reason(struct collector *c, uint64_t *until)
{
	struct collection *collection = c->heap->collection;
	uint64_t now = clock_ns(), interval = collection->settings.interval * SECOND_NS,
		 rest = pacer_death_rest_ns(c->death_took);
	uint32_t wanted = collection->wanted;

	*until = UINT64_MAX;
	if (!collection_is_on(c->heap))
		return TRIGGERS;
	if (c->heap->t.directory->cycle.debug & HEAPD_DEBUG_STRESS)
		wanted |= 1u << TRIGGER_STRESS;
	if (wanted & 1u << TRIGGER_DEATH && now - c->death_ended < rest) {
		wanted &= ~(1u << TRIGGER_DEATH);
		*until = c->death_ended + rest;
	}
	if (wanted)
		return (enum trigger)__builtin_ctz(wanted);
	if (!interval)
		return TRIGGERS;
	if (now - c->ended >= interval && has_changed(c))
		return TRIGGER_INTERVAL;
	if (c->ended + interval > now && c->ended + interval < *until)
		*until = c->ended + interval;
	else if (now - c->ended >= interval && now + interval < *until)
		*until = now + interval;
	return TRIGGERS;
}

static void wait_until(struct collection *collection, uint64_t until)
{
	struct timespec t = { (time_t)(until / SECOND_NS), (long)(until % SECOND_NS) };

	if (until == UINT64_MAX)
		pthread_cond_wait(&collection->cond, &collection->mutex);
	else
		pthread_cond_timedwait(&collection->cond, &collection->mutex, &t);
}

/*
 * With the mutex held. The cycle that takes a void one's place has its number, and so answers whoever asked before that began;
 * who asked while that ran was promised a higher one, which it has then: it begins after them all.
 */
static void begin_next(struct collector *c)
{
	struct collection *collection = c->heap->collection;

	c->for_death = collection->wanted & 1u << TRIGGER_DEATH;
	if (!c->voids || collection->wanted)
		collection->begun++;
	collection->wanted = 0;
}

/* TRIGGERS: the heap is to end. */
static enum trigger next(struct collector *c)
{
	struct collection *collection = c->heap->collection;
	enum trigger trigger = TRIGGERS;
	uint64_t until;

	pthread_mutex_lock(&collection->mutex);
	while (!collection->stop) {
		trigger = c->voids && collection_is_on(c->heap) ? TRIGGER_VOID : reason(c, &until);
		if (trigger != TRIGGERS)
			break;
		/* Also what changed while a cycle ran, after its end was planned with. */
		if (!collection->changed)
			wait_until(collection, until);
		if (!collection->changed)
			continue;
		collection->changed = false;
		pthread_mutex_unlock(&collection->mutex);
		if (!collection_is_on(c->heap))
			stall_end(&c->cycle.crowded, c->heap); /* no cycle waits for anybody */
		set_pace(c);
		pthread_mutex_lock(&collection->mutex);
	}
	if (collection->stop)
		trigger = TRIGGERS;
	else
		begin_next(c);
	pthread_mutex_unlock(&collection->mutex);
	return trigger;
}

static void rest_from_voids(const struct collector *c)
{
	uint64_t ns = c->cycle.result.total < SECOND_NS / 2 ? c->cycle.result.total : SECOND_NS / 2;

	/* Where memory for our own tables is short for long, cycles end as they begin. */
	if (ns < VOID_REST_NS)
		ns = VOID_REST_NS;
	if (c->cycle.crowded.begin)
		ns = CROWDED_REST_NS;
	if (c->voids > VOIDS_IN_ROW)
		nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
}

static void *collect(void *arg)
{
	struct collector *c = arg;
	enum trigger trigger;

	/* While a cycle lasts each store of a pointer costs more: the sooner it is over, the better for who is let wait. */
	setpriority(PRIO_PROCESS, 0, MARKER_NICE);
	while ((trigger = next(c)) != TRIGGERS) {
		beat_begin(&c->heap->collection_beat);
		run(c, trigger);
		beat_rest(&c->heap->collection_beat);
		rest_from_voids(c);
	}
	return NULL;
}

static int thread_start(struct collector *c)
{
	sigset_t all, before;
	char name[16];
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* bus.h */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&c->thread, NULL, collect, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	snprintf(name, sizeof(name), "gc:%.11s", c->heap->name);
	pthread_setname_np(c->thread, name);
	return 0;
}

int collector_start(struct heap *heap, unsigned marker_threads)
{
	struct collector *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->heap = heap;
	c->percent = PACER_AUTO_LEAST;
	c->ended = clock_ns();
	c->lines = (struct log_limit){ .what = "collections", .burst = LINES };
	c->void_lines.what = "void collections";
	r = cycle_init(&c->cycle, heap, marker_threads);
	if (r < 0)
		goto out_free;
	if (handshake_possible() < 0 && collection_is_on(heap))
		log_err(heap->log,
			"heap '%s': this kernel has no membarrier(): no collection is possible (GCPercent=off)",
			heap->name);
	set_pace(c);
	heap->collector = c;
	r = thread_start(c);
	if (r == 0)
		return 0;
	heap->collector = NULL;
	cycle_deinit(&c->cycle);
out_free:
	free(c);
	return r;
}

void collector_stop(struct heap *heap)
{
	struct collector *c = heap->collector;

	if (!c)
		return;
	pthread_mutex_lock(&heap->collection->mutex);
	HEAPD_WRITE_ONCE(heap->collection->stop, true);
	pthread_cond_broadcast(&heap->collection->cond);
	pthread_mutex_unlock(&heap->collection->mutex);
	pthread_join(c->thread, NULL);
	log_limit_flush(heap->log, &c->lines, LOG_INFO);
	log_limit_flush(heap->log, &c->void_lines, LOG_NOTICE);
	cycle_deinit(&c->cycle);
	free(c);
	heap->collector = NULL;
}
