/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#include "collector/loss.h"

#define SPAN_SIZE	(2 * CLOCK_ISO_SIZE + 16)

static const struct {
	const char	*name;
	const char	*words;
} places[LOSS_PLACES] = {
	[LOSS_SPOOL] = { "spool", "pushed out of the agent's full spool" },
	[LOSS_CAPTURE] = { "capture", "the agent had no room for them" },
	[LOSS_PULL] = { "pull", "the operator read too slowly" },
	[LOSS_DISK] = { "disk", "pushed out of the agent's full disk spool, or damaged there" },
	[LOSS_LINK] = { "link", "captured by an RPCAP server and not delivered" },
	[LOSS_ELSEWHERE] = { "elsewhere", "another collector took them" },
	[LOSS_STORE] = { "store", "gone from the collector's disk" },
	[LOSS_CUT] = { "cut", "capture was cut off" },
	[LOSS_WITHHELD] = { "withheld", "left to a peer's agent that may not have delivered them" },
};

const char *
loss_name(enum loss_place place)
{
	return places[place].name;
}

int
loss_place(const char *name)
{
	for (int i = 0; i < LOSS_PLACES; i++)
		if (strcmp(places[i].name, name) == 0)
			return i;
	return -1;
}

/* What agents tell may be anything: a sum stops at the largest. */
static uint64_t
loss_sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void
loss_add(struct loss_sum *sum, const struct loss *loss)
{
	if (loss->first_ns != 0 && (sum->loss.first_ns == 0 || loss->first_ns < sum->loss.first_ns))
		sum->loss.first_ns = loss->first_ns;
	if (loss->last_ns > sum->loss.last_ns)
		sum->loss.last_ns = loss->last_ns;
	if (loss->bound > sum->loss.bound)
		sum->loss.bound = loss->bound;
	sum->loss.packets = loss_sum(sum->loss.packets, loss->packets);
	sum->loss.bytes = loss_sum(sum->loss.bytes, loss->bytes);
	sum->any = true;
}

/* " between T1 and T2", or nothing if the times are not known. */
static void
loss_span(const struct loss *loss, char span[SPAN_SIZE])
{
	char from[CLOCK_ISO_SIZE], to[CLOCK_ISO_SIZE];

	span[0] = '\0';
	if (loss->first_ns != 0)
		snprintf(span, SPAN_SIZE, " between %s and %s", clock_iso(loss->first_ns, from, sizeof(from)),
		    clock_iso(loss->last_ns, to, sizeof(to)));
}

static int
loss_place_text(enum loss_place place, const struct loss *loss, char *text, size_t text_size)
{
	char span[SPAN_SIZE];

	loss_span(loss, span);
	if (loss->bound == LOSS_UNKNOWN)
		return snprintf(text, text_size, "an unknown number of packets%s are missing: %s", span, places[place].words);
	return snprintf(text, text_size, "%s%" PRIu64 " packets (%" PRIu64 " bytes)%s are missing: %s",
	    loss->bound == LOSS_UP_TO ? "up to " : "", loss->packets, loss->bytes, span, places[place].words);
}

bool
loss_text(const struct loss_sum *sum, char *text, size_t text_size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < LOSS_PLACES; i++) {
		if (!sum[i].any || (sum[i].loss.packets == 0 && sum[i].loss.bound != LOSS_UNKNOWN))
			continue;
		if (used > 0 && used < text_size)
			used += (size_t)snprintf(text + used, text_size - used, "; ");
		if (used < text_size)
			used += (size_t)loss_place_text((enum loss_place)i, &sum[i].loss, text + used, text_size - used);
	}
	return used > 0;
}

void
loss_cut_text(const struct loss *loss, char *text, size_t text_size)
{
	char span[SPAN_SIZE];

	loss_span(loss, span);
	if (loss->bound == LOSS_UNKNOWN)
		snprintf(text, text_size, "capture was cut off: an unknown number of packets%s are missing", span);
	else
		snprintf(text, text_size, "capture was cut off: up to %" PRIu64 " packets%s are missing", loss->packets, span);
}
