/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_breaker.h"
#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_listen.h"
#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "agent/rpcap.h"
#include "agent/spool.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/codec.h"
#include "proto/frame.h"

#define HANDSHAKE_MS	10000
#define WELCOME_MS	10000
#define ENDING_MS	2000
#define LINGER_MS	1000
#define INPUT_MAX	(64u * 1024)	/* the largest frame that an agent is sent, HINTS, has 34 KiB */
#define READ_BUDGET	(64u * 1024)
#define KEEPALIVE_MIN_MS	1000

/* --- state --- */

static void
session_leave_tap(struct session *s)
{
	struct link_tap *tap = s->tap;

	s->tap = NULL;
	if (tap == NULL || tap->session != s)
		return;
	spool_count_add(tap->spool, COUNTER_BYTES_SENT, STATS_AGENT, session_count_bytes(s));
	if (tap->backlog.disk == NULL)
		event_del(tap->wake);
	tap_detach(s->link, tap);
	session_limit_all(s->link);
}

static void
change_state(struct session *s, enum session_state state)
{
	static const unsigned limit_ms[] = { [SESSION_HELLO] = WELCOME_MS, [SESSION_ENDING] = ENDING_MS, [SESSION_CLOSED] = 0 };

	s->state = state;
	if (state == SESSION_LIVE) {
		s->was_live = true;
		s->live_ns = s->stats_ns = clock_mono_ns();
		life_start(s);
	} else if (limit_ms[state] > 0)
		link_timer_set(s->timer, limit_ms[state] * LINK_MS);
	if (state == SESSION_ENDING) {
		s->sender.started = false;
		sender_limit(&s->sender, 0, 0, 0);
		session_leave_tap(s);
	}
	listener_check(s->link->listener);
}

/* --- sending --- */

static size_t
session_out(void *arg, const void *bytes, size_t len)
{
	struct session *s = arg;

	return tlsio_send(s->io, bytes, len);
}

static void
session_sent_all(struct session *s)
{
	if (s->state == SESSION_ENDING && sender_between_frames(&s->sender))
		tlsio_shutdown(s->io, s->why, s->peer_gone ? 0 : LINGER_MS);
	else if (s->state == SESSION_LIVE) {
		event_add(s->tap->wake, NULL);
		link_stop_check(s->link);
	}
}

/* What the governor goes by, in the capture role. */
static void
session_tell_costs(struct session *s)
{
	spool_count_set(s->link->tap[0].spool, COUNTER_CPU_LINK_US, STATS_AGENT, clock_cpu_us());
	if (s->tap != NULL)
		spool_count_add(s->tap->spool, COUNTER_BYTES_SENT, STATS_AGENT, session_count_bytes(s));
}

void
session_run(struct session *s)
{
	enum sender_result result;
	uint64_t before;

	if (s->state != SESSION_HELLO && s->state != SESSION_LIVE && s->state != SESSION_ENDING)
		return;
	before = s->sender.items;
	tlsio_cork(s->io);
	result = sender_run(&s->sender, clock_mono_ns());
	tlsio_uncork(s->io);
	if (s->sender.items != before)
		pulse_start(s->link);
	session_tell_costs(s);
	switch (result) {
	case SENDER_IDLE:
		/* Once: the end comes by here again, with the last STATS. */
		if (s->state == SESSION_LIVE && !s->more_streams && backlog_hello_due(&s->tap->backlog)) {
			s->more_streams = true;
			session_bye(s, 1, "there are more streams than HELLO can list");
			return;
		}
		session_sent_all(s);
		break;
	case SENDER_BLOCKED:
		break;
	case SENDER_LIMITED:
		link_timer_set(s->pacer, sender_wait_ns(&s->sender));
		break;
	case SENDER_MORE:
		link_timer_set(s->pacer, 0);
		break;
	case SENDER_FAILED:
		session_error(s, MSG_ERR_PROTOCOL, "%s", s->sender.error);
		break;
	}
}

static void
on_pacer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	session_run(arg);
}

void
session_put(struct session *s, int errs)
{
	if (errs == 0)
		session_run(s);
	else if (s->state != SESSION_ENDING)
		session_error(s, MSG_ERR_LIMIT, "more messages wait to be sent than there may be");
}

void
session_policy_result(struct session *s, uint64_t version, bool accepted, const char *reason)
{
	struct msg_policy_result result = { .version = version, .accepted = accepted };

	if (s->state != SESSION_LIVE)
		return;
	snprintf(result.reason, sizeof(result.reason), "%s", reason);
	session_put(s, msg_put_policy_result(&s->sender.control, &result));
}

