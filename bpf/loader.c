/* SPDX-License-Identifier: MIT */
/*
 * Owns the BPF programs' file descriptors and links: all end with the process, however it ends.
 *
 * Two kinds of link. uprobe_multi (kernel 6.6) needs CAP_BPF and CAP_PERFMON alone; libbpf 1.1 does not know it, so the
 * system call is made here, with the kernel's structure written out. Else libbpf's USDT, which makes a perf event for each
 * probe. Both are told where the semaphore is, and the kernel counts it up in every process that maps the file, whenever it
 * does. Neither has to know where arguments lie: a site is the first instruction of a function, which is called with them.
 *
 * Once attached, reading maps by descriptors that are open needs no capability.
 */
#include "loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heapd.skel.h"
#include "notes.h"

#define LINK_CREATE        28
#define TRACE_UPROBE_MULTI 48
#define PROGRAMS           6

/* union bpf_attr of BPF_LINK_CREATE for such a link (linux/bpf.h of 6.6 on). */
struct link_create {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t count, multi_flags, pid, unused;
};

struct loader {
	struct heapd_bpf *skeleton;
	int cpus;
	struct link {
		int fd;                /* of an uprobe_multi link; -1 */
		struct bpf_link *usdt; /* of libbpf's; NULL */
	} links[PROGRAMS * INSTALLED_GENERATIONS];
	unsigned n;
};

static int multi_attach(struct bpf_program *program, const char *path, int *link)
{
	struct note note;
	struct link_create attr = {
		.prog_fd = (uint32_t)bpf_program__fd(program),
		.attach_type = TRACE_UPROBE_MULTI,
		.path = (uint64_t)(uintptr_t)path,
		.offsets = (uint64_t)(uintptr_t)&note.site,
		.ref_ctr_offsets = (uint64_t)(uintptr_t)&note.semaphore,
		.count = 1,
	};
	int r = note_find(path, bpf_program__name(program), &note);

	if (r < 0)
		return r;
	*link = (int)syscall(SYS_bpf, LINK_CREATE, &attr, sizeof(attr));
	return *link < 0 ? -errno : 0;
}

static int usdt_attach(struct bpf_program *program, const char *path, struct bpf_link **link)
{
	*link = bpf_program__attach_usdt(program, -1, path, "heapd", bpf_program__name(program), NULL);
	return *link ? 0 : -errno;
}

/* A path names a file that was opened, whatever has its place now. */
static int attach_one(struct loader *loader, struct bpf_program *program, int fd, bool multi)
{
	struct link *link = &loader->links[loader->n];
	char path[32];
	int r;

	if (fd < 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*link = (struct link){ .fd = -1 };
	r = multi ? multi_attach(program, path, &link->fd) : usdt_attach(program, path, &link->usdt);
	if (r == 0)
		loader->n++;
	return r;
}

/* What is installed now must have each probe; what was before an upgrade is looked at as far as it has them. */
static int attach(struct loader *loader, const struct installed *installed, bool multi)
{
	const struct heapd_bpf *s = loader->skeleton;
	struct {
		struct bpf_program *program;
		enum installed_which which;
	} all[PROGRAMS] = {
		{ s->progs.pause, INSTALLED_LIBRARY },
		{ s->progs.handshake__end, INSTALLED_DAEMON },
		{ s->progs.phase__end, INSTALLED_DAEMON },
		{ s->progs.alloc__slow__end, INSTALLED_LIBRARY },
		{ s->progs.supply__wait__end, INSTALLED_LIBRARY },
		{ s->progs.sample, INSTALLED_LIBRARY },
	};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < PROGRAMS; i++) {
		const struct installed_file *file = &installed->files[all[i].which];

		r = attach_one(loader, all[i].program, file->fds[0], multi);
		for (unsigned old = 1; r == 0 && old < file->n; old++)
			attach_one(loader, all[i].program, file->fds[old], multi);
	}
	return r;
}

