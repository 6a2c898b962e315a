/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>
#include <pcap/bpf.h>

#include "agent/spool.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/pcapng.h"
#include "tests/rpcap_lab.h"
#include "tests/tls_lab.h"

/* An RPCAP client's capture, from its start to its end: the test has the capture role's spools, and the clients. */

#define WAIT_S		20
#define PACKET_LEN	1000
#define BLOCK_PACKETS	100
#define SPOOL_SIZE	(4u * 1024 * 1024)

static struct rpcap_lab lab;
static uint8_t packet_bytes[PCAPNG_SNAPLEN];

/* --- clients --- */

struct client {
	struct lab_end	 control, data;
	int		 datagrams;	/* -1: none */
	struct tls_context *tls;
	uint8_t		 reply[2048];
	struct rpcap_header header;
	uint32_t	 next;		/* number of the packet that comes next */
	uint32_t	 lost;		/* between numbers */
};
static struct client one, two;

static void
turn(void)
{
	rpcap_lab_turn(&lab);
	(void)poll(NULL, 0, 1);
}

#define wait_for(what) do {								\
	uint64_t end_ns_ = clock_mono_ns() + WAIT_S * UINT64_C(1000000000);		\
	while (!(what)) {								\
		ck_assert_msg(clock_mono_ns() < end_ns_, "waited in vain: %s", #what);	\
		turn();									\
	}										\
} while (0)

static void
leave(struct lab_end *end)
{
	(void)end;
}

