#!/bin/bash
# The fast path, as the compiler made it: what allocates and frees warm memory has no lock prefix, no system call and no
# call for thread-local words; and in 10,000 allocations and frees of warm memory the kernel counts no system call.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

# Does what comes hold it? All is read: whoever writes to a grep -q that has seen enough dies, which fails the pipe.
holds() {
	grep -q "$@" <<<"$(cat)"
}

build=${HEAPD_TEST_BUILD:-build}
lib=$build/libheapd.so
bad=0
complain() {
	echo "$1"
	bad=1
}

[[ $(uname -m) == x86_64 ]] || { echo "reads x86-64 instructions only"; exit 77; }

# Where it begins, and the names at which it ends: with any of these the slow path begins. What lies between is looked at.
roots="heapd_alloc heapd_alloc_leaf heapd_type_alloc class_alloc heapd_free"
slow='class_alloc_slow|refill_pop|heap_missing|fork_heap_missing|large_alloc|current_(pop|push|install)_cas|free_slow'
slow+='|error_set|memset(@.*)?'

# The code of one function, without the parts that the compiler put aside as cold.
code_of() {
	objdump -d --no-show-raw-insn -M att "$lib" | awk -v name="<$1>:" '$2 == name { on = 1; next } /^$/ { on = 0 } on'
}

# The functions that code on stdin calls or jumps to, but for the slow ones.
called() {
	grep -E '\b(call|jmp|j[a-z]+) .*<' | sed -E 's/.*<([^+>]+)(\+0x[0-9a-f]+)?>.*/\1/' | sed -E 's/\.(isra|part|constprop)\.[0-9]+//' |
		grep -v '\.cold$' | sort -u | grep -vxE "$slow"
}

for root in $roots; do
	seen=" $root " todo=$root sequence=
	while [[ -n $todo ]]; do
		f=${todo%% *}
		todo=${todo#"$f"}
		todo=${todo# }
		code=$(code_of "$f")
		[[ -n $code ]] || { complain "$root: calls $f, which is not known here"; continue; }
		! grep -qE '%fs:0x8\(' <<<"$code" || sequence=yes
		found=$(grep -E '\s(lock|mfence|syscall|sysenter)\b|\sxchg .*\(|\sint ' <<<"$code" | head -n 3)
		[[ -z $found ]] || complain "$root: $f waits for others or enters the kernel:"$'\n'"$found"
		for next in $(called <<<"$code"); do
			[[ $seen == *" $next "* ]] || { seen+="$next " todo+=" $next"; todo=${todo# }; }
		done
	done
	[[ -n $sequence ]] || complain "$root: no restartable sequence on its way"
done
if objdump -d --no-show-raw-insn "$lib" | holds '__tls_get_addr'; then
	complain "$lib: thread-local words are reached by a call"
fi

# The calls that a thread makes between two marks of its own, a number for each pair of marks.
calls_between() {
	awk -v begin="/warm-$1-begin" -v end="/warm-$1-end" '
		index($0, begin) { pid = $1; n = 0; next }
		pid && $1 == pid && index($0, end) { print n; pid = 0 }
		pid && $1 == pid && !/resumed|--- SIG/ { n++ }' "$dir/calls"
}

probe=$build/tests/check_warm
[[ -x $probe ]] || { echo "$probe is not built"; exit 1; }
command -v strace >/dev/null || { echo "strace is not installed"; exit $((bad ? 1 : 77)); }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
strace -f -o "$dir/calls" "$probe" >"$dir/out" 2>&1 || { cat "$dir/out"; complain "the traced program failed"; }
for path in rseq cas; do
	pairs=$(calls_between "pairs-$path" | sort -n | tail -n 1)
	[[ $pairs == 0 ]] || complain "$path: ${pairs:-?} system calls in 10,000 allocations and frees"
	bursts=$(calls_between "burst-$path" | sort -n | head -n 1)
	[[ $bursts == 0 ]] || complain "$path: at best ${bursts:-?} system calls in 10,000 allocations at once"
done
exit $bad
