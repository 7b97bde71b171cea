/* SPDX-License-Identifier: MIT */
/*
 * Collections with a real daemon and real clients: what each kind of root holds, what comes back, and what a
 * client that dies, is stopped, or fills the heap can and cannot do to the others.
 *
 * What is still there is told by weak means: objects carry a value that no other has, and slots that were taken
 * back are zeroed or carry another's. Bytes allocated come from the daemon's verification.
 */
#include "collected.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <unistd.h>

#include "asleep.h"

#define MIB (1ul << 20)

struct node {
	heapd_ptr(struct node) next;
	uint64_t value;
	uint64_t pad[6];
};

static heapd_type *nodes;

static void collected_start(const char *const *more)
{
	const char *settings[16] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off" };
	unsigned n = 2;

	while (more && *more)
		settings[n++] = *more++;
	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, next);
	ck_assert_ptr_nonnull(nodes);
}

static void setup(void)
{
	collected_start(NULL);
}

static struct node *node_new(uint64_t value, struct node *next)
{
	struct node *n = heapd_new(nodes, struct node);

	ck_assert_msg(n != NULL, "%s", heapd_error());
	n->value = value;
	heapd_init(&n->next, next);
	return n;
}

static uint64_t allocated(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_assert_msg(heapd_verify(heap, &v) == 0, "%s", v.first);
	return v.allocated;
}

/* Many slots are used anew: whatever was taken back by mistake is overwritten. */
static void churn(void)
{
	for (unsigned i = 0; i < 20000; i++)
		node_new(0xbad, NULL);
	collect();
	for (unsigned i = 0; i < 20000; i++)
		node_new(0xbad, NULL);
}

static __attribute__((noinline)) void list_drop(unsigned n)
{
	struct node *list = NULL;

	for (unsigned i = 0; i < n; i++)
		list = node_new(i, list);
	heapd_keep(list);
}

START_TEST(unreachable_comes_back)
{
	uint64_t before = allocated();

	/* Less than a cycle begins for by itself. */
	list_drop(50000);
	ck_assert_uint_ge(allocated(), before + 3 * MIB);
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 64 * 1024);
}
END_TEST

/* Each way to hold an object; what it gives back is what holds it, if that is not a local variable of the test. */
static void *holder;

static __attribute__((noinline)) void hold_in_pin(uint64_t value)
{
	holder = heapd_pin(heap, node_new(value, NULL));
	ck_assert_ptr_nonnull(holder);
}

static struct node *registered[4];

static __attribute__((noinline)) void hold_in_range(uint64_t value)
{
	ck_call(heapd_range_add(heap, registered, sizeof(registered)));
	heapd_store(&registered[2], node_new(value, NULL));
}

static __attribute__((noinline)) void hold_in_local(uint64_t value)
{
	static struct node *words[8];

	ck_call(heapd_local_add(heap, words, sizeof(words)));
	words[5] = node_new(value, NULL);
	holder = &words[5];
}

static __attribute__((noinline)) void hold_in_root(uint64_t value)
{
	ck_call(heapd_root_set(heap, "root", node_new(value, NULL)));
}

static char ticket[HEAPD_TICKET_SIZE];

static __attribute__((noinline)) void hold_in_ticket(uint64_t value)
{
	ck_call(heapd_ticket_issue(heap, node_new(value, NULL), ticket, sizeof(ticket), 60));
}

static __attribute__((noinline)) void hold_inside(uint64_t value)
{
	struct node *n = node_new(value, NULL);

	holder = heapd_pin(heap, &n->pad[2]);
}

static __attribute__((noinline)) void hold_in_large(uint64_t value)
{
	struct node **table = heapd_alloc(heap, MIB);

	ck_assert_ptr_nonnull(table);
	heapd_store(&table[MIB / 8 - 1], node_new(value, NULL));
	holder = heapd_pin(heap, table);
}

static __attribute__((noinline)) void hold_in_array(uint64_t value)
{
	struct node *many = heapd_new_array(nodes, struct node, 30);

	ck_assert_ptr_nonnull(many);
	heapd_store(&many[29].next, node_new(value, NULL));
	holder = heapd_pin(heap, many);
}

