/* SPDX-License-Identifier: MIT */
/*
 * chores.c - owns what is done around a daemon that is killed at its stores, beside the operations of operations.c: what an operator
 * asks and sets, types and roots that are new, memory that runs short, users that have more than their share, heaps of objects
 * large enough for all markers, sessions that grow, clients that hold up a collection.
 *
 * None leaves anything alive: what it makes hangs on its own process, on the stage's fields, which scene_clear() empties, or on what
 * chores_clear() does. Types whose dead are watched are another heap's: of those free slots in somebody's hands count as alive
 * (deads.c), and here it is counted to the object.
 */
#include "chores.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "operations.h"

#define TYPES   200u   /* a heap has room for about a thousand */
#define ROOTS   40u    /* ... and has as many named roots for good */
#define TREE    30000u /* nodes */
#define CLIENTS 24u
#define PINS    6000u
#define THREADS 72u
#define USER    41000
#define DEAD    3000u    /* of slabs of their own */
#define OBJECT  "OBJECT" /* in an argument's place: the address of one */

static void quiet(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

bool chore_attach(struct scene *s, const char *heap, uint32_t flags, uid_t uid)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	const gid_t group = (gid_t)uid;

	options.flags = flags;
	options.report = quiet;
	options.supply_timeout_ms = options.request_timeout_ms = s->patience_ms;
	heapd_detach(s->heap);
	if (uid && (setgroups(1, &group) < 0 || setgid(group) < 0 || setuid(uid) < 0))
		return false;
	return heapd_attach(&s->heap, heap, &options) == 0;
}

/* An operator's ---------------------------------------------------------------------------------------------------- */

void chore_tool(const char *heap, const char *const arguments[])
{
	const char *build = getenv("HEAPD_TEST_BUILD"), *argv[12] = { "heapctl", "-H", heap, "--no-pager" };
	char program[4096];

	for (unsigned i = 0; arguments[i] && i < 6; i++)
		argv[4 + i] = arguments[i];
	snprintf(program, sizeof(program), "%s/heapctl", build ? build : "build");
	alarm(3); /* some go on until they are told */
	if (freopen("/dev/null", "w", stdout))
		execv(program, (char *const *)(uintptr_t)argv);
}

static void tool(struct scene *s)
{
	static const char *const verbs[][5] = {
		{ "clients", "--bytes" },
		{ "clients" },
		{ "roots" },
		{ "receipts" },
		{ "list" },
		{ "config" },
		{ "classes" },
		{ "types" },
		{ "spans" },
		{ "histo" },
		{ "histo", "--live", "--age" },
		{ "status" },
		{ "log" },
		{ "verify" },
		{ "gc" },
		{ "retained" },
		{ "leaks", "2", "0" },
		{ "leaks", "--by=site", "1" },
		{ "leaks", "--by=root", "1" },
		{ "users" },
		{ "profile", "1" },
		{ "snapshot", "-o", "/dev/null" },
		{ "map", "-o", "/dev/null" },
		{ "why", "0x110000000000" },
		{ "who", OBJECT },
		{ "dot", OBJECT, "2" },
		{ "events" },
	};
	static const char *const heaps[] = {
		FIXTURE_HEAP, "shared", CHORES_HEAP, "checked", "hard", "spoilt"
	};
	const unsigned n = sizeof(verbs) / sizeof(verbs[0]), turn = s->board->tools++;
	const char *arguments[6] = { NULL };
	char object[32];

	snprintf(object, sizeof(object), "%p", (const void *)heapd_load(&s->stage->node[3]));
	for (unsigned i = 0; i < 5 && verbs[turn % n][i]; i++)
		arguments[i] = strcmp(verbs[turn % n][i], OBJECT) == 0 ? object : verbs[turn % n][i];
	/* Each verb, and each with another heap the next time. */
	chore_tool(heaps[(turn + turn / n) % 6], arguments);
}

