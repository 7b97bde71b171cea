/* SPDX-License-Identifier: MIT */
/*
 * filter.c - runs the daemon with no system calls but those of heapd.service: any other kills it.
 *
 * tests/check_syscalls.sh makes CALLS, the list, PROGRAM and PRELOAD, and builds it. Where the unit answers EPERM, this
 * kills: a call that is missed and whose failure nobody looks at would go unnoticed else.
 *
 * heapd --keep stands for the service manager and is not confined: it runs as it is, with this file as a library beside it
 * (PRELOAD), which confines the daemons that it starts. Those have FDSTORE in their environment.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
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

static void confine(void)
{
	int r = filter();

	if (r == 0)
		return;
	fprintf(stderr, "no filter: %s\n", strerror(-r));
	_exit(77);
}

#ifdef PRELOAD
static bool is_keeper(char **argv)
{
	while (*argv && strcmp(*argv, "--keep") != 0)
		argv++;
	return *argv;
}

int main(int argc, char **argv)
{
	(void)argc;
	if (!is_keeper(argv))
		confine();
	else
		setenv("LD_PRELOAD", PRELOAD, 1);
	execv(PROGRAM, argv);
	fprintf(stderr, "%s: %s\n", PROGRAM, strerror(errno));
	return 1;
}
#else
static __attribute__((constructor)) void begin(void)
{
	if (getenv("FDSTORE"))
		confine();
}
#endif
