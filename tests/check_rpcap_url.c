/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/conf.h"
#include "common/log.h"

#include "collector/pull.h"
#include "collector/rpcap_url.h"

static const struct good_case {
	const char	*text;
	bool		 tls;
	const char	*tenant, *name, *user, *password, *host;
	uint16_t	 port;
	const char	*interface, *label;
} good[] = {
	{ "rpcap://h/eth0", false, "", "h", "", "", "h", 2002, "eth0", "rpcap://h:2002/eth0" },
	{ "rpcaps://h:99/eth0", true, "", "h", "", "", "h", 99, "eth0", "rpcaps://h:99/eth0" },
	{ "RPCAP://h/eth0", false, "", "h", "", "", "h", 2002, "eth0", "rpcap://h:2002/eth0" },
	{ "web=rpcap://192.0.2.1/eth0", false, "", "web", "", "", "192.0.2.1", 2002, "eth0", "rpcap://192.0.2.1:2002/eth0" },
	{ "acme/web=rpcap://h/eth0", false, "acme", "web", "", "", "h", 2002, "eth0", "rpcap://h:2002/eth0" },
	{ "six=rpcap://[2001:db8::1]/eth0", false, "", "six", "", "", "2001:db8::1", 2002, "eth0", "rpcap://[2001:db8::1]:2002/eth0" },
	{ "six=rpcap://[::1]:7/lo", false, "", "six", "", "", "::1", 7, "lo", "rpcap://[::1]:7/lo" },
	{ "rpcap://u:p@h/lo", false, "", "h", "u", "p", "h", 2002, "lo", "rpcap://h:2002/lo" },
	{ "rpcap://u@h/lo", false, "", "h", "u", "", "h", 2002, "lo", "rpcap://h:2002/lo" },
	{ "rpcap://u:a:b@c@h/lo", false, "", "h", "u", "a:b@c", "h", 2002, "lo", "rpcap://h:2002/lo" },
	{ "rpcap://us%40er:p%2Fw%3a%25@h:1/lo", false, "", "h", "us@er", "p/w:%", "h", 1, "lo", "rpcap://h:1/lo" },
	{ "rpcap://h/%5CDevice%5CNPF_%7B1%7D", false, "", "h", "", "", "h", 2002, "\\Device\\NPF_{1}",
	    "rpcap://h:2002/\\Device\\NPF_{1}" },
	{ "rpcap://h/a/b", false, "", "h", "", "", "h", 2002, "a/b", "rpcap://h:2002/a/b" },
	{ "rpcap://h/%C3%A9", false, "", "h", "", "", "h", 2002, "\xc3\xa9", "rpcap://h:2002/??" },
};

START_TEST(is_understood)
{
	const struct good_case *c = &good[_i];
	char error[RPCAP_URL_ERROR_SIZE] = "";
	struct rpcap_url url;

	ck_assert(rpcap_url_is(c->text));
	ck_assert_msg(rpcap_url_parse(c->text, &url, error) == 0, "%s: %s", c->text, error);
	ck_assert_int_eq(url.tls, c->tls);
	ck_assert_int_eq(url.has_user, c->user[0] != '\0');
	ck_assert_str_eq(url.tenant, c->tenant);
	ck_assert_str_eq(url.name, c->name);
	ck_assert_str_eq(url.user, c->user);
	ck_assert_str_eq(url.password, c->password);
	ck_assert_str_eq(url.host, c->host);
	ck_assert_uint_eq(url.port, c->port);
	ck_assert_str_eq(url.interface, c->interface);
	ck_assert_str_eq(url.label, c->label);
}
END_TEST

