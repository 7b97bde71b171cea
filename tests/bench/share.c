/* SPDX-License-Identifier: MIT */
/*
 * share.c - owns the two processes, their clock and the line that is printed.
 *
 * Right because every way builds the same tree, and the sum of the keys that the reader met is compared with what
 * it must be: who loses a node, or shares nothing, fails.
 */
#include "share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the two tell each other: each word has one writer, and is read after a wait for that one. */
struct board {
	uint64_t began, built, first, walked, again;
	double own[2]; /* bytes of builder and reader */
	double shared[2];
};

uint64_t share_key(uint64_t node)
{
	return (node + 1) * 0x9e3779b97f4a7c15ull;
}

void share_fail(const char *what)
{
	fprintf(stderr, "bench: share: %s: %s\n", what, strerror(errno));
	exit(1);
}

void share_tell(struct share *s)
{
	if (!bench_write(s->ready[1], "", 1))
		share_fail("tell");
}

void share_await(struct share *s)
{
	char byte;

	if (!bench_read(s->ready[0], &byte, 1))
		share_fail("wait");
}

/* Resident memory that is this process's alone. */
static double own_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (double)kib * 1024;
}

static uint64_t sum_of(uint64_t nodes)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < nodes; i++)
		sum += share_key(i);
	return sum;
}

static int reader_main(const struct share_way *way, struct share *s, struct board *board)
{
	uint64_t sum = sum_of(s->nodes);
	double before;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	way->begin(s, true);
	before = own_bytes();
	if (way->take(s) != share_key(0))
		return 1;
	board->first = bench_now();
	for (unsigned turn = 0; turn < 2; turn++) {
		if (way->walk(s) != sum) {
			fprintf(stderr, "bench: share: %s: the reader did not meet all nodes\n", way->name);
			return 1;
		}
		*(turn ? &board->again : &board->walked) = bench_now();
	}
	board->own[1] = own_bytes() - before;
	return 0;
}

static void builder_run(const struct share_way *way, struct share *s, struct board *board)
{
	double before;

	way->begin(s, false);
	before = own_bytes();
	board->began = bench_now();
	way->build(s);
	board->built = bench_now();
	way->hand_over(s);
	board->own[0] = own_bytes() - before;
}

static void line_print(const struct share_way *way, uint64_t nodes, const struct board *b)
{
	double n = (double)nodes;

	printf("share %s %lu %.2f %.4f %.2f %.2f %.1f\n", way->name, (unsigned long)nodes,
	       (double)(b->built - b->began) / 1e6, (double)(b->first - b->built) / 1e6,
	       (double)(b->walked - b->first) / n, (double)(b->again - b->walked) / n,
	       (b->own[0] + b->own[1] + b->shared[1] - b->shared[0]) / (1 << 20));
}

int share_run(const struct share_way *way, uint64_t nodes, void *arg)
{
	struct board *board =
		mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct share s = { .nodes = nodes, .arg = arg };
	int status = 0;
	pid_t reader;

	if (board == MAP_FAILED || pipe(s.ready) < 0)
		share_fail("begin");
	s.shared = board->shared;
	reader = fork();
	if (reader < 0)
		share_fail("fork");
	if (reader == 0)
		_exit(reader_main(way, &s, board));
	builder_run(way, &s, board);
	if (waitpid(reader, &status, 0) < 0 || status)
		return 1;
	line_print(way, nodes, board);
	return 0;
}
