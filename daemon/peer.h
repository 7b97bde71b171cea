/* SPDX-License-Identifier: MIT */
/*
 * peer.h - who is at the other end of a socket, as the kernel says it.
 */
#ifndef HEAPD_DAEMON_PEER_H
#define HEAPD_DAEMON_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct peer {
	pid_t pid;
	uid_t uid;
	gid_t *groups; /* the primary one first */
	size_t ngroups;
	int pidfd; /* readable once all threads of the process are gone, reaped or not */
};

/* Who connected; -ESRCH if that process is gone already. */
int peer_of_socket(int fd, struct peer *peer);

/*
 * The process that sent these credentials, which must be a child of the process parent and of its user;
 * -EPERM if it is not, -ESRCH if it is gone. It has no groups: it was let in with its parent.
 */
int peer_of_child(const struct ucred *credentials, const struct peer *parent, struct peer *child);

/*
 * A process that was known by its number and its mark; -ESRCH if it is gone, or if the number is another's by now. It
 * has no groups.
 */
int peer_of_record(pid_t pid, uint64_t mark, uid_t uid, struct peer *peer);

/* What no process had that had the same number, nor will: until the next boot. 0: that cannot be told. */
uint64_t peer_mark(pid_t pid, int pidfd);

/* Whether the process that connected is a child of the process parent, and of the user. */
bool peer_is_child_of(const struct peer *peer, pid_t parent, uid_t uid);

void peer_release(struct peer *peer);
bool peer_is_gone(const struct peer *peer);

/* Whether the process has the memory file mapped; false also where that cannot be told (/proc, another user). */
bool peer_maps(const struct peer *peer, int fd);

/* Ends it (SIGKILL), by its pidfd. -errno. */
int peer_kill(const struct peer *peer);

/* May do what is not for everybody: root, and the user that the daemon runs as. */
bool peer_is_operator(uid_t uid);

#endif
