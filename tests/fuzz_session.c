/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/tls_internal.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/enrol_desk.h"
#include "collector/pki_sign.h"
#include "collector/revoked.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

#include "tests/script_lab.h"

/* The workers and their committers as they are, but for their threads, which are run here, one after the other. */
#define pthread_create(thread, attributes, run, arg)	((void)(thread), (void)(run), (void)(arg), 0)
#define pthread_join(thread, result)			((void)(thread), 0)
#include "collector/worker.c"
#include "collector/store_commit.c"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/*
 * The input is a script: each step one call of the table below. Up to PEERS connections of two VMs (and of somebody who is no agent, or has no certificate) say
 * frames, well-formed or not, go away, come again as the same instance or another; policies and settings change, commits end or
 * fail, timers run out. At the end the collector stops as after SIGTERM, and what the catalog promises is compared with the disk.
 */
#define WORKERS		2
#define PEERS		4
#define OPENS_MAX	8		/* handshakes are dear */
#define STEPS_MAX	256
#define RAW_SIZE	2048
#define STREAMS		4
#define STEP_TOGETHER	0x80		/* what is put leaves with what comes after it */

struct fuzz;
struct peer {
	struct script_peer script;
	struct fuzz	*fuzz;
	unsigned	 vm;
	uint64_t	 token;		/* of the last PING */
	size_t		 but;		/* bytes not sent of what is put */
};

struct fuzz {
	struct workers	 workers;
	struct event_base *base;	/* the peers' */
	struct peer	 peer[PEERS];
	unsigned	 opens;
	bool		 wild;		/* raw bytes were sent: nobody knows what they say */
	uint64_t	 sent[2][STREAMS];	/* the highest number told */
	bool		 stopped;
};

static struct store store;
static struct sqlite3 *db;
static char vm_folder[256];
static void *encoder[CODEC_ZSTD + 1];

/* Nobody's limits are reached here. */
void
retainer_poke(struct retainer *retainer)
{
	(void)retainer;
}

/* The desk: what it is asked waits until the script has it answered. */
static struct asked {
	struct mailbox	*to;
	uint64_t	 ticket;
} asked;

static enum desk_answer
ask(struct mailbox *to, uint64_t ticket, const uint8_t *csr, size_t csr_len)
{
	char error[PKI_ERROR_SIZE];

	pki_csr_free(pki_csr_new(csr, csr_len, error));
	asked = (struct asked){ to, ticket };
	return ticket % 8 == 6 ? DESK_BUSY : DESK_QUEUED;
}

enum desk_answer
desk_enrol(struct desk *desk, struct mailbox *to, uint64_t ticket, const struct desk_enrol *enrol)
{
	(void)desk;
	return ticket % 8 == 7 ? DESK_STRANGER : ask(to, ticket, enrol->csr, enrol->csr_len);
}

enum desk_answer
desk_renew(struct desk *desk, struct mailbox *to, uint64_t ticket, const struct identity *identity, const struct msg_renew *renew)
{
	(void)desk;
	script_assert(identity->role == ROLE_AGENT);
	return ask(to, ticket, renew->csr, renew->csr_len);
}

/* There is no control socket to ask these; what frees an operator's connection is linked with it. */
int
desk_create_token(struct desk *desk, uint64_t ticket, const struct token *token, uint64_t ttl_s)
{
	(void)desk, (void)ticket, (void)token, (void)ttl_s;
	return -1;
}

int
desk_list_tokens(struct desk *desk, uint64_t ticket, const char *tenant)
{
	(void)desk, (void)ticket, (void)tenant;
	return -1;
}

int
desk_revoke_token(struct desk *desk, uint64_t ticket, const char *id, const char *tenant)
{
	(void)desk, (void)ticket, (void)id, (void)tenant;
	return -1;
}

int
desk_revoke(struct desk *desk, uint64_t ticket, const char *vm, const char *tenant)
{
	(void)desk, (void)ticket, (void)vm, (void)tenant;
	return -1;
}

/* --- once --- */

