/* SPDX-License-Identifier: MIT */
/*
 * In the place of loader.c where clang, bpftool or libbpf are missing when it is built: there is no BPF.
 */
#include <errno.h>
#include <stddef.h>

#include "loader.h"

int loader_start(struct loader **loader, const struct installed *installed, enum loader_links links,
		 const char **how)
{
	(void)installed, (void)links;
	*loader = NULL;
	*how = "none";
	return -ENOSYS;
}

void loader_stop(struct loader *loader)
{
	(void)loader;
}

void loader_read(const struct loader *loader, const struct distribution_key *key, struct distribution *sum)
{
	(void)loader, (void)key;
	*sum = (struct distribution){ 0 };
}

struct loader_site *loader_sites(const struct loader *loader, unsigned *n)
{
	(void)loader;
	*n = 0;
	return NULL;
}

struct loader_lost loader_lost(const struct loader *loader)
{
	(void)loader;
	return (struct loader_lost){ 0 };
}
