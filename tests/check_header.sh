#!/bin/bash
# heapd.h and compilers: what must not compile does not, what must does without a warning, and an inline store while
# the barrier is off is a handful of instructions without a call. For each compiler that is installed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0
flags="-pedantic -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude"

complain() {
	echo "$1"
	bad=1
}

# Each line: a word, then a statement whose types are wrong. c: refused in C (warnings are errors); x: in C++; cx: in both;
# s: with HEAPD_STRICT only, in both.
cat >"$dir/wrong" <<'END'
cx heapd_store(&o->next, shop);
cx heapd_store(&o->quantity, o);
cx heapd_store(&o->quantity, 7);
cx heapd_store(&o->next, 7);
cx heapd_store(&o->label, 1.5);
cx heapd_store(&o->note, o->label);
cx heapd_store(&o->fixed, o);
cx heapd_store(o->next, o);
cx heapd_store_relaxed(&o->next, shop);
cx heapd_init(&o->next, shop);
cx (void)heapd_exchange(&o->next, shop);
cx (void)heapd_exchange_relaxed(&o->next, shop);
cx (void)heapd_cas(&o->next, &o, shop);
cx (void)heapd_cas(&o->next, &shop, o);
cx (void)heapd_cas(&o->next, o, o);
cx (void)heapd_cas_relaxed(&o->next, &shop, o);
cx heapd_move(&o->next, &shop, 1);
cx heapd_zero(&o->quantity, 1);
cx heapd_store_pinned(&o->next, &shop);
cx heapd_store_pinned(&o->next, o);
cx shop = heapd_load(&o->next);
cx shop = heapd_exchange(&o->next, o);
cx (void)heapd_load(&o->quantity);
cx struct shop **pin = heapd_pin(heap, o); (void)pin;
cx struct shop **pin = heapd_pin_field(heap, &o->next); (void)pin;
cx shop = heapd_take(&o);
cx shop = heapd_weak_get(weak, struct order);
cx o = heapd_weak_get(o, struct order);
cx weak = heapd_weak_new(heap, 7);
cx heapd_store(&o->next, weak);
cx shop = heapd_tag(o, 1);
cx shop = heapd_untag(o);
cx shop = heapd_new(type, struct order);
cx shop = heapd_new_array(type, struct order, 3);
cx shop = heapd_root(heap, "shop", struct order, type);
cx struct list *l = heapd_new_flex(type, struct list, nothing, 3); (void)l;
cx type = heapd_type_define(heap, "order", struct order, quantity);
cx type = heapd_type_define(heap, "order", struct order, next, text);
cx type = heapd_type_define(heap, "order", struct order, inner);
cx type = heapd_type_define(heap, "order", struct order, words);
cx type = heapd_type_define(heap, "order", struct order, nothing);
cx type = heapd_type_define(heap, "order", struct unknown, next);
cx type = heapd_type_define_flex(heap, "list", struct list, items, n);
cx type = heapd_type_define_flex(heap, "list", struct list, n);
cx heapd_thread_create(heap, &o, NULL, start, o);
cx heapd_thread_create(heap, &thread, o, start, o);
x type = heapd_type_define(heap, "owner", struct owner);
x type = heapd_type_define_leaf(heap, "virtual", struct animal);
x struct owner *w = heapd_new(type, struct owner); (void)w;
s o->next = o;
s o->peers[1] = NULL;
s shop->first = o;
END

cat >"$dir/right" <<'END'
heapd_store(&o->next, o);
heapd_store(&o->next, NULL);
heapd_store(&o->label, "text");
heapd_store(&o->label, o->note);
heapd_store(&o->any, shop);
heapd_store(&o->peers[2], heapd_exchange(&o->next, heapd_load(&shop->first)));
heapd_move(o->peers, &o->peers[1], 2);
heapd_move(o->peers, shop->orders, 2);
heapd_zero(o->peers, 3);
struct order *e = NULL; if (heapd_cas(&o->next, &e, o)) heapd_keep(e);
struct order **pin = heapd_pin(heap, o); heapd_store_pinned(&o->next, pin); heapd_unpin(pin);
type = heapd_type_define(heap, "order", struct order, next, note, label, any, peers, fixed);
type = heapd_type_define_leaf(heap, "order", struct order);
heapd_thread_create(heap, &thread, NULL, start, o);
weak = heapd_weak_new(heap, o); o = heapd_weak_get(weak, struct order);
struct heapd_event event = HEAPD_SIZED(event); if (heapd_event_next(heap, &event) == 1) type = event.type;
heapd_type_watch_dead(type); if (!heapd_type_next_dead(type)) o = NULL;
o = heapd_tag(heapd_untag(o), heapd_tag_of(o) + 1);
type = heapd_type_define(heap, heapd_type_name(heapd_type_define(heap, "a", struct shop, first)), struct shop, first);
END

