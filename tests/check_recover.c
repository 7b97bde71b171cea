/* SPDX-License-Identifier: MIT */
/*
 * What a daemon leaves when it dies, and what the next one makes of it: each state between two commits, made by hand,
 * and those that SIGKILL finds.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "daemon/deads.h"
#include "daemon/peer.h"
#include "daemon/rebuild.h"
#include "daemon/recover.h"
#include "daemon/roots.h"
#include "daemon/scavenger.h"
#include "daemon/session.h"
#include "testheap.h"

#define SIZE  (256 * MIB)
#define LIMIT (128 * MIB)
#define CLASS 5u /* of the built-in ones: some tens of bytes */
#define KILLS 60u

static struct testheap t;
static struct heap_files files;

static void setup(void)
{
	testheap_init(&t, SIZE, LIMIT);
}

static void teardown(void)
{
	deads_deinit(t.heap);
	testheap_deinit(&t);
}

static int copy(int fd)
{
	int new = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	ck_assert_int_ge(new, 0);
	return new;
}

/* The daemon's end as far as its memory goes: nothing that it derived is left. */
static void forget(void)
{
	struct heap *heap = t.heap;

	supply_stop(heap);
	files = (struct heap_files){ copy(heap->heap_fd), copy(heap->directory_fd), copy(heap->control_fd),
				     copy(heap->ledger_fd) };
	clients_deinit(heap);
	deads_deinit(heap);
	marks_deinit(heap);
	collection_deinit(heap);
	types_deinit(heap);
}

static void adopt_memory(void)
{
	struct heap_plan plan = {
		.config = &t.config,
		.geometry = t.heap->geometry,
		.ledger_bytes = t.heap->ledger_bytes,
		.base = t.heap->t.base,
		.account = &t.account,
		.log = &t.log,
		.files = &files,
	};

	heap_destroy(t.heap);
	t.account.taken = 0;
	ck_assert_int_eq(heap_create(&plan, &t.heap), 0);
}

static void adopt_tables(void)
{
	unsigned index;

	ck_assert_int_eq(types_init(t.heap), 0);
	ck_assert_int_eq(collection_init(t.heap), 0);
	ck_assert_int_eq(marks_init(t.heap), 0);
	ck_assert_int_eq(clients_init(t.heap), 0);
	ck_assert_int_eq(
		clients_add(t.heap, &(struct client){ .memory = t.session, .fd = -1, .id = 1 }, &index), 0);
	ck_assert_int_eq(deads_init(t.heap), 0);
	ck_assert_int_eq(supply_init(t.heap), 0);
	ck_assert_int_eq(recover_run(t.heap), 0);
	testheap_is_clean(&t);
}

static void adopt(void)
{
	adopt_memory();
	adopt_tables();
}

/* Some slabs of a class are taken, half of them freed; with a large object beside them. */
static void use(uint32_t class, struct heapd_batch *batches, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(testheap_get(&t, class, &batches[i]), 0);
		if (i % 2)
			testheap_free(&t, &batches[i], 0x5555555555555555ull);
	}
}

/* Something of the class is taken, and something lies in its ring. */
static void fill_ring(uint32_t class, struct heapd_batch *batch)
{
	uint64_t until = clock_ns() + TESTHEAP_PATIENCE_NS;

	ck_assert_int_eq(testheap_get(&t, class, batch), 0);
	while (HEAPD_LOAD_ACQUIRE(&t.heap->t.rings[class].tail) == t.heap->t.heads[class].head) {
		ck_assert_uint_lt(clock_ns(), until);
		testheap_demand(&t, class);
		usleep(1000);
	}
}

/* Word by word: the daemon's threads count meanwhile. */
static struct heapd_stats stats_now(void)
{
	const uint64_t *from = (const uint64_t *)&t.heap->t.directory->stats;
	struct heapd_stats stats;

	for (size_t i = 0; i < sizeof(stats) / 8; i++)
		((uint64_t *)&stats)[i] = HEAPD_READ_ONCE(from[i]);
	return stats;
}