void
session_stats(struct session *s)
{
	struct msg_stat stat[LINK_STATS_MAX];
	struct msg_stats msg;
	int errs;

	if (s->state != SESSION_LIVE || !stats_refresh(&s->tap->stats, s->tap->spool))
		return;
	stats_fill(&s->tap->stats, s->tap->spool, &msg, stat);
	s->stats_ns = clock_mono_ns();
	errs = sender_introduce(&s->sender, msg.stream);
	sender_stream_id(&s->sender, msg.stream, msg.stream);
	session_put(s, errs + msg_put_stats(&s->sender.control, &msg));
	session_addresses(s);
}

void
session_last_stats(struct session *s, const struct msg_stats *stats)
{
	struct msg_stats told = *stats;

	if (s->state != SESSION_LIVE)
		return;
	sender_stream_id(&s->sender, stats->stream, told.stream);
	session_put(s, sender_introduce(&s->sender, stats->stream) + msg_put_stats(&s->sender.control, &told));
}

/* --- ends --- */

static void
session_end(struct session *s, enum frame_type type, uint16_t code)
{
	struct msg_end end = { .code = code };

	if (s->state == SESSION_HANDSHAKE || s->state >= SESSION_ENDING)
		return;
	snprintf(end.text, sizeof(end.text), "%s", s->why);
	if (type == FRAME_BYE)
		session_stats(s);
	if (s->state >= SESSION_ENDING)
		return;
	change_state(s, SESSION_ENDING);
	/* If it does not fit, the end comes without a word. */
	(void)(type == FRAME_BYE ? msg_put_bye(&s->sender.control, &end) : msg_put_error(&s->sender.control, &end));
	session_run(s);
	if (s->peer_gone)
		tlsio_shutdown(s->io, s->why, 0);
}

void
session_error(struct session *s, enum msg_error code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(s->why, sizeof(s->why), format, ap);
	va_end(ap);
	log_warn("%s: %s", s->name, s->why);
	session_end(s, FRAME_ERROR, (uint16_t)code);
}

void
session_bye(struct session *s, uint16_t code, const char *why)
{
	snprintf(s->why, sizeof(s->why), "%s", why);
	if (s->state == SESSION_LIVE)
		log_info("%s: session ends: %s", s->name, why);
	session_end(s, FRAME_BYE, code);
}

void
session_ended(struct session *s, uint16_t peer_error, const char *text)
{
	s->peer_error = peer_error;
	s->peer_bye = peer_error == 0;
	snprintf(s->why, sizeof(s->why), "%s by the peer: %.400s", peer_error != 0 ? "refused" : "ended", text);
	change_state(s, SESSION_ENDING);
	sender_clear(&s->sender);
	tlsio_shutdown(s->io, s->why, LINGER_MS);
}

bool
session_done(const struct session *s)
{
	return s->state != SESSION_LIVE || (backlog_empty(&s->tap->backlog) && sender_between_frames(&s->sender));
}

/* --- who it is --- */

static struct link_tap *
operator_tap(struct link *link)
{
	size_t i;

	for (i = 1; i <= IPC_TAPS_OPERATORS; i++)
		if (tap_free(&link->tap[i]))
			return &link->tap[i];
	return NULL;
}

/* A live session goes on until this one is live too. */
static int
claim_collector(struct session *s)
{
	struct session *other = s->link->tap[0].session;

	if (other != NULL && strcmp(other->peer.name, s->peer.name) != 0) {
		session_error(s, MSG_ERR_LIMIT, "this agent has a session with %s already", other->name);
		return -1;
	}
	if (other != NULL && other->state != SESSION_LIVE)
		session_error(other, MSG_ERR_REPLACED, "a newer session of the same collector takes over");
	s->tap = &s->link->tap[0];
	return 0;
}

void
session_take_tap(struct session *s)
{
	struct session *other = s->tap->session;

	if (other == s)
		return;
	if (other != NULL)
		session_error(other, MSG_ERR_REPLACED, "a newer session of the same collector takes over");
	tap_attach(s->tap, s);
	session_limit_all(s->link);
}

static int
claim_operator(struct session *s)
{
	if (strcmp(s->peer.tenant, s->link->own.tenant) != 0) {
		session_error(s, MSG_ERR_TENANT, "operator of tenant %s, but this agent belongs to tenant %s", s->peer.tenant,
		    s->link->own.tenant);
		return -1;
	}
	if ((s->tap = operator_tap(s->link)) == NULL) {
		session_error(s, MSG_ERR_LIMIT, "%d operators pull from this agent already, which is the most",
		    IPC_TAPS_OPERATORS);
		return -1;
	}
	return 0;
}

