/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_DISK_FORMAT_H
#define VMTAP_AGENT_DISK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

struct buf;

/*
 * The files of the disk spool. A segment is a segment header and then records, each a record header and data_len bytes of data; all
 * numbers are big-endian, checksums zlib's crc32.
 *
 *   segment header  magic u64, version u32, sequence u64, crc u32 of what stands before it
 *   record header   crc u32 of the rest of this header, data_crc u32, kind u8, place u8, flags u8, codec u8, data_len u32,
 *                   sequence u64 of the segment, stream 16 bytes, started_ns u64, first u64, last u64, raw_len u32,
 *                   packets u64, bytes u64, first_ns u64, last_ns u64, sum of packets u64, sum of bytes u64
 *
 * The data of an END are the last counters of its stream, if they are known, as a STATS frame;
 * they go where the END is pushed out or cannot be read.
 * Each record tells its stream whole, and a segment repeats a stream's interfaces before its first block: so any segment can be
 * read without those before it. What was pushed out stands at the begin of each segment that was begun afterwards, as records
 * with DISK_PUSHED; those of the newest segment count. The sums are over all that came here of the stream, up to and with this
 * record: what is missing between two records is known exactly.
 */
#define DISK_SEGMENT_HEADER	24u
#define DISK_RECORD_HEADER	116u
#define DISK_MAGIC		UINT64_C(0x766d746170736567)	/* "vmtapseg" */
#define DISK_VERSION		2u

enum disk_kind { DISK_INTERFACE = 1, DISK_BLOCK, DISK_GAP, DISK_END, DISK_KIND_MAX };
#define DISK_PUSHED	0x80	/* flags: stood in a segment that is gone */
#define DISK_CUT	0x40	/* flags of END: as struct msg_stream_end */
#define DISK_JOINED	0x20	/* flags of what was pushed out: never handed out, may be joined to others; means nothing in a file */

struct disk_sum {
	uint64_t	packets, bytes;
};

struct disk_record {
	enum disk_kind	kind;
	uint8_t		place;			/* GAP: enum msg_gap_place */
	uint8_t		flags;			/* the block's, and those above */
	uint8_t		codec;
	uint32_t	data_len, data_crc;
	uint64_t	sequence;
	uint8_t		stream[MSG_ID_SIZE];
	uint64_t	started_ns;
	uint64_t	first, last;		/* numbers; a BLOCK's and END's twice the same; INTERFACE: its id */
	uint32_t	raw_len;
	uint64_t	packets, bytes, first_ns, last_ns;
	struct disk_sum	sum;
};

int	disk_put_segment(struct buf *, uint64_t sequence);
/* -1 EBADMSG: not one; ENOTSUP: of another version. */
int	disk_get_segment(const uint8_t header[DISK_SEGMENT_HEADER], uint64_t *sequence);
/* The header alone; data_crc is filled in from data. */
int	disk_put_record(struct buf *, const struct disk_record *, const void *data);
/* -1 EBADMSG; what it gives keeps the limits of proto/msg.h, first <= last, both at least 1 but for an INTERFACE and an END. */
int	disk_get_record(const uint8_t header[DISK_RECORD_HEADER], struct disk_record *);
bool	disk_data_good(const struct disk_record *, const void *data);

#endif
