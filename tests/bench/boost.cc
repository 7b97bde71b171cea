/* SPDX-License-Identifier: MIT */
/*
 * boost.cc - the loops on Boost.Interprocess: allocate() and deallocate() of one managed_shared_memory, its
 * default algorithm and mutex.
 *
 * boost NWORKERS: each worker is a process that opens the segment. The segment's name is taken away as soon as
 * all have it open. What is allocated is not zeroed. Rings hold handles, since addresses differ.
 */
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/version.hpp>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ring.h"
#include "serve.h"

namespace bi = boost::interprocess;
using segment = bi::managed_shared_memory;

static segment *segment_of(struct bench_worker *w)
{
	return static_cast<segment *>(w->own);
}

BENCH_INLINE void *bench_get(struct bench_worker *w, size_t size)
{
	void *object = segment_of(w)->allocate(size, std::nothrow);

	if (!object)
		errno = ENOMEM;
	return object;
}

BENCH_INLINE void bench_put(struct bench_worker *w, void *object)
{
	segment_of(w)->deallocate(object);
}

BENCH_INLINE void bench_pass(struct bench_worker *w, void **slot, void *object)
{
	segment::handle_t handle = object ? segment_of(w)->get_handle_from_address(object) : 0;

	__atomic_store_n(reinterpret_cast<segment::handle_t *>(slot), handle, __ATOMIC_RELAXED);
}

BENCH_INLINE void *bench_take(struct bench_worker *w, void **slot)
{
	segment::handle_t handle =
		__atomic_load_n(reinterpret_cast<segment::handle_t *>(slot), __ATOMIC_RELAXED);

	return handle ? segment_of(w)->get_address_from_handle(handle) : nullptr;
}

static struct bench_ring *bench_ring_of(struct bench_worker *w, unsigned pair)
{
	std::string name = "ring-" + std::to_string(pair);

	return segment_of(w)->find_or_construct<bench_ring>(name.c_str())();
}

#include "loops.h"

static std::string segment_name;

static int begin(struct bench_worker *w, void *)
{
	try {
		w->own = new segment(bi::open_only, segment_name.c_str());
	} catch (const bi::interprocess_exception &e) {
		fprintf(stderr, "bench: boost: %s\n", e.what());
		return ENOENT;
	}
	return 0;
}

static void opened()
{
	bi::shared_memory_object::remove(segment_name.c_str());
}

/* As much as all workers' objects can take, or what /dev/shm has. */
static size_t segment_size()
{
	struct statvfs fs;
	size_t wish = size_t(1) << 30;

	if (statvfs("/dev/shm", &fs) == 0 && fs.f_bavail * fs.f_frsize / 10 * 9 < wish)
		wish = fs.f_bavail * fs.f_frsize / 10 * 9;
	return wish;
}

int main(int argc, char **argv)
{
	struct bench_hello hello = {};
	struct bench_trade trade = {};

	if (argc != 2) {
		fprintf(stderr, "usage: boost NWORKERS (compare starts it)\n");
		return 2;
	}
	trade.begin = begin;
	trade.run = bench_loops_run;
	segment_name = "heapd-bench-" + std::to_string(getpid());
	snprintf(hello.version, sizeof(hello.version), "%s", BOOST_LIB_VERSION);
	snprintf(hello.library, sizeof(hello.library), "managed_shared_memory");
	try {
		segment memory(bi::create_only, segment_name.c_str(), segment_size());
		return bench_serve(argv[1], "0", &trade, &hello, opened);
	} catch (const bi::interprocess_exception &e) {
		opened();
		fprintf(stderr, "bench: boost: %s\n", e.what());
		return 1;
	}
}
