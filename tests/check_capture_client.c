/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>
#include <pcap/pcap.h>

#include "common/clock.h"
#include "proto/rpcap.h"
#include "agent/capture_linktype.h"
#include "agent/spool.h"
#include "tests/capture_lab.h"

/* A tap as an RPCAP client has it. */

static void
setup(void)
{
	static char *one[] = { "198.51.100.1" };

	capture_lab_setup();
	lab.tap.number = IPC_TAP_RPCAP;
	lab.options.rpcap_clients = 8;
	lab.options.rpcap_listens = (struct conf_list){ one, one, 1 };
	snprintf(lab.want->codec, sizeof(lab.want->codec), "none");
}

static void
want_program(const char *text)
{
	struct pcap *dead = pcap_open_dead(DLT_EN10MB, 65535);
	struct bpf_program program;

	ck_assert_int_eq(pcap_compile(dead, &program, text, 1, PCAP_NETMASK_UNKNOWN), 0);
	lab.want->program_len = (uint16_t)program.bf_len;
	for (unsigned i = 0; i < program.bf_len; i++)
		lab.want->program[i] = (struct ipc_insn){ program.bf_insns[i].code, program.bf_insns[i].jt, program.bf_insns[i].jf,
			program.bf_insns[i].k };
	pcap_freecode(&program);
	pcap_close(dead);
}

START_TEST(its_filter_in_the_kernel)
{
	char *never[] = { "udp port 22" }, *origin[] = { "command line" };
	uint32_t mark = AGENT_MARK;

	lab.options.never = (struct conf_list){ never, origin, 1 };
	want_program("udp or tcp port 8827");
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 22, 1);
	capture_lab_send_ip(lab.far_fd, IPPROTO_TCP, 8827, 2);
	capture_lab_send_ip(lab.far_fd, IPPROTO_ICMP, 53, 3);
	capture_lab_send_udp(lab.far_fd, 53, 4);
	ck_assert_int_eq(setsockopt(lab.near_fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	capture_lab_send_udp(lab.near_fd, 53, 5);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 4);
	ck_assert_uint_eq(lab.last[COUNTER_RING_RECEIVED], 1);
}
END_TEST

/* What both filters want is lost at no moment, and one stream has it all. */
START_TEST(its_filter_changes)
{
	uint32_t sent = 0;
	char text[64];

	for (unsigned round = 0; round < 10; round++) {
		snprintf(text, sizeof(text), "udp port 53 or udp port %u", 60 + round);
		want_program(text);
		lab.answered = false;
		lab.want->version++;
		capture_tap_change(&lab.tap, lab.want);
		while (!lab.answered) {
			if (round > 0)
				capture_lab_send_udp(lab.far_fd, 53, sent++);
			event_base_loop(lab.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		}
		ck_assert(lab.result.accepted);
		capture_lab_send_udp(lab.far_fd, (uint16_t)(60 + round), sent++);
	}
	capture_lab_see_to_the_end(sent);
	for (uint32_t i = 0; i < sent; i++) {
		ck_assert_uint_eq(capture_lab_seen[i].tag, i);
		ck_assert_uint_eq(capture_lab_seen[i].head.interface, 0);
	}
	ck_assert_uint_eq(lab.last_count, 1);
}
END_TEST

START_TEST(refused_leaves_what_is_in_force)
{
	want_program("udp port 53");
	capture_lab_change(true);
	lab.want->program[0].code = 0xffff;
	capture_lab_change(false);
	ck_assert_msg(strstr(lab.result.reason, "near0: the client's filter: instruction 0") != NULL, "%s", lab.result.reason);
	for (unsigned i = 0; i < IPC_PROGRAM_MAX; i++)
		lab.want->program[i] = (struct ipc_insn){ .code = BPF_RET | BPF_K, .k = 1 };
	lab.want->program_len = IPC_PROGRAM_MAX;
	capture_lab_change(false);
	ck_assert_msg(strstr(lab.result.reason, "4096") != NULL, "%s", lab.result.reason);
	capture_lab_send_udp(lab.far_fd, 54, 1);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
}
END_TEST

/* Loads grow in the kernel's memory: they fill it, or jumps over them become too long. */
static const struct {
	uint16_t	loads;
	const char	*why;
} too_much[] = { { 1700, "optmem_max" }, { 3500, "shorten it" } };

START_TEST(kernel_refuses)
{
	uint16_t loads = too_much[_i].loads;

	for (unsigned i = 0; i < loads; i++)
		lab.want->program[i] = (struct ipc_insn){ .code = BPF_LD | BPF_H | BPF_ABS, .k = 12 };
	lab.want->program[loads] = (struct ipc_insn){ .code = BPF_RET | BPF_K, .k = 1 };
	lab.want->program_len = (uint16_t)(loads + 1);
	capture_lab_change(false);
	ck_assert_msg(strstr(lab.result.reason, too_much[_i].why) != NULL, "%s", lab.result.reason);
	ck_assert_uint_eq(lab.totals.rings[POOL_CLIENTS].bytes, 0);
	lab.want->program_len = 0;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 54, 1);
	capture_lab_see_to_the_end(1);
}
END_TEST

