/* SPDX-License-Identifier: MIT */
/* Named roots, tickets, large objects and settings, by raw messages. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd/geometry.h"
#include "suite.h"

#define CLASS_LARGE (HEAPD_TYPE_LEAF * HEAPD_SIZECLASS_TOTAL + HEAPD_SIZECLASS_LARGE)

static struct fixture f;
static struct heapd_message m;
static int fd = -1;

static void setup(void)
{
	static const char *const settings[] = { "heap.vast.Size=64G", "heap.vast.Limit=16M", NULL };

	fixture_start(&f, settings);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_int_ge(fd, 0);
}

static void teardown(void)
{
	close(fd);
	fixture_stop(&f);
}

static int call(enum heapd_op op)
{
	m.op = op;
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_msg((m.status < 0) == (m.text[0] != '\0'), "%d: %s", m.status, m.text);
	return m.status;
}

static uint64_t make_object(uint64_t bytes)
{
	m = (struct heapd_message){ .large = { .class = CLASS_LARGE, .bytes = bytes } };
	ck_assert_int_eq(call(HEAPD_OP_LARGE), 0);
	ck_assert_uint_ne(m.large.address, 0);
	return m.large.address;
}

static uint32_t make_type(const char *name)
{
	m = (struct heapd_message){ .type = { .size = 16, .align = 8 } };
	snprintf(m.type.name, sizeof(m.type.name), "%s", name);
	ck_assert_int_eq(call(HEAPD_OP_TYPE), 0);
	return m.type_reply.type;
}

static int root(enum heapd_op op, const char *name, uint32_t type, uint64_t object, uint64_t expected)
{
	m = (struct heapd_message){ .root = { .type = type, .object = object, .expected = expected } };
	snprintf(m.root.name, sizeof(m.root.name), "%s", name);
	return call(op);
}

START_TEST(first_offer_wins)
{
	uint64_t a = make_object(40000), b = make_object(50000);

	ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, "shop", 0, a, 0), 0);
	ck_assert_uint_eq(m.root.object, a);
	ck_assert_uint_eq(m.root.index, 0);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, "shop", 0, b, 0), 0);
	ck_assert_uint_eq(m.root.object, a);
	/* A root that holds NULL is free, and stays the same root. */
	ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "shop", 0, 0, 0), 0);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, "shop", 0, b, 0), 0);
	ck_assert_uint_eq(m.root.object, b);
	ck_assert_uint_eq(m.root.index, 0);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, "other", 0, a, 0), 0);
	ck_assert_uint_eq(m.root.index, 1);
}
END_TEST

START_TEST(compare_and_swap_compares)
{
	uint64_t a = make_object(40000), b = make_object(50000);

	ck_assert_int_eq(root(HEAPD_OP_ROOT_CAS, "c", 0, a, b), -EAGAIN);
	ck_assert_uint_eq(m.root.object, 0);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_CAS, "c", 0, a, 0), 0);
	ck_assert_uint_eq(m.root.object, a);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_CAS, "c", 0, b, 0), -EAGAIN);
	ck_assert_uint_eq(m.root.object, a);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_CAS, "c", 0, b, a), 0);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_CAS, "c", 0, 0, b), 0);
	ck_assert_uint_eq(m.root.object, 0);
}
END_TEST

START_TEST(root_has_one_type)
{
	uint32_t shops = make_type("shop"), orders = make_type("order");
	uint64_t a = make_object(40000);

	ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "r", shops, a, 0), 0);
	ck_assert_uint_eq(m.root.type, shops);
	for (enum heapd_op op = HEAPD_OP_ROOT_OFFER; op <= HEAPD_OP_ROOT_CAS; op++) {
		ck_assert_int_eq(root(op, "r", orders, a, a), -EPROTOTYPE);
		ck_assert_ptr_ne(strstr(m.text, "'shop', not 'order'"), NULL);
	}
	ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "r2", 1000, a, 0), -EINVAL);
}
END_TEST

START_TEST(root_holds_starts_of_objects_only)
{
	uint64_t a = make_object(40000);
	const uint64_t bad[] = {
		1, a + 8, a + 40000, a - 8, a + HEAPD_PAGE_SIZE, a | 1ull << 63, UINT64_MAX, a + (1ul << 30)
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "r", 0, bad[i], 0), -EINVAL);
		m = (struct heapd_message){ .ticket.object = bad[i] };
		ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), -EINVAL);
	}
	ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "", 0, a, 0), -EINVAL);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "a\tb", 0, a, 0), -EINVAL);
	m = (struct heapd_message){ .root.object = a };
	memset(m.root.name, 'x', sizeof(m.root.name));
	ck_assert_int_eq(call(HEAPD_OP_ROOT_SET), -EINVAL);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_SET, "r", 0, a, 0), 0);
}
END_TEST

