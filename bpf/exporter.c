/* SPDX-License-Identifier: MIT */
/*
 * heapd-exporter: one page of metrics of all heaps of a daemon.
 *
 * One thread and libevent's HTTP server. Nothing here waits: an answer is written into memory at once and leaves as the
 * scraper reads (answers.c), so one that hangs has its descriptor for some seconds and delays nobody. When all descriptors
 * are in use, no connection is accepted for a moment.
 */
#include <argp.h>
#include <arpa/inet.h>
#include <cap-ng.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "answers.h"
#include "callsites.h"
#include "handover.h"
#include "metrics.h"
#include "tracing.h"

#define TIMEOUT       5 /* seconds for a connection that neither sends nor reads */
#define HEADERS_BYTES 16384
#define BODY_BYTES    1024
#define PAGE_MS       100
#define FILES         8192u
#define UPGRADED      75 /* exit status: EX_TEMPFAIL; heapd-exporter.service knows it */
#define LOOKS         5u /* for requests to come and answers to be read before that */

/* What was written last, in one of the two forms. */
struct page {
	struct evbuffer *text;
	uint64_t until; /* ms */
};

struct exporter {
	const char *daemon, *library, *otlp;
	unsigned short port;
	bool no_bpf;
	enum loader_links links;

	struct event_base *base;
	struct evhttp *http;
	struct evconnlistener *listener;
	struct event *rest; /* until connections are accepted again */
	struct heaps heaps;
	struct answers answers;
	struct page pages[2];
	struct metrics metrics;
	struct loader *loader;
	struct tracing *tracing;
	struct handover handover;
	struct installed installed;
	struct event *look; /* whether it is still what is installed */
	unsigned looks_left;
	bool lost_said;
	int status;
};

static const struct argp_option options[] = {
	{ "heap", 'H', "NAME", 0, "Export this heap alone; may be given many times (all that may be read)",
	  0 },
	{ "socket", 's', "PATH", 0, "The daemon's socket (/run/heapd/heapd.sock)", 0 },
	{ "port", 'p', "PORT", 0, "Listen on 127.0.0.1:PORT (9469), unless systemd hands over a socket", 0 },
	{ "daemon", 'd', "FILE", 0, "The daemon's program, for its probes (" EXPORTER_DAEMON ")", 0 },
	{ "library", 'l', "FILE", 0, "The library, for its probes (" EXPORTER_LIBRARY ")", 0 },
	{ "no-bpf", 'n', NULL, 0, "Do without BPF", 0 },
	{ "links", 'L', "KIND", 0, "Attach BPF programs by uprobe_multi or by usdt (by what the kernel has)",
	  0 },
	{ "otlp", 'o', "URL", 0, "Send each collection as a trace there (http://127.0.0.1:4318/v1/traces)",
	  0 },
	{ 0 },
};

static error_t port_parse(struct argp_state *state, const char *text, unsigned short *port)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n > 65535)
		argp_error(state, "\"%s\" is no port", text);
	*port = (unsigned short)n;
	return 0;
}

static void links_parse(struct argp_state *state, const char *text, enum loader_links *links)
{
	if (!strcmp(text, "uprobe_multi"))
		*links = LOADER_MULTI;
	else if (!strcmp(text, "usdt"))
		*links = LOADER_USDT;
	else
		argp_error(state, "\"%s\" is neither uprobe_multi nor usdt", text);
}

