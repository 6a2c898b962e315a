/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/tls.h"
#include "proto/frame.h"
#include "proto/msg.h"

#include "collector/certificate.h"
#include "collector/counts.h"
#include "collector/enrol_desk.h"
#include "collector/enrol_session.h"
#include "collector/note.h"
#include "collector/quota.h"
#include "collector/worker.h"

#define ENROL_LINGER_MS	2000u
#define ENROL_LOG_MS	1000u

enum enrol_state {
	ENROL_SILENT,		/* ENROLL must come */
	ENROL_ASKED,		/* the desk has it */
	ENROL_CLOSING
};

struct enrol_session {
	TAILQ_ENTRY(enrol_session) entry;	/* of worker->enrols, the oldest first */
	struct worker		*worker;
	struct tlsio		*tls;
	enum enrol_state	 state;
	struct event		*timer;
	uint64_t		 ticket;
};

void
enrol_session_free(struct enrol_session *enrol)
{
	if (enrol == NULL)
		return;
	TAILQ_REMOVE(&enrol->worker->enrols, enrol, entry);
	enrol->worker->enrol_count--;
	if (enrol->timer != NULL)
		event_free(enrol->timer);
	tlsio_free(enrol->tls);
	quota_give_connection();
	free(enrol);
}

static void
enrol_set_timer(struct enrol_session *enrol, unsigned ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(enrol->timer, &tv);
}

/* What is in worker->out goes out. */
static void
enrol_close(struct enrol_session *enrol, const char *why)
{
	struct buf *out = &enrol->worker->out;

	tlsio_write(enrol->tls, out->data, out->len);
	buf_consume(out, out->len);
	enrol->state = ENROL_CLOSING;
	event_del(enrol->timer);
	tlsio_shutdown(enrol->tls, why, ENROL_LINGER_MS);
}

static void
enrol_fail(struct enrol_session *enrol, enum msg_error code, const char *text)
{
	struct msg_end end = { .code = (uint16_t)code };

	count_add(COUNT_ERRORS + code, 1);
	snprintf(end.text, sizeof(end.text), "%s", text);
	msg_put_error(&enrol->worker->out, &end);
	enrol_close(enrol, text);
}

/* A stranger learns that it is refused, and nothing else. */
static void
enrol_refuse_stranger(struct enrol_session *enrol)
{
	enrol_fail(enrol, MSG_ERR_TOKEN, "enrolment is refused");
}

/* No word on the token, which the holder is to try again soon. */
static void
enrol_refuse_busy(struct enrol_session *enrol)
{
	count_add(COUNT_ENROL_FAILED, 1);
	log_limited(&enrol->worker->connect_limit, ENROL_LOG_MS, LOG_LEVEL_WARN, "%s: enrolment put off: too many wait, or the same"
	    " token is tried too often", tlsio_peer_address(enrol->tls));
	enrol_fail(enrol, MSG_ERR_LIMIT, "the collector is busy");
}

static void
enrol_ask(struct enrol_session *enrol, const struct msg_enroll *msg)
{
	const struct desk_enrol wanted = { .token = msg->token, .wish = msg->name, .address = tlsio_peer_address(enrol->tls),
	    .csr = msg->csr, .csr_len = msg->csr_len };

	enrol->ticket = ++enrol->worker->last_ticket;
	switch (desk_enrol(enrol->worker->all->desk, enrol->worker->inbox, enrol->ticket, &wanted)) {
	case DESK_QUEUED:
		enrol->state = ENROL_ASKED;
		enrol_set_timer(enrol, ENROL_ANSWER_MS);
		break;
	case DESK_BUSY:
		enrol_refuse_busy(enrol);
		break;
	case DESK_STRANGER:
		count_add(COUNT_ENROL_STRANGERS, 1);
		log_limited(&enrol->worker->connect_limit, ENROL_LOG_MS, LOG_LEVEL_WARN, "%s: enrolment refused: the token is none, or"
		    " unknown like too many before", tlsio_peer_address(enrol->tls));
		enrol_refuse_stranger(enrol);
		break;
	}
}

