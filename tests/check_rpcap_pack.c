/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <pcap/pcap.h>

#include "agent/rpcap_pack.h"
#include "common/buf.h"
#include "proto/pcapng.h"
#include "proto/rpcap.h"

#define SECOND	UINT64_C(1000000000)
#define ROOM	(1024u * 1024)

static struct buf block;
static uint8_t data[PCAPNG_SNAPLEN], out[ROOM];

/* --- blocks, and what is in messages --- */

static void
setup(void)
{
	buf_init(&block, 64 * ROOM);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
}

static void
teardown(void)
{
	buf_clear(&block);
}

static void
put(uint64_t time_ns, uint32_t captured, uint32_t original, uint32_t flags)
{
	const struct pcapng_packet packet = { .time_ns = time_ns, .captured_len = captured, .original_len = original, .data = data,
	    .flags = flags };

	ck_assert_int_eq(pcapng_put_epb(&block, &packet), 0);
}

static void
put_statistics(void)
{
	const struct pcapng_statistics statistics = { .received = 1 };

	ck_assert_int_eq(pcapng_put_isb(&block, &statistics), 0);
}

static struct rpcap_pack
begin(uint32_t captured_max)
{
	struct rpcap_pack pack = { .captured_max = captured_max };

	rpcap_pack_block(&pack, block.data, block.len);
	return pack;
}

/* The next of len bytes of messages, by the client's reader. */
static const uint8_t *
take(struct cursor *c, struct rpcap_packet *packet)
{
	struct rpcap_header header;
	struct cursor payload;
	const uint8_t *bytes = cursor_take(c, RPCAP_HEADER_SIZE);

	ck_assert_ptr_nonnull(bytes);
	rpcap_get_header(bytes, &header);
	ck_assert_uint_eq(header.version, 0);
	ck_assert_uint_eq(header.type, RPCAP_PACKET);
	ck_assert_int_eq(cursor_sub(c, header.length, &payload), 0);
	ck_assert_int_eq(rpcap_get_packet(&payload, packet), 0);
	ck_assert_uint_eq(payload.left, packet->captured_len);
	return payload.p;
}

/* --- tests --- */

START_TEST(packets_are_as_they_were)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 60, 1514, 9000, 65515 };
	struct rpcap_packet packet;
	struct rpcap_pack pack;
	uint64_t packets = 0;
	struct cursor c;
	size_t i, count = sizeof(lengths) / sizeof(lengths[0]);

	for (i = 0; i < count; i++) {
		put((1700000000 + i) * SECOND + 123456789 + i * 1000, lengths[i], lengths[i] + 5, i % 2 == 0 ? PCAPNG_EPB_IN : 0);
		put_statistics();
	}
	pack = begin(RPCAP_CAPTURED_MAX);
	cursor_init(&c, out, rpcap_pack_some(&pack, out, sizeof(out), &packets));
	ck_assert_uint_eq(packets, count);
	ck_assert(rpcap_pack_done(&pack));
	ck_assert_uint_le(c.left, block.len);
	for (i = 0; i < count; i++) {
		ck_assert_int_eq(memcmp(take(&c, &packet), data, lengths[i]), 0);
		ck_assert_uint_eq(packet.seconds, 1700000000 + i);
		ck_assert_uint_eq(packet.microseconds, 123456 + i);
		ck_assert_uint_eq(packet.captured_len, lengths[i]);
		ck_assert_uint_eq(packet.original_len, lengths[i] + 5);
		ck_assert_uint_eq(packet.number, i + 1);
	}
	ck_assert_uint_eq(c.left, 0);
}
END_TEST

static const struct {
	uint32_t	captured, original, max, sent;
} cuts[] = {
	{ 262144, 300000, RPCAP_CAPTURED_MAX, 65515 }, { 65516, 65516, RPCAP_CAPTURED_MAX, 65515 }, { 65515, 65515, RPCAP_CAPTURED_MAX, 65515 },
	{ 65535, 65535, RPCAP_DATAGRAM_CAPTURED_MAX, 65479 }, { 1514, 1514, 96, 96 }, { 96, 1514, 96, 96 }, { 60, 60, 96, 60 },
	{ 1514, 1514, 1, 1 },
};

