/* SPDX-License-Identifier: MIT */
/*
 * What a client can write into memory, and what the daemon does meanwhile.
 *
 * An input is a list of commands. Some write words into control, session and objects, where the last word is the
 * input's; some are an honest client's; some make the daemon work: supply, harvest, collect, verify, scavenge, die and be
 * born again. In the end the heap has to be sound.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/cycle.h"
#include "daemon/path.h"
#include "daemon/scavenger.h"
#include "daemon/supply.h"
#include "daemon/takers.h"
#include "daemon/verify.h"
#include "machine.h"

#define THREADS  4u
#define BATCHES  8u
#define COMMANDS 400u /* of one input */

struct target {
	struct machine machine;
	struct heap *heap;
	struct heapd_session *session; /* a mapping of its own, as a client has one */
	char *objects;
	struct heapd_batch batches[BATCHES];
	uint64_t shade; /* entries that its barrier rings grow by in a cycle */
};

/* The client ----------------------------------------------------------------------------------------------------------- */

static struct heapd_thread *thread_of(const struct target *t, unsigned i)
{
	return (struct heapd_thread *)(void *)((char *)t->session + HEAPD_SESSION_THREAD_AT) + i % THREADS;
}

static void attach(struct target *t)
{
	struct session_owner owner = {
		.pid = getpid(), .pidfd = -1, .socket = -1, .uid = getuid(), .client = "fuzz"
	};
	struct session *session = LIST_FIRST(&t->machine.sessions.all);
	struct refusal why;

	t->heap = t->machine.heaps[0];
	if (!session && session_open(&t->machine.sessions, t->heap, &owner, &session, &why) < 0)
		machine_fail("%s", why.text);
	t->session = mmap(NULL, HEAPD_SESSION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  session->memory.fd, 0);
	t->objects = mmap(NULL, t->heap->geometry.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  t->heap->heap_fd, 0);
	if (t->session == MAP_FAILED || t->objects == MAP_FAILED)
		machine_fail("mmap");
}

static void let_go(struct target *t)
{
	munmap(t->session, HEAPD_SESSION_SIZE);
	munmap(t->objects, t->heap->geometry.size);
}

/* As supply.h says. A head that makes no sense gives nothing. */
static void take(struct target *t, uint32_t class, struct heapd_batch *batch)
{
	const struct heapd_geometry *g = &t->heap->geometry;
	const struct heapd_ring *ring = &t->heap->t.rings[class];
	uint64_t *shared = &t->heap->t.heads[class].head, head = *shared;

	if (head >= ring->tail)
		return;
	*batch = (struct heapd_batch){ .entry = ring->slots[head % HEAPD_RING_SLOTS], .class = class };
	*shared = head + 1;
	if (heapd_entry_page(batch->entry) >= g->pages)
		return;
	uint64_t slab = t->heap->t.spans[heapd_entry_page(batch->entry)].slab0 +
			heapd_entry_slab(batch->entry);

	for (unsigned i = 0; i < HEAPD_BATCH_MAX && slab + i < g->slabs; i++)
		if (heapd_entry_present(batch->entry) >> i & 1)
			batch->masks[i] = t->heap->t.supplied[slab + i];
}

static void hand_back(struct target *t, struct heapd_thread *thread, struct heapd_batch *batch)
{
	thread->handback[thread->handback_tail % HEAPD_HANDBACK_COUNT] = *batch;
	thread->handback_tail++;
	t->session->handback = 1;
	*batch = (struct heapd_batch){ 0 };
}

/* What a batch has is free again, by bits. */
static void free_bits(struct target *t, const struct heapd_batch *batch, uint64_t mask)
{
	uint32_t first = heapd_entry_page(batch->entry);
	uint64_t slab;

	if (!batch->entry || first >= t->heap->geometry.pages)
		return;
	slab = t->heap->t.spans[first].slab0 + heapd_entry_slab(batch->entry);
	for (unsigned i = 0; i < HEAPD_BATCH_MAX && slab + i < t->heap->geometry.slabs; i++) {
		t->heap->t.freed[slab + i] |= batch->masks[i] & mask;
		t->heap->t.freed_dirty[(slab + i) / 64] |= 1ull << ((slab + i) % 64);
	}
}

/* Its threads go on, whatever stands there: a client that does not answer is not what is tried here. */
static void answer(struct target *t)
{
	uint64_t now = HEAPD_LOAD_ACQUIRE(&t->heap->t.directory->cycle.now);
	uint32_t n = HEAPD_READ_ONCE(t->session->nthreads);

	for (uint32_t i = 0; i < n && i < HEAPD_THREAD_MAX; i++) {
		struct heapd_thread *thread =
			(struct heapd_thread *)(void *)((char *)t->session + HEAPD_SESSION_THREAD_AT) + i;

		if (heapd_now_phase(now) == HEAPD_PHASE_BARRIER && thread->gate.inside % 2)
			thread->gate.inside++;
		if (heapd_now_phase(now) != HEAPD_PHASE_SCAN)
			continue;
		thread->barrier_tail += t->shade;
		thread->scanned = heapd_now_cycle(now);
	}
	if (heapd_now_phase(now) == HEAPD_PHASE_SCAN)
		t->session->ranges_cycle = heapd_now_cycle(now);
}

