/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/pcapng.h"
#include "agent/capture_stream.h"
#include "agent/spool.h"

void
capture_stream_init(struct capture_stream *s, struct spool *spool)
{
	memset(s, 0, sizeof(*s));
	s->spool = spool;
}

static void
rows_clear(struct capture_stream *s)
{
	for (size_t i = 0; i < s->row_count; i++)
		free(s->row[i].key);
	memset(s->row, 0, sizeof(s->row));
	s->row_count = 0;
}

void
capture_stream_clear(struct capture_stream *s)
{
	rows_clear(s);
	s->open = false;
}

int
capture_stream_begin(struct capture_stream *s)
{
	capture_stream_end(s);
	if (getrandom(s->id, sizeof(s->id), 0) != sizeof(s->id) || spool_stream_begin(s->spool, s->id, clock_wall_ns()) == -1)
		return -1;
	rows_clear(s);
	s->open = true;
	return 0;
}

void
capture_stream_end(struct capture_stream *s)
{
	if (s->open)
		spool_stream_end(s->spool);
	s->open = false;
}

static struct capture_row *
row_find(struct capture_stream *s, const struct buf *key)
{
	for (size_t i = 0; i < s->row_count; i++)
		if (s->row[i].key_len == key->len && memcmp(s->row[i].key, key->data, key->len) == 0)
			return &s->row[i];
	return NULL;
}

/* The row takes the key's bytes over. */
static struct capture_row *
row_add(struct capture_stream *s, const struct buf *idb, struct buf *key)
{
	struct capture_row *row;
	int id;

	if (s->row_count == MSG_INTERFACES_MAX) {
		errno = ENOSPC;
		return NULL;
	}
	if ((id = spool_interface_add(s->spool, idb->data, idb->len)) == -1)
		return NULL;
	row = &s->row[s->row_count++];
	row->id = (uint32_t)id;
	row->start_ns = clock_wall_ns();
	row->key = key->data;
	row->key_len = key->len;
	memset(key, 0, sizeof(*key));
	return row;
}

/* Addresses come and go; the interface is the same. */
static int
put_key(struct buf *key, const struct pcapng_interface *interface)
{
	struct pcapng_interface bare = *interface;

	bare.ipv4_count = bare.ipv6_count = 0;
	return pcapng_put_idb(key, &bare);
}

struct capture_row *
capture_stream_row(struct capture_stream *s, const struct pcapng_interface *interface)
{
	struct capture_row *row = NULL;
	struct buf idb, key;

	buf_init(&idb, MSG_IDB_MAX);
	buf_init(&key, MSG_IDB_MAX);
	if (put_key(&key, interface) == 0 && pcapng_put_idb(&idb, interface) == 0 && (row = row_find(s, &key)) == NULL)
		row = row_add(s, &idb, &key);
	buf_clear(&idb);
	buf_clear(&key);
	if (row != NULL)
		row->users++;
	return row;
}

void
capture_stream_pass_start(struct capture_stream *s, struct capture_row *row, uint32_t ifindex)
{
	struct capture_row *before;

	row->ifindex = ifindex;
	for (size_t i = 0; i < s->row_count; i++) {
		before = &s->row[i];
		if (before == row || before->ifindex != ifindex || !before->interface_known)
			continue;
		row->interface_start = before->interface_start;
		row->interface_known = true;
		before->interface_start = 0;
		before->interface_known = false;
	}
}

static void
row_count(struct spool *spool, const struct capture_row *row)
{
	spool_count_set(spool, COUNTER_PACKETS_CAPTURED, row->id, row->packets);
	spool_count_set(spool, COUNTER_BYTES_CAPTURED, row->id, row->bytes);
	spool_count_set(spool, COUNTER_BYTES_ORIGINAL, row->id, row->original);
	spool_count_set(spool, COUNTER_RING_RECEIVED, row->id, row->received);
	spool_count_set(spool, COUNTER_RING_DROPPED, row->id, row->dropped);
	spool_count_set(spool, COUNTER_BEFORE_FILTER, row->id, row->before_filter);
	spool_count_set(spool, COUNTER_PACKETS_OVERSIZE, row->id, row->oversize);
	spool_count_set(spool, COUNTER_DIRECTION_UNKNOWN, row->id, row->direction_unknown);
	spool_count_set(spool, COUNTER_PAUSED, row->id, row->paused);
	spool_count_set(spool, COUNTER_OFFERED, row->id, row->offered);
	spool_count_set(spool, COUNTER_FILTERED, row->id, row->filtered);
	spool_count_set(spool, COUNTER_OWN, row->id, row->own);
	spool_count_set(spool, COUNTER_WITHHELD, row->id, row->withheld);
	spool_count_set(spool, COUNTER_SAMPLED_OUT, row->id, row->sampled_out);
	spool_count_set(spool, COUNTER_PEERS_LEFT, row->id, row->users > 0 ? row->peers_left : 0);
	spool_count_set(spool, COUNTER_PAUSED_PACKETS, row->id, row->paused_packets);
	spool_count_set(spool, COUNTER_SWITCHED, row->id, row->switched);
	spool_count_set(spool, COUNTER_INTERFACE_PACKETS, row->id, row->users > 0 ? row->interface_packets : 0);
	spool_count_set(spool, COUNTER_INTERFACE_START, row->id, row->interface_start);
	spool_count_set(spool, COUNTER_UNWATCHED, row->id, row->unwatched);
	spool_count_set(spool, COUNTER_THINNED, row->id, row->thinned);
}

void
capture_stream_count(const struct capture_stream *s)
{
	for (size_t i = 0; i < s->row_count; i++)
		row_count(s->spool, &s->row[i]);
}

void
capture_stream_stats(const struct capture_stream *s, struct msg_stats *stats, struct msg_stat stat[CAPTURE_STATS_MAX])
{
	const struct counter_row *row;
	size_t count = 0;

	for (uint32_t id = 0; id < s->row_count; id++)
		for (unsigned counter = 0; counter < COUNTER_MAX; counter++)
			if ((row = counter_row(counter)) != NULL && row->per_interface)
				stat[count++] = (struct msg_stat){ .counter = (uint16_t)counter, .interface = id,
					.value = spool_count_get(s->spool, (enum counter)counter, id) };
	*stats = (struct msg_stats){ .wall_ns = clock_wall_ns(), .count = (uint16_t)count, .stat = stat };
	memcpy(stats->stream, s->id, MSG_ID_SIZE);
}

bool
capture_stream_uncounted(const struct capture_stream *s)
{
	for (size_t i = 0; i < s->row_count; i++)
		if (s->row[i].uncounted)
			return true;
	return false;
}