/* All counts come out as they were. */
START_TEST(counts_are_the_same)
{
	static const uint32_t large_class = HEAPD_SIZECLASS_LARGE;
	struct heapd_batch batches[40];
	struct heapd_stats before, after;
	uint64_t address;
	bool zeroed;

	testheap_start(&t);
	for (uint32_t class = 1; class < 60; class += 7)
		use(class, batches, 40);
	ck_assert_int_eq(supply_large(t.heap, large_class, 3 * MIB, 8, 0, &address, &zeroed), 0);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	/* It died with something counted as out, and not as given. */
	HEAPD_COUNT(t.heap->t.directory->stats.given, -(uint64_t)MIB);
	before = stats_now();
	adopt();
	after = stats_now();
	ck_assert_uint_ge(after.given, before.given);
	ck_assert_uint_ge(after.taken, before.taken);
	ck_assert_uint_eq(after.given - after.taken, after.out);
	ck_assert_uint_gt(before.out, 3 * MIB);
	ck_assert_uint_eq(after.out, before.out);
	ck_assert_uint_eq(after.in_rings, before.in_rings);
	ck_assert_uint_eq(after.large, before.large);
	ck_assert_uint_eq(after.in_spans, before.in_spans);
	ck_assert_uint_eq(after.committed, before.committed);
	ck_assert_uint_eq(account_taken(&t.account), after.committed + t.heap->charged);
	/* And it goes on. */
	ck_assert_int_eq(supply_run(t.heap), 0);
	use(1, batches, 40);
	use(CLASS, batches, 40);
	testheap_is_clean(&t);
}
END_TEST

/* An entry of the ring that the daemon has not moved the private tail for: its slots come back. */
START_TEST(giving_not_finished)
{
	struct heapd_batch batch;
	struct ledger ledger;
	struct ledger_giving *giving;
	struct heapd_stats before, after;
	uint64_t out, taken;
	uint32_t slab;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	testheap_free(&t, &batch, UINT64_MAX);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	giving = &ledger.head->giving;
	ck_assert_uint_eq(giving->class, 0);
	HEAPD_COUNT(t.heap->t.directory->stats.given, MIB); /* ... and this, not counted as taken back */
	before = stats_now();
	out = before.out;
	taken = ~ledger.out[slab] & 0xff;
	ck_assert_uint_ne(taken, 0);
	*giving = (struct ledger_giving){
		.class = CLASS + 1,
		.tail = ledger.rings[CLASS].tail,
		.entry = heapd_entry_make(heapd_entry_page(batch.entry), heapd_entry_slab(batch.entry), 1, 0),
		.masks = { taken },
	};
	ledger.out[slab] |= taken;
	adopt();
	after = stats_now();
	ck_assert_uint_eq(after.given, before.given);
	ck_assert_uint_eq(after.taken, before.taken + MIB);
	ck_assert_uint_eq(after.out, out);
	ck_assert_uint_eq(t.heap->t.out[slab] & taken, 0);
	ck_assert_uint_eq(t.heap->t.lent[slab] & taken, taken);
}
END_TEST

/* One that only the shared tail is missing for is in the ring. */
START_TEST(giving_almost_finished)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t out, in_rings, tail;

	testheap_start(&t);
	fill_ring(CLASS, &batch);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	tail = ledger.rings[CLASS].tail;
	ck_assert_uint_gt(tail, t.heap->t.heads[CLASS].head);
	ledger.head->giving.tail = tail - 1;
	ledger.head->giving.class = CLASS + 1;
	t.heap->t.rings[CLASS].tail = tail - 1;
	out = stats_now().out;
	in_rings = stats_now().in_rings;
	adopt();
	ck_assert_uint_eq(t.heap->t.rings[CLASS].tail, tail);
	ck_assert_uint_eq(stats_now().out, out);
	ck_assert_uint_eq(stats_now().in_rings, in_rings);
}
END_TEST

