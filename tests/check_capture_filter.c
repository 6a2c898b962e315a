/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <pcap/pcap.h>

#include "proto/bpf.h"
#include "proto/pcapng.h"
#include "agent/agent.h"
#include "agent/capture_filter.h"

#define OWN_PORT	8827

static struct agent_options options;
static struct ipc_tap *tap;
static struct capture_wish wish;
static struct capture_programs programs;
static struct pcap *pcap;
static char error[MSG_TEXT_SIZE];

static void
setup(void)
{
	memset(&options, 0, sizeof(options));
	ck_assert_ptr_nonnull(tap = calloc(1, sizeof(*tap)));
	ck_assert_ptr_nonnull(pcap = pcap_open_dead(DLT_EN10MB, (int)PCAPNG_SNAPLEN));
	memset(&programs, 0, sizeof(programs));
	error[0] = '\0';
}

static void
teardown(void)
{
	capture_programs_clear(&programs);
	pcap_close(pcap);
	free(tap);
}

static void
build(bool loopback, bool paused)
{
	capture_programs_clear(&programs);
	ck_assert_msg(capture_wish_init(&wish, &options, tap, NULL, error) == 0, "%s", error);
	ck_assert_msg(capture_filter_build(pcap, "eth0", &wish, loopback, paused, &programs, error) == 0, "%s", error);
}

static uint32_t
run(const uint8_t *data, size_t len, uint8_t type, uint32_t mark)
{
	struct bpf_packet packet = { .data = data, .captured_len = len, .len = len, .protocol = 0x800, .pkttype = type, .ifindex = 1,
		.mark = mark };

	return bpf_interpret(programs.of[PROGRAM_TAP].insn, programs.of[PROGRAM_TAP].len, &packet);
}

/* An Ethernet frame with IPv4, options of that many words, and TCP from 10.0.0.1:source to 10.0.0.2:destination. */
static size_t
tcp4(uint8_t *p, unsigned option_words, uint16_t source, uint16_t destination)
{
	uint8_t *tcp = p + 34 + 4 * option_words;

	memset(p, 0, 120);
	p[12] = 0x08;
	p[14] = (uint8_t)(0x45 + option_words);
	p[23] = IPPROTO_TCP;
	memcpy(p + 26, "\x0a\0\0\1\x0a\0\0\2", 8);
	memcpy(tcp, (uint16_t[]){ htons(source), htons(destination) }, 4);
	return 54 + 4 * option_words;
}

static size_t
tcp6(uint8_t *p, uint16_t source, uint16_t destination)
{
	memset(p, 0, 120);
	p[12] = 0x86;
	p[13] = 0xdd;
	p[14] = 0x60;
	p[20] = IPPROTO_TCP;
	p[37] = 1;	/* ::1 to ::2 */
	p[53] = 2;
	memcpy(p + 54, (uint16_t[]){ htons(source), htons(destination) }, 4);
	return 74;
}

START_TEST(own_port_is_left_out)
{
	uint8_t p[120];
	size_t len;

	build(false, false);
	len = tcp4(p, 0, 40000, OWN_PORT);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp4(p, 0, OWN_PORT, 40000);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
	len = tcp4(p, 10, 40000, OWN_PORT);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp6(p, OWN_PORT, 40000);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp4(p, 0, 40000, 443);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), PCAPNG_SNAPLEN);
	len = tcp6(p, 443, 40000);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), PCAPNG_SNAPLEN);
}
END_TEST

/* The kernel drops what a filter reads beyond: whatever a frame's header promises, its end must not be asked for. */
START_TEST(no_frame_is_too_short)
{
	uint8_t p[120];

	build(false, false);
	for (unsigned words = 0; words <= 10; words++) {
		tcp4(p, words, 40000, 443);
		for (size_t len = 14; len <= sizeof(p); len++)
			ck_assert_msg(run(p, len, PACKET_HOST, 0) == PCAPNG_SNAPLEN, "%zu bytes, %u words of options", len, words);
	}
	tcp6(p, 40000, 443);
	for (size_t len = 14; len <= sizeof(p); len++)
		ck_assert_msg(run(p, len, PACKET_HOST, 0) == PCAPNG_SNAPLEN, "%zu bytes of IPv6", len);
}
END_TEST

