/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <netinet/in.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include <linux/if_packet.h>

#include "agent/spool.h"
#include "tests/capture_lab.h"

/* Sockets that cannot be had, programs that the kernel refuses: of the ledger, without which capture goes on, and the tap's. */

static struct {
	bool	sockets;	/* no counting socket can be opened, */
	bool	places;		/* or be given a program, */
	bool	tap;		/* nor the ring */
	bool	first;		/* of the counting sockets' programs only the second is refused */
	int	attached;
} refuse;

int
socket(int domain, int type, int protocol)
{
	if (refuse.sockets && domain == AF_PACKET && (type & SOCK_NONBLOCK) != 0) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_socket, domain, type, protocol);
}

static bool
is_ring(int fd)
{
	int version = -1;
	socklen_t len = sizeof(version);

	return getsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, &len) == 0 && version == TPACKET_V3;
}

static bool
refused(int fd)
{
	if (is_ring(fd))
		return refuse.tap;
	return refuse.places && !(refuse.first && refuse.attached++ == 0);
}

int
setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && name == SO_ATTACH_FILTER && refused(fd)) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static void
change_filter(const char *filter, bool accepted)
{
	snprintf(lab.want->filter, sizeof(lab.want->filter), "%s", filter);
	refuse.attached = 0;
	capture_lab_change(accepted);
}

static void
send_udp(uint16_t port)
{
	uint8_t frame[CAPTURE_LAB_FRAME_LEN];

	capture_lab_frame(frame, IPPROTO_UDP, port);
	capture_lab_send(lab.far_fd, frame, sizeof(frame));
}

struct expected {
	uint64_t	level, offered, filtered, received;
};

static void
expect(uint32_t id, struct expected e)
{
	capture_tap_count(&lab.tap);
	ck_assert_uint_eq(capture_lab_count(COUNTER_LEDGER, STATS_AGENT), e.level);
	ck_assert_uint_eq(capture_lab_count(COUNTER_RING_RECEIVED, id), e.received);
	if (e.level < LEDGER_KERNEL)
		return;
	ck_assert_uint_eq(capture_lab_count(COUNTER_OFFERED, id), e.offered);
	ck_assert_uint_eq(capture_lab_count(COUNTER_FILTERED, id), e.filtered);
	ck_assert_uint_eq(capture_lab_count(COUNTER_SWITCHED, id), 0);
}

static size_t
streams(void)
{
	struct spool_stream stream[MSG_STREAMS_MAX];

	return spool_streams(lab.consumer, stream);
}

/* What is refused first; and then it works. */
static const struct {
	bool	sockets, places, first;
} kinds[] = { { .sockets = true }, { .places = true }, { .places = true, .first = true } };

START_TEST(captures_without_counting)
{
	refuse.sockets = kinds[_i].sockets;
	refuse.places = kinds[_i].places;
	refuse.first = kinds[_i].first;
	change_filter("udp port 53", true);
	send_udp(53);
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_RING, .received = 1 });
	ck_assert(lab.tap.stream.row[0].uncounted && !capture_ledger_counts(&TAILQ_FIRST(&lab.tap.rings)->ledger));
	change_filter("udp port 54", true);
	send_udp(54);
	expect(1, (struct expected){ .level = LEDGER_RING, .received = 1 });
	ck_assert(lab.tap.stream.row[1].uncounted);
	ck_assert_uint_eq(streams(), 1);
	capture_lab_end();
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 0), 1);
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 1), 1);
}
END_TEST

