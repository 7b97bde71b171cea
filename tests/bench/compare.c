/* SPDX-License-Identifier: MIT */
/*
 * compare.c - measures: all contenders in turn, cell by cell, round by round, and writes what came out.
 *
 * compare FOLDER-OF-PROGRAMS RESULTS [SOCKET DAEMON-PID]: tests/bench/run starts the daemon and this. RESULTS.md
 * and RESULTS.json are written.
 *
 * Right because the contenders take turns within each cell, so that what disturbs the machine for a while
 * disturbs all of them, and because who begins changes from round to round.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "report.h"

#define WARM_NS  8000000u
#define RUN_NS   16000000u
#define ATTACHES 200

/* More processes than processors take turns: long enough for several of them. */
static struct bench_request request_make(const struct entrant *e, uint32_t loop, uint32_t size)
{
	uint32_t turns = e->procs > (unsigned)sysconf(_SC_NPROCESSORS_ONLN) ? 2 : 1;

	return (struct bench_request){
		.loop = loop,
		.size = size,
		.procs = e->procs,
		.zero = e->zero,
		.warm_ns = WARM_NS,
		.run_ns = RUN_NS * turns,
	};
}

static void entrant_measure(struct plan *plan, struct results *results, unsigned index, uint32_t loop,
			    size_t size)
{
	const struct entrant *e = &results->entrants[index];
	struct samples *s = &results->samples[index][loop][size];
	struct bench_request request = request_make(e, loop, bench_sizes[size]);

	if (s->failed || !plan_wants_cell(plan, e, loop, bench_sizes[size]))
		return;
	s->failed = contender_ask(&plan->contenders[e->contender], &request, &s->answers[s->n]);
	s->n = s->failed ? 0 : s->n + 1;
	if (s->failed)
		fprintf(stderr, "bench: %s, %u processes, %s, %s: %s\n", e->label, e->procs,
			bench_loop_name(loop), bench_size_name(bench_sizes[size]), strerror(s->failed));
}

static void cells_measure(struct plan *plan, struct results *results, unsigned round)
{
	for (uint32_t loop = 0; loop < BENCH_LOOPS; loop++)
		for (size_t size = 0; size < BENCH_SIZES; size++)
			for (unsigned i = 0; i < results->nentrants; i++)
				entrant_measure(plan, results, (i + round) % results->nentrants, loop, size);
}

static void touch_measure(const struct plan *plan, struct results *results, unsigned huge)
{
	char program[512], socket[128], prepare[] = "prepare", measure[] = "measure";
	char small_heap[] = "touch-never", huge_heap[] = "touch-auto", *heap = huge ? huge_heap : small_heap;
	char *first[] = { program, prepare, socket, heap, NULL },
	     *second[] = { program, measure, socket, heap, NULL };
	unsigned n = results->touch[huge].n;
	double numbers[5];

	snprintf(program, sizeof(program), "%s/touch", plan->programs);
	snprintf(socket, sizeof(socket), "%s", plan->socket);
	if (contender_numbers(first, numbers, 0) < 0 || contender_numbers(second, numbers, 5) != 5)
		return;
	results->touch[huge].first[n] = numbers[0];
	results->touch[huge].warm[n] = numbers[1];
	results->touch[huge].faults[n] = numbers[2];
	if (numbers[3] > results->touch[huge].grown)
		results->touch[huge].grown = numbers[3];
	results->touch[huge].n++;
}

/* In turn with and without attaching, so that both see the same machine. */
static void attach_measure(const struct plan *plan, struct results *results)
{
	char program[512], socket[128], heap[] = "bench";
	char *with[] = { program, socket, heap, NULL }, *without[] = { program, socket, NULL };
	static double call[ATTACHES], whole[ATTACHES], bare[ATTACHES];
	double number;

	snprintf(program, sizeof(program), "%s/attach", plan->programs);
	snprintf(socket, sizeof(socket), "%s", plan->socket);
	results->attach.call = call;
	results->attach.with = whole;
	results->attach.without = bare;
	for (unsigned i = 0; i < ATTACHES; i++) {
		uint64_t before = bench_now(), middle;

		if (contender_numbers(without, &number, 1) != 1)
			return;
		middle = bench_now();
		if (contender_numbers(with, &call[i], 1) != 1)
			return;
		whole[i] = (double)(bench_now() - middle);
		bare[i] = (double)(middle - before);
		results->attach.n = i + 1;
	}
}