static void settings(struct scene *s)
{
	static const char *const each[][3] = {
		{ "memory.limit", "200M", "256M" },  { "memory.soft_limit", "100M", "off" },
		{ "gc.percent", "50", "100" },       { "gc.percent", "off", "100" },
		{ "gc.interval", "off", "2min" },    { "sample.bytes", "off", "512K" },
		{ "gc.stall_timeout", "5s", "10s" }, { "gc.threads", NULL, NULL },
		{ "memory.committed", NULL, NULL },  { "sessions.count", NULL, NULL },
		{ "free.mode", NULL, NULL },         { "no.such", NULL, NULL },
	};
	char value[64];

	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
		sink += (uint64_t)heapd_get(s->heap, each[i][0], value, sizeof(value));
		for (unsigned way = 1; way < 3 && each[i][way]; way++) {
			sink += (uint64_t)heapd_set(s->heap, each[i][0], each[i][way]);
			sink += (uint64_t)heapd_get(s->heap, each[i][0], value, sizeof(value));
		}
	}
}

/* What is new in a heap -------------------------------------------------------------------------------------------- */

struct packed {
	heapd_ptr(struct node) next;
	uint32_t count;
} __attribute__((packed));

static void new_type(struct scene *s)
{
	static const struct heapd_type_desc bare = {
		.size = sizeof(bare), .name = "bare", .object_size = 32, .align = 8
	};
	static const struct heapd_type_desc tiny = {
		.size = sizeof(tiny), .name = "tiny", .object_size = 4, .align = 4
	};
	unsigned n = s->board->types++ % TYPES;
	heapd_type *type;
	char name[32];

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	snprintf(name, sizeof(name), "fresh %u", n);
	type = n % 2 ? heapd_type_define(s->heap, name, struct node, next)
		     : heapd_type_define_flex(s->heap, name, struct flexible, tail, first);
	if (!type)
		return;
	/* An element is no whole number of words: each of an array's may be a pointer. */
	if (n % 4 == 1) {
		heapd_type *packed = heapd_type_define(s->heap, "packed", struct packed, next);
		struct packed *array = packed ? heapd_new_array(packed, struct packed, 9) : NULL;

		use(array);
		sink += (uint64_t)heapd_collect(s->heap);
		use(array);
	}
	/* Neither a pointer in it nor said that there is none. */
	if (n % 4 == 3)
		use(heapd_pin(s->heap,
			      heapd_type_alloc_array(heapd_type_define_desc(s->heap, &bare), 32, 9)));
	/* ... nor room for one: its map has no words. */
	if (n % 4 == 3)
		use(heapd_pin(s->heap, heapd_type_alloc_array(heapd_type_define_desc(s->heap, &tiny), 4, 9)));
	if (n % 4 == 3)
		sink += (uint64_t)heapd_collect(s->heap);
	/* No field named: all of its words. */
	if (n % 4 == 0)
		use(heapd_new_array(heapd_type_define(s->heap, "all", struct node), struct node, 3));
	heapd_type_watch_dead(type);
	use(heapd_type_alloc(type, n % 2 ? sizeof(struct node) : sizeof(struct flexible)));
	if (n % 2)
		use(heapd_new_array(type, struct node, n / 4 + 1));
}

static void new_root(struct scene *s)
{
	struct node *seen = s->stage->node[2];
	char name[32];

	snprintf(name, sizeof(name), "extra %u", s->board->roots++ % ROOTS);
	heapd_root_set(s->heap, name, heapd_new(s->nodes, struct node));
	sink += (uint64_t)heapd_root_cas(s->heap, name, &seen, NULL);
	use(heapd_root_offer(s->heap, name, s->stage->node[2]));
	heapd_root_set(s->heap, name, NULL);
}

/* Objects that die are queued, and taken, first not all of them; and their slabs become others'. */
static void mourn(struct scene *s)
{
	heapd_type *watched;

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	watched = heapd_type_define(s->heap, "watched", struct node, next);
	if (!watched)
		return;
	heapd_type_watch_dead(watched);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < DEAD; i++)
			use(heapd_new(watched, struct node));
		sink += (uint64_t)heapd_collect(s->heap);
		for (unsigned i = 0; i < DEAD * (round + 1) / 2 + s->cpu; i++) {
			struct node *dead = heapd_type_next_dead(watched);

			if (i % 8 < 7)
				sink += (uint64_t)heapd_free(dead);
		}
	}
	sink += (uint64_t)heapd_collect(s->heap);
	for (unsigned i = 0; i < DEAD * 4; i++)
		use(heapd_alloc(s->heap, 100 + i % 900));
}

