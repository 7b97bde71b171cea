/* SPDX-License-Identifier: MIT */
/* fork(): what the child is and has, from which threads and at which moments it works, and what it does without. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attached.h"
#include "client/client.h"

/* In children: libcheck's assertions belong to the test's own process. */
#define must(condition)                                                                             \
	do {                                                                                        \
		if (!(condition)) {                                                                 \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, \
				heapd_error());                                                     \
			return 1;                                                                   \
		}                                                                                   \
	} while (0)

struct family {
	uint64_t session; /* of the parent */
	void **object;
	void **pin;
	char *address; /* of session memory */
};

static int child_is_a_client(void *arg)
{
	struct family *f = (struct family *)arg;
	struct heapd_info info = HEAPD_SIZED(info);

	must(heapd_get_info(heap, &info) == 0);
	must(info.session != f->session && info.sessions == 2);
	must((char *)heap->session == f->address && heap->session->id == info.session);
	must(heapd_self && heapd_self->tid == (uint32_t)gettid() && heapd_self->state == HEAPD_THREAD_ONLINE);
	must(heapd_self->gate.on == 0 && heapd_self->gate.attached == 1);
	must(*f->pin == f->object && *f->object == f->object);
	/* Its pins are its own: the parent's stands. */
	must(heapd_take(f->pin) == f->object);
	must(heapd_unpin(f->pin) == -EINVAL);
	must(heapd_root_get(heap, "object", NULL) == f->object);
	must(heapd_type_any(heap) != NULL);
	void **large = (void **)heapd_alloc(heap, 100000), **small = (void **)heapd_alloc(heap, 64);
	must(large && small);
	heapd_store(f->object, (void *)small);
	must(heapd_sync(heap) == 0);
	must(heapd_free(large) == 0);
	return 0;
}

START_TEST(child_is_a_client_of_its_own)
{
	struct family f = { .session = heap->session_id, .address = (char *)heap->session };

	f.object = (void **)heapd_alloc(heap, 64);
	heapd_store(f.object, (void *)f.object);
	f.pin = (void **)heapd_pin(heap, (void *)f.object);
	ck_call(heapd_root_set(heap, "object", f.object));
	fixture_wait(fixture_client_fork(child_is_a_client, &f), 0);
	ck_assert_ptr_eq(*f.pin, f.object);
	ck_assert(*f.object != f.object && heap_contains(heap, *f.object));
	ck_call(heapd_unpin(f.pin));
	ck_call(heapd_sync(heap));
}
END_TEST

static bool published(const void *p)
{
	const char *areas = (const char *)heap->session + HEAPD_SESSION_PUBLISHED_AT;
	const uint64_t *words = (const uint64_t *)(const void *)(areas + thread_index(heap, heapd_self) *
										 HEAPD_PUBLISHED_BYTES);

	for (uint64_t i = 0; i < heapd_self->published_count; i++)
		if (words[i] == (uint64_t)(uintptr_t)p)
			return true;
	return false;
}

static void *registered[2];
static __thread void *local[2];

/* What the child holds is known to the daemon before the child lives: its stack, its ranges. */
static int child_words_are_published(void *arg)
{
	void **on_stack = (void **)arg;

	must(published(*on_stack));
	must(published(registered[1]));
	must(published(local[1]));
	must(!published((char *)registered[1] + 1));
	must(range_at(heap->session, 0)->start == (uint64_t)(uintptr_t)registered);
	must(range_at(heap->session, 1)->start == (uint64_t)(uintptr_t)local);
	return 0;
}

START_TEST(stack_and_ranges_are_published)
{
	void *volatile on_stack = heapd_alloc(heap, 64);

	ck_call(heapd_range_add(heap, registered, sizeof(registered)));
	ck_call(heapd_local_add(heap, local, sizeof(local)));
	heapd_store(&registered[1], heapd_alloc(heap, 64));
	local[1] = heapd_alloc(heap, 64);
	fixture_wait(fixture_client_fork(child_words_are_published, (void *)(uintptr_t)&on_stack), 0);
}
END_TEST

static int generations(void *arg)
{
	unsigned *left = (unsigned *)arg;
	int status;

	must(heapd_alloc(heap, 64) && heapd_sync(heap) == 0);
	if (!--*left)
		return 0;
	pid_t pid = fork();
	if (!pid)
		_exit(generations(arg));
	must(waitpid(pid, &status, 0) == pid && status == 0);
	must(heapd_sync(heap) == 0);
	return heapd_detach(heap);
}

