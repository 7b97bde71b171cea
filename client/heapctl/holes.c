/* SPDX-License-Identifier: MIT */
/*
 * holes.c - owns the look at a memory file's holes.
 *
 * What lies side by side is asked for once: callers come by address. The file's offset, which all processes share, is
 * moved by it; nobody goes by it.
 */
#include "holes.h"

#include <unistd.h>

bool holes_none(struct holes *h, uint64_t at, uint64_t bytes)
{
	off_t end;

	if (at >= h->from && at < h->to && bytes <= h->to - at)
		return true;
	if (lseek(h->fd, (off_t)at, SEEK_DATA) != (off_t)at)
		return false;
	end = lseek(h->fd, (off_t)at, SEEK_HOLE);
	if (end < 0 || (uint64_t)end < at)
		return false;
	h->from = at;
	h->to = (uint64_t)end;
	return bytes <= h->to - at;
}
