/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#include "agent/disk_internal.h"

#define FAILED_LOG_MS	10000

void
disk_failed(struct disk *d, const char *what)
{
	static struct log_limit limit;

	log_limited(&limit, FAILED_LOG_MS, LOG_LEVEL_ERROR, "the disk spool: cannot %s: %s", what, strerror(errno));
	spool_count_add(d->counters, COUNTER_DISK_ERRORS, STATS_AGENT, 1);
}

struct disk_position
disk_end(const struct disk *d)
{
	struct disk_position end = { .sequence = d->next };

	if (d->next > d->first) {
		end.sequence = d->next - 1;
		end.offset = d->segment[end.sequence % DISK_SEGMENTS].end;
	}
	return end;
}

struct disk_position
disk_reading(const struct disk *d)
{
	return disk_before(&d->read, &d->skip) ? d->skip : d->read;
}

void
disk_step(struct disk_position *at, const struct disk_record *record)
{
	at->offset += DISK_RECORD_HEADER + record->data_len;
}

int
disk_record_read(struct disk *d, const struct disk_position *at, struct disk_record *record)
{
	const struct disk_segment *segment = disk_segment_of(d, at->sequence);
	uint8_t header[DISK_RECORD_HEADER];
	ssize_t n;

	errno = EBADMSG;
	if (segment->end < DISK_RECORD_HEADER || at->offset > segment->end - DISK_RECORD_HEADER)
		return -1;
	if ((n = pread(segment->fd, header, sizeof(header), (off_t)at->offset)) == -1)
		disk_failed(d, "read");
	if (n != (ssize_t)sizeof(header) || disk_get_record(header, record) == -1)
		return -1;
	return record->sequence == at->sequence && record->data_len <= segment->end - at->offset - DISK_RECORD_HEADER ? 0 : -1;
}

bool
disk_record_at(struct disk *d, struct disk_position *at, struct disk_record *record)
{
	if (at->sequence < d->first)
		*at = (struct disk_position){ d->first, 0 };
	for (;;) {
		if (at->offset < DISK_SEGMENT_HEADER)
			at->offset = DISK_SEGMENT_HEADER;
		if (at->sequence < d->next && disk_record_read(d, at, record) == 0)
			return true;
		if (at->sequence + 1 == d->next && at->offset < disk_segment_of(d, at->sequence)->end)
			d->spoiled = true;
		if (at->sequence + 1 >= d->next) {
			*at = disk_end(d);
			return false;
		}
		*at = (struct disk_position){ at->sequence + 1, 0 };
	}
}

/* --- what is lost --- */

struct disk_sum
disk_sum_between(const struct disk_sum *from, const struct disk_sum *to)
{
	return (struct disk_sum){ to->packets > from->packets ? to->packets - from->packets : 0,
		to->bytes > from->bytes ? to->bytes - from->bytes : 0 };
}

struct disk_sum
disk_sum_before(const struct disk_record *r)
{
	const struct disk_sum own = { r->packets, r->bytes };

	return disk_sum_between(&own, &r->sum);
}

struct disk_record
disk_hole(const struct disk_stream *s, uint64_t from, const struct disk_sum *from_sum, uint64_t last,
    const struct disk_sum *last_sum, uint64_t last_ns)
{
	struct disk_sum lost = disk_sum_between(from_sum, last_sum);
	struct disk_record hole = { .kind = DISK_GAP, .place = GAP_DISK, .started_ns = s->started_ns, .first = from + 1,
		.last = last, .packets = lost.packets, .bytes = lost.bytes, .first_ns = s->started_ns,
		.last_ns = last_ns > s->started_ns ? last_ns : s->started_ns, .sum = *last_sum };

	memcpy(hole.stream, s->id, MSG_ID_SIZE);
	return hole;
}

void
disk_count_lost(struct disk *d, const struct disk_record *lost)
{
	spool_count_add(d->counters, COUNTER_DISK_LOST_BLOCKS, STATS_AGENT, lost->last - lost->first + 1);
	spool_count_add(d->counters, COUNTER_DISK_LOST_PACKETS, STATS_AGENT, lost->packets);
	spool_count_add(d->counters, COUNTER_DISK_LOST_BYTES, STATS_AGENT, lost->bytes);
}

void
disk_count_damaged(struct disk *d, struct disk_stream *s, const struct disk_record *lost)
{
	static struct log_limit limit;
	struct disk_record more = *lost;

	if (lost->last <= s->damaged)
		return;
	disk_gap_behind(&more, s->damaged, &s->damaged_sum);
	disk_count_lost(d, &more);
	s->damaged = lost->last;
	s->damaged_sum = lost->sum;
	spool_count_add(d->counters, COUNTER_DISK_ERRORS, STATS_AGENT, 1);
	log_limited(&limit, FAILED_LOG_MS, LOG_LEVEL_ERROR, "the disk spool: blocks %llu to %llu of a stream cannot be read",
	    (unsigned long long)lost->first, (unsigned long long)lost->last);
}

