/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/rights.h"

#define NAME64	"aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"

START_TEST(test_uri)
{
	struct rights rights = { 0 };

	ck_assert_int_eq(rights_add_uri(&rights, "vmtap-right://acme/read"), 0);
	ck_assert_int_eq(rights_add_uri(&rights, "vmtap-right://acme/policy"), 0);
	ck_assert_int_eq(rights_add_uri(&rights, "vmtap-right://" NAME64 "/enrol"), 0);
	ck_assert_uint_eq(rights.count, 2);
	ck_assert(rights_have(&rights, "acme", RIGHT_READ | RIGHT_POLICY));
	ck_assert(!rights_have(&rights, "acme", RIGHT_READ | RIGHT_ENROL));
	ck_assert(!rights_have(&rights, "acm", RIGHT_READ));
	ck_assert(!rights_have(&rights, "acme2", RIGHT_READ));
	ck_assert(!rights_have(&rights, "*", RIGHT_READ));
	ck_assert(rights_have(&rights, NAME64, RIGHT_ENROL));
	ck_assert(rights_have_some(&rights, RIGHT_ENROL));
	ck_assert(!rights_have_some(&rights, RIGHT_ADMIN));
}
END_TEST

START_TEST(test_all)
{
	struct rights rights = { 0 };

	ck_assert_int_eq(rights_add_uri(&rights, "vmtap-right://*/read"), 0);
	ck_assert_int_eq(rights_add_uri(&rights, "vmtap-right://acme/admin"), 0);
	ck_assert(rights_have(&rights, "*", RIGHT_READ));
	ck_assert(rights_have(&rights, "globex", RIGHT_READ));
	ck_assert(rights_have(&rights, "acme", RIGHT_READ | RIGHT_ADMIN));
	ck_assert(!rights_have(&rights, "*", RIGHT_ADMIN));
	ck_assert(!rights_have(&rights, "globex", RIGHT_ADMIN));
}
END_TEST

START_TEST(test_bad)
{
	static const char *const bad[] = { "", "vmtap-right://", "vmtap-right://acme", "vmtap-right://acme/", "vmtap-right:///read",
	    "vmtap-right://acme/reads", "vmtap-right://acme/rea", "vmtap-right://acme/read/", "vmtap-right://acme/READ",
	    "VMTAP-RIGHT://acme/read", "vmtap-rights://acme/read", "vmtap://acme/read", "vmtap-right://ac*/read",
	    "vmtap-right://**/read", "vmtap-right://../read", "vmtap-right://a b/read", "vmtap-right://a%2a/read",
	    "vmtap-right://" NAME64 "e/read", "vmtap-right://acme/none" };
	struct rights rights = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(rights_add_uri(&rights, bad[i]) == -1, "%s", bad[i]);
	ck_assert_uint_eq(rights.all, 0);
	ck_assert_uint_eq(rights.count, 0);
}
END_TEST

/* One tenant too many gives nothing, and those before stay. */
START_TEST(test_many)
{
	struct rights rights = { 0 };
	char uri[64];

	for (int i = 0; i <= RIGHTS_TENANTS_MAX; i++) {
		snprintf(uri, sizeof(uri), "vmtap-right://t%d/read", i);
		ck_assert_int_eq(rights_add_uri(&rights, uri), i < RIGHTS_TENANTS_MAX ? 0 : -1);
	}
	ck_assert_int_eq(rights_add_uri(&rights, "vmtap-right://t0/policy"), 0);
	ck_assert(rights_have(&rights, "t0", RIGHT_READ | RIGHT_POLICY));
	ck_assert(rights_have(&rights, "t63", RIGHT_READ));
	ck_assert(!rights_have(&rights, "t64", RIGHT_READ));
}
END_TEST

START_TEST(test_lists)
{
	unsigned set = 77;

	ck_assert_int_eq(rights_parse("read", &set), 0);
	ck_assert_uint_eq(set, RIGHT_READ);
	ck_assert_int_eq(rights_parse("admin,read,policy,enrol", &set), 0);
	ck_assert_uint_eq(set, RIGHTS_EVERY);
	ck_assert_int_eq(rights_parse("none", &set), 0);
	ck_assert_uint_eq(set, 0);
	ck_assert_int_eq(rights_parse("", &set), -1);
	ck_assert_int_eq(rights_parse("read,", &set), -1);
	ck_assert_int_eq(rights_parse("read,none", &set), -1);
	ck_assert_int_eq(rights_parse("write", &set), -1);
}
END_TEST

/* What is written is what is read. */
START_TEST(test_format)
{
	static const char *const tenants[] = { "acme", NAME64, "*" };
	char uri[IDENTITY_URI_SIZE];

	for (size_t i = 0; i < sizeof(tenants) / sizeof(tenants[0]); i++)
		for (unsigned right = RIGHT_READ; right <= RIGHT_ADMIN; right <<= 1) {
			struct rights rights = { 0 };

			ck_assert_int_eq(rights_format(tenants[i], (enum right)right, uri, sizeof(uri)), 0);
			ck_assert_int_eq(rights_add_uri(&rights, uri), 0);
			ck_assert(rights_have(&rights, tenants[i], right));
			ck_assert(!rights_have(&rights, tenants[i], RIGHTS_EVERY));
		}
	ck_assert_int_eq(rights_format("a/b", RIGHT_READ, uri, sizeof(uri)), -1);
	ck_assert_int_eq(rights_format("acme", RIGHT_READ, uri, 10), -1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rights");
	TCase *tcase = tcase_create("rights");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_uri);
	tcase_add_test(tcase, test_all);
	tcase_add_test(tcase, test_bad);
	tcase_add_test(tcase, test_many);
	tcase_add_test(tcase, test_lists);
	tcase_add_test(tcase, test_format);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
