/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include <check.h>

#include "collector/clock_offset.h"

#define WALL	UINT64_C(1700000000000000000)
#define MONO	UINT64_C(5000000000)
#define MS	1000000
#define US	1000

static struct clock_offset clock_;
static uint64_t now_ns;		/* since WALL and MONO */

static void
setup(void)
{
	clock_ = (struct clock_offset){ 0 };
	now_ns = 0;
}

/* Ten seconds on, a PING that takes there and back so long, to a guest that is ahead by so much. */
static bool
measure(int64_t ahead_ns, uint64_t there_ns, uint64_t back_ns)
{
	struct clock_moment sent, came;

	now_ns += UINT64_C(10000) * MS;
	sent = (struct clock_moment){ .mono_ns = MONO + now_ns, .wall_ns = WALL + now_ns };
	came = (struct clock_moment){ .mono_ns = sent.mono_ns + there_ns + back_ns, .wall_ns = sent.wall_ns + there_ns + back_ns };
	return clock_offset_add(&clock_, &sent, &came, (uint64_t)((int64_t)(sent.wall_ns + there_ns) + ahead_ns));
}

static int64_t
best_ns(void)
{
	return clock_offset_best(&clock_)->offset_ns;
}

START_TEST(nothing_is_known_at_first)
{
	ck_assert_ptr_null(clock_offset_best(&clock_));
	ck_assert(!clock_offset_changed(&clock_));
	clock_offset_told(&clock_);
	ck_assert(measure(3 * MS, 100 * US, 100 * US));
	ck_assert(clock_offset_changed(&clock_));
	ck_assert_int_eq(best_ns(), 3 * MS);
	ck_assert_uint_eq(clock_offset_best(&clock_)->rtt_ns, 200 * US);
	ck_assert_uint_eq(clock_offset_best(&clock_)->at_ns, WALL + now_ns + 100 * US + 3 * MS);
}
END_TEST

/* Ways that are not equally long shift it by half their difference, and no more. */
START_TEST(the_smallest_round_trip_is_taken)
{
	measure(-MS, 5 * MS, 0);
	ck_assert_int_eq(best_ns(), -MS + 5 * MS / 2);
	measure(-MS, 100 * US, 80 * US);
	ck_assert_int_eq(best_ns(), -MS + 10 * US);
	measure(-MS, 0, 3 * MS);
	ck_assert_int_eq(best_ns(), -MS + 10 * US);
	ck_assert_uint_eq(clock_.count, 3);
}
END_TEST

START_TEST(only_the_last_ones_count)
{
	measure(0, 10 * US, 10 * US);
	for (int i = 0; i < CLOCK_OFFSET_SAMPLES - 1; i++) {
		measure(0, 2 * MS, MS);
		ck_assert_int_eq(best_ns(), 0);
	}
	measure(0, 2 * MS, MS);
	ck_assert_int_eq(best_ns(), 500 * US);
	ck_assert_uint_eq(clock_.count, CLOCK_OFFSET_SAMPLES);
}
END_TEST

/* A guest whose clock is set is not believed to be where it was because that was measured better. */
START_TEST(a_clock_that_is_set_is_followed_at_once)
{
	measure(0, 10 * US, 10 * US);
	clock_offset_told(&clock_);
	measure(INT64_C(3600000) * MS, 500 * US, 500 * US);
	ck_assert_int_eq(best_ns(), INT64_C(3600000) * MS);
	ck_assert(clock_offset_changed(&clock_));
	ck_assert_uint_eq(clock_.count, 1);
	measure(INT64_C(-3600000) * MS, 500 * US, 500 * US);
	ck_assert_int_eq(best_ns(), INT64_C(-3600000) * MS);
}
END_TEST

/* 50 us a second: never more off than the round trips allow. */
START_TEST(a_clock_that_drifts_is_followed)
{
	for (int64_t i = 0; i < 100; i++) {
		int64_t ahead = i * 500 * US;

		measure(ahead, 100 * US, 100 * US);
		ck_assert_int_le(llabs(best_ns() - ahead), 200 * US);
	}
}
END_TEST

START_TEST(what_did_not_change_is_not_told)
{
	measure(0, 10 * US, 10 * US);
	clock_offset_told(&clock_);
	ck_assert(!clock_offset_changed(&clock_));
	measure(90 * US, 5 * US, 5 * US);
	ck_assert_int_eq(best_ns(), 90 * US);
	ck_assert(!clock_offset_changed(&clock_));
	measure(101 * US, 4 * US, 4 * US);
	ck_assert(clock_offset_changed(&clock_));
	setup();
	measure(0, 5 * MS, 5 * MS);		/* exact to 5 ms */
	clock_offset_told(&clock_);
	for (int i = 0; i < CLOCK_OFFSET_SAMPLES; i++)
		measure(4 * MS, 5 * MS, 5 * MS);
	ck_assert_int_eq(best_ns(), 4 * MS);
	ck_assert(!clock_offset_changed(&clock_));
}
END_TEST

START_TEST(our_own_clock_may_be_set)
{
	struct clock_moment sent = { .mono_ns = MONO, .wall_ns = WALL }, came = { .mono_ns = MONO + US, .wall_ns = WALL + US };

	came.wall_ns += UINT64_C(60000) * MS;
	ck_assert(!clock_offset_add(&clock_, &sent, &came, WALL));
	came.wall_ns -= UINT64_C(120000) * MS;
	ck_assert(!clock_offset_add(&clock_, &sent, &came, WALL));
	ck_assert_ptr_null(clock_offset_best(&clock_));
}
END_TEST

START_TEST(times_out_of_reach_are_refused)
{
	struct clock_moment sent = { .mono_ns = MONO, .wall_ns = WALL }, came = { .mono_ns = MONO + US, .wall_ns = WALL + US };

	ck_assert(!clock_offset_add(&clock_, &sent, &came, UINT64_MAX));
	ck_assert(!clock_offset_add(&clock_, &sent, &came, (uint64_t)INT64_MAX + 1));
	ck_assert(clock_offset_add(&clock_, &sent, &came, INT64_MAX));
	ck_assert(clock_offset_add(&clock_, &sent, &came, 0));
	ck_assert_int_eq(best_ns(), -(int64_t)(WALL + US / 2));
	clock_offset_told(&clock_);
	ck_assert(!clock_offset_add(&clock_, &came, &sent, WALL));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("clock_offset");
	TCase *tcase = tcase_create("clock_offset");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, nothing_is_known_at_first);
	tcase_add_test(tcase, the_smallest_round_trip_is_taken);
	tcase_add_test(tcase, only_the_last_ones_count);
	tcase_add_test(tcase, a_clock_that_is_set_is_followed_at_once);
	tcase_add_test(tcase, a_clock_that_drifts_is_followed);
	tcase_add_test(tcase, what_did_not_change_is_not_told);
	tcase_add_test(tcase, our_own_clock_may_be_set);
	tcase_add_test(tcase, times_out_of_reach_are_refused);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
