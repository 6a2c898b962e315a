/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "agent/last_counts.h"
#include "agent/spool.h"
#include "tests/capture_lab.h"

/* What the kernel counts of an interface, against what was sent. */

#define FLOOD		60000

static void
setup(void)
{
	capture_lab_setup();
	lab.options.snaplen = 64;
}

static void
change(void)
{
	capture_lab_change(true);
}

static void
change_filter(const char *filter)
{
	snprintf(lab.want->filter, sizeof(lab.want->filter), "%s", filter);
	change();
}

/* The last of len bytes where it may be cut short. */
static void
send_ip(int fd, uint8_t protocol, uint16_t port, size_t len)
{
	uint8_t frame[CAPTURE_LAB_FRAME_LEN];

	capture_lab_frame(frame, protocol, port);
	capture_lab_send(fd, frame, len);
}

static void
send_udp(int fd, uint16_t port)
{
	send_ip(fd, IPPROTO_UDP, port, 100);
}

struct expected {
	uint64_t	offered, filtered, own, paused, received;
};

static void
expect(uint32_t id, struct expected e)
{
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(capture_lab_count(COUNTER_OFFERED, id), e.offered);
	ck_assert_uint_eq(capture_lab_count(COUNTER_FILTERED, id), e.filtered);
	ck_assert_uint_eq(capture_lab_count(COUNTER_OWN, id), e.own);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PAUSED_PACKETS, id), e.paused);
	ck_assert_uint_eq(capture_lab_count(COUNTER_RING_RECEIVED, id), e.received);
	ck_assert_uint_eq(capture_lab_count(COUNTER_SWITCHED, id), 0);
}

START_TEST(without_a_filter)
{
	uint32_t mark = AGENT_MARK;

	send_udp(lab.far_fd, 53);			/* before there is anything */
	change();
	for (unsigned i = 0; i < 7; i++)
		send_udp(i % 2 == 0 ? lab.far_fd : lab.near_fd, 53);
	send_ip(lab.far_fd, IPPROTO_TCP, CAPTURE_LAB_OWN_PORT, 100);
	expect(0, (struct expected){ .offered = 8, .own = 1, .received = 7 });
	ck_assert_int_eq(setsockopt(lab.near_fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	send_udp(lab.near_fd, 53);
	expect(0, (struct expected){ .offered = 9, .own = 2, .received = 7 });
	ck_assert_uint_eq(capture_lab_count(COUNTER_LEDGER, STATS_AGENT), 2);
	ck_assert_int_eq(lab.tap.rings.tqh_first->ledger.fd[PROGRAM_TAKEN], -1);
	capture_lab_end();
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 0), 7);
}
END_TEST

/* What a filter reads beyond a packet's end refuses that packet, and it is counted as refused; own comes before the filter. */
START_TEST(with_a_filter)
{
	change_filter("udp port 53 and not ether[99] = 1");
	send_udp(lab.far_fd, 53);
	send_udp(lab.far_fd, 54);
	send_ip(lab.far_fd, IPPROTO_UDP, 53, 99);
	send_ip(lab.far_fd, IPPROTO_TCP, CAPTURE_LAB_OWN_PORT, 100);
	expect(0, (struct expected){ .offered = 4, .filtered = 2, .own = 1, .received = 1 });
}
END_TEST

START_TEST(one_direction)
{
	lab.want->direction = DIRECTION_IN;
	change();
	send_udp(lab.far_fd, 53);
	send_udp(lab.near_fd, 53);
	send_udp(lab.near_fd, 53);
	expect(0, (struct expected){ .offered = 3, .filtered = 2, .received = 1 });
}
END_TEST

START_TEST(paused)
{
	change();
	send_udp(lab.far_fd, 53);
	lab.want->interface[0].paused = true;
	change();
	send_udp(lab.far_fd, 53);
	send_udp(lab.near_fd, 53);
	send_ip(lab.far_fd, IPPROTO_TCP, CAPTURE_LAB_OWN_PORT, 100);
	lab.want->interface[0].paused = false;
	change();
	send_udp(lab.far_fd, 53);
	expect(0, (struct expected){ .offered = 5, .own = 1, .paused = 2, .received = 2 });
}
END_TEST

