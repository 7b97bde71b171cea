/* SPDX-License-Identifier: MIT */
/*
 * fixture.c - owns the daemons and the client processes of tests.
 *
 * Right because each process that is started asks the kernel to be killed with the one that started it, and
 * because the keeper holds nothing but the end of a pipe: it learns of the test's end from the kernel, also when
 * the test was killed.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "heapd/atomic.h"
#include "slowness.h"

/* What comes is waited for so long; with a sanitizer, as many times as long as libcheck's own limits are. */
#define START_SECONDS (20 * slowness())
#define STOP_SECONDS  (20 * slowness())
#define LOG_SECONDS   (10 * slowness())

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Not exit(): what the test registered is none of a failed fixture's business. */
static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("fixture: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	fflush(NULL);
	_exit(1);
}

uint64_t fixture_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(void)
{
	const struct timespec t = { .tv_nsec = 2000000 };

	nanosleep(&t, NULL);
}

/* In a child: the parent may have died before the kernel was asked. */
static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

pid_t fixture_client_fork(int (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	die_with(parent);
	int status = fn(arg);
	fflush(NULL);
	_exit(status);
}

#ifdef HEAPD_TSAN
/*
 * In place of ThreadSanitizer's own for the whole program: that one keeps signals back while it waits, and a thread that is not
 * offline would not say what it holds until the child has ended, which may wait for just that.
 */
pid_t waitpid(pid_t pid, int *status, int options)
{
	pid_t r;

	while (!(r = (pid_t)syscall(SYS_wait4, pid, status, options | WNOHANG, NULL)) && !(options & WNOHANG))
		nap();
	return r;
}
#endif

static pid_t wait_for(pid_t pid, int *status)
{
	pid_t r;

	do
		r = waitpid(pid, status, 0);
	while (r < 0 && errno == EINTR);
	return r;
}

void fixture_wait(pid_t pid, int expected)
{
	int status, got;

	pid = wait_for(pid, &status);
	if (pid < 0)
		fail("no such child: %s", strerror(errno));
	got = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
	if (got != expected)
		fail("process %d ended with %d, not %d (a negative number is a signal)", pid, got, expected);
}

uint64_t fixture_seed(void)
{
	const char *given = getenv("HEAPD_TEST_SEED");
	uint64_t seed = 0;

	if (given)
		seed = strtoull(given, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		fail("getrandom: %s", strerror(errno));
	printf("HEAPD_TEST_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	return seed;
}

char *fixture_log(const struct fixture *f)
{
	FILE *file = fopen(f->log, "re");
	char *text = NULL;
	size_t size = 0;

	if (!file || getdelim(&text, &size, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	if (file)
		fclose(file);
	return text;
}

bool fixture_logged(const struct fixture *f, const char *wanted)
{
	uint64_t end = fixture_now_ns() + LOG_SECONDS * UINT64_C(1000000000);
	bool found = false;

	while (!found && fixture_now_ns() < end) {
		char *text = fixture_log(f);

		found = strstr(text, wanted);
		free(text);
		if (!found)
			nap();
	}
	return found;
}

unsigned fixture_daemon_files(const struct fixture *f)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", f->daemon);
	dir = opendir(path);
	if (!dir)
		fail("%s cannot be read: %s", path, strerror(errno));
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Whatever tests have put there. */
static void remove_files(const struct fixture *f)
{
	DIR *dir = opendir(f->dir);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL)
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(f->dir);
}

static void show_log(const struct fixture *f)
{
	char *text = fixture_log(f);

	fprintf(stderr, "-- the daemon's log, %s:\n%s--\n", f->log, text);
	free(text);
}

/* In a group of its own, since test runners kill the test's. */
static void keep(const struct fixture *f, int pipe)
{
	char word;

	setpgid(0, 0);
	prctl(PR_SET_NAME, "fixture-keeper");
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	while (read(pipe, &word, 1) < 0 && errno == EINTR)
		;
	/* Given its time to die with the test, so that its last words are seen. */
	nap();
	show_log(f);
	remove_files(f);
	_exit(0);
}

/* It is killed once everything is removed. */
static pid_t start_keeper(struct fixture *f)
{
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		fail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		close(pipes[1]);
		keep(f, pipes[0]);
	}
	close(pipes[0]);
	f->keeper = pipes[1];
	return pid;
}

static void write_config(const struct fixture *f)
{
	FILE *file = fopen(f->config, "we");

	if (!file)
		fail("%s: %s", f->config, strerror(errno));
	fprintf(file, "[Daemon]\nSocket=%s\nLogLevel=debug\nLogTarget=console\n", f->socket);
	fprintf(file, "\n[Heap %s]\nSize=1G\nLimit=256M\nHugePages=never\n", FIXTURE_HEAP);
	if (fclose(file) != 0)
		fail("%s: %s", f->config, strerror(errno));
}

/* The name in "heap.NAME.key=value". */
static bool heap_of(const char *setting, char name[HEAPD_NAME_MAX])
{
	return sscanf(setting, "heap.%47[^.=]", name) == 1;
}

static bool sets_percent(const struct fixture *f, const char *heap)
{
	char wanted[HEAPD_NAME_MAX + 32];

	snprintf(wanted, sizeof(wanted), "heap.%s.GCPercent=", heap);
	for (size_t i = 0; i < f->nsettings; i++) {
		if (strncasecmp(f->settings[i], wanted, strlen(wanted)) == 0)
			return true;
	}
	return false;
}

/* Room for one --set of each setting's heap, and one of FIXTURE_HEAP. */
struct percents {
	char text[FIXTURE_SETTINGS + 1][HEAPD_NAME_MAX + 32];
	size_t n;
};

/* Objects that only a test's own variables know stay where collection is off; a heap may come up more than once. */
static void switch_off(const struct fixture *f, const char *heap, struct percents *percents)
{
	if (!sets_percent(f, heap))
		snprintf(percents->text[percents->n++], sizeof(percents->text[0]), "heap.%s.GCPercent=off",
			 heap);
}

static void switch_all_off(const struct fixture *f, struct percents *percents)
{
	char name[HEAPD_NAME_MAX];

	switch_off(f, FIXTURE_HEAP, percents);
	for (size_t i = 0; i < f->nsettings; i++) {
		if (heap_of(f->settings[i], name))
			switch_off(f, name, percents);
	}
}

static void exec_daemon(const struct fixture *f)
{
	const char *build = getenv("HEAPD_TEST_BUILD"), *daemon = getenv("HEAPD_TEST_DAEMON");
	char program[4096], config[128];
	const char *argv[10 + 4 * FIXTURE_SETTINGS] = { "heapd", config };
	struct percents percents = { .n = 0 };
	size_t n = 2;
	int log;

	snprintf(program, sizeof(program), "%s/%s", build ? build : "build", daemon ? daemon : "heapd");
	snprintf(config, sizeof(config), "--config=%s", f->config);
	if (f->kept)
		argv[n++] = "--keep";
	for (size_t i = 0; i < f->nsettings; i++) {
		argv[n++] = "--set";
		argv[n++] = f->settings[i];
	}
	switch_all_off(f, &percents);
	for (size_t i = 0; i < percents.n; i++) {
		argv[n++] = "--set";
		argv[n++] = percents.text[i];
	}
	log = open(f->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(126);
	execv(program, (char *const *)(uintptr_t)argv);
	dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static void wait_until_it_answers(struct fixture *f)
{
	uint64_t end = fixture_now_ns() + START_SECONDS * UINT64_C(1000000000);
	int fd, status;

	while ((fd = fixture_connect(f)) < 0) {
		if (waitpid(f->daemon, &status, WNOHANG) == f->daemon)
			fail("the daemon ended at once, with status 0x%x", status);
		if (fixture_now_ns() > end)
			fail("the daemon does not answer after %" PRIu64 " s: %s", START_SECONDS,
			     strerror(-fd));
		nap();
	}
	close(fd);
}

void fixture_restart(struct fixture *f)
{
	pid_t parent = getpid();

	fflush(NULL);
	f->daemon = fork();
	if (f->daemon < 0)
		fail("fork: %s", strerror(errno));
	if (f->daemon == 0) {
		die_with(parent);
		exec_daemon(f);
	}
	wait_until_it_answers(f);
}

static void make_paths(struct fixture *f)
{
	const char *tmp = getenv("TMPDIR");

	if (!tmp || strlen(tmp) > 48)
		tmp = "/tmp";
	snprintf(f->dir, sizeof(f->dir), "%s/heapd-test-XXXXXX", tmp);
	if (!mkdtemp(f->dir) || chmod(f->dir, 0755) < 0)
		fail("%s: %s", f->dir, strerror(errno));
	snprintf(f->socket, sizeof(f->socket), "%s/socket", f->dir);
	snprintf(f->config, sizeof(f->config), "%s/heapd.conf", f->dir);
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
}

static void start(struct fixture *f, const char *const settings[], bool kept)
{
	*f = (struct fixture){ .keeper = -1, .kept = kept };
	while (settings && settings[f->nsettings]) {
		if (f->nsettings == FIXTURE_SETTINGS)
			fail("too many settings");
		f->settings[f->nsettings] = settings[f->nsettings];
		f->nsettings++;
	}
	make_paths(f);
	write_config(f);
	f->keeper_pid = start_keeper(f);
	fixture_restart(f);
	setenv("HEAPD_SOCKET", f->socket, 1);
}

void fixture_start(struct fixture *f, const char *const settings[])
{
	start(f, settings, false);
}

void fixture_start_kept(struct fixture *f, const char *const settings[])
{
	start(f, settings, true);
}

pid_t fixture_kept_daemon(const struct fixture *f)
{
	uint64_t end = fixture_now_ns() + START_SECONDS * UINT64_C(1000000000);
	char path[64];
	pid_t pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", f->daemon, f->daemon);
	while (!pid && fixture_now_ns() < end) {
		FILE *file = fopen(path, "re");

		if (!file || fscanf(file, "%d", &pid) != 1)
			pid = 0;
		if (file)
			fclose(file);
		if (!pid)
			nap();
	}
	if (!pid)
		fail("the keeper has no daemon");
	return pid;
}

/*
 * ThreadSanitizer loses one signal in a hundred that comes while a thread is at work (a loop of libevent's with nothing beside it
 * does not hear of it, either): it is sent again, long before anybody else would be found not to have ended.
 */
static void signal_again(const struct fixture *f, int number, uint64_t *sent)
{
#ifdef HEAPD_TSAN
	if (number != SIGKILL && fixture_now_ns() > *sent + 10 * UINT64_C(1000000000)) {
		*sent = fixture_now_ns();
		kill(f->daemon, number);
	}
#else
	(void)f, (void)number, (void)sent;
#endif
}

int fixture_kill(struct fixture *f, int number)
{
	uint64_t sent = fixture_now_ns(), end = sent + STOP_SECONDS * UINT64_C(1000000000);
	int status;

	if (kill(f->daemon, number) < 0)
		fail("the daemon is gone: %s", strerror(errno));
	while (waitpid(f->daemon, &status, WNOHANG) != f->daemon) {
		if (fixture_now_ns() > end) {
			kill(f->daemon, SIGKILL);
			fail("the daemon did not end within %" PRIu64 " s of signal %d", STOP_SECONDS,
			     number);
		}
		signal_again(f, number, &sent);
		nap();
	}
	f->daemon = 0;
	return status;
}

/* Of the settings "heap.NAME.key=value"; a heap may come up more than once. */
static void verify_all(const struct fixture *f)
{
	if (fixture_verify(f, FIXTURE_HEAP) != 0)
		fail("heap '%s' is not clean", FIXTURE_HEAP);
	for (size_t i = 0; i < f->nsettings; i++) {
		char name[HEAPD_NAME_MAX];

		if (heap_of(f->settings[i], name) && fixture_verify(f, name) != 0)
			fail("heap '%s' is not clean", name);
	}
}

void fixture_stop(struct fixture *f)
{
	int status;

	verify_all(f);
	status = fixture_kill(f, SIGTERM);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail("the daemon ended with status 0x%x", status);
	remove_files(f);
	kill(f->keeper_pid, SIGKILL);
	wait_for(f->keeper_pid, &status);
	close(f->keeper);
}
