/* SPDX-License-Identifier: MIT */
/*
 * sessionmemory.c - owns the memory files of sessions until a session has one, and their names in the store.
 *
 * Right because a file is stored before anybody gets it: the next daemon finds all that any process has mapped, and
 * tells those that nobody has ever had by the magic number, which a session writes first.
 */
#include "sessionmemory.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heapd/session.h"
#include "memory.h"

static void name_of(uint64_t number, char name[STORE_NAME_MAX])
{
	snprintf(name, STORE_NAME_MAX, "session.%" PRIu64, number);
}

void sessionmemories_unstore(struct sessionmemories *memories, struct sessionmemory *memory)
{
	char name[STORE_NAME_MAX];

	if (!memory->number)
		return;
	name_of(memory->number, name);
	store_remove(memories->store, name);
	memory->number = 0;
}

void sessionmemory_release(struct sessionmemory *memory)
{
	if (memory->core)
		munmap(memory->core, HEAPD_SESSION_CORE);
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct sessionmemory){ .fd = -1 };
}

static int map(struct sessionmemory *memory)
{
	void *core = mmap(NULL, HEAPD_SESSION_CORE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  memory->fd, 0);

	if (core == MAP_FAILED)
		return -errno;
	memory->core = core;
	return 0;
}

/* Stored before anybody gets it: it must not be missing when we are. */
static int put_into_store(struct sessionmemories *memories, struct sessionmemory *memory)
{
	char name[STORE_NAME_MAX];
	int r;

	if (!memories->store || !memories->store->kept)
		return 0;
	name_of(memories->next, name);
	r = store_put(memories->store, name, memory->fd);
	if (r == 0)
		memory->number = memories->next++;
	return r;
}

static int make(struct sessionmemories *memories, struct sessionmemory *memory)
{
	struct sessionmemory new = { .fd = memory_create("session", HEAPD_SESSION_SIZE, 0) };
	int r;

	if (new.fd < 0)
		return new.fd;
	r = map(&new);
	if (r == 0)
		r = put_into_store(memories, &new);
	if (r < 0) {
		sessionmemory_release(&new);
		return r;
	}
	*memory = new;
	return 0;
}

/* A session writes the magic number before anybody gets it. A client that takes that away loses its own session by it. */
bool sessionmemory_is_new(int fd)
{
	struct heapd_session head = { .magic = HEAPD_SESSION_MAGIC };

	return pread(fd, &head.magic, sizeof(head.magic), offsetof(struct heapd_session, magic)) ==
		       (ssize_t)sizeof(head.magic) &&
	       !head.magic;
}

int sessionmemories_take_spare(struct sessionmemory *memory)
{
	struct sessionmemory new = { .fd = memory_create("session", HEAPD_SESSION_SIZE, 0) };
	int r = new.fd < 0 ? new.fd : map(&new);

	if (r == 0)
		*memory = new;
	else if (new.fd >= 0)
		close(new.fd);
	return r;
}

int sessionmemories_take(struct sessionmemories *memories, struct sessionmemory *memory)
{
	if (!memories->nready)
		return make(memories, memory);
	*memory = memories->ready[--memories->nready];
	return 0;
}

int sessionmemories_restore(struct sessionmemories *memories, uint64_t number, struct sessionmemory *memory)
{
	char name[STORE_NAME_MAX];

	name_of(number, name);
	*memory = (struct sessionmemory){ .fd = store_take(memories->store, name), .number = number };
	return memory->fd < 0 ? memory->fd : map(memory);
}

void sessionmemories_refill(struct sessionmemories *memories)
{
	while (memories->nready < SESSIONMEMORIES_READY &&
	       make(memories, &memories->ready[memories->nready]) == 0)
		memories->nready++;
}

bool sessionmemories_are_low(const struct sessionmemories *memories)
{
	return memories->nready < SESSIONMEMORIES_READY / 2;
}

/* Numbers of memories that an earlier daemon stored are not used again. */
static uint64_t next_number(const struct store *store)
{
	uint64_t next = 1, number;

	for (size_t i = 0; store && i < store->nitems; i++)
		if (sscanf(store->items[i].name, "session.%" SCNu64, &number) == 1 && number >= next)
			next = number + 1;
	return next;
}

void sessionmemories_init(struct sessionmemories *memories, struct store *store)
{
	*memories = (struct sessionmemories){ .store = store, .next = next_number(store) };
}

void sessionmemories_deinit(struct sessionmemories *memories)
{
	while (memories->nready) {
		struct sessionmemory *memory = &memories->ready[--memories->nready];

		sessionmemories_unstore(memories, memory);
		sessionmemory_release(memory);
	}
}
