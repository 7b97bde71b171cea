/* SPDX-License-Identifier: MIT */
/* Where options come from: files that can be read or not, drop-ins, overrides; and what is written of them: dump, example, manual. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "configured.h"
#include "suite.h"

START_TEST(files_that_cannot_be_read)
{
	ck_assert_int_eq(config_load(&cfg, path, false, gather, NULL), 0);
	ck_assert_int_eq(load(), -EINVAL);
	ck_assert_str_eq(said, "heapd.conf:0: err: cannot read the file: No such file or directory\n");
	said[0] = '\0';
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_eq(config_load(&cfg, path, false, gather, NULL), -EINVAL);
	ck_assert_str_eq(said, "heapd.conf:0: err: cannot read the file: Is a directory\n");
	rmdir(path);
	said[0] = '\0';
	load_text("");
	snprintf(said, sizeof(said), "%s.d", path);
	write_bytes(said, "", 0);
	said[0] = '\0';
	ck_assert_int_eq(load(), -EINVAL);
	ck_assert_str_eq(said, "heapd.conf.d:0: err: cannot read the directory: Not a directory\n");
}
END_TEST

START_TEST(files_without_permission)
{
	load_text("");
	ck_assert_int_eq(chmod(path, 0), 0);
	ck_assert_int_eq(chmod(directory, 0755), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(load(), -EINVAL);
	ck_assert_str_eq(said, "heapd.conf:0: err: cannot read the file: Permission denied\n");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(drop_ins_in_order_of_bytes)
{
	write_drop_in("b.conf", "[Heap a]\nSize=2G\n[Daemon]\nLogLevel=err\n");
	write_drop_in("a.conf", "[Heap a]\nSize=3G\nHugePages=never\n");
	write_drop_in("Z.conf", "[Heap a]\nSize=4G\nHugePages=hugetlb\nLimit=1G\n");
	write_drop_in(".z.conf", "[Daemon]\nMaxSessionsPerUser=3\n");
	write_drop_in("z.conf~", "[Heap a]\nSize=6G\n");
	write_drop_in(".conf", "[Heap a]\nSize=6G\n");
	load_clean("[Heap a]\nSize=1G\nLimit=64M\nBase=0x200000000000\n[Daemon]\nMaxSessions=7\n");
	ck_assert_uint_eq(heap("a")->size, UINT64_C(2) << 30);
	ck_assert_int_eq(heap("a")->huge, CONFIG_HUGE_NEVER);
	ck_assert_uint_eq(heap("a")->limit, UINT64_C(1) << 30);
	ck_assert_uint_eq(heap("a")->base, 0x200000000000);
	ck_assert_int_eq(cfg.log_level, LOG_ERR);
	ck_assert_uint_eq(cfg.max_sessions, 7);
	ck_assert_uint_eq(cfg.max_sessions_per_uid, 256);
}
END_TEST

START_TEST(drop_in_has_its_own_lines_and_sections)
{
	write_drop_in("a.conf", "\nSize=2G\n[Heap a]\nSize=x\n");
	ck_assert_int_eq(load_text("[Heap a]\nSize=1G\n"), -EINVAL);
	ck_assert_ptr_eq(strstr(said, "heapd.conf.d/a.conf:2: err: Size= stands before any section"), said);
	ck_assert_ptr_nonnull(strstr(said, "\nheapd.conf.d/a.conf:4: err: Size=x: not a size"));
}
END_TEST

START_TEST(drop_in_repairs_what_the_file_got_wrong)
{
	write_drop_in("a.conf", "[Heap a]\nLimit=512M\n");
	load_clean("[Heap a]\nSize=1G\nLimit=2G\n");
}
END_TEST

START_TEST(lists_append_and_reset)
{
	write_drop_in("a.conf", "[Heap a]\nAllowUsers=12 11\nAllowGroups=\nAllowGroups=22\nReadOnlyUsers=\n");
	load_clean("[Heap a]\nAllowUsers=10\nAllowUsers=11\nAllowGroups=20 21\nReadOnlyUsers=* 30\n");
	ck_assert_uint_eq(heap("a")->allow.users.n, 3);
	ck_assert(ids_has(&heap("a")->allow.users, 10) && ids_has(&heap("a")->allow.users, 12));
	ck_assert_uint_eq(heap("a")->allow.groups.n, 1);
	ck_assert_uint_eq(heap("a")->allow.groups.id[0], 22);
	ck_assert_uint_eq(heap("a")->readonly.users.n, 0);
	ck_assert(!heap("a")->readonly.users.all);
}
END_TEST

START_TEST(empty_values_reset_to_defaults)
{
	load_clean("[Heap a]\nSize=1G\nLimit=64M\nHugePages=never\n[Heap b]\n[Daemon]\nSocket=/x\n");
	load_clean("[Heap a]\nSize=\nLimit=\nHugePages=\n[Daemon]\nSocket=\n");
	ck_assert_uint_eq(heap("a")->size, heap("b")->size);
	ck_assert_uint_eq(heap("a")->limit, heap("b")->limit);
	ck_assert_int_eq(heap("a")->huge, CONFIG_HUGE_AUTO);
	ck_assert_str_eq(cfg.socket, "/run/heapd/heapd.sock");
}
END_TEST

START_TEST(overrides)
{
	struct config_error err;

	load_clean("[Heap demo]\nSize=2G\nAllowUsers=10\n");
	ck_assert_int_eq(config_override(&cfg, "daemon.socket=/tmp/s", &err), 0);
	ck_assert_int_eq(config_override(&cfg, "Daemon.LogLevel = debug ", &err), 0);
	ck_assert_int_eq(config_override(&cfg, "heap.demo.SIZE=1G", &err), 0);
	ck_assert_int_eq(config_override(&cfg, "heap.demo.allowusers=11", &err), 0);
	ck_assert_int_eq(config_override(&cfg, "heap.new.one.limit=64M", &err), 0);
	ck_assert_int_eq(config_check(&cfg, gather, NULL), 0);
	ck_assert_str_eq(cfg.socket, "/tmp/s");
	ck_assert_int_eq(cfg.log_level, LOG_DEBUG);
	ck_assert_uint_eq(heap("demo")->size, UINT64_C(1) << 30);
	ck_assert_uint_eq(heap("demo")->allow.users.n, 2);
	ck_assert_uint_eq(heap("new.one")->limit, UINT64_C(64) << 20);
	ck_assert_uint_eq(cfg.nheaps, 2);
	ck_assert_int_eq(config_override(&cfg, "heap.demo.limit=1500M", &err), 0);
	ck_assert_int_eq(config_check(&cfg, gather, NULL), -EINVAL);
	ck_assert_ptr_eq(strstr(said, "--set:0: err: Limit=1500M of [Heap demo]: more than"), said);
	said[0] = '\0';
	ck_assert_int_eq(config_override(&cfg, "heap.demo.limit=", &err), 0);
	ck_assert_int_eq(config_override(&cfg, "heap.demo.base=0x200000000000", &err), 0);
	ck_assert_int_eq(config_override(&cfg, "heap.new.one.base=0x200000000000", &err), 0);
	ck_assert_int_eq(config_check(&cfg, gather, NULL), -EINVAL);
	ck_assert_ptr_eq(
		strstr(said, "--set:0: err: Base=0x200000000000 of [Heap new.one]: overlaps [Heap demo]"),
		said);
	ck_assert_ptr_nonnull(strstr(said, "(--set)\n"));
}
END_TEST

static const struct {
	const char *assignment, *said;
} bad_overrides[] = {
	{ "heap.demo.size=12Q", "heap.demo.size=12Q: not a size; write bytes or a number with K, M, G or T "
				"(e.g. heap.demo.size=512M)" },
	{ "heap.demo.siz=1G", "heap.demo.siz: unknown key in [Heap NAME]; did you mean Size=?" },
	{ "heap.demo.socket=/x", "heap.demo.socket: unknown key in [Heap NAME]" },
	{ "daemon.Size=1G", "daemon.Size: belongs under [Heap NAME], not under [Daemon]" },
	{ "daemon.=1", "daemon.: unknown key in [Daemon]" },
	{ "heap.Demo.size=1G", "heap.Demo.size: not a heap's name" },
	{ "heap..size=1G", "heap..size: not a heap's name" },
	{ "heap.size=1G", "heap.size: unknown; write daemon.KEY=VALUE or heap.NAME.KEY=VALUE" },
	{ "heap.demo.allowusers=no-such-user",
	  "heap.demo.allowusers=no-such-user: there is no user 'no-such-user'" },
	{ "size=1G", "size: unknown; write daemon.KEY=VALUE" },
	{ "heap.demo.size", "heap.demo.size: no '='" },
	{ "", ": no '='" },
	{ "=", ": unknown; write" },
};

START_TEST(bad_override_changes_nothing)
{
	struct config_error err;

	ck_assert_int_eq(config_override(&cfg, bad_overrides[_i].assignment, &err), -EINVAL);
	ck_assert_msg(strncmp(err.text, bad_overrides[_i].said, strlen(bad_overrides[_i].said)) == 0, "%s",
		      err.text);
	ck_assert_uint_eq(cfg.nheaps, 0);
}
END_TEST

static char *dump(const struct config *c)
{
	char *text = NULL;
	size_t length;
	FILE *f = open_memstream(&text, &length);

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(config_dump(c, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

START_TEST(dump_reads_back_to_the_same)
{
	char *first, *second;

	load_clean(
		"[Daemon]\nSocket=/x\nSocketMode=0\nLogLevel=warning\nLogTarget=journal\n[Heap a]\nSize=100M\n"
		"Limit=2097153\nUserShare=off\nBase=0x100000000\nAllowUsers=daemon 7\nReadOnlyUsers=*\nGCPercent=off\n"
		"MemoryLimit=2097152\nGCInterval=7200\nStallTimeout=90\nStallAction=evict\nMarkerThreads=8\n"
		"Debug=poison stress\nHardened=yes\nOwner=7\nMode=640\n[Heap b]\nLimit=1%\nUserShare=50%\nFree=checked\nGCInterval=off\nStallTimeout=60s\n");
	first = dump(&cfg);
	ck_assert_ptr_eq(
		strstr(first, "[Daemon]\nSocket=/x\nSocketMode=0000\nLogLevel=warning\nLogTarget=journal\n"),
		first);
	ck_assert_ptr_nonnull(strstr(
		first,
		"\n[Heap a]\nSize=128M\nLimit=2097153\nUserShare=off\nBase=0x100000000\nHugePages=auto\n"
		"GCPercent=off\nMemoryLimit=2M\nGCInterval=2h\nStallTimeout=90s\nStallAction=evict\n"
		"MarkerThreads=8\nFree=prompt\nDebug=stress poison\nHardened=yes\nOwner=7\nGroup=\nMode=0640\n"
		"AllowUsers=1 7\nAllowGroups=\nReadOnlyUsers=*\nReadOnlyGroups=\n"));
	ck_assert_ptr_nonnull(strstr(first,
				     "\nGCPercent=auto\nMemoryLimit=auto\nGCInterval=off\nStallTimeout=1min\n"
				     "StallAction=wait\nMarkerThreads=1\nFree=checked\nDebug=\n"));
	ck_assert_ptr_nonnull(strstr(first, "\nUserShare=50%\n"));
	config_free(&cfg);
	ck_assert_int_eq(config_init(&cfg), 0);
	load_clean(first);
	second = dump(&cfg);
	ck_assert_str_eq(first, second);
	free(first);
	free(second);
}
END_TEST

static char *read_text(const char *name)
{
	static char text[65536];
	FILE *f = fopen(name, "r");

	ck_assert_msg(f != NULL, "%s is missing", name);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	return text;
}

/* Its options, uncommented, are the defaults: no more and no fewer than there are. */
START_TEST(example_file_has_every_option_with_its_default)
{
	char *text = read_text("daemon/heapd.conf"), line[128], *plain, *example;
	const struct config_option *o;

	for (size_t i = 0; (o = config_option_at(i)); i++) {
		snprintf(line, sizeof(line), "\n#%s=%s\n", o->key, o->standard);
		ck_assert_msg(strstr(text, line) != NULL, "no line #%s=%s", o->key, o->standard);
	}
	load_clean(text);
	plain = dump(&cfg);
	for (char *c = text; (c = strchr(c, '#')); c++) {
		if (c[1] != ' ' && c[1] != '\n')
			*c = ' ';
	}
	config_free(&cfg);
	ck_assert_int_eq(config_init(&cfg), 0);
	load_clean(text);
	ck_assert_ptr_nonnull(heap("default")->set[config_option_index(config_option_at(9))].file);
	example = dump(&cfg);
	ck_assert_str_eq(plain, example);
	free(plain);
	free(example);
}
END_TEST

