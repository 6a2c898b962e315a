/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

#include "collector/counts.h"
#include "collector/stream.h"
#include "collector/stream_file.h"
#include "collector/stream_hint.h"

/* A piece is a counter's row. */
static const struct budget_rate row_rate = {
	.piece_ns = UINT64_C(60000000000) / (ARCHIVE_VM_ROWS_MINUTE * ARCHIVE_ROW_COUNTERS),
	.burst = ARCHIVE_VM_ROWS_BURST * ARCHIVE_ROW_COUNTERS,
};
static const struct budget_rate report_rate = {
	.piece_ns = UINT64_C(60000000000) / ARCHIVE_VM_REPORTS_MINUTE,
	.burst = ARCHIVE_VM_REPORTS_BURST,
};

#define STREAM_NUMBER_MAX	((uint64_t)INT64_MAX)	/* SQLite's integers end there */

struct stream *
stream_find(const struct vm *vm, const uint8_t id[MSG_ID_SIZE])
{
	struct stream *stream;

	TAILQ_FOREACH(stream, &vm->streams, entry)
		if (memcmp(stream->id, id, MSG_ID_SIZE) == 0)
			return stream;
	return NULL;
}

void
stream_free(struct stream *stream)
{
	TAILQ_REMOVE(&stream->vm->streams, stream, entry);
	stream->vm->stream_count--;
	for (uint32_t i = 0; i < stream->interface_count; i++)
		free(stream->interface[i].idb);
	store_file_free(stream->file);
	free(stream->stat);
	free(stream->preface);
	free(stream);
}

static void
stream_mark_dirty(struct archive *archive, struct stream *stream)
{
	stream->dirty = true;
	archive_mark_dirty(archive, stream->vm);
}

static int
stream_pay_rows(struct vm *vm, uint64_t pieces, struct fault *fault)
{
	if (budget_take(&vm->rows, &row_rate, pieces))
		return 0;
	return fault_set(fault, MSG_ERR_LIMIT, "more new streams and interfaces than %u at once and then %u a minute (or %u times as many"
	    " counters): come again later", ARCHIVE_VM_ROWS_BURST, ARCHIVE_VM_ROWS_MINUTE, ARCHIVE_ROW_COUNTERS);
}

int
stream_pay_row(struct vm *vm, struct fault *fault)
{
	return stream_pay_rows(vm, ARCHIVE_ROW_COUNTERS, fault);
}

bool
stream_pay_report(struct vm *vm)
{
	return budget_take(&vm->reports, &report_rate, 1);
}

/* Neighbours are one row; beyond the VM's budget, others too. */
static bool
stream_joins_loss(struct stream *stream, enum loss_place place, enum loss_bound bound, const struct msg_gap *gap)
{
	bool next = stream->lost.last + 1 == gap->first && stream->lost.place == place && stream->lost.bound == bound &&
	    stream->lost.last > 0, paid = next || stream_pay_report(stream->vm);

	stream->lost.last = gap->last;
	stream->lost.place = place;
	stream->lost.bound = bound;
	count_add(COUNT_LOSSES_JOINED, !paid);
	return next || !paid;
}

static void
stream_record_loss(struct archive *archive, struct stream *stream, enum loss_place place, const struct msg_gap *gap,
    enum loss_bound bound)
{
	const struct loss loss = { .packets = gap->packets, .bytes = gap->bytes, .first_ns = gap->first_ns, .last_ns = gap->last_ns,
	    .bound = bound };
	struct loss_row *row = batch_add_loss(archive->batch);

	memcpy(row->vm, stream->vm->row.uuid, sizeof(row->vm));
	memcpy(row->stream, stream->id, MSG_ID_SIZE);
	row->place = loss_name(place);
	row->first_block = gap->first;
	row->last_block = gap->last;
	row->packets = gap->packets;
	row->bytes = gap->bytes;
	row->first_ns = gap->first_ns;
	row->last_ns = gap->last_ns;
	row->recorded_ns = clock_wall_ns();
	row->approximate = (int)bound;
	row->joined = stream_joins_loss(stream, place, bound, gap);
	loss_add(&stream->missing[place], &loss);
	archive->soon = true;
	stream_mark_dirty(archive, stream);
}

void
stream_told(struct archive *archive, struct stream *stream)
{
	stream->told = true;
	if (memcmp(stream->instance, stream->vm->instance, MSG_ID_SIZE) == 0)
		return;
	memcpy(stream->instance, stream->vm->instance, MSG_ID_SIZE);
	stream_mark_dirty(archive, stream);
}

