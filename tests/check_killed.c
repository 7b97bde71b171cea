/* SPDX-License-Identifier: MIT */
/* A daemon that SIGKILL finds where it is, or that ends at one certain store. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "daemon/session.h"
#include "recovery.h"

#define KILLS 60u

/* Who cannot write to its own record any more: as if it were killed there. */
static void die_as_it_ends(struct session *session)
{
	struct ledger_session *record = &t.heap->clients->records[session->index];
	char *page = (char *)record - (uintptr_t)record % 4096;

	heap_unlock(t.heap);
	signal(SIGSEGV, SIG_DFL); /* a sanitizer has one of its own */
	if (mprotect(page, 4096, PROT_READ) == 0)
		session_close(session, SESSION_DIED, "it is gone");
	_exit(0);
}

/* A daemon's sessions, and one that has these slots in its hands. */
static struct session *session_with(struct sessions *sessions, const struct heapd_batch *batch)
{
	const struct session_owner owner = {
		.pid = getpid(), .pidfd = -1, .socket = -1, .client = "test", .room = { 8, 64 }
	};
	struct session *session;
	struct heapd_thread *threads;
	struct refusal why;
	uint32_t n;

	ck_assert_int_eq(session_open(sessions, t.heap, &owner, &session, &why), 0);
	session->memory.core->nthreads = 1;
	threads = client_threads(&t.heap->clients->slots[session->index], &n);
	threads[0].state = HEAPD_THREAD_ONLINE;
	threads[0].spares[0] = *batch;
	return session;
}

/* What one that is gone had in its hands is no object: that is said before its record goes, for there is nobody else to say it. */
START_TEST(killed_as_a_session_ends)
{
	struct sessions sessions;
	struct heapd_batch batch;
	struct session *session;
	struct config config;
	struct store store;
	uint32_t slab;
	int status;
	pid_t pid;

	testheap_start(&t);
	ck_assert_int_eq(config_init(&config), 0);
	ck_assert_int_eq(store_init(&store, &t.log), 0);
	sessions_init(&sessions, &t.log, &config, &store);
	t.account.minor = t.account.maximum;
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	session = session_with(&sessions, &batch);
	heap_lock(t.heap);
	pid = fork();
	if (pid == 0)
		die_as_it_ends(session);
	heap_unlock(t.heap);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_uint_ne(t.heap->clients->records[session->index].id, 0);
	ck_assert_uint_eq(t.heap->marks->torn[slab], batch.masks[0]);
	session_close(session, SESSION_DIED, "it is gone");
	sessions_deinit(&sessions);
	store_deinit(&store);
	config_free(&config);
}
END_TEST

static void random_use(uint64_t *random)
{
	static struct heapd_batch held[64];
	struct heapd_batch *batch = &held[testheap_random(random) % 64];

	if (batch->entry)
		testheap_free(&t, batch, UINT64_MAX);
	*batch = (struct heapd_batch){ 0 };
	if (testheap_get(&t, (uint32_t)(testheap_random(random) % 40), batch) < 0)
		*batch = (struct heapd_batch){ 0 };
}

/* What check.h notes of each assertion goes to a file that the parent reads: a process that is killed tears its lines. */
static void stop_notes(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char path[64], target[256];

	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (strstr(target, "/check_"))
			dup2(null, fd);
	}
}

/* The daemon and its client in one process, so that the client dies with it at any place, too. */
static pid_t daemon_start(uint64_t seed)
{
	pid_t parent = getpid(), pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	stop_notes();
	if (!t.heap->supply && supply_init(t.heap) < 0)
		_exit(1);
	if (supply_run(t.heap) < 0)
		_exit(1);
	for (;;)
		random_use(&seed);
}

START_TEST(killed_at_any_time)
{
	uint64_t seed = testheap_seed(), bytes = t.heap->geometry.slabs * 8;

	munmap(t.mine, bytes);
	t.mine = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(t.mine, MAP_FAILED);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = daemon_start(testheap_random(&seed));
		int status;

		usleep((useconds_t)(testheap_random(&seed) % 30000));
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		forget();
		adopt();
		ck_nothing_lost();
	}
	ck_assert_uint_gt(testheap_stats(&t)->supplied_slots, 0);
}
END_TEST

static Suite *killed_suite(void)
{
	Suite *suite = suite_create("killed");
	TCase *tc = tcase_create("deaths");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, killed_as_a_session_ends);
	tcase_add_test(tc, killed_at_any_time);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return testheap_run(killed_suite());
}
