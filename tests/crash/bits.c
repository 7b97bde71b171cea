/* SPDX-License-Identifier: MIT */
/*
 * Every bit that a client can write: bits [--most N] [--group N] [--verify N] [--heap NAME] [--from WORD]
 *
 * For each of three heaps (nothing collected; collected; collected back to back) a client that is nothing but the protocol
 * flips the bits of control and of its session, then puts evil values into whole words. With each change in place the daemon supplies
 * and harvests, collects from the first step to the last, and verifies (--verify 7: at each seventh, where a verification takes long).
 * It answers within a bound, or says that it waits for this client, and goes on when the change is taken back; it lives, and another
 * heap's witness and verification know nothing of it. With the words that clients hold slabs by cleared, the heap itself is clean:
 * the daemon's truth was never theirs.
 *
 * One at a time where the word lies in a session or holds something. Of the others it is noted which a daemon loads that is made
 * to do the same with nothing amiss: of those the same bit is flipped in FEW at a time, far from each other, and each value put into
 * as many; of those that nobody looks at, as far as was seen, in GROUP at a time (--group 1: each by itself, which is a night's work).
 * So no bit is left out, which is checked. With --most nothing is looked at before, and so many in 64 of all are drawn.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "hostile.h"
#include "loaded.h"
#include "scene.h"

#define ROUND   64u /* changes between two verifications */
#define EVILS   8u  /* values that take a word's place */
#define STEPS   (64u + EVILS)
#define STUDIED 1024u /* changes that are none, while it is noted what the daemon loads */
#define HEAPS   3u
#define ALIVE   32u  /* objects at least, of the 60 or so that the root leads to */
#define GROUP   512u /* words that nobody loads, changed at once */
#define FEW     8u   /* words that are loaded and hold nothing, changed at once, each ... */
#define STRIDE  64u  /* ... so many such words from the next */

/* What an attacker has done, and leaves to the next one when it is killed. */
struct tally {
	uint64_t bits, words, rounds, faults, dropped, stalls, works;
	uint64_t filled, unfilled,
		lively;                /* times that it was, that it failed, and changes that met objects */
	uint64_t alone, few, together; /* words, by themselves, in small groups, and in large ones */
	uint64_t place, step;          /* words begun with, and changes of the last one that are done */
};

/* Offsets into control. */
struct group {
	uint64_t at[GROUP], before[GROUP];
	unsigned n;
};

struct run {
	struct fixture fixture;
	struct scene scene; /* of the other heap */
	struct tally *tally;
	pid_t witness;
	uint64_t seed, progress, place;
	uint64_t evictions;
	bool stalled; /* the change that is made holds up collection */
	unsigned most, most_grouped, verify;
	uint64_t nfew;
	uint64_t reachable; /* objects, as of the last verification */
	struct group group, few[STRIDE];
	uint64_t from;
	const char *only;
	unsigned index;        /* of the heap */
	struct loads loads;    /* the daemon's, as it is studied */
	struct loaded *loaded; /* of each heap */
};

static const char *const heaps[HEAPS] = { "plain", "collected", "stress" };

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* What lies in the heap: objects of all sizes behind a named root, some of them freed. ------------------------------- */

static void fill_sizes(heapd_heap *heap, struct node **table)
{
	for (unsigned i = 0; i < 400; i++) {
		void *p = heapd_alloc(heap, 16u << (i % 12));

		if (p && i % 3 == 0)
			heapd_free(p);
		else if (p)
			heapd_store(&table[i % 64], p);
	}
}

static int failed(void)
{
	fprintf(stderr, "%s\n", heapd_error());
	return 1;
}

static int fill(void *name)
{
	heapd_heap *heap;
	struct node **table;

	if (heapd_attach(&heap, name, NULL) < 0)
		return failed();
	table = heapd_alloc(heap, 64 * sizeof(*table));
	if (!table || heapd_root_set(heap, "table", table) < 0)
		return failed();
	fill_sizes(heap, table);
	if (!heapd_weak_new(heap, table) || !heapd_alloc(heap, 100000))
		return failed();
	return heapd_detach(heap) < 0 ? failed() : 0;
}

