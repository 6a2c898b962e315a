/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "clock_track.h"

static int
add_step(struct clock_track *track, uint64_t at_ns, int64_t offset_ns)
{
	struct clock_step *grown = realloc(track->step, (track->count + 1) * sizeof(*grown));

	if (grown == NULL)
		return -1;
	track->step = grown;
	grown[track->count++] = (struct clock_step){ .at_ns = at_ns, .offset_ns = offset_ns };
	return 0;
}

static int
add_steps(struct clock_track *track, sqlite3 *db, const char *sql, const char *uuid)
{
	sqlite3_stmt *statement;
	int rc;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		return -1;
	sqlite3_bind_text(statement, 1, uuid, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		if (add_step(track, (uint64_t)sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1)) == -1)
			break;
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

int
clock_track_load(struct clock_track *track, struct sqlite3 *db, const char *uuid)
{
	struct clock_track fresh = { NULL, 0, 0 };

	/* Times from 2262 on are negative there. */
	if (add_steps(&fresh, db, "SELECT at_ns, offset_ns FROM clock WHERE vm = ?1 ORDER BY at_ns < 0, at_ns", uuid) == -1 ||
	    (fresh.count == 0 && add_steps(&fresh, db, "SELECT 0, clock_offset_ns FROM vm WHERE uuid = ?1", uuid) == -1) ||
	    (fresh.count == 0 && add_step(&fresh, 0, 0) == -1)) {
		clock_track_clear(&fresh);
		errno = EIO;
		return -1;
	}
	clock_track_clear(track);
	*track = fresh;
	return 0;
}

void
clock_track_clear(struct clock_track *track)
{
	free(track->step);
	*track = (struct clock_track){ NULL, 0, 0 };
}

/* The step that holds at a guest's time; mostly that of the packet before. */
static size_t
find_step(const struct clock_track *track, uint64_t guest_ns)
{
	size_t low = 0, high = track->count, middle;

	if (track->step[track->last].at_ns <= guest_ns &&
	    (track->last + 1 == track->count || track->step[track->last + 1].at_ns > guest_ns))
		return track->last;
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (track->step[middle].at_ns <= guest_ns)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* As far as there are times. */
static uint64_t
shift(uint64_t ns, uint64_t by, bool up)
{
	if (up)
		return UINT64_MAX - ns < by ? UINT64_MAX : ns + by;
	return ns < by ? 0 : ns - by;
}

static uint64_t
size_of(int64_t offset_ns)
{
	return offset_ns < 0 ? -(uint64_t)offset_ns : (uint64_t)offset_ns;
}

/* What the guest's clock shows at ns of the collector's. */
static uint64_t
shown(const struct clock_step *step, uint64_t ns)
{
	return shift(ns, size_of(step->offset_ns), step->offset_ns > 0);
}

static uint64_t
corrected(const struct clock_step *step, uint64_t guest_ns)
{
	return shift(guest_ns, size_of(step->offset_ns), step->offset_ns < 0);
}

uint64_t
clock_track_correct(struct clock_track *track, uint64_t guest_ns)
{
	track->last = find_step(track, guest_ns);
	return corrected(&track->step[track->last], guest_ns);
}

void
clock_track_window(const struct clock_track *track, uint64_t *from_ns, uint64_t *to_ns)
{
	uint64_t from, to, first = UINT64_MAX, last = 0;

	for (size_t i = 0; i < track->count; i++) {
		from = i > 0 && track->step[i].at_ns > *from_ns ? track->step[i].at_ns : *from_ns;
		to = i + 1 < track->count && track->step[i + 1].at_ns <= *to_ns ? track->step[i + 1].at_ns - 1 : *to_ns;
		if (from > to)
			continue;
		first = corrected(&track->step[i], from) < first ? corrected(&track->step[i], from) : first;
		last = corrected(&track->step[i], to) > last ? corrected(&track->step[i], to) : last;
	}
	*from_ns = *from_ns == 0 ? 0 : first;
	*to_ns = *to_ns == UINT64_MAX ? UINT64_MAX : last;
}

uint64_t
clock_track_guest(const struct clock_track *track, uint64_t ns)
{
	size_t i = track->count - 1;

	while (i > 0 && shown(&track->step[i], ns) < track->step[i].at_ns)
		i--;
	return shown(&track->step[i], ns);
}

uint64_t
clock_track_earliest(const struct clock_track *track, uint64_t ns)
{
	uint64_t at, earliest = UINT64_MAX;

	for (size_t i = 0; i < track->count; i++)
		if ((at = shown(&track->step[i], ns)) < earliest)
			earliest = at;
	return earliest;
}

uint64_t
clock_track_latest(const struct clock_track *track, uint64_t ns)
{
	uint64_t at, latest = 0;

	for (size_t i = 0; i < track->count; i++)
		if ((at = shown(&track->step[i], ns)) > latest)
			latest = at;
	return latest;
}
