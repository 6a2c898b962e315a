/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <jansson.h>
#include <pcap/pcap.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/codec.h"
#include "proto/pcapng.h"
#include "proto/rpcap.h"

#include "collector/catalog.h"
#include "collector/filter_names.h"
#include "collector/policy.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"

#include "tests/session_lab.h"

/* A collector's workers, and an RPCAP server by script. */

#define WAIT_S		20
#define PACKET_LEN	60u

static struct rpcap_url	 url;
static struct {
	int		 control, listener, data;
	uint16_t	 port;			/* of the listener */
	uint16_t	 order;			/* rpcap_order */
	struct rpcap_header header;		/* of the last request */
	uint8_t		 payload[RPCAP_REQUEST_MAX];
	struct cursor	 request;
	struct buf	 out;
} server;

static void
set_up(void)
{
	memset(&server, 0, sizeof(server));
	server.control = server.listener = server.data = -1;
	server.order = RPCAP_ORDER_LITTLE;
	buf_init(&server.out, 1024 * 1024);
	session_lab_open();
}

static void
hang_up(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static void
server_close(void)
{
	hang_up(&server.control);
	hang_up(&server.data);
	hang_up(&server.listener);
}

static void
tear_down(void)
{
	server_close();
	session_lab_close();
	buf_clear(&server.out);
}

/* --- the server's hands --- */

static void
limit_time(int fd)
{
	const struct timeval tv = { .tv_sec = WAIT_S };

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
}

static void
listen_for_data(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);

	hang_up(&server.listener);
	server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server.listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(server.listener, 1), 0);
	ck_assert_int_eq(getsockname(server.listener, (struct sockaddr *)&sin, &len), 0);
	limit_time(server.listener);
	server.port = ntohs(sin.sin_port);
}

/* What pull.c does: a connection to it for the worker. */
static void
server_open(const char *text)
{
	struct note *note = note_new(NOTE_RPCAP);
	char error[RPCAP_URL_ERROR_SIZE] = "";

	ck_assert_msg(rpcap_url_parse(text, &url, error) == 0, "%s", error);
	strcpy(url.tenant, "rpcap");
	lab_connect(&note->fd, &server.control);
	limit_time(server.control);
	listen_for_data();
	note->url = &url;
	note->pull = 7;
	mailbox_post(session_lab.workers.worker[0].inbox, note);
}

static void
read_whole(void *bytes, size_t len)
{
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		n = read(server.control, (uint8_t *)bytes + got, len - got);
		ck_assert_msg(n > 0, "the collector has nothing more to say");
		got += (size_t)n;
	}
}

static void
expect(uint8_t type)
{
	uint8_t bytes[RPCAP_HEADER_SIZE];

	read_whole(bytes, sizeof(bytes));
	rpcap_get_header(bytes, &server.header);
	ck_assert_uint_eq(server.header.type, type);
	ck_assert_uint_eq(server.header.version, 0);
	ck_assert_uint_le(server.header.length, sizeof(server.payload));
	read_whole(server.payload, server.header.length);
	cursor_init(&server.request, server.payload, server.header.length);
}

static void
write_out(int fd)
{
	ck_assert_int_eq(send(fd, server.out.data, server.out.len, MSG_NOSIGNAL), (ssize_t)server.out.len);
	server.out.len = 0;
}

static void
put_answer(uint8_t type)
{
	const struct rpcap_auth_reply auth = { .order = (enum rpcap_order)server.order };
	const struct rpcap_open_reply open = { .linktype = DLT_EN10MB };
	const struct rpcap_startcap_reply startcap = { .buffer_bytes = 2 * 1024 * 1024, .port = server.port };
	const struct rpcap_stats stats = { .ifrecv = 4 };
	int rc = -1;

	switch (type) {
	case RPCAP_AUTH:
		rc = rpcap_put_auth_reply(&server.out, &auth);
		break;
	case RPCAP_OPEN:
		rc = rpcap_put_open_reply(&server.out, 0, &open);
		break;
	case RPCAP_STARTCAP:
		rc = rpcap_put_startcap_reply(&server.out, 0, &startcap);
		break;
	case RPCAP_STATS:
		rc = rpcap_put_stats_reply(&server.out, 0, &stats);
		break;
	case RPCAP_UPDATEFILTER:
	case RPCAP_ENDCAP:
		rc = rpcap_put_empty(&server.out, 0, type | RPCAP_REPLY);
		break;
	}
	ck_assert_int_eq(rc, 0);
}

static void
answer(uint8_t type)
{
	put_answer(type);
	write_out(server.control);
}

