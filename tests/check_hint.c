/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "common/log.h"
#include "proto/pcapng.h"

#include "collector/hint_rule.h"
#include "collector/hint_sample.h"

#include "tests/hint_lab.h"

#define SECOND	LAB_SECOND

static void
setup(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	lab_begin(2);
}

/* VMs 0 and 1 talk until 1 withholds 0. */
static void
withhold(void)
{
	lab_up_sender(0);
	lab_up(1);
	lab_pass(SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	ck_assert(!lab_withholds(0, 1));
	ck_assert_int_eq(lab_records(HINT_BEGINS), 1);
	ck_assert_int_eq(lab_records(HINT_ENDS), 0);
}

/* ... and that it does not any more, at once and without a tick. */
static void
assert_withdrawn(void)
{
	lab_take_all();
	ck_assert(!lab_withholds(1, 0));
	ck_assert_int_eq(lab_records(HINT_ENDS), 1);
	ck_assert_uint_eq(hints_pairs(lab.hints), 0);
}

static const struct {
	const char	*sender, *receiver;
	bool		 covers;
} rules[] = {
	{ "", "", true },
	{ "", "tcp port 80", true },
	{ "", "src host 10.0.0.1", true },
	{ "", "inbound", true },
	{ "", "outbound", false },
	{ "", "(tcp) and outbound", false },
	{ "", "(dst port 53 or src net 10.0.0.0/8) and not (arp) and inbound", true },
	{ "", "(tcp or inbound)", false },
	{ "", "tcp or inbound", false },
	{ "", "(tcp) and not inbound", false },
	{ "", "(ether src 00:11:22:33:44:55) and inbound", false },
	{ "", "(not (ether src 00:11:22:33:44:55))", false },
	{ "", "(not vlan)", false },
	{ "", "(ip[8] < 64)", false },
	{ "", "(len <= 1500)", false },
	{ "", "(greater 100)", false },
	{ "", "(not broadcast and not multicast)", false },
	{ "", "(src host web1)", false },
	{ "tcp port 80", "", false },
	{ "tcp port 80", "tcp port 443", false },
	{ "tcp port 80", "tcp port 80", true },
	{ "(tcp port 80 or 443) and not (host 10.1.2.3)", "(tcp port 80 or 443) and not (host 10.1.2.3)", true },
	{ "port http", "port http", true },
	{ "udp portrange 5000-6000 && !(icmp || icmp6)", "udp portrange 5000-6000 && !(icmp || icmp6)", true },
	{ "net 10.0.0.0/8", "net 10.0.0.0/8", true },
	{ "net 10.0.0.0 mask 255.0.0.0", "net 10.0.0.0 mask 255.0.0.0", true },
	{ "ip6 host 2001:db8::1 or net fd00::/8", "ip6 host 2001:db8::1 or net fd00::/8", true },
	{ "ip proto \\tcp", "ip proto \\tcp", true },
	{ "src host 10.0.0.1", "src host 10.0.0.1", false },
	{ "dst port 53", "dst port 53", false },
	{ "host 00:11:22:33:44:55", "host 00:11:22:33:44:55", false },
	{ "ether host 00:11:22:33:44:55", "ether host 00:11:22:33:44:55", false },
	{ "ether proto 0x0800", "ether proto 0x0800", false },
	{ "vlan 10", "vlan 10", false },
	{ "mpls", "mpls", false },
	{ "pppoes and tcp", "pppoes and tcp", false },
	{ "len > 100", "len > 100", false },
	{ "less 100", "less 100", false },
	{ "greater 100", "greater 100", false },
	{ "ip[8] > 10", "ip[8] > 10", false },
	{ "tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & tcp-syn != 0", false },
	{ "(tcp) and inbound", "(tcp) and inbound", false },
	{ "tcp and outbound", "tcp and outbound", false },
	{ "gateway 10.0.0.1", "gateway 10.0.0.1", false },
	{ "broadcast", "broadcast", false },
	{ "ip multicast", "ip multicast", false },
	{ "ifname eth0", "ifname eth0", false },
	{ "host web1", "host web1", false },
	{ "tcp port 80 or port 8...", "tcp port 80 or port 8...", false },
};

START_TEST(filters_cover)
{
	ck_assert_msg(hint_filter_covers(rules[_i].sender, rules[_i].receiver) == rules[_i].covers, "\"%s\" for \"%s\"",
	    rules[_i].sender, rules[_i].receiver);
}
END_TEST

START_TEST(filters_decide)
{
	lab_up_as(0, "acme", "", rules[_i].sender, false);
	lab_up_as(1, "acme", "", rules[_i].receiver, false);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0) == rules[_i].covers);
	lab_end();
}
END_TEST

