/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <pcap/bpf.h>

#include "agent/link.h"
#include "agent/link_session.h"
#include "agent/rpcap.h"
#include "agent/rpcap_capture.h"
#include "agent/rpcap_data.h"
#include "common/log.h"
#include "proto/bpf_check.h"
#include "proto/pcapng.h"

#define FLUSH_MIN_MS	10
#define FLUSH_MAX_MS	1000
/* What the client's libpcap makes its receive buffer at least: no more than systems begin with, since one that is set grows no more. */
#define BUFFER_BYTES	(64u * 1024)

/* --- the end --- */

static void
program_clear(struct capture_program *program)
{
	free((void *)(uintptr_t)program->insn);
	memset(program, 0, sizeof(*program));
}

/* The other taps still leave the data connection's endpoint out until they are told anew: its last segments are on their way. */
static void
leave_tap(struct rpcap_capture *c)
{
	struct link_tap *tap = c->tap;
	struct link *link = c->client->server->link;

	c->tap = NULL;
	if (tap == NULL)
		return;
	event_del(tap->wake);
	tap_detach(link, tap);
	session_limit_all(link);
}

void
rpcap_capture_free(struct rpcap_capture *c)
{
	if (c == NULL)
		return;
	rpcap_count_refresh(c);
	rpcap_count_stats(c, &c->client->last);
	c->client->capture = NULL;
	leave_tap(c);
	rpcap_data_free(c->data);
	rpcap_send_clear(c);
	program_clear(&c->program);
	program_clear(&c->wanted);
	free(c);
}

static void
answer_empty(struct rpcap_client *client, uint8_t type)
{
	struct buf msg;

	buf_init(&msg, RPCAP_HEADER_SIZE);
	(void)rpcap_put_empty(&msg, client->version, type | RPCAP_REPLY);
	rpcap_client_answer(client, &msg);
}

static void
answer_stats(struct rpcap_client *client)
{
	struct buf msg;

	buf_init(&msg, RPCAP_HEADER_SIZE + sizeof(struct rpcap_stats));
	(void)rpcap_put_stats_reply(&msg, client->version, &client->last);
	rpcap_client_answer(client, &msg);
}

/* By itself: whoever waits for an answer of it gets one; code: what is told to one who does not, 0: nothing. */
static void
capture_over(struct rpcap_capture *c, enum rpcap_error code, const char *why)
{
	struct rpcap_client *client = c->client;
	char text[RPCAP_TEXT_SIZE];

	strncpy(text, why, sizeof(text) - 1);	/* it may be a part of what is freed */
	text[sizeof(text) - 1] = '\0';
	log_info("RPCAP client %s: capture of %s ends: %s", client->name, client->source, text);
	rpcap_capture_free(c);
	switch (client->awaited) {
	case RPCAP_STARTCAP:
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "%s", text);
		return;
	case RPCAP_UPDATEFILTER:
		rpcap_client_refuse(client, RPCAP_ERR_UPDATEFILTER, "%s", text);
		return;
	default:
		break;
	}
	if (code != 0)
		rpcap_client_tell(client, code, text);
	if (client->awaited == RPCAP_STATS)
		answer_stats(client);
	else if (client->awaited == RPCAP_ENDCAP)
		answer_empty(client, RPCAP_ENDCAP);
}

/* --- what the tap shall be --- */

/* The capture role need not keep what is not sent. */
static uint32_t
captured_max(const struct rpcap_startcap *start)
{
	uint32_t snaplen = start->snaplen == 0 || start->snaplen > PCAPNG_SNAPLEN ? PCAPNG_SNAPLEN : start->snaplen;
	uint32_t max = start->flags & RPCAP_FLAG_DGRAM ? RPCAP_DATAGRAM_CAPTURED_MAX : RPCAP_CAPTURED_MAX;

	return snaplen < max ? snaplen : max;
}

static uint8_t
direction(uint16_t flags)
{
	switch (flags & (RPCAP_FLAG_INBOUND | RPCAP_FLAG_OUTBOUND)) {
	case RPCAP_FLAG_INBOUND:
		return DIRECTION_IN;
	case RPCAP_FLAG_OUTBOUND:
		return DIRECTION_OUT;
	default:
		return DIRECTION_INOUT;
	}
}

