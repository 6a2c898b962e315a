/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <zlib.h>

#include "agent/disk.h"
#include "agent/disk_format.h"
#include "agent/disk_internal.h"
#include "common/buf.h"

#define DISK_SIZE	((uint64_t)DISK_SIZE_MIN)
#define SEGMENT_SIZE	(DISK_SIZE / DISK_SEGMENTS)
#define BLOCK_LEN	100000u
#define STARTED		1000u

static char dir[] = "/tmp/check_disk.XXXXXX";
static int lock, fd[DISK_SEGMENTS], spool_fd;
static struct spool *producer, *spool;
static struct disk *disk;
static uint64_t room;			/* of the file system */
static uint8_t data[MSG_BLOCK_MAX];

static const uint8_t *
stream_id(unsigned n)
{
	static uint8_t id[MSG_ID_SIZE];

	memset(id, 0, sizeof(id));
	id[0] = (uint8_t)n;
	id[1] = (uint8_t)(n >> 8);
	id[15] = 0x55;
	return id;
}

/* In the place of the system's. */
int
fstatvfs(int file, struct statvfs *fs)
{
	(void)file;
	*fs = (struct statvfs){ .f_frsize = 1, .f_blocks = SIZE_MAX / 2, .f_bavail = room };
	return 0;
}

static void
open_disk(void)
{
	ck_assert_ptr_nonnull(disk = disk_new(fd, DISK_SIZE, 0, spool));
}

static void
reopen(void)
{
	disk_free(disk);
	open_disk();
}

