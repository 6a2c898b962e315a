/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk_internal.h"

/* Reading, in order: what was pushed out, then the segments. Each segment is read from its begin, for the interfaces in it. */

bool
disk_data_read(struct disk *d, const struct disk_position *at, const struct disk_record *r)
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
	if (r->first != t->count || !disk_data_read(d, at, r) || buf_put(&t->idb, d->data, r->data_len) == -1)
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
read_up_to(struct disk_stream *s, const struct disk_record *r)
{
	s->read = r->last;
	s->read_sum = r->sum;
	if (s->handed < s->read)
		s->handed = s->read;
}

/* Numbers up to last that no record has. */
static bool
take_hole(struct disk *d, struct disk_stream *s, uint64_t last, const struct disk_sum *sum, uint64_t last_ns,
    struct spool_item *item)
{
	struct disk_record hole;

	if (last <= s->read)
		return false;
	hole = disk_hole(s, s->read, &s->read_sum, last, sum, last_ns);
	disk_count_damaged(d, s, &hole);
	disk_item_of(&hole, item);
	read_up_to(s, &hole);
	return true;
}

static bool
take_hole_before(struct disk *d, struct disk_stream *s, const struct disk_record *r, struct spool_item *item)
{
	struct disk_sum sum = disk_sum_before(r);

	return take_hole(d, s, disk_number_before(r), &sum, r->first_ns, item);
}

/* The rest of a stream whose records have all been passed, its END at last. */
static void
take_missing(struct disk *d, struct disk_stream *s, struct spool_item *item)
{
	struct disk_record end = { .kind = DISK_END, .flags = s->cut ? DISK_CUT : 0, .first = s->last, .last = s->last };

	if (take_hole(d, s, s->last, &s->sum, 0, item))
		return;
	memcpy(end.stream, s->id, MSG_ID_SIZE);
	disk_item_of(&end, item);
	s->end_read = true;
}

static void
take_block(struct disk *d, struct disk_stream *s, struct disk_record *r, struct spool_item *item)
{
	if (!disk_data_read(d, &d->read, r)) {
		disk_count_damaged(d, s, r);
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
take_end(struct disk *d, struct disk_stream *s, const struct disk_record *r, struct spool_item *item)
{
	disk_item_of(r, item);
	s->end_read = true;
	if (r->data_len == 0)
		return;
	if (!disk_data_read(d, &d->read, r)) {
		errno = EBADMSG;
		disk_failed(d, "read the last counters of a stream");
		return;
	}
	item->entry.data_len = r->data_len;
	item->data = d->data;
}

static void
take_record(struct disk *d, struct disk_stream *s, struct disk_record *r, struct spool_item *item)
{
	if (r->kind == DISK_GAP)
		disk_gap_behind(r, s->read, &s->read_sum);
	if (r->kind == DISK_BLOCK)
		take_block(d, s, r, item);
	else if (r->kind == DISK_GAP)
		disk_item_of(r, item);
	if (r->kind == DISK_END)
		take_end(d, s, r, item);
	else
		read_up_to(s, r);
}

/* --- order --- */

/* Interfaces of what is passed over are taken too. */
static bool
passes(struct disk *d, const struct disk_record *r, struct disk_stream **s)
{
	if (r->kind == DISK_INTERFACE)
		take_interface(d, &d->read, r);
	if (r->kind == DISK_INTERFACE || (r->flags & DISK_PUSHED) != 0 || (*s = disk_stream_find(d, r->stream)) == NULL)
		return true;
	if (disk_numbered(r) && r->last <= (*s)->read)
		(*s)->read_sum = r->sum;
	return disk_before(&d->read, &d->skip) || (r->kind == DISK_END ? (*s)->end_read : r->last <= (*s)->read);
}

/* The next record to hand out, and its stream; NULL: none is left. */
static struct disk_stream *
next_record(struct disk *d, struct disk_record *r, bool *pushed)
{
	struct disk_stream *s = disk_push_next(d, r);

	if ((*pushed = s != NULL))
		return s;
	for (; disk_record_at(d, &d->read, r); disk_step(&d->read, r))
		if (!passes(d, r, &s))
			return s;
	return NULL;
}

/* The oldest stream before this one (NULL: of all) that is not read to its end. */
static struct disk_stream *
unread_stream(const struct disk *d, const struct disk_stream *before)
{
	for (size_t i = 0; i < d->stream_count && &d->stream[i] != before; i++)
		if (d->stream[i].read < d->stream[i].last || (d->stream[i].ended && !d->stream[i].end_read))
			return &d->stream[i];
	return NULL;
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
	struct disk_record r;
	bool pushed;
	struct disk_stream *s = next_record(d, &r, &pushed), *missing = unread_stream(d, s);

	memset(item, 0, sizeof(*item));
	if (missing != NULL || s != NULL) {
		if (waits_for_hello(d, missing != NULL ? missing : s, known, arg))
			return;
		if (missing != NULL)
			take_missing(d, missing, item);
		else if (!take_hole_before(d, s, &r, item)) {
			take_record(d, s, &r, item);
			if (pushed)
				disk_push_step(d);
			else
				disk_step(&d->read, &r);
		}
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
	for (size_t i = 0; i < d->stream_count; i++) {
		d->stream[i].read = d->stream[i].acked;
		d->stream[i].read_sum = d->stream[i].acked_sum;
		d->stream[i].end_read = d->stream[i].end_done;
	}
	memset(d->interfaces.stream, 0, sizeof(d->interfaces.stream));
	d->interfaces.count = 0;
	buf_consume(&d->interfaces.idb, d->interfaces.idb.len);
}

bool
disk_unread(const struct disk *d)
{
	struct disk_position reading = disk_reading(d), end = disk_end(d);

	return d->pushed_read < d->pushed_count || (d->first < d->next && disk_before(&reading, &end)) ||
	    unread_stream(d, NULL) != NULL;
}
