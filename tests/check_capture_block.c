/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/codec.h"
#include "proto/pcapng.h"
#include "proto/transit.h"
#include "agent/capture_block.h"
#include "agent/spool.h"

#define BLOCK_MAX	(256u * 1024)

static int fd = -1;
static struct spool *producer, *consumer;
static struct capture_totals totals;
static struct capture_stream stream;
static struct capture_block block;
static uint8_t payload[PCAPNG_SNAPLEN + 1];

static void
setup(void)
{
	unsigned x = 1;

	for (size_t i = 0; i < sizeof(payload); i++) {
		x = x * 1103515245u + 12345u;
		payload[i] = (uint8_t)(x >> 16);
	}
	ck_assert_int_ne(fd = spool_create("check", SPOOL_SIZE_MIN), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(consumer = spool_attach(fd, SPOOL_CONSUMER));
	totals = (struct capture_totals){ .spool = producer };
	capture_stream_init(&stream, producer);
	ck_assert_int_eq(capture_stream_begin(&stream), 0);
	ck_assert_int_eq(capture_block_init(&block, &stream, &totals, codec_by_id(CODEC_NONE), 0), 0);
}

static void
teardown(void)
{
	capture_block_clear(&block);
	capture_stream_clear(&stream);
	spool_detach(producer);
	spool_detach(consumer);
	close(fd);
}

static struct capture_row *
row_named(const char *name, const char *filter)
{
	struct pcapng_interface interface = { .linktype = 1, .tsresol = 9 };

	snprintf(interface.name, sizeof(interface.name), "%s", name);
	snprintf(interface.filter, sizeof(interface.filter), "%s", filter);
	return capture_stream_row(&stream, &interface);
}

static int
put(struct capture_row *row, uint64_t time_ns, uint32_t len)
{
	struct pcapng_packet packet = { .time_ns = time_ns, .captured_len = len, .original_len = len + 1, .data = payload,
		.flags = PCAPNG_EPB_IN };

	return capture_block_put(&block, row, &packet);
}

/* The next block, decoded; released and acknowledged. */
static uint8_t *
take(struct spool_entry *entry)
{
	struct spool_item item;
	uint8_t *raw;

	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	ck_assert_ptr_nonnull(raw = malloc(item.entry.raw_len));
	ck_assert_int_eq(codec_by_id(item.entry.codec)->decode(item.data, item.entry.data_len, raw, item.entry.raw_len), 0);
	spool_release(consumer);
	ck_assert_int_eq(spool_acknowledge(consumer, item.stream, item.entry.number), 0);
	*entry = item.entry;
	return raw;
}

/* What a collector would ask. */
static void
check_well_formed(const struct spool_entry *entry, const uint8_t *raw)
{
	struct pcapng_summary sum;
	char error[128] = "";

	ck_assert_msg(pcapng_check_block(raw, entry->raw_len, (uint32_t)stream.row_count, &sum, error, sizeof(error)) == 0, "%s", error);
	ck_assert_uint_eq(sum.packets, entry->packets);
	ck_assert_uint_eq(sum.bytes, entry->bytes);
	ck_assert_uint_eq(sum.first_ns, entry->first_ns);
	ck_assert_uint_eq(sum.last_ns, entry->last_ns);
}

static uint64_t
isb_option(const uint8_t *isb, size_t len, uint16_t code)
{
	uint16_t found, option_len;
	struct cursor c;
	uint64_t value;

	cursor_init(&c, isb, len);
	ck_assert_int_eq(cursor_skip(&c, 20), 0);
	while (cursor_u16le(&c, &found) == 0 && cursor_u16le(&c, &option_len) == 0 && found != 0) {
		if (found == code) {
			ck_assert_int_eq(cursor_u64le(&c, &value), 0);
			return value;
		}
		ck_assert_int_eq(cursor_skip(&c, (size_t)(option_len + 3) & ~(size_t)3), 0);
	}
	ck_abort_msg("no option %u in the statistics", code);
	return 0;
}

#define ISB_IFRECV	4
#define ISB_FILTERACCEPT 6
#define ISB_OSDROP	7
#define ISB_USRDELIV	8

/* The statistics of this interface in the block; NULL: none. */
static const uint8_t *
find_isb(const uint8_t *raw, size_t raw_len, uint32_t id, size_t *len)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *at;
	uint32_t type;

	pcapng_walk_init(&walk, raw, raw_len);
	while (pcapng_walk_next(&walk, &type, &packet, &at, len) == 1)
		if (type == PCAPNG_ISB && at[8] == id)
			return at;
	return NULL;
}

