#!/bin/bash
# heapctl against real daemons: every verb answers, as a table and as JSON; what it says of a heap at rest is what the
# collector says; exit statuses, colours, completion.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

. tests/tool.bash

h() {
	timeout 20 "$ctl" -H test "$@"
}

# $1: the exit status that is expected; the rest: arguments
status() {
	local expected=$1 got
	shift
	timeout 20 "$ctl" "$@" >"$dir/out" 2>"$dir/err"
	got=$?
	((got == expected)) || complain "heapctl $*: exit status $got, not $expected: $(head -n 2 "$dir/err")"
}

json() {
	python3 -c "import json, sys; d = json.load(sys.stdin); $1"
}

check_verbs() {
	local verb form
	mkdir "$dir/said"
	for verb in status list clients users classes types spans roots config gc log verify receipts histo retained; do
		h "$verb" >"$dir/out" 2>"$dir/err" || complain "$verb: exit status $?: $(cat "$dir/err")"
		[[ -s $dir/out ]] || complain "$verb says nothing"
		for form in short pretty; do
			h --json=$form "$verb" >"$dir/said/$verb --json=$form" 2>/dev/null || complain "$verb --json=$form: exit status $?"
		done
		(($(wc -l <"$dir/said/$verb --json=short") == 1)) || complain "$verb --json=short: not one line"
	done
	for verb in "trace" "snapshot" "--json=short top" "--json=pretty top"; do
		h $verb >"$dir/said/$verb" || complain "$verb: exit status $?"
	done
	for verb in "--age histo" "--age --live histo" "--bytes clients"; do
		h --json=short $verb >"$dir/said/$verb --json=short" || complain "$verb --json=short: exit status $?"
		[[ $(h $verb) =~ ^(CLASS|SESSION|no ) ]] || complain "$verb: no table"
		[[ ! $(h --no-legend $verb) =~ ^(CLASS|SESSION|no ) ]] || complain "--no-legend $verb: a header"
	done
	# Of a process without a receipt the JSON is whole, too; that there is none is said beside it.
	h --json=short receipts 1 >"$dir/said/receipts 1 --json=short" 2>/dev/null
	for verb in "stat" "top" "map" "leaks 2 0" "leaks 2 0.05" "--by=root leaks 2 0" "stat 0.05 3"; do
		h $verb >"$dir/out" 2>&1 || complain "$verb: exit status $?"
		[[ -s $dir/out ]] || complain "$verb says nothing"
	done
	(($(h --no-legend stat 0.02 3 | wc -l) == 3)) || complain "stat 0.02 3: not three lines"
	h --json=short stat 0.02 2 >"$dir/lines"
	(($(wc -l <"$dir/lines") == 2)) || complain "stat --json 0.02 2: not two lines"
	split -l 1 "$dir/lines" "$dir/said/a line of stat "
	(($(h stat 0.02 3 | awk '{ print length }' | sort -u | paste -s -d ' ') == 79)) || complain "stat: not all lines have 79 columns"
	(($(h --no-legend roots | wc -l) == $(h roots | wc -l) - 1)) || complain "--no-legend leaves a header"
	python3 - "$dir/said" <<-'P' || bad=1
		import json, os, sys
		bad = 0
		for name in sorted(os.listdir(sys.argv[1])):
		    try: d = json.load(open(os.path.join(sys.argv[1], name)))
		    except ValueError as e: d = print(f'{name} is no JSON: {e}')
		    if not d: bad = print(f'{name} says nothing') or 1
		sys.exit(bad)
	P
}

