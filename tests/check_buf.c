/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"

START_TEST(writes_each_width)
{
	static const uint8_t expected[] = {
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
		0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08,
		0x00, 0x02, 'h', 'i', '4', '2', '!',
	};
	struct buf	 b;
	int		 errs = 0;

	buf_init(&b, 1000);
	errs += buf_put_u8(&b, 0x01);
	errs += buf_put_u16(&b, 0x0203);
	errs += buf_put_u32(&b, 0x04050607);
	errs += buf_put_u64(&b, 0x08090a0b0c0d0e0f);
	errs += buf_put_u16le(&b, 0x0203);
	errs += buf_put_u32le(&b, 0x04050607);
	errs += buf_put_u64le(&b, 0x08090a0b0c0d0e0f);
	errs += buf_put_str(&b, "hi");
	errs += buf_printf(&b, "%d%c", 42, '!');
	ck_assert_int_eq(errs, 0);
	ck_assert_uint_eq(b.len, sizeof(expected));
	ck_assert_mem_eq(b.data, expected, sizeof(expected));
	buf_clear(&b);
	ck_assert_ptr_null(b.data);
}
END_TEST

START_TEST(ceiling_is_kept_and_nothing_put)
{
	struct buf	 b;

	buf_init(&b, 5);
	ck_assert_int_eq(buf_put(&b, "abc", 3), 0);
	errno = 0;
	ck_assert_int_eq(buf_put_u32(&b, 1), -1);
	ck_assert_int_eq(errno, ENOBUFS);
	ck_assert_int_eq(buf_put_str(&b, "x"), -1);
	ck_assert_int_eq(buf_printf(&b, "%s", "def"), -1);
	ck_assert_int_eq(buf_reserve(&b, SIZE_MAX), -1);
	ck_assert_uint_eq(b.len, 3);
	ck_assert_int_eq(buf_printf(&b, "%s", "de"), 0);
	ck_assert_mem_eq(b.data, "abcde", 5);
	ck_assert_uint_le(b.size, 5);
	buf_clear(&b);
	ck_assert_int_eq(buf_put(&b, "again", 5), 0);
	buf_clear(&b);
}
END_TEST

START_TEST(grows_and_consumes)
{
	struct buf	 b;

	buf_init(&b, 100000);
	for (unsigned i = 0; i < 25000; i++)
		ck_assert_int_eq(buf_put_u32(&b, i), 0);
	ck_assert_uint_eq(b.len, 100000);
	buf_consume(&b, 0);
	buf_consume(&b, 4 * 24999);
	ck_assert_uint_eq(b.len, 4);
	ck_assert_mem_eq(b.data, "\x00\x00\x61\xa7", 4);
	buf_consume(&b, 4);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_int_eq(buf_put(&b, NULL, 0), 0);
	buf_clear(&b);
}
END_TEST

/* A window of changing length over a counting stream, far longer than the ceiling. */
START_TEST(consumed_room_is_used_again)
{
	struct buf	 b;
	uint32_t	 in = 0, out = 0;

	buf_init(&b, 1000);
	while (in < 100000) {
		for (unsigned i = 0; i < 1 + in % 200 && b.len + 4 <= 1000; i++)
			ck_assert_int_eq(buf_put_u32(&b, in++), 0);
		ck_assert_uint_le(b.head + b.size, 1000);
		for (unsigned i = 0; i < 1 + in % 130 && b.len > 0; i++, out++) {
			struct cursor	 c;
			uint32_t	 value;

			cursor_init(&c, b.data, b.len);
			ck_assert_int_eq(cursor_u32(&c, &value), 0);
			ck_assert_uint_eq(value, out);
			buf_consume(&b, 4);
		}
	}
	ck_assert_uint_eq(b.len, (in - out) * 4);
	buf_clear(&b);
	ck_assert_uint_eq(b.head, 0);
}
END_TEST

