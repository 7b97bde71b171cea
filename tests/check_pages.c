/* SPDX-License-Identifier: MIT */
/* The page heap: what is committed, when, at whose cost; what is known to be zero; where it ends. */
#include "daemon/ahead.h"
#include "daemon/idle.h"
#include "testheap.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static struct testheap t;
static struct pages pages;

static void open_pages(uint64_t size, uint64_t limit, enum config_huge huge)
{
	testheap_init_with(&t, size, limit, huge, 0);
	ck_assert_int_eq(pages_init(&pages, t.heap), 0);
}

static void close_pages(void)
{
	pages_deinit(&pages);
	testheap_deinit(&t);
}

static char *page_at(uint64_t page)
{
	return (char *)(uintptr_t)(t.heap->t.base +
				   (page << HEAPD_PAGE_SHIFT)); /* NOLINT(performance-no-int-to-ptr) */
}

static bool all_zero(uint64_t first, uint64_t n)
{
	const char *p = page_at(first);

	return !p[0] && memcmp(p, p + 1, (n << HEAPD_PAGE_SHIFT) - 1) == 0;
}

/* mincore() of a shared mapping tells what the file has. */
static uint64_t resident_chunks(void)
{
	static unsigned char vec[HEAPD_CHUNK_SIZE / 4096];
	uint64_t n = 0;

	for (uint64_t chunk = 0; chunk < pages.chunks; chunk++) {
		ck_assert_int_eq(mincore(page_at(chunk * HEAPD_CHUNK_PAGES), HEAPD_CHUNK_SIZE, vec), 0);
		n += (vec[0] & 1) && (vec[sizeof(vec) - 1] & 1);
	}
	return n;
}

static bool commit_ahead(void)
{
	if (!pages_ahead_begin(&pages, PAGES_SUPPLIER))
		return false;
	pages_ahead_commit(&pages, PAGES_SUPPLIER);
	return pages_ahead_end(&pages, PAGES_SUPPLIER);
}

START_TEST(takes_commit_whole_chunks_and_charge_them)
{
	uint64_t first, before;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	before = account_taken(&t.account);
	ck_assert_uint_eq(resident_chunks(), 0);
	ck_assert_int_eq(pages_take(&pages, 3, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(first, 0);
	ck_assert(zeroed && all_zero(first, 3));
	ck_assert_uint_eq(account_taken(&t.account) - before, HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->in_spans), 3 * HEAPD_PAGE_SIZE);
	ck_assert_uint_eq(resident_chunks(), 1);
	ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(first, 3);
	ck_assert_uint_eq(resident_chunks(), 2);
	ck_assert_uint_eq(account_taken(&t.account) - before, 2 * HEAPD_CHUNK_SIZE);
	close_pages();
}
END_TEST

START_TEST(zero_is_said_only_of_pages_that_nobody_had)
{
	uint64_t first, again;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	ck_assert_int_eq(pages_take(&pages, 10, 1, &first, &zeroed), 0);
	memset(page_at(first + 9), 0xff, HEAPD_PAGE_SIZE);
	pages_give(&pages, first, 10);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->in_spans), 0);
	ck_assert_int_eq(pages_take(&pages, 20, 1, &again, &zeroed), 0);
	ck_assert_uint_eq(again, first);
	ck_assert(!zeroed);
	ck_assert_int_eq(pages_take(&pages, 5, 1, &again, &zeroed), 0);
	ck_assert(zeroed && all_zero(again, 5));
	close_pages();
}
END_TEST

