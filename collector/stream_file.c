/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/codec.h"
#include "proto/counter.h"
#include "proto/pcapng.h"

#include "collector/quota.h"
#include "collector/stream.h"
#include "collector/stream_file.h"

/* The sparse index: a point where a file begins, then whenever this much has come since the one before. */
#define POINT_BYTES	(4u * 1024 * 1024)
#define POINT_NS	(10u * 1000000000ull)
#define HEAD_MAX	(64u * 1024 + MSG_INTERFACES_MAX * MSG_IDB_MAX)

static int
stream_put_head(const struct stream *stream, struct buf *head)
{
	const struct vm_row *vm = &stream->vm->row;
	char application[MSG_NAME_SIZE + 64];
	int errs = 0;

	snprintf(application, sizeof(application), "%s%svmtap-collector %s", vm->software, vm->software[0] != '\0' ? ", " : "",
	    PACKAGE_VERSION);
	errs += pcapng_put_shb_comment(head, vm->hardware, vm->os, application, stream->preface);
	for (uint32_t i = 0; i < stream->interface_count; i++)
		errs += buf_put(head, stream->interface[i].idb, stream->interface[i].len);
	return errs == 0 ? 0 : -1;
}

/* A VM has descriptors for so many files, and for one more with each connection of RPCAP; a stream whose file is closed for another's
 * goes on in a new one. */
static void
stream_make_room(struct archive *archive, struct vm *vm)
{
	struct stream *stream, *oldest = NULL;
	unsigned count = 0, max = vm->pulls > 1 ? QUOTA_FILES_PER_VM + vm->pulls - 1 : QUOTA_FILES_PER_VM;

	TAILQ_FOREACH(stream, &vm->streams, entry) {
		if (stream->file == NULL)
			continue;
		count++;
		if (oldest == NULL || stream->file->created_mono_ns < oldest->file->created_mono_ns)
			oldest = stream;
	}
	if (count < max)
		return;
	stream_close_file(archive, oldest);
	oldest->pushed_out = true;
	archive->urgent = true;	/* only the commit closes its descriptor */
}

static int
stream_open_file(struct archive *archive, struct stream *stream, const struct codec *codec)
{
	const struct vm_row *vm = &stream->vm->row;
	struct buf head;

	stream_make_room(archive, stream->vm);
	buf_init(&head, HEAD_MAX);
	if (stream_put_head(stream, &head) == 0)
		stream->file = store_file_create(archive->store, vm->tenant, vm->uuid, codec, head.data, head.len);
	buf_clear(&head);
	if (stream->file == NULL)
		return -1;
	free(stream->preface);
	stream->preface = NULL;
	stream->pushed_out = false;
	stream->file->interface_count = stream->interface_count;
	archive->batch->file_bytes += stream->file->length;
	archive->batch->dirty_bytes += stream->file->length;
	return 0;
}

/* Descriptions of interfaces that came after the file was begun. */
static int
stream_append_interfaces(struct stream *stream)
{
	struct store_file *file = stream->file;

	for (; file->interface_count < stream->interface_count; file->interface_count++) {
		const struct stream_interface *interface = &stream->interface[file->interface_count];

		if (store_file_append_raw(file, interface->idb, interface->len) == -1)
			return -1;
	}
	return 0;
}

static void
stream_add_point(struct archive *archive, struct store_file *file, const struct msg_block *block, uint64_t offset)
{
	bool due = file->first_block == 0;
	struct point_row *row;

	/* A clock that was stepped back is as good a reason as one that ran on. */
	if (!due && block->packets > 0)
		due = offset - file->point_offset >= POINT_BYTES || block->first_ns >= file->point_ns + POINT_NS ||
		    file->point_ns >= block->first_ns + POINT_NS;
	if (!due)
		return;
	row = batch_add_point(archive->batch);
	*row = (struct point_row){ .file = file->id, .block = block->number, .offset = offset, .first_ns = block->first_ns };
	file->point_offset = offset;
	file->point_ns = block->first_ns;
}

static void
stream_count_block(struct store_file *file, const struct msg_block *block)
{
	if (file->first_block == 0)
		file->first_block = block->number;
	file->last_block = block->number;
	file->raw += block->raw_len;
	file->packets += block->packets;
	file->bytes += block->bytes;
	if (block->packets == 0)
		return;
	if (file->first_ns == 0 || block->first_ns < file->first_ns)
		file->first_ns = block->first_ns;
	if (block->last_ns > file->last_ns)
		file->last_ns = block->last_ns;
}

static int
stream_store_fault(struct fault *fault)
{
	if (errno == ENOSPC || errno == EDQUOT)
		return fault_set(fault, MSG_ERR_STORE, "the store is full");
	return fault_set(fault, MSG_ERR_STORE, "the store cannot be written: %s", strerror(errno));
}

