/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "proto/codec.h"
#include "proto/pcapng.h"
#include "agent/agent.h"
#include "agent/capture_tap.h"
#include "agent/spool.h"

/* A tap on one end of a veth pair in a network namespace of its own (so: root only), fed from both ends. */

#define SKIPPED		77		/* automake's exit status for a test that could not run */
#define WAIT_S		20
#define OWN_PORT	8827

static struct event_base *base;
static struct spool *producer, *consumer;
static struct capture_totals totals;
static struct agent_options options;
static struct capture_tap tap;
static struct ipc_tap *want;
static struct ipc_tap_result result;
static struct ipc_interface_gone gone;
static bool answered, was_gone, ended;
static int near_fd, far_fd;		/* what is sent on these goes out of, or comes in at, near0 */

#define PACKETS_MAX	(1u << 18)
static struct {
	struct pcapng_packet head;	/* data is not kept */
	uint32_t	tag;		/* bytes 50-53 of the frame, as send_udp() sets them */
	uint16_t	ethertype;
} seen[PACKETS_MAX];
static size_t seen_count;

static void
on_result(const struct ipc_tap_result *r, void *arg)
{
	(void)arg;
	result = *r;
	answered = true;
}

static void
on_gone(const struct ipc_interface_gone *g, void *arg)
{
	(void)arg;
	gone = *g;
	was_gone = true;
}

static void
on_active(void *arg)
{
	(void)arg;
}

static void
on_ended(void *arg)
{
	(void)arg;
	ended = true;
}

static const struct capture_tap_callbacks callbacks = { on_result, on_gone, on_active, on_ended, NULL };

