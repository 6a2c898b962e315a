/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/link_netif.h"

/* lo eth0 eth1 (down) ens5 docker0, default routes by eth0 and ens5 */
static struct netif netifs[] = {
	{ .tap = { .ifindex = 1, .name = "lo" }, .up = true, .running = true, .loopback = true },
	{ .tap = { .ifindex = 2, .name = "eth0" }, .up = true, .running = true, .default_route = true },
	{ .tap = { .ifindex = 3, .name = "eth1" }, .default_route = true },
	{ .tap = { .ifindex = 4, .name = "ens5" }, .up = true, .default_route = true },
	{ .tap = { .ifindex = 5, .name = "docker0" }, .up = true, .running = true },
};
static struct netif_table table = { .netif = netifs, .count = sizeof(netifs) / sizeof(netifs[0]) };

static const struct {
	const char	*guest;		/* patterns, separated by blanks */
	const char	*policy;
	const char	*picked;
} cases[] = {
	{ "", "", "eth0 ens5" },
	{ "eth0", "", "eth0" },
	{ "eth1", "", "" },
	{ "eth*", "", "eth0" },
	{ "e*", "", "eth0 ens5" },
	{ "docker? ens5", "", "ens5 docker0" },
	{ "[de]*", "", "eth0 ens5 docker0" },
	{ "lo", "", "lo" },
	{ "*", "", "lo eth0 ens5 docker0" },
	{ "nothing", "", "" },
	{ "", "docker*", "docker0" },
	{ "", "*", "eth0 ens5 docker0" },
	{ "", "lo", "lo" },
	{ "", "lo,eth0", "lo eth0" },
	{ "", "l*", "" },
	{ "", "ens5, docker0", "ens5 docker0" },
	{ "", ",", "" },
	{ "e*", "*0", "eth0" },
	{ "e*", "docker0", "" },
	{ "e*", "lo", "" },
	{ "lo eth0", "*", "lo eth0" },
};

