/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <dirent.h>
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
#include "common/log.h"
#include "proto/codec.h"
#include "proto/identity.h"
#include "proto/pcapng.h"

#include "collector/store.h"
#include "collector/store_scan.h"

#define SCAN_READ	(256u * 1024)
#define SCAN_OUT_MAX	(16u * 1024 * 1024)
#define SCAN_DIR_MAX	(IDENTITY_NAME_SIZE + IDENTITY_UUID_SIZE)
#define SCAN_PATH_SIZE	(SCAN_DIR_MAX + NAME_MAX + 2)

/* Takes whole pcapng blocks from the front of out; false: not pcapng any more. */
static bool
scan_count(struct buf *out, struct store_scan *found)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	size_t block_len;
	uint32_t type;
	int rc;

	pcapng_walk_init(&walk, out->data, out->len);
	while ((rc = pcapng_walk_any(&walk, &type, &packet, &block, &block_len)) == 1) {
		if (type != PCAPNG_EPB)
			continue;
		found->packets++;
		found->bytes += packet.captured_len;
	}
	buf_consume(out, walk.offset);
	return rc == 0 || out->len < SCAN_OUT_MAX / 2;	/* -1 is a block cut in two as well: more may come */
}

static bool
scan_chunk(const struct codec *codec, void *reader, const uint8_t *in, size_t len, struct buf *out, struct store_scan *found)
{
	int rc;

	while ((rc = codec->reader_decode(reader, &in, &len, out)) == 1)
		if (!scan_count(out, found))
			return false;
	return rc == 0 && scan_count(out, found);
}

void
store_scan(int fd, const struct codec *codec, struct store_scan *found)
{
	uint8_t *in = malloc(SCAN_READ);
	void *reader = codec->reader_new(true);
	struct buf out;
	off_t offset = 0;
	ssize_t n;

	memset(found, 0, sizeof(*found));
	buf_init(&out, SCAN_OUT_MAX);
	while (in != NULL && reader != NULL && (n = pread(fd, in, SCAN_READ, offset)) > 0) {
		offset += n;
		if (!scan_chunk(codec, reader, in, (size_t)n, &out, found))
			break;
	}
	buf_clear(&out);
	if (reader != NULL)
		codec->reader_free(reader);
	free(in);
}

static int
scan_known(sqlite3_stmt *stmt, const char *path)
{
	int rc;

	if (sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC) != SQLITE_OK)
		return -1;
	rc = sqlite3_step(stmt);
	sqlite3_reset(stmt);
	return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

static int
scan_file(const struct store *store, sqlite3_stmt *stmt, const char *dir, const char *name)
{
	char path[SCAN_PATH_SIZE];
	bool hidden = name[0] == '.';
	int known;

	snprintf(path, sizeof(path), "%.*s/%s", SCAN_DIR_MAX, dir, name + hidden);
	if ((known = scan_known(stmt, path)) != 0)
		return known == -1 ? -1 : 0;
	snprintf(path, sizeof(path), "%.*s/%s", SCAN_DIR_MAX, dir, name);
	if (!hidden || strstr(name, ".pcapng") == NULL)
		log_warn("%s/%s: not in the catalog, left alone", store->path, path);
	else if (unlinkat(store->root_fd, path, 0) == -1)
		log_warn("%s/%s: unfinished, but cannot be removed: %s", store->path, path, strerror(errno));
	else
		log_info("%s/%s: unfinished, nothing of it was acknowledged: removed", store->path, path);
	return 0;
}

static DIR *
scan_opendir(const struct store *store, const char *path)
{
	int fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;

	if (dir == NULL && fd != -1)
		close(fd);
	return dir;
}

static int
scan_vm(const struct store *store, sqlite3_stmt *stmt, const char *path)
{
	struct dirent *entry;
	DIR *dir = scan_opendir(store, path);
	int rc = 0;

	while (rc == 0 && dir != NULL && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = scan_file(store, stmt, path, entry->d_name);
	if (dir != NULL)
		closedir(dir);
	return rc;
}

static int
scan_tenant(const struct store *store, sqlite3_stmt *stmt, const char *tenant)
{
	char path[SCAN_PATH_SIZE];
	struct dirent *entry;
	DIR *dir = scan_opendir(store, tenant);
	int rc = 0;

	while (rc == 0 && dir != NULL && (entry = readdir(dir)) != NULL) {
		if (!identity_uuid_valid(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%.*s/%s", SCAN_DIR_MAX, tenant, entry->d_name);
		rc = scan_vm(store, stmt, path);
	}
	if (dir != NULL)
		closedir(dir);
	return rc;
}

int
store_scan_strangers(const struct store *store, struct sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	struct dirent *entry;
	DIR *dir;
	int rc = 0;

	if (sqlite3_prepare_v2(db, "SELECT 1 FROM file WHERE path = ?1", -1, &stmt, NULL) != SQLITE_OK)
		return -1;
	dir = scan_opendir(store, ".");
	while (rc == 0 && dir != NULL && (entry = readdir(dir)) != NULL)
		if (identity_name_valid(entry->d_name))
			rc = scan_tenant(store, stmt, entry->d_name);
	if (dir != NULL)
		closedir(dir);
	sqlite3_finalize(stmt);
	return rc;
}
