/* SPDX-License-Identifier: MIT */
/*
 * Owns the choice of what happens: supply, harvest, a collection and its sweep, memory that goes back to the system, sessions that
 * begin, fork and end, and all that the daemon is asked for. What is refused is refused.
 */
#include "images_work.h"

#include <err.h>
#include <time.h>

#include "daemon/clock.h"
#include "daemon/cycle.h"
#include "daemon/ledger.h"
#include "daemon/scavenger.h"
#include "daemon/supply.h"
#include "daemon/takers.h"
#include "images_hooks.h"
#include "images_tape.h"

#define SECOND UINT64_C(1000000000)
#define MIB    (UINT64_C(1) << 20)

static const char *const variants[][8] = {
	{ "heap.one.GCPercent=100" },
	{ "heap.one.GCPercent=off" },
	{ "heap.one.GCPercent=100", "heap.one.Free=checked" },
	{ "heap.one.GCPercent=100", "heap.one.Hardened=yes" },
	{ "heap.one.GCPercent=off", "heap.one.UserShare=30%" },
	{ "heap.one.GCPercent=100", "heap.one.Debug=poison" },
};
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

uint64_t work_draw(struct work *work)
{
	work->random ^= work->random >> 12;
	work->random ^= work->random << 25;
	work->random ^= work->random >> 27;
	return work->random * 0x2545f4914f6cdd1dull >> 8;
}

const char *const *work_settings(uint64_t seed)
{
	static const char *settings[16];
	size_t n = 0;

	settings[n++] = "heap.one.Size=64M";
	settings[n++] = "heap.one.Limit=32M";
	settings[n++] = "heap.one.HugePages=never";
	settings[n++] = "heap.one.Mode=0777";
	for (size_t i = 0; variants[seed % VARIANTS][i]; i++)
		settings[n++] = variants[seed % VARIANTS][i];
	settings[n] = NULL;
	return settings;
}

/* Somebody who is there and can speak; WORLD_CLIENTS: nobody. */
unsigned work_somebody(struct work *work)
{
	unsigned first = (unsigned)(work_draw(work) % WORLD_CLIENTS);

	for (unsigned n = 0; n < WORLD_CLIENTS; n++) {
		unsigned i = (first + n) % WORLD_CLIENTS;

		if (work->clients.sessions[i] && work->clients.sessions[i]->pid &&
		    !work->clients.sessions[i]->read_only)
			return i;
	}
	return WORLD_CLIENTS;
}

/* Objects ------------------------------------------------------------------------------------------------------------ */

static uint32_t some_class(struct work *work)
{
	unsigned which = (unsigned)(work_draw(work) % 8);

	if (which < 6)
		return work->classes[which];
	which = (unsigned)(work_draw(work) % WORLD_TYPES);
	return work->clients.w->classes[which] ? (uint32_t)work->clients.w->classes[which] : work->classes[0];
}

static void demand(struct work *work, uint32_t class)
{
	uint64_t *word = &work_heap_of(work)->t.control->demand[class / 64];

	TAPE_SET(*word, *word | 1ull << class % 64);
}

static void take(struct work *work)
{
	unsigned i = work_somebody(work), thread = (unsigned)(work_draw(work) % CLIENTS_THREADS);
	uint32_t class = some_class(work);

	for (unsigned n = 0; n < 4 && i < WORLD_CLIENTS; n++) {
		if (client_take(&work->clients, i, thread, class))
			return;
		demand(work, class);
		supply_round(work_heap_of(work));
	}
}

/* Leaves, and what is to be held by others, are in no list: no word of them leads on. */
static void make(struct work *work)
{
	unsigned i = work_somebody(work), n = (unsigned)(work_draw(work) % 12);

	for (; n && i < WORLD_CLIENTS; n--) {
		unsigned spare = (unsigned)(work_draw(work) % HEAPD_SPARE_COUNT);
		uint64_t object = client_make(&work->clients, i, n % CLIENTS_THREADS, spare);

		if (object)
			client_link(&work->clients, i, (unsigned)(work_draw(work) % WORLD_LISTS), object);
	}
}

static void unmake(struct work *work)
{
	unsigned i = work_somebody(work), n = (unsigned)(work_draw(work) % 12);

	for (; n && i < WORLD_CLIENTS; n--) {
		uint64_t object = client_unlink(&work->clients, i, (unsigned)(work_draw(work) % WORLD_PINS));

		if (object && (!work->collected || work_draw(work) % 3))
			client_free(&work->clients, i, object);
		else if (object)
			client_forget(&work->clients, object);
	}
}

/* A whole list at once. */
static void unmake_all(struct work *work)
{
	unsigned i = work_somebody(work), pin = (unsigned)(work_draw(work) % WORLD_PINS);
	uint64_t object;

	while (i < WORLD_CLIENTS && (object = client_unlink(&work->clients, i, pin)))
		client_free(&work->clients, i, object);
}

