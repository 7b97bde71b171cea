/* SPDX-License-Identifier: MIT */
/*
 * spoils.c - owns the chores whose clients write nonsense into what they can write: one heap is theirs.
 *
 * Some write it everywhere; a lie is one word, or one kind of words, in the place that the daemon has to be led to.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fixture.h"
#include "chores.h"
#include "heapd/supply.h"
#include "operations.h"

#define FREED 1400u /* slabs, more than the daemon has room for at first */
#define VISIT UINT64_C(500000000)

static uint64_t nonsense(uint64_t *state)
{
	static const uint64_t evil[] = { 0, 1, UINT64_MAX, INT64_MAX, 0x1100000000a8u, 1ull << 47, 63, 4096 };

	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return *state >> 60 ? evil[*state >> 40 & 7] : *state;
}

static struct heapd_thread *this_thread(void)
{
	return (struct heapd_thread *)(void *)heapd_gate_;
}

/* What this thread's record says of its spares, of what it is installing, and of what it hands back. */
static void spoil_thread(uint64_t *state)
{
	struct heapd_thread *t = this_thread();

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		if (t->spares[i].entry)
			t->installing = t->spares[i].entry;
		if (nonsense(state) % 2)
			t->spares[i].entry = nonsense(state);
	}
	for (unsigned i = 0; i < HEAPD_HANDBACK_COUNT; i++) {
		t->handback[i].class = nonsense(state) % 70;
		t->handback[i].entry = nonsense(state);
	}
	HEAPD_STORE_RELEASE(&t->handback_tail, t->handback_head + (nonsense(state) % 2 ? 3 : 100));
}

/* All that clients can write beside the objects. */
static bool control_find(struct scene *s, struct heapd_geometry *g, struct heapd_tables *t)
{
	struct heapd_info info = HEAPD_SIZED(info);
	char *base;

	if (heapd_get_info(s->heap, &info) < 0 || !heapd_geometry_compute(g, info.heap_size, info.cpus))
		return false;
	base = (char *)(uintptr_t)info.base;
	heapd_tables_init(t, g, info.base, base + g->directory_at, base + g->control_at);
	return true;
}

/* Heads of rings, and some of all the rest. */
static void spoil_control(struct scene *s, uint64_t *state)
{
	struct heapd_tables t;
	struct heapd_geometry g;
	uint64_t *control;

	if (!control_find(s, &g, &t))
		return;
	for (unsigned i = 0; i < 8; i++)
		HEAPD_WRITE_ONCE(t.heads[nonsense(state) % 70].head, nonsense(state));
	control = (uint64_t *)(void *)t.control;
	for (unsigned i = 0; i < 200; i++)
		control[nonsense(state) % (g.control_size / 8 / (i % 2 ? 1 : 64))] = nonsense(state);
}

static bool spoil_begin(struct scene *s, const char *heap)
{
	s->patience_ms = 100;
	if (!chore_attach(s, heap, 0, 0))
		return false;
	for (unsigned i = 0; strcmp(heap, CHORES_SPOILT) == 0 && i < 1200; i++)
		use(heapd_alloc(s->heap, 16u << i % 10));
	return true;
}

void burden_spoil(struct scene *s)
{
	uint64_t state = (uint64_t)getpid();

	if (!spoil_begin(s, CHORES_SPOILT))
		return;
	sink += (uint64_t)heapd_collect_start(s->heap);
	if (getpid() % 2)
		spoil_control(s, &state);
	spoil_thread(&state);
	scene_pass(UINT64_C(60000000));
	/* It dies as it is. */
	_exit(0);
}

/* Lies ------------------------------------------------------------------------------------------------------------- */

/* Of a page that is in no span, or of so many slabs as no note is of. */
static void lie_installing(struct heapd_tables *t)
{
	this_thread()->installing_mask = 1;
	HEAPD_STORE_RELEASE(&this_thread()->installing, heapd_entry_make(1, 255, 0xff, 0));
	(void)t;
}

/* What is a spare of its own still. */
static void lie_moving(struct heapd_tables *t)
{
	struct heapd_thread *mine = this_thread();

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++) {
		uint64_t entry = mine->spares[i].entry;
		uint32_t lowest = entry ? (uint32_t)__builtin_ctz(heapd_entry_present(entry) | 1u << 15) : 0;

		if (!entry)
			continue;
		mine->installing_mask = mine->spares[i].masks[lowest];
		HEAPD_STORE_RELEASE(
			&mine->installing,
			heapd_entry_make(heapd_entry_page(entry), heapd_entry_slab(entry) + lowest, 1, 0));
	}
	(void)t;
}