static __attribute__((noinline)) void hold_at_the_end_of_a_list(uint64_t value)
{
	struct node *list = node_new(value, NULL);

	for (unsigned i = 0; i < 1000; i++)
		list = node_new(i, list);
	holder = heapd_pin(heap, list);
}

static struct node *held_by_pin(void)
{
	return *(struct node **)holder;
}

static struct node *held_in_range(void)
{
	return registered[2];
}

static struct node *held_in_root(void)
{
	return heapd_root_get(heap, "root", nodes);
}

static struct node *held_by_ticket(void)
{
	return heapd_ticket_take(heap, ticket);
}

static struct node *held_inside(void)
{
	return heapd_start_of(*(void **)holder);
}

static struct node *held_in_large(void)
{
	return (*(struct node ***)holder)[MIB / 8 - 1];
}

static struct node *held_in_array(void)
{
	return (*(struct node **)holder)[29].next;
}

static struct node *held_at_the_end(void)
{
	struct node *n = *(struct node **)holder;

	while (n->next)
		n = n->next;
	return n;
}

static const struct {
	void (*hold)(uint64_t value);
	struct node *(*held)(void);
} ways[] = {
	{ hold_in_pin, held_by_pin },
	{ hold_in_range, held_in_range },
	{ hold_in_local, held_by_pin },
	{ hold_in_root, held_in_root },
	{ hold_in_ticket, held_by_ticket },
	{ hold_inside, held_inside },
	{ hold_in_large, held_in_large },
	{ hold_in_array, held_in_array },
	{ hold_at_the_end_of_a_list, held_at_the_end },
};
#define WAYS (int)(sizeof(ways) / sizeof(ways[0]))

START_TEST(each_root_holds)
{
	ways[_i].hold(4711 + (uint64_t)_i);
	for (unsigned i = 0; i < 3; i++)
		churn();
	struct node *n = ways[_i].held();
	ck_assert_ptr_nonnull(n);
	ck_assert_uint_eq(n->value, 4711 + (uint64_t)_i);
	ck_assert_ptr_null(n->next);
}
END_TEST

START_TEST(a_stack_holds)
{
	struct node *list = NULL;

	for (unsigned i = 0; i < 1000; i++)
		list = node_new(i, list);
	for (unsigned i = 0; i < 3; i++)
		churn();
	for (uint64_t i = 1000; list; list = list->next)
		ck_assert_uint_eq(list->value, --i);
}
END_TEST

START_TEST(pins_and_roots_let_go)
{
	uint64_t before;

	list_drop(10);
	collect();
	collect();
	before = allocated();
	hold_at_the_end_of_a_list(1);
	hold_in_root(2);
	ck_call(heapd_root_set(heap, "root", NULL));
	ck_call(heapd_unpin(holder));
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 4096);
}
END_TEST

START_TEST(cycles_of_pointers_come_back)
{
	uint64_t before = allocated();

	for (unsigned i = 0; i < 10000; i++) {
		struct node *a = node_new(1, NULL), *b = node_new(2, a);
		heapd_store(&a->next, b);
	}
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 64 * 1024);
}
END_TEST

START_TEST(large_objects_come_back)
{
	uint64_t before = allocated();

	for (unsigned i = 0; i < 500; i++)
		ck_assert_msg(heapd_alloc_leaf(heap, 4 * MIB), "%u: %s", i, heapd_error());
	collect();
	collect();
	ck_assert_uint_le(allocated(), before + 8 * MIB);
}
END_TEST

/* 2 GiB through a heap of 256 MiB, by several sizes: nobody frees, nothing is refused. */
START_TEST(the_limit_holds)
{
	struct heapd_info info = HEAPD_SIZED(info);

	for (unsigned i = 0; i < 400000; i++)
		ck_assert_msg(heapd_alloc(heap, 16u << (i % 10)), "%u: %s", i, heapd_error());
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_le(info.committed, 256 * MIB);
}
END_TEST

