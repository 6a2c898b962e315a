/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <check.h>
#include <jansson.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/policy.h"
#include "collector/session.h"

#include "tests/session_lab.h"

static struct agent agent, other, third;

static void
setup_certificates(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	lab_open();
	lab_issue("good", "web2", time(NULL) - 300, time(NULL) + 86400);
}

static void
setup(void)
{
	session_lab_open();
}

static void
teardown(void)
{
	session_lab_close();
}

/* A session with stream 7, interface 0 and, if so, block 1. */
static void
open_session(struct agent *a, uint8_t instance, bool block)
{
	agent_open(a, "web1", instance);
	agent_hello(a, 7);
	agent_put_interface(a, 7, 0);
	if (block)
		agent_put_block(a, 7, 1);
	agent_send(a);
}

START_TEST(blocks_are_acknowledged_when_durable)
{
	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	ck_assert_int_eq(session_lab_number("SELECT last_block FROM stream"), 1);
	ck_assert_int_eq(session_lab_number("SELECT packets FROM file"), 1);
	ck_assert_int_eq(session_lab_number("SELECT connected FROM vm"), 1);
	for (uint64_t n = 2; n <= 500; n++)
		agent_put_block(&agent, 7, n);
	agent_put_mark(&agent, FRAME_END, 7, 500);
	agent_send(&agent);
	agent_wait_ack(&agent, 500);
	ck_assert_int_eq(session_lab_number("SELECT packets FROM file"), 500);
	agent_close(&agent);
}
END_TEST

/* Its last commit is not done, or only its end is written, when the next process has its session. */
START_TEST(a_dead_process_is_not_acknowledged_to_the_next)
{
	char error[512];
	struct sqlite3 *db = catalog_open(session_lab.path, error, sizeof(error));
	struct msg_mark mark;

	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	agent_put_block(&agent, 7, 2);
	agent_send(&agent);
	agent_close(&agent);
	agent_open(&other, "web1", 2);
	agent_hello(&other, 8);
	ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	agent_put_interface(&other, 8, 0);
	agent_put_block(&other, 8, 1);
	agent_send(&other);
	do {
		agent_wait(&other, FRAME_ACK);
		ck_assert_int_eq(msg_get_ack(&other.frame, &mark), 0);
		ck_assert_uint_eq(mark.stream[0], 8);
	} while (mark.number < 1);
	ck_assert_int_eq(session_lab_number("SELECT ended FROM stream WHERE hex(id) LIKE '07%'"), 1);
	agent_put_block(&other, 7, 3);
	agent_send(&other);
	agent_wait_error(&other, MSG_ERR_PROTOCOL, "neither");
	agent_close(&other);
}
END_TEST

/* By both ways: bytes that came with the handshake's end, and after a reconnect to the other worker. */
START_TEST(a_session_resumes)
{
	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	agent_close(&agent);
	for (uint8_t i = 0; i < 4; i++) {
		agent_open(&agent, "web1", i);
		ck_assert_uint_eq(agent_hello(&agent, 7), 1 + i);
		agent_put_interface(&agent, 7, 0);
		agent_put_block(&agent, 7, 1 + i);	/* a repeat */
		agent_put_block(&agent, 7, 2 + i);
		agent_send(&agent);
		agent_wait_ack(&agent, 2 + i);
		agent_close(&agent);
	}
	ck_assert_int_eq(session_lab_number("SELECT sum(packets) FROM file"), 5);
}
END_TEST

START_TEST(stopping_says_bye_after_all_is_durable)
{
	struct msg_end end;

	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	for (uint64_t n = 2; n <= 50; n++)
		agent_put_block(&agent, 7, n);
	agent_send(&agent);
	agent_wait_ack(&agent, 50);
	workers_tell(&session_lab.workers, &(struct note){ .kind = NOTE_STOP });
	agent_wait(&agent, FRAME_BYE);
	ck_assert_int_eq(msg_get_bye(&agent.frame, &end), 0);
	ck_assert_uint_eq(end.code, 2);
	agent_wait_closed(&agent);
	agent_close(&agent);
	while (session_lab.stopped < 2)
		note_free(session_lab_note(NOTE_STOPPED));
	ck_assert_int_eq(session_lab_number("SELECT packets FROM file WHERE NOT live"), 50);
	ck_assert_int_eq(session_lab_number("SELECT connected FROM vm"), 0);
}
END_TEST

