/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <pcap/pcap.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/tls.h"

#include "collector/policy.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/session.h"
#include "collector/worker.h"

/* What a server says, and what it is asked next. */

#define READ_TIMEOUT_MS	250u	/* how long a server may hold packets back */
#define MESSAGE_MAX	4096u

#if BYTE_ORDER == BIG_ENDIAN
#define OTHER_ORDER	RPCAP_ORDER_LITTLE
#else
#define OTHER_ORDER	RPCAP_ORDER_BIG
#endif

static int
malformed(uint8_t request, struct fault *fault)
{
	return fault_set(fault, MSG_ERR_PROTOCOL, "the server's %s is malformed", rpcap_type_name(request | RPCAP_REPLY));
}

static int
ask_open(struct rpcap_pull *pull, struct fault *fault)
{
	struct buf message;

	buf_init(&message, MESSAGE_MAX);
	if (rpcap_put_open(&message, RPCAP_VERSION, pull->url->interface) == -1) {
		buf_clear(&message);
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	}
	pull->state = RPCAP_PULL_OPEN;
	return rpcap_pull_ask(pull, RPCAP_OPEN, &message, fault);
}

/* As clients of libpcap 1.10 do: the newest version of both, which is 0 or none. */
static int
take_auth(struct rpcap_pull *pull, struct cursor *payload, struct fault *fault)
{
	struct rpcap_auth_reply reply;

	if (rpcap_get_auth_reply(payload, &reply) == -1)
		return malformed(RPCAP_AUTH, fault);
	if (reply.version_min > RPCAP_VERSION)
		return fault_set(fault, MSG_ERR_VERSION, "the server speaks versions %u to %u of RPCAP, this collector %u", reply.version_min,
		    reply.version_max, RPCAP_VERSION);
	pull->swapped = reply.order == OTHER_ORDER;
	return ask_open(pull, fault);
}

