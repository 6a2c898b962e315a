/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "collector/clock_offset.h"

#define CLOCK_SET_NS	1000000u	/* our two clocks differ by less in a round trip, or one was set */

static uint64_t
clock_distance(int64_t a, int64_t b)
{
	return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* Each is exact to half its round trip. */
static bool
clock_agree(const struct clock_sample *a, const struct clock_sample *b)
{
	return clock_distance(a->offset_ns, b->offset_ns) <= a->rtt_ns / 2 + b->rtt_ns / 2;
}

static bool
clock_measure(const struct clock_moment *sent, const struct clock_moment *came, uint64_t guest_ns, struct clock_sample *sample)
{
	uint64_t middle_ns = sent->wall_ns + (came->mono_ns - sent->mono_ns) / 2;

	if (came->mono_ns < sent->mono_ns || guest_ns > INT64_MAX || middle_ns > INT64_MAX)
		return false;
	sample->rtt_ns = came->mono_ns - sent->mono_ns;
	sample->offset_ns = (int64_t)guest_ns - (int64_t)middle_ns;
	sample->at_ns = guest_ns;
	return clock_distance((int64_t)(came->wall_ns - sent->wall_ns), (int64_t)sample->rtt_ns) < CLOCK_SET_NS;
}

bool
clock_offset_add(struct clock_offset *clock, const struct clock_moment *sent, const struct clock_moment *came, uint64_t guest_ns)
{
	struct clock_sample sample;
	size_t keep = 0;

	if (!clock_measure(sent, came, guest_ns, &sample))
		return false;
	while (keep < clock->count && keep < CLOCK_OFFSET_SAMPLES - 1 && clock_agree(&clock->sample[keep], &sample))
		keep++;
	memmove(&clock->sample[1], &clock->sample[0], keep * sizeof(clock->sample[0]));
	clock->sample[0] = sample;
	clock->count = keep + 1;
	return true;
}

const struct clock_sample *
clock_offset_best(const struct clock_offset *clock)
{
	const struct clock_sample *best = clock->count > 0 ? &clock->sample[0] : NULL;

	for (size_t i = 1; i < clock->count; i++)
		if (clock->sample[i].rtt_ns < best->rtt_ns)
			best = &clock->sample[i];
	return best;
}

bool
clock_offset_changed(const struct clock_offset *clock)
{
	const struct clock_sample *best = clock_offset_best(clock);
	uint64_t least_ns = CLOCK_OFFSET_TOLD_NS;

	if (best == NULL || !clock->is_told)
		return best != NULL;
	if (best->rtt_ns / 2 > least_ns)
		least_ns = best->rtt_ns / 2;
	return clock_distance(best->offset_ns, clock->told_ns) > least_ns;
}

void
clock_offset_told(struct clock_offset *clock)
{
	const struct clock_sample *best = clock_offset_best(clock);

	if (best == NULL)
		return;
	clock->is_told = true;
	clock->told_ns = best->offset_ns;
}