/* Each puts something bad; before HELLO, or into a session with block 1 taken. */
static void
put_unknown_type(struct agent *a)
{
	static const uint8_t bytes[] = { 0x12, 0x34, 0, 0, 0, 0, 0, 0 };

	buf_put(&a->out, bytes, sizeof(bytes));
}

static void
put_oversized(struct agent *a)
{
	static const uint8_t bytes[] = { 0, FRAME_BLOCK, 0, 0, 0xff, 0xff, 0xff, 0xff };

	buf_put(&a->out, bytes, sizeof(bytes));
}

static void
put_reserved(struct agent *a)
{
	static const uint8_t bytes[] = { 0, FRAME_PING, 0, 1, 0, 0, 0, 16 };

	buf_put(&a->out, bytes, sizeof(bytes));
}

static void
put_hello_again(struct agent *a)
{
	agent_put_hello(a, 7, 1);
}

static void
put_ack(struct agent *a)
{
	agent_put_mark(a, FRAME_ACK, 7, 1);
}

static void
put_jump(struct agent *a)
{
	agent_put_block(a, 7, 3);
}

static void
put_zero(struct agent *a)
{
	agent_put_block(a, 7, 0);
}

static void
put_unknown_stream(struct agent *a)
{
	agent_put_block(a, 99, 1);
}

static void
put_early_end(struct agent *a)
{
	agent_put_mark(a, FRAME_END, 7, 2);
}

static void
put_gap_backwards(struct agent *a)
{
	const struct msg_gap gap = { .stream = { 7 }, .first = 5, .last = 2, .place = GAP_SPOOL };

	ck_assert_int_eq(msg_put_gap(&a->out, &gap), 0);
}

static void
put_gap_endless(struct agent *a)
{
	const struct msg_gap gap = { .stream = { 7 }, .first = 2, .last = UINT64_MAX, .place = GAP_SPOOL };

	ck_assert_int_eq(msg_put_gap(&a->out, &gap), 0);
}

static void
put_interface_far(struct agent *a)
{
	agent_put_interface(a, 7, 9);
}

static void
put_addresses(struct agent *a, uint8_t stream, uint32_t id)
{
	const struct msg_addresses msg = { .stream = { stream }, .id = id, .count = 1, .address = { { AF_INET, { 192, 0, 2, 1 } } } };

	ck_assert_int_eq(msg_put_addresses(&a->out, &msg), 0);
}

static void
put_addresses_unknown_stream(struct agent *a)
{
	put_addresses(a, 9, 0);
}

static void
put_addresses_unknown_id(struct agent *a)
{
	put_addresses(a, 7, 1);
}

static void
put_encoded(struct agent *a, const struct codec *codec, size_t raw_len, uint32_t announced)
{
	uint8_t *raw = calloc(1, raw_len), *out = malloc(codec->bound(raw_len));
	void *state = codec->state_new(codec->level_initial);
	ssize_t n = codec->encode(state, raw, raw_len, out, codec->bound(raw_len));
	struct msg_block msg = { .stream = { 7 }, .number = 2, .codec = (uint8_t)codec->id, .raw_len = announced, .packets = 1,
	    .bytes = 60, .data = out, .data_len = (size_t)n };

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(msg_put_block_header(&a->out, &msg), 0);
	ck_assert_int_eq(buf_put(&a->out, out, (size_t)n), 0);
	codec->state_free(state);
	free(raw);
	free(out);
}

static void
put_bomb(struct agent *a)
{
	put_encoded(a, codec_by_id(CODEC_ZLIB), 64u * 1024 * 1024, MSG_BLOCK_RAW_MAX);
}

static void
put_large_announcement(struct agent *a)
{
	put_encoded(a, codec_by_id(CODEC_ZLIB), 1024u * 1024, 1024u * 1024);
}

static void
put_not_pcapng(struct agent *a)
{
	put_encoded(a, codec_by_id(CODEC_ZLIB), 4096, 4096);
}

/* Its header alone: nothing waits for the rest. */
static void
put_block_header(struct agent *a)
{
	static const uint8_t header[FRAME_HEADER_SIZE] = { 0, FRAME_BLOCK, 0, 0, 0, 8, 0, 0 };

	ck_assert_int_eq(buf_put(&a->out, header, sizeof(header)), 0);
}