/* Cuts text at blanks, in place, into the list. */
static void
list_of(char *text, struct conf_list *list, char *value[8])
{
	char *word;

	list->value = value;
	list->origin = NULL;
	list->count = 0;
	for (word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
		value[list->count++] = word;
}

static void
pick(const char *guest, const char *policy, char *names, size_t size)
{
	struct ipc_tap_interface out[MSG_INTERFACES_MAX];
	struct conf_list list;
	char text[64], *value[8];
	size_t i, count, left_out, len = 0;

	snprintf(text, sizeof(text), "%s", guest);
	list_of(text, &list, value);
	count = netif_pick(&table, &list, policy, out, &left_out);
	ck_assert_uint_eq(left_out, 0);
	names[0] = '\0';
	for (i = 0; i < count; i++)
		len += (size_t)snprintf(names + len, size - len, "%s%s", i > 0 ? " " : "", out[i].name);
}

START_TEST(picks_as_named)
{
	char names[256];

	pick(cases[_i].guest, cases[_i].policy, names, sizeof(names));
	ck_assert_msg(strcmp(names, cases[_i].picked) == 0, "-i \"%s\", policy \"%s\": \"%s\", not \"%s\"", cases[_i].guest,
	    cases[_i].policy, names, cases[_i].picked);
}
END_TEST

/* Picked as eth0, then renamed: still picked, unless another card took its place. */
START_TEST(renamed_is_still_picked)
{
	struct netif old = { .tap = { .ifindex = 7, .name = "eth0", .has_mac = true, .mac = { 2, 1 } }, .up = true }, new = old;
	struct netif_table before = { .netif = &old, .count = 1 }, after = { .netif = &new, .count = 1 };
	struct ipc_tap_interface out[MSG_INTERFACES_MAX];
	char *patterns[] = { "eth*" };
	const struct conf_list guest = { .value = patterns, .count = 1 };
	size_t left_out;

	strcpy(new.tap.name, "ens3");
	netif_carry(&before, &after);
	ck_assert_uint_eq(netif_pick(&after, &guest, "", out, &left_out), 0);
	ck_assert_uint_eq(netif_pick(&before, &guest, "", out, &left_out), 1);
	netif_carry(&before, &after);
	ck_assert_uint_eq(netif_pick(&after, &guest, "", out, &left_out), 1);
	ck_assert_str_eq(out[0].name, "ens3");
	new.known_as[0] = '\0';
	new.tap.mac[1] = 9;
	netif_carry(&before, &after);
	ck_assert_uint_eq(netif_pick(&after, &guest, "", out, &left_out), 0);
}
END_TEST

/* A number says whether addresses are the same, of one interface and among all. */
START_TEST(addresses_have_numbers)
{
	struct netif old[2] = { { .tap = { .ifindex = 7 }, .address_count = 1, .address = { { 2, { 192, 0, 2, 1 } } } },
	    { .tap = { .ifindex = 9 } } };
	struct netif new[2];
	struct netif_table none = { 0 }, before = { .netif = old, .count = 2 }, after = { .netif = new, .count = 2 };

	netif_carry(&none, &before);
	ck_assert_uint_gt(old[0].addresses, 0);
	ck_assert_uint_ne(old[0].addresses, old[1].addresses);
	memcpy(new, old, sizeof(new));
	new[0].addresses = new[1].addresses = 0;
	netif_carry(&before, &after);
	ck_assert_uint_eq(new[0].addresses, old[0].addresses);
	ck_assert_uint_eq(new[1].addresses, old[1].addresses);
	new[0].address[0].address[3] = 2;
	new[1].address_count = 1;
	netif_carry(&before, &after);
	ck_assert_uint_gt(new[0].addresses, old[1].addresses);
	ck_assert_uint_gt(new[1].addresses, new[0].addresses);
}
END_TEST

START_TEST(gone_is_left_out)
{
	char names[256];

	netifs[1].gone = true;
	pick("*", "", names, sizeof(names));
	netifs[1].gone = false;
	ck_assert_str_eq(names, "lo ens5 docker0");
}
END_TEST

START_TEST(no_more_than_fit)
{
	struct ipc_tap_interface out[MSG_INTERFACES_MAX];
	struct netif many[MSG_INTERFACES_MAX + 3];
	struct netif_table all = { .netif = many, .count = MSG_INTERFACES_MAX + 3 };
	char pattern[] = "veth*", *value[] = { pattern };
	struct conf_list list = { .value = value, .count = 1 };
	size_t left_out;
	unsigned i;

	memset(many, 0, sizeof(many));
	for (i = 0; i < all.count; i++) {
		many[i].tap.ifindex = i + 1;
		many[i].up = true;
		snprintf(many[i].tap.name, sizeof(many[i].tap.name), "veth%u", i);
	}
	ck_assert_uint_eq(netif_pick(&all, &list, "", out, &left_out), MSG_INTERFACES_MAX);
	ck_assert_uint_eq(left_out, 3);
	ck_assert_uint_eq(out[MSG_INTERFACES_MAX - 1].ifindex, MSG_INTERFACES_MAX);
}
END_TEST

/* --- default routes --- */

static const char routes_ipv4[] =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "docker0\t00000000\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
    "ens5\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    "ens5\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";

static const char routes_ipv6[] =
    "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001"
    " 00000000 00000001     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001"
    " 00000000 00450003     ens5\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001"
    " 00000000 00200200       lo\n"
    "20010000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001"
    " 00000000 00000001  docker0\n";

static void
parse_routes(const char *text, size_t len, void (*parse)(struct netif_table *, FILE *), char *names, size_t size)
{
	FILE *file = fmemopen((void *)(uintptr_t)text, len, "r");
	size_t i, used = 0;

	ck_assert_ptr_nonnull(file);
	for (i = 0; i < table.count; i++)
		netifs[i].default_route = false;
	parse(&table, file);
	fclose(file);
	names[0] = '\0';
	for (i = 0; i < table.count; i++)
		if (netifs[i].default_route)
			used += (size_t)snprintf(names + used, size - used, "%s ", netifs[i].tap.name);
}

/* After a route to somewhere the kernel lists no default one. */
START_TEST(default_route_ipv4)
{
	char names[128];

	parse_routes(routes_ipv4, strlen(routes_ipv4), netif_routes_ipv4, names, sizeof(names));
	ck_assert_str_eq(names, "eth0 ");
}
END_TEST

START_TEST(default_route_ipv6)
{
	char names[128];

	parse_routes(routes_ipv6, strlen(routes_ipv6), netif_routes_ipv6, names, sizeof(names));
	ck_assert_str_eq(names, "ens5 ");
}
END_TEST

START_TEST(cut_routes_name_no_other)
{
	char names[128];
	size_t len;

	for (len = 1; len < strlen(routes_ipv4); len++) {
		parse_routes(routes_ipv4, len, netif_routes_ipv4, names, sizeof(names));
		ck_assert(strcmp(names, "") == 0 || strcmp(names, "eth0 ") == 0);
	}
	for (len = 1; len < strlen(routes_ipv6); len++) {
		parse_routes(routes_ipv6, len, netif_routes_ipv6, names, sizeof(names));
		ck_assert(strcmp(names, "") == 0 || strcmp(names, "ens5 ") == 0);
	}
}
END_TEST

/* --- this machine --- */

START_TEST(scan_finds_loopback)
{
	struct netif_table here;
	const struct netif *lo;

	ck_assert_int_eq(netif_scan(&here), 0);
	ck_assert_ptr_nonnull(lo = netif_by_name(&here, "lo"));
	ck_assert(lo->loopback);
	ck_assert(!lo->default_route);
	ck_assert(!lo->tap.has_mac);
	ck_assert_uint_eq(lo->tap.ifindex, if_nametoindex("lo"));
	ck_assert_ptr_eq(netif_by_index(&here, lo->tap.ifindex), lo);
	ck_assert_ptr_null(netif_by_name(&here, "a name that is too long for one"));
	if (lo->tap.ipv4_count > 0)
		ck_assert_int_eq(memcmp(lo->tap.ipv4[0], "\x7f\0\0\x01\xff\0\0\0", 8), 0);
	ck_assert_uint_ge(lo->address_count, lo->tap.ipv4_count + lo->tap.ipv6_count);
	netif_clear(&here);
	ck_assert_uint_eq(here.count, 0);
}
END_TEST

START_TEST(unknown_name_is_told)
{
	char good[] = "lo", glob[] = "nosuch*", bad[] = "nosuch0", origin[] = "agent.conf:3";
	char *value[] = { good, glob, bad }, *origins[] = { origin, origin, origin };
	struct conf_list list = { .value = value, .origin = origins, .count = 2 };
	struct conf_error error;

	ck_assert_int_eq(netif_check_names(&list, &error), 0);
	list.count = 3;
	ck_assert_int_eq(netif_check_names(&list, &error), -1);
	ck_assert_ptr_nonnull(strstr(error.text, "agent.conf:3"));
	ck_assert_ptr_nonnull(strstr(error.text, "nosuch0"));
	ck_assert_ptr_nonnull(strstr(error.text, "lo"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("link_netif");
	TCase *tc = tcase_create("link_netif");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, picks_as_named, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tc, gone_is_left_out);
	tcase_add_test(tc, renamed_is_still_picked);
	tcase_add_test(tc, addresses_have_numbers);
	tcase_add_test(tc, no_more_than_fit);
	tcase_add_test(tc, default_route_ipv4);
	tcase_add_test(tc, default_route_ipv6);
	tcase_add_test(tc, cut_routes_name_no_other);
	tcase_add_test(tc, scan_finds_loopback);
	tcase_add_test(tc, unknown_name_is_told);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
