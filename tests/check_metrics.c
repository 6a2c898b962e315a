/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "common/metrics.h"
#include "proto/counter.h"
#include "proto/counter_metrics.h"

static struct buf buf;
static struct metrics metrics;

static void
setup(void)
{
	buf_init(&buf, 1 << 20);
	metrics_init(&metrics, &buf);
}

static void
teardown(void)
{
	buf_clear(&buf);
}

static void
expect(const char *text)
{
	ck_assert_int_eq(metrics_end(&metrics), 0);
	ck_assert_int_eq(buf_put(&buf, "", 1), 0);
	ck_assert_str_eq((const char *)buf.data, text);
}

START_TEST(families_have_one_header_and_all_samples)
{
	metrics_family(&metrics, METRICS_COUNTER, "Packets.", "x_packets_total");
	metrics_u64(&metrics, (const struct metrics_label[]){ { "vm", "a" }, { "place", "ring" }, { NULL, NULL } }, 1);
	metrics_u64(&metrics, (const struct metrics_label[]){ { "vm", "b" }, { NULL, NULL } }, UINT64_MAX);
	metrics_family(&metrics, METRICS_GAUGE, "Nobody has any.", "x_empty");
	metrics_family(&metrics, METRICS_GAUGE, "Bytes.", "x_%s_bytes", "free");
	metrics_double(&metrics, NULL, 0.5);
	expect("# HELP x_packets_total Packets.\n# TYPE x_packets_total counter\n"
	    "x_packets_total{vm=\"a\",place=\"ring\"} 1\nx_packets_total{vm=\"b\"} 18446744073709551615\n"
	    "# HELP x_free_bytes Bytes.\n# TYPE x_free_bytes gauge\nx_free_bytes 0.5\n");
}
END_TEST

START_TEST(texts_are_escaped)
{
	metrics_family(&metrics, METRICS_GAUGE, "a\\b\n\"c\"", "x");
	metrics_u64(&metrics, (const struct metrics_label[]){ { "v", "a\\b\n\"c\"" }, { NULL, NULL } }, 0);
	expect("# HELP x a\\\\b\\n\"c\"\n# TYPE x gauge\nx{v=\"a\\\\b\\n\\\"c\\\"\"} 0\n");
}
END_TEST

