/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "agent/disk_internal.h"

/* What had to go: it leaves GAPs, with what was missing between, and the ENDs of its streams. */

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
	a->sum = b->sum;
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

/* Two of the newer ones become one, else the oldest is forgotten: it is a hole then, which the sum of the stream's next record
 * tells, or the stream's own while this process lives. A stream with no other record is unknown to the next start. */
static void
push_shrink(struct disk *d)
{
	struct disk_stream *s = disk_stream_find(d, d->pushed[0].stream);

	for (size_t i = d->pushed_count; i-- > 1;)
		if (i != d->pushed_read && push_adjoins(&d->pushed[i - 1], &d->pushed[i])) {
			push_join(&d->pushed[i - 1], &d->pushed[i]);
			push_remove(d, i);
			return;
		}
	if (s != NULL && s->damaged < d->pushed[0].last) {
		s->damaged = d->pushed[0].last;
		s->damaged_sum = d->pushed[0].sum;
	}
	push_remove(d, 0);
}

void
disk_push_add(struct disk *d, const struct disk_record *r, bool joined, bool read)
{
	struct disk_record *last = d->pushed_count > 0 ? &d->pushed[d->pushed_count - 1] : NULL;

	d->unsaved = true;
	if (joined && last != NULL && (last->flags & DISK_JOINED) != 0 && push_adjoins(last, r)) {
		push_join(last, r);
		return;
	}
	if (d->pushed_count == DISK_PUSHED_MAX)
		push_shrink(d);
	d->pushed[d->pushed_count] = *r;
	d->pushed[d->pushed_count].flags = (uint8_t)((r->flags & ~DISK_JOINED) | DISK_PUSHED | (joined ? DISK_JOINED : 0));
	d->pushed[d->pushed_count++].data_len = 0;
	if (read)
		d->pushed_read = d->pushed_count;
}

void
disk_gap_behind(struct disk_record *gap, uint64_t number, const struct disk_sum *sum)
{
	struct disk_sum rest = disk_sum_between(sum, &gap->sum);

	if (gap->first > number)
		return;
	gap->first = number + 1;
	if (gap->packets > rest.packets)
		gap->packets = rest.packets;
	if (gap->bytes > rest.bytes)
		gap->bytes = rest.bytes;
}

/* The newest number of the stream that is acknowledged or among what was pushed out. */
static uint64_t
push_last(const struct disk *d, const struct disk_stream *s, struct disk_sum *sum)
{
	const struct disk_record *r;

	for (size_t i = d->pushed_count; i-- > 0;) {
		r = &d->pushed[i];
		if (r->kind == DISK_END || memcmp(r->stream, s->id, MSG_ID_SIZE) != 0)
			continue;
		if (r->last <= s->acked)
			break;
		*sum = r->sum;
		return r->last;
	}
	*sum = s->acked_sum;
	return s->acked;
}

/* What no record has of the numbers up to last. */
static void
push_hole(struct disk *d, struct disk_stream *s, uint64_t last, const struct disk_sum *sum, uint64_t last_ns, bool joined)
{
	struct disk_sum from_sum;
	uint64_t from = push_last(d, s, &from_sum);
	struct disk_record hole;

	if (last <= from)
		return;
	hole = disk_hole(s, from, &from_sum, last, sum, last_ns);
	disk_count_damaged(d, s, &hole);
	disk_push_add(d, &hole, joined, s->read >= last);
}

static bool
push_has_end(const struct disk *d, const struct disk_stream *s)
{
	for (size_t i = d->pushed_count; i-- > 0;)
		if (d->pushed[i].kind == DISK_END && memcmp(d->pushed[i].stream, s->id, MSG_ID_SIZE) == 0)
			return true;
	return false;
}

/* A stream whose records are all passed is pushed out to its end. */
static void
push_rest(struct disk *d, struct disk_stream *s)
{
	struct disk_record end = { .kind = DISK_END, .flags = s->cut ? DISK_CUT : 0, .started_ns = s->started_ns, .first = s->last,
		.last = s->last, .sum = s->sum };

	push_hole(d, s, s->last, &s->sum, 0, false);
	if (!s->ended || disk_end_done(s) || push_has_end(d, s))
		return;
	memcpy(end.stream, s->id, MSG_ID_SIZE);
	disk_push_add(d, &end, false, s->end_read);
}