/* Nothing is captured yet: see rpcap_pull.h. */
static int
ask_startcap(struct rpcap_pull *pull, struct fault *fault)
{
	static const struct bpf_insn nothing[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct rpcap_filter filter = { .insn = nothing, .count = 1 };
	struct rpcap_startcap startcap = { .read_timeout_ms = READ_TIMEOUT_MS, .flags = RPCAP_FLAG_PROMISC };
	struct msg_policy policy;
	struct policy_dedup dedup;
	struct buf message;

	policy_set_resolve(pull->worker->policy, pull->identity.tenant, pull->identity.name, pull->identity.uuid, pull->vm->row.labels,
	    &policy, &dedup);
	startcap.snaplen = pull->snaplen = rpcap_pull_snaplen(&policy);
	if (policy.direction != DIRECTION_INOUT)
		startcap.flags |= policy.direction == DIRECTION_IN ? RPCAP_FLAG_INBOUND : RPCAP_FLAG_OUTBOUND;
	buf_init(&message, MESSAGE_MAX);
	if (rpcap_put_startcap(&message, RPCAP_VERSION, &startcap, &filter) == -1) {
		buf_clear(&message);
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	}
	pull->state = RPCAP_PULL_STARTCAP;
	return rpcap_pull_ask(pull, RPCAP_STARTCAP, &message, fault);
}

static int
take_open(struct rpcap_pull *pull, struct cursor *payload, struct fault *fault)
{
	struct rpcap_open_reply reply;

	if (rpcap_get_open_reply(payload, &reply) == -1)
		return malformed(RPCAP_OPEN, fault);
	if (reply.linktype > UINT16_MAX)
		return fault_set(fault, MSG_ERR_PROTOCOL, "the interface is of link type %" PRIu32 ", which files do not have", reply.linktype);
	pull->linktype = reply.linktype;
	return rpcap_pull_join(pull, fault) == -1 ? -1 : ask_startcap(pull, fault);
}

static int
take_startcap(struct rpcap_pull *pull, struct cursor *payload, struct fault *fault)
{
	struct rpcap_startcap_reply reply;

	if (rpcap_get_startcap_reply(payload, &reply) == -1)
		return malformed(RPCAP_STARTCAP, fault);
	if (reply.port == 0)
		return fault_set(fault, MSG_ERR_PROTOCOL, "the server does not say where the data connection goes");
	pull->port = reply.port;
	pull->buffer_bytes = reply.buffer_bytes;
	pull->state = RPCAP_PULL_DATA;
	return rpcap_pull_connect_data(pull, fault);
}

int
rpcap_pull_ask_stats(struct rpcap_pull *pull, bool last, struct fault *fault)
{
	struct buf message;

	buf_init(&message, MESSAGE_MAX);
	if (rpcap_put_empty(&message, RPCAP_VERSION, RPCAP_STATS) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	pull->is_last = last;
	pull->stats_ns = clock_mono_ns() + RPCAP_PULL_STATS_MS * UINT64_C(1000000);
	return rpcap_pull_ask(pull, RPCAP_STATS, &message, fault);
}

static int
take_stats(struct rpcap_pull *pull, struct cursor *payload, struct fault *fault)
{
	struct rpcap_stats stats;

	if (rpcap_get_stats_reply(payload, &stats) == -1)
		return malformed(RPCAP_STATS, fault);
	if (pull->state != RPCAP_PULL_BASE)
		return rpcap_pull_count(pull, &stats, fault);
	pull->last = stats;
	pull->counts.before_filter = stats.ifrecv;
	return rpcap_pull_begin_stream(pull, fault) == -1 ? -1 : rpcap_pull_ask_filter(pull, fault);
}

static int
take_filter(struct rpcap_pull *pull, struct cursor *payload, struct fault *fault)
{
	(void)payload;
	(void)fault;
	rpcap_pull_filter_answered(pull);
	return 0;
}

static int
take_endcap(struct rpcap_pull *pull, struct cursor *payload, struct fault *fault)
{
	(void)payload;
	(void)fault;
	pull->ended = true;
	return 0;
}

static int (*const answers[RPCAP_TYPE_MAX])(struct rpcap_pull *, struct cursor *, struct fault *) = {
	[RPCAP_AUTH] = take_auth,
	[RPCAP_OPEN] = take_open,
	[RPCAP_STARTCAP] = take_startcap,
	[RPCAP_STATS] = take_stats,
	[RPCAP_UPDATEFILTER] = take_filter,
	[RPCAP_ENDCAP] = take_endcap,
};

/* An error that comes by itself, while an answer is awaited or not. */
static bool
is_unasked(const struct rpcap_pull *pull, uint8_t awaited, uint16_t code)
{
	return pull->state >= RPCAP_PULL_FILTER &&
	    (awaited == 0 || code == RPCAP_ERR_READEX || code == RPCAP_ERR_NETW || code == RPCAP_ERR_RUNTIMETIMEOUT);
}

/* With what the server says of it, the capture goes on, or without statistics; or it does not. */
static int
take_refusal(struct rpcap_pull *pull, uint8_t awaited, const char *text, struct fault *fault)
{
	static const struct rpcap_stats none;

	if (awaited == RPCAP_UPDATEFILTER && !pull->filter.refused) {
		pull->filter.refused = true;
		snprintf(pull->filter.reason, sizeof(pull->filter.reason), "%s", text);
		return rpcap_pull_ask_filter(pull, fault);
	}
	if (awaited == RPCAP_UPDATEFILTER && pull->state == RPCAP_PULL_RUNNING) {
		rpcap_pull_filter_answered(pull);
		return 0;
	}
	if (awaited == RPCAP_STATS && pull->state == RPCAP_PULL_RUNNING) {
		log_limited(&pull->packet_limit, 600 * 1000, LOG_LEVEL_WARN, "%s (%s): no statistics: %s", pull->identity.name,
		    pull->url->label, text);
		return 0;
	}
	if (awaited == RPCAP_STATS && pull->state == RPCAP_PULL_BASE) {
		pull->last = none;
		return rpcap_pull_begin_stream(pull, fault) == -1 ? -1 : rpcap_pull_ask_filter(pull, fault);
	}
	return fault_set(fault, MSG_ERR_PROTOCOL, "%s", text);
}

static int
take_error(struct rpcap_pull *pull, const struct rpcap_header *header, struct cursor *payload, struct fault *fault)
{
	const char *name = rpcap_error_name(header->value);
	char text[RPCAP_TEXT_SIZE], line[RPCAP_TEXT_SIZE + 64];
	uint8_t awaited = pull->awaited;

	(void)rpcap_get_text(payload, text, sizeof(text));	/* a longer one is cut */
	snprintf(line, sizeof(line), "the server says: %s (%s)", archive_clean_text(text), name != NULL ? name : "of an unknown kind");
	if (!is_unasked(pull, awaited, header->value)) {
		pull->awaited = 0;
		return take_refusal(pull, awaited, line, fault);
	}
	if (pull->state < RPCAP_PULL_RUNNING)
		return fault_set(fault, MSG_ERR_PROTOCOL, "%s", line);
	log_limited(&pull->packet_limit, SESSION_LOG_MS, LOG_LEVEL_WARN, "%s (%s): %s", pull->identity.name, pull->url->label, line);
	return pull->state == RPCAP_PULL_RUNNING ? rpcap_pull_finish(pull, fault) : 0;
}

int
rpcap_pull_answer(struct rpcap_pull *pull, const struct rpcap_header *header, struct cursor *payload, struct fault *fault)
{
	uint8_t awaited = pull->awaited;
	int rc;

	if (header->type != RPCAP_ERROR)
		pull->awaited = 0;
	rc = header->type == RPCAP_ERROR ? take_error(pull, header, payload, fault) : answers[awaited](pull, payload, fault);
	if (rc == -1 || pull->awaited != 0)
		return rc;
	if (pull->state == RPCAP_PULL_ENDING && pull->stream != NULL)
		return rpcap_pull_finish(pull, fault);
	return pull->state == RPCAP_PULL_RUNNING && pull->filter.due ? rpcap_pull_ask_filter(pull, fault) : 0;
}
