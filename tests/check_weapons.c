/* SPDX-License-Identifier: MIT */
/*
 * System calls as weapons: what a client can do to others by calls on the descriptors and mappings that it was given, beside
 * what it can do by writing.
 *
 * Attackers loop over all such calls, as another user where the test is root's. What empties or overwrites, a writer may do to its own heap (plain pointers: it could
 * write there); so beside others' checks it is aimed at the attacker's own object only, and in a heap of its own at
 * everything. The kernel's locks are those of the whole file either way.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "fixture.h"
#include "heapd.h"
#include "heapd/sizeclass.h"
#include "numbers.h"
#include "slowness.h"
#include "stuck.h"
#include "suite.h"
#include "users.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define MS        UINT64_C(1000000)
#define MIB       (UINT64_C(1) << 20)
#define WORKERS   2u
#define ATTACKERS 2u
#define FILES     4u /* heap, directory, control, session */
#define OWN       (8 * MIB)
#define MOST      (512 * MIB) /* of a file */
#define ROUNDS    3u
#define ROUND_MS  400u
#define SLOTS     512u
/* The longest that anybody may wait for supply, the daemon's restart with it, on a loaded machine; and that the daemon may take to die. */
#define WAIT_NS  (3000 * MS * slowness())
#define DEATH_NS (1000 * MS * slowness())

enum phase { CALM, ATTACKED, PHASES };

/* What allocations took: by powers of two of nanoseconds. */
struct times {
	_Atomic uint64_t count[64], longest;
};

struct board {
	_Atomic uint32_t stop, phase;
	_Atomic uint64_t turns[WORKERS], calls;
	struct times times[PHASES];
};

static struct fixture f;
static struct board *board;
static uint64_t seed;

static const char *const settings[] = { "heap.test.GCPercent=50", "heap.test.Size=256M",
					"heap.test.Limit=192M",   "heap.test.Mode=0666",
					"heap.odd.Size=128M",     "heap.odd.Limit=64M",
					"heap.odd.Mode=0666",     NULL };

static void setup(void)
{
	seed = fixture_seed() | 1;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	fixture_start_kept(&f, settings);
}

static void teardown(void)
{
	fixture_stop(&f);
	munmap(board, sizeof(*board));
}

static int failed_at(const char *what)
{
	fprintf(stderr, "process %d: %s: %s (%s)\n", getpid(), what, heapd_error(), strerror(errno));
	return 1;
}

/* Those beside the attackers ------------------------------------------------------------------------------------- */

struct node {
	uint64_t value, bytes;
	unsigned char tail[];
};

struct table {
	heapd_ptr(struct node) slot[SLOTS];
};

static void note_time(uint64_t ns)
{
	struct times *t = &board->times[board->phase];

	t->count[63 - __builtin_clzll(ns | 1)]++;
	if (ns > t->longest)
		t->longest = ns;
}

static struct node *node_new(heapd_heap *heap, uint64_t *random)
{
	uint64_t bytes = random_next(random) % 64 ? random_next(random) % 300 : random_next(random) % 90000;
	uint64_t begin = fixture_now_ns();
	struct node *node = heapd_alloc_leaf(heap, sizeof(*node) + bytes);

	note_time(fixture_now_ns() - begin);
	if (!node)
		return NULL;
	node->value = random_next(random);
	node->bytes = bytes;
	memset(node->tail, (int)(node->value & 0xff), bytes);
	return node;
}

static bool node_is_whole(const struct node *node)
{
	for (uint64_t i = 0; node && i < node->bytes; i++)
		if (node->tail[i] != (node->value & 0xff))
			return false;
	return true;
}

static int work(void *arg)
{
	unsigned number = *(const unsigned *)arg;
	uint64_t random = seed + 7919u * (number + 1);
	heapd_heap *heap;
	struct table **table;

	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0)
		return failed_at("attach");
	table = heapd_pin(heap, (struct table *)heapd_alloc(heap, sizeof(struct table)));
	if (!table)
		return failed_at("table");
	while (!board->stop) {
		struct node *node = node_new(heap, &random);
		uint64_t i = random_next(&random) % SLOTS;

		if (!node)
			return failed_at("allocation");
		if (!node_is_whole((*table)->slot[i]))
			return failed_at("what an object held has changed");
		heapd_store(&(*table)->slot[i], node);
		board->turns[number]++;
	}
	return heapd_detach(heap) < 0 ? failed_at("detach") : 0;
}

/* Attackers ------------------------------------------------------------------------------------------------------ */

/* A file that it was given, where it has mapped it, and which part of it is the attacker's to destroy. */
struct loot {
	int fd;
	bool writable;
	char *at;
	uint64_t bytes, own_at, own_bytes;
};

