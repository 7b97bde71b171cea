/* SPDX-License-Identifier: MIT */
/*
 * conditions.c - owns how a process comes into them.
 *
 * A daemon that is away for one client only: in the places of its sockets there are such as nobody has the other end of, which is what
 * the client sees of any daemon's death, and the name by which it would find the daemon again is a link of its own. The daemon
 * sees nothing of that: it would end a process that hangs up. A probe that is looked at: its semaphore, found by
 * the library's symbols, is raised, as the kernel does it.
 */
#include "conditions.h"

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "heapd/session.h"
#include "heapd/sizeclass.h"

#define IMPATIENCE_MS 100u

void fork_and_wait(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	(void)s;
}

void child_allocates(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		use(heapd_alloc(s->heap, 64));
		return;
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

void *ended_at_once(void *arg)
{
	return arg;
}

void thread_come_and_go(struct scene *s)
{
	pthread_t thread;

	if (heapd_thread_create(s->heap, &thread, NULL, ended_at_once, s->object) == 0)
		pthread_join(thread, NULL);
}

/* Whoever is in haste may have to ask a busy daemon more than once. */
static struct node *new_node(struct scene *s)
{
	struct node *n;

	do
		n = heapd_new(s->nodes, struct node);
	while (!n && errno == EAGAIN);
	if (!n)
		errx(1, "%s", heapd_error());
	return n;
}

void prepare_fields(struct scene *s)
{
	s->object = new_node(s);
	s->others[0] = new_node(s);
	s->others[1] = new_node(s);
	heapd_init(&((struct node *)s->others[0])->next, s->stage->node[1]);
	heapd_init(&((struct node *)s->others[0])->other, s->stage->node[2]);
	heapd_init(&((struct node *)s->others[1])->next, s->stage->node[3]);
}

void prepare_detached(struct scene *s)
{
	heapd_detach(s->heap);
}

static void quiet(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

void try_attach(struct scene *s, uint32_t flags)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	o.flags = flags;
	o.report = quiet;
	o.attach_timeout_ms = 300;
	if (heapd_attach(&s->heap, FIXTURE_HEAP, &o) == 0)
		heapd_detach(s->heap);
}

static void name_of(const struct scene *s, char *name, size_t size)
{
	const char *daemon = getenv("HEAPD_SOCKET");

	(void)s;
	snprintf(name, size, "%.*s/%d", (int)(strrchr(daemon, '/') - daemon), daemon, getpid() % 64);
}

void name_remove(const struct scene *s)
{
	char name[108];

	name_of(s, name, sizeof(name));
	unlink(name);
}

static void name_lead(const struct scene *s, const char *daemon)
{
	char name[108];

	name_of(s, name, sizeof(name));
	unlink(name);
	if (symlink(daemon, name) < 0)
		err(1, "%s", name);
}

void name_make(const struct scene *s)
{
	name_lead(s, getenv("HEAPD_SOCKET"));
}

void name_elsewhere(const struct scene *s)
{
	name_lead(s, getenv(CONDITIONS_OTHER));
}

/* Types and what else is known of the heap are the attachment's. */
void attach_anew(struct scene *s, const struct heapd_options *options)
{
	int r;

	heapd_detach(s->heap);
	do
		r = heapd_attach(&s->heap, FIXTURE_HEAP, options);
	while (r == -ETIMEDOUT);
	if (r < 0)
		errx(1, "%s", heapd_error());
	s->nodes = heapd_type_find(s->heap, "node");
	s->flexibles = heapd_type_find(s->heap, "flexible");
	s->watched = heapd_type_find(s->heap, "watched");
	s->leaves = heapd_type_find(s->heap, "leaf");
}

void attach_other(struct scene *s, const char *name, uint32_t flags)
{
	struct heapd_options o = HEAPD_OPTIONS_DEFAULT;

	o.flags = flags;
	o.supply_timeout_ms = o.request_timeout_ms = 2 * IMPATIENCE_MS;
	o.report = quiet;
	heapd_detach(s->heap);
	if (heapd_attach(&s->heap, name, &o) < 0)
		errx(1, "%s: %s", name, heapd_error());
}

/* By a socket's name that is this process's own. */
static void attach_impatient(struct scene *s, void (*report)(void *arg, int kind, const char *text))
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	char name[108];

	name_of(s, name, sizeof(name));
	name_make(s);
	options.socket = name;
	options.report = report;
	options.supply_timeout_ms = options.request_timeout_ms = IMPATIENCE_MS;
	attach_anew(s, &options);
	prepare_fields(s);
}

void prepare_impatient(struct scene *s)
{
	attach_impatient(s, quiet);
}

