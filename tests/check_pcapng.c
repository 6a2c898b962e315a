/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "proto/pcapng.h"

#define TIME_NS	0x1122334455667788u

static const uint8_t bytes[] = "0123456789abcdef";

/* Only as many bytes as given can be read: the copy is exactly that long. */
static uint8_t *
exact_copy(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	ck_assert_ptr_nonnull(copy);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

static struct pcapng_packet
make_packet(uint32_t len)
{
	return (struct pcapng_packet){.interface = 1, .time_ns = TIME_NS, .captured_len = len, .original_len = len + 100,
	    .data = bytes};
}

/* One of every kind that an agent's block may hold. */
static void
make_block(struct buf *b)
{
	struct pcapng_statistics statistics = {.interface = 0, .time_ns = TIME_NS, .has_offered = true, .offered = 12, .received = 10, .dropped = 2, .delivered = 8,
	    .start_ns = 1};
	struct pcapng_packet packet = make_packet(5);

	buf_init(b, 4096);
	ck_assert_int_eq(pcapng_put_epb(b, &packet), 0);
	packet.flags = PCAPNG_EPB_OUT;
	packet.dropped = 77;
	packet.packetid = 0x0102030405060708;
	packet.time_ns = TIME_NS - 5;
	packet.captured_len = 8;
	ck_assert_int_eq(pcapng_put_epb(b, &packet), 0);
	ck_assert_int_eq(pcapng_put_isb(b, &statistics), 0);
	packet.comment = "late";
	packet.time_ns = TIME_NS + 9;
	packet.captured_len = 0;
	ck_assert_int_eq(pcapng_put_epb(b, &packet), 0);
}

static struct pcapng_interface
make_interface(void)
{
	struct pcapng_interface interface = {.linktype = 1, .name = "eth0", .description = "the first", .filter = "tcp port 80",
	    .os = "Debian", .has_mac = true, .mac = {2, 0, 0, 0, 0, 9}, .ipv4_count = 2, .ipv6_count = 1,
	    .ipv4 = {{10, 0, 0, 1, 255, 255, 255, 0}, {10, 0, 1, 1, 255, 0, 0, 0}}, .ipv6 = {{0x20, 1, [16] = 64}}};

	return interface;
}

START_TEST(epb_bytes)
{
	static const uint8_t expected[] = {
		6, 0, 0, 0, 60, 0, 0, 0, 1, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 3, 0, 0, 0, 103, 0, 0, 0,
		'0', '1', '2', 0, 2, 0, 4, 0, 1, 2, 0, 0, 4, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 60, 0, 0, 0
	};
	struct pcapng_packet packet = make_packet(3);
	uint8_t room[PCAPNG_EPB_MAX(3)];

	packet.flags = 0x201;
	packet.dropped = 0x8000000000000005u;
	memset(room, 0xff, sizeof(room));
	ck_assert_uint_eq(pcapng_write_epb(room, &packet), sizeof(expected));
	ck_assert_mem_eq(room, expected, sizeof(expected));
}
END_TEST

START_TEST(epb_packetid)
{
	static const uint8_t expected[] = {
		6, 0, 0, 0, 52, 0, 0, 0, 1, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 4, 0, 0, 0, 104, 0, 0, 0,
		'0', '1', '2', '3', 5, 0, 8, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 52, 0, 0, 0
	};
	struct pcapng_packet packet = make_packet(4);
	uint8_t room[PCAPNG_EPB_MAX(4)];
	struct buf b;

	packet.packetid = 0x0102030405060708;
	ck_assert_uint_eq(pcapng_write_epb(room, &packet), sizeof(expected));
	ck_assert_mem_eq(room, expected, sizeof(expected));
	buf_init(&b, 4096);
	ck_assert_int_eq(pcapng_put_epb(&b, &packet), 0);
	ck_assert_uint_eq(b.len, sizeof(expected));
	ck_assert_mem_eq(b.data, expected, sizeof(expected));
	buf_clear(&b);
}
END_TEST

/* Any length, with and without options: stays in its room, whatever was there before, and reads back. */
START_TEST(epb_room)
{
	struct pcapng_packet packet = make_packet((uint32_t)_i), back;
	struct pcapng_walk walk;
	const uint8_t *block;
	uint8_t *room = malloc(PCAPNG_EPB_MAX(_i));
	size_t len, block_len;
	uint32_t type;
	int options, pad;

	for (options = 0; options < 8; options++) {
		packet.flags = options & 1 ? PCAPNG_EPB_IN : 0;
		packet.dropped = options & 2 ? 3 : 0;
		packet.packetid = options & 4 ? 0x8182838485868788u : 0;
		memset(room, 0xff, PCAPNG_EPB_MAX(_i));
		len = pcapng_write_epb(room, &packet);
		ck_assert_uint_le(len, PCAPNG_EPB_MAX(_i));
		for (pad = _i; pad % 4 != 0; pad++)
			ck_assert_uint_eq(room[28 + pad], 0);
		pcapng_walk_init(&walk, room, len);
		ck_assert_int_eq(pcapng_walk_next(&walk, &type, &back, &block, &block_len), 1);
		ck_assert_uint_eq(block_len, len);
		ck_assert_uint_eq(back.time_ns, TIME_NS);
		ck_assert_uint_eq(back.captured_len, packet.captured_len);
		ck_assert_uint_eq(back.original_len, packet.original_len);
		ck_assert_uint_eq(back.flags, packet.flags);
		ck_assert_uint_eq(back.dropped, packet.dropped);
		ck_assert_uint_eq(back.packetid, packet.packetid);
		ck_assert(memcmp(back.data, bytes, (size_t)_i) == 0);
		ck_assert_int_eq(pcapng_walk_next(&walk, &type, &back, &block, &block_len), 0);
	}
	free(room);
}
END_TEST

START_TEST(epb_large)
{
	struct pcapng_packet packet = {.captured_len = PCAPNG_SNAPLEN, .original_len = 300000};
	struct pcapng_summary summary;
	uint8_t *room = malloc(PCAPNG_EPB_MAX(PCAPNG_SNAPLEN)), *data = calloc(1, PCAPNG_SNAPLEN);
	char error[128];
	size_t len;

	packet.data = data;
	len = pcapng_write_epb(room, &packet);
	ck_assert_int_eq(pcapng_check_block(room, len, 1, &summary, error, sizeof(error)), 0);
	ck_assert_uint_eq(summary.bytes, PCAPNG_SNAPLEN);
	free(room);
	free(data);
}
END_TEST

/* What does not fit is not put at all. */
static void
assert_whole_or_nothing(struct buf *b, int r)
{
	ck_assert_int_eq(r == 0, b->len != 0);
	if (r == -1)
		ck_assert_int_eq(errno, ENOBUFS);
	b->len = 0;
}

START_TEST(put_whole_or_nothing)
{
	struct pcapng_interface interface = make_interface();
	struct pcapng_statistics statistics = {.interface = 0};
	struct pcapng_packet packet = make_packet(5);
	struct buf b;
	size_t max;

	packet.comment = "c";
	for (max = 0; max < 400; max++) {
		buf_init(&b, max);
		assert_whole_or_nothing(&b, pcapng_put_shb(&b, "x86_64", "Linux", "vmtap"));
		assert_whole_or_nothing(&b, pcapng_put_idb(&b, &interface));
		assert_whole_or_nothing(&b, pcapng_put_isb(&b, &statistics));
		assert_whole_or_nothing(&b, pcapng_put_epb(&b, &packet));
		buf_clear(&b);
	}
}
END_TEST

START_TEST(comment_too_long)
{
	struct pcapng_packet packet = make_packet(5);
	char *comment = calloc(1, 65537);
	struct buf b;

	memset(comment, 'x', 65536);
	packet.comment = comment;
	buf_init(&b, 1u << 20);
	ck_assert_int_eq(pcapng_put_epb(&b, &packet), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	comment[65535] = '\0';
	ck_assert_int_eq(pcapng_put_epb(&b, &packet), 0);
	buf_clear(&b);
	free(comment);
}
END_TEST

START_TEST(idb_round_trip)
{
	struct pcapng_interface interface = make_interface(), back;
	struct buf b;

	buf_init(&b, 4096);
	ck_assert_int_eq(pcapng_put_idb(&b, &interface), 0);
	ck_assert_int_eq(pcapng_parse_idb(b.data, b.len, &back), 0);
	interface.snaplen = PCAPNG_SNAPLEN;
	interface.tsresol = 9;
	ck_assert_uint_eq(back.linktype, interface.linktype);
	ck_assert_str_eq(back.name, interface.name);
	ck_assert_str_eq(back.description, interface.description);
	ck_assert_str_eq(back.filter, interface.filter);
	ck_assert_str_eq(back.os, interface.os);
	ck_assert_mem_eq(back.mac, interface.mac, 6);
	ck_assert_uint_eq(back.ipv4_count, 2);
	ck_assert_mem_eq(back.ipv4, interface.ipv4, sizeof(back.ipv4));
	ck_assert_uint_eq(back.ipv6_count, 1);
	ck_assert_mem_eq(back.ipv6, interface.ipv6, sizeof(back.ipv6));
	ck_assert_uint_eq(back.snaplen, PCAPNG_SNAPLEN);
	ck_assert_uint_eq(back.tsresol, 9);
	buf_clear(&b);
}
END_TEST

/* An IDB with one option more, given as code and bytes; what pcapng_parse_idb() says. */
static int
parse_with(uint16_t code, const void *value, uint16_t len, uint32_t snaplen, struct pcapng_interface *back)
{
	size_t padded = (len + 3u) & ~3u;
	struct buf b;
	uint32_t total = (uint32_t)(12 + 8 + 8 + 4 + padded);
	int errs = 0, r;

	buf_init(&b, 1u << 20);
	errs += buf_put_u32le(&b, PCAPNG_IDB) + buf_put_u32le(&b, total) + buf_put_u32le(&b, 1) + buf_put_u32le(&b, snaplen);
	errs += buf_put_u16le(&b, PCAPNG_IF_TSRESOL) + buf_put_u16le(&b, 1) + buf_put_u32le(&b, 9);
	errs += buf_put_u16le(&b, code) + buf_put_u16le(&b, len) + buf_put(&b, value, len) + buf_put(&b, "\0\0", padded - len);
	errs += buf_put_u32le(&b, total);
	ck_assert_int_eq(errs, 0);
	r = pcapng_parse_idb(b.data, b.len, back);
	buf_clear(&b);
	return r;
}

START_TEST(idb_options)
{
	static const char long_text[2000] = {[0 ... 1998] = 'n'};
	struct pcapng_interface back;

	ck_assert_int_eq(parse_with(0, "", 0, PCAPNG_SNAPLEN, &back), 0);
	ck_assert_int_eq(parse_with(2999, "any", 3, PCAPNG_SNAPLEN, &back), 0);
	ck_assert_int_eq(parse_with(PCAPNG_IF_SPEED, "12345678", 8, PCAPNG_SNAPLEN, &back), 0);
	ck_assert_int_eq(parse_with(PCAPNG_IF_FILTER, "\1\0\0\0\0", 5, PCAPNG_SNAPLEN, &back), 0);
	ck_assert_str_eq(back.filter, "");
	ck_assert_int_eq(parse_with(PCAPNG_IF_NAME, long_text, 63, PCAPNG_SNAPLEN, &back), 0);
	ck_assert_int_eq(parse_with(PCAPNG_IF_NAME, long_text, 64, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_NAME, "a\0b", 3, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_DESCRIPTION, long_text, 128, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_OS, long_text, 128, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_FILTER, "", 0, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_FILTER, "\0tcp", 4, PCAPNG_SNAPLEN, &back), 0);
	ck_assert_str_eq(back.filter, "tcp");
	ck_assert_int_eq(parse_with(PCAPNG_IF_MAC, long_text, 5, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_IPV4, long_text, 4, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_IPV6, long_text, 16, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(PCAPNG_IF_TSRESOL, "\6", 1, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(0, "end", 3, PCAPNG_SNAPLEN, &back), -1);
	ck_assert_int_eq(parse_with(2999, "any", 3, 65535, &back), -1);
}
END_TEST

/* More addresses than there is room for are passed over. */
START_TEST(idb_many_addresses)
{
	struct pcapng_interface interface = make_interface(), back;
	struct buf b, twice;
	size_t options = 16;

	interface.ipv4_count = interface.ipv6_count = 8;
	buf_init(&b, 4096);
	buf_init(&twice, 4096);
	ck_assert_int_eq(pcapng_put_idb(&b, &interface), 0);
	/* the options once more, before them the same without the end mark */
	ck_assert_int_eq(buf_put(&twice, b.data, b.len - 8) + buf_put(&twice, b.data + options, b.len - options), 0);
	twice.data[4] = twice.data[twice.len - 4] = (uint8_t)twice.len;
	twice.data[5] = twice.data[twice.len - 3] = (uint8_t)(twice.len >> 8);
	ck_assert_int_eq(pcapng_parse_idb(twice.data, twice.len, &back), 0);
	ck_assert_uint_eq(back.ipv4_count, 8);
	ck_assert_uint_eq(back.ipv6_count, 8);
	buf_clear(&b);
	buf_clear(&twice);
}
END_TEST

START_TEST(idb_truncated_and_flipped)
{
	struct pcapng_interface interface = make_interface(), back;
	uint8_t *copy;
	struct buf b;
	size_t i;

	buf_init(&b, 4096);
	ck_assert_int_eq(pcapng_put_idb(&b, &interface), 0);
	for (i = 0; i < b.len; i++) {
		copy = exact_copy(b.data, i);
		ck_assert_int_eq(pcapng_parse_idb(copy, i, &back), -1);
		free(copy);
	}
	for (i = 0; i < 8 * b.len; i++) {
		copy = exact_copy(b.data, b.len);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		if (pcapng_parse_idb(copy, b.len, &back) == 0) {
			ck_assert_uint_le(back.ipv4_count, 8);
			ck_assert_uint_lt(strlen(back.name), sizeof(back.name));
			ck_assert_uint_lt(strlen(back.filter), sizeof(back.filter));
		}
		if (i / 8 < 8 || i / 8 >= b.len - 4)	/* type and lengths */
			ck_assert_int_eq(pcapng_parse_idb(copy, b.len, &back), -1);
		free(copy);
	}
	buf_clear(&b);
}
END_TEST

START_TEST(block_summary)
{
	struct pcapng_summary summary;
	char error[128];
	struct buf b;

	make_block(&b);
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), 0);
	ck_assert_uint_eq(summary.packets, 3);
	ck_assert_uint_eq(summary.bytes, 13);
	ck_assert_uint_eq(summary.first_ns, TIME_NS - 5);
	ck_assert_uint_eq(summary.last_ns, TIME_NS + 9);
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 1, &summary, error, sizeof(error)), -1);
	ck_assert_str_eq(error, "at byte 0: interface 1, but only 1 are declared");
	ck_assert_int_eq(pcapng_check_block(b.data, 0, 0, &summary, error, sizeof(error)), 0);
	ck_assert_uint_eq(summary.packets, 0);
	ck_assert_uint_eq(summary.first_ns, 0);
	buf_clear(&b);
}
END_TEST

