/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "merge_internal.h"
#include "pcapng_out.h"

#define TIME_AT		12	/* of an EPB's timestamp, its high word first */
#define PASS_MAX	65536	/* packets */
#define COMMENT_MAX	1000	/* of those who had it, too, no more are named */
#define BLOCK_MAX	(MSG_BLOCK_RAW_MAX + 4096)

/* --- out --- */

static void
set_time(uint8_t *block, uint64_t time_ns)
{
	uint32_t high = htole32((uint32_t)(time_ns >> 32)), low = htole32((uint32_t)time_ns);

	memcpy(block + TIME_AT, &high, sizeof(high));
	memcpy(block + TIME_AT + sizeof(high), &low, sizeof(low));
}

static void
write_comment(const struct merge *merge, const struct dedup_out *out, char text[COMMENT_MAX + 200])
{
	size_t used = (size_t)sprintf(text, "also seen by ");

	for (size_t i = 0; i < out->receiver_count; i++) {
		if (used > COMMENT_MAX) {
			sprintf(text + used, "and %zu more", out->receiver_count - i);
			return;
		}
		used += (size_t)sprintf(text + used, "%s%s%s", merge->source[out->receiver[i].source]->name,
		    out->receiver[i].whole ? "" : " (in part)", i + 1 < out->receiver_count ? ", " : "");
	}
}

static int
emit(const struct dedup_out *out, void *arg)
{
	struct merge *merge = arg;
	const struct merge_source *source = merge->source[out->source];
	char text[COMMENT_MAX + 200];

	if (merge->whole != NULL)
		return merge_whole_emit(merge, out);
	set_time(out->block, out->time_ns);
	if (out->receiver_count == 0)
		return pcapng_out_block(merge->settings.out, source->stream, out->block, out->block_len);
	write_comment(merge, out, text);
	merge->scratch.len = 0;
	if (pcapng_put_commented(&merge->scratch, out->block, out->block_len, text) == -1)
		return merge_fail(merge, source->name, "a packet for which there is no memory");
	return pcapng_out_block(merge->settings.out, source->stream, merge->scratch.data, merge->scratch.len);
}

/* --- in --- */

static bool
far_from_window(const struct merge *merge, uint64_t ns)
{
	const struct merge_settings *settings = &merge->settings;

	return (ns < settings->from_ns && settings->from_ns - ns > settings->window_ns) ||
	    (ns > settings->to_ns && ns - settings->to_ns > settings->window_ns);
}

/* Of a VM that is read whole they go out as they come: they hold between times of their own. 0 / -1. */
static int
pass_statistics(struct merge *merge, struct merge_vm *vm)
{
	const struct store_item *item = &vm->item;

	if (!vm->own)
		return 0;
	if (merge_source_of(merge, vm, item->stream, pcapng_out_interface_of(item->block, item->len)) == NULL)
		return -1;
	return pcapng_out_block(merge->settings.out, item->stream, item->block, item->len) == -1 ? -1 : 0;
}

/* Does the item at hand matter? 1 / 0 / -1. */
static int
matters(struct merge *merge, struct merge_vm *vm)
{
	if (vm->item.type != PCAPNG_EPB)
		return pass_statistics(merge, vm);
	vm->heap.time_ns = clock_track_correct(&vm->clock, vm->item.packet.time_ns);
	if (far_from_window(merge, vm->heap.time_ns))
		return 0;
	return merge->whole == NULL || vm->own ? 1 : merge_whole_wants(merge, vm);
}

/* The next packet of a VM that can matter, into the heap; none: it is out of it. 0 / -1. */
static int
look_ahead(struct merge *merge, struct merge_vm *vm)
{
	int more, rc;

	vm->ready = false;
	while ((more = store_cursor_next(vm->cursor, &vm->item)) == 1) {
		if ((rc = matters(merge, vm)) == -1)
			return -1;
		if (rc == 0)
			continue;
		vm->ready = true;
		return heap_put(&merge->heap, &vm->heap) == 0 ? 0 : merge_fail(merge, vm->name, "out of memory");
	}
	return more == 0 ? 0 : merge_fail(merge, vm->name, store_cursor_error(vm->cursor));
}

static enum dedup_direction
direction_of(const struct pcapng_packet *packet)
{
	switch (packet->flags & (PCAPNG_EPB_IN | PCAPNG_EPB_OUT)) {
	case PCAPNG_EPB_IN:
		return DEDUP_IN;
	case PCAPNG_EPB_OUT:
		return DEDUP_OUT;
	default:
		return DEDUP_NO_DIRECTION;
	}
}

