/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_DEBUG_H
#define HEAPD_CLIENT_DEBUG_H

#include "client.h"

/* What HEAPD_DEBUG of the environment asks for, as HEAPD_HELLO_DEBUG flags; a word that is not known is reported. */
hidden uint32_t debug_wanted(struct heapd_heap *heap);

#endif