int
stream_begin_at(struct archive *archive, struct stream *stream, uint64_t first, uint64_t last, struct fault *fault)
{
	struct msg_gap gap = { .first = stream->received + 1, .last = first - 1 };

	if (first == 0 || first > STREAM_NUMBER_MAX)
		return fault_set(fault, MSG_ERR_PROTOCOL, "HELLO: a stream cannot begin at block %" PRIu64, first);
	stream_told(archive, stream);
	if (stream->ended && last <= stream->received)
		return 0;
	if (stream->ended) {
		stream->ended = stream->end_durable = false;
		stream->cut = STREAM_WHOLE;
		stream->resumed = true;
		stream_mark_dirty(archive, stream);
	}
	if (gap.last < gap.first)
		return 0;
	stream_record_loss(archive, stream, LOSS_ELSEWHERE, &gap, LOSS_UNKNOWN);
	stream->received = gap.last;
	return 0;
}

/* The row's copy of the description is idb. */
static void
stream_put_interface(struct archive *archive, const struct stream *stream, uint32_t id, const struct pcapng_interface *parsed,
    uint8_t *idb, size_t idb_len)
{
	struct interface_row *row = batch_add_interface(archive->batch, idb, idb_len);

	memcpy(row->stream, stream->id, MSG_ID_SIZE);
	row->id = id;
	row->linktype = parsed->linktype;
	snprintf(row->name, sizeof(row->name), "%s", parsed->name);
	snprintf(row->filter, sizeof(row->filter), "%s", parsed->filter);
	archive_clean_text(row->name);
	archive_clean_text(row->filter);
	policy_network(&stream->vm->dedup, parsed->name, row->network, sizeof(row->network));
	if (parsed->has_mac)
		snprintf(row->mac, sizeof(row->mac), "%02x:%02x:%02x:%02x:%02x:%02x", parsed->mac[0], parsed->mac[1],
		    parsed->mac[2], parsed->mac[3], parsed->mac[4], parsed->mac[5]);
}

static void
stream_put_networks(struct archive *archive, const struct stream *stream)
{
	for (uint32_t i = 0; i < stream->interface_count; i++) {
		const struct stream_interface *interface = &stream->interface[i];
		struct pcapng_interface parsed;
		struct network_row *row;

		if (pcapng_parse_idb(interface->idb, interface->len, &parsed) == -1)
			continue;
		row = batch_add_network(archive->batch);
		memcpy(row->stream, stream->id, MSG_ID_SIZE);
		row->id = i;
		policy_network(&stream->vm->dedup, parsed.name, row->network, sizeof(row->network));
	}
}

void
stream_networks_changed(struct archive *archive, const struct vm *vm)
{
	const struct stream *stream;

	TAILQ_FOREACH(stream, &vm->streams, entry)
		if (!stream->ended)
			stream_put_networks(archive, stream);
}

static uint8_t *
stream_copy(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len);

	return copy != NULL ? memcpy(copy, data, len) : NULL;
}

/* A new session describes all interfaces again: what it says must be what it said. */
static int
stream_compare_interface(const struct stream *stream, const struct msg_interface *msg, struct fault *fault)
{
	const struct stream_interface *known = &stream->interface[msg->id];

	if (known->len == msg->idb_len && memcmp(known->idb, msg->idb, known->len) == 0)
		return 0;
	return fault_set(fault, MSG_ERR_PROTOCOL, "INTERFACE: %u of the stream was described differently before", msg->id);
}

int
stream_add_interface(struct archive *archive, struct stream *stream, const struct msg_interface *msg, struct fault *fault)
{
	struct pcapng_interface parsed;
	uint8_t *idb, *row_idb;

	if (msg->id < stream->interface_count)
		return stream_compare_interface(stream, msg, fault);
	if (msg->id != stream->interface_count || msg->id >= MSG_INTERFACES_MAX)
		return fault_set(fault, MSG_ERR_PROTOCOL, "INTERFACE: id %u follows %u interfaces; ids are dense, at most %u",
		    msg->id, stream->interface_count, MSG_INTERFACES_MAX);
	if (msg->idb_len > MSG_IDB_MAX || pcapng_parse_idb(msg->idb, msg->idb_len, &parsed) == -1)
		return fault_set(fault, MSG_ERR_BLOCK, "INTERFACE: %u is not a well-formed Interface Description Block", msg->id);
	if (stream_pay_row(stream->vm, fault) == -1)
		return -1;
	idb = stream_copy(msg->idb, msg->idb_len);
	row_idb = stream_copy(msg->idb, msg->idb_len);
	if (idb == NULL || row_idb == NULL) {
		free(idb);
		free(row_idb);
		return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	}
	stream_put_interface(archive, stream, msg->id, &parsed, row_idb, msg->idb_len);
	stream->interface[stream->interface_count].idb = idb;
	stream->interface[stream->interface_count++].len = msg->idb_len;
	archive->soon = true;
	stream_mark_dirty(archive, stream);
	return 0;
}