START_TEST(grandchildren)
{
	unsigned left = 4;

	fixture_wait(fixture_client_fork(generations, &left), 0);
	struct heapd_info info = HEAPD_SIZED(info);
	for (int i = 0; i < 1000; i++) {
		ck_call(heapd_get_info(heap, &info));
		if (info.sessions == 1)
			break;
		usleep(1000);
	}
	ck_assert_uint_eq(info.sessions, 1);
}
END_TEST

static bool stop;

/* Everything that takes a lock of the library, or changes what a fork copies. */
static void *keep_busy(void *arg)
{
	unsigned n = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		void *p = heapd_alloc(heap, 48);
		void **pin = heapd_pin(heap, p);
		if (!p || !pin)
			return arg;
		if (++n % 16 == 0)
			heapd_sync(heap);
		if (n % 64 == 0)
			heapd_thread_detach(heap);
		heapd_free(heapd_take(pin));
	}
	return NULL;
}

static int child_works(void *arg)
{
	void **pin;

	for (int i = 0; i < 20; i++) {
		must(pin = heapd_pin(heap, heapd_alloc(heap, 48)));
		must(heapd_free(heapd_take(pin)) == 0);
	}
	must(heapd_sync(heap) == 0);
	must(*(void **)arg && heapd_root_get(heap, "object", NULL) == *(void **)arg);
	return heapd_detach(heap);
}

static void *fork_often(void *arg)
{
	for (int i = 0; i < 40; i++)
		fixture_wait(fixture_client_fork(child_works, arg), 0);
	return NULL;
}

START_TEST(amid_other_threads)
{
	pthread_t busy[3], forker;
	void *object = heapd_alloc(heap, 64), *failed;

	ck_call(heapd_root_set(heap, "object", object));
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&busy[i], NULL, keep_busy, &object), 0);
	ck_assert_int_eq(pthread_create(&forker, NULL, fork_often, &object), 0);
	pthread_join(forker, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++) {
		pthread_join(busy[i], &failed);
		ck_assert_ptr_null(failed);
	}
}
END_TEST

/* Open pipes of this process, by the end that they are. */
static unsigned pipes(int mode)
{
	DIR *dir = opendir("/proc/self/fd");
	char name[300], target[64];
	struct dirent *e;
	unsigned n = 0;

	while (dir && (e = readdir(dir))) {
		snprintf(name, sizeof(name), "/proc/self/fd/%s", e->d_name);
		ssize_t length = readlink(name, target, sizeof(target));
		n += length > 5 && memcmp(target, "pipe:", 5) == 0 &&
		     (fcntl(atoi(e->d_name), F_GETFL) & O_ACCMODE) == mode;
	}
	closedir(dir);
	return n;
}

static bool tells(uint32_t *word, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool before = poll(&p, 1, 30) == 0;

	__atomic_store_n(word, *word + 1, __ATOMIC_RELEASE);
	return before && poll(&p, 1, 2000) == 1 && p.revents & POLLIN;
}

struct watching {
	uint32_t *word;
	unsigned writing; /* pipes before any watch */
	unsigned rounds;
};

static int child_without_watches(void *arg)
{
	const struct watching *w = (const struct watching *)arg;
	int fd;

	must(pipes(O_WRONLY) == w->writing);
	/* There is place for as many as in any process, and the pins of the parent's have ended. */
	for (int i = 0; i < 64; i++)
		must(heapd_wait_fd(heap, w->word + 1 + i % 8, 0) >= 0);
	must(heap->session->npins <= 65);
	must(heapd_wait_fd(heap, w->word, 0) == -ENOSPC);
	for (int i = 1; i <= 8; i++)
		w->word[i] = 1;
	for (int i = 0; i < 500 && (fd = heapd_wait_fd(heap, w->word, *w->word)) == -ENOSPC; i++)
		usleep(1000);
	must(fd >= 0 && tells(w->word, fd));
	return heapd_detach(heap);
}

START_TEST(watches_are_the_parents)
{
	struct watching w = { .word = (uint32_t *)heapd_alloc_leaf(heap, 64), .writing = pipes(O_WRONLY) };
	int fds[64];

	for (int i = 0; i < 64; i++) {
		fds[i] = heapd_wait_fd(heap, &w.word[12], 0);
		ck_call(fds[i]);
	}
	ck_assert_uint_eq(pipes(O_WRONLY), w.writing + 64);
	fixture_wait(fixture_client_fork(child_without_watches, &w), 0);
	/* The parent's go on. */
	for (int i = 1; i < 64; i++)
		close(fds[i]);
	ck_assert(tells(&w.word[12], fds[0]));
	close(fds[0]);
}
END_TEST

