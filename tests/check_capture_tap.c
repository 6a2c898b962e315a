/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "proto/codec.h"
#include "proto/pcapng.h"
#include "agent/spool.h"
#include "tests/capture_lab.h"

/* What a tap captures, and under which filter. */

START_TEST(direction_both_ways)
{
	capture_lab_change(true);
	for (uint32_t i = 0; i < 200; i++)
		capture_lab_send_udp(i % 2 == 0 ? lab.near_fd : lab.far_fd, 53, i);
	capture_lab_see(200);
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_uint_eq(capture_lab_seen[i].tag, i);
		ck_assert_uint_eq(capture_lab_seen[i].head.flags, i % 2 == 0 ? PCAPNG_EPB_OUT : PCAPNG_EPB_IN);
		ck_assert_uint_eq(capture_lab_seen[i].head.captured_len, 100);
		ck_assert_uint_eq(capture_lab_seen[i].head.original_len, 100);
	}
	ck_assert_uint_eq(lab.tap.stream.row[0].direction_unknown, 0);
}
END_TEST

/* Tags come beside the packet and are put back, which moves its begin. */
START_TEST(direction_of_tagged_frames)
{
	static const uint16_t types[] = { 0x8100, 0x88a8 };
	uint8_t frame[100] = { [0] = 0x02, [6] = 0x02, [11] = 1, [13] = 0, [15] = 5, [16] = 0x08 };

	capture_lab_change(true);
	for (size_t i = 0; i < 2; i++) {
		frame[12] = (uint8_t)(types[i] >> 8);
		frame[13] = (uint8_t)types[i];
		capture_lab_send(lab.far_fd, frame, sizeof(frame));
		capture_lab_send(lab.near_fd, frame, sizeof(frame));
	}
	capture_lab_see(4);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(capture_lab_seen[i].head.flags, i % 2 == 0 ? PCAPNG_EPB_IN : PCAPNG_EPB_OUT);
		ck_assert_uint_eq(capture_lab_seen[i].ethertype, types[i / 2]);
		ck_assert_uint_eq(capture_lab_seen[i].head.captured_len, sizeof(frame));
	}
	ck_assert_uint_eq(lab.tap.stream.row[0].direction_unknown, 0);
}
END_TEST

START_TEST(nothing_of_before_the_filter)
{
	snprintf(lab.want->filter, sizeof(lab.want->filter), "udp port 53");
	for (uint32_t i = 0; i < 100; i++)
		capture_lab_send_udp(lab.far_fd, 54, i);
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 54, 1);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
	capture_lab_see_to_the_end(1);
}
END_TEST

/* What both filters want is lost at no moment of the change, and what is reported as of the new one is. */
START_TEST(change_of_filter_loses_nothing)
{
	uint32_t sent = 0, first_id = 0;

	snprintf(lab.want->filter, sizeof(lab.want->filter), "udp port 53 or udp port 54");
	capture_lab_change(true);
	for (unsigned round = 0; round < 10; round++) {
		snprintf(lab.want->filter, sizeof(lab.want->filter), "udp port 53 or udp port %u", 60 + round);
		lab.answered = false;
		lab.want->version++;
		capture_lab_send_udp(lab.far_fd, 53, sent++);
		capture_tap_change(&lab.tap, lab.want);
		while (!lab.answered) {
			capture_lab_send_udp(lab.far_fd, 53, sent++);
			event_base_loop(lab.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		}
		ck_assert(lab.result.accepted);
		capture_lab_see_all();
	}
	capture_lab_see_to_the_end(sent);
	for (uint32_t i = 0; i < sent; i++) {
		ck_assert_uint_eq(capture_lab_seen[i].tag, i);
		ck_assert_uint_ge(capture_lab_seen[i].head.interface, first_id);
		first_id = capture_lab_seen[i].head.interface;
	}
	ck_assert_uint_eq(first_id, 10);
}
END_TEST

START_TEST(refused_leaves_what_is_in_force)
{
	static const char *const bad[] = { "tcp prot 80", "host nosuch.invalid", "ip[0", "port 99999" };

	snprintf(lab.want->filter, sizeof(lab.want->filter), "udp port 53");
	capture_lab_change(true);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(lab.want->filter, sizeof(lab.want->filter), "%s", bad[i]);
		capture_lab_want("far0");
		capture_lab_change(false);
		ck_assert_ptr_nonnull(strstr(lab.result.reason, bad[i]));
		lab.want->interface_count--;
	}
	snprintf(lab.want->codec, sizeof(lab.want->codec), "rar");
	capture_lab_change(false);
	ck_assert_ptr_nonnull(strstr(lab.result.reason, "rar"));
	capture_lab_send_udp(lab.far_fd, 54, 1);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(lab.tap.stream.row_count, 1);
}
END_TEST