START_TEST(seals_before_the_limit)
{
	struct capture_row *row = row_named("eth0", "");
	struct spool_entry entry;
	unsigned put_count = 0;
	uint8_t *raw;

	while (totals.sealed == 0) {
		ck_assert_int_eq(put(row, ++put_count, 1000), 0);
	}
	raw = take(&entry);
	ck_assert_uint_eq(entry.number, 1);
	ck_assert_uint_le(entry.raw_len, BLOCK_MAX);
	ck_assert_uint_gt(entry.raw_len, BLOCK_MAX - 2000);
	ck_assert_uint_eq(entry.packets, put_count - 1);
	ck_assert_uint_eq(block.packets, 1);
	check_well_formed(&entry, raw);
	free(raw);
}
END_TEST

START_TEST(every_length_comes_out_as_it_went_in)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 5, 60, 1514, 65535, 65549, 65536, 184306, PCAPNG_SNAPLEN };
	struct capture_row *row = row_named("eth0", "");
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	struct spool_entry entry;
	const uint8_t *at;
	uint32_t type;
	size_t i, n;
	uint8_t *raw;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		ck_assert_int_eq(put(row, 1000 + i, lengths[i]), 0);
		ck_assert_int_eq(capture_block_seal(&block), 0);
		raw = take(&entry);
		check_well_formed(&entry, raw);
		ck_assert_uint_le(entry.raw_len, MSG_BLOCK_RAW_MAX);
		pcapng_walk_init(&walk, raw, entry.raw_len);
		ck_assert_int_eq(pcapng_walk_next(&walk, &type, &packet, &at, &n), 1);
		ck_assert_uint_eq(packet.captured_len, lengths[i]);
		ck_assert_uint_eq(packet.original_len, lengths[i] + 1);
		ck_assert_uint_eq(packet.time_ns, 1000 + i);
		ck_assert_uint_eq(packet.flags, PCAPNG_EPB_IN);
		ck_assert_int_eq(memcmp(packet.data, payload, lengths[i]), 0);
		free(raw);
	}
	ck_assert_uint_eq(row->packets, sizeof(lengths) / sizeof(lengths[0]));
}
END_TEST

/* Only of what is all there, and only while they are wanted. */
START_TEST(digests)
{
	struct pcapng_packet packet = { .captured_len = 60, .original_len = 60, .data = payload };
	static const uint8_t secret[DIGEST_SECRET_SIZE] = "a secret of all agents", other[DIGEST_SECRET_SIZE] = "another";
	struct transit transit;
	uint64_t digest;

	payload[12] = 0x88;
	payload[13] = 0xcc;
	ck_assert_uint_eq(capture_block_digest(&block, 1, &packet), DIGEST_NONE);
	capture_block_set_digest(&block, secret);
	transit_parse(&transit, 1, payload, 60, 60);
	ck_assert_int_eq(transit.kind, TRANSIT_FRAME);
	digest = capture_block_digest(&block, 1, &packet);
	ck_assert_uint_eq(digest, digest_packet(&transit, secret));
	capture_block_set_digest(&block, other);
	ck_assert_uint_ne(capture_block_digest(&block, 1, &packet), digest);
	packet.original_len = 61;
	ck_assert_uint_eq(capture_block_digest(&block, 1, &packet), DIGEST_NONE);
	packet.original_len = 60;
	packet.zeroes = 1;
	ck_assert_uint_eq(capture_block_digest(&block, 1, &packet), DIGEST_NONE);
	packet.zeroes = 0;
	ck_assert_uint_ne(capture_block_digest(&block, 1, &packet), DIGEST_NONE);
	capture_block_set_digest(&block, NULL);
	ck_assert_uint_eq(capture_block_digest(&block, 1, &packet), DIGEST_NONE);
}
END_TEST

START_TEST(super_packet_has_its_own_block)
{
	struct capture_row *row = row_named("eth0", "");
	struct spool_entry entry;
	uint8_t *raw;

	ck_assert_int_eq(put(row, 1, 100), 0);
	ck_assert_int_eq(put(row, 2, PCAPNG_SNAPLEN), 0);
	ck_assert_int_eq(put(row, 3, 100), 0);
	ck_assert_int_eq(capture_block_seal(&block), 0);
	for (unsigned i = 1; i <= 3; i++) {
		raw = take(&entry);
		check_well_formed(&entry, raw);
		ck_assert_uint_eq(entry.packets, 1);
		ck_assert_uint_eq(entry.first_ns, i);
		free(raw);
	}
}
END_TEST