static error_t option_parse(int key, char *value, struct argp_state *state)
{
	struct exporter *e = state->input;

	switch (key) {
	case 'H':
		if (strlen(value) >= HEAPD_NAME_MAX || heaps_want(&e->heaps, value) < 0)
			argp_error(state, "too many heaps, or too long a name: %s", value);
		return 0;
	case 's':
		e->heaps.socket = value;
		return 0;
	case 'p':
		return port_parse(state, value, &e->port);
	case 'd':
		e->daemon = value;
		return 0;
	case 'l':
		e->library = value;
		return 0;
	case 'n':
		e->no_bpf = true;
		return 0;
	case 'L':
		links_parse(state, value, &e->links);
		return 0;
	case 'o':
		e->otlp = value;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Serving --------------------------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Many who ask at once get the same page: a flood of them costs no more than ten in a second. */
static struct evbuffer *page_make(struct exporter *exporter, bool open_metrics)
{
	struct page *page = &exporter->pages[open_metrics];
	struct exposition e = { .open_metrics = open_metrics };
	uint64_t now = now_ms();

	if (page->text && now < page->until)
		return page->text;
	e.out = evbuffer_new();
	if (!e.out)
		return NULL;
	metrics_write(&exporter->metrics, &e);
	evbuffer_pullup(e.out, -1); /* one piece: what refers to it is small */
	if (page->text)
		evbuffer_free(page->text);
	*page = (struct page){ e.out, now + PAGE_MS };
	return page->text;
}

static void metrics_serve(struct evhttp_request *request, void *arg)
{
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
	bool open_metrics = accept && strstr(accept, "application/openmetrics-text");
	struct exporter *exporter = arg;
	struct evbuffer *page = page_make(exporter, open_metrics), *out = evbuffer_new();

	if (!page || !out || evbuffer_add_buffer_reference(out, page) < 0)
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
	else
		answers_send(&exporter->answers, request,
			     open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
					  : "text/plain; version=0.0.4; charset=utf-8",
			     out);
	if (out)
		evbuffer_free(out);
}

static void callsites_serve(struct evhttp_request *request, void *arg)
{
	struct evbuffer *out = evbuffer_new();
	struct exporter *exporter = arg;

	if (!out || !exporter->loader) {
		evhttp_send_error(request, out ? HTTP_SERVUNAVAIL : HTTP_INTERNAL, NULL);
	} else {
		callsites_write(exporter->loader, &exporter->heaps, out);
		answers_send(&exporter->answers, request, "text/plain; charset=utf-8", out);
	}
	if (out)
		evbuffer_free(out);
}

static void accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct exporter *e = arg;

	(void)fd, (void)what;
	if (!e->answers.are_last)
		evconnlistener_enable(e->listener);
}

/* Descriptors are short: to try again at once would be to do nothing else. */
static void accept_failed(struct evconnlistener *listener, void *arg)
{
	static const struct timeval moment = { .tv_usec = 100000 };
	struct exporter *e = arg;

	evconnlistener_disable(listener);
	evtimer_add(e->rest, &moment);
}

static struct evhttp_bound_socket *socket_open(struct exporter *e)
{
	int fd = e->handover.socket;

	if (fd >= 0)
		return evutil_make_socket_nonblocking(fd) < 0 ? NULL
							      : evhttp_accept_socket_with_handle(e->http, fd);
	return evhttp_bind_socket_with_handle(e->http, "127.0.0.1", e->port);
}

static int listen_start(struct exporter *e)
{
	struct evhttp_bound_socket *bound;
	struct sockaddr_in at = { 0 };
	socklen_t size = sizeof(at);

	evhttp_set_timeout(e->http, TIMEOUT);
	evhttp_set_max_headers_size(e->http, HEADERS_BYTES);
	evhttp_set_max_body_size(e->http, BODY_BYTES);
	evhttp_set_allowed_methods(e->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_cb(e->http, "/metrics", metrics_serve, e);
	evhttp_set_cb(e->http, "/callsites", callsites_serve, e);
	bound = socket_open(e);
	if (!bound)
		return -errno;
	e->listener = evhttp_bound_socket_get_listener(bound);
	evconnlistener_set_error_cb(e->listener, accept_failed);
	getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&at, &size);
	printf("heapd-exporter: listening on port %u\n", ntohs(at.sin_port));
	return 0;
}

static void end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	event_base_loopbreak(arg);
}

/* Upgrades -------------------------------------------------------------------------------------------------------- */

static void upgrade_say(struct exporter *e)
{
	e->metrics.stale = true;
	printf("heapd-exporter: %s or %s was upgraded since the start: %s\n", e->daemon, e->library,
	       e->handover.is_served ? "another exporter is to look at the new one, too"
				     : "of the new one nothing is seen; start heapd-exporter again");
	fflush(stdout);
}

static bool makes_way(const struct exporter *e)
{
	return e->looks_left < LOOKS;
}

/*
 * Who comes now waits in the socket's queue, where systemd has made the socket. Who was let in before may not have asked yet: there
 * is one look more for that at least. Who was answered may read for a moment.
 */
static void make_way(struct exporter *e)
{
	bool begins = !makes_way(e);

	evconnlistener_disable(e->listener);
	e->answers.are_last = true;
	if (e->looks_left-- && (begins || !TAILQ_EMPTY(&e->answers.all)))
		return;
	e->status = UPGRADED;
	event_base_loopbreak(e->base);
}

/* Once: from then on the metrics tell how much. */
static void lost_say(struct exporter *e)
{
	if (e->lost_said || !loader_lost(e->loader).room)
		return;
	e->lost_said = true;
	printf("heapd-exporter: objects come from more than %u call sites: those of others are counted as lost\n",
	       SITES_MAX);
	fflush(stdout);
}