/* Another filter is another id, and what was counted stays with the one that it was counted under. */
START_TEST(each_filter_by_itself)
{
	change_filter("udp port 53");
	send_udp(lab.far_fd, 53);
	send_udp(lab.far_fd, 54);
	send_udp(lab.far_fd, 54);
	change_filter("udp port 54");
	send_udp(lab.far_fd, 53);
	send_udp(lab.far_fd, 54);
	send_udp(lab.far_fd, 54);
	change_filter("udp port 53");
	send_udp(lab.far_fd, 53);
	expect(0, (struct expected){ .offered = 4, .filtered = 2, .received = 2 });
	expect(1, (struct expected){ .offered = 3, .filtered = 1, .received = 2 });
	capture_lab_end();
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 0), 2);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 1), 2);
}
END_TEST

START_TEST(loopback_counts_each_packet_once)
{
	int fd = capture_lab_socket("lo");

	lab.want->interface[0].ifindex = if_nametoindex("lo");
	snprintf(lab.want->interface[0].name, sizeof(lab.want->interface[0].name), "lo");
	change_filter("udp port 53");
	send_udp(fd, 53);
	send_udp(fd, 54);
	send_udp(fd, 54);
	expect(0, (struct expected){ .offered = 3, .filtered = 2, .received = 1 });
	close(fd);
}
END_TEST

START_TEST(levels)
{
	static const int values[] = { 1, 2 };	/* "ring", "off" */

	lab.options.ledger = values[_i];
	change_filter("udp port 53");
	send_udp(lab.far_fd, 53);
	send_udp(lab.far_fd, 54);
	expect(0, (struct expected){ .received = 1 });
	ck_assert(lab.tap.stream.row[0].uncounted);
	ck_assert_uint_eq(capture_lab_count(COUNTER_LEDGER, STATS_AGENT), 1 - (unsigned)_i);
}
END_TEST

/* Nothing is drained while only refused packets come, but somebody has to be told. */
START_TEST(refused_packets_wake)
{
	change_filter("udp port 53");
	for (unsigned i = 1; i <= 3; i++) {
		capture_tap_count_and_wait(&lab.tap);
		lab.active = false;
		event_base_loop(lab.base, EVLOOP_NONBLOCK);
		ck_assert(!lab.active);
		send_udp(lab.far_fd, 54);
		capture_lab_run_until(&lab.active);
		expect(0, (struct expected){ .offered = i, .filtered = i });
	}
}
END_TEST

/* near0's own count; false: /sys shows this namespace's only if it was mounted in it. */
static int
interface_read(uint32_t ifindex, uint64_t *packets)
{
	struct capture_ledger_interface interface;
	int result;

	capture_ledger_interface_open(&interface, "near0", ifindex);
	result = capture_ledger_interface_read(&interface, packets);
	capture_ledger_interface_close(&interface);
	return result;
}

static bool
interface_counts(uint64_t *packets)
{
	if (unshare(CLONE_NEWNS) == 0 && system("mount --make-rprivate / && mount -t sysfs sys /sys") == 0 &&
	    interface_read(if_nametoindex("near0"), packets) == 0)
		return true;
	printf("check_capture_ledger: no /sys of this namespace: the interface's own count is not tried\n");
	return false;
}

/* From the first id on, under the one in force. */
START_TEST(the_interface_counts_too)
{
	uint64_t packets;

	if (!interface_counts(&packets))
		return;
	ck_assert_int_eq(interface_read(4711, &packets), -1);
	send_udp(lab.far_fd, 53);
	change();
	ck_assert_uint_eq(capture_lab_count(COUNTER_INTERFACE_START, 0), packets + 1);
	send_udp(lab.far_fd, 53);
	change_filter("udp port 53");
	send_udp(lab.near_fd, 53);
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(capture_lab_count(COUNTER_INTERFACE_START, 0), 0);
	ck_assert_uint_eq(capture_lab_count(COUNTER_INTERFACE_PACKETS, 0), 0);
	ck_assert_uint_eq(capture_lab_count(COUNTER_INTERFACE_START, 1), packets + 1);
	ck_assert_uint_eq(capture_lab_count(COUNTER_INTERFACE_PACKETS, 1), packets + 3);
}
END_TEST