static int
connect_from(const char *address, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(inet_pton(AF_INET, address, &sin.sin_addr), 1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin.sin_port = htons(port);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void
end_open(struct lab_end *end, struct tls_context *tls, int fd)
{
	struct tlsio_options options = lab_options(TLSIO_CLIENT);

	options.input_max = 64u << 20;
	end->on_readable = leave;
	end->t = tlsio_new(lab.link->base, tls, fd, &options, &lab_callbacks, end);
	ck_assert_ptr_nonnull(end->t);
}

static size_t
waiting(const struct lab_end *end)
{
	return tlsio_input(end->t)->len;
}

static void
ask(struct client *c, struct buf *msg)
{
	ck_assert_int_eq(tlsio_write(c->control.t, msg->data, msg->len), 0);
	buf_clear(msg);
}

static void
ask_empty(struct client *c, uint8_t type)
{
	struct buf msg;

	buf_init(&msg, 64);
	ck_assert_int_eq(rpcap_put_empty(&msg, 0, type), 0);
	ask(c, &msg);
}

static bool
take_reply(struct client *c)
{
	struct buf *input = tlsio_input(c->control.t);

	if (input->len < RPCAP_HEADER_SIZE)
		return false;
	rpcap_get_header(input->data, &c->header);
	if (input->len < RPCAP_HEADER_SIZE + c->header.length)
		return false;
	ck_assert_uint_lt(c->header.length, sizeof(c->reply));
	memcpy(c->reply, input->data + RPCAP_HEADER_SIZE, c->header.length);
	c->reply[c->header.length] = '\0';
	buf_consume(input, RPCAP_HEADER_SIZE + c->header.length);
	tlsio_input_taken(c->control.t);
	return true;
}

static struct cursor
expect(struct client *c, uint8_t type)
{
	struct cursor payload;

	wait_for(take_reply(c));
	ck_assert_msg(c->header.type == type, "type %u (value %u: %s), not %u", c->header.type, c->header.value,
	    c->header.type == RPCAP_ERROR ? (char *)c->reply : "", type);
	cursor_init(&payload, c->reply, c->header.length);
	return payload;
}

static void
expect_error(struct client *c, enum rpcap_error code, const char *text)
{
	expect(c, RPCAP_ERROR);
	ck_assert_uint_eq(c->header.value, code);
	ck_assert_msg(strstr((char *)c->reply, text) != NULL, "%s", c->reply);
}

static void
client_open(struct client *c, const char *address, struct tls_context *tls)
{
	const struct rpcap_auth auth = { .type = RPCAP_AUTH_NULL };
	struct buf msg;

	memset(c, 0, sizeof(*c));
	c->datagrams = -1;
	c->tls = tls;
	c->next = 1;
	end_open(&c->control, tls, connect_from(address, lab.port));
	wait_for(c->control.opened);
	buf_init(&msg, 4096);
	ck_assert_int_eq(rpcap_put_auth(&msg, &auth), 0);
	ask(c, &msg);
	expect(c, RPCAP_AUTH | RPCAP_REPLY);
	ck_assert_int_eq(rpcap_put_open(&msg, 0, "lo"), 0);
	ask(c, &msg);
	expect(c, RPCAP_OPEN | RPCAP_REPLY);
}

static void
client_close(struct client *c)
{
	if (c->control.t == NULL)
		return;
	tlsio_free(c->data.t);
	tlsio_free(c->control.t);
	if (c->datagrams != -1)
		close(c->datagrams);
	memset(c, 0, sizeof(*c));
}

static void
ask_start_with(struct client *c, const struct rpcap_startcap *start, const struct bpf_insn *insn, uint32_t count)
{
	const struct rpcap_filter filter = { .insn = insn, .count = count };
	struct buf msg;

	buf_init(&msg, 65536);
	ck_assert_int_eq(rpcap_put_startcap(&msg, 0, start, &filter), 0);
	ask(c, &msg);
}

static void
ask_start(struct client *c, uint16_t flags, uint16_t port)
{
	const struct rpcap_startcap start = { .snaplen = 65535, .read_timeout_ms = 100, .flags = flags, .port = port };

	ask_start_with(c, &start, NULL, 0);
}

static uint16_t
expect_started(struct client *c)
{
	struct cursor payload = expect(c, RPCAP_STARTCAP | RPCAP_REPLY);
	struct rpcap_startcap_reply reply;

	ck_assert_int_eq(rpcap_get_startcap_reply(&payload, &reply), 0);
	return reply.port;
}

static void
data_open(struct client *c, const char *address, uint16_t port)
{
	end_open(&c->data, c->tls, connect_from(address, port));
}

static void
start(struct client *c, const char *address)
{
	ask_start(c, 0, 0);
	data_open(c, address, expect_started(c));
	wait_for(c->data.opened);
}

static void
ask_filter(struct client *c, const struct bpf_insn *insn, uint32_t count)
{
	const struct rpcap_filter filter = { .insn = insn, .count = count };
	struct buf msg;

	buf_init(&msg, 65536);
	ck_assert_int_eq(rpcap_put_updatefilter(&msg, 0, &filter), 0);
	ask(c, &msg);
}

static struct rpcap_stats
stats_of(struct client *c)
{
	struct rpcap_stats stats;
	struct cursor payload;

	ask_empty(c, RPCAP_STATS);
	payload = expect(c, RPCAP_STATS | RPCAP_REPLY);
	ck_assert_int_eq(rpcap_get_stats_reply(&payload, &stats), 0);
	return stats;
}

/* --- the capture role's end --- */

static struct spool *
spool_of(unsigned tap)
{
	return lab.role.producer[tap];
}

static struct link_tap *
tap_of(unsigned number)
{
	return &lab.link->tap[IPC_TAP_RPCAP + number];
}

static void
wake(unsigned tap)
{
	if (lab.link->tap[tap].rpcap != NULL)
		rpcap_wake(&lab.link->tap[tap]);
}

static void
begin_stream(unsigned tap, uint8_t name)
{
	const struct pcapng_interface interface = { .linktype = 1, .snaplen = PCAPNG_SNAPLEN, .name = "lo", .tsresol = 9 };
	uint8_t id[MSG_ID_SIZE] = { name };
	struct buf idb;

	buf_init(&idb, MSG_IDB_MAX);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	ck_assert_int_eq(spool_stream_begin(spool_of(tap), id, 1), 0);
	ck_assert_int_eq(spool_interface_add(spool_of(tap), idb.data, idb.len), 0);
	buf_clear(&idb);
}

static size_t
put_packets(uint8_t *dst, uint32_t count, uint32_t len)
{
	struct pcapng_packet packet = { .time_ns = UINT64_C(1700000000000000000), .captured_len = len, .original_len = len,
	    .data = packet_bytes };
	size_t done = 0;

	for (uint32_t i = 0; i < count; i++)
		done += pcapng_write_epb(dst + done, &packet);
	return done;
}

/* The kernel has received them, too. */
static void
publish_of(unsigned tap, uint32_t count, uint32_t len)
{
	struct spool_entry entry = { .packets = count, .bytes = (uint64_t)count * len, .first_ns = 1, .last_ns = 2 };
	uint8_t *data = spool_reserve(spool_of(tap), count * PCAPNG_EPB_MAX(len));

	ck_assert_ptr_nonnull(data);
	entry.raw_len = entry.data_len = (uint32_t)put_packets(data, count, len);
	spool_publish(spool_of(tap), &entry);
	spool_count_add(spool_of(tap), COUNTER_RING_RECEIVED, 0, count);
}

static void
publish_damaged(unsigned tap, uint32_t count)
{
	struct spool_entry entry = { .packets = count, .bytes = count, .first_ns = 1, .last_ns = 2, .raw_len = 64, .data_len = 64 };
	uint8_t *data = spool_reserve(spool_of(tap), 64);

	ck_assert_ptr_nonnull(data);
	memset(data, 0, 64);
	spool_publish(spool_of(tap), &entry);
	spool_count_add(spool_of(tap), COUNTER_RING_RECEIVED, 0, count);
	wake(tap);
}

static void
publish(unsigned tap, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++)
		publish_of(tap, BLOCK_PACKETS, PACKET_LEN);
	wake(tap);
}

static struct msg_stats
counters(uint8_t stream, struct msg_stat *stat, uint64_t received)
{
	*stat = (struct msg_stat){ .counter = COUNTER_RING_RECEIVED, .interface = 0, .value = received };
	return (struct msg_stats){ .stream = { stream }, .count = 1, .stat = stat };
}

static void
answer(uint8_t tap, bool accepted, const char *reason)
{
	struct ipc_tap_result result = { .tap = tap, .version = lab.tap[tap].version, .accepted = accepted };

	strcpy(result.reason, reason);
	ck_assert_int_eq(ipc_send_tap_result(lab.capture, &result), 0);
}

/* --- what comes --- */

static void
check_packet(struct client *c, const uint8_t *message, size_t len)
{
	struct rpcap_header header;
	struct rpcap_packet packet;
	struct cursor payload;

	rpcap_get_header(message, &header);
	ck_assert_uint_eq(header.type, RPCAP_PACKET);
	ck_assert_uint_eq(RPCAP_HEADER_SIZE + header.length, len);
	cursor_init(&payload, message + RPCAP_HEADER_SIZE, header.length);
	ck_assert_int_eq(rpcap_get_packet(&payload, &packet), 0);
	ck_assert_int_eq(memcmp(payload.p, packet_bytes, packet.captured_len), 0);
	ck_assert_uint_ge(packet.number, c->next);
	c->next = packet.number + 1;
}

/* How many packets are there now. */
static uint32_t
take_packets(struct client *c)
{
	struct buf *input = tlsio_input(c->data.t);
	struct rpcap_header header;
	uint32_t count = 0;

	for (; input->len >= RPCAP_HEADER_SIZE; count++) {
		rpcap_get_header(input->data, &header);
		if (input->len < RPCAP_HEADER_SIZE + header.length)
			break;
		check_packet(c, input->data, RPCAP_HEADER_SIZE + header.length);
		buf_consume(input, RPCAP_HEADER_SIZE + header.length);
	}
	tlsio_input_taken(c->data.t);
	return count;
}

static void
expect_packets(struct client *c, uint32_t count)
{
	uint32_t got = 0;

	wait_for((got += take_packets(c)) >= count);
	ck_assert_uint_eq(got, count);
}

/* --- fixtures --- */

static void
setup(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	for (size_t i = 0; i < sizeof(packet_bytes); i++)
		packet_bytes[i] = (uint8_t)(i * 7 + i / 251);
	memset(&lab, 0, sizeof(lab));
	lab.role.link.options.rpcap_null_auth = lab.role.link.options.rpcap_plain = true;
	lab.spool_size = SPOOL_SIZE;
	rpcap_lab_open(&lab);
	one.datagrams = two.datagrams = -1;
}

static void
teardown(void)
{
	client_close(&one);
	client_close(&two);
	rpcap_lab_close(&lab);
}

/* --- tests --- */

START_TEST(packets_arrive)
{
	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	ck_assert_str_eq(lab.tap[IPC_TAP_RPCAP].interface[0].name, "lo");
	ck_assert_str_eq(lab.tap[IPC_TAP_RPCAP].codec, "none");
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 10);
	expect_packets(&one, 10 * BLOCK_PACKETS);
	ck_assert_uint_eq(one.next, 10 * BLOCK_PACKETS + 1);
	ck_assert(spool_empty(tap_of(0)->spool));
}
END_TEST

