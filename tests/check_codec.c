/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "proto/codec.h"

#define IDS		4	/* enum codec_id counts from 0 to 3 */
#define GUARD		0xa5
#define GUARD_SIZE	64
#define RAW_MAX		(512u * 1024)

enum kind { TEXT, ZEROS, NOISE, KINDS };

/* What tests loop over. */
static const struct codec *built[IDS];
static int built_count;

static uint32_t
next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static uint8_t *
make_raw(enum kind kind, size_t len, uint32_t seed)
{
	static const char *const words[] = {"frame ", "of ", "the ", "packet ", "length ", "and ", "is ", "not "};
	uint8_t *raw = calloc(1, len + 16);
	size_t i = 0;
	const char *word;

	ck_assert_ptr_nonnull(raw);
	while (kind == TEXT && i < len) {
		word = words[next_random(&seed) >> 29];
		memcpy(raw + i, word, strlen(word));
		i += strlen(word);
	}
	for (; kind == NOISE && i < len; i++)
		raw[i] = (uint8_t)(next_random(&seed) >> 24);
	return raw;
}

/* Room that shows if anything was written behind it. */
static uint8_t *
guarded_new(size_t len)
{
	uint8_t *p = malloc(len + GUARD_SIZE);

	ck_assert_ptr_nonnull(p);
	memset(p, GUARD, len + GUARD_SIZE);
	return p;
}

static void
guarded_free(uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < GUARD_SIZE; i++)
		ck_assert_uint_eq(p[len + i], GUARD);
	free(p);
}

/* Decodes a copy of exactly in_len bytes; 0 only if it gives raw again. */
static int
decode_copy(const struct codec *codec, const uint8_t *in, size_t in_len, size_t raw_len, const uint8_t *raw)
{
	uint8_t *copy = malloc(in_len > 0 ? in_len : 1), *out = guarded_new(raw_len);
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, in, in_len);
	r = codec->decode(copy, in_len, out, raw_len);
	if (r == 0 && raw != NULL)
		r = memcmp(out, raw, raw_len) == 0 ? 0 : 1;
	guarded_free(out, raw_len);
	free(copy);
	return r;
}

/* One unit in a guarded buffer of the codec's bound. */
static uint8_t *
make_unit(const struct codec *codec, int level, const uint8_t *raw, size_t raw_len, bool store, size_t *len)
{
	size_t bound = codec->bound(raw_len);
	uint8_t *out = guarded_new(bound), *unit;
	void *state = codec->state_new(level);
	ssize_t n;

	ck_assert_ptr_nonnull(state);
	n = store ? codec->store(raw, raw_len, out, bound) : codec->encode(state, raw, raw_len, out, bound);
	ck_assert_int_ge(n, 0);
	*len = (size_t)n;
	unit = malloc(*len + 1);
	ck_assert_ptr_nonnull(unit);
	memcpy(unit, out, *len);
	guarded_free(out, bound);
	codec->state_free(state);
	return unit;
}

static void
round_trip(const struct codec *codec, int level, enum kind kind, size_t raw_len, bool store)
{
	uint8_t *raw = make_raw(kind, raw_len, 7), *unit;
	size_t len;

	unit = make_unit(codec, level, raw, raw_len, store, &len);
	ck_assert_int_eq(decode_copy(codec, unit, len, raw_len, raw), 0);
	ck_assert_int_eq(decode_copy(codec, unit, len, raw_len + 1, NULL), -1);
	if (raw_len > 0)
		ck_assert_int_eq(decode_copy(codec, unit, len, raw_len - 1, NULL), -1);
	free(unit);
	free(raw);
}

START_TEST(round_trips)
{
	static const size_t sizes[] = {0, 1, 2, 13, 100, 65535, 65536, 131073, 262143, 262144, 262145, 400001, RAW_MAX};
	const struct codec *codec = built[_i];
	size_t i;
	int kind;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (kind = TEXT; kind < KINDS; kind++) {
			round_trip(codec, codec->level_initial, (enum kind)kind, sizes[i], false);
			round_trip(codec, codec->level_initial, (enum kind)kind, sizes[i], true);
		}
	}
}
END_TEST

