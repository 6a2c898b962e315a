/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "proto/frame.h"

#include "collector/certificate.h"
#include "collector/counts.h"
#include "collector/enrol_desk.h"
#include "collector/note.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/stream_hint.h"
#include "collector/worker.h"

/* RENEW of a VM: so many at once, and then one in this time, or in that part of a life below the other. */
#define SESSION_RENEWALS	8u
#define SESSION_RENEW_NS	UINT64_C(60000000000)
#define SESSION_RENEW_LIFE_MS	(SESSION_RENEWALS * 60000u)

/* The messages of an open session. Each: 0, or -1 with fault, which ends the session. */

/* The stream of a message that may be the first of it. */
static struct stream *
session_stream(struct session *session, const uint8_t *id, struct fault *fault)
{
	struct archive *archive = &session->worker->archive;
	struct stream *stream = stream_get(archive, session->vm, id, 0, fault);

	if (stream != NULL)
		stream_told(archive, stream);
	return stream;
}

/* The stream of what cannot be the first of it. What the collector knows of it from a session before is not enough. */
static struct stream *
session_told_stream(struct session *session, const char *what, const uint8_t *id, struct fault *fault)
{
	struct stream *stream = stream_find(session->vm, id);

	if (stream != NULL && stream->told)
		return stream;
	fault_set(fault, MSG_ERR_PROTOCOL, "%s: of a stream that neither HELLO nor INTERFACE has told", what);
	return NULL;
}