/* Nothing of the data connection may be seen by any tap. */
START_TEST(reply_waits_for_all_taps)
{
	const struct ipc_endpoint *own;
	uint16_t port, i;

	client_open(&one, "127.0.0.1", NULL);
	lab.capture_mute = true;
	ask_start(&one, 0, 0);
	wait_for(lab.tap[IPC_TAP_RPCAP].active);
	answer(IPC_TAP_RPCAP, true, "");
	wait_for(tap_of(0)->answered);
	for (i = 0; i < 20; i++)
		turn();
	ck_assert_uint_eq(waiting(&one.control), 0);
	rpcap_lab_answer_taps(&lab);
	port = expect_started(&one);
	own = lab.tap[IPC_TAP_RPCAP].own;
	for (i = 0; i < lab.tap[IPC_TAP_RPCAP].own_count && own[i].port != port; i++)
		continue;
	ck_assert_uint_lt(i, lab.tap[IPC_TAP_RPCAP].own_count);
	ck_assert_uint_eq(own[i].family, AF_INET);
}
END_TEST

START_TEST(what_a_client_wishes_is_told)
{
	static const struct bpf_insn ip[] = { BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x800, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, 65535), BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct rpcap_startcap start = { .snaplen = 100, .read_timeout_ms = 1, .flags = RPCAP_FLAG_PROMISC | RPCAP_FLAG_INBOUND };
	const struct ipc_tap *tap = &lab.tap[IPC_TAP_RPCAP];

	client_open(&one, "127.0.0.1", NULL);
	ask_start_with(&one, &start, ip, 4);
	data_open(&one, "127.0.0.1", expect_started(&one));
	ck_assert_uint_eq(tap->snaplen, 100);
	ck_assert_uint_eq(tap->flush_ms, 10);
	ck_assert(tap->promiscuous);
	ck_assert_uint_eq(tap->direction, DIRECTION_IN);
	ck_assert_uint_eq(tap->program_len, 4);
	ck_assert_uint_eq(tap->program[1].k, 0x800);
	ck_assert_uint_eq(tap->program[1].jf, 1);
	wait_for(one.data.opened);
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
}
END_TEST

