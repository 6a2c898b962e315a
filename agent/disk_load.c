/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#include "agent/disk_internal.h"

/* At the start: what the files of an earlier process hold. */

static void
load_refused(struct disk *d, size_t i, uint64_t bytes, const char *why)
{
	log_error("the disk spool: %llu bytes of segment-%02zu are thrown away: %s", (unsigned long long)bytes, i, why);
	spool_count_add(d->counters, COUNTER_DISK_ERRORS, STATS_AGENT, 1);
}

/* What begins with a good header is a segment; anything else is worth nothing. */
static uint64_t
load_header(struct disk *d, size_t i)
{
	uint8_t header[DISK_SEGMENT_HEADER];
	uint64_t sequence;
	struct stat st;

	if (fstat(d->segment[i].fd, &st) == -1 || st.st_size == 0)
		return 0;
	errno = EBADMSG;
	if (pread(d->segment[i].fd, header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
	    disk_get_segment(header, &sequence) == -1 || sequence % DISK_SEGMENTS != i) {
		load_refused(d, i, (uint64_t)st.st_size, errno == ENOTSUP ? "they are of another version's format" :
		    "their header is damaged or cannot be read");
		return 0;
	}
	d->segment[i].end = (uint64_t)st.st_size;
	return sequence;
}

/* The files that belong together are those less than one round behind the newest. */
static void
load_headers(struct disk *d)
{
	uint64_t sequence[DISK_SEGMENTS], newest = 0;

	for (size_t i = 0; i < DISK_SEGMENTS; i++)
		if ((sequence[i] = load_header(d, i)) > newest)
			newest = sequence[i];
	d->next = newest + 1;
	d->first = d->next;
	for (size_t i = 0; i < DISK_SEGMENTS; i++) {
		if (sequence[i] == 0 || newest - sequence[i] >= DISK_SEGMENTS) {
			d->segment[i].end = 0;
			if (ftruncate(d->segment[i].fd, 0) == -1)
				disk_failed(d, "cut a file");
		} else if (sequence[i] < d->first)
			d->first = sequence[i];
	}
}

static void
load_record(struct disk *d, const struct disk_record *r, bool newest)
{
	if (r->kind != DISK_INTERFACE && (r->flags & DISK_PUSHED) != 0 && newest)
		disk_push_add(d, r, false, false);
	if (memcmp(d->write_stream, r->stream, MSG_ID_SIZE) != 0)
		d->write_interfaces = 0;
	memcpy(d->write_stream, r->stream, MSG_ID_SIZE);
	if (r->kind == DISK_INTERFACE)
		d->write_interfaces = (uint32_t)r->first + 1;
}

/* Up to the first record that is not whole, or is of one stream too many. */
static void
load_segment(struct disk *d, uint64_t sequence)
{
	struct disk_segment *segment = disk_segment_of(d, sequence);
	struct disk_position at = { sequence, DISK_SEGMENT_HEADER };
	struct disk_record record;
	bool newest = sequence + 1 == d->next, noted = true;

	d->write_interfaces = 0;
	if (segment->end == 0)
		return;
	while (disk_record_read(d, &at, &record) == 0 &&
	    (noted = (record.flags & DISK_PUSHED) != 0 || disk_stream_note(d, &record) == 0)) {
		load_record(d, &record, newest);
		disk_step(&at, &record);
	}
	if (at.offset == segment->end)
		return;
	load_refused(d, sequence % DISK_SEGMENTS, segment->end - at.offset, noted ?
	    "they are torn or damaged" : "they are of more streams than there may be");
	segment->end = at.offset;
	if (ftruncate(segment->fd, (off_t)at.offset) == -1)
		disk_failed(d, "cut a file");
}

void
disk_load(struct disk *d)
{
	struct disk_record *pushed = d->pushed;

	load_headers(d);
	/* Of what was pushed out the streams come first. */
	if (d->first < d->next)
		load_segment(d, d->next - 1);
	d->stream_count = 0;
	for (size_t i = 0; i < d->pushed_count; i++)
		(void)disk_stream_note(d, &pushed[i]);
	d->pushed_count = 0;
	for (uint64_t sequence = d->first; sequence < d->next; sequence++)
		load_segment(d, sequence);
	d->unsaved = false;
	for (size_t i = 0; i < d->stream_count; i++)
		d->stream[i].handed = d->stream[i].last;
	d->handed = disk_end(d);
	d->cut = d->first;
	d->ack = (struct disk_position){ d->first, 0 };
	disk_rewind(d);
	while (disk_used(d) > d->size && d->first + 1 < d->next)
		disk_push_out(d);
	/* If they cannot be written now, the next append tries again. */
	(void)disk_push_save(d);
	disk_advance(d);
}
