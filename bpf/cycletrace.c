/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing. The daemon clears a record's number (and a fence), writes the record, then its number (release): a copy
 * between two looks that find the same number is whole. Pairs with the daemon's stores in its collector.
 *
 * A cycle's phases follow each other, and of each it is known how long it took: what lies between is counted to none.
 * With the handshakes two of them end.
 */
#include "cycletrace.h"

#include <inttypes.h>

#include "heapd/atomic.h"

#define PHASES 6u
#define SPANS  (1 + PHASES + 2)

/* A cycle's first, then its phases', then its handshakes'. */
struct span {
	const char *name;
	unsigned parent; /* number of a span; its own: none */
	uint64_t begin, ns;
};

static struct span handshake(const struct span spans[SPANS], unsigned phase, const char *name, uint64_t ns)
{
	const struct span *p = &spans[phase];

	if (ns > p->ns)
		ns = p->ns;
	return (struct span){ name, phase, p->begin + p->ns - ns, ns };
}

static void spans_make(const struct heapd_cycle_record *r, struct span spans[SPANS])
{
	const struct span phases[PHASES] = {
		{ "barrier", 0, 0, r->barrier_phase },
		{ "gather", 0, 0, r->gather },
		{ "scan", 0, 0, r->scan_phase },
		{ "roots", 0, 0, r->roots },
		{ "mark", 0, 0, r->mark },
		{ "sweep", 0, 0, r->sweep },
	};
	uint64_t at = r->began;

	for (unsigned i = 0; i < PHASES; at += phases[i++].ns) {
		spans[i + 1] = phases[i];
		spans[i + 1].begin = at;
	}
	spans[0] = (struct span){ "gc cycle", 0, r->began, at - r->began };
	spans[PHASES + 1] = handshake(spans, 1, "handshake: barrier", r->barrier);
	spans[PHASES + 2] = handshake(spans, 3, "handshake: scan", r->scan);
}

static const char *trigger_name(uint32_t trigger)
{
	static const char *const words[] = {
		"heap", "limit", "interval", "request", "death", "void", "stress"
	};

	return trigger < sizeof(words) / sizeof(words[0]) ? words[trigger] : "unknown";
}

bool cycletrace_read(const struct heapd_directory *directory, uint64_t cycle,
		     struct heapd_cycle_record *record)
{
	const struct heapd_cycle_record *from = &directory->cycles[cycle % HEAPD_CYCLES_KEPT];
	const uint64_t *words = (const uint64_t *)(const void *)from;
	uint64_t *copy = (uint64_t *)(void *)record;

	if (!cycle || HEAPD_LOAD_ACQUIRE(&from->cycle) != cycle)
		return false;
	for (size_t i = 0; i < sizeof(*from) / sizeof(*words); i++)
		copy[i] = HEAPD_READ_ONCE(words[i]);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return HEAPD_READ_ONCE(from->cycle) == cycle;
}

/* Chrome ---------------------------------------------------------------------------------------------------------- */

/*
 * Times are microseconds since the first cycle. Who reads them takes them for double precision, in which the time of day has
 * quarters of a microsecond: parts would overlap, and their nesting be lost. That moment stands in the file's other data.
 *
 * What lies in what is said by times alone, and of two that begin at the same time the first lies outside: so a handshake
 * comes right behind its phase.
 */
struct chrome {
	FILE *out;
	uint64_t origin; /* CLOCK_REALTIME, ns */
};

/* The clock may have been set back since. */
static void chrome_time(const struct chrome *c, const char *key, uint64_t at)
{
	bool before = at < c->origin;
	uint64_t ns = before ? c->origin - at : at - c->origin;

	fprintf(c->out, ",\"%s\":%s%" PRIu64 ".%03u", key, before ? "-" : "", ns / 1000,
		(unsigned)(ns % 1000));
}

static void chrome_span(const struct chrome *c, const char *name, const struct span *span)
{
	fprintf(c->out, ",\n{\"name\":\"%s\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1", name);
	chrome_time(c, "ts", span->begin);
	fprintf(c->out, ",\"dur\":%" PRIu64 ".%03u", span->ns / 1000, (unsigned)(span->ns % 1000));
}

static void chrome_counter(const struct chrome *c, const char *name, uint64_t at, uint64_t bytes)
{
	fprintf(c->out, ",\n{\"name\":\"%s\",\"ph\":\"C\",\"pid\":1", name);
	chrome_time(c, "ts", at);
	fprintf(c->out, ",\"args\":{\"bytes\":%" PRIu64 "}}", bytes);
}

static void chrome_parts(const struct chrome *c, const struct span spans[SPANS])
{
	for (unsigned i = 1; i <= PHASES; i++) {
		chrome_span(c, spans[i].name, &spans[i]);
		fputs("}", c->out);
		for (unsigned k = PHASES + 1; k < SPANS; k++)
			if (spans[k].parent == i) {
				chrome_span(c, spans[k].name, &spans[k]);
				fputs("}", c->out);
			}
	}
}