static void
accept_data(void)
{
	server.data = accept(server.listener, NULL, NULL);
	ck_assert_int_ne(server.data, -1);
	limit_time(server.data);
}

static const uint8_t steps[] = { RPCAP_AUTH, RPCAP_OPEN, RPCAP_STARTCAP, RPCAP_STATS, RPCAP_UPDATEFILTER };
#define STEPS	(sizeof(steps) / sizeof(steps[0]))

/* Up to the request steps[count], which has come and is not answered. */
static void
go_to(size_t count)
{
	for (size_t i = 0;; i++) {
		expect(steps[i]);
		if (i == count)
			return;
		answer(steps[i]);
		if (steps[i] == RPCAP_STARTCAP)
			accept_data();
	}
}

static void
run(const char *text)
{
	server_open(text);
	go_to(STEPS - 1);
	answer(RPCAP_UPDATEFILTER);
}

static void
put_packet(uint32_t number, uint32_t seconds, uint32_t microseconds)
{
	uint8_t bytes[RPCAP_PACKET_SIZE + PACKET_LEN] = { 0 };
	const struct rpcap_packet packet = { .seconds = seconds, .microseconds = microseconds, .captured_len = PACKET_LEN,
		.original_len = 1500, .number = number };

	rpcap_write_packet(bytes, 0, &packet);
	bytes[RPCAP_PACKET_SIZE] = (uint8_t)number;
	ck_assert_int_eq(buf_put(&server.out, bytes, sizeof(bytes)), 0);
}

static void
send_packets(uint32_t first, uint32_t last)
{
	for (uint32_t number = first; number <= last; number++)
		put_packet(number, 1000 + number, 7);
	write_out(server.data);
}

static void
expect_end(bool good)
{
	struct note *note = session_lab_note(NOTE_PULL_ENDED);

	ck_assert_int_eq(note->pull, 7);
	ck_assert_int_eq(note->good, good);
	note_free(note);
}

/* Until the catalog says so. */
static void
expect_number(const char *sql, int64_t number)
{
	uint64_t end = clock_mono_ns() + WAIT_S * UINT64_C(1000000000);
	const struct timespec moment = { .tv_nsec = 20000000 };

	while (session_lab_number(sql) != number) {
		ck_assert_msg(clock_mono_ns() < end, "%s is %lld, not %lld", sql, (long long)session_lab_number(sql), (long long)number);
		nanosleep(&moment, NULL);
	}
}

/* --- beginnings --- */

START_TEST(packets_are_stored)
{
	run("web=rpcap://127.0.0.1/eth0");
	send_packets(1, 3);
	expect_number("SELECT count(*) FROM vm WHERE name = 'web' AND tenant = 'rpcap' AND connected AND software = 'rpcapd (RPCAP 0)'"
	    " AND address LIKE '127.0.0.1:%' AND uuid = '7899f982-47ba-8fb2-8733-acf797d1e29a'", 1);
	expect_number("SELECT total(packets) FROM stream WHERE NOT ended", 3);
	expect_number("SELECT total(bytes) FROM stream", 3 * PACKET_LEN);
	ck_assert_int_eq(session_lab_number("SELECT first_ns FROM stream"), INT64_C(1001000007000));
	ck_assert_int_eq(session_lab_number("SELECT last_ns FROM stream"), INT64_C(1003000007000));
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM event WHERE text LIKE 'pulled by RPCAP from 127.0.0.1: times are in"
	    " microseconds;%'"), 1);
	ck_assert_int_eq(session_lab_number("SELECT linktype FROM interface WHERE name = 'eth0'"), 1);
}
END_TEST

START_TEST(auth_replies)
{
	server.order = (uint16_t)(_i < 3 ? _i : 0);
	server_open("rpcap://h/eth0");
	expect(RPCAP_AUTH);
	if (_i < 3)
		answer(RPCAP_AUTH);
	else {
		ck_assert_int_eq(rpcap_put_empty(&server.out, 0, RPCAP_AUTH | RPCAP_REPLY), 0);
		write_out(server.control);
	}
	expect(RPCAP_OPEN);
	ck_assert_uint_eq(server.header.length, 4);
	ck_assert_mem_eq(server.payload, "eth0", 4);
}
END_TEST

START_TEST(newer_servers_are_refused)
{
	const uint8_t newer[] = { 0, RPCAP_AUTH | RPCAP_REPLY, 0, 0, 0, 0, 0, 2, 1, 3 };

	server_open("rpcap://h/eth0");
	expect(RPCAP_AUTH);
	ck_assert_int_eq(buf_put(&server.out, newer, sizeof(newer)), 0);
	write_out(server.control);
	expect_end(false);
}
END_TEST

