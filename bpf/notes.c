/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing. A note says addresses as they were when the file was linked; the program headers say which bytes of the
 * file are mapped there, and uprobes are set on bytes of a file. The file is not trusted: libelf checks the sizes of what
 * it hands out, and a note is read only as far as it is long.
 */
#include "notes.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <string.h>
#include <unistd.h>

#define NOTE_STAPSDT 3u

/* The bytes of the file that are mapped at an address: 0 where there are none. */
static uint64_t offset_of(Elf *elf, uint64_t address)
{
	size_t n = 0;
	GElf_Phdr p;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n; i++)
		if (gelf_getphdr(elf, (int)i, &p) && p.p_type == PT_LOAD && address - p.p_vaddr < p.p_filesz)
			return address - p.p_vaddr + p.p_offset;
	return 0;
}

/* Site, base and semaphore; then provider, name and arguments, each ended by a NUL. */
static int note_match(Elf *elf, const char *desc, size_t size, const char *probe, struct note *note)
{
	const char *provider = desc + 24, *end = desc + size, *name;
	uint64_t words[3];

	if (size < sizeof(words))
		return -ENOENT;
	memcpy(words, desc, sizeof(words));
	name = provider + strnlen(provider, (size_t)(end - provider)) + 1;
	if (name >= end || strcmp(provider, "heapd") != 0 ||
	    strnlen(name, (size_t)(end - name)) == (size_t)(end - name) || strcmp(name, probe) != 0)
		return -ENOENT;
	note->site = offset_of(elf, words[0]);
	note->semaphore = offset_of(elf, words[2]);
	return note->site && note->semaphore ? 0 : -ENOENT;
}

static int section_find(Elf *elf, Elf_Scn *section, const char *probe, struct note *note)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t at = 0, name, desc;
	GElf_Nhdr header;
	int r = -ENOENT;

	while (r < 0 && data && (at = gelf_getnote(data, at, &header, &name, &desc)))
		if (header.n_type == NOTE_STAPSDT)
			r = note_match(elf, (const char *)data->d_buf + desc, header.n_descsz, probe, note);
	return r;
}

static int elf_find(Elf *elf, const char *probe, struct note *note)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	int r = -ENOENT;

	while (r < 0 && (section = elf_nextscn(elf, section)))
		if (gelf_getshdr(section, &header) && header.sh_type == SHT_NOTE)
			r = section_find(elf, section, probe, note);
	return r;
}

int note_find(const char *path, const char *probe, struct note *note)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = -ENOEXEC;
	Elf *elf;

	if (fd < 0)
		return -errno;
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf)
		r = elf_find(elf, probe, note);
	elf_end(elf);
	close(fd);
	return r;
}