static int
session_claim(struct session *s)
{
	int rc;

	if (s->peer.role == ROLE_COLLECTOR)
		rc = claim_collector(s);
	else if (s->peer.role == ROLE_OPERATOR && !s->dialled)
		rc = claim_operator(s);
	else {
		session_error(s, MSG_ERR_ROLE, "role %s where %s is wanted", identity_role_name(s->peer.role),
		    s->dialled ? "a collector" : "a collector or an operator");
		return -1;
	}
	if (rc == 0 && s->tap->session == NULL)
		tap_attach(s->tap, s);
	return rc;
}

static int
put_hello(struct session *s)
{
	struct spool_stream streams[MSG_STREAMS_MAX];
	struct msg_hello hello = { .version_min = FRAME_VERSION, .version_max = FRAME_VERSION };
	size_t i, count = backlog_streams(&s->tap->backlog, streams);

	memcpy(hello.instance, s->link->instance, sizeof(hello.instance));
	snprintf(hello.software, sizeof(hello.software), "vmtap-agent %s", PACKAGE_VERSION);
	memcpy(hello.os, s->link->os, sizeof(hello.os));
	memcpy(hello.hardware, s->link->hardware, sizeof(hello.hardware));
	hello.codecs = codec_mask();
	hello.wall_ns = clock_wall_ns();
	hello.stream_count = (uint16_t)count;
	s->listed_count = count;
	for (i = 0; i < count; i++) {
		sender_stream_id(&s->sender, streams[i].id, hello.stream[i].id);
		memcpy(s->listed[i], streams[i].id, MSG_ID_SIZE);
		hello.stream[i].started_ns = streams[i].started_ns;
		hello.stream[i].first = streams[i].first;
		hello.stream[i].last = streams[i].last;
	}
	return msg_put_hello(&s->sender.control, &hello);
}

static void
on_opened(struct tlsio *io, void *arg)
{
	struct session *s = arg;

	snprintf(s->name, sizeof(s->name), "%s (%s)", tlsio_peer_common_name(io), tlsio_peer_address(io));
	change_state(s, SESSION_HELLO);
	if (identity_parse(tlsio_peer_uri(io), tlsio_peer_common_name(io), &s->peer) == -1) {
		session_error(s, MSG_ERR_ROLE, "no vmtap role in the certificate (\"%s\")", tlsio_peer_uri(io));
		return;
	}
	snprintf(s->name, sizeof(s->name), "%s %s (%s)", identity_role_name(s->peer.role), s->peer.name, tlsio_peer_address(io));
	if (s->why[0] != '\0')		/* it was ended before anything could be said */
		session_end(s, FRAME_BYE, 0);
	if (s->state != SESSION_HELLO || session_claim(s) == -1)
		return;
	sender_init(&s->sender, &s->tap->backlog, session_out, s);
	s->sender.pull = s->tap->number > 0;
	if (s->tap->number == 0)
		enroll_mask_streams(s->link, s->sender.mask);
	s->sender.held = breaker_holds(s->link->breaker);
	session_limit_all(s->link);
	session_put(s, put_hello(s));
}

void
session_begin(struct session *s, uint32_t codecs, uint32_t keepalive_ms)
{
	s->keepalive_ms = (uint32_t)s->link->options.keepalive_ms;
	if (keepalive_ms > 0 && keepalive_ms < s->keepalive_ms)
		s->keepalive_ms = keepalive_ms;
	if (s->keepalive_ms < KEEPALIVE_MIN_MS)
		s->keepalive_ms = KEEPALIVE_MIN_MS;
	change_state(s, SESSION_LIVE);
	log_info("session with %s", s->name);
	spool_count_add(s->tap->spool, COUNTER_CONNECTS, STATS_AGENT, 1);
	sender_start(&s->sender, codecs);
	s->tap->wanted = true;
	if (s->tap->number == 0)
		hints_session(s->link);
	tap_update(s->link, s->tap);
	session_stats(s);
	session_run(s);
	if (s->tap->number == 0) {
		enroll_session_live(s->link, s);
		renew_session_live(s->link);
	}
}

static void
on_readable(struct tlsio *io, void *arg)
{
	struct session *s = arg;
	struct buf *input = tlsio_input(io);

	if (s->state == SESSION_LIVE)
		life_heard(s);
	if (s->state == SESSION_HELLO || s->state == SESSION_LIVE)
		while (message_take(s, input))
			;
	if (s->state == SESSION_ENDING)
		buf_consume(input, input->len);
	tlsio_input_taken(io);
}

static void
on_writable(struct tlsio *io, void *arg)
{
	(void)io;
	session_run(arg);
}

/* --- time --- */

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	if (s->state == SESSION_HELLO)
		session_error(s, MSG_ERR_TIMEOUT, "no WELCOME within %d s", WELCOME_MS / 1000);
	else if (s->state == SESSION_LIVE)
		life_check(s);
	else if (s->state == SESSION_ENDING)
		tlsio_shutdown(s->io, s->why, 0);
}