/* Half-word loads grow about eightfold in the kernel's memory, and while one filter replaces another it holds both. */
START_TEST(kernel_refuses)
{
	size_t len;

	lab.result.accepted = true;
	for (unsigned round = 0; round < 2 && lab.result.accepted; round++) {
		len = (size_t)snprintf(lab.want->filter, sizeof(lab.want->filter), "ip[0:2]");
		for (unsigned i = 1; i < 700; i++)
			len += (size_t)snprintf(lab.want->filter + len, sizeof(lab.want->filter) - len, "+ip[%u:2]", i);
		snprintf(lab.want->filter + len, sizeof(lab.want->filter) - len, "=%u", round);
		lab.answered = false;
		lab.want->version++;
		capture_tap_change(&lab.tap, lab.want);
		capture_lab_run_until(&lab.answered);
	}
	ck_assert(!lab.result.accepted);
	ck_assert_msg(strstr(lab.result.reason, "optmem_max") != NULL, "%s", lab.result.reason);
	lab.want->filter[0] = '\0';
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 54, 1);
	capture_lab_see(1);
}
END_TEST

START_TEST(own_traffic_is_left_out)
{
	uint32_t mark = AGENT_MARK;

	capture_lab_change(true);
	capture_lab_send_ip(lab.far_fd, IPPROTO_TCP, CAPTURE_LAB_OWN_PORT, 1);
	capture_lab_send_ip(lab.near_fd, IPPROTO_TCP, CAPTURE_LAB_OWN_PORT, 2);
	ck_assert_int_eq(setsockopt(lab.near_fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	capture_lab_send_udp(lab.near_fd, 53, 3);
	capture_lab_send_udp(lab.far_fd, 53, 4);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 4);
}
END_TEST

START_TEST(snaplen_in_the_kernel)
{
	lab.options.snaplen = 90;
	lab.want->snaplen = 64;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(1);
	ck_assert_uint_eq(capture_lab_seen[0].head.captured_len, 64);
	ck_assert_uint_eq(capture_lab_seen[0].head.original_len, 100);
	lab.want->snaplen = 0;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see(2);
	ck_assert_uint_eq(capture_lab_seen[1].head.captured_len, 90);
	ck_assert_uint_ne(capture_lab_seen[1].head.interface, capture_lab_seen[0].head.interface);	/* described as another */
}
END_TEST

START_TEST(direction_wanted)
{
	lab.want->direction = DIRECTION_IN;
	capture_lab_change(true);
	capture_lab_send_udp(lab.near_fd, 53, 1);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
}
END_TEST

START_TEST(paused)
{
	lab.want->interface[0].paused = true;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(spool_count_get(lab.consumer, COUNTER_PAUSED, 0), 1);
	lab.want->interface[0].paused = false;
	capture_lab_change(true);
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(spool_count_get(lab.consumer, COUNTER_PAUSED, 0), 0);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
}
END_TEST

/* What came before the interface went down is kept; the same interface has its id again. */
START_TEST(interface_goes_down_and_comes_back)
{
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_shell("ip link set near0 down");
	capture_lab_run_until(&lab.was_gone);
	ck_assert_uint_eq(lab.gone.ifindex, lab.want->interface[0].ifindex);
	ck_assert_ptr_nonnull(strstr(lab.gone.reason, "near0"));
	lab.was_gone = false;
	capture_lab_change(true);			/* still down */
	ck_assert(lab.was_gone);
	capture_lab_shell("ip link set near0 up");
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see_to_the_end(2);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 1);
	ck_assert_uint_eq(capture_lab_seen[1].tag, 2);
	ck_assert_uint_eq(capture_lab_seen[1].head.interface, capture_lab_seen[0].head.interface);
	ck_assert_uint_eq(lab.tap.stream.row[0].packets, 2);
}
END_TEST

START_TEST(interface_disappears)
{
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_shell("ip link del near0");
	capture_lab_run_until(&lab.was_gone);
	capture_lab_see_to_the_end(1);
}
END_TEST

START_TEST(another_interface_of_that_name)
{
	lab.want->interface[0].ifindex += 1000;
	capture_lab_change(true);
	ck_assert(lab.was_gone);
	ck_assert_uint_eq(lab.gone.ifindex, lab.want->interface[0].ifindex);
}
END_TEST

START_TEST(interfaces_come_and_go)
{
	capture_lab_change(true);
	capture_lab_want("far0");
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_see(2);
	ck_assert_uint_ne(capture_lab_seen[0].head.interface, capture_lab_seen[1].head.interface);
	ck_assert_uint_ne(capture_lab_seen[0].head.flags, capture_lab_seen[1].head.flags);
	lab.want->interface_count = 1;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see_to_the_end(3);
	ck_assert_uint_eq(capture_lab_seen[2].head.interface, 0);
}
END_TEST