static const struct {
	uint16_t	flags;
	uint32_t	max;
} large[] = { { 0, RPCAP_CAPTURED_MAX }, { RPCAP_FLAG_DGRAM, RPCAP_DATAGRAM_CAPTURED_MAX } };

static int
datagrams_open(uint16_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 1 << 20;
	socklen_t len = sizeof(sin);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static uint32_t
take_datagrams(struct client *c)
{
	static uint8_t bytes[65536];
	uint32_t count = 0;
	ssize_t n;

	for (; (n = recv(c->datagrams, bytes, sizeof(bytes), 0)) != -1; count++)
		check_packet(c, bytes, (size_t)n);
	return count;
}

/* One packet each. */
START_TEST(packets_arrive_as_datagrams)
{
	uint32_t got = 0;
	uint16_t port;

	client_open(&one, "127.0.0.1", NULL);
	one.datagrams = datagrams_open(&port);
	ask_start(&one, RPCAP_FLAG_DGRAM, port);
	ck_assert_uint_eq(expect_started(&one), 0);
	begin_stream(IPC_TAP_RPCAP, 1);
	publish_of(IPC_TAP_RPCAP, 1, 262144);
	publish(IPC_TAP_RPCAP, 1);
	wait_for((got += take_datagrams(&one)) >= 1 + BLOCK_PACKETS);
	ck_assert_uint_eq(stats_of(&one).svrcapt, 1 + BLOCK_PACKETS);
	ck_assert_uint_eq(stats_of(&one).krnldrop, 0);
}
END_TEST

START_TEST(large_packets_are_cut)
{
	struct rpcap_startcap start = { .snaplen = 0, .flags = large[_i].flags };
	uint16_t port;

	client_open(&one, "127.0.0.1", NULL);
	one.datagrams = datagrams_open(&port);
	start.port = large[_i].flags != 0 ? port : 0;
	ask_start_with(&one, &start, NULL, 0);
	expect_started(&one);
	ck_assert_uint_eq(lab.tap[IPC_TAP_RPCAP].snaplen, large[_i].max);
	ck_assert_uint_eq(lab.tap[IPC_TAP_RPCAP].flush_ms, 1000);
}
END_TEST

static int
listen_any(uint16_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sin);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static bool
is_left_out(uint16_t port, bool udp)
{
	const struct ipc_tap *tap = &lab.tap[IPC_TAP_RPCAP];

	for (uint16_t i = 0; i < tap->own_count; i++)
		if (tap->own[i].port == port && tap->own[i].udp == udp && tap->own[i].family == AF_INET)
			return true;
	return false;
}

/* Our end is left out, not whatever may be at the port that the client named. */
START_TEST(server_opens_the_data_connection)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	uint16_t port;
	int fd, listening = listen_any(&port);

	client_open(&one, "127.0.0.1", NULL);
	ask_start(&one, RPCAP_FLAG_SERVEROPEN, port);
	ck_assert_uint_eq(expect_started(&one), 0);
	fd = accept4(listening, (struct sockaddr *)&sin, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);	/* it is there before the answer */
	ck_assert_int_ne(fd, -1);
	ck_assert(is_left_out(ntohs(sin.sin_port), false));
	ck_assert(!is_left_out(port, false));
	end_open(&one.data, NULL, fd);
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 3);
	expect_packets(&one, 3 * BLOCK_PACKETS);
	close(listening);
}
END_TEST

START_TEST(a_port_where_nobody_waits_is_refused)
{
	uint16_t port;
	int listening = listen_any(&port);

	close(listening);
	client_open(&one, "127.0.0.1", NULL);
	ask_start(&one, RPCAP_FLAG_SERVEROPEN, port);
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "refused");
	wait_for(tap_free(tap_of(0)));
	ask_start(&one, RPCAP_FLAG_SERVEROPEN, 0);
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "no port");
	start(&one, "127.0.0.1");
}
END_TEST

START_TEST(only_the_client_itself_is_let_in)
{
	struct lab_end stranger = { 0 };
	uint16_t port;

	client_open(&one, "127.0.0.2", NULL);
	ask_start(&one, 0, 0);
	port = expect_started(&one);
	end_open(&stranger, NULL, connect_from("127.0.0.1", port));
	wait_for(stranger.closed);
	ck_assert_uint_eq(lab.server->refused, 1);
	data_open(&one, "127.0.0.2", port);
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
	tlsio_free(stranger.t);
}
END_TEST

/* It is not waited for without an end. */
START_TEST(a_client_that_does_not_come_ends_it)
{
	client_open(&one, "127.0.0.1", NULL);
	ask_start(&one, 0, 0);
	expect_started(&one);
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "in time");
	wait_for(tap_free(tap_of(0)));
	start(&one, "127.0.0.1");
}
END_TEST

/* Not before it was told where. */
START_TEST(nobody_is_let_in_early)
{
	struct lab_end early = { 0 };
	uint16_t port;

	close(listen_any(&port));
	lab.link->options.rpcap_data_port = port;
	client_open(&one, "127.0.0.1", NULL);
	lab.capture_mute = true;
	ask_start(&one, 0, 0);
	wait_for(lab.tap[IPC_TAP_RPCAP].active);
	end_open(&early, NULL, connect_from("127.0.0.1", port));
	wait_for(early.closed);
	tlsio_free(early.t);
	lab.capture_mute = false;
	rpcap_lab_answer_taps(&lab);
	data_open(&one, "127.0.0.1", expect_started(&one));
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
}
END_TEST

