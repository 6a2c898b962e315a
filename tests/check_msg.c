/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "proto/counter.h"
#include "proto/frame.h"
#include "proto/msg.h"

#define BUF_MAX	(2u * 1024 * 1024)

/* --- one valid message of each kind, as long as it has parts --- */

static struct msg_hello
hello(void)
{
	struct msg_hello m = { .version_min = 1, .version_max = 3, .instance = "0123456789abcde", .software = "vmtap-agent 0.1",
		.os = "Linux 6.18", .hardware = "x86_64", .codecs = 0xf, .wall_ns = 1790000000123456789u, .stream_count = 2 };

	m.stream[0] = (struct msg_stream){ .id = "first", .started_ns = 1, .first = 8, .last = 7 };
	m.stream[1] = (struct msg_stream){ .id = "second", .started_ns = 2, .first = 1, .last = 900 };
	return m;
}

static struct msg_welcome
welcome(void)
{
	struct msg_welcome m = { .version = 1, .codecs = 0x7, .keepalive_ms = 10000, .wall_ns = 5, .stream_count = 2 };

	m.stream[0] = (struct msg_stream){ .id = "first", .started_ns = 1, .last = 7 };
	m.stream[1] = (struct msg_stream){ .id = "second", .started_ns = 2, .last = 0 };
	return m;
}

static struct msg_interface
interface(void)
{
	return (struct msg_interface){ .stream = "s", .id = 63, .idb = (const uint8_t *)"an interface description", .idb_len = 24 };
}

static struct msg_addresses
addresses(void)
{
	return (struct msg_addresses){ .stream = "s", .id = 63, .count = 2,
		.address = { { AF_INET, { 10, 0, 0, 1 } }, { AF_INET6, { 0xfd, [15] = 1 } } } };
}

static struct msg_policy
policy(void)
{
	return (struct msg_policy){ .version = 9, .interfaces = "eth*,ens3", .filter = "tcp port 80", .snaplen = 262144,
		.direction = DIRECTION_OUT, .codec = "zstd:1", .rate_limit = 1000000,
		.slice = { .headers = true, .mask = true, .payload = 64 }, .digest = true, .secret = "a secret of all agents" };
}

static struct msg_hints
hints(void)
{
	return (struct msg_hints){ .generation = 12, .base = 11, .lease_ms = 5000, .flags = HINTS_BALANCED, .gone_count = 1,
		.added_count = 2, .gone = { { AF_INET, { 10, 0, 0, 9 } } },
		.added = { { AF_INET, { 10, 0, 0, 1 } }, { AF_INET6, { 0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } } } };
}

static struct msg_hints_result
hints_result(void)
{
	return (struct msg_hints_result){ .generation = 12, .wall_ns = 1790000000123456789u };
}

static struct msg_policy_result
policy_result(void)
{
	return (struct msg_policy_result){ .version = 9, .accepted = 1, .reason = "syntax error" };
}

static struct msg_block
block(void)
{
	return (struct msg_block){ .stream = "s", .number = 1, .codec = 3, .flags = BLOCK_URGENT, .raw_len = 320, .packets = 10,
		.bytes = 320, .first_ns = 17, .last_ns = 17, .data = (const uint8_t *)"compressed", .data_len = 10 };
}

static struct msg_gap
gap(void)
{
	return (struct msg_gap){ .stream = "s", .first = 5, .last = 5, .packets = 3, .bytes = 4, .first_ns = 1, .last_ns = 2,
		.place = GAP_PULL };
}

static struct msg_mark
mark(void)
{
	return (struct msg_mark){ .stream = "s", .number = 77 };
}

static struct msg_stream_end
stream_end(void)
{
	return (struct msg_stream_end){ .stream = "s", .number = 77, .cut = 1 };
}

static struct msg_stats
stats(void)
{
	static struct msg_stat stat[MSG_STATS_MAX];

	stat[0] = (struct msg_stat){ COUNTER_RING_DROPPED, 0, 12 };
	stat[1] = (struct msg_stat){ COUNTER_CONNECTS, STATS_AGENT, 3 };
	return (struct msg_stats){ .stream = "s", .wall_ns = 3, .count = 2, .stat = stat };
}

