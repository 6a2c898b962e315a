/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_SAMPLE_H
#define VMTAP_AGENT_CAPTURE_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/ipc.h"
#include "proto/rpcap.h"

/*
 * Which packets of a tap an RPCAP client gets, of those that pass: the 1st, N+1st, 2N+1st; or the first one, and then always the
 * first one N ms or more behind the one before, by the packets' own time. Starts all zero: all of them.
 */
struct capture_sample {
	struct ipc_sampling wish;
	uint32_t	left_out;	/* of the N, since the one that was kept */
	bool		begun;
	uint64_t	kept_ns;	/* of the one that was */
};

void	capture_sample_set(struct capture_sample *, const struct ipc_sampling *);	/* begins anew, unless it is the same */
bool	capture_sample_keeps(struct capture_sample *, uint64_t time_ns);	/* the next packet */

/* The same, for all packets of all taps. */
static inline bool
capture_sample_passes(struct capture_sample *s, uint64_t time_ns)
{
	return s->wish.method == RPCAP_SAMPLE_NONE || capture_sample_keeps(s, time_ns);
}

#endif
