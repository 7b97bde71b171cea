/* SPDX-License-Identifier: MIT */
/*
 * malloc.c - the loops on malloc() and free(), whosever they are: LD_PRELOAD decides.
 *
 * malloc NWORKERS: one worker is a process of one thread; more are threads of one process.
 */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>

#include "ring.h"
#include "serve.h"

static struct bench_ring rings[BENCH_RINGS];

BENCH_INLINE void *bench_get(struct bench_worker *w, size_t size)
{
	(void)w;
	return malloc(size);
}

BENCH_INLINE void bench_put(struct bench_worker *w, void *object)
{
	(void)w;
	free(object);
}

BENCH_INLINE void bench_pass(struct bench_worker *w, void **slot, void *object)
{
	(void)w;
	__atomic_store_n(slot, object, __ATOMIC_RELAXED);
}

BENCH_INLINE void *bench_take(struct bench_worker *w, void **slot)
{
	(void)w;
	return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

static struct bench_ring *bench_ring_of(struct bench_worker *w, unsigned pair)
{
	(void)w;
	return &rings[pair];
}

#include "loops.h"

static int begin(struct bench_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	return 0;
}

/* Each library has its own way to say which it is. */
static void version_find(struct bench_hello *hello)
{
	int (*mi_version)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "mi_version");
	int (*mallctl)(const char *, void *, size_t *, void *, size_t) =
		(int (*)(const char *, void *, size_t *, void *, size_t))dlsym(RTLD_DEFAULT, "mallctl");
	const char *(*tc_version)(int *, int *, const char **) =
		(const char *(*)(int *, int *, const char **))dlsym(RTLD_DEFAULT, "tc_version");
	const char *text = gnu_get_libc_version();
	size_t bytes = sizeof(text);

	if (mi_version) {
		int v = mi_version();
		snprintf(hello->version, sizeof(hello->version), "%d.%d.%d", v / 100, v / 10 % 10, v % 10);
		return;
	}
	if (mallctl)
		mallctl("version", &text, &bytes, NULL, 0);
	else if (tc_version)
		text = tc_version(NULL, NULL, NULL);
	snprintf(hello->version, sizeof(hello->version), "%s", text);
}

/* The file that has both, or nothing if they come from two. */
static void library_find(struct bench_hello *hello)
{
	Dl_info m, f;

	if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &m) && dladdr(dlsym(RTLD_DEFAULT, "free"), &f) &&
	    m.dli_fbase == f.dli_fbase)
		snprintf(hello->library, sizeof(hello->library), "%s", m.dli_fname);
}

int main(int argc, char **argv)
{
	struct bench_trade trade = { .begin = begin, .run = bench_loops_run };
	struct bench_hello hello = { 0 };

	if (argc != 2) {
		fprintf(stderr, "usage: malloc NWORKERS (compare starts it)\n");
		return 2;
	}
	trade.threads = atoi(argv[1]) > 1;
	version_find(&hello);
	library_find(&hello);
	return bench_serve(argv[1], "0", &trade, &hello, NULL);
}
