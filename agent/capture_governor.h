/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_GOVERNOR_H
#define VMTAP_AGENT_CAPTURE_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/governor.h"

struct agent_options;
struct capture_taps;
struct capture_totals;
struct event;
struct event_base;

/* The governor at work: measures what the roles cost, and has all taps do what it orders, one change at a time. */
struct capture_governor {
	struct governor	 governor;
	struct capture_taps *taps;
	const struct capture_totals *totals;
	struct event	*look;
	bool		 active;		/* packets came since the last look */
	unsigned	 waiting;		/* taps that have yet to answer */
	bool		 refused;		/* the collector's tap has */
	bool		 spills;		/* a disk takes what memory has no room for */
	long		 tick_us, cpus;
	uint64_t	 steps;
	uint64_t	 link_us, link_before_us;	/* CPU of the link role; and of its processes before the one that runs now */
	int		 pressure_fd, stat_fd;	/* -1: not there */
};

/* Before the sandbox; -1 ENOMEM. What is pointed to must outlive it. */
int	capture_governor_init(struct capture_governor *, struct event_base *, struct capture_taps *, const struct capture_totals *);
void	capture_governor_clear(struct capture_governor *);
void	capture_governor_set_options(struct capture_governor *, const struct agent_options *);
void	capture_governor_active(struct capture_governor *);		/* packets came */
/* Of a tap; refused, though nothing was ordered now: what was in force is not any more. */
void	capture_governor_answer(struct capture_governor *, uint8_t tap, bool in_force);

#endif
