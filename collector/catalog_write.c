/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "proto/codec.h"

#include "collector/catalog.h"
#include "collector/catalog_bind.h"
#include "collector/catalog_write.h"
#include "collector/store_batch.h"

enum catalog_sql {
	SQL_VM, SQL_STREAM, SQL_RESUMED, SQL_INTERFACE, SQL_NETWORK, SQL_FILE, SQL_REVEALED, SQL_POINT, SQL_LOSS, SQL_STAT, SQL_EVENT,
	SQL_CLOCK, SQL_WITHHELD, SQL_LOSS_OF_PEER, SQL_MAX
};

struct catalog_writer {
	sqlite3		*db;
	sqlite3_stmt	*stmt[SQL_MAX];
};

static const char *const catalog_sql[SQL_MAX] = {
	[SQL_VM] = "INSERT INTO vm (uuid, tenant, name, software, os, hardware, address, connected, since_ns, seen_ns,"
	    " clock_offset_ns, policy_version, policy_state, policy_text, policy_reason, not_after_ns)"
	    " VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)"
	    " ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, software = excluded.software, os = excluded.os,"
	    " hardware = excluded.hardware, address = excluded.address, connected = excluded.connected,"
	    " since_ns = excluded.since_ns, seen_ns = excluded.seen_ns, clock_offset_ns = excluded.clock_offset_ns,"
	    " policy_version = excluded.policy_version, not_after_ns = excluded.not_after_ns,"
	    " policy_state = excluded.policy_state, policy_text = excluded.policy_text, policy_reason = excluded.policy_reason"
	    " WHERE tenant = excluded.tenant",
	[SQL_STREAM] = "INSERT INTO stream (id, vm, started_ns, last_block, ended, cut, packets, bytes, packets_block, first_ns,"
	    " last_ns, stats_ns, instance) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)"
	    " ON CONFLICT (id) DO UPDATE SET last_block = excluded.last_block, ended = excluded.ended, cut = excluded.cut,"
	    " packets = excluded.packets, bytes = excluded.bytes, packets_block = excluded.packets_block,"
	    " first_ns = excluded.first_ns, last_ns = excluded.last_ns, stats_ns = excluded.stats_ns,"
	    " instance = excluded.instance WHERE vm = excluded.vm",
	[SQL_RESUMED] = "DELETE FROM loss WHERE vm = ?2 AND stream = ?1 AND place = 'cut'",
	[SQL_INTERFACE] = "INSERT INTO interface (stream, id, name, mac, linktype, filter, idb, network)"
	    " VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT (stream, id) DO UPDATE SET network = excluded.network",
	[SQL_NETWORK] = "UPDATE interface SET network = ?3 WHERE stream = ?1 AND id = ?2 AND network <> ?3",
	[SQL_FILE] = "INSERT INTO file (id, vm, stream, path, codec, live, created_ns, length, raw, packets, bytes, first_block,"
	    " last_block, first_ns, last_ns) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)"
	    " ON CONFLICT (id) DO UPDATE SET live = excluded.live, length = excluded.length, raw = excluded.raw,"
	    " packets = excluded.packets, bytes = excluded.bytes, first_block = excluded.first_block,"
	    " last_block = excluded.last_block, first_ns = excluded.first_ns, last_ns = excluded.last_ns",
	[SQL_REVEALED] = "UPDATE file SET hidden = 0 WHERE id = ?1",
	[SQL_POINT] = "INSERT OR IGNORE INTO point (file, block, offset, first_ns) VALUES (?1,?2,?3,?4)",
	[SQL_LOSS] = "INSERT INTO loss (id, vm, stream, place, first_block, last_block, packets, bytes, first_ns, last_ns,"
	    " recorded_ns, approximate) SELECT (SELECT max(id) FROM loss WHERE ?12 AND vm = ?1 AND stream = ?2 AND place = ?3 AND"
	    " approximate = ?11), ?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11"
	    /* A stream is cut off once, however often that is found out before it is in the catalog. */
	    " WHERE ?3 <> 'cut' OR NOT EXISTS (SELECT 1 FROM loss WHERE vm = ?1 AND stream = ?2 AND place = 'cut')"
	    /* One that is joined. Sums stay integers, as large as they get. */
	    " ON CONFLICT (id) DO UPDATE SET last_block = excluded.last_block, recorded_ns = excluded.recorded_ns,"
	    " packets = min(packets, 9223372036854775807 - excluded.packets) + excluded.packets,"
	    " bytes = min(bytes, 9223372036854775807 - excluded.bytes) + excluded.bytes,"
	    " first_ns = min(coalesce(first_ns, excluded.first_ns), coalesce(excluded.first_ns, first_ns)),"
	    " last_ns = max(coalesce(last_ns, excluded.last_ns), coalesce(excluded.last_ns, last_ns))",
	[SQL_STAT] = "INSERT INTO stat (vm, stream, interface, counter, value, updated_ns, since_ns, changed_ns)"
	    " VALUES (?1,?2,?3,?4,?5,?6,?7,?8)"
	    " ON CONFLICT (vm, stream, interface, counter) DO UPDATE SET value = excluded.value, updated_ns = excluded.updated_ns,"
	    " since_ns = excluded.since_ns, changed_ns = excluded.changed_ns",
	[SQL_EVENT] = "INSERT INTO event (vm, stream, block, at_ns, text) VALUES (?1,?2,?3,?4,?5)",
	[SQL_CLOCK] = "INSERT INTO clock (vm, at_ns, offset_ns, rtt_ns) VALUES (?1,?2,?3,?4)"
	    " ON CONFLICT (vm, at_ns) DO UPDATE SET offset_ns = excluded.offset_ns, rtt_ns = excluded.rtt_ns",
	[SQL_LOSS_OF_PEER] = CATALOG_LOSS_OF_PEER,
	[SQL_WITHHELD] = "INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns, to_ns)"
	    " VALUES (?1,?2,?3,?4,?5,?6,?7,?8)"
	    " ON CONFLICT (vm, peer, address, network, from_ns) DO UPDATE SET to_ns = excluded.to_ns",
};