static int
put_next(struct merge *merge, struct merge_vm *vm)
{
	const struct store_item *item = &vm->item;
	const struct merge_source *source = merge_source_of(merge, vm, item->stream, item->packet.interface);
	struct dedup_packet packet = { .time_ns = vm->heap.time_ns, .direction = direction_of(&item->packet), .block = item->block,
	    .block_len = item->len, .data_at = (size_t)(item->packet.data - item->block), .captured = item->packet.captured_len,
	    .original = item->packet.original_len };

	if (source == NULL)
		return -1;
	packet.source = source->number;
	if (source->masked)
		packet.original = SIZE_MAX;	/* not to be compared */
	return dedup_put(merge->dedup, &packet);
}

/* What is left of the VMs' packets in the order of their times. No live one's delay is waited for longer than until latest_ns. */
static int
merge_ready(struct merge *merge, uint64_t latest_ns)
{
	struct merge_vm *vm;
	uint64_t ns;
	int rc = 1;

	for (unsigned i = 0; rc == 1 && i < PASS_MAX && (vm = (struct merge_vm *)heap_first(&merge->heap)) != NULL; i++) {
		ns = vm->heap.time_ns < latest_ns ? vm->heap.time_ns : latest_ns;
		heap_remove(&merge->heap, &vm->heap);
		if ((rc = dedup_advance(merge->dedup, ns)) == 1 && (rc = put_next(merge, vm)) == 1 && look_ahead(merge, vm) == -1)
			rc = -1;
	}
	return rc;
}

/* --- passes --- */

static int64_t
catalog_changes(sqlite3 *db)
{
	sqlite3_stmt *statement;
	int64_t version = -1;

	if (sqlite3_prepare_v2(db, "PRAGMA data_version", -1, &statement, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(statement) == SQLITE_ROW)
		version = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return version;
}

static int
refresh(struct merge *merge)
{
	int64_t version = catalog_changes(merge->settings.db);

	if (version == merge->version)
		return 0;
	if (merge_list_vms(merge) == -1)
		return -1;
	for (size_t i = 0; i < merge->vm_count; i++)
		if (merge->vm[i]->cursor != NULL && !merge->vm[i]->ready && look_ahead(merge, merge->vm[i]) == -1)
			return -1;
	merge->version = version;
	return 0;
}

bool
merge_behind(const struct merge *merge)
{
	return heap_first(&merge->heap) != NULL;
}

int
merge_pass(struct merge *merge, uint64_t now_ns)
{
	uint64_t latest_ns = UINT64_MAX;
	int rc;

	if (merge->settings.follow)
		latest_ns = now_ns > MERGE_DELAY_NS ? now_ns - MERGE_DELAY_NS : 0;
	if (refresh(merge) == -1)
		return -1;
	if ((rc = merge_ready(merge, latest_ns)) == 1 && merge->settings.follow && !merge_behind(merge))
		rc = dedup_advance(merge->dedup, latest_ns);
	return rc;
}

int
merge_finish(struct merge *merge)
{
	return dedup_finish(merge->dedup);
}

struct merge *
merge_new(const struct merge_settings *settings, char *error, size_t error_size)
{
	struct merge *merge = calloc(1, sizeof(*merge));
	struct dedup_settings dedup = { .window_ns = settings->window_ns, .memory_max = settings->memory_max, .emit = emit, .arg = merge };

	if (merge != NULL && getrandom(&dedup.seed, sizeof(dedup.seed), 0) == (ssize_t)sizeof(dedup.seed) &&
	    (merge->dedup = dedup_new(&dedup)) != NULL) {
		merge->settings = *settings;
		merge->version = -1;
		buf_init(&merge->scratch, BLOCK_MAX);
		if (settings->vm == NULL || merge_whole_load(merge) == 0)
			return merge;
		snprintf(error, error_size, "%s", merge->error);
		merge_free(merge);
		return NULL;
	}
	free(merge);
	snprintf(error, error_size, "out of memory");
	return NULL;
}

void
merge_free(struct merge *merge)
{
	if (merge == NULL)
		return;
	dedup_free(merge->dedup);
	merge_free_vms(merge);
	heap_clear(&merge->heap);
	buf_clear(&merge->scratch);
	withheld_clear(&merge->withheld);
	free(merge);
}

/* --- what came of it --- */

const char *
merge_error(const struct merge *merge)
{
	return merge->error;
}

const struct dedup_stats *
merge_stats(const struct merge *merge)
{
	return dedup_stats(merge->dedup);
}

const char *
merge_vm_name(const struct merge *merge, size_t vm)
{
	return vm < merge->vm_count ? merge->vm[vm]->name : NULL;
}

uint64_t
merge_brought(const struct merge *merge, size_t vm)
{
	return merge->vm[vm]->brought;
}

uint64_t
merge_removed(const struct merge *merge, size_t sender, size_t receiver)
{
	return dedup_removed(merge->dedup, (uint32_t)sender, (uint32_t)receiver);
}
