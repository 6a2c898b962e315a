/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/catalog_migrate.h"

#define CATALOG_BUSY_WRITER_MS	10000
#define CATALOG_BUSY_READER_MS	5000
#define CATALOG_LIST_MAX	8	/* matches named in an error */

static int
catalog_path(const char *store, char *path, size_t path_size, char *error, size_t error_size)
{
	int n = snprintf(path, path_size, "%s/%s", store, CATALOG_NAME);

	if (n > 0 && (size_t)n < path_size)
		return 0;
	snprintf(error, error_size, "%s: the path is too long", store);
	return -1;
}

static int
catalog_version(sqlite3 *db, int64_t *version)
{
	sqlite3_stmt *stmt = NULL;
	int rc = -1;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
		*version = sqlite3_column_int64(stmt, 0);
		rc = 0;
	}
	sqlite3_finalize(stmt);
	return rc;
}

/* Has the database a table at all? Another program's file must not become a catalog. */
static int
catalog_is_empty(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	int empty = 0;

	if (sqlite3_prepare_v2(db, "SELECT count(*) FROM sqlite_master", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		empty = sqlite3_column_int(stmt, 0) == 0;
	sqlite3_finalize(stmt);
	return empty;
}

static int
catalog_check_version(const char *path, int64_t version, char *error, size_t error_size)
{
	if (version == CATALOG_VERSION)
		return 0;
	if (version > CATALOG_VERSION)
		snprintf(error, error_size,
		    "%s: catalog version %lld is newer than %d, the newest this program knows; use a newer vmtap", path,
		    (long long)version, CATALOG_VERSION);
	else if (version > 0)
		snprintf(error, error_size, "%s: catalog version %lld is older than %d; the collector makes it new when it starts",
		    path, (long long)version, CATALOG_VERSION);
	else
		snprintf(error, error_size, "%s: not a vmtap catalog (version %lld)", path, (long long)version);
	return -1;
}

int
catalog_end(struct sqlite3 *db, bool good, char *error, size_t error_size)
{
	if (good && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	if (sqlite3_get_autocommit(db) == 0)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

static int
catalog_create_schema(sqlite3 *db, char *error, size_t error_size)
{
	char version[64];
	bool good;

	snprintf(version, sizeof(version), "PRAGMA user_version = %d", CATALOG_VERSION);
	good = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
	    sqlite3_exec(db, CATALOG_SCHEMA, NULL, NULL, NULL) == SQLITE_OK &&
	    sqlite3_exec(db, version, NULL, NULL, NULL) == SQLITE_OK;
	return catalog_end(db, good, error, error_size);
}

/*
 * The file is made here, not by SQLite, for its mode: readers are of the store's group. One that is there is not opened: closing
 * any descriptor of it takes away the locks of all this process's connections (fcntl(2)), and then another process
 * that closes the catalog deletes the write-ahead log that we go on writing.
 */
static int
catalog_make_file(const char *path, char *error, size_t error_size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (fd == -1 && errno == EEXIST)
		return 0;
	if (fd == -1) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return -1;
	}
	close(fd);
	return 0;
}

/* The -wal and -shm files outlive the last writer, so that readers without write access can open the catalog at any time. */
static int
catalog_set_up(sqlite3 *db)
{
	int persist = 1;

	if (sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL, NULL) != SQLITE_OK)
		return -1;
	return sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist) == SQLITE_OK ? 0 : -1;
}

static int
catalog_prepare(sqlite3 *db, const char *path, char *error, size_t error_size)
{
	int64_t version;

	sqlite3_busy_timeout(db, CATALOG_BUSY_WRITER_MS);
	if (catalog_version(db, &version) == -1)
		goto sql;
	if (version == 0 && catalog_is_empty(db)) {
		if (catalog_set_up(db) == -1)
			goto sql;
		return catalog_create_schema(db, error, error_size);
	}
	if ((version <= 0 || version > CATALOG_VERSION) && catalog_check_version(path, version, error, error_size) == -1)
		return -1;
	if (catalog_set_up(db) == 0)
		return version < CATALOG_VERSION ? catalog_migrate(db, version, error, error_size) : 0;
sql:
	snprintf(error, error_size, "%s: %s", path, sqlite3_errmsg(db));
	return -1;
}

struct sqlite3 *
catalog_open(const char *store, char *error, size_t error_size)
{
	sqlite3 *db = NULL;
	char path[PATH_MAX];

	if (catalog_path(store, path, sizeof(path), error, error_size) == -1 || catalog_make_file(path, error, error_size) == -1)
		return NULL;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		snprintf(error, error_size, "%s: %s", path, db != NULL ? sqlite3_errmsg(db) : "out of memory");
		goto fail;
	}
	if (catalog_prepare(db, path, error, error_size) == 0)
		return db;
fail:
	sqlite3_close(db);
	return NULL;
}

