/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>

#include <check.h>
#include <pcap/pcap.h>

#include "proto/pcapng.h"
#include "proto/transit.h"

#include "tests/dedup_lab.h"
#include "tests/transit_lab.h"

/* Each transmission once: cases by hand. A is VM 0, B 1, C 2; sources have their numbers unless a case says otherwise. */

enum { A, B, C, SECOND_OF_A, OTHER_NETWORK };

#define OUT_MAX		300000
#define MSS		1448u
#define SEGMENTS	45u

static struct dedup *dedup;
static struct buf block;
static struct out {
	uint32_t source;
	uint64_t time_ns;
	size_t	 receivers;
	uint32_t receiver[4];
	bool	 whole[4];
} out[OUT_MAX];
static size_t count;

static int
emit(const struct dedup_out *packet, void *arg)
{
	(void)arg;
	ck_assert_uint_lt(count, OUT_MAX);
	out[count] = (struct out){ .source = packet->source, .time_ns = packet->time_ns, .receivers = packet->receiver_count };
	for (size_t i = 0; i < packet->receiver_count && i < 4; i++) {
		out[count].receiver[i] = packet->receiver[i].source;
		out[count].whole[i] = packet->receiver[i].whole;
	}
	count++;
	return 1;
}

static void
start(uint64_t memory_max)
{
	static const struct { uint32_t vm, network; } sources[] = { { 0, 0 }, { 1, 0 }, { 2, 0 }, { 0, 0 }, { 1, 1 } };
	struct dedup_settings settings = { .window_ns = 2 * LAB_S, .memory_max = memory_max, .seed = 1, .emit = emit };

	dedup = dedup_new(&settings);
	ck_assert_ptr_nonnull(dedup);
	for (uint32_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		ck_assert_uint_eq(dedup_add_source(dedup, sources[i].vm, sources[i].network, 1), i);
	count = 0;
}

static void
set_up(void)
{
	buf_init(&block, 1024 * 1024);
	start(256u << 20);
}

static void
tear_down(void)
{
	dedup_free(dedup);
	buf_clear(&block);
}

static void
put(struct lab_packet packet)
{
	struct dedup_packet in;

	in = lab_packet_of(&block, &packet, lab_make(&block, &packet));
	ck_assert_int_eq(dedup_advance(dedup, in.time_ns), 1);
	ck_assert_int_eq(dedup_put(dedup, &in), 1);
}

static void
finish(uint64_t expected_out, uint64_t expected_removed)
{
	const struct dedup_stats *stats = dedup_stats(dedup);

	ck_assert_int_eq(dedup_finish(dedup), 1);
	ck_assert_uint_eq(stats->removed, expected_removed);
	ck_assert_uint_eq(count, expected_out);
	ck_assert_uint_eq(stats->out, count);
	ck_assert_uint_eq(stats->in, stats->out + stats->removed);
	for (size_t i = 1; i < count && stats->late == 0; i++)
		ck_assert_uint_ge(out[i].time_ns, out[i - 1].time_ns);
}

static void
finish_all_of(uint32_t source, uint64_t expected_out, uint64_t expected_removed)
{
	finish(expected_out, expected_removed);
	for (size_t i = 0; i < count; i++)
		ck_assert_uint_eq(out[i].source, source);
}

/* A packet from 10.0.0.1 to 10.0.0.2, as sent by A or received by B. */
static struct lab_packet
sent(uint8_t protocol, uint64_t at, uint32_t seq, uint32_t len)
{
	return (struct lab_packet){ .source = A, .direction = DEDUP_OUT, .at = at, .protocol = protocol, .src = 1, .dst = 2, .seq = seq,
	    .len = len, .flags = LAB_ACK };
}

static struct lab_packet
received(uint8_t protocol, uint64_t at, uint32_t seq, uint32_t len)
{
	struct lab_packet packet = sent(protocol, at, seq, len);

	packet.source = B;
	packet.direction = DEDUP_IN;
	return packet;
}

static struct lab_packet
numbered(struct lab_packet packet, uint16_t id)
{
	packet.id = id;
	return packet;
}

static struct lab_packet
flagged(struct lab_packet packet, unsigned flags)
{
	packet.flags = flags;
	return packet;
}

static const uint8_t protocols[] = { 0, 1, 6, 17 };	/* the first has no payload of ours */

/* Each kind; the empty and the others. */
START_TEST(each_kind)
{
	for (uint32_t len = 0; len < 3000; len += 999) {
		put(sent(protocols[_i], len * LAB_MS, 1000, len));
		put(received(protocols[_i], len * LAB_MS + LAB_US, 1000, len));
	}
	put(sent(protocols[_i], 3 * LAB_S, 1000, 4));
	finish_all_of(A, 5, 4);
	ck_assert_uint_eq(dedup_removed(dedup, 0, 1), 4);
	ck_assert_uint_eq(dedup_removed(dedup, 1, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(out[i].receivers, 1);
		ck_assert_uint_eq(out[i].receiver[0], B);
		ck_assert(out[i].whole[0]);
	}
	ck_assert_uint_eq(out[4].receivers, 0);
}
END_TEST

/* The same segment twice from the sender, the second was seen: both stay, and it is the second that was. */
START_TEST(retransmission)
{
	put(numbered(sent(6, 0, 1000, MSS), 1));
	put(numbered(sent(6, 300 * LAB_MS, 1000, MSS), 2));
	put(numbered(received(6, 301 * LAB_MS, 1000, MSS), 2));
	finish_all_of(A, 2, 1);
	ck_assert_uint_eq(out[0].receivers, 0);
	ck_assert_uint_eq(out[1].receivers, 1);
}
END_TEST

/* As probes: an empty segment, or one of a byte, before the edge; many times the same. The network doubles one. */
START_TEST(keep_alives)
{
	put(sent(6, 0, 1000, 100));
	put(received(6, 1, 1000, 100));
	for (unsigned i = 1; i <= 5; i++) {
		put(sent(6, i * LAB_MS, 1099, (uint32_t)_i));
		put(received(6, i * LAB_MS + 1, 1099, (uint32_t)_i));
	}
	put(received(6, 6 * LAB_MS, 1099, (uint32_t)_i));
	finish(7, 6);
	ck_assert_uint_eq(out[6].source, B);
}
END_TEST

/* Five times the same datagram, sent at once, then received: with numbers of their own, or none. One more arrives than was sent. */
START_TEST(repeated_datagrams)
{
	for (unsigned i = 0; i < 5; i++)
		put(numbered(sent(17, i, 7, 160), (uint16_t)(i * (unsigned)_i)));
	for (unsigned i = 0; i < 6; i++)
		put(numbered(received(17, LAB_MS + i, 7, 160), (uint16_t)(i * (unsigned)_i)));
	finish(6, 5);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(out[i].receivers, 1);
	ck_assert_uint_eq(out[5].source, B);
	ck_assert_uint_eq(out[5].time_ns, LAB_START + LAB_MS + 5);
}
END_TEST

/* The second of three was lost on the way: the number tells which. */
START_TEST(lost_on_the_way)
{
	for (uint16_t i = 0; i < 3; i++)
		put(numbered(sent(protocols[_i], i, 7, 160), i));
	put(numbered(received(protocols[_i], LAB_MS, 7, 160), 0));
	put(numbered(received(protocols[_i], LAB_MS, 7, 160), 2));
	finish_all_of(A, 3, 2);
	ck_assert_uint_eq(out[0].receivers, 1);
	ck_assert_uint_eq(out[1].receivers, 0);
	ck_assert_uint_eq(out[2].receivers, 1);
}
END_TEST

/* Many are lost for good among many equal ones; what is found does not depend on how many lie before. */
START_TEST(many_lost)
{
	for (unsigned i = 0; i < 20000; i++) {
		put(numbered(sent(17, i * LAB_US, 7, 160), (uint16_t)i));
		if (i % 10 != 0)
			put(numbered(received(17, i * LAB_US + 1, 7, 160), (uint16_t)i));
	}
	finish_all_of(A, 20000, 18000);
	for (unsigned i = 0; i < 20000; i++)
		ck_assert_uint_eq(out[i].receivers, i % 10 != 0);
}
END_TEST

/* A super-packet of the sender's, and its segments: in order, and with every second one late. FIN is in the last. */
START_TEST(segmented)
{
	put(flagged(sent(6, 0, UINT32_MAX - 5000, SEGMENTS * MSS), LAB_ACK | LAB_FIN));
	for (unsigned step = 0; step < 2; step++)
		for (unsigned i = step; i < SEGMENTS; i += 2)
			put(flagged(received(6, LAB_MS + i, UINT32_MAX - 5000 + i * MSS, MSS),
			    i == SEGMENTS - 1 ? LAB_ACK | LAB_FIN : LAB_ACK));
	put(received(6, 2 * LAB_MS, UINT32_MAX - 5000, MSS));
	finish(2, SEGMENTS);
	ck_assert_uint_eq(out[0].receivers, 1);
	ck_assert(out[0].whole[0]);
	ck_assert_uint_eq(out[1].source, B);
}
END_TEST

/* Not all of it arrived. */
START_TEST(segmented_and_lost)
{
	put(sent(6, 0, 0, 4 * MSS));
	put(received(6, 1, 0, MSS));
	put(received(6, 1, 2 * MSS, 2 * MSS));
	finish_all_of(A, 1, 2);
	ck_assert_uint_eq(out[0].receivers, 1);
	ck_assert(!out[0].whole[0]);
}
END_TEST

/* The receiver joined what the sender had sent apart, or in super-packets with other edges. */
START_TEST(joined)
{
	uint32_t part = (uint32_t)_i * MSS;

	for (unsigned i = 0; i < 60 * MSS / part; i++)
		put(sent(6, i, 1000 + i * part, part));
	for (unsigned i = 0; i < 4; i++)
		put(received(6, LAB_MS + i, 1000 + i * 15 * MSS, 15 * MSS));
	finish_all_of(A, 60 * MSS / part, 4);
	for (unsigned i = 0; i < count; i++)
		ck_assert(out[i].receivers == 1 && out[i].whole[0]);
}
END_TEST

/* One part of it was not sent by anyone whom we know: it stays, and uses up nothing. */
START_TEST(joined_and_unknown)
{
	put(sent(6, 0, 0, MSS));
	put(sent(6, 0, 2 * MSS, MSS));
	put(received(6, 1, 0, 3 * MSS));
	put(received(6, 2, 0, MSS));
	finish(3, 1);
	ck_assert_uint_eq(out[2].source, B);
	ck_assert_uint_eq(out[2].time_ns, LAB_START + 1);
}
END_TEST

/* A super-packet of UDP and its datagrams, the last shorter: in order, backwards, and the last first. */
START_TEST(udp_segmented)
{
	static const unsigned order[][5] = { { 0, 1, 2, 3, 4 }, { 4, 3, 2, 1, 0 }, { 2, 4, 0, 3, 1 } };

	put(sent(17, 0, 0, 4 * 1200 + 700));
	for (unsigned i = 0; i < 5; i++)
		put(received(17, LAB_MS + i, order[_i][i] * 1200, order[_i][i] == 4 ? 700 : 1200));
	put(received(17, 2 * LAB_MS, 0, 1200));
	finish(2, 5);
	ck_assert(out[0].receivers == 1 && out[0].whole[0]);
	ck_assert_uint_eq(out[1].source, B);
}
END_TEST

START_TEST(udp_joined)
{
	for (unsigned i = 0; i < 5; i++)
		put(sent(17, i, i * 1200, i == 4 ? 700 : 1200));
	put(received(17, LAB_MS, 0, 4 * 1200 + 700));
	put(received(17, LAB_MS, 0, 4 * 1200 + 700));
	finish(6, 1);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(out[i].receivers == 1 && out[i].whole[0]);
}
END_TEST

/* So few bytes are in many datagrams: those are no copy of them, unless they are all that is left. */
START_TEST(udp_short)
{
	put(sent(17, 0, 0, 1000));
	put(received(17, 1, 500, 3));
	put(received(17, 2, 0, 3));
	put(received(17, 3, 0, 997));
	put(received(17, 4, 997, 3));
	finish(3, 2);
	ck_assert(out[0].receivers == 1 && out[0].whole[0]);
}
END_TEST

/* One in ten pieces is lost, so that hardly a super-packet is ever complete. */
START_TEST(udp_many_lost)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < 2000; i++) {
		put(sent(17, i * LAB_US * 10, i * 12000, 12000));
		for (unsigned k = 0; k < 10; k++) {
			if ((i * 7 + k) % 10 == 0)
				lost++;
			else
				put(received(17, i * LAB_US * 10 + k + 1, i * 12000 + k * 1200, 1200));
		}
	}
	finish_all_of(A, 2000, 20000 - lost);
}
END_TEST

