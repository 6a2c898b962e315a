/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stddef.h>
#include <string.h>

#include "proto/counter.h"

/* clang-format off */
static const struct counter_row rows[COUNTER_MAX] = {
#define ROW(id, name, place, per_interface, level, help)	[id] = { id, name, place, per_interface, level, help }
	ROW(COUNTER_PACKETS_CAPTURED, "captured_packets", "capture", true, false, "packets put into blocks"),
	ROW(COUNTER_BYTES_CAPTURED, "captured_bytes", "capture", true, false, "captured bytes of the packets put into blocks"),
	ROW(COUNTER_BYTES_ORIGINAL, "original_bytes", "capture", true, false,
	    "lengths on the interface of the packets put into blocks"),
	ROW(COUNTER_RING_RECEIVED, "ring_received_packets", "kernel", true, false, "packets that passed the kernel filter"),
	ROW(COUNTER_RING_DROPPED, "ring_dropped_packets", "kernel", true, false,
	    "packets that passed the kernel filter and found the ring full"),
	ROW(COUNTER_BEFORE_FILTER, "before_filter_packets", "capture", true, false,
	    "packets captured before the filter was attached, discarded"),
	ROW(COUNTER_PACKETS_OVERSIZE, "oversize_packets", "capture", true, false, "packets too large for any block, discarded"),
	ROW(COUNTER_DIRECTION_UNKNOWN, "direction_unknown_packets", "capture", true, false,
	    "packets whose direction could not be told"),
	ROW(COUNTER_NIC_DROPPED, "nic_dropped_packets", "interface", true, false, "rx_dropped of the interface"),
	ROW(COUNTER_NIC_MISSED, "nic_missed_packets", "interface", true, false, "rx_missed_errors of the interface"),
	ROW(COUNTER_PAUSED, "paused", "capture", true, true, "1 while the breaker holds the interface, 2 while the governor does"),
	ROW(COUNTER_BLOCKS_SEALED, "sealed_blocks", "capture", false, false, "blocks sealed"),
	ROW(COUNTER_BLOCKS_STORED, "uncompressed_blocks", "capture", false, false,
	    "of the blocks sealed, those not compressed since they would not shrink"),
	ROW(COUNTER_BYTES_RAW, "raw_bytes", "capture", false, false, "bytes of blocks before the codec"),
	ROW(COUNTER_BYTES_ENCODED, "encoded_bytes", "capture", false, false, "bytes of blocks after the codec"),
	ROW(COUNTER_SPOOL_BYTES, "spool_bytes", "spool", false, true, "bytes in memory, not acknowledged"),
	ROW(COUNTER_SPOOL_LOST_BLOCKS, "spool_lost_blocks", "spool", false, false, "blocks pushed out of the full spool"),
	ROW(COUNTER_SPOOL_LOST_PACKETS, "spool_lost_packets", "spool", false, false,
	    "packets in blocks pushed out of the full spool"),
	ROW(COUNTER_SPOOL_LOST_BYTES, "spool_lost_bytes", "spool", false, false,
	    "captured bytes in blocks pushed out of the full spool"),
	ROW(COUNTER_BLOCKS_SENT, "sent_blocks", "link", false, false, "blocks sent, repeats included"),
	ROW(COUNTER_BYTES_SENT, "sent_bytes", "link", false, false, "bytes sent on the TCP connection, TLS included"),
	ROW(COUNTER_CONNECTS, "connects", "link", false, false, "sessions begun"),
	ROW(COUNTER_ROLE_RESTARTS, "role_restarts", "agent", false, false, "restarts of the capture or link role"),
	ROW(COUNTER_CPU_CAPTURE_US, "cpu_capture_microseconds", "capture", false, false, "user and system CPU of the capture role"),
	ROW(COUNTER_CPU_LINK_US, "cpu_link_microseconds", "link", false, false, "user and system CPU of the link role"),
	ROW(COUNTER_OFFERED, "offered_packets", "kernel", true, false, "packets that the interface showed to the agent"),
	ROW(COUNTER_FILTERED, "filtered_packets", "kernel", true, false, "packets that the filters or the direction refused"),
	ROW(COUNTER_OWN, "own_packets", "kernel", true, false, "packets of the agent's own connections"),
	ROW(COUNTER_PAUSED_PACKETS, "paused_packets", "kernel", true, false, "packets that came while the interface was paused"),
	ROW(COUNTER_SWITCHED, "switched_packets", "kernel", true, false,
	    "packets that came while filters were being exchanged: places may differ by so many"),
	ROW(COUNTER_WITHHELD, "withheld_packets", "kernel", true, false, "packets left out, for a peer's agent delivers them"),
	ROW(COUNTER_SAMPLED_OUT, "sampled_out_packets", "kernel", true, false, "packets left out with their flows by the governor"),
	ROW(COUNTER_PEERS_LEFT, "peers_without_room", "capture", true, true,
	    "peers whose packets are captured, for the filter has no room to withhold them"),
	ROW(COUNTER_GOVERNOR_STEPS, "governor_steps", "capture", false, false, "steps of the governor, down and up"),
	ROW(COUNTER_GOVERNOR_LEVEL, "governor_level", "capture", false, true, "steps of the governor's ladder that are in force"),
	ROW(COUNTER_KEPT_FLOWS, "kept_flows", "capture", false, true, "parts of the flows that are captured, of 64"),
	ROW(COUNTER_INTERFACE_PACKETS, "interface_packets", "kernel", true, true, "packets in and out by the interface's own count"),
	ROW(COUNTER_INTERFACE_START, "interface_start_packets", "kernel", true, true,
	    "the interface's own count when the stream began"),
	ROW(COUNTER_LEDGER, "ledger", "capture", false, true, "how much is counted: 2 kernel, 1 ring, 0 off"),
	ROW(COUNTER_DISK_BYTES, "disk_bytes", "disk", false, true, "bytes on disk, not acknowledged"),
	ROW(COUNTER_DISK_LOST_BLOCKS, "disk_lost_blocks", "disk", false, false, "blocks pushed out of the full disk spool"),
	ROW(COUNTER_DISK_LOST_PACKETS, "disk_lost_packets", "disk", false, false,
	    "packets in blocks pushed out of the full disk spool"),
	ROW(COUNTER_DISK_LOST_BYTES, "disk_lost_bytes", "disk", false, false,
	    "captured bytes in blocks pushed out of the full disk spool"),
	ROW(COUNTER_DISK_ERRORS, "disk_errors", "disk", false, false, "reads and writes of the disk spool that failed"),
	ROW(COUNTER_CLOCK_STEPS, "clock_steps", "capture", false, false, "steps of the wall clock, and suspensions"),
	ROW(COUNTER_UNWATCHED, "unwatched_packets", "interface", true, false,
	    "packets that the kernel counted on the interface while no agent ran: at most so many are in no capture"),
	ROW(COUNTER_THINNED, "thinned_packets", "capture", true, false,
	    "packets that passed the filter and were left out, for an RPCAP client wants but some"),
#undef ROW
};
/* clang-format on */

const struct counter_row *
counter_row(unsigned id)
{
	return id < COUNTER_MAX && rows[id].name != NULL ? &rows[id] : NULL;
}

bool
counter_belongs(unsigned id, bool interface)
{
	return counter_row(id) != NULL && counter_row(id)->per_interface == interface;
}

const struct counter_row *
counter_by_name(const char *name)
{
	for (unsigned id = 0; name != NULL && id < COUNTER_MAX; id++)
		if (rows[id].name != NULL && strcmp(rows[id].name, name) == 0)
			return &rows[id];
	return NULL;
}
