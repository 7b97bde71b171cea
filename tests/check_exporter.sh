#!/bin/bash
# The exporter, for real: a daemon under load, scraped by Debian's Prometheus; both text forms are read by promtool and a
# foreign parser; alert rules and the dashboard's queries are run. Bad scrapers and bad times: check_scrape.sh.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

build=$(realpath "${HEAPD_TEST_BUILD:-build}")
[[ -x $build/heapd-exporter && -x $build/heapd-demo ]] || { echo "SKIP exporter: it is not built"; exit 77; }
command -v curl >/dev/null || { echo "SKIP exporter: no curl"; exit 77; }
bad=0
complain() {
	echo "$1"
	bad=1
}

dir=$(mktemp -d) || exit 1
pids=()
cleanup() {
	kill "${pids[@]}" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap cleanup EXIT

mkdir "$dir/text"
for ((i = 1; i <= 100; i++)); do
	for ((k = 1; k <= 100; k++)); do echo "all word_$((k % 50)) file_$i place_$((i * k % 997))"; done >"$dir/text/$i.txt"
done

"$build/heapd" -c /dev/null --socket="$dir/s" --set heap.default.Size=1G --set heap.default.Limit=256M --set heap.default.GCPercent=50 \
	--set heap.idle.Size=64M 2>"$dir/heapd.log" &
daemon=$!
pids+=($daemon)
for ((i = 0; i < 50; i++)); do [[ -S $dir/s ]] && break; sleep 0.1; done

# Its standard output says the port. $1: name, the rest: more arguments. Sets port and exporter.
exporter_start() {
	local name=$1
	shift
	"$build/heapd-exporter" --socket="$dir/s" -p 0 --daemon="$build/heapd" \
		--library="$build/libheapd.so" "$@" >"$dir/$name" 2>&1 &
	exporter=$!
	pids+=($exporter)
	for ((i = 0; i < 100; i++)); do
		port=$(grep -oE 'port [0-9]+' "$dir/$name") && port=${port#port } && return
		sleep 0.1
	done
	complain "the exporter does not come up: $(cat "$dir/$name")"
	exit 1
}

# A receiver of traces, which keeps what it is sent.
/usr/bin/python3 - "$dir/traces" >"$dir/traces.port" <<'PY' &
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        with open(sys.argv[1], 'ab') as f: f.write(self.path.encode() + b' ' + body + b'\n')
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_address[1], flush=True)
s.serve_forever()
PY
pids+=($!)
for ((i = 0; i < 50; i++)); do [[ -s $dir/traces.port ]] && break; sleep 0.1; done

exporter_start exporter --otlp="http://127.0.0.1:$(cat "$dir/traces.port")/v1/traces"
main=$exporter mainport=$port
bpf=yes
grep -qE 'attached by (uprobe_multi|usdt)' "$dir/exporter" || { bpf=; echo "no BPF here: $(head -n 1 "$dir/exporter")"; }
if [[ $bpf ]]; then
	grep -q '^CapEff:[[:space:]]*0*$' "/proc/$main/status" || complain "the exporter keeps capabilities"
fi

# Every series is there before anything has happened.
curl -s "localhost:$port/metrics" >"$dir/first" || complain "no answer"
for name in 'heapd_gc_cycles_total{heap="idle",trigger="death"} 0' 'heapd_gc_pause_seconds_count{heap="default"} 0' \
	'heapd_gc_phase_seconds_count{heap="idle",phase="mark"} 0' 'heapd_sampled_alloc_bytes_total{heap="default",size="16"} 0' \
	'heapd_up{heap="default"} 1' 'heapd_up{heap="idle"} 1' 'heapd_allocated_bytes_total{heap="idle"} 0' 'heapd_freed_bytes_total{heap="idle"} 0' \
	'heapd_exporter_bpf_stale 0' "heapd_exporter_bpf_files{file=\"library\"} $([[ $bpf ]] && echo 1 || echo 0)" \
	"heapd_build_info{version=\"$("$build/heapd" --version | sed 's/.* //')\"} 1"; do
	grep -qxF "$name" "$dir/first" || complain "not there from the start: $name"
done

prometheus_up=
if command -v prometheus >/dev/null; then
	cat >"$dir/prometheus.yml" <<YML
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}
rule_files: [$PWD/bpf/heapd.rules.yml]
scrape_configs: [{job_name: heapd, static_configs: [{targets: ['127.0.0.1:$port']}]}]
YML
	prom=$((20000 + RANDOM % 20000))
	prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/tsdb" --web.listen-address=127.0.0.1:$prom \
		>"$dir/prometheus.log" 2>&1 &
	pids+=($!)
	prometheus_up=yes
