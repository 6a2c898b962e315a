/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/if_packet.h>

#include <event2/event.h>

#include "common/clock.h"
#include "proto/digest.h"
#include "proto/transit.h"
#include "agent/governor.h"
#include "tests/capture_lab.h"

/* What of a tap's packets is thinned: by veto, slice, mask, samples, peers and the governor; and where it is counted. */

#define FLOWS		256
#define NEAR_MAC	"02:00:00:00:00:00"	/* what capture_lab_frame() sends to */

static bool refuse_ring;
static unsigned longest;	/* program that the ring takes; 0: any */
static unsigned room, in_ring;	/* for that and the one before together; 0: any */

static bool
is_ring(int fd)
{
	int version = -1;
	socklen_t len = sizeof(version);

	return getsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, &len) == 0 && version == TPACKET_V3;
}

static bool
refused(unsigned len)
{
	return refuse_ring || (longest > 0 && len > longest) || (room > 0 && len + in_ring > room);
}

int
setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && name == SO_ATTACH_FILTER && is_ring(fd)) {
		if (refused(((const struct sock_fprog *)value)->len)) {
			errno = ENOMEM;
			return -1;
		}
		in_ring = ((const struct sock_fprog *)value)->len;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static void
setup(void)
{
	capture_lab_setup();
	capture_lab_shell("ip link set near0 address " NEAR_MAC);
	refuse_ring = false;
	longest = room = 0;
	capture_lab_seen_count = 0;
}

/* A flow is a pair of addresses: 10.0.0.flow and 10.0.0.2; from one end or from the other. */
static void
send_flow(unsigned flow, bool out)
{
	uint8_t frame[CAPTURE_LAB_FRAME_LEN], address[4];
	uint32_t tag = flow;

	capture_lab_frame(frame, IPPROTO_UDP, 53);
	frame[28] = (uint8_t)(flow >> 8);
	frame[29] = (uint8_t)flow;
	if (out) {
		memcpy(address, frame + 26, 4);
		memcpy(frame + 26, frame + 30, 4);
		memcpy(frame + 30, address, 4);
	}
	memcpy(frame + 50, &tag, 4);
	capture_lab_send(out ? lab.near_fd : lab.far_fd, frame, sizeof(frame));
}

static void
send_flows(void)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		send_flow(i, false);
		send_flow(i, true);
	}
}

static uint64_t
count(enum counter counter)
{
	capture_tap_count(&lab.tap);
	return capture_lab_count(counter, 0);
}

/* The places have what was offered, each packet once. */
static void
expect_exact(void)
{
	uint64_t places;

	capture_tap_count(&lab.tap);
	places = count(COUNTER_FILTERED) + count(COUNTER_OWN) + count(COUNTER_WITHHELD) + count(COUNTER_SAMPLED_OUT) +
	    count(COUNTER_PAUSED_PACKETS) + count(COUNTER_RING_RECEIVED);
	ck_assert_uint_eq(count(COUNTER_SWITCHED), 0);
	ck_assert_uint_eq(count(COUNTER_OFFERED), places);
}

START_TEST(veto_holds)
{
	char *never[] = { (char *)"udp port 53", (char *)"icmp" };

	lab.options.never = (struct conf_list){ .value = never, .count = 2 };
	strcpy(lab.want->filter, "udp");
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_send_ip(lab.near_fd, IPPROTO_ICMP, 8, 2);
	capture_lab_send_udp(lab.far_fd, 54, 3);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 3);
	ck_assert_uint_eq(count(COUNTER_FILTERED), 2);
	expect_exact();
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.filter, "(udp) and not (udp port 53) and not (icmp)");
	/* A veto that cannot be kept keeps everything back. */
	never[0] = (char *)"udp prot 53";
	strcpy(lab.want->filter, "");
	capture_lab_change(false);
	lab.options.never = (struct conf_list){ 0 };
}
END_TEST

