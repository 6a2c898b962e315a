/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <jansson.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/tls.h"
#include "proto/frame.h"

#include "collector/counts.h"
#include "collector/enrol_session.h"
#include "collector/quota.h"
#include "collector/revoked.h"
#include "collector/session.h"
#include "collector/store.h"
#include "collector/stream.h"
#include "collector/stream_hint.h"
#include "collector/tenant.h"
#include "collector/worker.h"

#define SESSION_INPUT_MAX	(1024u * 1024)	/* above the largest frame */
#define SESSION_READ_BUDGET	(256u * 1024)
#define SESSION_SLICE_NS	10000000u	/* a small block may be much to decode: then others have their turn */

static const char *const session_state_names[] = {
	[SESSION_HANDSHAKE] = "handshake",
	[SESSION_HELLO] = "hello",
	[SESSION_CONTENDING] = "contending",
	[SESSION_OPEN] = "open",
	[SESSION_CLOSING] = "closing",
};

void
session_set_timer(struct session *session, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(session->timer, &tv);
}

static void	session_start_keepalive(struct session *);

void
session_change_state(struct session *session, enum session_state state)
{
	if (session->state == SESSION_HANDSHAKE)
		session->worker->handshakes--;
	session->state = state;
	switch (state) {
	case SESSION_HELLO:
		session_set_timer(session, SESSION_HELLO_MS);
		break;
	case SESSION_CONTENDING:
		tlsio_read_stop(session->tls);
		session_set_timer(session, SESSION_CONTEND_MS);
		break;
	case SESSION_OPEN:
		session_end_waiting(session);
		session_start_keepalive(session);
		break;
	case SESSION_HANDSHAKE:
	case SESSION_CLOSING:
		event_del(session->timer);
		break;
	}
}

/* What is in worker->out goes to the peer; -1: it does not take it. */
static int
session_flush(struct session *session)
{
	struct buf *out = &session->worker->out;
	int rc = tlsio_write(session->tls, out->data, out->len);

	buf_consume(out, out->len);
	return rc;
}

void
session_close(struct session *session, const char *why)
{
	session_flush(session);
	session_change_state(session, SESSION_CLOSING);
	session_leave_vm(session);
	tlsio_shutdown(session->tls, why, SESSION_LINGER_MS);
}

/* Anything may be failed at any time, also from another session's message. */
void
session_fail(struct session *session, const struct fault *fault)
{
	struct msg_end end = { .code = (uint16_t)fault->code };

	if (session->state == SESSION_CLOSING)
		return;
	count_add(COUNT_ERRORS + fault->code, 1);
	log_limited(&session->worker->fault_limit, SESSION_LOG_MS, LOG_LEVEL_WARN, "%s (%s): session ended: %s",
	    session->identity.name[0] != '\0' ? session->identity.name : "agent", session->address, fault->text);
	snprintf(end.text, sizeof(end.text), "%s", fault->text);
	msg_put_error(&session->worker->out, &end);
	session_close(session, fault->text);
}

void
session_bye(struct session *session, uint16_t code, const char *text)
{
	struct msg_end end = { .code = code };

	if (session->state == SESSION_CLOSING)
		return;
	snprintf(end.text, sizeof(end.text), "%s", text);
	if (session->state != SESSION_HANDSHAKE)
		msg_put_bye(&session->worker->out, &end);
	session_close(session, text);
}

int
session_send(struct session *session)
{
	struct fault fault;

	if (session_flush(session) == 0)
		return 0;
	fault_set(&fault, MSG_ERR_LIMIT, "the agent does not read what it is sent");
	session_fail(session, &fault);
	return -1;
}

void
session_acknowledge(struct session *session, struct stream *stream)
{
	struct msg_mark mark = { .number = stream->durable };

	stream->ack_wanted = false;
	if (session->state != SESSION_OPEN || !stream->told)
		return;
	memcpy(mark.stream, stream->id, MSG_ID_SIZE);
	if (msg_put_ack(&session->worker->out, &mark) == 0)
		session_send(session);
}

static void
session_acknowledge_repeats(struct session *session)
{
	struct stream *stream;

	TAILQ_FOREACH(stream, &session->vm->streams, entry)
		if (stream->ack_wanted)
			session_acknowledge(session, stream);
}

