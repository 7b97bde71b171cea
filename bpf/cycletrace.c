/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing. The daemon clears a record's number, writes the record, then its number (release): a copy between two
 * looks that find the same number is whole. Pairs with the daemon's stores in its collector.
 *
 * A cycle's parts follow each other, and of each it is known how long it took: what lies between is counted to none.
 */
#include "cycletrace.h"

#include <inttypes.h>

#include "heapd/atomic.h"

#define PARTS 6u

static const char *const parts[PARTS] = { "barrier", "gather", "scan", "roots", "mark", "sweep" };

static void durations(const struct heapd_cycle_record *r, uint64_t ns[PARTS])
{
	const uint64_t all[PARTS] = { r->barrier, r->gather, r->scan, r->roots, r->mark, r->sweep };

	for (unsigned i = 0; i < PARTS; i++)
		ns[i] = all[i];
}

static uint64_t total(const uint64_t ns[PARTS])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PARTS; i++)
		sum += ns[i];
	return sum;
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

	if (!cycle || HEAPD_LOAD_ACQUIRE(&from->cycle) != cycle)
		return false;
	*record = *from;
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
	uint64_t ns[PARTS], at = r->began;
	char name[64];

	durations(r, ns);
	snprintf(name, sizeof(name), "gc %" PRIu64 "%s", r->cycle, r->is_void ? " (void)" : "");
	chrome_event(out, name, r->began, total(ns), ",\n");
	fprintf(out,
		",\"args\":{\"trigger\":\"%s\",\"before\":%" PRIu64 ",\"live\":%" PRIu64 ",\"freed\":%" PRIu64
		",\"threads\":%u,\"clients\":%u,\"pause_max_ns\":%" PRIu64 "}}",
		trigger_name(r->trigger), r->before, r->marked, r->freed, r->threads, r->sessions,
		r->pause_max);
	for (unsigned i = 0; i < PARTS; at += ns[i++]) {
		chrome_event(out, parts[i], at, ns[i], ",\n");
		fputs("}", out);
	}
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
		      unsigned part, uint64_t begin, uint64_t ns)
{
	fprintf(out,
		"%s{\"traceId\":\"%016" PRIx64 "%016" PRIx64 "\",\"spanId\":\"%015" PRIx64 "%x\","
		"\"name\":\"%s\",\"kind\":1,\"startTimeUnixNano\":\"%" PRIu64
		"\",\"endTimeUnixNano\":\"%" PRIu64 "\"",
		part ? "," : "", d->id, r->began, r->cycle, part + 1, part ? parts[part - 1] : "gc cycle",
		begin, begin + ns);
	if (part)
		fprintf(out, ",\"parentSpanId\":\"%015" PRIx64 "1\"", r->cycle);
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
	uint64_t ns[PARTS], at = r->began;

	durations(r, ns);
	fprintf(out,
		"{\"resourceSpans\":[{\"resource\":{\"attributes\":["
		"{\"key\":\"service.name\",\"value\":{\"stringValue\":\"heapd\"}},"
		"{\"key\":\"heapd.heap\",\"value\":{\"stringValue\":\"%s\"}}]},"
		"\"scopeSpans\":[{\"scope\":{\"name\":\"heapd\"},\"spans\":[",
		heap);
	otlp_span(out, directory, r, 0, r->began, total(ns));
	otlp_attributes(out, r);
	fprintf(out, ",\"status\":{\"code\":%d}}", r->is_void ? 2 : 1);
	for (unsigned i = 0; i < PARTS; at += ns[i++]) {
		otlp_span(out, directory, r, i + 1, at, ns[i]);
		fputs("}", out);
	}
	fputs("]}]}]}", out);
}
