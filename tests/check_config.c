/* SPDX-License-Identifier: MIT */
/* What each option of heapd.conf makes of a struct config, and what is said of each mistake. */
#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "configured.h"
#include "heapd/phase.h"
#include "suite.h"

static uint64_t share_of_memory(unsigned percent, uint64_t most)
{
	const uint64_t step = UINT64_C(2) << 20;
	struct sysinfo info;
	uint64_t bytes;

	ck_assert_int_eq(sysinfo(&info), 0);
	bytes = (uint64_t)info.totalram * info.mem_unit / 100 * percent / step * step;
	return bytes < most ? bytes : most;
}

START_TEST(defaults)
{
	const struct config_heap *h;

	ck_assert_int_eq(config_load(&cfg, path, false, gather, NULL), 0);
	ck_assert_int_eq(config_check(&cfg, gather, NULL), 0);
	ck_assert_str_eq(said, "");
	ck_assert_str_eq(cfg.socket, "/run/heapd/heapd.sock");
	ck_assert_uint_eq(cfg.socket_mode, 0666);
	ck_assert_int_eq(cfg.log_level, LOG_INFO);
	ck_assert_int_eq(cfg.log_target, LOG_TARGET_AUTO);
	ck_assert_uint_eq(cfg.max_sessions, 1024);
	ck_assert_uint_eq(cfg.max_sessions_per_uid, 256);
	ck_assert_uint_eq(cfg.nheaps, 1);
	h = heap("default");
	ck_assert_uint_eq(h->size, UINT64_C(16) << 30);
	ck_assert_uint_eq(h->limit, share_of_memory(50, h->size));
	ck_assert_uint_eq(h->base, 0);
	ck_assert_int_eq(h->huge, CONFIG_HUGE_AUTO);
	ck_assert_uint_eq(h->gc_percent, CONFIG_PERCENT_AUTO);
	ck_assert_uint_eq(h->memory_limit, 0);
	ck_assert_uint_eq(h->gc_interval, 120);
	ck_assert_uint_eq(h->stall_timeout, 10);
	ck_assert_int_eq(h->stall_action, CONFIG_STALL_WAIT);
	ck_assert_uint_eq(h->marker_threads, 1);
	ck_assert_int_eq(h->free_mode, CONFIG_FREE_PROMPT);
	ck_assert_uint_eq(h->debug, 0);
	ck_assert_int_eq(config_heap_access(h, 0, NULL, 0), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(h, geteuid(), NULL, 0), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(h, geteuid() + 1, NULL, 0), CONFIG_ACCESS_NONE);
}
END_TEST

START_TEST(every_option_is_understood)
{
	const struct config_heap *h;

	load_clean(
		"[Daemon]\nSocket=/tmp/x y.sock\nSocketMode=660\nLogLevel=debug\nLogTarget=console\nMaxSessions=1\n"
		"MaxSessionsPerUser=65536\n[Heap a.b-c_0]\nSize=1T\nLimit=1536M\nBase=0x200000000000\n"
		"HugePages=hugetlb\nAllowUsers=root 4242 \\\n  4243\nAllowGroups=4244\nReadOnlyUsers=*\n"
		"ReadOnlyGroups=root\n[Heap 2]\nSize=64M\nLimit=1%\nHugePages=never\n[Heap 3]\nSize=70000000\n");
	ck_assert_str_eq(cfg.socket, "/tmp/x y.sock");
	ck_assert_uint_eq(cfg.socket_mode, 0660);
	ck_assert_int_eq(cfg.log_level, LOG_DEBUG);
	ck_assert_int_eq(cfg.log_target, LOG_TARGET_CONSOLE);
	ck_assert_uint_eq(cfg.max_sessions, 1);
	ck_assert_uint_eq(cfg.max_sessions_per_uid, 65536);
	ck_assert_uint_eq(cfg.nheaps, 3);
	h = heap("a.b-c_0");
	ck_assert_uint_eq(h->size, UINT64_C(1) << 40);
	ck_assert_uint_eq(h->limit, UINT64_C(1536) << 20);
	ck_assert_uint_eq(h->base, 0x200000000000);
	ck_assert_int_eq(h->huge, CONFIG_HUGE_HUGETLB);
	ck_assert_uint_eq(h->allow.users.n, 3);
	ck_assert(h->readonly.users.all && !h->readonly.groups.all && !h->allow.users.all);
	ck_assert_uint_eq(heap("2")->limit, share_of_memory(1, UINT64_C(64) << 20));
	ck_assert_int_eq(heap("2")->huge, CONFIG_HUGE_NEVER);
	ck_assert_uint_eq(heap("3")->size, UINT64_C(128) << 20);
}
END_TEST

