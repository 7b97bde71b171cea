/* SPDX-License-Identifier: MIT */
/*
 * host.c - owns the private daemon: its directory, its configuration, its process.
 *
 * It is started by way of ROLE_DAEMON, which asks the kernel for SIGTERM at its parent's death and then becomes
 * heapd: so nothing is left running even if the coordinator is killed.
 */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <heapd.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "say.h"

#define START_SECONDS 20
#define POLL_NS       2000000

static int make_directory(struct host *host)
{
	const char *parent = getenv("TMPDIR");

	if (!parent || strlen(parent) > 60)
		parent = "/tmp";
	snprintf(host->directory, sizeof(host->directory), "%s/heapd-demo.XXXXXX", parent);
	if (!mkdtemp(host->directory)) {
		int r = say_error(-errno, "cannot make a directory in %s", parent);

		host->directory[0] = '\0';
		return r;
	}
	snprintf(host->socket, sizeof(host->socket), "%s/heapd.sock", host->directory);
	snprintf(host->config, sizeof(host->config), "%s/heapd.conf", host->directory);
	snprintf(host->log, sizeof(host->log), "%s/heapd.log", host->directory);
	return 0;
}

static int write_config(const struct host *host, uint64_t heap_size)
{
	FILE *f = fopen(host->config, "we");

	if (!f)
		return say_error(-errno, "%s", host->config);
	fprintf(f, "[Daemon]\nSocket=%s\nSocketMode=0600\nLogLevel=notice\nLogTarget=console\n\n",
		host->socket);
	fprintf(f, "[Heap " HOST_HEAP "]\nSize=%lluM\nLimit=%lluM\n", (unsigned long long)heap_size >> 19,
		(unsigned long long)heap_size >> 20);
	if (fclose(f) != 0)
		return say_error(-errno, "%s", host->config);
	return 0;
}

static int start_daemon(struct host *host, bool outlive)
{
	struct child_files files = CHILD_FILES_OURS;
	struct child_args args = { 0 };
	int r;

	files.errors = open(host->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (files.errors < 0)
		return say_error(-errno, "%s", host->log);
	files.output = files.errors;
	child_self(&args);
	child_arg(&args, "--role=daemon");
	if (outlive)
		child_arg(&args, "--keep");
	child_arg(&args, host->config);
	r = child_start(&args, &files, &host->pid);
	close(files.errors);
	if (r < 0) {
		host->pid = 0;
		return say_error(r, "cannot start the daemon");
	}
	return 0;
}

/* The daemon's own words say best why it ended. */
static void show_log(const struct host *host)
{
	FILE *f = fopen(host->log, "re");
	char line[1024];

	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "heapd: %s", line);
	if (f)
		fclose(f);
}

static bool listens(const struct host *host)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool connected;

	if (fd < 0)
		return false;
	memcpy(address.sun_path, host->socket, strlen(host->socket) + 1);
	connected = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return connected;
}

static int wait_until_it_listens(struct host *host)
{
	uint64_t start = clock_now();

	while (!listens(host)) {
		int r = host_check(host);

		if (r == 0)
			r = signals_wait(POLL_NS);
		if (r < 0)
			return r;
		if (clock_seconds_since(start) > START_SECONDS)
			return say_error(-ETIMEDOUT, "heapd does not listen at %s", host->socket);
	}
	return 0;
}

int host_start(struct host *host, uint64_t heap_size, bool outlive)
{
	int r;

	*host = (struct host){ 0 };
	r = make_directory(host);
	if (r == 0)
		r = write_config(host, heap_size);
	if (r == 0)
		r = start_daemon(host, outlive);
	if (r == 0)
		r = wait_until_it_listens(host);
	return r;
}

int host_check(struct host *host)
{
	int status;

	if (!host->pid || !child_ended(host->pid, &status))
		return 0;
	host->pid = 0;
	show_log(host);
	say_error(0, "heapd has ended: %s", child_fate(status).text);
	return -ECHILD;
}

void host_stop(struct host *host)
{
	if (host->pid)
		child_stop(host->pid, SIGTERM);
	host->pid = 0;
	if (!host->directory[0])
		return;
	unlink(host->socket);
	unlink(host->config);
	unlink(host->log);
	if (rmdir(host->directory) < 0)
		say_error(-errno, "cannot remove %s", host->directory);
	host->directory[0] = '\0';
}

void host_keep(const struct host *host)
{
	printf("kept      ask with: heapd-demo --socket %s --heap " HOST_HEAP " --ask files WORD...\n"
	       "          end with: kill %d && rm -r %s\n",
	       host->socket, (int)host->pid, host->directory);
}

/* Seen from this program: beside it, where the build puts it, or in sbin, where it is installed. */
#define BESIDE  "heapd"
#define IN_SBIN "../sbin/heapd"

static int find_from_us(const char *where, char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - sizeof(IN_SBIN));
	char *slash;

	if (n < 0)
		return -errno;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	strcpy(slash + 1, where);
	return access(path, X_OK) < 0 ? -errno : 0;
}

int host_become_daemon(const char *config, bool outlive)
{
	char path[PATH_MAX];

	if (!outlive && prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return say_error(-errno, "prctl");
	if (!outlive && getppid() == 1)
		return -ECHILD;
	if (find_from_us(BESIDE, path, sizeof(path)) == 0 || find_from_us(IN_SBIN, path, sizeof(path)) == 0)
		execl(path, "heapd", "--config", config, NULL);
	execlp("heapd", "heapd", "--config", config, NULL);
	return say_error(-errno, "cannot run heapd");
}