START_TEST(own_endpoints_both_ways)
{
	uint8_t p[120];
	size_t len;

	tap->own[0] = (struct ipc_endpoint){ .family = AF_INET, .address = { 10, 0, 0, 2 }, .port = 443 };
	tap->own[1] = (struct ipc_endpoint){ .family = AF_INET6, .address = { [15] = 2 }, .port = 444 };
	tap->own_count = 2;
	build(false, false);
	len = tcp4(p, 0, 40000, 443);	/* to 10.0.0.2:443 */
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
	len = tcp4(p, 0, 443, 40000);	/* from 10.0.0.1:443, somebody else's */
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), PCAPNG_SNAPLEN);
	p[29] = 2;			/* from 10.0.0.2:443 */
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp6(p, 40000, 444);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
	len = tcp6(p, 444, 40000);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), PCAPNG_SNAPLEN);
	len = tcp4(p, 0, 40000, 444);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), PCAPNG_SNAPLEN);
}
END_TEST

START_TEST(own_datagrams)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 40000, 443);

	tap->own[0] = (struct ipc_endpoint){ .family = AF_INET, .udp = true, .address = { 10, 0, 0, 2 }, .port = 443 };
	tap->own[1] = (struct ipc_endpoint){ .udp = true, .port = OWN_PORT };	/* not the same as TCP's */
	tap->own_count = 2;
	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), PCAPNG_SNAPLEN);
	p[23] = IPPROTO_UDP;
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
	ck_assert_uint_eq(run(p, 42, PACKET_OUTGOING, 0), PCAPNG_SNAPLEN);	/* shorter than any of ours */
	len = tcp4(p, 0, 40000, OWN_PORT);
	p[23] = IPPROTO_UDP;
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp6(p, OWN_PORT, 40000);
	p[20] = IPPROTO_UDP;
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
}
END_TEST

/* As a client's libpcap compiles it, for a link type without a live handle. */
static void
client_wants(const char *text, int linktype)
{
	struct pcap *dead = pcap_open_dead(linktype, 65535);
	struct bpf_program program;

	ck_assert_ptr_nonnull(dead);
	ck_assert_int_eq(pcap_compile(dead, &program, text, 1, PCAP_NETMASK_UNKNOWN), 0);
	tap->program_len = (uint16_t)program.bf_len;
	for (unsigned i = 0; i < program.bf_len; i++)
		tap->program[i] = (struct ipc_insn){ program.bf_insns[i].code, program.bf_insns[i].jt, program.bf_insns[i].jf,
			program.bf_insns[i].k };
	pcap_freecode(&program);
	pcap_close(dead);
}

START_TEST(clients_filter)
{
	char *value[] = { "tcp port 22" }, *origin[] = { "command line" };
	uint8_t p[120];
	size_t len;

	client_wants("tcp port 22 or tcp port 443", DLT_EN10MB);
	build(false, false);
	len = tcp4(p, 0, 40000, 443);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), PCAPNG_SNAPLEN);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, AGENT_MARK), 0);
	len = tcp4(p, 0, 40000, 444);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp4(p, 0, 40000, 22);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), PCAPNG_SNAPLEN);
	options.never = (struct conf_list){ value, origin, 1 };
	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp4(p, 0, 443, OWN_PORT);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	options.filter = "ip6";
	build(false, false);
	len = tcp4(p, 0, 40000, 443);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp6(p, 40000, 443);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), PCAPNG_SNAPLEN);
}
END_TEST

/* Whatever it accepts, and leaves in registers and memory: what is behind it holds. */
START_TEST(clients_filter_that_wants_all)
{
	static const struct ipc_insn all[] = { { 0x00, 0, 0, 0xffffffff }, { 0x02, 0, 0, 0 }, { 0x07, 0, 0, 0 },
		{ 0x06, 0, 0, 0xffffffff } };
	char *value[] = { "tcp port 22" }, *origin[] = { "command line" };
	uint8_t p[120];
	size_t len;

	memcpy(tap->program, all, sizeof(all));
	tap->program_len = sizeof(all) / sizeof(all[0]);
	tap->direction = DIRECTION_OUT;
	tap->snaplen = 90;
	options.never = (struct conf_list){ value, origin, 1 };
	build(false, false);
	len = tcp4(p, 0, 40000, 443);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 90);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, AGENT_MARK), 0);
	len = tcp4(p, 0, 40000, 22);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
	len = tcp4(p, 0, 40000, OWN_PORT);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
}
END_TEST

