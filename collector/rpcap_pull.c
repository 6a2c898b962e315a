/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <jansson.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/tls.h"

#include "collector/counts.h"
#include "collector/policy.h"
#include "collector/quota.h"
#include "collector/revoked.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/tenant.h"
#include "collector/worker.h"

#define DATA_INPUT_MAX		(1024u * 1024)
#define DATA_READ_BUDGET	(256u * 1024)
#define CONTROL_READ_BUDGET	(16u * 1024)

static const char *const state_names[] = {
	[RPCAP_PULL_CONNECTING] = "connecting", [RPCAP_PULL_AUTH] = "authenticating", [RPCAP_PULL_OPEN] = "opening",
	[RPCAP_PULL_STARTCAP] = "starting", [RPCAP_PULL_DATA] = "connecting", [RPCAP_PULL_BASE] = "starting",
	[RPCAP_PULL_FILTER] = "starting", [RPCAP_PULL_RUNNING] = "open", [RPCAP_PULL_ENDING] = "ending",
};

/* --- its end --- */

static void
tell_ended(const struct rpcap_pull *pull)
{
	struct note *note = note_new(NOTE_PULL_ENDED);

	note->pull = pull->index;
	note->good = pull->good;
	mailbox_post(pull->worker->all->main, note);
}

/* Unless the stream has had its end, more was captured than came, and nobody knows how much. */
static void
end_stream(struct rpcap_pull *pull)
{
	struct fault ignored;

	if (pull->stream == NULL)
		return;
	rpcap_stream_seal(pull->stream, &ignored);
	rpcap_stream_end(pull->stream, true);
	rpcap_stream_free(pull->stream);
	pull->stream = NULL;
}

void
rpcap_pull_free(struct rpcap_pull *pull)
{
	struct worker *worker = pull->worker;

	end_stream(pull);
	rpcap_pull_leave(pull);
	TAILQ_REMOVE(&worker->rpcap_pulls, pull, entry);
	tell_ended(pull);
	if (pull->timer != NULL)
		event_free(pull->timer);
	if (pull->seal_timer != NULL)
		event_free(pull->seal_timer);
	if (pull->control != NULL)
		tlsio_free(pull->control);
	if (pull->data != NULL)
		tlsio_free(pull->data);
	if (pull->has_descriptors)
		quota_give_connections(RPCAP_PULL_DESCRIPTORS);
	free(pull->loop.insn);
	free(pull);
	worker_pulls_ended(worker);
}

void
rpcap_pull_stop(struct rpcap_pull *pull)
{
	struct fault ignored;

	if (pull->state == RPCAP_PULL_ENDING)
		return;
	if (pull->state != RPCAP_PULL_RUNNING || rpcap_pull_finish(pull, &ignored) == -1)
		rpcap_pull_free(pull);
}

void
rpcap_pull_fail(struct rpcap_pull *pull, const char *why)
{
	struct worker *worker = pull->worker;

	if (pull->state == RPCAP_PULL_ENDING && pull->stream == NULL)
		log_info("%s (%s): %s", pull->identity.name, pull->url->label, why);
	else
		log_limited(&worker->connect_limit, SESSION_LOG_MS, LOG_LEVEL_WARN, "%s (%s): %s%s", pull->identity.name,
		    pull->url->label, pull->state == RPCAP_PULL_RUNNING ? "capture ended: " : "", why);
	rpcap_pull_free(pull);
	worker_consider_commit(worker);
}

void
rpcap_pull_close(struct rpcap_pull *pull, const struct fault *fault)
{
	rpcap_pull_fail(pull, fault->text);
}

/* --- time --- */

static uint64_t
next_ns(const struct rpcap_pull *pull)
{
	return pull->awaited != 0 || pull->state == RPCAP_PULL_ENDING ? pull->deadline_ns : pull->stats_ns;
}

static void
set_timer(struct rpcap_pull *pull)
{
	uint64_t now = clock_mono_ns(), at = next_ns(pull), ms = at > now ? (at - now) / 1000000u + 1 : 0;
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(pull->timer, &tv);
}

static int
timed_out(struct rpcap_pull *pull, struct fault *fault)
{
	if (pull->awaited != 0)
		return fault_set(fault, MSG_ERR_TIMEOUT, "the server does not answer %s", rpcap_type_name(pull->awaited));
	return fault_set(fault, MSG_ERR_TIMEOUT, "the server does not end the capture");
}

