/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>

#include <errno.h>
#include <string.h>

#include "agent/spool_internal.h"

/* Reading has three cases: a block whose payload could be taken, a stretch of lost ones, the end of a stream. */

#define SPOOL_TRIES	64		/* at reading what the producer is pushing out just then; afterwards: in a moment */

static void
spool_mark_store(struct spool_mark_words *words, const struct spool_mark *mark)
{
	spool_store(words->position, SPOOL_NONE);
	spool_store(words->last_ns, mark->last_ns);
	spool_sum_store(&words->sum, &mark->sum);
	spool_store(words->position, mark->position);
}

static struct spool_mark
spool_mark_load(const struct spool_mark_words *words)
{
	struct spool_mark mark;

	mark.position = spool_load(words->position);
	mark.last_ns = spool_load(words->last_ns);
	mark.sum = spool_sum_load(&words->sum);
	return mark;
}

/* The stream that the position belongs to. */
static bool
spool_stream_at(const struct spool *spool, uint64_t position, struct spool_stream_record *stream)
{
	uint64_t streams = spool_load(spool->producer->streams);

	for (uint64_t i = 0; i < MSG_STREAMS_MAX && i < streams; i++)
		if (spool_stream_read(spool, streams - i, stream) && stream->first <= position)
			return stream->end == SPOOL_NONE || position <= stream->end;
	return false;
}

static bool
spool_stream_by_id(const struct spool *spool, const uint8_t id[MSG_ID_SIZE], struct spool_stream_record *stream)
{
	uint64_t streams = spool_load(spool->producer->streams);

	for (uint64_t i = 0; i < MSG_STREAMS_MAX && i < streams; i++)
		if (spool_stream_read(spool, streams - i, stream) && memcmp(stream->id, id, MSG_ID_SIZE) == 0)
			return true;
	return false;
}

/* Position of its END, or where the next entry of it will be. */
static uint64_t
spool_stream_limit(const struct spool_stream_record *stream, uint64_t tail)
{
	return stream->end != SPOOL_NONE ? stream->end : tail;
}

static bool
spool_mark_find(const struct spool *spool, uint64_t position, struct spool_mark *mark)
{
	for (uint64_t i = spool->c.mark_first; i < spool->c.mark_next; i++) {
		*mark = spool_mark_load(&spool->consumer->mark[i % SPOOL_MARKS]);
		if (mark->position == position)
			return true;
	}
	return false;
}

/* The sums below a position of this stream: from the marks (exact even if the index has moved on), or the index. */
static bool
spool_mark_at(const struct spool *spool, const struct spool_stream_record *stream, uint64_t position, struct spool_mark *mark)
{
	struct spool_record record;

	if (spool_mark_find(spool, position, mark))
		return true;
	*mark = (struct spool_mark){ .position = position, .last_ns = stream->started_ns };
	if (position <= stream->first) {
		mark->sum = stream->first_sum;
	} else if (position >= stream->end) {
		mark->sum = stream->end_sum;
		mark->last_ns = stream->end_ns;
	} else if (spool_record_read(spool, position - 1, &record)) {
		mark->sum = record.sum;
		mark->last_ns = record.last_ns;
	} else if (spool_record_read(spool, position, &record)) {
		if (record.first_ns != 0)
			mark->last_ns = record.first_ns;
		mark->sum.packets = record.sum.packets - record.packets;
		mark->sum.bytes = record.sum.bytes - record.bytes;
		mark->sum.stored = record.sum.stored - record.data_len;
	} else {
		/* Inside a gap whose descriptions are gone, where no collector acknowledges: all of it counts as what is left. */
		mark->sum = spool->c.ack_mark.sum;
		mark->last_ns = spool->c.ack_mark.last_ns;
		return false;
	}
	return true;
}

static void
spool_set_read(struct spool *spool, const struct spool_mark *mark)
{
	spool->c.read_mark = *mark;
	if (mark->position <= spool->c.handed)
		return;
	spool->c.handed = mark->position;
	spool_store(spool->consumer->handed, mark->position);
}