static const struct {
	void		(*put)(struct agent *);
	bool		open;
	enum msg_error	code;
	const char	*words;
} bad[] = {
	{ put_unknown_type, false, MSG_ERR_PROTOCOL, "frame" },
	{ put_unknown_type, true, MSG_ERR_PROTOCOL, "frame" },
	{ put_oversized, false, MSG_ERR_PROTOCOL, "frame" },
	{ put_oversized, true, MSG_ERR_PROTOCOL, "frame" },
	{ put_reserved, true, MSG_ERR_PROTOCOL, "frame" },
	{ put_hello_again, true, MSG_ERR_PROTOCOL, "second time" },
	{ put_ack, true, MSG_ERR_PROTOCOL, "not for a collector" },
	{ put_ack, false, MSG_ERR_PROTOCOL, "not for a collector" },
	{ put_jump, false, MSG_ERR_PROTOCOL, "before HELLO" },
	{ put_block_header, false, MSG_ERR_PROTOCOL, "before HELLO" },
	{ put_jump, true, MSG_ERR_SEQUENCE, "3 after 1" },
	{ put_zero, true, MSG_ERR_PROTOCOL, "BLOCK is malformed" },
	{ put_unknown_stream, true, MSG_ERR_PROTOCOL, "neither" },
	{ put_early_end, true, MSG_ERR_SEQUENCE, "END" },
	{ put_gap_backwards, true, MSG_ERR_PROTOCOL, "GAP is malformed" },
	{ put_gap_endless, true, MSG_ERR_PROTOCOL, "GAP is malformed" },
	{ put_interface_far, true, MSG_ERR_PROTOCOL, "dense" },
	{ put_addresses_unknown_stream, true, MSG_ERR_PROTOCOL, "ADDRESSES: of a stream that neither" },
	{ put_addresses_unknown_id, true, MSG_ERR_PROTOCOL, "of interface 1, which" },
	{ put_bomb, true, MSG_ERR_BLOCK, "zlib" },
	{ put_large_announcement, true, MSG_ERR_PROTOCOL, "BLOCK is malformed" },
	{ put_not_pcapng, true, MSG_ERR_BLOCK, "BLOCK: 2" },
};

START_TEST(bad_messages_end_the_session_and_say_why)
{
	if (bad[_i].open)
		open_session(&agent, 1, true);
	else
		agent_open(&agent, "web1", 1);
	bad[_i].put(&agent);
	agent_send(&agent);
	agent_wait_error(&agent, bad[_i].code, bad[_i].words);
	agent_close(&agent);
	session_lab_stop();
	if (bad[_i].open)
		ck_assert_int_eq(session_lab_number("SELECT last_block FROM stream"), 1);	/* nothing of it is stored */
}
END_TEST

static void
put_all(struct agent *a, int kind)
{
	struct msg_stat stat = { 1, 0, 5 };
	const struct msg_stats stats = { .stream = { 7 }, .count = 1, .stat = &stat };
	const struct msg_gap gap = { .stream = { 7 }, .first = 2, .last = 3, .place = GAP_SPOOL };
	const struct msg_ping ping = { .token = 1 };
	const struct msg_policy_result result = { .version = 1, .reason = "no" };
	const struct msg_addresses addresses = { .stream = { 7 }, .count = 1, .address = { { AF_INET, { 192, 0, 2, 1 } } } };
	const struct msg_hints_result hints = { .generation = 1 };

	switch (kind) {
	case 0:
		agent_put_hello(a, 7, 1);
		break;
	case 1:
		agent_put_interface(a, 7, 1);
		break;
	case 2:
		agent_put_block(a, 7, 2);
		break;
	case 3:
		ck_assert_int_eq(msg_put_gap(&a->out, &gap), 0);
		break;
	case 4:
		agent_put_mark(a, FRAME_END, 7, 1);
		break;
	case 5:
		ck_assert_int_eq(msg_put_stats(&a->out, &stats), 0);
		break;
	case 6:
		ck_assert_int_eq(msg_put_ping(&a->out, &ping), 0);
		break;
	case 7:
		ck_assert_int_eq(msg_put_policy_result(&a->out, &result), 0);
		break;
	case 8:
		ck_assert_int_eq(msg_put_addresses(&a->out, &addresses), 0);
		break;
	case 9:
		ck_assert_int_eq(msg_put_hints_result(&a->out, &hints), 0);
		break;
	}
}

