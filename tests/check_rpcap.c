/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <pcap/bpf.h>

#include "common/buf.h"
#include "proto/rpcap.h"
#include "tests/hex_text.h"

#define MESSAGE_MAX	4096u
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

struct bytes {
	uint8_t	data[MESSAGE_MAX];
	size_t	len;
};

static void
parse_bytes(const char *text, struct bytes *bytes)
{
	struct buf b;

	buf_init(&b, MESSAGE_MAX);
	ck_assert_int_eq(hex_text_parse(text, &b), 0);
	bytes->len = b.len;
	if (b.len > 0)
		memcpy(bytes->data, b.data, b.len);
	buf_clear(&b);
}

/* --- one message of each kind: the bytes, written by hand from the protocol, and how they are put and got --- */

static const struct bpf_insn program[] = { BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0800, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 262144), BPF_STMT(BPF_RET | BPF_K, 0) };
#define FILTER_BYTES	"0001 0000 00000004  0028 00 00 0000000c  0015 00 01 00000800  0006 00 00 00040000  0006 00 00 00000000"
static const struct rpcap_filter filter = { .insn = program, .count = COUNT(program) };

static int
put_findallif(struct buf *b)
{
	return rpcap_put_empty(b, 0, RPCAP_FINDALLIF);
}

static int
put_error(struct buf *b)
{
	return rpcap_put_error(b, 0, RPCAP_ERR_AUTH_FAILED, "not you");
}

static int
put_open(struct buf *b)
{
	return rpcap_put_open(b, 0, "eth0");
}

static int
put_auth_null(struct buf *b)
{
	const struct rpcap_auth auth = { .type = RPCAP_AUTH_NULL, .user = "nobody", .user_len = 6 };

	return rpcap_put_auth(b, &auth);
}

static int
put_auth_password(struct buf *b)
{
	const struct rpcap_auth auth = { .type = RPCAP_AUTH_PASSWORD, .user = "ada", .user_len = 3, .password = "secret", .password_len = 6 };

	return rpcap_put_auth(b, &auth);
}

static int
put_auth_reply_old(struct buf *b)
{
	return rpcap_put_auth_reply(b, &(const struct rpcap_auth_reply){ .version_min = 0, .version_max = 1 });
}

static int
put_auth_reply_little(struct buf *b)
{
	return rpcap_put_auth_reply(b, &(const struct rpcap_auth_reply){ .order = RPCAP_ORDER_LITTLE });
}

static int
put_auth_reply_big(struct buf *b)
{
	return rpcap_put_auth_reply(b, &(const struct rpcap_auth_reply){ .version_min = 1, .version_max = 2, .order = RPCAP_ORDER_BIG });
}

static int
put_interfaces(struct buf *b)
{
	const struct rpcap_header h = { .type = RPCAP_FINDALLIF | RPCAP_REPLY, .value = 1, .length = 12 + 4 + 3 + 8 * 128 };
	const struct rpcap_interface interface = { .name = "eth0", .name_len = 4, .description = "one", .description_len = 3,
		.flags = RPCAP_IF_UP | RPCAP_IF_RUNNING | RPCAP_IF_CONNECTED, .address_count = 2 };
	const struct rpcap_addresses v4 = { .address = { AF_INET, { 192, 0, 2, 1 }, 0 }, .netmask = { AF_INET, { 255, 255, 255 }, 0 },
		.broadcast = { AF_INET, { 192, 0, 2, 255 }, 0 } };
	const struct rpcap_addresses v6 = { .address = { AF_INET6, { 0xfe, 0x80, [15] = 1 }, 0x01020304 } };
	int errs = rpcap_put_header(b, &h);

	errs += rpcap_put_interface(b, &interface);
	errs += rpcap_put_addresses(b, &v4);
	errs += rpcap_put_addresses(b, &v6);
	return errs == 0 ? 0 : -1;
}

static int
put_open_reply(struct buf *b)
{
	return rpcap_put_open_reply(b, 0, &(const struct rpcap_open_reply){ .linktype = DLT_EN10MB, .tzoff = 0 });
}

static int
put_startcap(struct buf *b)
{
	const struct rpcap_startcap s = { .snaplen = 65535, .read_timeout_ms = 1000, .flags = RPCAP_FLAG_PROMISC | RPCAP_FLAG_SERVEROPEN,
		.port = 0x1234 };

	return rpcap_put_startcap(b, 0, &s, &filter);
}

static int
put_updatefilter(struct buf *b)
{
	return rpcap_put_updatefilter(b, 0, &filter);
}

static int
put_startcap_reply(struct buf *b)
{
	return rpcap_put_startcap_reply(b, 0, &(const struct rpcap_startcap_reply){ .buffer_bytes = 0x200000, .port = 40000 });
}

static int
put_stats_reply(struct buf *b)
{
	return rpcap_put_stats_reply(b, 0, &(const struct rpcap_stats){ .ifrecv = 1, .ifdrop = 2, .krnldrop = 0xfffffffe, .svrcapt = 3 });
}

