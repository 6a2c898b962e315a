/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STREAM_FILE_H
#define VMTAP_COLLECTOR_STREAM_FILE_H

#include "collector/stream.h"

struct buf;

/* What stream.c has of its halves: blocks' insides (stream_block.c), files (stream_file.c), the reading of the catalog (stream_load.c). */

/* Decodes the block, bounded, and compares what is in it with what it announces. 0, or -1 with MSG_ERR_BLOCK. */
int	stream_check_block(struct archive *, const struct stream *, const struct msg_block *, struct fault *);
/* Takes the row of a stream or an interface from what the VM may cause. 0, or -1 with MSG_ERR_LIMIT. */
int	stream_pay_row(struct vm *, struct fault *);
/* What the comments of the block that was just checked tell, into the batch. */
void	stream_record_events(struct archive *, const struct stream *, const struct msg_block *);
/* The block that was just checked with a comment on its first packet that says what is missing before it: a unit of the same codec.
 * -1: nothing is missing, or it cannot be made; else msg's data and lengths are those of unit, whose memory is the caller's. */
int	stream_comment_block(const struct archive *, const struct stream *, const struct msg_block *, struct msg_block *msg,
	    struct buf *unit);
/* Into the stream's file, a new one if need be. 0, or -1 with MSG_ERR_STORE and nothing of the block stored. */
int	stream_store_block(struct archive *, struct stream *, const struct msg_block *, struct fault *);
/* Brings the VM's streams that the catalog holds for not ended into memory. */
int	stream_load_unfinished(struct archive *, struct vm *, struct fault *);

#endif
