#!/bin/bash
# The demo, with workers killed, over a small directory whose files are read again and again, in a heap that would not
# hold what that leaves behind: its answers are right, its garbage is collected, and nothing of it is left.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

demo=$(realpath "${HEAPD_TEST_BUILD:-build}")/heapd-demo
[[ -x $demo ]] || { echo "SKIP demo: $demo is not built"; exit 77; }

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/tmp"

# Real text where there is some; else texts of words that repeat in ways that can be counted.
ROUNDS=30 ROUNDS_SEEN=100
# With a sanitizer a round takes three times as long, or ten on a busy machine.
((${CK_TIMEOUT_MULTIPLIER:-1} == 1)) || ROUNDS=10 ROUNDS_SEEN=20
text=$dir/text
mkdir "$text"
if [[ -d /usr/include/linux ]]; then
	cp -r /usr/include/linux/. "$text"
else
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

# A file changes once the index is built: it must be read again, and answers for it be compared.
change_later() {
	for ((i = 0; i < 500; i++)); do
		grep -q ^Updated "$dir/err" 2>/dev/null && break
		sleep 0.02
	done
	echo "and one more Appended_word" >>"$changing"
}
changing=$(find "$text" -name '*.[ht]*' -type f | head -n 1)
change_later &
TMPDIR=$dir/tmp timeout $((100 * ${CK_TIMEOUT_MULTIPLIER:-1})) "$demo" -k 20 --rounds=$ROUNDS --heap-size=64M "$text" >"$dir/out" 2>"$dir/err"
status=$?
wait
((status == 0)) || complain "exit status $status"
says() {
	grep -qE -- "$1" "$dir/out" || complain "the summary does not say '$1'"
}
says "then updated $ROUNDS times"
says 'all as grep says'
says 'verify +clean'
says 'killed +[1-9][0-9]* workers'
says 'the dead left [1-9][0-9]* files half done, with [1-9][0-9]* postings'
says 'allocated +[1-9][0-9]* objects, [0-9.]+ MiB, in [0-9.]+ s: [0-9.]*[1-9][0-9.]* million a second'
# None, as a rule. One word on the coordinator's stack that is taken for a pointer, to an object or one past its end, would do: a posting
# that was taken out leads to those after it, up to 65,000 bytes. Without collection it would be a hundred MiB and more.
says 'now [0-9.]+ MiB are allocated: [0-9]{1,4} bytes more than can be reached'
! grep 'changed meanwhile' "$dir/out" || complain "a file that changed was not read again"
((bad == 0)) || cat "$dir/err" "$dir/out"

# An answer that is not grep's is found, whichever of the four kinds of questions it is to. Here it is grep that leaves
# out what it finds, all files or the last place, which is as good as an index that has more.
mkdir "$dir/bin" "$dir/few"
find "$text" -type f | sort | head -n 40 | xargs -d '\n' cp -t "$dir/few"
cat >"$dir/bin/grep" <<-EOF
	#!/bin/sh
	[ "\$1" = "\$LIE" ] || exec $(command -v grep) "\$@"
	$(command -v grep) "\$@" | case \$1 in *l*) sed -z '1,\$d' ;; *) sed '\$d' ;; esac
EOF
chmod +x "$dir/bin/grep"
asked() {
	PATH=$dir/bin:$PATH LIE=$1 TMPDIR=$dir/tmp timeout $((50 * ${CK_TIMEOUT_MULTIPLIER:-1})) \
		"$demo" -k 0 --rounds=0 "$dir/few" >"$dir/out" 2>"$dir/err"
}
# On a terminal there is a bar that fills; elsewhere none is in the way. It is drawn at the beginning and ten times a second: a
# round over this directory may end between two of these, hardly each of many.
bar='(Index|Updat|Check)ing \[#* *\] +[0-9]+ %'
TMPDIR=$dir/tmp timeout $((50 * ${CK_TIMEOUT_MULTIPLIER:-1})) script -qec "'$demo' -k 0 --rounds=$ROUNDS_SEEN '$text'" /dev/null \
	</dev/null >"$dir/terminal" 2>&1 || complain "on a terminal: exit status $?"
for stage in 'Indexing \[' 'Updating \[#+' 'Checking \[#+'; do
	grep -qE "$stage[# ]*\] +[0-9]+ %" "$dir/terminal" || complain "no bar on a terminal: $stage"
done
! grep -E "$bar" "$dir/err" || complain "a bar where there is no terminal"

asked none || { complain "with an honest grep: exit status $?"; cat "$dir/err"; }
for kind in -ahowF -abHoZwF -ahoP -alZwF; do
	! asked "$kind" || complain "nobody notices that grep $kind left out something"
	grep -q 'answers differ' "$dir/err" || { complain "grep $kind: no word of what differs"; cat "$dir/err"; }
done
[[ -z $(ls -A "$dir/tmp") ]] || complain "left behind: $(ls -A "$dir/tmp")"
pids=$(left)
if [[ -n $pids ]]; then
	complain "left running:"
	ps -o pid=,args= -p "$(xargs <<<"$pids" | tr ' ' ,)"
	xargs kill -KILL <<<"$pids" 2>/dev/null
fi
((bad == 0))