START_TEST(manual_has_every_option_with_its_default)
{
	const char *text = read_text("man/heapd.conf.5"), *at, *end;
	const struct config_option *o;
	char heading[64], standard[64];

	for (size_t i = 0; (o = config_option_at(i)); i++) {
		snprintf(heading, sizeof(heading), "\n.BI %s= ", o->key);
		at = strstr(text, heading);
		ck_assert_msg(at != NULL, "%s= is not in the manual", o->key);
		snprintf(standard, sizeof(standard), "\n.BR %s .\n", o->standard);
		at = strstr(at, *o->standard ? standard : "\nDefault: empty");
		end = at ? strstr(at, "\n.TP") : NULL;
		ck_assert_msg(at && (!end || at < end),
			      "the manual does not tell the default of %s=", o->key);
	}
}
END_TEST

/* Words that mean something, in any order and mutilated: nothing is believed, nothing crashes or leaks. */
START_TEST(random_text_never_crashes)
{
	static const char *const words[] = {
		"[Daemon]\n",  "[Heap a]\n",
		"[Heap b]\n",  "Size=",
		"Limit=",      "Base=",
		"AllowUsers=", "Socket=",
		"=",           "\n",
		"HugePages=",  "64M",
		"50%",         "0x200000000000",
		"GCPercent=",  "MemoryLimit=",
		"GCInterval=", "2min",
		"off",         "Debug=",
		"stress",      "*",
		"7 8",         "/x",
		"auto",        "\\\n",
		"#",           "SocketMode=",
		"0660",
	};
	char text[600];

	srandom(2);
	for (int round = 0; round < 3000; round++) {
		size_t n = 0;

		while (n < sizeof(text) - 32) {
			const char *word = words[(size_t)random() % (sizeof(words) / sizeof(words[0]))];

			n += (size_t)sprintf(text + n, "%s", word);
			if (random() % 16 == 0)
				text[n - 1] = (char)random();
			if (random() % 4 == 0)
				text[n++] = '\n';
		}
		write_bytes(path, text, n);
		said[0] = '\0';
		ck_assert((load() == -EINVAL) == (strstr(said, " err: ") != NULL));
		config_check(&cfg, gather, NULL);
		free(dump(&cfg));
		config_free(&cfg);
		config_init(&cfg);
	}
}
END_TEST

static Suite *configfile_suite(void)
{
	Suite *suite = suite_create("configfile");
	TCase *tests = tcase_create("configfile");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, files_that_cannot_be_read);
	tcase_add_test(tests, files_without_permission);
	tcase_add_test(tests, drop_ins_in_order_of_bytes);
	tcase_add_test(tests, drop_in_has_its_own_lines_and_sections);
	tcase_add_test(tests, drop_in_repairs_what_the_file_got_wrong);
	tcase_add_test(tests, lists_append_and_reset);
	tcase_add_test(tests, empty_values_reset_to_defaults);
	tcase_add_test(tests, overrides);
	tcase_add_loop_test(tests, bad_override_changes_nothing, 0,
			    sizeof(bad_overrides) / sizeof(bad_overrides[0]));
	tcase_add_test(tests, dump_reads_back_to_the_same);
	tcase_add_test(tests, example_file_has_every_option_with_its_default);
	tcase_add_test(tests, manual_has_every_option_with_its_default);
	tcase_add_test(tests, random_text_never_crashes);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return suite_run(configfile_suite());
}