/* Once for each who had it, and no more. */
START_TEST(broadcast)
{
	struct lab_packet packet = sent(protocols[_i], 0, 0, 100);

	packet.dst = 255;
	put(packet);
	packet.direction = DEDUP_IN;
	for (unsigned i = 0; i < 2; i++)
		for (packet.source = B; packet.source <= C; packet.source++) {
			packet.at++;
			put(packet);
		}
	finish(3, 2);
	ck_assert_uint_eq(out[0].receivers, 2);
	ck_assert_uint_eq(dedup_removed(dedup, 0, 1), 1);
	ck_assert_uint_eq(dedup_removed(dedup, 0, 2), 1);
}
END_TEST

/* A to B by way of C, who makes the TTL less: two transmissions, each seen by who received it. */
START_TEST(forwarded)
{
	struct lab_packet packet = sent(protocols[_i], 0, 0, 100);

	packet.hops = 64;
	put(packet);
	packet.at++;
	packet.source = C;
	packet.direction = DEDUP_IN;
	put(packet);
	packet.at++;
	packet.direction = DEDUP_OUT;
	packet.hops = 63;
	put(packet);
	packet.at++;
	packet.source = B;
	packet.direction = DEDUP_IN;
	put(packet);
	finish(2, 2);
	ck_assert(out[0].source == A && out[0].receivers == 1 && out[0].receiver[0] == C);
	ck_assert(out[1].source == C && out[1].receivers == 1 && out[1].receiver[0] == B);
}
END_TEST

