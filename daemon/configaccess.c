/* SPDX-License-Identifier: MIT */
/*
 * configaccess.c - owns who may do what with a heap.
 *
 * Right because everything that lets somebody in is asked here, and only adds: the mode as with files, where exactly one
 * class counts (the owner's bits for the owner even if the group's say more), and beside it the lists. Who runs the
 * daemon could read the memory anyway, and root anything.
 */
#include "config.h"

#include <unistd.h>

static bool in_group(const gid_t *gids, size_t ngids, gid_t group)
{
	for (size_t i = 0; i < ngids; i++) {
		if (gids[i] == group)
			return true;
	}
	return false;
}

static bool ids_match(const struct config_ids *ids, uid_t uid, const gid_t *gids, size_t ngids)
{
	if (ids_has(&ids->users, uid) || ids->groups.all)
		return true;
	for (size_t i = 0; i < ngids; i++) {
		if (ids_has(&ids->groups, gids[i]))
			return true;
	}
	return false;
}

static bool always_may(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

bool config_ids_match(const struct config_ids *ids, uid_t uid, const gid_t *gids, size_t ngids)
{
	return always_may(uid) || ids_match(ids, uid, gids, ngids);
}

static unsigned mode_rights(const struct config_heap *heap, uid_t uid, const gid_t *gids, size_t ngids)
{
	if (heap->owner != CONFIG_NOBODY && uid == heap->owner)
		return heap->mode >> 6 & 7;
	if (heap->group != CONFIG_NOBODY && in_group(gids, ngids, heap->group))
		return heap->mode >> 3 & 7;
	return heap->mode & 7;
}

unsigned config_heap_rights(const struct config_heap *heap, uid_t uid, const gid_t *gids, size_t ngids)
{
	unsigned rights;

	if (always_may(uid))
		return CONFIG_READ | CONFIG_WRITE | CONFIG_ADMINISTER;
	rights = mode_rights(heap, uid, gids, ngids);
	if (ids_match(&heap->allow, uid, gids, ngids))
		rights |= CONFIG_READ | CONFIG_WRITE;
	if (ids_match(&heap->readonly, uid, gids, ngids))
		rights |= CONFIG_READ;
	return rights;
}

/* Who may write may read what it wrote: there is no attaching for writing alone. */
enum config_access config_heap_access(const struct config_heap *heap, uid_t uid, const gid_t *gids,
				      size_t ngids)
{
	unsigned rights = config_heap_rights(heap, uid, gids, ngids);

	if (!(rights & CONFIG_READ))
		return CONFIG_ACCESS_NONE;
	return rights & CONFIG_WRITE ? CONFIG_ACCESS_WRITE : CONFIG_ACCESS_READ;
}

static bool mode_lets_others_write(const struct config_heap *heap)
{
	if (heap->mode & CONFIG_WRITE)
		return true;
	if (heap->group != CONFIG_NOBODY && heap->mode >> 3 & CONFIG_WRITE)
		return true;
	return heap->owner != CONFIG_NOBODY && heap->owner != geteuid() && heap->mode >> 6 & CONFIG_WRITE;
}

bool config_others_may_write(const struct config_heap *heap)
{
	const struct config_ids *allow = &heap->allow;

	if (allow->users.all || allow->groups.all || allow->groups.n)
		return true;
	for (size_t i = 0; i < allow->users.n; i++) {
		if (allow->users.id[i] != geteuid())
			return true;
	}
	return mode_lets_others_write(heap);
}