/* The state in the midst of taking back what lies first in the ring: noted, and whoever is named has moved the head on. */
static uint64_t begin_to_withdraw(bool by_us, bool by_client)
{
	struct heapd_ring_head *head = &t.heap->t.heads[CLASS];
	struct ledger_taking *taking;
	struct ledger ledger;
	uint64_t entry;
	uint32_t slab;

	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	taking = &ledger.head->taking;
	ck_assert_uint_eq(taking->class, 0);
	entry = ledger.rings[CLASS].entries[head->head % HEAPD_RING_SLOTS];
	slab = t.heap->t.spans[heapd_entry_page(entry)].slab0 + heapd_entry_slab(entry);
	*taking = (struct ledger_taking){
		.class = CLASS + 1, .head = head->head, .withdrawn = head->withdrawn, .entry = entry
	};
	for (uint32_t i = 0; i < HEAPD_BATCH_MAX; i++)
		if (heapd_entry_present(entry) >> i & 1)
			taking->masks[i] = t.heap->t.supplied[slab + i];
	head->head += by_us || by_client;
	head->withdrawn += by_us;
	return (uint64_t)slab + (uint64_t)__builtin_ctz(heapd_entry_present(entry));
}

/* _i: 0: the head had not moved; 1: we had moved it; 2: half of it was free again, too; 3: a client was faster. */
START_TEST(withdrawal_not_finished)
{
	struct heapd_batch batch;
	uint64_t out, in_rings, slab, supplied;

	testheap_start(&t);
	fill_ring(CLASS, &batch);
	forget();
	out = stats_now().out;
	in_rings = stats_now().in_rings;
	slab = begin_to_withdraw(_i == 1 || _i == 2, _i == 3);
	supplied = t.heap->t.supplied[slab];
	ck_assert_uint_ne(supplied, 0);
	if (_i == 2)
		t.heap->t.out[slab] &= ~(supplied & 0x5555555555555555ull);
	adopt();
	if (_i == 1 || _i == 2) {
		ck_assert_uint_lt(stats_now().out, out);
		ck_assert_uint_eq(t.heap->t.out[slab] & supplied, 0);
	} else {
		ck_assert_uint_eq(stats_now().out, out);
		ck_assert_uint_eq(t.heap->t.out[slab] & supplied, supplied);
	}
	if (_i == 0)
		ck_assert_uint_eq(stats_now().in_rings, in_rings);
	else
		ck_assert_uint_lt(stats_now().in_rings, in_rings);
	ck_assert_uint_eq(t.heap->ledger->head->taking.class, 0);
}
END_TEST

/* What clients took while nobody looked is theirs. */
START_TEST(taken_meanwhile)
{
	struct heapd_batch batch;
	uint64_t in_rings;

	testheap_start(&t);
	fill_ring(CLASS, &batch);
	forget();
	in_rings = stats_now().in_rings;
	ck_assert(testheap_take(&t, CLASS, &batch));
	adopt();
	ck_assert_uint_lt(stats_now().in_rings, in_rings);
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		if (batch.masks[i])
			ck_assert_uint_eq(t.heap->t.out[testheap_slab(&t, &batch, i)] & batch.masks[i],
					  batch.masks[i]);
}
END_TEST

/* A head that a client spoilt meanwhile is put back. */
START_TEST(spoilt_head)
{
	struct heapd_batch batch;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	forget();
	t.heap->t.heads[CLASS].head = UINT64_MAX / 2;
	adopt();
	ck_assert_uint_le(t.heap->t.heads[CLASS].head, t.heap->t.rings[CLASS].tail);
	ck_assert_uint_eq(stats_now().corrupt, 1);
}
END_TEST

/* A span that is not in use, with all its pages, for the next two. */
static uint32_t unused_span(void)
{
	uint32_t first;

	heap_lock(t.heap);
	ck_assert_int_eq(spans_cut(t.heap->spans, CLASS, &first), 0);
	heap_unlock(t.heap);
	return first;
}

static void ck_is_gone(uint32_t first)
{
	ck_assert_uint_eq(t.heap->t.page_span[first], 0);
	ck_assert_uint_eq(t.heap->t.pages[first].first, 0);
	ck_assert(runmap_is_free(&t.heap->pages->free, first));
}

START_TEST(span_half_freed)
{
	uint32_t first, last;

	testheap_start(&t);
	first = unused_span();
	last = first + t.heap->t.spans[first].npages - 1;
	forget();
	t.heap->t.pages[first].first = 0;
	if (_i)
		t.heap->t.page_span[first] = 0;
	adopt();
	ck_is_gone(first);
	ck_is_gone(last);
}
END_TEST

