/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_MAP_H
#define HEAPD_CLIENT_MAP_H

#include "client.h"
#include "heapd/message.h"

/*
 * Maps the heap that w describes and checks that it is what this library was built for. fds: heap,
 * directory, control (-1 when read-only) and session; the first three stay open with the heap,
 * session is the caller's. On failure nothing stays mapped, and the descriptors are the caller's.
 */
hidden int map_heap(struct heapd_heap *heap, const struct heapd_welcome *w, const int fds[4]);

/* Opens the parts of the session that belong to thread record `index`: its barrier ring, its published words. */
hidden int map_thread(struct heapd_heap *heap, uint32_t index);

/* In a forked child, where none of it is mapped: the same again at the same addresses. */
hidden int map_again(struct heapd_heap *heap, int session);

/*
 * In a forked child that gets no heap: the directory is mapped again, so that calls with the old
 * handle can look around in it; there is no CPU that has a row, so none of them allocates.
 */
hidden void map_orphan(struct heapd_heap *heap);

/* Unmaps everything and closes the three descriptors; harmless when nothing is mapped. */
hidden void map_drop(struct heapd_heap *heap);

/* A part of another session's memory, for a moment; NULL and the sentence if it cannot be had. */
hidden void *map_window(int session, uint64_t at, uint64_t bytes);

#endif