cat >"$dir/begin" <<'END'
#include <pthread.h>
#include <heapd.h>
struct order;
struct shop { heapd_ptr(struct order) first; heapd_ptr(struct order) orders[2]; };
struct inner { void *p; };
struct order {
	heapd_ptr(struct order) next; heapd_ptr(char) note; heapd_ptr(const char) label; heapd_ptr(void) any;
	long quantity; struct order *const fixed; heapd_ptr(struct order) peers[3]; char text[8]; long words[2];
	struct inner inner;
};
struct list { long n; heapd_ptr(struct order) items[1]; };
#ifdef __cplusplus
struct owner { void *p; ~owner(); };
struct animal { virtual void speak(); };
#endif
void *start(void *p);
void f(heapd_heap *heap, heapd_type *type, struct order *o, struct shop *shop);
void f(heapd_heap *heap, heapd_type *type, struct order *o, struct shop *shop)
{
	pthread_t thread;
	heapd_weak *weak = NULL;
	(void)heap, (void)type, (void)o, (void)shop, (void)thread, (void)weak;
END

# compile COMPILER... <source
compile() {
	"$@" $flags -fsyntax-only - >"$dir/said" 2>&1
}

source_of() {
	cat "$dir/begin"
	printf '\t%s\n}\n' "$1"
}

check_right() {
	local statement
	while IFS= read -r statement; do
		source_of "$statement" | compile "$@" || complain "refused by $*: $statement
$(head -n 3 "$dir/said")"
	done <"$dir/right"
}

# $1: c or x; the rest: the compiler
check_wrong() {
	local language=$1 word statement
	shift
	while read -r word statement; do
		case $word in
		s) source_of "$statement" | compile "$@" || complain "refused by $* without HEAPD_STRICT: $statement"
		   source_of "$statement" | compile "$@" -DHEAPD_STRICT && complain "taken by $*, HEAPD_STRICT: $statement" ;;
		*$language*) source_of "$statement" | compile "$@" && complain "taken by $*: $statement" ;;
		esac
	done <"$dir/wrong"
}

cat >"$dir/store.c" <<'END'
#include <heapd.h>
struct order { heapd_ptr(struct order) next; };
#ifdef __cplusplus
extern "C"
#endif
void store(struct order *o, struct order *value);
void store(struct order *o, struct order *value)
{
	heapd_store(&o->next, value);
}
END

# Walks from the entry as the processor does while the barrier is off: to the first return. The only way out of line
# is a jump that is taken when `on` is not 0.
check_store() {
	local code
	"$@" $flags -O2 -c -o "$dir/store.o" || { complain "$*: does not compile"; return; }
	code=$(objdump -dr --no-show-raw-insn "$dir/store.o" | sed -n '/<store>:/,$p')
	[[ $code != *tls_get_addr* && $code != *TLSGD* && $code != *TLSDESC* ]] || complain "$*: TLS by a call:
$code"
	[[ $(grep -c 'R_X86_64_.*heapd_store_sym' <<<"$code") == 1 ]] || complain "$*: not one way to heapd_store_sym:
$code"
	[[ $code != *call* && $code != *lock* ]] || complain "$*: a call or a lock prefix:
$code"
	(($(grep -cE '^ +[0-9a-f]+:' <<<"$code") <= 18)) || complain "$*: more than 18 instructions:
$code"
}

tried=0
for cc in gcc clang; do
	command -v $cc >/dev/null || continue
	check_right $cc -x c -std=c11
	check_wrong c $cc -x c -std=c11
	((tried++))
done
for cxx in g++ clang++; do
	command -v $cxx >/dev/null || continue
	check_right $cxx -x c++ -std=c++17 -Wold-style-cast
	check_wrong x $cxx -x c++ -std=c++17
	((tried++))
done
if [[ $(uname -m) == x86_64 ]]; then
	for how in "gcc -std=c11" "clang -std=c11" "g++ -x c++ -std=c++17" "clang++ -x c++ -std=c++17"; do
		command -v ${how%% *} >/dev/null || continue
		check_store $how -fPIC "$dir/store.c"
		check_store $how -fPIE "$dir/store.c"
	done
fi
((tried >= 2)) || complain "no compilers to try"
exit $bad
