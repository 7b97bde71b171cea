/* SPDX-License-Identifier: MIT */
/*
 * symbols.c - owns the ELF files of sampled code; libdw reads them, and the debug information that goes with them where it
 * is installed. Nothing is asked of the network.
 */
#include "symbols.h"

#include <elfutils/libdwfl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demangle.h"

struct symbols {
	const struct processes *processes;
	Dwfl **dwfls;          /* by file */
	Dwfl_Module **modules; /* NULL: it is no ELF file that can be read */
	bool *looked;
	struct demangler demangler;
};

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
	.section_address = dwfl_offline_section_address,
};

struct symbols *symbols_new(const struct processes *processes)
{
	struct symbols *s = calloc(1, sizeof(*s));
	size_t n = processes->nfiles + 1u;

	if (!s)
		return NULL;
	unsetenv("DEBUGINFOD_URLS");
	s->processes = processes;
	demangler_init(&s->demangler);
	s->dwfls = calloc(n, sizeof(Dwfl *));
	s->modules = calloc(n, sizeof(Dwfl_Module *));
	s->looked = calloc(n, sizeof(*s->looked));
	if (s->dwfls && s->modules && s->looked)
		return s;
	symbols_free(s);
	return NULL;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; s->dwfls && i < s->processes->nfiles; i++)
		if (s->dwfls[i])
			dwfl_end(s->dwfls[i]);
	free(s->dwfls);
	free(s->modules);
	free(s->looked);
	demangler_deinit(&s->demangler);
	free(s);
}

static Dwfl_Module *module_open(struct symbols *s, uint32_t file)
{
	const struct code_file *f = &s->processes->files[file];
	int fd = f->fd >= 0 ? dup(f->fd) : -1;

	if (s->looked[file])
		return s->modules[file];
	s->looked[file] = true;
	s->dwfls[file] = fd >= 0 ? dwfl_begin(&callbacks) : NULL;
	if (s->dwfls[file])
		s->modules[file] = dwfl_report_offline(s->dwfls[file], f->path, f->path, fd);
	if (!s->modules[file] && fd >= 0)
		close(fd);
	if (s->dwfls[file])
		dwfl_report_end(s->dwfls[file], NULL, NULL);
	return s->modules[file];
}

/* Where libdw has laid the byte of the file; 0: nowhere. */
static GElf_Addr address_of(Dwfl_Module *module, uint64_t offset)
{
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(module, &bias);
	GElf_Phdr p;
	size_t n = 0;

	if (!elf || elf_getphdrnum(elf, &n) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (gelf_getphdr(elf, (int)i, &p) && p.p_type == PT_LOAD && offset - p.p_offset < p.p_filesz)
			return offset - p.p_offset + p.p_vaddr + bias;
	return 0;
}

static void symbol_unnamed(const struct symbols *s, uint32_t file, uint64_t offset, struct symbol *symbol)
{
	const char *path = file < s->processes->nfiles ? s->processes->files[file].path : "";
	const char *name = strrchr(path, '/');

	snprintf(symbol->function, sizeof(symbol->function), "%.120s+0x%" PRIx64,
		 name ? name + 1 : "[unknown]", offset);
	snprintf(symbol->linkage, sizeof(symbol->linkage), "%.200s", symbol->function);
}

/* Copies that the compiler made of a function for some of its callers are that function. */
static void clones_strip(char *name)
{
	static const char *const suffixes[] = { ".constprop.", ".isra.", ".part.", ".cold" };

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char *at = strstr(name, suffixes[i]);

		if (at && at != name)
			*at = 0;
	}
}

static void symbol_named(const struct symbols *s, const char *name, struct symbol *symbol)
{
	snprintf(symbol->linkage, sizeof(symbol->linkage), "%s", name);
	clones_strip(symbol->linkage);
	demangle(&s->demangler, symbol->linkage, symbol->function, sizeof(symbol->function));
}

struct symbol symbol_find(struct symbols *s, uint32_t file, uint64_t offset)
{
	Dwfl_Module *module = file < s->processes->nfiles ? module_open(s, file) : NULL;
	GElf_Addr address = module ? address_of(module, offset) : 0;
	const char *name = address ? dwfl_module_addrname(module, address) : NULL, *source = NULL;
	Dwfl_Line *line = address ? dwfl_module_getsrc(module, address) : NULL;
	struct symbol symbol = { .line = 0 };

	if (name)
		symbol_named(s, name, &symbol);
	else
		symbol_unnamed(s, file, offset, &symbol);
	if (line)
		source = dwfl_lineinfo(line, NULL, &symbol.line, NULL, NULL, NULL);
	if (source)
		snprintf(symbol.source, sizeof(symbol.source), "%s", source);
	return symbol;
}

void symbol_build_id(struct symbols *s, uint32_t file, char text[64])
{
	Dwfl_Module *module = file < s->processes->nfiles ? module_open(s, file) : NULL;
	const unsigned char *bits = NULL;
	GElf_Addr where;
	int n = 0;

	text[0] = 0;
	if (module && dwfl_module_getelf(module, &where))
		n = dwfl_module_build_id(module, &bits, &where);
	for (int i = 0; i < n && i < 31; i++)
		snprintf(text + i * 2, 3, "%02x", bits[i]);
}