/* Marks rise. */
static uint64_t
spool_last_mark(const struct spool *spool)
{
	const struct spool_consumer *c = &spool->c;

	return c->mark_next > c->mark_first ? spool_load(spool->consumer->mark[(c->mark_next - 1) % SPOOL_MARKS].position) : 0;
}

/* The first end of a handed out item behind the position, or SPOOL_NONE. */
static uint64_t
spool_mark_after(const struct spool *spool, uint64_t position)
{
	uint64_t low = spool->c.mark_first, high = spool->c.mark_next, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (spool_load(spool->consumer->mark[middle % SPOOL_MARKS].position) > position)
			high = middle;
		else
			low = middle + 1;
	}
	return low < spool->c.mark_next ? spool_load(spool->consumer->mark[low % SPOOL_MARKS].position) : SPOOL_NONE;
}

/* Moves on behind an item that is handed out. */
static void
spool_hand_out(struct spool *spool, const struct spool_mark *mark)
{
	struct spool_consumer *c = &spool->c;

	c->peeked = *mark;
	if (c->peeking)
		return;
	/* In a later session the same items come again: the receiver may have any number of them. */
	if (c->mark_next == c->mark_first || spool_last_mark(spool) < mark->position) {
		spool_mark_store(&spool->consumer->mark[c->mark_next % SPOOL_MARKS], mark);
		c->mark_next++;
		spool_store(spool->consumer->mark_next, c->mark_next);
	}
	spool_set_read(spool, mark);
}

static void
spool_set_ack(struct spool *spool, const struct spool_mark *mark)
{
	struct spool_consumer *c = &spool->c;

	/* The one that is in force stays whole until ack says otherwise. */
	c->ack_mark = *mark;
	c->ack_slot ^= 1;
	spool_mark_store(&spool->consumer->ack_mark[c->ack_slot], mark);
	spool_store(spool->consumer->ack, mark->position);
	/* Only now are the marks below of no use to the consumer that might come after this one. */
	while (c->mark_first < c->mark_next &&
	    spool_load(spool->consumer->mark[c->mark_first % SPOOL_MARKS].position) <= mark->position)
		c->mark_first++;
	spool_store(spool->consumer->mark_first, c->mark_first);
	if (c->read_mark.position < mark->position)
		spool_set_read(spool, mark);
}

/* How far this stream is done with. */
static uint64_t
spool_acked_position(const struct spool *spool, const struct spool_stream_record *stream, uint64_t tail)
{
	const struct spool_consumer *c = &spool->c;
	const size_t slot = stream->sequence % MSG_STREAMS_MAX;
	uint64_t limit = spool_stream_limit(stream, tail), position = c->ack_mark.position;

	if (stream->sequence <= c->void_streams)
		return stream->end != SPOOL_NONE ? stream->end + 1 : tail;
	if (c->acked[slot].sequence == stream->sequence && c->acked[slot].mark.position > position)
		position = c->acked[slot].mark.position;
	if (position > limit)
		position = limit;
	/* END has no number of its own: it is done once it was handed out and nothing before it is left. */
	if (position == stream->end && c->read_mark.position > stream->end)
		position++;
	return position;
}

/* Moves the acknowledged position over all that is done. */
static void
spool_advance(struct spool *spool)
{
	struct spool_stream_record stream;
	struct spool_mark mark;
	uint64_t position, tail = spool_tail(spool);

	for (unsigned i = 0; i <= MSG_STREAMS_MAX && spool->c.ack_mark.position < tail; i++) {
		if (!spool_stream_at(spool, spool->c.ack_mark.position, &stream))
			return;
		position = spool_acked_position(spool, &stream, tail);
		if (position <= spool->c.ack_mark.position)
			return;
		mark = spool->c.acked[stream.sequence % MSG_STREAMS_MAX].mark;
		if (mark.position != position)
			spool_mark_at(spool, &stream, position, &mark);
		spool_set_ack(spool, &mark);
	}
}

