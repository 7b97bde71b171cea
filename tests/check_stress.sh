#!/bin/bash
# The short form of the stress: the collector against threads and processes that hide, move, fork and die, for 20 s,
# with delays in it; and two mutants, which it has to find: a stress that finds nothing is no stress.
# HEAPD_STRESS_SECONDS, HEAPD_TEST_SEED as tests/stress/gc.c has them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/shaken
[[ -x $dir/stress/gc ]] || { echo "no $dir/stress/gc: make shaken"; exit 1; }

HEAPD_STRESS_SECONDS=${HEAPD_STRESS_SECONDS:-20} scripts/run-stress "$dir" || exit 1
for mutant in no_deletion_shade currents_unheld; do
	MUTANT_RUNS=1 MUTANT_SECONDS=20 scripts/run-mutants "$dir" "$mutant" || exit 1
done
