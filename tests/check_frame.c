/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "proto/counter.h"
#include "proto/frame.h"
#include "proto/msg.h"

/* Only as many bytes as given can be read: the copy is exactly that long. */
static enum frame_error
parse_copy(const uint8_t *data, size_t len, struct frame *f)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	enum frame_error error;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, data, len);
	error = frame_parse(copy, len, f);
	free(copy);
	return error;
}

static void
put_frame(struct buf *b, enum frame_type type, size_t length)
{
	size_t mark;

	ck_assert_int_eq(frame_begin(b, type, &mark), 0);
	for (size_t i = 0; i < length; i++)
		ck_assert_int_eq(buf_put_u8(b, (uint8_t)i), 0);
	ck_assert_int_eq(frame_end(b, mark), 0);
}

START_TEST(two_frames)
{
	struct buf b;
	struct frame f;

	buf_init(&b, 4096);
	put_frame(&b, FRAME_PING, 16);
	put_frame(&b, FRAME_ERROR, 3);
	ck_assert_int_eq(frame_parse(b.data, b.len, &f), FRAME_OK);
	ck_assert_int_eq(f.type, FRAME_PING);
	ck_assert_uint_eq(f.length, 16);
	ck_assert_ptr_eq(f.payload, b.data + FRAME_HEADER_SIZE);
	buf_consume(&b, FRAME_HEADER_SIZE + f.length);
	ck_assert_int_eq(frame_parse(b.data, b.len, &f), FRAME_OK);
	ck_assert_int_eq(f.type, FRAME_ERROR);
	ck_assert_uint_eq(f.length, 3);
	ck_assert_mem_eq(f.payload, "\0\1\2", 3);
	buf_clear(&b);
}
END_TEST

START_TEST(header_bytes)
{
	static const uint8_t want[] = { 0, 12, 0, 0, 0, 0, 0, 2, 0, 1 };
	struct buf b;

	buf_init(&b, 4096);
	put_frame(&b, FRAME_PING, 2);
	ck_assert_uint_eq(b.len, sizeof(want));
	ck_assert_mem_eq(b.data, want, sizeof(want));
	buf_clear(&b);
}
END_TEST

START_TEST(every_truncation)
{
	struct buf b;
	struct frame f;

	buf_init(&b, 4096);
	put_frame(&b, FRAME_GAP, 65);
	for (size_t len = 0; len < b.len; len++)
		ck_assert_int_eq(parse_copy(b.data, len, &f), FRAME_MORE);
	ck_assert_int_eq(parse_copy(b.data, b.len, &f), FRAME_OK);
	buf_clear(&b);
}
END_TEST

static enum frame_error
expected(const uint8_t *data, size_t len)
{
	unsigned type = (unsigned)(data[0] << 8 | data[1]);
	size_t length = (size_t)data[4] << 24 | (size_t)data[5] << 16 | (size_t)data[6] << 8 | data[7];

	if (type == 0 || type >= FRAME_TYPE_MAX)
		return FRAME_UNKNOWN_TYPE;
	if (data[2] != 0 || data[3] != 0)
		return FRAME_RESERVED;
	if (length > frame_length_max((enum frame_type)type))
		return FRAME_TOO_LARGE;
	return length > len - FRAME_HEADER_SIZE ? FRAME_MORE : FRAME_OK;
}

START_TEST(every_bit_flip)
{
	struct buf b;
	struct frame f;

	buf_init(&b, 4096);
	put_frame(&b, FRAME_PING, 16);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(parse_copy(b.data, b.len, &f), expected(b.data, b.len));
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	buf_clear(&b);
}
END_TEST

