/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "proto/pcapng.h"
#include "agent/agent.h"
#include "agent/capture_tap.h"
#include "agent/spool.h"

/* What the kernel counts of one end of a veth pair, in a network namespace of its own (so: root only), against what was sent. */

#define SKIPPED		77
#define WAIT_S		30
#define OWN_PORT	8827
#define FLOOD		60000

static struct event_base *base;
static struct spool *producer, *consumer;
static struct capture_totals totals;
static struct agent_options options;
static struct capture_tap tap;
static struct ipc_tap *want;
static bool answered, accepted, active, ended;
static char refusal[MSG_TEXT_SIZE];
static int near_fd, far_fd;		/* what is sent on these goes out of, or comes in at, near0 */

static void
on_result(const struct ipc_tap_result *r, void *arg)
{
	(void)arg;
	accepted = r->accepted;
	snprintf(refusal, sizeof(refusal), "%s", r->reason);
	answered = true;
}

static void
on_gone(const struct ipc_interface_gone *gone, void *arg)
{
	(void)gone;
	(void)arg;
}

static void
on_active(void *arg)
{
	(void)arg;
	active = true;
}

static void
on_ended(void *arg)
{
	(void)arg;
	ended = true;
}

static const struct capture_tap_callbacks callbacks = { on_result, on_gone, on_active, on_ended, NULL };

