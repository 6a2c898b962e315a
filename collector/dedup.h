/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_DEDUP_H
#define VMTAP_COLLECTOR_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Each transmission once, out of what many VMs captured. Packets come in roughly in the order of time, and go out in its order.
 *
 * A sender's copy (outbound) always goes out. A receiver's (inbound) is dropped if sender's copies that *this receiver* did not
 * match before cover it: of the same network, of other VMs, equal in all that stays the same on the way (proto/transit.h), their
 * bytes compared. Data of TCP by ranges of sequence numbers, of several copies if need be, for offloads part and join segments; a
 * UDP datagram whole or as a run of payloads, likewise; anything else whole. So retransmissions, keep-alives and repeated datagrams
 * stay as often as they were sent, and what the network doubled stays once more. Among copies that fit equally, that of the same IP
 * identification, then of the same TTL, then the oldest is taken.
 *
 * Never matched, and so kept: what was not captured whole or cannot be parsed, packets of unknown direction, loopback addresses,
 * packets to their own source address. Multicast and broadcast are matched once by each receiver. NAT between the two hides what is
 * the same.
 *
 * Two copies meet if less than the window lies between their times, whichever comes in first. What was emitted meets nothing any
 * more: where memory is short the oldest go out early, and receivers' copies that come later stay.
 * Pure: no I/O. Of chains of candidates at most 256 are looked at, so that no traffic makes it slow: what is not found stays.
 */
struct dedup;

#define DEDUP_UNKNOWN	UINT32_MAX

struct dedup_packet {
	uint32_t	 source;		/* as dedup_add_source() has it */
	uint64_t	 time_ns;
	enum dedup_direction { DEDUP_NO_DIRECTION, DEDUP_IN, DEDUP_OUT } direction;
	const uint8_t	*block;			/* the whole EPB, which is copied */
	size_t		 block_len;
	size_t		 data_at;		/* of the packet in it */
	size_t		 captured, original;
};

/* Who had a sender's copy, too. */
struct dedup_receiver {
	uint32_t	source;
	bool		whole;			/* all of it */
};

struct dedup_out {
	uint32_t	 source;
	uint64_t	 time_ns;
	uint8_t		*block;			/* the caller may change it; until emit() returns */
	size_t		 block_len;
	const struct dedup_receiver *receiver;
	size_t		 receiver_count;
};

struct dedup_settings {
	uint64_t	 window_ns;
	uint64_t	 memory_max;		/* bytes of all that is held; by a packet and a table's growth it may be more */
	uint64_t	 seed;			/* of the hashes: random, where guests are not trusted to be kind */
	int		(*emit)(const struct dedup_out *, void *arg);	/* 1 go on; 0: enough; -1: error */
	void		*arg;
};

struct dedup_stats {
	uint64_t	in, out, removed;
	uint64_t	not_comparable;		/* inbound or outbound, but cut short or not to be parsed */
	uint64_t	unknown_direction;
	uint64_t	late;			/* went out behind a later one */
	uint64_t	early;			/* went out before the window's end, for want of memory */
	uint64_t	memory_peak;		/* bytes, by what the allocator gave */
	uint64_t	peak_entries, peak_state;	/* then: packets held, and the bytes that are not their blocks' */
};

struct dedup	*dedup_new(const struct dedup_settings *);	/* NULL: ENOMEM */
void		 dedup_free(struct dedup *);
/* One interface of a VM; vm and network (of a tenant, which all are of) are numbers of the caller's. The source's number, counting
 * from 0; DEDUP_UNKNOWN: ENOMEM. */
uint32_t	 dedup_add_source(struct dedup *, uint32_t vm, uint32_t network, uint16_t linktype);
/* A source whose receivers' copies stay, though they match: who they match tells of them. */
void		 dedup_keep(struct dedup *, uint32_t source);
/* Each: 1 go on; 0: emit() had enough; -1: emit() failed, or ENOMEM. */
int		 dedup_put(struct dedup *, const struct dedup_packet *);
int		 dedup_advance(struct dedup *, uint64_t now_ns);	/* emits what is older than now minus the window */
int		 dedup_finish(struct dedup *);				/* emits all */

const struct dedup_stats *dedup_stats(const struct dedup *);
uint64_t	 dedup_removed(const struct dedup *, uint32_t sender_vm, uint32_t receiver_vm);

#endif
