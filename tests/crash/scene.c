/* SPDX-License-Identifier: MIT */
/*
 * scene.c - owns the stage, and those who stand beside the one that is killed.
 *
 * The witness is a client that works on all the time: it makes and drops nodes of its own, in the classes that the others
 * are killed in, and finds each of them as it left it. What it holds while it pauses is constant, so that what else is
 * alive can be counted.
 *
 * It goes slowly while somebody is stepped, who needs milliseconds from its look at a ring's head to its swap and loses each of them to
 * one that takes an entry meanwhile; and while somebody holds up the cycle, since nothing comes back then of what the witness drops.
 */
#include "scene.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"

static void *must(void *p, const char *what)
{
	if (!p)
		errx(1, "%s: %s", what, heapd_error());
	return p;
}

static void map_tables(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_geometry g;
	char *base;

	if (heapd_get_info(s->heap, &info) < 0 || !heapd_geometry_compute(&g, info.heap_size, info.cpus))
		errx(1, "geometry: %s", heapd_error());
	base = (char *)(uintptr_t)info.base;
	heapd_tables_init(&s->tables, &g, info.base, base + g.directory_at, base + g.control_at);
	s->sequences = info.path == HEAPD_PATH_RSEQ;
}

static void make_types(struct scene *s)
{
	s->nodes = must(heapd_type_define(s->heap, "node", struct node, next, other), "node");
	s->flexibles =
		must(heapd_type_define_flex(s->heap, "flexible", struct flexible, tail, first), "flexible");
	s->watched = must(heapd_type_define(s->heap, "watched", struct node, next), "watched");
	s->leaves = must(heapd_type_define_leaf(s->heap, "leaf", struct node), "leaf");
}

static void make_stage(struct scene *s)
{
	heapd_type *stages = must(heapd_type_define(s->heap, "stage", struct stage), "stage");

	s->stage = must(heapd_root(s->heap, "stage", struct stage, stages), "stage");
	for (unsigned i = 0; i < SCENE_NODES; i++)
		if (!heapd_load(&s->stage->node[i]))
			heapd_store(&s->stage->node[i], must(heapd_new(s->nodes, struct node), "node"));
}

/* By its place on the stage, too: of an object that two have been given, the one who marked it first is not content. */
static uint64_t guard_word(const struct node *n, unsigned g, unsigned i)
{
	return ((uint64_t)(uintptr_t)n ^ (g + 1) * 0x5bd1e9955bd1e995ull) + i;
}

void guard_set(struct scene *s, void *object)
{
	unsigned g = s->board->guards++ % SCENE_GUARDS;
	struct node *n = object;

	if (!n || !s->stage)
		return;
	for (unsigned i = 0; i < 6; i++)
		n->word[i] = guard_word(n, g, i);
	heapd_store(&s->stage->guard[g], n);
}

void guards_check(struct scene *s)
{
	for (unsigned g = 0; g < SCENE_GUARDS; g++) {
		const struct node *n = heapd_load(&s->stage->guard[g]);

		for (unsigned i = 0; n && i < 6; i++)
			if (n->word[i] != guard_word(n, g, i) || n->next || n->other)
				errx(1, "an object of the dead's, guard %u at %p, was given to another one",
				     g, (const void *)n);
	}
}

void stage_check(struct scene *s)
{
	static const struct node empty = { 0 };

	for (unsigned i = 0; i < SCENE_NODES; i++)
		if (memcmp(heapd_load(&s->stage->node[i]), &empty, sizeof(empty)) != 0)
			errx(1, "somebody has written to the stage's node %u", i);
}