static struct target *answering;

/* In place of libc's: while the daemon sleeps, its client goes on; and then no time has to pass. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time, (void)left;
	if (answering)
		answer(answering);
	return 0;
}

static void collect(struct target *t, uint8_t which)
{
	struct cycle cycle;
	int r;

	if (cycle_init(&cycle, t->heap, 1) < 0)
		machine_fail("cycle");
	t->shade = which == UINT8_MAX ? UINT64_MAX : which;
	answering = t;
	r = cycle_run(&cycle, TRIGGER_REQUEST);
	answering = NULL;
	cycle_deinit(&cycle);
	if (r < 0 && r != -EAGAIN && r != -EINTR)
		machine_fail("a cycle ends with %s", strerror(-r));
}

/* The words ------------------------------------------------------------------------------------------------------------ */

static uint64_t value(struct target *t, struct input *in, uint64_t before)
{
	const struct heapd_batch *batch;

	switch (input_byte(in) % 11) {
	case 0:
		return input_bytes(in, 8);
	case 1:
		return input_byte(in);
	case 2: /* an address, in an object or not */
		return t->heap->t.base + input_bytes(in, 2) * 8192 + input_byte(in) * 16ul;
	case 3: {
		uint32_t page = (uint32_t)input_bytes(in, 2), slab = input_byte(in),
			 present = (uint32_t)input_bytes(in, 2);

		return heapd_entry_make(page, slab, present, input_byte(in) % 2);
	}
	case 4:
		return UINT64_MAX;
	case 5:
		return before + (uint64_t)(int64_t)(int8_t)input_byte(in);
	case 6:
		return before ^ 1ull << input_byte(in) % 64;
	case 7:
		batch = &t->batches[input_byte(in) % BATCHES];
		return batch->entry;
	case 8:
		batch = &t->batches[input_byte(in) % BATCHES];
		return batch->masks[input_byte(in) % HEAPD_BATCH_MAX];
	case 9:
		return 1ull << input_byte(in) % 64;
	default: /* of two slabs, or of one of them */
		return heapd_taker(getuid()) * (input_byte(in) % 2 ? 1ull << 32 | 1 : 1);
	}
}

enum region {
	SESSION,
	THREAD,
	RANGE,
	PIN,
	BARRIER,
	PUBLISHED,
	RANGES,
	CONTROL,
	HEAD,
	RSEQ,
	CAS,
	DIRTY,
	FREED,
	LENT,
	OBJECT,
	TAKER,
	BORN,
	REGIONS
};

/* The word with that number in the region: beyond what is of interest it begins again. */
static uint64_t *word_at(const struct target *t, enum region region, uint64_t n)
{
	const struct heapd_geometry *g = &t->heap->geometry;
	char *session = (char *)t->session, *control = (char *)t->heap->t.control;
	const struct {
		char *at;
		uint64_t words;
	} regions[REGIONS] = {
		[SESSION] = { session, sizeof(struct heapd_session) / 8 },
		[THREAD] = { session + HEAPD_SESSION_THREAD_AT, THREADS * sizeof(struct heapd_thread) / 8 },
		[RANGE] = { session + HEAPD_SESSION_RANGE_AT, 24 },
		[PIN] = { session + HEAPD_SESSION_PIN_AT, 256 },
		[BARRIER] = { session + HEAPD_SESSION_BARRIER_AT + n % THREADS * 8 * HEAPD_BARRIER_RING_MAX,
			      64 },
		[PUBLISHED] = { session + HEAPD_SESSION_PUBLISHED_AT + n % THREADS * HEAPD_PUBLISHED_BYTES,
				64 },
		[RANGES] = { session + HEAPD_SESSION_RANGES_AT, 64 },
		[CONTROL] = { control, sizeof(struct heapd_control) / 8 },
		[HEAD] = { control + g->head_at, 150 * sizeof(struct heapd_ring_head) / 8 },
		[RSEQ] = { (char *)t->heap->t.rseq_rows, 150 * sizeof(struct heapd_rseq_entry) / 8 },
		[CAS] = { (char *)t->heap->t.cas_rows, 300 },
		[DIRTY] = { (char *)t->heap->t.freed_dirty, 64 },
		[FREED] = { (char *)t->heap->t.freed, 4096 },
		[LENT] = { (char *)t->heap->t.lent, 4096 },
		[OBJECT] = { t->objects, 65536 },
		[TAKER] = { (char *)t->heap->t.taker, 2048 },
		[BORN] = { (char *)t->heap->t.born, 2048 },
	};

	return (uint64_t *)(void *)regions[region].at + n % regions[region].words;
}