/* Up to the first packet that is captured again, and from the last one on that was; told under the first id, and once. */
START_TEST(what_passed_while_no_agent_ran)
{
	struct last_counts last = { 0 };
	uint64_t packets;

	if (!interface_counts(&packets))
		return;
	last.row[0] = (struct last_row){ .ifindex = if_nametoindex("near0"), .before = 1, .packets = packets };
	lab.tap.last = &last;
	send_udp(lab.far_fd, 53);
	send_udp(lab.near_fd, 53);
	change();
	ck_assert_uint_eq(capture_lab_count(COUNTER_UNWATCHED, 0), 2);
	send_udp(lab.far_fd, 53);
	change_filter("udp port 53");
	ck_assert_uint_eq(capture_lab_count(COUNTER_UNWATCHED, 0), 2);
	ck_assert_uint_eq(capture_lab_count(COUNTER_UNWATCHED, 1), 0);
	send_udp(lab.near_fd, 53);
	if (_i == 0) {
		lab.want->interface_count = 0;
		change();
		ck_assert_uint_eq(last.row[0].ifindex, 0);
		return;
	}
	capture_lab_end();
	send_udp(lab.far_fd, 53);
	ck_assert_uint_eq(last.row[0].packets, packets + 4);
}
END_TEST

/* What a killed process leaves behind is as of its last block: the ring's count and the interface's are of one moment. */
START_TEST(a_block_brings_both_counts)
{
	uint64_t packets;

	if (!interface_counts(&packets))
		return;
	change();
	ck_assert_uint_eq(capture_lab_count(COUNTER_LEDGER, STATS_AGENT), 2);
	for (unsigned i = 0; i < 5; i++)
		send_udp(lab.far_fd, 53);
	while (capture_lab_count(COUNTER_PACKETS_CAPTURED, 0) < 5)
		event_base_loop(lab.base, EVLOOP_ONCE);
	ck_assert_uint_eq(capture_lab_count(COUNTER_RING_RECEIVED, 0), 5);
	ck_assert_uint_eq(capture_lab_count(COUNTER_INTERFACE_PACKETS, 0), packets + 5);
}
END_TEST

static _Atomic bool stop;

static void *
flood(void *arg)
{
	uint64_t *sent = arg;
	uint8_t p[100] = { [0] = 0x02, [6] = 0x02, [11] = 1, [12] = 0x08, [14] = 0x45, [17] = 86, [22] = 64, [23] = IPPROTO_UDP,
		[34] = 0x40, [37] = 53 };

	while (!stop || *sent < FLOOD) {
		p[37] = (uint8_t)(53 + *sent % 3);
		*sent += send(lab.far_fd, p, sizeof(p), 0) == sizeof(p);
	}
	return NULL;
}

static uint64_t
sum(enum counter counter)
{
	uint64_t all = 0;

	for (uint32_t id = 0; id < lab.tap.stream.row_count; id++)
		all += capture_lab_count(counter, id);
	return all;
}

/* Filters, pauses and the own ports change while packets come by: each is in one place, but for those that came in between. */
START_TEST(exchanged_under_traffic)
{
	uint64_t sent = 0, offered, places, switched;
	pthread_t thread;

	change_filter("udp port 53");
	stop = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, flood, &sent), 0);
	for (unsigned round = 0; round < 20 || sum(COUNTER_FILTERED) == 0 || sum(COUNTER_PAUSED_PACKETS) == 0; round++) {
		lab.want->interface[0].paused = round % 5 == 4;
		change_filter(round % 2 == 0 ? "udp port 54 or udp port 55" : "udp port 53");
		capture_tap_count(&lab.tap);
	}
	stop = true;
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	capture_tap_count(&lab.tap);
	offered = sum(COUNTER_OFFERED);
	switched = sum(COUNTER_SWITCHED);
	places = sum(COUNTER_FILTERED) + sum(COUNTER_OWN) + sum(COUNTER_PAUSED_PACKETS) + sum(COUNTER_RING_RECEIVED);
	ck_assert_uint_le(offered, sent);
	ck_assert_msg(places <= offered + switched && offered <= places + switched, "%llu offered, %llu in places, %llu switched",
	    (unsigned long long)offered, (unsigned long long)places, (unsigned long long)switched);
	ck_assert_uint_ge(sum(COUNTER_PAUSED_PACKETS), 1);
	ck_assert_uint_ge(sum(COUNTER_FILTERED), 1);
	capture_lab_end();
	ck_assert_uint_eq(sum(COUNTER_RING_RECEIVED), sum(COUNTER_RING_DROPPED) + sum(COUNTER_PACKETS_CAPTURED));
	for (uint32_t id = 0; id < lab.tap.stream.row_count; id++)
		ck_assert_uint_eq(capture_lab_count(COUNTER_RING_RECEIVED, id), capture_lab_count(COUNTER_RING_DROPPED, id) +
		    capture_lab_count(COUNTER_PACKETS_CAPTURED, id));
}
END_TEST

