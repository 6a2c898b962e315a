/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "agent/spool.h"

#define SIZE	(256u * 1024)
#define INDEX	1024u		/* descriptions that a spool of SIZE keeps */

static int fd;
static struct spool *producer, *consumer;

static void
setup(void)
{
	fd = spool_create("test", SIZE);
	ck_assert_int_ne(fd, -1);
	producer = spool_attach(fd, SPOOL_PRODUCER);
	consumer = spool_attach(fd, SPOOL_CONSUMER);
	ck_assert_ptr_nonnull(producer);
	ck_assert_ptr_nonnull(consumer);
}

static void
teardown(void)
{
	spool_detach(producer);
	spool_detach(consumer);
	close(fd);
}

static const uint8_t *
stream_id(unsigned n)
{
	static uint8_t id[MSG_ID_SIZE];

	memset(id, 0, sizeof(id));
	id[0] = (uint8_t)n;
	id[15] = 0x77;
	return id;
}

static void
begin(unsigned n)
{
	ck_assert_int_eq(spool_stream_begin(producer, stream_id(n), 1000 + n), 0);
}

/* Block number n of a stream has n packets of n * 10 bytes in all, and its number in every byte. */
static struct spool_entry
entry_of(uint64_t n, uint32_t length)
{
	return (struct spool_entry){ .codec = 1, .raw_len = 2 * length, .data_len = length, .packets = (uint32_t)n, .bytes = n * 10,
		.first_ns = 1000000 + n * 10, .last_ns = 1000000 + n * 10 + 9 };
}

static int
try_publish(uint64_t n, uint32_t length)
{
	struct spool_entry entry = entry_of(n, length);
	uint8_t *data;

	if ((data = spool_reserve(producer, length)) == NULL)
		return -1;
	memset(data, (int)n, length);
	spool_publish(producer, &entry);
	ck_assert_uint_eq(entry.number, n);
	return 0;
}

static void
publish(uint64_t first, uint64_t last, uint32_t length)
{
	for (uint64_t n = first; n <= last; n++)
		ck_assert_int_eq(try_publish(n, length), 0);
}

static void
expect_bytes(const uint8_t *data, uint8_t value, uint32_t length)
{
	uint8_t expected[4096];

	ck_assert_uint_le(length, sizeof(expected));
	memset(expected, value, length);
	ck_assert_mem_eq(data, expected, length);
}

static void
expect_nothing(void)
{
	struct spool_item item;

	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_NOTHING);
}

static void
expect_block(unsigned stream, uint64_t n, uint32_t length)
{
	struct spool_entry entry = entry_of(n, length);
	struct spool_item item;

	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	ck_assert_mem_eq(item.stream, stream_id(stream), MSG_ID_SIZE);
	ck_assert_uint_eq(item.entry.number, n);
	ck_assert_uint_eq(item.entry.codec, entry.codec);
	ck_assert_uint_eq(item.entry.raw_len, entry.raw_len);
	ck_assert_uint_eq(item.entry.data_len, entry.data_len);
	ck_assert_uint_eq(item.entry.packets, entry.packets);
	ck_assert_uint_eq(item.entry.bytes, entry.bytes);
	ck_assert_uint_eq(item.entry.first_ns, entry.first_ns);
	ck_assert_uint_eq(item.entry.last_ns, entry.last_ns);
	expect_bytes(item.data, (uint8_t)n, length);
	spool_release(consumer);
}

static uint64_t
sum(uint64_t first, uint64_t last)
{
	return (last * (last + 1) - first * (first - 1)) / 2;
}

/* The next item is a gap that starts with this number; returns its last one. */
static uint64_t
expect_gap(unsigned stream, uint64_t first, uint8_t place)
{
	struct spool_item item;

	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_LOST);
	ck_assert_mem_eq(item.gap.stream, stream_id(stream), MSG_ID_SIZE);
	ck_assert_uint_eq(item.gap.place, place);
	ck_assert_uint_eq(item.gap.first, first);
	ck_assert_uint_ge(item.gap.last, first);
	ck_assert_uint_eq(item.gap.packets, sum(first, item.gap.last));
	ck_assert_uint_eq(item.gap.bytes, 10 * sum(first, item.gap.last));
	ck_assert_uint_le(item.gap.first_ns, 1000000 + first * 10);
	ck_assert_uint_ge(item.gap.last_ns, 1000000 + item.gap.last * 10);
	return item.gap.last;
}

