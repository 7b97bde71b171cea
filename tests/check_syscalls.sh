#!/bin/bash
# The daemon needs no system calls but those that heapd.service lets it have: test programs run with a daemon that any
# other call kills. SYSCALLS_TESTS names them ("all": every one).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

build=${HEAPD_TEST_BUILD:-$PWD/build}
tests=${SYSCALLS_TESTS:-daemon attach death fork free limit settings verify scavenger session}
[[ $tests != all ]] || tests=$(cd "$build/tests" && ls -d check_* | grep -v '\.' | sed 's/^check_//')
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

list=$(sed -n 's/^SystemCallFilter=//p' systemd/heapd.service.in | tr ' ' '\n' | sort -u)
[[ -n $list ]] || { echo "heapd.service has no list of system calls"; exit 1; }
{
	echo '#include <sys/syscall.h>'
	for call in $list; do
		printf '#ifdef SYS_%s\nSYS_%s,\n#else\nmissing %s\n#endif\n' "$call" "$call" "$call"
	done
} >"$dir/list.c"
calls=$(gcc -E -dD -P "$dir/list.c" | sed -n 's/^\([0-9]*,\)$/\1/p' | tr -d '\n')
# A name that the headers do not know may be of a newer kernel, or of another machine.
gcc -E -P "$dir/list.c" | sed -n 's/^missing \(.*\)/not on this machine: \1/p'

# The programs find daemon and library beside themselves.
cp -a "$build/tests" "$build"/lib* "$dir"
for beside in inject heapctl heapd-demo; do [[ ! -e $build/$beside ]] || cp -a "$build/$beside" "$dir"; done
cp "$build/heapd" "$dir/heapd.real"
filter=(gcc -std=gnu17 -Wall -Wextra -DCALLS="$calls" tests/service/filter.c)
"${filter[@]}" -shared -fPIC -o "$dir/filter.so" || exit 1
"${filter[@]}" -DPROGRAM="\"$dir/heapd.real\"" -DPRELOAD="\"$dir/filter.so\"" -o "$dir/heapd" || exit 1

"$dir/heapd" --version >"$dir/said" 2>&1
case $? in
0) ;;
77) cat "$dir/said"; echo "no seccomp filter can be set here"; exit 77 ;;
*) cat "$dir/said"; echo "the filter does not let the daemon begin"; exit 1 ;;
esac

programs=()
for test in $tests; do
	[[ ! -x $dir/tests/check_$test ]] || programs+=("$dir/tests/check_$test")
done
((${#programs[@]})) || { echo "no test programs are built"; exit 77; }
HEAPD_TEST_BUILD=$dir scripts/run-checks "${programs[@]}"