/* A number that was there before: a repeat after a reconnect. The agent is told again if it missed that it is durable. */
static void
stream_repeated(struct stream *stream, uint64_t number)
{
	if (number <= stream->durable)
		stream->ack_wanted = true;
}

static void
stream_count_packets(struct stream *stream, const struct msg_block *block)
{
	if (block->packets == 0)
		return;
	stream->packets += block->packets;
	stream->bytes += block->bytes;
	stream->packets_block = block->number;
	if (stream->first_ns == 0 || block->first_ns < stream->first_ns)
		stream->first_ns = block->first_ns;
	if (block->last_ns > stream->last_ns)
		stream->last_ns = block->last_ns;
	memset(stream->missing, 0, sizeof(stream->missing));
}

/* The catalog says once from where on it has them no more. */
static void
stream_leave_events_out(struct archive *archive, struct stream *stream, const struct msg_block *block)
{
	static const char text[] = "too much happens for the catalog: what follows is said by comments in the files alone";
	char *copy = stream->vm->events_left_out ? NULL : strdup(text);
	struct event_row *row;

	count_add(COUNT_EVENTS_LEFT_OUT, 1);
	if (copy == NULL)
		return;
	row = batch_add_event(archive->batch, copy);
	memcpy(row->vm, stream->vm->row.uuid, sizeof(row->vm));
	memcpy(row->stream, stream->id, MSG_ID_SIZE);
	row->block = block->number;
	row->at_ns = block->first_ns;
	stream->vm->events_left_out = true;
}

static void
stream_take_events(struct archive *archive, struct stream *stream, const struct msg_block *block)
{
	size_t before = archive->batch->events.count;

	if (stream_pay_report(stream->vm)) {
		stream_record_events(archive, stream, block);
		stream->vm->events_left_out = false;
	} else
		stream_leave_events_out(archive, stream, block);
	if (archive->batch->events.count > before)
		budget_spend(&stream->vm->reports, &report_rate, archive->batch->events.count - before - 1);
}

int
stream_add_block(struct archive *archive, struct stream *stream, const struct msg_block *block, struct fault *fault)
{
	if (block->number == 0)
		return fault_set(fault, MSG_ERR_SEQUENCE, "BLOCK: numbers count from 1");
	if (block->number <= stream->received) {
		count_add(COUNT_BLOCKS_REPEATED, 1);
		stream_repeated(stream, block->number);
		return 0;
	}
	if (stream->ended)
		return fault_set(fault, MSG_ERR_SEQUENCE, "BLOCK: %" PRIu64 " after the stream's END", block->number);
	if (block->number != stream->received + 1 || block->number > STREAM_NUMBER_MAX)
		return fault_set(fault, MSG_ERR_SEQUENCE, "BLOCK: %" PRIu64 " after %" PRIu64 " without a GAP between",
		    block->number, stream->received);
	if (stream_check_block(archive, stream, block, fault) == -1 || stream_store_block(archive, stream, block, fault) == -1)
		return -1;
	stream->received = block->number;
	stream_hint_block(archive, stream, block);
	stream_count_packets(stream, block);
	if (block->flags & BLOCK_EVENT)
		stream_take_events(archive, stream, block);
	archive->soon = true;
	if (block->flags & BLOCK_URGENT)
		archive->urgent = true;
	stream_mark_dirty(archive, stream);
	count_add(COUNT_BLOCKS, 1);
	count_add(COUNT_BLOCK_BYTES, block->data_len);
	count_add(COUNT_PACKETS, block->packets);
	return 0;
}

