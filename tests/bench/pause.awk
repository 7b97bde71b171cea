# SPDX-License-Identifier: MIT
# Tables in Markdown from the lines of the programs; pause-run calls it.

function row(what) { return what SUBSEP $2 SUBSEP $3 }
function cell(what, name, live, i) { return value[what, name, live, i] == "" ? "-" : value[what, name, live, i] }

function middle(list, n,	i, j, t, a) {
	n = split(list, a, " ")
	for (i = 1; i <= n; i++)
		for (j = i + 1; j <= n; j++)
			if (a[j] + 0 < a[i] + 0) { t = a[i]; a[i] = a[j]; a[j] = t }
	return a[int((n + 1) / 2)]
}

function goal(text, met) { goals[++ngoals] = "- " (met ? "met: " : "MISSED: ") text }

$1 == "store" { store[$2] = $3; next }
$1 ~ /^death/ {
	k = $2 (($1 == "death") ? "" : ", in the midst of marking")
	if (!(k in death)) left[++nleft] = k
	death[k] = death[k] " " $3; mark[k] = mark[k] " " $4; next
}
$3 == 100 && $2 ~ /^heapd-(paced|free-alone)$/ {
	if ($1 == "rate") rate[$2] = rate[$2] " " $4
	if ($1 == "rate") cost[$2] = cost[$2] " " $5
	if ($1 == "cycles") share[$2] = share[$2] " " $7
	if ($1 == "cycles") cycles[$2] += $4
	next
}
{
	if (!(($2, $3) in seen)) { seen[$2, $3] = 1; names[++n] = $2; lives[n] = $3 }
	for (i = 4; i <= NF; i++) value[$1, $2, $3, i - 3] = $i
}

END {
	print "# What a collection costs a client\n"
	print "Other programs used " others " % of the processors meanwhile; load " load ". Times of what threads lose are as long as the machine's own interruptions: compare with \"clock\".\n"
	print "8 threads (heapd: in 2 processes), 400,000 steps a second together, in a batch every 10 ms, and asleep between them; a step allocates 64 bytes and makes 4 stores.\n"
	print "Pauses, us: heapd, the processor time of one thread in its answer to one cycle, from its handler's begin to end (the kernel's part of the signal, 1 to 2 us, is not in it); others, the time for which all threads stood still. Of fewer than a thousand, 99.9 % is the longest. bdwgc is left out from 4 GiB on: it stands still for many seconds.\n"
	print "| collector | live MiB | steps/s | pauses | mean | 50 % | 99 % | 99.9 % | longest |"
	print "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
	for (i = 1; i <= n; i++) {
		a = names[i]; b = lives[i]
		if (a != "heapd-free")
			printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", a, b, cell("rate", a, b, 1), cell("pause", a, b, 1), cell("pause", a, b, 2), cell("pause", a, b, 6), cell("pause", a, b, 3), cell("pause", a, b, 4), cell("pause", a, b, 5)
		if (a == "heapd-back-to-back") {
			printf "| (clock: a stretch of counting) | %s | - | %s | %s | %s | %s | %s | %s |\n", b, cell("stretch", a, b, 1), cell("stretch", a, b, 2), cell("stretch", a, b, 6), cell("stretch", a, b, 3), cell("stretch", a, b, 4), cell("stretch", a, b, 5)
			p = cell("pause", a, b, 4); m = cell("pause", a, b, 5); s = cell("stretch", a, b, 4)
			goal(b " MiB live: 99.9 % of the answers to a cycle " p " us (< 20; the clock's thread, " s "), longest " m " us (< 100)", p < 20 && m < 100)
		}
	}
	print "\nOne step of the loop, us: own, without the time for which the processor was somebody else's; wall, with it. \"heapd-free\" collects nothing: what is dropped is freed.\n"
	print "| collector | live MiB | own 99.9 % | own longest | wall mean | wall 99.9 % | wall longest |"
	print "|---|---:|---:|---:|---:|---:|---:|"
	for (i = 1; i <= n; i++) {
		a = names[i]; b = lives[i]
		printf "| %s | %s | %s | %s | %s | %s | %s |\n", a, b, cell("own", a, b, 4), cell("own", a, b, 5), cell("wall", a, b, 2), cell("wall", a, b, 4), cell("wall", a, b, 5)
		if (cell("clock-own", a, b, 1) + 0)
			printf "| (clock beside %s) | %s | %s | %s | %s | %s | %s |\n", a, b, cell("clock-own", a, b, 4), cell("clock-own", a, b, 5), cell("clock-wall", a, b, 2), cell("clock-wall", a, b, 4), cell("clock-wall", a, b, 5)
	}
	print "\n| heapd's cycles | live MiB | cycles | mean ms | collector, ms of processor | void |"
	print "|---|---:|---:|---:|---:|---:|"
	for (i = 1; i <= n; i++)
		if (cell("cycles", names[i], lives[i], 1) + 0)
			printf "| %s | %s | %s | %s | %s | %s |\n", names[i], lives[i], cell("cycles", names[i], lives[i], 1), cell("cycles", names[i], lives[i], 2), cell("cycles", names[i], lives[i], 3), cell("cycles", names[i], lives[i], 5)
	if ("heapd-paced" in rate) {
		print "\nThroughput: one thread, 100 MiB live, no rest; medians of 3. Processor time of a step is the thread's own.\n"
		print "| | steps/s | ns of processor a step | cycles | collector's part of the processor time of both |"
		print "|---|---:|---:|---:|---:|"
		printf "| collected, GCPercent=100 | %s | %s | %d | %.1f %% |\n", middle(rate["heapd-paced"]), middle(cost["heapd-paced"]), cycles["heapd-paced"], 100 * middle(share["heapd-paced"])
		printf "| freed by hand, no collection | %s | %s | 0 | 0 |\n", middle(rate["heapd-free-alone"]), middle(cost["heapd-free-alone"])
	}
	if ("plain" in store) {
		print "\nStores, ns, medians of each 200 of bursts of 10,000 stores to 1,024 fields: " \
			"plain " store["plain"] "; heapd_store() with the barrier off " store["off"] "; on, not yet scanned " store["unscanned"] "; on, scanned " store["scanned"] "; while marking runs beside it " store["marking"] "."
		goal(sprintf("barrier off: %.2f ns over a plain store (<= 1)", store["off"] - store["plain"]), store["off"] - store["plain"] <= 1)
		for (s in store)
			if (s != "plain" && s != "off")
				goal("barrier on, " s ": " store[s] " ns (<= 5)", store[s] <= 5)
	}
	if (nleft) {
		print "\nDeath of a client with 1024 MiB of 64-byte objects: ms from SIGKILL until all can be allocated again; medians of 3. \"In the midst of marking\": of a cycle that began while it lived.\n"
		print "| left MiB | ms | marking of what is left, ms | goal: twice that and 100 |"
		print "|---:|---:|---:|---:|"
		for (i = 1; i <= nleft; i++) {
			d = middle(death[left[i]]); m = middle(mark[left[i]])
			printf "| %s | %s | %s | %s |\n", left[i], d, m, 2 * m + 100
			goal("death, MiB left " left[i] ": " d " ms (< " 2 * m + 100 ")", d > 0 && d < 2 * m + 100)
		}
	}
	print "\nGoals:\n"
	for (i = 1; i <= ngoals; i++)
		print goals[i]
	if (missing != "")
		print "\nLeft out because they are missing: " missing " (try \"make deps-bench\")"
	if (skipped != "")
		print "\nLeft out because this machine has too little memory free: MiB" skipped
}
