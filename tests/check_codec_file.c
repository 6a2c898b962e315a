/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "proto/codec.h"

/* Files of many units: the streaming readers, and the encoder that learns when to store. */

#define IDS		4	/* enum codec_id counts from 0 to 3 */
#define BLOCK		(256u * 1024)
#define UNITS_MAX	8

static const struct codec *built[IDS];
static int built_count;

struct file {
	const struct codec	*codec;
	struct buf	 raw, encoded;
	size_t		 unit_end[UNITS_MAX], raw_end[UNITS_MAX];	/* where units end in either */
	size_t		 units;
};

static uint32_t
next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* Records of a header and payload, which is random in percent of them and words in the others. */
static void
fill(uint8_t *raw, size_t len, unsigned percent, uint32_t seed)
{
	static const char *const words[] = {"frame ", "of ", "the ", "packet ", "length ", "and ", "is ", "not ", "if ", "an ",
	    "interface ", "then ", "counter ", "or ", "each ", "block "};
	size_t i = 0, end, n;
	bool noise;
	const char *word;

	while (i < len) {
		for (n = 0; n < 60 && i < len; n++, i++)
			raw[i] = (uint8_t)(n < 50 ? n : next_random(&seed) >> 24);
		noise = (next_random(&seed) >> 8) % 100 < percent;
		end = i + (next_random(&seed) >> 8) % 1000;
		while (i < end && i < len) {
			word = words[next_random(&seed) >> 28];
			if (noise)
				raw[i++] = (uint8_t)(next_random(&seed) >> 24);
			for (; !noise && *word != '\0' && i < len; word++)
				raw[i++] = (uint8_t)*word;
		}
	}
}

static void
file_add(struct file *file, size_t raw_len, unsigned percent, bool store)
{
	const struct codec *codec = file->codec;
	size_t bound = codec->bound(raw_len);
	void *state = codec->state_new(codec->level_initial);
	uint8_t *raw, *out;
	ssize_t n;

	ck_assert_ptr_nonnull(state);
	ck_assert_int_eq(buf_reserve(&file->raw, raw_len) + buf_reserve(&file->encoded, bound), 0);
	raw = file->raw.data + file->raw.len;
	out = file->encoded.data + file->encoded.len;
	fill(raw, raw_len, percent, (uint32_t)file->units + 1);
	n = store ? codec->store(raw, raw_len, out, bound) : codec->encode(state, raw, raw_len, out, bound);
	ck_assert_int_gt(n, 0);
	file->raw_end[file->units] = file->raw.len += raw_len;
	file->unit_end[file->units++] = file->encoded.len += (size_t)n;
	codec->state_free(state);
}

/* Small: some hundred bytes in four units; else some hundred KiB. */
static void
file_make(struct file *file, const struct codec *codec, bool small)
{
	uint8_t edge[CODEC_FILE_EDGE_MAX];
	size_t scale = small ? 1 : 1500;

	memset(file, 0, sizeof(*file));
	file->codec = codec;
	buf_init(&file->raw, 8u << 20);
	buf_init(&file->encoded, 8u << 20);
	ck_assert_int_eq(buf_put(&file->encoded, edge, codec->file_begin(edge, sizeof(edge))), 0);
	file_add(file, 170 * scale, 0, false);
	file_add(file, 90 * scale, 100, true);
	file_add(file, 150 * scale, 50, false);
	file_add(file, 1 * scale, 0, false);
	ck_assert_int_eq(buf_put(&file->encoded, edge, codec->file_end(edge, sizeof(edge))), 0);
}

static void
file_clear(struct file *file)
{
	buf_clear(&file->raw);
	buf_clear(&file->encoded);
}

/*
 * Reads in pieces of at most piece bytes, each a copy of that length, with room for out_max bytes at a time. All that came out
 * is appended to all. The last reader_decode()'s result.
 */