/* Up to where this record begins. */
static void
push_until(struct disk *d, struct disk_stream *s, const struct disk_record *r, bool joined)
{
	struct disk_sum sum = disk_sum_before(r);

	/* Where a stream goes on, those before it were looked at already. */
	if (d->pushed_count == 0 || memcmp(d->pushed[d->pushed_count - 1].stream, s->id, MSG_ID_SIZE) != 0)
		for (struct disk_stream *older = d->stream; older < s; older++)
			push_rest(d, older);
	push_hole(d, s, disk_number_before(r), &sum, r->first_ns, joined);
}

static void
push_record(struct disk *d, struct disk_record *r, const struct disk_position *at)
{
	struct disk_position reading = disk_reading(d);
	struct disk_stream *s = disk_stream_find(d, r->stream);
	bool joined = !disk_before(at, &d->handed);
	struct disk_sum sum;
	uint64_t from;

	if (r->kind == DISK_INTERFACE || (r->flags & DISK_PUSHED) != 0 || s == NULL)
		return;
	if (disk_record_done(d, r)) {
		if (disk_numbered(r))
			s->acked_sum = r->sum;
		return;
	}
	push_until(d, s, r, joined);
	from = push_last(d, s, &sum);
	/* After a crash while it was being pushed out it is there twice. */
	if (r->kind == DISK_END ? push_has_end(d, s) : r->last <= from)
		return;
	if (r->kind == DISK_BLOCK) {
		/* The reader has counted those that it could not read. */
		if (r->last > s->damaged || disk_data_read(d, at, r))
			disk_count_lost(d, r);
		r->kind = DISK_GAP;
		r->place = GAP_DISK;
		r->flags = 0;
		r->raw_len = 0;
	}
	if (r->kind == DISK_GAP)
		disk_gap_behind(r, from, &sum);
	disk_push_add(d, r, joined, disk_before(at, &reading));
}

/* The next record that is left tells what is missing before it. */
static void
push_until_next(struct disk *d, struct disk_position at)
{
	struct disk_record r;
	struct disk_stream *s;

	for (; disk_record_at(d, &at, &r); disk_step(&at, &r)) {
		if (r.kind == DISK_INTERFACE || (r.flags & DISK_PUSHED) != 0 || (s = disk_stream_find(d, r.stream)) == NULL)
			continue;
		push_until(d, s, &r, !disk_before(&at, &d->handed));
		return;
	}
}

void
disk_push_out(struct disk *d)
{
	struct disk_position at = { d->first, 0 }, end = { d->first + 1, 0 };
	struct disk_record record;

	if (disk_before(&at, &d->ack))
		at = d->ack;
	for (; disk_record_at(d, &at, &record) && at.sequence == d->first; disk_step(&at, &record))
		push_record(d, &record, &at);
	push_until_next(d, at);
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
	struct disk_stream *s;
	size_t done = 0;

	for (; done < d->pushed_count && push_done(d, done); done++)
		if (d->pushed[done].kind != DISK_END && (s = disk_stream_find(d, d->pushed[done].stream)) != NULL)
			s->acked_sum = d->pushed[done].sum;
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
		item->entry.data_len = 0;
		item->data = NULL;
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

/* Whether it was handed out or acknowledged in this session, by itself or not. */
static bool
push_passes(struct disk_stream *s, const struct disk_record *r)
{
	if (r->kind == DISK_END)
		return s->end_read;
	if (r->last > s->read)
		return false;
	s->read_sum = r->sum;
	return true;
}

struct disk_stream *
disk_push_next(struct disk *d, struct disk_record *r)
{
	struct disk_stream *s;

	for (; d->pushed_read < d->pushed_count; d->pushed_read++) {
		s = disk_stream_find(d, d->pushed[d->pushed_read].stream);
		if (s == NULL || push_passes(s, &d->pushed[d->pushed_read]))
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
	size_t count = d->pushed_read < d->pushed_count ? push_joined(d, &joined) : 0;

	for (; count > 0; count--)
		d->pushed[d->pushed_read++].flags &= (uint8_t)~DISK_JOINED;
}