/* Of each class and processor a slab that is none, with all that it could have. */
static void lie_currents(struct heapd_tables *t)
{
	for (uint64_t cpu = 0; cpu < t->cpus; cpu++)
		for (uint32_t class = 0; class < HEAPD_READ_ONCE(t->directory->nclasses); class ++) {
			uint64_t at = (cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;
			struct heapd_current *slab = &t->rseq_rows[at].slabs[class % 2];

			HEAPD_WRITE_ONCE(slab->base, 8);
			HEAPD_WRITE_ONCE(slab->bits, UINT64_MAX);
			t->cas_rows[at] = (struct heapd_pair){ 8, UINT64_MAX };
		}
}

/* In a heap in which nothing ever lay in a ring: the supplier rests long, but for what it finds left behind. */
static void lie_unused(struct heapd_tables *t)
{
	lie_currents(t);
}

static void lie_handback(struct heapd_tables *t)
{
	struct heapd_thread *mine = this_thread();

	for (unsigned i = 0; i < HEAPD_HANDBACK_COUNT; i++)
		mine->handback[i] = (struct heapd_batch){ .class = 3, .entry = heapd_entry_make(2, 9, 7, 0) };
	HEAPD_STORE_RELEASE(&mine->handback_tail, mine->handback_head + 5);
	(void)t;
}

static void lie_heads(struct heapd_tables *t)
{
	for (uint32_t class = 0; class < HEAPD_READ_ONCE(t->directory->nclasses); class ++)
		HEAPD_WRITE_ONCE(t->heads[class].head, t->heads[class].head + 1000);
}

/* Freed are slots that nobody has, and such of slabs that there are not. All are there when the daemon looks. */
static void lie_freed(struct heapd_tables *t)
{
	for (uint32_t slab = 0; slab < FREED; slab++)
		t->freed[slab] = ~HEAPD_READ_ONCE(t->out[slab]);
	for (uint32_t slab = 0; slab < FREED; slab += 64)
		__atomic_store_n(&t->freed_dirty[slab / 64], UINT64_MAX, __ATOMIC_RELEASE);
}

static void lie_counts(struct heapd_tables *t)
{
	t->counters[0].double_frees += 2;
	t->counters[0].bad_frees += 3;
	t->counters[0].overwrites += 4;
}

/* One after the other; the daemon is led there by what it is asked then. */
void burden_lie(struct scene *s)
{
	static void (*const lies[])(struct heapd_tables * t) = { lie_installing, lie_moving, lie_currents,
								 lie_handback,   lie_heads,  lie_freed,
								 lie_counts,     lie_unused };
	struct heapd_verify_result result = HEAPD_SIZED(result);
	unsigned lie = s->board->lies++ % (sizeof(lies) / sizeof(lies[0]));
	struct heapd_geometry g;
	struct heapd_tables t;

	if (!spoil_begin(s, lies[lie] == lie_unused ? CHORES_UNUSED : CHORES_SPOILT) ||
	    !control_find(s, &g, &t))
		return;
	for (unsigned i = 0; lies[lie] == lie_freed && i < FREED * 64; i++)
		use(heapd_alloc(s->heap, 16));
	lies[lie](&t);
	sink += (uint64_t)heapd_verify(s->heap, &result);
	/* A free asks the daemon to look at what is freed. */
	sink += (uint64_t)heapd_sync(s->heap);
	sink += (uint64_t)heapd_collect(s->heap);
	/* As often as the daemon looks whether something is left behind there. */
	for (unsigned i = 0; lies[lie] == lie_currents && i < 10; i++) {
		scene_pass(VISIT);
		if (i < 5)
			lie_currents(&t);
	}
	_exit(0);
}

/*
 * Who takes what lies behind a head that was moved holds what others hold, what lies in the ring still, or what the daemon
 * takes back from the others meanwhile, until it has used it up: writers of one heap can do that to one another. They
 * are last in a verification: what comes before them has no fault then.
 */
static bool is_lie(const char *fault)
{
	static const char *const lies[] = { "a client holds", "are free in two places",
					    "of clients name no slab" };

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
		if (strstr(fault, lies[i]))
			return true;
	return false;
}

bool spoils_verify(const struct fixture *f)
{
	return fixture_verify_but(f, CHORES_SPOILT, is_lie) == 0 &&
	       fixture_verify_but(f, CHORES_UNUSED, is_lie) == 0;
}
