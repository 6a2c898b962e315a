/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_BLOCK_H
#define VMTAP_AGENT_CAPTURE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/capture_share.h"
#include "agent/capture_stream.h"
#include "proto/codec.h"
#include "proto/digest.h"

struct pcapng_packet;
struct spool;

#define CAPTURE_BLOCK_SIZE	(256u * 1024)	/* sealed before it grows beyond, unless one packet alone does */
#define CAPTURE_BLOCK_NOTE_SIZE	1024		/* of what stands on one packet, notes beyond are only logged */
#define CAPTURE_BLOCK_BUSY_MS	100		/* how long a sealed block waits for the spool before it is lost */

/* What the role made of all blocks of all taps: the agent's counters, in the main spool. */
struct capture_totals {
	struct spool	*spool;
	uint64_t	 sealed, stored, raw, encoded;
	uint64_t	 packets;		/* in them */
	struct capture_held rings[CAPTURE_POOLS];	/* what the kernel's rings take */
	uint64_t	 ring_received, ring_dropped, left_out;	/* by the kernel's count; of the last: by orders of the governor */
};

/*
 * The open block of a tap: Enhanced Packet Blocks of all its interfaces as they come, Interface Statistics Blocks of those at the
 * end; sealed, encoded straight into the spool and published as one. Nothing is allocated per packet or block.
 */
struct capture_block {
	struct capture_stream *stream;
	struct capture_totals *totals;
	void		(*poll)(void *);	/* brings the rows' kernel counters up to date for the statistics blocks */
	void		(*begin)(void *);	/* before the first packet is put: time to look around, and to note */
	void		*poll_arg;		/* of both; they may be NULL */
	struct encoder	*encoder;
	const struct codec *codec;
	int		 level;
	bool		 store;
	bool		 digest;		/* packets shall have one, with this secret: */
	uint8_t		 secret[DIGEST_SECRET_SIZE];
	uint8_t		*raw;			/* MSG_BLOCK_RAW_MAX */
	size_t		 len, limit;
	size_t		 row_count;		/* rows in it */
	uint8_t		 flags;			/* BLOCK_EVENT */
	char		 note[CAPTURE_BLOCK_NOTE_SIZE];	/* for the next block's first packet; "": none */
	uint32_t	 packets;
	uint64_t	 bytes, first_ns, last_ns;
	uint64_t	 begun_ns;		/* timestamp of the packet that was put first */
	uint64_t	 busy_since_ns;		/* by the monotonic clock: spool had no room; 0: it has */
};

/* -1 ENOMEM. The stream and totals must outlive the block. */
int	capture_block_init(struct capture_block *, struct capture_stream *, struct capture_totals *, const struct codec *, int level);
void	capture_block_clear(struct capture_block *);
/* For the blocks after this one, which must be empty. -1 ENOMEM, nothing changed. */
int	capture_block_set_codec(struct capture_block *, const struct codec *, int level);
bool	capture_block_empty(const struct capture_block *);
/* Copies the packet in as one of row; interface and dropped are set here. 0; -1 EAGAIN: it is in, or counted as lost, but the block
 * has to be sealed by capture_block_seal() before the next. */
int	capture_block_put(struct capture_block *, struct capture_row *, struct pcapng_packet *);
/* What happened, in a line for people: becomes a comment on the first packet of the next block to begin, which is marked by
 * BLOCK_EVENT. Several are joined by "; ". */
void	capture_block_note(struct capture_block *, const char *text);
/* The row's statistics shall stand in this block, packets or not. */
void	capture_block_touch(struct capture_block *, struct capture_row *);
/* 0: the block is empty now: published, or after CAPTURE_BLOCK_BUSY_MS of trying lost as a GAP. -1 EBUSY: try again in a moment. */
int	capture_block_seal(struct capture_block *);
/* Of a ring that puts into it: to the totals. */
void	capture_block_count_kernel(struct capture_block *, uint64_t received, uint64_t dropped, uint64_t left_out);
/* For the blocks after this one, which must be empty. */
void	capture_block_set_store(struct capture_block *, bool);	/* uncompressed, inside the codec's format */
void	capture_block_set_digest(struct capture_block *, const uint8_t *secret);	/* from the next packet on; NULL: none */
/* What the packet's packetid shall be. */
uint64_t capture_block_digest(const struct capture_block *, uint16_t linktype, const struct pcapng_packet *);
/* Without waiting for room. */
void	capture_block_seal_now(struct capture_block *);

#endif