/* Every message cut at every byte, its header telling the shorter length: refused; the connection simply ending there: no harm. */
START_TEST(truncated_messages_are_refused)
{
	size_t len = FRAME_HEADER_SIZE + 1;

	for (size_t cut = 0; cut < len; cut++) {
		if (_i == 0)
			agent_open(&agent, "web1", 1);
		else
			open_session(&agent, 1, true);
		put_all(&agent, _i);
		len = agent.out.len;
		agent.out.len = cut;
		if (cut >= FRAME_HEADER_SIZE) {
			agent.out.data[6] = (uint8_t)((cut - FRAME_HEADER_SIZE) >> 8);
			agent.out.data[7] = (uint8_t)(cut - FRAME_HEADER_SIZE);
		}
		if (cut > 0)
			agent_send(&agent);
		if (cut < FRAME_HEADER_SIZE) {
			agent_close(&agent);
			continue;
		}
		agent_wait(&agent, FRAME_ERROR);
		agent_wait_closed(&agent);
		agent_close(&agent);
	}
	session_lab_stop();
	if (_i != 0)
		ck_assert_int_eq(session_lab_number("SELECT last_block FROM stream"), 1);
}
END_TEST

START_TEST(only_agents_are_taken)
{
	agent_open(&agent, "col", 1);
	agent_wait_error(&agent, MSG_ERR_ROLE, "role collector");
	agent_close(&agent);
}
END_TEST

START_TEST(only_tenants_named_are_taken)
{
	static char *tenants[] = { "blue" };

	session_lab.tenants = (struct conf_list){ .value = tenants, .count = 1 };
	agent_open(&agent, "web1", 1);
	agent_wait_error(&agent, MSG_ERR_TENANT, "acme");
	agent_close(&agent);
}
END_TEST

START_TEST(versions_must_meet)
{
	struct msg_hello hello = { .version_min = 2, .version_max = 9, .codecs = 1 };

	agent_open(&agent, "web1", 1);
	ck_assert_int_eq(msg_put_hello(&agent.out, &hello), 0);
	agent_send(&agent);
	agent_wait_error(&agent, MSG_ERR_VERSION, "version 1");
	agent_close(&agent);
}
END_TEST

START_TEST(hello_must_come)
{
	agent_open(&agent, "web1", 1);
	agent_wait_error(&agent, MSG_ERR_TIMEOUT, "no HELLO within 5 s");
	agent_close(&agent);
}
END_TEST

START_TEST(the_same_instance_replaces)
{
	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	open_session(&other, 1, false);
	agent_wait_error(&agent, MSG_ERR_REPLACED, "another session");
	agent_put_block(&other, 7, 2);
	agent_send(&other);
	agent_wait_ack(&other, 2);
	ck_assert_int_eq(session_lab_number("SELECT connected FROM vm"), 1);
	agent_close(&agent);
	agent_close(&other);
}
END_TEST

static struct msg_ping
wait_ping(struct agent *a)
{
	struct msg_ping ping;

	agent_wait(a, FRAME_PING);
	ck_assert_int_eq(msg_get_ping(&a->frame, &ping), 0);
	return ping;
}

/* The one that decides who the VM is. Its token is random; those of others are our clock's, which is near its beginning. */
static struct msg_ping
wait_contended(struct agent *a)
{
	struct msg_ping ping;

	do
		ping = wait_ping(a);
	while (ping.token <= clock_mono_ns());
	return ping;
}

/* As one whose clock is ahead by so much. */
static void
answer_ping(struct agent *a, struct msg_ping ping, int64_t ahead_ns)
{
	ping.wall_ns = clock_wall_ns() + (uint64_t)ahead_ns;
	ck_assert_int_eq(msg_put_pong(&a->out, &ping), 0);
	agent_send(a);
}

