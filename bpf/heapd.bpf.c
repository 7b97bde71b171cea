/* SPDX-License-Identifier: MIT */
/*
 * The kernel's side: adds up durations and samples, on each CPU for itself, so that a hit costs no more than itself and
 * user space reads a few numbers. A program can be interrupted by the same on its CPU, where the kernel is preemptible, so sums are
 * added to by instructions that are one.
 *
 * A probe's site is the first instruction of a function of its own (heapd/probes.h), so its arguments are that call's:
 * no note has to be interpreted here, and nothing of the kernel's is read, so one object runs on every kernel.
 *
 * Who fires a probe is not to be trusted: any process may map the library. It can add to the sums, and have entries made,
 * as many as the map has; the exporter shows those of its heaps alone.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h> /* libbpf wants its maps there, to attach where there is no uprobe_multi */

#include "distributions.h"

#ifndef PT_REGS_PARM6 /* libbpf 1.1 has five */
#ifdef __TARGET_ARCH_x86
#define PT_REGS_PARM6(x) ((x)->r9)
#else
#define PT_REGS_PARM6(x) (((const struct user_pt_regs *)(x))->regs[5])
#endif
#endif

_Static_assert(sizeof(struct site_frame) == sizeof(struct bpf_stack_build_id) &&
		       __builtin_offsetof(struct site_frame, id) ==
			       __builtin_offsetof(struct bpf_stack_build_id, build_id) &&
		       __builtin_offsetof(struct site_frame, at) ==
			       __builtin_offsetof(struct bpf_stack_build_id, offset),
	       "the kernel writes frames");

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct distribution_key);
	__type(value, struct distribution);
} distributions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SITES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct site_key);
	__type(value, struct site);
} sites SEC(".maps");

/* A sample's site while it is made: too large for a program's stack. Its program may be interrupted by itself. */
struct workplace {
	unsigned long long busy;
	struct site site;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, unsigned);
	__type(value, struct workplace);
} workplaces SEC(".maps");

/* Bytes of samples whose sites are not known. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SITE_LOST);
	__type(key, unsigned);
	__type(value, unsigned long long);
} lost SEC(".maps");

/* Too large for a program's stack: what a new entry begins as. */
const struct distribution nothing = {};

static __always_inline struct distribution *find(const char *heap, unsigned kind, unsigned part)
{
	struct distribution_key key = { .kind = kind, .part = part };
	struct distribution *found;

	if (bpf_probe_read_user_str(key.heap, sizeof(key.heap), heap) <= 0)
		return 0;
	found = bpf_map_lookup_elem(&distributions, &key);
	if (found)
		return found;
	bpf_map_update_elem(&distributions, &key, &nothing, BPF_NOEXIST);
	return bpf_map_lookup_elem(&distributions, &key);
}

/* The least i with ns <= 2^i. */
static __always_inline unsigned bucket_of(unsigned long long ns)
{
	unsigned i = 0;

	if (ns <= 1)
		return 0;
	ns--;
	for (unsigned step = 32; step; step /= 2)
		if (ns >> step) {
			ns >>= step;
			i += step;
		}
	i++;
	return i < DISTRIBUTION_BUCKETS ? i : DISTRIBUTION_BUCKETS - 1;
}

static __always_inline int add(const char *heap, unsigned kind, unsigned part, unsigned long long ns,
			       unsigned long long weight)
{
	struct distribution *d = find(heap, kind, part);
	unsigned bucket = bucket_of(ns);

	if (!d || bucket >= DISTRIBUTION_BUCKETS)
		return 0;
	__sync_fetch_and_add(&d->count, weight);
	__sync_fetch_and_add(&d->sum, ns * weight);
	__sync_fetch_and_add(&d->buckets[bucket], weight);
	return 0;
}

SEC("uprobe")
int pause(struct pt_regs *ctx)
{
	return add((const char *)PT_REGS_PARM1(ctx), DISTRIBUTION_PAUSE, 0, PT_REGS_PARM3(ctx), 1);
}

SEC("uprobe")
int handshake__end(struct pt_regs *ctx)
{
	return add((const char *)PT_REGS_PARM1(ctx), DISTRIBUTION_HANDSHAKE, PT_REGS_PARM3(ctx),
		   PT_REGS_PARM4(ctx), 1);
}