/* Neither another network of the tenant nor another interface of the same VM. */
START_TEST(strangers)
{
	struct lab_packet packet = received(protocols[_i], 1, 0, 100);

	put(sent(protocols[_i], 0, 0, 100));
	packet.source = OTHER_NETWORK;
	put(packet);
	packet.source = SECOND_OF_A;
	put(packet);
	finish(3, 0);
}
END_TEST

/* Clocks that err: the copy is there before what it is a copy of. */
START_TEST(receiver_first)
{
	for (unsigned i = 0; i < 50; i++)
		put(received(protocols[_i], i, i * 200, 100));
	for (unsigned i = 0; i < 50; i++)
		put(sent(protocols[_i], LAB_S + i, i * 200, 100));
	finish_all_of(A, 50, 50);
}
END_TEST

START_TEST(receiver_first_parted)
{
	uint8_t protocol = (uint8_t)_i;

	for (unsigned i = 0; i < 8; i++)
		put(received(protocol, i, i * MSS, MSS));
	put(sent(protocol, LAB_MS, 0, 8 * MSS));
	put(received(protocol, 2 * LAB_MS, 8 * MSS, 8 * MSS));
	for (unsigned i = 8; i < 16; i++)
		put(sent(protocol, 3 * LAB_MS + i, i * MSS, MSS));
	finish_all_of(A, 9, 9);
}
END_TEST

