#!/bin/bash
# The short form of make crash-images: the daemon's memory as it is after each store of some work's, and of some recoveries, recovered.
# HEAPD_TEST_SEED has a run again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

images=${HEAPD_TEST_BUILD:-$PWD/build}/crash/images
[[ -x $images ]] || { echo "no $images: make tests"; exit 1; }
"$images" --stores 700 --every 64 1000
