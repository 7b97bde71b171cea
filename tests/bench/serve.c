/* SPDX-License-Identifier: MIT */
/*
 * serve.c - owns a contender's standard input and output.
 *
 * Right because a request is answered before the next is read: one measurement at a time.
 */
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int bench_serve(const char *nworkers, const char *daemon, const struct bench_trade *trade,
		struct bench_hello *hello, void (*opened)(void))
{
	struct bench_request request;
	struct crew *crew;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	crew = crew_start((unsigned)atoi(nworkers), trade);
	if (!crew)
		hello->failed = (uint64_t)errno;
	if (opened)
		opened();
	if (!bench_write(STDOUT_FILENO, hello, sizeof(*hello)) || !crew)
		return 1;
	while (bench_read(STDIN_FILENO, &request, sizeof(request))) {
		struct bench_answer answer = { 0 };

		answer.failed = (uint64_t)crew_run(crew, &request, atoi(daemon), &answer);
		if (!bench_write(STDOUT_FILENO, &answer, sizeof(answer)))
			break;
	}
	crew_stop(crew);
	return 0;
}