/* Asks for descriptors, and has the agent look at them, all the time: the watches' lock is often held. */
static void *keep_watching(void *arg)
{
	uint32_t *word = (uint32_t *)arg;
	int fds[8];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 8; i++)
			if ((fds[i] = heapd_wait_fd(heap, &word[4], 0)) < 0 && fds[i] != -ENOSPC)
				return arg;
		for (int i = 0; i < 8; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
	return NULL;
}

static int child_watches(void *arg)
{
	uint32_t *word = (uint32_t *)arg;
	int fd = heapd_wait_fd(heap, word, *word);

	must(fd >= 0 && tells(word, fd));
	return heapd_detach(heap);
}

START_TEST(amid_watching_threads)
{
	uint32_t *word = (uint32_t *)heapd_alloc_leaf(heap, 64);
	pthread_t watching[2];
	void *failed;

	/* The agent looks at each of them, with the lock held, whenever another comes. */
	for (int i = 0; i < 44; i++)
		ck_call(heapd_wait_fd(heap, &word[5], 0));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&watching[i], NULL, keep_watching, word), 0);
	for (int i = 0; i < 40; i++)
		fixture_wait(fixture_client_fork(child_watches, word), 0);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++) {
		pthread_join(watching[i], &failed);
		ck_assert_ptr_null(failed);
	}
}
END_TEST

/* Nobody has looked after it, either. */
static int child_of_one_without(void *arg)
{
	heapd_type *type = (heapd_type *)arg;

	must(!heapd_type_alloc(type, 24) && errno == ENODEV);
	must(strcmp(heapd_type_name(type), "three") == 0);
	must(!heapd_alloc_aligned(heap, 64, 64) && errno == ENODEV);
	return 0;
}

static int child_without(void *arg)
{
	struct heapd_info info = HEAPD_SIZED(info);
	heapd_type *type = (heapd_type *)arg;
	heapd_heap *own = NULL;

	must(strstr(heapd_error(), "child of fork()"));
	must(!heapd_self && !heapd_process);
	must(heapd_get_info(heap, &info) == -ENODEV && strstr(heapd_error(), "FORK_DETACHED"));
	must(!heapd_alloc(heap, 64) && errno == ENODEV);
	must(!heapd_alloc(heap, 100000) && errno == ENODEV);
	must(!heapd_type_alloc(type, 24) && errno == ENODEV);
	must(heapd_sync(heap) == -ENODEV && !heapd_root_get(heap, "object", NULL));
	must(!heapd_pin(heap, (void *)NULL) && heapd_thread_offline(heap) == -ENODEV);
	must(heapd_detach(heap) == -ENODEV);
	fixture_wait(fixture_client_fork(child_of_one_without, type), 0);
	/* A heap of its own can be had. */
	must(heapd_attach(&own, FIXTURE_HEAP, NULL) == 0);
	must(heapd_alloc(own, 64) && heapd_root_get(own, "object", NULL));
	return heapd_detach(own);
}

struct three {
	void *a;
	long b, c;
};

START_TEST(detached_on_request)
{
	struct heapd_options options = heapd_options_default();
	heapd_type *type;

	ck_call(heapd_detach(heap));
	options.flags = HEAPD_ATTACH_FORK_DETACHED;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	ck_call(heapd_root_set(heap, "object", heapd_alloc(heap, 64)));
	type = heapd_type_define(heap, "three", struct three, a);
	ck_assert_ptr_nonnull(type);
	fixture_wait(fixture_client_fork(child_without, type), 0);
	ck_call(heapd_sync(heap));
}
END_TEST

static int child_of_the_away(void *arg)
{
	must(heapd_sync(heap) == -ENODEV && strstr(heapd_error(), "away"));
	must(!heapd_alloc(heap, 64) && errno == ENODEV);
	signal(SIGSEGV, SIG_DFL);  /* a sanitizer has one of its own */
	*(volatile char *)arg = 1; /* its objects are not mapped */
	return 0;
}

START_TEST(without_a_daemon)
{
	void *object = heapd_alloc(heap, 64);

	fixture_kill(&fixture, SIGKILL);
	fixture_wait(fixture_client_fork(child_of_the_away, object), -SIGSEGV);
	ck_call(heapd_free(object));
	ck_call(heapd_detach(heap));
	fixture_restart(&fixture);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

/* A child that fork()'s handlers did not see shares nothing: it faults at its first touch. */
START_TEST(unhandled_child_faults)
{
	volatile char *places[3] = { (char *)heapd_alloc(heap, 64), (char *)heap->session,
				     (char *)heap->t.control };

	pid_t pid = _Fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*places[_i]);
	}
	fixture_wait(pid, -SIGSEGV);
}
END_TEST

