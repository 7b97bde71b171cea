/* SPDX-License-Identifier: MIT */
/*
 * allocations.c - owns the operations that allocate and free, each with what has to be there before.
 *
 * prepare() brings the thread into the state that the operation is about (a used-up slab, a batch in a spare, a slab of
 * another CPU's); the contract's own tables are read for that, nothing is written that is not the library's doing.
 */
#include <sched.h>
#include <stdio.h>

#include "heapd/session.h"
#include "heapd/sizeclass.h"
#include "operations.h"

/* Slabs ------------------------------------------------------------------------------------------------------------ */

static uint64_t free_here(const struct scene *s, uint32_t class)
{
	const struct heapd_rseq_entry *e = s->tables.rseq_rows + (uint64_t)s->cpu * HEAPD_CLASS_MAX + class;
	const struct heapd_pair *p = s->tables.cas_rows +
				     ((uint64_t)s->cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;

	if (!s->sequences)
		return p->second;
	return e->slabs[0].bits | e->slabs[1].bits;
}

/* In a hardened heap there is a word more in each slot. */
static uint32_t class_of(const struct scene *s, uint64_t bytes)
{
	bool hardened = s->tables.directory->cycle.debug & HEAPD_DEBUG_HARDENED;

	return HEAPD_TYPE_ANY * HEAPD_SIZECLASS_TOTAL + heapd_sizeclass_of(bytes + 8 * hardened);
}

/* Until nothing of the class is left in this CPU's slabs; the last one stays, and guards the slab. */
void drain(struct scene *s, uint64_t bytes)
{
	s->object = heapd_alloc(s->heap, bytes);
	while (free_here(s, class_of(s, bytes)))
		s->object = heapd_alloc(s->heap, bytes);
	if (bytes >= sizeof(struct node))
		guard_set(s, s->object);
}

void one64(struct scene *s)
{
	s->object = heapd_alloc(s->heap, 64);
}

void drain64(struct scene *s)
{
	drain(s, 64);
}

void drain3072(struct scene *s)
{
	drain(s, 3072);
}

/* Nothing left here, nor in this thread's spares: what comes next is the ring's. */
void drain_spares(struct scene *s)
{
	for (unsigned i = 0; i < 16; i++)
		drain(s, 4096);
}

void one_of_each(struct scene *s)
{
	static const size_t sizes[] = { 16, 32, 64, 128, 200, 1000, 2048 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		use(heapd_alloc(s->heap, sizes[i]));
		use(heapd_alloc_leaf(s->heap, sizes[i]));
	}
	s->object = heapd_new(s->nodes, struct node);
	use(heapd_new_array(s->nodes, struct node, 3));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 5));
}

void alloc_small(struct scene *s)
{
	use(heapd_alloc(s->heap, 16));
	use(heapd_alloc(s->heap, 32));
	use(heapd_alloc(s->heap, 64));
	use(heapd_alloc(s->heap, 128));
	use(heapd_alloc_leaf(s->heap, 16));
	use(heapd_alloc_leaf(s->heap, 64));
	use(heapd_alloc_leaf(s->heap, 128));
}

void alloc_medium(struct scene *s)
{
	use(heapd_alloc(s->heap, 200));
	use(heapd_alloc(s->heap, 1000));
	use(heapd_alloc_leaf(s->heap, 200));
}

void alloc_typed(struct scene *s)
{
	use(heapd_new(s->nodes, struct node));
	use(heapd_new_array(s->nodes, struct node, 3));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 5));
	use(heapd_new_array(heapd_type_any(s->heap), char, 40));
	use(heapd_type_alloc(heapd_type_leaf(s->heap), 1));
}

void alloc_typed_large(struct scene *s)
{
	use(heapd_new_array(s->nodes, struct node, 1000));
	use(heapd_new_flex(s->flexibles, struct flexible, tail, 9000));
}

void alloc_aligned(struct scene *s)
{
	use(heapd_alloc_aligned(s->heap, 100, 64));
	use(heapd_alloc_aligned(s->heap, 5000, 4096));
	use(heapd_alloc_aligned(s->heap, 100, 65536));
}

void alloc_many(struct scene *s)
{
	use((void *)heapd_alloc_many(s->heap, 64, 20, s->others));
}

void alloc_copies(struct scene *s)
{
	use(heapd_strdup(s->heap, "thirty bytes or so, of text"));
	use(heapd_memdup(s->heap, s->text, sizeof(s->text)));
}