static void
setup(void)
{
	char error[DISK_ERROR_SIZE];

	room = SIZE_MAX / 2;
	strcpy(dir, "/tmp/check_disk.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_msg((lock = disk_files_open(dir, fd, error)) != -1, "%s", error);
	ck_assert_int_ne(spool_fd = spool_create("test", SPOOL_SIZE_MIN), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(spool_fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(spool = spool_attach(spool_fd, SPOOL_CONSUMER));
	open_disk();
}

static void
teardown(void)
{
	char name[64];

	disk_free(disk);
	spool_detach(producer);
	spool_detach(spool);
	close(spool_fd);
	close(lock);
	for (unsigned i = 0; i < DISK_SEGMENTS; i++) {
		close(fd[i]);
		snprintf(name, sizeof(name), "%s/segment-%02u", dir, i);
		unlink(name);
	}
	snprintf(name, sizeof(name), "%s/lock", dir);
	unlink(name);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* Block n: n packets of 10 n bytes, and its number in each byte. */
static int
try_block(unsigned stream, uint64_t n, uint32_t len)
{
	struct spool_item item = { .kind = SPOOL_BLOCK, .data = data };

	memset(data, (int)n, len);
	memcpy(item.stream, stream_id(stream), MSG_ID_SIZE);
	item.entry = (struct spool_entry){ .number = n, .codec = 1, .flags = n % 2 ? BLOCK_EVENT : 0, .raw_len = len, .data_len = len,
		.packets = (uint32_t)n, .bytes = 10 * n, .first_ns = 100 * n, .last_ns = 100 * n + 9 };
	return disk_append(disk, spool, &item, STARTED);
}

static void
put_block(unsigned stream, uint64_t n, uint32_t len)
{
	ck_assert_int_eq(try_block(stream, n, len), 0);
}

static void
put_end(unsigned stream, uint64_t n)
{
	struct spool_item item = { .kind = SPOOL_ENDED, .entry.number = n, .cut = true };

	memcpy(item.stream, stream_id(stream), MSG_ID_SIZE);
	ck_assert_int_eq(disk_append(disk, spool, &item, STARTED), 0);
}

static bool
nobody_knows(void *arg, const uint8_t *stream)
{
	(void)arg;
	(void)stream;
	return false;
}

static struct spool_item
next(void)
{
	struct spool_item item;

	disk_next(disk, &item, nobody_knows, NULL);
	return item;
}

static size_t
list(struct spool_stream out[MSG_STREAMS_MAX])
{
	uint8_t id[MSG_STREAMS_MAX][MSG_ID_SIZE];
	size_t count = disk_streams(disk, out, MSG_STREAMS_MAX);

	for (size_t i = 0; i < count; i++)
		memcpy(id[i], out[i].id, MSG_ID_SIZE);
	disk_set_listed(disk, (const uint8_t (*)[MSG_ID_SIZE])id, count);
	return count;
}

static void
greet(void)
{
	struct spool_stream out[MSG_STREAMS_MAX];

	list(out);
	disk_rewind(disk);
}

static void
expect_block(unsigned stream, uint64_t n, uint32_t len)
{
	struct spool_item item = next();

	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	ck_assert_mem_eq(item.stream, stream_id(stream), MSG_ID_SIZE);
	ck_assert_uint_eq(item.entry.number, n);
	ck_assert_uint_eq(item.entry.data_len, len);
	ck_assert_uint_eq(item.entry.packets, n);
	ck_assert_uint_eq(item.entry.bytes, 10 * n);
	ck_assert_uint_eq(item.entry.flags, n % 2 ? BLOCK_EVENT : 0);
	memset(data, (int)n, len);
	ck_assert_mem_eq(item.data, data, len);
}

static uint64_t
sum(uint64_t from, uint64_t to)
{
	return (to * (to + 1) - from * (from - 1)) / 2;
}

static struct spool_item
expect_lost(uint64_t first, uint64_t last)
{
	struct spool_item item = next();

	ck_assert_int_eq(item.kind, SPOOL_LOST);
	ck_assert_uint_eq(item.gap.place, GAP_DISK);
	ck_assert_uint_eq(item.gap.first, first);
	ck_assert_uint_eq(item.gap.last, last);
	ck_assert_uint_eq(item.gap.packets, sum(first, last));
	return item;
}

/* With the times of its blocks, which what was damaged does not have. */
static void
expect_gap(uint64_t first, uint64_t last)
{
	struct spool_item item = expect_lost(first, last);

	ck_assert_uint_eq(item.gap.bytes, 10 * sum(first, last));
	ck_assert_uint_eq(item.gap.first_ns, 100 * first);
	ck_assert_uint_eq(item.gap.last_ns, 100 * last + 9);
}

static void
expect_end(uint64_t number)
{
	struct spool_item item = next();

	ck_assert_int_eq(item.kind, SPOOL_ENDED);
	ck_assert_uint_eq(item.entry.number, number);
	ck_assert(item.cut);
}

static void
expect_nothing(void)
{
	ck_assert_int_eq(next().kind, SPOOL_NOTHING);
}

static uint64_t
bytes_in_files(void)
{
	struct stat st;
	uint64_t total = 0;

	for (unsigned i = 0; i < DISK_SEGMENTS; i++) {
		ck_assert_int_eq(fstat(fd[i], &st), 0);
		total += (uint64_t)st.st_size;
	}
	return total;
}

START_TEST(format_flips)
{
	struct disk_record r = { .kind = DISK_BLOCK, .data_len = 3, .sequence = 7, .first = 4, .last = 4, .packets = 2 }, got;
	uint8_t segment[DISK_SEGMENT_HEADER];
	uint64_t sequence;
	struct buf buf;

	buf_init(&buf, 4096);
	ck_assert_int_eq(disk_put_record(&buf, &r, "abc"), 0);
	ck_assert_uint_eq(buf.len, DISK_RECORD_HEADER);
	ck_assert_int_eq(disk_get_record(buf.data, &got), 0);
	ck_assert_uint_eq(got.first, 4);
	ck_assert(disk_data_good(&got, "abc"));
	ck_assert(!disk_data_good(&got, "abd"));
	for (size_t bit = 0; bit < 8 * DISK_RECORD_HEADER; bit++) {
		buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(disk_get_record(buf.data, &got), -1);
		buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	buf_consume(&buf, buf.len);
	ck_assert_int_eq(disk_put_segment(&buf, 9), 0);
	ck_assert_uint_eq(buf.len, DISK_SEGMENT_HEADER);
	memcpy(segment, buf.data, sizeof(segment));
	ck_assert_int_eq(disk_get_segment(segment, &sequence), 0);
	ck_assert_uint_eq(sequence, 9);
	for (size_t bit = 0; bit < 8 * sizeof(segment); bit++) {
		segment[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(disk_get_segment(segment, &sequence), -1);
		segment[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	buf_clear(&buf);
}
END_TEST

/* Until the segment is pushed out. */
START_TEST(an_end_keeps_the_last_counters)
{
	static const char last[] = "counters";
	struct spool_stream out[MSG_STREAMS_MAX];
	struct spool_item item = { .kind = SPOOL_ENDED, .entry = { .number = 2, .data_len = sizeof(last) }, .data = (const uint8_t *)last };

	put_block(1, 1, 10);
	put_block(1, 2, 10);
	memcpy(item.stream, stream_id(1), MSG_ID_SIZE);
	ck_assert_int_eq(disk_append(disk, spool, &item, STARTED), 0);
	put_block(2, 1, 10);
	reopen();
	ck_assert_uint_eq(list(out), 2);
	expect_block(1, 1, 10);
	expect_block(1, 2, 10);
	item = next();
	ck_assert_int_eq(item.kind, SPOOL_ENDED);
	ck_assert_uint_eq(item.entry.data_len, sizeof(last));
	ck_assert_mem_eq(item.data, last, sizeof(last));
	expect_block(2, 1, 10);
	disk_rewind(disk);
	disk_push_out(disk);
	while ((item = next()).kind != SPOOL_ENDED)
		ck_assert_int_eq(item.kind, SPOOL_LOST);
	ck_assert_ptr_null(item.data);
}
END_TEST

START_TEST(damaged_last_counters)
{
	static const char last[] = "counters";
	struct spool_item item = { .kind = SPOOL_ENDED, .entry = { .number = 1, .data_len = sizeof(last) },
		.data = (const uint8_t *)last };
	uint8_t byte = 0;

	put_block(1, 1, 10);
	memcpy(item.stream, stream_id(1), MSG_ID_SIZE);
	ck_assert_int_eq(disk_append(disk, spool, &item, STARTED), 0);
	ck_assert_int_eq(pwrite(fd[1], &byte, 1, DISK_SEGMENT_HEADER + 2 * DISK_RECORD_HEADER + 10), 1);
	greet();
	expect_block(1, 1, 10);
	item = next();
	ck_assert_int_eq(item.kind, SPOOL_ENDED);
	ck_assert_ptr_null(item.data);
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_ERRORS, STATS_AGENT), 1);
}
END_TEST

START_TEST(in_order_and_acknowledged)
{
	for (uint64_t n = 1; n <= 30; n++)
		put_block(1, n, BLOCK_LEN);
	put_end(1, 30);
	greet();
	for (uint64_t n = 1; n <= 30; n++)
		expect_block(1, n, BLOCK_LEN);
	expect_end(30);
	expect_nothing();
	disk_acknowledge(disk, stream_id(1), 20);
	greet();
	expect_block(1, 21, BLOCK_LEN);
	disk_acknowledge(disk, stream_id(1), 30);
	ck_assert(!disk_empty(disk));		/* its END is not out in this session */
	expect_end(30);
	ck_assert(disk_empty(disk));
	ck_assert_uint_eq(disk_used(disk), 0);
	ck_assert_uint_eq(bytes_in_files(), 0);
}
END_TEST

START_TEST(restart_keeps_all)
{
	struct spool_stream out[MSG_STREAMS_MAX];

	for (uint64_t n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	put_end(1, 25);
	put_block(2, 1, 10);
	reopen();
	ck_assert_uint_eq(list(out), 2);
	ck_assert_uint_eq(out[0].first, 1);
	ck_assert_uint_eq(out[0].last, 25);
	ck_assert_uint_eq(out[0].started_ns, STARTED);
	ck_assert(out[0].ended);
	ck_assert(!out[1].ended);
	put_block(2, 2, 10);
	for (uint64_t n = 1; n <= 25; n++)
		expect_block(1, n, BLOCK_LEN);
	expect_end(25);
	expect_block(2, 1, 10);
	expect_block(2, 2, 10);
	expect_nothing();
}
END_TEST

/* Full: the oldest segments go, counted exactly, whether read or not, and after a restart too. */
START_TEST(full_pushes_out)
{
	const uint64_t total = 400;
	struct spool_item item;
	uint64_t lost;

	for (uint64_t n = 1; n <= total; n++) {
		put_block(1, n, BLOCK_LEN);
		ck_assert_uint_le(bytes_in_files(), DISK_SIZE);
	}
	lost = spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT);
	ck_assert_uint_gt(lost, 0);
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_LOST_PACKETS, STATS_AGENT), sum(1, lost));
	for (unsigned round = 0; round < 2; round++) {
		greet();
		expect_gap(1, lost);
		for (uint64_t n = lost + 1; n <= total; n++)
			expect_block(1, n, BLOCK_LEN);
		expect_nothing();
		reopen();
	}
	disk_acknowledge(disk, stream_id(1), lost);
	greet();
	item = next();
	ck_assert_int_eq(item.kind, SPOOL_BLOCK);
	ck_assert_uint_eq(item.entry.number, lost + 1);
}
END_TEST

/* What was handed out and then pushed out: whatever the collector turns out to have, the rest is exact. */
START_TEST(full_while_in_flight)
{
	uint64_t n, lost;

	for (n = 1; n <= 20; n++)
		put_block(1, n, BLOCK_LEN);
	greet();
	for (uint64_t i = 1; i <= 15; i++)
		expect_block(1, i, BLOCK_LEN);
	while ((lost = spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT)) < 18)
		put_block(1, n++, BLOCK_LEN);
	expect_gap(16, lost);
	expect_block(1, lost + 1, BLOCK_LEN);
	disk_acknowledge(disk, stream_id(1), 7);
	greet();
	expect_gap(8, lost);
	expect_block(1, lost + 1, BLOCK_LEN);
}
END_TEST

START_TEST(torn_tail)
{
	struct stat st;
	off_t whole, torn;

	put_block(1, 1, 500);
	ck_assert_int_eq(fstat(fd[1], &st), 0);
	whole = st.st_size;
	put_block(1, 2, 500);
	ck_assert_int_eq(fstat(fd[1], &st), 0);
	for (torn = st.st_size - 1; torn >= whole; torn -= 7) {
		ck_assert_int_eq(ftruncate(fd[1], torn), 0);
		reopen();
		greet();
		expect_block(1, 1, 500);
		expect_nothing();
		put_block(1, 2, 500);
		expect_block(1, 2, 500);
	}
}
END_TEST

static void
flip(int file, off_t at)
{
	uint8_t byte;

	ck_assert_int_eq(pread(file, &byte, 1, at), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(file, &byte, 1, at), 1);
}

START_TEST(damaged_data)
{
	for (uint64_t n = 1; n <= 3; n++)
		put_block(1, n, 500);
	flip(fd[1], DISK_SEGMENT_HEADER + DISK_RECORD_HEADER + 500 + DISK_RECORD_HEADER + 17);
	for (unsigned round = 0; round < 2; round++) {
		greet();
		expect_block(1, 1, 500);
		expect_gap(2, 2);
		expect_block(1, 3, 500);
	}
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT), 1);
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_LOST_PACKETS, STATS_AGENT), 2);
}
END_TEST

