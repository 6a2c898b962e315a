/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "agent/spool_internal.h"

/*
 * Where a payload goes: into the lowest stretch of free bytes that is worth it, so that a spool of little use touches little
 * memory, and behind the payload before it otherwise. What is not free forms at most a few runs; only when none of the
 * stretches between them has room, the oldest payloads are pushed out.
 */

static size_t
spool_align(size_t size)
{
	return (size + SPOOL_ALIGN - 1) / SPOOL_ALIGN * SPOOL_ALIGN;
}

static uint64_t
spool_acked(struct spool *spool)
{
	uint64_t ack = spool_load(spool->consumer->ack);

	if (ack > spool->p.tail)
		ack = spool->p.tail;
	if (ack > spool->p.acked)
		spool->p.acked = ack;
	return spool->p.acked;
}

/* Bytes of positions below oldest may be written over. */
static void
spool_runs_trim(struct spool_producer *p, const struct spool_record *oldest)
{
	size_t done = 0;

	while (done < p->run_count && p->run[done].until <= p->oldest)
		done++;
	p->run_count -= done;
	memmove(p->run, p->run + done, p->run_count * sizeof(p->run[0]));
	if (p->run_count > 0 && oldest != NULL && oldest->data > p->run[0].start && oldest->data < p->run[0].end)
		p->run[0].start = oldest->data;
}

static void
spool_runs_add(struct spool_producer *p, size_t at, size_t length, uint64_t until)
{
	struct spool_run *last = p->run_count > 0 ? &p->run[p->run_count - 1] : NULL;

	if (last == NULL || last->end != at)
		p->run[p->run_count++] = (struct spool_run){ .start = at, .end = at };
	last = &p->run[p->run_count - 1];
	last->end = at + length;
	last->until = until;
}

/* Where the first run at or behind offset at starts; *inside: the run that at lies in, or NULL. */
static size_t
spool_next_run(const struct spool *spool, size_t at, const struct spool_run **inside)
{
	size_t start = spool->data_size;

	*inside = NULL;
	for (size_t i = 0; i <= spool->p.run_count; i++) {
		const struct spool_run *run = i < spool->p.run_count ? &spool->p.run[i] : &spool->p.guard;

		if (run->start <= at && at < run->end)
			*inside = run;
		else if (run->start >= at && run->start < start && run->start < run->end)
			start = run->start;
	}
	return start;
}

/* The lowest free stretch of at least this length; SIZE_MAX: none. */
static size_t
spool_lowest_hole(const struct spool *spool, size_t length)
{
	const struct spool_run *inside;
	size_t at = 0, next;

	while (at + length <= spool->data_size) {
		next = spool_next_run(spool, at, &inside);
		if (inside != NULL)
			at = inside->end;
		else if (next - at >= length)
			return at;
		else
			at = next;
	}
	return SIZE_MAX;
}

/* Room without pushing anything out; SIZE_MAX: none. */
static size_t
spool_place(const struct spool *spool, size_t length)
{
	const struct spool_producer *p = &spool->p;
	const struct spool_run *last, *inside;
	size_t hole;

	if (p->run_count == 0)
		return spool_lowest_hole(spool, length);
	last = &p->run[p->run_count - 1];
	if (p->run_count < SPOOL_RUNS_MAX / 2) {
		hole = spool_lowest_hole(spool, length * 2 > last->end / 2 ? length * 2 : last->end / 2);
		if (hole < last->start)
			return hole;
	}
	if (spool_next_run(spool, last->end, &inside) - last->end >= length && inside == NULL)
		return last->end;
	return p->run_count < SPOOL_RUNS_MAX ? spool_lowest_hole(spool, length) : SIZE_MAX;
}

static bool
spool_held(const struct spool *spool, uint64_t position)
{
	uint64_t hold = atomic_load(&spool->consumer->hold);

	return hold == position || hold == SPOOL_HOLD_ALL;
}