/* One frame from the front of data; how many bytes it took, 0: not whole yet, or the session is failed. */
static size_t
session_frame(struct session *session, const uint8_t *data, size_t len)
{
	struct fault fault;
	struct frame frame;
	enum frame_error error = frame_parse(data, len, &frame);

	if (len < FRAME_HEADER_SIZE)
		return 0;
	if (error != FRAME_OK && error != FRAME_MORE)
		fault_set(&fault, MSG_ERR_PROTOCOL, "frame: %s", frame_error_text(error));
	else if (session_check_type(session, (enum frame_type)(data[0] << 8 | data[1]), &fault) == 0) {
		if (error == FRAME_MORE)
			return 0;
		if (session_message(session, &frame, &fault) == 0)
			return FRAME_HEADER_SIZE + frame.length;
	}
	session_fail(session, &fault);
	return 0;
}

static bool
session_may_take(const struct session *session)
{
	if (session->state == SESSION_HELLO)
		return !session->worker->stopping;
	return session->state == SESSION_OPEN && !session->worker->paused && !session->throttled;
}

/* What the tenant has beyond its rate waits in the agents, which count what they lose by that. */
static void
session_charge(struct session *session, size_t bytes)
{
	if (session->state != SESSION_OPEN || session->use == NULL)
		return;
	tenant_use_receive(session->use, bytes);
	if (session->throttled || tenant_use_may_receive(session->use))
		return;
	session->throttled = true;
	tlsio_read_stop(session->tls);
	worker_throttle(session->worker);
}

void
session_go_on(struct session *session)
{
	if (!tenant_use_may_receive(session->use)) {
		worker_throttle(session->worker);
		return;
	}
	session->throttled = false;
	session_input(session);
	if (session->state == SESSION_OPEN && !session->worker->paused && !session->throttled)
		tlsio_read_start(session->tls);
}

void
session_end_waiting(struct session *session)
{
	if (session->waiting)
		atomic_fetch_sub(&session->use->waiting, 1);
	session->waiting = false;
}

void
session_input(struct session *session)
{
	struct buf *input = tlsio_input(session->tls);
	uint64_t until_ns = clock_mono_ns() + SESSION_SLICE_NS;
	size_t taken = 0, n;

	session->backlog = false;
	while (!session->backlog && taken < input->len && session_may_take(session) &&
	    (n = session_frame(session, input->data + taken, input->len - taken)) > 0) {
		taken += n;
		session_charge(session, n);
		worker_consider_commit(session->worker);
		session->backlog = clock_mono_ns() >= until_ns;
	}
	if (session->backlog)
		worker_come_back(session->worker);
	if (session->state == SESSION_CLOSING)
		taken = input->len;
	buf_consume(input, taken);
	tlsio_input_taken(session->tls);
	if (session->state == SESSION_OPEN)
		session_acknowledge_repeats(session);
}

static void
session_readable(struct tlsio *tls, void *arg)
{
	struct session *session = arg;

	(void)tls;
	if (session->state == SESSION_OPEN)
		keepalive_heard(&session->alive, clock_mono_ns());
	session_input(session);
}

static void
session_closed(struct tlsio *tls, const char *why, void *arg)
{
	struct session *session = arg;
	struct worker *worker = session->worker;

	if (session->state == SESSION_HANDSHAKE) {
		count_add(COUNT_HANDSHAKES_FAILED, 1);
		log_limited(&worker->connect_limit, SESSION_LOG_MS, LOG_LEVEL_WARN, "%s: %s",
		    tlsio_peer_address(tls)[0] != '\0' ? tlsio_peer_address(tls) : session->address, why);
	} else if (session->state != SESSION_CLOSING)
		log_info("%s (%s): session closed: %s", session->identity.name, session->address, why);
	session_leave_vm(session);
	session_free(session);
	if (worker->finished && TAILQ_EMPTY(&worker->sessions))
		event_base_loopbreak(worker->base);
	else
		worker_consider_commit(worker);
}

static bool
session_tenant_allowed(const struct conf_list *tenants, const char *tenant)
{
	for (size_t i = 0; i < tenants->count; i++)
		if (strcmp(tenants->value[i], tenant) == 0)
			return true;
	return tenants->count == 0;
}

void
session_revoked(struct session *session)
{
	struct fault fault;

	fault_set(&fault, MSG_ERR_REVOKED, "the VM has been revoked");
	session_fail(session, &fault);
}

