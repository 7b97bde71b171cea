/* SPDX-License-Identifier: MIT */
/*
 * processes.h - where the code of the heap's clients comes from: a place in a program's or library's file means the same
 * in all processes, and after they have ended.
 */
#ifndef HEAPCTL_PROCESSES_H
#define HEAPCTL_PROCESSES_H

#include "ctl.h"

struct code_file {
	char *path;
	uint64_t dev, ino;
	int fd;       /* -1: it could not be opened */
	bool library; /* libheapd itself */
};

struct mapping {
	uint64_t start, end, offset;
	uint32_t file; /* place in the list of files */
};

struct process {
	uint32_t pid;
	uint64_t read; /* when it was looked at again, ns */
	bool ours;     /* it maps the heap that is looked at */
	struct mapping *list;
	size_t n;
};

struct processes {
	const struct ctl *ctl;
	struct code_file *files;
	uint32_t nfiles;
	struct process *list;
	size_t n;
};

void processes_init(struct processes *p, const struct ctl *ctl);
void processes_free(struct processes *p);

/* NULL: it has gone, or cannot be looked at. Until the next call. */
struct process *processes_find(struct processes *p, uint32_t pid);

/* The file and the offset in it of an address of code; looks again if that is not known. False: there is none. */
bool process_code(struct processes *p, struct process *process, uint64_t address, uint32_t *file,
		  uint64_t *offset);

#endif