static void
pull_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct rpcap_pull *pull = arg;
	struct fault fault;
	int rc = 0;

	(void)fd;
	(void)events;
	if (clock_mono_ns() < next_ns(pull))
		set_timer(pull);
	else if (pull->awaited == 0 && pull->state == RPCAP_PULL_RUNNING)
		rc = rpcap_pull_ask_stats(pull, false, &fault);
	else if (pull->awaited != 0 || pull->state == RPCAP_PULL_ENDING)
		rc = timed_out(pull, &fault);
	if (rc == -1)
		rpcap_pull_close(pull, &fault);
}

static void
seal_timeout(evutil_socket_t fd, short events, void *arg)
{
	struct rpcap_pull *pull = arg;
	struct fault fault;

	(void)fd;
	(void)events;
	if (pull->stream != NULL && rpcap_stream_seal(pull->stream, &fault) == -1)
		rpcap_pull_close(pull, &fault);
	else
		worker_consider_commit(pull->worker);
}

/* --- the control connection --- */

int
rpcap_pull_ask(struct rpcap_pull *pull, uint8_t type, struct buf *message, struct fault *fault)
{
	int rc = tlsio_write(pull->control, message->data, message->len);

	buf_wipe(message);
	if (rc == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "%s cannot be sent: %s", rpcap_type_name(type), strerror(errno));
	pull->awaited = type;
	if (pull->state != RPCAP_PULL_ENDING)
		pull->deadline_ns = clock_mono_ns() + RPCAP_PULL_ANSWER_MS * UINT64_C(1000000);
	set_timer(pull);
	return 0;
}

static int
check_header(const struct rpcap_pull *pull, const struct rpcap_header *header, struct fault *fault)
{
	const char *name = rpcap_type_name(header->type);

	if (header->version != RPCAP_VERSION)
		return fault_set(fault, MSG_ERR_VERSION, "the server answers in version %u of RPCAP, this collector speaks %u",
		    header->version, RPCAP_VERSION);
	if (header->type != RPCAP_ERROR && (pull->awaited == 0 || header->type != (pull->awaited | RPCAP_REPLY)))
		return fault_set(fault, MSG_ERR_PROTOCOL, "the server sends %s (type %u), which was not asked for",
		    name != NULL ? name : "what RPCAP does not have", header->type);
	if (header->length > RPCAP_PULL_CONTROL_MAX - RPCAP_HEADER_SIZE)
		return fault_set(fault, MSG_ERR_PROTOCOL, "the server sends %s of %" PRIu32 " bytes", name, header->length);
	return 0;
}

/* One message from the front of the input: 1, 0: not whole yet, -1. */
static int
take_message(struct rpcap_pull *pull, struct fault *fault)
{
	struct buf *input = tlsio_input(pull->control);
	struct rpcap_header header;
	struct cursor payload;

	if (input->len < RPCAP_HEADER_SIZE)
		return 0;
	rpcap_get_header(input->data, &header);
	if (check_header(pull, &header, fault) == -1)
		return -1;
	if (input->len - RPCAP_HEADER_SIZE < header.length)
		return 0;
	cursor_init(&payload, input->data + RPCAP_HEADER_SIZE, header.length);
	if (rpcap_pull_answer(pull, &header, &payload, fault) == -1)
		return -1;
	buf_consume(input, RPCAP_HEADER_SIZE + header.length);
	return 1;
}

static void
control_readable(struct tlsio *tls, void *arg)
{
	struct rpcap_pull *pull = arg;
	struct fault fault;
	int rc;

	while ((rc = take_message(pull, &fault)) == 1)
		;
	if (rc == 0 && pull->stream == NULL && pull->state == RPCAP_PULL_ENDING)
		rc = fault_set(&fault, MSG_ERR_PROTOCOL, "the capture has ended");
	if (rc == -1) {
		rpcap_pull_close(pull, &fault);
		return;
	}
	tlsio_input_taken(tls);
	set_timer(pull);
	worker_consider_commit(pull->worker);
}

static int
ask_auth(struct rpcap_pull *pull, struct fault *fault)
{
	const struct rpcap_url *url = pull->url;
	const struct rpcap_auth auth = { .type = url->has_user ? RPCAP_AUTH_PASSWORD : RPCAP_AUTH_NULL, .user = url->user,
		.password = url->password, .user_len = (uint16_t)strlen(url->user), .password_len = (uint16_t)strlen(url->password) };
	struct buf message;

	buf_init(&message, 2048);
	if (buf_reserve(&message, 2048) == -1 || rpcap_put_auth(&message, &auth) == -1) {
		buf_wipe(&message);
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	}
	pull->state = RPCAP_PULL_AUTH;
	return rpcap_pull_ask(pull, RPCAP_AUTH, &message, fault);
}

