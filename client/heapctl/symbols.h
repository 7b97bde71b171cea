/* SPDX-License-Identifier: MIT */
/*
 * symbols.h - names for places in files of code.
 */
#ifndef HEAPCTL_SYMBOLS_H
#define HEAPCTL_SYMBOLS_H

#include "processes.h"

struct symbols;

struct symbol {
	char function[512]; /* as it was written; "file+0x12" if it has no name */
	char linkage[256];  /* as the linker knows it */
	char source[256];   /* "": not known */
	int line;
};

struct symbols *symbols_new(const struct processes *processes);
void symbols_free(struct symbols *symbols);

struct symbol symbol_find(struct symbols *symbols, uint32_t file, uint64_t offset);
/* In hex; "" if the file has none. */
void symbol_build_id(struct symbols *symbols, uint32_t file, char text[64]);

#endif
