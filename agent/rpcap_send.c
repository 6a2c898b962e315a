/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/rpcap.h"
#include "agent/rpcap_capture.h"
#include "agent/rpcap_data.h"
#include "agent/spool.h"
#include "common/clock.h"
#include "proto/codec.h"

/*
 * A block of the spool is held only while its packets are made into messages: these wait in memory of the capture's own for what the
 * connection does not take at once, while the spool goes on. A client that does not read has its own oldest blocks pushed out.
 */

#define RUN_BLOCKS	4		/* then others have their turn */
#define PART_SIZE	(128u * 1024)	/* of a block at a time: what was just written is still in a cache when it is sent */

enum run_result { RUN_IDLE, RUN_BLOCKED, RUN_LIMITED, RUN_MORE };

/* RUN_IDLE: all of it is out. */
static enum run_result
send_staged(struct rpcap_capture *c)
{
	size_t left = c->staged_len - c->staged_sent, allowed, n;

	if (left == 0)
		return RUN_IDLE;
	if ((allowed = tokens_allow(&c->tokens, left)) == 0)
		return RUN_LIMITED;
	n = rpcap_data_send(c->data, c->staged + c->staged_sent, allowed);
	tokens_spend(&c->tokens, n);
	c->staged_sent += n;
	if (n < allowed)
		return RUN_BLOCKED;
	if (n < left)
		return RUN_LIMITED;
	c->staged_len = c->staged_sent = 0;
	return RUN_IDLE;
}

/* As much as goes out at once part by part, the rest whole. */
static enum run_result
send_block(struct rpcap_capture *c, const struct spool_entry *entry, const uint8_t *block)
{
	enum run_result result = RUN_IDLE;
	uint64_t packets = 0;

	rpcap_pack_block(&c->pack, block, entry->codec == CODEC_NONE ? entry->data_len : 0);
	while (result == RUN_IDLE && !rpcap_pack_done(&c->pack)) {
		c->staged_len = rpcap_pack_some(&c->pack, c->staged, PART_SIZE, &packets);
		result = send_staged(c);
	}
	c->staged_len += rpcap_pack_some(&c->pack, c->staged + c->staged_len, MSG_BLOCK_MAX - c->staged_len, &packets);
	c->count.packed += packets;
	c->count.spool_lost += entry->packets > packets ? entry->packets - packets : 0;
	return result;
}

/* Nothing is sent again: what was handed out is acknowledged. */
static enum run_result
take_item(struct rpcap_capture *c, bool *more)
{
	enum run_result result = RUN_IDLE;
	struct spool *spool = c->tap->spool;
	struct spool_item item;

	spool_next(spool, &item);
	*more = item.kind != SPOOL_NOTHING;
	switch (item.kind) {
	case SPOOL_BLOCK:
		result = send_block(c, &item.entry, item.data);
		spool_release(spool);
		(void)spool_acknowledge(spool, item.stream, item.entry.number);
		break;
	case SPOOL_LOST:
		c->count.spool_lost += item.gap.packets;
		(void)spool_acknowledge(spool, item.stream, item.gap.last);
		break;
	case SPOOL_ENDED:
		(void)spool_acknowledge(spool, item.stream, item.entry.number);
		break;
	case SPOOL_NOTHING:
		break;
	}
	return result;
}

static enum run_result
run(struct rpcap_capture *c)
{
	enum run_result result = send_staged(c);
	bool more = true;
	unsigned i;

	for (i = 0; result == RUN_IDLE && more; i++) {
		if (i == RUN_BLOCKS)
			return RUN_MORE;
		if (tokens_gone(&c->tokens))
			return RUN_LIMITED;
		result = take_item(c, &more);
	}
	return result;
}

void
rpcap_send_run(struct rpcap_capture *c)
{
	enum run_result result;

	if (c->state != CAPTURE_RUNNING || c->held)
		return;
	tokens_fill(&c->tokens, clock_mono_ns());
	rpcap_data_cork(c->data, true);
	result = run(c);
	rpcap_data_cork(c->data, false);
	rpcap_count_sent(c);
	pulse_start(c->client->server->link);
	switch (result) {
	case RUN_IDLE:
		event_add(c->tap->wake, NULL);
		break;
	case RUN_BLOCKED:
		break;
	case RUN_LIMITED:
		link_timer_set(c->pacer, tokens_wait_ns(&c->tokens));
		break;
	case RUN_MORE:
		link_timer_set(c->pacer, 0);
		break;
	}
}

static void
on_pacer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	rpcap_send_run(arg);
}

int
rpcap_send_init(struct rpcap_capture *c)
{
	if ((c->staged = malloc(MSG_BLOCK_MAX)) == NULL)
		return -1;
	c->pacer = link_timer_new(c->client->server->link, on_pacer, c);
	return 0;
}

void
rpcap_send_clear(struct rpcap_capture *c)
{
	if (c->pacer != NULL)
		event_free(c->pacer);
	free(c->staged);
}