static void
shell(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

static int
raw_socket(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(0x800) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	ck_assert_int_ne(fd, -1);
	address.sll_ifindex = (int)if_nametoindex(name);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void
want_interface(const char *name)
{
	struct ipc_tap_interface *interface = &want->interface[want->interface_count++];

	memset(interface, 0, sizeof(*interface));
	interface->ifindex = if_nametoindex(name);
	snprintf(interface->name, sizeof(interface->name), "%s", name);
}

static void
setup(void)
{
	int fd;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	shell("ip link set lo up && ip link add near0 type veth peer name far0 && echo 1 >/proc/sys/net/ipv6/conf/near0/disable_ipv6 && "
	      "echo 1 >/proc/sys/net/ipv6/conf/far0/disable_ipv6 && ip link set near0 up && ip link set far0 up");
	near_fd = raw_socket("near0");
	far_fd = raw_socket("far0");
	ck_assert_ptr_nonnull(base = event_base_new());
	ck_assert_int_ne(fd = spool_create("check", 8 * SPOOL_SIZE_MIN), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(consumer = spool_attach(fd, SPOOL_CONSUMER));
	close(fd);
	totals = (struct capture_totals){ .spool = producer };
	options = (struct agent_options){ .compress = strdup("none"), .snaplen = PCAPNG_SNAPLEN, .buffer_kib = 4096, .flush_ms = 20 };
	ck_assert_int_eq(capture_tap_init(&tap, 0, base, producer, &totals, &callbacks, NULL), 0);
	capture_tap_set_options(&tap, &options);
	ck_assert_ptr_nonnull(want = calloc(1, sizeof(*want)));
	want->active = true;
	want_interface("near0");
}

static void
teardown(void)
{
	capture_tap_clear(&tap);
	spool_detach(producer);
	spool_detach(consumer);
	event_base_free(base);
	free(options.compress);
	free(want);
	close(near_fd);
	close(far_fd);
}

static void
run_until(const bool *flag)
{
	uint64_t begun = clock_mono_ns();
	struct timeval step = { .tv_usec = 10000 };

	while (!*flag) {
		ck_assert_msg(clock_mono_ns() - begun < WAIT_S * UINT64_C(1000000000), "nothing came of it");
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
}

static void
change(bool accepted)
{
	answered = false;
	want->version++;
	capture_tap_change(&tap, want);
	run_until(&answered);
	ck_assert_uint_eq(result.version, want->version);
	ck_assert_msg(result.accepted == accepted, "%s", result.reason);
}

static void
see_block(const uint8_t *raw, size_t raw_len)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *at;
	uint32_t type;
	size_t len;

	pcapng_walk_init(&walk, raw, raw_len);
	while (pcapng_walk_next(&walk, &type, &packet, &at, &len) == 1) {
		if (type != PCAPNG_EPB)
			continue;
		ck_assert_uint_lt(seen_count, PACKETS_MAX);
		seen[seen_count].head = packet;
		if (packet.captured_len >= 54)
			memcpy(&seen[seen_count].tag, packet.data + 50, 4);
		if (packet.captured_len >= 14)
			seen[seen_count].ethertype = (uint16_t)(packet.data[12] << 8 | packet.data[13]);
		seen_count++;
	}
}

static void
see_all(void)
{
	struct spool_item item;

	for (spool_next(consumer, &item); item.kind == SPOOL_BLOCK; spool_next(consumer, &item)) {
		ck_assert_uint_eq(item.entry.codec, CODEC_NONE);
		see_block(item.data, item.entry.data_len);
		spool_release(consumer);
	}
}

/* Runs the tap until that many packets were seen in all. */
static void
see(size_t count)
{
	uint64_t begun = clock_mono_ns();
	struct timeval step = { .tv_usec = 10000 };

	for (see_all(); seen_count < count; see_all()) {
		ck_assert_msg(clock_mono_ns() - begun < WAIT_S * UINT64_C(1000000000), "%zu of %zu packets", seen_count, count);
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
	ck_assert_uint_eq(seen_count, count);
}

/* Ends the tap, so that whatever was captured has been seen. */
static void
see_to_the_end(size_t count)
{
	ended = false;
	capture_tap_end(&tap);
	run_until(&ended);
	see_all();
	ck_assert_uint_eq(seen_count, count);
}

static void
send_frame(int fd, const void *frame, size_t len)
{
	ck_assert_int_eq(send(fd, frame, len, 0), (ssize_t)len);
}

/* Ethernet, IPv4, the protocol, ports; then the tag; 100 bytes. */
static void
send_ip(int fd, uint8_t protocol, uint16_t port, uint32_t tag)
{
	uint8_t p[100] = { [0] = 0x02, [6] = 0x02, [11] = 1, [12] = 0x08, [14] = 0x45, [17] = 86, [22] = 64, [23] = protocol, [26] = 10,
		[29] = 1, [30] = 10, [33] = 2, [34] = 0x40 };

	p[36] = (uint8_t)(port >> 8);
	p[37] = (uint8_t)port;
	memcpy(p + 50, &tag, 4);
	send_frame(fd, p, sizeof(p));
}

static void
send_udp(int fd, uint16_t port, uint32_t tag)
{
	send_ip(fd, IPPROTO_UDP, port, tag);
}

START_TEST(direction_both_ways)
{
	change(true);
	for (uint32_t i = 0; i < 200; i++)
		send_udp(i % 2 == 0 ? near_fd : far_fd, 53, i);
	see(200);
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_uint_eq(seen[i].tag, i);
		ck_assert_uint_eq(seen[i].head.flags, i % 2 == 0 ? PCAPNG_EPB_OUT : PCAPNG_EPB_IN);
		ck_assert_uint_eq(seen[i].head.captured_len, 100);
		ck_assert_uint_eq(seen[i].head.original_len, 100);
	}
	ck_assert_uint_eq(tap.stream.row[0].direction_unknown, 0);
}
END_TEST

/* Tags come beside the packet and are put back, which moves its begin. */
START_TEST(direction_of_tagged_frames)
{
	static const uint16_t types[] = { 0x8100, 0x88a8 };
	uint8_t frame[100] = { [0] = 0x02, [6] = 0x02, [11] = 1, [13] = 0, [15] = 5, [16] = 0x08 };

	change(true);
	for (size_t i = 0; i < 2; i++) {
		frame[12] = (uint8_t)(types[i] >> 8);
		frame[13] = (uint8_t)types[i];
		send_frame(far_fd, frame, sizeof(frame));
		send_frame(near_fd, frame, sizeof(frame));
	}
	see(4);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(seen[i].head.flags, i % 2 == 0 ? PCAPNG_EPB_IN : PCAPNG_EPB_OUT);
		ck_assert_uint_eq(seen[i].ethertype, types[i / 2]);
		ck_assert_uint_eq(seen[i].head.captured_len, sizeof(frame));
	}
	ck_assert_uint_eq(tap.stream.row[0].direction_unknown, 0);
}
END_TEST

START_TEST(nothing_of_before_the_filter)
{
	snprintf(want->filter, sizeof(want->filter), "udp port 53");
	for (uint32_t i = 0; i < 100; i++)
		send_udp(far_fd, 54, i);
	change(true);
	send_udp(far_fd, 54, 1);
	send_udp(far_fd, 53, 2);
	see(1);
	ck_assert_uint_eq(seen[0].tag, 2);
	see_to_the_end(1);
}
END_TEST

/* What both filters want is lost at no moment of the change, and what is reported as of the new one is. */
START_TEST(change_of_filter_loses_nothing)
{
	uint32_t sent = 0, first_id = 0;

	snprintf(want->filter, sizeof(want->filter), "udp port 53 or udp port 54");
	change(true);
	for (unsigned round = 0; round < 10; round++) {
		snprintf(want->filter, sizeof(want->filter), "udp port 53 or udp port %u", 60 + round);
		answered = false;
		want->version++;
		send_udp(far_fd, 53, sent++);
		capture_tap_change(&tap, want);
		while (!answered) {
			send_udp(far_fd, 53, sent++);
			event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		}
		ck_assert(result.accepted);
		see_all();
	}
	see_to_the_end(sent);
	for (uint32_t i = 0; i < sent; i++) {
		ck_assert_uint_eq(seen[i].tag, i);
		ck_assert_uint_ge(seen[i].head.interface, first_id);
		first_id = seen[i].head.interface;
	}
	ck_assert_uint_eq(first_id, 10);
}
END_TEST

START_TEST(refused_leaves_what_is_in_force)
{
	static const char *const bad[] = { "tcp prot 80", "host nosuch.invalid", "ip[0", "port 99999" };

	snprintf(want->filter, sizeof(want->filter), "udp port 53");
	change(true);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(want->filter, sizeof(want->filter), "%s", bad[i]);
		want_interface("far0");
		change(false);
		ck_assert_ptr_nonnull(strstr(result.reason, bad[i]));
		want->interface_count--;
	}
	snprintf(want->codec, sizeof(want->codec), "rar");
	change(false);
	ck_assert_ptr_nonnull(strstr(result.reason, "rar"));
	send_udp(far_fd, 54, 1);
	send_udp(far_fd, 53, 2);
	see(1);
	ck_assert_uint_eq(seen[0].tag, 2);
	see_to_the_end(1);
	ck_assert_uint_eq(tap.stream.row_count, 1);
}
END_TEST

/* Half-word loads grow about eightfold in the kernel's memory, and while one filter replaces another it holds both. */
START_TEST(kernel_refuses)
{
	size_t len;

	result.accepted = true;
	for (unsigned round = 0; round < 2 && result.accepted; round++) {
		len = (size_t)snprintf(want->filter, sizeof(want->filter), "ip[0:2]");
		for (unsigned i = 1; i < 700; i++)
			len += (size_t)snprintf(want->filter + len, sizeof(want->filter) - len, "+ip[%u:2]", i);
		snprintf(want->filter + len, sizeof(want->filter) - len, "=%u", round);
		answered = false;
		want->version++;
		capture_tap_change(&tap, want);
		run_until(&answered);
	}
	ck_assert(!result.accepted);
	ck_assert_msg(strstr(result.reason, "optmem_max") != NULL, "%s", result.reason);
	want->filter[0] = '\0';
	change(true);
	send_udp(far_fd, 54, 1);
	see(1);
}
END_TEST

START_TEST(own_traffic_is_left_out)
{
	uint32_t mark = AGENT_MARK;

	change(true);
	send_ip(far_fd, IPPROTO_TCP, OWN_PORT, 1);
	send_ip(near_fd, IPPROTO_TCP, OWN_PORT, 2);
	ck_assert_int_eq(setsockopt(near_fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	send_udp(near_fd, 53, 3);
	send_udp(far_fd, 53, 4);
	see_to_the_end(1);
	ck_assert_uint_eq(seen[0].tag, 4);
}
END_TEST

START_TEST(snaplen_in_the_kernel)
{
	options.snaplen = 90;
	want->snaplen = 64;
	change(true);
	send_udp(far_fd, 53, 1);
	see(1);
	ck_assert_uint_eq(seen[0].head.captured_len, 64);
	ck_assert_uint_eq(seen[0].head.original_len, 100);
	want->snaplen = 0;
	change(true);
	send_udp(far_fd, 53, 2);
	see(2);
	ck_assert_uint_eq(seen[1].head.captured_len, 90);
	ck_assert_uint_eq(seen[1].head.interface, seen[0].head.interface);
}
END_TEST

START_TEST(direction_wanted)
{
	want->direction = DIRECTION_IN;
	change(true);
	send_udp(near_fd, 53, 1);
	send_udp(far_fd, 53, 2);
	see_to_the_end(1);
	ck_assert_uint_eq(seen[0].tag, 2);
}
END_TEST

START_TEST(paused)
{
	want->interface[0].paused = true;
	change(true);
	send_udp(far_fd, 53, 1);
	capture_tap_count(&tap);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_PAUSED, 0), 1);
	want->interface[0].paused = false;
	change(true);
	capture_tap_count(&tap);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_PAUSED, 0), 0);
	send_udp(far_fd, 53, 2);
	see_to_the_end(1);
	ck_assert_uint_eq(seen[0].tag, 2);
}
END_TEST