/* Sent once, with nothing behind it. */
static void
enrol_message(struct enrol_session *enrol, const struct frame *frame, size_t len)
{
	struct msg_enroll msg;

	if (len != FRAME_HEADER_SIZE + frame->length || msg_get_enroll(frame, &msg) == -1) {
		enrol_fail(enrol, MSG_ERR_PROTOCOL, "ENROLL is malformed");
		return;
	}
	tlsio_read_stop(enrol->tls);
	enrol_ask(enrol, &msg);
	explicit_bzero(&msg, sizeof(msg));
}

/* The type is known from the header: nobody fills memory with what has no chance. */
static void
enrol_readable(struct tlsio *tls, void *arg)
{
	struct enrol_session *enrol = arg;
	struct buf *input = tlsio_input(tls);
	struct frame frame;
	enum frame_error error = frame_parse(input->data, input->len, &frame);
	bool headed = input->len >= FRAME_HEADER_SIZE;

	if (enrol->state == ENROL_SILENT && headed) {
		if ((error != FRAME_OK && error != FRAME_MORE) || (input->data[0] << 8 | input->data[1]) != FRAME_ENROLL)
			enrol_fail(enrol, MSG_ERR_PROTOCOL, "ENROLL is expected here");
		else if (error == FRAME_OK)
			enrol_message(enrol, &frame, input->len);
	}
	if (enrol->state == ENROL_SILENT)
		return;
	if (input->len > 0)
		explicit_bzero(input->data, input->len);
	buf_consume(input, input->len);
	tlsio_input_taken(tls);
}

static void
enrol_closed(struct tlsio *tls, const char *why, void *arg)
{
	struct enrol_session *enrol = arg;

	if (enrol->state != ENROL_CLOSING)
		log_limited(&enrol->worker->connect_limit, ENROL_LOG_MS, LOG_LEVEL_INFO, "%s: enrolment broken off: %s",
		    tlsio_peer_address(tls), why);
	enrol_session_free(enrol);
}

static void
enrol_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct enrol_session *enrol = arg;

	(void)fd;
	(void)events;
	if (enrol->state == ENROL_SILENT)
		enrol_fail(enrol, MSG_ERR_TIMEOUT, "no ENROLL came in time");
	else if (enrol->state == ENROL_ASKED)
		enrol_refuse_busy(enrol);
}

/* Who has a token says so at once. */
static void
enrol_make_room(struct worker *worker)
{
	struct enrol_session *enrol;

	TAILQ_FOREACH(enrol, &worker->enrols, entry)
		if (enrol->state != ENROL_ASKED) {
			count_add(COUNT_CONNECTIONS_DROPPED, 1);
			enrol_session_free(enrol);
			return;
		}
}

void
enrol_session_new(struct worker *worker, struct tlsio *tls)
{
	static const struct tlsio_callbacks callbacks = { .readable = enrol_readable, .closed = enrol_closed };
	struct enrol_session *enrol = calloc(1, sizeof(*enrol));

	if (worker->enrol_count >= ENROLS_MAX)
		enrol_make_room(worker);
	if (enrol == NULL || worker->enrol_count >= ENROLS_MAX ||
	    (enrol->timer = evtimer_new(worker->base, enrol_timeout, enrol)) == NULL) {
		count_add(COUNT_CONNECTIONS_DROPPED, 1);
		free(enrol);
		tlsio_free(tls);
		quota_give_connection();
		return;
	}
	enrol->worker = worker;
	enrol->tls = tls;
	TAILQ_INSERT_TAIL(&worker->enrols, enrol, entry);
	worker->enrol_count++;
	tlsio_set_owner(tls, &callbacks, enrol);
	enrol_set_timer(enrol, ENROL_SAY_MS);
}

int
enrol_session_answer(struct worker *worker, struct note *note)
{
	struct enrol_session *enrol;

	TAILQ_FOREACH(enrol, &worker->enrols, entry)
		if (enrol->state == ENROL_ASKED && enrol->ticket == note->token) {
			if (!note->good && note->text[0] == '\0')
				enrol_refuse_stranger(enrol);
			else if (note->later)
				enrol_fail(enrol, MSG_ERR_LIMIT, note->text);
			else {
				certificate_put(&worker->out, note->text, note->chain);
				enrol_close(enrol, "answered");
			}
			return 1;
		}
	return 0;
}