/* To attach takes capabilities, which it has no more. So it ends, and systemd starts another: where there is no systemd it stays. */
static void look(evutil_socket_t fd, short what, void *arg)
{
	struct exporter *e = arg;
	enum installed_change change = installed_look(&e->installed);

	(void)fd, (void)what;
	lost_say(e);
	if (change != INSTALLED_SAME && !e->metrics.stale)
		upgrade_say(e);
	if (e->handover.is_served && (change == INSTALLED_SETTLED || makes_way(e)))
		make_way(e);
}

static int look_start(struct exporter *e)
{
	static const struct timeval second = { .tv_sec = 1 };

	e->looks_left = LOOKS;
	if (e->no_bpf)
		return 0;
	e->look = event_new(e->base, -1, EV_PERSIST, look, e);
	return e->look ? event_add(e->look, &second) : -1;
}

/* Starting -------------------------------------------------------------------------------------------------------- */

/* The bounding set needs one capability more than the unit has, and whoever has none gains nothing by it: it may stay. */
static bool capabilities_drop(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	capng_apply(CAPNG_SELECT_BOTH);
	return capng_get_caps_process() == 0 && capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE;
}

static int bpf_start(struct exporter *e)
{
	const char *how = "none";
	int r = e->no_bpf ? -ENOSYS : loader_start(&e->loader, &e->installed, e->links, &how);

	if (r == 0)
		printf("heapd-exporter: BPF programs attached by %s\n", how);
	else if (!e->no_bpf)
		printf("heapd-exporter: goes on without BPF: %s\n", strerror(-r));
	if (r == 0)
		handover_keep(&e->handover, &e->installed);
	e->metrics.loader = e->loader;
	e->metrics.how = how;
	if (capabilities_drop())
		return 0;
	fprintf(stderr, "heapd-exporter: capabilities cannot be given up\n");
	return -EPERM;
}

/* Connections that do nothing are no reason to refuse those that do. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES)
		return;
	limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(struct exporter *e)
{
	struct event *ends[] = {
		evsignal_new(e->base, SIGTERM, end, e->base),
		evsignal_new(e->base, SIGINT, end, e->base),
	};
	int r;

	evsignal_add(ends[0], NULL);
	evsignal_add(ends[1], NULL);
	e->rest = evtimer_new(e->base, accept_again, e);
	r = listen_start(e);
	if (r < 0) {
		fprintf(stderr, "heapd-exporter: cannot listen: %s\n", strerror(-r));
	} else {
		fflush(stdout);
		sd_notify(1, "READY=1");
		event_base_dispatch(e->base);
	}
	event_free(e->rest);
	event_free(ends[0]);
	event_free(ends[1]);
	return r;
}

int main(int argc, char *argv[])
{
	static const struct argp argp = {
		.options = options,
		.parser = option_parse,
		.doc = "Exports metrics of heapd's heaps to Prometheus.",
	};
	struct exporter e = {
		.metrics = { .version = EXPORTER_VERSION, .heaps = &e.heaps, .installed = &e.installed },
		.daemon = EXPORTER_DAEMON,
		.library = EXPORTER_LIBRARY,
		.port = 9469,
	};
	int r;

	answers_init(&e.answers);
	heaps_init(&e.heaps, "/run/heapd/heapd.sock");
	argp_parse(&argp, argc, argv, 0, NULL, &e);
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	installed_init(&e.installed, e.daemon, e.library);
	handover_take(&e.handover, &e.installed);
	if (bpf_start(&e) < 0)
		return 1;
	e.base = event_base_new();
	e.http = e.base ? evhttp_new(e.base) : NULL;
	if (!e.http || heaps_start(&e.heaps, e.base) < 0 || look_start(&e) < 0)
		return 1;
	if (e.otlp)
		e.metrics.tracing = e.tracing = tracing_start(e.base, e.otlp, &e.heaps);
	r = run(&e);
	tracing_stop(e.tracing);
	evhttp_free(e.http);
	for (unsigned i = 0; i < 2; i++)
		if (e.pages[i].text)
			evbuffer_free(e.pages[i].text);
	if (e.look)
		event_free(e.look);
	heaps_deinit(&e.heaps);
	event_base_free(e.base);
	loader_stop(e.loader);
	installed_deinit(&e.installed);
	return r < 0 ? 1 : e.status;
}
