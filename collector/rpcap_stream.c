/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/codec.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

#include "collector/rpcap_stream.h"
#include "collector/stream.h"

#define EVENT_SIZE	512
#define ISB_SIZE	256
#define SERVER_LEDGER	1	/* it counts what passed its filter, and nothing before that */

struct rpcap_stream {
	struct archive	*archive;
	struct stream	*stream;
	const struct codec *codec;
	struct encoder	*encoder;
	struct buf	 raw;		/* the block that is being made; its room is there from the beginning */
	uint8_t		*unit;		/* the same, encoded */
	size_t		 unit_size;
	struct msg_block block;		/* its sums so far */
	uint64_t	 lost;		/* told by numbers, before the block or inside */
	char		 event[EVENT_SIZE];
	uint64_t	 packets, bytes, original, missing;
	uint64_t	 dropped, dropped_told;		/* krnldrop, and how much of it packets told */
};

static void
begin_block(struct rpcap_stream *s)
{
	struct msg_block *block = &s->block;

	*block = (struct msg_block){ .codec = (uint8_t)s->codec->id };
	memcpy(block->stream, s->stream->id, MSG_ID_SIZE);
	s->raw.len = 0;
}

static int
allocate(struct rpcap_stream *s, uint32_t captured_max)
{
	size_t size = RPCAP_STREAM_SEAL_BYTES + PCAPNG_EPB_MAX(captured_max) + EVENT_SIZE + ISB_SIZE;

	s->codec = codec_by_id(CODEC_LZ4) != NULL ? codec_by_id(CODEC_LZ4) : codec_by_id(CODEC_ZLIB);
	buf_init(&s->raw, size);
	s->unit_size = s->codec->bound(size);
	s->unit = malloc(s->unit_size);
	s->encoder = encoder_new(s->codec, s->codec->level_initial);
	return s->unit != NULL && s->encoder != NULL && buf_reserve(&s->raw, size) == 0 ? 0 : -1;
}

/* The archive's part: the stream and its one interface. */
static int
begin_stream(struct rpcap_stream *s, struct vm *vm, const struct pcapng_interface *interface, struct fault *fault)
{
	struct msg_interface msg = { .id = 0 };
	struct buf idb;
	int rc = -1;

	if (getrandom(msg.stream, MSG_ID_SIZE, 0) != MSG_ID_SIZE)
		return fault_set(fault, MSG_ERR_LIMIT, "no random numbers: %s", strerror(errno));
	if ((s->stream = stream_get(s->archive, vm, msg.stream, clock_wall_ns(), fault)) == NULL)
		return -1;
	stream_told(s->archive, s->stream);
	buf_init(&idb, MSG_IDB_MAX);
	if (pcapng_put_idb(&idb, interface) == -1)
		fault_set(fault, MSG_ERR_LIMIT, "the description of interface %s is too long", interface->name);
	else {
		msg.idb = idb.data;
		msg.idb_len = idb.len;
		rc = stream_add_interface(s->archive, s->stream, &msg, fault);
	}
	buf_clear(&idb);
	return rc;
}

struct rpcap_stream *
rpcap_stream_new(struct archive *archive, struct vm *vm, const struct pcapng_interface *interface, uint32_t captured_max,
    struct fault *fault)
{
	struct rpcap_stream *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		return NULL;
	}
	s->archive = archive;
	if (allocate(s, captured_max) == -1) {
		fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		goto fail;
	}
	if (begin_stream(s, vm, interface, fault) == -1) {
		if (s->stream != NULL)
			rpcap_stream_end(s, false);
		goto fail;
	}
	begin_block(s);
	return s;
fail:
	rpcap_stream_free(s);
	return NULL;
}

void
rpcap_stream_free(struct rpcap_stream *s)
{
	if (s == NULL)
		return;
	buf_clear(&s->raw);
	encoder_free(s->encoder);
	free(s->unit);
	free(s);
}

void
rpcap_stream_event(struct rpcap_stream *s, const char *text)
{
	size_t len = strlen(s->event);

	snprintf(s->event + len, sizeof(s->event) - len, "%s%s", len > 0 ? "; " : "", text);
}

static void
sum_up(struct rpcap_stream *s, const struct pcapng_packet *packet)
{
	struct msg_block *block = &s->block;

	if (block->packets == 0 || packet->time_ns < block->first_ns)
		block->first_ns = packet->time_ns;
	if (block->packets == 0 || packet->time_ns > block->last_ns)
		block->last_ns = packet->time_ns;
	block->packets++;
	block->bytes += packet->captured_len;
	s->packets++;
	s->bytes += packet->captured_len;
	s->original += packet->original_len;
}

/* What happened before it. */
static int
add_with_event(struct rpcap_stream *s, struct pcapng_packet *packet)
{
	packet->comment = s->event;
	if (pcapng_put_epb(&s->raw, packet) == -1)
		return -1;
	s->event[0] = '\0';
	s->block.flags |= BLOCK_EVENT;
	return 0;
}