static void
write_version(int file, uint32_t version)
{
	uint8_t header[DISK_SEGMENT_HEADER];
	uint32_t crc;

	ck_assert_int_eq(pread(file, header, sizeof(header), 0), sizeof(header));
	header[11] = (uint8_t)version;
	crc = (uint32_t)crc32(0, header, DISK_SEGMENT_HEADER - 4);
	for (unsigned i = 0; i < 4; i++)
		header[DISK_SEGMENT_HEADER - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
	ck_assert_int_eq(pwrite(file, header, sizeof(header), 0), sizeof(header));
}

static uint64_t
disk_errors(void)
{
	return spool_count_get(spool, COUNTER_DISK_ERRORS, STATS_AGENT);
}

/* What is thrown away at the start is counted, whyever. */
START_TEST(refused_at_start)
{
	struct stat st;

	for (uint64_t n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	reopen();
	ck_assert_uint_eq(disk_errors(), 0);
	write_version(fd[1], DISK_VERSION + 1);
	reopen();
	ck_assert_uint_eq(disk_errors(), 1);
	flip(fd[2], 20);
	reopen();
	ck_assert_uint_eq(disk_errors(), 2);
	ck_assert_int_eq(fstat(fd[3], &st), 0);
	ck_assert_int_eq(ftruncate(fd[3], st.st_size - 1), 0);
	reopen();
	ck_assert_uint_eq(disk_errors(), 3);
	reopen();
	ck_assert_uint_eq(disk_errors(), 3);
}
END_TEST

/* The rest of a segment is gone: numbers are missing, and said to be. */
START_TEST(damaged_header)
{
	struct spool_item item;

	for (uint64_t n = 1; n <= 15; n++)
		put_block(1, n, BLOCK_LEN);
	flip(fd[1], DISK_SEGMENT_HEADER + DISK_RECORD_HEADER + BLOCK_LEN + 50);
	reopen();
	greet();
	expect_block(1, 1, BLOCK_LEN);
	item = next();
	ck_assert_int_eq(item.kind, SPOOL_LOST);
	ck_assert_uint_eq(item.gap.first, 2);
	ck_assert_uint_eq(item.gap.place, GAP_DISK);
	expect_block(1, item.gap.last + 1, BLOCK_LEN);
}
END_TEST

/* Damage under a running queue, in the newest segment: the rest of it and its END are told all the same, once counted. */
START_TEST(damaged_while_running)
{
	struct spool_item item;

	for (uint64_t n = 1; n <= 3; n++)
		put_block(1, n, 500);
	put_end(1, 3);
	flip(fd[1], DISK_SEGMENT_HEADER + DISK_RECORD_HEADER + 500 + 50);
	for (unsigned round = 0; round < 2; round++) {
		greet();
		expect_block(1, 1, 500);
		item = next();
		ck_assert_int_eq(item.kind, SPOOL_LOST);
		ck_assert_uint_eq(item.gap.first, 2);
		ck_assert_uint_eq(item.gap.last, 3);
		ck_assert_uint_eq(item.gap.place, GAP_DISK);
		expect_end(3);
		expect_nothing();
	}
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT), 2);
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_ERRORS, STATS_AGENT), 1);
	disk_acknowledge(disk, stream_id(1), 3);
	ck_assert(disk_empty(disk));
}
END_TEST