START_TEST(roots_run_out)
{
	char name[16];

	for (uint32_t i = 0; i < HEAPD_ROOT_MAX; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, name, 0, 0, 0), 0);
		ck_assert_uint_eq(m.root.index, i);
	}
	ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, "more", 0, 0, 0), -ENOSPC);
	ck_assert_int_eq(root(HEAPD_OP_ROOT_OFFER, "r7", 0, 0, 0), 0);
	ck_assert_uint_eq(m.root.index, 7);
}
END_TEST

START_TEST(ticket_is_taken_once)
{
	uint64_t a = make_object(40000);
	char text[64];

	m = (struct heapd_message){ .ticket.object = a };
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), 0);
	ck_assert_uint_eq(strlen(m.ticket.text), 32);
	memcpy(text, m.ticket.text, sizeof(text));
	m = (struct heapd_message){ .ticket.object = a };
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), 0);
	ck_assert_str_ne(m.ticket.text, text);

	m = (struct heapd_message){ 0 };
	memcpy(m.ticket.text, text, sizeof(text));
	m.ticket.text[5] ^= 1;
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), -ENOENT);
	m.ticket.text[5] ^= 1;
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), 0);
	ck_assert_uint_eq(m.ticket.object, a);
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), -ENOENT);
	m = (struct heapd_message){ 0 };
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), -ENOENT);
	memset(m.ticket.text, 'a', sizeof(m.ticket.text));
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), -ENOENT);
}
END_TEST

START_TEST(tickets_end)
{
	uint64_t a = make_object(40000);
	char text[64];

	m = (struct heapd_message){ .ticket = { .object = a, .seconds = 1 } };
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), 0);
	memcpy(text, m.ticket.text, sizeof(text));
	usleep(1100000);
	m = (struct heapd_message){ 0 };
	memcpy(m.ticket.text, text, sizeof(text));
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), -ENOENT);
	m = (struct heapd_message){ .ticket = { .object = a, .seconds = 86401 } };
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), -EINVAL);
	m = (struct heapd_message){ 0 };
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), -EINVAL);

	for (unsigned i = 0; i < 4096; i++) {
		m = (struct heapd_message){ .ticket.object = a };
		ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), 0);
	}
	memcpy(text, m.ticket.text, sizeof(text));
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), -ENOSPC);
	m = (struct heapd_message){ 0 };
	memcpy(m.ticket.text, text, sizeof(text));
	ck_assert_int_eq(call(HEAPD_OP_TICKET_TAKE), 0);
	ck_assert_int_eq(call(HEAPD_OP_TICKET_ISSUE), 0);
}
END_TEST

static int large(uint32_t class, uint64_t bytes, uint64_t align)
{
	m = (struct heapd_message){ .large = { .class = class, .bytes = bytes, .align = align } };
	return call(HEAPD_OP_LARGE);
}

START_TEST(large_objects_are_checked)
{
	ck_assert_int_eq(large(CLASS_LARGE - 1, 40000, 8), -EINVAL);
	ck_assert_int_eq(large(HEAPD_CLASS_BUILTIN, 40000, 8), -EINVAL);
	ck_assert_int_eq(large(UINT32_MAX, 40000, 8), -EINVAL);
	ck_assert_int_eq(large(CLASS_LARGE, 0, 8), -EINVAL);
	ck_assert_int_eq(large(CLASS_LARGE, 40000, 24), -EINVAL);
	ck_assert_int_eq(large(CLASS_LARGE, 40000, 4u << 20), -EINVAL);
	ck_assert_int_eq(large(CLASS_LARGE, 2ul << 30, 8), -ENOMEM);
	ck_assert_int_eq(large(CLASS_LARGE, UINT64_MAX, 8), -ENOMEM);
	ck_assert_int_eq(large(CLASS_LARGE, 512ul << 20, 8), -ENOMEM);
	ck_assert_ptr_ne(strstr(m.text, "Limit="), NULL);
	ck_assert_int_eq(large(CLASS_LARGE, 40000, 2u << 20), 0);
	ck_assert_uint_eq(m.large.address % (2u << 20), 0);
}
END_TEST

