/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <xxhash.h>

#include "proto/digest.h"
#include "proto/transit.h"
#include "tests/transit_lab.h"

static struct lab lab;
static uint8_t secret[DIGEST_SECRET_SIZE];

static void
setup(void)
{
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * 167 + 13);
}

static uint64_t
digest_of(uint16_t linktype)
{
	struct transit t;

	transit_parse(&t, linktype, lab_data(&lab), lab_len(&lab), lab_len(&lab));
	return digest_packet(&t, secret);
}

/* Each bit: what changes on the way changes nothing, everything else does. */
START_TEST(bits)
{
	const struct lab_case *what = &lab_cases[_i];
	uint64_t before;

	what->make(&lab);
	before = digest_of(LAB_ETHERNET);
	ck_assert_uint_ne(before, DIGEST_NONE);
	for (size_t i = 0; i < lab_len(&lab); i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			*lab_byte(&lab, i) ^= (uint8_t)(1u << bit);
			ck_assert_msg((digest_of(LAB_ETHERNET) == before) == lab_free_bit(what, i, bit), "%s: bit %u of byte %zu",
			    what->name, bit, i);
			*lab_byte(&lab, i) ^= (uint8_t)(1u << bit);
		}
	}
}
END_TEST

/* Where one byte of length more is all that differs. */
START_TEST(lengths_count)
{
	static const uint8_t zeroes[256];
	uint64_t seen[256];

	for (size_t len = 0; len < 256; len++) {
		lab_begin(&lab, zeroes, len);
		lab_udp(&lab, 53);
		lab_ipv4(&lab, IPPROTO_UDP);
		seen[len] = digest_of(LAB_RAW);
		for (size_t before = 0; before < len; before++)
			ck_assert_uint_ne(seen[before], seen[len]);
	}
}
END_TEST

START_TEST(keyed)
{
	uint64_t before;

	lab_cases[_i].make(&lab);
	before = digest_of(LAB_ETHERNET);
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] ^= 0x55;
	ck_assert_uint_ne(digest_of(LAB_ETHERNET), before);
	setup();
	ck_assert_uint_eq(digest_of(LAB_ETHERNET), before);
}
END_TEST

START_TEST(of_nothing_none)
{
	struct transit t;

	lab_cases[_i].make(&lab);
	transit_parse(&t, LAB_ETHERNET, lab_data(&lab), lab_len(&lab), lab_len(&lab) + 1);
	ck_assert_uint_eq(digest_packet(&t, secret), DIGEST_NONE);
}
END_TEST

/* As PROTOCOL has it, field by field. */
static uint64_t
by_the_book(uint8_t header[72], const void *payload, size_t len)
{
	uint64_t hash = XXH3_64bits_withSecret(payload, len, secret, sizeof(secret));

	for (unsigned i = 0; i < 8; i++)
		header[64 + i] = (uint8_t)(hash >> (56 - 8 * i));
	return XXH3_64bits_withSecret(header, 72, secret, sizeof(secret));
}

static void
put_flow(uint8_t *p, uint64_t flow)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (uint8_t)(flow >> (56 - 8 * i));
}

static uint64_t
fold(uint64_t flow, uint64_t value)
{
	flow = (flow ^ value) * 0x9e3779b97f4a7c15u;
	return flow ^ flow >> 32;
}

START_TEST(fields_of_tcp)
{
	uint8_t header[73] = "\1\4\6\x18" "\x0f\xa0\0\x50" "\1\2\3\4" "\0\0\0\0" "flow64.."
	    "\x0a\1\2\3\0\0\0\0\0\0\0\0\0\0\0\0" "\xc0\xa8\1\1\0\0\0\0\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\x32";

	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_tcp(&lab, 0xd8);
	lab_ipv4(&lab, IPPROTO_TCP);
	put_flow(header + 16, fold(fold(0, 0x0a010203c0a80101u), 0x0406 * (1ull << 32) + 0x0fa00050));
	ck_assert_uint_eq(digest_of(LAB_RAW), by_the_book(header, LAB_TEXT, sizeof(LAB_TEXT) - 1));
	lab_begin(&lab, "", 0);
	lab_tcp(&lab, 0x10);
	lab_ipv4(&lab, IPPROTO_TCP);
	header[3] = 0x10;
	memcpy(header + 12, "\5\6\7\x08", 4);
	header[63] = 0;
	ck_assert_uint_eq(digest_of(LAB_RAW), by_the_book(header, "", 0));
}
END_TEST