static void
expect_end(unsigned stream, uint64_t number)
{
	struct spool_item item;

	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_ENDED);
	ck_assert_mem_eq(item.stream, stream_id(stream), MSG_ID_SIZE);
	ck_assert_uint_eq(item.entry.number, number);
}

static void
acknowledge(unsigned stream, uint64_t number)
{
	ck_assert_int_eq(spool_acknowledge(consumer, stream_id(stream), number), 0);
}

START_TEST(test_attach_refuses)
{
	int other;
	char byte = 9;

	ck_assert_int_eq(ftruncate(fd, 4096), -1);
	ck_assert_int_eq(ftruncate(fd, 64 << 20), -1);
	other = memfd_create("other", MFD_CLOEXEC);
	ck_assert_ptr_null(spool_attach(other, SPOOL_PRODUCER));
	ck_assert_int_eq(errno, EBADMSG);
	ck_assert_int_eq(ftruncate(other, 1 << 20), 0);
	ck_assert_ptr_null(spool_attach(other, SPOOL_CONSUMER));
	ck_assert_int_eq(errno, EBADMSG);
	close(other);
	/* Every byte of magic, version and sizes counts. */
	for (off_t at = 0; at < 40; at++) {
		char was;

		ck_assert_int_eq(pread(fd, &was, 1, at), 1);
		byte = (char)(was ^ 1);
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
		if (at < 32)
			ck_assert_ptr_null(spool_attach(fd, SPOOL_CONSUMER));
		ck_assert_int_eq(pwrite(fd, &was, 1, at), 1);
	}
	ck_assert_int_eq(spool_create("none", 0), -1);
	ck_assert_ptr_null(spool_attach(-1, SPOOL_CONSUMER));
}
END_TEST

START_TEST(test_blocks_in_order)
{
	struct spool_stream streams[MSG_STREAMS_MAX];

	ck_assert(spool_empty(consumer));
	expect_nothing();
	ck_assert_uint_eq(spool_streams(consumer, streams), 0);
	begin(1);
	ck_assert_uint_eq(spool_streams(consumer, streams), 1);
	ck_assert_uint_eq(streams[0].first, 1);
	ck_assert_uint_eq(streams[0].last, 0);
	ck_assert_uint_eq(streams[0].started_ns, 1001);
	publish(1, 3, 1000);
	ck_assert_uint_eq(spool_used(producer), 3000);
	ck_assert_uint_eq(spool_used(consumer), 3000);
	ck_assert_uint_eq(spool_size(consumer), SIZE);
	ck_assert(!spool_empty(consumer));
	expect_block(1, 1, 1000);
	expect_block(1, 2, 1000);
	acknowledge(1, 1);
	ck_assert_uint_eq(spool_used(producer), 2000);
	ck_assert_uint_eq(spool_streams(consumer, streams), 1);
	ck_assert_uint_eq(streams[0].first, 2);
	ck_assert_uint_eq(streams[0].last, 3);
	ck_assert(!streams[0].ended);
	expect_block(1, 3, 1000);
	expect_nothing();
	acknowledge(1, 3);
	ck_assert(spool_empty(producer));
	ck_assert_uint_eq(spool_used(consumer), 0);
}
END_TEST