START_TEST(owner_group_and_mode_are_understood)
{
	const gid_t group = 51, none = 52;
	const struct config_heap *h;

	load_clean(
		"[Daemon]\nMaxThreadsPerUser=7\nMaxBytesPerUser=3M\nHeapShare=25%\n[Heap a]\nOwner=50\nGroup=51\nMode=0641\n"
		"[Heap b]\nOwner=\n[Heap c]\nReadOnlyUsers=53\nMode=0001\nOwner=54\n");
	ck_assert_uint_eq(cfg.max_threads_per_uid, 7);
	ck_assert_uint_eq(cfg.max_bytes_per_uid, 3u << 20);
	ck_assert_uint_eq(cfg.heap_share, 25);
	h = heap("a");
	ck_assert_uint_eq(config_heap_rights(h, 50, &group, 1), 6);
	ck_assert_uint_eq(config_heap_rights(h, 53, &group, 1), 4);
	ck_assert_uint_eq(config_heap_rights(h, 53, &none, 1), 1);
	ck_assert_uint_eq(config_heap_rights(h, 0, &none, 1), 7);
	ck_assert_int_eq(config_heap_access(h, 50, NULL, 0), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(h, 53, &group, 1), CONFIG_ACCESS_READ);
	ck_assert_int_eq(config_heap_access(h, 53, NULL, 0), CONFIG_ACCESS_NONE);
	ck_assert(config_others_may_write(h));
	ck_assert_uint_eq(heap("b")->owner, CONFIG_NOBODY);
	ck_assert_uint_eq(config_heap_rights(heap("b"), 50, NULL, 0), 0);
	ck_assert(!config_others_may_write(heap("b")));
	ck_assert_uint_eq(config_heap_rights(heap("c"), 53, NULL, 0), 5);
	ck_assert_uint_eq(config_heap_rights(heap("c"), 54, NULL, 0), 0);
	ck_assert(!config_others_may_write(heap("c")));
}
END_TEST

