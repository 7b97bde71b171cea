/* SPDX-License-Identifier: MIT */
/* The places of heaps that are kept: no new one comes to lie there, whatever became of their daemon, or of its configuration. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/ledger.h"
#include "kept.h"
#include "suite.h"

struct node {
	struct node *next;
	uint64_t value;
};

static void configure_more(const char *heap)
{
	FILE *file = fopen(f.config, "ae");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_gt(fprintf(file, "\n[Heap %s]\nSize=64M\nHugePages=never\n", heap), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static void word_there(const char *name, uint64_t value, bool make)
{
	heapd_heap *heap;
	heapd_type *type;
	struct node *n;

	ck_assert_msg(heapd_attach(&heap, name, NULL) == 0, "%s", heapd_error());
	type = heapd_type_define(heap, "node", struct node, next);
	n = heapd_root(heap, "word", struct node, type);
	ck_assert_msg(n != NULL, "%s", heapd_error());
	if (make)
		n->value = value;
	ck_assert_uint_eq(n->value, value);
	ck_assert_int_eq(heapd_detach(heap), 0);
}

/* A heap that stands last, whatever the file says, is kept with a word in it. */
static void begin(void)
{
	static const char *const two[] = { "heap.last.Size=64M", NULL };

	fixture_start_kept(&f, two);
	word_there("last", 7, true);
}

/* The heap that was there and the new one are both there, and are after one restart more. */
static void end(const char *name, uint64_t value)
{
	word_there(name, value, false);
	word_there("new", 8, true);
	restart();
	word_there(name, value, false);
	word_there("new", 8, false);
	fixture_stop(&f);
}

/* A heap that is new in the configuration stands before one that is kept: it does not take its place. */
START_TEST(new_before_kept)
{
	begin();
	configure_more("new");
	restart();
	end("last", 7);
}
END_TEST

/* The file of the heap's ledger, as that process has it. */
static int ledger_open(pid_t pid, const char *heap)
{
	char files[64], wanted[96], path[400], target[PATH_MAX];
	struct dirent *entry;
	int fd = -1;

	snprintf(files, sizeof(files), "/proc/%d/fd", pid);
	snprintf(wanted, sizeof(wanted), "heapd:%s:ledger", heap);
	DIR *d = opendir(files);
	ck_assert_ptr_nonnull(d);
	while (fd < 0 && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", files, entry->d_name);
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		if (strstr(target, wanted))
			fd = open(path, O_RDWR | O_CLOEXEC);
	}
	closedir(d);
	ck_assert_msg(fd >= 0, "process %d has no file of heap %s's ledger", pid, heap);
	return fd;
}

/* As a daemon leaves it that dies just before it says that the heap is complete. */
static void half_make(const char *heap)
{
	int fd = ledger_open(fixture_kept_daemon(&f), heap);
	const uint64_t not_yet = 0;

	ck_assert_int_eq(pwrite(fd, &not_yet, sizeof(not_yet), offsetof(struct ledger_head, complete)),
			 sizeof(not_yet));
	close(fd);
}

/* As a build of another layout would have made it, or, once more, as this one. */
static void layout_change(const char *heap)
{
	int fd = ledger_open(f.daemon, heap);
	struct ledger_head head;

	ck_assert_int_eq(pread(fd, &head, sizeof(head), 0), sizeof(head));
	head.fingerprint = ~head.fingerprint;
	ck_assert_int_eq(pwrite(fd, &head, sizeof(head), 0), sizeof(head));
	close(fd);
}

/* Nor does one that was being made when the daemon died. */
START_TEST(half_made_before_kept)
{
	begin();
	configure_more("new");
	restart();
	ck_assert(fixture_logged(&f, "heap 'new': at"));
	half_make("new");
	restart();
	end("last", 7);
}
END_TEST

/* Nor does a new one take the place of one that this daemon cannot adopt, and another one can. */
START_TEST(not_adopted)
{
	begin();
	configure_more("new");
	layout_change("last");
	kill_daemon(SIGKILL);
	ck_assert(fixture_logged(&f, "heap 'last' is kept, but its memory was laid out by another build"));
	layout_change("last");
	end("last", 7);
}
END_TEST

static void configure_less(off_t size)
{
	ck_assert_int_eq(truncate(f.config, size), 0);
}

/* Nor does a new one take the place of one that is kept, but not in the configuration for a while. */
START_TEST(put_back)
{
	struct stat before;

	begin();
	ck_assert_int_eq(stat(f.config, &before), 0);
	configure_more("old");
	restart();
	word_there("old", 9, true);
	configure_less(before.st_size);
	configure_more("new");
	restart();
	word_there("new", 8, true);
	configure_more("old");
	restart();
	end("old", 9);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reserved");
	TCase *tcase = tcase_create("places");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, new_before_kept);
	tcase_add_test(tcase, half_made_before_kept);
	tcase_add_test(tcase, not_adopted);
	tcase_add_test(tcase, put_back);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