static uint64_t
lost_blocks(void)
{
	return spool_count_get(spool, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT);
}

/* A hole in what is pushed out is told with it, whole and once, and is not forgotten by a restart. */
START_TEST(damaged_and_pushed_out)
{
	uint64_t n, lost;

	for (n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	flip(fd[1], DISK_SEGMENT_HEADER + 3 * (DISK_RECORD_HEADER + BLOCK_LEN) + 50);
	while (lost_blocks() < 20)
		put_block(1, n++, BLOCK_LEN);
	lost = lost_blocks();
	ck_assert_uint_eq(spool_count_get(spool, COUNTER_DISK_LOST_PACKETS, STATS_AGENT), sum(1, lost));
	for (unsigned round = 0; round < 2; round++) {
		greet();
		expect_lost(1, lost);
		expect_block(1, lost + 1, BLOCK_LEN);
		reopen();
	}
}
END_TEST

/* In flight while it is damaged and pushed out: the parts that the collector may have are told one by one. */
START_TEST(damaged_in_flight)
{
	uint64_t n;

	for (n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	greet();
	for (uint64_t i = 1; i <= 25; i++)
		expect_block(1, i, BLOCK_LEN);
	flip(fd[1], DISK_SEGMENT_HEADER + 3 * (DISK_RECORD_HEADER + BLOCK_LEN) + 50);
	while (lost_blocks() < 20)
		put_block(1, n++, BLOCK_LEN);
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 2), 0);
	greet();
	expect_lost(3, lost_blocks());
	expect_block(1, lost_blocks() + 1, BLOCK_LEN);
}
END_TEST