static struct tls_context *
context(unsigned who)
{
	static const char *const names[] = { "web1", "web2", "web1", "col" };

	if (who & 0x40)
		return script_stranger();
	return script_context(who % 4 == 3 ? ROLE_COLLECTOR : ROLE_AGENT, who % 4 == 3 ? "" : "acme", names[who % 4]);
}

static void
start(void)
{
	char error[512] = "", path[128];

	snprintf(path, sizeof(path), "%s/store", script_folder());
	if (store_open(&store, path, NULL, error, sizeof(error)) == -1)
		script_failed(error, "store", 0);
	snprintf(vm_folder, sizeof(vm_folder), "%s/acme", store.path);
	db = catalog_open(store.path, error, sizeof(error));
	script_assert(db != NULL);
	for (unsigned id = 0; id <= CODEC_ZSTD; id++)
		if (codec_by_id(id) != NULL)
			encoder[id] = codec_by_id(id)->state_new(codec_by_id(id)->level_initial);
	for (unsigned who = 0; who < 4; who++)
		context(who);
	script_assert(tls_context_add_alpn(context(3), FRAME_ALPN_ENROLL, TLS_ALPN_ANONYMOUS | TLS_ALPN_ROOT) == 0);
	context(0x40);
}

/* --- what runs by itself --- */

static void
take_notes(struct fuzz *fuzz)
{
	struct note *note;

	mailbox_clear(fuzz->workers.main);
	while ((note = mailbox_take(fuzz->workers.main)) != NULL) {
		script_assert(note->kind != NOTE_LOST);
		note_free(note);
	}
}

static void
run(struct fuzz *fuzz, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		script_loop(fuzz->base, 1);
		for (unsigned w = 0; w < WORKERS; w++) {
			struct worker *worker = &fuzz->workers.worker[w];

			if (!worker->finished || !TAILQ_EMPTY(&worker->sessions))	/* else its thread has ended */
				script_loop(worker->base, 1);
		}
	}
	take_notes(fuzz);
}

static void
commit(struct fuzz *fuzz, unsigned w)
{
	struct committer *committer = fuzz->workers.worker[w].committer;
	struct batch *batch = committer->batch;

	committer->batch = NULL;
	if (batch != NULL)
		commit_run(committer, batch);
}

/* --- what is told --- */

static void
take_frame(struct script_peer *script, const struct frame *frame)
{
	struct peer *peer = script->more;
	struct msg_mark ack;
	struct msg_ping ping;

	if (frame->type == FRAME_PING && msg_get_ping(frame, &ping) == 0)
		peer->token = ping.token;
	if (frame->type != FRAME_ACK)
		return;
	script_assert(msg_get_ack(frame, &ack) == 0);
	script_assert(peer->fuzz->wild || ack.number <= peer->fuzz->sent[peer->vm][ack.stream[0] % STREAMS]);
}

static void
told(struct peer *peer, uint8_t stream, uint64_t number)
{
	uint64_t *sent = &peer->fuzz->sent[peer->vm][stream];

	if (number > *sent)
		*sent = number;
}

static uint8_t
stream_of(struct peer *peer, uint8_t id[MSG_ID_SIZE], struct cursor *cursor)
{
	uint8_t stream = script_u8(cursor) % STREAMS;

	memset(id, 0, MSG_ID_SIZE);
	id[0] = stream;
	id[1] = (uint8_t)(peer->vm + 1);
	return stream;
}

/* --- steps of a peer --- */

static void
step_open(struct peer *peer, struct cursor *cursor)
{
	struct fuzz *fuzz = peer->fuzz;
	uint8_t who = script_u8(cursor);
	struct note *note;

	if (fuzz->opens++ >= OPENS_MAX)
		return;
	script_peer_close(&peer->script);
	note = note_new(NOTE_CONNECTION);
	note->pull = who & 0x20 ? 3 : -1;
	note->fd = script_peer_open(&peer->script, fuzz->base, context(who), who & 0x20 ? TLSIO_SERVER : TLSIO_CLIENT);
	peer->vm = who % 4 == 1;
	mailbox_post(fuzz->workers.worker[(who >> 4) % WORKERS].inbox, note);
	for (unsigned i = 0; i < 12 && !peer->script.opened && !peer->script.closed; i++)
		run(fuzz, 1);
}

