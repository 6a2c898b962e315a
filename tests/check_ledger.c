/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/log.h"

#include "collector/catalog.h"
#include "collector/ledger.h"

/* The ledger of catalogs made by hand. */

#define UUID	"11111111-2222-3333-4444-555555555555"
#define A	"x'01000000000000000000000000000000'"
#define B	"x'02000000000000000000000000000000'"

static char dir[64];
static sqlite3 *db;
static struct ledger ledger;

static void __attribute__((format(printf, 1, 2)))
sql(const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", text, sqlite3_errmsg(db));
}

static void
setup(void)
{
	char error[512] = "";

	log_init("check", LOG_LEVEL_ERROR);
	strcpy(dir, "/tmp/check_ledger.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_msg((db = catalog_open(dir, error, sizeof(error))) != NULL, "%s", error);
	sql("INSERT INTO vm (uuid, tenant, name) VALUES ('" UUID "', 'acme', 'web1')");
	memset(&ledger, 0, sizeof(ledger));
}

static void
teardown(void)
{
	char command[128];

	ledger_clear(&ledger);
	sqlite3_close(db);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void
stream(const char *id, int packets, int ended, int cut)
{
	sql("INSERT INTO stream (id, vm, started_ns, packets, ended, cut, first_ns, last_ns, stats_ns) VALUES (%s, '" UUID "', 1000, %d,"
	    " %d, %d, 2000, 3000, 4000)", id, packets, ended, cut);
	if (packets > 0)
		sql("INSERT INTO file (vm, stream, path, codec, created_ns, length, packets, first_ns) VALUES ('" UUID "', %s, 'f' || hex(%s),"
		    " 'none', 1, 1, %d, 2000)", id, id, packets);
}

static void
count(const char *id, int interface, const char *counter, long long value)
{
	sql("INSERT INTO stat (vm, stream, interface, counter, value, updated_ns, since_ns, changed_ns) VALUES ('" UUID "', %s, %d, '%s',"
	    " %lld, 1, 1500, 3500)", id, interface, counter, value);
}

static void
loss(const char *id, const char *place, int packets, int approximate)
{
	sql("INSERT INTO loss (vm, stream, place, packets, bytes, first_ns, last_ns, recorded_ns, approximate) VALUES ('" UUID "', %s,"
	    " '%s', %d, 0, 2100, 2900, 1, %d)", id, place, packets, approximate);
}

static const struct ledger_term *
sum(enum ledger_id id)
{
	return &ledger.sum.term[id];
}

static void
read_it(void)
{
	ledger_clear(&ledger);
	ck_assert_int_eq(ledger_read(db, UUID, &ledger), 0);
}

static void
ring(const char *id, int received, int dropped, int captured)
{
	count(id, 0, "ring_received_packets", received);
	count(id, 0, "ring_dropped_packets", dropped);
	count(id, 0, "captured_packets", captured);
}

START_TEST(nothing)
{
	read_it();
	ck_assert_uint_eq(ledger.count, 0);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert(!sum(LEDGER_OFFERED)->known);
}
END_TEST

/* What a peer may not have delivered is withheld already, and nothing that the equation misses. */
START_TEST(possible_gap)
{
	stream(A, 90, 0, 0);
	count(A, 0, "offered_packets", 100);
	count(A, 0, "withheld_packets", 10);
	count(A, 0, "captured_packets", 90);
	count(A, -1, "ledger", 2);
	loss(A, "withheld", 7, 1);
	read_it();
	ck_assert(ledger.sum.balanced && ledger.sum.exact);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert_int_eq(sum(LEDGER_WITHHELD)->packets, 10);
	ck_assert_int_eq(sum(LEDGER_POSSIBLE)->packets, 7);
	ck_assert(sum(LEDGER_POSSIBLE)->up_to);
	ck_assert_uint_eq(sum(LEDGER_POSSIBLE)->from_ns, 2100);
	ck_assert_uint_eq(sum(LEDGER_POSSIBLE)->to_ns, 2900);
}
END_TEST

/* An agent that counts what passed the filter only, as old ones do. */
START_TEST(ring_only)
{
	stream(A, 90, 0, 0);
	ring(A, 100, 6, 94);
	loss(A, "spool", 4, 0);
	read_it();
	ck_assert_int_eq(ledger.sum.level, LEDGER_RING);
	ck_assert(ledger.sum.balanced && ledger.sum.exact);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, 0);
	ck_assert(!sum(LEDGER_OFFERED)->known);
	ck_assert(!sum(LEDGER_FILTERED)->known);
	ck_assert_int_eq(sum(LEDGER_STORED)->packets, 90);
	ck_assert_uint_eq(sum(LEDGER_STORED)->from_ns, 2000);
	ck_assert_uint_eq(sum(LEDGER_STORED)->to_ns, 3000);
	ck_assert_int_eq(sum(LEDGER_GAP_SPOOL)->packets, 4);
	ck_assert_uint_eq(sum(LEDGER_GAP_SPOOL)->from_ns, 2100);
	ck_assert_uint_eq(sum(LEDGER_RING_DROPPED)->from_ns, 1500);
	ck_assert_uint_eq(sum(LEDGER_RING_DROPPED)->to_ns, 3500);
	sql("UPDATE stat SET value = 101 WHERE counter = 'ring_received_packets'");
	read_it();
	ck_assert_int_eq(ledger.sum.unaccounted, 1);
}
END_TEST

/* Every term, on two interfaces. */
static void
kernel_stream(void)
{
	stream(A, 40, 0, 0);
	count(A, -1, "ledger", 2);
	count(A, 0, "offered_packets", 119);
	count(A, 1, "offered_packets", 50);
	count(A, 0, "filtered_packets", 60);
	count(A, 1, "filtered_packets", 10);
	count(A, 0, "own_packets", 7);
	count(A, 0, "withheld_packets", 8);
	count(A, 0, "sampled_out_packets", 11);
	count(A, 1, "paused_packets", 13);
	count(A, 1, "oversize_packets", 2);
	ring(A, 60, 3, 55);
	loss(A, "spool", 5, 0);
	loss(A, "capture", 4, 0);
	loss(A, "pull", 1, 0);
	loss(A, "disk", 5, 0);
}

START_TEST(every_term)
{
	kernel_stream();
	read_it();
	ck_assert_int_eq(ledger.sum.level, LEDGER_KERNEL);
	ck_assert_int_eq(sum(LEDGER_OFFERED)->packets, 169);
	ck_assert_int_eq(sum(LEDGER_FILTERED)->packets, 70);
	ck_assert_int_eq(sum(LEDGER_OWN)->packets, 7);
	ck_assert_int_eq(sum(LEDGER_WITHHELD)->packets, 8);
	ck_assert_int_eq(sum(LEDGER_SAMPLED_OUT)->packets, 11);
	ck_assert_int_eq(sum(LEDGER_PAUSED)->packets, 13);
	ck_assert_int_eq(sum(LEDGER_OVERSIZE)->packets, 2);
	ck_assert_int_eq(sum(LEDGER_GAP_DISK)->packets, 5);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert(ledger.sum.exact);
	/* One more captured is under way, and while it is, nothing is unaccounted for. */
	sql("UPDATE stat SET value = value + 1 WHERE interface = 0 AND counter IN ('offered_packets', 'captured_packets')");
	read_it();
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, 1);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	/* It never came, though the stream is over. */
	sql("UPDATE stream SET ended = 1");
	read_it();
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, 0);
	ck_assert_int_eq(ledger.sum.unaccounted, 1);
}
END_TEST

