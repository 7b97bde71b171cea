/* SPDX-License-Identifier: MIT */
/*
 * profile.h - what the kernel's side of "heapctl profile" tells of one sampled allocation.
 */
#ifndef HEAPD_BPF_PROFILE_H
#define HEAPD_BPF_PROFILE_H

#define PROFILE_FRAMES 64
#define PROFILE_NAME   48

struct profile_event {
	unsigned int pid; /* as heapctl's pid namespace has it, where it does */
	int stack_bytes;  /* < 0: there is no stack */
	char heap[PROFILE_NAME];
	unsigned long long class, bytes, address, weight;
	unsigned long long stack[PROFILE_FRAMES];
};

#endif
