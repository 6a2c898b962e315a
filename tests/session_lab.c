/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/enrol_desk.h"
#include "collector/policy.h"
#include "collector/revoked.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

#include "tests/session_lab.h"

#define WAIT_S	20

struct session_lab session_lab;

static void
mailbox_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	mailbox_clear(session_lab.workers.main);
}

static void
lab_tell(const struct note *like, void *arg)
{
	(void)arg;
	workers_tell(&session_lab.workers, like);
}

static void
lab_open_desk(void)
{
	const struct desk_settings settings = { .ca = lab_path("good", "ca.crt"), .key = lab_path("good", "ca.key"), .life_ms = 3600000 };
	char error[1024] = "";
	struct sqlite3 *db = catalog_open_read_only(session_lab.path, error, sizeof(error));
	struct desk_signing *signing = desk_signing_new(&settings, error, sizeof(error));

	ck_assert_msg(signing != NULL && db != NULL && (session_lab.workers.revoked = revoked_new(db, error, sizeof(error))) != NULL &&
	    (session_lab.workers.desk = desk_new(session_lab.path, signing, session_lab.workers.revoked, session_lab.workers.main,
	    lab_tell, NULL, error, sizeof(error))) != NULL, "%s", error);
	sqlite3_close(db);
}

static struct tls_context *
lab_server_context(void)
{
	struct tls_context *context = lab_context("good", "good", "col");

	ck_assert_int_eq(tls_context_add_alpn(context, FRAME_ALPN_ENROLL, TLS_ALPN_ANONYMOUS | TLS_ALPN_ROOT), 0);
	return context;
}