START_TEST(passwords_are_sent)
{
	struct rpcap_auth auth;

	server_open("rpcap://user:pass%20word@h/eth0");
	expect(RPCAP_AUTH);
	ck_assert_int_eq(rpcap_get_auth(&server.request, &auth), 0);
	ck_assert_uint_eq(auth.type, RPCAP_AUTH_PASSWORD);
	ck_assert_uint_eq(auth.user_len, 4);
	ck_assert_mem_eq(auth.user, "user", 4);
	ck_assert_uint_eq(auth.password_len, 9);
	ck_assert_mem_eq(auth.password, "pass word", 9);
}
END_TEST

START_TEST(nobody_is_sent)
{
	struct rpcap_auth auth;

	server_open("rpcap://h/eth0");
	expect(RPCAP_AUTH);
	ck_assert_int_eq(rpcap_get_auth(&server.request, &auth), 0);
	ck_assert_uint_eq(auth.type, RPCAP_AUTH_NULL);
}
END_TEST

/* --- filters --- */

static struct rpcap_filter
take_filter(void)
{
	struct rpcap_filter filter;
	char error[RPCAP_TEXT_SIZE] = "";

	ck_assert_msg(rpcap_get_filter(&server.request, &filter, error) == 0, "%s", error);
	return filter;
}

static uint32_t
filter_says(const struct rpcap_filter *filter, uint16_t source, uint16_t destination, uint8_t protocol)
{
	uint8_t packet[PACKET_LEN] = { [12] = 0x08, [14] = 0x45, [23] = protocol, [26] = 127, [29] = 1, [30] = 127, [33] = 1,
		[34] = (uint8_t)(source >> 8), [35] = (uint8_t)source, [36] = (uint8_t)(destination >> 8), [37] = (uint8_t)destination };

	return bpf_filter(filter->insn, packet, sizeof(packet), sizeof(packet));
}

static uint16_t
peer_port(int fd)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&sin, &len), 0);
	return ntohs(sin.sin_port);
}

START_TEST(own_packets_are_left_out)
{
	struct rpcap_startcap startcap;
	struct rpcap_filter nothing, filter;

	server_open("rpcap://h/eth0");
	go_to(2);
	ck_assert_int_eq(rpcap_get_startcap(&server.request, &startcap), 0);
	ck_assert_uint_eq(startcap.snaplen, RPCAP_CAPTURED_MAX);
	ck_assert_uint_eq(startcap.flags, RPCAP_FLAG_PROMISC);
	nothing = take_filter();
	ck_assert_uint_eq(filter_says(&nothing, 1, 2, IPPROTO_UDP), 0);
	answer(RPCAP_STARTCAP);
	accept_data();
	expect(RPCAP_STATS);
	answer(RPCAP_STATS);
	expect(RPCAP_UPDATEFILTER);
	filter = take_filter();
	ck_assert_uint_eq(filter_says(&filter, server.port, peer_port(server.data), IPPROTO_TCP), 0);
	ck_assert_uint_eq(filter_says(&filter, peer_port(server.data), server.port, IPPROTO_TCP), 0);
	ck_assert_uint_eq(filter_says(&filter, peer_port(server.data), server.port, IPPROTO_UDP), RPCAP_CAPTURED_MAX);
	ck_assert_uint_eq(filter_says(&filter, 22, server.port, IPPROTO_TCP), RPCAP_CAPTURED_MAX);
	free((void *)(uintptr_t)nothing.insn);
	free((void *)(uintptr_t)filter.insn);
}
END_TEST

static void
set_policy(const char *text)
{
	struct note note = { .kind = NOTE_POLICY, .policy = policy_set_new() };
	char error[POLICY_ERROR_SIZE] = "";

	ck_assert_msg(policy_set_override(note.policy, "vm web", text, error, sizeof(error)) == 0, "%s", error);
	workers_tell(&session_lab.workers, &note);
	policy_set_unref(note.policy);
}

/* Of the workers' notes on policies the next. */
static void
expect_result(bool good, const char *words)
{
	struct note *note = session_lab_note(NOTE_POLICY_RESULT);

	ck_assert_int_eq(note->good, good);
	ck_assert_msg(strstr(note->text, words) != NULL, "%s", note->text);
	note_free(note);
}

