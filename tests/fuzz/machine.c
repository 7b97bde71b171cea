/* SPDX-License-Identifier: MIT */
/*
 * machine.c - owns the order in which the daemon's parts begin and end where its threads do not run: that of daemon.c.
 */
#include "machine.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/clients.h"
#include "daemon/collection.h"
#include "daemon/deads.h"
#include "daemon/ledger.h"
#include "daemon/marks.h"
#include "daemon/recover.h"
#include "daemon/roots.h"
#include "daemon/supply.h"
#include "daemon/types.h"
#include "daemon/verify.h"

void machine_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

__attribute__((weak)) void machine_turn(const struct machine *m)
{
	(void)m;
}

static void must(int r, const char *what)
{
	if (r < 0)
		machine_fail("%s: %s", what, strerror(-r));
}

static void heap_make_tables(struct heap *heap)
{
	must(clients_init(heap), "clients");
	must(types_init(heap), "types");
	must(marks_init(heap), "marks");
	must(collection_init(heap), "collection");
	must(roots_init(heap), "roots");
	must(deads_init(heap), "deads");
	must(supply_init(heap), "supply");
}

static void heap_drop_tables(struct heap *heap)
{
	supply_stop(heap);
	roots_deinit(heap);
	deads_deinit(heap);
	collection_deinit(heap);
	marks_deinit(heap);
	types_deinit(heap);
	clients_deinit(heap);
}

static void configure(struct machine *m)
{
	static const char *const settings[] = {
		"heap.one.Size=64M",        "heap.two.Size=64M",      "heap.one.HugePages=never",
		"heap.two.HugePages=never", "heap.one.Limit=48M",     "heap.two.Limit=48M",
		"heap.one.GCPercent=100",   "heap.two.GCPercent=off", "heap.one.Mode=0777",
		"heap.two.Mode=0777",
	};
	struct config_error error;

	must(config_init(&m->config), "config");
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (config_override(&m->config, settings[i], &error) < 0)
			machine_fail("%s: %s", settings[i], error.text);
	must(config_check(&m->config, config_report_log, &m->log), "config");
}

static struct heap *heap_make(struct machine *m, const char *name)
{
	struct heap_plan plan = {
		.config = config_find_heap(&m->config, name),
		.base = heap_first_base(),
		.account = &m->account,
		.log = &m->log,
	};
	struct heap *heap;

	must(heap_geometry(plan.config, &m->log, &plan.geometry), "geometry");
	plan.ledger_bytes = ledger_size(&plan.geometry);
	must(heap_create(&plan, &heap), "heap");
	heap_make_tables(heap);
	return heap;
}

void machine_start(struct machine *m, unsigned n)
{
	static const char *const names[MACHINE_HEAPS] = { "one", "two" };

	*m = (struct machine){ .log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC) };
	if (m->log_fd < 0)
		machine_fail("/dev/null");
	log_init(&m->log, m->log_fd, LOG_TARGET_CONSOLE, LOG_DEBUG);
	m->account.maximum = m->account.minor = UINT64_C(4) << 30;
	must(store_init(&m->store, &m->log), "store");
	configure(m);
	sessions_init(&m->sessions, &m->log, &m->config, &m->store);
	m->sessions.heaps = m->heaps;
	for (unsigned i = 0; i < n; i++)
		m->heaps[i] = heap_make(m, names[i]);
	m->sessions.nheaps = n;
}

void machine_stop(struct machine *m)
{
	for (size_t i = 0; i < m->sessions.nheaps; i++) {
		heap_drop_tables(m->heaps[i]);
		heap_destroy(m->heaps[i]);
	}
	sessions_deinit(&m->sessions);
	store_deinit(&m->store);
	config_free(&m->config);
	close(m->log_fd);
}

static int copy(int fd)
{
	int new = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	must(new, "dup");
	return new;
}

/* What the store would give back: the memory of the one session that there is, if any. */
static void sessions_keep(struct machine *m)
{
	const struct session *session = LIST_FIRST(&m->sessions.all);
	struct store_item *item;

	if (!session)
		return;
	item = calloc(1, sizeof(*item));
	if (!item)
		machine_fail("out of memory");
	snprintf(item->name, sizeof(item->name), "session.%lu", (unsigned long)session->memory.number);
	item->fd = copy(session->memory.fd);
	free(m->store.items);
	m->store.items = item;
	m->store.nitems = 1;
}

static void sessions_reborn(struct machine *m)
{
	size_t n = m->sessions.nheaps;

	sessions_keep(m);
	sessions_deinit(&m->sessions);
	sessions_init(&m->sessions, &m->log, &m->config, &m->store);
	m->sessions.heaps = m->heaps;
	m->sessions.nheaps = n;
}

static void sessions_restore(struct machine *m, struct heap *heap)
{
	struct session *session;

	m->sessions.next_id = heap->ledger->head->last_session + 1;
	for (unsigned i = 0; i < heap->ledger->head->sessions_high; i++)
		if (heap->clients->records[i].id)
			must(session_restore(&m->sessions, heap, i, &session), "session");
	machine_turn(m);
	heap_lock(heap);
	harvest_handback(heap->supply, true);
	heap_unlock(heap);
}

void machine_heap_reborn(struct machine *m, unsigned i)
{
	struct heap *heap = m->heaps[i];
	struct heap_files files = { copy(heap->heap_fd), copy(heap->directory_fd), copy(heap->control_fd),
				    copy(heap->ledger_fd) };
	struct heap_plan plan = {
		.config = heap->config,
		.geometry = heap->geometry,
		.ledger_bytes = heap->ledger_bytes,
		.base = heap->t.base,
		.account = &m->account,
		.log = &m->log,
		.files = &files,
	};

	sessions_reborn(m);
	heap_drop_tables(heap);
	heap_destroy(heap);
	m->account.taken = 0;
	must(heap_create(&plan, &m->heaps[i]), "heap");
	machine_turn(m);
	heap_make_tables(m->heaps[i]);
	must(recover_run(m->heaps[i]), "recovery");
	sessions_restore(m, m->heaps[i]);
}

static void client_clear(struct heapd_session *session)
{
	session->npins = session->nranges = 0;
	memset((char *)session + HEAPD_SESSION_THREAD_AT, 0, 8 * sizeof(struct heapd_thread));
}

static void heap_is_sound(struct heap *heap)
{
	struct heapd_verify_reply reply = { 0 };

	memset(heap->t.rseq_rows, 0, heap->t.cpus << HEAPD_RSEQ_ROW_SHIFT);
	memset(heap->t.cas_rows, 0, heap->t.cpus << HEAPD_ROW_SHIFT);
	for (unsigned i = 0; i < heap->clients->n; i++)
		if (heap->clients->slots[i].memory)
			client_clear(heap->clients->slots[i].memory);
	must(verify_heap(heap, &reply), "verify");
	if (reply.faults)
		machine_fail("%lu faults of the daemon's own: %s", (unsigned long)reply.faults, reply.first);
}

void machine_is_sound(const struct machine *m)
{
	machine_turn(NULL);
	for (size_t i = 0; i < m->sessions.nheaps; i++)
		heap_is_sound(m->heaps[i]);
}