/* Only some of its numbers are its own so far, and no page. */
START_TEST(span_half_made)
{
	struct ledger ledger;
	uint32_t first;

	testheap_start(&t);
	first = unused_span();
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	for (uint32_t p = first; p < first + t.heap->t.spans[first].npages; p++)
		t.heap->t.page_span[p] = t.heap->t.pages[p].first = 0;
	if (_i)
		ledger.owner[t.heap->t.spans[first].slab0 / HEAPD_SLAB_UNIT] = 0;
	adopt();
	ck_is_gone(first);
	ck_assert_uint_eq(t.heap->ledger->owner[t.heap->t.spans[first].slab0 / HEAPD_SLAB_UNIT], 0);
}
END_TEST

START_TEST(large_half_made)
{
	struct ledger ledger;
	uint64_t address;
	uint32_t first;
	bool zeroed;

	testheap_start(&t);
	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, MIB, 8, 0, &address, &zeroed), 0);
	first = (uint32_t)((address - t.heap->t.base) >> HEAPD_PAGE_SHIFT);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ledger.out[t.heap->t.spans[first].slab0] = 0;
	adopt();
	ck_is_gone(first);
	ck_assert_uint_eq(stats_now().large, 0);
}
END_TEST

static void hole_make(const struct ledger *ledger, uint64_t chunk, uint64_t pages)
{
	for (unsigned w = 0; w < LEDGER_HOLE_WORDS; w++)
		ledger->head->hole.pages[w] = pages;
	ledger->head->hole.chunk = chunk + 1;
}

/* Of a chunk in which something is in use, what is on its way counts as gone, and as dirty; whether that was said already or not. */
START_TEST(punching_pages)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t committed, chunk = 0, bits = UINT64_C(0xffff0000), first;
	bool zeroed;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	committed = stats_now().committed;
	while (ledger.committed[0] >> (chunk + 1) & 1)
		chunk++;
	hole_make(&ledger, chunk, bits);
	for (unsigned w = 0; w < LEDGER_HOLE_WORDS; w++)
		ledger.dirty[chunk * LEDGER_HOLE_WORDS + w] = bits;
	ledger.gone[chunk * LEDGER_HOLE_WORDS] = _i ? bits : 0;
	adopt();
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, 0);
	ck_assert_uint_eq(stats_now().committed, committed - (16 * LEDGER_HOLE_WORDS << HEAPD_PAGE_SHIFT));
	ck_assert_uint_eq(t.heap->pages->gone_pages, 16 * LEDGER_HOLE_WORDS);
	while (t.heap->pages->gone_pages) {
		heap_lock(t.heap);
		ck_assert_int_eq(pages_take(t.heap->pages, 16, 16, &first, &zeroed), 0);
		heap_unlock(t.heap);
		if (first / HEAPD_CHUNK_PAGES == chunk && first % 64 == 16)
			ck_assert(!zeroed);
	}
}
END_TEST

/* A daemon that ends as the last chunk of its heap is on its way to the system: which one, and what was committed. */
static uint64_t die_punching(uint64_t *committed)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t chunk = 0;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	*committed = stats_now().committed;
	while (ledger.committed[0] >> (chunk + 1) & 1)
		chunk++;
	ck_assert_uint_gt(chunk, 0);
	hole_make(&ledger, chunk, UINT64_MAX);
	return chunk;
}

/* A chunk on its way to the system counts as gone, and as dirty. */
START_TEST(punching)
{
	uint64_t committed;

	die_punching(&committed);
	adopt();
	ck_assert_uint_eq(stats_now().committed, committed - HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, 0);
}
END_TEST