/* Live data at the limit: ENOMEM after a whole cycle; and when something is dropped, there is room again. */
START_TEST(full_of_live_objects)
{
	void **pin = (void **)heapd_pin(heap, (void *)NULL);
	uint64_t finished = heap->t.directory->cycle.finished, kept = 0;

	for (;;) {
		void **block = heapd_alloc(heap, 32768);
		if (!block)
			break;
		heapd_store(&block[0], *pin);
		heapd_store(pin, (void *)block);
		kept++;
	}
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_msg(strstr(heapd_error(), "collection"), "%s", heapd_error());
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
	ck_assert_uint_ge(kept * 32768, 200 * MIB);
	ck_assert_ptr_null(heapd_alloc(heap, 8 * MIB));
	ck_assert_int_eq(errno, ENOMEM);
	heapd_store(pin, NULL);
	stack_wipe();
	ck_assert_msg(heapd_alloc(heap, 32768), "%s", heapd_error());
	ck_assert_msg(heapd_alloc(heap, 8 * MIB), "%s", heapd_error());
}
END_TEST

static void list_grow(void **pin, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 64; i++) {
		void **o = heapd_alloc(heap, 64);

		ck_assert_msg(o != NULL, "%s", heapd_error());
		heapd_store(&o[0], *pin);
		heapd_store(pin, (void *)o);
	}
}

static int hold_much_and_wait(void *arg)
{
	int *ready = (int *)arg;

	heapd_heap *own;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	void **pin = (void **)heapd_pin(own, (void *)NULL);
	for (unsigned i = 0; i < 1500000; i++) {
		void **o = heapd_alloc(own, 64);
		if (!o)
			return 2;
		heapd_store(&o[0], *pin);
		heapd_store(pin, (void *)o);
	}
	__atomic_store_n(ready, 1, __ATOMIC_RELEASE);
	for (;;)
		asleep(own, -1);
}

static int *shared_int(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

/* Until the client that is to set it has done so: it must not end before. */
static void await(const int *word, pid_t pid)
{
	int status;

	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		ck_assert_msg(waitpid(pid, &status, WNOHANG) == 0, "it ended with status %#x", status);
		usleep(1000);
	}
}

/* What a killed client held comes back without anybody asking. */
START_TEST(the_dead_leave_nothing)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t now = 0;

	await(ready, pid);
	ck_assert_uint_ge(allocated(), 90 * MIB);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	for (unsigned i = 0; i < 200 && (now = allocated()) > 2 * MIB; i++)
		usleep(10000);
	ck_assert_uint_le(now, 2 * MIB);
	munmap(ready, 4096);
}
END_TEST

/* It does not matter how long the last cycle took, if it was none for the dead. */
START_TEST(the_dead_do_not_wait_for_the_living)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t begin, now;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	begin = fixture_now_ns();
	ck_call(heapd_collect_start(heap));
	while (fixture_now_ns() - begin < 1500000000)
		usleep(10000); /* which the scan's signal ends early */
	kill(pid, SIGCONT);
	while (heapd_now_phase(heap->t.directory->cycle.now) != HEAPD_PHASE_IDLE)
		usleep(1000);
	begin = fixture_now_ns();
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	while ((now = allocated()) > 2 * MIB && fixture_now_ns() - begin < 10000000000u)
		usleep(10000);
	ck_assert_uint_le(now, 2 * MIB);
	ck_assert_uint_lt(fixture_now_ns() - begin, 2000000000);
	munmap(ready, 4096);
}
END_TEST

enum { FOR_ROOM = 0, AFTER_VOID = 5 }; /* of gc_cycles[] (stats.h) */

/* For want of room; one that became void is followed by another in its stead. */
static uint64_t cycles_for_room(void)
{
	const uint64_t *cycles = heap->t.directory->stats.gc_cycles;

	return HEAPD_READ_ONCE(cycles[FOR_ROOM]) + HEAPD_READ_ONCE(cycles[AFTER_VOID]);
}

/* What is allocated while a cycle runs is no reason for the next. */
START_TEST(a_heap_that_grows_asks_once)
{
	void **pin = (void **)heapd_pin(heap, (void *)NULL);
	uint64_t cycles;

	ck_call(heapd_set(heap, "gc.percent", "10000"));
	list_grow(pin, 40 * MIB);
	ck_call(heapd_collect(heap));
	cycles = cycles_for_room();
	ck_call(heapd_set(heap, "gc.percent", "100"));
	list_grow(pin, 60 * MIB);
	for (unsigned i = 0; i < 500 && cycles_for_room() == cycles; i++)
		usleep(10000);
	usleep(500000);
	ck_assert_uint_eq(cycles_for_room(), cycles + 1);
	ck_call(heapd_unpin(pin));
}
END_TEST

