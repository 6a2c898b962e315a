/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <pcap/dlt.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/tls.h"
#include "proto/pcapng.h"

#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/session.h"
#include "collector/stream.h"
#include "collector/tenant_use.h"
#include "collector/worker.h"

/* Packets and counters of a server become a stream. */

#define SLICE_NS	10000000u	/* then others have their turn */
#define SLICE_PACKETS	64u		/* until the clock is looked at */
#define STALLED_MAX	3u		/* STATS that tell of packets which do not come */
#define RING_PACKET_MIN	64u		/* bytes of a server's ring that a packet takes at least */

static int
check_header(const struct rpcap_pull *pull, const struct rpcap_header *header, struct fault *fault)
{
	if (header->version != RPCAP_VERSION || header->type != RPCAP_PACKET)
		return fault_set(fault, MSG_ERR_PROTOCOL, "data connection: a message of version %u and type %u, not a packet", header->version,
		    header->type);
	if (header->length < RPCAP_PACKET_HEADER_SIZE || header->length > RPCAP_PACKET_HEADER_SIZE + pull->snaplen)
		return fault_set(fault, MSG_ERR_PROTOCOL, "data connection: a packet of %" PRIu32 " bytes, with a snaplen of %" PRIu32,
		    header->length, pull->snaplen);
	return 0;
}

/* Numbers that were passed over were lost; one that goes back says nothing. */
static void
count_number(struct rpcap_pull *pull, uint32_t number)
{
	uint32_t missed = number - pull->next_number;

	if (missed > 0 && missed < UINT32_C(1) << 31)
		rpcap_stream_missed(pull->stream, missed);
	pull->next_number = number + 1;
}

static int
store_packet(struct rpcap_pull *pull, const struct rpcap_packet *from, uint8_t *data, struct fault *fault)
{
	struct pcapng_packet packet = { .time_ns = from->seconds * UINT64_C(1000000000) + from->microseconds * UINT64_C(1000),
		.captured_len = from->captured_len, .original_len = from->original_len, .data = data };

	if (packet.original_len < packet.captured_len)
		packet.original_len = packet.captured_len;
	if (pull->swapped)
		rpcap_swap_packet(pull->linktype, data, packet.captured_len);
	if (from->number % RPCAP_PULL_LOOK_EACH == 0)
		rpcap_pull_look_for_loop(pull, data, packet.captured_len, packet.original_len);
	count_number(pull, from->number);
	return rpcap_stream_add(pull->stream, &packet, fault);
}

/* One from the front: the bytes that it took, 0: not whole yet, -1. */
static ssize_t
take_packet(struct rpcap_pull *pull, uint8_t *bytes, size_t len, struct fault *fault)
{
	struct rpcap_header header;
	struct rpcap_packet packet;
	struct cursor c;

	if (len < RPCAP_HEADER_SIZE)
		return 0;
	rpcap_get_header(bytes, &header);
	if (check_header(pull, &header, fault) == -1)
		return -1;
	if (len - RPCAP_HEADER_SIZE < header.length)
		return 0;
	cursor_init(&c, bytes + RPCAP_HEADER_SIZE, header.length);
	if (rpcap_get_packet(&c, &packet) == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "data connection: a packet is longer than its message");
	if (store_packet(pull, &packet, bytes + RPCAP_PACKET_SIZE, fault) == -1)
		return -1;
	return (ssize_t)(RPCAP_HEADER_SIZE + header.length);
}

static void
charge(struct rpcap_pull *pull, size_t bytes)
{
	pull->bytes += bytes;
	if (bytes == 0)
		return;
	tenant_use_receive(pull->use, bytes);
	if (pull->throttled || tenant_use_may_receive(pull->use))
		return;
	pull->throttled = true;
	worker_throttle(pull->worker);
}

static bool
is_turn_over(struct rpcap_pull *pull, unsigned packets, uint64_t until_ns)
{
	if (packets % SLICE_PACKETS != 0)
		return false;
	worker_consider_commit(pull->worker);
	pull->backlog = clock_mono_ns() >= until_ns;
	return pull->backlog || pull->worker->paused;
}

int
rpcap_pull_take_packets(struct rpcap_pull *pull, bool all, struct fault *fault)
{
	uint64_t until_ns = clock_mono_ns() + SLICE_NS;
	size_t taken = 0;
	unsigned packets = 0;
	struct buf *input;
	ssize_t n = 0;

	pull->backlog = false;
	if (pull->state == RPCAP_PULL_ENDING && pull->worker->archive.batch->dirty_bytes >= 2 * DIRTY_MAX)
		return fault_set(fault, MSG_ERR_STORE, "the store does not keep up with the end of the capture");
	if (pull->data == NULL || (!all && (pull->worker->paused || pull->throttled)))
		return 0;
	input = tlsio_input(pull->data);
	while (taken < input->len && (n = take_packet(pull, input->data + taken, input->len - taken, fault)) > 0) {
		taken += (size_t)n;
		if (is_turn_over(pull, ++packets, until_ns) && !all)
			break;
	}
	buf_consume(input, taken);
	charge(pull, taken);
	if (n == -1)
		return -1;
	tlsio_input_taken(pull->data);
	if (pull->backlog)
		worker_come_back(pull->worker);
	return 0;
}

/* --- the stream --- */

/* A DLT_ as the file format numbers it; they differ where systems' own numbers did. */
static uint16_t
linktype_of(uint32_t dlt)
{
	switch (dlt) {
	case DLT_RAW:
		return 101;
	case DLT_ATM_RFC1483:
		return 100;
	}
	return (uint16_t)dlt;
}

