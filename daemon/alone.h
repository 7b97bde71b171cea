/* SPDX-License-Identifier: MIT */
/*
 * Processes of the daemon's that may use nothing of the C library's: what they do, they ask of the system by themselves.
 */
#ifndef HEAPD_DAEMON_ALONE_H
#define HEAPD_DAEMON_ALONE_H

#define ALONE __attribute__((no_sanitize("address", "thread", "undefined")))

static inline ALONE __attribute__((always_inline)) long call(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long fourth __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return r;
#elif defined(__aarch64__)
	register long which __asm__("x8") = number, r __asm__("x0") = a;
	register long second __asm__("x1") = b, third __asm__("x2") = c, fourth __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(r) : "r"(which), "r"(second), "r"(third), "r"(fourth) : "memory");
	return r;
#else
#error "how does this processor call the system?"
#endif
}

#endif
