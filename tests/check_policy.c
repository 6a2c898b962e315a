/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "proto/identity.h"

#include "collector/policy.h"

#define UUID	"11111111-2222-3333-4444-555555555555"

static struct policy_set *set;
static struct msg_policy policy;
static struct policy_dedup dedup;
static char error[POLICY_ERROR_SIZE];

static void
setup(void)
{
	set = policy_set_new();
	ck_assert_ptr_nonnull(set);
	error[0] = '\0';
}

static void
teardown(void)
{
	policy_set_unref(set);
}

static void
parse(const char *text)
{
	ck_assert_msg(policy_set_parse(set, "f", text, error, sizeof(error)) == 0, "%s", error);
}

static void
override(const char *scope, const char *text)
{
	ck_assert_msg(policy_set_override(set, scope, text, error, sizeof(error)) == 0, "%s", error);
}

/* The policy of acme's web1, as text. */
static const char *
resolved(void)
{
	static char *text;

	free(text);
	policy_set_resolve(set, "acme", "web1", UUID, "", &policy, &dedup);
	text = policy_to_text(&policy, &dedup);
	return text;
}

START_TEST(every_key_is_taken)
{
	parse("# all of them\n[vm web1]  # this one\n interfaces = eth0,ens*\nfilter = tcp port 443 or vlan\nsnaplen=128\n"
	    "direction = in\r\ncompress = zlib:1\nrate-limit = 10M\nslice = headers:64\n"
	    "mask = yes\ndedup = withhold\nnetwork = eth0:blue , green\nwithhold-share = balanced\nlabels = web , edge\n");
	ck_assert_str_eq(resolved(), "interfaces = eth0,ens*\nfilter = tcp port 443 or vlan\nsnaplen = 128\ndirection = in\n"
	    "compress = zlib:1\nrate-limit = 10000000\nslice = headers:64\nmask = yes\n"
	    "dedup = withhold\nnetwork = eth0:blue,green\nwithhold-share = balanced\n");
	ck_assert_uint_eq(policy.version, 0);
	ck_assert_uint_eq(policy.direction, DIRECTION_IN);
}
END_TEST

START_TEST(nothing_set_is_no_policy)
{
	parse("[tenant blue]\nsnaplen = 96\n[vm web1]\nlabels = x\n");
	ck_assert(!policy_set_resolve(set, "acme", "web1", UUID, "", &policy, &dedup));
	ck_assert_str_eq(resolved(), "");
	ck_assert(policy_set_resolve(set, "blue", "other", UUID, "", &policy, &dedup));
}
END_TEST

START_TEST(the_nearest_scope_wins)
{
	parse("[vm web1]\nlabels = a,b\n[label b]\nsnaplen = 4\ninterfaces = b\n[label a]\nsnaplen = 3\n[tenant acme]\n"
	    "snaplen = 2\nfilter = t\n[default]\nsnaplen = 1\nfilter = d\ncompress = none\n[label c]\nsnaplen = 9\n");
	ck_assert_str_eq(resolved(), "interfaces = b\nfilter = t\nsnaplen = 3\ncompress = none\n");
	override("label b", "snaplen = 44\ninterfaces = bb");	/* label a stands behind b in the file */
	ck_assert_str_eq(resolved(), "interfaces = bb\nfilter = t\nsnaplen = 3\ncompress = none\n");
	override("default", "filter = x\ncompress = zlib");
	ck_assert_str_eq(resolved(), "interfaces = bb\nfilter = t\nsnaplen = 3\ncompress = zlib\n");
	override("vm " UUID, "snaplen = 5\nfilter =");
	ck_assert_str_eq(resolved(), "interfaces = bb\nsnaplen = 5\ncompress = zlib\n");
	override("vm web1", "labels = c");
	override("label c", "rate-limit = 1k");
	ck_assert_str_eq(resolved(), "snaplen = 5\ncompress = zlib\nrate-limit = 1000\n");
}
END_TEST

START_TEST(labels_of_enrolment_count_too)
{
	parse("[label role=web]\nsnaplen = 1\n[label edge]\nfilter = e\n[label role=db]\nsnaplen = 2\n[label role]\nsnaplen = 3\n"
	    "[vm other]\nlabels = role=db\n");
	ck_assert(!policy_set_resolve(set, "acme", "web1", UUID, "", &policy, &dedup));
	ck_assert(policy_set_resolve(set, "acme", "web1", UUID, "role=web,edge", &policy, &dedup));
	ck_assert_uint_eq(policy.snaplen, 1);
	ck_assert_str_eq(policy.filter, "e");
	ck_assert(!policy_set_resolve(set, "acme", "web1", UUID, "role=we,edg,xrole=web", &policy, &dedup));
	ck_assert(policy_set_resolve(set, "acme", "other", UUID, "edge", &policy, &dedup));	/* both, and in the file's order */
	ck_assert_uint_eq(policy.snaplen, 2);
	ck_assert_str_eq(policy.filter, "e");
	override("label role=web", "filter = w");
	ck_assert(policy_set_resolve(set, "acme", "web1", UUID, "role=web", &policy, &dedup));
	ck_assert_str_eq(policy.filter, "w");
}
END_TEST

