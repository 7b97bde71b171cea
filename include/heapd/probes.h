/* SPDX-License-Identifier: MIT */
/*
 * The USDT probes of daemon and client library (provider "heapd"), from one list: heapd-probes(7) says what the
 * arguments mean.
 *
 * Each probe has one site, in a function of its own that nobody inlines, and one semaphore: a count of those who
 * look, which the kernel keeps in each process. Nobody looks: one load and a branch, and only on slow paths.
 * So nothing may be computed for a probe but behind HEAPD_PROBED(). The site is one nop of one byte: 6.18 makes a
 * call of a 5-byte nop, which overwrites the red zone.
 *
 * Arguments are numbers, six at most, but the first: the address of the heap's name in the process. Durations stand in
 * the probe at the end. An argument may be added behind the last one; none ever changes its place or its unit.
 *
 * One file of each side, which says HEAPD_PROBES_DEFINE first, holds the sites. Without probes (HEAPD_NO_PROBES) each
 * probe is a call in dead code: its arguments are still checked.
 */
#ifndef HEAPD_PROBES_H
#define HEAPD_PROBES_H

#include <stdint.h>

/* P(number of arguments, name, arguments): the first is a const char *, all others are uint64_t. */
#define HEAPD_PROBES_DAEMON(P)                                    \
	P(4, cycle__begin, heap, cycle, trigger, allocated)       \
	P(6, cycle__end, heap, cycle, ns, freed, live, is_void)   \
	P(3, phase__begin, heap, cycle, phase)                    \
	P(4, phase__end, heap, cycle, phase, ns)                  \
	P(3, handshake__begin, heap, cycle, handshake)            \
	P(5, handshake__end, heap, cycle, handshake, ns, threads) \
	P(4, stall, heap, cycle, pid, ns)                         \
	P(4, refused, heap, class, bytes, committed)              \
	P(4, client__attach, heap, pid, session, read_only)       \
	P(4, client__end, heap, pid, session, died)               \
	P(5, receipt, heap, deaths, bytes, objects, ns)           \
	P(4, span__cut, heap, class, pages, slot)                 \
	P(4, span__freed, heap, class, pages, slot)               \
	P(4, heap__grow, heap, bytes, committed, ns)              \
	P(3, heap__return, heap, bytes, committed)                \
	P(4, double__free__late, heap, address, objects, bytes)   \
	P(3, early__free, heap, address, objects)                 \
	P(3, adopted, heap, sessions, ns)

#define HEAPD_PROBES_CLIENT(P)                                        \
	P(3, pause, heap, cycle, ns)                                  \
	P(3, alloc__slow__begin, heap, class, bytes)                  \
	P(6, alloc__slow__end, heap, class, bytes, ns, error, weight) \
	P(2, supply__wait__begin, heap, class)                        \
	P(3, supply__wait__end, heap, class, ns)                      \
	P(5, sample, heap, class, bytes, address, weight)             \
	P(4, alloc__refused, heap, class, bytes, error)               \
	P(2, attached, heap, session)                                 \
	P(2, double__free, heap, address)

#define HEAPD_PROBE_HIDDEN __attribute__((visibility("hidden")))

#ifdef HEAPD_NO_PROBES
#define HEAPD_PROBED(name) 0
#define HEAPD_PROBE_SEMAPHORE(name)
#else
/* Whether somebody looks. The kernel writes the count, from outside. */
#define HEAPD_PROBED(name) __builtin_expect(heapd_##name##_semaphore, 0)
#define HEAPD_PROBE_SEMAPHORE(name) \
	extern HEAPD_PROBE_HIDDEN volatile unsigned short heapd_##name##_semaphore;
#endif

#define HEAPD_PROBE_PARAMS_2(a, b)             const char *a, uint64_t b
#define HEAPD_PROBE_PARAMS_3(a, b, c)          HEAPD_PROBE_PARAMS_2(a, b), uint64_t c
#define HEAPD_PROBE_PARAMS_4(a, b, c, d)       HEAPD_PROBE_PARAMS_3(a, b, c), uint64_t d
#define HEAPD_PROBE_PARAMS_5(a, b, c, d, e)    HEAPD_PROBE_PARAMS_4(a, b, c, d), uint64_t e
#define HEAPD_PROBE_PARAMS_6(a, b, c, d, e, f) HEAPD_PROBE_PARAMS_5(a, b, c, d, e), uint64_t f

#define HEAPD_PROBE_DECLARE(n, name, ...) \
	HEAPD_PROBE_SEMAPHORE(name)       \
	HEAPD_PROBE_HIDDEN void heapd_probe_##name(HEAPD_PROBE_PARAMS_##n(__VA_ARGS__));
HEAPD_PROBES_DAEMON(HEAPD_PROBE_DECLARE)
HEAPD_PROBES_CLIENT(HEAPD_PROBE_DECLARE)

/* Arguments are evaluated only when somebody looks. */
#define HEAPD_PROBE(name, ...)                           \
	do {                                             \
		if (HEAPD_PROBED(name))                  \
			heapd_probe_##name(__VA_ARGS__); \
	} while (0)

/* In one file of a side: HEAPD_PROBES_DAEMON(HEAPD_PROBE_SITE), or the client's list. */
#ifdef HEAPD_PROBES_DEFINE
#ifdef HEAPD_NO_PROBES
#define HEAPD_PROBE_SITE(n, name, ...)
#else
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#define HEAPD_PROBE_SITE(n, name, ...)                                                               \
	HEAPD_PROBE_HIDDEN volatile unsigned short heapd_##name##_semaphore                          \
		__attribute__((section(".probes")));                                                 \
	__attribute__((noinline, cold)) void heapd_probe_##name(HEAPD_PROBE_PARAMS_##n(__VA_ARGS__)) \
	{                                                                                            \
		STAP_PROBE##n(heapd, name, __VA_ARGS__);                                             \
	}
#endif
#endif

#endif