struct attacker {
	const char *heap;
	bool all; /* everything is destroyed */
	int socket;
	uint64_t random;
	struct loot loot[FILES];
};

static uint64_t own_object(struct attacker *a)
{
	struct heapd_message m = { .op = HEAPD_OP_LARGE,
				   .large = { .class = HEAPD_SIZECLASS_LARGE, .bytes = OWN, .align = 8 } };
	uint64_t address;

	if (fixture_call(a->socket, &m, NULL) < 0 || m.status < 0)
		return 0;
	address = m.large.address;
	m = (struct heapd_message){ .op = HEAPD_OP_ROOT_SET };
	snprintf(m.root.name, sizeof(m.root.name), "own %d", getpid());
	m.root.object = address;
	return fixture_call(a->socket, &m, NULL) < 0 || m.status < 0 ? 0 : address;
}

/* Of a session, whose file is far larger than what it is given, a part: who takes more is ended (check_quota). */
static int loot_map(struct loot *loot, int fd, bool writable, uint64_t most)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*loot = (struct loot){ .fd = fd, .writable = writable, .bytes = (uint64_t)st.st_size };
	if (loot->bytes > most)
		loot->bytes = most;
	loot->at = mmap(NULL, loot->bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	return loot->at == MAP_FAILED ? -errno : 0;
}

static int attacker_init(struct attacker *a, const char *heap, bool all)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	uint64_t object;

	*a = (struct attacker){ .heap = heap, .all = all, .random = seed * (uint64_t)getpid() | 1 };
	a->socket = fixture_attach(&f, heap, 0, &m, &fds);
	if (a->socket < 0 || fds.n < FILES)
		return 1;
	for (unsigned i = 0; i < FILES; i++)
		if (loot_map(&a->loot[i], fds.fd[i], i != 1, i == 3 ? MIB : MOST) < 0)
			return 2;
	object = own_object(a);
	if (!object)
		return 3;
	a->loot[0].own_at = object - m.welcome.base;
	a->loot[0].own_bytes = OWN;
	a->loot[3].own_bytes = MIB; /* of its session */
	for (unsigned i = 0; all && i < FILES; i++)
		a->loot[i].own_at = 0, a->loot[i].own_bytes = a->loot[i].bytes;
	return 0;
}

/* A part of a file, and of where it is mapped. */
struct part {
	const struct loot *loot;
	uint64_t at, bytes;
};

static struct part part_draw(struct attacker *a, const struct loot *loot, uint64_t from, uint64_t bytes)
{
	uint64_t at = random_next(&a->random) % (bytes / 4096) * 4096;
	uint64_t most = random_next(&a->random) % 4 ? 64 * 4096 : bytes;

	return (struct part){ loot, from + at, most < bytes - at ? most : bytes - at };
}

/* What is fixed for good stays so: -1 where it does not. */
static int break_seals(const struct loot *loot)
{
	if (ftruncate(loot->fd, 4096) == 0 || ftruncate(loot->fd, (off_t)(loot->bytes + 4096)) == 0)
		return -1;
	return fcntl(loot->fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 ||
			       fcntl(loot->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0
		       ? -1
		       : 0;
}

static void lock_all(const struct loot *loot)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	flock(loot->fd, LOCK_EX | LOCK_NB);
	fcntl(loot->fd, F_SETLK, &lock);
	/* The daemon's own user could: it would find a way to end it, too. */
	if (getuid() == OTHER)
		fcntl(loot->fd, F_SETLEASE, F_WRLCK);
	fcntl(loot->fd, F_SETFL, O_APPEND | O_NONBLOCK | O_ASYNC);
	fcntl(loot->fd, F_SETFL, 0);
}

static void call_by_descriptor(const struct part *p, unsigned which)
{
	static char room[65536];
	int fd = p->loot->fd;

	switch (which) {
	case 0:
		fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)p->at, (off_t)p->bytes);
		break;
	case 1:
		lseek(fd, (off_t)p->at, p->at / 4096 % 2 ? SEEK_DATA : SEEK_HOLE);
		break;
	case 2:
		posix_fadvise(fd, (off_t)p->at, (off_t)p->bytes, (int)(p->at / 4096 % 6));
		break;
	case 3:
		if (pread(fd, room, sizeof(room), (off_t)p->at) > 0)
			readahead(fd, (off_t)p->at, p->bytes);
		break;
	case 4:
		lock_all(p->loot);
		break;
	default:
		sync_file_range(fd, (off_t)p->at, (off_t)p->bytes, 7);
	}
}

