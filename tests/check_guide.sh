#!/bin/bash
# What README and manual show is so: each program compiles without a warning, as C and with the strict header, and does what the text
# beside it says; each example of code compiles; each heapctl command, of heapd-guide(7) in its order, can be given as it stands there; and
# its hunt finds a leak.
# Pages are taken as a reader sees them, from the formatters that are here.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

. tests/tool.bash

flags=(-std=gnu17 -Wall -Wextra -Wshadow -Werror -Iinclude)
libs=(-L"$build" -lheapd -Wl,-rpath,"$build")

# A daemon of its own for each, with the heaps that they name.
begin() {
	printf '[Daemon]\nSocket=%s\nSocketMode=0600\nLogTarget=console\n' "$HEAPD_SOCKET" >"$dir/conf"
	printf '[Heap %s]\nSize=4G\nLimit=1G\n' default demo shop >>"$dir/conf"
	daemon_start
}

# The page as it is on a terminal.
formatted() {
	case $1 in
	mandoc) mandoc -T utf8 -O width=130 "$2" ;;
	groff) groff -man -T utf8 -rLL=130n "$2" ;;
	esac | sed -e 's/.\x08//g' -e 's/\x1b\[[0-9;]*m//g'
}

# The first program in a text, as it would be copied from there.
program() {
	awk '/#include </ && !main && !after { text = ""; indent = match($0, /[^ \t]/) - 1 }
		{ after = /#include </; line = substr($0, indent + 1); text = text line "\n" }
		/int main/ { main = 1 }
		main && line ~ /^}/ { printf "%s", text; exit }' "$1"
}

# Each run adds an order and prints all that there are.
runs() {
	local i n
	for ((n = 1; n <= 2; n++)); do
		[[ $("$dir/program") == "$(yes '7 rush' | head -n $n)" ]] || complain "$1: run $n does not print $n orders"
	done
	for ((i = 0; i < 4; i++)); do
		"$dir/program" >"$dir/run.$i" 2>&1 &
		started[i]=$!
	done
	for ((i = 0; i < 4; i++)); do
		wait "${started[i]}" || complain "$1: one of four at once fails: $(head -n 2 "$dir/run.$i")"
	done
	[[ $("$dir/program") == "$(yes '7 rush' | head -n 7)" ]] || complain "$1: after four at once it does not print all orders"
}

# $1: where it is from; the program is on standard input
try_program() {
	local cc strict
	cat >"$dir/program.c"
	grep -q heapd_attach "$dir/program.c" || { complain "$1: no program found"; return; }
	for cc in gcc clang; do
		for strict in "" -DHEAPD_STRICT; do
			command -v $cc >/dev/null || continue
			$cc "${flags[@]}" $strict "$dir/program.c" -o "$dir/program" "${libs[@]}" 2>"$dir/err" ||
				{ complain "$1: $cc $strict refuses it: $(head -n 4 "$dir/err")"; return; }
		done
	done
	begin
	runs "$1"
	stop
}