START_TEST(oversize_is_counted)
{
	struct capture_row *row = row_named("eth0", "");

	ck_assert_int_eq(put(row, 1, PCAPNG_SNAPLEN + 1), 0);
	ck_assert(capture_block_empty(&block));
	ck_assert_uint_eq(row->oversize, 1);
	ck_assert_uint_eq(row->packets, 0);
	capture_stream_count(&stream);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_PACKETS_OVERSIZE, row->id), 1);
}
END_TEST

START_TEST(drops_stand_on_the_next_packet_of_their_interface)
{
	struct capture_row *eth0 = row_named("eth0", ""), *eth1 = row_named("eth1", "");
	const uint64_t expected[] = { 0, 7, 0 };
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	struct spool_entry entry;
	const uint8_t *at;
	uint32_t type;
	uint8_t *raw;
	size_t n;

	eth1->dropped = eth1->dropped_untold = 7;
	ck_assert_int_eq(put(eth0, 1, 60) | put(eth1, 2, 60) | put(eth1, 3, 60), 0);
	ck_assert_int_eq(capture_block_seal(&block), 0);
	raw = take(&entry);
	check_well_formed(&entry, raw);
	pcapng_walk_init(&walk, raw, entry.raw_len);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(pcapng_walk_next(&walk, &type, &packet, &at, &n), 1);
		ck_assert_uint_eq(packet.interface, i == 0 ? eth0->id : eth1->id);
		ck_assert_uint_eq(packet.dropped, expected[i]);
	}
	ck_assert_ptr_nonnull(at = find_isb(raw, entry.raw_len, eth1->id, &n));
	ck_assert_uint_eq(isb_option(at, n, ISB_OSDROP), 7);
	free(raw);
}
END_TEST

static void
poll_rows(void *arg)
{
	struct capture_row *row = arg;

	row->received += 5;
}

START_TEST(statistics_of_the_interfaces_in_it)
{
	struct capture_row *eth0 = row_named("eth0", ""), *eth1 = row_named("eth1", ""), *eth2 = row_named("eth2", "");
	struct spool_entry entry;
	const uint8_t *isb;
	uint8_t *raw;
	size_t n;

	block.poll = poll_rows;
	block.poll_arg = eth0;
	eth0->uncounted = eth1->uncounted = true;
	eth2->offered = 9;
	ck_assert_int_eq(put(eth0, 5, 60) | put(eth0, 3, 70), 0);
	capture_block_touch(&block, eth2);
	ck_assert_int_eq(capture_block_seal(&block), 0);
	raw = take(&entry);
	check_well_formed(&entry, raw);
	ck_assert_uint_eq(entry.first_ns, 3);
	ck_assert_uint_eq(entry.last_ns, 5);
	ck_assert_ptr_nonnull(isb = find_isb(raw, entry.raw_len, eth0->id, &n));
	ck_assert_uint_eq(isb_option(isb, n, ISB_FILTERACCEPT), 5);
	ck_assert_uint_eq(isb_option(isb, n, ISB_USRDELIV), 2);
	ck_assert_ptr_null(find_isb(raw, entry.raw_len, eth1->id, &n));
	ck_assert_ptr_nonnull(isb = find_isb(raw, entry.raw_len, eth2->id, &n));
	ck_assert_uint_eq(isb_option(isb, n, ISB_IFRECV), 9);
	ck_assert_uint_eq(isb_option(isb, n, ISB_USRDELIV), 0);
	free(raw);
}
END_TEST

static void
note_at_begin(void *arg)
{
	(void)arg;
	capture_block_note(&block, "then");
	block.begin = NULL;
}

/* The comment of the first packet of a block, freshly allocated, or NULL. */
static char *
first_comment(const uint8_t *raw, size_t raw_len)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	uint16_t code, len;
	const uint8_t *at;
	struct cursor c;
	uint32_t type;
	size_t n;

	pcapng_walk_init(&walk, raw, raw_len);
	ck_assert_int_eq(pcapng_walk_next(&walk, &type, &packet, &at, &n), 1);
	cursor_init(&c, at, n);
	ck_assert_int_eq(cursor_skip(&c, 28 + ((packet.captured_len + 3) & ~3u)), 0);
	ck_assert_int_eq(cursor_u16le(&c, &code) | cursor_u16le(&c, &len), 0);
	return code == PCAPNG_OPT_COMMENT ? strndup((const char *)packet.data + ((packet.captured_len + 3) & ~3u) + 4, len) : NULL;
}

