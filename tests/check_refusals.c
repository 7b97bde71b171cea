/* SPDX-License-Identifier: MIT */
/*
 * What a refusal rests on: a whole collection that began after its thread had begun to wait. One that was under way then keeps what
 * that thread had just let go of, and a daemon that was started anew has not collected at all.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "asleep.h"
#include "client/thread.h"
#include "collected.h"

#define MIB     (UINT64_C(1) << 20)
#define HELD    (12 * MIB) /* by who lets go of it */
#define PATIENT 60000u     /* ms */
#define MOMENT  200000u    /* us, in which who was told to has asked */

struct link {
	heapd_ptr(struct link) next;
	char rest[56];
};

/* A process that does one thing each time that it is told to. */
struct player {
	_Atomic unsigned told, done;
	_Atomic uint64_t bytes, refusals;
	char text[256];
};

static struct player *players, *mine;
static struct link **chain;

static const char *const shared[] = { "heap.test.Limit=64M", "heap.test.AllowUsers=*",
				      "heap.test.UserShare=25%", "heap.test.GCPercent=100", NULL };
static const char *const unshared[] = { "heap.test.Limit=64M", "heap.test.UserShare=off",
					"heap.test.GCPercent=100", NULL };

static void enter(unsigned number)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	mine = &players[number];
	options.supply_timeout_ms = options.request_timeout_ms = PATIENT;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	chain = heapd_pin(heap, (struct link *)NULL);
	ck_assert_ptr_nonnull(chain);
}

/* Until it is told to do the next. */
static bool done(void)
{
	unsigned n = ++mine->done;

	while (mine->told < n)
		asleep(heap, 1);
	return true;
}

/* Until it has so many bytes, or is refused. */
static void take(uint64_t bytes)
{
	while (mine->bytes < bytes) {
		struct link *new = heapd_alloc(heap, sizeof(*new));

		if (!new) {
			snprintf(mine->text, sizeof(mine->text), "%s", heapd_error());
			mine->refusals++;
			return;
		}
		heapd_init(&new->next, *chain);
		heapd_store(chain, new);
		mine->bytes += sizeof(*new);
	}
}

static void let_go(void)
{
	heapd_store(chain, NULL);
	stack_wipe(); /* or a word that is left there holds all of the chain */
	mine->bytes = 0;
}

/* Takes all that it can get, each time. */
static int greedy(void *arg)
{
	enter(*(unsigned *)arg);
	do {
		take(UINT64_MAX);
	} while (done());
	return 0;
}

/* Holds some, lets go of it when the barrier is on, so that the cycle under way keeps it, and wants some again. */
static int light(void *arg)
{
	enter(*(unsigned *)arg);
	take(HELD);
	done();
	while (!HEAPD_READ_ONCE(heapd_self->gate.on))
		asleep(heap, 1);
	let_go();
	done();
	take(MIB);
	while (done())
		;
	return 0;
}

/* Takes all that it can get, once; then, when it is told to, lets go of all and takes some again. */
static int repentant(void *arg)
{
	enter(*(unsigned *)arg);
	take(UINT64_MAX);
	done();
	let_go();
	take(HELD);
	while (done())
		;
	return 0;
}

/* Is only in the way: while it is stopped no cycle ends. */
static int idle(void *arg)
{
	enter(*(unsigned *)arg);
	while (done())
		;
	return 0;
}

static void wait_for(const struct player *player, unsigned done)
{
	for (unsigned i = 0; player->done < done && i < PATIENT; i++)
		usleep(1000);
	ck_assert_msg(player->done >= done, "not within %u ms", PATIENT);
}

static void tell(struct player *player)
{
	player->told++;
}

static void wait_for_phase(enum heapd_phase phase)
{
	const struct heapd_cycle_words *cycle = &heap->t.directory->cycle;

	for (unsigned i = 0; heapd_now_phase(HEAPD_LOAD_ACQUIRE(&cycle->now)) != phase && i < PATIENT; i++)
		asleep(heap, 1);
	ck_assert_int_eq(heapd_now_phase(HEAPD_LOAD_ACQUIRE(&cycle->now)), phase);
}

static pid_t begin(unsigned number, int (*fn)(void *arg))
{
	pid_t pid = fixture_client_fork(fn, &number);

	wait_for(&players[number], 1);
	return pid;
}

static void start(const char *const settings[], bool kept)
{
	(kept ? fixture_start_kept : fixture_start)(&fixture, settings);
	players = mmap(NULL, 3 * sizeof(*players), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(players, MAP_FAILED);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}

static void stop(pid_t pid)
{
	siginfo_t info;

	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0);
}

/*
 * Two of one user, at the limit. One asks, so a cycle begins; in its midst the other one lets go of much, and asks, too. That cycle
 * finds nothing, and refuses the first. _i: without shares.
 */
START_TEST(no_cycle_refuses_who_came_in_its_midst)
{
	pid_t pids[3];

	start(_i ? unshared : shared, false);
	pids[1] = begin(1, light);
	pids[0] = begin(0, greedy);
	pids[2] = begin(2, idle);
	/* After they were forked: ThreadSanitizer (asleep.h). */
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	ck_assert_uint_eq(players[0].refusals, 1);
	collect();
	wait_for_phase(HEAPD_PHASE_IDLE);
	stop(pids[2]);
	tell(&players[0]);
	wait_for_phase(HEAPD_PHASE_SCAN);
	tell(&players[1]);
	wait_for(&players[1], 2);
	tell(&players[1]);
	usleep(MOMENT);
	kill(pids[2], SIGCONT);
	wait_for(&players[0], 2);
	ck_assert_uint_eq(players[0].refusals, 2);
	wait_for(&players[1], 3);
	ck_assert_msg(players[1].refusals == 0, "%s", players[1].text);
	ck_call(heapd_detach(heap));
	for (unsigned i = 0; i < 3; i++)
		end(pids[i]);
	fixture_stop(&fixture);
}
END_TEST

/* While there is no daemon, one that was refused before lets go of all, and waits: for the next daemon that is no refusal. */
START_TEST(no_new_daemon_refuses_what_it_has_not_looked_at)
{
	pid_t pid;

	start(shared, true);
	pid = begin(0, repentant);
	ck_assert_uint_eq(players[0].refusals, 1);
	stop(fixture.daemon); /* the keeper */
	ck_assert_int_eq(kill(fixture_kept_daemon(&fixture), SIGKILL), 0);
	tell(&players[0]);
	usleep(MOMENT);
	kill(fixture.daemon, SIGCONT);
	wait_for(&players[0], 2);
	ck_assert_msg(players[0].refusals == 1, "%s", players[0].text);
	end(pid);
	fixture_stop(&fixture);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("refusals");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, no_cycle_refuses_who_came_in_its_midst, 0, 2);
	tcase_add_test(tcase, no_new_daemon_refuses_what_it_has_not_looked_at);
	return attached_run(tcase, suite_create("refusals"));
}