START_TEST(test_acknowledge_refuses)
{
	begin(1);
	publish(1, 3, 100);
	expect_block(1, 1, 100);
	ck_assert_int_eq(spool_acknowledge(consumer, stream_id(1), 2), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(spool_acknowledge(consumer, stream_id(2), 0), -1);
	ck_assert_int_eq(spool_acknowledge(consumer, stream_id(1), UINT64_MAX), -1);
	acknowledge(1, 1);
	acknowledge(1, 0);
	acknowledge(1, 1);
	expect_block(1, 2, 100);
}
END_TEST

START_TEST(test_streams_end)
{
	struct spool_stream streams[MSG_STREAMS_MAX];

	begin(1);
	publish(1, 2, 100);
	begin(2);
	publish(1, 1, 100);
	spool_stream_end(producer);
	spool_stream_end(producer);
	expect_block(1, 1, 100);
	expect_block(1, 2, 100);
	expect_end(1, 2);
	expect_block(2, 1, 100);
	ck_assert_int_eq(spool_acknowledge(consumer, stream_id(1), 3), -1);
	/* The younger one first: a collector may do so. */
	acknowledge(2, 1);
	ck_assert_uint_eq(spool_streams(consumer, streams), 2);
	ck_assert_uint_eq(streams[0].first, 1);
	ck_assert(streams[0].ended);
	ck_assert_uint_eq(streams[1].first, 2);
	acknowledge(1, 2);
	ck_assert_uint_eq(spool_streams(consumer, streams), 1);
	ck_assert(!spool_empty(consumer));
	expect_end(2, 1);
	ck_assert(spool_empty(consumer));
	ck_assert_uint_eq(spool_streams(consumer, streams), 0);
	begin(3);
	spool_stream_end(producer);
	expect_end(3, 0);
	ck_assert(spool_empty(consumer));
}
END_TEST

START_TEST(test_end_comes_again)
{
	begin(1);
	publish(1, 1, 100);
	spool_stream_end(producer);
	expect_block(1, 1, 100);
	expect_end(1, 1);
	spool_rewind(consumer);
	acknowledge(1, 1);
	ck_assert(!spool_empty(consumer));
	expect_end(1, 1);
	ck_assert(spool_empty(consumer));
}
END_TEST

START_TEST(test_stream_slots)
{
	for (unsigned n = 1; n <= MSG_STREAMS_MAX; n++) {
		begin(n);
		publish(1, 1, 64);
	}
	ck_assert_int_eq(spool_stream_begin(producer, stream_id(99), 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
	publish(2, 2, 64);
	expect_block(1, 1, 64);
	acknowledge(1, 1);
	ck_assert_int_eq(spool_stream_begin(producer, stream_id(99), 1), -1);
	expect_end(1, 1);
	begin(99);
	for (unsigned n = 2; n <= MSG_STREAMS_MAX; n++) {
		expect_block(n, 1, 64);
		if (n == MSG_STREAMS_MAX)
			expect_block(n, 2, 64);
		expect_end(n, n == MSG_STREAMS_MAX ? 2 : 1);
	}
}
END_TEST

START_TEST(test_overflow_makes_gap)
{
	uint64_t last;

	begin(1);
	publish(1, 200, 4096);
	last = expect_gap(1, 1, GAP_SPOOL);
	ck_assert_uint_eq(last, 200 - SIZE / 4096);
	for (uint64_t n = last + 1; n <= 200; n++)
		expect_block(1, n, 4096);
	expect_nothing();
	ck_assert_uint_eq(spool_used(consumer), SIZE);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_SPOOL_LOST_BLOCKS, STATS_AGENT), last);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_SPOOL_LOST_PACKETS, STATS_AGENT), sum(1, last));
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_SPOOL_LOST_BYTES, STATS_AGENT), 10 * sum(1, last));
	acknowledge(1, 200);
	ck_assert(spool_empty(consumer));
}
END_TEST

/* Blocks that were handed out are gaps of their own: a receiver may have any number of them. */
static void
expect_gaps_of_handed(unsigned stream, uint64_t first, uint64_t last)
{
	for (uint64_t n = first; n <= last; n++)
		ck_assert_uint_eq(expect_gap(stream, n, GAP_SPOOL), n);
}

/* Blocks that were sent, pushed out, and turn out to be durable: the gap starts behind them. */
START_TEST(test_durable_part_is_void)
{
	uint64_t last;

	begin(1);
	publish(1, 20, 4096);
	for (uint64_t n = 1; n <= 20; n++)
		expect_block(1, n, 4096);
	publish(21, 200, 4096);
	spool_rewind(consumer);
	acknowledge(1, 15);
	expect_gaps_of_handed(1, 16, 20);
	last = expect_gap(1, 21, GAP_SPOOL);
	ck_assert_uint_eq(last, 200 - SIZE / 4096);
	expect_block(1, last + 1, 4096);
}
END_TEST