/* All that names it is the same, but not its bytes. */
START_TEST(other_bytes)
{
	struct lab_packet packet = received(protocols[_i], 1, 0, 700);

	put(sent(protocols[_i], 0, 0, 700));
	packet.salt = 1;
	put(packet);
	finish(2, 0);
}
END_TEST

/* One byte in the midst of it. */
START_TEST(one_byte)
{
	struct lab_packet packet = received(protocols[_i], 1, 0, 700);

	put(sent(protocols[_i], 0, 0, 700));
	packet.flip = 350;
	put(packet);
	finish(2, 0);
}
END_TEST

/* An empty segment that says something else, behind its checksum. */
START_TEST(other_header)
{
	struct lab_packet packet = received(6, 1, 0, 0);

	put(sent(6, 0, 0, 0));
	packet.urgent = 1;
	put(packet);
	finish(2, 0);
}
END_TEST

/* Of one datagram, of its neighbour, and of one that looks the same but for its number. */
START_TEST(fragments)
{
	struct lab_packet packet = numbered(sent(17, 0, 0, 160), 5);
	static const struct { uint16_t id, fragment; } kept[] = { { 6, 0x2000 }, { 5, 0x2014 }, { 5, 0x0014 } };

	packet.fragment = 0x2000;
	put(packet);
	packet.source = B;
	packet.direction = DEDUP_IN;
	for (unsigned i = 0; i < 3; i++) {
		packet.at++;
		packet.id = kept[i].id;
		packet.fragment = kept[i].fragment;
		put(packet);
	}
	packet.id = 5;
	packet.fragment = 0x2000;
	put(packet);
	finish(4, 1);
}
END_TEST

START_TEST(window)
{
	put(sent(6, 0, 0, 100));
	put(received(6, 1999 * LAB_MS, 0, 100));
	put(sent(6, 10 * LAB_S, 0, 100));
	put(received(6, 12001 * LAB_MS, 0, 100));
	finish(3, 1);
	ck_assert_uint_eq(out[2].source, B);
}
END_TEST