START_TEST(statistics_interface)
{
	struct pcapng_statistics statistics = {.interface = 3};
	struct pcapng_summary summary;
	char error[128];
	struct buf b;

	buf_init(&b, 4096);
	ck_assert_int_eq(pcapng_put_isb(&b, &statistics), 0);
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 4, &summary, error, sizeof(error)), 0);
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 3, &summary, error, sizeof(error)), -1);
	buf_clear(&b);
}
END_TEST

/* One 32-bit word of a packet without options is replaced. */
static const struct {
	size_t		offset;
	uint32_t	word;
	const char	*says;
} bad_words[] = {
	{0, 2, "neither"},
	{0, PCAPNG_IDB, "neither"},
	{0, PCAPNG_SHB, "neither"},
	{4, 0, "impossible"},
	{4, 8, "impossible"},
	{4, 38, "impossible"},
	{4, PCAPNG_BLOCK_MAX + 4, "impossible"},
	{4, 0xfffffffcu, "impossible"},
	{4, 44, "cut short"},
	{4, 16, "differ"},
	{8, 7, "interface 7"},
	{20, 104, "captured length"},		/* above the original */
	{20, 9, "shorter than its packet"},
	{20, 0xffffffffu, "captured length"},
	{20, 0, "options"},			/* the bytes become an option too long */
	{36, 44, "differ"},
};

