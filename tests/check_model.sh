#!/bin/bash
# The models of the collector (tests/model): the small instances hold, and each mutant of them is found out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

command -v spin >/dev/null || { echo "SKIP model: spin is not installed, the collector's models are NOT checked"; exit 77; }
HEAPD_TEST_BUILD=$(realpath "${HEAPD_TEST_BUILD:-build}") exec tests/model/run small