static struct msg_ping
ping(void)
{
	return (struct msg_ping){ .token = 0x1122334455667788u, .wall_ns = 4 };
}

static struct msg_end
end(void)
{
	return (struct msg_end){ .code = 1, .text = "restart" };
}

static struct msg_enroll
enroll(void)
{
	return (struct msg_enroll){ .token = "vmtap1-secret", .name = "web1", .software = "vmtap-agent 0.1",
		.csr = (const uint8_t *)"request", .csr_len = 7 };
}

static struct msg_certificate
certificate(void)
{
	return (struct msg_certificate){ .count = 2, .certificate = {
		{ (const uint8_t *)"leaf", 4 }, { (const uint8_t *)"intermediate", 12 } } };
}

static struct msg_renew
renew(void)
{
	return (struct msg_renew){ .csr = (const uint8_t *)"request", .csr_len = 7 };
}

/* --- put what was got --- */

#define RECODE(name, type)							\
static int									\
recode_##name(const struct frame *f, struct buf *b)				\
{										\
	static struct type m;							\
										\
	if (msg_get_##name(f, &m) == -1)					\
		return -1;							\
	ck_assert_int_eq(msg_put_##name(b, &m), 0);				\
	return 0;								\
}
#define PUT(name, sample)							\
static int									\
put_##name(struct buf *b)							\
{										\
	typeof(sample()) m = sample();						\
										\
	return msg_put_##name(b, &m);						\
}
#define KIND(name, sample, type)	RECODE(name, type) PUT(name, sample)

KIND(hello, hello, msg_hello)
KIND(welcome, welcome, msg_welcome)
KIND(interface, interface, msg_interface)
KIND(policy, policy, msg_policy)
KIND(policy_result, policy_result, msg_policy_result)
KIND(addresses, addresses, msg_addresses)
KIND(hints, hints, msg_hints)
KIND(hints_result, hints_result, msg_hints_result)
KIND(gap, gap, msg_gap)
KIND(enroll, enroll, msg_enroll)
KIND(certificate, certificate, msg_certificate)
KIND(renew, renew, msg_renew)
KIND(stream_end, stream_end, msg_stream_end)
KIND(ack, mark, msg_mark)
KIND(ping, ping, msg_ping)
KIND(pong, ping, msg_ping)
KIND(bye, end, msg_end)
KIND(error, end, msg_end)
PUT(stats, stats)

static int
put_block(struct buf *b)
{
	struct msg_block m = block();

	if (msg_put_block_header(b, &m) == -1)
		return -1;
	ck_assert_uint_eq(b->len, FRAME_HEADER_SIZE + MSG_BLOCK_HEADER_SIZE);
	return buf_put(b, m.data, m.data_len);
}

static int
recode_block(const struct frame *f, struct buf *b)
{
	struct msg_block m;

	if (msg_get_block(f, &m) == -1)
		return -1;
	ck_assert_int_eq(msg_put_block_header(b, &m), 0);
	ck_assert_int_eq(buf_put(b, m.data, m.data_len), 0);
	return 0;
}

static int
recode_stats(const struct frame *f, struct buf *b)
{
	static struct msg_stat stat[MSG_STATS_MAX];
	struct msg_stats m = { .stat = stat };

	if (msg_get_stats(f, &m) == -1)
		return -1;
	ck_assert_int_eq(msg_put_stats(b, &m), 0);
	return 0;
}

static const struct kind {
	enum frame_type	 type;
	int		(*put)(struct buf *);
	int		(*recode)(const struct frame *, struct buf *);
	size_t		 tail;	/* bytes at the end that may be any and fewer, but one */
} kinds[] = {
	{ FRAME_HELLO, put_hello, recode_hello, 0 },
	{ FRAME_WELCOME, put_welcome, recode_welcome, 0 },
	{ FRAME_INTERFACE, put_interface, recode_interface, 23 },
	{ FRAME_POLICY, put_policy, recode_policy, 0 },
	{ FRAME_POLICY_RESULT, put_policy_result, recode_policy_result, 0 },
	{ FRAME_ADDRESSES, put_addresses, recode_addresses, 0 },
	{ FRAME_HINTS, put_hints, recode_hints, 0 },
	{ FRAME_HINTS_RESULT, put_hints_result, recode_hints_result, 0 },
	{ FRAME_BLOCK, put_block, recode_block, 9 },
	{ FRAME_GAP, put_gap, recode_gap, 0 },
	{ FRAME_ENROLL, put_enroll, recode_enroll, 6 },
	{ FRAME_CERTIFICATE, put_certificate, recode_certificate, 0 },
	{ FRAME_RENEW, put_renew, recode_renew, 6 },
	{ FRAME_END, put_stream_end, recode_stream_end, 0 },
	{ FRAME_ACK, put_ack, recode_ack, 0 },
	{ FRAME_STATS, put_stats, recode_stats, 0 },
	{ FRAME_PING, put_ping, recode_ping, 0 },
	{ FRAME_PONG, put_pong, recode_pong, 0 },
	{ FRAME_BYE, put_bye, recode_bye, 0 },
	{ FRAME_ERROR, put_error, recode_error, 0 },
};
#define KIND_COUNT	(sizeof(kinds) / sizeof(kinds[0]))

/* Decodes a copy that ends where the payload does. 0: good, and out holds it encoded again. */
static int
recode(const struct kind *kind, const uint8_t *payload, size_t len, struct buf *out)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct frame f = { kind->type, copy, len };
	int result;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, payload, len);
	buf_consume(out, out->len);
	errno = 0;
	result = kind->recode(&f, out);
	ck_assert(result == 0 || errno == EBADMSG);
	free(copy);
	return result;
}