static const struct {
	struct ipc_insn insn[3];
	uint16_t	len;
	const char	*why;
} bad_programs[] = {
	{ { { 0x28, 0, 0, 12 } }, 1, "does not return" },
	{ { { 0x06, 0, 0, 1 }, { 0x15, 0, 200, 1 }, { 0x06, 0, 0, 1 } }, 3, "jumps behind the end" },
	{ { { 0x05, 0, 0, 0xfffffffe }, { 0x06, 0, 0, 1 } }, 2, "jumps behind the end" },	/* backwards */
	{ { { 0xff, 0, 0, 0 }, { 0x06, 0, 0, 1 } }, 2, "instruction 0" },
	{ { { 0x16, 0, 0, 0 } }, 1, "not a constant" },
	{ { { 0x34, 0, 0, 0 }, { 0x06, 0, 0, 1 } }, 2, "divides by 0" },
	{ { { 0x60, 0, 0, 3 }, { 0x06, 0, 0, 1 } }, 2, "scratch memory" },
	{ { { 0x02, 0, 0, 16 }, { 0x06, 0, 0, 1 } }, 2, "scratch memory" },
};

START_TEST(clients_filter_is_refused)
{
	memcpy(tap->program, bad_programs[_i].insn, sizeof(bad_programs[_i].insn));
	tap->program_len = bad_programs[_i].len;
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	ck_assert_int_eq(capture_filter_build(pcap, "eth0", &wish, false, false, &programs, error), -1);
	ck_assert_msg(strncmp(error, "eth0: the client's filter: ", 27) == 0, "%s", error);
	ck_assert_msg(strstr(error, bad_programs[_i].why) != NULL, "%s", error);
}
END_TEST

START_TEST(clients_filter_is_too_long)
{
	for (unsigned i = 0; i < IPC_PROGRAM_MAX; i++)
		tap->program[i] = (struct ipc_insn){ .code = 0x06, .k = 1 };
	tap->program_len = IPC_PROGRAM_MAX;
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	ck_assert_int_eq(capture_filter_build(pcap, "eth0", &wish, false, false, &programs, error), -1);
	ck_assert_msg(strstr(error, "longer than 4096") != NULL, "%s", error);
	tap->program_len = IPC_PROGRAM_MAX - 400;
	build(false, false);
}
END_TEST

START_TEST(excluded_ports)
{
	char *value[] = { "9000", "9001" }, *origin[] = { "command line", "agent.conf:3" };
	uint8_t p[120];
	size_t len;

	options.exclude_ports = (struct conf_list){ value, origin, 2 };
	build(false, false);
	len = tcp4(p, 0, 40000, 9001);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
	value[1] = "99999";
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "agent.conf:3"));
	ck_assert_ptr_nonnull(strstr(error, "99999"));
}
END_TEST

START_TEST(own_mark_outbound_only)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 1, 2);

	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, AGENT_MARK), 0);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 1), PCAPNG_SNAPLEN);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, AGENT_MARK), PCAPNG_SNAPLEN);
}
END_TEST

START_TEST(both_filters_and_the_smaller_snaplen)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 80, 443);

	options.filter = "tcp port 80";
	options.snaplen = 200;
	snprintf(tap->filter, sizeof(tap->filter), "tcp port 443");
	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 200);
	tap->snaplen = 96;
	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 96);
	tap->snaplen = 1000;
	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 200);
	len = tcp4(p, 0, 80, 444);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	len = tcp4(p, 0, 81, 443);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
}
END_TEST

/* "or" at the end of one filter must not open the other. */
START_TEST(filters_are_not_joined_as_text)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 1, 2);

	options.filter = "udp or udp";
	snprintf(tap->filter, sizeof(tap->filter), "icmp or tcp");
	build(false, false);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
}
END_TEST