/* Much, and short ---------------------------------------------------------------------------------------------------- */

static struct node *chain(struct scene *s, unsigned n, struct node *onto)
{
	for (unsigned i = 0; i < n; i++) {
		struct node *new = heapd_new(s->nodes, struct node);

		if (!new)
			return onto;
		heapd_init(&new->next, onto);
		if (i % 8 == 0)
			heapd_init(&new->other, heapd_alloc(s->heap, 40 + i % 900));
		onto = new;
	}
	return onto;
}

/* Eight chains, so that there is always more than one thing to mark; one of them is cut while it is marked. */
static void tree(struct scene *s)
{
	for (unsigned i = 0; i < 8; i++)
		heapd_store(&s->stage->field[i], chain(s, TREE / 8, NULL));
	heapd_collect_start(s->heap);
	for (unsigned i = 0; i < 8; i++) {
		struct node *n = heapd_load(&s->stage->field[i]);

		if (n)
			heapd_store(&n->next, NULL);
		heapd_store(&s->stage->field[i], NULL);
	}
}

/* Words in fields that are no pointers into the heap, or that lead to what nobody has. */
static void foreign(struct scene *s)
{
	struct node *n = chain(s, 8, NULL);

	for (unsigned i = 0; n && i < 8; i++) {
		const uintptr_t word = i % 2 ? 0x7f0000001000u + i * 8 : (uintptr_t)s->text;

		memcpy((void *)(uintptr_t)&n->other, &word, sizeof(word));
		heapd_store(&s->stage->field[i], n);
		n = heapd_load(&n->next);
	}
	sink += (uint64_t)heapd_collect(s->heap);
	scene_clear(s);
}

static void large(struct scene *s)
{
	void *kept[24];

	for (unsigned i = 0; i < 24; i++)
		kept[i] = heapd_alloc(s->heap, (40u + i * 97u % 2000u) << 10);
	for (unsigned i = 0; i < 24; i += 2)
		heapd_free(kept[i]);
	for (unsigned i = 0; i < 12; i++)
		use(heapd_alloc(s->heap, (30u + i * 61u % 500u) << 10));
}

/* All that it can get: the limit is set to a little more than there is. */
static void fill(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	char limit[32];

	if (heapd_get_info(s->heap, &info) < 0)
		return;
	s->board->scarce++;
	snprintf(limit, sizeof(limit), "%lluM", (unsigned long long)(info.committed >> 20) + 8);
	if (heapd_set(s->heap, "memory.limit", limit) >= 0) {
		for (unsigned i = 0; i < 400; i++) {
			struct node *n = heapd_alloc(s->heap, i % 2 ? 200000 : 30000);

			if (!n)
				break;
			heapd_init(&n->next, heapd_load(&s->stage->field[0]));
			heapd_store(&s->stage->field[0], n);
		}
		use(heapd_alloc(s->heap, 16000));
		for (unsigned i = 1; i < 30; i++)
			use(heapd_alloc_leaf(s->heap, 600 * i));
		heapd_store(&s->stage->field[0], NULL);
		use(heapd_alloc(s->heap, 16000));
	}
	chores_clear(s);
}

/* Clients ------------------------------------------------------------------------------------------------------------ */

static void crowd_of_clients(struct scene *s)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (fork() == 0) {
			use(heapd_alloc(s->heap, 64));
			usleep(20000);
			_exit(0);
		}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static void *hold_one(void *arg)
{
	struct scene *s = arg;
	struct node *n = heapd_new(s->nodes, struct node);

	usleep(10000);
	use(n);
	return NULL;
}

