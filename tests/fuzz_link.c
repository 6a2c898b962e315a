/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "agent/spool.h"
#include "common/clock.h"
#include "common/deadline.h"
#include "common/tls_internal.h"
#include "collector/pki_sign.h"
#include "proto/codec.h"

#include "tests/link_lab.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/*
 * The input is a script: a collector and an operator (or somebody else) say frames to the link role's sessions, which they called;
 * blocks come into the spool, the capture role answers, interfaces vanish, timers run out. Nothing is taken for acknowledged that was
 * never published, blocks come in order and once, and what waits for the peer is bounded.
 */
#define PEERS		3
#define OPENS_MAX	6
#define RENEWALS_MAX	4
#define STEPS_MAX	256
#define SPOOL_SIZE	(64 * 1024)
#define TAIL_MAX	(MSG_BLOCK_MAX + 4096)
#define STEP_TOGETHER	0x80

struct fuzz;
struct peer {
	struct script_peer script;
	struct fuzz	*fuzz;
	uint8_t		 stream;	/* of the last block or gap */
	uint64_t	 last;		/* its number */
	size_t		 but;
};

struct fuzz {
	struct link_lab	 lab;
	struct peer	 peer[PEERS];
	unsigned	 opens;
	uint8_t		 streams;	/* begun so far; 1 is the first */
	uint64_t	 published;	/* of the newest stream of tap 0 */
	unsigned	 renewals;
	struct pki_chain chain;		/* for what was asked for last */
};

/* --- what comes from the agent --- */

/* What a collector would grant. */
static void
take_renew(struct fuzz *fuzz, const struct frame *frame)
{
	static struct pki_issuer *issuer;
	char path[2][256], error[PKI_ERROR_SIZE];
	struct pki_request request = { .not_before = time(NULL) - 300, .not_after = time(NULL) + 3600,
	    .identity = { .role = ROLE_AGENT, .tenant = "acme", .name = "web1" } };
	struct msg_renew renew;
	struct pki_csr *csr;

	snprintf(path[0], sizeof(path[0]), "%s/pki/ca.crt", script_folder());
	snprintf(path[1], sizeof(path[1]), "%s/pki/ca.key", script_folder());
	if (issuer == NULL)
		script_assert((issuer = pki_issuer_load(path[0], NULL, path[1], error)) != NULL);
	script_assert(msg_get_renew(frame, &renew) == 0);
	script_assert((csr = pki_csr_new(renew.csr, renew.csr_len, error)) != NULL);
	memcpy(request.identity.uuid, fuzz->lab.link.own.uuid, sizeof(request.identity.uuid));
	pki_chain_clear(&fuzz->chain);
	script_assert(pki_sign(issuer, &request, csr, &fuzz->chain, error) == 0);
	pki_csr_free(csr);
}

/* One after another within a stream, by block or gap. */
static void
check_number(struct peer *peer, const uint8_t *stream, uint64_t first, uint64_t last)
{
	script_assert(first > 0 && first <= last);
	script_assert(stream[0] != peer->stream || first == peer->last + 1);
	peer->stream = stream[0];
	peer->last = last;
}

static void
take_frame(struct script_peer *script, const struct frame *frame)
{
	struct peer *peer = script->more;
	struct msg_block block;
	struct msg_gap gap;

	if (frame->type == FRAME_BLOCK) {
		script_assert(msg_get_block(frame, &block) == 0);
		check_number(peer, block.stream, block.number, block.number);
		for (size_t i = 0; i < block.data_len; i++)
			script_assert(block.data[i] == (uint8_t)block.number);
	} else if (frame->type == FRAME_GAP) {
		script_assert(msg_get_gap(frame, &gap) == 0);
		check_number(peer, gap.stream, gap.first, gap.last);
	} else if (frame->type == FRAME_RENEW)
		take_renew(peer->fuzz, frame);
}

