#!/bin/bash
# The short form of make crash, as far as clients are stopped instead of killed: at stores picked by a seed, for cycles on end, and let go
# on: the late store harms nobody. HEAPD_TEST_SEED has a run again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/crash
[[ -x $dir/kill ]] || { echo "no $dir/kill: make tests"; exit 1; }

exec "$dir/kill" --most 2 --stop --stores