/* What came before the interface went down is kept; the same interface has its id again. */
START_TEST(interface_goes_down_and_comes_back)
{
	change(true);
	send_udp(far_fd, 53, 1);
	shell("ip link set near0 down");
	run_until(&was_gone);
	ck_assert_uint_eq(gone.ifindex, want->interface[0].ifindex);
	ck_assert_ptr_nonnull(strstr(gone.reason, "near0"));
	was_gone = false;
	change(true);			/* still down */
	ck_assert(was_gone);
	shell("ip link set near0 up");
	change(true);
	send_udp(far_fd, 53, 2);
	see_to_the_end(2);
	ck_assert_uint_eq(seen[0].tag, 1);
	ck_assert_uint_eq(seen[1].tag, 2);
	ck_assert_uint_eq(seen[1].head.interface, seen[0].head.interface);
	ck_assert_uint_eq(tap.stream.row[0].packets, 2);
}
END_TEST

START_TEST(interface_disappears)
{
	change(true);
	send_udp(far_fd, 53, 1);
	shell("ip link del near0");
	run_until(&was_gone);
	see_to_the_end(1);
}
END_TEST

START_TEST(another_interface_of_that_name)
{
	want->interface[0].ifindex += 1000;
	change(true);
	ck_assert(was_gone);
	ck_assert_uint_eq(gone.ifindex, want->interface[0].ifindex);
}
END_TEST