fi

"$build/heapd-demo" -q -k 100 -t 12 --heap=default --socket="$dir/s" "$dir/text" >"$dir/demo" 2>&1 &
demo=$!
pids+=($demo)

sleep 5
curl -s -D "$dir/head" "localhost:$port/metrics" >"$dir/text.prom"
grep -qi '^content-type: text/plain; version=0.0.4' "$dir/head" || complain "not the text format: $(cat "$dir/head")"
curl -s -D "$dir/head" -H 'Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5' "localhost:$port/metrics" >"$dir/open.prom"
grep -qi '^content-type: application/openmetrics-text; version=1.0.0' "$dir/head" || complain "no OpenMetrics: $(cat "$dir/head")"
! grep -qE '[{,]pid=' "$dir/text.prom" || complain "a pid is a label"
if command -v promtool >/dev/null; then
	said=$(promtool check metrics <"$dir/text.prom" 2>&1) || complain "promtool: $said"
	# That reads text alone. Its parser of OpenMetrics is where old data is read into a database, which wants times.
	sed "/^#/!s/\$/ $(date +%s)/" "$dir/open.prom" >"$dir/timed.prom"
	said=$(promtool tsdb create-blocks-from openmetrics "$dir/timed.prom" "$dir/blocks" 2>&1) || complain "promtool, OpenMetrics: $said"
	[[ $(promtool tsdb list "$dir/blocks" 2>&1 | awk 'NR == 2 { print $5 }') == "$(grep -vc '^#' "$dir/open.prom")" ]] ||
		complain "promtool does not have all samples: $(promtool tsdb list "$dir/blocks" 2>&1)"
	promtool check rules bpf/heapd.rules.yml >/dev/null || complain "promtool finds mistakes in the rules"
	sed "s|RULES|$PWD/bpf/heapd.rules.yml|" tests/heapd_rules_test.yml >"$dir/rules.yml"
	said=$(promtool test rules "$dir/rules.yml" 2>&1) || complain "$said"
else
	echo "SKIP exporter: no promtool"
fi
if /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null; then
	/usr/bin/python3 - "$dir/text.prom" "$dir/open.prom" <<'PY' || complain "the foreign parser finds mistakes"
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as om
from prometheus_client.parser import text_string_to_metric_families as text
a = {f.name for f in text(open(sys.argv[1]).read())}
b = {f.name for f in om(open(sys.argv[2]).read())}
assert a == b and len(b) > 50, (a ^ b, len(b))
PY
fi
for name in heapd_gc_freed_bytes_total heapd_gc_pause_seconds_count ${bpf:+heapd_client_pause_seconds_count heapd_alloc_slow_seconds_count}; do
	grep -qE "^$name\{heap=\"default\"\} [1-9]" "$dir/text.prom" || complain "nothing counted: $name"
done
[[ ! $bpf ]] || grep -qE '^heapd_gc_phase_seconds_count\{heap="default",phase="sweep"\} [1-9]' "$dir/text.prom" ||
	complain "no phases"

wait $demo || complain "the demo failed: $(cat "$dir/demo")"

# What the probe of a pause said to the BPF program is what the daemon has counted, bucket by bucket: the exporter was there
# before the first client.
if [[ $bpf ]]; then
	curl -s "localhost:$mainport/metrics" >"$dir/rest.prom"
	/usr/bin/python3 - "$dir/rest.prom" "$dir/heapd.log" <<'PY' || complain "BPF programs and the daemon do not agree"
