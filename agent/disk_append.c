/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/statvfs.h>
#include <sys/uio.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk_internal.h"

#define SEGMENT_BEGIN_MAX	(DISK_SEGMENT_HEADER + DISK_PUSHED_MAX * DISK_RECORD_HEADER)

/* Writing: always at the end of the newest segment, never over what is there. */

/* All or nothing: what of it was written lies behind the end, where the next one is written. */
static int
write_at_end(struct disk *d, struct disk_segment *segment, const struct buf *head, const void *data, size_t len)
{
	struct iovec iov[2] = { { head->data, head->len }, { (void *)(uintptr_t)data, len } };
	ssize_t n = pwritev(segment->fd, iov, len > 0 ? 2 : 1, (off_t)segment->end);
	int error;

	if (n == (ssize_t)(head->len + len)) {
		segment->end += head->len + len;
		return 0;
	}
	error = n >= 0 ? ENOSPC : errno;
	errno = error;
	disk_failed(d, "write");
	(void)!ftruncate(segment->fd, (off_t)segment->end);
	errno = error;
	return -1;
}

/* Over what is left of an older one, which is worth nothing from the moment on that it has another sequence. */
static int
segment_write_begin(struct disk *d, struct disk_segment *segment, uint64_t sequence)
{
	struct buf head;
	int errs, result = -1;

	buf_init(&head, SEGMENT_BEGIN_MAX);
	errs = disk_put_segment(&head, sequence);
	for (size_t i = 0; i < d->pushed_count; i++) {
		d->pushed[i].sequence = sequence;
		errs += disk_put_record(&head, &d->pushed[i], NULL);
	}
	segment->end = 0;
	if (errs != 0)
		errno = ENOMEM;
	else
		result = write_at_end(d, segment, &head, NULL, 0);
	if (result == 0 && ftruncate(segment->fd, (off_t)segment->end) == -1)
		disk_failed(d, "cut a file");
	buf_clear(&head);
	return result;
}