static int
put_sampling(struct buf *b)
{
	return rpcap_put_sampling(b, 0, &(const struct rpcap_sampling){ .method = RPCAP_SAMPLE_AFTER_N_MS, .value = 0x10203 });
}

static int
put_packet(struct buf *b)
{
	const struct rpcap_packet p = { .seconds = 0xf0000000, .microseconds = 999999, .captured_len = 3, .original_len = 1514, .number = 7 };
	uint8_t header[RPCAP_PACKET_SIZE];

	rpcap_write_packet(header, 0, &p);
	return buf_put(b, header, sizeof(header)) == -1 ? -1 : buf_put(b, "abc", 3);
}

/* --- put what was got: -1 only where the payload was refused --- */

static int
recode_empty(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	cursor_skip(c, c->left);
	ck_assert_int_eq(rpcap_put_empty(b, 0, h->type), 0);
	return 0;
}

static int
recode_error(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	char text[RPCAP_TEXT_SIZE];

	(void)h;
	ck_assert_int_eq(rpcap_get_text(c, text, sizeof(text)), 0);
	ck_assert_int_eq(rpcap_put_error(b, 0, RPCAP_ERR_AUTH_FAILED, text), 0);
	return 0;
}

static int
recode_open(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	char text[RPCAP_TEXT_SIZE];

	(void)h;
	ck_assert_int_eq(rpcap_get_text(c, text, sizeof(text)), 0);
	ck_assert_int_eq(rpcap_put_open(b, 0, text), 0);
	return 0;
}

static int
recode_interfaces(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	struct rpcap_interface interface;
	struct rpcap_addresses addresses;

	if (rpcap_get_interface(c, &interface) == -1)
		return -1;
	ck_assert_int_eq(rpcap_put_header(b, h), 0);
	ck_assert_int_eq(rpcap_put_interface(b, &interface), 0);
	for (unsigned i = 0; i < interface.address_count; i++) {
		if (rpcap_get_addresses(c, &addresses) == -1)
			return -1;
		ck_assert_int_eq(rpcap_put_addresses(b, &addresses), 0);
	}
	return 0;
}

static int
recode_filter(struct cursor *c, struct rpcap_filter *f)
{
	char error[RPCAP_TEXT_SIZE] = "";

	if (rpcap_get_filter(c, f, error) == 0)
		return 0;
	ck_assert_str_ne(error, "");
	ck_assert_ptr_null(f->insn);
	return -1;
}

static int
recode_startcap(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	struct rpcap_startcap s;
	struct rpcap_filter f;

	(void)h;
	if (rpcap_get_startcap(c, &s) == -1 || recode_filter(c, &f) == -1)
		return -1;
	ck_assert_int_eq(rpcap_put_startcap(b, 0, &s, &f), 0);
	free((void *)f.insn);
	return 0;
}

static int
recode_updatefilter(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	struct rpcap_filter f;

	(void)h;
	if (recode_filter(c, &f) == -1)
		return -1;
	ck_assert_int_eq(rpcap_put_updatefilter(b, 0, &f), 0);
	free((void *)f.insn);
	return 0;
}

static int
recode_packet(struct cursor *c, const struct rpcap_header *h, struct buf *b)
{
	struct rpcap_packet p;
	uint8_t header[RPCAP_PACKET_SIZE];

	(void)h;
	if (rpcap_get_packet(c, &p) == -1)
		return -1;
	ck_assert_uint_le(p.captured_len, c->left);
	rpcap_write_packet(header, 0, &p);
	ck_assert_int_eq(buf_put(b, header, sizeof(header)), 0);
	ck_assert_int_eq(buf_put(b, c->p, p.captured_len), 0);
	return cursor_skip(c, p.captured_len);
}