/* One that the last daemon's process may punch still is left out until it is over, and is gone then. */
START_TEST(punching_late)
{
	struct punch last;
	uint64_t committed, chunk = die_punching(&committed);

	punch_init(&last);
	punch_open(&last, t.heap->ledger_fd);
	ck_assert(!punch_is_late(&last));
	adopt_memory();
	punch_open(&t.heap->punch, t.heap->ledger_fd);
	ck_assert(punch_is_late(&t.heap->punch));
	adopt_tables();
	ck_assert_uint_eq(stats_now().committed, committed);
	ck_assert_uint_eq(t.heap->pages->punched, HEAPD_CHUNK_PAGES);
	ck_assert(!runmap_is_free(&t.heap->pages->free, chunk * HEAPD_CHUNK_PAGES));
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, chunk + 1);
	punch_deinit(&last);
	scavenger_look(t.heap);
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, 0);
	ck_assert_uint_eq(t.heap->pages->punched, 0);
	ck_assert_uint_eq(stats_now().committed, committed - HEAPD_CHUNK_SIZE);
}
END_TEST

/* A freed slot that the ledger has back is no double free; one that it has not is found, without a hint where. */
START_TEST(freed_words)
{
	struct heapd_batch batch;
	uint32_t slab;
	uint64_t bit;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	bit = batch.masks[0] & -batch.masks[0];
	testheap_free(&t, &batch, bit);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	testheap_disown(&t, slab, batch.masks[0] & ~bit,
			t.heap->t.spans[heapd_entry_page(batch.entry)].elemsize);
	forget();
	t.heap->t.freed[slab] = batch.masks[0];
	t.heap->t.freed_dirty[slab / 64] = 0;
	adopt();
	ck_assert_uint_eq(t.heap->t.freed[slab], batch.masks[0] & ~bit);
	ck_assert_int_eq(supply_run(t.heap), 0);
	heap_lock(t.heap);
	harvest_freed(t.heap->supply, false);
	heap_unlock(t.heap);
	ck_assert_uint_eq(t.heap->t.freed[slab], 0);
	ck_assert_uint_eq(stats_now().double_frees, 0);
}
END_TEST

/* A daemon that dies as it takes back a slot has not taken back yet what it said of its object; of others' objects it holds. */
START_TEST(marks_of_free_slots)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t bit, others;
	uint32_t slab;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	bit = batch.masks[0] & -batch.masks[0];
	others = batch.masks[0] & ~bit;
	testheap_free(&t, &batch, bit);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ck_assert_uint_eq(ledger.out[slab] & batch.masks[0], others);
	ledger.dying[slab] = ledger.done[slab] = ledger.torn[slab] = batch.masks[0];
	adopt();
	ck_assert_uint_eq(t.heap->marks->dying[slab], others);
	ck_assert_uint_eq(t.heap->marks->done[slab], others);
	ck_assert_uint_eq(t.heap->marks->torn[slab], others);
}
END_TEST

/* Who cannot write to its own record any more: as if it were killed there. */
static void die_as_it_ends(struct session *session)
{
	struct ledger_session *record = &t.heap->clients->records[session->index];
	char *page = (char *)record - (uintptr_t)record % 4096;

	heap_unlock(t.heap);
	if (mprotect(page, 4096, PROT_READ) == 0)
		session_close(session, SESSION_DIED, "it is gone");
	_exit(0);
}

/* A daemon's sessions, and one that has these slots in its hands. */
static struct session *session_with(struct sessions *sessions, const struct heapd_batch *batch)
{
	const struct session_owner owner = {
		.pid = getpid(), .pidfd = -1, .socket = -1, .client = "test", .room = { 8, 64 }
	};
	struct session *session;
	struct heapd_thread *threads;
	struct refusal why;
	uint32_t n;

	ck_assert_int_eq(session_open(sessions, t.heap, &owner, &session, &why), 0);
	session->memory.core->nthreads = 1;
	threads = client_threads(&t.heap->clients->slots[session->index], &n);
	threads[0].state = HEAPD_THREAD_ONLINE;
	threads[0].spares[0] = *batch;
	return session;
}

