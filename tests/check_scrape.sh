#!/bin/bash
# The exporter where it is not at its ease: scrapers that hang, break off, are many; a daemon that stops, dies, gets more
# heaps; links of either kind, few capabilities, none, no BPF at all; a socket of systemd's.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

# Does what comes hold it? All is read: whoever writes to a grep -q that has seen enough dies, which fails the pipe.
holds() {
	grep -q "$@" <<<"$(cat)"
}

build=$(realpath "${HEAPD_TEST_BUILD:-build}")
[[ -x $build/heapd-exporter ]] || { echo "SKIP scrape: the exporter is not built"; exit 77; }
command -v curl >/dev/null || { echo "SKIP scrape: no curl"; exit 77; }
bad=0
complain() {
	echo "$1"
	bad=1
}

dir=$(mktemp -d) || exit 1
chmod 755 "$dir"
pids=()
cleanup() {
	kill -CONT "${pids[@]}" 2>/dev/null
	kill "${pids[@]}" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap cleanup EXIT

gcc -O2 -g -fno-omit-frame-pointer -x c -Iinclude -o "$dir/load" tests/load.c.in -L"$build" -Wl,-rpath,"$build" -lheapd -pthread || exit 1
{
	echo "[Heap default]"; echo "Size=1G"; echo "Limit=256M"
	for ((i = 0; i < 24; i++)); do printf '[Heap idle%d]\nSize=64M\n' $i; done
} >"$dir/heapd.conf"
"$build/heapd" -c "$dir/heapd.conf" --socket="$dir/s" --keep 2>"$dir/heapd.log" &
keeper=$!
pids+=($keeper)
for ((i = 0; i < 100; i++)); do [[ -S $dir/s ]] && break; sleep 0.1; done
export HEAPD_SOCKET=$dir/s

# Its standard output says the port. $1: name, the rest: what is run before it and more arguments, apart by "--". Sets port.
exporter_start() {
	local name=$1 before=()
	shift
	while (($#)) && [[ $1 != -- ]]; do before+=("$1"); shift; done
	shift
	"${before[@]}" "${program:-$build/heapd-exporter}" --socket="$dir/s" --daemon="$build/heapd" --library="$build/libheapd.so" \
		-p 0 "$@" >"$dir/$name" 2>&1 &
	exporter=$!
	pids+=($exporter)
	for ((i = 0; i < 100; i++)); do
		port=$(grep -oE "port [0-9]+" "$dir/$name" 2>/dev/null) && port=${port#port } && return
		sleep 0.1
	done
	complain "the exporter does not come up: $(cat "$dir/$name")"
	exit 1
}
exporter_end() {
	kill "$exporter"
	wait "$exporter" || complain "$1 does not end well: $?"
}
page() { curl -s -m 10 "localhost:$port/metrics"; }
has() { grep -qE -- "$2" <<<"$1"; }
# $1: what it is, $2: what a line of the page is to be within ten seconds
soon() {
	local i
	for ((i = 0; i < 100; i++)); do
		has "$(page)" "$2" && return
		sleep 0.1
	done
	complain "$1: no line '$2'"
}

# A number of the heap that loads use; total: all bytes handed out.
number() { page | sed -n "s/^$1{heap=\"default\"} //p" | xargs printf '%.0f'; }
total() { number heapd_allocated_bytes_total; }

bpf=
multi=
usdt=
exporter_start first -- --links=uprobe_multi
grep -q 'attached by uprobe_multi' "$dir/first" && multi=yes
exporter_end "the first"
exporter_start second -- --links=usdt
grep -q 'attached by usdt' "$dir/second" && usdt=yes
exporter_end "the second"
[[ ! $multi && ! $usdt ]] || bpf=yes
[[ $bpf ]] || echo "no BPF here: $(head -n 1 "$dir/first") $(head -n 1 "$dir/second")"

# Who looks at a probe counts up its semaphore in each process, and down again. $1: process, $2: probe, $3: how many look
looked_at() {
	local at base
	at=$(readelf -n "$build/libheapd.so" | awk -v probe="$2" '/Name:/ { name = $2 } /Semaphore:/ && name == probe { print $NF; exit }')
	base=$(awk '/libheapd.so/ && $3 == "00000000" { split($1, a, "-"); print "0x" a[1]; exit }' "/proc/$1/maps")
	[[ $at && $base ]] && /usr/bin/python3 - "$1" $((base + at)) "$3" <<'PY'
import sys
pid, at, n = sys.argv[1:]
with open(f'/proc/{pid}/mem', 'rb', buffering=0) as f:
    f.seek(int(at))
    sys.exit(int.from_bytes(f.read(2), 'little') != int(n))
PY
}
client_start() {
	local i
	"$dir/load" default work 600 &
	client=$!
	pids+=($client)
	for ((i = 0; i < 100; i++)); do
		grep -q "/libheapd.so" "/proc/$client/maps" && return
		sleep 0.1
	done
	complain "the load does not come up"
}
client_end() {
	kill -KILL "$client"
	wait "$client" 2>/dev/null
}

# What a scrape says of samples, pauses and slow allocations. $1: kind of link
kind_check() {
	local text sites id
	# A client that is there already, and before it any other of this kind.
	client_start
	looked_at $client pause 0 || complain "$1: somebody looks at the probes already"
	exporter_start "$1" -- --links="$1"
	soon "$1: a client that was there before the exporter" '^heapd_client_pause_seconds_count\{heap="default"\} [1-9]'
	for name in pause alloc__slow__end supply__wait__end sample; do
		looked_at $client $name 1 || complain "$1: nobody looks at $name"
	done
	looked_at $client double__free 0 || complain "$1: somebody looks at double__free"
	client_end
	sleep 0.2 # a page is kept for half of that, and the last one is of before its end
	before=$(total) slots=$(number heapd_heap_supplied_slots_total)
	"$dir/load" default amount 0 || complain "the load failed"
	sleep 0.2 # a page is kept for half of that
	before=$(($(total) - before))
	# No object of the 256 MiB is freed, so none is handed out twice; what else was handed out lies ready for the next.
	((before >= 256 << 20 && before <= 288 << 20)) || complain "256 MiB were allocated, and the total grew by $before"
	"$dir/load" default work 2 || complain "the load failed"
	text=$(page)
	has "$text" '^heapd_exporter_bpf_up 1$' && has "$text" "attach=\"$1\"" || complain "$1: it does not say that it is attached"
	has "$text" '^heapd_client_pause_seconds_count\{heap="default"\} [1-9]' || complain "$1: no pauses"
	has "$text" '^heapd_gc_handshake_seconds_count\{heap="default",handshake="scan"\} [1-9]' || complain "$1: no handshakes"
	# Each takes a slab, which has 64 slots at most; one in 4096 is seen and stands for all of them.
	slots=$(($(number heapd_heap_supplied_slots_total) - slots))
	(($(number heapd_alloc_slow_seconds_count) > slots / 64 / 4)) || complain "$1: few slow allocations: $(number heapd_alloc_slow_seconds_count) for $slots slots"
	# What of the time was no waiting: at least ten nanoseconds for each.
	awk -v heap='{heap="default"}' '{ v[$1] = $2 }
		END { slow = "heapd_alloc_slow_seconds"; wait = "heapd_supply_wait_seconds"
			exit !(v[slow "_sum" heap] - v[wait "_sum" heap] > 1e-8 * (v[slow "_count" heap] - v[wait "_count" heap])) }' <<<"$text" ||
		complain "$1: slow allocations take no time: $(grep -E '^heapd_(alloc_slow|supply_wait)_seconds_(sum|count)\{heap="default"' <<<"$text")"
	awk -v kind="$1" '/^heapd_sampled_alloc_bytes_total\{heap="default",size="512"\}/ { n = $2 }
		END { if (n < 200 * 1048576 || n > 315 * 1048576) { print kind ": 256 MiB are " n; exit 1 } }' <<<"$text" || bad=1
	# Its call site is in the program that has this build id, within the function that allocates.
	id=$(readelf -n "$dir/load" | sed -n 's/.*Build ID: //p')
	sites=$(curl -s "localhost:$port/callsites")
	/usr/bin/python3 - "$id" "$(nm -S "$dir/load" | grep ' allocating_here$')" 3<<<"$sites" <<'PY' || complain "$1: not the call sites: ${sites:0:600}"
import sys
id, symbol = sys.argv[1:]
at, size = (int(x, 16) for x in symbol.split()[:2])
lines = [l.rsplit(' ', 1) for l in open('/dev/fd/3').read().splitlines()]
numbers = [int(n) for _, n in lines]
assert numbers == sorted(numbers, reverse=True) and all(l.startswith('default;') for l, _ in lines), lines
found = 0
for stack, n in lines:
    for frame in stack.split(';')[1:]:
        file, _, offset = frame.partition('+')
        if file == id and at <= int(offset, 16) <= at + size: found += int(n); break
assert found > 200 << 20, found
PY
	client_start
	looked_at $client sample 1 || complain "$1: nobody looks at a client that came later"
	exporter_end "$1"
	looked_at $client sample 0 && looked_at $client pause 0 || complain "$1: the exporter has ended, and somebody looks still"
	client_end
}
[[ ! $multi ]] || kind_check uprobe_multi
[[ ! $usdt ]] || kind_check usdt

# Thousands of call sites, each told from all others, and the same in each process, wherever its program lies. More than there is
# room for are counted.
sites_check() {
	exporter_start many --
	for ((i = 0; i < 2; i++)); do "$dir/load" idle2 paths 11 || complain "paths failed"; done
	curl -s -m 20 "localhost:$port/callsites" >"$dir/sites"
	/usr/bin/python3 - "$dir/sites" <<'PY' || complain "call sites are taken for each other, or have no name"
import collections, sys
lines = [l.rsplit(' ', 1) for l in open(sys.argv[1]).read().splitlines() if l.startswith('idle2;')]
stacks = collections.Counter(s for s, _ in lines)
assert lines and max(stacks.values()) == 1, f'a stack has lines of its own for each process: {len(lines)} for {len(stacks)}'
assert len(stacks) == 2048 and 'idle2;unknown' not in stacks, f'{len(stacks)} stacks'
assert {int(n) for _, n in lines} == {2 * 65536}, collections.Counter(n for _, n in lines)
PY
	sleep 0.2 # a page is kept for half of that
	text=$(page)
	has "$text" '^heapd_sampled_lost_bytes_total 0$' && has "$text" '^heapd_sampled_unknown_bytes_total 0$' || complain "call sites are lost without need"
	! grep -q 'counted as lost' "$dir/many" || complain "it says that call sites are lost"
	"$dir/load" idle2 paths 13 || complain "paths failed"
	sleep 0.2
	curl -s -m 20 "localhost:$port/callsites" >"$dir/sites"
	(($(awk '{ n += $NF } END { printf "%d", n }' "$dir/sites") == (2 * 2048 + 8192) * 65536)) ||
		complain "call sites do not add up: $(awk '{ n += $NF } END { printf "%d", n }' "$dir/sites")"
	(($(grep -c '^idle2;' "$dir/sites") == 4096)) || complain "not as many call sites as there is room for: $(wc -l <"$dir/sites")"
	has "$(page)" "^heapd_sampled_lost_bytes_total $(((8192 - 2048) * 65536))\$" && grep -qx "lost $(((8192 - 2048) * 65536))" "$dir/sites" ||
		complain "what has no room is not counted: $(page | grep ^heapd_sampled_lost) $(grep lost "$dir/sites")"
	for ((i = 0; i < 100; i++)); do
		grep -q 'more than 4096 call sites' "$dir/many" && break
		sleep 0.1
	done
	((i < 100)) || complain "it does not say that call sites are lost: $(cat "$dir/many")"
	exporter_end "the one of many call sites"
}
[[ ! $bpf ]] || sites_check

# Without being told, it takes what the kernel has.
if [[ $usdt ]]; then
	gcc -O2 -D_GNU_SOURCE -shared -fPIC -x c -o "$dir/older.so" tests/older.c.in || exit 1
	exporter_start older env LD_PRELOAD="$dir/older.so" --
	grep -q 'attached by usdt' "$dir/older" || complain "a kernel without uprobe_multi: $(cat "$dir/older")"
	"$dir/load" default work 2 || complain "the load failed"
	text=$(page)
	has "$text" 'attach="usdt"\} 1$' && has "$text" '^heapd_client_pause_seconds_count\{heap="default"\} [1-9]' &&
		has "$text" '^heapd_gc_phase_seconds_count\{heap="default",phase="sweep"\} [1-9]' || complain "an older kernel: nothing is seen"
	exporter_end "the one on an older kernel"
	exporter_start never env LD_PRELOAD="$dir/older.so" -- --links=uprobe_multi
	grep -q 'goes on without BPF: Invalid argument' "$dir/never" || complain "no uprobe_multi, and it says: $(cat "$dir/never")"
	exporter_end "the one that was to have uprobe_multi alone"
fi
if [[ $multi ]]; then
	exporter_start any --
	grep -q 'attached by uprobe_multi' "$dir/any" || complain "a kernel with uprobe_multi: $(cat "$dir/any")"
	exporter_end "the one that takes what there is"
fi

# Two capabilities are enough where there is uprobe_multi, and it has them no more when it serves.
if [[ $multi ]]; then
	exporter_start few setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+bpf,+perfmon --ambient-caps=-all,+bpf,+perfmon \
		--bounding-set=-all,+bpf,+perfmon --
	grep -q 'attached by uprobe_multi' "$dir/few" || complain "with two capabilities: $(cat "$dir/few")"
	grep -qE '^CapPrm:[[:space:]]*0+$' "/proc/$exporter/status" && grep -qE '^CapEff:[[:space:]]*0+$' "/proc/$exporter/status" ||
		complain "it keeps capabilities: $(grep ^Cap "/proc/$exporter/status")"
	exporter_end "the one with few capabilities"
fi
exporter_start none setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --ambient-caps=-all --bounding-set=-all --
grep -q 'goes on without BPF: ' "$dir/none" || complain "without capabilities: $(cat "$dir/none")"
has "$(page)" '^heapd_exporter_bpf_up 0$' || complain "without capabilities BPF is up"
[[ $(curl -s -o /dev/null -w '%{http_code}' "localhost:$port/callsites") == 503 ]] || complain "call sites without BPF"
exporter_end "the one without capabilities"

# An upgrade, where no service manager is there to start another: it says so, and stays with what it has. tests/service has the
# other case. A file that comes later is one, too; one that goes is not.
mkdir "$dir/up"
cp "$build/heapd" "$build/libheapd.so.0" "$dir/up"
exporter_start upgraded -- --daemon="$dir/up/heapd" --library="$dir/up/libheapd.so.0"
upgrade_wait() { sleep 1.3; }
rm "$dir/up/heapd"
upgrade_wait
text=$(page)
has "$text" '^heapd_exporter_bpf_stale 0$' && has "$text" "^heapd_exporter_bpf_up $([[ $bpf ]] && echo 1 || echo 0)\$" ||
	complain "a file that is gone: $(grep bpf_ <<<"$text")"
cp "$build/heapd" "$dir/up"
soon "after an upgrade of the daemon" '^heapd_exporter_bpf_stale 1$'
has "$(page)" '^heapd_exporter_bpf_up 0$' || complain "upgraded, and up"
upgrade_wait
grep -q 'was upgraded since the start: of the new one nothing is seen' "$dir/upgraded" || complain "it says nothing of an upgrade: $(cat "$dir/upgraded")"
[[ $(grep -c 'was upgraded' "$dir/upgraded") == 1 ]] || complain "it says so again and again"
exporter_end "the one of an upgrade"
rm "$dir/up/libheapd.so.0"
exporter_start late -- --daemon="$dir/up/heapd" --library="$dir/up/libheapd.so.0"
grep -q 'goes on without BPF: No such file' "$dir/late" || complain "without a library: $(cat "$dir/late")"
cp "$build/libheapd.so.0" "$dir/up/new" && mv "$dir/up/new" "$dir/up/libheapd.so.0"
soon "a library that came later" '^heapd_exporter_bpf_stale 1$'
exporter_end "the one that had no library"

# As a service it makes way for another one, in the second of two looks, a second apart, and in none before the next: who was let in
# is answered, also who asks only then; others are in the queue of the socket, which is the service manager's, and here this test's.
/usr/bin/python3 - "$build" "$dir" <<'PY' || bad=1
import os, shutil, socket, sys, time
build, dir = sys.argv[1:]
for name in 'heapd', 'libheapd.so.0': shutil.copy(f'{build}/{name}', f'{dir}/up/{name}')
queue = socket.create_server(('127.0.0.1', 0))
exporter = os.fork()
if not exporter:
    os.dup2(queue.fileno(), 3)
    os.set_inheritable(3, True)
    said = os.open(f'{dir}/served', os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.execve(f'{build}/heapd-exporter', ['heapd-exporter', f'--socket={dir}/s', f'--daemon={dir}/up/heapd', f'--library={dir}/up/libheapd.so.0'],
              dict(os.environ, LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET=f'{dir}/nobody'))

def come(): return socket.create_connection(queue.getsockname())

def ask(c):
    said = b''
    try:
        c.sendall(b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')
        c.settimeout(3)
        while part := c.recv(65536): said += part
    except OSError: pass
    return b'\nheapd_daemon_up 1' in said

def end(why=None):
    if why: os.kill(exporter, 9)
    status = os.waitstatus_to_exitcode(os.waitpid(exporter, 0)[1])
    if why: sys.exit(f'an exporter that is to make way: {why}: {open(f"{dir}/served").read()}')
    return status

if not ask(come()): end('it does not answer')
shutil.copy(f'{build}/heapd', f'{dir}/up/new')
os.rename(f'{dir}/up/new', f'{dir}/up/heapd')
for i in range(1000):
    if 'another exporter is to look at the new one' in open(f'{dir}/served').read(): break
    time.sleep(.01)
else: end('it says nothing of an upgrade')
time.sleep(.7)
before = [come() for i in range(4)]
time.sleep(.6)
after = [come() for i in range(4)]
answered = [ask(c) for c in before]
if not all(answered): end(f'of those who had been let in, it answers {sum(answered)} of {len(answered)}')
if (status := end()) != 75: sys.exit(f'an exporter that makes way ends with status {status}')
queue.settimeout(3)
for c in after: queue.accept()
PY

# Built where there is nothing to build BPF programs with.
unset MAKELEVEL MFLAGS MAKEFLAGS
if make -s --no-print-directory O="$dir/nobpf" HAVE_BPF= "$dir/nobpf/heapd-exporter" >"$dir/make" 2>&1; then
	! readelf -d "$dir/nobpf/heapd-exporter" | holds libbpf || complain "without BPF it needs libbpf"
	program=$dir/nobpf/heapd-exporter
	exporter_start without --
	text=$(page)
	has "$text" '^heapd_exporter_bpf_up 0$' && has "$text" '^heapd_up\{heap="default"\} 1$' &&
		has "$text" '^heapd_gc_freed_bytes_total\{heap="default"\} ' &&
		has "$text" '^heapd_gc_phase_seconds_count\{heap="default",phase="sweep"\} 0$' || complain "built without BPF: not what it should say"
	exporter_end "the one without BPF"
	program=
else
	complain "does not build without BPF: $(tail -n 5 "$dir/make")"
fi

# A receiver of traces that is away, that hangs, that comes later, and none that can be: metrics are served all the same.
cat >"$dir/receiver" <<'PY'
import http.server, socket, sys, time
port, answers = int(sys.argv[1]), sys.argv[2] == 'answers'
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        if not answers: time.sleep(600)
        print(self.path, body.count(b'"traceId"'), flush=True)
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(('127.0.0.1', port), H).serve_forever()
PY
traces=$((20000 + RANDOM % 20000))
receiver_start() {
	/usr/bin/python3 "$dir/receiver" $traces "$1" >"$dir/received" 2>&1 &
	receiver=$!
	pids+=($receiver)
	for ((i = 0; i < 50; i++)); do ss -ltnH "sport = :$traces" | holds . && return; sleep 0.1; done
	complain "no receiver: $(cat "$dir/received")"
}
receiver_end() {
	kill -KILL "$receiver"
	wait "$receiver" 2>/dev/null
}
# $1: what the receiver does, while there are collections
traces_check() {
	local begin
	"$dir/load" default work 2 || complain "the load failed"
	begin=${EPOCHREALTIME/./}
	has "$(page)" '^heapd_up\{heap="default"\} 1$' || complain "a receiver that $1: no metrics"
	((${EPOCHREALTIME/./} - begin < 2000000)) || complain "a receiver that $1 holds up a scrape"
	(($(awk '/^VmHWM/ { print $2 }' "/proc/$exporter/status") < 128 << 10)) || complain "a receiver that $1: $(grep VmHWM "/proc/$exporter/status")"
}
exporter_start traced -- --no-bpf --otlp="http://127.0.0.1:$traces/v1/traces"
traces_check "is away"
receiver_start hangs
traces_check "hangs"
[[ ! -s $dir/received ]] || complain "one that hangs has answered: $(cat "$dir/received")"
receiver_end
receiver_start answers
for ((i = 0; i < 20; i++)); do
	"$dir/load" default work 1 || complain "the load failed"
	[[ ! -s $dir/received ]] || break
done
grep -qx '/v1/traces 9' "$dir/received" || complain "one that came later was sent nothing: $(cat "$dir/received")"
! grep -vqx '/v1/traces 9' "$dir/received" || complain "and other things than traces: $(cat "$dir/received")"
receiver_end
exporter_end "the one with a receiver of traces"
# While it hangs, no more wait than there is room for, whatever goes on; those that are lost are counted, and told of once, until
# one is received again. What it says to have sent was received.
cycles() { page | awk '/^heapd_gc_(cycles|void_cycles)_total\{heap="default"/ { n += $2 } END { printf "%d", n }'; }
traces() { page | sed -n "s/^heapd_exporter_traces_$1 //p"; }
receiver_start hangs
exporter_start bounded -- --no-bpf --otlp="http://127.0.0.1:$traces/v1/traces"
[[ $(traces sent_total) == 0 && $(traces lost_total) == 0 ]] || complain "traces are counted before there are any"
before=$(cycles) most=0
for ((i = 0; i < 60; i++)); do
	traces_check "hangs"
	waiting=$(traces waiting)
	((most = waiting > most ? waiting : most))
	((most < 64 || $(cycles) < before + 256)) || break
done
((most == 64)) || complain "a receiver that hangs: $most traces wait, after $(($(cycles) - before)) collections"
soon "a receiver that hangs" '^heapd_exporter_traces_lost_total [1-9]'
[[ $(traces sent_total) == 0 ]] || complain "a receiver that hangs was sent $(traces sent_total) traces"
[[ $(grep -c "lost: http://127.0.0.1:$traces/v1/traces does not take them" "$dir/bounded") == 1 ]] || complain "it says of lost traces: $(cat "$dir/bounded")"
receiver_end
receiver_start answers
for ((i = 0; i < 20; i++)); do
	"$dir/load" default work 1 || complain "the load failed"
	[[ $(traces sent_total) == 0 ]] || break
done
soon "a receiver that answers at last" '^heapd_exporter_traces_waiting 0$'
grep -qE "takes traces again, after [1-9][0-9]* were lost" "$dir/bounded" || complain "it does not say that traces are taken again: $(cat "$dir/bounded")"
# What the load has left has come by when two looks of the exporter have found nothing. From then on none is lost,
# though the receiver ends the connection after each.
for ((i = 0, same = 0, last = -1; i < 200 && same < 12; i++)); do
	now=$(($(traces sent_total) + $(traces lost_total)))
	((same = now == last ? same + 1 : 0, last = now))
	sleep 0.1
done
lost=$(traces lost_total) sent=$(traces sent_total)
for ((i = 0; i < 10; i++)); do "$build/heapctl" --socket="$dir/s" -H default gc >"$dir/said" || complain "no collection: $(cat "$dir/said")"; done
for ((i = 0; i < 100; i++)); do
	(($(traces sent_total) < sent + 10)) || break
	sleep 0.1
done
soon "traces of ten collections" '^heapd_exporter_traces_waiting 0$'
(($(traces sent_total) >= sent + 10)) && [[ $(traces lost_total) == "$lost" ]] ||
	complain "of ten collections $(($(traces sent_total) - sent)) traces were sent, and $(($(traces lost_total) - lost)) lost"
[[ $(traces sent_total) == $(wc -l <"$dir/received") ]] || complain "$(traces sent_total) traces were sent, and $(wc -l <"$dir/received") received"
receiver_end
exporter_end "the one whose receiver hung"
exporter_start wrong -- --no-bpf --otlp="https://127.0.0.1/"
grep -q 'https://127.0.0.1/ is not of the form http://HOST:PORT/PATH' "$dir/wrong" || complain "a receiver that cannot be: $(cat "$dir/wrong")"
traces_check "cannot be"
exporter_end "the one whose receiver cannot be"

# A socket that systemd hands over; it comes up with the first scrape.
if command -v systemd-socket-activate >/dev/null; then
	port=$((20000 + RANDOM % 20000))
	systemd-socket-activate -l 127.0.0.1:$port "$build/heapd-exporter" --socket="$dir/s" --no-bpf -p 1 >"$dir/activated" 2>&1 &
	activated=$!
	pids+=($activated)
	for ((i = 0; i < 50; i++)); do ss -ltnH "sport = :$port" | holds . && break; sleep 0.1; done
	has "$(page)" '^heapd_up\{heap="default"\} 1$' || complain "by a socket of systemd's: $(cat "$dir/activated")"
	grep -q "listening on port $port" "$dir/activated" || complain "it listens elsewhere: $(cat "$dir/activated")"
	kill $activated
	wait $activated
else
	echo "SKIP scrape: no systemd-socket-activate"
fi

# Scrapers that do no good: they connect and say nothing, say half, send much, ask for much and do not read, break off.
exporter_start main --
[[ $(ss -ltnH "sport = :$port" | awk '{ print $4 }') == 127.0.0.1:$port ]] || complain "it listens elsewhere, too: $(ss -ltnH "sport = :$port")"
/usr/bin/python3 - "$port" "$exporter" <<'PY' || bad=1
import socket, sys, time, urllib.request
port, pid = int(sys.argv[1]), sys.argv[2]; kept = []
def connect():
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096); s.settimeout(10)
    s.connect(('127.0.0.1', port)); kept.append(s); return s
def memory(): return int([l.split()[1] for l in open(f'/proc/{pid}/status') if l.startswith('VmHWM')][0]) // 1024
def good(what):
    worst = 0
    for i in range(5):
        begin = time.monotonic()
        body = urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=20).read()
        worst = max(worst, time.monotonic() - begin)
        assert b'heapd_up{heap="default"} 1' in body and body.endswith(b'\n'), what
    assert worst < 3, f'{what} delay a good one: {worst:.2f} s'
    return len(body)
size = good('none')
for i in range(700): connect()
good('those that say nothing')
for i in range(50): connect().sendall(b'GET /metr')
for i in range(30):
    s = connect(); s.sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'); s.close()
for i in range(5):
    for much in (b'POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n' + b'x' * 100000, b'\x00\xff' * 50000,
                 b'GET /metrics HTTP/1.1\r\n' + b'X: y\r\n' * 100000):
        try: connect().sendall(much)
        except OSError: pass
good('broken ones')
n = 120
hanging = [connect() for i in range(n)]
for s in hanging: # served in this order: each has its first byte before the next one asks
    s.sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'); s.recv(1, socket.MSG_PEEK)
good('those that do not read')
assert size * n > 4 * (32 << 20), f'a page is small: {size}'
assert memory() < 128, f'{memory()} MiB for those that do not read'
def rest(s):
    got = 0
    try:
        while n := len(s.recv(1 << 20)): got += n
    except ConnectionError: pass
    return got
got = [rest(s) for s in hanging]
whole = sum(n >= size for n in got)
assert whole * size <= (32 << 20), f'{whole} of those that did not read have their page of {size} bytes'
assert got[0] < size, 'the oldest that did not read has its page'
assert got[-1] >= size, 'the newest has not'
slow = connect(); slow.sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
for i in range(20): assert slow.recv(100); time.sleep(0.05)
good('a slow one')
PY

# A daemon that is stopped is no reason to wait, nor is one that died to forget.
served=$(pgrep -P $keeper)
"$dir/load" default work 600 &
worker=$!
pids+=($worker)
soon "a client" '^heapd_clients\{heap="default"\} [1-9]'
kill -STOP "$served"
ticks() { awk '{ print $14 + $15 }' /proc/$worker/stat; }
# Until the client has used up what was supplied, and waits; at least half a second longer.
for ((i = 0; i < 300; i++)); do
	ticks=$(ticks)
	sleep 0.2
	[[ $(ticks) != "$ticks" ]] || break
done
sleep 0.6
begin=${EPOCHREALTIME/./}
text=$(page)
took=$((${EPOCHREALTIME/./} - begin))
kill -CONT "$served"
# $1: histogram: has it seen somebody wait for more than half a second?
long_seen() {
	page | awk -v name="$1_bucket{heap=\"default\",le=" 'index($1, name "\"0.536870912\"") { n = $2 }
		index($1, name "\"+Inf\"") { all = $2 } END { exit !(all > n) }'
}
for name in heapd_supply_wait_seconds heapd_alloc_slow_seconds; do
	for ((i = 0; i < 100; i++)); do
		[[ $bpf ]] && ! long_seen $name || break
		sleep 0.1
	done
	[[ ! $bpf ]] || long_seen $name || complain "$name does not show who waited for the daemon"
done
kill -KILL $worker
wait $worker 2>/dev/null
has "$text" '^heapd_up\{heap="default"\} 1$' && ((took < 2000000)) || complain "the daemon is stopped, and a scrape takes $took us"
"$dir/load" idle1 often 0 || complain "the load of another heap failed"
callsites() { curl -s -m 10 "localhost:$port/callsites"; }
[[ ! $bpf ]] || callsites | holds '^idle1;' || complain "no call sites of another heap"
before=$(page | sed -n 's/^heapd_gc_freed_bytes_total{heap="default"} //p')
printf '[Heap later]\nSize=64M\n' >>"$dir/heapd.conf"
kill -HUP $keeper
soon "a heap that was made later" '^heapd_up\{heap="later"\} 1$'
kill -KILL "$served"
soon "another daemon" '^heapd_daemon_up 1$'
for ((i = 0; i < 100; i++)); do [[ $(pgrep -P $keeper) != "$served" ]] && break; sleep 0.1; done
soon "the heap of another daemon" '^heapd_up\{heap="default"\} 1$'
"$dir/load" default work 2 || complain "the load failed after the daemon's death"
after=$(page | sed -n 's/^heapd_gc_freed_bytes_total{heap="default"} //p')
awk -v a="${before:-0}" -v b="${after:-0}" 'BEGIN { exit !(a > 0 && b > a) }' || complain "the series do not go on: $before, then $after"
[[ ! $bpf ]] || has "$(page)" '^heapd_gc_phase_seconds_count\{heap="default",phase="sweep"\} [1-9]' || complain "no phases of another daemon"
kill $keeper
wait $keeper
text=$(page)
has "$text" '^heapd_daemon_up 0$' && has "$text" '^heapd_up\{heap="idle0"\} 0$' || complain "the daemon is gone, and up, or its heaps are gone"
# One that has fewer heaps.
"$build/heapd" -c /dev/null --set heap.default.Size=64M --socket="$dir/s" 2>"$dir/heapd2.log" &
pids+=($!)
soon "a daemon that has fewer heaps" '^heapd_up\{heap="default"\} 1$'
! has "$(page)" 'heap="idle0"' || complain "a heap that there is no more stays"
[[ ! $bpf ]] || ! callsites | holds '^idle1;' || complain "call sites of a heap that there is no more"
[[ ! $bpf ]] || callsites | holds '^default;' || complain "no call sites of one that there is"
exporter_end "the main one"
exit $bad