/* Whoever of them connects first. */
START_TEST(a_data_port_is_shared)
{
	uint16_t port;

	close(listen_any(&port));
	lab.link->options.rpcap_data_port = port;
	client_open(&one, "127.0.0.1", NULL);
	client_open(&two, "127.0.0.2", NULL);
	ask_start(&one, 0, 0);
	ask_start(&two, 0, 0);
	ck_assert_uint_eq(expect_started(&one), port);
	ck_assert_uint_eq(expect_started(&two), port);
	data_open(&two, "127.0.0.2", port);
	wait_for(two.data.opened);
	data_open(&one, "127.0.0.1", port);
	begin_stream(IPC_TAP_RPCAP, 1);
	begin_stream(IPC_TAP_RPCAP + 1, 2);
	publish(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP + 1, 2);
	expect_packets(&one, BLOCK_PACKETS);
	expect_packets(&two, 2 * BLOCK_PACKETS);
	client_close(&two);
	client_open(&two, "127.0.0.3", NULL);
	start(&two, "127.0.0.3");
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
}
END_TEST

/* The second one hears where to go only after the first one came: the connections could not be told apart. */
START_TEST(a_data_port_is_shared_by_one_host)
{
	uint16_t port;

	close(listen_any(&port));
	lab.link->options.rpcap_data_port = port;
	client_open(&one, "127.0.0.1", NULL);
	client_open(&two, "127.0.0.1", NULL);
	ask_start(&one, 0, 0);
	expect_started(&one);
	ask_start(&two, 0, 0);
	wait_for(lab.tap[IPC_TAP_RPCAP + 1].active && tap_all_answered(lab.link));
	for (unsigned i = 0; i < 20; i++)
		turn();
	ck_assert_uint_eq(waiting(&two.control), 0);
	if (_i == 0)
		data_open(&one, "127.0.0.1", port);
	else
		client_close(&one);	/* or is gone */
	expect_started(&two);
	data_open(&two, "127.0.0.1", port);
	wait_for(two.data.opened);
	if (_i != 0)
		return;
	begin_stream(IPC_TAP_RPCAP, 1);
	begin_stream(IPC_TAP_RPCAP + 1, 2);
	publish(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP + 1, 2);
	expect_packets(&one, BLOCK_PACKETS);
	expect_packets(&two, 2 * BLOCK_PACKETS);
}
END_TEST

START_TEST(statistics_add_up)
{
	struct spool_entry lost = { .packets = 7, .bytes = 700, .first_ns = 1, .last_ns = 2 };
	struct rpcap_stats stats;

	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 2);
	spool_lose(spool_of(IPC_TAP_RPCAP), &lost, GAP_SPOOL);
	publish(IPC_TAP_RPCAP, 1);
	spool_count_add(spool_of(IPC_TAP_RPCAP), COUNTER_RING_RECEIVED, 0, 7 + 30 + 2);
	spool_count_add(spool_of(IPC_TAP_RPCAP), COUNTER_RING_DROPPED, 0, 30);
	spool_count_add(spool_of(IPC_TAP_RPCAP), COUNTER_PACKETS_OVERSIZE, 0, 2);
	spool_count_add(spool_of(IPC_TAP_RPCAP), COUNTER_BEFORE_FILTER, 0, 5);	/* of none of these */
	spool_count_add(spool_of(IPC_TAP_RPCAP), COUNTER_SAMPLED_OUT, 0, 11);
	publish_damaged(IPC_TAP_RPCAP, 4);
	expect_packets(&one, 3 * BLOCK_PACKETS);
	stats = stats_of(&one);
	ck_assert_uint_eq(stats.svrcapt, 3 * BLOCK_PACKETS);
	ck_assert_uint_eq(stats.krnldrop, 7 + 30 + 2 + 11 + 4);
	ck_assert_uint_eq(stats.ifrecv, stats.svrcapt + stats.krnldrop);
	ck_assert_uint_eq(lab.counts, 1);
	ask_empty(&one, RPCAP_ENDCAP);
	expect(&one, RPCAP_ENDCAP | RPCAP_REPLY);
	stats = stats_of(&one);
	ck_assert_uint_eq(stats.ifrecv, 3 * BLOCK_PACKETS + 54);
	ck_assert_uint_eq(lab.counts, 2);
}
END_TEST

