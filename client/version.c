/* SPDX-License-Identifier: MIT */
/* The version of the library in use, which may be a later one than the header that a program was built with. */
#include "client/client.h"

unsigned heapd_version(void)
{
	return HEAPD_VERSION;
}
