/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/transit.h"
#include "tests/transit_lab.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define TCP_FLAGS	0x3f	/* without those of ECN */

static struct lab lab;
static struct transit t;

/* What is read beyond the end is seen by the sanitizers. */
static void
parse_bytes(struct transit *to, uint16_t linktype, const uint8_t *data, size_t len)
{
	static uint8_t *copy;

	free(copy);
	copy = malloc(len > 0 ? len : 1);
	ck_assert_ptr_nonnull(copy);
	if (len > 0)
		memcpy(copy, data, len);
	transit_parse(to, linktype, copy, len, len);
	if (to->kind == TRANSIT_NONE)
		return;
	ck_assert(to->payload >= copy && to->payload + to->payload_len <= copy + len);
	if (to->header != NULL)
		ck_assert(to->header >= copy && to->header + to->header_len <= to->payload);
}

static void
parse(struct transit *to, uint16_t linktype)
{
	parse_bytes(to, linktype, lab_data(&lab), lab_len(&lab));
}

/* As those that merge streams compare. */
static bool
same(const struct transit *a, const struct transit *b, const uint8_t *payload)
{
	bool tcp = a->kind == TRANSIT_TCP, empty = a->payload_len == 0;

	return a->kind == b->kind && a->family == b->family && a->flow == b->flow && a->protocol == b->protocol &&
	    memcmp(a->src, b->src, 16) == 0 && memcmp(a->dst, b->dst, 16) == 0 && a->group == b->group &&
	    a->src_port == b->src_port && a->dst_port == b->dst_port && a->fragment == b->fragment &&
	    (a->kind != TRANSIT_FRAGMENT || a->ip_id == b->ip_id) &&
	    (!tcp || (a->seq == b->seq && (a->tcp_flags & TCP_FLAGS) == (b->tcp_flags & TCP_FLAGS))) &&
	    (!tcp || !empty || a->ack == b->ack) &&
	    a->payload_len == b->payload_len && memcmp(payload, b->payload, a->payload_len) == 0;
}

START_TEST(kind_and_payload)
{
	const struct lab_case *what = &lab_cases[_i];

	what->make(&lab);
	parse(&t, LAB_ETHERNET);
	ck_assert_msg(t.kind == what->kind, "%s: kind %d", what->name, (int)t.kind);
	if (what->kind != TRANSIT_ARP && t.payload_len > 0)
		ck_assert_mem_eq(t.payload + t.payload_len - (sizeof(LAB_TEXT) - 1), LAB_TEXT, sizeof(LAB_TEXT) - 1);
	ck_assert(!t.group);
	parse_bytes(&t, LAB_ETHERNET, lab_data(&lab), lab_len(&lab) - 1);
	if (what->kind != TRANSIT_ARP && what->kind != TRANSIT_FRAME)
		ck_assert_int_eq(t.kind, TRANSIT_NONE);
}
END_TEST

/* Each bit: what changes on the way changes nothing, everything else does. */
START_TEST(bits)
{
	const struct lab_case *what = &lab_cases[_i];
	static uint8_t payload[LAB_ROOM];
	struct transit before;

	what->make(&lab);
	parse(&before, LAB_ETHERNET);
	memcpy(payload, before.payload, before.payload_len);
	for (size_t i = 0; i < lab_len(&lab); i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			*lab_byte(&lab, i) ^= (uint8_t)(1u << bit);
			parse(&t, LAB_ETHERNET);
			*lab_byte(&lab, i) ^= (uint8_t)(1u << bit);
			if (i == 0)
				continue;	/* the bit of groups is in it */
			ck_assert_msg(same(&before, &t, payload) == lab_free_bit(what, i, bit), "%s: bit %u of byte %zu",
			    what->name, bit, i);
		}
	}
}
END_TEST

START_TEST(cut_short_says_nothing)
{
	lab_cases[_i].make(&lab);
	transit_parse(&t, LAB_ETHERNET, lab_data(&lab), lab_len(&lab), lab_len(&lab) + 1);
	ck_assert_int_eq(t.kind, TRANSIT_NONE);
	for (size_t len = 0; len < lab_len(&lab); len++) {
		parse_bytes(&t, LAB_ETHERNET, lab_data(&lab), len);
		ck_assert(!(t.kind == TRANSIT_TCP || t.kind == TRANSIT_UDP || t.kind == TRANSIT_IP));
	}
}
END_TEST

START_TEST(fields_of_tcp)
{
	lab_cases[0].make(&lab);
	parse(&t, LAB_ETHERNET);
	ck_assert_int_eq(t.family, AF_INET);
	ck_assert_mem_eq(t.src, "\x0a\1\2\3\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	ck_assert_mem_eq(t.dst, "\xc0\xa8\1\1\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	ck_assert_uint_eq(t.hops, 64);
	ck_assert_uint_eq(t.ip_id, 0x1234);
	ck_assert_uint_eq(t.protocol, IPPROTO_TCP);
	ck_assert_uint_eq(t.src_port, 4000);
	ck_assert_uint_eq(t.dst_port, 80);
	ck_assert_uint_eq(t.seq, 0x01020304);
	ck_assert_uint_eq(t.ack, 0x05060708);
	ck_assert_uint_eq(t.tcp_flags, 0x18);
	ck_assert_uint_eq(t.header_len, 24);
	ck_assert_uint_eq(t.payload_len, sizeof(LAB_TEXT) - 1);
	ck_assert_mem_eq(t.payload, LAB_TEXT, sizeof(LAB_TEXT) - 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("transit");
	TCase *tc = tcase_create("transit");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, kind_and_payload, 0, (int)lab_cases_count);
	tcase_add_loop_test(tc, bits, 0, (int)lab_cases_count);
	tcase_add_loop_test(tc, cut_short_says_nothing, 0, (int)lab_cases_count);
	tcase_add_test(tc, fields_of_tcp);
	suite_add_tcase(s, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
