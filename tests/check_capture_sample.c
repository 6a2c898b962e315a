/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include <check.h>

#include "agent/capture_sample.h"

#define MS	UINT64_C(1000000)

static struct capture_sample sample;

static void
setup(void)
{
	sample = (struct capture_sample){ 0 };
}

static void
wish(uint8_t method, uint32_t value)
{
	capture_sample_set(&sample, &(struct ipc_sampling){ .method = method, .value = value });
}

START_TEST(all)
{
	for (uint64_t i = 0; i < 100; i++)
		ck_assert(capture_sample_passes(&sample, i));
	wish(RPCAP_SAMPLE_1_EVERY_N, (uint32_t)_i);	/* of none, and of one */
	for (uint64_t i = 0; i < 100; i++)
		ck_assert(capture_sample_passes(&sample, i));
	wish(RPCAP_SAMPLE_AFTER_N_MS, 0);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert(capture_sample_passes(&sample, 7));
}
END_TEST

START_TEST(one_in)
{
	wish(RPCAP_SAMPLE_1_EVERY_N, (uint32_t)_i);
	for (uint64_t i = 0; i < 10u * (uint64_t)_i; i++)
		ck_assert_int_eq(capture_sample_passes(&sample, 0), i % (uint64_t)_i == 0);
}
END_TEST

START_TEST(one_in_most)
{
	wish(RPCAP_SAMPLE_1_EVERY_N, UINT32_MAX);
	ck_assert(capture_sample_passes(&sample, 0));
	for (unsigned i = 0; i < 100000; i++)
		ck_assert(!capture_sample_passes(&sample, 0));
	sample.left_out = UINT32_MAX - 1;
	ck_assert(!capture_sample_passes(&sample, 0));
	ck_assert(capture_sample_passes(&sample, 0));
}
END_TEST

/* From the one that was kept, not from when another could have been. */
START_TEST(first_after)
{
	static const struct {
		uint64_t	time_ns;
		bool		kept;
	} packets[] = {
		{ 5 * MS, true }, { 5 * MS, false }, { 15 * MS - 1, false }, { 15 * MS, true }, { 24 * MS, false },
		{ 40 * MS, true }, { 49 * MS, false }, { 50 * MS, true },
		{ 20 * MS, true },	/* the clock was set back */
		{ 29 * MS, false }, { 30 * MS, true },
	};

	wish(RPCAP_SAMPLE_AFTER_N_MS, 10);
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
		ck_assert_msg(capture_sample_passes(&sample, packets[i].time_ns) == packets[i].kept, "packet %zu", i);
}
END_TEST

START_TEST(first_after_most)
{
	wish(RPCAP_SAMPLE_AFTER_N_MS, UINT32_MAX);
	ck_assert(capture_sample_passes(&sample, 1));
	ck_assert(!capture_sample_passes(&sample, UINT32_MAX * MS));
	ck_assert(capture_sample_passes(&sample, UINT32_MAX * MS + 1));
}
END_TEST

START_TEST(told_again)
{
	wish(RPCAP_SAMPLE_1_EVERY_N, 3);
	ck_assert(capture_sample_passes(&sample, 0));
	wish(RPCAP_SAMPLE_1_EVERY_N, 3);
	ck_assert(!capture_sample_passes(&sample, 0));
	wish(RPCAP_SAMPLE_1_EVERY_N, 4);
	ck_assert(capture_sample_passes(&sample, 0));
	ck_assert(!capture_sample_passes(&sample, 0));
	wish(RPCAP_SAMPLE_NONE, 4);
	ck_assert(capture_sample_passes(&sample, 0));
	ck_assert(capture_sample_passes(&sample, 0));
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_sample");
	TCase *t = tcase_create("sample");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, all, 0, 2);
	tcase_add_loop_test(t, one_in, 2, 6);
	tcase_add_test(t, one_in_most);
	tcase_add_test(t, first_after);
	tcase_add_test(t, first_after_most);
	tcase_add_test(t, told_again);
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
