#!/bin/bash
# Read once: what clients can write is loaded again, within one piece of work, only where tests/fuzz/rereads.txt says why that
# is right; and the daemon stays sound if it changes between two loads. HEAPD_TEST_SEED has a run again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

reads=${HEAPD_TEST_BUILD:-$PWD/build}/fuzz/reads
[[ -x $reads ]] || { echo "no $reads: make tests"; exit 1; }
room=$(mktemp -d) || exit 1
trap 'rm -rf "$room"' EXIT

"$reads" tests/fuzz/corpus/memory >"$room/pairs" || exit 1
# Lines "FUNCTION FILE:LINE FUNCTION FILE:LINE".
awk '{ print $1; print $2 }' "$room/pairs" | addr2line -f -s -e "$reads" | sed 's/ (discriminator.*//' | paste -d ' ' - - - - >"$room/named" || exit 1
n=$(wc -l <"$room/named")
((n >= 10)) || { echo "only $n pairs of loads were seen: are loads traced?"; exit 1; }

bad=0
while read -r first at second again; do
	grep -qE "^$first $second( |\$)" tests/fuzz/rereads.txt && continue
	echo "$second ($again) loads again what $first ($at) loaded: not in tests/fuzz/rereads.txt"
	bad=1
done <"$room/named"
echo "$n pairs of loads of the same word"

"$reads" --swap --most "${READS_MOST:-16}" tests/fuzz/corpus/memory || bad=1
exit $bad