static uint64_t
lost_packets(void)
{
	return spool_count_get(spool, COUNTER_DISK_LOST_PACKETS, STATS_AGENT);
}

/* Also behind what the reader, far ahead, found damaged, and that itself not again. */
START_TEST(pushed_out_behind_damage)
{
	for (uint64_t n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	flip(fd[3], DISK_SEGMENT_HEADER + DISK_RECORD_HEADER + BLOCK_LEN + DISK_RECORD_HEADER + 17);
	greet();
	while (next().kind != SPOOL_NOTHING)
		;
	ck_assert_uint_eq(lost_packets(), 22);
	disk_push_out(disk);
	ck_assert_uint_eq(lost_blocks(), 11);
	ck_assert_uint_eq(lost_packets(), 22 + sum(1, 10));
	disk_push_out(disk);
	disk_push_out(disk);
	ck_assert_uint_eq(lost_blocks(), 25);
	ck_assert_uint_eq(lost_packets(), sum(1, 25));
}
END_TEST

/* What was lost between memory and disk has higher numbers than all that is there. */
START_TEST(pushed_out_behind_lost)
{
	struct spool_item item = { .kind = SPOOL_LOST };

	for (uint64_t n = 1; n <= 3; n++)
		put_block(1, n, 100);
	item.gap = (struct msg_gap){ .first = 4, .last = 6, .packets = sum(4, 6), .place = GAP_DISK };
	memcpy(item.stream, stream_id(1), MSG_ID_SIZE);
	memcpy(item.gap.stream, stream_id(1), MSG_ID_SIZE);
	disk_lose(disk, spool, &item, STARTED);
	ck_assert_uint_eq(lost_blocks(), 3);
	disk_push_out(disk);
	ck_assert_uint_eq(lost_blocks(), 6);
	ck_assert_uint_eq(lost_packets(), sum(1, 6));
}
END_TEST

/* A hole that has grown since it was counted. */
START_TEST(hole_grows)
{
	for (uint64_t n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	flip(fd[1], DISK_SEGMENT_HEADER + 4 * (DISK_RECORD_HEADER + BLOCK_LEN) + 50);
	greet();
	for (uint64_t n = 1; n <= 4; n++)
		expect_block(1, n, BLOCK_LEN);
	expect_lost(5, 10);
	flip(fd[2], DISK_SEGMENT_HEADER + 50);
	greet();
	for (uint64_t n = 1; n <= 4; n++)
		expect_block(1, n, BLOCK_LEN);
	expect_lost(5, 20);
	ck_assert_uint_eq(lost_blocks(), 16);
	ck_assert_uint_eq(lost_packets(), sum(5, 20));
}
END_TEST

/* What stands before a hole stays, even if it is acknowledged: a restart sees the hole, and how much was in it. */
START_TEST(hole_outlives_restart)
{
	for (uint64_t n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	greet();
	for (uint64_t n = 1; n <= 4; n++)
		expect_block(1, n, BLOCK_LEN);
	flip(fd[1], DISK_SEGMENT_HEADER + 4 * (DISK_RECORD_HEADER + BLOCK_LEN) + 50);
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 4), 0);
	reopen();
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 4), 0);
	greet();
	expect_lost(5, 10);
	expect_block(1, 11, BLOCK_LEN);
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 10), 0);
	ck_assert_uint_lt(bytes_in_files(), 16 * (DISK_RECORD_HEADER + BLOCK_LEN));
}
END_TEST