START_TEST(one_in_three)
{
	lab.want->sampling = (struct ipc_sampling){ RPCAP_SAMPLE_1_EVERY_N, 3 };
	capture_lab_change(true);
	for (uint32_t i = 0; i < 300; i++)
		capture_lab_send_udp(lab.far_fd, 53, i);
	capture_lab_see(100);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(capture_lab_seen[i].tag, 3 * i);
	capture_lab_see_to_the_end(100);
	ck_assert_uint_eq(lab.last[COUNTER_THINNED], 200);
	ck_assert_uint_eq(lab.last[COUNTER_PACKETS_CAPTURED], 100);
	ck_assert_uint_eq(lab.last[COUNTER_RING_RECEIVED], 300);
	ck_assert_uint_eq(lab.last[COUNTER_RING_DROPPED], 0);
}
END_TEST

START_TEST(first_after_an_hour)
{
	lab.want->sampling = (struct ipc_sampling){ RPCAP_SAMPLE_AFTER_N_MS, 3600000 };
	capture_lab_change(true);
	for (uint32_t i = 0; i < 50; i++)
		capture_lab_send_udp(lab.far_fd, 53, i);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 0);
	ck_assert_uint_eq(lab.last[COUNTER_THINNED], 49);
}
END_TEST

static unsigned
promiscuity(const char *name)
{
	char command[128], line[128] = "";
	FILE *pipe;

	snprintf(command, sizeof(command), "ip -d link show dev %s | sed -n 's/.*promiscuity \\([0-9]*\\).*/\\1/p'", name);
	ck_assert_ptr_nonnull(pipe = popen(command, "re"));
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), pipe));
	pclose(pipe);
	return (unsigned)strtoul(line, NULL, 10);
}

/* The last one: an open ring stays as it is. */
static const struct {
	bool		configured, forbidden, wished;
	unsigned	result;
} promiscuous[] = { { false, false, false, 0 }, { false, false, true, 1 }, { true, false, false, 1 }, { false, true, true, 0 } };

START_TEST(promiscuous_mode)
{
	lab.options.promiscuous = promiscuous[_i].configured;
	lab.options.no_promiscuous = promiscuous[_i].forbidden;
	lab.want->promiscuous = promiscuous[_i].wished;
	capture_lab_change(true);
	ck_assert_uint_eq(promiscuity("near0"), promiscuous[_i].result);
	lab.want->promiscuous = !promiscuous[_i].wished;
	capture_lab_change(true);
	ck_assert_uint_eq(promiscuity("near0"), promiscuous[_i].result);
	capture_lab_end();
	ck_assert_uint_eq(promiscuity("near0"), 0);
}
END_TEST

START_TEST(flush_as_wished)
{
	uint64_t begun_ns;

	lab.options.flush_ms = 100000;
	lab.want->flush_ms = 20;
	capture_lab_change(true);
	begun_ns = clock_mono_ns();
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	ck_assert_uint_lt(clock_mono_ns() - begun_ns, UINT64_C(900000000));	/* sooner than the ring's longest timeout, too */
	/* What is configured holds again. */
	lab.want->flush_ms = 0;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	while (lab.tap.block.packets == 0)
		event_base_loop(lab.base, EVLOOP_ONCE);
	ck_assert(event_pending(lab.tap.flush, EV_TIMEOUT, NULL));
	capture_lab_see_all();
	ck_assert_uint_eq(capture_lab_seen_count, 1);
}
END_TEST