START_TEST(levels)
{
	const struct codec *codec = built[_i];
	int level;

	for (level = codec->level_min; level <= codec->level_max; level++)
		round_trip(codec, level, TEXT, 20000, false);
}
END_TEST

/* One state for many units, large and small. */
START_TEST(state_is_reused)
{
	const struct codec *codec = built[_i];
	uint8_t *raw, *out;
	size_t len, bound;
	void *state;
	ssize_t n;
	int i;

	state = codec->state_new(codec->level_initial);
	for (i = 0; i < 50; i++) {
		len = (size_t)(i * 7919) % 70000;
		bound = codec->bound(len);
		raw = make_raw((enum kind)(i % KINDS), len, (uint32_t)i + 1);
		out = guarded_new(bound);
		ck_assert_int_ge(n = codec->encode(state, raw, len, out, bound), 0);
		ck_assert_int_eq(decode_copy(codec, out, (size_t)n, len, raw), 0);
		guarded_free(out, bound);
		free(raw);
	}
	codec->state_free(state);
}
END_TEST

static size_t
encode_len(const struct codec *codec, void *state, const uint8_t *raw, size_t raw_len)
{
	uint8_t *out = guarded_new(codec->bound(raw_len));
	ssize_t n = codec->encode(state, raw, raw_len, out, codec->bound(raw_len));

	ck_assert_int_ge(n, 0);
	ck_assert_int_eq(decode_copy(codec, out, (size_t)n, raw_len, raw), 0);
	guarded_free(out, codec->bound(raw_len));
	return (size_t)n;
}

/* A state that goes to a level, whatever it did before, gives what a new one of that level gives. */
START_TEST(level_is_set)
{
	const struct codec *codec = built[_i];
	uint8_t *raw = make_raw(TEXT, 60000, 7), small[16];
	void *state = codec->state_new(codec->level_max), *fresh;
	int steps[] = {codec->level_min, codec->level_max, codec->level_initial};
	size_t i, lens[3];

	for (i = 0; i < 3; i++) {
		fresh = codec->state_new(steps[i]);
		ck_assert_int_eq(codec->encode(state, raw, 60000, small, sizeof(small)), -1);
		ck_assert_int_eq(codec->state_set_level(state, steps[i]), 0);
		lens[i] = encode_len(codec, state, raw, 60000);
		ck_assert_uint_eq(lens[i], encode_len(codec, fresh, raw, 60000));
		codec->state_free(fresh);
	}
	if (codec->level_min != codec->level_max)
		ck_assert_uint_gt(lens[0], lens[1]);
	codec->state_free(state);
	free(raw);
}
END_TEST

#define BLOCK	50000

/* Encodes a block; its length. */
static size_t
block_len(struct encoder *encoder, const struct codec *codec, const uint8_t *raw, bool *stored)
{
	uint8_t *out = guarded_new(codec->bound(BLOCK));
	ssize_t n = encoder_block(encoder, raw, BLOCK, out, codec->bound(BLOCK), stored);

	ck_assert_int_ge(n, 0);
	ck_assert_int_eq(decode_copy(codec, out, (size_t)n, BLOCK, raw), 0);
	ck_assert(*stored ? n >= BLOCK : n < BLOCK);
	guarded_free(out, codec->bound(BLOCK));
	return (size_t)n;
}

static bool
is_stored(struct encoder *encoder, const struct codec *codec, const uint8_t *raw)
{
	bool stored;

	block_len(encoder, codec, raw, &stored);
	return stored;
}

START_TEST(encoder_stores_on_demand)
{
	const struct codec *codec = built[_i];
	struct encoder *encoder = encoder_new(codec, codec->level_initial);
	uint8_t *text = make_raw(TEXT, BLOCK, 7), *twice = make_raw(NOISE, BLOCK, 7);
	bool never = codec->id == CODEC_NONE;

	memcpy(twice + BLOCK / 2, twice, BLOCK / 2);	/* shrinks, but no probe shows that */
	ck_assert(is_stored(encoder, codec, text) == never);
	encoder_set_store(encoder, true);
	ck_assert(is_stored(encoder, codec, text));
	ck_assert(is_stored(encoder, codec, twice));
	encoder_set_store(encoder, false);
	ck_assert(is_stored(encoder, codec, twice) == never);	/* those in between taught nothing */
	encoder_free(encoder);
	free(twice);
	free(text);
}
END_TEST

