/* SPDX-License-Identifier: MIT */
/*
 * fail.h - what a daemon with fail.so is told, and tells: in a file that both have mapped.
 */
#ifndef HEAPD_CRASH_FAIL_H
#define HEAPD_CRASH_FAIL_H

#include <stdint.h>

enum fail_kind { FAIL_MEMORY = 1, FAIL_CALL };

struct fail {
	uint32_t kind;     /* enum fail_kind; 0: nothing is counted */
	uint32_t at;       /* which of them fails, from 1 on; 0: none */
	uint32_t for_good; /* and all that follow */
	int32_t error;     /* errno of a call that fails */
	uint32_t count;    /* of that kind, up to now */
};

#endif
