#!/bin/bash
# The short form of the stress: the collector against threads and processes that hide, move, fork and die, for 20 s,
# with delays in it; the scenarios that lead several threads to one instruction each; and mutants, which these have to find: a
# stress that finds nothing is no stress.
# HEAPD_STRESS_SECONDS, HEAPD_TEST_SEED as tests/stress/gc.c has them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/shaken
[[ -x $dir/stress/gc ]] || { echo "no $dir/stress/gc: make shaken"; exit 1; }

HEAPD_STRESS_SECONDS=${HEAPD_STRESS_SECONDS:-20} scripts/run-stress "$dir" || exit 1
HEAPD_TEST_BUILD=$dir LD_LIBRARY_PATH=$dir "$dir/stress/directed" || exit 1
# What it takes away lies in frames of calls that have ended, too, which with the sanitizer stay as they are where nothing writes.
framed=rings_emptied_late
[[ " ${CK_EXCLUDE_TAGS:-} " != *" frames "* ]] || framed=
for mutant in no_deletion_shade currents_unheld one_round newcomers_unseen $framed no_insertion_shade no_last_pass push_in_cycle \
	harvest_in_cycle handed_back_unnoted lost_install_unseen withdrawn_unlocked newborn_by_slab newborn_early unclaimed \
	unclaimed_in_cycle lent_first dead_unlent lent_before_gate; do
	MUTANT_RUNS=1 MUTANT_SECONDS=20 scripts/run-mutants "$dir" "$mutant" || exit 1
done