/* A stopped client holds up the cycle, and nobody's allocation; when it goes on, so does the cycle. */
START_TEST(a_stopped_client_holds_up_the_cycle_only)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t finished;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	finished = heap->t.directory->cycle.finished;
	ck_call(heapd_collect_start(heap));
	ck_assert(fixture_logged(&fixture, "waits for process"));
	list_drop(100000);
	ck_assert_uint_eq(heap->t.directory->cycle.finished, finished);
	kill(pid, SIGCONT);
	ck_call(heapd_collect(heap));
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
	ck_assert_uint_ge(allocated(), 90 * MIB);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

/* Where a large object needs a collection that does not come to its end, its allocation does, and says so. */
START_TEST(a_large_object_waits_no_longer_than_may_be)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t begin;
	void *p;

	await(ready, pid);
	ck_call(heapd_detach(heap));
	options.supply_timeout_ms = 300;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	begin = fixture_now_ns();
	while ((p = heapd_alloc(heap, 8 * MIB)))
		begin = fixture_now_ns();
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_msg(strstr(heapd_error(), "no collection came to its end"), "%s", heapd_error());
	ck_assert_uint_ge(fixture_now_ns() - begin, 300000000u);
	ck_assert_uint_lt(fixture_now_ns() - begin, 3000000000u);
	kill(pid, SIGCONT);
	ck_call(heapd_collect(heap));
	ck_assert_msg(heapd_alloc(heap, 8 * MIB), "%s", heapd_error());
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

/* The same for one that a debugger holds. */
START_TEST(a_traced_client_holds_up_the_cycle_only)
{
	int *ready = shared_int(), status;
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t finished;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	ck_assert_int_eq(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSTOPPED(status));
	finished = heap->t.directory->cycle.finished;
	ck_call(heapd_collect_start(heap));
	list_drop(10000);
	usleep(200000);
	ck_assert_uint_eq(heap->t.directory->cycle.finished, finished);
	ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	ck_call(heapd_collect(heap));
	ck_assert_uint_ge(allocated(), 90 * MIB);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

static void *go_on_soon(void *pid)
{
	usleep(200000);
	kill(*(pid_t *)pid, SIGCONT);
	return NULL;
}

/* Who asks for a cycle while one runs that becomes void waits for the one in its stead, not for ever. */
START_TEST(a_void_cycle_loses_no_request)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);
	uint64_t voids = HEAPD_READ_ONCE(heap->t.directory->stats.gc_voids);
	pthread_t thread;

	await(ready, pid);
	ck_call(heapd_collect(heap));
	kill(pid, SIGSTOP);
	ck_call(heapd_collect_start(heap));
	while (heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now)) == HEAPD_PHASE_IDLE)
		usleep(1000);
	usleep(10000);
	HEAPD_WRITE_ONCE(heap->session->overflow, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, go_on_soon, &pid), 0);
	ck_call(heapd_collect(heap));
	pthread_join(thread, NULL);
	ck_assert_uint_gt(HEAPD_READ_ONCE(heap->t.directory->stats.gc_voids), voids);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	munmap(ready, 4096);
}
END_TEST

static int attach_and_wait(void *arg)
{
	heapd_heap *own;

	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	__atomic_store_n((int *)arg, 1, __ATOMIC_RELEASE);
	for (;;)
		asleep(own, -1);
}

