/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_CAPTURE_H
#define VMTAP_AGENT_RPCAP_CAPTURE_H

#include "agent/link_tokens.h"
#include "agent/rpcap_pack.h"
#include "agent/rpcap_server.h"

/* A client's capture: its tap, its data connection, and what goes from the one to the other. */

struct rpcap_data;

enum capture_state {
	CAPTURE_PREPARING,	/* the data connection's endpoint is not known yet */
	CAPTURE_TELLING,	/* the taps: this one to capture, all to leave the endpoint out */
	CAPTURE_CONNECTING,
	CAPTURE_OPENING,	/* STARTCAP is answered; the data connection is not open yet */
	CAPTURE_RUNNING
};

struct capture_program {
	const struct bpf_insn *insn;	/* heap */
	uint32_t	 count;
};

/* What a stream of the tap, or several, counted. */
struct capture_counts {
	uint64_t	received;	/* by the kernel, behind the filters */
	uint64_t	dropped;	/* of these: by the ring, or too large for any block */
	uint64_t	left_out;	/* passed, and were left out by governor or breaker before they were received */
	uint64_t	nic;		/* by the interface */
};

struct capture_stream_counts {
	uint8_t		 stream[MSG_ID_SIZE];
	bool		 any;
	struct capture_counts counts;
};

struct capture_count {
	struct capture_counts before;	/* of the streams before these */
	struct capture_stream_counts last, now;
	uint64_t	 spool_lost;	/* packets pushed out of the spool, or not understood */
	uint64_t	 packed;	/* put on the data connection, datagrams that the system did not take too */
	uint64_t	 told_lost, told_sent, told_bytes;	/* to the server's sums */
	uint64_t	 seen_lost;	/* of that, by rpcap_loses() */
};

struct rpcap_capture {
	struct rpcap_client *client;
	enum capture_state state;
	struct rpcap_startcap start;
	struct rpcap_sampling sampling;
	struct capture_program program;	/* in force */
	struct capture_program wanted;	/* instead, by UPDATEFILTER */
	bool		 updating;	/* wanted is told, or will be */
	struct link_tap	*tap;		/* NULL: none yet */
	bool		 accepted;	/* by the capture role, at the start */
	bool		 counting;	/* it was asked for fresh counters */
	struct rpcap_data *data;
	/* rpcap_send.c */
	struct rpcap_pack pack;
	uint8_t		*staged;	/* messages that the connection has still to take; MSG_BLOCK_MAX */
	size_t		 staged_len, staged_sent;
	struct tokens	 tokens;
	struct event	*pacer;
	bool		 held;
	/* rpcap_count.c */
	struct capture_count count;
};

/* --- rpcap_send.c: from the spool to the data connection --- */
int	rpcap_send_init(struct rpcap_capture *);	/* -1 ENOMEM */
void	rpcap_send_clear(struct rpcap_capture *);
void	rpcap_send_run(struct rpcap_capture *);		/* what can be sent now */

/* --- rpcap_count.c: statistics --- */
void	rpcap_count_sent(struct rpcap_capture *);	/* bytes, for the breaker; what the governor goes by, in the capture role */
void	rpcap_count_refresh(struct rpcap_capture *);	/* from the tap's counters */
void	rpcap_count_stats(const struct rpcap_capture *, struct rpcap_stats *);

#endif
