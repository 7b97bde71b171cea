/* SPDX-License-Identifier: MIT */
/*
 * Steps: named places at which a scenario of the stress (tests/stress/directed.c) stops one thread, of the daemon or of a
 * client, and lets it go on when others have done their part. A build for the stress alone has them (-DHEAPD_INJECT),
 * and there they do nothing unless HEAPD_STEPS in the environment names the file that all share.
 *
 * `wanted` is the thread that is to stop the next time that it comes by, or STEP_ANYBODY; whoever stops claims it,
 * so one wish stops one thread once. `stopped` says who stands there; 0 lets it go on. `passed` counts who came by.
 */
#ifndef HEAPD_STEP_H
#define HEAPD_STEP_H

#define HEAPD_STEPS(S)   \
	S(store)         \
	S(freeing)       \
	S(claiming)      \
	S(elsewhere)     \
	S(spare_cleared) \
	S(installing)    \
	S(nap)           \
	S(barriers_up)   \
	S(gathered)      \
	S(scanned)       \
	S(marking)       \
	S(barriers_down) \
	S(hands)         \
	S(withdrawn)     \
	S(harvest)

#ifdef HEAPD_INJECT
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HEAPD_STEP_NUMBER_(name) STEP_##name,
enum heapd_step { HEAPD_STEPS(HEAPD_STEP_NUMBER_) STEP_COUNT };

#define STEP_ANYBODY UINT32_MAX
#define STEP_LONGEST 200000u /* naps of 100 us: whoever was forgotten goes on */

struct heapd_step_word {
	uint32_t wanted, stopped, passed;
};

struct heapd_steps {
	struct heapd_step_word words[STEP_COUNT];
};

static inline struct heapd_steps *heapd_steps_map(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = MAP_FAILED;

	if (fd >= 0) {
		p = mmap(NULL, sizeof(struct heapd_steps), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	return p == MAP_FAILED ? NULL : (struct heapd_steps *)p;
}

/* Once in each unit. */
static inline struct heapd_steps *heapd_steps(void)
{
	static struct heapd_steps *steps;
	static bool looked;

	if (!looked) {
		steps = heapd_steps_map(getenv("HEAPD_STEPS"));
		looked = true;
	}
	return steps;
}

static inline void heapd_step_stop(struct heapd_step_word *word, uint32_t self)
{
	__atomic_store_n(&word->stopped, self, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < STEP_LONGEST && __atomic_load_n(&word->stopped, __ATOMIC_SEQ_CST) == self;
	     i++)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static inline void heapd_step(enum heapd_step step)
{
	struct heapd_steps *steps = heapd_steps();
	int error = errno;

	if (steps) {
		struct heapd_step_word *word = &steps->words[step];
		uint32_t self = (uint32_t)syscall(SYS_gettid),
			 wanted = __atomic_load_n(&word->wanted, __ATOMIC_SEQ_CST);

		__atomic_fetch_add(&word->passed, 1, __ATOMIC_SEQ_CST);
		if (wanted && (wanted == STEP_ANYBODY || wanted == self) &&
		    __atomic_compare_exchange_n(&word->wanted, &wanted, 0, false, __ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			heapd_step_stop(word, self);
	}
	errno = error;
}

/* What is put off for as long as it is wanted of anybody. */
static inline bool heapd_step_is_off(enum heapd_step step)
{
	struct heapd_steps *steps = heapd_steps();

	return steps && __atomic_load_n(&steps->words[step].wanted, __ATOMIC_SEQ_CST) == STEP_ANYBODY;
}

#define STEP(name)        heapd_step(STEP_##name)
#define STEP_IS_OFF(name) heapd_step_is_off(STEP_##name)
#else
#define STEP(name)        ((void)0)
#define STEP_IS_OFF(name) 0
#endif

#endif
