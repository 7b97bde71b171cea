/* SPDX-License-Identifier: MIT */
/* crowd.c - owns those who come, do one thing, and leave or die: beside a daemon that is killed at its stores. */
#include "crowd.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chores.h"

/* Either an operation or a chore; who does not come to its end is killed. */
struct errand {
	const struct operation *operation;
	const struct chore *chore;
	bool die;
};

static const struct chore *chore_find(const char *name)
{
	for (unsigned i = 0; i < scene_nchores; i++)
		if (strcmp(scene_chores[i].name, name) == 0)
			return &scene_chores[i];
	errx(2, "there is no chore '%s'", name);
}

static struct errand draw_errand(const struct crowd *crowd, uint64_t *random)
{
	struct errand e = { .operation = &scene_operations[crowd_draw(random) % scene_noperations] };

	e.die = crowd_draw(random) % 2;
	if (crowd_draw(random) % 4 == 0)
		e.chore = &scene_chores[crowd_draw(random) % scene_nchores];
	else if (e.operation->where != IN_MAIN && e.operation->where != IN_THREAD)
		e.chore = &scene_chores[0];
	if (crowd->chore)
		e.chore = chore_find(crowd->chore);
	return e;
}

static void run_errand(struct scene *s, const struct errand *e)
{
	alarm(10);
	if (e->chore) {
		e->chore->run(s);
	} else {
		if (e->operation->prepare)
			e->operation->prepare(s);
		e->operation->run(s);
	}
	if (e->die)
		raise(SIGKILL);
	_exit(0);
}

int crowd_run(void *arg)
{
	struct crowd *crowd = arg;
	struct crowd_words *words = crowd->words;
	uint64_t random = crowd->seed;

	signal(SIGCHLD, SIG_DFL);
	while (!crowd->scene->board->stop) {
		struct errand e = draw_errand(crowd, &random);
		pid_t me = getpid(), pid;

		if (words->rest) {
			/* Old words of its stack would keep what they lead to. */
			if (words->rest == 1 && heapd_thread_detach(crowd->scene->heap) < 0)
				errx(1, "%s", heapd_error());
			words->rest = 2;
			usleep(1000);
			continue;
		}
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != me || !freopen("/dev/null", "w", stderr))
				_exit(1);
			run_errand(crowd->scene, &e);
		}
		waitpid(pid, NULL, 0);
		straits_end(crowd->scene);
		if (crowd->scene->board->scarce % 2)
			chores_clear(crowd->scene);
		if (e.chore || e.operation->seconds)
			words->tickets = 1;
		if (words->left && --words->left == 0)
			words->done = 1;
	}
	return 0;
}
