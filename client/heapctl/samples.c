/* SPDX-License-Identifier: MIT */
/*
 * samples.c - owns the samples of one run.
 *
 * Of an object whose address the daemon was told, it is seen in the directory whether it is still there: its slot is given
 * out, and the bit is set that the daemon clears when it gives the slot out anew (heapd/slab.h). That is so for what is
 * freed by hand and for what a collection frees. An address that is sampled again is another object's: the older is
 * gone. Not seen is what a client frees and allocates again out of one slab that it holds all the while: then the
 * sample stands for the slot's next object.
 */
#include "samples.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/message.h"
#include "spans.h"

void samples_init(struct samples *s, const struct ctl *ctl)
{
	*s = (struct samples){ .ctl = ctl };
}

static void keep(void *node)
{
	(void)node;
}

void samples_free(struct samples *s)
{
	tdestroy(s->stacks_tree, keep);
	tdestroy(s->addresses_tree, keep);
	for (uint32_t i = 0; i < s->nstacks; i++)
		free(s->stacks[i]);
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i]);
	free(s->stacks);
	free(s->list);
	*s = (struct samples){ 0 };
}

static int compare_frames(const struct frame *a, const struct frame *b)
{
	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int compare_stacks(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;
	int order = x->class != y->class ? (x->class < y->class ? -1 : 1) : (int)x->n - (int)y->n;

	for (uint32_t i = 0; !order && i < x->n; i++)
		order = compare_frames(&x->frames[i], &y->frames[i]);
	return order;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static struct stack *stack_add(struct samples *s, const struct stack *key)
{
	struct stack **list = reallocarray(s->stacks, s->nstacks + 1u, sizeof(*list));
	struct stack *stack = list ? malloc(sizeof(*stack)) : NULL;

	if (list)
		s->stacks = list;
	if (!stack)
		return NULL;
	*stack = *key;
	stack->id = s->nstacks;
	if (!tsearch(stack, &s->stacks_tree, compare_stacks)) {
		free(stack);
		return NULL;
	}
	list[s->nstacks++] = stack;
	return stack;
}

static struct stack *stack_find(struct samples *s, uint32_t class, const struct frame *frames, uint32_t n)
{
	struct stack key = { .class = class, .n = n < SAMPLES_FRAMES ? n : SAMPLES_FRAMES };
	struct stack *const *found;

	for (uint32_t i = 0; i < key.n; i++)
		key.frames[i] = frames[i];
	found = tfind(&key, &s->stacks_tree, compare_stacks);
	return found ? *found : stack_add(s, &key);
}

static bool list_room(struct samples *s)
{
	size_t room = s->room ? s->room * 2 : 1024;
	struct sample **list;

	if (s->n < s->room)
		return true;
	list = reallocarray(s->list, room, sizeof(*list));
	if (!list)
		return false;
	s->list = list;
	s->room = room;
	return true;
}

int samples_add(struct samples *s, const struct sample *sample, uint32_t class, const struct frame *frames,
		uint32_t n)
{
	struct stack *stack = stack_find(s, class, frames, n);
	struct sample *copy = stack && list_room(s) ? malloc(sizeof(*copy)) : NULL, **older;

	if (!copy)
		return ctl_say(CTL_TROUBLE, "out of memory");
	*copy = *sample;
	copy->stack = stack->id;
	older = tfind(copy, &s->addresses_tree, compare_addresses);
	if (older)
		(*older)->dead = true;
	if (older)
		*older = copy;
	else if (!tsearch(copy, &s->addresses_tree, compare_addresses)) {
		free(copy);
		return ctl_say(CTL_TROUBLE, "out of memory");
	}
	stack->bytes += sample->weight;
	stack->objects += sample->bytes ? (double)sample->weight / (double)sample->bytes : 0;
	s->list[s->n++] = copy;
	s->seen++;
	return CTL_OK;
}

static int mark_page(struct samples *s, struct sample *const *list, uint32_t n)
{
	struct heapd_message m = { .op = HEAPD_OP_SAMPLED, .sampled = { .count = n } };
	int r;

	for (uint32_t i = 0; i < n; i++)
		m.sampled.objects[i] = list[i]->address;
	r = request_call(s->ctl->heap, &m, NULL, NULL);
	if (r < 0)
		return ctl_failed(r);
	for (uint32_t i = 0; i < n; i++) {
		list[i]->marked = true;
		list[i]->dead |= !m.sampled.objects[i];
	}
	return CTL_OK;
}

int samples_mark(struct samples *s)
{
	int status = CTL_OK;

	while (s->unmarked < s->n && status == CTL_OK) {
		size_t n = s->n - s->unmarked;

		n = n < HEAPD_SAMPLED_PAGE ? n : HEAPD_SAMPLED_PAGE;
		status = mark_page(s, s->list + s->unmarked, (uint32_t)n);
		s->unmarked += status == CTL_OK ? n : 0;
	}
	return status;
}

static bool is_live(const struct samples *s, const struct sample *sample)
{
	struct slot_state state;

	if (sample->dead || !slot_look(s->ctl, sample->address, &state))
		return false;
	return state.out && (state.sampled || !sample->marked);
}

static void forget(struct samples *s, struct sample *sample)
{
	struct sample **found = tfind(sample, &s->addresses_tree, compare_addresses);

	if (found && *found == sample)
		tdelete(sample, &s->addresses_tree, compare_addresses);
	free(sample);
}

void samples_live(struct samples *s)
{
	size_t kept = 0, unmarked = 0;

	for (uint32_t i = 0; i < s->nstacks; i++)
		s->stacks[i]->live_objects = 0, s->stacks[i]->live_bytes = 0;
	for (size_t i = 0; i < s->n; i++) {
		struct sample *sample = s->list[i];
		struct stack *stack = s->stacks[sample->stack];

		if (!is_live(s, sample)) {
			forget(s, sample);
			continue;
		}
		stack->live_bytes += sample->weight;
		stack->live_objects += sample->bytes ? (double)sample->weight / (double)sample->bytes : 0;
		unmarked += i < s->unmarked;
		s->list[kept++] = sample;
	}
	s->n = kept;
	s->unmarked = unmarked;
}
