#!/bin/bash
# The short form of make crash: clients killed at instructions picked by a seed, in every operation, by sequences and by
# compare-and-swap; system calls of theirs that fail; the daemon killed at some of its stores, and shown some of what a client can
# write. HEAPD_TEST_SEED has a run again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/crash
[[ -x $dir/kill ]] || { echo "no $dir/kill: make tests"; exit 1; }

"$dir/kill" --most 12 && "$dir/kill" --most 8 --cas && "$dir/stores" --most 16 &&
	"$dir/bits" --most 2 && "$dir/faults" --most 5
