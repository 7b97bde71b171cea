/* SPDX-License-Identifier: MIT */
/*
 * Cycles as traces: a file for Perfetto or chrome://tracing, and OpenTelemetry's JSON. From the records in a heap's
 * directory, by whoever has it mapped: the exporter and heapctl.
 */
#ifndef HEAPD_BPF_CYCLETRACE_H
#define HEAPD_BPF_CYCLETRACE_H

#include <stdbool.h>
#include <stdio.h>

#include "heapd/directory.h"

/* A record that is whole: false if there is none of that number, any more or yet. */
bool cycletrace_read(const struct heapd_directory *directory, uint64_t cycle,
		     struct heapd_cycle_record *record);

/* All that the directory remembers, oldest first. */
void cycletrace_write_chrome(const struct heapd_directory *directory, const char *heap, FILE *out);

/* One cycle: a trace whose root is the cycle, its phases below, below two of them their handshakes. The body of a request to /v1/traces. */
void cycletrace_write_otlp(const struct heapd_directory *directory, const char *heap,
			   const struct heapd_cycle_record *record, FILE *out);

#endif
