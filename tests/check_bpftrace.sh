#!/bin/bash
# Each bpftrace script runs against a live daemon under load, and says what it is for; and each probe arrives, from a
# daemon that was started later, too.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

build=$(realpath "${HEAPD_TEST_BUILD:-build}")
command -v bpftrace >/dev/null || { echo "SKIP bpftrace: it is not installed"; exit 77; }
((EUID == 0)) || { echo "SKIP bpftrace: needs root"; exit 77; }
bpftrace -q -e 'BEGIN { exit(); }' >/dev/null 2>&1 || { echo "SKIP bpftrace: no BPF here"; exit 77; }
bad=0
complain() {
	echo "$1"
	bad=1
}

dir=$(mktemp -d) || exit 1
tracers=()
worker=
cleanup() {
	kill -KILL "${tracers[@]}" 2>/dev/null
	[[ -z $worker ]] || kill -KILL "$worker" 2>/dev/null
	kill "$daemon" 2>/dev/null
	wait
	rm -rf "$dir"
}
daemon=
trap cleanup EXIT

gcc -O2 -g -fno-omit-frame-pointer -x c -Iinclude -o "$dir/load" tests/load.c.in -L"$build" -Wl,-rpath,"$build" -lheapd -pthread || exit 1
gcc -O2 -D_GNU_SOURCE -mcx16 -x c -Iinclude -iquote . -o "$dir/late" tests/late.c.in -x none "$build/libheapd-inner.a" -pthread || exit 1
"$build/heapd" -c /dev/null --socket="$dir/s" --set heap.default.Size=1G --set heap.default.Limit=256M --set heap.default.GCPercent=50 \
	--set heap.small.Size=64M --set heap.small.Limit=16M --set heap.small.GCPercent=off --set heap.checked.Size=64M \
	--set heap.checked.Free=checked --set heap.wide.Size=64M --set heap.rest.Size=64M --keep 2>"$dir/log" &
daemon=$!
for ((i = 0; i < 50; i++)); do [[ -S $dir/s ]] && break; sleep 0.1; done
export HEAPD_SOCKET=$dir/s