START_TEST(a_packet_is_cut_and_keeps_its_length)
{
	struct rpcap_packet packet;
	struct rpcap_pack pack;
	uint64_t packets = 0;
	struct cursor c;
	size_t len;

	put(SECOND, cuts[_i].captured, cuts[_i].original, 0);
	pack = begin(cuts[_i].max);
	len = rpcap_pack_some(&pack, out, sizeof(out), &packets);
	ck_assert_uint_eq(len, RPCAP_PACKET_SIZE + cuts[_i].sent);
	cursor_init(&c, out, len);
	ck_assert_int_eq(memcmp(take(&c, &packet), data, cuts[_i].sent), 0);
	ck_assert_uint_eq(packet.captured_len, cuts[_i].sent);
	ck_assert_uint_eq(packet.original_len, cuts[_i].original);
}
END_TEST

START_TEST(time_goes_on_to_2106)
{
	static const uint64_t seconds[] = { 0, 2147483647, UINT64_C(2147483648), UINT64_C(4294967295), UINT64_C(4294967296) };
	struct rpcap_packet packet;
	struct rpcap_pack pack;
	uint64_t packets = 0;
	struct cursor c;

	put(seconds[_i] * SECOND + 999999999, 0, 60, 0);
	pack = begin(96);
	cursor_init(&c, out, rpcap_pack_some(&pack, out, sizeof(out), &packets));
	take(&c, &packet);
	ck_assert_uint_eq(packet.seconds, (uint32_t)seconds[_i]);
	ck_assert_uint_eq(packet.microseconds, 999999);
}
END_TEST

START_TEST(parts_are_the_whole)
{
	static uint8_t whole[ROOM];
	const size_t room = (size_t)_i;
	uint64_t packets = 0, again = 0;
	struct rpcap_pack pack;
	size_t len, done = 0, n;

	for (unsigned i = 0; i < 40; i++)
		put(i * SECOND, i * 13 % 101, 1514, 0);
	pack = begin(96);
	len = rpcap_pack_some(&pack, whole, sizeof(whole), &packets);
	pack = begin(96);
	while (!rpcap_pack_done(&pack)) {
		n = rpcap_pack_some(&pack, out, room, &again);
		ck_assert_uint_le(n, room);
		ck_assert_int_eq(memcmp(out, whole + done, n), 0);
		done += n;
		ck_assert(n > 0 || rpcap_pack_done(&pack));
	}
	ck_assert_uint_eq(done, len);
	ck_assert_uint_eq(packets, 40);
	ck_assert_uint_eq(again, 40);
}
END_TEST

START_TEST(numbers_go_on_and_around)
{
	struct rpcap_packet packet;
	struct rpcap_pack pack;
	uint64_t packets = 0;
	struct cursor c;

	put(SECOND, 4, 4, 0);
	put(SECOND, 4, 4, 0);
	pack = begin(96);
	pack.number = UINT32_MAX - 1;
	cursor_init(&c, out, rpcap_pack_some(&pack, out, sizeof(out), &packets));
	take(&c, &packet);
	ck_assert_uint_eq(packet.number, UINT32_MAX);
	take(&c, &packet);
	ck_assert_uint_eq(packet.number, 0);
	rpcap_pack_block(&pack, block.data, block.len);
	cursor_init(&c, out, rpcap_pack_some(&pack, out, sizeof(out), &packets));
	take(&c, &packet);
	ck_assert_uint_eq(packet.number, 1);
}
END_TEST

/* Whatever the bytes: nothing is read or written outside, and what is written are messages. */
static void
pack_all(const uint8_t *bytes, size_t len)
{
	struct rpcap_pack pack = { .captured_max = 96 };
	struct rpcap_packet packet;
	uint64_t packets = 0, read = 0;
	uint8_t *copy = malloc(len + 1), *dst = malloc(len + 1);
	struct cursor c;

	ck_assert(copy != NULL && dst != NULL);
	memcpy(copy, bytes, len);
	copy = realloc(copy, len > 0 ? len : 1);
	dst = realloc(dst, len > 0 ? len : 1);
	rpcap_pack_block(&pack, copy, len);
	cursor_init(&c, dst, rpcap_pack_some(&pack, dst, len, &packets));
	ck_assert(rpcap_pack_done(&pack));
	for (; c.left > 0; read++)
		take(&c, &packet);
	ck_assert_uint_eq(read, packets);
	free(copy);
	free(dst);
}

