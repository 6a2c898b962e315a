/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link_send.h"
#include "proto/codec.h"
#include "proto/frame.h"

#define SPOOL_SIZE	SPOOL_SIZE_MIN
#define BLOCK_LEN	100000u
#define RAW_MORE	1000u
#define LARGE_LEN	(MSG_BLOCK_RAW_MAX - RAW_MORE)
#define LZ4_ONLY	(1u << CODEC_LZ4)
#define SECOND		UINT64_C(1000000000)
#define WIRE_MAX	(256u * 1024 * 1024)

/* A connection that takes at most so many bytes in each turn, and then none until the next one. */
struct wire {
	struct buf	got;
	size_t		room;
};

static const uint8_t stream_a[MSG_ID_SIZE] = { 0xa }, stream_b[MSG_ID_SIZE] = { 0xb };
static int fd;
static uint64_t published;	/* blocks of the stream so far */
static struct spool *producer, *consumer;
static struct wire wire;
static struct sender sender;
static struct backlog backlog;

static size_t
wire_out(void *arg, const void *bytes, size_t len)
{
	struct wire *w = arg;

	if (len > w->room)
		len = w->room;
	ck_assert_int_eq(buf_put(&w->got, bytes, len), 0);
	w->room -= len;
	return len;
}

static void
setup(void)
{
	ck_assert_int_ne(fd = spool_create("test", SPOOL_SIZE), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(consumer = spool_attach(fd, SPOOL_CONSUMER));
	buf_init(&wire.got, WIRE_MAX);
	wire.room = SIZE_MAX;
	backlog_init(&backlog, consumer, NULL);
	sender_init(&sender, &backlog, wire_out, &wire);
}

static void
teardown(void)
{
	sender_clear(&sender);
	backlog_clear(&backlog);
	buf_clear(&wire.got);
	spool_detach(producer);
	spool_detach(consumer);
	close(fd);
}

static void
begin(const uint8_t *id)
{
	ck_assert_int_eq(spool_stream_begin(producer, id, 1), 0);
	published = 0;
}

static void
add_interface(const char *idb)
{
	ck_assert_int_ge(spool_interface_add(producer, (const uint8_t *)idb, strlen(idb)), 0);
}

/* Byte i of a block's data tells number and place. */
static uint8_t
byte_of(uint64_t number, size_t i)
{
	return (uint8_t)(number * 31 + i * 7 + i / 251);
}

static void
publish_codec(uint32_t len, uint8_t codec)
{
	struct spool_entry entry = { .codec = codec, .raw_len = len + RAW_MORE, .data_len = len, .packets = 2, .bytes = 20, .first_ns = 5,
		.last_ns = 6 };
	uint8_t *data;
	uint32_t i;

	ck_assert_ptr_nonnull(data = spool_reserve(producer, len));
	published++;
	for (i = 0; i < len; i++)
		data[i] = byte_of(published, i);
	spool_publish(producer, &entry);
	ck_assert_uint_eq(entry.number, published);
}

static void
publish(uint32_t len)
{
	publish_codec(len, CODEC_LZ4);
}

/* Takes the first frame off the wire. */
static struct frame
next_frame(size_t *at)
{
	struct frame frame;

	ck_assert_int_eq(frame_parse(wire.got.data + *at, wire.got.len - *at, &frame), FRAME_OK);
	*at += FRAME_HEADER_SIZE + frame.length;
	return frame;
}

static void
expect_interface(size_t *at, const uint8_t *id, uint32_t number, const char *idb)
{
	struct frame frame = next_frame(at);
	struct msg_interface interface;

	ck_assert_int_eq(frame.type, FRAME_INTERFACE);
	ck_assert_int_eq(msg_get_interface(&frame, &interface), 0);
	ck_assert_mem_eq(interface.stream, id, MSG_ID_SIZE);
	ck_assert_uint_eq(interface.id, number);
	ck_assert_uint_eq(interface.idb_len, strlen(idb));
	ck_assert_mem_eq(interface.idb, idb, interface.idb_len);
}

static struct msg_block
expect_block(size_t *at, const uint8_t *id, uint64_t number, uint32_t len)
{
	struct frame frame = next_frame(at);
	struct msg_block block;
	uint32_t i;

	ck_assert_int_eq(frame.type, FRAME_BLOCK);
	ck_assert_int_eq(msg_get_block(&frame, &block), 0);
	ck_assert_mem_eq(block.stream, id, MSG_ID_SIZE);
	ck_assert_uint_eq(block.number, number);
	ck_assert_uint_eq(block.data_len, len);
	ck_assert_uint_eq(block.raw_len, len + RAW_MORE);
	ck_assert_uint_eq(block.packets, 2);
	for (i = 0; i < len && block.data[i] == byte_of(number, i); i++)
		;
	ck_assert_uint_eq(i, len);
	return block;
}

static void
expect_mark(size_t *at, enum frame_type type, const uint8_t *id, uint64_t number)
{
	struct frame frame = next_frame(at);
	struct msg_stream_end mark;

	ck_assert_int_eq(frame.type, type);
	ck_assert_int_eq(msg_get_stream_end(&frame, &mark), 0);
	ck_assert_mem_eq(mark.stream, id, MSG_ID_SIZE);
	ck_assert_uint_eq(mark.number, number);
}

START_TEST(frames_parse_back)
{
	size_t at = 0;

	begin(stream_a);
	add_interface("first");
	publish(BLOCK_LEN);
	publish(1);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	ck_assert_uint_eq(wire.got.len, 0);		/* not before WELCOME */
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	add_interface("second");
	publish(LARGE_LEN);
	spool_stream_end(producer);
	begin(stream_b);
	add_interface("third");
	publish(7);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);

	expect_interface(&at, stream_a, 0, "first");
	expect_block(&at, stream_a, 1, BLOCK_LEN);
	expect_block(&at, stream_a, 2, 1);
	expect_interface(&at, stream_a, 1, "second");
	expect_block(&at, stream_a, 3, LARGE_LEN);
	expect_mark(&at, FRAME_END, stream_a, 3);
	expect_interface(&at, stream_b, 0, "third");
	expect_block(&at, stream_b, 1, 7);
	ck_assert_uint_eq(at, wire.got.len);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_BLOCKS_SENT, STATS_AGENT), 4);
	ck_assert(sender_between_frames(&sender));
}
END_TEST

