/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

#include "collector/hint_hub.h"
#include "collector/stream.h"
#include "collector/stream_hint.h"

#define FLOWS_ALL	64

void
stream_hint_up(struct archive *archive, struct vm *vm, unsigned worker)
{
	struct hint_time now;
	struct hints *hints;

	if (archive->hints == NULL)
		return;
	hints = hint_hub_lock(archive->hints, &now);
	vm->hint = hint_up(hints, vm->row.tenant, vm->row.uuid, worker, &now);
	hint_hub_unlock(archive->hints);
	vm->has_hint_stream = false;
}

void
stream_hint_down(struct archive *archive, struct vm *vm)
{
	struct hint_time now;

	if (vm->hint == NULL)
		return;
	hint_hub_lock(archive->hints, &now);
	hint_down(vm->hint, &now);
	hint_hub_unlock(archive->hints);
	vm->hint = NULL;
}

static bool
stream_hint_is_current(const struct stream *stream)
{
	return stream->vm->has_hint_stream && memcmp(stream->vm->hint_stream, stream->id, MSG_ID_SIZE) == 0;
}

static void
stream_hint_tell_interface(const struct stream *stream, uint32_t id, const struct hint_time *now)
{
	char network[IDENTITY_NAME_SIZE];
	struct pcapng_interface parsed;

	if (pcapng_parse_idb(stream->interface[id].idb, stream->interface[id].len, &parsed) == -1)
		return;
	policy_network(&stream->vm->dedup, parsed.name, network, sizeof(network));
	hint_interface(stream->vm->hint, id, &parsed, network, now);
}

static void
stream_hint_tell_interfaces(const struct stream *stream, const struct hint_time *now)
{
	for (uint32_t id = 0; id < stream->interface_count; id++)
		stream_hint_tell_interface(stream, id, now);
}

static void
stream_hint_switch(struct stream *stream, const struct hint_time *now)
{
	struct vm *vm = stream->vm;

	if (stream_hint_is_current(stream))
		return;
	if (vm->has_hint_stream)
		hint_stream(vm->hint, now);
	memcpy(vm->hint_stream, stream->id, MSG_ID_SIZE);
	vm->has_hint_stream = true;
	stream_hint_tell_interfaces(stream, now);
}

void
stream_hint_policy(struct archive *archive, struct vm *vm, bool settled)
{
	const struct hint_policy policy = { .withhold = vm->dedup.mode == DEDUP_WITHHOLD, .balanced = vm->dedup.balanced,
	    .settled = settled };
	const struct stream *stream;
	struct hint_time now;

	if (vm->hint == NULL)
		return;
	hint_hub_lock(archive->hints, &now);
	hint_policy(vm->hint, &policy, &now);
	TAILQ_FOREACH(stream, &vm->streams, entry)
		if (stream_hint_is_current(stream))
			stream_hint_tell_interfaces(stream, &now);
	hint_hub_unlock(archive->hints);
}

void
stream_hint_interface(struct archive *archive, struct stream *stream)
{
	struct hint_time now;

	if (stream->vm->hint == NULL)
		return;
	hint_hub_lock(archive->hints, &now);
	if (!stream->vm->has_hint_stream || !stream->known)
		stream_hint_switch(stream, &now);
	if (stream_hint_is_current(stream))
		stream_hint_tell_interfaces(stream, &now);
	hint_hub_unlock(archive->hints);
}

void
stream_hint_addresses(struct archive *archive, struct stream *stream, const struct msg_addresses *msg)
{
	struct hint_time now;

	if (stream->vm->hint == NULL)
		return;
	hint_hub_lock(archive->hints, &now);
	stream_hint_switch(stream, &now);
	hint_addresses(stream->vm->hint, msg->id, msg->address, msg->count, &now);
	hint_hub_unlock(archive->hints);
}

static void
stream_hint_add_stat(const struct stream_stat *stat, struct hint_stats *stats)
{
	switch (stat->counter) {
	case COUNTER_GOVERNOR_LEVEL:
		stats->shedding = stats->shedding || stat->value > 0;
		break;
	case COUNTER_KEPT_FLOWS:
		stats->shedding = stats->shedding || stat->value < FLOWS_ALL;
		break;
	case COUNTER_PAUSED:
		stats->paused = stats->paused || stat->value > 0;
		break;
	case COUNTER_SPOOL_BYTES:
	case COUNTER_DISK_BYTES:
		stats->spool_bytes += stat->value;
		break;
	case COUNTER_RING_DROPPED:
	case COUNTER_PACKETS_OVERSIZE:
	case COUNTER_SPOOL_LOST_PACKETS:
	case COUNTER_DISK_LOST_PACKETS:
		stats->lost += stat->value;
		break;
	case COUNTER_WITHHELD:
		stats->withheld += stat->value;
		break;
	}
}

void
stream_hint_stats(struct archive *archive, struct stream *stream)
{
	struct hint_stats stats = { .wall_ns = stream->stats_ns };
	struct hint_time now;

	if (stream->vm->hint == NULL)
		return;
	for (size_t i = 0; i < stream->stat_count; i++)
		stream_hint_add_stat(&stream->stat[i], &stats);
	hint_hub_lock(archive->hints, &now);
	hint_clock(stream->vm->hint, stream->vm->row.clock_offset_ns);
	stream_hint_switch(stream, &now);
	hint_stats(stream->vm->hint, &stats, &now);
	hint_hub_unlock(archive->hints);
}

void
stream_hint_gap(struct archive *archive, struct stream *stream)
{
	struct hint_time now;

	if (stream->vm->hint == NULL)
		return;
	hint_hub_lock(archive->hints, &now);
	hint_lossy(stream->vm->hint, &now);
	hint_hub_unlock(archive->hints);
}