/* -1: none has that number. */
static int
stream_gap_place(uint8_t place)
{
	static const enum loss_place places[] = { [GAP_SPOOL] = LOSS_SPOOL, [GAP_CAPTURE] = LOSS_CAPTURE, [GAP_PULL] = LOSS_PULL,
	    [GAP_DISK] = LOSS_DISK };

	return place >= GAP_SPOOL && place < sizeof(places) / sizeof(places[0]) ? (int)places[place] : -1;
}

/*
 * The part of a GAP that lies behind what was received. If it is the last recorded gap grown longer, its counts are known exactly;
 * else some of what it counts may have been received after all, and what it tells is an upper bound.
 */
static struct msg_gap
stream_gap_rest(const struct stream *stream, const struct msg_gap *gap, bool *approximate)
{
	struct msg_gap rest = *gap;
	const struct msg_gap *before = &stream->gap;

	*approximate = false;
	if (gap->first == stream->received + 1)
		return rest;
	rest.first = stream->received + 1;
	if (before->first == gap->first && before->last == stream->received && before->place == gap->place &&
	    gap->packets >= before->packets && gap->bytes >= before->bytes) {
		rest.packets -= before->packets;
		rest.bytes -= before->bytes;
		rest.first_ns = before->last_ns;
	} else
		*approximate = true;
	return rest;
}

int
stream_add_gap(struct archive *archive, struct stream *stream, const struct msg_gap *gap, struct fault *fault)
{
	int place = stream_gap_place(gap->place);
	struct msg_gap rest;
	bool approximate;

	if (place == -1)
		return fault_set(fault, MSG_ERR_PROTOCOL, "GAP: place %u is unknown", gap->place);
	if (gap->first == 0 || gap->last < gap->first || gap->last > STREAM_NUMBER_MAX)
		return fault_set(fault, MSG_ERR_SEQUENCE, "GAP: from %" PRIu64 " to %" PRIu64 " is no range", gap->first,
		    gap->last);
	if (gap->first > stream->received + 1)
		return fault_set(fault, MSG_ERR_SEQUENCE, "GAP: from %" PRIu64 " after %" PRIu64 " leaves numbers out", gap->first,
		    stream->received);
	if (gap->last <= stream->received) {
		stream_repeated(stream, gap->last);
		return 0;
	}
	if (stream->ended)
		return fault_set(fault, MSG_ERR_SEQUENCE, "GAP: after the stream's END");
	rest = stream_gap_rest(stream, gap, &approximate);
	stream_record_loss(archive, stream, (enum loss_place)place, &rest, approximate ? LOSS_UP_TO : LOSS_EXACT);
	stream->received = gap->last;
	stream->gap = *gap;
	stream_hint_gap(archive, stream);
	count_add(COUNT_GAPS, 1);
	count_add(COUNT_GAP_PACKETS, rest.packets);
	return 0;
}

int
stream_add_loss(struct archive *archive, struct stream *stream, enum loss_place place, enum loss_bound bound,
    const struct msg_gap *gap, struct fault *fault)
{
	if (gap->first != stream->received + 1 || gap->last < gap->first || gap->last > STREAM_NUMBER_MAX || stream->ended)
		return fault_set(fault, MSG_ERR_SEQUENCE, "a loss from %" PRIu64 " to %" PRIu64 " after %" PRIu64, gap->first, gap->last,
		    stream->received);
	stream_record_loss(archive, stream, place, gap, bound);
	stream->received = gap->last;
	stream->gap = *gap;
	count_add(COUNT_GAPS, 1);
	count_add(COUNT_GAP_PACKETS, gap->packets);
	return 0;
}

static void
stream_set_ended(struct archive *archive, struct stream *stream, enum stream_cut cut)
{
	stream_close_file(archive, stream);
	stream->ended = true;
	stream->cut = cut;
	archive->soon = true;
	stream_mark_dirty(archive, stream);
}

int
stream_end(struct archive *archive, struct stream *stream, const struct msg_stream_end *end, struct fault *fault)
{
	if (end->number != stream->received)
		return fault_set(fault, MSG_ERR_SEQUENCE, "END: at %" PRIu64 ", but %" PRIu64 " was the last block", end->number,
		    stream->received);
	if (stream->ended)
		stream_repeated(stream, end->number);
	else
		stream_set_ended(archive, stream, end->cut ? STREAM_CUT : STREAM_WHOLE);
	return 0;
}