START_TEST(string_above_16_bits_is_refused)
{
	char		*s = malloc(65537);
	struct buf	 b;

	ck_assert_ptr_nonnull(s);
	memset(s, 'x', 65536);
	s[65536] = '\0';
	buf_init(&b, 1000000);
	errno = 0;
	ck_assert_int_eq(buf_put_str(&b, s), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_int_eq(buf_put_str(&b, s + 1), 0);
	ck_assert_uint_eq(b.len, 65537);
	buf_clear(&b);
	free(s);
}
END_TEST

/* All readers in the order of the bytes below; how many of them had their bytes. */
static unsigned
read_all(struct cursor *c)
{
	uint8_t		 u8;
	uint16_t	 u16;
	uint32_t	 u32;
	uint64_t	 u64;
	char		 s[8];
	struct cursor	 child;
	unsigned	 done = 0;

	done += cursor_u8(c, &u8) == 0 && u8 == 0x01;
	done += cursor_u16(c, &u16) == 0 && u16 == 0x0203;
	done += cursor_u32(c, &u32) == 0 && u32 == 0x84050607;
	done += cursor_u64(c, &u64) == 0 && u64 == 0xf8090a0b0c0d0e0f;
	done += cursor_u16le(c, &u16) == 0 && u16 == 0x8302;
	done += cursor_u32le(c, &u32) == 0 && u32 == 0x87060504;
	done += cursor_u64le(c, &u64) == 0 && u64 == 0xff0e0d0c0b0a0908;
	done += cursor_str(c, s, sizeof(s)) == 0 && strcmp(s, "hi") == 0;
	done += cursor_skip(c, 1) == 0;
	done += cursor_sub(c, 2, &child) == 0 && child.left == 2 && memcmp(child.p, "ab", 2) == 0;
	done += cursor_bytes(c, s, 1) == 0 && s[0] == 'c';
	return done;
}

static const uint8_t cursor_bytes_all[] = {
	0x01, 0x02, 0x03, 0x84, 0x05, 0x06, 0x07, 0xf8, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
	0x02, 0x83, 0x04, 0x05, 0x06, 0x87, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0xff,
	0x00, 0x02, 'h', 'i', '-', 'a', 'b', 'c',
};

START_TEST(reads_each_width)
{
	struct cursor	 c;

	cursor_init(&c, cursor_bytes_all, sizeof(cursor_bytes_all));
	ck_assert_int_eq(cursor_end(&c), -1);
	ck_assert_uint_eq(read_all(&c), 11);
	ck_assert_int_eq(cursor_end(&c), 0);
}
END_TEST

/* Copied to the heap at its exact size, so that a sanitizer sees a read beyond. */
START_TEST(every_truncation_fails_in_bounds)
{
	for (size_t n = 0; n < sizeof(cursor_bytes_all); n++) {
		uint8_t		*bytes = malloc(n + 1);
		struct cursor	 c;

		ck_assert_ptr_nonnull(bytes);
		memcpy(bytes, cursor_bytes_all, n);
		bytes = realloc(bytes, n > 0 ? n : 1);
		cursor_init(&c, bytes, n);
		ck_assert_uint_lt(read_all(&c), 11);
		free(bytes);
	}
}
END_TEST

START_TEST(failed_read_leaves_cursor)
{
	static const uint8_t bytes[] = { 0, 5, 'a', 'b', 0, 'd' };
	struct cursor	 c, child;
	uint64_t	 u64;
	char		 s[16] = "keep";

	cursor_init(&c, bytes, sizeof(bytes));
	ck_assert_int_eq(cursor_u64(&c, &u64), -1);
	ck_assert_int_eq(cursor_u64le(&c, &u64), -1);
	ck_assert_int_eq(cursor_str(&c, s, sizeof(s)), -1);
	ck_assert_int_eq(cursor_bytes(&c, s, 7), -1);
	ck_assert_int_eq(cursor_skip(&c, SIZE_MAX), -1);
	ck_assert_int_eq(cursor_sub(&c, 7, &child), -1);
	ck_assert_ptr_eq(c.p, bytes);
	ck_assert_uint_eq(c.left, sizeof(bytes));
	ck_assert_str_eq(s, "keep");
}
END_TEST

START_TEST(string_must_fit_and_hold_no_nul)
{
	static const uint8_t plain[] = { 0, 4, 'a', 'b', 'c', 'd' };
	static const uint8_t nul[] = { 0, 4, 'a', 'b', 0, 'd' };
	static const uint8_t empty[] = { 0, 0 };
	char		 s[5];
	struct cursor	 c;

	cursor_init(&c, plain, sizeof(plain));
	ck_assert_int_eq(cursor_str(&c, s, 4), -1);
	ck_assert_uint_eq(c.left, sizeof(plain));
	ck_assert_int_eq(cursor_str(&c, s, 5), 0);
	ck_assert_str_eq(s, "abcd");
	cursor_init(&c, nul, sizeof(nul));
	ck_assert_int_eq(cursor_str(&c, s, 5), -1);
	cursor_init(&c, empty, sizeof(empty));
	ck_assert_int_eq(cursor_str(&c, s, 0), -1);
	ck_assert_int_eq(cursor_str(&c, s, 1), 0);
	ck_assert_str_eq(s, "");
	cursor_init(&c, NULL, 0);
	ck_assert_int_eq(cursor_bytes(&c, NULL, 0), 0);
	ck_assert_int_eq(cursor_end(&c), 0);
}
END_TEST

int
main(void)
{
	Suite		*suite = suite_create("buf");
	TCase		*tc = tcase_create("buf");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, writes_each_width);
	tcase_add_test(tc, ceiling_is_kept_and_nothing_put);
	tcase_add_test(tc, grows_and_consumes);
	tcase_add_test(tc, consumed_room_is_used_again);
	tcase_add_test(tc, string_above_16_bits_is_refused);
	tcase_add_test(tc, reads_each_width);
	tcase_add_test(tc, every_truncation_fails_in_bounds);
	tcase_add_test(tc, failed_read_leaves_cursor);
	tcase_add_test(tc, string_must_fit_and_hold_no_nul);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
