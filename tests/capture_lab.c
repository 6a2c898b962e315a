/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "proto/codec.h"
#include "proto/pcapng.h"
#include "agent/spool.h"
#include "tests/capture_lab.h"

#define SKIPPED		77		/* automake's exit status for a test that could not run */
#define WAIT_S		30

struct capture_lab lab;

static void
on_result(const struct ipc_tap_result *result, void *arg)
{
	(void)arg;
	lab.result = *result;
	lab.answered = true;
}

static void
on_gone(const struct ipc_interface_gone *gone, void *arg)
{
	(void)arg;
	lab.gone = *gone;
	lab.was_gone = true;
}

static void
on_active(void *arg)
{
	(void)arg;
	lab.active = true;
}

static void
on_ended(void *arg)
{
	(void)arg;
	lab.ended = true;
}

static void
on_last(uint8_t tap, const struct msg_stats *stats, void *arg)
{
	(void)arg;
	ck_assert_uint_eq(tap, lab.tap.number);
	lab.last_count++;
	for (size_t i = 0; i < stats->count; i++)
		lab.last[stats->stat[i].counter] += stats->stat[i].value;
}

static void
on_governed(uint8_t tap, bool in_force, void *arg)
{
	(void)arg;
	ck_assert_uint_eq(tap, lab.tap.number);
	lab.in_force = in_force;
	lab.governed = true;
}

static const struct capture_tap_callbacks callbacks = { on_result, on_gone, on_active, on_ended, on_last, on_governed, NULL };