START_TEST(proven_pairs_alone)
{
	lab_up_sender(0);
	lab_up(1);
	lab_up_sender(2);
	lab_packets(0, 1, HINT_PROOFS - 1);
	lab_sent(0, 1, 77);
	lab_came(1, lab_address(0), 78, false);
	lab_came(1, lab_address(2), 77, false);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), -1);
	lab_packet(0, 1);
	ck_assert_int_eq(lab_take(), -1);	/* what is added can wait */
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), 1);
	ck_assert_int_eq(lab.msg.added_count, 1);
	ck_assert_uint_eq(lab.msg.base, 0);
	ck_assert_int_eq(lab.msg.lease_ms, 5000);
	ck_assert_int_eq(lab_take(), -1);
	ck_assert_int_eq(lab_records(HINT_BEGINS), 1);
	ck_assert_str_eq(lab_record.address, "10.0.0.1");
	ck_assert(lab_record.from_ns == lab.now.wall_ns);
	lab_packets(2, 1, HINT_PROOFS);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), 1);
	ck_assert_int_eq(lab.msg.added_count, 1);	/* what changed, and no more */
	ck_assert_uint_ne(lab.msg.base, 0);
	ck_assert(lab_withholds(1, 0) && lab_withholds(1, 2));
	lab_end();
}
END_TEST

/* Data of one direction may be parted and joined on the way: what comes back shows as well who has the address. */
START_TEST(either_direction_proves)
{
	lab_up_sender(0);
	lab_up(1);
	lab_packets(1, 0, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* Agents of other tenants and networks have the same addresses. */
START_TEST(overlapping_addresses_do_not_meet)
{
	static const char *const tenants[] = { "acme", "other", "acme" }, *const networks[] = { "", "", "blue" };
	const struct pcapng_interface description = { .name = "eth0", .ipv4_count = 1, .ipv4 = { { 10, 0, 0, 1 } } };

	lab_up(0);
	lab_up(1);
	lab_up_as(2, tenants[_i], networks[_i], "", false);
	if (_i == 0)
		hint_addresses(lab.vm[2], 0, (struct bpf_peer[]){ lab_address(0) }, 1, &lab.now);
	else {
		hint_down(lab.vm[2], &lab.now);
		lab_up_as(2, tenants[_i], "unused", "", false);
		hint_interface(lab.vm[2], 1, &description, networks[_i], &lab.now);
		hint_addresses(lab.vm[2], 1, (struct bpf_peer[]){ lab_address(0) }, 1, &lab.now);
	}
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0) == (_i > 0));	/* but of one tenant and network, they are in conflict */
	ck_assert_int_eq(lab_records(HINT_CONFLICT), _i == 0);
	lab_end();
}
END_TEST

START_TEST(other_networks_do_not_meet)
{
	lab_up_as(0, "acme", "red", "", false);
	lab_up_as(1, "acme", "blue", "", false);
	lab_up_as(2, "other", "red", "", false);
	lab_packets(0, 1, HINT_PROOFS);
	lab_packets(0, 2, HINT_PROOFS);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), -1);
	lab_end();
}
END_TEST

/* A list is of addresses alone: a receiver in two networks might leave out another's. */
START_TEST(receiver_in_two_networks)
{
	const struct pcapng_interface second = { .name = "eth1" };

	withhold();
	hint_interface(lab.vm[1], 1, &second, "blue", &lab.now);
	assert_withdrawn();
	lab_pass(SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), -1);
	lab_end();
}
END_TEST

/* Who claims what is another's gains nothing, and nobody relies on the address any more. */
START_TEST(conflicting_claims)
{
	struct bpf_peer victim = lab_address(0);

	withhold();
	lab_up(2);
	hint_addresses(lab.vm[2], 0, &victim, 1, &lab.now);
	assert_withdrawn();
	ck_assert_int_eq(lab_records(HINT_CONFLICT), 1);
	ck_assert_int_eq(lab_records(HINT_GAP), 0);
	lab_pass(SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	hint_addresses(lab.vm[2], 0, &victim, 1, &lab.now);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(!lab_withholds(1, 0));
	ck_assert_int_eq(lab_records(HINT_CONFLICT), 0);	/* told once */
	hint_down(lab.vm[2], &lab.now);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* A guest claims the address of a VM without agent. What came from that was not sent by it. */
START_TEST(a_lying_guest_is_barred)
{
	struct bpf_peer victim = lab_address(9);

	lab_up(0);
	lab_up(1);
	hint_addresses(lab.vm[0], 0, (struct bpf_peer[]){ lab_address(0), victim }, 2, &lab.now);
	for (uint64_t digest = 1; digest <= HINT_PROOFS; digest++) {	/* it knows some packets, and says that it sent them */
		const struct hint_sample sample = { .digest = digest, .time_ns = lab.now.wall_ns, .src = victim, .out = true };
		const struct hint_block block = { .first_ns = lab.now.wall_ns, .last_ns = lab.now.wall_ns, .count = 1,
		    .sample = { sample }, .ceiling = { UINT64_MAX, UINT64_MAX } };

		lab_came(1, victim, digest, true);
		hint_block(lab.vm[0], &block, &lab.now);
	}
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 9));
	for (uint64_t digest = 100; digest < 100 + HINT_MISMATCHES; digest++) {
		lab_pass(3 * SECOND);
		lab_idle_block(0);
		hint_heard(lab.vm[0], lab.now.mono_ns);
		lab_came(1, victim, digest, true);
		for (int i = 0; i < 4; i++) {
			lab_pass(SECOND);
			lab_idle_block(0);
			hint_heard(lab.vm[0], lab.now.mono_ns);
		}
		lab_take_all();
		ck_assert(!lab_withholds(1, 9));
	}
	ck_assert_int_eq(lab_records(HINT_BARRED), 1);
	ck_assert_str_eq(lab_record.address, "10.0.0.10");
	ck_assert_uint_eq(hint_totals(lab.hints)->mismatches, HINT_MISMATCHES);
	lab_end();
}
END_TEST

