/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/transit.h"
#include "tests/transit_lab.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

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

static const uint16_t links[] = { LAB_ETHERNET, LAB_SLL, LAB_SLL2 };

/* Without a link. */
static void
make_udp(void)
{
	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_udp(&lab, 53);
	lab_ipv4(&lab, IPPROTO_UDP);
}

/* Its payload, until the next one is kept. */
static const uint8_t *
keep(const struct transit *from)
{
	static uint8_t payload[LAB_ROOM];

	memcpy(payload, from->payload, from->payload_len);
	return payload;
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
	struct transit before;

	what->make(&lab);
	parse(&before, LAB_ETHERNET);
	before.payload = keep(&before);
	for (size_t i = 0; i < lab_len(&lab); i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			*lab_byte(&lab, i) ^= (uint8_t)(1u << bit);
			parse(&t, LAB_ETHERNET);
			*lab_byte(&lab, i) ^= (uint8_t)(1u << bit);
			ck_assert_msg(lab_same(&before, &t) == lab_free_bit(what, i, bit), "%s: bit %u of byte %zu",
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

/* --- links --- */

/* The same packet, whatever carries it over the link. */
START_TEST(links_are_left_out)
{
	static const uint8_t tags[2][4] = { { 0, 5, 0x81, 0 }, { 0, 7, 8, 0 } };
	struct transit plain;

	make_udp();
	lab_ethernet(&lab, 0x0800);
	parse(&plain, LAB_ETHERNET);
	plain.payload = keep(&plain);
	for (unsigned i = 0; i < 5; i++) {
		make_udp();
		if (i >= 3)
			lab_put(&lab, tags[1], 4);
		if (i == 4)
			lab_put(&lab, tags[0], 4);
		lab_link(&lab, links[i % 3], i < 3 ? 0x0800 : i == 3 ? 0x8100 : 0x88a8);
		parse(&t, links[i % 3]);
		ck_assert_msg(lab_same(&plain, &t), "link %u", i);
	}
}
END_TEST

START_TEST(families_before_ip)
{
	static const uint8_t heads[][4] = { { 2, 0, 0, 0 }, { 0, 0, 0, 2 } };

	for (unsigned i = 0; i < 4; i++) {
		make_udp();
		lab_put(&lab, heads[i & 1], 4);
		parse(&t, i < 2 ? 0 : 108);
		ck_assert_int_eq(t.kind, TRANSIT_UDP);
		ck_assert_uint_eq(t.payload_len, sizeof(LAB_TEXT) - 1);
	}
}
END_TEST

START_TEST(other_links_say_nothing)
{
	make_udp();
	lab_ethernet(&lab, 0x0800);
	for (unsigned linktype = 0; linktype < 512; linktype++) {
		parse(&t, (uint16_t)linktype);
		if (linktype != LAB_ETHERNET)
			ck_assert_int_ne(t.kind, TRANSIT_UDP);
	}
}
END_TEST

/* A third tag is no tag: the frame is one of its type. */
START_TEST(three_tags_are_a_frame)
{
	make_udp();
	lab_put(&lab, "\0\7\x08\0", 4);
	lab_put(&lab, "\0\7\x81\0", 4);
	lab_put(&lab, "\0\7\x81\0", 4);
	lab_ethernet(&lab, 0x8100);
	parse(&t, LAB_ETHERNET);
	ck_assert_int_eq(t.kind, TRANSIT_FRAME);
}
END_TEST

START_TEST(groups)
{
	make_udp();
	lab_ethernet(&lab, 0x0800);
	parse(&t, LAB_ETHERNET);
	ck_assert(!t.group);
	*lab_byte(&lab, 0) |= 1;
	parse(&t, LAB_ETHERNET);
	ck_assert(t.group);
	*lab_byte(&lab, 0) &= 0xfe;
	memcpy(lab_byte(&lab, 30), "\xe0\0\0\xfb", 4);
	parse(&t, LAB_ETHERNET);
	ck_assert(t.group);
	memcpy(lab_byte(&lab, 30), "\xff\xff\xff\xff", 4);
	parse(&t, LAB_ETHERNET);
	ck_assert(t.group);
	make_udp();
	lab_link(&lab, LAB_SLL, 0x0800);
	*lab_byte(&lab, 1) = 1;
	parse(&t, LAB_SLL);
	ck_assert(t.group);
}
END_TEST

/* --- lengths --- */

START_TEST(padding_is_left_out)
{
	lab_begin(&lab, "abc" "not of the packet", 20);
	lab_udp(&lab, 53);
	lab_ipv4(&lab, IPPROTO_UDP);
	lab_byte(&lab, 3)[0] = 20 + 8 + 3;
	lab_ethernet(&lab, 0x0800);
	parse(&t, LAB_ETHERNET);
	ck_assert_int_eq(t.kind, TRANSIT_UDP);
	ck_assert_uint_eq(t.payload_len, 3);
}
END_TEST

/* The zeroes that fill a short frame up, on one side only. */
START_TEST(padding_of_frames)
{
	struct transit short_one;

	lab_begin(&lab, "\2\7\4", 3);
	lab_ethernet(&lab, 0x88cc);
	parse(&short_one, LAB_ETHERNET);
	short_one.payload = keep(&short_one);
	for (size_t len = 0; len < 60; len++) {
		lab_begin(&lab, (const char[64]){ 0 }, len);
		lab_put(&lab, "\2\7\4", 3);
		lab_ethernet(&lab, 0x88cc);
		parse(&t, LAB_ETHERNET);
		ck_assert_int_eq(lab_same(&short_one, &t), len <= 43);
	}
	lab_begin(&lab, "\x42\x42\3" "filled", 9);
	lab_ethernet(&lab, 6);
	parse(&t, LAB_ETHERNET);
	ck_assert_int_eq(t.kind, TRANSIT_FRAME);
	ck_assert_uint_eq(t.payload_len, 6);
}
END_TEST

/* Its length does not fit its field: 0 stands there. */
START_TEST(super_packets)
{
	static uint8_t data[100000];

	for (unsigned i = 0; i < 2; i++) {
		lab_begin(&lab, data, sizeof(data));
		lab_tcp(&lab, 0x18);
		if (i == 0)
			lab_ipv4(&lab, IPPROTO_TCP);
		else
			lab_ipv6(&lab, IPPROTO_TCP);
		lab_ethernet(&lab, i == 0 ? 0x0800 : 0x86dd);
		parse(&t, LAB_ETHERNET);
		ck_assert_int_eq(t.kind, TRANSIT_TCP);
		ck_assert_uint_eq(t.payload_len, sizeof(data));
	}
}
END_TEST

START_TEST(jumbograms)
{
	static uint8_t data[70000];

	lab_begin(&lab, data, sizeof(data));
	lab_udp(&lab, 53);
	lab_put(&lab, "\x11\0\xc2\4\0\1\x11\x78", 8);
	lab_ipv6(&lab, IPPROTO_HOPOPTS);
	lab_ethernet(&lab, 0x86dd);
	parse(&t, LAB_ETHERNET);
	ck_assert_int_eq(t.kind, TRANSIT_UDP);
	ck_assert_uint_eq(t.payload_len, sizeof(data));
}
END_TEST

START_TEST(no_next_header)
{
	lab_begin(&lab, "padded", 6);
	lab_ipv6(&lab, IPPROTO_NONE);
	memset(lab_byte(&lab, 4), 0, 2);
	lab_ethernet(&lab, 0x86dd);
	parse(&t, LAB_ETHERNET);
	ck_assert_int_eq(t.kind, TRANSIT_IP);
	ck_assert_uint_eq(t.payload_len, 0);
}
END_TEST

/* --- headers that are left out --- */

START_TEST(options_of_ipv4)
{
	struct transit plain;

	make_udp();
	parse(&plain, LAB_RAW);
	plain.payload = keep(&plain);
	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_udp(&lab, 53);
	lab_put(&lab, "\x94\4\0\0\x44\4\5\0", 8);
	lab_ipv4(&lab, IPPROTO_UDP);
	*lab_byte(&lab, 0) = 0x47;
	parse(&t, LAB_RAW);
	ck_assert(lab_same(&plain, &t));
}
END_TEST

/* AH is no such header: all of it reaches the receiver. */
START_TEST(extensions_of_ipv6)
{
	struct transit plain;

	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_udp(&lab, 53);
	lab_ipv6(&lab, IPPROTO_UDP);
	parse(&plain, LAB_RAW);
	plain.payload = keep(&plain);
	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_udp(&lab, 53);
	for (unsigned i = 0; i < 9; i++)
		lab_put(&lab, i == 0 ? "\x11\0\1\4\0\0\0\0" : "\x3c\0\1\4\0\0\0\0", 8);
	lab_put(&lab, "\x3c\2\0\0\0\0\0\0" "address.address.", 24);
	lab_put(&lab, "\x2b\0\1\4\0\0\0\0", 8);
	lab_ipv6(&lab, IPPROTO_HOPOPTS);
	parse(&t, LAB_RAW);
	ck_assert(lab_same(&plain, &t));
	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_udp(&lab, 53);
	lab_put(&lab, "\x11\4\0\0" "spi_seq_icv_icv_icv_", 24);
	lab_ipv6(&lab, IPPROTO_AH);
	parse(&t, LAB_RAW);
	ck_assert_int_eq(t.kind, TRANSIT_IP);
	ck_assert_uint_eq(t.payload_len, 24 + 8 + sizeof(LAB_TEXT) - 1);
}
END_TEST

/* --- tunnels --- */

/* As many levels as are looked into, and one more. */
START_TEST(tunnels_in_tunnels)
{
	static const size_t lens[] = { 8, 8, 8 + 20 + 8 };
	uint64_t flow[3];

	for (unsigned levels = 1; levels <= 3; levels++) {
		make_udp();
		for (unsigned i = 0; i < levels; i++)
			lab_ipv4(&lab, IPPROTO_IPIP);
		parse(&t, LAB_RAW);
		ck_assert_int_eq(t.kind, levels < 3 ? TRANSIT_UDP : TRANSIT_IP);
		ck_assert_uint_eq(t.payload_len, sizeof(LAB_TEXT) - 1 + (levels < 3 ? 0 : lens[2] - 8));
		flow[levels - 1] = t.flow;
	}
	ck_assert(flow[0] != flow[1] && flow[1] != flow[2]);
}
END_TEST

/* What is no tunnel after all is what carries it. */
START_TEST(no_tunnels)
{
	static const struct {
		uint16_t	port;
		const char	*head;
	} heads[] = { { 4789, "\0\0\0\0\0\0\1\0" }, { 4789, "\x08\0\0\0\0\0\1\0" }, { 6081, "\x40\0\x65\x58\0\0\1\0" },
	    { 6081, "\x3f\0\x65\x58\0\0\1\0" }, { 6081, "\0\0\x88\xcc\0\0\1\0" } };

	for (size_t i = 0; i < COUNT(heads); i++) {
		lab_begin(&lab, "\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" "no IP", 19);
		lab_put(&lab, heads[i].head, 8);
		lab_udp(&lab, heads[i].port);
		lab_ipv4(&lab, IPPROTO_UDP);
		parse(&t, LAB_RAW);
		ck_assert_int_eq(t.kind, TRANSIT_UDP);
		ck_assert_uint_eq(t.dst_port, heads[i].port);
		ck_assert_uint_eq(t.payload_len, 27);
	}
	lab_begin(&lab, "\x30\x81\x88\x0b\0\4\0\1\0\0\0\7" "PPTP", 16);
	lab_ipv4(&lab, IPPROTO_GRE);
	parse(&t, LAB_RAW);
	ck_assert_int_eq(t.kind, TRANSIT_IP);
	ck_assert_uint_eq(t.payload_len, 16);
}
END_TEST

/* Outside, the tunnel's ends; inside, what a fragment has. */
START_TEST(fragments_in_tunnels)
{
	make_udp();
	memcpy(lab_byte(&lab, 4), "\x43\x21\x20\0", 4);
	lab_ipv6(&lab, IPPROTO_IPIP);
	parse(&t, LAB_RAW);
	ck_assert_int_eq(t.kind, TRANSIT_FRAGMENT);
	ck_assert_int_eq(t.family, AF_INET6);
	ck_assert_uint_eq(t.ip_id, 0x4321);
	ck_assert_uint_eq(t.fragment, 1);
	ck_assert_uint_eq(t.protocol, IPPROTO_UDP);
}
END_TEST

START_TEST(frames_in_tunnels)
{
	lab_begin(&lab, "\0\1\x08\0\6\4\0\1\2\0\0\0\0\1\x0a\1\2\3\0\0\0\0\0\0\x0a\1\2\4", 28);
	lab_ethernet(&lab, 0x0806);
	*lab_byte(&lab, 0) = 0xff;
	lab_put(&lab, "\x20\0\x65\x58\0\0\0\7", 8);
	lab_ipv4(&lab, IPPROTO_GRE);
	parse(&t, LAB_RAW);
	ck_assert_int_eq(t.kind, TRANSIT_ARP);
	ck_assert_int_eq(t.family, AF_INET);
	ck_assert(!t.group);
	ck_assert_uint_eq(t.payload_len, 28);
}
END_TEST

/* --- flows --- */

START_TEST(directions_differ)
{
	uint8_t address[4];
	uint64_t flow;

	make_udp();
	memcpy(lab_byte(&lab, 20), "\0\x35\0\x35", 4);
	parse(&t, LAB_RAW);
	flow = t.flow;
	memcpy(address, lab_byte(&lab, 12), 4);
	memcpy(lab_byte(&lab, 12), lab_byte(&lab, 16), 4);
	memcpy(lab_byte(&lab, 16), address, 4);
	parse(&t, LAB_RAW);
	ck_assert_uint_ne(flow, t.flow);
}
END_TEST

START_TEST(undivided)
{
	static const struct {
		const char	*name;
		bool		 undivided;
	} kinds[] = { { "TCP with data", false }, { "TCP without data", true }, { "UDP", false }, { "fragment", false },
	    { "ICMP", true }, { "SCTP", false }, { "ARP", true }, { "frame", true }, { "VXLAN", false } };
	size_t found = 0;

	for (size_t i = 0; i < COUNT(kinds); i++)
		for (size_t c = 0; c < lab_cases_count; c++)
			if (strcmp(lab_cases[c].name, kinds[i].name) == 0) {
				lab_cases[c].make(&lab);
				parse(&t, LAB_ETHERNET);
				ck_assert_msg(transit_undivided(&t) == kinds[i].undivided, "%s", kinds[i].name);
				found++;
			}
	ck_assert_uint_eq(found, COUNT(kinds));
	memset(&t, 0, sizeof(t));
	ck_assert(!transit_undivided(&t));
}
END_TEST

/* --- capture files --- */

static size_t kinds[TRANSIT_FRAME + 1], nothing_whole;

static void
count_kind(unsigned file, uint16_t linktype, const uint8_t *data, size_t captured, size_t original)
{
	(void)file;
	parse_bytes(&t, linktype, data, captured);
	nothing_whole += t.kind == TRANSIT_NONE && captured == original;
	transit_parse(&t, linktype, data, captured, original);
	kinds[t.kind]++;
	for (size_t cut = 0; cut < captured && cut < 128; cut++)
		parse_bytes(&t, linktype, data, cut);
}

START_TEST(captures)
{
	size_t packets = lab_captures("check_transit", count_kind);

	if (packets == 0)
		return;
	printf("check_transit: %zu packets: TCP %zu, UDP %zu, fragments %zu, other IP %zu, ARP %zu, frames %zu; of %zu nothing can be "
	    "said, %zu of them whole\n", packets, kinds[TRANSIT_TCP], kinds[TRANSIT_UDP], kinds[TRANSIT_FRAGMENT], kinds[TRANSIT_IP],
	    kinds[TRANSIT_ARP], kinds[TRANSIT_FRAME], kinds[TRANSIT_NONE], nothing_whole);
	ck_assert_uint_lt(nothing_whole, packets / 100 + 1);
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
	tcase_add_test(tc, links_are_left_out);
	tcase_add_test(tc, families_before_ip);
	tcase_add_test(tc, other_links_say_nothing);
	tcase_add_test(tc, three_tags_are_a_frame);
	tcase_add_test(tc, groups);
	tcase_add_test(tc, padding_is_left_out);
	tcase_add_test(tc, padding_of_frames);
	tcase_add_test(tc, super_packets);
	tcase_add_test(tc, jumbograms);
	tcase_add_test(tc, no_next_header);
	tcase_add_test(tc, options_of_ipv4);
	tcase_add_test(tc, extensions_of_ipv6);
	tcase_add_test(tc, tunnels_in_tunnels);
	tcase_add_test(tc, no_tunnels);
	tcase_add_test(tc, fragments_in_tunnels);
	tcase_add_test(tc, frames_in_tunnels);
	tcase_add_test(tc, directions_differ);
	tcase_add_test(tc, undivided);
	tcase_add_test(tc, captures);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(s, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