/* The stream's ids are used up under traffic: the next one goes on where it ends, and what is told of it last is all of it. */
START_TEST(streams_exchanged_under_traffic)
{
	static const enum counter places[] = { COUNTER_FILTERED, COUNTER_OWN, COUNTER_PAUSED_PACKETS, COUNTER_RING_RECEIVED };
	uint64_t sent = 0, offered, switched, in_places = 0, last = 0;
	pthread_t thread;

	change_filter("udp port 53");
	stop = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, flood, &sent), 0);
	for (unsigned round = 0; round < MSG_INTERFACES_MAX + 3; round++) {
		snprintf(lab.want->filter, sizeof(lab.want->filter), "udp port 53 or udp port %u", 100 + round);
		change();
	}
	stop = true;
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(lab.last_count, 1);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		last += lab.last[places[i]];
		in_places += lab.last[places[i]] + sum(places[i]);
	}
	offered = lab.last[COUNTER_OFFERED];
	switched = lab.last[COUNTER_SWITCHED];
	ck_assert_msg(last <= offered + switched && offered <= last + switched,
	    "the first: %llu offered, %llu in places, %llu switched", (unsigned long long)offered, (unsigned long long)last, (unsigned long long)switched);
	offered += sum(COUNTER_OFFERED);
	switched += sum(COUNTER_SWITCHED);
	ck_assert_msg(in_places <= offered + switched && offered <= in_places + switched,
	    "%llu offered, %llu in places, %llu switched", (unsigned long long)offered, (unsigned long long)in_places, (unsigned long long)switched);
	ck_assert_uint_eq(offered, sent);
	capture_lab_end();
	ck_assert_uint_eq(lab.last_count, 2);
	ck_assert_uint_eq(lab.last[COUNTER_RING_RECEIVED], lab.last[COUNTER_RING_DROPPED] + lab.last[COUNTER_PACKETS_CAPTURED]);
}
END_TEST

/* --- the lease of peers, under traffic --- */

#define PEERS		64
#define BURST		500u	/* packets a change: they are all looked at */

static _Atomic uint32_t allowed, numbered;

/* From peers and others in turn, each with its number. */
static void *
flood_numbered(void *arg)
{
	uint8_t p[CAPTURE_LAB_FRAME_LEN];

	(void)arg;
	capture_lab_frame(p, IPPROTO_UDP, 53);
	while (!stop) {
		uint32_t number = numbered;

		if (number == allowed)
			continue;
		p[28] = (uint8_t)(number & 1);
		p[29] = (uint8_t)(number >> 1) % PEERS;
		memcpy(p + 50, &number, sizeof(number));
		numbered += send(lab.far_fd, p, sizeof(p), 0) == sizeof(p);
	}
	return NULL;
}

static void
see_some(void)
{
	struct spool_item item;

	for (spool_next(lab.consumer, &item); item.kind == SPOOL_BLOCK; spool_next(lab.consumer, &item)) {
		capture_lab_see_block(item.data, item.entry.data_len);
		spool_release(lab.consumer);
		spool_acknowledge(lab.consumer, item.stream, item.entry.number);
	}
	ck_assert_int_ne(item.kind, SPOOL_LOST);
}

/* A change under way, from before it begins until it has settled. */
static void
pass_burst(uint32_t until)
{
	while (numbered < until || lab.tap.queued > 0) {
		if (allowed < until)
			allowed += 5;
		event_base_loop(lab.base, EVLOOP_NONBLOCK);
		see_some();
	}
}