static void
control_opened(struct tlsio *tls, void *arg)
{
	struct rpcap_pull *pull = arg;
	struct fault fault;

	snprintf(pull->address, sizeof(pull->address), "%s", tlsio_peer_address(tls));
	if (ask_auth(pull, &fault) == -1)
		rpcap_pull_close(pull, &fault);
}

static void
control_closed(struct tlsio *tls, const char *why, void *arg)
{
	(void)tls;
	rpcap_pull_fail(arg, why);
}

/* --- the data connection --- */

void
rpcap_pull_read(struct rpcap_pull *pull)
{
	if (pull->data == NULL)
		return;
	if (pull->stream == NULL || (pull->state != RPCAP_PULL_ENDING && (pull->worker->paused || pull->throttled)))
		tlsio_read_stop(pull->data);
	else
		tlsio_read_start(pull->data);
}

static void
data_opened(struct tlsio *tls, void *arg)
{
	struct rpcap_pull *pull = arg, *other;
	struct fault fault;

	(void)tls;
	rpcap_pull_read(pull);
	pull->state = RPCAP_PULL_BASE;
	TAILQ_FOREACH(other, &pull->worker->rpcap_pulls, entry)
		rpcap_pull_meet(other, pull);
	if (rpcap_pull_ask_stats(pull, false, &fault) == -1)
		rpcap_pull_close(pull, &fault);
}

static void
start_seal_timer(struct rpcap_pull *pull)
{
	static const struct timeval tv = { .tv_usec = RPCAP_STREAM_SEAL_MS * 1000 };

	if (pull->stream != NULL && rpcap_stream_waiting(pull->stream) && !event_pending(pull->seal_timer, EV_TIMEOUT, NULL))
		event_add(pull->seal_timer, &tv);
}

static void
take_packets(struct rpcap_pull *pull, bool all)
{
	struct worker *worker = pull->worker;
	struct fault fault;

	if (pull->stream == NULL)
		return;
	if (rpcap_pull_take_packets(pull, all || pull->state == RPCAP_PULL_ENDING, &fault) == -1) {
		rpcap_pull_close(pull, &fault);
		return;
	}
	start_seal_timer(pull);
	rpcap_pull_read(pull);
	worker_consider_commit(worker);
}

static void
data_readable(struct tlsio *tls, void *arg)
{
	(void)tls;
	take_packets(arg, false);
}

/* What has come is taken; then it is asked what has not. */
static void
data_closed(struct tlsio *tls, const char *why, void *arg)
{
	struct rpcap_pull *pull = arg;
	struct fault fault;
	int rc;

	if (pull->stream == NULL || pull->state < RPCAP_PULL_RUNNING) {
		rpcap_pull_fail(pull, why);
		return;
	}
	rc = rpcap_pull_take_packets(pull, true, &fault);
	tlsio_free(tls);
	pull->data = NULL;
	if (rc == 0 && pull->state == RPCAP_PULL_RUNNING)
		log_info("%s (%s): the server has ended the capture: %s", pull->identity.name, pull->url->label, why);
	if (rc == -1 || rpcap_pull_finish(pull, &fault) == -1)
		rpcap_pull_close(pull, &fault);
}

int
rpcap_pull_connect_data(struct rpcap_pull *pull, struct fault *fault)
{
	static const struct tlsio_callbacks callbacks = { .opened = data_opened, .readable = data_readable, .closed = data_closed };
	const struct tlsio_options options = { .side = TLSIO_CLIENT, .expect_host = pull->url->tls ? pull->url->host : NULL,
		.handshake_ms = RPCAP_PULL_HANDSHAKE_MS, .input_max = DATA_INPUT_MAX, .read_budget = DATA_READ_BUDGET };
	struct sockaddr_storage to;
	socklen_t len = sizeof(to);
	int fd;

	if (getpeername(tlsio_fd(pull->control), (struct sockaddr *)&to, &len) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "data connection: %s", strerror(errno));
	if (to.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&to)->sin6_port = htons(pull->port);
	else
		((struct sockaddr_in *)&to)->sin_port = htons(pull->port);
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1 || (connect(fd, (struct sockaddr *)&to, len) == -1 && errno != EINPROGRESS)) {
		fault_set(fault, MSG_ERR_LIMIT, "data connection to port %u: %s", pull->port, strerror(errno));
		if (fd != -1)
			close(fd);
		return -1;
	}
	pull->data = tlsio_new(pull->worker->base, pull->url->tls ? pull->worker->rpcap_tls : NULL, fd, &options, &callbacks, pull);
	if (pull->data != NULL)
		return 0;
	close(fd);
	return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
}

