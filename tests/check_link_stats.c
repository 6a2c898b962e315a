/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link_netif.h"
#include "agent/link_stats.h"
#include "agent/spool.h"
#include "common/buf.h"
#include "proto/frame.h"
#include "proto/pcapng.h"

static const uint8_t stream_a[MSG_ID_SIZE] = { 0xa }, stream_b[MSG_ID_SIZE] = { 0xb };
static int fd;
static struct spool *producer, *consumer;
static struct link_stats stats;

static void
setup(void)
{
	ck_assert_int_ne(fd = spool_create("test", SPOOL_SIZE_MIN), -1);
	ck_assert_ptr_nonnull(producer = spool_attach(fd, SPOOL_PRODUCER));
	ck_assert_ptr_nonnull(consumer = spool_attach(fd, SPOOL_CONSUMER));
	stats_reset(&stats);
}

static void
teardown(void)
{
	spool_detach(producer);
	spool_detach(consumer);
	close(fd);
}

static void
add_interface(const char *name)
{
	struct pcapng_interface interface = { .linktype = 1, .snaplen = PCAPNG_SNAPLEN, .tsresol = 9 };
	struct buf idb;

	strcpy(interface.name, name);
	buf_init(&idb, MSG_IDB_MAX);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	ck_assert_int_ge(spool_interface_add(producer, idb.data, idb.len), 0);
	buf_clear(&idb);
}

static void
begin(const uint8_t *id, const char *first, const char *second)
{
	ck_assert_int_eq(spool_stream_begin(producer, id, 1), 0);
	add_interface(first);
	add_interface(second);
}

/* What a STATS message says of a counter, through the wire and back; UINT64_MAX: nothing. */
static uint64_t
told(enum counter counter, uint32_t interface)
{
	static struct msg_stat stat[MSG_STATS_MAX];
	uint64_t value = UINT64_MAX;
	struct msg_stats msg;
	struct frame frame;
	struct buf wire;
	size_t i;

	stats_fill(&stats, consumer, &msg, stat);
	buf_init(&wire, 1 << 20);
	ck_assert_int_eq(msg_put_stats(&wire, &msg), 0);
	ck_assert_int_eq(frame_parse(wire.data, wire.len, &frame), FRAME_OK);
	ck_assert_int_eq(msg_get_stats(&frame, &msg), 0);
	for (i = 0; i < msg.count; i++)
		if (stat[i].counter == counter && stat[i].interface == interface)
			value = stat[i].value;
	buf_clear(&wire);
	return value;
}

START_TEST(no_stream_no_stats)
{
	ck_assert(!stats_refresh(&stats, consumer));
	ck_assert_int_eq(spool_stream_begin(producer, stream_a, 1), 0);
	ck_assert(stats_refresh(&stats, consumer));
	ck_assert_uint_eq(stats.count, 0);
	ck_assert_uint_eq(told(COUNTER_BLOCKS_SENT, STATS_AGENT), 0);
	ck_assert_uint_eq(told(COUNTER_PACKETS_CAPTURED, 0), UINT64_MAX);
}
END_TEST

START_TEST(all_are_told)
{
	begin(stream_a, "eth0", "eth1");
	ck_assert(stats_refresh(&stats, consumer));
	spool_count_set(producer, COUNTER_PACKETS_CAPTURED, 0, 11);
	spool_count_set(producer, COUNTER_PACKETS_CAPTURED, 1, 12);
	spool_count_set(producer, COUNTER_BLOCKS_SEALED, STATS_AGENT, 13);
	ck_assert_uint_eq(told(COUNTER_PACKETS_CAPTURED, 0), 11);
	ck_assert_uint_eq(told(COUNTER_PACKETS_CAPTURED, 1), 12);
	ck_assert_uint_eq(told(COUNTER_PACKETS_CAPTURED, 2), UINT64_MAX);
	ck_assert_uint_eq(told(COUNTER_BLOCKS_SEALED, STATS_AGENT), 13);
	ck_assert_uint_eq(told(COUNTER_BLOCKS_SEALED, 0), UINT64_MAX);
}
END_TEST

START_TEST(only_what_matters_is_a_change)
{
	begin(stream_a, "eth0", "eth1");
	ck_assert(stats_refresh(&stats, consumer));
	told(COUNTER_BLOCKS_SENT, STATS_AGENT);
	ck_assert(!stats_changed(&stats, consumer));
	spool_count_add(consumer, COUNTER_BYTES_SENT, STATS_AGENT, 100);
	ck_assert(stats_refresh(&stats, consumer));
	ck_assert(!stats_changed(&stats, consumer));
	spool_count_add(producer, COUNTER_RING_DROPPED, 1, 1);
	ck_assert(stats_changed(&stats, consumer));
	told(COUNTER_RING_DROPPED, 1);
	ck_assert(!stats_changed(&stats, consumer));
}
END_TEST