START_TEST(the_heap_s_limit_refuses_and_gives_again)
{
	uint64_t first[4], more;
	bool zeroed;

	open_pages(64 * MIB, 8 * MIB, CONFIG_HUGE_NEVER);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &first[i], &zeroed), 0);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &more, &zeroed), -ENOMEM);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), 8 * MIB);
	ck_assert(!commit_ahead());
	pages_give(&pages, first[2], HEAPD_CHUNK_PAGES);
	ck_assert_int_eq(pages_take(&pages, 2 * HEAPD_CHUNK_PAGES, 1, &more, &zeroed), -ENOMEM);
	ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &more, &zeroed), 0);
	ck_assert_uint_eq(more, first[2]);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &more, &zeroed), -ENOMEM);
	heap_set_limit(t.heap, 10 * MIB);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &more, &zeroed), 0);
	close_pages();
}
END_TEST

START_TEST(the_account_refuses_too)
{
	uint64_t first;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	t.account.maximum = account_taken(&t.account) + 2 * HEAPD_CHUNK_SIZE;
	ck_assert_int_eq(pages_take(&pages, 3 * HEAPD_CHUNK_PAGES, 1, &first, &zeroed), -ENOMEM);
	ck_assert_uint_le(account_taken(&t.account), t.account.maximum);
	ck_assert_uint_eq(pages.in_spans, 0);
	ck_assert_int_eq(pages_take(&pages, 2 * HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(first, 0);
	close_pages();
}
END_TEST

START_TEST(address_space_ends)
{
	uint64_t first;
	bool zeroed;

	open_pages(64 * MIB, 128 * MIB, CONFIG_HUGE_NEVER);
	ck_assert_int_eq(pages_take(&pages, 64 * MIB / HEAPD_PAGE_SIZE + 1, 1, &first, &zeroed), -ENOMEM);
	ck_assert_int_eq(pages_take(&pages, 64 * MIB / HEAPD_PAGE_SIZE, 1, &first, &zeroed), 0);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &first, &zeroed), -ENOMEM);
	ck_assert(!commit_ahead());
	ck_assert_uint_eq(resident_chunks(), 32);
	close_pages();
}
END_TEST

START_TEST(alignment)
{
	uint64_t first;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &first, &zeroed), 0);
	for (uint64_t align = 2; align <= HEAPD_CHUNK_PAGES; align *= 2) {
		ck_assert_int_eq(pages_take(&pages, 1, align, &first, &zeroed), 0);
		ck_assert_uint_eq(first % align, 0);
	}
	close_pages();
}
END_TEST

