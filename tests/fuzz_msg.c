/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/frame.h"
#include "proto/msg.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static struct msg_stat stat_list[MSG_STATS_MAX];

/* What decodes must encode to the same bytes: there is one way to write each message. */
#define RECODE(frame_type, name, type)						\
	case frame_type: {							\
		static struct type m;						\
										\
		if (msg_get_##name(f, &m) == -1)				\
			return -1;						\
		return msg_put_##name(b, &m) == 0 ? 0 : (abort(), -1);		\
	}

static int
recode(const struct frame *f, struct buf *b)
{
	struct msg_stats stats = { .stat = stat_list };
	struct msg_block block;

	switch (f->type) {
	RECODE(FRAME_HELLO, hello, msg_hello)
	RECODE(FRAME_WELCOME, welcome, msg_welcome)
	RECODE(FRAME_INTERFACE, interface, msg_interface)
	RECODE(FRAME_POLICY, policy, msg_policy)
	RECODE(FRAME_POLICY_RESULT, policy_result, msg_policy_result)
	RECODE(FRAME_GAP, gap, msg_gap)
	RECODE(FRAME_END, stream_end, msg_stream_end)
	RECODE(FRAME_ACK, ack, msg_mark)
	RECODE(FRAME_PING, ping, msg_ping)
	RECODE(FRAME_PONG, pong, msg_ping)
	RECODE(FRAME_ADDRESSES, addresses, msg_addresses)
	RECODE(FRAME_HINTS, hints, msg_hints)
	RECODE(FRAME_HINTS_RESULT, hints_result, msg_hints_result)
	RECODE(FRAME_ENROLL, enroll, msg_enroll)
	RECODE(FRAME_CERTIFICATE, certificate, msg_certificate)
	RECODE(FRAME_RENEW, renew, msg_renew)
	RECODE(FRAME_BYE, bye, msg_end)
	RECODE(FRAME_ERROR, error, msg_end)
	case FRAME_BLOCK:
		return msg_get_block(f, &block) == -1 || msg_put_block_header(b, &block) == -1 ||
		    buf_put(b, block.data, block.data_len) == -1 ? -1 : 0;
	case FRAME_STATS:	/* leaves unknown counters out, so it may come back shorter */
		msg_get_stats(f, &stats);
		return -1;
	default:
		return -1;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame f;
	struct buf b;

	if (frame_parse(data, len, &f) != FRAME_OK)
		return 0;
	buf_init(&b, FRAME_HEADER_SIZE + frame_length_max(f.type));
	if (recode(&f, &b) == 0 && (b.len != FRAME_HEADER_SIZE + f.length || memcmp(b.data, data, b.len) != 0))
		abort();
	buf_clear(&b);
	return 0;
}
