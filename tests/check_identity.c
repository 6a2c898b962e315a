/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/identity.h"

#define UUID	"0f2c1c5e-7f1a-4c0b-9d3e-5a6b7c8d9e0f"
#define NAME64	"aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"

static const struct {
	const char		*uri, *common_name;
	struct identity		 id;
} good[] = {
	{ "vmtap://acme/" UUID, "web1", { ROLE_AGENT, "acme", "web1", UUID } },
	{ "vmtap://" NAME64 "/" UUID, NAME64, { ROLE_AGENT, NAME64, NAME64, UUID } },
	{ "vmtap-collector://c1.example.org", "anything at all", { ROLE_COLLECTOR, "", "c1.example.org", "" } },
	{ "vmtap-operator://acme/ann", "", { ROLE_OPERATOR, "acme", "ann", "" } },
	{ "vmtap-operator://" NAME64 "/" NAME64, "x", { ROLE_OPERATOR, NAME64, NAME64, "" } },
};

static const struct {
	const char	*uri, *common_name;
} bad[] = {
	{ "", "web1" },
	{ "vmtap:", "web1" },
	{ "vmtap://", "web1" },
	{ "http://acme/" UUID, "web1" },
	{ "VMTAP://acme/" UUID, "web1" },
	{ " vmtap://acme/" UUID, "web1" },
	{ "vmtap://" UUID, "web1" },
	{ "vmtap:///" UUID, "web1" },
	{ "vmtap://acme/", "web1" },
	{ "vmtap://acme/" UUID "/", "web1" },
	{ "vmtap://acme/" UUID "0", "web1" },
	{ "vmtap://acme/0F2C1C5E-7f1a-4c0b-9d3e-5a6b7c8d9e0f", "web1" },
	{ "vmtap://acme/0f2c1c5e07f1a-4c0b-9d3e-5a6b7c8d9e0f", "web1" },
	{ "vmtap://acme/0f2c1c5e-7f1a-4c0b-9d3e-5a6b7c8d9e0", "web1" },
	{ "vmtap://acme/0f2c1c5e-7f1a-4c0b-9d3e-5a6b7c8d9e-f", "web1" },
	{ "vmtap://" NAME64 "e/" UUID, "web1" },
	{ "vmtap://../" UUID, "web1" },
	{ "vmtap://-x/" UUID, "web1" },
	{ "vmtap://ac me/" UUID, "web1" },
	{ "vmtap://acme/" UUID, "" },
	{ "vmtap://acme/" UUID, "../web1" },
	{ "vmtap://acme/" UUID, "web\n1" },
	{ "vmtap://acme/" UUID, NAME64 "e" },
	{ "vmtap-collector://", "c" },
	{ "vmtap-collector://a/b", "c" },
	{ "vmtap-collector://.hidden", "c" },
	{ "vmtap-collector://\xc3\xa4", "c" },
	{ "vmtap-operator://acme", "c" },
	{ "vmtap-operator://acme/", "c" },
	{ "vmtap-operator:///ann", "c" },
	{ "vmtap-operator://acme/ann/eve", "c" },
	{ "vmtap-operator://acme/" NAME64 "e", "c" },
};

START_TEST(parses_and_formats)
{
	const struct identity *want = &good[_i].id;
	char uri[IDENTITY_URI_SIZE];
	struct identity id;

	ck_assert_int_eq(identity_parse(good[_i].uri, good[_i].common_name, &id), 0);
	ck_assert_int_eq(id.role, want->role);
	ck_assert_str_eq(id.tenant, want->tenant);
	ck_assert_str_eq(id.name, want->name);
	ck_assert_str_eq(id.uuid, want->uuid);
	ck_assert_int_eq(identity_format(&id, uri, sizeof(uri)), 0);
	ck_assert_str_eq(uri, good[_i].uri);
	ck_assert_int_eq(identity_format(&id, uri, strlen(uri)), -1);
}
END_TEST

START_TEST(refuses)
{
	struct identity id;

	ck_assert_msg(identity_parse(bad[_i].uri, bad[_i].common_name, &id) == -1, "accepted %s", bad[_i].uri);
}
END_TEST

START_TEST(refuses_to_format)
{
	struct identity agent = { ROLE_AGENT, "acme", "web1", "not a uuid" };
	struct identity collector = { ROLE_COLLECTOR, "", "a/b", "" };
	struct identity operator = { ROLE_OPERATOR, "", "ann", "" };
	char uri[IDENTITY_URI_SIZE];

	ck_assert_int_eq(identity_format(&agent, uri, sizeof(uri)), -1);
	ck_assert_int_eq(identity_format(&collector, uri, sizeof(uri)), -1);
	ck_assert_int_eq(identity_format(&operator, uri, sizeof(uri)), -1);
}
END_TEST

/* Whatever is cut or flipped: refused, or another identity that formats to just these bytes. */
static void
check_damaged(const char *uri)
{
	char formatted[IDENTITY_URI_SIZE];
	struct identity id;

	if (identity_parse(uri, "web1", &id) == -1)
		return;
	ck_assert_int_eq(identity_format(&id, formatted, sizeof(formatted)), 0);
	ck_assert_str_eq(formatted, uri);
}

START_TEST(damaged)
{
	char uri[IDENTITY_URI_SIZE] = { 0 };
	size_t len = strlen(good[_i].uri);

	memcpy(uri, good[_i].uri, len);
	for (size_t bit = 0; bit < len * 8; bit++) {
		uri[bit / 8] = (char)(uri[bit / 8] ^ 1 << bit % 8);
		check_damaged(uri);
		uri[bit / 8] = (char)(uri[bit / 8] ^ 1 << bit % 8);
	}
	while (len-- > 0) {
		uri[len] = '\0';
		check_damaged(uri);
	}
}
END_TEST

START_TEST(role_names)
{
	ck_assert_str_eq(identity_role_name(ROLE_AGENT), "agent");
	ck_assert_str_eq(identity_role_name(ROLE_COLLECTOR), "collector");
	ck_assert_str_eq(identity_role_name(ROLE_OPERATOR), "operator");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("identity");
	TCase *tc = tcase_create("identity");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, parses_and_formats, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, refuses, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(tc, damaged, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_test(tc, refuses_to_format);
	tcase_add_test(tc, role_names);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
