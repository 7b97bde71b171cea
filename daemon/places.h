/* SPDX-License-Identifier: MIT */
/*
 * Where slots lie that are out and hold no object: in rings, current slabs and spares. See verifier.h.
 */
#ifndef HEAPD_DAEMON_PLACES_H
#define HEAPD_DAEMON_PLACES_H

#include "verifier.h"

/* What clients hold. -ENOMEM. */
int places_gather(struct verifier *v);

/* After that: what rings hold is as it was put in, and each slab is in one place. Fills in_ring. */
void places_verify_rings(struct verifier *v);

/* After rings and spans: what clients hold is out, and nowhere else. */
void places_verify_held(struct verifier *v);

/* Adds the slots that lie in rings, current slabs and spares, by slab. */
void places_free(const struct verifier *v, uint64_t *free_slots);

#endif