/* Who dies while a cycle is under way, here one that waits for somebody else, is forgotten by the very next: this one is void. */
START_TEST(a_death_makes_a_cycle_void)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	int *ready = shared_int(), *stopped = shared_int();
	pid_t much = fixture_client_fork(hold_much_and_wait, ready),
	      other = fixture_client_fork(attach_and_wait, stopped);
	uint64_t finished, voids, deaths;

	await(ready, much);
	await(stopped, other);
	ck_call(heapd_collect(heap));
	finished = heap->t.directory->cycle.finished;
	voids = stats->gc_voids;
	deaths = stats->deaths;
	kill(other, SIGSTOP);
	ck_call(heapd_collect_start(heap));
	while (heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now)) != HEAPD_PHASE_SCAN)
		usleep(1000);
	kill(much, SIGKILL);
	fixture_wait(much, -SIGKILL);
	while (HEAPD_READ_ONCE(stats->deaths) == deaths)
		usleep(1000);
	kill(other, SIGCONT);
	while (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished) == finished)
		usleep(1000);
	ck_assert_uint_le(allocated(), 2 * MIB);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats->gc_voids), voids + 1);
	ck_assert(fixture_logged(&fixture, "a client died"));
	kill(other, SIGKILL);
	fixture_wait(other, -SIGKILL);
	munmap(ready, 4096);
	munmap(stopped, 4096);
}
END_TEST

static void setup_paced(void)
{
	static const char *const more[] = { "heap.test.MemoryLimit=48M", "heap.test.GCPercent=10000", NULL };

	collected_start(more);
}

/* With a percentage that would never be reached, the memory limit keeps the heap small, and the interval is kept. */
START_TEST(memory_limit_and_interval)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;
	struct heapd_info info = HEAPD_SIZED(info);
	uint64_t cycles;

	for (unsigned i = 0; i < 40; i++)
		list_drop(100000);
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_le(info.committed, 96 * MIB);
	ck_assert_uint_ge(stats->gc_cycles[0], 2);
	ck_call(heapd_set(heap, "gc.interval", "1"));
	cycles = stats->gc_cycles[2];
	for (unsigned i = 0; i < 300 && stats->gc_cycles[2] < cycles + 2; i++) {
		list_drop(100);
		usleep(10000);
	}
	ck_assert_uint_ge(stats->gc_cycles[2], cycles + 2);
}
END_TEST

/* What this process lost to collections and to waiting for supply, it is told. */
START_TEST(a_process_knows_what_it_lost)
{
	struct heapd_info info = HEAPD_SIZED(info);
	uint64_t finished = heap->t.directory->cycle.finished;

	list_drop(100000);
	ck_call(heapd_collect_start(heap));
	while (__atomic_load_n(&heap->t.directory->cycle.finished, __ATOMIC_ACQUIRE) == finished)
		;
	ck_call(heapd_get_info(heap, &info));
	ck_assert_uint_ge(info.pauses, 1);
	ck_assert_uint_gt(info.pause_ns, 0);
	ck_assert_uint_ge(info.pause_ns, info.pause_max_ns);
	ck_assert_uint_gt(info.wait_ns, 0);
}
END_TEST

/* Cycles back to back, and three markers. */
static void setup_stressed(void)
{
	static const char *const more[] = { "heap.test.Debug=stress", "heap.test.MarkerThreads=3", NULL };

	collected_start(more);
}

static void setup_evicting(void)
{
	static const char *const more[] = { "heap.test.StallTimeout=1", "heap.test.StallAction=evict", NULL };

	collected_start(more);
}

START_TEST(a_stopped_client_is_evicted)
{
	int *ready = shared_int();
	pid_t pid = fixture_client_fork(hold_much_and_wait, ready);

	await(ready, pid);
	kill(pid, SIGSTOP);
	ck_call(heapd_collect(heap));
	fixture_wait(pid, -SIGKILL);
	ck_assert(fixture_logged(&fixture, "evicted"));
	munmap(ready, 4096);
}
END_TEST

/*
 * It goes on with what it has mapped, but nobody can ask it what it holds. Its agent would connect again, and may be faster than the
 * daemon in seeing what has happened: it finds no descriptor for that.
 */
static int close_everything(void *arg)
{
	const struct rlimit none = { .rlim_cur = 3, .rlim_max = 3 };
	heapd_heap *own;

	(void)arg;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	if (setrlimit(RLIMIT_NOFILE, &none) < 0)
		return 2;
	closefrom(3);
	for (;;)
		pause();
}

START_TEST(who_hangs_up_and_goes_on_is_ended)
{
	fixture_wait(fixture_client_fork(close_everything, NULL), -SIGKILL);
	ck_assert(fixture_logged(&fixture, "still has the heap mapped"));
}
END_TEST

static int become_another(void *arg)
{
	heapd_heap *own;

	(void)arg;
	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	execl("/bin/sh", "sh", "-c", "sleep 0.3; exit 7", (char *)NULL);
	return 2;
}