static void call_by_mapping(const struct part *p, unsigned which)
{
	static const int advice[] = { MADV_DONTNEED, MADV_WILLNEED,  MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				      MADV_COLD,     MADV_PAGEOUT,   MADV_HUGEPAGE,      MADV_NOHUGEPAGE,
				      MADV_COLLAPSE, MADV_MERGEABLE, MADV_SEQUENTIAL,    MADV_DONTDUMP };
	char *at = p->loot->at + p->at;

	if (which < sizeof(advice) / sizeof(advice[0]))
		madvise(at, p->bytes, advice[which]);
	else if (which == 12 && mlock(at, p->bytes) == 0)
		munlock(at, p->bytes);
	else if (which == 13)
		msync(at, p->bytes, MS_SYNC);
	else if (which == 14)
		mprotect(at, p->bytes, PROT_READ), mprotect(at, p->bytes, PROT_READ | PROT_WRITE);
}

static void destroy(const struct part *p, unsigned which)
{
	static const char noise[4096] = { 1, 2, 3 };

	if (which == 0)
		fallocate(p->loot->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)p->at,
			  (off_t)p->bytes);
	else if (which == 1)
		madvise(p->loot->at + p->at, p->bytes, MADV_REMOVE);
	else if (which == 2)
		fallocate(p->loot->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)p->at,
			  (off_t)p->bytes);
	else if (pwrite(p->loot->fd, noise, sizeof(noise), (off_t)p->at) < 0)
		return;
}

static int attack_once(struct attacker *a)
{
	const struct loot *loot = &a->loot[random_next(&a->random) % FILES];
	struct part any = part_draw(a, loot, 0, loot->bytes), own;

	call_by_descriptor(&any, (unsigned)(random_next(&a->random) % 6));
	call_by_mapping(&any, (unsigned)(random_next(&a->random) % 15));
	if (loot->own_bytes && loot->writable) {
		own = part_draw(a, loot, loot->own_at, loot->own_bytes);
		destroy(&own, (unsigned)(random_next(&a->random) % 4));
	}
	board->calls++;
	return break_seals(loot);
}

static int attack_with(const char *heap, bool all)
{
	struct attacker a;
	int r;

	if (getuid() == 0 && (setgroups(0, NULL) < 0 || setgid(OTHER) < 0 || setuid(OTHER) < 0))
		return failed_at("another user");
	r = attacker_init(&a, heap, all);
	while (r == 0 && !board->stop)
		if (board->phase != ATTACKED)
			usleep(1000);
		else if (attack_once(&a) < 0)
			r = 4;
	if (r)
		fprintf(stderr, "attacker: %d: %s\n", r, strerror(errno));
	return r;
}

static int attack(void *arg)
{
	(void)arg;
	return attack_with(FIXTURE_HEAP, false);
}

static int destroy_all(void *arg)
{
	(void)arg;
	return attack_with("odd", true);
}

/* The daemon ------------------------------------------------------------------------------------------------------- */

/* How long it takes to die, ns. */
static uint64_t daemon_kill(void)
{
	pid_t pid = fixture_kept_daemon(&f);
	struct pollfd gone = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	uint64_t begin = fixture_now_ns();

	ck_assert_int_ge(gone.fd, 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_msg(poll(&gone, 1, (int)(10 * DEATH_NS / MS)) == 1, "the daemon does not die");
	begin = fixture_now_ns() - begin;
	close(gone.fd);
	return begin;
}

/* It is there again when somebody can attach to the heap. */
static void daemon_is_back(void)
{
	struct heapd_message m;
	uint64_t begin = fixture_now_ns();
	int fd;

	while ((fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL)) < 0) {
		ck_assert_uint_lt(fixture_now_ns() - begin, WAIT_NS);
		usleep(1000);
	}
	m.op = HEAPD_OP_BYE;
	fixture_call(fd, &m, NULL);
	close(fd);
}

static uint64_t time_of(const struct times *t, double part)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < 64; i++)
		all += t->count[i];
	for (unsigned i = 0; i < 64; i++) {
		seen += t->count[i];
		if ((double)seen >= (double)all * part)
			return UINT64_C(2) << i;
	}
	return 0;
}

static void tell(const char *name, const struct times *t, const uint64_t *deaths)
{
	uint64_t slowest = 0;

	for (unsigned i = 0; i < ROUNDS; i++)
		slowest = deaths[i] > slowest ? deaths[i] : slowest;
	printf("%-9s allocation: 50 %% < %.2f us, 99 %% < %.2f us, 99.99 %% < %.2f us, longest %.1f ms; "
	       "the daemon's death: longest %.1f ms\n",
	       name, (double)time_of(t, 0.5) / 1e3, (double)time_of(t, 0.99) / 1e3,
	       (double)time_of(t, 0.9999) / 1e3, (double)t->longest / 1e6, (double)slowest / 1e6);
	ck_assert_uint_lt(t->longest, WAIT_NS);
	ck_assert_uint_lt(slowest, DEATH_NS);
}

