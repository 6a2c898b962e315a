/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/clock.h"

#include "collector/archive.h"
#include "collector/catalog.h"
#include "collector/loss.h"
#include "collector/stream.h"

/*
 * What a stream that was cut off has lost is bounded by what its interfaces counted from its last STATS to the begin of the stream
 * after it (PROTOCOL, "The ledger"). All of that is asked of the catalog, so that it is found out after a restart too, and once.
 */

#define CUT_WAIT_NS	(5u * 1000000000ull)	/* into the next stream: an interface that was not captured anew by then is gone */

struct cut {
	uint8_t		id[MSG_ID_SIZE];	/* what was cut off */
	uint8_t		next[MSG_ID_SIZE];	/* the stream after it */
	struct loss	loss;
	bool		late;			/* the next stream will tell no more */
};

/* Streams are in the order in which they became known; clocks of guests are stepped. One that died before it told anything is passed
 * over: what it has is then within the bound. */
static const char cut_pending_sql[] =
    "WITH cut AS (SELECT *, min(CASE WHEN stats_ns IS NOT NULL OR NOT ended THEN rowid END) OVER (ORDER BY rowid DESC ROWS BETWEEN"
    " UNBOUNDED PRECEDING AND 1 PRECEDING) AS follower FROM stream WHERE vm = ?1)"
    " SELECT cut.id, next.id, max(coalesce(cut.stats_ns, 0), coalesce(cut.last_ns, cut.started_ns)), next.started_ns,"
    " next.ended OR next.stats_ns >= next.started_ns + ?2"
    " FROM cut JOIN stream AS next ON next.rowid = cut.follower"
    " WHERE cut.ended AND cut.cut = 1 AND next.stats_ns IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM loss WHERE vm = ?1 AND stream = cut.id AND place = 'cut') LIMIT 16";
static const char cut_left_sql[] =
    "SELECT count(*) FROM stream AS cut WHERE cut.vm = ?1 AND cut.ended AND cut.cut = 1"
    " AND NOT EXISTS (SELECT 1 FROM loss WHERE vm = ?1 AND stream = cut.id AND place = 'cut')";

/* By the interfaces' names: how many there were, how many of these told their count last, how many were not captured any more by then
 * (the count is 0 again), how many of those captured told it again at the begin, and what lies between. An interface may have
 * several ids: the last one of the old stream counts, and the first one of the new. 0 is what an agent tells before it has
 * looked, and only once it is late (?4) the count itself. */
static const char cut_interfaces_sql[] =
    "WITH last AS (SELECT name, max(id) AS id FROM interface WHERE stream = ?2 GROUP BY name),"
    " old AS (SELECT name, value, value = 0 AND since_ns IS NOT NULL AS gone FROM last LEFT JOIN stat"
    " ON vm = ?1 AND stream = ?2 AND interface = last.id AND counter = 'interface_packets'),"
    " new AS (SELECT name, value, min(interface) FROM stat JOIN interface USING (stream)"
    " WHERE vm = ?1 AND stream = ?3 AND interface = id AND counter = 'interface_start_packets' AND (value > 0 OR ?4)"
    " GROUP BY name)"
    " SELECT count(*), count(old.value), count(CASE WHEN gone THEN 1 END), count(CASE WHEN NOT gone THEN new.value END),"
    " CAST(total(new.value - old.value) AS INTEGER), min(new.value - old.value) FROM old LEFT JOIN new USING (name)";
/* What passed the filter and is nowhere. */
static const char cut_rest_sql[] =
    "SELECT CAST((SELECT total(CASE counter WHEN 'ring_received_packets' THEN value WHEN 'ring_dropped_packets' THEN -value"
    " WHEN 'oversize_packets' THEN -value ELSE 0 END) FROM stat WHERE vm = ?1 AND stream = ?2)"
    " - (SELECT packets FROM stream WHERE id = ?2)"
    " - (SELECT total(packets) FROM loss WHERE vm = ?1 AND stream = ?2 AND place NOT IN ('store', 'cut', 'withheld')) AS INTEGER)";

static sqlite3_stmt *
cut_prepare(struct archive *archive, const char *sql, const struct vm *vm, const struct cut *cut)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(archive->db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, 1, vm->row.uuid, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && cut != NULL)
		rc = sqlite3_bind_blob(stmt, 2, cut->id, MSG_ID_SIZE, SQLITE_STATIC);
	if (rc == SQLITE_OK && cut != NULL && sqlite3_bind_parameter_count(stmt) >= 3)
		rc = sqlite3_bind_blob(stmt, 3, cut->next, MSG_ID_SIZE, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		return stmt;
	sqlite3_finalize(stmt);
	return NULL;
}

static bool
cut_rest(struct archive *archive, const struct vm *vm, const struct cut *cut, int64_t *rest)
{
	sqlite3_stmt *stmt = cut_prepare(archive, cut_rest_sql, vm, cut);
	bool found = stmt != NULL && sqlite3_step(stmt) == SQLITE_ROW;

	if (found)
		*rest = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return found;
}

