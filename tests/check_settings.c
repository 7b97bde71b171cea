/* SPDX-License-Identifier: MIT */
/* The collector's settings: asked for and changed by a client, and changed by a reload. */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "testheap.h"

#include "attached.h"

static const char *get(const char *key)
{
	static char value[128];

	ck_call(heapd_get(heap, key, value, sizeof(value)));
	return value;
}

#define ck_setting(key, value) ck_assert_str_eq(get(key), value)

static void change(const char *key, const char *value, const char *expected)
{
	ck_call(heapd_set(heap, key, value));
	ck_setting(key, expected);
}

static uint32_t collecting(void)
{
	struct heapd_info info = HEAPD_SIZED(info);

	ck_call(heapd_get_info(heap, &info));
	return info.collecting;
}

static void start(const char *const settings[], const char *name)
{
	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, name, NULL));
}

START_TEST(defaults_can_be_asked_for)
{
	attached_start();
	ck_setting("gc.percent", "off");
	ck_setting("gc.interval", "120");
	ck_setting("gc.stall_timeout", "10");
	ck_setting("gc.stall_action", "wait");
	ck_setting("gc.threads", "1");
	ck_setting("memory.soft_limit", "auto");
	ck_setting("free.mode", "prompt");
	ck_setting("debug", "");
	ck_setting("sample.bytes", "524288");
	ck_assert_uint_eq(collecting(), 0);
	attached_stop();
}
END_TEST

START_TEST(what_was_configured_can_be_asked_for)
{
	static const char *const settings[] = { "heap.a.Size=128M",
						"heap.a.Limit=64M",
						"heap.a.GCPercent=70",
						"heap.a.MemoryLimit=50%",
						"heap.a.GCInterval=off",
						"heap.a.StallTimeout=2min",
						"heap.a.StallAction=evict",
						"heap.a.MarkerThreads=3",
						"heap.a.Free=checked",
						"heap.a.Debug=poison,stress",
						NULL };

	start(settings, "a");
	ck_setting("gc.percent", "70");
	ck_setting("gc.interval", "off");
	ck_setting("gc.stall_timeout", "120");
	ck_setting("gc.stall_action", "evict");
	ck_setting("gc.threads", "3");
	ck_setting("memory.soft_limit", "33554432");
	ck_setting("free.mode", "checked");
	ck_setting("debug", "stress poison");
	ck_assert_uint_eq(collecting(), 1);
	change("gc.percent", "71", "71");
	ck_refused(heapd_set(heap, "gc.percent", "off"), EINVAL, "Free=checked");
	ck_setting("gc.percent", "71");
	ck_assert_uint_eq(collecting(), 1);
	attached_stop();
}
END_TEST

START_TEST(settings_change)
{
	attached_start();
	change("gc.percent", "50", "50");
	ck_assert_uint_eq(collecting(), 1);
	ck_assert(fixture_logged(&fixture, "gc.percent set to 50"));
	change("gc.percent", "auto", "auto");
	ck_assert_uint_eq(collecting(), 1);
	change("gc.percent", "off", "off");
	ck_assert_uint_eq(collecting(), 0);
	change("gc.interval", "1h", "3600");
	change("gc.interval", "off", "off");
	change("gc.stall_timeout", "3min", "180");
	change("gc.stall_action", "evict", "evict");
	change("gc.stall_action", "wait", "wait");
	change("memory.soft_limit", "64M", "67108864");
	change("memory.soft_limit", "auto", "auto");
	/* One does not change another. */
	ck_setting("gc.stall_timeout", "180");
	ck_setting("gc.interval", "off");
	ck_setting("gc.percent", "off");
	attached_stop();
}
END_TEST

static const struct {
	const char *key, *value;
	int error;
	const char *said;
} mistakes[] = {
	{ "gc.percent", "0", EINVAL, "neither a number from 1 to 10000 nor auto or off" },
	{ "gc.percent", "10001", EINVAL, "gc.percent" },
	{ "gc.percent", "", EINVAL, "gc.percent" },
	{ "gc.interval", "500ms", EINVAL, "not a time" },
	{ "gc.interval", "0", EINVAL, "1s to 24h; or off" },
	{ "gc.stall_timeout", "off", EINVAL, "not a time" },
	{ "gc.stall_action", "kill", EINVAL, "wait or evict" },
	{ "memory.soft_limit", "257M", EINVAL, "at most 256M; or auto" },
	{ "memory.soft_limit", "50%", EINVAL, "not a size" },
	{ "gc.threads", "2", EROFS, "gc.threads" },
	{ "free.mode", "checked", EROFS, "free.mode" },
	{ "debug", "stress", EROFS, "debug" },
	{ "gc.nothing", "1", ENOENT, "build.fingerprint" }, /* the last of the list */
};

START_TEST(bad_value_changes_nothing)
{
	char before[128] = "", after[128] = "";

	attached_start();
	heapd_get(heap, mistakes[_i].key, before, sizeof(before));
	ck_refused(heapd_set(heap, mistakes[_i].key, mistakes[_i].value), mistakes[_i].error,
		   mistakes[_i].said);
	heapd_get(heap, mistakes[_i].key, after, sizeof(after));
	ck_assert_str_eq(before, after);
	attached_stop();
}
END_TEST

START_TEST(eviction_of_others_needs_the_capability)
{
	static const char *const settings[] = { "heap.open.Size=64M", "heap.open.Limit=16M",
						"heap.open.AllowUsers=*", NULL };

	/* The daemon comes up without it, whoever runs this. */
	if (geteuid() == 0)
		ck_assert_int_eq(prctl(PR_CAPBSET_DROP, CAP_KILL), 0);
	start(settings, "open");
	ck_refused(heapd_set(heap, "gc.stall_action", "evict"), EPERM, "CAP_KILL");
	ck_setting("gc.stall_action", "wait");
	ck_call(heapd_detach(heap));
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL)); /* our own */
	change("gc.stall_action", "evict", "evict");
	attached_stop();
}
END_TEST

