/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/buf.h"
#include "proto/codec.h"

#include "store_cursor.h"

#define CHUNK_SIZE	(256u * 1024)
#define DECODED_MAX	(4u * 1024 * 1024)
#define PATH_SIZE	512
/* Between two index points lie at most 10 s of the blocks' begins (stream_file.c), and a block may span a little itself. */
#define SLACK_NS	UINT64_C(15000000000)

struct cursor_file {
	int64_t		 id;
	char		 path[PATH_SIZE];
	uint8_t		 stream[MSG_ID_SIZE];
	const struct codec *codec;
	uint64_t	 at, end;	/* bytes of the file to read */
	bool		 live;		/* it is written still */
	bool		 more;		/* what was read may hold a block that was not handed on */
	bool		 done;		/* read to its end, and nothing more will come */
	int		 fd;		/* -1: not opened yet */
	void		*state;		/* of the codec */
	struct buf	 in, decoded;
};

struct store_cursor {
	struct store_cursor_settings settings;
	struct cursor_file *file;	/* in the order of their making */
	size_t		 count, current;
	int64_t		 newest;	/* file that was seen */
	bool		 listed;
	size_t		 taken;		/* of the current file's decoded: what was handed on last */
	char		 error[1024];
};

static int
fail(struct store_cursor *cursor, const char *what, const char *why)
{
	snprintf(cursor->error, sizeof(cursor->error), "%s: %s", what, why);
	return -1;
}

static void
clear_file(struct cursor_file *file)
{
	if (file->fd != -1)
		close(file->fd);
	file->fd = -1;
	if (file->state != NULL)
		file->codec->reader_free(file->state);
	file->state = NULL;
	buf_clear(&file->in);
	buf_clear(&file->decoded);
}

static void
forget_done(struct store_cursor *cursor)
{
	size_t kept = 0;

	for (size_t i = 0; i < cursor->count; i++)
		if (!cursor->file[i].done)
			cursor->file[kept++] = cursor->file[i];
	cursor->count = kept;
}

struct store_cursor *
store_cursor_new(const struct store_cursor_settings *settings)
{
	struct store_cursor *cursor = calloc(1, sizeof(*cursor));

	if (cursor != NULL)
		cursor->settings = *settings;
	return cursor;
}

void
store_cursor_free(struct store_cursor *cursor)
{
	if (cursor == NULL)
		return;
	for (size_t i = 0; i < cursor->count; i++)
		clear_file(&cursor->file[i]);
	free(cursor->file);
	free(cursor);
}

const char *
store_cursor_error(const struct store_cursor *cursor)
{
	return cursor->error;
}

/* --- the catalog --- */

/* Narrows a file to the stretch between index points that can hold the window. Blocks are ordered by time but for SLACK_NS. */
static void
narrow(struct store_cursor *cursor, struct cursor_file *file)
{
	static const char sql[] = "SELECT offset, first_ns FROM point WHERE file = ?1 ORDER BY block";
	const struct store_cursor_settings *settings = &cursor->settings;
	uint64_t offset, first_ns, end = file->end;
	bool reached = false;
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(settings->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int64(statement, 1, file->id);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		offset = (uint64_t)sqlite3_column_int64(statement, 0);
		first_ns = (uint64_t)sqlite3_column_int64(statement, 1);
		if (first_ns >= settings->from_ns || settings->from_ns - first_ns <= SLACK_NS)
			reached = true;
		if (!reached)
			file->at = offset;
		if (first_ns <= settings->to_ns || first_ns - settings->to_ns <= SLACK_NS)
			end = file->end;
		else if (end == file->end)
			end = offset;
	}
	file->end = end;
	sqlite3_finalize(statement);
}