/* However little the connection takes: every frame whole, small messages between them. */
START_TEST(short_writes_keep_frames_whole)
{
	static const size_t rooms[] = { 1, 7, 65, 66, 67, 4096, 16383, 16384, 16385, 99999 };
	struct msg_ping ping = { .token = 42 };
	enum sender_result result;
	size_t at = 0, pings = 0, turn;
	uint64_t number = 1;
	struct frame frame;

	begin(stream_a);
	add_interface("first");
	publish(BLOCK_LEN);
	publish(20000);
	sender_start(&sender, LZ4_ONLY);
	wire.room = 0;
	for (turn = 0; (result = sender_run(&sender, 0)) == SENDER_BLOCKED; turn++) {
		if (turn % 1000 == 3)
			ck_assert_int_eq(msg_put_ping(&sender.control, &ping), 0);
		wire.room = rooms[_i];
	}
	ck_assert_int_eq(result, SENDER_IDLE);
	expect_interface(&at, stream_a, 0, "first");
	while (at < wire.got.len) {
		ck_assert_int_eq(frame_parse(wire.got.data + at, wire.got.len - at, &frame), FRAME_OK);
		if (frame.type == FRAME_PING) {
			next_frame(&at);
			pings++;
		} else {
			expect_block(&at, stream_a, number, number == 1 ? BLOCK_LEN : 20000);
			number++;
		}
	}
	ck_assert_uint_eq(number, 3);
	ck_assert_uint_eq(pings, turn > 3 ? (turn - 4) / 1000 + 1 : 0);
}
END_TEST

/* A block that the connection does not take is not held: capture may push it out, but it is sent whole. */
START_TEST(blocked_connection_holds_nothing)
{
	size_t at = 0;
	unsigned i;

	begin(stream_a);
	for (i = 0; i < 20; i++)
		publish(BLOCK_LEN);
	sender_start(&sender, LZ4_ONLY);
	wire.room = 10;
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_BLOCKED);
	for (i = 0; i < 20; i++)
		publish(BLOCK_LEN);
	wire.room = SIZE_MAX;
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_MORE);
	expect_block(&at, stream_a, 1, BLOCK_LEN);
	ck_assert_int_eq(next_frame(&at).type, FRAME_GAP);
}
END_TEST

START_TEST(new_session_tells_all_again)
{
	size_t at = 0;

	begin(stream_a);
	add_interface("first");
	publish(10);
	publish(20);
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	ck_assert_int_eq(spool_acknowledge(consumer, stream_a, 1), 0);
	wire.got.len = 0;
	spool_rewind(consumer);
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	expect_interface(&at, stream_a, 0, "first");
	expect_block(&at, stream_a, 2, 20);
	ck_assert_uint_eq(at, wire.got.len);
}
END_TEST