int
rpcap_stream_add(struct rpcap_stream *s, struct pcapng_packet *packet, struct fault *fault)
{
	packet->interface = 0;
	packet->dropped = s->dropped - s->dropped_told;
	if (s->event[0] == '\0')
		s->raw.len += pcapng_write_epb(s->raw.data + s->raw.len, packet);
	else if (add_with_event(s, packet) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "a packet does not fit");
	s->dropped_told = s->dropped;
	sum_up(s, packet);
	return s->raw.len >= RPCAP_STREAM_SEAL_BYTES ? rpcap_stream_seal(s, fault) : 0;
}

void
rpcap_stream_missed(struct rpcap_stream *s, uint64_t packets)
{
	s->lost += packets;
	s->missing += packets;
}

bool
rpcap_stream_waiting(const struct rpcap_stream *s)
{
	return s->raw.len > 0 || s->lost > 0;
}

int
rpcap_stream_lose(struct rpcap_stream *s, uint64_t packets, enum loss_bound bound, struct fault *fault)
{
	struct msg_gap gap = { .first = s->stream->received + 1, .last = s->stream->received + 1, .packets = packets,
		.first_ns = s->stream->last_ns, .last_ns = clock_wall_ns() };

	memcpy(gap.stream, s->stream->id, MSG_ID_SIZE);
	if (gap.last_ns < gap.first_ns)
		gap.last_ns = gap.first_ns;
	return stream_add_loss(s->archive, s->stream, LOSS_LINK, bound, &gap, fault);
}

static int
seal_block(struct rpcap_stream *s, struct fault *fault)
{
	struct msg_block *block = &s->block;
	ssize_t n;
	bool stored;
	int rc;

	n = encoder_block(s->encoder, s->raw.data, s->raw.len, s->unit, s->unit_size, &stored);
	block->number = s->stream->received + 1;
	block->raw_len = (uint32_t)s->raw.len;
	block->data = s->unit;
	block->data_len = n > 0 ? (size_t)n : 0;
	rc = n > 0 ? stream_add_block(s->archive, s->stream, block, fault) :
	    fault_set(fault, MSG_ERR_LIMIT, "a block cannot be compressed");
	begin_block(s);
	return rc;
}

int
rpcap_stream_seal(struct rpcap_stream *s, struct fault *fault)
{
	uint64_t lost = s->lost;

	s->lost = 0;
	if (lost > 0 && rpcap_stream_lose(s, lost, LOSS_EXACT, fault) == -1)
		return -1;
	return s->raw.len > 0 ? seal_block(s, fault) : 0;
}

static int
put_isb(struct rpcap_stream *s, const struct rpcap_counts *counts)
{
	const struct pcapng_statistics statistics = { .time_ns = clock_wall_ns(), .start_ns = s->stream->started_ns,
		.received = counts->delivered + counts->dropped, .dropped = counts->dropped, .delivered = s->packets };

	return pcapng_put_isb(&s->raw, &statistics);
}

/* Passed the filter: what was sent on, and what was dropped. ifrecv is of many systems what came before the filter, and else has
 * what still waits in the ring: with it the ledger would not add up. */
int
rpcap_stream_count(struct rpcap_stream *s, const struct rpcap_counts *counts, struct fault *fault)
{
	struct msg_stat stat[] = {
		{ COUNTER_PACKETS_CAPTURED, 0, s->packets + s->missing },
		{ COUNTER_BYTES_CAPTURED, 0, s->bytes },
		{ COUNTER_BYTES_ORIGINAL, 0, s->original },
		{ COUNTER_RING_RECEIVED, 0, counts->delivered + counts->dropped },
		{ COUNTER_RING_DROPPED, 0, counts->dropped },
		{ COUNTER_BEFORE_FILTER, 0, counts->before_filter },
		{ COUNTER_NIC_DROPPED, 0, counts->nic_dropped },
		{ COUNTER_DIRECTION_UNKNOWN, 0, s->packets },
		{ COUNTER_LEDGER, STATS_AGENT, SERVER_LEDGER },
	};
	const struct msg_stats msg = { .wall_ns = clock_wall_ns(), .count = sizeof(stat) / sizeof(stat[0]), .stat = stat };

	s->dropped = counts->dropped;
	if (s->raw.len > 0 && put_isb(s, counts) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	return stream_set_stats(s->archive, s->stream, &msg, fault);
}

void
rpcap_stream_end(struct rpcap_stream *s, bool cut)
{
	struct msg_stream_end end = { .number = s->stream->received, .cut = cut };
	struct fault ignored;

	memcpy(end.stream, s->stream->id, MSG_ID_SIZE);
	stream_end(s->archive, s->stream, &end, &ignored);
}

uint64_t
rpcap_stream_packets(const struct rpcap_stream *s)
{
	return s->packets;
}

uint64_t
rpcap_stream_missing(const struct rpcap_stream *s)
{
	return s->missing;
}

uint64_t
rpcap_stream_blocks(const struct rpcap_stream *s)
{
	return s->stream->received;
}
