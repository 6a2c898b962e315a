/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "agent/agent.h"
#include "agent/capture_share.h"

static char *one[] = { "198.51.100.1" };
static struct agent_options options;
static struct capture_held held[CAPTURE_POOLS];

static void
setup(void)
{
	options = (struct agent_options){ .memory_limit = 64u << 20, .spool_memory = 16u << 20, .buffer_kib = 8192,
		.rpcap_clients = 8 };
	memset(held, 0, sizeof(held));
}

/* One more ring; its KiB. */
static uint64_t
take(enum capture_pool pool, size_t interfaces)
{
	uint64_t kib = capture_share_kib(&options, pool, held, interfaces);

	held[pool].bytes += kib * 1024;
	held[pool].rings += kib > 0;
	ck_assert_uint_eq(kib % CAPTURE_RING_KIB_STEP, 0);
	return kib;
}

static uint64_t
held_kib(void)
{
	return (held[POOL_COLLECTOR].bytes + held[POOL_OPERATORS].bytes + held[POOL_CLIENTS].bytes) / 1024;
}

START_TEST(pools)
{
	ck_assert_int_eq(capture_pool_of(0), POOL_COLLECTOR);
	ck_assert_int_eq(capture_pool_of(1), POOL_OPERATORS);
	ck_assert_int_eq(capture_pool_of(IPC_TAPS_OPERATORS), POOL_OPERATORS);
	ck_assert_int_eq(capture_pool_of(IPC_TAP_RPCAP), POOL_CLIENTS);
	ck_assert_int_eq(capture_pool_of(IPC_TAPS_MAX - 1), POOL_CLIENTS);
}
END_TEST

/* 32 MiB are left for rings, of which a quarter is operators'. */
START_TEST(without_clients)
{
	ck_assert_uint_eq(capture_share_kib(&options, POOL_COLLECTOR, held, 1), 8192);
	for (size_t i = 4; i > 0; i--)
		ck_assert_uint_eq(take(POOL_COLLECTOR, i), 6144);
	ck_assert_uint_eq(take(POOL_COLLECTOR, 1), 0);
	for (size_t i = 0; i < IPC_TAPS_OPERATORS; i++)
		ck_assert_uint_eq(take(POOL_OPERATORS, 1), 2048);
	ck_assert_uint_eq(take(POOL_OPERATORS, 1), 0);
	ck_assert_uint_eq(take(POOL_CLIENTS, 1), 0);
}
END_TEST

/* Everybody who may come has room, whoever was there before. */
START_TEST(all_at_once)
{
	struct conf_list list = { one, one, 1 };
	uint64_t first, kib, last = UINT64_MAX;

	options.rpcap_listens = list;
	if (_i < 2)
		*(_i == 0 ? &options.listens : &options.collectors) = list;
	if (_i < 2)
		ck_assert_uint_eq(take(POOL_COLLECTOR, 1), 8192);
	for (size_t i = 0; _i == 0 && i < IPC_TAPS_OPERATORS; i++)
		ck_assert_uint_eq(take(POOL_OPERATORS, 1), 2048);
	first = take(POOL_CLIENTS, 1);
	ck_assert_uint_ge(first, _i == 0 ? 2048 : _i == 1 ? 6144 : 8192);
	for (size_t i = 1; i < options.rpcap_clients; i++) {
		kib = take(POOL_CLIENTS, 1);
		ck_assert_uint_ge(kib, CAPTURE_RING_KIB_MIN);
		ck_assert(kib <= last || i + 1 == options.rpcap_clients);
		last = kib;
	}
	ck_assert_uint_le(held_kib(), 32768);
}
END_TEST

START_TEST(little_memory)
{
	options.rpcap_listens = (struct conf_list){ one, one, 1 };
	options.memory_limit = options.spool_memory + AGENT_ROLES_MEMORY + (1u << 20) + 4096;
	ck_assert_uint_eq(take(POOL_CLIENTS, 1), CAPTURE_RING_KIB_MIN);
	ck_assert_uint_eq(take(POOL_CLIENTS, 1), CAPTURE_RING_KIB_MIN);
	ck_assert_uint_eq(take(POOL_CLIENTS, 1), 0);
}
END_TEST

/* What the collector held before clients were permitted is not theirs. */
START_TEST(a_pool_that_came_later)
{
	for (size_t i = 4; i > 0; i--)
		take(POOL_COLLECTOR, i);
	for (size_t i = 0; i < IPC_TAPS_OPERATORS; i++)
		take(POOL_OPERATORS, 1);
	options.rpcap_connects = options.collectors = options.listens = (struct conf_list){ one, one, 1 };
	ck_assert_uint_eq(take(POOL_CLIENTS, 1), 0);
	held[POOL_OPERATORS].bytes -= 2u << 20;
	held[POOL_OPERATORS].rings--;
	ck_assert_uint_eq(take(POOL_CLIENTS, 1), CAPTURE_RING_KIB_MIN);
	ck_assert_uint_le(held_kib(), 32768);
}
END_TEST

START_TEST(fewer_clients_than_there_are)
{
	options.rpcap_listens = (struct conf_list){ one, one, 1 };
	for (size_t i = 0; i < 4; i++)
		take(POOL_CLIENTS, 1);
	options.rpcap_clients = 1;
	ck_assert_uint_ge(take(POOL_CLIENTS, 1), CAPTURE_RING_KIB_MIN);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_share");
	TCase *t = tcase_create("share");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, pools);
	tcase_add_test(t, without_clients);
	tcase_add_loop_test(t, all_at_once, 0, 3);
	tcase_add_test(t, little_memory);
	tcase_add_test(t, a_pool_that_came_later);
	tcase_add_test(t, fewer_clients_than_there_are);
	suite_add_tcase(s, t);
	return s;
}

int
main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