static uint32_t
flush_ms(uint32_t read_timeout_ms)
{
	if (read_timeout_ms == 0 || read_timeout_ms > FLUSH_MAX_MS)
		return FLUSH_MAX_MS;
	return read_timeout_ms < FLUSH_MIN_MS ? FLUSH_MIN_MS : read_timeout_ms;
}

static const struct capture_program *
program_wanted(const struct rpcap_capture *c)
{
	return c->updating ? &c->wanted : &c->program;
}

void
rpcap_build(const struct link_tap *t, struct ipc_tap *tap)
{
	const struct rpcap_capture *c = t->rpcap;
	const struct capture_program *program;

	if (c == NULL)
		return;
	program = program_wanted(c);
	tap->active = true;
	tap->snaplen = captured_max(&c->start);
	tap->direction = direction(c->start.flags);
	tap->flush_ms = flush_ms(c->start.read_timeout_ms);
	tap->promiscuous = (c->start.flags & RPCAP_FLAG_PROMISC) != 0 && !c->client->server->link->options.no_promiscuous;
	tap->sampling.method = c->sampling.method;
	tap->sampling.value = c->sampling.value;
	strcpy(tap->codec, "none");
	tap->program_len = (uint16_t)program->count;
	for (uint32_t i = 0; i < program->count; i++) {
		tap->program[i].code = program->insn[i].code;
		tap->program[i].jt = program->insn[i].jt;
		tap->program[i].jf = program->insn[i].jf;
		tap->program[i].k = program->insn[i].k;
	}
}

const char *
rpcap_interface(const struct link_tap *t)
{
	return t->rpcap->client->source;
}

static bool
is_told(const struct capture_program *program, const struct ipc_tap *told)
{
	if (!told->active || told->program_len != program->count)
		return false;
	for (uint32_t i = 0; i < program->count; i++)
		if (told->program[i].code != program->insn[i].code || told->program[i].jt != program->insn[i].jt ||
		    told->program[i].jf != program->insn[i].jf || told->program[i].k != program->insn[i].k)
			return false;
	return true;
}

/* --- the tap's answers --- */

/* Which of the two is in force is known. */
static void
update_done(struct rpcap_capture *c, bool accepted, const char *reason)
{
	c->updating = false;
	if (accepted) {
		program_clear(&c->program);
		c->program = c->wanted;
		memset(&c->wanted, 0, sizeof(c->wanted));
		answer_empty(c->client, RPCAP_UPDATEFILTER);
		return;
	}
	program_clear(&c->wanted);
	rpcap_client_refuse(c->client, RPCAP_ERR_UPDATEFILTER, "%s", reason);
}

/* Refused but for a new filter, something that the tap should leave out would not be. */
void
rpcap_result(struct link_tap *t, bool accepted, const char *reason)
{
	struct rpcap_capture *c = t->rpcap;

	if (c == NULL || !t->told.active)
		return;
	if (c->updating && is_told(&c->wanted, &t->told)) {
		update_done(c, accepted, reason);
		if (!accepted)
			return;
	}
	if (!accepted)
		capture_over(c, RPCAP_ERR_READEX, reason);
	else if (t->told.interface_count == 0)
		capture_over(c, RPCAP_ERR_READEX, "the interface is not up");
	else if (t->told.interface[0].ifindex != c->client->ifindex)
		capture_over(c, RPCAP_ERR_READEX, "the interface is not the one any more that was opened");
	else
		c->accepted = true;
}

void
rpcap_interface_gone(struct link_tap *t, const char *reason)
{
	if (t->rpcap != NULL)
		capture_over(t->rpcap, RPCAP_ERR_READEX, reason);
}

void
rpcap_wake(struct link_tap *t)
{
	rpcap_send_run(t->rpcap);
}

struct tokens *
rpcap_tokens(struct link_tap *t)
{
	return &t->rpcap->tokens;
}

/* --- start --- */

static struct link_tap *
find_tap(struct link *link)
{
	for (size_t i = IPC_TAP_RPCAP; i < IPC_TAPS_MAX; i++)
		if (tap_free(&link->tap[i]))
			return &link->tap[i];
	return NULL;
}