static int get(const char *key)
{
	m = (struct heapd_message){ 0 };
	snprintf(m.setting.key, sizeof(m.setting.key), "%s", key);
	return call(HEAPD_OP_GET);
}

static int set(const char *key, const char *value)
{
	m = (struct heapd_message){ 0 };
	snprintf(m.setting.key, sizeof(m.setting.key), "%s", key);
	snprintf(m.setting.value, sizeof(m.setting.value), "%s", value);
	return call(HEAPD_OP_SET);
}

#define ASSERT_SETTING(key, expected)                        \
	do {                                                 \
		ck_assert_int_eq(get(key), 0);               \
		ck_assert_str_eq(m.setting.value, expected); \
	} while (0)

START_TEST(settings_can_be_asked_for)
{
	char fingerprint[32];

	snprintf(fingerprint, sizeof(fingerprint), "0x%016lx", (unsigned long)heapd_layout_fingerprint());
	ASSERT_SETTING("heap.name", FIXTURE_HEAP);
	ASSERT_SETTING("heap.size", "1073741824");
	ASSERT_SETTING("memory.limit", "268435456");
	ASSERT_SETTING("gc.percent", "off");
	ASSERT_SETTING("sessions.count", "1");
	ASSERT_SETTING("build.fingerprint", fingerprint);
	ck_assert_int_eq(get("heap.base"), 0);
	ck_assert_uint_eq(strtoull(m.setting.value, NULL, 16) % HEAPD_CHUNK_SIZE, 0);
	ck_assert_int_eq(get("memory.committed"), 0);
	ck_assert_int_eq(get("memory"), -ENOENT);
	ck_assert_ptr_ne(strstr(m.text, "memory.limit"), NULL);
	ck_assert_int_eq(get(""), -EINVAL);
	m = (struct heapd_message){ 0 };
	memset(m.setting.key, 'x', sizeof(m.setting.key));
	ck_assert_int_eq(call(HEAPD_OP_GET), -EINVAL);
}
END_TEST

START_TEST(limit_can_be_set_and_counts)
{
	ck_assert_int_eq(set("memory.limit", "16M"), 0);
	ASSERT_SETTING("memory.limit", "16777216");
	ck_assert_int_eq(large(CLASS_LARGE, 32u << 20, 8), -ENOMEM);
	ck_assert_int_eq(set("memory.limit", "64M"), 0);
	ck_assert_int_eq(large(CLASS_LARGE, 32u << 20, 8), 0);
	ck_assert_int_eq(set("memory.limit", "much"), -EINVAL);
	ck_assert_int_eq(set("memory.limit", "2G"), -EINVAL);
	ck_assert_int_eq(set("memory.limit", "1K"), -EINVAL);
	ck_assert_int_eq(set("memory.limit", ""), -EINVAL);
	ck_assert_int_eq(set("heap.size", "2G"), -EROFS);
	ck_assert_int_eq(set("nothing", "1"), -ENOENT);
	m = (struct heapd_message){ .setting.key = "memory.limit" };
	memset(m.setting.value, '9', sizeof(m.setting.value));
	ck_assert_int_eq(call(HEAPD_OP_SET), -EINVAL);
	ASSERT_SETTING("memory.limit", "67108864");
}
END_TEST

static uint64_t machine_memory(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

START_TEST(limit_is_not_above_what_the_machine_has)
{
	if (machine_memory() > 60ul << 30) {
		printf("SKIP limit_is_not_above_what_the_machine_has: it has more than the heap\n");
		return;
	}
	close(fd);
	fd = fixture_attach(&f, "vast", 0, &m, NULL);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(set("memory.limit", "60G"), -EINVAL);
	ck_assert_int_eq(set("memory.limit", "32M"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("roots");
	TCase *tcase = tcase_create("roots");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, first_offer_wins);
	tcase_add_test(tcase, compare_and_swap_compares);
	tcase_add_test(tcase, root_has_one_type);
	tcase_add_test(tcase, root_holds_starts_of_objects_only);
	tcase_add_test(tcase, roots_run_out);
	tcase_add_test(tcase, ticket_is_taken_once);
	tcase_add_test(tcase, tickets_end);
	tcase_add_test(tcase, large_objects_are_checked);
	tcase_add_test(tcase, settings_can_be_asked_for);
	tcase_add_test(tcase, limit_can_be_set_and_counts);
	tcase_add_test(tcase, limit_is_not_above_what_the_machine_has);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