/* The same when even the descriptions are gone, and with gaps that were handed out before. */
START_TEST(test_forgotten_part_is_exact)
{
	uint64_t last;

	begin(1);
	publish(1, 20, 64);
	for (uint64_t n = 1; n <= 20; n++)
		expect_block(1, n, 64);
	publish(21, 5000, 64);
	spool_rewind(consumer);
	acknowledge(1, 15);
	expect_gaps_of_handed(1, 16, 20);
	last = expect_gap(1, 21, GAP_SPOOL);
	ck_assert_uint_eq(last, 5000 - INDEX + 1);
	expect_block(1, last + 1, 64);
	publish(5001, 10000, 64);
	spool_rewind(consumer);
	acknowledge(1, last);
	expect_gaps_of_handed(1, last + 1, last + 1);
	last = expect_gap(1, last + 2, GAP_SPOOL);
	ck_assert_uint_eq(last, 10000 - INDEX + 1);
	publish(10001, 15000, 64);
	last = expect_gap(1, last + 1, GAP_SPOOL);
	spool_rewind(consumer);
	expect_gaps_of_handed(1, 5000 - INDEX + 2, 5000 - INDEX + 2);
	ck_assert_uint_eq(expect_gap(1, 5000 - INDEX + 3, GAP_SPOOL), 10000 - INDEX + 1);
	last = expect_gap(1, 10000 - INDEX + 2, GAP_SPOOL);
	ck_assert_uint_eq(last, 15000 - INDEX + 1);
}
END_TEST

/* A whole stream and its END are behind the index. */
START_TEST(test_forgotten_stream)
{
	uint64_t last;

	begin(1);
	publish(1, 5000, 64);
	begin(2);
	publish(1, 3000, 64);
	ck_assert_uint_eq(expect_gap(1, 1, GAP_SPOOL), 5000);
	expect_end(1, 5000);
	last = expect_gap(2, 1, GAP_SPOOL);
	ck_assert_uint_eq(last, 3000 - INDEX + 1);
	acknowledge(1, 5000);
	expect_block(2, last + 1, 64);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_SPOOL_LOST_BLOCKS, STATS_AGENT), 5000 + last);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_SPOOL_LOST_PACKETS, STATS_AGENT), sum(1, 5000) + sum(1, last));
}
END_TEST

START_TEST(test_lose)
{
	struct spool_entry entry = entry_of(2, 0);

	begin(1);
	publish(1, 1, 100);
	spool_lose(producer, &entry, GAP_CAPTURE);
	ck_assert_uint_eq(entry.number, 2);
	entry = entry_of(3, 0);
	spool_lose(producer, &entry, GAP_CAPTURE);
	entry = entry_of(4, 0);
	spool_lose(producer, &entry, GAP_PULL);
	publish(5, 5, 100);
	expect_block(1, 1, 100);
	ck_assert_uint_eq(expect_gap(1, 2, GAP_CAPTURE), 3);
	ck_assert_uint_eq(expect_gap(1, 4, GAP_PULL), 4);
	expect_block(1, 5, 100);
	ck_assert_uint_eq(spool_count_get(producer, COUNTER_SPOOL_LOST_BLOCKS, STATS_AGENT), 3);
}
END_TEST

START_TEST(test_held_block_stays)
{
	struct spool_item item;
	uint64_t n;

	begin(1);
	publish(1, 2, 4096);
	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	for (n = 3; try_publish(n, 4096) == 0; n++)
		ck_assert_uint_lt(n, 100);
	ck_assert_int_eq(errno, EBUSY);
	/* Acknowledged or not, it is being read. */
	acknowledge(1, 1);
	ck_assert_int_eq(try_publish(n, 4096), -1);
	expect_bytes(item.data, 1, 4096);
	spool_release(consumer);
	publish(n, n + 1, 4096);
	ck_assert_uint_eq(expect_gap(1, 2, GAP_SPOOL), 2);
	expect_block(1, 3, 4096);
}
END_TEST

START_TEST(test_reserve_refuses)
{
	struct spool_entry entry = entry_of(1, 100);

	ck_assert_ptr_null(spool_reserve(producer, SIZE + 1));
	ck_assert_int_eq(errno, EMSGSIZE);
	begin(1);
	ck_assert_ptr_nonnull(spool_reserve(producer, SIZE));
	/* More than was reserved is a loss, not an overflow. */
	ck_assert_ptr_nonnull(spool_reserve(producer, 10));
	spool_publish(producer, &entry);
	ck_assert_uint_eq(expect_gap(1, 1, GAP_CAPTURE), 1);
}
END_TEST

