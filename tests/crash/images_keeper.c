/* SPDX-License-Identifier: MIT */
/*
 * Owns the descriptors that are kept, each with the moments at which it came and went: so that it is known of each image what
 * would be there. What the daemon says to its service manager comes here (--wrap).
 */
#include "images_keeper.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/store.h"
#include "images_tape.h"

#define ITEMS    256u
#define FD_FIRST 512 /* of descriptors that are this program's own */
#define PASSED   3   /* SD_LISTEN_FDS_START */

struct item {
	char name[STORE_NAME_MAX];
	int fd;
	uint64_t from, until;
};

static struct keeper {
	struct item items[ITEMS];
	unsigned n;
} keeper;

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static const char *name_in(const char *text)
{
	const char *name = strstr(text, "FDNAME=");

	if (!name)
		errx(1, "what is that for the keeper? %s", text);
	return name + strlen("FDNAME=");
}

static void put(const char *text, int fd)
{
	struct item *item = &keeper.items[keeper.n++];

	if (keeper.n == ITEMS)
		errx(1, "more than %u descriptors to keep", ITEMS);
	*item = (struct item){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST),
			       .from = tape_at(),
			       .until = UINT64_MAX };
	if (item->fd < 0)
		err(1, "a descriptor to keep");
	snprintf(item->name, sizeof(item->name), "%s", name_in(text));
}

static void take_out(const char *text)
{
	for (unsigned i = 0; i < keeper.n; i++)
		if (keeper.items[i].until == UINT64_MAX && strcmp(keeper.items[i].name, name_in(text)) == 0)
			keeper.items[i].until = tape_at();
}

int __wrap_notify_send(const char *text, int fd, unsigned ms)
{
	(void)ms;
	if (fd < 0 && !strstr(text, "FDSTOREREMOVE=1"))
		return 1;
	tape_event(__builtin_return_address(0));
	if (fd >= 0)
		put(text, fd);
	else
		take_out(text);
	return 1;
}

void keeper_begin(void)
{
	if (setenv("NOTIFY_SOCKET", "@nobody", 1) < 0 || setenv("FDSTORE", "1000", 1) < 0)
		err(1, "setenv");
}

void keeper_pass(void)
{
	char names[ITEMS * STORE_NAME_MAX] = "", number[32];
	size_t length = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < keeper.n; i++) {
		const struct item *item = &keeper.items[i];

		if (item->until != UINT64_MAX)
			continue;
		if (dup2(item->fd, PASSED + (int)n) < 0)
			err(1, "dup2");
		length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%s", n++ ? ":" : "",
					   item->name);
	}
	snprintf(number, sizeof(number), "%u", n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
}

void keeper_back(uint64_t at)
{
	while (keeper.n && keeper.items[keeper.n - 1].from > at)
		close(keeper.items[--keeper.n].fd);
	for (unsigned i = 0; i < keeper.n; i++)
		if (keeper.items[i].until > at)
			keeper.items[i].until = UINT64_MAX;
}
