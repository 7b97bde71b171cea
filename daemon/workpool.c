/* SPDX-License-Identifier: MIT */
/*
 * Owns the pool of grey objects and the end of a drain.
 *
 * The ring never overflows: it has as many places as the heap has slab numbers, and a slab is in it once, because
 * only who finds its word 0 puts it there.
 *
 * Termination is exact: a grey object is in the ring, or in the hands of an active worker. A worker becomes
 * active as it takes an entry, and ceases to be when it holds none, both under the lock. So when no worker is active and
 * the ring is empty nothing is grey, and nothing can become so.
 */
#include "workpool.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "heapd/atomic.h"

#define MOMENT_NS    500000
#define KEEP_ENTRIES 131072u /* memory of the ring that is kept from one cycle to the next: 1 MiB */

static uint64_t *table_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t power_above(uint64_t n)
{
	return UINT64_C(1) << (64 - __builtin_clzll(n));
}

int workpool_init(struct workpool *pool, const struct heap *heap, bool shared)
{
	*pool = (struct workpool){
		.grey_bytes = heapd_align_up(heap->geometry.slabs * 8, 4096),
		.capacity = power_above(heap->geometry.slabs),
		.shared = shared,
	};
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	pool->grey = table_map(pool->grey_bytes);
	pool->ring = table_map(pool->capacity * 8);
	if (pool->grey && pool->ring)
		return 0;
	workpool_deinit(pool);
	return -ENOMEM;
}

void workpool_deinit(struct workpool *pool)
{
	if (pool->grey)
		munmap(pool->grey, pool->grey_bytes);
	if (pool->ring)
		munmap(pool->ring, pool->capacity * 8);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
}

void workpool_clear(struct workpool *pool)
{
	/*
	 * What a drain left is nothing; only a cycle that was given up leaves words that are not 0, and then entries, too:
	 * the workers have put theirs back (worker_clear()).
	 */
	if (pool->head != pool->tail)
		madvise(pool->grey, pool->grey_bytes, MADV_DONTNEED);
	if (pool->high > KEEP_ENTRIES)
		madvise(pool->ring, pool->capacity * 8, MADV_DONTNEED);
	pool->head = pool->tail = pool->high = 0;
}

static void pool_lock(struct workpool *pool)
{
	if (pool->shared)
		pthread_mutex_lock(&pool->lock);
}

static void pool_unlock(struct workpool *pool)
{
	if (pool->shared)
		pthread_mutex_unlock(&pool->lock);
}

void workpool_put(struct workpool *pool, const uint64_t *entries, unsigned n)
{
	pool_lock(pool);
	for (unsigned i = 0; i < n; i++)
		pool->ring[pool->tail++ & (pool->capacity - 1)] = entries[i];
	if (pool->tail > pool->high)
		pool->high = pool->tail;
	if (pool->open && pool->waiting && n)
		pthread_cond_broadcast(&pool->changed);
	pool_unlock(pool);
}

unsigned workpool_take(struct workpool *pool, uint64_t *entries, unsigned max)
{
	unsigned n;

	pool_lock(pool);
	uint64_t there = pool->tail - pool->head, fair = there / (pool->waiting + 1) + 1;

	if (fair < max)
		max = (unsigned)fair;
	for (n = 0; n < max && pool->head != pool->tail; n++)
		entries[n] = pool->ring[pool->head++ & (pool->capacity - 1)];
	if (pool->head == pool->tail) /* begin anew with memory that is in the cache */
		pool->head = pool->tail = 0;
	pool_unlock(pool);
	return n;
}

void workpool_open(struct workpool *pool)
{
	pool_lock(pool);
	pool->active = 1;
	pool->open = true;
	if (pool->waiting && pool->head != pool->tail)
		pthread_cond_broadcast(&pool->changed);
	pool_unlock(pool);
}

static void wait_changed(struct workpool *pool)
{
	HEAPD_WRITE_ONCE(pool->waiting, pool->waiting + 1);
	pthread_cond_wait(&pool->changed, &pool->lock);
	HEAPD_WRITE_ONCE(pool->waiting, pool->waiting - 1);
}

bool workpool_wait(struct workpool *pool)
{
	struct timespec until;
	bool over;

	if (!pool->shared) {
		pool->open = false;
		return true;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += MOMENT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&pool->lock);
	pool->active--;
	if (pool->active && pool->head == pool->tail) {
		HEAPD_WRITE_ONCE(pool->waiting, pool->waiting + 1);
		pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
		HEAPD_WRITE_ONCE(pool->waiting, pool->waiting - 1);
	}
	over = !pool->active && pool->head == pool->tail;
	pool->active += !over;
	pool->open = !over;
	pthread_mutex_unlock(&pool->lock);
	return over;
}

bool workpool_join(struct workpool *pool, bool active)
{
	bool more;

	pthread_mutex_lock(&pool->lock);
	pool->active -= active;
	if (active && !pool->active)
		pthread_cond_broadcast(&pool->changed);
	while (!pool->stopping && !(pool->open && pool->head != pool->tail))
		wait_changed(pool);
	more = !pool->stopping;
	pool->active += more;
	pthread_mutex_unlock(&pool->lock);
	return more;
}

void workpool_stop(struct workpool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}