struct sqlite3 *
catalog_open_read_only(const char *store, char *error, size_t error_size)
{
	sqlite3 *db = NULL;
	char path[PATH_MAX];
	int64_t version;

	if (catalog_path(store, path, sizeof(path), error, error_size) == -1)
		return NULL;
	if (access(path, R_OK) == -1) {
		snprintf(error, error_size, "%s: %s", path, errno == ENOENT ? "no such catalog; is this a collector's store?"
		    : strerror(errno));
		return NULL;
	}
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		goto sql;
	sqlite3_busy_timeout(db, CATALOG_BUSY_READER_MS);
	if (catalog_version(db, &version) == -1)
		goto sql;
	if (catalog_check_version(path, version, error, error_size) == 0)
		return db;
	sqlite3_close(db);
	return NULL;
sql:
	snprintf(error, error_size, "%s: %s", path, db != NULL ? sqlite3_errmsg(db) : "out of memory");
	sqlite3_close(db);
	return NULL;
}

static void
catalog_copy_text(sqlite3_stmt *stmt, int column, char *dst, size_t dst_size)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	snprintf(dst, dst_size, "%s", text != NULL ? (const char *)text : "");
}

/* Takes the rows of one query; *vm is the first, the list names those that fit. Returns how many there are, -1 on an SQL error. */
static int
catalog_collect(sqlite3_stmt *stmt, struct catalog_vm *vm, char *list, size_t list_size)
{
	struct catalog_vm row;
	size_t used = 0;
	int n = 0, rc;

	list[0] = '\0';
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		catalog_copy_text(stmt, 0, row.uuid, sizeof(row.uuid));
		catalog_copy_text(stmt, 1, row.tenant, sizeof(row.tenant));
		catalog_copy_text(stmt, 2, row.name, sizeof(row.name));
		if (n++ == 0)
			*vm = row;
		if (n > CATALOG_LIST_MAX || used >= list_size)
			continue;
		used += (size_t)snprintf(list + used, list_size - used, "%s%s (%s, tenant %s)", n > 1 ? ", " : "", row.name,
		    row.uuid, row.tenant);
	}
	return rc == SQLITE_DONE ? n : -1;
}

static int
catalog_query_vm(sqlite3 *db, const char *where, const char *tenant, const char *text, struct catalog_vm *vm, char *list,
    size_t list_size)
{
	sqlite3_stmt *stmt = NULL;
	char sql[256];
	int n = -1;

	snprintf(sql, sizeof(sql), "SELECT uuid, tenant, name FROM vm WHERE (%s) AND (?2 IS NULL OR tenant = ?2)"
	    " ORDER BY name, uuid", where);
	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, text, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 2, tenant, -1, SQLITE_STATIC) == SQLITE_OK)
		n = catalog_collect(stmt, vm, list, list_size);
	sqlite3_finalize(stmt);
	return n;
}

/* What somebody typed, fit for an error line. */
static void
catalog_escape(const char *text, char *dst, size_t dst_size)
{
	size_t i;

	for (i = 0; text[i] != '\0' && i + 1 < dst_size; i++)
		dst[i] = isprint((unsigned char)text[i]) ? text[i] : '?';
	dst[i] = '\0';
}

int
catalog_find_vm(struct sqlite3 *db, const char *text, struct catalog_vm *vm, char *error, size_t error_size)
{
	return catalog_find_vm_of(db, NULL, text, vm, error, error_size);
}

int
catalog_find_vm_of(struct sqlite3 *db, const char *tenant, const char *text, struct catalog_vm *vm, char *error, size_t error_size)
{
	static const char *const where[] = { "uuid = lower(?1)", "name = ?1",
	    "substr(name, 1, length(?1)) = ?1 OR substr(uuid, 1, length(?1)) = lower(?1)" };
	char list[1024] = "", shown[IDENTITY_URI_SIZE];
	int n = 0;

	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]) && n == 0 && text[0] != '\0'; i++)
		n = catalog_query_vm(db, where[i], tenant, text, vm, list, sizeof(list));
	if (n == 1)
		return 0;
	catalog_escape(text, shown, sizeof(shown));
	if (n < 0)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	else if (n == 0)
		snprintf(error, error_size, "no VM is called \"%s\", nor has a UUID that begins so", shown);
	else
		snprintf(error, error_size, "\"%s\" is ambiguous, it could be %s%s", shown, list, n > CATALOG_LIST_MAX ? ", ..."
		    : "");
	return -1;
}
