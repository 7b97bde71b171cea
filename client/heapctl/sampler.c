/* SPDX-License-Identifier: MIT */
/*
 * sampler.c - owns the BPF program behind profile, and the files that it is attached to.
 *
 * The probe `sample` is in libheapd, or in a program that is linked with its parts: a uprobe is set on each file that has
 * it and that a client of the heap runs, once, and serves all processes that map the file, later ones too. The
 * kernel counts the semaphore up in all of them: from then on, and no longer than this process lives, they draw samples.
 * Clients are looked at again each LOOK_MS for files that are new.
 */
#include "sampler.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "bpf/notes.h"
#include "bpf/profile.h"
#include "heapd/message.h"
#include "profile.skel.h"

#define LOOK_MS      250u
#define SLICE_MS     20
#define BATCH        1024u
#define RING_BATCHES ((4u << 20) / sizeof(struct profile_event) / BATCH) /* that the ring has room for */

struct sampler {
	const struct ctl *ctl;
	struct profile_bpf *skeleton;
	struct ring_buffer *ring;
	struct bpf_link **links;
	uint32_t nlinks;
	uint32_t looked; /* files that were looked at for the probe */
	int why;         /* -errno: an attachment failed */
	struct processes processes;
	struct samples samples;
	uint64_t lost; /* their process had gone */
	uint64_t batch;
	int status;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level, (void)format, (void)args;
	return 0;
}

/*
 * What lies in libheapd itself is left out; a caller is where its call is, which is before where it returns to. A word
 * that leads into no code was no return address: a function above it was built without a frame pointer.
 */
static uint32_t frames_of(struct sampler *s, struct process *process, const struct profile_event *e,
			  struct frame frames[PROFILE_FRAMES])
{
	uint32_t n = 0, words = e->stack_bytes > 0 ? (uint32_t)e->stack_bytes / 8 : 0;
	bool inside = true;

	for (uint32_t i = 0; i < words && i < PROFILE_FRAMES; i++) {
		uint64_t address = e->stack[i] - (i != 0);
		struct frame f = { .offset = address, .file = SAMPLES_NOFILE };

		if (!e->stack[i] || !process_code(&s->processes, process, address, &f.file, &f.offset))
			break;
		inside = inside && s->processes.files[f.file].library;
		if (!inside)
			frames[n++] = f;
	}
	return n;
}

static int on_event(void *arg, void *data, size_t size)
{
	struct sampler *s = arg;
	const struct profile_event *e = data;
	struct frame frames[PROFILE_FRAMES];
	struct process *process;
	struct sample sample;
	uint32_t n;

	if (size < sizeof(*e) || strncmp(e->heap, s->ctl->heap->name, PROFILE_NAME) != 0)
		return 0;
	process = processes_find(&s->processes, e->pid);
	if (!process) {
		s->lost++;
		return 0;
	}
	if (!process->ours || e->address - s->ctl->heap->t.base >= s->ctl->heap->t.size)
		return 0;
	n = frames_of(s, process, e, frames);
	if (!n) {
		s->lost++;
		return 0;
	}
	sample = (struct sample){ .address = e->address,
				  .bytes = e->bytes,
				  .weight = e->weight,
				  .cycle = heapd_now_cycle(HEAPD_READ_ONCE(ctl_directory(s->ctl)->cycle.now)),
				  .pid = e->pid };
	s->status = samples_add(&s->samples, &sample, (uint32_t)e->class % HEAPD_CLASS_MAX, frames, n);
	if (s->status != CTL_OK)
		return -ENOMEM;
	/* They may come as fast as they are looked at. */
	return ++s->batch % BATCH ? 0 : -ECANCELED;
}