/* --- life --- */

static void
log_closed(struct session *s, const char *why)
{
	static struct log_limit limit;

	if (s->state == SESSION_HANDSHAKE && !s->dialled)
		log_limited(&limit, 10000, LOG_LEVEL_WARN, "a connection was refused: %s", why);
	else if (s->state == SESSION_LIVE || s->state == SESSION_HELLO)
		log_warn("%s: session lost: %s", s->name, why);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	struct session *s = arg;
	struct link *link = s->link;

	(void)io;
	log_closed(s, why);
	if (s->why[0] == '\0')
		snprintf(s->why, sizeof(s->why), "%s", why);
	session_leave_tap(s);
	change_state(s, SESSION_CLOSED);
	renew_session_ended(link, s);
	dial_session_closed(link->dial, s);
	enroll_session_ended(link, s);
	session_free(s);
	link_stop_check(link);
}

struct session *
session_new(struct link *link, int fd, enum tlsio_side side, const char *expect_host)
{
	static const struct tlsio_callbacks callbacks = { on_opened, on_readable, on_writable, on_closed };
	struct tlsio_options options = {
		.side = side, .expect_host = expect_host, .handshake_ms = HANDSHAKE_MS, .input_max = INPUT_MAX,
		.read_budget = READ_BUDGET,
	};
	struct session *s = calloc(1, sizeof(*s));

	if (s != NULL) {
		s->link = link;
		s->dialled = side == TLSIO_CLIENT;
		memcpy(s->certificate, tls_context_fingerprint(link->tls), sizeof(s->certificate));
		s->not_after = tls_context_not_after(link->tls);
		s->io = tlsio_new(link->base, link->tls, fd, &options, &callbacks, s);
	}
	if (s == NULL || s->io == NULL) {
		log_error("no session: out of memory");
		close(fd);
		free(s);
		return NULL;
	}
	s->timer = link_timer_new(link, on_timer, s);
	s->pacer = link_timer_new(link, on_pacer, s);
	sender_init(&s->sender, NULL, session_out, s);
	TAILQ_INSERT_TAIL(&link->sessions, s, entry);
	return s;
}

/* What no tap counted: of a session beside the one that had it, and after it was left. An operator's tap ends with its session. */
static void
session_count_rest(struct session *s)
{
	uint64_t rest = session_count_bytes(s);

	if (s->peer.role != ROLE_OPERATOR)
		spool_count_add(s->link->tap[0].spool, COUNTER_BYTES_SENT, STATS_AGENT, rest);
}

void
session_free(struct session *s)
{
	session_leave_tap(s);
	session_count_rest(s);
	TAILQ_REMOVE(&s->link->sessions, s, entry);
	event_free(s->timer);
	event_free(s->pacer);
	sender_clear(&s->sender);
	tlsio_free(s->io);
	listener_check(s->link->listener);
	free(s);
}

/* --- all of them --- */

uint64_t
session_count_bytes(struct session *s)
{
	uint64_t now = tlsio_bytes_out(s->io), fresh = now - s->bytes_counted;

	s->bytes_counted = now;
	s->link->sent += fresh;
	return fresh;
}

uint64_t
session_unsent(const struct session *s)
{
	int waiting = 0;

	if (ioctl(tlsio_fd(s->io), SIOCOUTQ, &waiting) == -1 || waiting < 0)
		waiting = 0;
	return (uint64_t)waiting + tlsio_queued(s->io);
}

void
session_hold_all(struct link *link, bool held)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&link->sessions); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (s->sender.held == held)
			continue;
		s->sender.held = held;
		session_run(s);
	}
}

static struct tokens *
tokens_of(struct link_tap *tap)
{
	if (tap->rpcap != NULL)
		return rpcap_tokens(tap);
	return tap->session != NULL ? &tap->session->sender.tokens : NULL;
}

void
session_limit_all(struct link *link)
{
	uint64_t bits, burst = tap_rate_burst(link), now_ns = clock_mono_ns();
	struct tokens *tokens;
	size_t i;

	for (i = 0; i < IPC_TAPS_MAX; i++) {
		if ((tokens = tokens_of(&link->tap[i])) == NULL)
			continue;
		bits = tap_rate_limit(link, &link->tap[i]);
		if (bits != tokens->bits || burst != tokens->burst)
			tokens_limit(tokens, bits, burst, now_ns);
	}
}

size_t
session_count_unsettled(const struct link *link)
{
	const struct session *s;
	size_t count = 0;

	TAILQ_FOREACH(s, &link->sessions, entry)
		count += !s->dialled && s->state != SESSION_LIVE;
	return count;
}
