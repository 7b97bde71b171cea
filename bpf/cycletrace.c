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

static void chrome_event(FILE *out, const char *name, uint64_t begin, uint64_t ns, const char *comma)
{
	fprintf(out,
		"%s{\"name\":\"%s\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
		"\"ts\":%" PRIu64 ".%03u,\"dur\":%" PRIu64 ".%03u",
		comma, name, begin / 1000, (unsigned)(begin % 1000), ns / 1000, (unsigned)(ns % 1000));
}

static void chrome_cycle(FILE *out, const struct heapd_cycle_record *r)
{
	struct span spans[SPANS];
	uint64_t end;
	char name[64];

	spans_make(r, spans);
	end = r->began + spans[0].ns;
	snprintf(name, sizeof(name), "gc %" PRIu64 "%s", r->cycle, r->is_void ? " (void)" : "");
	chrome_event(out, name, r->began, spans[0].ns, ",\n");
	fprintf(out,
		",\"args\":{\"trigger\":\"%s\",\"before\":%" PRIu64 ",\"live\":%" PRIu64 ",\"freed\":%" PRIu64
		",\"threads\":%u,\"clients\":%u,\"pause_max_ns\":%" PRIu64 "}}",
		trigger_name(r->trigger), r->before, r->marked, r->freed, r->threads, r->sessions,
		r->pause_max);
	for (unsigned i = 1; i < SPANS; i++) {
		chrome_event(out, spans[i].name, spans[i].begin, spans[i].ns, ",\n");
		fputs("}", out);
	}
	fprintf(out,
		",\n{\"name\":\"heap\",\"ph\":\"C\",\"pid\":1,\"ts\":%" PRIu64
		".%03u,\"args\":{\"live\":%" PRIu64 "}}",
		end / 1000, (unsigned)(end % 1000), r->marked);
}

void cycletrace_write_chrome(const struct heapd_directory *directory, const char *heap, FILE *out)
{
	uint64_t last = heapd_now_cycle(HEAPD_READ_ONCE(directory->cycle.now));
	uint64_t first = last > HEAPD_CYCLES_KEPT ? last - HEAPD_CYCLES_KEPT + 1 : 1;
	struct heapd_cycle_record record;

	fprintf(out,
		"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
		"{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"heapd: %s\"}}",
		heap);
	for (uint64_t cycle = first; cycle <= last; cycle++)
		if (cycletrace_read(directory, cycle, &record))
			chrome_cycle(out, &record);
	fputs("\n]}\n", out);
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