size_t
spool_streams(struct spool *spool, struct spool_stream out[MSG_STREAMS_MAX])
{
	struct spool_consumer *c = &spool->c;
	struct spool_stream_record stream;
	uint64_t streams, limit, tail, slot;
	size_t count = 0;

	spool_advance(spool);
	tail = spool_tail(spool);
	streams = spool_load(spool->producer->streams);
	for (uint64_t i = MSG_STREAMS_MAX; i-- > 0;) {
		if (i >= streams || !spool_stream_read(spool, streams - i, &stream) || stream.sequence <= c->void_streams ||
		    (stream.end != SPOOL_NONE && stream.end < c->ack_mark.position))
			continue;
		limit = spool_stream_limit(&stream, tail);
		slot = stream.sequence % MSG_STREAMS_MAX;
		memcpy(out[count].id, stream.id, MSG_ID_SIZE);
		out[count].started_ns = stream.started_ns;
		out[count].first = 1;
		if (c->ack_mark.position > stream.first)
			out[count].first = c->ack_mark.position - stream.first + 1;
		if (c->acked[slot].sequence == stream.sequence && c->acked[slot].mark.position - stream.first >= out[count].first)
			out[count].first = c->acked[slot].mark.position - stream.first + 1;
		out[count].last = limit > stream.first ? limit - stream.first : 0;
		out[count].ended = stream.end != SPOOL_NONE;
		count++;
	}
	return count;
}

int
spool_interface_get(struct spool *spool, const uint8_t id[MSG_ID_SIZE], uint32_t interface, uint8_t *out)
{
	struct spool_stream_record stream;
	uint64_t slot, place, offset, length;

	if (spool_stream_by_id(spool, id, &stream) && interface < stream.interface_count && interface < MSG_INTERFACES_MAX) {
		slot = stream.sequence % MSG_STREAMS_MAX;
		place = spool_load(spool->streams[slot].interface[interface]);
		offset = place >> 32;
		length = place & UINT32_MAX;
		if (length <= MSG_IDB_MAX && offset <= SPOOL_IDB_SPACE - length) {
			memcpy(out, spool->idb + slot * SPOOL_IDB_SPACE + offset, length);
			if (spool_load(spool->streams[slot].sequence) == stream.sequence)
				return (int)length;
		}
	}
	errno = ENOENT;
	return -1;
}

/* Hold first, look afterwards (spool_internal.h). */
static bool
spool_take(struct spool *spool, const struct spool_record *record)
{
	if (record->place != SPOOL_PLACE_BLOCK)
		return false;
	spool_store(spool->consumer->hold_data, spool_extent(record->data, record->data_len));
	atomic_store(&spool->consumer->hold, record->position);
	if (atomic_load(&spool->producer->gone) <= record->position)
		return true;
	spool_release(spool);
	return false;
}

void
spool_release(struct spool *spool)
{
	atomic_store(&spool->consumer->hold, SPOOL_NONE);
}

static void
spool_next_block(struct spool *spool, const struct spool_stream_record *stream, const struct spool_record *record,
    struct spool_item *item)
{
	struct spool_mark mark = { .position = record->position + 1, .last_ns = record->last_ns, .sum = record->sum };

	item->kind = SPOOL_BLOCK;
	item->entry.number = record->position - stream->first + 1;
	item->entry.codec = record->codec;
	item->entry.flags = record->flags & BLOCK_EVENT;
	item->entry.raw_len = record->raw_len;
	item->entry.data_len = record->data_len;
	item->entry.packets = record->packets;
	item->entry.bytes = record->bytes;
	item->entry.first_ns = record->first_ns;
	item->entry.last_ns = record->last_ns;
	item->data = spool->data + record->data;
	spool_hand_out(spool, &mark);
}

static void
spool_next_end(struct spool *spool, const struct spool_stream_record *stream, struct spool_item *item)
{
	struct spool_mark mark = { .position = stream->end + 1, .last_ns = spool->c.read_mark.last_ns, .sum = stream->end_sum };

	item->kind = SPOOL_ENDED;
	item->entry.number = stream->end - stream->first;
	item->entry.data_len = 0;
	item->data = NULL;
	item->cut = stream->cut;
	spool_hand_out(spool, &mark);
	if (!spool->c.peeking)
		spool_advance(spool);
}