/* At a new level even what looks like the noise before is tried again. */
START_TEST(encoder_goes_to_a_level)
{
	const struct codec *codec = built[_i];
	struct encoder *encoder = encoder_new(codec, codec->level_min);
	uint8_t *noise = make_raw(NOISE, BLOCK, 3), *twice = make_raw(NOISE, BLOCK, 7);
	void *fresh = codec->state_new(codec->level_max);
	bool stored;

	memcpy(twice + BLOCK / 2, twice, BLOCK / 2);
	ck_assert(is_stored(encoder, codec, noise));
	ck_assert(is_stored(encoder, codec, twice));
	ck_assert_int_eq(encoder_set_level(encoder, codec->level_max), 0);
	ck_assert_uint_eq(block_len(encoder, codec, twice, &stored), encode_len(codec, fresh, twice, BLOCK));
	ck_assert(stored == (codec->id == CODEC_NONE));
	codec->state_free(fresh);
	encoder_free(encoder);
	free(twice);
	free(noise);
}
END_TEST

static size_t
fresh_len(const struct codec *codec, int level, const uint8_t *raw)
{
	void *fresh = codec->state_new(level);
	size_t len = encode_len(codec, fresh, raw, BLOCK);

	codec->state_free(fresh);
	return len;
}

/* Packets of 120 bytes that are encrypted, but for headers where one byte of so many is not the same as in the packet before. */
static uint8_t *
make_packets(size_t header, size_t one_of)
{
	uint8_t *raw = make_raw(NOISE, BLOCK, 7);
	size_t i;

	for (i = 0; i < BLOCK; i++)
		if (i % 120 < header && i % one_of != 0)
			raw[i] = (uint8_t)(i % 120);
	return raw;
}

/* Whether what hardly shrinks goes in at the quick level, from the third block on and until something comes that does shrink. */
static void
check_quick(const struct codec *codec, int level, bool worth_it)
{
	struct encoder *encoder = encoder_new(codec, level);
	uint8_t *text = make_raw(TEXT, BLOCK, 7), *mixed = make_packets(50, 25);
	size_t full = fresh_len(codec, level, mixed), quick = fresh_len(codec, codec->level_quick, mixed);
	bool stored;
	int i;

	ck_assert_uint_gt(full, BLOCK / 2);
	ck_assert_uint_gt(quick, full);
	ck_assert(worth_it == (quick <= full + full / 16));
	for (i = 0; i < 70; i++)	/* one comparison more is among them, and that block is not a quick one */
		ck_assert_uint_eq(block_len(encoder, codec, mixed, &stored), worth_it && i >= 2 && i != 66 ? quick : full);
	block_len(encoder, codec, text, &stored);
	ck_assert_uint_eq(block_len(encoder, codec, text, &stored), fresh_len(codec, level, text));
	encoder_free(encoder);
	free(mixed);
	free(text);
}

/* What the quick level does not get small enough to be worth it is tried at the other one, from there on. */
static void
check_too_quick(const struct codec *codec, int level)
{
	struct encoder *encoder = encoder_new(codec, level);
	uint8_t *mixed = make_packets(50, 25), *edge = codec->id == CODEC_LZ4 ? make_packets(52, 19) : make_packets(46, 11);
	bool stored;
	int i;

	ck_assert_uint_gt(fresh_len(codec, codec->level_quick, edge), BLOCK - BLOCK / 4);
	for (i = 0; i < 3; i++)
		block_len(encoder, codec, mixed, &stored);
	ck_assert_uint_eq(block_len(encoder, codec, edge, &stored), fresh_len(codec, level, edge));
	ck_assert_uint_eq(block_len(encoder, codec, mixed, &stored), fresh_len(codec, level, mixed));
	encoder_free(encoder);
	free(edge);
	free(mixed);
}