START_TEST(policy_is_pushed)
{
	struct rpcap_filter filter;

	run("web=rpcap://h/eth0");
	expect_result(true, "");
	set_policy("filter = udp\nslice = headers:64\n");
	expect(RPCAP_UPDATEFILTER);
	filter = take_filter();
	ck_assert_uint_eq(filter_says(&filter, 1, 2, IPPROTO_UDP), RPCAP_CAPTURED_MAX);
	ck_assert_uint_eq(filter_says(&filter, 1, 2, IPPROTO_TCP), 0);
	free((void *)(uintptr_t)filter.insn);
	answer(RPCAP_UPDATEFILTER);
	expect_result(true, "not by RPCAP: slice");
	expect_number("SELECT count(*) FROM vm WHERE policy_state = 'accepted' AND policy_reason LIKE '%slice%'", 1);
	send_packets(1, 1);
	expect_number("SELECT count(*) FROM event WHERE text LIKE '%the filter has been changed'", 1);
}
END_TEST

START_TEST(policy_is_refused_by_us)
{
	struct rpcap_filter filter;

	run("web=rpcap://h/eth0");
	expect_result(true, "");
	set_policy("filter = udp\n");
	expect(RPCAP_UPDATEFILTER);
	answer(RPCAP_UPDATEFILTER);
	expect_result(true, "");
	set_policy("filter = (tcp\n");
	expect(RPCAP_UPDATEFILTER);	/* the one before stays */
	filter = take_filter();
	ck_assert_uint_eq(filter_says(&filter, 1, 2, IPPROTO_TCP), 0);
	ck_assert_uint_ne(filter_says(&filter, 1, 2, IPPROTO_UDP), 0);
	free((void *)(uintptr_t)filter.insn);
	answer(RPCAP_UPDATEFILTER);
	expect_result(false, "syntax error");
	expect_number("SELECT count(*) FROM vm WHERE policy_state = 'refused'", 1);
}
END_TEST