START_TEST(test_interfaces)
{
	uint8_t idb[MSG_IDB_MAX] = { 0 }, out[MSG_IDB_MAX];
	int id, count = 0;

	ck_assert_int_eq(spool_interface_add(producer, idb, 100), -1);
	begin(1);
	for (; count < 8; count++) {
		memset(idb, count, sizeof(idb));
		ck_assert_int_eq(spool_interface_add(producer, idb, sizeof(idb)), count);
	}
	ck_assert_int_eq(spool_interface_add(producer, idb, 1), -1);
	ck_assert_int_eq(errno, ENOSPC);
	begin(2);
	for (count = 0; count < MSG_INTERFACES_MAX; count++) {
		memset(idb, 0x80 + count, sizeof(idb));
		id = spool_interface_add(producer, idb, 100 + (size_t)count);
		ck_assert_int_eq(id, count);
	}
	ck_assert_int_eq(spool_interface_add(producer, idb, 100), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(spool_interface_get(consumer, stream_id(1), 7, out), MSG_IDB_MAX);
	ck_assert_uint_eq(out[0], 7);
	ck_assert_uint_eq(out[MSG_IDB_MAX - 1], 7);
	ck_assert_int_eq(spool_interface_get(consumer, stream_id(1), 8, out), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(spool_interface_get(consumer, stream_id(2), 63, out), 163);
	ck_assert_uint_eq(out[162], 0x80 + 63);
	ck_assert_int_eq(spool_interface_get(consumer, stream_id(2), 64, out), -1);
	ck_assert_int_eq(spool_interface_get(consumer, stream_id(3), 0, out), -1);
}
END_TEST

START_TEST(test_consumer_restart)
{
	struct spool *dead = consumer;
	struct spool_item item;

	begin(1);
	publish(1, 10, 100);
	expect_block(1, 1, 100);
	expect_block(1, 2, 100);
	acknowledge(1, 1);
	expect_block(1, 3, 100);
	spool_next(consumer, &item);
	/* It dies with a block in its hands. */
	consumer = spool_attach(fd, SPOOL_CONSUMER);
	expect_block(1, 2, 100);
	publish(11, 200, 4096);
	acknowledge(1, 3);
	expect_gaps_of_handed(1, 4, 4);
	ck_assert_uint_eq(expect_gap(1, 5, GAP_SPOOL), 200 - SIZE / 4096);
	spool_detach(dead);
}
END_TEST

START_TEST(test_producer_restart)
{
	uint64_t last;
	uint8_t *data;

	begin(1);
	publish(1, 100, 4096);
	last = expect_gap(1, 1, GAP_SPOOL);
	data = spool_reserve(producer, 4096);
	ck_assert_ptr_nonnull(data);
	memset(data, 0xee, 4096);
	spool_detach(producer);
	producer = spool_attach(fd, SPOOL_PRODUCER);
	ck_assert_ptr_nonnull(producer);
	begin(2);
	publish(1, 2, 4096);
	spool_rewind(consumer);
	ck_assert_uint_eq(expect_gap(1, 1, GAP_SPOOL), last);
	for (uint64_t n = expect_gap(1, last + 1, GAP_SPOOL) + 1; n <= 100; n++)
		expect_block(1, n, 4096);
	expect_end(1, 100);
	expect_block(2, 1, 4096);
	expect_block(2, 2, 4096);
	expect_nothing();
}
END_TEST

/* The new producer finds a block held whose description is gone. */
START_TEST(test_producer_restart_held)
{
	struct spool_item item;

	begin(1);
	publish(1, 1, 4096);
	spool_next(consumer, &item);
	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	publish(2, 3000, 64);
	spool_detach(producer);
	producer = spool_attach(fd, SPOOL_PRODUCER);
	ck_assert_ptr_nonnull(producer);
	begin(2);
	publish(1, 200, 4096);
	expect_bytes(item.data, 1, 4096);
	spool_release(consumer);
	publish(201, 400, 4096);
	ck_assert_uint_eq(expect_gap(1, 2, GAP_SPOOL), 3000);
	expect_end(1, 3000);
	ck_assert_uint_eq(expect_gap(2, 1, GAP_SPOOL), 400 - SIZE / 4096);
}
END_TEST

static blkcnt_t
blocks_of_memory(void)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_blocks;
}

/* However much goes through: what is in flight, as much again, and the pages of the descriptions; far from all of SIZE. */
START_TEST(test_little_use_touches_little)
{
	blkcnt_t before;

	begin(1);
	before = blocks_of_memory();
	for (uint64_t n = 1; n <= 900; n++) {
		publish(n, n, 4096);
		expect_block(1, n, 4096);
		if (n > 5)
			acknowledge(1, n - 5);
	}
	ck_assert_int_lt((int)(blocks_of_memory() - before), (200 * 1024) / 512);
}
END_TEST

START_TEST(test_reset)
{
	struct spool_stream streams[MSG_STREAMS_MAX];
	blkcnt_t full;

	begin(1);
	publish(1, 100, 4096);
	expect_gap(1, 1, GAP_SPOOL);
	full = blocks_of_memory();
	spool_reset(consumer);
	ck_assert_int_le((int)(blocks_of_memory()), (int)full - (int)SIZE / 512);
	ck_assert(spool_empty(consumer));
	ck_assert_uint_eq(spool_streams(consumer, streams), 0);
	publish(101, 102, 4096);
	expect_nothing();
	ck_assert(spool_empty(producer));
	begin(2);
	publish(1, 1, 4096);
	expect_block(2, 1, 4096);
}
END_TEST

START_TEST(test_counters)
{
	spool_count_set(producer, COUNTER_RING_DROPPED, 3, 5);
	spool_count_add(producer, COUNTER_RING_DROPPED, 3, 2);
	spool_count_add(producer, COUNTER_BLOCKS_SEALED, STATS_AGENT, 1);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_RING_DROPPED, 3), 7);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_RING_DROPPED, 2), 0);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_BLOCKS_SEALED, STATS_AGENT), 1);
	spool_count_set(producer, COUNTER_MAX, 3, 5);
	spool_count_set(producer, COUNTER_RING_DROPPED, MSG_INTERFACES_MAX + 1, 5);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_MAX, 3), 0);
	begin(1);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_RING_DROPPED, 3), 0);
	ck_assert_uint_eq(spool_count_get(consumer, COUNTER_BLOCKS_SEALED, STATS_AGENT), 1);
}
END_TEST