/* Each has its own spool. */
START_TEST(a_slow_client_loses_its_own)
{
	const unsigned blocks = 300;	/* some 30 MB: more than TCP and a spool hold */
	struct rpcap_stats stats;
	uint32_t got = 0, fast = 0;

	client_open(&one, "127.0.0.1", NULL);
	client_open(&two, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	start(&two, "127.0.0.1");
	tlsio_read_stop(one.data.t);
	begin_stream(IPC_TAP_RPCAP, 1);
	begin_stream(IPC_TAP_RPCAP + 1, 2);
	for (unsigned i = 0; i < blocks; i++) {
		publish(IPC_TAP_RPCAP, 1);
		publish(IPC_TAP_RPCAP + 1, 1);
		wait_for((fast += take_packets(&two)) >= (i + 1) * BLOCK_PACKETS);
	}
	stats = stats_of(&two);
	ck_assert_uint_eq(stats.svrcapt, blocks * BLOCK_PACKETS);
	ck_assert_uint_eq(stats.krnldrop, 0);
	tlsio_read_start(one.data.t);
	do {
		turn();
		got += take_packets(&one);
		stats = stats_of(&one);
	} while (stats.svrcapt + stats.krnldrop < blocks * BLOCK_PACKETS);
	wait_for((got += take_packets(&one)) >= stats.svrcapt);
	ck_assert_uint_gt(stats.krnldrop, 0);
	ck_assert_uint_eq(got, stats.svrcapt);
	ck_assert_uint_eq(stats.ifrecv, blocks * BLOCK_PACKETS);
	ck_assert_uint_eq(stats.svrcapt + stats.krnldrop, stats.ifrecv);
}
END_TEST

/* Its counters begin at 0 again, and the last ones may be told before, after, or, when it was killed, not at all. */
START_TEST(a_restarted_capture_role_goes_on)
{
	struct msg_stat stat;
	struct msg_stats last = counters(1, &stat, 2 * BLOCK_PACKETS + 3);

	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 2);
	expect_packets(&one, 2 * BLOCK_PACKETS);
	ck_assert_uint_eq(stats_of(&one).ifrecv, 2 * BLOCK_PACKETS);
	if (_i == 1)
		tap_last_stats(tap_of(0), &last);
	spool_count_set(spool_of(IPC_TAP_RPCAP), COUNTER_RING_RECEIVED, 0, 0);	/* as a moment before the next stream */
	tap_capture_is_new(lab.link);
	begin_stream(IPC_TAP_RPCAP, 2);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
	if (_i == 2) {
		(void)stats_of(&one);
		tap_last_stats(tap_of(0), &last);
	}
	ck_assert_uint_eq(stats_of(&one).ifrecv, 3 * BLOCK_PACKETS + (_i == 0 ? 0 : 3));
	begin_stream(IPC_TAP_RPCAP, 3);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
	ck_assert_uint_eq(stats_of(&one).ifrecv, 4 * BLOCK_PACKETS + (_i == 0 ? 0 : 3));
	ck_assert_uint_eq(one.next, 4 * BLOCK_PACKETS + 1);
}
END_TEST

/* None of them waits for an acknowledgement that nobody sends. */
START_TEST(streams_are_many)
{
	const unsigned streams = 3 * MSG_STREAMS_MAX;

	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	for (unsigned i = 1; i <= streams; i++) {
		begin_stream(IPC_TAP_RPCAP, (uint8_t)i);
		publish(IPC_TAP_RPCAP, 1);
		expect_packets(&one, BLOCK_PACKETS);
		if (i % 3 == 0)
			spool_stream_end(spool_of(IPC_TAP_RPCAP));
		if (i % 2 == 0)
			(void)stats_of(&one);
	}
	rpcap_wake(tap_of(0));
	ck_assert(spool_empty(tap_of(0)->spool));
	ck_assert_uint_ge(stats_of(&one).ifrecv, streams / 2 * BLOCK_PACKETS);
}
END_TEST

/* What was asked for is answered by what is known. */
START_TEST(statistics_without_the_capture_role)
{
	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
	lab.capture_mute = true;
	ask_empty(&one, RPCAP_STATS);
	wait_for(lab.counts == 1);
	tap_capture_is_new(lab.link);
	expect(&one, RPCAP_STATS | RPCAP_REPLY);
}
END_TEST

START_TEST(an_interface_that_goes_ends_it)
{
	const struct ipc_interface_gone gone = { .tap = IPC_TAP_RPCAP, .ifindex = netif_by_name(&lab.link->netifs, "lo")->tap.ifindex,
	    .reason = "The interface disappeared" };

	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	ck_assert_int_eq(ipc_send_interface_gone(lab.capture, &gone), 0);
	expect_error(&one, RPCAP_ERR_READEX, "disappeared");
	wait_for(one.data.closed);
	wait_for(tap_free(tap_of(0)));
	ck_assert_ptr_null(TAILQ_FIRST(&lab.server->clients)->capture);
	tlsio_free(one.data.t);
	memset(&one.data, 0, sizeof(one.data));
	start(&one, "127.0.0.1");	/* it can be tried again at once */
	ck_assert_uint_eq(lab.tap[IPC_TAP_RPCAP].interface_count, 1);
}
END_TEST

/* The client goes by the link type that it was told of. */
START_TEST(another_interface_of_that_name_ends_it)
{
	struct netif *lo = netif_by_name(&lab.link->netifs, "lo");

	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	lo->tap.ifindex += 1000;
	tap_update_all(lab.link);
	expect_error(&one, RPCAP_ERR_READEX, "opened");
	ask_start(&one, 0, 0);
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "opened");
	wait_for(tap_free(tap_of(0)));
}
END_TEST

