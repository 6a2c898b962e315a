/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_RPCAP_STREAM_H
#define VMTAP_COLLECTOR_RPCAP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/loss.h"

struct archive;
struct fault;
struct pcapng_interface;
struct pcapng_packet;
struct rpcap_counts;
struct vm;

/*
 * The packets of one RPCAP connection as a stream of blocks, as an agent would send them: made here, and handed to the archive.
 * Where a fault can be: 0, or -1 with it, and the connection must end.
 */
struct rpcap_stream;

#define RPCAP_STREAM_SEAL_BYTES	(256u * 1024)
#define RPCAP_STREAM_SEAL_MS	250u	/* the owner's to see to */

/* What the server counted since its filter was set, and what came. Grow without end. */
struct rpcap_counts {
	uint64_t	delivered;	/* svrcapt: it sent them */
	uint64_t	dropped;	/* krnldrop */
	uint64_t	nic_dropped;	/* ifdrop */
	uint64_t	before_filter;	/* ifrecv until then, discarded */
};

/* A new one, of this interface, whose captured packets are at most captured_max long. NULL with fault. */
struct rpcap_stream *rpcap_stream_new(struct archive *, struct vm *, const struct pcapng_interface *, uint32_t captured_max,
	    struct fault *);
void	rpcap_stream_free(struct rpcap_stream *);	/* NULL is fine; it is not ended by that */
/* The next packet says so. */
void	rpcap_stream_event(struct rpcap_stream *, const char *text);
int	rpcap_stream_add(struct rpcap_stream *, struct pcapng_packet *, struct fault *);
/* So many packets are missing before the next one. */
void	rpcap_stream_missed(struct rpcap_stream *, uint64_t packets);
bool	rpcap_stream_waiting(const struct rpcap_stream *);	/* something is not sealed */
int	rpcap_stream_seal(struct rpcap_stream *, struct fault *);
int	rpcap_stream_count(struct rpcap_stream *, const struct rpcap_counts *, struct fault *);
/* Lost at the end, behind all that came. */
int	rpcap_stream_lose(struct rpcap_stream *, uint64_t packets, enum loss_bound, struct fault *);
/* cut: what the server had captured and not sent is lost, and nobody counted it. Best effort. */
void	rpcap_stream_end(struct rpcap_stream *, bool cut);
uint64_t rpcap_stream_packets(const struct rpcap_stream *);	/* that came */
uint64_t rpcap_stream_missing(const struct rpcap_stream *);	/* by their numbers */
uint64_t rpcap_stream_blocks(const struct rpcap_stream *);

#endif
