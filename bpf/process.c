/* SPDX-License-Identifier: MIT */
/*
 * The daemon's process, under the names that every client library of Prometheus uses. What cannot be read is 0.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metrics.h"

struct process {
	unsigned long long user, system, start, virtual, resident; /* ticks, ticks, ticks, bytes, pages */
	unsigned fds;
};

static FILE *proc_open(pid_t pid, const char *what)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	return fopen(path, "re");
}

/* proc(5): fields 14, 15, 22, 23, 24, counted behind the name, which may have anything in it. */
static void stat_parse(const char *line, struct process *p)
{
	const char *at = strrchr(line, ')');

	if (at)
		sscanf(at + 1,
		       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d "
		       "%llu %llu %llu",
		       &p->user, &p->system, &p->start, &p->virtual, &p->resident);
}

static unsigned fds_count(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	for (struct dirent *d; dir && (d = readdir(dir));)
		n += d->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static double boot_seconds(void)
{
	FILE *f = fopen("/proc/stat", "re");
	unsigned long long seconds = 0;
	char line[4096];

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "btime %llu", &seconds) != 1)
		;
	if (f)
		fclose(f);
	return (double)seconds;
}

static struct process process_read(pid_t pid)
{
	struct process p = { 0 };
	FILE *f = pid ? proc_open(pid, "stat") : NULL;
	char line[1024];

	if (!f)
		return p;
	if (fgets(line, sizeof(line), f))
		stat_parse(line, &p);
	fclose(f);
	p.fds = fds_count(pid);
	return p;
}

static void gauge(struct exposition *e, const char *name, const char *help, double value)
{
	struct exposition_labels none = { 0 };

	exposition_family(e, name, EXPOSITION_GAUGE, help);
	exposition_gauge(e, name, &none, value);
}

void process_write(struct exposition *e, pid_t daemon)
{
	struct process p = process_read(daemon);
	double tick = (double)sysconf(_SC_CLK_TCK);
	struct exposition_labels none = { 0 };

	exposition_family(e, "process_cpu_seconds", EXPOSITION_COUNTER, "Processor time of the daemon.");
	exposition_counter(e, "process_cpu_seconds", &none, (double)(p.user + p.system) / tick);
	gauge(e, "process_resident_memory_bytes", "Resident memory of the daemon.",
	      (double)p.resident * (double)sysconf(_SC_PAGESIZE));
	gauge(e, "process_virtual_memory_bytes", "Address space of the daemon.", (double)p.virtual);
	gauge(e, "process_open_fds", "Open descriptors of the daemon.", p.fds);
	gauge(e, "process_start_time_seconds", "When the daemon started.",
	      p.start ? boot_seconds() + (double)p.start / tick : 0);
}