START_TEST(a_clone_is_refused)
{
	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	agent_open(&other, "web1", 2);
	agent_put_hello(&other, 7, 1);
	agent_send(&other);
	answer_ping(&agent, wait_contended(&agent), 0);
	agent_wait_error(&other, MSG_ERR_CLONE, "certificate of its own: vmtap pki agent");
	agent_put_block(&agent, 7, 2);
	agent_send(&agent);
	agent_wait_ack(&agent, 2);
	agent_close(&agent);
	agent_close(&other);
}
END_TEST

/* The agent itself comes back while a clone waits for it not to answer. */
START_TEST(who_comes_again_is_no_clone)
{
	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	agent_open(&other, "web1", 2);
	agent_put_hello(&other, 7, 1);
	agent_send(&other);
	wait_contended(&agent);
	open_session(&third, 1, false);
	agent_wait_error(&other, MSG_ERR_CLONE, "certificate");
	agent_wait_error(&agent, MSG_ERR_REPLACED, "another session");
	agent_put_block(&third, 7, 2);
	agent_send(&third);
	agent_wait_ack(&third, 2);
	agent_close(&agent);
	agent_close(&other);
	agent_close(&third);
}
END_TEST

START_TEST(a_dead_session_is_taken_over)
{
	uint64_t start = clock_mono_ns();

	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	agent_open(&other, "web1", 2);
	agent_put_hello(&other, 7, 1);
	agent_put_interface(&other, 7, 0);
	agent_put_block(&other, 7, 2);		/* waits behind HELLO */
	agent_send(&other);
	agent_wait(&other, FRAME_WELCOME);
	ck_assert_uint_ge(clock_mono_ns() - start, 1900000000u);
	agent_wait_error(&agent, MSG_ERR_REPLACED, "did not answer");
	agent_wait_ack(&other, 2);
	agent_close(&agent);
	agent_close(&other);
}
END_TEST

START_TEST(a_contender_wins_when_the_other_leaves)
{
	uint64_t start;

	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	agent_open(&other, "web1", 2);
	agent_put_hello(&other, 7, 1);
	agent_send(&other);
	wait_contended(&agent);
	start = clock_mono_ns();
	agent_close(&agent);
	agent_wait(&other, FRAME_WELCOME);
	ck_assert_uint_lt(clock_mono_ns() - start, 1500000000u);
	agent_close(&other);
}
END_TEST

static void
set_keepalive(uint64_t ms)
{
	const struct note settings = { .kind = NOTE_SETTINGS,
	    .settings = { .rotate_size = 1u << 20, .rotate_interval_ms = 3600000, .keepalive_ms = ms, .hint_lease_ms = 5000 } };

	workers_tell(&session_lab.workers, &settings);
}

START_TEST(who_is_silent_is_asked_and_then_dead)
{
	uint64_t start, asked;

	set_keepalive(1500);
	open_session(&agent, 1, false);
	start = clock_mono_ns();
	for (unsigned i = 0; i < SESSION_CLOCK_FIRST; i++)
		wait_ping(&agent);
	wait_ping(&agent);
	asked = clock_mono_ns() - start;
	agent_wait_error(&agent, MSG_ERR_TIMEOUT, "nothing was heard");
	ck_assert_uint_ge(asked, 400000000u);
	ck_assert_uint_lt(asked, 1400000000u);
	ck_assert_uint_ge(clock_mono_ns() - start, 1400000000u);
	agent_close(&agent);
}
END_TEST

START_TEST(who_answers_lives)
{
	set_keepalive(1000);
	open_session(&agent, 1, false);
	for (unsigned i = 0; i < SESSION_CLOCK_FIRST + 6; i++)
		answer_ping(&agent, wait_ping(&agent), 0);
	agent_put_block(&agent, 7, 1);
	agent_send(&agent);
	agent_wait_ack(&agent, 1);
	agent_close(&agent);
}
END_TEST