void
capture_lab_shell(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

int
capture_lab_socket(const char *interface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(0x800) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	ck_assert_int_ne(fd, -1);
	address.sll_ifindex = (int)if_nametoindex(interface);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void
capture_lab_want(const char *name)
{
	struct ipc_tap_interface *interface = &lab.want->interface[lab.want->interface_count++];

	memset(interface, 0, sizeof(*interface));
	interface->ifindex = if_nametoindex(name);
	snprintf(interface->name, sizeof(interface->name), "%s", name);
}

void
capture_lab_setup(void)
{
	int fd;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	capture_lab_shell("ip link set lo up && ip link add near0 type veth peer name far0 && "
	    "echo 1 >/proc/sys/net/ipv6/conf/near0/disable_ipv6 && echo 1 >/proc/sys/net/ipv6/conf/far0/disable_ipv6 && "
	    "ip link set near0 up && ip link set far0 up");
	lab.near_fd = capture_lab_socket("near0");
	lab.far_fd = capture_lab_socket("far0");
	ck_assert_ptr_nonnull(lab.base = event_base_new());
	ck_assert_int_ne(fd = spool_create("check", 16 * SPOOL_SIZE_MIN), -1);
	ck_assert_ptr_nonnull(lab.producer = spool_attach(fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(lab.consumer = spool_attach(fd, SPOOL_CONSUMER));
	close(fd);
	lab.totals = (struct capture_totals){ .spool = lab.producer };
	lab.options = (struct agent_options){ .compress = strdup("none"), .snaplen = PCAPNG_SNAPLEN, .buffer_kib = 8192,
		.flush_ms = 20, .memory_limit = 64u << 20 };
	ck_assert_int_eq(capture_tap_init(&lab.tap, 0, lab.base, lab.producer, &lab.totals, &callbacks, NULL), 0);
	capture_tap_set_options(&lab.tap, &lab.options);
	ck_assert_ptr_nonnull(lab.want = calloc(1, sizeof(*lab.want)));
	lab.want->active = true;
	capture_lab_want("near0");
}

void
capture_lab_teardown(void)
{
	capture_tap_clear(&lab.tap);
	spool_detach(lab.producer);
	spool_detach(lab.consumer);
	event_base_free(lab.base);
	free(lab.options.compress);
	free(lab.want);
	close(lab.near_fd);
	close(lab.far_fd);
}

void
capture_lab_run_until(const bool *flag)
{
	uint64_t begun = clock_mono_ns();
	struct timeval step = { .tv_usec = 10000 };

	while (!*flag) {
		ck_assert_msg(clock_mono_ns() - begun < WAIT_S * UINT64_C(1000000000), "nothing came of it");
		event_base_loopexit(lab.base, &step);
		event_base_dispatch(lab.base);
	}
}

void
capture_lab_change(bool accepted)
{
	lab.answered = false;
	lab.want->version++;
	capture_tap_change(&lab.tap, lab.want);
	capture_lab_run_until(&lab.answered);
	ck_assert_uint_eq(lab.result.version, lab.want->version);
	ck_assert_msg(lab.result.accepted == accepted, "%s", lab.result.reason);
}

void
capture_lab_govern(const struct governor_orders *orders, bool in_force)
{
	lab.governed = false;
	capture_tap_govern(&lab.tap, orders, "orders");
	capture_lab_run_until(&lab.governed);
	ck_assert_int_eq(lab.in_force, in_force);
}

void
capture_lab_end(void)
{
	lab.ended = false;
	capture_tap_end(&lab.tap);
	capture_lab_run_until(&lab.ended);
}

void
capture_lab_send(int fd, const void *frame, size_t len)
{
	ck_assert_int_eq(send(fd, frame, len, 0), (ssize_t)len);
}

void
capture_lab_frame(uint8_t frame[CAPTURE_LAB_FRAME_LEN], uint8_t protocol, uint16_t port)
{
	static const uint8_t start[CAPTURE_LAB_FRAME_LEN] = { [0] = 0x02, [6] = 0x02, [11] = 1, [12] = 0x08, [14] = 0x45, [17] = 86,
		[22] = 64, [26] = 10, [29] = 1, [30] = 10, [33] = 2, [34] = 0x40 };

	memcpy(frame, start, sizeof(start));
	frame[23] = protocol;
	frame[36] = (uint8_t)(port >> 8);
	frame[37] = (uint8_t)port;
}

uint64_t
capture_lab_count(enum counter counter, uint32_t interface)
{
	return spool_count_get(lab.consumer, counter, interface);
}

struct capture_lab_packet capture_lab_seen[CAPTURE_LAB_PACKETS_MAX];
size_t capture_lab_seen_count;

void
capture_lab_see_block(const uint8_t *raw, size_t raw_len)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *at, *text;
	uint32_t type;
	size_t len, from = 0, text_len;

	pcapng_walk_init(&walk, raw, raw_len);
	while (pcapng_walk_next(&walk, &type, &packet, &at, &len) == 1) {
		if (type != PCAPNG_EPB)
			continue;
		ck_assert_uint_lt(capture_lab_seen_count, CAPTURE_LAB_PACKETS_MAX);
		capture_lab_seen[capture_lab_seen_count].head = packet;
		capture_lab_seen[capture_lab_seen_count].commented = pcapng_next_comment(at, len, &from, &text, &text_len) == 1;
		from = 0;
		if (packet.captured_len >= 54)
			memcpy(&capture_lab_seen[capture_lab_seen_count].tag, packet.data + 50, 4);
		if (packet.captured_len >= 14)
			capture_lab_seen[capture_lab_seen_count].ethertype = (uint16_t)(packet.data[12] << 8 | packet.data[13]);
		capture_lab_seen_count++;
	}
}

void
capture_lab_see_all(void)
{
	struct spool_item item;

	for (spool_next(lab.consumer, &item); item.kind == SPOOL_BLOCK; spool_next(lab.consumer, &item)) {
		ck_assert_uint_eq(item.entry.codec, CODEC_NONE);
		capture_lab_see_block(item.data, item.entry.data_len);
		spool_release(lab.consumer);
	}
}

void
capture_lab_see(size_t count)
{
	uint64_t begun = clock_mono_ns();
	struct timeval step = { .tv_usec = 10000 };

	for (capture_lab_see_all(); capture_lab_seen_count < count; capture_lab_see_all()) {
		ck_assert_msg(clock_mono_ns() - begun < WAIT_S * UINT64_C(1000000000), "%zu of %zu packets", capture_lab_seen_count, count);
		event_base_loopexit(lab.base, &step);
		event_base_dispatch(lab.base);
	}
	ck_assert_uint_eq(capture_lab_seen_count, count);
}

void
capture_lab_see_to_the_end(size_t count)
{
	capture_lab_end();
	capture_lab_see_all();
	ck_assert_uint_eq(capture_lab_seen_count, count);
}

void
capture_lab_send_ip(int fd, uint8_t protocol, uint16_t port, uint32_t tag)
{
	uint8_t frame[CAPTURE_LAB_FRAME_LEN];

	capture_lab_frame(frame, protocol, port);
	memcpy(frame + 50, &tag, 4);
	capture_lab_send(fd, frame, sizeof(frame));
}

void
capture_lab_send_udp(int fd, uint16_t port, uint32_t tag)
{
	capture_lab_send_ip(fd, IPPROTO_UDP, port, tag);
}

int
capture_lab_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	if (geteuid() != 0) {
		fprintf(stderr, "needs root, for interfaces in a network namespace of its own\n");
		srunner_free(runner);
		return SKIPPED;
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
