/* SPDX-License-Identifier: MIT */
/*
 * Directed scenarios of slabs on their way from one place to another, which the collector or the sweep comes by meanwhile.
 */
#include <errno.h>

#include "client/client.h"
#include "client/thread.h"
#include "scene.h"

static void conduct(struct scene *s, void *(*conductor)(void *arg))
{
	s->main_tid = (uint32_t)gettid();
	if (pthread_create(&s->conductor, NULL, conductor, s))
		miss("no thread");
}

static unsigned spares_of(const struct scene *s, size_t bytes)
{
	const struct heapd_thread *self = heapd_self;
	unsigned n = 0;

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		n += self->spares[i].entry &&
		     (!bytes || s->heap->t.classes[self->spares[i].class].slot_size == bytes);
	return n;
}

/* A spare is handed back while step 3 looks: it is neither there any more nor shown yet. */
static void *handback_conduct(void *arg)
{
	struct scene *s = (struct scene *)arg;

	await(s, STEP_barriers_up);
	want(s, STEP_spare_cleared, s->main_tid);
	atomic_store(&s->ready, true);
	await(s, STEP_spare_cleared);
	want(s, STEP_gathered, STEP_ANYBODY);
	release(s, STEP_barriers_up);
	await(s, STEP_gathered);
	atomic_store(&s->enough, true);
	release(s, STEP_spare_cleared);
	release(s, STEP_gathered);
	return NULL;
}

/* Which slot of what was handed back lies at the address; -1: none. */
static bool was_handed_back(const struct scene *s, const struct heapd_batch *batch, const void *p)
{
	const struct heapd_span *span = &s->heap->t.spans[heapd_entry_page(batch->entry)];
	uint64_t offset = (uint64_t)(uintptr_t)p - s->heap->t.base -
			  ((uint64_t)heapd_entry_page(batch->entry) << HEAPD_PAGE_SHIFT),
		 index = offset / span->elemsize;

	if (offset >= (uint64_t)span->npages << HEAPD_PAGE_SHIFT)
		return false;
	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present), k = heapd_entry_slab(batch->entry) + i;

		if (index / span->slab_slots == k && batch->masks[i] >> index % span->slab_slots & 1)
			return true;
	}
	return false;
}

static struct cell *again(struct scene *s, const struct heapd_batch *batch, size_t bytes)
{
	for (unsigned i = 0; i < 10 * SCENE_MANY; i++) {
		void *p = heapd_alloc(s->heap, bytes);

		if (!p)
			fail("%s", heapd_error());
		if (was_handed_back(s, batch, p))
			return (struct cell *)p;
	}
	return NULL;
}

/* Of this size something is left over from what was taken from the ring. */
static void spare_make(struct scene *s, size_t bytes)
{
	unsigned n = 0;

	while (!spares_of(s, bytes) && n++ < SCENE_MANY)
		allocate_many(s, bytes, 1);
	if (!spares_of(s, bytes))
		miss("there is no spare");
}

#define COMMITTED (128ul << 20) /* bytes, of which rings may have a share: enough for all of these sizes */

/* All places are taken, by sizes up to the one that is returned. */
static size_t spares_fill(struct scene *s)
{
	size_t bytes = 16;

	allocate_many(s, COMMITTED, 1);
	while (spares_of(s, 0) < HEAPD_SPARE_COUNT) {
		bytes = heapd_sizeclass_size(heapd_sizeclass_of(bytes + 1));
		spare_make(s, bytes);
	}
	return bytes;
}

void handed_back_unnoted(struct scene *s)
{
	const struct heapd_thread *self = heapd_self;
	size_t other = spares_fill(s) + 1;
	uint32_t before = (uint32_t)self->handback_tail;
	struct cell *c;

	want(s, STEP_harvest, STEP_ANYBODY);
	want(s, STEP_barriers_up, STEP_ANYBODY);
	conduct(s, handback_conduct);
	collect_begin(s);
	while (!atomic_load(&s->ready))
		nap();
	while (!atomic_load(&s->enough))
		allocate_many(s, other, 1);
	pthread_join(s->conductor, NULL);
	collect_end(s);
	if ((uint32_t)self->handback_tail == before)
		miss("nothing was handed back");
	struct heapd_batch batch = self->handback[before % HEAPD_HANDBACK_COUNT];
	size_t bytes = s->heap->t.classes[batch.class].slot_size;
	c = again(s, &batch, bytes);
	if (c) {
		c->id = SCENE_ID;
		heapd_store(&s->root->next, c);
	}
	want(s, STEP_harvest, 0);
	must(heapd_sync(s->heap));
	allocate_many(s, bytes, SCENE_MANY);
	if (c && c->id != SCENE_ID)
		fail("a slot was given to two");
}

#define FEW 4096u /* bytes: four to a slab */
#define QUIET_NAPS \
	3000u /* in which a ring that nobody takes from is empty, and a cycle ends that nothing holds up */
#define LOUD_NAPS 5000u /* in which the bound on what processors hold is met, and looked at twice */