int
rpcap_pull_begin_stream(struct rpcap_pull *pull, struct fault *fault)
{
	struct pcapng_interface interface = { .linktype = linktype_of(pull->linktype), .snaplen = pull->snaplen, .tsresol = 9 };
	char event[RPCAP_URL_PART_SIZE + 160];

	snprintf(interface.name, sizeof(interface.name), "%.*s", (int)sizeof(interface.name) - 1, pull->url->interface);
	archive_clean_text(interface.name);
	snprintf(interface.filter, sizeof(interface.filter), "%.*s", (int)sizeof(interface.filter) - 1, pull->filter.text);
	pull->stream = rpcap_stream_new(&pull->worker->archive, pull->vm, &interface, pull->snaplen, fault);
	if (pull->stream == NULL)
		return -1;
	snprintf(event, sizeof(event), "pulled by RPCAP from %s: times are in microseconds; what was not delivered when a connection"
	    " breaks is not known", pull->url->host);
	rpcap_stream_event(pull->stream, event);
	pull->next_number = 1;
	pull->state = RPCAP_PULL_FILTER;
	rpcap_pull_read(pull);
	return 0;
}

/* --- counters --- */

/* Modulo 2^32; one that goes back, as it does where a server begins anew, says nothing. */
static uint64_t
growth(uint32_t now, uint32_t before)
{
	uint32_t more = now - before;

	return more < UINT32_C(1) << 31 ? more : 0;
}

static uint64_t
came(const struct rpcap_pull *pull)
{
	return rpcap_stream_packets(pull->stream) + rpcap_stream_missing(pull->stream);
}

static int
check_stalled(struct rpcap_pull *pull, struct fault *fault)
{
	bool waits = pull->worker->paused || pull->throttled || pull->backlog;

	if (waits || pull->counts.delivered <= came(pull) || pull->stalled_packets != came(pull))
		pull->stalled = 0;
	else if (++pull->stalled >= STALLED_MAX)
		return fault_set(fault, MSG_ERR_TIMEOUT, "the server says it sent %" PRIu64 " packets, of which %" PRIu64 " came",
		    pull->counts.delivered, came(pull));
	pull->stalled_packets = came(pull);
	return 0;
}

/* Received and neither sent nor dropped. */
static uint64_t
in_ring(const struct rpcap_pull *pull)
{
	uint64_t known = pull->counts.delivered + pull->counts.dropped;

	return pull->received > known ? pull->received - known : 0;
}

/* What is in the ring when a filter is exchanged passes the old one, is counted, and may be refused by the new one: from then on so
 * much is not under way. */
static void
look_at_ring(struct rpcap_pull *pull)
{
	if (pull->filter.exchanged && in_ring(pull) < pull->refused)
		pull->refused = in_ring(pull);
}

/* Sent and not come; and captured and not sent, if the server counts there what passed its filter. */
static int
lose_rest(struct rpcap_pull *pull, struct fault *fault)
{
	const struct rpcap_counts *counts = &pull->counts;
	uint64_t link = counts->delivered > came(pull) ? counts->delivered - came(pull) : 0;
	uint64_t ring = in_ring(pull);

	if (pull->refused != UINT64_MAX)
		ring -= pull->refused < ring ? pull->refused : ring;
	if (ring > pull->buffer_bytes / RING_PACKET_MIN)
		ring = pull->buffer_bytes / RING_PACKET_MIN;
	if (link + ring == 0)
		return 0;
	return rpcap_stream_lose(pull->stream, link + ring, ring > 0 ? LOSS_UP_TO : LOSS_EXACT, fault);
}

static int
end_whole(struct rpcap_pull *pull, struct fault *fault)
{
	if (rpcap_stream_seal(pull->stream, fault) == -1 || lose_rest(pull, fault) == -1)
		return -1;
	rpcap_stream_end(pull->stream, false);
	rpcap_stream_free(pull->stream);
	pull->stream = NULL;
	return 0;
}

int
rpcap_pull_count(struct rpcap_pull *pull, const struct rpcap_stats *stats, struct fault *fault)
{
	struct rpcap_counts *counts = &pull->counts;

	pull->received += growth(stats->ifrecv, pull->last.ifrecv);
	counts->delivered += growth(stats->svrcapt, pull->last.svrcapt);
	counts->dropped += growth(stats->krnldrop, pull->last.krnldrop);
	counts->nic_dropped += growth(stats->ifdrop, pull->last.ifdrop);
	pull->last = *stats;
	pull->vm->row.seen_ns = clock_wall_ns();
	pull->vm->row_dirty = true;
	if (rpcap_stream_count(pull->stream, counts, fault) == -1)
		return -1;
	if (!pull->is_last)
		look_at_ring(pull);
	return pull->is_last ? end_whole(pull, fault) : check_stalled(pull, fault);
}

int
rpcap_pull_finish(struct rpcap_pull *pull, struct fault *fault)
{
	struct buf message;

	if (pull->state != RPCAP_PULL_ENDING)
		pull->deadline_ns = clock_mono_ns() + RPCAP_PULL_ENDING_MS * UINT64_C(1000000);
	pull->state = RPCAP_PULL_ENDING;
	rpcap_pull_read(pull);
	if (rpcap_stream_seal(pull->stream, fault) == -1)
		return -1;
	if (pull->awaited != 0 || (pull->data != NULL && pull->ended))
		return 0;
	if (pull->data == NULL)
		return rpcap_pull_ask_stats(pull, true, fault);
	buf_init(&message, RPCAP_HEADER_SIZE);
	if (rpcap_put_empty(&message, RPCAP_VERSION, RPCAP_ENDCAP) == -1)
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	return rpcap_pull_ask(pull, RPCAP_ENDCAP, &message, fault);
}
