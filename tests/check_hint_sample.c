/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "common/buf.h"
#include "proto/flow.h"
#include "proto/pcapng.h"

#include "collector/hint_sample.h"

#define SECOND	UINT64_C(1000000000)
#define PACKETS	2000

static const uint16_t linktypes[] = { 1 };
static struct hint_sampler sampler;
static struct hint_block taken;
static struct buf block;

static void
setup(void)
{
	memset(&sampler, 0, sizeof(sampler));
	buf_init(&block, 1024 * 1024);
}

static void
teardown(void)
{
	buf_clear(&block);
}

/* An ICMP echo whose flow is chosen by its source. */
static void
put_packet(uint64_t digest, uint8_t host, uint32_t flags, uint32_t captured)
{
	uint8_t echo[60] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, host,
	    10, 0, 1, 2, 8 };
	const struct pcapng_packet packet = { .time_ns = 5, .captured_len = captured, .original_len = sizeof(echo), .data = echo,
	    .flags = flags, .packetid = digest };

	ck_assert_int_eq(pcapng_put_epb(&block, &packet), 0);
}

static bool
is_audit(uint8_t host)
{
	const uint8_t echo[60] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, host,
	    10, 0, 1, 2, 8 };

	return flow_of(BPF_LINK_ETHERNET, 0x0800, echo, sizeof(echo)).hash == 0;
}

static uint8_t
host_of(bool audit)
{
	uint8_t host = 1;

	while (is_audit(host) != audit)
		ck_assert_uint_ne(++host, 0);
	return host;
}

static void
take(uint64_t now_ns)
{
	hint_sample_block(&sampler, block.data, block.len, linktypes, 1, now_ns, &taken);
}

static uint64_t
digest_of(unsigned i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static bool
has(uint64_t digest)
{
	for (size_t i = 0; i < taken.count; i++)
		if (taken.sample[i].digest == digest)
			return true;
	return false;
}

START_TEST(a_packet)
{
	uint8_t host = host_of(_i == 1);

	put_packet(77, host, PCAPNG_EPB_OUT, 60);
	take(SECOND);
	ck_assert_uint_eq(taken.count, 1);
	ck_assert_uint_eq(taken.sample[0].digest, 77);
	ck_assert(taken.sample[0].out && taken.sample[0].undivided && taken.sample[0].audit == (_i == 1));
	ck_assert_int_eq(taken.sample[0].src.family, AF_INET);
	ck_assert_int_eq(taken.sample[0].src.address[3], host);
	ck_assert_int_eq(taken.sample[0].dst.address[2], 1);
	ck_assert_uint_eq(taken.ceiling[0], UINT64_MAX);
	ck_assert_uint_eq(taken.ceiling[1], UINT64_MAX);
	ck_assert(!taken.dropped);
}
END_TEST

/* Without a digest, cut short, or of no direction. */
START_TEST(packets_that_say_nothing)
{
	put_packet(0, 1, PCAPNG_EPB_OUT, 60);
	put_packet(77, 1, PCAPNG_EPB_IN, 50);
	put_packet(78, 1, 0, 60);
	take(SECOND);
	ck_assert_uint_eq(taken.count, 0);
}
END_TEST

/* Of many, those with the smallest digests; and no other is missing below the ceiling. */
START_TEST(the_smallest_of_many)
{
	uint8_t host = host_of(_i == 1);
	unsigned below = 0;

	for (unsigned i = 0; i < PACKETS; i++)
		put_packet(digest_of(i), host, PCAPNG_EPB_IN, 60);
	take(SECOND);
	ck_assert_uint_eq(taken.count, HINT_BLOCK_SAMPLES / 2);
	for (unsigned i = 0; i < PACKETS; i++)
		if (digest_of(i) <= taken.ceiling[_i]) {
			ck_assert(has(digest_of(i)));
			below++;
		}
	ck_assert_uint_ge(below, HINT_BLOCK_SAMPLES / 2 - 1);
	ck_assert_uint_eq(taken.ceiling[1 - _i], UINT64_MAX);
}
END_TEST

/* Two ends that see different crowds still choose the same of what both have. */
START_TEST(both_ends_choose_alike)
{
	uint64_t common, chosen[HINT_BLOCK_SAMPLES];
	size_t count, met = 0;
	uint8_t host = host_of(false);

	for (unsigned i = 0; i < 300; i++)
		put_packet(digest_of(i), host, PCAPNG_EPB_OUT, 60);
	take(SECOND);
	count = taken.count;
	for (size_t i = 0; i < count; i++)
		chosen[i] = taken.sample[i].digest;
	common = taken.ceiling[0];
	buf_clear(&block);
	buf_init(&block, 1024 * 1024);
	memset(&sampler, 0, sizeof(sampler));
	for (unsigned i = 200; i < PACKETS; i++)	/* a hundred of them, among others */
		put_packet(digest_of(i), host, PCAPNG_EPB_IN, 60);
	take(SECOND);
	common = taken.ceiling[0] < common ? taken.ceiling[0] : common;
	for (unsigned i = 200; i < 300; i++)
		met += digest_of(i) <= common;
	ck_assert_uint_gt(met, 0);
	for (size_t i = 0; i < count; i++)
		met -= has(chosen[i]) && chosen[i] <= common;
	ck_assert_uint_eq(met, 0);
}
END_TEST

/* So many a second that they can be remembered for some, however many blocks come. */
START_TEST(rates_are_bounded)
{
	uint8_t host = host_of(false);
	uint64_t all = 0;

	for (unsigned second = 0; second < 20; second++) {
		unsigned count = 0;

		for (unsigned i = 0; i < 50; i++) {
			buf_consume(&block, block.len);
			for (unsigned k = 0; k < 200; k++)
				put_packet(digest_of(second * 10000 + i * 200 + k), host, PCAPNG_EPB_IN, 60);
			take((second + 1) * SECOND + i * SECOND / 50);
			count += (unsigned)taken.count;
		}
		all = second < 5 ? 0 : all + count;
	}
	ck_assert_uint_ge(all / 15, HINT_SAMPLE_RATE / 8);
	ck_assert_uint_le(all / 15, HINT_SAMPLE_RATE * 2);
	buf_consume(&block, block.len);
	put_packet(1, host, PCAPNG_EPB_IN, 60);
	for (unsigned second = 30; second < 80; second++)
		take(second * SECOND);
	ck_assert_uint_eq(sampler.level[0], 0);
}
END_TEST

START_TEST(drops_are_told)
{
	const uint8_t data[60] = { 0 };
	const struct pcapng_packet packet = { .time_ns = 5, .captured_len = 60, .original_len = 60, .data = data, .dropped = 3 };

	ck_assert_int_eq(pcapng_put_epb(&block, &packet), 0);
	take(SECOND);
	ck_assert(taken.dropped);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hint_sample");
	TCase *tcase = tcase_create("hint_sample");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, a_packet, 0, 2);
	tcase_add_test(tcase, packets_that_say_nothing);
	tcase_add_loop_test(tcase, the_smallest_of_many, 0, 2);
	tcase_add_test(tcase, both_ends_choose_alike);
	tcase_add_test(tcase, rates_are_bounded);
	tcase_add_test(tcase, drops_are_told);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
