/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - owns the event loop, the heaps, and the order in which everything begins and ends.
 *
 * Right because the socket opens last and closes first: whoever gets in finds complete heaps, and heaps end
 * after their sessions, with their suppliers stopped. A reload reads the whole configuration anew, and what it
 * cannot use leaves the one in force untouched.
 */
#include "daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "account.h"
#include "adoption.h"
#include "clients.h"
#include "clock.h"
#include "collection.h"
#include "collector.h"
#include "connections.h"
#include "deads.h"
#include "excess.h"
#include "heap.h"
#include "ledger.h"
#include "listener.h"
#include "marks.h"
#include "notify.h"
#include "receipts.h"
#include "recover.h"
#include "reserved.h"
#include "roots.h"
#include "scavenger.h"
#include "session.h"
#include "status.h"
#include "store.h"
#include "supply.h"
#include "types.h"
#include "watchdog.h"

#define TICKET_SECONDS    5  /* how long a ticket may hold its object beyond its time */
#define FILES_PER_SESSION 5u /* its socket, pidfd, memory, notify socket, and one for a moment */
#define FILES_OTHER       256u

enum { SIGNAL_TERM, SIGNAL_INT, SIGNAL_HUP, SIGNALS };

struct daemon {
	const struct daemon_source *source;
	struct log *log;
	struct config config;
	struct account account;
	struct store store;
	struct event_base *base;
	struct event *signals[SIGNALS];
	struct event *tickets;
	struct heap *heaps[CONFIG_HEAPS_MAX];
	size_t nheaps;
	uint64_t next_base;
	struct sessions sessions;
	struct connections connections;
	struct excess excess;
	struct listener listener;
	struct watchdog watchdog;
	struct status status;
};

static int override_all(const struct daemon_source *source, struct config *config, struct log *log)
{
	struct config_error error;

	for (size_t i = 0; i < source->noverrides; i++) {
		int r = config_override(config, source->overrides[i], &error);

		if (r == -EINVAL)
			log_err(log, "command line: %s", error.text);
		if (r < 0)
			return r;
	}
	return 0;
}

int daemon_configure(const struct daemon_source *source, struct config *config, struct log *log)
{
	struct config new;
	int r;

	r = config_init(&new);
	if (r == 0)
		r = config_load(&new, source->file, source->file_required, config_report_log, log);
	if (r == 0)
		r = override_all(source, &new, log);
	if (r == 0)
		r = config_check(&new, config_report_log, log);
	if (r < 0) {
		if (r != -EINVAL)
			log_err(log, "cannot read the configuration: %s", strerror(-r));
		config_free(&new);
		return r;
	}
	*config = new;
	return 0;
}

static void heap_close(struct heap *heap)
{
	if (!heap)
		return;
	collector_stop(heap);
	scavenger_stop(heap);
	supply_stop(heap);
	roots_deinit(heap);
	deads_deinit(heap);
	receipts_deinit(heap);
	collection_deinit(heap);
	marks_deinit(heap);
	types_deinit(heap);
	clients_deinit(heap);
	heap_destroy(heap);
}

static int heap_make_tables(struct heap *heap)
{
	int r;

	r = clients_init(heap);
	if (r == 0)
		r = types_init(heap);
	if (r == 0)
		r = marks_init(heap);
	if (r == 0)
		r = collection_init(heap);
	if (r == 0)
		r = roots_init(heap);
	if (r == 0)
		r = deads_init(heap);
	if (r == 0)
		r = receipts_init(heap);
	if (r == 0)
		r = supply_init(heap);
	return r;
}

static int heap_run(struct heap *heap)
{
	int r;

	heap_lock(heap);
	pages_bar_base(heap->pages);
	heap_unlock(heap);
	r = supply_run(heap);
	if (r == 0)
		r = collector_start(heap, heap->collection->threads);
	if (r == 0)
		r = scavenger_start(heap);
	return r;
}

/*
 * The last daemon's sessions, each of which waits for its process from now on, and how many they are. One that cannot be
 * had is dropped.
 */
static unsigned sessions_adopt(struct daemon *daemon, struct heap *heap)
{
	const struct ledger_session *records = heap->clients->records;
	struct session *session;
	unsigned n = 0;

	if (heap->ledger->head->last_session >= daemon->sessions.next_id)
		daemon->sessions.next_id = heap->ledger->head->last_session + 1;
	for (unsigned i = 0; i < heap->ledger->head->sessions_high; i++) {
		if (!records[i].id || session_restore(&daemon->sessions, heap, i, &session) < 0)
			continue;
		beat_count(&heap->walk_beat);
		deads_settle(heap, records[i].in_flight);
		n += connections_expect(&daemon->connections, session);
	}
	connections_look(&daemon->connections);
	return n;
}

