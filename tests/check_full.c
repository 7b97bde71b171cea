/* SPDX-License-Identifier: MIT */
/*
 * Where every place is taken, in a heap or in the store of descriptors: who comes is told why it is refused, who administers the heap can look
 * at it still, and those who are there stay.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "heapd/directory.h"
#include "quotas.h"
#include "suite.h"
#include "tool.h"

#define SPARES 8u /* places of administrators who look at a full heap */

/* Attaches for reading, by the raw protocol, until that is refused; what the refusal says is its user's outcome. */
static unsigned read_all(int fds[], unsigned most)
{
	struct fixture_fds maps = { .n = 0 };
	struct heapd_message m;
	unsigned n = 0;

	while (n < most && (fds[n] = fixture_attach(&f, "odd", HEAPD_HELLO_READ_ONLY, &m, &maps)) >= 0) {
		fixture_close(&maps);
		n++;
	}
	ck_assert_int_eq(n < most ? fds[n] : 0, -EUSERS);
	memcpy(outcomes[number].text, m.text, sizeof(m.text));
	return n;
}

static int look_all(void)
{
	int fds[SPARES + 1];

	outcomes[number].sessions = read_all(fds, SPARES + 1);
	return stay();
}

static void sessions_are(const char *wanted)
{
	char command[768], line[64] = "";
	FILE *from;

	snprintf(command, sizeof(command), "%s -H odd --no-legend clients | wc -l", tool_path());
	for (unsigned i = 0; strcmp(line, wanted) != 0 && i < 500; i++) {
		usleep(i ? 10000 : 0);
		from = popen(command, "re");
		ck_assert(from && fgets(line, sizeof(line), from));
		pclose(from);
	}
	ck_assert_str_eq(line, wanted);
}

/*
 * Where all sessions are taken, who administers the heap can look at it still: its owner in half of the spare places, operators in all
 * of them. They are for nothing but reading, and when the daemon dies and all others go on, they end.
 */
START_TEST(an_administrator_can_look_at_a_full_heap)
{
	static const char *const settings[] = { "heap.odd.Size=64M",    "heap.odd.Limit=16M",
						"heap.odd.Owner=40001", "heap.odd.Mode=0766",
						"daemon.MaxSessions=2", NULL };
	int fds[2], looking[SPARES + 1];
	struct heapd_message m;
	struct heapd_session *core;
	pid_t owner, other;

	if (!is_root("an_administrator_can_look_at_a_full_heap"))
		return;
	start(settings);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_ge(fds[i] = attach_raw(&core), 0);
	ck_assert_int_eq(attach_raw(&core), -EUSERS);
	other = begin_user(OWNER + 1, look_all);
	ck_assert_uint_eq(outcomes[0].sessions, 0);
	owner = begin_user(OWNER, look_all);
	ck_assert_uint_eq(outcomes[1].sessions, SPARES / 2);
	ck_assert_uint_eq(read_all(looking, SPARES + 1), SPARES / 2);
	ck_assert_msg(strstr(outcomes[number].text, "MaxSessions="), "%s", outcomes[number].text);
	/* Still not for who writes; and who leaves makes room for the next who looks. */
	ck_assert_int_eq(attach_raw(&core), -EUSERS);
	for (unsigned i = 0; i < SPARES / 2; i++)
		close(looking[i]);
	sessions_are("6\n");
	end_user(owner);
	end_user(other);
	sessions_are("2\n");
	/* What was spare is no session like others: one of these gone, another can come. */
	for (unsigned i = 0; i < SPARES; i++)
		ck_assert_int_ge(looking[i] = fixture_attach(&f, "odd", HEAPD_HELLO_READ_ONLY, &m, NULL), 0);
	close(fds[1]);
	for (unsigned i = 0; (fds[1] = attach_raw(&core)) < 0 && i < 1000; i++)
		usleep(1000);
	ck_assert_int_ge(fds[1], 0);
	for (unsigned i = 0; i < SPARES; i++)
		close(looking[i]);
	for (unsigned i = 0; i < 2; i++)
		close(fds[i]);
	fixture_stop(&f);
}
END_TEST

/* Of a session of the last daemon's, on a new connection: 0 or -errno. */
static int come_back(const struct heapd_message *welcome, int directory)
{
	struct heapd_message m = { .op = HEAPD_OP_HELLO_AGAIN };
	struct fixture_fds fds = { .n = 0 };
	int fd = fixture_connect(&f);

	ck_assert_int_ge(fd, 0);
	m.again.fingerprint = heapd_layout_fingerprint();
	ck_assert_int_eq(pread(directory, &m.again.heap_id, 8, offsetof(struct heapd_directory, id)), 8);
	m.again.session = welcome->welcome.session;
	ck_assert_int_eq(fixture_call(fd, &m, &fds), 0);
	fixture_close(&fds);
	close(fd);
	return m.status;
}

/* What is in a full store outlives the daemon; who looked at it from a spare place does not, and can look again. */
static void look_at_full_store(void)
{
	pid_t before = fixture_kept_daemon(&f);
	struct heapd_message looks;
	struct fixture_fds fds = { .n = 0 };
	int fd = fixture_attach(&f, "odd", HEAPD_HELLO_READ_ONLY, &looks, &fds);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(kill(before, SIGKILL), 0);
	while (fixture_kept_daemon(&f) == before)
		usleep(1000);
	ck_assert(fixture_logged(&f, "ends with the daemon that made it"));
	ck_assert_int_eq(come_back(&looks, fds.fd[1]), -ESTALE);
	fixture_close(&fds);
	close(fd);
	fd = fixture_attach(&f, "odd", HEAPD_HELLO_READ_ONLY, &looks, NULL);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

/* Sessions that would not outlive the daemon are not made: who comes then is told why, and those who are there stay. */
START_TEST(a_full_store_lets_nobody_more_in)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=16M", NULL };
	const struct rlimit few = { 200, 200 }; /* half, less 64, is the keeper's store */
	struct heapd_session *core, *again;
	int fds[64], n = 0;
	char line[64];

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	fixture_start_kept(&f, settings);
	outcomes = calloc(USERS, sizeof(*outcomes));
	while (n < 64 && (fds[n] = attach_raw(&core)) >= 0)
		n++;
	ck_assert_int_eq(n < 64 ? fds[n] : 0, -EUSERS);
	ck_assert_msg(strstr(outcomes[0].text, "descriptor store is full") &&
			      strstr(outcomes[0].text, "FileDescriptorStoreMax="),
		      "with %d: %s", n, outcomes[0].text);
	ck_assert_int_gt(n, 8);
	ck_assert_int_gt(ask_room(fds[0], HEAPD_ROOM_PINS, 1, 1), 0);
	snprintf(line, sizeof(line), "%d\n", n);
	sessions_are(line);
	/* One goes, and somebody else has its place. */
	close(fds[--n]);
	for (unsigned i = 0; (fds[n] = attach_raw(&again)) < 0 && i < 1000; i++)
		usleep(1000);
	ck_assert_int_ge(fds[n], 0);
	/* These have no library that comes back by itself; the daemon that follows knows them all the same. */
	look_at_full_store();
	snprintf(line, sizeof(line), "adopted after restart: %d sessions,", n + 1);
	ck_assert(fixture_logged(&f, line));
	for (int i = 0; i <= n; i++)
		close(fds[i]);
	free(outcomes);
	fixture_stop(&f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("full");
	TCase *tcase = tcase_create("full");

	tcase_set_timeout(tcase, 90);
	tcase_add_test(tcase, an_administrator_can_look_at_a_full_heap);
	tcase_add_test(tcase, a_full_store_lets_nobody_more_in);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