START_TEST(directions)
{
	static const struct {
		enum msg_direction guest, remote;
		bool	refused, in, out;
	} rows[] = {
		{ DIRECTION_INOUT, DIRECTION_INOUT, false, true, true },
		{ DIRECTION_INOUT, DIRECTION_IN, false, true, false },
		{ DIRECTION_IN, DIRECTION_INOUT, false, true, false },
		{ DIRECTION_OUT, DIRECTION_OUT, false, false, true },
		{ DIRECTION_OUT, DIRECTION_IN, true, false, false },
		{ DIRECTION_IN, DIRECTION_OUT, true, false, false },
	};
	uint8_t p[120];
	size_t len = tcp4(p, 0, 1, 2);

	options.direction = (int)rows[_i].guest;
	tap->direction = (uint8_t)rows[_i].remote;
	if (rows[_i].refused) {
		ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), -1);
		ck_assert_ptr_nonnull(strstr(error, "direction"));
		return;
	}
	build(false, false);
	ck_assert_int_eq(run(p, len, PACKET_HOST, 0) > 0, rows[_i].in);
	ck_assert_int_eq(run(p, len, PACKET_OTHERHOST, 0) > 0, rows[_i].in);
	ck_assert_int_eq(run(p, len, PACKET_OUTGOING, 0) > 0, rows[_i].out);
}
END_TEST

START_TEST(loopback_takes_the_inbound_copy)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 1, 2);

	build(true, false);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), PCAPNG_SNAPLEN);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
}
END_TEST

static uint32_t
run_use(enum capture_program_use use, const uint8_t *data, size_t len, uint8_t type, uint32_t mark)
{
	struct bpf_packet packet = { .data = data, .captured_len = len, .len = len, .protocol = 0x800, .pkttype = type, .ifindex = 1,
		.mark = mark };

	return bpf_interpret(programs.of[use].insn, programs.of[use].len, &packet);
}

/* Offered is own, or taken and then passed, or refused; what the filter reads beyond a packet's end refuses it. */
START_TEST(each_packet_is_counted_in_one_place)
{
	static const struct {
		const char *filter;
		enum msg_direction direction;
		bool loopback, paused;
	} rows[] = {
		{ "", DIRECTION_INOUT, false, false }, { "tcp port 443", DIRECTION_INOUT, false, false },
		{ "tcp port 443", DIRECTION_INOUT, false, true }, { "", DIRECTION_IN, false, false },
		{ "", DIRECTION_OUT, false, false }, { "", DIRECTION_INOUT, true, false }, { "", DIRECTION_IN, true, false },
		{ "not ether[100] = 5", DIRECTION_INOUT, false, false },
	};
	static const uint16_t ports[] = { 443, 80, OWN_PORT };
	bool offered, own, taken, passed;
	uint8_t p[120];
	size_t len;

	snprintf(tap->filter, sizeof(tap->filter), "%s", rows[_i].filter);
	tap->direction = rows[_i].direction;
	build(rows[_i].loopback, rows[_i].paused);
	ck_assert_int_eq(programs.state.in_use[PROGRAM_TAKEN], rows[_i].paused || *rows[_i].filter != '\0' ||
	    (rows[_i].direction != DIRECTION_INOUT && !rows[_i].loopback));
	for (unsigned i = 0; i < 12; i++) {
		uint8_t type = i & 1 ? PACKET_OUTGOING : PACKET_HOST;
		uint32_t mark = i & 2 ? AGENT_MARK : 0;

		len = tcp4(p, 0, 40000, ports[i / 4]);
		offered = run_use(PROGRAM_OFFERED, p, len, type, mark) != 0;
		own = run_use(PROGRAM_OWN, p, len, type, mark) != 0;
		taken = run_use(PROGRAM_TAKEN, p, len, type, mark) != 0;
		passed = run_use(PROGRAM_TAP, p, len, type, mark) != 0;
		ck_assert_int_eq(offered, !rows[_i].loopback || type == PACKET_HOST);
		ck_assert_int_eq(own, offered && (ports[i / 4] == OWN_PORT || (type == PACKET_OUTGOING && mark != 0)));
		ck_assert_int_eq(taken, own || passed);
		ck_assert(!(own && passed) && (!taken || offered));
		if (!programs.state.in_use[PROGRAM_TAKEN])
			ck_assert_int_eq(taken, offered);
	}
}
END_TEST