/* --- the worker --- */

void
rpcap_pull_pause(struct rpcap_pull *pull)
{
	rpcap_pull_read(pull);
}

void
rpcap_pull_resume(struct rpcap_pull *pull)
{
	take_packets(pull, false);
}

void
rpcap_pull_go_on(struct rpcap_pull *pull)
{
	if (!pull->throttled)
		return;
	if (!tenant_use_may_receive(pull->use)) {
		worker_throttle(pull->worker);
		return;
	}
	pull->throttled = false;
	take_packets(pull, false);
}

void
rpcap_pull_come_back(struct rpcap_pull *pull)
{
	if (pull->backlog)
		take_packets(pull, false);
}

/* --- its beginning --- */

static struct rpcap_pull *
allocate(struct worker *worker, int index, const struct rpcap_url *url)
{
	struct rpcap_pull *pull = calloc(1, sizeof(*pull));

	if (pull == NULL)
		return NULL;
	pull->worker = worker;
	pull->index = index;
	pull->url = url;
	pull->identity.role = ROLE_AGENT;
	memcpy(pull->identity.tenant, url->tenant, sizeof(pull->identity.tenant));
	memcpy(pull->identity.name, url->name, sizeof(pull->identity.name));
	rpcap_url_uuid(url->tenant, url->name, pull->identity.uuid);
	snprintf(pull->address, sizeof(pull->address), "%.100s", url->host);
	pull->timer = evtimer_new(worker->base, pull_timeout, pull);
	pull->seal_timer = evtimer_new(worker->base, seal_timeout, pull);
	TAILQ_INSERT_TAIL(&worker->rpcap_pulls, pull, entry);
	return pull;
}

static int
begin(struct rpcap_pull *pull, int fd, struct fault *fault)
{
	static const struct tlsio_callbacks callbacks = { .opened = control_opened, .readable = control_readable,
		.closed = control_closed };
	const struct tlsio_options options = { .side = TLSIO_CLIENT, .expect_host = pull->url->tls ? pull->url->host : NULL,
		.handshake_ms = RPCAP_PULL_HANDSHAKE_MS, .input_max = RPCAP_PULL_CONTROL_MAX, .read_budget = CONTROL_READ_BUDGET };
	struct worker *worker = pull->worker;

	if (worker->stopping || worker->failing)
		return fault_set(fault, MSG_ERR_STORE, "%s", worker->failing ? worker->failing_text : "the collector is shutting down");
	if (pull->timer == NULL || pull->seal_timer == NULL || !(pull->has_descriptors = quota_take_connections(RPCAP_PULL_DESCRIPTORS)))
		return fault_set(fault, MSG_ERR_LIMIT, "no memory, or no descriptors (limit of open files: %" PRIu64 ")",
		    quota_descriptors());
	pull->control = tlsio_new(worker->base, pull->url->tls ? worker->rpcap_tls : NULL, fd, &options, &callbacks, pull);
	return pull->control != NULL ? 0 : fault_set(fault, MSG_ERR_LIMIT, "out of memory");
}

void
rpcap_pull_new(struct worker *worker, int fd, int index, const struct rpcap_url *url)
{
	struct rpcap_pull *pull = allocate(worker, index, url);
	struct fault fault;

	count_add(COUNT_CONNECTIONS, 1);
	if (pull == NULL) {
		close(fd);
		return;
	}
	if (begin(pull, fd, &fault) == 0)
		return;
	count_add(COUNT_CONNECTIONS_DROPPED, 1);
	close(fd);
	rpcap_pull_close(pull, &fault);
}

struct json_t *
rpcap_pull_status(const struct rpcap_pull *pull)
{
	char since[CLOCK_ISO_SIZE] = "";

	if (pull->since_ns != 0)
		clock_iso(pull->since_ns, since, sizeof(since));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "vm", pull->identity.uuid, "name",
	    pull->identity.name, "tenant", pull->identity.tenant, "address", pull->address, "state", state_names[pull->state], "since",
	    since, "dedup", policy_dedup_name(DEDUP_OFF), "withholds", (json_int_t)0, "bytes_in", (json_int_t)pull->bytes,
	    "bytes_per_second", (json_int_t)pull->bytes_per_second, "blocks",
	    (json_int_t)(pull->stream != NULL ? rpcap_stream_blocks(pull->stream) : 0), "gaps", (json_int_t)0, "certificate_ends",
	    (json_int_t)(pull->control != NULL ? tlsio_peer_not_after(pull->control) : 0), "rpcap", pull->url->label);
}
