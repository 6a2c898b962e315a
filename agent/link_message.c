/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "agent/spool.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/frame.h"

/* What a collector or an operator says in a session. */

static int
on_welcome(struct session *s, const struct frame *frame)
{
	struct msg_welcome welcome;
	size_t i;

	if (msg_get_welcome(frame, &welcome) == -1)
		return -1;
	if (welcome.version != FRAME_VERSION) {
		session_error(s, MSG_ERR_VERSION, "version %u of the protocol is chosen, this agent speaks %d", welcome.version,
		    FRAME_VERSION);
		return 0;
	}
	session_take_tap(s);
	backlog_rewind(&s->tap->backlog);	/* first, so that no END that went out in vain is taken for sent */
	for (i = 0; i < welcome.stream_count; i++) {
		sender_stream_id(&s->sender, welcome.stream[i].id, welcome.stream[i].id);
		if (welcome.stream[i].last > 0 &&
		    backlog_acknowledge(&s->tap->backlog, welcome.stream[i].id, welcome.stream[i].last) == -1) {
			session_error(s, MSG_ERR_SEQUENCE, "WELCOME claims block %llu of a stream, which was never sent",
			    (unsigned long long)welcome.stream[i].last);
			return 0;
		}
	}
	backlog_set_listed(&s->tap->backlog, (const uint8_t (*)[MSG_ID_SIZE])s->listed, s->listed_count);
	session_begin(s, welcome.codecs, welcome.keepalive_ms);
	return 0;
}

static int
on_policy(struct session *s, const struct frame *frame)
{
	struct msg_policy policy;

	if (msg_get_policy(frame, &policy) == -1)
		return -1;
	tap_policy(s->link, s->tap, s, &policy);
	return 0;
}

static int
on_hints(struct session *s, const struct frame *frame)
{
	struct msg_hints hints;

	if (s->tap->number != 0) {
		session_error(s, MSG_ERR_ROLE, "HINTS are not an operator's to give");
		return 0;
	}
	if (msg_get_hints(frame, &hints) == -1)
		return -1;
	hints_take(s->link, &hints);
	return 0;
}

static int
on_ack(struct session *s, const struct frame *frame)
{
	struct msg_mark ack;

	if (msg_get_ack(frame, &ack) == -1)
		return -1;
	sender_stream_id(&s->sender, ack.stream, ack.stream);
	if (backlog_acknowledge(&s->tap->backlog, ack.stream, ack.number) == -1) {
		session_error(s, MSG_ERR_SEQUENCE, "ACK of block %llu of a stream, which was never sent",
		    (unsigned long long)ack.number);
		return 0;
	}
	session_run(s);
	link_stop_check(s->link);
	return 0;
}

static int
on_ping(struct session *s, const struct frame *frame)
{
	struct msg_ping ping;

	if (msg_get_ping(frame, &ping) == -1)
		return -1;
	ping.wall_ns = clock_wall_ns();
	session_put(s, msg_put_pong(&s->sender.control, &ping));
	return 0;
}

static int
on_pong(struct session *s, const struct frame *frame)
{
	struct msg_ping pong;

	(void)s;
	return msg_get_pong(frame, &pong);
}

static int
on_end(struct session *s, const struct frame *frame)
{
	bool error = frame->type == FRAME_ERROR;
	struct msg_end end;

	if ((error ? msg_get_error(frame, &end) : msg_get_bye(frame, &end)) == -1)
		return -1;
	if (error && end.code != MSG_ERR_REPLACED)
		log_warn("%s refuses: %s", s->name, end.text);
	else
		log_info("%s ends the session: %s", s->name, end.text);
	session_ended(s, error ? end.code : 0, end.text);
	return 0;
}

static int
on_certificate(struct session *s, const struct frame *frame)
{
	struct msg_certificate msg;

	if (msg_get_certificate(frame, &msg) == -1)
		return -1;
	if (renew_certificate(s, &msg) == -1)
		session_error(s, MSG_ERR_PROTOCOL, "a certificate that was not asked for");
	return 0;
}

static const struct {
	int	(*handle)(struct session *, const struct frame *);	/* -1: malformed */
	bool	hello, live;	/* in which state it may come */
} rows[FRAME_TYPE_MAX] = {
	[FRAME_WELCOME] =	{ on_welcome, true, false },
	[FRAME_POLICY] =	{ on_policy, false, true },
	[FRAME_HINTS] =		{ on_hints, false, true },
	[FRAME_ACK] =		{ on_ack, false, true },
	[FRAME_PING] =		{ on_ping, true, true },
	[FRAME_PONG] =		{ on_pong, true, true },
	[FRAME_CERTIFICATE] =	{ on_certificate, false, true },
	[FRAME_BYE] =		{ on_end, true, true },
	[FRAME_ERROR] =		{ on_end, true, true },
};

/* By its header alone: a frame that is not wanted is not waited for. */
static bool
type_expected(const struct session *s, const struct buf *input)
{
	struct cursor c;
	uint16_t type;

	cursor_init(&c, input->data, input->len);
	if (cursor_u16(&c, &type) == -1)
		return true;
	if (type >= FRAME_TYPE_MAX || rows[type].handle == NULL)
		return false;
	return s->state == SESSION_HELLO ? rows[type].hello : rows[type].live;
}

static void
unexpected(struct session *s, const struct buf *input)
{
	unsigned type = (unsigned)input->data[0] << 8 | input->data[1];

	session_error(s, MSG_ERR_PROTOCOL, "%s (type %u) has no place here",
	    frame_length_max((enum frame_type)type) > 0 ? frame_type_name((enum frame_type)type) : "unknown message", type);
}

bool
message_take(struct session *s, struct buf *input)
{
	struct frame frame;
	enum frame_error error;

	if (!type_expected(s, input)) {
		unexpected(s, input);
		return false;
	}
	if ((error = frame_parse(input->data, input->len, &frame)) == FRAME_MORE)
		return false;
	if (error != FRAME_OK) {
		session_error(s, MSG_ERR_PROTOCOL, "%s", frame_error_text(error));
		return false;
	}
	if (rows[frame.type].handle(s, &frame) == -1)
		session_error(s, MSG_ERR_PROTOCOL, "malformed %s", frame_type_name(frame.type));
	buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	return s->state == SESSION_HELLO || s->state == SESSION_LIVE;
}
