/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <sqlite3.h>

#include "common/log.h"
#include "proto/flow.h"

#include "collector/catalog.h"
#include "collector/withheld.h"
#include "tests/bpf_frames.h"

#define PEER	"11111111-1111-1111-1111-111111111111"
#define VM	"22222222-2222-2222-2222-222222222222"
#define HERE	1u	/* link type */

static char dir[64], error[512];
static struct sqlite3 *db;
static struct withheld withheld;

static void
run(const char *sql)
{
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
}

static void
setup(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	strcpy(dir, "/tmp/check_withheld.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	db = catalog_open(dir, error, sizeof(error));
	ck_assert_msg(db != NULL, "%s", error);
	run("INSERT INTO vm (uuid, tenant, name) VALUES ('" PEER "', 't', 'web'), ('" VM "', 't', 'db')");
}

static void
teardown(void)
{
	char command[128];

	withheld_clear(&withheld);
	sqlite3_close(db);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void
add(const char *address, const char *own, const char *network, int balanced, const char *from, const char *to)
{
	char sql[512];

	snprintf(sql, sizeof(sql), "INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns, to_ns)"
	    " VALUES ('" VM "', '" PEER "', '%s', '%s', '%s', %d, %s, %s)", address, own, network, balanced, from, to);
	run(sql);
}

static size_t
load(uint64_t from_ns, uint64_t to_ns)
{
	withheld_clear(&withheld);
	ck_assert_msg(withheld_load(&withheld, db, VM, from_ns, to_ns, error, sizeof(error)) == 0, "%s", error);
	return withheld.count;
}

START_TEST(nothing_was_withheld)
{
	ck_assert_uint_eq(load(0, UINT64_MAX), 0);
}
END_TEST

START_TEST(a_span_has_all_of_its_row)
{
	const struct withheld_span *span;

	add("10.1.2.3", "192.168.1.1,no address,fd00::1", "blue", 1, "100", "NULL");
	ck_assert_uint_eq(load(0, UINT64_MAX), 1);
	span = &withheld.span[0];
	ck_assert_str_eq(span->peer, PEER);
	ck_assert_str_eq(span->peer_name, "web");
	ck_assert_str_eq(span->network, "blue");
	ck_assert(span->balanced);
	ck_assert_uint_eq(span->from_ns, 100);
	ck_assert_uint_eq(span->to_ns, UINT64_MAX);
	ck_assert_uint_eq(span->address.family, AF_INET);
	ck_assert_mem_eq(span->address.address, A4, 4);
	ck_assert_uint_eq(span->own_count, 2);
	ck_assert_mem_eq(span->own[0].address, B4, 4);
	ck_assert_uint_eq(span->own[1].family, AF_INET6);
}
END_TEST

START_TEST(spans_outside_the_time_are_left)
{
	add("10.1.2.3", "192.168.1.1", "", 0, "100", "200");
	ck_assert_uint_eq(load(201, UINT64_MAX), 0);
	ck_assert_uint_eq(load(0, 99), 0);
	ck_assert_uint_eq(load(200, 200), 1);
	ck_assert_uint_eq(load(0, 100), 1);
}
END_TEST

START_TEST(near_ones_are_one)
{
	add("10.1.2.3", "192.168.1.1", "", 0, "100", "200");
	add("10.1.2.3", "192.168.1.1", "", 0, "5000000200", "5000000300");
	add("10.1.2.3", "192.168.1.1", "", 0, "50000000000", "50000000001");
	add("10.1.2.3", "192.168.1.1", "red", 0, "300", "400");
	add("10.1.2.4", "192.168.1.1", "", 0, "300", "400");
	add("10.1.2.3", "192.168.1.2", "", 0, "300", "400");
	ck_assert_uint_eq(load(0, UINT64_MAX), 5);
	ck_assert_uint_eq(withheld.span[0].from_ns, 100);
	ck_assert_uint_eq(withheld.span[0].to_ns, 5000000300);
}
END_TEST

START_TEST(damaged_rows_are_passed_over)
{
	add("somewhere", "192.168.1.1", "", 0, "100", "200");
	add("10.1.2.3", "nobody", "", 0, "100", "200");
	ck_assert_uint_eq(load(0, UINT64_MAX), 0);
}
END_TEST

/* --- packets --- */

/* TCP from A4 to B4 (forth) or back, of a flow whose hash is what fits; its data. */
static struct withheld_packet
packet(bool forth, bool sent, int wanted_hash, int parity)
{
	static uint8_t frame[] = ETH "\x08\0" V4("\6", A4, B4) TCP(P1, P2);
	struct withheld_packet p = { .network = "", .at_ns = 150, .sent = sent, .linktype = HERE, .data = frame, .len = sizeof(frame) - 1 };
	struct flow flow;

	memcpy(frame + 14 + 12, forth ? A4 : B4, 4);
	memcpy(frame + 14 + 16, forth ? B4 : A4, 4);
	for (unsigned port = 1; port < 65536; port++) {
		frame[34] = (uint8_t)(port >> 8);
		frame[35] = (uint8_t)port;
		flow = flow_of(BPF_LINK_ETHERNET, 0, p.data, p.len);
		ck_assert(flow.known);
		if (wanted_hash >= 0 ? flow.hash == (unsigned)wanted_hash : flow.hash != 0 && flow.hash % 2 == (unsigned)parity)
			return p;
	}
	ck_abort_msg("no port has such a hash");
	return p;
}

static bool
left_out(struct withheld_packet p)
{
	return withheld_left_out(withheld.span, withheld.count, &p);
}

START_TEST(what_the_peer_sent_to_it)
{
	struct withheld_packet other_network = packet(true, true, -1, 1), early = other_network, late = other_network;

	add("10.1.2.3", "192.168.1.1", "", 0, "100", "200");
	ck_assert_uint_eq(load(0, UINT64_MAX), 1);
	ck_assert(left_out(packet(true, true, -1, 0)));
	ck_assert(left_out(packet(true, true, -1, 1)));
	ck_assert(!left_out(packet(true, true, 0, 0)));		/* an audit flow */
	ck_assert(!left_out(packet(false, true, -1, 1)));
	ck_assert(!left_out(packet(false, false, -1, 1)));	/* what the VM sent is its own */
	other_network.network = "blue";
	ck_assert(!left_out(other_network));
	early.at_ns = 99;
	ck_assert(!left_out(early));
	late.at_ns = 201;
	ck_assert(!left_out(late));
}
END_TEST

START_TEST(balanced_flows_are_shared)
{
	add("10.1.2.3", "192.168.1.1", "", 1, "100", "200");
	ck_assert_uint_eq(load(0, UINT64_MAX), 1);
	ck_assert(left_out(packet(true, true, -1, 0)));
	ck_assert(!left_out(packet(true, true, -1, 1)));
	ck_assert(left_out(packet(false, false, -1, 1)));	/* the peer received it: it delivers */
	ck_assert(!left_out(packet(false, false, -1, 0)));
	ck_assert(!left_out(packet(false, false, 0, 0)));
}
END_TEST

/* A day of them, of two addresses, and one of a third that lasts: whichever holds is found. */
START_TEST(many_spans)
{
	char from[32], to[32];
	struct withheld_packet p = packet(true, true, -1, 1);

	add("10.9.9.9", "192.168.1.1", "", 0, "1", "NULL");
	run("BEGIN");
	for (uint64_t i = 1; i < 2880; i++) {
		snprintf(from, sizeof(from), "%llu", (unsigned long long)(i * 30000000000));
		snprintf(to, sizeof(to), "%llu", (unsigned long long)(i * 30000000000 + 15000000000));
		add(i % 2 == 0 ? "10.1.2.3" : "10.1.2.4", "192.168.1.1", "", 0, from, to);
	}
	run("COMMIT");
	ck_assert_uint_eq(load(0, UINT64_MAX), 2880);
	for (uint64_t i = 1; i < 2880; i++)
		for (uint64_t at = 0; at <= 15; at += 15) {
			p.at_ns = i * 30000000000 + at * 1000000000;
			ck_assert(left_out(p) == (i % 2 == 0));
			p.at_ns = at == 0 ? p.at_ns - 1 : p.at_ns + 1;
			ck_assert(!left_out(p));
		}
}
END_TEST

/* A router may have parted what the VM left to the peer, and nobody can see that any more. */
START_TEST(balanced_parts_are_received)
{
	static const uint8_t forth[] = ETH "\x08\0" IP("\x45", "\x20\0", "\6", A4, B4) TCP(P1, P2);
	static const uint8_t back[] = ETH "\x08\0" IP("\x45", "\x20\0", "\6", B4, A4) TCP(P1, P2);
	struct withheld_packet p = packet(true, true, -1, 0);

	add("10.1.2.3", "192.168.1.1", "", 1, "100", "200");
	ck_assert_uint_eq(load(0, UINT64_MAX), 1);
	p.data = forth;
	ck_assert(!left_out(p));
	p.sent = false;
	p.data = back;
	ck_assert(left_out(p));
}
END_TEST

START_TEST(no_packet_at_all)
{
	struct withheld_packet p = packet(true, true, -1, 1);

	add("10.1.2.3", "192.168.1.1", "", 0, "100", "200");
	ck_assert_uint_eq(load(0, UINT64_MAX), 1);
	for (p.len = 0; p.len < 34 + 4; p.len++)
		ck_assert(!left_out(p));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("withheld");
	TCase *tcase = tcase_create("withheld");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, nothing_was_withheld);
	tcase_add_test(tcase, a_span_has_all_of_its_row);
	tcase_add_test(tcase, spans_outside_the_time_are_left);
	tcase_add_test(tcase, near_ones_are_one);
	tcase_add_test(tcase, damaged_rows_are_passed_over);
	tcase_add_test(tcase, what_the_peer_sent_to_it);
	tcase_add_test(tcase, balanced_flows_are_shared);
	tcase_add_test(tcase, many_spans);
	tcase_add_test(tcase, balanced_parts_are_received);
	tcase_add_test(tcase, no_packet_at_all);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