try_programs() {
	local page formatter tried=0
	sed -n '/^```c$/,/^```$/p' README.md | program - >"$dir/copied"
	try_program README <"$dir/copied"
	for page in $(grep -l 'int main' man/*.[1-8]); do
		for formatter in mandoc groff; do
			command -v $formatter >/dev/null || continue
			formatted $formatter "$page" | program - >"$dir/copied"
			try_program "$page by $formatter" <"$dir/copied"
			((tried++))
		done
	done
	((tried >= 2)) || complain "only $tried programs found in the manual"
}

# Examples of code that are no programs: the body of a function that has a heap.
try_examples() {
	local page n=0
	for page in man/*.3; do
		awk -v to="$dir/example" '/^\.EX/ { on = 1; n++; next } /^\.EE/ { on = 0 } on { print > (to "." n) }' "$page"
		for example in "$dir"/example.*; do
			[[ -e $example ]] || continue
			if grep -q ';' "$example" && ! grep -q 'int main' "$example"; then
				{ printf '#include <heapd.h>\n#include <stdio.h>\nvoid f(heapd_heap *heap);\nvoid f(heapd_heap *heap)\n{\n'
				  sed -e 's/\\-/-/g' -e 's/\\e/\\/g' "$example"; echo '}'; } >"$dir/example.c"
				gcc "${flags[@]}" -Wno-unused-variable -fsyntax-only "$dir/example.c" 2>"$dir/err" ||
					complain "$page: an example does not compile: $(head -n 4 "$dir/err")"
				((n++))
			fi
			rm -f "$example" "$dir/example.c"
		done
	done
	((n >= 3)) || complain "only $n examples found in the manual"
}

# heapctl commands, one a line, in their order.
commands() {
	python3 - man/heapd-guide.7 man/heapd.8 man/heapctl.1 README.md <<-'P'
		import re, sys
		for path in sys.argv[1:]:
		    text = open(path).read().replace('\\-', '-')
		    text = re.sub(r'\n\.I ([A-Z]+)(?=\n)', r' \1', text)
		    if path.endswith('.md'): found = re.findall(r'`(heapctl [^`]*)`', text)
		    else: found = re.findall(r'(?m)^(?:\.[BR]+ (?:\( )?"?)?(heapctl [a-z-][^"\n]*?)"?(?: \)?\.)?$', text)
		    print('\n'.join(c for c in found if c[8:10] != '- '))
	P
}

# As it stands there, but for an address that there is, and times that are shorter.
given() {
	local object=$1 line=$2
	line=${line//ADDRESS/$object}
	line=${line//0x11000002a000/$object}
	case $line in
	"heapctl stat "*) echo "heapctl stat 0.05 2" ;;
	"heapctl leaks"*) echo "heapctl leaks 10 0" ;;
	"heapctl diff") echo "heapctl diff before.pb.gz after.pb.gz" ;;
	"heapctl profile "*) sed -E 's/profile [0-9]+/profile 1/' <<<"$line" ;;
	*) echo "$line" ;;
	esac
}

# What the second of two snapshots or profiles is compared with is made by the first: "and the same later".
try_command() {
	local line=$1 status
	(cd "$dir/run" && eval "PATH=$build:\$PATH timeout 60 $line") >"$dir/out" 2>"$dir/err"
	status=$?
	case $status:$line in
	0:*) ;;
	1:*leaks*) ;;
	5:*profile* | 5:*diff*)
		grep -qE 'without BPF|CAP_BPF|root' "$dir/err" || [[ ! -e $dir/run/before.pb.gz ]] || complain "$line: $(head -n 2 "$dir/err")" ;;
	*) complain "$line: exit status $status: $(head -n 2 "$dir/err")" ;;
	esac
	case $line in
	*"-o before."*) eval "$(sed 's/before\./after./; s/^heapctl/try_command "heapctl/; s/$/"/' <<<"$line")" ;;
	esac
}

try_commands() {
	local object line n=0
	begin
	sed -n '/^```c$/,/^```$/p' README.md | program - >"$dir/program.c"
	gcc "${flags[@]}" "$dir/program.c" -o "$dir/program" "${libs[@]}" && "$dir/program" >/dev/null || complain "no program to look at"
	# So that what is said of another heap can be given, too.
	sed 's/"default"/"shop"/' "$dir/program.c" >"$dir/shop.c"
	gcc "${flags[@]}" "$dir/shop.c" -o "$dir/shop" "${libs[@]}" && "$dir/shop" >/dev/null || complain "no program for heap shop"
	mkdir "$dir/run"
	while IFS= read -r line; do
		case $line in
		*"-H shop"*) object=$("$ctl" -H shop --no-legend roots | awk '{ print $3 }') ;;
		*) object=$("$ctl" --no-legend roots | awk '{ print $3 }') ;;
		esac
		try_command "$(given "$object" "$line")"
		((n++))
	done < <(commands)
	((n >= 30)) || complain "only $n commands found: $(commands | paste -s -d ';')"
	stop
}

# The guide's hunt, on a program that leaks: a cache that nothing is ever taken out of, beside garbage. Each step leads to the next.
leaking() {
	cat >"$dir/leaking.c" <<-'C'
		#include <err.h>
		#include <heapd.h>
		#include <unistd.h>

		struct entry { heapd_ptr(struct entry) next; long value[6]; };
		struct cache { heapd_ptr(struct entry) first; };

		__attribute__((noinline)) static struct entry *remember(struct cache *cache, heapd_type *entries)
		{
			struct entry *e = heapd_new(entries, struct entry);

			if (!e)
				errx(1, "%s", heapd_error());
			heapd_init(&e->next, heapd_load(&cache->first));
			heapd_store(&cache->first, e);
			return e;
		}

		int main(void)
		{
			heapd_heap *heap;

			if (heapd_attach(&heap, "default", NULL) < 0)
				errx(1, "%s", heapd_error());
			heapd_type *caches = heapd_type_define(heap, "cache", struct cache, first);
			heapd_type *entries = heapd_type_define(heap, "entry", struct entry, next);
			struct cache *cache = heapd_root(heap, "cache", struct cache, caches);

			for (;;) {
				for (int i = 0; i < 100; i++)
					remember(cache, entries)->value[0] = heapd_alloc_leaf(heap, 64) != NULL;
				usleep(1000);
			}
		}
	C
	gcc "${flags[@]}" -g "$dir/leaking.c" -o "$dir/leaking" "${libs[@]}" || complain "the program that leaks does not compile"
	"$dir/leaking" &
	leaking=$!
}

# Step by step: of which type, who allocates it, who keeps it, by which path.
hunt() {
	local object
	begin
	leaking
	for ((i = 0; i < 500; i++)); do
		"$ctl" --no-legend roots | grep -q cache && break
		sleep 0.02
	done
	"$ctl" --no-legend leaks 5 0.1 >"$dir/out"
	[[ $(awk 'NR == 1 { print $1 }' "$dir/out") == entry ]] || complain "leaks does not name the type that leaks first: $(cat "$dir/out")"
	"$ctl" config sample.bytes=4096
	if "$ctl" profile 1 -o "$dir/before.pb.gz" 2>"$dir/err"; then
		"$ctl" profile 1 -o "$dir/after.pb.gz" 2>"$dir/err" || complain "no second profile: $(cat "$dir/err")"
		"$ctl" --no-legend --profile="$dir/after.pb.gz" profile | grep -m 1 entry | holds 'remember < main' ||
			complain "profile does not name who allocates what leaks"
		"$ctl" --no-legend diff "$dir/before.pb.gz" "$dir/after.pb.gz" >/dev/null 2>"$dir/err" || complain "diff: $(cat "$dir/err")"
	fi
	# A stack may have held the last entry, or not.
	kill -KILL "$leaking"
	wait "$leaking" 2>/dev/null
	"$ctl" --no-legend --top=50 retained >"$dir/out"
	grep -q '^root cache ' "$dir/out" || complain "retained does not name the root: $(head -n 5 "$dir/out")"
	object=$(awk '$1 == "entry" { print $2; exit }' "$dir/out")
	"$ctl" why "$object" >"$dir/out" || complain "why $object: exit status $?"
	[[ $(awk 'NR == 2 { print $1, $2 } NR == 3 { print $1, $4, $5 }' "$dir/out") == $'root cache\ncache root cache' ]] ||
		complain "why does not lead from the root: $(head -n 4 "$dir/out")"
	grep -qE "^entry $object +[0-9.]+[BK] at byte 0" "$dir/out" || complain "why does not name the field that keeps it: $(tail -n 2 "$dir/out")"
	stop
}

# What README and FIGURES.md tell to make can be made.
try_targets() {
	local target
	for target in $(grep -oE '(^|`)make ([A-Z_]+=[^ `]* )*[a-z-]+' README.md FIGURES.md | awk '{ print $NF }' | sort -u); do
		grep -qE "^([a-z-]+ )*$target( [a-z-]+)*:" Makefile || complain "README or FIGURES.md says make $target: there is no such target"
	done
}

try_programs
try_examples
try_commands
hunt
try_targets
((bad == 0))