static void quiet(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

struct board *board_make(void)
{
	struct board *board =
		mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (board == MAP_FAILED)
		err(1, "mmap");
	return board;
}

void scene_init(struct scene *s, uint32_t flags)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	*s = (struct scene){ .board = s->board ? s->board : board_make(), .patience_ms = s->patience_ms };
	options.flags = flags;
	options.report = quiet;
	options.supply_timeout_ms = options.request_timeout_ms = s->patience_ms;
	if (heapd_attach(&s->heap, FIXTURE_HEAP, &options) < 0)
		errx(1, "%s", heapd_error());
	map_tables(s);
	make_types(s);
	make_stage(s);
	for (unsigned i = 0; i < SCENE_GUARDS; i++)
		guard_set(s, must(heapd_alloc(s->heap, 3072), "guard"));
}

void scene_clear(struct scene *s)
{
	char name[16];

	for (unsigned i = 0; i < sizeof(s->stage->field) / sizeof(s->stage->field[0]); i++)
		heapd_store(&s->stage->field[i], NULL);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "crash %u", i);
		heapd_root_set(s->heap, name, NULL);
	}
	/* To set one that there is not would make it, of no type. */
	for (unsigned i = 0; i < SCENE_MADE; i++) {
		snprintf(name, sizeof(name), "made %u", i);
		if (heapd_root_get(s->heap, name, NULL))
			heapd_root_set(s->heap, name, NULL);
	}
	/* There is none of that name; but those whose time has passed end with the question. */
	if (heapd_ticket_take(s->heap, "none"))
		errx(1, "a ticket that nobody issued was taken");
}

void scene_pass(uint64_t ns)
{
	uint64_t end = fixture_now_ns() + ns;

	while (fixture_now_ns() < end)
		usleep(10000);
}

/* The witness ------------------------------------------------------------------------------------------------------ */

static void wrong(struct scene *s, const char *what, uint64_t n)
{
	snprintf(s->board->wrong, sizeof(s->board->wrong), "the witness: %s, in turn %llu", what,
		 (unsigned long long)n);
	_exit(1);
}

static void node_mark(struct node *n, uint64_t turn)
{
	for (unsigned i = 0; i < 6; i++)
		n->word[i] = turn * 8 + i + 1;
}

static bool node_is(const struct node *n, uint64_t turn)
{
	for (unsigned i = 0; i < 6; i++)
		if (n->word[i] != turn * 8 + i + 1)
			return false;
	return true;
}

static bool node_is_empty(const struct node *n)
{
	for (unsigned i = 0; i < 6; i++)
		if (n->word[i])
			return false;
	return !n->next && !n->other;
}

/* The ring's oldest node is dropped, a new one takes its place. */
static void witness_turn(struct scene *s, uint64_t turn)
{
	struct node *last = heapd_load(&s->stage->witness), *oldest = heapd_load(&last->next), *n;
	uint32_t scarce = s->board->scarce;

	n = turn % 2 ? heapd_new(s->nodes, struct node) : heapd_alloc(s->heap, sizeof(*n));
	if (!n && (errno == EAGAIN || scarce % 2 || s->board->scarce != scarce))
		return;
	if (!n)
		wrong(s, heapd_error(), turn);
	if (!node_is_empty(n))
		wrong(s, "a new object is not empty", turn);
	if (!node_is(oldest, turn - SCENE_RING))
		wrong(s, "an object is not as it was left", turn);
	node_mark(n, turn);
	heapd_init(&n->next, heapd_load(&oldest->next));
	heapd_store(&last->next, n);
	heapd_store(&s->stage->witness, n);
	/* What is dropped keeps nothing: a word of some stack may still lead to it. */
	heapd_store(&oldest->next, NULL);
	s->board->progress = turn;
}

static void witness_rest(struct scene *s)
{
	/* Detached, its stack holds nothing, old words neither. */
	if (heapd_thread_detach(s->heap) < 0)
		wrong(s, heapd_error(), 0);
	s->board->paused = 1;
	while (s->board->pause && !s->board->stop)
		usleep(500);
	s->board->paused = 0;
}