/* An object of anybody's: whose, and on which pin it is the first; 0: nobody has any. */
static uint64_t some_object(struct work *work, unsigned *i, unsigned *pin)
{
	unsigned from = (unsigned)work_draw(work) % (WORLD_CLIENTS * WORLD_PINS);

	for (unsigned n = 0; n < WORLD_CLIENTS * WORLD_PINS; n++) {
		unsigned at = (from + n) % (WORLD_CLIENTS * WORLD_PINS);

		*i = at / WORLD_PINS;
		*pin = at % WORLD_PINS;
		if (work->clients.sessions[*i] && work->clients.sessions[*i]->pid &&
		    client_first(&work->clients, *i, *pin))
			return client_first(&work->clients, *i, *pin);
	}
	return 0;
}

/* A weak cell for somebody. */
static void weaken(struct work *work)
{
	unsigned i = work_somebody(work), k = (unsigned)(work_draw(work) % WORLD_CELLS), whose, pin;
	uint64_t object = some_object(work, &whose, &pin);

	if (i == WORLD_CLIENTS || !object || client_has_cell(&work->clients, i, k))
		return;
	for (unsigned n = 0; n < 4 && !client_cell(&work->clients, i, k, object); n++)
		if (!client_take(&work->clients, i, 0, HEAPD_CLASS_WEAK)) {
			demand(work, HEAPD_CLASS_WEAK);
			supply_round(work_heap_of(work));
		}
}

/* Or none any more. */
static void strengthen(struct work *work)
{
	unsigned i = work_somebody(work), k = (unsigned)(work_draw(work) % WORLD_CELLS);

	if (i < WORLD_CLIENTS && client_has_cell(&work->clients, i, k))
		client_cell_drop(&work->clients, i, k, !work->collected || work_draw(work) % 2);
}

static void hand_back(struct work *work)
{
	unsigned i = work_somebody(work);

	if (i < WORLD_CLIENTS)
		client_hand_back(&work->clients, i, (unsigned)(work_draw(work) % CLIENTS_THREADS),
				 (unsigned)(work_draw(work) % HEAPD_SPARE_COUNT));
}

/* The next request says that the last answer has arrived. */
void work_received(struct work *work, unsigned i, unsigned pin, uint64_t object)
{
	client_own(&work->clients, object);
	client_link(&work->clients, i, pin, object);
	TAPE_SET(work->clients.w->hands, 0);
	clients_hold(work_heap_of(work), work->clients.sessions[i]->index, 0);
}

/* What is very large has no pointers, so that it is not looked at each time, and a pin of its own. */
static void large(struct work *work)
{
	static const uint32_t leaf = HEAPD_TYPE_LEAF * HEAPD_SIZECLASS_TOTAL + HEAPD_SIZECLASS_LARGE;
	unsigned i = work_somebody(work), pin = (unsigned)(work_draw(work) % WORLD_LISTS);
	uint64_t object, bytes = work_draw(work) % 4096 + 32769;
	bool zeroed, has_pointers = work_draw(work) % 2;

	if (!has_pointers) {
		bytes += work_draw(work) % (work_draw(work) % 4 ? MIB / 4 : 4 * MIB);
		pin = WORLD_LISTS + (unsigned)(work_draw(work) % (WORLD_PINS - WORLD_LISTS));
	}
	if (i == WORLD_CLIENTS || (!has_pointers && client_has(&work->clients, i, pin)))
		return;
	TAPE_SET(work->clients.w->hands, 1);
	if (supply_large(work_heap_of(work), has_pointers ? HEAPD_SIZECLASS_LARGE : leaf, bytes,
			 work_draw(work) % 8 ? 8 : 65536, work->clients.sessions[i]->index, &object,
			 &zeroed) == 0)
		work_received(work, i, pin, object);
	TAPE_SET(work->clients.w->hands, 0);
}

/* An object that nobody but the daemon will hold: 0: there is none. */
uint64_t work_make_alone(struct work *work, unsigned i)
{
	uint64_t object = 0;

	for (unsigned s = 0; s < HEAPD_SPARE_COUNT && !object; s++)
		object = client_make(&work->clients, i, 0, s);
	return object;
}

/* The daemon's own --------------------------------------------------------------------------------------------------- */

static void round_(struct work *work)
{
	demand(work, some_class(work));
	supply_round(work_heap_of(work));
}

/* What nobody takes any more is taken back. */
static void pass(struct work *work)
{
	hooks_pass(SECOND + SECOND / 8);
	supply_round(work_heap_of(work));
}

static void sync_(struct work *work)
{
	supply_sync(work_heap_of(work));
}

static void count_users(struct work *work)
{
	takers_count(work_heap_of(work));
}

static void scrape(struct work *work)
{
	heap_lock(work_heap_of(work));
	supply_scrape(work_heap_of(work)->supply, some_class(work));
	heap_unlock(work_heap_of(work));
}

static struct clients_of *answering;