static void
run(struct fuzz *fuzz, unsigned times)
{
	static uint8_t bytes[IPC_SIZE_MAX];
	struct session *s;

	script_loop(fuzz->lab.link.base, times);
	while (recv(fuzz->lab.supervisor[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	while (recv(fuzz->lab.capture[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	TAILQ_FOREACH(s, &fuzz->lab.link.sessions, entry) {
		script_assert(s->sender.control.len <= SENDER_CONTROL_MAX && s->sender.tail.len <= TAIL_MAX);
		script_assert(s->tap == NULL || s->tap->session == s || s->state == SESSION_HELLO);
	}
}

/* --- steps of a peer --- */

static void
step_open(struct peer *peer, struct cursor *cursor)
{
	static const char *const names[] = { "col", "other", "oper", "web1" };
	static const enum identity_role roles[] = { ROLE_COLLECTOR, ROLE_COLLECTOR, ROLE_OPERATOR, ROLE_AGENT };
	uint8_t who = script_u8(cursor) % 4;
	int fd;

	if (peer->fuzz->opens++ >= OPENS_MAX)
		return;
	script_peer_close(&peer->script);
	peer->stream = 0;
	fd = script_peer_open(&peer->script, peer->fuzz->lab.link.base, script_context(roles[who], who < 2 ? "" : "acme", names[who]),
	    TLSIO_CLIENT);
	session_new(&peer->fuzz->lab.link, fd, TLSIO_SERVER, NULL);
	for (unsigned i = 0; i < 12 && !peer->script.opened && !peer->script.closed; i++)
		run(peer->fuzz, 1);
}

static void
step_close(struct peer *peer, struct cursor *cursor)
{
	(void)cursor;
	script_peer_close(&peer->script);
}

static void
stream_id(struct cursor *cursor, uint8_t id[MSG_ID_SIZE])
{
	memset(id, 0, MSG_ID_SIZE);
	id[0] = script_u8(cursor) % 4;
}

static void
step_welcome(struct peer *peer, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);
	struct msg_welcome welcome = { .version = (uint16_t)(what & 0x80 ? 9 : FRAME_VERSION), .codecs = codec_mask(),
	    .stream_count = what & 3 };

	for (uint16_t i = 0; i < welcome.stream_count; i++) {
		stream_id(cursor, welcome.stream[i].id);
		welcome.stream[i].last = script_number(cursor);
	}
	welcome.keepalive_ms = (uint32_t)script_number(cursor);
	welcome.codecs = what & 0x40 ? 0 : welcome.codecs;
	msg_put_welcome(&peer->script.out, &welcome);
}

static void
step_policy(struct peer *peer, struct cursor *cursor)
{
	struct msg_policy policy = { .version = script_number(cursor), .snaplen = (uint32_t)script_number(cursor) };

	script_bytes(cursor, (uint8_t *)policy.interfaces, 32);
	script_bytes(cursor, (uint8_t *)policy.filter, 64);
	script_bytes(cursor, (uint8_t *)policy.codec, 16);
	policy.direction = script_u8(cursor) % 4;
	policy.rate_limit = script_number(cursor);
	msg_put_policy(&peer->script.out, &policy);
}

static void
random_peers(struct cursor *cursor, struct bpf_peer *list, uint16_t *count)
{
	*count = script_u8(cursor) % 8;
	for (uint16_t i = 0; i < *count; i++)
		list[i] = (struct bpf_peer){ .family = AF_INET, .address = { 192, 0, 2, script_u8(cursor) % 16 } };
}

static void
step_hints(struct peer *peer, struct cursor *cursor)
{
	struct msg_hints hints = { .generation = script_number(cursor) };
	uint8_t what;

	hints.base = script_number(cursor);
	what = script_u8(cursor);
	hints.lease_ms = HINTS_LEASE_MIN_MS + what;
	hints.flags = what & HINTS_BALANCED;
	random_peers(cursor, hints.gone, &hints.gone_count);
	random_peers(cursor, hints.added, &hints.added_count);
	msg_put_hints(&peer->script.out, &hints);
}

/* What capture is told is the list, each of it once; it is never longer for having been told. */
static void
check_hints(const struct link *link)
{
	const struct hints *h = &link->hints;

	script_assert(h->count <= MSG_PEERS_MAX && (h->generation != 0 || h->count == 0));
	for (uint16_t i = 0; i < h->count; i++)
		for (uint16_t k = 0; k < i; k++)
			script_assert(memcmp(&h->peer[i], &h->peer[k], sizeof(h->peer[0])) != 0);
	script_assert(link->tap[0].told.peer_count == 0 || link->tap[0].told.peers_until_ns <= h->until_ns);
	for (unsigned i = 1; i < IPC_TAPS_MAX; i++)
		script_assert(link->tap[i].told.peer_count == 0);
}

static void
step_lease_end(struct peer *peer, struct cursor *cursor)
{
	struct hints *h = &peer->fuzz->lab.link.hints;

	(void)cursor;
	h->until_ns = peer->fuzz->lab.link.tap[0].told.peers_until_ns = 0;
	deadline_set(h->deadline, 1);
}

static void
step_ack(struct peer *peer, struct cursor *cursor)
{
	struct msg_mark ack = { 0 };

	stream_id(cursor, ack.stream);
	ack.number = script_number(cursor);
	msg_put_ack(&peer->script.out, &ack);
}

/* What has come so far. */
static void
step_ack_all(struct peer *peer, struct cursor *cursor)
{
	struct msg_mark ack = { .stream = { peer->stream }, .number = peer->last };

	(void)cursor;
	msg_put_ack(&peer->script.out, &ack);
}

static void
step_ping(struct peer *peer, struct cursor *cursor)
{
	struct msg_ping ping = { .token = script_number(cursor) };

	(void)(script_u8(cursor) & 1 ? msg_put_ping(&peer->script.out, &ping) : msg_put_pong(&peer->script.out, &ping));
}

static void
step_bye(struct peer *peer, struct cursor *cursor)
{
	struct msg_end end = { .code = script_u8(cursor), .text = "so it is" };

	(void)(end.code & 1 ? msg_put_error(&peer->script.out, &end) : msg_put_bye(&peer->script.out, &end));
}

/* A few times in a run, since keys take their time. */
static void
step_renew(struct peer *peer, struct cursor *cursor)
{
	struct link *link = &peer->fuzz->lab.link;
	uint8_t what = script_u8(cursor);

	if (what & 1)
		renew_stored(link, what & 2 ? EROFS : 0);
	else if (peer->fuzz->renewals++ < RENEWALS_MAX) {
		link->renewal->due = 1;
		renew_session_live(link);
	}
}

/* The one asked for, or anything. */
static void
step_certificate(struct peer *peer, struct cursor *cursor)
{
	const struct pki_chain *chain = &peer->fuzz->chain;
	uint8_t what = script_u8(cursor), bytes[128];
	struct msg_certificate msg = { .reason = "" };

	if (what & 1)
		strcpy(msg.reason, "not today\x1b[2J");
	for (msg.count = 0; !(what & 1) && msg.count < (what >> 1 & 3) + 1; msg.count++) {
		msg.certificate[msg.count].der = chain->count > 0 && msg.count == 0 ? chain->der : bytes;
		msg.certificate[msg.count].len = chain->count > 0 && msg.count == 0 ? chain->certificate[0].len :
		    script_bytes(cursor, bytes, sizeof(bytes));
	}
	(void)msg_put_certificate(&peer->script.out, &msg);
}

static void
step_raw(struct peer *peer, struct cursor *cursor)
{
	uint8_t bytes[256];

	buf_put(&peer->script.out, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
}

static void
step_frame(struct peer *peer, struct cursor *cursor)
{
	uint8_t type = script_u8(cursor), bytes[256];
	size_t mark;

	if (frame_begin(&peer->script.out, (enum frame_type)(type % FRAME_TYPE_MAX), &mark) == 0) {
		buf_put(&peer->script.out, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
		frame_end(&peer->script.out, mark);
	}
}

static void
step_spoil(struct peer *peer, struct cursor *cursor)
{
	peer->but = script_u8(cursor);
	script_spoil(cursor, peer->script.out.data, peer->script.out.len);
}

/* --- steps of the agent's others --- */

static void
step_stream(struct peer *peer, struct cursor *cursor)
{
	uint8_t id[MSG_ID_SIZE] = { 0 };
	struct fuzz *fuzz = peer->fuzz;

	id[0] = (uint8_t)(fuzz->streams + 1);
	if (script_u8(cursor) & 1)
		spool_stream_end(fuzz->lab.producer[0]);
	else if (fuzz->streams < 3 && spool_stream_begin(fuzz->lab.producer[0], id, 1) == 0) {
		fuzz->streams++;
		fuzz->published = 0;
		spool_interface_add(fuzz->lab.producer[0], id, sizeof(id));
	}
}

/* Filled with its number, by which the peer knows it again. */
static void
step_block(struct peer *peer, struct cursor *cursor)
{
	struct spool_entry entry = { .data_len = script_u16(cursor), .packets = 1, .codec = script_u8(cursor) % 4 };
	struct fuzz *fuzz = peer->fuzz;
	uint8_t *data;

	if (fuzz->streams == 0)
		return;
	entry.data_len += entry.data_len == 0;		/* no block is sealed empty */
	entry.raw_len = entry.data_len + 64;		/* room for its packet */
	fuzz->published++;
	if ((data = spool_reserve(fuzz->lab.producer[0], entry.data_len)) == NULL) {
		spool_lose(fuzz->lab.producer[0], &entry, GAP_CAPTURE);
		return;
	}
	memset(data, (int)(fuzz->published & 0xff), entry.data_len);
	spool_publish(fuzz->lab.producer[0], &entry);
}

static void
step_wake(struct peer *peer, struct cursor *cursor)
{
	struct session *s = peer->fuzz->lab.link.tap[script_u8(cursor) % IPC_TAPS_MAX].session;

	if (s != NULL)
		session_run(s);
}

static void
step_result(struct peer *peer, struct cursor *cursor)
{
	struct link *link = &peer->fuzz->lab.link;
	uint8_t what = script_u8(cursor);
	struct ipc_tap_result result = { .tap = what % IPC_TAPS_MAX, .accepted = what & 0x80, .reason = "syntax error" };

	result.version = link->tap[result.tap].told.version;
	tap_result(link, &result);
}

static void
step_time(struct peer *peer, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);
	struct session *s = TAILQ_FIRST(&peer->fuzz->lab.link.sessions);

	for (unsigned n = what & 3; s != NULL && n > 0; n--)
		s = TAILQ_NEXT(s, entry);
	if (s == NULL)
		return;
	if (what & 4) {
		s->alive.heard_ns -= LINK_MS * 1000 * (what >> 4) * 20;
		s->alive.due_ns -= LINK_MS * 1000 * (what >> 4) * 20;
	}
	event_active(what & 8 ? s->pacer : s->timer, EV_TIMEOUT, 1);
}

static void
step_pulse(struct peer *peer, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);

	if (what & 1)
		session_hold_all(&peer->fuzz->lab.link, what & 2);
	else
		event_active(peer->fuzz->lab.link.pulse, EV_TIMEOUT, 1);
}

static void (*const steps[32])(struct peer *, struct cursor *) = {
	step_open, step_close, step_welcome, step_policy, step_ack, step_ack_all, step_ping, step_bye,
	step_raw, step_frame, step_spoil, step_stream, step_block, step_wake, step_result, step_time,
	step_pulse, step_block, step_block, step_wake, step_welcome, step_ack, step_ack_all, step_result,
	step_open, step_stream, step_block, step_renew, step_time, step_hints, step_lease_end, step_certificate,
};

/* An acknowledgement beyond what was published would move the spool's begin there. */
static void
check_spool(struct fuzz *fuzz)
{
	struct spool_stream stream[MSG_STREAMS_MAX];
	size_t count = spool_streams(fuzz->lab.link.tap[0].spool, stream);

	for (size_t i = 0; i < count; i++) {
		script_assert(stream[i].first <= stream[i].last + 1);
		script_assert(stream[i].id[0] != fuzz->streams || stream[i].last <= fuzz->published);
	}
	script_assert(spool_used(fuzz->lab.link.tap[0].spool) <= spool_size(fuzz->lab.link.tap[0].spool));
}

static void
step(struct fuzz *fuzz, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);
	struct peer *peer = &fuzz->peer[(what >> 5 & 3) % PEERS];

	steps[what & 31](peer, cursor);
	if (what & STEP_TOGETHER)
		return;
	script_peer_send(&peer->script, peer->but);
	peer->but = 0;
	run(fuzz, 3);
	check_spool(fuzz);
	check_hints(&fuzz->lab.link);
}

/* --- begin and end --- */

static void
begin(struct fuzz *fuzz)
{
	link_lab_open(&fuzz->lab, SPOOL_SIZE);
	fuzz->lab.link.renewal = renew_new(&fuzz->lab.link);
	for (unsigned i = 0; i < PEERS; i++) {
		fuzz->peer[i].fuzz = fuzz;
		fuzz->peer[i].script.more = &fuzz->peer[i];
		fuzz->peer[i].script.frame = take_frame;
		buf_init(&fuzz->peer[i].script.out, 1024 * 1024);
	}
}

static void
end(struct fuzz *fuzz)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&fuzz->lab.link.sessions)) != NULL)
		session_free(s);
	for (unsigned i = 0; i < PEERS; i++)
		script_peer_close(&fuzz->peer[i].script);
	renew_free(fuzz->lab.link.renewal);
	fuzz->lab.link.renewal = NULL;
	pki_chain_clear(&fuzz->chain);
	link_lab_close(&fuzz->lab);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct cursor cursor;

	script_folder();
	memset(&fuzz, 0, sizeof(fuzz));
	cursor_init(&cursor, data, size);
	begin(&fuzz);
	for (unsigned i = 0; i < STEPS_MAX && cursor.left > 0; i++)
		step(&fuzz, &cursor);
	end(&fuzz);
	return 0;
}
