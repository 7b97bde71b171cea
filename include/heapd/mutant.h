/* SPDX-License-Identifier: MIT */
/*
 * Mutants: one rule of the collector left out, to see that the stress notices (make stress-mutants).
 *
 * MUTANT(name) is false, and no code, in every build but the stress's own (-DHEAPD_MUTANT). There the environment
 * says which one a process is, as a number: HEAPD_MUTANT=3; without it, none.
 */
#ifndef HEAPD_MUTANT_H
#define HEAPD_MUTANT_H

#define MUTANTS(M)             \
	M(none)                \
	M(no_deletion_shade)   \
	M(no_insertion_shade)  \
	M(one_round)           \
	M(no_scan)             \
	M(no_registers)        \
	M(no_past)             \
	M(offline_unscanned)   \
	M(spares_unheld)       \
	M(currents_unheld)     \
	M(taken_unheld)        \
	M(ringed_unmarked)     \
	M(no_last_pass)        \
	M(pins_unshaded)       \
	M(dead_forgotten)      \
	M(harvest_in_cycle)    \
	M(push_in_cycle)       \
	M(rings_emptied_late)  \
	M(standing_ignored)    \
	M(withdrawn_unlocked)  \
	M(handed_back_unnoted) \
	M(lost_install_unseen) \
	M(newcomers_unseen)    \
	M(newborn_by_slab)     \
	M(newborn_early)       \
	M(unclaimed)           \
	M(unclaimed_in_cycle)  \
	M(lent_first)          \
	M(dead_unlent)         \
	M(lent_before_gate)

#ifdef HEAPD_MUTANT
#include <stdbool.h>
#include <stdlib.h>

#define HEAPD_MUTANT_NUMBER_(name) MUTANT_##name,
enum heapd_mutant { MUTANTS(HEAPD_MUTANT_NUMBER_) MUTANT_COUNT };

/* Read once in each unit; whoever comes first may be a signal handler, which getenv() does not mind. */
static inline bool heapd_mutant_is(enum heapd_mutant mutant)
{
	static int chosen = -1;

	if (__builtin_expect(chosen < 0, 0)) {
		const char *text = getenv("HEAPD_MUTANT");
		chosen = text ? atoi(text) : 0;
	}
	return chosen == (int)mutant;
}
#define MUTANT(name) heapd_mutant_is(MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