static void
sample(const struct kind *kind, struct buf *b, struct frame *f)
{
	buf_init(b, BUF_MAX);
	ck_assert_int_eq(kind->put(b), 0);
	ck_assert_int_eq(frame_parse(b->data, b->len, f), FRAME_OK);
	ck_assert_int_eq(f->type, kind->type);
	ck_assert_uint_eq(f->length, b->len - FRAME_HEADER_SIZE);
}

START_TEST(comes_back)
{
	struct buf b, again;
	struct frame f;

	sample(&kinds[_i], &b, &f);
	buf_init(&again, BUF_MAX);
	ck_assert_int_eq(recode(&kinds[_i], f.payload, f.length, &again), 0);
	ck_assert_uint_eq(again.len, b.len);
	ck_assert_mem_eq(again.data, b.data, b.len);
	buf_clear(&b);
	buf_clear(&again);
}
END_TEST

START_TEST(every_truncation)
{
	const struct kind *kind = &kinds[_i];
	struct buf b, again;
	struct frame f;

	sample(kind, &b, &f);
	buf_init(&again, BUF_MAX);
	for (size_t len = 0; len < f.length; len++)
		ck_assert_int_eq(recode(kind, f.payload, len, &again), len >= f.length - kind->tail ? 0 : -1);
	ck_assert_int_eq(buf_put_u8(&b, 0), 0);
	ck_assert_int_eq(recode(kind, b.data + FRAME_HEADER_SIZE, b.len - FRAME_HEADER_SIZE, &again), kind->tail > 0 ? 0 : -1);
	buf_clear(&b);
	buf_clear(&again);
}
END_TEST

