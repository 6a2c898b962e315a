/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/pcapng.h"
#include "proto/transit.h"
#include "agent/capture_block.h"
#include "agent/spool.h"

#define ISB_ROOM	128u	/* one Interface Statistics Block, as pcapng_put_isb() writes it, fits */

static void
block_reset(struct capture_block *b)
{
	for (size_t i = 0; i < b->stream->row_count; i++)
		b->stream->row[i].in_block = false;
	b->len = b->row_count = 0;
	b->limit = CAPTURE_BLOCK_SIZE;
	b->flags = 0;
	b->packets = 0;
	b->bytes = b->first_ns = b->last_ns = b->begun_ns = 0;
	b->busy_since_ns = 0;
}

int
capture_block_init(struct capture_block *b, struct capture_stream *stream, struct capture_totals *totals, const struct codec *codec,
    int level)
{
	memset(b, 0, sizeof(*b));
	b->stream = stream;
	b->totals = totals;
	if ((b->raw = malloc(MSG_BLOCK_RAW_MAX)) == NULL)
		return -1;
	block_reset(b);
	return capture_block_set_codec(b, codec, level);
}

void
capture_block_clear(struct capture_block *b)
{
	encoder_free(b->encoder);
	free(b->raw);
	memset(b, 0, sizeof(*b));
}

int
capture_block_set_codec(struct capture_block *b, const struct codec *codec, int level)
{
	struct encoder *encoder;

	if (b->codec == codec && b->level == level)
		return 0;
	if (b->codec == codec && encoder_set_level(b->encoder, level) == 0) {
		b->level = level;
		return 0;
	}
	if ((encoder = encoder_new(codec, level)) == NULL)
		return -1;
	encoder_free(b->encoder);
	encoder_set_store(encoder, b->store);
	b->encoder = encoder;
	b->codec = codec;
	b->level = level;
	return 0;
}

void
capture_block_set_store(struct capture_block *b, bool store)
{
	b->store = store;
	encoder_set_store(b->encoder, store);
}

void
capture_block_set_digest(struct capture_block *b, const uint8_t *secret)
{
	b->digest = secret != NULL;
	if (b->digest)
		memcpy(b->secret, secret, sizeof(b->secret));
}

/* Of a packet that was cut, nothing could be shown to be equal. */
uint64_t
capture_block_digest(const struct capture_block *b, uint16_t linktype, const struct pcapng_packet *packet)
{
	struct transit transit;

	if (!b->digest || packet->zeroes != 0 || packet->captured_len != packet->original_len)
		return DIGEST_NONE;
	transit_parse(&transit, linktype, packet->data, packet->captured_len, packet->original_len);
	return digest_packet(&transit, b->secret);
}

void
capture_block_count_kernel(struct capture_block *b, uint64_t received, uint64_t dropped, uint64_t left_out)
{
	b->totals->ring_received += received;
	b->totals->ring_dropped += dropped;
	b->totals->left_out += left_out;
}

bool
capture_block_empty(const struct capture_block *b)
{
	return b->row_count == 0;
}

void
capture_block_touch(struct capture_block *b, struct capture_row *row)
{
	if (row->in_block)
		return;
	row->in_block = true;
	b->row_count++;
	b->limit -= ISB_ROOM;
	if (b->begun_ns == 0)
		b->begun_ns = clock_wall_ns();
}

/* Seals what is there, so that need bytes more fit. -1 EAGAIN: not now, though they may fit beyond the limit. */
static int
block_make_room(struct capture_block *b, size_t need)
{
	if (b->packets == 0 || capture_block_seal(b) == 0)
		return 0;
	errno = b->len + need + b->row_count * ISB_ROOM + ISB_ROOM <= MSG_BLOCK_RAW_MAX ? EAGAIN : ENOBUFS;
	return -1;
}

void
capture_block_note(struct capture_block *b, const char *text)
{
	size_t len = strlen(b->note);

	if (len + strlen(text) + 3 <= sizeof(b->note))
		snprintf(b->note + len, sizeof(b->note) - len, "%s%s", len > 0 ? "; " : "", text);
}

/* Whatever is done once a block is done here. A note has room: the block is empty. */
static void
block_append_first(struct capture_block *b, struct pcapng_packet *packet)
{
	struct buf buf = { .data = b->raw, .size = MSG_BLOCK_RAW_MAX, .max = MSG_BLOCK_RAW_MAX };

	if (b->begin != NULL)
		b->begin(b->poll_arg);
	b->begun_ns = b->first_ns = b->last_ns = packet->time_ns;
	if (b->note[0] == '\0') {
		b->len = pcapng_write_epb(b->raw, packet);
		return;
	}
	packet->comment = b->note;
	pcapng_put_epb(&buf, packet);
	b->len = buf.len;
	b->flags |= BLOCK_EVENT;
	b->note[0] = '\0';
}

