/* SPDX-License-Identifier: MIT */
/*
 * course.c - owns the process that an operation is run in, from its fork to its end.
 *
 * The process is a fork of an attached one, hence a client of its own; it prepares, asks to be traced, and stops at an
 * int3 before the operation and at one behind it. Where a debug register is set the trap comes before the instruction:
 * all before it was done, nothing of it.
 *
 * A point is named by its address and by how often the thread has come there, since the numbers of steps differ from run
 * to run (what others did to the heap meanwhile makes another way), but the same place is the same place.
 */
#include "course.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_MAX 8000000u /* attaching takes some 150,000, and one operation does it 27 times */

extern const char crash_begun[], crash_ended[];

#ifdef __clang__
#define SINGLE noinline
#else
#define SINGLE noinline, noclone
#endif

/* Once in this program, for its two marks. */
static void __attribute__((SINGLE)) run_marked(const struct operation *o, struct scene *s)
{
	__asm__ volatile("int3\n\tcrash_begun:\n\t" ::: "memory");
	o->run(s);
	__asm__ volatile("int3\n\tcrash_ended:\n\t" ::: "memory");
}

static void stay_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *run_in_thread(void *stand)
{
	const struct stand *s = stand;

	ptrace(PTRACE_TRACEME, 0, 0, 0);
	__asm__ volatile("int3" ::: "memory");
	s->operation->run(s->scene);
	return NULL;
}

static void run_thread(const struct stand *s)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_in_thread, (void *)(uintptr_t)s) != 0)
		_exit(2);
	pthread_join(thread, NULL);
}

/*
 * The scene is a copy on this stack: objects that an operation works on are held by it, as by any program. In a static
 * variable nothing would hold them, and a collection that comes meanwhile would give them to the witness.
 */
static void run_process(const struct stand *s, pid_t parent)
{
	struct scene scene = *s->scene;
	struct stand stand = *s;

	stand.scene = &scene;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	stay_on(scene.cpu);
	if (s->operation->prepare)
		s->operation->prepare(&scene);
	if (s->operation->where == IN_THREAD)
		run_thread(&stand);
	else if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0)
		run_marked(s->operation, &scene);
	_exit(0);
}

/* Of the process's threads the one that is not the first: the agent's. */
static pid_t agent_of(pid_t pid)
{
	char path[64];
	pid_t found = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	for (struct dirent *e = readdir(dir); e; e = readdir(dir))
		if (atoi(e->d_name) > pid)
			found = atoi(e->d_name);
	closedir(dir);
	return found;
}

/* It waits for a note, in the one call that it comes back to: where that is, its rounds are counted by. */
static bool agent_waits(pid_t pid, pid_t agent)
{
	char path[64];
	long call = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, agent);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%ld", &call) != 1)
		call = -1;
	if (file)
		fclose(file);
	return call == SYS_ppoll;
}

/* The agent is stopped, somewhere in its wait for a note; then the first thread goes on, untraced from now. */
static bool begin_agent(const struct stand *s, struct tracee *t)
{
	pid_t agent = agent_of(t->pid);

	for (unsigned i = 0; agent && !agent_waits(t->pid, agent) && i < 10000; i++)
		usleep(100);
	if (!agent || ptrace(PTRACE_SEIZE, agent, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, agent, 0, 0) < 0)
		return false;
	*t = (struct tracee){ .pid = t->pid, .tid = agent };
	if (tracee_wait(t) < 0 || t->ended || ptrace(PTRACE_DETACH, t->pid, 0, 0) < 0)
		return false;
	t->patience = 2;
	return heapd_collect_start(s->scene->heap) >= 0;
}

/* On until the collector's signal is about to be delivered. */
static bool begin_signal(const struct stand *s, struct tracee *t)
{
	if (heapd_collect_start(s->scene->heap) < 0)
		return false;
	do
		if (tracee_continue(t) < 0 || t->ended)
			return false;
	while (t->signal < SIGRTMIN);
	return true;
}