/* Where the entry was lost; 0: it was not. */
static uint8_t
spool_lost_place(const struct spool *spool, const struct spool_record *record)
{
	if (record->place == SPOOL_PLACE_BLOCK && atomic_load(&spool->producer->gone) <= record->position)
		return 0;
	return record->place == GAP_CAPTURE || record->place == GAP_PULL ? record->place : GAP_SPOOL;
}

static void
spool_gap_add(struct msg_gap *gap, uint8_t place, const struct spool_record *record)
{
	gap->place = place;
	if (record->first_ns != 0 && (gap->first_ns == 0 || record->first_ns < gap->first_ns))
		gap->first_ns = record->first_ns;
	if (record->last_ns > gap->last_ns)
		gap->last_ns = record->last_ns;
}

/* To the first position that the index still has, or the stream's end: what is between has only sums, and the neighbours' times. */
static bool
spool_skip_forgotten(struct spool *spool, const struct spool_stream_record *stream, struct spool_mark *mark, struct msg_gap *gap)
{
	struct spool_mark to;
	uint64_t tail, limit, position;

	for (unsigned i = 0; i < SPOOL_TRIES; i++) {
		tail = spool_tail(spool);
		limit = spool_stream_limit(stream, tail);
		position = tail >= spool->index_count ? tail - spool->index_count + 1 : 0;
		if (position > limit)
			position = limit;
		if (position > spool->c.stop)
			position = spool->c.stop;
		if (position <= mark->position || !spool_mark_at(spool, stream, position, &to) || to.position != position)
			continue;
		gap->place = GAP_SPOOL;
		gap->first_ns = mark->position == stream->first ? stream->started_ns : mark->last_ns;
		gap->last_ns = to.last_ns > gap->first_ns ? to.last_ns : gap->first_ns;
		*mark = to;
		return true;
	}
	return false;
}

/* Lost neighbours from the reading position on, as one gap; to where an item ended that was handed out, since a receiver may have
 * that: what it counts for the rest is then exact. */
static bool
spool_next_lost(struct spool *spool, const struct spool_stream_record *stream, uint64_t tail, struct spool_item *item)
{
	struct spool_mark from = spool->c.read_mark, mark = from;
	struct msg_gap *gap = &item->gap;
	struct spool_record record;
	uint64_t limit = spool_stream_limit(stream, tail);
	uint8_t place;

	if (limit > spool->c.stop)
		limit = spool->c.stop;
	if (!spool_record_read(spool, mark.position, &record) && !spool_skip_forgotten(spool, stream, &mark, gap))
		return false;
	while (mark.position < limit && spool_record_read(spool, mark.position, &record) &&
	    (place = spool_lost_place(spool, &record)) != 0 && (gap->place == 0 || gap->place == place)) {
		spool_gap_add(gap, place, &record);
		mark.position++;
		mark.last_ns = record.last_ns;
		mark.sum = record.sum;
	}
	if (mark.position == from.position)
		return false;
	item->kind = SPOOL_LOST;
	memcpy(gap->stream, stream->id, MSG_ID_SIZE);
	gap->first = from.position - stream->first + 1;
	gap->last = mark.position - stream->first;
	gap->packets = mark.sum.packets - from.sum.packets;
	gap->bytes = mark.sum.bytes - from.sum.bytes;
	spool_hand_out(spool, &mark);
	return true;
}

/* False: look again, the producer was just pushing out what stood here. */
static bool
spool_next_try(struct spool *spool, struct spool_item *item)
{
	struct spool_stream_record stream;
	struct spool_record record;
	uint64_t tail = spool_tail(spool), position = spool->c.read_mark.position;

	if (position >= tail || !spool_stream_at(spool, position, &stream))
		return true;
	memcpy(item->stream, stream.id, MSG_ID_SIZE);
	if (position == stream.end) {
		spool_next_end(spool, &stream, item);
		return true;
	}
	if (!spool_record_read(spool, position, &record) || !spool_take(spool, &record))
		return spool_next_lost(spool, &stream, tail, item);
	spool_next_block(spool, &stream, &record, item);
	return true;
}