/* A header that no good frame begins with is told before its payload comes, whatever length it names. */
START_TEST(refused_at_the_header)
{
	static const uint8_t unknown[] = { 0x7f, 0xff, 0, 0, 0, 0, 0, 1 };
	static const uint8_t reserved[] = { 0, FRAME_PING, 0, 1, 0, 0, 0, 16 };
	static const uint8_t large[] = { 0, FRAME_PING, 0, 0, 0, 0, 0, 17 };
	static const uint8_t huge[] = { 0, FRAME_BLOCK, 0, 0, 0xff, 0xff, 0xff, 0xff };
	struct frame f;

	ck_assert_int_eq(parse_copy(unknown, sizeof(unknown), &f), FRAME_UNKNOWN_TYPE);
	ck_assert_int_eq(parse_copy(reserved, sizeof(reserved), &f), FRAME_RESERVED);
	ck_assert_int_eq(parse_copy(large, sizeof(large), &f), FRAME_TOO_LARGE);
	ck_assert_int_eq(parse_copy(huge, sizeof(huge), &f), FRAME_TOO_LARGE);
}
END_TEST

START_TEST(end_refuses_too_much)
{
	static const uint8_t zeros[32];
	struct buf b;
	size_t mark;

	buf_init(&b, 64);
	ck_assert_int_eq(buf_put_u8(&b, 1), 0);
	ck_assert_int_eq(frame_begin(&b, FRAME_PING, &mark), 0);
	ck_assert_int_eq(buf_put(&b, zeros, 17), 0);
	errno = 0;
	ck_assert_int_eq(frame_end(&b, mark), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_uint_eq(b.len, 1);
	buf_clear(&b);
	buf_init(&b, FRAME_HEADER_SIZE - 1);
	ck_assert_int_eq(frame_begin(&b, FRAME_PING, &mark), -1);
	ck_assert_uint_eq(b.len, 0);
	buf_clear(&b);
}
END_TEST

START_TEST(caps_and_names)
{
	ck_assert_uint_eq(frame_length_max(FRAME_BLOCK), MSG_BLOCK_HEADER_SIZE + MSG_BLOCK_MAX);
	ck_assert_uint_eq(frame_length_max(FRAME_PING), 16);
	ck_assert_uint_eq(frame_length_max(FRAME_TYPE_MAX), 0);
	ck_assert_str_eq(frame_type_name(FRAME_BLOCK), "BLOCK");
	ck_assert_str_eq(frame_type_name(FRAME_HINTS), "HINTS");
	ck_assert_str_eq(frame_type_name((enum frame_type)0), "unknown");
	for (unsigned error = FRAME_MORE; error <= FRAME_RESERVED; error++)
		ck_assert_str_ne(frame_error_text((enum frame_error)error), frame_error_text(FRAME_OK));
}
END_TEST

START_TEST(counters)
{
	ck_assert_ptr_null(counter_row(0));
	ck_assert_ptr_null(counter_row(COUNTER_MAX));
	for (unsigned id = 1; id < COUNTER_MAX; id++) {
		const struct counter_row *row = counter_row(id);

		ck_assert_ptr_nonnull(row);
		ck_assert_uint_eq(row->id, id);
		ck_assert_int_eq(row->per_interface, id < COUNTER_BLOCKS_SEALED || (id >= COUNTER_OFFERED && id < COUNTER_LEDGER) ||
		    id == COUNTER_PEERS_LEFT || id == COUNTER_UNWATCHED || id == COUNTER_THINNED);
		ck_assert(row->name[0] != '\0' && row->place[0] != '\0' && row->help[0] != '\0');
		for (unsigned other = 1; other < id; other++)
			ck_assert(counter_row(other) == NULL || strcmp(row->name, counter_row(other)->name) != 0);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("frame");
	TCase *tc = tcase_create("frame");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, two_frames);
	tcase_add_test(tc, header_bytes);
	tcase_add_test(tc, every_truncation);
	tcase_add_test(tc, every_bit_flip);
	tcase_add_test(tc, refused_at_the_header);
	tcase_add_test(tc, end_refuses_too_much);
	tcase_add_test(tc, caps_and_names);
	tcase_add_test(tc, counters);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
