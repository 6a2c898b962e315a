/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "agent/backlog.h"
#include "agent/disk.h"
#include "common/log.h"

#define STEP_BYTES	(2u * 1024 * 1024)	/* moved in one turn of the event loop */
#define STEP_ITEMS	1024u
#define RETRY_NS	UINT64_C(10000000000)	/* after the disk failed */
#define FULL_LOG_MS	60000

static void
tell_level(const struct backlog *b)
{
	spool_count_set(b->spool, COUNTER_DISK_BYTES, STATS_AGENT, disk_used(b->disk));
}

/* Numbers behind last that no receiver has, nor the disk or memory: they stood in a place that cannot be read any more. Nobody
 * knows how many packets were in them: the GAP says none, the log and the errors say that it is not so. */
static void
tell_hole(struct backlog *b, const struct spool_stream *stream, uint64_t last)
{
	struct spool_item item = { .kind = SPOOL_LOST };

	item.gap = (struct msg_gap){ .first = last + 1, .last = stream->first - 1, .first_ns = stream->started_ns,
		.last_ns = stream->started_ns, .place = GAP_DISK };
	memcpy(item.stream, stream->id, MSG_ID_SIZE);
	memcpy(item.gap.stream, stream->id, MSG_ID_SIZE);
	log_error("the disk spool: blocks %llu to %llu of a stream are gone; how many packets were in them is not known",
	    (unsigned long long)item.gap.first, (unsigned long long)item.gap.last);
	spool_count_add(b->spool, COUNTER_DISK_ERRORS, STATS_AGENT, 1);
	disk_lose(b->disk, b->spool, &item, stream->started_ns);
}

/* What the disk or a receiver has of the stream is not memory's; what neither has, nor memory, is lost. */
static void
settle_stream(struct backlog *b, const struct spool_stream *stream)
{
	uint64_t durable = spool_durable(b->spool, stream->id), last = durable;
	struct spool_stream on_disk;

	(void)disk_acknowledge(b->disk, stream->id, durable);
	if (disk_stream(b->disk, stream->id, &on_disk)) {
		spool_confirm(b->spool, stream->id, on_disk.last);
		if (on_disk.last > last)
			last = on_disk.last;
	}
	if (stream->first > last + 1)
		tell_hole(b, stream, last);
}

/* An older process of this role may have died between writing and dropping. */
static void
drop_what_disk_has(struct backlog *b)
{
	struct spool_stream stream[MSG_STREAMS_MAX], on_disk;
	size_t count = spool_streams(b->spool, stream);
	struct spool_item item;
	uint64_t started_ns;

	for (size_t i = 0; i < count; i++)
		settle_stream(b, &stream[i]);
	spool_peek(b->spool, &item, &started_ns);
	spool_release(b->spool);
	if (item.kind == SPOOL_ENDED && disk_stream(b->disk, item.stream, &on_disk) && on_disk.ended)
		spool_drop(b->spool);
}

void
backlog_init(struct backlog *b, struct spool *spool, struct disk *disk)
{
	*b = (struct backlog){ .spool = spool, .disk = disk };
	if (disk == NULL)
		return;
	drop_what_disk_has(b);
	spool_rewind(spool);
	tell_level(b);
}

void
backlog_clear(struct backlog *b)
{
	last_stats_clear(&b->last);
}

void
backlog_keep_last(struct backlog *b, const struct msg_stats *stats)
{
	if (last_stats_put(&b->last, stats) == -1)
		log_warn("the last counters of a stream are not kept: %s", strerror(errno));
}

static void
add_last(const struct backlog *b, struct spool_item *item)
{
	const struct buf *frame = item->kind == SPOOL_ENDED ? last_stats_get(&b->last, item->stream) : NULL;

	if (frame == NULL)
		return;
	item->data = frame->data;
	item->entry.data_len = (uint32_t)frame->len;
}

static size_t
find_stream(const struct spool_stream *stream, size_t count, const uint8_t *id)
{
	size_t i = 0;

	while (i < count && memcmp(stream[i].id, id, MSG_ID_SIZE) != 0)
		i++;
	return i;
}

/* What memory has of a stream, behind what the disk has of it. */
static void
join_stream(struct spool_stream *out, const struct spool_stream *memory)
{
	out->last = memory->last;
	out->ended = memory->ended;
}

/* The last place is for the stream that is being captured: left out, it would count as given up. */
size_t
backlog_streams(struct backlog *b, struct spool_stream out[MSG_STREAMS_MAX])
{
	struct spool_stream memory[MSG_STREAMS_MAX];
	size_t count, memory_count, at;

	memory_count = spool_streams(b->spool, b->disk != NULL ? memory : out);
	if (b->disk == NULL)
		return memory_count;
	count = disk_streams(b->disk, out, MSG_STREAMS_MAX - (memory_count > 0));
	for (size_t i = 0; i < memory_count; i++) {
		if ((at = find_stream(out, count, memory[i].id)) == count) {
			if (count == MSG_STREAMS_MAX - (i + 1 < memory_count))
				continue;
			if (!disk_stream(b->disk, memory[i].id, &out[at]) || out[at].first > out[at].last)
				out[at] = memory[i];
			count++;
		}
		join_stream(&out[at], &memory[i]);
	}
	return count;
}

void
backlog_set_listed(struct backlog *b, const uint8_t (*id)[MSG_ID_SIZE], size_t count)
{
	if (b->disk != NULL)
		disk_set_listed(b->disk, id, count);
}

