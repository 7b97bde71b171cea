/* SPDX-License-Identifier: MIT */
/*
 * processes.c - owns what is known of processes: read from /proc/PID/maps when one is first met, and again when an address
 * is not found. Files are opened by the mapping, so that they are those that run, deleted or in a container.
 *
 * A process belongs to the heap if it maps that heap's directory: nobody else can have that descriptor.
 */
#include "processes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_NS UINT64_C(100000000) /* words that are no addresses would have the maps read all the time */

struct maps_line {
	uint64_t start, end, offset, ino;
	unsigned major, minor;
	char mode[5];
	const char *path;
};

void processes_init(struct processes *p, const struct ctl *ctl)
{
	*p = (struct processes){ .ctl = ctl };
}

void processes_free(struct processes *p)
{
	for (uint32_t i = 0; i < p->nfiles; i++) {
		free(p->files[i].path);
		if (p->files[i].fd >= 0)
			close(p->files[i].fd);
	}
	for (size_t i = 0; i < p->n; i++)
		free(p->list[i].list);
	free(p->files);
	free(p->list);
	*p = (struct processes){ 0 };
}

static bool line_parse(char *line, struct maps_line *m)
{
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &m->start, &m->end,
		   m->mode, &m->offset, &m->major, &m->minor, &m->ino, &at) < 7 ||
	    !at)
		return false;
	line[strcspn(line, "\n")] = 0;
	m->path = line + at;
	return true;
}

static int file_open(uint32_t pid, const struct maps_line *m)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%" PRIx64 "-%" PRIx64, pid, m->start, m->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static bool is_library(const char *path)
{
	const char *name = strrchr(path, '/');

	return name && strncmp(name, "/libheapd.so", 12) == 0;
}

/* UINT32_MAX: no memory. */
static uint32_t file_find(struct processes *p, uint32_t pid, const struct maps_line *m)
{
	uint64_t dev = makedev(m->major, m->minor);
	struct code_file *list;

	for (uint32_t i = 0; i < p->nfiles; i++)
		if (p->files[i].dev == dev && p->files[i].ino == m->ino)
			return i;
	list = reallocarray(p->files, p->nfiles + 1u, sizeof(*list));
	if (!list)
		return UINT32_MAX;
	p->files = list;
	list[p->nfiles] = (struct code_file){
		.path = strdup(m->path), .dev = dev, .ino = m->ino, .fd = -1, .library = is_library(m->path)
	};
	if (!list[p->nfiles].path)
		return UINT32_MAX;
	list[p->nfiles].fd = file_open(pid, m);
	return p->nfiles++;
}

static void mapping_add(struct processes *p, struct process *process, const struct maps_line *m)
{
	uint32_t file = file_find(p, process->pid, m);
	struct mapping *list = reallocarray(process->list, process->n + 1, sizeof(*list));

	if (!list)
		return;
	process->list = list;
	if (file != UINT32_MAX)
		list[process->n++] = (struct mapping){ m->start, m->end, m->offset, file };
}

static bool process_read(struct processes *p, struct process *process)
{
	struct maps_line m;
	struct stat ours;
	char path[48], *line = NULL;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/maps", process->pid);
	f = fopen(path, "re");
	if (!f || fstat(p->ctl->heap->directory_fd, &ours) < 0) {
		if (f)
			fclose(f);
		return false;
	}
	process->n = 0;
	while (getline(&line, &size, f) > 0) {
		if (!line_parse(line, &m))
			continue;
		if (m.ino == ours.st_ino && makedev(m.major, m.minor) == ours.st_dev)
			process->ours = true;
		else if (m.mode[2] == 'x' && m.path[0] == '/')
			mapping_add(p, process, &m);
	}
	free(line);
	fclose(f);
	return true;
}

struct process *processes_find(struct processes *p, uint32_t pid)
{
	struct process *list;

	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].pid == pid)
			return &p->list[i];
	list = reallocarray(p->list, p->n + 1, sizeof(*list));
	if (!list)
		return NULL;
	p->list = list;
	list[p->n] = (struct process){ .pid = pid };
	if (!process_read(p, &list[p->n])) {
		free(list[p->n].list);
		return NULL;
	}
	return &list[p->n++];
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool process_again(struct processes *p, struct process *process)
{
	uint64_t now = now_ns();

	if (now - process->read < AGAIN_NS)
		return false;
	process->read = now;
	return process_read(p, process);
}

static const struct mapping *mapping_find(const struct process *process, uint64_t address)
{
	for (size_t i = 0; i < process->n; i++)
		if (address >= process->list[i].start && address < process->list[i].end)
			return &process->list[i];
	return NULL;
}

bool process_code(struct processes *p, struct process *process, uint64_t address, uint32_t *file,
		  uint64_t *offset)
{
	const struct mapping *m = mapping_find(process, address);

	if (!m && process_again(p, process))
		m = mapping_find(process, address);
	if (!m)
		return false;
	*file = m->file;
	*offset = address - m->start + m->offset;
	return true;
}
