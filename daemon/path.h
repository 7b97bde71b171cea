/* SPDX-License-Identifier: MIT */
/*
 * Paths: how a root leads to an object, as text.
 */
#ifndef HEAPD_DAEMON_PATH_H
#define HEAPD_DAEMON_PATH_H

#include "reach.h"

/*
 * What keeps the object alive that the word points into: the shortest way from a root; where only what threads published at
 * the last collection leads there, a way from that. Takes heap->lock. -EINVAL: there is no object; -ENOENT:
 * nothing keeps it, -ENOMEM.
 */
int path_to(struct heap *heap, uint64_t word, char *text, size_t size);

/*
 * With heap->lock held: the way that a reach has found to one of its steps; what does not fit is cut in the
 * middle: root "shop" -> shop+0 -> order+16 -> order 0x110000002000.
 */
void path_write(const struct reach *reach, const struct reach_step *to, char *text, size_t size);

/* One step: what of which object, or which root, led here. */
void path_write_last(const struct reach *reach, const struct reach_step *to, char *text, size_t size);

#endif