static int
add_file(struct store_cursor *cursor, sqlite3_stmt *statement)
{
	const char *path = (const char *)sqlite3_column_text(statement, 1), *codec = (const char *)sqlite3_column_text(statement, 3);
	struct cursor_file *grown, *file;

	if ((grown = realloc(cursor->file, (cursor->count + 1) * sizeof(*grown))) == NULL)
		return fail(cursor, cursor->settings.store, "out of memory");
	cursor->file = grown;
	file = &grown[cursor->count];
	memset(file, 0, sizeof(*file));
	file->fd = -1;
	file->id = sqlite3_column_int64(statement, 0);
	if (path == NULL || strlen(path) >= sizeof(file->path) || sqlite3_column_bytes(statement, 2) != MSG_ID_SIZE)
		return fail(cursor, "catalog", "damaged file row");
	strcpy(file->path, path);
	memcpy(file->stream, sqlite3_column_blob(statement, 2), MSG_ID_SIZE);
	if (codec == NULL || (file->codec = codec_by_name(codec)) == NULL)
		return fail(cursor, file->path, "its codec is not built into this vmtap");
	file->end = (uint64_t)sqlite3_column_int64(statement, 4);
	file->live = sqlite3_column_int(statement, 5) != 0;
	buf_init(&file->in, CHUNK_SIZE + MSG_BLOCK_MAX);
	buf_init(&file->decoded, DECODED_MAX);
	cursor->count++;
	return 0;
}

/* Files that were not seen before. A live one may still get what lies within the window. */
static int
list_files(struct store_cursor *cursor)
{
	/* Times from 2262 on are negative here: such a file is always looked into. */
	static const char sql[] = "SELECT id, path, stream, codec, length, live FROM file WHERE vm = ?1 AND id > ?4"
	    " AND (last_ns IS NULL OR last_ns < 0 OR last_ns >= ?2 OR (?5 AND live)) AND (first_ns IS NULL OR first_ns <= ?3) ORDER BY id";
	const struct store_cursor_settings *settings = &cursor->settings;
	sqlite3_stmt *statement;
	int rc;

	if (sqlite3_prepare_v2(settings->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return fail(cursor, "catalog", sqlite3_errmsg(settings->db));
	sqlite3_bind_text(statement, 1, settings->uuid, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)(settings->from_ns < INT64_MAX ? settings->from_ns : INT64_MAX));
	sqlite3_bind_int64(statement, 3, (sqlite3_int64)(settings->to_ns < INT64_MAX ? settings->to_ns : INT64_MAX));
	sqlite3_bind_int64(statement, 4, cursor->newest);
	sqlite3_bind_int(statement, 5, settings->follow);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		if (add_file(cursor, statement) == -1)
			break;
		cursor->newest = cursor->file[cursor->count - 1].id;
	}
	if (rc != SQLITE_DONE && cursor->error[0] == '\0')
		fail(cursor, "catalog", sqlite3_errmsg(settings->db));
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* How long is a file now, and is it written still? One that is not in the catalog any more has expired. */
static int
look_again(struct store_cursor *cursor, struct cursor_file *file)
{
	static const char sql[] = "SELECT length, live FROM file WHERE id = ?1";
	sqlite3_stmt *statement;
	int rc;

	if (sqlite3_prepare_v2(cursor->settings.db, sql, -1, &statement, NULL) != SQLITE_OK)
		return fail(cursor, "catalog", sqlite3_errmsg(cursor->settings.db));
	sqlite3_bind_int64(statement, 1, file->id);
	file->live = false;
	if ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		file->end = (uint64_t)sqlite3_column_int64(statement, 0);
		file->live = sqlite3_column_int(statement, 1) != 0;
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(cursor, "catalog", sqlite3_errmsg(cursor->settings.db));
}

/* The list at first, and when all in it was read. */
static int
refresh(struct store_cursor *cursor)
{
	size_t known;

	forget_done(cursor);
	known = cursor->count;
	for (size_t i = 0; i < known; i++)
		if (look_again(cursor, &cursor->file[i]) == -1)
			return -1;
	if (list_files(cursor) == -1)
		return -1;
	for (size_t i = known; i < cursor->count; i++)
		narrow(cursor, &cursor->file[i]);
	cursor->current = 0;
	cursor->listed = true;
	return 0;
}

/* --- a file --- */

/* Between its first commit and its renaming a file still has its hidden name; it may be renamed between two looks. */
static int
open_by_name(const struct store_cursor *cursor, const struct cursor_file *file)
{
	const char *slash = strrchr(file->path, '/'), *base = slash != NULL ? slash + 1 : file->path;
	char path[PATH_MAX];
	int fd = -1;

	for (int look = 0; look < 3; look++) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%.*s%s%s", cursor->settings.store, (int)(base - file->path), file->path,
		    look == 1 ? "." : "", base) >= sizeof(path)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if ((fd = open(path, O_RDONLY | O_CLOEXEC)) != -1 || errno != ENOENT)
			return fd;
	}
	return fd;
}

