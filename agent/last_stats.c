/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "agent/last_stats.h"
#include "proto/frame.h"

static size_t
find(const struct last_stats *last, const uint8_t *stream)
{
	size_t used = last->count < MSG_STREAMS_MAX ? last->count : MSG_STREAMS_MAX, i = 0;

	while (i < used && memcmp(last->row[i].stream, stream, MSG_ID_SIZE) != 0)
		i++;
	return i < used ? i : MSG_STREAMS_MAX;
}

int
last_stats_put(struct last_stats *last, const struct msg_stats *stats)
{
	size_t at = find(last, stats->stream);
	struct last_stats_row *row;

	if (at == MSG_STREAMS_MAX)
		at = last->count++ % MSG_STREAMS_MAX;
	row = &last->row[at];
	buf_clear(&row->frame);
	buf_init(&row->frame, LAST_STATS_FRAME_MAX);
	memcpy(row->stream, stats->stream, MSG_ID_SIZE);
	return msg_put_stats(&row->frame, stats);
}

const struct buf *
last_stats_get(const struct last_stats *last, const uint8_t stream[MSG_ID_SIZE])
{
	size_t at = find(last, stream);

	return at < MSG_STREAMS_MAX && last->row[at].frame.len > 0 ? &last->row[at].frame : NULL;
}

void
last_stats_clear(struct last_stats *last)
{
	for (size_t i = 0; i < MSG_STREAMS_MAX; i++)
		buf_clear(&last->row[i].frame);
	last->count = 0;
}
