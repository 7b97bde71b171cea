/* SPDX-License-Identifier: MIT */
/*
 * heapctl on broken heaps. A proxy stands between it and the daemon and hands it a copy of the heap's directory, or of its
 * objects, that was scribbled on, or scribbles on the daemon's answers: the daemon itself and its heap stay whole. Every
 * verb ends with one of its exit statuses and, if that is not 0, a sentence; none falls, hangs, or makes memory of holes.
 *
 * HEAPD_BROKEN_ALL=1: every verb on every corruption in every way. HEAPD_TEST_SEED has a run again.
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "collected.h"
#include "heapd/geometry.h"

#define WORDS_MOST   200000u
#define VERBS_EACH   4u
#define HOLLOW_PAGE  60000u
#define HOLLOW_PAGES 8000u
#define HANG_S       "100"
/* A sanitizer's own end, which is none of heapctl's. */
#define SANITIZER 99

enum what { IN_DIRECTORY, IN_HEAP, IN_REPLIES };

struct kind {
	const char *name;
	enum what what;
	bool said;         /* scribbled over as a whole it is seen, whatever the verb */
	uint64_t from, to; /* in the file */
};

enum {
	HEAD,
	CYCLE,
	STATS,
	RECORDS,
	CLASSES,
	TYPES,
	MAPS,
	ROOTS,
	RINGS,
	CLASS_STATS,
	PAGE_SPAN,
	SPANS,
	PAGES,
	SUPPLIED,
	OUT,
	PAST,
	OBJECTS,
	REPLIES,
	KINDS
};

enum way {
	RANDOM,
	ONES,
	ZEROES,
	BIT,
	NEAR,
	OTHER,
	WAYS,
	FROZEN = WAYS, /* it never changes again */
	ENDLESS,       /* lists of the daemon's begin anew */
	HOLLOW,        /* the object of a root lies where no memory is */
};

static const char *const ways[] = {
	"random words",       "ones",   "zeroes",  "flipped bits", "one more or less",
	"each other's words", "frozen", "endless", "hollow"
};