/* An agent may wish for a name: that of another VM's UUID gives it nothing of that one's policy. */
START_TEST(a_uuid_is_no_name)
{
	static const char other[] = "99999999-2222-3333-4444-555555555555";

	parse("[vm 99999999-2222-3333-4444-555555555555]\nfilter = secret\nlabels = a\n[label a]\nsnaplen = 1\n");
	ck_assert(policy_set_resolve(set, "acme", "web1", other, "", &policy, &dedup));
	ck_assert(!policy_set_resolve(set, "acme", other, UUID, "", &policy, &dedup));
	ck_assert_str_eq(policy.filter, "");
	override("vm 99999999-2222-3333-4444-555555555555", "snaplen = 2");
	ck_assert(!policy_set_resolve(set, "acme", other, UUID, "", &policy, &dedup));
}
END_TEST

/* Off that is said is another thing than nothing said, which the tenant's other VMs change. */
START_TEST(dedup_asks_for_digests)
{
	static const struct { const char *text; enum dedup_mode mode; bool set, digest, balanced; } cases[] = {
		{ "snaplen = 1\n", DEDUP_OFF, false, false, false }, { "dedup = off\n", DEDUP_OFF, true, false, false },
		{ "dedup = tag\n", DEDUP_TAG, true, true, false }, { "dedup = withhold\n", DEDUP_WITHHOLD, true, true, false },
		{ "withhold-share = balanced\n", DEDUP_OFF, false, false, true },
		{ "withhold-share = sender\n", DEDUP_OFF, false, false, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct policy_set *one = policy_set_new();

		ck_assert_int_eq(policy_set_override(one, "vm web1", cases[i].text, error, sizeof(error)), 0);
		policy_set_resolve(one, "acme", "web1", UUID, "", &policy, &dedup);
		ck_assert_int_eq(dedup.mode, cases[i].mode);
		ck_assert_int_eq(dedup.mode_set, cases[i].set);
		ck_assert_int_eq(policy.digest, cases[i].digest);
		ck_assert_int_eq(dedup.balanced, cases[i].balanced);
		policy_set_unref(one);
	}
	parse("[default]\ndedup = withhold\nwithhold-share = balanced\nnetwork = a\n[vm web1]\ndedup = off\nwithhold-share = sender\n"
	    "network =\n");
	ck_assert_str_eq(resolved(), "");
	ck_assert(dedup.mode_set);
}
END_TEST

START_TEST(an_interface_has_its_network)
{
	static const struct { const char *list, *ifname, *network; } cases[] = {
		{ "", "eth0", "" }, { "blue", "eth0", "blue" }, { "eth0:red", "eth0", "red" }, { "eth0:red", "eth1", "" },
		{ "green,eth*:red", "eth1", "red" }, { "eth0:red,eth*:blue,green", "eth0", "red" },
		{ "eth0:red,eth*:blue,green", "eth1", "blue" }, { "eth0:red,eth*:blue,green", "vpn0", "green" },
		{ "eth?:red,*:blue", "eth10", "blue" }, { "[ev]*:a.b-c_d", "vpn0", "a.b-c_d" }, { "eth:red", "eth0", "" },
	};
	char name[IDENTITY_NAME_SIZE], text[128];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "network = %s\n", cases[i].list);
		override("vm web1", text);
		policy_set_resolve(set, "acme", "web1", UUID, "", &policy, &dedup);
		policy_network(&dedup, cases[i].ifname, name, sizeof(name));
		ck_assert_msg(strcmp(name, cases[i].network) == 0, "%s: %s is in \"%s\"", cases[i].list, cases[i].ifname, name);
	}
}
END_TEST

START_TEST(overrides_add_up)
{
	char *text;

	override("vm web1", "filter = tcp\nsnaplen = 96");
	override("vm web1", "snaplen = 100\nrate-limit = 0");
	text = policy_set_override_text(set, "vm web1");
	ck_assert_str_eq(text, "filter = tcp\nsnaplen = 100\nrate-limit = 0\n");
	free(text);
	ck_assert_ptr_null(policy_set_override_text(set, "vm web2"));
	ck_assert_int_eq(policy_set_override(set, "vm web1", "[default]\n", error, sizeof(error)), -1);
}
END_TEST