START_TEST(every_option_of_the_collector_is_understood)
{
	const struct config_heap *h;

	load_clean(
		"[Heap a]\nSize=1G\nLimit=512M\nGCPercent=250\nMemoryLimit=384M\nGCInterval=90\nStallTimeout=2min\n"
		"StallAction=evict\nMarkerThreads=64\nFree=checked\nDebug=stress, poison\n[Heap b]\nSize=1G\n"
		"Limit=512M\nGCPercent=off\nMemoryLimit=75%\nGCInterval=off\nStallTimeout=1h\nDebug=stress\n"
		"Debug=\nDebug=poison\n[Heap c]\nSize=1G\nLimit=15M\nGCPercent=auto\nMemoryLimit=50%\nGCInterval=1s\n"
		"Debug=stress\nDebug=poison\n");
	h = heap("a");
	ck_assert_uint_eq(h->gc_percent, 250);
	ck_assert_uint_eq(h->memory_limit, UINT64_C(384) << 20);
	ck_assert_uint_eq(h->gc_interval, 90);
	ck_assert_uint_eq(h->stall_timeout, 120);
	ck_assert_int_eq(h->stall_action, CONFIG_STALL_EVICT);
	ck_assert_uint_eq(h->marker_threads, 64);
	ck_assert_int_eq(h->free_mode, CONFIG_FREE_CHECKED);
	ck_assert_uint_eq(h->debug, HEAPD_DEBUG_STRESS | HEAPD_DEBUG_POISON);
	h = heap("b");
	ck_assert_uint_eq(h->gc_percent, 0);
	ck_assert_uint_eq(h->memory_limit, UINT64_C(384) << 20);
	ck_assert_uint_eq(h->gc_interval, 0);
	ck_assert_uint_eq(h->stall_timeout, 3600);
	ck_assert_uint_eq(h->debug, HEAPD_DEBUG_POISON);
	ck_assert_uint_eq(heap("c")->gc_percent, CONFIG_PERCENT_AUTO);
	ck_assert_uint_eq(heap("c")->memory_limit, 6u << 20); /* down to a multiple of 2 MiB */
	ck_assert_uint_eq(heap("c")->gc_interval, 1);
	ck_assert_uint_eq(heap("c")->debug, HEAPD_DEBUG_STRESS | HEAPD_DEBUG_POISON);
}
END_TEST