START_TEST(encoder_is_quick)
{
	const struct codec *codec = built[_i];

	if (codec->id == CODEC_ZSTD)
		check_quick(codec, codec->level_max, false);
	if (codec->id == CODEC_NONE)
		return;
	check_quick(codec, codec->id == CODEC_ZLIB ? codec->level_max : codec->level_initial, true);
	check_too_quick(codec, codec->id == CODEC_ZLIB ? codec->level_max : codec->level_initial);
}
END_TEST

/* Too little room is said, not written over; the state goes on afterwards. */
START_TEST(too_little_room)
{
	const struct codec *codec = built[_i];
	uint8_t *raw = make_raw(TEXT, 3000, 3), *unit, *out;
	size_t len, room;
	void *state;

	unit = make_unit(codec, codec->level_initial, raw, 3000, false, &len);
	state = codec->state_new(codec->level_initial);
	for (room = 0; room < len; room++) {
		out = guarded_new(room);
		ck_assert_int_eq(codec->encode(state, raw, 3000, out, room), -1);
		ck_assert_int_eq(codec->store(raw, 3000, out, room), -1);
		guarded_free(out, room);
	}
	out = guarded_new(codec->bound(3000));
	ck_assert_int_eq(codec->encode(state, raw, 3000, out, codec->bound(3000)), (ssize_t)len);
	guarded_free(out, codec->bound(3000));
	codec->state_free(state);
	free(unit);
	free(raw);
}
END_TEST