SEC("uprobe")
int phase__end(struct pt_regs *ctx)
{
	return add((const char *)PT_REGS_PARM1(ctx), DISTRIBUTION_PHASE, PT_REGS_PARM3(ctx),
		   PT_REGS_PARM4(ctx), 1);
}

/* Time is taken by the library only while somebody looks at the end: the begin is left alone. */
SEC("uprobe")
int alloc__slow__end(struct pt_regs *ctx)
{
	return add((const char *)PT_REGS_PARM1(ctx), DISTRIBUTION_SLOW, 0, PT_REGS_PARM4(ctx),
		   PT_REGS_PARM6(ctx));
}

SEC("uprobe")
int supply__wait__end(struct pt_regs *ctx)
{
	return add((const char *)PT_REGS_PARM1(ctx), DISTRIBUTION_WAIT, 0, PT_REGS_PARM3(ctx), 1);
}

static __always_inline void lose(unsigned what, unsigned long long bytes)
{
	unsigned long long *sum = bpf_map_lookup_elem(&lost, &what);

	if (sum)
		__sync_fetch_and_add(sum, bytes);
}

/* Two sums that have nothing in common but what they are made of. */
static __always_inline void hash_frames(const struct site *site, unsigned long long hash[2])
{
	unsigned long long a = site->n, b = ~site->n;

	for (unsigned i = 0; i < SITE_FRAMES && i < site->n; i++)
		for (unsigned k = 0; k < sizeof(struct site_frame) / 8; k++) {
			unsigned long long word = ((const unsigned long long *)&site->frames[i])[k];

			a = (a ^ word) * 0xbf58476d1ce4e5b9ull;
			a ^= a >> 32;
			b = (b + word) * 0x94d049bb133111ebull;
			b ^= b >> 29;
		}
	hash[0] = a;
	hash[1] = b;
}

/* A frame is the build id of its file and an offset: it can be named when the process is gone. */
static __always_inline void stack_take(struct pt_regs *ctx, struct site *site, struct site_key *key)
{
	long bytes = bpf_get_stack(ctx, site->frames, sizeof(site->frames),
				   BPF_F_USER_STACK | BPF_F_USER_BUILD_ID);

	site->n = bytes > 0 ? (unsigned long)bytes / sizeof(struct site_frame) : 0;
	if (site->n)
		hash_frames(site, key->hash);
}

static __always_inline struct site *site_find(struct pt_regs *ctx, struct site *fresh, struct site_key *key)
{
	struct site *found;

	stack_take(ctx, fresh, key);
	found = bpf_map_lookup_elem(&sites, key);
	if (found)
		return found;
	fresh->samples = fresh->bytes = 0;
	bpf_map_update_elem(&sites, key, fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sites, key);
}

/* Samples are few, so all CPUs add to one sum. */
static __always_inline void site_add(struct pt_regs *ctx, struct site *fresh, unsigned long long bytes)
{
	struct site_key key = { .hash = { 0 } };
	struct site *site;

	if (bpf_probe_read_user_str(key.heap, sizeof(key.heap), (const char *)PT_REGS_PARM1(ctx)) <= 0)
		return;
	site = site_find(ctx, fresh, &key);
	if (!fresh->n)
		lose(SITE_LOST_STACK, bytes);
	if (!site) {
		lose(SITE_LOST_ROOM, bytes);
		return;
	}
	__sync_fetch_and_add(&site->samples, 1);
	__sync_fetch_and_add(&site->bytes, bytes);
}

static __always_inline void site_sample(struct pt_regs *ctx, unsigned long long bytes)
{
	unsigned zero = 0;
	struct workplace *here = bpf_map_lookup_elem(&workplaces, &zero);

	if (!here)
		return;
	if (__sync_fetch_and_add(&here->busy, 1) == 0)
		site_add(ctx, &here->site, bytes);
	else
		lose(SITE_LOST_ROOM, bytes);
	__sync_fetch_and_add(&here->busy, -1);
}

SEC("uprobe")
int sample(struct pt_regs *ctx)
{
	struct distribution *d =
		find((const char *)PT_REGS_PARM1(ctx), DISTRIBUTION_SAMPLES, PT_REGS_PARM3(ctx));

	site_sample(ctx, PT_REGS_PARM5(ctx));
	if (!d)
		return 0;
	__sync_fetch_and_add(&d->count, 1);
	__sync_fetch_and_add(&d->sum, PT_REGS_PARM5(ctx));
	return 0;
}