/* One of no size, as tmpfs can be, does not say. */
static uint64_t
free_bytes(const struct disk *d)
{
	struct statvfs fs;

	return fstatvfs(d->segment[0].fd, &fs) == -1 || fs.f_blocks == 0 ? UINT64_MAX : (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Also where the file system has no room for all that may be used, segments are small enough for the oldest alone to go. */
static uint64_t
segment_size_now(const struct disk *d)
{
	uint64_t have = free_bytes(d), total = d->size, least = d->size < DISK_SIZE_MIN ? d->size : DISK_SIZE_MIN;

	have = have > d->min_free ? have - d->min_free : 0;
	if (have < d->size && have + disk_used(d) < d->size)
		total = have + disk_used(d);
	return (total > least ? total : least) / DISK_SEGMENTS;
}

/* What is pushed out stands at its begin before it is cut off where it was, if the file system has room for both. */
static int
segment_begin(struct disk *d)
{
	struct disk_segment *segment = disk_segment_of(d, d->next);

	if (d->next - d->first == DISK_SEGMENTS)
		disk_push_out(d);
	if (segment_write_begin(d, segment, d->next) == -1) {
		if (errno != ENOSPC || d->cut == d->first)
			return -1;
		disk_cut(d);
		if (segment_write_begin(d, segment, d->next) == -1)
			return -1;
	}
	d->next++;
	d->spoiled = d->unsaved = false;
	d->write_interfaces = 0;
	disk_cut(d);
	d->segment_size = segment_size_now(d);
	return 0;
}

int
disk_push_save(struct disk *d)
{
	return d->unsaved ? segment_begin(d) : 0;
}

/* What was pushed out and waits to be cut: its files have room already, if only they could be written. */
static uint64_t
bytes_to_cut(struct disk *d)
{
	uint64_t bytes = 0;

	for (uint64_t sequence = d->cut; sequence < d->first; sequence++)
		if (sequence + DISK_SEGMENTS >= d->next)
			bytes += disk_segment_of(d, sequence)->end;
	return bytes;
}

/* The newest segment has room for so many bytes afterwards. Where all that may go would not be enough, nothing goes. */
static int
make_room(struct disk *d, uint64_t need)
{
	uint64_t until = d->first, have = free_bytes(d), want = d->min_free + need + SEGMENT_BEGIN_MAX;

	if (have < want)
		have += bytes_to_cut(d);
	for (; have < want && until + 1 < d->next; until++)
		have += disk_segment_of(d, until)->end;
	if (have < want) {
		errno = ENOSPC;
		return -1;
	}
	while (d->first < until)
		disk_push_out(d);
	if (!d->unsaved && !d->spoiled && d->next > d->first && disk_end(d).offset + need <= d->segment_size)
		return 0;
	return segment_begin(d);
}

/* --- items --- */

static void
record_of(const struct spool_item *item, uint64_t started_ns, struct disk_record *r)
{
	const struct spool_entry *e = &item->entry;
	const struct msg_gap *g = &item->gap;

	*r = (struct disk_record){ .kind = DISK_END, .flags = item->cut ? DISK_CUT : 0, .first = e->number, .last = e->number };
	if (item->kind == SPOOL_ENDED && item->data != NULL)
		r->data_len = e->data_len;
	if (item->kind == SPOOL_BLOCK)
		*r = (struct disk_record){ .kind = DISK_BLOCK, .flags = e->flags & BLOCK_EVENT, .codec = e->codec,
			.data_len = e->data_len, .first = e->number, .last = e->number, .raw_len = e->raw_len,
			.packets = e->packets, .bytes = e->bytes, .first_ns = e->first_ns, .last_ns = e->last_ns };
	else if (item->kind == SPOOL_LOST)
		*r = (struct disk_record){ .kind = DISK_GAP, .place = g->place, .first = g->first, .last = g->last,
			.packets = g->packets, .bytes = g->bytes, .first_ns = g->first_ns, .last_ns = g->last_ns };
	memcpy(r->stream, item->stream, MSG_ID_SIZE);
	r->started_ns = started_ns;
}

/* Which interfaces are new; bytes of their records. */
static uint64_t
interfaces_size(const struct disk *d, struct spool *from, const uint8_t *stream)
{
	uint32_t id = memcmp(d->write_stream, stream, MSG_ID_SIZE) == 0 ? d->write_interfaces : 0;
	uint8_t idb[MSG_IDB_MAX];
	uint64_t size = 0;
	int len;

	for (; (len = spool_interface_get(from, stream, id, idb)) != -1; id++)
		size += DISK_RECORD_HEADER + (uint64_t)len;
	return size;
}

static int
write_record(struct disk *d, struct disk_record *r, const void *data)
{
	struct disk_segment *segment = disk_segment_of(d, d->next - 1);
	struct buf head;
	int result = -1;

	buf_init(&head, DISK_RECORD_HEADER);
	r->sequence = d->next - 1;
	if (disk_put_record(&head, r, data) == 0)
		result = write_at_end(d, segment, &head, data, r->data_len);
	buf_clear(&head);
	return result;
}

static int
write_interfaces(struct disk *d, struct spool *from, const struct spool_item *item, uint64_t started_ns)
{
	struct disk_record r = { .kind = DISK_INTERFACE, .started_ns = started_ns };
	uint8_t idb[MSG_IDB_MAX];
	int len;

	if (memcmp(d->write_stream, item->stream, MSG_ID_SIZE) != 0)
		d->write_interfaces = 0;
	memcpy(d->write_stream, item->stream, MSG_ID_SIZE);
	memcpy(r.stream, item->stream, MSG_ID_SIZE);
	while ((len = spool_interface_get(from, item->stream, d->write_interfaces, idb)) > 0) {
		r.first = r.last = d->write_interfaces;
		r.data_len = (uint32_t)len;
		if (write_record(d, &r, idb) == -1)
			return -1;
		d->write_interfaces++;
	}
	return 0;
}

static void
append_undo(struct disk *d, const struct disk_record *r)
{
	struct disk_stream *s = disk_stream_find(d, r->stream);

	if (r->kind == DISK_END)
		s->ended = false;
	else {
		s->last = r->first - 1;
		s->sum = disk_sum_before(r);
	}
}

/* It is the oldest that memory has: what is missing between the newest here and this one was acknowledged there, and so was all. */
static void
acknowledged_in_memory(struct disk_stream *s, const struct disk_record *r)
{
	uint64_t number = disk_number_before(r);

	if (s == NULL || number <= s->last)
		return;
	s->last = s->acked = number;
	s->acked_sum = s->sum;
	if (s->read < number) {
		s->read = number;
		s->read_sum = s->sum;
	}
	if (s->handed < number)
		s->handed = number;
}

/* Its sums go on from those of the stream. */
static void
sum_of(const struct disk_stream *s, struct disk_record *r)
{
	r->sum = (struct disk_sum){ r->packets, r->bytes };
	if (s == NULL)
		return;
	r->sum.packets += s->sum.packets;
	r->sum.bytes += s->sum.bytes;
}

/* The books of its stream. */
static int
note(struct disk *d, struct disk_record *r)
{
	struct disk_stream *s = disk_stream_find(d, r->stream);

	acknowledged_in_memory(s, r);
	sum_of(s, r);
	return disk_stream_note(d, r);
}

int
disk_append(struct disk *d, struct spool *from, const struct spool_item *item, uint64_t started_ns)
{
	struct disk_record r;
	uint64_t need;

	record_of(item, started_ns, &r);
	need = DISK_RECORD_HEADER + r.data_len;
	if (item->kind == SPOOL_BLOCK)
		need += interfaces_size(d, from, item->stream);
	if (make_room(d, need) == -1 || (item->kind == SPOOL_BLOCK && write_interfaces(d, from, item, started_ns) == -1))
		return -1;
	if (note(d, &r) == -1)
		return -1;
	if (write_record(d, &r, item->data) == 0)
		return 0;
	append_undo(d, &r);
	return -1;
}

void
disk_skip(struct disk *d)
{
	d->skip = disk_end(d);
	if (disk_before(&d->handed, &d->skip))
		d->handed = d->skip;
	d->pushed_read = d->pushed_count;
	for (size_t i = 0; i < d->stream_count; i++) {
		d->stream[i].read = d->stream[i].handed = d->stream[i].last;
		d->stream[i].read_sum = d->stream[i].sum;
		d->stream[i].end_read = d->stream[i].ended;
	}
}

void
disk_handed(struct disk *d, const uint8_t id[MSG_ID_SIZE])
{
	struct disk_stream *s = disk_stream_find(d, id);

	d->handed = disk_end(d);
	if (s != NULL)
		s->handed = s->last;
}

void
disk_lose(struct disk *d, struct spool *from, const struct spool_item *item, uint64_t started_ns)
{
	struct disk_record r;

	record_of(item, started_ns, &r);
	if (disk_append(d, from, item, started_ns) == -1)
		(void)note(d, &r);
	/* What stood there may have been. */
	disk_handed(d, r.stream);
	disk_count_lost(d, &r);
}