static int
read_pieces(void *reader, const struct codec *codec, const uint8_t *in, size_t in_len, size_t piece, size_t out_max,
    struct buf *all)
{
	const uint8_t *p;
	uint8_t *copy;
	struct buf out;
	size_t n, left;
	int r = 0;

	buf_init(&out, out_max);
	for (; in_len > 0 && r != -1; in += n, in_len -= n) {
		n = in_len < piece ? in_len : piece;
		copy = malloc(n);
		memcpy(copy, in, n);
		p = copy;
		left = n;
		while ((r = codec->reader_decode(reader, &p, &left, &out)) == 1) {
			ck_assert_uint_gt(out.len, 0);
			ck_assert_uint_le(out.len, CODEC_READ_MAX);
			ck_assert_int_eq(buf_put(all, out.data, out.len), 0);
			out.len = 0;
		}
		ck_assert(r == -1 || left == 0);
		free(copy);
	}
	buf_clear(&out);
	return r;
}

/* From byte offset on, len bytes; compares what comes out with raw from raw_offset on. */
static int
read_part(const struct file *file, size_t offset, size_t len, size_t raw_offset, size_t piece, size_t out_max, size_t *out_len)
{
	void *reader = file->codec->reader_new(offset == 0);
	struct buf all;
	int r;

	ck_assert_ptr_nonnull(reader);
	buf_init(&all, 8u << 20);
	r = read_pieces(reader, file->codec, file->encoded.data + offset, len, piece, out_max, &all);
	ck_assert_uint_le(all.len, file->raw.len - raw_offset);
	if (all.len > 0)
		ck_assert(memcmp(all.data, file->raw.data + raw_offset, all.len) == 0);
	*out_len = all.len;
	buf_clear(&all);
	file->codec->reader_free(reader);
	return r;
}

START_TEST(read_whole)
{
	static const size_t pieces[] = {1000, 4096, 65537, 8u << 20}, rooms[] = {999, 65536, 4u << 20};
	struct file file;
	size_t i, out_len;

	file_make(&file, built[_i], false);
	for (i = 0; i < 12; i++) {
		ck_assert_int_eq(read_part(&file, 0, file.encoded.len, 0, pieces[i % 4], rooms[i / 4], &out_len), 0);
		ck_assert_uint_eq(out_len, file.raw.len);
	}
	file_clear(&file);
}
END_TEST

START_TEST(read_small_in_bytes)
{
	struct file file;
	size_t out_len;

	file_make(&file, built[_i], true);
	ck_assert_int_eq(read_part(&file, 0, file.encoded.len, 0, 1, 1, &out_len), 0);
	ck_assert_uint_eq(out_len, file.raw.len);
	file_clear(&file);
}
END_TEST

START_TEST(read_from_any_unit)
{
	struct file file;
	size_t i, out_len;

	file_make(&file, built[_i], false);
	for (i = 0; i < file.units; i++) {
		ck_assert_int_eq(read_part(&file, file.unit_end[i], file.encoded.len - file.unit_end[i], file.raw_end[i], 5000,
		    70000, &out_len), 0);
		ck_assert_uint_eq(out_len, file.raw.len - file.raw_end[i]);
	}
	file_clear(&file);
}
END_TEST

/* Cut anywhere: not an error, and all whole units are there. */
START_TEST(read_torn)
{
	struct file file;
	size_t len, out_len, i;

	file_make(&file, built[_i], true);
	for (len = 0; len < file.encoded.len; len++) {
		ck_assert_int_eq(read_part(&file, 0, len, 0, 50, 4096, &out_len), 0);
		for (i = 0; i < file.units && file.unit_end[i] <= len; i++)
			ck_assert_uint_ge(out_len, file.raw_end[i]);
	}
	file_clear(&file);
}
END_TEST

