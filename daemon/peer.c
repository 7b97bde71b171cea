/* SPDX-License-Identifier: MIT */
/*
 * peer.c - owns the identity of clients.
 *
 * Right because every fact comes from the kernel and is tied to a process, not to a number: by a pidfd, which the
 * socket itself gives (Linux 6.5), which tells its process's parent and user (6.13), and whose inode no other process ever
 * has (6.9). Older kernels tell the same in /proc, by number: then a pidfd is opened between two looks at one and the same
 * start time. Where /proc is hidden on top of that (ProtectProc= of the unit), what cannot be known is left to what the
 * socket says: the user is certain in any case.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define GROUPS_MAX  65536u /* the kernel's NGROUPS_MAX */
#define PIDFS_MAGIC 0x50494446

/* struct pidfd_info of linux/pidfd.h in its first version, which the C library's headers may be too old for. */
struct pidfd_answer {
	uint64_t mask, cgroup;
	uint32_t pid, tgid, ppid;
	uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	uint32_t unused;
};
_Static_assert(sizeof(struct pidfd_answer) == 64, "PIDFD_INFO_SIZE_VER0");
#define PIDFD_ASK       _IOWR(0xff, 11, struct pidfd_answer) /* PIDFD_GET_INFO */
#define PIDFD_ASK_PID   1u
#define PIDFD_ASK_CREDS 2u

struct process {
	pid_t parent;   /* 0: that cannot be told */
	uint64_t start; /* in ticks since boot; 0: the same */
};

static int read_proc(pid_t pid, const char *file, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	return 0;
}

/* The name, in parentheses, may hold anything; what follows the last one is numbers. */
static int process_read(pid_t pid, struct process *process)
{
	char text[1024], state;
	const char *rest;
	int r;

	r = read_proc(pid, "stat", text, sizeof(text));
	if (r < 0)
		return -ESRCH;
	rest = strrchr(text, ')');
	if (!rest ||
	    sscanf(rest,
		   ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
		   &state, &process->parent, &process->start) != 3)
		return -EPROTO;
	return 0;
}

static bool pidfd_ask(int pidfd, struct pidfd_answer *answer)
{
	*answer = (struct pidfd_answer){ .mask = PIDFD_ASK_PID | PIDFD_ASK_CREDS };
	return ioctl(pidfd, PIDFD_ASK, answer) == 0 && answer->mask & PIDFD_ASK_CREDS;
}

/* In /proc; if it is not there, it is hidden, or gone. */
static void process_look(pid_t pid, struct process *process)
{
	if (process_read(pid, process) < 0)
		*process = (struct process){ 0 };
}

static int open_pid(pid_t pid)
{
	struct process before, after;
	int fd;

	process_look(pid, &before);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	process_look(pid, &after);
	if (after.start == before.start)
		return fd;
	close(fd);
	return -ESRCH;
}

/* 0: that cannot be told. */
static pid_t parent_of(int pidfd, pid_t pid)
{
	struct pidfd_answer answer;
	struct process process;

	if (pidfd_ask(pidfd, &answer))
		return (pid_t)answer.ppid;
	process_look(pid, &process);
	return process.parent;
}

/* Before kernel 6.5 a socket has no pidfd. One whose process is gone gives ESRCH, or ENODATA. */
static int open_socket_pid(int fd, pid_t pid)
{
	socklen_t length = sizeof(int);
	int pidfd = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
		return pidfd;
	if (errno != ENOPROTOOPT && errno != EINVAL)
		return errno == ENODATA ? -ESRCH : -errno;
	return open_pid(pid);
}

/* The primary group stands before the supplementary ones. */
static int read_groups(int fd, gid_t primary, struct peer *peer)
{
	socklen_t length = 64 * sizeof(gid_t);

	for (;;) {
		gid_t *groups = malloc(sizeof(*groups) + length);

		if (!groups)
			return -ENOMEM;
		groups[0] = primary;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups + 1, &length) == 0) {
			peer->groups = groups;
			peer->ngroups = 1 + length / sizeof(*groups);
			return 0;
		}
		free(groups);
		/* The kernel has set length to what it needs. */
		if (errno != ERANGE || length > GROUPS_MAX * sizeof(gid_t))
			return -errno;
	}
}