static void
step_close(struct peer *peer, struct cursor *cursor)
{
	(void)cursor;
	script_peer_close(&peer->script);
}

static void
step_hello(struct peer *peer, struct cursor *cursor)
{
	struct msg_hello hello = { .version_min = 1, .version_max = FRAME_VERSION, .software = "fuzz", .codecs = codec_mask() };
	uint8_t what = script_u8(cursor);

	hello.instance[0] = what & 3;
	hello.stream_count = what >> 2 & 3;
	hello.version_max = (uint16_t)(hello.version_max + (what >> 5 & 1));
	hello.version_min = (uint16_t)(hello.version_min + (what >> 6 & 1));
	for (uint16_t i = 0; i < hello.stream_count; i++) {
		struct msg_stream *stream = &hello.stream[i];
		uint8_t id = stream_of(peer, stream->id, cursor);

		stream->started_ns = 1;
		stream->first = script_number(cursor);
		stream->last = script_number(cursor);
		told(peer, id, stream->last);
		told(peer, id, stream->first);
	}
	msg_put_hello(&peer->script.out, &hello);
}

static void
step_interface(struct peer *peer, struct cursor *cursor)
{
	struct pcapng_interface interface = { .linktype = 1, .name = "eth0" };
	struct msg_interface msg = { 0 };
	struct buf idb;

	stream_of(peer, msg.stream, cursor);
	msg.id = script_u8(cursor) % 8;
	buf_init(&idb, MSG_IDB_MAX);
	pcapng_put_idb(&idb, &interface);
	script_spoil(cursor, idb.data, idb.len);
	msg.idb = idb.data;
	msg.idb_len = idb.len;
	msg_put_interface(&peer->script.out, &msg);
	buf_clear(&idb);
}

static void
put_packets(struct buf *raw, struct msg_block *msg, uint8_t count, uint8_t interface, uint32_t direction)
{
	static const uint8_t data[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 50, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0,
	    0, 1, 10, 0, 0, 2 };
	struct pcapng_packet packet = { .interface = interface, .captured_len = sizeof(data), .original_len = sizeof(data),
	    .data = data, .flags = direction };

	for (uint8_t i = 0; i < count; i++) {
		packet.packetid = msg->number * 8 + i;
		packet.time_ns = msg->first_ns + i;
		pcapng_put_epb(raw, &packet);
		msg->last_ns = packet.time_ns;
		msg->bytes += packet.captured_len;
	}
	msg->packets = count;
}

static void
step_block(struct peer *peer, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor), unit[2 * RAW_SIZE];
	const struct codec *codec = codec_by_id(what & 3);
	struct msg_block msg = { .codec = what & 3, .flags = what >> 2 & 3 };
	struct buf raw;
	ssize_t len;

	told(peer, stream_of(peer, msg.stream, cursor), msg.number = script_number(cursor));
	if ((msg.first_ns = script_number(cursor)) == 0)
		msg.first_ns = clock_wall_ns();
	buf_init(&raw, RAW_SIZE);
	put_packets(&raw, &msg, what >> 4 & 7, what & 0x80 ? script_u8(cursor) % 8 : 0,
	    peer == peer->fuzz->peer ? PCAPNG_EPB_OUT : PCAPNG_EPB_IN);
	script_spoil(cursor, raw.data, raw.len);
	msg.raw_len = (uint32_t)raw.len;
	if (codec == NULL || (len = codec->encode(encoder[msg.codec], raw.data, raw.len, unit, sizeof(unit))) < 0)
		len = 0;
	script_spoil(cursor, unit, (size_t)len);
	msg.data_len = (size_t)len;
	msg_put_block_header(&peer->script.out, &msg);
	buf_put(&peer->script.out, unit, msg.data_len);
	buf_clear(&raw);
}