static int
session_check_identity(struct session *session, struct fault *fault)
{
	const char *uri = tlsio_peer_uri(session->tls);

	if (identity_parse(uri, tlsio_peer_common_name(session->tls), &session->identity) == -1)
		return fault_set(fault, MSG_ERR_ROLE, "the certificate says nothing vmtap understands: URI \"%.100s\"", uri);
	if (session->identity.role != ROLE_AGENT)
		return fault_set(fault, MSG_ERR_ROLE, "an agent's certificate is needed here, this one is of role %s",
		    identity_role_name(session->identity.role));
	if (!store_tenant_fits(session->identity.tenant) ||
	    !session_tenant_allowed(session->worker->all->tenants, session->identity.tenant))
		return fault_set(fault, MSG_ERR_TENANT, "this collector does not take agents of tenant %s",
		    session->identity.tenant);
	if (revoked_has(session->worker->all->revoked, session->identity.uuid))
		return fault_set(fault, MSG_ERR_REVOKED, "the VM has been revoked");
	if ((session->use = tenants_use(session->worker->all->known, session->identity.tenant)) == NULL)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	if (!(session->waiting = quota_take_waiting(&session->use->waiting))) {
		count_add(COUNT_SESSIONS_REFUSED, 1);
		return fault_set(fault, MSG_ERR_LIMIT, "too many connections of tenant %s that have not opened a session",
		    session->identity.tenant);
	}
	return 0;
}

/* To the VM's home, unless that is here. */
static void
session_go_home(struct session *session)
{
	struct worker *worker = session->worker;
	unsigned home = workers_home(worker->all, session->identity.uuid);
	struct note *note;

	if (home == worker->index) {
		session_input(session);
		return;
	}
	event_free(session->timer);
	session->timer = NULL;
	TAILQ_REMOVE(&worker->sessions, session, entry);
	tlsio_detach(session->tls);
	session->worker = NULL;
	note = note_new(NOTE_SESSION);
	note->session = session;
	mailbox_post(worker->all->worker[home].inbox, note);
}

/* Only what the connection is stays: its descriptor and its place among the connections. */
static void
session_hand_over(struct session *session, void (*take)(struct worker *, struct tlsio *))
{
	struct worker *worker = session->worker;
	struct tlsio *tls = session->tls;

	session->worker->handshakes--;
	TAILQ_REMOVE(&worker->sessions, session, entry);
	event_free(session->timer);
	free(session);
	take(worker, tls);
}

static void
session_opened(struct tlsio *tls, void *arg)
{
	struct session *session = arg;
	struct fault fault;

	if (strcmp(tlsio_alpn(tls), FRAME_ALPN_ENROLL) == 0) {
		session_hand_over(session, enrol_session_new);
		return;
	}
	snprintf(session->address, sizeof(session->address), "%s", tlsio_peer_address(tls));
	session_change_state(session, SESSION_HELLO);
	if (strcmp(tlsio_alpn(tls), FRAME_ALPN_CTL) == 0)
		session_operator(session);
	else if (session_check_identity(session, &fault) == -1)
		session_fail(session, &fault);
	else
		session_go_home(session);
}

/* The timer is not set anew for each byte: it finds out by itself that there is nothing to do yet. */
static void
session_set_keepalive_timer(struct session *session, uint64_t now_ns)
{
	session_set_timer(session, keepalive_wait_ns(&session->alive, now_ns) / 1000000u + 1);
}

static void
session_start_keepalive(struct session *session)
{
	uint64_t now_ns = clock_mono_ns(), time_ns = session->worker->keepalive_ms * 1000000u;

	keepalive_start(&session->alive, time_ns, time_ns / 3, now_ns);
	session_set_keepalive_timer(session, now_ns);
}

void
session_ask(struct session *session)
{
	struct msg_ping ping = { .token = clock_mono_ns(), .wall_ns = clock_wall_ns() };

	if (msg_put_ping(&session->worker->out, &ping) == 0)
		session_send(session);
}

/* While it is we who do not listen, nobody is dead; but the agent, which hears nothing else from us, is told that we live. */
static void
session_keep_alive(struct session *session)
{
	uint64_t now_ns = clock_mono_ns();
	enum keepalive_verdict verdict = keepalive_check(&session->alive, now_ns);
	struct fault fault;

	if (session->worker->paused || session->throttled) {
		keepalive_heard(&session->alive, now_ns);
		verdict = KEEPALIVE_ASK;
	}
	if (verdict == KEEPALIVE_DEAD) {
		fault_set(&fault, MSG_ERR_TIMEOUT, "nothing was heard for %llu s",
		    (unsigned long long)((now_ns - session->alive.heard_ns) / 1000000000u));
		session_fail(session, &fault);
		return;
	}
	session_set_keepalive_timer(session, now_ns);
	if (verdict == KEEPALIVE_ASK)
		session_ask(session);
}

