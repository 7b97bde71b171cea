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
	# What durations add up to, how many there were, the longest: nanoseconds.
	echo "usdt:$build/libheapd.so:heapd:pause { @pauses[str(arg0), pid] = stats(arg2); @pause_max[str(arg0), pid] = max(arg2); }"
	echo "usdt:$build/libheapd.so:heapd:alloc__slow__end /arg5 > 1/ { @slows[str(arg0)] = stats(arg3); @slow_sum[str(arg0)] = sum(arg5); }"
	echo "usdt:$build/libheapd.so:heapd:supply__wait__end { @waits[str(arg0)] = stats(arg2); }"
	echo "usdt:$build/heapd:heapd:handshake__end /arg2 == 1/ { @barriers[str(arg0)] = stats(arg3); }"
	echo "usdt:$build/heapd:heapd:handshake__end /arg2 == 2/ { @scans[str(arg0)] = stats(arg3); }"
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
"$dir/load" default many 0 || complain "many failed"
# Of slabs of 16 KiB, 504 of 16384 would be sampled of the first, 3624 of the second, none of the third; of the first fewer,
# and each with more weight, as far as two would be less than two milliseconds apart.
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
# What it left is collected by a daemon that lives to say so.
"$build/heapctl" --socket="$dir/s" -H rest gc >/dev/null || complain "no collection of what the dead left"
# Another daemon: what looks at the last one looks at it, too, and at clients of both.
served=$(pgrep -P $daemon)
kill -KILL "$served"
for ((i = 0; i < 100; i++)); do [[ $(pgrep -P $daemon) =~ ^[0-9]+$ && $(pgrep -P $daemon) != "$served" ]] && break; sleep 0.1; done
"$dir/load" wide work 3 &
after=$!
wait $after || complain "work failed after the daemon's death"
for heap in wide rest; do "$build/heapctl" --socket="$dir/s" -H $heap trace -o "$dir/trace.$heap" || complain "no trace of $heap"; done
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
# At full speed a thousand would be sampled; as they are thinned out, about one in four milliseconds.
between samples 4096 1 $(($(cat "$dir/fast") * 10 / 12 + 25))
says gcpause "^@longest_us\[default, load, $worker\]: [0-9]+"
says gcpause '^\[[0-9]+(\]|, [0-9KM]+\)) +[1-9][0-9]* \|@'
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

# Each figure against what somebody else says of the same: the daemon's log and records, and a tracer of the test's own. Where
# heaps are at rest when tracers are told to end, all of them have seen the same.
/usr/bin/python3 - "$dir" $after <<'PY' || complain "a script's figures are not what happened"
import json, re, sys
dir, after = sys.argv[1:]
read = lambda name: open(f'{dir}/{name}').read()
bad = 0
def expect(what, ok, *more):
    global bad
    if not ok: print(what, *more); bad = 1
REST = {'rest', 'small', 'checked', 'wide'}
truth = read('all.out')
def stats(name):
    """By heap (and pid): count and sum."""
    return {m[1]: (int(m[2]), int(m[3])) for m in re.finditer(rf'^@{name}\[(.*)\]: count (\d+), average \d+, total (\d+)$', truth, re.M)}
def numbers(text, name):
    return {m[1]: int(m[2]) for m in re.finditer(rf'^@{name}\[(.*)\]: (\d+)$', text, re.M)}
SCALE = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
def histograms(text, name):
    """By key: how many, and the least and the most that they can add up to."""
    found = {}
    for key, body in re.findall(rf'^@{name}\[(.*)\]: \n((?:[\[(].*\n)+)', text, re.M):
        n = low = high = 0
        for a, sa, b, sb, k in re.findall(r'^[\[(](?:\.\.\., )?(\d+)([KMG]?)(?:, (\d+)([KMG]?))?[])] +(\d+) \|', body, re.M):
            n += int(k); low += int(k) * int(a) * SCALE[sa]; high += int(k) * (int(b) * SCALE[sb] if b else int(a) * SCALE[sa] + 1)
        found[key] = n, low, high
    return found
def agree(script, name, true, unit, key=lambda k: k):
    """Each histogram of a heap at rest has what was counted, and could add up to the same."""
    found, seen = histograms(read(f'{script}.out'), name), 0
    for k, (n, total) in true.items():
        if k.split(',')[0] not in REST: continue
        seen += 1
        h = found.get(key(k))
        expect(f'{script}: @{name}[{key(k)}]', h and h[0] == n and h[1] * unit <= total <= h[2] * unit, h, 'against', (n, total))
    expect(f'{script}: @{name}', seen, 'was never compared')

