/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_PIN_H
#define HEAPD_CLIENT_PIN_H

#include "client.h"

/* The private table that says which pins are free: as large as it can get, and sparse. */
hidden int pins_init(struct heapd_heap *heap);
hidden void pins_free(struct heapd_heap *heap);

#endif