/* In the midst of a stream: that one is told as what all of it has, the next one counts again. */
START_TEST(counts_again)
{
	change_filter("udp port 53", true);
	send_udp(53);
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 2, .filtered = 1, .received = 1 });
	refuse.places = true;
	change_filter("udp port 54", true);
	send_udp(54);
	expect(1, (struct expected){ .level = LEDGER_RING, .received = 1 });
	refuse.places = false;
	capture_lab_change(true);		/* of nothing */
	ck_assert_uint_eq(streams(), 2);
	send_udp(53);
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 2, .filtered = 1, .received = 1 });
	lab.active = false;
	capture_tap_count_and_wait(&lab.tap);
	send_udp(53);
	capture_lab_run_until(&lab.active);
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 3, .filtered = 2, .received = 1 });
	capture_lab_end();
	ck_assert_uint_eq(capture_lab_count(COUNTER_PACKETS_CAPTURED, 0), 1);
}
END_TEST

/* Whichever sockets had their program already: it is put back, and what was counted goes on. */
START_TEST(refused_leaves_the_ledger)
{
	const char *before = _i < 2 ? "udp port 53" : "";
	uint64_t filtered = _i < 2 ? 1 : 0;

	change_filter(before, true);
	send_udp(53);
	send_udp(54);
	refuse.tap = true;
	refuse.places = _i % 2 == 1;
	change_filter("udp port 54 or udp port 55", false);
	refuse.tap = refuse.places = false;
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 2, .filtered = filtered, .received = 2 - filtered });
	send_udp(53);
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 4, .filtered = 2 * filtered,
		.received = 4 - 2 * filtered });
	ck_assert_uint_eq(streams(), 1);
	ck_assert_uint_eq(lab.tap.stream.row_count, 1);
	change_filter("udp port 55", true);
	send_udp(53);
	send_udp(55);
	expect(1, (struct expected){ .level = LEDGER_KERNEL, .offered = 2, .filtered = 1, .received = 1 });
}
END_TEST

/* What counts already under the new program cannot have the old one back: it must not count on. */
START_TEST(refused_and_not_put_back)
{
	change_filter("udp port 53", true);
	refuse.tap = refuse.places = refuse.first = true;
	change_filter("udp port 54", false);
	send_udp(53);
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_RING, .received = 1 });
	refuse.tap = refuse.places = false;
	change_filter("udp port 54", true);
	send_udp(53);
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 2, .filtered = 1, .received = 1 });
	ck_assert_uint_eq(streams(), 2);
}
END_TEST

/* A stream counts if all its interfaces do. */
START_TEST(one_of_two_interfaces)
{
	change_filter("udp port 53", true);
	capture_lab_want("far0");
	refuse.sockets = true;
	lab.want->interface[1].ifindex++;		/* not there any more: told as gone */
	capture_lab_change(true);
	ck_assert(lab.was_gone);
	expect(0, (struct expected){ .level = LEDGER_KERNEL });
	lab.want->interface[1].ifindex--;
	capture_lab_change(true);			/* there, but not counted */
	send_udp(53);
	expect(0, (struct expected){ .level = LEDGER_RING, .received = 1 });
	expect(1, (struct expected){ .level = LEDGER_RING, .received = 1 });
	while (lab.tap.stream.row[0].packets + lab.tap.stream.row[1].packets < 2)
		event_base_loop(lab.base, EVLOOP_ONCE);	/* what is in a ring passes on to the next stream */
	ck_assert(!lab.tap.stream.row[0].uncounted && lab.tap.stream.row[1].uncounted);
	lab.want->interface_count = 1;
	refuse.sockets = false;
	capture_lab_change(true);			/* and gone again: what is left is counted */
	send_udp(54);
	expect(0, (struct expected){ .level = LEDGER_KERNEL, .offered = 1, .filtered = 1 });
	ck_assert_uint_eq(streams(), 2);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("capture_attach");
	TCase *t = tcase_create("attach");

	tcase_add_checked_fixture(t, capture_lab_setup, capture_lab_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, captures_without_counting, 0, sizeof(kinds) / sizeof(kinds[0]));
	tcase_add_test(t, counts_again);
	tcase_add_loop_test(t, refused_leaves_the_ledger, 0, 4);
	tcase_add_test(t, refused_and_not_put_back);
	tcase_add_test(t, one_of_two_interfaces);
	suite_add_tcase(s, t);
	return capture_lab_run(s);
}