/*
 * What had been handed back may have been taken back, and the client not been told: it is taken back once more, before
 * anything of it can be given out again.
 */
static int heap_adopt(struct daemon *daemon, struct heap *heap)
{
	uint64_t begin = clock_ns();
	int r = recover_run(heap);
	unsigned sessions;

	if (r < 0)
		return r;
	sessions = sessions_adopt(daemon, heap);
	heap_lock(heap);
	harvest_handback_again(heap->supply);
	heap_unlock(heap);
	recover_tell(heap, sessions, clock_ns() - begin);
	return 0;
}

static int heap_prepare(struct daemon *daemon, struct heap *heap)
{
	int r;

	r = recover_lock(heap);
	if (r == 0)
		r = heap_make_tables(heap);
	if (r == 0)
		r = heap->adopted ? heap_adopt(daemon, heap) : recover_store(&daemon->store, heap);
	if (r == 0)
		r = heap_run(heap);
	if (r < 0)
		log_err(heap->log, "heap '%s' cannot be started: %s", heap->name, strerror(-r));
	return r;
}

/* Its own geometry and place, if it is kept; else what the configuration says. */
static int heap_plan(struct daemon *daemon, struct heap_plan *plan, struct heap_files *files)
{
	const struct config_heap *config = plan->config;
	int r = recover_find(&daemon->store, config->name, plan, files);

	if (r < 0)
		return r;
	if (r == 0) {
		r = heap_geometry(config, daemon->log, &plan->geometry);
		plan->ledger_bytes = ledger_size(&plan->geometry);
		return r;
	}
	if (config->size != plan->geometry.size || (config->base && config->base != plan->base))
		log_warning(daemon->log,
			    "heap '%s' was kept as it is: Size= and Base= change with a new heap",
			    config->name);
	return 0;
}

static int heap_open(struct daemon *daemon, const struct config_heap *config)
{
	struct heap_plan plan = {
		.config = config,
		.base = daemon->next_base,
		.account = &daemon->account,
		.log = daemon->log,
	};
	struct heap_files files;
	struct heap *heap = NULL;
	int r;

	r = heap_plan(daemon, &plan, &files);
	if (r == 0)
		r = heap_create(&plan, &heap);
	watchdog_recovers(&daemon->watchdog, heap);
	if (r == 0)
		r = heap_prepare(daemon, heap);
	watchdog_recovers(&daemon->watchdog, NULL);
	if (r < 0) {
		heap_close(heap);
		return r;
	}
	if (!config->base && heap->t.base >= daemon->next_base)
		daemon->next_base = heap_next_base(heap);
	daemon->heaps[daemon->nheaps++] = heap;
	HEAPD_STORE_RELEASE(&daemon->sessions.nheaps, daemon->nheaps);
	log_info(daemon->log, "heap '%s': at 0x%" PRIx64 ", %s of addresses, limit %s", heap->name,
		 heap->t.base, value_size_text(heap->geometry.size).text,
		 value_size_text(config->limit).text);
	return 0;
}

/* Heaps that are stored and not configured: nobody can tell whether clients still use them. */
static void tell_unclaimed(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->store.nitems; i++) {
		const char *name = daemon->store.items[i].name;
		size_t length = strlen(name);

		if (strncmp(name, "heap.", 5) == 0 && length > 12 &&
		    strcmp(name + length - 7, ".ledger") == 0)
			log_warning(
				daemon->log,
				"heap '%.*s' is kept, but not configured: put [Heap %.*s] back and restart, or "
				"give it up with --discard-heaps",
				(int)length - 12, name + 5, (int)length - 12, name + 5);
	}
}

/* They are what they are: nobody is refused what he has, and nothing more is to be had. */
static void settle_account(struct daemon *daemon)
{
	if (account_settle(&daemon->account))
		log_warning(
			daemon->log,
			"the heaps that were kept take %s, and MemoryMax= of the service, or this machine, "
			"leaves %s: they are served as they are, and do not grow; raise MemoryMax=, or free some",
			value_size_text(account_taken(&daemon->account)).text,
			value_size_text(daemon->account.maximum).text);
}

/* Who may choose comes last: kept heaps lie where they lie, and a new one of a given Base= shall lie there. */
enum turn { KEPT, GIVEN, FREE };

static enum turn turn_of(const struct daemon *daemon, const struct config_heap *heap)
{
	if (recover_is_kept(&daemon->store, heap->name))
		return KEPT;
	return heap->base ? GIVEN : FREE;
}