/* Well-formed UTF-8 stays, all else becomes text: Prometheus takes nothing else. */
static const struct { const char *text, *put; } utf8[] = {
	{ "\xc3\xa9", "\xc3\xa9" }, { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" }, { "\xff", "\\\\xff" }, { "\xc3", "\\\\xc3" },
	{ "\xc0\x80", "\\\\xc0\\\\x80" }, { "\xe0\x80\x80", "\\\\xe0\\\\x80\\\\x80" }, { "\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80" },
	{ "\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80" }, { "\xf0\x9f\x98", "\\\\xf0\\\\x9f\\\\x98" }, { "\x80z", "\\\\x80z" },
};

START_TEST(bytes_that_are_no_utf8_become_text)
{
	char text[128];

	metrics_family(&metrics, METRICS_GAUGE, "h", "x");
	metrics_u64(&metrics, (const struct metrics_label[]){ { "v", utf8[_i].text }, { NULL, NULL } }, 0);
	snprintf(text, sizeof(text), "# HELP x h\n# TYPE x gauge\nx{v=\"%s\"} 0\n", utf8[_i].put);
	expect(text);
}
END_TEST

START_TEST(numbers_are_exact)
{
	metrics_family(&metrics, METRICS_GAUGE, "h", "x");
	metrics_double(&metrics, NULL, 0.1);
	metrics_double(&metrics, NULL, 1e300 * 10);
	metrics_double(&metrics, NULL, 1.0 / 3);
	metrics_double(&metrics, NULL, (double)INFINITY);
	metrics_double(&metrics, NULL, (double)-INFINITY);
	metrics_double(&metrics, NULL, (double)NAN);
	expect("# HELP x h\n# TYPE x gauge\nx 0.1\nx 1e+301\nx 0.33333333333333331\nx +Inf\nx -Inf\nx NaN\n");
}
END_TEST

START_TEST(histogram_sums_up)
{
	static const double bounds[] = { 0.001, 1 };
	static const uint64_t counts[] = { 2, 3, 4 };

	metrics_family(&metrics, METRICS_HISTOGRAM, "h", "x_seconds");
	metrics_histogram(&metrics, NULL, bounds, counts, 2, 12.5);
	expect("# HELP x_seconds h\n# TYPE x_seconds histogram\nx_seconds_bucket{le=\"0.001\"} 2\nx_seconds_bucket{le=\"1\"} 5\n"
	    "x_seconds_bucket{le=\"+Inf\"} 9\nx_seconds_sum 12.5\nx_seconds_count 9\n");
}
END_TEST

static const char *const bad_names[] = { "", "9x", "x-y", "x y", "x\xc3\xa9", "x{}" };

START_TEST(bad_names_are_refused)
{
	metrics_family(&metrics, METRICS_GAUGE, "h", "%s", bad_names[_i]);
	metrics_u64(&metrics, NULL, 1);
	ck_assert_int_eq(metrics_end(&metrics), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_uint_eq(buf.len, 0);
}
END_TEST

START_TEST(bad_labels_are_refused)
{
	metrics_family(&metrics, METRICS_GAUGE, "h", "x");
	metrics_u64(&metrics, (const struct metrics_label[]){ { "a:b", "" }, { NULL, NULL } }, 0);
	ck_assert_int_eq(metrics_end(&metrics), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(a_family_comes_once)
{
	metrics_family(&metrics, METRICS_GAUGE, "h", "x");
	metrics_u64(&metrics, NULL, 1);
	metrics_family(&metrics, METRICS_GAUGE, "h", "y");
	metrics_family(&metrics, METRICS_COUNTER, "h", "x");
	ck_assert_int_eq(metrics_end(&metrics), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(a_sample_needs_a_family)
{
	metrics_u64(&metrics, NULL, 1);
	ck_assert_int_eq(metrics_end(&metrics), -1);
}
END_TEST

START_TEST(limits_are_kept)
{
	char name[METRICS_NAME_SIZE + 1];
	unsigned i;

	for (i = 0; i < METRICS_FAMILIES_MAX; i++)
		metrics_family(&metrics, METRICS_GAUGE, "h", "x%u", i);
	ck_assert_int_eq(metrics_end(&metrics), 0);
	metrics_family(&metrics, METRICS_GAUGE, "h", "y");
	ck_assert_int_eq(metrics_end(&metrics), -1);
	ck_assert_int_eq(errno, E2BIG);

	memset(name, 'x', sizeof(name));
	name[METRICS_NAME_SIZE - 1] = '\0';
	metrics_init(&metrics, &buf);
	metrics_family(&metrics, METRICS_GAUGE, "h", "%s", name);
	ck_assert_int_eq(metrics_end(&metrics), 0);
	name[METRICS_NAME_SIZE - 1] = 'x';
	name[METRICS_NAME_SIZE] = '\0';
	metrics_family(&metrics, METRICS_GAUGE, "h", "%s", name);
	ck_assert_int_eq(metrics_end(&metrics), -1);
}
END_TEST

/* Whatever room there is, the end says that it was too little, and no more is put. */
START_TEST(a_full_buffer_is_told)
{
	struct buf small;

	for (size_t max = 0; max < 40; max++) {
		buf_init(&small, max);
		metrics_init(&metrics, &small);
		metrics_family(&metrics, METRICS_GAUGE, "h", "x");
		metrics_u64(&metrics, (const struct metrics_label[]){ { "label", "value" }, { NULL, NULL } }, 12345);
		ck_assert_int_eq(metrics_end(&metrics), -1);
		ck_assert_int_eq(errno, ENOBUFS);
		ck_assert_uint_le(small.len, max);
		buf_clear(&small);
	}
}
END_TEST

/* Families that do not fit are left out, and those before them are whole. */
START_TEST(what_does_not_fit_is_taken_back)
{
	struct buf small;
	size_t mark;

	buf_init(&small, 80);
	metrics_init(&metrics, &small);
	for (int i = 0; metrics_end(&metrics) == 0; i++) {
		mark = small.len;
		metrics_family(&metrics, METRICS_GAUGE, "h", "x%d", i);
		metrics_i64(&metrics, NULL, -i);
	}
	ck_assert_uint_gt(small.len, mark);
	ck_assert(metrics_take_back(&metrics, mark));
	ck_assert_int_eq(metrics_end(&metrics), 0);
	ck_assert_int_eq(buf_put(&small, "", 1), 0);
	ck_assert_str_eq((char *)small.data, "# HELP x0 h\n# TYPE x0 gauge\nx0 0\n# HELP x1 h\n# TYPE x1 gauge\nx1 -1\n");
	metrics_u64(&metrics, NULL, 1);		/* of no family */
	ck_assert(!metrics_take_back(&metrics, mark));
	ck_assert_int_eq(metrics_end(&metrics), -1);
	buf_clear(&small);
}
END_TEST

START_TEST(counters_are_named_by_kind_and_unit)
{
	counter_metrics_family(&metrics, counter_row(COUNTER_RING_DROPPED));
	counter_metrics_sample(&metrics, counter_row(COUNTER_RING_DROPPED), NULL, 7);
	counter_metrics_family(&metrics, counter_row(COUNTER_SPOOL_BYTES));
	counter_metrics_sample(&metrics, counter_row(COUNTER_SPOOL_BYTES), NULL, 8);
	counter_metrics_family(&metrics, counter_row(COUNTER_CPU_LINK_US));
	counter_metrics_sample(&metrics, counter_row(COUNTER_CPU_LINK_US), NULL, 1500000);
	ck_assert_int_eq(metrics_end(&metrics), 0);
	ck_assert_int_eq(buf_put(&buf, "", 1), 0);
	ck_assert_ptr_nonnull(strstr((char *)buf.data, "\n# TYPE vmtap_agent_spool_bytes gauge\nvmtap_agent_spool_bytes 8\n"));
	ck_assert_ptr_nonnull(strstr((char *)buf.data, "counter\nvmtap_agent_ring_dropped_packets_total 7\n"));
	ck_assert_ptr_nonnull(strstr((char *)buf.data, "counter\nvmtap_agent_cpu_link_seconds_total 1.5\n"));
}
END_TEST

START_TEST(each_counter_has_its_name)
{
	for (unsigned i = 0; i < COUNTER_MAX; i++)
		if (counter_row(i) != NULL) {
			ck_assert_ptr_eq(counter_by_name(counter_row(i)->name), counter_row(i));
			ck_assert(counter_belongs(i, true) != counter_belongs(i, false));
		}
	ck_assert(counter_belongs(COUNTER_RING_DROPPED, true) && counter_belongs(COUNTER_SPOOL_BYTES, false));
	ck_assert(!counter_belongs(0, true) && !counter_belongs(COUNTER_MAX, false));
	ck_assert_ptr_null(counter_by_name("ring_dropped"));
	ck_assert_ptr_null(counter_by_name(""));
	ck_assert_ptr_null(counter_by_name(NULL));
}
END_TEST

/* All at once: no name is refused, none comes twice. */
START_TEST(every_counter_fits)
{
	for (unsigned i = 0; i < COUNTER_MAX; i++)
		if (counter_row(i) != NULL) {
			counter_metrics_family(&metrics, counter_row(i));
			counter_metrics_sample(&metrics, counter_row(i), NULL, i);
		}
	metrics_process(&metrics);
	ck_assert_int_eq(metrics_end(&metrics), 0);
}
END_TEST

int
main(void)
{
	Suite		*suite = suite_create("metrics");
	TCase		*tc = tcase_create("metrics");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, families_have_one_header_and_all_samples);
	tcase_add_test(tc, texts_are_escaped);
	tcase_add_loop_test(tc, bytes_that_are_no_utf8_become_text, 0, (int)(sizeof(utf8) / sizeof(utf8[0])));
	tcase_add_test(tc, numbers_are_exact);
	tcase_add_test(tc, histogram_sums_up);
	tcase_add_loop_test(tc, bad_names_are_refused, 0, (int)(sizeof(bad_names) / sizeof(bad_names[0])));
	tcase_add_test(tc, bad_labels_are_refused);
	tcase_add_test(tc, a_family_comes_once);
	tcase_add_test(tc, a_sample_needs_a_family);
	tcase_add_test(tc, limits_are_kept);
	tcase_add_test(tc, a_full_buffer_is_told);
	tcase_add_test(tc, what_does_not_fit_is_taken_back);
	tcase_add_test(tc, counters_are_named_by_kind_and_unit);
	tcase_add_test(tc, each_counter_has_its_name);
	tcase_add_test(tc, every_counter_fits);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
