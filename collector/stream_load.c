/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/clock.h"
#include "proto/counter.h"

#include "collector/stream.h"
#include "collector/stream_file.h"

#define STREAM_AHEAD_NS	(86400u * 1000000000ull)	/* a guest's clock may be */

/* One that began far in the future would be young for ever, and retention never forget it. */
static uint64_t
stream_start(uint64_t told_ns)
{
	uint64_t now = clock_wall_ns();

	return told_ns == 0 || told_ns > now + STREAM_AHEAD_NS ? now : told_ns;
}

static struct stream *
stream_new(struct vm *vm, const uint8_t id[MSG_ID_SIZE], uint64_t started_ns)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL)
		return NULL;
	stream->vm = vm;
	memcpy(stream->id, id, MSG_ID_SIZE);
	stream->started_ns = started_ns;
	memcpy(stream->instance, vm->instance, MSG_ID_SIZE);
	TAILQ_INSERT_TAIL(&vm->streams, stream, entry);
	vm->stream_count++;
	return stream;
}

static int
stream_load_interface(struct stream *stream, const void *idb, int len)
{
	struct stream_interface *interface = &stream->interface[stream->interface_count];

	if (stream->interface_count == MSG_INTERFACES_MAX || idb == NULL || len <= 0 || len > MSG_IDB_MAX ||
	    (interface->idb = malloc((size_t)len)) == NULL)
		return -1;
	memcpy(interface->idb, idb, (size_t)len);
	interface->len = (size_t)len;
	stream->interface_count++;
	return 0;
}

static int
stream_load_interfaces(struct archive *archive, struct stream *stream)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(archive->db, "SELECT idb FROM interface WHERE stream = ?1 ORDER BY id", -1, &stmt,
	    NULL) == SQLITE_OK && sqlite3_bind_blob(stmt, 1, stream->id, MSG_ID_SIZE, SQLITE_STATIC) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			if (stream_load_interface(stream, sqlite3_column_blob(stmt, 0), sqlite3_column_bytes(stmt, 0)) == -1)
				break;
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
stream_load_stat(struct stream *stream, sqlite3_stmt *stmt)
{
	const struct counter_row *row = counter_by_name((const char *)sqlite3_column_text(stmt, 1));
	int64_t interface = sqlite3_column_int64(stmt, 0);
	size_t size = stream->stat_size > 0 ? stream->stat_size * 2 : 32;
	struct stream_stat *stat;

	if (row == NULL)
		return 0;
	if (stream->stat_count == stream->stat_size) {
		if ((stat = reallocarray(stream->stat, size, sizeof(*stat))) == NULL)
			return -1;
		stream->stat = stat;
		stream->stat_size = size;
	}
	stream->stat[stream->stat_count++] = (struct stream_stat){ .counter = (uint16_t)row->id,
	    .interface = interface == -1 ? STATS_AGENT : (uint32_t)interface, .value = (uint64_t)sqlite3_column_int64(stmt, 2),
	    .since_ns = (uint64_t)sqlite3_column_int64(stmt, 3), .changed_ns = (uint64_t)sqlite3_column_int64(stmt, 4) };
	return 0;
}

