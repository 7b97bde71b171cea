#!/bin/bash
# The probes as they were built: each of the list has its note in daemon or library, once, with a semaphore of its own
# and a site that is one nop of one byte in a function of its own; stripping keeps the notes; without probes all compiles.
# shellcheck disable=SC2086  # flags are split into words on purpose
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

build=${HEAPD_TEST_BUILD:-build}
bad=0
complain() {
	echo "$1"
	bad=1
}
[[ $(uname -m) == x86_64 ]] || { echo "reads x86-64 instructions only"; exit 77; }

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# The names of a list, $1: DAEMON or CLIENT.
listed() {
	sed -n "/^#define HEAPD_PROBES_$1(P)/,/[^\\\\]\$/p" include/heapd/probes.h | grep -oE 'P\([0-9], [a-z_]+' | sed 's/.* //' | sort
}

# Lines "name site semaphore arguments" of a file's notes.
notes() {
	readelf -n "$1" | awk '/Provider: heapd$/ { on = 1; next } /Provider:/ { on = 0 }
		on && /Name:/ { name = $2 } on && /Location:/ { gsub(",", ""); site = $2; semaphore = $6 }
		on && /Arguments:/ { print name, site, semaphore, NF - 1 }'
}

# $1: file, $2: list
check_file() {
	local name site semaphore n code
	notes "$1" >"$dir/notes"
	diff <(listed "$2") <(cut -d ' ' -f 1 "$dir/notes" | sort) || complain "$1: its notes are not what the list says"
	while read -r name site semaphore n; do
		[[ $(grep -cF " $semaphore " "$dir/notes") == 1 && $((semaphore)) != 0 ]] || complain "$1: $name shares its semaphore"
		grep -q "P($n, $name," include/heapd/probes.h || complain "$1: $name has $n arguments"
		code=$(objdump -d --start-address=$((site)) --stop-address=$((site + 1)) "$1" | grep -E '^ +[0-9a-f]+:')
		[[ $code =~ ^\ +[0-9a-f]+:[[:space:]]+90[[:space:]]+nop[[:space:]]*$ ]] || complain "$1: $name's site is no nop: $code"
	done <"$dir/notes"
	strip -o "$dir/stripped" "$1"
	cmp -s "$dir/notes" <(notes "$dir/stripped") || complain "$1: strip changes its notes"
}
check_file "$build/heapd" DAEMON
check_file "$build/libheapd.so" CLIENT

flags=${HEAPD_UNIT_FLAGS:--std=gnu17 -Wall -Wextra -D_GNU_SOURCE -Iinclude -iquote . -pthread}
for file in $(grep -l HEAPD_PROBE client/*.c daemon/*.c); do
	gcc $flags -O2 -Werror -DHEAPD_NO_PROBES -c -o "$dir/without.o" "$file" || complain "$file does not compile without probes"
	[[ -z $(notes "$dir/without.o") ]] || complain "$file has probes without probes"
done

# None is only listed.
for name in $(listed DAEMON); do grep -q "HEAPD_PROBE($name," daemon/*.c || complain "$name fires nowhere in the daemon"; done
for name in $(listed CLIENT); do grep -q "HEAPD_PROBE[A-Z_]*($name\>" client/*.c || complain "$name fires nowhere in the library"; done

# A page that says what each means.
page=$(tr -d '\\' <man/heapd-probes.7)
for name in $(listed DAEMON) $(listed CLIENT); do
	grep -q "^\.B[RI]* ${name//__/-} " <<<"$page" || complain "heapd-probes(7) does not describe $name"
done
exit $bad