/* Not a mismatch: the sender's blocks of that time are not here, or they are a choice that need not have it. */
START_TEST(what_need_not_be_there_is_no_mismatch)
{
	withhold();
	lab_pass(2 * SECOND);
	lab_came(1, lab_address(0), UINT64_MAX, false);
	for (int i = 0; i < 4; i++) {
		const struct hint_block some = { .first_ns = lab.now.wall_ns, .last_ns = lab.now.wall_ns,
		    .ceiling = { 1u << 30, 1u << 30 } };

		if (_i == 1)
			hint_block(lab.vm[0], &some, &lab.now);
		hint_heard(lab.vm[0], lab.now.mono_ns);
		lab_pass(SECOND);
	}
	ck_assert_uint_eq(hint_totals(lab.hints)->mismatches, 0);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* Each thing that makes a peer deliver less, and whether a gap is possible. */
enum cause {
	LEAVES, POLICY, UNSETTLED, SHARE, ADDRESS, STREAM, FILTER, SLICE, NEW_NETWORK, SHEDS, PAUSES, LAGS, URGENT, BEHIND, GAP_TOLD,
	DROPS, DROPCOUNT, RECEIVER_POLICY, CAUSES
};
static const bool loses[CAUSES] = { [LEAVES] = true, [POLICY] = true, [UNSETTLED] = true, [SHARE] = true, [ADDRESS] = true,
	[STREAM] = true, [FILTER] = true, [SLICE] = true, [NEW_NETWORK] = true, [SHEDS] = true, [PAUSES] = true, [GAP_TOLD] = true,
	[DROPS] = true, [DROPCOUNT] = true };

static void
happen(enum cause cause)
{
	const struct pcapng_interface filtered = { .name = "eth0", .filter = "tcp" };
	const struct pcapng_interface sliced = { .name = "eth0", .description = "headers only" };
	const struct pcapng_interface same = { .name = "eth0" };
	struct hint_policy policy = { .withhold = cause != POLICY && cause != RECEIVER_POLICY, .balanced = cause == SHARE,
	    .settled = cause != UNSETTLED };
	struct hint_stats stats = { .wall_ns = lab.now.wall_ns };
	struct hint_block block = { .first_ns = lab.now.wall_ns, .last_ns = lab.now.wall_ns };

	switch (cause) {
	case LEAVES:
		hint_down(lab.vm[0], &lab.now);
		break;
	case POLICY:
	case UNSETTLED:
	case SHARE:
		hint_policy(lab.vm[0], &policy, &lab.now);
		break;
	case RECEIVER_POLICY:
		hint_policy(lab.vm[1], &policy, &lab.now);
		break;
	case ADDRESS:
		hint_addresses(lab.vm[0], 0, (struct bpf_peer[]){ lab_address(5) }, 1, &lab.now);
		break;
	case STREAM:
		hint_stream(lab.vm[0], &lab.now);
		break;
	case FILTER:
		hint_interface(lab.vm[0], 1, &filtered, "", &lab.now);
		break;
	case SLICE:
		hint_interface(lab.vm[0], 1, &sliced, "", &lab.now);
		break;
	case NEW_NETWORK:
		hint_interface(lab.vm[0], 0, &same, "blue", &lab.now);
		break;
	case SHEDS:
		stats.shedding = true;
		hint_stats(lab.vm[0], &stats, &lab.now);
		break;
	case PAUSES:
		stats.paused = true;
		hint_stats(lab.vm[0], &stats, &lab.now);
		break;
	case LAGS:	/* blocks come that are old */
		lab.now.mono_ns += 6 * SECOND;
		lab.now.wall_ns += 6 * SECOND;
		hint_heard(lab.vm[0], lab.now.mono_ns);
		hint_block(lab.vm[0], &block, &lab.now);
		break;
	case URGENT:
		block.urgent = true;
		hint_block(lab.vm[0], &block, &lab.now);
		break;
	case BEHIND:	/* it has something and sends nothing */
		lab.now.wall_ns += 6 * SECOND;
		stats.spool_bytes = 1;
		hint_stats(lab.vm[0], &stats, &lab.now);
		ck_assert_int_eq(lab_take(), -1);
		hint_stats(lab.vm[0], &stats, &lab.now);
		break;
	case GAP_TOLD:
		hint_lossy(lab.vm[0], &lab.now);
		break;
	case DROPS:
		hint_stats(lab.vm[0], &stats, &lab.now);
		stats.lost = 3;
		hint_stats(lab.vm[0], &stats, &lab.now);
		break;
	case DROPCOUNT:
		block.dropped = true;
		hint_block(lab.vm[0], &block, &lab.now);
		break;
	case CAUSES:
		break;
	}
}

START_TEST(taken_back_at_once)
{
	struct hint_stats stats = { .withheld = 100 };

	withhold();
	stats.wall_ns = lab.now.wall_ns - SECOND / 2;
	lab.now.wall_ns += 1;
	hint_stats(lab.vm[1], &stats, &lab.now);
	lab_take_all();
	happen((enum cause)_i);
	assert_withdrawn();
	ck_assert_int_eq(lab_records(HINT_GAP), 0);
	lab_pass(SECOND);
	stats.withheld = 142;
	stats.wall_ns = lab.now.wall_ns;
	hint_stats(lab.vm[1], &stats, &lab.now);
	ck_assert_int_eq(lab_records(HINT_GAP), loses[_i]);
	if (loses[_i]) {
		ck_assert_uint_le(lab_record.from_ns, lab_record.to_ns);
		ck_assert(!lab_record.bounded || lab_record.packets == 42);
	}
	lab_end();
}
END_TEST

/* The gap of a peer that died: from its last packet that is here to the moment when all is captured again, bounded by what was left
 * out from the STATS before to the one after. */
START_TEST(a_dying_peer_leaves_a_bounded_gap)
{
	struct hint_stats stats = { .withheld = 100 };
	uint64_t last, died;

	withhold();
	stats.wall_ns = lab.now.wall_ns;
	hint_stats(lab.vm[1], &stats, &lab.now);
	hint_clock(lab.vm[1], 7);
	lab_pass(SECOND / 2);
	hint_heard(lab.vm[0], lab.now.mono_ns);
	lab_idle_block(0);
	last = lab.now.wall_ns;
	for (int i = 0; i < 4; i++) {
		lab_pass(SECOND);
		lab_take_all();
		ck_assert(lab_withholds(1, 0));
	}
	lab_pass(SECOND);	/* nothing was heard for the lease */
	assert_withdrawn();
	died = lab.now.wall_ns;
	stats = (struct hint_stats){ .withheld = 130, .wall_ns = lab.now.wall_ns + 8 };
	hint_stats(lab.vm[1], &stats, &lab.now);
	ck_assert_int_eq(lab_records(HINT_GAP), 1);
	ck_assert_uint_eq(lab_record.from_ns, last + 7);
	ck_assert_uint_eq(lab_record.to_ns, died + 7);
	ck_assert(lab_record.bounded);
	ck_assert_uint_eq(lab_record.packets, 30);
	lab_end();
}
END_TEST

/* The collector was stopped: what it did not hear says nothing of whether it was said, until it has listened. */
START_TEST(who_was_stopped_has_not_listened)
{
	withhold();
	lab_pass(30 * SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	for (int i = 0; i < 3; i++)
		lab_pass(SECOND);
	assert_withdrawn();
	lab_end();
}
END_TEST

/* Nobody else has to say anything: the receiver's rows end with its lease, and the list is told anew in another session. */
START_TEST(the_receiver_leaves)
{
	withhold();
	hint_down(lab.vm[1], &lab.now);
	ck_assert_int_eq(lab_records(HINT_ENDS), 1);
	ck_assert_uint_eq(lab_record.to_ns, lab.now.wall_ns + LAB_LEASE_NS);
	lab_up(1);
	ck_assert_int_eq(lab_take(), 1);
	ck_assert(lab.msg.base == 0 && lab.msg.generation == 0 && lab.msg.added_count == 0);
	lab_take_all();
	lab_pass(LAB_LEASE_NS);
	hint_heard(lab.vm[0], lab.now.mono_ns);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* The agent's lease has ended, or it lacks the base: it is told all of it. */
START_TEST(a_list_is_told_again)
{
	const struct msg_hints_result nothing = { 0 };

	withhold();
	lab_up_sender(2);
	lab_packets(2, 1, HINT_PROOFS + 1);
	lab_pass(SECOND);
	lab_take_all();
	lab_records(HINT_BEGINS);
	hint_result(lab.vm[1], &nothing, &lab.now);
	hint_result(lab.vm[1], &nothing, &lab.now);
	ck_assert_int_eq(lab_records(HINT_ENDS), 2);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take_unanswered(), 1);
	ck_assert_uint_eq(lab.msg.base, 0);
	ck_assert_int_eq(lab.msg.added_count, 2);
	ck_assert(memcmp(&lab.msg.added[0], &(struct bpf_peer[]){ lab_address(2) }[0], sizeof(struct bpf_peer)) == 0);
	ck_assert_int_eq(lab_records(HINT_BEGINS), 2);
	hint_result(lab.vm[1], &nothing, &lab.now);	/* of before: a whole list is under way */
	lab_pass(SECOND / 10);
	ck_assert_int_eq(lab_take(), -1);
	lab_end();
}
END_TEST

/* Renewed each third of the lease, and only lists that have something. */
START_TEST(leases_are_renewed)
{
	unsigned count = 0;

	withhold();
	lab_up(2);
	for (int i = 0; i < 60; i++) {
		lab_pass(LAB_LEASE_NS / 6);
		hint_heard(lab.vm[0], lab.now.mono_ns);
		if (i % 12 == 0)
			lab_packet(0, 1);
		if (lab_take() == -1)
			continue;
		count++;
		ck_assert(lab.msg.base == lab.msg.generation && lab.msg.generation != 0);
		ck_assert_int_eq(lab.msg.added_count + lab.msg.gone_count, 0);
		ck_assert_int_eq(lab_take(), -1);
	}
	ck_assert_uint_ge(count, 29);
	ck_assert_uint_le(count, 31);
	lab_end();
}
END_TEST

START_TEST(unproven_after_a_minute)
{
	withhold();
	for (int i = 0; i < 60; i++) {
		hint_heard(lab.vm[0], lab.now.mono_ns);
		lab_pass(SECOND);
	}
	assert_withdrawn();
	ck_assert_int_eq(lab_records(HINT_GAP), 0);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* Both ends must be seen, and the shares be the same. */
START_TEST(balanced)
{
	lab_up_as(0, "acme", "", "", true);
	lab_up_as(1, "acme", "", "", true);
	lab_up(2);
	lab_pass(6 * SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	lab_packets(2, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(!lab_withholds(1, 0));	/* nothing of 1 has been seen at 0 */
	lab_packets(1, 0, HINT_PROOFS);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0) && lab_withholds(0, 1));
	ck_assert_int_eq(lab.msg.flags, HINTS_BALANCED);
	ck_assert(!lab_withholds(1, 2));
	lab_end();
}
END_TEST

/* What nobody can be told by alone. */
START_TEST(addresses_that_are_no_hosts)
{
	static const char *const texts[] = { "0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "169.254.1.1", "::", "::1",
	    "ff02::1", "fe80::1", "::ffff:10.0.0.1" };
	struct bpf_peer address = { .family = strchr(texts[_i], ':') != NULL ? AF_INET6 : AF_INET };
	struct hint_sample sample = { .digest = 1, .time_ns = lab.now.wall_ns, .out = true };
	struct hint_block block = { .first_ns = lab.now.wall_ns, .last_ns = lab.now.wall_ns, .count = 1 };

	ck_assert_int_eq(inet_pton(address.family, texts[_i], address.address), 1);
	lab_up(0);
	lab_up(1);
	hint_addresses(lab.vm[0], 0, &address, 1, &lab.now);
	hint_addresses(lab.vm[1], 0, &address, 1, &lab.now);
	ck_assert_int_eq(lab_records(HINT_CONFLICT), 0);
	sample.src = address;
	for (unsigned i = 0; i < 2 * HINT_PROOFS; i++) {
		sample.digest = i / 2 + 1;
		sample.out = i % 2 == 0;
		block.sample[0] = sample;
		hint_block(lab.vm[i % 2], &block, &lab.now);
	}
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), -1);
	lab_end();
}
END_TEST

/* ... but what comes there from a peer is left out like all of it, so that a row has to say so. */
START_TEST(rows_tell_local_addresses)
{
	struct bpf_peer own[] = { lab_address(1), { .family = AF_INET6, .address = { 0xfe, 0x80, [15] = 1 } } };
	struct hint_record record;
	unsigned rows = 0;

	withhold();
	lab.now.wall_ns++;
	hint_addresses(lab.vm[1], 0, own, 2, &lab.now);
	for (unsigned group = 0; group < 2; group++)
		while (hint_take_record(lab.hints, group, &record)) {
			if (record.kind == HINT_BEGINS) {
				ck_assert_str_eq(record.own, "10.0.0.2,fe80::1");
				rows++;
			}
			free(record.own);
		}
	ck_assert_uint_eq(rows, 1);
	lab_end();
}
END_TEST

/* Who forwards captures what is not for itself. */
START_TEST(forwarding_receivers_are_barred)
{
	struct hint_sample sample = { .digest = 5, .src = lab_address(0), .dst = lab_address(7), .undivided = true, .audit = true };
	struct hint_block block = { .count = 1 };

	withhold();
	block.first_ns = block.last_ns = sample.time_ns = lab.now.wall_ns;
	block.sample[0] = sample;
	hint_block(lab.vm[1], &block, &lab.now);
	assert_withdrawn();
	hint_block(lab.vm[1], &block, &lab.now);
	hint_block(lab.vm[1], &block, &lab.now);
	ck_assert_int_eq(lab_records(HINT_BARRED), 1);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), -1);
	for (int i = 0; i < 600; i++)
		lab_pass(SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* At most a thousand; one that sends more pushes out the least. */
START_TEST(a_thousand_peers)
{
	lab_up(0);
	for (unsigned i = 1; i <= MSG_PEERS_MAX + 1; i++) {
		lab_up_sender(i);
		lab_packets(i, 0, i == 500 ? HINT_PROOFS : HINT_PROOFS + 2);
	}
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take(), 0);
	ck_assert_int_eq(lab.msg.added_count, MSG_PEERS_MAX);
	ck_assert(!lab_withholds(0, MSG_PEERS_MAX + 1));
	lab_packets(MSG_PEERS_MAX + 1, 0, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(0, MSG_PEERS_MAX + 1));
	ck_assert(!lab_withholds(0, 500));
	ck_assert_uint_eq(lab_list_size(0), MSG_PEERS_MAX);
	ck_assert_uint_eq(hints_pairs(lab.hints), MSG_PEERS_MAX);
	lab_end();
}
END_TEST

