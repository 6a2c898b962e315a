/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include <check.h>

#include "common/keepalive.h"

#define MS	UINT64_C(1000000)
#define START	(1000 * MS)

static struct keepalive k;

/* Ten seconds, asked after three. */
static void
setup(void)
{
	keepalive_start(&k, 10000 * MS, 3000 * MS, START);
}

static enum keepalive_verdict
at(uint64_t ms)
{
	return keepalive_check(&k, START + ms * MS);
}

START_TEST(silence_is_asked_and_then_dead)
{
	ck_assert_uint_eq(keepalive_wait_ns(&k, START), 3000 * MS);
	ck_assert_int_eq(at(2999), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(3000), KEEPALIVE_ASK);
	ck_assert_uint_eq(keepalive_wait_ns(&k, START + 3000 * MS), 7000 * MS);
	ck_assert_int_eq(at(9999), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(10000), KEEPALIVE_DEAD);
	ck_assert_uint_eq(keepalive_wait_ns(&k, START + 10001 * MS), 0);
}
END_TEST

START_TEST(a_byte_begins_it_anew)
{
	ck_assert_int_eq(at(3000), KEEPALIVE_ASK);
	keepalive_heard(&k, START + 9000 * MS);
	ck_assert_int_eq(at(11999), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(12000), KEEPALIVE_ASK);
	ck_assert_int_eq(at(18999), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(19000), KEEPALIVE_DEAD);
}
END_TEST

/* A minute in which this process did not run, before it asked and after. */
START_TEST(who_was_stopped_asks_first)
{
	ck_assert_int_eq(at(60000), KEEPALIVE_ASK);
	ck_assert_int_eq(at(63000), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(120000), KEEPALIVE_ASK);
	ck_assert_int_eq(at(123332), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(123334), KEEPALIVE_DEAD);
}
END_TEST

START_TEST(a_late_timer_is_no_stop)
{
	ck_assert_int_eq(at(3500), KEEPALIVE_ASK);
	ck_assert_int_eq(at(10500), KEEPALIVE_DEAD);
}
END_TEST

/* However late it is asked, a third is left for the answer. */
START_TEST(there_is_time_to_answer)
{
	keepalive_start(&k, 900 * MS, 500 * MS, START);
	ck_assert_int_eq(at(750), KEEPALIVE_ASK);
	ck_assert_int_eq(at(1049), KEEPALIVE_ALIVE);
	ck_assert_int_eq(at(1050), KEEPALIVE_DEAD);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("keepalive");
	TCase *tc = tcase_create("keepalive");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, silence_is_asked_and_then_dead);
	tcase_add_test(tc, a_byte_begins_it_anew);
	tcase_add_test(tc, who_was_stopped_asks_first);
	tcase_add_test(tc, a_late_timer_is_no_stop);
	tcase_add_test(tc, there_is_time_to_answer);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