static int
session_interface(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_interface msg;
	struct stream *stream;

	if (msg_get_interface(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "INTERFACE is malformed");
	if ((stream = session_stream(session, msg.stream, fault)) == NULL ||
	    stream_add_interface(&session->worker->archive, stream, &msg, fault) == -1)
		return -1;
	stream_hint_interface(&session->worker->archive, stream);
	return 0;
}

/* The id may be one that a session before has told: the stream is the same. */
static int
session_addresses(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_addresses msg;
	struct stream *stream;

	if (msg_get_addresses(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "ADDRESSES is malformed");
	if ((stream = session_told_stream(session, "ADDRESSES", msg.stream, fault)) == NULL)
		return -1;
	if (msg.id >= stream->interface_count)
		return fault_set(fault, MSG_ERR_PROTOCOL, "ADDRESSES: of interface %u, which no INTERFACE has told", msg.id);
	stream_hint_addresses(&session->worker->archive, stream, &msg);
	return 0;
}

static int
session_block(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_block msg;
	struct stream *stream;

	if (msg_get_block(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "BLOCK is malformed");
	if ((stream = session_told_stream(session, "BLOCK", msg.stream, fault)) == NULL)
		return -1;
	session->blocks++;
	return stream_add_block(&session->worker->archive, stream, &msg, fault);
}

static int
session_gap(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_gap msg;
	struct stream *stream;

	if (msg_get_gap(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "GAP is malformed");
	if ((stream = session_stream(session, msg.stream, fault)) == NULL)
		return -1;
	session->gaps++;
	return stream_add_gap(&session->worker->archive, stream, &msg, fault);
}

static int
session_end(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_stream_end msg;
	struct stream *stream;

	if (msg_get_stream_end(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "END is malformed");
	if ((stream = session_stream(session, msg.stream, fault)) == NULL)
		return -1;
	return stream_end(&session->worker->archive, stream, &msg, fault);
}

static int
session_stats(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_stats msg = { .stat = session->worker->stats };
	struct stream *stream;

	if (msg_get_stats(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "STATS is malformed");
	if ((stream = session_stream(session, msg.stream, fault)) == NULL)
		return -1;
	session->vm->row.seen_ns = clock_wall_ns();
	session->vm->row_dirty = true;
	if (stream_set_stats(&session->worker->archive, stream, &msg, fault) == -1)
		return -1;
	stream_hint_stats(&session->worker->archive, stream);
	return 0;
}

static void
session_tell_policy_result(const struct session *session, const struct msg_policy_result *result)
{
	struct note *note = note_new(NOTE_POLICY_RESULT);

	note->version = result->version;
	note->good = result->accepted != 0;
	memcpy(note->uuid, session->identity.uuid, sizeof(note->uuid));
	memcpy(note->text, result->reason, sizeof(note->text));
	mailbox_post(session->worker->all->main, note);
}

static int
session_policy_result(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct vm_row *row = &session->vm->row;
	struct msg_policy_result msg;
	bool none;

	if (msg_get_policy_result(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "POLICY_RESULT is malformed");
	if (msg.version != row->policy_version || !session->policy_asked)
		return 0;	/* of one that another has overtaken, or nobody asked */
	session->policy_asked = false;
	archive_clean_text(msg.reason);
	none = row->policy_text == NULL || row->policy_text[0] == '\0';
	row->policy_state = !msg.accepted ? "refused" : none ? "none" : "accepted";
	memcpy(row->policy_reason, msg.reason, sizeof(row->policy_reason));
	archive_vm_changed(&session->worker->archive, session->vm);
	if (!msg.accepted) {
		count_add(COUNT_POLICIES_REFUSED, 1);
		log_warn("%s (%s): policy refused: %s", session->identity.name, session->address, msg.reason);
	}
	session_tell_policy_result(session, &msg);
	stream_hint_policy(&session->worker->archive, session->vm, true);
	return 0;
}

static int
session_hints_result(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_hints_result msg;

	if (msg_get_hints_result(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "HINTS_RESULT is malformed");
	stream_hint_result(&session->worker->archive, session->vm, &msg);
	return 0;
}

static int
session_ping(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_ping msg;

	if (msg_get_ping(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "PING is malformed");
	msg.wall_ns = clock_wall_ns();
	if (msg_put_pong(&session->worker->out, &msg) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	session_send(session);
	return 0;
}

static int
session_pong(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct msg_ping msg;

	if (msg_get_pong(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "PONG is malformed");
	session_told_clock(session, &msg);
	session_ponged(session, msg.token);
	return 0;
}

/* With a short life they come often; else one in a minute is plenty. */
static bool
session_may_renew(struct session *session)
{
	struct worker *worker = session->worker;
	const struct budget_rate rate = { .burst = SESSION_RENEWALS, .piece_ns = worker->enrol_life_ms < SESSION_RENEW_LIFE_MS ?
	    worker->enrol_life_ms * 1000000u / SESSION_RENEWALS : SESSION_RENEW_NS };

	return budget_take(&session->vm->renewals, &rate, 1);
}

static int
session_refuse_renewal(struct session *session, const char *reason)
{
	count_add(COUNT_RENEWALS_REFUSED, 1);
	if (certificate_put(&session->worker->out, reason, NULL) == 0)
		session_send(session);
	return 0;
}

static int
session_renew(struct session *session, const struct frame *frame, struct fault *fault)
{
	struct worker *worker = session->worker;
	struct msg_renew msg;

	if (msg_get_renew(frame, &msg) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "RENEW is malformed");
	if (session->renewal != 0)
		return fault_set(fault, MSG_ERR_PROTOCOL, "RENEW before the answer to another");
	if (!session_may_renew(session))
		return session_refuse_renewal(session, "certificates are asked for too often, try again later");
	session->renewal = ++worker->last_ticket;
	if (desk_renew(worker->all->desk, worker->inbox, session->renewal, &session->identity, &msg) == DESK_QUEUED)
		return 0;
	session->renewal = 0;
	return session_refuse_renewal(session, "the collector is busy, try again");
}

void
session_renewed(struct session *session, const struct note *note)
{
	session->renewal = 0;
	if (session->state == SESSION_OPEN && certificate_put(&session->worker->out, note->text, note->chain) == 0)
		session_send(session);
}

static int
session_ends(struct session *session, const struct frame *frame, struct fault *fault)
{
	bool bye = frame->type == FRAME_BYE;
	struct msg_end msg;

	if ((bye ? msg_get_bye(frame, &msg) : msg_get_error(frame, &msg)) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "%s is malformed", frame_type_name(frame->type));
	archive_clean_text(msg.text);
	log_info("%s (%s): the agent %s: %s", session->identity.name, session->address, bye ? "said BYE"
	    : "ended the session with an error", msg.text);
	session_close(session, "the agent ended the session");
	return 0;
}

static int (*const session_messages[FRAME_TYPE_MAX])(struct session *, const struct frame *, struct fault *) = {
	[FRAME_HELLO] = session_hello,
	[FRAME_INTERFACE] = session_interface,
	[FRAME_ADDRESSES] = session_addresses,
	[FRAME_POLICY_RESULT] = session_policy_result,
	[FRAME_HINTS_RESULT] = session_hints_result,
	[FRAME_BLOCK] = session_block,
	[FRAME_GAP] = session_gap,
	[FRAME_END] = session_end,
	[FRAME_STATS] = session_stats,
	[FRAME_RENEW] = session_renew,
	[FRAME_PING] = session_ping,
	[FRAME_PONG] = session_pong,
	[FRAME_BYE] = session_ends,
	[FRAME_ERROR] = session_ends,
};

int
session_check_type(const struct session *session, enum frame_type type, struct fault *fault)
{
	bool ends = type == FRAME_BYE || type == FRAME_ERROR;

	if (session_messages[type] == NULL)
		return fault_set(fault, MSG_ERR_PROTOCOL, "%s is not for a collector", frame_type_name(type));
	if (session->state == SESSION_OPEN && type == FRAME_HELLO)
		return fault_set(fault, MSG_ERR_PROTOCOL, "HELLO for a second time");
	if (session->state != SESSION_OPEN && type != FRAME_HELLO && !ends)
		return fault_set(fault, MSG_ERR_PROTOCOL, "%s before HELLO", frame_type_name(type));
	return 0;
}

int
session_message(struct session *session, const struct frame *frame, struct fault *fault)
{
	return session_messages[frame->type](session, frame, fault);
}