int peer_of_socket(int fd, struct peer *peer)
{
	struct peer found = { .pidfd = -1 };
	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return -errno;
	if (credentials.pid <= 0)
		return -ESRCH; /* of a pid namespace that this one cannot see */
	found.pid = credentials.pid;
	found.uid = credentials.uid;
	found.pidfd = open_socket_pid(fd, credentials.pid);
	if (found.pidfd < 0)
		return found.pidfd;
	r = read_groups(fd, credentials.gid, &found);
	if (r < 0) {
		peer_release(&found);
		return r;
	}
	*peer = found;
	return 0;
}

/* Credentials carry the real user unless their sender says otherwise, sockets the effective one. */
static bool is_user(int pidfd, const struct ucred *credentials, uid_t uid)
{
	struct pidfd_answer answer;
	unsigned effective;
	char text[4096];
	const char *line;

	if (credentials->uid == uid)
		return true;
	if (pidfd_ask(pidfd, &answer))
		return answer.euid == uid;
	if (read_proc(credentials->pid, "status", text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nUid:");
	return line && sscanf(line, "\nUid: %*u %u", &effective) == 1 && effective == uid;
}

static bool is_gone_within(const struct peer *peer, int milliseconds)
{
	struct pollfd p = { .fd = peer->pidfd, .events = POLLIN };

	return peer->pidfd < 0 || poll(&p, 1, milliseconds) > 0;
}

/*
 * A parent that is gone has left its child to another: then the socket alone says whose child it is. The kernel
 * gives the children away a moment before the pidfd tells.
 */
static bool is_child(int pidfd, pid_t pid, const struct peer *parent)
{
	pid_t its = parent_of(pidfd, pid);

	return !its || its == parent->pid || is_gone_within(parent, 1);
}

int peer_of_child(const struct ucred *credentials, const struct peer *parent, struct peer *child)
{
	int pidfd;

	if (credentials->pid <= 0 || credentials->pid == parent->pid)
		return -EPERM;
	pidfd = open_pid(credentials->pid);
	if (pidfd < 0)
		return pidfd;
	if (!is_child(pidfd, credentials->pid, parent) || !is_user(pidfd, credentials, parent->uid)) {
		close(pidfd);
		return -EPERM;
	}
	*child = (struct peer){ .pid = credentials->pid, .uid = parent->uid, .pidfd = pidfd };
	return 0;
}

uint64_t peer_mark(pid_t pid, int pidfd)
{
	struct process process;
	struct statfs fs;
	struct stat st;

	if (fstatfs(pidfd, &fs) == 0 && fs.f_type == PIDFS_MAGIC && fstat(pidfd, &st) == 0)
		return st.st_ino;
	process_look(pid, &process);
	return process.start;
}

int peer_of_record(pid_t pid, uint64_t mark, uid_t uid, struct peer *peer)
{
	int pidfd = open_pid(pid);

	if (pidfd < 0)
		return pidfd;
	*peer = (struct peer){ .pid = pid, .uid = uid, .pidfd = pidfd };
	if (peer_mark(pid, pidfd) == mark && !peer_is_gone(peer))
		return 0;
	peer_release(peer);
	return -ESRCH;
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

/* A parent that is gone has left its child to another: then that it knows the session is all there is to go by. */
bool peer_is_child_of(const struct peer *peer, pid_t parent, uid_t uid)
{
	pid_t its = parent_of(peer->pidfd, peer->pid);

	return peer->uid == uid && (!its || its == parent || is_gone(parent));
}

void peer_release(struct peer *peer)
{
	free(peer->groups);
	if (peer->pidfd >= 0)
		close(peer->pidfd);
	*peer = (struct peer){ .pidfd = -1 };
}

bool peer_is_gone(const struct peer *peer)
{
	return is_gone_within(peer, 0);
}

bool peer_is_operator(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

bool peer_maps(const struct peer *peer, int fd)
{
	char path[64], *line = NULL;
	unsigned long inode;
	struct stat file;
	bool found = false;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", peer->pid);
	f = fstat(fd, &file) < 0 ? NULL : fopen(path, "re");
	while (f && !found && getline(&line, &size, f) >= 0)
		found = strstr(line, "memfd:heapd:") && sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 &&
			inode == file.st_ino;
	free(line);
	if (f)
		fclose(f);
	return found && !peer_is_gone(peer);
}

int peer_kill(const struct peer *peer)
{
	return syscall(SYS_pidfd_send_signal, peer->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}