/* What the daemon is made to do ---------------------------------------------------------------------------------------- */

static void daemon_lives(const struct run *run)
{
	char path[64], state = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", run->fixture.daemon);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1 || state == 'Z')
		errx(1, "the daemon has ended");
	fclose(file);
}

/* The reply's status. A client whose session makes no sense may be sent away: it comes again. */
static int ask(struct run *run, struct hostile *h, struct heapd_message *m)
{
	uint64_t begin = fixture_now_ns();
	int r = fixture_call(h->socket, m, NULL);

	hostile_bound_set(h, fixture_now_ns() - begin);
	if (r < 0)
		daemon_lives(run);
	if (r == -EAGAIN)
		errx(1, "heap %s: no answer to request %u in the time allowed; --from %" PRIu64, h->name,
		     m->op, run->tally->place);
	if (r == -ECONNRESET) {
		run->tally->dropped++;
		hostile_leave(h);
		hostile_attach(h, &run->fixture);
	}
	return r < 0 ? r : m->status;
}

/* The bytes of the whole heap are looked at, with what is changed still changed: what it tells of is the attacker's. */
static void verify_whole(struct run *run, struct hostile *h)
{
	struct heapd_message m = { .op = HEAPD_OP_VERIFY };

	run->tally->rounds++;
	if (ask(run, h, &m) != 0)
		return;
	run->tally->faults += m.verify.faults != 0;
	run->reachable = m.verify.reachable_objects;
}

/*
 * Who can write frees what it likes, the root's object, too: then there would be nothing to mark. A client that believes what stands in
 * the heap may come to harm by what the attacker has left there, and is tried again after the next round.
 */
static void fill_anew(struct run *run, const struct hostile *h)
{
	pid_t pid = fixture_client_fork(fill, (void *)(uintptr_t)h->name);
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(1, "waitpid");
	if (status == 0)
		run->tally->filled++;
	else
		run->tally->unfilled++;
}

static bool collects(const struct hostile *h)
{
	return strcmp(h->name, "plain") != 0;
}

/* Until so many have come to their end, or, where `stalls` is not NULL, the daemon has said once more for whom it waits. */
static void await_finished(const struct run *run, const struct hostile *h, uint64_t finished,
			   const uint64_t *stalls)
{
	const struct heapd_cycle_words *cycle = &h->tables.directory->cycle;
	uint64_t told = stalls ? HEAPD_READ_ONCE(*stalls) : 0;
	uint64_t end = fixture_now_ns() + HOSTILE_BOUND_S * UINT64_C(1000000000);

	while (HEAPD_LOAD_ACQUIRE(&cycle->finished) < finished &&
	       (!stalls || HEAPD_READ_ONCE(*stalls) == told)) {
		if (fixture_now_ns() > end)
			errx(1, "heap %s: a collection does not end; --from %" PRIu64, h->name,
			     run->tally->place);
		usleep(20);
	}
}

/*
 * A collection that begins after this, from its first step to its last. Or it cannot end: what was changed says of a thread that it
 * is in the midst of something, or holds more than there is room for, and the daemon says so.
 */
static void collect_whole(struct run *run, struct hostile *h)
{
	const uint64_t *stalls = &h->tables.directory->stats.gc_stalls;
	struct heapd_message m = { .op = HEAPD_OP_COLLECT };

	m.collect.finished = HEAPD_READ_ONCE(h->tables.directory->cycle.finished) + 2;
	if (!collects(h) || (strcmp(h->name, "stress") != 0 && ask(run, h, &m) != 0))
		return;
	await_finished(run, h, m.collect.finished, stalls);
	run->stalled = HEAPD_LOAD_ACQUIRE(&h->tables.directory->cycle.finished) < m.collect.finished;
	run->tally->stalls += run->stalled;
}

/* What held it up has been taken back. */
static void go_on(struct run *run, const struct hostile *h)
{
	if (run->stalled)
		await_finished(run, h, HEAPD_READ_ONCE(h->tables.directory->cycle.finished) + 1, NULL);
	run->stalled = false;
}