START_TEST(stored_ahead_of_the_counters)
{
	stream(A, 100, 0, 0);
	ring(A, 80, 0, 80);
	read_it();
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, -20);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
}
END_TEST

START_TEST(filters_exchanged)
{
	kernel_stream();
	count(A, 0, "switched_packets", 3);
	for (int off = -4; off <= 4; off++) {
		sql("UPDATE stat SET value = %d WHERE counter = 'own_packets'", 7 + off);
		read_it();
		ck_assert_int_eq(ledger.sum.unaccounted, off == 4 ? -4 : off == -4 ? 4 : 0);
		ck_assert(!ledger.sum.exact);
	}
}
END_TEST

START_TEST(gap_that_is_a_bound)
{
	stream(A, 90, 0, 0);
	ring(A, 100, 0, 100);
	loss(A, "spool", 14, 1);	/* four of them were stored after all */
	read_it();
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, 0);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert(!ledger.sum.exact && sum(LEDGER_GAP_SPOOL)->up_to);
}
END_TEST

START_TEST(expired_and_gone)
{
	stream(A, 100, 0, 0);
	ring(A, 100, 0, 100);
	sql("UPDATE file SET packets = 30, first_ns = 2700");
	loss(A, "store", 20, 0);
	read_it();
	ck_assert_int_eq(sum(LEDGER_STORED)->packets, 80);
	ck_assert_int_eq(sum(LEDGER_EXPIRED)->packets, 50);
	ck_assert_uint_eq(sum(LEDGER_EXPIRED)->from_ns, 2000);
	ck_assert_uint_eq(sum(LEDGER_EXPIRED)->to_ns, 2700);
	ck_assert_int_eq(sum(LEDGER_GAP_STORE)->packets, 20);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	sql("DELETE FROM file");
	read_it();
	ck_assert_int_eq(sum(LEDGER_EXPIRED)->packets, 80);
	ck_assert_uint_eq(sum(LEDGER_EXPIRED)->to_ns, 3000);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
}
END_TEST