struct catalog_writer *
catalog_writer_new(const char *store, char *error, size_t error_size)
{
	struct catalog_writer *writer = calloc(1, sizeof(*writer));

	if (writer == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	if ((writer->db = catalog_open(store, error, error_size)) == NULL) {
		free(writer);
		return NULL;
	}
	for (size_t i = 0; i < SQL_MAX; i++)
		if (sqlite3_prepare_v3(writer->db, catalog_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &writer->stmt[i],
		    NULL) != SQLITE_OK) {
			snprintf(error, error_size, "%s/%s: %s", store, CATALOG_NAME, sqlite3_errmsg(writer->db));
			catalog_writer_free(writer);
			return NULL;
		}
	return writer;
}

void
catalog_writer_free(struct catalog_writer *writer)
{
	if (writer == NULL)
		return;
	for (size_t i = 0; i < SQL_MAX; i++)
		sqlite3_finalize(writer->stmt[i]);
	sqlite3_close(writer->db);
	free(writer);
}

/* SQLite's integers are signed; what peers announce may be larger, and is then as large as it gets. */
/* 0 stands for "none yet". */
static int
bind_u64_or_null(sqlite3_stmt *stmt, int place, uint64_t value)
{
	return value == 0 ? sqlite3_bind_null(stmt, place) : bind_u64(stmt, place, value);
}

static int
bind_id(sqlite3_stmt *stmt, int place, const uint8_t *id)
{
	return sqlite3_bind_blob(stmt, place, id, MSG_ID_SIZE, SQLITE_STATIC);
}

static int
catalog_step(sqlite3_stmt *stmt, int errs)
{
	int rc = errs == 0 ? sqlite3_step(stmt) : SQLITE_MISUSE;

	sqlite3_reset(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
catalog_write_vm(sqlite3_stmt *stmt, const void *any)
{
	const struct vm_row *row = any;
	int errs = 0;

	errs += bind_text(stmt, 1, row->uuid);
	errs += bind_text(stmt, 2, row->tenant);
	errs += bind_text(stmt, 3, row->name);
	errs += bind_text(stmt, 4, row->software);
	errs += bind_text(stmt, 5, row->os);
	errs += bind_text(stmt, 6, row->hardware);
	errs += bind_text(stmt, 7, row->address);
	errs += sqlite3_bind_int(stmt, 8, row->connected);
	errs += bind_u64_or_null(stmt, 9, row->since_ns);
	errs += bind_u64_or_null(stmt, 10, row->seen_ns);
	errs += sqlite3_bind_int64(stmt, 11, row->clock_offset_ns);
	errs += bind_u64_or_null(stmt, 12, row->policy_version);
	errs += bind_text(stmt, 13, row->policy_state);
	errs += bind_text(stmt, 14, row->policy_text);
	errs += bind_text(stmt, 15, row->policy_reason);
	errs += bind_u64_or_null(stmt, 16, row->not_after_ns);
	return catalog_step(stmt, errs);
}

static int
catalog_write_stream(sqlite3_stmt *stmt, const void *any)
{
	const struct stream_row *row = any;
	int errs = 0;

	errs += bind_id(stmt, 1, row->id);
	errs += bind_text(stmt, 2, row->vm);
	errs += bind_u64(stmt, 3, row->started_ns);
	errs += bind_u64(stmt, 4, row->last_block);
	errs += sqlite3_bind_int(stmt, 5, row->ended);
	errs += sqlite3_bind_int(stmt, 6, row->cut);
	errs += bind_u64(stmt, 7, row->packets);
	errs += bind_u64(stmt, 8, row->bytes);
	errs += bind_u64(stmt, 9, row->packets_block);
	errs += bind_u64_or_null(stmt, 10, row->first_ns);
	errs += bind_u64_or_null(stmt, 11, row->last_ns);
	errs += bind_u64_or_null(stmt, 12, row->stats_ns);
	errs += bind_id(stmt, 13, row->instance);
	return catalog_step(stmt, errs);
}

static int
catalog_write_resumed(sqlite3_stmt *stmt, const void *any)
{
	const struct stream_row *row = any;

	if (!row->resumed)
		return 0;
	return catalog_step(stmt, bind_id(stmt, 1, row->id) + bind_text(stmt, 2, row->vm));
}

static int
catalog_write_interface(sqlite3_stmt *stmt, const void *any)
{
	const struct interface_row *row = any;
	int errs = 0;

	errs += bind_id(stmt, 1, row->stream);
	errs += sqlite3_bind_int64(stmt, 2, row->id);
	errs += bind_text(stmt, 3, row->name);
	errs += bind_text(stmt, 4, row->mac[0] != '\0' ? row->mac : NULL);
	errs += sqlite3_bind_int(stmt, 5, row->linktype);
	errs += bind_text(stmt, 6, row->filter[0] != '\0' ? row->filter : NULL);
	errs += sqlite3_bind_blob64(stmt, 7, row->idb, row->idb_len, SQLITE_STATIC);
	errs += bind_text(stmt, 8, row->network);
	return catalog_step(stmt, errs);
}

static int
catalog_write_network(sqlite3_stmt *stmt, const void *any)
{
	const struct network_row *row = any;
	int errs = 0;

	errs += bind_id(stmt, 1, row->stream);
	errs += sqlite3_bind_int64(stmt, 2, row->id);
	errs += bind_text(stmt, 3, row->network);
	return catalog_step(stmt, errs);
}

static int
catalog_write_file(sqlite3_stmt *stmt, const void *any)
{
	const struct file_row *row = any;
	int errs = 0;

	errs += bind_u64(stmt, 1, row->file.id);
	errs += bind_text(stmt, 2, row->vm);
	errs += bind_id(stmt, 3, row->stream);
	errs += bind_text(stmt, 4, row->file.path);
	errs += bind_text(stmt, 5, row->file.codec->name);
	errs += sqlite3_bind_int(stmt, 6, row->live);
	errs += bind_u64(stmt, 7, row->file.created_ns);
	errs += bind_u64(stmt, 8, row->file.length);
	errs += bind_u64(stmt, 9, row->file.raw);
	errs += bind_u64(stmt, 10, row->file.packets);
	errs += bind_u64(stmt, 11, row->file.bytes);
	errs += bind_u64_or_null(stmt, 12, row->file.first_block);
	errs += bind_u64_or_null(stmt, 13, row->file.last_block);
	errs += bind_u64_or_null(stmt, 14, row->file.first_ns);
	errs += bind_u64_or_null(stmt, 15, row->file.last_ns);
	return catalog_step(stmt, errs);
}

static int
catalog_write_point(sqlite3_stmt *stmt, const void *any)
{
	const struct point_row *row = any;
	int errs = 0;

	errs += bind_u64(stmt, 1, row->file);
	errs += bind_u64(stmt, 2, row->block);
	errs += bind_u64(stmt, 3, row->offset);
	errs += bind_u64(stmt, 4, row->first_ns);
	return catalog_step(stmt, errs);
}

static int
catalog_write_loss(sqlite3_stmt *stmt, const void *any)
{
	const struct loss_row *row = any;
	int errs = 0;

	errs += bind_text(stmt, 1, row->vm);
	errs += bind_id(stmt, 2, row->stream);
	errs += bind_text(stmt, 3, row->place);
	errs += bind_u64_or_null(stmt, 4, row->first_block);
	errs += bind_u64_or_null(stmt, 5, row->last_block);
	errs += bind_u64(stmt, 6, row->packets);
	errs += bind_u64(stmt, 7, row->bytes);
	errs += bind_u64_or_null(stmt, 8, row->first_ns);
	errs += bind_u64_or_null(stmt, 9, row->last_ns);
	errs += bind_u64(stmt, 10, row->recorded_ns);
	errs += sqlite3_bind_int(stmt, 11, row->approximate);
	errs += sqlite3_bind_int(stmt, 12, row->joined);
	return catalog_step(stmt, errs);
}

/* What the peer of others has lost: its own, and of which the times are known. */
static int
catalog_write_loss_of_peer(sqlite3_stmt *stmt, const void *any)
{
	const struct loss_row *row = any;
	int errs = 0;

	bool cut = strcmp(row->place, "cut") == 0;	/* known long after it happened, perhaps several times */

	if (row->first_ns == 0 || strcmp(row->place, "withheld") == 0)
		return 0;
	errs += bind_text(stmt, 1, row->vm);
	errs += bind_u64(stmt, 2, row->first_ns);
	errs += bind_u64(stmt, 3, row->last_ns);
	errs += bind_u64(stmt, 4, cut ? 0 : row->packets);
	errs += sqlite3_bind_int(stmt, 5, cut ? 2 : row->approximate);
	errs += bind_u64(stmt, 6, row->recorded_ns);
	errs += sqlite3_bind_int(stmt, 7, cut);
	return catalog_step(stmt, errs);
}

static int
catalog_write_stat(sqlite3_stmt *stmt, const void *any)
{
	const struct stat_row *row = any;
	int errs = 0;

	errs += bind_text(stmt, 1, row->vm);
	errs += bind_id(stmt, 2, row->stream);
	errs += sqlite3_bind_int64(stmt, 3, row->interface);
	errs += bind_text(stmt, 4, row->counter);
	errs += bind_u64(stmt, 5, row->value);
	errs += bind_u64(stmt, 6, row->updated_ns);
	errs += bind_u64_or_null(stmt, 7, row->since_ns);
	errs += bind_u64_or_null(stmt, 8, row->changed_ns);
	return catalog_step(stmt, errs);
}

static int
catalog_write_event(sqlite3_stmt *stmt, const void *any)
{
	const struct event_row *row = any;
	int errs = 0;

	errs += bind_text(stmt, 1, row->vm);
	errs += bind_id(stmt, 2, row->stream);
	errs += bind_u64(stmt, 3, row->block);
	errs += bind_u64(stmt, 4, row->at_ns);
	errs += bind_text(stmt, 5, row->text);
	return catalog_step(stmt, errs);
}

static int
catalog_write_clock(sqlite3_stmt *stmt, const void *any)
{
	const struct clock_row *row = any;
	int errs = 0;

	errs += bind_text(stmt, 1, row->vm);
	errs += bind_u64(stmt, 2, row->at_ns);
	errs += sqlite3_bind_int64(stmt, 3, row->offset_ns);
	errs += bind_u64(stmt, 4, row->rtt_ns);
	return catalog_step(stmt, errs);
}

static int
catalog_write_withheld(sqlite3_stmt *stmt, const void *any)
{
	const struct withheld_row *row = any;
	int errs = 0;

	errs += bind_text(stmt, 1, row->vm);
	errs += bind_text(stmt, 2, row->peer);
	errs += bind_text(stmt, 3, row->address);
	errs += bind_text(stmt, 4, row->own);
	errs += bind_text(stmt, 5, row->network);
	errs += sqlite3_bind_int(stmt, 6, row->balanced);
	errs += bind_u64(stmt, 7, row->from_ns);
	errs += bind_u64_or_null(stmt, 8, row->to_ns);
	return catalog_step(stmt, errs);
}

static int
catalog_write_rows(sqlite3_stmt *stmt, const struct rows *rows, size_t row_size, int (*write_row)(sqlite3_stmt *, const void *))
{
	for (size_t i = 0; i < rows->count; i++)
		if (write_row(stmt, (const char *)rows->row + i * row_size) == -1)
			return -1;
	return 0;
}

/* In this order: what others refer to comes first, and what takes a row back after it. */
static int
catalog_write_batch(struct catalog_writer *writer, const struct batch *batch)
{
	const struct {
		enum catalog_sql	 sql;
		const struct rows	*rows;
		size_t			 row_size;
		int			(*write_row)(sqlite3_stmt *, const void *);
	} part[] = {
		{ SQL_VM, &batch->vms, sizeof(struct vm_row), catalog_write_vm },
		{ SQL_STREAM, &batch->streams, sizeof(struct stream_row), catalog_write_stream },
		{ SQL_INTERFACE, &batch->interfaces, sizeof(struct interface_row), catalog_write_interface },
		{ SQL_NETWORK, &batch->networks, sizeof(struct network_row), catalog_write_network },
		{ SQL_FILE, &batch->files, sizeof(struct file_row), catalog_write_file },
		{ SQL_POINT, &batch->points, sizeof(struct point_row), catalog_write_point },
		{ SQL_LOSS, &batch->losses, sizeof(struct loss_row), catalog_write_loss },
		{ SQL_LOSS_OF_PEER, &batch->losses, sizeof(struct loss_row), catalog_write_loss_of_peer },
		{ SQL_RESUMED, &batch->streams, sizeof(struct stream_row), catalog_write_resumed },
		{ SQL_STAT, &batch->stats, sizeof(struct stat_row), catalog_write_stat },
		{ SQL_EVENT, &batch->events, sizeof(struct event_row), catalog_write_event },
		{ SQL_CLOCK, &batch->clocks, sizeof(struct clock_row), catalog_write_clock },
		{ SQL_WITHHELD, &batch->withheld, sizeof(struct withheld_row), catalog_write_withheld },
	};

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		if (catalog_write_rows(writer->stmt[part[i].sql], part[i].rows, part[i].row_size, part[i].write_row) == -1)
			return -1;
	return 0;
}

static int
catalog_write_revealed(struct catalog_writer *writer, const uint64_t *id, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (catalog_step(writer->stmt[SQL_REVEALED], bind_u64(writer->stmt[SQL_REVEALED], 1, id[i])) == -1)
			return -1;
	return 0;
}

int
catalog_writer_commit(struct catalog_writer *writer, const struct batch *batch, const uint64_t *revealed, size_t revealed_count,
    char *error, size_t error_size)
{
	bool good = sqlite3_exec(writer->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
	    catalog_write_batch(writer, batch) == 0 && catalog_write_revealed(writer, revealed, revealed_count) == 0;
	int rc, why = !good && (sqlite3_errcode(writer->db) & 0xff) == SQLITE_BUSY ? EBUSY : EIO;

	rc = catalog_end(writer->db, good, error, error_size);
	errno = why;
	return rc;
}
