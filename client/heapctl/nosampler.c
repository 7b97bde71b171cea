/* SPDX-License-Identifier: MIT */
/*
 * nosampler.c - stands for sampler.c where there is nothing to build BPF programs with.
 */
#include "sampler.h"

int sampler_start(struct sampler **sampler, const struct ctl *ctl)
{
	(void)ctl;
	*sampler = NULL;
	return ctl_say(CTL_TROUBLE, "this heapctl was built without BPF: it cannot take samples");
}

void sampler_stop(struct sampler *sampler)
{
	(void)sampler;
}

int sampler_run(struct sampler *sampler, uint64_t ms, bool *ended)
{
	(void)sampler, (void)ms;
	*ended = true;
	return CTL_TROUBLE;
}

struct samples *sampler_samples(struct sampler *sampler)
{
	(void)sampler;
	return NULL;
}

struct processes *sampler_processes(struct sampler *sampler)
{
	(void)sampler;
	return NULL;
}

uint64_t sampler_lost(const struct sampler *sampler)
{
	(void)sampler;
	return 0;
}