listed() {
	sed -n "/^#define HEAPD_PROBES_$1(P)/,/[^\\\\]\$/p" include/heapd/probes.h | grep -oE 'P\([0-9], [a-z_]+' | sed 's/.* //'
}
{
	for name in $(listed DAEMON); do echo "usdt:$build/heapd:heapd:$name { @[\"$name\", str(arg0)] = count(); }"; done
	for name in $(listed CLIENT); do echo "usdt:$build/libheapd.so:heapd:$name { @[\"$name\", str(arg0)] = count(); }"; done
	echo "usdt:$build/libheapd.so:heapd:sample { @bytes[arg2] = sum(arg4); @samples[arg2] = count(); }"
} >"$dir/all.bt"
for script in bpf/*.bt; do
	sed "s|/usr/local/lib/libheapd.so.0|$build/libheapd.so|; s|/usr/local/sbin/heapd|$build/heapd|" "$script" >"$dir/$(basename "$script")"
done
for script in "$dir"/*.bt; do
	bpftrace -q "$script" >"${script%.bt}.out" 2>"${script%.bt}.err" &
	tracers+=($!)
done

# A tracer looks when it has a perf event at each of its probes.
attached() {
	local i wanted
	wanted=$(grep -c '^usdt:' "$1")
	for ((i = 0; i < 300; i++)); do
		(($(bpftool perf show 2>/dev/null | grep -c "^pid $2 .* uprobe ") == wanted)) && return
		kill -0 "$2" 2>/dev/null || break
		sleep 0.2
	done
	complain "$(basename "$1") does not attach: $(cat "${1%.bt}.err")"
	exit 1
}
i=0
for script in "$dir"/*.bt; do attached "$script" "${tracers[i++]}"; done

"$dir/late" wide || complain "late failed"
"$dir/load" rest shrink 0 &
shrinking=$!
"$dir/load" default work 600 &
worker=$!
"$dir/load" default work 4 || complain "work failed"
"$dir/load" small fill 0 || complain "fill failed"
"$dir/load" default twice 0 2>/dev/null || complain "twice failed"
"$dir/load" checked early 0 || complain "early failed"
"$dir/load" default die 0
# Of slabs of 16 KiB, 504 of 16384 would be sampled of the first, 3624 of the second, none of the third; of the first fewer,
# and each with more weight, as far as two would be less than a millisecond apart.
"$dir/load" default amount 0 || complain "amount failed"
"$dir/load" default often 0 || complain "often failed"
# In a heap whose setting nobody has changed.
"$dir/load" wide fast 0 >"$dir/fast" || complain "fast failed"
# Stopped, while somebody else wants a collection.
kill -STOP $worker
"$dir/load" default work 3 &
other=$!
sleep 2.5
kill -CONT $worker
wait $other || complain "the other worker failed"
wait $shrinking || complain "the heap does not shrink"
# Another daemon: what looks at the last one looks at it, too, and at clients of both.
served=$(pgrep -P $daemon)
kill -KILL "$served"
for ((i = 0; i < 100; i++)); do [[ $(pgrep -P $daemon) =~ ^[0-9]+$ && $(pgrep -P $daemon) != "$served" ]] && break; sleep 0.1; done
"$dir/load" wide work 3 &
after=$!
wait $after || complain "work failed after the daemon's death"
# While the worker lives, so that its addresses have names.
kill -INT "${tracers[@]}" 2>/dev/null
# It prints when it has let go of all its probes, which takes a while each. A tracer can miss a signal; one that comes while
# it prints ends it at once, so they are told again seldom.
for tracer in "${tracers[@]}"; do
	for ((i = 1; i <= 60; i++)); do
		sleep 0.5
		kill -0 "$tracer" 2>/dev/null || break
		((i % 30)) || kill -INT "$tracer"
	done
	kill -KILL "$tracer" 2>/dev/null && complain "a tracer does not end"
done
wait "${tracers[@]}" 2>/dev/null
kill -KILL $worker || complain "the worker failed"
wait $worker 2>/dev/null

says() {
	grep -qE -- "$2" "$dir/$1.out" || complain "$1 does not say '$2':"$'\n'"$(head -n 30 "$dir/$1.out" "$dir/$1.err")"
}
for name in $(listed DAEMON) $(listed CLIENT); do
	says all "^@\[$name, (default|small|checked|wide|rest)\]: [1-9]"
done
# $1: map, $2: bytes of the object, $3 and $4: least and most
between() {
	local n
	n=$(sed -nE "s/^@$1\\[$2\\]: ([0-9]+)/\\1/p" "$dir/all.out")
	((${n:-0} >= $3 && ${n:-0} <= $4)) || complain "@$1[$2] is ${n:-missing}, not from $3 to $4"
}
between samples 512 280 620
between samples 1024 3360 3950
between samples 2048 0 0
between bytes 512 $((200 << 20)) $((315 << 20))
between bytes 1024 $((235 << 20)) $((277 << 20))
# At full speed a thousand would be sampled; as they are thinned out, about one in three milliseconds.
between samples 4096 1 $(($(cat "$dir/fast") * 10 / 12 + 25))
says gcpause "^@longest_us\[default, load, $worker\]: [0-9]+"
says gcpause '^\[.*\) +[1-9][0-9]* \|@'
says gccycle '^[0-9:]{8} +default +[1-9][0-9]* +[1-9][0-9]* +[0-9]+ +[1-9][0-9]* .* [1-9][0-9]*$'
says allocsites 'allocating_here'
says allocsites '^@by_size\[default, 64\]: [1-9][0-9]{5}'
says allocslow '^@slow_ns\[default, load\]'
says allocslow '^@refused\[small, load, [0-9]+, 4096\]: 1$'
says clients "^[0-9:]{8} +attach +default +$worker "
says clients '^[0-9:]{8} +death +default '
says clients '^[0-9:]{8} +receipt .* objects freed after [1-9]'
says clients '^[0-9:]{8} +detach|death +small '
says clients "^[0-9:]{8} +attach +wide +$after "
says gcpause "^@longest_us\[wide, load, $after\]: [0-9]+"
says gccycle '^[0-9:]{8} +wide +([4-9]|[1-9][0-9]+) '
says stalls "heap default: cycle [0-9]+ has waited for process $worker for [1-9][0-9]{3} ms"
says stalls '^@handshake_us\[default, scan\]'
exit $bad