/* What others leave to this agent it must not keep back in silence: its description tells. Not the port that all leave out. */
START_TEST(excluded_ports_are_told)
{
	char *ports[] = { (char *)"9000", (char *)"8827" }, *origins[] = { (char *)"a", (char *)"b" };

	lab.options.exclude_ports = (struct conf_list){ .value = ports, .origin = origins, .count = 2 };
	lab.want->own[lab.want->own_count++] = (struct ipc_endpoint){ .port = 9001 };
	lab.want->own[lab.want->own_count++] = (struct ipc_endpoint){ .family = AF_INET, .address = { 10, 0, 0, 9 }, .port = 443 };
	lab.want->direction = DIRECTION_IN;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.filter, "not (tcp port 9000) and not (tcp port 9001) and inbound");
	lab.options.exclude_ports = (struct conf_list){ 0 };
}
END_TEST

START_TEST(headers_only)
{
	lab.want->slice = (struct slice){ .headers = true, .payload = 12 };
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].head.captured_len, 14 + 20 + 8 + 12);
	ck_assert_uint_eq(capture_lab_seen[0].head.original_len, CAPTURE_LAB_FRAME_LEN);
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.description, "headers and 12 bytes of payload");
	/* The guest allows less. */
	lab.options.slice = (char *)"headers:4";
	lab.want->snaplen = 44;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(2);
	ck_assert_uint_eq(capture_lab_seen[1].head.captured_len, 44);
	ck_assert_uint_ne(capture_lab_seen[1].head.interface, capture_lab_seen[0].head.interface);
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.description, "headers and 4 bytes of payload, of the first 44 bytes");
}
END_TEST

/* Whoever reads the description knows that packets may be cut, and how; another length is another description. */
START_TEST(snaplen_is_told)
{
	lab.want->snaplen = 96;
	capture_lab_change(true);
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.description, "first 96 bytes");
	lab.options.mask = true;
	capture_lab_change(true);
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.description, "headers only, zeroes behind them, of the first 96 bytes");
	lab.options.mask = false;
	lab.want->snaplen = 0;
	capture_lab_change(true);
	ck_assert_str_eq(lab.tap.rings.tqh_first->description.description, "");
	ck_assert_uint_eq(lab.tap.stream.row_count, 3);
}
END_TEST

START_TEST(mask_keeps_lengths)
{
	lab.options.mask = true;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 0x01020304);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].head.captured_len, CAPTURE_LAB_FRAME_LEN);
	ck_assert_uint_eq(capture_lab_seen[0].head.original_len, CAPTURE_LAB_FRAME_LEN);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 0);
	ck_assert_uint_eq(capture_lab_seen[0].ethertype, 0x800);
	lab.want->slice = (struct slice){ .headers = true, .payload = 12 };
	lab.want->snaplen = 60;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 0x01020304);
	capture_lab_see(2);
	ck_assert_uint_eq(capture_lab_seen[1].tag, 0);	/* the guest's mask leaves no payload */
	ck_assert_uint_eq(capture_lab_seen[1].head.captured_len, 60);
}
END_TEST

static uint64_t
digest_of_next(void)
{
	uint8_t frame[CAPTURE_LAB_FRAME_LEN];
	size_t count = capture_lab_seen_count;

	capture_lab_frame(frame, 17, 53);
	capture_lab_send(lab.far_fd, frame, sizeof(frame));
	capture_lab_see(count + 1);
	return capture_lab_seen[count].head.packetid;
}

