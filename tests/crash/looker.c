/* SPDX-License-Identifier: MIT */
/*
 * looker.c - owns the verdict on a heap whose daemons are killed: it is verified, the witness goes on, and two collections find alive
 * exactly what was alive at first.
 */
#include "looker.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../fixture.h"
#include "chores.h"
#include "daemon/connection.h"

#define MS   UINT64_C(1000000)
#define LOOK (60000 * MS)
/* So long a child may be expected that was never born: its session is there as long. */
#define CHILD    ((CONNECTION_CHILD_SECONDS + 15) * UINT64_C(1000) * MS)
#define SESSIONS 4u /* who kills', the witness's, the crowd's and the looker's */

enum verdict { GOOD = 1, BAD };

static int verify(const struct looker *k)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	int r = heapd_verify(k->scene->heap, &result);

	return r ? printf("verify: %s\n", r < 0 ? heapd_error() : result.first), 1 : 0;
}

/* What this thread has in its hands is nobody's: it is detached before it is counted what is alive. */
static int judge(const struct looker *k)
{
	struct heapd_info info = HEAPD_SIZED(info);

	if (verify(k))
		return 1;
	for (unsigned i = 0; i < 2; i++)
		if (heapd_thread_detach(k->scene->heap) < 0 || heapd_collect(k->scene->heap) < 0)
			return printf("collect: %s\n", heapd_error()), 1;
	if (fixture_verify(k->fixture, CHORES_HEAP) != 0 ||
	    (!k->plain && (fixture_verify(k->fixture, "hard") != 0 || !spoils_verify(k->fixture))))
		return 1;
	if (verify(k) || heapd_get_info(k->scene->heap, &info) < 0)
		return 1;
	k->words->found = info.gc_live_objects;
	return 0;
}

/* What lives at rest: the stage, its nodes, its guards, and the witness's ring. */
static bool is_at_rest(const struct stage *stage, const void *object)
{
	const struct node *first = heapd_load(&stage->witness), *n = first;

	for (unsigned i = 0; i < SCENE_NODES; i++)
		if (object == heapd_load(&stage->node[i]))
			return true;
	for (unsigned g = 0; g < SCENE_GUARDS; g++)
		if (object == heapd_load(&stage->guard[g]))
			return true;
	for (unsigned i = 0; n && n != object && i < SCENE_RING; i++) {
		n = heapd_load(&n->next);
		if (n == first)
			break;
	}
	return object == stage || (n && n == object);
}

/* Which other objects something leads to, and what. */
static void say_alive(const struct looker *k)
{
	const struct heapd_tables *t = &k->scene->tables;
	char text[512];

	for (uint64_t page = 0; page < t->size / HEAPD_PAGE_SIZE; page++) {
		const struct heapd_span *span = &t->spans[page];
		uint64_t bytes = t->page_span[page] == page + 1 ? (uint64_t)span->npages * HEAPD_PAGE_SIZE
								: 0;

		for (uint64_t at = 0; bytes && at + span->elemsize <= bytes; at += span->elemsize) {
			const void *object = (const void *)(uintptr_t)(t->base + page * HEAPD_PAGE_SIZE + at);

			if (!is_at_rest(k->scene->stage, object) &&
			    heapd_path_to(k->scene->heap, object, text, sizeof(text)) >= 0)
				printf("%p, of %u bytes: %s\n", object, (unsigned)span->elemsize, text);
		}
	}
}

static int wait_sessions(const struct looker *k)
{
	uint64_t end = fixture_now_ns() + CHILD;
	struct heapd_info info = HEAPD_SIZED(info);

	while (heapd_get_info(k->scene->heap, &info) >= 0 && info.sessions != SESSIONS) {
		if (fixture_now_ns() > end)
			return printf("%u sessions, not %u\n", (unsigned)info.sessions, SESSIONS), 1;
		usleep(1000);
	}
	return 0;
}

static int look(const struct looker *k)
{
	struct board *board = k->scene->board;
	uint64_t end = fixture_now_ns() + LOOK / 2, progress = board->progress;
	int r;

	while (board->progress < progress + 8 && !*board->wrong)
		if (fixture_now_ns() > end)
			return printf("the witness does not go on\n"), 1;
		else
			usleep(200);
	k->crowd->rest = 1;
	while (k->crowd->rest != 2)
		usleep(200);
	if (wait_sessions(k))
		return 1;
	if (k->crowd->tickets)
		scene_pass(1100 * MS);
	k->crowd->tickets = 0;
	chores_clear(k->scene);
	guards_check(k->scene);
	stage_check(k->scene);
	scene_clear(k->scene);
	witness_pause(k->scene);
	r = judge(k);
	if (r == 0 && k->words->live && k->words->found != k->words->live)
		say_alive(k);
	witness_resume(k->scene);
	k->crowd->rest = 0;
	return r;
}

/* A process of its own, there from the start: this one has to answer its tracees meanwhile, and cannot fork without them. */
int looker_run(void *arg)
{
	const struct looker *k = arg;
	int bad;

	for (; !k->scene->board->stop; usleep(200)) {
		if (!k->words->ask)
			continue;
		k->words->ask = 0;
		bad = look(k);
		fflush(NULL);
		k->words->verdict = bad ? BAD : GOOD;
	}
	return 0;
}

void looker_look(const struct looker *k, struct lives *lives)
{
	struct looker_words *words = k->words;

	lives->nbreaks = 0;
	words->verdict = 0;
	words->ask = 1;
	lives_run(lives, &words->verdict, LOOK + CHILD, false);
	if (*k->scene->board->wrong)
		errx(1, "%s", k->scene->board->wrong);
	if (words->verdict != GOOD)
		errx(1, "the heap is not what it should be%s", words->verdict ? "" : ": it is not even told");
	if (words->live && words->found != words->live)
		errx(1, "%" PRIu64 " objects are alive after two collections, not %" PRIu64, words->found,
		     words->live);
	words->live = words->found;
}
