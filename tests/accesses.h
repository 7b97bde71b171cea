/* SPDX-License-Identifier: MIT */
/*
 * accesses.h - what code that is built with -fsanitize=thread calls at each access to memory, in place of libtsan.
 *
 * Who includes it, once in a program, says before what is to be done with an access, before it is carried out:
 *   ACCESS_LOAD(at, n, place), ACCESS_STORE(at, n, place)   n bytes, by the code at `place`; a read-modify-write is both
 *   ACCESS_ENTER(pc), ACCESS_LEAVE()                        of a function that was called at `pc`
 * Atomic accesses are all sequentially consistent here.
 */
#include <stdint.h>

#define ACCESS_PLACE __builtin_return_address(0)

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

void __tsan_init(void)
{
}
void __tsan_func_entry(void *pc)
{
	ACCESS_ENTER(pc);
}
void __tsan_func_exit(void)
{
	ACCESS_LEAVE();
}

#define ACCESS_PLAIN(n)                            \
	void __tsan_read##n(void *at)              \
	{                                          \
		ACCESS_LOAD(at, n, ACCESS_PLACE);  \
	}                                          \
	void __tsan_write##n(void *at)             \
	{                                          \
		ACCESS_STORE(at, n, ACCESS_PLACE); \
	}                                          \
	void __tsan_unaligned_read##n(void *at)    \
	{                                          \
		ACCESS_LOAD(at, n, ACCESS_PLACE);  \
	}                                          \
	void __tsan_unaligned_write##n(void *at)   \
	{                                          \
		ACCESS_STORE(at, n, ACCESS_PLACE); \
	}
ACCESS_PLAIN(1)
ACCESS_PLAIN(2)
ACCESS_PLAIN(4)
ACCESS_PLAIN(8)
ACCESS_PLAIN(16)

void __tsan_read_range(void *at, unsigned long n)
{
	for (unsigned long i = 0; i < n; i += 8)
		ACCESS_LOAD((char *)at + i, n - i < 8 ? n - i : 8, ACCESS_PLACE);
}
void __tsan_write_range(void *at, unsigned long n)
{
	ACCESS_STORE(at, n, ACCESS_PLACE);
}

#define ACCESS_CHANGE(bits, type, name, how)                                        \
	type __tsan_atomic##bits##_##name(volatile type *at, type value, int order) \
	{                                                                           \
		(void)order;                                                        \
		ACCESS_LOAD(at, sizeof(type), ACCESS_PLACE);                        \
		ACCESS_STORE(at, sizeof(type), ACCESS_PLACE);                       \
		return how(at, value, __ATOMIC_SEQ_CST);                            \
	}

#define ACCESS_SWAP(bits, type, name)                                                                        \
	int __tsan_atomic##bits##_##name(volatile type *at, type *expected, type value, int order, int fail) \
	{                                                                                                    \
		(void)order, (void)fail;                                                                     \
		ACCESS_LOAD(at, sizeof(type), ACCESS_PLACE);                                                 \
		ACCESS_STORE(at, sizeof(type), ACCESS_PLACE);                                                \
		return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,             \
						   __ATOMIC_SEQ_CST);                                        \
	}

#define ACCESS_ATOMIC(bits, type)                                                  \
	type __tsan_atomic##bits##_load(const volatile type *at, int order)        \
	{                                                                          \
		(void)order;                                                       \
		ACCESS_LOAD(at, sizeof(type), ACCESS_PLACE);                       \
		return __atomic_load_n(at, __ATOMIC_SEQ_CST);                      \
	}                                                                          \
	void __tsan_atomic##bits##_store(volatile type *at, type value, int order) \
	{                                                                          \
		(void)order;                                                       \
		ACCESS_STORE(at, sizeof(type), ACCESS_PLACE);                      \
		__atomic_store_n(at, value, __ATOMIC_SEQ_CST);                     \
	}                                                                          \
	ACCESS_SWAP(bits, type, compare_exchange_strong)                           \
	ACCESS_SWAP(bits, type, compare_exchange_weak)                             \
	ACCESS_CHANGE(bits, type, exchange, __atomic_exchange_n)                   \
	ACCESS_CHANGE(bits, type, fetch_add, __atomic_fetch_add)                   \
	ACCESS_CHANGE(bits, type, fetch_sub, __atomic_fetch_sub)                   \
	ACCESS_CHANGE(bits, type, fetch_and, __atomic_fetch_and)                   \
	ACCESS_CHANGE(bits, type, fetch_or, __atomic_fetch_or)                     \
	ACCESS_CHANGE(bits, type, fetch_xor, __atomic_fetch_xor)
ACCESS_ATOMIC(8, uint8_t)
ACCESS_ATOMIC(16, uint16_t)
ACCESS_ATOMIC(32, uint32_t)
ACCESS_ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int order)
{
	(void)order;
}
void __tsan_acquire(void *at)
{
	(void)at;
}
void __tsan_release(void *at)
{
	(void)at;
}