static const char *const verbs[] = {
	"status",
	"list",
	"clients",
	"--bytes clients",
	"classes",
	"types",
	"spans",
	"roots",
	"config",
	"gc",
	"log",
	"trace",
	"verify",
	"receipts",
	"receipts 1",
	"stat 0.01 2",
	"top",
	"leaks 2 0",
	"--by=root leaks 2 0",
	"histo",
	"--live histo",
	"--live --age histo",
	"retained",
	"snapshot",
	"map",
	"-o /dev/null map",
	"why %s",
	"who %s",
	"dot %s",
	"--json=pretty types",
	"--json=short --live histo",
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

struct node {
	uint64_t number;
	heapd_ptr(struct node) left;
	uint64_t more;
	heapd_ptr(struct node) right;
};

/* What the proxy is to do, and what it has seen; in memory that it shares with the test. */
struct order {
	struct kind kind;
	enum way way;
	uint64_t seed;
	bool whole;  /* all words, not some */
	long blocks; /* that files had, more at the end than at the beginning */
};

static char tool[512], proxy_path[120], object[32];
static struct order *order;
static struct kind kinds[KINDS];

static uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Copies with errors ------------------------------------------------------------------------------------------------ */

/* A memory file with the same contents and the same holes. */
static int copy_make(int from)
{
	static char piece[65536];
	int to = memfd_create("copy", MFD_CLOEXEC);
	struct stat st;

	if (to < 0 || fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return -1;
	for (off_t at = lseek(from, 0, SEEK_DATA); at >= 0; at = lseek(from, at, SEEK_DATA)) {
		off_t end = lseek(from, at, SEEK_HOLE);

		while (at < end) {
			size_t n = (size_t)(end - at) < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);
			ssize_t r = pread(from, piece, n, at);

			if (r <= 0 || pwrite(to, piece, (size_t)r, at) != r)
				return -1;
			at += r;
		}
	}
	return to;
}

/* Where words are that hold something. */
static size_t words_find(int fd, uint64_t from, uint64_t end, uint64_t *places)
{
	static uint64_t piece[8192];
	size_t n = 0;

	for (off_t at = lseek(fd, (off_t)from, SEEK_DATA); at >= 0 && (uint64_t)at < end;
	     at = lseek(fd, at, SEEK_DATA)) {
		ssize_t r = pread(fd, piece, sizeof(piece), at);

		for (ssize_t i = 0; i < r / 8 && (uint64_t)at + (uint64_t)i * 8 < end; i++)
			if (piece[i] && n < WORDS_MOST)
				places[n++] = (uint64_t)at + (uint64_t)i * 8;
		if (r <= 0)
			break;
		at += r;
	}
	return n;
}

static uint64_t word_spoil(enum way way, uint64_t *seed, uint64_t before, uint64_t other)
{
	switch (way) {
	case RANDOM:
		/* Small numbers pass for indices. */
		return draw(seed) >> draw(seed) % 64;
	case ONES:
		return UINT64_MAX;
	case ZEROES:
		return 0;
	case BIT:
		return before ^ UINT64_C(1) << draw(seed) % 64;
	case NEAR:
		return before + (draw(seed) % 2 ? 1 : UINT64_MAX) * (draw(seed) % 2 ? 1 : UINT64_C(1) << 32);
	default:
		return other;
	}
}

static void file_write(int fd, const void *bytes, size_t n, uint64_t at)
{
	if (pwrite(fd, bytes, n, (off_t)at) != (ssize_t)n)
		err(1, "pwrite");
}

static void file_read(int fd, void *bytes, size_t n, uint64_t at)
{
	if (pread(fd, bytes, n, (off_t)at) != (ssize_t)n)
		err(1, "pread");
}

/* The span of the second root's object, moved to where nothing was ever committed, and made much larger. */
static void hollow_make(int fd)
{
	uint64_t root_at = kinds[ROOTS].from + sizeof(struct heapd_root_record);
	struct heapd_root_record root;
	struct heapd_span span;
	uint64_t base; /* not the default one where a sanitizer has that for itself */
	uint32_t page;

	file_read(fd, &base, sizeof(base), offsetof(struct heapd_directory, base));
	file_read(fd, &root, sizeof(root), root_at);
	page = (uint32_t)((root.object - base) >> HEAPD_PAGE_SHIFT);
	file_read(fd, &span, sizeof(span), kinds[SPANS].from + page * sizeof(span));
	root.object += HOLLOW_PAGE * HEAPD_PAGE_SIZE;
	page += HOLLOW_PAGE;
	span.npages = HOLLOW_PAGES;
	span.elemsize = HOLLOW_PAGES * HEAPD_PAGE_SIZE;
	file_write(fd, &root, sizeof(root), root_at);
	file_write(fd, &span, sizeof(span), kinds[SPANS].from + page * sizeof(span));
	for (uint32_t i = 0, entry = page + 1; i < HOLLOW_PAGES; i++)
		file_write(fd, &entry, 4, kinds[PAGE_SPAN].from + (page + i) * 4ul);
}

static void scribble(int fd, const struct order *o, uint64_t *seed)
{
	if (o->way == HOLLOW)
		hollow_make(fd);
	if (o->way >= WAYS)
		return;

	static uint64_t places[WORDS_MOST];
	size_t n = words_find(fd, o->kind.from, o->kind.to, places);
	size_t many = o->whole ? n : 1 + draw(seed) % 40;

	for (size_t i = 0; n && i < many; i++) {
		/* Now and then what is still unused. */
		uint64_t at = o->whole ? places[i]
			      : draw(seed) % 8
				      ? places[draw(seed) % n]
				      : o->kind.from + draw(seed) % ((o->kind.to - o->kind.from) / 8) * 8;
		uint64_t word = 0, other = 0;

		if (pread(fd, &word, 8, (off_t)at) != 8 ||
		    pread(fd, &other, 8, (off_t)places[draw(seed) % n]) != 8)
			break;
		word = word_spoil(o->way, seed, word, other);
		if (pwrite(fd, &word, 8, (off_t)at) != 8)
			break;
	}
}

static long blocks_of(const struct fixture_fds *fds)
{
	long n = 0;

	for (size_t i = 0; i < 2 && i < fds->n; i++) {
		struct stat st;

		if (fstat(fds->fd[i], &st) == 0)
			n += (long)st.st_blocks;
	}
	return n;
}

/* The proxy --------------------------------------------------------------------------------------------------------- */

struct wire {
	int client, daemon;
	struct fixture_fds shown; /* what heapctl maps */
	long blocks;
	uint64_t seed;
};

/* One message with these descriptors. */
static bool message_pass(int to, const struct heapd_message *m, const struct fixture_fds *fds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(fds->fd))] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds->n) {
		h.msg_control = room;
		h.msg_controllen = CMSG_SPACE(fds->n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds->n * sizeof(int));
		memcpy(CMSG_DATA(c), fds->fd, fds->n * sizeof(int));
	}
	return sendmsg(to, &h, MSG_NOSIGNAL) == (ssize_t)sizeof(*m);
}