/* The first line of each text is line 1; what must be said of it, word by word, in one line. */
static const struct {
	const char *text, *where, *words[4];
} mistakes[] = {
	{ "[Heap a]\nSize=12Q",
	  "heapd.conf:2: err: Size=12Q: not a size; write bytes or a number with K, M, G or T "
	  "(e.g. Size=512M)\n",
	  { NULL } },
	{ "[Heap a]\nSize=", NULL, { NULL } },
	{ "[Heap a]\nSize=512m", "heapd.conf:2: err: Size=512m: not a size", { "Size=512M" } },
	{ "[Heap a]\nSize=-1G", "heapd.conf:2: err: Size=-1G: not a size", { NULL } },
	{ "[Heap a]\nSize=1.5G", "heapd.conf:2: err: Size=1.5G: not a size", { NULL } },
	{ "[Heap a]\nSize=0x10", "heapd.conf:2: err: Size=0x10: not a size", { NULL } },
	{ "[Heap a]\nSize=63M", "heapd.conf:2: err: Size=63M: too small", { "64M" } },
	{ "[Heap a]\nSize=3T", "heapd.conf:2: err: Size=3T: too large", { "2T" } },
	{ "[Heap a]\nSize=18446744073709551616",
	  "heapd.conf:2: err: Size=18446744073709551616: not a size",
	  { NULL } },
	{ "[Heap a]\nSize=18014398509481985K",
	  "heapd.conf:2: err: Size=18014398509481985K: too large",
	  { NULL } },
	{ "[Heap a]\nSize=1G # one",
	  "heapd.conf:2: err: Size=1G # one: not a size",
	  { "comment", "line of its own" } },
	{ "[Heap a]\nLimit=1M", "heapd.conf:2: err: Limit=1M: too small", { "2M" } },
	{ "[Heap a]\nLimit=101%", "heapd.conf:2: err: Limit=101%: not a percentage", { "1% to 100%" } },
	{ "[Heap a]\nLimit=0%", "heapd.conf:2: err: Limit=0%: not a percentage", { NULL } },
	{ "[Heap a]\nLimit=5%%", "heapd.conf:2: err: Limit=5%%: not a percentage", { NULL } },
	{ "[Heap a]\nBase=1234", "heapd.conf:2: err: Base=1234: not an address", { "auto", "0x" } },
	{ "[Heap a]\nBase=0x", "heapd.conf:2: err: Base=0x: not an address", { NULL } },
	{ "[Heap a]\nBase=0x110000100000",
	  "heapd.conf:2: err: Base=0x110000100000: not a multiple of 2 MiB",
	  { "0x110000000000" } },
	{ "[Heap a]\nBase=0xffe00000", "heapd.conf:2: err: Base=0xffe00000: out of range", { "0x100000000" } },
	{ "[Heap a]\nBase=0x0", NULL, { NULL } },
	{ "[Heap a]\nBase=0x7f0000000000", "heapd.conf:2: err: Base=0x7f0000000000: out of range", { NULL } },
	{ "[Heap a]\nBase=0x1ffffffffffe00000",
	  "heapd.conf:2: err: Base=0x1ffffffffffe00000: not an address",
	  { NULL } },
	{ "[Heap a]\nHugePages=always",
	  "heapd.conf:2: err: HugePages=always: not known here",
	  { "auto, never or hugetlb" } },
	{ "[Heap a]\nGCPercent=0",
	  "heapd.conf:2: err: GCPercent=0: neither a number from 1 to 10000 nor auto or off (e.g. GCPercent=50)\n",
	  { NULL } },
	{ "[Heap a]\nGCPercent=10001", "heapd.conf:2: err: GCPercent=10001: neither a number", { NULL } },
	{ "[Heap a]\nGCPercent=100%", "heapd.conf:2: err: GCPercent=100%: neither a number", { NULL } },
	{ "[Heap a]\nGCPercent=Off", "heapd.conf:2: err: GCPercent=Off: neither a number", { NULL } },
	{ "[Heap a]\nGCPercent=1\n[Heap b]\nGCPercent=10000\n[Heap c]\nGCPercent=off", NULL, { NULL } },
	{ "[Heap a]\nUserShare=51%", "heapd.conf:2: err: UserShare=51%: more than 50%", { "off" } },
	{ "[Heap a]\nUserShare=0%", "heapd.conf:2: err: UserShare=0%: not a percentage", { NULL } },
	{ "[Heap a]\nMemoryLimit=1M", "heapd.conf:2: err: MemoryLimit=1M: too small", { "2M" } },
	{ "[Heap a]\nMemoryLimit=0%", "heapd.conf:2: err: MemoryLimit=0%: not a percentage", { NULL } },
	{ "[Heap a]\nMemoryLimit=off", "heapd.conf:2: err: MemoryLimit=off: not a size", { "75%" } },
	{ "[Heap a]\nSize=1G\nLimit=64M\nMemoryLimit=66M",
	  "heapd.conf:4: err: MemoryLimit=66M of [Heap a]: more than the heap's Limit=64M; lower",
	  { NULL } },
	{ "[Heap a]\nSize=1G\nLimit=64M\nMemoryLimit=64M", NULL, { NULL } },
	{ "[Heap a]\nMemoryLimit=100%\n[Heap b]\nSize=64M\nLimit=2M\nMemoryLimit=1%", NULL, { NULL } },
	{ "[Heap a]\nGCInterval=500ms",
	  "heapd.conf:2: err: GCInterval=500ms: not a time; write seconds or a number with s, min or h; or off "
	  "(e.g. GCInterval=30s)\n",
	  { NULL } },
	{ "[Heap a]\nGCInterval=2 min", "heapd.conf:2: err: GCInterval=2 min: not a time", { NULL } },
	{ "[Heap a]\nGCInterval=min", "heapd.conf:2: err: GCInterval=min: not a time", { NULL } },
	{ "[Heap a]\nGCInterval=-1", "heapd.conf:2: err: GCInterval=-1: not a time", { NULL } },
	{ "[Heap a]\nGCInterval=0", "heapd.conf:2: err: GCInterval=0: out of range", { "1s to 24h; or off" } },
	{ "[Heap a]\nGCInterval=86401", "heapd.conf:2: err: GCInterval=86401: out of range", { NULL } },
	{ "[Heap a]\nGCInterval=25h", "heapd.conf:2: err: GCInterval=25h: out of range", { NULL } },
	{ "[Heap a]\nGCInterval=18446744073709551615h",
	  "heapd.conf:2: err: GCInterval=18446744073709551615h: out of range",
	  { NULL } },
	{ "[Heap a]\nGCInterval=1440min", NULL, { NULL } },
	{ "[Heap a]\nStallTimeout=off", "heapd.conf:2: err: StallTimeout=off: not a time", { NULL } },
	{ "[Heap a]\nStallTimeout=0s",
	  "heapd.conf:2: err: StallTimeout=0s: out of range; write a time from 1s to 24h (e.g.",
	  { NULL } },
	{ "[Heap a]\nStallAction=kill",
	  "heapd.conf:2: err: StallAction=kill: not known here",
	  { "wait or evict" } },
	{ "[Heap a]\nMarkerThreads=0", "heapd.conf:2: err: MarkerThreads=0: out of range", { "1 to 64" } },
	{ "[Heap a]\nMarkerThreads=65", "heapd.conf:2: err: MarkerThreads=65: out of range", { NULL } },
	{ "[Heap a]\nFree=late", "heapd.conf:2: err: Free=late: not known here", { "prompt or checked" } },
	{ "[Heap a]\nFree=checked\nGCPercent=off",
	  "heapd.conf:2: err: Free=checked of [Heap a]: with GCPercent=off",
	  { "Free=prompt" } },
	{ "[Heap a]\nDebug=stress,poisn",
	  "heapd.conf:2: err: Debug=stress,poisn: 'poisn' is not known here; write any of stress or poison",
	  { NULL } },
	{ "[Heap a]\nDebug=stressed", "heapd.conf:2: err: Debug=stressed: 'stressed' is not known", { NULL } },
	{ "[Heap a]\nAllowUsers=root no-such-user x%y",
	  "heapd.conf:2: err: AllowUsers=",
	  { "there is no user 'no-such-user'", "there is no user 'x%y'" } },
	{ "[Heap a]\nReadOnlyGroups=no-such-group",
	  "heapd.conf:2: err: ReadOnlyGroups=",
	  { "there is no group 'no-such-group'" } },
	{ "[Heap a]\nAllowUsers=4294967295", "heapd.conf:2: err: AllowUsers=", { "'4294967295'" } },
	{ "[Daemon]\nSocket=heapd.sock",
	  "heapd.conf:2: err: Socket=heapd.sock: not an absolute path",
	  { NULL } },
	{ "[Daemon]\nSocket=/run/", "heapd.conf:2: err: Socket=/run/: a directory", { NULL } },
	{ "[Daemon]\nSocket=/2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	  "0123456789012345678",
	  "heapd.conf:2: err: Socket=/2345",
	  { "...", "too long by 1 bytes", "107" } },
	{ "[Daemon]\nSocketMode=0999", "heapd.conf:2: err: SocketMode=0999: not a file mode", { "octal" } },
	{ "[Daemon]\nSocketMode=1777", "heapd.conf:2: err: SocketMode=1777: not a file mode", { NULL } },
	{ "[Daemon]\nLogLevel=verbose",
	  "heapd.conf:2: err: LogLevel=verbose: not known here",
	  { "err, warning, notice, info or debug" } },
	{ "[Daemon]\nMaxSessions=0", "heapd.conf:2: err: MaxSessions=0: out of range", { "1 to 65536" } },
	{ "[Daemon]\nMaxSessions=65537", "heapd.conf:2: err: MaxSessions=65537: out of range", { NULL } },
	{ "[Daemon]\nMaxSessions=ten", "heapd.conf:2: err: MaxSessions=ten: not a number", { NULL } },
	{ "[Heap a]\n\nSzie=1G",
	  "heapd.conf:3: err: Szie=: unknown key in [Heap NAME]; there are Size=",
	  { "HugePages=" } },
	{ "[Heap a]\nLimits=1G", "heapd.conf:2: err: Limits=: unknown key", { "did you mean Limit=?" } },
	{ "[Heap a]\nsize=1G", "heapd.conf:2: err: size=: unknown key", { "did you mean Size=?" } },
	{ "[Daemon]\nMaxSesions=3",
	  "heapd.conf:2: err: MaxSesions=: unknown key in [Daemon]",
	  { "did you mean MaxSessions=?" } },
	{ "[Daemon]\nSize=1G",
	  "heapd.conf:2: err: Size=: belongs under [Heap NAME], not under [Daemon]",
	  { NULL } },
	{ "[Heap a]\nSocket=/x", "heapd.conf:2: err: Socket=: belongs under [Daemon]", { NULL } },
	{ "[Deamon]\nSocket=/x",
	  "heapd.conf:1: err: [Deamon]: unknown section",
	  { "did you mean [Daemon]?" } },
	{ "[Service]\nUser=x",
	  "heapd.conf:1: err: [Service]: unknown section",
	  { "[Daemon] and [Heap NAME]" } },
	{ "[heap a]\n", "heapd.conf:1: err: [heap a]: unknown section", { "did you mean [Heap NAME]?" } },
	{ "[Heap]\nSize=1G", "heapd.conf:1: err: [Heap]: the heap has no name", { NULL } },
	{ "[Heap Shop]\nSize=1G", "heapd.conf:1: err: [Heap Shop]: not a heap's name", { "a-z" } },
	{ "[Heap .a]\n", "heapd.conf:1: err: [Heap .a]: not a heap's name", { NULL } },
	{ "[Heap a/b]\n", "heapd.conf:1: err: [Heap a/b]: not a heap's name", { NULL } },
	{ "[Heap a23456789012345678901234567890123456789012345678]\n",
	  "heapd.conf:1: err: [Heap a2345",
	  { "1 to 47" } },
	{ "Size=1G\n[Heap a]\n", "heapd.conf:1: err: Size= stands before any section", { "[Heap NAME]" } },
	{ "[Heap a]\nSize 1G\n",
	  "heapd.conf:2: err: 'Size 1G' is neither a [Section] nor Key=Value",
	  { NULL } },
	{ "[Heap a]\nSize=1G\nSize=2G",
	  "heapd.conf:3: warning: Size= was given in line 2 already",
	  { "counts" } },
	{ "[Heap a]\nSize=1G\n[Heap a]\nSize=2G",
	  "heapd.conf:4: warning: Size= was given in line 2 already",
	  { NULL } },
	{ "[Heap a]\nSize=1G\nLimit=2G\n",
	  "heapd.conf:3: err: Limit=2G of [Heap a]: more than the heap's Size=1G",
	  { NULL } },
	{ "[Heap a]\nSize=1T\nBase=0x210000000000\n[Heap b]\nSize=2T\nBase=0x200000000000",
	  "heapd.conf:6: err: Base=0x200000000000 of [Heap b]: overlaps [Heap a]",
	  { "heapd.conf:3)" } },
	{ "[Heap a]\nSize=1G\nBase=0x200000000000\n[Heap b]\nSize=1G\nBase=0x200040000000", /* a's tables */
	  "heapd.conf:6: err: Base=0x200040000000 of [Heap b]: overlaps [Heap a]",
	  { "0x200000000000 to 0x2000" } },
	{ "[Heap a]\nSize=1G\nBase=0x200000000000\n[Heap b]\nSize=1G\nBase=0x200080000000\n[Heap c]",
	  NULL,
	  { NULL } },
	{ "[Heap a]\nSize=2T\nBase=0x7effffe00000\n",
	  "heapd.conf:3: err: Base=0x7effffe00000 of [Heap a]: with Size=2T",
	  { "would end beyond 0x7ffffffff000" } },
};

