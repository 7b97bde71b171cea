/* SPDX-License-Identifier: MIT */
/*
 * notify.h - what is said to the service manager: sd_notify(3), for which nobody has to wait.
 */
#ifndef HEAPD_DAEMON_NOTIFY_H
#define HEAPD_DAEMON_NOTIFY_H

/*
 * Says it, with a descriptor unless that is -1, and waits at most so many ms for room. 1: it is said; 0: there is no service manager;
 * -EAGAIN: it has not read what was said before; or another -errno. Any thread.
 */
int notify_send(const char *text, int fd, unsigned ms);

#endif
