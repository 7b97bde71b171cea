#!/bin/bash
# The short form of build/crash/shortage: every 40th use of memory and every 40th call of the daemon's fails, once and for good.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/crash
[[ -x $dir/shortage ]] || { echo "no $dir/shortage: make tests"; exit 1; }

"$dir/shortage" --step 40