/* What is in the open block is published, and what is in the kernel's is counted. */
START_TEST(counted_now)
{
	lab.options.flush_ms = 100000;
	capture_lab_change(true);
	capture_tap_publish(&lab.tap);
	for (uint32_t i = 0; i < 10; i++)
		capture_lab_send_udp(lab.far_fd, 53, i);
	while (lab.tap.block.packets < 10)
		event_base_loop(lab.base, EVLOOP_ONCE);
	capture_lab_send_udp(lab.far_fd, 53, 10);
	capture_lab_see_all();
	ck_assert_uint_eq(capture_lab_seen_count, 0);
	capture_tap_publish(&lab.tap);
	capture_lab_see_all();
	ck_assert_uint_eq(capture_lab_seen_count, 10);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 0), 10);
	ck_assert_uint_eq(capture_lab_count(COUNTER_RING_RECEIVED, 0), 11);
}
END_TEST

/* While there are samples one socket counts what they leave out, of what the client's filter passes; otherwise none counts anything. */
START_TEST(samples_are_counted)
{
	struct governor_orders orders = { .keep = 8 };
	const struct capture_ledger *ledger;

	want_program("udp");
	capture_lab_change(true);
	ledger = &lab.tap.rings.tqh_first->ledger;
	ck_assert_int_eq(ledger->fd[PROGRAM_SAMPLED], -1);
	capture_lab_govern(&orders, true);
	ck_assert_int_ne(ledger->fd[PROGRAM_SAMPLED], -1);
	ck_assert_int_eq(ledger->fd[PROGRAM_OFFERED], -1);
	for (uint16_t i = 0; i < 256; i++) {
		capture_lab_send_udp(lab.far_fd, (uint16_t)(1000 + i), i);
		capture_lab_send_ip(lab.far_fd, IPPROTO_TCP, (uint16_t)(1000 + i), i);
	}
	capture_tap_publish(&lab.tap);
	ck_assert_uint_gt(capture_lab_count(COUNTER_SAMPLED_OUT, 0), 128);
	ck_assert_uint_eq(capture_lab_count(COUNTER_SAMPLED_OUT, 0) + capture_lab_count(COUNTER_RING_RECEIVED, 0), 256);
	orders.keep = GOVERNOR_KEEP_ALL;
	capture_lab_govern(&orders, true);
	ck_assert_int_eq(ledger->fd[PROGRAM_SAMPLED], -1);
}
END_TEST

START_TEST(samples_are_not_counted)
{
	struct governor_orders orders = { .keep = 8 };

	lab.options.ledger = 1;		/* "ring" */
	capture_lab_change(true);
	capture_lab_govern(&orders, true);
	ck_assert_int_eq(lab.tap.rings.tqh_first->ledger.fd[PROGRAM_SAMPLED], -1);
}
END_TEST

START_TEST(counted_without_a_stream)
{
	capture_tap_publish(&lab.tap);
	capture_lab_see_all();
	ck_assert_uint_eq(capture_lab_seen_count, 0);
}
END_TEST

START_TEST(link_types)
{
	struct ipc_tap_interface *interface = lab.want->interface;
	struct capture_linktypes linktypes = { 0 };
	char error[MSG_TEXT_SIZE] = "";

	capture_lab_shell("ip tuntap add dev tun0 mode tun && ip link set tun0 up");
	capture_lab_want("tun0");
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(capture_linktype(&linktypes, &interface[0], error), DLT_EN10MB);
		ck_assert_int_eq(capture_linktype(&linktypes, &interface[1], error), DLT_RAW);
	}
	interface[1].ifindex = interface[0].ifindex;
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[1], error), -1);
	ck_assert_msg(strstr(error, "tun0: the interface was renamed or replaced") != NULL, "%s", error);
	capture_lab_shell("ip link set near0 down");
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[0], error), -1);
	ck_assert_msg(strncmp(error, "near0: ", 7) == 0, "%s", error);
	capture_lab_shell("ip link del near0");
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[0], error), -1);
	ck_assert_msg(strncmp(error, "near0: ", 7) == 0, "%s", error);
}
END_TEST