/* Heap and directory of a welcome become copies, one of them with errors. */
static void welcome_spoil(struct wire *w, struct fixture_fds *fds)
{
	for (unsigned i = 0; i < 2; i++) {
		enum what what = i ? IN_DIRECTORY : IN_HEAP;
		int copy = copy_make(fds->fd[i]);

		if (copy < 0)
			err(1, "copy");
		close(fds->fd[i]);
		fds->fd[i] = copy;
		if (order->kind.what == what)
			scribble(copy, order, &w->seed);
		w->shown.fd[i] = dup(copy);
	}
	w->shown.n = 2;
	w->blocks = blocks_of(&w->shown);
}

static void reply_spoil(struct wire *w, struct heapd_message *m)
{
	uint64_t *words = (uint64_t *)(void *)m;
	size_t from = offsetof(struct heapd_message, bytes) / 8, n = sizeof(*m) / 8 - from;

	if (order->way == ENDLESS) {
		m->status = 0;
		if (m->op == HEAPD_OP_SESSION)
			m->session.id = 7;
		else if (m->op == HEAPD_OP_RECEIPT)
			m->receipt.number = 9;
		else if (m->op == HEAPD_OP_HEAPS)
			m->heaps.next = 3;
		else if (m->op == HEAPD_OP_HELD)
			m->held.next = 5;
		return;
	}
	/* Of its head the seq is left, or it would be none to this question. */
	for (size_t i = 0; i < (order->whole ? n : 1 + draw(&w->seed) % 20); i++) {
		size_t at = from + (order->whole ? i : draw(&w->seed) % n);

		words[at] = word_spoil(order->way, &w->seed, words[at], words[from + draw(&w->seed) % n]);
	}
}

/* Two files that do not change would have collections wait for what they have seen long ago. */
static void cycle_show(const struct wire *w, const char *directory)
{
	if (order->kind.from != kinds[CYCLE].from && order->kind.from != kinds[HEAD].from && w->shown.n &&
	    directory)
		(void)!pwrite(w->shown.fd[1], directory + kinds[CYCLE].from,
			      kinds[CYCLE].to - kinds[CYCLE].from, (off_t)kinds[CYCLE].from);
}

static bool pass_on(struct wire *w, int from, int to, char **directory)
{
	struct fixture_fds fds;
	struct heapd_message m;

	if (fixture_receive(from, &m, &fds) < 0)
		return false;
	if (from == w->daemon && m.op == HEAPD_OP_HELLO && m.status == 0 && fds.n >= 2) {
		*directory = mmap(NULL, kinds[CLASSES].to, PROT_READ, MAP_SHARED, fds.fd[1], 0);
		welcome_spoil(w, &fds);
	} else if (from == w->daemon && order->kind.what == IN_REPLIES) {
		reply_spoil(w, &m);
	}
	bool sent = message_pass(to, &m, &fds);
	fixture_close(&fds);
	return sent;
}

