/* SPDX-License-Identifier: MIT */
/* The daemon as a program: its command line, its socket, its signals, its heaps' places. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/heap.h"
#include "fixture.h"
#include "heapd/geometry.h"
#include "suite.h"

static struct fixture f;
static char output[16384];

/* Runs heapd with these arguments ("a b c"), and gives its exit status; what it says is in output. */
static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *format, ...)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char arguments[1024], command[2048];
	va_list args;
	size_t n;
	FILE *pipe;

	va_start(args, format);
	vsnprintf(arguments, sizeof(arguments), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "timeout 20 %s/heapd %s 2>&1", build ? build : "build", arguments);
	pipe = popen(command, "r");
	ck_assert_ptr_ne(pipe, NULL);
	n = fread(output, 1, sizeof(output) - 1, pipe);
	output[n] = '\0';
	return WEXITSTATUS(pclose(pipe));
}

static void assert_said(const char *text)
{
	ck_assert_msg(strstr(output, text), "not said: \"%s\" in: %s", text, output);
}

static void check_lines(unsigned most)
{
	unsigned n = 0;

	for (const char *p = output; (p = strchr(p, '\n')); p++)
		n++;
	ck_assert_msg(n >= 1 && n <= most, "%u lines: %s", n, output);
}

START_TEST(command_line_is_checked)
{
	ck_assert_int_eq(run("--version"), 0);
	assert_said("heapd ");
	ck_assert_int_eq(run("--help"), 0);
	assert_said("--check-config");
	ck_assert_int_eq(run("--nonsense"), 2);
	ck_assert_int_eq(run("extra"), 2);
	ck_assert_int_eq(run("--config=/nowhere/heapd.conf"), 2);
	assert_said("/nowhere/heapd.conf");
	ck_assert_int_eq(run("--config=/dev/null --set daemon.Colour=red"), 2);
	assert_said("olour");
	ck_assert_int_eq(run("--config=/dev/null --socket=relative"), 2);
	ck_assert_int_eq(run("--config=/dev/null --log-level=loud"), 2);
	ck_assert_int_eq(run("--config=/dev/null --socket=/%0200d", 0), 2);
	ck_assert_int_eq(run("--config=/dev/null --check-config"), 0);
	assert_said("1 heaps");
	ck_assert_int_eq(run("--config=/dev/null --set heap.a.size=1G --dump-config"), 0);
	assert_said("[Heap a]\nSize=1G\n");
	ck_assert_int_eq(run("--config=/dev/null --set heap.a.size=2G --check-config -v"), 0);
	assert_said("[Heap a]\nSize=2G\n");
}
END_TEST

/* As somebody who starts it by hand, and may not write below /run, meets it. */
START_TEST(forbidden_place_of_the_socket)
{
	ck_assert_int_eq(
		run("--config=/dev/null --log-level=err --set heap.a.size=64M --set heap.a.limit=16M "
		    "--socket=/sys/heapd-test/socket"),
		1);
	assert_said("/sys/heapd-test/socket: cannot make its directory: ");
	assert_said("choose another place (Socket=, --socket)");
	check_lines(1);
}
END_TEST

START_TEST(stop_removes_the_socket)
{
	struct stat st;

	fixture_start(&f, NULL);
	ck_assert_int_eq(stat(f.socket, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0666);
	ck_assert_int_eq(fixture_kill(&f, SIGINT), 0);
	ck_assert_int_eq(stat(f.socket, &st), -1);
	fixture_restart(&f);
	fixture_stop(&f);
}
END_TEST

START_TEST(stale_socket_is_replaced)
{
	struct stat st;

	fixture_start(&f, NULL);
	fixture_kill(&f, SIGKILL);
	ck_assert_int_eq(stat(f.socket, &st), 0);
	fixture_restart(&f);
	ck_assert(fixture_logged(&f, "nobody listened there any more"));
	fixture_stop(&f);
}
END_TEST

START_TEST(socket_of_another_daemon_is_left_alone)
{
	fixture_start(&f, NULL);
	ck_assert_int_eq(
		run("--config=/dev/null --set heap.a.size=64M --set heap.a.limit=64M --log-level=err --socket=%s",
		    f.socket),
		1);
	assert_said("another heapd?");
	check_lines(1);
	fixture_stop(&f);
}
END_TEST

START_TEST(path_that_is_no_socket_is_left_alone)
{
	char path[128];
	struct stat st;

	fixture_start(&f, NULL);
	snprintf(path, sizeof(path), "%s/file", f.dir);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(
		run("--config=/dev/null --set heap.a.size=64M --set heap.a.limit=64M --log-level=err --socket=%s",
		    path),
		1);
	assert_said("is not a socket");
	check_lines(1);
	ck_assert_int_eq(stat(path, &st), 0);
	unlink(path);
	ck_assert_int_eq(
		run("--config=/dev/null --set heap.a.size=64M --set heap.a.limit=64M --log-level=err --socket=%s/no/such/dir",
		    f.dir),
		1);
	assert_said("directory");
	check_lines(1);
	fixture_stop(&f);
}
END_TEST

/* Nobody of ours listens there, but somebody does. */
START_TEST(socket_of_another_kind_is_left_alone)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct stat st;

	fixture_start(&f, NULL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", f.dir);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert_int_eq(
		run("--config=/dev/null --set heap.a.size=64M --set heap.a.limit=64M --log-level=err "
		    "--socket=%s",
		    address.sun_path),
		1);
	assert_said("somebody listens there");
	ck_assert_int_eq(stat(address.sun_path, &st), 0);
	unlink(address.sun_path);
	close(fd);
	fixture_stop(&f);
}
END_TEST