START_TEST(acknowledged_too_far)
{
	for (uint64_t n = 1; n <= 3; n++)
		put_block(1, n, 100);
	greet();
	expect_block(1, 1, 100);
	errno = 0;
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 2), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 1), 0);
	disk_handed(disk, stream_id(1));
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 3), 0);
	ck_assert(disk_empty(disk));
}
END_TEST

/* What memory sent and had acknowledged by itself between two stays on disk is no hole. */
START_TEST(memory_between)
{
	put_block(1, 1, 100);
	greet();
	expect_block(1, 1, 100);
	ck_assert_int_eq(disk_acknowledge(disk, stream_id(1), 1), 0);
	put_block(1, 5, 100);
	expect_block(1, 5, 100);
	expect_nothing();
	ck_assert_uint_eq(lost_blocks(), 0);
}
END_TEST

/* Without room enough after all had gone, nothing goes. */
START_TEST(no_room_destroys_nothing)
{
	for (uint64_t n = 1; n <= 25; n++)
		put_block(1, n, BLOCK_LEN);
	disk_free(disk);
	ck_assert_ptr_nonnull(disk = disk_new(fd, DISK_SIZE, SIZE_MAX / 2 + DISK_SIZE, spool));
	ck_assert_int_eq(try_block(1, 26, BLOCK_LEN), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_uint_eq(lost_blocks(), 0);
	greet();
	for (uint64_t n = 1; n <= 25; n++)
		expect_block(1, n, BLOCK_LEN);
}
END_TEST

/* Where nothing can be written, only the first try pushes out. */
START_TEST(failing_disk_destroys_little)
{
	char path[64];

	for (uint64_t n = 1; n <= 45; n++)
		put_block(1, n, BLOCK_LEN);
	room = 0;
	for (unsigned i = 0; i < DISK_SEGMENTS; i++) {
		snprintf(path, sizeof(path), "%s/segment-%02u", dir, i);
		ck_assert_int_ne(disk->segment[i].fd = open(path, O_RDONLY | O_CLOEXEC), -1);
	}
	for (unsigned tries = 0; tries < 4; tries++)
		ck_assert_int_eq(try_block(1, 46, BLOCK_LEN), -1);
	ck_assert_uint_eq(lost_blocks(), 10);
	for (unsigned i = 0; i < DISK_SEGMENTS; i++) {
		close(disk->segment[i].fd);
		disk->segment[i].fd = fd[i];
	}
	put_block(1, 46, BLOCK_LEN);
	greet();
	expect_lost(1, lost_blocks());
	for (uint64_t n = lost_blocks() + 1; n <= 46; n++)
		expect_block(1, n, BLOCK_LEN);
}
END_TEST

START_TEST(interfaces_in_each_segment)
{
	uint8_t idb[MSG_IDB_MAX], got[MSG_IDB_MAX];
	unsigned count = 0;

	ck_assert_int_eq(spool_stream_begin(producer, stream_id(1), STARTED), 0);
	memset(idb, 7, sizeof(idb));
	for (; spool_interface_add(producer, idb, 500) != -1; count++)
		;
	ck_assert_uint_ge(count, MSG_INTERFACES_MAX);
	for (uint64_t n = 1; n <= 40; n++)
		put_block(1, n, BLOCK_LEN);
	reopen();
	disk_acknowledge(disk, stream_id(1), 33);
	greet();
	expect_block(1, 34, BLOCK_LEN);
	for (uint32_t id = 0; id < count; id++) {
		ck_assert_int_eq(disk_interface_get(disk, stream_id(1), id, got), 500);
		ck_assert_mem_eq(got, idb, 500);
	}
	ck_assert_int_eq(disk_interface_get(disk, stream_id(1), count, got), -1);
}
END_TEST

START_TEST(min_free)
{
	disk_free(disk);
	ck_assert_ptr_nonnull(disk = disk_new(fd, DISK_SIZE, UINT64_MAX / 2, spool));
	errno = 0;
	ck_assert_int_eq(try_block(1, 1, 100), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert(disk_empty(disk));
	ck_assert_uint_eq(bytes_in_files(), 0);
}
END_TEST

/* More streams than HELLO lists: reading stops until all before is acknowledged, and then asks for another HELLO. */
START_TEST(many_streams)
{
	struct spool_stream out[MSG_STREAMS_MAX];
	const unsigned total = MSG_STREAMS_MAX + 4;

	for (unsigned i = 1; i <= total; i++) {
		put_block(i, 1, 100);
		put_end(i, 1);
	}
	reopen();
	ck_assert_uint_eq(list(out), MSG_STREAMS_MAX);
	for (unsigned i = 1; i <= MSG_STREAMS_MAX; i++) {
		expect_block(i, 1, 100);
		expect_end(1);
	}
	expect_nothing();
	ck_assert(!disk_unlisted(disk));
	for (unsigned i = 1; i <= MSG_STREAMS_MAX; i++)
		disk_acknowledge(disk, stream_id(i), 1);
	expect_nothing();
	ck_assert(disk_unlisted(disk));
	ck_assert_uint_eq(list(out), 4);
	disk_rewind(disk);
	for (unsigned i = MSG_STREAMS_MAX + 1; i <= total; i++) {
		expect_block(i, 1, 100);
		expect_end(1);
	}
}
END_TEST

START_TEST(one_agent_a_folder)
{
	char error[DISK_ERROR_SIZE];
	int other[DISK_SEGMENTS];

	ck_assert_int_eq(disk_files_open(dir, other, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "another vmtap-agent"));
	ck_assert_int_eq(disk_files_open("/nowhere/at/all", other, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "/nowhere/at/all"));
}
END_TEST

START_TEST(folder_of_others)
{
	char error[DISK_ERROR_SIZE];
	int other[DISK_SEGMENTS];

	ck_assert_int_eq(flock(lock, LOCK_UN), 0);
	ck_assert_int_eq(chmod(dir, 0770), 0);
	ck_assert_int_eq(disk_files_open(dir, other, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "0770"));
	ck_assert_int_eq(chmod(dir, 0700), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(dir, 1234, 0), 0);
		ck_assert_int_eq(disk_files_open(dir, other, error), -1);
		ck_assert_ptr_nonnull(strstr(error, "belongs to user 1234"));
		ck_assert_int_eq(chown(dir, 0, 0), 0);
	}
	ck_assert_int_eq(flock(lock, LOCK_EX | LOCK_NB), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("disk");
	TCase *tc = tcase_create("disk");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, format_flips);
	tcase_add_test(tc, in_order_and_acknowledged);
	tcase_add_test(tc, restart_keeps_all);
	tcase_add_test(tc, an_end_keeps_the_last_counters);
	tcase_add_test(tc, damaged_last_counters);
	tcase_add_test(tc, full_pushes_out);
	tcase_add_test(tc, full_while_in_flight);
	tcase_add_test(tc, torn_tail);
	tcase_add_test(tc, damaged_data);
	tcase_add_test(tc, refused_at_start);
	tcase_add_test(tc, damaged_header);
	tcase_add_test(tc, damaged_while_running);
	tcase_add_test(tc, damaged_and_pushed_out);
	tcase_add_test(tc, damaged_in_flight);
	tcase_add_test(tc, pushed_out_behind_damage);
	tcase_add_test(tc, pushed_out_behind_lost);
	tcase_add_test(tc, hole_grows);
	tcase_add_test(tc, hole_outlives_restart);
	tcase_add_test(tc, acknowledged_too_far);
	tcase_add_test(tc, memory_between);
	tcase_add_test(tc, no_room_destroys_nothing);
	tcase_add_test(tc, failing_disk_destroys_little);
	tcase_add_test(tc, interfaces_in_each_segment);
	tcase_add_test(tc, min_free);
	tcase_add_test(tc, many_streams);
	tcase_add_test(tc, one_agent_a_folder);
	tcase_add_test(tc, folder_of_others);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
