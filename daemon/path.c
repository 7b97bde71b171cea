/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; tells what reach.c found.
 *
 * A way is written from the object back to the root, into the end of a buffer of its own: the last pieces and the first
 * are what a reader needs, so a way that is too long loses the pieces in its middle, and says how many.
 */
#include "path.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "heapd/atomic.h"
#include "heapd/phase.h"

#define PIECE_MAX 160u

static int root_write(const struct reach *reach, const struct reach_step *step, char *text, size_t size)
{
	uint32_t cycle = heapd_now_cycle(HEAPD_READ_ONCE(reach->heap->t.directory->cycle.now));

	switch ((enum reach_source)(step->from - REACH_ROOT_MIN)) {
	case REACH_NAMED:
		return snprintf(text, size, "root \"%s\"", reach->heap->t.roots[step->word].name);
	case REACH_TICKET:
		return snprintf(text, size, "a ticket");
	case REACH_DEAD:
		return snprintf(text, size, "the queue of dead objects");
	case REACH_PIN:
		return snprintf(text, size, "a pin of process %u", step->word);
	case REACH_FLIGHT:
		return snprintf(text, size, "a reply to process %u", step->word);
	case REACH_RANGE:
		return snprintf(text, size, "a registered range of process %u (published in cycle %u)",
				step->word, cycle);
	case REACH_PAST:
		return snprintf(text, size,
				"one past its end on a stack of process %u (published in cycle %u)",
				step->word, cycle);
	default:
		return snprintf(text, size, "a stack of process %u (published in cycle %u)", step->word,
				cycle);
	}
}

static bool is_root(const struct reach_step *step)
{
	return step->from >= REACH_ROOT_MIN;
}

/* What led to the step: a root, or a field of an object. */
static void piece_write(const struct reach *reach, const struct reach_step *step, char *text, size_t size)
{
	struct reach_slot slot;

	if (is_root(step)) {
		root_write(reach, step, text, size);
		return;
	}
	slot = reach_slot_at(reach->heap, reach->steps[step->from].start);
	snprintf(text, size, "%s+%" PRIu64, reach_type(reach->heap, &slot)->name, (uint64_t)step->word * 8);
}

static void object_write(const struct reach *reach, uint64_t start, char *text, size_t size)
{
	struct reach_slot slot;
	const char *type = reach_find(reach->heap, reach->heap->t.base + start, &slot)
				   ? reach_type(reach->heap, &slot)->name
				   : "nothing";

	snprintf(text, size, "%s 0x%" PRIx64, type, reach->heap->t.base + start);
}

void path_write_last(const struct reach *reach, const struct reach_step *to, char *text, size_t size)
{
	struct reach_slot slot;

	if (is_root(to)) {
		root_write(reach, to, text, size);
		return;
	}
	slot = reach_slot_at(reach->heap, reach->steps[to->from].start);
	snprintf(text, size, "the field at offset %" PRIu64 " of %s 0x%" PRIx64, (uint64_t)to->word * 8,
		 reach_type(reach->heap, &slot)->name, reach->heap->t.base + slot.start);
}

static uint64_t depth_of(const struct reach *reach, const struct reach_step *step)
{
	uint64_t depth = 1;

	for (; !is_root(step); step = &reach->steps[step->from])
		depth++;
	return depth;
}

/* Puts a piece in front of what stands at `at`: its new begin, or 0 if there is no room. */
static size_t prepend(char *text, size_t at, const char *piece)
{
	size_t n = strlen(piece);

	if (n > at)
		return 0;
	memcpy(text + at - n, piece, n);
	return at - n;
}

/* size: at least that of a few pieces. */
void path_write(const struct reach *reach, const struct reach_step *to, char *text, size_t size)
{
	char piece[PIECE_MAX], first[PIECE_MAX], gap[64] = "";
	const struct reach_step *step = to, *root = to;
	size_t at = size - 1, reserve, before;
	uint64_t left = depth_of(reach, to);

	while (!is_root(root))
		root = &reach->steps[root->from];
	root_write(reach, root, first, sizeof(first));
	reserve = strlen(first) + sizeof(gap);
	text[at] = '\0';
	object_write(reach, to->start, piece, sizeof(piece));
	at = prepend(text, at, piece);
	for (; left > 1; left--, step = &reach->steps[step->from]) {
		piece_write(reach, step, piece, sizeof(piece));
		before = at;
		if (strlen(piece) + strlen(" -> ") + reserve > at)
			break;
		at = prepend(text, prepend(text, before, " -> "), piece);
	}
	if (left > 1)
		snprintf(gap, sizeof(gap), " -> ... %" PRIu64 " more ...", left - 1);
	at = prepend(text, at, " -> ");
	at = prepend(text, at, gap);
	at = prepend(text, at, first);
	memmove(text, text + at, size - at);
}

static int search(struct reach *reach, uint64_t start, char *text, size_t size)
{
	uint64_t step;

	reach_add_exact(reach);
	step = reach_run(reach, start);
	if (step == UINT64_MAX) {
		reach_add_published(reach);
		step = reach_run(reach, start);
	}
	if (reach->failed)
		return -ENOMEM;
	if (step == UINT64_MAX)
		return -ENOENT;
	path_write(reach, &reach->steps[step], text, size);
	return 0;
}

int path_to(struct heap *heap, uint64_t word, char *text, size_t size)
{
	struct reach_slot slot;
	struct reach reach;
	int r = -EINVAL;

	heap_lock(heap);
	if (reach_find(heap, word, &slot) && reach_is_out(heap, &slot))
		r = reach_init(&reach, heap, NULL);
	if (r == 0) {
		r = search(&reach, slot.start, text, size);
		reach_deinit(&reach);
	}
	heap_unlock(heap);
	return r;
}