static void wire_serve(struct wire *w)
{
	struct pollfd p[2] = { { .fd = w->client, .events = POLLIN }, { .fd = w->daemon, .events = POLLIN } };
	char *directory = NULL;
	bool open = true;

	while (open && poll(p, 2, 1) >= 0) {
		cycle_show(w, directory == MAP_FAILED ? NULL : directory);
		if (p[0].revents)
			open = pass_on(w, w->client, w->daemon, &directory);
		if (open && p[1].revents)
			open = pass_on(w, w->daemon, w->client, &directory);
	}
	order->blocks = w->shown.n ? blocks_of(&w->shown) - w->blocks : 0;
	fixture_close(&w->shown);
}

/* One connection after the other, until it is ended. */
static int proxy(void *listener)
{
	for (;;) {
		struct wire w = { .client = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC),
				  .seed = order->seed };

		w.daemon = fixture_connect(&fixture);
		if (w.client < 0 || w.daemon < 0)
			return 1;
		wire_serve(&w);
		close(w.daemon);
		close(w.client);
	}
}

static pid_t proxy_start(void)
{
	static int listener;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(proxy_path, sizeof(proxy_path), "%s/proxy", fixture.dir);
	memcpy(address.sun_path, proxy_path, strlen(proxy_path) + 1);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
	return fixture_client_fork(proxy, &listener);
}

/* The heap ---------------------------------------------------------------------------------------------------------- */

static int fill(void *end)
{
	struct node **table;
	heapd_type *nodes;
	uint64_t address;

	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, left, right);
	table = (struct node **)heapd_alloc(heap, 8000);
	ck_call(heapd_root_set(heap, "table", table));
	for (unsigned i = 0; i < 1500; i++) {
		struct node *new = heapd_new(nodes, struct node);

		heapd_init(&new->left, table[(i + 1) % 1000]);
		heapd_init(&new->right, (struct node *)heapd_alloc(heap, 16u << i % 10));
		heapd_store(&table[i % 1000], new);
	}
	ck_call(heapd_root_set(heap, "large", heapd_alloc(heap, 200000)));
	ck_assert_ptr_nonnull(heapd_pin(heap, table[7]));
	ck_call(heapd_collect(heap));
	address = (uint64_t)(uintptr_t)table[3];
	if (write(*(int *)end, &address, 8) != 8)
		return 1;
	raise(SIGKILL);
	return 0;
}

static void kinds_make(void)
{
	struct heapd_geometry g;

	ck_assert(heapd_geometry_compute(&g, 1ul << 30, (uint64_t)sysconf(_SC_NPROCESSORS_CONF)));
	const struct kind all[KINDS] = {
		[HEAD] = { "head", IN_DIRECTORY, false, 0, offsetof(struct heapd_directory, cycle) },
		[CYCLE] = { "cycle words", IN_DIRECTORY, true, offsetof(struct heapd_directory, cycle),
			    offsetof(struct heapd_directory, stats) },
		[STATS] = { "statistics", IN_DIRECTORY, true, offsetof(struct heapd_directory, stats),
			    offsetof(struct heapd_directory, cycles) },
		[RECORDS] = { "cycle records", IN_DIRECTORY, false, offsetof(struct heapd_directory, cycles),
			      sizeof(struct heapd_directory) },
		[CLASSES] = { "classes", IN_DIRECTORY, true, g.class_at, g.type_at },
		[TYPES] = { "types", IN_DIRECTORY, true, g.type_at, g.map_at },
		[MAPS] = { "maps", IN_DIRECTORY, false, g.map_at, g.root_at },
		[ROOTS] = { "roots", IN_DIRECTORY, true, g.root_at, g.ring_at },
		[RINGS] = { "rings", IN_DIRECTORY, false, g.ring_at, g.class_stats_at },
		[CLASS_STATS] = { "class statistics", IN_DIRECTORY, false, g.class_stats_at, g.page_span_at },
		[PAGE_SPAN] = { "page table", IN_DIRECTORY, false, g.page_span_at, g.span_at },
		[SPANS] = { "spans", IN_DIRECTORY, false, g.span_at, g.page_at },
		[PAGES] = { "pages", IN_DIRECTORY, false, g.page_at, g.supplied_at },
		[SUPPLIED] = { "supplied", IN_DIRECTORY, false, g.supplied_at, g.out_at },
		[OUT] = { "out", IN_DIRECTORY, false, g.out_at, g.past_at },
		[PAST] = { "past", IN_DIRECTORY, false, g.past_at, g.directory_size },
		[OBJECTS] = { "objects", IN_HEAP, false, 0, g.size },
		[REPLIES] = { "replies", IN_REPLIES, false, 0, 0 },
	};
	memcpy(kinds, all, sizeof(all));
}