START_TEST(mistake_is_told_with_its_place)
{
	bool is_error = mistakes[_i].where && strstr(mistakes[_i].where, ": err:");
	int r = load_text(mistakes[_i].text);

	if (r == 0)
		r = config_check(&cfg, gather, NULL);
	ck_assert_msg(r == (is_error ? -EINVAL : 0), "%d: %s", r, said);
	if (!mistakes[_i].where) {
		ck_assert_str_eq(said, "");
		return;
	}
	ck_assert_msg(strncmp(said, mistakes[_i].where, strlen(mistakes[_i].where)) == 0, "%s", said);
	ck_assert_msg(strchr(said, '\n') == said + strlen(said) - 1, "more than one line: %s", said);
	for (int i = 0; i < 4 && mistakes[_i].words[i]; i++)
		ck_assert_msg(strstr(said, mistakes[_i].words[i]) != NULL, "no '%s' in: %s",
			      mistakes[_i].words[i], said);
}
END_TEST

/* Of the lists that let somebody else write. */
static const struct {
	const char *lists;
	bool others;
} evictions[] = {
	{ "", false },
	{ "ReadOnlyUsers=*\nReadOnlyGroups=*\n", false },
	{ "AllowUsers=65534\n", false },
	{ "AllowUsers=65534 4242\n", true },
	{ "AllowUsers=*\n", true },
	{ "AllowGroups=4242\n", true },
	{ "AllowGroups=*\n", true },
};