START_TEST(spool_level_falls_with_acknowledgement)
{
	struct spool_entry entry = { .codec = 1, .raw_len = 1000, .data_len = 500 };
	struct spool_item item;

	begin(stream_a, "eth0", "eth1");
	ck_assert_ptr_nonnull(spool_reserve(producer, 500));
	spool_publish(producer, &entry);
	ck_assert(stats_refresh(&stats, consumer));
	ck_assert_uint_eq(told(COUNTER_SPOOL_BYTES, STATS_AGENT), 500);
	spool_next(consumer, &item);
	spool_release(consumer);
	ck_assert_int_eq(spool_acknowledge(consumer, stream_a, 1), 0);
	ck_assert(stats_changed(&stats, consumer));
	ck_assert_uint_eq(told(COUNTER_SPOOL_BYTES, STATS_AGENT), 0);
}
END_TEST

/* The NIC's counts are modulo 2^32 and older than we are: only what grows counts. */
START_TEST(nic_drops_are_added_up)
{
	struct netif netif = { .tap = { .ifindex = 2, .name = "eth0" }, .has_drops = true, .rx_dropped = UINT32_MAX - 1, .rx_missed = 7 };
	struct netif_table table = { .netif = &netif, .count = 1 };

	begin(stream_a, "eth1", "eth0");
	ck_assert(stats_refresh(&stats, consumer));
	stats_count_nics(&stats, consumer, &table);
	netif.rx_dropped = 3;
	netif.rx_missed = 9;
	stats_count_nics(&stats, consumer, &table);
	ck_assert_uint_eq(told(COUNTER_NIC_DROPPED, 1), 5);
	ck_assert_uint_eq(told(COUNTER_NIC_MISSED, 1), 2);
	ck_assert_uint_eq(told(COUNTER_NIC_DROPPED, 0), 0);
	netif.has_drops = false;
	stats_count_nics(&stats, consumer, &table);
	netif.has_drops = true;
	netif.rx_dropped = 100;
	stats_count_nics(&stats, consumer, &table);
	ck_assert_uint_eq(told(COUNTER_NIC_DROPPED, 1), 5);
}
END_TEST

START_TEST(newest_id_of_a_name_is_current)
{
	begin(stream_a, "eth0", "eth1");
	ck_assert(stats_refresh(&stats, consumer));
	ck_assert(stats.interface[0].current);
	add_interface("eth0");
	ck_assert(stats_refresh(&stats, consumer));
	ck_assert_uint_eq(stats.count, 3);
	ck_assert(!stats.interface[0].current);
	ck_assert(stats.interface[1].current);
	ck_assert(stats.interface[2].current);
}
END_TEST

START_TEST(next_stream_starts_anew)
{
	struct netif netif = { .tap = { .ifindex = 2, .name = "eth0" }, .has_drops = true };
	struct netif_table table = { .netif = &netif, .count = 1 };

	begin(stream_a, "eth0", "eth1");
	ck_assert(stats_refresh(&stats, consumer));
	stats_count_nics(&stats, consumer, &table);
	netif.rx_dropped = 4;
	stats_count_nics(&stats, consumer, &table);
	ck_assert_uint_eq(told(COUNTER_NIC_DROPPED, 0), 4);
	spool_stream_end(producer);
	begin(stream_b, "ens5", "eth0");
	ck_assert(stats_refresh(&stats, consumer));
	ck_assert_mem_eq(stats.stream, stream_b, MSG_ID_SIZE);
	ck_assert_str_eq(stats.interface[0].name, "ens5");
	ck_assert_uint_eq(told(COUNTER_NIC_DROPPED, 0), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("link_stats");
	TCase *tc = tcase_create("link_stats");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, no_stream_no_stats);
	tcase_add_test(tc, all_are_told);
	tcase_add_test(tc, only_what_matters_is_a_change);
	tcase_add_test(tc, spool_level_falls_with_acknowledgement);
	tcase_add_test(tc, nic_drops_are_added_up);
	tcase_add_test(tc, newest_id_of_a_name_is_current);
	tcase_add_test(tc, next_stream_starts_anew);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