/* Gives the heap 'a' one more section with these options, and waits until they were read. */
static void reload(const char *options)
{
	static unsigned reloads;
	FILE *file = fopen(fixture.config, "a");
	char mark[64];

	ck_assert_ptr_nonnull(file);
	/* A heap of its own is the sign that this reload is over. */
	fprintf(file, "\n[Heap a]\n%s[Heap mark%u]\nSize=64M\nLimit=2M\nGCPercent=off\n", options, ++reloads);
	ck_assert_int_eq(fclose(file), 0);
	snprintf(mark, sizeof(mark), "heap 'mark%u': at", reloads);
	kill(fixture.daemon, SIGHUP);
	ck_assert_msg(fixture_logged(&fixture, mark), "no '%s' in the log", mark);
}

static bool logged_by_now(const char *text)
{
	char *log = fixture_log(&fixture);
	bool found = strstr(log, text);

	free(log);
	return found;
}

#define RESTART "heap 'a': Free=, MarkerThreads=, Debug= and Hardened= change when heapd is restarted"

START_TEST(reload_changes_what_has_changed)
{
	fixture_start(&fixture, NULL);
	reload("Size=64M\nLimit=16M\nGCPercent=off\nGCInterval=5min\n");
	ck_call(heapd_attach(&heap, "a", NULL));
	ck_setting("gc.percent", "off");
	ck_setting("gc.interval", "300");
	change("gc.interval", "7", "7");
	reload("GCPercent=30\nMemoryLimit=4M\nStallTimeout=3s\nStallAction=evict\n");
	ck_setting("gc.percent", "30");
	ck_assert_uint_eq(collecting(), 1);
	ck_setting("memory.soft_limit", "4194304");
	ck_setting("gc.stall_timeout", "3");
	ck_setting("gc.stall_action", "evict");
	ck_setting("gc.interval", "7"); /* set by request; the file says what it said */
	change("gc.percent", "31", "31");
	reload("GCInterval=6min\n");
	ck_setting("gc.percent", "31");
	ck_setting("gc.interval", "360");
	ck_assert(!logged_by_now(RESTART));
	attached_stop();
}
END_TEST

START_TEST(reload_tells_what_waits_for_a_restart)
{
	static const char *const options[] = { "Free=checked\nGCPercent=100\n", "MarkerThreads=2\n",
					       "Debug=stress\n" };

	fixture_start(&fixture, NULL);
	reload("Size=64M\nLimit=16M\nGCPercent=off\n");
	ck_call(heapd_attach(&heap, "a", NULL));
	reload(options[_i]);
	ck_assert(logged_by_now(RESTART));
	ck_setting("free.mode", "prompt");
	ck_setting("gc.threads", "1");
	ck_setting("debug", "");
	attached_stop();
}
END_TEST

START_TEST(reload_leaves_collection_on_where_frees_are_checked)
{
	fixture_start(&fixture, NULL);
	reload("Size=64M\nLimit=16M\nFree=checked\nGCPercent=100\n");
	ck_call(heapd_attach(&heap, "a", NULL));
	reload("Free=prompt\nGCPercent=off\n");
	ck_assert(logged_by_now("GCPercent=off has to wait for a restart"));
	ck_setting("gc.percent", "100");
	ck_assert_uint_eq(collecting(), 1);
	attached_stop();
}
END_TEST

/* The collector looks at when collection was switched on, and is woken. */
START_TEST(switch_has_its_time)
{
	struct testheap t;
	const struct collection *c;
	uint64_t before;

	testheap_init(&t, 64 * MIB, 64 * MIB);
	c = t.heap->collection;
	ck_assert(!collection_is_on(t.heap));
	ck_assert_int_eq(collection_set_percent(t.heap, 0), 0);
	ck_assert_uint_eq(c->switched_on, 0);
	before = clock_ns();
	ck_assert_int_eq(collection_set_percent(t.heap, 40), 0);
	ck_assert(collection_is_on(t.heap));
	ck_assert_uint_ge(c->switched_on, before);
	before = c->switched_on;
	ck_assert_int_eq(collection_set_percent(t.heap, 41), 0);
	ck_assert_uint_eq(c->switched_on, before); /* it was on */
	ck_assert_int_eq(collection_set_percent(t.heap, 0), 0);
	ck_assert(!collection_is_on(t.heap));
	ck_assert_int_eq(collection_set_percent(t.heap, 40), 0);
	ck_assert_uint_gt(c->switched_on, before);
	testheap_deinit(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settings");
	TCase *tcase = tcase_create("settings");

	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, defaults_can_be_asked_for);
	tcase_add_test(tcase, what_was_configured_can_be_asked_for);
	tcase_add_test(tcase, settings_change);
	tcase_add_loop_test(tcase, bad_value_changes_nothing, 0, sizeof(mistakes) / sizeof(mistakes[0]));
	tcase_add_test(tcase, eviction_of_others_needs_the_capability);
	tcase_add_test(tcase, reload_changes_what_has_changed);
	tcase_add_loop_test(tcase, reload_tells_what_waits_for_a_restart, 0, 3);
	tcase_add_test(tcase, reload_leaves_collection_on_where_frees_are_checked);
	tcase_add_test(tcase, switch_has_its_time);
	return attached_run(tcase, suite);
}