# What a walk finds in a heap at rest is what the collector marked, to the object and byte.
check_figures() {
	local marked found
	marked=$(h --json=short gc | json "c = d['cycles'][-1]; print(c['live_objects'], c['live'])")
	found=$(h --json=short --live histo | json "print(sum(r['objects'] for r in d['histo']), sum(r['bytes'] for r in d['histo']))")
	[[ $marked == "$found" ]] || complain "the collector marked $marked (objects, bytes), the walk found $found"
	found=$(h --json=short retained | json "print([r['retained'] for r in d['retained'] if r['object'] == 'root heapd-demo'][0])")
	[[ ${marked#* } == "$found" ]] || complain "the only root retains $found bytes, of ${marked#* } live"
	found=$(h snapshot | json "
s = d['snapshot']; f = 7
assert len(d['nodes']) == f * s['node_count'] and len(d['edges']) == 3 * s['edge_count']
assert sum(d['nodes'][4::f]) == s['edge_count'] and all(e % f == 0 and e < len(d['nodes']) for e in d['edges'][2::3])
assert len(set(d['nodes'][2::f])) == s['node_count'] and max(d['nodes'][1::f]) < len(d['strings'])
print(sum(d['nodes'][3::f]))") || complain "the snapshot does not add up"
	[[ ${marked#* } == "$found" ]] || complain "the snapshot has $found bytes, of ${marked#* } live"
}

# The trace as Perfetto reads it: times as doubles, into whole nanoseconds; on a thread, what begins while another goes on lies within
# it, or is thrown away. It says the same as the log, and when that was.
check_trace() {
	local before
	before=$(date +%s)
	h gc >/dev/null
	h gc >/dev/null
	h trace >"$dir/trace.json"
	h -o "$dir/trace.again" trace && cmp -s "$dir/trace.json" "$dir/trace.again" || complain "trace -o: another trace"
	h --json=short log >"$dir/log.json"
	/usr/bin/python3 - "$dir/trace.json" "$dir/log.json" "$before" <<-'P' || complain "the trace is not what happened"
		import json, sys, time
		d, log = (json.load(open(f)) for f in sys.argv[1:3])
		assert set(d) == {'traceEvents', 'displayTimeUnit', 'otherData'} and d['displayTimeUnit'] == 'ns', set(d)
		assert d['otherData']['heap'] == 'test', d['otherData']
		names, spans, counters = {}, [], {}
		for e in d['traceEvents']:
		    assert e['pid'] == 1, e
		    if e['ph'] == 'M': names[e['name']] = e['pid'], e['tid'], e['args']['name']
		    elif e['ph'] == 'C': counters.setdefault(e['name'], []).append((round(float(e['ts']) * 1000), e['args']['bytes']))
		    else:
		        assert e['ph'] == 'X' and e['tid'] == 1 and e['cat'] == 'gc' and e['dur'] >= 0, e
		        spans.append((round(float(e['ts']) * 1000), round(float(e['dur']) * 1000), e))
		assert names == {'process_name': (1, 1, 'heapd: test'), 'thread_name': (1, 1, 'collections')}, names
		open_, cycles = [], []
		for at, ns, e in sorted(spans, key=lambda s: s[0]): # stable: of two at one time the first in the file lies outside
		    while open_ and open_[-1][0] + open_[-1][1] <= at: open_.pop()
		    assert not open_ or at + ns <= open_[-1][0] + open_[-1][1], f'{e} overlaps {open_[-1]}'
		    assert ns == 0 or len(open_) == (0 if e['name'].startswith('gc ') else 2 if e['name'].startswith('handshake: ') else 1), (e, open_)
		    if ns and len(open_) == 2: assert e['name'] == 'handshake: ' + open_[-1][2]['name'], (e, open_[-1])
		    if e['name'].startswith('gc '): cycles.append((at, ns, e, {}))
		    else: cycles[-1][3][e['name']] = ns
		    open_.append((at, ns, e))
		log = log['cycles']
		assert len(cycles) == len(log) >= 2, (len(cycles), len(log))
		origin = int(d['otherData']['began_unix_ns'])
		assert cycles[0][0] == 0 and int(sys.argv[3]) * 10**9 <= origin + cycles[-1][0] <= time.time_ns(), (origin, cycles[-1][0])
		for (at, ns, e, part), row in zip(cycles, log):
		    assert e['name'] == f"gc {row['cycle']}" + ' (void)' * (row['void'] != 0), (e, row)
		    a = e['args']
		    assert a['trigger'] == row['trigger'] and a['live'] == row['live'] and a['freed'] == row['freed'], (a, row)
		    assert a['threads'] == row['threads'] and a['clients'] == row['clients'] and a['pause_max_ns'] == row['pause'], (a, row)
		    assert ns == sum(n for p, n in part.items() if ':' not in p) and len(part) == 8, (ns, part)
		    for p in 'gather', 'roots', 'mark', 'sweep': assert part[p] == row[p], (p, part, row)
		    for p in 'barrier', 'scan': assert part['handshake: ' + p] == min(row[p], part[p]), (p, part, row)
		whole = [(at, ns, e['args']) for at, ns, e, _ in cycles if '(void)' not in e['name']]
		assert counters['live'] == [(at + ns, a['live']) for at, ns, a in whole], counters
		assert counters['allocated'] == [(at, e['args']['before']) for at, _, e, _ in cycles], counters
	P
}

check_objects() {
	local object last
	object=$(h --json=short --top 500 retained | json "print([r['object'].split()[-1] for r in d['retained'] if 'posting' in r['object']][0])")
	h --json=short why "$object" >"$dir/json" || complain "why $object: exit status $?"
	json "p = d['path']; assert p[0]['object'] == 'root heapd-demo' and p[-1]['object'].endswith('$object'), p" <"$dir/json" ||
		complain "why: the path is not from the root to the object"
	json "p = d['path']; assert p[1]['held_by'] == 'root heapd-demo' and all(o['held_by'].startswith('at byte ') for o in p[2:]), p" <"$dir/json" ||
		complain "why does not say by what each is held"
	last=$(printf '0x%x' $((object + 1)))
	h why "$last" | holds "$object" || complain "why does not take an address inside an object"
	h who "$object" | holds 'root heapd-demo' || complain "who does not name the root"
	h dot "$object" 1 | holds 'digraph heap' || complain "dot is no graph"
	status 1 -H test why 0x110000000001000
	status 2 -H test why here
}

check_settings() {
	h config gc.percent=150 || complain "config gc.percent=150: exit status $?"
	h --no-legend config gc.percent | holds '150' || complain "gc.percent was not set"
	h config set gc.percent 100 && h --no-legend config get gc.percent | holds '100' || complain "config set, get"
	status 2 -H test config no.such
	status 5 -H test config gc.percent=many
}

check_statuses() {
	status 2 nothing
	status 2 --json=maybe status
	status 2 why
	status 2 -H test stat never
	status 2 -H test config no.such=1
	status 2 -H test --json=short map
	status 2 -H test --json=short dot 0x110000000000
	status 4 -H '' status
	status 4 -H nosuch status
	grep -q nosuch "$dir/err" || complain "the heap that is not there is not named"
	HEAPD_SOCKET=$dir/none status 3 status
	HEAPD_SOCKET=$dir/none status 3 list
	status 5 -H test -o /nonexistent/file snapshot
	status 1 -H test receipts 1
	grep -q "no receipt of process 1:" "$dir/err" || complain "receipts of a process without one do not say so"
	status 0 -H test receipts
}

# On a terminal: colours, but for NO_COLOR; elsewhere none.
check_colors() {
	local esc=$'\e['
	term() {
		env "$@" PAGER= TERM=xterm script -qec "$ctl -H test map" /dev/null </dev/null 2>/dev/null
	}
	term -u NO_COLOR | holds -F "$esc" || complain "no colours on a terminal"
	! term NO_COLOR=1 | holds -F "$esc" || complain "colours, despite NO_COLOR"
	! h map | holds -F "$esc" || complain "colours, though not on a terminal"
}

# On a terminal what is printed goes through a pager, but for --no-pager, what goes on, and what goes to a file.
check_pager() {
	local got
	# $1: HEAPCTL_PAGER; the rest: arguments
	paged() {
		local pager=$1
		shift
		env -u PAGER HEAPCTL_PAGER="$pager" TERM=xterm script -qec "timeout 20 $ctl -H test $*" /dev/null </dev/null 2>/dev/null
	}
	paged "sed s/^/PAGED/" roots | holds '^PAGED.*heapd-demo' || complain "no pager on a terminal"
	! paged "sed s/^/PAGED/" --no-pager roots | holds PAGED || complain "a pager, despite --no-pager"
	paged "sed s/^/PAGED/" --no-pager roots | holds heapd-demo || complain "nothing is printed with --no-pager"
	! paged "" roots | holds PAGED || complain "a pager that is empty is run"
	! paged "sed s/^/PAGED/" stat 0.05 2 | holds PAGED || complain "stat goes through a pager"
	! paged "sed s/^/PAGED/" -o "$dir/paged" map | holds PAGED || complain "with --output a pager is run"
	! HEAPCTL_PAGER="sed s/^/PAGED/" h roots | holds PAGED || complain "a pager, though not on a terminal"
	env -u HEAPCTL_PAGER PAGER="sed s/^/OTHER/" TERM=xterm script -qec "$ctl -H test roots" /dev/null </dev/null 2>/dev/null |
		holds '^OTHER' || complain "PAGER is not used"
	# One that reads no further ends it; what it was is told by the exit status all the same.
	paged "head -n 1" --top 100000 retained >/dev/null
	got=$?
	((got != 124)) || complain "heapctl outlives its pager"
	paged "cat" why 0x110000000001000 >/dev/null
	got=$?
	((got == 1)) || complain "through a pager the exit status is $got, not 1"
}

# Who is attached is told, stopped ones as such; events come.
check_clients() {
	timeout 60 "$build/heapd-demo" --socket "$HEAPD_SOCKET" --heap other -w 1 -k 0 -n 1 --forever "$dir/text" \
		>/dev/null 2>&1 &
	local demo=$! events i
	timeout $((30 * ${CK_TIMEOUT_MULTIPLIER:-1})) "$ctl" -H other events >"$dir/events" 2>&1 &
	events=$!
	for ((i = 0; i < 200; i++)); do
		(($("$ctl" -H other --no-legend clients 2>/dev/null | grep -c heapd-demo) >= 2)) && break
		sleep 0.02
	done
	((i < 200)) || complain "clients does not list the demo's processes"
	! "$ctl" -H other --no-legend clients | grep -E ' exe +heapd-demo ' || complain "the demo's processes go by another name"
	[[ $("$ctl" -H other --no-legend users | awk '{ print $1, ($2 >= 2), ($4 != "0B") }') == "$EUID 1 1" ]] ||
		complain "users: $("$ctl" -H other users)"
	timeout 5 "$ctl" -H other gc >/dev/null || complain "gc, with clients: exit status $?"
	timeout 20 "$ctl" -H other retained >/dev/null || complain "retained, with clients: exit status $?"
	for ((i = 0; i < 300; i++)); do
		grep -q attached "$dir/events" && grep -q cycle "$dir/events" && break
		sleep 0.02
	done
	kill $events
	wait $events 2>/dev/null
	! grep -vqE '^20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{3} [a-z-]+ +[0-9]+' "$dir/events" ||
		complain "events: a line without a time that people read"
	grep -q attached "$dir/events" && grep -q cycle "$dir/events" || complain "events: neither cycles nor clients"
	kill $demo
	wait $demo 2>/dev/null
}

check_completion() {
	local out verb
	out=$(PATH=$build:$PATH bash -c '. client/heapctl/completion.bash
		COMP_WORDS=(heapctl ret); COMP_CWORD=1; _heapctl; echo "${COMPREPLY[*]}"
		COMP_WORDS=(heapctl -H te); COMP_CWORD=2; _heapctl; echo "${COMPREPLY[*]}"')
	[[ $out == $'retained\ntest' ]] || complain "completion says: $out"
	for out in $("$build/heapctl" --help | grep -oE -- '^  .*' | grep -oE -- '--[a-z][a-z-]*' | sort -u); do
		grep -q -- "$out\b" client/heapctl/completion.bash || [[ $out == --usage ]] ||
			complain "bash's completion does not know $out"
		grep -q -- "$out\b" completion/zsh/_heapctl || complain "zsh's completion does not know $out"
	done
	for verb in $("$build/heapctl" --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
		grep -qw "$verb" <(sed -n '/verbs="/,/"$/p' client/heapctl/completion.bash) || complain "bash's completion does not know $verb"
		grep -q "'$verb:" completion/zsh/_heapctl || complain "zsh's completion does not know $verb"
	done
}

# The picture shows what the spans say: each glass is filled as its title has it, and the whole as it is.
check_map() {
	local i

	# Of one moment: the daemon may cut a slab, or take one back, between the two.
	for ((i = 0; i < 20; i++)); do
		h --json=short spans >"$dir/spans"
		h -o "$dir/map.svg" map
		h --json=short spans | cmp -s - "$dir/spans" && break
	done
	python3 -c '
import json, re, sys, xml.etree.ElementTree as x
t = x.parse(sys.argv[1]); ns = "{http://www.w3.org/2000/svg}"
spans = json.load(sys.stdin)["spans"]
used, size = sum(s["used"] * s["size"] for s in spans), sum(s["pages"] * 8192 for s in spans)
head = next(e.text for e in t.iter(ns + "text"))
assert head == "heap test: %.0f %% of its spans is used" % (100 * used / size), head
cells, filled = t.findall(ns + "g"), 0
assert len(cells) > 20, len(cells)
for g in cells:
    percent = int(re.search(", ([0-9]+) % used$", g.find(ns + "title").text).group(1))
    glass, filling = g.findall(ns + "rect")
    height = float(filling.get("height"))
    assert abs(height - 11 * percent / 100) < 0.12, (height, percent)
    assert abs(float(glass.get("y")) + 11 - float(filling.get("y")) - height) < 0.11
    assert glass.get("fill") == filling.get("fill") in "#0072b2 #e69f00 #009e73 #cc79a7 #56b4e9 #d55e00 #f0e442 #8c8c8c".split()
    filled += height
# By pages, of which the cells have equal shares.
assert abs(filled / 11 / len(cells) - used / size) < 0.1, (filled / 11 / len(cells), used / size)
names = " ".join(e.text for e in t.iter(ns + "text") if e.text)
assert all(s["type"].rstrip("[]+") in names for s in spans) or "all others" in names, names
' "$dir/map.svg" <"$dir/spans" || complain "the map does not show what the spans say"
	command -v rsvg-convert >/dev/null && { rsvg-convert "$dir/map.svg" >"$dir/map.png" || complain "the map cannot be drawn"; }
	LC_ALL=C h --no-legend map | grep -qvE '^0x[0-9a-f]{12} \|[ .:=+*#@-]{64}\|$' && complain "the map in ASCII is no map"
	LC_ALL=C.UTF-8 h --no-legend map | grep -qvE '^0x[0-9a-f]{12} \|[ ▁▂▃▄▅▆▇█]{64}\|$' && complain "the map in UTF-8 is no map"
	h map | holds "% used" || complain "the map has no legend"
	"$ctl" -H other map | holds "no spans" || complain "the map of an empty heap says nothing"
}

# Dominators once more, by iterating as Cooper, Harvey and Kennedy do, over the snapshot.
check_dominators() {
	h --no-gc -o "$dir/x.heapsnapshot" snapshot 2>/dev/null
	h --no-gc --json=short --top 1000 retained >"$dir/retained"
	python3 - "$dir/x.heapsnapshot" "$dir/retained" "$(h --no-legend config heap.base | awk '{ print $2 }')" <<-'P' ||
		import json, sys
		d, ours, base = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))["retained"], int(sys.argv[3], 16)
		f, n, at = 7, d["snapshot"]["node_count"], 0
		to, before = [], [[] for _ in range(n)]
		for v in range(n):
		    c = d["nodes"][v * f + 4]
		    to.append([d["edges"][3 * e + 2] // f for e in range(at, at + c)])
		    at += c
		    for w in to[v]: before[w].append(v)
		order, seen, stack = [], {0}, [(0, iter(to[0]))]
		while stack:
		    w = next((w for w in stack[-1][1] if w not in seen), None)
		    if w is None: order.append(stack.pop()[0])
		    else: seen.add(w); stack.append((w, iter(to[w])))
		place = {v: i for i, v in enumerate(order)}
		idom, changed = {0: 0}, True
		def meet(a, b):
		    while a != b:
		        while place[a] < place[b]: a = idom[a]
		        while place[b] < place[a]: b = idom[b]
		    return a
		while changed:
		    changed = False
		    for v in reversed(order[:-1]):
		        new = None
		        for p in before[v]:
		            if p in idom: new = p if new is None else meet(p, new)
		        changed |= idom.get(v) != new
		        idom[v] = new
		size = d["nodes"][3::f]
		for v in order[:-1]: size[idom[v]] += size[v]
		theirs = dict(zip(d["nodes"][2::f], size))
		ours = {((int(o["object"].split(" 0x")[1], 16) - base) // 8 + 4096) * 2 + 1: o["retained"] for o in ours if " 0x" in o["object"]}
		assert len(ours) > 100
		sys.exit(any(theirs[i] != ours[i] for i in ours))
	P
		complain "iterating finds other retained sizes"
}

start
fill
check_verbs
check_figures
check_trace
check_objects
check_settings
check_statuses
check_colors
check_pager
check_dominators
check_map
check_clients
check_completion
stop
status 3 -H test status
((bad == 0))