/* One that was left a moment ago is free only once it is closed. */
static void
take_tap(struct rpcap_capture *c)
{
	struct link *link = c->client->server->link;

	if ((c->tap = find_tap(link)) == NULL)
		return;
	interfaces_forget(link, c->tap->number);
	tap_attach_rpcap(c->tap, c);
	session_limit_all(link);
	tap_update_all(link);
}

static void
on_prepared(void *arg)
{
	struct rpcap_capture *c = arg;

	c->state = CAPTURE_TELLING;
	take_tap(c);
}

void
rpcap_capture_answered(struct rpcap_capture *c)
{
	struct link *link;

	if (c == NULL || c->state != CAPTURE_TELLING)
		return;
	link = c->client->server->link;
	if (c->tap == NULL)
		take_tap(c);
	else if (c->accepted && link->capture != NULL && tap_all_answered(link)) {
		c->state = CAPTURE_CONNECTING;
		rpcap_data_connect(c->data);
	}
}

static void
on_connected(void *arg)
{
	struct rpcap_capture *c = arg;
	struct rpcap_startcap_reply reply = { .buffer_bytes = BUFFER_BYTES, .port = rpcap_data_port(c->data) };
	struct buf msg;

	c->state = CAPTURE_OPENING;
	buf_init(&msg, RPCAP_HEADER_SIZE + sizeof(reply));
	(void)rpcap_put_startcap_reply(&msg, c->client->version, &reply);
	rpcap_client_answer(c->client, &msg);
	rpcap_data_open(c->data);
}

static void
on_opened(void *arg)
{
	struct rpcap_capture *c = arg;

	log_info("RPCAP client %s: captures %s", c->client->name, c->client->source);
	c->state = CAPTURE_RUNNING;
	pulse_count_nics(c->tap);	/* what they dropped before is not counted */
	rpcap_send_run(c);
}

static void
on_writable(void *arg)
{
	rpcap_send_run(arg);
}

static void
on_failed(const char *why, void *arg)
{
	struct rpcap_capture *c = arg;

	capture_over(c, c->state == CAPTURE_RUNNING ? 0 : RPCAP_ERR_STARTCAPTURE, why);
}

static size_t
count_captures(const struct rpcap *server)
{
	const struct rpcap_client *client;
	size_t count = 0;

	TAILQ_FOREACH(client, &server->clients, entry)
		count += client->capture != NULL;
	return count;
}

/* NULL: it can begin. */
static const char *
check_start(const struct rpcap_client *client, const struct rpcap_startcap *start)
{
	if (client->capture != NULL)
		return "this client has a capture already";
	if (client->source[0] == '\0')
		return "no interface is open";
	if (client->tls && (start->flags & RPCAP_FLAG_DGRAM) != 0)
		return "TLS is not supported over UDP";
	if ((client->call != NULL || (start->flags & (RPCAP_FLAG_DGRAM | RPCAP_FLAG_SERVEROPEN)) != 0) && start->port == 0)
		return "the client says no port for its data connection";
	return NULL;
}

static struct rpcap_capture *
capture_new(struct rpcap_client *client, const struct rpcap_startcap *start)
{
	static const struct rpcap_data_callbacks callbacks = { on_prepared, on_connected, on_opened, on_writable, on_failed };
	struct rpcap_capture *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->client = client;
	c->start = *start;
	c->sampling = client->sampling;
	c->held = client->server->held;
	c->pack.version = client->version;
	c->pack.captured_max = captured_max(start);
	if (rpcap_send_init(c) == 0 && (c->data = rpcap_data_new(client, start, &callbacks, c)) != NULL)
		return c;
	rpcap_send_clear(c);
	free(c);
	return NULL;
}

void
rpcap_capture_start(struct rpcap_client *client, const struct rpcap_startcap *start, struct rpcap_filter *filter)
{
	struct capture_program program = { .insn = filter->insn, .count = filter->count };
	const struct link *link = client->server->link;
	char error[BPF_CHECK_ERROR_SIZE];
	struct rpcap_capture *c = NULL;
	const char *why = check_start(client, start);

	if (why != NULL)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "%s", why);
	else if (count_captures(client->server) >= link->options.rpcap_clients)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "all %llu captures are in use",
		    (unsigned long long)link->options.rpcap_clients);
	else if (bpf_check(program.insn, program.count, error) == -1)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "filter: %s", error);
	else if ((c = capture_new(client, start)) == NULL)
		rpcap_client_refuse(client, RPCAP_ERR_STARTCAPTURE, "out of memory");
	if (c == NULL) {
		program_clear(&program);
		return;
	}
	c->program = program;
	client->capture = c;
	rpcap_data_prepare(c->data);
}

