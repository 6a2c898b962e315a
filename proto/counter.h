/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_PROTO_COUNTER_H
#define VMTAP_PROTO_COUNTER_H

#include <stdbool.h>
#include <stdint.h>

/* Every count an agent reports, by number on the wire (never reused) and by name for people. All only grow, but those marked as a
 * level. Those of an interface begin at 0 with the stream that it is of; those of the agent with its start, or where it is said,
 * with that of the role that counts. */
enum counter {
	/* of one interface */
	COUNTER_PACKETS_CAPTURED = 1,	/* put into blocks */
	COUNTER_BYTES_CAPTURED,		/* their captured bytes */
	COUNTER_BYTES_ORIGINAL,		/* their lengths on the interface */
	COUNTER_RING_RECEIVED,		/* ps_recv: passed the kernel filter */
	COUNTER_RING_DROPPED,		/* ps_drop: passed it and found the ring full */
	COUNTER_BEFORE_FILTER,		/* captured before the filter was attached, discarded */
	COUNTER_PACKETS_OVERSIZE,	/* too large for any block, discarded */
	COUNTER_DIRECTION_UNKNOWN,
	COUNTER_NIC_DROPPED,		/* rtnetlink rx_dropped, since the stream was first looked at */
	COUNTER_NIC_MISSED,		/* rtnetlink rx_missed_errors, likewise */
	COUNTER_PAUSED,			/* level: 1 while the breaker holds the interface */
	/* of the whole agent, operators' taps included; since the start of the capture role */
	COUNTER_BLOCKS_SEALED,
	COUNTER_BLOCKS_STORED,		/* of these, not compressed since they would not shrink */
	COUNTER_BYTES_RAW,		/* of blocks, before the codec */
	COUNTER_BYTES_ENCODED,		/* after it */
	/* of the collector's tap; since the start of the agent */
	COUNTER_SPOOL_BYTES,		/* level: in memory, not acknowledged */
	COUNTER_SPOOL_LOST_BLOCKS,	/* pushed out of the full spool: told as GAPs */
	COUNTER_SPOOL_LOST_PACKETS,
	COUNTER_SPOOL_LOST_BYTES,
	COUNTER_BLOCKS_SENT,		/* repeats included */
	COUNTER_BYTES_SENT,		/* on the TCP connection */
	COUNTER_CONNECTS,		/* sessions begun */
	COUNTER_ROLE_RESTARTS,
	/* of the process that is one now */
	COUNTER_CPU_CAPTURE_US,
	COUNTER_CPU_LINK_US,
	/* of one interface: where each packet that the kernel showed us went (the ledger) */
	COUNTER_OFFERED,		/* seen by a counting socket that takes everything */
	COUNTER_FILTERED,		/* refused by the guest's or the collector's filter, or the direction */
	COUNTER_OWN,			/* the agent's own traffic */
	COUNTER_PAUSED_PACKETS,		/* offered while the interface was paused, own ones apart */
	COUNTER_SWITCHED,		/* offered while programs were being exchanged: the places may differ by so many */
	COUNTER_WITHHELD,		/* left out, for a peer's agent delivers them */
	COUNTER_SAMPLED_OUT,		/* left out with their flows by the governor */
	COUNTER_INTERFACE_PACKETS,	/* level: rx_packets + tx_packets, as the interface itself counts */
	COUNTER_INTERFACE_START,	/* level: the same when the stream began to capture it */
	/* of the collector's tap */
	COUNTER_LEDGER,			/* level: 2 counting sockets, 1 what passed the filter only, 0 nothing is promised */
	COUNTER_DISK_BYTES,		/* level: on disk, not acknowledged */
	COUNTER_DISK_LOST_BLOCKS,	/* pushed out of the full disk spool, or damaged there: told as GAPs */
	COUNTER_DISK_LOST_PACKETS,
	COUNTER_DISK_LOST_BYTES,
	COUNTER_DISK_ERRORS,		/* reads and writes that failed */
	COUNTER_CLOCK_STEPS,		/* of the guest's wall clock, and suspensions */
	COUNTER_PEERS_LEFT,		/* level, of one interface: to be withheld, but without room in its filter */
	/* of the governor; since the start of the capture role */
	COUNTER_GOVERNOR_STEPS,		/* down and up */
	COUNTER_GOVERNOR_LEVEL,		/* level: how many steps of the ladder are in force */
	COUNTER_KEPT_FLOWS,		/* level: of 64 parts of the flows */
	/* of one interface */
	COUNTER_UNWATCHED,		/* the interface itself counted while no agent ran: at most so many are in no capture */
	COUNTER_THINNED,		/* passed the filter and was left out, for an RPCAP client wants but some */
	COUNTER_MAX
};

struct counter_row {
	enum counter	 id;
	const char	*name;		/* "ring_dropped_packets": base unit last, as Prometheus has it */
	const char	*place;		/* "interface" "kernel" "capture" "spool" "link" "agent" */
	bool		 per_interface;
	bool		 level;
	const char	*help;
};

const struct counter_row *counter_row(unsigned id);		/* NULL if unknown */
bool counter_belongs(unsigned id, bool interface);	/* is it known, and of one interface, or else of the whole agent? */
const struct counter_row *counter_by_name(const char *);	/* NULL if there is none, or no name */

#endif
