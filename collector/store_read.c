/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/buf.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "store_read.h"

#define CHUNK_SIZE	(256u * 1024)
#define DECODED_MAX	(4u * 1024 * 1024)
#define PATH_SIZE	512
/* Between two index points lie at most 10 s of the blocks' begins (stream_file.c), and a block may span a little itself. */
#define SLACK_NS	UINT64_C(15000000000)

struct file_row {
	int64_t		 id;
	char		 path[PATH_SIZE];
	uint8_t		 stream[MSG_ID_SIZE];
	const struct codec *codec;
	uint64_t	 begin, end;		/* bytes of the file to read */
};

struct file_list {
	struct file_row	*row;
	size_t		 count;
};

static int
fail(struct store_reader *reader, const char *what, const char *why)
{
	snprintf(reader->error, sizeof(reader->error), "%s: %s", what, why);
	return -1;
}

static int
add_row(struct store_reader *reader, struct file_list *list, sqlite3_stmt *statement)
{
	const char *path = (const char *)sqlite3_column_text(statement, 1), *codec = (const char *)sqlite3_column_text(statement, 3);
	struct file_row *grown, *row;

	if ((grown = realloc(list->row, (list->count + 1) * sizeof(*grown))) == NULL)
		return fail(reader, reader->store, "out of memory");
	list->row = grown;
	row = &grown[list->count];
	memset(row, 0, sizeof(*row));
	row->id = sqlite3_column_int64(statement, 0);
	if (path == NULL || strlen(path) >= sizeof(row->path) || sqlite3_column_bytes(statement, 2) != MSG_ID_SIZE)
		return fail(reader, "catalog", "damaged file row");
	strcpy(row->path, path);
	memcpy(row->stream, sqlite3_column_blob(statement, 2), MSG_ID_SIZE);
	if (codec == NULL || (row->codec = codec_by_name(codec)) == NULL)
		return fail(reader, row->path, "its codec is not built into this vmtap");
	row->end = (uint64_t)sqlite3_column_int64(statement, 4);
	list->count++;
	return 0;
}

static int
list_files(struct store_reader *reader, struct file_list *list)
{
	/* Times from 2262 on are negative here: such a file is always looked into. */
	static const char sql[] = "SELECT id, path, stream, codec, length FROM file WHERE vm = ?1"
	    " AND (last_ns IS NULL OR last_ns < 0 OR last_ns >= ?2) AND (first_ns IS NULL OR first_ns <= ?3) ORDER BY id";
	sqlite3_stmt *statement;
	int rc;

	if (sqlite3_prepare_v2(reader->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return fail(reader, "catalog", sqlite3_errmsg(reader->db));
	sqlite3_bind_text(statement, 1, reader->uuid, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)(reader->from_ns < INT64_MAX ? reader->from_ns : INT64_MAX));
	sqlite3_bind_int64(statement, 3, (sqlite3_int64)(reader->to_ns < INT64_MAX ? reader->to_ns : INT64_MAX));
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		if (add_row(reader, list, statement) == -1)
			break;
	if (rc != SQLITE_DONE && reader->error[0] == '\0')
		fail(reader, "catalog", sqlite3_errmsg(reader->db));
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Narrows a file to the stretch between index points that can hold the window. Blocks are ordered by time but for SLACK_NS. */
static void
narrow(struct store_reader *reader, struct file_row *row)
{
	static const char sql[] = "SELECT offset, first_ns FROM point WHERE file = ?1 ORDER BY block";
	uint64_t offset, first_ns, end = row->end;
	bool reached = false;
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(reader->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int64(statement, 1, row->id);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		offset = (uint64_t)sqlite3_column_int64(statement, 0);
		first_ns = (uint64_t)sqlite3_column_int64(statement, 1);
		if (first_ns >= reader->from_ns || reader->from_ns - first_ns <= SLACK_NS)
			reached = true;
		if (!reached)
			row->begin = offset;
		if (first_ns <= reader->to_ns || first_ns - reader->to_ns <= SLACK_NS)
			end = row->end;
		else if (end == row->end)
			end = offset;
	}
	row->end = end;
	sqlite3_finalize(statement);
}

/* Between its first commit and its renaming a file still has its hidden name; it may be renamed between two looks. */
static int
open_file(struct store_reader *reader, const struct file_row *row)
{
	const char *slash = strrchr(row->path, '/'), *base = slash != NULL ? slash + 1 : row->path;
	char path[PATH_MAX];
	int fd = -1;

	for (int look = 0; look < 3; look++) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%.*s%s%s", reader->store, (int)(base - row->path), row->path,
		    look == 1 ? "." : "", base) >= sizeof(path)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if ((fd = open(path, O_RDONLY | O_CLOEXEC)) != -1 || errno != ENOENT)
			return fd;
	}
	return fd;
}