static int
stream_load_stats(struct archive *archive, struct stream *stream)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(archive->db, "SELECT interface, counter, value, since_ns, changed_ns FROM stat WHERE vm = ?1 AND"
	    " stream = ?2", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, stream->vm->row.uuid, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_blob(stmt, 2, stream->id, MSG_ID_SIZE, SQLITE_STATIC) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			if (stream_load_stat(stream, stmt) == -1)
				break;
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* What was missing when the run before ended: no packet of the stream has been stored since that could have said so. */
static int
stream_load_missing(struct archive *archive, struct stream *stream)
{
	sqlite3_stmt *stmt = NULL;
	int place, rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(archive->db, "SELECT place, packets, bytes, first_ns, last_ns,"
	    " max(approximate, first_block <= ?3) FROM loss WHERE vm = ?1"
	    " AND stream = ?2 AND last_block > ?3 AND place NOT IN ('store', 'cut')", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, stream->vm->row.uuid, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_blob(stmt, 2, stream->id, MSG_ID_SIZE, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_int64(stmt, 3, (int64_t)stream->packets_block) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const unsigned char *name = sqlite3_column_text(stmt, 0);
			const struct loss loss = { .packets = (uint64_t)sqlite3_column_int64(stmt, 1),
			    .bytes = (uint64_t)sqlite3_column_int64(stmt, 2), .first_ns = (uint64_t)sqlite3_column_int64(stmt, 3),
			    .last_ns = (uint64_t)sqlite3_column_int64(stmt, 4),
			    .bound = (enum loss_bound)sqlite3_column_int(stmt, 5) };

			if (name != NULL && (place = loss_place((const char *)name)) != -1)
				loss_add(&stream->missing[place], &loss);
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Columns: those of stream_load(). */
static void
stream_load_columns(struct stream *stream, sqlite3_stmt *stmt)
{
	stream->started_ns = (uint64_t)sqlite3_column_int64(stmt, 1);
	stream->received = stream->durable = (uint64_t)sqlite3_column_int64(stmt, 2);
	stream->ended = stream->end_durable = sqlite3_column_int(stmt, 3) != 0;
	stream->cut = (enum stream_cut)sqlite3_column_int(stmt, 4);
	stream->packets = (uint64_t)sqlite3_column_int64(stmt, 5);
	stream->bytes = (uint64_t)sqlite3_column_int64(stmt, 6);
	stream->packets_block = (uint64_t)sqlite3_column_int64(stmt, 7);
	stream->first_ns = (uint64_t)sqlite3_column_int64(stmt, 8);
	stream->last_ns = (uint64_t)sqlite3_column_int64(stmt, 9);
	stream->stats_ns = (uint64_t)sqlite3_column_int64(stmt, 10);
	memset(stream->instance, 0, MSG_ID_SIZE);
	if (sqlite3_column_bytes(stmt, 11) == MSG_ID_SIZE)
		memcpy(stream->instance, sqlite3_column_blob(stmt, 11), MSG_ID_SIZE);
	stream->known = true;
}

static int
stream_load_row(struct archive *archive, struct stream *stream, sqlite3_stmt *stmt, struct fault *fault)
{
	const unsigned char *vm = sqlite3_column_text(stmt, 0);

	if (vm == NULL || strcmp((const char *)vm, stream->vm->row.uuid) != 0)
		return fault_set(fault, MSG_ERR_PROTOCOL, "a stream with this id belongs to another VM");
	stream_load_columns(stream, stmt);
	if (stream_load_interfaces(archive, stream) == -1 || stream_load_stats(archive, stream) == -1 ||
	    stream_load_missing(archive, stream) == -1)
		return fault_set(fault, MSG_ERR_STORE, "what the catalog has of a stream cannot be read");
	return 0;
}

/* From the catalog into a fresh stream; leaves it as it is if the catalog knows nothing. */
static int
stream_load(struct archive *archive, struct stream *stream, struct fault *fault)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(archive->db, "SELECT vm, started_ns, last_block, ended, cut, packets, bytes, packets_block, first_ns,"
	    " last_ns, stats_ns, instance FROM stream WHERE id = ?1", -1, &stmt, NULL) == SQLITE_OK && sqlite3_bind_blob(stmt, 1, stream->id, MSG_ID_SIZE, SQLITE_STATIC) == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		rc = stream_load_row(archive, stream, stmt, fault);
	else if (rc == SQLITE_DONE)
		rc = 0;
	else
		rc = fault_set(fault, MSG_ERR_STORE, "catalog: %s", sqlite3_errmsg(archive->db));
	sqlite3_finalize(stmt);
	return rc;
}

struct stream *
stream_get(struct archive *archive, struct vm *vm, const uint8_t id[MSG_ID_SIZE], uint64_t started_ns, struct fault *fault)
{
	struct stream *stream = stream_find(vm, id);

	if (stream != NULL)
		return stream;
	if (vm->stream_count >= ARCHIVE_VM_STREAMS_MAX) {
		fault_set(fault, MSG_ERR_LIMIT, "more than %u streams at a time", ARCHIVE_VM_STREAMS_MAX);
		return NULL;
	}
	if ((stream = stream_new(vm, id, stream_start(started_ns))) == NULL) {
		fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		return NULL;
	}
	if (stream_load(archive, stream, fault) == -1 || (!stream->known && stream_pay_row(vm, fault) == -1)) {
		stream_free(stream);
		return NULL;
	}
	if (!stream->known) {
		stream->dirty = true;
		archive_mark_dirty(archive, vm);
	}
	return stream;
}

int
stream_load_unfinished(struct archive *archive, struct vm *vm, struct fault *fault)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(archive->db, "SELECT id FROM stream WHERE vm = ?1 AND ended = 0", -1, &stmt, NULL) != SQLITE_OK ||
	    sqlite3_bind_text(stmt, 1, vm->row.uuid, -1, SQLITE_STATIC) != SQLITE_OK)
		goto out;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && vm->stream_count < ARCHIVE_VM_STREAMS_MAX)
		if (sqlite3_column_bytes(stmt, 0) == MSG_ID_SIZE &&
		    stream_get(archive, vm, sqlite3_column_blob(stmt, 0), 0, fault) == NULL)
			break;
out:
	sqlite3_finalize(stmt);
	if (rc == SQLITE_DONE || vm->stream_count >= ARCHIVE_VM_STREAMS_MAX)
		return 0;
	return fault_set(fault, MSG_ERR_STORE, "the catalog's streams of the VM cannot be read");
}