static void start_workers(pid_t *pids)
{
	static unsigned numbers[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++) {
		numbers[i] = i;
		pids[i] = fixture_client_fork(work, &numbers[i]);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		for (uint64_t begin = fixture_now_ns(); !board->turns[i]; usleep(1000))
			ck_assert_uint_lt(fixture_now_ns() - begin, 10 * WAIT_NS);
}

static void end_all(const pid_t *pids, unsigned n)
{
	board->stop = 1;
	for (unsigned i = 0; i < n; i++)
		fixture_wait(pids[i], 0);
}

/* In turns, with attackers and without; the daemon is killed in each. */
START_TEST(others_go_on)
{
	uint64_t deaths[PHASES][ROUNDS];
	pid_t pids[WORKERS + ATTACKERS];

	start_workers(pids);
	for (unsigned i = 0; i < ATTACKERS; i++)
		pids[WORKERS + i] = fixture_client_fork(attack, NULL);
	for (unsigned i = 0; i < ROUNDS * PHASES; i++) {
		board->phase = i % PHASES;
		usleep(ROUND_MS * 1000);
		deaths[i % PHASES][i / PHASES] = daemon_kill();
		daemon_is_back();
	}
	end_all(pids, WORKERS + ATTACKERS);
	ck_assert_uint_gt(board->calls, 100);
	printf("%lu rounds of calls\n", (unsigned long)board->calls);
	tell("calm:", &board->times[CALM], deaths[CALM]);
	tell("attacked:", &board->times[ATTACKED], deaths[ATTACKED]);
}
END_TEST

/* A heap of which all is emptied and overwritten: its daemon lives, comes back, and serves the other heap all the while. */
START_TEST(other_heap_is_safe)
{
	pid_t pids[WORKERS + ATTACKERS], before = fixture_kept_daemon(&f);
	uint64_t turns;

	start_workers(pids);
	board->phase = ATTACKED;
	for (unsigned i = 0; i < ATTACKERS; i++)
		pids[WORKERS + i] = fixture_client_fork(destroy_all, NULL);
	for (unsigned i = 0; i < 3; i++) {
		turns = board->turns[0];
		usleep((useconds_t)(ROUND_MS * 1000 * slowness()));
		ck_assert_int_eq(fixture_kept_daemon(&f), before);
		ck_assert_uint_gt(board->turns[0], turns);
		ck_assert_int_eq(fixture_verify(&f, FIXTURE_HEAP), 0);
		/* Faults that it finds are the attackers'; that it comes to its end is ours. */
		ck_assert_int_ge(fixture_verify(&f, "odd"), 0);
		daemon_kill();
		daemon_is_back();
		before = fixture_kept_daemon(&f);
	}
	end_all(pids, WORKERS + ATTACKERS);
	ck_assert_uint_lt(board->times[ATTACKED].longest, WAIT_NS);
	/* The destroyed heap ends with its keeper. */
	ck_assert_int_eq(fixture_verify(&f, FIXTURE_HEAP), 0);
	fixture_kill(&f, SIGTERM);
	fixture_restart(&f);
}
END_TEST

/* _i: of the heap, the control memory. Whoever holds a file's lock for good holds nobody up: supply, death, restart. */
START_TEST(held_lock)
{
	static const unsigned held[] = { 0, 2 };
	struct fixture_fds fds = { .n = 0 };
	pid_t pids[WORKERS], holder;
	struct heapd_message m;
	int fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);

	ck_assert_int_ge(fd, 0);
	holder = stuck_start("held_lock", fds.fd[held[_i]], held[_i] ? 0 : (off_t)(255 * MIB));
	fixture_close(&fds);
	close(fd);
	if (!holder)
		return;
	start_workers(pids);
	for (unsigned i = 0; i < 3; i++) {
		usleep(ROUND_MS * 1000 / 2);
		ck_assert_uint_lt(daemon_kill(), DEATH_NS);
		daemon_is_back();
	}
	end_all(pids, WORKERS);
	ck_assert_uint_lt(board->times[CALM].longest, WAIT_NS);
	stuck_end(holder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("weapons");
	TCase *tests = tcase_create("weapons");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, others_go_on);
	tcase_add_test(tests, other_heap_is_safe);
	tcase_add_loop_test(tests, held_lock, 0, 2);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