/* --- streams --- */

struct disk_stream *
disk_stream_find(const struct disk *d, const uint8_t id[MSG_ID_SIZE])
{
	for (size_t i = d->stream_count; i-- > 0;)
		if (memcmp(d->stream[i].id, id, MSG_ID_SIZE) == 0)
			return &d->stream[i];
	return NULL;
}

bool
disk_stream_done(const struct disk_stream *s)
{
	return s->acked >= s->last && (!s->ended || s->end_done);
}

static void
streams_forget(struct disk *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->stream_count; i++)
		if (!disk_stream_done(&d->stream[i]))
			d->stream[kept++] = d->stream[i];
	d->stream_count = kept;
}

int
disk_stream_note(struct disk *d, const struct disk_record *r)
{
	struct disk_stream *s;

	if (r->kind == DISK_INTERFACE)
		return 0;
	if ((s = disk_stream_find(d, r->stream)) == NULL) {
		if (d->stream_count == DISK_STREAMS_MAX)
			streams_forget(d);
		if (d->stream_count == DISK_STREAMS_MAX) {
			errno = ENOSPC;
			return -1;
		}
		s = &d->stream[d->stream_count++];
		*s = (struct disk_stream){ .started_ns = r->started_ns, .first = r->first, .last = r->first - 1 };
		memcpy(s->id, r->stream, MSG_ID_SIZE);
		if (r->kind == DISK_END) {
			s->first = r->first + 1;
			s->last = r->first;
		}
		s->acked = s->read = s->damaged = s->handed = s->first - 1;
		s->sum = s->acked_sum = s->read_sum = s->damaged_sum = disk_sum_before(r);
	}
	if (r->kind == DISK_END) {
		s->ended = true;
		s->cut = (r->flags & DISK_CUT) != 0;
		s->end_read = s->end_done = false;
	}
	if (r->last > s->last) {
		s->last = r->last;
		s->sum = r->sum;
	}
	return 0;
}

static void
stream_tell(const struct disk_stream *s, struct spool_stream *out)
{
	memcpy(out->id, s->id, MSG_ID_SIZE);
	out->started_ns = s->started_ns;
	out->first = s->acked + 1;
	out->last = s->last;
	out->ended = s->ended;
}

size_t
disk_streams(struct disk *d, struct spool_stream *out, size_t max)
{
	size_t count = 0;

	disk_advance(d);
	for (size_t i = 0; i < d->stream_count && count < max; i++)
		if (!disk_stream_done(&d->stream[i]))
			stream_tell(&d->stream[i], &out[count++]);
	return count;
}

void
disk_set_listed(struct disk *d, const uint8_t (*id)[MSG_ID_SIZE], size_t count)
{
	struct disk_stream *s;

	for (size_t i = 0; i < d->stream_count; i++)
		d->stream[i].listed = false;
	for (size_t i = 0; i < count; i++)
		if ((s = disk_stream_find(d, id[i])) != NULL)
			s->listed = true;
}

bool
disk_stream(const struct disk *d, const uint8_t id[MSG_ID_SIZE], struct spool_stream *out)
{
	const struct disk_stream *s = disk_stream_find(d, id);

	if (s != NULL)
		stream_tell(s, out);
	return s != NULL;
}

/* --- acknowledgement --- */

bool
disk_end_done(struct disk_stream *s)
{
	if (s->end_read && s->acked >= s->last)
		s->end_done = true;
	return s->end_done;
}

uint64_t
disk_number_before(const struct disk_record *r)
{
	return r->kind == DISK_END ? r->last : r->first - 1;
}

bool
disk_record_done(const struct disk *d, const struct disk_record *r)
{
	struct disk_stream *s;

	if (r->kind == DISK_INTERFACE || (r->flags & DISK_PUSHED) != 0 || (s = disk_stream_find(d, r->stream)) == NULL)
		return true;
	return r->kind == DISK_END ? disk_end_done(s) : r->last <= s->acked;
}

void
disk_cut(struct disk *d)
{
	struct disk_segment *segment;

	for (; d->cut < d->first; d->cut++) {
		segment = disk_segment_of(d, d->cut);
		/* Its file may be in use again already. */
		if (d->cut + DISK_SEGMENTS < d->next || segment->end == 0)
			continue;
		if (ftruncate(segment->fd, 0) == -1)
			disk_failed(d, "cut a file");
		segment->end = 0;
	}
}

