#!/bin/bash
# The short form of make crash, as far as it is about clients: killed at instructions picked by a seed, in every operation, by
# sequences and by compare-and-swap, in hardened heaps, with the agent's first call failing, which leaves a
# process that is to live, with nothing mapped in a child that no daemon took in, and system calls of theirs that fail. HEAPD_TEST_SEED
# has a run again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=${HEAPD_TEST_BUILD:-$PWD/build}/crash
[[ -x $dir/kill ]] || { echo "no $dir/kill: make tests"; exit 1; }

# With a sanitizer each takes several times as long.
most=6 more=4
((${CK_TIMEOUT_MULTIPLIER:-1} == 1)) || most=2 more=1
"$dir/kill" --most $most && "$dir/kill" --most $more --cas && "$dir/kill" --most $more --hardened &&
	"$dir/kill" --more --most 4 --operation attach-no-agent && "$dir/kill" --more --most 4 --operation orphan-bare && "$dir/faults" --most 3