static inline void
block_append(struct capture_block *b, struct capture_row *row, struct pcapng_packet *packet)
{
	packet->interface = row->id;
	packet->dropped = row->dropped_untold;
	row->dropped_untold = 0;
	if (b->packets++ == 0)
		block_append_first(b, packet);
	else
		b->len += pcapng_write_epb(b->raw + b->len, packet);
	if (packet->time_ns < b->first_ns)
		b->first_ns = packet->time_ns;
	if (packet->time_ns > b->last_ns)
		b->last_ns = packet->time_ns;
	b->bytes += packet->captured_len;
	row->packets++;
	row->bytes += packet->captured_len;
	row->original += packet->original_len;
}

int
capture_block_put(struct capture_block *b, struct capture_row *row, struct pcapng_packet *packet)
{
	size_t need = PCAPNG_EPB_MAX(packet->captured_len);
	int result = 0;

	if (packet->captured_len > PCAPNG_SNAPLEN) {
		row->oversize++;
		return 0;
	}
	if (b->len + need > b->limit && (result = block_make_room(b, need)) == -1 && errno == ENOBUFS) {
		capture_block_seal_now(b);
		result = 0;
	}
	if (!row->in_block)
		capture_block_touch(b, row);
	block_append(b, row, packet);
	return result;
}

static void
block_statistics(struct capture_block *b)
{
	struct pcapng_statistics isb = { .time_ns = clock_wall_ns() };
	struct buf buf = { .data = b->raw, .len = b->len, .size = MSG_BLOCK_RAW_MAX, .max = MSG_BLOCK_RAW_MAX };

	for (size_t i = 0; i < b->stream->row_count; i++) {
		const struct capture_row *row = &b->stream->row[i];

		if (!row->in_block)
			continue;
		isb.interface = row->id;
		isb.has_offered = !row->uncounted;
		isb.offered = row->offered;
		isb.received = row->received;
		isb.dropped = row->dropped;
		isb.delivered = row->packets;
		isb.start_ns = row->start_ns;
		pcapng_put_isb(&buf, &isb);
	}
	b->len = buf.len;
}

static void
block_count(struct capture_block *b, size_t encoded, bool stored)
{
	struct capture_totals *t = b->totals;

	t->sealed++;
	t->stored += stored;
	t->raw += b->len;
	t->packets += b->packets;
	t->encoded += encoded;
	spool_count_set(t->spool, COUNTER_BLOCKS_SEALED, STATS_AGENT, t->sealed);
	spool_count_set(t->spool, COUNTER_BLOCKS_STORED, STATS_AGENT, t->stored);
	spool_count_set(t->spool, COUNTER_BYTES_RAW, STATS_AGENT, t->raw);
	spool_count_set(t->spool, COUNTER_BYTES_ENCODED, STATS_AGENT, t->encoded);
	capture_stream_count(b->stream);
}

/* room: of the codec's bound in the spool; NULL: there is none, the block becomes a GAP. */
static void
block_finish(struct capture_block *b, uint8_t *room, size_t room_size)
{
	struct spool_entry entry = { .codec = (uint8_t)b->codec->id, .flags = b->flags, .packets = b->packets, .bytes = b->bytes };
	bool stored = false;
	ssize_t encoded = -1;

	if (b->poll != NULL)
		b->poll(b->poll_arg);
	block_statistics(b);
	entry.raw_len = (uint32_t)b->len;
	entry.first_ns = b->first_ns;
	entry.last_ns = b->last_ns;
	if (room != NULL)
		encoded = encoder_block(b->encoder, b->raw, b->len, room, room_size, &stored);
	if (encoded != -1) {
		entry.data_len = (uint32_t)encoded;
		spool_publish(b->stream->spool, &entry);
	} else {
		spool_lose(b->stream->spool, &entry, GAP_CAPTURE);
	}
	block_count(b, encoded != -1 ? (size_t)encoded : 0, stored);
	block_reset(b);
}

static size_t
block_bound(const struct capture_block *b)
{
	return b->codec->bound(b->len + b->row_count * ISB_ROOM);
}

int
capture_block_seal(struct capture_block *b)
{
	size_t bound = block_bound(b);
	uint64_t now_ns;
	uint8_t *room;

	if (capture_block_empty(b))
		return 0;
	if ((room = spool_reserve(b->stream->spool, bound)) == NULL && errno == EBUSY) {
		now_ns = clock_mono_ns();
		if (b->busy_since_ns == 0)
			b->busy_since_ns = now_ns;
		if (now_ns - b->busy_since_ns < CAPTURE_BLOCK_BUSY_MS * 1000000ull) {
			errno = EBUSY;
			return -1;
		}
	}
	block_finish(b, room, bound);
	return 0;
}

void
capture_block_seal_now(struct capture_block *b)
{
	size_t bound = block_bound(b);

	if (!capture_block_empty(b))
		block_finish(b, spool_reserve(b->stream->spool, bound), bound);
}
