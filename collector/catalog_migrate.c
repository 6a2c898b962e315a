/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>

#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/catalog_migrate.h"

/* A row per older version: what makes the next one of it. Rows are never changed, only added. */

/* Of files that retention had removed before nothing is known any more: they are not in stream.packets. */
static const char from_1[] =
    "ALTER TABLE stream ADD COLUMN packets INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE stream ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE stream ADD COLUMN packets_block INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE stream ADD COLUMN first_ns INTEGER;"
    "ALTER TABLE stream ADD COLUMN last_ns INTEGER;"
    "ALTER TABLE stream ADD COLUMN stats_ns INTEGER;"
    "ALTER TABLE stream ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE stream ADD COLUMN instance BLOB;"
    "ALTER TABLE stat ADD COLUMN since_ns INTEGER;"
    "ALTER TABLE stat ADD COLUMN changed_ns INTEGER;"
    "CREATE TABLE event (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL, block INTEGER NOT NULL,"
    " at_ns INTEGER NOT NULL, text TEXT NOT NULL);"
    "CREATE INDEX event_vm ON event (vm);"
    "CREATE INDEX stream_vm ON stream (vm);"
    "DROP INDEX loss_vm; CREATE INDEX loss_vm ON loss (vm, stream);"
    "CREATE TEMP TABLE held AS SELECT stream, sum(packets) AS packets, sum(bytes) AS bytes, max(last_block) AS last_block,"
    " min(first_ns) AS first_ns, max(last_ns) AS last_ns FROM file GROUP BY stream;"
    "CREATE TEMP TABLE missing AS SELECT stream, CAST(total(packets) AS INTEGER) AS packets,"
    " CAST(total(bytes) AS INTEGER) AS bytes FROM loss WHERE place = 'store' GROUP BY stream;"
    "UPDATE stream SET packets = held.packets, bytes = held.bytes, packets_block = coalesce(held.last_block, 0),"
    " first_ns = held.first_ns, last_ns = held.last_ns FROM held WHERE held.stream = stream.id;"
    "UPDATE stream SET packets = stream.packets + missing.packets, bytes = stream.bytes + missing.bytes FROM missing"
    " WHERE missing.stream = stream.id;"
    "DROP TABLE temp.held;"
    "DROP TABLE temp.missing";

/* Interfaces that are known have the tenant's unnamed network until they are described again. */
static const char from_2[] =
    "ALTER TABLE interface ADD COLUMN network TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE clock (vm TEXT NOT NULL REFERENCES vm, at_ns INTEGER NOT NULL, offset_ns INTEGER NOT NULL,"
    " rtt_ns INTEGER NOT NULL, PRIMARY KEY (vm, at_ns)) WITHOUT ROWID;"
    "CREATE TABLE withheld (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, peer TEXT NOT NULL REFERENCES vm,"
    " address TEXT NOT NULL, own TEXT NOT NULL,"
    " network TEXT NOT NULL, balanced INTEGER NOT NULL,"
    " from_ns INTEGER NOT NULL, to_ns INTEGER,"
    " UNIQUE (vm, peer, address, network, from_ns));"
    "CREATE INDEX withheld_peer ON withheld (peer);"
    "CREATE TABLE tenant (name TEXT PRIMARY KEY, secret BLOB NOT NULL)";

static const char from_3[] =
    "ALTER TABLE vm ADD COLUMN labels TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE vm ADD COLUMN not_after_ns INTEGER;"
    "CREATE TABLE token (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE,"
    " tenant TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL, uses INTEGER NOT NULL,"
    " created_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, revoked_ns INTEGER);"
    "CREATE TABLE enrolled (token TEXT NOT NULL REFERENCES token, key BLOB NOT NULL, uuid TEXT NOT NULL, at_ns INTEGER NOT NULL,"
    " certificate BLOB NOT NULL, PRIMARY KEY (token, key)) WITHOUT ROWID;"
    "CREATE TABLE revoked (uuid TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID";

static const char *const steps[CATALOG_VERSION] = { [1] = from_1, [2] = from_2, [3] = from_3 };

int
catalog_migrate(struct sqlite3 *db, int64_t version, char *error, size_t error_size)
{
	char done[64];
	bool good = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;

	for (; good && version < CATALOG_VERSION; version++)
		good = steps[version] != NULL && sqlite3_exec(db, steps[version], NULL, NULL, NULL) == SQLITE_OK;
	snprintf(done, sizeof(done), "PRAGMA user_version = %d", CATALOG_VERSION);
	good = good && sqlite3_exec(db, done, NULL, NULL, NULL) == SQLITE_OK;
	return catalog_end(db, good, error, error_size);
}