static void write_word(struct target *t, struct input *in)
{
	enum region region = input_byte(in) % REGIONS;
	uint64_t *word = word_at(t, region, input_bytes(in, 2)), new;

	/* What nobody has been given is not there: to write it would be to have the kernel make it, as any client can. */
	if (region == OBJECT &&
	    (uint64_t)((char *)word - t->objects) >= t->heap->t.directory->stats.committed)
		return;
	new = value(t, in, *word);
	*word = new;
}

/* Commands ------------------------------------------------------------------------------------------------------------- */

/* What it took, or what it makes of that. */
static void hand_back_spoilt(struct target *t, uint8_t which, struct input *in)
{
	struct heapd_batch *batch = &t->batches[which / THREADS % BATCHES];

	if (which & 32)
		batch->entry = value(t, in, batch->entry);
	if (which & 64)
		batch->class = value(t, in, batch->class);
	if (which & 128)
		batch->masks[which % HEAPD_BATCH_MAX] = value(t, in, batch->masks[which % HEAPD_BATCH_MAX]);
	hand_back(t, thread_of(t, which), batch);
}

static void demand(struct target *t, uint32_t class)
{
	t->heap->t.control->demand[class / 64] |= 1ull << class % 64;
}

static void large(struct target *t, struct input *in)
{
	uint64_t address, bytes = input_bytes(in, 3);
	bool zeroed;

	supply_large(t->heap, HEAPD_SIZECLASS_LARGE, bytes + 1, 8, 0, &address, &zeroed);
}

static void verify(struct target *t)
{
	struct heapd_verify_reply reply = { 0 };

	if (verify_heap(t->heap, &reply) < 0)
		machine_fail("verify");
}

static void ask_path(struct target *t, struct input *in)
{
	char path[752];

	path_to(t->heap, t->heap->t.base + input_bytes(in, 3), path, sizeof(path));
}

static void reborn(struct target *t)
{
	let_go(t);
	machine_heap_reborn(&t->machine, 0);
	attach(t);
}

/* False: the input has ended. */
static bool command(struct target *t, struct input *in)
{
	uint8_t what = input_byte(in), which;

	machine_turn(&t->machine);
	if (what % 16 < 8) {
		write_word(t, in);
		return in->at < in->end;
	}
	which = input_byte(in);
	switch (what % 16) {
	case 8:
		take(t, which % 150, &t->batches[which % BATCHES]);
		break;
	case 9:
		free_bits(t, &t->batches[which % BATCHES], input_bytes(in, 8));
		break;
	case 10:
		hand_back_spoilt(t, which, in);
		break;
	case 11:
		demand(t, which % 128);
		if (which >= 128) /* a second has passed */
			t->heap->supply->last_tick = 0;
		supply_round(t->heap);
		break;
	case 12:
		supply_sync(t->heap);
		break;
	case 13:
		collect(t, which);
		break;
	case 14:
		if (which == UINT8_MAX)
			takers_count(t->heap);
		else if (which % 2)
			verify(t);
		else
			ask_path(t, in);
		break;
	case 15:
		if (which % 4 == 0)
			reborn(t);
		else if (which % 4 == 1)
			scavenger_look(t->heap);
		else
			large(t, in);
		break;
	}
	return in->at < in->end;
}

/* On a busy machine a round may be one in which a second has passed: then it withdraws what nobody has taken, and is asked again. */
static void take_supplied(struct target *t, uint32_t class, struct heapd_batch *batch)
{
	for (unsigned i = 0; i < 8 && !batch->entry; i++) {
		demand(t, class);
		supply_round(t->heap);
		take(t, class, batch);
	}
	if (!batch->entry)
		machine_fail("class %u is not supplied", class);
}

/* Something to begin with: an honest client has taken slabs of two classes, and some of a third lie ready. */
static void prepare(struct target *t)
{
	static const uint32_t classes[] = { 3, 9, 20 };

	t->session->nthreads = THREADS;
	t->session->npins = 16;
	for (unsigned i = 0; i < THREADS; i++)
		thread_of(t, i)->state = HEAPD_THREAD_ONLINE;
	supply_round(t->heap); /* in its first, a second has passed */
	for (unsigned i = 0; i < BATCHES; i++)
		take_supplied(t, classes[i % 3], &t->batches[i]);
	for (unsigned i = 0; i < 3; i++)
		demand(t, classes[i]);
	supply_round(t->heap);
	thread_of(t, 0)->spares[0] = t->batches[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		machine_fail("out of memory");
	machine_start(&t->machine, 1);
	attach(t);
	prepare(t);
	for (unsigned i = 0; i < COMMANDS && size && command(t, &in); i++)
		;
	supply_sync(t->heap);
	machine_is_sound(&t->machine);
	let_go(t);
	machine_stop(&t->machine);
	free(t);
	return 0;
}