/* On until it has created a thread, which is the one, and stands at its first instruction; the first thread goes its way. */
static bool begin_created(struct tracee *t)
{
	unsigned long created;

	ptrace(PTRACE_SETOPTIONS, t->tid, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
	do
		if (tracee_continue(t) < 0 || t->ended)
			return false;
	while (t->event != PTRACE_EVENT_CLONE);
	if (ptrace(PTRACE_GETEVENTMSG, t->tid, 0, &created) < 0)
		return false;
	*t = (struct tracee){ .pid = t->pid, .tid = (pid_t)created };
	if (tracee_wait(t) < 0 || t->ended)
		return false;
	t->signal = 0; /* as that of begin_child() */
	t->patience = 2;
	return ptrace(PTRACE_DETACH, t->pid, 0, 0) == 0;
}

/* On until it has forked; then the child is the one, and its parent goes its way. */
static bool begin_child(struct tracee *t, pid_t *parent)
{
	unsigned long child;

	ptrace(PTRACE_SETOPTIONS, t->tid, 0, PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL);
	do
		if (tracee_continue(t) < 0 || t->ended)
			return false;
	while (t->event != PTRACE_EVENT_FORK);
	if (ptrace(PTRACE_GETEVENTMSG, t->tid, 0, &child) < 0)
		return false;
	*parent = t->pid;
	*t = (struct tracee){ .pid = (pid_t)child, .tid = (pid_t)child };
	if (tracee_wait(t) < 0 || t->ended)
		return false;
	t->signal = 0; /* the SIGSTOP that it begins with */
	ptrace(PTRACE_DETACH, *parent, 0, 0);
	return true;
}

/* On, past signals that come before the mark. */
static bool to_mark(struct tracee *t)
{
	int r = tracee_wait(t);

	while (r == 0 && !t->ended && t->signal >= SIGRTMIN)
		r = tracee_continue(t);
	return r == 0 && !t->ended && !t->signal;
}

bool course_begin(const struct stand *s, struct tracee *t, pid_t *parent)
{
	pid_t me = getpid(), pid;
	siginfo_t info;

	*parent = 0;
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		run_process(s, me);
	*t = (struct tracee){ .pid = pid, .tid = pid };
	if (s->operation->where == IN_THREAD) {
		/* Which thread it is the first stop says. */
		while (waitid(P_ALL, 0, &info, WSTOPPED | WEXITED | WNOWAIT | __WALL) < 0 && errno == EINTR)
			;
		t->tid = info.si_pid;
		return t->tid != pid && to_mark(t);
	}
	if (!to_mark(t) || t->at != (uint64_t)(uintptr_t)crash_begun)
		return false;
	switch (s->operation->where) {
	case IN_AGENT:
		return begin_agent(s, t);
	case IN_SIGNAL:
		return begin_signal(s, t);
	case IN_CREATED:
		return begin_created(t);
	case IN_CHILD:
		return begin_child(t, parent);
	default:
		return true;
	}
}

void course_end(struct tracee *t, pid_t parent)
{
	int status;

	if (parent)
		kill(parent, SIGKILL);
	tracee_kill(t);
	if (parent)
		while (waitpid(parent, &status, __WALL) < 0 && errno == EINTR)
			;
}

/* Taking it down -------------------------------------------------------------------------------------------------- */

struct recorder {
	const struct stand *stand;
	struct course *course;
	uint64_t last;
	uint64_t interrupted; /* where a handler returns to */
	uint32_t *came;       /* by place in a small hash: how often */
	uint64_t *places;
	unsigned polls; /* of the agent */
};

#define PLACES (1u << 18)

static uint32_t came_to(struct recorder *r, uint64_t at)
{
	uint32_t i = (uint32_t)(at * 0x9e3779b97f4a7c15ull >> 46);

	while (r->places[i] && r->places[i] != at)
		i = (i + 1) % PLACES;
	r->places[i] = at;
	return ++r->came[i];
}

static void add(struct course *c, struct point point)
{
	if (!(c->n & (c->n - 1)) && (c->n == 0 || c->n >= 1024)) {
		c->points = realloc(c->points, (c->n ? 2 * c->n : 1024) * sizeof(*c->points));
		if (!c->points)
			err(1, "realloc");
	}
	c->points[c->n++] = point;
}

/* All instructions of the sequence, whichever of them this pass came along. */
static void add_sequence(struct recorder *r, const struct sequence *q, uint32_t nth)
{
	for (uint64_t at = q->start; at < q->end; at++)
		if (text_find(r->stand->library, at))
			add(r->course, (struct point){ .at = at, .nth = 1, .entry = nth });
	add(r->course, (struct point){ .at = q->abort, .nth = 1, .entry = nth });
}

static bool pass_sequence(struct tracee *t, const struct sequence *q)
{
	int r;

	tracee_break(t, q->exits, q->nexits);
	do
		r = tracee_continue(t);
	while (r == 0 && !t->ended && t->signal);
	tracee_break(t, NULL, 0);
	return r == 0 && !t->ended;
}

/* A repeated instruction stops at each turn: one place. */
static void take_down(struct recorder *r, uint64_t at)
{
	if (at != r->last)
		add(r->course, (struct point){ .at = at, .nth = came_to(r, at) });
	r->last = at;
}

static bool is_over(struct recorder *r, const struct tracee *t)
{
	switch (r->stand->operation->where) {
	case IN_SIGNAL:
		return t->at == r->interrupted;
	case IN_AGENT:
		/* Comes back to its wait's system call, having been at work in between. */
		return r->course->steps > 200 && t->at == r->interrupted - 2 &&
		       ++r->polls >= r->stand->operation->rounds;
	default:
		return t->at == (uint64_t)(uintptr_t)crash_ended;
	}
}

static bool take(struct recorder *r, struct tracee *t)
{
	const struct sequence *q;
	bool first = true;

	r->interrupted = t->at;
	while (!t->ended && (first || !is_over(r, t))) {
		first = false;
		q = text_sequence(r->stand->library, t->at);
		if (q) {
			add_sequence(r, q, came_to(r, q->start));
			r->last = 0;
			if (!pass_sequence(t, q))
				return false;
			continue;
		}
		if (!t->signal)
			take_down(r, t->at);
		if (++r->course->steps > STEPS_MAX)
			return false;
		if (tracee_step(t) < 0)
			return t->patience; /* the agent, which waits for good */
	}
	/* A thread's way ends with it, the agent's may; all others come back. */
	return !t->ended || r->stand->operation->where == IN_THREAD ||
	       r->stand->operation->where == IN_CREATED || r->stand->operation->where == IN_AGENT;
}

bool course_take(const struct stand *s, struct course *course)
{
	struct recorder r = { .stand = s, .course = course };
	struct tracee t;
	pid_t parent;
	bool ok;

	*course = (struct course){ .n = 0 };
	r.came = calloc(PLACES, sizeof(*r.came));
	r.places = calloc(PLACES, sizeof(*r.places));
	if (!r.came || !r.places)
		err(1, "calloc");
	ok = course_begin(s, &t, &parent) && take(&r, &t);
	course_end(&t, parent);
	free(r.came);
	free(r.places);
	return ok;
}

void course_free(struct course *course)
{
	free(course->points);
	*course = (struct course){ .n = 0 };
}

/* Death ------------------------------------------------------------------------------------------------------------ */

/* On to the nth time that it comes to the address: false if it comes to its end before. */
static bool run_to(struct tracee *t, uint64_t at, uint32_t nth, uint64_t over)
{
	const uint64_t breaks[2] = { at, over };

	if (t->at == at && !t->signal && nth && --nth == 0)
		return true;
	tracee_break(t, breaks, 2);
	for (;;) {
		if (tracee_continue(t) < 0 || t->ended)
			return false;
		if (t->signal)
			continue;
		if (t->at == at && --nth == 0)
			return true;
		if (t->at == over)
			return false;
	}
}

/* Where the operation ends. Of the agent's there is no such place: whoever waits for it waits a while. */
static uint64_t end_of(const struct stand *s, const struct tracee *t)
{
	if (s->operation->where == IN_AGENT)
		return 0;
	return s->operation->where == IN_SIGNAL ? t->at : (uint64_t)(uintptr_t)crash_ended;
}

/* From the sequence's first instruction to the one that is meant; its exits tell if it is not on this pass's way. */
static bool run_into(struct tracee *t, const struct sequence *q, uint64_t at)
{
	uint64_t breaks[TEXT_EXITS];
	size_t n = 0;

	if (t->at == at)
		return true;
	breaks[n++] = at;
	if (at == q->abort) {
		/* The trap that it stands in is what sends it there. */
		tracee_break(t, breaks, 1);
		tracee_break_anew(t);
		return tracee_continue(t) == 0 && !t->ended && t->at == at;
	}
	for (size_t i = 0; i < q->nexits && n < TEXT_EXITS; i++)
		if (q->exits[i] != at)
			breaks[n++] = q->exits[i];
	tracee_break(t, breaks, n);
	do
		if (tracee_continue(t) < 0 || t->ended)
			return false;
	while (t->signal);
	return t->at == at;
}

/* The breakpoint on the first instruction traps at the entry; the stop aborts it, and it comes there once more. */
static bool run_to_point(const struct stand *s, struct tracee *t, const struct point *p)
{
	uint64_t over = end_of(s, t);
	const struct sequence *q = NULL;

	for (size_t i = 0; p->entry && i < s->library->nsequences; i++) {
		const struct sequence *one = &s->library->sequences[i];

		if ((p->at >= one->start && p->at < one->end) || p->at == one->abort)
			q = one;
	}
	if (!q)
		return run_to(t, p->at, p->nth, over);
	for (uint32_t nth = p->entry; nth; nth--) {
		if (!run_to(t, q->start, 1, over))
			return false;
		if (nth > 1 && !pass_sequence(t, q))
			return false;
	}
	return run_into(t, q, p->at);
}

enum outcome course_kill(const struct stand *s, const struct point *point)
{
	enum outcome outcome = STUCK;
	struct tracee t;
	pid_t parent;

	if (course_begin(s, &t, &parent))
		outcome = run_to_point(s, &t, point) ? KILLED : MISSED;
	course_end(&t, parent);
	return outcome;
}

/* Where the first thread is not the one that is traced, its mark ends the process, unless the traced one ends before. */
static bool is_good_end(enum where where, int status)
{
	return status == 0 || ((where == IN_AGENT || where == IN_CREATED) && status == SIGTRAP);
}

/* By itself, with what signals come, its mark passed over, to an end that is a good one. */
static bool run_out(const struct stand *s, struct tracee *t)
{
	tracee_break(t, NULL, 0);
	t->patience = 0;
	while (!t->ended)
		if (t->signal == SIGSEGV || t->signal == SIGBUS || tracee_continue(t) < 0)
			return false;
	return is_good_end(s->operation->where, t->status);
}

/* All of its process, its other threads too: this one stands at its breakpoint, and is not asked. */
static void stop_whole(const struct tracee *t, void (*meanwhile)(void *arg), void *arg)
{
	kill(t->pid, SIGSTOP);
	meanwhile(arg);
	kill(t->pid, SIGCONT);
}

enum outcome course_stop(const struct stand *s, const struct point *point, void (*meanwhile)(void *arg),
			 void *arg)
{
	enum outcome outcome = STUCK;
	struct tracee t;
	pid_t parent;

	if (course_begin(s, &t, &parent)) {
		outcome = run_to_point(s, &t, point) ? KILLED : MISSED;
		if (outcome == KILLED) {
			stop_whole(&t, meanwhile, arg);
			s->scene->board->spin = 1;
			outcome = run_out(s, &t) ? KILLED : STUCK;
			s->scene->board->spin = 0;
		}
	}
	course_end(&t, parent);
	return outcome;
}