/* By PINGs when it begins; what nobody asked for measures nothing. */
START_TEST(clocks_are_measured)
{
	struct msg_ping unasked = { .token = 1 };
	uint64_t start;

	open_session(&agent, 1, false);
	start = clock_mono_ns();
	answer_ping(&agent, unasked, INT64_C(77000000000));
	answer_ping(&agent, wait_ping(&agent), INT64_C(5000000000));
	answer_ping(&agent, wait_ping(&agent), INT64_C(5000000000));
	answer_ping(&agent, wait_ping(&agent), INT64_C(-3600000000000));
	ck_assert_uint_ge(clock_mono_ns() - start, 100000000u);
	agent_put_block(&agent, 7, 1);
	agent_send(&agent);
	agent_wait_ack(&agent, 1);
	ck_assert_int_ge(session_lab_number("SELECT count(*) FROM clock WHERE abs(offset_ns - 5000000000) <= rtt_ns / 2"), 1);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM clock WHERE abs(offset_ns - 5000000000) > rtt_ns / 2"), 1);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM clock, vm WHERE abs(offset_ns + 3600000000000) <= rtt_ns / 2"
	    " AND offset_ns = clock_offset_ns AND clock.vm = uuid"), 1);
	ck_assert_int_eq(session_lab_number("SELECT max(at_ns) - min(at_ns) > 3604000000000 FROM clock"), 1);
	agent_close(&agent);
}
END_TEST

START_TEST(vms_do_not_meet)
{
	open_session(&agent, 1, true);
	agent_open(&other, "web2", 1);
	agent_hello(&other, 8);
	agent_put_interface(&other, 8, 0);
	agent_put_block(&other, 8, 1);
	agent_send(&other);
	agent_wait_ack(&agent, 1);
	agent_wait_ack(&other, 1);
	ck_assert_int_eq(session_lab_number("SELECT count(DISTINCT vm) FROM file"), 2);
	agent_put_interface(&other, 7, 0);	/* the other VM's stream */
	agent_send(&other);
	agent_wait_error(&other, MSG_ERR_PROTOCOL, "another VM");
	agent_close(&agent);
	agent_close(&other);
}
END_TEST

static void
set_policy(const char *text, uint64_t token)
{
	struct note note = { .kind = NOTE_POLICY, .token = token, .policy = policy_set_new() };
	char error[POLICY_ERROR_SIZE];

	ck_assert_int_eq(policy_set_parse(note.policy, "test", text, error, sizeof(error)), 0);
	workers_tell(&session_lab.workers, &note);
	policy_set_unref(note.policy);
}

static struct msg_policy asked;

static void
answer_policy(bool accepted, const char *filter, const char *reason)
{
	struct msg_policy_result result = { .accepted = accepted };
	struct note *note;

	agent_wait(&agent, FRAME_POLICY);
	ck_assert_int_eq(msg_get_policy(&agent.frame, &asked), 0);
	ck_assert_str_eq(asked.filter, filter);
	result.version = asked.version;
	strcpy(result.reason, reason);
	ck_assert_int_eq(msg_put_policy_result(&agent.out, &result), 0);
	agent_send(&agent);
	note = session_lab_note(NOTE_POLICY_RESULT);
	ck_assert_uint_eq(note->version, asked.version);
	ck_assert(note->good == accepted);
	ck_assert_str_eq(note->text, reason);
	note_free(note);
}

START_TEST(policies_are_pushed)
{
	struct msg_policy_result unasked = { .accepted = 1 };
	struct note *note;
	int64_t version;

	open_session(&agent, 1, true);
	set_policy("[vm web1]\nfilter = tcp\n", 5);
	note = session_lab_note(NOTE_POLICY_PUSHED);
	ck_assert_uint_eq(note->token, 5);
	note_free(note);
	answer_policy(true, "tcp", "");
	set_policy("[vm web1]\nfilter = nonsense\n", 6);
	answer_policy(false, "nonsense", "syntax error");
	unasked.version = asked.version;
	ck_assert_int_eq(msg_put_policy_result(&agent.out, &unasked), 0);
	agent_put_block(&agent, 7, 2);		/* ... after a second answer that nobody asked for */
	agent_send(&agent);
	agent_wait_ack(&agent, 2);
	ck_assert_int_eq(session_lab_number("SELECT policy_state = 'refused' AND policy_reason = 'syntax error' FROM vm"), 1);
	version = session_lab_number("SELECT policy_version FROM vm");
	set_policy("[vm web1]\nfilter = nonsense\n[default]\n", 7);	/* no change: nothing is sent */
	set_policy("[default]\n", 8);
	answer_policy(true, "", "");
	agent_close(&agent);
	open_session(&agent, 1, false);		/* a new session is told again */
	answer_policy(true, "", "");
	agent_put_block(&agent, 7, 3);
	agent_send(&agent);
	agent_wait_ack(&agent, 3);
	ck_assert_int_gt(session_lab_number("SELECT policy_version FROM vm"), version);
	ck_assert_int_eq(session_lab_number("SELECT policy_state = 'none' FROM vm"), 1);
	agent_close(&agent);
}
END_TEST

