/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_STREAM_H
#define VMTAP_AGENT_CAPTURE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/counter.h"
#include "proto/msg.h"

struct pcapng_interface;
struct spool;

/*
 * The stream of one tap: its interface ids and what was counted under each, copied to the spool for whoever asks.
 * An id stands for a name, a MAC address, a link type and a filter: the same gets the same id again (an interface that comes back,
 * with other addresses too, a filter that is put back); any other name or filter in force gets the next id.
 */
struct capture_row {
	uint32_t	 id;
	uint8_t		*key;			/* its description, addresses left out */
	size_t		 key_len;
	unsigned	 users;			/* open rings; two while one is drained and the next has begun */
	bool		 in_block;		/* the open block owes it an Interface Statistics Block */
	uint8_t		 paused;		/* 1: by the breaker, 2: by the governor */
	uint64_t	 start_ns;
	uint64_t	 packets, bytes, original;	/* captured; bytes as captured and as on the interface */
	uint64_t	 received, dropped;	/* by the kernel's count: passed the filter; of these, found the ring full */
	bool		 uncounted;		/* for some of its time at least there were no sockets for the next two lines */
	uint64_t	 offered, filtered, own, withheld, sampled_out, paused_packets;
	uint64_t	 peers_left;		/* whose packets should be withheld but are not, for want of room in the filter */
	uint64_t	 switched;		/* of offered: while programs were exchanged */
	uint32_t	 ifindex;
	bool		 interface_known;	/* the two below */
	uint64_t	 interface_packets, interface_start;	/* in and out, by the interface's own count; now, and as capture began */
	uint64_t	 unwatched;		/* by that count, while no agent ran */
	uint64_t	 dropped_untold;	/* of dropped: for the next packet's epb_dropcount */
	uint64_t	 before_filter, oversize, direction_unknown, thinned;
};

struct capture_stream {
	struct spool	*spool;
	bool		 open;
	uint8_t		 id[MSG_ID_SIZE];
	size_t		 row_count;
	struct capture_row row[MSG_INTERFACES_MAX];
};

void	capture_stream_init(struct capture_stream *, struct spool *);
void	capture_stream_clear(struct capture_stream *);
/* Under a new random id; rows start over. -1 EAGAIN: the spool holds too many streams, try later. */
int	capture_stream_begin(struct capture_stream *);
void	capture_stream_end(struct capture_stream *);
/* NULL ENOSPC: ids are used up, begin a new stream; NULL ENOMEM. */
struct capture_row *capture_stream_row(struct capture_stream *, const struct pcapng_interface *);
/* The row is this interface's now. Where its count stood as capture began passes on from the id that it had before. */
void	capture_stream_pass_start(struct capture_stream *, struct capture_row *, uint32_t ifindex);
void	capture_stream_count(const struct capture_stream *);	/* the rows' counters to the spool */
/* All counters under its ids; counted before. */
#define CAPTURE_STATS_MAX	(MSG_INTERFACES_MAX * COUNTER_MAX)
void	capture_stream_stats(const struct capture_stream *, struct msg_stats *, struct msg_stat stat[CAPTURE_STATS_MAX]);
bool	capture_stream_uncounted(const struct capture_stream *);	/* any of its rows is */

#endif