START_TEST(interfaces_come_and_go)
{
	change(true);
	want_interface("far0");
	change(true);
	send_udp(far_fd, 53, 1);
	see(2);
	ck_assert_uint_ne(seen[0].head.interface, seen[1].head.interface);
	ck_assert_uint_ne(seen[0].head.flags, seen[1].head.flags);
	want->interface_count = 1;
	change(true);
	send_udp(far_fd, 53, 2);
	see_to_the_end(3);
	ck_assert_uint_eq(seen[2].head.interface, 0);
}
END_TEST

/* Filters that change more often than a stream has ids: a new stream follows, and nothing is lost. */
START_TEST(more_filters_than_ids)
{
	struct spool_stream streams[MSG_STREAMS_MAX];

	for (uint32_t i = 0; i < MSG_INTERFACES_MAX + 10; i++) {
		snprintf(want->filter, sizeof(want->filter), "udp port 53 or udp port %u", 100 + i);
		change(true);
		send_udp(far_fd, 53, i);
	}
	ended = false;
	capture_tap_end(&tap);
	run_until(&ended);
	ck_assert_uint_eq(spool_streams(consumer, streams), 2);
	for (struct spool_item item = { .kind = SPOOL_BLOCK }; item.kind != SPOOL_NOTHING;) {
		spool_next(consumer, &item);
		if (item.kind == SPOOL_BLOCK) {
			see_block(item.data, item.entry.data_len);
			spool_release(consumer);
		}
	}
	ck_assert_uint_eq(seen_count, MSG_INTERFACES_MAX + 10);
	ck_assert_uint_eq(seen[MSG_INTERFACES_MAX + 9].head.interface, 9);
}
END_TEST

