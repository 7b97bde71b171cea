#!/bin/bash
# The demo, with workers killed, over a small directory: its answers are right, and nothing of it is left.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

demo=$(realpath "${HEAPD_TEST_BUILD:-build}")/heapd-demo
[[ -x $demo ]] || { echo "SKIP demo: $demo is not built"; exit 77; }

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/tmp"

# Real text where there is some; else texts of words that repeat in ways that can be counted.
text=/usr/include/linux
if [[ ! -d $text ]]; then
	text=$dir/text
	mkdir "$text"
	for ((i = 1; i <= 300; i++)); do
		for ((k = 1; k <= 200; k++)); do
			echo "all word_$((k % 50)) file_$i place_$((i * k % 997))"
		done >"$text/$i.txt"
	done
fi

bad=0
complain() {
	echo "$1"
	bad=1
}

# Whatever was started below the demo has its TMPDIR, or names what lies in there.
left() {
	{ grep -lszxF "TMPDIR=$dir/tmp" /proc/[0-9]*/environ | cut -d / -f 3; pgrep -f "$dir/tmp/"; } 2>/dev/null | sort -u
}

TMPDIR=$dir/tmp timeout 100 "$demo" -q -k 20 "$text" >"$dir/out" 2>&1
status=$?
((status == 0)) || complain "exit status $status"
[[ ! -s $dir/out ]] || { complain "it says:"; cat "$dir/out"; }
[[ -z $(ls -A "$dir/tmp") ]] || complain "left behind: $(ls -A "$dir/tmp")"
pids=$(left)
if [[ -n $pids ]]; then
	complain "left running:"
	ps -o pid=,args= -p "$(xargs <<<"$pids" | tr ' ' ,)"
	xargs kill -KILL <<<"$pids" 2>/dev/null
fi
exit $bad
