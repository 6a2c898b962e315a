/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "agent/disk_internal.h"

/* What had to go: it leaves GAPs, and the ENDs of its streams. */

static bool
push_adjoins(const struct disk_record *a, const struct disk_record *b)
{
	return a->kind == DISK_GAP && b->kind == DISK_GAP && memcmp(a->stream, b->stream, MSG_ID_SIZE) == 0 &&
	    a->last + 1 == b->first && a->place == b->place;
}

static void
push_join(struct disk_record *a, const struct disk_record *b)
{
	a->last = b->last;
	a->packets += b->packets;
	a->bytes += b->bytes;
	if (b->first_ns != 0 && (a->first_ns == 0 || b->first_ns < a->first_ns))
		a->first_ns = b->first_ns;
	if (b->last_ns > a->last_ns)
		a->last_ns = b->last_ns;
}

static void
push_remove(struct disk *d, size_t i)
{
	memmove(&d->pushed[i], &d->pushed[i + 1], (--d->pushed_count - i) * sizeof(d->pushed[0]));
	if (d->pushed_read > i)
		d->pushed_read--;
}

/* Two of the newer ones become one, else the oldest is forgotten: the counters still have it. */
static void
push_shrink(struct disk *d)
{
	for (size_t i = d->pushed_count; i-- > 1;)
		if (i != d->pushed_read && push_adjoins(&d->pushed[i - 1], &d->pushed[i])) {
			push_join(&d->pushed[i - 1], &d->pushed[i]);
			push_remove(d, i);
			return;
		}
	push_remove(d, 0);
}

void
disk_push_add(struct disk *d, const struct disk_record *r, bool joined, bool read)
{
	struct disk_record *last = d->pushed_count > 0 ? &d->pushed[d->pushed_count - 1] : NULL;

	if (joined && last != NULL && d->pushed_read < d->pushed_count && push_adjoins(last, r)) {
		push_join(last, r);
		return;
	}
	if (d->pushed_count == DISK_PUSHED_MAX)
		push_shrink(d);
	d->pushed[d->pushed_count] = *r;
	d->pushed[d->pushed_count].flags |= DISK_PUSHED;
	d->pushed[d->pushed_count++].data_len = 0;
	if (read)
		d->pushed_read = d->pushed_count;
}

static void
push_record(struct disk *d, struct disk_record *r, const struct disk_position *at)
{
	struct disk_position reading = disk_reading(d);

	if (r->kind == DISK_BLOCK) {
		spool_count_add(d->counters, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT, 1);
		spool_count_add(d->counters, COUNTER_DISK_LOST_PACKETS, STATS_AGENT, r->packets);
		spool_count_add(d->counters, COUNTER_DISK_LOST_BYTES, STATS_AGENT, r->bytes);
		r->kind = DISK_GAP;
		r->place = GAP_DISK;
		r->flags = 0;
		r->raw_len = 0;
	}
	disk_push_add(d, r, !disk_before(at, &d->handed), disk_before(at, &reading));
}

void
disk_push_out(struct disk *d)
{
	struct disk_position at = { d->first, 0 }, end = { d->first + 1, 0 };
	struct disk_segment *segment = disk_segment_of(d, d->first);
	struct disk_record record;

	if (disk_before(&at, &d->ack))
		at = d->ack;
	while (disk_record_at(d, &at, &record) && at.sequence == d->first) {
		/* An END counts as done only behind all that was before it. */
		if (record.kind == DISK_END ? (record.flags & DISK_PUSHED) == 0 : !disk_record_done(d, &record))
			push_record(d, &record, &at);
		disk_step(&at, &record);
	}
	if (segment->end > 0 && ftruncate(segment->fd, 0) == -1)
		disk_failed(d, "cut a file");
	segment->end = 0;
	d->first++;
	if (disk_before(&d->ack, &end))
		d->ack = end;
	if (disk_before(&d->read, &end))
		d->read = end;
}

static bool
push_done(struct disk *d, size_t i)
{
	struct disk_stream *s = disk_stream_find(d, d->pushed[i].stream);

	if (s == NULL)
		return true;
	if (d->pushed[i].kind != DISK_END)
		return d->pushed[i].last <= s->acked;
	return disk_end_done(s);
}

void
disk_push_advance(struct disk *d)
{
	size_t done = 0;

	while (done < d->pushed_count && push_done(d, done))
		done++;
	d->pushed_count -= done;
	memmove(d->pushed, d->pushed + done, d->pushed_count * sizeof(d->pushed[0]));
	d->pushed_read -= done < d->pushed_read ? done : d->pushed_read;
}

void
disk_item_of(const struct disk_record *r, struct spool_item *item)
{
	memcpy(item->stream, r->stream, MSG_ID_SIZE);
	if (r->kind == DISK_END) {
		item->kind = SPOOL_ENDED;
		item->entry.number = r->last;
		item->cut = (r->flags & DISK_CUT) != 0;
		return;
	}
	item->kind = SPOOL_LOST;
	item->gap = (struct msg_gap){ .first = r->first, .last = r->last, .packets = r->packets, .bytes = r->bytes,
		.first_ns = r->first_ns, .last_ns = r->last_ns, .place = r->place };
	memcpy(item->gap.stream, r->stream, MSG_ID_SIZE);
}

/* How many from the next on are one record. */
static size_t
push_joined(const struct disk *d, struct disk_record *joined)
{
	size_t at = d->pushed_read;

	*joined = d->pushed[at];
	while (++at < d->pushed_count && push_adjoins(joined, &d->pushed[at]))
		push_join(joined, &d->pushed[at]);
	return at - d->pushed_read;
}

struct disk_stream *
disk_push_next(struct disk *d, struct disk_record *r)
{
	struct disk_stream *s;

	for (; d->pushed_read < d->pushed_count; d->pushed_read++) {
		s = disk_stream_find(d, d->pushed[d->pushed_read].stream);
		if (s == NULL || (d->pushed[d->pushed_read].kind == DISK_GAP && d->pushed[d->pushed_read].last <= s->read))
			continue;
		push_joined(d, r);
		return s;
	}
	return NULL;
}

void
disk_push_step(struct disk *d)
{
	struct disk_record joined;

	if (d->pushed_read < d->pushed_count)
		d->pushed_read += push_joined(d, &joined);
}