/* On and off with the policy; none of what is cut. */
START_TEST(digests_of_whole_packets)
{
	uint8_t frame[CAPTURE_LAB_FRAME_LEN];
	struct transit transit;

	capture_lab_change(true);
	ck_assert_uint_eq(digest_of_next(), DIGEST_NONE);
	lab.want->digest = true;
	memset(lab.want->secret, 0x5a, sizeof(lab.want->secret));
	capture_lab_change(true);
	capture_lab_frame(frame, 17, 53);
	transit_parse(&transit, 1, frame, sizeof(frame), sizeof(frame));
	ck_assert_uint_eq(digest_of_next(), digest_packet(&transit, lab.want->secret));
	lab.want->snaplen = CAPTURE_LAB_FRAME_LEN;
	capture_lab_change(true);
	ck_assert_uint_ne(digest_of_next(), DIGEST_NONE);
	lab.want->snaplen = CAPTURE_LAB_FRAME_LEN - 1;
	capture_lab_change(true);
	ck_assert_uint_eq(digest_of_next(), DIGEST_NONE);
	lab.want->snaplen = 0;
	lab.want->slice.mask = true;
	capture_lab_change(true);
	ck_assert_uint_eq(digest_of_next(), DIGEST_NONE);
	lab.want->slice.mask = false;
	capture_lab_change(true);
	ck_assert_uint_ne(digest_of_next(), DIGEST_NONE);
	lab.want->digest = false;
	capture_lab_change(true);
	ck_assert_uint_eq(digest_of_next(), DIGEST_NONE);
}
END_TEST

static uint8_t kept[FLOWS];	/* how often each flow was seen */

static unsigned
see_flows(size_t from)
{
	unsigned flows = 0;

	memset(kept, 0, sizeof(kept));
	for (size_t i = from; i < capture_lab_seen_count; i++) {
		ck_assert_uint_lt(capture_lab_seen[i].tag, FLOWS);
		kept[capture_lab_seen[i].tag]++;
	}
	for (unsigned i = 0; i < FLOWS; i++) {
		ck_assert_msg(kept[i] == 0 || kept[i] == 2, "flow %u: %u of 2 packets", i, kept[i]);
		flows += kept[i] > 0;
	}
	return flows;
}

/* Whole flows, both ways, fewer each time, the same ones; and nothing is missing in the books. */
START_TEST(samples_are_whole_flows)
{
	struct governor_orders orders = GOVERNOR_NO_ORDERS;
	uint8_t before[FLOWS];
	unsigned flows, last = FLOWS;
	size_t from = 0;

	capture_lab_change(true);
	memset(before, 2, sizeof(before));
	for (orders.keep = 32; orders.keep > 0; orders.keep /= 2) {
		capture_lab_govern(&orders, true);
		send_flows();
		capture_lab_see(count(COUNTER_RING_RECEIVED));
		flows = see_flows(from);
		ck_assert_uint_lt(flows, last);
		for (unsigned i = 0; i < FLOWS; i++)
			ck_assert(kept[i] <= before[i]);
		memcpy(before, kept, sizeof(kept));
		expect_exact();
		from = capture_lab_seen_count;
		last = flows;
	}
	orders.keep = GOVERNOR_KEEP_ALL;
	capture_lab_govern(&orders, true);
	send_flows();
	capture_lab_see(from + 2 * FLOWS);
	ck_assert(capture_lab_seen[from].commented);
	ck_assert_uint_eq(see_flows(from), FLOWS);
	expect_exact();
	ck_assert_int_eq(lab.tap.rings.tqh_first->ledger.fd[PROGRAM_SAMPLED], -1);
}
END_TEST

/* In force from one packet to the next, noted on that one, and in the same interface. */
START_TEST(orders_are_noted)
{
	struct governor_orders orders = { .slice = true, .keep = GOVERNOR_KEEP_ALL };

	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	capture_lab_govern(&orders, true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_send_udp(lab.far_fd, 53, 3);
	capture_lab_see(3);
	ck_assert(!capture_lab_seen[0].commented && capture_lab_seen[1].commented && !capture_lab_seen[2].commented);
	ck_assert_uint_eq(capture_lab_seen[0].head.captured_len, CAPTURE_LAB_FRAME_LEN);
	ck_assert_uint_eq(capture_lab_seen[1].head.captured_len, 42);
	ck_assert_uint_eq(capture_lab_seen[1].head.interface, capture_lab_seen[0].head.interface);
	/* A policy that comes now does not lift them. */
	strcpy(lab.want->filter, "udp");
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 4);
	capture_lab_see(4);
	ck_assert_uint_eq(capture_lab_seen[3].head.captured_len, 42);
}
END_TEST