/* All that the daemon does to a heap, over when this returns. */
static void work(struct run *run, struct hostile *h, uint64_t n)
{
	struct heapd_message m = { .op = HEAPD_OP_SYNC };
	struct heapd_control *control = h->tables.control;

	__atomic_fetch_or(&control->demand[n % 3], 1ull << (n / 3 % 64), __ATOMIC_RELAXED);
	h->session->handback = 1;
	ask(run, h, &m);
	collect_whole(run, h);
	run->tally->lively += run->reachable >= ALIVE;
	if (++run->tally->works % run->verify == 0)
		verify_whole(run, h);
}

static void round_end(struct run *run, struct hostile *h)
{
	uint64_t end = fixture_now_ns() + HOSTILE_BOUND_S * UINT64_C(1000000000);

	verify_whole(run, h);
	if (run->reachable < ALIVE)
		fill_anew(run, h);
	while (run->scene.board->progress == run->progress && !*run->scene.board->wrong)
		if (fixture_now_ns() > end)
			errx(1, "the other heap's witness does not go on");
		else
			usleep(100);
	if (*run->scene.board->wrong)
		errx(1, "the other heap: %s", run->scene.board->wrong);
	run->progress = run->scene.board->progress;
	if (run->tally->rounds % 8 == 0 && fixture_verify(&run->fixture, FIXTURE_HEAP) != 0)
		errx(1, "the other heap is not clean");
}

/* The words ------------------------------------------------------------------------------------------------------------ */

/* A word at offset `at` of control or session. */
struct word {
	bool session;
	uint64_t at;
};

/* Where it lies, which may change with each request: who is sent away comes again, with another session. */
static uint64_t *word_of(const struct hostile *h, struct word w)
{
	char *memory = w.session ? (char *)h->session : (char *)h->control;

	return (uint64_t *)(void *)(memory + w.at);
}

/* False: what was changed was a session's that is no more. */
static bool seen_at_work(struct run *run, struct hostile *h, struct word w, uint64_t n)
{
	uint64_t dropped = run->tally->dropped;

	work(run, h, n);
	return !w.session || dropped == run->tally->dropped;
}

static void flip(struct run *run, struct hostile *h, struct word w, unsigned bit)
{
	__atomic_fetch_xor(word_of(h, w), 1ull << bit, __ATOMIC_SEQ_CST);
	if (seen_at_work(run, h, w, run->tally->bits++))
		__atomic_fetch_xor(word_of(h, w), 1ull << bit, __ATOMIC_SEQ_CST);
	go_on(run, h);
	if (run->tally->bits % ROUND == 0)
		round_end(run, h);
}

static void flip_bits(struct run *run, struct hostile *h, struct word w)
{
	for (unsigned bit = (unsigned)run->tally->step; bit < 64; bit++) {
		run->tally->step = bit + 1;
		if (!run->most || draw(&run->seed) % 64 < run->most)
			flip(run, h, w, bit);
	}
}

static uint64_t evil(const struct hostile *h, uint64_t before, unsigned which)
{
	const uint64_t values[EVILS] = { 0,
					 UINT64_MAX,
					 before + 1,
					 before - 1,
					 h->tables.base + 8192,
					 h->geometry.total,
					 h->tables.base + h->geometry.size,
					 (uint64_t)INT64_MAX + 1 };

	return values[which];
}

