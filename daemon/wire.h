/* SPDX-License-Identifier: MIT */
/*
 * wire.h - single messages on a socket, without ever waiting.
 */
#ifndef HEAPD_DAEMON_WIRE_H
#define HEAPD_DAEMON_WIRE_H

#include <stddef.h>
#include <sys/socket.h>

#include "heapd/message.h"

#define WIRE_FDS_MAX 8u

/*
 * 1: a whole message. 0: the socket has ended. -EAGAIN: nothing there. -EPROTO: something that is not a message.
 * credentials: whose message it is; NULL unless the socket has SO_PASSCRED. Descriptors that came along are
 * dropped by the kernel.
 */
int wire_receive(int fd, struct heapd_message *m, struct ucred *credentials);

/* What the next message asks for; HEAPD_OP_NONE if there is none. It stays where it is. */
uint32_t wire_peek_op(int fd);

/* 0, or -EAGAIN if the other end does not read, or another -errno. Keeps the descriptors open. */
int wire_send(int fd, struct heapd_message *m, const int *fds, size_t nfds);

#endif