/* Within the window they are put in order, what is later than that goes out at once. */
START_TEST(order)
{
	for (unsigned i = 0; i < 1000; i++)
		put(sent(6, LAB_S + i * 7919 % 1000 * LAB_MS, i * 100, 100));
	put(sent(6, 10 * LAB_S, 0, 100));
	put(sent(6, LAB_S, 0, 100));
	finish(1002, 0);
	ck_assert_uint_eq(dedup_stats(dedup)->late, 1);
}
END_TEST

/* A window full of traffic: what is held stays within the bound, nothing is lost, and it is told. */
START_TEST(memory_bound)
{
	const uint64_t max = 2u << 20;

	dedup_free(dedup);
	start(max);
	for (unsigned i = 0; i < 10000; i++) {
		put(sent(6, i * LAB_US, i * MSS, MSS));
		put(received(6, i * LAB_US + 1, i * MSS, MSS));
	}
	finish_all_of(A, 10000, 10000);
	ck_assert_uint_gt(dedup_stats(dedup)->early, 8000);
	ck_assert_uint_le(dedup_stats(dedup)->memory_peak, max);
	ck_assert_uint_gt(dedup_stats(dedup)->memory_peak, max - max / 8);
}
END_TEST

/* Every other byte of long segments, each one by itself: what is removed, too, costs no more memory than there is, and no time. */
START_TEST(shredded)
{
	const uint64_t max = 1u << 20;
	const uint32_t len = 60000, copies = 4;

	dedup_free(dedup);
	start(max);
	for (uint32_t i = 0; i < copies; i++)
		put(sent(6, 0, 1000, len));
	for (uint32_t at = 0; at < copies * len; at += 2)
		put(received(6, LAB_US, 1000 + at % len, 1));
	ck_assert_int_eq(dedup_finish(dedup), 1);
	ck_assert_uint_le(dedup_stats(dedup)->memory_peak, max + max / 16);
	ck_assert_uint_eq(count, dedup_stats(dedup)->in - dedup_stats(dedup)->removed);
}
END_TEST

/* 100,000 segments of one flow in the window, and then their copies, the last one first. */
START_TEST(full_window)
{
	for (unsigned i = 0; i < 100000; i++)
		put(sent((uint8_t)_i, i, i * 40, 40));
	for (unsigned i = 100000; i-- > 0;)
		put(received((uint8_t)_i, LAB_S - i, i * 40, 40));
	finish_all_of(A, 100000, 100000);
}
END_TEST

/* UDP of IPv6 in IPv4, as it is or with another inner source, which gives the same number of a flow. */
static void
put_tunnelled(uint32_t source, enum dedup_direction direction, bool other)
{
	static struct lab lab;
	struct pcapng_packet epb = { .time_ns = LAB_START };
	struct dedup_packet in = { .source = source, .time_ns = LAB_START, .direction = direction, .data_at = 28 };

	lab_begin(&lab, LAB_TEXT, 50);
	lab_udp(&lab, 53);
	lab_ipv6(&lab, 17);
	if (other) {
		*lab_byte(&lab, 8) ^= 0x80;
		*lab_byte(&lab, 16) ^= 0x80;
		*lab_byte(&lab, 20) ^= 0x80;
	}
	lab_ipv4(&lab, 41);
	lab_ethernet(&lab, 0x0800);
	epb.data = lab_data(&lab);
	epb.captured_len = epb.original_len = (uint32_t)lab_len(&lab);
	block.len = 0;
	ck_assert_int_eq(pcapng_put_epb(&block, &epb), 0);
	in.block = block.data;
	in.block_len = block.len;
	in.captured = in.original = lab_len(&lab);
	ck_assert_int_eq(dedup_put(dedup, &in), 1);
}

START_TEST(tunnelled_from_another)
{
	put_tunnelled(A, DEDUP_OUT, false);
	put_tunnelled(B, DEDUP_IN, true);
	ck_assert_uint_eq(dedup_stats(dedup)->removed, 0);
	put_tunnelled(B, DEDUP_IN, false);
	finish(2, 1);
}
END_TEST

/* None of these is compared with anything. */
START_TEST(kept_apart)
{
	struct lab_packet packet;

	for (unsigned i = 0; i < 2; i++) {
		packet = i == 0 ? sent(17, 0, 0, 100) : received(17, 1, 0, 100);
		packet.cut = 10;
		put(packet);
		packet.cut = 0;
		packet.dst = packet.src;
		put(packet);
	}
	put(sent(17, 2, 0, 100));
	packet = received(17, 3, 0, 100);
	packet.direction = DEDUP_NO_DIRECTION;
	put(packet);
	finish(6, 0);
	ck_assert_uint_eq(dedup_stats(dedup)->not_comparable, 2);
	ck_assert_uint_eq(dedup_stats(dedup)->unknown_direction, 1);
}
END_TEST

