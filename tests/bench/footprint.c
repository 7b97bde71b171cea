/* SPDX-License-Identifier: MIT */
/*
 * footprint.c - owns how it is found out what memory a process, and a heap, has.
 *
 * Right because each memory file is counted by what the kernel has for it, and once, however often it is open; and because
 * the parts of a heap are differences of counters that the daemon keeps exact (verify proves them).
 */
#include "footprint.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 256u

double footprint_own(const char *pid)
{
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return (double)kib * 1024;
}

/* "/memfd:heapd:bench:ledger (deleted)" is named ledger. */
static bool is_file(const char *link, const char *name)
{
	const char *colon = strrchr(link, ':');

	return strncmp(link, "/memfd:", 7) == 0 &&
	       (!*name || (strncmp(colon + 1, name, strlen(name)) == 0 && colon[1 + strlen(name)] == ' '));
}

double footprint_files(const char *pid, const char *name)
{
	char path[300];
	ino_t seen[FILES];
	size_t n = 0;
	double bytes = 0;
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		char link[128] = "";
		bool known = false;
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, entry->d_name);
		if (readlink(path, link, sizeof(link) - 1) < 0 || !is_file(link, name) || stat(path, &st))
			continue;
		for (size_t i = 0; i < n; i++)
			known |= seen[i] == st.st_ino;
		if (!known && n < FILES) {
			seen[n++] = st.st_ino;
			bytes += (double)st.st_blocks * 512;
		}
	}
	if (folder)
		closedir(folder);
	return bytes;
}

static double slots_of(uint64_t bits)
{
	return (double)__builtin_popcountll(bits);
}

static double current_bytes(const struct heapd_heap *heap)
{
	double bytes = 0;

	for (uint64_t cpu = 0; cpu < heap->geometry.cpus; cpu++)
		for (uint32_t class = 0; class < HEAPD_LOAD_ACQUIRE(&heap->t.directory->nclasses); class ++) {
			uint64_t at = (cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;
			const struct heapd_rseq_entry *entry = &heap->t.rseq_rows[at];

			bytes += (double)heap->t.classes[class].slot_size *
				 (slots_of(HEAPD_READ_ONCE(entry->slabs[0].bits)) +
				  slots_of(HEAPD_READ_ONCE(entry->slabs[1].bits)) +
				  slots_of(HEAPD_READ_ONCE(heap->t.cas_rows[at].second)));
		}
	return bytes;
}

struct footprint_heap footprint_heap(const struct heapd_heap *heap)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	double out = (double)HEAPD_READ_ONCE(stats->out), in_spans = (double)HEAPD_READ_ONCE(stats->in_spans);
	struct footprint_heap f = {
		.current = current_bytes(heap),
		.rings = (double)HEAPD_READ_ONCE(stats->in_rings),
		.slots = in_spans - out,
		.committed = (double)HEAPD_READ_ONCE(stats->committed),
	};

	f.given = out - f.current - f.rings;
	f.pages = f.committed - in_spans;
	return f;
}