/* A file that grows while it is read. */
START_TEST(read_growing)
{
	struct file file;
	struct buf all;
	size_t i, from = 0;
	void *reader;

	file_make(&file, built[_i], false);
	reader = file.codec->reader_new(true);
	buf_init(&all, 8u << 20);
	for (i = 0; i < file.units; i++) {
		ck_assert_int_eq(read_pieces(reader, file.codec, file.encoded.data + from, file.unit_end[i] - from, 1u << 20,
		    1u << 20, &all), 0);
		ck_assert_uint_eq(all.len, file.raw_end[i]);
		from = file.unit_end[i];
	}
	ck_assert_mem_eq(all.data, file.raw.data, all.len);
	file.codec->reader_free(reader);
	buf_clear(&all);
	file_clear(&file);
}
END_TEST

/* Whatever bit is wrong, no more comes out than the file could hold. */
START_TEST(read_flipped)
{
	struct file file;
	struct buf all;
	void *reader;
	size_t i;

	file_make(&file, built[_i], true);
	for (i = 0; i < 8 * file.encoded.len; i++) {
		file.encoded.data[i / 8] ^= (uint8_t)(1 << i % 8);
		reader = file.codec->reader_new(true);
		buf_init(&all, 8u << 20);
		read_pieces(reader, file.codec, file.encoded.data, file.encoded.len, 1000, 4096, &all);
		ck_assert_uint_lt(all.len, 4u << 20);
		buf_clear(&all);
		file.codec->reader_free(reader);
		file.encoded.data[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	file_clear(&file);
}
END_TEST

START_TEST(read_garbage)
{
	static const uint8_t garbage[64] = "this is no compressed file, whatever its name may promise";
	const uint8_t *p = garbage;
	size_t left = sizeof(garbage);
	struct buf out;
	void *reader;

	if (built[_i]->id == CODEC_NONE)
		return;
	buf_init(&out, 4096);
	reader = built[_i]->reader_new(true);
	ck_assert_int_eq(built[_i]->reader_decode(reader, &p, &left, &out), -1);
	ck_assert_int_eq(errno, EBADMSG);
	ck_assert_uint_eq(out.len, 0);
	built[_i]->reader_free(reader);
	buf_clear(&out);
}
END_TEST

START_TEST(read_garbage_behind)
{
	struct file file;
	size_t out_len;

	if (built[_i]->id == CODEC_NONE)
		return;
	file_make(&file, built[_i], true);
	ck_assert_int_eq(buf_put(&file.encoded, "garbage behind the end", 22), 0);
	ck_assert_int_eq(read_part(&file, 0, file.encoded.len, 0, 4096, 4096, &out_len), -1);
	ck_assert_uint_eq(out_len, file.raw.len);
	file_clear(&file);
}
END_TEST

START_TEST(read_into_full)
{
	struct file file;
	struct buf out;
	const uint8_t *p;
	size_t left;
	void *reader;

	file_make(&file, built[_i], true);
	buf_init(&out, 10);
	p = file.encoded.data;
	left = file.encoded.len;
	reader = file.codec->reader_new(true);
	ck_assert_int_eq(file.codec->reader_decode(reader, &p, &left, &out), 1);
	ck_assert_uint_eq(out.len, 10);
	ck_assert_int_eq(file.codec->reader_decode(reader, &p, &left, &out), -1);
	ck_assert_int_eq(errno, ENOBUFS);
	out.len = 0;
	ck_assert_int_eq(file.codec->reader_decode(reader, &p, &left, &out), 1);
	ck_assert_mem_eq(out.data, file.raw.data + 10, 10);
	file.codec->reader_free(reader);
	buf_clear(&out);
	file_clear(&file);
}
END_TEST

/* One block through the encoder, decoded again; true if it was compressed. */
static bool
encode_one(struct encoder *encoder, const struct codec *codec, size_t len, unsigned percent, uint32_t seed)
{
	uint8_t *raw = malloc(len), *back = malloc(len), *out = malloc(codec->bound(len));
	bool stored;
	ssize_t n;

	fill(raw, len, percent, seed);
	ck_assert_int_gt(n = encoder_block(encoder, raw, len, out, codec->bound(len), &stored), 0);
	ck_assert_int_eq(codec->decode(out, (size_t)n, back, len), 0);
	ck_assert_mem_eq(raw, back, len);
	ck_assert_int_eq((size_t)n < len, !stored);
	free(raw);
	free(back);
	free(out);
	return !stored;
}

/* Random payload is stored though its headers would shrink; text is compressed again at once. */
START_TEST(encoder_follows_traffic)
{
	const struct codec *codec = built[_i];
	struct encoder *encoder = encoder_new(codec, codec->level_initial);
	uint32_t seed = 1;
	int turn, i, late = 0;

	for (turn = 0; turn < 8; turn++) {
		for (i = 0; i < 5; i++)
			ck_assert(!encode_one(encoder, codec, BLOCK, 100, seed++));
		if (codec->id == CODEC_NONE)
			continue;
		late += !encode_one(encoder, codec, BLOCK, 0, seed++);
		for (i = 0; i < 30; i++)
			ck_assert(encode_one(encoder, codec, BLOCK / 4 - (size_t)(i * 1000), 0, seed++));
	}
	ck_assert_int_le(late, 1);
	encoder_free(encoder);
}
END_TEST

/* Long random traffic must not make it deaf, nor half of it hide the text. */
START_TEST(encoder_hears_mixed)
{
	const struct codec *codec = built[_i];
	struct encoder *encoder = encoder_new(codec, codec->level_initial);
	uint32_t seed = 1;
	int i, compressed = 0;

	for (i = 0; i < 150; i++)
		compressed += encode_one(encoder, codec, BLOCK, 100, seed++);
	ck_assert_int_eq(compressed, 0);
	for (i = 0; i < 20; i++)
		compressed += encode_one(encoder, codec, BLOCK, 50, seed++);
	ck_assert_int_ge(compressed, codec->id == CODEC_NONE ? 0 : 10);
	encoder_free(encoder);
}
END_TEST

/* Small blocks are compressed by their own merit, whatever was before. */
START_TEST(encoder_small_blocks)
{
	static const size_t sizes[] = {1, 12, 60, 100, 1000, 16383, 16384, 20000};
	const struct codec *codec = built[_i];
	struct encoder *encoder = encoder_new(codec, codec->level_initial);
	size_t i;

	encode_one(encoder, codec, BLOCK, 100, 9);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		encode_one(encoder, codec, sizes[i], 100, 5);
		ck_assert_int_eq(encode_one(encoder, codec, sizes[i], 0, 5), sizes[i] >= 1000 && codec->id != CODEC_NONE);
	}
	encoder_free(encoder);
	encoder_free(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("codec_file");
	TCase *tc = tcase_create("reader"), *encoder = tcase_create("encoder");
	SRunner *runner;
	unsigned id;
	int failed;

	for (id = 0; id < IDS; id++) {
		if (codec_by_id(id) != NULL)
			built[built_count++] = codec_by_id(id);
	}
	tcase_set_timeout(tc, 60);
	tcase_set_timeout(encoder, 60);
	tcase_add_loop_test(tc, read_whole, 0, built_count);
	tcase_add_loop_test(tc, read_small_in_bytes, 0, built_count);
	tcase_add_loop_test(tc, read_from_any_unit, 0, built_count);
	tcase_add_loop_test(tc, read_torn, 0, built_count);
	tcase_add_loop_test(tc, read_growing, 0, built_count);
	tcase_add_loop_test(tc, read_flipped, 0, built_count);
	tcase_add_loop_test(tc, read_garbage, 0, built_count);
	tcase_add_loop_test(tc, read_garbage_behind, 0, built_count);
	tcase_add_loop_test(tc, read_into_full, 0, built_count);
	tcase_add_loop_test(encoder, encoder_follows_traffic, 0, built_count);
	tcase_add_loop_test(encoder, encoder_hears_mixed, 0, built_count);
	tcase_add_loop_test(encoder, encoder_small_blocks, 0, built_count);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, encoder);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