START_TEST(eviction_of_others_needs_the_capability)
{
	char text[128];

	snprintf(text, sizeof(text), "[Heap a]\nStallAction=evict\n%s", evictions[_i].lists);
	ck_assert_int_eq(load_text(text), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(config_check(&cfg, gather, NULL), 0);
		ck_assert_int_eq(seteuid(65534), 0);
	}
	/* Somebody who is nobody runs this, or it is left to those cases that do not name the user. */
	if (geteuid() != 65534 && strstr(text, "65534"))
		return;
	ck_assert_int_eq(config_check(&cfg, gather, NULL), evictions[_i].others ? -EINVAL : 0);
	ck_assert_int_eq(evictions[_i].others,
			 strstr(said, "heapd.conf:2: err: StallAction=evict of [Heap a]: ") == said);
	ck_assert(!evictions[_i].others || strstr(said, "CAP_KILL"));
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(all_mistakes_are_told_and_the_rest_is_read)
{
	ck_assert_int_eq(
		load_text("[Nope]\nA=1\n[Heap a]\nSize=x\nFoo=1\nSize=128M\nwords\n[Heap B]\nSize=y\n"),
		-EINVAL);
	ck_assert_ptr_nonnull(strstr(said, "heapd.conf:1: err: [Nope]"));
	ck_assert_ptr_nonnull(strstr(said, "\nheapd.conf:4: err: Size=x"));
	ck_assert_ptr_nonnull(strstr(said, "\nheapd.conf:5: err: Foo="));
	ck_assert_ptr_nonnull(strstr(said, "\nheapd.conf:7: err: 'words'"));
	ck_assert_ptr_nonnull(strstr(said, "\nheapd.conf:8: err: [Heap B]"));
	ck_assert_ptr_null(strstr(said, "A=1"));
	ck_assert_ptr_null(strstr(said, "Size=y"));
	ck_assert_uint_eq(heap("a")->size, UINT64_C(128) << 20);
}
END_TEST

START_TEST(more_heaps_than_allowed)
{
	char text[8192];
	size_t n = 0;

	for (int i = 0; i <= CONFIG_HEAPS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "[Heap h%d]\n", i);
	ck_assert_int_eq(load_text(text), -EINVAL);
	ck_assert_str_eq(said, "heapd.conf:257: err: [Heap h256]: more than 256 heaps\n");
}
END_TEST

START_TEST(names_are_looked_up)
{
	load_clean("[Heap a]\nAllowUsers=daemon\nReadOnlyGroups=daemon 77\n");
	ck_assert_uint_eq(heap("a")->allow.users.id[0], 1);
	ck_assert_uint_eq(heap("a")->readonly.groups.id[0], 1);
	ck_assert_uint_eq(heap("a")->readonly.groups.id[1], 77);
}
END_TEST

START_TEST(lists_decide_access)
{
	const gid_t writers[] = { 1, 61 }, readers[] = { 1, 71 }, both[] = { 71, 61 };
	const struct config_heap *h;

	load_clean(
		"[Heap a]\nAllowUsers=5000\nAllowGroups=60 61\nReadOnlyUsers=6000 5000\nReadOnlyGroups=71\n"
		"[Heap open]\nAllowGroups=*\n[Heap shown]\nReadOnlyUsers=*\n");
	h = heap("a");
	ck_assert_int_eq(config_heap_access(h, 5000, NULL, 0), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(h, 5001, writers, 2), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(h, 5001, writers, 1), CONFIG_ACCESS_NONE);
	ck_assert_int_eq(config_heap_access(h, 5001, both, 2), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(h, 6000, NULL, 0), CONFIG_ACCESS_READ);
	ck_assert_int_eq(config_heap_access(h, 5001, readers, 2), CONFIG_ACCESS_READ);
	ck_assert_int_eq(config_heap_access(h, 61, NULL, 0), CONFIG_ACCESS_NONE);
	ck_assert_int_eq(config_heap_access(h, 0, NULL, 0), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(heap("open"), 5001, NULL, 0), CONFIG_ACCESS_WRITE);
	ck_assert_int_eq(config_heap_access(heap("shown"), 5001, NULL, 0), CONFIG_ACCESS_READ);
	if (geteuid() == 0) {
		ck_assert_int_eq(seteuid(4321), 0);
		ck_assert_int_eq(config_heap_access(h, 4321, NULL, 0), CONFIG_ACCESS_WRITE);
		ck_assert_int_eq(seteuid(0), 0);
	}
	ck_assert(config_ids_match(&h->readonly, 6000, NULL, 0));
	ck_assert(!config_ids_match(&h->readonly, 6001, writers, 2));
}
END_TEST

START_TEST(booleans)
{
	static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off",
										       "0" };
	struct value_error err;
	bool value;

	for (int i = 0; i < 4; i++) {
		ck_assert(value_bool(yes[i], &value, &err) == 0 && value);
		ck_assert(value_bool(no[i], &value, &err) == 0 && !value);
	}
	ck_assert_int_eq(value_bool("maybe", &value, &err), -EINVAL);
	ck_assert_int_eq(value_bool("", &value, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "write yes"));
}
END_TEST