static int load(struct loader *loader, bool multi)
{
	struct bpf_program *program;
	int r;

	loader->skeleton = heapd_bpf__open();
	if (!loader->skeleton)
		return -errno;
	if (multi)
		bpf_object__for_each_program(program, loader->skeleton->obj)
			bpf_program__set_expected_attach_type(program,
							      (enum bpf_attach_type)TRACE_UPROBE_MULTI);
	r = heapd_bpf__load(loader->skeleton);
	return r < 0 ? r : 0;
}

static struct loader *loader_new(void)
{
	struct loader *loader = calloc(1, sizeof(*loader));

	if (loader)
		loader->cpus = libbpf_num_possible_cpus();
	return loader;
}

void loader_stop(struct loader *loader)
{
	if (!loader)
		return;
	for (unsigned i = 0; i < loader->n; i++) {
		if (loader->links[i].fd >= 0)
			close(loader->links[i].fd);
		bpf_link__destroy(loader->links[i].usdt);
	}
	heapd_bpf__destroy(loader->skeleton);
	free(loader);
}

static int start(struct loader **loader, const struct installed *installed, bool multi)
{
	int r;

	*loader = loader_new();
	if (!*loader)
		return -ENOMEM;
	r = load(*loader, multi);
	if (r == 0)
		r = attach(*loader, installed, multi);
	if (r == 0)
		return 0;
	loader_stop(*loader);
	*loader = NULL;
	return r;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level, (void)format, (void)args;
	return 0;
}

int loader_start(struct loader **loader, const struct installed *installed, enum loader_links links,
		 const char **how)
{
	int r = -ENOSYS;

	libbpf_set_print(quiet);
	*how = "uprobe_multi";
	if (links != LOADER_USDT)
		r = start(loader, installed, true);
	if (r < 0 && r != -ENOENT && links != LOADER_MULTI) {
		*how = "usdt";
		r = start(loader, installed, false);
	}
	if (r < 0)
		*how = "none";
	return r;
}

void loader_read(const struct loader *loader, const struct distribution_key *key, struct distribution *sum)
{
	struct distribution *each = loader && loader->cpus > 0 ? calloc((size_t)loader->cpus, sizeof(*each))
							       : NULL;

	*sum = (struct distribution){ 0 };
	if (each && bpf_map__lookup_elem(loader->skeleton->maps.distributions, key, sizeof(*key), each,
					 sizeof(*each) * (size_t)loader->cpus, 0) == 0)
		for (int cpu = 0; cpu < loader->cpus; cpu++) {
			sum->count += each[cpu].count;
			sum->sum += each[cpu].sum;
			for (unsigned i = 0; i < DISTRIBUTION_BUCKETS; i++)
				sum->buckets[i] += each[cpu].buckets[i];
		}
	free(each);
}

struct loader_site *loader_sites(const struct loader *loader, unsigned *n)
{
	const struct bpf_map *map = loader ? loader->skeleton->maps.sites : NULL;
	struct loader_site *all = map ? calloc(SITES_MAX, sizeof(*all)) : NULL;
	const struct site_key *last = NULL;

	for (*n = 0; all && *n < SITES_MAX; last = &all[(*n)++].key) {
		struct loader_site *site = &all[*n];

		if (bpf_map__get_next_key(map, last, &site->key, sizeof(site->key)) < 0)
			break;
		bpf_map__lookup_elem(map, &site->key, sizeof(site->key), &site->site, sizeof(site->site), 0);
	}
	return all;
}

static unsigned long long lost_read(const struct loader *loader, unsigned what)
{
	unsigned long long sum = 0, *each = calloc((size_t)loader->cpus, sizeof(*each));

	if (each && bpf_map__lookup_elem(loader->skeleton->maps.lost, &what, sizeof(what), each,
					 sizeof(*each) * (size_t)loader->cpus, 0) == 0)
		for (int cpu = 0; cpu < loader->cpus; cpu++)
			sum += each[cpu];
	free(each);
	return sum;
}

struct loader_lost loader_lost(const struct loader *loader)
{
	if (!loader || loader->cpus <= 0)
		return (struct loader_lost){ 0 };
	return (struct loader_lost){ lost_read(loader, SITE_LOST_ROOM), lost_read(loader, SITE_LOST_STACK) };
}
