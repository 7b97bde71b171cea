/* SPDX-License-Identifier: MIT */
/*
 * filter.c - runs the daemon with no system calls but those of heapd.service: any other kills it.
 *
 * tests/check_syscalls.sh makes CALLS, the list, and PROGRAM, and builds it. Where the unit answers EPERM, this
 * kills: a call that is missed and whose failure nobody looks at would go unnoticed else.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int calls[] = { CALLS };
#define NCALLS (sizeof(calls) / sizeof(calls[0]))

static const struct sock_filter load_number =
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
static const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
static const struct sock_filter deny = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);

/* Each call of the list jumps over the one instruction that looks further. */
static int filter(void)
{
	struct sock_filter code[1 + 2 * NCALLS + 1];
	struct sock_fprog program = { .filter = code };
	unsigned short n = 0;

	code[n++] = load_number;
	for (size_t i = 0; i < NCALLS; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
		code[n++] = allow;
	}
	code[n++] = deny;
	program.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

int main(int argc, char **argv)
{
	int r = filter();

	(void)argc;
	if (r < 0) {
		fprintf(stderr, "no filter: %s\n", strerror(-r));
		return 77;
	}
	execv(PROGRAM, argv);
	fprintf(stderr, "%s: %s\n", PROGRAM, strerror(errno));
	return 1;
}
