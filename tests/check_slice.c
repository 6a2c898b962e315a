/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/slice.h"

static const struct {
	const char	*text;
	int		 result;
	struct slice	 slice;
} texts[] = {
	{ "none", 0, { false, false, 0 } }, { "headers", 0, { true, false, 0 } }, { "headers:0", 0, { true, false, 0 } },
	{ "headers:64", 0, { true, false, 64 } }, { "headers:65535", 0, { true, false, 65535 } },
	{ "", -1, { 0 } }, { "header", -1, { 0 } }, { "headers:", -1, { 0 } }, { "headers64", -1, { 0 } },
	{ "headers:65536", -1, { 0 } }, { "headers:-1", -1, { 0 } }, { "headers: 1", -1, { 0 } }, { "headers:1x", -1, { 0 } },
	{ "headers:18446744073709551617", -1, { 0 } },
};

START_TEST(text_is_parsed)
{
	struct slice slice = { .mask = true };
	char error[256] = "", again[SLICE_TEXT_SIZE];

	ck_assert_int_eq(slice_parse(texts[_i].text, &slice, error, sizeof(error)), texts[_i].result);
	ck_assert(slice.mask);
	ck_assert_int_eq(slice.headers, texts[_i].slice.headers);
	ck_assert_uint_eq(slice.payload, texts[_i].slice.payload);
	ck_assert_int_eq(strlen(error) > 0, texts[_i].result == -1);
	if (texts[_i].result == -1)
		return;
	slice_to_text(&slice, again);
	ck_assert_int_eq(slice_parse(again, &slice, error, sizeof(error)), 0);
	ck_assert_uint_eq(slice.payload, texts[_i].slice.payload);
}
END_TEST

static const struct slice all = { false, false, 0 }, headers = { true, false, 20 }, more = { true, false, 30 }, mask = { false, true, 0 };
static const struct {
	const struct slice *a, *b;
	struct slice	 both;
} pairs[] = {
	{ &all, &all, { false, false, 0 } }, { &all, &headers, { true, false, 20 } }, { &headers, &more, { true, false, 20 } },
	{ &all, &mask, { false, true, 0 } }, { &mask, &more, { true, true, 0 } },
};

START_TEST(what_both_keep_is_kept)
{
	struct slice there = slice_narrower(pairs[_i].a, pairs[_i].b), back = slice_narrower(pairs[_i].b, pairs[_i].a);

	ck_assert_int_eq(there.headers, pairs[_i].both.headers);
	ck_assert_int_eq(there.mask, pairs[_i].both.mask);
	ck_assert_uint_eq(there.payload, pairs[_i].both.payload);
	ck_assert_int_eq(there.headers == back.headers && there.mask == back.mask && there.payload == back.payload, 1);
	ck_assert_int_eq(slice_cuts(&there), there.headers || there.mask);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("slice");
	TCase *t = tcase_create("slice");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_loop_test(t, text_is_parsed, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_loop_test(t, what_both_keep_is_kept, 0, sizeof(pairs) / sizeof(pairs[0]));
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