/*
 * --- ways through a network, at random ---
 *
 * The sender hands over some segments at once, and some twice; the network takes them apart, delays, loses or doubles them; the
 * receiver joins those that came one behind the other.
 */

#define MAKE_MAX	20000
#define UNIT		500u

struct path {
	uint8_t	 protocol;
	unsigned lost, doubled, repeated;	/* of 100 */
	uint64_t delay_max, clock_error;	/* of the receiver's clock */
};

static struct lab_packet made[MAKE_MAX];
static size_t made_count;
static uint32_t dice;

static uint32_t
roll(uint32_t sides)
{
	dice = dice * 1664525u + 1013904223u;
	return (dice >> 8) % sides;
}

static int
by_time(const void *a, const void *b)
{
	const struct lab_packet *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at ? 1 : x->source < y->source ? -1 : x->source > y->source;
}

static void
make(struct lab_packet packet)
{
	ck_assert_uint_lt(made_count, MAKE_MAX);
	made[made_count++] = packet;
}

/* On the wire: units, of which the last may be shorter. Returns how many were doubled. */
static unsigned
travel(const struct path *path, uint64_t at, uint32_t seq, uint32_t len)
{
	unsigned doubled = 0;

	for (uint32_t piece; len > 0; seq += piece, len -= piece) {
		piece = len < UNIT ? len : UNIT;
		if (roll(100) < path->lost)
			continue;
		make(received(path->protocol, at + 1 + roll((uint32_t)path->delay_max + 1), seq, piece));
		if (roll(100) >= path->doubled)
			continue;
		doubled++;
		make(received(path->protocol, at + 1 + roll((uint32_t)path->delay_max + 1), seq, piece));
	}
	return doubled;
}

/* Those that came one behind the other, up to a shorter one; some are left apart. */
static size_t
join(size_t first)
{
	size_t last = first;

	for (size_t i = first + 1; i < made_count; i++) {
		struct lab_packet *head = &made[last], *next = &made[i];

		if (head->len % UNIT == 0 && head->seq + head->len == next->seq && head->len + next->len < 20000 && roll(4) != 0)
			head->len += next->len;
		else
			made[++last] = *next;
	}
	return made_count = made_count > first ? last + 1 : first;
}

static unsigned
make_traffic(const struct path *path)
{
	static struct lab_packet all_sent[MAKE_MAX];
	size_t sent_count = 0;
	uint32_t seq = 0, len;
	unsigned doubled = 0;

	made_count = 0;
	for (unsigned i = 0; i < 400; i++, seq += len) {
		len = roll(10) * UNIT + (roll(3) == 0 ? 20 + roll(UNIT - 20) : UNIT);
		for (unsigned k = 0; k < (roll(100) < path->repeated ? 2u : 1u); k++) {
			all_sent[sent_count++] = sent(path->protocol, LAB_S + i * LAB_US + k * 700, seq, len);
			doubled += travel(path, LAB_S + i * LAB_US + k * 700, seq, len);
		}
	}
	qsort(made, made_count, sizeof(made[0]), by_time);
	join(0);
	for (size_t i = 0; i < made_count; i++)
		made[i].at += path->clock_error;
	for (size_t i = 0; i < sent_count; i++)
		make(all_sent[i]);
	qsort(made, made_count, sizeof(made[0]), by_time);
	return doubled;
}

/* Returns how many receivers' copies came out. */
static uint64_t
play_traffic(void)
{
	uint64_t received_out = 0;

	for (size_t i = 0; i < made_count; i++)
		put(made[i]);
	ck_assert_int_eq(dedup_finish(dedup), 1);
	ck_assert_uint_eq(count + dedup_stats(dedup)->removed, made_count);
	for (size_t i = 0; i < count; i++)
		received_out += out[i].source == B;
	return received_out;
}