/* Also when there are more of them than are kept. */
START_TEST(an_interface_too_many_that_goes)
{
	struct ipc_interface_gone gone = { .tap = IPC_TAP_RPCAP, .ifindex = netif_by_name(&lab.link->netifs, "lo")->tap.ifindex,
	    .reason = "The interface disappeared" };

	for (size_t i = 0; i < LINK_GONE_MAX; i++)
		lab.link->gone[i] = (struct link_gone){ .tap = 0, .ifindex = 1000000 + (uint32_t)i };
	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	ck_assert_int_eq(ipc_send_interface_gone(lab.capture, &gone), 0);
	expect_error(&one, RPCAP_ERR_READEX, "disappeared");
}
END_TEST

START_TEST(a_closed_data_connection_ends_it)
{
	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
	lab.capture_mute = true;
	tlsio_free(one.data.t);
	memset(&one.data, 0, sizeof(one.data));
	wait_for(!lab.tap[IPC_TAP_RPCAP].active);
	ck_assert(!tap_free(tap_of(0)));	/* its spool may still be written */
	lab.capture_mute = false;
	rpcap_lab_answer_taps(&lab);
	wait_for(tap_free(tap_of(0)));
	ck_assert_uint_eq(stats_of(&one).svrcapt, BLOCK_PACKETS);
	ask_empty(&one, RPCAP_ENDCAP);
	expect_error(&one, RPCAP_ERR_ENDCAPTURE, "");
	one.next = 1;
	start(&one, "127.0.0.1");
}
END_TEST

static const struct bpf_insn none[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
static const struct bpf_insn endless[] = { BPF_STMT(BPF_LD | BPF_IMM, 0) };

START_TEST(a_filter_is_updated)
{
	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	ask_filter(&one, endless, 1);
	expect_error(&one, RPCAP_ERR_UPDATEFILTER, "filter: ");
	ask_filter(&one, none, 1);
	expect(&one, RPCAP_UPDATEFILTER | RPCAP_REPLY);
	ck_assert_uint_eq(lab.tap[IPC_TAP_RPCAP].program_len, 1);
	ask_filter(&one, none, 1);	/* the same */
	expect(&one, RPCAP_UPDATEFILTER | RPCAP_REPLY);
	lab.capture_mute = true;
	ask_filter(&one, NULL, 0);
	wait_for(lab.tap[IPC_TAP_RPCAP].program_len == 0);
	lab.capture_mute = false;
	answer(IPC_TAP_RPCAP, false, "no room");
	expect_error(&one, RPCAP_ERR_UPDATEFILTER, "no room");
	wait_for(lab.tap[IPC_TAP_RPCAP].program_len == 1);	/* the one before, again */
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 1);
	expect_packets(&one, BLOCK_PACKETS);
}
END_TEST

START_TEST(a_refused_start_leaves_nothing)
{
	client_open(&one, "127.0.0.1", NULL);
	ask_start_with(&one, &(struct rpcap_startcap){ .snaplen = 100 }, endless, 1);
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "filter: ");
	lab.capture_mute = true;
	ask_start_with(&one, &(struct rpcap_startcap){ .snaplen = 100 }, none, 1);
	wait_for(lab.tap[IPC_TAP_RPCAP].active);
	lab.capture_mute = false;
	answer(IPC_TAP_RPCAP, false, "no room");
	for (uint8_t i = 0; i < IPC_TAPS_MAX; i++)
		if (i != IPC_TAP_RPCAP)
			answer(i, true, "");
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "no room");
	wait_for(tap_free(tap_of(0)));
	start(&one, "127.0.0.1");
}
END_TEST

START_TEST(as_many_as_may_capture)
{
	lab.link->options.rpcap_clients = 1;
	client_open(&one, "127.0.0.1", NULL);
	client_open(&two, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	ask_start(&two, 0, 0);
	expect_error(&two, RPCAP_ERR_STARTCAPTURE, "all 1 captures");
	client_close(&one);
	wait_for(lab.server->clients.tqh_first == TAILQ_LAST(&lab.server->clients, rpcap_client_list));
	start(&two, "127.0.0.1");
}
END_TEST

/* The rate limit is shared by all that send. */
START_TEST(the_rate_limit_holds)
{
	client_open(&one, "127.0.0.1", NULL);
	lab.link->options.rate_limit = 8 * 64 * 1024;
	start(&one, "127.0.0.1");
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 10);	/* 1 MB */
	for (unsigned i = 0; i < 100; i++)
		turn();
	ck_assert_uint_lt(waiting(&one.data), 128 * 1024);
	wait_for(waiting(&one.data) > 0);
}
END_TEST