static int open_turn(struct daemon *daemon, const enum turn turns[], enum turn turn)
{
	const struct config *config = &daemon->config;
	int result = 0;

	for (size_t i = 0; i < config->nheaps; i++) {
		const struct config_heap *heap = &config->heaps[i];
		int r;

		if (turns[i] != turn || sessions_find_heap(&daemon->sessions, heap->name))
			continue;
		if (daemon->nheaps == CONFIG_HEAPS_MAX)
			return -E2BIG;
		r = heap_open(daemon, heap);
		if (r < 0)
			result = r;
	}
	return result;
}

/* Those that are not there yet. Whose turn it is is said beforehand: of one that cannot be adopted none is made anew. */
static int open_heaps(struct daemon *daemon)
{
	enum turn turns[CONFIG_HEAPS_MAX];
	struct reserved reserved;
	int kept, given, free, r;

	for (size_t i = 0; i < daemon->config.nheaps; i++)
		turns[i] = turn_of(daemon, &daemon->config.heaps[i]);
	r = reserved_find(&reserved, &daemon->store);
	if (r < 0)
		return r;
	kept = open_turn(daemon, turns, KEPT);
	reserved_take(&reserved);
	given = open_turn(daemon, turns, GIVEN);
	free = open_turn(daemon, turns, FREE);
	reserved_leave(&reserved);
	return free < 0 ? free : given < 0 ? given : kept;
}

static void close_heaps(struct daemon *daemon)
{
	while (daemon->nheaps) {
		heap_close(daemon->heaps[--daemon->nheaps]);
	}
	daemon->sessions.nheaps = 0;
}

/* As many files as the kernel allows: each session needs some, and a limit that is met refuses processes. */
static void raise_file_limit(struct daemon *daemon)
{
	rlim_t wanted = (rlim_t)FILES_PER_SESSION * daemon->config.max_sessions + FILES_OTHER;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warning(daemon->log, "cannot raise the limit of open files: %m");
	else if (limit.rlim_cur < wanted)
		log_warning(daemon->log,
			    "MaxSessions=%u needs %" PRIu64 " open files, and %" PRIu64
			    " are allowed; raise the limit (LimitNOFILE=)",
			    daemon->config.max_sessions, (uint64_t)wanted, (uint64_t)limit.rlim_cur);
}

static void adopt_config(struct daemon *daemon, struct config *new)
{
	struct config old = daemon->config;

	if (strcmp(old.socket, new->socket) != 0 || old.socket_mode != new->socket_mode)
		log_warning(daemon->log, "Socket= and SocketMode= change when heapd is restarted");
	daemon->config = *new;
	account_set_share(&daemon->account, new->heap_share);
	for (size_t i = 0; i < daemon->nheaps; i++)
		adoption_run(daemon->heaps[i], config_find_heap(&daemon->config, daemon->heaps[i]->name));
	config_free(&old);
	log_set_level(daemon->log, daemon->config.log_level);
}

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *daemon = arg;
	struct config new;
	char word[64];

	(void)fd, (void)what;
	snprintf(word, sizeof(word), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_ns() / 1000);
	notify_send(word, -1, 0);
	if (daemon_configure(daemon->source, &new, daemon->log) < 0) {
		log_err(daemon->log, "configuration not reloaded; what was in force stays");
	} else {
		adopt_config(daemon, &new);
		if (open_heaps(daemon) < 0)
			log_err(daemon->log, "configuration reloaded, but not all heaps could be made");
		else
			log_notice(daemon->log, "configuration reloaded");
	}
	status_ready(&daemon->status);
}

static void on_stop(evutil_socket_t number, short what, void *arg)
{
	struct daemon *daemon = arg;

	(void)what;
	log_notice(daemon->log, "SIG%s: stopping", sigabbrev_np((int)number));
	event_base_loopbreak(daemon->base);
}

static void on_tickets(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *daemon = arg;

	(void)fd, (void)what;
	for (size_t i = 0; i < daemon->nheaps; i++)
		roots_tickets_expire(daemon->heaps[i], clock_ns());
	connections_look(&daemon->connections);
}

