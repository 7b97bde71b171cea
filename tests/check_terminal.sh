#!/bin/bash
# heapctl as it is met on a terminal, a pseudo-terminal here: keys of top, the pager, bars for long work, and what bash and zsh
# complete (terminal.py).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

. tests/tool.bash

start
fill 200
gcc -std=gnu17 -Wall -Wextra -O1 -shared -fPIC tests/interpose/clock.c -o "$dir/clock.so" || complain "clock.c does not compile"
python3 tests/terminal.py "$build" "$dir/clock.so" "$dir" || bad=1
((bad == 0))
