/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: descriptors go on to who asked. The service manager keeps a descriptor for as long as the unit is not
 * stopped (FileDescriptorStoreMax=), so an exporter that was started anew knows which files its predecessor looked at, though
 * no path names them any more. Their names are "daemon.N" and "library.N", 0 the newest.
 */
#include "handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static const char *const kinds[INSTALLED_FILES] = { "daemon", "library" };

static void name_write(char name[24], unsigned which, unsigned generation)
{
	snprintf(name, 24, "%s.%u", kinds[which], generation);
}

/* -1: there is none of that name. */
static int fd_find(char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (names[i] && !strcmp(names[i], name))
			return SD_LISTEN_FDS_START + i;
	return -1;
}

static void files_take(struct installed *installed, char *const *names, int n)
{
	char name[24];
	int fd;

	for (unsigned g = 0; g < INSTALLED_GENERATIONS; g++)
		for (unsigned k = 0; k < INSTALLED_FILES; k++) {
			name_write(name, k, g);
			fd = fd_find(names, n, name);
			if (fd >= 0)
				installed_add(installed, (enum installed_which)k, fd);
		}
}

void handover_take(struct handover *handover, struct installed *installed)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	*handover = (struct handover){ .socket = -1, .is_served = getenv("NOTIFY_SOCKET") };
	for (int i = 0; i < n && handover->socket < 0; i++)
		if (sd_is_socket(SD_LISTEN_FDS_START + i, AF_UNSPEC, SOCK_STREAM, 1) > 0)
			handover->socket = SD_LISTEN_FDS_START + i;
	files_take(installed, names, n);
	for (int i = 0; names && i < n; i++)
		free(names[i]);
	free(names);
}

static void file_keep(const struct installed_file *file, unsigned which, unsigned generation)
{
	int fd = generation < file->n ? file->fds[generation] : -1;
	char name[24], text[64];

	name_write(name, which, generation);
	sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	if (fd >= 0)
		sd_pid_notify_with_fds(0, 0, text, &fd, 1);
}

void handover_keep(const struct handover *handover, const struct installed *installed)
{
	if (!handover->is_served)
		return;
	for (unsigned k = 0; k < INSTALLED_FILES; k++)
		for (unsigned g = 0; g < INSTALLED_GENERATIONS; g++)
			file_keep(&installed->files[k], k, g);
}