START_TEST(bad_word)
{
	struct pcapng_packet packet = make_packet(5);
	struct pcapng_summary summary;
	uint32_t word = bad_words[_i].word;
	char error[128] = "";
	struct buf b;
	int i;

	buf_init(&b, 4096);
	packet.original_len = 100;
	ck_assert_int_eq(pcapng_put_epb(&b, &packet), 0);
	ck_assert_uint_eq(b.len, 40);
	for (i = 0; i < 4; i++)
		b.data[bad_words[_i].offset + (size_t)i] = (uint8_t)(word >> 8 * i);
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, bad_words[_i].says) != NULL, "said: %s", error);
	buf_clear(&b);
}
END_TEST

START_TEST(error_tells_where)
{
	struct pcapng_summary summary;
	char error[128];
	struct buf b;
	size_t first = 40;

	make_block(&b);
	b.data[first] = 99;
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "at byte 40:"));
	buf_clear(&b);
}
END_TEST

/* Every option that has a length of its own, one byte too long. */
START_TEST(options_lengths)
{
	struct pcapng_packet packet = make_packet(4);
	struct pcapng_summary summary;
	char error[128];
	struct buf b;

	packet.flags = 1;
	buf_init(&b, 4096);
	ck_assert_int_eq(pcapng_put_epb(&b, &packet), 0);
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), 0);
	b.data[34] = 3;		/* epb_flags of 3 bytes: padded the same */
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), -1);
	b.data[32] = 99;	/* an option that is not known may have any */
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), 0);
	b.data[32] = 0;		/* an end with a length */
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), -1);
	b.data[34] = 0;		/* an end with something behind it */
	ck_assert_int_eq(pcapng_check_block(b.data, b.len, 2, &summary, error, sizeof(error)), -1);
	buf_clear(&b);
}
END_TEST