/* Several heaps, none on another, the fixed one where it was asked for. */
START_TEST(heaps_lie_apart)
{
	char base[64];
	const char *const settings[] = { "heap.b.size=128M",
					 "heap.b.limit=16M",
					 "heap.c.size=64M",
					 "heap.c.limit=16M",
					 "heap.d.size=64M",
					 "heap.d.limit=16M",
					 base,
					 NULL };
	static const char *const names[] = { FIXTURE_HEAP, "b", "c", "d" };
	uint64_t begin[4], end[4];

	snprintf(base, sizeof(base), "heap.d.base=0x%lx", (unsigned long)heap_first_base());
	fixture_start(&f, settings);
	for (size_t i = 0; i < 4; i++) {
		struct heapd_geometry g;
		struct heapd_message m;
		int fd = fixture_attach(&f, names[i], 0, &m, NULL);

		ck_assert_int_ge(fd, 0);
		ck_assert(heapd_geometry_compute(&g, m.welcome.size, m.welcome.cpus));
		begin[i] = m.welcome.base;
		end[i] = begin[i] + g.total;
		for (size_t j = 0; j < i; j++)
			ck_assert(end[j] <= begin[i] || end[i] <= begin[j]);
		close(fd);
	}
	ck_assert_uint_eq(begin[3], heap_first_base());
	fixture_stop(&f);
}
END_TEST

START_TEST(missing_huge_pages_are_said)
{
	FILE *free = popen("awk '/HugePages_Free/ { print $2 }' /proc/meminfo", "r");
	unsigned n = 0;

	if (fscanf(free, "%u", &n) != 1)
		n = 0;
	pclose(free);
	if (n) {
		printf("SKIP missing_huge_pages_are_said: this machine has huge pages\n");
		return;
	}
	ck_assert_int_eq(run("--config=/dev/null --set heap.a.size=64M --set heap.a.limit=64M "
			     "--set heap.a.hugepages=hugetlb --log-level=err --socket=/nowhere/s"),
			 1);
	assert_said("HugePages=hugetlb");
	check_lines(1);
}
END_TEST

static void append(const char *text)
{
	FILE *file = fopen(f.config, "a");

	ck_assert_ptr_ne(file, NULL);
	fputs(text, file);
	fclose(file);
}

static int try_attach(const char *heap, char *text)
{
	struct heapd_message m;
	int fd = fixture_attach(&f, heap, 0, &m, NULL);

	if (fd >= 0)
		close(fd);
	else
		memcpy(text, m.text, sizeof(m.text));
	return fd < 0 ? fd : 0;
}

START_TEST(reload_takes_what_it_can)
{
	char text[256];

	fixture_start(&f, NULL);
	ck_assert_int_eq(try_attach("more", text), -ENOENT);
	append("\n[Heap more]\nSize=64M\nLimit=16M\n");
	kill(f.daemon, SIGHUP);
	ck_assert(fixture_logged(&f, "configuration reloaded"));
	ck_assert_int_eq(try_attach("more", text), 0);

	/* A mistake leaves all as it was. */
	append("\n[Heap more]\nSise=1G\n");
	kill(f.daemon, SIGHUP);
	ck_assert(fixture_logged(&f, "not reloaded"));
	ck_assert_int_eq(try_attach("more", text), 0);

	/* A heap that is gone from the file takes nobody in. */
	ck_assert_int_eq(truncate(f.config, 0), 0);
	append("[Daemon]\nSocket=");
	append(f.socket);
	append("\nLogLevel=debug\n[Heap " FIXTURE_HEAP "]\nSize=1G\nLimit=128M\n");
	kill(f.daemon, SIGHUP);
	ck_assert(fixture_logged(&f, "'more' is not configured any more"));
	ck_assert_int_eq(try_attach("more", text), -EACCES);
	ck_assert_ptr_ne(strstr(text, "not configured any more"), NULL);

	struct heapd_message m;
	int fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	m = (struct heapd_message){ .op = HEAPD_OP_GET, .setting.key = "memory.limit" };
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_str_eq(m.setting.value, "134217728");
	close(fd);
	fixture_stop(&f);
}
END_TEST