static void
step_gap(struct peer *peer, struct cursor *cursor)
{
	struct msg_gap gap = { .packets = 3, .bytes = 200, .first_ns = 1, .last_ns = 2 };
	uint8_t stream = stream_of(peer, gap.stream, cursor);

	gap.first = script_number(cursor);
	gap.last = script_number(cursor);
	gap.place = script_u8(cursor) % 6;
	gap.packets = script_number(cursor);
	told(peer, stream, gap.first);
	told(peer, stream, gap.last);
	msg_put_gap(&peer->script.out, &gap);
}

static void
step_end(struct peer *peer, struct cursor *cursor)
{
	struct msg_stream_end end = { 0 };

	told(peer, stream_of(peer, end.stream, cursor), end.number = script_number(cursor));
	end.cut = script_u8(cursor) & 1;
	msg_put_stream_end(&peer->script.out, &end);
}

static void
step_stats(struct peer *peer, struct cursor *cursor)
{
	struct msg_stat stat[8];
	struct msg_stats stats = { .wall_ns = 1, .stat = stat };

	stream_of(peer, stats.stream, cursor);
	for (stats.count = script_u8(cursor) % 8; stats.count > 0 && cursor->left > 2;) {
		struct msg_stat *one = &stat[--stats.count];

		one->counter = script_u8(cursor);
		one->interface = (uint32_t)script_number(cursor);
		one->value = script_number(cursor);
	}
	msg_put_stats(&peer->script.out, &stats);
}

static void
step_policy_result(struct peer *peer, struct cursor *cursor)
{
	struct msg_policy_result result = { .accepted = script_u8(cursor) & 1, .reason = "syntax error" };
	sqlite3_stmt *statement;

	/* What is asked stands in the catalog once it is committed. */
	result.version = script_number(cursor);
	if (result.version == 0 && sqlite3_prepare_v2(db, "SELECT max(policy_version) FROM vm", -1, &statement, NULL) == SQLITE_OK) {
		if (sqlite3_step(statement) == SQLITE_ROW)
			result.version = (uint64_t)sqlite3_column_int64(statement, 0);
		sqlite3_finalize(statement);
	}
	msg_put_policy_result(&peer->script.out, &result);
}

static void
step_ping(struct peer *peer, struct cursor *cursor)
{
	struct msg_ping ping = { .token = script_number(cursor), .wall_ns = script_number(cursor) };

	msg_put_ping(&peer->script.out, &ping);
}

static void
step_pong(struct peer *peer, struct cursor *cursor)
{
	struct msg_ping pong = { .token = script_u8(cursor) & 1 ? 1 : peer->token, .wall_ns = script_number(cursor) };

	msg_put_pong(&peer->script.out, &pong);
}

static void
step_bye(struct peer *peer, struct cursor *cursor)
{
	struct msg_end end = { .code = script_u8(cursor), .text = "so it is" };

	if (end.code & 1)
		msg_put_error(&peer->script.out, &end);
	else
		msg_put_bye(&peer->script.out, &end);
}

