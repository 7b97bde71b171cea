/* SPDX-License-Identifier: MIT */
/* The machine that was measured on, in lines for people. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stddef.h>

struct machine {
	char cpu[128];
	unsigned processors;
	char kernel[256];
	double memory; /* GiB */
	char huge[64], shmem_huge[96];
	char load[32]; /* averages when the benches began */
	char date[32];
	double others; /* percent of all processors' time that programs not ours used, or the hypervisor took */
};

void machine_read(struct machine *m);
/* Seconds that all processors together were busy since the machine was started. */
double machine_busy(void);

#endif
