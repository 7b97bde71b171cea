/* SPDX-License-Identifier: MIT */
/*
 * sanity.c - owns the first look at a directory: a heap that is broken is said to be so before figures of it are shown.
 *
 * Right only as far as it goes: what it finds is wrong, since each record is read after the word that publishes it, and
 * none is ever changed against these rules; what it does not find may be wrong still. The daemon's own books are not seen
 * from here: "heapctl verify" has those looked at.
 */
#include "sanity.h"

#include <string.h>

#include "heapd/slab.h"

static bool name_good(const char name[HEAPD_NAME_MAX])
{
	char copy[HEAPD_NAME_MAX];

	memcpy(copy, name, sizeof(copy));
	if (!copy[0] || !memchr(copy, 0, sizeof(copy)))
		return false;
	for (const char *c = copy; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return false;
	return true;
}

static bool class_good(const struct heapd_class *c, uint32_t ntypes)
{
	uint32_t size = HEAPD_READ_ONCE(c->slot_size), slots = HEAPD_READ_ONCE(c->slab_slots);

	if (HEAPD_READ_ONCE(c->kind) > HEAPD_KIND_FLEX || HEAPD_READ_ONCE(c->type) > ntypes || size % 8)
		return false;
	return !size || slots == heapd_slab_slots(size);
}

static bool type_good(const struct heapd_type_record *t)
{
	uint32_t word = HEAPD_READ_ONCE(t->map_word), bits = HEAPD_READ_ONCE(t->map_bits);

	return HEAPD_READ_ONCE(t->state) == 1 && name_good(t->name) && word <= HEAPD_MAP_WORDS &&
	       bits <= (HEAPD_MAP_WORDS - word) * 64u;
}

static bool root_good(const struct ctl *ctl, const struct heapd_root_record *r, uint32_t ntypes)
{
	uint64_t object = HEAPD_READ_ONCE(r->object);

	return HEAPD_READ_ONCE(r->state) == 1 && name_good(r->name) && HEAPD_READ_ONCE(r->type) < ntypes &&
	       (!object || object - ctl->heap->t.base < ctl->heap->t.size);
}

static bool stats_good(const struct ctl *ctl)
{
	const struct heapd_stats *s = &ctl_directory(ctl)->stats;
	uint64_t size = ctl->heap->t.size;

	return HEAPD_READ_ONCE(s->committed) <= size && HEAPD_READ_ONCE(s->in_spans) <= size &&
	       HEAPD_READ_ONCE(s->out) <= size && HEAPD_READ_ONCE(s->in_rings) <= size &&
	       HEAPD_READ_ONCE(s->large) <= size && HEAPD_READ_ONCE(s->gc_live) <= size;
}

static void tell(const struct ctl *ctl, const char *what, uint32_t wrong, uint32_t of)
{
	if (wrong)
		ctl_broken(ctl, "%u of %u %s make no sense", wrong, of, what);
}

/* How many there are, at most; more cannot be. */
static uint32_t bounded(const struct ctl *ctl, const char *what, const uint32_t *count, uint32_t most)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(count);

	if (n <= most)
		return n;
	ctl_broken(ctl, "it says that it has %u %s, of %u that there can be", n, what, most);
	return most;
}

void sanity_check(const struct ctl *ctl)
{
	const struct heapd_directory *d = ctl_directory(ctl);
	/* In this order; a type's first class is published just before the type. */
	uint32_t nclasses = bounded(ctl, "classes", &d->nclasses, HEAPD_CLASS_MAX);
	uint32_t ntypes = bounded(ctl, "types", &d->ntypes, HEAPD_TYPE_MAX);
	uint32_t nroots = bounded(ctl, "named roots", &d->nroots, HEAPD_ROOT_MAX), wrong = 0;

	for (uint32_t i = 0; i < nclasses; i++)
		if (HEAPD_LOAD_ACQUIRE(&ctl->heap->t.classes[i].kind))
			wrong += !class_good(&ctl->heap->t.classes[i], ntypes);
	tell(ctl, "classes", wrong, nclasses);
	wrong = 0;
	for (uint32_t i = 0; i < ntypes; i++)
		wrong += !type_good(&ctl->heap->t.types[i]);
	tell(ctl, "types", wrong, ntypes);
	wrong = 0;
	for (uint32_t i = 0; i < nroots; i++)
		wrong += !root_good(ctl, &ctl->heap->t.roots[i], ntypes);
	tell(ctl, "named roots", wrong, nroots);
	if (!stats_good(ctl))
		ctl_broken(ctl, "its statistics name more bytes than it has");
	if (heapd_now_phase(HEAPD_READ_ONCE(d->cycle.now)) > HEAPD_PHASE_SWEEP)
		ctl_broken(ctl, "its collector is in a phase that there is not");
}