START_TEST(loopback_has_each_packet_once)
{
	int fd = raw_socket("lo");

	want->interface_count = 0;
	want_interface("lo");
	change(true);
	for (uint32_t i = 0; i < 10; i++)
		send_udp(fd, 53, i);
	see_to_the_end(10);
	ck_assert_uint_eq(seen[0].head.flags, PCAPNG_EPB_IN);
	ck_assert_uint_eq(tap.stream.row[0].received, 10);
	close(fd);
}
END_TEST

START_TEST(reload_narrows)
{
	char error[MSG_TEXT_SIZE], filter[] = "udp port 53", bad[] = "udp prt 53";
	struct agent_options fresh = options;

	change(true);
	fresh.filter = bad;
	ck_assert_int_eq(capture_change_check(&tap, &fresh, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "the guest's filter"));
	fresh.filter = filter;
	ck_assert_int_eq(capture_change_check(&tap, &fresh, error), 0);
	capture_tap_set_options(&tap, &fresh);
	capture_tap_reload(&tap);
	change(true);
	send_udp(far_fd, 54, 1);
	send_udp(far_fd, 53, 2);
	see_to_the_end(1);
	ck_assert_uint_eq(seen[0].tag, 2);
}
END_TEST

/* The guest's word holds, even if the policy then leaves nothing. */
START_TEST(reload_against_the_policy)
{
	struct agent_options fresh = options;
	char error[MSG_TEXT_SIZE];

	want->direction = DIRECTION_IN;
	change(true);
	fresh.direction = DIRECTION_OUT;
	ck_assert_int_eq(capture_change_check(&tap, &fresh, error), 0);
	capture_tap_set_options(&tap, &fresh);
	capture_tap_reload(&tap);
	change(false);
	ck_assert(TAILQ_EMPTY(&tap.rings));
	want->direction = DIRECTION_INOUT;
	change(true);
	send_udp(far_fd, 53, 1);
	send_udp(near_fd, 53, 2);
	see(1);
	see_to_the_end(1);
	ck_assert_uint_eq(seen[0].tag, 2);
}
END_TEST

START_TEST(switched_off_ends_the_stream)
{
	struct spool_item item;

	change(true);
	send_udp(far_fd, 53, 1);
	want->active = false;
	change(true);
	see_all();
	ck_assert_uint_eq(seen_count, 1);
	spool_rewind(consumer);
	do {
		spool_next(consumer, &item);
		spool_release(consumer);
	} while (item.kind == SPOOL_BLOCK);
	ck_assert_int_eq(item.kind, SPOOL_ENDED);
	want->active = true;
	change(true);
	send_udp(far_fd, 53, 2);
	see(2);
	ck_assert_uint_eq(seen[1].head.interface, 0);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_tap");
	TCase *t = tcase_create("tap");

	tcase_add_checked_fixture(t, setup, teardown);
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
	SRunner *runner;
	int failed;

	if (geteuid() != 0) {
		fprintf(stderr, "needs root, for interfaces in a network namespace of its own\n");
		return SKIPPED;
	}
	runner = srunner_create(suite());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