/* 1: open; 0: gone; -1. */
static int
open_file(struct store_cursor *cursor, struct cursor_file *file)
{
	char text[PATH_SIZE + 64];

	if (file->fd != -1)
		return 1;
	if ((file->fd = open_by_name(cursor, file)) == -1 && errno == ENOENT) {
		snprintf(text, sizeof(text), "%s is gone: expired meanwhile", file->path);
		cursor->settings.warning(text, cursor->settings.arg);
		return 0;
	}
	if (file->fd == -1)
		return fail(cursor, file->path, strerror(errno));
	if ((file->state = file->codec->reader_new(file->at == 0)) == NULL)
		return fail(cursor, file->path, "out of memory");
	return 1;
}

/* One whole EPB or ISB at the front of what was decoded: 1; 0: none yet, or -1. */
static int
next_block(struct store_cursor *cursor, struct cursor_file *file, struct store_item *item)
{
	struct pcapng_walk walk;
	int more;

	buf_consume(&file->decoded, cursor->taken);
	cursor->taken = 0;
	pcapng_walk_init(&walk, file->decoded.data, file->decoded.len);
	while ((more = pcapng_walk_any(&walk, &item->type, &item->packet, &item->block, &item->len)) == 1 &&
	    item->type != PCAPNG_EPB && item->type != PCAPNG_ISB)
		;
	cursor->taken = file->decoded.len - walk.left;
	if (more == 1) {
		item->stream = file->stream;
		return 1;
	}
	return more == 0 || walk.torn ? 0 : fail(cursor, file->path, walk.error);
}

/* Decodes a step further: 1 there is something more to look at; 0 wants more of the file; -1. */
static int
decode(struct store_cursor *cursor, struct cursor_file *file)
{
	const uint8_t *p = file->in.data != NULL ? file->in.data : (const uint8_t *)"";	/* a decoder adds to it, be it nothing */
	size_t left = file->in.len;
	int rc = file->codec->reader_decode(file->state, &p, &left, &file->decoded);

	buf_consume(&file->in, file->in.len - left);
	return rc == -1 ? fail(cursor, file->path, "damaged: cannot be decompressed") : rc;
}

static int
read_chunk(struct store_cursor *cursor, struct cursor_file *file)
{
	size_t want = file->end - file->at < CHUNK_SIZE ? (size_t)(file->end - file->at) : CHUNK_SIZE;
	ssize_t got;

	if (buf_reserve(&file->in, want) == -1)
		return fail(cursor, file->path, strerror(errno));
	if ((got = pread(file->fd, file->in.data + file->in.len, want, (off_t)file->at)) <= 0)
		return fail(cursor, file->path, got == 0 ? "shorter than the catalog says" : strerror(errno));
	file->in.len += (size_t)got;
	file->at += (uint64_t)got;
	return 0;
}

/* 1: *item; 0: read to its end; -1. */
static int
next_of_file(struct store_cursor *cursor, struct cursor_file *file, struct store_item *item)
{
	int rc;

	for (;;) {
		if (file->more && (rc = next_block(cursor, file, item)) != 0)
			return rc;
		if ((rc = decode(cursor, file)) == -1)
			return -1;
		if ((file->more = rc == 1))
			continue;
		if (file->at >= file->end)
			return file->decoded.len > cursor->taken ? fail(cursor, file->path, "ends inside a packet") : 0;
		if (read_chunk(cursor, file) == -1)
			return -1;
	}
}

/* A file that is written still waits for more of it, but holds no memory meanwhile. */
static void
leave_file(struct store_cursor *cursor, bool gone)
{
	struct cursor_file *file = &cursor->file[cursor->current++];

	cursor->taken = 0;
	file->done = gone || !cursor->settings.follow || !file->live;
	if (file->done)
		clear_file(file);
	buf_clear(&file->in);
	buf_clear(&file->decoded);
}

int
store_cursor_next(struct store_cursor *cursor, struct store_item *item)
{
	struct cursor_file *file;
	int opened, rc;

	if (cursor->error[0] != '\0' || ((!cursor->listed || cursor->settings.follow) && cursor->current == cursor->count &&
	    refresh(cursor) == -1))
		return -1;
	while (cursor->current < cursor->count) {
		file = &cursor->file[cursor->current];
		if ((opened = open_file(cursor, file)) == -1)
			return -1;
		if (opened == 1 && (rc = next_of_file(cursor, file, item)) != 0)
			return rc;
		leave_file(cursor, opened == 0);
	}
	return 0;
}
