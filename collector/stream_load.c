/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/clock.h"

#include "collector/stream.h"
#include "collector/stream_file.h"

static struct stream *
stream_new(struct vm *vm, const uint8_t id[MSG_ID_SIZE], uint64_t started_ns)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL)
		return NULL;
	stream->vm = vm;
	memcpy(stream->id, id, MSG_ID_SIZE);
	stream->started_ns = started_ns;
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

/* Columns: vm, started_ns, last_block, ended. */
static int
stream_load_row(struct archive *archive, struct stream *stream, sqlite3_stmt *stmt, struct fault *fault)
{
	const unsigned char *vm = sqlite3_column_text(stmt, 0);

	if (vm == NULL || strcmp((const char *)vm, stream->vm->row.uuid) != 0)
		return fault_set(fault, MSG_ERR_PROTOCOL, "a stream with this id belongs to another VM");
	stream->started_ns = (uint64_t)sqlite3_column_int64(stmt, 1);
	stream->received = stream->durable = (uint64_t)sqlite3_column_int64(stmt, 2);
	stream->ended = stream->end_durable = sqlite3_column_int(stmt, 3) != 0;
	stream->known = true;
	if (stream_load_interfaces(archive, stream) == -1)
		return fault_set(fault, MSG_ERR_STORE, "the catalog's interfaces of a stream cannot be read");
	return 0;
}

/* From the catalog into a fresh stream; leaves it as it is if the catalog knows nothing. */
static int
stream_load(struct archive *archive, struct stream *stream, struct fault *fault)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(archive->db, "SELECT vm, started_ns, last_block, ended FROM stream WHERE id = ?1", -1, &stmt,
	    NULL) == SQLITE_OK && sqlite3_bind_blob(stmt, 1, stream->id, MSG_ID_SIZE, SQLITE_STATIC) == SQLITE_OK)
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
	if ((stream = stream_new(vm, id, started_ns != 0 ? started_ns : clock_wall_ns())) == NULL) {
		fault_set(fault, MSG_ERR_LIMIT, "out of memory");
		return NULL;
	}
	if (stream_load(archive, stream, fault) == -1) {
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
