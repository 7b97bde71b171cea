/* SPDX-License-Identifier: MIT */
/* Clients without the library, whose calls go as a test expects. */
#ifndef HEAPD_TESTS_RAW_H
#define HEAPD_TESTS_RAW_H

#include <check.h>
#include <stdint.h>

#include "fixture.h"
#include "heapd/message.h"

/* Attaches, and expects that status. The socket if it is 0, else the status; the reply stays in m. fds: NULL to close them. */
static inline int raw_attach(const struct fixture *f, const char *heap, uint32_t flags, int status,
			     struct heapd_message *m, struct fixture_fds *fds)
{
	struct fixture_fds none = { .n = 0 };
	int fd = fixture_attach(f, heap, flags, m, fds ? fds : &none);

	ck_assert_msg(fd == status || (fd >= 0 && status == 0), "%s: %d, not %d: %s", heap, fd, status,
		      m->text);
	if (!fds)
		fixture_close(&none);
	return fd;
}

/* The reply's status. */
static inline int raw_call(int fd, struct heapd_message *m, enum heapd_op op)
{
	m->op = op;
	ck_assert_int_eq(fixture_call(fd, m, NULL), 0);
	return m->status;
}

#endif
