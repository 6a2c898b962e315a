/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include <check.h>

#include "common/expiry.h"
#include "common/log.h"

#define DAY	86400
#define END	((time_t)2000000000)

static enum expiry_level
warn(struct expiry *e, time_t left)
{
	return expiry_warn(e, "agent.crt", "nobody will talk to us", END, END - left);
}

static const struct {
	time_t			left;
	enum expiry_level	level;
} levels[] = {
	{ 31 * DAY, EXPIRY_FAR }, { 30 * DAY + 1, EXPIRY_FAR }, { 30 * DAY, EXPIRY_INFO }, { 7 * DAY + 1, EXPIRY_INFO },
	{ 7 * DAY, EXPIRY_WARN }, { DAY + 1, EXPIRY_WARN }, { DAY, EXPIRY_ERROR }, { 0, EXPIRY_ERROR }, { -DAY, EXPIRY_ERROR },
};

START_TEST(it_becomes_louder)
{
	struct expiry e = { 0 };

	ck_assert_int_eq(expiry_level(END, END - levels[_i].left), levels[_i].level);
	ck_assert_int_eq(warn(&e, levels[_i].left), levels[_i].level);
}
END_TEST

START_TEST(it_is_said_once_a_day)
{
	struct expiry e = { 0 };

	ck_assert_int_eq(warn(&e, 20 * DAY), EXPIRY_INFO);
	ck_assert_int_eq(warn(&e, 20 * DAY - 3600), EXPIRY_FAR);
	ck_assert_int_eq(warn(&e, 19 * DAY), EXPIRY_INFO);
}
END_TEST

START_TEST(what_is_more_urgent_is_said_at_once)
{
	struct expiry e = { 0 };

	ck_assert_int_eq(warn(&e, 7 * DAY + 60), EXPIRY_INFO);
	ck_assert_int_eq(warn(&e, 7 * DAY - 60), EXPIRY_WARN);
	ck_assert_int_eq(warn(&e, 7 * DAY - 120), EXPIRY_FAR);
}
END_TEST

START_TEST(a_new_one_begins_anew)
{
	struct expiry e = { 0 };

	ck_assert_int_eq(warn(&e, DAY / 2), EXPIRY_ERROR);
	ck_assert_int_eq(expiry_warn(&e, "agent.crt", "", END + 365 * (time_t)DAY, END), EXPIRY_FAR);
	ck_assert_int_eq(warn(&e, DAY / 2 - 1), EXPIRY_ERROR);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("expiry");
	TCase *tc = tcase_create("expiry");
	SRunner *runner;
	int failed;

	log_init("check", LOG_LEVEL_ERROR);
	tcase_add_loop_test(tc, it_becomes_louder, 0, (int)(sizeof(levels) / sizeof(levels[0])));
	tcase_add_test(tc, it_is_said_once_a_day);
	tcase_add_test(tc, what_is_more_urgent_is_said_at_once);
	tcase_add_test(tc, a_new_one_begins_anew);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