/* None is lost, none comes twice, whenever the lease ends or goes on. */
START_TEST(peers_exchanged_under_traffic)
{
	uint64_t places, switched;
	pthread_t thread;

	capture_lab_shell("ip link set near0 address 02:00:00:00:00:00");
	for (uint8_t i = 0; i < PEERS; i++)
		lab.want->peer[i] = (struct bpf_peer){ .family = AF_INET, .address = { 10, 0, 0, i } };
	lab.want->peer_count = PEERS;
	lab.want->peers_until_ns = UINT64_MAX;
	lab.want->interface[0].ipv4_count = 1;
	memcpy(lab.want->interface[0].ipv4[0], "\x0a\0\0\2\xff\xff\xff\0", 8);
	change();
	ck_assert_int_eq(pthread_create(&thread, NULL, flood_numbered, NULL), 0);
	for (uint32_t round = 1; round <= 20; round++) {
		pass_burst(round * BURST - BURST / 2);
		if (round % 2 == 1)
			capture_lease_end(&lab.tap);
		else
			capture_lease_renew(&lab.tap, UINT64_MAX);
		pass_burst(round * BURST);
		ck_assert_int_eq(lab.tap.lapsed, round % 2);
	}
	stop = true;
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	capture_lab_end();
	see_some();
	switched = sum(COUNTER_SWITCHED);
	places = sum(COUNTER_WITHHELD) + sum(COUNTER_RING_RECEIVED);
	ck_assert_uint_eq(sum(COUNTER_OFFERED), numbered);
	ck_assert_msg(places <= numbered + switched && numbered <= places + switched, "%u sent, %llu in places, %llu switched", numbered,
	    (unsigned long long)places, (unsigned long long)switched);
	ck_assert_uint_lt(switched, BURST);
	ck_assert_uint_gt(sum(COUNTER_WITHHELD), numbered / 8);
	ck_assert_uint_lt(sum(COUNTER_WITHHELD), numbered * 3 / 8);
	ck_assert_uint_eq(sum(COUNTER_RING_DROPPED), 0);
	ck_assert_uint_eq(sum(COUNTER_RING_RECEIVED), capture_lab_seen_count);
	for (size_t i = 0, other = 1; i < capture_lab_seen_count; i++) {
		ck_assert(i == 0 || capture_lab_seen[i].tag > capture_lab_seen[i - 1].tag);
		if (capture_lab_seen[i].tag % 2 == 1) {		/* no peer's: none is missing */
			ck_assert_uint_eq(capture_lab_seen[i].tag, other);
			other += 2;
		}
	}
}
END_TEST

/* With one filter in force there is nothing in between, however fast they come, whenever one looks. */
START_TEST(exact_after_a_flood)
{
	uint64_t sent = 0;
	pthread_t thread;

	change_filter("udp port 53");
	stop = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, flood, &sent), 0);
	while (capture_lab_count(COUNTER_OFFERED, 0) < FLOOD) {
		event_base_loop(lab.base, EVLOOP_NONBLOCK);
		capture_tap_count(&lab.tap);
		ck_assert_uint_le(capture_lab_count(COUNTER_FILTERED, 0), FLOOD / 3 * 2);
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	expect(0, (struct expected){ .offered = FLOOD, .filtered = FLOOD / 3 * 2, .received = FLOOD / 3 });
	capture_lab_end();
	ck_assert_uint_eq(capture_lab_count(COUNTER_RING_DROPPED, 0) + capture_lab_count(COUNTER_PACKETS_CAPTURED, 0), FLOOD / 3);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("capture_ledger");
	TCase *t = tcase_create("ledger");

	tcase_add_checked_fixture(t, setup, capture_lab_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, without_a_filter);
	tcase_add_test(t, with_a_filter);
	tcase_add_test(t, one_direction);
	tcase_add_test(t, paused);
	tcase_add_test(t, each_filter_by_itself);
	tcase_add_test(t, loopback_counts_each_packet_once);
	tcase_add_loop_test(t, levels, 0, 2);
	tcase_add_test(t, refused_packets_wake);
	tcase_add_test(t, the_interface_counts_too);
	tcase_add_loop_test(t, what_passed_while_no_agent_ran, 0, 2);
	tcase_add_test(t, a_block_brings_both_counts);
	tcase_add_test(t, exchanged_under_traffic);
	tcase_add_test(t, streams_exchanged_under_traffic);
	tcase_add_test(t, peers_exchanged_under_traffic);
	tcase_add_test(t, exact_after_a_flood);
	suite_add_tcase(s, t);
	return capture_lab_run(s);
}
