# SPDX-License-Identifier: MIT
# The page of all comparisons, in Markdown: page-run calls it with the figures of each part, as files. -v began= parts= folder=

# Numbers of a list: their median, and the least and the largest.
function sorted(list, a,	n, i, j, t) {
	n = split(list, a, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
	return n
}
function median(list,	n, a) { n = sorted(list, a); return (a[int((n + 1) / 2)] + a[int(n / 2) + 1]) / 2 }
function spread(list, how,	n, a) { n = sorted(list, a); return sprintf(how " (" how ".." how ")", median(list), a[1], a[n]) }
function there(file,	line, r) { r = (getline line < (folder "/" file)) > 0; close(folder "/" file); return r }
function figure(file, what) { if (there(file)) print "![" what "](" file ")\n" }
# Of one figure of each round: its quotient by heapd's of the same round.
function ratio(list, by,	n, a, b, i, q) {
	n = split(list, a, " ")
	if (split(by, b, " ") < n)
		n = split(by, b, " ")
	for (i = 1; i <= n; i++)
		q = q " " (b[i] + 0 ? a[i] / b[i] : 0)
	return n ? sprintf("%.3g", median(q)) : "-"
}
# A goal that is a quotient, or a figure, of parts of this page.
function goal(text, least, limit, known, measured,	met) {
	met = least ? measured >= limit : measured <= limit
	printf "- %s: at %s %s; %s\n", text, least ? "least" : "most", limit, known ? sprintf("measured %.3g: %s", measured, met ? "met" : "missed") : "not measured"
}
function quotient(a, b) { return b + 0 ? a / b : 0 }
function goals_of_marking() {
	goal("objects marked a second on one core, heapd / Go", 1, 20, quicker["go"], quicker["go"])
	goal("objects marked a second on one core, heapd / bdwgc", 1, 10, quicker["bdwgc"], quicker["bdwgc"])
	goal("objects marked a second on one core, heapd / a bare prefetching loop", 1, 0.5, quicker["loop"], quicker["loop"])
}
function goals_of_kind(k, name) {
	goal("work " k ", 99.9 % of pauses, " name " / the mean of ZGC", 0, 1, stops[k, name] && stops[k, "zgc"], quotient(p999[k, name], mean[k, "zgc"]))
	goal("work " k ", longest pause, " name " / ZGC", 0, 0.1, stops[k, name] && stops[k, "zgc"], quotient(most[k, name], most[k, "zgc"]))
	goal("work " k ", throughput, " name " / ZGC", 1, 1, rate[k, name] && rate[k, "zgc"], quotient(rate[k, name], rate[k, "zgc"]))
}
function goals_of_work(	k, n, kind) {
	n = split("a b c d", kind)
	for (k = 1; k <= n; k++) {
		goals_of_kind(kind[k], "heapd")
		goals_of_kind(kind[k], "heapd-400")
	}
}
function goals_of_memory(	p) {
	for (p = 1; p <= 5; p++)
		goal("memory used for the same objects, " phase_name[p] ", heapd / jemalloc", 0, 1, used["heapd", p] && used["jemalloc", p], quotient(used["heapd", p], used["jemalloc", p]))
	goal("an idle daemon with three heaps, % of a processor", 0, 0.1, nidle, nidle ? idlecpu["all"] : 0)
}
# Where a heap's memory is: rows are parts, their sum is what is used.
function table_of_parts(who,	n, a, i, p, sum) {
	n = split(parts_of[who], a, " ")
	print "\nWhere it is, MiB, " who ":\n\n| | phase 1 | 2 | 3 | 4 | rest |\n|---|--:|--:|--:|--:|--:|"
	for (i = 1; i <= n; i++) {
		printf "| %s |", a[i]
		for (p = 1; p <= 5; p++) { printf " %.1f |", part_at[who, p, a[i]]; sum[p] += part_at[who, p, a[i]] }
		print ""
	}
	printf "| together |"; for (p = 1; p <= 5; p++) printf " %.1f |", sum[p]
	printf "\n| measured |"; for (p = 1; p <= 5; p++) printf " %.1f |", used[who, p]
	print "\n\nasked-for: by the program; rounding: to slot sizes; freed, garbage: not taken back yet; current-slabs: free, with processors; rings: free, ready to be taken; free-slots: in spans; free-pages: in no span, committed; the rest: tables, and what daemon and process have of their own."
}
# Noise of more than 1 % hides what is asked for.
function verdict(noise, inside, outside) { return outside ? "missed" : inside && noise <= 1 ? "met" : "not decided by so few starts, or on so restless a machine" }
function looked(loop, who) { return sprintf("%+.2f %% (%+.2f .. %+.2f)", change[loop, who], low[loop, who], high[loop, who]) }
function goals_of_probes(	k, n, loop, noise) {
	n = split("pair garbage", loop)
	for (k = 1; k <= n; k++) {
		if (!((loop[k], "idle") in change)) {
			print "- probes, " loop[k] ": not measured"
			continue
		}
		noise = high[loop[k], "again"] > -low[loop[k], "again"] ? high[loop[k], "again"] : -low[loop[k], "again"]
		printf "- probes compiled in and idle, %s, throughput: within noise, %.2f %%; measured %s: %s\n", loop[k], noise, looked(loop[k], "idle"),
			verdict(noise, change[loop[k], "idle"] >= -noise, high[loop[k], "idle"] < -noise)
		if ((loop[k], "exporter") in change)
			printf "- exporter attached, %s, throughput: at most 1 %% less; measured %s: %s\n", loop[k], looked(loop[k], "exporter"),
				verdict(0, low[loop[k], "exporter"] >= -1, high[loop[k], "exporter"] < -1)
	}
}
# Rows are points; where a figure bends it says so.
function scale_table(what, title, names, text,	n, a, m, p, i, k, v, before) {
	if (points[what] == "")
		return
	print "### By " title "\n"
	figure("scale-" what ".svg", what); if (what == "live") figure("scale-cycle.svg", "collections")
	n = split(names, a, " ")
	printf "| |"; for (i = 1; i <= n; i++) printf " %s |", a[i]
	printf "\n|--:|"; for (i = 1; i <= n; i++) printf "--:|"
	print ""
	m = split(points[what], p, " ")
	for (k = 1; k <= m; k++) {
		printf "| %s |", p[k]
		for (i = 1; i <= n; i++) {
			v = scaled[what, p[k], a[i]]; before = k > 1 ? scaled[what, p[k - 1], a[i]] : 0
			printf " %s%s |", v == "" ? "-" : sprintf("%.3g", v), bends(a[i], v, before) ? " bend" : ""
		}
		print ""
	}
	print "\n" text "\n"
}
# What goes with the size by itself is measured against that: points double.
function bends(name, v, before) {
	if (!before || v == "")
		return 0
	if (name == "rate")
		return v < before * 2 / 3
	return v >= before * (name ~ /^(cycle|cpu)$/ ? 3 : 1.5)
}
function heading(text) { print "\n## " text "\n" }

BEGIN { split("phase 1;phase 2;phase 3;phase 4;after a rest", phase_name, ";") }
FNR == 1 { file = FILENAME; sub(/.*\//, "", file) }
file == "results.md" { if (/^## Goals/) ingoals = 1; else if (/^## /) ingoals = 0; if (ingoals && /^goal:/) goals[++ngoals] = $0
	if (FNR > 1 && /^## /) body = 1; if (!body && FNR > 2) machine[++nmachine] = $0; else if (FNR > 2 && !ingoals) results[++nresults] = $0; next }
file == "share.txt" && $1 == "share" {
	if (!($2 in ways)) { ways[$2]; way[++nways] = $2 }
	nodes = $3; build[$2] = build[$2] " " $4; use[$2] = use[$2] " " $5; walk[$2] = walk[$2] " " $6; again[$2] = again[$2] " " $7; mib[$2] = mib[$2] " " $8; next
}
file == "frag.txt" && $1 == "frag" { if (!($2 in frags)) { frags[$2]; frag[++nfrags] = $2 } live[$3] = $4; used[$2, $3] = $5; cost[$2, $3] = $6; next }
file == "frag.txt" && $1 == "fragpart" { if (!(($2, $4) in parted)) { parted[$2, $4]; parts_of[$2] = parts_of[$2] " " $4 } part_at[$2, $3, $4] = $5; next }
file == "scale.txt" && $1 == "scale" { scaled[$2, $3, $4] = $5; if (!(($2, $3) in point)) { point[$2, $3]; points[$2] = points[$2] " " $3 } next }
file == "times.txt" && $1 == "time" { took[++ntook] = $2; seconds[$2] = $3; result[$2] = $4; length_of[$2] = $5; next }
file == "restart.txt" && $1 == "restart" {
	if (!($2 in sizes)) { sizes[$2]; size[++nsizes] = $2 }
	through[$2] = through[$2] " " $3; longest[$2] = longest[$2] " " $4; answered[$2] = answered[$2] " " $5; next
}
file == "idle.txt" && $1 == "idle" { idlecpu[$2] = $3; woken[$2] = $4; if ($2 != "all") idle[++nidle] = $2; next }
file == "probes.txt" && $1 == "probes" {
	probed[++nprobed] = $2 " " $3; mops[$2, $3] = $4; base[$2, $3] = $5; change[$2, $3] = $6; low[$2, $3] = $7; high[$2, $3] = $8
	starts = $9; runs = $10; next
}
$1 == "missing" { sub(/^missing /, ""); missing[file] = missing[file] (missing[file] ? "; " : "") $0; next }
file == "mark.txt" { if ($3 + 0) quicker[$1] = $3; mark[++nmark] = $0; next }
file == "work.txt" && $1 == "work" {
	if (!($3 in workers)) { workers[$3]; worker[++nworkers] = $3 }
	rate[$2, $3] = $4; peak[$2, $3] = $5; next
}
file == "work.txt" && $1 == "workpause" { stops[$3, $2] = $4; mean[$3, $2] = $5; p999[$3, $2] = $7; most[$3, $2] = $8; next }
file == "pause.md" { pause[++npause] = $0; next }

END {
	print "# heapd beside others\n"
	print "Measured " began (short != "" ? ", a short run: few rounds, small structures" : "") ". Parts of this run: " parts "; others, where they stand below, are of an earlier one."
	print "All run on this machine, in turn; medians of the rounds, with the least and the largest in brackets. Where a peer is missing it says so.\n"
	for (i = 1; i <= nmachine; i++)
		print machine[i]

	heading("Goals")
	for (i = 1; i <= ngoals; i++)
		print "- " substr(goals[i], 7)
	goals_of_marking()
	goals_of_work()
	goals_of_memory()
	goals_of_probes()

	heading("Allocation")
	figure("pair.svg", "pair"); figure("burst.svg", "burst"); figure("pass.svg", "pass")
	figure("larson.svg", "larson"); figure("xmalloc.svg", "xmalloc"); figure("scratch.svg", "cache-scratch")
	for (i = 1; i <= nresults; i++) {
		sub(/^## /, "### ", results[i])
		print results[i]
	}

	if (nways) {
		heading("Sharing: " nodes " linked nodes of 64 bytes")
		figure("share.svg", "time to first use")
		print "One process builds a binary tree, another, which runs already, walks through all of it, twice. First use: from built until the other has read a node of a structure that it can use; pipe and socket write all of it out and build it again there. Redis and memcached have a value for each node, asked for in batches of 512: building is storing, so their time to first use is that of one answer. Memory is what both, and the server, hold more than before. x: by heapd's, round by round.\n"
		print "| by | build ms | first use ms | x | first walk ns a node | x | second walk | x | MiB |"
		print "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
		for (i = 1; i <= nways; i++) {
			w = way[i]
			printf "| %s | %s | %s | %s | %s | %s | %s | %s | %.1f |\n", w, spread(build[w], "%.0f"), spread(use[w], "%.3g"), ratio(use[w], use["heapd"]),
				spread(walk[w], "%.1f"), ratio(walk[w], walk["heapd"]), spread(again[w], "%.1f"), ratio(again[w], again["heapd"]), median(mib[w])
		}
		if (missing["share.txt"] != "") print "\nMissing: " missing["share.txt"]
	}
	if (nfrags) {
		heading("Memory used against memory asked for")
		figure("frag.svg", "fragmentation")
		print "Objects of 16 bytes to some KiB replaced at random, in four phases, each with another mix of sizes; the fourth with a quarter of the objects. Then a rest, with an operation in a millisecond: what goes back to the system has gone by then. Used / asked for at the end of each phase, and ns an operation, of one run. heapd: with all that its daemon has, and what it keeps ready; heapd-gc: nothing is freed, the heap collects (GCPercent=100), and garbage counts; mallocs: resident memory.\n"
		printf "| |"; for (p = 1; p <= 4; p++) printf " phase %d: %.0f MiB asked for | ns |", p, live[p]
		printf " rest: %.0f MiB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", live[5]
		for (i = 1; i <= nfrags; i++) {
			printf "| %s |", frag[i]
			for (p = 1; p <= 4; p++) printf " %.2f | %.0f |", quotient(used[frag[i], p], live[p]), cost[frag[i], p]
			printf " %.2f |\n", quotient(used[frag[i], 5], live[5])
		}
		for (i = 1; i <= nfrags; i++)
			if (frag[i] in parts_of)
				table_of_parts(frag[i])
		if (missing["frag.txt"] != "") print "\nMissing: " missing["frag.txt"]
	}
	if (points["threads"] points["classes"] points["live"] != "") {
		heading("How costs grow")
		print "Objects of 64 bytes, one run. With processes: the plots of allocation above. bend: half again what it was one line up or more (cycle and cpu: three times, while what lives doubles), or a rate of less than two thirds; what explains it stands below each table.\n"
		scale_table("threads", "threads of one process", "pair burst", "ns an object allocated and freed, times the processors that the threads could use. Each processor has current slabs of its own, whichever thread runs there: where there are no more processors, more threads cost switches between them.")
		scale_table("classes", "classes in use", "pair burst", "ns an object, each of another type than the one before, one thread. Each class has words of its own for each processor, a cache line, and slabs of its own: when they are more than the caches hold, each object misses.")
		scale_table("live", "MiB that live", "fill pair marking cycle cpu rate pause room", "fill: ns an object up to here, memory committed and collections on the way included (GCPercent=100); pair: ns, with no collection under way; marking: ns, while one is; cycle: ms a collection takes; cpu: ms of processors in it; rate: million objects marked in a second of those; pause: us, mean answer of a thread; room: committed / asked for. A collection goes with what lives. Where the caches and the TLB do not hold the mark words any more, the rate falls.")
	}
	if (nsizes) {
		heading("The daemon killed, and started again by heapd --keep")
		print "A client goes on allocating objects of 64 bytes. Milliseconds from SIGKILL until 8 MiB more are through, its longest single wait meanwhile, and until a request was answered.\n"
		print "| MiB in the heap | 8 MiB through | longest wait | request answered |\n|--:|--:|--:|--:|"
		for (i = 1; i <= nsizes; i++)
			printf "| %s | %s | %s | %s |\n", size[i], spread(through[size[i]], "%.0f"), spread(longest[size[i]], "%.0f"), spread(answered[size[i]], "%.0f")
	}
	if ("all" in idlecpu) {
		heading("An idle daemon")
		print "Three heaps, in each a client that allocates nothing. Processor time, and how often a thread woke.\n"
		print "| thread | % of a processor | wake-ups a second |\n|---|--:|--:|"
		for (i = 1; i <= nidle; i++)
			printf "| %s | %.4f | %.2f |\n", idle[i], idlecpu[idle[i]], woken[idle[i]]
		printf "| all | %.4f | %.2f |\n", idlecpu["all"], woken["all"]
	}
	if (nprobed) {
		heading("What looking costs")
		print "64-byte objects; `pair`: allocated and freed, `garbage`: allocated, and taken back by the collector. One thread on a processor of its own, by the processor time it took; " starts " starts, each the median of " runs " runs, or a third as many with the exporter, and each compared with runs that were its neighbours. `again` is `without` a second time: what is noise between two processes. `exporter` is the very process of `idle`, with the exporter attached and scraped; `scripts` another, with all six bpftrace scripts. In brackets: 95 % confidence.\n"
		print "| loop | looking | M/s | compared with | throughput |\n|---|---|--:|---|--:|"
		for (i = 1; i <= nprobed; i++) {
			split(probed[i], key, " ")
			w = base[key[1], key[2]] != "-"
			printf "| %s | %s | %.1f | %s | %s |\n", key[1], key[2], mops[key[1], key[2]], w ? base[key[1], key[2]] : "", w ? looked(key[1], key[2]) : ""
		}
		if (missing["probes.txt"] != "") print "\nMissing: " missing["probes.txt"]
	}
	if (nmark) {
		heading("Marking")
		print "A random graph of 8 million objects of 64 bytes; one processor each but for heapd-2. loop: a bare loop that prefetches; naive: one that does not.\n\n```"
		for (i = 1; i <= nmark; i++) print mark[i]
		print "```"
	}
	if (nworkers) {
		heading("Four kinds of work for a collector")
		figure("work.svg", "longest pauses")
		print "One process each, as fast as it can, of one run; the first quarter of it, in which heaps grow, is not counted. Pauses in us: heapd's are the processor time of a thread's answer to a cycle, and stop that thread alone; the others stop all. Of fewer than a thousand, 99.9 % is the longest. Memory: the most that was resident, of heapd the most that was committed of the heap; heapd and Java had 1 GiB at most, ZGC's is mapped three times and counted so. heapd-400 and go-400 have GCPercent=400 and GOGC=400: they, too, use more of what they may have before they collect.\n"
		split("a b c d", kinds)
		says["a"] = "a: blocks of 1 MiB in a loop, a hundred kept"
		says["b"] = "b: a hundred threads, each with buffers of 10 KiB that are dropped at once"
		says["c"] = "c: four threads, each a random graph of 250,000 nodes with steady rewiring"
		says["d"] = "d: four threads, each a cache of 25,000 entries with eviction"
		for (k = 1; k <= 4; k++) {
			print "### " says[kinds[k]] "\n"
			print "| | steps/s | / heapd | pauses | mean | 99.9 % | longest | MiB |\n|---|--:|--:|--:|--:|--:|--:|--:|"
			for (i = 1; i <= nworkers; i++) {
				a = kinds[k]; b = worker[i]
				if ((a, b) in rate)
					printf "| %s | %s | %s | %d | %s | %s | %s | %s |\n", b, rate[a, b], rate[a, "heapd"] ? sprintf("%.2f", rate[a, b] / rate[a, "heapd"]) : "-",
						stops[a, b], stops[a, b] ? mean[a, b] : "-", stops[a, b] ? p999[a, b] : "-", stops[a, b] ? most[a, b] : "-", peak[a, b]
			}
			print ""
		}
		if (missing["work.txt"] != "") print "Missing: " missing["work.txt"]
	}
	if (ntook) {
		heading("How long it took")
		print "| part | seconds | |\n|---|--:|---|"
		for (i = 1; i <= ntook; i++) {
			printf "| %s | %s | %s |\n", took[i], seconds[took[i]], (result[took[i]] ? result[took[i]] == 124 ? "took too long, and was stopped" : "failed (" result[took[i]] ")" : "") (length_of[took[i]] == "short" ? (result[took[i]] ? "; " : "") "short" : "")
			total += seconds[took[i]]
		}
		printf "| together | %d | |\n", total
	}
	for (i = 1; i <= npause; i++) {
		sub(/^# /, "\n## ", pause[i])
		print pause[i]
	}
}