static void
put_few(void)
{
	put(SECOND, 5, 60, PCAPNG_EPB_IN);
	put_statistics();
	put(SECOND, 32, 32, 0);
	put(SECOND, 0, 32, 0);
}

START_TEST(a_truncated_block_ends)
{
	put_few();
	for (size_t len = 0; len <= block.len; len++)
		pack_all(block.data, len);
}
END_TEST

START_TEST(a_damaged_block_ends)
{
	put_few();
	for (size_t bit = 0; bit < 8 * block.len; bit++) {
		block.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		pack_all(block.data, block.len);
		block.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

/* --- captures of real traffic --- */

static void
check_capture(pcap_t *pcap)
{
	struct pcap_pkthdr *header;
	struct rpcap_packet packet;
	const uint8_t *bytes, *sent;
	struct rpcap_pack pack = { .captured_max = RPCAP_CAPTURED_MAX };
	uint32_t captured, number = 0;
	uint64_t packets = 0;
	struct cursor c;

	while (pcap_next_ex(pcap, &header, &bytes) == 1) {
		const struct pcapng_packet epb = { .captured_len = header->caplen, .original_len = header->len, .data = bytes,
		    .time_ns = (uint64_t)header->ts.tv_sec * SECOND + (uint64_t)header->ts.tv_usec, .flags = PCAPNG_EPB_OUT };

		block.len = 0;
		ck_assert_int_eq(pcapng_put_epb(&block, &epb), 0);
		rpcap_pack_block(&pack, block.data, block.len);
		cursor_init(&c, out, rpcap_pack_some(&pack, out, block.len, &packets));
		sent = take(&c, &packet);
		captured = header->caplen < RPCAP_CAPTURED_MAX ? header->caplen : RPCAP_CAPTURED_MAX;
		ck_assert_uint_eq(packet.captured_len, captured);
		ck_assert_int_eq(memcmp(sent, bytes, captured), 0);
		ck_assert_uint_eq(packet.original_len, header->len);
		/* There are files whose nanoseconds are more than a second. */
		ck_assert_uint_eq(packet.seconds, (uint32_t)(epb.time_ns / SECOND));
		ck_assert_uint_eq(packet.microseconds, epb.time_ns % SECOND / 1000);
		ck_assert_uint_eq(packet.number, ++number);
	}
	ck_assert_uint_eq(packets, number);
}

START_TEST(real_packets_are_as_they_were)
{
	const char *folder = getenv("VMTAP_CAPTURES");
	DIR *dir = folder != NULL ? opendir(folder) : NULL;
	char path[4096], error[PCAP_ERRBUF_SIZE];
	struct dirent *entry;
	unsigned files = 0;
	pcap_t *pcap;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if ((pcap = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, error)) == NULL)
			continue;
		check_capture(pcap);
		pcap_close(pcap);
		files++;
	}
	if (dir != NULL)
		closedir(dir);
	if (files == 0)
		printf("check_rpcap_pack: no capture files are tried; VMTAP_CAPTURES names a folder of them\n");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("rpcap_pack");
	TCase *t = tcase_create("rpcap_pack");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, packets_are_as_they_were);
	tcase_add_loop_test(t, a_packet_is_cut_and_keeps_its_length, 0, sizeof(cuts) / sizeof(cuts[0]));
	tcase_add_loop_test(t, time_goes_on_to_2106, 0, 5);
	tcase_add_loop_test(t, parts_are_the_whole, 128, 400);
	tcase_add_test(t, numbers_go_on_and_around);
	tcase_add_test(t, a_truncated_block_ends);
	tcase_add_test(t, a_damaged_block_ends);
	tcase_add_test(t, real_packets_are_as_they_were);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