static int file_attach(struct sampler *s, const struct code_file *file)
{
	struct bpf_link **links = reallocarray(s->links, s->nlinks + 1u, sizeof(struct bpf_link *));
	struct note note;
	char path[48];

	if (!links)
		return -ENOMEM;
	s->links = links;
	/* By the descriptor: in a container the path is another. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	if (file->fd < 0 || note_find(path, "sample", &note) < 0)
		return 0;
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .ref_ctr_offset = note.semaphore);
	links[s->nlinks] =
		bpf_program__attach_uprobe_opts(s->skeleton->progs.sample, -1, path, note.site, &opts);
	if (!links[s->nlinks])
		return -errno;
	s->nlinks++;
	return 0;
}

/* Files that clients run and that have not been looked at. */
static int clients_look(struct sampler *s)
{
	struct heapd_message m = { 0 };
	int r;

	for (;;) {
		r = ctl_session(s->ctl, &m);
		if (r != CTL_OK)
			return r;
		if (!m.session.id)
			break;
		if (m.session.id != s->ctl->heap->session_id)
			processes_find(&s->processes, m.session.pid);
	}
	for (; s->looked < s->processes.nfiles; s->looked++) {
		r = file_attach(s, &s->processes.files[s->looked]);
		if (r < 0)
			s->why = r;
	}
	return CTL_OK;
}

static int skeleton_load(struct sampler *s)
{
	struct stat ns;
	int r;

	s->skeleton = profile_bpf__open();
	if (!s->skeleton)
		return -errno;
	if (stat("/proc/self/ns/pid", &ns) == 0) {
		s->skeleton->rodata->pidns_dev = ns.st_dev;
		s->skeleton->rodata->pidns_ino = ns.st_ino;
	}
	r = profile_bpf__load(s->skeleton);
	if (r < 0)
		return r;
	s->ring = ring_buffer__new(bpf_map__fd(s->skeleton->maps.events), on_event, s, NULL);
	return s->ring ? 0 : -errno;
}

static int start(struct sampler *s)
{
	int r = skeleton_load(s), status;

	if (r < 0)
		return ctl_say(CTL_TROUBLE, "no samples: the kernel does not load the BPF program: %s%s",
			       strerror(-r), geteuid() ? " (this is for root)" : "");
	status = clients_look(s);
	if (status == CTL_OK && s->why && !s->nlinks)
		status = ctl_say(CTL_TROUBLE, "no samples: the probe cannot be attached: %s",
				 strerror(-s->why));
	if (status == CTL_OK && !HEAPD_READ_ONCE(ctl_directory(s->ctl)->sample_bytes))
		status = ctl_say(
			CTL_TROUBLE,
			"heap '%s' draws no samples: sample.bytes is 0 (heapctl config sample.bytes=512K)",
			s->ctl->heap->name);
	return status;
}

int sampler_start(struct sampler **sampler, const struct ctl *ctl)
{
	struct sampler *s = calloc(1, sizeof(*s));
	int status;

	*sampler = NULL;
	if (!s)
		return ctl_say(CTL_TROUBLE, "out of memory");
	s->ctl = ctl;
	processes_init(&s->processes, ctl);
	samples_init(&s->samples, ctl);
	libbpf_set_print(quiet);
	status = start(s);
	if (status == CTL_OK)
		*sampler = s;
	else
		sampler_stop(s);
	return status;
}

void sampler_stop(struct sampler *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->nlinks; i++)
		bpf_link__destroy(s->links[i]);
	free(s->links);
	ring_buffer__free(s->ring);
	profile_bpf__destroy(s->skeleton);
	samples_free(&s->samples);
	processes_free(&s->processes);
	free(s);
}

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool is_signalled(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fd >= 0 && poll(&p, 1, 0) > 0;
}

static int collect(struct sampler *s, uint64_t until, int signals, bool *ended)
{
	uint64_t look = now_ms() + LOOK_MS;
	int status = CTL_OK;

	while (status == CTL_OK && now_ms() < until && !*ended) {
		int r = ring_buffer__poll(s->ring, SLICE_MS);

		if (r < 0 && r != -EINTR && r != -ECANCELED)
			status = s->status != CTL_OK ? s->status
						     : ctl_say(CTL_TROUBLE, "no samples: %s", strerror(-r));
		if (status == CTL_OK)
			status = samples_mark(&s->samples);
		if (status == CTL_OK && now_ms() >= look) {
			status = clients_look(s);
			samples_live(&s->samples);
			look = now_ms() + LOOK_MS;
		}
		*ended = is_signalled(signals) || atomic_load(&s->ctl->heap->away);
	}
	return status;
}

/* What lies in the ring when it ends belongs to it; what comes meanwhile does not. */
static int rest_take(struct sampler *s)
{
	int status = CTL_OK;

	for (unsigned i = 0; i <= RING_BATCHES && status == CTL_OK; i++) {
		int r = ring_buffer__consume(s->ring);

		status = r < 0 && r != -ECANCELED && s->status != CTL_OK ? s->status
									 : samples_mark(&s->samples);
		if (r != -ECANCELED)
			break;
	}
	return status;
}

int sampler_run(struct sampler *s, uint64_t ms, bool *ended)
{
	int signals = signals_open(), status;

	*ended = false;
	status = collect(s, now_ms() + ms, signals, ended);
	if (status == CTL_OK)
		status = rest_take(s);
	if (signals >= 0)
		close(signals);
	samples_live(&s->samples);
	return status;
}

struct samples *sampler_samples(struct sampler *s)
{
	return &s->samples;
}

struct processes *sampler_processes(struct sampler *s)
{
	return &s->processes;
}

uint64_t sampler_lost(const struct sampler *s)
{
	return s->lost + s->skeleton->bss->lost;
}