#define RECODE(name, type, ...)						\
static int								\
recode_##name(struct cursor *c, const struct rpcap_header *h, struct buf *b)	\
{									\
	struct type m;							\
									\
	(void)h;							\
	if (rpcap_get_##name(c, &m) == -1)				\
		return -1;						\
	ck_assert_int_eq(rpcap_put_##name(b, __VA_ARGS__ &m), 0);	\
	return 0;							\
}
RECODE(auth, rpcap_auth)
RECODE(auth_reply, rpcap_auth_reply)
RECODE(open_reply, rpcap_open_reply, 0,)
RECODE(startcap_reply, rpcap_startcap_reply, 0,)
RECODE(stats_reply, rpcap_stats, 0,)
RECODE(sampling, rpcap_sampling, 0,)

#define V4(address)	"0002 0000" address "00x120 "
#define NO_ADDRESS	"00x128 "

static const struct kind {
	const char	*name, *bytes;
	int		(*put)(struct buf *);
	int		(*recode)(struct cursor *, const struct rpcap_header *, struct buf *);
	size_t		needs;		/* bytes of payload; shorter ones are refused */
} kinds[] = {
	{ "findallif", "00 02 0000 00000000", put_findallif, recode_empty, 0 },
	{ "error", "00 01 0012 00000007 'not you'", put_error, recode_error, 0 },
	{ "open", "00 03 0000 00000004 'eth0'", put_open, recode_open, 0 },
	{ "auth null", "00 08 0000 00000008  0000 0000 0000 0000", put_auth_null, recode_auth, 8 },
	{ "auth password", "00 08 0000 00000011  0001 0000 0003 0006 'adasecret'", put_auth_password, recode_auth, 17 },
	{ "auth reply of 1.9", "00 88 0000 00000002  00 01", put_auth_reply_old, recode_auth_reply, 2 },
	{ "auth reply, little", "00 88 0000 00000008  00 00 0000 d4c3b2a1", put_auth_reply_little, recode_auth_reply, 8 },
	{ "auth reply, big", "00 88 0000 00000008  01 02 0000 a1b2c3d4", put_auth_reply_big, recode_auth_reply, 8 },
	{ "findallif reply", "00 82 0001 00000413  0004 0003 00000016 0002 0000 'eth0one'"
	    V4("c0000201") V4("ffffff00") V4("c00002ff") NO_ADDRESS
	    "0017 0000 00000000 fe80 00x13 01 01020304 00x100 " NO_ADDRESS NO_ADDRESS NO_ADDRESS,
	    put_interfaces, recode_interfaces, 12 + 7 + 8 * 128 },
	{ "open reply", "00 83 0000 00000008  00000001 00000000", put_open_reply, recode_open_reply, 8 },
	{ "startcap", "00 04 0000 00000034  0000ffff 000003e8 0005 1234" FILTER_BYTES, put_startcap, recode_startcap, 12 + 8 + 4 * 8 },
	{ "updatefilter", "00 05 0000 00000028 " FILTER_BYTES, put_updatefilter, recode_updatefilter, 8 + 4 * 8 },
	{ "startcap reply", "00 84 0000 00000008  00200000 9c40 0000", put_startcap_reply, recode_startcap_reply, 8 },
	{ "stats reply", "00 89 0000 00000010  00000001 00000002 fffffffe 00000003", put_stats_reply, recode_stats_reply, 16 },
	{ "sampling", "00 0b 0000 00000008  02 00 0000 00010203", put_sampling, recode_sampling, 8 },
	{ "packet", "00 07 0000 00000017  f0000000 000f423f 00000003 000005ea 00000007 'abc'", put_packet, recode_packet, 23 },
};

/* From memory of exactly that length, so that a sanitizer sees who reads on. */
static int
recode(const struct kind *k, const uint8_t *message, size_t len, struct buf *b)
{
	size_t payload_len = len - RPCAP_HEADER_SIZE;
	uint8_t *payload = malloc(payload_len > 0 ? payload_len : 1);
	struct rpcap_header h;
	struct cursor c;
	int result;

	ck_assert_ptr_nonnull(payload);
	rpcap_get_header(message, &h);
	if (payload_len > 0)
		memcpy(payload, message + RPCAP_HEADER_SIZE, payload_len);
	cursor_init(&c, payload, payload_len);
	result = k->recode(&c, &h, b);
	ck_assert_uint_le(c.left, payload_len);
	free(payload);
	return result;
}

START_TEST(bytes_of_the_protocol)
{
	const struct kind *k = &kinds[_i];
	struct bytes want;
	struct buf b;

	parse_bytes(k->bytes, &want);
	buf_init(&b, MESSAGE_MAX);
	ck_assert_int_eq(k->put(&b), 0);
	ck_assert_msg(b.len == want.len && memcmp(b.data, want.data, b.len) == 0, "%s has other bytes", k->name);
	buf_clear(&b);
}
END_TEST

START_TEST(comes_back)
{
	const struct kind *k = &kinds[_i];
	struct bytes want;
	struct rpcap_header h;
	struct buf b;

	parse_bytes(k->bytes, &want);
	rpcap_get_header(want.data, &h);
	ck_assert_uint_eq(h.length, want.len - RPCAP_HEADER_SIZE);
	ck_assert_ptr_nonnull(rpcap_type_name(h.type));
	buf_init(&b, MESSAGE_MAX);
	ck_assert_int_eq(recode(k, want.data, want.len, &b), 0);
	ck_assert_msg(b.len == want.len && memcmp(b.data, want.data, b.len) == 0, "%s comes back with other bytes", k->name);
	buf_clear(&b);
}
END_TEST

/* What a get takes, put again, is taken again as the same. */
static void
check_stable(const struct kind *k, const uint8_t *message, size_t len)
{
	struct buf once, twice;

	buf_init(&once, 1u << 20);
	buf_init(&twice, 1u << 20);
	if (recode(k, message, len, &once) == 0) {
		ck_assert_int_eq(recode(k, once.data, once.len, &twice), 0);
		ck_assert_msg(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0, "%s is not stable", k->name);
	}
	buf_clear(&once);
	buf_clear(&twice);
}

START_TEST(every_truncation)
{
	const struct kind *k = &kinds[_i];
	struct bytes m;
	struct buf b;

	parse_bytes(k->bytes, &m);
	buf_init(&b, MESSAGE_MAX);
	for (size_t len = RPCAP_HEADER_SIZE; len < m.len; len++) {
		size_t payload_len = len - RPCAP_HEADER_SIZE;
		bool may = payload_len >= k->needs || (k->recode == recode_auth_reply && (payload_len == 0 || payload_len == 2));

		b.len = 0;
		ck_assert_msg(recode(k, m.data, len, &b) == (may ? 0 : -1), "%s of %zu bytes of payload", k->name, payload_len);
		check_stable(k, m.data, len);
	}
	buf_clear(&b);
}
END_TEST

START_TEST(every_bit_flip)
{
	const struct kind *k = &kinds[_i];
	struct bytes m;

	parse_bytes(k->bytes, &m);
	for (size_t bit = 0; bit < 8 * m.len; bit++) {
		m.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		check_stable(k, m.data, m.len);
		m.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

/* As of a newer peer; texts have no known end. */
START_TEST(more_than_the_fields)
{
	const struct kind *k = &kinds[_i];
	struct bytes m;
	struct buf b;

	parse_bytes(k->bytes, &m);
	if (k->recode == recode_error || k->recode == recode_open || k->put == put_auth_reply_old)
		return;
	memset(m.data + m.len, 0xff, 40);
	buf_init(&b, MESSAGE_MAX);
	ck_assert_int_eq(recode(k, m.data, m.len + 40, &b), 0);
	ck_assert_uint_eq(b.len, m.len);
	ck_assert_mem_eq(b.data, m.data, m.len);
	buf_clear(&b);
}
END_TEST

/* Messages are put whole or not at all; interfaces are put together by the caller. */
START_TEST(full_buffer)
{
	const struct kind *k = &kinds[_i];
	struct bytes m;
	struct buf b;

	parse_bytes(k->bytes, &m);
	for (size_t max = 1; max < m.len; max++) {
		buf_init(&b, max);
		ck_assert_int_eq(k->put(&b), -1);
		ck_assert_int_eq(errno, ENOBUFS);
		if (k->put != put_interfaces && k->put != put_packet)
			ck_assert_uint_eq(b.len, 0);
		buf_clear(&b);
	}
}
END_TEST

/* --- fields --- */

static void
cursor_of(struct cursor *c, struct bytes *b, const char *text)
{
	parse_bytes(text, b);
	cursor_init(c, b->data, b->len);
}

START_TEST(names)
{
	ck_assert_str_eq(rpcap_type_name(RPCAP_STARTCAP), "STARTCAP");
	ck_assert_str_eq(rpcap_type_name(RPCAP_STARTCAP | RPCAP_REPLY), "STARTCAP reply");
	ck_assert_ptr_null(rpcap_type_name(0));
	ck_assert_ptr_null(rpcap_type_name(RPCAP_TYPE_MAX));
	ck_assert_ptr_null(rpcap_type_name(RPCAP_REPLY));
	ck_assert_ptr_null(rpcap_type_name(RPCAP_REPLY | RPCAP_ERROR));
	ck_assert_ptr_null(rpcap_type_name(RPCAP_REPLY | RPCAP_CLOSE));
	ck_assert_ptr_null(rpcap_type_name(RPCAP_REPLY | RPCAP_PACKET));
	for (unsigned type = 0; type < 256; type++)
		ck_assert((rpcap_type_name((uint8_t)type) != NULL) <= ((type & 0x7f) > 0 && (type & 0x7f) < RPCAP_TYPE_MAX));
	ck_assert_str_eq(rpcap_error_name(1), "NETW");
	ck_assert_str_eq(rpcap_error_name(18), "AUTH_FAILED");
	ck_assert_str_eq(rpcap_error_name(20), "AUTH_TYPE_NOTSUP");
	ck_assert_ptr_null(rpcap_error_name(0));
	ck_assert_ptr_null(rpcap_error_name(21));
	ck_assert_ptr_null(rpcap_error_name(65535));
}
END_TEST

/* The numbers, as the protocol has them. */
START_TEST(types)
{
	static const uint8_t want[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	static const uint8_t have[] = { RPCAP_ERROR, RPCAP_FINDALLIF, RPCAP_OPEN, RPCAP_STARTCAP, RPCAP_UPDATEFILTER, RPCAP_CLOSE,
		RPCAP_PACKET, RPCAP_AUTH, RPCAP_STATS, RPCAP_ENDCAP, RPCAP_SETSAMPLING, RPCAP_TYPE_MAX };

	ck_assert_uint_eq(sizeof(want), sizeof(have));
	ck_assert_mem_eq(have, want, sizeof(want));
	ck_assert_int_eq(RPCAP_ERR_READEX, 9);
	ck_assert_int_eq(RPCAP_ERR_STARTCAPTURE, 12);
	ck_assert_int_eq(RPCAP_ERR_WRONGVER, 17);
	ck_assert_int_eq(RPCAP_ERR_AUTH_TYPE_NOTSUP, 20);
}
END_TEST

START_TEST(texts)
{
	char dst[5];
	struct cursor c;
	struct bytes b;

	cursor_of(&c, &b, "");
	ck_assert_int_eq(rpcap_get_text(&c, dst, sizeof(dst)), 0);
	ck_assert_str_eq(dst, "");
	cursor_of(&c, &b, "'four'");
	ck_assert_int_eq(rpcap_get_text(&c, dst, sizeof(dst)), 0);
	ck_assert_str_eq(dst, "four");
	cursor_of(&c, &b, "'five5'");
	ck_assert_int_eq(rpcap_get_text(&c, dst, sizeof(dst)), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_str_eq(dst, "five");
	cursor_of(&c, &b, "'lo' 00 'hidden'");
	ck_assert_int_eq(rpcap_get_text(&c, dst, sizeof(dst)), 0);
	ck_assert_str_eq(dst, "lo");
	ck_assert_int_eq(cursor_end(&c), 0);
}
END_TEST

START_TEST(long_error)
{
	char text[2 * RPCAP_TEXT_SIZE];
	struct rpcap_header h;
	struct buf b;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	buf_init(&b, MESSAGE_MAX);
	ck_assert_int_eq(rpcap_put_error(&b, 0, RPCAP_ERR_NETW, text), 0);
	rpcap_get_header(b.data, &h);
	ck_assert_uint_eq(h.length, RPCAP_TEXT_SIZE - 1);
	ck_assert_uint_eq(b.len, RPCAP_HEADER_SIZE + h.length);
	buf_clear(&b);
}
END_TEST

START_TEST(versions)
{
	struct rpcap_header h;
	struct buf b;

	buf_init(&b, MESSAGE_MAX);
	ck_assert_int_eq(rpcap_put_error(&b, 9, RPCAP_ERR_WRONGVER, "0 only"), 0);
	rpcap_get_header(b.data, &h);
	ck_assert_uint_eq(h.version, 9);
	ck_assert_uint_eq(h.value, RPCAP_ERR_WRONGVER);
	buf_clear(&b);
}
END_TEST

START_TEST(auth_of_other_types)
{
	struct rpcap_auth auth;
	struct cursor c;
	struct bytes b;

	cursor_of(&c, &b, "0000 0000 ffff ffff");
	ck_assert_int_eq(rpcap_get_auth(&c, &auth), 0);
	ck_assert_uint_eq(auth.type, RPCAP_AUTH_NULL);
	ck_assert_uint_eq(auth.user_len + auth.password_len, 0);
	cursor_of(&c, &b, "0007 0000 0001 0001 'ab'");
	ck_assert_int_eq(rpcap_get_auth(&c, &auth), 0);
	ck_assert_uint_eq(auth.type, 7);
	ck_assert_ptr_null(auth.user);
	cursor_of(&c, &b, "0001 0000 0000 0000");
	ck_assert_int_eq(rpcap_get_auth(&c, &auth), 0);
	ck_assert_ptr_nonnull(auth.user);
	ck_assert_ptr_nonnull(auth.password);
	cursor_of(&c, &b, "0001 0000 0002 0001 'ab'");
	ck_assert_int_eq(rpcap_get_auth(&c, &auth), -1);
	cursor_of(&c, &b, "0001 0000 0003 0000 'ab'");
	ck_assert_int_eq(rpcap_get_auth(&c, &auth), -1);
}
END_TEST

START_TEST(auth_replies)
{
	static const struct {
		const char *payload;
		int result, min, max;
		enum rpcap_order order;
	} rows[] = {
		{ "", 0, 0, 0, RPCAP_ORDER_UNKNOWN }, { "02 05", 0, 2, 5, RPCAP_ORDER_UNKNOWN },
		{ "00 00 0000 d4c3b2a1", 0, 0, 0, RPCAP_ORDER_LITTLE }, { "00 00 ffff a1b2c3d4 00", 0, 0, 0, RPCAP_ORDER_BIG },
		{ "01 00", -1, 0, 0, RPCAP_ORDER_UNKNOWN }, { "00", -1, 0, 0, RPCAP_ORDER_UNKNOWN },
		{ "00 00 0000 a1b2c3d5", -1, 0, 0, RPCAP_ORDER_UNKNOWN }, { "01 00 0000 a1b2c3d4", -1, 0, 0, RPCAP_ORDER_UNKNOWN },
	};
	struct rpcap_auth_reply r;
	struct cursor c;
	struct bytes b;

	for (size_t i = 0; i < COUNT(rows); i++) {
		cursor_of(&c, &b, rows[i].payload);
		ck_assert_msg(rpcap_get_auth_reply(&c, &r) == rows[i].result, "row %zu", i);
		if (rows[i].result == 0)
			ck_assert_msg(r.version_min == rows[i].min && r.version_max == rows[i].max && r.order == rows[i].order, "row %zu", i);
	}
}
END_TEST

/* Of servers on other systems, and of such that sent their own structure. */
START_TEST(address_families)
{
	static const struct {
		const char *wire;
		int family;
	} rows[] = {
		{ "0002", AF_INET }, { "1002", AF_INET }, { "1000", AF_INET }, { "0017", AF_INET6 }, { "000a", AF_INET6 }, { "0016", AF_INET6 },
		{ "0018", AF_INET6 }, { "001a", AF_INET6 }, { "1c18", AF_INET6 }, { "1c1c", AF_INET6 }, { "1c1e", AF_INET6 }, { "1c00", AF_INET6 },
		{ "0000", 0 }, { "0001", 0 }, { "0011", 0 }, { "0200", 0 }, { "1700", 0 },
	};
	static const uint8_t v4[16] = { 0xa1, 0xa2, 0xa3, 0xa4 }, v6[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }, none[16];
	struct rpcap_addresses a;
	struct cursor c;
	struct bytes b;

	for (size_t i = 0; i < COUNT(rows); i++) {
		cursor_of(&c, &b, "0000 ffff a1a2a3a4 0102030405060708090a0b0c0d0e0f10 000000ff 00x484");
		ck_assert_uint_eq(b.len, 512);
		b.data[0] = (uint8_t)(strtoul(rows[i].wire, NULL, 16) >> 8);
		b.data[1] = (uint8_t)strtoul(rows[i].wire, NULL, 16);
		ck_assert_int_eq(rpcap_get_addresses(&c, &a), 0);
		ck_assert_msg(a.address.family == rows[i].family, "family %s", rows[i].wire);
		ck_assert_mem_eq(a.address.address, rows[i].family == AF_INET ? v4 : rows[i].family == AF_INET6 ? v6 : none, 16);
		ck_assert_uint_eq(a.address.scope, rows[i].family == AF_INET6 ? 0xff : 0);
		ck_assert_uint_eq(a.netmask.family, 0);
	}
}
END_TEST

START_TEST(filters_refused)
{
	static const struct {
		const char *payload, *error;
	} rows[] = {
		{ "0001 0000 000000", "the request is too short for a filter" },
		{ "0002 0000 00000001 0006 00 00 00000000", "filter of type 2; only BPF (type 1) is known" },
		{ "0001 0000 00002001", "filter of 8193 instructions; at most 8192 are taken" },
		{ "0001 0000 ffffffff", "filter of 4294967295 instructions; at most 8192 are taken" },
		{ "0001 0000 00000002 0006 00 00 00000000", "filter of 2 instructions, and 8 bytes are there for them" },
	};
	char error[RPCAP_TEXT_SIZE];
	struct rpcap_filter f;
	struct cursor c;
	struct bytes b;

	for (size_t i = 0; i < COUNT(rows); i++) {
		cursor_of(&c, &b, rows[i].payload);
		ck_assert_int_eq(rpcap_get_filter(&c, &f, error), -1);
		ck_assert_str_eq(error, rows[i].error);
		ck_assert_ptr_null(f.insn);
		ck_assert_uint_eq(f.count, 0);
	}
	cursor_of(&c, &b, "0001 ffff 00000000");
	ck_assert_int_eq(rpcap_get_filter(&c, &f, error), 0);
	ck_assert_uint_eq(f.count, 0);
	ck_assert_ptr_null(f.insn);
}
END_TEST

/* A client that leaves its one instruction out of the length is told from one that has no instruction, as soon as that is sure. */
START_TEST(length_without_its_instruction)
{
	static const uint8_t all[28] = { 0, 0, 0, 96, [13] = 1, [19] = 1, [21] = 6, [27] = 96 };
	uint8_t other[28];

	for (size_t there = 0; there <= sizeof(all); there++)
		ck_assert_uint_eq(rpcap_startcap_length(20, all, there), 28);
	ck_assert_uint_eq(rpcap_startcap_length(28, all, sizeof(all)), 28);
	ck_assert_uint_eq(rpcap_startcap_length(19, all, sizeof(all)), 19);
	for (size_t at = 12; at < 24; at++) {
		memcpy(other, all, sizeof(all));
		other[at]++;
		ck_assert_uint_eq(rpcap_startcap_length(20, other, at), 28);
		ck_assert_uint_eq(rpcap_startcap_length(20, other, at + 1), 20);
	}
}
END_TEST

START_TEST(longest_filter)
{
	static struct bpf_insn insn[RPCAP_INSNS_MAX + 1];
	struct rpcap_filter f = { .insn = insn, .count = RPCAP_INSNS_MAX }, back;
	const struct rpcap_startcap s = { .snaplen = 1 };
	struct rpcap_startcap got;
	char error[RPCAP_TEXT_SIZE];
	struct cursor c;
	struct buf b;

	for (uint32_t i = 0; i < RPCAP_INSNS_MAX; i++)
		insn[i] = (struct bpf_insn)BPF_JUMP(BPF_JMP | BPF_JEQ, i, i % 256, 255 - i % 256);
	buf_init(&b, RPCAP_HEADER_SIZE + RPCAP_REQUEST_MAX);
	ck_assert_int_eq(rpcap_put_startcap(&b, 0, &s, &f), 0);
	ck_assert_uint_eq(b.len, RPCAP_HEADER_SIZE + RPCAP_REQUEST_MAX);
	cursor_init(&c, b.data + RPCAP_HEADER_SIZE, b.len - RPCAP_HEADER_SIZE);
	ck_assert_int_eq(rpcap_get_startcap(&c, &got), 0);
	ck_assert_int_eq(rpcap_get_filter(&c, &back, error), 0);
	ck_assert_uint_eq(back.count, RPCAP_INSNS_MAX);
	ck_assert_mem_eq(back.insn, insn, RPCAP_INSNS_MAX * sizeof(insn[0]));
	free((void *)back.insn);
	f.count++;
	b.len = 0;
	ck_assert_int_eq(rpcap_put_updatefilter(&b, 0, &f), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_uint_eq(b.len, 0);
	buf_clear(&b);
}
END_TEST

START_TEST(packets)
{
	struct rpcap_packet p;
	struct cursor c;
	struct bytes b;

	cursor_of(&c, &b, "00000001 00000002 00000003 00000004 00000005 'abcdef'");
	ck_assert_int_eq(rpcap_get_packet(&c, &p), 0);
	ck_assert_uint_eq(p.seconds, 1);
	ck_assert_uint_eq(p.microseconds, 2);
	ck_assert_uint_eq(p.captured_len, 3);
	ck_assert_uint_eq(p.original_len, 4);
	ck_assert_uint_eq(p.number, 5);
	ck_assert_mem_eq(c.p, "abc", 3);
	cursor_of(&c, &b, "00000001 00000002 ffffffff 00000004 00000005 'abcdef'");
	ck_assert_int_eq(rpcap_get_packet(&c, &p), -1);
	cursor_of(&c, &b, "00000001 00000002 00000000 00000004 00000005");
	ck_assert_int_eq(rpcap_get_packet(&c, &p), 0);
}
END_TEST

/* --- the byte order of link types' headers --- */

#define USB		"0102030405060708 53 00 81 02 0a0b 2d 00 1112131415161718 21222324 31323334 41424344 51525354"
#define USB_SWAPPED	"0807060504030201 53 00 81 02 0b0a 2d 00 1817161514131211 24232221 34333231 44434241 54535251"
#define USB_BULK	"0102030405060708 53 03 81 02 0a0b 2d 00 1112131415161718 21222324 31323334 41424344 51525354"
#define USB_BULK_SWAPPED "0807060504030201 53 03 81 02 0b0a 2d 00 1817161514131211 24232221 34333231 44434241 54535251"
#define SETUP		"8006000100001200"
#define TAIL		"a1a2a3a4 b1b2b3b4 c1c2c3c4"
#define TAIL_SWAPPED	"a4a3a2a1 b4b3b2b1 c4c3c2c1"
#define PFLOG		"02 00 00 'eth0' 00x12 'rules' 00x11 00000001 00000002"
#define SLL		"0000 0118 0000 0000000000000000"
#define SLL2		"0000 00000003 0118 00 00 0000000000000000"

/* For a little-endian machine; for a big-endian one it is the other way round. */
static const struct swapped {
	const char	*name;
	uint32_t	linktype;
	const char	*before, *after;
	int		result;
} swaps[] = {
	{ "Ethernet", DLT_EN10MB, "'any frame'", "'any frame'", 0 },
	{ "loopback", DLT_NULL, "00000002 45", "02000000 45", 0 },
	{ "pflog, long", DLT_PFLOG, "3d" PFLOG "01020304 05060708 11121314 15161718 01 000000",
	    "3d" PFLOG "04030201 08070605 14131211 18171615 01 000000", 0 },
	{ "pflog, to its pid", DLT_PFLOG, "34" PFLOG "01020304 05060708 11121314 15161718",
	    "34" PFLOG "04030201 08070605 11121314 15161718", 0 },
	{ "pflog, cut", DLT_PFLOG, "3d" PFLOG "01020304 050607", "3d" PFLOG "04030201 050607", 0 },
	{ "USB, isochronous", DLT_USB_LINUX, USB "00000001 00000002 'data'", USB_SWAPPED "01000000 02000000 'data'", 0 },
	{ "USB, bulk", DLT_USB_LINUX, USB_BULK SETUP "'data'", USB_BULK_SWAPPED SETUP "'data'", 0 },
	{ "USB, cut", DLT_USB_LINUX, "0102030405060708 53 00 81 02 0a", "0807060504030201 53 00 81 02 0a", 0 },
	{ "USB mapped, bulk", DLT_USB_LINUX_MMAPPED, USB_BULK SETUP TAIL "00000002 'data of it'",
	    USB_BULK_SWAPPED SETUP TAIL_SWAPPED "02000000 'data of it'", 0 },
	{ "USB mapped, isochronous", DLT_USB_LINUX_MMAPPED, USB "00000001 00000002" TAIL "00000001" TAIL "0badcafe" TAIL,
	    USB_SWAPPED "01000000 02000000" TAIL_SWAPPED "01000000" TAIL_SWAPPED "0badcafe" TAIL, 0 },
	{ "USB mapped, descriptors that are not there", DLT_USB_LINUX_MMAPPED, USB "00000001 00000002" TAIL "ffffffff" TAIL "0badcafe a1a2a3a4 b1b2",
	    USB_SWAPPED "01000000 02000000" TAIL_SWAPPED "ffffffff" TAIL_SWAPPED "0badcafe a4a3a2a1 b1b2", 0 },
	{ "NFLOG", DLT_NFLOG, "02 00 0005  0008 0001 0800 0100  0005 0002 05 000000  0006 0003 abcd",
	    "02 00 0005  0800 0100 0800 0100  0500 0200 05 000000  0600 0300 abcd", 0 },
	{ "NFLOG, a length of 0", DLT_NFLOG, "02 00 0005  0000 0001  0008 0001", "02 00 0005  0000 0100  0008 0001", 0 },
	{ "NFLOG, too long", DLT_NFLOG, "02 00 0005  fff0 0001  0008 0001", "02 00 0005  f0ff 0100  0008 0001", 0 },
	{ "NFLOG, other version", DLT_NFLOG, "02 01 0005  0008 0001 0800 0100", "02 01 0005  0008 0001 0800 0100", 0 },
	{ "cooked, IP", DLT_LINUX_SLL, SLL "0800 45000000", SLL "0800 45000000", 0 },
	{ "cooked, CAN", DLT_LINUX_SLL, SLL "000c 01020304 05060708", SLL "000c 04030201 05060708", 0 },
	{ "cooked, CAN FD", DLT_LINUX_SLL, SLL "000d 01020304 05060708", SLL "000d 04030201 05060708", 0 },
	{ "cooked, CAN XL", DLT_LINUX_SLL, SLL "000e 01020304 80 03 0102 05060708 ff", SLL "000e 04030201 80 03 0201 08070605 ff", 0 },
	{ "cooked, CAN XL, cut", DLT_LINUX_SLL, SLL "000e 01020304 80 03 0102 050607", SLL "000e 04030201 80 03 0201 050607", 0 },
	{ "cooked 2, CAN", DLT_LINUX_SLL2, "000c" SLL2 "01020304 05", "000c" SLL2 "04030201 05", 0 },
	{ "cooked 2, IP", DLT_LINUX_SLL2, "0800" SLL2 "45020304 05", "0800" SLL2 "45020304 05", 0 },
	{ "netlink", DLT_NETLINK, "'anything at all'", "'anything at all'", -1 },
	{ "prism", DLT_PRISM_HEADER, "'anything at all'", "'anything at all'", -1 },
};

static uint8_t *
copy_of(const struct bytes *b, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, b->data, len);
	return copy;
}

START_TEST(swapped)
{
	const struct swapped *s = &swaps[_i];
	struct bytes before, after;
	uint8_t *packet;

	parse_bytes(htons(1) == 1 ? s->after : s->before, &before);
	parse_bytes(htons(1) == 1 ? s->before : s->after, &after);
	packet = copy_of(&before, before.len);
	ck_assert_int_eq(rpcap_swap_packet(s->linktype, packet, before.len), s->result);
	ck_assert_uint_eq(before.len, after.len);
	ck_assert_msg(memcmp(packet, after.data, after.len) == 0, "%s", s->name);
	free(packet);
}
END_TEST

/* No fixed header reaches over its end; what is cut away changes nothing before it. */
START_TEST(swapped_and_cut)
{
	const struct swapped *s = &swaps[_i];
	struct bytes before;
	uint8_t *packet;

	parse_bytes(s->before, &before);
	for (size_t len = 0; len < before.len; len++) {
		packet = copy_of(&before, len);
		ck_assert_int_eq(rpcap_swap_packet(s->linktype, packet, len), s->result);
		free(packet);
	}
	for (size_t bit = 0; bit < 8 * before.len; bit++) {
		before.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		packet = copy_of(&before, before.len);
		ck_assert_int_eq(rpcap_swap_packet(s->linktype, packet, before.len), s->result);
		free(packet);
		before.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rpcap");
	TCase *all = tcase_create("all kinds"), *fields = tcase_create("fields"), *order = tcase_create("byte order");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(all, bytes_of_the_protocol, 0, (int)COUNT(kinds));
	tcase_add_loop_test(all, comes_back, 0, (int)COUNT(kinds));
	tcase_add_loop_test(all, every_truncation, 0, (int)COUNT(kinds));
	tcase_add_loop_test(all, every_bit_flip, 0, (int)COUNT(kinds));
	tcase_add_loop_test(all, more_than_the_fields, 0, (int)COUNT(kinds));
	tcase_add_loop_test(all, full_buffer, 0, (int)COUNT(kinds));
	suite_add_tcase(suite, all);
	tcase_add_test(fields, names);
	tcase_add_test(fields, types);
	tcase_add_test(fields, texts);
	tcase_add_test(fields, long_error);
	tcase_add_test(fields, versions);
	tcase_add_test(fields, auth_of_other_types);
	tcase_add_test(fields, auth_replies);
	tcase_add_test(fields, address_families);
	tcase_add_test(fields, filters_refused);
	tcase_add_test(fields, length_without_its_instruction);
	tcase_add_test(fields, longest_filter);
	tcase_add_test(fields, packets);
	suite_add_tcase(suite, fields);
	tcase_add_loop_test(order, swapped, 0, (int)COUNT(swaps));
	tcase_add_loop_test(order, swapped_and_cut, 0, (int)COUNT(swaps));
	suite_add_tcase(suite, order);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