/* One whole pcapng block at the front of what was decoded: 1 handed on, 0 the caller has enough, -1; *len 0: not whole yet. */
static int
hand_on(struct store_reader *reader, const struct file_row *row, const uint8_t *data, size_t left, size_t *len)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	uint32_t type;
	int more;

	*len = 0;
	pcapng_walk_init(&walk, data, left);
	if ((more = pcapng_walk_any(&walk, &type, &packet, &block, len)) == 0 || (more == -1 && walk.torn))
		return 1;
	if (more == -1)
		return fail(reader, row->path, walk.error);
	if (type != PCAPNG_EPB && type != PCAPNG_ISB)
		return 1;
	return reader->block(row->stream, block, *len, reader->arg);
}

static int
hand_on_all(struct store_reader *reader, const struct file_row *row, struct buf *decoded)
{
	size_t len = 0, taken = 0;
	int rc;

	do {
		taken += len;
		rc = hand_on(reader, row, decoded->data + taken, decoded->len - taken, &len);
	} while (rc == 1 && len > 0);
	buf_consume(decoded, taken);
	return rc;
}

/* Decodes what was read so far: 1 go on, 0 the caller has enough, -1. */
static int
decode(struct store_reader *reader, const struct file_row *row, void *state, struct buf *in, struct buf *decoded)
{
	const uint8_t *p = in->data;
	size_t left = in->len;
	int more, rc = 1;

	while (rc == 1 && (more = row->codec->reader_decode(state, &p, &left, decoded)) != 0)
		rc = more == 1 ? hand_on_all(reader, row, decoded) : fail(reader, row->path, "damaged: cannot be decompressed");
	buf_consume(in, in->len - left);
	return rc;
}

static int
read_stretch(struct store_reader *reader, const struct file_row *row, int fd, void *state, struct buf *in, struct buf *decoded)
{
	uint64_t at = row->begin;
	ssize_t got;
	size_t want;
	int rc = 1;

	while (rc == 1 && at < row->end) {
		want = row->end - at < CHUNK_SIZE ? (size_t)(row->end - at) : CHUNK_SIZE;
		if (buf_reserve(in, want) == -1)
			return fail(reader, row->path, strerror(errno));
		if ((got = pread(fd, in->data + in->len, want, (off_t)at)) <= 0)
			return fail(reader, row->path, got == 0 ? "shorter than the catalog says" : strerror(errno));
		in->len += (size_t)got;
		at += (uint64_t)got;
		rc = decode(reader, row, state, in, decoded);
	}
	if (rc == 1 && decoded->len > 0)
		return fail(reader, row->path, "ends inside a packet");
	return rc;
}

static int
read_file(struct store_reader *reader, const struct file_row *row)
{
	struct buf in, decoded;
	char text[PATH_SIZE + 64];
	void *state;
	int fd, rc = -1;

	if ((fd = open_file(reader, row)) == -1 && errno == ENOENT) {
		snprintf(text, sizeof(text), "%s is gone: expired meanwhile", row->path);
		reader->warning(text, reader->arg);
		return 1;
	}
	if (fd == -1)
		return fail(reader, row->path, strerror(errno));
	buf_init(&in, CHUNK_SIZE + MSG_BLOCK_MAX);
	buf_init(&decoded, DECODED_MAX);
	if ((state = row->codec->reader_new(row->begin == 0)) == NULL)
		fail(reader, row->path, "out of memory");
	else
		rc = read_stretch(reader, row, fd, state, &in, &decoded);
	if (state != NULL)
		row->codec->reader_free(state);
	buf_clear(&in);
	buf_clear(&decoded);
	close(fd);
	return rc;
}

int
store_read(struct store_reader *reader)
{
	struct file_list list = { NULL, 0 };
	size_t i;
	int rc;

	reader->error[0] = '\0';
	rc = list_files(reader, &list) == -1 ? -1 : 1;
	for (i = 0; i < list.count && rc == 1; i++) {
		narrow(reader, &list.row[i]);
		rc = read_file(reader, &list.row[i]);
	}
	free(list.row);
	return rc == -1 ? -1 : 0;
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
