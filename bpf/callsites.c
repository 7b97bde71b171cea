/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing. A stack is named by what stays true when its process has ended and its library was loaded elsewhere: build
 * ids and offsets, which debuggers and debuginfod know. As a label of a metric it would have no bound.
 */
#include "callsites.h"

#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

/* Any process may fire the probe with any words for a heap's name. */
static bool is_known(const struct heaps *heaps, const struct loader_site *site)
{
	for (unsigned i = 0; i < heaps->n; i++)
		if (!strncmp(heaps->all[i]->name, site->key.heap, sizeof(site->key.heap)))
			return true;
	return false;
}

static int by_bytes(const void *a, const void *b)
{
	unsigned long long x = ((const struct loader_site *)a)->site.bytes;
	unsigned long long y = ((const struct loader_site *)b)->site.bytes;

	return x < y ? 1 : -(x > y);
}

static void frame_write(const struct site_frame *frame, struct evbuffer *out)
{
	bool has_id = frame->status == BPF_STACK_BUILD_ID_VALID;

	evbuffer_add(out, ";", 1);
	for (unsigned i = 0; has_id && i < sizeof(frame->id); i++)
		evbuffer_add_printf(out, "%02x", frame->id[i]);
	evbuffer_add_printf(out, "%s0x%llx", has_id ? "+" : "", frame->at);
}

static void site_write(const struct loader_site *site, struct evbuffer *out)
{
	unsigned n = site->site.n < SITE_FRAMES ? (unsigned)site->site.n : SITE_FRAMES;

	evbuffer_add_printf(out, "%.*s", DISTRIBUTION_HEAP, site->key.heap);
	for (unsigned i = n; i--;)
		frame_write(&site->site.frames[i], out);
	evbuffer_add_printf(out, "%s %llu\n", n ? "" : ";unknown", site->site.bytes);
}

void callsites_write(const struct loader *loader, const struct heaps *heaps, struct evbuffer *out)
{
	struct loader_lost lost = loader_lost(loader);
	struct loader_site *sites;
	unsigned n;

	sites = loader_sites(loader, &n);
	if (sites)
		qsort(sites, n, sizeof(*sites), by_bytes);
	for (unsigned i = 0; i < n; i++)
		if (is_known(heaps, &sites[i]))
			site_write(&sites[i], out);
	if (lost.room)
		evbuffer_add_printf(out, "lost %llu\n", lost.room);
	free(sites);
}
