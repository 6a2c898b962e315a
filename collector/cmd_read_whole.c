/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "clock_track.h"
#include "cmd.h"
#include "cmd_read.h"
#include "dedup.h"
#include "loss.h"
#include "merge.h"
#include "pcapng_out.h"

/* vmtap read VM, of one that left out what its peers' agents deliver: with that in its place. */

/* ?1: the VM. The columns: whose they are, packets, bound. */
static const char own_holes[] = "SELECT 'what its peers deliver for it', sum(packets), max(approximate) FROM loss WHERE vm = ?1"
    " AND place = 'withheld' HAVING count(*) > 0";
static const char peers_holes[] = "SELECT v.name, sum(l.packets), max(l.approximate) FROM loss l JOIN vm v ON v.uuid = l.vm"
    " WHERE l.place <> 'withheld' AND EXISTS (SELECT 1 FROM withheld w WHERE w.vm = ?1 AND w.peer = l.vm"
    " AND (w.to_ns IS NULL OR coalesce(l.first_ns, w.to_ns) <= w.to_ns) AND coalesce(l.last_ns, w.from_ns) >= w.from_ns)"
    " GROUP BY l.vm";

static void
tell_hole(const char *whose, int64_t packets, int bound)
{
	char text[512];

	if (bound == LOSS_UNKNOWN)
		snprintf(text, sizeof(text), "%s lacks packets, nobody knows how many: see vmtap stats", whose);
	else
		snprintf(text, sizeof(text), "%s lacks %s%" PRId64 " packets: see vmtap stats", whose, bound == LOSS_UP_TO ? "up to " : "",
		    packets);
	read_warning(text, NULL);
}

static void
tell_holes(struct sqlite3 *db, const char *sql, const char *uuid)
{
	const unsigned char *whose;
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_text(stmt, 1, uuid, -1, SQLITE_STATIC);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		if ((whose = sqlite3_column_text(stmt, 0)) != NULL)
			tell_hole((const char *)whose, sqlite3_column_int64(stmt, 1), sqlite3_column_int(stmt, 2));
	sqlite3_finalize(stmt);
}

static void
tell_brought(const struct merge *merge)
{
	const char *name;

	for (size_t i = 0; (name = merge_vm_name(merge, i)) != NULL; i++)
		if (merge_brought(merge, i) > 0)
			fprintf(stderr, "vmtap read: %" PRIu64 " packets are what %s delivered for it\n", merge_brought(merge, i), name);
}

/* The times that the VM's clock showed, by the collector's. */
static int
correct_window(struct merge_settings *settings, char *error, size_t error_size)
{
	struct clock_track clock = { 0 };

	if (clock_track_load(&clock, settings->db, settings->vm) == -1) {
		snprintf(error, error_size, "its clock cannot be read from the catalog");
		return -1;
	}
	clock_track_window(&clock, &settings->from_ns, &settings->to_ns);
	clock_track_clear(&clock);
	return 0;
}

int
read_whole(const struct read_options *options, struct merge_settings *settings)
{
	char error[512];
	struct merge *merge;
	int rc = 1;

	settings->window_ns = options->dedup_window_ms * 1000000;
	settings->memory_max = options->dedup_memory;
	if (correct_window(settings, error, sizeof(error)) == -1 || (merge = merge_new(settings, error, sizeof(error))) == NULL) {
		pcapng_out_close(settings->out);
		return cmd_fail("read", "%s", error);
	}
	read_allow_many_files();
	do
		rc = merge_pass(merge, 0);
	while (rc == 1 && merge_behind(merge));
	if (rc == 1)
		rc = merge_finish(merge);
	tell_brought(merge);
	tell_holes(settings->db, own_holes, settings->vm);
	tell_holes(settings->db, peers_holes, settings->vm);
	rc = read_finish(settings->out, rc == -1 ? -1 : 0, merge_error(merge));
	merge_free(merge);
	return rc;
}