static const struct {
	const char	*text, *words;
} bad[] = {
	{ "rpcap://h", "an interface is missing" },
	{ "rpcap://h/", "an interface is missing" },
	{ "rpcap:///eth0", "a host is missing" },
	{ "rpcap://u:seCret@/eth0", "a host is missing" },
	{ "rpcap://h:0/eth0", "port must be from 1 to 65535" },
	{ "rpcap://h:65536/eth0", "port must be from 1 to 65535" },
	{ "rpcap://[::1/eth0", "\"]\" is missing" },
	{ "rpcap://::1/eth0", "put NAME= before rpcap://" },
	{ "rpcap://h/a%", "two hexadecimal digits" },
	{ "rpcap://h/a%4", "two hexadecimal digits" },
	{ "rpcap://h/a%4g", "two hexadecimal digits" },
	{ "rpcap://h/a%00b", "control character" },
	{ "rpcap://h/a%0ab", "control character" },
	{ "rpcap://h/a@b", "%40" },
	{ "rpcap://:seCret@h/lo", "a user is missing" },
	{ "rpcap://u:seC/ret@h/lo", "%2f" },
	{ "rpcap://u:seCret%zz@h/lo", "password: \"%\" needs" },
	{ "-a=rpcap://h/lo", "cannot be a VM's name" },
	{ "=rpcap://h/lo", "cannot be a VM's name" },
	{ "web rpcap://h/lo", "may stand before" },
	{ "/web=rpcap://h/lo", "cannot be a tenant's name" },
	{ "a/b/c=rpcap://h/lo", "cannot be a VM's name" },
	{ "six=rpcap://2001:db8::g/lo", "not an IPv6 address" },
	{ "h:2002", "is needed" },
};

START_TEST(is_refused)
{
	char error[RPCAP_URL_ERROR_SIZE] = "";
	struct rpcap_url url;

	ck_assert_int_eq(rpcap_url_parse(bad[_i].text, &url, error), -1);
	ck_assert_msg(strstr(error, bad[_i].words) != NULL, "%s: %s", bad[_i].text, error);
	ck_assert_msg(strstr(error, "seC") == NULL && strstr(error, "ret") == NULL, "%s", error);
}
END_TEST

START_TEST(long_parts)
{
	static const char *const forms[] = { "rpcap://h/%s", "rpcap://%s/lo", "rpcap://%s@h/lo", "rpcap://u:%s@h/lo", "%s=rpcap://h/lo",
		"a/%s=rpcap://h/lo" };
	char part[700], text[800], error[RPCAP_URL_ERROR_SIZE];
	struct rpcap_url url;

	for (size_t len = 1; len < sizeof(part); len++) {
		memset(part, 'a', len);
		part[len] = '\0';
		for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
			size_t max = i == 1 ? IDENTITY_NAME_SIZE - 1 : i < 4 ? RPCAP_URL_PART_SIZE - 1 : IDENTITY_NAME_SIZE - 1;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			snprintf(text, sizeof(text), forms[i], part);
#pragma GCC diagnostic pop
			ck_assert_msg((rpcap_url_parse(text, &url, error) == 0) == (len <= max), "%zu bytes: %s", len, text);
		}
	}
}
END_TEST