START_TEST(refused_orders_change_nothing)
{
	struct governor_orders orders = { .slice = true, .keep = 8 };

	capture_lab_change(true);
	refuse_ring = true;
	capture_lab_govern(&orders, false);
	refuse_ring = false;
	send_flows();
	capture_lab_see(2 * FLOWS);
	ck_assert_uint_eq(see_flows(0), FLOWS);
	ck_assert_uint_eq(capture_lab_seen[0].head.captured_len, CAPTURE_LAB_FRAME_LEN);
	expect_exact();
	strcpy(lab.want->filter, "udp");
	capture_lab_change(true);
	ck_assert_uint_eq(lab.tap.orders.keep, GOVERNOR_KEEP_ALL);
}
END_TEST

/* Where both have no room, what the policy says comes first. */
START_TEST(orders_make_room)
{
	struct governor_orders orders = { .slice = true, .keep = 8 };

	capture_lab_change(true);
	capture_lab_govern(&orders, true);
	longest = 300;
	strcpy(lab.want->filter, "udp");
	lab.governed = false;
	capture_lab_change(true);
	ck_assert(lab.governed && !lab.in_force);
	ck_assert_uint_eq(lab.tap.orders.keep, GOVERNOR_KEEP_ALL);
	/* And so it is when the settings are read anew. */
	longest = 0;
	capture_lab_govern(&orders, true);
	longest = 300;
	lab.governed = false;
	lab.options.snaplen = 90;
	capture_tap_reload(&lab.tap);
	capture_lab_run_until(&lab.governed);
	ck_assert(!lab.tap.shut && !TAILQ_EMPTY(&lab.tap.rings));
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].head.captured_len, 90);
}
END_TEST

START_TEST(last_interface_is_paused_first)
{
	struct governor_orders orders = { .keep = GOVERNOR_KEEP_ALL, .paused = 1 };

	capture_lab_want("lo");
	capture_lab_change(true);
	capture_lab_govern(&orders, true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PAUSED, 0), 0);
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PAUSED, 1), 2);
	orders.paused = 2;
	capture_lab_govern(&orders, true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PAUSED_PACKETS, 0), 1);
	ck_assert_uint_eq(lab.totals.left_out, 1);
	orders.paused = 0;
	capture_lab_govern(&orders, true);
	capture_lab_send_udp(lab.far_fd, 53, 3);
	capture_lab_see(2);
	ck_assert_uint_eq(capture_lab_seen[1].tag, 3);
}
END_TEST

static void
want_peers(unsigned peers)
{
	for (unsigned i = 0; i < peers; i++) {
		uint32_t address = htonl(i < FLOWS ? 0x0a000000 + i : i * 2654435761u);

		lab.want->peer[i] = (struct bpf_peer){ .family = AF_INET };
		memcpy(lab.want->peer[i].address, &address, sizeof(address));
	}
	lab.want->peer_count = (uint16_t)peers;
	lab.want->peers_until_ns = UINT64_MAX;
	lab.want->interface[0].ipv4_count = 1;
	memcpy(lab.want->interface[0].ipv4[0], "\x0a\0\0\2\xff\xff\xff\0", 8);
}

