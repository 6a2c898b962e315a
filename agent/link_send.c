/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "agent/link_send.h"
#include "proto/codec.h"
#include "proto/frame.h"

#define INTERFACES_SIZE	(MSG_INTERFACES_MAX * (FRAME_HEADER_SIZE + MSG_ID_SIZE + 4 + MSG_IDB_MAX))
#define TAIL_MAX	(INTERFACES_SIZE + FRAME_HEADER_SIZE + MSG_BLOCK_HEADER_SIZE + MSG_BLOCK_MAX)
#define RECORD_SIZE	16384	/* of TLS: a block's header travels in one record with the begin of its data */
#define RUN_ITEMS	16	/* spool items in one sender_run(): at most some 4 MiB, then others have their turn */

void
sender_init(struct sender *s, struct backlog *backlog, sender_out_fn *out, void *arg)
{
	memset(s, 0, sizeof(*s));
	s->backlog = backlog;
	s->out = out;
	s->arg = arg;
	buf_init(&s->control, SENDER_CONTROL_MAX);
	buf_init(&s->tail, TAIL_MAX);
}

void
sender_clear(struct sender *s)
{
	buf_clear(&s->control);
	buf_clear(&s->tail);
}

void
sender_start(struct sender *s, uint32_t codecs)
{
	s->started = true;
	s->codecs = codecs;
	s->stream_count = 0;
}

bool
sender_between_frames(const struct sender *s)
{
	return s->tail.len == 0 && s->control.len == 0;
}

/* --- rate limit --- */

void
sender_limit(struct sender *s, uint64_t bits, uint64_t burst, uint64_t now_ns)
{
	tokens_limit(&s->tokens, bits, burst, now_ns);
}

uint64_t
sender_wait_ns(const struct sender *s)
{
	return tokens_wait_ns(&s->tokens);
}

/* For the small messages the rest of a frame goes out beyond the limit. */
static size_t
sender_allow(const struct sender *s, size_t len)
{
	return s->control.len > 0 ? len : tokens_allow(&s->tokens, len);
}

/* --- frames in flight, small messages --- */

static enum sender_result
sender_fail(struct sender *s, const char *why)
{
	snprintf(s->error, sizeof(s->error), "%s", why);
	return SENDER_FAILED;
}

static enum sender_result
flush_tail(struct sender *s)
{
	size_t left, allowed, n;

	while ((left = s->tail.len - s->tail_sent) > 0) {
		if ((allowed = sender_allow(s, left)) == 0)
			return SENDER_LIMITED;
		n = s->out(s->arg, s->tail.data + s->tail_sent, allowed);
		s->tail_sent += n;
		tokens_spend(&s->tokens, n);
		if (n < allowed)
			return SENDER_BLOCKED;
	}
	s->tail.len = s->tail_sent = 0;
	return SENDER_IDLE;
}

/* Small messages are not limited, but they are counted. */
static enum sender_result
flush_control(struct sender *s)
{
	size_t n;

	if (s->control.len == 0)
		return SENDER_IDLE;
	n = s->out(s->arg, s->control.data, s->control.len);
	tokens_spend(&s->tokens, n);
	buf_consume(&s->control, n);
	return s->control.len > 0 ? SENDER_BLOCKED : SENDER_IDLE;
}

/* --- spool items --- */

void
sender_stream_id(const struct sender *s, const uint8_t id[MSG_ID_SIZE], uint8_t out[MSG_ID_SIZE])
{
	for (size_t i = 0; i < MSG_ID_SIZE; i++)
		out[i] = id[i] ^ s->mask[i];
}

static struct sender_stream *
stream_of(struct sender *s, const uint8_t id[MSG_ID_SIZE])
{
	size_t i;

	for (i = 0; i < s->stream_count; i++)
		if (memcmp(s->stream[i].id, id, MSG_ID_SIZE) == 0)
			return &s->stream[i];
	if (s->stream_count < MSG_STREAMS_MAX)
		s->stream_count++;
	memmove(s->stream + 1, s->stream, (s->stream_count - 1) * sizeof(s->stream[0]));
	memcpy(s->stream[0].id, id, MSG_ID_SIZE);
	s->stream[0].interfaces = 0;
	return &s->stream[0];
}

/* All interfaces of the stream that the receiver has not heard of: the block or STATS may use them. */
static int
put_interfaces(struct sender *s, const uint8_t id[MSG_ID_SIZE], struct buf *out)
{
	struct sender_stream *stream = stream_of(s, id);
	struct msg_interface interface;
	uint8_t idb[MSG_IDB_MAX];
	int len, errs = 0;

	sender_stream_id(s, id, interface.stream);
	while (errs == 0 && (len = backlog_interface_get(s->backlog, id, stream->interfaces, idb)) != -1) {
		interface.id = stream->interfaces++;
		interface.idb = idb;
		interface.idb_len = (size_t)len;
		errs += msg_put_interface(out, &interface);
	}
	return errs;
}

int
sender_introduce(struct sender *s, const uint8_t stream[MSG_ID_SIZE])
{
	return put_interfaces(s, stream, &s->control);
}

uint32_t
sender_introduced(const struct sender *s, const uint8_t stream[MSG_ID_SIZE])
{
	for (size_t i = 0; i < s->stream_count; i++)
		if (memcmp(s->stream[i].id, stream, MSG_ID_SIZE) == 0)
			return s->stream[i].interfaces;
	return 0;
}