static void
make_file(struct buf *b)
{
	struct pcapng_interface interface = make_interface();
	struct buf block;

	buf_init(b, 8192);
	make_block(&block);
	ck_assert_int_eq(pcapng_put_shb(b, "x86_64", "Linux", NULL), 0);
	ck_assert_int_eq(pcapng_put_idb(b, &interface), 0);
	ck_assert_int_eq(pcapng_put_idb(b, &interface), 0);
	ck_assert_int_eq(buf_put(b, block.data, block.len), 0);
	buf_clear(&block);
}

/* Packets and blocks of any kind in len bytes; the last pcapng_walk_any()'s result in *r. */
static unsigned
count_blocks(const uint8_t *data, size_t len, bool *torn, int *r)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	size_t block_len;
	unsigned n = 0;
	uint32_t type;

	pcapng_walk_init(&walk, data, len);
	while ((*r = pcapng_walk_any(&walk, &type, &packet, &block, &block_len)) == 1) {
		ck_assert(block >= data && block_len <= len && block + block_len <= data + len);
		if (type == PCAPNG_EPB)
			ck_assert(packet.data > block && packet.data + packet.captured_len < block + block_len);
		n++;
	}
	*torn = walk.torn;
	return n;
}

/* A tail that is cut off shows all whole blocks, and says that it is torn and not malformed. */
START_TEST(file_truncated)
{
	unsigned whole, n;
	uint8_t *copy;
	struct buf b;
	size_t len;
	bool torn;
	int r;

	make_file(&b);
	ck_assert_uint_eq(count_blocks(b.data, b.len, &torn, &r), 7);
	ck_assert_int_eq(r, 0);
	for (len = 0, whole = 0; len < b.len; len++) {
		copy = exact_copy(b.data, len);
		n = count_blocks(copy, len, &torn, &r);
		ck_assert(n == whole || (n == whole + 1 && r == 0));
		ck_assert(r == 0 || (r == -1 && torn));
		whole = n;
		free(copy);
	}
	ck_assert_uint_eq(whole, 6);
	buf_clear(&b);
}
END_TEST