/* An agent whose addresses come and go may not fill the catalog. */
START_TEST(rows_are_bounded)
{
	unsigned rows = 0;

	withhold();
	for (unsigned i = 0; i < 10000; i++) {
		struct bpf_peer own[] = { lab_address(1), lab_address(100) };

		lab.now.wall_ns++;
		hint_addresses(lab.vm[1], 0, own, 1 + i % 2, &lab.now);
	}
	rows = lab_records(HINT_BEGINS);
	ck_assert_uint_ge(rows, 1000);
	ck_assert_uint_le(rows, HINT_ROWS_BURST);
	lab_take_all();
	ck_assert(!lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* What agents hold is what is counted, and nobody withholds somebody who is away or does not want it. */
#define CROWD	12u
static bool is_up[CROWD], is_willing[CROWD];

static void
check_lists(bool ticked)
{
	uint64_t sum = 0;

	for (unsigned vm = 0; vm < CROWD; vm++) {
		if (!is_up[vm])
			continue;
		sum += lab_list_size(vm);
		for (unsigned peer = 0; peer < CROWD; peer++)
			ck_assert_msg(!lab_withholds(vm, peer) || (is_up[peer] && is_willing[peer] && is_willing[vm]),
			    "%u of %u", peer, vm);
	}
	ck_assert_uint_le(sum, hints_pairs(lab.hints));
	ck_assert(!ticked || sum == hints_pairs(lab.hints));
}

static void
random_event(unsigned vm, unsigned other)
{
	const struct msg_hints_result nothing = { 0 };
	const struct hint_policy policy = { .withhold = rand() % 4 > 0, .balanced = rand() % 2, .settled = rand() % 4 > 0 };
	struct bpf_peer some[] = { lab_address(vm), lab_address(other), lab_address(200 + vm) };
	struct hint_stats stats = { .shedding = rand() % 8 == 0, .paused = rand() % 8 == 0, .spool_bytes = rand() % 3 == 0,
	    .lost = (uint64_t)(rand() % 8 == 0), .withheld = (uint64_t)rand(), .wall_ns = lab.now.wall_ns };

	switch (rand() % 16) {
	case 0:
		hint_down(lab.vm[vm], &lab.now);
		is_up[vm] = false;
		break;
	case 1:
		hint_policy(lab.vm[vm], &policy, &lab.now);
		is_willing[vm] = policy.withhold && policy.settled;
		break;
	case 2:
		hint_addresses(lab.vm[vm], 0, some, (size_t)(rand() % 4), &lab.now);
		break;
	case 3:
		hint_stats(lab.vm[vm], &stats, &lab.now);
		break;
	case 4:
		hint_result(lab.vm[vm], &nothing, &lab.now);
		break;
	case 5:
		hint_lossy(lab.vm[vm], &lab.now);
		break;
	case 6:
		lab_came(vm, lab_address(other), (uint64_t)rand(), rand() % 2);
		break;
	case 7:
		lab_pass((uint64_t)(rand() % 7) * SECOND);
		break;
	default:
		lab_packets(vm, other, (unsigned)(rand() % 3 + 2));
		break;
	}
}

START_TEST(random_events)
{
	srand((unsigned)_i);
	for (int n = 0; n < 4000; n++) {
		bool tick = rand() % 2 == 0;
		unsigned vm = (unsigned)rand() % CROWD, other = (vm + 1 + (unsigned)rand() % (CROWD - 1)) % CROWD;

		if (!is_up[vm] || !is_up[other]) {
			unsigned away = is_up[vm] ? other : vm;

			lab_up_as(away, "acme", rand() % 16 == 0 ? "blue" : "", "", rand() % 4 == 0);
			is_up[away] = is_willing[away] = true;
		} else
			random_event(vm, other);
		if (tick)
			lab_pass(SECOND);
		lab_take_all();
		check_lists(tick);
	}
	ck_assert_uint_gt(hint_totals(lab.hints)->given, 100);
	lab_end();
}
END_TEST

/* Of each list that it says it lacks, the rows end and begin: not without bounds either. */
START_TEST(rows_of_lists_told_again_are_bounded)
{
	const struct msg_hints_result nothing = { 0 };
	unsigned rows;

	lab_up(0);
	for (unsigned i = 1; i <= 100; i++) {
		lab_up(i);
		lab_packets(i, 0, HINT_PROOFS);
	}
	for (unsigned k = 0; k < 100; k++) {
		lab_pass(SECOND);
		for (unsigned i = 1; i <= 100; i++)
			lab_packet(i, 0);
		lab_take_all();
		hint_result(lab.vm[0], &nothing, &lab.now);
	}
	rows = lab_records(HINT_BEGINS);
	ck_assert_uint_ge(rows, 1000);
	ck_assert_uint_le(rows, HINT_ROWS_BURST + 100 * HINT_ROWS_SECOND + 100);	/* and one of each other */
	ck_assert_uint_le(lab_records(HINT_ENDS), rows);
	lab_end();
}
END_TEST

/* A result of the list before comes when a new one is out already, which is whole though it has a base of 0. */
START_TEST(a_late_result_does_not_end_what_came_after)
{
	const struct msg_hints_result nothing = { 0 };

	withhold();
	hint_lossy(lab.vm[0], &lab.now);
	ck_assert_int_eq(lab_take_unanswered(), 1);
	ck_assert_uint_eq(lab.msg.generation, 0);
	lab_up(2);
	lab_packets(2, 1, HINT_PROOFS);
	lab_pass(SECOND);
	while (lab_take_unanswered() != 1)	/* 2 has a list, too */
		;
	ck_assert(lab.msg.base == 0 && lab.msg.added_count == 1);
	lab_records(HINT_BEGINS);
	hint_result(lab.vm[1], &nothing, &lab.now);
	lab_pass(SECOND);
	ck_assert_int_eq(lab_take_unanswered(), -1);
	ck_assert_int_eq(lab_records(HINT_BEGINS), 0);
	lab_end();
}
END_TEST

/* What a VM sends is left to the receiver as long as that is proven, too. */
enum other_way { NOT_SEEN, NOT_SENT, NOT_ITS_OWN, OTHER_WAYS };

static void
spoil(enum other_way way)
{
	switch (way) {
	case NOT_SEEN:
		for (int i = 0; i < 70; i++) {
			lab_packet(0, 1);
			lab_pass(SECOND);
			lab_take_all();
		}
		break;
	case NOT_SENT:
		lab_pass(2 * SECOND);
		lab_idle_block(1);
		lab_came(0, lab_address(1), 99, true);
		for (int i = 0; i < 4; i++) {
			lab_pass(SECOND);
			lab_idle_block(1);
			lab_packet(0, 1);
		}
		break;
	case NOT_ITS_OWN:
		lab_up_as(2, "acme", "", "", true);
		hint_addresses(lab.vm[2], 0, (struct bpf_peer[]){ lab_address(1) }, 1, &lab.now);
		break;
	case OTHER_WAYS:
		break;
	}
}

START_TEST(balanced_is_proven_both_ways)
{
	lab_up_as(0, "acme", "", "", true);
	lab_up_as(1, "acme", "", "", true);
	lab_pass(6 * SECOND);
	lab_packets(1, 0, HINT_PROOFS);
	lab_packets(0, 1, HINT_PROOFS);
	lab_packets(1, 0, 1);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0) && lab_withholds(0, 1));
	spoil((enum other_way)_i);
	lab_take_all();
	ck_assert(lab_withholds(0, 1) == (_i == NOT_SEEN));	/* it has the address still */
	ck_assert(!lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* What it captures is told of as many interfaces as there can be. */
START_TEST(the_last_interface_changes)
{
	struct pcapng_interface description = { .name = "eth0" };

	withhold();
	for (unsigned i = 1; i < MSG_INTERFACES_MAX; i++) {
		snprintf(description.name, sizeof(description.name), "eth%u", i);
		hint_interface(lab.vm[0], i, &description, "", &lab.now);
	}
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	hint_interface(lab.vm[0], 0, &(struct pcapng_interface){ .name = "eth0" }, "blue", &lab.now);
	lab_take_all();
	ck_assert(!lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* Another session makes up for no loss. */
START_TEST(a_loss_is_held_against_the_next_session)
{
	withhold();
	hint_lossy(lab.vm[0], &lab.now);
	hint_down(lab.vm[0], &lab.now);
	lab_up(0);
	lab_pass(SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(!lab_withholds(1, 0));
	for (uint64_t ns = 0; ns < HINT_HOLD_NS; ns += SECOND)
		lab_pass(SECOND);
	lab_packets(0, 1, HINT_PROOFS);
	lab_pass(SECOND);
	lab_take_all();
	ck_assert(lab_withholds(1, 0));
	lab_end();
}
END_TEST

/* Of one that has gone silent, the receiver's packets still come. */
START_TEST(the_silent_are_not_proven_by_others)
{
	withhold();
	for (uint64_t digest = 1; digest <= HINT_PROOFS; digest++)
		lab_sent(0, 1, digest);
	for (int i = 0; i < 6; i++)
		lab_pass(SECOND);
	assert_withdrawn();
	for (uint64_t digest = 1; digest <= HINT_PROOFS; digest++)
		lab_came(1, lab_address(0), digest, true);
	ck_assert_uint_eq(hints_pairs(lab.hints), 0);
	lab_end();
}
END_TEST

/* What goes to many is never left out: all of them would look for one another's copies. */
START_TEST(packets_to_groups_are_no_samples)
{
	static const uint8_t to[][2] = { { 2, 10 }, { 0xff, 10 }, { 1, 224 }, { 2, 224 } };	/* first bytes of MAC address and address */
	uint8_t echo[42] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8 };
	struct pcapng_packet packet = { .time_ns = lab.now.wall_ns, .captured_len = sizeof(echo), .original_len = sizeof(echo), .data = echo,
	    .flags = PCAPNG_EPB_IN };
	struct hint_sampler sampler = { 0 };
	struct hint_block block = { 0 };
	const uint16_t linktype = 1;
	struct buf raw;

	buf_init(&raw, 4096);
	for (unsigned i = 0; i < 4; i++) {
		echo[0] = to[i][0];
		echo[30] = to[i][1];
		packet.packetid = i + 1;
		ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
	}
	hint_sample_block(&sampler, raw.data, raw.len, &linktype, 1, lab.now.mono_ns, &block);
	ck_assert_uint_eq(block.count, 1);
	ck_assert_uint_eq(block.sample[0].digest, 1);
	buf_clear(&raw);
	lab_end();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hint");
	TCase *tcase = tcase_create("hint");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, filters_cover, 0, sizeof(rules) / sizeof(rules[0]));
	tcase_add_loop_test(tcase, filters_decide, 0, sizeof(rules) / sizeof(rules[0]));
	tcase_add_test(tcase, proven_pairs_alone);
	tcase_add_test(tcase, either_direction_proves);
	tcase_add_loop_test(tcase, overlapping_addresses_do_not_meet, 0, 3);
	tcase_add_test(tcase, other_networks_do_not_meet);
	tcase_add_test(tcase, receiver_in_two_networks);
	tcase_add_test(tcase, conflicting_claims);
	tcase_add_test(tcase, a_lying_guest_is_barred);
	tcase_add_loop_test(tcase, what_need_not_be_there_is_no_mismatch, 0, 2);
	tcase_add_loop_test(tcase, taken_back_at_once, 0, CAUSES);
	tcase_add_test(tcase, a_dying_peer_leaves_a_bounded_gap);
	tcase_add_test(tcase, who_was_stopped_has_not_listened);
	tcase_add_test(tcase, the_receiver_leaves);
	tcase_add_test(tcase, a_list_is_told_again);
	tcase_add_test(tcase, leases_are_renewed);
	tcase_add_test(tcase, unproven_after_a_minute);
	tcase_add_test(tcase, balanced);
	tcase_add_loop_test(tcase, addresses_that_are_no_hosts, 0, 10);
	tcase_add_test(tcase, rows_tell_local_addresses);
	tcase_add_test(tcase, forwarding_receivers_are_barred);
	tcase_add_test(tcase, a_thousand_peers);
	tcase_add_test(tcase, rows_are_bounded);
	tcase_add_loop_test(tcase, random_events, 0, 8);
	tcase_add_test(tcase, rows_of_lists_told_again_are_bounded);
	tcase_add_test(tcase, a_late_result_does_not_end_what_came_after);
	tcase_add_loop_test(tcase, balanced_is_proven_both_ways, 0, OTHER_WAYS);
	tcase_add_test(tcase, the_last_interface_changes);
	tcase_add_test(tcase, a_loss_is_held_against_the_next_session);
	tcase_add_test(tcase, the_silent_are_not_proven_by_others);
	tcase_add_test(tcase, packets_to_groups_are_no_samples);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