static void
step_raw(struct peer *peer, struct cursor *cursor)
{
	uint8_t bytes[256];

	peer->fuzz->wild = true;
	buf_put(&peer->script.out, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
}

/* Any payload in a good header. */
static void
step_frame(struct peer *peer, struct cursor *cursor)
{
	uint8_t type = script_u8(cursor), bytes[256];
	size_t mark;

	peer->fuzz->wild = true;
	if (frame_begin(&peer->script.out, (enum frame_type)(type % FRAME_TYPE_MAX), &mark) == 0) {
		buf_put(&peer->script.out, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
		frame_end(&peer->script.out, mark);
	}
}

/* What is put so far, spoilt or cut short. */
static void
step_spoil(struct peer *peer, struct cursor *cursor)
{
	size_t but = script_u8(cursor);

	peer->fuzz->wild = true;
	script_spoil(cursor, peer->script.out.data, peer->script.out.len);
	peer->but = but;
}

/* --- steps of the collector --- */

static struct worker *
worker_of(struct peer *peer)
{
	return &peer->fuzz->workers.worker[peer - peer->fuzz->peer < WORKERS ? peer - peer->fuzz->peer : 0];
}

static void
step_commit(struct peer *peer, struct cursor *cursor)
{
	struct worker *worker = worker_of(peer);

	if (script_u8(cursor) & 1)
		worker_commit_timeout(-1, 0, worker);
	commit(peer->fuzz, worker->index);
}

/* It is being tried again; the next step_commit() gets through. */
static void
step_commit_fails(struct peer *peer, struct cursor *cursor)
{
	struct worker *worker = worker_of(peer);

	(void)cursor;
	if (worker->committer->batch != NULL)
		worker_commit_report(COMMIT_FAILING, NULL, "disk full", worker);
}

static struct session *
nth_session(struct worker *worker, unsigned n)
{
	struct session *session = TAILQ_FIRST(&worker->sessions);

	while (session != NULL && n-- > 0)
		session = TAILQ_NEXT(session, entry);
	return session;
}

/* The timer of a session's state, after a long silence or a short one. */
static void
step_time(struct peer *peer, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);
	struct session *session = nth_session(worker_of(peer), what & 3);

	if (session == NULL || session->state == SESSION_HANDSHAKE)
		return;
	if (what & 4) {
		session->alive.heard_ns -= UINT64_C(1000000000) * (what >> 4) * 20;
		session->alive.due_ns -= UINT64_C(1000000000) * (what >> 4) * 20;
	}
	event_active(session->timer, EV_TIMEOUT, 1);
}

static void
step_policy(struct peer *peer, struct cursor *cursor)
{
	static const char *const texts[] = { "[default]\nfilter = tcp\n", "[vm web1]\nsnaplen = 96\n", "", "[tenant acme]\ndirection = in\n",
	    "[default]\ndedup = withhold\nnetwork = eth0:a,b\n", "[vm web1]\ndedup = off\nnetwork = c\n" };
	struct note *note = note_new(NOTE_POLICY);
	char error[POLICY_ERROR_SIZE];

	note->policy = policy_set_new();
	note->token = 7;
	script_assert(policy_set_parse(note->policy, "fuzz", texts[script_u8(cursor) % (sizeof(texts) / sizeof(texts[0]))], error, sizeof(error)) == 0);
	mailbox_post(worker_of(peer)->inbox, note);
}

static void
step_settings(struct peer *peer, struct cursor *cursor)
{
	struct note *note = note_new(NOTE_SETTINGS);

	note->settings.rotate_size = 256u << script_u8(cursor) % 16;
	note->settings.rotate_interval_ms = script_u8(cursor) & 1 ? 3600000 : 0;
	note->settings.keepalive_ms = 60000;
	note->settings.hint_lease_ms = 5000;
	note->settings.dedup = DEDUP_TAG;
	note->settings.enrol_life_ms = 60000;
	mailbox_post(worker_of(peer)->inbox, note);
}

static void
step_tick(struct peer *peer, struct cursor *cursor)
{
	struct note *note = note_new(NOTE_STATUS);

	(void)cursor;
	worker_tick(-1, 0, worker_of(peer));
	mailbox_post(worker_of(peer)->inbox, note);
}

static void
step_stop(struct peer *peer, struct cursor *cursor)
{
	(void)cursor;
	if (!peer->fuzz->stopped)
		workers_tell(&peer->fuzz->workers, &(struct note){ .kind = NOTE_STOP });
	peer->fuzz->stopped = true;
}

/* The first peer has the address that packets come from, the others the one that they go to, unless they lie. */
static void
put_addresses(struct peer *peer, struct cursor *cursor, bool lies)
{
	struct msg_addresses msg = { .count = 1, .address = { { .family = AF_INET, .address = { 10, 0, 0, 2 } } } };

	stream_of(peer, msg.stream, cursor);
	msg.id = script_u8(cursor) % 8;
	if ((peer == peer->fuzz->peer) != lies)
		msg.address[0].address[3] = 1;
	msg_put_addresses(&peer->script.out, &msg);
}

static void
step_hints(struct peer *peer, struct cursor *cursor)
{
	struct msg_hints_result result = { .wall_ns = clock_wall_ns() };
	uint8_t what = script_u8(cursor);

	if (what % 4 == 0)
		worker_hint_timeout(-1, 0, worker_of(peer));
	else if (what % 4 == 1) {
		result.generation = script_number(cursor);
		msg_put_hints_result(&peer->script.out, &result);
	} else
		put_addresses(peer, cursor, what % 16 == 2);
}

static void
put_enroll(struct peer *peer, struct cursor *cursor)
{
	struct msg_enroll msg = { .software = "fuzz" };
	uint8_t bytes[256];

	script_bytes(cursor, (uint8_t *)msg.token, sizeof(msg.token) - 1);
	script_bytes(cursor, (uint8_t *)msg.name, sizeof(msg.name) - 1);
	msg.csr = bytes;
	msg.csr_len = script_bytes(cursor, bytes, sizeof(bytes));
	msg_put_enroll(&peer->script.out, &msg);
}

static void
put_renew(struct peer *peer, struct cursor *cursor)
{
	uint8_t bytes[256];
	const struct msg_renew msg = { .csr = bytes, .csr_len = script_bytes(cursor, bytes, sizeof(bytes)) };

	msg_put_renew(&peer->script.out, &msg);
}

/* granted: one certificate, which need not be one. */
static void
desk_answers(bool granted, const char *reason)
{
	struct note *note;

	if (asked.to == NULL)
		return;
	note = note_new(NOTE_CERTIFICATE);
	note->token = asked.ticket;
	note->good = granted;
	snprintf(note->text, sizeof(note->text), "%s", reason);
	if (granted && (note->chain = calloc(1, sizeof(*note->chain))) != NULL) {
		note->chain->der = calloc(1, 100);
		note->chain->len = note->chain->certificate[0].len = 100;
		note->chain->count = 1;
	}
	mailbox_post(asked.to, note);
}

static void
revoke_somebody(struct peer *peer)
{
	struct note note = { .kind = NOTE_REVOKE };
	struct session *session = TAILQ_FIRST(&worker_of(peer)->sessions);
	char error[512];

	if (session == NULL || session->identity.uuid[0] == '\0')
		return;
	memcpy(note.uuid, session->identity.uuid, sizeof(note.uuid));
	script_assert(revoked_add(peer->fuzz->workers.revoked, db, note.uuid, 1, error, sizeof(error)) == 0);
	workers_tell(&peer->fuzz->workers, &note);
}

static void
step_enrol(struct peer *peer, struct cursor *cursor)
{
	switch (script_u8(cursor) % 8) {
	case 0:
		put_renew(peer, cursor);
		break;
	case 1:
		put_enroll(peer, cursor);
		break;
	case 2:
		desk_answers(true, "");
		break;
	case 3:
		desk_answers(false, "the token has been revoked");
		break;
	case 4:
		desk_answers(false, "");
		break;
	case 5:
		revoke_somebody(peer);
		break;
	default:
		break;
	}
}

static void (*const steps[32])(struct peer *, struct cursor *) = {
	step_open, step_hello, step_interface, step_block, step_gap, step_end, step_stats, step_policy_result,
	step_ping, step_pong, step_bye, step_raw, step_frame, step_spoil, step_close, step_commit,
	step_commit_fails, step_time, step_policy, step_settings, step_tick, step_stop, step_hints, step_block,
	step_block, step_interface, step_hello, step_commit, step_open, step_gap, step_time, step_enrol,
};

/* Bits: together, peer, step. */
static void
step(struct fuzz *fuzz, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);
	struct peer *peer = &fuzz->peer[what >> 5 & (PEERS - 1)];

	steps[what & 31](peer, cursor);
	if (what & STEP_TOGETHER)
		return;
	script_peer_send(&peer->script, peer->but);
	peer->but = 0;
	run(fuzz, 3);
}