/* A guest that changes streams or codecs with each small block would fill the store with heads of files, and inodes. */
static int
stream_pay_file(struct vm *vm, struct fault *fault)
{
	static const struct budget_rate rate = { .piece_ns = 1000000000u, .burst = ARCHIVE_VM_FILES_BURST };

	if (vm->files_closing >= QUOTA_FILES_CLOSING_MAX)
		return fault_set(fault, MSG_ERR_LIMIT, "%u of its files wait for the disk", vm->files_closing);
	if (budget_take(&vm->files, &rate, 1))
		return 0;
	return fault_set(fault, MSG_ERR_LIMIT, "streams or codecs change so often that files hold next to nothing");
}

/* Into the open file. */
static int
stream_append_block(struct archive *archive, struct stream *stream, const struct msg_block *block)
{
	uint64_t offset = stream->file->length;

	if (stream_append_interfaces(stream) == -1 || store_file_append(stream->file, block->data, block->data_len) == -1)
		return -1;
	stream_add_point(archive, stream->file, block, offset);
	stream_count_block(stream->file, block);
	archive->batch->file_bytes += block->data_len;
	archive->batch->dirty_bytes += block->data_len;
	return 0;
}

static uint64_t
stream_rotate_size(const struct archive *archive, const struct stream *stream)
{
	uint64_t size = archive->settings.rotate_size;

	return stream->vm->use != NULL ? tenant_use_rotate_size(stream->vm->use, size) : size;
}

int
stream_store_block(struct archive *archive, struct stream *stream, const struct msg_block *block, struct fault *fault)
{
	const struct codec *codec = codec_by_id(block->codec);
	bool other = stream->file != NULL && stream->file->codec != codec;
	struct msg_block commented;
	struct buf unit;
	int rc;

	if ((other || !stream->had_file || stream->pushed_out) && stream_pay_file(stream->vm, fault) == -1)
		return -1;
	stream->had_file = true;
	if (other) {
		stream_close_file(archive, stream);
		archive->urgent = true;
	}
	if (stream->file == NULL && stream_open_file(archive, stream, codec) == -1)
		return stream_store_fault(fault);
	if (stream_comment_block(archive, stream, block, &commented, &unit) == 0)
		block = &commented;
	rc = stream_append_block(archive, stream, block);
	buf_clear(&unit);
	if (rc == -1)
		return stream_store_fault(fault);
	if (stream->file->length >= stream_rotate_size(archive, stream))
		stream_close_file(archive, stream);
	return 0;
}

static void
stream_put_file(struct archive *archive, struct stream *stream, bool live)
{
	struct file_row *row = batch_add_file(archive->batch);

	store_file_hand_over(stream->file, &row->file, !live);
	memcpy(row->vm, stream->vm->row.uuid, sizeof(row->vm));
	memcpy(row->stream, stream->id, MSG_ID_SIZE);
	row->live = live;
	row->reveal = !stream->file->in_batch;
	stream->file->in_batch = true;
}

void
stream_close_file(struct archive *archive, struct stream *stream)
{
	if (stream->file == NULL)
		return;
	store_file_finish(stream->file);
	archive->batch->file_bytes++;
	archive->batch->dirty_bytes++;
	archive->soon = true;
	stream_put_file(archive, stream, false);
	stream->vm->files_closing++;
	store_file_free(stream->file);
	stream->file = NULL;
}

static void
stream_put_stats(struct archive *archive, struct stream *stream)
{
	uint64_t now = clock_wall_ns();

	for (size_t i = 0; i < stream->stat_count; i++) {
		struct stream_stat *stat = &stream->stat[i];
		struct stat_row *row;

		if (!stat->dirty)
			continue;
		row = batch_add_stat(archive->batch);
		memcpy(row->vm, stream->vm->row.uuid, sizeof(row->vm));
		memcpy(row->stream, stream->id, MSG_ID_SIZE);
		row->interface = stat->interface == STATS_AGENT ? -1 : (int64_t)stat->interface;
		row->counter = counter_row(stat->counter)->name;
		row->value = stat->value;
		row->updated_ns = now;
		row->since_ns = stat->since_ns;
		row->changed_ns = stat->changed_ns;
		stat->dirty = false;
	}
}

static void
stream_put_row(struct archive *archive, struct stream *stream)
{
	struct stream_row *row = batch_add_stream(archive->batch);

	row->owner = stream->vm;
	memcpy(row->id, stream->id, MSG_ID_SIZE);
	memcpy(row->vm, stream->vm->row.uuid, sizeof(row->vm));
	memcpy(row->instance, stream->instance, MSG_ID_SIZE);
	row->started_ns = stream->started_ns;
	row->last_block = stream->received;
	row->ended = stream->ended;
	row->resumed = stream->resumed;
	row->cut = (int)stream->cut;
	row->packets = stream->packets;
	row->bytes = stream->bytes;
	row->packets_block = stream->packets_block;
	row->first_ns = stream->first_ns;
	row->last_ns = stream->last_ns;
	row->stats_ns = stream->stats_ns;
	stream->resumed = false;
}

void
stream_put_rows(struct archive *archive, struct stream *stream)
{
	stream_put_row(archive, stream);
	if (stream->file != NULL)
		stream_put_file(archive, stream, true);
	stream_put_stats(archive, stream);
	stream->dirty = false;
}