/* The counters of a stream that was cut off end before it does; the one after it is exact. */
START_TEST(cut_off)
{
	stream(A, 50, 1, STREAM_CUT);
	ring(A, 70, 0, 60);
	stream(B, 10, 0, 0);
	ring(B, 10, 0, 10);
	read_it();
	ck_assert_uint_eq(ledger.count, 2);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert(!ledger.sum.exact && ledger.stream[1].part.exact);
	ck_assert(sum(LEDGER_CUT)->known && sum(LEDGER_CUT)->more);
	loss(A, "cut", 33, 1);
	read_it();
	ck_assert_int_eq(sum(LEDGER_CUT)->packets, 33);
	ck_assert(sum(LEDGER_CUT)->up_to && !sum(LEDGER_CUT)->more);
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, 0);
	ck_assert_int_eq(sum(LEDGER_STORED)->packets, 60);
	/* More than the bound was not lost by the cut. */
	for (int more = -1; more < 5; more++) {
		sql("UPDATE stat SET value = %d WHERE stream = " A " AND counter = 'ring_received_packets'", 50 + 33 + more);
		read_it();
		ck_assert_int_eq(ledger.sum.unaccounted, more > 0 ? more : 0);
	}
	/* The guest was booted anew: there is no bound. */
	sql("UPDATE loss SET packets = 0, approximate = 2");
	read_it();
	ck_assert(!sum(LEDGER_CUT)->up_to && sum(LEDGER_CUT)->more);
	/* A hole in the stream that lives is not hidden by the bound of the other. */
	sql("UPDATE stat SET value = value + 2 WHERE stream = " B " AND counter = 'ring_received_packets'");
	read_it();
	ck_assert_int_eq(ledger.sum.unaccounted, 2);
}
END_TEST

START_TEST(in_another_store)
{
	stream(A, 50, 0, 0);
	ring(A, 70, 0, 70);
	loss(A, "elsewhere", 0, 2);
	stream(B, 10, 1, STREAM_ELSEWHERE);
	ring(B, 15, 0, 15);
	read_it();
	ck_assert_int_eq(sum(LEDGER_GAP_ELSEWHERE)->packets, 25);
	ck_assert(sum(LEDGER_GAP_ELSEWHERE)->more && !ledger.sum.exact);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	ck_assert_int_eq(sum(LEDGER_UNDER_WAY)->packets, 0);
}
END_TEST