/* --- the end --- */

static int64_t
number(const char *sql)
{
	sqlite3_stmt *statement;
	int64_t value = 0;

	script_assert(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
	if (sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

/* What is in the catalog is durable: as many bytes are there. */
static void
check_files(void)
{
	sqlite3_stmt *statement;
	struct stat st;

	script_assert(sqlite3_prepare_v2(db, "SELECT path, length FROM file", -1, &statement, NULL) == SQLITE_OK);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		script_assert(fstatat(store.root_fd, (const char *)sqlite3_column_text(statement, 0), &st, 0) == 0);
		script_assert(st.st_size >= sqlite3_column_int64(statement, 1));
	}
	sqlite3_finalize(statement);
	script_assert(number("SELECT count(*) FROM file WHERE live") == 0);
	script_assert(number("SELECT count(*) FROM vm WHERE connected") == 0);
	script_assert(number("SELECT count(*) FROM withheld WHERE to_ns IS NULL") == 0);
}

static void
stop(struct fuzz *fuzz)
{
	step_stop(&fuzz->peer[0], NULL);
	for (unsigned i = 0; i < 6; i++) {
		run(fuzz, 2);
		for (unsigned w = 0; w < WORKERS; w++)
			commit(fuzz, w);
	}
	for (unsigned w = 0; w < WORKERS; w++) {
		struct worker *worker = &fuzz->workers.worker[w];
		struct session *session;

		script_assert(worker->finished);
		while ((session = TAILQ_FIRST(&worker->sessions)) != NULL)
			session_free(session);
		while (!TAILQ_EMPTY(&worker->enrols))
			enrol_session_free(TAILQ_FIRST(&worker->enrols));
		script_assert(worker->handshakes == 0 && worker->enrol_count == 0);
	}
	for (unsigned i = 0; i < PEERS; i++)
		script_peer_close(&fuzz->peer[i].script);
}

static void
begin(struct fuzz *fuzz)
{
	const struct worker_settings settings = { .rotate_size = 1u << 20, .rotate_interval_ms = 3600000, .keepalive_ms = 60000,
	    .hint_lease_ms = 5000, .dedup = DEDUP_TAG, .enrol_life_ms = 60000 };
	static const struct conf_list tenants;
	struct tls_context *tls[WORKERS];
	struct policy_set *policy = policy_set_new();
	char error[512] = "";

	for (unsigned w = 0; w < WORKERS; w++)
		tls[w] = tls_context_ref(context(3));
	asked = (struct asked){ 0 };
	fuzz->base = event_base_new();
	fuzz->workers.main = mailbox_new();
	fuzz->workers.store = &store;
	fuzz->workers.tenants = &tenants;
	script_assert((fuzz->workers.known = tenants_new(store.path, error, sizeof(error))) != NULL);
	script_assert((fuzz->workers.revoked = revoked_new(db, error, sizeof(error))) != NULL);
	script_assert(workers_start(&fuzz->workers, WORKERS, tls, policy, &settings, error, sizeof(error)) == 0);
	policy_set_unref(policy);
	for (unsigned i = 0; i < PEERS; i++) {
		fuzz->peer[i].fuzz = fuzz;
		fuzz->peer[i].script.more = &fuzz->peer[i];
		fuzz->peer[i].script.frame = take_frame;
		buf_init(&fuzz->peer[i].script.out, 1024 * 1024);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct cursor cursor;

	if (db == NULL)
		start();
	memset(&fuzz, 0, sizeof(fuzz));
	cursor_init(&cursor, data, size);
	begin(&fuzz);
	for (unsigned i = 0; i < STEPS_MAX && cursor.left > 0; i++)
		step(&fuzz, &cursor);
	stop(&fuzz);
	workers_join(&fuzz.workers);
	take_notes(&fuzz);
	tenants_free(fuzz.workers.known);
	revoked_free(fuzz.workers.revoked);
	mailbox_free(fuzz.workers.main);
	event_base_free(fuzz.base);
	check_files();
	script_assert(sqlite3_exec(db, "DELETE FROM point; DELETE FROM file; DELETE FROM interface; DELETE FROM loss; DELETE FROM stat;"
	    " DELETE FROM stream; DELETE FROM vm; DELETE FROM revoked", NULL, NULL, NULL) == SQLITE_OK);
	script_remove_files(vm_folder);
	return 0;
}
