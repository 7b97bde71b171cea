/* SPDX-License-Identifier: MIT */
/*
 * store.c - owns the talk with whoever keeps descriptors for us.
 *
 * Right because a descriptor that was sent lies in the keeper's socket, with a reference of its own, from the moment
 * that the call returns: it is there whatever becomes of us. Only memory files are stored: a store closes what hangs
 * up, and a socket means nothing once we are gone. A full store drops what comes without a word, so we count.
 *
 * The size of the store is in FDSTORE= of the environment: systemd sets it from version 254 on, and heapd --keep does. For an older
 * systemd the unit sets HEAPD_FDSTORE= beside FileDescriptorStoreMax=: by another name, for what a unit sets replaces what
 * systemd says, and who changes the one figure where both count would be told the other.
 *
 * A keeper that does not read its socket makes nobody wait for long: what is not taken is refused, and what could not be removed counts
 * until that has been said. As long as there is such a name nothing is put in: it may have the same one.
 *
 * A store is also full when the names of what is in it would be too long: the next daemon is told them in one variable of its
 * environment, and if the kernel does not take that, no daemon can be started any more.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "notify.h"

#define NAMES_MAX \
	(31u * 4096) /* of the 32 pages that one variable may take: the rest is for sockets' names */

#define PATIENCE_START 30000u /* ms: the keeper has much to do, and nobody is served yet; ... */
#define PATIENCE       1000u  /* ... and from then on */

static bool is_ours(const char *name)
{
	return strlen(name) < STORE_NAME_MAX &&
	       (strncmp(name, "heap.", 5) == 0 || strncmp(name, "session.", 8) == 0);
}

/* False: it is none of our business, and closed. */
static bool sort_in(struct store *store, int fd, const char *name)
{
	if (is_ours(name) && sd_is_socket(fd, AF_UNSPEC, 0, -1) <= 0) {
		struct store_item *item = &store->items[store->nitems++];

		item->fd = fd;
		snprintf(item->name, sizeof(item->name), "%s", name);
		store->names += strlen(name) + 1;
		return true;
	}
	if (store->listener < 0 && sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) > 0) {
		store->listener = fd;
		return true;
	}
	close(fd);
	return false;
}

static int check_foreign(const struct store *store, unsigned foreign)
{
	if (!foreign || store->listener >= 0)
		return 0;
	log_err(store->log,
		"none of the %u descriptors passed by the service manager is a listening AF_UNIX "
		"socket of type SEQPACKET; use ListenSequentialPacket=",
		foreign);
	return -EINVAL;
}

static unsigned capacity(void)
{
	const char *text = getenv("FDSTORE");
	unsigned long n;

	if (!text)
		text = getenv("HEAPD_FDSTORE");
	n = text ? strtoul(text, NULL, 10) : UINT32_MAX;
	return n > UINT32_MAX ? UINT32_MAX : (unsigned)n;
}

int store_init(struct store *store, struct log *log)
{
	char **names = NULL;
	unsigned foreign = 0;
	int n;

	*store = (struct store){
		.log = log, .listener = -1, .capacity = capacity(), .patience = PATIENCE_START
	};
	store->kept = getenv("NOTIFY_SOCKET") && store->capacity;
	n = sd_listen_fds_with_names(1, &names);
	if (n <= 0)
		return 0;
	store->items = calloc((size_t)n, sizeof(*store->items));
	if (!store->items)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		foreign += !sort_in(store, SD_LISTEN_FDS_START + i, names[i]);
		free(names[i]);
	}
	free(names);
	store->count = (unsigned)store->nitems;
	return check_foreign(store, foreign);
}

void store_deinit(struct store *store)
{
	for (size_t i = 0; i < store->nitems; i++)
		close(store->items[i].fd);
	free(store->items);
	free(store->late);
	*store = (struct store){ .listener = -1 };
}

int store_take(struct store *store, const char *name)
{
	for (size_t i = 0; i < store->nitems; i++) {
		int fd = store->items[i].fd;

		if (strcmp(store->items[i].name, name) != 0)
			continue;
		store->items[i] = store->items[--store->nitems];
		return fd;
	}
	return -ENOENT;
}

unsigned store_room(const struct store *store)
{
	if (!store->kept)
		return UINT32_MAX;
	return store->capacity > store->count ? store->capacity - store->count : 0;
}

void store_hurry(struct store *store)
{
	store->patience = PATIENCE;
}

/* Who was not heard the last time does not wait again. */
static int say(struct store *store, const char *text, int fd)
{
	int r = notify_send(text, fd, store->deaf ? 0 : store->patience);

	store->deaf = r == -EAGAIN;
	return r > 0 ? 0 : r < 0 ? r : -ENOTCONN;
}

int store_put(struct store *store, const char *name, int fd)
{
	char text[STORE_NAME_MAX + 64];
	int r;

	if (!store->kept)
		return 0;
	store_flush(store);
	if (store->nlate)
		return -EAGAIN;
	if (!store_room(store))
		return -ENOSPC;
	if (store->names + strlen(name) + 1 > NAMES_MAX)
		return -ENAMETOOLONG;
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	r = say(store, text, fd);
	if (r == 0) {
		store->count++;
		store->names += strlen(name) + 1;
	}
	return r;
}

/* -EAGAIN: it is to be said again. */
static int forget(struct store *store, const char *name)
{
	char text[STORE_NAME_MAX + 64];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	if (say(store, text, -1) == -EAGAIN)
		return -EAGAIN;
	store->count -= store->count > 0;
	store->names -= store->names > strlen(name) ? strlen(name) + 1 : store->names;
	return 0;
}

static int late_grow(struct store *store)
{
	size_t room = store->late_room ? 2 * store->late_room : 16;
	void *grown = reallocarray(store->late, room, sizeof(*store->late));

	if (!grown)
		return -ENOMEM;
	store->late = grown;
	store->late_room = room;
	return 0;
}

static void forget_later(struct store *store, const char *name)
{
	if (store->nlate == store->late_room && late_grow(store) < 0) {
		log_err(store->log, "out of memory: '%s' stays stored until the next start", name);
		return;
	}
	snprintf(store->late[store->nlate++], STORE_NAME_MAX, "%s", name);
}

void store_remove(struct store *store, const char *name)
{
	if (store->kept && forget(store, name) < 0)
		forget_later(store, name);
}

void store_flush(struct store *store)
{
	while (store->nlate && forget(store, store->late[store->nlate - 1]) == 0)
		store->nlate--;
}

size_t store_drop(struct store *store, const char *prefix, bool (*which)(int fd))
{
	size_t dropped = 0;

	for (size_t i = store->nitems; i-- > 0;) {
		struct store_item item = store->items[i];

		if (strncmp(item.name, prefix, strlen(prefix)) != 0 || (which && !which(item.fd)))
			continue;
		store->items[i] = store->items[--store->nitems];
		close(item.fd);
		store_remove(store, item.name);
		dropped++;
	}
	return dropped;
}
