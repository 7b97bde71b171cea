/* SPDX-License-Identifier: MIT */
/*
 * The daemon runs out: shortage [--most N | --step N]
 *
 * A daemon is started, used and ended, again and again, its nth use of memory failing, or its nth call (fail.so), for every n
 * that such a run comes to; once, and with all that follow failing, too. It either starts or says why not. A client gets what
 * it asks for, or an error with a sentence. Nobody crashes or hangs. After a single failure all is as before: another client
 * is served in full, the heap is clean, and the daemon ends as it was told to.
 *
 * --most: as many n of each kind, as HEAPD_TEST_SEED says. --step: each Nth n, from 1 on.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "heapd.h"
#include "interpose/fail.h"

#define BOUND_S     30  /* no step of a run takes longer */
#define PATIENCE_MS 500 /* of a client */

struct run {
	struct fixture fixture; /* as far as clients need it */
	struct fail *fail;
	char state[128];
	unsigned most, step;
	uint64_t seed, runs, unstarted, refused;
};

static const int errors[] = { ENOMEM, EMFILE, EINTR, EIO, EAGAIN };

static _Noreturn void fault(const struct run *run, const char *what, int status)
{
	char *text = fixture_log(&run->fixture);

	fprintf(stderr, "-- the daemon's log:\n%s--\n", text);
	errx(1, "%s %u failing%s (%s): %s (status 0x%x)",
	     run->fail->kind == FAIL_MEMORY ? "use of memory" : "call", run->fail->at,
	     run->fail->for_good ? " for good" : "", strerrorname_np(run->fail->error), what,
	     (unsigned)status);
}

/* The daemon ----------------------------------------------------------------------------------------------------------- */

static _Noreturn void daemon_exec(const struct run *run)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char program[4096], preload[4096], config[128];
	int log = open(run->fixture.log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);

	snprintf(program, sizeof(program), "%s/heapd", build ? build : "build");
	snprintf(preload, sizeof(preload), "%s/crash/fail.so", build ? build : "build");
	snprintf(config, sizeof(config), "--config=%s", run->fixture.config);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("LD_PRELOAD", preload, 1);
	setenv("HEAPD_FAIL", run->state, 1);
	if (log >= 0 && dup2(log, 2) >= 0 && dup2(log, 1) >= 0)
		execl(program, "heapd", config, (char *)NULL);
	_exit(127);
}

/* Its status, or -ETIMEDOUT. */
static int ended(pid_t pid)
{
	uint64_t end = fixture_now_ns() + BOUND_S * UINT64_C(1000000000);
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (fixture_now_ns() > end)
			return -ETIMEDOUT;
		usleep(500);
	}
	return status;
}

/* It has its socket before it is: a connection alone says nothing. */
static bool is_ready(const struct run *run)
{
	char *text = fixture_log(&run->fixture);
	bool ready = strstr(text, "ready: ");

	free(text);
	return ready;
}

static void has_said_why(const struct run *run, int status)
{
	char *text = fixture_log(&run->fixture);

	if (!WIFEXITED(status) || !WEXITSTATUS(status) || !*text)
		fault(run, "it does not start, and does not say why", status);
	free(text);
}

/* False: it could not start, and said so. */
static bool daemon_start(struct run *run)
{
	uint64_t end = fixture_now_ns() + BOUND_S * UINT64_C(1000000000);
	int status;

	unlink(run->fixture.socket);
	unlink(run->fixture.log);
	run->fixture.daemon = fork();
	if (run->fixture.daemon == 0)
		daemon_exec(run);
	while (!is_ready(run)) {
		if (waitpid(run->fixture.daemon, &status, WNOHANG) == run->fixture.daemon) {
			has_said_why(run, status);
			run->unstarted++;
			return false;
		}
		if (fixture_now_ns() > end)
			fault(run, "it neither starts nor ends", 0);
		usleep(500);
	}
	return true;
}

static void daemon_end(struct run *run)
{
	int status;

	kill(run->fixture.daemon, SIGTERM);
	status = ended(run->fixture.daemon);
	if (status == -ETIMEDOUT) {
		kill(run->fixture.daemon, SIGKILL);
		fault(run, "it does not end", 0);
	}
	if (WIFSIGNALED(status) || (!run->fail->for_good && WEXITSTATUS(status)))
		fault(run, "it does not end well", status);
}

/* Clients -------------------------------------------------------------------------------------------------------------- */

/* 3: it was refused, with a sentence; 1: without. */
static int refused(const char *what)
{
	const char *why = heapd_error();

	printf("%s: %s\n", what, why);
	return *why ? 3 : 1;
}

static void quiet(void *arg, int kind, const char *text)
{
	(void)arg, (void)kind, (void)text;
}

static int fill(heapd_heap *heap, void **table)
{
	for (unsigned i = 0; i < 300; i++) {
		void *p = heapd_alloc(heap, 16u << (i % 11));

		if (!p)
			return refused("alloc");
		if (i % 3 == 0)
			heapd_free(p);
		else
			heapd_store(&table[i % 64], p);
	}
	return heapd_alloc(heap, 200000) ? 0 : refused("large");
}

