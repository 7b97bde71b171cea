/* SPDX-License-Identifier: MIT */
/*
 * machine.c - owns what is said of the machine.
 *
 * Right because all of it is asked of the running system; what cannot be read is "unknown".
 */
#include "machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void line_read(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");

	snprintf(text, size, "unknown");
	if (!f)
		return;
	if (fgets(text, (int)size, f))
		text[strcspn(text, "\n")] = '\0';
	fclose(f);
}

static void cpu_read(char *text, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(text, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "model name", 10) != 0 || !strchr(line, ':'))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(text, size, "%s", strchr(line, ':') + 2);
		break;
	}
	if (f)
		fclose(f);
}

void machine_read(struct machine *m)
{
	const char *folder = "/sys/kernel/mm/transparent_hugepage/";
	struct sysinfo info = { 0 };
	struct utsname u;
	char path[96];
	time_t now = time(NULL);
	struct tm tm;

	*m = (struct machine){ .processors = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) };
	cpu_read(m->cpu, sizeof(m->cpu));
	if (uname(&u) == 0)
		snprintf(m->kernel, sizeof(m->kernel), "%s %s %s", u.sysname, u.release, u.machine);
	if (sysinfo(&info) == 0)
		m->memory = (double)info.totalram * info.mem_unit / (1u << 30);
	snprintf(path, sizeof(path), "%senabled", folder);
	line_read(path, m->huge, sizeof(m->huge));
	snprintf(path, sizeof(path), "%sshmem_enabled", folder);
	line_read(path, m->shmem_huge, sizeof(m->shmem_huge));
	line_read("/proc/loadavg", m->load, sizeof(m->load));
	strftime(m->date, sizeof(m->date), "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &tm));
}

/* user nice system idle iowait irq softirq steal, in clock ticks */
double machine_busy(void)
{
	unsigned long long t[8] = { 0 }, busy = 0;
	FILE *f = fopen("/proc/stat", "re");
	int n = 0;

	if (f) {
		n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
			   &t[4], &t[5], &t[6], &t[7]);
		fclose(f);
	}
	for (int i = 0; i < n; i++)
		busy += i == 3 || i == 4 ? 0 : t[i];
	return (double)busy / (double)sysconf(_SC_CLK_TCK);
}
