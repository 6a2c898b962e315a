/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "agent/link.h"
#include "agent/rpcap.h"
#include "agent/rpcap_capture.h"
#include "agent/rpcap_data.h"
#include "agent/spool.h"
#include "common/clock.h"

/*
 * A client's statistics are of its whole capture; a tap's counters are of one stream and begin at 0 with the next one, when the
 * capture role was restarted. So what each stream counted is added up here. The last two are kept apart: the last counters of a
 * stream may be told after the next one has begun.
 */

static void
add(struct capture_counts *sum, const struct capture_counts *more)
{
	sum->received += more->received;
	sum->dropped += more->dropped;
	sum->left_out += more->left_out;
	sum->nic += more->nic;
}

/* A stream's counters only grow: less is what the next one began with, a moment too early. */
static void
keep_more(struct capture_counts *counts, const struct capture_counts *fresh)
{
	if (fresh->received >= counts->received)
		*counts = *fresh;
}

static void
count_one(struct capture_counts *counts, unsigned counter, uint64_t value)
{
	switch (counter) {
	case COUNTER_RING_RECEIVED:
		counts->received += value;
		break;
	case COUNTER_RING_DROPPED:
	case COUNTER_PACKETS_OVERSIZE:
		counts->dropped += value;
		break;
	case COUNTER_SAMPLED_OUT:
	case COUNTER_PAUSED_PACKETS:
		counts->left_out += value;
		break;
	case COUNTER_NIC_DROPPED:
	case COUNTER_NIC_MISSED:
		counts->nic += value;
		break;
	default:
		break;
	}
}

/* --- streams --- */

static void
next_stream(struct capture_count *count, const uint8_t stream[MSG_ID_SIZE])
{
	if (count->now.any) {
		add(&count->before, &count->last.counts);
		count->last = count->now;
	}
	memset(&count->now, 0, sizeof(count->now));
	memcpy(count->now.stream, stream, MSG_ID_SIZE);
	count->now.any = true;
}

static bool
is_stream(const struct capture_stream_counts *counts, const uint8_t stream[MSG_ID_SIZE])
{
	return counts->any && memcmp(counts->stream, stream, MSG_ID_SIZE) == 0;
}

static void
read_spool(const struct link_tap *tap, struct capture_counts *fresh)
{
	static const unsigned wanted[] = { COUNTER_RING_RECEIVED, COUNTER_RING_DROPPED, COUNTER_PACKETS_OVERSIZE,
	    COUNTER_SAMPLED_OUT, COUNTER_PAUSED_PACKETS, COUNTER_NIC_DROPPED, COUNTER_NIC_MISSED };
	uint32_t id;
	size_t i;

	memset(fresh, 0, sizeof(*fresh));
	for (id = 0; id < tap->stats.count; id++)
		for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			count_one(fresh, wanted[i], spool_count_get(tap->spool, (enum counter)wanted[i], id));
}

static void
refresh_stream(struct capture_count *count, struct link_tap *tap)
{
	struct capture_counts fresh;

	if (!stats_refresh(&tap->stats, tap->spool))
		return;
	if (is_stream(&count->last, tap->stats.stream))
		return;
	if (!is_stream(&count->now, tap->stats.stream))
		next_stream(count, tap->stats.stream);
	read_spool(tap, &fresh);
	keep_more(&count->now.counts, &fresh);
}

void
rpcap_last_stats(struct link_tap *tap, const struct msg_stats *stats)
{
	struct capture_count *count = &tap->rpcap->count;
	struct capture_counts fresh = { 0 };

	for (uint16_t i = 0; i < stats->count; i++)
		count_one(&fresh, stats->stat[i].counter, stats->stat[i].value);
	if (is_stream(&count->last, stats->stream)) {
		keep_more(&count->last.counts, &fresh);
		return;
	}
	if (!is_stream(&count->now, stats->stream))
		next_stream(count, stats->stream);
	keep_more(&count->now.counts, &fresh);
}

/* --- what is told of them --- */

static struct capture_counts
all_streams(const struct capture_count *count)
{
	struct capture_counts sum = count->before;

	add(&sum, &count->last.counts);
	add(&sum, &count->now.counts);
	return sum;
}

static uint64_t
datagrams_lost(const struct rpcap_capture *c)
{
	return c->data != NULL ? rpcap_data_lost(c->data) : 0;
}

static uint64_t
all_lost(const struct rpcap_capture *c, const struct capture_counts *sum)
{
	return sum->dropped + sum->left_out + c->count.spool_lost + datagrams_lost(c);
}

/* What has grown, to the sums of all captures. */
static void
tell_server(struct rpcap_capture *c, uint64_t lost)
{
	struct rpcap *server = c->client->server;
	uint64_t sent = c->count.packed - datagrams_lost(c);

	server->packets_lost += lost - c->count.told_lost;
	server->packets_sent += sent - c->count.told_sent;
	c->count.told_lost = lost;
	c->count.told_sent = sent;
}

void
rpcap_count_sent(struct rpcap_capture *c)
{
	struct rpcap *server = c->client->server;
	uint64_t bytes = c->data != NULL ? rpcap_data_bytes(c->data) : 0, fresh = bytes - c->count.told_bytes;

	spool_count_set(server->link->tap[0].spool, COUNTER_CPU_LINK_US, STATS_AGENT, clock_cpu_us());
	if (c->tap != NULL)
		spool_count_add(c->tap->spool, COUNTER_BYTES_SENT, STATS_AGENT, fresh);
	server->bytes_sent += fresh;
	server->counted_bytes += fresh;
	c->count.told_bytes = bytes;
}

void
rpcap_count_refresh(struct rpcap_capture *c)
{
	struct capture_counts sum;

	if (c->tap != NULL)
		refresh_stream(&c->count, c->tap);
	sum = all_streams(&c->count);
	tell_server(c, all_lost(c, &sum));
	rpcap_count_sent(c);
}

void
rpcap_count(struct link_tap *tap)
{
	rpcap_count_refresh(tap->rpcap);
}

bool
rpcap_loses(struct link_tap *tap)
{
	struct capture_count *count = &tap->rpcap->count;
	bool more = count->told_lost > count->seen_lost;

	count->seen_lost = count->told_lost;
	return more;
}

void
rpcap_count_stats(const struct rpcap_capture *c, struct rpcap_stats *stats)
{
	struct capture_counts sum = all_streams(&c->count);

	stats->ifrecv = (uint32_t)(sum.received + sum.left_out);
	stats->ifdrop = (uint32_t)sum.nic;
	stats->krnldrop = (uint32_t)all_lost(c, &sum);
	stats->svrcapt = (uint32_t)(c->count.packed - datagrams_lost(c));
}

void
rpcap_totals(const struct rpcap *server, struct rpcap_totals *totals)
{
	const struct rpcap_client *client;

	memset(totals, 0, sizeof(*totals));
	if (server == NULL)
		return;
	TAILQ_FOREACH(client, &server->clients, entry) {
		totals->clients++;
		totals->captures += client->capture != NULL;
		if (client->capture != NULL)
			rpcap_count_refresh(client->capture);
	}
	totals->refused = server->refused;
	totals->packets_sent = server->packets_sent;
	totals->packets_lost = server->packets_lost;
	totals->bytes_sent = server->bytes_sent;
}
