/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_SEND_H
#define VMTAP_AGENT_LINK_SEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/backlog.h"
#include "agent/link_tokens.h"
#include "common/buf.h"
#include "proto/msg.h"

/*
 * The sender: what one session sends, in order: what is left in tail, small messages, then spool items made into frames.
 * A block's data goes from the spool's memory straight into TLS; what TLS does not take at once is copied into tail and the spool
 * released, so that at most one block is in user space. Small messages wait in control, never cutting another frame in two; for
 * them the tail goes out beyond the rate limit, which later blocks pay back.
 */
#define SENDER_CONTROL_MAX	(256u * 1024)

enum sender_result {
	SENDER_IDLE,		/* nothing left to send, or held */
	SENDER_BLOCKED,		/* the connection takes no more now */
	SENDER_LIMITED,		/* the rate limit: go on after sender_wait_ns() */
	SENDER_MORE,		/* there is more, but others have their turn first */
	SENDER_FAILED		/* error says why */
};

/* How many bytes the connection took; as tlsio_send(). */
typedef size_t	sender_out_fn(void *arg, const void *, size_t);

struct sender_stream {
	uint8_t		id[MSG_ID_SIZE];
	uint32_t	interfaces;	/* described so far in this session */
};

struct sender {
	struct backlog	*backlog;
	sender_out_fn	*out;
	void		*arg;
	bool		 pull;		/* an operator's: gaps are of place GAP_PULL */
	uint8_t		 mask[MSG_ID_SIZE];	/* over the streams' ids, as the receiver is told them; 0: as they are */
	bool		 started;	/* after WELCOME: spool items too */
	bool		 held;		/* by the breaker */
	uint32_t	 codecs;	/* that the receiver reads */
	struct buf	 control, tail;
	size_t		 tail_sent;
	struct sender_stream stream[MSG_STREAMS_MAX];	/* most recent first */
	size_t		 stream_count;
	struct tokens	 tokens;	/* rate limit */
	uint64_t	 items;		/* taken from the spool so far */
	char		 error[256];
};

void	sender_init(struct sender *, struct backlog *, sender_out_fn *, void *arg);
void	sender_clear(struct sender *);
/* A stream's id to what the receiver is told, and back. */
void	sender_stream_id(const struct sender *, const uint8_t id[MSG_ID_SIZE], uint8_t out[MSG_ID_SIZE]);
void	sender_start(struct sender *, uint32_t codecs);		/* the receiver is ready for what the spool holds */
/* The interfaces of the stream that the receiver has not heard of, as small messages; returns as msg_put_interface(). */
int	sender_introduce(struct sender *, const uint8_t stream[MSG_ID_SIZE]);
uint32_t sender_introduced(const struct sender *, const uint8_t stream[MSG_ID_SIZE]);	/* how many it has heard of */
void	sender_limit(struct sender *, uint64_t bits, uint64_t burst, uint64_t now_ns);
enum sender_result sender_run(struct sender *, uint64_t now_ns);
uint64_t sender_wait_ns(const struct sender *);		/* after SENDER_LIMITED */
bool	sender_between_frames(const struct sender *);	/* no frame is half sent, no small message waits */

#endif