/* The description of an interface has its link type behind its type and its length (pcapng). */
static void
stream_hint_linktypes(const struct stream *stream, uint16_t linktype[MSG_INTERFACES_MAX])
{
	for (uint32_t i = 0; i < stream->interface_count; i++)
		linktype[i] = (uint16_t)(stream->interface[i].idb[8] | stream->interface[i].idb[9] << 8);
}

/* Of a stream that was captured before, only that it is behind. */
void
stream_hint_block(struct archive *archive, struct stream *stream, const struct msg_block *msg)
{
	bool wanted = stream->vm->dedup.mode == DEDUP_WITHHOLD && stream_hint_is_current(stream);
	struct hint_block block = { .first_ns = msg->first_ns, .last_ns = msg->last_ns, .urgent = (msg->flags & BLOCK_URGENT) != 0 };
	uint16_t linktype[MSG_INTERFACES_MAX];
	struct hint_time now;

	if (stream->vm->hint == NULL || stream->vm->dedup.mode != DEDUP_WITHHOLD)
		return;
	if (wanted) {
		stream_hint_linktypes(stream, linktype);
		hint_sample_block(&stream->vm->sampler, archive->scratch, msg->raw_len, linktype, stream->interface_count, clock_mono_ns(),
		    &block);
	}
	hint_hub_lock(archive->hints, &now);
	hint_clock(stream->vm->hint, stream->vm->row.clock_offset_ns);
	hint_block(stream->vm->hint, &block, &now);
	hint_hub_unlock(archive->hints);
}

void
stream_hint_result(struct archive *archive, struct vm *vm, const struct msg_hints_result *result)
{
	struct hint_time now;

	if (vm->hint == NULL)
		return;
	hint_hub_lock(archive->hints, &now);
	hint_result(vm->hint, result, &now);
	hint_hub_unlock(archive->hints);
}

bool
stream_hint_heard(struct archive *archive, struct vm *vm, uint64_t mono_ns)
{
	struct hint_time now;
	bool relied;

	if (vm->hint == NULL)
		return false;
	hint_hub_lock(archive->hints, &now);
	relied = hint_heard(vm->hint, mono_ns);
	hint_hub_unlock(archive->hints);
	return relied;
}

size_t
stream_hint_withholds(struct archive *archive, const struct vm *vm)
{
	struct hint_time now;
	size_t count;

	if (vm == NULL || vm->hint == NULL)
		return 0;
	hint_hub_lock(archive->hints, &now);
	count = hint_listed(vm->hint);
	hint_hub_unlock(archive->hints);
	return count;
}

static void
stream_hint_put_row(struct archive *archive, struct hint_record *record)
{
	struct withheld_row *row = batch_add_withheld(archive->batch, record->own);

	memcpy(row->vm, record->vm, sizeof(row->vm));
	memcpy(row->peer, record->peer, sizeof(row->peer));
	memcpy(row->address, record->address, sizeof(row->address));
	memcpy(row->network, record->network, sizeof(row->network));
	row->balanced = record->balanced;
	row->from_ns = record->from_ns;
	row->to_ns = record->to_ns;
	archive->soon = true;
	record->own = NULL;
}

/* In the VM's stream of the time, as far as that is known. */
static void
stream_hint_put_gap(struct archive *archive, const struct hint_record *record)
{
	struct vm *vm = archive_find_vm(archive, record->vm);
	struct loss_row *row;

	log_info("%s: may lack packets that it left to a peer: %s", vm != NULL ? vm->row.name : record->vm, record->cause);
	if (vm == NULL)
		return;
	row = batch_add_loss(archive->batch);
	memcpy(row->vm, record->vm, sizeof(row->vm));
	memcpy(row->stream, vm->hint_stream, MSG_ID_SIZE);
	row->place = loss_name(LOSS_WITHHELD);
	row->packets = record->bounded ? record->packets : 0;
	row->first_ns = record->from_ns;
	row->last_ns = record->to_ns;
	row->recorded_ns = clock_wall_ns();
	row->approximate = record->bounded ? LOSS_UP_TO : LOSS_UNKNOWN;
	archive->soon = true;
}

static const char *
stream_hint_name(struct archive *archive, const char *uuid)
{
	const struct vm *vm = archive_find_vm(archive, uuid);

	return vm != NULL ? vm->row.name : uuid;
}

/* Beyond what an agent may report, counts alone tell it. */
static void
stream_hint_warn(struct archive *archive, const struct hint_record *record)
{
	const char *name = stream_hint_name(archive, record->vm), *peer = stream_hint_name(archive, record->peer);
	struct vm *vm = archive_find_vm(archive, record->vm);

	if (vm == NULL || !stream_pay_report(vm))
		return;
	if (record->kind == HINT_CONFLICT)
		log_warn("%s claims %s, as %s does in network \"%s\": nobody withholds packets from there", name, record->address, peer,
		    record->network);
	else
		log_warn("%s receives packets from %s that %s, whose address that is, has not sent, or forwards them: it withholds none of"
		    " them for 10 minutes", name, record->address, peer);
}

void
stream_hint_record(struct archive *archive, struct hint_record *record)
{
	switch (record->kind) {
	case HINT_BEGINS:
	case HINT_ENDS:
		stream_hint_put_row(archive, record);
		break;
	case HINT_GAP:
		stream_hint_put_gap(archive, record);
		break;
	case HINT_CONFLICT:
	case HINT_BARRED:
		stream_hint_warn(archive, record);
		break;
	}
}