START_TEST(paused_passes_nothing)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 1, 2);

	build(false, true);
	ck_assert_uint_eq(run(p, len, PACKET_HOST, 0), 0);
	ck_assert_uint_eq(run(p, len, PACKET_OUTGOING, 0), 0);
}
END_TEST

START_TEST(refused_in_pcaps_words)
{
	static const struct {
		const char *guest, *remote;
		uint8_t	    tap;
		const char *part, *why;
	} rows[] = {
		{ "tcp prot 80", "", 0, "the guest's filter \"tcp prot 80\"", "syntax error" },
		{ "", "tcp prot 80", 0, "the collector's filter \"tcp prot 80\"", "syntax error" },
		{ "", "tcp prot 80", 1, "the operator's filter \"tcp prot 80\"", "syntax error" },
		{ "udp", "port 99999", 0, "the collector's filter", "99999" },
		{ "", "ip6 protochain 6", 0, "the collector's filter \"ip6 protochain 6\"", "loop" },
	};

	options.filter = (char *)(uintptr_t)rows[_i].guest;
	snprintf(tap->filter, sizeof(tap->filter), "%s", rows[_i].remote);
	tap->tap = rows[_i].tap;
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	ck_assert_int_eq(capture_filter_build(pcap, "eth0", &wish, false, false, &programs, error), -1);
	ck_assert_ptr_null(programs.of[PROGRAM_TAP].insn);
	ck_assert_msg(strncmp(error, "eth0: ", 6) == 0, "%s", error);
	ck_assert_msg(strstr(error, rows[_i].part) != NULL, "%s", error);
	ck_assert_msg(strstr(error, rows[_i].why) != NULL, "%s", error);
	/* A pause does not hide it. */
	ck_assert_int_eq(capture_filter_build(pcap, "eth0", &wish, false, true, &programs, error), -1);
}
END_TEST

/* Each filter would do, both together do not. */
START_TEST(too_long_for_the_kernel)
{
	size_t len = 0;

	for (unsigned i = 0; i < 200; i++)
		len += (size_t)snprintf(tap->filter + len, sizeof(tap->filter) - len, "%sip6 host fe80::%x", i > 0 ? " or " : "", i);
	build(false, false);
	capture_programs_clear(&programs);
	options.filter = tap->filter;
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	ck_assert_int_eq(capture_filter_build(pcap, "eth0", &wish, false, false, &programs, error), -1);
	ck_assert_msg(strstr(error, "4096") != NULL, "%s", error);
}
END_TEST

/* Time to compile is what a stranger's filter may not take. */
START_TEST(too_many_conditions)
{
	size_t len;

	for (unsigned count = CAPTURE_CONDITIONS_MAX; count <= CAPTURE_CONDITIONS_MAX + 1; count++) {
		len = (size_t)snprintf(tap->filter, sizeof(tap->filter), "ip proto 0");
		for (unsigned i = 1; i < count; i++)
			len += (size_t)snprintf(tap->filter + len, sizeof(tap->filter) - len, "||%u", i & 255);
		ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
		ck_assert_int_eq(capture_filter_build(pcap, "eth0", &wish, false, false, &programs, error),
		    count <= CAPTURE_CONDITIONS_MAX ? 0 : -1);
		capture_programs_clear(&programs);
	}
	ck_assert_msg(strstr(error, "257 conditions") != NULL, "%s", error);
}
END_TEST

START_TEST(conditions)
{
	static const struct {
		const char *text;
		size_t	    count;
	} rows[] = {
		{ "", 1 }, { "tcp", 1 }, { "port 80 or port 443", 2 }, { "port 1||2||3", 3 }, { "(port 1)or(port 2)and(port 3)", 3 },
		{ "portrange 1-5 and not host 10.0.0.1", 4 }, { "tcp[0]=1&&tcp[1]=2", 2 }, { "or", 2 },
	};

	ck_assert_uint_eq(capture_filter_conditions(rows[_i].text), rows[_i].count);
}
END_TEST