static const struct path paths[] = {
	{ .protocol = 6 },
	{ .protocol = 6, .delay_max = 3000 },
	{ .protocol = 6, .lost = 10, .delay_max = 3000 },
	{ .protocol = 6, .lost = 10, .repeated = 20, .delay_max = 5000 },
	{ .protocol = 6, .lost = 10, .repeated = 20, .delay_max = 5000, .clock_error = (uint64_t)0 - LAB_S / 2 },
	{ .protocol = 17 },
	{ .protocol = 17, .delay_max = 3000 },
	{ .protocol = 17, .lost = 10, .delay_max = 3000 },
	{ .protocol = 17, .clock_error = (uint64_t)0 - LAB_US * 3 },
	{ .protocol = 17, .lost = 1, .clock_error = (uint64_t)0 - LAB_US * 20 },
};

/* All that was received had been sent: nothing of it stays. */
START_TEST(ways)
{
	for (uint32_t seed = 1; seed <= 20; seed++) {
		dice = seed;
		make_traffic(&paths[_i]);
		ck_assert_msg(play_traffic() == 0, "seed %u: %zu of %zu", seed, count, made_count);
		tear_down();
		set_up();
	}
}
END_TEST

/* The network doubles some: no more than those stay. */
START_TEST(ways_that_double)
{
	struct path path = { .protocol = (uint8_t)_i, .doubled = 5, .delay_max = 3000 };
	unsigned doubled;

	for (uint32_t seed = 1; seed <= 20; seed++) {
		dice = seed;
		doubled = make_traffic(&path);
		ck_assert_uint_gt(doubled, 0);
		ck_assert_uint_gt(play_traffic(), 0);
		ck_assert_uint_le(dedup_stats(dedup)->out, 400 + doubled);
		tear_down();
		set_up();
	}
}
END_TEST

/* --- real traffic: VMTAP_CAPTURES --- */

#define FILES_MAX	64
#define LINKTYPE_RAW	101

static struct capture {
	char	 path[512];
	pcap_t	*pcap;
	uint32_t out, in;		/* its sources, of VMs of its own */
	uint64_t packets, comparable;
} captures[FILES_MAX];
static size_t capture_count;

static uint16_t
linktype_of(pcap_t *pcap)
{
	return pcap_datalink(pcap) == DLT_RAW ? LINKTYPE_RAW : (uint16_t)pcap_datalink(pcap);
}

static void
open_capture(struct capture *capture, uint32_t out_vm, uint32_t in_vm)
{
	char error[PCAP_ERRBUF_SIZE];

	capture->pcap = pcap_open_offline(capture->path, error);
	ck_assert_msg(capture->pcap != NULL, "%s: %s", capture->path, error);
	capture->out = dedup_add_source(dedup, out_vm, 0, linktype_of(capture->pcap));
	capture->in = dedup_add_source(dedup, in_vm, 0, linktype_of(capture->pcap));
	capture->packets = capture->comparable = 0;
}

static bool
list_captures(void)
{
	const char *folder = getenv("VMTAP_CAPTURES");
	struct dirent *item;
	DIR *all;

	if (folder == NULL || (all = opendir(folder)) == NULL) {
		fprintf(stderr, "check_dedup: VMTAP_CAPTURES names no folder of captures: skipped\n");
		return false;
	}
	capture_count = 0;
	while ((item = readdir(all)) != NULL && capture_count < FILES_MAX)
		if (strstr(item->d_name, ".pcap") != NULL)
			snprintf(captures[capture_count++].path, sizeof(captures[0].path), "%s/%s", folder, item->d_name);
	closedir(all);
	return capture_count > 0;
}

/* Can it have a copy at all, as the engine's contract has it? */
static bool
has_copies(const struct capture *capture, const struct pcap_pkthdr *header, const uint8_t *data)
{
	struct transit t;

	transit_parse(&t, linktype_of(capture->pcap), data, header->caplen, header->len);
	return t.kind != TRANSIT_NONE && t.src[0] != 127 && t.dst[0] != 127 && (t.family == 0 || memcmp(t.src, t.dst, 16) != 0);
}

/* All packets of a file, a microsecond apart; of both: each is sent and then received. */
static uint64_t
play(struct capture *capture, bool sent_by, bool received_by, uint64_t at)
{
	struct pcap_pkthdr *header;
	const uint8_t *data;

	while (pcap_next_ex(capture->pcap, &header, &data) == 1) {
		struct pcapng_packet packet = { .data = data, .captured_len = header->caplen, .original_len = header->len };
		struct dedup_packet in = { .data_at = 28, .captured = header->caplen, .original = header->len };

		block.len = 0;
		ck_assert_int_eq(pcapng_put_epb(&block, &packet), 0);
		in.block = block.data;
		in.block_len = block.len;
		capture->packets++;
		capture->comparable += has_copies(capture, header, data);
		for (unsigned i = 0; i < 2; i++) {
			if (i == 0 ? !sent_by : !received_by)
				continue;
			in.time_ns = LAB_START + at++ * LAB_US;
			in.direction = i == 0 ? DEDUP_OUT : DEDUP_IN;
			in.source = i == 0 ? capture->out : capture->in;
			ck_assert_int_eq(dedup_put(dedup, &in), 1);
		}
	}
	pcap_close(capture->pcap);
	return at;
}

