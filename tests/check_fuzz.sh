#!/bin/bash
# The short form of make fuzz: each target runs its corpus, then for some seconds what a seed makes of it. HEAPD_TEST_SEED has a
# run again. An input that ends badly is shown.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/fuzz
room=$(mktemp -d) || exit 1
trap 'rm -rf "$room"' EXIT
bad=0

for target in memory socket; do
	[[ -x $dir/$target ]] || { echo "no $dir/$target: make tests"; exit 1; }
	corpus=$PWD/tests/fuzz/corpus/$target
	[[ -n $(ls "$corpus") ]] || { echo "$corpus is empty"; exit 1; }
	echo "$target:"
	(cd "$room" && "$dir/$target" --seconds 5 "$corpus") && continue
	bad=1
	echo "$target fails with this input:"
	base64 "$room"/fuzz-last.* && rm -f "$room"/fuzz-last.*
done
exit $bad