static int
raw_socket(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(0x800), .sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void
setup(void)
{
	int fd;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	ck_assert_int_eq(system("ip link set lo up && ip link add near0 type veth peer name far0 && "
	    "echo 1 >/proc/sys/net/ipv6/conf/near0/disable_ipv6 && echo 1 >/proc/sys/net/ipv6/conf/far0/disable_ipv6 && "
	    "ip link set near0 up && ip link set far0 up"), 0);
	near_fd = raw_socket("near0");
	far_fd = raw_socket("far0");
	ck_assert_ptr_nonnull(base = event_base_new());
	ck_assert_int_ne(fd = spool_create("check", 16 * SPOOL_SIZE_MIN), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(consumer = spool_attach(fd, SPOOL_CONSUMER));
	close(fd);
	totals = (struct capture_totals){ .spool = producer };
	options = (struct agent_options){ .compress = strdup("none"), .snaplen = 64, .buffer_kib = 8192, .flush_ms = 20 };
	ck_assert_int_eq(capture_tap_init(&tap, 0, base, producer, &totals, &callbacks, NULL), 0);
	capture_tap_set_options(&tap, &options);
	ck_assert_ptr_nonnull(want = calloc(1, sizeof(*want)));
	want->active = true;
	want->interface_count = 1;
	want->interface[0].ifindex = if_nametoindex("near0");
	snprintf(want->interface[0].name, sizeof(want->interface[0].name), "near0");
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
change(void)
{
	answered = false;
	want->version++;
	capture_tap_change(&tap, want);
	run_until(&answered);
	ck_assert_msg(accepted, "%s", refusal);
}

static void
change_filter(const char *filter)
{
	snprintf(want->filter, sizeof(want->filter), "%s", filter);
	change();
}

/* Ethernet and IPv4, the last of len bytes where it may be cut short. */
static void
send_ip(int fd, uint8_t protocol, uint16_t port, size_t len)
{
	uint8_t p[100] = { [0] = 0x02, [6] = 0x02, [11] = 1, [12] = 0x08, [14] = 0x45, [17] = 86, [22] = 64, [23] = protocol, [26] = 10,
		[29] = 1, [30] = 10, [33] = 2, [34] = 0x40 };

	p[36] = (uint8_t)(port >> 8);
	p[37] = (uint8_t)port;
	ck_assert_int_eq(send(fd, p, len, 0), (ssize_t)len);
}

static void
send_udp(int fd, uint16_t port)
{
	send_ip(fd, IPPROTO_UDP, port, 100);
}

static uint64_t
count(enum counter counter, uint32_t id)
{
	return spool_count_get(consumer, counter, id);
}

struct expected {
	uint64_t	offered, filtered, own, paused, received;
};

static void
expect(uint32_t id, struct expected e)
{
	capture_tap_count(&tap);
	ck_assert_uint_eq(count(COUNTER_OFFERED, id), e.offered);
	ck_assert_uint_eq(count(COUNTER_FILTERED, id), e.filtered);
	ck_assert_uint_eq(count(COUNTER_OWN, id), e.own);
	ck_assert_uint_eq(count(COUNTER_PAUSED_PACKETS, id), e.paused);
	ck_assert_uint_eq(count(COUNTER_RING_RECEIVED, id), e.received);
	ck_assert_uint_eq(count(COUNTER_SWITCHED, id), 0);
}

static void
end_tap(void)
{
	ended = false;
	capture_tap_end(&tap);
	run_until(&ended);
}

START_TEST(without_a_filter)
{
	uint32_t mark = AGENT_MARK;

	send_udp(far_fd, 53);			/* before there is anything */
	change();
	for (unsigned i = 0; i < 7; i++)
		send_udp(i % 2 == 0 ? far_fd : near_fd, 53);
	send_ip(far_fd, IPPROTO_TCP, OWN_PORT, 100);
	expect(0, (struct expected){ .offered = 8, .own = 1, .received = 7 });
	ck_assert_int_eq(setsockopt(near_fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	send_udp(near_fd, 53);
	expect(0, (struct expected){ .offered = 9, .own = 2, .received = 7 });
	ck_assert_uint_eq(count(COUNTER_LEDGER, STATS_AGENT), 2);
	ck_assert_int_eq(tap.rings.tqh_first->ledger.fd[PROGRAM_TAKEN], -1);
	end_tap();
	ck_assert_uint_eq(count(COUNTER_PACKETS_CAPTURED, 0), 7);
}
END_TEST

/* What a filter reads beyond a packet's end refuses that packet, and it is counted as refused; own comes before the filter. */
START_TEST(with_a_filter)
{
	change_filter("udp port 53 and not ether[99] = 1");
	send_udp(far_fd, 53);
	send_udp(far_fd, 54);
	send_ip(far_fd, IPPROTO_UDP, 53, 99);
	send_ip(far_fd, IPPROTO_TCP, OWN_PORT, 100);
	expect(0, (struct expected){ .offered = 4, .filtered = 2, .own = 1, .received = 1 });
}
END_TEST

START_TEST(one_direction)
{
	want->direction = DIRECTION_IN;
	change();
	send_udp(far_fd, 53);
	send_udp(near_fd, 53);
	send_udp(near_fd, 53);
	expect(0, (struct expected){ .offered = 3, .filtered = 2, .received = 1 });
}
END_TEST

START_TEST(paused)
{
	change();
	send_udp(far_fd, 53);
	want->interface[0].paused = true;
	change();
	send_udp(far_fd, 53);
	send_udp(near_fd, 53);
	send_ip(far_fd, IPPROTO_TCP, OWN_PORT, 100);
	want->interface[0].paused = false;
	change();
	send_udp(far_fd, 53);
	expect(0, (struct expected){ .offered = 5, .own = 1, .paused = 2, .received = 2 });
}
END_TEST

/* Another filter is another id, and what was counted stays with the one that it was counted under. */
START_TEST(each_filter_by_itself)
{
	change_filter("udp port 53");
	send_udp(far_fd, 53);
	send_udp(far_fd, 54);
	send_udp(far_fd, 54);
	change_filter("udp port 54");
	send_udp(far_fd, 53);
	send_udp(far_fd, 54);
	send_udp(far_fd, 54);
	change_filter("udp port 53");
	send_udp(far_fd, 53);
	expect(0, (struct expected){ .offered = 4, .filtered = 2, .received = 2 });
	expect(1, (struct expected){ .offered = 3, .filtered = 1, .received = 2 });
	end_tap();
	ck_assert_uint_eq(count(COUNTER_PACKETS_CAPTURED, 0), 2);
	ck_assert_uint_eq(count(COUNTER_PACKETS_CAPTURED, 1), 2);
}
END_TEST

START_TEST(loopback_counts_each_packet_once)
{
	int fd = raw_socket("lo");

	want->interface[0].ifindex = if_nametoindex("lo");
	snprintf(want->interface[0].name, sizeof(want->interface[0].name), "lo");
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

	options.ledger = values[_i];
	change_filter("udp port 53");
	send_udp(far_fd, 53);
	send_udp(far_fd, 54);
	expect(0, (struct expected){ .received = 1 });
	ck_assert(!tap.stream.row[0].counted);
	ck_assert_uint_eq(count(COUNTER_LEDGER, STATS_AGENT), 1 - (unsigned)_i);
}
END_TEST

/* Nothing is drained while only refused packets come, but somebody has to be told. */
START_TEST(refused_packets_wake)
{
	change_filter("udp port 53");
	for (unsigned i = 1; i <= 3; i++) {
		capture_tap_count_and_wait(&tap);
		active = false;
		event_base_loop(base, EVLOOP_NONBLOCK);
		ck_assert(!active);
		send_udp(far_fd, 54);
		run_until(&active);
		expect(0, (struct expected){ .offered = i, .filtered = i });
	}
}
END_TEST

/* near0's own count; false: /sys shows this namespace's only if it was mounted in it. */
static bool
interface_counts(uint64_t *packets)
{
	if (unshare(CLONE_NEWNS) == 0 && system("mount --make-rprivate / && mount -t sysfs sys /sys") == 0 &&
	    capture_ledger_interface("near0", if_nametoindex("near0"), packets) == 0)
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
	ck_assert_int_eq(capture_ledger_interface("near0", 4711, &packets), -1);
	send_udp(far_fd, 53);
	change();
	ck_assert_uint_eq(count(COUNTER_INTERFACE_START, 0), packets + 1);
	send_udp(far_fd, 53);
	change_filter("udp port 53");
	send_udp(near_fd, 53);
	capture_tap_count(&tap);
	ck_assert_uint_eq(count(COUNTER_INTERFACE_START, 0), 0);
	ck_assert_uint_eq(count(COUNTER_INTERFACE_PACKETS, 0), 0);
	ck_assert_uint_eq(count(COUNTER_INTERFACE_START, 1), packets + 1);
	ck_assert_uint_eq(count(COUNTER_INTERFACE_PACKETS, 1), packets + 3);
}
END_TEST

/* What a killed process leaves behind is as of its last block: the ring's count and the interface's are of one moment. */
START_TEST(a_block_brings_both_counts)
{
	uint64_t packets;
	bool told = false;

	if (!interface_counts(&packets))
		return;
	change();
	ck_assert_uint_eq(count(COUNTER_LEDGER, STATS_AGENT), 2);
	for (unsigned i = 0; i < 5; i++)
		send_udp(far_fd, 53);
	for (uint64_t begun = clock_mono_ns(); !told; told = count(COUNTER_PACKETS_CAPTURED, 0) == 5) {
		ck_assert(clock_mono_ns() - begun < WAIT_S * UINT64_C(1000000000));
		event_base_loop(base, EVLOOP_ONCE);
	}
	ck_assert_uint_eq(count(COUNTER_RING_RECEIVED, 0), 5);
	ck_assert_uint_eq(count(COUNTER_INTERFACE_PACKETS, 0), packets + 5);
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
		*sent += send(far_fd, p, sizeof(p), 0) == sizeof(p);
	}
	return NULL;
}

static uint64_t
sum(enum counter counter)
{
	uint64_t all = 0;

	for (uint32_t id = 0; id < tap.stream.row_count; id++)
		all += count(counter, id);
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
	for (unsigned round = 0; round < 20; round++) {
		want->interface[0].paused = round % 5 == 4;
		change_filter(round % 2 == 0 ? "udp port 54 or udp port 55" : "udp port 53");
	}
	stop = true;
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	capture_tap_count(&tap);
	offered = sum(COUNTER_OFFERED);
	switched = sum(COUNTER_SWITCHED);
	places = sum(COUNTER_FILTERED) + sum(COUNTER_OWN) + sum(COUNTER_PAUSED_PACKETS) + sum(COUNTER_RING_RECEIVED);
	ck_assert_uint_le(offered, sent);
	ck_assert_msg(places <= offered + switched && offered <= places + switched, "%llu offered, %llu in places, %llu switched",
	    (unsigned long long)offered, (unsigned long long)places, (unsigned long long)switched);
	ck_assert_uint_ge(sum(COUNTER_PAUSED_PACKETS), 1);
	ck_assert_uint_ge(sum(COUNTER_FILTERED), 1);
	end_tap();
	ck_assert_uint_eq(sum(COUNTER_RING_RECEIVED), sum(COUNTER_RING_DROPPED) + sum(COUNTER_PACKETS_CAPTURED));
	for (uint32_t id = 0; id < tap.stream.row_count; id++)
		ck_assert_uint_eq(count(COUNTER_RING_RECEIVED, id), count(COUNTER_RING_DROPPED, id) +
		    count(COUNTER_PACKETS_CAPTURED, id));
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
	while (count(COUNTER_OFFERED, 0) < FLOOD) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		capture_tap_count(&tap);
		ck_assert_uint_le(count(COUNTER_FILTERED, 0), FLOOD / 3 * 2);
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	expect(0, (struct expected){ .offered = FLOOD, .filtered = FLOOD / 3 * 2, .received = FLOOD / 3 });
	end_tap();
	ck_assert_uint_eq(count(COUNTER_RING_DROPPED, 0) + count(COUNTER_PACKETS_CAPTURED, 0), FLOOD / 3);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("capture_ledger");
	TCase *t = tcase_create("ledger");
	SRunner *runner;
	int failed;

	if (geteuid() != 0) {
		fprintf(stderr, "needs root, for interfaces in a network namespace of its own\n");
		return SKIPPED;
	}
	tcase_add_checked_fixture(t, setup, teardown);
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
	tcase_add_test(t, a_block_brings_both_counts);
	tcase_add_test(t, exchanged_under_traffic);
	tcase_add_test(t, exact_after_a_flood);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