START_TEST(last_counters_go_before_the_end)
{
	struct msg_stat stat[2] = { { .counter = COUNTER_OFFERED, .interface = 0, .value = 7 } }, got[MSG_STATS_MAX];
	struct msg_stats last = { .count = 1, .stat = stat }, told = { .stat = got };
	struct frame frame;
	size_t at = 0;

	begin(stream_a);
	add_interface("first");
	publish(10);
	spool_stream_end(producer);
	memcpy(last.stream, stream_a, MSG_ID_SIZE);
	backlog_keep_last(&backlog, &last);
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	expect_interface(&at, stream_a, 0, "first");
	expect_block(&at, stream_a, 1, 10);
	frame = next_frame(&at);
	ck_assert_int_eq(frame.type, FRAME_STATS);
	ck_assert_int_eq(msg_get_stats(&frame, &told), 0);
	ck_assert_uint_eq(told.count, 1);
	ck_assert_uint_eq(got[0].value, 7);
	expect_mark(&at, FRAME_END, stream_a, 1);
	ck_assert_uint_eq(at, wire.got.len);
}
END_TEST

static void
check_overflow(bool pull, uint8_t place)
{
	struct msg_block block;
	struct frame frame;
	struct msg_gap gap;
	size_t at = 0;
	uint64_t number;
	unsigned i;

	begin(stream_a);
	add_interface("first");
	for (i = 0; i < 30; i++)
		publish(BLOCK_LEN);
	sender.pull = pull;
	sender_start(&sender, LZ4_ONLY);
	while (sender_run(&sender, 0) == SENDER_MORE)
		;
	frame = next_frame(&at);
	ck_assert_int_eq(frame.type, FRAME_GAP);
	ck_assert_int_eq(msg_get_gap(&frame, &gap), 0);
	ck_assert_uint_eq(gap.first, 1);
	ck_assert_uint_ge(gap.last, 9);
	ck_assert_uint_eq(gap.packets, 2 * gap.last);
	ck_assert_uint_eq(gap.bytes, 20 * gap.last);
	ck_assert_uint_eq(gap.place, place);
	expect_interface(&at, stream_a, 0, "first");
	for (number = gap.last + 1; number <= 30; number++) {
		block = expect_block(&at, stream_a, number, BLOCK_LEN);
		ck_assert_uint_eq(block.flags, BLOCK_URGENT);
	}
	ck_assert_uint_eq(at, wire.got.len);
}

START_TEST(overflow_is_a_gap)
{
	check_overflow(false, GAP_SPOOL);
}
END_TEST

START_TEST(overflow_of_a_pull_is_the_readers)
{
	check_overflow(true, GAP_PULL);
}
END_TEST

START_TEST(urgent_from_half_full)
{
	size_t at = 0;

	begin(stream_a);
	publish(BLOCK_LEN);
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	ck_assert_uint_eq(expect_block(&at, stream_a, 1, BLOCK_LEN).flags, 0);
}
END_TEST

START_TEST(unread_codec_is_refused)
{
	begin(stream_a);
	publish_codec(10, CODEC_ZLIB);
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_FAILED);
	ck_assert_ptr_nonnull(strstr(sender.error, "zlib"));
	ck_assert_uint_eq(wire.got.len, 0);
}
END_TEST

START_TEST(held_sends_only_messages)
{
	struct msg_ping ping = { .token = 1 };
	size_t at = 0;

	begin(stream_a);
	publish(10);
	sender_start(&sender, LZ4_ONLY);
	sender.held = true;
	ck_assert_int_eq(msg_put_ping(&sender.control, &ping), 0);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	ck_assert_int_eq(next_frame(&at).type, FRAME_PING);
	ck_assert_uint_eq(at, wire.got.len);
	sender.held = false;
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	expect_block(&at, stream_a, 1, 10);
}
END_TEST

START_TEST(others_have_their_turn)
{
	unsigned i;

	begin(stream_a);
	for (i = 0; i < 40; i++)
		publish(10);
	sender_start(&sender, LZ4_ONLY);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_MORE);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_MORE);
	ck_assert_int_eq(sender_run(&sender, 0), SENDER_IDLE);
	ck_assert_uint_eq(sender.items, 40);
}
END_TEST