/* What one that is gone had in its hands is no object: that is said before its record goes, for there is nobody else to say it. */
START_TEST(killed_as_a_session_ends)
{
	struct sessions sessions;
	struct heapd_batch batch;
	struct session *session;
	struct config config;
	struct store store;
	uint32_t slab;
	int status;
	pid_t pid;

	testheap_start(&t);
	ck_assert_int_eq(config_init(&config), 0);
	ck_assert_int_eq(store_init(&store, &t.log), 0);
	sessions_init(&sessions, &t.log, &config, &store);
	t.account.minor = t.account.maximum;
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	session = session_with(&sessions, &batch);
	heap_lock(t.heap);
	pid = fork();
	if (pid == 0)
		die_as_it_ends(session);
	heap_unlock(t.heap);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_uint_ne(t.heap->clients->records[session->index].id, 0);
	ck_assert_uint_eq(t.heap->marks->torn[slab], batch.masks[0]);
	session_close(session, SESSION_DIED, "it is gone");
	sessions_deinit(&sessions);
	store_deinit(&store);
	config_free(&config);
}
END_TEST

/* Nothing that a client has is anything but out. */
static void ck_nothing_lost(void)
{
	for (uint64_t slab = 0; slab < t.heap->ledger->head->numbers_high * HEAPD_SLAB_UNIT; slab++)
		ck_assert_msg(!(t.mine[slab] & ~t.heap->t.out[slab]), "slab %llu: slots 0x%llx were lost",
			      (unsigned long long)slab,
			      (unsigned long long)(t.mine[slab] & ~t.heap->t.out[slab]));
}

/* All that there is of the class goes into its ring and out of it. */
static void take_all(uint32_t class)
{
	struct heapd_batch batch;

	for (unsigned i = 0; i < 20; i++) {
		heap_lock(t.heap);
		ring_note_taken(t.heap->supply, class, clock_ns());
		t.heap->supply->classes[class].target = MIB;
		ck_assert_int_eq(ring_fill(t.heap->supply, class), 0);
		heap_unlock(t.heap);
		while (testheap_take(&t, class, &batch))
			;
	}
}

/* Handed back, taken back, and not marked as such: it is not taken back from its next owner. */
START_TEST(handed_back_twice)
{
	struct heapd_thread *thread = &t.threads[0];
	struct heapd_batch batch;
	uint64_t elemsize;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	elemsize = t.heap->t.spans[heapd_entry_page(batch.entry)].elemsize;
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		if (batch.masks[i])
			testheap_disown(&t, testheap_slab(&t, &batch, i), batch.masks[i], elemsize);
	thread->handback[0] = batch;
	HEAPD_STORE_RELEASE(&thread->handback_tail, 1);
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	HEAPD_STORE_RELEASE(&thread->handback_head, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(t.session->handback), 0);
	adopt();
	heap_lock(t.heap);
	harvest_handback_again(t.heap->supply);
	heap_unlock(t.heap);
	ck_assert_uint_eq(thread->handback_head, 1);
	take_all(CLASS);
	/* Once more, as the supplier does when the client says that there is something. */
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
	heap_lock(t.heap);
	harvest_handback(t.heap->supply, true);
	heap_unlock(t.heap);
	ck_nothing_lost();
	testheap_is_clean(&t);
}
END_TEST

/* Classes that nobody has heard of are not there. */
START_TEST(class_half_made)
{
	uint32_t n = HEAPD_CLASS_BUILTIN;

	testheap_start(&t);
	forget();
	t.heap->t.classes[n] = (struct heapd_class){ .type = HEAPD_TYPE_BUILTIN, .kind = HEAPD_KIND_FIXED };
	if (_i)
		t.heap->t.directory->nclasses = n + 1;
	adopt();
	ck_assert_uint_eq(t.heap->t.directory->nclasses, n);
	ck_assert_ptr_null(types_class_record(t.heap, n));
}
END_TEST

/* A cycle that was under way is void, and whoever waits is woken to ask again. */
START_TEST(cycle_is_void)
{
	struct heapd_cycle_words *cycle;
	uint32_t event;

	testheap_start(&t);
	forget();
	cycle = &t.heap->t.directory->cycle;
	cycle->now = heapd_now_make(7, HEAPD_PHASE_MARK);
	cycle->finished = 6;
	event = cycle->event;
	adopt();
	cycle = &t.heap->t.directory->cycle;
	ck_assert_uint_eq(cycle->now, heapd_now_make(7, HEAPD_PHASE_IDLE));
	ck_assert_uint_eq(cycle->event, event + 1);
	ck_assert_uint_eq(collection_request(t.heap, TRIGGER_REQUEST), 7);
}
END_TEST

