/* SPDX-License-Identifier: MIT */
/*
 * burdens.c - owns the chores that need heaps of other settings than the scene's: one that users have shares of, a hardened one, one
 * that gives out what was freed only after a look.
 *
 * What is counted is not there: in these heaps only a daemon's places count.
 */
#include <alloca.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "chores.h"
#include "operations.h"

#define MIB     (UINT64_C(1) << 20)
#define GREEDY  41000 /* users */
#define MODEST  41001
#define THREADS 120u
#define HELD_MS 700u
#define HIDING  4000u               /* nodes */
#define LARGE   100000u             /* bytes: an object that has a span to itself */
#define CROWD   (UINT64_C(9) << 17) /* words on one thread's stack, which can publish 8 MiB */
#define MANY    1500u /* objects, or fields of one: more than somebody who looks counts as one piece */

const char *const burdens_settings[] = { "heap.shared.Size=64M",
					 "heap.shared.Limit=16M",
					 "heap.shared.UserShare=25%",
					 "heap.shared.GCPercent=100",
					 "heap.shared.AllowUsers=*",
					 "heap.shared.HugePages=never",
					 "heap.hard.Size=64M",
					 "heap.hard.Hardened=yes",
					 "heap.hard.GCPercent=100",
					 "heap.checked.Size=128M",
					 "heap.checked.Free=checked",
					 "heap.checked.GCPercent=auto",
					 "heap.checked.Debug=poison",
					 "heap.checked.StallTimeout=1s",
					 "heap.checked.AllowUsers=root 41000 41001",
					 "heap.checked.ReadOnlyUsers=41002 41003",
					 "heap.checked.AllowGroups=41000",
					 "heap.spoilt.Size=64M",
					 "heap.spoilt.GCPercent=100",
					 "heap." CHORES_UNUSED ".Size=64M",
					 "heap.tight.Size=64M",
					 "heap.tight.Limit=16M",
					 "heap.tight.UserShare=off",
					 "heap.tight.GCPercent=100",
					 "heap.test.MarkerThreads=2",
					 NULL };

/* Shares ------------------------------------------------------------------------------------------------------------- */

/* Holds what it can get, in objects of several sizes, and asks for more. */
void burdens_take_all(struct scene *s, uint64_t most)
{
	static const uint64_t sizes[] = { 64, 3000, 100000, 64, 1000 };
	void ***chain = (void ***)heapd_pin(s->heap, (void **)NULL);
	uint64_t bytes = 0;

	for (unsigned i = 0, refused = 0; chain && refused < 10 && bytes < most; i++) {
		/* After a refusal another size. */
		uint64_t size = sizes[(i / 64 + refused) % 5];
		void **n = heapd_alloc(s->heap, size);

		if (n) {
			heapd_init(n, (void *)*chain);
			heapd_store(chain, n);
		}
		refused += !n;
		bytes += n ? size : 0;
	}
}

static pid_t user_begin(struct scene *s, uid_t uid, uint64_t most)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	s->patience_ms = 100;
	alarm(4);
	if (chore_attach(s, "shared", 0, uid))
		burdens_take_all(s, most);
	usleep(HELD_MS * 1000);
	_exit(0);
}

static void list_users(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		chore_tool("shared", (const char *const[]){ "users", NULL });
		_exit(1);
	}
	waitpid(pid, NULL, 0);
}

/* One user holds all that it can get; then come another one, and one who asks what they have. */
void burden_shares(struct scene *s)
{
	pid_t first = user_begin(s, GREEDY, UINT64_MAX), second;

	usleep(HELD_MS * 1000 / 2);
	second = user_begin(s, MODEST, 3 * MIB);
	list_users();
	waitpid(first, NULL, 0);
	waitpid(second, NULL, 0);
}

/* What others than the scene's heap do with what is freed ------------------------------------------------------------ */

/* In a hardened heap: all kinds of objects, some freed, some whose end is overwritten, and one that is written to when it is free. */
void burden_hardened(struct scene *s)
{
	void *kept[32];

	if (!chore_attach(s, "hard", 0, 0))
		return;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 32; i++) {
			kept[i] = heapd_alloc(s->heap, 16u << i % 14);
			if (kept[i] && i % 7 == 6)
				((volatile char *)kept[i])[heapd_size(kept[i])] = 1;
		}
		for (unsigned i = 0; i < 32; i++)
			if (i % 7 != 6)
				sink += (uint64_t)heapd_free(kept[i]);
		if (kept[3])
			((volatile char *)kept[3])[8] = 1;
		for (unsigned i = 0; i < 200; i++)
			use(heapd_alloc(s->heap, 64));
		sink += (uint64_t)heapd_collect(s->heap);
	}
}

