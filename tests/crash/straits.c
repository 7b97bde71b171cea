/* SPDX-License-Identifier: MIT */
/*
 * straits.c - owns the chores of those who have too little: of memory, of room for what they note, of time, or of a keeper that reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "chores.h"
#include "operations.h"

#define STORES  400000u /* more than a thread's ring has room for */
#define NODES   64u
#define WEAKS   64u
#define CLIENTS 20u /* more than a socket takes that nobody reads */
#define SLABS   18000u
#define DEATHS  100u /* more than a heap keeps receipts of */
#define LATES   500u /* types, which a heap has for good */
#define MS      UINT64_C(1000000)

/* At a low limit large objects come and go: memory is short while what is free is being cleared; and then small ones are refused. */
void strait_memory(struct scene *s)
{
	s->patience_ms = 300;
	if (!chore_attach(s, "tight", 0, 0))
		return;
	for (unsigned i = 0; i < 120; i++)
		use(heapd_alloc(s->heap, (uint64_t)(1 + i * 7 % 24) << 17));
	burdens_take_all(s, UINT64_MAX);
}

/*
 * Who does not answer holds up the collection, before it drains what others note. Then it does, for so long: if it ended at
 * once, that would void the cycle.
 */
static pid_t silent_one(struct scene *s, uint64_t answering)
{
	pid_t pid = fork();
	sigset_t all;

	if (pid)
		return pid;
	alarm(5);
	use(heapd_alloc(s->heap, 64));
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	scene_pass(400 * MS);
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
	scene_pass(answering);
	_exit(0);
}

/* More stores than are noted: the next collection's rings are longer. */
void strait_stores(struct scene *s)
{
	heapd_type *nodes;
	struct node *node[NODES];
	pid_t pid;

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	nodes = heapd_type_define(s->heap, "plain node", struct node, next);
	for (unsigned i = 0; i < NODES; i++)
		if (!nodes || !(node[i] = heapd_new(nodes, struct node)))
			return;
	pid = silent_one(s, 0);
	scene_pass(20 * MS);
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(20 * MS);
	for (unsigned i = 0; i < STORES; i++)
		heapd_store(&node[i % NODES]->next, node[i * 7 % NODES]);
	waitpid(pid, NULL, 0);
	for (unsigned i = 0; i < 2; i++)
		sink += (uint64_t)heapd_collect(s->heap);
}

/* What only weak pointers lead to is asked for while it is being given up. */
void strait_weak(struct scene *s)
{
	heapd_weak *weak[WEAKS] = { NULL };

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < WEAKS; i++)
			if (!weak[i] || i % 8 == round % 8)
				weak[i] = heapd_weak_new(s->heap, heapd_alloc(s->heap, 64));
		sink += (uint64_t)heapd_collect_start(s->heap);
		for (unsigned i = 0; i < 40000; i++) {
			heapd_weak **w = &weak[i % WEAKS];

			if (*w && !heapd_weak_get(*w, struct node))
				*w = heapd_weak_new(s->heap, heapd_alloc(s->heap, 64));
		}
	}
}

/* A whole heap, of which no part is left that was never had. */
void strait_whole(struct scene *s)
{
	s->patience_ms = 200;
	if (!chore_attach(s, "checked", 0, 0))
		return;
	for (unsigned i = 0; i < 80; i++)
		if (!heapd_pin(s->heap, heapd_alloc_leaf(s->heap, UINT64_C(2000000))))
			break;
	burdens_take_all(s, UINT64_MAX);
}

/* The daemon's own children, of whichever thread: the processes that take memory together. */
static void children_kill(pid_t daemon)
{
	char path[64];
	pid_t child;
	glob_t tasks;

	snprintf(path, sizeof(path), "/proc/%d/task/*/children", daemon);
	if (glob(path, 0, NULL, &tasks) != 0)
		return;
	for (size_t i = 0; i < tasks.gl_pathc; i++) {
		FILE *file = fopen(tasks.gl_pathv[i], "re");

		while (file && fscanf(file, "%d", &child) == 1)
			kill(child, SIGKILL);
		if (file)
			fclose(file);
	}
	globfree(&tasks);
}

/* Memory grows while none of it can be had as huge pages, but for a moment. */
void strait_small_pages(struct scene *s)
{
	struct fixture fixture = { .daemon = s->board->keeper };

	s->patience_ms = 300;
	if (!fixture.daemon || !chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	for (unsigned i = 0; i < 20; i++) {
		children_kill(fixture_kept_daemon(&fixture));
		use(heapd_pin(s->heap, heapd_alloc_leaf(s->heap, UINT64_C(1200000))));
		scene_pass(10 * MS);
	}
}

/* The keeper ------------------------------------------------------------------------------------------------------- */

/* One that has come, and stays until it is killed. */
static pid_t child_begin(struct scene *s)
{
	int ends[2];
	char c;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		alarm(5);
		use(heapd_alloc(s->heap, 64));
		close(ends[1]);
		scene_pass(4000 * MS);
		_exit(0);
	}
	close(ends[1]);
	while (read(ends[0], &c, 1) < 0 && errno == EINTR)
		;
	close(ends[0]);
	return pid;
}