/* Nor does a small message wait for the limit; what went beyond it is paid back. */
START_TEST(message_overtakes_the_limit)
{
	struct msg_ping ping = { .token = 1 };
	size_t at = 0;

	begin(stream_a);
	publish(BLOCK_LEN);
	publish(BLOCK_LEN);
	sender_start(&sender, LZ4_ONLY);
	sender_limit(&sender, 8 * BLOCK_LEN, 0, SECOND);
	ck_assert_int_eq(sender_run(&sender, SECOND + SECOND / 5), SENDER_LIMITED);
	ck_assert_uint_lt(wire.got.len, BLOCK_LEN);
	ck_assert_int_eq(msg_put_ping(&sender.control, &ping), 0);
	ck_assert_int_eq(sender_run(&sender, SECOND + SECOND / 5), SENDER_LIMITED);
	expect_block(&at, stream_a, 1, BLOCK_LEN);
	ck_assert_int_eq(next_frame(&at).type, FRAME_PING);
	ck_assert_uint_eq(at, wire.got.len);
	ck_assert_uint_ge(sender_wait_ns(&sender), SECOND * 8 / 10);
	ck_assert_int_eq(msg_put_ping(&sender.control, &ping), 0);
	ck_assert_int_eq(sender_run(&sender, SECOND * 13 / 10), SENDER_LIMITED);	/* no other block on credit */
	ck_assert_int_eq(next_frame(&at).type, FRAME_PING);
	ck_assert_uint_eq(at, wire.got.len);
}
END_TEST

/* With timers that come late: the rate holds, and hardly less than it. */
START_TEST(rate_is_limited)
{
	static const uint64_t rates[] = { 64000, 1000000, 8000000, 40000000 };
	uint64_t now_ns = SECOND, end_ns = 31 * SECOND, bits = rates[_i], number = 1;
	struct msg_ping ping = { .token = 1 };
	enum sender_result result;

	begin(stream_a);
	sender_start(&sender, LZ4_ONLY);
	sender_limit(&sender, bits, 0, now_ns);
	while (now_ns < end_ns) {
		result = sender_run(&sender, now_ns);
		if (result == SENDER_LIMITED) {
			now_ns += sender_wait_ns(&sender) + SECOND / 25;
			ck_assert_int_eq(msg_put_ping(&sender.control, &ping), 0);
		} else if (result == SENDER_IDLE) {
			publish(BLOCK_LEN);
			ck_assert_int_eq(spool_acknowledge(consumer, stream_a, number - 1), 0);
			number++;
		}
	}
	ck_assert_uint_le(wire.got.len, bits / 8 * 30 + bits / 8 / 4 + BLOCK_LEN + 65536);
	ck_assert_uint_ge(wire.got.len, bits / 8 * 30 * 9 / 10 - BLOCK_LEN);
}
END_TEST

/* After a silence so much goes at once, and then no more than the limit allows. */
START_TEST(burst_goes_at_once)
{
	const uint64_t burst = 20 * BLOCK_LEN, bits = 8 * BLOCK_LEN;
	enum sender_result result;

	begin(stream_a);
	sender_start(&sender, LZ4_ONLY);
	sender_limit(&sender, bits, burst, SECOND);
	for (int i = 0; i < 40; i++)
		publish(BLOCK_LEN);
	while ((result = sender_run(&sender, 100 * SECOND)) == SENDER_MORE)
		;
	ck_assert_int_eq(result, SENDER_LIMITED);
	ck_assert_uint_ge(wire.got.len, burst - 2 * BLOCK_LEN);
	ck_assert_uint_le(wire.got.len, burst + 2 * BLOCK_LEN);
	ck_assert_uint_le(sender_wait_ns(&sender), 2 * SECOND);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("link_send");
	TCase *tc = tcase_create("link_send");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, frames_parse_back);
	tcase_add_loop_test(tc, short_writes_keep_frames_whole, 0, 10);
	tcase_add_test(tc, blocked_connection_holds_nothing);
	tcase_add_test(tc, new_session_tells_all_again);
	tcase_add_test(tc, last_counters_go_before_the_end);
	tcase_add_test(tc, overflow_is_a_gap);
	tcase_add_test(tc, overflow_of_a_pull_is_the_readers);
	tcase_add_test(tc, urgent_from_half_full);
	tcase_add_test(tc, unread_codec_is_refused);
	tcase_add_test(tc, held_sends_only_messages);
	tcase_add_test(tc, others_have_their_turn);
	tcase_add_test(tc, message_overtakes_the_limit);
	tcase_add_loop_test(tc, rate_is_limited, 0, 4);
	tcase_add_test(tc, burst_goes_at_once);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