/* On the first packet of the block that begins after it, be it the largest there is, and on no other. */
START_TEST(notes_stand_on_a_first_packet)
{
	static const uint32_t lengths[] = { 61, 60, PCAPNG_SNAPLEN, 60 };
	static const char *const expected[] = { NULL, "first", "second; then", NULL };
	struct capture_row *row = row_named("eth0", "");
	struct spool_entry entry;
	char *comment;
	uint8_t *raw;

	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(put(row, 1 + i, lengths[i]), 0);
		if (i == 0)
			capture_block_note(&block, "first");
		if (i == 1) {
			capture_block_note(&block, "second");
			block.begin = note_at_begin;
		}
		ck_assert_int_eq(capture_block_seal(&block), 0);
		raw = take(&entry);
		check_well_formed(&entry, raw);
		comment = first_comment(raw, entry.raw_len);
		ck_assert_pstr_eq(comment, expected[i]);
		ck_assert_uint_eq(entry.flags, expected[i] != NULL ? BLOCK_EVENT : 0);
		free(comment);
		free(raw);
	}
}
END_TEST

/* What does not fit is in the log. */
START_TEST(notes_are_bounded)
{
	for (unsigned i = 0; i < 200; i++)
		capture_block_note(&block, "the clock went wrong");
	ck_assert_uint_lt(strlen(block.note), CAPTURE_BLOCK_NOTE_SIZE);
	ck_assert_uint_gt(strlen(block.note), CAPTURE_BLOCK_NOTE_SIZE - 30);
}
END_TEST

START_TEST(nothing_to_seal)
{
	struct spool_item item;

	ck_assert_int_eq(capture_block_seal(&block), 0);
	capture_block_seal_now(&block);
	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_NOTHING);
	ck_assert_uint_eq(totals.sealed, 0);
}
END_TEST

/* 64 interfaces' statistics and the packets before them stay inside one block. */
START_TEST(room_for_all_statistics)
{
	struct capture_row *row[MSG_INTERFACES_MAX];
	struct spool_entry entry;
	char name[16];
	uint8_t *raw;
	size_t n;

	for (size_t i = 0; i < MSG_INTERFACES_MAX; i++) {
		snprintf(name, sizeof(name), "eth%zu", i);
		ck_assert_ptr_nonnull(row[i] = row_named(name, ""));
	}
	for (unsigned i = 0; totals.sealed == 0; i++)
		ck_assert_int_eq(put(row[i % MSG_INTERFACES_MAX], i + 1, 333), 0);
	raw = take(&entry);
	check_well_formed(&entry, raw);
	ck_assert_uint_le(entry.raw_len, BLOCK_MAX);
	for (uint32_t i = 0; i < MSG_INTERFACES_MAX; i++)
		ck_assert_ptr_nonnull(find_isb(raw, entry.raw_len, i, &n));
	free(raw);
}
END_TEST

/* The consumer holds the oldest block of a spool that is full. */
static void
make_busy(struct capture_row *row)
{
	struct spool_item item;

	ck_assert_int_eq(put(row, 1, 200000), 0);
	ck_assert_int_eq(capture_block_seal(&block), 0);
	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_int_eq(put(row, 1, 200000), 0);
		if (capture_block_seal(&block) == -1) {
			ck_assert_int_eq(errno, EBUSY);
			return;
		}
	}
	ck_abort_msg("the spool was never full");
}