/* SIGKILL ------------------------------------------------------------------------------------------------------ */

static void random_use(uint64_t *random)
{
	static struct heapd_batch held[64];
	struct heapd_batch *batch = &held[testheap_random(random) % 64];

	if (batch->entry)
		testheap_free(&t, batch, UINT64_MAX);
	*batch = (struct heapd_batch){ 0 };
	if (testheap_get(&t, (uint32_t)(testheap_random(random) % 40), batch) < 0)
		*batch = (struct heapd_batch){ 0 };
}

/* What check.h notes of each assertion goes to a file that the parent reads: a process that is killed tears its lines. */
static void stop_notes(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char path[64], target[256];

	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (strstr(target, "/check_"))
			dup2(null, fd);
	}
}

/* The daemon and its client in one process, so that the client dies with it at any place, too. */
static pid_t daemon_start(uint64_t seed)
{
	pid_t parent = getpid(), pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	stop_notes();
	if (!t.heap->supply && supply_init(t.heap) < 0)
		_exit(1);
	if (supply_run(t.heap) < 0)
		_exit(1);
	for (;;)
		random_use(&seed);
}

START_TEST(killed_at_any_time)
{
	uint64_t seed = testheap_seed(), bytes = t.heap->geometry.slabs * 8;

	munmap(t.mine, bytes);
	t.mine = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(t.mine, MAP_FAILED);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = daemon_start(testheap_random(&seed));
		int status;

		usleep((useconds_t)(testheap_random(&seed) % 30000));
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		forget();
		adopt();
		ck_nothing_lost();
	}
	ck_assert_uint_gt(testheap_stats(&t)->supplied_slots, 0);
}
END_TEST

/* What is stored ----------------------------------------------------------------------------------------------- */

static struct store_item items[4];
static struct store store;

static void store_fill(unsigned n)
{
	static const char *const names[] = { "heap.test.ledger", "heap.test.heap", "heap.test.directory",
					     "heap.test.control" };
	const int fds[] = { files.ledger, files.heap, files.directory, files.control };

	store = (struct store){ .log = &t.log, .items = items, .listener = -1 };
	for (unsigned i = 0; i < n; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "%s", names[i]);
		items[i].fd = copy(fds[i]);
	}
	store.nitems = n;
}

static int find(struct heap_plan *plan, struct heap_files *found)
{
	*plan = (struct heap_plan){ .config = &t.config, .log = &t.log };
	return recover_find(&store, "test", plan, found);
}

START_TEST(what_is_stored)
{
	struct heap_plan plan;
	struct heap_files found;
	struct ledger ledger;

	testheap_start(&t);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	store_fill(0);
	ck_assert_int_eq(find(&plan, &found), 0);
	/* Nobody can have attached. */
	store_fill(4);
	ck_assert_int_eq(find(&plan, &found), 0);
	ck_assert_uint_eq(store.nitems, 0);

	ledger.head->complete = 1;
	store_fill(4);
	ck_assert_int_eq(find(&plan, &found), 1);
	ck_assert_uint_eq(plan.base, t.heap->t.base);
	ck_assert_int_eq(memcmp(&plan.geometry, &t.heap->geometry, sizeof(plan.geometry)), 0);
	store_fill(3);
	ck_assert_int_eq(find(&plan, &found), -ENODATA);
	ck_assert(testheap_logged(&t, "only 3 of its 4 memory files"));

	ledger.head->fingerprint++;
	store_fill(4);
	ck_assert_int_eq(find(&plan, &found), -EPROTO);
	ck_assert(testheap_logged(&t, "laid out by another build"));
	ledger.head->fingerprint--;
	adopt();
}
END_TEST