/* Numbers behind the acknowledged ones of this stream are neither in the next record (NULL: none is left) nor before it. */
static bool
hole_follows(const struct disk_stream *s, const struct disk_record *next)
{
	if (next != NULL && memcmp(next->stream, s->id, MSG_ID_SIZE) == 0)
		return s->acked < disk_number_before(next);
	return s->acked < s->last;
}

/* The last record before a hole stays until the hole is acknowledged: it tells a restart that there is one. */
static void
advance_ack(struct disk *d)
{
	struct disk_position at = d->ack, kept = at;
	struct disk_stream *s, *kept_stream = NULL;
	struct disk_record r;
	bool found;

	for (; (found = disk_record_at(d, &at, &r)) && disk_record_done(d, &r); disk_step(&at, &r)) {
		if (!disk_numbered(&r) || (s = disk_stream_find(d, r.stream)) == NULL)
			continue;
		s->acked_sum = r.sum;
		kept_stream = s;
		kept = at;
	}
	d->ack = kept_stream != NULL && hole_follows(kept_stream, found ? &r : NULL) ? kept : at;
}

void
disk_advance(struct disk *d)
{
	struct disk_record record;

	disk_push_advance(d);
	if (d->pushed_count > 0)
		return;
	advance_ack(d);
	while (d->first < d->next && (d->first < d->ack.sequence || !disk_record_at(d, &d->ack, &record)))
		d->first++;
	disk_cut(d);
	if (d->first == d->next && d->write_interfaces > 0) {
		memset(d->write_stream, 0, sizeof(d->write_stream));
		d->write_interfaces = 0;
	}
}

bool
disk_was_handed(const struct disk *d, const uint8_t id[MSG_ID_SIZE], uint64_t number)
{
	const struct disk_stream *s = disk_stream_find(d, id);

	return s == NULL || number <= s->handed;
}

int
disk_acknowledge(struct disk *d, const uint8_t id[MSG_ID_SIZE], uint64_t number)
{
	struct disk_stream *s = disk_stream_find(d, id);

	if (s == NULL)
		return 0;
	if (number > s->last)
		number = s->last;
	if (number > s->handed) {
		errno = EINVAL;
		return -1;
	}
	if (number > s->acked)
		s->acked = number;
	(void)disk_end_done(s);
	disk_advance(d);
	if (s->acked > s->read) {
		s->read = s->acked;
		s->read_sum = s->acked_sum;
	}
	return 0;
}

void
disk_discard(struct disk *d, const uint8_t id[MSG_ID_SIZE])
{
	struct disk_stream *s = disk_stream_find(d, id);

	if (s == NULL)
		return;
	s->handed = s->last;
	s->end_read = true;
	(void)disk_acknowledge(d, id, s->last);
}

bool
disk_empty(const struct disk *d)
{
	if (d->first < d->next || d->pushed_count > 0)
		return false;
	for (size_t i = 0; i < d->stream_count; i++)
		if (!disk_stream_done(&d->stream[i]))
			return false;
	return true;
}

uint64_t
disk_used(const struct disk *d)
{
	uint64_t used = 0;

	for (uint64_t sequence = d->first; sequence < d->next; sequence++)
		used += d->segment[sequence % DISK_SEGMENTS].end;
	return d->first < d->next && d->ack.sequence == d->first && d->ack.offset <= used ? used - d->ack.offset : used;
}

uint64_t
disk_size(const struct disk *d)
{
	return d->size;
}

/* --- life --- */

struct disk *
disk_new(const int fd[DISK_SEGMENTS], uint64_t size, uint64_t min_free, struct spool *counters)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->size = size;
	d->segment_size = size / DISK_SEGMENTS;
	d->min_free = min_free;
	d->counters = counters;
	d->stream = calloc(DISK_STREAMS_MAX, sizeof(*d->stream));
	d->pushed = calloc(DISK_PUSHED_MAX, sizeof(*d->pushed));
	d->data = malloc(MSG_BLOCK_MAX);
	buf_init(&d->interfaces.idb, MSG_INTERFACES_MAX * MSG_IDB_MAX);
	if (d->stream == NULL || d->pushed == NULL || d->data == NULL) {
		disk_free(d);
		errno = ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		d->segment[i].fd = fd[i];
	disk_load(d);
	return d;
}

void
disk_free(struct disk *d)
{
	if (d == NULL)
		return;
	buf_clear(&d->interfaces.idb);
	free(d->stream);
	free(d->pushed);
	free(d->data);
	free(d);
}
