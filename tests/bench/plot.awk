# SPDX-License-Identifier: MIT
# A plot in SVG from lines "SERIES X Y [LOW HIGH]": plot.awk -v title= -v xname= -v yname= -v kind=lines|bars [-v log=1]
# Lines: X are categories, too (1 2 4 8), in the order in which they come. Bars: one group for each X.

function esc(t) { gsub(/&/, "\\&amp;", t); gsub(/</, "\\&lt;", t); gsub(/>/, "\\&gt;", t); return t }
function up(y) { return log10 ? log(y) / log(10) : y }
function py(y) { return top + height - height * (up(y) - low) / (high - low) }
function px(i) { return left + width * (i - 0.5) / nx }
function text(x, y, how, t) { printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, how, esc(t) }
function rule(x1, y1, x2, y2, colour) { printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour }
function whisker(x, s, i) {
	if (lo[s, i] != "")
		rule(x, py(lo[s, i]), x, py(hi[s, i]), "#777")
}

# Up to a number that reads well.
function round(v,	ten) {
	ten = 10 ^ int(log(v) / log(10) - (v < 1))
	return v <= ten ? ten : v <= 2 * ten ? 2 * ten : v <= 5 * ten ? 5 * ten : 10 * ten
}

BEGIN {
	log10 = logarithmic != 0
	split("#0b63c5 #d1495b #3a8f5c #8c5fbf #c98a1b #5a6b78 #1aa3a3 #a04b2a", colours, " ")
	width = 520; height = 300; left = 70; top = 40
}

NF >= 3 && $3 > 0 {
	if (!($1 in series)) { series[$1] = ++ns; name[ns] = $1 }
	if (!($2 in xs)) { xs[$2] = ++nx; xname_of[nx] = $2 }
	s = series[$1]; i = xs[$2]
	y[s, i] = $3
	# A whisker is the middle of the rounds, if both ends are there and above 0.
	if (NF >= 5 && $4 > 0) { lo[s, i] = $4; hi[s, i] = $5 }
	if (!n++ || up($3) > high) high = up($3)
	if (n == 1 || up($3) < low) low = up($3)
}

END {
	if (!n)
		exit 1
	if (log10) { low = int(low - 0.999); high = int(high + 0.999); if (high == low) high++ }
	else { low = 0; high = 5 * round(high / 5) }
	for (k in lo) {
		if (lo[k] < (log10 ? 10 ^ low : low)) lo[k] = log10 ? 10 ^ low : low
		if (hi[k] > (log10 ? 10 ^ high : high)) hi[k] = log10 ? 10 ^ high : high
	}
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", left + width + 170, top + height + 60
	print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
	printf "<text x=\"%d\" y=\"20\" font-size=\"14\" font-weight=\"bold\">%s</text>\n", left, esc(title)
	ticks = log10 ? high - low : 5
	for (t = 0; t <= ticks; t++) {
		v = log10 ? 10 ^ (low + t) : high * t / ticks
		rule(left, py(v), left + width, py(v), "#ddd")
		text(left - 6, py(v) + 4, "end", sprintf("%.12g", v))
	}
	for (i = 1; i <= nx; i++)
		text(px(i), top + height + 18, "middle", xname_of[i])
	text(left + width / 2, top + height + 42, "middle", xname)
	printf "<text transform=\"translate(16,%d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", top + height / 2, esc(yname)
	for (s = 1; s <= ns; s++) {
		colour = colours[(s - 1) % 8 + 1]
		points = ""
		for (i = 1; i <= nx; i++) {
			if (!((s, i) in y))
				continue
			x = px(i)
			if (kind == "bars") {
				w = width / nx / (ns + 1)
				x += (s - 0.5 - ns / 2) * w
				printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x - w / 2, py(y[s, i]), w * 0.9, top + height - py(y[s, i]), colour
			} else {
				points = points sprintf("%.1f,%.1f ", x, py(y[s, i]))
				printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x, py(y[s, i]), colour
			}
			whisker(x, s, i)
		}
		if (points != "")
			printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", points, colour
		printf "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", left + width + 20, top + 20 * (s - 1), colour
		text(left + width + 38, top + 20 * (s - 1) + 11, "start", name[s])
	}
	print "</svg>"
}