START_TEST(file_flipped)
{
	uint8_t *copy;
	struct buf b;
	size_t i;
	bool torn;
	int r, bad = 0;

	make_file(&b);
	for (i = 0; i < 8 * b.len; i++) {
		copy = exact_copy(b.data, b.len);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		ck_assert_uint_le(count_blocks(copy, b.len, &torn, &r), 7);
		bad += r == -1;
		free(copy);
	}
	ck_assert_int_gt(bad, 7 * 12 * 8 / 2);	/* nearly all flips in types and lengths */
	buf_clear(&b);
}
END_TEST

START_TEST(block_truncated_and_flipped)
{
	struct pcapng_summary summary;
	char error[128];
	uint8_t *copy;
	struct buf b;
	size_t i;

	make_block(&b);
	for (i = 0; i < 8 * b.len; i++) {
		copy = exact_copy(b.data, b.len);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		if (pcapng_check_block(copy, b.len, 2, &summary, error, sizeof(error)) == 0)
			ck_assert_uint_le(summary.packets, 3);
		free(copy);
	}
	for (i = 1; i < b.len; i++) {
		copy = exact_copy(b.data, i);
		if (pcapng_check_block(copy, i, 2, &summary, error, sizeof(error)) == 0)
			ck_assert_uint_lt(summary.packets, 3);
		free(copy);
	}
	buf_clear(&b);
}
END_TEST

