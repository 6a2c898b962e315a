/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_CLOCK_H
#define VMTAP_AGENT_CAPTURE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPTURE_CLOCK_STEP_MS		100	/* of the wall clock; slewing never comes to it: the other clocks are slewed as well */
#define CAPTURE_CLOCK_SUSPENDED_MS	1000
#define CAPTURE_CLOCK_LATE_MS		2000	/* behind the time the process meant to run at */
#define CAPTURE_CLOCK_TEXT_SIZE		256

/* The three clocks at one moment. */
struct capture_clock_now {
	uint64_t	wall_ns;	/* CLOCK_REALTIME: packets' timestamps */
	uint64_t	mono_ns;	/* CLOCK_MONOTONIC: stands still while the guest is suspended */
	uint64_t	boot_ns;	/* CLOCK_BOOTTIME: does not */
};

/* What was seen at the last look; starts all zero. */
struct capture_clock {
	bool		begun;
	int64_t		wall_ahead_ns;	/* of boot */
	int64_t		boot_ahead_ns;	/* of mono: all suspensions */
	uint64_t	due_ns;		/* by mono; 0: nothing is expected */
};

/* -1: the process was interrupted between the clocks each time. */
int	capture_clock_read(struct capture_clock_now *);
/* The process means to run again at this time by mono_ns, as it will say by another call; 0: at no particular time. */
void	capture_clock_expect(struct capture_clock *, uint64_t due_ns);
/* True if since the last look the wall clock was stepped, the guest suspended or the process kept from running; text says so. */
bool	capture_clock_look(struct capture_clock *, const struct capture_clock_now *, char text[CAPTURE_CLOCK_TEXT_SIZE]);

#endif