/* What comes in from a peer is left out, what goes out to it is not; and a part of the flows is always captured, as an audit. */
START_TEST(peers_are_withheld)
{
	unsigned audited;
	uint64_t withheld;

	want_peers(FLOWS);
	capture_lab_change(true);
	send_flows();
	withheld = count(COUNTER_WITHHELD);
	ck_assert_uint_gt(withheld, FLOWS * 9 / 10);
	audited = (unsigned)(FLOWS - withheld);
	capture_lab_see(FLOWS + audited);
	expect_exact();
	ck_assert_uint_eq(count(COUNTER_PEERS_LEFT), 0);
	lab.want->peer_count = 0;
	capture_lab_change(true);
	send_flows();
	capture_lab_see(FLOWS + audited + 2 * FLOWS);
	ck_assert_uint_eq(count(COUNTER_WITHHELD), withheld);
	expect_exact();
}
END_TEST

/* What is for another host the guest forwards: nobody could tell later that it came by here. */
START_TEST(forwarded_is_captured)
{
	uint64_t withheld;

	want_peers(FLOWS);
	lab.want->balanced = _i == 1;
	capture_lab_change(true);
	send_flows();
	withheld = count(COUNTER_WITHHELD);
	ck_assert_uint_gt(withheld, 0);
	lab.want->interface[0].ipv4[0][3] = 200;
	capture_lab_change(true);
	send_flows();
	ck_assert_uint_eq(count(COUNTER_WITHHELD), withheld);
	capture_lab_see(4 * FLOWS - withheld);
	/* Nor is it without an address, while it is configured. */
	lab.want->interface[0].ipv4_count = 0;
	capture_lab_change(true);
	send_flows();
	ck_assert_uint_eq(count(COUNTER_WITHHELD), withheld);
	expect_exact();
}
END_TEST

/* Of the even flows what comes in, of the odd ones what goes out: of each but the audited one packet is left. */
START_TEST(peers_share_flows)
{
	unsigned withheld, in = 0;

	want_peers(FLOWS);
	lab.want->balanced = true;
	capture_lab_change(true);
	send_flows();
	withheld = (unsigned)count(COUNTER_WITHHELD);
	ck_assert_uint_gt(withheld, FLOWS * 9 / 10);
	ck_assert_uint_lt(withheld, FLOWS);
	capture_lab_see(2 * FLOWS - withheld);
	expect_exact();
	memset(kept, 0, sizeof(kept));
	for (size_t i = 0; i < capture_lab_seen_count; i++) {
		kept[capture_lab_seen[i].tag]++;
		in += capture_lab_seen[i].head.flags == PCAPNG_EPB_IN;
	}
	for (unsigned i = 0; i < FLOWS; i++)
		ck_assert_uint_ge(kept[i], 1);
	ck_assert_uint_gt(in, FLOWS / 4);
	ck_assert_uint_lt(in, FLOWS * 3 / 4);
}
END_TEST

/* --- the lease of peers --- */

static void
settle(void)
{
	while (lab.tap.queued > 0)
		ck_assert_int_eq(event_base_loop(lab.base, EVLOOP_ONCE), 0);
}

static uint64_t
in_ms(unsigned ms)
{
	return clock_boot_ns() + ms * UINT64_C(1000000);
}

/* All flows, of which so many packets are withheld. */
static void
expect_withheld(uint64_t withheld)
{
	uint64_t before = count(COUNTER_WITHHELD), seen = capture_lab_seen_count;

	send_flows();
	ck_assert_uint_eq(count(COUNTER_WITHHELD) - before, withheld);
	capture_lab_see(seen + 2 * FLOWS - withheld);
	expect_exact();
}

