/* SPDX-License-Identifier: MIT */
/*
 * Owns the mapping of a heap's directory: memory that the daemon goes on writing. Only what was computed for the same
 * geometry is looked at, so no offset leads out of the mapping.
 */
#include "directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct directory *directory_new(const char *name)
{
	struct directory *d = calloc(1, sizeof(*d));

	if (d)
		strncpy(d->name, name, sizeof(d->name) - 1);
	return d;
}

static void forget(struct directory *d)
{
	if (d->t.directory)
		munmap(d->t.directory, d->bytes);
	d->t = (struct heapd_tables){ 0 };
}

void directory_free(struct directory *directory)
{
	forget(directory);
	free(directory);
}

static bool is_ours(const struct heapd_directory *directory, uint64_t bytes, struct heapd_geometry *g)
{
	const struct heapd_geometry said = directory->geometry;

	return directory->magic == HEAPD_DIRECTORY_MAGIC &&
	       directory->fingerprint == heapd_layout_fingerprint() &&
	       heapd_geometry_compute(g, said.size, said.cpus) && bytes >= g->directory_size;
}

int directory_map(struct directory *d, int fd)
{
	struct heapd_geometry g;
	struct stat st;
	void *at;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((size_t)st.st_size < sizeof(struct heapd_directory))
		return -EPROTO;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	if (!is_ours(at, (uint64_t)st.st_size, &g)) {
		munmap(at, (size_t)st.st_size);
		return -EPROTO;
	}
	forget(d);
	heapd_tables_init(&d->t, &g, ((struct heapd_directory *)at)->base, at, NULL);
	d->bytes = (uint64_t)st.st_size;
	return 0;
}