START_TEST(others_are_agents)
{
	static const char *const texts[] = { "h", "h:2002", "[::1]:8827", "192.0.2.1", "rpcap", "rpcap.example:1", "http://h/x", "xrpcap://h/lo",
		"" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(!rpcap_url_is(texts[i]), "%s", texts[i]);
}
END_TEST

/* Forever the same: files and rows of a store go by it. */
START_TEST(uuid_stays)
{
	char a[IDENTITY_UUID_SIZE], b[IDENTITY_UUID_SIZE];

	rpcap_url_uuid("rpcap", "web", a);
	ck_assert_str_eq(a, "7899f982-47ba-8fb2-8733-acf797d1e29a");
	ck_assert(identity_uuid_valid(a));
	rpcap_url_uuid("rpcapw", "eb", b);
	ck_assert_str_ne(a, b);
}
END_TEST

START_TEST(passwords_are_hidden)
{
	char with[] = "--pull=web=rpcap://user:pass:w@rd@h/lo", without[] = "rpcap://user@h/lo", agent[] = "h:2002";

	rpcap_url_hide(with);
	ck_assert_str_eq(with, "--pull=web=rpcap://user:xxxxxxxxx@h/lo");
	rpcap_url_hide(without);
	ck_assert_str_eq(without, "rpcap://user@h/lo");
	rpcap_url_hide(agent);
	ck_assert_str_eq(agent, "h:2002");
}
END_TEST

/* --- lists of them --- */

static struct pulls *
make(const char *const *texts, const char *tenant, const char *other, char *error)
{
	char *values[8], *tenants[2] = { (char *)(uintptr_t)tenant, (char *)(uintptr_t)other };
	struct conf_list list = { .value = values }, allowed = { .value = tenants };
	const struct pull_settings settings = { .list = &list, .tenants = &allowed };

	for (; texts[list.count] != NULL; list.count++)
		values[list.count] = (char *)(uintptr_t)texts[list.count];
	allowed.count = tenant == NULL ? 0 : other == NULL ? 1 : 2;
	error[0] = '\0';
	return pulls_new(&settings, error, 512);
}

START_TEST(lists_are_checked)
{
	static const struct {
		const char	*texts[4], *tenant, *other, *words;
	} cases[] = {
		{ { "rpcap://h/eth0", "rpcap://h/eth1", "h" }, NULL, NULL, NULL },
		{ { "rpcap://h/eth0", "a=rpcaps://H:2002/eth0" }, NULL, NULL, "the same interface twice" },
		{ { "rpcap://h/eth0", "rpcap://h:2003/eth0" }, NULL, NULL, NULL },
		{ { "rpcap://h/eth0" }, "acme", NULL, NULL },
		{ { "rpcap://h/eth0" }, "acme", "other", "which tenant's?" },
		{ { "other/h=rpcap://h/eth0" }, "acme", "other", NULL },
		{ { "x/h=rpcap://h/eth0" }, "acme", "other", "does not take VMs of tenant x" },
		{ { "rpcap://u:seCret@h" }, NULL, NULL, "an interface is missing" },
	};
	char error[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pulls *pulls = make(cases[i].texts, cases[i].tenant, cases[i].other, error);

		ck_assert_msg((pulls != NULL) == (cases[i].words == NULL), "%zu: %s", i, error);
		ck_assert_msg(cases[i].words == NULL || strstr(error, cases[i].words) != NULL, "%zu: %s", i, error);
		ck_assert_ptr_null(strstr(error, "seCret"));
		pulls_free(pulls);
	}
}
END_TEST

START_TEST(tls_is_needed_by_some)
{
	static const char *const plain[] = { "rpcap://h/eth0", "h", NULL }, *const tls[] = { "h", "rpcaps://h/eth0", NULL };
	struct pulls *pulls;
	char error[512];

	ck_assert_ptr_nonnull(pulls = make(plain, NULL, NULL, error));
	ck_assert(!pulls_need_tls(pulls));
	pulls_free(pulls);
	ck_assert_ptr_nonnull(pulls = make(tls, NULL, NULL, error));
	ck_assert(pulls_need_tls(pulls));
	pulls_free(pulls);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rpcap_url");
	TCase *tc = tcase_create("rpcap_url");
	SRunner *runner = srunner_create(suite);
	int failed;

	log_init("check_rpcap_url", LOG_LEVEL_ERROR);
	tcase_add_loop_test(tc, is_understood, 0, (int)(sizeof(good) / sizeof(good[0])));
	tcase_add_loop_test(tc, is_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tc, long_parts);
	tcase_add_test(tc, others_are_agents);
	tcase_add_test(tc, uuid_stays);
	tcase_add_test(tc, passwords_are_hidden);
	tcase_add_test(tc, lists_are_checked);
	tcase_add_test(tc, tls_is_needed_by_some);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