START_TEST(who_becomes_another_program_lives)
{
	fixture_wait(fixture_client_fork(become_another, NULL), 7);
}
END_TEST

/* A thread that computes for long without a call is scanned all the same, and holds what it holds. */
static int compute(void *arg)
{
	int *words = (int *)arg;
	heapd_heap *own;

	if (heapd_attach(&own, FIXTURE_HEAP, NULL) < 0)
		return 1;
	heapd_type *type = heapd_type_find(own, "node");
	struct node *n = heapd_new(type, struct node);
	n->value = 77;
	__atomic_store_n(&words[0], 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&words[1], __ATOMIC_RELAXED)) {
		__asm__ volatile("pause" : "+r"(n));
#ifdef HEAPD_TSAN
		asleep(own, 1); /* it keeps the signal back from one who computes */
#endif
	}
	return n->value == 77 ? 0 : 2;
}

START_TEST(a_computing_thread_is_scanned)
{
	int *words = shared_int();
	pid_t pid = fixture_client_fork(compute, words);

	await(&words[0], pid);
	for (unsigned i = 0; i < 5; i++)
		churn();
	__atomic_store_n(&words[1], 1, __ATOMIC_RELEASE);
	fixture_wait(pid, 0);
	munmap(words, 4096);
}
END_TEST

/* The child of a fork holds what its parent's stack held, and its pins, whatever the parent does then. */
START_TEST(a_forked_child_holds_its_own)
{
	struct node *n = node_new(99, NULL);
	int *words = shared_int();
	struct node **pin = heapd_pin(heap, node_new(98, NULL));
	pid_t pid = fork();

	if (!pid) {
		__atomic_store_n(&words[0], 1, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&words[1], __ATOMIC_ACQUIRE))
			asleep(heap, 1);
		_exit(n->value == 99 && (*pin)->value == 98 ? 0 : 1);
	}
	ck_assert_int_gt(pid, 0);
	n = NULL;
	ck_call(heapd_unpin(pin));
	await(&words[0], pid);
	for (unsigned i = 0; i < 3; i++)
		churn();
	__atomic_store_n(&words[1], 1, __ATOMIC_RELEASE);
	fixture_wait(pid, 0);
	munmap(words, 4096);
}
END_TEST

/* Freed by hand beside the collector: nothing is taken back twice, nothing that lives is taken back. */
START_TEST(explicit_free_beside_collection)
{
	struct node *kept[1000] = { 0 };
	uint64_t stamp = 0;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 1000; i++) {
			if (kept[i] && i % 3 == round % 3) {
				ck_assert_uint_eq(kept[i]->value >> 32, i);
				ck_call(heapd_free(kept[i]));
				kept[i] = NULL;
			}
			if (!kept[i])
				kept[i] = node_new((uint64_t)i << 32 | ++stamp % 0xffffffff, NULL);
		}
		if (round % 10 == 0)
			ck_call(heapd_collect_start(heap));
	}
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(kept[i]->value >> 32, i);
	ck_assert_uint_eq(heap->t.directory->stats.double_frees, 0);
}
END_TEST

START_TEST(off_is_off)
{
	ck_call(heapd_set(heap, "gc.percent", "off"));
	ck_refused(heapd_collect(heap), EOPNOTSUPP, "GCPercent");
	list_drop(200000);
	ck_assert_uint_ge(allocated(), 12 * MIB);
	ck_call(heapd_set(heap, "gc.percent", "100"));
	collect();
	collect();
	ck_assert_uint_le(allocated(), 128 * 1024);
}
END_TEST