void
spool_next(struct spool *spool, struct spool_item *item)
{
	struct spool_consumer *c = &spool->c;

	memset(item, 0, sizeof(*item));
	spool_release(spool);
	spool_advance(spool);
	c->stop = spool_mark_after(spool, c->read_mark.position);
	c->stalled = c->stop == SPOOL_NONE && c->mark_next - c->mark_first >= SPOOL_MARKS;
	for (unsigned i = 0; i < SPOOL_TRIES && !c->stalled; i++)
		if (spool_next_try(spool, item))
			return;
}

/* The sums are looked up now, while the marks are there. */
static void
spool_set_acked(struct spool *spool, const struct spool_stream_record *stream, uint64_t position)
{
	struct spool_consumer *c = &spool->c;
	const size_t slot = stream->sequence % MSG_STREAMS_MAX;
	struct spool_mark mark;

	if (position <= c->ack_mark.position ||
	    (c->acked[slot].sequence == stream->sequence && position <= c->acked[slot].mark.position))
		return;
	spool_mark_at(spool, stream, position, &mark);
	c->acked[slot].sequence = stream->sequence;
	c->acked[slot].mark = mark;
	spool_store(spool->consumer->acked[slot].sequence, 0);
	spool_mark_store(&spool->consumer->acked[slot].mark, &mark);
	spool_store(spool->consumer->acked[slot].sequence, stream->sequence);
}

int
spool_acknowledge(struct spool *spool, const uint8_t id[MSG_ID_SIZE], uint64_t number)
{
	struct spool_consumer *c = &spool->c;
	struct spool_stream_record stream;

	if (!spool_stream_by_id(spool, id, &stream) || stream.first > c->handed || number > c->handed - stream.first ||
	    (stream.end != SPOOL_NONE && number > stream.end - stream.first)) {
		errno = EINVAL;
		return -1;
	}
	spool_set_acked(spool, &stream, stream.first + number);
	spool_set_durable(spool, id, number);
	spool_advance(spool);
	if (c->stalled)
		spool_wake(spool);
	return 0;
}

uint64_t
spool_durable(const struct spool *spool, const uint8_t id[MSG_ID_SIZE])
{
	struct spool_stream_record stream;
	uint64_t slot;

	if (!spool_stream_by_id(spool, id, &stream))
		return 0;
	slot = stream.sequence % MSG_STREAMS_MAX;
	return spool_load(spool->consumer->durable[slot].sequence) == stream.sequence ?
	    spool_load(spool->consumer->durable[slot].number) : 0;
}

void
spool_set_durable(struct spool *spool, const uint8_t id[MSG_ID_SIZE], uint64_t number)
{
	struct spool_stream_record stream;
	uint64_t slot;

	if (number <= spool_durable(spool, id) || !spool_stream_by_id(spool, id, &stream))
		return;
	slot = stream.sequence % MSG_STREAMS_MAX;
	if (spool_load(spool->consumer->durable[slot].sequence) != stream.sequence) {
		spool_store(spool->consumer->durable[slot].sequence, 0);
		spool_store(spool->consumer->durable[slot].number, number);
		spool_store(spool->consumer->durable[slot].sequence, stream.sequence);
	} else
		spool_store(spool->consumer->durable[slot].number, number);
}

void
spool_rewind(struct spool *spool)
{
	spool_release(spool);
	spool_set_read(spool, &spool->c.ack_mark);
}

/* --- moving on to the disk --- */