void alloc_large(struct scene *s)
{
	use(heapd_alloc(s->heap, 100000));
}

void alloc64(struct scene *s)
{
	use(heapd_alloc(s->heap, 64));
}

void alloc3072(struct scene *s)
{
	use(heapd_alloc(s->heap, 3072));
}

void alloc4096(struct scene *s)
{
	use(heapd_alloc(s->heap, 4096));
}

/* A class that nobody has allocated from: its first slab is asked for. A heap has room for about a thousand. */
void prepare_fresh(struct scene *s)
{
	char name[32];

	snprintf(name, sizeof(name), "fresh %u", s->board->types++);
	s->fresh = heapd_type_define(s->heap, name, struct node, next);
}

void alloc_fresh(struct scene *s)
{
	if (s->fresh)
		use(heapd_new(s->fresh, struct node));
}

/* The slab that collects frees has some, the one that is allocated from has none. */
void prepare_turn(struct scene *s)
{
	void *kept[8];

	drain(s, 256);
	for (unsigned i = 0; i < 8; i++)
		kept[i] = heapd_alloc(s->heap, 256);
	drain(s, 256);
	for (unsigned i = 0; i < 8; i++)
		heapd_free(kept[i]);
}

void alloc256(struct scene *s)
{
	use(heapd_alloc(s->heap, 256));
}

/* One slot to a slab, and faster than the daemon supplies: the ring is found empty, and waited for. */
void prepare_burst(struct scene *s)
{
	for (unsigned i = 0; i < 64; i++)
		use(heapd_alloc(s->heap, 32768));
}

void burst(struct scene *s)
{
	for (unsigned i = 0; i < 40; i++)
		use(heapd_alloc(s->heap, 32768));
}

void prepare_realloc(struct scene *s)
{
	s->object = heapd_alloc(s->heap, 100);
	s->others[0] = heapd_alloc(s->heap, 5000);
	s->others[1] = heapd_alloc(s->heap, 100);
	heapd_init((struct node **)s->object, s->stage->node[3]);
	use(heapd_alloc(s->heap, 1000));
}

void do_realloc(struct scene *s)
{
	s->object = heapd_realloc(s->heap, s->object, 1000);
	s->object = heapd_realloc(s->heap, s->object, 1010);
	s->others[0] = heapd_realloc(s->heap, s->others[0], 64);
	s->others[2] = heapd_realloc(s->heap, NULL, 64);
	s->others[1] = heapd_realloc(s->heap, s->others[1], 0);
}

void prepare_realloc_large(struct scene *s)
{
	s->object = heapd_alloc(s->heap, 32800);
}

void realloc_large(struct scene *s)
{
	s->object = heapd_realloc(s->heap, s->object, 34000);
}

/* Free ------------------------------------------------------------------------------------------------------------- */

void prepare_free(struct scene *s)
{
	for (unsigned i = 0; i < 32; i++)
		s->others[i] = heapd_alloc(s->heap, 64);
	for (unsigned i = 0; i < 4; i++)
		heapd_free(s->others[16 + i]);
}

void free_some(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++)
		heapd_free(s->others[i]);
}

/* Slots of another size than 64 to a slab take the longer sequence. */
void prepare_free_push(struct scene *s)
{
	for (unsigned i = 0; i < 40; i++)
		s->others[i] = heapd_alloc(s->heap, 1024);
	s->object = s->others[0];
}

void free_push(struct scene *s)
{
	for (unsigned i = 0; i < 40; i += 3)
		heapd_free(s->others[i]);
}

static void move_to(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

void prepare_free_remote(struct scene *s)
{
	prepare_free_push(s);
	s->object = heapd_alloc(s->heap, 64);
	move_to(s->cpu ^ 1);
	use(heapd_alloc(s->heap, 1024));
}

void free_remote(struct scene *s)
{
	heapd_free(s->others[1]);
	heapd_free(s->others[9]);
	heapd_free(s->object);
}

void prepare_free_large(struct scene *s)
{
	s->object = heapd_alloc(s->heap, 100000);
}

void free_one(struct scene *s)
{
	heapd_free(s->object);
}

/* Of a size that nobody else uses: what is freed twice may be another one's by then. */
void prepare_free_wrong(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++)
		s->others[i] = heapd_alloc(s->heap, 352);
}

void free_wrong(struct scene *s)
{
	heapd_free(s->others[0]);
	heapd_free(s->others[0]);
	heapd_free((char *)s->others[1] + 8);
	heapd_free(s->text);
	heapd_free(NULL);
}
