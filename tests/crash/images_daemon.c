/* SPDX-License-Identifier: MIT */
/*
 * Owns the order in which the parts of a daemon begin and end where there is neither loop nor thread: that of daemon.c. All that
 * it calls is the daemon's own, from store_init() on; but connections, which libevent serves, are not there.
 */
#include "images_daemon.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clients.h"
#include "daemon/collection.h"
#include "daemon/deads.h"
#include "daemon/ledger.h"
#include "daemon/marks.h"
#include "daemon/receipts.h"
#include "daemon/recover.h"
#include "daemon/roots.h"
#include "daemon/supply.h"
#include "daemon/types.h"
#include "images_keeper.h"

#define MOST (UINT64_C(4) << 30)

static int configure(struct images_daemon *d, const char *const settings[])
{
	struct config_error error;
	int r = config_init(&d->config);

	for (size_t i = 0; r == 0 && settings[i]; i++) {
		r = config_override(&d->config, settings[i], &error);
		if (r < 0)
			errx(1, "%s: %s", settings[i], error.text);
	}
	return r < 0 ? r : config_check(&d->config, config_report_log, &d->log);
}

static int make_tables(struct heap *heap)
{
	static int (*const make[])(struct heap *) = { clients_init,    types_init, marks_init,
						      collection_init, roots_init, deads_init,
						      receipts_init,   supply_init };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(make) / sizeof(make[0]); i++)
		r = make[i](heap);
	return r;
}

static void restore_sessions(struct images_daemon *d)
{
	const struct ledger_session *records = d->heap->clients->records;
	struct session *session;

	if (d->heap->ledger->head->last_session >= d->sessions.next_id)
		d->sessions.next_id = d->heap->ledger->head->last_session + 1;
	for (unsigned i = 0; i < d->heap->ledger->head->sessions_high; i++)
		if (records[i].id && session_restore(&d->sessions, d->heap, i, &session) == 0)
			deads_settle(d->heap, records[i].in_flight);
}

static int adopt(struct images_daemon *d)
{
	int r = recover_run(d->heap);

	if (r < 0)
		return r;
	restore_sessions(d);
	heap_lock(d->heap);
	harvest_handback_again(d->heap->supply);
	heap_unlock(d->heap);
	recover_tell(d->heap, d->sessions.count, 0);
	return 0;
}

static int open_heap(struct images_daemon *d)
{
	struct heap_plan plan = {
		.config = config_find_heap(&d->config, IMAGES_HEAP),
		.base = heap_first_base(),
		.account = &d->account,
		.log = &d->log,
	};
	struct heap_files files;
	int r = recover_find(&d->store, IMAGES_HEAP, &plan, &files);

	if (r == 0) {
		r = heap_geometry(plan.config, &d->log, &plan.geometry);
		plan.ledger_bytes = ledger_size(&plan.geometry);
	}
	if (r >= 0)
		r = heap_create(&plan, &d->heap);
	if (r == 0)
		r = recover_lock(d->heap);
	if (r == 0)
		r = make_tables(d->heap);
	if (r == 0)
		r = d->heap->adopted ? adopt(d) : recover_store(&d->store, d->heap);
	return r;
}

int images_daemon_start(struct images_daemon *d, const char *const settings[], int log)
{
	int r;

	*d = (struct images_daemon){ .alive = true };
	log_init(&d->log, log, LOG_TARGET_CONSOLE, LOG_ERR);
	d->account.maximum = d->account.minor = MOST;
	keeper_pass();
	r = store_init(&d->store, &d->log);
	if (r == 0)
		r = configure(d, settings);
	sessions_init(&d->sessions, &d->log, &d->config, &d->store);
	d->sessions.heaps = d->heaps;
	if (r == 0)
		r = open_heap(d);
	d->heaps[0] = d->heap;
	d->sessions.nheaps = r == 0;
	return r;
}

void images_daemon_die(struct images_daemon *d)
{
	if (!d->alive)
		return;
	if (d->heap) {
		supply_stop(d->heap);
		roots_deinit(d->heap);
		deads_deinit(d->heap);
		receipts_deinit(d->heap);
		collection_deinit(d->heap);
		marks_deinit(d->heap);
		types_deinit(d->heap);
		clients_deinit(d->heap);
		heap_destroy(d->heap);
	}
	sessions_deinit(&d->sessions);
	store_deinit(&d->store);
	config_free(&d->config);
	d->alive = false;
}