static void *rival_main(void *arg)
{
	struct scene *s = (struct scene *)arg;

	pin_to_first();
	allocate_many(s, 16, 1);
	atomic_store(&s->other->tid, (uint32_t)gettid());
	await_flag(&s->other->go, "a rival is to install a slab");
	allocate_many(s, FEW, 1);
	atomic_store(&s->other->done, 1);
	return NULL;
}

/* A slab goes from a spare to the note, and, since a rival was faster, back, while step 3 looks from the one to the other. */
static void *install_conduct(void *arg)
{
	struct scene *s = (struct scene *)arg;
	uint32_t collector = await(s, STEP_barriers_up);

	want(s, STEP_installing, s->main_tid);
	atomic_store(&s->ready, true);
	await(s, STEP_installing);
	atomic_store(&s->other->go, 1);
	await_flag(&s->other->done, "a rival installs its slab");
	want(s, STEP_hands, collector);
	release(s, STEP_barriers_up);
	await(s, STEP_hands);
	atomic_store(&s->enough, true);
	release(s, STEP_installing);
	while (!atomic_load(&s->passed))
		nap();
	release(s, STEP_hands);
	return NULL;
}

void lost_install_unseen(struct scene *s)
{
	uint32_t before;
	pthread_t rival;

	pin_to_first();
	if (pthread_create(&rival, NULL, rival_main, s))
		miss("no thread");
	await_flag(&s->other->tid, "a thread attaches");
	spare_make(s, FEW); /* from before the cycle: what is taken later is held in any case */
	before = heapd_self->put_back;
	want(s, STEP_barriers_up, STEP_ANYBODY);
	conduct(s, install_conduct);
	collect_begin(s);
	while (!atomic_load(&s->ready))
		nap();
	while (!atomic_load(&s->enough))
		allocate_many(s, FEW, 1);
	if (heapd_self->put_back == before)
		miss("no install was lost");
	atomic_store(&s->passed, true);
	pthread_join(s->conductor, NULL);
	collect_end(s);
	pthread_join(rival, NULL);
}

/* An object that is garbage at once, in a span that is nobody else's; no other class of so low a number is in use. */
static __attribute__((noinline)) void lone_make(struct scene *s)
{
	allocate_many(s, FEW, 1);
}

static uint64_t finished_of(const struct scene *s)
{
	return HEAPD_LOAD_ACQUIRE(&s->heap->t.directory->cycle.finished);
}

/*
 * A visit takes a slab, and stands between its processor's word and the ledger. With the lock held, as it has it, no cycle
 * gets further meanwhile. Without, one finds the slab nowhere, and takes it back itself with all of its span; and as the visit
 * comes to give it back, there is no such slab.
 */
void withdrawn_unlocked(struct scene *s)
{
	uint64_t before;

	pin_to_first();
	lone_make(s);
	for (unsigned i = 0; i < QUIET_NAPS; i++)
		nap();
	want(s, STEP_withdrawn, STEP_ANYBODY);
	for (unsigned i = 0; i < LOUD_NAPS && !standing(s, STEP_withdrawn); i++) {
		for (unsigned k = 0; k < SCENE_MANY / 10; k++)
			cell_new(s, 0);
		nap();
	}
	if (!standing(s, STEP_withdrawn))
		miss("no slab was withdrawn");
	before = finished_of(s);
	collect_begin(s);
	/* One that was under way as the slab left its processor has seen it there. */
	for (unsigned i = 0; i < QUIET_NAPS && finished_of(s) < before + 2; i++)
		nap();
	release(s, STEP_withdrawn);
	collect_end(s);
}

/* What was freed is taken back while another thread of this process stands amid a second free of it. */
static void *harvest_conduct(void *arg)
{
	struct scene *s = (struct scene *)arg;

	await(s, STEP_elsewhere);
	must(heapd_thread_attach(s->heap));
	must(heapd_sync(s->heap));
	must(heapd_thread_detach(s->heap));
	release(s, STEP_elsewhere);
	return NULL;
}

static void free_once(void *p)
{
	if (heapd_free(p) < 0)
		fail("%s", heapd_error());
}

/*
 * A slot is freed by way of the daemon, since another slab collects here, and freed again: amid the second free it arrives in the
 * ledger. Seen in neither place, it would be put into the slab that collects here next, and be in two.
 */
void lent_first(struct scene *s)
{
	void *other, *p;

	pin_to_first();
	p = heapd_alloc(s->heap, FEW);
	allocate_many(s, FEW, 64); /* so that its slab is nobody's current */
	other = heapd_alloc(s->heap, FEW);
	if (!p || !other)
		fail("%s", heapd_error());
	allocate_many(s, FEW, 64);
	want(s, STEP_harvest, STEP_ANYBODY);
	free_once(other);
	free_once(p);
	conduct(s, harvest_conduct);
	want(s, STEP_elsewhere, s->main_tid);
	if (heapd_free(p) != -EALREADY)
		fail("what was free already has been freed");
	pthread_join(s->conductor, NULL);
	want(s, STEP_harvest, 0);
}
