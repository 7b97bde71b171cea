/* SPDX-License-Identifier: MIT */
/*
 * The kernel's side of "heapctl profile": hands each sampled allocation over, with the stack of its thread as frame pointers
 * lead along it.
 *
 * A probe's site is the first instruction of a function of its own (heapd/probes.h), so its arguments are that call's. Who
 * fires a probe is not to be trusted: heapctl goes by what it finds out about the process itself.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "profile.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} events SEC(".maps");

const volatile unsigned long long pidns_dev, pidns_ino; /* heapctl's */
unsigned long long lost;

static __always_inline unsigned pid_of_current(void)
{
	struct bpf_pidns_info info = {};

	if (bpf_get_ns_current_pid_tgid(pidns_dev, pidns_ino, &info, sizeof(info)) == 0)
		return info.tgid;
	return bpf_get_current_pid_tgid() >> 32;
}

SEC("uprobe")
int sample(struct pt_regs *ctx)
{
	struct profile_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	e->pid = pid_of_current();
	e->heap[0] = 0;
	bpf_probe_read_user_str(e->heap, sizeof(e->heap), (const char *)PT_REGS_PARM1(ctx));
	e->class = PT_REGS_PARM2(ctx);
	e->bytes = PT_REGS_PARM3(ctx);
	e->address = PT_REGS_PARM4(ctx);
	e->weight = PT_REGS_PARM5(ctx);
	e->stack_bytes = bpf_get_stack(ctx, e->stack, sizeof(e->stack), BPF_F_USER_STACK);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