START_TEST(switched_off)
{
	stream(A, 50, 0, 0);
	count(A, -1, "ledger", 0);
	count(A, 0, "offered_packets", 0);
	count(A, 0, "own_packets", 0);
	ring(A, 50, 0, 50);
	stream(B, 10, 0, 0);
	ring(B, 10, 0, 10);
	read_it();
	ck_assert_int_eq(ledger.sum.level, LEDGER_OFF);
	ck_assert(!sum(LEDGER_OFFERED)->known && !sum(LEDGER_OWN)->known);
	ck_assert_int_eq(ledger.sum.unaccounted, 0);
	/* Of one that has told nothing yet nothing is unaccounted. */
	sql("DELETE FROM stat WHERE stream = " A);
	read_it();
	ck_assert(!ledger.stream[0].part.balanced && ledger.stream[1].part.balanced);
	ck_assert_int_eq(ledger.stream[0].part.unaccounted, 0);
}
END_TEST

/* Each counter, file and loss finds its stream, whatever the order of their ids; those of none are passed over. */
START_TEST(many_streams)
{
	char id[64];

	sql("BEGIN");
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "x'%08x000000000000000000000000'", (unsigned)i * 2654435761u);
		stream(id, 10 + i, 0, 0);
		count(id, 0, "ring_received_packets", 10 + i + i % 7);
		count(id, 0, "captured_packets", 10 + i + i % 7);
		loss(id, "spool", i % 7, 0);
	}
	count(A, 0, "ring_received_packets", 1);
	loss(B, "spool", 1, 0);
	sql("COMMIT");
	read_it();
	ck_assert_uint_eq(ledger.count, 300);
	for (int i = 0; i < 300; i++) {
		const struct ledger_part *part = &ledger.stream[i].part;

		ck_assert_int_eq(part->term[LEDGER_STORED].packets, 10 + i);
		ck_assert_int_eq(part->term[LEDGER_GAP_SPOOL].packets, i % 7);
		ck_assert_int_eq(part->term[LEDGER_EXPIRED].packets, 0);
		ck_assert(part->balanced && part->unaccounted == 0);
	}
}
END_TEST

/* What a guest tells may be anything. */
START_TEST(absurd_counters)
{
	stream(A, 1, 0, 0);
	for (int interface = 0; interface < 3; interface++) {
		count(A, interface, "ring_received_packets", INT64_MAX);
		count(A, interface, "captured_packets", INT64_MAX);
		count(A, interface, "oversize_packets", INT64_MAX);
	}
	read_it();
	ck_assert_int_eq(sum(LEDGER_RING_RECEIVED)->packets, INT64_MAX);
}
END_TEST

/* Each name is a key that stays, and is there. */
START_TEST(names)
{
	for (int id = 0; id < LEDGER_TERMS; id++) {
		ck_assert_ptr_nonnull(ledger_name((enum ledger_id)id));
		ck_assert_ptr_nonnull(ledger_words((enum ledger_id)id));
		for (int other = 0; other < id; other++)
			ck_assert_str_ne(ledger_name((enum ledger_id)id), ledger_name((enum ledger_id)other));
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tcase = tcase_create("ledger");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, nothing);
	tcase_add_test(tcase, possible_gap);
	tcase_add_test(tcase, ring_only);
	tcase_add_test(tcase, every_term);
	tcase_add_test(tcase, stored_ahead_of_the_counters);
	tcase_add_test(tcase, filters_exchanged);
	tcase_add_test(tcase, gap_that_is_a_bound);
	tcase_add_test(tcase, expired_and_gone);
	tcase_add_test(tcase, cut_off);
	tcase_add_test(tcase, in_another_store);
	tcase_add_test(tcase, switched_off);
	tcase_add_test(tcase, many_streams);
	tcase_add_test(tcase, absurd_counters);
	tcase_add_test(tcase, names);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