START_TEST(names_are_not_looked_up)
{
	static const struct {
		const char	*filter;
		bool		 names;
	} cases[] = {
		{ "", false }, { "tcp port 443", false }, { "tcp port http or https", false }, { "host 192.0.2.1 and not port domain", false },
		{ "net 10/8 or src net 192.0.2.0/24", false }, { "host 2001:db8::1", false }, { "ether host 02:00:00:00:00:01", false },
		{ "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", false }, { "icmp[icmptype] == icmp-echo", false }, { "ip proto \\tcp", false },
		{ "ether proto 0x88cc", false }, { "vlan 5 && len > 0x40", false }, { "wlan type mgt subtype beacon", false },
		{ "host localhost", true }, { "src tcp.example", true }, { "icmp.example", true }, { "port 80 and host www.example", true },
		{ "port http or host x", true }, { "gateway router", true }, { "net loopback", true }, { "HOST", true },
		{ "dst 0x.example", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(filter_has_names(cases[i].filter) == cases[i].names, "%s", cases[i].filter);
	run("web=rpcap://h/eth0");
	expect_result(true, "");
	set_policy("filter = host localhost\n");
	expect(RPCAP_UPDATEFILTER);
	answer(RPCAP_UPDATEFILTER);
	expect_result(false, "addresses must be numeric");
}
END_TEST

static void
say_error(enum rpcap_error code, const char *text)
{
	ck_assert_int_eq(rpcap_put_error(&server.out, 0, code, text), 0);
	write_out(server.control);
}

START_TEST(policy_is_refused_by_the_server)
{
	run("web=rpcap://h/eth0");
	expect_result(true, "");
	set_policy("filter = udp\n");
	expect(RPCAP_UPDATEFILTER);
	say_error(RPCAP_ERR_UPDATEFILTER, "no \x1b[1m thanks");
	expect(RPCAP_UPDATEFILTER);
	answer(RPCAP_UPDATEFILTER);
	expect_result(false, "no ?[1m thanks (UPDATEFILTER)");
	send_packets(1, 1);
	expect_number("SELECT total(packets) FROM stream", 1);
}
END_TEST

START_TEST(snaplen_begins_anew)
{
	struct rpcap_startcap startcap;

	run("web=rpcap://h/eth0");
	set_policy("snaplen = 96\n");
	expect(RPCAP_ENDCAP);
	answer(RPCAP_ENDCAP);
	hang_up(&server.data);
	expect(RPCAP_STATS);
	answer(RPCAP_STATS);
	expect_end(true);
	server_close();
	server_open("web=rpcap://h/eth0");
	go_to(2);
	ck_assert_int_eq(rpcap_get_startcap(&server.request, &startcap), 0);
	ck_assert_uint_eq(startcap.snaplen, 96);
}
END_TEST

static void
say_stats(uint32_t received, uint32_t sent, uint32_t dropped)
{
	const struct rpcap_stats stats = { .ifrecv = received + 4, .svrcapt = sent, .krnldrop = dropped, .ifdrop = 9 };

	expect(RPCAP_STATS);
	ck_assert_int_eq(rpcap_put_stats_reply(&server.out, 0, &stats), 0);
	write_out(server.control);
}

/* As it is seen where addresses are translated: the ports alone tell. */
static void
send_own(uint32_t first, uint32_t last)
{
	const uint8_t ip[] = { 0x08, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, IPPROTO_TCP, 0, 0, 10, 9, 9, 9, 10, 9, 9, 8,
		(uint8_t)(server.port >> 8), (uint8_t)server.port, 1, 2 };

	for (uint32_t number = first; number <= last; number++) {
		put_packet(number, 1000, number);
		memcpy(server.out.data + server.out.len - PACKET_LEN + 12, ip, sizeof(ip));
	}
	write_out(server.data);
}

START_TEST(loops_are_ended)
{
	struct rpcap_filter filter;

	run("web=rpcap://h/eth0");
	for (uint32_t first = 1; first < 16 * RPCAP_PULL_LOOK_EACH; first += RPCAP_PULL_LOOK_EACH)
		send_own(first, first + RPCAP_PULL_LOOK_EACH - 1);
	expect(RPCAP_UPDATEFILTER);
	filter = take_filter();
	ck_assert_uint_eq(filter_says(&filter, server.port, 22, IPPROTO_TCP), 0);
	ck_assert_uint_ne(filter_says(&filter, 23, 22, IPPROTO_TCP), 0);
	free((void *)(uintptr_t)filter.insn);
	answer(RPCAP_UPDATEFILTER);
	send_packets(5000, 5000);
	expect_number("SELECT count(*) FROM event WHERE text LIKE 'the capture had its own data connection%'", 1);
}
END_TEST

START_TEST(others_are_no_loop)
{
	run("web=rpcap://h/eth0");
	for (uint32_t first = 1; first < 32 * RPCAP_PULL_LOOK_EACH; first += RPCAP_PULL_LOOK_EACH) {
		if (first % (2 * RPCAP_PULL_LOOK_EACH) == 1)
			send_own(first, first + RPCAP_PULL_LOOK_EACH - 1);
		else
			send_packets(first, first + RPCAP_PULL_LOOK_EACH - 1);
	}
	hang_up(&server.data);
	say_stats(0, 0, 0);		/* and no UPDATEFILTER before */
}
END_TEST


/* --- counters and losses --- */

/* The capture ends at the server: what it says it sent, and did not come, is known to be lost. */
START_TEST(lost_on_the_way)
{
	run("web=rpcap://h/eth0");
	send_packets(1, 3);
	hang_up(&server.data);
	say_stats(7, 5, 2);
	expect_end(true);
	expect_number("SELECT count(*) FROM stream WHERE ended AND cut = 0", 1);
	expect_number("SELECT total(packets) FROM loss WHERE place = 'link' AND approximate = 0", 2);
	ck_assert_int_eq(session_lab_number("SELECT value FROM stat WHERE counter = 'ring_received_packets'"), 7);
	ck_assert_int_eq(session_lab_number("SELECT value FROM stat WHERE counter = 'ring_dropped_packets'"), 2);
	ck_assert_int_eq(session_lab_number("SELECT value FROM stat WHERE counter = 'captured_packets'"), 3);
	ck_assert_int_eq(session_lab_number("SELECT value FROM stat WHERE counter = 'before_filter_packets'"), 4);
	ck_assert_int_eq(session_lab_number("SELECT value FROM stat WHERE counter = 'nic_dropped_packets'"), 9);
	ck_assert_int_eq(session_lab_number("SELECT total(connected) FROM vm"), 0);
}
END_TEST

/* What it captured and did not send, too, as far as its ring can have held it. */
START_TEST(lost_in_the_ring)
{
	run("web=rpcap://h/eth0");
	send_packets(1, 3);
	hang_up(&server.data);
	say_stats(10, 3, 2);
	expect_end(true);
	expect_number("SELECT total(packets) FROM loss WHERE place = 'link' AND approximate = 1", 5);
}
END_TEST

START_TEST(numbers_passed_over)
{
	run("web=rpcap://h/eth0");
	send_packets(2, 3);
	send_packets(10, 10);
	send_packets(5, 6);		/* back: nothing is known of it */
	hang_up(&server.data);
	say_stats(0, 0, 0);
	expect_end(true);
	expect_number("SELECT total(packets) FROM stream", 5);
	expect_number("SELECT total(packets) FROM loss WHERE place = 'link'", 7);
}
END_TEST

START_TEST(broken_connection)
{
	run("web=rpcap://h/eth0");
	send_packets(1, 2);
	expect_number("SELECT total(packets) FROM stream", 2);
	server_close();
	expect_end(true);
	expect_number("SELECT count(*) FROM stream WHERE ended AND cut = 1", 1);
	expect_number("SELECT total(connected) FROM vm", 0);
	run("web=rpcap://h/eth0");
	send_packets(1, 1);
	expect_number("SELECT total(connected) FROM vm", 1);
	expect_number("SELECT count(*) FROM stream", 2);
	hang_up(&server.data);
	say_stats(1, 1, 0);
	expect_number("SELECT count(*) FROM loss WHERE place = 'cut' AND approximate = 2", 1);
}
END_TEST

/* The interface is gone: the server says so and stays. */
START_TEST(capture_fails_at_the_server)
{
	run("web=rpcap://h/eth0");
	send_packets(1, 2);
	say_error(RPCAP_ERR_READEX, "the interface disappeared");
	expect(RPCAP_ENDCAP);
	answer(RPCAP_ENDCAP);
	hang_up(&server.data);
	say_stats(2, 2, 0);
	expect_end(true);
	expect_number("SELECT count(*) FROM stream WHERE ended AND cut = 0 AND packets = 2", 1);
}
END_TEST

/* The same, where the end of the data connection is seen first: the loss is known all the same. */
START_TEST(failure_is_told_late)
{
	run("web=rpcap://h/eth0");
	send_packets(1, 2);
	hang_up(&server.data);
	expect(RPCAP_STATS);
	say_error(RPCAP_ERR_READEX, "the interface disappeared");
	answer(RPCAP_STATS);
	expect_end(true);
	expect_number("SELECT count(*) FROM stream WHERE ended AND cut = 0 AND packets = 2", 1);
}
END_TEST

static void *
end_in_order(void *arg)
{
	(void)arg;
	expect(RPCAP_ENDCAP);
	send_packets(3, 4);
	answer(RPCAP_ENDCAP);
	hang_up(&server.data);
	say_stats(4, 4, 0);
	return NULL;
}

START_TEST(collector_stops)
{
	pthread_t thread;

	run("web=rpcap://h/eth0");
	send_packets(1, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, end_in_order, NULL), 0);
	session_lab_stop();
	pthread_join(thread, NULL);
	ck_assert_int_eq(session_lab_number("SELECT total(packets) FROM stream WHERE ended AND cut = 0"), 4);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM loss"), 0);
	ck_assert_int_eq(session_lab_number("SELECT total(connected) FROM vm"), 0);
}
END_TEST

/* --- back-pressure --- */

#define LARGE_LEN	60000u

static void
put_large_packet(uint32_t number)
{
	static uint8_t bytes[RPCAP_PACKET_SIZE + LARGE_LEN];
	const struct rpcap_packet packet = { .seconds = 1000, .captured_len = LARGE_LEN, .original_len = LARGE_LEN, .number = number };

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random();
	rpcap_write_packet(bytes, 0, &packet);
	ck_assert_int_eq(buf_put(&server.out, bytes, sizeof(bytes)), 0);
}

static bool
worker_is_paused(void)
{
	struct note *note;
	bool paused = false;

	workers_tell(&session_lab.workers, &(struct note){ .kind = NOTE_STATUS });
	for (unsigned i = 0; i < session_lab.workers.count; i++) {
		note = session_lab_note(NOTE_STATUS_REPLY);
		paused |= json_is_true(json_object_get(note->json, "paused"));
		note_free(note);
	}
	return paused;
}

/* As long as another writer has the catalog, what is not durable is bounded: the server cannot send all, and nothing is lost. */
START_TEST(reading_stops_while_too_much_is_not_durable)
{
	const uint32_t count = 3 * DIRTY_MAX / LARGE_LEN;
	char error[512];
	struct sqlite3 *db = catalog_open(session_lab.path, error, sizeof(error));
	bool paused = false;
	ssize_t n;

	run("web=rpcap://h/eth0");
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (uint32_t number = 1; number <= count; number++) {
		put_large_packet(number);
		while (server.out.len > 0) {
			n = send(server.data, server.out.data, server.out.len, MSG_NOSIGNAL | (paused ? 0 : MSG_DONTWAIT));
			if (n > 0)
				buf_consume(&server.out, (size_t)n);
			else if (!paused && (paused = worker_is_paused()))
				ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
		}
	}
	ck_assert(paused);
	expect_number("SELECT total(packets) FROM stream", count);
	sqlite3_close(db);
}
END_TEST

/* --- servers that fail or lie --- */

START_TEST(errors_end_it)
{
	server_open("rpcap://h/eth0");
	go_to((size_t)_i);
	say_error(RPCAP_ERR_OPEN, "no");
	if (steps[_i] == RPCAP_STATS) {	/* without statistics it goes on */
		expect(RPCAP_UPDATEFILTER);
		return;
	}
	if (steps[_i] == RPCAP_UPDATEFILTER) {	/* of no policy */
		expect(RPCAP_UPDATEFILTER);
		say_error(RPCAP_ERR_UPDATEFILTER, "no");
	}
	expect_end(false);
}
END_TEST

START_TEST(closes_end_it)
{
	server_open("rpcap://h/eth0");
	go_to((size_t)_i);
	server_close();
	expect_end(false);
	expect_number("SELECT count(*) FROM vm WHERE connected", 0);
}
END_TEST

/* Each answer, of each shorter length that its fields do not fit in; and cut off in the middle. */
START_TEST(short_answers_end_it)
{
	static const size_t shortest[STEPS] = { 1, 7, 7, 15, 0 };	/* AUTH's may be empty */

	for (size_t len = steps[_i] == RPCAP_AUTH ? 1 : 0; shortest[_i] > 0 && len <= shortest[_i]; len++) {
		server_open("rpcap://h/eth0");
		go_to((size_t)_i);
		put_answer(steps[_i]);
		server.out.data[7] = (uint8_t)len;
		server.out.len = RPCAP_HEADER_SIZE + len;
		write_out(server.control);
		expect_end(false);
		server_close();
	}
	for (size_t len = 1; len < RPCAP_HEADER_SIZE; len++) {
		server_open("rpcap://h/eth0");
		go_to((size_t)_i);
		put_answer(steps[_i]);
		server.out.len = len;
		write_out(server.control);
		server_close();
		expect_end(false);
	}
}
END_TEST

static const struct {
	uint8_t	bytes[RPCAP_HEADER_SIZE];
} strange[] = {
	{ { 1, RPCAP_AUTH | RPCAP_REPLY, 0, 0, 0, 0, 0, 0 } },		/* another version */
	{ { 0, RPCAP_OPEN | RPCAP_REPLY, 0, 0, 0, 0, 0, 0 } },		/* another answer */
	{ { 0, RPCAP_AUTH, 0, 0, 0, 0, 0, 0 } },			/* a request */
	{ { 0, 0x7f, 0, 0, 0, 0, 0, 0 } },
	{ { 0, RPCAP_PACKET, 0, 0, 0, 0, 0, 20 } },
	{ { 0, RPCAP_AUTH | RPCAP_REPLY, 0, 0, 0xff, 0xff, 0xff, 0xff } },	/* endless */
	{ { 0, RPCAP_ERROR, 0, 3, 0x00, 0x02, 0, 0 } },
};

START_TEST(strange_answers_end_it)
{
	server_open("rpcap://h/eth0");
	expect(RPCAP_AUTH);
	ck_assert_int_eq(buf_put(&server.out, strange[_i].bytes, RPCAP_HEADER_SIZE), 0);
	write_out(server.control);
	expect_end(false);
}
END_TEST

static const struct {
	uint32_t	length, captured_len;
	uint8_t		version, type;
} lies[] = {
	{ 20 + PACKET_LEN, PACKET_LEN + 1, 0, RPCAP_PACKET },
	{ 20 + PACKET_LEN, UINT32_MAX, 0, RPCAP_PACKET },
	{ 19, 0, 0, RPCAP_PACKET },
	{ 0, 0, 0, RPCAP_PACKET },
	{ 20 + RPCAP_CAPTURED_MAX + 1, PACKET_LEN, 0, RPCAP_PACKET },
	{ UINT32_MAX, PACKET_LEN, 0, RPCAP_PACKET },
	{ 20 + PACKET_LEN, PACKET_LEN, 1, RPCAP_PACKET },
	{ 20 + PACKET_LEN, PACKET_LEN, 0, RPCAP_ERROR },
};

START_TEST(lying_packets_end_it)
{
	uint8_t *p;

	run("web=rpcap://h/eth0");
	send_packets(1, 1);
	put_packet(2, 1, 1);
	p = server.out.data;
	p[0] = lies[_i].version;
	p[1] = lies[_i].type;
	for (int i = 0; i < 4; i++) {
		p[4 + i] = (uint8_t)(lies[_i].length >> (24 - 8 * i));
		p[16 + i] = (uint8_t)(lies[_i].captured_len >> (24 - 8 * i));
	}
	write_out(server.data);
	expect_end(true);
	expect_number("SELECT total(packets) FROM stream WHERE ended AND cut = 1", 1);	/* what was before it stays */
}
END_TEST

/* Odd, and harmless. */
START_TEST(odd_packets_are_taken)
{
	run("web=rpcap://h/eth0");
	put_packet(1, 2000000000, 0);
	put_packet(2, 1000000000, 0);		/* back in time */
	put_packet(3, UINT32_MAX, UINT32_MAX);
	put_packet(4, 0, 0);
	memset(server.out.data + 20, 0, 4);	/* shorter than what was captured of it */
	for (uint32_t number = 5; number < 2000; number++)
		put_packet(number, 1000000000, number);
	write_out(server.data);
	expect_number("SELECT total(packets) FROM stream", 1999);
}
END_TEST

START_TEST(unasked_answers_end_it)
{
	run("web=rpcap://h/eth0");
	send_packets(1, 1);
	answer(RPCAP_STATS);
	expect_end(true);
}
END_TEST

START_TEST(port_is_missing)
{
	server_open("rpcap://h/eth0");
	go_to(2);
	server.port = 0;
	answer(RPCAP_STARTCAP);
	expect_end(false);
}
END_TEST

START_TEST(data_is_refused)
{
	server_open("rpcap://h/eth0");
	go_to(2);
	hang_up(&server.listener);
	answer(RPCAP_STARTCAP);
	expect_end(false);
}
END_TEST

START_TEST(revoked_vms_are_not_pulled)
{
	struct note note = { .kind = NOTE_REVOKE };

	run("web=rpcap://h/eth0");
	send_packets(1, 1);
	expect_number("SELECT total(packets) FROM stream", 1);
	strcpy(note.uuid, "7899f982-47ba-8fb2-8733-acf797d1e29a");
	workers_tell(&session_lab.workers, &note);
	expect_end(true);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rpcap_pull");
	TCase *tc = tcase_create("rpcap_pull");
	SRunner *runner = srunner_create(suite);
	int failed;

	log_init("check_rpcap_pull", LOG_LEVEL_ERROR);
	tcase_add_unchecked_fixture(tc, lab_open, lab_close);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, packets_are_stored);
	tcase_add_loop_test(tc, auth_replies, 0, 4);
	tcase_add_test(tc, newer_servers_are_refused);
	tcase_add_test(tc, passwords_are_sent);
	tcase_add_test(tc, nobody_is_sent);
	tcase_add_test(tc, own_packets_are_left_out);
	tcase_add_test(tc, policy_is_pushed);
	tcase_add_test(tc, policy_is_refused_by_us);
	tcase_add_test(tc, names_are_not_looked_up);
	tcase_add_test(tc, policy_is_refused_by_the_server);
	tcase_add_test(tc, snaplen_begins_anew);
	tcase_add_test(tc, loops_are_ended);
	tcase_add_test(tc, others_are_no_loop);
	tcase_add_test(tc, lost_on_the_way);
	tcase_add_test(tc, lost_in_the_ring);
	tcase_add_test(tc, numbers_passed_over);
	tcase_add_test(tc, broken_connection);
	tcase_add_test(tc, capture_fails_at_the_server);
	tcase_add_test(tc, failure_is_told_late);
	tcase_add_test(tc, collector_stops);
	tcase_add_test(tc, reading_stops_while_too_much_is_not_durable);
	tcase_add_loop_test(tc, errors_end_it, 0, STEPS);
	tcase_add_loop_test(tc, closes_end_it, 0, STEPS);
	tcase_add_loop_test(tc, short_answers_end_it, 0, STEPS);
	tcase_add_loop_test(tc, strange_answers_end_it, 0, (int)(sizeof(strange) / sizeof(strange[0])));
	tcase_add_loop_test(tc, lying_packets_end_it, 0, (int)(sizeof(lies) / sizeof(lies[0])));
	tcase_add_test(tc, odd_packets_are_taken);
	tcase_add_test(tc, unasked_answers_end_it);
	tcase_add_test(tc, port_is_missing);
	tcase_add_test(tc, data_is_refused);
	tcase_add_test(tc, revoked_vms_are_not_pulled);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