int
backlog_interface_get(struct backlog *b, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out)
{
	int len = spool_interface_get(b->spool, stream, id, out);

	return len == -1 && b->disk != NULL ? disk_interface_get(b->disk, stream, id, out) : len;
}

static bool
in_memory(void *spool, const uint8_t *stream)
{
	return spool_has_stream(spool, stream);
}

void
backlog_next(struct backlog *b, struct spool_item *item)
{
	b->from_disk = false;
	if (b->disk != NULL && disk_unread(b->disk)) {
		disk_next(b->disk, item, in_memory, b->spool);
		b->from_disk = item->kind != SPOOL_NOTHING;
		if (b->from_disk || disk_unread(b->disk))
			return;
	}
	spool_next(b->spool, item);
	add_last(b, item);
}

void
backlog_release(struct backlog *b)
{
	if (!b->from_disk)
		spool_release(b->spool);
}

int
backlog_acknowledge(struct backlog *b, const uint8_t stream[MSG_ID_SIZE], uint64_t number)
{
	struct spool_stream on_disk;
	uint64_t there;

	if (b->disk == NULL || !disk_stream(b->disk, stream, &on_disk))
		return spool_acknowledge(b->spool, stream, number);
	there = number < on_disk.last ? number : on_disk.last;
	if (!disk_was_handed(b->disk, stream, there)) {
		errno = EINVAL;
		return -1;
	}
	/* After a power cut the collector may have more than the disk, and memory none of it. */
	if (number > on_disk.last && spool_has_stream(b->spool, stream) && spool_acknowledge(b->spool, stream, number) == -1)
		return -1;
	/* First: what the disk cuts is a hole to a role that comes after one killed here, unless it knows where it went. */
	spool_set_durable(b->spool, stream, there);
	(void)disk_acknowledge(b->disk, stream, there);
	tell_level(b);
	return 0;
}

void
backlog_rewind(struct backlog *b)
{
	if (b->disk != NULL)
		disk_rewind(b->disk);
	spool_rewind(b->spool);
}

bool
backlog_empty(const struct backlog *b)
{
	return spool_empty(b->spool) && (b->disk == NULL || disk_empty(b->disk));
}

uint64_t
backlog_discard_old(struct backlog *b)
{
	struct spool_stream stream[MSG_STREAMS_MAX];
	uint64_t before = b->disk != NULL ? disk_used(b->disk) : 0;
	size_t count, old;

	do {
		count = b->disk != NULL ? disk_streams(b->disk, stream, MSG_STREAMS_MAX) : 0;
		old = 0;
		for (size_t i = 0; i < count; i++)
			if (!spool_has_stream(b->spool, stream[i].id)) {
				disk_discard(b->disk, stream[i].id);
				old++;
			}
	} while (old > 0);
	if (b->disk == NULL)
		return 0;
	tell_level(b);
	return before - disk_used(b->disk);
}

bool
backlog_urgent(const struct backlog *b)
{
	return spool_used(b->spool) >= spool_size(b->spool) / 2 ||
	    (b->disk != NULL && disk_used(b->disk) >= disk_size(b->disk) / 2);
}

bool
backlog_hello_due(const struct backlog *b)
{
	return b->disk != NULL && disk_unlisted(b->disk);
}

/* --- to the disk --- */

/* Bytes moved; 0: nothing is there; -1 with errno. The reading position keeps its place in the queue. */
static int64_t
move_one(struct backlog *b)
{
	bool all_read = !disk_unread(b->disk), read, handed;
	struct spool_item item;
	uint64_t started_ns;

	spool_peek(b->spool, &item, &started_ns);
	if (item.kind == SPOOL_NOTHING)
		return 0;
	read = spool_peek_read(b->spool);
	handed = spool_peek_handed(b->spool);
	add_last(b, &item);
	if (disk_append(b->disk, b->spool, &item, started_ns) == -1) {
		spool_release(b->spool);
		return -1;
	}
	spool_drop(b->spool);
	if (handed)
		disk_handed(b->disk, item.stream);
	if (all_read && read)
		disk_skip(b->disk);
	tell_level(b);
	return (int64_t)item.entry.data_len + 1;
}

static bool
move_failed(struct backlog *b, uint64_t now_ns)
{
	static struct log_limit limit;

	log_limited(&limit, FULL_LOG_MS, LOG_LEVEL_WARN, "the disk spool takes nothing more for now (%s): what comes waits in memory",
	    errno == ENOSPC ? "no room above --spool-min-free" : strerror(errno));
	b->spilling = false;
	b->retry_ns = now_ns + RETRY_NS;
	return false;
}

bool
backlog_spill(struct backlog *b, uint64_t now_ns)
{
	int64_t moved, total = 0;

	if (b->disk == NULL || now_ns < b->retry_ns)
		return false;
	if (!b->spilling && spool_used(b->spool) < spool_size(b->spool) / 2)
		return false;
	b->spilling = true;
	for (unsigned i = 0; i < STEP_ITEMS && total < STEP_BYTES; i++) {
		if (spool_used(b->spool) <= spool_size(b->spool) / 4) {
			b->spilling = false;
			return false;
		}
		if ((moved = move_one(b)) == -1)
			return move_failed(b, now_ns);
		if (moved == 0)
			break;
		total += moved;
	}
	return total > 0;
}

bool
backlog_flush(struct backlog *b, bool (*before)(void *arg), void *arg)
{
	while (b->disk != NULL && !spool_empty(b->spool) && before(arg))
		if (move_one(b) <= 0)
			break;
	return spool_empty(b->spool);
}
