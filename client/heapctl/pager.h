/* SPDX-License-Identifier: MIT */
/*
 * pager.h - long answers on a terminal go through a pager, as systemctl's do.
 */
#ifndef HEAPCTL_PAGER_H
#define HEAPCTL_PAGER_H

#include <sys/types.h>

/* Standard output is a pager's from now on, if it was a terminal and there is a pager: its process, or 0. */
pid_t pager_open(void);
/* Waits until the reader has seen enough. */
void pager_close(pid_t pager);

#endif