/* Filters that change more often than a stream has ids: a new stream follows, and nothing is lost. */
START_TEST(more_filters_than_ids)
{
	struct spool_stream streams[MSG_STREAMS_MAX];

	for (uint32_t i = 0; i < MSG_INTERFACES_MAX + 10; i++) {
		snprintf(lab.want->filter, sizeof(lab.want->filter), "udp port 53 or udp port %u", 100 + i);
		capture_lab_change(true);
		capture_lab_send_udp(lab.far_fd, 53, i);
	}
	capture_lab_end();
	ck_assert_uint_eq(spool_streams(lab.consumer, streams), 2);
	for (struct spool_item item = { .kind = SPOOL_BLOCK }; item.kind != SPOOL_NOTHING;) {
		spool_next(lab.consumer, &item);
		if (item.kind == SPOOL_BLOCK) {
			capture_lab_see_block(item.data, item.entry.data_len);
			spool_release(lab.consumer);
		}
	}
	ck_assert_uint_eq(capture_lab_seen_count, MSG_INTERFACES_MAX + 10);
	ck_assert_uint_eq(capture_lab_seen[MSG_INTERFACES_MAX + 9].head.interface, 9);
}
END_TEST

START_TEST(loopback_has_each_packet_once)
{
	int fd = capture_lab_socket("lo");

	lab.want->interface_count = 0;
	capture_lab_want("lo");
	capture_lab_change(true);
	for (uint32_t i = 0; i < 10; i++)
		capture_lab_send_udp(fd, 53, i);
	capture_lab_see_to_the_end(10);
	ck_assert_uint_eq(capture_lab_seen[0].head.flags, PCAPNG_EPB_IN);
	ck_assert_uint_eq(lab.tap.stream.row[0].received, 10);
	close(fd);
}
END_TEST

START_TEST(reload_narrows)
{
	char error[MSG_TEXT_SIZE], filter[] = "udp port 53", bad[] = "udp prt 53";
	struct agent_options fresh = lab.options;

	capture_lab_change(true);
	fresh.filter = bad;
	ck_assert_int_eq(capture_change_check(&lab.tap, &fresh, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "the guest's filter"));
	fresh.filter = filter;
	ck_assert_int_eq(capture_change_check(&lab.tap, &fresh, error), 0);
	capture_tap_set_options(&lab.tap, &fresh);
	capture_tap_reload(&lab.tap);
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 54, 1);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
}
END_TEST

/* The guest's word holds, even if the policy then leaves nothing. */
START_TEST(reload_against_the_policy)
{
	struct agent_options fresh = lab.options;
	char error[MSG_TEXT_SIZE];

	lab.want->direction = DIRECTION_IN;
	capture_lab_change(true);
	fresh.direction = DIRECTION_OUT;
	ck_assert_int_eq(capture_change_check(&lab.tap, &fresh, error), 0);
	capture_tap_set_options(&lab.tap, &fresh);
	capture_tap_reload(&lab.tap);
	capture_lab_change(false);
	ck_assert(TAILQ_EMPTY(&lab.tap.rings));
	lab.want->direction = DIRECTION_INOUT;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	capture_lab_send_udp(lab.near_fd, 53, 2);
	capture_lab_see(1);
	capture_lab_see_to_the_end(1);
	ck_assert_uint_eq(capture_lab_seen[0].tag, 2);
}
END_TEST

START_TEST(switched_off_ends_the_stream)
{
	struct spool_item item;

	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 1);
	lab.want->active = false;
	capture_lab_change(true);
	capture_lab_see_all();
	ck_assert_uint_eq(capture_lab_seen_count, 1);
	spool_rewind(lab.consumer);
	do {
		spool_next(lab.consumer, &item);
		spool_release(lab.consumer);
	} while (item.kind == SPOOL_BLOCK);
	ck_assert_int_eq(item.kind, SPOOL_ENDED);
	lab.want->active = true;
	capture_lab_change(true);
	capture_lab_send_udp(lab.far_fd, 53, 2);
	capture_lab_see(2);
	ck_assert_uint_eq(capture_lab_seen[1].head.interface, 0);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_tap");
	TCase *t = tcase_create("tap");

	tcase_add_checked_fixture(t, capture_lab_setup, capture_lab_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, direction_both_ways);
	tcase_add_test(t, direction_of_tagged_frames);
	tcase_add_test(t, nothing_of_before_the_filter);
	tcase_add_test(t, change_of_filter_loses_nothing);
	tcase_add_test(t, refused_leaves_what_is_in_force);
	tcase_add_test(t, kernel_refuses);
	tcase_add_test(t, own_traffic_is_left_out);
	tcase_add_test(t, snaplen_in_the_kernel);
	tcase_add_test(t, direction_wanted);
	tcase_add_test(t, paused);
	tcase_add_test(t, interface_goes_down_and_comes_back);
	tcase_add_test(t, interface_disappears);
	tcase_add_test(t, another_interface_of_that_name);
	tcase_add_test(t, interfaces_come_and_go);
	tcase_add_test(t, more_filters_than_ids);
	tcase_add_test(t, loopback_has_each_packet_once);
	tcase_add_test(t, reload_narrows);
	tcase_add_test(t, reload_against_the_policy);
	tcase_add_test(t, switched_off_ends_the_stream);
	suite_add_tcase(s, t);
	return s;
}

int
main(void)
{
	return capture_lab_run(suite());
}