static void
spool_set_gone(struct spool *spool, uint64_t position)
{
	if (position <= spool->p.gone)
		return;
	spool->p.gone = position;
	atomic_store(&spool->producer->gone, position);
}

static void
spool_count_lost(struct spool *spool, uint32_t packets, uint64_t bytes)
{
	spool_count_add(spool, COUNTER_SPOOL_LOST_BLOCKS, STATS_AGENT, 1);
	spool_count_add(spool, COUNTER_SPOOL_LOST_PACKETS, STATS_AGENT, packets);
	spool_count_add(spool, COUNTER_SPOOL_LOST_BYTES, STATS_AGENT, bytes);
}

/* The oldest payload's bytes become free: acknowledged, or pushed out and counted. -1: the consumer holds it. */
static int
spool_drop_oldest(struct spool *spool)
{
	struct spool_producer *p = &spool->p;
	struct spool_record record;

	if (p->oldest >= p->tail || spool_held(spool, p->oldest))
		return -1;
	if (p->gone <= p->oldest) {
		if (p->oldest >= spool_acked(spool) && spool_record_read(spool, p->oldest, &record) &&
		    record.place == SPOOL_PLACE_BLOCK)
			spool_count_lost(spool, record.packets, record.bytes);
		spool_set_gone(spool, p->oldest + 1);
	}
	if (spool_held(spool, p->oldest))
		return -1;
	p->oldest++;
	spool_runs_trim(p, p->oldest < p->tail && spool_record_read(spool, p->oldest, &record) ? &record : NULL);
	return 0;
}

static void
spool_drop_acked(struct spool *spool)
{
	uint64_t acked = spool_acked(spool);

	while (spool->p.oldest < acked)
		if (spool_drop_oldest(spool) == -1)
			return;
}

static void
spool_set_reserved(struct spool *spool, size_t at, size_t length)
{
	spool->p.reserved_at = at;
	spool->p.reserved_len = length;
	atomic_store(&spool->producer->reserved, spool_extent(at, length));
}

uint8_t *
spool_reserve(struct spool *spool, size_t max_len)
{
	size_t at, length = spool_align(max_len > 0 ? max_len : 1);

	if (length > spool->data_size || max_len > MSG_BLOCK_MAX) {
		errno = EMSGSIZE;
		return NULL;
	}
	spool_drop_acked(spool);
	if (spool->p.guard.end > 0 && !spool_held(spool, spool->p.guard.until))
		spool->p.guard = (struct spool_run){ 0 };
	while ((at = spool_place(spool, length)) == SIZE_MAX)
		if (spool_drop_oldest(spool) == -1) {
			errno = EBUSY;
			return NULL;
		}
	spool_set_reserved(spool, at, length);
	if (atomic_load(&spool->consumer->hold) != SPOOL_HOLD_ALL)
		return spool->data + at;
	spool_set_reserved(spool, 0, 0);
	errno = EBUSY;
	return NULL;
}

/* A new entry's place in the index is that of the oldest one: which is a loss if nobody has acknowledged it. */
static void
spool_drop_description(struct spool *spool)
{
	struct spool_producer *p = &spool->p;
	struct spool_record record;
	uint64_t leaving;

	if (p->tail + 1 < spool->index_count)
		return;
	leaving = p->tail + 1 - spool->index_count;
	if (p->gone > leaving)
		return;
	if (leaving >= spool_acked(spool) && spool_record_read(spool, leaving, &record) && record.place == SPOOL_PLACE_BLOCK)
		spool_count_lost(spool, record.packets, record.bytes);
	spool_set_gone(spool, leaving + 1);
}