void
spool_peek(struct spool *spool, struct spool_item *item, uint64_t *started_ns)
{
	struct spool_consumer *c = &spool->c;
	struct spool_stream_record stream;
	struct spool_mark read;
	bool done = false;

	memset(item, 0, sizeof(*item));
	spool_release(spool);
	spool_advance(spool);
	read = c->read_mark;
	c->read_mark = c->ack_mark;
	c->stop = spool_mark_after(spool, c->ack_mark.position);
	c->peeking = true;
	for (unsigned i = 0; i < SPOOL_TRIES && !done; i++)
		done = spool_next_try(spool, item);
	c->peeking = false;
	c->read_mark = read;
	*started_ns = item->kind != SPOOL_NOTHING && spool_stream_by_id(spool, item->stream, &stream) ? stream.started_ns : 0;
}

bool
spool_peek_read(const struct spool *spool)
{
	return spool->c.peeked.position <= spool->c.read_mark.position;
}

bool
spool_peek_handed(const struct spool *spool)
{
	return spool->c.peeked.position <= spool->c.handed;
}

void
spool_drop(struct spool *spool)
{
	spool_release(spool);
	spool_set_ack(spool, &spool->c.peeked);
	if (spool->c.stalled)
		spool_wake(spool);
}

bool
spool_has_stream(const struct spool *spool, const uint8_t id[MSG_ID_SIZE])
{
	struct spool_stream_record stream;

	return spool_stream_by_id(spool, id, &stream) && stream.sequence > spool->c.void_streams;
}

void
spool_confirm(struct spool *spool, const uint8_t id[MSG_ID_SIZE], uint64_t number)
{
	struct spool_stream_record stream;
	uint64_t limit;

	if (!spool_stream_by_id(spool, id, &stream))
		return;
	limit = spool_stream_limit(&stream, spool_tail(spool));
	spool_set_acked(spool, &stream, number < limit - stream.first ? stream.first + number : limit);
	spool_advance(spool);
}

/* Whole pages only: the bytes around them may belong to a block that is being written. */
static void
spool_give_back(struct spool *spool, size_t from, size_t to)
{
	from = (from + SPOOL_PAGE - 1) / SPOOL_PAGE * SPOOL_PAGE;
	to = to / SPOOL_PAGE * SPOOL_PAGE;
	/* Where the system cannot, the memory just stays. */
	if (from < to)
		madvise(spool->data + from, to - from, MADV_REMOVE);
}

void
spool_reset(struct spool *spool)
{
	struct spool_consumer *c = &spool->c;
	size_t start, end;

	c->void_streams = spool_load(spool->producer->streams);
	spool_store(spool->consumer->void_streams, c->void_streams);
	spool_advance(spool);
	/* With all held, no payload is begun meanwhile. */
	atomic_store(&spool->consumer->hold, SPOOL_HOLD_ALL);
	spool_extent_get(spool, atomic_load(&spool->producer->reserved), &start, &end);
	spool_give_back(spool, 0, start);
	spool_give_back(spool, end, spool->data_size);
	spool_release(spool);
}

/* A new session: what the consumer before held is free, what it handed out is handed out again. */
int
spool_consumer_attach(struct spool *spool)
{
	struct spool_consumer *c = &spool->c;
	uint64_t ack = spool_load(spool->consumer->ack);

	c->handed = spool_load(spool->consumer->handed);
	c->void_streams = spool_load(spool->consumer->void_streams);
	c->mark_first = spool_load(spool->consumer->mark_first);
	c->mark_next = spool_load(spool->consumer->mark_next);
	if (ack > SPOOL_POSITION_MAX || c->handed > SPOOL_POSITION_MAX)
		return -1;
	c->ack_slot = spool_load(spool->consumer->ack_mark[0].position) == ack ? 0 : 1;
	c->ack_mark = spool_mark_load(&spool->consumer->ack_mark[c->ack_slot]);
	c->ack_mark.position = ack;
	if (c->mark_first > c->mark_next || c->mark_next - c->mark_first > SPOOL_MARKS)
		c->mark_first = c->mark_next = 0;
	for (size_t slot = 0; slot < MSG_STREAMS_MAX; slot++) {
		c->acked[slot].sequence = spool_load(spool->consumer->acked[slot].sequence);
		c->acked[slot].mark = spool_mark_load(&spool->consumer->acked[slot].mark);
	}
	spool_rewind(spool);
	return 0;
}
