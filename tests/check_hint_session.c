/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/codec.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

#include "collector/counts.h"
#include "collector/hint_hub.h"
#include "collector/policy.h"

#include "tests/session_lab.h"

/* Two agents by script whose packets meet, and workers that tell them so. */

static struct agent sender, receiver;
static struct msg_hints hints;
static uint64_t number[2];

#define SENDER_STREAM	7
#define RECEIVER_STREAM	8

static void
setup_certificates(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	lab_open();
	lab_issue("good", "web2", time(NULL) - 300, time(NULL) + 86400);
}

/* An ICMP echo from 10.0.0.1 to 10.0.0.2 that is undivided, and the digest of choice. */
static void
put_packets(struct agent *agent, uint8_t stream, uint64_t first_digest, unsigned count)
{
	static const uint8_t echo[42] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1,
	    10, 0, 0, 2, 8 };
	struct pcapng_packet packet = { .time_ns = clock_wall_ns(), .captured_len = sizeof(echo), .original_len = sizeof(echo),
	    .data = echo, .flags = stream == SENDER_STREAM ? PCAPNG_EPB_OUT : PCAPNG_EPB_IN };
	struct msg_block msg = { .stream = { stream }, .number = ++number[stream - SENDER_STREAM], .codec = CODEC_NONE, .packets = count,
	    .bytes = count * sizeof(echo), .first_ns = packet.time_ns, .last_ns = packet.time_ns };
	struct buf raw;

	buf_init(&raw, 65536);
	for (unsigned i = 0; i < count; i++) {
		packet.packetid = first_digest + i;
		ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
	}
	msg.raw_len = (uint32_t)raw.len;
	msg.data_len = raw.len;
	ck_assert_int_eq(msg_put_block_header(&agent->out, &msg), 0);
	ck_assert_int_eq(buf_put(&agent->out, raw.data, raw.len), 0);
	buf_clear(&raw);
	agent_send(agent);
	agent_wait_ack(agent, msg.number);
}

static void
open_agent(struct agent *agent, const char *name, uint8_t stream, uint8_t address)
{
	struct msg_addresses addresses = { .stream = { stream }, .count = 1, .address = { { .family = AF_INET,
	    .address = { 10, 0, 0, address } } } };

	number[stream - SENDER_STREAM] = 0;
	agent_open(agent, name, 1);
	agent_hello(agent, stream);
	agent_put_interface(agent, stream, 0);
	ck_assert_int_eq(msg_put_addresses(&agent->out, &addresses), 0);
	agent_send(agent);
}

static void
answer_policy(struct agent *agent)
{
	struct msg_policy_result result = { .accepted = 1 };
	struct msg_policy policy;

	do {
		agent_wait(agent, FRAME_POLICY);
		ck_assert_int_eq(msg_get_policy(&agent->frame, &policy), 0);
		result.version = policy.version;
		ck_assert_int_eq(msg_put_policy_result(&agent->out, &result), 0);
		agent_send(agent);
	} while (!policy.digest);
	note_free(session_lab_note(NOTE_POLICY_RESULT));
}

static void
setup(void)
{
	struct note note = { .kind = NOTE_POLICY, .token = 1 };
	char error[POLICY_ERROR_SIZE];

	session_lab_open();
	note.policy = policy_set_new();
	ck_assert_int_eq(policy_set_parse(note.policy, "test", "[default]\ndedup = withhold\n", error, sizeof(error)), 0);
	workers_tell(&session_lab.workers, &note);
	policy_set_unref(note.policy);
	open_agent(&sender, "web1", SENDER_STREAM, 1);
	answer_policy(&sender);
	open_agent(&receiver, "web2", RECEIVER_STREAM, 2);
	answer_policy(&receiver);
}

static void
teardown(void)
{
	agent_close(&receiver);
	session_lab_close();
}

/* The next one that says something new. */
static void
wait_hints(void)
{
	do {
		agent_wait(&receiver, FRAME_HINTS);
		ck_assert_int_eq(msg_get_hints(&receiver.frame, &hints), 0);
	} while (hints.generation == hints.base && hints.generation != 0);
}

static void
answer_hints(uint64_t generation)
{
	const struct msg_hints_result result = { .generation = generation, .wall_ns = clock_wall_ns() };

	ck_assert_int_eq(msg_put_hints_result(&receiver.out, &result), 0);
	agent_send(&receiver);
}

static void
withhold(void)
{
	put_packets(&sender, SENDER_STREAM, 1000, HINT_PROOFS);
	put_packets(&receiver, RECEIVER_STREAM, 1000, HINT_PROOFS);
	wait_hints();
	ck_assert_int_eq(hints.added_count, 1);
	ck_assert_int_eq(hints.added[0].address[3], 1);
	ck_assert_int_eq(hints.lease_ms, 5000);
	ck_assert_uint_eq(hint_hub_pairs(session_lab.workers.hints), 2);	/* and the other way round */
	answer_hints(hints.generation);
}

static void
wait_number(const char *sql, int64_t value)
{
	while (session_lab_number(sql) != value)	/* something is committed now and then */
		put_packets(&receiver, RECEIVER_STREAM, 5000 + number[1] * 100, 1);
}