/* Nobody renews it: all is captured again, without a word from the link role. What renews it too late has peers left out again. */
START_TEST(lease_ends_by_itself)
{
	uint64_t withheld;

	want_peers(FLOWS);
	capture_lab_change(true);
	send_flows();
	withheld = count(COUNTER_WITHHELD);
	ck_assert_uint_gt(withheld, FLOWS * 9 / 10);
	capture_lab_see(2 * FLOWS - withheld);
	capture_lease_renew(&lab.tap, in_ms(100));
	expect_withheld(withheld);
	capture_lab_run_until(&lab.tap.lapsed);
	ck_assert_uint_ge(clock_boot_ns(), lab.tap.peers_until_ns);
	settle();
	expect_withheld(0);
	capture_lease_renew(&lab.tap, in_ms(60000));
	settle();
	expect_withheld(withheld);
	/* What was told under an old lease is not brought back by a new one for others. */
	capture_lease_end(&lab.tap);
	capture_lab_run_until(&lab.tap.lapsed);
	settle();
	want_peers(1);
	capture_lab_change(true);
	expect_withheld(1);
	ck_assert_uint_eq(lab.tap.stream.row_count, 1);
}
END_TEST

START_TEST(lease_has_ended_before)
{
	want_peers(FLOWS);
	lab.want->peers_until_ns = in_ms(0);
	capture_lab_change(true);
	ck_assert(lab.tap.lapsed);
	expect_withheld(0);
	/* A policy and the governor change nothing about that. */
	strcpy(lab.want->filter, "udp");
	capture_lab_change(true);
	capture_lab_govern(&(struct governor_orders)GOVERNOR_NO_ORDERS, true);
	ck_assert(lab.tap.lapsed);
}
END_TEST

/* A list that is refused may be one from which a peer was taken: that one must not stay. */
START_TEST(refused_peers_end_those_before)
{
	want_peers(FLOWS);
	capture_lab_change(true);
	want_peers(FLOWS / 2);
	refuse_ring = true;
	capture_lab_change(false);
	refuse_ring = false;
	capture_lab_run_until(&lab.tap.lapsed);
	settle();
	expect_withheld(0);
	/* Refused for another reason: as before. */
	capture_lab_change(true);
	ck_assert(!lab.tap.lapsed);
	strcpy(lab.want->filter, "udp prot 53");
	capture_lab_change(false);
	settle();
	ck_assert(!lab.tap.lapsed);
}
END_TEST

/* The kernel has to hold the program before and the next one. Without room for both the ring captures nothing for a moment. */
START_TEST(lease_ends_without_room)
{
	unsigned bare;

	capture_lab_change(true);
	bare = in_ring;
	want_peers(FLOWS);
	room = 100000;
	capture_lab_change(true);
	ck_assert_uint_gt(in_ring, bare);
	room = in_ring + bare - 1;
	capture_lease_end(&lab.tap);
	capture_lab_run_until(&lab.tap.lapsed);
	settle();
	ck_assert_uint_eq(in_ring, bare);
	expect_withheld(0);
	/* And where it refuses that too, it is asked again. */
	room = 0;
	capture_lab_change(true);
	capture_lease_renew(&lab.tap, in_ms(60000));
	settle();
	refuse_ring = true;
	capture_lease_end(&lab.tap);
	event_base_loop(lab.base, EVLOOP_ONCE);
	ck_assert(!lab.tap.lapsed && lab.tap.queued == 0);
	refuse_ring = false;
	capture_lab_run_until(&lab.tap.lapsed);
}
END_TEST

static const struct {
	unsigned optmem;
	bool	 all;		/* 1,000 peers fit */
} rooms[] = { { 20480, false }, { 131072, true } };

static bool
set_optmem(unsigned bytes)
{
	FILE *file = fopen("/proc/sys/net/core/optmem_max", "w");
	bool set;

	if (file == NULL)
		return false;
	set = fprintf(file, "%u", bytes) > 0;
	return fclose(file) == 0 && set;
}

/* Orders come one after the other, and where there is little room each has that of the one before. */
START_TEST(orders_follow_orders)
{
	struct governor_orders orders = { .slice = true, .keep = 32 };

	if (!set_optmem(20480)) {
		fprintf(stderr, "skip	orders_follow_orders: net.core.optmem_max cannot be set here\n");
		return;
	}
	capture_lab_change(true);
	for (; orders.keep > 1; orders.keep /= 2)
		capture_lab_govern(&orders, true);
	send_flows();
	expect_exact();
}
END_TEST