static int watch_signals(struct daemon *daemon)
{
	static const int numbers[SIGNALS] = {
		[SIGNAL_TERM] = SIGTERM, [SIGNAL_INT] = SIGINT, [SIGNAL_HUP] = SIGHUP
	};

	for (size_t i = 0; i < SIGNALS; i++) {
		daemon->signals[i] =
			evsignal_new(daemon->base, numbers[i], i == SIGNAL_HUP ? on_reload : on_stop, daemon);
		if (!daemon->signals[i] || event_add(daemon->signals[i], NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int watch_tickets(struct daemon *daemon)
{
	static const struct timeval period = { .tv_sec = TICKET_SECONDS };

	daemon->tickets = event_new(daemon->base, -1, EV_PERSIST, on_tickets, daemon);
	return daemon->tickets && event_add(daemon->tickets, &period) == 0 ? 0 : -ENOMEM;
}

static int make_loop(struct daemon *daemon)
{
	int r = -ENOMEM;

	daemon->base = event_base_new();
	if (daemon->base)
		r = watch_signals(daemon);
	if (r == 0)
		r = watch_tickets(daemon);
	if (r == 0)
		r = connections_init(&daemon->connections, daemon->base, &daemon->sessions, daemon->log);
	if (r == 0)
		r = excess_start(&daemon->excess, &daemon->connections);
	if (r < 0)
		log_err(daemon->log, "cannot make the event loop: %s", strerror(-r));
	return r;
}

static void free_loop(struct daemon *daemon)
{
	watchdog_stop(&daemon->watchdog); /* before the heaps go that it looks at */
	status_stop(&daemon->status);
	excess_stop(&daemon->excess);
	if (daemon->connections.base)
		connections_deinit(&daemon->connections);
	for (size_t i = 0; i < SIGNALS; i++) {
		if (daemon->signals[i])
			event_free(daemon->signals[i]);
	}
	if (daemon->tickets)
		event_free(daemon->tickets);
	if (daemon->base)
		event_base_free(daemon->base);
}

/*
 * Memories that were made ahead, or whose sessions have ended, are of no heap that is there. While one is kept that is not
 * configured, they may be of its sessions, unless nobody has ever had them.
 */
static void drop_unclaimed(struct daemon *daemon)
{
	bool unclaimed = false;

	for (size_t i = 0; i < daemon->store.nitems; i++)
		unclaimed |= strncmp(daemon->store.items[i].name, "heap.", 5) == 0;
	store_drop(&daemon->store, "session.", unclaimed ? sessionmemory_is_new : NULL);
}

static int start(struct daemon *daemon)
{
	int r;

	raise_file_limit(daemon);
	account_init(&daemon->account);
	account_set_share(&daemon->account, daemon->config.heap_share);
	r = watchdog_start(&daemon->watchdog, &daemon->sessions, daemon->log);
	if (r == 0)
		r = make_loop(daemon);
	if (r == 0)
		r = open_heaps(daemon);
	if (r < 0)
		return r;
	settle_account(daemon);
	r = watchdog_loop(&daemon->watchdog, daemon->base);
	if (r == 0)
		r = status_start(&daemon->status, daemon->base, &daemon->sessions);
	if (r < 0)
		return r;
	tell_unclaimed(daemon);
	drop_unclaimed(daemon);
	r = listener_start(&daemon->listener, daemon->base, &daemon->config, &daemon->connections,
			   daemon->store.listener, daemon->log);
	daemon->store.listener = -1;
	return r;
}

static int run(struct daemon *daemon)
{
	const char *path = daemon->listener.path;
	int r;

	log_notice(daemon->log, "ready: %zu heaps, socket %s", daemon->nheaps,
		   path[0] ? path : "of the service manager");
	status_ready(&daemon->status);
	store_hurry(&daemon->store);
	sessionmemories_refill(&daemon->sessions.memories);
	r = event_base_dispatch(daemon->base);
	notify_send("STOPPING=1", -1, 0);
	listener_stop(&daemon->listener);
	if (r < 0)
		log_err(daemon->log, "the event loop failed: %m");
	return r < 0 ? -EIO : 0;
}

static void discard_heaps(struct daemon *daemon)
{
	size_t heaps = store_drop(&daemon->store, "heap.", NULL),
	       sessions = store_drop(&daemon->store, "session.", NULL);

	if (heaps || sessions)
		log_warning(daemon->log,
			    "kept heaps given up (--discard-heaps): %zu memory files, and %zu of sessions",
			    heaps, sessions);
}

int daemon_run(const struct daemon_source *source, struct config *config, struct log *log)
{
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	int r;

	if (!daemon) {
		log_err(log, "out of memory");
		config_free(config);
		return -ENOMEM;
	}
	daemon->source = source;
	daemon->log = log;
	daemon->config = *config;
	daemon->next_base = heap_first_base();
	umask(0022);
	signal(SIGPIPE, SIG_IGN);
	r = bus_init();
	if (r < 0)
		log_err(log, "cannot have a handler of SIGBUS: %s", strerror(-r));
	if (r == 0)
		r = store_init(&daemon->store, log);
	if (r == 0 && source->discard_heaps)
		discard_heaps(daemon);
	sessions_init(&daemon->sessions, log, &daemon->config, &daemon->store);
	daemon->sessions.heaps = daemon->heaps;
	if (r == 0)
		r = start(daemon);
	if (r == 0)
		r = run(daemon);
	free_loop(daemon);
	close_heaps(daemon);
	sessions_deinit(&daemon->sessions);
	store_deinit(&daemon->store);
	config_free(&daemon->config);
	free(daemon);
	return r;
}
