/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "store_cursor.h"
#include "store_read.h"

/* 0: all was read; -1: the cursor says why, or block() returned -1. */
static int
read_all(struct store_reader *reader, struct store_cursor *cursor)
{
	struct store_item item;
	int more, rc = 1;

	while (rc == 1 && (more = store_cursor_next(cursor, &item)) != 0)
		rc = more == 1 ? reader->block(item.stream, item.block, item.len, reader->arg) : -1;
	snprintf(reader->error, sizeof(reader->error), "%s", store_cursor_error(cursor));
	return rc == -1 ? -1 : 0;
}

int
store_read(struct store_reader *reader)
{
	struct store_cursor_settings settings = { .db = reader->db, .store = reader->store, .uuid = reader->uuid,
	    .from_ns = reader->from_ns, .to_ns = reader->to_ns, .warning = reader->warning, .arg = reader->arg };
	struct store_cursor *cursor = store_cursor_new(&settings);
	int rc;

	if (cursor == NULL) {
		snprintf(reader->error, sizeof(reader->error), "%s: out of memory", reader->store);
		return -1;
	}
	rc = read_all(reader, cursor);
	store_cursor_free(cursor);
	return rc;
}

int
store_read_interface(sqlite3 *db, const uint8_t stream[MSG_ID_SIZE], uint32_t id, uint8_t *out)
{
	sqlite3_stmt *statement;
	int len = -1;

	if (sqlite3_prepare_v2(db, "SELECT idb FROM interface WHERE stream = ?1 AND id = ?2", -1, &statement, NULL) != SQLITE_OK)
		return -1;
	sqlite3_bind_blob(statement, 1, stream, MSG_ID_SIZE, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, id);
	if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_bytes(statement, 0) <= MSG_IDB_MAX) {
		len = sqlite3_column_bytes(statement, 0);
		memcpy(out, sqlite3_column_blob(statement, 0), (size_t)len);
	}
	sqlite3_finalize(statement);
	return len;
}

int
store_read_network(sqlite3 *db, const uint8_t stream[MSG_ID_SIZE], uint32_t id, char *text)
{
	const char *network;
	sqlite3_stmt *statement;
	int rc = -1;

	if (sqlite3_prepare_v2(db, "SELECT network FROM interface WHERE stream = ?1 AND id = ?2", -1, &statement, NULL) != SQLITE_OK)
		return -1;
	sqlite3_bind_blob(statement, 1, stream, MSG_ID_SIZE, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, id);
	if (sqlite3_step(statement) == SQLITE_ROW && (network = (const char *)sqlite3_column_text(statement, 0)) != NULL &&
	    (size_t)snprintf(text, STORE_NETWORK_SIZE, "%s", network) < STORE_NETWORK_SIZE)
		rc = 0;
	sqlite3_finalize(statement);
	return rc;
}
