/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/codec.h"

#include "collector/catalog.h"
#include "collector/store.h"
#include "collector/store_recover.h"
#include "collector/store_scan.h"

/* One file that the dead run had not finished. */
#define RECOVER_LEASE_NS	(60u * UINT64_C(1000000000))	/* the longest of hints */

struct recover_file {
	uint64_t	id;
	char		path[STORE_PATH_SIZE];
	const struct codec *codec;
	bool		hidden, live;
	uint64_t	length, packets, bytes;
	uint64_t	lost_packets, lost_bytes;
	bool		gone;
};

struct recover {
	struct store	*store;
	sqlite3		*db;
	struct recover_file *file;
	size_t		 count;
};

static int
recover_open(const struct recover *recover, const struct recover_file *file)
{
	char hidden[STORE_PATH_SIZE + 1];
	int fd = openat(recover->store->root_fd, file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd != -1 || errno != ENOENT)
		return fd;
	store_hidden_path(file->path, hidden);
	return openat(recover->store->root_fd, hidden, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

/* The file is shorter than what was acknowledged: counts what is still there. */
static void
recover_short(const struct recover *recover, struct recover_file *file, int fd, uint64_t size)
{
	struct store_scan found;

	store_scan(fd, file->codec, &found);
	log_error("%s/%s: %" PRIu64 " of %" PRIu64 " durable bytes are missing, and %" PRIu64 " of %" PRIu64 " packets with them",
	    recover->store->path, file->path, file->length - size, file->length,
	    file->packets > found.packets ? file->packets - found.packets : 0, file->packets);
	file->lost_packets = file->packets > found.packets ? file->packets - found.packets : 0;
	file->lost_bytes = file->bytes > found.bytes ? file->bytes - found.bytes : 0;
	file->packets -= file->lost_packets;
	file->bytes -= file->lost_bytes;
	file->length = size;
}

/* Cuts off what is not durable and ends the file as its codec wants it. */
static int
recover_cut(struct recover_file *file, int fd)
{
	uint8_t edge[CODEC_FILE_EDGE_MAX];
	size_t len = file->codec->file_end(edge, sizeof(edge));

	if (ftruncate(fd, (off_t)file->length) == -1)
		return -1;
	if (pwrite(fd, edge, len, (off_t)file->length) == (ssize_t)len)
		file->length += len;
	else if (ftruncate(fd, (off_t)file->length) == -1)
		return -1;
	return 0;
}

static int
recover_live(const struct recover *recover, struct recover_file *file)
{
	struct stat st;
	int fd = recover_open(recover, file), rc = -1;

	if (fd == -1) {
		if (errno != ENOENT)
			return -1;
		log_error("%s/%s: the file is gone, with %" PRIu64 " packets", recover->store->path, file->path, file->packets);
		file->gone = true;
		file->lost_packets = file->packets;
		file->lost_bytes = file->bytes;
		return 0;
	}
	if (fstat(fd, &st) == 0) {
		rc = 0;
		if ((uint64_t)st.st_size < file->length)
			recover_short(recover, file, fd, (uint64_t)st.st_size);
		else if (file->live)
			rc = recover_cut(file, fd);
	}
	close(fd);
	return rc;
}

static int
recover_name(const struct recover *recover, const struct recover_file *file)
{
	struct stat st;

	if (!file->hidden || file->gone || fstatat(recover->store->root_fd, file->path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return store_reveal(recover->store, file->path);
}

static int
recover_exec(sqlite3 *db, const char *sql, const struct recover_file *file)
{
	const uint64_t value[] = { file->id, file->length, file->lost_packets, file->lost_bytes, clock_wall_ns() };
	sqlite3_stmt *stmt = NULL;
	int rc = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return -1;
	for (int i = 0; i < sqlite3_bind_parameter_count(stmt); i++)
		if (sqlite3_bind_int64(stmt, i + 1, (int64_t)value[i]) != SQLITE_OK)
			goto out;
	rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;
out:
	sqlite3_finalize(stmt);
	return rc;
}

static int
recover_write_file(sqlite3 *db, const struct recover_file *file)
{
	int errs = 0;

	if (file->gone || file->lost_packets > 0)
		errs += recover_exec(db,
		    "INSERT INTO loss (vm, stream, place, first_block, last_block, packets, bytes, first_ns, last_ns,"
		    " recorded_ns) SELECT vm, stream, 'store', first_block, last_block, ?3, ?4, first_ns, last_ns, ?5 FROM file"
		    " WHERE id = ?1", file);
	if (!file->gone)
		return errs + recover_exec(db,
		    "UPDATE file SET length = ?2, packets = packets - ?3, bytes = bytes - ?4, live = 0, hidden = 0"
		    " WHERE id = ?1", file);
	errs += recover_exec(db, "DELETE FROM point WHERE file = ?1", file);
	return errs + recover_exec(db, "DELETE FROM file WHERE id = ?1", file);
}

/* Their agents' leases have ended, or do so by then. */
static int
recover_end_withheld(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, "UPDATE withheld SET to_ns = max(from_ns, ?1) WHERE to_ns IS NULL", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_int64(stmt, 1, (int64_t)(clock_wall_ns() + RECOVER_LEASE_NS)) == SQLITE_OK)
		rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
recover_write(const struct recover *recover, char *error, size_t error_size)
{
	sqlite3 *db = recover->db;
	bool good = sqlite3_exec(db, "BEGIN IMMEDIATE; UPDATE vm SET connected = 0 WHERE connected", NULL, NULL, NULL) == SQLITE_OK;
	char reason[256];

	good = good && recover_end_withheld(db) == 0;
	for (size_t i = 0; good && i < recover->count; i++)
		good = recover_write_file(db, &recover->file[i]) == 0;
	if (catalog_end(db, good, reason, sizeof(reason)) == 0)
		return 0;
	snprintf(error, error_size, "store %s: %s", recover->store->path, reason);
	return -1;
}

static int
recover_add(struct recover *recover, sqlite3_stmt *stmt)
{
	const char *codec = (const char *)sqlite3_column_text(stmt, 4);
	const char *path = (const char *)sqlite3_column_text(stmt, 1);
	struct recover_file *file = reallocarray(recover->file, recover->count + 1, sizeof(*file));

	if (file == NULL)
		return -1;
	recover->file = file;
	file += recover->count;
	memset(file, 0, sizeof(*file));
	file->id = (uint64_t)sqlite3_column_int64(stmt, 0);
	snprintf(file->path, sizeof(file->path), "%s", path != NULL ? path : "");
	file->hidden = sqlite3_column_int(stmt, 2) != 0;
	file->live = sqlite3_column_int(stmt, 3) != 0;
	file->length = (uint64_t)sqlite3_column_int64(stmt, 5);
	file->packets = (uint64_t)sqlite3_column_int64(stmt, 6);
	file->bytes = (uint64_t)sqlite3_column_int64(stmt, 7);
	if ((file->codec = codec_by_name(codec != NULL ? codec : "")) == NULL) {
		log_warn("%s/%s: written with codec %s, which is not built in: left as it is", recover->store->path, file->path,
		    codec != NULL ? codec : "?");
		return 0;
	}
	recover->count++;
	return 0;
}

static int
recover_read(struct recover *recover)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(recover->db, "SELECT id, path, hidden, live, codec, length, packets, bytes FROM file"
	    " WHERE live OR hidden", -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			if (recover_add(recover, stmt) == -1)
				break;
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
recover_next_id(struct recover *recover)
{
	sqlite3_stmt *stmt = NULL;
	int rc = -1;

	if (sqlite3_prepare_v2(recover->db, "SELECT coalesce(max(id), 0) + 1 FROM file", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW) {
		atomic_store(&recover->store->next_file_id, (uint64_t)sqlite3_column_int64(stmt, 0));
		rc = 0;
	}
	sqlite3_finalize(stmt);
	return rc;
}

static int
recover_files(const struct recover *recover, char *error, size_t error_size)
{
	for (size_t i = 0; i < recover->count; i++) {
		struct recover_file *file = &recover->file[i];

		if (recover_live(recover, file) == 0 && recover_name(recover, file) == 0)
			continue;
		snprintf(error, error_size, "store %s: %s cannot be recovered: %s", recover->store->path, file->path,
		    strerror(errno));
		return -1;
	}
	if (recover->count == 0 || syncfs(recover->store->root_fd) == 0)
		return 0;
	snprintf(error, error_size, "store %s: %s", recover->store->path, strerror(errno));
	return -1;
}

int
store_recover(struct store *store, struct sqlite3 *db, char *error, size_t error_size)
{
	struct recover recover = { .store = store, .db = db };
	int rc = -1;

	if (recover_next_id(&recover) == -1 || recover_read(&recover) == -1)
		goto sql;
	if (recover_files(&recover, error, error_size) == -1 || recover_write(&recover, error, error_size) == -1)
		goto out;
	if (store_scan_strangers(store, db) == -1)
		goto sql;
	if (recover.count > 0)
		log_info("%s: %zu files of the run before were closed", store->path, recover.count);
	rc = 0;
	goto out;
sql:
	snprintf(error, error_size, "store %s: catalog: %s", store->path, sqlite3_errmsg(db));
out:
	free(recover.file);
	return rc;
}
