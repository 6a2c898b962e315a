/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "clock_track.h"
#include "cmd.h"
#include "cmd_read.h"
#include "dedup.h"
#include "loss.h"
#include "merge.h"
#include "pcapng_out.h"
#include "withheld.h"

/* vmtap read VM, of one that left out what its peers' agents deliver: with that in its place. */

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

/* What a VM's rows of a place, or of all others, lost within a peer's spans; NULL: whenever. */
static void
tell_losses(struct sqlite3 *db, const char *vm, const char *whose, bool withheld, const struct withheld_span *span, size_t count)
{
	static const char sql[] = "SELECT packets, approximate, coalesce(first_ns, 0), coalesce(last_ns, ?3) FROM loss WHERE vm = ?1"
	    " AND (place = 'withheld') = ?2";
	int64_t packets = 0;
	int bound = 0, found = 0;
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_text(stmt, 1, vm, -1, SQLITE_STATIC);
	sqlite3_bind_int(stmt, 2, withheld);
	sqlite3_bind_int64(stmt, 3, INT64_MAX);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		if (span != NULL && !withheld_touched(span, count, (uint64_t)sqlite3_column_int64(stmt, 2),
		    (uint64_t)sqlite3_column_int64(stmt, 3)))
			continue;
		found = 1;
		packets += sqlite3_column_int64(stmt, 0);
		bound = sqlite3_column_int(stmt, 1) > bound ? sqlite3_column_int(stmt, 1) : bound;
	}
	sqlite3_finalize(stmt);
	if (found)
		tell_hole(whose, packets, bound);
}

static void
tell_holes(const struct merge_settings *settings)
{
	struct withheld withheld;
	char error[512];
	size_t count;

	tell_losses(settings->db, settings->vm, "what its peers deliver for it", true, NULL, 0);
	if (withheld_load(&withheld, settings->db, settings->vm, settings->from_ns, settings->to_ns, error, sizeof(error)) == -1)
		return;
	for (size_t i = 0; i < withheld.count; i += count) {
		const struct withheld_span *span = &withheld.span[i];

		for (count = 1; i + count < withheld.count && strcmp(span[count].peer, span->peer) == 0; count++)
			;
		tell_losses(settings->db, span->peer, span->peer_name, false, span, count);
	}
	withheld_clear(&withheld);
}

/* Packets whose copies came when they were out already stand there twice. */
static void
tell_early(const struct merge *merge)
{
	const struct dedup_stats *stats = merge_stats(merge);

	if (stats->early > 0)
		fprintf(stderr, "vmtap read: %" PRIu64 " packets went out early for want of memory, some may be there twice: --dedup-memory\n",
		    stats->early);
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
	int rc;

	settings->window_ns = options->dedup_window_ms * 1000000;
	settings->memory_max = options->dedup_memory;
	if (correct_window(settings, error, sizeof(error)) == -1 || (merge = merge_new(settings, error, sizeof(error))) == NULL) {
		pcapng_out_close(settings->out);
		return cmd_fail("read", "%s", error);
	}
	read_allow_many_files();
	if ((rc = read_all(merge)) == 1)
		rc = merge_finish(merge);
	tell_brought(merge);
	tell_early(merge);
	tell_holes(settings);
	rc = read_finish(settings->out, rc == -1 ? -1 : 0, merge_error(merge));
	merge_free(merge);
	return rc;
}
