/* SPDX-License-Identifier: MIT */
/*
 * heapctl clients --bytes: what a client's roots alone keep alive, and what others hold besides, of two processes that
 * share one list while each has another of its own.
 */
#include "collected.h"
#include "tool.h"

#include <unistd.h>

#define MINE   1000u
#define ITS    500u
#define SHARED 200u
#define ROOTED 300u

struct node {
	heapd_ptr(struct node) next;
	uint64_t rest[15];
};
#define BYTES(n) ((n) * (uint64_t)sizeof(struct node))

static pid_t partner;
static int to_partner, from_partner;

/* Made from its end on: no overwritten pointer is left on the way. */
static __attribute__((noinline)) struct node *list_make(heapd_type *type, unsigned n)
{
	struct node *head = NULL;

	while (n--) {
		struct node *new = heapd_new(type, struct node);

		if (!new)
			return NULL;
		heapd_init(&new->next, head);
		head = new;
	}
	return head;
}

static __attribute__((noinline)) int partner_hold(void)
{
	heapd_type *type = heapd_type_define(heap, "node", struct node, next);
	struct node **shared = heapd_pin(heap, (struct node *)heapd_root_get(heap, "shared", type));
	struct node **own = heapd_pin(heap, list_make(type, ITS));

	return shared && *shared && own && *own ? 0 : 1;
}

/* It attaches when it is told to, takes hold, and lives until it is told to end. */
static int partner_main(void *arg)
{
	const int *ends = arg;
	char byte;

	if (read(ends[0], &byte, 1) != 1 || heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0 ||
	    partner_hold() != 0)
		return 1;
	stack_wipe();
	/* Its agent answers for it while it waits: ThreadSanitizer keeps signals back (asleep.h). */
	heapd_thread_offline(heap);
	if (write(ends[1], "", 1) != 1)
		return 1;
	return read(ends[0], &byte, 1) == 1 ? 0 : 1;
}

static void start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						NULL };
	int there[2], back[2];

	fixture_start(&fixture, settings);
	ck_assert_int_eq(pipe(there) | pipe(back), 0);
	partner = fixture_client_fork(partner_main, (int[]){ there[0], back[1] });
	to_partner = there[1];
	from_partner = back[0];
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}

static void partner_tell(void)
{
	ck_assert_int_eq(write(to_partner, "", 1), 1);
}

static const char *row_of(const char *json, pid_t pid)
{
	char text[16];
	const char *row;

	snprintf(text, sizeof(text), "%d", pid);
	row = tool_next(json, "pid", text);
	ck_assert_msg(row != NULL, "process %d is not in %s", pid, json);
	return row;
}

static __attribute__((noinline)) void hold(void)
{
	heapd_type *type = heapd_type_define(heap, "node", struct node, next);
	struct node *rooted = list_make(type, ROOTED);

	ck_assert_ptr_nonnull(heapd_pin(heap, list_make(type, MINE)));
	ck_assert_ptr_nonnull(heapd_pin(heap, rooted));
	ck_call(heapd_root_set(heap, "rooted", rooted));
	ck_call(heapd_root_set(heap, "shared", list_make(type, SHARED)));
}

static __attribute__((noinline)) void share(void)
{
	char byte;

	ck_assert_ptr_nonnull(heapd_pin(heap, heapd_root_get(heap, "shared", NULL)));
	partner_tell();
	ck_assert_int_eq(read(from_partner, &byte, 1), 1);
	ck_call(heapd_root_set(heap, "shared", NULL));
}

static void expect(pid_t pid, uint64_t alone, uint64_t shared)
{
	char *json = tool_run(0, "--bytes clients");
	const char *row = row_of(json, pid);

	ck_assert_uint_eq(tool_number(row, "alone"), alone);
	ck_assert_uint_eq(tool_number(row, "shared"), shared);
	free(json);
}

START_TEST(each_has_its_own_and_what_is_shared)
{
	char *json;

	hold();
	share();
	stack_wipe();
	expect(getpid(), BYTES(MINE), BYTES(SHARED + ROOTED));
	expect(partner, BYTES(ITS), BYTES(SHARED));

	/* A walk costs: who does not ask for it has none. */
	json = tool_run(0, "clients");
	ck_assert_ptr_null(tool_value(row_of(json, partner), "alone"));
	free(json);

	/* When the other one has gone, what both held is this one's alone. */
	partner_tell();
	fixture_wait(partner, 0);
	expect(getpid(), BYTES(MINE + SHARED), BYTES(ROOTED));
}
END_TEST

START_TEST(state_is_told)
{
	char *json;

	hold();
	share();
	ck_assert_int_eq(kill(partner, SIGSTOP), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)partner, &(siginfo_t){ 0 }, WSTOPPED), 0);
	json = tool_run(0, "clients");
	ck_assert(tool_is(row_of(json, partner), "state", "stopped"));
	ck_assert(!tool_is(row_of(json, getpid()), "state", "stopped"));
	free(json);
	ck_assert_int_eq(kill(partner, SIGCONT), 0);
	partner_tell();
	fixture_wait(partner, 0);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("shares");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, start, attached_stop);
	tcase_add_test(tcase, each_has_its_own_and_what_is_shared);
	tcase_add_test(tcase, state_is_told);
	return attached_run(tcase, suite_create("shares"));
}