static pid_t proxy_pid;

static void start(void)
{
	/* Who sees no more than a copy does not answer a scan in time: that is not waited for long. */
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						"heap.test.StallTimeout=1s", NULL };
	uint64_t address;
	int ends[2];

	fixture_start(&fixture, settings);
	ck_assert_int_eq(pipe(ends), 0);
	fixture_wait(fixture_client_fork(fill, &ends[1]), -SIGKILL);
	ck_assert_int_eq(read(ends[0], &address, 8), 8);
	snprintf(object, sizeof(object), "0x%" PRIx64, address);
	close(ends[0]);
	close(ends[1]);
	kinds_make();
	order = mmap(NULL, sizeof(*order), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(order != MAP_FAILED);
	proxy_pid = proxy_start();
}

static void stop(void)
{
	kill(proxy_pid, SIGKILL);
	fixture_wait(proxy_pid, -SIGKILL);
	fixture_stop(&fixture);
}

/* What heapctl does with it ----------------------------------------------------------------------------------------- */

/* Its exit status, and the beginning of its standard error; or, if that is empty, of what it printed. */
static int verb_run(const char *verb, char said[2048])
{
	char filled[128], command[2048], path[128];
	FILE *f;
	int status;
	size_t n;

	/* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): from the table above */
	snprintf(filled, sizeof(filled), verb, object);
	snprintf(path, sizeof(path), "%s/said", fixture.dir);
	snprintf(command, sizeof(command),
		 "ASAN_OPTIONS=exitcode=%d UBSAN_OPTIONS=exitcode=%d TMPDIR=%s timeout -s KILL " HANG_S
		 " %s --socket %s -H test --no-gc %s >%s.out 2>%s </dev/null",
		 SANITIZER, SANITIZER, fixture.dir, tool, proxy_path, filled, path, path);
	status = system(command);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	n = fread(said, 1, 2047, f);
	if (!n && (f = freopen(strcat(path, ".out"), "re", f)) != NULL)
		n = fread(said, 1, 2047, f);
	said[n] = 0;
	if (f)
		fclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int tried(enum way way, const struct kind *kind, bool whole, uint64_t seed, const char *verb,
		 char said[2048])
{
	int status;

	*order = (struct order){ .kind = *kind, .way = way, .seed = seed | 1, .whole = whole };
	status = verb_run(verb, said);
	ck_assert_msg(status >= 0 && status <= 5 && status != 2,
		      "%s, %s%s, seed %" PRIu64 ": heapctl %s: exit status %d: %s", kind->name,
		      whole ? "all " : "", ways[way], seed, verb, status, said);
	/* What it was asked for, in its answer, or a sentence. */
	ck_assert_msg(status == 0 || strstr(said, "heapctl: ") || (status == 1 && said[0]),
		      "%s, %s%s, seed %" PRIu64 ": heapctl %s: exit status %d without a word: %s", kind->name,
		      whole ? "all " : "", ways[way], seed, verb, status, said);
	return status;
}

START_TEST(any_verb_on_any_corruption)
{
	uint64_t seed = fixture_seed() | 1;
	bool all = getenv("HEAPD_BROKEN_ALL");
	char said[2048];

	for (unsigned k = 0; k < KINDS; k++) {
		unsigned statuses[6] = { 0 };
		long blocks = 0;

		for (unsigned i = 0; i < (all ? VERBS * WAYS : VERBS_EACH); i++) {
			const char *verb = verbs[all ? i % VERBS : draw(&seed) % VERBS];
			enum way way = all ? i / VERBS : draw(&seed) % WAYS;

			statuses[tried(way, &kinds[k], draw(&seed) % 4 == 0, draw(&seed), verb, said)]++;
			blocks = order->blocks > blocks ? order->blocks : blocks;
		}
		printf("%-18s statuses 0 1 3 4 5: %3u %3u %3u %3u %3u; %ld KiB more of memory files\n",
		       kinds[k].name, statuses[0], statuses[1], statuses[3], statuses[4], statuses[5],
		       blocks / 2);
		fflush(stdout);
		/* The small tables of fixed size, and nothing of the heap. */
		ck_assert_msg(blocks / 2 <= 2048, "%s: %ld KiB became memory", kinds[k].name, blocks / 2);
	}
}
END_TEST

/* Scribbled over as a whole, or with a word that cannot be. */
static void is_said(enum way way, unsigned kind, const char *verb, int expected, const char *sentence)
{
	char said[2048];
	int status = tried(way, &kinds[kind], true, 0x9e3779b97f4a7c15, verb, said);

	ck_assert_msg(status == expected && strstr(said, sentence),
		      "%s, all %s: heapctl %s: exit status %d, not %d: %s", kinds[kind].name, ways[way], verb,
		      status, expected, said);
}

START_TEST(what_can_be_seen_is_said)
{
	static const char *const walks[] = { "spans",        "classes", "types",    "histo", "retained",
					     "--live histo", "map",     "snapshot", "who %s" };

	is_said(ONES, HEAD, "status", 5, "not laid out as this client library knows it");
	is_said(ONES, CYCLE, "status", 1, "in a phase that there is not");
	is_said(ONES, STATS, "status", 1, "its statistics name more bytes than it has");
	is_said(ONES, CLASSES, "roots", 1, "classes make no sense");
	is_said(RANDOM, CLASSES, "log", 1, "classes make no sense");
	is_said(ONES, TYPES, "log", 1, "types make no sense");
	is_said(ZEROES, TYPES, "status", 1, "types make no sense");
	is_said(ONES, ROOTS, "status", 1, "named roots make no sense");
	is_said(RANDOM, ROOTS, "roots", 1, "named roots make no sense");
	for (unsigned i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
		is_said(ONES, SPANS, walks[i], 1, "spans and pages make no sense and are left out");
		is_said(RANDOM, PAGE_SPAN, walks[i], 1, "spans and pages make no sense and are left out");
	}
	is_said(ONES, REPLIES, "clients", 5, "heapctl: ");
	is_said(ENDLESS, REPLIES, "clients", 5, "list of sessions goes backwards");
	is_said(ENDLESS, REPLIES, "retained", 5, "list of sessions goes backwards");
	is_said(ENDLESS, REPLIES, "receipts", 5, "list of receipts goes backwards");
	is_said(ENDLESS, REPLIES, "receipts 1", 5, "list of receipts goes backwards");
	is_said(ENDLESS, REPLIES, "list", 5, "list of heaps goes backwards");
	is_said(FROZEN, CYCLE, "gc", 5, "does not show that collections end");
	is_said(FROZEN, CYCLE, "leaks 2 0", 5, "does not show that collections end");
	is_said(HOLLOW, SPANS, "--live histo", 1, "spans and pages make no sense and are left out");
	ck_assert_msg(order->blocks / 2 <= 2048, "a hole: %ld KiB became memory", order->blocks / 2);
}
END_TEST

static void suite_fill(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, start, stop);
	tcase_add_test(tcase, what_can_be_seen_is_said);
	tcase_add_test(tcase, any_verb_on_any_corruption);
}

int main(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	TCase *tcase = tcase_create("broken");

	snprintf(tool, sizeof(tool), "%s/heapctl", build ? build : "build");
	tcase_set_timeout(tcase, getenv("HEAPD_BROKEN_ALL") ? 3000 : 300);
	suite_fill(tcase);
	return attached_run(tcase, suite_create("broken"));
}
