/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include <check.h>

#include "common/clock.h"

#define S	1000000000ull
#define NOW	(1795000000ull * S + 5)

static const struct {
	const char	*text;
	uint64_t	 ns;
} good[] = {
	{ "2026-11-23T01:06:39Z", 1795395999ull * S },
	{ "2026-11-23 01:06:39Z", 1795395999ull * S },
	{ "2026-11-23T01:06:39.25Z", 1795395999ull * S + S / 4 },
	{ "2026-11-23 01:06:39", 1795395999ull * S - 3600 * S },	/* TZ is an hour east */
	{ "2024-02-29T00:00:00Z", 1709164800ull * S },
	{ "1970-01-01T00:00:00Z", 0 },
	{ "@0", 0 },
	{ "@1700000000", 1700000000ull * S },
	{ "@1700000000.000000001", 1700000000ull * S + 1 },
	{ "@18446744072", 18446744072ull * S },
	{ "now", NOW },
	{ "-10m", NOW - 600 * S },
	{ "-10", NOW - 10 * S },
	{ "-250ms", NOW - S / 4 },
	{ "-2h", NOW - 7200 * S },
	{ "-1d", NOW - 86400 * S },
};

static const char *const bad[] = {
	"", " ", "@", "-", "yesterday", "Now", "10m", "+10m", "-10x", "-10 m", "--10m", "-1.5h", "-99999d",
	"-99999999999999999999s",
	"@-1", "@1.", "@1.0000000001", "@1x", "@18446744073", "@18446744073709551616",
	"2026-11-23", "2026-11-23T01:06", "2026-11-23T01:06:39ZZ", "2026-11-23T01:06:39+01:00", "2026-1-23T01:06:39Z",
	"2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z",
	"2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z", "1969-12-31T23:59:59Z", "2600-01-01T00:00:00Z",
	" 2026-11-23T01:06:39Z", "2026-11-23T01:06:39Z ", "2026/11/23 01:06:39",
};

START_TEST(parses_good)
{
	uint64_t	 ns = 77;

	ck_assert_int_eq(clock_parse(good[_i].text, NOW, &ns), 0);
	ck_assert_msg(ns == good[_i].ns, "%s: %llu", good[_i].text, (unsigned long long)ns);
}
END_TEST

START_TEST(refuses_bad)
{
	uint64_t	 ns = 77;

	ck_assert_msg(clock_parse(bad[_i], NOW, &ns) == -1, "\"%s\" was taken as %llu", bad[_i], (unsigned long long)ns);
	ck_assert_uint_eq(ns, 77);
}
END_TEST

START_TEST(iso_round_trips)
{
	static const uint64_t seconds[] = { 0, 951782400, 1795395999, 4102444799, 18446744072 };
	char		 text[CLOCK_ISO_SIZE];
	uint64_t	 ns;

	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		ck_assert_int_eq(clock_parse(clock_iso(seconds[i] * S + 123, text, sizeof(text)), 0, &ns), 0);
		ck_assert_uint_eq(ns, seconds[i] * S);
	}
	ck_assert_str_eq(clock_iso(1795395999ull * S, text, sizeof(text)), "2026-11-23T01:06:39Z");
}
END_TEST

START_TEST(clocks_run)
{
	uint64_t	 mono = clock_mono_ns(), cpu = clock_cpu_us(), wall = clock_wall_ns();
	time_t		 now = time(NULL);

	ck_assert_uint_le(wall / S, (uint64_t)now + 2);
	ck_assert_uint_ge(wall / S + 2, (uint64_t)now);
	while (clock_cpu_us() < cpu + 2000)
		;
	ck_assert_uint_ge(clock_mono_ns(), mono + 1000000);
}
END_TEST

int
main(void)
{
	Suite		*suite = suite_create("clock");
	TCase		*tc = tcase_create("clock");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	setenv("TZ", "EAST-1", 1);
	tzset();
	suite_add_tcase(suite, tc);
	tcase_add_loop_test(tc, parses_good, 0, (int)(sizeof(good) / sizeof(good[0])));
	tcase_add_loop_test(tc, refuses_bad, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tc, iso_round_trips);
	tcase_add_test(tc, clocks_run);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