/* One chunk, twice as much each time that it was not enough, an eighth of what is committed at most; half after a calm second. */
START_TEST(commits_ahead_of_need)
{
	uint64_t first;
	bool zeroed;

	open_pages(256 * MIB, 256 * MIB, CONFIG_HUGE_NEVER);
	ck_assert(!commit_ahead());
	ck_assert_uint_eq(pages.committed_chunks, 0);
	ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	ck_assert(commit_ahead());
	ck_assert(!commit_ahead());
	ck_assert_uint_eq(pages.committed_chunks, 2);
	ck_assert_int_eq(pages_take(&pages, 79 * HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	while (commit_ahead())
		;
	ck_assert_uint_eq(pages.committed_chunks, 82);
	ck_assert_uint_eq(resident_chunks(), 82);
	for (uint64_t ahead = 4; ahead <= 16; ahead *= 2) {
		uint64_t most = pages.committed_chunks / 8 + 1;

		ck_assert_int_eq(pages_take(&pages, (ahead / 2 + 1) * HEAPD_CHUNK_PAGES, 1, &first, &zeroed),
				 0);
		ck_assert_uint_eq(pages.reserve + 1, ahead < most ? ahead : most);
		while (commit_ahead())
			;
		ck_assert_uint_eq(pages.committed_chunks * HEAPD_CHUNK_PAGES - pages.in_spans,
				  (pages.reserve + 1) * HEAPD_CHUNK_PAGES);
	}
	pages_calm(&pages);
	ck_assert_uint_ge(pages.reserve, 8);
	for (int seconds = 0; seconds < 4; seconds++)
		pages_calm(&pages);
	ck_assert_uint_eq(pages.reserve, 0);
	close_pages();
}
END_TEST

/* What stands in the ledger goes; so many pages. */
static uint64_t punch_hole(void)
{
	const struct ledger_hole *hole = &pages.head->hole;
	uint64_t n = 0;

	for (uint64_t i = 0; i < HEAPD_CHUNK_PAGES; i++)
		if (hole->pages[i / 64] >> (i % 64) & 1) {
			uint64_t page = (hole->chunk - 1) * HEAPD_CHUNK_PAGES + i;

			ck_assert(!runmap_is_free(&pages.free, page));
			ck_assert_int_eq(madvise(page_at(page), HEAPD_PAGE_SIZE, MADV_REMOVE), 0);
			n++;
		}
	return n;
}

static bool page_is_there(uint64_t page)
{
	unsigned char vec[HEAPD_PAGE_SIZE / 4096];

	ck_assert_int_eq(mincore(page_at(page), HEAPD_PAGE_SIZE, vec), 0);
	return vec[0] & 1;
}

/* What chunks 0 to 3 hold: 0, all but pages 128 to 191 and 252 to 254; 1 and 2, all; 3, nothing. */
static void take_all_but(uint64_t *account)
{
	uint64_t first[4];
	bool zeroed;

	*account = account_taken(&t.account);
	ck_assert_int_eq(pages_take(&pages, 4 * HEAPD_CHUNK_PAGES, 1, &first[0], &zeroed), 0);
	memset(page_at(0), 1, HEAPD_CHUNK_SIZE);
	pages_give(&pages, 3 * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES);
	pages_give(&pages, 128, 64);
	pages_give(&pages, 252, 3);
	for (unsigned seconds = 0; seconds < 8; seconds++)
		pages_calm(&pages);
}

/* Of a chunk in which something is in use, runs of pages go, not single ones; they are charged again when they come back, as zero. */
START_TEST(idle_pages_of_a_used_chunk_are_given_back)
{
	uint64_t from = 0, before, first, stat = 4 * HEAPD_CHUNK_SIZE, gone = 64 * HEAPD_PAGE_SIZE;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	take_all_but(&before);
	pages_idle_note(&pages);
	ck_assert(pages_idle_take(&pages, &from));
	ck_assert_uint_eq(pages.head->hole.chunk, 1);
	ck_assert_uint_eq(punch_hole(), 64);
	pages_idle_give(&pages, true);
	ck_assert(!pages_idle_take(&pages, &from));
	ck_assert_uint_eq(pages.head->hole.chunk, 0);
	ck_assert_uint_eq(account_taken(&t.account) - before, stat - gone);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), stat - gone);
	ck_assert(page_is_there(127) && !page_is_there(128) && !page_is_there(191) && page_is_there(192));
	ck_assert(!all_zero(127, 1) && !all_zero(192, 1));
	ck_assert_int_eq(pages_take(&pages, 40, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(first, 128);
	ck_assert(zeroed && page_is_there(128) && page_is_there(167) && !page_is_there(168));
	ck_assert_uint_eq(account_taken(&t.account) - before, stat - 24 * HEAPD_PAGE_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), stat - 24 * HEAPD_PAGE_SIZE);
	ck_assert_int_eq(pages_take(&pages, 3, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(first, 168);
	/* Ahead of need, what is gone comes back before a new chunk does. */
	ck_assert_int_eq(pages_take(&pages, 8, 8, &first, &zeroed), 0);
	while (pages.in_spans < 3 * HEAPD_CHUNK_PAGES)
		ck_assert_int_eq(pages_take(&pages, 1, 1, &first, &zeroed), 0);
	ck_assert(!page_is_there(191) || pages.gone_pages == 0);
	commit_ahead();
	ck_assert_uint_eq(pages.gone_pages, 0);
	ck_assert_uint_eq(pages.committed_chunks, 4);
	close_pages();
}
END_TEST

/* At the limit, pages that are there are found, though lower ones are free and gone. */
START_TEST(gone_pages_cannot_come_back_at_the_limit)
{
	uint64_t from = 0, before, first, again;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	take_all_but(&before);
	pages_idle_note(&pages);
	ck_assert(pages_idle_take(&pages, &from));
	punch_hole();
	pages_idle_give(&pages, true);
	heap_set_limit(t.heap, HEAPD_READ_ONCE(testheap_stats(&t)->committed));
	ck_assert_int_eq(pages_take(&pages, 40, 1, &first, &zeroed), 0);
	ck_assert_uint_ge(first, 3 * HEAPD_CHUNK_PAGES);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &again, &zeroed), 0);
	ck_assert_uint_ge(again, 252);
	ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &again, &zeroed), -ENOMEM);
	ck_assert_uint_eq(pages.gone_pages, 64);
	close_pages();
}
END_TEST