START_TEST(waits_while_the_spool_is_busy)
{
	struct capture_row *row = row_named("eth0", "");
	uint64_t before, lost;

	make_busy(row);
	before = totals.sealed;
	lost = spool_count_get(consumer, COUNTER_SPOOL_LOST_BLOCKS, STATS_AGENT);
	errno = 0;
	ck_assert_int_eq(put(row, 2, 200000), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(block.packets, 2);
	ck_assert_uint_eq(totals.sealed, before);
	spool_release(consumer);
	ck_assert_int_eq(capture_block_seal(&block), 0);
	ck_assert_uint_eq(totals.sealed, before + 1);
	ck_assert(capture_block_empty(&block));
	ck_assert_uint_ge(spool_count_get(consumer, COUNTER_SPOOL_LOST_BLOCKS, STATS_AGENT), lost);
}
END_TEST

/* What was lost since the consumer's position, by place. */
static uint64_t
lost_packets(uint8_t place)
{
	struct spool_item item;
	uint64_t packets = 0;

	for (;;) {
		spool_next(consumer, &item);
		if (item.kind == SPOOL_NOTHING)
			return packets;
		if (item.kind == SPOOL_BLOCK)
			spool_release(consumer);
		if (item.kind == SPOOL_LOST && item.gap.place == place)
			packets += item.gap.packets;
	}
}

START_TEST(gives_up_after_a_while)
{
	struct capture_row *row = row_named("eth0", "");
	uint64_t begun = clock_mono_ns();

	make_busy(row);
	while (capture_block_seal(&block) == -1)
		ck_assert_uint_lt(clock_mono_ns() - begun, 10000000000u);
	ck_assert_uint_ge(clock_mono_ns() - begun, CAPTURE_BLOCK_BUSY_MS * 1000000ull);
	ck_assert(capture_block_empty(&block));
	spool_release(consumer);
	ck_assert_uint_eq(lost_packets(GAP_CAPTURE), 1);
}
END_TEST

START_TEST(never_beyond_the_cap)
{
	struct capture_row *row = row_named("eth0", "");

	make_busy(row);
	ck_assert_int_eq(put(row, 2, 200000), -1);
	ck_assert_int_eq(put(row, 3, 200000), 0);
	ck_assert_uint_eq(block.packets, 1);
	ck_assert_uint_le(block.len, MSG_BLOCK_RAW_MAX);
	spool_release(consumer);
	ck_assert_uint_eq(lost_packets(GAP_CAPTURE), 2);
}
END_TEST

START_TEST(each_codec)
{
	static const char *const names[] = { "none", "zlib:1", "lz4", "zstd:1" };
	struct capture_row *row = row_named("eth0", "");
	const struct codec *codec;
	struct spool_entry entry;
	char error[128];
	uint8_t *raw;
	int level;

	if (codec_parse(names[_i], &codec, &level, error, sizeof(error)) == -1)
		return;	/* not built in */
	ck_assert_int_eq(capture_block_set_codec(&block, codec, level), 0);
	memset(payload, 'x', sizeof(payload) / 2);
	for (unsigned i = 1; i <= 2000; i++)
		ck_assert_int_eq(put(row, i, i), 0);
	ck_assert_int_eq(capture_block_seal(&block), 0);
	for (uint64_t i = 0; i < totals.sealed; i++) {
		raw = take(&entry);
		ck_assert_uint_eq(entry.codec, codec->id);
		check_well_formed(&entry, raw);
		free(raw);
	}
	ck_assert_uint_gt(totals.sealed, 5);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_BLOCKS_SEALED, STATS_AGENT), totals.sealed);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_PACKETS_CAPTURED, row->id), 2000);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_BYTES_CAPTURED, row->id), 2001000);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_BYTES_ORIGINAL, row->id), 2003000);
}
END_TEST

START_TEST(same_description_same_id)
{
	struct capture_row *plain = row_named("eth0", ""), *filtered;

	ck_assert_uint_eq(plain->id, 0);
	ck_assert_ptr_nonnull(filtered = row_named("eth0", "tcp"));
	ck_assert_uint_eq(filtered->id, 1);
	plain->packets = 5;
	plain->users = 0;
	ck_assert_ptr_eq(row_named("eth0", ""), plain);
	ck_assert_uint_eq(plain->packets, 5);
	ck_assert_uint_eq(row_named("eth1", "")->id, 2);
}
END_TEST

START_TEST(ids_run_out)
{
	char filter[32];

	for (unsigned i = 0; i < MSG_INTERFACES_MAX; i++) {
		snprintf(filter, sizeof(filter), "tcp port %u", i);
		ck_assert_ptr_nonnull(row_named("eth0", filter));
	}
	errno = 0;
	ck_assert_ptr_null(row_named("eth0", "udp"));
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(capture_stream_begin(&stream), 0);
	ck_assert_uint_eq(row_named("eth0", "udp")->id, 0);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("capture_block");
	TCase *t = tcase_create("block");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, seals_before_the_limit);
	tcase_add_test(t, every_length_comes_out_as_it_went_in);
	tcase_add_test(t, digests);
	tcase_add_test(t, super_packet_has_its_own_block);
	tcase_add_test(t, oversize_is_counted);
	tcase_add_test(t, drops_stand_on_the_next_packet_of_their_interface);
	tcase_add_test(t, statistics_of_the_interfaces_in_it);
	tcase_add_test(t, notes_stand_on_a_first_packet);
	tcase_add_test(t, notes_are_bounded);
	tcase_add_test(t, nothing_to_seal);
	tcase_add_test(t, room_for_all_statistics);
	tcase_add_test(t, waits_while_the_spool_is_busy);
	tcase_add_test(t, gives_up_after_a_while);
	tcase_add_test(t, never_beyond_the_cap);
	tcase_add_loop_test(t, each_codec, 0, 4);
	tcase_add_test(t, same_description_same_id);
	tcase_add_test(t, ids_run_out);
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
