/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>

#include <event2/event.h>

#include "common/log.h"
#include "agent/agent.h"
#include "agent/capture_tap.h"
#include "agent/last_counts.h"
#include "agent/spool.h"

/* A tap's counters, and what is noted in its stream. */

void
capture_tap_look(void *arg)
{
	struct capture_tap *tap = arg;

	if (tap->callbacks->look != NULL)
		tap->callbacks->look(tap->arg);
}

void
capture_tap_poll(void *arg)
{
	struct capture_tap *tap = arg;
	struct capture_ring *r;

	TAILQ_FOREACH(r, &tap->rings, entry)
		capture_ring_poll(r);
}

void
capture_tap_unwatch(const struct capture_tap *tap, const struct capture_ring *r)
{
	if (tap->last != NULL && !tap->ending)
		last_counts_forget(tap->last, r->ifindex);
}

void
capture_tap_count(struct capture_tap *tap)
{
	capture_tap_poll(tap);
	if (!tap->stream.open)
		return;
	capture_stream_count(&tap->stream);
	spool_count_set(tap->stream.spool, COUNTER_LEDGER, STATS_AGENT, capture_tap_ledger(tap));
}

void
capture_tap_count_and_wait(struct capture_tap *tap)
{
	struct capture_ring *r;

	TAILQ_FOREACH(r, &tap->rings, entry)
		if (r->offered != NULL)
			capture_ledger_drain(&r->ledger);
	capture_tap_count(tap);
	TAILQ_FOREACH(r, &tap->rings, entry)
		if (r->offered != NULL)
			event_add(r->offered, NULL);
}

void
capture_tap_note(struct capture_tap *tap, const char *text)
{
	if (tap->stream.open)
		capture_block_note(&tap->block, text);
}

static enum ledger_level
level_permitted(const struct agent_options *options)
{
	static const enum ledger_level levels[] = { LEDGER_KERNEL, LEDGER_RING, LEDGER_OFF };

	return levels[options->ledger];
}

/* Operators' own taps, which come and go, cost the guest no more sockets than they need. */
enum ledger_level
capture_tap_ledger_wanted(const struct capture_tap *tap)
{
	enum ledger_level level = level_permitted(tap->options);

	return tap->number > 0 && level > LEDGER_RING ? LEDGER_RING : level;
}

bool
capture_tap_counts_sampled(const struct capture_tap *tap)
{
	return tap->number >= IPC_TAP_RPCAP && level_permitted(tap->options) == LEDGER_KERNEL;
}

enum ledger_level
capture_tap_ledger(const struct capture_tap *tap)
{
	enum ledger_level level = capture_tap_ledger_wanted(tap);

	return level > LEDGER_RING && capture_stream_uncounted(&tap->stream) ? LEDGER_RING : level;
}

/* A stream's level is told as what all of it has; once all is counted again, that is true of the next one. */
bool
capture_tap_counts_again(const struct capture_tap *tap)
{
	const struct capture_ring *r;

	if (!tap->stream.open || capture_tap_ledger_wanted(tap) != LEDGER_KERNEL || !capture_stream_uncounted(&tap->stream))
		return false;
	TAILQ_FOREACH(r, &tap->rings, entry)
		if (!capture_ledger_counts(&r->ledger))
			return false;
	/* No reason for capture to wait. */
	return !TAILQ_EMPTY(&tap->rings) && spool_stream_fits(tap->stream.spool);
}

/* The next stream, and then the last counters of the one that is open: not before, since while the next one's begin at 0 these may
 * still be told as the one's. */
int
capture_tap_next_stream(struct capture_tap *tap)
{
	struct msg_stat stat[CAPTURE_STATS_MAX];
	struct msg_stats last;
	int saved, result;

	if (!tap->stream.open)
		return capture_stream_begin(&tap->stream);
	capture_stream_count(&tap->stream);
	capture_stream_stats(&tap->stream, &last, stat);
	result = capture_stream_begin(&tap->stream);
	saved = errno;
	tap->callbacks->last(tap->number, &last, tap->arg);
	errno = saved;
	return result;
}

void
capture_tap_log(struct capture_tap *tap)
{
	const struct capture_row *row;

	capture_tap_count(tap);
	for (size_t i = 0; i < tap->stream.row_count; i++) {
		row = &tap->stream.row[i];
		log_info("tap %u interface %u%s: %llu packets, %llu bytes captured; %llu offered, %llu filtered, %llu own, %llu "
		    "withheld, %llu sampled out, %llu while paused; %llu received, %llu dropped in the ring; %llu before the "
		    "filter, %llu oversize, %llu thinned, %llu of unknown direction; at most %llu while no agent ran",
		    tap->number, row->id, row->users > 0 ? "" : " (closed)",
		    (unsigned long long)row->packets, (unsigned long long)row->bytes, (unsigned long long)row->offered,
		    (unsigned long long)row->filtered, (unsigned long long)row->own, (unsigned long long)row->withheld,
		    (unsigned long long)row->sampled_out, (unsigned long long)row->paused_packets,
		    (unsigned long long)row->received,
		    (unsigned long long)row->dropped, (unsigned long long)row->before_filter, (unsigned long long)row->oversize,
		    (unsigned long long)row->thinned, (unsigned long long)row->direction_unknown,
		    (unsigned long long)row->unwatched);
	}
}
