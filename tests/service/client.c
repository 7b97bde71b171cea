/* SPDX-License-Identifier: MIT */
/*
 * client.c - a program that uses a heap as a service's users do, and checks every byte of it.
 *
 * client NAME SECONDS: keeps lists under the root NAME, whose nodes carry sums of themselves; takes from one end what
 * it puts in at the other, reads a list through now and then, and forks now and then a child that reads it, too. Any
 * error of the library, and any byte that is not what was written, ends it with status 1. Its first object is told with the time of
 * day in microseconds, "served=1234567"; at the end it says how much it did, and the longest time that one allocation took:
 * "ops=12345 longest_ms=1.2", and before that each of those that took a millisecond or more: "wait=1.2".
 *
 * client NAME SECONDS calm: forks no children, and rests between looks at its list.
 * client NAME 0 kept: fails if the list is not there. client NAME 0 fill: takes memory until there is no more, which has to be
 * said by ENOMEM, and says how much it was: "filled=123", in MiB.
 */
#include <errno.h>
#include <heapd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LENGTH  2000u
#define PAYLOAD 24u
#define PIECE   4096u
#define WAITS   65536u
#define WAIT_NS 1000000u /* what takes less is no wait for a daemon */
#define CALM_US 50000u
#define FORK_NS \
	400000000u /* between children: deaths make lines in the log, of which there may not be too many */

struct node {
	heapd_ptr(struct node) next;
	uint64_t number, sum, payload[PAYLOAD];
};

struct list {
	heapd_ptr(struct node) first;
	heapd_ptr(struct node) last;
	uint64_t from, to;
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t day_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

static void fail(const char *what)
{
	const char *why = heapd_error();

	printf("client %d: %s: %s\n", getpid(), what, why ? why : "(no error of the library)");
	fflush(stdout);
	_exit(1);
}

static uint64_t word(uint64_t number, unsigned i)
{
	return (number + 1) * 0x9e3779b97f4a7c15u ^ i;
}

static uint64_t sum_of(const struct node *node)
{
	uint64_t sum = node->number;

	for (unsigned i = 0; i < PAYLOAD; i++)
		sum = sum * 31 + node->payload[i];
	return sum;
}

static void node_fill(struct node *node, uint64_t number)
{
	node->number = number;
	for (unsigned i = 0; i < PAYLOAD; i++)
		node->payload[i] = word(number, i);
	node->sum = sum_of(node);
}

static void node_check(const struct node *node, uint64_t number)
{
	if (node->number != number || node->sum != sum_of(node) ||
	    node->payload[PAYLOAD - 1] != word(number, PAYLOAD - 1))
		fail("a node is not what was written");
}

static void list_check(struct list *list)
{
	uint64_t number = list->from;

	for (struct node *node = heapd_load(&list->first); node; node = heapd_load(&node->next))
		node_check(node, number++);
	if (number != list->to)
		fail("the list has another length than it should have");
}

/* What an application sees of a daemon that is away. */
static struct {
	uint64_t longest;
	double all[WAITS]; /* ms */
	unsigned n;
} waits;

static void wait_note(uint64_t ns)
{
	if (ns > waits.longest)
		waits.longest = ns;
	if (ns >= WAIT_NS && waits.n < WAITS)
		waits.all[waits.n++] = (double)ns / 1e6;
}

static void waits_print(void)
{
	for (unsigned i = 0; i < waits.n; i++)
		printf("wait=%.1f\n", waits.all[i]);
}

static struct node *node_new(heapd_type *nodes)
{
	uint64_t begin = now_ns();
	struct node *node = heapd_new(nodes, struct node);

	if (!node)
		fail("no object");
	wait_note(now_ns() - begin);
	return node;
}

static void list_append(struct list *list, struct node *node)
{
	struct node *last = heapd_load(&list->last);

	node_fill(node, list->to);
	if (last)
		heapd_store(&last->next, node);
	else
		heapd_store(&list->first, node);
	heapd_store(&list->last, node);
	list->to++;
}

static void list_drop(struct list *list)
{
	struct node *first = heapd_load(&list->first);

	node_check(first, list->from);
	heapd_store(&list->first, heapd_load(&first->next));
	list->from++;
}

static void read_in_child(struct list *list)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		list_check(list);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		fail("a forked child");
}

static struct list *list_open(heapd_heap *heap, heapd_type *lists, const char *name)
{
	struct list *list = heapd_root(heap, name, struct list, lists);

	if (!list)
		fail("no root");
	list_check(list);
	return list;
}

/* All of it hangs on this stack. */
static void fill(heapd_heap *heap)
{
	struct piece {
		struct piece *next;
	} *first = NULL, *piece;
	uint64_t n = 0;

	while ((piece = heapd_alloc(heap, PIECE))) {
		memset(piece, 0x5a, PIECE);
		piece->next = first;
		first = piece;
		n++;
	}
	if (errno != ENOMEM)
		fail("it is not for lack of memory that there is none");
	printf("filled=%llu\n", (unsigned long long)(n * PIECE >> 20));
}

static bool asked(int argc, char **argv, const char *what)
{
	return argc == 4 && strcmp(argv[3], what) == 0;
}

int main(int argc, char **argv)
{
	uint64_t end, forked = now_ns(), ops = 0;
	heapd_heap *heap;

	if (argc < 3 || argc > 4)
		return 2;
	signal(SIGTERM, on_signal);
	end = now_ns() + strtoull(argv[2], NULL, 10) * 1000000000u;
	if (heapd_attach(&heap, "default", NULL) < 0)
		fail("attach");
	heapd_type *nodes = heapd_type_define(heap, "service.node", struct node, next);
	heapd_type *lists = heapd_type_define(heap, "service.list", struct list, first, last);
	if (!nodes || !lists)
		fail("type");
	if (asked(argc, argv, "fill")) {
		fill(heap);
		heapd_detach(heap);
		return 0;
	}
	bool calm = asked(argc, argv, "calm");
	struct list *list = list_open(heap, lists, argv[1]);
	if (asked(argc, argv, "kept") && !list->to)
		fail("the list is gone");
	do {
		list_append(list, node_new(nodes));
		if (!ops)
			printf("served=%llu\n", (unsigned long long)day_us());
		if (list->to - list->from > LENGTH)
			list_drop(list);
		if (++ops % LENGTH != 0)
			continue;
		list_check(list);
		if (calm)
			usleep(CALM_US);
		else if (now_ns() - forked > FORK_NS) {
			read_in_child(list);
			forked = now_ns();
		}
	} while (!ended && now_ns() < end);
	list_check(list);
	waits_print();
	printf("ops=%llu longest_ms=%.1f\n", (unsigned long long)ops, (double)waits.longest / 1e6);
	heapd_detach(heap);
	return 0;
}