/* What the interfaces say; rows of cut_interfaces_sql. */
struct cut_count {
	int64_t	interfaces, told, gone, again, between, least;
};

static bool
cut_count_interfaces(struct archive *archive, const struct vm *vm, const struct cut *cut, struct cut_count *count)
{
	sqlite3_stmt *stmt = cut_prepare(archive, cut_interfaces_sql, vm, cut);
	bool found = stmt != NULL && sqlite3_bind_int(stmt, 4, cut->late) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW;

	if (found)
		*count = (struct cut_count){ .interfaces = sqlite3_column_int64(stmt, 0), .told = sqlite3_column_int64(stmt, 1),
		    .gone = sqlite3_column_int64(stmt, 2), .again = sqlite3_column_int64(stmt, 3),
		    .between = sqlite3_column_int64(stmt, 4), .least = sqlite3_column_int64(stmt, 5) };
	sqlite3_finalize(stmt);
	return found;
}

/* False: not yet. */
static bool
cut_bound(struct archive *archive, const struct vm *vm, struct cut *cut)
{
	struct cut_count count;
	int64_t rest, sum;
	bool known;

	if (!cut_count_interfaces(archive, vm, cut, &count))
		return false;
	/* One that was gone may have come back before the end: then all that it counts is within the bound. */
	if ((count.again < count.told - count.gone || count.gone > 0) && !cut->late)
		return false;
	/* A count that is below what it was is that of a guest that was booted anew; less than nothing is no bound either. */
	known = count.interfaces > 0 && count.told == count.interfaces && count.again == count.told - count.gone && count.least >= 0 &&
	    cut_rest(archive, vm, cut, &rest) && !__builtin_add_overflow(count.between, rest, &sum) && sum >= 0;
	cut->loss.bound = known ? LOSS_UP_TO : LOSS_UNKNOWN;
	if (known)
		cut->loss.packets = (uint64_t)sum;
	return true;
}

/* The stream after it begins with that, if it has not begun yet. */
static void
cut_tell_next(const struct vm *vm, const struct cut *cut)
{
	struct stream *next = stream_find(vm, cut->next);
	char text[LOSS_TEXT_SIZE];

	if (next == NULL || next->had_file || next->packets_block != 0 || next->preface != NULL)
		return;
	loss_cut_text(&cut->loss, text, sizeof(text));
	next->preface = strdup(text);
}

static void
cut_record(struct archive *archive, struct vm *vm, const struct cut *cut)
{
	struct loss_row *row = batch_add_loss(archive->batch);

	memcpy(row->vm, vm->row.uuid, sizeof(row->vm));
	memcpy(row->stream, cut->id, MSG_ID_SIZE);
	row->place = loss_name(LOSS_CUT);
	row->packets = cut->loss.packets;
	row->first_ns = cut->loss.first_ns;
	row->last_ns = cut->loss.last_ns;
	row->recorded_ns = clock_wall_ns();
	row->approximate = (int)cut->loss.bound;
	archive->soon = true;
}

static void
cut_read(sqlite3_stmt *stmt, struct cut *cut)
{
	memset(cut, 0, sizeof(*cut));
	if (sqlite3_column_bytes(stmt, 0) == MSG_ID_SIZE && sqlite3_column_bytes(stmt, 1) == MSG_ID_SIZE) {
		memcpy(cut->id, sqlite3_column_blob(stmt, 0), MSG_ID_SIZE);
		memcpy(cut->next, sqlite3_column_blob(stmt, 1), MSG_ID_SIZE);
	}
	cut->loss.first_ns = (uint64_t)sqlite3_column_int64(stmt, 2);
	cut->loss.last_ns = (uint64_t)sqlite3_column_int64(stmt, 3);
	if (cut->loss.last_ns < cut->loss.first_ns)	/* the clock was stepped back between */
		cut->loss.last_ns = cut->loss.first_ns;
	cut->late = sqlite3_column_int(stmt, 4) != 0;
}

static bool
cut_any_left(struct archive *archive, const struct vm *vm)
{
	sqlite3_stmt *stmt = cut_prepare(archive, cut_left_sql, vm, NULL);
	bool left = stmt == NULL || sqlite3_step(stmt) != SQLITE_ROW || sqlite3_column_int64(stmt, 0) > 0;

	sqlite3_finalize(stmt);
	return left;
}

void
stream_settle_cuts(struct archive *archive, struct vm *vm)
{
	sqlite3_stmt *stmt = cut_prepare(archive, cut_pending_sql, vm, NULL);
	struct cut cut;

	if (stmt == NULL || sqlite3_bind_int64(stmt, 2, CUT_WAIT_NS) != SQLITE_OK) {
		sqlite3_finalize(stmt);
		return;
	}
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		cut_read(stmt, &cut);
		if (!cut_bound(archive, vm, &cut))
			continue;
		cut_tell_next(vm, &cut);
		cut_record(archive, vm, &cut);
	}
	sqlite3_finalize(stmt);
	vm->cut_pending = cut_any_left(archive, vm);
}