START_TEST(section_header_refused)
{
	struct buf b;
	bool torn;
	int r;

	buf_init(&b, 4096);
	ck_assert_int_eq(pcapng_put_shb(&b, NULL, "", NULL), 0);
	ck_assert_uint_eq(count_blocks(b.data, b.len, &torn, &r), 1);
	b.data[8] ^= 1;		/* byte order */
	count_blocks(b.data, b.len, &torn, &r);
	ck_assert_int_eq(r, -1);
	b.data[8] ^= 1;
	b.data[12] = 2;		/* version */
	count_blocks(b.data, b.len, &torn, &r);
	ck_assert_int_eq(r, -1);
	ck_assert(!torn);
	buf_clear(&b);
}
END_TEST

/* Comments of an EPB, joined by '|'. */
static void
comments_of(const uint8_t *block, size_t len, char *text)
{
	const uint8_t *comment;
	size_t at = 0, comment_len;

	*text = '\0';
	while (pcapng_next_comment(block, len, &at, &comment, &comment_len) == 1) {
		strncat(text, (const char *)comment, comment_len);
		strcat(text, "|");
	}
}

/* The first packet, behind statistics, gets one more; what it had, and all else, is as it was. */
START_TEST(comment_added)
{
	struct pcapng_packet packet = { .time_ns = 5, .captured_len = 3, .original_len = 3, .data = (const uint8_t *)"abc",
	    .flags = _i & 1 ? PCAPNG_EPB_IN : 0, .comment = _i & 2 ? "had" : NULL };
	struct pcapng_summary before, after;
	struct pcapng_walk walk;
	const uint8_t *block;
	char error[128], text[256];
	struct buf raw, out;
	uint32_t type;
	size_t len;

	buf_init(&raw, 4096);
	buf_init(&out, 4096);
	ck_assert_int_eq(pcapng_put_isb(&raw, &(struct pcapng_statistics){ .time_ns = 1 }), 0);
	ck_assert_int_eq(pcapng_put_commented(&out, raw.data, raw.len, "new"), -1);	/* no packet */
	ck_assert_uint_eq(out.len, 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
	ck_assert_int_eq(pcapng_put_commented(&out, raw.data, raw.len, "new"), 0);
	ck_assert_int_eq(pcapng_check_block(raw.data, raw.len, 1, &before, error, sizeof(error)), 0);
	ck_assert_msg(pcapng_check_block(out.data, out.len, 1, &after, error, sizeof(error)) == 0, "%s", error);
	ck_assert_uint_eq(before.packets, after.packets);
	ck_assert_uint_eq(before.bytes, after.bytes);
	pcapng_walk_init(&walk, out.data, out.len);
	for (unsigned i = 0; pcapng_walk_next(&walk, &type, &packet, &block, &len) == 1; i++) {
		comments_of(block, len, text);
		ck_assert_str_eq(text, i == 0 ? "" : i == 1 ? (_i & 2 ? "new|had|" : "new|") : _i & 2 ? "had|" : "");
		ck_assert(type != PCAPNG_EPB || packet.flags == (_i & 1 ? PCAPNG_EPB_IN : 0));
		for (size_t cut = 0; cut < len; cut++)
			comments_of(block, cut, text);		/* what is no whole block has none */
	}
	for (size_t cut = 1; cut < raw.len; cut++) {
		out.len = 0;
		if (pcapng_put_commented(&out, raw.data, cut, "new") == -1)
			ck_assert_uint_eq(out.len, 0);
	}
	buf_clear(&raw);
	buf_clear(&out);
}
END_TEST

static Suite *
pcapng_suite(void)
{
	Suite *s = suite_create("pcapng");
	TCase *write = tcase_create("write"), *read = tcase_create("read");

	tcase_add_test(write, epb_bytes);
	tcase_add_test(write, epb_packetid);
	tcase_add_loop_test(write, epb_room, 0, 17);
	tcase_add_test(write, epb_large);
	tcase_add_test(write, put_whole_or_nothing);
	tcase_add_test(write, comment_too_long);
	tcase_add_loop_test(write, comment_added, 0, 4);
	tcase_add_test(write, idb_round_trip);
	tcase_add_test(read, idb_options);
	tcase_add_test(read, idb_many_addresses);
	tcase_add_test(read, idb_truncated_and_flipped);
	tcase_add_test(read, block_summary);
	tcase_add_test(read, statistics_interface);
	tcase_add_loop_test(read, bad_word, 0, sizeof(bad_words) / sizeof(bad_words[0]));
	tcase_add_test(read, error_tells_where);
	tcase_add_test(read, options_lengths);
	tcase_add_test(read, file_truncated);
	tcase_add_test(read, file_flipped);
	tcase_add_test(read, block_truncated_and_flipped);
	tcase_add_test(read, section_header_refused);
	suite_add_tcase(s, write);
	suite_add_tcase(s, read);
	return s;
}

int
main(void)
{
	SRunner *runner = srunner_create(pcapng_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