/* A huge page of which less than half is idle stays whole; then it is broken up, and counts as huge no more. */
START_TEST(huge_pages_are_broken_up_only_when_half_idle)
{
	uint64_t from = 0, before;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	take_all_but(&before);
	pages.huge[0] |= 1;
	pages.huge_chunks++;
	pages_idle_note(&pages);
	ck_assert(!pages_idle_take(&pages, &from));
	pages_give(&pages, 0, 64);
	pages_idle_note(&pages);
	from = 0;
	ck_assert(pages_idle_take(&pages, &from));
	ck_assert_uint_eq(punch_hole(), 128);
	pages_idle_give(&pages, true);
	ck_assert_uint_eq(pages.huge_chunks, 0);
	ck_assert_uint_eq(pages.huge[0] & 1, 0);
	close_pages();
}
END_TEST

/* Only pages that were free at both looks go, never what is committed ahead; they come back as zero. */
START_TEST(idle_memory_is_given_back)
{
	uint64_t first[8], from = 0, before;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	before = account_taken(&t.account);
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &first[i], &zeroed), 0);
		memset(page_at(first[i]), 1, HEAPD_CHUNK_SIZE);
	}
	for (unsigned i = 2; i < 8; i++)
		pages_give(&pages, first[i], HEAPD_CHUNK_PAGES);
	for (unsigned seconds = 0; seconds < 8; seconds++)
		pages_calm(&pages);
	ck_assert(!pages_idle_take(&pages, &from));
	pages_idle_note(&pages);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &first[2], &zeroed), 0);
	pages_give(&pages, first[2], 1);
	/* 2 but for its first page, and 3 to 7 less the one that is kept ahead of need. */
	for (unsigned n = 0; n < 5; n++) {
		ck_assert(pages_idle_take(&pages, &from));
		ck_assert_uint_eq(pages.head->hole.chunk - 1, 2 + n);
		ck_assert_uint_eq(punch_hole(), n ? HEAPD_CHUNK_PAGES : HEAPD_CHUNK_PAGES - 1);
		pages_idle_give(&pages, true);
		ck_assert_uint_eq(resident_chunks(), 7 - n);
	}
	ck_assert(!pages_idle_take(&pages, &from));
	ck_assert_uint_eq(account_taken(&t.account) - before, 3 * HEAPD_CHUNK_SIZE + HEAPD_PAGE_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed),
			  3 * HEAPD_CHUNK_SIZE + HEAPD_PAGE_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->returned),
			  5 * HEAPD_CHUNK_SIZE - HEAPD_PAGE_SIZE);
	ck_assert_int_eq(pages_take(&pages, 5 * HEAPD_CHUNK_PAGES, 1, &first[3], &zeroed), 0);
	ck_assert_uint_eq(resident_chunks(), 8);
	ck_assert(!zeroed && all_zero(3 * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES));
	close_pages();
}
END_TEST

START_TEST(no_huge_pages_where_they_are_not_wanted)
{
	uint64_t first;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER);
	ck_assert_int_eq(pages_take(&pages, 4 * HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed_huge), 0);
	close_pages();
}
END_TEST

