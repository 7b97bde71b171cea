#!/bin/bash
# The short form of make crash, as far as it is about the daemon: killed before some of its stores, also as it is asked to end, and
# shown some of what a client can write. HEAPD_TEST_SEED has a run again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/crash
[[ -x $dir/stores ]] || { echo "no $dir/stores: make tests"; exit 1; }

"$dir/stores" --plain --most 12 && "$dir/stores" --plain --ends --most 6 && "$dir/bits" --most 1 --verify 32