/* Of IPv6, in a tunnel of VXLAN: the outer addresses, the inner ports, both in the flow. */
START_TEST(fields_of_a_fragment_in_a_tunnel)
{
	uint8_t header[73] = "\3\4\x11\0" "\0\0\0\0" "\0\1\2\3" "\0\0\5\xc9" "flow64.."
	    "\x0a\1\2\3\0\0\0\0\0\0\0\0\0\0\0\0" "\xc0\xa8\1\1\0\0\0\0\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\x32";
	uint64_t flow = fold(fold(fold(0, 0x0a010203c0a80101u), 0x0411 * (1ull << 32) + 0x0fa012b5), 1);

	flow = fold(fold(fold(fold(flow, 0x20010db800000000u), 1), 0x20010db800000000u), 2);
	put_flow(header + 16, fold(flow, 0x0611 * (1ull << 32)));
	lab_begin(&lab, LAB_TEXT, sizeof(LAB_TEXT) - 1);
	lab_put(&lab, "\x11\0\5\xc9\0\1\2\3", 8);
	lab_ipv6(&lab, IPPROTO_FRAGMENT);
	lab_ethernet(&lab, 0x86dd);
	lab_put(&lab, "\x08\0\0\0\0\0\1\0", 8);
	lab_udp(&lab, 4789);
	lab_ipv4(&lab, IPPROTO_UDP);
	ck_assert_uint_eq(digest_of(LAB_RAW), by_the_book(header, LAB_TEXT, sizeof(LAB_TEXT) - 1));
}
END_TEST

/* --- capture files --- */

struct seen {
	uint64_t	digest;
	unsigned	file;
	struct transit	transit;	/* its payload is a copy */
};
static struct seen *seen;
static size_t seen_count, seen_room;

static void
see(unsigned file, uint16_t linktype, const uint8_t *data, size_t captured, size_t original)
{
	struct seen *s;
	uint8_t *payload;

	if (seen_count == seen_room) {
		seen_room = seen_room * 2 + 1024;
		seen = realloc(seen, seen_room * sizeof(*seen));
		ck_assert_ptr_nonnull(seen);
	}
	s = &seen[seen_count];
	transit_parse(&s->transit, linktype, data, captured, original);
	if ((s->digest = digest_packet(&s->transit, secret)) == DIGEST_NONE)
		return;
	payload = malloc(s->transit.payload_len + 1);
	ck_assert_ptr_nonnull(payload);
	memcpy(payload, s->transit.payload, s->transit.payload_len);
	s->transit.payload = payload;
	s->file = file;
	seen_count++;
}

static int
by_digest(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->digest < y->digest ? -1 : x->digest > y->digest ? 1 : x->file < y->file ? -1 : x->file > y->file;
}

/* Equal digests, unequal bytes: one is one too many in so few packets. */
START_TEST(captures_do_not_collide)
{
	size_t packets = lab_captures("check_digest", see), repeats = 0, files = 0;

	if (packets == 0)
		return;
	qsort(seen, seen_count, sizeof(*seen), by_digest);
	for (size_t i = 1; i < seen_count; i++) {
		if (seen[i].digest != seen[i - 1].digest)
			continue;
		ck_assert(lab_same(&seen[i].transit, &seen[i - 1].transit));
		repeats++;
		files += seen[i].file != seen[i - 1].file;
	}
	printf("check_digest: %zu packets, %zu with a digest: %zu different ones, %zu repeats of the same bytes (%zu of them in another "
	    "file), 0 collisions\n", packets, seen_count, seen_count - repeats, repeats, files);
	for (size_t i = 0; i < seen_count; i++)
		free((void *)(uintptr_t)seen[i].transit.payload);
	free(seen);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("digest");
	TCase *tc = tcase_create("digest");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_loop_test(tc, bits, 0, (int)lab_cases_count);
	tcase_add_loop_test(tc, keyed, 0, (int)lab_cases_count);
	tcase_add_loop_test(tc, of_nothing_none, 0, (int)lab_cases_count);
	tcase_add_test(tc, lengths_count);
	tcase_add_test(tc, fields_of_tcp);
	tcase_add_test(tc, fields_of_a_fragment_in_a_tunnel);
	tcase_add_test(tc, captures_do_not_collide);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(s, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