static void put(struct run *run, struct hostile *h, struct word w, uint64_t before, unsigned which)
{
	uint64_t mine = evil(h, before, which);

	HEAPD_WRITE_ONCE(*word_of(h, w), mine);
	if (seen_at_work(run, h, w, run->tally->words++))
		__atomic_compare_exchange_n(word_of(h, w), &mine, before, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	go_on(run, h);
	if (run->tally->words % ROUND == 0)
		round_end(run, h);
}

static void put_values(struct run *run, struct hostile *h, struct word w)
{
	uint64_t before = HEAPD_READ_ONCE(*word_of(h, w));

	for (unsigned i = (unsigned)run->tally->step - 64; i < EVILS; i++) {
		run->tally->step = 64 + i + 1;
		if (!run->most || draw(&run->seed) % 64 < 8ul * run->most)
			put(run, h, w, before, i);
	}
}

static void group_xor(const struct hostile *h, const struct group *g, uint64_t mask)
{
	for (unsigned i = 0; i < g->n; i++)
		__atomic_fetch_xor(word_of(h, (struct word){ .at = g->at[i] }), mask, __ATOMIC_SEQ_CST);
}

static void group_flip(struct run *run, struct hostile *h, const struct group *g, unsigned bit)
{
	group_xor(h, g, 1ull << bit);
	work(run, h, bit);
	group_xor(h, g, 1ull << bit);
	go_on(run, h);
	run->tally->bits += g->n;
}

static void group_put(struct run *run, struct hostile *h, struct group *g, unsigned which)
{
	for (unsigned i = 0; i < g->n; i++) {
		uint64_t *word = word_of(h, (struct word){ .at = g->at[i] });

		g->before[i] = HEAPD_READ_ONCE(*word);
		HEAPD_WRITE_ONCE(*word, evil(h, g->before[i], which));
	}
	work(run, h, which);
	for (unsigned i = 0; i < g->n; i++) {
		uint64_t mine = evil(h, g->before[i], which);

		__atomic_compare_exchange_n(word_of(h, (struct word){ .at = g->at[i] }), &mine, g->before[i],
					    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	go_on(run, h);
	run->tally->words += g->n;
}

/* How many words it had. */
static unsigned group_change(struct run *run, struct hostile *h, struct group *g)
{
	unsigned n = g->n;

	if (!n)
		return 0;
	for (unsigned bit = 0; bit < 64; bit++)
		group_flip(run, h, g, bit);
	for (unsigned i = 0; i < EVILS; i++)
		group_put(run, h, g, i);
	g->n = 0;
	round_end(run, h);
	return n;
}

static void idle_add(struct run *run, struct hostile *h, uint64_t at)
{
	run->group.at[run->group.n++] = at;
	if (run->group.n == run->most_grouped)
		run->tally->together += group_change(run, h, &run->group);
}

static void few_add(struct run *run, struct hostile *h, uint64_t at)
{
	struct group *g = &run->few[run->nfew++ % STRIDE];

	g->at[g->n++] = at;
	if (g->n == FEW || g->n == run->most_grouped)
		run->tally->few += group_change(run, h, g);
}

static void groups_end(struct run *run, struct hostile *h)
{
	run->tally->together += group_change(run, h, &run->group);
	for (unsigned i = 0; i < STRIDE; i++)
		run->tally->few += group_change(run, h, &run->few[i]);
}

/* Holds nothing, and is none of a session's. */
static bool is_empty(const struct run *run, const struct hostile *h, struct word w)
{
	return !run->most && !w.session && !HEAPD_READ_ONCE(*word_of(h, w));
}

static void change_word(struct run *run, struct hostile *h, struct word w)
{
	if (run->tally->step == 0 && is_empty(run, h, w)) {
		run->tally->step = STEPS;
		if (loaded_has(&run->loaded[run->index], w.at / 8))
			few_add(run, h, w.at);
		else
			idle_add(run, h, w.at);
	} else if (!run->most || draw(&run->seed) % 64 < run->most) {
		flip_bits(run, h, w);
		put_values(run, h, w);
		run->tally->step = STEPS;
		run->tally->alone++;
	}
}

/* n words from offset `at` on. */
static void change(struct run *run, struct hostile *h, bool session, uint64_t at, uint64_t n)
{
	for (struct word w = { session, at }; w.at < at + n * 8; w.at += 8) {
		if (++run->place > run->tally->place) {
			run->tally->place = run->place;
			run->tally->step = 0;
		}
		/* Or done by one before, at least in part. */
		if (run->place == run->tally->place && run->tally->step < STEPS)
			change_word(run, h, w);
	}
	groups_end(run, h);
}

static void change_all(struct run *run, struct hostile *h)
{
	const struct heapd_geometry *g = &h->geometry;

	change(run, h, true, 0, sizeof(struct heapd_session) / 8);
	change(run, h, true, HEAPD_SESSION_THREAD_AT, HOSTILE_THREADS * sizeof(struct heapd_thread) / 8);
	change(run, h, true, HEAPD_SESSION_RANGE_AT, 3 * 4);
	change(run, h, true, HEAPD_SESSION_PIN_AT, 18);
	change(run, h, true, HEAPD_SESSION_BARRIER_AT, 10);
	change(run, h, true, HEAPD_SESSION_PUBLISHED_AT, 10);
	change(run, h, false, 0, sizeof(struct heapd_control) / 8);
	change(run, h, false, g->head_at, g->control_size / 8 - g->head_at / 8);
}

/* By what the clients of it seemed to hold nothing is to be judged. */
static void currents_clear(struct hostile *h)
{
	memset(h->tables.rseq_rows, 0, h->geometry.cpus << HEAPD_RSEQ_ROW_SHIFT);
	memset(h->tables.cas_rows, 0, h->geometry.cpus << HEAPD_ROW_SHIFT);
	memset(h->threads, 0, HOSTILE_THREADS * sizeof(*h->threads));
}

/* What the daemon loads while nothing is amiss ------------------------------------------------------------------------- */

/* It leaves as a process that dies: nothing of that heap is looked at again. */
static int study(void *arg)
{
	struct run *run = arg;
	struct hostile h = { .name = heaps[run->index] };

	hostile_attach(&h, &run->fixture);
	for (uint64_t n = 1; n <= STUDIED; n++) {
		work(run, &h, n);
		if (n % ROUND == 0)
			round_end(run, &h);
	}
	loads_take(&run->loads, h.control_inode, &run->loaded[run->index]);
	return 0;
}

static int attack(void *arg)
{
	struct run *run = arg;
	struct hostile h = { .name = heaps[run->index] };

	hostile_attach(&h, &run->fixture);
	change_all(run, &h);
	round_end(run, &h);
	currents_clear(&h);
	hostile_leave(&h);
	return 0;
}

/* Of all its words, none is left out. */
static void say_heap(const struct run *run, const char *name, const struct tally *before)
{
	const struct tally *t = run->tally;
	uint64_t alone = t->alone - before->alone, few = t->few - before->few,
		 together = t->together - before->together;

	printf("  %-12s %9" PRIu64 " bits %9" PRIu64 " evil words: %" PRIu64 " words each by itself, %" PRIu64
	       " in groups of %u, %" PRIu64 " of %u; %" PRIu64 " held up collection\n",
	       name, t->bits - before->bits, t->words - before->words, alone, few, FEW, together,
	       run->most_grouped, t->stalls - before->stalls);
	printf("  %-12s of %" PRIu64 " changes %" PRIu64 " met objects; these were made anew %" PRIu64
	       " times, and %" PRIu64 " times that failed\n",
	       "", t->works - before->works, t->lively - before->lively, t->filled - before->filled,
	       t->unfilled - before->unfilled);
	fflush(stdout);
	if (!run->most && alone + few + together + run->from != t->place)
		errx(1, "heap %s: %" PRIu64 " words were left out", name,
		     t->place - alone - few - together - run->from);
}

/*
 * The daemon ends a process that has said farewell with threads attached, since nobody could ask it any more what it
 * holds: an attacker that has made itself look like that has the next one go on from there.
 */
static void attack_heap(struct run *run, const char *name)
{
	const struct tally before = *run->tally;
	siginfo_t info;

	run->tally->place = run->from;
	run->tally->step = STEPS;
	do {
		pid_t pid = fixture_client_fork(attack, run);

		while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0)
			if (errno != EINTR)
				err(1, "waitid");
		run->seed += 2;
		run->evictions += info.si_code == CLD_KILLED;
	} while (info.si_code == CLD_KILLED && info.si_status == SIGKILL);
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		errx(1, "heap %s: the attacker ended with %d", name, info.si_status);
	if (fixture_verify(&run->fixture, name) != 0)
		errx(1, "heap %s is not clean", name);
	if (fixture_verify(&run->fixture, FIXTURE_HEAP) != 0)
		errx(1, "the other heap is not clean");
	say_heap(run, name, &before);
}

static int guard(void *arg)
{
	struct run *run = arg;

	scene_init(&run->scene, 0);
	return witness_run(&run->scene);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = {
		{ "most", required_argument, NULL, 'm' },   { "group", required_argument, NULL, 'g' },
		{ "verify", required_argument, NULL, 'v' }, { "from", required_argument, NULL, 'f' },
		{ "heap", required_argument, NULL, 'h' },   { 0 }
	};
	int c;

	run->most_grouped = GROUP;
	run->verify = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			run->most = (unsigned)atoi(optarg);
		else if (c == 'g' && atoi(optarg) > 0 && (unsigned)atoi(optarg) <= GROUP)
			run->most_grouped = (unsigned)atoi(optarg);
		else if (c == 'v' && atoi(optarg) > 0)
			run->verify = (unsigned)atoi(optarg);
		else if (c == 'f')
			run->from = strtoull(optarg, NULL, 10);
		else if (c == 'h')
			run->only = optarg;
		else
			exit(2);
	}
}

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* One daemon for each: one that collects back to back leaves less of a processor to the others. */
static void run_open(struct run *run)
{
	static const char *const plain[] = { "heap.plain.Size=64M", NULL };
	static const char *const collected[] = { "heap.collected.Size=64M", "heap.collected.GCPercent=100",
						 NULL };
	static const char *const stress[] = { "heap.stress.Size=64M", "heap.stress.GCPercent=100",
					      "heap.stress.Debug=stress", NULL };
	static const char *const *const own[HEAPS] = { plain, collected, stress };
	const char *settings[8] = { "heap.test.GCPercent=100", "daemon.LogLevel=err" };
	unsigned n = 2;

	for (const char *const *more = own[run->index]; *more; more++)
		settings[n++] = *more;
	fixture_start(&run->fixture, settings);
	run->scene.board = board_make();
	run->progress = 0;
	run->witness = fixture_client_fork(guard, run);
}

static void run_close(struct run *run)
{
	run->scene.board->stop = 1;
	fixture_wait(run->witness, 0);
	fixture_stop(&run->fixture);
}

/* Each heap, or the one that was asked for. */
static void each_heap(struct run *run, void (*what)(struct run *run, const char *name))
{
	for (run->index = 0; run->index < HEAPS; run->index++) {
		const char *name = heaps[run->index];

		if (run->only && strcmp(run->only, name) != 0)
			continue;
		run_open(run);
		fixture_wait(fixture_client_fork(fill, (void *)(uintptr_t)name), 0);
		what(run, name);
		run_close(run);
	}
}

static void study_heap(struct run *run, const char *name)
{
	unsigned n;

	fixture_wait(fixture_client_fork(study, run), 0);
	n = loaded_count(&run->loaded[run->index]);
	if (!n)
		errx(1, "heap %s: the daemon loads nothing of control: does it note what it loads?", name);
	printf("  %-12s %8u words of control that the daemon loads\n", name, n);
	fflush(stdout);
}

static void study_all(struct run *run)
{
	loads_begin(&run->loads);
	each_heap(run, study_heap);
	loads_end(&run->loads);
	memset(run->tally, 0, sizeof(*run->tally));
}

int main(int argc, char **argv)
{
	static struct run run;

	read_options(&run, argc, argv);
	run.seed = fixture_seed() | 1;
	run.reachable = ALIVE;
	run.tally = shared(sizeof(*run.tally));
	run.loaded = shared(HEAPS * sizeof(*run.loaded));
	if (!run.most && loads_can())
		study_all(&run);
	else if (!run.most)
		printf("no daemon that notes what it loads: all words that hold nothing are changed in groups\n");
	each_heap(&run, attack_heap);
	printf("%" PRIu64 " bits, %" PRIu64 " evil words; %" PRIu64 " verifications, of which %" PRIu64
	       " found what clients hold amiss; %" PRIu64 " sessions and %" PRIu64
	       " processes ended by the daemon\n",
	       run.tally->bits, run.tally->words, run.tally->rounds, run.tally->faults, run.tally->dropped,
	       run.evictions);
	return 0;
}
