/* SPDX-License-Identifier: MIT */
/*
 * version.h - what the daemon calls itself, on the command line and to who asks over the socket.
 */
#ifndef HEAPD_DAEMON_VERSION_H
#define HEAPD_DAEMON_VERSION_H

#ifndef HEAPD_VERSION
#define HEAPD_VERSION "0.1.0"
#endif
#define VERSION_TEXT "heapd " HEAPD_VERSION

#endif