/* More threads and pins than a session has room for at first. */
static void grow(struct scene *s)
{
	pthread_t threads[THREADS];
	unsigned n = 0;

	while (n < THREADS && heapd_thread_create(s->heap, &threads[n], NULL, hold_one, s) == 0)
		n++;
	for (unsigned i = 0; i < PINS; i++)
		use(heapd_pin(s->heap, s->stage->node[i % SCENE_NODES]));
	while (n)
		pthread_join(threads[--n], NULL);
}

/* In no hurry to say what it holds: longer than the daemon waits before it tells of it. */
static void stall(struct scene *s)
{
	sigset_t all, before;

	use(heapd_alloc(s->heap, 64));
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	scene_pass(UINT64_C(1300000000));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void read_only(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	heapd_type *stages;

	if (!chore_attach(s, FIXTURE_HEAP, HEAPD_ATTACH_READ_ONLY, 0))
		return;
	stages = heapd_type_find(s->heap, "stage");
	if (stages)
		use(heapd_root_get(s->heap, "stage", stages));
	sink += (uint64_t)heapd_get_info(s->heap, &info);
	usleep(2000);
}

static void tickets(struct scene *s)
{
	char text[64];

	if (heapd_ticket_issue(s->heap, s->stage->node[3], text, sizeof(text), 0) >= 0)
		use(heapd_ticket_take(s->heap, text));
	/* One that nobody takes. */
	sink += (uint64_t)heapd_ticket_issue(s->heap, s->stage->node[4], text, sizeof(text), 1);
}

/* Another user's, which takes what it can get of its share, lets go of it, and takes again. */
static void user(struct scene *s)
{
	heapd_type *nodes;

	if (!chore_attach(s, FIXTURE_HEAP, 0, USER + (uid_t)getpid() % 3))
		return;
	for (unsigned round = 0; round < 2; round++) {
		void *last = NULL;

		for (unsigned i = 0; i < 200; i++) {
			void **n = heapd_alloc(s->heap, 100000);

			if (!n)
				break;
			*n = last;
			last = n;
		}
		use(last);
	}
	nodes = heapd_type_find(s->heap, "node");
	use(nodes);
}

void chores_clear(struct scene *s)
{
	char name[32];

	if (s->board->scarce % 2) {
		sink += (uint64_t)heapd_set(s->heap, "memory.limit", "256M");
		s->board->scarce++;
	}
	for (unsigned i = 0; i < ROOTS && i < s->board->roots; i++) {
		snprintf(name, sizeof(name), "extra %u", i);
		heapd_root_set(s->heap, name, NULL);
	}
}

const struct chore scene_chores[] = {
	{ "tool", tool },
	{ "settings", settings },
	{ "new-type", new_type },
	{ "new-root", new_root },
	{ "mourn", mourn },
	{ "tree", tree },
	{ "foreign", foreign },
	{ "large", large },
	{ "fill", fill },
	{ "clients", crowd_of_clients },
	{ "grow", grow },
	{ "stall", stall },
	{ "read-only", read_only },
	{ "tickets", tickets },
	{ "user", user },
	{ "tool", tool },
	{ "shares", burden_shares },
	{ "hardened", burden_hardened },
	{ "checked", burden_checked },
	{ "audited", burden_audited },
	{ "hidden", burden_hidden },
	{ "silent", burden_silent },
	{ "crowded", burden_crowded },
	{ "hoard", burden_hoard },
	{ "spoil", burden_spoil },
	{ "lie", burden_lie },
	{ "lists", raw_lists },
	{ "again", raw_again },
	{ "again-dead", raw_again_dead },
	{ "memory", strait_memory },
	{ "stores", strait_stores },
	{ "weak", strait_weak },
	{ "deaf", strait_deaf },
	{ "full", strait_full },
	{ "zombie", strait_zombie },
	{ "small-pages", strait_small_pages },
	{ "whole", strait_whole },
	{ "deaths", strait_deaths },
	{ "late", strait_late },
	{ "dangling", burden_dangling },
	{ "scatter", burden_scatter },
	{ "loose", burden_loose },
	{ "by-swap", burden_by_swap },
};
const unsigned scene_nchores = sizeof(scene_chores) / sizeof(scene_chores[0]);