/* Nor is one opened that is down. Without the right to open any, what is known still is. */
START_TEST(link_types_are_remembered)
{
	struct ipc_tap_interface *interface = lab.want->interface;
	struct capture_linktypes linktypes = { 0 };
	char error[MSG_TEXT_SIZE] = "";

	capture_lab_want("lo");
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[0], error), DLT_EN10MB);
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[0], error), DLT_EN10MB);
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[1], error), -1);
	ck_assert_msg(strncmp(error, "lo: ", 4) == 0, "%s", error);
	ck_assert_int_eq(seteuid(0), 0);
	capture_lab_shell("ip link set near0 down");
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(capture_linktype(&linktypes, &interface[0], error), -1);
	ck_assert_str_eq(error, "near0: the interface is down");
	ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(as_many_link_types_as_interfaces)
{
	struct capture_linktypes linktypes = { 0 };
	char error[MSG_TEXT_SIZE] = "";

	for (unsigned i = 0; i < 2 * MSG_INTERFACES_MAX; i++) {
		linktypes.known[linktypes.next].ifindex = 1000000 + i;
		linktypes.next = (linktypes.next + 1) % MSG_INTERFACES_MAX;
	}
	linktypes.next = MSG_INTERFACES_MAX - 1;
	ck_assert_int_eq(capture_linktype(&linktypes, &lab.want->interface[0], error), DLT_EN10MB);
	ck_assert_uint_eq(linktypes.next, 0);
	ck_assert_str_eq(linktypes.known[MSG_INTERFACES_MAX - 1].name, "near0");
}
END_TEST

/* 8 clients of a pool of 32 MiB: a ring of the configured size for the first. */
START_TEST(rings_of_clients)
{
	capture_lab_change(true);
	ck_assert_uint_eq(lab.totals.rings[POOL_CLIENTS].bytes, 8u << 20);
	ck_assert_uint_eq(lab.totals.rings[POOL_CLIENTS].rings, 1);
	ck_assert_uint_eq(lab.totals.rings[POOL_COLLECTOR].bytes, 0);
	capture_lab_end();
	ck_assert_uint_eq(lab.totals.rings[POOL_CLIENTS].rings, 0);
}
END_TEST

/* It is the guest's word that holds, and the client hears of it. */
START_TEST(ends_with_what_the_guest_says)
{
	struct agent_options fresh = lab.options;

	want_program("udp port 53");
	lab.want->direction = DIRECTION_IN;
	capture_lab_change(true);
	fresh.direction = DIRECTION_OUT;
	capture_tap_set_options(&lab.tap, &fresh);
	capture_tap_reload(&lab.tap);
	capture_lab_run_until(&lab.was_gone);
	ck_assert_uint_eq(lab.gone.tap, IPC_TAP_RPCAP);
	ck_assert_uint_eq(lab.gone.ifindex, lab.want->interface[0].ifindex);
	ck_assert_msg(strstr(lab.gone.reason, "out") != NULL, "%s", lab.gone.reason);
	ck_assert(TAILQ_EMPTY(&lab.tap.rings));
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_client");
	TCase *t = tcase_create("client");

	tcase_add_checked_fixture(t, setup, capture_lab_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, its_filter_in_the_kernel);
	tcase_add_test(t, its_filter_changes);
	tcase_add_test(t, refused_leaves_what_is_in_force);
	tcase_add_test(t, ends_with_what_the_guest_says);
	tcase_add_loop_test(t, kernel_refuses, 0, sizeof(too_much) / sizeof(too_much[0]));
	tcase_add_test(t, one_in_three);
	tcase_add_test(t, first_after_an_hour);
	tcase_add_loop_test(t, promiscuous_mode, 0, sizeof(promiscuous) / sizeof(promiscuous[0]));
	tcase_add_test(t, flush_as_wished);
	tcase_add_test(t, counted_now);
	tcase_add_test(t, samples_are_counted);
	tcase_add_test(t, samples_are_not_counted);
	tcase_add_test(t, counted_without_a_stream);
	tcase_add_test(t, link_types);
	tcase_add_test(t, link_types_are_remembered);
	tcase_add_test(t, as_many_link_types_as_interfaces);
	tcase_add_test(t, rings_of_clients);
	suite_add_tcase(s, t);
	return s;
}

int
main(void)
{
	return capture_lab_run(suite());
}
