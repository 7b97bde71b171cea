/* SPDX-License-Identifier: MIT */
/*
 * Owns the names of what the exporter says of itself: what it is, what it is attached to, and what became of the traces
 * that it was to send. As elsewhere, each series is there from the start.
 */
#include "metrics.h"

static void files_write(const struct metrics *m, struct exposition *e)
{
	static const char *const names[INSTALLED_FILES] = { "daemon", "library" };

	exposition_family(
		e, "heapd_exporter_bpf_files", EXPOSITION_GAUGE,
		"Files whose probes are looked at: the one that was installed at the start, and those of before.");
	for (unsigned k = 0; k < INSTALLED_FILES; k++)
		exposition_gauge(e, "heapd_exporter_bpf_files",
				 &(struct exposition_labels){ NULL, "file", names[k], NULL, NULL },
				 m->loader ? m->installed->files[k].n : 0);
}

static void traces_write(const struct metrics *m, struct exposition *e)
{
	struct tracing_counts counts = tracing_counts(m->tracing);
	struct exposition_labels none = { 0 };

	exposition_family(e, "heapd_exporter_traces_sent", EXPOSITION_COUNTER,
			  "Collections whose traces were received.");
	exposition_counter(e, "heapd_exporter_traces_sent", &none, (double)counts.sent);
	exposition_family(
		e, "heapd_exporter_traces_lost", EXPOSITION_COUNTER,
		"Collections whose traces were not received, and are not sent again: the receiver is away, or too slow.");
	exposition_counter(e, "heapd_exporter_traces_lost", &none, (double)counts.lost);
	exposition_family(e, "heapd_exporter_traces_waiting", EXPOSITION_GAUGE,
			  "Traces that wait to be sent, or for an answer: 64 at most.");
	exposition_gauge(e, "heapd_exporter_traces_waiting", &none, counts.on_way);
}

static void exporter_write(const struct metrics *m, struct exposition *e)
{
	struct exposition_labels none = { 0 };

	exposition_family(
		e, "heapd_exporter_bpf_up", EXPOSITION_GAUGE,
		"Whether BPF programs are attached to the daemon and the library that are installed.");
	exposition_gauge(e, "heapd_exporter_bpf_up", &none, m->loader && !m->stale);
	exposition_family(e, "heapd_exporter_bpf_stale", EXPOSITION_GAUGE,
			  "Whether daemon or library were upgraded since the exporter was started.");
	exposition_gauge(e, "heapd_exporter_bpf_stale", &none, m->stale);
	files_write(m, e);
	exposition_family(e, "heapd_exporter_build_info", EXPOSITION_GAUGE,
			  "Version of the exporter, and by what kind of link it is attached.");
	exposition_gauge(e, "heapd_exporter_build_info",
			 &(struct exposition_labels){ NULL, "version", m->version, "attach", m->how }, 1);
}

void self_write(const struct metrics *m, struct exposition *e)
{
	exporter_write(m, e);
	traces_write(m, e);
}
