/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_DANGLING_H
#define HEAPD_CLIENT_DANGLING_H

#include "client.h"

/*
 * The agent's, after a cycle: leaves a report of words in this process's own memory that point to where no object is any
 * more, each word once.
 */
hidden void dangling_look(struct heapd_heap *heap);
hidden void dangling_free(struct heapd_heap *heap);

#endif