/* Freed while something leads to it still: it is kept, and told. */
void burden_checked(struct scene *s)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	struct node *kept[16];

	if (!chore_attach(s, "checked", 0, 0))
		return;
	for (unsigned i = 0; i < 16; i++) {
		kept[i] = heapd_alloc(s->heap, sizeof(struct node));
		if (!kept[i])
			return;
		use(heapd_pin(s->heap, kept[i]));
		sink += (uint64_t)heapd_free(kept[i]);
		sink += (uint64_t)heapd_free(heapd_alloc(s->heap, 100));
		sink += (uint64_t)heapd_free(kept[i / 2]);
	}
	sink += (uint64_t)heapd_verify(s->heap, &result);
	sink += (uint64_t)heapd_collect(s->heap);
}

/* Freed, and given to others or back to the pages, while something leads to it: a verification finds that, beside a large object. */
void burden_dangling(struct scene *s)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);

	if (!chore_attach(s, "hard", 0, 0))
		return;
	for (unsigned i = 0; i < 200; i++) {
		void *p = heapd_alloc(s->heap, i % 25 ? 200 : LARGE);

		if (!p || !heapd_pin(s->heap, p))
			return;
		sink += (uint64_t)heapd_free(p);
	}
	use(heapd_pin(s->heap, heapd_alloc(s->heap, LARGE)));
	usleep(20000);
	sink += (uint64_t)heapd_verify(s->heap, &result);
}

/* What a client without restartable sequences had in its hands is taken back from its processor. */
void burden_by_swap(struct scene *s)
{
	if (!chore_attach(s, "checked", HEAPD_ATTACH_NO_RSEQ, 0))
		return;
	for (unsigned i = 0; i < 12; i++)
		for (unsigned n = 0; n < 70; n++)
			use(heapd_alloc(s->heap, 16u + 40u * i));
	for (unsigned i = 0; i < 4; i++)
		sink += (uint64_t)heapd_collect(s->heap);
}

static struct node *chain_of(heapd_type *type, unsigned n)
{
	struct node *onto = NULL;

	while (n--) {
		struct node *new = heapd_new(type, struct node);

		if (!new)
			return onto;
		heapd_init(&new->next, onto);
		onto = new;
	}
	return onto;
}

/* Pointers where the type has none, and pointers that were stored plainly, with somebody who looks for them. */
void burden_audited(struct scene *s)
{
	heapd_type *odd;

	setenv("HEAPD_DEBUG", "types,barrier,dangling", 1);
	if (!chore_attach(s, "checked", 0, 0))
		return;
	odd = heapd_type_define(s->heap, "odd", struct node, next);
	if (!odd || !heapd_pin(s->heap, (struct node *)chain_of(odd, MANY)) ||
	    !heapd_pin(s->heap, heapd_new_array(odd, struct node, MANY)))
		return;
	for (unsigned i = 0; i < 8; i++) {
		struct node *n = heapd_new(odd, struct node);

		if (!n || !heapd_pin(s->heap, n))
			break;
		n->word[i % 6] = (uintptr_t)heapd_new(odd, struct node);
		sink += (uint64_t)heapd_free(heapd_new(odd, struct node));
		sink += (uint64_t)heapd_collect(s->heap);
	}
}

/* What only nodes lead to that have not been looked at yet changes places, plainly, with what others lead to: it is hidden then. */
void burden_hidden(struct scene *s)
{
	struct node *node[HIDING];
	heapd_type *hiding;
	unsigned n = 0;

	setenv("HEAPD_DEBUG", "barrier", 1);
	if (!chore_attach(s, "checked", 0, 0))
		return;
	hiding = heapd_type_define(s->heap, "hiding", struct node, next, other);
	while (hiding && n < HIDING && (node[n] = heapd_new(hiding, struct node))) {
		heapd_init(&node[n]->next, heapd_new(hiding, struct node));
		heapd_init(&node[n]->other, n ? node[n - 1] : NULL);
		n++;
	}
	/* Who looks goes by what is certain, which no stack is. */
	if (n < HIDING || !heapd_pin(s->heap, node[n - 1]))
		return;
	for (unsigned round = 0; round < 6; round++) {
		/* What the last round hid is looked for when that cycle ends. */
		if (round)
			sink += (uint64_t)heapd_collect(s->heap);
		sink += (uint64_t)heapd_collect_start(s->heap);
		for (unsigned i = 0; i < 100 * HIDING; i++) {
			void *volatile *a = (void *volatile *)(uintptr_t)&node[i * 7919 % HIDING]->next;
			void *volatile *b =
				(void *volatile *)(uintptr_t)&node[(HIDING - i % HIDING) * 31 % HIDING]->next;
			void *was = *a;

			*a = *b;
			*b = was;
		}
	}
}

