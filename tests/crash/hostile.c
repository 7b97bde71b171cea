/* SPDX-License-Identifier: MIT */
/* hostile.c - owns a session that no library stands behind: it maps what it was given, and answers scans as a process would. */
#include "hostile.h"

#include <err.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static void *must_map(int fd, uint64_t bytes, int protection)
{
	void *p = mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* As an attached process answers: none of its threads is inside, and what they hold is as published. */
static void *answer(void *arg)
{
	struct hostile *h = arg;
	char note[2048];

	while (!h->stop) {
		uint64_t now = HEAPD_LOAD_ACQUIRE(&h->tables.directory->cycle.now);

		while (recv(h->notify, note, sizeof(note), MSG_DONTWAIT) > 0)
			;
		for (unsigned i = 0; heapd_now_phase(now) == HEAPD_PHASE_SCAN && i < HOSTILE_THREADS; i++) {
			HEAPD_WRITE_ONCE(h->threads[i].published_cycle, heapd_now_cycle(now));
			HEAPD_STORE_RELEASE(&h->threads[i].scanned, heapd_now_cycle(now));
		}
		if (heapd_now_phase(now) == HEAPD_PHASE_SCAN)
			HEAPD_STORE_RELEASE(&h->session->ranges_cycle, heapd_now_cycle(now));
		usleep(100);
	}
	return NULL;
}

/* Something sensible in each part of the session. */
static void session_fill(struct hostile *h)
{
	uint64_t base = h->tables.base, *pins = (uint64_t *)((char *)h->session + HEAPD_SESSION_PIN_AT);
	struct heapd_range *ranges = (struct heapd_range *)((char *)h->session + HEAPD_SESSION_RANGE_AT);

	for (unsigned i = 0; i < HOSTILE_THREADS; i++) {
		struct heapd_thread *t = &h->threads[i];
		uint64_t *ring = (uint64_t *)((char *)h->session + HEAPD_SESSION_BARRIER_AT) +
				 (uint64_t)i * HEAPD_BARRIER_RING_MAX;

		t->state = HEAPD_THREAD_ONLINE;
		t->gate.attached = 1;
		for (unsigned j = 0; j < 8; j++)
			ring[j] = base + 8192 * j + 16;
		t->published_count = 4;
		t->edits[0].start = base + 64;
		t->edits[0].bytes = 64;
	}
	for (unsigned i = 0; i < 16; i++)
		pins[i] = base + 8192 * i;
	ranges[0] = (struct heapd_range){ .start = 4096, .bytes = 64, .thread = 0 };
	ranges[1] = (struct heapd_range){ .start = 8192, .bytes = 64, .thread = 1 };
	HEAPD_STORE_RELEASE(&h->session->nranges, 2);
	HEAPD_STORE_RELEASE(&h->session->npins, 16);
	HEAPD_STORE_RELEASE(&h->session->nthreads, HOSTILE_THREADS);
}

/* The daemon has what goes through a whole heap wait three times as long as the last such one took (connections.c). */
void hostile_bound_set(const struct hostile *h, uint64_t ns)
{
	const struct timeval bound = { .tv_sec = HOSTILE_BOUND_S + (time_t)(3 * ns / UINT64_C(1000000000)) };

	setsockopt(h->socket, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
}

void hostile_attach(struct hostile *h, const struct fixture *f)
{
	struct fixture_fds fds;
	struct heapd_message m;
	struct stat control;
	char *directory;

	h->socket = fixture_attach(f, h->name, 0, &m, &fds);
	if (h->socket < 0 || fds.n < 5)
		errx(1, "attach to %s: %s", h->name, m.text);
	if (!heapd_geometry_compute(&h->geometry, m.welcome.size, m.welcome.cpus))
		errx(1, "geometry");
	directory = must_map(fds.fd[1], h->geometry.directory_size, PROT_READ);
	if (fstat(fds.fd[2], &control) < 0)
		err(1, "fstat");
	h->control_inode = control.st_ino;
	h->control = must_map(fds.fd[2], h->geometry.control_size, PROT_READ | PROT_WRITE);
	h->session = must_map(fds.fd[3], HEAPD_SESSION_SIZE, PROT_READ | PROT_WRITE);
	h->threads = (struct heapd_thread *)(void *)((char *)h->session + HEAPD_SESSION_THREAD_AT);
	heapd_tables_init(&h->tables, &h->geometry, m.welcome.base, directory, h->control);
	h->notify = dup(fds.fd[4]);
	fixture_close(&fds);
	hostile_bound_set(h, 0);
	session_fill(h);
	h->stop = false;
	if (pthread_create(&h->answerer, NULL, answer, h) != 0)
		errx(1, "pthread_create");
}

void hostile_leave(struct hostile *h)
{
	h->stop = true;
	pthread_join(h->answerer, NULL);
	/* First: who has closed its socket and can still write is ended. */
	munmap(h->session, HEAPD_SESSION_SIZE);
	munmap(h->control, h->geometry.control_size);
	munmap(h->tables.directory, h->geometry.directory_size);
	close(h->socket);
	close(h->notify);
}