void
session_lab_open(void)
{
	const struct worker_settings settings = { .rotate_size = 1u << 20, .rotate_interval_ms = 3600000, .keepalive_ms = 60000,
	    .hint_lease_ms = 5000, .enrol_life_ms = 3600000, .dedup = DEDUP_TAG };
	const struct retain_limits limits = { 0 };
	struct tls_context *tls[2] = { lab_server_context(), lab_server_context() };
	struct policy_set *policy = policy_set_new();
	char error[512] = "";

	strcpy(session_lab.path, "/tmp/check_session.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(session_lab.path));
	ck_assert_msg(store_open(&session_lab.store, session_lab.path, NULL, error, sizeof(error)) == 0, "%s", error);
	session_lab.workers.main = mailbox_new();
	session_lab.workers.store = &session_lab.store;
	session_lab.workers.tenants = &session_lab.tenants;
	session_lab.workers.known = tenants_new(session_lab.path, error, sizeof(error));
	ck_assert_msg(session_lab.workers.known != NULL, "%s", error);
	lab_open_desk();
	session_lab.workers.retainer = retainer_new(&session_lab.store, &limits, error, sizeof(error));
	session_lab.base = event_base_new();
	session_lab.mailbox = event_new(session_lab.base, mailbox_fd(session_lab.workers.main), EV_READ | EV_PERSIST,
	    mailbox_readable, NULL);
	ck_assert_int_eq(event_add(session_lab.mailbox, NULL), 0);
	ck_assert_msg(workers_start(&session_lab.workers, 2, tls, policy, &settings, error, sizeof(error)) == 0, "%s", error);
	policy_set_unref(policy);
}

void
session_lab_run(void)
{
	static const struct timeval limit = { .tv_sec = WAIT_S };
	uint64_t start = clock_mono_ns();

	event_base_loopexit(session_lab.base, &limit);
	ck_assert_int_ge(event_base_loop(session_lab.base, EVLOOP_ONCE), 0);
	ck_assert_msg(clock_mono_ns() - start < UINT64_C(1000000000) * (WAIT_S - 1), "what the test waits for did not come");
}

struct note *
session_lab_note(enum note_kind kind)
{
	struct note *note;

	for (;;) {
		while ((note = mailbox_take(session_lab.workers.main)) != NULL) {
			session_lab.stopped += note->kind == NOTE_STOPPED;
			if (note->kind == kind)
				return note;
			note_free(note);
		}
		session_lab_run();
	}
}

void
session_lab_stop(void)
{
	const struct note stop = { .kind = NOTE_STOP };

	workers_tell(&session_lab.workers, &stop);
	while (session_lab.stopped < session_lab.workers.count)
		note_free(session_lab_note(NOTE_STOPPED));
	desk_free(session_lab.workers.desk);
	workers_join(&session_lab.workers);
}

void
session_lab_close(void)
{
	char command[128];

	if (session_lab.workers.count > 0)
		session_lab_stop();
	retainer_free(session_lab.workers.retainer);
	tenants_free(session_lab.workers.known);
	revoked_free(session_lab.workers.revoked);
	event_free(session_lab.mailbox);
	mailbox_free(session_lab.workers.main);
	store_close(&session_lab.store);
	event_base_free(session_lab.base);
	snprintf(command, sizeof(command), "rm -rf %s", session_lab.path);
	ck_assert_int_eq(system(command), 0);
}

int64_t
session_lab_number(const char *sql)
{
	char error[512] = "";
	struct sqlite3 *db = catalog_open_read_only(session_lab.path, error, sizeof(error));
	sqlite3_stmt *stmt;
	int64_t number;

	ck_assert_msg(db != NULL, "%s", error);
	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	number = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return number;
}

/* Frames stay in the input until the test asks for them. */
static void
leave_input(struct lab_end *end)
{
	(void)end;
}

void
agent_open(struct agent *agent, const char *name, uint8_t instance)
{
	agent_open_context(agent, lab_context("good", "good", name), instance);
}

void
agent_open_context(struct agent *agent, struct tls_context *context, uint8_t instance)
{
	struct note *note = note_new(NOTE_CONNECTION);
	int client;

	memset(agent, 0, sizeof(*agent));
	buf_init(&agent->out, 4 * 1024 * 1024);
	agent->instance = instance;
	agent->tls = context;
	lab_connect(&client, &note->fd);
	mailbox_post(session_lab.workers.worker[session_lab.turn++ % session_lab.workers.count].inbox, note);
	agent->end.on_readable = leave_input;
	lab_end_open(&agent->end, session_lab.base, agent->tls, client, TLSIO_CLIENT);
	lab_run(session_lab.base, &agent->end.opened);
}

void
agent_close(struct agent *agent)
{
	tlsio_free(agent->end.t);
	tls_context_free(agent->tls);
	buf_clear(&agent->out);
}

void
agent_send_bytes(struct agent *agent, const void *bytes, size_t len)
{
	ck_assert_int_eq(tlsio_write(agent->end.t, bytes, len), 0);
}

void
agent_send(struct agent *agent)
{
	agent_send_bytes(agent, agent->out.data, agent->out.len);
	buf_consume(&agent->out, agent->out.len);
}

void
agent_put_hello(struct agent *agent, uint8_t stream, uint64_t first)
{
	struct msg_hello hello = { .version_min = 1, .version_max = FRAME_VERSION, .software = "lab", .os = "os", .hardware = "hw",
	    .codecs = 1, .stream_count = stream != 0, .wall_ns = clock_wall_ns(),
	    .stream = { { .id = { stream }, .started_ns = 1, .first = first, .last = first - 1 } } };

	hello.instance[0] = agent->instance;
	ck_assert_int_eq(msg_put_hello(&agent->out, &hello), 0);
}

uint64_t
agent_hello(struct agent *agent, uint8_t stream)
{
	struct msg_welcome welcome;

	agent_put_hello(agent, stream, 1);
	agent_send(agent);
	agent_wait(agent, FRAME_WELCOME);
	ck_assert_int_eq(msg_get_welcome(&agent->frame, &welcome), 0);
	return welcome.stream_count > 0 ? welcome.stream[0].last : 0;
}

void
agent_put_interface(struct agent *agent, uint8_t stream, uint32_t id)
{
	struct pcapng_interface interface = { .linktype = 1, .name = "eth0" };
	struct msg_interface msg = { .stream = { stream }, .id = id };
	struct buf idb;

	buf_init(&idb, MSG_IDB_MAX);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	msg.idb = idb.data;
	msg.idb_len = idb.len;
	ck_assert_int_eq(msg_put_interface(&agent->out, &msg), 0);
	buf_clear(&idb);
}

void
agent_put_block(struct agent *agent, uint8_t stream, uint64_t number)
{
	const uint8_t data[60] = { 1, 2, 3 };
	struct pcapng_packet packet = { .time_ns = 1000 + number, .captured_len = sizeof(data), .original_len = sizeof(data),
	    .data = data };
	struct msg_block msg = { .stream = { stream }, .number = number, .codec = CODEC_NONE, .packets = 1, .bytes = sizeof(data),
	    .first_ns = 1000 + number, .last_ns = 1000 + number };
	struct buf raw;

	buf_init(&raw, 1024);
	ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
	msg.raw_len = (uint32_t)raw.len;
	msg.data_len = raw.len;
	ck_assert_int_eq(msg_put_block_header(&agent->out, &msg), 0);
	ck_assert_int_eq(buf_put(&agent->out, raw.data, raw.len), 0);
	buf_clear(&raw);
}

void
agent_put_mark(struct agent *agent, enum frame_type type, uint8_t stream, uint64_t number)
{
	const struct msg_mark mark = { .stream = { stream }, .number = number };
	const struct msg_stream_end end = { .stream = { stream }, .number = number };

	ck_assert_int_eq(type == FRAME_END ? msg_put_stream_end(&agent->out, &end) : msg_put_ack(&agent->out, &mark), 0);
}

static bool
take_frame(struct agent *agent)
{
	struct buf *input = tlsio_input(agent->end.t);
	struct frame frame;

	if (frame_parse(input->data, input->len, &frame) != FRAME_OK)
		return false;
	ck_assert_uint_le(frame.length, sizeof(agent->data));
	memcpy(agent->data, frame.payload, frame.length);
	agent->frame = frame;
	agent->frame.payload = agent->data;
	buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	tlsio_input_taken(agent->end.t);
	return true;
}

void
agent_wait(struct agent *agent, enum frame_type type)
{
	for (;;) {
		while (take_frame(agent)) {
			if (agent->frame.type == type)
				return;
			if (agent->frame.type == FRAME_ERROR) {
				struct msg_end end;

				ck_assert_int_eq(msg_get_error(&agent->frame, &end), 0);
				ck_abort_msg("%s is waited for, ERROR came: %s", frame_type_name(type), end.text);
			}
		}
		ck_assert_msg(agent->end.closed == 0, "%s is waited for, the session ended: %s", frame_type_name(type),
		    agent->end.why);
		session_lab_run();
	}
}

void
agent_wait_ack(struct agent *agent, uint64_t number)
{
	struct msg_mark mark;

	do {
		agent_wait(agent, FRAME_ACK);
		ck_assert_int_eq(msg_get_ack(&agent->frame, &mark), 0);
		ck_assert_uint_le(mark.number, number);
	} while (mark.number < number);
}

void
agent_wait_closed(struct agent *agent)
{
	while (agent->end.closed == 0) {
		while (take_frame(agent))
			continue;
		session_lab_run();
	}
}

void
agent_wait_error(struct agent *agent, enum msg_error code, const char *words)
{
	struct msg_end end;

	agent_wait(agent, FRAME_ERROR);
	ck_assert_int_eq(msg_get_error(&agent->frame, &end), 0);
	ck_assert_msg(end.code == code && strstr(end.text, words) != NULL, "error %u \"%s\", not %u \"%s\"", end.code, end.text,
	    code, words);
	agent_wait_closed(agent);
}
