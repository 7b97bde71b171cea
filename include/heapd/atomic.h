/* SPDX-License-Identifier: MIT */
/*
 * Loads, stores and read-modify-writes on memory that several processes map.
 *
 * Every access to a shared word goes through one of these, so that the compiler neither tears nor
 * repeats it and so that the memory order stands where it is used. READ_ONCE is for memory that a
 * client can write: load once into a local, check the local, use the local.
 */
#ifndef HEAPD_ATOMIC_H
#define HEAPD_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define HEAPD_READ_ONCE(x)        __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define HEAPD_WRITE_ONCE(x, v)    __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define HEAPD_LOAD_ACQUIRE(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define HEAPD_STORE_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
/* A counter that one thread at a time writes, and anybody reads. */
#define HEAPD_COUNT(x, n) HEAPD_WRITE_ONCE(x, (x) + (n))
#define HEAPD_FENCE()     __atomic_thread_fence(__ATOMIC_SEQ_CST)

#if defined(__SANITIZE_THREAD__)
#define HEAPD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HEAPD_TSAN 1
#endif
#endif

/*
 * ThreadSanitizer sees neither restartable sequences nor what other processes do. So it is told what both
 * amount to: whoever is given memory comes after whoever freed it, slots of whatever size it was cut into then.
 */
#ifdef HEAPD_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
static inline void heapd_tsan_pages(const void *start, uint64_t bytes, void (*tell)(void *))
{
	uint64_t end = (uint64_t)(uintptr_t)start + bytes;

	for (uint64_t page = (uint64_t)(uintptr_t)start & ~8191ull; page < end; page += 8192)
		tell((void *)(uintptr_t)page);
}
#define HEAPD_TSAN_ACQUIRE(p, bytes) heapd_tsan_pages(p, bytes, __tsan_acquire)
#define HEAPD_TSAN_RELEASE(p, bytes) heapd_tsan_pages(p, bytes, __tsan_release)
#else
#define HEAPD_TSAN_ACQUIRE(p, bytes) ((void)0)
#define HEAPD_TSAN_RELEASE(p, bytes) ((void)0)
#endif

/* Two words that are compared and swapped as one; must lie on a 16-byte boundary. */
struct heapd_pair {
	uint64_t first;
	uint64_t second;
} __attribute__((aligned(16)));

#if defined(__x86_64__)
/* Not __atomic_compare_exchange_16: that is a call into libatomic, and the client library depends on libc alone. */
static inline bool heapd_pair_cas(struct heapd_pair *p, struct heapd_pair *expected,
				  struct heapd_pair desired)
{
	bool done;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(done), "+m"(*p), "+a"(expected->first), "+d"(expected->second)
			 : "b"(desired.first), "c"(desired.second)
			 : "memory");
	return done;
}
#else
static inline bool heapd_pair_cas(struct heapd_pair *p, struct heapd_pair *expected,
				  struct heapd_pair desired)
{
	unsigned __int128 e, d;

	__builtin_memcpy(&e, expected, sizeof(e));
	__builtin_memcpy(&d, &desired, sizeof(d));
	bool done = __atomic_compare_exchange_n((unsigned __int128 *)p, &e, d, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE);
	__builtin_memcpy(expected, &e, sizeof(e));
	return done;
}
#endif

/*
 * An untorn snapshot of a pair: a swap of the pair with itself if it is what was guessed, and if it is not,
 * what the swap found there, as one. No loop: whoever writes the pair all the time does not keep us here.
 */
static inline struct heapd_pair heapd_pair_load(struct heapd_pair *p)
{
	struct heapd_pair seen = { HEAPD_READ_ONCE(p->first), HEAPD_READ_ONCE(p->second) };

	heapd_pair_cas(p, &seen, seen);
	return seen;
}

#endif
