/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CLOCK_OFFSET_H
#define VMTAP_COLLECTOR_CLOCK_OFFSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How far a guest's wall clock is ahead of ours, from a PING and its PONG: when that was between the two is not known, so that an
 * offset is exact to half the round trip. The best of the last CLOCK_OFFSET_SAMPLES is taken, unless a later one contradicts it: then
 * one of the clocks has been set, or has drifted. Pure; zeroed: nothing is known.
 */
#define CLOCK_OFFSET_SAMPLES	8
#define CLOCK_OFFSET_TOLD_NS	100000	/* a change below it, or half the round trip, is not worth telling */

struct clock_sample {
	uint64_t	at_ns;		/* of the guest's clock */
	int64_t		offset_ns;	/* the guest's clock minus ours */
	uint64_t	rtt_ns;
};

struct clock_offset {
	struct clock_sample sample[CLOCK_OFFSET_SAMPLES];	/* newest first */
	size_t		 count;
	bool		 is_told;
	int64_t		 told_ns;	/* the offset told last */
};

/* A moment by both of our clocks. */
struct clock_moment {
	uint64_t	mono_ns, wall_ns;
};

/* The PING left at sent, the PONG came at came and says guest_ns. False: our clock was set in between, or a time makes no sense. */
bool	clock_offset_add(struct clock_offset *, const struct clock_moment *sent, const struct clock_moment *came, uint64_t guest_ns);
/* The sample with the smallest round trip; NULL: there is none. */
const struct clock_sample *clock_offset_best(const struct clock_offset *);
/* Has the best changed enough since it was told, or was none? */
bool	clock_offset_changed(const struct clock_offset *);
void	clock_offset_told(struct clock_offset *);	/* the best is */

#endif