static int
put_block_header(struct sender *s, const struct spool_item *item)
{
	const struct spool_entry *entry = &item->entry;
	struct msg_block block = {
		.number = entry->number, .codec = entry->codec, .flags = entry->flags, .raw_len = entry->raw_len, .packets = entry->packets,
		.bytes = entry->bytes, .first_ns = entry->first_ns, .last_ns = entry->last_ns,
		.data = item->data, .data_len = entry->data_len,
	};

	sender_stream_id(s, item->stream, block.stream);
	if (backlog_urgent(s->backlog))
		block.flags |= BLOCK_URGENT;
	return msg_put_block_header(&s->tail, &block);
}

/* What goes before the data, and as much of it as fits one TLS record with that; *done: bytes of data. */
static int
put_head(struct sender *s, const struct spool_item *item, size_t *done)
{
	int errs = put_interfaces(s, item->stream, &s->tail) + put_block_header(s, item);

	*done = s->tail.len < RECORD_SIZE ? RECORD_SIZE - s->tail.len : 0;
	if (*done > item->entry.data_len)
		*done = item->entry.data_len;
	return errs + buf_put(&s->tail, item->data, *done);
}

static enum sender_result
send_block(struct sender *s, const struct spool_item *item)
{
	enum sender_result result;
	size_t done, left, allowed, n = 0;

	if (put_head(s, item, &done) != 0)
		return sender_fail(s, "out of memory for the begin of a block");
	left = item->entry.data_len - done;
	if ((result = flush_tail(s)) == SENDER_IDLE && left > 0) {
		allowed = sender_allow(s, left);
		n = allowed > 0 ? s->out(s->arg, item->data + done, allowed) : 0;
		tokens_spend(&s->tokens, n);
		if (n < left)
			result = n < allowed ? SENDER_BLOCKED : SENDER_LIMITED;
	}
	if (buf_put(&s->tail, item->data + done + n, left - n) == -1)
		return sender_fail(s, "out of memory for the rest of a block");
	spool_count_add(s->backlog->spool, COUNTER_BLOCKS_SENT, STATS_AGENT, 1);
	return result;
}

static enum sender_result
take_block(struct sender *s, const struct spool_item *item)
{
	const struct codec *codec = codec_by_id(item->entry.codec);
	enum sender_result result = SENDER_FAILED;

	if (item->entry.codec > 31 || (s->codecs & UINT32_C(1) << item->entry.codec) == 0)
		snprintf(s->error, sizeof(s->error), "the receiver does not read blocks compressed with %s: choose another --compress",
		    codec != NULL ? codec->name : "an unknown codec");
	else
		result = send_block(s, item);
	backlog_release(s->backlog);
	return result;
}

static enum sender_result
take_gap(struct sender *s, const struct spool_item *item)
{
	struct msg_gap gap = item->gap;

	sender_stream_id(s, item->stream, gap.stream);
	if (s->pull && gap.place == GAP_SPOOL)
		gap.place = GAP_PULL;
	return msg_put_gap(&s->tail, &gap) == 0 ? flush_tail(s) : sender_fail(s, "out of memory for a gap");
}

/* A STATS frame, which begins with its stream. */
static int
put_last_stats(struct sender *s, const struct spool_item *item)
{
	size_t at = s->tail.len + FRAME_HEADER_SIZE;

	if (buf_put(&s->tail, item->data, item->entry.data_len) == -1)
		return -1;
	if (item->entry.data_len >= FRAME_HEADER_SIZE + MSG_ID_SIZE)
		sender_stream_id(s, s->tail.data + at, s->tail.data + at);
	return 0;
}

static enum sender_result
take_end(struct sender *s, const struct spool_item *item)
{
	struct msg_stream_end end = { .number = item->entry.number, .cut = item->cut };
	int errs = 0;

	sender_stream_id(s, item->stream, end.stream);
	if (item->data != NULL)
		errs = put_interfaces(s, item->stream, &s->tail) + put_last_stats(s, item);
	return errs + msg_put_stream_end(&s->tail, &end) == 0 ? flush_tail(s) : sender_fail(s, "out of memory for a stream's end");
}

/* *more: there was an item. */
static enum sender_result
take_item(struct sender *s, bool *more)
{
	struct spool_item item;

	backlog_next(s->backlog, &item);
	*more = item.kind != SPOOL_NOTHING;
	s->items += *more;
	switch (item.kind) {
	case SPOOL_BLOCK:
		return take_block(s, &item);
	case SPOOL_LOST:
		return take_gap(s, &item);
	case SPOOL_ENDED:
		return take_end(s, &item);
	case SPOOL_NOTHING:
		break;
	}
	return SENDER_IDLE;
}

enum sender_result
sender_run(struct sender *s, uint64_t now_ns)
{
	enum sender_result result;
	bool more = true;
	unsigned i;

	tokens_fill(&s->tokens, now_ns);
	if ((result = flush_tail(s)) != SENDER_IDLE || (result = flush_control(s)) != SENDER_IDLE)
		return result;
	for (i = 0; s->started && !s->held; i++) {
		if (i == RUN_ITEMS)
			return SENDER_MORE;
		if (tokens_gone(&s->tokens))
			return SENDER_LIMITED;
		if ((result = take_item(s, &more)) != SENDER_IDLE || !more)
			return result;
	}
	return SENDER_IDLE;
}
