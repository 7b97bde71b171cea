/* SPDX-License-Identifier: MIT */
/*
 * options.h - what the command line says. The same program plays all parts; --role, which people need not
 * know of, says which.
 */
#pragma once

#include <heapd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "child.h"

enum role {
	ROLE_COORDINATOR, /* what a person starts */
	ROLE_DAEMON,      /* becomes the private heapd */
	ROLE_WORKER,      /* reads files and adds their words to the index */
	ROLE_READER,      /* answers one question from the index */
};

struct options {
	enum role role;
	char **arguments; /* directories; of a reader: its question */
	size_t narguments;
	unsigned workers, kill_every, queries, repeat;
	unsigned rounds;  /* of updates */
	unsigned seconds; /* 0: as many rounds as that; else rounds until they are over */
	bool forever;
	uint64_t seed, heap_size; /* 0: chosen by the program */
	const char *socket, *heap;
	bool keep, quiet, null;
	unsigned slot, life; /* of a worker: see claims.c */
};

/* Adds what leads another process of ours to the same heap. */
void options_pass(const struct options *options, struct child_args *args);

/* The heap that the options name, as heapd_attach() has it; -errno after having said why not. */
int options_attach(const struct options *options, uint32_t flags, heapd_heap **heap);