static struct msg_policy
wait_policy(struct agent *a)
{
	struct msg_policy policy;

	agent_wait(a, FRAME_POLICY);
	ck_assert_int_eq(msg_get_policy(&a->frame, &policy), 0);
	return policy;
}

/* One that is alone is asked for none; the first hears of the second at once, and both have the tenant's one secret. */
START_TEST(the_second_vm_brings_digests)
{
	static const uint8_t none[DIGEST_SECRET_SIZE];
	struct msg_policy policy;

	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	ck_assert_int_eq(session_lab_number("SELECT count(policy_version) + (SELECT count(*) FROM tenant) FROM vm"), 0);
	agent_open(&other, "web2", 1);
	agent_hello(&other, 8);
	agent_put_interface(&other, 8, 0);
	answer_policy(true, "", "");
	ck_assert(asked.digest);
	ck_assert_mem_ne(asked.secret, none, sizeof(none));
	policy = wait_policy(&other);
	ck_assert(policy.digest);
	ck_assert_mem_eq(policy.secret, asked.secret, sizeof(none));
	ck_assert_int_eq(session_lab_number("SELECT length(secret) FROM tenant WHERE name = 'acme'"), DIGEST_SECRET_SIZE);
	set_policy("[vm web1]\ndedup = off\n[vm web2]\ndedup = withhold\n", 5);
	answer_policy(true, "", "");
	ck_assert(!asked.digest);
	ck_assert_mem_eq(asked.secret, none, sizeof(none));
	ck_assert(wait_policy(&other).digest);
	agent_put_block(&agent, 7, 2);
	agent_send(&agent);
	agent_wait_ack(&agent, 2);
	agent_put_block(&other, 8, 1);
	agent_send(&other);
	agent_wait_ack(&other, 1);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm WHERE name = 'web1' AND policy_text = ''"), 1);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm WHERE name = 'web2' AND policy_text = 'dedup = withhold'"
	    " || char(10)"), 1);
	agent_close(&agent);
	agent_close(&other);
}
END_TEST

/* The collector alone says in which network an interface is; also of one that is known, and to a session that comes back. */
START_TEST(networks_follow_the_policy)
{
	set_policy("[tenant acme]\nnetwork = blue\n", 5);
	open_session(&agent, 1, true);
	ck_assert(!wait_policy(&agent).digest);
	agent_wait_ack(&agent, 1);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM interface WHERE network = 'blue'"), 1);
	set_policy("[tenant acme]\nnetwork = blue, eth0:red\n", 6);
	wait_policy(&agent);
	agent_put_block(&agent, 7, 2);
	agent_send(&agent);
	agent_wait_ack(&agent, 2);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM interface WHERE network = 'red'"), 1);
	agent_close(&agent);
	set_policy("[default]\n", 7);
	open_session(&agent, 1, false);
	wait_policy(&agent);
	agent_put_block(&agent, 7, 3);
	agent_send(&agent);
	agent_wait_ack(&agent, 3);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM interface WHERE network = ''"), 1);
	agent_close(&agent);
}
END_TEST

/* What an unset policy means is an option, and can be changed. */
START_TEST(unset_means_what_the_option_says)
{
	struct note settings = { .kind = NOTE_SETTINGS,
	    .settings = { .rotate_size = 1u << 20, .rotate_interval_ms = 3600000, .keepalive_ms = 60000, .hint_lease_ms = 5000, .dedup = DEDUP_OFF } };

	workers_tell(&session_lab.workers, &settings);
	open_session(&agent, 1, false);
	agent_open(&other, "web2", 1);
	agent_hello(&other, 0);
	set_policy("[vm web1]\nsnaplen = 96\n", 5);
	answer_policy(true, "", "");
	ck_assert(!asked.digest);
	settings.settings.dedup = DEDUP_WITHHOLD;
	workers_tell(&session_lab.workers, &settings);
	set_policy("[vm web1]\nsnaplen = 96\n", 6);
	answer_policy(true, "", "");
	ck_assert(asked.digest);
	ck_assert(wait_policy(&other).digest);
	agent_close(&agent);
	agent_close(&other);
}
END_TEST