static void
put_withheld(uint64_t value)
{
	struct msg_stat stat = { .counter = COUNTER_WITHHELD, .value = value };
	struct msg_stats stats = { .stream = { RECEIVER_STREAM }, .wall_ns = clock_wall_ns(), .count = 1, .stat = &stat };

	ck_assert_int_eq(msg_put_stats(&receiver.out, &stats), 0);
	agent_send(&receiver);
}

static const char open_rows[] = "SELECT count(*) FROM withheld JOIN vm ON uuid = vm WHERE vm.name = 'web2' AND own = '10.0.0.2'"
    " AND withheld.address = '10.0.0.1' AND to_ns IS NULL";
static const char ended_rows[] = "SELECT count(*) FROM withheld JOIN vm ON uuid = vm WHERE vm.name = 'web2' AND to_ns >= from_ns";

/* The sender's session breaks while the receiver leaves its packets to it. */
START_TEST(a_sender_that_dies)
{
	withhold();
	put_withheld(10);
	wait_number(open_rows, 1);
	agent_close(&sender);
	wait_hints();
	ck_assert_uint_eq(hints.generation, 0);
	answer_hints(0);
	wait_number(ended_rows, 1);
	put_withheld(15);
	wait_number("SELECT count(*) FROM loss JOIN vm ON uuid = vm WHERE name = 'web2' AND place = 'withheld' AND packets <= 15"
	    " AND first_ns <= last_ns AND hex(stream) LIKE '08%'", 1);
	ck_assert_uint_eq(hint_hub_pairs(session_lab.workers.hints), 0);
}
END_TEST

/* Renewed while nothing changes, and the sender, on whom the receiver relies, is asked for a sign of life. */
START_TEST(leases_are_renewed)
{
	uint64_t generation;

	withhold();
	generation = hints.generation;
	for (int i = 0; i < 2; i++) {
		agent_wait(&receiver, FRAME_HINTS);
		ck_assert_int_eq(msg_get_hints(&receiver.frame, &hints), 0);
		ck_assert_uint_eq(hints.generation, generation);
		ck_assert_uint_eq(hints.base, generation);
	}
	agent_wait(&sender, FRAME_PING);
	agent_close(&sender);
}
END_TEST

/* The agent lacks the base: the whole list. */
START_TEST(a_list_is_told_again)
{
	withhold();
	answer_hints(0);
	wait_hints();
	ck_assert_uint_eq(hints.base, 0);
	ck_assert_int_eq(hints.added_count, 1);
	wait_number("SELECT count(*) FROM withheld JOIN vm ON uuid = vm WHERE vm.name = 'web2'", 2);
	agent_close(&sender);
}
END_TEST

/* Rows end with the collector, for nobody renews the leases. */
START_TEST(the_collector_stops)
{
	withhold();
	session_lab_stop();
	ck_assert_int_eq(session_lab_number(ended_rows), 1);
	agent_close(&sender);
}
END_TEST

/* Of what the receiver claims, in turn its own address and the sender's, too. */
static void
claim_in_turn(unsigned times)
{
	struct msg_addresses msg = { .stream = { RECEIVER_STREAM }, .count = 2, .address = { { .family = AF_INET,
	    .address = { 10, 0, 0, 2 } }, { .family = AF_INET, .address = { 10, 0, 0, 1 } } } };

	for (unsigned i = 0; i < times; i++) {
		msg.count = (uint16_t)(2 - i % 2);
		ck_assert_int_eq(msg_put_addresses(&receiver.out, &msg), 0);
		agent_send(&receiver);
	}
	put_packets(&receiver, RECEIVER_STREAM, 9000, 1);
}

static unsigned
lines_with(FILE *file, const char *text)
{
	char line[1024];
	unsigned count = 0;

	rewind(file);
	while (fgets(line, sizeof(line), file) != NULL)
		count += strstr(line, text) != NULL;
	return count;
}

/* Each is counted, but one agent does not fill the log. */
START_TEST(conflicts_do_not_fill_the_log)
{
	uint64_t before = count_get(COUNT_HINTS_CONFLICTS);
	FILE *lines = tmpfile();
	int saved = dup(STDERR_FILENO);

	ck_assert(lines != NULL && saved != -1 && dup2(fileno(lines), STDERR_FILENO) != -1);
	log_set_level(LOG_LEVEL_WARN);
	claim_in_turn(4 * ARCHIVE_VM_REPORTS_BURST);
	session_lab_stop();
	log_set_level(LOG_LEVEL_ERROR);
	ck_assert(dup2(saved, STDERR_FILENO) != -1);
	close(saved);
	ck_assert_uint_eq(count_get(COUNT_HINTS_CONFLICTS) - before, 2 * ARCHIVE_VM_REPORTS_BURST);
	ck_assert_uint_ge(lines_with(lines, "web2 claims 10.0.0.1, as "), 1);
	ck_assert_uint_le(lines_with(lines, "web2 claims 10.0.0.1, as "), ARCHIVE_VM_REPORTS_BURST + ARCHIVE_VM_REPORTS_MINUTE);
	fclose(lines);
	agent_close(&sender);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hint_session");
	TCase *tcase = tcase_create("hint_session");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_unchecked_fixture(tcase, setup_certificates, lab_close);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_sender_that_dies);
	tcase_add_test(tcase, leases_are_renewed);
	tcase_add_test(tcase, a_list_is_told_again);
	tcase_add_test(tcase, the_collector_stops);
	tcase_add_test(tcase, conflicts_do_not_fill_the_log);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