START_TEST(test_wake)
{
	int pipes[2];
	char bytes[16];

	ck_assert_int_eq(pipe2(pipes, O_NONBLOCK), 0);
	spool_set_wake_fd(producer, pipes[1]);
	begin(1);
	ck_assert_int_eq((int)read(pipes[0], bytes, sizeof(bytes)), -1);
	publish(1, 1, 100);
	ck_assert_int_eq((int)read(pipes[0], bytes, sizeof(bytes)), 8);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

/* As many in flight as there are marks: the rest waits for an acknowledgement, which wakes the consumer. */
START_TEST(test_window)
{
	struct spool_item item;
	uint64_t n = 1;
	int pipes[2];
	char bytes[16];

	ck_assert_int_eq(pipe2(pipes, O_NONBLOCK), 0);
	spool_set_wake_fd(consumer, pipes[1]);
	begin(1);
	for (;; n++) {
		publish(n, n, 64);
		spool_next(consumer, &item);
		if (item.kind == SPOOL_NOTHING)
			break;
		ck_assert_int_eq(item.kind, SPOOL_BLOCK);
		ck_assert_uint_le(n, 100000);
	}
	ck_assert_int_eq((int)read(pipes[0], bytes, sizeof(bytes)), -1);
	acknowledge(1, 2);
	ck_assert_int_eq((int)read(pipes[0], bytes, sizeof(bytes)), 8);
	expect_block(1, n, 64);
	/* A new session is not held up by what the old one had in flight. */
	spool_rewind(consumer);
	expect_gap(1, 3, GAP_SPOOL);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

static Suite *
spool_suite(void)
{
	Suite *suite = suite_create("spool");
	TCase *tc = tcase_create("spool");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_attach_refuses);
	tcase_add_test(tc, test_blocks_in_order);
	tcase_add_test(tc, test_acknowledge_refuses);
	tcase_add_test(tc, test_streams_end);
	tcase_add_test(tc, test_end_comes_again);
	tcase_add_test(tc, test_stream_slots);
	tcase_add_test(tc, test_overflow_makes_gap);
	tcase_add_test(tc, test_durable_part_is_void);
	tcase_add_test(tc, test_forgotten_part_is_exact);
	tcase_add_test(tc, test_forgotten_stream);
	tcase_add_test(tc, test_lose);
	tcase_add_test(tc, test_held_block_stays);
	tcase_add_test(tc, test_reserve_refuses);
	tcase_add_test(tc, test_interfaces);
	tcase_add_test(tc, test_consumer_restart);
	tcase_add_test(tc, test_producer_restart);
	tcase_add_test(tc, test_producer_restart_held);
	tcase_add_test(tc, test_little_use_touches_little);
	tcase_add_test(tc, test_reset);
	tcase_add_test(tc, test_counters);
	tcase_add_test(tc, test_wake);
	tcase_add_test(tc, test_window);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(spool_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
