/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sqlite3.h>

#include "common/metrics.h"
#include "proto/counter_metrics.h"

#include "collector/scrape_internal.h"

/* Columns: tenant, name, UUID, value. What retention removes is missing in sums over files, so they are gauges. */
struct scrape_family {
	const char	*name, *help, *sql;
	double		 per;		/* of the value's unit in the base unit */
};

#define BY_VM(columns, from)	"SELECT v.tenant, v.name, v.uuid, " columns " FROM " from

static const struct scrape_family families[] = {
	{ "vmtap_vm_connected", "1 while the VM's agent has a session.", BY_VM("v.connected", "vm v"), 1 },
	{ "vmtap_vm_last_seen_timestamp_seconds", "When the VM's agent was heard last, since 1970.",
	    BY_VM("v.seen_ns", "vm v WHERE v.seen_ns > 0"), 1e9 },
	{ "vmtap_vm_clock_offset_seconds", "The guest's wall clock minus the collector's.",
	    BY_VM("v.clock_offset_ns", "vm v WHERE v.clock_offset_ns IS NOT NULL"), 1e9 },
	{ "vmtap_vm_stored_packets", "Packets of the VM that are in the store.",
	    BY_VM("CAST(total(f.packets) AS INTEGER)", "file f JOIN vm v ON v.uuid = f.vm GROUP BY f.vm"), 1 },
	{ "vmtap_vm_stored_bytes", "Bytes of the VM's files in the store.",
	    BY_VM("CAST(total(f.length) AS INTEGER)", "file f JOIN vm v ON v.uuid = f.vm GROUP BY f.vm"), 1 },
};

static int
put_family(struct scrape_reading *reading, const struct scrape_family *family)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	scrape_fit(reading);
	metrics_family(&reading->metrics, METRICS_GAUGE, family->help, "%s", family->name);
	if (sqlite3_prepare_v2(reading->db, family->sql, -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const struct metrics_label label[] = { { "tenant", scrape_column(stmt, 0) }, { "vm", scrape_column(stmt, 1) },
			    { "uuid", scrape_column(stmt, 2) }, { NULL, NULL } };

			metrics_double(&reading->metrics, label, (double)sqlite3_column_int64(stmt, 3) / family->per);
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

int
scrape_put_vms(struct scrape_reading *reading)
{
	int errs = 0;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		errs += put_family(reading, &families[i]);
	return errs == 0 ? 0 : -1;
}

/* --- the agents' own counters --- */

/*
 * Those of each VM's newest stream that has told any, since some of them go on from stream to stream: newest in the order in which
 * streams became known, for clocks of guests are stepped. An interface that went and came back has several ids: counters are
 * summed up, a level (value beside max()) is that of the newest.
 */
static const char counters_sql[] =
    "WITH newest AS (SELECT vm, id AS stream, max(rowid) FROM stream n WHERE EXISTS"
    " (SELECT 1 FROM stat WHERE vm = n.vm AND stream = n.id) GROUP BY vm)"
    " SELECT v.tenant, v.name, v.uuid, s.counter, i.name, CAST(total(s.value) AS INTEGER), s.value, max(s.interface) FROM newest n"
    " JOIN stat s ON s.vm = n.vm AND s.stream = n.stream JOIN vm v ON v.uuid = n.vm"
    " LEFT JOIN interface i ON i.stream = s.stream AND i.id = s.interface"
    " GROUP BY s.counter, n.vm, s.interface >= 0, coalesce(i.name, '') ORDER BY s.counter";

static void
put_counter(struct metrics *metrics, sqlite3_stmt *stmt, const struct counter_row *row)
{
	const struct metrics_label label[] = { { "tenant", scrape_column(stmt, 0) }, { "vm", scrape_column(stmt, 1) }, { "uuid", scrape_column(stmt, 2) },
	    { row->per_interface ? "interface" : NULL, scrape_column(stmt, 4) }, { NULL, NULL } };

	counter_metrics_sample(metrics, row, label, (uint64_t)sqlite3_column_int64(stmt, row->level ? 6 : 5));
}

/* A row that is of an interface though its counter is of the agent, or the other way round, is of an older collector. */
int
scrape_put_counters(struct scrape_reading *reading)
{
	const struct counter_row *row = NULL, *next;
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(reading->db, counters_sql, -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			next = counter_by_name(scrape_column(stmt, 3));
			if (next == NULL || next->per_interface != (sqlite3_column_int64(stmt, 7) >= 0))
				continue;
			if (next != row) {
				scrape_fit(reading);
				counter_metrics_family(&reading->metrics, next);
			}
			row = next;
			put_counter(&reading->metrics, stmt, row);
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}