static void chrome_cycle(const struct chrome *c, const struct heapd_cycle_record *r)
{
	struct span spans[SPANS];
	char name[64];

	spans_make(r, spans);
	snprintf(name, sizeof(name), "gc %" PRIu64 "%s", r->cycle, r->is_void ? " (void)" : "");
	chrome_span(c, name, &spans[0]);
	fprintf(c->out,
		",\"args\":{\"trigger\":\"%s\",\"before\":%" PRIu64 ",\"live\":%" PRIu64 ",\"freed\":%" PRIu64
		",\"threads\":%u,\"clients\":%u,\"pause_max_ns\":%" PRIu64 "}}",
		trigger_name(r->trigger), r->before, r->marked, r->freed, r->threads, r->sessions,
		r->pause_max);
	chrome_parts(c, spans);
	chrome_counter(c, "allocated", r->began, r->before);
	if (!r->is_void)
		chrome_counter(c, "live", r->began + spans[0].ns, r->marked);
}

static void chrome_name(const struct chrome *c, const char *what, const char *name, const char *comma)
{
	fprintf(c->out, "%s{\"name\":\"%s\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"%s\"}}",
		comma, what, name);
}

static void chrome_end(const struct chrome *c, const char *heap)
{
	fprintf(c->out,
		"\n],\"displayTimeUnit\":\"ns\",\"otherData\":{\"heap\":\"%s\",\"began_unix_ns\":\"%" PRIu64
		"\"}}\n",
		heap, c->origin);
}

void cycletrace_write_chrome(const struct heapd_directory *directory, const char *heap, FILE *out)
{
	uint64_t last = heapd_now_cycle(HEAPD_READ_ONCE(directory->cycle.now));
	uint64_t first = last > HEAPD_CYCLES_KEPT ? last - HEAPD_CYCLES_KEPT + 1 : 1;
	struct heapd_cycle_record record;
	struct chrome c = { .out = out };
	char process[HEAPD_NAME_MAX + 16];

	snprintf(process, sizeof(process), "heapd: %s", heap);
	fputs("{\"traceEvents\":[\n", out);
	chrome_name(&c, "process_name", process, "");
	chrome_name(&c, "thread_name", "collections", ",\n");
	for (uint64_t cycle = first; cycle <= last; cycle++)
		if (cycletrace_read(directory, cycle, &record)) {
			c.origin = c.origin ? c.origin : record.began;
			chrome_cycle(&c, &record);
		}
	chrome_end(&c, heap);
}

/* OpenTelemetry --------------------------------------------------------------------------------------------------- */

/* Ids are made of the heap's own, the cycle and its begin: sent twice, it is the same span. */
static void otlp_span(FILE *out, const struct heapd_directory *d, const struct heapd_cycle_record *r,
		      const struct span *spans, unsigned i)
{
	fprintf(out,
		"%s{\"traceId\":\"%016" PRIx64 "%016" PRIx64 "\",\"spanId\":\"%015" PRIx64 "%x\","
		"\"name\":\"%s\",\"kind\":1,\"startTimeUnixNano\":\"%" PRIu64
		"\",\"endTimeUnixNano\":\"%" PRIu64 "\"",
		i ? "," : "", d->id, r->began, r->cycle, i + 1, spans[i].name, spans[i].begin,
		spans[i].begin + spans[i].ns);
	if (i)
		fprintf(out, ",\"parentSpanId\":\"%015" PRIx64 "%x\"", r->cycle, spans[i].parent + 1);
}

static void otlp_number(FILE *out, const char *name, uint64_t value, const char *comma)
{
	fprintf(out, "%s{\"key\":\"%s\",\"value\":{\"intValue\":\"%" PRIu64 "\"}}", comma, name, value);
}

static void otlp_attributes(FILE *out, const struct heapd_cycle_record *r)
{
	fputs(",\"attributes\":[", out);
	otlp_number(out, "heapd.gc.cycle", r->cycle, "");
	otlp_number(out, "heapd.gc.allocated_before", r->before, ",");
	otlp_number(out, "heapd.gc.live", r->marked, ",");
	otlp_number(out, "heapd.gc.freed", r->freed, ",");
	otlp_number(out, "heapd.gc.threads", r->threads, ",");
	otlp_number(out, "heapd.gc.pause_max_ns", r->pause_max, ",");
	fprintf(out, ",{\"key\":\"heapd.gc.trigger\",\"value\":{\"stringValue\":\"%s\"}}]",
		trigger_name(r->trigger));
}

void cycletrace_write_otlp(const struct heapd_directory *directory, const char *heap,
			   const struct heapd_cycle_record *r, FILE *out)
{
	struct span spans[SPANS];

	spans_make(r, spans);
	fprintf(out,
		"{\"resourceSpans\":[{\"resource\":{\"attributes\":["
		"{\"key\":\"service.name\",\"value\":{\"stringValue\":\"heapd\"}},"
		"{\"key\":\"heapd.heap\",\"value\":{\"stringValue\":\"%s\"}}]},"
		"\"scopeSpans\":[{\"scope\":{\"name\":\"heapd\"},\"spans\":[",
		heap);
	otlp_span(out, directory, r, spans, 0);
	otlp_attributes(out, r);
	fprintf(out, ",\"status\":{\"code\":%d}}", r->is_void ? 2 : 1);
	for (unsigned i = 1; i < SPANS; i++) {
		otlp_span(out, directory, r, spans, i);
		fputs("}", out);
	}
	fputs("]}]}]}", out);
}