/* One comes, and leaves. */
static void come_and_go(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(5);
		use(heapd_alloc(s->heap, 64));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

void straits_end(struct scene *s)
{
	if (s->board->deaf && s->board->keeper)
		kill(s->board->keeper, SIGCONT);
	s->board->deaf = 0;
}

/* The keeper reads nothing while many leave: what it is to forget it is told later. */
void strait_deaf(struct scene *s)
{
	pid_t child[CLIENTS];

	if (!s->board->keeper)
		return;
	for (unsigned i = 0; i < CLIENTS; i++)
		child[i] = child_begin(s);
	s->board->deaf = 1;
	kill(s->board->keeper, SIGSTOP);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (child[i] > 0)
			kill(child[i], SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	scene_pass(1300 * MS);
	come_and_go(s);
	straits_end(s);
	scene_pass(20 * MS);
	come_and_go(s);
}

/* More slabs than are counted in one piece; what hangs on the last object. */
static void **slabs_take(struct scene *s)
{
	void **last = NULL;

	for (unsigned i = 0; i < SLABS * 64; i++) {
		void **n = heapd_alloc(s->heap, 16);

		if (!n)
			break;
		heapd_init(n, (void *)last);
		last = n;
	}
	return last;
}

/*
 * More die than are counted before the next collection: of the first of them nobody will know what they kept; of the others it
 * takes long to find out.
 */
void strait_deaths(struct scene *s)
{
	void **last;

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	last = slabs_take(s);
	for (unsigned i = 0; i < DEATHS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			use(heapd_alloc(s->heap, 64));
			raise(SIGKILL);
		}
		waitpid(pid, NULL, 0);
	}
	sink += (uint64_t)heapd_collect(s->heap);
	use(last);
}

/* Where a daemon says to its keeper what it has to say: of its environment, as it was started with it. False: nowhere. */
static bool notify_find(pid_t daemon, struct sockaddr_un *address, socklen_t *length)
{
	static const char word[] = "NOTIFY_SOCKET=@";
	char path[64], *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/environ", daemon);
	file = fopen(path, "re");
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	while (file && !found && getdelim(&line, &room, 0, file) > 0)
		if (strncmp(line, word, strlen(word)) == 0) {
			*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
					      strlen(line + strlen(word)));
			memcpy(address->sun_path + 1, line + strlen(word), strlen(line + strlen(word)));
			found = true;
		}
	if (file)
		fclose(file);
	free(line);
	return found;
}

/* Anybody can say something there; the keeper takes no notice of it, once it reads again. */
static void notify_fill(const struct sockaddr_un *address, socklen_t length)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	while (fd >= 0 && sendto(fd, "", 1, MSG_DONTWAIT, (const struct sockaddr *)address, length) >= 0)
		;
	if (fd >= 0)
		close(fd);
}

/* A daemon comes up while its keeper reads nothing, and has no room for what is said to it: that it is ready is said later. */
void strait_full(struct scene *s)
{
	struct fixture fixture = { .daemon = s->board->keeper };
	struct sockaddr_un address;
	socklen_t length;
	pid_t before;

	if (!fixture.daemon)
		return;
	before = fixture_kept_daemon(&fixture);
	if (!notify_find(before, &address, &length))
		return;
	kill(before, SIGKILL);
	/* The next one is ready some 20 ms after it is there. */
	for (unsigned i = 0; i < 20000 && fixture_kept_daemon(&fixture) == before; i++)
		usleep(100);
	s->board->deaf = 1;
	kill(s->board->keeper, SIGSTOP);
	notify_fill(&address, length);
	scene_pass(600 * MS);
	straits_end(s);
	/* It says so once a second. */
	scene_pass(1500 * MS);
}

/* The daemon and its client die together, and the client's parent waits for neither: the next daemon finds what is left of the process. */
void strait_zombie(struct scene *s)
{
	struct fixture fixture = { .daemon = s->board->keeper };
	pid_t child;

	if (!fixture.daemon)
		return;
	child = child_begin(s);
	kill(fixture_kept_daemon(&fixture), SIGKILL);
	if (child > 0)
		kill(child, SIGKILL);
	scene_pass(800 * MS);
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

/* A type is watched while a collection is under way, and the daemon dies in it: the next one finds both. */
void strait_late(struct scene *s)
{
	struct fixture fixture = { .daemon = s->board->keeper };
	heapd_type *late;
	char name[32];
	unsigned turn;
	pid_t pid;

	if (!fixture.daemon || !chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	pid = silent_one(s, 800 * MS);
	scene_pass(20 * MS);
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(20 * MS);
	turn = s->board->lates++;
	snprintf(name, sizeof(name), "late %u", turn % LATES);
	late = heapd_type_define(s->heap, name, struct node, next);
	/* Every other time the cycle goes on to its end. */
	if (late && heapd_type_watch_dead(late) >= 0 && turn % 2)
		kill(fixture_kept_daemon(&fixture), SIGKILL);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}