START_TEST(the_breaker_holds_packets_back)
{
	client_open(&one, "127.0.0.1", NULL);
	start(&one, "127.0.0.1");
	begin_stream(IPC_TAP_RPCAP, 1);
	rpcap_hold(lab.server, true);
	publish(IPC_TAP_RPCAP, 1);
	for (unsigned i = 0; i < 20; i++)
		turn();
	ck_assert_uint_eq(waiting(&one.data), 0);
	rpcap_hold(lab.server, false);
	expect_packets(&one, BLOCK_PACKETS);
	rpcap_count(tap_of(0));
	ck_assert_uint_ge(rpcap_count_bytes(lab.server), BLOCK_PACKETS * PACKET_LEN);
	ck_assert_uint_eq(rpcap_count_bytes(lab.server), 0);
}
END_TEST

/* --- over TLS --- */

static struct tls_context *
client_context(void)
{
	const struct tls_files files = { .ca_name = "ca", .ca_fd = open(lab_path("good", "ca.crt"), O_RDONLY | O_CLOEXEC), .cert_fd = -1,
	    .key_fd = -1 };
	char error[TLS_ERROR_SIZE];
	struct tls_context *tls = tls_context_new_foreign(&files, TLSIO_CLIENT, error);

	ck_assert_ptr_nonnull(tls);
	close(files.ca_fd);
	return tls;
}

static void
use_certificate(void)
{
	int fd[RPCAP_FILES] = { -1, -1, -1, -1 };

	lab.link->options.rpcap_cert = lab.link->options.rpcap_key = (char *)(uintptr_t)"lab";
	fd[RPCAP_FILE_CERT] = open(lab_path("good", "col.crt"), O_RDONLY | O_CLOEXEC);
	fd[RPCAP_FILE_KEY] = open(lab_path("good", "col.key"), O_RDONLY | O_CLOEXEC);
	rpcap_lab_files(&lab, fd);
	close(fd[RPCAP_FILE_CERT]);
	close(fd[RPCAP_FILE_KEY]);
	ck_assert_ptr_nonnull(lab.server->tls);
}

static const uint16_t ways[] = { 0, RPCAP_FLAG_SERVEROPEN };

/* We are the server of TLS, whoever connects. */
START_TEST(packets_arrive_over_tls)
{
	struct tls_context *tls = client_context();
	uint16_t port = 0;
	int fd = -1, listening = -1;

	use_certificate();
	client_open(&one, "127.0.0.1", tls);
	ask_start(&one, RPCAP_FLAG_DGRAM, 2000);
	expect_error(&one, RPCAP_ERR_STARTCAPTURE, "UDP");
	if (ways[_i] != 0)
		listening = listen_any(&port);
	ask_start(&one, ways[_i], port);
	port = expect_started(&one);
	if (ways[_i] != 0) {
		wait_for((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1);
		end_open(&one.data, tls, fd);
		close(listening);
	} else
		data_open(&one, "127.0.0.1", port);
	wait_for(one.data.opened);
	begin_stream(IPC_TAP_RPCAP, 1);
	publish(IPC_TAP_RPCAP, 15);
	expect_packets(&one, 15 * BLOCK_PACKETS);
	client_close(&one);
	tls_context_free(tls);
}
END_TEST

/* --- */

int
main(void)
{
	Suite *s = suite_create("rpcap_capture");
	TCase *t = tcase_create("rpcap_capture"), *tls = tcase_create("tls");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, packets_arrive);
	tcase_add_test(t, reply_waits_for_all_taps);
	tcase_add_test(t, what_a_client_wishes_is_told);
	tcase_add_test(t, packets_arrive_as_datagrams);
	tcase_add_loop_test(t, large_packets_are_cut, 0, 2);
	tcase_add_test(t, server_opens_the_data_connection);
	tcase_add_test(t, a_port_where_nobody_waits_is_refused);
	tcase_add_test(t, only_the_client_itself_is_let_in);
	tcase_add_test(t, a_client_that_does_not_come_ends_it);
	tcase_add_test(t, nobody_is_let_in_early);
	tcase_add_test(t, a_data_port_is_shared);
	tcase_add_loop_test(t, a_data_port_is_shared_by_one_host, 0, 2);
	tcase_add_test(t, statistics_add_up);
	tcase_add_test(t, a_slow_client_loses_its_own);
	tcase_add_loop_test(t, a_restarted_capture_role_goes_on, 0, 3);
	tcase_add_test(t, streams_are_many);
	tcase_add_test(t, statistics_without_the_capture_role);
	tcase_add_test(t, an_interface_that_goes_ends_it);
	tcase_add_test(t, another_interface_of_that_name_ends_it);
	tcase_add_test(t, an_interface_too_many_that_goes);
	tcase_add_test(t, a_closed_data_connection_ends_it);
	tcase_add_test(t, a_filter_is_updated);
	tcase_add_test(t, a_refused_start_leaves_nothing);
	tcase_add_test(t, as_many_as_may_capture);
	tcase_add_test(t, the_rate_limit_holds);
	tcase_add_test(t, the_breaker_holds_packets_back);
	suite_add_tcase(s, t);
	tcase_add_unchecked_fixture(tls, lab_open, lab_close);
	tcase_add_checked_fixture(tls, setup, teardown);
	tcase_set_timeout(tls, 60);
	tcase_add_loop_test(tls, packets_arrive_over_tls, 0, sizeof(ways) / sizeof(ways[0]));
	suite_add_tcase(s, tls);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