static bool
stream_in_hello(const struct msg_hello *hello, const uint8_t *id)
{
	for (uint16_t i = 0; i < hello->stream_count; i++)
		if (memcmp(hello->stream[i].id, id, MSG_ID_SIZE) == 0)
			return true;
	return false;
}

/* The process that had the stream and lives has given the rest of it to another store. One that is gone has lost what it held. */
static enum stream_cut
stream_abandoned(const struct stream *stream, const struct msg_hello *hello)
{
	static const uint8_t unknown[MSG_ID_SIZE];

	if (memcmp(stream->instance, unknown, MSG_ID_SIZE) != 0 && memcmp(stream->instance, hello->instance, MSG_ID_SIZE) == 0)
		return STREAM_ELSEWHERE;
	return STREAM_CUT;
}

int
stream_abandon_others(struct archive *archive, struct vm *vm, const struct msg_hello *hello, struct fault *fault)
{
	struct stream *stream, *next;

	if (stream_load_unfinished(archive, vm, fault) == -1)
		return -1;
	for (stream = TAILQ_FIRST(&vm->streams); stream != NULL; stream = next) {
		next = TAILQ_NEXT(stream, entry);
		if (stream_in_hello(hello, stream->id))
			continue;
		if (!stream->ended)
			stream_set_ended(archive, stream, stream_abandoned(stream, hello));
		else if (stream->end_durable && !stream->dirty)
			stream_free(stream);
	}
	return 0;
}

/* Agents send the same counters in the same order each time, so that the next one is mostly the one behind the last found. */
static struct stream_stat *
stream_stat_slot(struct stream *stream, const struct msg_stat *msg, size_t *hint)
{
	size_t size = stream->stat_size > 0 ? stream->stat_size * 2 : 32;
	struct stream_stat *stat;

	for (size_t n = 0; n < stream->stat_count; n++) {
		size_t i = (*hint + n) % stream->stat_count;

		if (stream->stat[i].counter == msg->counter && stream->stat[i].interface == msg->interface) {
			*hint = i + 1;
			return &stream->stat[i];
		}
	}
	if (stream->stat_count == stream->stat_size) {
		if ((stat = reallocarray(stream->stat, size, sizeof(*stat))) == NULL)
			return NULL;
		stream->stat = stat;
		stream->stat_size = size;
	}
	stat = &stream->stat[stream->stat_count++];
	*stat = (struct stream_stat){ .counter = msg->counter, .interface = msg->interface, .dirty = true };
	*hint = stream->stat_count;
	return stat;
}

static void
stream_set_stat(const struct stream *stream, struct stream_stat *stat, uint64_t value, uint64_t told_ns)
{
	if (stat->value == value)
		return;
	if (stat->since_ns == 0)
		stat->since_ns = stream->stats_ns != 0 ? stream->stats_ns : stream->started_ns;
	stat->changed_ns = told_ns;
	stat->value = value;
	stat->dirty = true;
}

static int
stream_check_stats(const struct msg_stats *stats, struct fault *fault)
{
	for (uint16_t i = 0; i < stats->count; i++)
		if (stats->stat[i].interface != STATS_AGENT && stats->stat[i].interface >= MSG_INTERFACES_MAX)
			return fault_set(fault, MSG_ERR_PROTOCOL, "STATS: interface %u; at most %u", stats->stat[i].interface,
			    MSG_INTERFACES_MAX);
	return 0;
}

int
stream_set_stats(struct archive *archive, struct stream *stream, const struct msg_stats *stats, struct fault *fault)
{
	size_t hint = 0, before = stream->stat_count;
	struct stream_stat *stat;

	if (stream_check_stats(stats, fault) == -1 || stream_pay_rows(stream->vm, 0, fault) == -1)
		return -1;
	for (uint16_t i = 0; i < stats->count; i++) {
		const struct msg_stat *msg = &stats->stat[i];

		if (counter_row(msg->counter) == NULL)
			continue;
		if (!counter_belongs(msg->counter, msg->interface != STATS_AGENT)) {
			count_add(COUNT_STATS_IGNORED, 1);
			continue;
		}
		if ((stat = stream_stat_slot(stream, msg, &hint)) == NULL)
			return fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		stream_set_stat(stream, stat, msg->value, stats->wall_ns);
	}
	budget_spend(&stream->vm->rows, &row_rate, stream->stat_count - before);
	stream->stats_ns = stats->wall_ns;
	stream_mark_dirty(archive, stream);
	return 0;
}
