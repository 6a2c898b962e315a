/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "agent/capture_clock.h"

#define MS		1000000ll
#define S		1000000000ll
#define WALL_NS		1764082800000000000ll	/* 2025-11-25T15:00:00Z */

/* What happens between two looks, ten seconds of the monotonic clock apart, and what is said of it. */
static const struct {
	int64_t		 wall_ns, boot_ns;	/* beyond the ten seconds */
	const char	*said;			/* "": nothing */
} rows[] = {
	{ 0, 0, "" },
	{ 99 * MS, 0, "" },
	{ -99 * MS, 0, "" },
	{ 100 * MS, 0, "the wall clock was stepped by +0.100 s; seen at 2025-11-25T15:00:10" },
	{ 3600 * S, 0, "the wall clock was stepped by +3600.000 s; seen at 2025-11-25T16:00:10" },
	{ -3600 * S, 0, "the wall clock was stepped by -3600.000 s; seen at 2025-11-25T14:00:10" },
	{ 12345 * MS, 12345 * MS, "the guest was suspended for 12.345 s; seen at 2025-11-25T15:00:22" },
	{ 999 * MS, 999 * MS, "" },
	{ 0, 60 * S, "the wall clock was stepped by -60.000 s; the guest was suspended for 60.000 s; seen at 2025-11-25T15:00:10" },
};

static struct capture_clock_now
at(int64_t mono_ns, int64_t wall_ns, int64_t boot_ns)
{
	return (struct capture_clock_now){ .mono_ns = (uint64_t)mono_ns, .wall_ns = (uint64_t)(WALL_NS + mono_ns + wall_ns),
		.boot_ns = (uint64_t)(5 * S + mono_ns + boot_ns) };
}

START_TEST(between_two_looks)
{
	struct capture_clock_now now = at(0, 0, 0);
	char text[CAPTURE_CLOCK_TEXT_SIZE];
	struct capture_clock clock = { 0 };
	const char *said = rows[_i].said;

	ck_assert(!capture_clock_look(&clock, &now, text));
	now = at(10 * S, rows[_i].wall_ns, rows[_i].boot_ns);
	ck_assert_int_eq(capture_clock_look(&clock, &now, text), *said != '\0');
	ck_assert_msg(*said != '\0' ? strncmp(text, said, strlen(said)) == 0 : *text == '\0', "%s", text);
	now = at(20 * S, rows[_i].wall_ns, rows[_i].boot_ns);
	ck_assert(!capture_clock_look(&clock, &now, text));	/* told once */
}
END_TEST

START_TEST(kept_from_running)
{
	struct capture_clock_now now = at(0, 0, 0);
	char text[CAPTURE_CLOCK_TEXT_SIZE];
	struct capture_clock clock = { 0 };

	capture_clock_look(&clock, &now, text);
	capture_clock_expect(&clock, 1 * S);
	now = at(3 * S - 1, 0, 0);
	ck_assert(!capture_clock_look(&clock, &now, text));
	now = at(31 * S, 0, 0);
	ck_assert(capture_clock_look(&clock, &now, text));
	ck_assert_ptr_nonnull(strstr(text, "capture was not run for 30.000 s; seen at 2025-11-25T15:00:31"));
	now = at(31 * S + 1, 0, 0);
	ck_assert(!capture_clock_look(&clock, &now, text));
	capture_clock_expect(&clock, 0);
	now = at(3600 * S, 0, 0);
	ck_assert(!capture_clock_look(&clock, &now, text));	/* nobody meant to run */
}
END_TEST

START_TEST(the_clocks_of_this_machine_are_quiet)
{
	char text[CAPTURE_CLOCK_TEXT_SIZE];
	struct capture_clock clock = { 0 };
	struct capture_clock_now now;

	for (unsigned i = 0; i < 100000; i++)
		if (capture_clock_read(&now) == 0)
			ck_assert_msg(!capture_clock_look(&clock, &now, text), "%s", text);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("capture_clock");
	TCase *t = tcase_create("clock");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(t, between_two_looks, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(t, kept_from_running);
	tcase_add_test(t, the_clocks_of_this_machine_are_quiet);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