static void
truncate_and_flip(const struct codec *codec, const uint8_t *raw, size_t raw_len, bool store)
{
	size_t len, i;
	uint8_t *unit = make_unit(codec, codec->level_initial, raw, raw_len, store, &len);

	for (i = 0; i < len; i++)
		ck_assert_int_eq(decode_copy(codec, unit, i, raw_len, NULL), -1);
	for (i = 0; i < 8 * len; i++) {
		unit[i / 8] ^= (uint8_t)(1 << i % 8);
		decode_copy(codec, unit, len, raw_len, raw);	/* whatever it says, it wrote raw_len bytes at most */
		unit[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	unit[len] = 0;
	ck_assert_int_eq(decode_copy(codec, unit, len + 1, raw_len, NULL), -1);
	free(unit);
}

START_TEST(truncated_and_flipped)
{
	const struct codec *codec = built[_i];
	uint8_t *text = make_raw(TEXT, 600, 5), *noise = make_raw(NOISE, 100, 5);

	truncate_and_flip(codec, text, 600, false);
	truncate_and_flip(codec, noise, 100, false);
	truncate_and_flip(codec, noise, 100, true);
	free(text);
	free(noise);
}
END_TEST

START_TEST(two_units_are_not_one)
{
	const struct codec *codec = built[_i];
	uint8_t *raw, *unit, *twice;
	size_t len;

	if (codec->id == CODEC_NONE || codec->id == CODEC_LZ4)	/* of these, any units together are one */
		return;
	raw = make_raw(TEXT, 1000, 5);
	unit = make_unit(codec, codec->level_initial, raw, 500, false, &len);
	twice = malloc(2 * len);
	memcpy(twice, unit, len);
	memcpy(twice + len, unit, len);
	memcpy(raw + 500, raw, 500);
	ck_assert_int_eq(decode_copy(codec, twice, 2 * len, 1000, NULL), -1);
	ck_assert_int_eq(decode_copy(codec, twice, 2 * len, 500, NULL), -1);
	free(twice);
	free(unit);
	free(raw);
}
END_TEST

/* Much in little: half a megabyte of zeros where a hundred bytes were announced. */
START_TEST(bomb)
{
	const struct codec *codec = built[_i];
	uint8_t *raw = make_raw(ZEROS, RAW_MAX, 1), *unit;
	size_t len;

	unit = make_unit(codec, codec->level_initial, raw, RAW_MAX, false, &len);
	ck_assert(codec->id == CODEC_NONE || len < RAW_MAX / 100);
	ck_assert_int_eq(decode_copy(codec, unit, len, 100, NULL), -1);
	ck_assert_int_eq(decode_copy(codec, unit, len, 0, NULL), -1);
	free(unit);
	free(raw);
}
END_TEST

/* Units that decode, but would spoil a file for the tools that read it. */
static const struct {
	enum codec_id	id;
	size_t		raw_len;
	const char	*what;
	size_t		len;
	uint8_t		in[20];
} refused[] = {
	{CODEC_LZ4, 0, "end mark", 4, {0, 0, 0, 0}},
	{CODEC_LZ4, 1, "end mark before a block", 9, {0, 0, 0, 0, 1, 0, 0, 0x80, 'x'}},
	{CODEC_LZ4, 1, "end mark behind a block", 9, {1, 0, 0, 0x80, 'x', 0, 0, 0, 0}},
	{CODEC_LZ4, 1, "empty stored block", 9, {0, 0, 0, 0x80, 1, 0, 0, 0x80, 'x'}},
	{CODEC_LZ4, 1, "empty block", 10, {1, 0, 0, 0, 0, 1, 0, 0, 0x80, 'x'}},
	{CODEC_LZ4, 1, "file header", 7, {0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb}},
	{CODEC_ZLIB, 0, "zlib header", 8, {0x78, 0x9c, 0x03, 0, 0, 0, 0, 1}},
	{CODEC_ZSTD, 0, "skippable frame", 8, {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}},
	{CODEC_ZSTD, 1, "size not told", 10, {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, 0x09, 0, 0, 'x'}},
	{CODEC_ZSTD, 1, "window of 2 GiB", 14, {0x28, 0xb5, 0x2f, 0xfd, 0x80, 21 << 3, 1, 0, 0, 0, 0x09, 0, 0, 'x'}},
	{CODEC_ZSTD, 1, "dictionary", 11, {0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 1, 0x09, 0, 0, 'x'}},
	{CODEC_ZSTD, 1, "size of 4 GiB", 17, {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 1, 0, 0, 0, 0x09, 0, 0, 'x'}},
};

START_TEST(refuses)
{
	const struct codec *codec = codec_by_id(refused[_i].id);

	if (codec != NULL)
		ck_assert_msg(decode_copy(codec, refused[_i].in, refused[_i].len, refused[_i].raw_len, NULL) == -1, "%s",
		    refused[_i].what);
}
END_TEST

/* The same frame with an ordinary window is fine. */
START_TEST(zstd_small_window)
{
	static const uint8_t in[] = {0x28, 0xb5, 0x2f, 0xfd, 0x80, 8 << 3, 1, 0, 0, 0, 0x09, 0, 0, 'x'};
	const struct codec *codec = codec_by_id(CODEC_ZSTD);

	if (codec != NULL)
		ck_assert_int_eq(decode_copy(codec, in, sizeof(in), 1, (const uint8_t *)"x"), 0);
}
END_TEST

static void
put_length(uint8_t *p, size_t n, bool stored)
{
	p[0] = (uint8_t)n;
	p[1] = (uint8_t)(n >> 8);
	p[2] = (uint8_t)(n >> 16);
	p[3] = stored ? 0x80 : 0;
}

/* More in one LZ4 block than the file header allows, stored, or as literals: token, then the length above 15 in steps of 255. */
START_TEST(lz4_block_too_large)
{
	const struct codec *codec = codec_by_id(CODEC_LZ4);
	const size_t most = 262144, steps = (most - 15) / 255;
	uint8_t *in, *raw;

	if (codec == NULL)
		return;
	in = calloc(1, 300000);
	raw = guarded_new(most + 1);
	put_length(in, most + 1, true);
	ck_assert_int_eq(codec->decode(in, 4 + most + 1, raw, most + 1), -1);
	put_length(in, most, true);
	ck_assert_int_eq(codec->decode(in, 4 + most, raw, most), 0);
	put_length(in, 1 + steps + 1 + most, false);
	in[4] = 0xf0;
	memset(in + 5, 255, steps);
	in[5 + steps] = (uint8_t)((most - 15) % 255);
	ck_assert_int_eq(codec->decode(in, 4 + 1 + steps + 1 + most, raw, most), -1);
	guarded_free(raw, most + 1);
	free(in);
}
END_TEST

START_TEST(registry)
{
	const struct codec *codec;
	unsigned id;

	for (id = 0; id < 40; id++) {
		codec = codec_by_id(id);
		ck_assert_int_eq(codec != NULL, id < 32 && (codec_mask() >> id & 1) != 0);
		if (codec == NULL)
			continue;
		ck_assert_uint_eq(codec->id, id);
		ck_assert_ptr_eq(codec_by_name(codec->name), codec);
		ck_assert_int_ge(codec->level_initial, codec->level_min);
		ck_assert_int_le(codec->level_initial, codec->level_max);
	}
	ck_assert_ptr_nonnull(codec_by_id(CODEC_NONE));
	ck_assert_ptr_nonnull(codec_by_id(CODEC_ZLIB));
	ck_assert_ptr_null(codec_by_name("zli"));
	ck_assert_ptr_null(codec_by_name("zlib:1"));
	ck_assert_ptr_null(codec_by_name(""));
}
END_TEST

START_TEST(parse)
{
	const struct codec *codec = NULL;
	char error[256];
	int level = 99;

	ck_assert_int_eq(codec_parse("zlib:6", &codec, &level, error, sizeof(error)), 0);
	ck_assert_uint_eq(codec->id, CODEC_ZLIB);
	ck_assert_int_eq(level, 6);
	ck_assert_int_eq(codec_parse("zlib", &codec, &level, error, sizeof(error)), 0);
	ck_assert_int_eq(level, 1);
	ck_assert_int_eq(codec_parse("none", &codec, &level, error, sizeof(error)), 0);
	ck_assert_uint_eq(codec->id, CODEC_NONE);
	if (codec_by_id(CODEC_ZSTD) != NULL) {
		ck_assert_int_eq(codec_parse("zstd:-7", &codec, &level, error, sizeof(error)), 0);
		ck_assert_int_eq(level, -7);
	}
}
END_TEST

static const struct {
	const char	*text, *says;
} bad_texts[] = {
	{"", "unknown codec \"\""},
	{"brotli", "unknown codec \"brotli\": this build has none, "},
	{":1", "unknown codec"},
	{"none:1", "codec none has no levels"},
	{"zlib:", "should be a number from 1 to 9"},
	{"zlib:0", "level \"0\" of codec zlib: should be a number from 1 to 9"},
	{"zlib:10", "should be a number from 1 to 9"},
	{"zlib:1x", "should be a number from 1 to 9"},
	{"zlib:99999999999999999999", "should be a number from 1 to 9"},
};

START_TEST(parse_refuses)
{
	const struct codec *codec = NULL;
	char error[256] = "";
	int level = 99;

	ck_assert_int_eq(codec_parse(bad_texts[_i].text, &codec, &level, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, bad_texts[_i].says) != NULL, "said: %s", error);
	ck_assert_ptr_null(codec);
	ck_assert_int_eq(level, 99);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("codec");
	TCase *tc = tcase_create("codec");
	SRunner *runner;
	unsigned id;
	int failed;

	for (id = 0; id < IDS; id++) {
		if (codec_by_id(id) != NULL)
			built[built_count++] = codec_by_id(id);
	}
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, round_trips, 0, built_count);
	tcase_add_loop_test(tc, levels, 0, built_count);
	tcase_add_loop_test(tc, state_is_reused, 0, built_count);
	tcase_add_loop_test(tc, level_is_set, 0, built_count);
	tcase_add_loop_test(tc, encoder_stores_on_demand, 0, built_count);
	tcase_add_loop_test(tc, encoder_goes_to_a_level, 0, built_count);
	tcase_add_loop_test(tc, encoder_is_quick, 0, built_count);
	tcase_add_loop_test(tc, too_little_room, 0, built_count);
	tcase_add_loop_test(tc, truncated_and_flipped, 0, built_count);
	tcase_add_loop_test(tc, two_units_are_not_one, 0, built_count);
	tcase_add_loop_test(tc, bomb, 0, built_count);
	tcase_add_loop_test(tc, refuses, 0, sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, zstd_small_window);
	tcase_add_test(tc, lz4_block_too_large);
	tcase_add_test(tc, registry);
	tcase_add_test(tc, parse);
	tcase_add_loop_test(tc, parse_refuses, 0, sizeof(bad_texts) / sizeof(bad_texts[0]));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
