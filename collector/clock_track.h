/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CLOCK_TRACK_H
#define VMTAP_COLLECTOR_CLOCK_TRACK_H

#include <stddef.h>
#include <stdint.h>

struct sqlite3;

/* What a VM's clock differed from the collector's, over time: a step for each row of the catalog's table clock. */
struct clock_step {
	uint64_t	at_ns;		/* by the guest's clock */
	int64_t		offset_ns;	/* guest's minus collector's, from then on */
};
struct clock_track {
	struct clock_step *step;	/* by at_ns, at least one */
	size_t		 count, last;	/* last: the one that was asked for before */
};

/* Before the first row its offset holds, too; without any, that of the last session; else 0. Replaces what was loaded before. 0, or
 * -1: the catalog cannot be read, or ENOMEM; what was loaded is kept. Zeroed at first. */
int		clock_track_load(struct clock_track *, struct sqlite3 *, const char *uuid);
void		clock_track_clear(struct clock_track *);
/* A guest's time by the collector's clock. */
uint64_t	clock_track_correct(struct clock_track *, uint64_t guest_ns);
/* A stretch of a guest's times as that of the collector's in which they were shown; the clock may have been set in it. 0 and UINT64_MAX
 * stay what they are. */
void		clock_track_window(const struct clock_track *, uint64_t *from_ns, uint64_t *to_ns);
/* A time of the collector's by the guest's clock. */
uint64_t	clock_track_guest(const struct clock_track *, uint64_t ns);
/* A time of the collector's as the earliest and the latest that the guest's clock may have shown. */
uint64_t	clock_track_earliest(const struct clock_track *, uint64_t ns);
uint64_t	clock_track_latest(const struct clock_track *, uint64_t ns);

#endif
