/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LAST_STATS_H
#define VMTAP_AGENT_LAST_STATS_H

#include "common/buf.h"
#include "proto/msg.h"

/*
 * The last counters of streams that have ended, or are about to: they go with the END, whenever that is sent, or to the disk with
 * it. As STATS frames; of the newest streams. Starts zeroed.
 */
#define LAST_STATS_FRAME_MAX	(64u * 1024)	/* more than MSG_STATS_MAX counters take */

struct last_stats {
	struct last_stats_row {
		uint8_t		stream[MSG_ID_SIZE];
		struct buf	frame;
	} row[MSG_STREAMS_MAX];
	size_t	count;		/* streams so far; the newest take the places of the oldest */
};

/* Those of the same stream before are forgotten. 0, or -1: out of memory, and the stream has none. */
int			 last_stats_put(struct last_stats *, const struct msg_stats *);
/* NULL: there are none. Until the next put. */
const struct buf	*last_stats_get(const struct last_stats *, const uint8_t stream[MSG_ID_SIZE]);
void			 last_stats_clear(struct last_stats *);

#endif