static void witness_begin(struct scene *s)
{
	struct node *first = must(heapd_new(s->nodes, struct node), "node"), *last = first;

	node_mark(first, 1);
	heapd_store(&s->stage->witness, first);
	for (uint64_t turn = 2; turn <= SCENE_RING; turn++) {
		struct node *n = must(heapd_new(s->nodes, struct node), "node");

		node_mark(n, turn);
		heapd_store(&last->next, n);
		last = n;
	}
	heapd_store(&last->next, first);
	heapd_store(&s->stage->witness, last);
}

/* For who must not ask for it itself: its call would be a safepoint. */
static void witness_collect(struct scene *s)
{
	if (atomic_exchange(&s->board->collect, 0) && heapd_collect_start(s->heap) < 0)
		wrong(s, heapd_error(), 0);
}

int witness_run(void *scene)
{
	struct scene *s = scene;

	witness_begin(s);
	for (uint64_t turn = SCENE_RING + 1; !s->board->stop;) {
		witness_turn(s, turn);
		witness_collect(s);
		if (s->board->progress == turn)
			turn++;
		if (s->board->pause)
			witness_rest(s);
		else if (turn % 32 == 0)
			usleep(s->board->slow ? 2000 : 100);
	}
	return heapd_detach(s->heap) < 0;
}

pid_t witness_start(struct scene *s)
{
	return fixture_client_fork(witness_run, s);
}

void witness_pause(struct scene *s)
{
	uint64_t end = fixture_now_ns() + SCENE_PATIENCE_NS;

	s->board->pause = 1;
	while (!s->board->paused && !*s->board->wrong)
		if (fixture_now_ns() > end)
			errx(1, "the witness does not pause");
		else
			usleep(200);
}

void witness_resume(struct scene *s)
{
	s->board->pause = 0;
}

/* The staller ------------------------------------------------------------------------------------------------------ */

static int stall(void *scene)
{
	struct scene *s = scene;

	if (s->board->spin)
		heapd_gate_enter_(heapd_gate_);
	raise(SIGSTOP);
	return 1;
}

static enum heapd_phase phase_now(const struct scene *s)
{
	return heapd_now_phase(HEAPD_LOAD_ACQUIRE(&s->tables.directory->cycle.now));
}

static bool phase_comes(const struct scene *s, enum heapd_phase wanted, uint64_t ms)
{
	uint64_t end = fixture_now_ns() + ms * 1000000;

	while (phase_now(s) != wanted) {
		if (fixture_now_ns() > end)
			return false;
		usleep(200);
	}
	return true;
}

static pid_t staller_fork(struct scene *s, enum barrier barrier)
{
	siginfo_t info;
	pid_t pid;

	s->board->spin = barrier == BARRIER_ON_FIRST;
	pid = fixture_client_fork(stall, s);
	while (waitid(P_PID, (id_t)pid, &info, WSTOPPED) < 0)
		if (errno != EINTR)
			err(1, "waitid");
	s->board->spin = 0;
	s->board->slow++;
	return pid;
}

/* A cycle that began for another reason may be the one that it holds up, elsewhere: then another one is tried. */
pid_t staller_start(struct scene *s, enum barrier barrier)
{
	enum heapd_phase wanted = barrier == BARRIER_ON ? HEAPD_PHASE_SCAN : HEAPD_PHASE_BARRIER;

	for (unsigned i = 0; i < 20; i++) {
		pid_t pid;

		if (!phase_comes(s, HEAPD_PHASE_IDLE, 20000))
			errx(1, "a cycle does not end");
		pid = staller_fork(s, barrier);
		if (heapd_collect_start(s->heap) < 0)
			errx(1, "%s", heapd_error());
		if (phase_comes(s, wanted, 2000))
			return pid;
		staller_end(s, pid);
	}
	errx(1, "no cycle stays in phase %d", (int)wanted);
}

void staller_end(struct scene *s, pid_t pid)
{
	if (!pid)
		return;
	s->board->slow--;
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}