/* In place of libc's: while the daemon sleeps, its clients go on, and no time has to pass. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time, (void)left;
	if (answering)
		clients_answer(answering);
	return 0;
}

static void collect(struct work *work)
{
	struct cycle cycle;

	if (!work->collected)
		return;
	if (cycle_init(&cycle, work_heap_of(work), 1) < 0)
		errx(1, "no collection can begin");
	answering = &work->clients;
	cycle_run(&cycle, TRIGGER_REQUEST);
	answering = NULL;
	cycle_deinit(&cycle);
}

/* Objects that weak cells lead to, and that are the first of their lists, are let go of, and collected. */
static void expire(struct work *work)
{
	struct clients_of *c = &work->clients;

	weaken(work);
	for (unsigned n = 0; n < WORLD_CLIENTS * WORLD_PINS && work->collected; n++) {
		unsigned i = n / WORLD_PINS, pin = n % WORLD_PINS;
		uint64_t object = c->sessions[i] && c->sessions[i]->pid ? client_first(c, i, pin) : 0;

		if (!object || !world_has_cell_of(c->w, object))
			continue;
		client_unlink(c, i, pin);
		client_forget(c, object);
	}
	collect(work);
}

/* What was much for a moment goes back to the system, in the second of two looks. */
static void scavenge(struct work *work)
{
	const uint32_t leaf = HEAPD_TYPE_LEAF * HEAPD_SIZECLASS_TOTAL + HEAPD_SIZECLASS_LARGE;
	unsigned i = work_somebody(work);
	uint64_t object = 0, bytes = 1 + work_draw(work) % (8 * MIB);
	bool zeroed;

	if (i == WORLD_CLIENTS)
		return;
	TAPE_SET(work->clients.w->hands, 1);
	if (supply_large(work_heap_of(work), leaf, bytes, 8, work->clients.sessions[i]->index, &object,
			 &zeroed) == 0) {
		client_own(&work->clients, object);
		TAPE_SET(*(uint64_t *)(uintptr_t)(object + work_draw(work) % bytes / 8 * 8), 1);
	}
	TAPE_SET(work->clients.w->hands, 0);
	clients_hold(work_heap_of(work), work->clients.sessions[i]->index, 0);
	if (object)
		client_free(&work->clients, i, object);
	supply_sync(work_heap_of(work));
	for (unsigned n = 0; n < 2; n++)
		scavenger_look(work_heap_of(work));
}

void work_step(struct work *work)
{
	static const struct {
		void (*run)(struct work *work);
		unsigned weight[2]; /* as ever; where it is about weak cells */
	} steps[] = {
		{ request_attach, { 8, 12 } },
		{ request_fork, { 3, 1 } },
		{ request_leave_or_speak, { 4, 2 } },
		{ request_room, { 1, 0 } },
		{ request_refill, { 1, 0 } },
		{ take, { 24, 12 } },
		{ make, { 24, 24 } },
		{ unmake, { 20, 6 } },
		{ unmake_all, { 2, 1 } },
		{ hand_back, { 8, 4 } },
		{ weaken, { 8, 24 } },
		{ strengthen, { 2, 6 } },
		{ expire, { 6, 12 } },
		{ large, { 6, 0 } },
		{ request_root, { 5, 2 } },
		{ request_ticket, { 5, 0 } },
		{ request_type, { 3, 0 } },
		{ request_dead, { 5, 0 } },
		{ request_setting, { 3, 0 } },
		{ round_, { 10, 2 } },
		{ pass, { 5, 1 } },
		{ sync_, { 5, 2 } },
		{ count_users, { 1, 0 } },
		{ scrape, { 6, 1 } },
		{ collect, { 3, 2 } },
		{ scavenge, { 3, 0 } },
	};
	const unsigned n = sizeof(steps) / sizeof(steps[0]);
	uint64_t all = 0, at;

	for (unsigned i = 0; i < n; i++)
		all += steps[i].weight[work->is_weak];
	at = work_draw(work) % all;
	for (unsigned i = 0; i < n; at -= steps[i].weight[work->is_weak], i++) {
		if (at >= steps[i].weight[work->is_weak])
			continue;
		steps[i].run(work);
		break;
	}
	world_tidy(work->clients.w, work_heap_of(work));
}

void work_begin(struct work *work, uint64_t seed, struct images_daemon *d, struct world *w)
{
	*work = (struct work){ .clients = { .d = d, .w = w }, .random = seed * 2 + 1 };
	for (unsigned i = 0; i < 16; i++)
		work_draw(work);
	work->collected = collection_is_on(d->heap);
	work->is_weak = work->collected && work_draw(work) % 2;
	for (unsigned i = 0; i < 6; i++)
		work->classes[i] = (uint32_t)work_draw(work) % 60;
	work->classes[0] = (uint32_t)work_draw(work) % 4;
}

void work_check(struct work *work)
{
	const char *wrong = world_judge(work->clients.w, work->clients.d);

	if (wrong)
		errx(1, "the work itself: %s", wrong);
}