START_TEST(statistics_of_a_cycle)
{
	struct heapd_cycle_record record = { 0 };
	const struct heapd_directory *d = heap->t.directory;
	uint64_t cycles = d->stats.gc_cycles[3], finished;

	ck_call(heapd_set(heap, "gc.percent", "10000"));
	hold_at_the_end_of_a_list(5);
	for (unsigned i = 0; i < 100; i++)
		list_drop(500); /* a word that is left on the stack holds one of them, not all */
	stack_wipe();
	finished = __atomic_load_n(&d->cycle.finished, __ATOMIC_ACQUIRE);
	ck_call(heapd_collect_start(heap));
	while (__atomic_load_n(&d->cycle.finished, __ATOMIC_ACQUIRE) == finished)
		; /* online, so that this thread is asked */
	for (unsigned i = 0; i < HEAPD_CYCLES_KEPT; i++)
		if (d->cycles[i].cycle > record.cycle)
			record = d->cycles[i];
	ck_assert_uint_eq(d->stats.gc_cycles[3], cycles + 1);
	ck_assert_uint_eq(record.trigger, 3);
	ck_assert_uint_ge(record.marked_objects, 1001);
	ck_assert_uint_eq(record.marked, d->stats.gc_live);
	ck_assert_uint_ge(record.freed_objects, 40000);
	ck_assert_uint_eq(record.threads, 1);
	ck_assert_uint_gt(record.barrier, 0);
	ck_assert_uint_gt(record.scan, 0);
	ck_assert_uint_gt(record.pause_max, 0);
	ck_assert(fixture_logged(&fixture, "(request)"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("collect");
	TCase *roots = tcase_create("roots"), *stressed = tcase_create("stressed"),
	      *paced = tcase_create("paced"), *evicting = tcase_create("evicting");

	tcase_set_timeout(roots, 60);
	tcase_add_checked_fixture(roots, setup, attached_stop);
	tcase_add_test(roots, unreachable_comes_back);
	tcase_add_loop_test(roots, each_root_holds, 0, WAYS);
	tcase_add_test(roots, a_stack_holds);
	tcase_add_test(roots, pins_and_roots_let_go);
	tcase_add_test(roots, cycles_of_pointers_come_back);
	tcase_add_test(roots, large_objects_come_back);
	tcase_add_test(roots, the_limit_holds);
	tcase_add_test(roots, full_of_live_objects);
	tcase_add_test(roots, the_dead_leave_nothing);
	tcase_add_test(roots, the_dead_do_not_wait_for_the_living);
	tcase_add_test(roots, a_heap_that_grows_asks_once);
	tcase_add_test(roots, a_stopped_client_holds_up_the_cycle_only);
	tcase_add_test(roots, a_large_object_waits_no_longer_than_may_be);
	tcase_add_test(roots, a_traced_client_holds_up_the_cycle_only);
	tcase_add_test(roots, a_void_cycle_loses_no_request);
	tcase_add_test(roots, a_death_makes_a_cycle_void);
	tcase_add_test(roots, a_process_knows_what_it_lost);
	tcase_add_test(roots, who_hangs_up_and_goes_on_is_ended);
	tcase_add_test(roots, who_becomes_another_program_lives);
	tcase_add_test(roots, a_computing_thread_is_scanned);
	tcase_add_test(roots, a_forked_child_holds_its_own);
	tcase_add_test(roots, explicit_free_beside_collection);
	tcase_add_test(roots, off_is_off);
	tcase_add_test(roots, statistics_of_a_cycle);
	suite_add_tcase(suite, roots);
	tcase_set_timeout(paced, 60);
	tcase_add_checked_fixture(paced, setup_paced, attached_stop);
	tcase_add_test(paced, memory_limit_and_interval);
	suite_add_tcase(suite, paced);
	tcase_set_timeout(stressed, 60);
	tcase_add_checked_fixture(stressed, setup_stressed, attached_stop);
	tcase_add_loop_test(stressed, each_root_holds, 0, WAYS);
	tcase_add_test(stressed, a_stack_holds);
	tcase_add_test(stressed, cycles_of_pointers_come_back);
	tcase_add_test(stressed, the_limit_holds);
	tcase_add_test(stressed, full_of_live_objects);
	tcase_add_test(stressed, the_dead_leave_nothing);
	tcase_add_test(stressed, a_computing_thread_is_scanned);
	tcase_add_test(stressed, a_forked_child_holds_its_own);
	tcase_add_test(stressed, explicit_free_beside_collection);
	suite_add_tcase(suite, stressed);
	tcase_set_timeout(evicting, 60);
	tcase_add_checked_fixture(evicting, setup_evicting, attached_stop);
	tcase_add_test(evicting, a_stopped_client_is_evicted);
	return attached_run(evicting, suite);
}