static void rounds_measure(struct plan *plan, struct results *results)
{
	for (unsigned round = 0; round < plan->rounds; round++) {
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\rbench: round %u of %u ", round + 1, plan->rounds);
		cells_measure(plan, results, round);
		for (unsigned huge = 0; huge < 2 && plan->socket && plan_wants(plan, "touch"); huge++)
			touch_measure(plan, results, huge);
	}
	if (plan->socket && plan_wants(plan, "attach"))
		attach_measure(plan, results);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%*s\r", 40, "");
}

static double daemon_seconds(const struct plan *plan)
{
	struct timespec t = { 0 };
	clockid_t clock;

	if (plan->daemon && clock_getcpuclockid(atoi(plan->daemon), &clock) == 0)
		clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* After the contenders have ended: of this process, and of what it started and waited for. */
static double own_seconds(const struct plan *plan)
{
	static const int whose[] = { RUSAGE_SELF, RUSAGE_CHILDREN };
	double seconds = daemon_seconds(plan);

	for (size_t i = 0; i < 2; i++) {
		struct rusage u;

		getrusage(whose[i], &u);
		seconds += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			   (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	}
	return seconds;
}

static int results_write(const struct report *report, const char *path)
{
	char name[512];
	FILE *f;

	snprintf(name, sizeof(name), "%s.md", path);
	f = fopen(name, "w");
	if (f) {
		report_text(report, f, true);
		f = fclose(f) ? NULL : f;
	}
	if (f) {
		snprintf(name, sizeof(name), "%s.json", path);
		f = fopen(name, "w");
	}
	if (f) {
		report_json(report, f);
		f = fclose(f) ? NULL : f;
	}
	if (!f)
		fprintf(stderr, "bench: %s: %s\n", name, strerror(errno));
	return f ? 0 : 1;
}

/* A peer may be missing or give up; heapd may not. */
static bool heapd_failed(const struct plan *plan, const struct results *results)
{
	bool failed = strstr(plan->missing, "heapd (") != NULL;

	for (unsigned i = 0; i < results->nentrants; i++)
		for (uint32_t loop = 0; loop < BENCH_LOOPS; loop++)
			for (size_t size = 0; size < BENCH_SIZES; size++)
				failed |= !strcmp(results->entrants[i].name, "heapd") &&
					  results->samples[i][loop][size].failed;
	for (unsigned huge = 0; huge < 2; huge++)
		failed |= plan_wants(plan, "touch") && results->touch[huge].n < plan->rounds;
	return failed || (plan_wants(plan, "attach") && results->attach.n < ATTACHES);
}

int main(int argc, char **argv)
{
	static struct results results;
	static struct plan plan;
	struct report report = { .plan = &plan, .results = &results };
	uint64_t begun = bench_now();
	double busy;
	int r;

	if (argc != 3 && argc != 5) {
		fprintf(stderr, "usage: compare FOLDER RESULTS [SOCKET DAEMON-PID] (make bench starts it)\n");
		return 2;
	}
	plan.programs = argv[1];
	if (argc == 5) {
		plan.socket = argv[3];
		plan.daemon = argv[4];
	}
	if (plan_read(&plan) < 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	machine_read(&report.machine);
	busy = machine_busy() - own_seconds(&plan);
	plan_start(&plan, &results);
	rounds_measure(&plan, &results);
	plan_end(&plan);
	busy = machine_busy() - own_seconds(&plan) - busy;
	report.seconds = (double)(bench_now() - begun) / 1e9;
	report.machine.others = busy / report.seconds / report.machine.processors * 100;
	report_text(&report, stdout, false);
	r = results_write(&report, argv[2]);
	return r || heapd_failed(&plan, &results);
}