/* --- the other requests --- */

void
rpcap_capture_filter(struct rpcap_client *client, struct rpcap_filter *filter)
{
	struct capture_program program = { .insn = filter->insn, .count = filter->count };
	struct rpcap_capture *c = client->capture;
	char error[BPF_CHECK_ERROR_SIZE];

	if (c == NULL || bpf_check(program.insn, program.count, error) == -1) {
		program_clear(&program);
		rpcap_client_refuse(client, RPCAP_ERR_UPDATEFILTER, "%s%s", c == NULL ? "nothing is captured" : "filter: ",
		    c == NULL ? "" : error);
		return;
	}
	c->wanted = program;
	c->updating = true;
	tap_update(client->server->link, c->tap);
	if (c->tap->told_any && c->tap->answered && is_told(&c->wanted, &c->tap->told))
		update_done(c, true, "");	/* it was that already */
}

/* The counters are as fresh as they can be. */
static void
count_done(struct rpcap_capture *c)
{
	struct rpcap_client *client = c->client;

	c->counting = false;
	rpcap_send_run(c);
	if (client->awaited == RPCAP_ENDCAP) {
		capture_over(c, 0, "by the client");
		return;
	}
	rpcap_count_refresh(c);
	rpcap_count_stats(c, &client->last);
	answer_stats(client);
}

static void
count_first(struct rpcap_capture *c)
{
	struct link *link = c->client->server->link;

	pulse_count_nics(c->tap);
	if (link->capture != NULL && c->tap->told_any && c->tap->told.active &&
	    ipc_send_count(link->capture, IPC_COUNT_REQUEST, c->tap->number) == 0)
		c->counting = true;
	else
		count_done(c);
}

void
rpcap_counted(struct rpcap *server, uint8_t tap)
{
	struct rpcap_capture *c = server != NULL && tap < IPC_TAPS_MAX ? server->link->tap[tap].rpcap : NULL;

	if (c != NULL && c->counting)
		count_done(c);
}

void
rpcap_capture_restart(struct rpcap_capture *c)
{
	if (c == NULL)
		return;
	rpcap_count_refresh(c);
	if (c->counting)
		count_done(c);
}

void
rpcap_capture_stats(struct rpcap_client *client)
{
	if (client->capture != NULL)
		count_first(client->capture);
	else
		answer_stats(client);
}

void
rpcap_capture_end(struct rpcap_client *client)
{
	if (client->capture != NULL)
		count_first(client->capture);
	else
		rpcap_client_refuse(client, RPCAP_ERR_ENDCAPTURE, "nothing is captured");
}

/* --- for the server as a whole --- */

size_t
rpcap_capture_endpoints(const struct rpcap_capture *c, struct ipc_endpoint *endpoint, size_t max)
{
	return c != NULL && max > 0 && rpcap_data_endpoint(c->data, endpoint) ? 1 : 0;
}

uint64_t
rpcap_capture_unsent(const struct rpcap_capture *c)
{
	return c != NULL ? rpcap_data_unsent(c->data) : 0;
}

void
rpcap_capture_hold(struct rpcap_capture *c, bool held)
{
	if (c == NULL || c->held == held)
		return;
	c->held = held;
	rpcap_send_run(c);
}

void
rpcap_capture_log(const struct rpcap_capture *c)
{
	struct rpcap_stats stats;

	if (c == NULL)
		return;
	rpcap_count_stats(c, &stats);
	log_info("RPCAP client %s: captures %s, tap %u: %u packets received, %u dropped by the interface, %u lost, %u sent", c->client->name,
	    c->client->source, c->tap != NULL ? c->tap->number : 0, stats.ifrecv, stats.ifdrop, stats.krnldrop, stats.svrcapt);
}