START_TEST(text_for_people)
{
	char text[64], small[24];

	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	capture_wish_text(&wish, text, sizeof(text));
	ck_assert_str_eq(text, "");
	options.filter = "not port 22";
	snprintf(tap->filter, sizeof(tap->filter), "tcp");
	tap->direction = DIRECTION_OUT;
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	capture_wish_text(&wish, text, sizeof(text));
	ck_assert_str_eq(text, "(not port 22) and (tcp) and outbound");
	capture_wish_text(&wish, small, sizeof(small));
	ck_assert_str_eq(small, "(not port 22) and (t...");
	options.filter = " \n";
	tap->filter[0] = '\0';
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	capture_wish_text(&wish, text, sizeof(text));
	ck_assert_str_eq(text, "outbound");
}
END_TEST

/* The kernel sees a cooked interface's packets without the header that libpcap makes up. */
START_TEST(cooked_interfaces)
{
	uint8_t p[120];
	size_t len = tcp4(p, 0, 40000, 443);

	pcap_close(pcap);
	ck_assert_ptr_nonnull(pcap = pcap_open_dead(DLT_LINUX_SLL, (int)PCAPNG_SNAPLEN));
	options.filter = "tcp port 443";
	build(false, false);
	ck_assert_uint_eq(run(p + 14, len - 14, PACKET_HOST, 0), PCAPNG_SNAPLEN);
	len = tcp4(p, 0, 443, OWN_PORT);
	ck_assert_uint_eq(run(p + 14, len - 14, PACKET_HOST, 0), 0);
	len = tcp4(p, 0, 40000, 444);
	ck_assert_uint_eq(run(p + 14, len - 14, PACKET_HOST, 0), 0);
	options.filter = NULL;
	client_wants("inbound and tcp port 444", DLT_LINUX_SLL);
	build(false, false);
	ck_assert_uint_eq(run(p + 14, len - 14, PACKET_HOST, 0), PCAPNG_SNAPLEN);
	ck_assert_uint_eq(run(p + 14, len - 14, PACKET_OUTGOING, 0), 0);
	client_wants("link[6:2] = 1", DLT_LINUX_SLL);	/* an address that the kernel has not there */
	capture_programs_clear(&programs);
	ck_assert_int_eq(capture_wish_init(&wish, &options, tap, NULL, error), 0);
	ck_assert_int_eq(capture_filter_build(pcap, "tun0", &wish, false, false, &programs, error), -1);
	ck_assert_msg(strstr(error, "the client's filter: asks for link-layer fields") != NULL, "%s", error);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_filter");
	TCase *t = tcase_create("filter");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, own_port_is_left_out);
	tcase_add_test(t, no_frame_is_too_short);
	tcase_add_test(t, own_endpoints_both_ways);
	tcase_add_test(t, own_datagrams);
	tcase_add_test(t, clients_filter);
	tcase_add_test(t, clients_filter_that_wants_all);
	tcase_add_loop_test(t, clients_filter_is_refused, 0, sizeof(bad_programs) / sizeof(bad_programs[0]));
	tcase_add_test(t, clients_filter_is_too_long);
	tcase_add_test(t, excluded_ports);
	tcase_add_test(t, own_mark_outbound_only);
	tcase_add_test(t, both_filters_and_the_smaller_snaplen);
	tcase_add_test(t, filters_are_not_joined_as_text);
	tcase_add_loop_test(t, directions, 0, 6);
	tcase_add_test(t, loopback_takes_the_inbound_copy);
	tcase_add_loop_test(t, each_packet_is_counted_in_one_place, 0, 8);
	tcase_add_test(t, paused_passes_nothing);
	tcase_add_loop_test(t, refused_in_pcaps_words, 0, 5);
	tcase_add_test(t, too_long_for_the_kernel);
	tcase_add_test(t, too_many_conditions);
	tcase_add_loop_test(t, conditions, 0, 8);
	tcase_add_test(t, text_for_people);
	tcase_add_test(t, cooked_interfaces);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return s;
}

int
main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
