/* SPDX-License-Identifier: MIT */
/*
 * sanity.h - whether the small tables of a heap's directory can be what a daemon wrote.
 */
#ifndef HEAPCTL_SANITY_H
#define HEAPCTL_SANITY_H

#include "ctl.h"

/* Says what cannot be, as ctl_broken() does. Everything else checks what it uses all the same. */
void sanity_check(const struct ctl *ctl);

#endif