static int use(void *for_good)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	heapd_heap *heap;
	void **table;
	int r = 0;

	alarm(BOUND_S);
	options.report = quiet;
	options.supply_timeout_ms = options.request_timeout_ms = PATIENCE_MS;
	if (heapd_attach(&heap, FIXTURE_HEAP, &options) < 0)
		return refused("attach");
	table = heapd_alloc(heap, 64 * sizeof(*table));
	if (!table)
		return refused("alloc");
	r = fill(heap, table);
	if (r == 0 && heapd_root_set(heap, "table", table) < 0)
		r = refused("root");
	/* One that cannot come to an end is waited for. */
	if (r == 0 && (for_good ? heapd_collect_start(heap) : heapd_collect(heap)) < 0)
		r = refused("collect");
	if (heapd_detach(heap) < 0 && r == 0)
		r = refused("detach");
	return r;
}

/* Whether the one that fails has been by now. */
static bool is_over(const struct run *run)
{
	return !run->fail->for_good && (!run->fail->at || run->fail->count >= run->fail->at);
}

static void client(struct run *run)
{
	bool must_succeed = is_over(run);
	pid_t pid = fixture_client_fork(use, run->fail->for_good ? run : NULL);
	int status, r = ended(pid);

	if (waitpid(run->fixture.daemon, &status, WNOHANG) == run->fixture.daemon)
		fault(run, "the daemon has ended", status);
	if (r == -ETIMEDOUT || WIFSIGNALED(r))
		fault(run, "a client hangs, or is ended", r);
	if (WEXITSTATUS(r) == 3 && !must_succeed)
		run->refused++;
	else if (WEXITSTATUS(r))
		fault(run, "a client gets an error", r);
}

/* Runs ----------------------------------------------------------------------------------------------------------------- */

static void all_is_well(struct run *run)
{
	int64_t faults;
	bool over;

	client(run);
	over = is_over(run);
	faults = fixture_verify(&run->fixture, FIXTURE_HEAP);
	if (faults < 0 && !over)
		faults = fixture_verify(&run->fixture, FIXTURE_HEAP);
	if (faults)
		fault(run, "the heap is not clean", 0);
}

/* How many uses there were. */
static uint32_t run_failing(struct run *run, enum fail_kind kind, uint32_t at, bool for_good)
{
	int error = errors[at % 5];

	/* A call that is interrupted is made again, which for good is for ever. */
	if (for_good && error == EINTR)
		error = EMFILE;
	*run->fail = (struct fail){ kind, at, for_good, error, 0 };
	run->runs++;
	if (!daemon_start(run))
		return run->fail->count;
	client(run);
	if (!for_good)
		all_is_well(run);
	daemon_end(run);
	return run->fail->count;
}

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void run_kind(struct run *run, enum fail_kind kind)
{
	uint32_t all = run_failing(run, kind, 0, false), n = run->most ? run->most : all;

	for (uint32_t i = 1; i <= n; i += run->step) {
		uint32_t at = run->most ? 1 + (uint32_t)(draw(&run->seed) % all) : i;

		run_failing(run, kind, at, false);
		run_failing(run, kind, at, true);
	}
	printf("%s: %u in a run; %" PRIu64 " runs, the daemon did not start in %" PRIu64
	       ", clients were refused something in %" PRIu64 "\n",
	       kind == FAIL_MEMORY ? "memory" : "calls", all, run->runs, run->unstarted, run->refused);
	fflush(stdout);
}

static void prepare(struct run *run)
{
	struct fixture *f = &run->fixture;
	int fd;
	FILE *file;

	strcpy(f->dir, "/tmp/heapd-shortage-XXXXXX");
	if (!mkdtemp(f->dir))
		err(1, "mkdtemp");
	snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	snprintf(f->config, sizeof(f->config), "%s/conf", f->dir);
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	snprintf(run->state, sizeof(run->state), "%s/state", f->dir);
	setenv("HEAPD_SOCKET", f->socket, 1);
	file = fopen(f->config, "we");
	if (!file)
		err(1, "%s", f->config);
	fprintf(file,
		"[Daemon]\nSocket=%s\nLogTarget=console\n[Heap %s]\nSize=64M\nHugePages=never\nGCPercent=100\n",
		f->socket, FIXTURE_HEAP);
	fclose(file);
	fd = open(run->state, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*run->fail)) < 0)
		err(1, "%s", run->state);
	run->fail = mmap(NULL, sizeof(*run->fail), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (run->fail == MAP_FAILED)
		err(1, "mmap");
}

static void clean(const struct run *run)
{
	unlink(run->fixture.socket);
	unlink(run->fixture.config);
	unlink(run->fixture.log);
	unlink(run->state);
	rmdir(run->fixture.dir);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "most", required_argument, NULL, 'm' },
						 { "step", required_argument, NULL, 's' },
						 { 0 } };
	static struct run run = { .step = 1 };
	int c, status;
	pid_t pid;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if ((c != 'm' && c != 's') || atoi(optarg) < 1)
			exit(2);
		*(c == 'm' ? &run.most : &run.step) = (unsigned)atoi(optarg);
	}
	run.seed = fixture_seed() | 1;
	prepare(&run);
	/* Whatever happens in there, nothing is left. */
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_kind(&run, FAIL_MEMORY);
		run_kind(&run, FAIL_CALL);
		fflush(NULL);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	clean(&run);
	return status != 0;
}