import re, sys
v = {}
for line in open(sys.argv[1]):
    if m := re.fullmatch(r'(heapd_\w+)\{heap="default"(?:,(.*))?\} (\S+)\n', line): v[m[1], m[2] or ''] = float(m[3])
bad = 0
pauses = {k[1]: n for k, n in v.items() if k[0] == 'heapd_gc_pause_seconds_bucket'}
for le, n in pauses.items():
    if v['heapd_client_pause_seconds_bucket', le] != n: print(le, n, v['heapd_client_pause_seconds_bucket', le]); bad = 1
if len(pauses) < 20 or not pauses['le="+Inf"'] > 0: print('few pauses', pauses); bad = 1
# A cycle is its phases, and of two of them the handshake is a part.
phase = {p: v['heapd_gc_phase_seconds_sum', f'phase="{p}"'] for p in 'barrier gather scan roots mark sweep'.split()}
whole, voids = v['heapd_gc_duration_seconds_total', ''], v['heapd_gc_void_cycles_total', '']
cycles = voids + sum(n for k, n in v.items() if k[0] == 'heapd_gc_cycles_total')
# As many of each kind as the log has, which leaves out some when there are many.
log = re.findall(r"heap 'default': gc \d+ \((\w+)\): ", open(sys.argv[2]).read())
for t in 'heap limit interval request death void stress'.split():
    n = v['heapd_gc_cycles_total', f'trigger="{t}"']
    if n < log.count(t) or (n and t == 'heap' and not log.count(t)): print('cycles by', t, n, log.count(t)); bad = 1
if not log: print('no cycles in the log'); bad = 1
# The duration is that of cycles that were not void.
if sum(phase.values()) < 0.5 * whole or (not voids and sum(phase.values()) > 1.01 * whole): print('phases', phase, whole); bad = 1
if v['heapd_gc_phase_seconds_count', 'phase="sweep"'] != cycles: print('sweeps are not', cycles); bad = 1
for h in 'barrier', 'scan':
    n = v['heapd_gc_handshake_seconds_sum', f'handshake="{h}"']
    if not (0 < n <= phase[h] and (h != 'scan' or n > 0.2 * phase[h])): print('handshake', h, n, phase); bad = 1
# What a histogram adds up to lies between what its buckets allow, in seconds, and no pause is longer than the longest bucket.
def histogram(name, labels=''):
    at = sorted((float(k[1].rsplit('le="', 1)[1][:-1].replace('+Inf', 'inf')), n) for k, n in v.items()
                if k[0] == name + '_bucket' and k[1].startswith(labels) and (labels or k[1].startswith('le=')))
    low = high = before = last = 0
    for le, n in at:
        low, high = low + (n - before) * last, high + (n - before) * le if n > before else high
        if n > before: top = last, le
        before, last = n, le
    return v[name + '_sum', labels], low, high, top
for name, labels in [('heapd_gc_pause_seconds', ''), ('heapd_client_pause_seconds', ''), ('heapd_alloc_slow_seconds', '')] + \
        [('heapd_gc_phase_seconds', f'phase="{p}"') for p in phase] + [('heapd_gc_handshake_seconds', 'handshake="scan"')]:
    s, low, high, top = histogram(name, labels)
    if not low <= s <= high: print(name, labels, s, 'is not between', low, high); bad = 1
    if name == 'heapd_gc_pause_seconds' and not top[0] < v['heapd_gc_pause_max_seconds', ''] <= top[1]: print('the longest pause', top, v['heapd_gc_pause_max_seconds', '']); bad = 1
if v['heapd_client_pause_seconds_sum', ''] != v['heapd_gc_pause_seconds_sum', '']: print('pauses do not add up to the same'); bad = 1
sys.exit(bad)
PY
fi

# No series came later, none had to go, and no label is one that a client could choose the values of.
curl -s "localhost:$mainport/metrics" >"$dir/rest.prom"
/usr/bin/python3 - "$dir/first" "$dir/rest.prom" <<'PY' || complain "series came, or went, or have other labels"
import re, sys
first, rest = ({l.rsplit(' ', 1)[0] for l in open(f) if not l.startswith('#')} for f in sys.argv[1:])
assert first == rest and len(first) > 500, first ^ rest
labels = {l for s in rest for l in re.findall(r'(\w+)="', s)}
assert labels == {'heap', 'trigger', 'phase', 'handshake', 'size', 'layout', 'le', 'version', 'attach', 'file'}, labels
PY

