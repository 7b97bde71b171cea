/* SPDX-License-Identifier: MIT */
/*
 * sampler.h - has the kernel hand over each sampled allocation of a heap's clients, with its stack.
 */
#ifndef HEAPCTL_SAMPLER_H
#define HEAPCTL_SAMPLER_H

#include "processes.h"
#include "samples.h"

struct sampler;

/* An exit status, after saying why. */
int sampler_start(struct sampler **sampler, const struct ctl *ctl);
void sampler_stop(struct sampler *sampler);

/* Collects for so long, or until SIGINT or SIGTERM if they are blocked; *ended: one of them came, or the daemon went. */
int sampler_run(struct sampler *sampler, uint64_t ms, bool *ended);

struct samples *sampler_samples(struct sampler *sampler);
struct processes *sampler_processes(struct sampler *sampler);
/* Samples that came to nothing: the buffer was full, or their process had gone before it could be looked at. */
uint64_t sampler_lost(const struct sampler *sampler);

#endif
