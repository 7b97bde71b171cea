/* SPDX-License-Identifier: MIT */
/*
 * Hiding: the only pointer to a node stands in one place for a while, and nowhere else.
 */
#ifndef HEAPD_STRESS_HIDE_H
#define HEAPD_STRESS_HIDE_H

#include "node.h"

/*
 * Takes the complement of an address, and returns that again; in between the address itself stands in a register, on
 * the stack, or as an address inside the node or just past its end. Some of it passes in a system call, or offline.
 */
uintptr_t hide(struct actor *a, uintptr_t inverted, size_t bytes);

#endif