static void
spool_append(struct spool *spool, const struct spool_entry *block, uint8_t place, size_t data)
{
	struct spool_producer *p = &spool->p;
	struct spool_entry_words *entry = &spool->index[p->tail % spool->index_count];

	p->sum.packets += block->packets;
	p->sum.bytes += block->bytes;
	p->sum.stored += block->data_len;
	if (block->last_ns > p->last_ns)
		p->last_ns = block->last_ns;
	spool_store(entry->position, p->tail);
	spool_store(entry->data, data);
	spool_store(entry->lengths, (uint64_t)block->raw_len << 32 | block->data_len);
	spool_store(entry->kind, (uint64_t)block->packets << 32 | (uint64_t)block->flags << 16 | (uint64_t)block->codec << 8 | place);
	spool_store(entry->bytes, block->bytes);
	spool_store(entry->first_ns, block->first_ns);
	spool_store(entry->last_ns, block->last_ns);
	spool_sum_store(&entry->sum, &p->sum);
	spool_drop_description(spool);
	p->tail++;
	spool_store(spool->producer->tail, p->tail);
	spool_wake(spool);
}

/* False: no stream was begun, or it has ended. */
static bool
spool_current(const struct spool *spool, struct spool_stream_record *stream)
{
	return spool->p.streams > 0 && spool_stream_read(spool, spool->p.streams, stream) && stream->end == SPOOL_NONE;
}

static uint64_t
spool_next_number(const struct spool *spool)
{
	struct spool_stream_record stream;

	return spool_current(spool, &stream) ? spool->p.tail - stream.first + 1 : 0;
}

void
spool_publish(struct spool *spool, struct spool_entry *block)
{
	struct spool_producer *p = &spool->p;

	if (p->reserved_len == 0 || block->data_len > p->reserved_len || (block->number = spool_next_number(spool)) == 0) {
		spool_lose(spool, block, GAP_CAPTURE);
		return;
	}
	spool_runs_add(p, p->reserved_at, spool_align(block->data_len > 0 ? block->data_len : 1), p->tail + 1);
	spool_append(spool, block, SPOOL_PLACE_BLOCK, p->reserved_at);
	spool_set_reserved(spool, 0, 0);
}

void
spool_lose(struct spool *spool, struct spool_entry *block, enum msg_gap_place place)
{
	struct spool_entry lost = *block;

	spool_count_lost(spool, block->packets, block->bytes);
	if ((block->number = spool_next_number(spool)) == 0)
		return;
	lost.data_len = 0;
	spool_append(spool, &lost, (uint8_t)place, 0);
}

static void
spool_finish_stream(struct spool *spool, bool cut)
{
	struct spool_stream_words *words = &spool->streams[spool->p.streams % MSG_STREAMS_MAX];
	const struct spool_entry end = { 0 };
	struct spool_stream_record stream;

	if (!spool_current(spool, &stream))
		return;
	spool_store(words->end_ns, spool->p.last_ns);
	spool_store(words->cut, cut);
	spool_sum_store(&words->end_sum, &spool->p.sum);
	spool_store(words->end, spool->p.tail);
	spool_append(spool, &end, SPOOL_PLACE_END, 0);
}

void
spool_stream_end(struct spool *spool)
{
	spool_finish_stream(spool, false);
}

/* Interface ids begin at 0 again, and so do their counters. */
static void
spool_counters_clear(struct spool *spool)
{
	for (unsigned counter = 0; counter < COUNTER_MAX; counter++)
		for (uint32_t interface = 0; interface < MSG_INTERFACES_MAX; interface++)
			spool_count_set(spool, (enum counter)counter, interface, 0);
}

/* A slot with another sequence was being made when a producer died. */
bool
spool_stream_fits(struct spool *spool)
{
	uint64_t sequence = spool->p.streams + 1;
	const struct spool_stream_words *stream = &spool->streams[sequence % MSG_STREAMS_MAX];

	return sequence <= MSG_STREAMS_MAX || spool_load(stream->sequence) != sequence - MSG_STREAMS_MAX ||
	    spool_acked(spool) > spool_load(stream->end);
}