/* Of the mapping, in KiB: what /proc says of huge pages behind it. */
static uint64_t huge_kib(void)
{
	char line[512], start[32];
	uint64_t kib = 0, n;
	bool here = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	ck_assert_ptr_nonnull(f);
	snprintf(start, sizeof(start), "%llx-", (unsigned long long)t.heap->t.base);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, start, strlen(start)) == 0)
			here = true;
		else if (here && sscanf(line, "ShmemPmdMapped: %lu kB", &n) == 1)
			kib = n, here = false;
	}
	fclose(f);
	return kib;
}

/* Asked of the kernel without us. */
static bool kernel_has_huge_pages(void)
{
	int fd = memfd_create("huge", MFD_CLOEXEC);
	char *room = (char *)mmap(NULL, 2 * HEAPD_CHUNK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *chunk = room + -(uintptr_t)room % HEAPD_CHUNK_SIZE;
	bool has;

	ck_assert_ptr_ne(room, MAP_FAILED);
	ck_assert_int_eq(ftruncate(fd, HEAPD_CHUNK_SIZE), 0);
	ck_assert_ptr_eq(mmap(chunk, HEAPD_CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			 chunk);
	*chunk = 1;
	has = madvise(chunk, HEAPD_CHUNK_SIZE, MADV_COLLAPSE) == 0;
	munmap(room, 2 * HEAPD_CHUNK_SIZE);
	close(fd);
	return has;
}

START_TEST(huge_pages_where_they_can_be_had)
{
	bool expected = kernel_has_huge_pages();
	uint64_t first;
	bool zeroed;

	open_pages(64 * MIB, 64 * MIB, CONFIG_HUGE_AUTO);
	ck_assert_int_eq(pages_take(&pages, 8 * HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	ck_assert(zeroed && all_zero(first, 8 * HEAPD_CHUNK_PAGES));
	ck_assert_uint_eq(resident_chunks(), 8);
	ck_assert_uint_eq(huge_kib() * 1024, HEAPD_READ_ONCE(testheap_stats(&t)->committed_huge));
	if (expected)
		ck_assert_uint_gt(huge_kib(), 0);
	else
		printf("SKIP huge_pages_where_they_can_be_had: the kernel gives none\n");
	close_pages();
}
END_TEST

/* Two chunks of small pages, as on a machine whose huge pages are all taken; the first n pages are in use, and not zero. */
static void take_small(uint64_t n)
{
	uint64_t first;
	bool zeroed;

	open_pages(64 * MIB, 2 * HEAPD_CHUNK_SIZE, CONFIG_HUGE_AUTO);
	pages.collapse_fails = true;
	pages.until_collapse = UINT32_MAX;
	ck_assert_int_eq(pages_take(&pages, 2 * HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	memset(page_at(first), 7, 2 * HEAPD_CHUNK_SIZE);
	pages_give(&pages, n, 2 * HEAPD_CHUNK_PAGES - n);
	pages.collapse_fails = false;
	ck_assert_uint_eq(pages.huge_chunks, 0);
}

static bool is_still_sevens(uint64_t pages_of_it)
{
	const char *p = page_at(0);

	return p[0] == 7 && memcmp(p, p + 1, (pages_of_it << HEAPD_PAGE_SHIFT) - 1) == 0;
}

/* Nothing of it leaves the map, or is counted once more: what is free of it can be had meanwhile, and at the limit there is no more. */
START_TEST(what_is_in_use_becomes_huge_under_its_users)
{
	bool expected = kernel_has_huge_pages(), zeroed;
	uint64_t used = HEAPD_CHUNK_PAGES - 8, first, before;

	take_small(used);
	before = account_taken(&t.account);
	ck_assert(pages_used_begin(&pages));
	ck_assert_int_eq(pages_take(&pages, 8, 1, &first, &zeroed), 0);
	ck_assert_uint_eq(first, used);
	ck_assert_int_eq(pages_take(&pages, HEAPD_CHUNK_PAGES, 1, &first, &zeroed), 0);
	ck_assert_int_eq(pages_take(&pages, 1, 1, &first, &zeroed), -ENOMEM);
	pages_ahead_commit(&pages, PAGES_SCAVENGER);
	ck_assert(pages_ahead_end(&pages, PAGES_SCAVENGER));
	ck_assert_int_eq(pages_take(&pages, 1, 1, &first, &zeroed), -ENOMEM);
	ck_assert_uint_eq(account_taken(&t.account), before);
	ck_assert_uint_eq(pages.huge_chunks, expected);
	ck_assert_uint_eq(huge_kib() * 1024, HEAPD_READ_ONCE(testheap_stats(&t)->committed_huge));
	ck_assert(is_still_sevens(2 * HEAPD_CHUNK_PAGES));
	if (!expected)
		printf("SKIP what_is_in_use_becomes_huge_under_its_users: the kernel gives none\n");
	close_pages();
}
END_TEST

/* With an eighth of it free it goes, with a page more it does not: that can be given back page by page. */
START_TEST(what_is_half_used_stays_small)
{
	take_small(HEAPD_CHUNK_PAGES - HEAPD_CHUNK_PAGES / 8 - 1);
	ck_assert(!pages_used_begin(&pages));
	pages_give(&pages, 0, HEAPD_CHUNK_PAGES - HEAPD_CHUNK_PAGES / 8 - 1);
	close_pages();
	take_small(HEAPD_CHUNK_PAGES - HEAPD_CHUNK_PAGES / 8);
	ck_assert(pages_used_begin(&pages));
	pages_ahead_end(&pages, PAGES_SCAVENGER);
	close_pages();
}
END_TEST

/* What is gone of a chunk would come back uncounted, and so would what is on its way. */
START_TEST(what_is_not_all_there_stays_small)
{
	uint64_t from = 0;

	take_small(HEAPD_CHUNK_PAGES - 8);
	pages_idle_note(&pages);
	pages.reserve = 0;
	pages.in_spans = 0; /* nothing is to lie ahead */
	ck_assert(pages_idle_take(&pages, &from));
	ck_assert_uint_eq(pages.head->hole.chunk, 1);
	ck_assert(!pages_used_begin(&pages));
	pages_idle_give(&pages, true);
	ck_assert_uint_eq(pages.gone_pages, 8);
	pages.used_from = 0;
	ck_assert(!pages_used_begin(&pages));
	close_pages();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pages");
	TCase *tests = tcase_create("pages");

	tcase_set_timeout(tests, 30);
	tcase_add_test(tests, takes_commit_whole_chunks_and_charge_them);
	tcase_add_test(tests, zero_is_said_only_of_pages_that_nobody_had);
	tcase_add_test(tests, the_heap_s_limit_refuses_and_gives_again);
	tcase_add_test(tests, the_account_refuses_too);
	tcase_add_test(tests, address_space_ends);
	tcase_add_test(tests, alignment);
	tcase_add_test(tests, commits_ahead_of_need);
	tcase_add_test(tests, idle_memory_is_given_back);
	tcase_add_test(tests, idle_pages_of_a_used_chunk_are_given_back);
	tcase_add_test(tests, gone_pages_cannot_come_back_at_the_limit);
	tcase_add_test(tests, huge_pages_are_broken_up_only_when_half_idle);
	tcase_add_test(tests, no_huge_pages_where_they_are_not_wanted);
	tcase_add_test(tests, huge_pages_where_they_can_be_had);
	tcase_add_test(tests, what_is_in_use_becomes_huge_under_its_users);
	tcase_add_test(tests, what_is_half_used_stays_small);
	tcase_add_test(tests, what_is_not_all_there_stays_small);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