# What was ever handed out, less what came back, is what there is; read while the daemon may be at work, so more than once.
/usr/bin/python3 - "$mainport" <<'PY' || complain "the totals do not add up"
import re, sys, time, urllib.request
for i in range(100):
    text = urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[1]}/metrics', timeout=20).read().decode()
    v = {m[1]: int(float(m[2])) for m in re.finditer(r'^(heapd_\w+)\{heap="default"\} (\S+)$', text, re.M)}
    given, taken = v['heapd_allocated_bytes_total'], v['heapd_freed_bytes_total']
    now = v['heapd_heap_allocated_bytes'] + v['heapd_heap_supply_bytes'] + v['heapd_heap_current_bytes']
    if given - taken == now and given > 0 and taken >= v['heapd_gc_freed_bytes_total'] > 0: sys.exit(0)
    time.sleep(0.2)
sys.exit(f'{given} - {taken} is not {now}: {v}')
PY

if [[ $prometheus_up ]]; then
	/usr/bin/python3 - "$prom" "$bpf" bpf/heapd.dashboard.json <<'PY' || complain "Prometheus: $(tail -n 3 "$dir/prometheus.log")"
import json, sys, urllib.parse, urllib.request
prom, bpf, board = sys.argv[1:]
def query(q):
    u = f'http://127.0.0.1:{prom}/api/v1/query?' + urllib.parse.urlencode({'query': q})
    return json.load(urllib.request.urlopen(u))['data']['result']
bad = 0
def positive(q):
    global bad
    r = query(q)
    if not r or not float(r[0]['value'][1]) > 0: print('not positive:', q, r); bad = 1
positive('max_over_time(up{job="heapd"}[1m])')
positive('rate(heapd_gc_freed_bytes_total{heap="default"}[1m])')
positive('histogram_quantile(0.99, rate(heapd_gc_pause_seconds_bucket{heap="default"}[1m]))')
if bpf:
    positive('histogram_quantile(0.9, rate(heapd_gc_phase_seconds_bucket{heap="default",phase="mark"}[1m]))')
    positive('sum(rate(heapd_sampled_alloc_bytes_total{heap="default"}[1m]))')
u = f'http://127.0.0.1:{prom}/api/v1/rules'
rules = [r for g in json.load(urllib.request.urlopen(u))['data']['groups'] for r in g['rules']]
if len(rules) < 10 or any(r['health'] != 'ok' for r in rules): print('rules', [(r['name'], r['health']) for r in rules]); bad = 1
n = 0
for panel in json.load(open(board))['panels']:
    for target in panel['targets']:
        n += 1
        if not query(target['expr'].replace('$heap', '.*')):
            print('finds nothing:', panel['title'], target['expr']); bad = 1
if n < 20: print('few queries', n); bad = 1
sys.exit(bad)
PY
else
	echo "SKIP exporter: no prometheus"
fi

# A trace for each cycle, with its parts below it, read by the protocol's own schema.
if command -v protoc >/dev/null && /usr/bin/python3 -c 'import google.protobuf' 2>/dev/null; then
	tests/otlp/read "$dir/traces" || complain "traces are not as they should be"
else
	echo "SKIP exporter: no protoc, or no protobuf for python3"
fi

# Without BPF, and without a daemon, it goes on.
exporter_start second --no-bpf
grep -qx 'heapd_exporter_bpf_up 0' <(curl -s "localhost:$port/metrics") || complain "BPF is up without BPF"
kill $daemon
wait $daemon
curl -s "localhost:$mainport/metrics" >"$dir/last"
grep -qx 'heapd_up{heap="default"} 0' "$dir/last" || complain "the daemon is gone, and up"
grep -qE '^heapd_gc_freed_bytes_total\{heap="default"\} [1-9]' "$dir/last" || complain "what was counted is forgotten"
kill $main
wait $main || complain "the exporter does not end well: $?"
exit $bad
