/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk_internal.h"

/* Reading, in order: what was pushed out, then the segments. Each segment is read from its begin, for the interfaces in it. */

static bool
data_read(struct disk *d, const struct disk_position *at, const struct disk_record *r)
{
	ssize_t n = pread(disk_segment_of(d, at->sequence)->fd, d->data, r->data_len, (off_t)(at->offset + DISK_RECORD_HEADER));

	if (n == -1)
		disk_failed(d, "read");
	return n == (ssize_t)r->data_len && disk_data_good(r, d->data);
}

/* --- interfaces --- */

static void
take_interface(struct disk *d, const struct disk_position *at, const struct disk_record *r)
{
	struct disk_interfaces *t = &d->interfaces;

	if (memcmp(t->stream, r->stream, MSG_ID_SIZE) != 0) {
		memcpy(t->stream, r->stream, MSG_ID_SIZE);
		t->count = 0;
		buf_consume(&t->idb, t->idb.len);
	}
	/* Those of earlier segments are repeated. */
	if (r->first != t->count || !data_read(d, at, r) || buf_put(&t->idb, d->data, r->data_len) == -1)
		return;
	t->at[t->count] = t->idb.len - r->data_len;
	t->len[t->count++] = r->data_len;
}

int
disk_interface_get(struct disk *d, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out)
{
	const struct disk_interfaces *t = &d->interfaces;

	if (memcmp(t->stream, stream, MSG_ID_SIZE) == 0 && id < t->count) {
		memcpy(out, t->idb.data + t->at[id], t->len[id]);
		return (int)t->len[id];
	}
	errno = ENOENT;
	return -1;
}

/* --- items --- */

static void
count_damaged(struct disk *d, const struct disk_position *at, uint64_t blocks, uint64_t packets, uint64_t bytes)
{
	if (disk_before(at, &d->damaged))
		return;
	d->damaged = *at;
	d->damaged.offset++;
	spool_count_add(d->counters, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT, blocks);
	spool_count_add(d->counters, COUNTER_DISK_LOST_PACKETS, STATS_AGENT, packets);
	spool_count_add(d->counters, COUNTER_DISK_LOST_BYTES, STATS_AGENT, bytes);
}

/* Numbers that are missing before this record were in a place that cannot be read: of how many packets, nobody knows. */
static bool
take_hole(struct disk *d, const struct disk_stream *s, const struct disk_position *at, const struct disk_record *r,
    struct spool_item *item)
{
	bool same = memcmp(d->read_stream, r->stream, MSG_ID_SIZE) == 0;
	struct disk_record hole = { .kind = DISK_GAP, .place = GAP_DISK, .first_ns = s->started_ns, .last_ns = r->first_ns };
	uint64_t before = same && d->read_number > s->acked ? d->read_number : s->acked;

	hole.first = before + 1;
	hole.last = r->kind == DISK_END ? r->last : r->first - 1;
	if (hole.last < hole.first)
		return false;
	if (hole.last_ns < hole.first_ns)
		hole.last_ns = hole.first_ns;
	memcpy(hole.stream, r->stream, MSG_ID_SIZE);
	count_damaged(d, at, hole.last - hole.first + 1, 0, 0);
	disk_item_of(&hole, item);
	memcpy(d->read_stream, r->stream, MSG_ID_SIZE);
	d->read_number = hole.last;
	return true;
}

static void
take_block(struct disk *d, const struct disk_position *at, struct disk_record *r, struct spool_item *item)
{
	if (!data_read(d, at, r)) {
		count_damaged(d, at, 1, r->packets, r->bytes);
		r->kind = DISK_GAP;
		r->place = GAP_DISK;
		disk_item_of(r, item);
		return;
	}
	item->kind = SPOOL_BLOCK;
	memcpy(item->stream, r->stream, MSG_ID_SIZE);
	item->entry = (struct spool_entry){ .number = r->first, .codec = r->codec, .flags = r->flags & BLOCK_EVENT,
		.raw_len = r->raw_len, .data_len = r->data_len, .packets = (uint32_t)r->packets, .bytes = r->bytes,
		.first_ns = r->first_ns, .last_ns = r->last_ns };
	item->data = d->data;
}

static void
take_record(struct disk *d, const struct disk_stream *s, const struct disk_position *at, struct disk_record *r,
    struct spool_item *item)
{
	if (r->kind == DISK_BLOCK) {
		take_block(d, at, r, item);
	} else {
		disk_item_of(r, item);
		if (item->kind == SPOOL_LOST && item->gap.first <= s->acked)
			item->gap.first = s->acked + 1;
	}
	memcpy(d->read_stream, r->stream, MSG_ID_SIZE);
	d->read_number = r->last;
}

/* Interfaces of what is passed over are taken too. */
static bool
passes(struct disk *d, const struct disk_record *r)
{
	if (r->kind == DISK_INTERFACE)
		take_interface(d, &d->read, r);
	else if ((r->flags & DISK_PUSHED) == 0 && disk_before(&d->read, &d->skip)) {
		memcpy(d->read_stream, r->stream, MSG_ID_SIZE);
		d->read_number = r->last;
	}
	return r->kind == DISK_INTERFACE || (r->flags & DISK_PUSHED) != 0 || disk_before(&d->read, &d->skip) ||
	    (r->kind != DISK_END && disk_record_done(d, r, false));
}

/* Of streams that the receiver has not been told of in HELLO, once all before is acknowledged. */
static bool
waits_for_hello(struct disk *d, const struct disk_stream *s, bool (*known)(void *, const uint8_t *), void *arg)
{
	if (s->listed || known(arg, s->id))
		return false;
	disk_advance(d);
	d->unlisted = d->pushed_read == 0 && (d->pushed_count > 0 || !disk_before(&d->ack, &d->read));
	return true;
}

void
disk_next(struct disk *d, struct spool_item *item, bool (*known)(void *arg, const uint8_t *stream), void *arg)
{
	struct disk_stream *s;
	struct disk_record r;

	memset(item, 0, sizeof(*item));
	if (d->pushed_read < d->pushed_count && (s = disk_stream_find(d, d->pushed[d->pushed_read].stream)) != NULL &&
	    waits_for_hello(d, s, known, arg))
		return;
	if (disk_push_next(d, item))
		return;
	while (item->kind == SPOOL_NOTHING && disk_record_at(d, &d->read, &r)) {
		if (!passes(d, &r) && (s = disk_stream_find(d, r.stream)) != NULL) {
			if (waits_for_hello(d, s, known, arg))
				return;
			if (take_hole(d, s, &d->read, &r, item))
				return;
			take_record(d, s, &d->read, &r, item);
		}
		disk_step(&d->read, &r);
	}
	if (disk_before(&d->handed, &d->read))
		d->handed = d->read;
	if (item->kind == SPOOL_ENDED)
		disk_advance(d);
}

bool
disk_unlisted(const struct disk *d)
{
	return d->unlisted;
}

void
disk_rewind(struct disk *d)
{
	d->unlisted = false;
	d->pushed_read = 0;
	d->skip = d->ack;
	d->read = (struct disk_position){ d->ack.sequence, 0 };
	memset(d->read_stream, 0, sizeof(d->read_stream));
	d->read_number = 0;
	memset(d->interfaces.stream, 0, sizeof(d->interfaces.stream));
	d->interfaces.count = 0;
	buf_consume(&d->interfaces.idb, d->interfaces.idb.len);
}

bool
disk_unread(const struct disk *d)
{
	struct disk_position reading = disk_reading(d), end = disk_end(d);

	return d->pushed_read < d->pushed_count || (d->first < d->next && disk_before(&reading, &end));
}