static void *child_thread(void *arg)
{
	return heapd_alloc(heap, 64) ? arg : NULL;
}

static int child_with_threads(void *arg)
{
	pthread_t thread;
	void *result;

	for (int i = 0; i < 10; i++) {
		must(heapd_thread_create(heap, &thread, NULL, child_thread, arg) == 0);
		pthread_join(thread, &result);
		must(result == arg);
	}
	/* The parent's other threads are not here; this one has its parent's place. */
	must(heap->threads[1].state == HEAPD_THREAD_ONLINE && &heap->threads[1] == heapd_self);
	must(heap->threads[0].state == HEAPD_THREAD_FREE);
	return 0;
}

static void *fork_here(void *arg)
{
	ck_call(heapd_thread_attach(heap));
	fixture_wait(fixture_client_fork(child_with_threads, arg), 0);
	return NULL;
}

START_TEST(from_a_second_thread)
{
	pthread_t thread;
	void **pin = (void **)heapd_pin(heap, heapd_alloc(heap, 64));

	ck_assert_int_eq(pthread_create(&thread, NULL, fork_here, *pin), 0);
	pthread_join(thread, NULL);
}
END_TEST

static int child_offline(void *arg)
{
	must(!heapd_self && heapd_record->state == HEAPD_THREAD_OFFLINE);
	must(heapd_record->saved_sp == *(uint64_t *)arg);
	must(heapd_thread_online(heap) == 0);
	return heapd_alloc(heap, 64) ? 0 : 1;
}

START_TEST(from_an_offline_thread)
{
	uint64_t sp;

	ck_call(heapd_thread_offline(heap));
	sp = heapd_record->saved_sp;
	fixture_wait(fixture_client_fork(child_offline, &sp), 0);
	ck_assert_uint_eq(heapd_record->state, HEAPD_THREAD_OFFLINE);
	ck_call(heapd_thread_online(heap));
}
END_TEST

static int child_uses_arena(void *arg)
{
	heapd_arena *arena = (heapd_arena *)arg;
	char **shared = (char **)heapd_root_get(heap, "shared", NULL);

	for (int i = 0; i < 1000; i++) {
		char *p = (char *)heapd_arena_alloc(arena, 64);
		must(p && !p[0]);
		memset(p, 'c', 64);
		heapd_store(&shared[i], p);
	}
	return 0;
}

/* Parent and child have one handle each, and never the same memory from it. */
START_TEST(arena_in_both)
{
	heapd_arena *arena = heapd_arena_create(heap, 0);
	char **shared = (char **)heapd_alloc(heap, 1000 * sizeof(char *)), *own[1000];

	ck_assert(arena && shared && heapd_arena_alloc(arena, 100));
	ck_call(heapd_root_set(heap, "shared", shared));
	pid_t pid = fixture_client_fork(child_uses_arena, arena);
	for (int i = 0; i < 1000; i++) {
		own[i] = (char *)heapd_arena_alloc(arena, 64);
		ck_assert(own[i] && !own[i][0]);
		memset(own[i], 'p', 64);
	}
	fixture_wait(pid, 0);
	for (int i = 0; i < 1000; i++)
		for (int k = 0; k < 64; k++)
			ck_assert(own[i][k] == 'p' && shared[i][k] == 'c');
	ck_call(heapd_arena_reset(arena));
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(shared[i][0], 'c');
	ck_call(heapd_arena_destroy(arena));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("fork");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, attached_start, attached_stop);
	tcase_add_test(tcase, child_is_a_client_of_its_own);
	tcase_add_test(tcase, stack_and_ranges_are_published);
	tcase_add_test(tcase, grandchildren);
	tcase_add_test(tcase, amid_other_threads);
	tcase_add_test(tcase, watches_are_the_parents);
	tcase_add_test(tcase, amid_watching_threads);
	tcase_add_test(tcase, detached_on_request);
	tcase_add_test(tcase, without_a_daemon);
	tcase_add_loop_test(tcase, unhandled_child_faults, 0, 3);
	tcase_add_test(tcase, from_a_second_thread);
	tcase_add_test(tcase, from_an_offline_thread);
	tcase_add_test(tcase, arena_in_both);
	return attached_run(tcase, suite_create("fork"));
}
