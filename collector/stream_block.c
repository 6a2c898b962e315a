/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "collector/stream.h"
#include "collector/stream_file.h"

/* What is inside a block, decoded into archive.scratch. */

#define EVENTS_MAX	16	/* texts taken from one block */
#define EVENT_SIZE	1000	/* of one; a longer one is cut */
#define COMMENTED_MAX	(MSG_BLOCK_RAW_MAX + 2 * LOSS_TEXT_SIZE)

static int
stream_check_sums(const struct msg_block *block, const struct pcapng_summary *found, struct fault *fault)
{
	if (found->packets != block->packets || found->bytes != block->bytes)
		return fault_set(fault, MSG_ERR_BLOCK,
		    "BLOCK: %" PRIu64 " announces %" PRIu32 " packets of %" PRIu64 " bytes, holds %"
		    PRIu32 " of %" PRIu64, block->number, block->packets, block->bytes, found->packets, found->bytes);
	if (found->first_ns != block->first_ns || found->last_ns != block->last_ns)
		return fault_set(fault, MSG_ERR_BLOCK, "BLOCK: %" PRIu64 " announces other times than it holds", block->number);
	return 0;
}

int
stream_check_block(struct archive *archive, const struct stream *stream, const struct msg_block *block, struct fault *fault)
{
	const struct codec *codec = codec_by_id(block->codec);
	struct pcapng_summary found;
	char error[160];

	if (codec == NULL)
		return fault_set(fault, MSG_ERR_BLOCK, "BLOCK: %" PRIu64 " is of codec %u, which this collector does not read",
		    block->number, block->codec);
	if (block->raw_len == 0 || block->raw_len > MSG_BLOCK_RAW_MAX)
		return fault_set(fault, MSG_ERR_BLOCK, "BLOCK: %" PRIu64 " announces %" PRIu32 " bytes; 1 to %u may be",
		    block->number, block->raw_len, MSG_BLOCK_RAW_MAX);
	if (codec->decode(block->data, block->data_len, archive->scratch, block->raw_len) == -1)
		return fault_set(fault, MSG_ERR_BLOCK, "BLOCK: %" PRIu64 " is not %s of the %" PRIu32 " bytes it announces",
		    block->number, codec->name, block->raw_len);
	if (pcapng_check_block(archive->scratch, block->raw_len, stream->interface_count, &found, error, sizeof(error)) == -1)
		return fault_set(fault, MSG_ERR_BLOCK, "BLOCK: %" PRIu64 ": %s", block->number, error);
	return stream_check_sums(block, &found, fault);
}

static void
stream_record_event(struct archive *archive, const struct stream *stream, const struct msg_block *block, uint64_t at_ns,
    const uint8_t *text, size_t text_len)
{
	struct event_row *row;
	char *copy;

	if (text_len > EVENT_SIZE)
		text_len = EVENT_SIZE;
	if ((copy = strndup((const char *)text, text_len)) == NULL) {
		log_error("out of memory for what happened to a capture");
		return;
	}
	row = batch_add_event(archive->batch, archive_clean_text(copy));
	memcpy(row->vm, stream->vm->row.uuid, sizeof(row->vm));
	memcpy(row->stream, stream->id, MSG_ID_SIZE);
	row->block = block->number;
	row->at_ns = at_ns;
}

void
stream_record_events(struct archive *archive, const struct stream *stream, const struct msg_block *block)
{
	size_t inside_len, at, text_len;
	const uint8_t *inside, *text;
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	unsigned count = 0;
	uint32_t type;

	pcapng_walk_init(&walk, archive->scratch, block->raw_len);
	while (count < EVENTS_MAX && pcapng_walk_next(&walk, &type, &packet, &inside, &inside_len) == 1) {
		at = 0;
		while (type == PCAPNG_EPB && count < EVENTS_MAX &&
		    pcapng_next_comment(inside, inside_len, &at, &text, &text_len) == 1) {
			stream_record_event(archive, stream, block, packet.time_ns, text, text_len);
			count++;
		}
	}
}

/* Compressed as an agent's blocks are, or, without memory for that, not. Bytes, or -1. */
static ssize_t
stream_encode(const struct codec *codec, const struct buf *raw, struct buf *unit)
{
	struct encoder *encoder = encoder_new(codec, codec->level_initial);
	bool stored;
	ssize_t n;

	if (encoder != NULL)
		n = encoder_block(encoder, raw->data, raw->len, unit->data, unit->size, &stored);
	else
		n = codec->store(raw->data, raw->len, unit->data, unit->size);
	encoder_free(encoder);
	return n;
}

int
stream_comment_block(const struct archive *archive, const struct stream *stream, const struct msg_block *block,
    struct msg_block *msg, struct buf *unit)
{
	const struct codec *codec = codec_by_id(block->codec);
	char text[LOSS_TEXT_SIZE];
	struct buf raw;
	ssize_t n = -1;

	buf_init(unit, codec->bound(COMMENTED_MAX));
	if (block->packets == 0 || !loss_text(stream->missing, text, sizeof(text)))
		return -1;
	buf_init(&raw, COMMENTED_MAX);
	if (pcapng_put_commented(&raw, archive->scratch, block->raw_len, text) == 0 &&
	    buf_reserve(unit, codec->bound(raw.len)) == 0)
		n = stream_encode(codec, &raw, unit);
	if (n > 0) {
		*msg = *block;
		msg->raw_len = (uint32_t)raw.len;
		msg->data = unit->data;
		msg->data_len = (size_t)n;
	}
	buf_clear(&raw);
	return n > 0 ? 0 : -1;
}