START_TEST(report_to_a_log)
{
	char line[128] = "";
	struct log log;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	log_init(&log, fds[1], LOG_TARGET_JOURNAL, LOG_INFO);
	config_report_log(&log, LOG_ERR, "/x.conf", 12, "Size=q: no");
	config_report_log(&log, LOG_WARNING, "/x.conf", 0, "no file");
	ck_assert_int_gt(read(fds[0], line, sizeof(line) - 1), 0);
	ck_assert_str_eq(line, "<3>/x.conf:12: Size=q: no\n<4>/x.conf: no file\n");
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static Suite *config_suite(void)
{
	Suite *suite = suite_create("config");
	TCase *tests = tcase_create("config");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, defaults);
	tcase_add_test(tests, every_option_is_understood);
	tcase_add_test(tests, every_option_of_the_collector_is_understood);
	tcase_add_test(tests, owner_group_and_mode_are_understood);
	tcase_add_loop_test(tests, eviction_of_others_needs_the_capability, 0,
			    sizeof(evictions) / sizeof(evictions[0]));
	tcase_add_loop_test(tests, mistake_is_told_with_its_place, 0, sizeof(mistakes) / sizeof(mistakes[0]));
	tcase_add_test(tests, all_mistakes_are_told_and_the_rest_is_read);
	tcase_add_test(tests, more_heaps_than_allowed);
	tcase_add_test(tests, names_are_looked_up);
	tcase_add_test(tests, lists_decide_access);
	tcase_add_test(tests, booleans);
	tcase_add_test(tests, report_to_a_log);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	return suite_run(config_suite());
}