/* While some heap is not configured, a session's memory may be of it, unless nobody has ever had it. */
START_TEST(memory_that_nobody_had)
{
	struct heapd_session head = { .magic = HEAPD_SESSION_MAGIC };
	int new = memfd_create("new", MFD_CLOEXEC), used = memfd_create("used", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(new, HEAPD_SESSION_CORE), 0);
	ck_assert_int_eq(pwrite(used, &head, sizeof(head), 0), sizeof(head));
	store = (struct store){ .log = &t.log, .items = items, .nitems = 2, .listener = -1 };
	items[0] = (struct store_item){ .name = "session.1", .fd = new };
	items[1] = (struct store_item){ .name = "session.2", .fd = used };
	ck_assert_uint_eq(store_drop(&store, "session.", sessionmemory_is_new), 1);
	ck_assert_int_eq(store_take(&store, "session.2"), used);
	ck_assert_int_eq(store_take(&store, "session.1"), -ENOENT);
	ck_assert_int_lt(fcntl(new, F_GETFD), 0);
	close(used);
}
END_TEST

/* One ledger, one daemon. */
START_TEST(ledger_is_locked)
{
	pid_t pid;
	int status;

	ck_assert_int_eq(recover_lock(t.heap), 0);
	pid = fork();
	if (pid == 0)
		_exit(recover_lock(t.heap) == -EBUSY ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(tickets_are_kept)
{
	struct heapd_ticket ticket = { 0 };
	struct ledger ledger;
	struct refusal why;
	uint64_t object;
	bool zeroed;

	testheap_start(&t);
	ck_assert_int_eq(roots_init(t.heap), 0);
	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, MIB, 8, 0, &object, &zeroed), 0);
	ticket.object = object;
	ck_assert_int_eq(roots_ticket_issue(t.heap, &ticket, clock_ns(), &why), 0);
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ledger.head->complete = 1;
	roots_deinit(t.heap);
	forget();
	adopt();
	ck_assert_int_eq(roots_init(t.heap), 0);
	ck_assert_uint_eq(roots_tickets(t.heap), 1);
	ticket.object = 0;
	ck_assert_int_eq(roots_ticket_take(t.heap, 0, &ticket, clock_ns(), &why), 0);
	ck_assert_uint_eq(ticket.object, object);
	ck_assert_uint_eq(roots_tickets(t.heap), 0);
	ck_assert_int_eq(roots_ticket_take(t.heap, 0, &ticket, clock_ns(), &why), -ENOENT);
	roots_deinit(t.heap);
}
END_TEST

/* A number that was given to another process is noticed. */
START_TEST(reused_pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	uint64_t mark = peer_mark(getpid(), pidfd);
	struct peer peer;

	ck_assert_uint_gt(mark, 0);
	ck_assert_int_eq(peer_of_record(getpid(), mark, getuid(), &peer), 0);
	peer_release(&peer);
	ck_assert_int_eq(peer_of_record(getpid(), mark - 1, getuid(), &peer), -ESRCH);
	close(pidfd);
}
END_TEST

static Suite *recover_suite(void)
{
	Suite *suite = suite_create("recover");
	TCase *tc = tcase_create("states");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, counts_are_the_same);
	tcase_add_test(tc, giving_not_finished);
	tcase_add_test(tc, giving_almost_finished);
	tcase_add_loop_test(tc, withdrawal_not_finished, 0, 4);
	tcase_add_test(tc, taken_meanwhile);
	tcase_add_test(tc, spoilt_head);
	tcase_add_loop_test(tc, span_half_freed, 0, 2);
	tcase_add_loop_test(tc, span_half_made, 0, 2);
	tcase_add_test(tc, large_half_made);
	tcase_add_test(tc, punching);
	tcase_add_loop_test(tc, punching_pages, 0, 2);
	tcase_add_test(tc, punching_late);
	tcase_add_test(tc, freed_words);
	tcase_add_test(tc, marks_of_free_slots);
	tcase_add_test(tc, killed_as_a_session_ends);
	tcase_add_test(tc, handed_back_twice);
	tcase_add_loop_test(tc, class_half_made, 0, 2);
	tcase_add_test(tc, cycle_is_void);
	tcase_add_test(tc, killed_at_any_time);
	tcase_add_test(tc, what_is_stored);
	tcase_add_test(tc, memory_that_nobody_had);
	tcase_add_test(tc, ledger_is_locked);
	tcase_add_test(tc, tickets_are_kept);
	tcase_add_test(tc, reused_pid);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return testheap_run(recover_suite());
}