/* What has no room in the kernel's filter is captured, and said. */
START_TEST(peers_without_room)
{
	uint64_t left, withheld;

	if (!set_optmem(rooms[_i].optmem)) {
		fprintf(stderr, "skip	peers_without_room: net.core.optmem_max cannot be set here\n");
		return;
	}
	want_peers(IPC_PEERS_MAX);
	capture_lab_change(true);
	left = count(COUNTER_PEERS_LEFT);
	fprintf(stderr, "check_capture_thin: optmem_max %u: %llu of %u peers fit\n", rooms[_i].optmem,
	    (unsigned long long)(IPC_PEERS_MAX - left), (unsigned)IPC_PEERS_MAX);
	ck_assert_int_eq(left == 0, rooms[_i].all);
	ck_assert_uint_lt(left, IPC_PEERS_MAX / 2);
	send_flows();
	withheld = count(COUNTER_WITHHELD);
	capture_lab_see(2 * FLOWS - withheld);
	expect_exact();
	/* What the program before takes of it is not missing. */
	strcpy(lab.want->filter, "udp");
	capture_lab_change(true);
	send_flows();
	expect_exact();
	ck_assert_uint_lt(capture_lab_count(COUNTER_PEERS_LEFT, 1), IPC_PEERS_MAX / 2);
}
END_TEST

/* A ring beyond memory-limit is not opened; the others go on. */
START_TEST(rings_share_their_memory)
{
	lab.options.memory_limit = AGENT_ROLES_MEMORY + (1u << 20) + 300000;
	capture_lab_change(true);
	ck_assert_uint_eq(lab.totals.rings[POOL_COLLECTOR].bytes, 3u << 18);
	ck_assert_uint_eq(lab.totals.rings[POOL_OPERATORS].bytes, 0);
	capture_lab_want("lo");
	capture_lab_change(true);
	ck_assert(lab.was_gone);
	ck_assert_msg(strstr(lab.gone.reason, "memory-limit") != NULL, "%s", lab.gone.reason);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	/* One in place of another has its room. */
	lab.was_gone = false;
	lab.want->interface_count = 0;
	capture_lab_want("lo");
	capture_lab_change(true);
	ck_assert(!lab.was_gone && !TAILQ_EMPTY(&lab.tap.rings));
	capture_lab_end();
	ck_assert_uint_eq(lab.totals.rings[POOL_COLLECTOR].bytes, 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("capture_thin");
	TCase *t = tcase_create("capture_thin");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, capture_lab_teardown);
	tcase_add_test(t, veto_holds);
	tcase_add_test(t, excluded_ports_are_told);
	tcase_add_test(t, headers_only);
	tcase_add_test(t, snaplen_is_told);
	tcase_add_test(t, mask_keeps_lengths);
	tcase_add_test(t, digests_of_whole_packets);
	tcase_add_test(t, samples_are_whole_flows);
	tcase_add_test(t, orders_are_noted);
	tcase_add_test(t, refused_orders_change_nothing);
	tcase_add_test(t, orders_make_room);
	tcase_add_test(t, orders_follow_orders);
	tcase_add_test(t, last_interface_is_paused_first);
	tcase_add_test(t, peers_are_withheld);
	tcase_add_loop_test(t, forwarded_is_captured, 0, 2);
	tcase_add_test(t, peers_share_flows);
	tcase_add_test(t, lease_ends_by_itself);
	tcase_add_test(t, lease_has_ended_before);
	tcase_add_test(t, refused_peers_end_those_before);
	tcase_add_test(t, lease_ends_without_room);
	tcase_add_loop_test(t, peers_without_room, 0, sizeof(rooms) / sizeof(rooms[0]));
	tcase_add_test(t, rings_share_their_memory);
	suite_add_tcase(s, t);
	return capture_lab_run(s);
}