int
spool_stream_begin(struct spool *spool, const uint8_t id[MSG_ID_SIZE], uint64_t started_ns)
{
	struct spool_producer *p = &spool->p;
	uint64_t sequence = p->streams + 1, words[2];
	struct spool_stream_words *stream = &spool->streams[sequence % MSG_STREAMS_MAX];

	if (!spool_stream_fits(spool)) {
		errno = EAGAIN;
		return -1;
	}
	spool_finish_stream(spool, true);
	memcpy(words, id, sizeof(words));
	spool_store(stream->sequence, 0);
	spool_store(stream->id[0], words[0]);
	spool_store(stream->id[1], words[1]);
	spool_store(stream->started_ns, started_ns);
	spool_store(stream->first, p->tail);
	spool_sum_store(&stream->first_sum, &p->sum);
	spool_store(stream->end, SPOOL_NONE);
	spool_store(stream->interface_count, 0);
	spool_counters_clear(spool);
	p->last_ns = 0;
	spool_store(stream->sequence, sequence);
	p->streams = sequence;
	spool_store(spool->producer->streams, sequence);
	return 0;
}

int
spool_interface_add(struct spool *spool, const uint8_t *idb, size_t idb_len)
{
	struct spool_stream_words *words = &spool->streams[spool->p.streams % MSG_STREAMS_MAX];
	struct spool_stream_record stream;
	uint64_t last, used = 0;

	if (idb_len > MSG_IDB_MAX || !spool_current(spool, &stream)) {
		errno = EINVAL;
		return -1;
	}
	if (stream.interface_count > 0 && stream.interface_count <= MSG_INTERFACES_MAX) {
		last = spool_load(words->interface[stream.interface_count - 1]);
		used = (last >> 32) + (last & UINT32_MAX);
	}
	if (stream.interface_count >= MSG_INTERFACES_MAX || used > SPOOL_IDB_SPACE || idb_len > SPOOL_IDB_SPACE - used) {
		errno = ENOSPC;
		return -1;
	}
	memcpy(spool->idb + (spool->p.streams % MSG_STREAMS_MAX) * SPOOL_IDB_SPACE + used, idb, idb_len);
	spool_store(words->interface[stream.interface_count], used << 32 | idb_len);
	spool_store(words->interface_count, stream.interface_count + 1);
	return (int)stream.interface_count;
}

/* The runs, as the entries tell; entries that make no sense, or too many runs, cost the payloads before them. */
static void
spool_runs_restore(struct spool *spool)
{
	struct spool_producer *p = &spool->p;
	struct spool_record record;

	for (uint64_t position = p->oldest; position < p->tail; position++) {
		if (!spool_record_read(spool, position, &record) || record.place != SPOOL_PLACE_BLOCK)
			continue;
		if (p->run_count == SPOOL_RUNS_MAX && p->run[p->run_count - 1].end != record.data) {
			p->run_count = 0;
			p->oldest = position;
		}
		spool_runs_add(p, record.data, spool_align(record.data_len > 0 ? record.data_len : 1), position + 1);
	}
	spool_set_gone(spool, p->oldest);
}

/* Continues behind the last entry that was published whole. */
int
spool_producer_attach(struct spool *spool)
{
	struct spool_producer *p = &spool->p;
	struct spool_record record;

	p->tail = spool_load(spool->producer->tail);
	p->streams = spool_load(spool->producer->streams);
	p->gone = spool_load(spool->producer->gone);
	if (p->tail > SPOOL_POSITION_MAX || p->streams > SPOOL_POSITION_MAX || p->gone > p->tail)
		return -1;
	if (p->tail > 0 && spool_record_read(spool, p->tail - 1, &record)) {
		p->sum = record.sum;
		p->last_ns = record.last_ns;
	}
	p->oldest = spool_acked(spool);
	if (p->oldest < p->gone)
		p->oldest = p->gone;
	if (p->tail >= spool->index_count && p->oldest < p->tail - spool->index_count + 1)
		p->oldest = p->tail - spool->index_count + 1;
	spool_set_reserved(spool, 0, 0);
	spool_runs_restore(spool);
	if ((p->guard.until = atomic_load(&spool->consumer->hold)) < p->tail)
		spool_extent_get(spool, spool_load(spool->consumer->hold_data), &p->guard.start, &p->guard.end);
	return 0;
}