/* Each file as sent by A and received by B: all copies are found, but those of packets that have none. */
START_TEST(captured_on_both_sides)
{
	if (!list_captures())
		return;
	for (size_t i = 0; i < capture_count; i++) {
		open_capture(&captures[i], 0, 1);
		play(&captures[i], true, true, 0);
		ck_assert_int_eq(dedup_finish(dedup), 1);
		ck_assert_msg(dedup_stats(dedup)->removed == captures[i].comparable, "%s: %llu of %llu", captures[i].path,
		    (unsigned long long)dedup_stats(dedup)->removed, (unsigned long long)captures[i].comparable);
		tear_down();
		set_up();
	}
}
END_TEST

/* All files but one as received, in one window with that one as sent: none is a copy of anything. */
START_TEST(captured_elsewhere)
{
	uint64_t at;

	if (!list_captures())
		return;
	for (size_t sender = 0; sender < capture_count; sender++) {
		open_capture(&captures[sender], 100, 100);
		at = play(&captures[sender], true, false, 0);
		for (size_t i = 0; i < capture_count; i++) {
			if (i == sender)
				continue;
			open_capture(&captures[i], (uint32_t)i, (uint32_t)i);
			at = play(&captures[i], false, true, at);
			ck_assert_msg(dedup_removed(dedup, 100, (uint32_t)i) == 0, "%s: %llu in %s", captures[sender].path,
			    (unsigned long long)dedup_removed(dedup, 100, (uint32_t)i), captures[i].path);
		}
		ck_assert_int_eq(dedup_finish(dedup), 1);
		tear_down();
		set_up();
	}
}
END_TEST

static TCase *
cases(void)
{
	TCase *tc = tcase_create("dedup");
	int kinds = (int)sizeof(protocols);

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, each_kind, 0, kinds);
	tcase_add_test(tc, retransmission);
	tcase_add_loop_test(tc, keep_alives, 0, 2);
	tcase_add_loop_test(tc, repeated_datagrams, 0, 2);
	tcase_add_loop_test(tc, lost_on_the_way, 1, kinds);
	tcase_add_test(tc, many_lost);
	tcase_add_test(tc, segmented);
	tcase_add_test(tc, segmented_and_lost);
	tcase_add_loop_test(tc, joined, 1, 6);
	tcase_add_test(tc, joined_and_unknown);
	tcase_add_loop_test(tc, udp_segmented, 0, 3);
	tcase_add_test(tc, udp_joined);
	tcase_add_test(tc, udp_short);
	tcase_add_test(tc, udp_many_lost);
	tcase_add_loop_test(tc, broadcast, 0, kinds);
	tcase_add_loop_test(tc, forwarded, 1, kinds);
	tcase_add_loop_test(tc, strangers, 0, kinds);
	tcase_add_loop_test(tc, receiver_first, 0, kinds);
	tcase_add_loop_test(tc, receiver_first_parted, 6, 7);
	tcase_add_loop_test(tc, receiver_first_parted, 17, 18);
	tcase_add_loop_test(tc, other_bytes, 1, kinds);
	tcase_add_loop_test(tc, one_byte, 1, kinds);
	tcase_add_test(tc, other_header);
	tcase_add_test(tc, fragments);
	tcase_add_test(tc, window);
	tcase_add_test(tc, order);
	tcase_add_test(tc, memory_bound);
	tcase_add_test(tc, shredded);
	tcase_add_test(tc, tunnelled_from_another);
	tcase_add_loop_test(tc, full_window, 6, 7);
	tcase_add_loop_test(tc, full_window, 17, 18);
	tcase_add_test(tc, kept_apart);
	tcase_add_loop_test(tc, ways, 0, (int)(sizeof(paths) / sizeof(paths[0])));
	tcase_add_loop_test(tc, ways_that_double, 6, 7);
	tcase_add_test(tc, captured_on_both_sides);
	tcase_add_test(tc, captured_elsewhere);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("dedup");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, cases());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