void prepare_writing(struct scene *s)
{
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (nowhere < 0 || dup2(nowhere, STDERR_FILENO) < 0)
		err(1, "/dev/null");
	attach_impatient(s, NULL);
	prepare_free_wrong(s); /* what is freed twice is none of the witness's size */
}

void prepare_reader(struct scene *s)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.report = quiet;
	options.flags = HEAPD_ATTACH_READ_ONLY;
	attach_anew(s, &options);
	s->object = s->stage->node[1];
	s->others[0] = s->stage->node[2];
	s->others[1] = s->stage->node[3];
}

static bool is_connection(int fd)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

/* The daemon's ends stay connected to copies up there. */
#define COPIES 200

static void socket_end(int fd)
{
	int ends[2], copy = fcntl(fd, F_DUPFD_CLOEXEC, COPIES);

	/* The agent may just have closed it. */
	if (copy < 0 && errno == EBADF)
		return;
	if (copy < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		err(1, "socketpair");
	close(ends[1]);
	dup3(ends[0], fd, O_CLOEXEC);
	close(ends[0]);
}

void sockets_end(void)
{
	for (int fd = 3; fd < COPIES; fd++)
		if (is_connection(fd))
			socket_end(fd);
}

void prepare_absent(struct scene *s)
{
	prepare_impatient(s);
	s->weak = heapd_weak_new(s->heap, s->object);
	sink += (uint64_t)heapd_event_fd(s->heap);
	name_remove(s);
	sockets_end();
}

static unsigned spares_now(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		n += record_here()->spares[i].entry != 0;
	return n;
}

static void *alloc_leaf(struct scene *s, uint64_t bytes)
{
	return heapd_alloc_leaf(s->heap, bytes);
}

static void *alloc_scanned(struct scene *s, uint64_t bytes)
{
	return heapd_alloc(s->heap, bytes);
}

/* Until a batch of the class has more than one slab, and the rest is a spare. */
static void spare_make(struct scene *s, void *(*alloc)(struct scene *s, uint64_t bytes), uint64_t bytes)
{
	unsigned before = spares_now();

	for (unsigned i = 0; spares_now() == before && i < 40 * 64; i++)
		use(alloc(s, bytes));
}

void spares_fill(struct scene *s, unsigned wanted)
{
	for (uint64_t bytes = 16; spares_now() < wanted && bytes <= 600; bytes = bytes * 5 / 4 + 16) {
		uint64_t whole = heapd_sizeclass_size(heapd_sizeclass_of(bytes));

		spare_make(s, alloc_scanned, whole);
		if (spares_now() < wanted)
			spare_make(s, alloc_leaf, whole);
	}
}

/* Probes ----------------------------------------------------------------------------------------------------------- */

static const Elf64_Shdr *symbols_of(const char *file)
{
	const Elf64_Ehdr *e = (const Elf64_Ehdr *)(const void *)file;
	const Elf64_Shdr *section = (const Elf64_Shdr *)(const void *)(file + e->e_shoff);

	for (unsigned i = 0; i < e->e_shnum; i++)
		if (section[i].sh_type == SHT_SYMTAB)
			return &section[i];
	errx(1, "the library has no symbols");
}

static void semaphores_set(const char *file, uint64_t bias, unsigned short value)
{
	const Elf64_Shdr *sections =
				 (const Elf64_Shdr *)(const void *)(file +
								    ((const Elf64_Ehdr *)(const void *)file)
									    ->e_shoff),
			 *symbols = symbols_of(file);
	const Elf64_Sym *symbol = (const Elf64_Sym *)(const void *)(file + symbols->sh_offset);
	const char *names = file + sections[symbols->sh_link].sh_offset;

	for (uint64_t i = 0; i < symbols->sh_size / sizeof(*symbol); i++) {
		const char *name = names + symbol[i].st_name, *tail = strstr(name, "_semaphore");

		if (strncmp(name, "heapd_", 6) == 0 && tail && !tail[10])
			*(volatile unsigned short *)(uintptr_t)(symbol[i].st_value + bias) = value;
	}
}

void probes_set(unsigned short lookers)
{
	struct link_map *map;
	struct stat st;
	Dl_info info;
	char *file;
	int fd;

	if (!dladdr1((const void *)(uintptr_t)&heapd_version, &info, (void **)&map, RTLD_DL_LINKMAP))
		errx(1, "the library is not found");
	fd = open(map->l_name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "%s", map->l_name);
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		err(1, "mmap");
	semaphores_set(file, map->l_addr, lookers);
	munmap(file, (size_t)st.st_size);
	close(fd);
}

void probes_on(void)
{
	probes_set(1);
}

struct heapd_thread *record_here(void)
{
	return (struct heapd_thread *)(void *)heapd_gate_;
}