/* A block of one packet that is as large as a packet may be. */
static void
put_large_block(struct agent *a, uint64_t number)
{
	static const uint8_t data[262144];
	const struct pcapng_packet packet = { .time_ns = number, .captured_len = sizeof(data), .original_len = sizeof(data),
	    .data = data };
	struct msg_block msg = { .stream = { 7 }, .number = number, .codec = CODEC_NONE, .packets = 1, .bytes = sizeof(data),
	    .first_ns = number, .last_ns = number };
	struct buf raw;

	buf_init(&raw, MSG_BLOCK_RAW_MAX);
	ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
	msg.raw_len = (uint32_t)raw.len;
	msg.data_len = raw.len;
	ck_assert_int_eq(msg_put_block_header(&a->out, &msg), 0);
	ck_assert_int_eq(buf_put(&a->out, raw.data, raw.len), 0);
	buf_clear(&raw);
}

static bool
any_worker_paused(void)
{
	bool paused = false;

	workers_tell(&session_lab.workers, &(struct note){ .kind = NOTE_STATUS });
	for (unsigned i = 0; i < session_lab.workers.count; i++) {
		struct note *note = session_lab_note(NOTE_STATUS_REPLY);

		paused |= json_is_true(json_object_get(note->json, "paused"));
		note_free(note);
	}
	return paused;
}

/* A commit that takes long (another writer has the catalog): what is not durable is bounded, and nothing is lost. */
START_TEST(reading_stops_while_too_much_is_not_durable)
{
	const uint64_t count = DIRTY_MAX / 262144 + 40;
	char error[512];
	struct sqlite3 *db = catalog_open(session_lab.path, error, sizeof(error));
	bool paused = false;

	open_session(&agent, 1, true);
	agent_wait_ack(&agent, 1);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (uint64_t n = 2; n <= count; n++) {
		put_large_block(&agent, n);
		while (tlsio_write(agent.end.t, agent.out.data, agent.out.len) == -1) {
			ck_assert_int_eq(errno, ENOBUFS);
			if (paused)
				session_lab_run();
			else if ((paused = any_worker_paused()))
				ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
		}
		buf_consume(&agent.out, agent.out.len);
	}
	ck_assert(paused);
	agent_wait_ack(&agent, count);
	ck_assert_int_eq(session_lab_number("SELECT sum(packets) FROM file"), (int64_t)count);
	sqlite3_close(db);
	agent_close(&agent);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("session");
	TCase *tcase = tcase_create("session");
	SRunner *runner;
	int failed;

	tcase_add_unchecked_fixture(tcase, setup_certificates, lab_close);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, blocks_are_acknowledged_when_durable);
	tcase_add_test(tcase, a_dead_process_is_not_acknowledged_to_the_next);
	tcase_add_test(tcase, a_session_resumes);
	tcase_add_test(tcase, stopping_says_bye_after_all_is_durable);
	tcase_add_loop_test(tcase, bad_messages_end_the_session_and_say_why, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_loop_test(tcase, truncated_messages_are_refused, 0, 10);
	tcase_add_test(tcase, only_agents_are_taken);
	tcase_add_test(tcase, only_tenants_named_are_taken);
	tcase_add_test(tcase, versions_must_meet);
	tcase_add_test(tcase, hello_must_come);
	tcase_add_test(tcase, the_same_instance_replaces);
	tcase_add_test(tcase, a_clone_is_refused);
	tcase_add_test(tcase, who_comes_again_is_no_clone);
	tcase_add_test(tcase, a_dead_session_is_taken_over);
	tcase_add_test(tcase, a_contender_wins_when_the_other_leaves);
	tcase_add_test(tcase, who_is_silent_is_asked_and_then_dead);
	tcase_add_test(tcase, who_answers_lives);
	tcase_add_test(tcase, clocks_are_measured);
	tcase_add_test(tcase, vms_do_not_meet);
	tcase_add_test(tcase, policies_are_pushed);
	tcase_add_test(tcase, the_second_vm_brings_digests);
	tcase_add_test(tcase, networks_follow_the_policy);
	tcase_add_test(tcase, unset_means_what_the_option_says);
	tcase_add_test(tcase, reading_stops_while_too_much_is_not_durable);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