pauses = stats('pauses')
agree('gcpause', 'microseconds', pauses, 1000, lambda k: k.replace(', ', ', load, '))
longest = numbers(read('gcpause.out'), 'longest_us')
for k, ns in numbers(truth, 'pause_max').items():
    if k.split(',')[0] in REST: expect('gcpause: longest', longest.get(k.replace(', ', ', load, ')) == ns // 1000, k, longest, ns)

lines = {}
for m in re.finditer(r'^[0-9:]{8} +(\S+)((?: +\d+){10})( void)?$', read('gccycle.out'), re.M):
    n = [int(x) for x in m[2].split()]
    lines[m[1], n[0]] = n[1:]
PHASES = 'barrier', 'gather', 'scan', 'roots', 'mark', 'sweep'
for heap in 'wide', 'rest':
    compared = 0
    events = [e for e in json.loads(read(f'trace.{heap}'))['traceEvents'] if e['ph'] == 'X']
    for i, e in enumerate(events):
        if not (m := re.match(r'gc (\d+)', e['name'])) or not (line := lines.get((heap, int(m[1])))): continue
        parts = {p['name']: p['dur'] for p in events[i + 1:i + 9]}
        compared += 1
        expect('gccycle: phases', all(abs(line[1 + k] - int(parts[p])) <= 1 for k, p in enumerate(PHASES)), heap, m[1], line, parts)
        # Between its parts it may have had to wait for a processor; the next one begins when it has ended.
        then = next((n['ts'] for n in events[i + 9:]), 1e18)
        expect('gccycle: total', e['dur'] - 1 <= line[0] <= then - e['ts'] + 1000, heap, m[1], line, e['dur'], then - e['ts'])
        expect('gccycle: bytes', line[7:] == [e['args']['live'] >> 10, e['args']['freed'] >> 10], heap, m[1], line, e['args'])
    expect('gccycle', compared >= 3, 'compared', compared)
# A cycle's total by the daemon's log, which has tenths of a millisecond, and not of all cycles.
log = read('log')
logged = {(heap, int(n)): 1000 * float(ms) for heap, n, ms in re.findall(r"heap '(\w+)': gc (\d+) \(\w+\)(?: is void after|:) ([0-9.]+) ms", log)}
both = logged.keys() & lines.keys()
for cycle in both: expect('gccycle: total', abs(lines[cycle][0] - logged[cycle]) <= 51, cycle, lines[cycle], logged[cycle])
expect('gccycle: totals', len(both) >= 10, 'compared', len(both), 'of', len(logged), 'and', len(lines))
expect('gccycle', '@us' not in read('gccycle.out'), 'has lines to itself')

sites = read('allocsites.out')
by_size, bytes_of = numbers(sites, 'by_size'), numbers(truth, 'bytes')
for key, size in ('default, 512', 512), ('default, 1024', 1024), ('rest, 128', 128):
    expect('allocsites: by size', by_size.get(key) == bytes_of[str(size)], key, by_size.get(key), bytes_of[str(size)])
# Where two stacks fall into one place of the kernel's table, the second has no frames, and its key ends with its line.
stacks = re.findall(r'^@bytes\[([^\]]*)\]: (\d+)$', sites, re.M)
expect('allocsites: the first twenty, once', len(stacks) == 20 == len(set(stacks)), stacks)
stacks = [int(n) for _, n in stacks]
for size in '512', '1024': expect('allocsites: by stack', bytes_of[size] in stacks, size, bytes_of[size], stacks)

agree('allocslow', 'slow_ns', stats('slows'), 1, lambda k: k + ', load')
weights, slow = numbers(truth, 'slow_sum'), numbers(read('allocslow.out'), 'slow')
for heap in set(weights) & REST: expect('allocslow: slow', slow.get(heap + ', load') == weights[heap] > 0 == weights[heap] % 4096, heap, slow, weights)
agree('allocslow', 'wait_us', stats('waits'), 1000, lambda k: k + ', load')

agree('stalls', 'handshake_us', {k + ', barrier': v for k, v in stats('barriers').items()}, 1000)
agree('stalls', 'handshake_us', {k + ', scan': v for k, v in stats('scans').items()}, 1000)
said = {m[1]: int(m[2]) for m in re.finditer(r"^@stalls\[default, (\d+)\]: (\d+)$", read('stalls.out'), re.M)}
waits = {} # each is told of again after every second
for cycle, pid, ms in re.findall(r"heap 'default': cycle (\d+) waits for process (\d+), which .*? for (\d+) ms", log): waits.setdefault((cycle, pid), ms)
for (cycle, pid), ms in waits.items():
    m = re.search(rf'heap default: cycle {cycle} has waited for process {pid} for (\d+) ms', read('stalls.out'))
    expect('stalls', m and abs(int(m[1]) - int(ms)) <= 5 and said.get(pid), cycle, pid, ms, said, read('stalls.out')[:500])
expect('stalls', waits, 'the log has none')

clients = read('clients.out')
ends = {'attached': 'attach', 'detached': 'detach', 'ended without a detach': 'death'}
logged = re.findall(r"heap '(\w+)': process (\d+) of user 0 (attached|detached|ended without a detach)(?: for reading)?, session (\d+)", log)
loads = re.findall(r"process (\d+) of user 0 attached, session \d+, (?:load|late)$", log, re.M)
for heap, pid, what, session in logged:
    # What came last a tracer that ends may not have printed, or not seen.
    if pid not in loads or what != 'attached' and (heap == 'default' or pid == after): continue
    expect('clients', re.search(rf'^[0-9:]{{8}} +{ends[what]} +{heap} +{pid} +{session}  ', clients, re.M), ends[what], heap, pid, session)
expect('clients', len(logged) > 8, logged)
freed = {e['args']['freed'] for e in json.loads(read('trace.rest'))['traceEvents'] if 'freed' in e.get('args', {})} - {0}
receipts = [int(n) for n in re.findall(r'^[0-9:]{8} +receipt +rest +- +- +(\d+) bytes in \d+ objects', clients, re.M)]
expect('clients: receipts', freed.intersection(receipts), receipts, 'of', freed)
sys.exit(bad)
PY
exit $bad
