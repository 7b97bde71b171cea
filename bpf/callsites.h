/* SPDX-License-Identifier: MIT */
/*
 * Where allocations come from, as a page of text: a line for each stack.
 */
#ifndef HEAPD_BPF_CALLSITES_H
#define HEAPD_BPF_CALLSITES_H

#include <event2/buffer.h>

#include "heaps.h"
#include "loader.h"

/*
 * Folded stacks, as flame graphs are made of: the heap, the frames from the outermost to the innermost, a blank and the
 * bytes. Those with the most bytes come first.
 */
void callsites_write(const struct loader *loader, const struct heaps *heaps, struct evbuffer *out);

#endif