/* In place of all that stood there; a heap of that name is made by it, and can be attached to once it is in force. */
static void reload_daemon_options(const char *options, const char *heap)
{
	char text[256];
	int r;

	ck_assert_int_eq(truncate(f.config, 0), 0);
	append("[Daemon]\nSocket=");
	append(f.socket);
	append("\n");
	append(options);
	append("[Heap " FIXTURE_HEAP "]\nSize=1G\nLimit=128M\n[Heap ");
	append(heap);
	append("]\nSize=64M\nLimit=16M\n");
	kill(f.daemon, SIGHUP);
	/* At a cap it is another refusal than that there is no such heap. */
	while ((r = try_attach(heap, text)) == -ENOENT)
		usleep(1000);
	ck_assert_msg(r == 0 || r == -EUSERS, "%d: %s", r, text);
}

START_TEST(reload_changes_log_level_and_caps)
{
	struct heapd_message m;
	char text[256], *log;
	int fd;

	fixture_start(&f, NULL);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_int_ge(fd, 0);
	reload_daemon_options("LogLevel=err\n", "quiet");
	reload_daemon_options("LogLevel=info\n", "loud");
	ck_assert(fixture_logged(&f, "'loud': at"));
	log = fixture_log(&f);
	ck_assert_ptr_null(strstr(log, "'quiet': at"));
	free(log);
	reload_daemon_options("MaxSessionsPerUser=1\n", "capped");
	ck_assert_int_eq(try_attach(FIXTURE_HEAP, text), -EUSERS);
	ck_assert_ptr_nonnull(strstr(text, "MaxSessionsPerUser="));
	reload_daemon_options("MaxSessions=1\n", "full");
	ck_assert_int_eq(try_attach(FIXTURE_HEAP, text), -EUSERS);
	ck_assert_ptr_nonnull(strstr(text, "MaxSessions="));
	reload_daemon_options("", "free");
	ck_assert_int_eq(try_attach(FIXTURE_HEAP, text), 0);
	close(fd);
	fixture_stop(&f);
}
END_TEST

/* What a service manager passes is used as it is, and stays when the daemon ends. */
static int run_with_socket(void *arg)
{
	char config[160], pid[16];
	int fd = *(int *)arg;

	if (dup2(fd, 3) < 0)
		return 99;
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	snprintf(config, sizeof(config), "%s/heapd",
		 getenv("HEAPD_TEST_BUILD") ? getenv("HEAPD_TEST_BUILD") : "build");
	execl(config, "heapd", "--config=/dev/null", "--set", "heap.test.size=64M", "--set",
	      "heap.test.limit=64M", "--log-level=err", NULL);
	return 98;
}

START_TEST(socket_of_the_service_manager_is_used)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fixture passed;
	struct heapd_message m;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), client;
	pid_t pid;

	fixture_start(&f, NULL);
	passed = f;
	snprintf(passed.socket, sizeof(passed.socket), "%s/passed", f.dir);
	memcpy(address.sun_path, passed.socket, sizeof(passed.socket));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	pid = fixture_client_fork(run_with_socket, &fd);
	client = fixture_attach(&passed, "test", 0, &m, NULL);
	ck_assert_int_ge(client, 0);
	ck_assert_uint_eq(m.welcome.size, 64u << 20);
	kill(pid, SIGTERM);
	fixture_wait(pid, 0);
	ck_assert_int_eq(stat(passed.socket, &st), 0);
	unlink(passed.socket);
	close(client);
	close(fd);
	fixture_stop(&f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("daemon");
	TCase *tcase = tcase_create("daemon");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, command_line_is_checked);
	tcase_add_test(tcase, forbidden_place_of_the_socket);
	tcase_add_test(tcase, stop_removes_the_socket);
	tcase_add_test(tcase, stale_socket_is_replaced);
	tcase_add_test(tcase, socket_of_another_daemon_is_left_alone);
	tcase_add_test(tcase, path_that_is_no_socket_is_left_alone);
	tcase_add_test(tcase, socket_of_another_kind_is_left_alone);
	tcase_add_test(tcase, heaps_lie_apart);
	tcase_add_test(tcase, missing_huge_pages_are_said);
	tcase_add_test(tcase, reload_takes_what_it_can);
	tcase_add_test(tcase, reload_changes_log_level_and_caps);
	tcase_add_test(tcase, socket_of_the_service_manager_is_used);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