/* Refused, or a message that encodes to just these bytes; of STATS a counter may have become an unknown one. */
START_TEST(every_bit_flip)
{
	const struct kind *kind = &kinds[_i];
	struct buf b, again;
	struct frame f;
	uint8_t *payload;
	size_t accepted = 0;

	sample(kind, &b, &f);
	buf_init(&again, BUF_MAX);
	payload = b.data + FRAME_HEADER_SIZE;
	for (size_t bit = 0; bit < f.length * 8; bit++) {
		payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (recode(kind, payload, f.length, &again) == 0) {
			accepted++;
			if (kind->type != FRAME_STATS || again.len == b.len)
				ck_assert_mem_eq(again.data, b.data, b.len);
		}
		payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ck_assert_uint_gt(accepted, 0);
	buf_clear(&b);
	buf_clear(&again);
}
END_TEST

START_TEST(other_frame_types)
{
	struct buf b, again;
	struct frame f;

	sample(&kinds[_i], &b, &f);
	buf_init(&again, BUF_MAX);
	for (size_t other = 0; other < KIND_COUNT; other++) {
		f.type = kinds[other].type;
		ck_assert_int_eq(kinds[_i].recode(&f, &again), other == (size_t)_i ? 0 : -1);
	}
	buf_clear(&b);
	buf_clear(&again);
}
END_TEST

/* However little room there is: nothing of a message that does not fit is left behind. */
START_TEST(full_buffer)
{
	struct buf b, small;
	struct frame f;

	sample(&kinds[_i], &b, &f);
	for (size_t room = 0; room < b.len - (f.type == FRAME_BLOCK ? kinds[_i].tail + 1 : 0); room++) {
		buf_init(&small, room);
		ck_assert_int_eq(kinds[_i].put(&small), -1);
		ck_assert_uint_eq(small.len, 0);
		buf_clear(&small);
	}
	buf_clear(&b);
}
END_TEST

/* --- field by field: m is a valid message, change spoils or keeps it --- */

#define DECODES(name, sample, change, result) do {				\
	typeof(sample()) m = sample(), got = { 0 };				\
	struct buf b;								\
	struct frame f;								\
										\
	change;									\
	buf_init(&b, BUF_MAX);							\
	ck_assert_int_eq(msg_put_##name(&b, &m), 0);				\
	ck_assert_int_eq(frame_parse(b.data, b.len, &f), FRAME_OK);		\
	errno = 0;								\
	ck_assert_int_eq(msg_get_##name(&f, &got), result);			\
	ck_assert_int_eq(errno, result == -1 ? EBADMSG : 0);			\
	buf_clear(&b);								\
} while (0)
#define TAKES(name, sample, change)	DECODES(name, sample, change, 0)
#define REFUSES(name, sample, change)	DECODES(name, sample, change, -1)
#define CANNOT_PUT(name, sample, change) do {					\
	typeof(sample()) m = sample();						\
	struct buf b;								\
										\
	change;									\
	buf_init(&b, BUF_MAX);							\
	errno = 0;								\
	ck_assert_int_eq(msg_put_##name(&b, &m), -1);				\
	ck_assert_int_eq(errno, EMSGSIZE);					\
	ck_assert_uint_eq(b.len, 0);						\
	buf_clear(&b);								\
} while (0)

START_TEST(hello_fields)
{
	TAKES(hello, hello, m.stream_count = 0);
	TAKES(hello, hello, m.version_min = m.version_max);
	TAKES(hello, hello, m.codecs |= 1u << 31);
	REFUSES(hello, hello, m.version_min = 0);
	REFUSES(hello, hello, m.version_max = 0);
	REFUSES(hello, hello, m.codecs = 0);
	REFUSES(hello, hello, m.stream[0].first = 0);
	REFUSES(hello, hello, m.stream[0].first = 9);
	REFUSES(hello, hello, m.stream[1].last = UINT64_MAX);
	REFUSES(hello, hello, memcpy(m.stream[1].id, m.stream[0].id, MSG_ID_SIZE));
	CANNOT_PUT(hello, hello, m.stream_count = MSG_STREAMS_MAX + 1);
}
END_TEST

START_TEST(welcome_fields)
{
	TAKES(welcome, welcome, m.stream_count = 0);
	TAKES(welcome, welcome, m.keepalive_ms = 1);
	REFUSES(welcome, welcome, m.version = 0);
	REFUSES(welcome, welcome, m.codecs = 0);
	REFUSES(welcome, welcome, m.keepalive_ms = 0);
	REFUSES(welcome, welcome, m.keepalive_ms = UINT32_MAX);
	REFUSES(welcome, welcome, m.stream[0].first = 1);
	REFUSES(welcome, welcome, m.stream[1].last = UINT64_MAX);
	REFUSES(welcome, welcome, memcpy(m.stream[1].id, m.stream[0].id, MSG_ID_SIZE));
	CANNOT_PUT(welcome, welcome, m.stream_count = MSG_STREAMS_MAX + 1);
}
END_TEST

START_TEST(interface_fields)
{
	static const uint8_t idb[MSG_IDB_MAX + 1];

	TAKES(interface, interface, (m.idb = idb, m.idb_len = MSG_IDB_MAX));
	REFUSES(interface, interface, m.id = MSG_INTERFACES_MAX);
	REFUSES(interface, interface, m.idb_len = 0);
	CANNOT_PUT(interface, interface, (m.idb = idb, m.idb_len = MSG_IDB_MAX + 1));
}
END_TEST

START_TEST(policy_fields)
{
	TAKES(policy, policy, memset(m.filter, 'x', sizeof(m.filter) - 1));
	TAKES(policy, policy, (memset(&m, 0, sizeof(m))));
	REFUSES(policy, policy, m.snaplen = 262145);
	REFUSES(policy, policy, m.direction = DIRECTION_OUT + 1);
	TAKES(policy_result, policy_result, memset(m.reason, 'x', sizeof(m.reason) - 1));
	REFUSES(policy_result, policy_result, m.accepted = 2);
}
END_TEST

static int
get_block(struct msg_block *m)
{
	static uint8_t data[MSG_BLOCK_MAX + 1];
	struct buf b;
	struct frame f;
	int result;

	buf_init(&b, BUF_MAX);
	ck_assert_int_eq(msg_put_block_header(&b, m), 0);
	ck_assert_int_eq(buf_put(&b, data, m->data_len), 0);
	ck_assert_int_eq(frame_parse(b.data, b.len, &f), FRAME_OK);
	result = msg_get_block(&f, m);
	buf_clear(&b);
	return result;
}

#define BLOCK_IS(change, result) do {						\
	struct msg_block m = block();						\
										\
	change;									\
	ck_assert_int_eq(get_block(&m), result);				\
} while (0)

START_TEST(block_fields)
{
	struct msg_block large = block();
	struct buf b;

	BLOCK_IS((m.raw_len = MSG_BLOCK_RAW_MAX, m.data_len = MSG_BLOCK_MAX), 0);
	BLOCK_IS((m.packets = 0, m.bytes = 0, m.first_ns = m.last_ns = 0), 0);
	BLOCK_IS(m.number = 0, -1);
	BLOCK_IS(m.number = UINT64_MAX, -1);
	BLOCK_IS(m.codec = 4, -1);
	BLOCK_IS(m.flags = BLOCK_EVENT, 0);
	BLOCK_IS(m.flags = 4, -1);
	BLOCK_IS(m.raw_len = 0, -1);
	BLOCK_IS(m.raw_len = MSG_BLOCK_RAW_MAX + 1, -1);
	BLOCK_IS(m.data_len = 0, -1);
	BLOCK_IS(m.packets = 11, -1);
	BLOCK_IS(m.bytes = 321, -1);
	BLOCK_IS(m.first_ns = 18, -1);
	BLOCK_IS((m.packets = 0, m.bytes = 0), -1);
	BLOCK_IS((m.packets = 0, m.first_ns = m.last_ns = 0), -1);
	large.data_len = MSG_BLOCK_MAX + 1;
	buf_init(&b, BUF_MAX);
	ck_assert_int_eq(msg_put_block_header(&b, &large), -1);
	ck_assert_uint_eq(b.len, 0);
	buf_init(&b, FRAME_HEADER_SIZE + MSG_BLOCK_HEADER_SIZE - 1);
	large.data_len = 1;
	ck_assert_int_eq(msg_put_block_header(&b, &large), -1);
	ck_assert_uint_eq(b.len, 0);
	buf_clear(&b);
}
END_TEST

START_TEST(gap_fields)
{
	TAKES(gap, gap, m.last = UINT64_MAX - 1);
	TAKES(gap, gap, m.place = GAP_SPOOL);
	REFUSES(gap, gap, m.first = 0);
	REFUSES(gap, gap, m.first = 6);
	REFUSES(gap, gap, m.last = UINT64_MAX);
	REFUSES(gap, gap, m.first_ns = 3);
	REFUSES(gap, gap, m.place = 0);
	REFUSES(gap, gap, m.place = GAP_DISK + 1);
}
END_TEST

START_TEST(mark_fields)
{
	TAKES(ack, mark, m.number = 0);
	TAKES(stream_end, stream_end, m.number = 0);
	REFUSES(ack, mark, m.number = UINT64_MAX);
	REFUSES(stream_end, stream_end, m.number = UINT64_MAX);
	REFUSES(stream_end, stream_end, m.cut = 2);
}
END_TEST

START_TEST(end_fields)
{
	TAKES(bye, end, m.code = 0);
	TAKES(bye, end, memset(m.text, 'x', sizeof(m.text) - 1));
	REFUSES(bye, end, m.code = 3);
	TAKES(error, end, m.code = MSG_ERR_TOKEN);
	REFUSES(error, end, m.code = 0);
	REFUSES(error, end, m.code = MSG_ERR_TOKEN + 1);
}
END_TEST

/* A string with a NUL inside would be two different ones to two readers. */
START_TEST(strings)
{
	static const uint8_t nul[] = { 0, 1, 0, 3, 'a', 0, 'b' };
	static const uint8_t shorter[] = { 0, 1, 0, 3, 'a', 'b' };
	struct frame f = { FRAME_BYE, nul, sizeof(nul) };
	struct msg_end m;

	ck_assert_int_eq(msg_get_bye(&f, &m), -1);
	f.payload = shorter;
	f.length = sizeof(shorter);
	ck_assert_int_eq(msg_get_bye(&f, &m), -1);
}
END_TEST

START_TEST(stats_fields)
{
	struct msg_stats m = stats(), got = { 0 };
	static struct msg_stat stat[MSG_STATS_MAX];
	struct buf b;
	struct frame f;

	m.stat[1].counter = COUNTER_MAX;
	m.stat[2] = (struct msg_stat){ COUNTER_PAUSED, MSG_INTERFACES_MAX - 1, 1 };
	m.count = 3;
	got.stat = stat;
	buf_init(&b, BUF_MAX);
	ck_assert_int_eq(msg_put_stats(&b, &m), 0);
	ck_assert_int_eq(frame_parse(b.data, b.len, &f), FRAME_OK);
	ck_assert_int_eq(msg_get_stats(&f, &got), 0);
	ck_assert_uint_eq(got.count, 2);
	ck_assert_uint_eq(got.stat[0].counter, COUNTER_RING_DROPPED);
	ck_assert_uint_eq(got.stat[1].counter, COUNTER_PAUSED);
	ck_assert_uint_eq(got.stat[1].interface, MSG_INTERFACES_MAX - 1);
	buf_consume(&b, b.len);
	m.stat[2].interface = MSG_INTERFACES_MAX;
	ck_assert_int_eq(msg_put_stats(&b, &m), 0);
	ck_assert_int_eq(frame_parse(b.data, b.len, &f), FRAME_OK);
	ck_assert_int_eq(msg_get_stats(&f, &got), -1);
	buf_clear(&b);
}
END_TEST

START_TEST(hints_lease)
{
	DECODES(hints, hints, m.lease_ms = HINTS_LEASE_MIN_MS, 0);
	DECODES(hints, hints, m.lease_ms = HINTS_LEASE_MIN_MS - 1, -1);
	DECODES(hints, hints, m.lease_ms = HINTS_LEASE_MAX_MS + 1, -1);
}
END_TEST

START_TEST(hints_without_a_list)
{
	DECODES(hints, hints, (m.generation = 0, m.added_count = 0), 0);
	DECODES(hints, hints, m.generation = 0, -1);
}
END_TEST

START_TEST(hints_of_a_long_ipv4_address)
{
	DECODES(hints, hints, m.added[0].address[4] = 1, -1);
}
END_TEST

START_TEST(certificate_or_reason)
{
	DECODES(certificate, certificate, (snprintf(m.reason, sizeof(m.reason), "used"), m.count = 0), 0);
	CANNOT_PUT(certificate, certificate, snprintf(m.reason, sizeof(m.reason), "used"));
	CANNOT_PUT(certificate, certificate, m.count = 0);
	CANNOT_PUT(certificate, certificate, m.count = MSG_CHAIN_MAX + 1);
	CANNOT_PUT(certificate, certificate, m.certificate[1].len = 0);
	CANNOT_PUT(certificate, certificate, m.certificate[1].len = MSG_CERTIFICATE_MAX + 1);
	CANNOT_PUT(enroll, enroll, m.csr_len = 0);
	CANNOT_PUT(renew, renew, m.csr_len = MSG_CERTIFICATE_MAX + 1);
}
END_TEST

START_TEST(addresses_of_no_interface)
{
	DECODES(addresses, addresses, m.id = MSG_INTERFACES_MAX, -1);
	DECODES(addresses, addresses, m.count = 0, 0);
}
END_TEST

START_TEST(too_many_hints)
{
	CANNOT_PUT(hints, hints, m.added_count = MSG_PEERS_MAX + 1);
	CANNOT_PUT(addresses, addresses, m.count = MSG_ADDRESSES_MAX + 1);
	CANNOT_PUT(hints, hints, m.gone_count = MSG_PEERS_MAX + 1);
}
END_TEST

START_TEST(too_many_stats)
{
	CANNOT_PUT(stats, stats, m.count = MSG_STATS_MAX + 1);
}
END_TEST

static struct msg_hints longest_hints = { .generation = 1, .lease_ms = HINTS_LEASE_MAX_MS };

/* The longest of each kind fits its frame's cap exactly. */
START_TEST(longest)
{
	struct msg_hello h = hello();
	struct msg_policy p = policy();
	struct msg_stats s = stats();
	struct buf b;

	memset(h.software, 'x', sizeof(h.software) - 1);
	memset(h.os, 'x', sizeof(h.os) - 1);
	memset(h.hardware, 'x', sizeof(h.hardware) - 1);
	h.stream_count = MSG_STREAMS_MAX;
	memset(p.interfaces, 'x', sizeof(p.interfaces) - 1);
	memset(p.filter, 'x', sizeof(p.filter) - 1);
	memset(p.codec, 'x', sizeof(p.codec) - 1);
	s.count = MSG_STATS_MAX;
	for (size_t i = 0; i < MSG_PEERS_MAX; i++)
		longest_hints.gone[i].family = longest_hints.added[i].family = AF_INET6;
	longest_hints.gone_count = longest_hints.added_count = MSG_PEERS_MAX;
	buf_init(&b, BUF_MAX);
	ck_assert_int_eq(msg_put_hello(&b, &h), 0);
	ck_assert_uint_eq(b.len, FRAME_HEADER_SIZE + frame_length_max(FRAME_HELLO));
	buf_consume(&b, b.len);
	ck_assert_int_eq(msg_put_policy(&b, &p), 0);
	ck_assert_uint_eq(b.len, FRAME_HEADER_SIZE + frame_length_max(FRAME_POLICY));
	buf_consume(&b, b.len);
	ck_assert_int_eq(msg_put_hints(&b, &longest_hints), 0);
	ck_assert_uint_eq(b.len, FRAME_HEADER_SIZE + frame_length_max(FRAME_HINTS));
	buf_consume(&b, b.len);
	ck_assert_int_eq(msg_put_stats(&b, &s), 0);
	ck_assert_uint_eq(b.len, FRAME_HEADER_SIZE + frame_length_max(FRAME_STATS));
	buf_clear(&b);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("msg");
	TCase *all = tcase_create("all kinds"), *fields = tcase_create("fields");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(all, comes_back, 0, KIND_COUNT);
	tcase_add_loop_test(all, every_truncation, 0, KIND_COUNT);
	tcase_add_loop_test(all, every_bit_flip, 0, KIND_COUNT);
	tcase_add_loop_test(all, other_frame_types, 0, KIND_COUNT);
	tcase_add_loop_test(all, full_buffer, 0, KIND_COUNT);
	suite_add_tcase(suite, all);
	tcase_add_test(fields, hello_fields);
	tcase_add_test(fields, welcome_fields);
	tcase_add_test(fields, interface_fields);
	tcase_add_test(fields, policy_fields);
	tcase_add_test(fields, block_fields);
	tcase_add_test(fields, gap_fields);
	tcase_add_test(fields, mark_fields);
	tcase_add_test(fields, end_fields);
	tcase_add_test(fields, strings);
	tcase_add_test(fields, stats_fields);
	tcase_add_test(fields, certificate_or_reason);
	tcase_add_test(fields, addresses_of_no_interface);
	tcase_add_test(fields, hints_lease);
	tcase_add_test(fields, hints_without_a_list);
	tcase_add_test(fields, hints_of_a_long_ipv4_address);
	tcase_add_test(fields, too_many_hints);
	tcase_add_test(fields, too_many_stats);
	tcase_add_test(fields, longest);
	suite_add_tcase(suite, fields);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
