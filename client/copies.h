/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_COPIES_H
#define HEAPD_CLIENT_COPIES_H

#include "client.h"

/* 0, or -EBUSY and the sentence: another copy of this library is loaded. */
hidden int copies_check(void);

#endif