static void
session_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct session *session = arg;
	struct fault fault;

	(void)fd;
	(void)events;
	switch (session->state) {
	case SESSION_HELLO:
		fault_set(&fault, MSG_ERR_TIMEOUT, "no HELLO within %u s", SESSION_HELLO_MS / 1000);
		session_fail(session, &fault);
		break;
	case SESSION_CONTENDING:
		session_contend_timeout(session);
		break;
	case SESSION_OPEN:
		session_keep_alive(session);
		break;
	case SESSION_HANDSHAKE:
	case SESSION_CLOSING:
		break;
	}
}

static void
session_end_pull(struct worker *worker, int pull, bool good)
{
	struct note *note;

	if (pull == -1)
		return;
	note = note_new(NOTE_PULL_ENDED);
	note->pull = pull;
	note->good = good;
	mailbox_post(worker->all->main, note);
}

static struct session *
session_allocate(struct worker *worker, int fd, int pull)
{
	static const struct tlsio_callbacks callbacks = { .opened = session_opened, .readable = session_readable,
	    .closed = session_closed };
	const struct tlsio_options options = { .side = pull == -1 ? TLSIO_SERVER : TLSIO_CLIENT,
	    .handshake_ms = SESSION_HANDSHAKE_MS, .input_max = SESSION_INPUT_MAX, .read_budget = SESSION_READ_BUDGET };
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->pull = pull;
	session->timer = evtimer_new(worker->base, session_timeout, session);
	if (session->timer != NULL)
		session->tls = tlsio_new(worker->base, worker->tls, fd, &options, &callbacks, session);
	if (session->tls != NULL)
		return session;
	if (session->timer != NULL)
		event_free(session->timer);
	free(session);
	return NULL;
}

void
session_new(struct worker *worker, int fd, int pull, const char *name)
{
	struct session *session = NULL;

	count_add(COUNT_CONNECTIONS, 1);
	if (worker->handshakes < HANDSHAKES_MAX && quota_take_connection() &&
	    (session = session_allocate(worker, fd, pull)) == NULL)
		quota_give_connection();
	if (session == NULL) {
		count_add(COUNT_CONNECTIONS_DROPPED, 1);
		log_limited(&worker->connect_limit, SESSION_LOG_MS, LOG_LEVEL_WARN,
		    "connection dropped: no memory, %u others that have not shown who they are, or no descriptors (limit of open"
		    " files: %" PRIu64 ")", HANDSHAKES_MAX, quota_descriptors());
		close(fd);
		session_end_pull(worker, pull, false);
		return;
	}
	session->worker = worker;
	snprintf(session->address, sizeof(session->address), "%.*s", (int)sizeof(session->address) - 1, name);
	worker->handshakes++;
	TAILQ_INSERT_TAIL(&worker->sessions, session, entry);
}

void
session_arrive(struct worker *worker, struct session *session)
{
	session->worker = worker;
	TAILQ_INSERT_TAIL(&worker->sessions, session, entry);
	session->timer = evtimer_new(worker->base, session_timeout, session);
	if (session->timer == NULL || tlsio_attach(session->tls, worker->base) == -1) {
		log_error("%s: cannot be taken over by its worker", session->address);
		session_free(session);
		return;
	}
	session_change_state(session, SESSION_HELLO);
	session_input(session);
}

void
session_free(struct session *session)
{
	if (session == NULL)
		return;
	if (session->worker != NULL) {
		if (session->state == SESSION_HANDSHAKE)
			session->worker->handshakes--;
		TAILQ_REMOVE(&session->worker->sessions, session, entry);
		session_end_pull(session->worker, session->pull, session->welcomed);
	}
	if (session->timer != NULL)
		event_free(session->timer);
	session_end_waiting(session);
	if (session->tls != NULL) {
		tlsio_free(session->tls);
		quota_give_connection();
	}
	free(session->hello);
	free(session);
}

struct json_t *
session_status(const struct session *session)
{
	char since[CLOCK_ISO_SIZE] = "";

	if (session->since_ns != 0)
		clock_iso(session->since_ns, since, sizeof(since));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "vm", session->identity.uuid, "name",
	    session->identity.name, "tenant", session->identity.tenant, "address", session->address, "state",
	    session_state_names[session->state], "since", since, "dedup",
	    policy_dedup_name(session->vm != NULL ? session->vm->dedup.mode : DEDUP_OFF), "withholds",
	    (json_int_t)stream_hint_withholds(&session->worker->archive, session->vm), "bytes_in", (json_int_t)tlsio_bytes_in(session->tls),
	    "bytes_per_second", (json_int_t)session->bytes_per_second, "blocks", (json_int_t)session->blocks, "gaps",
	    (json_int_t)session->gaps, "certificate_ends", (json_int_t)tlsio_peer_not_after(session->tls));
}
