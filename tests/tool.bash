# For scripts that try heapctl: a daemon with a heap, and something in it. They run in the top folder.

# Does what comes hold it? All is read: whoever writes to a grep -q that has seen enough dies, which fails the pipe.
holds() {
	grep -q "$@" <<<"$(cat)"
}

build=$(realpath "${HEAPD_TEST_BUILD:-build}")
ctl=$build/heapctl
[[ -x $ctl && -x $build/heapd-demo ]] || { echo "SKIP $(basename "$0" .sh): $ctl is not built"; exit 77; }

dir=$(mktemp -d) || exit 1
daemon=
clean() {
	[[ -z $daemon ]] || { kill -KILL "$daemon"; wait "$daemon"; } 2>/dev/null
	rm -rf "$dir"
}
trap clean EXIT
export HEAPD_SOCKET=$dir/sock TMPDIR=$dir

bad=0
complain() {
	echo "$1"
	bad=1
}

start() {
	printf '[Daemon]\nSocket=%s\nSocketMode=0600\nLogTarget=console\n[Heap test]\nSize=128M\nLimit=64M\nGCPercent=%s\n[Heap other]\nSize=64M\nLimit=32M\n' \
		"$HEAPD_SOCKET" "${1:-100}" >"$dir/conf"
	daemon_start
}

# As $dir/conf says.
daemon_start() {
	"$build/heapd" --config "$dir/conf" >>"$dir/log" 2>&1 &
	daemon=$!
	for ((i = 0; i < 500; i++)); do
		timeout 5 "$ctl" list >/dev/null 2>&1 && return
		sleep 0.02
	done
	complain "the daemon does not answer"
	cat "$dir/log"
}

stop() {
	kill "$daemon" 2>/dev/null
	wait "$daemon" 2>/dev/null
	daemon=
}

# An index of 60 files, or as many as asked for, of some 170 objects each, stays behind under a named root; nobody is attached
# any more.
fill() {
	mkdir -p "$dir/text"
	for ((i = 1; i <= ${1:-60}; i++)); do
		for ((k = 1; k <= 100; k++)); do
			echo "all word_$((k % 50)) file_$i place_$((i * k % 997))"
		done >"$dir/text/$i.txt"
	done
	timeout 60 "$build/heapd-demo" --socket "$HEAPD_SOCKET" --heap test -w 2 -k 0 -n 5 --rounds=1 "$dir/text" \
		>"$dir/demo" 2>&1 || { complain "the demo failed"; cat "$dir/demo"; }
}