/* Clients that answer nobody, of both kinds: who writes is waited for, who only reads is dropped. */
void burden_silent(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (chore_attach(s, "checked", getpid() % 2 ? HEAPD_ATTACH_READ_ONLY : 0, 0)) {
			heapd_gate_enter_(heapd_gate_);
			raise(SIGSTOP);
		}
		_exit(0);
	}
	if (chore_attach(s, "checked", 0, 0)) {
		usleep(20000);
		sink += (uint64_t)heapd_collect_start(s->heap);
		scene_pass(UINT64_C(2500000000));
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* On its stack more heap pointers than it can publish. One that is equal to the last would say nothing. */
static void *crowd_one(void *arg)
{
	struct scene *s = arg;
	char *volatile *words = alloca(CROWD * sizeof(*words));
	char *object = heapd_alloc(s->heap, 64);

	for (uint64_t i = 0; i < CROWD; i++)
		words[i] = object + i % 2 * 8;
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(2500000000));
	return NULL;
}

/* Until it holds less each cycle is void: longer than the daemon waits before it tells of it, and before it acts. */
void burden_crowded(struct scene *s)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (!chore_attach(s, "checked", 0, 0))
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 32 * MIB);
	if (heapd_thread_create(s->heap, &thread, &attr, crowd_one, s) == 0)
		pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
}

/* Freed in no order: a slab has been touched by then, and the next one, and the first again. */
static void scatter(struct scene *s, void **kept, unsigned n)
{
	const unsigned stride = 7919;

	for (unsigned i = 0; i < n; i++)
		kept[i] = heapd_alloc(s->heap, i % 2 ? 64 : 200);
	for (unsigned i = 0; i < n; i++)
		sink += (uint64_t)heapd_free(kept[(uint64_t)i * stride % n]);
}

void burden_scatter(struct scene *s)
{
	const unsigned n = 60000;
	void **kept = calloc(n, sizeof(*kept));

	if (!kept || !chore_attach(s, "hard", 0, 0) || heapd_range_add(s->heap, kept, n * sizeof(*kept)) < 0)
		return;
	scatter(s, kept, n);
	sink += (uint64_t)heapd_range_remove(s->heap, kept);
	free(kept);
}

/* The same, held where nobody looks: what a collection has taken is freed once more, and may be another's by then. */
void burden_loose(struct scene *s)
{
	const unsigned n = 60000;
	void **kept = calloc(n, sizeof(*kept));

	if (!kept || !chore_attach(s, "hard", 0, 0))
		return;
	scatter(s, kept, n);
	free(kept);
}

/* Hands full ----------------------------------------------------------------------------------------------------------- */

struct hoard {
	struct scene *scene;
	pthread_barrier_t full, over;
};

/* Spares of as many classes as a thread has places for. */
static void *hoard_one(void *arg)
{
	struct hoard *h = arg;

	for (unsigned i = 0; i < 10; i++)
		for (unsigned n = 0; n < 400; n++)
			use(heapd_alloc(h->scene->heap, 16u * (1 + i * 3)));
	pthread_barrier_wait(&h->full);
	pthread_barrier_wait(&h->over);
	return NULL;
}

void burden_hoard(struct scene *s)
{
	struct hoard h = { .scene = s };
	pthread_t threads[THREADS];

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	pthread_barrier_init(&h.full, NULL, THREADS + 1);
	pthread_barrier_init(&h.over, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++)
		if (heapd_thread_create(s->heap, &threads[i], NULL, hoard_one, &h) != 0)
			_exit(1);
	pthread_barrier_wait(&h.full);
	sink += (uint64_t)heapd_collect(s->heap);
	pthread_barrier_wait(&h.over);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}