/* What a tenant may take is of no VM's policy, and an override's quotas are told from its other keys. */
START_TEST(quotas)
{
	struct tenant_quota quota;
	char *text;

	ck_assert_int_eq(policy_set_parse(set, "f", "[tenant acme]\ntenant-store = 2G\ntenant-rate = 10M\ntenant-sessions = 7\n", error,
	    sizeof(error)), 0);
	policy_set_quota(set, "acme", &quota);
	ck_assert_uint_eq(quota.store, UINT64_C(2) << 30);
	ck_assert_uint_eq(quota.rate, 10000000);
	ck_assert_uint_eq(quota.sessions, 7);
	ck_assert(!policy_set_resolve(set, "acme", "web1", UUID, "", &policy, &dedup));
	policy_set_quota(set, "globex", &quota);
	ck_assert(quota.store == 0 && quota.rate == 0 && quota.sessions == 0);
	ck_assert_int_eq(policy_set_override(set, "tenant acme", "filter = tcp\ntenant-sessions = 0\n", error, sizeof(error)), 0);
	policy_set_quota(set, "acme", &quota);
	ck_assert_uint_eq(quota.sessions, 0);
	ck_assert_uint_eq(quota.store, UINT64_C(2) << 30);
	ck_assert_ptr_nonnull(text = policy_set_override_quotas(set, "tenant acme"));
	ck_assert_str_eq(text, "tenant-sessions = 0\n");
	free(text);
	ck_assert_ptr_nonnull(text = policy_set_override_quotas(set, "tenant globex"));
	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

START_TEST(what_is_wrong_is_said_with_its_place)
{
	static const struct { const char *text, *error; } cases[] = {
		{ "snaplen = 1\n", "f:1: a [section] must come first" },
		{ "\n[vm]\n", "f:2: \"vm\" is no scope" }, { "[host x]\n", "f:1: \"host x\" is no scope" },
		{ "[vm a/b]\n", "f:1: \"a/b\" cannot be the name of a vm" }, { "[vm web1\n", "f:1: \"[vm web1\" lacks its ]" },
		{ "[default]\n\nsnaplen = 0\n", "f:3: \"0\" is not a snaplen" }, { "[default]\nsnaplen = 262145\n", "f:2:" },
		{ "[default]\nsnaplen = -1\n", "f:2:" }, { "[default]\nsnaplen = 9x\n", "f:2:" }, { "[default]\nsnaplen =\n",
		    "f:2:" },
		{ "[default]\ndirection = both\n", "f:2: \"both\" is not a direction" },
		{ "[default]\ncompress = rar\n", "f:2:" }, { "[default]\nrate-limit = 10X\n", "f:2: \"10X\" is not a rate" },
		{ "[default]\nrate-limit = 99999999999999999G\n", "f:2:" }, { "[default]\nlabels = a\n",
		    "f:2: labels can be given" },
		{ "[vm x]\nlabels = a,,b\n", "f:2: \"\" is not a label" }, { "[default]\nfilters = tcp\n",
		    "f:2: unknown key \"filters\"" },
		{ "[vm x]\ntenant-store = 1G\n", "f:2: tenant-store, tenant-sessions and tenant-rate can be given to a tenant only" },
		{ "[default]\ntenant-rate = 1G\n", "f:2: tenant-store," }, { "[label x]\ntenant-sessions = 1\n", "f:2: tenant-store," },
		{ "[tenant x]\ntenant-store = 1P\n", "f:2: \"1P\" is not a size" },
		{ "[tenant x]\ntenant-store = 9999999999T\n", "f:2:" }, { "[tenant x]\ntenant-store = -1\n", "f:2:" },
		{ "[tenant x]\ntenant-sessions = 1.5\n", "f:2:" }, { "[tenant x]\ntenant-rate = fast\n", "f:2:" },
		{ "[default]\nslice = header\n", "f:2: \"header\" is not none, headers" }, { "[default]\nslice = headers:\n", "f:2:" },
		{ "[default]\nslice = headers:65536\n", "f:2:" }, { "[default]\nslice = headers:-1\n", "f:2:" },
		{ "[default]\nmask = 1\n", "f:2: \"1\" is not yes or no" },
		{ "[default]\ndedup = yes\n", "f:2: \"yes\" is not off, tag or withhold" }, { "[default]\ndedup =\n", "f:2:" },
		{ "[default]\nwithhold-share = all\n", "f:2: \"all\" is not sender or balanced" },
		{ "[default]\nnetwork = a b\n", "f:2: \"a b\" is not a network" }, { "[default]\nnetwork = a,b\n",
		    "f:2: \"b\" is not possible" },
		{ "[default]\nnetwork = eth0:\n", "f:2: \"eth0:\" is not a network" }, { "[default]\nnetwork = :a\n", "f:2:" },
		{ "[default]\nnetwork = eth0:1:a\n", "f:2:" }, { "[default]\nnetwork = a,,eth0:b\n", "f:2:" },
		{ "[default]\nnetwork = -a\n", "f:2:" },
		{ "[default]\nfilter tcp\n", "f:2: \"filter tcp\" is not \"key = value\"" }, { "[default]\nfilter = a\x1b\n",
		    "f:2: byte 0x1b" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct policy_set *bad = policy_set_new();

		ck_assert_msg(policy_set_parse(bad, "f", cases[i].text, error, sizeof(error)) == -1, "%s", cases[i].text);
		ck_assert_msg(strstr(error, cases[i].error) == error, "%s: %s", cases[i].error, error);
		policy_set_unref(bad);
	}
	ck_assert_int_eq(policy_set_load_file(set, "/nonexistent/policy", error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent/policy"));
	ck_assert_int_eq(policy_check_scope("tenant acme", error, sizeof(error)), 0);
	ck_assert_int_eq(policy_check_scope("tenant", error, sizeof(error)), -1);
}
END_TEST

START_TEST(values_too_long_are_refused)
{
	size_t size = MSG_FILTER_SIZE + 64;
	char *text = malloc(size);

	for (size_t len = MSG_FILTER_SIZE - 1; len <= MSG_FILTER_SIZE; len++) {
		snprintf(text, size, "[default]\nfilter = %0*d\n", (int)len, 0);
		ck_assert_int_eq(policy_set_parse(set, "f", text, error, sizeof(error)), len < MSG_FILTER_SIZE ? 0 : -1);
	}
	free(text);
}
END_TEST

START_TEST(every_cut_and_flip_is_survived)
{
	static const char good[] = "[vm web1]\nfilter = tcp port 80 # x\nsnaplen = 128\nlabels = a,b\n[label a]\nrate-limit = 5M\n"
	    "network = eth*:blue,red\ndedup = tag\n";
	char text[sizeof(good)];
	unsigned taken = 0;

	for (size_t bit = 0; bit < (sizeof(good) - 1) * 8; bit++) {
		struct policy_set *one = policy_set_new();

		memcpy(text, good, sizeof(good));
		text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
		taken += policy_set_parse(one, "f", text, error, sizeof(error)) == 0;
		policy_set_resolve(one, "acme", "web1", UUID, "", &policy, &dedup);
		policy_set_unref(one);
	}
	for (size_t len = 0; len < sizeof(good); len++) {
		struct policy_set *one = policy_set_new();

		memcpy(text, good, len);
		text[len] = '\0';
		taken += policy_set_parse(one, "f", text, error, sizeof(error)) == 0;
		policy_set_unref(one);
	}
	ck_assert_uint_gt(taken, 50);
	ck_assert_uint_lt(taken, sizeof(good) * 8);
}
END_TEST

static void
count_section(const char *scope, const char *text, bool is_override, void *arg)
{
	unsigned *seen = arg;

	ck_assert_ptr_nonnull(text);
	*seen += is_override ? 10 : 1;
	ck_assert_int_eq(policy_check_scope(scope, error, sizeof(error)), 0);
}

START_TEST(all_sections_are_listed)
{
	unsigned seen = 0;

	parse("[default]\nsnaplen = 1\n[vm web1]\nsnaplen = 2\n");
	override("vm web1", "snaplen = 3");
	policy_set_each(set, count_section, &seen);
	ck_assert_uint_eq(seen, 12);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tcase = tcase_create("policy");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, every_key_is_taken);
	tcase_add_test(tcase, nothing_set_is_no_policy);
	tcase_add_test(tcase, the_nearest_scope_wins);
	tcase_add_test(tcase, labels_of_enrolment_count_too);
	tcase_add_test(tcase, a_uuid_is_no_name);
	tcase_add_test(tcase, dedup_asks_for_digests);
	tcase_add_test(tcase, an_interface_has_its_network);
	tcase_add_test(tcase, overrides_add_up);
	tcase_add_test(tcase, quotas);
	tcase_add_test(tcase, what_is_wrong_is_said_with_its_place);
	tcase_add_test(tcase, values_too_long_are_refused);
	tcase_add_test(tcase, every_cut_and_flip_is_survived);
	tcase_add_test(tcase, all_sections_are_listed);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
